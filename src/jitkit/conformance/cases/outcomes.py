"""O: from what the legacy store says to one action."""

from __future__ import annotations

import statistics
from typing import Any, Final

from jitkit import protocol
from jitkit.conformance.case import Failed, Skipped, TooSlow, case
from jitkit.conformance.judge import asked, decides, text_of
from jitkit.conformance.world import Call, Reply, World

_HOWTO: Final = "Microsoft's how-to"
_SAFEST: Final = "safest: the documents are silent"
_STRONG: Final = "Canary-Str0ng-enough!"


def _call(w: World, kind: str, typed: str | None = None, **changes: Any) -> Call:
    person = w.account(kind, **changes)
    return w.call(person, claims=w.claims(person, typed if typed is not None else w.typed(person, kind)))


@case("O1", "right and strong: MigratePassword", source=_HOWTO)
async def right(w: World) -> None:
    await decides(w, _call(w, "right"), protocol.MIGRATE)


@case(
    "O2",
    "right and below the password policy: UpdatePassword, or MigratePassword where weak ones are let in",
    source=_HOWTO,
)
async def weak(w: World) -> None:
    wanted = protocol.MIGRATE if w.feature("weak_passwords") else protocol.UPDATE
    await decides(w, _call(w, "weak"), wanted)


@case("O3", "wrong: Retry", source=_HOWTO)
async def wrong(w: World) -> None:
    await decides(w, _call(w, "wrong"), protocol.RETRY)


@case("O4", "unknown to the legacy store: like wrong, in text, length and time", source=_SAFEST, required=False)
async def unknown(w: World) -> None:
    times: dict[str, list[float]] = {"wrong": [], "unknown": []}
    bodies: set[bytes] = set()
    for _ in range(5):
        for kind, seconds in times.items():
            call = _call(w, kind)
            reply = await decides(w, call, protocol.RETRY)
            bodies.add(reply.body.replace(call.nonce.encode(), b""))
            seconds.append(reply.seconds)
    if len(bodies) > 1:
        raise Failed("the body tells an unknown name from a wrong password")
    known, nobody = (statistics.median(seconds) for seconds in times.values())
    if abs(known - nobody) > max(0.05, 0.5 * max(known, nobody)):
        raise TooSlow(
            f"the time tells an unknown name ({nobody * 1000:.0f} ms) from a wrong password ({known * 1000:.0f} ms)"
        )


async def _blocked(w: World, kind: str) -> Reply:
    reply = await decides(w, _call(w, kind), protocol.BLOCK)
    if not text_of(reply).get("message"):
        raise Failed("Block without a message: the person reads nothing about what to do")
    return reply


@case("O5", "locked: Block, even with the right password", source=_HOWTO)
async def locked(w: World) -> None:
    await _blocked(w, "locked")


@case("O6", "disabled: Block, even with the right password", source=_HOWTO)
async def disabled(w: World) -> None:
    await _blocked(w, "disabled")


@case("O7", "right, but expired or due for change: UpdatePassword", source=_HOWTO)
async def must_change(w: World) -> None:
    await decides(w, _call(w, "must_change"), protocol.UPDATE)


@case("O8", "the legacy store wants a second factor: never 'wrong password'", source=_SAFEST)
async def second_factor(w: World) -> None:
    await decides(w, _call(w, "mfa"), protocol.MIGRATE, protocol.BLOCK)


@case("O9", "External ID's password rules, at their edges", source="Microsoft Entra password policies")
async def edges(w: World) -> None:
    w.scripted()
    if w.feature("weak_passwords"):
        raise Skipped("the configuration says that weak passwords are let in")
    edges = {
        "eight characters of three classes": ("Abcdef1x", protocol.MIGRATE),
        "seven characters": ("Abcd1!x", protocol.UPDATE),
        "256 characters": ("Aa1!" * 64, protocol.MIGRATE),
        "257 characters": ("Aa1!" * 64 + "x", protocol.UPDATE),
        "two classes": ("abcdefgh1234", protocol.UPDATE),
        "letters beyond ASCII": ("Zwölf-Gänse-1!", protocol.UPDATE),
    }
    for name, (password, action) in edges.items():
        try:
            await decides(w, _call(w, "right", password, password=password), action)
        except Failed as problem:
            raise Failed(f"{name}: {problem}") from None


@case("O10", "no password in the legacy store, as with social sign-in: Block with a text", source=_SAFEST)
async def no_password(w: World) -> None:
    await _blocked(w, "no_password")


@case("O12", "an answer about another person proves nothing about this one", source=_SAFEST)
async def other_person(w: World) -> None:
    w.scripted()
    await decides(w, _call(w, "right", names="somebody-else@conformance.example"), protocol.BLOCK)


@case("O13", "migrated before and asked about again: the password is verified again, and migrated", source=_SAFEST)
async def again(w: World) -> None:
    w.scripted()
    person = w.account()
    for _ in range(2):
        await decides(w, w.call(person), protocol.MIGRATE)
    asked(w.call(person), 2)
    await decides(w, w.call(person, claims=w.claims(person, _STRONG)), protocol.RETRY)


@case("O14", "the legacy store's password of today counts, not one from before", source=_SAFEST)
async def changed(w: World) -> None:
    w.scripted()
    person = w.account()
    old = person.password
    await decides(w, w.call(person), protocol.MIGRATE)
    person.password = _STRONG
    await decides(w, w.call(person, claims=w.claims(person, old)), protocol.RETRY)
    await decides(w, w.call(person), protocol.MIGRATE)
    asked(w.call(person), 3)

"""C: what is inside the password context, and what comes twice."""

from __future__ import annotations

import asyncio
import time
from typing import Any, Final

from jitkit import protocol
from jitkit.conformance.case import Failed, Skipped, case
from jitkit.conformance.judge import action_of, asked, decides, judged, refuses
from jitkit.conformance.keys import b64, b64json
from jitkit.conformance.tokens import encrypt, unsigned
from jitkit.conformance.world import Call, World

_JWT: Final = "RFC 7519"
_HOWTO: Final = "Microsoft's how-to"
_SAFEST: Final = "safest: the documents are silent"
_RETRY: Final = "service limits: one retry"
_OTHER: Final = "4c7e2a90-1f3b-4d68-9e05-7b8a6c5d4e88"


def _call(w: World, **changes: Any) -> Call:
    person = w.account()
    return w.call(person, claims=w.claims(person, **changes))


async def _refused(w: World, calls: dict[str, Call]) -> None:
    for name, call in calls.items():
        try:
            await refuses(w, call, 400)
        except Failed as problem:
            raise Failed(f"{name}: {problem}") from None


def _inside(w: World, make: Any) -> Call:
    """Compose a call whose context holds something else than an unsigned token."""
    person = w.account()
    claims = w.claims(person)
    return w.call(person, claims=claims, context=encrypt(make(claims), w.config.key))


@case("C1", "the token inside is unsigned; that is how Entra makes it", source=_HOWTO)
async def unsigned_inside(w: World) -> None:
    await decides(w, _call(w), protocol.MIGRATE)


@case("C2", "a token inside that claims a signature, or is no token, is refused", source=f"{_JWT} section 7.2")
async def other_inside(w: World) -> None:
    makers: dict[str, Any] = {
        "none with a signature": lambda claims: unsigned(claims, "AAAA"),
        "HS256": lambda claims: unsigned(claims, b64(b"0" * 32), alg="HS256"),
        "claims as a list": lambda claims: unsigned([claims]),
        "two parts": lambda claims: unsigned(claims).rpartition(".")[0],
        "a text": lambda _: "hello",
        "nothing": lambda _: "",
        "another JWE": lambda claims: encrypt(unsigned(claims), w.config.key),
        "not UTF-8": lambda _: f"{b64json({'alg': 'none'})}.{b64(bytes([0xFF, 0xFE]))}.",
    }
    await _refused(w, {name: _inside(w, make) for name, make in makers.items()})


@case("C3", "flat JSON, as early samples had it, only where the configuration says so", source=_SAFEST, required=False)
async def flat(w: World) -> None:
    import json

    call = _inside(w, json.dumps)
    if w.feature("flat_context"):
        await decides(w, call, protocol.MIGRATE)
    else:
        await refuses(w, call, 400)


@case("C4", "an expired context is refused", source=f"{_JWT} section 4.1.4")
async def expired(w: World) -> None:
    now = int(time.time())
    old = _call(w, iat=now - 7200, nbf=now - 7200, exp=now - 900)
    await _refused(w, {"expired": old, "exp as text": _call(w, exp=str(now + 600))})


@case(
    "C5",
    "a context without an end is refused: it could be sent again for ever",
    source=f"{_JWT} section 4.1.4",
    required=False,
)
async def endless(w: World) -> None:
    await refuses(w, _call(w, exp=None), 400)


@case("C6", "a context from the future is refused", source=f"{_JWT} section 4.1.5")
async def future(w: World) -> None:
    later = int(time.time()) + 1800
    await _refused(w, {"nbf": _call(w, nbf=later, exp=later + 600), "iat": _call(w, iat=later, exp=later + 600)})


@case("C7", "the audience is this app, alone or in a list", source="RFC 8725 section 3.9")
async def audience(w: World) -> None:
    await _refused(w, {"another app": _call(w, aud=_OTHER), "missing": _call(w, aud=None)})
    await decides(w, _call(w, aud=[_OTHER, w.config.app_id]), protocol.MIGRATE)


@case("C8", "the context's issuer is the identifier URI", source="RFC 8725 section 3.8", required=False)
async def issuer(w: World) -> None:
    if not w.feature("context_issuer"):
        raise Skipped("the configuration says that the endpoint does not check it")
    await refuses(w, _call(w, iss="api://elsewhere.example/app"), 400)


@case(
    "C9",
    "a password that is missing, empty or no text is refused before anybody is asked",
    source="original sample: 400",
)
async def no_password(w: World) -> None:
    values: dict[str, Any] = {"missing": None, "a number": 12345678, "empty": "", "a list": ["a"], "an object": {}}
    await _refused(w, {name: _call(w, password=value) for name, value in values.items()})


@case("C11", "without a username there is nobody to ask about; the principal name is no substitute", source=_SAFEST)
async def no_username(w: World) -> None:
    before = len(w.legacy.unknown) if w.legacy else 0
    values: dict[str, Any] = {"missing": None, "a number": 7, "empty": "", "blanks": "   "}
    await _refused(w, {name: _call(w, username=value) for name, value in values.items()})
    if w.legacy and len(w.legacy.unknown) > before:
        raise Failed("the legacy store was asked about another name than the one that was typed")


@case("C12", "capitals and outer blanks are no other person; a plus tag may be", source=_SAFEST)
async def normalised(w: World) -> None:
    w.scripted()
    for change in (str.upper, lambda name: f" {name} "):
        person = w.account()
        await decides(w, w.call(person, claims=w.claims(person, username=change(person.username))), protocol.MIGRATE)
    tagged = w.account(username=f"case+tag-{_OTHER[:4]}-{time.time_ns()}@conformance.example")
    await decides(w, w.call(tagged), protocol.MIGRATE)


@case("C13", "without a usable nonce no answer could be accepted", source=_HOWTO)
async def no_nonce(w: World) -> None:
    values: dict[str, Any] = {"missing": None, "empty": "", "no GUID": "abc", "a number": 7}
    await _refused(w, {name: _call(w, nonce=value) for name, value in values.items()})


@case("C14", "the second attempt gets the first one's answer, and the legacy store is asked once", source=_RETRY)
async def second_attempt(w: World) -> None:
    w.scripted()
    for kind, action in (("right", protocol.MIGRATE), ("wrong", protocol.RETRY)):
        person = w.account(kind)
        call = w.call(person, claims=w.claims(person, w.typed(person, kind)))
        for _ in range(2):
            await decides(w, call, action)
        asked(call, 1)
    both = w.call(w.account(delay=0.3))
    for reply in await asyncio.gather(w.send(both), w.send(both)):
        judged(reply, both, protocol.MIGRATE)
    asked(both, 1)


@case("C15", "a nonce that comes back with another password or person is an attack", source=_SAFEST)
async def reused(w: World) -> None:
    if not w.feature("replay"):
        raise Skipped("the configuration says that the endpoint keeps no nonces")
    first = _call(w)
    await decides(w, first, protocol.MIGRATE)
    other_password = w.claims(first.account, "Another-Canary-Pa55!", nonce=first.nonce)
    await refuses(w, w.call(first.account, claims=other_password), 400)
    person = w.account()
    await refuses(w, w.call(person, claims=w.claims(person, nonce=first.nonce)), 400)


@case("C16", "a context that was answered is refused once it has expired", source=_SAFEST)
async def after_its_end(w: World) -> None:
    first, now = _call(w), int(time.time())
    await decides(w, first, protocol.MIGRATE)
    old = w.claims(first.account, nonce=first.nonce, iat=now - 7200, nbf=now - 7200, exp=now - 900)
    await refuses(w, w.call(first.account, claims=old), 400)


@case("C18", "the password reaches the legacy store as it was typed", source=_SAFEST)
async def exact_password(w: World) -> None:
    w.scripted()
    for number, password in enumerate(
        (" Blanks around 1! ", "Zwölf-Gänse-1!", "Päss\u0301word-1!", "日本語-Pass-1!", 'Q"uo\\te-\t1!')
    ):
        person = w.account(password=password)
        call = w.call(person)
        if not action_of(await w.send(call)):
            raise Failed(f"password {number + 1} of 5 (blanks, umlauts, accents, kanji, quotes) was not decided")
        if person.asked != [password]:
            raise Failed(f"password {number + 1} of 5 (blanks, umlauts, accents, kanji, quotes) reached it changed")


@case("C19", "passwords that no keyboard types end in an answer, not in an error", source=_SAFEST)
async def odd_passwords(w: World) -> None:
    odd = {
        "a null character": "Null\x00-Canary-1!",
        "4,000 letters": "Aa1!" * 1000,
        "half a character": "\ud800-Canary-1!",
    }
    for name, password in odd.items():
        call = _call(w, password=password)
        w.passwords.discard(password)
        reply = await w.send(call)
        if reply.status != 400 and not action_of(reply):
            raise Failed(f"{name}: neither decided nor refused, status {reply.status}")

"""F: the legacy store is away, slow or talks nonsense. A person must not read "wrong password" for that."""

from __future__ import annotations

import asyncio
import time
from typing import Any, Final

from jitkit import protocol
from jitkit.conformance.case import Failed, Skipped, case
from jitkit.conformance.judge import asked, decides, in_time, leaks_nothing, unavailable
from jitkit.conformance.world import LIMIT, Call, World

_LIMITS: Final = "service limits: 2,000 ms, one retry"
_SAFEST: Final = "safest: the documents are silent"
_QUICK: Final = 0.25


def _call(w: World, fault: str = "", **changes: Any) -> Call:
    w.scripted()
    return w.call(w.account(fault=fault, **changes))


async def _all_unavailable(w: World, *faults: str) -> None:
    for fault in faults:
        await w.settle()
        call = _call(w, fault)
        try:
            await unavailable(w, call)
        except Failed as problem:
            raise Failed(f"{fault}: {problem}") from None
        if not call.account.asked:
            raise Failed(f"{fault}: the legacy store was not asked")


@case("F1", "nothing listens where the legacy store was: unavailable, not wrong", source=_SAFEST)
async def refused(w: World) -> None:
    legacy = w.scripted()
    await w.settle()
    await legacy.server.stop()
    try:
        await unavailable(w, w.call())
    finally:
        await legacy.server.start()


@case("F2", "the legacy store answers 500, 502 in HTML, 503: unavailable, not wrong", source=_SAFEST)
async def errors(w: World) -> None:
    await _all_unavailable(w, "500", "html", "503")


@case("F3", "the legacy store is throttling: unavailable, not wrong", source=_SAFEST)
async def throttled(w: World) -> None:
    await _all_unavailable(w, "429")


@case("F23", "the legacy store refuses our own key (401, 403): unavailable, not wrong", source=_SAFEST)
async def own_key(w: World) -> None:
    await _all_unavailable(w, "401", "403")


@case("F4", "status 200 is no 'right' by itself: the body decides", source=_SAFEST)
async def body_decides(w: World) -> None:
    w.scripted()
    await w.settle()
    call = w.call(w.account(says="wrong"))
    await decides(w, call, protocol.RETRY)
    asked(call, 1)


@case("F5", "an answer that cannot be read is no verdict", source=_SAFEST)
async def unreadable(w: World) -> None:
    await _all_unavailable(w, "html with 200", "empty", "half json", "no verdict", "not http", "hang up")


@case("F6", "201 and 204 are not 'right'", source=_SAFEST)
async def other_success(w: World) -> None:
    await _all_unavailable(w, "201", "204")


@case("F7", "a redirect is not followed with a password in hand", source=_SAFEST)
async def redirect(w: World) -> None:
    legacy = w.scripted()
    before = legacy.redirected
    await _all_unavailable(w, "redirect")
    if legacy.redirected > before:
        raise Failed("the password was sent on to where the redirect pointed")


@case("F8", "half a second is slow, and still a success", source=_LIMITS)
async def slow(w: World) -> None:
    await w.settle()
    in_time(await decides(w, _call(w, delay=0.5), protocol.MIGRATE))


@case("F9", "a store that never answers, drips or floods costs the person two seconds at most", source=_LIMITS)
async def too_slow(w: World) -> None:
    await w.settle()
    calls = [_call(w, "hang"), _call(w, "drip"), _call(w, "flood"), _call(w, delay=5)]
    results = await asyncio.gather(*(unavailable(w, call) for call in calls), return_exceptions=True)
    for name, result in zip(("never", "drips", "floods", "5 s"), results, strict=True):
        if isinstance(result, Failed):
            raise Failed(f"{name}: {result}")
        if isinstance(result, BaseException):
            raise result


@case("F10", "a call that took too long is let go, and does not pile up behind", source=_SAFEST)
async def let_go(w: World) -> None:
    await w.settle()
    call = _call(w, "hang")
    await unavailable(w, call)
    until = time.monotonic() + 1.5
    while time.monotonic() < until:
        if call.account.let_go:
            return
        await asyncio.sleep(0.05)
    raise Failed("1.5 s after the answer, the call to the legacy store is still open")


@case(
    "F11", "after failures in a row the answer comes at once, and passes again when the store is well", source=_SAFEST
)
async def breaker(w: World) -> None:
    if not w.feature("breaker"):
        raise Skipped("the configuration says that the endpoint has no breaker")
    await w.settle()
    for _ in range(10):
        call = _call(w, "500")
        await unavailable(w, call)
        if not call.account.asked:
            break
    else:
        raise Failed("ten failures in a row, and the legacy store was asked each time")
    reply = await unavailable(w, _call(w, delay=1.0))
    if reply.seconds > _QUICK:
        raise Failed(f"the breaker is open, and the answer took {reply.seconds:.1f} s")
    await w.settle()


@case("F14", "guesses are stopped before the legacy store locks the account", source=_SAFEST)
async def guesses(w: World) -> None:
    w.scripted()
    if not w.feature("limiter"):
        raise Skipped("the configuration says that the endpoint does not limit guesses")
    await w.settle()
    person = w.account()
    for number in range(10):
        await decides(
            w, w.call(person, claims=w.claims(person, f"Canary-guess-{number}-A1!")), protocol.RETRY, protocol.BLOCK
        )
    if len(person.asked) >= 10:
        raise Failed("ten wrong guesses for one person, and the legacy store heard them all")
    await decides(w, w.call(), protocol.MIGRATE)


@case("F16", "an answer that Entra did not wait for is the one its second attempt gets", source=_LIMITS)
async def unheard(w: World) -> None:
    await w.settle()
    call = _call(w, delay=0.4)
    await decides(w, call, protocol.MIGRATE)
    call.account.says = "wrong"
    await decides(w, call, protocol.MIGRATE)
    asked(call, 1)


@case("F19", "an answer that breaks a reader of JSON breaks no sign-in, and shows no stack", source=_SAFEST)
async def odd_answers(w: World) -> None:
    for fault in ("30,000 brackets", "a number of 5,000 digits", "half a character", "bytes that are no text"):
        await w.settle()
        call = _call(w, fault)
        try:
            leaks_nothing(await unavailable(w, call), Call(call.account, "", None, None))
        except Failed as problem:
            raise Failed(f"{fault}: {problem}") from None


@case("F22", "an outage answer keeps its promise of time when repeated", source=_LIMITS)
async def repeated(w: World) -> None:
    await w.settle()
    call = _call(w, "hang")
    started = time.perf_counter()
    await asyncio.gather(unavailable(w, call), unavailable(w, call))
    if time.perf_counter() - started > LIMIT + 0.2:
        raise Failed("two attempts at once waited for each other")

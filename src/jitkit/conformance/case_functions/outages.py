"""F: the legacy store is away, slow, overloaded or answers nonsense. A user must not read "wrong password" for that."""

from __future__ import annotations

import asyncio
import time
from unittest.mock import patch

import pytest

from jitkit.conformance.catalogue import CASES, Case
from jitkit.conformance.endpoint import LIMIT, Call, Endpoint, Reply, TooSlow, becomes_true, in_time, shows_nothing
from jitkit.conformance.legacy_store import LegacyStore
from jitkit.protocol import BLOCK, CALLS_PER_SECOND, MIGRATE, RETRY

_AT_ONCE = 0.25
_PARALLEL = 200
_ALLOWED = 20


@pytest.mark.parametrize(
    ("case", "fault"),
    [pytest.param(case, fault, id=f"{case.id} {fault}") for case in CASES.values() for fault in case.faults],
)
async def test_faults(endpoint: Endpoint, legacy: LegacyStore, case: Case, fault: str) -> None:
    """Send a call while the legacy store misbehaves: it is neither let in nor called wrong."""
    await endpoint.recovers()
    redirected = legacy.redirected
    call = endpoint.call(endpoint.account(fault=fault))
    reply = await endpoint.unavailable(call)
    assert call.account.asked, "the legacy store was not asked"
    assert legacy.redirected == redirected, "the password was sent on to where the redirect pointed"
    shows_nothing(reply, Call(call.account, "", None, None))


async def test_f1_nothing_listens(endpoint: Endpoint, legacy: LegacyStore) -> None:
    await endpoint.recovers()
    await legacy.server.stop()
    try:
        await endpoint.unavailable(endpoint.call())
    finally:
        await legacy.server.start()


async def test_f4_body_decides(endpoint: Endpoint, legacy: LegacyStore) -> None:
    await endpoint.recovers()
    call = endpoint.call(endpoint.account(says="wrong"))
    await endpoint.decides(call, RETRY)
    call.asked(1)


async def test_f8_slow(endpoint: Endpoint, legacy: LegacyStore) -> None:
    await endpoint.recovers()
    in_time(await endpoint.decides(endpoint.call(endpoint.account(delay=0.5)), MIGRATE))


async def test_f9_too_slow(endpoint: Endpoint, legacy: LegacyStore) -> None:
    await endpoint.recovers()
    faults = {"never": {"fault": "hang"}, "drips": {"fault": "drip"}, "floods": {"fault": "flood"}}
    accounts = {name: endpoint.account(**fault) for name, fault in faults.items()}
    accounts["5 s"] = endpoint.account(delay=5)
    results = await asyncio.gather(
        *(endpoint.unavailable(endpoint.call(account)) for account in accounts.values()), return_exceptions=True
    )
    for name, result in zip(accounts, results, strict=True):
        if isinstance(result, BaseException):
            raise type(result)(f"{name}: {result}")


async def test_f10_letting_go(endpoint: Endpoint, legacy: LegacyStore) -> None:
    await endpoint.recovers()
    call = endpoint.call(endpoint.account(fault="hang"))
    await endpoint.unavailable(call)
    if not await becomes_true(lambda: call.account.abandoned > 0, 1.5):
        raise TooSlow("1.5 s after the answer, the call to the legacy store is still open")


async def test_f11_breaker(endpoint: Endpoint, legacy: LegacyStore) -> None:
    await endpoint.recovers()
    for _ in range(10):
        call = endpoint.call(endpoint.account(fault="500"))
        await endpoint.unavailable(call)
        if not call.account.asked:
            break
    else:
        raise AssertionError("ten failures in a row, and the legacy store was asked each time")
    reply = await endpoint.unavailable(endpoint.call(endpoint.account(delay=1.0)))
    if reply.seconds > _AT_ONCE:
        raise TooSlow(f"the breaker is open, and the answer took {reply.seconds:.1f} s")
    await endpoint.recovers()


async def test_f14_guesses(endpoint: Endpoint, legacy: LegacyStore) -> None:
    await endpoint.recovers()
    person, hurried = endpoint.account(), endpoint.account()
    spellings = (str, str.upper, str.title, " {} ".format)
    for number in range(10):
        name = {"username": spellings[number % 4](person.username)}
        await endpoint.decides(endpoint.call(person, typed=f"Canary-guess-{number}-A1!", claims=name), RETRY, BLOCK)
    assert len(person.asked) < 10, "ten wrong guesses for one person, and the legacy store heard them all"
    guesses = [endpoint.call(hurried, typed=f"Canary-guess-{number}-A1!") for number in range(10)]
    await asyncio.gather(*(endpoint.decides(call, RETRY, BLOCK) for call in guesses))
    assert len(hurried.asked) < 10, "ten wrong guesses at once for one person, and the legacy store heard them all"
    await endpoint.decides(endpoint.call(), MIGRATE)


async def test_f16_unheard_answer(endpoint: Endpoint, legacy: LegacyStore) -> None:
    await endpoint.recovers()
    call = endpoint.call(endpoint.account(delay=0.4))
    await endpoint.decides(call, MIGRATE)
    call.account.says = "wrong"
    await endpoint.decides(call, MIGRATE)
    call.asked(1)


async def test_f22_repeated_outage(endpoint: Endpoint, legacy: LegacyStore) -> None:
    await endpoint.recovers()
    call = endpoint.call(endpoint.account(fault="hang"))
    started = time.perf_counter()
    await asyncio.gather(endpoint.unavailable(call), endpoint.unavailable(call))
    if time.perf_counter() - started > LIMIT + 0.2:
        raise TooSlow("two attempts at once waited for each other")


async def test_f24_kept_outage(endpoint: Endpoint, legacy: LegacyStore) -> None:
    await endpoint.recovers()
    call = endpoint.call(endpoint.account(fault="500"))
    await endpoint.unavailable(call)
    await asyncio.sleep(2.5)
    call.account.fault = ""
    await endpoint.unavailable(call)
    call.asked(1)


async def test_f12_steady_load(endpoint: Endpoint, legacy: LegacyStore) -> None:
    await endpoint.recovers()
    token, replies = endpoint.issuer.bearer(), []
    people = [endpoint.account() for _ in range(20)]
    loop = asyncio.get_running_loop()
    started, total = loop.time(), CALLS_PER_SECOND * endpoint.config.load_seconds
    for number in range(total):
        await asyncio.sleep(max(0.0, started + number / CALLS_PER_SECOND - loop.time()))
        call = endpoint.call(people[number % 20], token=token)
        replies.append(asyncio.create_task(endpoint.send(call)))
    answers: list[Reply] = await asyncio.gather(*replies)
    if wrong := [reply for reply in answers if reply.action != MIGRATE]:
        late = all(reply.action == BLOCK for reply in wrong)
        raise (TooSlow if late else AssertionError)(f"{len(wrong)} of {total} calls got {wrong[0]}")
    slow = sorted(reply.seconds for reply in answers)[int(total * 0.99)]
    if slow > LIMIT:
        together = f"the store answered at once, {legacy.most_running} together"
        raise TooSlow(f"1 of 100 calls took {slow:.1f} s or more; {together}")


async def test_f13_burst(endpoint: Endpoint, legacy: LegacyStore) -> None:
    await endpoint.recovers()
    # What this machine needs for as many calls on a store that answers at once is not the endpoint's fault.
    own = max(reply.seconds for reply in await _at_once(endpoint, 0))
    await endpoint.recovers()
    with patch.object(legacy, "allowed", _ALLOWED):
        answers = await _at_once(endpoint, 0.2)
    for reply in answers:
        assert reply.action in (MIGRATE, BLOCK) or (reply.status == 503 and not reply.action), f"under load: {reply}"
    in_time(max(answers, key=lambda reply: reply.seconds), LIMIT + own)
    await endpoint.recovers()


async def test_f21_after_the_burst(endpoint: Endpoint, legacy: LegacyStore) -> None:
    await endpoint.recovers()
    reply = await endpoint.send(endpoint.call())
    in_time(reply, 1.0)
    assert reply.action == MIGRATE, f"got {reply}"


async def _at_once(endpoint: Endpoint, delay: float) -> list[Reply]:
    token = endpoint.issuer.bearer()
    calls = [endpoint.call(endpoint.account(delay=delay), token=token) for _ in range(_PARALLEL)]
    return await asyncio.gather(*map(endpoint.send, calls))

"""F: the legacy store is away, slow, overloaded or answers nonsense. A user must not read "wrong password" for that."""

from __future__ import annotations

import asyncio
import time

import pytest

from jitkit.conformance.cases import SAFEST, case
from jitkit.conformance.endpoint import LIMIT, Call, Endpoint, Reply, TooSlow, in_time, shows_nothing
from jitkit.conformance.legacy_store import LegacyStore
from jitkit.protocol import BLOCK, CALLS_PER_SECOND, MIGRATE, RETRY

_RETRIES = "service limits: 2,000 ms, one retry"
_AT_ONCE = 0.25
_PARALLEL = 200
_ALLOWED = 20


async def _unavailable(endpoint: Endpoint, fault: str) -> Call:
    """Send a call while the legacy store misbehaves, and assert that it is neither let in nor called wrong."""
    await endpoint.recovers()
    call = endpoint.call(endpoint.account(fault=fault))
    reply = await endpoint.unavailable(call)
    assert call.account.asked, "the legacy store was not asked"
    shows_nothing(reply, Call(call.account, "", None, None))
    return call


@pytest.mark.area("Legacy faults and time")
class TestFaults:
    @case("F1", "nothing listens where the legacy store was: unavailable, not wrong", SAFEST)
    async def test_nothing_listens(self, endpoint: Endpoint, legacy: LegacyStore) -> None:
        await endpoint.recovers()
        await legacy.server.stop()
        try:
            await endpoint.unavailable(endpoint.call())
        finally:
            await legacy.server.start()

    @case("F2", "the legacy store answers 500, 502 in HTML, 503: unavailable, not wrong", SAFEST)
    @pytest.mark.parametrize("fault", ["500", "html", "503"])
    async def test_errors(self, endpoint: Endpoint, legacy: LegacyStore, fault: str) -> None:
        await _unavailable(endpoint, fault)

    @case("F3", "the legacy store is throttling: unavailable, not wrong", SAFEST)
    async def test_throttling(self, endpoint: Endpoint, legacy: LegacyStore) -> None:
        await _unavailable(endpoint, "429")

    @case("F23", "the legacy store refuses our own key (401, 403): unavailable, not wrong", SAFEST)
    @pytest.mark.parametrize("fault", ["401", "403"])
    async def test_refused_key(self, endpoint: Endpoint, legacy: LegacyStore, fault: str) -> None:
        await _unavailable(endpoint, fault)

    @case("F4", "status 200 is no 'right' by itself: the body decides", SAFEST)
    async def test_body_decides(self, endpoint: Endpoint, legacy: LegacyStore) -> None:
        await endpoint.recovers()
        call = endpoint.call(endpoint.account(says="wrong"))
        await endpoint.decides(call, RETRY)
        call.asked(1)

    @case("F5", "an answer that cannot be read is no verdict", SAFEST)
    @pytest.mark.parametrize("fault", ["html with 200", "empty", "half json", "no verdict", "not http", "hang up"])
    async def test_unreadable(self, endpoint: Endpoint, legacy: LegacyStore, fault: str) -> None:
        await _unavailable(endpoint, fault)

    @case("F6", "201 and 204 are not 'right'", SAFEST)
    @pytest.mark.parametrize("fault", ["201", "204"])
    async def test_other_success(self, endpoint: Endpoint, legacy: LegacyStore, fault: str) -> None:
        await _unavailable(endpoint, fault)

    @case("F7", "a redirect is not followed with a password in hand", SAFEST)
    async def test_redirect(self, endpoint: Endpoint, legacy: LegacyStore) -> None:
        before = legacy.redirected
        await _unavailable(endpoint, "redirect")
        assert legacy.redirected == before, "the password was sent on to where the redirect pointed"

    @case("F8", "half a second is slow, and still a success", _RETRIES)
    async def test_slow(self, endpoint: Endpoint, legacy: LegacyStore) -> None:
        await endpoint.recovers()
        in_time(await endpoint.decides(endpoint.call(endpoint.account(delay=0.5)), MIGRATE))

    @case("F9", "a store that never answers, drips or floods costs the person two seconds at most", _RETRIES)
    async def test_too_slow(self, endpoint: Endpoint, legacy: LegacyStore) -> None:
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

    @case("F10", "a call that took too long is let go, and does not pile up behind", SAFEST)
    async def test_letting_go(self, endpoint: Endpoint, legacy: LegacyStore) -> None:
        await endpoint.recovers()
        call = endpoint.call(endpoint.account(fault="hang"))
        await endpoint.unavailable(call)
        until = time.monotonic() + 1.5
        while not call.account.abandoned:
            if time.monotonic() > until:
                raise TooSlow("1.5 s after the answer, the call to the legacy store is still open")
            await asyncio.sleep(0.05)

    @case("F11", "after failures in a row the answer comes at once, and passes again when the store is well", SAFEST)
    @pytest.mark.needs("breaker")
    async def test_breaker(self, endpoint: Endpoint, legacy: LegacyStore) -> None:
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

    @case("F14", "guesses are stopped before the legacy store locks the account", SAFEST)
    @pytest.mark.needs("limiter")
    async def test_guesses(self, endpoint: Endpoint, legacy: LegacyStore) -> None:
        await endpoint.recovers()
        person = endpoint.account()
        for number in range(10):
            await endpoint.decides(endpoint.call(person, typed=f"Canary-guess-{number}-A1!"), RETRY, BLOCK)
        assert len(person.asked) < 10, "ten wrong guesses for one person, and the legacy store heard them all"
        await endpoint.decides(endpoint.call(), MIGRATE)

    @case("F16", "an answer that Entra did not wait for is the one its second attempt gets", _RETRIES)
    async def test_unheard_answer(self, endpoint: Endpoint, legacy: LegacyStore) -> None:
        await endpoint.recovers()
        call = endpoint.call(endpoint.account(delay=0.4))
        await endpoint.decides(call, MIGRATE)
        call.account.says = "wrong"
        await endpoint.decides(call, MIGRATE)
        call.asked(1)

    @case("F19", "an answer that breaks a reader of JSON breaks no sign-in, and shows no stack", SAFEST)
    @pytest.mark.parametrize(
        "fault", ["30,000 brackets", "a number of 5,000 digits", "half a character", "bytes that are no text"]
    )
    async def test_odd_answers(self, endpoint: Endpoint, legacy: LegacyStore, fault: str) -> None:
        await _unavailable(endpoint, fault)

    @case("F22", "an outage answer keeps its promise of time when repeated", _RETRIES)
    async def test_repeated_outage(self, endpoint: Endpoint, legacy: LegacyStore) -> None:
        await endpoint.recovers()
        call = endpoint.call(endpoint.account(fault="hang"))
        started = time.perf_counter()
        await asyncio.gather(endpoint.unavailable(call), endpoint.unavailable(call))
        if time.perf_counter() - started > LIMIT + 0.2:
            raise TooSlow("two attempts at once waited for each other")


@pytest.mark.area("Load")
class TestLoad:
    @case(
        "F12",
        "at 50 calls a second every call is answered right, and 99 of 100 in time",
        "service limits: 50 calls a second, 2,000 ms",
    )
    async def test_steady_load(self, endpoint: Endpoint, legacy: LegacyStore) -> None:
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

    @case(
        "F13",
        "200 calls at once on a store that takes 20: nobody waits too long, nobody reads 'wrong password'",
        SAFEST,
    )
    async def test_burst(self, endpoint: Endpoint, legacy: LegacyStore) -> None:
        await endpoint.recovers()
        # What this machine needs for as many calls on a store that answers at once is not the endpoint's fault.
        own = max(reply.seconds for reply in await _at_once(endpoint, 0))
        await endpoint.recovers()
        legacy.allowed = _ALLOWED
        try:
            answers = await _at_once(endpoint, 0.2)
        finally:
            legacy.allowed = 1000
        for reply in answers:
            assert reply.action in (MIGRATE, BLOCK) or (reply.status == 503 and not reply.action), (
                f"under load: {reply}"
            )
        in_time(max(answers, key=lambda reply: reply.seconds), LIMIT + own)
        await endpoint.recovers()

    @case("F21", "after the burst, an ordinary sign-in passes at once", SAFEST)
    async def test_after_the_burst(self, endpoint: Endpoint, legacy: LegacyStore) -> None:
        await endpoint.recovers()
        reply = await endpoint.send(endpoint.call())
        in_time(reply, 1.0)
        assert reply.action == MIGRATE, f"got {reply}"


async def _at_once(endpoint: Endpoint, delay: float) -> list[Reply]:
    token = endpoint.issuer.bearer()
    calls = [endpoint.call(endpoint.account(delay=delay), token=token) for _ in range(_PARALLEL)]
    return await asyncio.gather(*map(endpoint.send, calls))

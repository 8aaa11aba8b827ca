"""Breaker, limiter, pace and memory of nonces: with the endpoint around them where that shows more."""

from __future__ import annotations

import asyncio
import contextlib
import json
import uuid
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from jitkit.endpoint.crypto import PasswordContext
from jitkit.endpoint.decision import Refused, answer_to
from jitkit.endpoint.guard import Breaker, Guard, Limiter, Limits, RefusalDelay
from jitkit.endpoint.ledger import Counters
from jitkit.endpoint.stores import Verdict

from . import entra
from .conftest import Endpoint, Opener, in_virtual_time
from .entra import AskedStore
from .test_callout import decision


def context(username: str = "ann@contoso.example", password: str = "Abcdefg1", nonce: str = "") -> PasswordContext:
    return PasswordContext(username, password, nonce or str(uuid.uuid4()), 600.0)


def a_guard(store: AskedStore, **limits: Any) -> Guard:
    return Guard(
        lambda asked, _: store.verify(asked.username, asked.password),
        answer_to,
        Limits(**limits),
        Counters(),
        asyncio.get_running_loop().time,
    )


async def ask(guarded: Guard, asked: PasswordContext | None = None, seconds: float = 1.5) -> tuple[str, str]:
    answer, _ = await guarded.answer(asked or context(), asyncio.get_running_loop().time() + seconds)
    return answer.action, answer.cause


OTHER_USER = "55555555-5555-4555-8555-555555555555"


async def sign_in(endpoint: Endpoint, username: str, password: str = "Abcdefg1", user: str = entra.USER) -> str:
    body = entra.envelope(entra.context(password, username))
    body["data"]["authenticationContext"]["user"]["id"] = user
    return decision(await endpoint.post(body))[0]


def people() -> Iterator[str]:
    return (f"person-{number}@contoso.example" for number in range(10_000))


@in_virtual_time
async def test_five_failures_open_the_breaker_and_a_probe_closes_it() -> None:
    now = asyncio.get_running_loop().time
    store, someone = AskedStore(Verdict.DOWN), people()
    guarded = a_guard(store)
    for _ in range(5):
        assert await ask(guarded, context(next(someone))) == ("Block", "down")
    store.delay = 30
    started = now()
    assert await ask(guarded, context(next(someone))) == ("Block", "breaker_open")
    assert now() == started
    assert len(store.asked) == 5
    await asyncio.sleep(5)
    store.delay, store.verdict = 0.05, Verdict.RIGHT
    together = await asyncio.gather(*(ask(guarded, context(next(someone))) for _ in range(4)))
    assert sorted(together) == [("Block", "breaker_open")] * 3 + [("MigratePassword", "right")]
    assert await ask(guarded, context(next(someone))) == ("MigratePassword", "right")


@pytest.mark.parametrize("fault", [Verdict.THROTTLED, "slow", "broken"])
@in_virtual_time
async def test_every_kind_of_outage_counts_as_a_failure(fault: object) -> None:
    class Broken(AskedStore):
        async def verify(self, username: str, password: str) -> Verdict:
            if fault == "broken":
                raise RuntimeError(password)
            return await super().verify(username, password)

    store = Broken(fault if isinstance(fault, Verdict) else Verdict.RIGHT, delay=30 if fault == "slow" else 0)
    guarded, someone = a_guard(store), people()
    await asyncio.gather(*(ask(guarded, context(next(someone)), 0.2) for _ in range(5)))
    assert await ask(guarded, context(next(someone))) == ("Block", "breaker_open")


@in_virtual_time
async def test_answers_between_failures_keep_the_breaker_closed() -> None:
    store, someone = AskedStore(), people()
    guarded = a_guard(store)
    for verdict in [Verdict.DOWN] * 4 + [Verdict.WRONG] + [Verdict.DOWN] * 4 + [Verdict.MALFORMED] * 6:
        store.verdict = verdict
        assert (await ask(guarded, context(next(someone))))[1] == verdict


def test_a_probe_that_fails_doubles_the_rest() -> None:
    breaker = Breaker()
    someone = (bytes([number]) for number in range(99))
    assert [breaker.failed(next(someone), 0.0) for _ in range(5)] == [False] * 4 + [True]
    at, rest = 0.0, 5.0
    for _ in range(6):
        assert not breaker.enter(at + rest - 0.01)
        at += rest
        assert breaker.enter(at)
        assert not breaker.enter(at)
        breaker.failed(next(someone), at)
        rest = min(rest * 2, 60.0)
    breaker.failed(next(someone), at)  # a call from before the breaker opened
    assert breaker.refuses(at + 59)
    assert breaker.enter(at + 60)
    breaker.left()
    assert breaker.enter(at + 60)
    breaker.succeeded()
    assert not breaker.refuses(at + 60)


async def test_guesses_stop_before_the_legacy_store_locks_the_account(open_endpoint: Opener) -> None:
    endpoint = await open_endpoint(AskedStore(Verdict.WRONG))
    answers = [
        (await endpoint.post(entra.envelope(entra.context(f"Guess-{number}", username)))).json()["data"]["actions"]
        for number, username in enumerate(["ann@contoso.example", " Ann@Contoso.example"] * 5)
    ]
    assert answers == [answers[0]] * 10
    assert len(endpoint.store.asked) == 4
    assert [line["cause"] for line in endpoint.lines()] == ["wrong"] * 4 + ["too_many_guesses"] * 6
    endpoint.store.verdict = Verdict.RIGHT
    assert await sign_in(endpoint, "ann@contoso.example") == "Retry"
    assert await sign_in(endpoint, "bob@contoso.example", user=OTHER_USER) == "MigratePassword"


async def test_guesses_at_one_directory_account_count_under_all_its_names(open_endpoint: Opener) -> None:
    endpoint = await open_endpoint(AskedStore(Verdict.WRONG))
    names = ("bob@contoso.example", "bob", "ｂｏｂ@contoso.example", "bob\u00a0", "robert@contoso.example", "b.ob")
    for name in names:
        assert await sign_in(endpoint, name) == "Retry"
    assert len(endpoint.store.asked) == 4


async def test_guesses_at_one_name_count_for_all_directory_accounts(open_endpoint: Opener) -> None:
    endpoint = await open_endpoint(AskedStore(Verdict.WRONG))
    for _ in range(6):
        assert await sign_in(endpoint, "bob@contoso.example", user=str(uuid.uuid4())) == "Retry"
    assert len(endpoint.store.asked) == 4


@in_virtual_time
async def test_guesses_at_one_directory_account_count_in_parallel() -> None:
    store = AskedStore(Verdict.WRONG, delay=0.05)
    guarded, due = a_guard(store), asyncio.get_running_loop().time() + 1.5
    await asyncio.gather(*(guarded.answer(context(f"bob-{number}"), due, OTHER_USER) for number in range(30)))
    assert len(store.asked) == 4


@pytest.mark.parametrize("fault", [Verdict.DOWN, Verdict.THROTTLED])
@in_virtual_time
async def test_one_account_cannot_open_the_breaker_for_the_others(fault: Verdict) -> None:
    class OddForOne(AskedStore):
        async def verify(self, username: str, password: str) -> Verdict:
            await super().verify(username, password)
            return fault if username.startswith("odd") else Verdict.RIGHT

    store = OddForOne()
    guarded, loop = a_guard(store), asyncio.get_running_loop()
    for number in range(40):
        name = f"odd-{number}@contoso.example"
        answer, _ = await guarded.answer(context(name), loop.time() + 1.5, OTHER_USER)
        assert answer.cause == (fault if number < 4 else "too_many_guesses")
        assert await ask(guarded, context(f"person-{number}")) == ("MigratePassword", "right")


def test_a_probe_of_an_account_that_failed_before_says_nothing() -> None:
    breaker = Breaker()
    for number in range(5):
        breaker.failed(bytes([number]), 0.0)
    for _ in range(3):
        assert breaker.enter(5.0)
        breaker.failed(bytes([3]), 5.0)
    assert breaker.enter(5.0)
    breaker.succeeded()
    assert not breaker.refuses(5.0)


@in_virtual_time
async def test_many_guesses_at_once_are_no_way_around() -> None:
    store = AskedStore(Verdict.WRONG, delay=0.05)
    guarded = a_guard(store)
    await asyncio.gather(*(ask(guarded, context(password=f"Guess-{number}")) for number in range(30)))
    assert len(store.asked) == 4


@in_virtual_time
async def test_a_right_password_clears_the_account() -> None:
    store = AskedStore(Verdict.WRONG)
    guarded = a_guard(store)
    for verdict in [Verdict.WRONG] * 3 + [Verdict.RIGHT] + [Verdict.WRONG] * 4:
        store.verdict = verdict
        assert (await ask(guarded))[1] == verdict


@in_virtual_time
async def test_a_silent_store_uses_tries_up_and_is_never_called_a_wrong_password() -> None:
    store = AskedStore(delay=30)
    guarded = a_guard(store, guesses=2)
    assert await ask(guarded, seconds=0.1) == ("Block", "legacy_timeout")
    store.delay, store.verdict = 0, Verdict.WRONG
    assert await ask(guarded) == ("Retry", "wrong")
    assert await ask(guarded) == ("Block", "too_many_guesses")
    assert len(store.asked) == 2


def test_wrong_passwords_are_forgotten_in_time_and_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jitkit.endpoint.guard._ACCOUNTS", 10)
    limiter = Limiter(1, 60)
    account = limiter.account("ann", "id", 0.0)
    assert limiter.enter(account)
    limiter.leave(account, 1.0, wrong=True)
    assert not limiter.enter(limiter.account("ANN ", "", 60.0))
    assert not limiter.enter(limiter.account("other", "ID", 60.0))
    assert limiter.enter(limiter.account("ann", "id", 61.0))
    for name in people():
        limiter.account(name, "", 62.0)
    assert len(limiter._accounts) == 20
    assert b"ann" not in b"".join(limiter._accounts)


@pytest.mark.parametrize("other", [Verdict.UNKNOWN_USER, Verdict.NO_PASSWORD])
@in_virtual_time
async def test_unknown_passwordless_and_wrong_take_the_same_time(other: Verdict) -> None:
    class Telling(AskedStore):
        async def verify(self, username: str, password: str) -> Verdict:
            known = username.startswith("known")
            await asyncio.sleep(0.08 if known else 0.0)
            return Verdict.WRONG if known else other

    guarded = a_guard(Telling())
    took: dict[str, list[float]] = {"known": [], "nobody": []}
    for number in range(24):
        for kind, times in took.items():
            started = asyncio.get_running_loop().time()
            assert (await ask(guarded, context(f"{kind}-{number}")))[0] == "Retry"
            times.append(asyncio.get_running_loop().time() - started)
    assert took["known"][1:] == pytest.approx(took["nobody"][1:])


@in_virtual_time
async def test_a_refusal_that_is_held_back_still_leaves_in_time() -> None:
    store = AskedStore(Verdict.WRONG, delay=0.6)
    guarded = a_guard(store)
    await ask(guarded, context("slow"))
    store.delay = 0
    started = asyncio.get_running_loop().time()
    assert (await ask(guarded, context("quick"), 0.3))[0] == "Retry"
    assert asyncio.get_running_loop().time() - started < 0.3


def test_the_pace_follows_the_store() -> None:
    pace = RefusalDelay()
    assert pace.seconds == 0
    for number in range(1000):
        pace.note(1.0 if number < 500 else 0.1)
    assert pace.seconds == 0.1


@in_virtual_time
async def test_a_full_queue_is_answered_at_once() -> None:
    store, someone = AskedStore(delay=0.3), people()
    guarded = a_guard(store, concurrency=2)
    answers = await asyncio.gather(*(ask(guarded, context(next(someone))) for _ in range(40)))
    assert store.most_running == 2
    assert answers.count(("Block", "busy")) >= 30
    assert answers.count(("MigratePassword", "right")) >= 6


@in_virtual_time
async def test_a_crowd_is_bounded_and_everybody_is_answered_in_time() -> None:
    store = AskedStore(delay=30)
    guarded, now = a_guard(store), asyncio.get_running_loop().time
    started = now()
    answers = await asyncio.gather(*(ask(guarded, context(name)) for name in list(people())[:120]))
    assert now() - started < 1.6
    assert {action for action, _ in answers} == {"Block"}
    assert store.most_running == 20
    causes = Counter(cause for _, cause in answers)
    assert causes["legacy_timeout"] == len(store.asked) < 40
    assert causes["busy"] >= 20  # those who found a full queue, at once
    assert set(causes) <= {"legacy_timeout", "busy", "breaker_open"}


@in_virtual_time
async def test_a_nonce_after_the_window_is_a_replay() -> None:
    store = AskedStore()
    guarded, asked = a_guard(store), context()
    await ask(guarded, asked)
    await asyncio.sleep(60)
    with pytest.raises(Refused, match="nonce_replayed"):
        await ask(guarded, asked)
    assert len(store.asked) == 1


@in_virtual_time
async def test_one_nonce_is_one_persons_password_for_one_account() -> None:
    guarded, asked = a_guard(AskedStore()), context("ann@contoso.example", "Abcdefg1")
    due = asyncio.get_running_loop().time() + 1.5
    assert (await guarded.answer(asked, due, "one"))[1] == 1
    assert (await guarded.answer(asked, due, "one"))[1] == 2
    # Where a part ends belongs to what was asked: these have the same letters in a row.
    shifted = context("ann@contoso.exampleA", "bcdefg1", asked.nonce)
    for other, account in ((asked, "two"), (shifted, "one"), (context(password="Abcdefg2", nonce=asked.nonce), "one")):
        with pytest.raises(Refused, match="nonce_reused"):
            await guarded.answer(other, due, account)


@in_virtual_time
async def test_a_mapping_that_names_somebody_else_is_not_asked_for_ever() -> None:
    store = AskedStore(Verdict.OTHER_USER)
    guarded = a_guard(store)
    said = [await ask(guarded) for _ in range(6)]
    assert said == [("Block", "other_user")] * 4 + [("Block", "too_many_guesses")] * 2
    assert len(store.asked) == 4


@in_virtual_time
async def test_nonces_are_forgotten_when_their_context_has_expired() -> None:
    guarded = a_guard(AskedStore())
    for username in list(people())[:50]:
        await ask(guarded, PasswordContext(username, "Abcdefg1", str(uuid.uuid4()), 0.0))
    assert len(guarded._spent) == 1


async def test_when_entra_hangs_up_its_second_attempt_finds_the_answer(open_endpoint: Opener) -> None:
    endpoint = await open_endpoint(AskedStore(delay=0.2))
    body = entra.envelope(entra.context())
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(endpoint.post(body), 0.1)
    assert decision(await endpoint.post(body))[0] == "MigratePassword"
    assert len(endpoint.store.asked) == 1
    assert endpoint.store.cancelled == 0
    assert endpoint.lines()[-1]["attempt"] == 2


@in_virtual_time
async def test_attempts_at_once_are_told_apart() -> None:
    store = AskedStore(delay=0.1)
    guarded, asked = a_guard(store), context()
    due = asyncio.get_running_loop().time() + 1.5
    answers = await asyncio.gather(*(guarded.answer(asked, due) for _ in range(3)))
    assert [attempt for _, attempt in answers] == [1, 2, 3]
    assert len(store.asked) == 1


@in_virtual_time
async def test_a_store_that_does_not_let_go_holds_nobody_up() -> None:
    released = asyncio.Event()

    class Stubborn(AskedStore):
        async def verify(self, username: str, password: str) -> Verdict:
            while not released.is_set():
                with contextlib.suppress(asyncio.CancelledError):
                    await released.wait()
            return Verdict.RIGHT

    guarded, asked = a_guard(Stubborn(), concurrency=1), context()
    assert await ask(guarded, asked, 0.2) == ("Block", "legacy_timeout")
    assert await ask(guarded, context("bob"), 0.2) == ("Block", "busy"), "its place is still taken"
    released.set()
    assert (await ask(guarded, asked, 0.2))[0] in ("MigratePassword", "Block")


@in_virtual_time
async def test_a_broken_store_leaves_no_exception_behind(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(AskedStore):
        async def verify(self, username: str, password: str) -> Verdict:
            raise RuntimeError(f"{username} {password}")

    guarded = a_guard(Broken())
    assert await ask(guarded, context(password=entra.CANARY)) == ("Block", "unexpected")
    assert "RuntimeError at" in caplog.text
    assert entra.CANARY not in caplog.text


async def test_a_second_migration_of_one_customer_is_counted(open_endpoint: Opener) -> None:
    endpoint = await open_endpoint(AskedStore())
    body = entra.envelope(entra.context())
    for again in (body, body, entra.envelope(entra.context())):
        assert decision(await endpoint.post(again))[0] == "MigratePassword"
    assert [line["cause"] for line in endpoint.lines()] == ["right", "right", "flag_stuck"]
    restarted = await open_endpoint(AskedStore())
    await restarted.post()
    assert restarted.lines()[-1]["cause"] == "flag_stuck"


async def test_a_damaged_ledger_hinders_nothing(open_endpoint: Opener, tmp_path: Any) -> None:
    lines = ["half a line", "[1]", '{"action": "MigratePassword"}', json.dumps({"action": "Retry", "user_id": "x"})]
    (tmp_path / "ledger.jsonl").write_text("\n".join(lines) + "\n")
    endpoint = await open_endpoint(AskedStore())
    await endpoint.post()
    assert json.loads(endpoint.ledger.read_text().splitlines()[-1])["cause"] == "right"

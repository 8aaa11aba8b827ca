"""A clock of its own: every time that the endpoint judges by moves with it, and none goes on without it."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from jitkit.endpoint.app import Clock
from jitkit.endpoint.stores import Verdict

from . import entra
from .conftest import Endpoint, Opener
from .entra import AskedStore

LATER = datetime.now(UTC).replace(microsecond=0) + timedelta(days=20)


@dataclass
class Held:
    """A time that stands until it is moved."""

    seconds: float = LATER.timestamp()

    def clock(self) -> Clock:
        return Clock(now=lambda: self.seconds, monotonic=lambda: self.seconds)


def times(held: Held, life: int = 600) -> dict[str, int]:
    now = int(held.seconds)
    return {"iat": now, "nbf": now, "exp": now + life}


async def status(endpoint: Endpoint, held: Held, password: str = entra.CANARY, **claims: str) -> int:
    token = entra.bearer(**times(held, 3600))
    body = entra.envelope(entra.context(password, **(times(held) | claims)))
    return (await endpoint.post(body, token=token)).status_code


async def test_the_ledger_and_the_certificate_go_by_it(open_endpoint: Opener) -> None:
    held = Held()
    endpoint = await open_endpoint(clock=held.clock())
    assert await status(endpoint, held) == 200
    assert datetime.fromisoformat(endpoint.lines()[0]["time"]) == LATER
    days = (await endpoint.http.get(entra.ROUTE)).json()["certificate_days_left"]
    held.seconds += 30 * 86_400
    assert (await endpoint.http.get(entra.ROUTE)).json()["certificate_days_left"] == days - 30


async def test_tokens_and_contexts_are_good_by_it_alone(open_endpoint: Opener) -> None:
    held = Held()
    endpoint = await open_endpoint(clock=held.clock())
    assert (await endpoint.post(token=entra.bearer())).status_code == 401
    token = entra.bearer(**times(held, 3600))
    assert (await endpoint.post(token=token)).status_code == 400
    good = entra.envelope(entra.context(**times(held)))
    assert (await endpoint.post(good, token=token)).status_code == 200
    held.seconds += 3600
    assert (await endpoint.post(entra.envelope(entra.context(**times(held))), token=token)).status_code == 200
    held.seconds += 301
    assert (await endpoint.post(entra.envelope(entra.context(**times(held))), token=token)).status_code == 401
    causes = [line["cause"] for line in endpoint.lines()]
    assert causes == ["token_expired", "context_expired", "right", "flag_stuck", "token_expired"]


async def test_a_nonce_is_answered_again_for_a_minute_of_it_and_refused_until_it_expires(open_endpoint: Opener) -> None:
    held = Held()
    endpoint = await open_endpoint(clock=held.clock())
    claims = {"nonce": str(uuid.uuid4())} | times(held, 3600)
    assert [await status(endpoint, held, **claims) for _ in range(2)] == [200, 200]
    held.seconds += 61
    assert await status(endpoint, held, **claims) == 400
    assert [line["cause"] for line in endpoint.lines()] == ["right", "right", "nonce_replayed"]
    assert len(endpoint.store.asked) == 1


async def test_guesses_are_forgotten_and_a_store_is_probed_when_its_time_has_passed(open_endpoint: Opener) -> None:
    held, store = Held(), AskedStore(Verdict.WRONG)
    endpoint = await open_endpoint(store, clock=held.clock())
    for number in range(6):
        assert await status(endpoint, held, f"Guess-{number}") == 200
    assert len(store.asked) == 4
    held.seconds += 901
    store.verdict = Verdict.DOWN
    for number in range(6):
        body = entra.envelope(entra.context(username=f"ann{number}@contoso.example", **times(held)))
        body["data"]["authenticationContext"]["user"]["id"] = str(uuid.uuid4())
        await endpoint.post(body, token=entra.bearer(**times(held)))
    assert len(store.asked) == 9
    assert endpoint.lines()[-1]["cause"] == "breaker_open"
    held.seconds += 5
    store.verdict = Verdict.RIGHT
    assert await status(endpoint, held) == 200
    assert endpoint.lines()[-1]["action"] == "MigratePassword"


async def test_a_token_is_no_longer_good_when_its_key_is_not_published_any_more(open_endpoint: Opener) -> None:
    held = Held()
    endpoint = await open_endpoint(clock=held.clock())
    token = entra.bearer(**times(held, 86_400))

    async def answer() -> int:
        return (await endpoint.post(entra.envelope(entra.context(**times(held))), token=token)).status_code

    assert await answer() == 200
    endpoint.documents.keys[entra.CIAM] = ["new-signing"]
    held.seconds += 3500
    assert await answer() == 200
    held.seconds += 101
    answers = [await answer() for _ in range(50)]  # an hour has passed: the first makes the endpoint fetch in between
    assert answers[-1] == 401


async def test_a_remembered_token_is_good_until_it_ends(open_endpoint: Opener) -> None:
    held = Held()
    endpoint = await open_endpoint(clock=held.clock())
    token = entra.bearer(**times(held, 60))
    body = entra.envelope(entra.context(**times(held, 3600)))
    assert (await endpoint.post(body, token=token)).status_code == 200
    held.seconds += 61 + 301
    assert (await endpoint.post(body, token=token)).status_code == 401


@pytest.mark.parametrize(("life", "expected"), [(600, 200), (3600, 200), (3600 + 301, 400), (10 * 365 * 86_400, 400)])
async def test_a_context_that_is_good_for_absurdly_long_is_refused(
    open_endpoint: Opener, life: int, expected: int
) -> None:
    held = Held()
    endpoint = await open_endpoint(clock=held.clock())
    body = entra.envelope(entra.context(**times(held, life)))
    assert (await endpoint.post(body, token=entra.bearer(**times(held)))).status_code == expected
    assert endpoint.lines()[-1]["cause"] == ("right" if expected == 200 else "context_lifetime")


async def test_an_unknown_signing_key_is_looked_for_again_after_half_a_minute_of_it(open_endpoint: Opener) -> None:
    held = Held()
    endpoint = await open_endpoint(clock=held.clock())
    endpoint.documents.keys[entra.CIAM].append("new-signing")
    token = entra.bearer("new-signing", **times(held, 3600))
    body = entra.envelope(entra.context(**times(held)))
    assert (await endpoint.post(body, token=token)).status_code == 401
    held.seconds += 31
    assert (await endpoint.post(body, token=token)).status_code == 200

"""O and R: from what the legacy store says to one action, in the form that the service reads."""

from __future__ import annotations

import statistics

import pytest

from jitkit.conformance.endpoint import Endpoint, Reply, TooSlow, shows_nothing
from jitkit.conformance.legacy_store import LegacyStore
from jitkit.protocol import ACTION_PREFIX, BLOCK, MIGRATE, RESPONSE_DATA_TYPE, RETRY, UPDATE

_STRONG = "Canary-Str0ng-enough!"
_LARGEST = 4096
_NOTICED = 5.0  # milliseconds, which a caller on a network could measure


async def test_o2_weak(endpoint: Endpoint) -> None:
    wanted = MIGRATE if endpoint.config.features.weak_passwords else UPDATE
    await endpoint.decides(endpoint.call("weak"), wanted)


async def test_o4_unknown(endpoint: Endpoint) -> None:
    times: dict[str, list[float]] = {"wrong": [], "unknown": []}
    bodies: set[bytes] = set()
    for _ in range(12):
        for kind, seconds in times.items():
            call = endpoint.call(kind)
            reply = await endpoint.decides(call, RETRY)
            bodies.add(reply.body.replace(call.nonce.encode(), b""))
            seconds.append(reply.seconds)
    assert len(bodies) == 1, "the body tells an unknown name from a wrong password"
    known, unknown = (statistics.median(seconds) * 1000 for seconds in times.values())
    # The share of pairs in which the unknown name took longer: one half when nothing tells them apart. Beyond these
    # bounds chance is one in a thousand [Mann and Whitney, 12 against 12].
    longer = statistics.mean(a < b for a in times["wrong"] for b in times["unknown"])
    if not 0.1 <= longer <= 0.9 and abs(known - unknown) > _NOTICED:
        raise TooSlow(f"the time tells an unknown name ({unknown:.0f} ms) from a wrong password ({known:.0f} ms)")


async def test_o13_second_migration(endpoint: Endpoint, legacy: LegacyStore) -> None:
    person = endpoint.account()
    for _ in range(2):
        await endpoint.decides(endpoint.call(person), MIGRATE)
    wrong = endpoint.call(person, typed=_STRONG)
    wrong.asked(2)
    await endpoint.decides(wrong, RETRY)


async def test_o14_changed_password(endpoint: Endpoint, legacy: LegacyStore) -> None:
    person = endpoint.account()
    old = person.password
    await endpoint.decides(endpoint.call(person), MIGRATE)
    person.password = _STRONG
    await endpoint.decides(endpoint.call(person, typed=old), RETRY)
    new = endpoint.call(person)
    await endpoint.decides(new, MIGRATE)
    new.asked(3)


async def _answers(endpoint: Endpoint) -> list[tuple[Reply, str]]:
    """Get one answer of every kind, with its nonce."""
    calls = []
    for kind in ("right", "wrong", "locked", "weak"):
        # The endpoint's own store may lock an account after a wrong password, so "right" is not used for one if
        # the configuration names another.
        if endpoint.config.accounts and not getattr(endpoint.config.accounts, kind):
            if kind == "wrong":
                calls.append(endpoint.call(typed="Canary-near-miss-R-1!"))
        else:
            calls.append(endpoint.call(kind))
    return [(await endpoint.send(call), call.nonce) for call in calls]


async def test_r1_status_and_type(endpoint: Endpoint) -> None:
    for reply, _ in await _answers(endpoint):
        kind = reply.headers.get("content-type", "").partition(";")[0].strip().lower()
        assert reply.status == 200, f"a decision with status {reply.status}"
        assert kind == "application/json", f"content type {kind or 'missing'}"


async def test_r2_one_action(endpoint: Endpoint) -> None:
    for reply, _ in await _answers(endpoint):
        actions = (reply.data or {}).get("actions")
        count = len(actions) if isinstance(actions, list) else "no list of"
        assert count == 1, f"{count} actions"


async def test_r3_spelling(endpoint: Endpoint) -> None:
    prefixes = (ACTION_PREFIX, ACTION_PREFIX.replace("passwordSubmit", "passwordsubmit"))
    known = {prefix + name for prefix in prefixes for name in (MIGRATE, UPDATE, RETRY, BLOCK)}
    for reply, _ in await _answers(endpoint):
        data = reply.data or {}
        kind = data.get("@odata.type")
        assert kind == RESPONSE_DATA_TYPE, f"data has the type {kind!r}, not {RESPONSE_DATA_TYPE!r}"
        for action in data.get("actions", []):
            kind = action.get("@odata.type")
            assert kind in known, f"an action has the type {kind!r}"


async def test_r4_nonce(endpoint: Endpoint) -> None:
    capitals = endpoint.call()
    nonce = "A0B1C2D3-E4F5-4A6B-8C7D-" + capitals.nonce[-12:].upper()
    capitals = endpoint.call(capitals.account, claims={"nonce": nonce})
    for reply, sent in [*await _answers(endpoint), (await endpoint.send(capitals), nonce)]:
        back = (reply.data or {}).get("nonce")
        assert back is not None, "the nonce is missing"
        assert back == sent, "the nonce came back changed"


async def test_r5_texts(endpoint: Endpoint) -> None:
    for reply, _ in await _answers(endpoint):
        if str(reply.data["actions"][0]["@odata.type"]).lower().endswith("block"):
            assert set(reply.texts) == {"title", "message"}, "Block without title and message"
        else:
            assert not reply.texts, f"{' and '.join(reply.texts)} on an action other than Block"


async def test_r6_size(endpoint: Endpoint) -> None:
    for reply, _ in await _answers(endpoint):
        assert 0 < len(reply.body) <= _LARGEST, f"a body of {len(reply.body)} bytes"


@pytest.mark.parametrize("kind", ["right", "locked"])
async def test_r8_nothing_secret(endpoint: Endpoint, kind: str) -> None:
    call = endpoint.call(kind)
    reply = await endpoint.send(call)
    call.nonce = ""
    shows_nothing(reply, call)


async def test_r9_correlation(endpoint: Endpoint) -> None:
    call = endpoint.call()
    wanted = call.body["data"]["authenticationContext"]["correlationId"]
    headers = (await endpoint.send(call)).headers.values()
    assert wanted in headers, "no header of the answer holds the correlation id"

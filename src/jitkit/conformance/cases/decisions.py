"""O and R: from what the legacy store says to one action, in the form that the service reads."""

from __future__ import annotations

import statistics

import pytest

from jitkit.conformance.cases import HOWTO, SAFEST, case, table
from jitkit.conformance.endpoint import Endpoint, Reply, TooSlow, shows_nothing
from jitkit.conformance.legacy_store import LegacyStore
from jitkit.protocol import ACTION_PREFIX, BLOCK, MIGRATE, RESPONSE_DATA_TYPE, RETRY, UPDATE

_ERRORS = "Troubleshoot custom authentication extensions"
_STRONG = "Canary-Str0ng-enough!"
_LARGEST = 4096


@pytest.mark.area("Outcomes")
class TestOutcomes:
    @case("O1", "right and strong: MigratePassword", HOWTO)
    async def test_right(self, endpoint: Endpoint) -> None:
        await endpoint.decides(endpoint.call("right"), MIGRATE)

    @case(
        "O2",
        "right and below the password policy: UpdatePassword, or MigratePassword where weak ones are let in",
        HOWTO,
    )
    async def test_weak(self, endpoint: Endpoint) -> None:
        wanted = MIGRATE if endpoint.config.features.weak_passwords else UPDATE
        await endpoint.decides(endpoint.call("weak"), wanted)

    @case("O3", "wrong: Retry", HOWTO)
    async def test_wrong(self, endpoint: Endpoint) -> None:
        await endpoint.decides(endpoint.call("wrong"), RETRY)

    @case("O4", "unknown to the legacy store: like wrong, in text, length and time", SAFEST, required=False)
    async def test_unknown(self, endpoint: Endpoint) -> None:
        times: dict[str, list[float]] = {"wrong": [], "unknown": []}
        bodies: set[bytes] = set()
        for _ in range(5):
            for kind, seconds in times.items():
                call = endpoint.call(kind)
                reply = await endpoint.decides(call, RETRY)
                bodies.add(reply.body.replace(call.nonce.encode(), b""))
                seconds.append(reply.seconds)
        assert len(bodies) == 1, "the body tells an unknown name from a wrong password"
        known, unknown = (statistics.median(seconds) * 1000 for seconds in times.values())
        if abs(known - unknown) > max(50, 0.5 * max(known, unknown)):
            raise TooSlow(f"the time tells an unknown name ({unknown:.0f} ms) from a wrong password ({known:.0f} ms)")

    @pytest.mark.parametrize(
        "kind",
        [
            pytest.param("locked", marks=case("O5", "locked: Block, even with the right password", HOWTO)),
            pytest.param("disabled", marks=case("O6", "disabled: Block, even with the right password", HOWTO)),
            pytest.param(
                "no_password",
                marks=case("O10", "no password in the legacy store, as with social sign-in: Block with a text", SAFEST),
            ),
        ],
    )
    async def test_blocked(self, endpoint: Endpoint, kind: str) -> None:
        reply = await endpoint.decides(endpoint.call(kind), BLOCK)
        assert reply.texts.get("message"), "Block without a message: the user reads nothing about what to do"

    @case("O7", "right, but expired or due for change: UpdatePassword", HOWTO)
    async def test_must_change(self, endpoint: Endpoint) -> None:
        await endpoint.decides(endpoint.call("must_change"), UPDATE)

    @case("O8", "the legacy store wants a second factor: never 'wrong password'", SAFEST)
    async def test_second_factor(self, endpoint: Endpoint) -> None:
        await endpoint.decides(endpoint.call("mfa"), MIGRATE, BLOCK)

    @case("O9", "External ID's password rules, at their edges", "Microsoft Entra password policies")
    @table(
        "password, action",
        {
            "eight characters of three classes": ("Abcdef1x", MIGRATE),
            "seven characters": ("Abcd1!x", UPDATE),
            "256 characters": ("Aa1!" * 64, MIGRATE),
            "257 characters": ("Aa1!" * 64 + "x", UPDATE),
            "two classes": ("abcdefgh1234", UPDATE),
            "letters beyond ASCII": ("Zwölf-Gänse-1!", UPDATE),
        },
    )
    async def test_password_rules(self, endpoint: Endpoint, legacy: LegacyStore, password: str, action: str) -> None:
        if endpoint.config.features.weak_passwords:
            pytest.skip("the configuration says that weak passwords are let in")
        await endpoint.decides(endpoint.call(endpoint.account(password=password)), action)

    @case("O12", "an answer about another person proves nothing about this one", SAFEST)
    async def test_other_person(self, endpoint: Endpoint, legacy: LegacyStore) -> None:
        await endpoint.decides(endpoint.call(endpoint.account(names="somebody-else@conformance.example")), BLOCK)

    @case("O13", "migrated before and asked about again: the password is verified again, and migrated", SAFEST)
    async def test_second_migration(self, endpoint: Endpoint, legacy: LegacyStore) -> None:
        person = endpoint.account()
        for _ in range(2):
            await endpoint.decides(endpoint.call(person), MIGRATE)
        wrong = endpoint.call(person, typed=_STRONG)
        wrong.asked(2)
        await endpoint.decides(wrong, RETRY)

    @case("O14", "the legacy store's password of today counts, not one from before", SAFEST)
    async def test_changed_password(self, endpoint: Endpoint, legacy: LegacyStore) -> None:
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


@pytest.mark.area("Form of the answer")
class TestForm:
    @case("R1", "every decision has status 200 and content type application/json", f"{_ERRORS}: 1003002, 1003006")
    async def test_status_and_type(self, endpoint: Endpoint) -> None:
        for reply, _ in await _answers(endpoint):
            kind = reply.headers.get("content-type", "").partition(";")[0].strip().lower()
            assert reply.status == 200, f"a decision with status {reply.status}"
            assert kind == "application/json", f"content type {kind or 'missing'}"

    @case("R2", "exactly one action", f"{_ERRORS}: 1003010")
    async def test_one_action(self, endpoint: Endpoint) -> None:
        for reply, _ in await _answers(endpoint):
            actions = (reply.data or {}).get("actions")
            count = len(actions) if isinstance(actions, list) else "no list of"
            assert count == 1, f"{count} actions"

    @case("R3", "the types are spelt as documented", f"{HOWTO}; {_ERRORS}: 1003012")
    async def test_spelling(self, endpoint: Endpoint) -> None:
        prefixes = (ACTION_PREFIX, ACTION_PREFIX.replace("passwordSubmit", "passwordsubmit"))
        known = {prefix + name for prefix in prefixes for name in (MIGRATE, UPDATE, RETRY, BLOCK)}
        for reply, _ in await _answers(endpoint):
            data = reply.data or {}
            kind = data.get("@odata.type")
            assert kind == RESPONSE_DATA_TYPE, f"data has the type {kind!r}, not {RESPONSE_DATA_TYPE!r}"
            for action in data.get("actions", []):
                kind = action.get("@odata.type")
                assert kind in known, f"an action has the type {kind!r}"

    @case("R4", "the nonce comes back character for character", HOWTO)
    async def test_nonce(self, endpoint: Endpoint) -> None:
        capitals = endpoint.call()
        nonce = "A0B1C2D3-E4F5-4A6B-8C7D-" + capitals.nonce[-12:].upper()
        capitals = endpoint.call(capitals.account, claims={"nonce": nonce})
        for reply, sent in [*await _answers(endpoint), (await endpoint.send(capitals), nonce)]:
            back = (reply.data or {}).get("nonce")
            assert back is not None, "the nonce is missing"
            assert back == sent, "the nonce came back changed"

    @case("R5", "title and message stand on Block alone", HOWTO)
    async def test_texts(self, endpoint: Endpoint) -> None:
        for reply, _ in await _answers(endpoint):
            if str(reply.data["actions"][0]["@odata.type"]).lower().endswith("block"):
                assert set(reply.texts) == {"title", "message"}, "Block without title and message"
            else:
                assert not reply.texts, f"{' and '.join(reply.texts)} on an action other than Block"

    @case("R6", "the body is not empty, and small", f"{_ERRORS}: 1003009, 1003024")
    async def test_size(self, endpoint: Endpoint) -> None:
        for reply, _ in await _answers(endpoint):
            assert 0 < len(reply.body) <= _LARGEST, f"a body of {len(reply.body)} bytes"

    @case("R8", "no password, username or stack in a decision's body or headers", SAFEST)
    @pytest.mark.parametrize("kind", ["right", "locked"])
    async def test_nothing_secret(self, endpoint: Endpoint, kind: str) -> None:
        call = endpoint.call(kind)
        reply = await endpoint.send(call)
        call.nonce = ""
        shows_nothing(reply, call)

    @case(
        "R9",
        "the correlation id comes back in a header, so that both sides' logs can be joined",
        SAFEST,
        required=False,
    )
    async def test_correlation(self, endpoint: Endpoint) -> None:
        call = endpoint.call()
        wanted = call.body["data"]["authenticationContext"]["correlationId"]
        headers = (await endpoint.send(call)).headers.values()
        assert wanted in headers, "no header of the answer holds the correlation id"

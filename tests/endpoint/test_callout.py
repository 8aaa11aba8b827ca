"""The callout from bearer token to action, in one process with real cryptography."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from jitkit.endpoint.stores import Verdict

from . import entra
from .conftest import Endpoint, Opener
from .entra import AskedStore


def decision(response: Any) -> tuple[str, dict[str, Any]]:
    """Check the response's form, and return the action's name and the whole data."""
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    (member,) = response.json().items()
    assert member[0] == "data"
    data = member[1]
    assert data["@odata.type"] == "microsoft.graph.onPasswordSubmitResponseData"
    (action,) = data["actions"]
    prefix, _, name = action["@odata.type"].rpartition(".")
    assert prefix == "microsoft.graph.passwordSubmit"
    assert (set(action) == {"@odata.type", "title", "message"}) is (name == "Block")
    return name, data


@pytest.mark.parametrize(
    ("verdict", "password", "action", "cause"),
    [
        (Verdict.RIGHT, "Abcdefg1", "MigratePassword", "right"),
        (Verdict.MFA, "Abcdefg1", "MigratePassword", "mfa"),
        (Verdict.RIGHT, "abcdefgh", "UpdatePassword", "weak"),
        (Verdict.RIGHT, "Ab1!", "UpdatePassword", "weak"),
        (Verdict.RIGHT, "Passwörd1", "UpdatePassword", "weak"),
        (Verdict.RIGHT_MUST_CHANGE, "Abcdefg1", "UpdatePassword", "must_change"),
        (Verdict.WRONG, "Abcdefg1", "Retry", "wrong"),
        (Verdict.UNKNOWN_USER, "Abcdefg1", "Retry", "unknown_user"),
        (Verdict.LOCKED, "Abcdefg1", "Block", "locked"),
        (Verdict.DISABLED, "Abcdefg1", "Block", "disabled"),
        (Verdict.NO_PASSWORD, "Abcdefg1", "Retry", "no_password"),
        (Verdict.OTHER_USER, "Abcdefg1", "Block", "other_user"),
        (Verdict.DOWN, "Abcdefg1", "Block", "down"),
        (Verdict.THROTTLED, "Abcdefg1", "Block", "throttled"),
        (Verdict.MALFORMED, "Abcdefg1", "Block", "malformed"),
        (Verdict.AMBIGUOUS, "Abcdefg1", "Block", "ambiguous"),
    ],
)
async def test_every_verdict_has_one_action(
    open_endpoint: Opener, verdict: Verdict, password: str, action: str, cause: str
) -> None:
    endpoint = await open_endpoint(AskedStore(verdict))
    claims = entra.context_claims(password)
    response = await endpoint.post(entra.envelope(entra.jwe(entra.unsigned(claims))))
    name, data = decision(response)
    assert (name, data["nonce"]) == (action, claims["nonce"])
    assert endpoint.store.asked == [("ann@contoso.example", password)]
    (line,) = endpoint.lines()
    assert (line["action"], line["cause"]) == (action, cause)


async def test_wrong_and_unknown_look_the_same(open_endpoint: Opener) -> None:
    bodies = []
    for verdict in (Verdict.WRONG, Verdict.UNKNOWN_USER):
        endpoint = await open_endpoint(AskedStore(verdict))
        nonce = "88888888-8888-4888-8888-888888888888"
        bodies.append((await endpoint.post(entra.envelope(entra.context(nonce=nonce)))).content)
    assert bodies[0] == bodies[1]


async def test_a_ledger_line_says_what_happened_and_no_more(endpoint: Endpoint) -> None:
    response = await endpoint.post()
    assert response.headers["x-correlation-id"] == entra.CORRELATION
    (line,) = endpoint.lines()
    assert line.pop("time").endswith("+00:00")
    assert 0 < line.pop("duration_ms") < 1500
    assert line == {
        "correlation_id": entra.CORRELATION,
        "user_id": entra.USER,
        "app_id": entra.CLIENT,
        "action": "MigratePassword",
        "cause": "right",
        "legacy": "asked",
        "key": entra.x5t("encryption"),
        "attempt": 1,
    }
    assert endpoint.ledger.stat().st_mode & 0o777 == 0o600


async def test_health_says_nothing_that_helps_an_attacker(endpoint: Endpoint) -> None:
    response = await endpoint.http.get(entra.ROUTE)
    assert response.status_code == 200
    ends = entra.certificate("encryption").not_valid_after_utc.date().isoformat()
    assert response.json() == {"status": "ok", "keys_end": [ends], "certificate_days_left": 364}
    assert not endpoint.lines()


async def test_a_key_is_confirmed_to_who_knows_its_thumbprint(endpoint: Endpoint) -> None:
    """H7: before Entra is switched to a new key, its thumbprint is asked about."""
    for thumbprint, held in ((entra.x5t("encryption"), True), ("A" * 27, False)):
        health = (await endpoint.http.get(entra.ROUTE, params={"x5t": thumbprint})).json()
        assert health.pop("keys_end") and health == {"status": "ok", "certificate_days_left": 364, "has_key": held}


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH"])
async def test_other_methods_are_refused(endpoint: Endpoint, method: str) -> None:
    assert (await endpoint.http.request(method, entra.ROUTE)).status_code == 405


async def test_no_body_is_read_before_the_caller_is_known(endpoint: Endpoint) -> None:
    async def body() -> Any:
        raise AssertionError("the body was read")
        yield b""

    response = await endpoint.http.post(entra.ROUTE, content=body(), headers={"content-type": "application/json"})
    assert response.status_code == 401


@pytest.mark.parametrize("content_type", ["text/xml", "application/x-www-form-urlencoded", "", "application/jsonp"])
async def test_other_content_types_are_415(endpoint: Endpoint, content_type: str) -> None:
    assert (await endpoint.post(headers={"content-type": content_type})).status_code == 415


async def test_a_charset_beside_the_content_type_is_accepted(endpoint: Endpoint) -> None:
    decision(await endpoint.post(headers={"content-type": "Application/JSON; charset=utf-8"}))


@pytest.mark.parametrize("declared", [True, False])
async def test_a_large_body_is_413(endpoint: Endpoint, declared: bool) -> None:
    async def chunks() -> Any:
        for _ in range(1024):
            yield b" " * 1024

    response = await endpoint.post(content=b" " * 1_000_000 if declared else chunks())
    assert response.status_code == 413
    assert endpoint.lines()[0]["cause"] == "too_large"


@pytest.mark.parametrize("content", [b"", b"[]", b"null", b"{", b'{"type":1}', b"[" * 60_000, b"\xff\xfe{}"])
async def test_what_is_no_envelope_is_400(endpoint: Endpoint, content: bytes) -> None:
    response = await endpoint.post(content=content)
    assert (response.status_code, response.content) == (400, b"{}")
    assert not endpoint.store.asked


async def test_a_member_given_twice_is_400(endpoint: Endpoint) -> None:
    good = json.dumps(entra.envelope(entra.context()))
    twice = good.replace('"tenantId"', f'"tenantId": "{entra.USER}", "tenantId"', 1)
    assert (await endpoint.post(content=twice)).status_code == 400
    decision(await endpoint.post(content=good))


@pytest.mark.parametrize(
    ("member", "value"),
    [("user", []), ("user", {"id": 7}), ("clientServicePrincipal", ["x"]), ("correlationId", 7), ("user", "ann")],
)
async def test_a_member_of_another_type_is_400(endpoint: Endpoint, member: str, value: object) -> None:
    body = entra.envelope(entra.context())
    body["data"]["authenticationContext"][member] = value
    assert (await endpoint.post(body)).status_code == 400


async def test_unknown_members_are_ignored_and_a_minimal_envelope_is_enough(endpoint: Endpoint) -> None:
    extended = entra.envelope(entra.context(), somethingNew={"deep": [1]})
    decision(await endpoint.post(extended | {"more": 1}))
    minimal = entra.envelope(entra.context())
    del minimal["source"]
    minimal["data"]["authenticationContext"] = {"user": {"id": entra.USER}}
    decision(await endpoint.post(minimal))
    assert endpoint.lines()[1]["correlation_id"] is None


@pytest.mark.parametrize("value", [None, 7, {}, "", "not.a.jwe", "a" * 3000])
async def test_an_unusable_password_context_is_400(endpoint: Endpoint, value: object) -> None:
    assert (await endpoint.post(entra.envelope(value))).status_code == 400
    assert not endpoint.store.asked


async def test_other_events_are_400(endpoint: Endpoint) -> None:
    token_issuance = entra.envelope(entra.context()) | {
        "type": "microsoft.graph.authenticationEvent.tokenIssuanceStart"
    }
    other_data = entra.envelope(entra.context(), **{"@odata.type": "microsoft.graph.onTokenIssuanceStartCalloutData"})
    for body in (token_issuance, other_data):
        assert (await endpoint.post(body)).status_code == 400


@pytest.mark.parametrize("user", [None, {}, {"id": None}, {"id": ""}])
async def test_no_user_is_400(endpoint: Endpoint, user: object) -> None:
    body = entra.envelope(entra.context())
    body["data"]["authenticationContext"]["user"] = user
    assert (await endpoint.post(body)).status_code == 400


async def test_another_tenant_in_the_envelope_is_403(endpoint: Endpoint) -> None:
    assert (await endpoint.post(entra.envelope(entra.context(), tenantId=entra.USER))).status_code == 403
    assert not endpoint.store.asked


async def test_a_password_that_is_not_encrypted_is_refused_and_counted(endpoint: Endpoint) -> None:
    body = entra.envelope(None, passwordContext={"user-password": entra.CANARY, "nonce": entra.USER})
    del body["data"]["encryptedPasswordContext"]
    assert (await endpoint.post(body)).status_code == 400
    assert endpoint.lines()[0]["cause"] == "plaintext_context"
    assert not endpoint.store.asked


async def test_ids_that_are_no_ids_do_not_reach_the_ledger_or_a_header(endpoint: Endpoint) -> None:
    body = entra.envelope(entra.context())
    body["data"]["authenticationContext"]["correlationId"] = "x\r\nset-cookie: a=b"
    body["data"]["authenticationContext"]["user"]["id"] = "ann@contoso.example"
    response = await endpoint.post(body)
    decision(response)
    assert "x-correlation-id" not in response.headers
    (line,) = endpoint.lines()
    assert (line["correlation_id"], line["user_id"]) == (None, None)


async def test_a_fault_inside_is_a_kind_block_when_the_nonce_is_known(open_endpoint: Opener) -> None:
    class Broken(AskedStore):
        async def verify(self, username: str, password: str) -> Verdict:
            raise RuntimeError(f"{username} {password}")

    endpoint = await open_endpoint(Broken())
    claims = entra.context_claims()
    name, data = decision(await endpoint.post(entra.envelope(entra.jwe(entra.unsigned(claims)))))
    assert (name, data["nonce"]) == ("Block", claims["nonce"])
    assert endpoint.lines()[0]["cause"] == "unexpected"


async def test_a_slow_store_is_cancelled_and_answered_in_time(open_endpoint: Opener) -> None:
    endpoint = await open_endpoint(AskedStore(delay=30), JIT_DEADLINE_MS="1000")
    started = asyncio.get_running_loop().time()
    name, _ = decision(await endpoint.post())
    assert name == "Block"
    assert asyncio.get_running_loop().time() - started < 20
    assert endpoint.store.cancelled == 1
    assert endpoint.lines()[0]["cause"] == "legacy_timeout"


async def test_the_second_attempt_waits_for_the_first_and_gets_its_answer(open_endpoint: Opener) -> None:
    endpoint = await open_endpoint(AskedStore(delay=0.1))
    body = entra.envelope(entra.context())
    first, second = await asyncio.gather(endpoint.post(body), endpoint.post(body))
    third = await endpoint.post(body)
    assert first.content == second.content == third.content
    assert len(endpoint.store.asked) == 1
    assert sorted(line["attempt"] for line in endpoint.lines()) == [1, 2, 3]


@pytest.mark.parametrize("change", [{"password": "Another-1"}, {"username": "bob@contoso.example"}])
async def test_a_nonce_with_other_credentials_is_refused(endpoint: Endpoint, change: dict[str, str]) -> None:
    nonce = "99999999-9999-4999-8999-999999999999"
    decision(await endpoint.post(entra.envelope(entra.context(nonce=nonce))))
    response = await endpoint.post(entra.envelope(entra.context(nonce=nonce, **change)))
    assert response.status_code == 400
    assert endpoint.lines()[1]["cause"] == "nonce_reused"
    assert len(endpoint.store.asked) == 1

"""What goes out to the endpoint, and every number that the sign-in log can show for a callout."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwcrypto import jwk, jws
from starlette.responses import Response

from jitkit.errors import NotReady
from jitkit.rehearsal import switches
from jitkit.rehearsal.callout_messages import RESPONSE_LIMIT
from jitkit.rehearsal.sign_in import SignIn
from jitkit.rehearsal.tenant_setup import CalloutImpossible
from rehearsal.support import (
    CALLER,
    GRAPH_APP_ID,
    HOST,
    LEGACY,
    Received,
    ScriptedEndpoint,
    World,
    answer,
    as_json,
    certificate,
)


async def received(world: World, endpoint: ScriptedEndpoint) -> Received:
    world.add_user()
    done = await world.sign_in(LEGACY)
    assert done.outcome == "signed in", done
    return endpoint.received[0]


# --- what goes out -------------------------------------------------------------------------------------------------


async def test_the_envelope_has_the_documented_members(world: World, endpoint: ScriptedEndpoint) -> None:
    got = await received(world, endpoint)
    user = world.directory.user_by_sign_in_name("ada@woodgrove.example")
    assert user
    data = got.envelope["data"]
    assert got.envelope["type"] == "microsoft.graph.authenticationEvent.passwordSubmit"
    assert got.envelope["source"] == f"/tenants/{world.tenant.tenant_id}/applications/{world.client_id}"
    assert {name: value for name, value in data.items() if not isinstance(value, dict)} == {
        "@odata.type": "microsoft.graph.onPasswordSubmitCalloutData",
        "tenantId": world.tenant.tenant_id,
        "authenticationEventListenerId": world.listener["id"],
        "customAuthenticationExtensionId": world.extension["id"],
        "encryptedPasswordContext": data["encryptedPasswordContext"],
        "userSignUpInfo": None,
        "otpContext": None,
    }
    context = data["authenticationContext"]
    assert context["clientServicePrincipal"] == {
        "id": world.client_principal["id"],
        "appId": world.client_id,
        "appDisplayName": "JIT test client",
        "displayName": "JIT test client",
    }
    assert context["user"] == {
        "id": user.id,
        "userPrincipalName": user.upn,
        "userType": "Member",
        "createdDateTime": "2026-11-01T00:00:00Z",
        "displayName": "Ada",
        "mail": "ada@woodgrove.example",
    }
    assert set(context["client"]) == {"ip", "locale", "market"}
    assert (context["protocol"], context["resourceServicePrincipal"]) == ("OAUTH2.0", None)
    assert context["correlationId"] == world.last_row()["correlationId"]
    assert got.headers["content-type"] == "application/json"
    assert got.headers["host"] == HOST


async def test_the_password_context_is_a_jwe_as_observed_around_an_unsigned_jwt(
    world: World, endpoint: ScriptedEndpoint, der: bytes
) -> None:
    got = await received(world, endpoint)
    thumbprint = base64.urlsafe_b64encode(hashlib.sha1(der).digest()).rstrip(b"=").decode()
    assert got.context_header == {"alg": "RSA-OAEP", "enc": "A128CBC-HS256", "x5t": thumbprint, "zip": "DEF"}
    assert got.inner_header["alg"] == "none"
    claims = got.claims
    assert (claims["user-password"], claims["username"]) == (LEGACY, "ada@woodgrove.example")
    assert str(uuid.UUID(claims["nonce"])) == claims["nonce"]
    assert claims["aud"] == world.extension_app["appId"]
    assert claims["iss"] == world.extension_app["identifierUris"][0]
    assert claims["exp"] == claims["iat"] + 600
    assert claims["nbf"] <= time.time() < claims["exp"]


async def test_the_bearer_is_encrypted_and_its_key_is_in_the_ciamlogin_document_only(
    world: World, endpoint: ScriptedEndpoint
) -> None:
    got = await received(world, endpoint)
    header, signed = endpoint.open(got.headers["authorization"].removeprefix("Bearer "))
    assert header["x5t"] == got.context_header["x5t"]
    assert {"alg", "enc", "zip", "xms_hd_uti", "xms_hd_iat"} < set(header)
    tenant_id, ciam, login = world.tenant.tenant_id, [], []
    async with httpx.AsyncClient(transport=world.tenant.transport()) as client:
        for host, kids in ((f"{world.tenant.subdomain}.ciamlogin.com", ciam), ("login.microsoftonline.com", login)):
            document = await client.get(f"https://{host}/{tenant_id}/v2.0/.well-known/openid-configuration")
            kids.extend((await client.get(document.json()["jwks_uri"])).json()["keys"])
    token = jws.JWS()
    token.deserialize(signed.decode())
    kid = token.jose_header["kid"]
    assert token.jose_header["alg"] == "RS256"
    assert kid not in {key["kid"] for key in login}
    token.verify(jwk.JWK(**next(key for key in ciam if key["kid"] == kid)))
    claims = json.loads(token.payload)
    assert claims["iss"] == f"https://{tenant_id}.ciamlogin.com/{tenant_id}/v2.0"
    assert (claims["aud"], claims["azp"], claims["ver"]) == (world.extension_app["appId"], CALLER, "2.0")
    assert (claims["tid"], claims["oid"]) == (tenant_id, claims["sub"])
    assert not {"scp", "roles"} & set(claims)
    assert claims["nbf"] <= time.time() < claims["exp"]


async def test_an_app_without_v2_tokens_gets_a_v1_bearer(world: World, endpoint: ScriptedEndpoint) -> None:
    world.change("application", world.extension_app, api={"requestedAccessTokenVersion": None})
    got = await received(world, endpoint)
    _, signed = endpoint.open(got.headers["authorization"].removeprefix("Bearer "))
    claims = json.loads(base64.urlsafe_b64decode(signed.split(b".")[1] + b"=="))
    assert claims["iss"] == f"https://sts.windows.net/{world.tenant.tenant_id}/"
    assert (claims["aud"], claims["appid"], claims["ver"]) == (
        world.extension_app["identifierUris"][0],
        CALLER,
        "1.0",
    )


async def test_the_bearer_is_reused_between_sign_ins_and_renewed_for_a_new_key(
    world: World, endpoint: ScriptedEndpoint, private_key: rsa.RSAPrivateKey
) -> None:
    world.add_user()
    endpoint.script = "Retry"
    await world.sign_in(LEGACY)
    await world.sign_in(LEGACY)
    other = {**world.extension_app["keyCredentials"][0], "keyId": str(uuid.uuid4())}
    other["key"] = base64.b64encode(certificate(private_key)).decode()
    world.change(
        "application",
        world.extension_app,
        keyCredentials=[*world.extension_app["keyCredentials"], other],
        tokenEncryptionKeyId=other["keyId"],
    )
    await world.sign_in(LEGACY)
    first, second, third = (each.headers["authorization"] for each in endpoint.received)
    assert first == second != third
    assert endpoint.received[2].context_header["x5t"] != endpoint.received[0].context_header["x5t"]


async def test_both_attempts_are_the_same_request(world: World, endpoint: ScriptedEndpoint) -> None:
    world.add_user()

    def first_time_down(got: Received) -> Response:
        return as_json({}, 503) if len(endpoint.received) == 1 else as_json(answer("Retry", got.claims["nonce"]))

    endpoint.script = first_time_down
    done = await world.sign_in(LEGACY)
    assert (done.attempts, done.callout_error, done.outcome) == (2, None, "wrong password")
    first, second = endpoint.received
    assert first.body == second.body
    assert first.claims["nonce"] == second.claims["nonce"]
    assert first.headers["authorization"] == second.headers["authorization"]


@pytest.mark.parametrize(("configured", "attempts"), [(None, 1), (0, 1), (1, 2), (2, 2)])
async def test_at_most_one_retry(
    world: World, endpoint: ScriptedEndpoint, configured: int | None, attempts: int
) -> None:
    world.add_user()
    world.patience(timeoutInMilliseconds=2000, maximumRetries=configured)
    endpoint.script = lambda got: as_json({}, 503)
    assert (await world.sign_in(LEGACY)).attempts == attempts


async def test_a_refusal_is_not_tried_again(world: World, endpoint: ScriptedEndpoint) -> None:
    world.add_user()
    endpoint.script = lambda got: as_json({}, 401)
    assert (await world.sign_in(LEGACY)).attempts == 1


async def test_the_listeners_own_patience_overrides_the_extensions(world: World, endpoint: ScriptedEndpoint) -> None:
    world.add_user()
    configuration = {"clientConfiguration": {"maximumRetries": 0, "timeoutInMilliseconds": None}}
    handler = {**world.listener["handler"], "configuration": configuration}
    world.change("authenticationEventListener", world.listener, handler=handler)
    endpoint.script = lambda got: as_json({}, 503)
    assert (await world.sign_in(LEGACY)).attempts == 1


async def test_a_loopback_target_works_where_the_tenant_allows_it(world: World, endpoint: ScriptedEndpoint) -> None:
    world.add_user()
    uri = f"api://127.0.0.1/{world.extension_app['appId']}"
    world.change("application", world.extension_app, identifierUris=[uri])
    world.change(
        "customAuthenticationExtension",
        world.extension,
        authenticationConfiguration={"resourceId": uri},
        endpointConfiguration={"targetUrl": f"{endpoint.url}/api"},
    )
    assert (await world.sign_in(LEGACY)).callout_error == 1003020
    switches.write(world.directory, "allow_loopback", True)
    assert (await world.sign_in(LEGACY)).path == "callout"


@pytest.mark.parametrize("action", ["microsoft.graph.passwordsubmit.retry", "#microsoft.graph.PasswordSubmit.RETRY"])
async def test_action_types_are_read_in_any_case(world: World, endpoint: ScriptedEndpoint, action: str) -> None:
    world.add_user()

    def script(got: Received) -> Response:
        body = answer("Retry", got.claims["nonce"])
        body["data"]["actions"][0]["@odata.type"] = action
        return as_json(body)

    endpoint.script = script
    assert (await world.sign_in(LEGACY)).outcome == "wrong password"


# --- compose without sending ---------------------------------------------------------------------------------------


async def test_compose_is_what_a_sign_in_sends(world: World, endpoint: ScriptedEndpoint) -> None:
    user = world.add_user()
    composed = await world.tenant.compose_callout("ada@woodgrove.example", LEGACY, nonce="n-1")
    assert not endpoint.received
    _, plaintext = endpoint.open(composed.context)
    assert json.loads(base64.urlsafe_b64decode(plaintext.split(b".")[1] + b"=="))["nonce"] == composed.nonce == "n-1"
    assert composed.body["data"]["encryptedPasswordContext"] == composed.context
    assert composed.body["data"]["authenticationContext"]["user"]["id"] == user.id
    assert (composed.target_url, composed.base_url) == (f"https://{HOST}/api/JitMigrationEndpoint", endpoint.url)
    sent = await received_like(world, endpoint)
    assert composed.headers["Authorization"] == sent.headers["authorization"]
    assert set(composed.body["data"]) == set(sent.envelope["data"])
    for secret in (composed.headers["Authorization"], composed.context, LEGACY, composed.nonce):
        assert secret not in repr(composed)


async def received_like(world: World, endpoint: ScriptedEndpoint) -> Received:
    await world.sign_in(LEGACY)
    return endpoint.received[-1]


async def test_compose_stands_in_for_somebody_who_has_no_account_yet(world: World) -> None:
    composed = await world.tenant.compose_callout("new@woodgrove.example", LEGACY)
    user = composed.body["data"]["authenticationContext"]["user"]
    assert user["mail"] == "new@woodgrove.example"
    assert uuid.UUID(user["id"])


async def test_compose_says_what_is_missing(world: World) -> None:
    world.directory.discard("appRoleAssignment", world.consent["id"], recycle=False)
    with pytest.raises(CalloutImpossible, match="1003021") as caught:
        await world.tenant.compose_callout("ada@woodgrove.example", LEGACY)
    assert LEGACY not in str(caught.value)
    world.directory.discard("authenticationEventListener", world.listener["id"], recycle=False)
    with pytest.raises(NotReady, match="No listener"):
        await world.tenant.compose_callout("ada@woodgrove.example", LEGACY)


# --- the numbers: nothing is sent ----------------------------------------------------------------------------------


def failed(world: World, done: SignIn, number: int, *, attempts: int, status: int | None = None) -> None:
    """The person sees one number and the correlation id; the log has the rest."""
    assert (done.outcome, done.code, done.callout_error) == ("error", 1100001, number), done.steps
    assert (done.attempts, done.http_status, done.called_endpoint) == (attempts, status, attempts > 0)
    assert "AADSTS1100001" in done.user_sees
    assert done.correlation_id in done.user_sees
    assert str(number) not in done.user_sees
    row = world.last_row()
    assert (row["status"]["errorCode"], row["correlationId"]) == (1100001, done.correlation_id)
    result = world.last_callout()
    assert (result["errorCode"], result["numberOfAttempts"], result["httpStatus"]) == (number, attempts, status or 0)
    assert result["customExtensionId"] == world.listener["handler"]["customExtension"]["id"]


def _no_key(world: World) -> None:
    world.change("application", world.extension_app, tokenEncryptionKeyId=None)


def _elliptic_key(world: World) -> None:
    der = certificate(ec.generate_private_key(ec.SECP256R1()))  # type: ignore[arg-type]
    credentials = [{**world.extension_app["keyCredentials"][0], "key": base64.b64encode(der).decode()}]
    world.change("application", world.extension_app, keyCredentials=credentials)


def _no_extension(world: World) -> None:
    world.directory.discard("customAuthenticationExtension", world.extension["id"], recycle=False)


def _resource(uri: str) -> Callable[[World], None]:
    def apply(world: World) -> None:
        configuration = {"resourceId": uri.format(app=world.extension_app["appId"])}
        world.change("customAuthenticationExtension", world.extension, authenticationConfiguration=configuration)

    return apply


def _target(url: str) -> Callable[[World], None]:
    def apply(world: World) -> None:
        world.change("customAuthenticationExtension", world.extension, endpointConfiguration={"targetUrl": url})

    return apply


def _no_resource_principal(world: World) -> None:
    world.directory.discard("servicePrincipal", world.extension_principal["id"], recycle=True)


def _no_identifier_uri(world: World) -> None:
    world.change("application", world.extension_app, identifierUris=[])


def _resource_principal_disabled(world: World) -> None:
    world.change("servicePrincipal", world.extension_principal, accountEnabled=False)


def _caller_deleted(world: World) -> None:
    body = world.principal(CALLER, "Azure Active Directory Authentication Extensions")
    world.directory.discard("servicePrincipal", body["id"], recycle=True)


def _caller_disabled(world: World) -> None:
    body = world.principal(CALLER, "Azure Active Directory Authentication Extensions")
    world.change("servicePrincipal", body, accountEnabled=False)


def _no_consent(world: World) -> None:
    world.directory.discard("appRoleAssignment", world.consent["id"], recycle=False)


def _graph(world: World) -> dict[str, Any]:
    found = world.directory.by_key("servicePrincipal", GRAPH_APP_ID)
    assert found
    return found


def _graph_disabled(world: World) -> None:
    world.change("servicePrincipal", _graph(world), accountEnabled=False)


def _graph_missing(world: World) -> None:
    world.directory.discard("servicePrincipal", _graph(world)["id"], recycle=True)


@pytest.mark.parametrize(
    ("number", "spoil"),
    [
        pytest.param(1003000, _no_key, id="1003000-no-encryption-key"),
        pytest.param(1003000, _elliptic_key, id="1003000-key-is-not-rsa"),
        pytest.param(1003011, _no_extension, id="1003011-extension-missing"),
        pytest.param(1003014, _resource("api://{app}"), id="1003014-no-host-in-resource-id"),
        pytest.param(1003014, _resource("api://jit.woodgrove.example/app"), id="1003014-no-guid-in-resource-id"),
        pytest.param(1003015, _resource("api://other.example/{app}"), id="1003015-other-host"),
        pytest.param(1003016, _no_resource_principal, id="1003016-no-resource-principal"),
        pytest.param(1003016, _no_identifier_uri, id="1003016-identifier-uri-missing"),
        pytest.param(1003017, _caller_deleted, id="1003017-caller-deleted"),
        pytest.param(1003018, _caller_disabled, id="1003018-caller-disabled"),
        pytest.param(1003019, _resource_principal_disabled, id="1003019-resource-principal-disabled"),
        pytest.param(1003020, _target("http://jit.woodgrove.example/api"), id="1003020-http"),
        pytest.param(1003020, _target("https://[broken/api"), id="1003020-not-a-url"),
        pytest.param(1003020, _target("http://127.0.0.1:1/api"), id="1003020-loopback"),
        pytest.param(1003021, _no_consent, id="1003021-no-consent"),
        pytest.param(1003022, _graph_disabled, id="1003022-graph-disabled"),
        pytest.param(1003022, _graph_missing, id="1003022-graph-missing"),
        pytest.param(1003023, _target("https://login.microsoftonline.com/api"), id="1003023-own-host"),
    ],
)
async def test_number_without_a_call(
    world: World, endpoint: ScriptedEndpoint, number: int, spoil: Callable[[World], None]
) -> None:
    user = world.add_user()
    spoil(world)
    failed(world, await world.sign_in(LEGACY), number, attempts=0)
    assert not endpoint.received
    assert world.flag_of(user) is True


async def test_1003004_more_callouts_in_a_second_than_the_tenant_may_make(
    world: World, endpoint: ScriptedEndpoint
) -> None:
    endpoint.script = "Retry"
    world.directory.clock.hold(1_800_000_000)
    for _ in range(47):
        assert world.tenant.caller.admit()
    names = [f"u{number}@woodgrove.example" for number in range(4)]
    for name in names:
        world.add_user(name)
    done = await asyncio.gather(*(world.sign_in(LEGACY, name) for name in names))
    assert [each.callout_error for each in done if each.callout_error] == [1003004]
    assert len(endpoint.received) == 3
    world.directory.clock.forward(1)
    assert (await world.sign_in(LEGACY, names[0])).callout_error is None


def test_fifty_callouts_in_a_second_are_let_through_and_no_more(world: World) -> None:
    assert [world.tenant.caller.admit() for _ in range(51)] == [True] * 50 + [False]


async def test_1003004_is_logged_without_a_call(world: World, endpoint: ScriptedEndpoint) -> None:
    world.add_user()
    with world.tenant.faults.inject("service-throttled"):
        failed(world, await world.sign_in(LEGACY), 1003004, attempts=0)
    assert not endpoint.received


# --- the numbers: something is sent --------------------------------------------------------------------------------


def _changed(change: Callable[[dict[str, Any]], Any]) -> Callable[[Received], Response]:
    def script(got: Received) -> Response:
        body = answer("MigratePassword", got.claims["nonce"])
        change(body["data"])
        return as_json(body)

    return script


def _two_actions(data: dict[str, Any]) -> None:
    data["actions"] *= 2


def _raw(content: str | bytes, kind: str = "application/json", **headers: str) -> Callable[[Received], Response]:
    return lambda got: Response(content, media_type=kind, headers=headers)


@pytest.mark.parametrize(
    ("number", "script"),
    [
        *(
            pytest.param(1003002, lambda got, status=status: as_json({}, status), id=f"1003002-status-{status}")
            for status in (201, 204, 302, 400, 401, 403, 404)
        ),
        pytest.param(1003003, _raw("{broken"), id="1003003-not-json"),
        pytest.param(1003003, _raw("[" * 60_000), id="1003003-nested-too-deep"),
        pytest.param(1003003, _raw(b"\xff\xfe\x00"), id="1003003-not-text"),
        pytest.param(1003003, _raw("{}", **{"content-encoding": "gzip"}), id="1003003-not-gzip"),
        pytest.param(1003003, _raw("[]"), id="1003003-not-an-object"),
        pytest.param(1003003, _changed(lambda data: data.update({"@odata.type": "x"})), id="1003003-wrong-data-type"),
        pytest.param(1003003, _changed(lambda data: data.update(nonce=str(uuid.uuid4()))), id="1003003-other-nonce"),
        pytest.param(1003003, _changed(lambda data: data.pop("nonce")), id="1003003-no-nonce"),
        pytest.param(1003003, _changed(lambda data: data["actions"][0].update(title=7)), id="1003003-title-not-text"),
        pytest.param(1003006, _raw("{}", "text/plain"), id="1003006-text-plain"),
        pytest.param(1003009, _raw(""), id="1003009-empty"),
        pytest.param(1003009, _raw("null"), id="1003009-null"),
        pytest.param(1003010, _changed(lambda data: data.update(actions=[])), id="1003010-no-action"),
        pytest.param(1003010, _changed(lambda data: data.pop("actions")), id="1003010-actions-missing"),
        pytest.param(1003010, _changed(_two_actions), id="1003010-two-actions"),
        pytest.param(
            1003012,
            _changed(lambda data: data["actions"][0].update({"@odata.type": "microsoft.graph.passwordSubmit.Allow"})),
            id="1003012-unknown-action",
        ),
        pytest.param(1003012, _changed(lambda data: data["actions"][0].clear()), id="1003012-no-action-type"),
        pytest.param(1003024, _raw(" " * (RESPONSE_LIMIT + 1)), id="1003024-too-large"),
    ],
)
async def test_number_for_an_answer(
    world: World, endpoint: ScriptedEndpoint, number: int, script: Callable[[Received], Response]
) -> None:
    user = world.add_user()
    endpoint.script = script
    done = await world.sign_in(LEGACY)
    failed(world, done, number, attempts=1, status=done.http_status)
    assert done.http_status
    assert len(endpoint.received) == 1
    assert world.flag_of(user) is True


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_1003002_for_a_failure_that_persists_after_the_retry(
    world: World, endpoint: ScriptedEndpoint, status: int
) -> None:
    world.add_user()
    endpoint.script = lambda got: as_json({}, status)
    failed(world, await world.sign_in(LEGACY), 1003002, attempts=2, status=status)


@pytest.fixture
def silent() -> Iterator[str]:
    """A server that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


async def test_1003005_no_answer_in_time_tried_twice(world: World, silent: str) -> None:
    world.add_user()
    world.tenant.publish(HOST, silent)
    world.patience(timeoutInMilliseconds=200, maximumRetries=1)
    done = await world.sign_in(LEGACY)
    failed(world, done, 1003005, attempts=2)
    assert 400 <= done.duration_ms < 4000


async def test_1003005_an_answer_that_drips_is_cut_at_the_limit_for_the_whole_attempt(world: World) -> None:
    world.add_user()
    world.patience(timeoutInMilliseconds=300, maximumRetries=0)

    def drip(listening: socket.socket) -> None:
        connection, _ = listening.accept()
        with connection:
            connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n")
            try:
                for _ in range(50):
                    connection.sendall(b" ")
                    time.sleep(0.1)
            except OSError:
                return

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=drip, args=(listening,), daemon=True).start()
        world.tenant.publish(HOST, f"http://127.0.0.1:{listening.getsockname()[1]}")
        done = await world.sign_in(LEGACY)
    failed(world, done, 1003005, attempts=1)
    assert done.duration_ms < 4000


@pytest.mark.parametrize(("configured", "waits"), [(None, 1.0), (9000, 2.0)])
async def test_the_time_allowed_is_one_second_by_default_and_two_at_most(
    world: World, configured: int | None, waits: float
) -> None:
    world.patience(timeoutInMilliseconds=configured, maximumRetries=0)
    composed = await world.tenant.compose_callout("ada@woodgrove.example", LEGACY)
    assert composed.timeout == waits


async def test_1003027_nothing_is_published_under_the_host(world: World, endpoint: ScriptedEndpoint) -> None:
    world.add_user()
    world.directory.publish(HOST, None)
    failed(world, await world.sign_in(LEGACY), 1003027, attempts=2)
    assert not endpoint.received


async def test_1003027_the_endpoint_is_stopped(world: World) -> None:
    world.add_user()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    world.tenant.publish(HOST, f"http://127.0.0.1:{port}")
    failed(world, await world.sign_in(LEGACY), 1003027, attempts=2)


async def test_1003027_a_host_published_outside_this_machine_is_never_called(world: World) -> None:
    world.add_user()
    world.tenant.publish(HOST, "https://example.org")
    failed(world, await world.sign_in(LEGACY), 1003027, attempts=2)

"""Sign-in through the native authentication API, as an app's own screens do it."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from jitkit.rehearsal import switches
from rehearsal.support import GRAPH_APP_ID, LEGACY, STORED, ScriptedEndpoint, World, as_json

ADA = "ada@woodgrove.example"


class App:
    """An app with screens of its own."""

    def __init__(self, world: World, http: httpx.AsyncClient) -> None:
        self.world, self._http = world, http
        self._base = f"https://{world.tenant.subdomain}.ciamlogin.com/{world.tenant.domain}/oauth2/v2.0"

    async def post(self, step: str, **form: str) -> httpx.Response:
        return await self._http.post(f"{self._base}/{step}", data={"client_id": self.world.client_id, **form})

    async def initiate(self, name: str = ADA, types: str = "password redirect") -> httpx.Response:
        return await self.post("initiate", username=name, challenge_type=types)

    async def challenge(self, continuation: str, types: str = "password redirect") -> httpx.Response:
        return await self.post("challenge", continuation_token=continuation, challenge_type=types)

    async def continuation(self, name: str = ADA) -> str:
        first = (await self.initiate(name)).json()["continuation_token"]
        return str((await self.challenge(first)).json()["continuation_token"])

    async def token(self, password: str, *, scope: str = "openid offline_access", name: str = ADA) -> httpx.Response:
        continuation = await self.continuation(name)
        form = {"continuation_token": continuation, "password": password, "scope": scope}
        return await self.post("token", grant_type="password", **form)


@pytest.fixture
async def app(world: World) -> AsyncIterator[App]:
    native: dict[str, Any] = {"nativeAuthenticationApisEnabled": "all", "isFallbackPublicClient": True}
    world.change("application", world.client_app, **native)
    async with httpx.AsyncClient(transport=world.tenant.transport()) as http:
        yield App(world, http)


def claims(token: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
    return found


def refused(answer: httpx.Response, error: str, code: int, suberror: str | None = None) -> dict[str, Any]:
    body: dict[str, Any] = answer.json()
    assert (answer.status_code, body["error"], body["error_codes"]) == (400, error, [code]), body
    assert body.get("suberror") == suberror
    assert body["error_description"].startswith(f"AADSTS{code}: ")
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ", body["timestamp"])
    assert body["trace_id"] in body["error_description"]
    return body


async def test_three_requests_migrate_a_person_and_bring_tokens(app: App, endpoint: ScriptedEndpoint) -> None:
    user = app.world.add_user()
    answer = await app.token(LEGACY)
    body = answer.json()
    assert answer.status_code == 200, body
    assert (body["token_type"], body["expires_in"], body["scope"]) == ("Bearer", 3600, "openid")
    assert claims(body["id_token"])["oid"] == user.id
    assert (claims(body["access_token"])["oid"], claims(body["access_token"])["scp"]) == (user.id, "openid")
    assert app.world.flag_of(user) is False
    assert len(endpoint.received) == 1
    row = app.world.last_row()
    assert (row["clientAppUsed"], row["authenticationProtocol"]) == ("Mobile Apps and Desktop clients", "nativeAuth")
    assert app.world.last_callout()["errorCode"] == 0
    assert (await app.token(LEGACY)).status_code == 200
    assert len(endpoint.received) == 1


async def test_a_wrong_password_is_an_invalid_grant_with_the_sign_ins_correlation_id(
    app: App, endpoint: ScriptedEndpoint
) -> None:
    app.world.add_user()
    endpoint.script = "Retry"
    body = refused(await app.token(LEGACY), "invalid_grant", 50126)
    assert body["correlation_id"] == app.world.last_row()["correlationId"]
    assert endpoint.received[0].envelope["data"]["authenticationContext"]["correlationId"] == body["correlation_id"]


async def test_a_right_but_weak_legacy_password_is_an_error_instead_of_a_new_password(
    app: App, endpoint: ScriptedEndpoint
) -> None:
    user = app.world.add_user()
    refused(await app.token("lowercase"), "invalid_grant", 50142)
    endpoint.script = "UpdatePassword"
    refused(await app.token(LEGACY), "invalid_grant", 50142)
    assert app.world.flag_of(user) is True
    switches.write(app.world.directory, "native_weak_password_error", 50125)
    refused(await app.token(LEGACY), "invalid_grant", 50125)
    switches.write(app.world.directory, "disable_strong_password", True)
    endpoint.script = "MigratePassword"
    assert (await app.token("lowercase")).status_code == 200


@pytest.mark.parametrize(
    ("script", "code"), [("Block", 1100001), (lambda got: as_json({}, 401), 1100001)], ids=["blocked", "failed"]
)
async def test_a_block_or_a_failure_says_nothing_of_its_cause(
    app: App, endpoint: ScriptedEndpoint, script: Any, code: int
) -> None:
    app.world.add_user()
    endpoint.script = script
    body = refused(await app.token(LEGACY), "invalid_grant", code)
    assert "1003002" not in json.dumps(body)


@pytest.mark.parametrize(
    "missing",
    [{"nativeAuthenticationApisEnabled": "none"}, {"isFallbackPublicClient": False}],
    ids=["api-not-enabled", "not-a-public-client"],
)
async def test_an_app_that_is_not_set_up_for_it_is_refused(app: App, missing: dict[str, Any]) -> None:
    app.world.add_user()
    app.world.change("application", app.world.client_app, **missing)
    refused(await app.initiate(), "invalid_client", 7000218, "nativeauthapi_disabled")


async def test_what_initiate_refuses(app: App) -> None:
    app.world.add_user()
    refused(await app.initiate("nobody@woodgrove.example"), "user_not_found", 50034)
    refused(await app.initiate(types="password"), "unsupported_challenge_type", 901007)
    refused(await app.initiate(types="password redirect smoke"), "invalid_request", 901007)
    refused(await app.post("initiate", username=ADA), "invalid_request", 900144)
    unknown = "11111111-1111-1111-1111-111111111111"
    stranger = await app.post("initiate", username=ADA, challenge_type="password redirect", client_id=unknown)
    refused(stranger, "unauthorized_client", 700016)


async def test_what_the_app_cannot_do_sends_it_to_the_browser(app: App) -> None:
    app.world.add_user()
    assert (await app.initiate(types="oob redirect")).json() == {"challenge_type": "redirect"}
    first = (await app.initiate()).json()["continuation_token"]
    assert (await app.challenge(first, "oob redirect")).json() == {"challenge_type": "redirect"}
    switches.write(app.world.directory, "second_factor_missing", True)
    assert (await app.token(STORED)).json()["challenge_type"] == "redirect"


async def test_continuation_tokens_serve_one_step_one_app_and_a_while(app: App) -> None:
    app.world.add_user()
    first = (await app.initiate()).json()["continuation_token"]
    form = {"grant_type": "password", "password": STORED, "scope": "openid"}
    refused(await app.post("token", continuation_token=first, **form), "invalid_grant", 901007)
    refused(await app.post("token", continuation_token="made.up.token", **form), "invalid_grant", 901007)
    second = (await app.challenge(first)).json()["continuation_token"]
    refused(await app.challenge(second), "invalid_grant", 901007)
    app.world.directory.clock.forward(601)
    refused(await app.post("token", continuation_token=second, **form), "expired_token", 901007)


async def test_a_continuation_token_does_not_open_graph(app: App) -> None:
    app.world.add_user()
    first = (await app.initiate()).json()["continuation_token"]
    async with httpx.AsyncClient(transport=app.world.tenant.transport()) as http:
        answer = await http.get("https://graph.microsoft.com/v1.0/users", headers={"Authorization": f"Bearer {first}"})
    assert answer.status_code == 401


async def test_scopes_need_consent(app: App) -> None:
    app.world.add_user()
    refused(await app.token(STORED, scope="openid User.Read"), "invalid_scope", 70011)
    graph = app.world.directory.by_key("servicePrincipal", GRAPH_APP_ID)
    assert graph
    grant = {"clientId": app.world.client_principal["id"], "resourceId": graph["id"], "scope": "User.Read"}
    app.world.directory.add("oauth2PermissionGrant", {**grant, "consentType": "AllPrincipals"})
    body = (await app.token(STORED, scope="openid https://graph.microsoft.com/User.Read")).json()
    assert claims(body["access_token"])["scp"] == "openid User.Read"
    assert "id_token" not in (await app.token(STORED, scope="User.Read")).json()

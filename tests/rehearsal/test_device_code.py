"""Device codes: what a program asks, what a person types, and the tokens that come of it."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from jitkit.rehearsal import identity
from jitkit.rehearsal.tenant import RehearsalTenant

GRAPH = "https://graph.microsoft.com"
GRAPH_TOOLS = "14d82eec-204b-4c2f-b7e8-296a70dab67e"
DEVICE = "urn:ietf:params:oauth:grant-type:device_code"


class Flow:
    """The three requests of a device code flow."""

    def __init__(self, tenant: RehearsalTenant, http: httpx.AsyncClient) -> None:
        self.tenant, self.http = tenant, http

    async def start(self, scope: str = f"{GRAPH}/.default openid", client_id: str = GRAPH_TOOLS) -> dict[str, Any]:
        answer = await self.http.post("devicecode", data={"client_id": client_id, "scope": scope})
        body: dict[str, Any] = answer.json()
        return body

    async def approve(self, code: str) -> int:
        return (await self.http.post("deviceauth", data={"code": code})).status_code

    async def token(self, **form: str) -> dict[str, Any]:
        body: dict[str, Any] = (await self.http.post("token", data={"client_id": GRAPH_TOOLS, **form})).json()
        return body

    async def redeem(self, started: dict[str, Any], **form: str) -> dict[str, Any]:
        return await self.token(grant_type=DEVICE, device_code=started["device_code"], **form)


@pytest.fixture
async def flow(tenant: RehearsalTenant) -> AsyncIterator[Flow]:
    base = f"https://{identity.LOGIN_HOST}/{tenant.tenant_id}/oauth2/v2.0/"
    async with httpx.AsyncClient(transport=tenant.transport(), base_url=base) as http:
        yield Flow(tenant, http)


def claims(tenant: RehearsalTenant, token: str) -> Any:
    return identity.read_access_token(tenant.directory, token)


async def test_a_code_that_was_typed_gives_the_administrators_delegated_token_once(flow: Flow) -> None:
    started = await flow.start()
    assert re.fullmatch(r"[A-Z2-9]{9}", started["user_code"])
    assert started["user_code"] in started["message"]
    assert started["verification_uri"] in started["message"]
    assert (started["expires_in"], started["interval"]) == (900, 5)
    assert (await flow.redeem(started))["error"] == "authorization_pending"
    assert await flow.approve(f" {started['user_code'].lower()} ") == 200
    done = await flow.redeem(started)
    held = claims(flow.tenant, done["access_token"])
    assert set(held["scp"].split()) == set(identity.ADMINISTRATOR_PERMISSIONS)
    assert "roles" not in held
    assert (await flow.redeem(started))["error"] == "bad_verification_code"


async def test_a_token_holds_the_permissions_that_were_named_and_no_more(flow: Flow) -> None:
    started = await flow.start(scope=f"{GRAPH}/user.readwrite.all offline_access openid profile")
    await flow.approve(started["user_code"])
    done = await flow.redeem(started)
    assert done["scope"] == f"{GRAPH}/User.ReadWrite.All"
    held = {"Authorization": f"Bearer {done['access_token']}"}
    assert (await flow.http.get(f"{GRAPH}/v1.0/users", headers=held)).status_code == 200
    refused = await flow.http.get(f"{GRAPH}/v1.0/identity/authenticationEventListeners", headers=held)
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "Authorization_RequestDenied")


async def test_a_refresh_token_gives_another_token_until_it_ends(flow: Flow) -> None:
    started = await flow.start()
    await flow.approve(started["user_code"])
    refresh = (await flow.redeem(started))["refresh_token"]
    assert claims(flow.tenant, refresh) is None
    flow.tenant.directory.clock.forward(3700)
    narrowed = await flow.token(grant_type="refresh_token", refresh_token=refresh, scope=f"{GRAPH}/Domain.Read.All")
    assert claims(flow.tenant, narrowed["access_token"])["scp"] == "Domain.Read.All"
    other = {"grant_type": "refresh_token", "refresh_token": refresh, "client_id": flow.tenant.tenant_id}
    assert (await flow.token(**other))["error"] == "invalid_grant"
    flow.tenant.directory.clock.forward(91 * 24 * 3600)
    assert (await flow.token(grant_type="refresh_token", refresh_token=refresh))["error_codes"] == [700082]


async def test_a_code_ends_after_a_quarter_of_an_hour_by_the_tenants_clock(flow: Flow) -> None:
    started = await flow.start()
    flow.tenant.directory.clock.forward(901)
    assert await flow.approve(started["user_code"]) == 400
    assert (await flow.redeem(started))["error"] == "expired_token"
    await flow.start()
    assert (await flow.redeem(started))["error"] == "bad_verification_code"


async def test_a_code_is_for_the_app_that_asked(flow: Flow) -> None:
    started = await flow.start()
    await flow.approve(started["user_code"])
    assert (await flow.redeem(started, client_id=flow.tenant.tenant_id))["error"] == "bad_verification_code"
    assert await flow.approve("WRONGCODE") == 400


@pytest.mark.parametrize(
    ("form", "error", "code"),
    [
        ({"scope": "openid"}, "invalid_request", 900144),
        ({"client_id": GRAPH_TOOLS}, "invalid_request", 900144),
        ({"client_id": GRAPH_TOOLS, "scope": f"{GRAPH}/Mail.Send"}, "invalid_scope", 70011),
        ({"client_id": "0" * 32, "scope": "openid"}, "unauthorized_client", 700016),
    ],
)
async def test_asking_for_a_code_can_be_refused(flow: Flow, form: dict[str, str], error: str, code: int) -> None:
    body = (await flow.http.post("devicecode", data=form)).json()
    assert (body["error"], body["error_codes"]) == (error, [code])


async def test_an_app_of_the_tenant_asks_only_as_a_public_client(flow: Flow) -> None:
    app = {"appId": "1a9bd4d5-71c7-4e26-93bb-6dc0e27eb4ab", "displayName": "Own", "isFallbackPublicClient": None}
    flow.tenant.directory.add("application", app, key=app["appId"])
    assert (await flow.start(client_id=str(app["appId"])))["error_codes"] == [7000218]
    stored = flow.tenant.directory.by_key("application", str(app["appId"])) or {}
    flow.tenant.directory.replace("application", {**stored, "isFallbackPublicClient": True})
    assert "user_code" in await flow.start(client_id=str(app["appId"]).upper())

"""What holds for every Graph request: who may call, which ids come back, what is not simulated."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from jitkit.rehearsal import identity
from jitkit.rehearsal.graph.router import all_routes
from jitkit.rehearsal.tenant import RehearsalTenant

from .bodies import message, person


async def with_token(tenant: RehearsalTenant, token: str | None, path: str = "/users") -> httpx.Response:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(transport=tenant.transport(), headers=headers) as client:
        return await client.get(f"https://graph.microsoft.com/v1.0{path}")


async def test_a_caller_needs_a_token_of_this_tenant_for_graph(tenant: RehearsalTenant, tmp_path: Path) -> None:
    def issue(directory: Any, **changes: Any) -> str:
        how = {"audience": identity.GRAPH, "client_app_id": "app", "roles": ["User.Read.All"], **changes}
        return identity.issue_token(directory, **how)

    other = RehearsalTenant.open(tmp_path / "other.sqlite3")
    try:
        foreign = issue(other.directory)
    finally:
        other.close()
    assert (await with_token(tenant, issue(tenant.directory))).status_code == 200
    expired = issue(tenant.directory, lifetime=-1)
    elsewhere = issue(tenant.directory, audience="https://vault.azure.net")
    for token in (None, "", "nonsense", expired, elsewhere, foreign):
        answer = await with_token(tenant, token)
        assert message(answer).startswith("401 InvalidAuthenticationToken")


async def test_the_sdk_is_told_that_a_permission_is_missing(tmp_path: Path, seeded: Path) -> None:
    tenant = RehearsalTenant.open(seeded, permissions=["User.Read.All"])
    try:
        token = (await tenant.credential().get_token()).token
        assert (await with_token(tenant, token)).status_code == 200
        denied = await with_token(tenant, token, "/applications")
        assert message(denied) == (
            "403 Authorization_RequestDenied: Insufficient privileges to complete the operation."
        )
    finally:
        tenant.close()


async def test_consent_needs_two_permissions_together(tenant: RehearsalTenant) -> None:
    async def status(*roles: str) -> int:
        token = identity.issue_token(tenant.directory, audience=identity.GRAPH, client_app_id="app", roles=roles)
        async with httpx.AsyncClient(transport=tenant.transport()) as client:
            answer = await client.post(
                "https://graph.microsoft.com/v1.0/servicePrincipals/x/appRoleAssignedTo",
                json={},
                headers={"Authorization": f"Bearer {token}"},
            )
        return answer.status_code

    assert await status("AppRoleAssignment.ReadWrite.All") == 403
    assert await status("Application.Read.All") == 403
    assert await status("AppRoleAssignment.ReadWrite.All", "Application.Read.All") == 404


async def test_what_is_not_simulated_says_so(graph: httpx.AsyncClient) -> None:
    assert message(await graph.get("/devices")) == "501 NotImplemented: not simulated: GET /devices"
    assert message(await graph.put("/users/x")) == "501 NotImplemented: not simulated: PUT /users/x"


async def test_nothing_leaves_the_process(tenant: RehearsalTenant) -> None:
    async with httpx.AsyncClient(transport=tenant.transport()) as client:
        for url in ("https://example.com/", "https://other.ciamlogin.com/x", "http://127.0.0.1/"):
            with pytest.raises(httpx.ConnectError, match="nothing was sent"):
                await client.get(url)
        found = await client.get(
            f"https://{tenant.subdomain}.ciamlogin.com/{tenant.tenant_id}/v2.0/.well-known/openid-configuration"
        )
        assert found.status_code == 200
        assert (await client.get("https://login.microsoftonline.com/a/b")).status_code == 501


async def test_answers_carry_both_ids(graph: httpx.AsyncClient) -> None:
    own = "3d9a2a43-8b8e-4a6b-9d0a-1e2f3a4b5c6d"
    good = await graph.get("/domains", headers={"client-request-id": own})
    assert good.headers["client-request-id"] == own
    assert good.headers["request-id"] != own
    bad = await graph.get("/users/nobody", headers={"client-request-id": own})
    assert bad.json()["error"]["innerError"]["client-request-id"] == own


async def test_a_body_has_to_be_a_json_object(graph: httpx.AsyncClient) -> None:
    assert "Unable to read JSON" in message(await graph.post("/users", content=b'{"displayName": "A",}'))
    assert "Empty Payload" in message(await graph.post("/users"))
    assert "JSON object" in message(await graph.post("/users", json=[]))


async def test_segments_are_read_in_any_case_and_with_keys_in_parentheses(
    graph: httpx.AsyncClient, tenant: RehearsalTenant
) -> None:
    made = (await graph.post("/USERS", json=person(tenant, "ada@woodgrove.example"))).json()
    assert (await graph.get(f"/users('{made['id']}')")).json()["id"] == made["id"]
    assert (await graph.get("/oAuth2PermissionGrants")).json()["value"] == []


async def test_the_tenant_knows_its_domain_and_organization(sdk: Any, tenant: RehearsalTenant) -> None:
    (domain,) = (await sdk.domains.get()).value
    assert (domain.id, domain.is_default, domain.is_initial) == (tenant.domain, True, True)
    (organization,) = (await sdk.organization.get()).value
    assert organization.id == tenant.tenant_id
    assert organization.verified_domains[0].name == tenant.domain


async def test_a_tenant_is_the_same_when_it_is_opened_again_and_new_after_a_reset(
    graph: httpx.AsyncClient, tenant: RehearsalTenant
) -> None:
    await graph.post("/users", json=person(tenant, "ada@woodgrove.example"))
    tenant.publish("jit.example", "http://127.0.0.1:7071/")
    again = RehearsalTenant.open(tenant.path)
    try:
        assert (again.tenant_id, again.domain) == (tenant.tenant_id, tenant.domain)
        assert again.directory.user_by_sign_in_name("ada@woodgrove.example") is not None
        extensions_apps = [app["displayName"][:18] for app in again.directory.all("application")]
        assert extensions_apps == ["b2c-extensions-app"]
        token = (await again.credential().get_token()).token
        assert (await with_token(tenant, token)).status_code == 200
    finally:
        again.close()
    tenant.reset()
    assert (await graph.get("/users")).json()["value"] == []
    assert len((await graph.get("/applications")).json()["value"]) == 1
    assert tenant.audit_rows() == []
    assert tenant.path.stat().st_mode & 0o077 == 0


def test_every_route_asks_for_a_permission() -> None:
    assert [route.path for route in all_routes() if not route.permissions] == []

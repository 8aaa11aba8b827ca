"""Who the token speaks for, and which directory roles they need."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

import httpx
import pytest

from jitkit.errors import KitError
from jitkit.rehearsal import switches
from jitkit.rehearsal.tenant import RehearsalTenant

from .bodies import CLIENT, EXTENSIONS, FLOWS, LISTENERS, extension, flow, listener, message, person

As = Callable[..., Awaitable[httpx.AsyncClient]]
SET_UP = ["Application Administrator", "User Administrator", "Authentication Extensibility Password Administrator"]
DENIED = "403 Authorization_RequestDenied: Insufficient privileges to complete the operation."


@pytest.fixture
async def signed_in(tenant: RehearsalTenant) -> AsyncIterator[As]:
    """Make clients with the token of an administrator who has these roles."""
    made = []

    async def client(*roles: str, **more: str) -> httpx.AsyncClient:
        token = (await tenant.credential(roles=roles, **more).get_token()).token  # type: ignore[arg-type]
        headers = {"Authorization": f"Bearer {token}"}
        base = "https://graph.microsoft.com/v1.0"
        made.append(httpx.AsyncClient(transport=tenant.transport(), base_url=base, headers=headers))
        return made[-1]

    yield client
    for each in made:
        await each.aclose()


async def test_me_is_the_administrator_whom_the_token_speaks_for(
    signed_in: As, graph: httpx.AsyncClient, tenant: RehearsalTenant
) -> None:
    admin = await signed_in(*SET_UP)
    found = (await admin.get("/me?$select=id,displayName,userPrincipalName")).json()
    assert found["@odata.context"].endswith("#users(id,displayName,userPrincipalName)/$entity")
    assert found["userPrincipalName"] == f"administrator@{tenant.domain}"
    assert (await graph.get(f"/users/{found['id']}")).json()["displayName"] == found["displayName"]
    for path in ("/me", "/me/memberOf", "/me/transitiveMemberOf/microsoft.graph.directoryRole"):
        assert message(await graph.get(path)) == (
            "400 BadRequest: /me request is only valid with delegated authentication flow."
        )


@pytest.mark.parametrize("path", ["memberOf", "transitiveMemberOf"])
async def test_a_users_directory_roles_are_listed_with_and_without_a_cast(
    signed_in: As, graph: httpx.AsyncClient, path: str
) -> None:
    admin = await signed_in(*SET_UP)
    whole = (await admin.get(f"/me/{path}")).json()
    assert whole["@odata.context"].endswith("#directoryObjects")
    assert {each["@odata.type"] for each in whole["value"]} == {"#microsoft.graph.directoryRole"}
    cast = (await admin.get(f"/me/{path}/microsoft.graph.directoryRole?$select=displayName,roleTemplateId")).json()
    assert cast["@odata.context"].endswith("#directoryRoles(displayName,roleTemplateId)")
    assert {each["displayName"] for each in cast["value"]} == set(SET_UP)
    assert {each["roleTemplateId"] for each in cast["value"]} == {each["roleTemplateId"] for each in whole["value"]}
    id = (await admin.get("/me")).json()["id"]
    assert (await graph.get(f"/users/{id}/{path}")).json()["value"] == whole["value"]
    assert (await (await signed_in()).get(f"/me/{path}")).json()["value"] == []


async def test_two_administrators_have_roles_of_their_own(signed_in: As) -> None:
    one = await signed_in("User Administrator", account="one")
    other = await signed_in("Reports Reader", account="other")
    for client, name in ((one, "User Administrator"), (other, "Reports Reader")):
        (role,) = (await client.get("/me/memberOf")).json()["value"]
        assert role["displayName"] == name


def test_a_role_that_the_tenant_does_not_know_is_refused(tenant: RehearsalTenant) -> None:
    with pytest.raises(KitError, match="no directory role Admin"):
        tenant.credential(roles=["Admin"])


async def test_reading_user_flows_takes_a_role_of_its_own(signed_in: As, graph: httpx.AsyncClient) -> None:
    """B2: the three roles of the how-to do not read user flows."""
    assert message(await (await signed_in(*SET_UP)).get(FLOWS)) == DENIED
    assert message(await (await signed_in("External Identity Provider Administrator")).post(FLOWS, json=flow())) == (
        DENIED
    )
    assert (await (await signed_in("External ID User Flow Administrator")).post(FLOWS, json=flow())).status_code == 201
    for name in ("External ID User Flow Administrator", "External Identity Provider Administrator"):
        found = await (await signed_in(name)).get(FLOWS)
        assert [each["displayName"] for each in found.json()["value"]] == ["Sign up and sign in"]


async def test_a_password_submit_policy_takes_the_password_administrator(
    signed_in: As, graph: httpx.AsyncClient
) -> None:
    other = await signed_in("Application Administrator", "Authentication Extensibility Administrator", account="other")
    assert message(await other.post(EXTENSIONS, json=extension())) == DENIED
    start = {**extension(), "@odata.type": "#microsoft.graph.onTokenIssuanceStartCustomExtension"}
    assert (await other.post(EXTENSIONS, json=start)).status_code == 201
    admin = await signed_in("Authentication Extensibility Password Administrator")
    made = (await admin.post(EXTENSIONS, json=extension())).json()["id"]
    listening = (await admin.post(LISTENERS, json=listener(made))).json()["id"]
    for path in (f"{EXTENSIONS}/{made}", f"{LISTENERS}/{listening}"):
        assert (await other.get(path)).status_code == 200
        assert message(await other.delete(path)) == DENIED
        assert (await admin.delete(path)).status_code == 204


async def test_roles_of_microsoft_graph_are_granted_by_the_privileged_role_administrator(
    signed_in: As, graph: httpx.AsyncClient
) -> None:
    app = (await graph.post("/applications", json={"displayName": "A"})).json()
    principal = (await graph.post("/servicePrincipals", json={"appId": app["appId"]})).json()["id"]
    microsoft = (await graph.get("/servicePrincipals(appId='00000003-0000-0000-c000-000000000000')")).json()["id"]
    role = "214e810f-fda8-4fd7-a475-29461495eb00"
    body = {"principalId": principal, "resourceId": microsoft, "appRoleId": role}
    path = f"/servicePrincipals/{microsoft}/appRoleAssignedTo"
    assert message(await (await signed_in(*SET_UP)).post(path, json=body)) == DENIED
    assert (await (await signed_in("Privileged Role Administrator")).post(path, json=body)).status_code == 201


@pytest.mark.parametrize("log", ["signIns", "directoryAudits"])
async def test_the_logs_take_a_reporting_role(signed_in: As, log: str) -> None:
    assert message(await (await signed_in(*SET_UP)).get(f"/auditLogs/{log}")) == (
        "403 Authentication_RequestFromUnsupportedUserRole: User is not in the allowed roles"
    )
    assert (await (await signed_in("Reports Reader")).get(f"/auditLogs/{log}")).status_code == 200


async def test_a_member_without_roles_reads_and_changes_nothing(signed_in: As, tenant: RehearsalTenant) -> None:
    member = await signed_in()
    for path in ("/organization", "/users", "/applications", "/servicePrincipals"):
        assert (await member.get(path)).status_code == 200
    assert message(await member.post("/users", json=person(tenant, "ada@x.example"))) == DENIED
    assert message(await member.post("/applications", json={"displayName": "A"})) == DENIED
    grant = {"clientId": CLIENT, "consentType": "AllPrincipals", "resourceId": CLIENT, "scope": "User.Read"}
    assert message(await member.post("/oauth2PermissionGrants", json=grant)) == DENIED


async def test_a_role_without_the_permission_in_the_token_is_not_enough(tenant: RehearsalTenant) -> None:
    credential = tenant.credential(roles=["Global Administrator"], permissions=["User.Read"])
    headers = {"Authorization": f"Bearer {(await credential.get_token()).token}"}
    async with httpx.AsyncClient(transport=tenant.transport(), headers=headers) as client:
        assert (await client.get("https://graph.microsoft.com/v1.0/me")).status_code == 200
        assert message(await client.get("https://graph.microsoft.com/v1.0/applications")) == DENIED


@pytest.mark.parametrize(("set_to", "told"), [(None, "CIAM"), ("AAD B2C", "AAD B2C"), ("AAD", "AAD"), ("", None)])
async def test_the_organization_says_what_kind_of_tenant_it_is(
    graph: httpx.AsyncClient, tenant: RehearsalTenant, set_to: str | None, told: str | None
) -> None:
    """H3: an external tenant says CIAM; others, and one that says nothing, can be played."""
    if set_to is not None:
        switches.write(tenant.directory, "tenant_type", set_to)
    (found,) = (await graph.get("/organization?$select=id,tenantType,directorySizeQuota")).json()["value"]
    assert (found["id"], found["tenantType"]) == (tenant.tenant_id, told)
    assert found["directorySizeQuota"]["total"] == 300_000
    assert 0 < found["directorySizeQuota"]["used"] < 10

"""Reads that neither the reference's examples nor the other tests here reach."""

from __future__ import annotations

import httpx

from jitkit.protocol import GRAPH_APP_ID, RECEIVE_PAYLOAD_ROLE_ID
from jitkit.rehearsal.identity import GRAPH, issue_token
from jitkit.rehearsal.tenant import RehearsalTenant

from .test_extensions import EXTENSION_TYPE, EXTENSIONS, extension


def held_by(tenant: RehearsalTenant, permission: str) -> dict[str, str]:
    """The header of somebody who has one permission, which the administrator has not."""
    token = issue_token(tenant.directory, audience=GRAPH, client_app_id="a", roles=[permission])
    return {"Authorization": f"Bearer {token}"}


async def test_principals_are_counted(graph: httpx.AsyncClient) -> None:
    eventual = {"ConsistencyLevel": "eventual"}
    listed = (await graph.get("/servicePrincipals")).json()["value"]
    counted = await graph.get("/servicePrincipals/$count", headers=eventual)
    assert int(counted.text) == len(listed) > 0


async def test_a_grant_is_read_from_either_side(graph: httpx.AsyncClient) -> None:
    app = (await graph.post("/applications", json={"displayName": "JIT"})).json()
    own = (await graph.post("/servicePrincipals", json={"appId": app["appId"]})).json()["id"]
    resource = (await graph.get(f"/servicePrincipals(appId='{GRAPH_APP_ID}')")).json()["id"]
    body = {"principalId": own, "resourceId": resource, "appRoleId": RECEIVE_PAYLOAD_ROLE_ID}
    made = (await graph.post(f"/servicePrincipals/{resource}/appRoleAssignedTo", json=body)).json()
    for side in (f"{resource}/appRoleAssignedTo", f"{own}/appRoleAssignments"):
        read = (await graph.get(f"/servicePrincipals/{side}/{made['id']}")).json()
        assert body.items() <= read.items()
    elsewhere = await graph.get(f"/servicePrincipals/{own}/appRoleAssignedTo/{made['id']}")
    assert elsewhere.status_code == 404


async def test_extensions_are_listed_with_their_type(graph: httpx.AsyncClient) -> None:
    made = (await graph.post(EXTENSIONS, json=extension())).json()
    listed = (await graph.get(EXTENSIONS)).json()["value"]
    assert [(each["id"], each["@odata.type"]) for each in listed] == [(made["id"], EXTENSION_TYPE)]


async def test_the_organization_is_read_by_its_id(graph: httpx.AsyncClient, tenant: RehearsalTenant) -> None:
    found = (await graph.get(f"/organization/{tenant.tenant_id}")).json()
    assert found["tenantType"] == "CIAM"
    assert (await graph.get(f"/organization/{GRAPH_APP_ID}")).status_code == 404


async def test_groups_are_counted_read_and_deleted(graph: httpx.AsyncClient, tenant: RehearsalTenant) -> None:
    made = tenant.directory.add("group", {"displayName": "Shops", "deletedDateTime": None})
    counted = await graph.get("/groups/$count", headers={"ConsistencyLevel": "eventual"})
    assert counted.text == "1"
    assert (await graph.get(f"/groups/{made['id']}")).json()["displayName"] == "Shops"
    assert (await graph.delete(f"/groups/{made['id']}")).status_code == 403
    allowed = held_by(tenant, "Group.ReadWrite.All")
    assert (await graph.delete(f"/groups/{made['id']}", headers=allowed)).status_code == 204
    assert (await graph.get(f"/groups/{made['id']}")).status_code == 404


async def test_one_row_of_the_audit_log(graph: httpx.AsyncClient) -> None:
    await graph.post("/applications", json={"displayName": "JIT"})
    row = (await graph.get("/auditLogs/directoryAudits")).json()["value"][0]
    read = (await graph.get(f"/auditLogs/directoryAudits/{row['id']}")).json()
    assert row.items() <= read.items()
    assert (await graph.get(f"/auditLogs/directoryAudits/{GRAPH_APP_ID}")).status_code == 404


async def test_identity_providers_are_read_and_the_built_in_ones_stay(
    graph: httpx.AsyncClient, tenant: RehearsalTenant
) -> None:
    url, allowed = "/identity/identityProviders", held_by(tenant, "IdentityProvider.ReadWrite.All")
    built_in = (await graph.get(url, headers=allowed)).json()["value"][0]
    assert (await graph.get(f"{url}/{built_in['id']}", headers=allowed)).json()["id"] == built_in["id"]
    assert (await graph.delete(f"{url}/{built_in['id']}", headers=allowed)).status_code == 400

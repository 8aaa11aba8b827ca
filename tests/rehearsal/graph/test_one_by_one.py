"""Reads that neither the reference's examples nor the other tests here reach."""

from __future__ import annotations

import httpx

from helpers.protocol import GRAPH_APP_ID, RECEIVE_PAYLOAD_ROLE_ID
from helpers.rehearsal.tenant import RehearsalTenant

from .test_extensions import EXTENSION_TYPE, EXTENSIONS, extension


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

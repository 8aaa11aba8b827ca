"""Replication delay: what was made a moment ago is not found yet, neither by reads nor by what refers to it."""

from __future__ import annotations

import uuid
from typing import Any

import httpx
import pytest

from jitkit.rehearsal import switches
from jitkit.rehearsal.tenant import RehearsalTenant

from .bodies import message, person
from .test_extensions import extension, listener

GRAPH_APP_ID = "00000003-0000-0000-c000-000000000000"
RECEIVE_PAYLOAD = "214e810f-fda8-4fd7-a475-29461495eb00"


@pytest.fixture
def slow(tenant: RehearsalTenant) -> RehearsalTenant:
    """A tenant in which everything takes ten seconds to be seen, and whose clock stands."""
    switches.write(tenant.directory, "replication_delay", 10.0)
    tenant.directory.clock.hold(tenant.directory.clock.now())
    return tenant


async def made(graph: httpx.AsyncClient, path: str, body: dict[str, Any]) -> dict[str, Any]:
    answer = await graph.post(path, json=body)
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_what_came_with_the_tenant_is_there(graph: httpx.AsyncClient, slow: RehearsalTenant) -> None:
    assert (await graph.get(f"/servicePrincipals(appId='{GRAPH_APP_ID}')")).status_code == 200
    assert len((await graph.get("/applications")).json()["value"]) == 1


async def test_a_new_object_is_not_found_until_it_is_everywhere(
    graph: httpx.AsyncClient, slow: RehearsalTenant
) -> None:
    user = await made(graph, "/users", person(slow, "ada@x.example"))
    app = await made(graph, "/applications", {"displayName": "JIT"})
    paths = {
        f"/users/{user['id']}": "/users?$filter=displayName eq 'Ada'",
        f"/applications/{app['id']}": "/applications?$filter=displayName eq 'JIT'",
        f"/applications(appId='{app['appId']}')": "/applications?$filter=displayName eq 'JIT'",
    }
    eventual = {"ConsistencyLevel": "eventual"}
    for one, several in paths.items():
        assert message(await graph.get(one)).startswith("404 Request_ResourceNotFound")
        assert (await graph.patch(one, json={"displayName": "X"})).status_code == 404
        assert (await graph.get(several)).json()["value"] == []
    assert (await graph.get("/users/$count", headers=eventual)).text == "0"
    taken = await graph.post("/users", json=person(slow, "ada@x.example"))
    assert "already exists" in message(taken)

    slow.directory.clock.forward(10)
    for one, several in paths.items():
        assert (await graph.get(one)).status_code == 200
        assert len((await graph.get(several)).json()["value"]) == 1
    assert (await graph.get("/users/$count", headers=eventual)).text == "1"


async def test_consent_to_a_new_principal_has_to_wait(graph: httpx.AsyncClient, slow: RehearsalTenant) -> None:
    microsoft = (await graph.get(f"/servicePrincipals(appId='{GRAPH_APP_ID}')")).json()["id"]
    app = await made(graph, "/applications", {"displayName": "JIT"})
    early = await graph.post("/servicePrincipals", json={"appId": app["appId"]})
    assert "does not reference a valid application object" in message(early)
    slow.directory.clock.forward(10)
    principal = await made(graph, "/servicePrincipals", {"appId": app["appId"]})
    assert message(await graph.post("/servicePrincipals", json={"appId": app["appId"]})).startswith("409 ")

    role = {"principalId": principal["id"], "resourceId": microsoft, "appRoleId": RECEIVE_PAYLOAD}
    scope = {"clientId": principal["id"], "consentType": "AllPrincipals", "resourceId": microsoft, "scope": "User.Read"}
    path = f"/servicePrincipals/{microsoft}/appRoleAssignedTo"
    for where, body in ((path, role), ("/oauth2PermissionGrants", scope)):
        assert message(await graph.post(where, json=body)).startswith("404 Directory_ObjectNotFound")
    unknown = await graph.post(path, json={**role, "principalId": str(uuid.uuid4())})
    assert message(unknown).startswith("404 Request_ResourceNotFound")
    slow.directory.clock.forward(10)
    for where, body in ((path, role), ("/oauth2PermissionGrants", scope)):
        await made(graph, where, body)


async def test_a_new_attribute_cannot_be_set_yet(graph: httpx.AsyncClient, slow: RehearsalTenant) -> None:
    owner = (await graph.get("/applications")).json()["value"][0]["id"]
    path = f"/applications/{owner}/extensionProperties"
    flag = await made(graph, path, {"name": "toBeMigrated", "dataType": "Boolean", "targetObjects": ["User"]})
    body = person(slow, "ada@x.example", **{flag["name"]: True})
    assert "extension properties are not available" in message(await graph.post("/users", json=body))
    assert (await graph.get(f"{path}/{flag['id']}")).status_code == 404
    unknown = await graph.get("/users", params={"$filter": f"{flag['name']} eq true"})
    assert message(unknown).startswith("400 Request_UnsupportedQuery")
    slow.directory.clock.forward(10)
    assert (await graph.post("/users", json=body)).status_code == 201
    assert (await graph.get(f"{path}/{flag['id']}")).status_code == 200


async def test_a_listener_waits_for_its_extension(graph: httpx.AsyncClient, slow: RehearsalTenant) -> None:
    new = await made(graph, "/identity/customAuthenticationExtensions", extension())
    body = listener(new["id"])
    assert "does not exist" in message(await graph.post("/identity/authenticationEventListeners", json=body))
    slow.directory.clock.forward(10)
    await made(graph, "/identity/authenticationEventListeners", body)

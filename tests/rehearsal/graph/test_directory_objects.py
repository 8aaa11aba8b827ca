"""Groups, the organization, quotas, the recycle bin, and objects that are not replicated yet."""

from __future__ import annotations

import uuid
from typing import Any

import httpx
import pytest

from jitkit.protocol import GRAPH_APP_ID, RECEIVE_PAYLOAD_ROLE_ID
from jitkit.rehearsal import switches
from jitkit.rehearsal.identity import GRAPH, issue_token
from jitkit.rehearsal.tenant import RehearsalTenant

from .bodies import created, extension, listener, message, person

BIN = "/directory/deletedItems"


def held_by(tenant: RehearsalTenant, permission: str) -> dict[str, str]:
    """The header of a caller with one permission, which the administrator does not have."""
    token = issue_token(tenant.directory, audience=GRAPH, client_app_id="a", roles=[permission])
    return {"Authorization": f"Bearer {token}"}


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


async def test_objects_beyond_the_quota_are_refused(graph: httpx.AsyncClient, tenant: RehearsalTenant) -> None:
    quota = (await graph.get("/organization")).json()["value"][0]["directorySizeQuota"]
    assert quota == {"used": 3, "total": 300_000}  # Graph's principal, and the extensions application with its own
    switches.write(tenant.directory, "directory_quota", 5.0)
    app = (await graph.post("/applications", json={"displayName": "JIT"})).json()
    ada = await graph.post("/users", json=person(tenant, "ada@x.example"))
    assert ada.status_code == 201
    assert (await graph.get("/organization")).json()["value"][0]["directorySizeQuota"] == {"used": 5, "total": 5}
    full = [
        await graph.post("/users", json=person(tenant, "ben@x.example")),
        await graph.post("/applications", json={"displayName": "JIT"}),
        await graph.post("/servicePrincipals", json={"appId": app["appId"]}),
    ]
    for answer in full:
        assert message(answer).startswith("403 Directory_QuotaExceeded: The directory object quota limit")
    await graph.delete(f"/users/{ada.json()['id']}")
    assert (await graph.post("/users", json=person(tenant, "ben@x.example"))).status_code == 403
    await graph.delete(f"/directory/deletedItems/{ada.json()['id']}")
    assert (await graph.post("/users", json=person(tenant, "ben@x.example"))).status_code == 201


async def listed(graph: httpx.AsyncClient, kind: str, **query: str) -> list[dict[str, Any]]:
    answer = await graph.get(
        f"{BIN}/microsoft.graph.{kind}",
        params={f"${name}": value for name, value in query.items()},
        headers={"ConsistencyLevel": "eventual"},
    )
    assert answer.status_code == 200, answer.text
    value: list[dict[str, Any]] = answer.json()["value"]
    return value


async def test_an_application_takes_its_principal_along_and_comes_back_alone(graph: httpx.AsyncClient) -> None:
    app = await created(graph, "/applications", {"displayName": "JIT"})
    principal = await created(graph, "/servicePrincipals", {"appId": app["appId"]})
    assert (await graph.delete(f"/applications/{app['id']}")).status_code == 204
    assert [item["id"] for item in await listed(graph, "application")] == [app["id"]]
    assert [item["id"] for item in await listed(graph, "servicePrincipal")] == [principal["id"]]
    for id in (app["id"], principal["id"]):
        one = await graph.get(f"{BIN}/{id}")
        assert one.json()["deletedDateTime"]
        assert one.json()["@odata.context"].endswith("#directoryObjects/$entity")
        assert (await graph.post(f"{BIN}/{id}/restore")).status_code == 200
        assert (await graph.get(f"{BIN}/{id}")).status_code == 404
    assert (await graph.get(f"/servicePrincipals(appId='{app['appId']}')")).json()["id"] == principal["id"]


async def test_the_bin_is_searched_like_any_list(graph: httpx.AsyncClient, tenant: RehearsalTenant) -> None:
    for name in ("JIT one", "JIT two", "Other"):
        app = await created(graph, "/applications", {"displayName": name})
        tenant.directory.clock.forward(1)
        await graph.delete(f"/applications/{app['id']}")
    names = [item["displayName"] for item in await listed(graph, "application")]
    assert names == ["JIT one", "JIT two", "Other"]
    found = await listed(graph, "application", filter="startswith(displayName,'JIT')", select="id,displayName", top="1")
    assert [set(item) for item in found] == [{"id", "displayName"}]
    newest = await listed(graph, "application", orderby="deletedDateTime desc", count="true")
    assert [item["displayName"] for item in newest] == ["Other", "JIT two", "JIT one"]
    assert (await graph.get(BIN)).status_code == 501  # the type is mandatory


async def test_after_thirty_days_the_bin_is_empty(graph: httpx.AsyncClient, tenant: RehearsalTenant) -> None:
    user = await created(graph, "/users", person(tenant, "ada@x.example"))
    await graph.delete(f"/users/{user['id']}")
    for days, status in ((29.9, 200), (0.2, 404)):
        tenant.directory.clock.forward(days * 86_400)
        fresh = {"Authorization": f"Bearer {(await tenant.credential().get_token()).token}"}
        assert (await graph.get(f"{BIN}/{user['id']}", headers=fresh)).status_code == status
        answer = await graph.get(f"{BIN}/microsoft.graph.user", headers=fresh)
        assert len(answer.json()["value"]) == (status == 200)
    assert (await graph.post(f"{BIN}/{user['id']}/restore", headers=fresh)).status_code == 404


@pytest.mark.parametrize("kept", [False, True])
async def test_the_identifier_uri_of_a_deleted_application(
    graph: httpx.AsyncClient, tenant: RehearsalTenant, kept: bool
) -> None:
    switches.write(tenant.directory, "deleted_apps_keep_uris", kept)
    uri = f"api://{tenant.tenant_id}/jit"
    first = await created(graph, "/applications", {"displayName": "JIT", "identifierUris": [uri]})
    await graph.delete(f"/applications/{first['id']}")
    again = await graph.post("/applications", json={"displayName": "JIT", "identifierUris": [uri]})
    restored = await graph.post(f"{BIN}/{first['id']}/restore")
    taken = "400 Request_BadRequest: Another object with the same value for property identifierUris already exists."
    assert (again.status_code, restored.status_code) == ((400, 200) if kept else (201, 400))
    assert message(again if kept else restored) == taken


@pytest.fixture
def slow(tenant: RehearsalTenant) -> RehearsalTenant:
    """A tenant in which everything takes ten seconds to be seen, and whose clock stands."""
    switches.write(tenant.directory, "replication_delay", 10.0)
    tenant.directory.clock.hold(tenant.directory.clock.now())
    return tenant


async def test_what_came_with_the_tenant_is_there(graph: httpx.AsyncClient, slow: RehearsalTenant) -> None:
    assert (await graph.get(f"/servicePrincipals(appId='{GRAPH_APP_ID}')")).status_code == 200
    assert len((await graph.get("/applications")).json()["value"]) == 1


async def test_a_new_object_is_not_found_until_it_is_everywhere(
    graph: httpx.AsyncClient, slow: RehearsalTenant
) -> None:
    user = await created(graph, "/users", person(slow, "ada@x.example"))
    app = await created(graph, "/applications", {"displayName": "JIT"})
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
    app = await created(graph, "/applications", {"displayName": "JIT"})
    early = await graph.post("/servicePrincipals", json={"appId": app["appId"]})
    assert "does not reference a valid application object" in message(early)
    slow.directory.clock.forward(10)
    principal = await created(graph, "/servicePrincipals", {"appId": app["appId"]})
    assert message(await graph.post("/servicePrincipals", json={"appId": app["appId"]})).startswith("409 ")

    role = {"principalId": principal["id"], "resourceId": microsoft, "appRoleId": RECEIVE_PAYLOAD_ROLE_ID}
    scope = {"clientId": principal["id"], "consentType": "AllPrincipals", "resourceId": microsoft, "scope": "User.Read"}
    path = f"/servicePrincipals/{microsoft}/appRoleAssignedTo"
    for where, body in ((path, role), ("/oauth2PermissionGrants", scope)):
        assert message(await graph.post(where, json=body)).startswith("404 Directory_ObjectNotFound")
    unknown = await graph.post(path, json={**role, "principalId": str(uuid.uuid4())})
    assert message(unknown).startswith("404 Request_ResourceNotFound")
    slow.directory.clock.forward(10)
    for where, body in ((path, role), ("/oauth2PermissionGrants", scope)):
        await created(graph, where, body)


async def test_a_new_attribute_cannot_be_set_yet(graph: httpx.AsyncClient, slow: RehearsalTenant) -> None:
    owner = (await graph.get("/applications")).json()["value"][0]["id"]
    path = f"/applications/{owner}/extensionProperties"
    flag = await created(graph, path, {"name": "toBeMigrated", "dataType": "Boolean", "targetObjects": ["User"]})
    body = person(slow, "ada@x.example", **{flag["name"]: True})
    assert "extension properties are not available" in message(await graph.post("/users", json=body))
    assert (await graph.get(f"{path}/{flag['id']}")).status_code == 404
    unknown = await graph.get("/users", params={"$filter": f"{flag['name']} eq true"})
    assert message(unknown).startswith("400 Request_UnsupportedQuery")
    slow.directory.clock.forward(10)
    assert (await graph.post("/users", json=body)).status_code == 201
    assert (await graph.get(f"{path}/{flag['id']}")).status_code == 200


async def test_a_listener_waits_for_its_extension(graph: httpx.AsyncClient, slow: RehearsalTenant) -> None:
    new = await created(graph, "/identity/customAuthenticationExtensions", extension())
    body = listener(new["id"])
    assert "does not exist" in message(await graph.post("/identity/authenticationEventListeners", json=body))
    slow.directory.clock.forward(10)
    await created(graph, "/identity/authenticationEventListeners", body)

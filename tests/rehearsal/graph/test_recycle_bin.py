"""The recycle bin: what goes there, what it holds back, how long, and who comes out again."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from jitkit.rehearsal import switches
from jitkit.rehearsal.tenant import RehearsalTenant

from .bodies import message, person

BIN = "/directory/deletedItems"


async def make(graph: httpx.AsyncClient, path: str, **body: Any) -> dict[str, Any]:
    answer = await graph.post(path, json=body)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


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
    app = await make(graph, "/applications", displayName="JIT")
    principal = await make(graph, "/servicePrincipals", appId=app["appId"])
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
        app = await make(graph, "/applications", displayName=name)
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
    user = await make(graph, "/users", **person(tenant, "ada@x.example"))
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
    first = await make(graph, "/applications", displayName="JIT", identifierUris=[uri])
    await graph.delete(f"/applications/{first['id']}")
    again = await graph.post("/applications", json={"displayName": "JIT", "identifierUris": [uri]})
    restored = await graph.post(f"{BIN}/{first['id']}/restore")
    taken = "400 Request_BadRequest: Another object with the same value for property identifierUris already exists."
    assert (again.status_code, restored.status_code) == ((400, 200) if kept else (201, 400))
    assert message(again if kept else restored) == taken


async def test_a_user_comes_back_unless_the_name_is_taken(graph: httpx.AsyncClient, tenant: RehearsalTenant) -> None:
    first = await make(graph, "/users", **person(tenant, "ada@x.example"))
    await graph.delete(f"/users/{first['id']}")
    second = await make(graph, "/users", **person(tenant, "ada@x.example"))
    assert "already exists" in message(await graph.post(f"{BIN}/{first['id']}/restore"))
    await graph.delete(f"/users/{second['id']}")
    assert (await graph.post(f"{BIN}/{first['id']}/restore")).status_code == 200
    assert (await graph.get(f"/users/{first['id']}")).status_code == 200

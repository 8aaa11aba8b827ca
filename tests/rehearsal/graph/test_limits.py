"""What fits into the tenant, and what is refused once it is full."""

from __future__ import annotations

import httpx
import pytest

from jitkit.rehearsal import switches
from jitkit.rehearsal.tenant import RehearsalTenant

from .bodies import message, person
from .test_extensions import extension, listener

EXTENSIONS, LISTENERS = "/identity/customAuthenticationExtensions", "/identity/authenticationEventListeners"


async def test_a_tenant_has_100_extensions(graph: httpx.AsyncClient, tenant: RehearsalTenant) -> None:
    for _ in range(100):
        assert (await graph.post(EXTENSIONS, json=extension())).status_code == 201
    assert "limit of 100 custom authentication extensions" in message(await graph.post(EXTENSIONS, json=extension()))
    page = (await graph.get(EXTENSIONS)).json()
    assert (await graph.delete(f"{EXTENSIONS}/{page['value'][0]['id']}")).status_code == 204
    assert (await graph.post(EXTENSIONS, json=extension())).status_code == 201


async def test_a_tenant_has_249_listeners(graph: httpx.AsyncClient, tenant: RehearsalTenant) -> None:
    stored = (await graph.post(EXTENSIONS, json=extension())).json()["id"]
    for number in range(249):
        if number % 150 == 0:  # the API takes 200 requests a minute from an app
            tenant.directory.clock.forward(60)
        assert (await graph.post(LISTENERS, json=listener(stored))).status_code == 201
    assert "limit of 249 event listener policies" in message(await graph.post(LISTENERS, json=listener(stored)))


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


async def test_a_user_has_100_extension_values_and_those_of_deleted_extensions_count(
    graph: httpx.AsyncClient, tenant: RehearsalTenant
) -> None:
    owner = (await graph.get("/applications")).json()["value"][0]["id"]
    path = f"/applications/{owner}/extensionProperties"
    names = []
    for number in range(99):  # the tenant comes with one
        body = {"name": f"a{number}", "dataType": "String", "targetObjects": ["User"]}
        names.append((await graph.post(path, json=body)).json())
    more = {"name": "more", "dataType": "String", "targetObjects": ["User"]}
    assert "limit of 100 extension properties" in message(await graph.post(path, json=more))

    built_in = (await graph.get(path)).json()["value"][0]["name"]
    user = person(tenant, "ada@x.example", **{each["name"]: "x" for each in names}, **{built_in: True})
    made = await graph.post("/users", json=user)
    assert made.status_code == 201, made.text
    await graph.delete(f"{path}/{names[0]['id']}")
    another = (await graph.post(path, json=more)).json()["name"]
    url = f"/users/{made.json()['id']}"
    assert message(await graph.patch(url, json={another: "x"})).startswith("403 Directory_QuotaExceeded")
    assert (await graph.patch(url, json={names[1]["name"]: None, another: "x"})).status_code == 204
    # Made again under its name, an extension has its values back.
    await graph.delete(f"{path}/{names[2]['id']}")
    again = {"name": "a0", "dataType": "String", "targetObjects": ["User"]}
    assert (await graph.post(path, json=again)).json()["name"] == names[0]["name"]
    assert (await graph.get(f"{url}?$select={names[0]['name']}")).json()[names[0]["name"]] == "x"


@pytest.mark.parametrize(("length", "status"), [(256, 204), (257, 400)])
async def test_an_extension_value_has_256_characters(
    graph: httpx.AsyncClient, tenant: RehearsalTenant, length: int, status: int
) -> None:
    owner = (await graph.get("/applications")).json()["value"][0]["id"]
    body = {"name": "note", "dataType": "String", "targetObjects": ["User"]}
    name = (await graph.post(f"/applications/{owner}/extensionProperties", json=body)).json()["name"]
    made = (await graph.post("/users", json=person(tenant, "ada@x.example"))).json()["id"]
    assert (await graph.patch(f"/users/{made}", json={name: "x" * length})).status_code == status

"""The control plane over HTTP: what another language sees of drills, clock, calls, snapshots and people."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from jitkit.rehearsal import control
from jitkit.rehearsal.tenant import RehearsalTenant
from rehearsal.support import LEGACY, World


@pytest.fixture
async def client(tenant: RehearsalTenant) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the tenant as `jitkit rehearsal` serves it, with the administrator's token."""
    app = Starlette(routes=[*control.routes(), Mount("/", tenant.app)])
    app.state.tenant = tenant
    token = (await tenant.credential().get_token()).token
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app=app),
        base_url="http://127.0.0.1",
        headers={"Authorization": f"Bearer {token}"},
    ) as opened:
        yield opened


async def test_a_fault_is_switched_on_at_its_numbers_and_off(client: httpx.AsyncClient) -> None:
    answer = await client.put("/rehearsal/faults/graph-down", json={"calls": [2]})
    assert answer.status_code == 204
    statuses = [(await client.get("/v1.0/organization")).status_code for _ in range(3)]
    assert statuses == [200, 503, 200]
    await client.put("/rehearsal/faults/graph-throttled")
    assert (await client.get("/v1.0/organization")).status_code == 429
    assert (await client.delete("/rehearsal/faults")).status_code == 204
    assert (await client.get("/v1.0/organization")).status_code == 200


async def test_a_mistake_is_made_listed_and_taken_back(world: World, client: httpx.AsyncClient) -> None:
    assert (await client.put("/rehearsal/misconfigurations/consent-missing")).status_code == 204
    listed = (await client.get("/rehearsal/drills")).json()
    assert listed["wrongNow"] == ["consent-missing"]
    assert len(listed["misconfigurations"]) == 10
    assert world.directory.all("appRoleAssignment") == []
    assert (await client.delete("/rehearsal/misconfigurations/consent-missing")).status_code == 204
    assert len(world.directory.all("appRoleAssignment")) == 1


async def test_seeded_people_are_the_same_for_a_seed_and_migrate(world: World, client: httpx.AsyncClient) -> None:
    first = (await client.post("/rehearsal/users", json={"count": 5, "seed": 3})).json()["users"]
    again = (await client.post("/rehearsal/users", json={"count": 5, "seed": 3})).json()["users"]
    assert first == again and len({each["username"] for each in first}) == 5
    sent = await client.post("/rehearsal/sign-in", json=first[0])
    assert (sent.json()["outcome"], sent.json()["migrated"]) == ("signed in", True)
    count = await client.get("/v1.0/users/$count", headers={"ConsistencyLevel": "eventual"})
    assert count.text.lstrip("\ufeff") == "5"


async def test_the_clock_moves_on_and_calls_are_listed(client: httpx.AsyncClient) -> None:
    before = (await client.get("/rehearsal/clock")).json()["now"]
    after = (await client.post("/rehearsal/clock", json={"seconds": 600})).json()["now"]
    assert 600 <= after - before < 700
    await client.get("/v1.0/organization")
    (call,) = (await client.get("/rehearsal/calls")).json()["calls"]
    assert (call["to"], call["method"], call["path"], call["status"]) == ("graph", "GET", "/organization", 200)


async def test_a_snapshot_brings_a_tenant_back(world: World, client: httpx.AsyncClient) -> None:
    user = world.add_user()
    assert (await client.put("/rehearsal/snapshots/before")).status_code == 204
    assert (await world.sign_in(LEGACY)).migrated
    assert (await client.post("/rehearsal/snapshots/before")).status_code == 204
    assert world.flag_of(user) is True


async def test_delays_and_switches_are_set(tenant: RehearsalTenant, client: httpx.AsyncClient) -> None:
    assert (await client.put("/rehearsal/delays/application", json={"looks": 1})).status_code == 204
    made = (await client.post("/v1.0/applications", json={"displayName": "Late"})).json()
    statuses = [(await client.get(f"/v1.0/applications/{made['id']}")).status_code for _ in range(2)]
    assert statuses == [404, 200]
    assert (await client.put("/rehearsal/switches/callouts_per_second", json={"value": 5})).status_code == 204
    switches = {each["name"]: each["value"] for each in (await client.get("/rehearsal/drills")).json()["switches"]}
    assert switches["callouts_per_second"] == 5


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("PUT", "faults/nonsense", None, 409),
        ("PUT", "faults/graph-down", {"calls": "2"}, 400),
        ("PUT", "faults/graph-down", {"calls": [0]}, 400),
        ("PUT", "faults/graph-down", {"share": True}, 400),
        ("PUT", "misconfigurations/nonsense", None, 409),
        ("PUT", "misconfigurations/consent-missing", None, 409),
        ("PUT", "delays/application", {}, 400),
        ("PUT", "delays/moon", {"looks": 1}, 409),
        ("PUT", "switches/allow_loopback", {"value": "yes"}, 400),
        ("PUT", "switches/allow_loopback", {"value": 2.5}, 409),
        ("POST", "clock", {"seconds": -1}, 400),
        ("POST", "clock", {"seconds": 1e300}, 400),
        ("POST", "snapshots/none", None, 409),
        ("POST", "users", {"count": 0}, 409),
        ("POST", "users", [], 400),
    ],
)
async def test_what_makes_no_sense_is_refused_with_a_reason(
    client: httpx.AsyncClient, method: str, path: str, body: Any, status: int
) -> None:
    answer = await client.request(method, f"/rehearsal/{path}", json=body)
    assert answer.status_code == status, answer.text
    assert answer.json()["error"]["message"]


async def test_every_route_asks_for_the_administrators_token(client: httpx.AsyncClient) -> None:
    for route in control.routes():
        path = route.path.replace("{name}", "x").replace("{host}", "x")
        for method in sorted((route.methods or set()) - {"HEAD"}):
            answer = await client.request(method, path, headers={"Authorization": "Bearer no"})
            assert answer.status_code == 401, (method, path)

"""Throttling by the tenant's clock: what requests cost, what each limit is, what a refusal says."""

from __future__ import annotations

import httpx
import pytest

from jitkit.rehearsal import identity, switches
from jitkit.rehearsal.graph.router import Throttle, resource_units
from jitkit.rehearsal.graph.wire import GraphError
from jitkit.rehearsal.tenant import RehearsalTenant
from jitkit.rehearsal.users import User


@pytest.fixture
def still(tenant: RehearsalTenant) -> RehearsalTenant:
    """A tenant whose clock stands, so that no limit refills on its own."""
    tenant.directory.clock.hold(tenant.directory.clock.now())
    return tenant


def spend(throttle: Throttle, tenant: RehearsalTenant, method: str, path: str, *, app: str = "app") -> dict[str, str]:
    return throttle.spend(tenant.directory, app, method, path, {})


def count(throttle: Throttle, tenant: RehearsalTenant, method: str, path: str, *, app: str = "app") -> int:
    """How many requests are answered before one is refused."""
    for number in range(20_000):
        try:
            spend(throttle, tenant, method, path, app=app)
        except GraphError:
            return number
    raise AssertionError("no limit")


@pytest.mark.parametrize(
    ("method", "path", "query", "cost"),
    [
        ("GET", "/users", {}, 2),
        ("GET", "/users", {"$select": "id"}, 1),
        ("GET", "/users", {"$select": "id", "$expand": "manager"}, 2),
        ("GET", "/users", {"$top": "19"}, 1),
        ("GET", "/users", {"$top": "20"}, 2),
        ("GET", "/users", {"$top": "5", "$select": "id"}, 1),
        ("GET", "/users/1", {}, 1),
        ("GET", "/applications", {}, 2),
        ("GET", "/applications/1", {"$expand": "owners"}, 2),
        ("GET", "/applications/1/extensionProperties", {}, 2),
        ("GET", "/oauth2PermissionGrants", {}, 2),
        ("GET", "/servicePrincipals/1/appRoleAssignments", {}, 2),
        ("GET", "/servicePrincipals/1/appRoleAssignedTo", {}, 1),
        ("POST", "/users", {}, 1),
        ("PATCH", "/applications/1", {}, 1),
    ],
)
def test_a_request_costs_what_is_documented(method: str, path: str, query: dict[str, str], cost: int) -> None:
    assert resource_units(method, path, query) == cost


def test_three_thousand_writes_in_150_seconds(still: RehearsalTenant) -> None:
    throttle = Throttle()
    assert count(throttle, still, "POST", "/users") == 3_000
    with pytest.raises(GraphError) as refused:
        spend(throttle, still, "PATCH", "/users/1")
    headers = refused.value.headers
    assert headers["x-ms-throttle-scope"] == f"Tenant_Application/Write/app/{still.tenant_id}"
    assert headers["x-ms-throttle-information"] == "WriteLimitExceeded"
    assert headers["x-ms-throttle-limit-percentage"] == "1.00"
    still.directory.clock.forward(float(headers["Retry-After"]))
    assert spend(throttle, still, "POST", "/users")["x-ms-resource-unit"] == "1"
    still.directory.clock.forward(150)
    assert count(throttle, still, "POST", "/users") == 3_000


def test_a_refused_request_counts_too(still: RehearsalTenant) -> None:
    throttle = Throttle()
    count(throttle, still, "POST", "/users")
    waits = []
    for _ in range(400):
        with pytest.raises(GraphError) as refused:
            spend(throttle, still, "POST", "/users")
        waits.append(int(refused.value.headers["Retry-After"]))
    assert waits[-1] > waits[0]


def test_reads_go_on_when_writes_are_used_up(still: RehearsalTenant) -> None:
    throttle = Throttle()
    # 20 writes a second come back; the resource units of ten seconds are back long before.
    count(throttle, still, "POST", "/users")
    assert spend(throttle, still, "GET", "/domains")["x-ms-resource-unit"] == "1"


def test_the_whole_tenant_has_18_000_writes_in_five_minutes(still: RehearsalTenant) -> None:
    throttle = Throttle()
    assert [count(throttle, still, "POST", "/users", app=f"app {number}") for number in range(6)] == [3_000] * 5 + [
        2_995
    ]
    with pytest.raises(GraphError) as refused:
        spend(throttle, still, "POST", "/users", app="another")
    assert refused.value.headers["x-ms-throttle-scope"].startswith("Tenant/Write/another/")


@pytest.mark.parametrize(("users", "allowed"), [(0, 3_500), (50, 5_000), (500, 5_000), (501, 8_000)])
def test_resource_units_go_by_the_size_of_the_tenant(still: RehearsalTenant, users: int, allowed: int) -> None:
    with still.directory.transaction():
        for number in range(users):
            still.directory.add_user(User(str(number), f"{number}@x", None, "", False, True, 0, 0, {}, 0))
    throttle = Throttle()
    assert count(throttle, still, "GET", "/domains") == allowed
    with pytest.raises(GraphError) as refused:
        spend(throttle, still, "GET", "/domains")
    assert refused.value.headers["x-ms-throttle-information"] == "ResourceUnitLimitExceeded"
    assert "/ReadWrite/" in refused.value.headers["x-ms-throttle-scope"]


def test_the_percentage_is_told_from_four_fifths_on(still: RehearsalTenant) -> None:
    throttle = Throttle()
    told = [spend(throttle, still, "POST", "/users").get("x-ms-throttle-limit-percentage") for _ in range(3_000)]
    assert (told[2_398], told[2_399], told[-1]) == (None, "0.80", "1.00")


def test_the_identity_apis_have_limits_of_their_own(still: RehearsalTenant) -> None:
    throttle, path = Throttle(), "/identity/customAuthenticationExtensions"
    assert count(throttle, still, "GET", path) == 200
    assert count(throttle, still, "GET", "/identity/authenticationEventListeners/1", app="other") == 99
    still.directory.clock.forward(61)  # a second for the one that was refused
    assert count(throttle, still, "POST", path) == 200
    assert spend(throttle, still, "GET", "/users")["x-ms-resource-unit"] == "2"


def test_the_logs_are_read_five_times_in_ten_seconds(still: RehearsalTenant) -> None:
    throttle = Throttle()
    spend(throttle, still, "GET", "/auditLogs/signIns")
    assert count(throttle, still, "GET", "/auditLogs/directoryAudits") == 4
    still.directory.clock.forward(12)  # two seconds for the one that was refused
    assert count(throttle, still, "GET", "/auditLogs/signIns/1") == 5


async def test_a_throttled_item_leaves_its_batch_standing(graph: httpx.AsyncClient, still: RehearsalTenant) -> None:
    requests = [{"id": str(number), "method": "GET", "url": "/auditLogs/signIns"} for number in range(7)]
    requests.append({"id": "users", "method": "GET", "url": "/users"})
    answer = await graph.post("/$batch", json={"requests": requests})
    assert answer.status_code == 200
    by_status: dict[int, list[dict[str, object]]] = {}
    for item in answer.json()["responses"]:
        by_status.setdefault(item["status"], []).append(item)
    assert (len(by_status[200]), len(by_status[429])) == (6, 2)
    assert all(int(item["headers"]["Retry-After"]) > 0 for item in by_status[429])  # type: ignore[index]
    assert by_status[429][0]["body"]["error"]["code"] == "TooManyRequests"  # type: ignore[index]


async def test_apps_are_told_apart_by_their_token(graph: httpx.AsyncClient, still: RehearsalTenant) -> None:
    async def statuses(**headers: str) -> list[int]:
        return [(await graph.get("/auditLogs/signIns", headers=headers)).status_code for _ in range(6)]

    assert await statuses() == [200] * 5 + [429]
    other = identity.issue_token(
        still.directory, audience=identity.GRAPH, client_app_id="other", roles=["AuditLog.Read.All"]
    )
    assert await statuses(Authorization=f"Bearer {other}") == [200] * 5 + [429]


async def test_throttling_can_be_switched_off(graph: httpx.AsyncClient, still: RehearsalTenant) -> None:
    switches.write(still.directory, "graph_throttling", False)
    answers = [await graph.get("/auditLogs/signIns") for _ in range(8)]
    assert {answer.status_code for answer in answers} == {200}
    assert "x-ms-resource-unit" not in (await graph.get("/users")).headers

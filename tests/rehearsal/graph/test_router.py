"""What holds for every request: who may call, permissions, ids, batches, throttling, what is not simulated."""

from __future__ import annotations

import re
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from jitkit.rehearsal import identity, switches
from jitkit.rehearsal.directory import User
from jitkit.rehearsal.graph.dispatch import Throttle, all_routes, resource_units
from jitkit.rehearsal.graph.groups import assign_roles
from jitkit.rehearsal.graph.wire import GraphError, GraphRoute
from jitkit.rehearsal.tenant import RehearsalTenant

from .bodies import message, person

DENIED = "403 Authorization_RequestDenied: Insufficient privileges to complete the operation."
LOG_DENIED = (
    "403 Authentication_MSGraphPermissionMissing: "
    "Calling principal does not have required MSGraph permissions AuditLog.Read.All"
)
ALL_PERMISSIONS = {one for route in all_routes() for allowed in route.permissions for one in allowed.split(" + ")}
Ask = Callable[..., Awaitable[httpx.Response]]
JSON_HEADER = {"Content-Type": "application/json"}


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


async def test_a_missing_permission_is_refused(tenant: RehearsalTenant) -> None:
    weak = RehearsalTenant.open(tenant.path, permissions=["User.Read.All"])
    try:
        token = (await weak.credential().get_token()).token
        assert (await with_token(weak, token)).status_code == 200
        denied = await with_token(weak, token, "/applications")
        assert message(denied) == (
            "403 Authorization_RequestDenied: Insufficient privileges to complete the operation."
        )
    finally:
        weak.close()


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


@pytest.fixture
async def ask(tenant: RehearsalTenant) -> AsyncIterator[Ask]:
    """Send a route's request with a token that holds these permissions and no others."""
    async with httpx.AsyncClient(transport=tenant.transport(), base_url="https://graph.microsoft.com/beta") as client:

        async def send(route: GraphRoute, *held: str, delegated: bool = False) -> httpx.Response:
            user = str(uuid.uuid4())
            if delegated:
                assign_roles(tenant.directory, user, ["Global Administrator"])
            how = {"scopes": held, "subject": user} if delegated else {"roles": held}
            token = identity.issue_token(
                tenant.directory,
                audience=identity.GRAPH,
                client_app_id=str(uuid.uuid4()),
                **how,  # type: ignore[arg-type]
            )
            path = re.sub(r"\{\w+\}", lambda _: str(uuid.uuid4()), route.path)
            body = None if route.method in ("GET", "DELETE") else {}
            return await client.request(route.method, path, json=body, headers={"Authorization": f"Bearer {token}"})

        yield send


@pytest.mark.parametrize("route", all_routes(), ids=lambda route: f"{route.method} {route.path}")
async def test_a_route_asks_for_its_permissions(ask: Ask, route: GraphRoute) -> None:
    mine = {one for allowed in route.permissions for one in allowed.split(" + ")}
    denied = LOG_DENIED if route.path.startswith("/auditLogs") else DENIED
    assert message(await ask(route)) == denied
    assert message(await ask(route, *(ALL_PERMISSIONS - mine))) == denied
    for allowed in route.permissions:
        halves = allowed.split(" + ")
        for delegated in (False, True):
            answer = await ask(route, *halves, delegated=delegated)
            assert answer.status_code in (200, 204, 400, 404), answer.text
        for half in halves if len(halves) > 1 else ():
            assert message(await ask(route, half)) == DENIED


async def send_batch(graph: httpx.AsyncClient, *requests: dict[str, Any]) -> dict[str, dict[str, Any]]:
    answer = await graph.post("/$batch", json={"requests": list(requests)})
    assert answer.status_code == 200, answer.text
    return {item["id"]: item for item in answer.json()["responses"]}


async def test_a_batch_makes_users_and_answers_each_on_its_own(
    graph: httpx.AsyncClient, tenant: RehearsalTenant
) -> None:
    requests = [
        {"id": str(number), "method": "POST", "url": "/users", "headers": JSON_HEADER, "body": person(tenant, email)}
        for number, email in enumerate(["a@x.example", "b@x.example", "A@x.example"])
    ]
    answer = await graph.post("/$batch", json={"requests": requests})
    inner = answer.json()["responses"]
    assert [item["id"] for item in inner] != ["0", "1", "2"]
    by_id = {item["id"]: item for item in inner}
    assert by_id["1"]["status"] == 201
    assert by_id["1"]["body"]["displayName"] == "B"
    assert sorted([by_id["0"]["status"], by_id["2"]["status"]]) == [201, 400]
    assert len({item["headers"]["request-id"] for item in inner}) == 3


async def test_mixed_requests_with_and_without_a_leading_slash(graph: httpx.AsyncClient) -> None:
    answers = await send_batch(
        graph,
        {"id": "1", "method": "GET", "url": "/me/memberOf"},
        {
            "id": "2",
            "method": "GET",
            "url": "users?$select=id&$filter=city eq null&$count=true",
            "headers": {"ConsistencyLevel": "eventual"},
        },
        {"id": "3", "method": "GET", "url": "/users/$count", "headers": {"ConsistencyLevel": "eventual"}},
        {"id": "4", "method": "GET", "url": "/users/$count"},
        {"id": "5", "method": "POST", "url": "/users", "body": {"displayName": "A"}},
    )
    assert {id: item["status"] for id, item in answers.items()} == {"1": 400, "2": 200, "3": 200, "4": 400, "5": 400}
    assert "delegated" in answers["1"]["body"]["error"]["message"]
    assert answers["2"]["body"]["@odata.count"] == 0
    assert answers["3"]["body"] == 0
    assert "Content-Type" in answers["5"]["body"]["error"]["message"]


async def test_what_depends_on_a_failure_fails_too(graph: httpx.AsyncClient, tenant: RehearsalTenant) -> None:
    user = {"method": "POST", "url": "/users", "headers": JSON_HEADER}
    answers = await send_batch(
        graph,
        {"id": "good", **user, "body": person(tenant, "a@x.example")},
        {"id": "bad", "method": "GET", "url": "/users/nobody", "dependsOn": ["good"]},
        {"id": "late", **user, "body": person(tenant, "b@x.example"), "dependsOn": ["bad"]},
        {"id": "later", **user, "body": person(tenant, "c@x.example"), "dependsOn": ["late"]},
        {"id": "again", **user, "body": person(tenant, "a@x.example"), "dependsOn": ["good"]},
    )
    assert {id: item["status"] for id, item in answers.items()} == {
        "good": 201,
        "bad": 404,
        "late": 424,
        "later": 424,
        "again": 400,
    }


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"requests": [{"id": str(n), "method": "GET", "url": "/users"} for n in range(21)]}, "maximum value of 20"),
        ({"requests": [{"id": "1", "method": "GET", "url": "/users"}] * 2}, "duplicate ids"),
        ({"requests": [{"id": 1, "method": "GET", "url": "/users"}]}, "required strings"),
        ({"requests": []}, "Invalid batch payload format"),
        ({"requests": [{"id": "1", "method": "GET", "url": "/users", "dependsOn": ["2"]}]}, "earlier request"),
        ([], "Invalid batch payload format"),
    ],
)
async def test_a_malformed_batch_is_refused_as_a_whole(graph: httpx.AsyncClient, body: Any, said: str) -> None:
    answer = await graph.post("/$batch", json=body)
    assert answer.status_code == 400
    assert said in message(answer)


async def test_a_url_that_cannot_be_read_fails_alone_in_its_batch(graph: httpx.AsyncClient) -> None:
    requests: list[dict[str, Any]] = [
        {"id": "bad", "method": "GET", "url": "http://["},
        {"id": "bare", "method": "PATCH", "url": "/users/x", "body": {}},
        {"id": "good", "method": "GET", "url": "/domains"},
    ]
    answers = (await graph.post("/$batch", json={"requests": requests})).json()["responses"]
    by_id = {each["id"]: each for each in answers}
    assert {id: each["status"] for id, each in by_id.items()} == {"bad": 400, "bare": 400, "good": 200}
    assert "Write request id : bare " in by_id["bare"]["body"]["error"]["message"]


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
            still.directory.add_user(
                User(id=str(number), upn=f"{number}@x", sign_in_name=None, password_hash="", body={}, created=0)
            )
    throttle = Throttle()
    assert count(throttle, still, "GET", "/domains") == allowed
    with pytest.raises(GraphError) as refused:
        spend(throttle, still, "GET", "/domains")
    assert refused.value.headers["x-ms-throttle-information"] == "ResourceUnitLimitExceeded"
    assert "/ReadWrite/" in refused.value.headers["x-ms-throttle-scope"]


def test_the_percentage_is_sent_from_four_fifths_on(still: RehearsalTenant) -> None:
    throttle = Throttle()
    percentages = [spend(throttle, still, "POST", "/users").get("x-ms-throttle-limit-percentage") for _ in range(3_000)]
    assert (percentages[2_398], percentages[2_399], percentages[-1]) == (None, "0.80", "1.00")


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


async def test_apps_are_distinguished_by_their_token(graph: httpx.AsyncClient, still: RehearsalTenant) -> None:
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

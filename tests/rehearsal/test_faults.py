"""Faults that come and go, late objects, and the log of calls."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from jitkit.errors import KitError
from jitkit.rehearsal.faults import FAULTS
from jitkit.rehearsal.tenant import RehearsalTenant
from rehearsal.support import LEGACY, World

ROOT = "https://graph.microsoft.com/v1.0"
REFUSALS = {
    "gateway-error": (502, "UnknownError", None),
    "gateway-timeout": (504, "UnknownError", None),
    "graph-error": (500, "UnknownError", None),
    "graph-timeout": (504, "UnknownError", None),
    "graph-down": (503, "serviceNotAvailable", "1"),
    "graph-throttled": (429, "TooManyRequests", "1"),
    "permission-missing": (403, "Authorization_RequestDenied", None),
    "token-expired": (401, "InvalidAuthenticationToken", None),
}
CALLOUTS = {each.name: each.error for each in FAULTS.values() if each.error}


async def send(tenant: RehearsalTenant, method: str, path: str, body: Any = None) -> httpx.Response:
    token = (await tenant.credential().get_token()).token
    async with httpx.AsyncClient(transport=tenant.transport()) as client:
        return await client.request(method, f"{ROOT}{path}", json=body, headers={"Authorization": f"Bearer {token}"})


def applications(tenant: RehearsalTenant) -> int:
    """How many applications were made."""
    return len(tenant.directory.all("application")) - 1


@pytest.mark.parametrize("name", REFUSALS)
async def test_graph_refuses_in_its_own_shape_while_the_block_lasts(tenant: RehearsalTenant, name: str) -> None:
    status, code, retry_after = REFUSALS[name]
    with tenant.faults.inject(name):
        answer = await send(tenant, "POST", "/applications", {"displayName": "Refused"})
    assert answer.status_code == status
    assert answer.json()["error"]["code"] == code
    assert answer.headers.get("Retry-After") == retry_after
    assert answer.headers.get("request-id") or name.startswith("gateway")
    assert applications(tenant) == 0
    assert (await send(tenant, "GET", "/applications")).status_code == 200


async def test_a_fault_meets_the_calls_with_its_numbers_and_no_other(tenant: RehearsalTenant) -> None:
    with tenant.faults.inject("graph-down", calls=(2, 4)) as injected:
        statuses = [(await send(tenant, "GET", "/organization")).status_code for _ in range(5)]
    assert statuses == [200, 503, 200, 503, 200]
    assert (injected.seen, injected.met) == (5, [2, 4])


async def test_a_share_of_calls_is_the_same_for_the_same_seed(tenant: RehearsalTenant) -> None:
    runs = []
    for seed in (7, 7, 8):
        with tenant.faults.inject("graph-down", share=0.5, seed=seed) as injected:
            for _ in range(12):
                await send(tenant, "GET", "/organization")
        runs.append(injected.met)
    assert runs[0] == runs[1] != runs[2]
    assert 0 < len(runs[0]) < 12


async def test_one_request_of_a_batch_can_fail_alone(tenant: RehearsalTenant) -> None:
    requests = [{"id": str(n), "method": "GET", "url": "/organization"} for n in range(3)]
    with tenant.faults.inject("graph-throttled", calls=(2,)):
        answer = await send(tenant, "POST", "/$batch", {"requests": requests})
    assert answer.status_code == 200
    assert sorted(each["status"] for each in answer.json()["responses"]) == [200, 200, 429]


def batch_of_three() -> dict[str, Any]:
    body = {"headers": {"Content-Type": "application/json"}, "body": {"displayName": "Made"}}
    return {"requests": [{"id": str(n), "method": "POST", "url": "/applications", **body} for n in range(3)]}


@pytest.mark.parametrize("name", ["gateway-timeout-done", "graph-timeout-done"])
async def test_a_request_is_carried_out_and_answered_504(tenant: RehearsalTenant, name: str) -> None:
    with tenant.faults.inject(name, calls=(1,)):
        answer = await send(tenant, "POST", "/applications", {"displayName": "Made"})
    assert answer.status_code == 504
    assert applications(tenant) == 1
    with tenant.faults.inject(name):
        refused = await send(tenant, "POST", "/applications", {})
    assert (refused.status_code, applications(tenant)) == (504, 1)


async def test_a_batch_is_carried_out_and_answered_504_as_a_whole(tenant: RehearsalTenant) -> None:
    """H10: what a caller cannot know from the answer is whether anything was done."""
    with tenant.faults.inject("gateway-timeout-done"):
        assert (await send(tenant, "POST", "/$batch", batch_of_three())).status_code == 504
    assert applications(tenant) == 3
    with tenant.faults.inject("gateway-timeout"):
        assert (await send(tenant, "POST", "/$batch", batch_of_three())).status_code == 504
    assert applications(tenant) == 3


@pytest.mark.parametrize(("name", "made"), [("graph-timeout-done", 3), ("graph-timeout", 2)])
async def test_one_request_of_a_batch_is_answered_504(tenant: RehearsalTenant, name: str, made: int) -> None:
    with tenant.faults.inject(name, calls=(2,)):
        answer = await send(tenant, "POST", "/$batch", batch_of_three())
    assert sorted(each["status"] for each in answer.json()["responses"]) == [201, 201, 504]
    assert applications(tenant) == made


async def test_a_network_that_is_down_lets_nothing_through(tenant: RehearsalTenant) -> None:
    with tenant.faults.inject("network-down"), pytest.raises(httpx.ConnectError):
        await send(tenant, "POST", "/applications", {"displayName": "Lost"})
    assert "Lost" not in [each["displayName"] for each in tenant.directory.all("application")]


async def test_a_dropped_connection_lets_nothing_through(tenant: RehearsalTenant) -> None:
    with tenant.faults.inject("connection-dropped"), pytest.raises(httpx.RemoteProtocolError):
        await send(tenant, "POST", "/$batch", batch_of_three())
    assert applications(tenant) == 0


async def test_an_answer_that_is_lost_was_done_all_the_same(tenant: RehearsalTenant) -> None:
    with tenant.faults.inject("answer-lost"), pytest.raises(httpx.ReadError):
        await send(tenant, "POST", "/applications", {"displayName": "Done"})
    assert "Done" in [each["displayName"] for each in tenant.directory.all("application")]


@pytest.mark.parametrize("name", CALLOUTS)
async def test_the_service_fails_at_its_own_end_and_the_log_has_its_number(world: World, name: str) -> None:
    world.add_user()
    with world.tenant.faults.inject(name) as injected:
        done = await world.sign_in(LEGACY)
    assert (done.outcome, done.callout_error) == ("error", CALLOUTS[name])
    assert world.last_callout()["errorCode"] == CALLOUTS[name]
    assert injected.met
    assert (await world.sign_in(LEGACY)).migrated


async def test_a_retry_gets_through_when_the_first_attempt_alone_fails(world: World) -> None:
    world.add_user()
    with world.tenant.faults.inject("endpoint-unreachable", calls=(1,)):
        done = await world.sign_in(LEGACY)
    assert (done.migrated, done.attempts) == (True, 2)


@pytest.mark.parametrize("name", ["nonsense", ""])
def test_an_unknown_fault_is_refused(tenant: RehearsalTenant, name: str) -> None:
    with pytest.raises(KitError, match="no fault"), tenant.faults.inject(name):
        pass


async def test_calls_are_noted_without_query_body_or_token(world: World) -> None:
    world.add_user()
    await send(world.tenant, "GET", "/users?$filter=mail eq 'ada@woodgrove.example'")
    await world.sign_in(LEGACY)
    noted = list(world.tenant.calls)
    assert [(each.number, each.to, each.method, each.path, each.status) for each in noted] == [
        (1, "graph", "GET", "/users", 200),
        (2, "endpoint", "POST", "/api/JitMigrationEndpoint", 200),
    ]
    assert "ada" not in repr(noted) and "Bearer" not in repr(noted) and LEGACY not in repr(noted)


def test_the_log_of_calls_is_bounded_and_a_reset_clears_it(tenant: RehearsalTenant) -> None:
    for _ in range(1000 + 5):
        tenant.state.note_call("graph", "GET", "/users", 200)
    assert len(tenant.calls) == 1000
    assert next(iter(tenant.calls)).number == 6
    tenant.reset()
    assert len(tenant.calls) == 0

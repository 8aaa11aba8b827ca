"""The logs as Graph serves them."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from jitkit.rehearsal import switches
from rehearsal.support import LEGACY, NEW, STORED, ScriptedEndpoint, World

ENUMS = {"Prefer": "include-unknown-enum-members"}


@pytest.fixture
async def graph(world: World) -> AsyncIterator[httpx.AsyncClient]:
    switches.write(world.directory, "graph_throttling", False)  # these tests read the logs more than five times
    token = (await world.tenant.credential().get_token("https://graph.microsoft.com/.default")).token
    headers = {"Authorization": f"Bearer {token}"}
    client = httpx.AsyncClient(
        transport=world.tenant.transport(), base_url="https://graph.microsoft.com", headers=headers
    )
    async with client:
        yield client


async def rows(graph: httpx.AsyncClient, path: str, **query: str) -> list[dict[str, Any]]:
    found = await graph.get(path, params={f"${name}": value for name, value in query.items()}, headers=ENUMS)
    assert found.status_code == 200, found.text
    listed: list[dict[str, Any]] = found.json()["value"]
    return listed


async def test_beta_rows_tell_about_the_callout(
    world: World, graph: httpx.AsyncClient, endpoint: ScriptedEndpoint
) -> None:
    user = world.add_user()
    done = await world.sign_in(LEGACY)
    (row,) = await rows(graph, "/beta/auditLogs/signIns")
    (executed,) = row["appliedEventListeners"]
    result = executed["handlerResult"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", result.pop("calloutDateTime"))
    assert executed == {
        "@odata.type": "#microsoft.graph.appliedAuthenticationEventListener",
        "eventType": "passwordSubmit",
        "executedListenerId": world.listener["id"],
        "handlerResult": {
            "@odata.type": "#microsoft.graph.customExtensionCalloutResult",
            "customExtensionId": world.extension["id"],
            "errorCode": 0,
            "httpStatus": 200,
            "numberOfAttempts": 1,
        },
    }
    assert (row["userId"], row["userPrincipalName"], row["correlationId"]) == (user.id, user.upn, done.correlation_id)
    assert (row["appId"], row["appDisplayName"], row["isInteractive"]) == (world.client_id, "JIT test client", True)
    assert row["status"] == {"errorCode": 0, "failureReason": None, "additionalDetails": None}


async def test_without_the_header_the_event_has_no_name(world: World, graph: httpx.AsyncClient) -> None:
    world.add_user()
    await world.sign_in(LEGACY)
    (row,) = (await graph.get("/beta/auditLogs/signIns")).json()["value"]
    assert row["appliedEventListeners"][0]["eventType"] == "unknownFutureValue"


async def test_v1_rows_do_not_tell_about_the_callout(world: World, graph: httpx.AsyncClient) -> None:
    world.add_user()
    await world.sign_in(LEGACY)
    (row,) = await rows(graph, "/v1.0/auditLogs/signIns")
    assert "appliedEventListeners" not in row
    one = await graph.get(f"/v1.0/auditLogs/signIns/{row['id']}")
    assert one.json()["correlationId"] == row["correlationId"]
    assert "appliedEventListeners" not in one.json()
    missing = await graph.get("/v1.0/auditLogs/signIns/11111111-1111-1111-1111-111111111111")
    assert missing.status_code == 404


async def test_a_wrong_password_reads_as_in_the_reference(world: World, graph: httpx.AsyncClient) -> None:
    world.add_user(flag=False)
    await world.sign_in(LEGACY)
    (row,) = await rows(graph, "/beta/auditLogs/signIns")
    assert row["status"]["errorCode"] == 50126
    assert row["status"]["additionalDetails"].startswith("The user didn't enter the right credentials.")
    assert row["authenticationDetails"][0]["succeeded"] is False
    assert row["status"]["failureReason"] == "Error validating credentials due to invalid username or password."
    assert row["appliedEventListeners"] == []


async def test_filters_and_pages_newest_first(world: World, graph: httpx.AsyncClient) -> None:
    ada, ben = world.add_user(flag=False), world.add_user("ben@woodgrove.example", flag=False)
    first = await world.sign_in(STORED)
    await world.sign_in(LEGACY, "ben@woodgrove.example")
    await asyncio.sleep(0.01)
    middle = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    await asyncio.sleep(0.01)
    last = await world.sign_in(STORED, "ben@woodgrove.example")
    path = "/beta/auditLogs/signIns"

    async def found(text: str) -> list[str]:
        return [row["userId"] for row in await rows(graph, path, filter=text)]

    assert await found(f"userId eq '{ada.id}'") == [ada.id]
    assert await found("status/errorCode eq 50126") == [ben.id]
    assert await found("status/errorCode eq 0") == [ben.id, ada.id]
    assert await found(f"appId eq '{world.client_id}' and status/errorCode eq 50126") == [ben.id]
    assert await found(f"correlationId eq '{first.correlation_id}'") == [ada.id]
    assert await found(f"createdDateTime ge {middle}") == [ben.id]
    assert await found(f"createdDateTime le {middle}") == [ben.id, ada.id]
    assert await found("createdDateTime ge 2020-01-01T00:00:00Z") == [ben.id, ben.id, ada.id]

    page = (await graph.get(path, params={"$top": "2"})).json()
    assert page["value"][0]["correlationId"] == last.correlation_id
    rest = (await graph.get(page["@odata.nextLink"])).json()
    assert [row["correlationId"] for row in rest["value"]] == [first.correlation_id]
    assert "@odata.nextLink" not in rest


async def test_rows_within_the_second_of_a_filter_are_found(world: World, graph: httpx.AsyncClient) -> None:
    world.add_user(flag=False)
    await world.sign_in(STORED)
    (row,) = await rows(graph, "/beta/auditLogs/signIns")
    second = row["createdDateTime"].split(".")[0] + "Z"
    assert await rows(graph, "/beta/auditLogs/signIns", filter=f"createdDateTime ge {second}")


async def test_the_audit_log_shows_the_flag_and_the_password_change_without_a_password(
    world: World, graph: httpx.AsyncClient
) -> None:
    user = world.add_user()
    await world.sign_in("lowercase", new_password=NEW)
    newest, before = (await rows(graph, "/v1.0/auditLogs/directoryAudits"))[:2]
    assert (newest["activityDisplayName"], before["activityDisplayName"]) == ("Update user", "Reset password")
    (target,) = newest["targetResources"]
    assert (target["id"], target["type"]) == (user.id, "User")
    assert target["modifiedProperties"] == [{"displayName": world.flag, "oldValue": "[true]", "newValue": "[false]"}]
    assert newest["category"] == "UserManagement"
    since = newest["activityDateTime"]
    found = await rows(graph, "/v1.0/auditLogs/directoryAudits", filter=f"activityDateTime ge {since}")
    assert newest["id"] in {row["id"] for row in found}
    assert NEW not in json.dumps(found)


async def test_reading_the_logs_needs_the_permission(world: World) -> None:
    from jitkit.rehearsal import identity

    token = identity.issue_token(
        world.directory, audience="https://graph.microsoft.com", client_app_id="a", roles=["User.Read.All"]
    )
    async with httpx.AsyncClient(transport=world.tenant.transport()) as client:
        for path in ("signIns", "directoryAudits"):
            answer = await client.get(
                f"https://graph.microsoft.com/beta/auditLogs/{path}", headers={"Authorization": f"Bearer {token}"}
            )
            assert (answer.status_code, answer.json()["error"]["code"]) == (
                403,
                "Authentication_MSGraphPermissionMissing",
            )


# --- shapes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("version", "number"), [("v1.0", 21), ("beta", 42)])
async def test_a_row_has_every_property_that_the_reference_shows(
    world: World, graph: httpx.AsyncClient, version: str, number: int
) -> None:
    world.add_user(flag=False)
    await world.sign_in(LEGACY)
    (row,) = await rows(graph, f"/{version}/auditLogs/signIns")
    v1 = {
        "riskDetail",
        "riskState",
        "riskEventTypes",
        "resourceId",
        "deviceDetail",
        "location",
        "conditionalAccessStatus",
    }
    beta = {"authenticationDetails", "signInEventTypes", "homeTenantId", "userType", "appliedEventListeners"}
    assert v1 <= row.keys()
    assert (beta <= row.keys()) is (version == "beta")
    assert len(row) >= number
    assert row["resourceId"] == "00000003-0000-0000-c000-000000000000"
    if version == "beta":
        assert (row["homeTenantId"], row["signInIdentifier"]) == (world.tenant.tenant_id, "ada@woodgrove.example")


async def test_a_filter_combines_time_app_user_and_error(world: World, graph: httpx.AsyncClient) -> None:
    user = world.add_user(flag=False)
    await world.sign_in(LEGACY)
    middle = datetime.fromtimestamp(world.directory.clock.now() + 30, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    world.directory.clock.forward(60)
    await world.sign_in(STORED)
    text = (
        f"createdDateTime ge {middle} and appId eq '{world.client_id}' and userId eq '{user.id}'"
        " and status/errorCode eq 0"
    )
    assert [row["status"]["errorCode"] for row in await rows(graph, "/v1.0/auditLogs/signIns", filter=text)] == [0]


async def test_beta_filters_by_the_kind_of_a_sign_in(world: World, graph: httpx.AsyncClient) -> None:
    world.add_user(flag=False)
    await world.sign_in(LEGACY)
    path, kind = "/beta/auditLogs/signIns", "signInEventTypes/any(t: t eq '{}')"
    assert len(await rows(graph, path, filter=kind.format("interactiveUser"))) == 1
    assert await rows(graph, path, filter=kind.format("nonInteractiveUser")) == []
    both = "signInEventTypes/any(t: t eq 'interactiveUser' or t eq 'nonInteractiveUser')"
    assert len(await rows(graph, path, filter=f"{both} and createdDateTime ge 2020-01-01T00:00:00Z")) == 1
    refused = await graph.get("/v1.0/auditLogs/signIns", params={"$filter": kind.format("interactiveUser")})
    assert refused.status_code == 400


# --- time ------------------------------------------------------------------------------------------------------------


async def test_seven_days_are_kept_by_the_tenants_clock(world: World) -> None:
    world.add_user()
    await world.sign_in(LEGACY)
    world.directory.clock.forward(7 * 86_400 - 60)
    assert [len(found) for found in await everything(world)] == [1, 2]
    world.directory.clock.forward(120)
    assert await everything(world) == [[], []]
    assert len(world.tenant.sign_in_rows()) == 1


async def test_rows_arrive_late_where_the_switch_says_so(world: World) -> None:
    world.add_user()
    switches.write(world.directory, "log_delay", 300)
    await world.sign_in(LEGACY)
    assert await everything(world) == [[], []]
    world.directory.clock.forward(301)
    assert [len(found) for found in await everything(world)] == [1, 2]


async def everything(world: World) -> list[list[dict[str, Any]]]:
    """Read both logs with a token of the moment."""
    token = (await world.tenant.credential().get_token("https://graph.microsoft.com/.default")).token
    async with httpx.AsyncClient(
        transport=world.tenant.transport(),
        base_url="https://graph.microsoft.com",
        headers={"Authorization": f"Bearer {token}"},
    ) as graph:
        return [await rows(graph, f"/v1.0/auditLogs/{log}") for log in ("signIns", "directoryAudits")]


# --- licence, audits ---------------------------------------------------------------------------------------


async def test_without_the_licence_sign_ins_are_refused_and_audits_are_not(
    world: World, graph: httpx.AsyncClient
) -> None:
    switches.write(world.directory, "p1_licence", False)
    refused = await graph.get("/v1.0/auditLogs/signIns")
    assert (refused.status_code, refused.json()["error"]["code"]) == (
        403,
        "Authentication_RequestFromNonPremiumTenantOrB2CTenant",
    )
    assert (await graph.get("/v1.0/auditLogs/directoryAudits")).status_code == 200


async def test_audits_are_found_by_activity_time_and_target_and_say_who_did_it(
    world: World, graph: httpx.AsyncClient
) -> None:
    user, path = world.add_user(), "/v1.0/auditLogs/directoryAudits"
    await world.sign_in(LEGACY)
    await world.tenant.reset_password("ada@woodgrove.example", NEW)
    changed = await graph.patch(f"/v1.0/users/{user.id}", json={"displayName": "Ada L."})
    assert changed.status_code == 204
    (reset,) = await rows(graph, path, filter="activityDisplayName eq 'Reset password (self-service)'")
    assert reset["initiatedBy"]["user"]["id"] == user.id
    assert len(await rows(graph, path, filter=f"targetResources/any(t: t/id eq '{user.id}')")) == 4
    assert await rows(graph, path, filter="targetResources/any(t: t/id eq 'nobody')") == []
    mine = await rows(graph, path, filter=f"initiatedBy/user/id eq '{user.id}'")
    assert [row["id"] for row in mine] == [reset["id"]]
    flips = await rows(graph, path, filter="activityDisplayName eq 'Update user' and activityDateTime ge 2020-01-01")
    by_admin, by_service = flips
    assert by_admin["initiatedBy"]["app"]["displayName"] == "Rehearsal administrator"
    assert by_service["initiatedBy"] == {"user": None, "app": None}
    one = await graph.get(f"{path}/{reset['id']}")
    assert one.json()["activityDisplayName"] == "Reset password (self-service)"

"""The logs as tables of a workspace: every documented column, in its type."""

from __future__ import annotations

import json
import re
from datetime import datetime
from pathlib import Path
from typing import Any

from jitkit.rehearsal import log_exports
from jitkit.rehearsal.log_exports import REFUSED_WITH, export_logs
from rehearsal.support import LEGACY, STORED, World

# Azure Monitor reference: the columns that queries about a migration use, and what they hold.
COLUMNS: dict[str, dict[str, type]] = {
    "SigninLogs": {
        "TimeGenerated": datetime,
        "AppId": str,
        "AppDisplayName": str,
        "AppliedEventListeners": list,
        "AuthenticationDetails": str,
        "AuthenticationProtocol": str,
        "CorrelationId": str,
        "Id": str,
        "IPAddress": str,
        "IsInteractive": bool,
        "Location": str,
        "ResultType": str,
        "ResultDescription": str,
        "Status": dict,
        "SignInIdentifier": str,
        "SignInIdentifierType": str,
        "UserId": str,
        "UserPrincipalName": str,
        "UserType": str,
        "ClientAppUsed": str,
        "ProcessingTimeInMilliseconds": str,
    },
    "AuditLogs": {
        "TimeGenerated": datetime,
        "ActivityDateTime": datetime,
        "ActivityDisplayName": str,
        "OperationName": str,
        "AADOperationType": str,
        "Category": str,
        "LoggedByService": str,
        "InitiatedBy": dict,
        "TargetResources": list,
        "AdditionalDetails": list,
        "Result": str,
        "ResultReason": str,
        "CorrelationId": str,
        "Identity": str,
    },
    "AppRequests": {
        "TimeGenerated": datetime,
        "Id": str,
        "Name": str,
        "Url": str,
        "ResultCode": str,
        "Success": bool,
        "DurationMs": float,
        "OperationId": str,
        "OperationName": str,
        "ParentId": str,
        "ClientIP": str,
        "AppRoleName": str,
        "AppRoleInstance": str,
        "Properties": dict,
        "ItemCount": int,
    },
    "AppTraces": {
        "TimeGenerated": datetime,
        "Message": str,
        "SeverityLevel": int,
        "OperationId": str,
        "OperationName": str,
        "ParentId": str,
        "AppRoleName": str,
        "Properties": dict,
        "ItemCount": int,
    },
}


def ledger(correlation_id: str) -> list[dict[str, Any]]:
    answered = {
        "time": "2026-11-27T10:00:00+00:00",
        "correlation_id": correlation_id,
        "user_id": "u-1",
        "app_id": "a-1",
        "action": "MigratePassword",
        "cause": "ok",
        "legacy": "csv",
        "duration_ms": 12,
        "key": "k-1",
        "attempt": 1,
    }
    unknown = dict.fromkeys(("user_id", "app_id", "action", "key", "attempt"))
    return [answered, {**answered, **unknown, "cause": "crowded"}, {**answered, **unknown, "cause": "bearer_missing"}]


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


async def test_every_documented_column_is_there_with_its_type(world: World, tmp_path: Path) -> None:
    world.add_user()
    done = await world.sign_in(LEGACY)
    await world.sign_in("Wrong#Password-9")
    files = export_logs(world.tenant, tmp_path / "logs", ledger(done.correlation_id))
    assert files.keys() == COLUMNS.keys()
    for table, columns in COLUMNS.items():
        for row in read(files[table]):
            assert row["Type"] == table
            for name, kind in columns.items():
                value = datetime.fromisoformat(row[name]) if kind is datetime else row[name]
                assert type(value) is kind, (table, name, value)


async def test_a_sign_ins_result_is_text_and_its_callout_joins_with_the_endpoints_traces(
    world: World, tmp_path: Path
) -> None:
    user = world.add_user()
    done = await world.sign_in(LEGACY)
    await world.sign_in("Wrong#Password-9")
    files = export_logs(world.tenant, tmp_path, ledger(done.correlation_id))
    first, second = read(files["SigninLogs"])
    assert (first["ResultType"], second["ResultType"]) == ("0", "50126")
    assert (first["UserId"], first["CorrelationId"]) == (user.id, done.correlation_id)
    assert first["AppliedEventListeners"][0]["handlerResult"]["errorCode"] == 0
    traces = read(files["AppTraces"])
    assert traces[0]["Properties"]["correlation_id"] == first["CorrelationId"]
    requests = read(files["AppRequests"])
    assert [row["ResultCode"] for row in requests] == ["200", "503", "401"]
    assert [row["Success"] for row in requests] == [True, False, False]
    assert [row["SeverityLevel"] for row in traces] == [1, 2, 2]
    assert traces[0]["ParentId"] == requests[0]["Id"]


async def test_audits_tell_the_flag_that_turned(world: World, tmp_path: Path) -> None:
    user = world.add_user()
    await world.sign_in(STORED)
    files = export_logs(world.tenant, tmp_path)
    assert files.keys() == {"SigninLogs", "AuditLogs"}
    (row,) = read(files["AuditLogs"])
    assert (row["OperationName"], row["AADOperationType"], row["InitiatedBy"]) == ("Update user", "Update", {})
    assert row["TargetResources"][0]["id"] == user.id
    assert row["TargetResources"][0]["modifiedProperties"][0]["newValue"] == "[false]"


async def test_a_workspace_keeps_what_the_tenant_forgets_in_order_and_in_pages(world: World, tmp_path: Path) -> None:
    world.add_user(flag=False)
    await world.sign_in(STORED)
    (row,) = world.tenant.sign_in_rows()
    for number in range(1500):
        copy = {**row, "id": f"copy-{number}"}
        world.directory.append_log("signIn", copy, time=1_700_000_000.0 + number // 10)
    world.directory.clock.forward(30 * 86_400)
    ids = [each["Id"] for each in read(export_logs(world.tenant, tmp_path)["SigninLogs"])]
    assert ids == [*(f"copy-{number}" for number in range(1500)), row["id"]]


def test_the_statuses_of_refusals_are_those_of_the_kits_endpoint() -> None:
    folder = Path(log_exports.__file__).parents[1] / "endpoint"
    source = "".join(path.read_text(encoding="utf-8") for path in folder.glob("*.py"))
    found = {cause: int(status) for status, cause in re.findall(r'Refused\((\d+), "(\w+)"', source)}
    assert found
    assert {cause: status for cause, status in found.items() if status != 401} == REFUSED_WITH

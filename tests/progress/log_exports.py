"""The tenant's logs as a Log Analytics workspace holds them, so that queries can be tried on files.

[Azure Monitor reference: tables SigninLogs, AuditLogs, AppRequests and AppTraces; Microsoft Learn, "Azure Monitor in
external tenants"] A workspace keeps what the tenant forgets after seven days: every row that the tenant ever logged is
here. How members are spelt inside the dynamic column AppliedEventListeners is not documented; here as in Graph.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from jitkit.rehearsal.directory import Body
from jitkit.rehearsal.graph.logs import whole_sign_in

if TYPE_CHECKING:
    from jitkit.rehearsal.tenant import RehearsalTenant

__all__ = ["export_logs"]

_ROLE: Final = "jit-endpoint"
_OPERATION: Final = "JitMigrationEndpoint"
_PATH: Final = "/api/JitMigrationEndpoint"
_INFORMATION: Final = 1
_WARNING: Final = 2
# The ledger keeps no HTTP status: the kit's endpoint answers these causes so, and a token that it does not trust 401.
REFUSED_WITH: Final = {
    **dict.fromkeys(("context_issuer", "disconnected", "event_type", "plaintext_context"), 400),
    **dict.fromkeys(("nonce_replayed", "nonce_reused"), 400),
    **dict.fromkeys(("extension", "listener", "plain_http", "tenant"), 403),
    "too_large": 413,
    "content_type": 415,
    **dict.fromkeys(("crowded", "no_signing_keys", "request_timeout"), 503),
}
_UNTRUSTED: Final = 401
# What an endpoint may say of a customer's sign-in in a trace: nothing that names them.
_PROPERTIES: Final = ("correlation_id", "user_id", "app_id", "action", "cause", "legacy", "attempt", "key")


def export_logs(
    tenant: RehearsalTenant, folder: Path, ledger: Iterable[Mapping[str, Any]] | None = None
) -> dict[str, Path]:
    """Write the logs as JSON lines, one file a table.

    Args:
        tenant: the stand-in tenant.
        folder: where to; it is made when absent, and files in it are replaced. New ones only their owner can read:
            they name people.
        ledger: the endpoint's ledger, a mapping a line; without it the tables of Application Insights are left out.

    Returns:
        Table name to file, such as `SigninLogs` to `folder/SigninLogs.jsonl`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tables: dict[str, Iterable[Body]] = {
        "SigninLogs": (_sign_in(row, tenant.tenant_id) for row in _oldest_first(tenant, "signIn")),
        "AuditLogs": (_audit(row) for row in _oldest_first(tenant, "directoryAudit")),
    }
    if ledger is not None:
        lines = list(ledger)
        tables |= {"AppRequests": map(_request, lines), "AppTraces": map(_trace, lines)}
    written = {}
    for name, rows in tables.items():
        written[name] = folder / f"{name}.jsonl"
        written[name].touch(mode=0o600)
        with written[name].open("w", encoding="utf-8") as file:
            file.writelines(json.dumps({**row, "Type": name}, ensure_ascii=False) + "\n" for row in rows)
    return written


def _oldest_first(tenant: RehearsalTenant, kind: str) -> Iterator[Body]:
    """Read a log page by page: it may hold more than fits into memory."""
    after = (float("-inf"), 0)
    while True:
        found = tenant.directory.rows(
            "SELECT rowid AS at, time, body FROM log WHERE kind = ? AND (time, rowid) > (?, ?)"
            " ORDER BY time, rowid LIMIT 1000",
            (kind, *after),
        )
        if not found:
            return
        yield from (json.loads(row["body"]) for row in found)
        after = (found[-1]["time"], found[-1]["at"])


def _sign_in(row: Body, tenant_id: str) -> Body:
    whole = whole_sign_in(row, "beta", tenant_id)
    status = whole["status"]
    return {
        "TimeGenerated": whole["createdDateTime"],
        "CreatedDateTime": whole["createdDateTime"],
        "OperationName": "Sign-in activity",
        "Category": "SignInLogs",
        "Id": whole["id"],
        "CorrelationId": whole["correlationId"],
        "AppId": whole["appId"],
        "AppDisplayName": whole["appDisplayName"],
        "AppliedEventListeners": whole["appliedEventListeners"],
        "AuthenticationDetails": json.dumps(whole["authenticationDetails"]),
        "AuthenticationProtocol": whole["authenticationProtocol"],
        "ClientAppUsed": whole["clientAppUsed"],
        "ConditionalAccessStatus": whole["conditionalAccessStatus"],
        "IPAddress": whole["ipAddress"],
        "IsInteractive": whole["isInteractive"],
        "Location": whole["location"]["countryOrRegion"],
        "ProcessingTimeInMilliseconds": str(whole["processingTimeInMilliseconds"]),
        "ResultType": str(status["errorCode"]),
        "ResultDescription": status["failureReason"] or "",
        "SignInIdentifier": whole["signInIdentifier"],
        "SignInIdentifierType": "emailAddress" if "@" in whole["signInIdentifier"] else "",
        "Status": status,
        "UserDisplayName": whole["userDisplayName"],
        "UserId": whole["userId"],
        "UserPrincipalName": whole["userPrincipalName"],
        "UserType": "Member",
    }


def _audit(row: Body) -> Body:
    activity = row["activityDisplayName"]
    return {
        "TimeGenerated": row["activityDateTime"],
        "ActivityDateTime": row["activityDateTime"],
        "ActivityDisplayName": activity,
        "OperationName": activity,
        "AADOperationType": _operation_type(activity),
        "Category": row["category"],
        "CorrelationId": row["correlationId"],
        "Id": row["id"],
        "Identity": _identity(row["initiatedBy"]),
        "InitiatedBy": {name: who for name, who in row["initiatedBy"].items() if who},
        "LoggedByService": row["loggedByService"],
        "Result": row["result"],
        "ResultReason": row["resultReason"],
        "TargetResources": row["targetResources"],
        "AdditionalDetails": row["additionalDetails"],
    }


def _operation_type(activity: str) -> str:
    first = activity.partition(" ")[0].lower()
    return {"add": "Add", "create": "Add", "delete": "Delete", "remove": "Delete", "hard": "Delete"}.get(
        first, "Update"
    )


def _identity(initiated_by: Mapping[str, Any]) -> str:
    who = initiated_by.get("user") or initiated_by.get("app") or {}
    return str(who.get("userPrincipalName") or who.get("displayName") or "")


def _request(line: Mapping[str, Any]) -> Body:
    answered = line.get("action") is not None
    started = str(line["time"])
    return {
        "TimeGenerated": started,
        "Id": _span(line),
        "Name": f"POST {_PATH}",
        "Url": f"https://{_ROLE}{_PATH}",
        "ResultCode": "200" if answered else str(REFUSED_WITH.get(str(line.get("cause")), _UNTRUSTED)),
        "Success": answered,
        "DurationMs": float(line.get("duration_ms") or 0.0),
        "OperationId": _operation(line),
        "OperationName": _OPERATION,
        "ParentId": _operation(line),
        "ClientIP": "0.0.0.0",
        "AppRoleName": _ROLE,
        "AppRoleInstance": f"{_ROLE}-0",
        "Properties": {"HostInstanceId": f"{_ROLE}-0"},
        "ItemCount": 1,
    }


def _trace(line: Mapping[str, Any]) -> Body:
    action, cause = line.get("action"), line.get("cause") or ""
    ended = datetime.fromisoformat(str(line["time"])) + timedelta(milliseconds=float(line.get("duration_ms") or 0.0))
    return {
        "TimeGenerated": ended.isoformat().replace("+00:00", "Z"),
        "Message": f"{action or 'refused'}: {cause}" if cause else str(action or "refused"),
        "SeverityLevel": _INFORMATION if action is not None else _WARNING,
        "OperationId": _operation(line),
        "OperationName": _OPERATION,
        "ParentId": _span(line),
        "AppRoleName": _ROLE,
        "Properties": {name: str(line[name]) for name in _PROPERTIES if line.get(name) is not None},
        "ItemCount": 1,
    }


def _operation(line: Mapping[str, Any]) -> str:
    """One operation a call; two attempts of one sign-in are two."""
    return f"{str(line.get('correlation_id') or '').replace('-', '')}{line.get('attempt') or ''}"


def _span(line: Mapping[str, Any]) -> str:
    return f"{_operation(line)[:16]}"

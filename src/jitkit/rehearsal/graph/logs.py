"""The sign-in log and the audit log, as Graph serves them.

[Microsoft Graph: signIn (v1.0 and beta), appliedAuthenticationEventListener and customExtensionCalloutResult (beta) and
directoryAudit (v1.0); Microsoft Learn, "Microsoft Entra data retention": an external tenant keeps seven days]
"""

from __future__ import annotations

import functools
import json
import sqlite3
from collections.abc import Mapping
from typing import Any, Final

from jitkit.rehearsal import switches
from jitkit.rehearsal.directory import Body, Directory
from jitkit.rehearsal.graph import odata
from jitkit.rehearsal.graph.resource import defaults
from jitkit.rehearsal.graph.wire import Answer, Call, GraphError, GraphRoute, not_found

_PERMISSIONS: Final = ("AuditLog.Read.All",)
_KEPT_SECONDS: Final = 7 * 86_400.0


# The last part of the path -> the log's kind, and the SDK model of its rows.
_LOGS: Final = {"signIns": ("signIn", "SignIn"), "directoryAudits": ("directoryAudit", "DirectoryAudit")}


def routes() -> list[GraphRoute]:
    """List the operations on the logs."""
    return [
        GraphRoute("GET", f"/auditLogs/{log}{one}", handler, _PERMISSIONS)
        for log in _LOGS
        for one, handler in (("", _list), ("/{id}", _get))
    ]


def _log(call: Call) -> tuple[str, str, str]:
    """Return context, kind and model of the log that is asked for; sign-ins need a P1 licence."""
    asked = call.path.split("/")[2].lower()
    name, (kind, model) = next((name, log) for name, log in _LOGS.items() if name.lower() == asked)
    if kind == "signIn" and not switches.is_on(call.directory, "p1_licence"):
        raise GraphError(
            403,
            "Authentication_RequestFromNonPremiumTenantOrB2CTenant",
            "Neither tenant is B2C or tenant doesn't have premium license",
        )
    return f"auditLogs/{name}", kind, model


def _window(directory: Directory) -> tuple[float, float]:
    """From when to when rows can be read: not older than is kept, not younger than what has arrived."""
    now = directory.clock.now()
    return now - _KEPT_SECONDS, now - switches.read(directory, "log_delay")


def _get(call: Call) -> Answer:
    context, kind, _ = _log(call)
    found = call.directory.rows(
        "SELECT body FROM log WHERE kind = ? AND id = ? AND time BETWEEN ? AND ?",
        (kind, call.ids["id"], *_window(call.directory)),
    )
    if not found:
        raise not_found(call.ids["id"])
    return call.entity(200, context, _as_served(call, kind, found[0]))


def _list(call: Call) -> Answer:
    context, kind, model = _log(call)
    rows = odata.Collection(
        context,
        model,
        "kind = ? AND time BETWEEN ? AND ?",
        (kind, *_window(call.directory)),
        table="log",
        top=(1000, 1000),
        order=("time", True),
    )
    return odata.page(call, rows, lambda row: _as_served(call, kind, row))


def _as_served(call: Call, kind: str, row: sqlite3.Row) -> Body:
    """Hide the name of an event that a caller did not say it can read."""
    body: Body = json.loads(row["body"])
    if kind != "signIn":
        return body
    shown = whole_sign_in(body, call.version, call.tenant_id)
    if call.version == "v1.0" or "include-unknown-enum-members" in call.headers.get("prefer", ""):
        return shown
    return {**shown, "appliedEventListeners": [_hidden(each) for each in shown["appliedEventListeners"]]}


def _hidden(executed: Mapping[str, Any]) -> Body:
    event = executed.get("eventType")
    return {**executed, "eventType": "unknownFutureValue" if event == "passwordSubmit" else event}


def whole_sign_in(row: Body, version: str, tenant_id: str) -> Body:
    """Add to a stored row of the sign-in log what is the same in every row; v1.0 knows fewer properties than beta."""
    usual = _usual()
    if version == "v1.0":
        beta_only = usual["beta"].keys() - usual["v1.0"].keys()
        kept = {name: value for name, value in row.items() if name not in beta_only}
        return {**usual["always"], **usual["v1.0"], **kept}
    own = {"homeTenantId": tenant_id, "resourceTenantId": tenant_id, "originalRequestId": row.get("id")}
    details = {} if "authenticationDetails" in row else {"authenticationDetails": [_password_step(row)]}
    return {**usual["always"], **usual["beta"], **own, "uniqueTokenIdentifier": "", **details, **row}


@functools.cache
def _usual() -> Body:
    return defaults("signIn")


def _password_step(row: Body) -> Body:
    code = (row.get("status") or {}).get("errorCode")
    wrong = "Invalid username or password or Invalid on-premise username or password."
    return {
        "authenticationStepDateTime": row.get("createdDateTime"),
        "authenticationMethod": "Password",
        "authenticationMethodDetail": "Password in the cloud",
        "succeeded": code in (0, 50055, 50076, 50125, 53003),
        "authenticationStepResultDetail": wrong if code == 50126 else None,
        "authenticationStepRequirement": "Primary authentication",
    }

"""The sign-in log and the audit log, as Graph serves them.

[Microsoft Graph: signIn (v1.0 and beta) and directoryAudit (v1.0); Microsoft Learn, "Microsoft Entra
data retention": an external tenant keeps seven days]
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from jitkit.rehearsal import sign_in_rows, switches
from jitkit.rehearsal.directory import Body

if TYPE_CHECKING:
    from jitkit.rehearsal.directory import Directory
    from jitkit.rehearsal.graph.wire import Answer, Call, GraphRoute

_PERMISSIONS: Final = ("AuditLog.Read.All",)
_KEPT_SECONDS: Final = 7 * 86_400.0


def graph_routes() -> list[GraphRoute]:
    """List Graph's log operations."""
    from jitkit.rehearsal.graph.wire import GraphRoute

    return [
        GraphRoute("GET", "/auditLogs/signIns", _list_sign_ins, _PERMISSIONS, "List signIns"),
        GraphRoute("GET", "/auditLogs/signIns/{id}", _get_sign_in, _PERMISSIONS, "Get signIn"),
        GraphRoute("GET", "/auditLogs/directoryAudits", _list_audits, _PERMISSIONS, "List directoryAudits"),
        GraphRoute("GET", "/auditLogs/directoryAudits/{id}", _get_audit, _PERMISSIONS, "Get directoryAudit"),
    ]


def _list_sign_ins(call: Call) -> Answer:
    _licensed(call)
    return _list(call, "signIn", "auditLogs/signIns", "SignIn")


def _list_audits(call: Call) -> Answer:
    return _list(call, "directoryAudit", "auditLogs/directoryAudits", "DirectoryAudit")


def _get_sign_in(call: Call) -> Answer:
    _licensed(call)
    return _get(call, "signIn", "auditLogs/signIns")


def _get_audit(call: Call) -> Answer:
    return _get(call, "directoryAudit", "auditLogs/directoryAudits")


def _licensed(call: Call) -> None:
    from jitkit.rehearsal.graph.wire import GraphError

    if not switches.is_on(call.directory, "p1_licence"):
        raise GraphError(
            403,
            "Authentication_RequestFromNonPremiumTenantOrB2CTenant",
            "Neither tenant is B2C or tenant doesn't have premium license",
        )


def _window(directory: Directory) -> tuple[float, float]:
    """From when to when rows can be read: not older than is kept, not younger than what has arrived."""
    now = directory.clock.now()
    return now - _KEPT_SECONDS, now - switches.read(directory, "log_delay")


def _get(call: Call, kind: str, context: str) -> Answer:
    from jitkit.rehearsal.graph.odata import body_of
    from jitkit.rehearsal.graph.wire import not_found

    found = call.directory.rows(
        "SELECT body FROM log WHERE kind = ? AND id = ? AND time BETWEEN ? AND ?",
        (kind, call.ids["id"], *_window(call.directory)),
    )
    if not found:
        raise not_found(call.ids["id"])
    return call.entity(200, context, _as_served(call, kind, body_of(found[0])))


def _list(call: Call, kind: str, context: str, model: str) -> Answer:
    from jitkit.rehearsal.graph.odata import Collection, body_of, page

    def view(row: sqlite3.Row) -> Body:
        return _as_served(call, kind, body_of(row))

    rows = Collection(
        context,
        model,
        "kind = ? AND time BETWEEN ? AND ?",
        (kind, *_window(call.directory)),
        table="log",
        columns={"id": "id"},
        top=(1000, 1000),
        order=("time", True),
    )
    return page(call, rows, view)


def _as_served(call: Call, kind: str, row: Body) -> Body:
    """Leave out what v1.0 does not know, and hide the name of an event that a caller did not say it can read."""
    if kind != "signIn":
        return row
    shown = sign_in_rows.whole(row, call.version, call.directory.meta("tenant_id") or "")
    if call.version == "v1.0" or "include-unknown-enum-members" in call.headers.get("prefer", ""):
        return shown
    return {**shown, "appliedEventListeners": [_hidden(each) for each in shown["appliedEventListeners"]]}


def _hidden(executed: Mapping[str, Any]) -> Body:
    event = executed.get("eventType")
    return {**executed, "eventType": "unknownFutureValue" if event == "passwordSubmit" else event}

"""The sign-in log: its rows, and how Graph serves it and the audit log.

[Microsoft Graph: signIn, appliedAuthenticationEventListener and customExtensionCalloutResult (beta), signIn and
directoryAudit (v1.0)]
"""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from helpers.rehearsal.callout_answer import Verdict
from helpers.rehearsal.client_app import ClientApp
from helpers.rehearsal.directory import Body, Directory, User
from helpers.rehearsal.journal import timestamp
from helpers.rehearsal.sign_in_result import SignIn

if TYPE_CHECKING:
    from helpers.rehearsal.graph.wire import Answer, Call, GraphRoute

_PERMISSIONS: Final = ("AuditLog.Read.All",)
_NOBODY: Final = "00000000-0000-0000-0000-000000000000"

# [Microsoft Learn, "Microsoft Entra authentication and authorization error codes"], in the kit's words.
_REASONS: Final = {
    50034: "The user account does not exist in the directory.",
    50053: "The account is locked because of too many sign-ins with a wrong password.",
    50055: "The password is expired or has to be changed.",
    50057: "The user account is disabled.",
    50125: "The sign-in was interrupted because of a password reset.",
    50126: "Error validating credentials due to invalid username or password.",
    500208: "The app does not accept this kind of account.",
    700016: "The application was not found in the directory.",
    7000112: "The application is disabled.",
    1100001: "A non-retryable error has occurred in the custom authentication extension.",
}


def record(
    directory: Directory,
    done: SignIn,
    *,
    started: float,
    user: User | None,
    client: ClientApp | None,
    listener: Body | None,
    verdict: Verdict | None,
) -> None:
    """Append a sign-in to the log.

    Args:
        directory: the tenant's directory.
        done: what the sign-in came to.
        started: when it began, in seconds since the epoch.
        user: who signed in; None for an unknown user, whose typed name is not kept.
        client: the app; None when it cannot be signed in to.
        listener: the listener that was executed, if one was.
        verdict: what came of its callout.
    """
    about = user.body if user else {}
    row = {
        "id": str(uuid.uuid4()),
        "createdDateTime": timestamp(started),
        "userDisplayName": about.get("displayName") or "",
        "userPrincipalName": user.upn if user else "",
        "userId": user.id if user else _NOBODY,
        "appId": done.app_id,
        "appDisplayName": client.name if client else "",
        "ipAddress": "127.0.0.1",
        "clientAppUsed": "Browser",
        "correlationId": done.correlation_id,
        "conditionalAccessStatus": "notApplied",
        "isInteractive": True,
        "status": {"errorCode": done.code, "failureReason": _REASONS.get(done.code), "additionalDetails": None},
        "appliedEventListeners": [_executed(listener, verdict)] if listener and verdict else [],
    }
    directory.append_log("signIn", row, time=started)


def graph_routes() -> list[GraphRoute]:
    """List Graph's log operations."""
    from helpers.rehearsal.graph.wire import GraphRoute

    return [
        GraphRoute("GET", "/auditLogs/signIns", _list_sign_ins, _PERMISSIONS, "List signIns"),
        GraphRoute("GET", "/auditLogs/signIns/{id}", _get_sign_in, _PERMISSIONS, "Get signIn"),
        GraphRoute("GET", "/auditLogs/directoryAudits", _list_audits, _PERMISSIONS, "List directoryAudits"),
    ]


def _executed(listener: Body, verdict: Verdict) -> Body:
    return {
        "@odata.type": "#microsoft.graph.appliedAuthenticationEventListener",
        "eventType": "passwordSubmit",
        "executedListenerId": listener["id"],
        "handlerResult": {
            "@odata.type": "#microsoft.graph.customExtensionCalloutResult",
            "calloutDateTime": timestamp(verdict.started),
            "customExtensionId": str(((listener.get("handler") or {}).get("customExtension") or {}).get("id") or ""),
            "errorCode": verdict.error or 0,
            "httpStatus": verdict.http_status or 0,
            "numberOfAttempts": verdict.attempts,
        },
    }


def _list_sign_ins(call: Call) -> Answer:
    return _list(call, "signIn", "auditLogs/signIns", "SignIn")


def _list_audits(call: Call) -> Answer:
    return _list(call, "directoryAudit", "auditLogs/directoryAudits", "DirectoryAudit")


def _get_sign_in(call: Call) -> Answer:
    from helpers.rehearsal.graph.odata import body_of
    from helpers.rehearsal.graph.wire import not_found

    found = call.directory.rows("SELECT body FROM log WHERE kind = 'signIn' AND id = ?", (call.ids["id"],))
    if not found:
        raise not_found(call.ids["id"])
    return call.entity(200, "auditLogs/signIns", _as_served(call, body_of(found[0])))


def _list(call: Call, kind: str, context: str, model: str) -> Answer:
    from helpers.rehearsal.graph.odata import Collection, body_of, page

    def view(row: sqlite3.Row) -> Body:
        return _as_served(call, body_of(row))

    rows = Collection(
        context, model, "kind = ?", (kind,), table="log", columns={"id": "id"}, top=(1000, 1000), order=("time", True)
    )
    return page(call, rows, view)


def _as_served(call: Call, row: Body) -> Body:
    """Leave out what v1.0 does not know, and hide the name of an event that a caller did not say it can read."""
    if "appliedEventListeners" not in row:
        return row
    if call.version == "v1.0":
        return {name: value for name, value in row.items() if name != "appliedEventListeners"}
    if "include-unknown-enum-members" in call.headers.get("prefer", ""):
        return row
    return {**row, "appliedEventListeners": [_hidden(each) for each in row["appliedEventListeners"]]}


def _hidden(executed: Mapping[str, Any]) -> Body:
    return {**executed, "eventType": "unknownFutureValue"}

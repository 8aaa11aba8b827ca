"""Builds the rows of the audit log and of the sign-in log in Graph's shape, never with a password.

[Microsoft Graph: directoryAudit (v1.0), signIn (v1.0 and beta), appliedAuthenticationEventListener and
customExtensionCalloutResult (beta); Microsoft Learn, "Microsoft Entra audit log categories and activities"]
Graph completes a row of the sign-in log when it is read, with what is the same in every row.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from typing import Any, Final

from jitkit.rehearsal.clock import timestamp
from jitkit.rehearsal.directory import Body, Directory, User, new_id

BY_THE_SERVICE: Final[Body] = {"user": None, "app": None}
"""`initiatedBy` of what no person and no app asked for: how the service shows a flag that it set is not documented."""

# A word of the activity -> its category, the service that logs it and what kind of object it is about. First one wins.
_ACTIVITIES: Final = (
    ("(self-service)", ("UserManagement", "Self-service Password Management", "User")),
    ("extensionproperty", ("DirectoryManagement", "Core Directory", "Directory")),
    ("customauthenticationextension", ("Authorization", "B2C", "Other")),
    ("customextension", ("Authorization", "B2C", "Other")),
    ("authenticationevent", ("Authorization", "B2C", "Other")),
    ("user flow", ("Authorization", "B2C", "Other")),
    ("userflow", ("Authorization", "B2C", "Other")),
    ("user", ("UserManagement", "Core Directory", "User")),
    ("password", ("UserManagement", "Core Directory", "User")),
    ("service principal", ("ApplicationManagement", "Core Directory", "ServicePrincipal")),
    ("permission grant", ("ApplicationManagement", "Core Directory", "ServicePrincipal")),
    ("application", ("ApplicationManagement", "Core Directory", "Application")),
    ("", ("DirectoryManagement", "Core Directory", "Other")),
)

_UNKNOWN_USER: Final = "00000000-0000-0000-0000-000000000000"
_GUESSED: Final = (
    "The user didn't enter the right credentials. \u00a0It's expected to see some number of these errors in your logs "
    "due to users making mistakes."
)

# [Microsoft Learn, "Microsoft Entra authentication and authorization error codes"], in the kit's words.
_REASONS: Final = {
    50034: "The user account does not exist in the directory.",
    50053: "The account is locked because of too many sign-ins with a wrong password.",
    50055: "The password is expired or has to be changed.",
    50056: "The account has no password.",
    50057: "The user account is disabled.",
    50125: "The sign-in was interrupted because of a password reset.",
    50126: "Error validating credentials due to invalid username or password.",
    53003: "Access was blocked by Conditional Access policies.",
    500208: "The app does not accept this kind of account.",
    700016: "The application was not found in the directory.",
    7000112: "The application is disabled.",
    1100001: "A non-retryable error has occurred in the custom authentication extension.",
}


def audit(
    directory: Directory,
    activity: str,
    *,
    target_id: str,
    target_name: str = "",
    changed: Mapping[str, tuple[Any, Any]] | None = None,
    by: Body | None = None,
) -> None:
    """Append a row to the audit log."""
    now = directory.clock.now()
    category, service, kind = next(found for word, found in _ACTIVITIES if word in activity.lower())
    modified = [
        {"displayName": name, "oldValue": _shown(old), "newValue": _shown(new)}
        for name, (old, new) in (changed or {}).items()
    ]
    row = {
        "id": f"Directory_{new_id()}",
        "category": category,
        "correlationId": new_id(),
        "result": "success",
        "resultReason": "",
        "activityDisplayName": activity,
        "activityDateTime": timestamp(now),
        "loggedByService": service,
        "initiatedBy": by or _by_the_administrator(directory),
        "targetResources": [
            {"id": target_id, "displayName": target_name, "type": kind, "modifiedProperties": modified}
        ],
        "additionalDetails": [],
    }
    directory.append_log("directoryAudit", row, time=now)


def by_user(user: User, ip: str) -> Body:
    """Return `initiatedBy` for something that a user did to their own account, from an address."""
    who = {"id": user.id, "displayName": user.body.get("displayName"), "userPrincipalName": user.upn, "ipAddress": ip}
    return {"user": who, "app": None}


def sign_in_row(
    *,
    started: float,
    duration_ms: float,
    user: User | None,
    app_id: str,
    app_name: str,
    ip: str,
    correlation_id: str,
    code: int,
    listener: Body | None,
) -> Body:
    """Build the row of a sign-in, without what is the same in every row."""
    row: Body = {
        "id": new_id(),
        "createdDateTime": timestamp(started),
        "userDisplayName": (user.body.get("displayName") if user else None) or "",
        "userPrincipalName": user.upn if user else "",
        "userId": user.id if user else _UNKNOWN_USER,
        "appId": app_id,
        "appDisplayName": app_name,
        "ipAddress": ip,
        "correlationId": correlation_id,
        "signInIdentifier": (user.sign_in_name if user else None) or "",
        "processingTimeInMilliseconds": int(duration_ms),
        "status": {
            "errorCode": code,
            "failureReason": _REASONS.get(code),
            "additionalDetails": _GUESSED if code == 50126 else None,
        },
        "appliedEventListeners": [listener] if listener else [],
    }
    if code == 53003:
        row["conditionalAccessStatus"] = "failure"
    return row


def listener_result(
    listener: Body, *, started: float, attempts: int, error: int | None, http_status: int | None
) -> Body:
    """Build the part of a sign-in's row that says which listener was executed, and what its callout led to."""
    return {
        "@odata.type": "#microsoft.graph.appliedAuthenticationEventListener",
        "eventType": "passwordSubmit",
        "executedListenerId": listener["id"],
        "handlerResult": {
            "@odata.type": "#microsoft.graph.customExtensionCalloutResult",
            "calloutDateTime": timestamp(started),
            "customExtensionId": str(((listener.get("handler") or {}).get("customExtension") or {}).get("id") or ""),
            "errorCode": error or 0,
            "httpStatus": http_status or 0,
            "numberOfAttempts": attempts,
        },
    }


def _by_the_administrator(directory: Directory) -> Body:
    client_id, tenant_id = directory.meta("admin_client_id") or "", directory.meta("tenant_id")
    principal = str(uuid.uuid5(uuid.UUID(tenant_id), client_id)) if tenant_id else None
    app = {"appId": client_id, "displayName": "Rehearsal administrator", "servicePrincipalId": principal}
    return {"user": None, "app": {**app, "servicePrincipalName": None}}


def _shown(value: Any) -> str | None:
    return None if value is None else json.dumps([value])

"""What the tenant writes down about changes: rows of the audit log in Graph's shape, never with a password.

[Microsoft Graph v1.0: directoryAudit; Microsoft Learn, "Microsoft Entra audit log categories and activities"]
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from jitkit.rehearsal import switches
from jitkit.rehearsal.directory import Body, Directory
from jitkit.rehearsal.ids import new_id
from jitkit.rehearsal.users import User

NOBODY: Final[Body] = {"user": None, "app": None}
"""Who did what nobody asked for in person: how the service shows a flag that it set itself is not documented."""

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

# What the same activities are called elsewhere [observed].
_OLDER: Final = {
    "Create customAuthenticationExtension": "Add custom authentication extension",
    "Update customAuthenticationExtension": "Update custom authentication extension",
    "Delete customAuthenticationExtension": "Delete custom authentication extension",
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
    """Append a row to the audit log.

    Args:
        directory: the tenant's directory.
        activity: what was done, in the service's words, such as `Update user`.
        target_id: the object it was done to.
        target_name: what that object is called.
        changed: property to old and new value. A password is never one of them.
        by: `initiatedBy` as Graph shows it; None for the tenant's administrator.
    """
    now = directory.clock.now()
    category, service, kind = next(found for word, found in _ACTIVITIES if word in activity.lower())
    modified = [
        {"displayName": name, "oldValue": _shown(old), "newValue": _shown(new)}
        for name, (old, new) in (changed or {}).items()
    ]
    if "ustomAuthenticationExtension" in activity and switches.is_on(directory, "older_audit_names"):
        activity = _OLDER.get(activity, activity)
    row = {
        "id": f"Directory_{new_id()}",
        "category": category,
        "correlationId": new_id(),
        "result": "success",
        "resultReason": "",
        "activityDisplayName": activity,
        "activityDateTime": timestamp(now),
        "loggedByService": service,
        "initiatedBy": by or _administrator(directory),
        "targetResources": [
            {"id": target_id, "displayName": target_name, "type": kind, "modifiedProperties": modified}
        ],
        "additionalDetails": [],
    }
    directory.append_log("directoryAudit", row, time=now)


def in_person(user: User, ip: str) -> Body:
    """Name a person as the one who did something themselves.

    Args:
        user: who.
        ip: where from.
    """
    name = user.body.get("displayName")
    return {
        "user": {"id": user.id, "displayName": name, "userPrincipalName": user.upn, "ipAddress": ip},
        "app": None,
    }


def _administrator(directory: Directory) -> Body:
    client_id, tenant_id = directory.meta("admin_client_id") or "", directory.meta("tenant_id")
    principal = str(uuid.uuid5(uuid.UUID(tenant_id), client_id)) if tenant_id else None
    app = {"appId": client_id, "displayName": "Rehearsal administrator", "servicePrincipalId": principal}
    return {"user": None, "app": {**app, "servicePrincipalName": None}}


def timestamp(moment: float) -> str:
    """Write seconds since the epoch as Graph does, in UTC."""
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _shown(value: Any) -> str | None:
    return None if value is None else json.dumps([value])

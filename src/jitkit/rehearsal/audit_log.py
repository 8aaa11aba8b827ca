"""Writes the audit log: its rows in Graph's shape, never with a password.

[Microsoft Graph v1.0: directoryAudit; Microsoft Learn, "Microsoft Entra audit log categories and activities"]
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Mapping
from typing import Any, Final

from jitkit.rehearsal.clock import timestamp
from jitkit.rehearsal.directory import Body, Directory, User, new_id

BY_THE_SERVICE: Final[Body] = {"user": None, "app": None}
"""`initiatedBy` of what no person and no app asked for: how the service shows a flag that it set is not documented."""

# Words of the activity -> its category, the service that logs it and what kind of object it is about. First one wins.
_ACTIVITIES: Final = (
    (r"\(self-service\)", "UserManagement", "Self-service Password Management", "User"),
    ("extensionproperty", "DirectoryManagement", "Core Directory", "Directory"),
    ("custom(authentication)?extension|authenticationevent|user ?flow", "Authorization", "B2C", "Other"),
    ("user|password", "UserManagement", "Core Directory", "User"),
    ("service principal|permission grant", "ApplicationManagement", "Core Directory", "ServicePrincipal"),
    ("application", "ApplicationManagement", "Core Directory", "Application"),
    ("", "DirectoryManagement", "Core Directory", "Other"),
)


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
    category, service, kind = next(found for words, *found in _ACTIVITIES if re.search(words, activity, re.IGNORECASE))
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


def _by_the_administrator(directory: Directory) -> Body:
    client_id, tenant_id = directory.meta("admin_client_id") or "", directory.meta("tenant_id")
    principal = str(uuid.uuid5(uuid.UUID(tenant_id), client_id)) if tenant_id else None
    app = {"appId": client_id, "displayName": "Rehearsal administrator", "servicePrincipalId": principal}
    return {"user": None, "app": {**app, "servicePrincipalName": None}}


def _shown(value: Any) -> str | None:
    return None if value is None else json.dumps([value])

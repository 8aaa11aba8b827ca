"""A user of the stand-in tenant, and how a row of the table `users` holds one."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Body", "User", "row_of", "sign_in_names", "user_of"]

Body = dict[str, Any]


@dataclass
class User:
    """A user as a sign-in sees it; `body` holds the other Graph properties, extension values among them."""

    id: str
    upn: str
    sign_in_name: str | None
    password_hash: str = field(repr=False)
    force_change: bool
    enabled: bool
    failed: int
    locked_until: float
    body: Body
    created: float
    deleted: float | None = None


def sign_in_names(user: User) -> list[str]:
    """The names a user signs in by: every local identity but the synthetic `userPrincipalName`."""
    local = [item for item in user.body.get("identities", []) if item.get("signInType") != "federated"]
    names = [item["issuerAssignedId"].lower() for item in local if item.get("signInType") != "userPrincipalName"]
    return list(dict.fromkeys(names + ([user.sign_in_name.lower()] if user.sign_in_name else [])))


def user_of(row: sqlite3.Row) -> User:
    """Build a user from a row of the table `users`."""
    return User(
        id=row["id"],
        upn=row["upn"],
        sign_in_name=row["sign_in_name"],
        password_hash=row["password_hash"],
        force_change=bool(row["force_change"]),
        enabled=bool(row["enabled"]),
        failed=row["failed"],
        locked_until=row["locked_until"],
        body=json.loads(row["body"]),
        created=row["created"],
        deleted=row["deleted"],
    )


def row_of(user: User) -> tuple[Any, ...]:
    """Build the row of a new user: id, upn, sign_in_name, password_hash, force_change, enabled, body, created."""
    return (
        user.id,
        user.upn,
        user.sign_in_name,
        user.password_hash,
        user.force_change,
        user.enabled,
        json.dumps(user.body),
        user.created,
    )

"""Rows of Graph's logs in few columns.

Shapes: Microsoft Graph beta `signIn` with `appliedAuthenticationEventListener` and `customExtensionCalloutResult`, v1.0
`directoryAudit`. Microsoft does not document the text of an audited flag, nor whether a silent migration is audited:
the last word is what the flag says.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import pandas as pd

from jitkit.progress.exports import password_callout
from jitkit.progress.tidy import KINDS, tidy

__all__ = ["EVENTS", "audits_from_graph", "sign_in_rows", "sign_ins_from_graph"]

Row = Mapping[str, Any]

EVENTS: Final = ("flag_false", "flag_true", "reset", "change")
"""What the audit log tells of a user: the flag became false or true, the password was reset or changed."""

_PASSWORDS: Final = {"reset password": "reset", "change user password": "change"}


def sign_ins_from_graph(rows: Iterable[Row]) -> pd.DataFrame:
    """Make the table of sign-ins from Graph's sign-in log.

    Args:
        rows: `signIn` objects of the beta log, with `appliedEventListeners`.
    """
    return tidy(sign_in_rows(rows), "sign_ins")


def sign_in_rows(rows: Iterable[Row]) -> pd.DataFrame:
    """Make the table with the `id` of each row, by which it is known again; doubles stay."""
    found = pd.DataFrame(map(_sign_in, rows), columns=["id", *KINDS["sign_ins"]])
    numbers = {name: "Int64" for name, type_ in KINDS["sign_ins"].items() if type_ == "number"}
    texts = dict.fromkeys(("id", "user_id", "app_id", "correlation_id"), "str")
    return found.assign(time=_utc(found["time"])).astype(texts | numbers)


def audits_from_graph(rows: Iterable[Row], flag: str) -> pd.DataFrame:
    """Make a table of what the audit log tells of flags and passwords.

    Args:
        rows: `directoryAudit` objects.
        flag: the flag's full name, `extension_…`.

    Returns:
        `id`, `time`, `user_id`, `event` (one of `EVENTS`).
    """
    found = pd.DataFrame(
        [(audit.get("id"), audit.get("activityDateTime"), *event) for audit in rows for event in _events(audit, flag)],
        columns=["audit", "time", "user_id", "event"],
    ).astype({"audit": "str", "user_id": "str", "event": "str"})
    # One audit may tell of several users.
    ids = found["audit"] + " " + found["user_id"] + " " + found["event"]
    return found.assign(id=ids, time=_utc(found["time"]))[["id", "time", "user_id", "event"]]


def _sign_in(row: Row) -> tuple[Any, ...]:
    callout = password_callout(row.get("appliedEventListeners"))
    return (
        row.get("id"),
        row.get("createdDateTime"),
        row.get("userId"),
        row.get("appId"),
        row.get("correlationId"),
        (row.get("status") or {}).get("errorCode"),
        callout.get("errorcode"),
        callout.get("httpstatus"),
        callout.get("numberofattempts"),
    )


def _events(audit: Row, flag: str) -> Iterator[tuple[str, str]]:
    activity = (audit.get("activityDisplayName") or "").lower()
    password = next((event for name, event in _PASSWORDS.items() if activity.startswith(name)), None)
    for target in audit.get("targetResources") or ():
        if not target.get("id"):
            continue
        if password:
            yield target["id"].lower(), password
        for change in target.get("modifiedProperties") or () if activity == "update user" else ():
            if (change.get("displayName") or "").lower() == flag.lower():
                value = (change.get("newValue") or "").lower()
                if "false" in value or "true" in value:
                    yield target["id"].lower(), "flag_false" if "false" in value else "flag_true"


def _utc(column: pd.Series) -> pd.Series:
    return pd.Series(pd.to_datetime(column, utc=True, format="ISO8601"), index=column.index).dt.as_unit("us")

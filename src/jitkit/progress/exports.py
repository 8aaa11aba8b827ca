"""Exports of Azure Monitor in the kit's columns.

Tables and columns: Azure Monitor reference, `SigninLogs`, `AuditLogs`, `AppRequests`, `AppTraces`. The casing inside
the dynamic columns is not documented; both that of Graph and that of Azure Monitor's own columns is read.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

import pandas as pd

from jitkit.errors import BadTable
from jitkit.progress.tidy import KINDS

__all__ = ["ANSWERED", "audits", "password_callout", "translated"]

Row = Mapping[str, Any]

ANSWERED: Final = "Answered"
"""The action where a log tells that the endpoint answered with status 200, and not what."""

# Without the header `Prefer: include-unknown-enum-members` Graph names the event like the second.
_EVENTS: Final = ("passwordsubmit", "unknownfuturevalue")

_SIGN_INS: Final = {
    "TimeGenerated": "time",
    "CreatedDateTime": "time",
    "UserId": "user_id",
    "AppId": "app_id",
    "CorrelationId": "correlation_id",
    "ResultType": "result_code",
}
_LISTENERS: Final = "AppliedEventListeners"
_DOWNLOADED: Final = "Date (UTC)"  # heads the admin center's own CSV, which has no column about event listeners
_PORTAL_TIME: Final = "%m/%d/%Y, %I:%M:%S.%f %p"


def translated(frame: pd.DataFrame, kind: str) -> pd.DataFrame:
    """Give an export of Log Analytics the columns of one of the kit's tables; leave other tables as they are.

    Args:
        frame: the rows, as they were read.
        kind: users, sign_ins or ledger.

    Raises:
        BadTable: times are local, the export holds a sample only, or it does not tell which sign-ins ran a callout.
    """
    if kind == "sign_ins" and _DOWNLOADED in frame.columns:
        raise BadTable(
            "This is the CSV that the admin center downloads: it does not tell which sign-ins asked the endpoint.",
            next_step=f"Collect the log in notebook 08, or export SigninLogs from Log Analytics with {_LISTENERS}.",
        )
    if "TimeGenerated" not in {str(name).split(" [")[0] for name in frame.columns}:
        return frame
    frame = _in_utc(frame)
    if kind == "sign_ins" and "ResultType" in frame.columns:
        return _signed_in(frame)
    if kind == "ledger" and "Message" in frame.columns:
        return _traced(frame)
    if kind == "ledger" and "DurationMs" in frame.columns:
        return _requested(frame)
    return frame


def password_callout(listeners: Any) -> Row:
    """Find what came of the password-submit callout among the event listeners of a sign-in.

    Args:
        listeners: `appliedEventListeners` as objects, or as the JSON text of them; None if there were none.

    Returns:
        the `handlerResult` with names in lower case; empty where the endpoint was not asked.
    """
    ran = [_lower(listener) for listener in _dynamic(listeners) or () if isinstance(listener, Mapping)]
    for event in _EVENTS:
        for listener in ran:
            if str(listener.get("eventtype", "")).lower() == event:
                return _lower(_dynamic(listener.get("handlerresult")) or {})
    return {}


def audits(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Make `directoryAudit` objects of an audit log's export.

    Raises:
        BadTable: it is no audit log.
    """
    frame = _in_utc(frame)
    names = {str(name).lower(): name for name in frame.columns}
    time = next((names[name] for name in ("activitydatetime", "timegenerated") if name in names), None)
    activity = next((names[name] for name in ("activitydisplayname", "operationname") if name in names), None)
    targets = names.get("targetresources")
    if frame.empty:
        return []
    if time is None or activity is None or targets is None:
        found = ", ".join(map(str, frame.columns)) or "none"
        raise BadTable(
            f"This is no audit log; its columns are {found}.",
            next_step="Export AuditLogs with ActivityDateTime, ActivityDisplayName and TargetResources.",
        )
    rows = zip(frame[time], frame[activity].fillna(""), frame[targets], strict=True)
    return [
        {"activityDateTime": at, "activityDisplayName": name, "targetResources": [*_targets(target)]}
        for at, name, target in rows
    ]


def _targets(value: Any) -> Iterator[dict[str, Any]]:
    for target in map(_lower, _dynamic(value) or ()):
        changes = [_lower(change) for change in _dynamic(target.get("modifiedproperties")) or ()]
        yield {
            "id": target.get("id"),
            "modifiedProperties": [
                {"displayName": change.get("displayname"), "newValue": _text(change.get("newvalue"))}
                for change in changes
            ],
        }


def _signed_in(frame: pd.DataFrame) -> pd.DataFrame:
    names = {old: new for old, new in _SIGN_INS.items() if old in frame.columns}
    if "CreatedDateTime" in names:
        names.pop("TimeGenerated", None)
    result = frame[[*names]].rename(columns=names)
    if _LISTENERS in frame.columns:
        listeners = frame[_LISTENERS]
        asked = listeners[listeners.map(lambda value: bool(_dynamic(value)))]
        found = [password_callout(value) for value in asked]
        for name, key in (
            ("callout_error", "errorcode"),
            ("callout_status", "httpstatus"),
            ("attempts", "numberofattempts"),
        ):
            values = pd.Series([callout.get(key) for callout in found], index=asked.index, dtype="object")
            result[name] = values.reindex(frame.index)
    return result


def _requested(frame: pd.DataFrame) -> pd.DataFrame:
    """Read calls of the endpoint from its requests: what it answered is told only by properties of its own."""
    own = pd.DataFrame(_properties(frame), index=frame.index)
    code = frame["ResultCode"].astype("str") if "ResultCode" in frame else pd.Series("200", index=frame.index)
    result = own.reindex(columns=[name for name in KINDS["ledger"] if name not in ("time", "duration_ms")])
    good = code == "200"
    result["action"] = result["action"].astype("object").where(result["action"].notna(), good.map({True: ANSWERED}))
    result["cause"] = result["cause"].astype("object").where(result["cause"].notna(), ("status_" + code).mask(good))
    return result.assign(time=frame["TimeGenerated"], duration_ms=frame["DurationMs"])


def _traced(frame: pd.DataFrame) -> pd.DataFrame:
    """Read the ledger's lines, which are messages (an endpoint's standard output) or the properties of traces."""
    lines = [
        line if isinstance(line, dict) else own | {"time": written}
        for line, own, written in zip(
            map(_dynamic, frame["Message"]), _properties(frame), frame["TimeGenerated"], strict=True
        )
    ]
    rows = [line for line in lines if {"time", "cause"} <= line.keys()]
    return pd.DataFrame(rows, columns=[*KINDS["ledger"]])


def _properties(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Read which of the ledger's fields each row has as a property, in whatever spelling."""
    if "Properties" not in frame:
        return [{} for _ in frame.index]
    known = {name.replace("_", ""): name for name in KINDS["ledger"]}
    return [
        {
            known[key.replace("_", "")]: value
            for key, value in _lower(row or {}).items()
            if key.replace("_", "") in known
        }
        for row in map(_dynamic, frame["Properties"])
    ]


def _in_utc(frame: pd.DataFrame) -> pd.DataFrame:
    """Take the zone off the headings that the portal writes, and read its times; refuse local ones and samples."""
    local = [str(name) for name in frame.columns if "[" in str(name) and "[UTC]" not in str(name)]
    if local:
        raise BadTable(
            f"The column {local[0]} holds local times.",
            next_step="Set the portal's time zone to UTC, and export again.",
        )
    frame = frame.rename(columns=lambda name: str(name).removesuffix(" [UTC]"))
    stand_for = pd.to_numeric(frame["ItemCount"], errors="coerce").fillna(1) if "ItemCount" in frame else None
    if stand_for is not None and (stand_for > 1).any():
        raise BadTable(
            f"The export is a sample: {len(frame):,} rows stand for {stand_for.sum():,.0f}; counts would be too low.",
            next_step="Turn sampling off for the endpoint, or use its own ledger.",
        )
    for name in {"TimeGenerated", "CreatedDateTime", "ActivityDateTime"} & set(frame.columns):
        column = frame[name]
        if column.dtype == "str" and column.str.contains("M$", na=False).any():
            frame[name] = pd.to_datetime(column, format=_PORTAL_TIME, utc=True)
    return frame


def _dynamic(value: Any) -> Any:
    """Read a dynamic column, which exports hold as objects or as the JSON text of them."""
    if not isinstance(value, str):
        return value if isinstance(value, Mapping) or hasattr(value, "__len__") else None
    try:
        return json.loads(value) if value[:1] in ("[", "{") else None
    except json.JSONDecodeError:
        return None


def _lower(row: Row) -> dict[str, Any]:
    return {str(name).lower(): value for name, value in row.items()}


def _text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else json.dumps(value)

"""Translates rows of Microsoft's logs: exports of Log Analytics and Graph's own rows into the kit's columns.

Shapes: Azure Monitor reference, `SigninLogs`, `AuditLogs`, `AppRequests`, `AppTraces`; Microsoft Graph beta `signIn`
with `appliedAuthenticationEventListener` and `customExtensionCalloutResult`, v1.0 `directoryAudit`. Not documented: the
casing inside the dynamic columns (that of Graph and that of Azure Monitor's own columns are both read), the text of an
audited flag, and whether a silent migration is audited: what the flag says counts.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import numpy as np
import pandas as pd

from jitkit.errors import BadTable
from jitkit.progress.tables import COLUMNS, KINDS, times

Row = Mapping[str, Any]

ANSWERED: Final = "Answered"
"""The action where a log shows that the endpoint answered with status 200, and not what."""

# Without the header `Prefer: include-unknown-enum-members` Graph names the event like the second.
_EVENTS: Final = ("passwordsubmit", "unknownfuturevalue")
_PASSWORDS: Final = {"reset password": "reset", "change user password": "change"}
_CALLOUT: Final[dict[str, str]] = COLUMNS["handler_result"]
_LISTENERS: Final = "AppliedEventListeners"
_DOWNLOADED: Final = "Date (UTC)"  # heads the admin center's own CSV, which has no column about event listeners


def sign_ins_from_graph(rows: Iterable[Row]) -> pd.DataFrame:
    """Make a table of `signIn` objects of the beta log: the columns of sign_ins, and the `id` of each row.

    Rows in which nobody typed a password, such as the refresh of a token, are left out.
    """
    found = []
    for row in rows:
        known = (row.get(name) for name in ("id", "createdDateTime", "userId", "appId", "correlationId"))
        callout = password_callout(row.get("appliedEventListeners"))
        if row.get("isInteractive") is False and not callout and row.get("authenticationProtocol") != "nativeAuth":
            continue
        found.append((*known, (row.get("status") or {}).get("errorCode"), *map(callout.get, _CALLOUT.values())))
    frame = pd.DataFrame(found, columns=["id", *KINDS["sign_ins"]])
    numbers = {name: "Int64" for name, type_ in KINDS["sign_ins"].items() if type_ == "number"}
    texts = dict.fromkeys(("id", "user_id", "app_id", "correlation_id"), "str")
    return frame.assign(time=times(frame["time"])).astype(texts | numbers)


def audits_from_graph(rows: Iterable[Row], flag: str) -> pd.DataFrame:
    """Make a table of what `directoryAudit` objects say about the flag (by its full name) and about passwords.

    Its columns are `id`, `time`, `user_id` and `event`: flag_false, flag_true, reset (of the password) or change.
    """
    audits = map(_plain, rows)
    events = [(each.get("id"), each["activitydatetime"], *event) for each in audits for event in _events(each, flag)]
    found = pd.DataFrame(events, columns=["id", "time", "user_id", "event"])
    found = found.astype({"id": "str", "user_id": "str", "event": "str"})
    # One audit may concern several users.
    return found.assign(id=found["id"] + " " + found["user_id"] + " " + found["event"], time=times(found["time"]))


def _events(audit: Row, flag: str) -> Iterator[tuple[str, str]]:
    activity = str(audit.get("activitydisplayname") or "").lower()
    password = next((event for name, event in _PASSWORDS.items() if activity.startswith(name)), None)
    for target in audit.get("targetresources") or ():
        if not target.get("id"):
            continue
        if password:
            yield target["id"].lower(), password
        for change in target.get("modifiedproperties") or () if activity == "update user" else ():
            value = str(change.get("newvalue")).lower()
            if str(change.get("displayname")).lower() == flag.lower() and ("false" in value or "true" in value):
                yield target["id"].lower(), "flag_false" if "false" in value else "flag_true"


def password_callout(listeners: Any) -> Row:
    """Find the password-submit callout's `handlerResult`, names in lower case, among a sign-in's event listeners.

    These are objects, or the JSON text of them. The result is empty where the endpoint was not asked.
    """
    ran = _plain(listeners)
    for event in _EVENTS:
        for listener in ran if isinstance(ran, list) else ():
            if isinstance(listener, Mapping) and str(listener.get("eventtype", "")).lower() == event:
                return listener.get("handlerresult") or {}
    return {}


def translated(frame: pd.DataFrame, kind: str) -> pd.DataFrame:
    """Give an export of Log Analytics the columns of a kind of table; return any other table as it is.

    Raises BadTable if times are local, the export is a sample, or it does not show which sign-ins ran a callout.
    """
    if kind == "sign_ins" and _DOWNLOADED in frame.columns:
        raise BadTable(
            "This is the CSV that the admin center downloads: it does not show which sign-ins asked the endpoint.",
            next_step=f"Collect the log in notebook 08, or export SigninLogs from Log Analytics with {_LISTENERS}.",
        )
    if "TimeGenerated" not in {str(name).split(" [")[0] for name in frame.columns}:
        return frame
    frame = _in_utc(frame)
    if kind == "sign_ins" and "ResultType" in frame.columns:
        return _from_sign_in_logs(frame)
    if kind == "ledger" and "Message" in frame.columns:
        return _from_traces(frame)
    return _from_requests(frame) if kind == "ledger" and "DurationMs" in frame.columns else frame


def _from_sign_in_logs(frame: pd.DataFrame) -> pd.DataFrame:
    result = pd.DataFrame({new: frame[old] for old, new in COLUMNS["sign_in_logs"].items() if old in frame})
    listeners = [_plain(cell) for cell in frame[_LISTENERS]] if _LISTENERS in frame else None
    unread = (
        None if listeners is None else next((at for at, cell in enumerate(listeners) if isinstance(cell, str)), None)
    )
    if listeners is None or unread is not None:
        what = "has no column" if unread is None else f"cannot be read in row {unread + 1:,}: the column"
        raise BadTable(
            f"The export of SigninLogs {what} {_LISTENERS}, so it does not show which sign-ins asked the endpoint.",
            next_step=f"Export it again with {_LISTENERS} as JSON, or collect the log in notebook 08.",
        )
    callouts = [password_callout(cell) for cell in listeners]
    for name, key in _CALLOUT.items():
        result[name] = pd.Series([callout.get(key) for callout in callouts], index=frame.index, dtype="object")
    return result


def _from_requests(frame: pd.DataFrame) -> pd.DataFrame:
    """Read calls of the endpoint from its requests: what it answered is only in properties of its own."""
    own = pd.DataFrame(_properties(frame), index=frame.index)
    code = frame["ResultCode"].astype("str") if "ResultCode" in frame else pd.Series("200", index=frame.index)
    result = own.reindex(columns=[name for name in KINDS["ledger"] if name not in ("time", "duration_ms")])
    good = code == "200"
    result["action"] = result["action"].astype("object").where(result["action"].notna(), good.map({True: ANSWERED}))
    result["cause"] = result["cause"].astype("object").where(result["cause"].notna(), ("status_" + code).mask(good))
    return result.assign(time=frame["TimeGenerated"], duration_ms=frame["DurationMs"])


def _from_traces(frame: pd.DataFrame) -> pd.DataFrame:
    """Read the ledger's lines, which are messages (an endpoint's standard output) or the properties of traces."""
    messages = (text[text.find("{") :] if isinstance(text, str) else text for text in frame["Message"])
    traces = zip(map(_plain, messages), _properties(frame), frame["TimeGenerated"], strict=True)
    lines = [line if isinstance(line, dict) else own | {"time": written} for line, own, written in traces]
    found = [line for line in lines if {"time", "cause"} <= line.keys()]
    if lines and not found:
        raise BadTable(
            f"None of the {len(lines):,} traces is a line of the endpoint's ledger.",
            next_step="Export the traces of the endpoint: its messages are JSON with time, action and cause.",
        )
    return pd.DataFrame(found, columns=[*KINDS["ledger"]])


def _properties(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Read which of the ledger's fields each row has as a property, in whatever spelling."""
    if "Properties" not in frame:
        return [{} for _ in frame.index]
    known = {name.replace("_", ""): name for name in KINDS["ledger"]}
    rows = (row if isinstance(row, Mapping) else {} for row in map(_plain, frame["Properties"]))
    plain = ({key.replace("_", ""): value for key, value in row.items()} for row in rows)
    return [{known[key]: value for key, value in row.items() if key in known} for row in plain]


def _in_utc(frame: pd.DataFrame) -> pd.DataFrame:
    """Remove the zone from the portal's headings; refuse local times and samples."""
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
    return frame


def _plain(value: Any) -> Any:
    """Read a dynamic column, which exports hold as objects or as the JSON text of them, with names in lower case."""
    if isinstance(value, str):
        try:
            # The JSON text of an export may be put into quotes once more.
            value = json.loads(value) if value[:1] in ("[", "{", '"') else value or None
        except (json.JSONDecodeError, RecursionError):
            return value
        if isinstance(value, str) and value[:1] in ("[", "{"):
            return _plain(value)
    if isinstance(value, Mapping):
        return {str(name).lower(): _plain(each) for name, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, (list, tuple, np.ndarray)) else value

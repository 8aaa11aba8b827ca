"""Translates rows of Microsoft's logs: exports of Log Analytics and Graph's own rows into the kit's columns.

Sources: Azure Monitor reference, `SigninLogs`, `AuditLogs`, `AppRequests`, `AppTraces`; Microsoft Graph beta `signIn`
with `appliedAuthenticationEventListener` and `customExtensionCalloutResult`, v1.0 `directoryAudit`. Not documented: the
casing inside the dynamic columns (that of Graph and that of Azure Monitor's own columns are both read), the text of an
audited flag, and whether a silent migration is audited: what the flag says counts.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatch
from typing import Any, Final, NamedTuple

import numpy as np
import pandas as pd

from jitkit.errors import BadTable
from jitkit.progress.tables import COLUMNS, KINDS, Spelling, records, times, typed

Row = Mapping[str, Any]

ANSWERED: Final = "Answered"
"""The action where a log shows that the endpoint answered with status 200, and not what."""

# Without the header `Prefer: include-unknown-enum-members` Graph names the event like the second.
_EVENTS: Final = ("passwordsubmit", "unknownfuturevalue")
_PASSWORDS: Final = {"reset password": "reset", "change user password": "change"}
_CALLOUT: Final[dict[str, str]] = COLUMNS["handler_result"]
_LISTENERS: Final = "appliedeventlisteners"
_SPELT: Final = {_LISTENERS: "AppliedEventListeners", "targetresources": "TargetResources"}
_OF_GRAPH: Final = (
    *("id", "createdDateTime", "userId", "appId", "correlationId", "status", "appliedEventListeners"),
    *("isInteractive", "authenticationProtocol"),
)
# Categories of an archive's records, in lower case.
_CATEGORIES: Final = {"sign_ins": ("signinlogs", "noninteractiveusersigninlogs"), "audits": ("auditlogs",)}
_OF_USERS: Final = ("createddatetime", "accountenabled")
FLAG: Final = re.compile(r"extension_[0-9a-f]{32}_\w+", re.ASCII)
"""The full name of a migration flag, in lower case but for its last part."""


def sign_ins_from_graph(rows: Iterable[Row]) -> pd.DataFrame:
    """Make a table of `signIn` objects of the beta log: the columns of sign_ins, and the `id` of each row.

    Rows in which nobody typed a password, such as the refresh of a token, are left out.
    """
    read = [[row.get(name) for name in _OF_GRAPH] for row in rows]
    frame = pd.DataFrame(read, columns=[name.lower() for name in _OF_GRAPH], dtype="object")
    found = _sign_ins(frame).assign(id=frame["id"])[["id", *KINDS["sign_ins"]]].reset_index(drop=True)
    numbers = {name: "Int64" for name, type_ in KINDS["sign_ins"].items() if type_ == "number"}
    texts = dict.fromkeys(("id", "user_id", "app_id", "correlation_id"), "str")
    return found.assign(time=times(found["time"])).astype(texts | numbers)


def audits_from_graph(rows: Iterable[Row], flag: str) -> pd.DataFrame:
    """Make a table of what `directoryAudit` objects say about the flag (by its full name) and about passwords.

    Its columns are `id`, `time`, `user_id` and `event`: flag_false, flag_true, reset (of the password) or change.
    """
    audits = map(_plain, rows)
    events = [(each.get("id"), each["activitydatetime"], *event) for each in audits for event in _events(each)]
    found = pd.DataFrame(events, columns=["id", "time", "user_id", "event", "flag"])
    found = found[found["flag"].isin((flag.lower(), ""))].drop(columns="flag").reset_index(drop=True)
    found = found.astype({"id": "str", "user_id": "str", "event": "str"})
    # One audit may concern several users.
    return found.assign(id=found["id"] + " " + found["user_id"] + " " + found["event"], time=times(found["time"]))


def _events(audit: Row) -> Iterator[tuple[str, str, str]]:
    """Find the user, the event and the flag's name (none for a password) of each change that an audit reports."""
    activity = str(audit.get("activitydisplayname") or "").lower()
    password = next((event for name, event in _PASSWORDS.items() if activity.startswith(name)), None)
    for target in audit.get("targetresources") or ():
        if not target.get("id"):
            continue
        if password:
            yield target["id"].lower(), password, ""
        for change in target.get("modifiedproperties") or () if activity in ("update user", "add user") else ():
            name, value = (str(change.get(part)).lower() for part in ("displayname", "newvalue"))
            if FLAG.fullmatch(name) and ("false" in value or "true" in value):
                yield target["id"].lower(), "flag_false" if "false" in value else "flag_true", name


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


class Shape(NamedTuple):
    """What a file is that was not written by the kit."""

    name: str
    by: str
    needs: tuple[str, ...]
    reads: tuple[str, ...]

    def wants(self, names: Iterable[str]) -> list[str]:
        """Choose the columns that are read, by their names in lower case and without a zone."""
        patterns = [*self.reads, *(name for need in self.needs for name in need.split("|"))]
        return [name for name in names if any(fnmatch(name, pattern) for pattern in patterns)]


SHAPES: Final = tuple(
    Shape(each["name"], each["by"], tuple(each["needs"]), tuple(each["reads"])) for each in COLUMNS["shapes"]
)
"""What exports are; the first one that fits the columns of a file counts."""


def shape_of(names: Iterable[str]) -> Shape | None:
    """Find what an export is by its columns (as `plain_name` writes them); None if it is none that is known."""
    names = list(names)
    fits = (
        shape
        for shape in SHAPES
        if all(any(fnmatch(name, each) for each in need.split("|") for name in names) for need in shape.needs)
    )
    return next(fits, None)


def plain_name(heading: str) -> str:
    """Write a heading in lower case, without the zone that the portal adds."""
    return heading.split(" [")[0].strip().lower()


def refuse_local(headings: Iterable[str], spelling: Spelling) -> None:
    """Raise BadTable where a heading of the portal says that times are local, and nobody says of which zone."""
    local = [name for name in headings if "[" in name and "[UTC]" not in name]
    if local and spelling.zone == "UTC":
        raise BadTable(
            f"The column {local[0]} holds local times.",
            next_step="Set the portal's time zone to UTC, and export again; or name the zone with --zone.",
        )


def translate(frame: pd.DataFrame, shape: Shape, spelling: Spelling) -> dict[str, pd.DataFrame]:
    """Give an export's rows the columns of the tables.

    Args:
        frame: its columns as `plain_name` writes them; nested ones as the JSON text of them. `attrs` names the file.
        shape: what it is.
        spelling: how its times are written.

    Returns:
        kind to rows: sign_ins and ledger, which are yet to be made tidy; audits as of `audits_from_graph` with the
        column `flag`; directory (users of a tenant).

    Raises:
        BadTable: the export is a sample, does not show which sign-ins ran a callout, or cannot be read in some row.
    """
    if shape.by in ("traces", "requests"):
        # The last one that is there counts, and Log Analytics' own name before others.
        others = {old: new for old, new in COLUMNS["same"].items() if old in frame and new not in frame}
        frame = frame.rename(columns=others)
    stand_for = pd.to_numeric(frame["itemcount"], errors="coerce").fillna(1) if "itemcount" in frame else None
    if stand_for is not None and (stand_for > 1).any():
        raise BadTable(
            f"The export is a sample: {len(frame):,} rows stand for {stand_for.sum():,.0f}; counts would be too low.",
            next_step="Turn sampling off for the endpoint, or use its own ledger.",
        )
    match shape.by:
        case "sign_ins":
            return {"sign_ins": _sign_ins(frame)}
        case "audits":
            return {"audits": _audits(frame, spelling)}
        case "archive":
            return _archive(frame, spelling)
        case "traces":
            return {"ledger": _traces(frame)}
        case "requests":
            return {"ledger": _requests(frame)}
        case "directory":
            return {"directory": _directory(frame, spelling)}
    raise BadTable(
        "This is the CSV that the admin center downloads: it does not show which sign-ins asked the endpoint.",
        next_step="Collect the log in notebook 08, or export SigninLogs from Log Analytics with AppliedEventListeners.",
    )


def _sign_ins(frame: pd.DataFrame) -> pd.DataFrame:
    """Read sign-ins of Log Analytics or Graph; without those in which nobody typed a password, as a token's refresh."""
    result = pd.DataFrame({new: frame[old] for old, new in COLUMNS["sign_in_logs"].items() if old in frame})
    if "resulttype" not in frame:
        states = _objects(frame, "status", Mapping, "how the sign-ins ended")
        result["result_code"] = pd.Series([each and each.get("errorcode") for each in states], frame.index, "object")
    listeners = _objects(frame, _LISTENERS, list, "which sign-ins asked the endpoint")
    callouts = [password_callout(cell) for cell in listeners]
    for name, key in _CALLOUT.items():
        result[name] = pd.Series([callout.get(key) for callout in callouts], index=frame.index, dtype="object")
    quiet, native = (
        frame[name].astype("str").str.lower().eq(value) if name in frame else pd.Series(False, frame.index)
        for name, value in (("isinteractive", "false"), ("authenticationprotocol", "nativeauth"))
    )
    result.attrs |= frame.attrs
    return result[~(quiet & ~native & ~pd.Series([bool(each) for each in callouts], frame.index, "bool"))]


def _objects(frame: pd.DataFrame, name: str, kind: Any, shows: str) -> list[Any]:
    """Read a nested column whose cells are of a kind or empty; raise BadTable where it is not there or unreadable."""
    cells = [_plain(cell) for cell in frame[name]] if name in frame else None
    held = [isinstance(cell, kind) or cell is None or cell != cell for cell in cells or ()]  # only NaN is not itself
    if cells is not None and all(held):
        return [cell if isinstance(cell, kind) else None for cell in cells]
    spelt = _SPELT.get(name, name)
    what = "has no column" if cells is None else f"cannot be read in {_row(frame, held.index(False))}: the column"
    raise BadTable(
        f"The export {what} {spelt}, so it does not show {shows}.",
        next_step=f"Export it again with {spelt} as JSON, or collect the log in notebook 08.",
    )


def _row(frame: pd.DataFrame, at: int) -> str:
    file = frame.attrs.get("file")
    return f"row {frame.index[at] + 1:,}" + (f" of {file}" if file else "")


def _audits(frame: pd.DataFrame, spelling: Spelling) -> pd.DataFrame:
    """Read what the audit log says about flags, of whatever name, and about passwords."""
    for name, other in (("activitydatetime", "timegenerated"), ("activitydisplayname", "operationname")):
        frame[name] = frame[name] if name in frame else frame.get(other)
    frame["targetresources"] = _objects(frame, "targetresources", list, "whose flag changed")
    ids = frame["id"] if "id" in frame else frame.index.astype("str")
    audits = zip(frame.index, ids, frame["activitydatetime"], records(frame), strict=True)
    found = [(at, each, time, *event) for at, each, time, row in audits for event in _events(row)]
    result = pd.DataFrame(found, columns=["at", "id", "time", "user_id", "event", "flag"]).set_index("at")
    result.attrs |= frame.attrs
    return result.assign(time=typed(result, "time", "audits", "time", spelling))


def _archive(frame: pd.DataFrame, spelling: Spelling) -> dict[str, pd.DataFrame]:
    """Read records as diagnostic settings send them to a storage account or an event hub; other logs' are left out."""
    held = _objects(frame, "properties", Mapping, "what happened")
    category = frame["category"].astype("str").str.lower()
    rows = pd.Series(held, frame.index, dtype="object")
    found: dict[str, pd.DataFrame] = {}
    for kind, categories in _CATEGORIES.items():
        records = frame[category.isin(categories)].drop(columns=["properties", "category"])
        if not len(records):
            continue
        wanted = next(shape for shape in SHAPES if shape.by == kind).wants
        kept = [{name: each[name] for name in wanted(each)} if each else {} for each in rows[records.index]]
        inside = pd.DataFrame(kept, index=records.index)
        both = inside.combine_first(records.rename(columns={"time": "timegenerated"}))
        both.attrs |= frame.attrs
        found |= {kind: _sign_ins(both) if kind == "sign_ins" else _audits(both, spelling)}
    return found


def _directory(frame: pd.DataFrame, spelling: Spelling) -> pd.DataFrame:
    """Read users of a tenant: `user_id`, `created_at`, flags by their full names, and columns to group by."""
    ids = frame["id"] if "id" in frame else frame["objectid"]
    flags = [name for name in map(str, frame) if FLAG.fullmatch(name)]
    result = frame[[name for name in SHAPES[-1].reads if name in frame and name not in _OF_USERS]].copy()
    result.attrs |= frame.attrs
    for name in flags:
        said = frame[name].astype("str").str.lower()
        result[name] = said.map({"true": True, "false": False}).astype("boolean")
        if (odd := said.notna() & (said != "") & result[name].isna()).any():
            raise BadTable(
                f"The flag {name} is neither true nor false in {_row(frame, int(np.flatnonzero(odd)[0]))}.",
                next_step="Export the users again.",
            )
    if "accountenabled" in frame:
        closed = frame["accountenabled"].astype("str").str.lower() == "false"
        result["status"] = pd.Series("disabled", frame.index).where(closed, None)
    created = frame.assign(created_at=frame.get("createddatetime"))
    return result.assign(
        user_id=ids.astype("str").str.lower(), created_at=typed(created, "created_at", "users", "time", spelling)
    ).dropna(subset="user_id")


def _requests(frame: pd.DataFrame) -> pd.DataFrame:
    """Read calls of the endpoint from its requests: what it answered is only in properties of its own."""
    own = pd.DataFrame(_properties(frame), index=frame.index)
    code = frame["resultcode"].astype("str") if "resultcode" in frame else pd.Series("200", index=frame.index)
    result = own.reindex(columns=[name for name in KINDS["ledger"] if name not in ("time", "duration_ms")])
    good = code == "200"
    result["action"] = result["action"].astype("object").where(result["action"].notna(), good.map({True: ANSWERED}))
    result["cause"] = result["cause"].astype("object").where(result["cause"].notna(), ("status_" + code).mask(good))
    result.attrs |= frame.attrs
    return result.assign(time=frame["timegenerated"], duration_ms=frame["durationms"])


def _traces(frame: pd.DataFrame) -> pd.DataFrame:
    """Read the ledger's lines, which are messages (an endpoint's standard output) or the properties of traces."""
    messages = (text[text.find("{") :] if isinstance(text, str) else text for text in frame["message"])
    traces = zip(map(_plain, messages), _properties(frame), frame["timegenerated"], strict=True)
    lines = [line if isinstance(line, dict) else own | {"time": written} for line, own, written in traces]
    found = {at: line for at, line in zip(frame.index, lines, strict=True) if {"time", "cause"} <= line.keys()}
    if lines and not found:
        raise BadTable(
            f"None of the {len(lines):,} traces is a line of the endpoint's ledger.",
            next_step="Export the traces of the endpoint: its messages are JSON with time, action and cause.",
        )
    result = pd.DataFrame([*found.values()], columns=[*KINDS["ledger"]], index=[*found])
    result.attrs |= frame.attrs
    return result


def _properties(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Read which of the ledger's fields each row has as a property, in whatever spelling."""
    if "properties" not in frame:
        return [{} for _ in frame.index]
    known = {name.replace("_", ""): name for name in KINDS["ledger"]}
    plain = (
        {key.replace("_", ""): value for key, value in (row or {}).items()}
        for row in _objects(frame, "properties", Mapping, "what the endpoint answered")
    )
    return [{known[key]: value for key, value in row.items() if key in known} for row in plain]


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

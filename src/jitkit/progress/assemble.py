"""Combines the flag, the sign-in log, the audit log and the ledger: who was moved, when and how."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, Literal

import numpy as np
import pandas as pd

from jitkit.progress.collect import Archive
from jitkit.progress.log_analytics import FLAG, REQUESTS
from jitkit.progress.table_files import Found
from jitkit.progress.tables import (
    KINDS,
    LOGS,
    NEVER,
    Extent,
    Tables,
    index_in,
    micros,
    moments,
    numbered,
    refusal,
    remark,
    tidy,
    times,
    without_names,
)
from jitkit.protocol import UPDATE

# How far apart one migration's sign-in and flag, and its new password and flag, are written down.
_SIGN_IN_APART: Final = pd.Timedelta(minutes=5)
_PASSWORD_APART: Final = pd.Timedelta(seconds=30)
_NAMED: Final = 5  # files that a remark names
_AUDITS: Final = ["time", "user_id", "event"]


def from_archive(archive: Archive, now: pd.Timestamp, dimensions: pd.DataFrame | None = None) -> Tables:
    """Assemble what was collected until now, with remarks on what is missing and with further columns to group by."""
    users = archive.users()
    logs = {kind: archive.read(kind) for kind in ("sign_ins", "audits", "ledger")}
    latest = [log["time"].max() for log in logs.values() if len(log)]
    tables = assemble(users, seen_at=max([now, *latest]), **logs, dimensions=dimensions)
    flagged, windows, missing = tables.users["flagged_at"].min(), archive.windows("sign_ins"), []
    if windows:
        since, until = windows[0][0], windows[-1][1]
        missing = archive.missing_days("sign_ins", flagged, until) if pd.notna(flagged) else []
        within = tuple(day for day in missing if day > f"{since:%Y-%m-%d}")
        tables.extents["sign_ins"] = Extent(len(logs["sign_ins"]), since, until, missing=within)
    refused = {kind: why for kind in ("sign_ins", "audits") if (why := archive.noted(kind).get("refused"))}
    unread = {kind: remark(f"unread_{kind}", 1, cause)._replace(remedy=step) for kind, (cause, step) in refused.items()}
    tables.unread = {kind: f"{each.cause[:1].upper()}{each.cause[1:]}. {each.remedy}" for kind, each in unread.items()}
    tables.remarks = (
        *tables.remarks,
        *unread.values(),
        remark("flagged_again", int((users["again"] & users["flag"].fillna(False)).sum())),
        remark("not_collected", len(missing), f"{missing[0]} to {missing[-1]}" if missing else ""),
    )
    return tables


def from_files(found: Found, flag: str = "") -> Tables:
    """Make the tables of what files hold: where none is a table of users, of the tenant's audits and lists of users.

    Args:
        found: the files' rows.
        flag: the migration flag's full name; needed where several are in the files.

    Raises:
        BadTable: no file says who was moved, or several flags could be meant.
    """
    _leave_out_requests(found)
    logs = {kind: found.table(kind) for kind in LOGS}
    audits = found.table("audits") if "audits" in found.parts else pd.DataFrame(columns=[*_AUDITS, "flag"])
    listed = found.table("directory")
    if "users" in found.parts:
        tables = Tables(found.table("users"), logs["sign_ins"], logs["ledger"])
    else:
        name = _chosen(audits, listed, flag.lower())
        audits = audits[audits["flag"].isin((name, ""))]
        moments = [table["time"].max() for table in (*logs.values(), audits) if len(table)]
        seen_at = max(moments, default=pd.Timestamp.now("UTC").floor("us"))
        people = _people(audits, listed, name, seen_at)
        known = listed.drop(columns=["created_at", *_flags(listed)], errors="ignore") if len(listed) else None
        tables = assemble(people, seen_at=seen_at, **logs, audits=audits, dimensions=known)
        dated = audits["user_id"][audits["event"] == "flag_false"]
        undated = (tables.users["migrated_at"] == seen_at) & ~tables.users["user_id"].isin(dated)
        tables.no_time = int(undated.sum())
        tables.remarks = (*tables.remarks, remark("undated", tables.no_time))
    # The files keep what no line of the ledger has: of a long log that is most of its memory.
    ids, known = tables.sign_ins["correlation_id"], pd.Index(tables.ledger["correlation_id"].dropna().unique())
    tables.sign_ins["correlation_id"] = numbered(index_in(ids, known), known)
    tables.sources = tuple(found.sources)
    # Beside a table of users, audits and lists of users are not needed.
    needed = {*(KINDS if "users" in found.parts else (*KINDS, "audits", "directory"))}
    if unused := [f"{each.file} ({each.taken_for})" for each in found.sources if not needed & {*each.gives}]:
        tables.remarks = (*tables.remarks, remark("unused_files", len(unused), ", ".join(unused[:_NAMED])))
    return tables


def _leave_out_requests(found: Found) -> None:
    """Leave out requests where the files hold the endpoint's ledger or its traces as well: each call counts once."""
    sources = [source for source in found.sources if "ledger" in source.gives]
    requests = [source.taken_for == REQUESTS for source in sources]
    parts = [*zip(found.parts.get("ledger", []), requests, strict=True)]
    if any(requests) and any(len(part) for part, of_requests in parts if not of_requests):
        found.parts["ledger"] = [part for part, of_requests in parts if not of_requests]
        found.sources = [each._replace(gives=()) if each.taken_for == REQUESTS else each for each in found.sources]


def _chosen(audits: pd.DataFrame, listed: pd.DataFrame, flag: str) -> str:
    """Find the full name of the flag, in lower case, that the files tell of."""
    names = sorted({*_flags(listed), *_flags(audits["flag"])})
    if flag in names or (len(names) == 1 and not flag):
        return flag or names[0]
    if not names:
        raise refusal("no_scope")
    raise refusal("several_flags", names=", ".join(names), besides=f", and not of {flag}" if flag else "")


def _flags(names: Iterable[Any]) -> list[str]:
    return [str(name) for name in names if FLAG.fullmatch(str(name))]


def _people(audits: pd.DataFrame, listed: pd.DataFrame, flag: str, seen_at: pd.Timestamp) -> pd.DataFrame:
    """Make the table that `assemble` takes: a flag is false where a list or audit says so, none if taken before."""
    moments = audits.groupby(["user_id", "event"])["time"].max().unstack().reset_index()
    if len(listed):
        shown = ["created_at", *([flag] if flag in listed else [])]
        known = listed.groupby("user_id")[shown].min().rename(columns={flag: "seen"}).reset_index()
        moments = moments.merge(known, on="user_id", how="outer" if flag in listed else "left")
    events = ["flag_true", "flag_false", "flag_removed", "deleted", "restored", "created_at"]
    moments = moments.reindex(columns=["user_id", "seen", *events])
    true_at, false_at, removed, deleted, restored, created = (times(moments[name]) for name in events)
    # A comparison with a missing time is false.
    value = ((true_at > false_at) | false_at.isna()).astype("boolean").mask(true_at.isna() & false_at.isna())
    taken = removed.notna() & ~(removed <= true_at)
    value, seen = (known.mask(known & taken) for known in (value, moments["seen"].astype("boolean")))
    return pd.DataFrame(
        {
            "user_id": moments["user_id"],
            "flag": (value & seen).fillna(value).fillna(seen),  # false if either is
            "created_at": created,
            "true_at": true_at.fillna(created),
            "false_at": false_at.fillna(seen_at),
            "gone_at": deleted.mask(restored > deleted),
        }
    )


def assemble(
    users: pd.DataFrame,
    *,
    seen_at: pd.Timestamp,
    sign_ins: pd.DataFrame | None = None,
    audits: pd.DataFrame | None = None,
    ledger: pd.DataFrame | None = None,
    dimensions: pd.DataFrame | None = None,
) -> Tables:
    """Combine what the tenant and the endpoint know about each user.

    A user is in scope whose flag is true or false, and migrated when it is false. The flag was set when the audit log
    saw it become true, else when the user was made. *When* a user was moved comes from the audit log, else from the
    first sign-in that succeeded since the flag was last seen true, else it is the moment at which the flag was first
    seen false. *How* comes from the endpoint's answer to that sign-in, else from the sign-in log and the audited new
    password; it stays empty where no log says so.

    Args:
        users: the table of `collect.users_from_graph`.
        seen_at: when the logs were read.
        sign_ins: the table of sign-ins.
        audits: the table of `log_analytics.audits_from_graph`.
        ledger: the endpoint's ledger.
        dimensions: `user_id` and any columns to group by.
    """
    audits = pd.DataFrame(columns=_AUDITS) if audits is None else audits
    seen = users[users["flag"].notna() & users["gone_at"].isna()].sort_values("user_id", ignore_index=True)
    row = index_in(audits["user_id"], seen["user_id"]).astype("int64")
    audits = audits.assign(row=row, time=times(audits["time"]))[row >= 0].sort_values("time", kind="stable")
    flagged = _moment(audits, "flag_true", seen, "min").fillna(seen["created_at"])
    bare = pd.DataFrame({"user_id": seen["user_id"], "flagged_at": flagged, "migrated_at": pd.NaT})
    sign_ins, ledger = (pd.DataFrame() if log is None else log for log in (sign_ins, ledger))
    known = Tables(bare, sign_ins, ledger, as_of=seen_at)
    moved = (~seen["flag"]).to_numpy(dtype=bool)
    moment = _moment(audits, "flag_false", seen, "max").fillna(_first_success(known, seen["true_at"]))
    at = moment.fillna(seen["false_at"]).where(moved)
    result = bare.assign(migrated_at=at, path=_paths(at, known, audits).where(moved, None))
    if dimensions is not None:
        extra = dimensions.assign(user_id=dimensions["user_id"].astype("str").str.lower()).drop_duplicates("user_id")
        result = result.merge(extra, on="user_id", how="left")
    known.users = tidy(result, "users")
    known.remarks = (*known.remarks, remark("vanished", int((users["flag"].notna() & users["gone_at"].notna()).sum())))
    return without_names(known)


def _moment(audits: pd.DataFrame, event: str, users: pd.DataFrame, which: str) -> pd.Series:
    """Find the first (min) or last (max) time that the audit log saw this event of each user."""
    found = audits[audits["event"] == event].groupby("row")["time"].agg(which)
    return found.rename_axis(None).reindex(range(len(users))).astype(pd.DatetimeTZDtype("us", "UTC"))


def _first_success(known: Tables, after: pd.Series) -> pd.Series:
    """Find the first sign-in of each user that succeeded, not counting those before the flag was last seen true."""
    people, time = known.people, micros(known.sign_ins["time"])
    good = known.succeeded & (people >= 0)
    good[good] = time[good] > micros(after)[people[good]]
    first = np.full(len(after), NEVER)
    # In the reverse order of time: of several the first one stays.
    first[people[good][::-1]] = time[good][::-1]
    return moments(first)


def _paths(at: pd.Series, known: Tables, audits: pd.DataFrame) -> pd.Series:
    """Find how each user was moved, from the sign-in that happened when the flag changed."""
    good = known.succeeded & (known.people >= 0)
    logged, lines = known.joined
    answers = known.ledger["action"].set_axis(lines)[lines >= 0].dropna()
    action = answers[~answers.index.duplicated(keep="last")].reindex(logged[good]).to_numpy(dtype=object)
    signed_in = known.sign_ins.loc[good, ["time", "callout_error"]]
    signed_in = signed_in.assign(action=action, row=known.people[good].astype("int64"))
    near = _nearest(at, signed_in[["time", "row", "callout_error", "action"]], _SIGN_IN_APART)
    found, called = near["found"].notna(), near["callout_error"].notna()
    reset, changed = (
        _nearest(at, audits.loc[audits["event"] == event, ["time", "row"]], _PASSWORD_APART)["found"].notna()
        for event in ("reset", "change")
    )
    path = pd.Series(None, index=at.index, dtype="object")
    path[found & ~called] = "silent"
    path[found & called] = "callout"
    # A stored legacy password may be audited as a change too; without a call it can only be the person's own.
    path[reset | (changed & ~called) | (near["action"] == UPDATE)] = "reset"
    return path


def _nearest(at: pd.Series, events: pd.DataFrame, apart: pd.Timedelta) -> pd.DataFrame:
    """Find for each user the event that led to the migration: the last one before, or else the first one after."""
    sides: tuple[Literal["backward"], Literal["forward"]] = ("backward", "forward")
    asked = pd.DataFrame({"row": at.index.to_numpy(dtype="int64"), "at": at}).dropna().sort_values("at")
    events = events.assign(found=True)
    before, after = (
        pd.merge_asof(asked, events, left_on="at", right_on="time", by="row", direction=side, tolerance=apart)
        for side in sides
    )
    return before.where(before["found"].notna(), after).set_index("row").reindex(at.index)

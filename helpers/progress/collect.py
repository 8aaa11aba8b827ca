"""From files and Graph's answers to the three tables.

Shapes: Microsoft Graph beta `signIn` with `appliedAuthenticationEventListener` and `customExtensionCalloutResult`,
v1.0 `directoryAudit` and `user`, and the endpoint's ledger. Microsoft does not document the text of an audited flag,
nor whether a silent migration is audited: the last word is what the flag says.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Literal

import pandas as pd

from helpers.errors import BadTable
from helpers.progress.tables import KINDS, Tables, tidy
from helpers.protocol import UPDATE

__all__ = ["assemble", "read_table", "sign_ins_from_graph"]

Row = Mapping[str, Any]

# Without the header `Prefer: include-unknown-enum-members` Graph names the event like this.
_EVENTS: Final = ("passwordSubmit", "unknownFutureValue")

# How far apart one migration's sign-in and flag, and its new password and flag, are written down.
_SIGN_IN_APART: Final = pd.Timedelta(minutes=5)
_PASSWORD_APART: Final = pd.Timedelta(seconds=30)


def read_table(path: Path | str, kind: str) -> pd.DataFrame:
    """Read one of the tables from a file.

    Args:
        path: CSV (`.csv`), JSON lines (`.jsonl`, `.ndjson`, `.json`) or Parquet (`.parquet`).
        kind: users, sign_ins or ledger.

    Returns:
        the table in its columns and types.

    Raises:
        BadTable: the file is missing, is of another kind, or does not fit.
    """
    path = Path(path)
    try:
        match path.suffix.lower():
            case ".csv":
                frame = pd.read_csv(
                    path, dtype=str, keep_default_na=False, na_values=["", "NULL"], encoding="utf-8-sig"
                )
            case ".jsonl" | ".ndjson" | ".json":
                frame = pd.DataFrame(_json_lines(path))
            case ".parquet":
                frame = pd.read_parquet(path)
            case other:
                raise BadTable(
                    f"{path.name} ends in {other or 'nothing'}: it is not known how to read that.",
                    next_step="Give a .csv, .jsonl or .parquet file.",
                )
    except pd.errors.EmptyDataError:
        frame = pd.DataFrame()
    except FileNotFoundError:
        raise BadTable(f"There is no file {path}.", next_step="Check the path.") from None
    except UnicodeDecodeError:
        raise BadTable(f"{path.name} is not UTF-8.", next_step="Save it as UTF-8.") from None
    except OSError as problem:
        raise BadTable(
            f"{path} cannot be read ({problem.strerror}).", next_step="Check that it is a file that you may read."
        ) from None
    except ValueError:
        # pandas and pyarrow quote the offending text; it stays here.
        raise BadTable(f"{path.name} is broken, or not what its name says.", next_step="Export it again.") from None
    if frame.empty and not len(frame.columns):
        frame = pd.DataFrame({name: [] for name in KINDS[kind]})
    return tidy(frame, kind)


def sign_ins_from_graph(rows: Iterable[Row]) -> pd.DataFrame:
    """Make the table of sign-ins from Graph's sign-in log.

    Args:
        rows: `signIn` objects of the beta log, with `appliedEventListeners`.
    """
    return tidy(pd.DataFrame(map(_sign_in, rows), columns=list(KINDS["sign_ins"])), "sign_ins")


def assemble(
    users: Iterable[Row],
    *,
    flag: str,
    seen_at: pd.Timestamp,
    sign_ins: pd.DataFrame | None = None,
    audits: Iterable[Row] = (),
    ledger: pd.DataFrame | None = None,
    dimensions: pd.DataFrame | None = None,
) -> Tables:
    """Put together what the tenant and the endpoint know about each user.

    A user is in scope whose flag is true or false, and migrated when it is false. *When* comes from the audit log, else
    from the first sign-in that succeeded, else it is `seen_at`: at the latest then. *How* comes from the endpoint's
    answer to that sign-in, else from the sign-in log and the audited new password; it stays empty where all are silent.

    Args:
        users: Graph `user` objects with `id`, `createdDateTime` and the flag.
        flag: the flag's full name, `extension_…`.
        seen_at: when the users were read.
        sign_ins: the table of sign-ins.
        audits: `directoryAudit` objects.
        ledger: the endpoint's ledger.
        dimensions: `user_id` and any columns to group by.

    Returns:
        the three tables, as of `seen_at`.
    """
    known = Tables(
        sign_ins=pd.DataFrame(columns=list(KINDS["sign_ins"])) if sign_ins is None else sign_ins,
        ledger=pd.DataFrame(columns=list(KINDS["ledger"])) if ledger is None else ledger,
    )
    audits = list(audits)
    frame = _in_scope(users, flag)
    frame = frame.merge(_audited(audits, flag), on="user_id", how="left")
    frame = frame.merge(_first_success(known.sign_ins), on="user_id", how="left")
    done = frame["done"]
    moment = frame["audited_at"].fillna(frame["success_at"]).fillna(seen_at)
    frame["migrated_at"] = moment.where(done)
    frame["path"] = _paths(frame, known, audits).where(done, None)
    result = frame[["user_id", "flagged_at", "migrated_at", "path"]]
    if dimensions is not None:
        extra = dimensions.assign(user_id=dimensions["user_id"].astype("str").str.lower()).drop_duplicates("user_id")
        result = result.merge(extra, on="user_id", how="left")
    return Tables(users=result, sign_ins=known.sign_ins, ledger=known.ledger, as_of=seen_at)


def _json_lines(path: Path) -> list[dict[str, Any]]:
    """Read one object a line. A line without its end, as a writer that was stopped leaves it, is passed over."""
    rows = []
    with path.open(encoding="utf-8-sig") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except json.JSONDecodeError:
                row = None
            if isinstance(row, dict):
                rows.append(row)
            elif line.endswith("\n") and not _torn(line):
                raise BadTable(
                    f"Line {number} of {path.name} is not a JSON object.",
                    next_step="Give a file with one JSON object a line.",
                )
    return rows


def _torn(line: str) -> bool:
    return line.lstrip().startswith("{") and not line.rstrip().endswith("}")


def _sign_in(row: Row) -> tuple[Any, ...]:
    callout: Row = {}
    for event in _EVENTS:
        ran = [listener for listener in row.get("appliedEventListeners") or () if listener.get("eventType") == event]
        if ran:
            callout = ran[0].get("handlerResult") or {}
            break
    return (
        row.get("createdDateTime"),
        row.get("userId"),
        row.get("appId"),
        row.get("correlationId"),
        (row.get("status") or {}).get("errorCode"),
        callout.get("errorCode"),
        callout.get("httpStatus"),
        callout.get("numberOfAttempts"),
    )


def _in_scope(users: Iterable[Row], flag: str) -> pd.DataFrame:
    rows = [
        (row["id"].lower(), row.get("createdDateTime"), row[flag] is False)
        for row in users
        if row.get(flag) is not None
    ]
    frame = pd.DataFrame(rows, columns=["user_id", "flagged_at", "done"])
    frame = frame.sort_values("done", kind="stable").drop_duplicates("user_id", keep="last")
    return frame.astype({"user_id": "str", "done": "bool"}).assign(flagged_at=_utc(frame["flagged_at"]))


def _audited(audits: Iterable[Row], flag: str) -> pd.DataFrame:
    """The last time that the audit log saw each user's flag become false."""
    rows = [
        (target, audit.get("activityDateTime"))
        for audit in audits
        if audit.get("activityDisplayName", "").lower() == "update user"
        for target, changes in _targets(audit)
        for change in changes
        if (change.get("displayName") or "").lower() == flag.lower()
        and "false" in (change.get("newValue") or "").lower()
    ]
    frame = pd.DataFrame(rows, columns=["user_id", "audited_at"]).astype({"user_id": "str"})
    frame["audited_at"] = _utc(frame["audited_at"])
    return frame.groupby("user_id")["audited_at"].max().reset_index()


def _passwords(audits: Iterable[Row], activity: str) -> pd.DataFrame:
    """The times at which the audit log tells of an activity about a password."""
    rows = [
        (target, audit.get("activityDateTime"))
        for audit in audits
        if audit.get("activityDisplayName", "").lower().startswith(activity)
        for target, _ in _targets(audit)
    ]
    frame = pd.DataFrame(rows, columns=["user_id", "time"]).astype({"user_id": "str"})
    return frame.assign(time=_utc(frame["time"]), found=True)


def _targets(audit: Row) -> Iterator[tuple[str, list[Row]]]:
    for target in audit.get("targetResources") or ():
        if target.get("id"):
            yield target["id"].lower(), target.get("modifiedProperties") or []


def _first_success(sign_ins: pd.DataFrame) -> pd.DataFrame:
    good = sign_ins[(sign_ins["result_code"] == 0).fillna(False)]
    return good.groupby("user_id")["time"].min().rename("success_at").reset_index()


def _paths(users: pd.DataFrame, known: Tables, audits: list[Row]) -> pd.Series:
    """Say how each user was moved, from the sign-in that happened when the flag changed."""
    signed_in = known.sign_ins[(known.sign_ins["result_code"] == 0).fillna(False)]
    answers = known.ledger[known.ledger["correlation_id"].notna()].drop_duplicates("correlation_id", keep="last")
    signed_in = signed_in.merge(answers[["correlation_id", "action"]], on="correlation_id", how="left")
    signed_in = signed_in.assign(found=True)[["time", "user_id", "callout_error", "action", "found"]]
    near = _beside(users, signed_in, _SIGN_IN_APART)
    found, called = near["found"].notna(), near["callout_error"].notna()
    reset, changed = (
        _beside(users, _passwords(audits, activity), _PASSWORD_APART)["found"].notna()
        for activity in ("reset password", "change user password")
    )
    path = pd.Series(None, index=users.index, dtype="object")
    path[found & ~called] = "silent"
    path[found & called] = "callout"
    # A stored legacy password may be audited as a change too; without a call it can only be the person's own.
    path[reset | (changed & ~called) | (near["action"] == UPDATE)] = "reset"
    return path


def _beside(users: pd.DataFrame, events: pd.DataFrame, apart: pd.Timedelta) -> pd.DataFrame:
    """Find for each user, in the users' order, the event that led to the migration.

    It is the last one before; where clocks disagree and there is none, the first one after.
    """
    sides: tuple[Literal["backward"], Literal["forward"]] = ("backward", "forward")
    asked = users.reset_index()[["index", "user_id", "migrated_at"]].dropna().sort_values("migrated_at")
    events = events.dropna(subset=["time", "user_id"]).sort_values("time", kind="stable")
    before, after = (
        pd.merge_asof(
            asked, events, left_on="migrated_at", right_on="time", by="user_id", direction=side, tolerance=apart
        )
        for side in sides
    )
    return before.where(before["found"].notna(), after).set_index("index").reindex(users.index)


def _utc(column: pd.Series) -> pd.Series:
    return pd.Series(pd.to_datetime(column, utc=True, format="ISO8601"), index=column.index).dt.as_unit("us")

"""What does not fit together in the tables, what is missing, and what the legacy store got wrong."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
import pandas as pd

from jitkit.explanations import fix, meaning
from jitkit.progress.clocks import off_beat, skew, zone
from jitkit.progress.metrics import calls
from jitkit.progress.tables import Remark, Tables, isin, micros, once

__all__ = ["legacy_data", "missing_days", "quality"]

# Causes in the ledger that speak of the data in the legacy store.
_STORE: Final = ("malformed", "ambiguous", "unknown_user", "weak", "must_change", "mfa", "locked", "disabled")
_FEDERATED: Final = (
    "the user signs in with another identity provider: there is no password here, and no call is ever made",
    "Take these users out of scope: clear their flag.",
)
# Days without a row are a hole where at least so many rows are usual for them: such a silence is chance once in 20,000
# times even where every person leaves two rows, and once in 500 million where each leaves one.
_USUAL: Final = 20.0
_OFF: Final = (4, 5, 6)  # Friday to Sunday: which of them are quiet is another matter in each country
_MANY: Final = 20  # rows of strangers, from which on they are no accident
_AROUND: Final = 28  # days on each side that tell what is usual

_FEW_ROWS: Final = "an old export, or one of a part of the users"
_ZONED: Final = "Write times with their zone, such as 2026-11-22T09:30:00Z."
_COLLECT: Final = "Collect both again, for the same days."


@once
def quality(tables: Tables) -> pd.DataFrame:
    """List what does not fit together in the tables, and what the collector noticed.

    Returns:
        `finding`, `rows`, `cause`, `remedy`; only findings that have rows.
    """
    found = [*_users(tables), *_logs(tables), *tables.remarks]
    rows = [(each.finding, each.rows, each.cause, each.remedy) for each in found if each.rows]
    return pd.DataFrame(rows, columns=["finding", "rows", "cause", "remedy"])


def missing_days(tables: Tables) -> list[str]:
    """Name the days inside the sign-in log that have no row, where the days of the weeks around them have many.

    Returns:
        dates (UTC), the earliest first. Days that are quiet every week are not missing, nor is one day of a quiet log.
    """
    if not len(tables.sign_ins):
        return []
    days = micros(tables.sign_ins["time"]) // 86_400_000_000
    counts = np.bincount(days - days[0])
    empty = np.flatnonzero(counts == 0)
    runs = np.split(empty, np.flatnonzero(np.diff(empty) > 1) + 1)
    first = tables.sign_ins["time"].iloc[0].floor("D")
    missing = [day for run in runs if _usual(counts, run, first.day_of_week) >= _USUAL for day in run]
    return [f"{first + pd.Timedelta(days=int(day)):%Y-%m-%d}" for day in missing]


def _usual(counts: np.ndarray, run: np.ndarray, first: int) -> float:
    """Sum up how many rows the same days of the weeks around a run of days have: the median, which no attack moves."""
    if not len(run):
        return 0.0
    around = np.arange(max(run[0] - _AROUND, 0), min(run[-1] + _AROUND + 1, len(counts)))
    around = around[(around < run[0]) | (around > run[-1])]
    usual = 0.0
    for day in run:
        alike = around[(around - day) % 7 == 0]
        if not len(alike):
            if (first + day) % 7 in _OFF:
                continue
            alike = around
        usual += float(np.quantile(counts[alike], 0.5, method="lower"))
    return usual


def strange_rows(tables: Tables) -> int:
    """Count the rows with an id in the logs, if not one of them is about a user; few may be chance.

    Returns:
        how many; 0 where somebody is known, or where fewer than twenty rows have an id.
    """
    named = int(tables.sign_ins["user_id"].notna().sum() + tables.ledger["user_id"].notna().sum())
    known = (tables.people >= 0).any() or (tables.callers >= 0).any()
    return named if named >= _MANY and len(tables.users) and not known else 0


def legacy_data(tables: Tables) -> pd.DataFrame:
    """List what the endpoint found wrong in the legacy store, and whose accounts no call can move.

    A user counts once for each finding. Users who never came have not been looked at.

    Returns:
        `finding`, `users`, `share` (of the users who were asked about, 0 to 1), `remedy`; only what has users.
    """
    asked = calls(tables)
    people = asked["user_id"].cat.codes
    decided = asked["action"].notna() & (people >= 0)
    whole = people[decided].nunique()
    rows = []
    for name in _STORE:
        count = people[decided & (asked["cause"] == name)].nunique()
        rows.append((meaning(name), count, count / whole if whole else 0.0, fix(name)))
    if "identity" in tables.users:
        federated = tables.users["identity"].astype("str").str.lower().isin(("federated", "social"))
        count = int((federated & tables.users["migrated_at"].isna()).sum())
        rows.append((_FEDERATED[0], count, count / len(federated) if len(federated) else 0.0, _FEDERATED[1]))
    frame = pd.DataFrame(rows, columns=["finding", "users", "share", "remedy"])
    frame = frame[frame["users"] > 0]
    return frame.sort_values(["users", "finding"], ascending=[False, True], ignore_index=True)


def _users(tables: Tables) -> Iterator[Remark]:
    users = tables.users
    yield Remark(
        "users migrated before they were flagged",
        int((users["migrated_at"] < users["flagged_at"]).sum()),
        "the flag was set again after the migration, or the two times come from clocks that differ",
        "Look at these users' flags in the tenant: who is flagged again is asked for the old password.",
    )
    yield Remark(
        "users migrated, and no log tells how",
        int((users["migrated_at"].notna() & users["path"].isna()).sum()),
        "the sign-in log was not collected for that time, or the flag was cleared by hand",
        "Collect at least every seven days.",
    )
    future = users["migrated_at"] > tables.as_of if tables.as_of is not None else users["migrated_at"].notna()
    yield Remark(
        "users migrated after the moment of this report",
        int(future.sum()),
        "the time zone of the times is wrong, or the report looks back",
        _ZONED,
    )


def _logs(tables: Tables) -> Iterator[Remark]:
    sign_ins, ledger = tables.sign_ins, tables.ledger
    yield Remark(
        "rows in the logs, and not one about a person in the users table",
        strange_rows(tables),
        "the tables write ids in different ways: names in one, object ids in another",
        "Write the same ids in all tables, such as the object id.",
    )
    called = sign_ins["callout_error"].notna().to_numpy()
    yield Remark(
        "callouts for users who are not in scope",
        int((called & (tables.people < 0)).sum()),
        "users were deleted, or " + _FEW_ROWS,
        "Collect the users again; of deleted users, nothing has to be done.",
    )
    both = len(sign_ins) and len(ledger)
    yield Remark(
        "calls in the ledger without a sign-in in the log",
        _unmatched(ledger, sign_ins, called) if both else 0,
        "the sign-in log has a hole there, comes minutes later, or the caller was not Entra",
        _COLLECT,
    )
    answered = (sign_ins["callout_error"] == 0).fillna(False)
    asked = sign_ins.loc[answered, "correlation_id"]
    yield Remark(
        "answered callouts in the log without a call in the ledger",
        int((~isin(asked, ledger["correlation_id"])).sum()) if both else 0,
        "one of several endpoints keeps a ledger of its own, or a ledger was lost",
        "Collect the ledgers of all endpoints.",
    )
    yield Remark(
        "days without a single sign-in",
        len(missing_days(tables)),
        "the export has a hole, or sign-in was down: " + ", ".join(missing_days(tables)[:7]),
        "Export these days again if they are still kept; figures of these days are too low.",
    )
    yield Remark(
        "seconds between the endpoint's clock and Entra's",
        round(abs(skew(tables).total_seconds())),
        f"the endpoint's is {'ahead' if skew(tables) > pd.Timedelta(0) else 'behind'}, or one log holds local times",
        "Let the endpoint's machine set its clock by the network. The figures allow for it.",
    )

    yield Remark(
        "calls whose clock differs from that of most others by more than a minute",
        off_beat(tables),
        "one of several endpoints has a clock of its own; which of two calls was the last may be told wrongly",
        "Let each endpoint's machine set its clock by the network.",
    )
    yield Remark(
        "minutes between the users' times and those of the sign-in log",
        round(abs(zone(tables)) / pd.Timedelta(minutes=1)),
        "one of them holds local times without a zone: days, outages and who signed in since are told wrongly",
        _ZONED,
    )


def _unmatched(ledger: pd.DataFrame, sign_ins: pd.DataFrame, called: np.ndarray) -> int:
    """Count calls without a sign-in: most stand among the few sign-ins that ran a callout."""
    asked = ledger["correlation_id"].dropna()
    left = asked[~isin(asked, sign_ins.loc[called, "correlation_id"])]
    plain = sign_ins.loc[~called, "correlation_id"]
    return int((~isin(left, plain[isin(plain, left)])).sum()) if len(left) else 0

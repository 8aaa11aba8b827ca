"""Figures of a migration, as pure functions of its tables: counts, times, and what does not fit in the data."""

from __future__ import annotations

import re
import warnings
from contextlib import suppress
from statistics import NormalDist
from typing import Any, Final

import numpy as np
import pandas as pd

from jitkit.explanations import callout_cause, fix, meaning
from jitkit.progress.log_analytics import ANSWERED
from jitkit.progress.tables import NEVER, PATHS, QUIET, Tables, in_utc, micros, once, plain_text, refusal, remark, times
from jitkit.progress.wording import day, say
from jitkit.protocol import BLOCK, CALLS_PER_SECOND, TIMEOUT_MS

UNKNOWN: Final = "unknown"
"""The path of users who are moved and no log shows how."""

_NEAR: Final = 45  # calls from which on a second counts as near the limit of `protocol.CALLS_PER_SECOND`
# Upper ends of the steps of the latency chart, milliseconds; the last step has none.
_STEPS: Final = (25, 50, 100, 200, 400, 800, 1500, TIMEOUT_MS)
# How fine the curve is, by how long it is.
_GRAINS: Final = (("10min", "1s"), ("10h", "1min"), ("10D", "1h"))

# Two clocks. What a sign-in takes between its first row in the log and its call, and what networks add, is far below
# a minute; time zones lie a quarter of an hour apart at least.
_MINUTE_US: Final = 60_000_000
_PAIRS: Final = 5

# Causes in the ledger that concern the data in the legacy store.
_STORE: Final = ("malformed", "ambiguous", "unknown_user", "weak", "must_change", "mfa", "locked", "disabled")
# Days without a row are a hole where at least so many rows are usual for them: such a silence is chance once in 20,000
# times even where every person leaves two rows, and once in 500 million where each leaves one.
_USUAL: Final = 20.0
_OFF: Final = (4, 5, 6)  # Friday to Sunday: which of them are quiet differs between countries
_AROUND: Final = 28  # days on each side that show what is usual
_FILES: Final = 3  # files that are named one by one
_USERS: Final = {"audits", "directory"}  # what a table of users is made of where no file holds one
_NAMED: Final = 7  # missing days that are named one by one
_MANY: Final = 20  # rows of strangers from which on they are no accident


def iso(time: Any) -> str | None:
    """Write a moment for programs, in ISO 8601; None for a missing one."""
    return None if pd.isna(time) else str(time.isoformat().replace("+00:00", "Z"))


def time_of(given: Any, name: str) -> pd.Timestamp:
    """Read a time that was typed, UTC if it names no zone; raises BadTable, which calls it by `name`.

    A time that begins with its year is read so. Any other has to mean the same whether day or month comes first.
    """
    text = str(given).strip()
    found = other = pd.Timestamp("NaT")
    with suppress(ValueError), warnings.catch_warnings(action="ignore"):  # about the order of day and month
        found, other = pd.Timestamp(text), pd.to_datetime(text, dayfirst=not re.match(r"\d{4}", text))
    if pd.isna(found):
        raise refusal("no_time", what=name, text=text)
    if found.date() != other.date():
        raise refusal("two_days", what=name, text=text, days=(day(found), day(other)), found=found, other=other)
    return in_utc(found)


def share_of(given: float | str) -> float:
    """Read a share that was typed: 0.95, 95, `95 %` or 0,95; raises BadTable if it is none."""
    text = str(given).strip()
    try:
        number = float(text.removesuffix("%").replace(",", "."))
    except ValueError:
        number = -1.0
    share = number / 100 if text.endswith("%") or number > 1 else number
    if not 0 < share <= 1:
        raise refusal("no_share", text=plain_text(text[:20]))
    return share


def quantile(comparisons: int = 1) -> float:
    """Return the normal quantile of a two-sided 95 % interval, wide enough for several at once (Bonferroni)."""
    return NormalDist().inv_cdf(1 - (1 - 0.95) / 2 / comparisons)


def wilson(hits: Any, whole: Any, z: float) -> tuple[Any, Any]:
    """Bound shares after Wilson (1927): never below 0 or above 1, and usable for few users."""
    share = hits / whole
    middle = (share + z**2 / (2 * whole)) / (1 + z**2 / whole)
    half = z / (1 + z**2 / whole) * np.sqrt(share * (1 - share) / whole + z**2 / (4 * whole**2))
    return np.clip(middle - half, 0, 1), np.clip(middle + half, 0, 1)


def kaplan_meier(watched: np.ndarray, moved: np.ndarray, at: float, z: float) -> tuple[float, float, float]:
    """Estimate the share that has moved `at` so many days after the start, when some were watched for less time.

    `watched` are each user's days up to the migration, if it ended in one (`moved`); in order, and of equal days those
    first that did. Returns the share with the ends of its interval: Greenwood's variance on the log-log scale, for the
    normal quantile `z`.
    """
    died = moved & (watched <= at)
    first = np.flatnonzero(np.diff(watched[died], prepend=-1))  # of each day
    events, at_risk = np.diff(first, append=died.sum()), len(watched) - np.flatnonzero(died)[first]
    left = float(np.prod(1 - events / at_risk))
    if not 0 < left < 1:
        whole = max(len(watched), 1)
        low, high = wilson(whole * (1 - left), whole, z)
        return 1 - left, float(low), float(high)
    spread = z * np.sqrt(np.sum(events / (at_risk * (at_risk - events)))) / abs(np.log(left))
    return 1 - left, float(1 - left ** np.exp(-spread)), float(1 - left ** np.exp(spread))


def counted(counts: pd.Series, name: str) -> pd.DataFrame:
    """Turn counts into a table of `name` and `count`, the most frequent first and equals in alphabetical order."""
    frame = counts.rename_axis(name).rename("count").reset_index()
    return frame.sort_values(["count", name], ascending=[False, True], ignore_index=True)


def totals(tables: Tables) -> dict[str, Any]:
    """Count who is moved and who is not.

    The parts of `by_path` sum to `migrated`; a part `unknown` appears only if no log shows how some were moved.
    """
    users = tables.users
    paths = users["path"].fillna(UNKNOWN)[users["migrated_at"].notna()].value_counts()
    in_scope, migrated = len(users), int(paths.sum())
    return {
        "in_scope": in_scope,
        "migrated": migrated,
        "remaining": in_scope - migrated,
        "migrated_share": round(migrated / in_scope, 6) if in_scope else None,
        "by_path": paths.reindex([*PATHS, *paths.index.difference([*PATHS])], fill_value=0).to_dict(),
    }


@once
def curve(tables: Tables) -> pd.DataFrame:
    """Follow the number of migrated users through time, in all and for each path, cumulative.

    A row stands for a second, minute, hour or day in which a user was moved or flagged, from the first flag to `as_of`.
    `in_scope` grows with the waves; a user without a time of flagging counts from the start.
    """
    columns, users = [*PATHS, UNKNOWN, "in_scope"], tables.users
    start, end = users[["flagged_at", "migrated_at"]].min().min(), tables.as_of
    if pd.isna(start) or end is None:
        return pd.DataFrame({"time": pd.to_datetime([], utc=True), "migrated": []} | {path: [] for path in columns})
    grain = next((grain for limit, grain in _GRAINS if end - start <= pd.Timedelta(limit)), "1D")
    # A step is counted at its end, so that no point of the curve shows more than had happened by then.
    at = users["migrated_at"].dropna().dt.ceil(grain).clip(upper=end).rename("time")
    counts = at.groupby([at, users["path"].fillna(UNKNOWN)]).size().unstack(fill_value=0)
    grown = counts.reindex(columns=columns[:-1], fill_value=0).sort_index().cumsum()
    flags = users["flagged_at"].fillna(start).dt.floor(grain).clip(lower=start, upper=end).value_counts()
    whole = grown.reindex(sorted({*grown.index, *flags.index, start, end})).ffill().fillna(0).astype("int64")
    whole.insert(0, "migrated", whole.sum(axis=1))
    whole["in_scope"] = flags.reindex(whole.index, fill_value=0).cumsum()
    return pd.DataFrame(whole.rename_axis("time").rename_axis(None, axis="columns").reset_index())


@once
def broken(tables: Tables) -> np.ndarray:
    """Mark the sign-ins whose call broke: Entra logged an error of the extension."""
    return (tables.sign_ins["callout_error"] > 0).to_numpy(dtype=bool, na_value=False)


@once
def calls(tables: Tables) -> pd.DataFrame:
    """List the passwords that were asked about, without Entra's repeated attempts: a line of the ledger each.

    Columns are `time`, `user_id`, `action`, `cause`, the `row` of the user, -1 for one who is not in scope, and the
    `number` of `Tables.joined`.
    """
    ledger, numbers = tables.ledger, tables.joined[1]
    asked = (ledger["attempt"].fillna(1) <= 1).groupby(numbers).cumsum()
    repeated = pd.DataFrame({"number": numbers, "asked": asked}).duplicated(keep="last") & (numbers >= 0)
    return ledger[["time", "user_id", "action", "cause"]].assign(row=tables.callers, number=numbers)[~repeated]


@once
def trials(tables: Tables) -> np.ndarray:
    """Mark the ledger's lines that no sign-in made: about nobody in scope, without a row in a log that covers them."""
    ledger, log = tables.ledger, tables.extents["sign_ins"]
    if log.since is None or log.until is None or not len(tables.sign_ins):
        return np.zeros(len(ledger), dtype=bool)
    covered, (logged, lines) = ledger["time"].between(log.since, log.until), tables.joined
    marked: np.ndarray = (ledger["user_id"].notna() & covered).to_numpy() & (tables.callers < 0)
    marked[marked] = ~np.isin(lines[marked], logged[logged >= 0])
    return marked


def outcomes(tables: Tables) -> pd.DataFrame:
    """Count what the endpoint answered, once a sign-in: `action` (`refused` without a decision), `count`."""
    return counted(calls(tables)["action"].fillna("refused").value_counts(), "action")


def failures(tables: Tables) -> pd.DataFrame:
    """Count the sign-ins that were refused, were blocked or broke, by cause. A wrong password is none of these.

    A sign-in counts once. Its cause is the endpoint's own word where the endpoint refused or blocked, else the error
    that Entra logged. Calls without a correlation id belong to no sign-in: they count only if there is no sign-in log.
    Nor do trials of the endpoint count.
    """
    answered = calls(tables)
    own = answered[(answered["action"].isna() | (answered["action"] == BLOCK)) & ~trials(tables)[answered.index]]
    if len(tables.sign_ins):
        own = own[own["number"] >= 0]
    errors = tables.sign_ins["callout_error"][broken(tables)]
    codes = errors[~np.isin(tables.joined[0][broken(tables)], own["number"])].value_counts()
    codes.index = pd.Index([callout_cause(int(code)) for code in codes.index], dtype="str")
    counts = pd.concat([own["cause"].fillna("no cause given").value_counts(), codes])
    frame = counted(counts.groupby(level=0).sum(), "cause")
    return frame.assign(meaning=frame["cause"].map(meaning), fix=frame["cause"].map(fix))


@once
def latency(tables: Tables) -> dict[str, Any]:
    """Measure how many milliseconds the calls of the ledger took; `over_limit` took longer than Entra waits."""
    took = tables.ledger["duration_ms"].dropna()
    points = {f"p{each}": round(float(took.quantile(each / 100)), 3) if len(took) else None for each in (50, 95, 99)}
    return {**points, "calls": len(took), "over_limit": int((took > TIMEOUT_MS).sum())}


def durations(tables: Tables) -> pd.DataFrame:
    """Count the calls of the ledger by how long they took: `step`, `up_to_ms` (infinite for the last), `count`."""
    words = [*(f"≤ {end:,} ms" for end in _STEPS), f"> {TIMEOUT_MS:,} ms"]
    counts = np.bincount(np.searchsorted(_STEPS, tables.ledger["duration_ms"].dropna()), minlength=len(words))
    return pd.DataFrame({"step": words, "up_to_ms": [*_STEPS, float("inf")], "count": counts})


def retries(tables: Tables) -> dict[str, Any]:
    """Count the sign-ins that ran a callout and those for which Entra called again; from the ledger if no log does."""
    if tables.asked.any():
        whole, again = int(tables.asked.sum()), int((tables.sign_ins["attempts"][tables.asked] > 1).sum())
    else:
        again = int((tables.ledger["attempt"] > 1).sum())
        whole = int(tables.ledger["action"].notna().sum()) - again
    return {"calls": whole, "retried": again, "share": round(again / whole, 6) if whole > 0 else None}


@once
def busy_seconds(tables: Tables) -> pd.DataFrame:
    """Find the seconds in which the tenant's callouts came near their limit.

    Every attempt counts, for it is calls that are limited. They are counted in the ledger, by their arrival; where
    there is none, in the sign-in log, by the second in which the sign-in began. The busiest come first.
    """
    asked = tables.ledger[["time"]].assign(attempts=1)
    if asked.empty:
        asked = tables.sign_ins.loc[tables.asked, ["time", "attempts"]].fillna({"attempts": 1})
    seconds, number = np.unique(micros(asked["time"]) // 1_000_000, return_inverse=True)
    counts, starts = np.bincount(number, asked["attempts"]).astype("int64"), pd.to_datetime(seconds, unit="s", utc=True)
    busy = pd.DataFrame({"time": starts, "calls": counts, "over": counts > CALLS_PER_SECOND})[counts >= _NEAR]
    return busy.sort_values(["calls", "time"], ascending=[False, True], ignore_index=True)


def last_sign_in(tables: Tables, some: np.ndarray | slice) -> np.ndarray:
    """Find each user's last one of some sign-ins, as `micros` gives times."""
    last = np.full(len(tables.users) + 1, NEVER)  # with a place for those who are not in scope
    # In the order of time: of several the last one stays.
    last[tables.people[some]] = micros(tables.sign_ins["time"])[some]
    return last[:-1]


@once
def _ahead(tables: Tables) -> np.ndarray:
    """Return the microseconds from each sign-in to its call, where both logs have it."""
    number = tables.joined[0]
    both = tables.asked & (number >= 0)
    began = pd.DataFrame({"number": number[both], "began": micros(tables.sign_ins["time"])[both]})
    called = calls(tables)[["number", "time"]].drop_duplicates("number")
    pairs = called.merge(began.drop_duplicates("number"), on="number")
    return np.asarray(micros(pairs["time"]) - pairs["began"])


def _clocks(ahead: np.ndarray) -> tuple[int, int]:
    """Return how far a clock is ahead in the median, and how many differ by more than a minute; 0 of too few."""
    if len(ahead) < _PAIRS:
        return 0, 0
    median = int(np.median(ahead))
    return median, int((np.abs(ahead - median) > _MINUTE_US).sum())


@once
def skew(tables: Tables) -> pd.Timedelta:
    """Measure how far the endpoint's clock is ahead of Entra's: the median of the sign-ins that both logs have.

    It is zero when it is within a minute, or when fewer than five sign-ins are in both.
    """
    median, _ = _clocks(_ahead(tables))
    return pd.Timedelta(median if abs(median) > _MINUTE_US else 0, unit="us")


def _zone_minutes(tables: Tables) -> int:
    """Measure by how many minutes, ten at least, the users' times differ from the log's, for most moved by a call."""
    last = last_sign_in(tables, tables.succeeded & tables.asked & ~broken(tables))
    moved = tables.users["migrated_at"].notna().to_numpy() & (last != NEVER)
    median, others = _clocks(micros(tables.users["migrated_at"])[moved] - last[moved])
    # Days without a time of day differ each otherwise.
    return round(abs(median) / _MINUTE_US) if abs(median) > 10 * _MINUTE_US and 2 * others < moved.sum() else 0


@once
def quality(tables: Tables) -> pd.DataFrame:
    """List what does not fit in the tables, and what the collector noticed: `finding`, `rows`, `cause`, `remedy`."""
    users, tried, (logged, lines) = tables.users, trials(tables), tables.joined
    called, answered = lines[~tried & (lines >= 0)], logged[tables.asked & ~broken(tables)]
    moved, missing, ahead = users["migrated_at"].notna(), missing_days(tables), skew(tables).total_seconds()
    both, (_, others) = bool(len(tables.sign_ins) and len(tables.ledger)), _clocks(_ahead(tables))
    rows = {
        "moved_before_flag": (users["migrated_at"] < users["flagged_at"]).sum(),
        "unknown_path": (moved & users["path"].isna()).sum(),
        "in_the_future": 0 if tables.as_of is None else (users["migrated_at"] > tables.as_of).sum(),
        "strange_ids": strange_rows(tables),
        "out_of_scope": (tables.asked & (tables.people < 0)).sum(),
        "trials": tried.sum(),
        "unmatched_calls": both and (~np.isin(called, logged)).sum(),
        "unmatched_callouts": both and (~np.isin(answered, called)).sum(),
        "missing_days": len(missing),
        "skew": round(abs(ahead)),
        "other_clocks": others * (others >= _PAIRS),
        "zone": _zone_minutes(tables),
    }
    details = {"missing_days": ", ".join(missing[:_NAMED]), "skew": "ahead" if ahead > 0 else "behind"}
    found = [*(remark(name, int(count), details.get(name, "")) for name, count in rows.items()), *tables.remarks]
    return pd.DataFrame([each for each in found if each.rows], columns=["finding", "rows", "cause", "remedy"])


def strange_rows(tables: Tables) -> int:
    """Count the rows with an id in the logs, if not one of them is about a user; fewer than twenty may be chance."""
    named = int(tables.sign_ins["user_id"].notna().sum() + tables.ledger["user_id"].notna().sum())
    known = (tables.people >= 0).any() or (tables.callers >= 0).any()
    return named if named >= _MANY and len(tables.users) and not known else 0


def runs(marked: np.ndarray, least: int) -> list[tuple[int, int]]:
    """Find the runs of marked rows that are long enough: the first and the last row of each."""
    edges = np.flatnonzero(np.diff(marked.astype("int8"), prepend=0, append=0)).reshape(-1, 2).tolist()
    return [(begin, end - 1) for begin, end in edges if end - begin >= least]


@once
def missing_days(tables: Tables) -> list[str]:
    """Name the days (UTC) inside the sign-in log that have no row, where the same days of the weeks around have many.

    Days that are quiet every week are not missing, nor is one day of a quiet log.
    """
    if not len(tables.sign_ins):
        return []
    time = tables.sign_ins["time"]
    first = time.iloc[0].floor("D")
    counts, missing = np.diff(time.searchsorted(pd.date_range(first, time.iloc[-1] + pd.Timedelta(days=1)))), []
    for begin, end in runs(counts == 0, 1):
        around = np.r_[max(begin - _AROUND, 0) : begin, end + 1 : min(end + 1 + _AROUND, len(counts))]
        usual = 0.0
        for each in range(begin, end + 1):
            alike = around[(around - each) % 7 == 0]
            if len(alike) or (first.day_of_week + each) % 7 not in _OFF:
                # The median, which no attack moves.
                usual += float(np.quantile(counts[alike if len(alike) else around], 0.5, method="lower"))
        missing += [*range(begin, end + 1)] * (usual >= _USUAL)
    return [f"{first + pd.Timedelta(days=each):%Y-%m-%d}" for each in missing]


def covered(tables: Tables, since: pd.Series) -> np.ndarray:
    """Mark the users about whom the sign-in log's silence since a moment says something.

    It has to reach from there to `as_of`, and the day of that moment must not be missing.
    """
    if tables.watched_since is None:
        return np.zeros(len(since), dtype=bool)
    # Where no table says when a flag was set, all of the log counts.
    since = since.fillna(tables.as_of if tables.began is None else tables.began)
    missing = since.dt.floor("D").isin(pd.to_datetime(_holes(tables), utc=True))
    return np.asarray((since >= tables.watched_since) & ~missing, dtype=bool)


@once
def coverage(tables: Tables) -> pd.DataFrame:
    """List the three tables: `table`, `rows`, `since`, `until`, and in `unknown` what cannot be said because of it.

    `files` says what each was read from, and what these files were taken for.

    `complete` is whether the table reaches from the first flag to `as_of`, without a missing day and uncut. The
    ledger only has to reach as far as the sign-in log shows calls, where that is known.
    """
    rows = [("users", len(tables.users), tables.began, tables.users["migrated_at"].max(), "")]
    rows += [(kind, *tables.extents[kind][:3], _unknown(tables, kind)) for kind in ("sign_ins", "ledger")]
    frame = pd.DataFrame(rows, columns=["table", "rows", "since", "until", "unknown"])
    frame.insert(4, "complete", frame["unknown"] == "")
    frame["files"] = [_files(tables, kind) for kind in frame["table"]]
    return frame.assign(since=times(frame["since"]), until=times(frame["until"]))


def _files(tables: Tables, kind: str) -> str:
    """Name the files of a table, by what they were taken for."""
    made_of = {kind} if kind != "users" or any("users" in each.gives for each in tables.sources) else _USERS
    read, words = [each for each in tables.sources if made_of & {*each.gives}], []
    for name in dict.fromkeys(each.taken_for for each in read):
        named = [each.file for each in read if each.taken_for == name]
        more = f" and {len(named) - _FILES:,} more" * (len(named) > _FILES)
        words.append(f"{', '.join(named[:_FILES])}{more} ({name})")
    return "; ".join(words)


def _holes(tables: Tables) -> list[str]:
    return sorted({*missing_days(tables), *tables.extents["sign_ins"].missing})


def _unknown(tables: Tables, kind: str) -> str:
    """Say what is not known because a log does not reach from the first flag to the report's last moment."""
    first, last, actions, missing = tables.began, tables.as_of, pd.Series(), _holes(tables)
    if kind == "ledger":
        actions, missing = tables.ledger["action"].dropna(), []
        if not tables.blind:
            # The sign-in log shows from when to when there are calls to expect.
            called = tables.sign_ins.loc[tables.asked, "time"]
            first, last = (called.iloc[0], called.iloc[-1]) if len(called) else (None, None)
    bare, unread = len(actions) > 0 and (actions == ANSWERED).all(), tables.unread.get(kind)
    given = {"first": first, "last": last, "quiet": QUIET, "bare": bare, "unread": unread, "missing": missing}
    return say("gaps", kind=kind, log=tables.extents[kind], **given)


def legacy_data(tables: Tables) -> pd.DataFrame:
    """List what the endpoint found wrong in the legacy store, and whose accounts no call can move.

    A user counts once for each finding. `share` is of the users who were asked about: others have not been checked.
    """
    asked = calls(tables)
    asked = asked[asked["action"].notna()]
    whole, people = asked["user_id"].nunique(), asked.groupby("cause")["user_id"].nunique()
    rows = [(meaning(name), int(people.get(name, 0)), whole, fix(name)) for name in _STORE]
    if "identity" in tables.users:
        federated = tables.users["identity"].astype("str").str.lower().isin(("federated", "social"))
        count = int((federated & tables.users["migrated_at"].isna()).sum())
        words = "the user signs in with another identity provider: there is no password here, and no call is ever made"
        rows.append((words, count, len(federated), "Take these users out of scope: clear their flag."))
    frame = pd.DataFrame(rows, columns=["finding", "users", "share", "remedy"]).query("users > 0")
    frame["share"] = frame["users"] / frame["share"]
    return frame.sort_values(["users", "finding"], ascending=[False, True], ignore_index=True)

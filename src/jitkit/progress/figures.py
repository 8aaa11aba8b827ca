"""Figures of a migration, as pure functions of its tables: counts, times, and what does not fit in the data."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from statistics import NormalDist
from typing import Any, Final

import numpy as np
import pandas as pd

from jitkit.errors import BadTable
from jitkit.explanations import callout_cause, fix, meaning
from jitkit.progress.log_analytics import ANSWERED
from jitkit.progress.tables import (
    LOGS,
    NEVER,
    PATHS,
    QUIET,
    TEXTS,
    Remark,
    Tables,
    in_utc,
    micros,
    once,
    plain_text,
    remark,
    times,
)
from jitkit.protocol import BLOCK, CALLS_PER_SECOND, TIMEOUT_MS

UNKNOWN: Final = "unknown"
"""The path of users who are moved and no log shows how."""

_YEAR_FIRST: Final = re.compile(r"\d{4}")
_WAVE: Final = 0.05  # of the users: a day on which at least so many were flagged is a wave
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


def day(time: Any) -> str:
    """Write a day: `22 Nov 2026`."""
    return f"{time.day} {time:%b %Y}"


def moment(time: Any) -> str:
    """Write a moment: `22 Nov 2026 16:20 UTC`; None is `no time`."""
    return "no time" if time is None else f"{day(time)} {time:%H:%M} UTC"


def iso(time: Any) -> str | None:
    """Write a moment for programs, in ISO 8601; None for a missing one."""
    return None if pd.isna(time) else str(time.isoformat().replace("+00:00", "Z"))


def days(count: int) -> str:
    """Write a number of days: `1 day`, `12 days`."""
    return "1 day" if count == 1 else f"{count:,} days"


def span(length: Any) -> str:
    """Write a length of time in its largest fitting unit: `40 minutes`, `9 hours`, `3 days`."""
    minutes = length / pd.Timedelta(minutes=1)
    if minutes < 90:
        return "1 minute" if round(minutes) == 1 else f"{minutes:.0f} minutes"
    return f"{minutes / 60:.0f} hours" if minutes < 72 * 60 else days(round(minutes / 60 / 24))


def time_of(given: Any, name: str) -> pd.Timestamp:
    """Read a time that was typed, UTC if it names no zone; raises BadTable, which calls it by `name`.

    A time that begins with its year is read so. Any other has to mean the same whether day or month comes first.
    """
    text = str(given).strip()
    try:
        with warnings.catch_warnings(action="ignore"):  # about the order of day and month, which is looked at here
            found = [pd.Timestamp(text), pd.to_datetime(text, dayfirst=not _YEAR_FIRST.match(text))]
    except ValueError:
        found = []
    if not found or pd.isna(found[0]):
        raise BadTable(f"{name} {text} is no time.", next_step="Write it as 2026-09-29 or 2026-09-29T08:00Z.")
    if found[0].date() != found[1].date():
        raise BadTable(
            f"{name} {text} may be {day(found[0])} or {day(found[1])}.",
            next_step=f"Write the year first: {found[0]:%Y-%m-%d} or {found[1]:%Y-%m-%d}.",
        )
    return in_utc(found[0])


def share_of(given: float | str) -> float:
    """Read a share that was typed: 0.95, 95, `95 %` or 0,95; raises BadTable if it is none."""
    text = str(given).strip()
    try:
        number = float(text.removesuffix("%").replace(",", "."))
    except ValueError:
        number = -1.0
    share = number / 100 if text.endswith("%") or number > 1 else number
    if not 0 < share <= 1:
        happened = f"A target of {plain_text(text[:20])} makes no sense."
        raise BadTable(happened, next_step="Give a share such as 0.95 or 95 %.")
    return share


def quantile(comparisons: int = 1) -> float:
    """Return the normal quantile of a two-sided 95 % interval, wide enough for several at once (Bonferroni)."""
    return NormalDist().inv_cdf(1 - (1 - 0.95) / 2 / comparisons)


def wilson(hits: np.ndarray, whole: np.ndarray, z: float) -> tuple[np.ndarray, np.ndarray]:
    """Bound shares after Wilson (1927): never below 0 or above 1, and usable for few users."""
    share = hits / whole
    middle = (share + z**2 / (2 * whole)) / (1 + z**2 / whole)
    half = z / (1 + z**2 / whole) * np.sqrt(share * (1 - share) / whole + z**2 / (4 * whole**2))
    return np.clip(middle - half, 0, 1), np.clip(middle + half, 0, 1)


def kaplan_meier(watched: np.ndarray, moved: np.ndarray, at: float, z: float) -> tuple[float, float, float]:
    """Estimate the share that has moved `at` so many days after the start, when some were watched for less time.

    `watched` are each user's days up to the migration, if it ended in one (`moved`). Returns the share with the ends of
    its interval: Greenwood's variance on the log-log scale, for the normal quantile `z`.
    """
    order = np.argsort(watched, kind="stable")
    watched, moved = watched[order], moved[order]
    times, starts = np.unique(watched, return_index=True)
    events = np.add.reduceat(moved.astype("int64"), starts) if len(starts) else np.zeros(0, dtype="int64")
    seen = (times <= at) & (events > 0)
    risk, died = (len(watched) - starts)[seen], events[seen]
    left = float(np.prod(1 - died / risk))
    if not len(died) or left <= 0:
        whole = np.array([max(len(watched), 1)])
        low, high = wilson(whole * len(died[:1]), whole, z)
        return float(len(died) > 0), float(low[0]), float(high[0])
    spread = z * np.sqrt(np.sum(died / (risk * (risk - died)))) / abs(np.log(left))
    low, high = 1 - left ** np.exp(-spread), 1 - left ** np.exp(spread)
    return 1 - left, float(min(low, high)), float(max(low, high))


def counted(counts: pd.Series, name: str) -> pd.DataFrame:
    """Turn counts into a table of `name` and `count`, the most frequent first and equals in alphabetical order."""
    frame = counts.rename_axis(name).rename("count").reset_index()
    return frame.sort_values(["count", name], ascending=[False, True], kind="stable").reset_index(drop=True)


def totals(tables: Tables) -> dict[str, Any]:
    """Count who is moved and who is not.

    The parts of `by_path` sum to `migrated`; a part `unknown` appears only if no log shows how some were moved.
    """
    users = tables.users
    moved = users["migrated_at"].notna()
    in_scope, migrated = len(users), int(moved.sum())
    how = users.loc[moved, "path"].fillna(UNKNOWN).value_counts()
    return {
        "in_scope": in_scope,
        "migrated": migrated,
        "remaining": in_scope - migrated,
        "migrated_share": round(migrated / in_scope, 6) if in_scope else None,
        "by_path": {path: int(how.get(path, 0)) for path in (*PATHS, UNKNOWN) if path != UNKNOWN or UNKNOWN in how},
    }


def curve(tables: Tables) -> pd.DataFrame:
    """Follow the number of migrated users through time, in all and for each path, cumulative.

    A row stands for a second, minute, hour or day in which a user was moved or flagged, from the first flag to `as_of`.
    `in_scope` grows with the waves; a user without a time of flagging counts from the start.
    """
    columns = [*PATHS, UNKNOWN, "in_scope"]
    users = tables.users
    moved = users[users["migrated_at"].notna()]
    starts = [column.min() for column in (users["flagged_at"], users["migrated_at"]) if column.notna().any()]
    if not starts or tables.as_of is None:
        return pd.DataFrame({"time": pd.to_datetime([], utc=True), "migrated": []} | {path: [] for path in columns})
    start, end = min(starts), tables.as_of
    grain = next((grain for limit, grain in _GRAINS if end - start <= pd.Timedelta(limit)), "1D")
    # A step is counted at its end, so that no point of the curve shows more than had happened by then.
    at = moved["migrated_at"].dt.ceil(grain).clip(upper=end).rename("time")
    counts = at.groupby([at, moved["path"].fillna(UNKNOWN)]).size().unstack(fill_value=0)
    grown = counts.reindex(columns=columns[:-1], fill_value=0).sort_index().cumsum()
    flags = users["flagged_at"].fillna(start).dt.floor(grain).clip(lower=start, upper=end).value_counts()
    whole = grown.reindex(sorted({*grown.index, *flags.index, start, end})).ffill().fillna(0).astype("int64")
    whole.insert(0, "migrated", whole.sum(axis=1))
    whole["in_scope"] = flags.reindex(whole.index, fill_value=0).cumsum()
    result: pd.DataFrame = whole.rename_axis("time").rename_axis(None, axis="columns").reset_index()
    return result


def waves(tables: Tables) -> pd.Series:
    """Count the users flagged on each day (UTC) on which at least a twentieth of all were."""
    flagged = tables.users["flagged_at"].dropna().dt.floor("D").value_counts().sort_index()
    found: pd.Series = flagged[flagged >= _WAVE * len(tables.users)]
    return found


@once
def calls(tables: Tables) -> pd.DataFrame:
    """Return one row of the ledger for each password that was asked about, without Entra's repeated attempts.

    Its further columns are the `row` of the user, -1 for one who is not in scope, and the `number` of `Tables.joined`.
    """
    ledger, (_, codes) = tables.ledger, tables.joined
    fresh = (ledger["attempt"].fillna(1) <= 1).astype("int64")
    repeated = pd.DataFrame({"id": codes, "asked": fresh.groupby(codes).cumsum()}).duplicated(keep="last")
    return ledger.assign(row=tables.callers, number=codes)[~(repeated & (codes >= 0))]


@once
def trials(tables: Tables) -> np.ndarray:
    """Mark the ledger's lines that no sign-in made: about nobody in scope, without a row in a log that covers them."""
    ledger, log = tables.ledger, tables.extents["sign_ins"]
    if log.since is None or log.until is None or not len(tables.sign_ins):
        return np.zeros(len(ledger), dtype=bool)
    covered = ledger["time"].between(log.since, log.until).to_numpy()
    marked: np.ndarray = ledger["user_id"].notna().to_numpy() & (tables.callers < 0) & covered
    if marked.any():
        logged, lines = tables.joined
        marked &= ~np.isin(lines, logged[logged >= 0])
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
    answered = answered[~trials(tables)[tables.ledger.index.get_indexer(answered.index)]]
    own = answered[answered["action"].isna() | (answered["action"] == BLOCK)]
    if len(tables.sign_ins):
        own = own[own["correlation_id"].notna()]
    broken = (tables.sign_ins["callout_error"] > 0).to_numpy(dtype=bool, na_value=False)
    broken[broken] = ~np.isin(tables.joined[0][broken], own["number"])
    codes = tables.sign_ins.loc[broken, "callout_error"].value_counts()
    codes.index = pd.Index([callout_cause(int(code)) for code in codes.index], dtype="str")
    counts = pd.concat([own["cause"].fillna("no cause given").value_counts(), codes])
    frame = counted(counts.groupby(level=0).sum(), "cause")
    return frame.assign(meaning=frame["cause"].map(meaning), fix=frame["cause"].map(fix))


def latency(tables: Tables) -> dict[str, Any]:
    """Measure how many milliseconds the calls of the ledger took; `over_limit` took longer than Entra waits."""
    took = tables.ledger["duration_ms"].dropna()
    points = {f"p{each}": round(float(took.quantile(each / 100)), 3) if len(took) else None for each in (50, 95, 99)}
    return {**points, "calls": len(took), "over_limit": int((took > TIMEOUT_MS).sum())}


def durations(tables: Tables) -> pd.DataFrame:
    """Count the calls of the ledger by how long they took: `step`, `up_to_ms` (infinite for the last), `count`."""
    ends = [*_STEPS, float("inf")]
    words = [f"≤ {end:,} ms" for end in _STEPS] + [f"> {TIMEOUT_MS:,} ms"]
    steps = pd.cut(tables.ledger["duration_ms"].dropna(), [-float("inf"), *ends], labels=words)
    counts = steps.value_counts().reindex(words, fill_value=0)
    return pd.DataFrame({"step": words, "up_to_ms": ends, "count": counts.to_numpy(dtype="int64")})


def retries(tables: Tables) -> dict[str, Any]:
    """Count the sign-ins that ran a callout and those for which Entra called again; from the ledger if no log does."""
    if tables.asked.any():
        whole, again = int(tables.asked.sum()), int((tables.sign_ins.loc[tables.asked, "attempts"] > 1).sum())
    else:
        again = int((tables.ledger["attempt"] > 1).sum())
        whole = int(tables.ledger["action"].notna().sum()) - again
    return {"calls": whole, "retried": again, "share": round(again / whole, 6) if whole > 0 else None}


def busy_seconds(tables: Tables) -> pd.DataFrame:
    """Find the seconds in which the tenant's callouts came near their limit.

    Every attempt counts, for it is calls that are limited. They are counted in the ledger, by their arrival; where
    there is none, in the sign-in log, by the second in which the sign-in began. The busiest come first.
    """
    asked = tables.ledger.assign(attempts=1) if len(tables.ledger) else tables.sign_ins[tables.asked]
    seconds, starts = np.unique(micros(asked["time"]) // 1_000_000, return_index=True)
    counts = np.add.reduceat(asked["attempts"].fillna(1).to_numpy(dtype="int64"), starts) if len(starts) else starts
    busy = counts >= _NEAR
    time = pd.to_datetime(seconds[busy], unit="s", utc=True)
    frame = pd.DataFrame({"time": time, "calls": counts[busy], "over": counts[busy] > CALLS_PER_SECOND})
    return frame.sort_values(["calls", "time"], ascending=[False, True], ignore_index=True)


def last_success(tables: Tables, *, called: bool = False) -> np.ndarray:
    """Find each user's last sign-in (`micros`) that succeeded, of all or of those that `called` the endpoint."""
    good = tables.succeeded & (tables.people >= 0)
    if called:
        good &= tables.sign_ins["callout_error"].eq(0).to_numpy(dtype=bool, na_value=False)
    last = np.full(len(tables.users), NEVER)
    # In the order of time: of several the last one stays.
    last[tables.people[good]] = micros(tables.sign_ins["time"])[good]
    return last


@once
def _ahead(tables: Tables) -> np.ndarray:
    """Return the microseconds from each sign-in to its call, where both logs have it."""
    called = calls(tables)[["number", "time"]].query("number >= 0").drop_duplicates("number")
    both = tables.asked & (tables.joined[0] >= 0)
    number, began = tables.joined[0][both], micros(tables.sign_ins["time"])[both]
    first = np.full(len(tables.ledger), NEVER)
    first[number[::-1]] = began[::-1]  # in the reverse order of time: of several the first one stays
    since = first[called["number"]]
    ahead: np.ndarray = (micros(called["time"]) - since)[since != NEVER]
    return ahead


@once
def skew(tables: Tables) -> pd.Timedelta:
    """Measure how far the endpoint's clock is ahead of Entra's: the median of the sign-ins that both logs have.

    It is zero when it is within a minute, or when fewer than five sign-ins are in both.
    """
    median = int(np.median(_ahead(tables))) if len(_ahead(tables)) >= _PAIRS else 0
    return pd.Timedelta(median if abs(median) > _MINUTE_US else 0, unit="us")


def _other_clocks(tables: Tables) -> int:
    """Count the calls whose clock differs from that of most others by more than a minute."""
    ahead = _ahead(tables)
    off = int((np.abs(ahead - np.median(ahead)) > _MINUTE_US).sum()) if len(ahead) else 0
    return off if off >= _PAIRS else 0


def _zone_minutes(tables: Tables) -> int:
    """Measure by how many minutes the users' times differ from the sign-in log's, for users moved by a call.

    Zero when it is within ten minutes, when fewer than five users were moved so, or when half of them or more differ
    otherwise, as days without a time of day do.
    """
    last = last_success(tables, called=True)
    moved = tables.users["migrated_at"].notna().to_numpy() & (last != NEVER)
    ahead = micros(tables.users["migrated_at"])[moved] - last[moved]
    if len(ahead) < _PAIRS:
        return 0
    median = np.median(ahead)
    alike = (np.abs(ahead - median) <= _MINUTE_US).mean()
    return round(abs(median) / _MINUTE_US) if abs(median) > 10 * _MINUTE_US and alike > 0.5 else 0


@once
def quality(tables: Tables) -> pd.DataFrame:
    """List what does not fit in the tables, and what the collector noticed: `finding`, `rows`, `cause`, `remedy`."""
    users, asked, tried = tables.users, tables.sign_ins[tables.asked], trials(tables)
    logged, lines = tables.joined
    called = lines[~tried & (lines >= 0)]
    answered = logged[tables.asked][(asked["callout_error"] == 0).to_numpy(dtype=bool)]
    moved, missing, ahead = users["migrated_at"].notna(), missing_days(tables), skew(tables).total_seconds()
    later = users["migrated_at"] > tables.as_of if tables.as_of is not None else moved
    both = len(tables.sign_ins) and len(tables.ledger)
    found = [
        remark("moved_before_flag", int((users["migrated_at"] < users["flagged_at"]).sum())),
        remark("unknown_path", int((moved & users["path"].isna()).sum())),
        remark("in_the_future", int(later.sum())),
        remark("strange_ids", strange_rows(tables)),
        remark("out_of_scope", int((tables.asked & (tables.people < 0)).sum())),
        remark("trials", int(tried.sum())),
        remark("unmatched_calls", int((~np.isin(called, logged)).sum()) if both else 0),
        remark("unmatched_callouts", int((~np.isin(answered, called)).sum()) if both else 0),
        remark("missing_days", len(missing), ", ".join(missing[:7])),
        remark("skew", round(abs(ahead)), "ahead" if ahead > 0 else "behind"),
        remark("other_clocks", _other_clocks(tables)),
        remark("zone", _zone_minutes(tables)),
        *tables.remarks,
    ]
    return pd.DataFrame([each for each in found if each.rows], columns=[*Remark._fields])


def strange_rows(tables: Tables) -> int:
    """Count the rows with an id in the logs, if not one of them is about a user; fewer than twenty may be chance."""
    named = int(tables.sign_ins["user_id"].notna().sum() + tables.ledger["user_id"].notna().sum())
    known = (tables.people >= 0).any() or (tables.callers >= 0).any()
    return named if named >= _MANY and len(tables.users) and not known else 0


@once
def missing_days(tables: Tables) -> list[str]:
    """Name the days (UTC) inside the sign-in log that have no row, where the same days of the weeks around have many.

    Days that are quiet every week are not missing, nor is one day of a quiet log.
    """
    if not len(tables.sign_ins):
        return []
    numbers = micros(tables.sign_ins["time"]) // 86_400_000_000
    counts = np.bincount(numbers - numbers[0])
    empty = np.flatnonzero(counts == 0)
    runs = np.split(empty, np.flatnonzero(np.diff(empty) > 1) + 1)
    first = tables.sign_ins["time"].iloc[0].floor("D")
    missing = [each for run in runs if _usual(counts, run, first.day_of_week) >= _USUAL for each in run]
    return [f"{first + pd.Timedelta(days=int(each)):%Y-%m-%d}" for each in missing]


def _usual(counts: np.ndarray, run: np.ndarray, first: int) -> float:
    """Sum up how many rows the same days of the weeks around a run of days have: the median, which no attack moves."""
    if not len(run):
        return 0.0
    around = np.arange(max(run[0] - _AROUND, 0), min(run[-1] + _AROUND + 1, len(counts)))
    around = around[(around < run[0]) | (around > run[-1])]
    usual = 0.0
    for each in run:
        alike = around[(around - each) % 7 == 0]
        if not len(alike):
            if (first + each) % 7 in _OFF:
                continue
            alike = around
        usual += float(np.quantile(counts[alike], 0.5, method="lower"))
    return usual


def covered(tables: Tables, since: pd.Series) -> np.ndarray:
    """Mark the users about whom the sign-in log's silence since a moment says something.

    It has to reach from there to `as_of`, and the day of that moment must not be missing.
    """
    if tables.watched_since is None:
        return np.zeros(len(since), dtype=bool)
    # Where no table says when a flag was set, all of the log counts.
    since = since.fillna(tables.as_of if tables.began is None else tables.began)
    missing = since.dt.strftime("%Y-%m-%d").isin(_holes(tables))
    result: np.ndarray = ((since >= tables.watched_since) & ~missing).to_numpy(dtype=bool)
    return result


@once
def coverage(tables: Tables) -> pd.DataFrame:
    """List the three tables: `table`, `rows`, `since`, `until`, and in `unknown` what cannot be said because of it.

    `files` says what each was read from, and what these files were taken for.

    `complete` is whether the table reaches from the first flag to `as_of`, without a missing day and uncut. The
    ledger only has to reach as far as the sign-in log shows calls, where that is known.
    """
    users, missing = tables.users, _holes(tables)
    moves = users["migrated_at"].max() if len(users) else pd.NaT
    rows = [("users", len(users), tables.began, moves, True, "")]
    for kind in LOGS:
        log, gaps = tables.extents[kind], missing if kind == "sign_ins" else []
        words = [tables.unread[kind]] if kind in tables.unread else [*_gaps(tables, kind)]
        if gaps:
            more = " and more" if len(gaps) > _NAMED else ""
            words.append(TEXTS["coverage"]["days"].format(days(len(gaps)), ", ".join(gaps[:_NAMED]) + more))
        rows.append((kind, log.rows, log.since, log.until, not words, " ".join(words)))
    frame = pd.DataFrame(rows, columns=["table", "rows", "since", "until", "complete", "unknown"])
    frame["files"] = [_files(tables, kind) for kind in frame["table"]]
    return frame.assign(since=times(frame["since"]), until=times(frame["until"]))


def _files(tables: Tables, kind: str) -> str:
    """Name the files of a table, by what they were taken for."""
    made_of = {kind} if kind != "users" or any("users" in each.gives for each in tables.sources) else _USERS
    used = [each for each in tables.sources if made_of & {*each.gives}]
    words = []
    for name in dict.fromkeys(each.taken_for for each in used):
        files = [each.file for each in used if each.taken_for == name]
        more = f" and {len(files) - _FILES:,} more" * (len(files) > _FILES)
        words.append(f"{', '.join(files[:_FILES])}{more} ({name})")
    return "; ".join(words)


def _holes(tables: Tables) -> list[str]:
    return sorted({*missing_days(tables), *tables.extents["sign_ins"].missing})


def _gaps(tables: Tables, kind: str) -> Iterator[str]:
    """Say where a log does not reach from the first flag to the report's last moment."""
    log, words = tables.extents[kind], TEXTS["coverage"]
    name, unknown = words["names"][kind], words["unknown"][kind]
    first, last = tables.began, tables.as_of
    if kind == "ledger" and not tables.blind:
        # The sign-in log shows from when to when there are calls to expect.
        called = tables.sign_ins.loc[tables.asked, "time"]
        first, last = (called.iloc[0], called.iloc[-1]) if len(called) else (None, None)
    actions = tables.ledger["action"].dropna()
    if kind == "ledger" and len(actions) and (actions == ANSWERED).all():
        yield words["bare"].format(name)
    if log.flaw == "cut":
        yield words["cut"].format(name, log.rows, unknown)
    if log.since is None or log.until is None:
        if kind == "sign_ins" or last is not None:
            yield words[log.flaw].format(name, unknown)
        return
    if first is not None and log.since > first + QUIET:
        yield words["begins"].format(name, day(log.since), span(log.since - first), unknown)
    if last is not None and log.until < last - QUIET:
        yield words["ends"].format(name, day(log.until), span(last - log.until), unknown)


def legacy_data(tables: Tables) -> pd.DataFrame:
    """List what the endpoint found wrong in the legacy store, and whose accounts no call can move.

    A user counts once for each finding. `share` is of the users who were asked about: others have not been checked.
    """
    asked = calls(tables)
    asked = asked[asked["action"].notna()]
    whole, people = asked["user_id"].nunique(), asked.groupby("cause")["user_id"].nunique()
    found = {name: int(people.get(name, 0)) for name in _STORE}
    rows = [(meaning(name), count, count / max(whole, 1), fix(name)) for name, count in found.items()]
    if "identity" in tables.users:
        federated = tables.users["identity"].astype("str").str.lower().isin(("federated", "social"))
        count = int((federated & tables.users["migrated_at"].isna()).sum())
        words = "the user signs in with another identity provider: there is no password here, and no call is ever made"
        rows.append((words, count, count / max(len(federated), 1), "Take these users out of scope: clear their flag."))
    frame = pd.DataFrame(rows, columns=["finding", "users", "share", "remedy"])
    frame = frame[frame["users"] > 0]
    return frame.sort_values(["users", "finding"], ascending=[False, True], ignore_index=True)

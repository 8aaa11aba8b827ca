"""What stands out in a migration, in sentences made from its numbers: outages, odd days, lagging groups, attacks.

Each finding has a threshold that chance does not pass on calm days; the thresholds stand next to their finding.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd

from jitkit.progress import figures, silence, states
from jitkit.progress.cohorts import COLUMN, campaigns, cohorts, dimensions, groups_of
from jitkit.progress.hazard import fit_hazard
from jitkit.progress.outages import OUTAGE, health, interruptions
from jitkit.progress.silence import days_since, spells, times_of
from jitkit.progress.states import REASONS, UNSEEN, explain, reasons
from jitkit.progress.tables import COLUMNS, DAY, TEXTS, Tables, micros, moments, once, records
from jitkit.progress.wording import day, say
from jitkit.protocol import RETRY, TIMEOUT_MS

_WEEK: Final = 7.0  # days, before which it is not known what is usual
_STALL_DAYS: Final = 3  # days in a row: one slow day is chance, or a holiday
_RUSH_DAYS: Final = 2
_STALL: Final = 0.5  # … on which at most this share of the usual number moved
_AFTER_MAIL: Final = pd.Timedelta(days=2)  # a rush that begins so soon after a campaign is the campaign's
_LAG: Final = 0.8  # a cohort is named when it reached at most this share of what the others did
_NOBODY: Final = 0.02  # a group of which at most this share moved, and most who tried were left out, cannot move
_GROUP, _LEFT = 20, 10  # … of at least so many users, so many of them left out
_NOW: Final = pd.Timedelta(days=7)  # what ended longer ago is history
_REMIND: Final = "Remind these people."
_LATE: Final = 0.01  # calls over the limit from which on the endpoint is called slow
_CERTIFICATE_DAYS: Final = 30
_UNREACHED: Final = "1003027"  # no connection: a server that is away, a name, or a certificate
_MOST: Final = 5  # findings of one kind

_WRONG_PASSWORD: Final = 50126  # [Microsoft Learn, "Microsoft Entra authentication error codes"]
_UNKNOWN_NAME: Final = 50034  # [same]
_TRIES: Final = {"1": 1, "2 to 4": 2, "5 to 9": 5, "10 to 19": 10, "20 to 49": 20, "50 or more": 50}
# People mistype their own name now and then; a list has names of elsewhere, hour after hour.
_HOUR_US: Final = 3600 * 1_000_000
_FEWEST: Final = 10
_SHARE: Final = 0.25
_APART: Final = 2  # hours


@dataclass(frozen=True)
class Finding:
    """Something that a reader should know: what it is with its numbers, what to do, when it was, how many users it hit.

    Kinds: interruption, stall, rush, campaign, lagging, guessing, certificate, slow, limit, missing days, strange ids.
    """

    kind: str
    words: str
    next_step: str = ""
    since: pd.Timestamp | None = None
    until: pd.Timestamp | None = None
    users: int = 0
    subject: str = ""  # the group, where it is about one

    @property
    def label(self) -> str:
        """The kind in words for a reader."""
        return str(TEXTS["labels"].get(self.kind, self.kind.capitalize()))

    @property
    def name(self) -> str:
        """What it is, without its numbers, which change."""
        if self.subject:
            return f"{self.label}: {self.subject}"
        return self.label if self.since is None else f"{self.label} of {day(self.since)}"


def findings(tables: Tables, certificate_ends: pd.Timestamp | None = None) -> list[Finding]:
    """List what stands out: first what is true now, then what is over."""
    found = [
        *_now(tables, certificate_ends),
        *_interruptions(tables, certificate_ends),
        *_odd_days(tables),
        *_campaigns(tables),
        *_attacks(tables),
        # That people who were away for long come late is no news, and the forecast counts with it.
        *_lagging(tables, [by for by in dimensions(tables) if by == silence.COLUMN]),
    ]
    return sorted(found, key=lambda each: is_over(each, tables.as_of))


def is_over(found: Finding, as_of: pd.Timestamp | None) -> bool:
    """Whether a finding is history: what ended more than a week before `as_of`."""
    return found.until is not None and as_of is not None and found.until < as_of - _NOW


@once
def waiting(tables: Tables) -> pd.DataFrame:
    """Give the users who are not moved, by id, with the `cause`, and whether they are `held` back by us or `blocked`.

    Held back are those whom our own configuration leaves out, those whose attempt broke on our side within the last
    week, and all of a group of which nobody moves because it is left out; `column` is then what the group is made by.
    """
    users = tables.users
    left, flagged = users["migrated_at"].isna().to_numpy(), users["flagged_at"].notna().to_numpy()
    cause = reasons(tables).mask(~flagged[left] & flagged.any(), REASONS["staged"])
    unseen, column = cause.isin(UNSEEN).to_numpy(), np.full(len(cause), "", dtype=object)
    gone, tried, left_out = ~left, left.copy(), left.copy()
    tried[left], left_out[left] = ~unseen, cause.isin(states.LEFT_OUT)
    for by in dimensions(tables):
        if by != COLUMN:
            codes, names = groups_of(tables, by)
            size, moved, seen, out = (np.bincount(codes, each, len(names)) for each in (None, gone, tried, left_out))
            others = (moved.sum() - moved) / np.maximum(len(users) - size, 1)
            closed = (size >= _GROUP) & (out >= np.maximum(_LEFT, seen / 2)) & (moved <= _NOBODY * size)
            column[(closed & (others > _NOBODY * 5))[codes[left]]] = by
    cause = cause.mask((column != "") & unseen, REASONS["group"])
    down, broke = {states.BLOCKED + each for each in OUTAGE}, (states.BROKEN, "refused: ")
    ours = states.by_value(cause, lambda reason: reason in down or reason.startswith(broke)).astype(bool)
    old = ours & (moments(states.last_attempts(tables)[left]) < (tables.as_of or pd.NaT) - _NOW).to_numpy()
    ours, cause = ours & ~old, cause.mask(old, REASONS["broke_before"])
    blocked = states.states(tables).to_numpy()[left] == "blocked"
    held = (cause.isin(states.HELD_BACK).to_numpy() | ours) & ~blocked
    return pd.DataFrame({"cause": cause, "held": held, "blocked": blocked, "column": column})


@once
def standing(tables: Tables) -> pd.Series:
    """Give each user a part of the whole: confirmed, unconfirmed, not_covered, held_back, blocked or waiting."""
    left, state = waiting(tables), states.states(tables)
    result = state.to_numpy(dtype="object")
    result[state.isin(states.CONFIRMED).to_numpy()] = "confirmed"
    parts = np.array(["waiting", "held_back", "blocked"], dtype="object")
    result[tables.users["migrated_at"].isna()] = parts[np.where(left["blocked"].to_numpy(), 2, left["held"])]
    return pd.Series(pd.Categorical(result), index=state.index)


@once
def do_next(tables: Tables) -> pd.DataFrame:
    """List what to do about those who are left: `action`, `owner`, why, `people`, and how many it `brings` at most.

    The one that brings most comes first. What a reminder brings is known where a campaign by lot measured it.
    """
    causes = states.counted(waiting(tables)["cause"]).rename(columns={"fix": "action", "users": "people"})
    causes = causes.groupby(["action", "owner", "reason"])[["people"]].sum().reset_index()
    causes = causes.sort_values(["people", "reason"], ascending=[False, True])
    # The most frequent cause first, each with its people where an action has several.
    rows = zip(causes.duplicated(["action", "owner"], keep=False), causes["people"], causes["reason"], strict=True)
    causes["because"] = [f"{people:,} {reason}" if more else reason for more, people, reason in rows]
    by_step = causes.groupby(["action", "owner"], as_index=False)
    found = by_step.agg(because=("because", "; ".join), people=("people", "sum"))
    effects = [each.effect for each in campaigns(tables) if each.effect and each.effect.by_lot]
    share = float(-np.diff(effects[-1].cells["share"])[0]) if effects else np.nan
    reminded = found["action"].isin([explain(each).fix for each in UNSEEN])
    found["brings"] = found["people"].where(~reminded, (found["people"] * max(share, 0.0)).round()).astype("Int64")
    return found.sort_values(["brings", "people", "action"], ascending=[False, False, True], ignore_index=True)


@once
def pace(tables: Tables) -> pd.DataFrame:
    """Count the moves of each day, and estimate what a day unlike the others would otherwise have brought.

    What is usual follows from how many could still move, how long ago they were flagged and the day of the week: a day
    is odd when chance and these explain its count too badly (`hazard`, which the forecast rests on).
    `usual` is NaN for a day like the others. The last day may not be over.
    """
    times = None if tables.as_of is None or tables.undated else times_of(tables.users, tables.as_of)
    if times is None:
        return pd.DataFrame({"day": pd.to_datetime([], utc=True), "moved": np.zeros(0, int), "usual": np.zeros(0)})
    # Users of whom no table says when they were flagged may have moved before the others were.
    moves = tables.users["migrated_at"][tables.users["flagged_at"].isna()]
    days = np.floor(days_since(times.origin, moves[moves <= tables.as_of]))
    before = int(max(-days.min(initial=0), 0))
    moved = np.append(np.zeros(before), times.per_day)
    moved += np.bincount((days + before).astype(int), minlength=len(moved))
    usual = np.full(len(moved), np.nan)
    if times.now >= _WEEK:
        unknown, none = np.zeros(len(times.flagged)), np.empty(0)
        fitted = fit_hazard(spells(unknown, times, (none.astype(int), none)), none, times, set())
        usual[[day + before for day in fitted.odd]] = fitted.usual[list(fitted.odd)]
    starts = times.origin + (np.arange(len(moved)) - before) * DAY
    return pd.DataFrame({"day": starts, "moved": moved.astype("int64"), "usual": usual})


@once
def attacks(tables: Tables) -> dict[str, int]:
    """Count what points to guessing, to stolen lists of passwords, and to calls that were recorded and sent again.

    `wrong` are attempts with a wrong password, at so many `accounts` and at `most` so many at one; `unknown` those with
    a name that no user has; `replays` calls that came before; `strangers` calls without a token of Entra.
    """
    found, cause = _wrong_passwords(tables), tables.ledger["cause"]
    unknown = len(_with_code(tables, _UNKNOWN_NAME)) + (figures.calls(tables)["cause"] == "unknown_user").sum()
    counts = {
        "wrong": found.sum(),
        "accounts": (found > 0).sum(),
        "most": found.max(initial=0),
        "unknown": unknown,
        "replays": cause.isin(("nonce_replayed", "nonce_reused")).sum(),
        "strangers": (cause.eq("no_token") | cause.str.startswith("token_")).fillna(False).sum(),
    }
    return {name: int(count) for name, count in counts.items()}


def wrong_passwords(tables: Tables) -> pd.DataFrame:
    """Count accounts by how many wrong passwords were tried at them: many at few is guessing, few at many is a list."""
    counts, least = _wrong_passwords(tables), [*_TRIES.values()]
    step = np.digitize(counts, least)  # 0 without any
    accounts, wrong = (np.bincount(step, each, len(least) + 1)[1:].astype("int64") for each in (None, counts))
    return pd.DataFrame({"tries": [*_TRIES], "at_least": least, "accounts": accounts, "wrong": wrong})


@once
def _wrong_passwords(tables: Tables) -> np.ndarray:
    """Count the wrong passwords at each user: in the log or in the ledger, whichever has more.

    About a user who waits, only the endpoint knows. Where it was not asked, Entra refuses the right one too.
    """
    called, log = figures.calls(tables), tables.sign_ins
    callers = called.loc[(called["action"] == RETRY) & (called["cause"] == "wrong"), "row"].to_numpy()
    wrong = _with_code(tables, _WRONG_PASSWORD)
    people, moved = tables.people[wrong], tables.users["migrated_at"]
    if tables.asked.any():
        since = moved.reindex(people).array  # missing for those who wait, and for who is not in scope
        people = people[tables.asked[wrong] | (log["time"].array[wrong] >= since)]
    return np.maximum(*(np.bincount(found[found >= 0], minlength=len(moved)) for found in (callers, people)))


@once
def _with_code(tables: Tables, code: int) -> np.ndarray:
    return np.flatnonzero((tables.sign_ins["result_code"] == code).to_numpy(dtype=bool, na_value=False))


def _finding(kind: str, sentence: str = "", **said: Any) -> Finding:
    """Make a finding whose words and next step are a sentence, which is called as its kind where none is named."""
    words, step = (say(sentence or kind.replace(" ", "_"), part=part, **said) for part in ("words", "next"))
    own = {name: said[name] for name in ("since", "until", "users", "subject") if name in said}
    return Finding(kind, words, step, **own)


def _interruptions(tables: Tables, certificate_ends: pd.Timestamp | None) -> Iterator[Finding]:
    found = interruptions(tables)
    largest = found.nlargest(_MOST, "failed").sort_index()
    for row in records(largest):
        ran_out = certificate_ends is not None and abs(row["since"] - certificate_ends) <= DAY
        over = row["until"] < (tables.as_of or pd.NaT) - _NOW
        midnight = row["cause"].startswith(_UNREACHED) and row["good_before"] < row["since"].normalize()
        row |= {"over": over, "midnight": midnight, "ran_out": certificate_ends if ran_out else None}
        yield _finding("interruption", "outage", **row)
    if len(found) > len(largest):
        yield _finding("interruption", "more_outages", rest=found.drop(largest.index))


def _odd_days(tables: Tables) -> Iterator[Finding]:
    table, broken, log = pace(tables), interruptions(tables), tables.extents["sign_ins"]
    explained = [bool(((broken["since"] < start + DAY) & (broken["until"] >= start)).any()) for start in table["day"]]
    slow = (table["moved"] <= _STALL * table["usual"]) & ~np.array(explained, dtype=bool)
    for first, last in figures.runs(slow.to_numpy(), _STALL_DAYS):
        since, until = table["day"][first], table["day"][last] + DAY
        before, during = _came(tables, since - (until - since), since), _came(tables, since, until)
        known = before and log.until is not None and log.until >= until - DAY and log.flaw != "cut"
        why = "without_log" if not known else "of_visits" if during <= _STALL * before else "of_moves"
        said: dict[str, Any] = {"table": table[first : last + 1], "why": why, "before": before, "during": during}
        yield _finding("stall", since=since, until=until, **said)
    sent = [each.at for each in campaigns(tables)]
    for first, last in figures.runs((table["moved"] > table["usual"]).to_numpy(), _RUSH_DAYS):
        since, until = table["day"][first], table["day"][last] + DAY
        if not any(since - _AFTER_MAIL <= at < until for at in sent):
            yield _finding("rush", since=since, until=until, table=table[first : last + 1])


def _came(tables: Tables, since: pd.Timestamp, until: pd.Timestamp) -> int:
    """Count the sign-ins of people who were not moved as the days began: the others come in a stall, too."""
    first, last = tables.sign_ins["time"].searchsorted(pd.Series([since, until])).tolist()
    waiting = np.append(~(tables.users["migrated_at"] < since).to_numpy(), False)
    return int(waiting[tables.people[first:last]].sum())


def _campaigns(tables: Tables) -> Iterator[Finding]:
    for each in campaigns(tables):
        until = each.at + each.effect.days * DAY if each.effect else None
        yield _finding("campaign", since=each.at, until=until, users=len(each.reached), effect=each.words)


def _lagging(tables: Tables, columns: list[str]) -> Iterator[Finding]:
    found: list[dict[str, Any]] = []
    for by in columns:
        table = cohorts(tables, by)
        # What blocks an account says the bar; a reminder does not help there.
        blocked = (by == "status") & table["cohort"].str.lower().isin(COLUMNS["straggler"]["blocked"])
        late = table["lagging"] & (table["fair_share"] <= _LAG * table["others"]) & ~blocked
        found += records(table[late].assign(by=by))
    told = [(row, *_why(tables, row["by"], row["cohort"])) for row in sorted(found, key=lambda each: -each["behind"])]
    # Those about whom more can be done than to remind them come first.
    for row, why, step in sorted(told[:_MOST], key=lambda each: each[2] == _REMIND):
        subject = f"{row['by'].replace('_', ' ')} “{row['cohort']}”"
        yield _finding("lagging", users=int(row["remaining"]), subject=subject, row=row, why=why, step=step)


def _why(tables: Tables, by: str, cohort: str) -> tuple[str, str]:
    """Say what hindered most of those who tried, or that few tried."""
    # People of another group that is left out say nothing about this one.
    left, (codes, names) = waiting(tables), groups_of(tables, by)
    of_group = (names == cohort)[codes[tables.users["migrated_at"].isna()]]
    rest = left["column"].isin(["", by]).to_numpy()
    found, others = (reasons(tables)[some & rest] for some in (of_group, ~of_group))
    tried = found[~found.isin(UNSEEN)]
    counts, elsewhere = tried.value_counts(), others[~others.isin(UNSEEN)].value_counts(normalize=True)
    more = counts - len(tried) * elsewhere.reindex(counts.index).fillna(0)
    few, reason = len(tried) < 0.1 * max(len(found), 1), None
    if not few and more.max() >= max(0.2 * len(tried), 3 * np.sqrt(counts[more.idxmax()])):
        reason = explain(str(more.idxmax()))
    said = {"few": few, "untold": found.isin(UNSEEN[1:]).any(), "reason": reason}
    why = say(
        "why_it_lags", tried=len(tried), left=len(found), count=counts.get(more.idxmax()) if reason else 0, **said
    )
    return why, reason.fix if reason else _REMIND


def _attacks(tables: Tables) -> Iterator[Finding]:
    """Find bursts of hours in which ten or more sign-ins, and a quarter of all, used names that no user has."""
    times = micros(tables.sign_ins["time"])
    unknown, wrong = (times[_with_code(tables, each)] for each in (_UNKNOWN_NAME, _WRONG_PASSWORD))
    hours, names = np.unique(unknown // _HOUR_US, return_counts=True)
    whole = np.diff(np.searchsorted(times, np.array([hours, hours + 1]) * _HOUR_US), axis=0)[0]
    marked = (names >= _FEWEST) & (names >= _SHARE * whole)
    hours, names = hours[marked], names[marked]
    bursts = np.split(np.arange(len(hours)), np.flatnonzero(np.diff(hours) > _APART) + 1) if len(hours) else []
    largest = sorted(bursts, key=lambda burst: -names[burst].sum())[:_MOST]
    for burst in sorted(largest, key=lambda burst: burst[0]):
        inside = [each[np.isin(each // _HOUR_US, hours[burst])] for each in (unknown, wrong)]
        since, until = moments(inside[0][[0, -1]])
        yield _finding("guessing", since=since, until=until, unknown=len(inside[0]), wrong=len(inside[1]))


def _now(tables: Tables, certificate_ends: pd.Timestamp | None) -> Iterator[Finding]:
    """Find what is true now: a certificate that ends, groups that lag, a slow endpoint, holes in the logs."""
    left = health(tables, certificate_ends)["certificate_days"]
    if left is not None and left < _CERTIFICATE_DAYS:
        yield _finding("certificate", ends=certificate_ends, left=left)
    yield from _lagging(tables, [by for by in dimensions(tables) if by not in (COLUMN, silence.COLUMN)])
    took, busy, missing, strange = (
        figures.latency(tables),
        figures.busy_seconds(tables),
        figures.missing_days(tables),
        figures.strange_rows(tables),
    )
    if took["over_limit"] > _LATE * took["calls"]:
        yield _finding("slow", latency=took, timeout=TIMEOUT_MS)
    if len(busy):
        yield _finding("limit", "near_limit", seconds=len(busy))
    if missing:
        yield _finding("missing days", missing=missing)
    if strange:
        yield _finding("strange ids", rows=strange)

"""What stands out in a migration, in sentences made from its numbers: outages, odd days, lagging groups, attacks.

Each finding has a threshold that chance does not pass on calm days; the thresholds stand next to their finding.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd

from jitkit.progress import silence, states
from jitkit.progress.cohorts import COLUMN, campaigns, cohorts, dimensions, groups_of
from jitkit.progress.figures import (
    busy_seconds,
    calls,
    day,
    days,
    latency,
    missing_days,
    moment,
    runs,
    span,
    strange_rows,
)
from jitkit.progress.hazard import fit_hazard
from jitkit.progress.outages import OUTAGE, interruptions
from jitkit.progress.silence import spells, times_of
from jitkit.progress.states import REASONS, UNSEEN, advice, in_words, reasons
from jitkit.progress.tables import DAY, TEXTS, Tables, micros, moments, once, records
from jitkit.protocol import CALLS_PER_SECOND, RETRY, TIMEOUT_MS

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
        *_certificate(tables, certificate_ends),
        *_lagging(tables, [by for by in dimensions(tables) if by not in (COLUMN, silence.COLUMN)]),
        *_endpoint_and_logs(tables),
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
    if tables.as_of is not None:
        old = ours & (moments(states.last_attempts(tables)[left]) < tables.as_of - _NOW).to_numpy()
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
    several = causes.duplicated(["action", "owner"], keep=False)
    rows = zip(several, causes["people"], causes["reason"], strict=True)
    causes["because"] = [f"{people:,} {reason}" if more else reason for more, people, reason in rows]
    by_step = causes.groupby(["action", "owner"], as_index=False)
    found = by_step.agg(because=("because", "; ".join), people=("people", "sum"))
    effects = [each.effect for each in campaigns(tables) if each.effect and each.effect.by_lot]
    share = float(-np.diff(effects[-1].cells["share"])[0]) if effects else np.nan
    reminded = found["action"].isin([advice(each) for each in UNSEEN])
    found["brings"] = found["people"].where(~reminded, (found["people"] * max(share, 0.0)).round()).astype("Int64")
    return found.sort_values(["brings", "people", "action"], ascending=[False, False, True], ignore_index=True)


@once
def pace(tables: Tables) -> pd.DataFrame:
    """Count the moves of each day, and estimate what a day unlike the others would otherwise have brought.

    What is usual follows from how many could still move, how long ago they were flagged and the day of the week: a day
    is odd when chance and these explain its count too badly (`hazard`, which the forecast rests on).
    `usual` is NaN for a day like the others. The last day may not be over.
    """
    times = None if tables.as_of is None else times_of(tables.users, tables.as_of)
    if times is None:
        nothing = np.zeros(0)
        return pd.DataFrame({"day": pd.to_datetime([], utc=True), "moved": nothing.astype("int64"), "usual": nothing})
    moved = times.per_day
    usual = np.full(len(moved), np.nan)
    if times.now >= _WEEK:
        unknown, none = np.zeros(len(times.flagged)), np.empty(0)
        fitted = fit_hazard(spells(unknown, times, (none.astype(int), none)), none, times, set())
        usual[list(fitted.odd)] = fitted.usual[list(fitted.odd)]
    starts = times.origin + np.arange(len(moved)) * DAY
    return pd.DataFrame({"day": starts, "moved": moved.astype("int64"), "usual": usual})


@once
def attacks(tables: Tables) -> dict[str, int]:
    """Count what points to guessing, to stolen lists of passwords, and to calls that were recorded and sent again.

    `wrong` are attempts with a wrong password, at so many `accounts` and at `most` so many at one; `unknown` those with
    a name that no user has; `replays` calls that came before; `strangers` calls without a token of Entra.
    """
    found, cause = _wrong_passwords(tables), tables.ledger["cause"]
    unknown = len(_with_code(tables, _UNKNOWN_NAME)) + (calls(tables)["cause"] == "unknown_user").sum()
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
    called, log = calls(tables), tables.sign_ins
    callers = called.loc[(called["action"] == RETRY) & (called["cause"] == "wrong"), "row"].to_numpy()
    wrong = _with_code(tables, _WRONG_PASSWORD)
    people, moved = tables.people[wrong], tables.users["migrated_at"]
    if tables.asked.any():
        since = moved.reindex(people).array  # missing for those who wait, and for who is not in scope
        people = people[tables.asked[wrong] | (log["time"].array[wrong] >= since)]
    counts = [np.bincount(found[found >= 0], minlength=len(moved)) for found in (callers, people)]
    return np.maximum(*counts)


@once
def _with_code(tables: Tables, code: int) -> np.ndarray:
    return np.flatnonzero((tables.sign_ins["result_code"] == code).to_numpy(dtype=bool, na_value=False))


def _words(name: str, **values: Any) -> tuple[str, str]:
    """Fill in a finding of `texts.toml`: its words, and what to do next."""
    text = TEXTS["findings"][name]
    return text["words"].format(**values), text["next"].format(**values)


def _finding(
    kind: str, name: str = "", *, since: Any = None, until: Any = None, users: int = 0, subject: str = "", **values: Any
) -> Finding:
    times = {"since": moment(since), "until": moment(until), "users": users}
    words, step = _words(name or kind.replace(" ", "_"), **times, **values)
    return Finding(kind, words, step, since, until, users, subject)


def _interruptions(tables: Tables, certificate_ends: pd.Timestamp | None) -> Iterator[Finding]:
    found = interruptions(tables)
    largest = found.nlargest(_MOST, "failed").sort_index()
    for row in records(largest):
        since, until, before = row["since"], row["until"], row["good_before"]
        over = TEXTS["findings"]["outage"]["over"] * (tables.as_of is not None and until < tables.as_of - _NOW)
        more, step = "", over + row["fix"]
        if certificate_ends is not None and abs(since - certificate_ends) <= DAY:
            more, step = _words("outage_by_certificate", ends=day(certificate_ends))
        elif row["cause"].startswith(_UNREACHED) and before < since.normalize():
            more, step = _words("outage_since_midnight", good_before=moment(before), over=over)
        yield _finding("interruption", "outage", lasted=span(until - since), more=more, step=step, **row)
    if len(found) > len(largest):
        rest = found.drop(largest.index)
        yield _finding("interruption", "more_outages", windows=len(rest), failed=rest["failed"].sum())


def _odd_days(tables: Tables) -> Iterator[Finding]:
    table, broken, log = pace(tables), interruptions(tables), tables.extents["sign_ins"]
    explained = [bool(((broken["since"] < start + DAY) & (broken["until"] >= start)).any()) for start in table["day"]]
    slow = (table["moved"] <= _STALL * table["usual"]) & ~np.array(explained, dtype=bool)
    for first, last in runs(slow.to_numpy(), _STALL_DAYS):
        since, until = table["day"][first], table["day"][last] + DAY
        before, during = _came(tables, since - (until - since), since), _came(tables, since, until)
        known = before and log.until is not None and log.until >= until - DAY and log.flaw != "cut"
        name = "stall_of_visits" if during <= _STALL * before else "stall_of_moves"
        why, step = _words(name if known else "stall_without_log", before=before, during=during)
        yield _unusual("stall", table[first : last + 1], length=f" ({days(last + 1 - first)})", more=why, step=step)
    sent, step = [each.at for each in campaigns(tables)], TEXTS["findings"]["rush"]["next"]
    for first, last in runs((table["moved"] > table["usual"]).to_numpy(), _RUSH_DAYS):
        if not any(table["day"][first] - _AFTER_MAIL <= at < table["day"][last] + DAY for at in sent):
            yield _unusual("rush", table[first : last + 1], length="", more="", step=step)


def _unusual(kind: str, part: pd.DataFrame, **values: Any) -> Finding:
    first, last, moved, usual = part["day"].iloc[0], part["day"].iloc[-1], part["moved"].sum(), part["usual"].sum()
    values |= {"first": day(first), "last": day(last)}
    return _finding(kind, "odd_days", since=first, until=last + DAY, moved=moved, usual=usual, **values)


def _came(tables: Tables, since: pd.Timestamp, until: pd.Timestamp) -> int:
    """Count the sign-ins of people who were not moved as the days began: the others come in a stall, too."""
    first, last = tables.sign_ins["time"].searchsorted(pd.Series([since, until])).tolist()
    waiting = np.append(~(tables.users["migrated_at"] < since).to_numpy(), False)
    return int(waiting[tables.people[first:last]].sum())


def _campaigns(tables: Tables) -> Iterator[Finding]:
    for each in campaigns(tables):
        until = each.at + each.effect.days * DAY if each.effect else None
        yield _finding(
            "campaign", since=each.at, until=until, users=len(each.reached), at=day(each.at), words=each.words
        )


def _lagging(tables: Tables, columns: list[str]) -> Iterator[Finding]:
    found: list[dict[str, Any]] = []
    for by in columns:
        table = cohorts(tables, by)
        found += records(table[table["lagging"] & (table["fair_share"] <= _LAG * table["others"])].assign(by=by))
    told = [(row, *_why(tables, row["by"], row["cohort"])) for row in sorted(found, key=lambda each: -each["behind"])]
    # Those about whom more can be done than to remind them come first.
    for row, why, step in sorted(told[:_MOST], key=lambda each: each[2] == _REMIND):
        values = {"column": row["by"].replace("_", " "), "people": row.pop("users"), "why": why, "step": step}
        values = row | values | {"share": 100 * row["fair_share"], "others": 100 * row["others"]}
        subject = f"{values['column']} “{row['cohort']}”"
        yield _finding("lagging", users=int(row["remaining"]), subject=subject, **values)


def _why(tables: Tables, by: str, cohort: str) -> tuple[str, str]:
    """Say what hindered most of those who tried, or that few tried."""
    # People of another group that is left out say nothing about this one.
    left, (codes, names) = waiting(tables), groups_of(tables, by)
    of_group = (names == cohort)[codes[tables.users["migrated_at"].isna()]]
    rest = left["column"].isin(["", by]).to_numpy()
    found, others = (reasons(tables)[some & rest] for some in (of_group, ~of_group))
    tried = found[~found.isin(UNSEEN)]
    if len(tried) < 0.1 * max(len(found), 1):
        if found.isin(UNSEEN[1:]).any():
            return "Whether those who are left have tried is not known.", _REMIND
        return f"{100 * len(tried) / max(len(found), 1):.0f} % of those who are left have tried.", _REMIND
    counts, elsewhere = tried.value_counts(), others[~others.isin(UNSEEN)].value_counts(normalize=True)
    more = counts - len(tried) * elsewhere.reindex(counts.index).fillna(0)
    reason = str(more.idxmax())
    if more[reason] < max(0.2 * len(tried), 3 * np.sqrt(counts[reason])):
        return f"The {len(tried):,} who tried and are left have the same reasons as the others.", _REMIND
    return f"Of {len(tried):,} who tried and are left, {counts[reason]:,} {in_words(reason)}.", advice(reason)


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


def _certificate(tables: Tables, ends: pd.Timestamp | None) -> Iterator[Finding]:
    left = None if ends is None or tables.as_of is None else (ends - tables.as_of) // DAY
    if left is not None and left < _CERTIFICATE_DAYS:
        when = f"ends on {day(ends)}, in {days(left)}" if left >= 0 else f"ended on {day(ends)}"
        yield _finding("certificate", ends=when)


def _endpoint_and_logs(tables: Tables) -> Iterator[Finding]:
    took, busy, missing, strange = latency(tables), busy_seconds(tables), missing_days(tables), strange_rows(tables)
    if took["over_limit"] > _LATE * took["calls"]:
        yield _finding("slow", late=took["over_limit"], calls=took["calls"], timeout=TIMEOUT_MS)
    if len(busy):
        yield _finding("limit", seconds=len(busy), limit=CALLS_PER_SECOND)
    if missing:
        yield _finding("missing days", count=days(len(missing)), days=", ".join(missing[:7]))
    if strange:
        yield _finding("strange ids", rows=strange)

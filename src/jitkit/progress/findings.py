"""What stands out in a migration, in sentences made from its numbers.

Each finding has a threshold that chance does not pass on calm days; the thresholds are told where they stand.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd

from jitkit.progress.campaigns import COLUMN, campaigns
from jitkit.progress.cohorts import cohorts, dimensions
from jitkit.progress.guessing import bursts
from jitkit.progress.interruptions import interruptions
from jitkit.progress.load import busy_seconds
from jitkit.progress.metrics import latency
from jitkit.progress.pace import pace
from jitkit.progress.quality import missing_days, strange_rows
from jitkit.progress.stuck import NEVER_TRIED, advice, in_words, reasons
from jitkit.progress.tables import Tables, records
from jitkit.progress.words import clock, day, days, span
from jitkit.protocol import CALLS_PER_SECOND, TIMEOUT_MS

__all__ = ["Finding", "findings"]

_DAY: Final = pd.Timedelta(days=1)
_STALL_DAYS: Final = 3  # days in a row: one slow day is chance, or a holiday
_RUSH_DAYS: Final = 2
_STALL: Final = 0.5  # … on which at most this share of the usual number moved
_AFTER_MAIL: Final = pd.Timedelta(days=2)  # a rush that begins so soon after a campaign is the campaign's
_LAG: Final = 0.8  # a cohort is told of when it reached at most this share of what the others did
_LATE: Final = 0.01  # calls over the limit from which on the endpoint is called slow
_CERTIFICATE_DAYS: Final = 30
_UNREACHED: Final = "1003027"  # no connection: a server that is away, a name, or a certificate [causes.toml]
_MOST: Final = 5  # findings of one kind


_LABELS: Final = {
    "interruption": "Outage",
    "slow": "Slow endpoint",
    "limit": "Near the limit",
    "guessing": "Likely attack",
}


@dataclass(frozen=True)
class Finding:
    """Something that a reader should know.

    Args:
        kind: interruption, stall, rush, campaign, lagging, guessing, certificate, slow, limit, missing days
            or strange ids.
        words: what it is, with its numbers.
        next_step: what to do about it, or an empty string.
        since: when it began, or None if it lies at no time.
        until: when it ended.
        users: how many people it is about; 0 where it is not about people.
    """

    kind: str
    words: str
    next_step: str = ""
    since: pd.Timestamp | None = None
    until: pd.Timestamp | None = None
    users: int = 0

    @property
    def label(self) -> str:
        """The kind as people call it."""
        return _LABELS.get(self.kind, self.kind.capitalize())


def findings(tables: Tables, certificate_ends: pd.Timestamp | None = None) -> list[Finding]:
    """List what stands out: first what went wrong and when, then who lags behind, then the rest.

    Args:
        tables: what is known.
        certificate_ends: until when the certificate is valid; None if that is not known.
    """
    return [
        *_interruptions(tables, certificate_ends),
        *_unlike_days(tables),
        *_campaigns(tables),
        *_lagging(tables),
        *_guessing(tables),
        *_certificate(tables, certificate_ends),
        *_endpoint(tables),
        *_holes(tables),
        *_strangers(tables),
    ]


def _interruptions(tables: Tables, certificate_ends: pd.Timestamp | None) -> Iterator[Finding]:
    found = interruptions(tables)
    largest = found.nlargest(_MOST, "failed").sort_index()
    for row in records(largest):
        lasted = span(row["until"] - row["since"])
        words = (
            f"From {clock(row['since'])} to {clock(row['until'])} ({lasted}) sign-ins broke: "
            f"{row['meaning']}. {row['failed']:,} sign-ins of {row['users']:,} people failed; {row['came_back']:,} of "
            "these people have moved since."
        )
        step = row["fix"]
        if certificate_ends is not None and abs(row["since"] - certificate_ends) <= _DAY:
            words += f" The certificate ran out on {day(certificate_ends)}."
            step = "Renew the certificate, and let something remind you a month before the next one ends."
        elif row["cause"].startswith(_UNREACHED) and row["good_before"] < row["since"].normalize():
            words += f" The call before got through on {clock(row['good_before'])}: a day ended in between."
            step = "Look at the endpoint's certificate first: many run out at the end of a day (UTC). Then at its name."
        yield Finding("interruption", words, step, row["since"], row["until"], row["users"])
    if len(found) > len(largest):
        rest = found.drop(largest.index)
        words = f"{len(rest):,} more windows in which calls broke hit {rest['failed'].sum():,} sign-ins."
        yield Finding("interruption", words, "They are listed with the endpoint's health.")


def _unlike_days(tables: Tables) -> Iterator[Finding]:
    table = pace(tables)
    broken = interruptions(tables)
    explained = [bool(((broken["since"] < start + _DAY) & (broken["until"] >= start)).any()) for start in table["day"]]
    told = [each.at for each in campaigns(tables)]
    slow = (table["moved"] <= _STALL * table["usual"]) & ~np.array(explained, dtype=bool)
    for first, last in _runs(slow.to_numpy(), _STALL_DAYS):
        yield _stall(tables, table.iloc[first : last + 1])
    busy = table["moved"] > table["usual"]
    for first, last in _runs(busy.to_numpy(), _RUSH_DAYS):
        part = table.iloc[first : last + 1]
        if any(part["day"].iloc[0] - _AFTER_MAIL <= at < part["day"].iloc[-1] + _DAY for at in told):
            continue
        words = (
            f"From {day(part['day'].iloc[0])} to {day(part['day'].iloc[-1])} {part['moved'].sum():,} people moved, "
            f"where about {part['usual'].sum():,.0f} are usual."
        )
        step = "If you sent a reminder, a column `campaign` in the users table lets its effect be measured."
        yield Finding("rush", words, step, part["day"].iloc[0], part["day"].iloc[-1] + _DAY)


def _stall(tables: Tables, part: pd.DataFrame) -> Finding:
    since, until = part["day"].iloc[0], part["day"].iloc[-1] + _DAY
    words = (
        f"From {day(since)} to {day(part['day'].iloc[-1])} ({days(len(part))}) {part['moved'].sum():,} people moved, "
        f"where about {part['usual'].sum():,.0f} are usual."
    )
    before, during = _came(tables, since - len(part) * _DAY, since), _came(tables, since, until)
    if not before:
        words += " No log tells whether people came."
        step = "Give the tenant's sign-in log of these days as well."
    elif during <= _STALL * before:
        words += f" Few came: {during:,} sign-ins of people still to move, after {before:,} in the same time before. "
        words += "There was no outage."
        step = "Find out what kept people away: a holiday, a hidden sign-in page, an app that was down."
    else:
        words += (
            f" People still to move came ({during:,} sign-ins, {before:,} in the same time before) and were not moved."
        )
        step = "Look whether the listener or its list of apps was changed then."
    return Finding("stall", words, step, since, until)


def _came(tables: Tables, since: pd.Timestamp, until: pd.Timestamp) -> int:
    """Count the sign-ins of people who were not moved as the days began: the others come on in a stall, too."""
    first, last = tables.sign_ins["time"].searchsorted(pd.Series([since, until])).tolist()
    waiting = np.append(~(tables.users["migrated_at"] < since).to_numpy(), False)
    return int(waiting[tables.people[first:last]].sum())


def _campaigns(tables: Tables) -> Iterator[Finding]:
    for each in campaigns(tables):
        words = f"The campaign of {day(each.at)} reached {len(each.reached):,} people. {each.words}"
        until = each.at + each.effect.days * _DAY if each.effect else None
        yield Finding("campaign", words, "", each.at, until, len(each.reached))


def _lagging(tables: Tables) -> Iterator[Finding]:
    found: list[tuple[int, str, dict[str, Any]]] = []
    for by in dimensions(tables):
        if by == COLUMN:
            continue
        table = cohorts(tables, by)
        far = table[table["lagging"] & (table["fair_share"] <= _LAG * table["others"])]
        found += [(row["behind"], by, row) for row in records(far)]
    for behind, by, row in sorted(found, key=lambda each: -each[0])[:_MOST]:
        words = (
            f"By {by.replace('_', ' ')}, “{row['cohort']}”: {100 * row['fair_share']:.0f} % of {row['users']:,} people "
            f"moved within {row['days']:.0f} days, and {100 * row['others']:.0f} % of the others. That is {behind:,} "
            "behind."
        )
        words, step = _why(tables, by, row["cohort"], words)
        yield Finding("lagging", words, step, users=int(row["remaining"]))


def _why(tables: Tables, by: str, cohort: str, words: str) -> tuple[str, str]:
    """Add what most of those who tried met with, or that few tried."""
    if not tables.logged:
        return f"{words} No log tells of a try by those who are left.", "Remind these people."
    waiting = tables.users["migrated_at"].isna()
    own = (tables.users.loc[waiting, by].astype("str") == cohort).to_numpy()
    told = reasons(tables)[own]
    tried = told[told != NEVER_TRIED]
    if not len(tried) or len(tried) < 0.1 * len(told):
        share = 100 * len(tried) / max(len(told), 1)
        return f"{words} {share:.0f} % of those who are left have tried.", "Remind these people."
    counts = tried.value_counts()
    reason, count = str(counts.index[0]), int(counts.iloc[0])
    return f"{words} Of {len(tried):,} who tried and are left, {count:,} {in_words(reason)}.", advice(reason)


def _guessing(tables: Tables) -> Iterator[Finding]:
    for row in records(bursts(tables).nlargest(_MOST, "unknown").sort_index()):
        words = (
            f"From {clock(row['since'])} to {clock(row['until'])} {row['unknown']:,} sign-ins used names that nobody "
            f"has, and {row['wrong']:,} a wrong password, as when somebody tries a list of stolen passwords."
        )
        step = (
            "Look at the names and addresses in the tenant's sign-in log: names that the old system knows are people "
            "who are not in the tenant yet."
        )
        yield Finding("guessing", words, step, row["since"], row["until"])


def _certificate(tables: Tables, ends: pd.Timestamp | None) -> Iterator[Finding]:
    if ends is None or tables.as_of is None:
        return
    left = (ends - tables.as_of) // _DAY
    if left < _CERTIFICATE_DAYS:
        words = f"The certificate ends on {day(ends)}, in {days(left)}." if left >= 0 else ""
        words = words or f"The certificate ended on {day(ends)}."
        yield Finding("certificate", words, "Make a new key pair (notebook 04), or renew the endpoint's certificate.")


def _endpoint(tables: Tables) -> Iterator[Finding]:
    took, busy = latency(tables), busy_seconds(tables)
    if took["calls"] and took["over_limit"] > _LATE * took["calls"]:
        late = f"{took['over_limit']:,} of {took['calls']:,} calls"
        words = f"{late} took longer than the {TIMEOUT_MS:,} ms that Entra waits."
        yield Finding("slow", words, "Keep the endpoint warm and the legacy check fast.")
    if len(busy):
        words = f"In {len(busy):,} seconds the calls came near the limit of {CALLS_PER_SECOND} a second, or over it."
        yield Finding("limit", words, "Spread reminders over more days: the limit counts for the whole tenant.")


def _holes(tables: Tables) -> Iterator[Finding]:
    missing = missing_days(tables)
    if missing:
        words = f"{days(len(missing)).capitalize()} have no sign-in at all: {', '.join(missing[:7])}."
        yield Finding("missing days", words, "Export these days again if they are kept: their figures are too low.")


def _strangers(tables: Tables) -> Iterator[Finding]:
    rows = strange_rows(tables)
    if rows:
        words = f"None of the {rows:,} rows with an id in the logs is about a person in the users table."
        step = "Write the same ids in all tables, such as the object id; until then, nothing here rests on the logs."
        yield Finding("strange ids", words, step)


def _runs(marked: np.ndarray, least: int) -> Iterator[tuple[int, int]]:
    """Find runs of marked days: the first and the last of each."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], marked.astype("int8"), [0]])))
    for begin, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
        if end - begin >= least:
            yield begin, end - 1

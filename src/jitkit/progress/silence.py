"""Reads since when users wait: when they were flagged and moved, and how long they had been silent before that."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from jitkit.progress.tables import DAY, NAMED, SPELLED, times

Floats = npt.NDArray[np.float64]

COLUMN: Final = "last_legacy_sign_in"
"""The column of users with the day of the last sign-in to the old system, or how long before the start it was."""

_MOST_HOURS: Final = 100  # flagging hours that are kept as waves of their own; beyond that a wave is a day
_FIRST, _FEW = 10, 3  # users by whose moves a wave begins, and the fewest that say so
_VISIT: Final = 0.5  # days that a visit may last
_KNOWN: Final = 0.5  # share of users of whom a last sign-in must be known
_RANGE: Final = r"^\D*(\d{1,5})[^\d.,/]+(\d{1,5})\D*$"
_MOST_DAYS: Final = 20_000  # a larger number is the serial number of a date


class Times(NamedTuple):
    """When each user with a time of flagging was flagged and moved (NaN: not yet), in days since `origin`."""

    origin: pd.Timestamp  # midnight (UTC) of the first day on which a user could come
    now: float
    flagged: Floats  # later than `now`: planned
    moved: Floats
    outside: int = 0  # users without a time of flagging: counted, not forecast
    outside_moved: int = 0  # of these, moved

    @property
    def per_day(self) -> Floats:
        """Users who moved on each day, from the first to the one of `now`."""
        days = np.floor(self.moved[~np.isnan(self.moved)]).astype(int)
        return np.bincount(days, minlength=int(np.floor(self.now)) + 1).astype(float)


def days_since(origin: pd.Timestamp | pd.Series, moments: pd.Series) -> Floats:
    """Return how many days each time is after the origin."""
    return np.asarray((moments - origin).dt.total_seconds(), dtype=float) / DAY.total_seconds()


def times_of(users: pd.DataFrame, as_of: pd.Timestamp) -> Times | None:
    """Read the times of a tidy `users` table as of a moment, or return None if no user is flagged by then.

    Later moves have not happened yet; later flags are planned.
    """
    known, done = users["flagged_at"].notna(), users["migrated_at"].where(users["migrated_at"] <= as_of)
    at = users["flagged_at"][known]
    if at.empty or at.min() > as_of:
        return None
    start = at.min().floor("D")
    now, flagged, moved = (as_of - start) / DAY, days_since(start, at), days_since(start, done[known])
    # A clock that is off may write the move before the flag: it counts on the day of the flag.
    moved = np.fmax(moved, np.where(np.isnan(moved), np.nan, np.minimum(flagged, now)))
    flagged = _set_off(flagged, moved)
    shift = np.floor(flagged.min())
    outside = int((~known).sum()), int(done[~known].notna().sum())
    return Times(start + shift * DAY, float(now - shift), flagged - shift, moved - shift, *outside)


def _set_off(flagged: Floats, moved: Floats) -> Floats:
    """Begin each wave's time when its first users come: nobody comes in the night after the flags are set.

    The first to come are as far from the beginning as they are from each other.
    """
    hours = np.floor(flagged * 24).astype(int)
    wave_of, _ = pd.factorize(hours if len(pd.unique(hours)) <= _MOST_HOURS else hours // 24, sort=True)
    first = pd.DataFrame({"wave": wave_of, "moved": moved}).dropna().sort_values("moved").groupby("wave").head(_FIRST)
    came = first.groupby("wave")["moved"].agg(["first", "last", "count"]).query(f"count >= {_FEW}")
    begin = np.full(wave_of.max() + 1, -np.inf)
    begin[came.index] = came["first"] - (came["last"] - came["first"]) / (came["count"] - 1)
    return np.asarray(np.maximum(flagged, begin[wave_of]))


def days_silent(users: pd.DataFrame, flagged: Floats, origin: pd.Timestamp) -> tuple[Floats, Floats] | None:
    """Read how many days each user had been silent when flagged (NaN: not known), and on which day they were seen last.

    Dates that were exported before a flag count up to the export: what came in between, nobody recorded. Words such as
    `31-90 days before` count as the middle of their range, a number as days, and a word without a number as twice the
    largest of these. Who went on using the old system is a visitor on that day, and how silent before is not known. The
    second part is empty for words. Returns None where too few users have one.
    """
    if COLUMN not in users:
        return None
    codes, texts = pd.factorize(users[COLUMN].astype("str").fillna(""))
    words = pd.Series(texts)
    dates = pd.to_datetime(words, errors="coerce", utc=True, format="ISO8601")
    spelled = words.str.fullmatch(SPELLED) | words.str.match(NAMED)
    if dates.isna().all():
        with suppress(ValueError):  # no row shows which number is the month
            dates = times(words.where(spelled))
    seen = days_since(origin, dates)[codes] + 0.5
    if np.isfinite(seen).sum() > _KNOWN * len(users):
        exported = np.nanmax(seen[seen <= np.nanmax(flagged) + 1], initial=-1.0)
        silent = np.maximum(np.minimum(flagged, exported) - seen, 0)
        silent[seen > flagged + 1] = np.nan  # what came before is not recorded any more
        return (silent, seen) if np.isfinite(silent).sum() > _KNOWN * len(users) else None
    ranges = words.str.extract(_RANGE).astype(float)
    numbers = pd.to_numeric(words, errors="coerce").where(lambda number: number.between(0, _MOST_DAYS))
    middle = ((ranges[0] + 1) * (ranges[1] + 1)).pow(0.5).fillna(numbers)
    middle[middle.isna() & dates.isna() & ~spelled & (words != "")] = 2 * np.fmax(ranges[1].max(), numbers.max())
    known = middle.to_numpy()[codes]
    return (known, np.empty(0)) if np.isfinite(known).sum() > _KNOWN * len(users) else None


@dataclass(frozen=True, eq=False)
class Spells:
    """Times of waiting, from a flag or a sign-in to the next, the move, or now; in days since the origin."""

    row: npt.NDArray[np.int64]  # of the user
    silent: Floats  # days of silence at the start; NaN if not known
    start: Floats
    end: Floats
    moved: npt.NDArray[np.bool_]
    tried: npt.NDArray[np.bool_]  # begins with a sign-in
    open: npt.NDArray[np.bool_]  # still waiting, or planned

    def only(self, some: npt.NDArray[np.bool_]) -> Spells:
        """Return some of them."""
        return Spells(*(part[some] for part in vars(self).values()))


def spells(silent: Floats, times: Times, visits: tuple[npt.NDArray[np.int64], Floats]) -> Spells:
    """Cut each user's time of waiting at the visits to the new system: rows of users, and days since the origin."""
    start, moved = times.flagged, times.moved
    end = np.fmax(np.where(np.isnan(moved), times.now, moved), start)
    row, at = visits
    # The sign-in that moves somebody, and what went wrong just before it, are one visit.
    inside = (at > start[row]) & (at < end[row] - np.where(np.isnan(moved[row]), 0, _VISIT))
    row, at = row[inside], at[inside]
    rows, starts = np.concatenate([np.arange(len(start)), row]), np.concatenate([start, at])
    order = np.lexsort((starts, rows)) if len(row) else np.arange(len(rows))
    rows, starts, tried = rows[order], starts[order], order >= len(start)
    last = np.append(rows[1:] != rows[:-1], True)
    ends = np.where(last, end[rows], np.append(starts[1:], 0))
    done = last & ~np.isnan(moved[rows])
    return Spells(rows, np.where(tried, 0.0, silent[rows]), starts, ends, done, tried, last & ~done)

"""Users, counted by the day they were flagged and the day they moved: all that a forecast needs of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pandas as pd

__all__ = ["DAY", "Floats", "History", "count_history"]

Floats = npt.NDArray[np.float64]

DAY: Final = pd.Timedelta(days=1)
_HOUR: Final = 24
_FINE: Final = 100  # so many hours of flagging are told apart; more of them are taken day by day


@dataclass(frozen=True, eq=False)
class History:
    """A migration so far, in days since `origin`.

    Args:
        origin: midnight (UTC) of the first day on which somebody was flagged.
        now: when the history ends.
        flagged: when each wave was flagged, ascending; waves later than `now` are planned.
        moved: users of each wave (rows) that moved on each day (columns); the last column is the day of `now`.
        waiting: users of each wave that are not moved.
        outside: users without a time of flagging, moved or not: counted, not forecast.
        outside_moved: how many of them are moved.
    """

    origin: pd.Timestamp
    now: float
    flagged: Floats
    moved: Floats
    waiting: Floats
    outside: int
    outside_moved: int

    @property
    def days(self) -> int:
        """Days that have begun, the first to the one of `now`."""
        return int(self.moved.shape[1])

    @property
    def events(self) -> int:
        """Users with a time of flagging who are moved."""
        return int(self.moved.sum())

    @property
    def started(self) -> npt.NDArray[np.bool_]:
        """Which waves are flagged already."""
        return self.flagged <= self.now

    @property
    def exposure(self) -> Floats:
        """Share of each day (columns) that each wave (rows) was flagged and observed."""
        days = np.arange(self.days)
        end = np.minimum(days + 1, self.now)
        return np.asarray(np.clip(end[None, :] - np.maximum(days[None, :], self.flagged[:, None]), 0, 1))

    @property
    def at_risk(self) -> Floats:
        """Users of each wave (rows) that could still move as each day (columns) began."""
        size = self.moved.sum(axis=1) + self.waiting
        return np.asarray(size[:, None] - np.cumsum(self.moved, axis=1) + self.moved)


def count_history(users: pd.DataFrame, as_of: pd.Timestamp, origin: pd.Timestamp | None = None) -> History | None:
    """Count a `users` table as of a moment.

    Args:
        users: a tidy table of users.
        as_of: the moment; whoever moved later is not moved yet, whoever is flagged later is planned.
        origin: where to count days from; the first day of these users if left out.

    Returns:
        the counts, or None if nobody is flagged by then.
    """
    known = users["flagged_at"].notna()
    at = users.loc[known, "flagged_at"]
    if at.empty or (origin is None and at.min() > as_of):
        return None
    origin = origin or at.min().floor("D")
    now = (as_of - origin) / DAY
    flagged = _days(at, origin)
    moved_at = users["migrated_at"].where(users["migrated_at"] <= as_of)
    moved = _days(moved_at[known], origin)
    # A clock that is off may write the move before the flag: it counts on the day of the flag.
    moved = np.fmax(moved, np.where(np.isnan(moved), np.nan, np.minimum(flagged, now)))
    hours = np.floor(flagged * _HOUR).astype(int)
    wave = hours if len(np.unique(hours)) <= _FINE else hours // _HOUR
    waves, of_wave = np.unique(wave, return_inverse=True)
    size = np.bincount(of_wave)
    days = int(np.floor(now)) + 1
    done = ~np.isnan(moved)
    cell = of_wave[done] * days + np.floor(moved[done]).astype(int)
    counts = np.bincount(cell, minlength=len(waves) * days).reshape(len(waves), days).astype(float)
    return History(
        origin=origin,
        now=float(now),
        flagged=np.bincount(of_wave, flagged) / size,
        moved=counts,
        waiting=size - counts.sum(axis=1),
        outside=int((~known).sum()),
        outside_moved=int(moved_at[~known].notna().sum()),
    )


def _days(times: pd.Series, origin: pd.Timestamp) -> Floats:
    return np.asarray((times - origin).dt.total_seconds(), dtype=float) / DAY.total_seconds()

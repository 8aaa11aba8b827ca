"""How fast a migration's clock runs: the rhythm of the week, and the days that were not like others."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd
from scipy.optimize import minimize

from jitkit.progress.history import DAY, Floats, History

__all__ = ["Rhythm", "find_rhythm"]

Window = tuple[pd.Timestamp, pd.Timestamp]

_NOISE: Final = 0.15  # how much two like days differ, as the sigma of a logarithm, besides what chance explains
_ODD: Final = 3.0  # so many standard deviations make a day odd
_ODD_RATIO: Final = 0.4  # … and so much on the logarithmic scale
_SURELY_SOME: Final = 6.0  # moves a day of late: none at all is then no chance
_SHRINK: Final = 4.0  # holds the days of the week together: a sigma of 0.5 on the logarithmic scale
_SHRINK_TREND: Final = 0.1


@dataclass(frozen=True, eq=False)
class Rhythm:
    """A clock that runs with the days: a busy day is long, a day of an outage short.

    Args:
        week: length of Monday to Sunday, 1 on average.
        past: length of each day so far.
        kept: share of each day's moves that an ordinary day would have had; the rest came for a reason of that day,
            such as a reminder mail.
        odd: places of the days that were not like others.
        noise: how much like days differ, as the sigma of a logarithm.
        first: the day of the week of the first day, Monday 0.
    """

    week: Floats
    past: Floats
    kept: Floats
    odd: tuple[int, ...]
    noise: float
    first: int

    def time(self, days: Floats) -> Floats:
        """Read the clock.

        Args:
            days: days since the origin, past or future.

        Returns:
            what the clock shows then, in average days.
        """
        last = max(int(np.ceil(np.max(days))), len(self.past)) + 1
        lengths = self.week[(self.first + np.arange(last)) % 7]
        lengths[: len(self.past)] = self.past
        return np.asarray(np.interp(days, np.arange(last + 1), np.append(0.0, np.cumsum(lengths))))


def find_rhythm(history: History, told: Iterable[Window] = ()) -> Rhythm:
    """Estimate the clock from the history.

    A smooth course by age, the days of the week and odd days are told apart by a Poisson regression on how many of
    those at risk moved on each day; odd days are left out of it one by one, the oddest first.

    Args:
        history: the counts.
        told: the first and last moment of each reminder or outage that the reader knows of.

    Returns:
        the clock.
    """
    first = history.origin.day_of_week
    per_day = history.moved.sum(axis=0)
    known = _days_of(told, history)
    odd = known | _closed(per_day)
    while True:
        course, week = _regress(history, first, odd)
        expected = course.sum(axis=0)
        ratio = np.log((per_day + 0.5) / (expected + 0.5))
        doubt = np.sqrt(1 / (expected + 0.5) + _NOISE**2)
        strange = np.where(np.abs(ratio) > _ODD_RATIO, np.abs(ratio) / doubt, 0)
        strange[[*odd, 0, min(1, history.days - 1)]] = 0
        strange[expected < 1] = 0
        if strange.max() < _ODD or len(odd) >= max(len(known), history.days // 3, 3):
            break
        odd.add(int(strange.argmax()))
    places = sorted(odd)
    share = np.ones(history.days)
    share[places] = np.exp(ratio[places])
    past = week[(first + np.arange(history.days)) % 7] * np.minimum(share, 1)
    plain = np.setdiff1d(np.arange(1, history.days), places)
    extra = np.mean(ratio[plain] ** 2 - 1 / (expected[plain] + 0.5)) if len(plain) else 0.0
    noise = float(np.sqrt(np.clip(extra, 0.05**2, 0.5**2)))
    return Rhythm(week, past, 1 / np.maximum(share, 1), tuple(places), noise, first)


def _days_of(told: Iterable[Window], history: History) -> set[int]:
    days: set[int] = set()
    for start, end in told:
        places = [(moment - history.origin) / DAY for moment in (start, end)]
        days |= set(range(int(np.floor(places[0])), int(np.ceil(places[1])) + 1))
    return {day for day in days if 0 <= day < history.days}


def _closed(per_day: Floats) -> set[int]:
    """Find whole days without a move where the days before let expect several."""
    days: set[int] = set()
    for day in range(2, len(per_day) - 1):
        before = [per_day[other] for other in range(day) if other not in days][-5:]
        if per_day[day] == 0 and min(before) >= 1 and np.mean(before) > _SURELY_SOME:
            days.add(day)
    # The day that is not over yet belongs to the outage if nothing has moved on it either.
    last = len(per_day) - 1
    return days | {last} if last - 1 in days and per_day[last] == 0 else days


def _regress(history: History, first: int, odd: set[int]) -> tuple[Floats, Floats]:
    """Fit moves by age and day of the week, without the odd days.

    Returns:
        the expected moves of each wave on each day, and the lengths of the days of the week.
    """
    days = np.arange(history.days)
    risk = history.at_risk * history.exposure
    age = np.log1p(np.maximum(days[None, :] + 0.5 - history.flagged[:, None], 0))
    weekday = (first + days) % 7
    columns = [np.ones_like(age), age, age**2]
    columns += [np.broadcast_to((weekday == day).astype(float), age.shape) for day in range(7)]
    design = np.stack(columns, axis=-1)
    # A day tells at most as much as its noise allows, however many people moved on it.
    trust = 1 / (1 + _NOISE**2 * history.moved.sum(axis=0))
    trust[sorted(odd)] = 0
    used = (risk > 0) & (trust > 0)[None, :]
    x, n, r = design[used], history.moved[used], risk[used]
    w = np.broadcast_to(trust, risk.shape)[used]
    shrink = np.array([0.0, *[_SHRINK_TREND] * 2, *[_SHRINK] * 7])
    start = np.zeros(x.shape[1])
    start[0] = np.log((n.sum() + 0.5) / (r.sum() + 1)) if len(r) else 0.0

    def loss(beta: Floats) -> tuple[float, Floats]:
        log_rate = np.clip(x @ beta, -30, 5)
        mean = r * np.exp(log_rate)
        gradient = x.T @ (w * (mean - n)) + shrink * beta
        return float(w @ (mean - n * log_rate) + 0.5 * shrink @ beta**2), gradient

    beta = minimize(loss, start, jac=True, method="BFGS").x if len(r) else start
    week = np.exp(beta[3:])
    expected = risk * np.exp(np.clip(design @ beta, -30, 5))
    return expected, week / week.mean()

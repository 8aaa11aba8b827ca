"""Fits how likely users are to come on a day by how long they have been silent, or flagged where no table says that.

Somebody who keeps a habit comes the sooner the shorter ago the last sign-in is. On the first day there are people of
every silence, from a day to years, so that a few days of counts tell what is to come after months. The logarithm of
the daily hazard is a smooth function of the silence, with a level and a trend for people of each recency, the day of
the week and of the month, and a level that walks from week to week. The rhythm of the calendar is read from the days of
the last sign-ins to the old system too. Coefficients have normal priors; draws come from Laplace's approximation.

Where nothing tells the silence, everybody's clock starts at the flag. Then the counts end where the forecast begins,
and the prior says how the function goes on: it falls, the faster the longer people have waited, as it does where
frequent visitors come first and some never come.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.linalg import block_diag

from jitkit.progress.silence import Floats, Spells, Times
from jitkit.progress.tables import DAY

Window = tuple[pd.Timestamp, pd.Timestamp]

NOISE: Final = 0.15  # how much similar days differ, as the sigma of a logarithm, beyond chance
DRAWS: Final = 300
_ODD: Final = 3.0  # standard deviations that make a day odd …
_ODD_RATIO: Final = 0.4  # … and the least distance on the logarithmic scale
_BUSY: Final = 6.0  # moves a day, after which a day without any is no chance
_LEFT: Final = 10  # moves on the days that are like the others: without these, reminders are what is usual
_LATER: Final = 730  # days, after which who has not come is taken to come never
_ROUNDS: Final = 30  # in which the shares of wrong records are found
_WRONG: Final = (0.02, 10.0)  # share of wrong records that is taken for granted, and how many users' worth
_ROUGH: Final = 17  # groups of silence whose wrong records are counted apart, after one of everybody
_FEW, _MIDDLE = 1e-6, 30.0  # users with a right record that are none, and days of silence of those without
_MOST_WAVES: Final = 25
_BANDS: Final = (3.0, 14.0, 45.0, 180.0)  # days of silence at the flag that part the recencies
_KNOTS: Final = np.log(
    (0.5, 1, 2, 4, 7, 14, 24, 35, 50, 75, 110, 160, 230, 300, 365, 430, 550, 800, 1_200, 2_000)  # days
)
_MONTH: Final = np.arange(1.0, 32.0, 3.0)  # days of the month
_OLD: Final = np.log((4, 6, 9, 14, 25, 45, 80, 140, 220))  # days before the export
# Standard deviations of the priors: the function's bend, its slope from knot to knot, the levels and trends of the
# recencies, the days of the week, the days of the month and the steps between them, the walk from week to week.
_BEND, _SLOPE, _LEVEL, _TREND, _WEEKDAY, _MONTHLY, _STEP, _WALK = 0.4, 0.45, 0.3, 0.1, 0.5, 1.0, 0.4, 0.12
_CONFUSED: Final = 0.03  # the days of the month and the walk where nothing tells them from the time since the flag
_FALLS: Final = 0.3 * (_KNOTS - _KNOTS[0]) - 0.175 * (_KNOTS - _KNOTS[0]) ** 2  # the function before any count


def days_of(windows: Iterable[Window], times: Times) -> set[int]:
    """Return the numbers of the days so far on which the windows lie; none where hardly a user moved on the others."""
    spans = [((start - times.origin) // DAY, -((times.origin - end) // DAY)) for start, end in windows]
    days = {day for day in range(len(times.per_day)) if any(first <= day <= last for first, last in spans)}
    return days if np.delete(times.per_day, sorted(days)).sum() >= _LEFT else set()


def _closed_days(per_day: Floats) -> set[int]:
    """Find whole days without a move where the days before had several."""
    days: set[int] = set()
    for day in range(2, len(per_day) - 1):
        before = [per_day[other] for other in range(day) if other not in days][-5:]
        if per_day[day] == 0 and min(before) >= 1 and np.mean(before) > _BUSY:
            days.add(day)
    # The day that is not over yet belongs to the outage if no user has moved on it either.
    last = len(per_day) - 1
    return days | {last} if last - 1 in days and per_day[last] == 0 else days


def _oddest(per_day: Floats, expected: Floats, odd: set[int]) -> set[int]:
    """Return the day that is most unlike the others, if one is, and is not known to be odd."""
    ratio = np.log((per_day + 0.5) / (expected + 0.5))
    doubt = np.sqrt(1 / (expected + 0.5) + NOISE**2)
    strange = np.where((np.abs(ratio) > _ODD_RATIO) & (expected >= 1), np.abs(ratio) / doubt, 0)
    strange[[*odd, 0, min(1, len(per_day) - 1)]] = 0
    return {int(strange.argmax())} if strange.max() >= _ODD else set()


@dataclass(frozen=True, eq=False)
class Records:
    """How far the records of last sign-ins are right, and how fast everybody moves, whatever the record."""

    wrong: Floats  # share of records of each group of silence that say nothing
    alike: tuple[float, float]  # share of those without a record who are like the others: who wait, and at the flag
    survival: Floats  # share of everybody, and of each group of silence (rows), that still waits at each age in days
    hazard: Floats  # of everybody, at each age

    def right(self, some: Spells, until: float) -> Floats:
        """Return the chance of each person who waits that the record is right."""
        age = np.clip(until - some.start, 0, self.survival.shape[1] - 1).astype(int)
        return np.where(some.tried, 1.0, 1 - self.share(_rough(some.silent), age))

    def share(self, group: npt.NDArray[np.int64], age: npt.NDArray[np.int64]) -> Floats:
        """Return the share of a group, of those who wait at an age, whose record is wrong."""
        share = self.wrong[group] * self.survival[0, age] / np.maximum(self.survival[group, age], 1e-9)
        return np.asarray(np.minimum(share, 0.999))


def _rough(silent: Floats) -> npt.NDArray[np.int64]:
    """Return the group of each silence; 0 is everybody."""
    return np.asarray(1 + np.minimum(np.floor(2 * np.log1p(np.nan_to_num(silent))), _ROUGH - 2).astype(int))


def _records(some: Spells, now: float) -> Records:
    """Follow everybody with a record, and each group of silence, by age."""
    unknown, started = np.isnan(some.silent), some.start <= now
    known = ~unknown & ~some.tried & started
    days = int(np.floor(now - some.start.min())) + 2
    cell = _rough(some.silent) * days + np.minimum(np.floor(some.end - some.start), days - 1).astype(int).clip(min=0)
    left, moved = (
        np.bincount(cell[which], minlength=_ROUGH * days).reshape(_ROUGH, days).astype(float)
        for which in (known, known & some.moved)
    )
    left[0], moved[0] = left.sum(axis=0), moved.sum(axis=0)
    at_risk = np.cumsum(left[:, ::-1], axis=1)[:, ::-1]
    share = moved / np.maximum(at_risk - (left - moved) / 2, 1)
    survival = np.cumprod(np.pad(1 - np.minimum(share, 1), ((0, 0), (1, 0)), constant_values=1)[:, :-1], axis=1)
    hazard = -np.log1p(-np.minimum(share[0], 0.95))
    lost = unknown & started
    waits = survival[0, np.clip(now - some.start[lost], 0, days - 1).astype(int)]
    ratio = min(1.0, (some.moved[lost].sum() + 2) / ((1 - waits).sum() + 2))
    alike = min(1.0, ratio * waits.sum() / max(some.open[lost].sum(), 1)), ratio
    return Records(np.full(_ROUGH, _WRONG[0] * bool(some.silent.any())), alike, survival, hazard)


@dataclass(frozen=True, eq=False)
class Hazard:
    """The fitted hazard: draws of the coefficients, and what each day so far was expected to bring."""

    times: Times
    knots: Floats
    draws: Floats
    odd: tuple[int, ...]  # numbers of the days that were unlike the others
    usual: Floats  # moves expected on each day so far
    records: Records
    spells: Spells

    def expected(self, rows: npt.NDArray[np.bool_], days: int, soon: int = 1) -> tuple[Floats, Floats, Floats]:
        """Return further moves by each day of the people in some rows, and how many of them never come, per draw.

        The third part is the chance of each of them, one after the other, to come within `soon` days.
        """
        now, waiting = self.times.now, self.spells.only(self.spells.open & rows[self.spells.row])
        ends = np.append(np.arange(1.0, days + 1), np.arange(days + 10.0, max(_LATER, days + 11), 10))
        before = np.append(0.0, ends[:-1])
        (size, silent, start, tried), of_each = _alike(waiting, now, self.records)
        middle = np.tile(now + (before + ends) / 2, len(size))
        passed = (now + ends)[None, :] - np.maximum(start[:, None], now + before[None, :])
        cell = np.repeat(np.arange(len(size)), len(ends))
        age = np.maximum(middle - start[cell], 0.25)
        design = _design(middle, silent[cell] + age, age, tried[cell], self.times.origin, self.knots)
        rate = np.exp(np.minimum(design @ self.draws.T, 2.0))
        weeks = np.diff(np.append(0.0, ends)) / 7
        steps = np.random.default_rng(0).normal(0, _WALK, (len(self.draws), len(ends)))
        walk = np.cumsum(steps * np.sqrt(weeks), axis=1)
        rate = rate.reshape(len(size), len(ends), DRAWS) * np.exp(walk.T)[None] * np.maximum(passed, 0)[..., None]
        chance = -np.expm1(-np.cumsum(rate, axis=1))
        moves = np.einsum("g,gtd->dt", size, chance)
        course = np.hstack([np.zeros((len(moves), 1)), moves[:, :days]])
        return course, rows.sum() - moves[:, -1], of_each(chance[:, soon - 1].mean(axis=1))


def _alike(
    waiting: Spells, now: float, records: Records
) -> tuple[tuple[npt.NDArray[Any], ...], Callable[[Floats], Floats]]:
    """Put together people who have waited and been silent about as long: how many, and their means.

    Those whose record is wrong or missing are shared out among those of a right one who wait as long. The second part
    gives each person the chance that follows from those of the groups.
    """
    planned, tried = waiting.start > now, waiting.tried
    waited = np.maximum(now - waiting.start, 0)
    age = np.where(planned, -np.floor(waiting.start - now) - 1, np.floor(1.5 * np.log1p(waited))).astype(int)
    ages, wave = np.unique(age, return_inverse=True)
    known, alike = ~np.isnan(waiting.silent), np.where(planned, records.alike[1], records.alike[0])
    own = np.where(known, records.right(waiting, now), 0)
    lost = np.where(known, 1 - own, alike)
    if own[~tried].sum() <= _FEW:  # the middle of the knots stands for those of a right record
        own, lost = np.where(tried, own, alike), np.zeros(len(own))
        waiting = replace(waiting, silent=np.where(tried, 0.0, _MIDDLE))
    some = own > 0
    right, age, sure = waiting.only(some), age[some], own[some]
    first, group = _groups(age, np.digitize(right.silent, _BANDS), 3 * np.log1p(right.silent), right.tried)
    size = np.bincount(group, sure)
    mean = [np.bincount(group, sure * part) / size for part in (right.silent, right.start)]
    among = np.zeros((len(ages), len(size)))
    np.add.at(among, (wave[some], group), sure * ~right.tried)
    # Where nobody of a wave has a right record, those of the others stand for them.
    among[among.sum(axis=1) <= _FEW] = among.sum(axis=0)
    among /= np.maximum(among.sum(axis=1, keepdims=True), _FEW)

    def of_each(chance: Floats) -> Floats:
        result = lost * (among @ chance)[wave]
        result[some] += sure * chance[group]
        return np.asarray(result)

    return (size + np.bincount(wave, lost) @ among, *mean, right.tried[first]), of_each


def _groups(*parts: npt.NDArray[Any]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Group rows whose values agree but for fractions: returns a row of each group, and the group of each row."""
    whole = [np.floor(part * 1.0).astype(np.int64) for part in parts]
    numbers = tuple(each - each.min(initial=0) for each in whole)
    code = np.ravel_multi_index(numbers, [int(each.max(initial=0)) + 1 for each in numbers])
    _, first, group = np.unique(code, return_index=True, return_inverse=True)
    return first, group


def _design(
    day: Floats, silence: Floats, age: Floats, tried: npt.NDArray[np.bool_], origin: pd.Timestamp, knots: Floats
) -> Floats:
    """Return a column for each coefficient, the calendar's last."""
    band = np.eye(len(_BANDS) + 1)[np.digitize(silence - age + 1e-6, _BANDS)]
    smooth, walk = _hats(np.log(np.maximum(silence, 0.5)), _KNOTS), _hats(day, knots)
    trend = band * np.log1p(age)[:, None]
    return np.hstack([smooth, band, trend, tried[:, None], walk, _calendar(day, origin)])


def _hats(values: Floats, knots: Floats) -> Floats:
    """Return the weights by which each value lies between its two knots."""
    at = np.interp(values, knots, np.arange(len(knots)))
    return np.asarray(np.maximum(1 - np.abs(at[:, None] - np.arange(len(knots))), 0))


def _calendar(day: Floats, origin: pd.Timestamp) -> Floats:
    dates = origin + pd.to_timedelta(np.floor(day), unit="D")
    return np.hstack([np.eye(7)[dates.day_of_week], _hats(np.asarray(dates.day, dtype=float), _MONTH)])


def _precision(knots: int, *, silences: bool) -> Floats:
    """Return the precision of the prior, with the old system's own coefficients last."""

    def rough(size: int, order: int, sigma: float) -> Floats:
        steps = np.diff(np.eye(size), order, axis=0) / sigma
        return np.asarray(steps.T @ steps)

    bands = len(_BANDS) + 1
    plain = np.repeat([_LEVEL, _TREND, 1.0], [bands, bands, 1])
    smooth = rough(len(_KNOTS), 2, _BEND) + rough(len(_KNOTS), 1, _SLOPE)
    walk = rough(knots, 1, _WALK if silences else _CONFUSED)
    walk[0, 0] += 1e6  # the walk starts from the level of the smooth function
    month = rough(len(_MONTH), 1, _STEP) + np.eye(len(_MONTH)) / (_MONTHLY if silences else _CONFUSED) ** 2
    parts = [smooth, np.diag(plain**-2), walk, np.eye(7) / _WEEKDAY**2, month, rough(len(_OLD), 2, 1.0)]
    result = np.asarray(block_diag(*parts))
    return result + 1e-4 * np.eye(len(result))


def fit_hazard(some: Spells, seen: Floats, times: Times, known_odd: set[int]) -> Hazard:
    """Fit the hazard to the times of waiting and to the days on which the old system saw people last (`seen`)."""
    now, per_day, origin, records = times.now, times.per_day, times.origin, _records(some, times.now)
    day, silence, age, tried, moved, exposure = _count(some, now, len(per_day))
    group, aged = _rough(np.maximum(silence - age, 0)), np.floor(age).astype(int)
    knots, silences = np.arange(0.0, max(now - 3, 0.1), 7.0), bool(some.silent.any())
    ago, counts = _old_days(seen)
    x, own = _design(day, silence, age, tried, origin, knots), _calendar(-ago, origin)
    columns = x.shape[1]
    own = np.hstack([np.zeros((len(ago), columns - own.shape[1])), own, _hats(np.log(ago), _OLD)])
    x = np.vstack([np.pad(x, ((0, 0), (0, len(_OLD)))), own])
    y, none = np.concatenate([moved, counts]), np.zeros(len(ago))
    number = day.astype(int)
    odd = known_odd | _closed_days(per_day)
    precision = _precision(len(knots), silences=silences)
    prior = np.pad(_FALLS, (0, x.shape[1] - len(_KNOTS)))
    beta = np.zeros(x.shape[1])
    beta[: len(_KNOTS)] = np.log((moved.sum() + 0.5) / (exposure.sum() + 1))
    beta[columns:] = np.log(counts.mean() + 0.5) if len(counts) else 0.0

    waiting = some.only(some.open & (some.start <= now) & ~np.isnan(some.silent) & ~some.tried)
    group_of = _rough(waiting.silent)
    of_group = np.bincount(group_of, minlength=_ROUGH) + np.bincount(group, moved * ~tried, minlength=_ROUGH)
    changed, moving, rounds = True, 1.0, 0
    while changed or moving > 0.003 or rounds < 4:
        # A day weighs at most as much as its noise allows, however many users moved on it.
        trust = 1 / (1 + NOISE**2 * per_day)
        trust[sorted(odd)] = 0
        weight = np.concatenate([trust[number], 1 / (1 + NOISE**2 * counts)])
        share = np.where(tried, 0, records.share(group, aged))
        offset = np.concatenate([np.log(exposure * (1 - share)), none])
        base = np.concatenate([exposure * share * records.hazard[aged], none])
        beta, information = _newton(x, y, offset, base, weight, precision, prior, beta)
        mean = (np.exp(offset + x @ beta) + base)[: len(day)]
        wrong = np.asarray(np.bincount(group, moved * base[: len(day)] / mean, minlength=_ROUGH), dtype=float)
        wrong += np.bincount(group_of, 1 - records.right(waiting, now), minlength=_ROUGH)
        wrong = (wrong + _WRONG[0] * _WRONG[1]) / (of_group + _WRONG[1]) * silences
        moving = float(np.abs(wrong - records.wrong).max()) if rounds < _ROUNDS else 0.0
        records = replace(records, wrong=wrong)
        usual = np.asarray(np.bincount(number, mean, minlength=len(per_day)), dtype=float)
        strange = _oddest(per_day, usual, odd) if rounds > 2 and len(odd) < max(len(known_odd), now // 3, 3) else set()
        changed, odd, rounds = bool(strange), odd | strange, rounds + 1
    deviates = np.random.default_rng(0).normal(size=(len(beta), DRAWS))
    draws = (beta[:, None] + np.linalg.solve(np.linalg.cholesky(information).T, deviates)).T[:, :columns]
    return Hazard(times, knots, draws, tuple(sorted(odd)), usual, records, some)


def _newton(
    x: Floats, y: Floats, offset: Floats, base: Floats, weight: Floats, precision: Floats, prior: Floats, beta: Floats
) -> tuple[Floats, Floats]:
    """Return the mode of a penalised Poisson regression with a known `base` of the means, and the information there."""
    for _ in range(25):
        part = np.exp(np.clip(offset + x @ beta, -30, 12))
        mean = part + base
        information = x.T @ (x * (weight * part * part / mean)[:, None]) + precision
        step = np.linalg.solve(information, x.T @ (weight * part * (y / mean - 1)) - precision @ (beta - prior))
        step *= min(1.0, 2.0 / max(np.abs(step).max(), 1e-9))
        beta = beta + step
        if np.abs(step).max() < 1e-2:
            break
    return beta, information


def _count(some: Spells, now: float, days: int) -> tuple[npt.NDArray[Any], ...]:
    """Count those with a record who are at risk and move, for each day and people who are alike.

    Returns day, silence, age and whether they tried, and how many moved of how many days at risk.
    """
    some = some.only((some.start <= now) & ~np.isnan(some.silent))
    wave = np.floor(some.start)
    if len(np.unique(wave)) > _MOST_WAVES:
        wave = np.digitize(some.start, np.quantile(some.start, np.linspace(0, 1, _MOST_WAVES)[1:-1]))
    band = np.digitize(some.silent, _BANDS)
    first, group = _groups(wave, band, 8 * np.log1p(some.silent), some.tried)
    band, tried, shape = band[first], some.tried[first], (len(first), days)
    size = np.bincount(group).astype(float)
    start, silent = (np.bincount(group, part) / size for part in (some.start, some.silent))
    cell = group * days + np.minimum(np.floor(some.end), days - 1).astype(int)
    leaving, moving = (
        np.bincount(cell[which], minlength=np.prod(shape)).reshape(shape) for which in (~some.open, some.moved)
    )
    at_risk = size[:, None] - np.cumsum(leaving, axis=1) + leaving / 2
    begin = np.maximum(np.arange(float(days))[None, :], start[:, None])
    until = np.minimum(np.arange(1.0, days + 1)[None, :], now)
    exposure = at_risk * np.clip(until - begin, 0, 1)
    row, day = np.nonzero(exposure > 1e-9)
    age = np.maximum((begin + until) / 2 - start[:, None], 0.05)[row, day]
    exposure, moving = exposure[row, day], moving[row, day]
    silence = silent[row] + age
    first, group = _groups(day, band[row], 6 * np.log1p(silence), 3 * np.log1p(age), tried[row])
    total = np.bincount(group, exposure)
    silence, age = (np.bincount(group, exposure * part) / total for part in (silence, age))
    return day[first].astype(float), silence, age, tried[row][first], np.bincount(group, moving), total


def _old_days(seen: Floats) -> tuple[Floats, Floats]:
    """Count the users seen last on each of the days before the export, without the last days and the distant ones."""
    known = np.floor(seen[np.isfinite(seen) & (seen < 1)])
    if not len(known):
        return np.empty(0), np.empty(0)
    ago = np.arange(np.exp(_OLD[0]), np.exp(_OLD[-1]))
    counts = np.bincount(np.maximum(-known, 0).astype(int), minlength=int(ago[-1]) + 2)
    return ago, counts[ago.astype(int)].astype(float)

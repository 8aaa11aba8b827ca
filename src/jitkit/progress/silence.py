"""Fits how likely people are to come on a day by how long they have been silent.

Somebody who keeps a habit comes the sooner the shorter ago the last sign-in is. On the first day there are people of
every silence, from a day to years, so that a few days of counts tell what is to come after months. The logarithm of
the daily hazard is a smooth function of the silence, with a level and a trend for people of each recency, the day of
the week and of the month, and a level that walks from week to week. The rhythm of the calendar is read from the days of
the last sign-ins to the old system too. Coefficients have normal priors; draws come from Laplace's approximation.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from jitkit.progress.survival import DAY, LATER, NOISE, Floats, closed_days, most_odd

__all__ = ["COLUMN", "Silence", "Spells", "Visits", "days_silent", "fit_silence", "spells"]

COLUMN: Final = "last_legacy_sign_in"
"""The column of users with the day of the last sign-in to the old system, or how long before the start it was."""

Visits = tuple[npt.NDArray[np.int64], Floats]
"""Sign-ins to the new system: rows of users, and days since the origin."""

_DRAWS: Final = 300
_ROUNDS: Final = 30  # in which the shares of wrong records are found
_VISIT: Final = 0.5  # days that a visit may last
_KNOWN: Final = 0.5  # share of users of whom a last sign-in must be known
_WRONG: Final = (0.02, 10.0)  # share of wrong records that is taken for granted, and how many users' worth
_ROUGH: Final = 17  # groups of silence whose wrong records are counted apart, after one of everybody
_FEW, _MIDDLE = 1e-6, 30.0  # users with a right record that are none, and days of silence of those without
_BANDS: Final = (3.0, 14.0, 45.0, 180.0)  # days of silence at the flag that part the recencies
_KNOTS: Final = np.log(
    (0.5, 1, 2, 4, 7, 14, 24, 35, 50, 75, 110, 160, 230, 300, 365, 430, 550, 800, 1_200, 2_000)  # days
)
_MONTH: Final = np.arange(1.0, 32.0, 3.0)  # days of the month
_OLD: Final = np.log((4, 6, 9, 14, 25, 45, 80, 140, 220))  # days before the export
_TREND_IN_WORDS: Final = 0.6  # a range of words holds people of many habits, of whom the frequent ones come first
# Standard deviations of the priors.
_BEND, _LEVEL, _TREND, _WEEKDAY, _STEP, _WALK = 0.5, 0.3, 0.1, 0.5, 0.4, 0.12


def days_silent(users: pd.DataFrame, flagged: Floats, origin: pd.Timestamp) -> tuple[Floats, Floats] | None:
    """Read how many days each user had been silent when flagged (NaN: not known), and on which day they were seen last.

    Dates that were exported before a flag count up to the export: what came in between, nobody recorded. Words such as
    `31-90 days before` count as the middle of their range, and a word without a number as twice the largest of these.
    Who went on using the old system is a visitor on that day, and how silent before is not known. The second part is
    empty for words. Returns None where too few users have one.
    """
    if COLUMN not in users:
        return None
    texts = users[COLUMN].astype("str").fillna("")
    dates = pd.to_datetime(texts, errors="coerce", utc=True, format="ISO8601")
    if dates.notna().sum() > _KNOWN * len(users):
        seen = np.asarray((dates - origin).dt.total_seconds(), dtype=float) / DAY.total_seconds() + 0.5
        exported = np.nanmax(seen[seen <= np.nanmax(flagged) + 1], initial=-1.0)
        silent = np.maximum(np.minimum(flagged, exported) - seen, 0)
        silent[seen > flagged + 1] = np.nan  # what came before is not recorded any more
        return (silent, seen) if np.isfinite(silent).sum() > _KNOWN * len(users) else None
    words = pd.Series(list(texts.unique()))
    ranges = words.str.extract(r"(\d+)\D+(\d+)").astype(float)
    middle = pd.Series(np.sqrt((ranges[0].to_numpy() + 1) * (ranges[1].to_numpy() + 1)), words)
    middle[middle.isna() & (words != "").to_numpy()] = 2 * ranges[1].max()
    known = np.asarray(texts.map(middle), dtype=float)
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

    @property
    def band(self) -> npt.NDArray[np.int64]:
        """Number of the recency."""
        return np.digitize(self.silent, _BANDS)

    def only(self, some: npt.NDArray[np.bool_]) -> Spells:
        """Return some of them."""
        return Spells(*(part[some] for part in vars(self).values()))


def spells(silent: Floats, start: Floats, moved: Floats, now: float, visits: Visits) -> Spells:
    """Cut each user's time of waiting at the visits; `moved` is NaN for those who wait."""
    end = np.fmax(np.where(np.isnan(moved), now, moved), start)
    row, at = visits
    # The sign-in that moves somebody, and what went wrong just before it, are one visit.
    inside = (at > start[row]) & (at < end[row] - np.where(np.isnan(moved[row]), 0, _VISIT))
    row, at = row[inside], at[inside]
    rows, starts = np.concatenate([np.arange(len(start)), row]), np.concatenate([start, at])
    order = np.lexsort((starts, rows))
    rows, starts, tried = rows[order], starts[order], order >= len(start)
    last = np.append(rows[1:] != rows[:-1], True)
    ends = np.where(last, end[rows], np.append(starts[1:], 0))
    done = last & ~np.isnan(moved[rows])
    return Spells(rows, np.where(tried, 0.0, silent[rows]), starts, ends, done, tried, last & ~done)


@dataclass(frozen=True, eq=False)
class Cells:
    """People at risk on a day, who are alike, and how many of them moved."""

    day: Floats
    silence: Floats
    age: Floats
    band: npt.NDArray[np.int64]
    tried: Floats
    moved: Floats
    exposure: Floats

    def design(self, origin: pd.Timestamp, knots: Floats) -> Floats:
        """Return a column for each coefficient."""
        band = np.eye(len(_BANDS) + 1)[self.band]
        return np.hstack(
            [
                _hats(np.log(np.maximum(self.silence, 0.5)), _KNOTS),
                band,
                band * np.log1p(self.age)[:, None],
                self.tried[:, None],
                _calendar(self.day, origin),
                _hats(self.day, knots),
            ]
        )


def _hats(values: Floats, knots: Floats) -> Floats:
    """Return the weights by which each value lies between its two knots."""
    at = np.interp(values, knots, np.arange(len(knots)))
    return np.asarray(np.maximum(1 - np.abs(at[:, None] - np.arange(len(knots))), 0))


def _calendar(day: Floats, origin: pd.Timestamp) -> Floats:
    dates = origin + pd.to_timedelta(np.floor(day), unit="D")
    return np.hstack([np.eye(7)[dates.day_of_week], _hats(np.asarray(dates.day, dtype=float), _MONTH)])


def _precision(knots: int, old: int, trend: float) -> Floats:
    """Return the precision of the prior, with the old system's own coefficients last."""

    def rough(size: int, order: int, sigma: float) -> Floats:
        steps = np.diff(np.eye(size), order, axis=0) / sigma
        return np.asarray(steps.T @ steps) + 1e-4 * np.eye(size)

    bands = len(_BANDS) + 1
    month = rough(len(_MONTH), 1, _STEP) + np.eye(len(_MONTH))
    walk = rough(knots, 1, _WALK)
    walk[0, 0] += 1e6  # the walk starts from the level of the smooth function
    plain = np.repeat([_LEVEL, trend, 1.0, _WEEKDAY], [bands, bands, 1, 7]) ** -2.0
    blocks = [rough(len(_KNOTS), 2, _BEND), np.diag(plain), month, walk, rough(old, 2, 1.0)]
    size = sum(map(len, blocks))
    result, at = np.zeros((size, size)), 0
    for block in blocks:
        result[at : at + len(block), at : at + len(block)] = block
        at += len(block)
    return result


@dataclass(frozen=True, eq=False)
class Silence:
    """The fitted hazard: draws of the coefficients, and the days that were unlike the others."""

    origin: pd.Timestamp
    now: float
    knots: Floats
    mode: Floats
    draws: Floats
    odd: tuple[int, ...]
    records: Records
    spells: Spells
    noise: float = NOISE
    pace: float = 0.0  # the level walks by itself

    def expected(self, rows: npt.NDArray[np.bool_], days: int) -> tuple[Floats, Floats]:
        """Return further moves by each day of the people in some rows, and how many of them never come, per draw."""
        waiting = self.spells.only(self.spells.open & rows[self.spells.row])
        ends = np.append(np.arange(1.0, days + 1), np.arange(days + 10.0, max(LATER, days + 11), 10))
        rng, before = np.random.default_rng(0), np.append(0.0, ends[:-1])
        size, silent, start, band, tried = _alike(waiting, self.now, self.records)
        middle, steps = self.now + (before + ends) / 2, np.arange(len(ends))
        passed = (self.now + ends)[None, :] - np.maximum(start[:, None], self.now + before[None, :])
        age = np.maximum(middle[None, :] - start[:, None], 0.25)
        at, cell = np.tile(steps, len(size)), np.repeat(np.arange(len(size)), len(ends))
        age_of, none = age.ravel(), np.empty(0)
        cells = Cells(middle[at], silent[cell] + age_of, age_of, band.astype(int)[cell], tried[cell], none, none)
        design = cells.design(self.origin, self.knots)
        rate = np.exp(np.minimum(design @ self.draws.T, 2.0))
        # Few counts leave the logarithm of a hazard open to both sides alike; that does not make the hazard higher.
        rate *= (np.exp(np.minimum(design @ self.mode, 2.0)) / rate.mean(axis=1))[:, None]
        weeks = np.diff(np.append(0.0, ends)) / 7
        walk = np.cumsum(rng.normal(0, 1, (len(self.draws), len(ends))) * _WALK * np.sqrt(weeks), axis=1)
        rate = rate.reshape(len(size), len(ends), -1) * np.exp(walk.T)[None] * np.maximum(passed, 0)[..., None]
        gone = -np.expm1(-np.cumsum(rate, axis=1))
        moves = np.einsum("g,gtd->dt", size, gone)
        return np.hstack([np.zeros((len(moves), 1)), moves[:, :days]]), rows.sum() - moves[:, -1]


def _alike(waiting: Spells, now: float, records: Records) -> tuple[npt.NDArray[Any], ...]:
    """Put together people who have waited and been silent about as long.

    Those whose record is wrong or missing are shared out among those of a right one who wait as long.
    """
    right = records.right(waiting, now)
    known = ~np.isnan(waiting.silent)
    planned = waiting.start > now
    waited = np.maximum(now - waiting.start, 0)
    age = np.where(planned, -np.floor(waiting.start - now) - 1, np.floor(1.5 * np.log1p(waited))).astype(int)
    _, wave = np.unique(age, return_inverse=True)
    lost = np.bincount(wave, np.where(known, 1 - right, records.alike))
    sure = np.bincount(wave, np.where(known & ~waiting.tried, right, 0))
    # Where nobody of a wave has a right record, those of the others stand for them, and else the middle of the knots.
    share = np.where(sure > _FEW, lost / np.maximum(sure, _FEW), 0)
    share += lost[sure <= _FEW].sum() / max(sure.sum(), _FEW)
    weight = np.where(known, right, 0) * np.where(waiting.tried, 1, 1 + share[wave])
    if sure.sum() <= _FEW:
        weight = np.where(waiting.tried, weight, records.alike)
        waiting = replace(waiting, silent=np.where(waiting.tried, 0.0, _MIDDLE))
    some = weight > 0
    waiting, age, weight = waiting.only(some), age[some], weight[some]
    first, group = _groups(age, waiting.band, 3 * np.log1p(waiting.silent), waiting.tried)
    size = np.bincount(group, weight)
    mean = [np.bincount(group, weight * part) / size for part in (waiting.silent, waiting.start)]
    return size, *mean, waiting.band[first], waiting.tried[first]


def _groups(*parts: npt.NDArray[Any]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Group rows whose values agree but for fractions: returns a row of each group, and the group of each row."""
    code = np.zeros(len(parts[0]), dtype=np.int64)
    for part in parts:
        value = np.floor(part).astype(np.int64) if part.dtype != bool else part.astype(np.int64)
        value -= value.min(initial=0)
        code = code * (value.max(initial=0) + 1) + value
    _, first, group = np.unique(code, return_index=True, return_inverse=True)
    return first, group


@dataclass(frozen=True, eq=False)
class Records:
    """How far the records of last sign-ins are right, and how fast everybody moves, whatever the record."""

    wrong: Floats  # share of records of each group of silence that say nothing
    alike: float  # share of those who wait without a record who are like the others who wait
    survival: Floats  # share of everybody, and of each group of silence (rows), that still waits at each age in days
    hazard: Floats  # of everybody, at each age

    def right(self, some: Spells, until: Floats | float) -> Floats:
        """Return the chance of each person who waits that the record is right."""
        age = np.clip(until - some.start, 0, self.survival.shape[1] - 1).astype(int)
        return np.where(some.tried, 1.0, 1 - self.share(1 + _rough(some.silent), age))

    def share(self, group: npt.NDArray[np.int64], age: npt.NDArray[np.int64]) -> Floats:
        """Return the share of a group, of those who wait at an age, whose record is wrong."""
        share = self.wrong[group] * self.survival[0, age] / np.maximum(self.survival[group, age], 1e-9)
        return np.asarray(np.minimum(share, 0.999))


def _rough(silent: Floats) -> npt.NDArray[np.int64]:
    return np.asarray(np.minimum(np.floor(2 * np.log1p(np.nan_to_num(silent))), _ROUGH - 2).astype(int))


def _records(some: Spells, now: float) -> Records:
    """Follow everybody with a record, and each group of silence, by age."""
    known = ~np.isnan(some.silent) & ~some.tried & (some.start <= now)
    days = int(np.floor(now - some.start.min())) + 2
    age = np.minimum(np.floor(some.end - some.start), days - 1).astype(int).clip(min=0)
    cell = (1 + _rough(some.silent)) * days + age
    left = np.bincount(cell[known], minlength=_ROUGH * days).reshape(_ROUGH, days).astype(float)
    moved = np.bincount(cell[known & some.moved], minlength=_ROUGH * days).reshape(_ROUGH, days).astype(float)
    left[0], moved[0] = left.sum(axis=0), moved.sum(axis=0)
    at_risk = np.cumsum(left[:, ::-1], axis=1)[:, ::-1]
    share = moved / np.maximum(at_risk - (left - moved) / 2, 1)
    survival = np.cumprod(1 - np.minimum(share, 1), axis=1)
    survival = np.hstack([np.ones((_ROUGH, 1)), survival[:, :-1]])
    hazard = -np.log1p(-np.minimum(share[0], 0.95))
    unknown = np.isnan(some.silent) & (some.start <= now)
    waits = survival[0, np.clip(now - some.start[unknown], 0, days - 1).astype(int)]
    ratio = min(1.0, (some.moved[unknown].sum() + 2) / ((1 - waits).sum() + 2))
    alike = min(1.0, ratio * waits.sum() / max(some.open[unknown].sum(), 1))
    return Records(np.full(_ROUGH, _WRONG[0]), alike, survival, hazard)


def fit_silence(some: Spells, seen: Floats, origin: pd.Timestamp, now: float, known_odd: set[int]) -> Silence:
    """Fit the hazard to the times of waiting and to the days on which the old system saw people last (`seen`)."""
    days, records = int(np.floor(now)) + 1, _records(some, now)
    cells, group, age = _count(some, now, days)
    knots = np.arange(0.0, max(now - 3, 0.1), 7.0)
    ago, counts = _old_days(seen)
    design = cells.design(origin, knots)
    rows, columns = design.shape
    x = np.zeros((rows + len(ago), columns + len(_OLD)))
    x[:rows, :columns] = design
    end = columns - len(knots)
    x[rows:, end - 7 - len(_MONTH) : end] = _calendar(-ago, origin)
    x[rows:, columns:] = _hats(np.log(ago), _OLD)
    y = np.concatenate([cells.moved, counts])
    day = cells.day.astype(int)
    per_day = np.asarray(np.bincount(day, cells.moved, minlength=days), dtype=float)
    odd = known_odd | closed_days(per_day)
    precision, beta = _precision(len(knots), len(_OLD), _TREND if len(seen) else _TREND_IN_WORDS), np.zeros(x.shape[1])
    beta[: len(_KNOTS)] = np.log((cells.moved.sum() + 0.5) / (cells.exposure.sum() + 1))
    beta[columns:] = np.log(counts.mean() + 0.5) if len(counts) else 0.0

    waits = some.open & (some.start <= now) & ~np.isnan(some.silent) & ~some.tried
    waiting = some.only(waits)
    group_of = 1 + _rough(waiting.silent)
    of_group = np.bincount(group_of, minlength=_ROUGH) + np.bincount(
        group, cells.moved * (cells.tried == 0), minlength=_ROUGH
    )
    changed, moving, rounds = True, 1.0, 0
    while changed or moving > 0.003 or rounds < 4:
        # A day weighs at most as much as its noise allows, however many users moved on it.
        trust = 1 / (1 + NOISE**2 * per_day)
        trust[sorted(odd)] = 0
        weight = np.concatenate([trust[day], 1 / (1 + NOISE**2 * counts)])
        share = np.where(cells.tried > 0, 0, records.share(group, age))
        offset = np.concatenate([np.log(cells.exposure * (1 - share)), np.zeros(len(ago))])
        base = np.concatenate([cells.exposure * share * records.hazard[age], np.zeros(len(ago))])
        beta, information = _newton(x, y, offset, base, weight, precision, beta)
        mean = (np.exp(offset + x @ beta) + base)[:rows]
        wrong = np.asarray(np.bincount(group, cells.moved * base[:rows] / mean, minlength=_ROUGH), dtype=float)
        wrong += np.bincount(group_of, 1 - records.right(waiting, now), minlength=_ROUGH)
        wrong = (wrong + _WRONG[0] * _WRONG[1]) / (of_group + _WRONG[1])
        moving = float(np.abs(wrong - records.wrong).max()) if rounds < _ROUNDS else 0.0
        records = replace(records, wrong=wrong)
        usual = np.asarray(np.bincount(day, mean, minlength=days), dtype=float)
        strange = most_odd(per_day, usual, odd) if rounds > 2 else None
        changed = strange is not None and len(odd) < max(len(known_odd), days // 3, 3)
        odd, rounds = odd | {strange} if strange is not None and changed else odd, rounds + 1
    rng = np.random.default_rng(0)
    deviates = np.linalg.solve(np.linalg.cholesky(information).T, rng.normal(size=(len(beta), _DRAWS)))
    draws = (beta[:, None] + deviates).T[:, :columns]
    return Silence(origin, now, knots, beta[:columns], draws, tuple(sorted(odd)), records, some)


def _newton(
    x: Floats, y: Floats, offset: Floats, base: Floats, weight: Floats, precision: Floats, beta: Floats
) -> tuple[Floats, Floats]:
    """Return the mode of a penalised Poisson regression with a known `base` of the means, and the information there."""
    for _ in range(25):
        part = np.exp(np.clip(offset + x @ beta, -30, 12))
        mean = part + base
        information = x.T @ (x * (weight * part * part / mean)[:, None]) + precision
        step = np.linalg.solve(information, x.T @ (weight * part * (y / mean - 1)) - precision @ beta)
        step *= min(1.0, 2.0 / max(np.abs(step).max(), 1e-9))
        beta = beta + step
        if np.abs(step).max() < 1e-2:
            break
    return beta, information


def _count(some: Spells, now: float, days: int) -> tuple[Cells, npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Count those with a record at risk and moved, for each day and people who are alike; add group and age in days."""
    known = (some.start <= now) & ~np.isnan(some.silent)
    silent, start, end, moved = (part[known] for part in (some.silent, some.start, some.end, some.moved))
    wave = np.floor(start)
    if len(np.unique(wave)) > 30:
        wave = np.digitize(start, np.quantile(start, np.linspace(0, 1, 25)[1:-1]))
    band, tried = some.band[known], some.tried[known]
    first, group = _groups(wave, band, 8 * np.log1p(silent), tried)
    shape = len(first), days
    size = np.bincount(group).astype(float)
    start_of, silent_of = np.bincount(group, start) / size, np.bincount(group, silent) / size
    cell = group * days + np.minimum(np.floor(end), days - 1).astype(int)
    leaving = np.bincount(cell[~some.open[known]], minlength=np.prod(shape)).reshape(shape)
    moving = np.bincount(cell[moved], minlength=np.prod(shape)).reshape(shape)
    at_risk = size[:, None] - np.cumsum(leaving, axis=1) + leaving / 2
    begin = np.maximum(np.arange(float(days))[None, :], start_of[:, None])
    until = np.minimum(np.arange(1.0, days + 1)[None, :], now)
    exposure = at_risk * np.clip(until - begin, 0, 1)
    rows, day = np.nonzero(exposure > 1e-9)
    age = np.maximum((begin + until) / 2 - start_of[:, None], 0.05)[rows, day]
    silence, band, tried = silent_of[rows] + age, band[first][rows], tried[first][rows]
    first, group = _groups(day, band, 6 * np.log1p(silence), 3 * np.log1p(age), tried)
    exposure = exposure[rows, day]
    total = np.bincount(group, exposure)
    silence, age = (np.bincount(group, exposure * part) / total for part in (silence, age))
    counted = np.bincount(group, moving[rows, day]).astype(float)
    alike = day[first].astype(float), silence, age, band[first], tried[first].astype(float)
    cells = Cells(*alike, counted, np.asarray(total, dtype=float))
    return cells, 1 + _rough(np.maximum(silence - age, 0)), np.floor(age).astype(int)


def _old_days(seen: Floats) -> tuple[Floats, Floats]:
    """Count the users seen last on each of the days before the export, without the last days and the distant ones."""
    known = np.floor(seen[np.isfinite(seen) & (seen < 1)])
    if not len(known):
        return np.empty(0), np.empty(0)
    ago = np.arange(np.exp(_OLD[0]), np.exp(_OLD[-1]))
    return ago, np.bincount(np.maximum(-known, 0).astype(int), minlength=int(ago[-1]) + 2)[ago.astype(int)].astype(
        float
    )

"""Fits how long users take until their first sign-in moves them, when some of them never come.

`count_history` counts users by wave and day, `find_rhythm` estimates how busy each day was, and `fit_survival` draws
survival curves that agree with the counts. The curves belong to three families (Weibull, log-normal, log-logistic),
each with a share of users that never returns. Importance sampling draws their parameters, from the prior to the
posterior in a few rounds. No family is right. A likelihood would soon forget that, so it is coarsened (Miller and
Dunson, Robust Bayesian inference via coarsening, 2019): it weighs no more than some hundreds of moves, however many
there are, and the families are weighted by it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.optimize import minimize
from scipy.special import expit, log_expit, logsumexp, softmax
from scipy.stats import fisk, lognorm, multivariate_t, weibull_min

__all__ = [
    *("DAY", "LATER", "NOISE", "PACE", "Floats", "History", "Rhythm", "Survival", "Times", "Window"),
    *("closed_days", "count_history", "days_of", "find_rhythm", "fit_survival", "most_odd", "times_of"),
]

Floats = npt.NDArray[np.float64]
Window = tuple[pd.Timestamp, pd.Timestamp]

DAY: Final = pd.Timedelta(days=1)
_MOST_HOURS: Final = 100  # flagging hours that are kept as waves of their own; beyond that a wave is a day
NOISE: Final = 0.15  # how much similar days differ, as the sigma of a logarithm, beyond chance
_ODD: Final = 3.0  # standard deviations that make a day odd …
_ODD_RATIO: Final = 0.4  # … and the least distance on the logarithmic scale
_BUSY: Final = 6.0  # moves a day, after which a day without any is no chance
_RIDGE: Final = np.array([0.0, 0.1, 0.1, *[4.0] * 7])  # level, trend by age, days of the week (a sigma of 0.5)
LATER: Final = 730  # days, after which who has not come is taken to come never
PACE: Final = 0.1  # how much users may change their pace, as the sigma of a logarithm: a holiday, a new app
_WAVES: Final = 24  # waves that are played apart, at most
_FIRST, _FEW = 10, 3  # users by whose moves a wave begins, and the fewest that say so
_SCALE: Final = 20.0  # days: the prior median of every family's scale
_SIGMAS: Final = (1.5, 0.35)  # of the prior of log scale and log shape
_COARSE: Final = 400.0  # moves that the likelihood is worth at most
_CLOUD: Final = 1500
_ROUNDS: Final = (0.1, 0.3, 0.6, 1.0, 1.0)  # how far each round trusts the weights when it places the next cloud


@dataclass(frozen=True, eq=False)
class History:
    """Users counted by wave (all users flagged at about the same time) and day; times are days since `origin`."""

    origin: pd.Timestamp  # midnight (UTC) of the first day on which a user was flagged
    now: float  # when the history ends
    flagged: Floats  # when each wave was flagged, ascending; waves later than `now` are planned
    moved: Floats  # users of each wave (rows) that moved on each day (columns), up to the day of `now`
    waiting: Floats  # users of each wave that are not moved
    outside: int  # users without a time of flagging: counted, not forecast
    outside_moved: int  # of these, moved

    @property
    def days(self) -> int:
        """Number of days from the first to the one of `now`."""
        return int(self.moved.shape[1])

    @property
    def events(self) -> int:
        """Number of moved users with a time of flagging."""
        return int(self.moved.sum())


class Times(NamedTuple):
    """When each user with a time of flagging was flagged and moved (NaN: not yet), in days since `origin`."""

    origin: pd.Timestamp  # midnight (UTC) of the first day on which a user could come
    now: float
    flagged: Floats
    moved: Floats
    wave: npt.NDArray[np.int64]  # number of the users flagged at about the same time

    def waves(self, rows: npt.NDArray[np.bool_]) -> tuple[Floats, Floats]:
        """Gather the users of some rows into few waves, with their sizes: neighbours together, planned ones apart."""
        wave, size = np.unique(self.wave[rows], return_counts=True)
        flagged = (np.bincount(self.wave, self.flagged) / np.maximum(np.bincount(self.wave), 1))[wave]
        if len(flagged) > _WAVES:
            middle = np.cumsum(size) - size / 2
            group = (middle / size.sum() * _WAVES).astype(int) * 2 + (flagged > self.now)
            _, group = np.unique(group, return_inverse=True)
            flagged, size = np.bincount(group, flagged * size) / np.bincount(group, size), np.bincount(group, size)
        return flagged, size.astype(float)


def times_of(users: pd.DataFrame, as_of: pd.Timestamp) -> Times | None:
    """Read the times of a tidy `users` table as of a moment, or return None if no user is flagged by then.

    Later moves have not happened yet; later flags are planned.
    """
    at = users.loc[users["flagged_at"].notna(), "flagged_at"]
    if at.empty or at.min() > as_of:
        return None
    start = at.min().floor("D")
    now, flagged = (as_of - start) / DAY, _days(at, start)
    moved = _days(users["migrated_at"].where(users["migrated_at"] <= as_of)[at.index], start)
    # A clock that is off may write the move before the flag: it counts on the day of the flag.
    moved = np.fmax(moved, np.where(np.isnan(moved), np.nan, np.minimum(flagged, now)))
    hours = np.floor(flagged * 24).astype(int)
    hours = hours if len(np.unique(hours)) <= _MOST_HOURS else hours // 24
    wave = np.unique(hours, return_inverse=True)[1]
    flagged = _set_off(flagged, moved, wave)
    shift = np.floor(flagged.min())
    return Times(start + shift * DAY, float(now - shift), flagged - shift, moved - shift, wave)


def count_history(users: pd.DataFrame, as_of: pd.Timestamp, times: Times | None = None) -> History | None:
    """Count a tidy `users` table by wave and day, from its `times` if they are known, or return None as `times_of`."""
    times = times or times_of(users, as_of)
    if times is None:
        return None
    size, days = np.bincount(times.wave), int(np.floor(times.now)) + 1
    done = ~np.isnan(times.moved)
    cell = times.wave[done] * days + np.floor(times.moved[done]).astype(int)
    counts = np.bincount(cell, minlength=len(size) * days).reshape(len(size), days).astype(float)
    unknown = users["flagged_at"].isna()
    return History(
        origin=times.origin,
        now=times.now,
        flagged=np.bincount(times.wave, times.flagged) / size,
        moved=counts,
        waiting=size - counts.sum(axis=1),
        outside=int(unknown.sum()),
        outside_moved=int((users["migrated_at"][unknown] <= as_of).sum()),
    )


def _set_off(flagged: Floats, moved: Floats, wave_of: npt.NDArray[np.int64]) -> Floats:
    """Begin each wave's time when its first users come: nobody comes in the night after the flags are set.

    The first to come are as far from the beginning as they are from each other.
    """
    order = np.argsort(moved)[: int((~np.isnan(moved)).sum())]
    first = pd.DataFrame({"wave": wave_of[order], "moved": moved[order]}).groupby("wave").head(_FIRST)
    came = first.groupby("wave")["moved"].agg(["first", "last", "count"]).query(f"count >= {_FEW}")
    begin = np.full(wave_of.max() + 1, -np.inf)
    begin[came.index] = came["first"] - (came["last"] - came["first"]) / (came["count"] - 1)
    return np.asarray(np.maximum(flagged, begin[wave_of]))


def _days(times: pd.Series, origin: pd.Timestamp) -> Floats:
    return np.asarray((times - origin).dt.total_seconds(), dtype=float) / DAY.total_seconds()


@dataclass(frozen=True, eq=False)
class Rhythm:
    """The migration's clock: a busy day is long, a day of an outage is short."""

    week: Floats  # lengths of Monday to Sunday, 1 on average
    past: Floats  # length of each day so far
    kept: Floats  # share of each day's moves that an ordinary day would have had; a mail or the like caused the rest
    odd: tuple[int, ...]  # numbers of the days that were unlike the others
    noise: float  # how much similar days differ, as the sigma of a logarithm
    first: int  # day of the week of the first day, Monday 0

    def time(self, days: Floats) -> Floats:
        """Convert days since the origin, past or future, to the clock's average days."""
        last = max(int(np.ceil(np.max(days))), len(self.past)) + 1
        lengths = self.week[(self.first + np.arange(last)) % 7]
        lengths[: len(self.past)] = self.past
        return np.asarray(np.interp(days, np.arange(last + 1), np.append(0.0, np.cumsum(lengths))))


def find_rhythm(history: History, windows: Iterable[Window] = ()) -> Rhythm:
    """Estimate the clock by a Poisson regression of the moves on age and day of the week.

    Odd days are left out of the regression one by one, the oddest first, after those of the known `windows`: first
    and last moments of reminders and outages.
    """
    first = history.origin.day_of_week
    per_day = history.moved.sum(axis=0)
    known = days_of(windows, history)
    odd = known | closed_days(per_day)
    while True:
        expected_by_wave, week = _regress(history, first, odd)
        expected = expected_by_wave.sum(axis=0)
        ratio = np.log((per_day + 0.5) / (expected + 0.5))
        strange = most_odd(per_day, expected, odd)
        if strange is None or len(odd) >= max(len(known), history.days // 3, 3):
            break
        odd.add(strange)
    left_out = sorted(odd)
    share = np.ones(history.days)
    share[left_out] = np.exp(ratio[left_out])
    past = week[(first + np.arange(history.days)) % 7] * np.minimum(share, 1)
    plain = np.setdiff1d(np.arange(1, history.days), left_out)
    extra = np.mean(ratio[plain] ** 2 - 1 / (expected[plain] + 0.5)) if len(plain) else 0.0
    noise = float(np.sqrt(np.clip(extra, 0.05**2, 0.5**2)))
    return Rhythm(week, past, 1 / np.maximum(share, 1), tuple(left_out), noise, first)


def most_odd(per_day: Floats, expected: Floats, odd: set[int]) -> int | None:
    """Return the day that is most unlike the others, if one is, and is not known to be odd."""
    ratio = np.log((per_day + 0.5) / (expected + 0.5))
    doubt = np.sqrt(1 / (expected + 0.5) + NOISE**2)
    strange = np.where(np.abs(ratio) > _ODD_RATIO, np.abs(ratio) / doubt, 0)
    strange[[*odd, 0, min(1, len(per_day) - 1)]] = 0
    strange[expected < 1] = 0
    return int(strange.argmax()) if strange.max() >= _ODD else None


def days_of(windows: Iterable[Window], history: History) -> set[int]:
    """Return the numbers of the days so far on which the windows lie."""
    spans = [((start - history.origin) / DAY, (end - history.origin) / DAY) for start, end in windows]
    days = {day for first, last in spans for day in range(int(np.floor(first)), int(np.ceil(last)) + 1)}
    return {day for day in days if 0 <= day < history.days}


def closed_days(per_day: Floats) -> set[int]:
    """Find whole days without a move where the days before had several."""
    days: set[int] = set()
    for day in range(2, len(per_day) - 1):
        before = [per_day[other] for other in range(day) if other not in days][-5:]
        if per_day[day] == 0 and min(before) >= 1 and np.mean(before) > _BUSY:
            days.add(day)
    # The day that is not over yet belongs to the outage if no user has moved on it either.
    last = len(per_day) - 1
    return days | {last} if last - 1 in days and per_day[last] == 0 else days


def _regress(history: History, first: int, odd: set[int]) -> tuple[Floats, Floats]:
    """Return the expected moves of each wave on each day, and the lengths of the days of the week."""
    days = np.arange(history.days)
    size = history.moved.sum(axis=1) + history.waiting
    at_risk = size[:, None] - np.cumsum(history.moved, axis=1) + history.moved
    ends = np.minimum(days + 1, history.now)
    risk = at_risk * np.clip(ends[None, :] - np.maximum(days[None, :], history.flagged[:, None]), 0, 1)
    age = np.log1p(np.maximum(days[None, :] + 0.5 - history.flagged[:, None], 0))
    weekday = (first + days) % 7
    columns = [np.ones_like(age), age, age**2]
    columns += [np.broadcast_to((weekday == day).astype(float), age.shape) for day in range(7)]
    design = np.stack(columns, axis=-1)
    # A day weighs at most as much as its noise allows, however many users moved on it.
    trust = 1 / (1 + NOISE**2 * history.moved.sum(axis=0))
    trust[sorted(odd)] = 0
    used = (risk > 0) & (trust > 0)[None, :]
    x, n, r = design[used], history.moved[used], risk[used]
    w = np.broadcast_to(trust, risk.shape)[used]
    start = np.zeros(x.shape[1])
    start[0] = np.log((n.sum() + 0.5) / (r.sum() + 1)) if len(r) else 0.0

    def loss(beta: Floats) -> tuple[float, Floats]:
        log_rate = np.clip(x @ beta, -30, 5)
        mean = r * np.exp(log_rate)
        gradient = x.T @ (w * (mean - n)) + _RIDGE * beta
        return float(w @ (mean - n * log_rate) + 0.5 * _RIDGE @ beta**2), gradient

    beta = minimize(loss, start, jac=True, method="BFGS").x if len(r) else start
    week = np.exp(beta[3:])
    return risk * np.exp(np.clip(design @ beta, -30, 5)), week / week.mean()


@dataclass(frozen=True)
class Family:
    """A distribution of the time after which users come, with the prior median of its shape."""

    name: str
    distribution: Any
    shape: float

    def survival(self, theta: Floats, time: Floats) -> Floats:
        """Share not moved by each time (columns); rows of `theta`: log scale, log shape, logit of who comes."""
        scale, shape, coming = np.exp(theta[:, :1]), np.exp(theta[:, 1:2]), expit(theta[:, 2:])
        with np.errstate(over="ignore"):  # far from the scale the share is 1 or 0 all the same
            return np.asarray(1 - coming * self.distribution.cdf(time, shape, scale=scale))


FAMILIES: Final = (
    Family("Weibull", weibull_min, 0.7),
    Family("LogNormal", lognorm, 1.9),
    Family("LogLogistic", fisk, 0.85),
)


@dataclass(frozen=True, eq=False)
class Survival:
    """Draws of the survival curve: each family with the coordinates of its draws, a row each."""

    parts: tuple[tuple[Family, Floats], ...]
    times: Times
    rhythm: Rhythm
    pace: float = PACE

    @property
    def odd(self) -> tuple[int, ...]:
        """Numbers of the days unlike the others."""
        return self.rhythm.odd

    @property
    def noise(self) -> float:
        """How much similar days differ."""
        return self.rhythm.noise

    def expected(self, rows: npt.NDArray[np.bool_], days: int) -> tuple[Floats, Floats]:
        """Return further moves by each day of the people in some rows, and how many of them never come, per draw."""
        ahead = self.times.now + np.arange(days + 1.0)
        forever = np.concatenate([1 - expit(theta[:, 2]) for _, theta in self.parts])
        never, moves = np.zeros(len(forever)), np.zeros((len(forever), days + 1))
        for at, count in zip(*self.times.waves(rows), strict=True):
            age = self.rhythm.time(np.maximum(ahead, at)) - self.rhythm.time(np.array([at]))
            share = np.concatenate([family.survival(theta, age) for family, theta in self.parts])
            now = np.maximum(share[:, 0], 1e-12)
            never += count * np.minimum(forever / now, 1)
            moves += count * (1 - share / now[:, None])
        return moves, never


@dataclass(frozen=True, eq=False)
class Observed:
    """The counts on the clock: `moved` users between `begin` and `end`, and `waiting` users last seen at `last`."""

    begin: Floats
    end: Floats
    moved: Floats
    last: Floats
    waiting: Floats


def observe(history: History, rhythm: Rhythm) -> Observed:
    """Put the counts on the clock; users who came for a reason of an odd day are last seen on that day."""
    started = history.flagged <= history.now
    days = np.arange(history.days, dtype=float)
    flagged = rhythm.time(history.flagged[started])[:, None]
    begin = np.maximum(rhythm.time(days)[None, :] - flagged, 0)
    end = np.maximum(rhythm.time(np.minimum(days + 1, history.now))[None, :] - flagged, begin)
    kept = history.moved[started] * rhythm.kept
    lost = history.moved[started] - kept
    now = np.broadcast_to(rhythm.time(np.array([history.now])) - flagged, (len(flagged), 1))
    some, gone = (kept > 0) & (end > begin), lost > 0
    last_seen = np.concatenate([now.ravel(), begin[gone]])
    last, _, waiting = _grouped(last_seen, last_seen, np.concatenate([history.waiting[started], lost[gone]]))
    return Observed(*_grouped(begin[some], end[some], kept[some]), last, waiting)


def _grouped(begin: Floats, end: Floats, count: Floats) -> tuple[Floats, Floats, Floats]:
    """Add up equal intervals; many of them on a grid that is fine at first and coarser later."""
    if len(begin) > 80:
        grid = np.concatenate([np.arange(0, 4, 0.25), 4 * 1.06 ** np.arange(120)])
        points = np.append(0, (grid[1:] + grid[:-1]) / 2)
        low = np.searchsorted(points, begin, side="right") - 1
        high = np.where(end > begin, np.maximum(np.searchsorted(points, end, side="right") - 1, low + 1), low)
        begin, end = grid[low], grid[high]
    pairs, index = np.unique(np.stack([begin, end]), axis=1, return_inverse=True)
    return pairs[0], pairs[1], np.bincount(index.ravel(), count, minlength=pairs.shape[1]).astype(float)


def fit_survival(history: History, times: Times, rhythm: Rhythm, seed: int, draws: int) -> Survival:
    """Fit every family and draw curves that the counts leave open; the same seed draws the same."""
    seen = observe(history, rhythm)
    clouds = [_explore(family, seen, seed) for family in FAMILIES]
    evidence = np.array([logsumexp(weight) for _, weight in clouds])
    ends = np.round(np.cumsum(softmax(evidence)) * draws).astype(int)
    parts = []
    for family, (theta, weight), count in zip(FAMILIES, clouds, np.diff(np.append(0, ends)), strict=True):
        if count:
            steps = (np.arange(count) + 0.5) / count
            drawn = np.searchsorted(np.cumsum(softmax(weight)), steps).clip(max=len(theta) - 1)
            parts.append((family, theta[drawn]))
    return Survival(tuple(parts), times, rhythm)


def _explore(family: Family, seen: Observed, seed: int) -> tuple[Floats, Floats]:
    """Draw one family's coordinates; return them with the logarithms of their weights."""
    events, times = len(seen.begin), np.concatenate([seen.begin, seen.end, seen.last])
    tempered = _COARSE / (_COARSE + seen.moved.sum())
    rng = np.random.default_rng(seed)
    prior = np.array([np.log(_SCALE), np.log(family.shape), 0.0])
    centre, spread = prior, np.diag([*_SIGMAS, 1.8]) ** 2
    for trust in _ROUNDS:
        around = multivariate_t(centre, spread, df=5, seed=rng)
        theta = around.rvs(_CLOUD)
        survival = family.survival(theta, times)
        inside = survival[:, :events] - survival[:, events : 2 * events]
        likelihood = np.log(np.maximum(inside, 1e-300)) @ seen.moved
        likelihood += np.log(np.maximum(survival[:, 2 * events :], 1e-300)) @ seen.waiting
        distance = (theta - prior)[:, :2] / _SIGMAS
        # The last two terms make every share of users that come equally plausible.
        log_prior = -0.5 * (distance**2).sum(axis=1) + log_expit(theta[:, 2]) + log_expit(-theta[:, 2])
        weight = tempered * likelihood + log_prior - around.logpdf(theta)
        share = softmax(trust * weight)
        centre = share @ theta
        spread = np.cov(theta.T, aweights=share) * 1.2 + 1e-6 * np.eye(3)
    return theta, weight

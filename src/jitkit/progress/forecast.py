"""Forecasts how many users are migrated on each coming day, how many never, and how sure that is."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.optimize import OptimizeWarning, curve_fit

from jitkit.display import Table
from jitkit.errors import BadTable
from jitkit.progress.figures import day, span
from jitkit.progress.survival import DAY, Floats, History, Rhythm, Window, count_history, find_rhythm, fit_survival
from jitkit.progress.tables import Tables
from jitkit.progress.wording import say

__all__ = ["Forecast", "exponential", "forecast", "interval", "straight_line"]

_HORIZON: Final = 180  # days
_EVENTS: Final = 30  # moves that a forecast needs
_DAYS: Final = 7.0  # … and days since the first flag
_COHORT: Final = 200  # moves that a cohort needs to be forecast apart
_SHOWN: Final = (7, 30, 90, 180)
_WAVES: Final = 24  # waves that are played apart, at most
_PACE: Final = 0.1  # how much users may change their pace, as the sigma of a logarithm: a holiday, a new app
_RECENT: Final = 7  # days that the straight line goes through


@dataclass(frozen=True, eq=False)
class Forecast:
    """What the coming days bring, or why it is too early to say.

    Args:
        as_of: the moment it is made for.
        in_scope: number of users to move.
        migrated: number of users moved so far.
        too_early: why there is no forecast yet, or an empty string.
        days: `date` (UTC), `migrated_low`, `migrated`, `migrated_high` (80 % interval): today and each of the coming
            days. Empty when it is too early.
        never_return: `low`, `estimate`, `high` share of the users in scope who never return, or None.
        backtest: how it would have done on the latest days, as in `metrics.json`: `made_on`, `days`,
            `interval_coverage` (share of these days on which the truth lay in the interval), and the mean `error` in
            users, next to those of a straight line and of an exponential. None if there are too few days.
        odd_days: days unlike the others, such as after a reminder or in an outage; they are left out.
        paths: migrated users on each of the days (columns) in each of many equally plausible courses (rows).
    """

    as_of: pd.Timestamp | None
    in_scope: int
    migrated: int
    too_early: str = ""
    days: pd.DataFrame = field(
        default_factory=lambda: pd.DataFrame(columns=["date", "migrated_low", "migrated", "migrated_high"]), repr=False
    )
    never_return: dict[str, float] | None = None
    backtest: dict[str, Any] | None = None
    odd_days: tuple[pd.Timestamp, ...] = field(default=(), repr=False)
    paths: Floats = field(default_factory=lambda: np.empty((0, 0)), repr=False)

    def __str__(self) -> str:
        return say("forecast", made=self, row=None if self.too_early else self.days.iloc[min(30, len(self.days) - 1)])

    def _repr_html_(self) -> str:
        caption = f"When will it end? {self.in_scope:,} users" + (f", as of {day(self.as_of)}" if self.as_of else "")
        rows = [("Forecast", f"too early to tell: {self.too_early}")]
        if not self.too_early:
            rows = [("Today", f"{self.migrated:,}")]
            for ahead, row in self.days[self.days.index.isin(_SHOWN)].iterrows():
                rows.append((f"In {ahead} days, {day(row['date'])}", say("forecast_row", row=row)))
        if self.never_return is not None:
            rows.append(("Never return", say("never_return", share=self.never_return)))
        if self.backtest is not None:
            rows.append(("Tried on days that have passed", self.tried))
        note = "" if self.too_early else self.note
        return Table(caption=caption, columns=("What", "Users migrated"), rows=rows, note=note)._repr_html_()

    def numbers(self) -> dict[str, Any]:
        """Return the parts of `metrics.json`: `forecast`, `never_return`, `backtest`, ready for JSON."""
        rows = self.days.assign(date=[f"{date:%Y-%m-%d}" for date in self.days["date"]])
        return {"forecast": rows.to_dict("records"), "never_return": self.never_return, "backtest": self.backtest}

    @property
    def tried(self) -> str:
        """How it would have done on days that have passed, in words."""
        return say("backtest", past=self.backtest) if self.backtest else ""

    @property
    def note(self) -> str:
        """What it assumes, how far it can be trusted, and which days it leaves out."""
        return say("forecast_note", odd_days=self.odd_days)


def forecast(
    tables: Tables,
    *,
    by: str | None = None,
    windows: Iterable[Window] = (),
    days: int = _HORIZON,
    with_backtest: bool = True,
    outside: npt.NDArray[np.bool_] | None = None,
) -> Forecast:
    """Forecast the number of migrated users for each of the coming `days`, or say why it is too early.

    Users flagged after `tables.as_of` are planned and join then. The values of the dimension `by` are forecast apart
    where enough users have moved. `windows` are the first and last moments of known reminders and outages. The
    backtest takes as long again. Those marked as `outside` cannot move now: they count, and do not come.

    Raises:
        BadTable: there is no column `by`.
    """
    users, as_of, windows = tables.users, tables.as_of, tuple(windows)
    in_scope = len(users)
    if outside is not None and not outside.all():
        users = users[~outside]
    if by is not None and by not in users.columns:
        raise BadTable(
            f"The table users has no column {by}.", next_step="Name a dimension that users have, or leave `by` out."
        )
    history = None if as_of is None else count_history(users, as_of)
    reason = _too_early(history, in_scope)
    if history is None or as_of is None or reason:
        moved = 0 if as_of is None else int((users["migrated_at"] <= as_of).sum())
        return Forecast(as_of, in_scope, moved, too_early=reason)

    rhythm = find_rhythm(history, windows)
    courses, never = _play(_cohorts(users, as_of, history, by), rhythm, days)
    courses += history.events + history.outside_moved
    low, middle, high = interval(courses)
    dates = as_of.normalize() + pd.to_timedelta(np.arange(days + 1), unit="D")
    shares = np.quantile(never / in_scope, (0.1, 0.5, 0.9)).round(4).tolist()
    return Forecast(
        as_of=as_of,
        in_scope=in_scope,
        migrated=history.events + history.outside_moved,
        days=pd.DataFrame({"date": dates, "migrated_low": low, "migrated": middle, "migrated_high": high}),
        never_return=dict(zip(("low", "estimate", "high"), shares, strict=True)),
        backtest=_try_on_the_past(users, as_of, history, windows, by) if with_backtest else None,
        odd_days=tuple(history.origin + number * DAY for number in rhythm.odd),
        paths=courses,
    )


def interval(courses: np.ndarray) -> np.ndarray:
    """Return the lower end, median and upper end (rows) of the 80 % interval of each column, as whole users."""
    return np.asarray(np.round(np.quantile(courses, (0.1, 0.5, 0.9), axis=0)).astype(int))


def _too_early(history: History | None, in_scope: int) -> str:
    if not in_scope:
        return "no user is in scope."
    if history is None:
        return "no user has been flagged yet, or no table says when."
    if not history.waiting.sum() and not history.outside:
        return ""
    if history.outside > in_scope / 2:
        return f"of {history.outside:,} of {in_scope:,} users no table says when they were flagged."
    elapsed = history.now - history.flagged.min()
    if elapsed < _DAYS:
        ago = span(pd.Timedelta(days=elapsed))
        return f"the first users were flagged {ago} ago; it takes {_DAYS:.0f} days to see a week."
    if history.events < _EVENTS:
        return f"{history.events:,} users have moved; it takes {_EVENTS} to see a course."
    return ""


def _play(cohorts: list[History], rhythm: Rhythm, days: int) -> tuple[Floats, Floats]:
    """Return further moves (courses by days) and the users who never return (one a course)."""
    grown, never = np.zeros((1, days + 1)), np.zeros(1)
    for number, cohort in enumerate(cohorts):
        if cohort.waiting.sum():
            more, gone = _courses(cohort, rhythm, days, seed=number)
            # What misjudges one cohort misjudges the others alike: the low courses of all belong together.
            grown = grown + more[np.argsort(more[:, -1], kind="stable")]
            never = never + np.sort(gone)
    return grown, never


def _cohorts(users: pd.DataFrame, as_of: pd.Timestamp, history: History, by: str | None) -> list[History]:
    if by is None:
        return [history]
    value = users[by].astype("str").fillna("")
    moved = (users["migrated_at"] <= as_of) & users["flagged_at"].notna()
    events = moved.groupby(value).sum()
    large = sorted(events.index[events >= _COHORT])
    groups = [users[value == name] for name in large] + [users[~value.isin(large)]]
    cohorts = [count_history(group, as_of, history.origin) for group in groups if len(group)]
    return [cohort for cohort in cohorts if cohort is not None]


def _courses(history: History, rhythm: Rhythm, days: int, seed: int) -> tuple[Floats, Floats]:
    """Play the coming days once for each draw of the survival curve.

    Returns further moves after 0, 1 … `days` days (columns) in each draw (rows), and who of the waiting never return.
    """
    survival, rng = fit_survival(history, rhythm, seed), np.random.default_rng(seed)
    ahead = history.now + np.arange(days + 1.0)
    flagged, waiting = _waves(history)
    never, expected = np.zeros(len(survival.never)), np.zeros((len(survival.never), days + 1))
    for at, count in zip(flagged, waiting, strict=True):
        age = rhythm.time(np.maximum(ahead, at)) - rhythm.time(np.array([at]))
        share = survival.at(age)
        now = np.maximum(share[:, 0], 1e-12)
        never += count * np.minimum(survival.never / now, 1)
        expected += count * (1 - share / now[:, None])
    total = waiting.sum()
    chance = np.clip(np.diff(expected, axis=1) / np.maximum(total - expected[:, :-1], 1e-9), 0, 1)
    pace = rng.normal(-(_PACE**2) / 2, _PACE, (len(chance), 1))
    noise = rng.normal(-(rhythm.noise**2) / 2, rhythm.noise, chance.shape)
    chance = 1 - (1 - chance) ** np.exp(pace + noise)
    left = np.full(len(chance), round(total))
    grown = np.zeros((len(chance), days + 1))
    for ahead_by in range(days):
        left = left - rng.binomial(left, chance[:, ahead_by])
        grown[:, ahead_by + 1] = total - left
    return grown, never


def _waves(history: History) -> tuple[Floats, Floats]:
    """Gather the waiting users into few waves: neighbours together, planned ones apart."""
    some = history.waiting > 0
    flagged, waiting = history.flagged[some], history.waiting[some]
    if len(flagged) <= _WAVES:
        return flagged, waiting
    middle = np.cumsum(waiting) - waiting / 2
    group = (middle / waiting.sum() * _WAVES).astype(int) * 2 + (flagged > history.now)
    _, group = np.unique(group, return_inverse=True)
    size = np.bincount(group, waiting)
    return np.bincount(group, flagged * waiting) / size, size.astype(float)


def _try_on_the_past(
    users: pd.DataFrame, as_of: pd.Timestamp, history: History, windows: Iterable[Window], by: str | None
) -> dict[str, Any] | None:
    """Forecast the latest third of the days, at most 30, from those before them."""
    held = min(30, round(history.now - history.flagged.min()) // 3)
    then = as_of - held * DAY
    past = count_history(users, then)
    if past is None or held < 1 or _too_early(past, len(users)) or not past.waiting.sum():
        return None
    grown, _ = _play(_cohorts(users, then, past, by), find_rhythm(past, windows), held)
    moments = then + pd.to_timedelta(np.arange(held + 1), unit="D")
    moved = pd.DatetimeIndex(users["migrated_at"].dropna()).sort_values()
    truth = np.asarray(moved.searchsorted(moments.as_unit(moved.unit), side="right"), dtype=float)
    return _compare(past, len(users), past.events + past.outside_moved + grown, truth, then)


def _compare(past: History, in_scope: int, courses: Floats, truth: Floats, made_on: pd.Timestamp) -> dict[str, Any]:
    """Compare courses played from the past, and the two simple methods, with what happened."""
    days = len(truth) - 1
    low, middle, high = interval(courses)

    def error(counts: np.ndarray) -> float:
        return round(float(np.abs(counts - truth)[1:].mean()), 2)

    return {
        "made_on": f"{made_on:%Y-%m-%d}",
        "days": days,
        "interval_coverage": round(float(((low <= truth) & (truth <= high))[1:].mean()), 4),
        "error": error(middle),
        "error_straight_line": error(straight_line(past, in_scope, days)),
        "error_exponential": error(exponential(past, in_scope, days)),
    }


def straight_line(history: History, in_scope: int, days: int) -> Floats:
    """Extend the pace of the last seven days: migrated users after 0, 1 … `days` days, at most `in_scope`."""
    moments, counts = _curve(history)
    start = max(history.now - _RECENT, moments[0])
    pace = (counts[-1] - np.interp(start, moments, counts)) / max(history.now - start, 1e-9)
    return np.asarray(np.minimum(counts[-1] + pace * np.arange(days + 1), in_scope))


def exponential(history: History, in_scope: int, days: int) -> Floats:
    """Follow the saturating exponential nearest to the curve so far, from today's count on."""
    moments, counts = _curve(history)
    elapsed = moments - moments[0]

    def saturating(time: Floats, ceiling: float, scale: float) -> Floats:
        return np.asarray(ceiling * -np.expm1(-time / scale))

    highest = max(in_scope, 1) * 1.0
    bounds = ([0.0, 0.1], [highest, 3650.0])
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", OptimizeWarning)
            best, _ = curve_fit(saturating, elapsed, counts, p0=(0.7 * highest, 20.0), bounds=bounds)
    except (RuntimeError, ValueError):
        return straight_line(history, in_scope, days)
    grown = saturating(elapsed[-1] + np.arange(days + 1), *best)
    return np.asarray(np.minimum(counts[-1] + grown - grown[0], in_scope))


def _curve(history: History) -> tuple[Floats, Floats]:
    """Return the moments of the first flag and of the end of each day, and the migrated users then."""
    ends = np.minimum(np.arange(1, history.days + 1), history.now)
    counts = np.cumsum(history.moved.sum(axis=0)) + history.outside_moved
    return np.append(history.flagged.min(), ends), np.append(history.outside_moved, counts)

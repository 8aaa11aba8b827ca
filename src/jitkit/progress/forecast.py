"""How many users will be migrated on each coming day, how many never, and how sure that is."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import pandas as pd

from jitkit.display import Table
from jitkit.errors import BadTable
from jitkit.progress.backtest import Backtest, compare
from jitkit.progress.history import DAY, Floats, History, count_history
from jitkit.progress.paths import never_counts, paths
from jitkit.progress.rhythm import Rhythm, Window, find_rhythm
from jitkit.progress.survival import fit_survival, observe
from jitkit.progress.tables import Tables
from jitkit.progress.words import span

__all__ = ["DAYS", "Forecast", "forecast"]

DAYS: Final = 180
_EVENTS: Final = 30
_DAYS: Final = 7.0
_COHORT: Final = 200  # moves that a cohort needs to be told apart from the others
_INTERVAL: Final = (0.1, 0.5, 0.9)
_SHOWN: Final = (7, 30, 90, 180)

_ASSUMES: Final = (
    "The range is made to hold the truth about 8 times in 10. On invented migrations it held 78 times in 100 what came "
    "in 30 days and 72 times what came in 90, early in a migration fewer; where it failed, more came mostly. The range "
    "of those who never return held their share 62 times in 100. It assumes that people go on as they did: no new "
    "reminder, no outage, nobody added. People who come once a month or more seldom cannot be seen before they come: "
    "in the first month the truth may well lie above the range, and those who come once a year look like those who "
    "never do."
)


@dataclass(frozen=True, eq=False)
class Forecast:
    """What the coming days bring, or why it is too early to tell.

    Args:
        as_of: until when the tables tell.
        in_scope: how many users there are to move.
        migrated: how many are moved now.
        too_early: why nothing can be told yet, or an empty string.
        days: `date` (UTC), `migrated_low`, `migrated`, `migrated_high` (80 % interval): today and each of the coming
            days. Empty when it is too early.
        never_return: `low`, `estimate`, `high` share of the users in scope who never return, or None.
        backtest: how it would have done on days that have passed, or None if there are too few of them.
        odd_days: days that were not like others, as after a reminder or in an outage: the forecast does not go on
            from them.
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
    backtest: Backtest | None = None
    odd_days: tuple[pd.Timestamp, ...] = field(default=(), repr=False)
    paths: Floats = field(default_factory=lambda: np.empty((0, 0)), repr=False)

    def __str__(self) -> str:
        if self.too_early:
            return f"It is too early to tell: {self.too_early}"
        day = self.days.iloc[min(30, len(self.days) - 1)]
        return (
            f"{self.migrated:,} of {self.in_scope:,} users are migrated. On {_day(day['date'])} it will be about "
            f"{day['migrated']:,}: between {day['migrated_low']:,} and {day['migrated_high']:,}."
        )

    def _repr_html_(self) -> str:
        return self.table()._repr_html_()

    def table(self) -> Table:
        """Say it in a few rows."""
        caption = f"When will it end? {self.in_scope:,} users" + (f", as of {_day(self.as_of)}" if self.as_of else "")
        if self.too_early:
            rows: list[tuple[str, str]] = [("Forecast", f"too early to tell: {self.too_early}")]
            return Table(caption=caption, columns=("What", "Users migrated"), rows=rows)
        rows = [("Today", f"{self.migrated:,}")]
        for place in _SHOWN:
            if place < len(self.days):
                day = self.days.iloc[place]
                told = f"about {day['migrated']:,} ({day['migrated_low']:,} to {day['migrated_high']:,})"
                rows.append((f"In {place} days, {_day(day['date'])}", told))
        if self.never_return is not None:
            low, middle, high = (f"{100 * self.never_return[name]:.0f}" for name in ("low", "estimate", "high"))
            rows.append(("Never return", f"about {middle} % of all ({low} % to {high} %)"))
        if self.backtest is not None:
            rows.append(("Tried on days that have passed", str(self.backtest)))
        return Table(caption=caption, columns=("What", "Users migrated"), rows=rows, note=self.note)

    def numbers(self) -> dict[str, Any]:
        """Give the parts of `metrics.json`: `forecast`, `never_return`, `backtest`, ready for JSON."""
        rows = self.days.assign(date=[f"{date:%Y-%m-%d}" for date in self.days["date"]])
        return {
            "forecast": rows.to_dict("records"),
            "never_return": self.never_return,
            "backtest": None if self.backtest is None else self.backtest.numbers(),
        }

    @property
    def note(self) -> str:
        """What it assumes, how far it can be trusted, and which days it leaves out."""
        if not self.odd_days:
            return _ASSUMES
        listed = ", ".join(_day(day) for day in self.odd_days[:8]) + (" …" if len(self.odd_days) > 8 else "")
        return f"{_ASSUMES} Days unlike the others, which it does not go on from: {listed}."


def forecast(
    tables: Tables,
    *,
    by: str | None = None,
    told: Iterable[Window] = (),
    days: int = DAYS,
    seed: int = 0,
    with_backtest: bool = True,
) -> Forecast:
    """Forecast the number of migrated users, day by day.

    Args:
        tables: users as of `tables.as_of`; whoever is flagged after that is planned, and joins then.
        by: a dimension column whose values are forecast apart where enough users have moved.
        told: the first and last moment of each reminder or outage so far that you know of.
        days: how far to look.
        seed: the same seed draws the same courses.
        with_backtest: whether to try it on days that have passed; that takes as long again.

    Returns:
        the forecast, or one that says why it is too early.

    Raises:
        BadTable: there is no column `by`.
    """
    users, as_of = tables.users, tables.as_of
    if by is not None and by not in users.columns:
        raise BadTable(
            f"The table users has no column {by}.", next_step="Name a dimension that users have, or leave `by` out."
        )
    history = None if as_of is None else count_history(users, as_of)
    reason = _too_early(history, len(users))
    if history is None or as_of is None or reason:
        moved = 0 if as_of is None else int((users["migrated_at"] <= as_of).sum())
        return Forecast(as_of, len(users), moved, too_early=reason)
    windows = tuple(told)
    grown, never, rhythm = _grow(users, as_of, history, by, windows, days, seed)
    moved = history.events + history.outside_moved
    table = _table(as_of, moved + grown)
    low, middle, high = np.quantile(never / len(users), _INTERVAL).round(4).tolist()
    return Forecast(
        as_of=as_of,
        in_scope=len(users),
        migrated=moved,
        days=table,
        never_return={"low": low, "estimate": middle, "high": high},
        backtest=_try_on_the_past(users, as_of, history, by, windows, seed) if with_backtest else None,
        odd_days=tuple(history.origin + day * DAY for day in rhythm.odd),
        paths=moved + grown,
    )


def _too_early(history: History | None, in_scope: int) -> str:
    if not in_scope:
        return "no user is in scope."
    if history is None:
        return "nobody has been flagged yet, or no table tells when."
    if not history.waiting.sum() and not history.outside:
        return ""
    if history.outside > in_scope / 2:
        return f"of {history.outside:,} of {in_scope:,} users no table tells when they were flagged."
    elapsed = history.now - history.flagged.min()
    if elapsed < _DAYS:
        ago = span(pd.Timedelta(days=elapsed))
        return f"the first users were flagged {ago} ago; it takes {_DAYS:.0f} days to see a week."
    if history.events < _EVENTS:
        return f"{history.events:,} users have moved; it takes {_EVENTS} to see a course."
    return ""


def _grow(
    users: pd.DataFrame,
    as_of: pd.Timestamp,
    history: History,
    by: str | None,
    told: tuple[Window, ...],
    days: int,
    seed: int,
) -> tuple[Floats, Floats, Rhythm]:
    """Play every cohort.

    Returns:
        how many more move (courses by days), how many never return (one a course), and the rhythm of all.
    """
    rhythm = find_rhythm(history, told)
    grown, never = np.zeros((1, days + 1)), np.zeros(1)
    for number, cohort in enumerate(_cohorts(users, as_of, history, by)):
        if not cohort.waiting.sum():
            continue
        survival = fit_survival(observe(cohort, rhythm), seed + number)
        more = paths(cohort, rhythm, survival, days, seed + number)
        # What misjudges one cohort misjudges the others alike: the low courses of all belong together.
        grown = grown + more[np.argsort(more[:, -1], kind="stable")]
        never = never + np.sort(never_counts(cohort, rhythm, survival))
    return grown, never, rhythm


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


def _table(as_of: pd.Timestamp, courses: Floats) -> pd.DataFrame:
    low, middle, high = np.round(np.quantile(courses, _INTERVAL, axis=0)).astype(int)
    dates = as_of.normalize() + pd.to_timedelta(np.arange(courses.shape[1]), unit="D")
    return pd.DataFrame({"date": dates, "migrated_low": low, "migrated": middle, "migrated_high": high})


def _try_on_the_past(
    users: pd.DataFrame,
    as_of: pd.Timestamp,
    history: History,
    by: str | None,
    told: tuple[Window, ...],
    seed: int,
) -> Backtest | None:
    """Forecast the latest third of the days, at most 30, from those before them."""
    held = min(30, round(history.now - history.flagged.min()) // 3)
    then = as_of - held * DAY
    past = count_history(users, then)
    if past is None or held < 1 or _too_early(past, len(users)) or not past.waiting.sum():
        return None
    grown, _, _ = _grow(users, then, past, by, told, held, seed)
    moments = then + pd.to_timedelta(np.arange(held + 1), unit="D")
    moved = pd.DatetimeIndex(users["migrated_at"].dropna()).sort_values()
    truth = np.asarray(moved.searchsorted(moments.as_unit(moved.unit), side="right"), dtype=float)
    return compare(past, len(users), past.events + past.outside_moved + grown, truth, then)


def _day(moment: pd.Timestamp) -> str:
    return f"{moment.day} {moment:%b %Y}"

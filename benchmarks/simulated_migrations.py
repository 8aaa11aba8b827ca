"""Invent migrations person by person, to judge a forecast that has never seen how they were made.

Nobody here follows a survival curve. Each person has a habit (comes daily, weekly, monthly, yearly or never again), a
way to keep it (as if by chance, or regularly), a weekly rhythm, mistypes at times, may answer a reminder mail, and
stands before a closed door during an outage. What comes out is a `users` table with the whole truth in it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

START = pd.Timestamp("2026-03-02T08:00Z")
HORIZON = 135
"""Days that are played: the latest cut and 90 days after it, and some."""

_HABITS = np.array([1.2, 7.0, 30.0, 365.0, np.inf])  # mean days between two visits
_HOLDS = np.array([1.0, 1.0, 0.8, 0.5, 0.15])  # how much likelier a mail brings people of that habit
_OFFICE = np.array([1.15, 1.2, 1.15, 1.1, 1.0, 0.15, 0.1])
_SHOP = np.array([0.9, 0.9, 0.9, 0.95, 1.05, 1.2, 1.1])


@dataclass(frozen=True)
class World:
    """What one simulated migration is like.

    Args:
        mix: shares of people who come daily, weekly, monthly, yearly, never.
        week: how busy the days of the week are, Monday first.
        spread: how much people of one habit differ, as the sigma of a log-normal.
        regular: 1 for visits by chance, more for visits at even intervals.
        mails: day of a reminder -> share of people it brings.
        closed: days on which nobody can be moved, from and until -> share that fails nevertheless.
        waves: over how many days people are flagged.
        payday: whether people come around one day of the month.
        apps: whether people belong to one of two apps, the second with slower habits.
        tell: whether the reader of the forecast knows of the mails.
    """

    mix: np.ndarray
    week: np.ndarray = field(default_factory=lambda: np.ones(7))
    spread: float = 0.5
    regular: float = 1.0
    mails: dict[int, float] = field(default_factory=dict)
    closed: dict[tuple[int, int], float] = field(default_factory=dict)
    waves: int = 0
    payday: bool = False
    apps: bool = False
    tell: bool = False


@dataclass(frozen=True)
class Migration:
    """One simulated migration.

    Args:
        kind: which sort.
        users: `user_id`, `flagged_at`, `migrated_at` (until the end of the play), `path`, `app`.
        windows: the days of mails and outages that the reader knows of, as (first, last) moments.
        by: the dimension to tell apart, or None.
        never: the share of people who never come of their own.
    """

    kind: str
    users: pd.DataFrame
    windows: tuple[tuple[pd.Timestamp, pd.Timestamp], ...]
    by: str | None
    never: float


def _mixed(rng: np.random.Generator, weights: list[float], never: float | None = None) -> np.ndarray:
    gone = rng.uniform(0, 0.6) if never is None else never
    return np.append(rng.dirichlet(weights) * (1 - gone), gone)


def _plain(rng: np.random.Generator) -> World:
    week = rng.choice([0, 1, 2])
    rhythm = (np.ones(7), _OFFICE, _SHOP)[week] * np.exp(rng.normal(0, 0.05, 7))
    return World(
        mix=_mixed(rng, [1.5, 2.0, 2.0, 1.0]),
        week=rhythm / rhythm.mean(),
        spread=rng.uniform(0.3, 0.8),
        regular=rng.choice([1.0, 1.0, 3.0]),
    )


def _mails(rng: np.random.Generator, cut: int) -> dict[int, float]:
    days = rng.choice(np.arange(3, cut - 1), rng.integers(1, 2 + cut // 15), replace=False)
    return {int(day): rng.uniform(0.05, 0.25) for day in days}


def _outage(rng: np.random.Generator, cut: int, share: float) -> dict[tuple[int, int], float]:
    first = int(rng.integers(2, cut - 2))
    return {(first, first + int(rng.integers(1, 5))): share}


KINDS: dict[str, Callable[[np.random.Generator, int], World]] = {
    "mixed habits": lambda rng, cut: _plain(rng),
    "office hours": lambda rng, cut: replace(
        _plain(rng), mix=_mixed(rng, [4, 2, 1, 0.5]), week=_OFFICE / _OFFICE.mean()
    ),
    "monthly shop": lambda rng, cut: replace(_plain(rng), mix=_mixed(rng, [0.3, 1, 4, 2]), week=_SHOP / _SHOP.mean()),
    "mostly yearly": lambda rng, cut: replace(_plain(rng), mix=_mixed(rng, [0.5, 1, 1.5, 5])),
    "everybody returns": lambda rng, cut: replace(_plain(rng), mix=_mixed(rng, [1.5, 2, 2, 0.5], rng.uniform(0, 0.05))),
    "many never return": lambda rng, cut: replace(_plain(rng), mix=_mixed(rng, [2, 2, 2, 0.5], rng.uniform(0.45, 0.6))),
    "wide habits": lambda rng, cut: replace(_plain(rng), mix=_mixed(rng, [0.5, 1, 4, 0.5]), spread=1.6),
    "mails, told": lambda rng, cut: replace(_plain(rng), mails=_mails(rng, cut), tell=True),
    "mails, not told": lambda rng, cut: replace(_plain(rng), mails=_mails(rng, cut)),
    "flagged in waves": lambda rng, cut: replace(_plain(rng), waves=int(rng.integers(8, 35))),
    "two apps": lambda rng, cut: replace(_plain(rng), apps=True),
    "outage": lambda rng, cut: replace(_plain(rng), closed=_outage(rng, cut, 1.0)),
    "payday": lambda rng, cut: replace(_plain(rng), mix=_mixed(rng, [0.5, 1, 4, 1]), payday=True),
    "slow stall": lambda rng, cut: replace(_plain(rng), closed=_outage(rng, cut, 0.7)),
}
UNSEEN = ("payday", "slow stall")
"""Kinds that no choice of the model was made with."""


def migration(kind: str, seed: int, cut: int) -> Migration:
    """Play one migration to its end.

    Args:
        kind: one of `KINDS`.
        seed: the same seed plays the same migration.
        cut: the day on which the forecast is to be made. Mails and outages come before it: no forecast can know of one
            that nobody has thought of yet.
    """
    rng = np.random.default_rng([list(KINDS).index(kind), seed, cut])
    world = KINDS[kind](rng, cut)
    size = int(np.exp(rng.uniform(np.log(500), np.log(50_000))))
    habit = rng.choice(5, size, p=world.mix)
    app = rng.choice(["shop", "portal"], size) if world.apps else np.full(size, "shop")
    gap = _HABITS[habit] * np.exp(rng.normal(0, world.spread, size)) * np.where(app == "portal", 3.0, 1.0)
    flagged = np.floor(rng.uniform(0, world.waves, size)) if world.waves else np.zeros(size)
    moved = _first_success(rng, world, gap, flagged)
    for day, share in world.mails.items():
        moved = np.minimum(moved, _answers(rng, day, share * _HOLDS[habit], flagged, moved))
    return Migration(kind, _table(flagged, moved, app), _told(world), "app" if world.apps else None, world.mix[4])


def _first_success(rng: np.random.Generator, world: World, gap: np.ndarray, flagged: np.ndarray) -> np.ndarray:
    """Follow each person's visits until one moves them. Returns days since the start, infinite for nobody."""
    size = len(gap)
    busy = np.tile(world.week, HORIZON // 7 + 1)[:HORIZON] * np.exp(rng.normal(0, rng.uniform(0.02, 0.2), HORIZON))
    clock = np.append(0, np.cumsum(busy))
    finite = np.isfinite(gap)
    # Nobody waits for the flag: the first visit after it falls somewhere inside an interval between two visits.
    length = _interval(rng, world.regular + 1, size) * (world.regular + 1) / world.regular
    at = np.interp(flagged, np.arange(HORIZON + 1), clock) + np.where(finite, gap, 0) * length * rng.random(size)
    if world.payday:
        due = rng.normal(26, 2.5, size) + 30 * rng.integers(0, np.maximum(1, np.minimum(gap, 365) // 30 + 1), size)
        at = np.where(finite & (gap > 15), np.interp(due, np.arange(HORIZON + 1), clock, right=np.inf), at)
    at[~finite] = np.inf
    moved = np.full(size, np.inf)
    trying = np.flatnonzero(at < clock[-1])
    while len(trying):
        day = np.interp(at[trying], clock, np.arange(HORIZON + 1))
        # Of those who mistype, most try again at once; the others come back another day.
        fails = rng.random(len(trying)) < 0.02
        for (first, last), share in world.closed.items():
            fails |= (day >= first) & (day < last) & (rng.random(len(trying)) < share)
        moved[trying[~fails]] = day[~fails]
        trying = trying[fails]
        at[trying] += gap[trying] * _interval(rng, world.regular, len(trying))
        trying = trying[at[trying] < clock[-1]]
    return moved


def _interval(rng: np.random.Generator, regular: float, size: int) -> np.ndarray:
    return rng.gamma(regular, 1 / regular, size)


def _answers(
    rng: np.random.Generator, day: int, share: np.ndarray, flagged: np.ndarray, moved: np.ndarray
) -> np.ndarray:
    asked = (flagged <= day) & (moved > day) & (rng.random(len(moved)) < share)
    return np.where(asked, day + rng.exponential(1.2, len(moved)), np.inf)


def _table(flagged: np.ndarray, moved: np.ndarray, app: np.ndarray) -> pd.DataFrame:
    moved = np.where(moved < HORIZON, moved, np.nan)
    return pd.DataFrame(
        {
            "user_id": [f"u{number}" for number in range(len(moved))],
            "flagged_at": START + pd.to_timedelta(flagged, unit="D"),
            "migrated_at": START + pd.to_timedelta(moved, unit="D"),
            "path": None,
            "app": app,
        }
    )


def _told(world: World) -> tuple[tuple[pd.Timestamp, pd.Timestamp], ...]:
    if not world.tell:
        return ()
    return tuple((START + pd.Timedelta(days=day), START + pd.Timedelta(days=day + 3)) for day in sorted(world.mails))

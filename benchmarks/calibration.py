"""Check the forecast against simulated migrations whose end is known.

    python benchmarks/calibration.py              the judgement: seeds that no choice of the model was made with
    python benchmarks/calibration.py --develop    the seeds that the model was built with
    python benchmarks/calibration.py --only Weibull    one family of curves alone, to see what the others are for

Prints the table that RESULTS.md holds, by kind, cut and days ahead. The migrations are made person by person and know
nothing of survival curves: each person has a habit (comes daily, weekly, monthly, yearly or never again), keeps it by
chance or regularly, has a weekly rhythm, mistypes at times, may answer a reminder mail, and fails during an outage.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from jitkit.progress import survival
from jitkit.progress.forecast import exponential, forecast, straight_line
from jitkit.progress.survival import Window, count_history
from jitkit.progress.tables import Tables

CUTS = (10, 20, 40)
AHEAD = (30, 90)
EACH = 5
_JUDGED, _DEVELOPED = 5_000_000, 1_000

START = pd.Timestamp("2026-03-02T08:00Z")
_DAY = pd.Timedelta(days=1)
_PLAYED = 135  # days: the latest cut and 90 days after it, and some
_HABITS = np.array([1.2, 7.0, 30.0, 365.0, np.inf])  # mean days between two visits
_HOLDS = np.array([1.0, 1.0, 0.8, 0.5, 0.15])  # how much likelier a mail brings people of that habit
_OFFICE = np.array([1.15, 1.2, 1.15, 1.1, 1.0, 0.15, 0.1])
_SHOP = np.array([0.9, 0.9, 0.9, 0.95, 1.05, 1.2, 1.1])

# What is special about each kind of migration:
#   weights   how common the daily, weekly, monthly and yearly habits are
#   never     between which shares the people lie who never return
#   week      how busy the days of the week are, Monday first
#   spread    how much people of one habit differ, as the sigma of a log-normal
#   mails     reminders before the cut, which the forecast knows of if `known`
#   closed    the share of people who fail during an outage before the cut
#   waves     between which numbers of days the flags are set over
#   payday    people come around one day of the month
#   apps      people belong to one of two apps, the second with slower habits
KINDS: dict[str, dict[str, Any]] = {
    "mixed habits": {},
    "office hours": {"weights": (4, 2, 1, 0.5), "week": _OFFICE / _OFFICE.mean()},
    "monthly shop": {"weights": (0.3, 1, 4, 2), "week": _SHOP / _SHOP.mean()},
    "mostly yearly": {"weights": (0.5, 1, 1.5, 5)},
    "everybody returns": {"weights": (1.5, 2, 2, 0.5), "never": (0, 0.05)},
    "many never return": {"weights": (2, 2, 2, 0.5), "never": (0.45, 0.6)},
    "wide habits": {"weights": (0.5, 1, 4, 0.5), "spread": 1.6},
    "mails, known": {"mails": True, "known": True},
    "mails, not known": {"mails": True},
    "flagged in waves": {"waves": (8, 35)},
    "two apps": {"apps": True},
    "outage": {"closed": 1.0},
    "payday": {"weights": (0.5, 1, 4, 1), "payday": True},
    "slow stall": {"closed": 0.7},
}
UNSEEN = ("payday", "slow stall")
"""Kinds that no choice of the model was made with."""


@dataclass(frozen=True)
class Migration:
    """One simulated migration: its whole truth, and what a forecast may know.

    Args:
        users: `user_id`, `flagged_at`, `migrated_at` (until the end of the play), `path`, `app`.
        windows: the first and last moment of each mail that the forecast knows of.
        by: the dimension to forecast apart, or None.
        never: the share of people who never come of their own.
    """

    users: pd.DataFrame
    windows: tuple[Window, ...]
    by: str | None
    never: float


def migration(kind: str, seed: int, cut: int) -> Migration:
    """Play one migration to its end; mails and outages come before the day of the cut."""
    rng, world = np.random.default_rng([list(KINDS).index(kind), seed, cut]), KINDS[kind]
    week = (np.ones(7), _OFFICE, _SHOP)[rng.choice([0, 1, 2])] * np.exp(rng.normal(0, 0.05, 7))
    mix = _mix(rng, (1.5, 2.0, 2.0, 1.0), (0, 0.6))
    spread, regular = rng.uniform(0.3, 0.8), rng.choice([1.0, 1.0, 3.0])
    if "weights" in world:
        mix = _mix(rng, world["weights"], world.get("never", (0, 0.6)))
    mails, closed, waves = {}, (0, 0, 0.0), 0
    if "mails" in world:
        days = rng.choice(np.arange(3, cut - 1), rng.integers(1, 2 + cut // 15), replace=False)
        mails = {int(day): rng.uniform(0.05, 0.25) for day in days}
    if "closed" in world:
        first = int(rng.integers(2, cut - 2))
        closed = (first, first + int(rng.integers(1, 5)), world["closed"])
    if "waves" in world:
        waves = int(rng.integers(*world["waves"]))
    size = int(np.exp(rng.uniform(np.log(500), np.log(50_000))))
    habit = rng.choice(5, size, p=mix)
    app = rng.choice(["shop", "portal"], size) if "apps" in world else np.full(size, "shop")
    gap = _HABITS[habit] * np.exp(rng.normal(0, world.get("spread", spread), size)) * np.where(app == "portal", 3.0, 1)
    flagged = np.floor(rng.uniform(0, waves, size)) if waves else np.zeros(size)
    week = world.get("week", week / week.mean())
    moved = _first_success(rng, gap, flagged, week, regular, closed, "payday" in world)
    for day, share in mails.items():
        asked = (flagged <= day) & (moved > day) & (rng.random(size) < share * _HOLDS[habit])
        moved = np.minimum(moved, np.where(asked, day + rng.exponential(1.2, size), np.inf))
    users = pd.DataFrame(
        {
            "user_id": [f"u{number}" for number in range(size)],
            "flagged_at": START + pd.to_timedelta(flagged, unit="D"),
            "migrated_at": START + pd.to_timedelta(np.where(moved < _PLAYED, moved, np.nan), unit="D"),
            "path": None,
            "app": app,
        }
    )
    known = sorted(mails) if "known" in world else []
    windows = tuple((START + day * _DAY, START + (day + 3) * _DAY) for day in known)
    return Migration(users, windows, "app" if "apps" in world else None, mix[4])


def _mix(rng: np.random.Generator, weights: tuple[float, ...], never: tuple[float, float]) -> np.ndarray:
    gone = rng.uniform(*never)
    return np.append(rng.dirichlet(weights) * (1 - gone), gone)


def _first_success(
    rng: np.random.Generator,
    gap: np.ndarray,
    flagged: np.ndarray,
    week: np.ndarray,
    regular: float,
    closed: tuple[int, int, float],
    payday: bool,
) -> np.ndarray:
    """Follow each person's visits until one moves them: days since the start, infinite where none does."""
    size, days = len(gap), np.arange(_PLAYED + 1)
    busy = np.tile(week, _PLAYED // 7 + 1)[:_PLAYED] * np.exp(rng.normal(0, rng.uniform(0.02, 0.2), _PLAYED))
    clock = np.append(0, np.cumsum(busy))
    finite = np.isfinite(gap)
    # Nobody waits for the flag: the first visit after it falls somewhere inside an interval between two visits.
    length = rng.gamma(regular + 1, 1 / (regular + 1), size) * (regular + 1) / regular
    at = np.interp(flagged, days, clock) + np.where(finite, gap, 0) * length * rng.random(size)
    if payday:
        due = rng.normal(26, 2.5, size) + 30 * rng.integers(0, np.maximum(1, np.minimum(gap, 365) // 30 + 1), size)
        at = np.where(finite & (gap > 15), np.interp(due, days, clock, right=np.inf), at)
    at[~finite] = np.inf
    moved = np.full(size, np.inf)
    trying = np.flatnonzero(at < clock[-1])
    while len(trying):
        day = np.interp(at[trying], clock, days)
        # Most of those who mistype try again at once; the others come back another day.
        fails = rng.random(len(trying)) < 0.02
        first, last, share = closed
        if last:
            fails |= (day >= first) & (day < last) & (rng.random(len(trying)) < share)
        moved[trying[~fails]] = day[~fails]
        trying = trying[fails]
        at[trying] += gap[trying] * rng.gamma(regular, 1 / regular, len(trying))
        trying = trying[at[trying] < clock[-1]]
    return moved


def judge(kind: str, seed: int, cut: int) -> list[dict[str, object]]:
    """Forecast one migration and compare it with its end.

    Returns:
        a row for each distance ahead: errors as shares of the users in scope.
    """
    played = migration(kind, seed, cut)
    as_of = START + pd.Timedelta(days=cut)
    users, size = played.users, len(played.users)
    made = forecast(
        Tables(users=users, as_of=as_of), by=played.by, windows=played.windows, days=max(AHEAD), with_backtest=False
    )
    history = count_history(users, as_of)
    assert history is not None
    line, curve = straight_line(history, size, max(AHEAD)), exponential(history, size, max(AHEAD))
    rows = []
    for ahead in AHEAD:
        truth = int((users["migrated_at"] <= as_of + pd.Timedelta(days=ahead)).sum())
        row = {"kind": kind, "cut": cut, "ahead": ahead, "early": bool(made.too_early)}
        if not made.too_early and made.never_return is not None:
            low, middle, high = made.days.loc[ahead, ["migrated_low", "migrated", "migrated_high"]]
            row |= {
                "inside": low <= truth <= high,
                "below": truth < low,
                "above": truth > high,
                "width": (high - low) / size,
                "error": abs(middle - truth) / size,
                "line": abs(line[ahead] - truth) / size,
                "exponential": abs(curve[ahead] - truth) / size,
                "never": made.never_return["low"] <= played.never <= made.never_return["high"],
            }
        rows.append(row)
    return rows


def table(rows: pd.DataFrame, by: list[str]) -> str:
    """Write shares in percent, one line a group."""
    lines = []
    for names, group in rows.groupby(by, sort=False):
        made = group[~group["early"]]
        shares = [f"{100 * made[name].mean():.0f}" for name in ("inside", "below", "above")]
        middles = [f"{100 * made[name].median():.1f}" for name in ("width", "error", "line", "exponential")]
        cells = [*map(str, names), f"{len(made)}", f"{int(group['early'].sum())}", *shares, *middles]
        lines.append("| " + " | ".join(cells) + " |")
    heads = [*by, "made", "too early", "inside %", "below %", "above %"]
    heads += ["width", "error", "straight line", "exponential"]
    return "\n".join(["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads), *lines])


def main() -> None:
    """Print the tables."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--develop", action="store_true")
    options.add_argument("--only", metavar="FAMILY")
    options.add_argument("--each", type=int, default=EACH, help="migrations of each kind and cut")
    chosen = options.parse_args()
    if chosen.only:
        survival.FAMILIES = tuple(family for family in survival.FAMILIES if family.name == chosen.only)
    first = _DEVELOPED if chosen.develop else _JUDGED
    kinds = [kind for kind in KINDS if not (chosen.develop and kind in UNSEEN)]
    began, worked = time.perf_counter(), time.process_time()
    played = [
        row
        for kind in kinds
        for cut in CUTS
        for seed in range(first, first + chosen.each)
        for row in judge(kind, seed, cut)
    ]
    rows = pd.DataFrame(played)
    rows["group"] = np.where(rows["kind"].isin(UNSEEN), "kinds never used in building", "kinds used in building")
    print(f"{len(rows) // len(AHEAD)} migrations, of {len(kinds)} kinds, seeds from {first}")
    for by in (["ahead"], ["cut", "ahead"], ["group", "ahead"], ["kind", "ahead"]):
        print("\n" + table(rows, by))
    inside = rows.loc[(rows["ahead"] == AHEAD[0]) & ~rows["early"], "never"].mean()
    print(f"\nThe range of never_return holds the true share in {100 * inside:.0f} %.")
    print(f"{time.process_time() - worked:.0f} s of one core, {time.perf_counter() - began:.0f} s passed")


if __name__ == "__main__":
    main()

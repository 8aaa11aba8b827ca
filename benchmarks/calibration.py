"""Check the forecast against invented migrations whose end is known.

    python benchmarks/calibration.py              the judgement: seeds that no choice of the model was made with
    python benchmarks/calibration.py --develop    the seeds that the model was built with
    python benchmarks/calibration.py --only Weibull    one family of SurPyval alone, to see what the others are for

Prints the table that RESULTS.md holds, by kind, cut and days ahead. `benchmarks/simulated_migrations.py` makes the
migrations person by person; it knows nothing of survival curves.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import pandas as pd
from simulated_migrations import KINDS, START, UNSEEN, migration

from jitkit.progress import survival
from jitkit.progress.baselines import exponential, straight_line
from jitkit.progress.forecast import forecast
from jitkit.progress.history import count_history
from jitkit.progress.tables import Tables

CUTS = (10, 20, 40)
AHEAD = (30, 90)
EACH = 5
_JUDGED, _DEVELOPED = 5_000_000, 1_000


def judge(kind: str, seed: int, cut: int) -> list[dict[str, object]]:
    """Forecast one migration and compare it with its end.

    Returns:
        a row for each distance ahead: errors as shares of the users in scope.
    """
    played = migration(kind, seed, cut)
    as_of = START + pd.Timedelta(days=cut)
    users, size = played.users, len(played.users)
    told = forecast(
        Tables(users=users, as_of=as_of), by=played.by, told=played.windows, days=max(AHEAD), with_backtest=False
    )
    history = count_history(users, as_of)
    assert history is not None
    line, curve = straight_line(history, size, max(AHEAD)), exponential(history, size, max(AHEAD))
    rows = []
    for ahead in AHEAD:
        truth = int((users["migrated_at"] <= as_of + pd.Timedelta(days=ahead)).sum())
        row = {"kind": kind, "cut": cut, "ahead": ahead, "early": bool(told.too_early)}
        if not told.too_early and told.never_return is not None:
            low, middle, high = told.days.loc[ahead, ["migrated_low", "migrated", "migrated_high"]]
            row |= {
                "inside": low <= truth <= high,
                "below": truth < low,
                "above": truth > high,
                "width": (high - low) / size,
                "error": abs(middle - truth) / size,
                "line": abs(line[ahead] - truth) / size,
                "exponential": abs(curve[ahead] - truth) / size,
                "never": told.never_return["low"] <= played.never <= told.never_return["high"],
            }
        rows.append(row)
    return rows


def table(rows: pd.DataFrame, by: list[str]) -> str:
    """Write shares in percent, one line a group."""
    lines = []
    for names, group in rows.groupby(by, sort=False):
        told = group[~group["early"]]
        shares = [f"{100 * told[name].mean():.0f}" for name in ("inside", "below", "above")]
        middles = [f"{100 * told[name].median():.1f}" for name in ("width", "error", "line", "exponential")]
        cells = [*map(str, names), f"{len(told)}", f"{int(group['early'].sum())}", *shares, *middles]
        lines.append("| " + " | ".join(cells) + " |")
    heads = [*by, "told", "too early", "inside %", "below %", "above %"]
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

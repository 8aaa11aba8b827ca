"""Weighs the days on which the old system could be switched off."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
import pandas as pd

from jitkit.display import Table
from jitkit.errors import BadTable
from jitkit.progress.forecast import Forecast, interval
from jitkit.progress.wording import day, say

_EVERY: Final = 14  # days between two candidates
_SURE: Final = 0.9
_EVEN: Final = 0.5
_SETTLED: Final = 0.95
_LEFT: Final = {"left_low": "migrated_high", "left": "migrated", "left_high": "migrated_low"}
_RANGES: Final = ("left_low", "left", "left_high", "resets_low", "resets", "resets_high")
_COLUMNS: Final = ("date", *_RANGES, "tickets", "come", "chance", "risk")


@dataclass(frozen=True, eq=False)
class CutOver:
    """What switching off the old system costs on each candidate date.

    Args:
        target: how many users may be left.
        dates: `date` (UTC); users `left` then, and those of them who come within the forecast's days and need a new
            password (`resets`), each with its 80 % interval; `tickets` at the help desk; `come`, the share of
            those who still come that has come; `chance` that no more than `target` are left; `risk` in a word.
        date: the first day on which the target is met with 90 % certainty, or None.
        settled: the day by which 95 % of those who still come within the forecast's days have come, or None.
        left: users left at the end of the forecast's days (`left_low`, `left`, `left_high`) for each of its lines.
        reason: why that day, or why none.
        note: what the table assumes.
    """

    target: int
    dates: pd.DataFrame = field(repr=False)
    date: pd.Timestamp | None
    reason: str
    note: str = field(default="", repr=False)
    settled: pd.Timestamp | None = None
    left: dict[str, dict[str, int]] = field(default_factory=dict, repr=False)

    def __str__(self) -> str:
        return self.reason

    def _repr_html_(self) -> str:
        shown = self.shown()
        caption, note = "When may the old system be switched off?", f"{self.reason} {self.note}".rstrip()
        return Table(caption=caption, columns=[*shown], rows=shown.to_numpy().tolist(), note=note)._repr_html_()

    def shown(self) -> pd.DataFrame:
        """Return the dates as people read them."""

        def ranges(name: str) -> list[str]:
            rows = self.dates[[name, f"{name}_low", f"{name}_high"]].to_numpy()
            return [f"{middle:,} ({low:,} to {high:,})" for middle, low, high in rows]

        columns = {
            "Switch off on": self.dates["date"].map(day),
            "Users left": ranges("left"),
            "Of them come and need a new password": ranges("resets"),
            "Help-desk tickets": self.dates["tickets"].map("{:,}".format),
            "Have come of those who still come": (100 * self.dates["come"]).map("{:.0f} %".format),
        }
        if (self.dates["chance"] > 0).any():  # else these columns decide nothing
            chance = (100 * self.dates["chance"]).map("{:.0f} %".format)
            columns |= {f"Chance that at most {self.target:,} are left": chance, "Risk": self.dates["risk"]}
        return pd.DataFrame(columns)


def cut_over(forecast: Forecast, target_share: float = 0.05, *, tickets_per_reset: float = 0.25) -> CutOver:
    """Weigh every 14th day of the first half of the forecast, and the first day that meets the target.

    Later days leave too few days to count new passwords in. `target_share` (0 to 1) of the users in scope may be left.
    That one in four who need a new password calls the help desk is an assumption.

    Raises:
        BadTable: the target makes no sense.
    """
    if not 0 <= target_share <= 1:
        raise BadTable(f"A target share of {target_share} makes no sense.", next_step="Give a share from 0 to 1.")
    target, days = int(target_share * forecast.in_scope), forecast.days["date"]
    if forecast.too_early:
        return CutOver(target, pd.DataFrame(columns=list(_COLUMNS)), None, str(forecast))
    left = forecast.in_scope - forecast.paths
    chance = (left <= target).mean(axis=0)
    met = np.flatnonzero(chance >= _SURE)
    chosen = sorted({*range(0, len(days) // 2 + 1, _EVERY), *met[:1].tolist()})
    # Users who would still have come, had the old system stayed on, come anyway and find no password.
    resets = interval(left[:, chosen] - left[:, -1:])
    middle = np.median(forecast.paths, axis=0) - forecast.migrated
    share = middle / max(middle[-1], 1)
    settled = days.iloc[int(np.argmax(share >= _SETTLED))] if middle[-1] >= 1 else None
    lasts = {"do_nothing": dict(zip(_LEFT, interval(left[:, -1]).tolist(), strict=True))}
    for line, row in forecast.lines.groupby("line").last().iterrows():
        lasts[str(line)] = {name: forecast.in_scope - int(row[moved]) for name, moved in _LEFT.items()}
    columns = (
        days.iloc[chosen].reset_index(drop=True),
        *interval(left[:, chosen]),
        *resets,
        np.ceil(resets[1] * tickets_per_reset).astype(int),
        share[chosen].round(3),
        chance[chosen].round(3),
        np.select([chance[chosen] >= _SURE, chance[chosen] >= _EVEN], ["low", "medium"], "high"),
    )
    date = days.iloc[met[0]] if len(met) else None
    return CutOver(
        target=target,
        dates=pd.DataFrame(dict(zip(_COLUMNS, columns, strict=True))),
        date=date,
        reason=say("cut_over_reason", forecast=forecast, target=target, date=date, left=lasts, settled=settled),
        note=say("cut_over_note", last=days.iloc[-1], tickets_per_reset=tickets_per_reset),
        settled=settled,
        left=lasts,
    )

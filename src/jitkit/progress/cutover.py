"""Weighs the days on which the old system could be switched off."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
import pandas as pd

from jitkit.display import Table
from jitkit.errors import BadTable
from jitkit.progress.forecast import Forecast, interval
from jitkit.progress.measures import day

__all__ = ["CutOver", "cut_over"]

_EVERY: Final = 14  # days between two candidates
_SURE: Final = 0.9
_EVEN: Final = 0.5
_COLUMNS: Final = (
    *("date", "left_low", "left", "left_high", "resets_low", "resets", "resets_high", "tickets", "chance", "risk"),
)


@dataclass(frozen=True, eq=False)
class CutOver:
    """What switching off the old system costs on each candidate date.

    Args:
        target: how many users may be left.
        dates: `date` (UTC); users `left` then, and those of them who come within the forecast's days and need a new
            password (`resets`), each with its 80 % interval; `tickets` at the help desk; `chance` that no more than
            `target` are left; `risk` in a word.
        date: the first day on which the target is met with 90 % certainty, or None.
        reason: why that day, or why none.
        note: what the table assumes.
    """

    target: int
    dates: pd.DataFrame = field(repr=False)
    date: pd.Timestamp | None
    reason: str
    note: str = field(default="", repr=False)

    def __str__(self) -> str:
        return self.reason

    def _repr_html_(self) -> str:
        shown = self.shown()
        caption, note = "When may the old system be switched off?", f"{self.reason} {self.note}".rstrip()
        return Table(caption=caption, columns=[*shown], rows=shown.to_numpy().tolist(), note=note)._repr_html_()

    def shown(self) -> pd.DataFrame:
        """Return the dates as people read them."""

        def ranges(name: str) -> list[str]:
            columns = (self.dates[name], self.dates[f"{name}_low"], self.dates[f"{name}_high"])
            return [f"{middle:,} ({low:,} to {high:,})" for middle, low, high in zip(*columns, strict=True)]

        return pd.DataFrame(
            {
                "Switch off on": [day(date) for date in self.dates["date"]],
                "Users left": ranges("left"),
                "Of them come and need a new password": ranges("resets"),
                "Help-desk tickets": [f"{count:,}" for count in self.dates["tickets"]],
                f"Chance that at most {self.target:,} are left": [
                    f"{100 * each:.0f} %" for each in self.dates["chance"]
                ],
                "Risk": self.dates["risk"],
            }
        )


def cut_over(forecast: Forecast, target_share: float = 0.05, *, tickets_per_reset: float = 0.25) -> CutOver:
    """Weigh every 14th day of the first half of the forecast, and the first day that meets the target.

    Later days leave too few days to count new passwords in. `target_share` (0 to 1) of the users in scope may be left.
    That one in four who need a new password calls the help desk is an assumption.

    Raises:
        BadTable: the target makes no sense.
    """
    if not 0 <= target_share <= 1:
        raise BadTable(f"A target share of {target_share} makes no sense.", next_step="Give a share from 0 to 1.")
    target = int(target_share * forecast.in_scope)
    if forecast.too_early:
        reason = f"It is too early to tell: {forecast.too_early}"
        return CutOver(target, pd.DataFrame(columns=list(_COLUMNS)), None, reason)
    left = forecast.in_scope - forecast.paths
    chance = (left <= target).mean(axis=0)
    met = np.flatnonzero(chance >= _SURE)
    chosen = sorted({*range(0, len(forecast.days) // 2 + 1, _EVERY), *met[:1].tolist()})
    # Users who would still have come, had the old system stayed on, come anyway and find no password.
    come = left[:, chosen] - left[:, -1:]
    columns = (
        forecast.days["date"].iloc[chosen].reset_index(drop=True),
        *interval(left[:, chosen]),
        *interval(come),
        np.ceil(come.mean(axis=0) * tickets_per_reset).astype(int),
        chance[chosen].round(3),
        np.select([chance[chosen] >= _SURE, chance[chosen] >= _EVEN], ["low", "medium"], "high"),
    )
    date = forecast.days["date"].iloc[met[0]] if len(met) else None
    note = (
        f"Counted are new passwords until {day(forecast.days['date'].iloc[-1])}; users who come later need one too. "
        f"{100 * tickets_per_reset:.0f} of 100 of them are taken to call the help desk."
    )
    table = pd.DataFrame(dict(zip(_COLUMNS, columns, strict=True)))
    return CutOver(target, table, date, _reason(forecast, left, target, date), note)


def _reason(forecast: Forecast, left: np.ndarray, target: int, date: pd.Timestamp | None) -> str:
    if forecast.migrated == forecast.in_scope:
        return "Now: all users are moved."
    if date is not None:
        return f"From {day(date)} on, at most {target:,} users are left, with 90 % certainty."
    low, _, high = interval(left[:, -1])
    words = (
        f"No day until {day(forecast.days['date'].iloc[-1])} reaches the target of at most {target:,} users left with "
        f"90 % certainty: {low:,} to {high:,} are left even then"
    )
    never = forecast.never_return
    if never is not None and never["low"] * forecast.in_scope > target:
        advice = "Waiting alone is unlikely to help: remind them, then reset these accounts."
        return f"{words}, most likely because many never return. {advice}"
    return f"{words}. Remind those who are left, or accept that more of them need a new password."

"""How a forecast would have done on days that have passed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from jitkit.progress.baselines import exponential, straight_line
from jitkit.progress.history import Floats, History

__all__ = ["Backtest", "compare"]


@dataclass(frozen=True)
class Backtest:
    """A forecast made in the past, beside what happened and what others would have said.

    Args:
        made_on: when it would have been made.
        days: how many days since then it is judged by.
        inside: share of these days on which the truth lay in the 80 % interval.
        error: how many users the forecast was off, on average over the days.
        error_line: the same of a straight line through the last seven days.
        error_exponential: the same of a saturating exponential.
    """

    made_on: pd.Timestamp
    days: int
    inside: float
    error: float
    error_line: float
    error_exponential: float

    def __str__(self) -> str:
        return (
            f"made {self.days} days ago it is off by {self.error:,.0f} users on average (a straight line by "
            f"{self.error_line:,.0f}, an exponential by {self.error_exponential:,.0f}); "
            f"{100 * self.inside:.0f} % of the days lie in its range"
        )

    def numbers(self) -> dict[str, Any]:
        """Give it ready for JSON."""
        return {
            "made_on": f"{self.made_on:%Y-%m-%d}",
            "days": self.days,
            "interval_coverage": round(self.inside, 4),
            "error": round(self.error, 2),
            "error_straight_line": round(self.error_line, 2),
            "error_exponential": round(self.error_exponential, 2),
        }


def compare(past: History, in_scope: int, courses: Floats, truth: Floats, made_on: pd.Timestamp) -> Backtest:
    """Judge courses that were played from the past.

    Args:
        past: what was known then.
        in_scope: how many users there are.
        courses: migrated users after 0, 1 … days (columns) in each course (rows).
        truth: migrated users on those days.
        made_on: when that was.
    """
    days = len(truth) - 1
    low, middle, high = np.round(np.quantile(courses, (0.1, 0.5, 0.9), axis=0))

    def error(said: Floats) -> float:
        return float(np.abs(said - truth)[1:].mean())

    return Backtest(
        made_on=made_on,
        days=days,
        inside=float(((low <= truth) & (truth <= high))[1:].mean()),
        error=error(middle),
        error_line=error(straight_line(past, in_scope, days)),
        error_exponential=error(exponential(past, in_scope, days)),
    )

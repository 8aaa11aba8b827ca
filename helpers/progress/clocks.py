"""Whether the endpoint's clock and Entra's agree."""

from __future__ import annotations

from typing import Final

import numpy as np
import pandas as pd

from helpers.progress.lookup import micros, places
from helpers.progress.metrics import calls
from helpers.progress.tables import Tables, once

__all__ = ["call_times", "skew"]

# What a sign-in takes between its first row in the log and its call, and what networks add, is far below this.
_TOLERATED: Final = pd.Timedelta(seconds=60)
_PAIRS: Final = 5


@once
def skew(tables: Tables) -> pd.Timedelta:
    """Measure how far the endpoint's clock is ahead of Entra's, on the sign-ins that both logs tell of.

    Returns:
        the median difference; zero when it is within a minute, or when fewer than five sign-ins are told of twice.
    """
    asked = tables.sign_ins.loc[tables.sign_ins["callout_error"].notna(), ["correlation_id", "time"]]
    asked = asked.dropna().drop_duplicates("correlation_id")
    called = calls(tables)[["correlation_id", "time"]].dropna().drop_duplicates("correlation_id")
    rows = places(called["correlation_id"], asked["correlation_id"])
    found = rows >= 0
    if found.sum() < _PAIRS:
        return pd.Timedelta(0)
    ahead = micros(called["time"])[found] - micros(asked["time"])[rows[found]]
    median = pd.Timedelta(int(np.median(ahead)), unit="us")
    return median if abs(median) > _TOLERATED else pd.Timedelta(0)


def call_times(tables: Tables) -> pd.Series:
    """Give the times of `calls` on Entra's clock."""
    return calls(tables)["time"] - skew(tables)

"""How many moved on each day, and which days were not like the others."""

from __future__ import annotations

import numpy as np
import pandas as pd

from jitkit.progress.survival import DAY, count_history, find_rhythm
from jitkit.progress.tables import Tables, once

__all__ = ["pace"]

_WEEK = 7.0  # days, before which nobody can say what is usual


@once
def pace(tables: Tables) -> pd.DataFrame:
    """Count the moves of each day, and say what a day unlike the others would have brought otherwise.

    What is usual follows from how many could still move, how long ago they were flagged and the day of the week: a day
    is odd when chance and these explain its count too badly (`rhythm.find_rhythm`, which the forecast rests on).

    Returns:
        `day` (UTC, its beginning), `moved`, `usual` (NaN for a day like the others); from the first flag to `as_of`,
        of which the last day may not be over. Empty when nobody is flagged.
    """
    history = None if tables.as_of is None else count_history(tables.users, tables.as_of)
    if history is None:
        nothing = np.zeros(0)
        return pd.DataFrame({"day": pd.to_datetime([], utc=True), "moved": nothing.astype("int64"), "usual": nothing})
    moved = history.moved.sum(axis=0)
    usual = np.full(len(moved), np.nan)
    if history.now >= _WEEK:
        rhythm = find_rhythm(history)
        odd = np.array(rhythm.odd, dtype=int)
        plain = rhythm.week[(rhythm.first + odd) % 7]
        share = rhythm.past[odd] / plain / rhythm.kept[odd]
        usual[odd] = np.maximum((moved[odd] + 0.5) / share - 0.5, 0)
    days = history.origin + np.arange(len(moved)) * DAY
    return pd.DataFrame({"day": days, "moved": moved.astype("int64"), "usual": usual})

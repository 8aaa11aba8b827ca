"""Whether the clocks agree that the endpoint, Entra and the users table went by."""

from __future__ import annotations

from typing import Final

import numpy as np
import pandas as pd

from jitkit.progress.metrics import calls
from jitkit.progress.tables import Tables, index_in, micros, once

__all__ = ["call_times", "off_beat", "skew", "zone"]

# What a sign-in takes between its first row in the log and its call, and what networks add, is far below this.
_TOLERATED: Final = pd.Timedelta(seconds=60)
_PAIRS: Final = 5
_ZONE: Final = pd.Timedelta(minutes=10)  # zones lie a quarter of an hour apart at least
_US: Final = pd.Timedelta(1, unit="us")
_NEVER: Final = np.iinfo("int64").min


@once
def skew(tables: Tables) -> pd.Timedelta:
    """Measure how far the endpoint's clock is ahead of Entra's, on the sign-ins that both logs tell of.

    Returns:
        the median difference; zero when it is within a minute, or when fewer than five sign-ins are told of twice.
    """
    ahead = _ahead(tables)
    if len(ahead) < _PAIRS:
        return pd.Timedelta(0)
    median = pd.Timedelta(int(np.median(ahead)), unit="us")
    return median if abs(median) > _TOLERATED else pd.Timedelta(0)


def off_beat(tables: Tables) -> int:
    """Count the calls whose clock differs from that of most others by more than a minute: another endpoint's, say."""
    ahead = _ahead(tables)
    off = int((np.abs(ahead - np.median(ahead)) > _TOLERATED / _US).sum()) if len(ahead) else 0
    return off if off >= _PAIRS else 0


def zone(tables: Tables) -> pd.Timedelta:
    """Measure how far the users' times are ahead of the sign-in log's, on the sign-ins that moved somebody by a call.

    Returns:
        the median difference; zero when it is within ten minutes, when fewer than five people were moved so, or when
        half of them or more differ otherwise, as days without a time of day do.
    """
    log = tables.sign_ins
    good = ((log["result_code"] == 0) & (log["callout_error"] == 0)).fillna(False).to_numpy() & (tables.people >= 0)
    last = np.full(len(tables.users), _NEVER)
    # In the order of time: of several the last one stays.
    last[tables.people[good]] = micros(log["time"])[good]
    moved = tables.users["migrated_at"].notna().to_numpy() & (last != _NEVER)
    ahead = micros(tables.users["migrated_at"])[moved] - last[moved]
    if len(ahead) < _PAIRS:
        return pd.Timedelta(0)
    median = np.median(ahead)
    alike = np.abs(ahead - median) <= _TOLERATED / _US
    return pd.Timedelta(int(median), unit="us") if abs(median) > _ZONE / _US and alike.mean() > 0.5 else pd.Timedelta(0)


@once
def _ahead(tables: Tables) -> np.ndarray:
    """Give the microseconds from each sign-in to its call, where both logs tell of it."""
    asked = tables.sign_ins.loc[tables.sign_ins["callout_error"].notna(), ["correlation_id", "time"]]
    asked = asked.dropna().drop_duplicates("correlation_id")
    called = calls(tables)[["correlation_id", "time"]].dropna().drop_duplicates("correlation_id")
    rows = index_in(called["correlation_id"], asked["correlation_id"])
    found = rows >= 0
    ahead: np.ndarray = micros(called["time"])[found] - micros(asked["time"])[rows[found]]
    return ahead


def call_times(tables: Tables) -> pd.Series:
    """Give the times of `calls` on Entra's clock."""
    return calls(tables)["time"] - skew(tables)

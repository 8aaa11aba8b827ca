"""How near the calls come to the tenant's limits, and how many had to be made again."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pandas as pd

from jitkit.progress.tables import Tables, micros
from jitkit.protocol import CALLS_PER_SECOND

__all__ = ["NEAR", "busy_seconds", "retries"]

NEAR: Final = 45
"""Calls in one second from which on a second counts as near the limit of `protocol.CALLS_PER_SECOND`."""

_SECOND: Final = 1_000_000


def retries(tables: Tables) -> dict[str, Any]:
    """Count the sign-ins for which Entra had to call the endpoint a second time.

    Returns:
        `calls` (sign-ins that ran a callout), `retried`, and `share` (0 to 1; None without calls). From the sign-in
        log; where that tells of no callout, from the ledger.
    """
    asked = tables.sign_ins["callout_error"].notna()
    if asked.any():
        whole = int(asked.sum())
        again = int((tables.sign_ins.loc[asked, "attempts"] > 1).sum())
    else:
        again = int((tables.ledger["attempt"] > 1).sum())
        whole = int(tables.ledger["action"].notna().sum()) - again
    return {"calls": whole, "retried": again, "share": round(again / whole, 6) if whole > 0 else None}


def busy_seconds(tables: Tables, near: int = NEAR) -> pd.DataFrame:
    """Find the seconds in which the tenant's callouts came near their limit.

    Every attempt counts, for it is calls that are limited. They are counted in the ledger, by their arrival; where
    there is none, in the sign-in log, by the second in which the sign-in began.

    Args:
        tables: what is known.
        near: calls from which on a second is listed.

    Returns:
        `time` (UTC, the second's begin), `calls`, `over` (more than the limit); the busiest first.
    """
    if len(tables.ledger):
        times, weights = tables.ledger["time"], np.ones(len(tables.ledger), dtype="int64")
    else:
        asked = tables.sign_ins["callout_error"].notna()
        times = tables.sign_ins.loc[asked, "time"]
        weights = tables.sign_ins.loc[asked, "attempts"].fillna(1).to_numpy(dtype="int64")
    seconds = micros(times) // _SECOND
    starts = np.flatnonzero(np.diff(seconds, prepend=-1))
    counts = np.add.reduceat(weights, starts) if len(starts) else np.zeros(0, dtype="int64")
    busy = counts >= near
    frame = pd.DataFrame(
        {
            "time": pd.to_datetime(seconds[starts[busy]], unit="s", utc=True),
            "calls": counts[busy],
            "over": counts[busy] > CALLS_PER_SECOND,
        }
    )
    return frame.sort_values(["calls", "time"], ascending=[False, True], ignore_index=True)

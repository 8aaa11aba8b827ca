"""Is the endpoint well: outages, retries, limits, and how long its certificate lasts."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pandas as pd

from helpers.progress.load import busy_seconds, retries
from helpers.progress.lookup import micros
from helpers.progress.mends import callout_cause
from helpers.progress.metrics import latency
from helpers.progress.tables import Tables
from helpers.protocol import CALLS_PER_SECOND

__all__ = ["OUTAGE", "health", "outages"]

OUTAGE: Final = ("down", "legacy_timeout", "breaker_open", "throttled", "busy", "unexpected", "no_signing_keys")
"""Causes in the ledger that lie in the legacy system or the endpoint and hit whoever comes at that time."""

# Callout errors that mean the same, seen from Entra: no usable answer came.
_UNREACHED: Final = (1003000, 1003001, 1003002, 1003005, 1003027)
_MINUTE: Final = 60_000_000  # microseconds
_QUARTER: Final = 15 * _MINUTE
_FEWEST: Final = 3
_SHARE: Final = 0.25


def health(tables: Tables, certificate_ends: pd.Timestamp | None = None) -> dict[str, Any]:
    """Gather the signs of health.

    Args:
        tables: what is known.
        certificate_ends: until when the encryption certificate is valid; None if that is not known.

    Returns:
        `over_limit_share` (calls above two seconds, 0 to 1; None without calls), `retry_share`, `near_limit_seconds`
        and `over_limit_seconds` (see `load.busy_seconds`), `outages`, `outage_minutes`, and `certificate_days` (whole
        days from `as_of`; negative when it has run out).
    """
    took, busy, windows = latency(tables), busy_seconds(tables), outages(tables)
    minutes = (micros(windows["until"]) - micros(windows["since"])).sum() / _MINUTE
    left = None
    if certificate_ends is not None and tables.as_of is not None:
        ends = certificate_ends.tz_localize("UTC") if certificate_ends.tzinfo is None else certificate_ends
        left = (ends - tables.as_of).days
    return {
        "over_limit_share": round(took["over_limit"] / took["calls"], 6) if took["calls"] else None,
        "retry_share": retries(tables)["share"],
        "near_limit_seconds": len(busy),
        "over_limit_seconds": int((busy["calls"] > CALLS_PER_SECOND).sum()),
        "outages": len(windows),
        "outage_minutes": round(float(minutes), 1),
        "certificate_days": left,
    }


def outages(tables: Tables) -> pd.DataFrame:
    """Find the windows in which calls failed for a reason that lies in the endpoint or the legacy system.

    A quarter of an hour is bad if at least three such failures make up at least a quarter of its calls; bad ones that
    follow each other are one window. The ledger is asked, or the sign-in log where there is no ledger.

    Returns:
        `since`, `until` (UTC, the first and last failure), `failed`, `calls` (in these quarters of an hour), `cause`
        (the most frequent); in the order of time.
    """
    times, causes, bad = _calls(tables)
    quarter = times // _QUARTER
    numbers, places, counts = np.unique(quarter, return_inverse=True, return_counts=True)
    failed = np.bincount(places[bad], minlength=len(numbers))
    poor = (failed >= _FEWEST) & (failed >= _SHARE * counts)
    window = np.cumsum(np.diff(numbers[poor], prepend=-2) > 1)
    found = pd.DataFrame({"window": window, "calls": counts[poor], "failed": failed[poor]}, index=np.flatnonzero(poor))
    inside = bad & poor[places]
    rows = pd.DataFrame({"time": times[inside], "cause": causes[inside].to_numpy(dtype=object)})
    rows["window"] = found["window"].reindex(places[inside]).to_numpy()
    sums, grouped = found.groupby("window")[["failed", "calls"]].sum(), rows.groupby("window")
    most = [column.value_counts().sort_index().idxmax() for _, column in grouped["cause"]]
    return pd.DataFrame(
        {
            "since": pd.to_datetime(grouped["time"].min().to_numpy(), unit="us", utc=True),
            "until": pd.to_datetime(grouped["time"].max().to_numpy(), unit="us", utc=True),
            "failed": sums["failed"].to_numpy(),
            "calls": sums["calls"].to_numpy(),
            "cause": pd.Series(most, dtype="str"),
        }
    )


def _calls(tables: Tables) -> tuple[np.ndarray, pd.Series, np.ndarray]:
    """Give the time of each call in microseconds, the cause beside it, and whether it failed in such a way."""
    if len(tables.ledger):
        times, causes = tables.ledger["time"], tables.ledger["cause"]
        return micros(times), causes, causes.isin(OUTAGE).to_numpy()
    asked = tables.sign_ins[tables.sign_ins["callout_error"].notna()]
    codes = asked["callout_error"]
    return micros(asked["time"]), codes.map(callout_cause), codes.isin(_UNREACHED).to_numpy(dtype=bool)

"""Is the endpoint well: outages, retries, limits, and how long its certificate lasts."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pandas as pd

from helpers.progress.load import busy_seconds, retries
from helpers.progress.metrics import latency
from helpers.progress.tables import Tables
from helpers.protocol import CALLS_PER_SECOND

__all__ = ["OUTAGE", "health", "outages"]

OUTAGE: Final = ("down", "legacy_timeout", "breaker_open", "throttled", "busy", "unexpected", "no_signing_keys")
"""Causes in the ledger that lie in the legacy system or the endpoint and hit whoever comes at that time."""

# Callout errors that mean the same, seen from Entra: no usable answer came.
_UNREACHED: Final = (1003000, 1003001, 1003002, 1003005, 1003027)
_APART: Final = pd.Timedelta(minutes=10)
_FEWEST: Final = 3


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
    minutes = (windows["until"] - windows["since"]).sum() / pd.Timedelta(minutes=1) if len(windows) else 0.0
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

    A window holds at least three such failures, none more than ten minutes after the one before. It is an outage whether
    or not some calls got through meanwhile; `calls` and `failed` say how many.

    Returns:
        `since`, `until` (UTC, the first and last failure), `failed`, `calls` (in all, between the two), `cause` (the
        most frequent); in the order of time.
    """
    times, causes, every = _failures(tables)
    if not len(times):
        return pd.DataFrame({"since": times, "until": times, "failed": [], "calls": [], "cause": []}).astype(
            {"failed": "int64", "calls": "int64", "cause": "str"}
        )
    window = np.cumsum(np.diff(times.array.asi8, prepend=times.array.asi8[0]) > _APART // pd.Timedelta(microseconds=1))
    grouped = pd.DataFrame({"time": times.to_numpy(), "cause": causes.to_numpy()}).groupby(window)
    found = grouped["time"].agg(["min", "max", "size"])
    found = found[found["size"] >= _FEWEST]
    most = grouped["cause"].agg(lambda column: column.value_counts().sort_index().idxmax()).reindex(found.index)
    since, until = (pd.Series(pd.DatetimeIndex(found[end]).tz_localize("UTC").as_unit("us")) for end in ("min", "max"))
    calls = every.searchsorted(until, side="right") - every.searchsorted(since, side="left")
    return pd.DataFrame(
        {
            "since": since,
            "until": until,
            "failed": found["size"].to_numpy(),
            "calls": calls,
            "cause": most.astype("str").to_numpy(),
        }
    )


def _failures(tables: Tables) -> tuple[pd.Series, pd.Series, pd.Series]:
    """Gather such failures from the ledger, or from the sign-in log where there is no ledger."""
    if len(tables.ledger):
        every, causes = tables.ledger["time"], tables.ledger["cause"]
        bad = causes.isin(OUTAGE)
    else:
        asked = tables.sign_ins[tables.sign_ins["callout_error"].notna()]
        every, causes = asked["time"], asked["callout_error"].astype("str")
        bad = asked["callout_error"].isin(_UNREACHED)
    return every[bad].dt.tz_localize(None), causes[bad], every.reset_index(drop=True)

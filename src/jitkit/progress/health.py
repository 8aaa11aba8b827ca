"""Is the endpoint well: outages, retries, limits, and how long its certificate lasts."""

from __future__ import annotations

from typing import Any

import pandas as pd

from jitkit.progress.interruptions import interruptions
from jitkit.progress.load import busy_seconds, retries
from jitkit.progress.metrics import latency
from jitkit.progress.tables import Tables, micros
from jitkit.protocol import CALLS_PER_SECOND

__all__ = ["health"]


def health(tables: Tables, certificate_ends: pd.Timestamp | None = None) -> dict[str, Any]:
    """Gather the signs of health.

    Args:
        tables: what is known.
        certificate_ends: until when the encryption certificate is valid; None if that is not known.

    Returns:
        `over_limit_share` (calls above two seconds, 0 to 1; None without calls), `retry_share`, `near_limit_seconds`
        and `over_limit_seconds` (see `load.busy_seconds`), `outages` and `outage_minutes` (the windows of
        `interruptions`), and `certificate_days` (whole days from `as_of`; negative when it has run out).
    """
    took, busy, windows = latency(tables), busy_seconds(tables), interruptions(tables)
    minutes = (micros(windows["until"]) - micros(windows["since"])).sum() / 60_000_000
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

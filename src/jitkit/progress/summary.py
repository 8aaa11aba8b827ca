"""The figures that `metrics.json` holds for other programs."""

from __future__ import annotations

from typing import Any

import pandas as pd

from jitkit.progress import states
from jitkit.progress.health import health
from jitkit.progress.metrics import failures, latency, totals
from jitkit.progress.quality import missing_days
from jitkit.progress.tables import Tables

__all__ = ["summary"]


def summary(tables: Tables, certificate_ends: pd.Timestamp | None = None) -> dict[str, Any]:
    """Gather the figures that `metrics.json` holds.

    Args:
        tables: what is known.
        certificate_ends: until when the encryption certificate is valid; None if that is not known.
    """
    causes = failures(tables)
    took = latency(tables)
    return {
        "as_of": tables.as_of.isoformat().replace("+00:00", "Z") if tables.as_of is not None else None,
        **totals(tables),
        **states.summary(tables),
        "failures": dict(zip(causes["cause"], map(int, causes["count"]), strict=True)),
        "latency_ms": {name: took[name] for name in ("p50", "p95", "p99")},
        "health": health(tables, certificate_ends),
        "missing_days": missing_days(tables),
    }

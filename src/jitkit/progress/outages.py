"""When calls broke one after the other: an outage, an expired certificate, a permission that was taken away.

With it, the figures of the endpoint's health.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pandas as pd

from jitkit.explanations import callout_cause, fix, meaning
from jitkit.progress.figures import broken, busy_seconds, calls, latency, retries, runs
from jitkit.progress.tables import Tables, in_utc, once

OUTAGE: Final = ("down", "legacy_timeout", "breaker_open", "throttled", "busy", "unexpected", "no_signing_keys")
"""Causes in the ledger that lie in the legacy system or the endpoint and hit everybody who comes at that time."""

# Where one call in twenty breaks on a usual day, five in a row are chance once in three million calls.
_IN_A_ROW: Final = 5
_PEOPLE: Final = 3
# A call that gets through meanwhile does not end an outage; an hour without a break does.
_APART: Final = pd.Timedelta(hours=1)
_COLUMNS: Final = (
    dict.fromkeys(("good_before", "since", "until"), pd.DatetimeTZDtype("us", "UTC"))
    | dict.fromkeys(("failed", "users", "came_back"), "int64")
    | dict.fromkeys(("cause", "meaning", "fix"), "str")
)


@once
def interruptions(tables: Tables) -> pd.DataFrame:
    """Find the windows in which call after call broke.

    A call breaks when Entra logs an error of the extension, or when the endpoint's own word is that it or the legacy
    system failed (`OUTAGE`). Five in a row of three people or more make a window; windows less than an hour apart are
    one. Unlike shares of a quarter of an hour, this also finds the outage of a quiet night.
    `dictionary.toml` explains the columns.
    """
    asked, rows = _asked(tables), []
    time, windows = asked["time"], list[tuple[int, int]]()
    for begin, end in runs(asked["cause"].notna().to_numpy(), _IN_A_ROW):
        near = windows and time[begin] - time[windows[-1][1]] < _APART
        windows.append((windows.pop()[0] if near else begin, end))
    for begin, end in windows:
        bad = asked[begin : end + 1].dropna(subset="cause")
        hit = np.unique(bad["row"][bad["row"] >= 0])
        if len(hit) >= _PEOPLE:
            came_back, cause = (tables.users["migrated_at"].iloc[hit] > time[end]).sum(), bad["cause"].mode()[0]
            counts = (len(bad), len(hit), came_back)
            rows.append((time.get(begin - 1), time[begin], time[end], *counts, cause, meaning(cause), fix(cause)))
    return pd.DataFrame(rows, columns=[*_COLUMNS]).astype(_COLUMNS)


def _asked(tables: Tables) -> pd.DataFrame:
    """Return each sign-in that asked the endpoint: its `time`, the `row` of the user, and the `cause` if it broke."""
    called, log, asked = calls(tables), tables.sign_ins, tables.asked
    own = called["cause"].where(called["cause"].isin(OUTAGE))
    if not asked.any():
        return called[["time", "row"]].assign(cause=own).reset_index(drop=True)
    rows = log.loc[asked, ["time"]].assign(row=tables.people[asked])
    # The endpoint's own cause says more than the error that Entra made of it.
    known = pd.Series(own.to_numpy(dtype=object), called["number"])
    known = known[(known.index >= 0) & ~known.index.duplicated()]
    rows["cause"] = known.reindex(tables.joined[0][asked]).array
    rows["cause"] = rows["cause"].fillna(log["callout_error"][broken(tables)].map(callout_cause))
    return rows.reset_index(drop=True)


def health(tables: Tables, certificate_ends: pd.Timestamp | None = None) -> dict[str, Any]:
    """Gather the signs of the endpoint's health.

    `over_limit_share` are the calls above two seconds (0 to 1; None without calls), `outages` the windows of
    `interruptions` (None where the sign-in log does not cover the whole time; `outages_at_least` are those that show),
    and `certificate_days` the whole days from `as_of` until the certificate ends.
    """
    took, busy, windows = latency(tables), busy_seconds(tables), interruptions(tables)
    minutes = (windows["until"] - windows["since"]).dt.total_seconds().sum() / 60
    left = None
    if certificate_ends is not None and tables.as_of is not None:
        left = (in_utc(certificate_ends) - tables.as_of).days
    return {
        "over_limit_share": round(took["over_limit"] / took["calls"], 6) if took["calls"] else None,
        "retry_share": retries(tables)["share"],
        "near_limit_seconds": len(busy),
        "over_limit_seconds": int(busy["over"].sum()),
        "outages": None if tables.blind else len(windows),
        "outages_at_least": len(windows),
        "outage_minutes": None if tables.blind else round(float(minutes), 1),
        "certificate_days": left,
    }

"""When calls broke one after the other: an outage, an expired certificate, a permission that was taken away.

With it, the figures of the endpoint's health.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pandas as pd

from jitkit.explanations import callout_cause, fix, meaning
from jitkit.progress.figures import busy_seconds, calls, latency, retries
from jitkit.progress.tables import NEVER, Tables, in_utc, micros, moments, once
from jitkit.protocol import CALLS_PER_SECOND

OUTAGE: Final = ("down", "legacy_timeout", "breaker_open", "throttled", "busy", "unexpected", "no_signing_keys")
"""Causes in the ledger that lie in the legacy system or the endpoint and hit everybody who comes at that time."""

# Where one call in twenty breaks on a usual day, five in a row are chance once in three million calls.
_IN_A_ROW: Final = 5
_PEOPLE: Final = 3
# A call that gets through meanwhile does not end an outage; an hour without a break does.
_APART: Final = 3600 * 1_000_000
_TIMES: Final = ("good_before", "since", "until")
_COLUMNS: Final = (
    dict.fromkeys(_TIMES, pd.DatetimeTZDtype("us", "UTC"))
    | dict.fromkeys(("failed", "users", "came_back"), "int64")
    | dict.fromkeys(("cause", "meaning", "fix"), "str")
)


@once
def interruptions(tables: Tables) -> pd.DataFrame:
    """Find the windows in which call after call broke.

    A call breaks when Entra logs an error of the extension, or when the endpoint's own word is that it or the legacy
    system failed (`OUTAGE`). Five in a row of three people or more make a window; windows less than an hour apart are
    one. Unlike shares of a quarter of an hour, this also finds the outage of a quiet night.

    `good_before` is the last call before that got through, `since` and `until` are the first and the last broken call,
    `failed` counts sign-ins, `users` people in scope, and `came_back` those of them who moved after it.
    """
    asked = _asked(tables)
    times = asked["time"].to_numpy(dtype="int64")
    joined: list[tuple[int, int]] = []
    for begin, end in runs(asked["broken"].to_numpy(), _IN_A_ROW):
        if joined and times[begin] - times[joined[-1][1]] < _APART:
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((begin, end))
    rows = []
    for begin, end in joined:
        bad = asked.iloc[begin : end + 1].query("broken")
        hit = np.unique(bad["row"][bad["row"] >= 0])
        if len(hit) < _PEOPLE:
            continue
        before = times[begin - 1] if begin else NEVER
        came_back = int((micros(tables.users["migrated_at"])[hit] > times[end]).sum())
        cause = str(bad["cause"].mode()[0])
        span = (before, times[begin], times[end])
        rows.append((*span, len(bad), len(hit), came_back, cause, meaning(cause), fix(cause)))
    found = pd.DataFrame(rows, columns=[*_COLUMNS])
    return found.assign(**{name: moments(found[name].to_numpy("int64")) for name in _TIMES}).astype(_COLUMNS)


def runs(marked: np.ndarray, least: int) -> list[tuple[int, int]]:
    """Find the runs of marked rows that are long enough: the first and the last row of each."""
    edges = np.flatnonzero(np.diff(marked.astype("int8"), prepend=0, append=0)).reshape(-1, 2).tolist()
    return [(begin, end - 1) for begin, end in edges if end - begin >= least]


def _asked(tables: Tables) -> pd.DataFrame:
    """Return each sign-in that asked the endpoint: `time` (microseconds), `row` of the user, `broken`, `cause`."""
    called = calls(tables)
    own = called["cause"].where(called["cause"].isin(OUTAGE))
    times, people, cause = called["time"], called["row"].to_numpy(), pd.Series(own.to_numpy())
    if tables.asked.any():
        rows = tables.sign_ins.loc[tables.asked, ["time", "correlation_id", "callout_error"]]
        times, people, codes = rows["time"], tables.people[tables.asked], rows["callout_error"].to_numpy(dtype="int64")
        # The endpoint's own cause says more than the error that Entra made of it.
        known = pd.Series(own.to_numpy(dtype=object), called["number"])
        known = known[(known.index >= 0) & ~known.index.duplicated()]
        said = known.reindex(tables.joined[0][tables.asked]).reset_index(drop=True)
        named = {code: callout_cause(code) for code in np.unique(codes).tolist() if code}
        cause = said.fillna(pd.Series(codes).map(named))
    return pd.DataFrame({"time": micros(times), "row": people, "broken": cause.notna(), "cause": cause})


def health(tables: Tables, certificate_ends: pd.Timestamp | None = None) -> dict[str, Any]:
    """Gather the signs of the endpoint's health.

    `over_limit_share` are the calls above two seconds (0 to 1; None without calls), `outages` the windows of
    `interruptions` (None where the sign-in log does not cover the whole time; `outages_at_least` are those that show),
    and `certificate_days` the whole days from `as_of` until the certificate ends.
    """
    took, busy, windows = latency(tables), busy_seconds(tables), interruptions(tables)
    minutes = (micros(windows["until"]) - micros(windows["since"])).sum() / 60_000_000
    left = None
    if certificate_ends is not None and tables.as_of is not None:
        left = (in_utc(certificate_ends) - tables.as_of).days
    return {
        "over_limit_share": round(took["over_limit"] / took["calls"], 6) if took["calls"] else None,
        "retry_share": retries(tables)["share"],
        "near_limit_seconds": len(busy),
        "over_limit_seconds": int((busy["calls"] > CALLS_PER_SECOND).sum()),
        "outages": None if tables.blind else len(windows),
        "outages_at_least": len(windows),
        "outage_minutes": None if tables.blind else round(float(minutes), 1),
        "certificate_days": left,
    }

"""When calls broke one after the other: an outage, a certificate that ran out, a permission that was taken away."""

from __future__ import annotations

from typing import Final

import numpy as np
import pandas as pd

from jitkit.explanations import callout_cause, fix, meaning
from jitkit.progress.metrics import calls
from jitkit.progress.tables import Tables, index_in, micros, once

__all__ = ["OUTAGE", "interruptions"]

OUTAGE: Final = ("down", "legacy_timeout", "breaker_open", "throttled", "busy", "unexpected", "no_signing_keys")
"""Causes in the ledger that lie in the legacy system or the endpoint and hit whoever comes at that time."""

# Where one call in twenty breaks on a usual day, five in a row are chance once in three million calls.
_IN_A_ROW: Final = 5
_PEOPLE: Final = 3
# A call that gets through meanwhile does not end an outage; an hour without a break does.
_APART: Final = 3600 * 1_000_000
_TIMES: Final = ("good_before", "since", "until")
_COLUMNS: Final = (
    dict.fromkeys(_TIMES, "datetime64[us, UTC]")
    | dict.fromkeys(("failed", "users", "came_back"), "int64")
    | dict.fromkeys(("cause", "meaning", "fix"), "str")
)


@once
def interruptions(tables: Tables) -> pd.DataFrame:
    """Find the windows in which call after call broke.

    A call breaks when Entra logs an error of the extension, or when the endpoint's own word is that it or the legacy
    system failed (`OUTAGE`). Five in a row of three people or more make a window; windows less than an hour
    apart are one. Unlike shares of a quarter of an hour, this also finds the outage of a quiet night.

    Returns:
        `good_before` (UTC, the last call before that got through; empty if there was none), `since`, `until` (the first
        and last broken call), `failed` (sign-ins), `users` (people in scope hit),
        `came_back` (those of them who moved after it), `cause` (the most frequent), `meaning`, `fix`; in the order of
        time.
    """
    asked = _asked(tables)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], asked["broken"].to_numpy(dtype="int8"), [0]])))
    times = asked["time"].to_numpy(dtype="int64")
    runs = [(a, b) for a, b in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True) if b - a >= _IN_A_ROW]
    joined: list[tuple[int, int]] = []
    for begin, end in runs:
        if joined and times[begin] - times[joined[-1][1] - 1] < _APART:
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((begin, end))
    windows = [(_at(times, begin - 1), *_window(tables, asked.iloc[begin:end])) for begin, end in joined]
    found = pd.DataFrame([window for window in windows if window[4] >= _PEOPLE], columns=[*_COLUMNS])
    return found.assign(**{name: pd.to_datetime(found[name], utc=True) for name in _TIMES}).astype(_COLUMNS)


def _at(times: np.ndarray, place: int) -> pd.Timestamp:
    return pd.Timestamp(int(times[place]), unit="us", tz="UTC") if place >= 0 else pd.NaT  # type: ignore[return-value]


def _window(tables: Tables, inside: pd.DataFrame) -> tuple[pd.Timestamp, pd.Timestamp, int, int, int, str, str, str]:
    bad = inside[inside["broken"]]
    hit = np.unique(bad["row"][bad["row"] >= 0])
    since, until = (pd.Timestamp(int(bad["time"].iloc[place]), unit="us", tz="UTC") for place in (0, -1))
    came_back = int((tables.users["migrated_at"].iloc[hit] > until).sum())
    cause = str(bad["cause"].value_counts().sort_index().idxmax())
    return since, until, len(bad), len(hit), came_back, cause, meaning(cause), fix(cause)


def _asked(tables: Tables) -> pd.DataFrame:
    """Give each sign-in that asked the endpoint: `time` (microseconds), `row` of the user, `broken`, `cause`."""
    called = calls(tables)
    own = called["cause"].where(called["cause"].isin(OUTAGE))
    log = tables.sign_ins["callout_error"].notna().to_numpy()
    if not log.any():
        people = tables.callers[called.index.to_numpy()]
        times = micros(called["time"])
        return pd.DataFrame({"time": times, "row": people, "broken": own.notna().to_numpy(), "cause": own.to_numpy()})
    rows = tables.sign_ins.loc[log, ["time", "correlation_id", "callout_error"]]
    codes = rows["callout_error"].to_numpy(dtype="int64")
    # What the endpoint says of itself tells more than the error that Entra made of it.
    known = np.append(own.to_numpy(dtype=object), np.array([None], dtype=object))
    told = known[index_in(rows["correlation_id"], called["correlation_id"])]
    logged = pd.Series(codes).map({code: callout_cause(code) for code in np.unique(codes).tolist() if code})
    cause = pd.Series(told).fillna(logged)
    times = micros(rows["time"])
    return pd.DataFrame({"time": times, "row": tables.people[log], "broken": cause.notna(), "cause": cause})

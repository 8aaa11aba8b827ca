"""Figures of a migration, as pure functions of its tables."""

from __future__ import annotations

from typing import Any, Final

import pandas as pd

from jitkit.explanations import callout_cause, fix, meaning
from jitkit.progress.tables import PATHS, Tables, isin, once
from jitkit.protocol import BLOCK, TIMEOUT_MS

__all__ = [
    "UNKNOWN",
    "calls",
    "counted",
    "curve",
    "durations",
    "failures",
    "latency",
    "outcomes",
    "totals",
]

_REFUSED: Final = "refused"
UNKNOWN: Final = "unknown"
"""Migrated, and no log tells how."""

_POINTS: Final = (("p50", 0.50), ("p95", 0.95), ("p99", 0.99))

# Upper ends of the steps of the latency chart, milliseconds; the last step has none.
_STEPS: Final = (25, 50, 100, 200, 400, 800, 1500, TIMEOUT_MS)

# How fine the curve is, by how long it is.
_GRAINS: Final = (("10min", "1s"), ("10h", "1min"), ("10D", "1h"))


def totals(tables: Tables) -> dict[str, Any]:
    """Count who is moved and who is not.

    Returns:
        `in_scope`, `migrated`, `remaining`, `migrated_share` (None when nobody is in scope) and `by_path`, whose parts
        sum to `migrated`; a part `unknown` appears only if no log tells how somebody was moved.
    """
    users = tables.users
    moved = users["migrated_at"].notna()
    in_scope, migrated = len(users), int(moved.sum())
    how = users.loc[moved, "path"].fillna(UNKNOWN).value_counts()
    by_path = {path: int(how.get(path, 0)) for path in PATHS}
    if UNKNOWN in how:
        by_path[UNKNOWN] = int(how[UNKNOWN])
    return {
        "in_scope": in_scope,
        "migrated": migrated,
        "remaining": in_scope - migrated,
        "migrated_share": round(migrated / in_scope, 6) if in_scope else None,
        "by_path": by_path,
    }


def curve(tables: Tables) -> pd.DataFrame:
    """Follow the number of migrated users through time.

    Returns:
        `time` (UTC), `migrated`, and a column for each path, all cumulative: from the first flag to `as_of`, a row for
        each second, minute, hour or day in which somebody was moved. Empty when nothing has a time.
    """
    columns = [*PATHS, UNKNOWN]
    users = tables.users
    moved = users[users["migrated_at"].notna()]
    starts = [column.min() for column in (users["flagged_at"], users["migrated_at"]) if column.notna().any()]
    if not starts or tables.as_of is None:
        return pd.DataFrame({"time": pd.to_datetime([], utc=True), "migrated": []} | {path: [] for path in columns})
    start, end = min(starts), tables.as_of
    span = end - start
    grain = next((grain for limit, grain in _GRAINS if span <= pd.Timedelta(limit)), "1D")
    # A step is counted at its end, so that no point of the curve promises more than had happened by then.
    at = moved["migrated_at"].dt.ceil(grain).clip(upper=end).rename("time")
    counts = at.groupby([at, moved["path"].fillna(UNKNOWN)]).size().unstack(fill_value=0)
    grown = counts.reindex(columns=columns, fill_value=0).sort_index().cumsum()
    whole = grown.reindex(sorted({*grown.index, start, end})).ffill().fillna(0).astype("int64")
    whole.insert(0, "migrated", whole.sum(axis=1))
    result: pd.DataFrame = whole.rename_axis("time").rename_axis(None, axis="columns").reset_index()
    return result


def outcomes(tables: Tables) -> pd.DataFrame:
    """Count what the endpoint answered, once a sign-in.

    Returns:
        `action` (`refused` where the endpoint gave no decision), `count`; the most frequent first.
    """
    counts = calls(tables)["action"].fillna(_REFUSED).value_counts()
    return counted(counts, "action")


def failures(tables: Tables) -> pd.DataFrame:
    """Count the sign-ins that were refused, were blocked or broke, by cause. A wrong password is none of these.

    A sign-in counts once. Its cause is the endpoint's own word where the endpoint refused or blocked, else the error
    that Entra logged. Calls without a correlation id belong to no sign-in: they count only if there is no sign-in log.

    Returns:
        `cause`, `count`, `meaning`, `fix`; the most frequent first.
    """
    answered = calls(tables)
    logged = tables.sign_ins[["correlation_id", "callout_error"]].dropna()
    logged = logged[logged["callout_error"] != 0]
    own = answered[answered["action"].isna() | (answered["action"] == BLOCK)]
    if len(tables.sign_ins):
        own = own[own["correlation_id"].notna()]
    entra = logged[~isin(logged["correlation_id"], own["correlation_id"])]
    nameless = tables.sign_ins[tables.sign_ins["correlation_id"].isna() & (tables.sign_ins["callout_error"] > 0)]
    codes = pd.concat([entra["callout_error"], nameless["callout_error"]]).value_counts()
    codes.index = pd.Index([callout_cause(int(code)) for code in codes.index], dtype="str")
    counts = pd.concat([own["cause"].fillna("no cause given").value_counts(), codes])
    frame = counted(counts.groupby(level=0).sum(), "cause")
    return frame.assign(meaning=frame["cause"].map(meaning), fix=frame["cause"].map(fix))


def latency(tables: Tables) -> dict[str, Any]:
    """Measure how long the endpoint took, on every call of the ledger.

    Returns:
        `p50`, `p95`, `p99` in milliseconds (None without calls), `calls`, and `over_limit`: how many took longer than
        Entra waits.
    """
    took = tables.ledger["duration_ms"].dropna()
    points = {name: round(float(took.quantile(share)), 3) if len(took) else None for name, share in _POINTS}
    return {**points, "calls": len(took), "over_limit": int((took > TIMEOUT_MS).sum())}


def durations(tables: Tables) -> pd.DataFrame:
    """Sort the calls of the ledger by how long they took.

    Returns:
        `step` in words, `up_to_ms` (infinite for the last), `count`; every step, also the empty ones.
    """
    took = tables.ledger["duration_ms"].dropna()
    ends = [*_STEPS, float("inf")]
    words = [f"≤ {end:,} ms" for end in _STEPS] + [f"> {TIMEOUT_MS:,} ms"]
    places = pd.cut(took, [-float("inf"), *ends], labels=words)
    counts = places.value_counts().reindex(words, fill_value=0)
    return pd.DataFrame({"step": words, "up_to_ms": ends, "count": counts.to_numpy(dtype="int64")})


@once
def calls(tables: Tables) -> pd.DataFrame:
    """Keep one row of the ledger for each password that was asked about: Entra's second attempt repeats the first.

    Returns:
        the ledger without the attempts that were made again.
    """
    ledger = tables.ledger
    codes, _ = pd.factorize(ledger["correlation_id"])
    fresh = (ledger["attempt"].fillna(1) <= 1).astype("int64")
    asked = fresh.groupby(codes).cumsum()
    repeated = pd.DataFrame({"id": codes, "asked": asked}).duplicated(keep="last")
    return ledger[~(repeated & (codes >= 0))]


def counted(counts: pd.Series, name: str) -> pd.DataFrame:
    """Turn counts into a table of `name` and `count`, the most frequent first and equals in alphabetical order."""
    frame = counts.rename_axis(name).rename("count").reset_index()
    return frame.sort_values(["count", name], ascending=[False, True], kind="stable").reset_index(drop=True)

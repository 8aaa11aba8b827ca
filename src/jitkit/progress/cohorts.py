"""Groups of users beside each other: who lags behind, by any column of the users table."""

from __future__ import annotations

from typing import Final

import numpy as np
import pandas as pd

from jitkit.errors import BadTable
from jitkit.progress.intervals import kaplan_meier, quantile, wilson
from jitkit.progress.tables import KINDS, Tables

__all__ = ["NOTHING", "cohorts", "dimensions"]

NOTHING: Final = "(empty)"
"""The cohort of users whose cell is empty."""

_OTHERS: Final = "(all others)"
_MOST: Final = 40  # cohorts; the smaller ones are put together
_JUDGED: Final = 20  # users from which on a cohort is called lagging
_BANDS: Final = 5
_YOUNG: Final = 0.1  # of the time over which the most can be compared
_CONFIDENCE: Final = 0.95


def dimensions(tables: Tables) -> list[str]:
    """Name the columns of the users table by which users can be grouped."""
    return [name for name in tables.users.columns if name not in KINDS["users"]]


def cohorts(tables: Tables, by: str) -> pd.DataFrame:
    """Compare groups of users at equal exposure, the one that lags furthest first.

    Groups that were flagged later had less time, so their plain shares say little. The fair share is the Kaplan-Meier
    share that has moved so many days after its own flag as the youngest group was watched. A group watched for less
    than a tenth of the time over which the most can be compared (where days times users are the most) is too young: it
    has no fair share, does not shorten the time of the others, and comes last. A group lags when the whole of its
    interval lies below the share of all other users; the intervals are wide enough for all groups at once.
    Dates and numbers with many values are cut into five bands of equal size.

    Args:
        tables: what is known.
        by: a column of users, such as `country`, `app`, `hash_scheme`, `last_legacy_sign_in`.

    Returns:
        `cohort`, `users`, `migrated`, `remaining`, `share`, `share_low`, `share_high` (Wilson, 95 %), `days` (the
        exposure), `fair_share`, `fair_low`, `fair_high`, `others` (the fair share of all other users), `lagging`,
        `behind` (how many more had moved if the group were like the others). `users` sums to the users in scope.

    Raises:
        BadTable: there is no such column.
    """
    known = dimensions(tables)
    if by not in known:
        raise BadTable(
            f"The table users has no column {by} to group by.",
            next_step=f"Use {', '.join(known)}." if known else "Add columns such as country or app to the users table.",
        )
    if (cohorts, by) not in tables.kept:
        tables.kept[cohorts, by] = _compared(tables, by)
    result: pd.DataFrame = tables.kept[cohorts, by]
    return result


def _compared(tables: Tables, by: str) -> pd.DataFrame:
    users = tables.users
    codes, names = pd.factorize(_grouped(users[by]), sort=True)
    moved = users["migrated_at"].notna().to_numpy()
    z = quantile(_CONFIDENCE, max(len(names), 1))
    plain = _plain(codes, names, moved)
    fair = _fair(tables, codes, len(names), moved, z)
    result = pd.concat([plain, fair], axis=1)
    result["lagging"] = (result["fair_high"] < result["others"]) & (result["users"] >= _JUDGED)
    gap = (result["others"] - result["fair_share"]) * result["users"]
    result["behind"] = gap.clip(lower=0).round().fillna(0).astype("int64")
    order = ["young", "lagging", "behind", "share", "cohort"]
    result["young"] = result["fair_share"].isna()
    result = result.sort_values(order, ascending=[True, False, False, True, True], ignore_index=True)
    return result.drop(columns="young")


def _grouped(column: pd.Series) -> pd.Series:
    """Put a column's values into words: few groups, none of them lost."""
    if not isinstance(column.dtype, pd.CategoricalDtype) and column.nunique() > _MOST:
        column = _in_bands(column)
    words = column.astype("str").fillna(NOTHING).replace("", NOTHING)
    counts = words.value_counts()
    small = counts.sort_index().sort_values(ascending=False, kind="stable").index[_MOST:]
    return words.mask(words.isin(small), _OTHERS) if len(small) else words


def _in_bands(column: pd.Series) -> pd.Series:
    """Cut dates and numbers into bands of equal size; leave texts as they are."""
    values = column
    if not pd.api.types.is_datetime64_any_dtype(column) and not pd.api.types.is_numeric_dtype(column):
        values = pd.to_numeric(column, errors="coerce")
        if values.notna().sum() < column.notna().sum():
            values = pd.to_datetime(column, errors="coerce", utc=True, format="ISO8601")
        if values.notna().sum() < column.notna().sum():
            return column
    bands = pd.qcut(values, _BANDS, duplicates="drop")
    dates = pd.api.types.is_datetime64_any_dtype(values)
    words = [
        f"{band.left:%Y-%m-%d} to {band.right:%Y-%m-%d}" if dates else f"{band.left:,g} to {band.right:,g}"
        for band in bands.cat.categories
    ]
    return bands.cat.rename_categories(words) if len(set(words)) == len(words) else bands


def _plain(codes: np.ndarray, names: pd.Index, moved: np.ndarray) -> pd.DataFrame:
    whole = np.bincount(codes, minlength=len(names))
    hits = np.bincount(codes[moved], minlength=len(names))
    low, high = wilson(hits, np.maximum(whole, 1), quantile(_CONFIDENCE))
    return pd.DataFrame(
        {
            "cohort": names.astype("str"),
            "users": whole,
            "migrated": hits,
            "remaining": whole - hits,
            "share": hits / np.maximum(whole, 1),
            "share_low": low,
            "share_high": high,
        }
    )


def _fair(tables: Tables, codes: np.ndarray, groups: int, moved: np.ndarray, z: float) -> pd.DataFrame:
    names = ["days", "fair_share", "fair_low", "fair_high", "others"]
    flagged = tables.users["flagged_at"]
    seen = flagged.notna().to_numpy()
    if not seen.any() or tables.as_of is None:
        return pd.DataFrame(np.nan, index=range(groups), columns=names)
    day = np.timedelta64(86_400_000_000, "us")
    watched = (tables.as_of - flagged).to_numpy() / day
    days = np.maximum((tables.users["migrated_at"].fillna(tables.as_of) - flagged).to_numpy() / day, 0)
    # Sorted once here, the estimates of all the groups find them in order.
    order = np.argsort(days, kind="stable")
    days, watched, seen, codes, moved = days[order], watched[order], seen[order], codes[order], moved[order]
    longest = [watched[seen & (codes == code)].max(initial=0.0) for code in range(groups)]
    sizes = np.bincount(codes[seen], minlength=groups)
    judged = [group for group in zip(longest, sizes, strict=True) if group[1] >= _JUDGED]
    judged = judged or list(zip(longest, sizes, strict=True))
    most = max(judged, key=lambda group: group[0] * sum(size for exposure, size in judged if exposure >= group[0]))
    old = _YOUNG * most[0]
    at = min(exposure for exposure, _ in judged if exposure >= old)
    rows = []
    for code in range(groups):
        own, rest = seen & (codes == code), seen & (codes != code)
        if longest[code] < old:
            own = np.zeros_like(own)
        others = kaplan_meier(days[rest], moved[rest], at, z)[0] if rest.any() else np.nan
        shares = kaplan_meier(days[own], moved[own], at, z) if own.any() else (np.nan,) * 3
        rows.append((at, *shares, others))
    return pd.DataFrame(rows, columns=names)

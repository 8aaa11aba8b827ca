"""Bring rows into a table's columns and types, each row once, in one order.

The cost is linear, and a table of ten million rows is copied once at most: user and app ids become categories (a number
a row), sorting looks at numbers, and only rows that share time and user are compared with each other.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import pandas as pd

from jitkit.errors import BadTable
from jitkit.progress.lookup import micros, places, sorted_texts

__all__ = ["KINDS", "NEEDED", "PATHS", "tidy"]

PATHS: Final = ("callout", "silent", "reset")
"""How a user was moved: by a call answered MigratePassword, by a stored password that matched, by a new password."""

_ID, _OFTEN, _TEXT, _TIME, _NUMBER, _DECIMAL = "id", "often", "text", "time", "number", "decimal"

KINDS: Final[dict[str, dict[str, str]]] = {
    "users": {"user_id": _ID, "flagged_at": _TIME, "migrated_at": _TIME, "path": _TEXT},
    "sign_ins": {
        "time": _TIME,
        "user_id": _OFTEN,
        "app_id": _OFTEN,
        "correlation_id": _ID,
        "result_code": _NUMBER,
        "callout_error": _NUMBER,
        "callout_status": _NUMBER,
        "attempts": _NUMBER,
    },
    "ledger": {
        "time": _TIME,
        "correlation_id": _ID,
        "user_id": _OFTEN,
        "app_id": _OFTEN,
        "action": _TEXT,
        "cause": _TEXT,
        "legacy": _TEXT,
        "duration_ms": _DECIMAL,
        "key": _TEXT,
        "attempt": _NUMBER,
    },
}
"""The columns of each table; an id that comes `often` is kept as a category."""

_LARGEST: Final = 2**31 - 1

NEEDED: Final = {
    "users": ("user_id", "migrated_at"),
    "sign_ins": ("time", "user_id", "result_code"),
    "ledger": ("time", "action", "cause"),
}


def tidy(frame: pd.DataFrame, kind: str) -> pd.DataFrame:
    """Bring a table into its columns and types, each row once.

    Times are read as UTC where they name no zone. Of several rows about one user, the one that knows the earliest
    `migrated_at` counts, whatever their order. Columns of `users` beyond the known ones are kept as dimensions.

    Args:
        frame: the rows, in any order, as text or as types.
        kind: users, sign_ins or ledger.

    Returns:
        a new table, sorted, without doubles.

    Raises:
        BadTable: a needed column is missing, or a value does not fit its column.
    """
    known = KINDS[kind]
    missing = [name for name in NEEDED[kind] if name not in frame.columns]
    if missing:
        found = ", ".join(map(str, frame.columns)) or "none"
        raise BadTable(
            f"The table {kind} has no column {', '.join(missing)}. It has: {found}.",
            next_step=f"A {kind} table has the columns {', '.join(known)}.",
        )
    extra = [name for name in frame.columns if name not in known] if kind == "users" else []
    columns = {name: _typed(frame, name, type_, kind) for name, type_ in known.items()}
    if kind == "users":
        return _one_row_a_user(
            pd.DataFrame(columns | {name: _flat(frame[name]) for name in extra}, index=frame.index, copy=False)
        )
    # What nobody holds any more can go, column by column, while it is sorted.
    del frame
    return _in_order(columns)


def _in_order(columns: dict[str, pd.Series]) -> pd.DataFrame:
    """Sort by time and user, then by everything else, and drop rows that are the same in every column."""
    if (unknown := columns["time"].isna()).any():
        _take(columns, np.flatnonzero(~unknown))
    time, user = micros(columns["time"]), columns["user_id"].cat.codes.to_numpy()
    order = _order(time, user)
    if order is not None:
        time, user = time[order], user[order]
        _take(columns, order)
    events = pd.DataFrame({name: column.array for name, column in columns.items()}, copy=False)
    same = np.flatnonzero(_shared(time, user))
    if not len(same):
        return events
    left = events.iloc[same].drop_duplicates()
    again = _shared(time[left.index], user[left.index])
    sorted_ = left.index.to_numpy().copy()
    sorted_[again] = left[again].sort_values([*events.columns], na_position="last", kind="stable").index
    if np.array_equal(sorted_, same):
        return events
    rows = np.ones(len(events), dtype=bool)
    rows[np.setdiff1d(same, left.index)] = False
    order = np.arange(len(events))
    order[left.index] = sorted_
    return events.take(order[rows]).reset_index(drop=True)


def _order(time: np.ndarray, user: np.ndarray) -> np.ndarray | None:
    """Say in which order rows stand by time and user; None where they do already."""
    ahead = np.diff(time)
    if ((ahead > 0) | ((ahead == 0) & (np.diff(user) >= 0))).all():
        return None
    if (ahead < 0).any():
        return np.lexsort((user, time))
    # A log is in the order of time mostly: then only what happened at the same moment is sorted.
    level = np.flatnonzero(np.append(ahead == 0, False) | np.insert(ahead == 0, 0, False))
    order = np.arange(len(time))
    order[level] = level[np.lexsort((user[level], time[level]))]
    return order


def _take(columns: dict[str, pd.Series], rows: np.ndarray) -> None:
    """Replace each column by some of its rows: at no time is more than one column there twice."""
    for name in columns:
        columns[name] = pd.Series(columns[name].array.take(rows))


def _shared(time: np.ndarray, user: np.ndarray) -> np.ndarray:
    """Mark the rows of a sorted table whose time and user another row has too."""
    same = (np.diff(time) == 0) & (np.diff(user) == 0)
    return np.append(same, False) | np.insert(same, 0, False) if len(time) else np.zeros(0, dtype=bool)


def _one_row_a_user(users: pd.DataFrame) -> pd.DataFrame:
    outside = sorted(set(users["path"].dropna().unique()) - set(PATHS))
    if outside:
        raise BadTable(
            f"The column path of users holds {', '.join(outside[:5])}.",
            next_step=f"Use {', '.join(PATHS)}, or leave it empty.",
        )
    if users["user_id"].isna().any():
        raise BadTable("A row of users has no user_id.", next_step="Give each user an id, such as the object id.")
    users = users.reset_index(drop=True)
    several = users["user_id"].duplicated(keep=False)
    if several.any():
        dimensions = [name for name in users.columns if name not in KINDS["users"]]
        chosen = users[several].sort_values(
            ["user_id", "migrated_at", "flagged_at", "path", *dimensions],
            key=lambda column: column.astype("str") if column.name in dimensions else column,
            na_position="last",
            kind="stable",
        )
        rows = users.index[~several].append(chosen.drop_duplicates("user_id").index)
        users = users.loc[rows].reset_index(drop=True)
    if not users["user_id"].is_monotonic_increasing:
        users = users.sort_values("user_id", ignore_index=True)
    return users


def _typed(frame: pd.DataFrame, name: str, type_: str, kind: str) -> pd.Series:
    column = frame[name] if name in frame.columns else pd.Series(None, index=frame.index, dtype="object")
    try:
        match type_:
            case "time":
                return _times(column)
            case "number":
                return _numbers(column)
            case "decimal":
                return column if column.dtype == "float64" else _plain(column).astype("Float64").astype("float64")
            case "id":
                texts = _texts(column)
                lower = texts.str.lower()
                # Mostly they are so already; then a second copy of all of them is not kept.
                return texts if lower.equals(texts) else lower
            case "often":
                return _categories(column)
            case _:
                return _texts(column)
    except (ValueError, TypeError, OverflowError):
        words = {"time": "a time such as 2026-11-22T09:30:00Z", "number": "a whole number", "decimal": "a number"}
        raise BadTable(
            f"The column {name} of {kind} holds something that is not {words.get(type_, 'text')}.",
            next_step="Correct the value, or leave it empty.",
        ) from None


def _flat(column: pd.Series) -> pd.Series:
    """Write lists and objects as text: nothing can be grouped by them otherwise."""
    if column.dtype != "object":
        return column
    nested = column.map(lambda value: isinstance(value, (list, dict, np.ndarray))).astype("bool")
    return column.mask(nested, column.astype("str")) if nested.any() else column


def _plain(column: pd.Series) -> pd.Series:
    return pd.to_numeric(column if pd.api.types.is_numeric_dtype(column) else column.replace("", None))


def _numbers(column: pd.Series) -> pd.Series:
    if column.dtype == "Int32":
        return column
    numbers = _plain(column).astype("Int64")
    if (numbers.abs() > _LARGEST).any():
        raise OverflowError("no code is that large")
    return numbers.astype("Int32")


def _texts(column: pd.Series) -> pd.Series:
    column = column.astype("str")
    return column.mask(column == "") if (column == "").any() else column


def _categories(column: pd.Series) -> pd.Series:
    """Keep each different text once, in lower case and in alphabetical order, and a number a row."""
    if not isinstance(column.dtype, pd.CategoricalDtype):
        codes, texts = pd.factorize(column.astype("str"))
        column = pd.Series(pd.Categorical.from_codes(codes, pd.Index(texts)), index=column.index)
    texts = column.cat.categories.astype("str")
    clean = texts.str.lower()
    wanted = sorted_texts(clean)
    if column.cat.categories.dtype == "str" and wanted.equals(texts):
        return column
    codes = np.append(places(clean, wanted), -1)[column.cat.codes.to_numpy()]
    return pd.Series(pd.Categorical.from_codes(codes, wanted), index=column.index)


def _times(column: pd.Series) -> pd.Series:
    if isinstance(column.dtype, pd.DatetimeTZDtype) and str(column.dtype.tz) == "UTC":
        return pd.Series(column.dt.as_unit("us"))
    if pd.api.types.is_numeric_dtype(column) and column.notna().any():
        raise ValueError("a bare number names no moment")
    times = pd.to_datetime(column.replace("", None), utc=True, format="ISO8601")
    return pd.Series(times).dt.as_unit("us")

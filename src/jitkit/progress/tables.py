"""The three tables that every figure is made from: users, sign-ins and the endpoint's ledger.

`tidy` brings rows into a table's columns and types, each row once, in one order. Its cost is linear, and a table of ten
million rows is copied at most once: user and app ids become categories (a number a row), sorting looks at numbers, and
only rows that share time and user are compared with each other.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, wraps
from importlib.resources import files
from typing import Any, Final, TypeVar

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from jitkit.errors import BadTable

_Figure = TypeVar("_Figure")

PATHS: Final = ("callout", "silent", "reset")
"""How a user was moved: by a call answered MigratePassword, by a stored password that matched, by a new password."""

KINDS: Final[dict[str, dict[str, str]]] = {
    "users": {"user_id": "id", "flagged_at": "time", "migrated_at": "time", "path": "text"},
    "sign_ins": {
        "time": "time",
        "user_id": "category",
        "app_id": "category",
        "correlation_id": "id",
        "result_code": "number",
        "callout_error": "number",
        "callout_status": "number",
        "attempts": "number",
    },
    "ledger": {
        "time": "time",
        "correlation_id": "id",
        "user_id": "category",
        "app_id": "category",
        "action": "text",
        "cause": "text",
        "legacy": "text",
        "duration_ms": "decimal",
        "key": "text",
        "attempt": "number",
    },
}
"""The columns of each table, and how each is typed; an id that is repeated often is a category."""

NEEDED: Final = {
    "users": ("user_id", "migrated_at"),
    "sign_ins": ("time", "user_id", "result_code"),
    "ledger": ("time", "action", "cause"),
}
NEVER: Final = np.iinfo("int64").min
"""What `micros` returns for a missing time; pandas reads it as no time again."""

TEXTS: Final[dict[str, Any]] = tomllib.loads((files("jitkit.progress") / "texts.toml").read_text(encoding="utf-8"))
"""What the figures say in words."""

_FORMS: Final = {"time": "a time such as 2026-11-22T09:30:00Z", "number": "a whole number", "decimal": "a number"}
_LARGEST: Final = 2**31 - 1


@dataclass(frozen=True)
class Remark:
    """What does not fit in the data: a phrase after a count of rows, the likely cause, what to do about it."""

    finding: str
    rows: int
    cause: str
    remedy: str


def remark(name: str, rows: int, detail: str = "") -> Remark:
    """Write a remark of `texts.toml` with its number of rows."""
    words = TEXTS["quality"][name]
    return Remark(words["finding"], rows, words["cause"].format(detail), words["remedy"])


@dataclass(frozen=True, eq=False)
class Tables:
    """What is known about a migration.

    Args:
        users: one row a user in scope: `user_id`, `flagged_at`, `migrated_at`, `path`, and any dimension columns.
            `migrated_at` is set when the flag is false. Without both times a user is staged: no flag yet.
        sign_ins: one row a sign-in: `time`, `user_id`, `app_id`, `correlation_id`, `result_code`, `callout_error`,
            `callout_status`, `attempts`.
        ledger: one row a call that the endpoint answered: `time`, `correlation_id`, `user_id`, `app_id`, `action`,
            `cause`, `legacy`, `duration_ms`, `key`, `attempt`.
        as_of: the moment that the tables describe, UTC if it names no time zone; by default the last moment in them,
            not counting flags that are yet to be set.
        remarks: what the collector noticed and the tables themselves do not show.
    """

    users: pd.DataFrame = field(default_factory=lambda: empty("users"), repr=False)
    sign_ins: pd.DataFrame = field(default_factory=lambda: empty("sign_ins"), repr=False)
    ledger: pd.DataFrame = field(default_factory=lambda: empty("ledger"), repr=False)
    as_of: pd.Timestamp | None = None
    remarks: tuple[Remark, ...] = ()

    def __post_init__(self) -> None:
        for kind in KINDS:
            object.__setattr__(self, kind, tidy(getattr(self, kind), kind))
        as_of = self._last_moment() if self.as_of is None else in_utc(self.as_of)
        object.__setattr__(self, "as_of", as_of)

    def until(self, as_of: pd.Timestamp) -> Tables:
        """Return the tables as they were at a moment (UTC if it names no zone): without what came later."""
        moment = in_utc(as_of)
        users = self.users[~(self.users["flagged_at"] > moment)].reset_index(drop=True)
        later = users["migrated_at"] > moment
        users = users.assign(migrated_at=users["migrated_at"].mask(later), path=users["path"].mask(later))
        # The tables are tidy already; making them so once more would cost as much as reading them.
        earlier = object.__new__(Tables)
        known = {"users": users, "as_of": moment, "remarks": self.remarks}
        for kind in ("sign_ins", "ledger"):
            log = getattr(self, kind)
            known[kind] = log.iloc[: int(log["time"].searchsorted(moment, side="right"))]
        for name, value in known.items():
            object.__setattr__(earlier, name, value)
        return earlier

    @cached_property
    def people(self) -> np.ndarray:
        """For each sign-in, the row of its user; -1 for a user who is not in scope."""
        return _rows_of(self.sign_ins["user_id"], self.users["user_id"])

    @cached_property
    def callers(self) -> np.ndarray:
        """For each line of the ledger, the row of its user; -1 for a user who is not in scope."""
        return _rows_of(self.ledger["user_id"], self.users["user_id"])

    @cached_property
    def logged(self) -> bool:
        """Whether a log has a row at all: without one it is not known who tried."""
        return bool(len(self.sign_ins) or len(self.ledger))

    @cached_property
    def kept(self) -> dict[Any, Any]:
        """What `once` has computed."""
        return {}

    def _last_moment(self) -> pd.Timestamp | None:
        flagged = self.users["flagged_at"]
        past = flagged[flagged <= pd.Timestamp.now("UTC")]  # a flag may be planned, or its year mistyped
        columns = (past, self.users["migrated_at"], self.sign_ins["time"], self.ledger["time"])
        return max((column.max() for column in columns if column.notna().any()), default=None)


def once(figure: Callable[[Tables], _Figure]) -> Callable[[Tables], _Figure]:
    """Compute a figure once for each `Tables`; others are made from it, so callers must not change it."""

    @wraps(figure)
    def kept(tables: Tables) -> _Figure:
        if figure not in tables.kept:
            tables.kept[figure] = figure(tables)
        result: _Figure = tables.kept[figure]
        return result

    return kept


def empty(kind: str) -> pd.DataFrame:
    """Return a table of this kind without rows."""
    return tidy(pd.DataFrame({name: [] for name in KINDS[kind]}), kind)


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of a small table, each by the names of its columns."""
    return frame.to_dict("records")  # type: ignore[return-value]


def in_utc(moment: pd.Timestamp) -> pd.Timestamp:
    """Return a moment in UTC; one without a zone is in UTC already."""
    return moment.tz_localize("UTC") if moment.tzinfo is None else moment.tz_convert("UTC")


def micros(times: pd.Series) -> np.ndarray:
    """Return times as microseconds since the epoch, `NEVER` for a missing one."""
    numbers: np.ndarray = pd.DatetimeIndex(times).as_unit("us").asi8
    return numbers


def moments(numbers: np.ndarray) -> pd.Series:
    """Return microseconds since the epoch as times (UTC)."""
    return pd.Series(pd.DatetimeIndex(numbers.view("M8[us]")).tz_localize("UTC"))


def index_in(texts: pd.Series | pd.Index, known: pd.Series | pd.Index) -> np.ndarray:
    """Find the first position of each text in `known`, by Apache Arrow; -1 where it is not there, or missing."""
    found = pc.index_in(_arrow(texts), value_set=_arrow(known), skip_nulls=True)
    rows: np.ndarray = found.fill_null(-1).to_numpy()
    return rows


def isin(texts: pd.Series, known: pd.Series) -> np.ndarray:
    """Mark the texts that `known` has."""
    found: np.ndarray = index_in(texts, known) >= 0
    return found


def tidy(frame: pd.DataFrame, kind: str) -> pd.DataFrame:
    """Bring rows in any order, as text or as types, into a table's columns and types, sorted and each row once.

    Times are read as UTC where they name no zone. Of several rows about one user, the one that knows the earliest
    `migrated_at` counts, whatever their order. Columns of `users` beyond the known ones are kept as dimensions.
    Raises BadTable where a needed column is missing, or a value does not fit its column.
    """
    known = KINDS[kind]
    missing = [name for name in NEEDED[kind] if name not in frame.columns]
    if missing:
        found = ", ".join(map(str, frame.columns)) or "none"
        raise BadTable(
            f"The table {kind} has no column {', '.join(missing)}. It has: {found}.",
            next_step=f"A {kind} table has the columns {', '.join(known)}.",
        )
    columns = {name: _typed(frame, name, type_, kind) for name, type_ in known.items()}
    if kind == "users":
        dimensions = {str(name): _flat(frame[name]) for name in frame.columns if name not in known}
        return _one_row_per_user(pd.DataFrame(columns | dimensions, index=frame.index, copy=False))
    del frame  # while the columns are sorted, each can then be freed as it is replaced
    return _in_order(columns)


def _in_order(columns: dict[str, pd.Series]) -> pd.DataFrame:
    """Sort by time and user, then by all other columns, and drop rows that are the same in every column."""
    if (unknown := columns["time"].isna()).any():
        _take(columns, np.flatnonzero(~unknown))
    time, user = micros(columns["time"]), columns["user_id"].cat.codes.to_numpy()
    ahead = np.diff(time)
    if not ((ahead > 0) | ((ahead == 0) & (np.diff(user) >= 0))).all():
        order = np.lexsort((user, time))
        time, user = time[order], user[order]
        _take(columns, order)
    events = pd.DataFrame({name: column.array for name, column in columns.items()}, copy=False)
    same = np.flatnonzero(_shared(time, user))
    if not len(same):
        return events
    left = events.iloc[same].drop_duplicates()
    rows = left.index.to_numpy()
    again = _shared(time[rows], user[rows])
    ordered = rows.copy()
    ordered[again] = left[again].sort_values([*events.columns], na_position="last", kind="stable").index
    if np.array_equal(ordered, same):
        return events
    keep, order = np.ones(len(events), dtype=bool), np.arange(len(events))
    keep[np.setdiff1d(same, rows)] = False
    order[rows] = ordered
    return events.take(order[keep]).reset_index(drop=True)


def _take(columns: dict[str, pd.Series], rows: np.ndarray) -> None:
    """Replace each column by some of its rows: no more than one column exists twice at a time."""
    for name in columns:
        columns[name] = pd.Series(columns[name].array.take(rows))


def _shared(time: np.ndarray, user: np.ndarray) -> np.ndarray:
    """Mark the rows of a sorted table whose time and user another row has too."""
    same = (np.diff(time) == 0) & (np.diff(user) == 0)
    return np.append(same, False) | np.insert(same, 0, False) if len(time) else np.zeros(0, dtype=bool)


def _one_row_per_user(users: pd.DataFrame) -> pd.DataFrame:
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
    return users if users["user_id"].is_monotonic_increasing else users.sort_values("user_id", ignore_index=True)


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
            case "category":
                return _categories(column)
        texts = column.astype("str")
        texts = texts.mask(texts == "") if (texts == "").any() else texts
        # Most ids are in lower case already; then a second copy of all of them is not kept.
        return lower if type_ == "id" and not (lower := texts.str.lower()).equals(texts) else texts
    except (ValueError, TypeError, OverflowError):
        raise BadTable(
            f"The column {name} of {kind} holds something that is not {_FORMS.get(type_, 'text')}.",
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


def _categories(column: pd.Series) -> pd.Series:
    """Keep each different text once, in lower case and in alphabetical order, and a number a row."""
    if not isinstance(column.dtype, pd.CategoricalDtype):
        codes, texts = pd.factorize(column.astype("str"))
        column = pd.Series(pd.Categorical.from_codes(codes, pd.Index(texts)), index=column.index)
    texts = column.cat.categories.astype("str")
    clean = texts.str.lower()
    different = _arrow(clean).unique()
    different = different.filter(pc.not_equal(different, ""))
    wanted = pd.Index(different.take(pc.sort_indices(different)), dtype="str")
    if column.cat.categories.dtype == "str" and wanted.equals(texts):
        return column
    codes = np.append(index_in(clean, wanted), -1)[column.cat.codes.to_numpy()]
    return pd.Series(pd.Categorical.from_codes(codes, wanted), index=column.index)


def _times(column: pd.Series) -> pd.Series:
    if isinstance(column.dtype, pd.DatetimeTZDtype) and str(column.dtype.tz) == "UTC":
        return pd.Series(column.dt.as_unit("us"))
    if pd.api.types.is_numeric_dtype(column) and column.notna().any():
        raise ValueError("a bare number names no moment")
    times = pd.to_datetime(column.replace("", None), utc=True, format="ISO8601")
    return pd.Series(times).dt.as_unit("us")


def _arrow(column: pd.Series | pd.Index) -> pa.Array:
    texts = pa.array(column.astype("str").array, pa.large_string())
    return texts.combine_chunks() if isinstance(texts, pa.ChunkedArray) else texts


def _rows_of(texts: pd.Series, ids: pd.Series) -> np.ndarray:
    rows = index_in(texts.cat.categories, ids)
    return np.append(rows, -1).astype("int32")[texts.cat.codes.to_numpy()]

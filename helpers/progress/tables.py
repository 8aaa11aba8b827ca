"""The three tables that every figure is made from: users, sign-ins and the endpoint's ledger."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import pandas as pd

from helpers.errors import BadTable

__all__ = ["KINDS", "PATHS", "Tables", "tidy"]

PATHS: Final = ("callout", "silent", "reset")
"""How a user was moved: by a call answered MigratePassword, by a stored password that matched, by a new password."""

_ID, _TEXT, _TIME, _NUMBER, _DECIMAL = "id", "text", "time", "number", "decimal"

KINDS: Final[dict[str, dict[str, str]]] = {
    "users": {"user_id": _ID, "flagged_at": _TIME, "migrated_at": _TIME, "path": _TEXT},
    "sign_ins": {
        "time": _TIME,
        "user_id": _ID,
        "app_id": _ID,
        "correlation_id": _ID,
        "result_code": _NUMBER,
        "callout_error": _NUMBER,
        "callout_status": _NUMBER,
        "attempts": _NUMBER,
    },
    "ledger": {
        "time": _TIME,
        "correlation_id": _ID,
        "user_id": _ID,
        "app_id": _ID,
        "action": _TEXT,
        "cause": _TEXT,
        "legacy": _TEXT,
        "duration_ms": _DECIMAL,
        "key": _TEXT,
        "attempt": _NUMBER,
    },
}
_NEEDED: Final = {
    "users": ("user_id", "migrated_at"),
    "sign_ins": ("time", "user_id", "result_code"),
    "ledger": ("time", "action", "cause"),
}


def _empty(kind: str) -> pd.DataFrame:
    return tidy(pd.DataFrame({name: [] for name in KINDS[kind]}), kind)


@dataclass(frozen=True, eq=False)
class Tables:
    """What is known about a migration.

    Args:
        users: one row a user in scope: `user_id`, `flagged_at`, `migrated_at`, `path`, and any dimension columns.
        sign_ins: one row a sign-in: `time`, `user_id`, `app_id`, `correlation_id`, `result_code`, `callout_error`,
            `callout_status`, `attempts`.
        ledger: one row a call that the endpoint answered: `time`, `correlation_id`, `user_id`, `app_id`, `action`,
            `cause`, `legacy`, `duration_ms`, `key`, `attempt`.
        as_of: until when the tables tell; by default the last moment that is written in them.
    """

    users: pd.DataFrame = field(default_factory=lambda: _empty("users"), repr=False)
    sign_ins: pd.DataFrame = field(default_factory=lambda: _empty("sign_ins"), repr=False)
    ledger: pd.DataFrame = field(default_factory=lambda: _empty("ledger"), repr=False)
    as_of: pd.Timestamp | None = None

    def __post_init__(self) -> None:
        for kind in KINDS:
            object.__setattr__(self, kind, tidy(getattr(self, kind), kind))
        if self.as_of is None:
            object.__setattr__(self, "as_of", self._last_moment())

    def until(self, as_of: pd.Timestamp) -> Tables:
        """Go back to a moment: what came later is as if it had not happened yet.

        Args:
            as_of: the moment; UTC if it names no time zone.

        Returns:
            the tables as they were then.
        """
        moment = as_of.tz_localize("UTC") if as_of.tzinfo is None else as_of.tz_convert("UTC")
        users = self.users[~(self.users["flagged_at"] > moment)].copy()
        later = users["migrated_at"] > moment
        users.loc[later, "migrated_at"] = pd.NaT
        users.loc[later, "path"] = None
        return Tables(
            users=users,
            sign_ins=self.sign_ins[self.sign_ins["time"] <= moment],
            ledger=self.ledger[self.ledger["time"] <= moment],
            as_of=moment,
        )

    def _last_moment(self) -> pd.Timestamp | None:
        columns = (
            self.users["flagged_at"],
            self.users["migrated_at"],
            self.sign_ins["time"],
            self.ledger["time"],
        )
        moments = [column.max() for column in columns if column.notna().any()]
        return max(moments) if moments else None


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
    missing = [name for name in _NEEDED[kind] if name not in frame.columns]
    if missing:
        found = ", ".join(map(str, frame.columns)) or "none"
        raise BadTable(
            f"The table {kind} has no column {', '.join(missing)}. It has: {found}.",
            next_step=f"A {kind} table has the columns {', '.join(known)}.",
        )
    extra = [name for name in frame.columns if name not in known] if kind == "users" else []
    columns = {name: _typed(frame, name, type_, kind) for name, type_ in known.items()}
    result = pd.DataFrame(columns | {name: frame[name] for name in extra}, index=frame.index)
    if kind == "users":
        return _one_row_a_user(result)
    result = result.drop_duplicates().sort_values([*known], na_position="last", kind="stable")
    return result[result["time"].notna()].reset_index(drop=True)


def _one_row_a_user(users: pd.DataFrame) -> pd.DataFrame:
    outside = sorted(set(users["path"].dropna()) - set(PATHS))
    if outside:
        raise BadTable(
            f"The column path of users holds {', '.join(outside[:5])}.",
            next_step=f"Use {', '.join(PATHS)}, or leave it empty.",
        )
    if users["user_id"].isna().any():
        raise BadTable("A row of users has no user_id.", next_step="Give each user an id, such as the object id.")
    dimensions = [name for name in users.columns if name not in KINDS["users"]]
    ordered = users.sort_values(
        ["user_id", "migrated_at", "flagged_at", "path", *dimensions],
        key=lambda column: column.astype("str") if column.name in dimensions else column,
        na_position="last",
        kind="stable",
    )
    return ordered.drop_duplicates("user_id").reset_index(drop=True)


def _typed(frame: pd.DataFrame, name: str, type_: str, kind: str) -> pd.Series:
    column = frame[name] if name in frame.columns else pd.Series(None, index=frame.index, dtype="object")
    try:
        match type_:
            case "time":
                return _times(column)
            case "number":
                return pd.to_numeric(column.replace("", None)).astype("Int64")
            case "decimal":
                return pd.to_numeric(column.replace("", None)).astype("Float64").astype("float64")
            case "id":
                return column.astype("str").replace("", None).str.lower()
            case _:
                return column.astype("str").replace("", None)
    except (ValueError, TypeError, OverflowError):
        words = {"time": "a time such as 2026-11-22T09:30:00Z", "number": "a whole number", "decimal": "a number"}
        raise BadTable(
            f"The column {name} of {kind} holds something that is not {words.get(type_, 'text')}.",
            next_step="Correct the value, or leave it empty.",
        ) from None


def _times(column: pd.Series) -> pd.Series:
    if pd.api.types.is_numeric_dtype(column) and column.notna().any():
        raise ValueError("a bare number names no moment")
    times = pd.to_datetime(column.replace("", None), utc=True, format="ISO8601")
    return pd.Series(times).dt.as_unit("us")

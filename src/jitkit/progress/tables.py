"""The three tables that every figure is made from: users, sign-ins and the endpoint's ledger."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, wraps
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from jitkit.progress.lookup import places
from jitkit.progress.tidy import KINDS, PATHS, tidy

__all__ = ["KINDS", "PATHS", "Remark", "Tables", "once", "records", "tidy"]

_Figure = TypeVar("_Figure")


def _empty(kind: str) -> pd.DataFrame:
    return tidy(pd.DataFrame({name: [] for name in KINDS[kind]}), kind)


@dataclass(frozen=True)
class Remark:
    """Something that the collector noticed and that the tables themselves do not show.

    Args:
        finding: what, as a phrase that follows a count.
        rows: how many.
        cause: why it may be so.
        remedy: what to do about it.
    """

    finding: str
    rows: int
    cause: str
    remedy: str


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
        as_of: until when the tables tell, UTC if it names no time zone; by default the last moment that is written in
            them, without the flags that are yet to be set.
        remarks: what the collector noticed.
    """

    users: pd.DataFrame = field(default_factory=lambda: _empty("users"), repr=False)
    sign_ins: pd.DataFrame = field(default_factory=lambda: _empty("sign_ins"), repr=False)
    ledger: pd.DataFrame = field(default_factory=lambda: _empty("ledger"), repr=False)
    as_of: pd.Timestamp | None = None
    remarks: tuple[Remark, ...] = ()

    def __post_init__(self) -> None:
        for kind in KINDS:
            object.__setattr__(self, kind, tidy(getattr(self, kind), kind))
        as_of = self._last_moment() if self.as_of is None else _in_utc(self.as_of)
        object.__setattr__(self, "as_of", as_of)

    def until(self, as_of: pd.Timestamp) -> Tables:
        """Go back to a moment: what came later is as if it had not happened yet.

        Args:
            as_of: the moment; UTC if it names no time zone.

        Returns:
            the tables as they were then.
        """
        moment = _in_utc(as_of)
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
        """For each sign-in, the row of its user; -1 for somebody who is not in scope."""
        return _rows_of(self.sign_ins["user_id"], self.users["user_id"])

    @cached_property
    def callers(self) -> np.ndarray:
        """For each line of the ledger, the row of its user; -1 for somebody who is not in scope."""
        return _rows_of(self.ledger["user_id"], self.users["user_id"])

    @property
    def logged(self) -> bool:
        """Whether the logs have a row at all: without one nobody knows who tried."""
        return bool(len(self.sign_ins) or len(self.ledger))

    @cached_property
    def kept(self) -> dict[Any, Any]:
        """What `once` has computed."""
        return {}

    def _last_moment(self) -> pd.Timestamp | None:
        flagged = self.users["flagged_at"]
        columns = (
            # A flag may be planned, or its year mistyped; what tells until when is what has happened.
            flagged[flagged <= pd.Timestamp.now("UTC")],
            self.users["migrated_at"],
            self.sign_ins["time"],
            self.ledger["time"],
        )
        moments = [column.max() for column in columns if column.notna().any()]
        return max(moments) if moments else None


def once(figure: Callable[[Tables], _Figure]) -> Callable[[Tables], _Figure]:
    """Compute a figure once for each `Tables`; several others are made from it. Nobody may change what it returns."""

    @wraps(figure)
    def kept(tables: Tables) -> _Figure:
        if figure not in tables.kept:
            tables.kept[figure] = figure(tables)
        result: _Figure = tables.kept[figure]
        return result

    return kept


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Give the rows of a small table, each by the names of its columns."""
    return frame.to_dict("records")  # type: ignore[return-value]


def _in_utc(moment: pd.Timestamp) -> pd.Timestamp:
    return moment.tz_localize("UTC") if moment.tzinfo is None else moment.tz_convert("UTC")


def _rows_of(asked: pd.Series, ids: pd.Series) -> np.ndarray:
    rows = places(asked.cat.categories, ids)
    return np.append(rows, -1).astype("int32")[asked.cat.codes.to_numpy()]

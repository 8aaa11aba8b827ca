"""What was collected so far, kept on this machine: the service forgets its logs after seven days.

One Parquet file a day and log, the users in one file, and how far each log is covered in `state.json`. Files are
replaced whole and only their owner can read them. They hold ids, and neither names nor passwords.
"""

from __future__ import annotations

import io
import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

import pandas as pd

from jitkit.errors import BadTable, NotReady
from jitkit.files import make_private, write_private
from jitkit.progress.tidy import KINDS

__all__ = ["Archive"]

_STATE: Final = "state.json"
_LOCK: Final = "lock.sqlite3"
_COLUMNS: Final = {
    "sign_ins": ["id", *KINDS["sign_ins"]],
    "audits": ["id", "time", "user_id", "event"],
    "ledger": [*KINDS["ledger"]],
}


class Archive:
    """Keep logs beyond the time for which the service does.

    Args:
        folder: of one tenant and one migration flag; made when something is kept.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep others out while one collects: another kernel, or a run by the clock.

        The lock is SQLite's, on every system; it falls with the process that holds it.

        Raises:
            NotReady: somebody else collects.
            SettingsError: the folder cannot be written.
        """
        path = self._folder / _LOCK
        make_private(path)  # never a new one: two that begin at once have to meet in the same file
        with closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as lock:
            try:
                lock.execute("BEGIN EXCLUSIVE")
            except sqlite3.OperationalError:
                raise NotReady(
                    "Another notebook or run collects into the same history.",
                    next_step="Wait until it is done, or stop its kernel; then run this again.",
                ) from None
            yield

    def append(self, kind: str, rows: pd.DataFrame) -> None:
        """Add rows to a log. A row that is there already is replaced: known by its id, or by all columns without one.

        Args:
            kind: sign_ins, audits or ledger.
            rows: with the log's columns; `time` in UTC.

        Raises:
            BadTable: a day's file is there and cannot be read.
        """
        rows = rows.reindex(columns=_COLUMNS[kind])
        rows = rows[rows["time"].notna()]
        for day, part in rows.groupby(rows["time"].dt.strftime("%Y-%m-%d")):
            path = self._folder / kind / f"{day}.parquet"
            whole = pd.concat([self._read(path), part], ignore_index=True) if path.exists() else part
            _write(path, _once(whole))

    def read(self, kind: str) -> pd.DataFrame:
        """Read a whole log, in the order of time.

        Args:
            kind: sign_ins, audits or ledger.
        """
        parts = [self._read(path) for path in sorted((self._folder / kind).glob("*.parquet"))]
        if not parts:
            return pd.DataFrame({name: [] for name in _COLUMNS[kind]})
        return pd.concat(parts, ignore_index=True).sort_values("time", kind="stable", ignore_index=True)

    def users(self) -> pd.DataFrame | None:
        """Read the users as they were last seen; None before the first time."""
        path = self._folder / "users.parquet"
        return self._read(path) if path.exists() else None

    def keep_users(self, users: pd.DataFrame) -> None:
        """Keep the users as they are seen now."""
        _write(self._folder / "users.parquet", users)

    def note(self, kind: str, **values: Any) -> None:
        """Remember something about a log, such as the link of its next page; None forgets it."""
        state = self._state()
        merged = {**state.get(kind, {}), **values}
        state[kind] = {name: value for name, value in merged.items() if value is not None}
        write_private(self._folder / _STATE, json.dumps(state, indent=2).encode())

    def noted(self, kind: str) -> dict[str, Any]:
        """Recall what was remembered about a log."""
        return dict(self._state().get(kind, {}))

    def cover(self, kind: str, since: pd.Timestamp, until: pd.Timestamp) -> None:
        """Note that a log was read whole between two moments."""
        windows = [*self._windows(kind), (since, until)]
        joined: list[tuple[pd.Timestamp, pd.Timestamp]] = []
        for begin, end in sorted(windows):
            if joined and begin <= joined[-1][1]:
                joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
            else:
                joined.append((begin, end))
        self.note(kind, covered=[[begin.isoformat(), end.isoformat()] for begin, end in joined])

    def covered_until(self, kind: str) -> pd.Timestamp | None:
        """Tell until when a log was read; None before the first time."""
        return max((end for _, end in self._windows(kind)), default=None)

    def missing_days(self, kind: str, since: pd.Timestamp, until: pd.Timestamp) -> list[str]:
        """Name the days (UTC) of which a log was not read whole.

        Args:
            kind: sign_ins or audits.
            since: from the day of this moment on.
            until: up to this moment.
        """
        missing = []
        for day in pd.date_range(since.floor("D"), until, freq="D"):
            begin, end = max(day, since), min(day + pd.Timedelta(days=1), until)
            if begin < end and not any(left <= begin and end <= right for left, right in self._windows(kind)):
                missing.append(f"{day:%Y-%m-%d}")
        return missing

    def _windows(self, kind: str) -> list[tuple[pd.Timestamp, pd.Timestamp]]:
        return [(pd.Timestamp(begin), pd.Timestamp(end)) for begin, end in self.noted(kind).get("covered", [])]

    def _state(self) -> dict[str, Any]:
        path = self._folder / _STATE
        try:
            return dict(json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, TypeError):
            raise _damaged(path) from None

    def _read(self, path: Path) -> pd.DataFrame:
        try:
            return pd.read_parquet(path)
        except (OSError, ValueError):
            raise _damaged(path) from None


def _once(rows: pd.DataFrame) -> pd.DataFrame:
    named = rows["id"].notna() if "id" in rows else pd.Series(False, index=rows.index)
    doubled = (named & rows.duplicated("id", keep="last")) if named.any() else ~named & rows.duplicated()
    if named.any() and not named.all():
        doubled |= ~named & rows.duplicated()
    return rows[~doubled].sort_values("time", kind="stable", ignore_index=True)


def _write(path: Path, rows: pd.DataFrame) -> None:
    content = io.BytesIO()
    rows.to_parquet(content, index=False)
    write_private(path, content.getvalue())


def _damaged(path: Path) -> BadTable:
    return BadTable(
        f"{path} cannot be read: what was collected of it is lost.",
        next_step="Delete that file and collect again; the service still has the last seven days.",
    )

"""A legacy store in a SQL database: SQLite or PostgreSQL."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import sqlite3
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from sqlalchemy import Engine, create_engine, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.pool import QueuePool

from helpers.endpoint.legacy import Verdict, lookup_key
from helpers.endpoint.legacy.hashes import check, cost_label
from helpers.endpoint.workers import usable_cores
from helpers.errors import SettingsError

__all__ = ["DEFAULT_QUERY", "SqlStore"]

_log = logging.getLogger(__name__)

DEFAULT_QUERY: Final = (
    "SELECT username, password_hash, status, must_change FROM legacy_users WHERE lower(trim(username)) = :username"
)

_CONNECTIONS: Final = 20
_SECONDS: Final = 2

# bcrypt of cost 10, of no password: what an unknown user costs before the store has shown what its hashes cost.
_FIRST_DUMMY: Final = "$2b$10$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"
_DUMMIES: Final = 16


class SqlStore:
    """Verify passwords against hashes in a table.

    The statement gets `:username` as a lookup key (see `lookup_key`) and returns `username`, `password_hash`, `status`
    (active, locked, disabled) and `must_change`. The default one compares `lower(trim(username))`, because tables hold
    names with blanks and capitals: give the table an index on that expression
    (`CREATE INDEX legacy_users_key ON legacy_users (lower(trim(username)))`). SQLite's lower() folds ASCII alone.
    The `username` returned must be the one that was asked for; rows of somebody else count as malformed.

    Args:
        url: `sqlite:///PATH`, opened for reading alone, or `postgresql+psycopg://…`.
        query: the statement to use instead of the default one.

    Raises:
        SettingsError: the URL or the statement cannot be used, or the SQLite file is not there.
    """

    def __init__(self, url: str, query: str | None = None) -> None:
        parsed = _parse(url)
        self.kind = parsed.get_backend_name()
        self._statement = text(query or DEFAULT_QUERY)
        if set(self._statement.compile().params) != {"username"}:
            raise SettingsError(
                "JIT_LEGACY_QUERY must have the parameter :username, and no other.",
                next_step=f"Write it like the default one: {DEFAULT_QUERY}",
            )
        self._engine = _open_sqlite(parsed) if self.kind == "sqlite" else _open_postgresql(parsed)
        # Waiting for the database and working on a hash must not take each other's threads.
        self._readers = ThreadPoolExecutor(_CONNECTIONS, thread_name_prefix="legacy-sql")
        self._hashers = ThreadPoolExecutor(usable_cores(), thread_name_prefix="legacy-hash")
        self._dummies: dict[str, str] = {}

    async def verify(self, username: str, password: str) -> Verdict:
        """Judge a password; a name that is not there costs as much time as one that is."""
        loop = asyncio.get_running_loop()
        key = lookup_key(username)
        try:
            rows = await loop.run_in_executor(self._readers, self._rows, key)
        except SQLAlchemyError as error:
            _log.error("the legacy store did not answer: %s", type(error).__name__)
            return Verdict.DOWN
        if len(rows) > 1:
            return Verdict.AMBIGUOUS
        if not rows:
            await loop.run_in_executor(self._hashers, check, self._dummy_for(key), password)
            return Verdict.UNKNOWN_USER
        row = _read(rows[0], key)
        if isinstance(row, Verdict):
            return row
        stored, must_change = row
        verdict = await loop.run_in_executor(self._hashers, check, stored, password)
        if stored and verdict in (Verdict.RIGHT, Verdict.WRONG):
            self._remember_cost(stored)
        return Verdict.RIGHT_MUST_CHANGE if verdict is Verdict.RIGHT and must_change else verdict

    async def close(self) -> None:
        """Close the connections, and let running threads end by themselves."""
        self._readers.shutdown(wait=False, cancel_futures=True)
        self._hashers.shutdown(wait=False, cancel_futures=True)
        self._engine.dispose()

    def _rows(self, key: str) -> list[Mapping[str, Any]]:
        with self._engine.connect() as connection:
            return [dict(row) for row in connection.execute(self._statement, {"username": key}).mappings().fetchmany(2)]

    def _remember_cost(self, stored: str) -> None:
        label = cost_label(stored)
        if label not in self._dummies and len(self._dummies) < _DUMMIES:
            self._dummies[label] = stored

    def _dummy_for(self, key: str) -> str:
        """Choose by the name, so that one unknown name takes the same time whenever it is asked for."""
        if not self._dummies:
            return _FIRST_DUMMY
        labels = sorted(self._dummies)
        return self._dummies[labels[hashlib.sha256(key.encode()).digest()[0] % len(labels)]]


def _read(row: Mapping[str, Any], key: str) -> tuple[str | None, bool] | Verdict:
    """Read a row: its hash and whether the password must be changed, or the verdict that makes the hash idle.

    A locked account is not verified: the answer would tell a guesser which guess was right.
    """
    try:
        name, stored, status = row["username"], row["password_hash"], row["status"]
        must_change = _flag(row["must_change"])
    except (KeyError, ValueError):
        _log.error("the legacy statement must return username, password_hash, status and must_change")
        return Verdict.MALFORMED
    if not isinstance(name, str) or lookup_key(name) != key:
        return Verdict.MALFORMED
    match str(status).strip().lower():
        case "active":
            if isinstance(stored, bytes | memoryview):
                stored = bytes(stored).decode("latin-1")
            return (stored, must_change) if stored is None or isinstance(stored, str) else Verdict.MALFORMED
        case "locked":
            return Verdict.LOCKED
        case "disabled":
            return Verdict.DISABLED
    return Verdict.MALFORMED


def _flag(value: object) -> bool:
    """Read a truth value as databases and their exports write it."""
    word = str(value).strip().lower()
    if word in ("", "none", "0", "false", "f", "no", "n"):
        return False
    if word in ("1", "true", "t", "yes", "y"):
        return True
    raise ValueError("not a truth value")


def _parse(url: str) -> URL:
    try:
        return make_url(url)
    except (ArgumentError, ValueError):
        raise SettingsError(
            "LegacyApiConnectionString cannot be read as a database URL.",
            next_step="Write it as sqlite:///PATH or postgresql+psycopg://USER:PASSWORD@HOST/DATABASE.",
        ) from None


def _open_sqlite(url: URL) -> Engine:
    """Open for reading alone: opening for writing would make an empty database where the path is wrong."""
    if not url.database or not Path(url.database).is_file():
        raise SettingsError(
            "The SQLite file that LegacyApiConnectionString names is not there.",
            next_step="Check the path: sqlite:///a.db is relative to the working directory, sqlite:////b/a.db is not.",
        )
    address = f"file:{quote(str(Path(url.database).resolve()))}?mode=ro"
    return create_engine(
        "sqlite://",
        creator=lambda: sqlite3.connect(address, uri=True, timeout=_SECONDS, check_same_thread=False),
        poolclass=QueuePool,
        pool_size=_CONNECTIONS,
        hide_parameters=True,
    )


def _open_postgresql(url: URL) -> Engine:
    options = f"-c statement_timeout={_SECONDS * 1000} -c default_transaction_read_only=on"
    try:
        return create_engine(
            url,
            connect_args={"connect_timeout": _SECONDS, "options": options},
            pool_size=_CONNECTIONS,
            max_overflow=0,
            pool_timeout=_SECONDS,
            pool_pre_ping=True,
            hide_parameters=True,
        )
    except ImportError:
        raise SettingsError(
            "LegacyApiConnectionString names PostgreSQL, and its driver is not installed.",
            next_step='Run: pip install -e ".[postgres]"',
        ) from None

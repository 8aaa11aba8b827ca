"""A legacy store in a SQL database: SQLite or PostgreSQL.

    sqlite:///PATH                                          opened for reading alone
    postgresql+psycopg://USER:PASSWORD@HOST/DATABASE        with any parameter of libpq

The statement (`JIT_LEGACY_QUERY`) gets `:username` as a lookup key (see `lookup_key`) and returns `username`,
`password_hash`, `status` (active, locked, disabled) and `must_change`. The default one compares
`lower(trim(username))`, because tables hold names with blanks and capitals: give the table an index on that expression
(`CREATE INDEX legacy_users_key ON legacy_users (lower(trim(username)))`). SQLite's lower() folds ASCII alone.
The `username` returned must be the one that was asked for; rows of another user count as malformed.

A statement of your own may return `entra_user_id` too: the object id of the account that the user became. Where it is
neither empty nor the callout's, the user is not migrated, and an alarm is counted.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import sqlite3
import time
from collections.abc import Generator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from sqlalchemy import Engine, TextClause, create_engine, event, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.pool import QueuePool

from jitkit.endpoint.crypto import usable_cores
from jitkit.endpoint.stores.base import Verdict, can_be_sent, is_other, lookup_key
from jitkit.endpoint.stores.hashes import check, cost_label
from jitkit.errors import SettingsError

_log = logging.getLogger(__name__)

DEFAULT_QUERY: Final = (
    "SELECT username, password_hash, status, must_change FROM legacy_users WHERE lower(trim(username)) = :username"
)

_SAMPLE: Final = text("SELECT password_hash FROM legacy_users WHERE password_hash IS NOT NULL LIMIT 500")
_SAMPLED: Final = 500

_CONNECTIONS: Final = 20
_SECONDS: Final = 1.2  # for the database, so that the default deadline of 1.5 s leaves time for a hash
_BUDGET: Final = 1.5
_NO_USER: Final = "nobody"
_NO_PASSWORD: Final = "what nobody chose"  # noqa: S105

# bcrypt of cost 10, of no password: what an unknown user costs before the store has shown what its hashes cost.
_FIRST_DUMMY: Final = "$2b$10$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"
_DUMMIES: Final = 16


class SqlStore:
    """Verify passwords against hashes in a table (see the module's text).

    Args:
        url: the database.
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
        self._is_default = query is None
        self._budget = _BUDGET
        # Waiting for the database and working on a hash must not take each other's threads. Threads do for hashes in
        # pure Python too (sha-crypt, phpass, Drupal): processes did little more of them and cost memory and a start.
        self._readers = ThreadPoolExecutor(_CONNECTIONS, thread_name_prefix="legacy-sql")
        self._hashers = ThreadPoolExecutor(usable_cores(), thread_name_prefix="legacy-hash")
        self._dummies: dict[str, str] = {}

    async def prepare(self, budget: float) -> None:
        """Measure what the hashes in a sample of the default table cost, and warn of those that cost too much.

        A statement of your own cannot be sampled: it is run once, to find out whether it can be, and each kind of hash
        is measured when it first comes.
        """
        self._budget = budget
        asked: tuple[TextClause, dict[str, str]] = (
            (_SAMPLE, {}) if self._is_default else (self._statement, {"username": _NO_USER})
        )
        stored = await self._read(*asked)
        if stored is None:
            _log.warning("the legacy database cannot be asked: check LegacyApiConnectionString and JIT_LEGACY_QUERY")
            return
        if not self._is_default:
            return
        examples = {cost_label(value): value for row in stored if (value := _as_text(row["password_hash"]))}
        for value in list(examples.values())[:_DUMMIES]:
            verdict, seconds = await self._check(value, _NO_PASSWORD)
            self._note_cost(value, verdict, seconds)

    async def verify(self, username: str, password: str) -> Verdict:
        """Judge a password; an unknown name costs as much time as a known one."""
        return await self.verify_for("", username, password)

    async def verify_for(self, user_id: str, username: str, password: str) -> Verdict:
        """Judge a password; `OTHER_USER` where `entra_user_id` names another directory account than the callout."""
        key = lookup_key(username)
        if not can_be_sent(key, password) or "\0" in key:
            return Verdict.WRONG
        rows = await self._read(self._statement, {"username": key})
        if rows is None:
            return Verdict.DOWN
        if len(rows) > 1:
            return Verdict.AMBIGUOUS
        if not rows:
            await self._check(self._dummy_for(key), password)
            return Verdict.UNKNOWN_USER
        row = _judge_row(rows[0], key, user_id)
        if isinstance(row, Verdict):
            return row
        stored, must_change = row
        verdict, seconds = await self._check(stored, password)
        if stored:
            self._note_cost(stored, verdict, seconds)
        return Verdict.RIGHT_MUST_CHANGE if verdict is Verdict.RIGHT and must_change else verdict

    async def close(self) -> None:
        """Close the connections, and let running threads end by themselves."""
        self._readers.shutdown(wait=False, cancel_futures=True)
        self._hashers.shutdown(wait=False, cancel_futures=True)
        self._engine.dispose()

    async def _read(self, statement: TextClause, parameters: dict[str, str]) -> list[Mapping[str, Any]] | None:
        """Run a statement; None when the database did not answer, or not in time."""
        work = asyncio.get_running_loop().run_in_executor(self._readers, self._rows, statement, parameters)
        try:
            async with asyncio.timeout(_SECONDS):
                return await work
        except (SQLAlchemyError, TimeoutError) as error:
            _log.error("the legacy store did not answer: %s", type(error).__name__)
            return None

    def _rows(self, statement: TextClause, parameters: dict[str, str]) -> list[Mapping[str, Any]]:
        with self._engine.connect() as connection:
            found = connection.execute(statement, parameters).mappings()
            return [dict(row) for row in found.fetchmany(2 if parameters else _SAMPLED)]

    async def _check(self, stored: str | None, password: str) -> tuple[Verdict, float]:
        return await asyncio.get_running_loop().run_in_executor(self._hashers, _timed_check, stored, password)

    def _note_cost(self, stored: str, verdict: Verdict, seconds: float) -> None:
        """Keep one hash of each cost, and warn when it costs too much."""
        if verdict not in (Verdict.RIGHT, Verdict.WRONG):
            return
        label = cost_label(stored)
        if label in self._dummies or len(self._dummies) >= _DUMMIES:
            return
        self._dummies[label] = stored
        if seconds > self._budget / 2:
            _log.warning(
                "verifying a %s hash takes %d ms of the %d ms that a call has: give the endpoint faster cores",
                label,
                seconds * 1000,
                self._budget * 1000,
            )

    def _dummy_for(self, key: str) -> str:
        """Choose by the name, so that one unknown name takes the same time whenever it is asked for."""
        if not self._dummies:
            return _FIRST_DUMMY
        labels = sorted(self._dummies)
        return self._dummies[labels[hashlib.sha256(key.encode()).digest()[0] % len(labels)]]


def _timed_check(stored: str | None, password: str) -> tuple[Verdict, float]:
    started = time.perf_counter()
    return check(stored, password), time.perf_counter() - started


def _judge_row(row: Mapping[str, Any], key: str, user_id: str) -> tuple[str | None, bool] | Verdict:
    """Read a row: its hash and whether the password must be changed, or the verdict that needs no hash.

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
    if user_id and is_other(row.get("entra_user_id"), user_id):
        return Verdict.OTHER_USER
    match str(status).strip().lower():
        case "active":
            value = _as_text(stored)
            return (value, must_change) if value is not None or stored is None else Verdict.MALFORMED
        case "locked":
            return Verdict.LOCKED
        case "disabled":
            return Verdict.DISABLED
    return Verdict.MALFORMED


def _as_text(stored: object) -> str | None:
    """Read a hash column, which some systems make of bytes."""
    if isinstance(stored, bytes | memoryview):
        return bytes(stored).decode("latin-1")
    return stored if isinstance(stored, str) else None


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
    """Open a pool of read-only connections; none is made before the first one is needed.

    The server cancels a statement when time is up. A server that is frozen or cut off cannot: then the client closes
    the connection, so that no thread waits for it. On a network TLS is required unless the URL sets `sslmode`; set
    `sslmode=verify-full` and `sslrootcert` in it to verify the server too.
    """
    try:
        import psycopg
    except ImportError:
        raise SettingsError(
            "LegacyApiConnectionString names PostgreSQL, and its driver is not installed.",
            next_step='Run: pip install -e ".[postgres]"',
        ) from None

    class ImpatientConnection(psycopg.Connection[Any]):
        """Close itself when the server does not answer one request in time."""

        def wait(self, gen: Generator[Any, Any, Any], *arguments: Any, **options: Any) -> Any:
            return super().wait(self._until(gen, time.monotonic() + _SECONDS), *arguments, **options)

        def _until(self, steps: Generator[Any, Any, Any], due: float) -> Generator[Any, Any, Any]:
            """Run the steps of a request; psycopg asks for the next one ten times a second."""
            ready = None
            while True:
                try:
                    wanted = steps.send(ready)
                except StopIteration as end:
                    return end.value
                ready = yield wanted
                if not ready and time.monotonic() > due:
                    self.pgconn.finish()
                    raise psycopg.OperationalError("the server did not answer in time")

    options: dict[str, Any] = {
        "connect_timeout": 2,  # the least that libpq knows
        "options": f"-c statement_timeout={int(_SECONDS * 1000)} -c default_transaction_read_only=on",
        # A load balancer in between forgets silent connections after a few minutes, without a word to either side.
        "keepalives_idle": 30,
        "keepalives_interval": 5,
        "keepalives_count": 2,
        "prepare_threshold": None,  # a connection pooler in between would confuse prepared statements
    }
    if url.host not in (None, "localhost", "127.0.0.1", "::1") and "sslmode" not in url.query:
        options["sslmode"] = "require"
    engine = create_engine(
        url,
        connect_args=options,
        pool_size=_CONNECTIONS,
        max_overflow=0,
        pool_timeout=_SECONDS,
        pool_pre_ping=True,
        hide_parameters=True,
    )

    @event.listens_for(engine, "do_connect")
    def connect(_: Any, __: Any, arguments: list[Any], options: dict[str, Any]) -> psycopg.Connection[Any]:
        return ImpatientConnection.connect(*arguments, **options)

    return engine

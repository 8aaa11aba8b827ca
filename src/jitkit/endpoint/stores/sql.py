"""A legacy store in a SQL database: SQLite or PostgreSQL (README.md has the statement's contract)."""

from __future__ import annotations

import asyncio
import bisect
import hashlib
import itertools
import logging
import os
import secrets
import sqlite3
import time
from collections import Counter
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
from jitkit.endpoint.stores.base import Verdict, can_be_sent, is_other, lookup_key, refuse_url
from jitkit.endpoint.stores.hashes import check, cost_label
from jitkit.errors import SettingsError

_log = logging.getLogger(__name__)

DEFAULT_QUERY: Final = (
    "SELECT username, password_hash, status, must_change FROM legacy_users WHERE lower(trim(username)) = :username"
)

_SAMPLE: Final = text("SELECT password_hash FROM legacy_users WHERE password_hash IS NOT NULL LIMIT 500")
_CONNECTIONS: Final = 20
_SECONDS: Final = 1.2  # for the database, so that the default deadline of 1.5 s leaves time for a hash

# Truth values as databases and their exports write them.
_FLAGS: Final = dict.fromkeys(("", "none", "0", "false", "f", "no", "n"), False) | dict.fromkeys(
    ("1", "true", "t", "yes", "y"), True
)
# bcrypt of cost 10, of no password: what an unknown user costs before the store has shown what its hashes cost.
_FIRST_DUMMY: Final = "$2b$10$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"
_DUMMIES: Final = 16
_THIS_MACHINE: Final = ("", "localhost", "127.0.0.1", "::1")
_STATES: Final = {"active": Verdict.RIGHT, "locked": Verdict.LOCKED, "disabled": Verdict.DISABLED}


class SqlStore:
    """Verify passwords against hashes in a table."""

    def __init__(self, url: str, query: str | None = None, pepper: str = "") -> None:
        try:
            parsed = make_url(url)
        except (ArgumentError, ValueError):
            wanted = "Write it as sqlite:///PATH or postgresql+psycopg://USER:PASSWORD@HOST/DATABASE."
            refuse_url("cannot be read as a database URL", wanted)
        self.kind = parsed.get_backend_name()
        self._statement = text(query or DEFAULT_QUERY)
        if set(self._statement.compile().params) != {"username"}:
            raise SettingsError(
                "JIT_LEGACY_QUERY must have the parameter :username, and no other.",
                next_step=f"Write it like the default one: {DEFAULT_QUERY}",
            )
        self._engine = _open_sqlite(parsed) if self.kind == "sqlite" else _open_postgresql(parsed)
        self._pepper = pepper
        self._is_default, self._budget = query is None, 1.5
        # Waiting for the database and working on a hash must not take each other's threads. Threads do for hashes in
        # pure Python too (sha-crypt, phpass, Drupal): processes did little more of them and cost memory and a start.
        self._readers = ThreadPoolExecutor(_CONNECTIONS, thread_name_prefix="legacy-sql")
        self._hashers = ThreadPoolExecutor(usable_cores(), thread_name_prefix="legacy-hash")
        # One hash of each cost, and how many of it were seen: an unknown name costs what some known one would.
        self._dummies: dict[str, str] = {}
        self._seen: Counter[str] = Counter()
        self._salt = secrets.token_bytes(32)

    async def prepare(self, budget: float) -> None:
        """Warn of hashes that cost too much in a sample of the default table, or of a statement that cannot be run."""
        self._budget = budget
        if self._is_default:
            rows = await self._read(_SAMPLE, most=500)
        else:
            rows = await self._read(self._statement, username="nobody")
        if rows is None:
            _log.warning("the legacy database cannot be asked: check LegacyApiConnectionString and JIT_LEGACY_QUERY")
        examples = [value for row in rows or () if (value := _as_text(row["password_hash"]))]
        for value in {cost_label(value): value for value in examples}.values() if self._is_default else ():
            await self._check(value, "any password")
        self._seen.update(label for value in examples if (label := cost_label(value)) in self._dummies)

    async def verify(self, username: str, password: str) -> Verdict:
        """Judge a password; an unknown name costs as much time as a known one."""
        return await self.verify_for("", username, password)

    async def verify_for(self, user_id: str, username: str, password: str) -> Verdict:
        """Judge a password; `OTHER_USER` where `entra_user_id` names another directory account than the callout."""
        key = lookup_key(username)
        if not can_be_sent(key, password) or "\0" in key:
            return Verdict.WRONG
        rows = await self._read(self._statement, username=key)
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
        stored, if_right = row
        # A locked or disabled account is verified like any other: its state is for whoever knows its password.
        verdict = await self._check(stored, password)
        return if_right if verdict is Verdict.RIGHT else verdict

    async def close(self) -> None:
        """Close the connections, and let running threads end by themselves."""
        self._readers.shutdown(wait=False, cancel_futures=True)
        self._hashers.shutdown(wait=False, cancel_futures=True)
        self._engine.dispose()

    async def _read(self, statement: TextClause, *, most: int = 2, **parameters: str) -> list[Mapping[str, Any]] | None:
        """Run a statement; None when the database did not answer, or not in time."""

        def rows() -> list[Mapping[str, Any]]:
            with self._engine.connect() as connection:
                return [dict(row) for row in connection.execute(statement, parameters).mappings().fetchmany(most)]

        try:
            async with asyncio.timeout(_SECONDS):
                return await asyncio.get_running_loop().run_in_executor(self._readers, rows)
        except (SQLAlchemyError, TimeoutError) as error:
            _log.error("the legacy store did not answer: %s", type(error).__name__)
            return None

    async def _check(self, stored: str | None, password: str) -> Verdict:
        """Verify a hash in a thread; keep one hash of each cost, and warn when it costs too much."""

        def timed() -> tuple[Verdict, float]:
            started = time.perf_counter()
            return check(stored, password, self._pepper), time.perf_counter() - started

        verdict, seconds = await asyncio.get_running_loop().run_in_executor(self._hashers, timed)
        if not stored or stored == _FIRST_DUMMY or verdict not in (Verdict.RIGHT, Verdict.WRONG):
            return verdict
        label = cost_label(stored)
        self._seen[label] += label in self._dummies
        if label in self._dummies or len(self._dummies) >= _DUMMIES:
            return verdict
        self._dummies[label] = stored
        if seconds > self._budget / 2:
            text = "verifying a %s hash takes %d ms of the %d ms that a call has: give the endpoint faster cores"
            _log.warning(text, label, seconds * 1000, self._budget * 1000)
        return verdict

    def _dummy_for(self, key: str) -> str:
        """Choose by the name, so that one unknown name takes the same time whenever it is asked for.

        The digest is keyed, and costs are as frequent as in the store: else a slow, rare one would name who is unknown.
        """
        labels = sorted(self._dummies)
        if not labels:
            return _FIRST_DUMMY
        digest = hashlib.blake2b(key.encode(), key=self._salt, digest_size=8).digest()
        weights = [self._seen[label] + 1 for label in labels]
        at = int.from_bytes(digest) * sum(weights) >> 64
        return self._dummies[labels[bisect.bisect_right(list(itertools.accumulate(weights)), at)]]


def _judge_row(row: Mapping[str, Any], key: str, user_id: str) -> tuple[str | None, Verdict] | Verdict:
    """Read a row: its hash and what the right password means there, or the verdict that needs no password."""
    try:
        name, stored, status = row["username"], row["password_hash"], row["status"]
        must_change = _FLAGS[str(row["must_change"]).strip().lower()]
    except KeyError:
        _log.error("the legacy statement must return username, password_hash, status and must_change")
        return Verdict.MALFORMED
    if not isinstance(name, str) or lookup_key(name) != key:
        return Verdict.MALFORMED
    if user_id and is_other(row.get("entra_user_id"), user_id):
        return Verdict.OTHER_USER
    word, value = str(status).strip().lower(), _as_text(stored)
    if word not in _STATES or (value is None and stored is not None):
        return Verdict.MALFORMED
    if_right = _STATES[word]
    return value, Verdict.RIGHT_MUST_CHANGE if must_change and if_right is Verdict.RIGHT else if_right


def _as_text(stored: object) -> str | None:
    """Read a hash column, which some systems make of bytes."""
    if isinstance(stored, bytes | memoryview):
        return bytes(stored).decode("latin-1")
    return stored if isinstance(stored, str) else None


def _open_sqlite(url: URL) -> Engine:
    """Open for reading alone: opening for writing would make an empty database where the path is wrong."""
    if not url.database or not Path(url.database).is_file():
        wanted = "Check the path: sqlite:///a.db is relative to the working directory, sqlite:////b/a.db is not."
        refuse_url("names a SQLite file that is not there", wanted)
    address = f"file:{quote(str(Path(url.database).resolve()))}?mode=ro"
    return create_engine(
        "sqlite://",
        creator=lambda: sqlite3.connect(address, uri=True, timeout=_SECONDS, check_same_thread=False),
        poolclass=QueuePool,
        pool_size=_CONNECTIONS,
        hide_parameters=True,
    )


def _verified_tls(url: URL) -> dict[str, str]:
    """Have libpq verify the server's name and certificate, unless every host that it will use is this machine.

    Its own default falls back to clear text, and `require` takes any certificate: whoever sits in between could hand
    out rows of his own. Hosts stand in the URL, in the parameters `host` and `hostaddr`, and in the environment; each
    may be a list, and a path is a socket of this machine.
    """
    stated = [value for name in ("host", "hostaddr") for value in _values(url, name)]
    hosts = stated or [url.host or os.environ.get("PGHOSTADDR") or os.environ.get("PGHOST") or ""]
    if "service" in url.query or os.environ.get("PGSERVICE"):
        hosts.append("(a service file names it)")
    parts = [host.strip() for value in hosts for host in value.split(",")]
    if all(host in _THIS_MACHINE or host.startswith(("/", "@")) for host in parts):
        return {}
    modes = _values(url, "sslmode")
    if modes not in ([], ["verify-full"]):
        wanted = "Use sslmode=verify-full, with sslrootcert=PATH for an authority of your own, or leave sslmode out."
        refuse_url("would reach a database on another machine without verifying it", wanted)
    own = _values(url, "sslrootcert") or os.environ.get("PGSSLROOTCERT")
    if own or (Path.home() / ".postgresql" / "root.crt").exists():  # where libpq looks by itself
        return {"sslmode": "verify-full"}
    return {"sslmode": "verify-full", "sslrootcert": "system"}


def _values(url: URL, name: str) -> list[str]:
    value = url.query.get(name, ())
    return [value] if isinstance(value, str) else list(value)


def _open_postgresql(url: URL) -> Engine:
    """Open a pool of read-only connections; none is made before the first one is needed."""
    import psycopg

    class ImpatientConnection(psycopg.Connection[Any]):
        """Close itself when the server, frozen or cut off, cannot cancel a statement in time."""

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
        **{"keepalives_idle": 30, "keepalives_interval": 5, "keepalives_count": 2},
        "prepare_threshold": None,  # a connection pooler in between would confuse prepared statements
    }
    options |= _verified_tls(url)
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

"""The rehearsal tenant's directory: one SQLite file that holds objects, users, keys, logs and published hosts.

Everything but users is kept as Graph-shaped JSON by kind. Users have columns for what a sign-in reads.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import os
import re
import sqlite3
import threading
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field, fields
from pathlib import Path
from random import Random, SystemRandom
from typing import Any, Final

from jitkit.rehearsal.clock import Clock

Body = dict[str, Any]

# Raised whenever the tables change: a file of another version is not touched.
_VERSION: Final = 3
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS objects (
    id TEXT PRIMARY KEY, kind TEXT NOT NULL, key TEXT, parent TEXT, body TEXT NOT NULL,
    created REAL NOT NULL, deleted REAL
);
CREATE INDEX IF NOT EXISTS objects_by_kind ON objects (kind, deleted);
CREATE INDEX IF NOT EXISTS objects_by_key ON objects (kind, key);
CREATE INDEX IF NOT EXISTS objects_by_parent ON objects (kind, parent);
CREATE TABLE IF NOT EXISTS users (
    id TEXT PRIMARY KEY, upn TEXT NOT NULL UNIQUE COLLATE NOCASE, sign_in_name TEXT, password_hash TEXT NOT NULL,
    force_change INTEGER NOT NULL, enabled INTEGER NOT NULL, failed INTEGER NOT NULL DEFAULT 0,
    locked_until REAL NOT NULL DEFAULT 0, body TEXT NOT NULL, created REAL NOT NULL, deleted REAL
);
CREATE TABLE IF NOT EXISTS sign_in_names (
    name TEXT PRIMARY KEY COLLATE NOCASE, user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS sign_in_names_by_user ON sign_in_names (user_id);
CREATE TABLE IF NOT EXISTS log (id TEXT PRIMARY KEY, kind TEXT NOT NULL, time REAL NOT NULL, body TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS log_by_time ON log (kind, time);
"""
_ROWS_AT_ONCE: Final = 1000
_LATE_FLAG: Final = "lateFlag"
_PUBLICATIONS: Final = "publications"

_id_source: ContextVar[Random] = ContextVar("ids", default=SystemRandom())  # noqa: B039 - it keeps no state


def new_id() -> str:
    """Make a GUID, version 4: random, unless a simulation seeded it."""
    return str(uuid.UUID(int=_id_source.get().getrandbits(128), version=4))


@contextlib.contextmanager
def seeded(seed: str) -> Iterator[None]:
    """Derive the ids made inside the block, in this task and in those it starts, from a seed."""
    token = _id_source.set(Random(seed))  # noqa: S311 - ids are no secrets
    try:
        yield
    finally:
        _id_source.reset(token)


def member(body: Mapping[str, Any] | None, *path: str) -> Any:
    """Return a member of nested JSON objects; None where it, or one on the way to it, is missing or null."""
    found: Any = body
    for name in path:
        found = (found or {}).get(name)
    return found


@dataclass(kw_only=True)
class User:
    """A user as a sign-in sees it; `body` holds the other Graph properties, extension values among them."""

    id: str
    upn: str
    sign_in_name: str | None
    password_hash: str = field(repr=False)
    force_change: bool = False
    enabled: bool = True
    failed: int = 0
    locked_until: float = 0.0
    body: Body
    created: float
    deleted: float | None = None

    @property
    def sign_in_names(self) -> list[str]:
        """The names a user signs in by: every local identity except the synthetic `userPrincipalName`."""
        local = [item for item in self.body.get("identities", []) if item.get("signInType") != "federated"]
        names = [item["issuerAssignedId"].lower() for item in local if item.get("signInType") != "userPrincipalName"]
        return list(dict.fromkeys(names + ([self.sign_in_name.lower()] if self.sign_in_name else [])))


def user_of(row: sqlite3.Row) -> User:
    """Build a user from a row of the table `users`."""
    columns = {each.name: row[each.name] for each in fields(User)}
    columns["force_change"], columns["enabled"] = bool(row["force_change"]), bool(row["enabled"])
    return User(**{**columns, "body": json.loads(row["body"])})


class Directory:
    """Keeps the tenant's objects in one SQLite file that only its owner can read."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        self.path = path
        self._lock = threading.RLock()
        self._depth = 0
        self._changes = 0
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=30)
        self._db.row_factory = sqlite3.Row
        try:
            _prepare(self._db)
        except sqlite3.DatabaseError:
            self._db.close()
            raise
        self.clock = Clock(self._ahead(), lambda ahead: self.set_meta("clock_ahead", repr(ahead)), self._ahead)

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Apply the writes inside the block together, or none of them. Blocks may nest."""
        with self._lock:
            if self._depth == 0:
                self._db.execute("BEGIN IMMEDIATE")
            self._depth += 1
            try:
                yield
            except BaseException:
                self._depth -= 1
                if self._depth == 0:
                    self._db.execute("ROLLBACK")
                raise
            self._depth -= 1
            if self._depth == 0:
                self._db.execute("COMMIT")

    def rows(self, sql: str, parameters: tuple[Any, ...] = ()) -> list[sqlite3.Row]:
        """Run one statement and return its rows."""
        with self._lock:
            if not sql.startswith("SELECT") and ("objects" in sql or "meta" in sql):
                self._changes += 1
            return self._db.execute(sql, parameters).fetchall()

    def many(self, sql: str, parameters: Iterable[tuple[Any, ...]]) -> None:
        """Run one statement on users or logs for many rows, inside a transaction."""
        with self._lock:
            self._db.executemany(sql, parameters)

    def version(self) -> tuple[int, int]:
        """Return a value that differs after any change to objects or facts, here or in another process."""
        return self._changes, self.rows("PRAGMA data_version")[0][0]

    def copy_to(self, other: sqlite3.Connection) -> None:
        """Copy everything into another, empty database."""
        with self._lock:
            self._db.backup(other)

    def copy_from(self, other: sqlite3.Connection) -> None:
        """Replace everything by what another database holds, the clock included."""
        with self._lock:
            other.backup(self._db)
            self._changes += 1
        self.clock.restart(self._ahead())

    def clear(self) -> None:
        """Empty the directory. The tenant's id, domain, keys and administrator stay."""
        kept = ("tenant_id", "domain", "subdomain", "signing_keys", "admin_client_id", "admin_client_secret")
        with self.transaction():
            for table in ("sign_in_names", "users", "objects", "log"):
                self.rows(f"DELETE FROM {table}")  # noqa: S608
            self.rows(f"DELETE FROM meta WHERE name NOT IN ({', '.join('?' * len(kept))})", kept)  # noqa: S608
        self.clock.restart()

    # --- facts about the tenant itself -------------------------------------------------------------------------

    def meta(self, name: str) -> str | None:
        """Read one fact about the tenant, such as `tenant_id`; None when it was never set."""
        found = self.rows("SELECT value FROM meta WHERE name = ?", (name,))
        return str(found[0]["value"]) if found else None

    def set_meta(self, name: str, value: str) -> None:
        """Store one fact about the tenant."""
        self.rows(
            "INSERT INTO meta VALUES (?, ?) ON CONFLICT(name) DO UPDATE SET value = excluded.value", (name, value)
        )

    def publications(self) -> dict[str, str]:
        """Return which public hosts lead to which loopback address, as a tunnel or hosting would."""
        found: dict[str, str] = json.loads(self.meta(_PUBLICATIONS) or "{}")
        return found

    def publish(self, host: str, base_url: str | None) -> None:
        """Let `https://{host}` lead to a loopback address, for every process that opens the tenant."""
        with self.transaction():
            kept = self.publications()
            kept.pop(host.lower(), None)
            if base_url is not None:
                kept[host.lower()] = base_url.rstrip("/")
            self.set_meta(_PUBLICATIONS, json.dumps(kept))

    def _ahead(self) -> float:
        return float(self.meta("clock_ahead") or 0)

    # --- objects -----------------------------------------------------------------------------------------------

    def add(self, kind: str, body: Body, *, key: str | None = None, parent: str | None = None) -> Body:
        """Add an object."""
        body = {"id": str(uuid.uuid4()), **body}
        self.rows(
            "INSERT INTO objects (id, kind, key, parent, body, created) VALUES (?, ?, ?, ?, ?, ?)",
            (body["id"], kind, key, parent, json.dumps(body), self.clock.now()),
        )
        return body

    def get(self, kind: str, id: str, *, made_by: float = math.inf) -> Body | None:
        """Read an object by id; None when there is none, it is in the recycle bin or was made after a moment."""
        return self._one("id = ? AND kind = ?", (id, kind, made_by))

    def by_key(self, kind: str, key: str, *, made_by: float = math.inf) -> Body | None:
        """Read an object by its second name, otherwise as `get`."""
        return self._one("key = ? AND kind = ?", (key, kind, made_by))

    def _one(self, where: str, parameters: tuple[Any, ...]) -> Body | None:
        found = self.rows(f"SELECT body FROM objects WHERE {where} AND deleted IS NULL AND created <= ?", parameters)  # noqa: S608
        return json.loads(found[0]["body"]) if found else None

    def all(self, kind: str, *, parent: str | None = None, deleted: bool = False) -> list[Body]:
        """List the objects of a kind in the order they were made."""
        where = "kind = ? AND deleted IS " + ("NOT NULL" if deleted else "NULL")
        parameters: tuple[Any, ...] = (kind,)
        if parent is not None:
            where, parameters = where + " AND parent = ?", (kind, parent)
        found = self.rows(f"SELECT body FROM objects WHERE {where} ORDER BY created, rowid", parameters)  # noqa: S608
        return [json.loads(row["body"]) for row in found]

    def replace(self, kind: str, body: Body) -> None:
        """Store a changed object under its id."""
        self.rows("UPDATE objects SET body = ? WHERE id = ? AND kind = ?", (json.dumps(body), body["id"], kind))

    def discard(self, kind: str, id: str, *, recycle: bool) -> None:
        """Delete an object, into the recycle bin or for good."""
        if recycle:
            self.rows("UPDATE objects SET deleted = ? WHERE id = ? AND kind = ?", (self.clock.now(), id, kind))
        else:
            self.rows("DELETE FROM objects WHERE id = ? AND kind = ?", (id, kind))

    def restore(self, kind: str, id: str) -> None:
        """Bring an object back from the recycle bin."""
        self.rows("UPDATE objects SET deleted = NULL WHERE id = ? AND kind = ?", (id, kind))

    # --- users -------------------------------------------------------------------------------------------------

    def add_user(self, user: User) -> None:
        """Add a user. Raises `sqlite3.IntegrityError` when the UPN or a sign-in name is taken."""
        self.add_users([user])

    def add_users(self, users: Iterable[User]) -> None:
        """Add many users in one transaction. Raises `sqlite3.IntegrityError` as `add_user` does; then none is added."""
        columns = ("id", "upn", "sign_in_name", "password_hash", "force_change", "enabled", "created")
        insert = f"INSERT INTO users ({', '.join(columns)}, body) VALUES ({', '.join('?' * len(columns))}, ?)"  # noqa: S608
        rest = iter(users)
        with self.transaction():
            while some := list(itertools.islice(rest, _ROWS_AT_ONCE)):
                self.many(insert, ((*(getattr(u, name) for name in columns), json.dumps(u.body)) for u in some))
                names = ((name, user.id) for user in some for name in user.sign_in_names)
                self.many("INSERT INTO sign_in_names VALUES (?, ?)", names)

    def set_sign_in_names(self, id: str, names: Iterable[str]) -> None:
        """Let a user sign in by these names and no others. Raises `sqlite3.IntegrityError` when one is taken."""
        with self.transaction():
            self.rows("DELETE FROM sign_in_names WHERE user_id = ?", (id,))
            self.many("INSERT INTO sign_in_names VALUES (?, ?)", ((name.lower(), id) for name in names))

    def user(self, id_or_upn: str, *, made_by: float = math.inf) -> User | None:
        """Read a user by object id or user principal name; leave out who was made later than a moment."""
        found = self.rows(
            "SELECT * FROM users WHERE (id = ? OR upn = ?) AND deleted IS NULL AND created <= ?",
            (id_or_upn, id_or_upn, made_by),
        )
        return user_of(found[0]) if found else None

    def user_by_sign_in_name(self, name: str) -> User | None:
        """Read a user by the e-mail address or user name they sign in with, in any case."""
        found = self.rows(
            "SELECT users.* FROM sign_in_names JOIN users ON users.id = user_id WHERE name = ? AND deleted IS NULL",
            (name.lower(),),
        )
        return user_of(found[0]) if found else None

    def update_user(self, id: str, **columns: Any) -> None:
        """Change columns of a user."""
        if "body" in columns:
            columns["body"] = json.dumps(columns["body"])
        assignments = ", ".join(f"{name} = ?" for name in columns)
        self.rows(f"UPDATE users SET {assignments} WHERE id = ?", (*columns.values(), id))  # noqa: S608

    def set_user_value(self, id: str, name: str, value: Any, *, due: float = 0.0) -> None:
        """Set one Graph property of a user, or remove it with None."""
        if due > self.clock.now():
            self.add(_LATE_FLAG, {"user": id, "name": name, "value": value, "due": due})
            return
        path = f'$."{name}"'
        if value is None:
            self.rows("UPDATE users SET body = json_remove(body, ?) WHERE id = ?", (path, id))
        else:
            self.rows("UPDATE users SET body = json_set(body, ?, json(?)) WHERE id = ?", (path, json.dumps(value), id))

    def apply_late_values(self) -> None:
        """Write the late values that have arrived by now. Readers of users call this first."""
        for late in self.all(_LATE_FLAG):
            if late["due"] <= self.clock.now():
                with self.transaction():
                    self.set_user_value(late["user"], late["name"], late["value"])
                    self.discard(_LATE_FLAG, late["id"], recycle=False)

    # --- logs --------------------------------------------------------------------------------------------------

    def append_log(self, kind: str, body: Body, *, time: float) -> None:
        """Append a row to a log."""
        self.rows("INSERT INTO log VALUES (?, ?, ?, ?)", (body["id"], kind, time, json.dumps(body)))

    def log(self, kind: str) -> list[Body]:
        """List a log, newest first, as Graph does."""
        found = self.rows("SELECT body FROM log WHERE kind = ? ORDER BY time DESC, rowid DESC", (kind,))
        return [json.loads(row["body"]) for row in found]


def _prepare(db: sqlite3.Connection) -> None:
    """Make the tables in a new file; leave a file of another version, or of another kind, as it was."""
    if db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
        version = db.execute("PRAGMA user_version").fetchone()[0]
        if version != _VERSION:
            raise sqlite3.DatabaseError(f"its tables have version {version}, not {_VERSION}")
    else:
        db.execute("PRAGMA journal_mode=WAL")
        db.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA user_version={_VERSION}; COMMIT")
    db.execute("PRAGMA synchronous=NORMAL")
    db.execute("PRAGMA foreign_keys=ON")
    db.create_function("has_word", 2, _has_word, deterministic=True)


def _has_word(text: str, beginning: str) -> bool:
    """Return whether a word of a text begins so; words also begin at capitals, as `Web` in `DotNetWeb-App`."""
    words = re.findall(r"[A-Z]?[a-z]+|[A-Z]+|\d+", text) + re.findall(r"\w+", text)
    return any(word.lower().startswith(beginning.lower()) for word in words)

"""Write a legacy store as the table that the endpoint's default statement reads."""

from __future__ import annotations

import os
import sqlite3
import tempfile
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

from jitkit.errors import BadTable

__all__ = ["Stored", "write_table"]

Stored = tuple[str, str, str, int | str]
"""username, password_hash, status, must_change"""

_TABLE = """
CREATE TABLE legacy_users (
    username TEXT NOT NULL,
    password_hash TEXT NOT NULL,
    status TEXT NOT NULL,
    must_change INTEGER NOT NULL
)
"""
_INDEX = "CREATE INDEX legacy_users_by_key ON legacy_users (lower(trim(username)))"


def write_table(path: Path, rows: Iterable[Stored]) -> None:
    """Write the table `legacy_users` into a new database that replaces an older one in one step.

    Args:
        path: the database file; readable by its owner only.
        rows: what goes in.

    Raises:
        BadTable: the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        os.close(handle)
        unfinished = Path(name)
        try:
            _fill(unfinished, rows)
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)
    except (OSError, sqlite3.Error) as problem:
        reason = getattr(problem, "strerror", None) or type(problem).__name__
        raise BadTable(
            f"{path} cannot be written ({reason}).",
            next_step="Check that its folder is yours and has room, then run this again.",
        ) from None


def _fill(path: Path, rows: Iterable[Stored]) -> None:
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(_TABLE)
        database.executemany("INSERT INTO legacy_users VALUES (?, ?, ?, ?)", rows)
        database.execute(_INDEX)

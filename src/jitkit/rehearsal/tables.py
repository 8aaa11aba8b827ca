"""The tables of the stand-in tenant's directory, and how a file with them is opened."""

from __future__ import annotations

import re
import sqlite3
from typing import Final

# Raised whenever the tables change: a file of another version is not touched.
_VERSION: Final = 2

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
CREATE TABLE IF NOT EXISTS log (
    id TEXT PRIMARY KEY, kind TEXT NOT NULL, time REAL NOT NULL, body TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS log_by_time ON log (kind, time);
"""

# When each property of a user last changed, by a number that only grows; the name '' stands for the user coming or
# going. Triggers keep it, so that no writer can forget to: a delta query answers from it.
_NEXT: Final = "(SELECT coalesce(max(seq), 0) + 1 FROM user_changes)"
_CHANGES: Final = f"""
CREATE TABLE IF NOT EXISTS user_changes (
    user_id TEXT NOT NULL, name TEXT NOT NULL, seq INTEGER NOT NULL, PRIMARY KEY (user_id, name)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS user_changes_by_seq ON user_changes (seq);
CREATE TRIGGER IF NOT EXISTS user_made AFTER INSERT ON users BEGIN
    INSERT OR REPLACE INTO user_changes VALUES (new.id, '', {_NEXT});
END;
CREATE TRIGGER IF NOT EXISTS user_purged AFTER DELETE ON users BEGIN
    INSERT OR REPLACE INTO user_changes VALUES (old.id, '', {_NEXT});
END;
CREATE TRIGGER IF NOT EXISTS user_recycled AFTER UPDATE OF deleted ON users
WHEN (new.deleted IS NULL) <> (old.deleted IS NULL) BEGIN
    INSERT OR REPLACE INTO user_changes VALUES (new.id, '', {_NEXT});
END;
CREATE TRIGGER IF NOT EXISTS user_changed AFTER UPDATE OF upn, enabled, body ON users BEGIN
    INSERT OR REPLACE INTO user_changes SELECT new.id, name, {_NEXT} FROM (
        SELECT key AS name FROM (
            SELECT key, value, type FROM json_each(new.body) EXCEPT SELECT key, value, type FROM json_each(old.body)
        ) UNION SELECT key FROM (
            SELECT key, value, type FROM json_each(old.body) EXCEPT SELECT key, value, type FROM json_each(new.body)
        )
        UNION SELECT 'userPrincipalName' WHERE new.upn <> old.upn
        UNION SELECT 'accountEnabled' WHERE new.enabled <> old.enabled
    );
END;
"""  # noqa: S608


def prepare(db: sqlite3.Connection) -> None:
    """Make the tables in a new file, and set the connection up for them.

    Args:
        db: the connection, in autocommit mode.

    Raises:
        sqlite3.DatabaseError: the file is something else, or its tables are of another version; it is left as it was.
    """
    if db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
        version = db.execute("PRAGMA user_version").fetchone()[0]
        if version != _VERSION:
            raise sqlite3.DatabaseError(f"its tables have version {version}, not {_VERSION}")
    else:
        db.execute("PRAGMA journal_mode=WAL")
        db.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} {_CHANGES} PRAGMA user_version={_VERSION}; COMMIT")
    db.execute("PRAGMA synchronous=NORMAL")
    db.execute("PRAGMA foreign_keys=ON")
    db.create_function("has_word", 2, _has_word, deterministic=True)


def _has_word(text: str, beginning: str) -> bool:
    """Tell whether a word of a text begins so; words also begin at capitals, as `Web` in `DotNetWeb-App`."""
    words = re.findall(r"[A-Z]?[a-z]+|[A-Z]+|\d+", text) + re.findall(r"\w+", text)
    return any(word.lower().startswith(beginning.lower()) for word in words)

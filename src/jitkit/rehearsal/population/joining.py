"""Put the parts of a simulation together that lived in copies of one tenant."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from jitkit.rehearsal.directory import Directory

__all__ = ["take_over"]

_TAKE_USER: Final = """
UPDATE users SET password_hash = theirs.password_hash, force_change = theirs.force_change, failed = theirs.failed,
    locked_until = theirs.locked_until, body = theirs.body
FROM other.users AS theirs
WHERE users.id = ? AND theirs.id = users.id AND (theirs.password_hash, theirs.failed, theirs.body) <>
    (users.password_hash, users.failed, users.body)
"""


def take_over(directory: Directory, other: Path, user_ids: Iterable[str]) -> None:
    """Add the logs of a copy of a directory, and take some users as they are there.

    Args:
        directory: the directory.
        other: the copy's file, made before either had a log.
        user_ids: who lived there since.
    """
    directory.rows("ATTACH ? AS other", (str(other),))
    try:
        with directory.transaction():
            directory.rows("INSERT INTO log SELECT * FROM other.log ORDER BY time, rowid")
            directory.many(_TAKE_USER, ((id,) for id in user_ids))
    finally:
        directory.rows("DETACH other")

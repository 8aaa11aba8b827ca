"""Let the migration flag arrive late, as it may in a directory of many copies: a switch, off unless asked for."""

from __future__ import annotations

from jitkit.rehearsal.directory import Directory

__all__ = ["any_on_their_way", "later", "settle"]

_KIND = "lateFlag"


def later(directory: Directory, user_id: str, flag: str, *, due: float) -> None:
    """Note that a user's flag becomes false at a moment.

    Args:
        directory: the tenant's directory.
        user_id: whose flag.
        flag: its full name.
        due: seconds since the epoch.
    """
    directory.add(_KIND, {"user": user_id, "flag": flag, "due": due})


def any_on_their_way(directory: Directory) -> bool:
    """Tell whether a flag has been noted and not yet arrived."""
    return bool(directory.all(_KIND))


def settle(directory: Directory) -> None:
    """Write the flags that have arrived by now. Whoever reads a flag calls this first."""
    for late in directory.all(_KIND):
        if late["due"] <= directory.clock.now():
            with directory.transaction():
                directory.set_user_value(late["user"], late["flag"], False)
                directory.discard(_KIND, late["id"], recycle=False)

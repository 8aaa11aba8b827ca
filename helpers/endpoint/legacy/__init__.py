"""Legacy identity stores: one question, "is this the password?", and the words of the answer."""

from __future__ import annotations

import unicodedata
from enum import StrEnum
from typing import Protocol
from urllib.parse import urlsplit

from helpers.errors import SettingsError

__all__ = ["LegacyStore", "Verdict", "lookup_key", "open_store"]


class Verdict(StrEnum):
    """What a legacy store says about a username and a password."""

    RIGHT = "right"
    RIGHT_MUST_CHANGE = "right_must_change"
    WRONG = "wrong"
    UNKNOWN_USER = "unknown_user"
    LOCKED = "locked"
    DISABLED = "disabled"
    MFA = "mfa"
    THROTTLED = "throttled"
    DOWN = "down"
    MALFORMED = "malformed"
    AMBIGUOUS = "ambiguous"


class LegacyStore(Protocol):
    """Verify passwords against the system that customers come from."""

    kind: str
    """The store's name in the ledger."""

    async def verify(self, username: str, password: str) -> Verdict:
        """Judge a password.

        An error of the store itself is a verdict (`DOWN`, `THROTTLED`, `MALFORMED`), not an exception. The call may be
        cancelled at any await.
        """
        ...

    async def close(self) -> None:
        """Let go of connections and threads."""
        ...


def lookup_key(username: str) -> str:
    """Turn a typed or stored username into the key that both are compared by.

    NFC, then without ASCII blanks at both ends, then lower case. Plus tags, dots and accents are kept: they may tell
    two people apart. The password is never changed.
    """
    return unicodedata.normalize("NFC", username).strip(" \t\r\n\v\f").lower()


def open_store(url: str, query: str | None = None) -> LegacyStore:
    """Open the legacy store that a URL names.

    Args:
        url: `sqlite:///PATH` or `postgresql+psycopg://USER:PASSWORD@HOST/DATABASE`.
        query: for SQL stores, the statement to use instead of the default one.

    Raises:
        SettingsError: the URL or the statement cannot be used.
    """
    scheme = urlsplit(url).scheme
    if scheme in ("sqlite", "postgresql+psycopg"):
        from helpers.endpoint.legacy.sql import SqlStore

        return SqlStore(url, query)
    raise SettingsError(
        "LegacyApiConnectionString names a kind of store that the endpoint does not know.",
        next_step="Use sqlite:///PATH or postgresql+psycopg://USER:PASSWORD@HOST/DATABASE.",
    )

"""Legacy identity stores: one question, "is this the password?", and the words of the answer."""

from __future__ import annotations

import unicodedata
from enum import StrEnum
from typing import Final, Protocol, runtime_checkable
from urllib.parse import urlsplit

from jitkit.errors import SettingsError

__all__ = [
    "LegacyStore",
    "Maps",
    "Prepares",
    "Verdict",
    "can_be_sent",
    "is_other",
    "lookup_key",
    "open_store",
    "typed_name",
]

_BLANKS: Final = " \t\r\n\v\f"


class Verdict(StrEnum):
    """What a legacy store says about a username and a password."""

    RIGHT = "right"
    RIGHT_MUST_CHANGE = "right_must_change"
    WRONG = "wrong"
    UNKNOWN_USER = "unknown_user"
    LOCKED = "locked"
    DISABLED = "disabled"
    NO_PASSWORD = "no_password"  # noqa: S105
    OTHER_USER = "other_user"
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


@runtime_checkable
class Prepares(Protocol):
    """A store that can find out, before the first customer does, what will be slow or refused."""

    async def prepare(self, budget: float) -> None:
        """Warm up, and warn in the log about what will not do. Never raises.

        Args:
            budget: the seconds that a call has.
        """
        ...


@runtime_checkable
class Maps(Protocol):
    """A store that may know which directory account each of its people became."""

    async def verify_for(self, user_id: str, username: str, password: str) -> Verdict:
        """Judge a password as `verify` does; `OTHER_USER` where the store knows the person as another account.

        Args:
            user_id: the directory account's object id, as the callout names it.
            username: as typed.
            password: as typed.
        """
        ...


def is_other(known: object, user_id: str) -> bool:
    """Tell whether the object id that a store knows, if it knows one, is not the callout's."""
    text = "" if known is None else str(known).strip().lower()
    return bool(text) and text != user_id.strip().lower()


def lookup_key(username: str) -> str:
    """Turn a typed or stored username into the key that both are compared by.

    NFC, then without ASCII blanks at both ends, then lower case. Plus tags, dots and accents are kept: they may tell
    two people apart. The password is never changed.
    """
    return typed_name(username).lower()


def typed_name(username: str) -> str:
    """Turn a typed username into what a store is asked that compares names by rules of its own.

    As `lookup_key`, with capitals kept: some stores tell them apart, and the others fold them themselves.
    """
    return unicodedata.normalize("NFC", username).strip(_BLANKS)


def can_be_sent(username: str, password: str) -> bool:
    """Tell whether a store may be asked: there is a password, and both can be written as UTF-8.

    An empty password is nobody's, and some stores take it for a question without one [RFC 4513 5.1.2].
    """
    try:
        return bool(username.encode() and password.encode())
    except UnicodeEncodeError:
        return False


def open_store(url: str, query: str | None = None) -> LegacyStore:
    """Open the legacy store that a URL names.

    Args:
        url: `sqlite:///PATH`, `postgresql+psycopg://USER:PASSWORD@HOST/DATABASE`,
            `ldaps://ACCOUNT:PASSWORD@HOST/BASE`, `https://:KEY@HOST/PATH` for a JSON
            API, `oauth2+https://:SECRET@HOST/PATH?client_id=ID`, or `cognito://:SECRET@REGION/POOL?client_id=ID`. The
            module of each kind tells the whole of it.
        query: for SQL stores, the statement to use instead of the default one.

    Raises:
        SettingsError: the URL or the statement cannot be used, or a package is missing.
    """
    try:
        scheme = urlsplit(url).scheme
    except ValueError:
        scheme = ""
    match scheme:
        case "sqlite" | "postgresql+psycopg":
            from jitkit.endpoint.stores.sql import SqlStore

            return SqlStore(url, query)
        case "https" | "http":
            from jitkit.endpoint.stores.rest import RestStore

            return RestStore(url)
        case "oauth2+https" | "oauth2+http":
            from jitkit.endpoint.stores.oauth import OAuthStore

            return OAuthStore(url)
        case "ldaps" | "ldap":
            from jitkit.endpoint.stores.ldap import LdapStore

            return LdapStore(url)
        case "cognito":
            from jitkit.endpoint.stores.cognito import CognitoStore

            return CognitoStore(url)
    raise SettingsError(
        "LegacyApiConnectionString names a kind of store that the endpoint does not know.",
        next_step="Begin it with sqlite:, postgresql+psycopg:, ldaps:, https:, oauth2+https: or cognito:.",
    )

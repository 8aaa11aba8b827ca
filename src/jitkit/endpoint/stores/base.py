"""What every legacy store answers, how usernames are compared, and where passwords may be sent."""

from __future__ import annotations

import ipaddress
import tomllib
import unicodedata
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, NoReturn, Protocol, runtime_checkable
from urllib.parse import urlsplit

from jitkit.errors import SettingsError

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
    """Verify passwords against the system that users come from."""

    kind: str  # the store's name in the ledger

    async def verify(self, username: str, password: str) -> Verdict:
        """Judge a password. An error of the store itself is a verdict; the call may be cancelled at any await."""

    async def close(self) -> None:
        """Close connections and threads."""


@runtime_checkable
class Prepares(Protocol):
    """A store that can find out, before the first user signs in, what will be slow or refused."""

    async def prepare(self, budget: float) -> None:
        """Warm up, and warn in the log about what will fail in the seconds that a call has. Never raises."""


@runtime_checkable
class Maps(Protocol):
    """A store that may know which directory account each of its users became."""

    async def verify_for(self, user_id: str, username: str, password: str) -> Verdict:
        """Judge a password; `OTHER_USER` where the store knows the user as another account than the callout's."""


def is_other(known: object, user_id: str) -> bool:
    """Return whether the object id that a store knows, if it knows one, is not the callout's."""
    text = "" if known is None else str(known).strip().lower()
    return bool(text) and text != user_id.strip().lower()


def lookup_key(username: str) -> str:
    """Turn a typed or stored username into the key that both are compared by: as `typed_name`, in lower case.

    Plus tags, dots and accents are kept: they may distinguish two users. The password is never changed.
    """
    return typed_name(username).lower()


def typed_name(username: str) -> str:
    """Normalise a username for a store that compares names by its own rules: NFC, without ASCII blanks around it."""
    return unicodedata.normalize("NFC", username).strip(_BLANKS)


def can_be_sent(username: str, password: str) -> bool:
    """Return whether a store may be asked: there is a password, and both can be written as UTF-8.

    An empty password is always wrong; some stores take it for an anonymous request [RFC 4513 5.1.2].
    """
    try:
        return bool(username.encode() and password.encode())
    except UnicodeEncodeError:
        return False


def refuse_url(what: str, next_step: str) -> NoReturn:
    """Raise SettingsError about the store's URL, which may hold a password and so is never repeated."""
    raise SettingsError(f"LegacyApiConnectionString {what}.", next_step=next_step) from None


def read_answers(name: str) -> Any:
    """Read a table of `answers.toml`."""
    return tomllib.loads(Path(__file__).with_name("answers.toml").read_text(encoding="utf-8"))[name]


def is_safe_url(url: str) -> bool:
    """Return whether a URL is https, or http to this machine."""
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        return False
    if not host or parts.username or parts.password:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host))


def is_loopback(host: str) -> bool:
    """Return whether a host name or address is this machine."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False

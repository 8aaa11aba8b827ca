"""The encrypted password context: what the customer typed, and the nonce that the answer must repeat.

Sources: [how-to] for the three claims; [observed] for the unsigned token inside and its other claims.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from jitkit import protocol
from jitkit.endpoint.environment import GUID
from jitkit.endpoint.jose import SKEW, audience_is, decrypt, json_object, numeric_date, segments
from jitkit.endpoint.keys import DecryptionKey
from jitkit.endpoint.refused import Refused

__all__ = ["PasswordContext", "open_context"]

# A password has at most a few hundred characters; the observed context has about 700 bytes.
_LARGEST = 32 * 1024
_BAD: Final = 400
_LIFE: Final = 600.0  # seconds that the service gives a context [observed]
_HALF_PAIR: Final = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class PasswordContext:
    """Hold what the customer typed, for as long as one request takes.

    Args:
        username: as typed.
        password: as typed.
        nonce: a GUID, character for character as it came.
        seconds_left: how long the same context could be sent again.
        issuer: its `iss` claim, when that is text.
    """

    username: str = field(repr=False)
    password: str = field(repr=False)
    nonce: str = field(repr=False)
    seconds_left: float = field(default=0.0, repr=False)
    issuer: str | None = field(default=None, repr=False)


def open_context(
    token: str, keys: Sequence[DecryptionKey], *, audiences: Sequence[str], now: float, flat: bool = True
) -> PasswordContext:
    """Decrypt a password context and check everything that can be checked about it.

    What is inside is unsigned, and the public key is public: that the caller is Entra must be known before.

    Args:
        token: the compact JWE.
        keys: the decryption keys, current first.
        audiences: the values of `aud` that mean this endpoint.
        now: seconds since the epoch.
        flat: whether JSON in place of the inner token is accepted.

    Raises:
        Refused: status 400 and a short cause.
    """
    plaintext = decrypt(token, keys, status=_BAD, limit=_LARGEST)
    # Early samples read JSON with three members here, so only a token has to say for whom and until when it is.
    bare = flat and plaintext.lstrip()[:1] == b"{"
    claims = json_object(plaintext) if bare else _claims(plaintext)
    if claims is None:
        raise Refused(_BAD, "context_claims")
    if not (bare and "aud" not in claims) and not audience_is(claims.get("aud"), audiences):
        raise Refused(_BAD, "context_audience")
    expires = _check_times(claims, now, needed=not bare)
    username = _text(claims, protocol.CLAIM_USERNAME, "context_username")
    password = _text(claims, protocol.CLAIM_PASSWORD, "context_password")
    nonce = _text(claims, protocol.CLAIM_NONCE, "context_nonce")
    if not username.strip():
        raise Refused(_BAD, "context_username")
    if not GUID.fullmatch(nonce):
        raise Refused(_BAD, "context_nonce")
    issuer = claims.get("iss")
    return PasswordContext(username, password, nonce, expires + SKEW - now, issuer if isinstance(issuer, str) else None)


def _claims(plaintext: bytes) -> dict[str, Any] | None:
    """Read the unsigned token inside."""
    parts = segments(plaintext.decode("ascii", "replace"), 3)
    header = json_object(parts[0]) if parts else None
    if parts is None or header is None or header.get("alg") != "none" or "crit" in header or parts[2]:
        raise Refused(_BAD, "context_form")
    return json_object(parts[1])


def _check_times(claims: dict[str, Any], now: float, *, needed: bool) -> float:
    """Check the times, and return when the context expires: without that, a replay could come at any time."""
    times = {name: numeric_date(claims[name]) for name in ("exp", "nbf", "iat") if name in claims}
    for name, seconds in times.items():
        if seconds is None:
            raise Refused(_BAD, "context_claims")
        if name == "exp" and seconds < now - SKEW:
            raise Refused(_BAD, "context_expired")
        if name != "exp" and seconds > now + SKEW:
            raise Refused(_BAD, "context_not_yet_valid")
    expires = times.get("exp")
    if expires is None and needed:
        raise Refused(_BAD, "context_claims")
    return now + _LIFE if expires is None else expires


def _text(claims: dict[str, Any], name: str, cause: str) -> str:
    """Read a claim that is text, is not empty and can be written as UTF-8 (JSON may hold half a surrogate pair)."""
    value = claims.get(name)
    if not isinstance(value, str) or not value or _HALF_PAIR.search(value):
        raise Refused(_BAD, cause)
    return value

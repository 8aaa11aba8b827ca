"""Reads what Entra sends, strictly: encrypted tokens, password contexts, and the callout's body around them.

Sources: RFC 7515, RFC 7516, RFC 7519, RFC 8725. Entra sends RSA-OAEP with A128CBC-HS256, `x5t` and `zip: DEF`.
[how-to] for the body and the three claims of the password context; [observed] for the rest. The body is read by hand:
seven members are not worth a library that takes a fifth of the time to start, and no member may be given twice.
"""

from __future__ import annotations

import asyncio
import base64
import copy
import json
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from jwcrypto.common import JWException
from jwcrypto.jwe import JWE

from jitkit import protocol
from jitkit.endpoint.decision import Refused
from jitkit.endpoint.keys import DecryptionKey
from jitkit.endpoint.settings import GUID

_LATEST: Final = 1e15  # seconds: also keeps NaN, infinity and what no float can hold out
# Clocks of two honest machines differ by less [RFC 8725 leaves it to the application].
SKEW: Final = 300

_ALGS: Final = (protocol.JWE_ALG, "RSA-OAEP-256")
_ENCS: Final = (protocol.JWE_ENC, "A256CBC-HS512", "A256GCM")
_ALPHABET: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_."
_THUMBPRINT: Final = re.compile(r"[A-Za-z0-9_-]{27}")

# Making a JWE copies jwcrypto's whole header registry, a fifth of the cost of opening one; a shallow copy shares it.
_EMPTY: Final = JWE(algs=[*_ALGS, *_ENCS])
_LARGEST_CONTEXT: Final = 32 * 1024  # the observed context has about 700 bytes
_CONTEXT_LIFE: Final = 600.0  # seconds that the service gives a context [observed]
_LONGEST_LIFE: Final = 3600.0  # a context that is good for longer could be used again for as long
_HALF_PAIR: Final = re.compile("[\ud800-\udfff]")
_BAD: Final = 400


_Result = TypeVar("_Result")


def usable_cores() -> int:
    """Count the processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


_CORES: Final = usable_cores()


async def in_thread(work: Callable[[], _Result]) -> _Result:
    """Run a private-key operation in a thread, or in place on one core, where handing over costs half of it."""
    return work() if _CORES == 1 else await asyncio.to_thread(work)


def segments(token: str, count: int) -> list[str] | None:
    """Split a compact token, or return None when it is not `count` base64url segments."""
    if not token.isascii() or token.encode().translate(None, _ALPHABET):
        return None
    parts = token.split(".")
    return parts if len(parts) == count else None


def json_object(data: bytes | str) -> dict[str, Any] | None:
    """Read one JSON object, given as UTF-8 bytes or as a base64url segment; None for anything else."""
    try:
        if isinstance(data, str):
            data = base64.urlsafe_b64decode(data + "=" * (-len(data) % 4))
        value = _DECODER.decode(data.decode("utf-8"))
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse a name given twice: two readers of one token must not see two values."""
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a member is given twice")
    return value


# NaN and Infinity are not JSON: reading them as int fails.
_DECODER: Final = json.JSONDecoder(parse_constant=int, object_pairs_hook=_unique)


def numeric_date(value: object) -> float | None:
    """Read a NumericDate [RFC 7519 section 2]; None when it is not a finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not -_LATEST < value < _LATEST:
        return None
    return float(value)


def audience_is(claim: object, accepted: Sequence[str]) -> bool:
    """Return whether an `aud` claim, a string or a list of them, names one of the accepted audiences."""
    values = claim if isinstance(claim, list) else [claim]
    wanted = {name.lower() for name in accepted}
    return any(isinstance(value, str) and value.lower() in wanted for value in values)


def thumbprint_in(token: str) -> str | None:
    """Read the `x5t` header of a compact token when it has the form of one, for the ledger; nothing is verified."""
    header = json_object(token.partition(".")[0])
    value = header.get("x5t") if header else None
    return value if isinstance(value, str) and _THUMBPRINT.fullmatch(value) else None


def decrypt(token: str, keys: Sequence[DecryptionKey], *, status: int, limit: int) -> bytes:
    """Open a compact JWE with the key that its `x5t` names; `limit` bounds the plaintext after inflation.

    A key whose certificate is known serves its own `x5t` and tokens without one; a key without a certificate is
    tried for every other token, in order. What jwcrypto says of a failure may hold parts of the token, and stays here.
    """
    if segments(token, 5) is None:
        raise Refused(status, "jwe_form")
    header = json_object(token.partition(".")[0])
    if header is None or "crit" in header or header.get("zip", "DEF") != "DEF":
        raise Refused(status, "jwe_header")
    if header.get("alg") not in _ALGS or header.get("enc") not in _ENCS:
        raise Refused(status, "jwe_algorithm")
    x5t = header.get("x5t")
    named = [key for key in keys if x5t is not None and key.thumbprint == x5t]
    candidates = named or [key for key in keys if x5t is None or key.thumbprint is None]
    if not candidates:
        raise Refused(status, "unknown_key")
    for key in candidates:
        if (plaintext := _open(token, key, limit)) is not None:
            return plaintext
    raise Refused(status, "decrypt_failed")


def _open(token: str, key: DecryptionKey, limit: int) -> bytes | None:
    """Decrypt, or return None: an exception that left here would carry this frame, and the plaintext in it."""
    jwe = copy.copy(_EMPTY)
    try:
        jwe.deserialize(token)
        jwe.decrypt(key.jwk, max_plaintext=limit)
    except JWException:
        return None
    return jwe.payload if len(jwe.payload) <= limit else None


@dataclass(frozen=True)
class PasswordContext:
    """What the user typed, for as long as one request takes."""

    username: str = field(repr=False)
    password: str = field(repr=False)
    nonce: str = field(repr=False)  # a GUID, character for character as it came; the answer must repeat it
    seconds_left: float = field(default=0.0, repr=False)  # how long the same context could be sent again
    issuer: str | None = field(default=None, repr=False)


def open_context(
    token: str, keys: Sequence[DecryptionKey], *, audiences: Sequence[str], now: float, flat: bool = True
) -> PasswordContext:
    """Decrypt a password context and check all that can be checked; `flat` accepts JSON in place of the inner token.

    What is inside is unsigned, and the public key is public: that the caller is Entra must be known before.
    """
    plaintext = decrypt(token, keys, status=_BAD, limit=_LARGEST_CONTEXT)
    # Early samples read JSON with three members here, so only a token must name its audience and its end.
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
        if name == "exp" and seconds > now + _LONGEST_LIFE + SKEW:
            raise Refused(_BAD, "context_lifetime")
        if name != "exp" and seconds > now + SKEW:
            raise Refused(_BAD, "context_not_yet_valid")
    expires = times.get("exp")
    if expires is None and needed:
        raise Refused(_BAD, "context_claims")
    return now + _CONTEXT_LIFE if expires is None else expires


def _text(claims: dict[str, Any], name: str, cause: str) -> str:
    """Read a claim that is text, is not empty and can be written as UTF-8 (JSON may hold half a surrogate pair)."""
    value = claims.get(name)
    if not isinstance(value, str) or not value or _HALF_PAIR.search(value):
        raise Refused(_BAD, cause)
    return value


_Kind = TypeVar("_Kind", str, dict[str, Any])


@dataclass(frozen=True)
class Envelope:
    """What the callout's request body says."""

    tenant_id: str
    user_id: str
    password_context: str = field(repr=False)
    correlation_id: str | None
    app_id: str | None
    extension_id: str | None
    listener_id: str | None


def read_envelope(body: bytes) -> Envelope:
    """Read the request body, or raise Refused; a password that is not encrypted is a cause of its own."""
    envelope = json_object(body)
    try:
        data = _member(envelope, "data", dict)
        context = _member(data, "authenticationContext", dict)
        client = context.get("clientServicePrincipal") or {}
        read = Envelope(
            tenant_id=_member(data, "tenantId", str),
            user_id=_member(_member(context, "user", dict), "id", str),
            password_context=_member(data, "encryptedPasswordContext", str),
            correlation_id=_optional_text(context, "correlationId"),
            app_id=_optional_text(client, "appId"),
            extension_id=_optional_text(data, "customAuthenticationExtensionId"),
            listener_id=_optional_text(data, "authenticationEventListenerId"),
        )
        kinds = _member(envelope, "type", str), _member(data, "@odata.type", str)
    except ValueError:
        raise Refused(400, "plaintext_context" if b'"passwordContext"' in body else "envelope") from None
    if kinds != (protocol.EVENT_TYPE, protocol.CALLOUT_DATA_TYPE):
        raise Refused(400, "event_type")
    return read


def _member(parent: object, name: str, kind: type[_Kind]) -> _Kind:
    value = parent.get(name) if isinstance(parent, dict) else None
    if not isinstance(value, kind) or value == "":
        raise ValueError(name)
    return value


def _optional_text(parent: object, name: str) -> str | None:
    if not isinstance(parent, dict) or not isinstance(parent.get(name), str | None):
        raise ValueError(name)
    return parent.get(name)

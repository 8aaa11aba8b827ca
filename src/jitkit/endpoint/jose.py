"""Compact JOSE tokens: strict parsing, and decryption with the endpoint's keys.

Sources: RFC 7515, RFC 7516, RFC 7519, RFC 8725. Entra sends RSA-OAEP with A128CBC-HS256, `x5t` and `zip: DEF`.
"""

from __future__ import annotations

import base64
import copy
import json
import math
import re
from collections.abc import Sequence
from typing import Any, Final

from jwcrypto.common import JWException
from jwcrypto.jwe import JWE

from jitkit import protocol
from jitkit.endpoint.keys import DecryptionKey
from jitkit.endpoint.refused import Refused

__all__ = ["SKEW", "audience_is", "decrypt", "json_object", "numeric_date", "segments", "thumbprint_in"]

# Clocks of two honest machines differ by less [RFC 8725 leaves it to the application].
SKEW: Final = 300

_ALGS: Final = (protocol.JWE_ALG, "RSA-OAEP-256")
_ENCS: Final = (protocol.JWE_ENC, "A256CBC-HS512", "A256GCM")
_ALPHABET: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_."
_THUMBPRINT: Final = re.compile(r"[A-Za-z0-9_-]{27}")

# Making a JWE copies jwcrypto's whole header registry, a fifth of the cost of opening one; a shallow copy shares it.
_EMPTY: Final = JWE(algs=[*_ALGS, *_ENCS])


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


def _no_constant(_: str) -> None:
    raise ValueError("NaN and Infinity are not JSON")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse a name given twice: two readers of one token must not see two values."""
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a member is given twice")
    return value


_DECODER: Final = json.JSONDecoder(parse_constant=_no_constant, object_pairs_hook=_unique)


def numeric_date(value: object) -> float | None:
    """Read a NumericDate [RFC 7519 section 2]; None when it is not a finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        seconds = float(value)
    except OverflowError:
        return None
    return seconds if math.isfinite(seconds) else None


def audience_is(claim: object, accepted: Sequence[str]) -> bool:
    """Tell whether an `aud` claim, a string or a list of them, names one of the accepted audiences."""
    values = claim if isinstance(claim, list) else [claim]
    wanted = {name.lower() for name in accepted}
    return any(isinstance(value, str) and value.lower() in wanted for value in values)


def thumbprint_in(token: str) -> str | None:
    """Read the `x5t` header of a compact token when it has the form of one, for the ledger; nothing is verified."""
    header = json_object(token.partition(".")[0])
    value = header.get("x5t") if header else None
    return value if isinstance(value, str) and _THUMBPRINT.fullmatch(value) else None


def decrypt(token: str, keys: Sequence[DecryptionKey], *, status: int, limit: int) -> bytes:
    """Open a compact JWE with the key that its `x5t` names.

    A key whose certificate is known serves its own `x5t` and tokens without one; a key without a certificate is
    tried for every other token, in order.

    Args:
        token: five base64url segments.
        keys: current first.
        status: the HTTP status of a refusal.
        limit: bytes that the plaintext may have, after inflation.

    Raises:
        Refused: with a short cause; whatever jwcrypto said stays here, because it may hold parts of the token.
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
        plaintext = _open(token, key, limit)
        if plaintext is not None:
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
    plaintext: bytes = jwe.payload
    return plaintext if len(plaintext) <= limit else None

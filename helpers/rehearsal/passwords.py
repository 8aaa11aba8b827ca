"""How the stand-in tenant keeps passwords: salted scrypt, cheap enough for thousands of sign-ins on a laptop."""

from __future__ import annotations

import hashlib
import hmac
import os

_N, _R, _P, _LENGTH = 2**10, 8, 1, 32


def hash_password(password: str) -> str:
    """Hash a password for the directory.

    Args:
        password: the clear text.

    Returns:
        `scrypt$<salt hex>$<digest hex>`.
    """
    salt = os.urandom(16)
    return f"scrypt${salt.hex()}${_digest(password, salt).hex()}"


def matches(password: str, stored: str) -> bool:
    """Compare a password with a stored hash in constant time.

    Args:
        password: the clear text as typed.
        stored: what `hash_password` returned, or an empty string for an account without a password.

    Returns:
        Whether they match.
    """
    if not stored:
        return False
    _, salt, digest = stored.split("$")
    return hmac.compare_digest(_digest(password, bytes.fromhex(salt)), bytes.fromhex(digest))


def _digest(password: str, salt: bytes) -> bytes:
    return hashlib.scrypt(password.encode(), salt=salt, n=_N, r=_R, p=_P, dklen=_LENGTH)

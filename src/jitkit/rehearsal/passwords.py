"""How the stand-in tenant keeps passwords: salted scrypt, cheap enough for thousands of sign-ins on a laptop.

Passwords that a program invented for simulated people need no protection: they may be kept at next to no cost, so that
a hundred thousand people can sign in for a hundred days.
"""

from __future__ import annotations

import hashlib
import hmac
import os

_N, _R, _P, _LENGTH = 2**10, 8, 1, 32
_SCRYPT, _INVENTED = "scrypt", "invented"


def hash_password(password: str, *, invented: bool = False) -> str:
    """Hash a password for the directory.

    Args:
        password: the clear text.
        invented: whether a program made it up for somebody who does not exist.

    Returns:
        `scrypt$<salt hex>$<digest hex>`, or the same with `invented` and a quick digest.
    """
    kind, salt = _INVENTED if invented else _SCRYPT, os.urandom(16)
    return f"{kind}${salt.hex()}${_digest(kind, password, salt).hex()}"


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
    kind, salt, digest = stored.split("$")
    return hmac.compare_digest(_digest(kind, password, bytes.fromhex(salt)), bytes.fromhex(digest))


def is_invented(stored: str) -> bool:
    """Tell whether a hash is that of an invented password, so quick that comparing needs no thread."""
    return stored.startswith(_INVENTED)


def decoy(like: str) -> str:
    """Make a hash that takes as long to compare with as another, and that no password matches."""
    return f"{_INVENTED if is_invented(like) else _SCRYPT}${'00' * 16}${'00' * _LENGTH}"


def _digest(kind: str, password: str, salt: bytes) -> bytes:
    clear = password.encode()
    if kind == _INVENTED:
        return hashlib.sha256(salt + clear).digest()
    return hashlib.scrypt(clear, salt=salt, n=_N, r=_R, p=_P, dklen=_LENGTH)

"""How the stand-in tenant keeps passwords: salted scrypt, cheap enough for thousands of sign-ins on a laptop.

Passwords that a program invented for simulated people need no protection; they may be kept at next to no cost, so that
a hundred thousand people can sign in for a hundred days.
"""

from __future__ import annotations

import hashlib
import hmac
import os

_N, _R, _P, _LENGTH = 2**10, 8, 1, 32
INVENTED = 2
"""The cost for passwords that nobody real has."""


def hash_password(password: str, *, cost: int = _N) -> str:
    """Hash a password for the directory.

    Args:
        password: the clear text.
        cost: scrypt's N, a power of two.

    Returns:
        `scrypt$<salt hex>$<digest hex>`, with `$<cost>` at the end when it is not the usual one.
    """
    salt = os.urandom(16)
    end = "" if cost == _N else f"${cost}"
    return f"scrypt${salt.hex()}${_digest(password, salt, cost).hex()}{end}"


def cost_of(stored: str) -> int:
    """Read at which cost a hash was made; the usual one for an account without a password."""
    parts = stored.split("$")
    return int(parts[3]) if len(parts) > 3 else _N


def is_invented(stored: str) -> bool:
    """Tell whether a hash is so cheap that comparing with it needs no thread."""
    return cost_of(stored) == INVENTED


def decoy(like: str) -> str:
    """Make a hash that takes as long to compare with as another, and that no password matches."""
    cost = cost_of(like)
    return f"scrypt${'00' * 16}${'00' * _LENGTH}" + ("" if cost == _N else f"${cost}")


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
    salt, digest = stored.split("$")[1:3]
    return hmac.compare_digest(_digest(password, bytes.fromhex(salt), cost_of(stored)), bytes.fromhex(digest))


def _digest(password: str, salt: bytes, cost: int) -> bytes:
    return hashlib.scrypt(password.encode(), salt=salt, n=cost, r=_R, p=_P, dklen=_LENGTH)

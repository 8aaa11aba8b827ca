"""What a stored hash may cost. An export is data: a wrong digit in it must not stop every other sign-in."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Callable
from typing import Final

__all__ = [
    "BCRYPT_COST",
    "PBKDF2_ROUNDS",
    "PHPASS_LOG2",
    "SHA_CRYPT_ROUNDS",
    "Unusable",
    "Verifier",
    "bound_argon2",
    "bounded",
    "decoded",
    "libpass",
    "pbkdf2_matches",
    "same",
    "scrypt",
]

Verifier = Callable[[str, str], bool]
"""Takes the stored text and the password; raises whatever it likes when the text is broken."""

BCRYPT_COST: Final = 16
PBKDF2_ROUNDS: Final = 5_000_000
SHA_CRYPT_ROUNDS: Final = 1_000_000
PHPASS_LOG2: Final = 19

_ARGON2_KIB, _ARGON2_PASSES, _ARGON2_LANES = 1024 * 1024, 20, 16
_ARGON2_KIB_PASSES: Final = 4 * 1024 * 1024
_SCRYPT_BYTES, _SCRYPT_LANES, _SCRYPT_WORK = 256 * 2**20, 16, 2**30

# A digest that was cut short would fit more than one password.
_SHORTEST_DIGEST: Final = 16


class Unusable(ValueError):
    """The stored value is broken, too costly, or of a format that is not read."""


def bounded(number: str | int, most: int) -> int:
    """Check a cost: a hash that would take all day is as broken as one that cannot be read."""
    value = int(number)
    if not 0 < value <= most:
        raise Unusable("cost out of bounds")
    return value


def bound_argon2(kib: int, passes: int, lanes: int) -> None:
    """Check an Argon2 cost: memory in KiB, passes over it, lanes."""
    bounded(kib, _ARGON2_KIB)
    bounded(passes, _ARGON2_PASSES)
    bounded(lanes, _ARGON2_LANES)
    bounded(kib * passes, _ARGON2_KIB_PASSES)


def decoded(text: str) -> bytes:
    """Decode base64 of either alphabet, with its padding or without."""
    plain = text.rstrip("=").replace("-", "+").replace("_", "/")
    return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)


def same(made: bytes, digest: bytes) -> bool:
    """Compare digests in constant time; one that was cut short is broken, not wrong."""
    if len(digest) < _SHORTEST_DIGEST:
        raise Unusable("digest length")
    return hmac.compare_digest(made, digest)


def pbkdf2_matches(name: str, password: str, salt: bytes, rounds: str | int, digest: bytes) -> bool:
    """Verify PBKDF2 with HMAC over the named digest; the stored digest sets the length."""
    count = bounded(rounds, PBKDF2_ROUNDS)
    return same(hashlib.pbkdf2_hmac(name, password.encode(), salt, count, bounded(len(digest), 1024)), digest)


def scrypt(password: str, salt: bytes, *, n: int, r: int, p: int, length: int) -> bytes:
    """Derive a key with scrypt [RFC 7914], within bounds of memory and time."""
    bounded(p, _SCRYPT_LANES)
    memory = 128 * bounded(n, _SCRYPT_BYTES) * bounded(r, _SCRYPT_BYTES)
    bounded(memory, _SCRYPT_BYTES)
    bounded(memory * p, _SCRYPT_WORK)
    room = memory + 128 * r * (p + 2) + 65536  # hashlib's own limit is 32 MiB
    return hashlib.scrypt(password.encode(), salt=salt, n=n, r=r, p=p, maxmem=room, dklen=bounded(length, 1024))


def libpass(name: str, text: str, password: str) -> bool:
    """Verify with the named handler of libpass."""
    import passlib.hash

    return bool(getattr(passlib.hash, name).verify(password, text))

"""Hash a password the way old systems do, with salts from a seeded generator.

For invented data alone: the costs are far below what a real system uses, and a seeded salt is no secret.
"""

from __future__ import annotations

import base64
import hashlib
from random import Random

import bcrypt
from argon2.low_level import Type, hash_secret

SCHEMES = ("bcrypt", "argon2id", "pbkdf2-sha256", "ssha", "aspnet-v3")

_STANDARD = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_BCRYPT = "./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
_TO_BCRYPT = str.maketrans(_STANDARD, _BCRYPT)

_PBKDF2_ROUNDS = 5_000
_ASPNET_ROUNDS = 10_000
_ASPNET_SHA256 = 1


def make(scheme: str, password: str, rng: Random) -> str:
    """Hash a password.

    Args:
        scheme: one of `SCHEMES`, or empty for an account without a password.
        password: as the person types it.
        rng: where the salt comes from.

    Returns:
        the text that the legacy store keeps.
    """
    secret = password.encode()
    match scheme:
        case "bcrypt":
            # 16 bytes in base64 leave the last character's padding bits zero, as bcrypt wants them.
            salt = base64.b64encode(rng.randbytes(16)).decode().rstrip("=").translate(_TO_BCRYPT)
            return bcrypt.hashpw(secret, f"$2b$04${salt}".encode()).decode()
        case "argon2id":
            salted = hash_secret(
                secret, rng.randbytes(16), time_cost=1, memory_cost=1024, parallelism=1, hash_len=32, type=Type.ID
            )
            return salted.decode()
        case "pbkdf2-sha256":
            salt_bytes = rng.randbytes(16)
            digest = hashlib.pbkdf2_hmac("sha256", secret, salt_bytes, _PBKDF2_ROUNDS)
            return f"$pbkdf2-sha256${_PBKDF2_ROUNDS}${_adapted(salt_bytes)}${_adapted(digest)}"
        case "ssha":
            salt_bytes = rng.randbytes(8)
            digest = hashlib.sha1(secret + salt_bytes).digest()
            return "{SSHA}" + base64.b64encode(digest + salt_bytes).decode()
        case "aspnet-v3":
            salt_bytes = rng.randbytes(16)
            digest = hashlib.pbkdf2_hmac("sha256", secret, salt_bytes, _ASPNET_ROUNDS)
            numbers = (_ASPNET_SHA256, _ASPNET_ROUNDS, len(salt_bytes))
            header = b"\x01" + b"".join(number.to_bytes(4, "big") for number in numbers)
            return base64.b64encode(header + salt_bytes + digest).decode()
        case _:
            return ""


def damage(scheme: str, hashed: str) -> str:
    """Break a hash as exports do: cut at a column's width, or robbed of what a shell took for a variable."""
    if scheme == "argon2id":
        return hashed.replace("$argon2id$v=19", "")
    if scheme == "ssha":
        return hashed[:20]
    return hashed[:40]


def _adapted(raw: bytes) -> str:
    """Write base64 as the `$pbkdf2-sha256$` format does: `.` for `+`, no padding."""
    return base64.b64encode(raw).decode().rstrip("=").replace("+", ".")

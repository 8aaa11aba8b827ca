"""Hashes of one password as other systems keep them, made without the code of the endpoint under test."""

from __future__ import annotations

import base64
import hashlib
import os
from typing import Final

__all__ = ["hashes_of"]

_ITOA64: Final = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_SALT: Final = "saltsalt"


def hashes_of(password: str) -> dict[str, str]:
    """Return name to stored value; the names of values that are broken begin with `damaged`."""
    data = password.encode()
    return {
        **_crypt(data),
        **_directory(data),
        **_frameworks(data),
        "damaged-bcrypt": "$2b$04$tooshort",
        "damaged-argon2id": "$argon2id$v=19$m=64",
        "damaged-phpass": "$P$B123",
        "damaged-empty": "",
        "damaged-word": "not a hash",
    }


def _crypt(data: bytes) -> dict[str, str]:
    import bcrypt
    from argon2.low_level import Type, hash_secret

    stored = bcrypt.hashpw(data, bcrypt.gensalt(4)).decode()
    argon2id = hash_secret(
        data, os.urandom(16), time_cost=1, memory_cost=1024, parallelism=1, hash_len=32, type=Type.ID
    )
    return {
        "bcrypt": stored,
        "bcrypt-php": "$2y$" + stored[4:],
        "argon2id": argon2id.decode(),
        "phpass": f"$P$9{_SALT}" + _itoa64(_stretched("md5", data, 11)),
        "drupal": f"$S$9{_SALT}" + _itoa64(_stretched("sha512", data, 11))[:43],
    }


def _directory(data: bytes) -> dict[str, str]:
    salt = os.urandom(16)
    return {
        "plain": "{PLAIN}" + data.decode(),
        "md5": "{MD5}" + _b64(hashlib.md5(data, usedforsecurity=False).digest()),
        "sha": "{SHA}" + _b64(hashlib.sha1(data, usedforsecurity=False).digest()),
        "ssha": "{SSHA}" + _b64(hashlib.sha1(data + salt, usedforsecurity=False).digest() + salt),
    }


def _frameworks(data: bytes) -> dict[str, str]:
    salt, text = os.urandom(16), _SALT.encode()
    aspnet = hashlib.pbkdf2_hmac("sha256", data, salt, 10_000, 32)
    ab64 = _b64(hashlib.pbkdf2_hmac("sha256", data, salt, 20_000)).rstrip("=").replace("+", ".")
    return {
        "pbkdf2": f"$pbkdf2-sha256$20000${_b64(salt).rstrip('=').replace('+', '.')}${ab64}",
        "django": f"pbkdf2_sha256$20000${_SALT}${_b64(hashlib.pbkdf2_hmac('sha256', data, text, 20_000))}",
        "scrypt": f"scrypt:4096:8:1${_SALT}${hashlib.scrypt(data, salt=text, n=4096, r=8, p=1).hex()}",
        "aspnet-3": _b64(b"\x01" + b"".join(n.to_bytes(4) for n in (1, 10_000, 16)) + salt + aspnet),
        "aspnet-2": _b64(b"\x00" + salt + hashlib.pbkdf2_hmac("sha1", data, salt, 1000, 32)),
    }


def _stretched(name: str, data: bytes, log2: int) -> bytes:
    """Repeat a digest as phpass does."""
    digest = hashlib.new(name, _SALT.encode() + data, usedforsecurity=False).digest()
    for _ in range(1 << log2):
        digest = hashlib.new(name, digest + data, usedforsecurity=False).digest()
    return digest


def _itoa64(data: bytes) -> str:
    """Write bytes as crypt(3) does: three little-endian bytes in four characters."""
    text = ""
    for start in range(0, len(data), 3):
        group = data[start : start + 3]
        number = int.from_bytes(group, "little")
        text += "".join(_ITOA64[number >> shift & 63] for shift in (0, 6, 12, 18)[: len(group) + 1])
    return text


def _b64(value: bytes) -> str:
    return base64.b64encode(value).decode()

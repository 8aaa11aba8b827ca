"""Hashes of web frameworks: Django, Werkzeug (Flask) and ASP.NET Identity.

ASP.NET Identity follows `PasswordHasher.cs` of dotnet/aspnetcore.
"""

from __future__ import annotations

import base64
import hashlib
from typing import Final

from jitkit.endpoint.stores.hashes_bounds import Unusable, Verifier, decoded, pbkdf2_matches, same, scrypt
from jitkit.endpoint.stores.hashes_crypt import argon2_phc, bcrypt

__all__ = ["FRAMEWORKS", "aspnet_identity"]

_ASPNET_DIGESTS: Final = ("sha1", "sha256", "sha512")


def _django_bcrypt(text: str, password: str) -> bool:
    return bcrypt(text.removeprefix("bcrypt$"), password)


def _django_bcrypt_sha256(text: str, password: str) -> bool:
    return bcrypt(text.removeprefix("bcrypt_sha256$"), hashlib.sha256(password.encode()).hexdigest())


def _django_argon2(text: str, password: str) -> bool:
    return argon2_phc(text.removeprefix("argon2"), password)


def _django_pbkdf2(text: str, password: str) -> bool:
    scheme, rounds, salt, digest = text.split("$")
    return pbkdf2_matches(scheme.removeprefix("pbkdf2_"), password, salt.encode(), rounds, decoded(digest))


def _django_scrypt(text: str, password: str) -> bool:
    _, n, salt, r, p, encoded = text.split("$")
    digest = decoded(encoded)
    return same(scrypt(password, salt.encode(), n=int(n), r=int(r), p=int(p), length=len(digest)), digest)


def _django_salted(text: str, password: str) -> bool:
    """Verify `md5$salt$hex` and `sha1$salt$hex`, which Django wrote before 2011 and read until 5.1."""
    name, salt, digest = text.split("$")
    made = hashlib.new(name, (salt + password).encode(), usedforsecurity=False).digest()
    if len(digest) != 2 * len(made):
        raise Unusable("digest length")
    return same(made, bytes.fromhex(digest))


def _werkzeug(text: str, password: str) -> bool:
    """Verify `scrypt:N:r:p$salt$hex` and `pbkdf2:digest:rounds$salt$hex`; the salt is text."""
    method, salt, encoded = text.split("$")
    digest = bytes.fromhex(encoded)
    match method.split(":"):
        case ["scrypt", n, r, p]:
            made = scrypt(password, salt.encode(), n=int(n), r=int(r), p=int(p), length=len(digest))
            return same(made, digest)
        case ["pbkdf2", "sha1" | "sha256" | "sha512" as name, rounds]:
            return pbkdf2_matches(name, password, salt.encode(), rounds, digest)
    raise Unusable("Werkzeug method")


def aspnet_identity(text: str, password: str) -> bool:
    """Verify ASP.NET Identity: 00 is version 2, 01 is version 3 with its parameters in front, big-endian."""
    data = base64.b64decode(text, validate=True)
    if data[0] == 0 and len(data) == 49:
        name, rounds, salt, digest = "sha1", 1000, data[1:17], data[17:]
    elif data[0] == 1:
        name, rounds = _ASPNET_DIGESTS[int.from_bytes(data[1:5])], int.from_bytes(data[5:9])
        end = 13 + int.from_bytes(data[9:13])
        salt, digest = data[13:end], data[end:]
    else:
        raise Unusable("format marker")
    if len(salt) < 16:
        raise Unusable("salt length")
    return pbkdf2_matches(name, password, salt, rounds, digest)


FRAMEWORKS: Final[dict[str, Verifier]] = {
    "pbkdf2_sha256$": _django_pbkdf2,
    "pbkdf2_sha1$": _django_pbkdf2,
    "bcrypt_sha256$": _django_bcrypt_sha256,
    "bcrypt$": _django_bcrypt,
    "argon2$": _django_argon2,
    "scrypt$": _django_scrypt,
    "md5$": _django_salted,
    "sha1$": _django_salted,
    "scrypt:": _werkzeug,
    "pbkdf2:": _werkzeug,
}

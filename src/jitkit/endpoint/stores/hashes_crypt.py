"""Hashes that begin with `$`: crypt(3), PHC strings, and the PHP systems that grew from phpass."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from typing import Final

import argon2
import bcrypt as bcrypt_library

from jitkit.endpoint.stores.hashes_bounds import (
    BCRYPT_COST,
    PHPASS_LOG2,
    SHA_CRYPT_ROUNDS,
    Unusable,
    Verifier,
    bound_argon2,
    bounded,
    decoded,
    libpass,
    pbkdf2_matches,
    same,
    scrypt,
)

__all__ = ["CRYPT", "argon2_phc", "bcrypt"]

_BCRYPT: Final = re.compile(r"\$2[aby]\$(\d\d)\$[./A-Za-z0-9]{53}")
_SCRYPT: Final = re.compile(r"\$scrypt\$ln=(\d{1,2}),r=(\d{1,5}),p=(\d{1,3})\$([^$]+)\$([^$]+)")
_DRUPAL: Final = re.compile(r"\$S\$([./0-9A-Za-z])([./0-9A-Za-z]{8})([./0-9A-Za-z]{43})")
_ITOA64: Final = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_PHP_BLANKS: Final = " \t\n\r\0\v"


def bcrypt(text: str, password: str) -> bool:
    """Verify bcrypt; PHP, Ruby, Node and older Python read 72 bytes of a password."""
    match = _BCRYPT.fullmatch(text)
    if not match:  # also `$2x$`, for which the library says "wrong" to the right password
        raise Unusable("bcrypt form")
    bounded(match[1], BCRYPT_COST)
    return bcrypt_library.checkpw(password.encode()[:72], text.encode())


def argon2_phc(text: str, password: str) -> bool:
    """Verify an Argon2 PHC string of any type."""
    cost = argon2.extract_parameters(text)
    bound_argon2(cost.memory_cost, cost.time_cost, cost.parallelism)
    if cost.hash_len < 16:
        raise Unusable("digest length")
    try:
        return argon2.PasswordHasher().verify(text, password)
    except argon2.exceptions.VerifyMismatchError:  # its parent, VerificationError, means a broken hash
        return False


def _pbkdf2(text: str, password: str) -> bool:
    """Verify passlib's form, whose base64 has `.` for `+`."""
    _, scheme, rounds, salt, digest = text.split("$")
    name = scheme.partition("-")[2] or "sha1"
    if name not in ("sha1", "sha256", "sha512"):
        raise Unusable("pbkdf2 digest")
    salt, digest = salt.replace(".", "+"), digest.replace(".", "+")
    return pbkdf2_matches(name, password, decoded(salt), rounds, decoded(digest))


def _scrypt(text: str, password: str) -> bool:
    match = _SCRYPT.fullmatch(text)
    if not match:
        raise Unusable("scrypt form")
    digest = decoded(match[5])
    n, r, p = 1 << bounded(match[1], 31), int(match[2]), int(match[3])
    return same(scrypt(password, decoded(match[4]), n=n, r=r, p=p, length=len(digest)), digest)


def _sha_crypt(text: str, password: str) -> bool:
    scheme, options = text.split("$")[1:3]
    if options.startswith("rounds="):
        bounded(options.removeprefix("rounds="), SHA_CRYPT_ROUNDS)
    return libpass({"5": "sha256_crypt", "6": "sha512_crypt"}[scheme], text, password)


def _md5_crypt(text: str, password: str) -> bool:
    return libpass("apr_md5_crypt" if text.startswith("$apr1$") else "md5_crypt", text, password)


def _phpass(text: str, password: str) -> bool:
    """Verify phpass. WordPress, which writes `$P$`, trims what is typed; phpBB, which writes `$H$`, does not."""
    bounded(_ITOA64.index(text[3]), PHPASS_LOG2)
    return libpass("phpass", text, password.strip(_PHP_BLANKS) if text.startswith("$P$") else password)


def _wordpress(text: str, password: str) -> bool:
    """Verify WordPress 6.8 and later: bcrypt of a keyed digest of the trimmed password."""
    typed = password.strip(_PHP_BLANKS).encode()
    digest = hmac.digest(b"wp-sha384", typed, hashlib.sha384)
    return bcrypt(text.removeprefix("$wp"), base64.b64encode(digest).decode())


def _drupal(text: str, password: str) -> bool:
    """Verify Drupal 7 to 10.0: phpass over SHA-512, cut to 55 characters; `U` wraps an MD5 digest of Drupal 6."""
    secret = password.encode()
    if text.startswith("U"):
        text, secret = text[1:], hashlib.md5(secret, usedforsecurity=False).hexdigest().encode()
    match = _DRUPAL.fullmatch(text)
    if not match:
        raise Unusable("Drupal form")
    digest = hashlib.sha512(match[2].encode() + secret).digest()
    for _ in range(1 << bounded(_ITOA64.index(match[1]), PHPASS_LOG2)):
        digest = hashlib.sha512(digest + secret).digest()
    from passlib.utils.binary import h64

    return same(h64.encode_bytes(digest)[:43], match[3].encode())


CRYPT: Final[dict[str, Verifier]] = {
    "$2": bcrypt,
    "$wp$2y$": _wordpress,
    "$argon2": argon2_phc,
    "$pbkdf2": _pbkdf2,
    "$scrypt$": _scrypt,
    "$5$": _sha_crypt,
    "$6$": _sha_crypt,
    "$1$": _md5_crypt,
    "$apr1$": _md5_crypt,
    "$P$": _phpass,
    "$H$": _phpass,
    "$S$": _drupal,
    "U$S$": _drupal,
}

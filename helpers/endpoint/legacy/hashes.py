"""Stored password hashes: recognise the format, refuse what is hostile or broken, verify with the kept libraries.

Formats and their traps were checked against the reference libraries named beside each; ASP.NET Identity, which no
library reads, follows `PasswordHasher.cs` of dotnet/aspnetcore.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import logging
import re
from collections.abc import Callable
from typing import Final

import argon2
import bcrypt

from helpers.endpoint.legacy import Verdict

__all__ = ["check", "cost_label"]

_log = logging.getLogger(__name__)

# What a hash may cost. An export is data: a wrong digit in it must not stop every other sign-in.
_BCRYPT_COST: Final = 16
_ARGON2_KIB, _ARGON2_PASSES, _ARGON2_LANES = 1024 * 1024, 20, 16
_ARGON2_KIB_PASSES: Final = 4 * 1024 * 1024
_PBKDF2_ROUNDS: Final = 5_000_000
_SHA_CRYPT_ROUNDS: Final = 1_000_000
_PHPASS_LOG2: Final = 19

_ASCII_BLANKS: Final = " \t\r\n\v\f\0"
_ITOA64: Final = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_BCRYPT: Final = re.compile(r"\$2[aby]\$(\d\d)\$[./A-Za-z0-9]{53}")
_TAG: Final = re.compile(r"\{([A-Za-z0-9_-]+)\}")
_BASE64: Final = re.compile(r"[A-Za-z0-9+/]{40,}={0,2}")


class _Unusable(ValueError):
    """The stored value is broken, too costly, or of a format that is not read."""


def check(stored: str | None, password: str) -> Verdict:
    """Verify a password against a stored hash.

    Blanks around the stored hash are dropped: CHAR columns and CSV exports add them. The password is used as it is,
    in UTF-8, cut to 72 bytes for bcrypt as the systems that made such hashes did.

    Args:
        stored: the stored value, or None.
        password: what the customer typed.

    Returns:
        RIGHT, WRONG, DISABLED for a marker that stands for "no password", or MALFORMED.
    """
    text = (stored or "").strip(_ASCII_BLANKS)
    if _is_marker(text):
        return Verdict.DISABLED
    if not password or "\0" in password:
        return Verdict.WRONG
    try:
        return Verdict.RIGHT if _verifier(text)(text, password) else Verdict.WRONG
    except Exception as error:  # noqa: BLE001 - libraries raise IndexError, RuntimeError and more on broken data
        _log.warning("a stored hash cannot be used: %s", type(error).__name__)
        return Verdict.MALFORMED


def cost_label(stored: str) -> str:
    """Name a hash's format and cost without its salt and digest, so that hashes of equal cost share a label."""
    text = stored.strip(_ASCII_BLANKS)
    fixed = re.match(r"\$2[aby]\$\d\d|\$[PH]\$.|\{[^}]*\}", text)
    if fixed:
        return fixed.group()
    return text.rsplit("$", 2)[0] if "$" in text else text[:12]


def _is_marker(text: str) -> bool:
    """Tell whether a value says that there is no password: shadow files, Django, WordPress, directories."""
    return text in ("", "*", "x", "*LK*", "*NP*") or text.startswith("!") or text.upper().startswith("{SASL}")


def _verifier(text: str) -> Callable[[str, str], bool]:
    for start, verifier in _VERIFIERS:
        if text.startswith(start):
            return verifier
    if _BASE64.fullmatch(text):
        return _aspnet_identity
    raise _Unusable("unknown format")


def _bounded(number: str | int, most: int) -> int:
    """Check a cost: a hash that would take all day is as broken as one that cannot be read."""
    value = int(number)
    if not 0 < value <= most:
        raise _Unusable("cost out of bounds")
    return value


def _bcrypt(text: str, password: str | bytes) -> bool:
    match = _BCRYPT.fullmatch(text)
    if not match:  # also `$2x$`, for which the library says "wrong" to the right password
        raise _Unusable("bcrypt form")
    _bounded(match[1], _BCRYPT_COST)
    secret = password.encode() if isinstance(password, str) else password
    return bcrypt.checkpw(secret[:72], text.encode())


def _argon2(text: str, password: str) -> bool:
    cost = argon2.extract_parameters(text)
    _bounded(cost.memory_cost, _ARGON2_KIB)
    _bounded(cost.time_cost, _ARGON2_PASSES)
    _bounded(cost.parallelism, _ARGON2_LANES)
    _bounded(cost.memory_cost * cost.time_cost, _ARGON2_KIB_PASSES)
    try:
        return argon2.PasswordHasher().verify(text, password)
    except argon2.exceptions.VerifyMismatchError:  # its parent, VerificationError, means a broken hash
        return False


def _django(text: str, password: str) -> bool:
    scheme, _, rest = text.partition("$")
    match scheme:
        case "bcrypt":
            return _bcrypt(rest, password)
        case "bcrypt_sha256":
            return _bcrypt(rest, hashlib.sha256(password.encode()).hexdigest())
        case "argon2":
            return _argon2("$" + rest, password)
    _bounded(rest.partition("$")[0], _PBKDF2_ROUNDS)
    return _libpass(f"django_{scheme}", text, password)


def _pbkdf2(text: str, password: str) -> bool:
    scheme, rounds = text.split("$")[1:3]
    _bounded(rounds, _PBKDF2_ROUNDS)
    return _libpass(scheme.replace("-", "_"), text, password)


def _sha_crypt(text: str, password: str) -> bool:
    scheme, options = text.split("$")[1:3]
    if options.startswith("rounds="):
        _bounded(options.removeprefix("rounds="), _SHA_CRYPT_ROUNDS)
    return _libpass({"5": "sha256_crypt", "6": "sha512_crypt"}[scheme], text, password)


def _phpass(text: str, password: str) -> bool:
    _bounded(_ITOA64.index(text[3]), _PHPASS_LOG2)
    return _libpass("phpass", text, password)


def _md5_crypt(text: str, password: str) -> bool:
    return _libpass("apr_md5_crypt" if text.startswith("$apr1$") else "md5_crypt", text, password)


_LDAP: Final = {
    "SSHA": "ldap_salted_sha1",
    "SSHA256": "ldap_salted_sha256",
    "SSHA512": "ldap_salted_sha512",
    "SMD5": "ldap_salted_md5",
    "SHA": "ldap_sha1",
    "MD5": "ldap_md5",
    "PBKDF2": "ldap_pbkdf2_sha1",
    "PBKDF2-SHA256": "ldap_pbkdf2_sha256",
    "PBKDF2-SHA512": "ldap_pbkdf2_sha512",
}


def _directory(text: str, password: str) -> bool:
    """Verify an RFC 2307 value. Exports write its tag in either case, libpass reads upper case alone."""
    match = _TAG.match(text)
    if not match:
        raise _Unusable("tag")
    tag, rest = match[1].upper(), text[match.end() :]
    if tag in ("CRYPT", "ARGON2"):
        if not rest.startswith("$"):
            raise _Unusable("crypt form")
        return _verifier(rest)(rest, password)
    if tag.startswith("PBKDF2"):
        _bounded(rest.partition("$")[0], _PBKDF2_ROUNDS)
    return _libpass(_LDAP[tag], f"{{{tag}}}{rest}", password)


def _aspnet_identity(text: str, password: str) -> bool:
    data = base64.b64decode(text, validate=True)
    if data[0] == 0 and len(data) == 49:
        digest, rounds, salt, subkey = "sha1", 1000, data[1:17], data[17:]
    elif data[0] == 1:
        digest = ("sha1", "sha256", "sha512")[int.from_bytes(data[1:5])]
        rounds = _bounded(int.from_bytes(data[5:9]), _PBKDF2_ROUNDS)
        end = 13 + int.from_bytes(data[9:13])
        salt, subkey = data[13:end], data[end:]
    else:
        raise _Unusable("format marker")
    if len(salt) < 16 or len(subkey) < 16:
        raise _Unusable("salt or subkey length")
    return hmac.compare_digest(hashlib.pbkdf2_hmac(digest, password.encode(), salt, rounds, len(subkey)), subkey)


def _libpass(name: str, text: str, password: str) -> bool:
    import passlib.hash

    return bool(getattr(passlib.hash, name).verify(password, text))


_VERIFIERS: Final[tuple[tuple[str, Callable[[str, str], bool]], ...]] = (
    ("$2", _bcrypt),
    ("$argon2", _argon2),
    ("$pbkdf2", _pbkdf2),
    ("$5$", _sha_crypt),
    ("$6$", _sha_crypt),
    ("$1$", _md5_crypt),
    ("$apr1$", _md5_crypt),
    ("$P$", _phpass),
    ("$H$", _phpass),
    ("{", _directory),
    ("pbkdf2_sha256$", _django),
    ("pbkdf2_sha1$", _django),
    ("bcrypt_sha256$", _django),
    ("bcrypt$", _django),
    ("argon2$", _django),
)

"""Judge a stored password hash by its shape, without knowing the password."""

from __future__ import annotations

import base64
import binascii
import re

__all__ = ["complaint"]

# What stores write where an account has no password: shadow files, directories, Django, exports of database NULLs.
_PLACEHOLDERS = {"null", "none", "nil", "\\n", "*", "x", "*lk*", "*np*", "{sasl}"}

_BCRYPT = re.compile(r"\$2[aby]\$(0[4-9]|[12]\d|3[01])\$[./A-Za-z0-9]{53}")
_ARGON2 = re.compile(r"\$argon2(id|i|d)(\$v=\d+)?\$m=\d+,t=\d+,p=\d+\$[A-Za-z0-9+/]{11,}\$[A-Za-z0-9+/]{16,}")
_PBKDF2 = re.compile(r"\$pbkdf2(-sha1|-sha256|-sha512)?\$\d+\$[A-Za-z0-9./]*\$([A-Za-z0-9./]+)")
_PBKDF2_DIGEST = {None: 27, "-sha1": 27, "-sha256": 43, "-sha512": 86}
_LDAP = re.compile(r"\{(S?SHA|S?SHA256|S?SHA512|S?MD5)\}(.*)", re.IGNORECASE)
_LDAP_DIGEST = {"MD5": 16, "SHA": 20, "SHA256": 32, "SHA512": 64}
_KNOWN_TAG = re.compile(
    r"\$(1|2[abxy]|5|6|7|y|gy|apr1|md5|sha1|P|H|S|wp|argon2(id|i|d)|pbkdf2(-sha\d+)?|scrypt|bcrypt-sha256)\$"
)

_DAMAGED = "The hash is cut off or damaged."


def complaint(stored: str) -> str:
    """Say what is wrong with a stored hash.

    Args:
        stored: the hash, without the blanks around it.

    Returns:
        one sentence that holds no part of the hash, or an empty string when nothing can be said against it.
    """
    if not stored:
        return "There is no password hash."
    if stored.lower() in _PLACEHOLDERS or stored.startswith("!"):
        return "The hash is a placeholder: the account has no password."
    if stored.startswith("$2"):
        return "" if _BCRYPT.fullmatch(stored) else _DAMAGED
    if stored.startswith("$argon2"):
        return "" if _ARGON2.fullmatch(stored) else _DAMAGED
    if stored.startswith("$pbkdf2"):
        found = _PBKDF2.fullmatch(stored)
        return "" if found and len(found[2]) == _PBKDF2_DIGEST[found[1]] else _DAMAGED
    if stored.startswith("$") and not _KNOWN_TAG.match(stored):
        return "The hash begins like none that is known: a shell may have taken a part for a variable."
    if found := _LDAP.fullmatch(stored):
        return _ldap(found[1].upper(), found[2])
    if stored.startswith("AQAAAA"):
        return _aspnet(stored)
    return ""


def _ldap(tag: str, encoded: str) -> str:
    """RFC 2307 values: the digest, and behind it the salt where the tag begins with an S of its own."""
    raw = _decoded(encoded)
    salted = tag.removeprefix("S") in _LDAP_DIGEST
    size = _LDAP_DIGEST[tag.removeprefix("S") if salted else tag]
    whole = raw is not None and (len(raw) > size if salted else len(raw) == size)
    return "" if whole else _DAMAGED


def _aspnet(stored: str) -> str:
    """ASP.NET Identity v3: 01, function, rounds and salt length as big-endian u32, salt, at least 16 bytes of key."""
    raw = _decoded(stored)
    if raw is None or len(raw) < 13:
        return _DAMAGED
    salt = int.from_bytes(raw[9:13], "big")
    return "" if salt >= 16 and len(raw) - 13 - salt >= 16 else _DAMAGED


def _decoded(encoded: str) -> bytes | None:
    try:
        return base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        return None

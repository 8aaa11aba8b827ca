"""Hashes that begin with a tag: RFC 2307 directories, Atlassian, and plain digests that a statement tags."""

from __future__ import annotations

import hashlib
import hmac
import re
from typing import Final

from jitkit.endpoint.stores.hashes_bounds import Unusable, Verifier, decoded, libpass, pbkdf2_matches, same

__all__ = ["DIRECTORY"]

_TAG: Final = re.compile(r"\{([A-Za-z0-9_-]{1,20})\}")
_HEX: Final = re.compile(r"[0-9a-fA-F]+")
_DIGESTS: Final = {"MD5": "md5", "SHA": "sha1", "SHA1": "sha1", "SHA256": "sha256", "SHA512": "sha512"}
_SALTED: Final = {"SMD5": "md5", "SSHA": "sha1", "SSHA1": "sha1", "SSHA256": "sha256", "SSHA512": "sha512"}
_PLAIN: Final = ("PLAIN", "CLEAR", "CLEARTEXT", "NOOP")


def _tagged(text: str, password: str) -> bool:
    """Verify a tagged value. Exports write the tag in either case."""
    match = _TAG.match(text)
    if not match:
        raise Unusable("tag")
    tag, rest = match[1].upper(), text[match.end() :]
    if tag in _SALTED:
        return _salted(_SALTED[tag], rest, password)
    if tag in _DIGESTS:
        return _digest(_DIGESTS[tag], rest, password)
    if tag in _PLAIN:
        return hmac.compare_digest(_not_empty(rest).encode(), password.encode())
    if tag.partition("-")[0] == "PBKDF2":
        return _pbkdf2(tag.partition("-")[2].lower() or "sha1", rest, password)
    if tag == "PKCS5S2":
        return libpass("atlassian_pbkdf2_sha1", f"{{PKCS5S2}}{rest}", password)
    raise Unusable("unknown tag")


def _salted(name: str, rest: str, password: str) -> bool:
    """Verify digest and salt in one: whatever follows the digest is salt, of any length."""
    data, size = decoded(rest), hashlib.new(name, usedforsecurity=False).digest_size
    digest, salt = data[:size], data[size:]
    if len(digest) != size or not salt:
        raise Unusable("digest or salt length")
    return same(hashlib.new(name, password.encode() + salt, usedforsecurity=False).digest(), digest)


def _digest(name: str, rest: str, password: str) -> bool:
    made = hashlib.new(name, password.encode(), usedforsecurity=False).digest()
    is_hex = len(rest) == 2 * len(made) and _HEX.fullmatch(rest)
    digest = bytes.fromhex(rest) if is_hex else decoded(rest)
    if len(digest) != len(made):
        raise Unusable("digest length")
    return same(made, digest)


def _pbkdf2(name: str, rest: str, password: str) -> bool:
    if name not in ("sha1", "sha256", "sha512"):
        raise Unusable("pbkdf2 digest")
    rounds, salt, digest = rest.replace(".", "+").split("$")
    return pbkdf2_matches(name, password, decoded(salt), rounds, decoded(digest))


def _not_empty(rest: str) -> str:
    if not rest:
        raise Unusable("empty")
    return rest


DIRECTORY: Final[dict[str, Verifier]] = {f"{{{letter}": _tagged for letter in "CcMmNnPpSs"}

"""Verifies passwords against stored hashes: recognises the format, refuses what is hostile or broken, compares.

Formats and their pitfalls were checked against the reference libraries of the systems that write them. An export is
data: a wrong digit in it must not stop every other sign-in, so every cost has a bound here. argon2-cffi, bcrypt and
libpass read what they know and bound nothing; the rest, and what they read too narrowly, is read here over hashlib.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import hmac
import json
import logging
import re
from collections.abc import Callable
from typing import Any, Final

import argon2
import bcrypt
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import CTR

from jitkit.endpoint.stores.base import Verdict

_log = logging.getLogger(__name__)

# Takes the stored text and the password; raises any exception when the text is broken.
Verifier = Callable[[str, str], bool]

# No user types more; some formats take time that grows with the password.
_LONGEST_PASSWORD: Final = 4096
_BCRYPT_COST, _PBKDF2_ROUNDS, _SHA_CRYPT_ROUNDS, _PHPASS_LOG2 = 16, 5_000_000, 1_000_000, 19
_ARGON2_KIB, _ARGON2_PASSES, _ARGON2_LANES, _ARGON2_KIB_PASSES = 1024 * 1024, 20, 16, 4 * 1024 * 1024
_SCRYPT_BYTES, _SCRYPT_LANES, _SCRYPT_WORK = 256 * 2**20, 16, 2**30
# A digest that was cut short would fit more than one password.
_SHORTEST_DIGEST, _LONGEST_DIGEST = 16, 1024
_ASCII_BLANKS: Final = " \t\r\n\v\f\0"
# What an export holds in place of a hash: no password was set (exports, Django's "!" with random letters, shadow
# files), or the password is locked or kept elsewhere.
_NO_PASSWORD: Final = re.compile(r"|\*(?:np\*)?|null|none|nil|\\n|![a-z0-9]*", re.IGNORECASE)
_NOT_HERE: Final = re.compile(r"x|\*lk\*|!.*|\{sasl\}.*", re.IGNORECASE | re.DOTALL)
_ASPNET: Final = re.compile(r"[A-Za-z0-9+/]{40,}={0,2}")

# Tags that only announce what follows: RFC 2307 directories, and Spring Security's delegating encoder.
_ANNOUNCED: Final = re.compile(r"\{(?:crypt|argon2|bcrypt)(?:@[^}]*)?\}(?=\$)", re.IGNORECASE)
_COST: Final = re.compile(
    r"(?:bcrypt(?:_sha256)?\$|\$wp)?\$2[aby]\$\d\d|(?:U?\$S|\$P|\$H)\$.|\$(?:scrypt|firescrypt)\$[^$]*"
    r"|\$fbscrypt\$v=1,n=\d+,r=\d+,p=\d+|scrypt\$\d+|\{[^}\"]+\}\d*|(?:md5|sha1)\$|AA"
)

# What libpass reads, once its rounds were compared with a bound.
_LIBPASS: Final = (
    *("pbkdf2_sha1", "pbkdf2_sha256", "pbkdf2_sha512", "ldap_pbkdf2_sha1", "ldap_pbkdf2_sha256", "ldap_pbkdf2_sha512"),
    *("atlassian_pbkdf2_sha1", "sha256_crypt", "sha512_crypt", "md5_crypt", "apr_md5_crypt", "phpass"),
)
_WITH_ROUNDS: Final = ("$pbkdf2", "{PBKDF2", "$5$rounds", "$6$rounds")
_ROUNDS: Final = re.compile(r"(?:\$pbkdf2[^$]*\$|\{PBKDF2[^}]*\}|\$[56]\$rounds=)(\d+)\$.*", re.DOTALL)
_PADDING: Final = re.compile(r"=+(?=\$|$)")
_PHP_BLANKS: Final = " \t\n\r\0\v"
_ITOA64: Final = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_BCRYPT: Final = re.compile(r"\$2[aby]\$(\d\d)\$[./A-Za-z0-9]{53}")  # not `$2x$`, which the library reads wrongly
_SCRYPT: Final = re.compile(r"\$scrypt\$ln=(\d{1,2}),r=(\d{1,5}),p=(\d{1,3})\$([^$]+)\$([^$]+)")
_DRUPAL: Final = re.compile(r"\$S\$([./0-9A-Za-z])([./0-9A-Za-z]{8})([./0-9A-Za-z]{43})")
_TAG: Final = re.compile(r"\{([A-Za-z0-9_-]{1,20})\}(.*)", re.DOTALL)
_DIGESTS: Final = {"MD5": "md5", "SHA": "sha1", "SHA1": "sha1", "SHA256": "sha256", "SHA512": "sha512"}
_SALTED: Final = {"SMD5": "md5"} | {f"S{tag}": name for tag, name in _DIGESTS.items() if tag != "MD5"}
_PLAIN: Final = ("PLAIN", "CLEAR", "CLEARTEXT", "NOOP")
_KEYCLOAK_STARTS: Final = ('{"', "{ ", "{\n")
_KEYCLOAK_COST: Final = re.compile(r"(?:algorithm|hashIterations|memory)\W+([\w-]{1,20})")
_KEYCLOAK_PBKDF2: Final = {"pbkdf2": "sha1", "pbkdf2-sha256": "sha256", "pbkdf2-sha512": "sha512"}
_ARGON2_TYPES: Final = {"d": argon2.low_level.Type.D, "i": argon2.low_level.Type.I, "id": argon2.low_level.Type.ID}
_ARGON2_VERSIONS: Final = {"1.0": 16, "1.3": 19}
_FIREBASE: Final = {
    "$firescrypt$": re.compile(  # as Ory writes it
        r"\$firescrypt\$ln=(?P<n>\d{1,2}),r=(?P<r>\d{1,5}),p=(?P<p>\d{1,3})"
        r"\$(?P<salt>[^$]+)\$(?P<digest>[^$]+)\$(?P<separator>[^$]*)\$(?P<key>[^$]+)"
    ),
    "$fbscrypt$": re.compile(  # as Supabase writes it
        r"\$fbscrypt\$v=1,n=(?P<n>\d{1,2}),r=(?P<r>\d{1,5}),p=(?P<p>\d{1,3})"
        r"(?:,ss=(?P<separator>[^,$]*))?,sk=(?P<key>[^,$]+)\$(?P<salt>[^$]+)\$(?P<digest>[^$]+)"
    ),
}


def check(stored: str | None, password: str) -> Verdict:
    """Verify a password against a stored hash: RIGHT, WRONG, MALFORMED, or NO_PASSWORD or DISABLED for a marker."""
    text = (stored or "").strip(_ASCII_BLANKS)  # CHAR columns and CSV exports add blanks
    if _NO_PASSWORD.fullmatch(text):
        return Verdict.NO_PASSWORD
    if _NOT_HERE.fullmatch(text):
        return Verdict.DISABLED
    try:
        secret = password.encode()
    except UnicodeEncodeError:  # a lone surrogate
        return Verdict.WRONG
    if not 0 < len(secret) <= _LONGEST_PASSWORD or b"\0" in secret:  # no system takes these for a password
        return Verdict.WRONG
    try:
        text = _ANNOUNCED.sub("", text, count=1)
        return Verdict.RIGHT if _verifier(text)(text, password) else Verdict.WRONG
    except Exception as error:  # noqa: BLE001 - libraries raise IndexError, RuntimeError and more on broken data
        _log.warning("a stored hash cannot be used: %s", type(error).__name__)
        return Verdict.MALFORMED


def cost_label(stored: str) -> str:
    """Name a hash's format and cost without its salt and digest, so that hashes of equal cost share a label."""
    text = _ANNOUNCED.sub("", stored.strip(_ASCII_BLANKS), count=1)
    if text.startswith(_KEYCLOAK_STARTS):
        return " ".join(["keycloak", *sorted(_KEYCLOAK_COST.findall(text), reverse=True)])
    if fixed := _COST.match(text):
        return fixed.group()
    # ASP.NET Identity v3: its first nine bytes are format, function and rounds.
    return text.rsplit("$", 2)[0] if "$" in text else text[:12]


def _verifier(text: str) -> Verifier:
    for start, verifier in _VERIFIERS.items():
        if text.startswith(start):
            return verifier
    if _ASPNET.fullmatch(text):
        return _aspnet_identity
    raise ValueError("unknown format")


def _bounded(number: str | int, most: int) -> int:
    """Check a cost: a hash that would take all day is as broken as one that cannot be read."""
    value = int(number)
    if not 0 < value <= most:
        raise ValueError("cost out of bounds")
    return value


def _bound_argon2(kib: int, passes: int, lanes: int) -> None:
    _bounded(kib * _bounded(passes, _ARGON2_PASSES), _ARGON2_KIB_PASSES)
    _bounded(kib, _ARGON2_KIB)
    _bounded(lanes, _ARGON2_LANES)


def _matched(pattern: re.Pattern[str], text: str) -> re.Match[str]:
    match = pattern.fullmatch(text)
    if not match:
        raise ValueError("form")
    return match


def _decoded(text: str) -> bytes:
    """Decode base64 of either alphabet, with its padding or without."""
    plain = text.rstrip("=").replace("-", "+").replace("_", "/")
    return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)


def _same(made: bytes, digest: bytes) -> bool:
    """Compare digests in constant time; one that was cut short is broken, not wrong."""
    if len(digest) < _SHORTEST_DIGEST:
        raise ValueError("digest length")
    return hmac.compare_digest(made, digest)


def _digest(name: str, secret: bytes) -> bytes:
    return hashlib.new(name, secret, usedforsecurity=False).digest()


def _pbkdf2_matches(name: str, password: str, salt: bytes, rounds: str | int, digest: bytes) -> bool:
    """Verify PBKDF2 with HMAC over the named digest; the stored digest sets the length."""
    count, length = _bounded(rounds, _PBKDF2_ROUNDS), _bounded(len(digest), _LONGEST_DIGEST)
    return _same(hashlib.pbkdf2_hmac(name, password.encode(), salt, count, length), digest)


def _scrypt(password: str, salt: bytes, n: int, r: int, p: int, length: int) -> bytes:
    """Derive a key with scrypt [RFC 7914], within bounds of memory and time."""
    _bounded(p, _SCRYPT_LANES)
    memory = 128 * _bounded(n, _SCRYPT_BYTES) * _bounded(r, _SCRYPT_BYTES)
    _bounded(memory, _SCRYPT_BYTES)
    _bounded(memory * p, _SCRYPT_WORK)
    room = memory + 128 * r * (p + 2) + 65536  # hashlib's own limit is 32 MiB
    length = _bounded(length, _LONGEST_DIGEST)
    return hashlib.scrypt(password.encode(), salt=salt, n=n, r=r, p=p, maxmem=room, dklen=length)


@functools.cache
def _libpass_context() -> Any:
    from passlib.context import CryptContext  # not at the start, which it would slow down: many stores need none

    return CryptContext(_LIBPASS)


def _libpass(text: str, password: str) -> bool:
    if text.startswith(_WITH_ROUNDS):
        most = _SHA_CRYPT_ROUNDS if text[1] in "56" else _PBKDF2_ROUNDS
        _bounded(_matched(_ROUNDS, text)[1], most)
    if text.startswith(("$P$", "$H$")):
        _bounded(_ITOA64.index(text[3]), _PHPASS_LOG2)
    if text.startswith("$P$"):  # WordPress trims what is typed; phpBB, which writes `$H$`, does not
        password = password.strip(_PHP_BLANKS)
    return bool(_libpass_context().verify(password, _PADDING.sub("", text)))


def _bcrypt(text: str, password: str) -> bool:
    """Verify bcrypt; PHP, Ruby, Node and older Python read 72 bytes of a password."""
    _bounded(_matched(_BCRYPT, text)[1], _BCRYPT_COST)
    return bcrypt.checkpw(password.encode()[:72], text.encode())


def _argon2(text: str, password: str) -> bool:
    """Verify an Argon2 PHC string of any type."""
    cost = argon2.extract_parameters(text)
    _bound_argon2(cost.memory_cost, cost.time_cost, cost.parallelism)
    if cost.hash_len < _SHORTEST_DIGEST:
        raise ValueError("digest length")
    try:
        return argon2.PasswordHasher().verify(text, password)
    except argon2.exceptions.VerifyMismatchError:  # its parent, VerificationError, means a broken hash
        return False


def _scrypt_phc(text: str, password: str) -> bool:
    """Verify scrypt as a PHC string: libpass bounds no memory, and reads digests of 32 bytes alone."""
    match = _matched(_SCRYPT, text)
    n, digest = 1 << _bounded(match[1], 31), _decoded(match[5])
    return _same(_scrypt(password, _decoded(match[4]), n, int(match[2]), int(match[3]), len(digest)), digest)


def _wordpress(text: str, password: str) -> bool:
    """Verify WordPress 6.8 and later: bcrypt of a keyed digest of the trimmed password."""
    digest = hmac.digest(b"wp-sha384", password.strip(_PHP_BLANKS).encode(), hashlib.sha384)
    return _bcrypt(text.removeprefix("$wp"), base64.b64encode(digest).decode())


def _drupal(text: str, password: str) -> bool:
    """Verify Drupal 7 to 10.0: phpass over SHA-512, cut to 55 characters; `U` wraps an MD5 digest of Drupal 6."""
    secret = password.encode()
    if text.startswith("U"):
        text, secret = text[1:], _digest("md5", secret).hex().encode()
    match = _matched(_DRUPAL, text)
    digest = hashlib.sha512(match[2].encode() + secret).digest()
    for _ in range(1 << _bounded(_ITOA64.index(match[1]), _PHPASS_LOG2)):
        digest = hashlib.sha512(digest + secret).digest()
    from passlib.utils.binary import h64

    return _same(h64.encode_bytes(digest)[:43], match[3].encode())


def _tagged(text: str, password: str) -> bool:
    """Verify a tagged value. Exports write the tag in either case; what follows a salted digest is salt, of any length.

    Digests are read here: libpass takes no hex, no base64 without padding, and no salt of more than 16 bytes.
    """
    tag, rest = _matched(_TAG, text).groups()
    tag = tag.upper()
    if tag in _PLAIN and rest:
        return hmac.compare_digest(rest.encode(), password.encode())
    name = _SALTED.get(tag) or _DIGESTS.get(tag)
    if name is None:
        return _libpass(f"{{{tag.removesuffix('-SHA1')}}}{rest}", password)
    size = hashlib.new(name, usedforsecurity=False).digest_size
    is_hex = tag in _DIGESTS and len(rest) == 2 * size and re.fullmatch(r"[0-9a-fA-F]+", rest)
    data = bytes.fromhex(rest) if is_hex else _decoded(rest)
    digest, salt = data[:size], data[size:]
    if len(digest) != size or bool(salt) != (tag in _SALTED):
        raise ValueError("digest or salt length")
    return _same(_digest(name, password.encode() + salt), digest)


def _django(text: str, password: str) -> bool:
    """Verify Django's formats around bcrypt, Argon2, PBKDF2, scrypt and, before 2011, salted digests.

    They are read here: libpass takes no salt with other characters than letters and digits, which imports hold.
    """
    scheme, _, rest = text.partition("$")
    match scheme, rest.split("$"):
        case "bcrypt", _:
            return _bcrypt(rest, password)
        case "bcrypt_sha256", _:
            return _bcrypt(rest, hashlib.sha256(password.encode()).hexdigest())
        case "argon2", _:
            return _argon2(f"${rest}", password)
        case (("pbkdf2_sha256" | "pbkdf2_sha1"), [rounds, salt, digest]):
            name = scheme.removeprefix("pbkdf2_")
            return _pbkdf2_matches(name, password, salt.encode(), rounds, _decoded(digest))
        case "scrypt", [n, salt, r, p, digest]:
            stored = _decoded(digest)
            return _same(_scrypt(password, salt.encode(), int(n), int(r), int(p), len(stored)), stored)
        case (("md5" | "sha1"), [salt, digest]):
            made = _digest(scheme, (salt + password).encode())
            if len(digest) == 2 * len(made):
                return _same(made, bytes.fromhex(digest))
    raise ValueError("Django form")


def _werkzeug(text: str, password: str) -> bool:
    """Verify `scrypt:N:r:p$salt$hex` and `pbkdf2:digest:rounds$salt$hex` (Flask); the salt is text."""
    method, salt, encoded = text.split("$")
    digest = bytes.fromhex(encoded)
    match method.split(":"):
        case ["scrypt", n, r, p]:
            return _same(_scrypt(password, salt.encode(), int(n), int(r), int(p), len(digest)), digest)
        case ["pbkdf2", "sha1" | "sha256" | "sha512" as name, rounds]:
            return _pbkdf2_matches(name, password, salt.encode(), rounds, digest)
    raise ValueError("Werkzeug method")


def _aspnet_identity(text: str, password: str) -> bool:
    """Verify ASP.NET Identity, version 2 (00) and 3 (01) [`PasswordHasher.cs` of dotnet/aspnetcore]."""
    data = base64.b64decode(text, validate=True)
    if data[0] == 0 and len(data) == 49:
        name, rounds, salt, digest = "sha1", 1000, data[1:17], data[17:]
    elif data[0] == 1:
        name, rounds = ("sha1", "sha256", "sha512")[int.from_bytes(data[1:5])], int.from_bytes(data[5:9])
        end = 13 + int.from_bytes(data[9:13])
        salt, digest = data[13:end], data[end:]
    else:
        raise ValueError("format marker")
    if len(salt) < 16:
        raise ValueError("salt length")
    return _pbkdf2_matches(name, password, salt, rounds, digest)


def _keycloak(text: str, password: str) -> bool:
    """Verify a Keycloak credential with `secretData` and `credentialData`, JSON usually inside a string."""
    credential = json.loads(text)
    secret, data = _keycloak_part(credential, "secretData"), _keycloak_part(credential, "credentialData")
    digest, salt, rounds = _decoded(secret["value"]), _decoded(secret["salt"]), data["hashIterations"]
    algorithm = data["algorithm"]
    if algorithm in _KEYCLOAK_PBKDF2:
        return _pbkdf2_matches(_KEYCLOAK_PBKDF2[algorithm], password, salt, rounds, digest)
    if algorithm != "argon2":
        raise ValueError("Keycloak algorithm")
    more = {name: values[0] for name, values in data["additionalParameters"].items()}
    memory, lanes = int(more["memory"]), int(more["parallelism"])
    _bound_argon2(memory, int(rounds), lanes)
    kind, version = _ARGON2_TYPES[more["type"]], _ARGON2_VERSIONS[more["version"]]
    length = _bounded(len(digest), _LONGEST_DIGEST)
    derive = argon2.low_level.hash_secret_raw
    return _same(derive(password.encode(), salt, int(rounds), memory, lanes, length, kind, version), digest)


def _keycloak_part(credential: dict[str, Any], name: str) -> dict[str, Any]:
    value = credential[name]
    part = json.loads(value) if isinstance(value, str) else value
    if not isinstance(part, dict):
        raise ValueError("Keycloak form")
    return part


def _firebase(text: str, password: str) -> bool:
    """Verify Firebase's scrypt: the derived key encrypts the project's signer key [firebase/scrypt]."""
    match = _matched(_FIREBASE[text[: text.index("$", 1) + 1]], text)
    salt = _decoded(match["salt"]) + _decoded(match["separator"] or "")
    key = _scrypt(password, salt, 1 << _bounded(match["n"], 31), int(match["r"]), int(match["p"]), 32)
    encryptor = Cipher(AES256(key), CTR(bytes(16))).encryptor()
    return _same(encryptor.update(_decoded(match["key"])) + encryptor.finalize(), _decoded(match["digest"]))


# By how a stored value begins. ASP.NET Identity, which is bare base64, comes after all of these.
_VERIFIERS: Final[dict[str, Verifier]] = {
    "$2": _bcrypt,
    "$wp$2y$": _wordpress,
    "$argon2": _argon2,
    "$scrypt$": _scrypt_phc,
    "$S$": _drupal,
    "U$S$": _drupal,
    **dict.fromkeys(("$P$", "$H$", "$pbkdf2", "$5$", "$6$", "$1$", "$apr1$"), _libpass),
    **dict.fromkeys(("pbkdf2_", "bcrypt_sha256$", "bcrypt$", "argon2$", "scrypt$", "md5$", "sha1$"), _django),
    **dict.fromkeys(("scrypt:", "pbkdf2:"), _werkzeug),
    **dict.fromkeys(_FIREBASE, _firebase),
    **dict.fromkeys(_KEYCLOAK_STARTS, _keycloak),
    **dict.fromkeys((f"{{{letter}" for letter in "CcMmNnPpSs"), _tagged),
}

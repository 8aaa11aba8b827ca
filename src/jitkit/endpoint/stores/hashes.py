"""Verifies passwords against stored hashes: recognises the format, refuses what is hostile or broken, compares.

`problem` says beforehand whether a hash can be checked: who imports an export and who checks it read hashes alike.
Formats and their pitfalls were checked against the reference libraries of the systems that write them. An export is
data: a wrong digit in it must not stop every other sign-in, so every cost has a bound here. argon2-cffi, bcrypt and
libpass read what they know and bound nothing; the rest, and what they read too narrowly, is read here over hashlib.
"""

from __future__ import annotations

import base64
import contextlib
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

# Compares a password with the hash that was read.
Matcher = Callable[[str], bool]
# Reads a stored text whole; raises any exception when it is broken.
Reader = Callable[[str], Matcher]

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

# What only announces what follows: tags of directories, of Spring Security and of Dovecot; Nextcloud's version.
_ANNOUNCED: Final = re.compile(
    r"(?:\{(?:crypt|bcrypt|argon2(?:id?)?|blf-crypt|(?:sha256|sha512|md5)-crypt)(?:@[^}]*)?\}|[1-3]\|)(?=\$)",
    re.IGNORECASE,
)
# A value of userPassword as an LDIF holds it: base64 of a tagged value.
_LDIF: Final = re.compile(r"e[0-3][A-Za-z0-9+/]+={0,2}")
_BARE: Final = re.compile(r"(?:[0-9a-fA-F]{32}|[0-9a-fA-F]{40}|[0-9a-fA-F]{64}|[0-9a-fA-F]{96}|[0-9a-fA-F]{128})")
_JSON: Final = re.compile(r"\{\s*\"")
_COST: Final = re.compile(
    r"(?:bcrypt(?:_sha256)?\$|\$wp)?\$2[aby]\$\d\d|(?:U?\$S|\$P|\$H)\$.|\$(?:scrypt|firescrypt)\$[^$]*"
    r"|\$fbscrypt\$v=1,n=\d+,r=\d+,p=\d+|scrypt\$\d+|\{[^}\"]+\}\d*|(?:md5|sha1|sha256|sha512)\$|AA"
)

# What libpass reads, once its rounds were compared with a bound.
_LIBPASS: Final = (
    *("pbkdf2_sha1", "pbkdf2_sha256", "pbkdf2_sha512"),
    *("atlassian_pbkdf2_sha1", "sha256_crypt", "sha512_crypt", "md5_crypt", "apr_md5_crypt", "phpass"),
)
_WITH_ROUNDS: Final = ("$pbkdf2", "$5$rounds", "$6$rounds")
_ROUNDS: Final = re.compile(r"(?:\$pbkdf2[^$]*\$|\$[56]\$rounds=)(\d+)\$.*", re.DOTALL)
_PADDING: Final = re.compile(r"=+(?=\$|$)")
_PHP_BLANKS: Final = " \t\n\r\0\v"
_ITOA64: Final = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
# Not `$2x$`, which the library reads wrongly. The last letter of the salt carries two bits.
_BCRYPT: Final = re.compile(r"\$2[aby]\$(0[4-9]|[1-3]\d)\$[./A-Za-z0-9]{21}[.Oeu][./A-Za-z0-9]{31}")
_SCRYPT: Final = re.compile(r"\$scrypt\$ln=(\d{1,2}),r=(\d{1,5}),p=(\d{1,3})\$([^$]+)\$([^$]+)")
_DRUPAL: Final = re.compile(r"\$S\$([./0-9A-Za-z])([./0-9A-Za-z]{8})([./0-9A-Za-z]{43})")
_TAG: Final = re.compile(r"\{([A-Za-z0-9_.-]{1,20})\}(.*)", re.DOTALL)
_DIGESTS: Final = {
    **{"MD5": "md5", "PLAIN-MD5": "md5", "LDAP-MD5": "md5", "SHA": "sha1", "SHA1": "sha1"},
    **{f"SHA{dash}{size}": f"sha{size}" for dash in ("", "-") for size in (224, 256, 384, 512)},
}
_SALTED: Final = {"SMD5": "md5"} | {f"S{tag}": name for tag, name in _DIGESTS.items() if tag.startswith("SHA")}
_PLAIN: Final = ("PLAIN", "CLEAR", "CLEARTEXT", "NOOP")
_JSON_COST: Final = re.compile(r"(?:algorithm|hashIterations|memory|workFactor)\W+([\w-]{1,20})")
_BCRYPT_SHA256: Final = re.compile(
    r"\$bcrypt-sha256\$(?:v=2,t=)?(2[ab]),(?:r=)?(\d\d?)\$([./A-Za-z0-9]{22})\$([./A-Za-z0-9]{31})"
)
_PBKDF2_PHC: Final = re.compile(r"\$pbkdf2(?:-(sha1|sha256|sha512))?\$i=(\d+)(?:,l=(\d+))?\$([^$]+)\$([^$]+)")
_MOSQUITTO: Final = re.compile(r"PBKDF2\$(sha256|sha512)\$(\d+)\$([^$]+)\$([^$]+)")
_DOVECOT_PBKDF2: Final = re.compile(r"\{PBKDF2\}\$1\$([^$]+)\$(\d+)\$([0-9a-f]{40})", re.IGNORECASE)
_XENFORO: Final = re.compile(r"a:\d+:\{s:4:\"hash\";s:60:\"(\$2[aby]\$\d\d\$[./A-Za-z0-9]{53})\";.*\}", re.DOTALL)
_WITH_SALT: Final = re.compile(r"([0-9a-f]{32}|[0-9a-f]{64}):([^:]{1,128})(?::([01]))?", re.IGNORECASE)
_MEMBERSHIP: Final = re.compile(r"([A-Za-z0-9+/]{27}=|[A-Za-z0-9+/]{43}=)\|1\|([A-Za-z0-9+/]{16,}={0,2})")
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


def check(stored: str | None, password: str, pepper: str = "") -> Verdict:
    """Verify a password against a stored hash: RIGHT, WRONG, MALFORMED, or NO_PASSWORD or DISABLED for a marker.

    Args:
        stored: the text of the column, or None where it is empty.
        password: what was typed.
        pepper: what the legacy system appended to every password before it hashed it.
    """
    text = _text(stored)
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
        return Verdict.RIGHT if _read(text)(password + pepper) else Verdict.WRONG
    except Exception as error:  # noqa: BLE001 - libraries raise IndexError, RuntimeError and more on broken data
        _log.warning("a stored hash cannot be used: %s", type(error).__name__)
        return Verdict.MALFORMED


def problem(stored: str | None) -> str:
    """Say why no password could be checked against a stored hash, without any part of it; empty when one can."""
    text = _text(stored)
    if not text:
        return "There is no password hash."
    if _NO_PASSWORD.fullmatch(text) or _NOT_HERE.fullmatch(text):
        return "The hash is a placeholder: the account has no password."
    if _BARE.fullmatch(text):
        return "The hash is a bare digest that does not say how it was made: put a tag such as {MD5} before it."
    try:
        _read(text)
    except Unknown:
        return "The hash starts like none that is known: a shell may have replaced what follows a $ in it."
    except Exception:  # noqa: BLE001 - as above
        return "The hash is cut off or damaged, or of a form that is not read."
    return ""


class Unknown(ValueError):
    """A stored text begins like no hash that is known."""


def _text(stored: str | None) -> str:
    return (stored or "").strip(_ASCII_BLANKS)  # CHAR columns and CSV exports add blanks


def cost_label(stored: str) -> str:
    """Name a hash's format and cost without its salt and digest, so that hashes of equal cost share a label."""
    text = _plain(_text(stored))
    if _JSON.match(text):
        return " ".join(["keycloak", *sorted(_JSON_COST.findall(text), reverse=True)])
    if fixed := _COST.match(text):
        return fixed.group()
    if "$" in text:
        return text.rsplit("$", 2)[0]
    # ASP.NET Identity v3: its first nine bytes are format, function and rounds.
    return text[:12] if _ASPNET.fullmatch(text) else "digest"


def _plain(text: str) -> str:
    """Take off what only announces a hash, and the base64 of an LDIF."""
    if _LDIF.fullmatch(text):
        with contextlib.suppress(ValueError):
            tagged = base64.b64decode(text, validate=True).decode("ascii")
            text = tagged if _TAG.fullmatch(tagged) else text
    return _ANNOUNCED.sub("", text, count=1)


def _read(stored: str) -> Matcher:
    text = _plain(stored)
    if _JSON.match(text):
        return _credential(text)
    for start, reader in _READERS.items():
        if text.startswith(start):
            return reader(text)
    for form, reader in _FORMS:
        if form.fullmatch(text):
            return reader(text)
    raise Unknown


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


def _whole(digest: bytes) -> bytes:
    """Return a digest; one that was cut short is broken, not wrong."""
    if len(digest) < _SHORTEST_DIGEST:
        raise ValueError("digest length")
    return digest


def _digest(name: str, secret: bytes) -> bytes:
    return hashlib.new(name, secret, usedforsecurity=False).digest()


def _pbkdf2(name: str, salt: bytes, rounds: str | int, digest: bytes) -> Matcher:
    """Read PBKDF2 with HMAC over the named digest; the stored digest sets the length."""
    count, length = _bounded(rounds, _PBKDF2_ROUNDS), _bounded(len(_whole(digest)), _LONGEST_DIGEST)
    return lambda password: hmac.compare_digest(
        hashlib.pbkdf2_hmac(name, password.encode(), salt, count, length), digest
    )


def _scrypt(salt: bytes, n: int, r: int, p: int, length: int) -> Callable[[str], bytes]:
    """Check the costs of scrypt [RFC 7914] against bounds of memory and time; return what derives a key."""
    _bounded(p, _SCRYPT_LANES)
    memory = 128 * _bounded(n, _SCRYPT_BYTES) * _bounded(r, _SCRYPT_BYTES)
    _bounded(memory, _SCRYPT_BYTES)
    _bounded(memory * p, _SCRYPT_WORK)
    if n < 2 or n & (n - 1):
        raise ValueError("N is no power of two")
    room = memory + 128 * r * (p + 2) + 65536  # hashlib's own limit is 32 MiB
    length = _bounded(length, _LONGEST_DIGEST)
    return lambda password: hashlib.scrypt(password.encode(), salt=salt, n=n, r=r, p=p, maxmem=room, dklen=length)


def _scrypt_digest(salt: bytes, n: int, r: int, p: int, digest: bytes) -> Matcher:
    derive = _scrypt(salt, n, r, p, len(_whole(digest)))
    return lambda password: hmac.compare_digest(derive(password), digest)


def _one_of(digest: bytes, *ways: Callable[[bytes], bytes]) -> Matcher:
    """Compare with every digest that a shape may mean, where products share it."""
    _whole(digest)
    return lambda password: any(hmac.compare_digest(way(password.encode()), digest) for way in ways)


@functools.cache
def _libpass_context() -> Any:
    from passlib.context import CryptContext  # not at the start, which it would slow down: many stores need none

    return CryptContext(_LIBPASS)


def _libpass(text: str) -> Matcher:
    if text.startswith(_WITH_ROUNDS):
        most = _SHA_CRYPT_ROUNDS if text[1] in "56" else _PBKDF2_ROUNDS
        _bounded(_matched(_ROUNDS, text)[1], most)
    if text.startswith(("$P$", "$H$")):
        _bounded(_ITOA64.index(text[3]), _PHPASS_LOG2)
    # WordPress trims what is typed; phpBB, which writes `$H$`, does not.
    blanks = _PHP_BLANKS if text.startswith("$P$") else ""
    plain = _PADDING.sub("", text)
    scheme = _libpass_context().handler(_libpass_context().identify(plain, required=True))
    if not scheme.from_string(plain).checksum:
        raise ValueError("no digest")
    return lambda password: bool(scheme.verify(password.strip(blanks) if blanks else password, plain))


def _bcrypt(text: str) -> Matcher:
    """Read bcrypt; PHP, Ruby, Node and older Python read 72 bytes of a password, Symfony digests longer ones."""
    _bounded(_matched(_BCRYPT, text)[1], _BCRYPT_COST)

    def matches(password: str) -> bool:
        secret = password.encode()
        if bcrypt.checkpw(secret[:72], text.encode()):
            return True
        digested = base64.b64encode(hashlib.sha512(secret).digest())
        return len(secret) > 72 and bcrypt.checkpw(digested[:72], text.encode())

    return matches


def _bcrypt_of(digest: Callable[[str], str], text: str) -> Matcher:
    inner = _bcrypt(text)
    return lambda password: inner(digest(password))


def _bcrypt_sha256(text: str) -> Matcher:
    """Read passlib's bcrypt over SHA-256, both versions: the second keys the digest with the salt."""
    version, cost, salt, digest = _matched(_BCRYPT_SHA256, text).groups()

    def shorten(password: str) -> str:
        keyed = hmac.digest(salt.encode(), password.encode(), hashlib.sha256)
        made = keyed if "$v=2," in text else hashlib.sha256(password.encode()).digest()
        return base64.b64encode(made).decode()

    return _bcrypt_of(shorten, f"${version}${int(cost):02}${salt}{digest}")


def _argon2(text: str) -> Matcher:
    """Read an Argon2 PHC string of any type."""
    cost = argon2.extract_parameters(text)
    _bound_argon2(cost.memory_cost, cost.time_cost, cost.parallelism)
    if cost.hash_len < _SHORTEST_DIGEST:
        raise ValueError("digest length")
    for part in text.rsplit("$", 2)[1:]:
        _decoded(part)

    def matches(password: str) -> bool:
        try:
            return argon2.PasswordHasher().verify(text, password)
        except argon2.exceptions.VerifyMismatchError:  # its parent, VerificationError, means a broken hash
            return False

    return matches


def _scrypt_phc(text: str) -> Matcher:
    """Read scrypt as a PHC string: libpass bounds no memory, and reads digests of 32 bytes alone."""
    match = _matched(_SCRYPT, text)
    n = 1 << _bounded(match[1], 31)
    return _scrypt_digest(_decoded(match[4]), n, int(match[2]), int(match[3]), _decoded(match[5]))


def _pbkdf2_text(text: str) -> Matcher:
    """Read PBKDF2 as a PHC string, or as libpass writes it."""
    match = _PBKDF2_PHC.fullmatch(text)
    if not match:
        return _libpass(text)
    digest = _decoded(match[5])
    if match[3] and int(match[3]) != len(digest):
        raise ValueError("digest length")
    return _pbkdf2(match[1] or "sha1", _decoded(match[4]), match[2], digest)


def _mosquitto(text: str) -> Matcher:
    """Read the PBKDF2 of Mosquitto's plug-ins, whose salt is base64, or was taken as it is written."""
    name, rounds, salt, digest = _matched(_MOSQUITTO, text).groups()
    salts = [salt.encode()]
    with contextlib.suppress(ValueError):
        salts.insert(0, _decoded(salt))
    ways = [_pbkdf2(name, each, rounds, _decoded(digest)) for each in salts]
    return lambda password: any(matches(password) for matches in ways)


def _wordpress(text: str) -> Matcher:
    """Read WordPress 6.8 and later: bcrypt of a keyed digest of the trimmed password."""

    def shorten(password: str) -> str:
        digest = hmac.digest(b"wp-sha384", password.strip(_PHP_BLANKS).encode(), hashlib.sha384)
        return base64.b64encode(digest).decode()

    return _bcrypt_of(shorten, text.removeprefix("$wp"))


def _drupal(text: str) -> Matcher:
    """Read Drupal 7 to 10.0: phpass over SHA-512, cut to 55 characters; `U` wraps an MD5 digest of Drupal 6."""
    match = _matched(_DRUPAL, text.removeprefix("U"))
    rounds = 1 << _bounded(_ITOA64.index(match[1]), _PHPASS_LOG2)

    def matches(password: str) -> bool:
        from passlib.utils.binary import h64

        secret = _digest("md5", password.encode()).hex().encode() if text.startswith("U") else password.encode()
        digest = hashlib.sha512(match[2].encode() + secret).digest()
        for _ in range(rounds):
            digest = hashlib.sha512(digest + secret).digest()
        return hmac.compare_digest(h64.encode_bytes(digest)[:43], match[3].encode())

    return matches


def _tagged(text: str) -> Matcher:
    """Read a tagged value. Exports write the tag in either case; what follows a salted digest is salt, of any length.

    Digests are read here: libpass takes no hex, no base64 without padding, and no salt of more than 16 bytes.
    """
    tag, rest = _matched(_TAG, text).groups()
    tag = re.sub(r"\.(?:HEX|B64|BASE64)$", "", tag.upper())
    if tag in _PLAIN and rest:
        return lambda password: hmac.compare_digest(rest.encode(), password.encode())
    if tag in (
        "PBKDF2_SHA1",
        "PBKDF2_SHA256",
        "PBKDF2_SHA512",
    ):  # 389 Directory Server: rounds, 64 bytes of salt, digest
        data = _decoded(rest)
        return _pbkdf2(tag.removeprefix("PBKDF2_").lower(), data[4:68], int.from_bytes(data[:4]), data[68:])
    if dovecot := _DOVECOT_PBKDF2.fullmatch(text):
        return _pbkdf2("sha1", dovecot[1].encode(), dovecot[2], bytes.fromhex(dovecot[3]))
    name = _SALTED.get(tag) or _DIGESTS.get(tag)
    if tag.startswith("PBKDF2"):
        return _pbkdf2_text(f"${tag.removesuffix('-SHA1').lower()}${rest}")
    if name is None:
        return _libpass(f"{{{tag}}}{rest}")
    size = hashlib.new(name, usedforsecurity=False).digest_size
    is_hex = re.fullmatch(r"[0-9a-fA-F]+", rest) and (
        len(rest) == 2 * size or (tag in _SALTED and len(rest) > 2 * size)
    )
    data = bytes.fromhex(rest) if is_hex and len(rest) % 2 == 0 else _decoded(rest)
    digest, salt = data[:size], data[size:]
    if len(digest) != size or bool(salt) != (tag in _SALTED):
        raise ValueError("digest or salt length")
    return _one_of(digest, lambda secret: _digest(name, secret + salt))


def _django(text: str) -> Matcher:
    """Read Django's formats around bcrypt, Argon2, PBKDF2, scrypt and, before 2011, salted digests.

    They are read here: libpass takes no salt with other characters than letters and digits, which imports hold.
    Werkzeug wrote keyed digests in the shape of Django's salted ones.
    """
    scheme, _, rest = text.partition("$")
    match scheme, rest.split("$"):
        case "bcrypt", _:
            return _bcrypt(rest)
        case "bcrypt_sha256", _:
            return _bcrypt_of(lambda password: hashlib.sha256(password.encode()).hexdigest(), rest)
        case "argon2", _:
            return _argon2(f"${rest}")
        case (("pbkdf2_sha256" | "pbkdf2_sha1"), [rounds, salt, digest]):
            return _pbkdf2(scheme.removeprefix("pbkdf2_"), salt.encode(), rounds, _decoded(digest))
        case "scrypt", [n, salt, r, p, digest]:
            return _scrypt_digest(salt.encode(), int(n), int(r), int(p), _decoded(digest))
        case (("md5" | "sha1" | "sha256" | "sha512"), [salt, digest]) if salt:
            if len(digest) == 2 * hashlib.new(scheme, usedforsecurity=False).digest_size:
                return _one_of(
                    bytes.fromhex(digest),
                    lambda secret: _digest(scheme, salt.encode() + secret),
                    lambda secret: hmac.digest(salt.encode(), secret, scheme),
                )
    raise ValueError("Django form")


def _werkzeug(text: str) -> Matcher:
    """Read `scrypt:N:r:p$salt$hex` and `pbkdf2:digest:rounds$salt$hex` (Flask); the salt is text.

    Without its rounds it cannot be read: their number was another one in every release.
    """
    method, salt, encoded = text.split("$")
    digest = bytes.fromhex(encoded)
    match method.split(":"):
        case ["scrypt", n, r, p]:
            return _scrypt_digest(salt.encode(), int(n), int(r), int(p), digest)
        case ["pbkdf2", "sha1" | "sha256" | "sha512" as name, rounds]:
            return _pbkdf2(name, salt.encode(), rounds, digest)
    raise ValueError("Werkzeug method")


def _aspnet_identity(text: str) -> Matcher:
    """Read ASP.NET Identity, version 2 (00) and 3 (01) [`PasswordHasher.cs` of dotnet/aspnetcore]."""
    data = base64.b64decode(text, validate=True)
    if data[0] == 0 and len(data) == 49:
        name, rounds, salt, digest = "sha1", 1000, data[1:17], data[17:]
    elif data[0] == 1:
        name, rounds = ("sha1", "sha256", "sha512")[int.from_bytes(data[1:5])], int.from_bytes(data[5:9])
        end = 13 + int.from_bytes(data[9:13])
        salt, digest = data[13:end], data[end:]
    else:
        raise Unknown
    if len(salt) < 16:
        raise ValueError("salt length")
    return _pbkdf2(name, salt, rounds, digest)


def _membership(text: str) -> Matcher:
    """Read ASP.NET Membership moved to Identity: digest, format 1 and salt; the password as UTF-16.

    32 bytes are SHA-256, or HMAC with the salt repeated to the 64 bytes of its key [`SqlMembershipProvider`].
    """
    match = _matched(_MEMBERSHIP, text)
    digest, salt = _decoded(match[1]), _decoded(match[2])
    name = "sha1" if len(digest) == 20 else "sha256"
    key = (salt * 64)[:64]

    def matches(password: str) -> bool:
        secret = password.encode("utf-16-le")
        ways = [_digest(name, salt + secret), hmac.digest(key, secret, name)]
        return any(hmac.compare_digest(way, digest) for way in ways)

    return matches


def _with_salt(text: str) -> Matcher:
    """Read a hexadecimal digest and its salt: Magento's with a version behind; Joomla's and Magento 1's without one."""
    encoded, salt, version = _matched(_WITH_SALT, text).groups()
    name = "md5" if len(encoded) == 32 else "sha256"
    if (version or "0") != ("0" if name == "md5" else "1"):
        raise ValueError("Magento version")
    return _one_of(
        bytes.fromhex(encoded),
        lambda secret: _digest(name, salt.encode() + secret),
        lambda secret: _digest(name, secret + salt.encode()),
    )


def _credential(text: str) -> Matcher:
    """Read a credential in JSON: Keycloak's with `secretData` and `credentialData`, or flat before 8; Okta's bcrypt."""
    credential = json.loads(text)
    if "hashedSaltedValue" in credential:
        return _keycloak(credential, credential | {"value": credential["hashedSaltedValue"]})
    if credential.get("algorithm") == "BCRYPT":
        cost = _bounded(credential["workFactor"], _BCRYPT_COST)
        return _bcrypt(f"$2a${cost:02}${credential['salt']}{credential['value']}")
    return _keycloak(_part(credential, "credentialData"), _part(credential, "secretData"))


def _keycloak(data: dict[str, Any], secret: dict[str, Any]) -> Matcher:
    digest, salt, rounds = _decoded(secret["value"]), _decoded(secret["salt"]), data["hashIterations"]
    algorithm = data["algorithm"]
    if algorithm in _KEYCLOAK_PBKDF2:
        return _pbkdf2(_KEYCLOAK_PBKDF2[algorithm], salt, rounds, digest)
    if algorithm != "argon2":
        raise ValueError("Keycloak algorithm")
    more = {name: values[0] for name, values in data["additionalParameters"].items()}
    memory, lanes = int(more["memory"]), int(more["parallelism"])
    _bound_argon2(memory, int(rounds), lanes)
    kind, version = _ARGON2_TYPES[more["type"]], _ARGON2_VERSIONS[more["version"]]
    length = _bounded(len(digest), _LONGEST_DIGEST)
    derive = functools.partial(argon2.low_level.hash_secret_raw, type=kind, version=version)
    return _one_of(digest, lambda typed: derive(typed, salt, int(rounds), memory, lanes, length))


def _part(credential: dict[str, Any], name: str) -> dict[str, Any]:
    value = credential[name]
    part = json.loads(value) if isinstance(value, str) else value
    if not isinstance(part, dict):
        raise ValueError("Keycloak form")
    return part


def _firebase(text: str) -> Matcher:
    """Read Firebase's scrypt: the derived key encrypts the project's signer key [firebase/scrypt]."""
    match = _matched(_FIREBASE[text[: text.index("$", 1) + 1]], text)
    salt = _decoded(match["salt"]) + _decoded(match["separator"] or "")
    derive = _scrypt(salt, 1 << _bounded(match["n"], 31), int(match["r"]), int(match["p"]), 32)
    signer, digest = _decoded(match["key"]), _whole(_decoded(match["digest"]))

    def matches(password: str) -> bool:
        encryptor = Cipher(AES256(derive(password)), CTR(bytes(16))).encryptor()
        return hmac.compare_digest(encryptor.update(signer) + encryptor.finalize(), digest)

    return matches


# By how a stored value begins; after these, by its whole form.
_READERS: Final[dict[str, Reader]] = {
    "$2": _bcrypt,
    "$wp$2y$": _wordpress,
    "$argon2": _argon2,
    "$scrypt$": _scrypt_phc,
    "$S$": _drupal,
    "U$S$": _drupal,
    "$bcrypt-sha256$": _bcrypt_sha256,
    "$pbkdf2": _pbkdf2_text,
    "PBKDF2$": _mosquitto,
    **dict.fromkeys(("$P$", "$H$", "$5$", "$6$", "$1$", "$apr1$"), _libpass),
    **dict.fromkeys(("pbkdf2_", "bcrypt_sha256$", "bcrypt$", "argon2$", "scrypt$"), _django),
    **dict.fromkeys(("md5$", "sha1$", "sha256$", "sha512$"), _django),
    **dict.fromkeys(("scrypt:", "pbkdf2:"), _werkzeug),
    **dict.fromkeys(_FIREBASE, _firebase),
    **dict.fromkeys((f"{{{letter}" for letter in "CcLlMmNnPpSs"), _tagged),
    "a:": lambda text: _bcrypt(_matched(_XENFORO, text)[1]),
}
_FORMS: Final[tuple[tuple[re.Pattern[str], Reader], ...]] = (
    (_WITH_SALT, _with_salt),
    (_MEMBERSHIP, _membership),
    (_ASPNET, _aspnet_identity),
)

"""Stored password hashes: recognise the format, refuse what is hostile or broken, verify.

Formats and their traps were checked against the reference libraries of the systems that write them.
"""

from __future__ import annotations

import logging
import re
from typing import Final

from jitkit.endpoint.stores import Verdict
from jitkit.endpoint.stores.hashes_bounds import Unusable, Verifier
from jitkit.endpoint.stores.hashes_crypt import CRYPT
from jitkit.endpoint.stores.hashes_directory import DIRECTORY
from jitkit.endpoint.stores.hashes_frameworks import FRAMEWORKS, aspnet_identity
from jitkit.endpoint.stores.hashes_products import PRODUCTS, keycloak_cost

__all__ = ["check", "cost_label"]

_log = logging.getLogger(__name__)

# Nobody types more; some formats take time that grows with the password.
_LONGEST_PASSWORD: Final = 4096

_ASCII_BLANKS: Final = " \t\r\n\v\f\0"
# What stands where a hash would: nobody set a password (exports, Django's "!" with random letters, shadow files), or
# the password is locked or kept elsewhere.
_NO_PASSWORD: Final = re.compile(r"|\*(?:np\*)?|null|none|nil|\\n|![a-z0-9]*", re.IGNORECASE)
_NOT_HERE: Final = re.compile(r"x|\*lk\*|!.*|\{sasl\}.*", re.IGNORECASE | re.DOTALL)
_BASE64: Final = re.compile(r"[A-Za-z0-9+/]{40,}={0,2}")

# Tags that only announce what follows: RFC 2307 directories, and Spring Security's delegating encoder.
_ANNOUNCED: Final = re.compile(r"\{(?:crypt|argon2|bcrypt)(?:@[^}]*)?\}(?=\$)", re.IGNORECASE)

_COST: Final = re.compile(
    r"(?:bcrypt(?:_sha256)?\$|\$wp)?\$2[aby]\$\d\d|(?:U?\$S|\$P|\$H)\$.|\$(?:scrypt|firescrypt)\$[^$]*"
    r"|\$fbscrypt\$v=1,n=\d+,r=\d+,p=\d+|scrypt\$\d+|\{[^}\"]+\}\d*|(?:md5|sha1)\$|AA"
)

_VERIFIERS: Final[dict[str, Verifier]] = CRYPT | DIRECTORY | FRAMEWORKS | PRODUCTS


def check(stored: str | None, password: str) -> Verdict:
    """Verify a password against a stored hash.

    Blanks around the stored hash are dropped: CHAR columns and CSV exports add them. The password is used as it is,
    in UTF-8, cut to 72 bytes for bcrypt as the systems that made such hashes did.

    A value says by its beginning what it is. Bare digests and plain text say nothing, and are not guessed at: have
    the statement put a tag before them, `'{MD5}' || column` (or SHA, SHA256, SHA512; hex or base64) or
    `'{PLAIN}' || column`.

    Args:
        stored: the stored value, or None.
        password: what the customer typed.

    Returns:
        RIGHT, WRONG, NO_PASSWORD or DISABLED for a marker that says so, or MALFORMED.
    """
    text = (stored or "").strip(_ASCII_BLANKS)
    if _NO_PASSWORD.fullmatch(text):
        return Verdict.NO_PASSWORD
    if _NOT_HERE.fullmatch(text):
        return Verdict.DISABLED
    if not _may_be_right(password):
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
    if text.startswith("{") and text[1:2] in ('"', " ", "\n"):
        return keycloak_cost(text)
    if fixed := _COST.match(text):
        return fixed.group()
    # ASP.NET Identity v3: its first nine bytes are format, function and rounds.
    return text.rsplit("$", 2)[0] if "$" in text else text[:12]


def _may_be_right(password: str) -> bool:
    """Sort out what no system takes for a password; a lone surrogate has no UTF-8 form."""
    try:
        secret = password.encode()
    except UnicodeEncodeError:
        return False
    return 0 < len(secret) <= _LONGEST_PASSWORD and b"\0" not in secret


def _verifier(text: str) -> Verifier:
    for start, verifier in _VERIFIERS.items():
        if text.startswith(start):
            return verifier
    if _BASE64.fullmatch(text):
        return aspnet_identity
    raise Unusable("unknown format")

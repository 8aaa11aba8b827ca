"""Which passwords an external tenant accepts [Microsoft Learn, "Self-service password reset policies", 2026-05]."""

from __future__ import annotations

import string
from collections.abc import Iterable

from jitkit.rehearsal.banned_passwords import BannedPasswords

_LENGTH = range(8, 257)
_CLASSES = (string.ascii_lowercase, string.ascii_uppercase, string.digits, string.punctuation + " ")


def problem(
    password: str,
    *,
    complexity: bool = True,
    banned: BannedPasswords | None = None,
    names: Iterable[str] = (),
) -> str | None:
    """Tell why a password may not be stored.

    Args:
        password: the clear text; it is not repeated in the answer.
        complexity: whether three of the four character classes are asked for.
        banned: the banned-password lists; None leaves them out.
        names: the person's first and last name and the tenant's, for the banned-password check.

    Returns:
        A sentence, or None when the password is accepted.
    """
    if len(password) < _LENGTH.start:
        return f"A password has at least {_LENGTH.start} characters."
    if len(password) not in _LENGTH:
        return f"A password has at most {_LENGTH.stop - 1} characters."
    if any(character not in "".join(_CLASSES) for character in password):
        return "A password has letters a to z, digits, blanks and the symbols of an English keyboard only."
    if complexity and sum(any(character in group for character in password) for group in _CLASSES) < 3:
        return "A password mixes at least three of lower case, upper case, digits and symbols."
    if banned and banned.bans(password, names):
        return "This password contains a word, phrase or pattern that makes it easy to guess."
    return None

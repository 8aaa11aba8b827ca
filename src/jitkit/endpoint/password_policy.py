"""Which passwords External ID takes as they are.

Sources: Microsoft Learn, "Password policies and account restrictions in Microsoft Entra ID" for characters, length and
classes; "Eliminate bad passwords using Microsoft Entra Password Protection" for how banned terms are scored. The
global banned list is not published: the terms here are the beginnings of it that anybody would guess, and a tenant's
own list can be given. Where this policy is milder than the tenant's, Entra asks for a new password by itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Final

__all__ = ["PasswordPolicy", "read_terms"]

_ALLOWED: Final = re.compile(r"[ -~]{8,256}")
_CLASSES: Final = tuple(re.compile(pattern) for pattern in (r"[a-z]", r"[A-Z]", r"[0-9]", r"[^a-zA-Z0-9]"))
_SUBSTITUTES: Final = str.maketrans("01$@", "olsa")
_ENOUGH: Final = 5
# What Entra takes as a term of a tenant's own list.
_SHORTEST_TERM, _LONGEST_TERM = 4, 16
_TERMS: Final = (
    *("123456", "abc123", "admin", "baseball", "changeme", "dragon", "football", "iloveyou", "letmein", "login"),
    *("master", "monkey", "password", "princess", "qwerty", "secret", "shadow", "summer", "sunshine", "superman"),
    *("trustno1", "welcome", "winter"),
)


@dataclass(frozen=True)
class PasswordPolicy:
    """Judge passwords as the tenant would.

    Args:
        accept_weak: the tenant takes weak legacy passwords (`disableStrongPassword` [how-to]): length and characters
            count, classes and banned terms do not.
        banned: the tenant's own banned terms, beside those that everybody bans.
    """

    accept_weak: bool = False
    banned: frozenset[str] = frozenset()

    def takes(self, password: str) -> bool:
        """Tell whether Entra would store this password without asking for another one."""
        if not _ALLOWED.fullmatch(password):
            return False
        if self.accept_weak:
            return True
        return sum(bool(kind.search(password)) for kind in _CLASSES) >= 3 and not self._is_banned(password)

    def _is_banned(self, password: str) -> bool:
        """Score a password: a point for each banned term in it and for each other character; five are enough."""
        text = _normalised(password)
        if any(_nearly(text, term) for term in self._terms if -2 < len(term) - len(text) < 2):
            return True
        return len(self._any_term.sub("*", text)) < _ENOUGH

    @cached_property
    def _terms(self) -> list[str]:
        return sorted({_normalised(term) for term in (*_TERMS, *self.banned)}, key=len, reverse=True)

    @cached_property
    def _any_term(self) -> re.Pattern[str]:
        return re.compile("|".join(map(re.escape, self._terms)))


def read_terms(lines: Iterable[str]) -> frozenset[str]:
    """Read a tenant's banned terms, one a line.

    Raises:
        ValueError: a term is shorter or longer than Entra takes them, 4 to 16 characters.
    """
    terms = frozenset(term for line in lines if (term := line.strip()))
    if any(not _SHORTEST_TERM <= len(term) <= _LONGEST_TERM for term in terms):
        raise ValueError("a term has fewer than 4 or more than 16 characters")
    return terms


def _normalised(text: str) -> str:
    return text.lower().translate(_SUBSTITUTES)


def _nearly(text: str, term: str) -> bool:
    """Tell whether two texts of nearly one length differ by a character at most: changed, added or missing."""
    longer, shorter = (text, term) if len(text) >= len(term) else (term, text)
    start = 0
    while start < len(shorter) and longer[start] == shorter[start]:
        start += 1
    return longer[start + 1 :] == shorter[start + (len(longer) == len(shorter)) :]

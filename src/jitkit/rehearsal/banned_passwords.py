"""Password protection: the banned terms, and the points that a password has to score in spite of them.

[Microsoft Learn, "Eliminate bad passwords using Microsoft Entra Password Protection"] The page tells how passwords are
evaluated and says that this may change at any time. It does not publish the global list: the terms here stand in for
it. Whether a migrated password is checked against the lists is not documented; a new one is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable
from typing import Final

from jitkit.errors import KitError
from jitkit.rehearsal.directory import Directory

__all__ = ["BannedPasswords", "choose_terms", "terms"]

_META: Final = "banned_terms"
_MOST_TERMS: Final = 1000
_TERM: Final = range(4, 17)
_SHORTEST_NAME: Final = 4
_ENOUGH: Final = 5
_SUBSTITUTES: Final = str.maketrans("01$@", "olsa")
_STAND_IN: Final = (
    *("abcdef", "admin", "changeme", "contoso", "dragon", "football", "iloveyou", "letmein", "login", "monkey"),
    *("password", "passw", "princess", "qwerty", "secret", "spring", "summer", "autumn", "winter", "sunshine"),
    *("welcome", "123456", "hello", "master", "shadow"),
)


def choose_terms(directory: Directory, chosen: Iterable[str]) -> None:
    """Set the tenant's own banned terms, in place of those it had.

    Args:
        directory: the tenant's directory.
        chosen: at most 1000 terms of 4 to 16 characters each.

    Raises:
        KitError: there are too many, or one is too short or too long.
    """
    wanted = sorted(set(chosen))
    if len(wanted) > _MOST_TERMS or any(len(term) not in _TERM for term in wanted):
        raise KitError(
            "The custom banned password list takes at most 1000 terms of 4 to 16 characters.",
            next_step="Leave out the others; one base term also stands for its variants.",
        )
    directory.set_meta(_META, json.dumps(wanted))


def terms(directory: Directory) -> list[str]:
    """List the tenant's own banned terms."""
    found: list[str] = json.loads(directory.meta(_META) or "[]")
    return found


class BannedPasswords:
    """Score passwords.

    Args:
        own: the tenant's own terms.
    """

    def __init__(self, own: Collection[str] = ()) -> None:
        self._terms = sorted({_normalised(term) for term in (*_STAND_IN, *own)}, key=len, reverse=True)
        self._any = re.compile("|".join(map(re.escape, self._terms)))

    def bans(self, password: str, names: Iterable[str] = ()) -> bool:
        """Tell whether a password is too easy to guess.

        Args:
            password: the clear text.
            names: what it must not contain: the person's first and last name, the tenant's name.
        """
        text = _normalised(password)
        if any(len(name) >= _SHORTEST_NAME and _normalised(name) in text for name in names):
            return True
        if any(_within_one_edit(text, term) for term in self._terms):
            return True
        return len(self._any.sub("*", text)) < _ENOUGH


def _normalised(text: str) -> str:
    return text.lower().translate(_SUBSTITUTES)


def _within_one_edit(text: str, term: str) -> bool:
    if abs(len(text) - len(term)) > 1:
        return False
    if len(text) == len(term):
        return sum(one != other for one, other in zip(text, term, strict=True)) <= 1
    longer, shorter = (text, term) if len(text) > len(term) else (term, text)
    return any(longer[:at] + longer[at + 1 :] == shorter for at in range(len(longer)))

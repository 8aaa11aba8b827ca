"""New objects that other replicas of the directory do not know yet, counted in looks instead of seconds.

[observed: an object that was made seconds ago is answered 404; a grant answered 404 had been applied all the same]
"""

from __future__ import annotations

import re
from typing import Final

from jitkit.errors import KitError
from jitkit.rehearsal.graph.wire import Answer, not_found

__all__ = ["KINDS", "Delays"]

# What can be late -> the collection it is made in.
KINDS: Final = {
    "application": "applications",
    "servicePrincipal": "serviceprincipals",
    "user": "users",
    "extensionProperty": "extensionproperties",
    "customAuthenticationExtension": "customauthenticationextensions",
    "authenticationEventListener": "authenticationeventlisteners",
}


class Delays:
    """Which kinds are late, and which objects are still unknown."""

    def __init__(self) -> None:
        self._looks: dict[str, int] = {}
        self._unknown: dict[str, int] = {}

    def set(self, kind: str, looks: int) -> None:
        """Let objects of a kind that are made from now on be unknown for their first looks.

        Args:
            kind: one of `KINDS`.
            looks: how many requests that name a new object are answered 404; 0 for none.

        Raises:
            KitError: there is no such kind.
        """
        if kind not in KINDS:
            raise KitError(f"{kind} cannot be late.", next_step=f"Choose one of {', '.join(KINDS)}.")
        self._looks[KINDS[kind]] = looks

    def clear(self) -> None:
        """Let everything be known at once."""
        self._looks.clear()
        self._unknown.clear()

    def note(self, method: str, path: str, answer: Answer) -> None:
        """Note what a request made."""
        looks = self._looks.get(path.lower().rpartition("/")[2], 0)
        if method == "POST" and answer.status == 201 and looks:
            named = (answer.body.get(name) for name in ("id", "appId"))
            self._unknown |= {str(name).lower(): looks for name in named if name}

    def look(self, path: str) -> Answer | None:
        """Answer a request 404 while it names an object that is not known yet; None when it does not."""
        for name in re.findall(r"[^/()'=]+", path.lower()):
            left = self._unknown.get(name, 0)
            if left:
                self._unknown[name] = left - 1
                return not_found(name).answer({})
        return None

"""One pace for every "no": how long an answer takes must not tell an unknown name from a wrong password."""

from __future__ import annotations

from collections import deque
from typing import Final

__all__ = ["Pace"]

_REMEMBERED: Final = 200
_SHARE: Final = 0.95


class Pace:
    """Learn how long a refusal of the legacy store takes, and say how long every refusal should take.

    That is what 95 of the last 100 refusals took or less, unknown names and wrong passwords together: the quick ones
    wait for it, so that both have the same distribution but for the slowest few.
    """

    def __init__(self) -> None:
        self._seconds: deque[float] = deque(maxlen=_REMEMBERED)
        self._target = 0.0

    def note(self, seconds: float) -> None:
        """Remember how long the store took to say no."""
        self._seconds.append(seconds)
        ordered = sorted(self._seconds)
        self._target = ordered[min(int(len(ordered) * _SHARE), len(ordered) - 1)]

    @property
    def target(self) -> float:
        """Seconds that a refusal should take."""
        return self._target

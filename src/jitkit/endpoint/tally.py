"""Count what somebody should look at, and say it in the log at a bounded rate.

Counts are not part of the health route: to a stranger they would tell unknown names from wrong passwords.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable
from typing import Final

__all__ = ["Tally"]

_log = logging.getLogger(__name__)
_BETWEEN_LINES: Final = 60.0


class Tally:
    """Count by name. The first of a kind is logged at once, more of them at most once a minute with their number.

    Args:
        clock: seconds that only go forward.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.counts: Counter[str] = Counter()
        self._unsaid: Counter[str] = Counter()
        self._said: dict[str, float] = {}

    def count(self, name: str) -> None:
        """Count one, and log it when that was not done lately.

        Args:
            name: one of a fixed set of short words, never anything that came with a request.
        """
        self.counts[name] += 1
        self._unsaid[name] += 1
        now = self._clock()
        if now - self._said.get(name, float("-inf")) >= _BETWEEN_LINES:
            self._said[name] = now
            self._say(name)

    def close(self) -> None:
        """Log what was counted since the last line."""
        for name in sorted(self._unsaid):
            self._say(name)

    def _say(self, name: str) -> None:
        _log.warning("%s: %d since the last line, %d since the start", name, self._unsaid.pop(name), self.counts[name])

"""A breaker before the legacy store: after failures in a row nobody waits for it until a probe says it is back."""

from __future__ import annotations

from typing import Final

__all__ = ["Breaker"]

_FAILURES: Final = 5
_FIRST_REST: Final = 5.0
_LONGEST_REST: Final = 60.0


class Breaker:
    """Open after five failures in a row, let one probe through after a rest, close when it succeeds.

    Each probe that fails doubles the rest, from 5 seconds to a minute. Times are those of one clock that only goes
    forward, in seconds.
    """

    def __init__(self) -> None:
        self._failures = 0
        self._rest = 0.0
        self._until = 0.0
        self._probing = False

    @property
    def is_open(self) -> bool:
        """Tell whether the store is being left alone."""
        return self._rest > 0.0

    def refuses(self, now: float) -> bool:
        """Tell whether a call would be refused; nothing changes."""
        return self.is_open and (self._probing or now < self._until)

    def enter(self, now: float) -> bool:
        """Ask to call the store. Whoever gets True calls `succeeded`, `failed` or `left` afterwards, once.

        Returns:
            True to call: always while closed, and to one caller at a time after the rest.
        """
        if self.refuses(now):
            return False
        self._probing = self.is_open
        return True

    def succeeded(self) -> None:
        """Note that the store answered: the breaker closes."""
        self._failures, self._rest, self._probing = 0, 0.0, False

    def failed(self, now: float) -> bool:
        """Note a failure.

        Returns:
            True when this one opened the breaker.
        """
        self._failures += 1
        if self.is_open:
            if self._probing:
                self._rest = min(self._rest * 2, _LONGEST_REST)
                self._until, self._probing = now + self._rest, False
            return False
        if self._failures < _FAILURES:
            return False
        self._rest, self._until = _FIRST_REST, now + _FIRST_REST
        return True

    def left(self) -> None:
        """Note an answer that says nothing about the store's health: the next caller may probe."""
        self._probing = False

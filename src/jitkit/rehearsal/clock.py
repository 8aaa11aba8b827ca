"""The rehearsal tenant's clock, which can be moved on or held, and how Graph writes its time."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from datetime import UTC, datetime


class Clock:
    """Returns the tenant's time.

    Everything that the tenant keeps, counts and logs goes by `now()`. What it signs for the endpoint goes by
    `signing_time()`: an endpoint is another program, and its clock stays the machine's when the tenant's is moved.
    """

    def __init__(
        self,
        ahead: float = 0.0,
        remember: Callable[[float], None] | None = None,
        recall: Callable[[], float] | None = None,
    ) -> None:
        self.ahead = ahead
        self._remember, self._recall = remember, recall
        self._held: float | None = None
        self._taken = 0.0

    def now(self) -> float:
        """Return the tenant's time, in seconds since the epoch."""
        return time.time() + self.ahead if self._held is None else self._held

    def signing_time(self) -> float:
        """Return the time that goes into tokens and password contexts, in seconds since the epoch."""
        return time.time() if self._held is None else self._held

    def stopwatch(self) -> float:
        """Return seconds that only go forward, for how long something takes: the tenant's while it is held."""
        return time.perf_counter() + self._taken if self._held is None else self._held

    async def take(self, seconds: float, *, allowed: float = math.inf) -> None:
        """Let something take so many seconds by the stopwatch; the person in front of it waits for none of them.

        Raises:
            TimeoutError: it takes longer than it is allowed to.
        """
        if self._held is not None:
            await asyncio.sleep(seconds)  # a simulation's own loop, timeouts included, goes by the tenant's time
            return
        self._taken += min(seconds, allowed)
        if seconds > allowed:
            raise TimeoutError

    def forward(self, seconds: float) -> None:
        """Move the clock on."""
        if seconds < 0:
            raise ValueError("A tenant's clock does not go back; reset the tenant or restore a snapshot.")
        if self._held is not None:
            self._held += seconds
            return
        self.follow()
        self.ahead += seconds
        if self._remember:
            self._remember(self.ahead)

    def follow(self) -> None:
        """Take over a change that another process made to the same tenant's clock."""
        if self._recall:
            self.ahead = self._recall()

    def hold(self, moment: float) -> None:
        """Stop the clock at a moment, for a simulation that moves it itself."""
        self._held = moment

    def release(self) -> None:
        """Let a held clock run on from where it stands."""
        if self._held is not None:
            self.ahead, self._held = max(self.ahead, self._held - time.time()), None
            if self._remember:
                self._remember(self.ahead)

    def restart(self, ahead: float = 0.0) -> None:
        """Go by this machine's time again, after a reset or a restored snapshot."""
        self.ahead, self._held = ahead, None


def timestamp(moment: float) -> str:
    """Write seconds since the epoch as Graph does in logs, in UTC."""
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

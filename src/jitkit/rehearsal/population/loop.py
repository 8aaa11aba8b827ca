"""An event loop that lives in the tenant's time: nobody waits for it, and nothing in it runs in a thread."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any

from jitkit.rehearsal.clock import Clock

__all__ = ["TenantLoop"]


class TenantLoop(asyncio.SelectorEventLoop):
    """Run sign-ins, timeouts and pauses in the order of the tenant's time, as fast as this machine can.

    When nothing is left to do at a moment, the clock stands at the next one at which something is. Work for threads is
    done at once, in place, so that no answer can come late because a thread did, and two runs are the same.

    No socket can be used in it: whatever is waited for has to be in this process.

    Args:
        clock: the tenant's clock. It is held, and moved on by this loop alone.
    """

    def __init__(self, clock: Clock) -> None:
        self._tenant_clock = clock
        super().__init__(_Skipping(clock))
        self._clock_resolution = 1e-6

    def time(self) -> float:
        """Return the tenant's time, in seconds since the epoch."""
        return self._tenant_clock.now()

    def run_in_executor(  # type: ignore[override]
        self, executor: Executor | None, func: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        """Call the function now and return its result as a future that is done."""
        future = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:  # noqa: BLE001 - it goes to whoever waits for the future, as from a thread
            future.set_exception(error)
        return future


class _Skipping(selectors.SelectSelector):
    """Move the clock on instead of waiting."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise RuntimeError("Everybody waits for something that is not in this process.")
        if timeout > 0:
            self._clock.forward(timeout)
        return []

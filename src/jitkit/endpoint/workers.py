"""Where private-key operations run."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

__all__ = ["Workers", "usable_cores"]

_Result = TypeVar("_Result")


def usable_cores() -> int:
    """Count the processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Workers:
    """Run private-key operations in threads, one a core: they let go of the interpreter meanwhile.

    On one core nothing can run meanwhile, and handing over costs as much as half the operation: there they run in
    place.

    Args:
        cores: how many cores to use.
    """

    def __init__(self, cores: int) -> None:
        self._pool = ThreadPoolExecutor(cores, thread_name_prefix="rsa") if cores > 1 else None

    async def run(self, work: Callable[[], _Result]) -> _Result:
        """Run a private-key operation and return its result."""
        if self._pool is None:
            return work()
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)

    def close(self) -> None:
        """Let running operations end, and begin no more."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)

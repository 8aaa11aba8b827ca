"""The endpoint's clock: the machine's, unless a program that runs the endpoint inside itself brings its own."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

__all__ = ["MACHINE", "Clock"]


@dataclass(frozen=True)
class Clock:
    """Tell the time that the endpoint judges by and writes down.

    Tokens, password contexts, certificates and the ledger go by `wall`; remembered nonces, the limiter, the breaker,
    the tally and the signing keys' age by `steady`. The deadline and the pace of refusals do not: they are waited
    for, and the event loop waits in the machine's time.

    It is here for simulations: a hundred days of sign-ins run through the endpoint in minutes when both functions
    read a simulated time. No setting reaches it, because a clock from outside would let expired tokens in.

    Args:
        wall: seconds since the epoch.
        steady: seconds that only go forward.
    """

    wall: Callable[[], float] = time.time
    steady: Callable[[], float] = time.perf_counter


MACHINE: Final = Clock()

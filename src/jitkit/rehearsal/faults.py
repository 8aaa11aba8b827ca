"""Faults that can be switched on: Graph refuses, the network breaks, the service fails at its own end.

Each is switched on by name for as long as a block lasts, for every call or at exact call numbers, or for a share of the
calls that a seed decides, the same in every run.

Sources: [Microsoft Graph: error responses; throttling], [Microsoft Learn, "Troubleshoot custom authentication
extensions"].
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Final, Literal

from jitkit.errors import KitError

__all__ = ["FAULTS", "Fault", "Faults", "Injected"]

At = Literal["graph", "network", "endpoint"]

_SLOW_SECONDS: Final = 3.0


@dataclass(frozen=True)
class Fault:
    """One way in which a call can fail.

    Args:
        name: what it is called.
        at: which calls it meets: requests to Graph, the network below them, or what is sent to an endpoint.
        means: what happens, in a sentence.
        status: the HTTP status that Graph answers; 0 for none.
        code: Graph's error code.
        message: Graph's sentence.
        retry_after: seconds in the header `Retry-After`; 0 for no header.
        error: the 1003xxx number of the sign-in log.
        seconds: how long the call is held up.
    """

    name: str
    at: At
    means: str
    status: int = 0
    code: str = ""
    message: str = ""
    retry_after: int = 0
    error: int = 0
    seconds: float = 0.0


_ALL: Final = (
    Fault("answer-lost", "network", "Graph does what it is asked; the connection breaks before its answer arrives."),
    Fault("endpoint-silent", "endpoint", "The endpoint does not answer in time: 1003005.", error=1003005),
    Fault("endpoint-unreachable", "endpoint", "No connection to the endpoint: 1003027.", error=1003027),
    Fault(
        "graph-down",
        "graph",
        "Graph answers 503 and asks to wait a second.",
        503,
        "serviceNotAvailable",
        "The service is temporarily unavailable.",
        retry_after=1,
    ),
    Fault("graph-slow", "graph", f"Graph takes {_SLOW_SECONDS:.0f} seconds longer.", seconds=_SLOW_SECONDS),
    Fault(
        "graph-throttled",
        "graph",
        "Graph answers 429 and asks to wait a second.",
        429,
        "TooManyRequests",
        "Too many requests.",
        retry_after=1,
    ),
    Fault("handler-error", "endpoint", "The service fails in its own event handler: 1003000.", error=1003000),
    Fault("network-down", "network", "Graph cannot be reached."),
    Fault(
        "permission-missing",
        "graph",
        "Graph answers 403: the signed-in identity lacks a role or a permission.",
        403,
        "Authorization_RequestDenied",
        "Insufficient privileges to complete the operation.",
    ),
    Fault("service-error", "endpoint", "The service fails before it calls the endpoint: 1003001.", error=1003001),
    Fault("service-throttled", "endpoint", "The service makes no more calls for now: 1003004.", error=1003004),
    Fault(
        "token-expired",
        "graph",
        "Graph answers 401: the token is too old.",
        401,
        "InvalidAuthenticationToken",
        "Lifetime validation failed, the token is expired.",
    ),
)

FAULTS: Final = {fault.name: fault for fault in _ALL}


@dataclass
class Injected:
    """A fault that is switched on.

    Args:
        fault: which.
        calls: the numbers of the calls that meet it, from 1; empty for every call.
        share: which share of the calls meet it.
        dice: decides which.
        seen: how many calls there were.
        met: the numbers of those that met it.
    """

    fault: Fault
    calls: frozenset[int]
    share: float
    dice: random.Random = field(repr=False)
    seen: int = 0
    met: list[int] = field(default_factory=list)

    def meets(self) -> bool:
        """Count a call, and return whether it meets the fault."""
        self.seen += 1
        hit = self.dice.random() < self.share and (not self.calls or self.seen in self.calls)
        if hit:
            self.met.append(self.seen)
        return hit


class Faults:
    """The faults that are switched on in one opened tenant."""

    def __init__(self) -> None:
        self._on: list[Injected] = []

    @contextlib.contextmanager
    def inject(
        self, name: str, *, calls: Collection[int] = (), share: float = 1.0, seed: int = 0
    ) -> Iterator[Injected]:
        """Switch a fault on for as long as the block lasts.

        Args:
            name: one of `FAULTS`.
            calls: the numbers of the calls that meet it, counted from 1 inside the block; empty for every call.
            share: which share of the calls meet it, 0 to 1.
            seed: decides which ones.

        Yields:
            What was switched on; it counts.

        Raises:
            KitError: there is no such fault.
        """
        if name not in FAULTS:
            raise KitError(f"There is no fault {name}.", next_step=f"Choose one of {', '.join(sorted(FAULTS))}.")
        injected = Injected(FAULTS[name], frozenset(calls), share, random.Random(seed))  # noqa: S311
        self._on.append(injected)
        try:
            yield injected
        finally:
            if injected in self._on:
                self._on.remove(injected)

    def clear(self) -> None:
        """Switch every fault off."""
        self._on.clear()

    def met(self, at: At) -> list[Fault]:
        """Count a call, and return the faults that it meets."""
        return [each.fault for each in list(self._on) if each.fault.at == at and each.meets()]

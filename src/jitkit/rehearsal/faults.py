"""Faults that come and go: Graph refuses, the network breaks, the service fails at its own end.

Each is switched on by name for as long as a block lasts, for every call or at exact call numbers, or for a share of the
calls that a seed decides: every run meets the same ones.

Sources: [Microsoft Graph: error responses; throttling], [Microsoft Learn, "Troubleshoot custom authentication
extensions"].
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field, replace
from typing import Final, Literal

import httpx

from jitkit.errors import KitError
from jitkit.explanations import CALLOUT_ERRORS
from jitkit.rehearsal.callout_answer import Unusable
from jitkit.rehearsal.delay import Delays
from jitkit.rehearsal.graph.wire import Answer, GraphError

__all__ = ["FAULTS", "Fault", "Faults", "Injected"]

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
    at: Literal["graph", "network", "endpoint"]
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
        "Graph answers 503 and asks for a second's patience.",
        503,
        "serviceNotAvailable",
        "The service is temporarily unavailable.",
        retry_after=1,
    ),
    Fault("graph-slow", "graph", f"Graph takes {_SLOW_SECONDS:.0f} seconds longer.", seconds=_SLOW_SECONDS),
    Fault(
        "graph-throttled",
        "graph",
        "Graph answers 429 and asks for a second's patience.",
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
        seen: how many calls came by.
        met: the numbers of those that met it.
    """

    fault: Fault
    calls: frozenset[int]
    share: float
    dice: random.Random = field(repr=False)
    seen: int = 0
    met: list[int] = field(default_factory=list)

    def meets(self) -> bool:
        """Count a call, and tell whether it meets the fault."""
        self.seen += 1
        hit = self.dice.random() < self.share and (not self.calls or self.seen in self.calls)
        if hit:
            self.met.append(self.seen)
        return hit


class Faults:
    """The faults that are switched on in one opened tenant, and the delays of new objects."""

    def __init__(self) -> None:
        self._on: list[Injected] = []
        self.delays: Final = Delays()

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
        injected = self.switch_on(name, calls=calls, share=share, seed=seed)
        try:
            yield injected
        finally:
            self._on.remove(injected)

    def switch_on(self, name: str, *, calls: Collection[int] = (), share: float = 1.0, seed: int = 0) -> Injected:
        """Switch a fault on until `clear`; the arguments are those of `inject`."""
        if name not in FAULTS:
            raise KitError(f"There is no fault {name}.", next_step=f"Choose one of {', '.join(sorted(FAULTS))}.")
        injected = Injected(FAULTS[name], frozenset(calls), share, random.Random(seed))  # noqa: S311
        self._on.append(injected)
        return injected

    def clear(self) -> None:
        """Switch every fault and delay off."""
        self._on.clear()
        self.delays.clear()

    async def intercept(self, path: str) -> Answer | None:
        """Let a request to Graph meet what is switched on.

        Args:
            path: the path after the version.

        Returns:
            The refusal that it meets, or None.
        """
        for fault in self._met("graph"):
            await asyncio.sleep(fault.seconds)
            if fault.status:
                refusal = GraphError(fault.status, fault.code, fault.message).answer({})
                return replace(refusal, headers={"Retry-After": str(fault.retry_after)} if fault.retry_after else {})
        return self.delays.look(path)

    def network(self, request: httpx.Request) -> bool:
        """Let a request meet a broken network before it arrives.

        Returns:
            Whether the answer will be lost on its way back.

        Raises:
            httpx.ConnectError: nothing arrives.
        """
        names = {fault.name for fault in self._met("network")}
        if "network-down" in names:
            raise httpx.ConnectError("The connection could not be made.", request=request)
        return "answer-lost" in names

    def before_endpoint(self) -> None:
        """Let a call of an endpoint meet what is switched on.

        Raises:
            Unusable: no answer comes of it.
        """
        for fault in self._met("endpoint"):
            raise Unusable(fault.error, f"The service reports {CALLOUT_ERRORS[fault.error]}.")

    def _met(self, at: str) -> list[Fault]:
        return [each.fault for each in list(self._on) if each.fault.at == at and each.meets()]

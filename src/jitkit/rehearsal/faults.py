"""Faults that can be switched on: Graph refuses, the network breaks, the service fails at its own end.

Each is switched on by name for as long as a block lasts, for every call or at exact call numbers, or for a share of the
calls that a seed decides, the same in every run.

Sources: [Microsoft Graph: error responses; throttling], [Microsoft Learn, "Troubleshoot custom authentication
extensions"].
"""

from __future__ import annotations

import contextlib
import random
import tomllib
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Final, Literal

from jitkit.errors import KitError

At = Literal["graph", "gateway", "network", "endpoint"]


@dataclass(frozen=True)
class Fault:
    """One way in which a call can fail."""

    name: str
    at: At
    means: str
    status: int = 0
    code: str = ""
    message: str = ""
    retry_after: int = 0
    error: int = 0
    seconds: float = 0.0
    done: bool = False  # the request is carried out all the same


_TABLE: Final = tomllib.loads((files("jitkit.rehearsal") / "drills.toml").read_text(encoding="utf-8"))["fault"]
FAULTS: Final = {each["name"]: Fault(**each) for each in _TABLE}


@dataclass
class Injected:
    """A fault that is switched on."""

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
        """Switch a fault on for as long as the block lasts."""
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

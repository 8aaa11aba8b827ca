"""What Graph, sign-ins and callouts of one opened tenant share: directory, switches, faults and the list of calls."""

from __future__ import annotations

import collections
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal, TypeVar, cast

from jitkit.rehearsal import switches
from jitkit.rehearsal.clock import Clock
from jitkit.rehearsal.directory import Directory
from jitkit.rehearsal.faults import Faults

T = TypeVar("T")

_CALLS_KEPT: Final = 1000


@dataclass(frozen=True)
class LoggedCall:
    """One call of Graph or of an endpoint."""

    number: int
    time: float
    to: Literal["graph", "endpoint"]
    method: str
    path: str
    status: int | None


class State:
    """The state of one opened tenant."""

    def __init__(self, directory: Directory) -> None:
        self.directory: Final = directory
        self.faults: Final = Faults()
        self.calls: Final[collections.deque[LoggedCall]] = collections.deque(maxlen=_CALLS_KEPT)
        self._version: tuple[int, int] | None = None
        self._found: dict[tuple[str, str], object] = {}

    @property
    def clock(self) -> Clock:
        """The tenant's clock."""
        return self.directory.clock

    def note_call(self, to: Literal["graph", "endpoint"], method: str, path: str, status: int | None) -> None:
        """Append to the list of the last calls, without a secret."""
        number = self.calls[-1].number + 1 if self.calls else 1
        self.calls.append(LoggedCall(number, self.clock.now(), to, method, path, status))

    def refresh(self) -> None:
        """Forget what may have changed. A sign-in does it once, when it begins."""
        version = self.directory.version()
        if version != self._version:
            self._version = version
            self._found.clear()
            self.directory.clock.follow()

    def once(self, kind: str, name: str, find: Callable[[], T]) -> T:
        """Return what a search found, and search again only after the directory or a switch changed."""
        key = (kind, name)
        if key not in self._found:
            self._found[key] = find()
        return cast(T, self._found[key])

    def switch(self, name: str) -> switches.Value:
        """Read a switch."""
        return self.once("switch", name, lambda: switches.read(self.directory, name))

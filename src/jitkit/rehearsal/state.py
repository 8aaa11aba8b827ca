"""What Graph, sign-ins and callouts of one opened tenant share: directory, switches, faults and the list of calls."""

from __future__ import annotations

import collections
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Literal, TypeVar, cast

from jitkit.rehearsal import switches
from jitkit.rehearsal.clock import Clock
from jitkit.rehearsal.directory import Directory
from jitkit.rehearsal.faults import Faults

T = TypeVar("T")

_CALLS_KEPT: Final = 1000


@dataclass(frozen=True)
class LoggedCall:
    """One call."""

    number: int
    time: float
    to: Literal["graph", "endpoint"]
    method: str
    path: str
    status: int | None

    @property
    def moment(self) -> str:
        """The time in UTC, to the second."""
        return datetime.fromtimestamp(self.time, UTC).strftime("%Y-%m-%d %H:%M:%S")


class CallLog:
    """The last calls to Graph and to endpoints, without a secret."""

    def __init__(self) -> None:
        self._kept: collections.deque[LoggedCall] = collections.deque(maxlen=_CALLS_KEPT)
        self._count = 0

    def add(self, time: float, to: Literal["graph", "endpoint"], method: str, path: str, status: int | None) -> None:
        """Append a call."""
        self._count += 1
        self._kept.append(LoggedCall(self._count, time, to, method, path, status))

    def clear(self) -> None:
        """Forget every call, and count from 1 again."""
        self._kept.clear()
        self._count = 0

    def __len__(self) -> int:
        return len(self._kept)

    def __iter__(self) -> Iterator[LoggedCall]:
        return iter(tuple(self._kept))


class State:
    """The state of one opened tenant."""

    def __init__(self, directory: Directory) -> None:
        self.directory: Final = directory
        self.faults: Final = Faults()
        self.calls: Final = CallLog()
        self._version: tuple[int, int] | None = None
        self._found: dict[tuple[str, str], object] = {}

    @property
    def clock(self) -> Clock:
        """The tenant's clock."""
        return self.directory.clock

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

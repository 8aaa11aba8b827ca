"""What was asked of the stand-in tenant and what it asked of an endpoint: the last calls, without a secret."""

from __future__ import annotations

import collections
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Literal

__all__ = ["KEPT", "CallLog", "LoggedCall"]

KEPT: Final = 1000


@dataclass(frozen=True)
class LoggedCall:
    """One call.

    Args:
        number: which one it was since the tenant was opened, from 1.
        time: when, in seconds since the epoch, by the tenant's clock.
        to: `graph`, or `endpoint` for what a sign-in or a probe sent out.
        method: the HTTP method.
        path: the path alone: query, headers and body may hold what nobody should keep.
        status: the HTTP status; None when there was no answer.
    """

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
    """Keep the last calls of one opened tenant."""

    def __init__(self) -> None:
        self._kept: collections.deque[LoggedCall] = collections.deque(maxlen=KEPT)
        self._count = 0

    def add(self, time: float, to: Literal["graph", "endpoint"], method: str, path: str, status: int | None) -> None:
        """Append a call.

        Args:
            time: the tenant's time.
            to: who was called.
            method: the HTTP method.
            path: the path without its query.
            status: the answer's status; None when there was none.
        """
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

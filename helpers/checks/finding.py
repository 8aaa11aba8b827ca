"""What a check finds: one thing, whether it is in order, in which words, and what mends it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

from jitkit.display import Sent, Table
from jitkit.errors import KitError, PermissionMissing

__all__ = ["Checked", "Finding", "fault", "fine", "read", "unknown"]

T = TypeVar("T")


@dataclass(frozen=True)
class Finding:
    """One thing that was checked.

    Args:
        what: the thing.
        verdict: `yes`, `no`, or `not known` when it could not be read.
        found: what was found, in words.
        mend: what to do; empty when it is in order.
    """

    what: str
    verdict: str
    found: str
    mend: str = ""


@dataclass(frozen=True, kw_only=True)
class Checked(Table):
    """Everything that was checked.

    Args:
        faults: what is not in order.
    """

    faults: tuple[Finding, ...]

    def __repr__(self) -> str:
        return f"<Check of {len(self.rows)} things: {len(self.faults)} faults>"

    @classmethod
    def of(cls, findings: Iterable[Finding], sent: Iterable[Sent]) -> Checked:
        """Make the table; what is not in order comes first.

        Args:
            findings: what was found.
            sent: the requests behind it.
        """
        order = ("no", "not known", "yes")
        rows = sorted(findings, key=lambda each: order.index(each.verdict))
        faults = tuple(each for each in rows if each.verdict == "no")
        count = "1 fault" if len(faults) == 1 else f"{len(faults) or 'no'} faults"
        return cls(
            caption=f"Check of the whole configuration: {count}",
            columns=("What", "In order", "Found", "What to do"),
            rows=[(each.what, each.verdict, each.found, each.mend) for each in rows],
            note="Nothing was written.",
            sent=tuple(sent),
            faults=faults,
        )


def fine(what: str, found: str) -> Finding:
    """A thing that is in order."""
    return Finding(what, "yes", found)


def fault(what: str, found: str, mend: str) -> Finding:
    """A thing that is not."""
    return Finding(what, "no", found, mend)


def unknown(what: str, found: str, mend: str) -> Finding:
    """A thing that could not be read."""
    return Finding(what, "not known", found, mend)


async def read(what: str, call: Callable[[], Awaitable[T]]) -> tuple[T | None, list[Finding]]:
    """Read a thing and put a failure into a finding.

    Args:
        what: the thing.
        call: reads it.

    Returns:
        What was read and no finding, or None and the finding that says why not.
    """
    try:
        return await call(), []
    except PermissionMissing as refused:
        return None, [unknown(what, f"{refused.happened} {refused.service}", refused.next_step)]
    except KitError as problem:
        words = problem.happened + (f" ({problem.service})" if problem.service else "")
        return None, [fault(what, words, problem.next_step)]

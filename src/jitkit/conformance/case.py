"""What a case is: an id, why it matters, where that is said, and the coroutine that finds out."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from jitkit.conformance.world import World

__all__ = ["Case", "Failed", "Outcome", "Skipped", "TooSlow", "case", "cases_of"]

PASS: Final = "pass"  # noqa: S105
FAIL: Final = "fail"
SKIPPED: Final = "skipped"


class Failed(Exception):
    """The endpoint did something else than it must; the text says what, and holds no secret."""


class TooSlow(Failed):
    """The endpoint took too long, as far as a machine that may be busy with other things can tell."""


class Skipped(Exception):
    """The case cannot be run here; the text says why."""


@dataclass(frozen=True)
class Case:
    """One question to an endpoint.

    Args:
        id: a letter for the area and a number.
        why: one line.
        source: where it is said: a document, an RFC, or "safest" where the documents are silent.
        required: whether a failure is a failure of the run, or a choice of policy to know about.
        run: asks; returns, or raises `Failed` or `Skipped`.
    """

    id: str
    why: str
    source: str
    required: bool
    run: Callable[[World], Awaitable[None]]


@dataclass(frozen=True)
class Outcome:
    """What came out of one case.

    Args:
        area: the heading that it stands under.
        case: the case.
        result: pass, fail or skipped.
        reason: in words; empty for a pass.
        seconds: how long it took.
    """

    area: str
    case: Case
    result: str
    reason: str
    seconds: float


def case(
    id: str, why: str, *, source: str, required: bool = True
) -> Callable[[Callable[[World], Awaitable[None]]], Case]:
    """Make a case of a coroutine function."""

    def made(run: Callable[[World], Awaitable[None]]) -> Case:
        return Case(id, why, source, required, run)

    return made


def cases_of(module: ModuleType) -> Sequence[Case]:
    """List the cases of a module in the order in which they are written."""
    found: list[Any] = list(vars(module).values())
    return [value for value in found if isinstance(value, Case)]

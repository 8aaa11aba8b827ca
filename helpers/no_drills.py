"""`s.rehearsal` in a real tenant, which is never broken on purpose: each drill says that it is skipped."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Final, NoReturn

from jitkit.display import Card, Table
from jitkit.errors import KitError

if TYPE_CHECKING:
    from helpers.checks import Checked

__all__ = ["SKIPPED", "Drill", "NoDrills", "Skipped"]

SKIPPED: Final = "skipped: a real tenant is not broken on purpose"


class Skipped(KitError):
    """A block was not run, because it is a drill and this is a real tenant. A notebook shows one line."""

    def __init__(self) -> None:
        super().__init__(SKIPPED, next_step="Go on with the next cell.")

    def _render_traceback_(self) -> list[str]:
        return [SKIPPED]


@dataclass(frozen=True, kw_only=True)
class Drill(Card):
    """Something that is wrong now. In a `with` statement it is put right at the end of the block.

    Args:
        undo: puts it right; None in a real tenant, where the block is not entered.
    """

    undo: Callable[[], object] | None = field(default=None, repr=False)

    def __enter__(self) -> Drill:
        if self.undo is None:
            raise Skipped
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.undo is not None:
            self.undo()


class NoDrills:
    """The same for a real tenant: every drill says that it is skipped, and does nothing."""

    def misconfigure(self, which: str | int) -> Drill:
        """Skip."""
        return Drill(title="Drill", status=SKIPPED)

    def fault(self, name: str, *, calls: Collection[int] = (), share: float = 1.0, seed: int = 0) -> NoReturn:
        """Skip the block.

        Raises:
            Skipped: always.
        """
        raise Skipped

    async def case(self, number: int) -> Card:
        """Skip."""
        return Card(title="Drill", status=SKIPPED)

    async def retry(self) -> Card:
        """Skip."""
        return Card(title="Drill", status=SKIPPED)

    async def each_case(self, check: Callable[[], Awaitable[Checked]]) -> Card:
        """Skip."""
        return Card(title="Drill", status=SKIPPED)

    def undo(self, which: str | int | None = None) -> Card:
        """Skip."""
        return Card(title="Drill", status=SKIPPED)

    def delay(self, kind: str, looks: int = 2) -> Card:
        """Skip."""
        return Card(title="Drill", status=SKIPPED)

    def switch(self, name: str, value: bool | float) -> Card:
        """Skip."""
        return Card(title="Drill", status=SKIPPED)

    def forward(self, *, days: float = 0, hours: float = 0) -> Card:
        """Skip."""
        return Card(title="Drill", status=SKIPPED)

    def snapshot(self, name: str) -> Card:
        """Skip."""
        return Card(title="Drill", status=SKIPPED)

    def restore(self, name: str) -> Card:
        """Skip."""
        return Card(title="Drill", status=SKIPPED)

    def reset(self) -> Card:
        """Skip."""
        return Card(title="Drill", status=SKIPPED)

    def calls(self, last: int = 20) -> Table:
        """Skip."""
        return Table(caption=SKIPPED, columns=(), rows=[])

    def listing(self) -> Table:
        """Skip."""
        return Table(caption=SKIPPED, columns=(), rows=[])

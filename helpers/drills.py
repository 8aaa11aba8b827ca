"""Break things on purpose and mend them: `s.rehearsal`. A real tenant is never broken; there, each drill says so."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final, NoReturn

from helpers.errors import KitError
from helpers.show import Card, Table

if TYPE_CHECKING:
    from helpers.rehearsal.faults import Injected
    from helpers.rehearsal.tenant import RehearsalTenant

__all__ = ["Drill", "Drills", "NoDrills", "Skipped"]

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


class Drills:
    """Drills in the rehearsal tenant.

    Args:
        tenant: the stand-in tenant.
        folder: where snapshots are kept.
        files: what belongs to the tenant on this machine: key files and journals.
    """

    def __init__(self, tenant: RehearsalTenant, folder: Path, files: Collection[Path]) -> None:
        from helpers.rehearsal.snapshots import Snapshots

        self._tenant = tenant
        self._snapshots = Snapshots(tenant, folder, tuple(files))

    def misconfigure(self, which: str | int) -> Drill:
        """Make one of the ten commonest mistakes; in a `with` statement, for as long as its block lasts.

        Args:
            which: a case number, which gives nothing away, or a name that `listing` shows.

        Raises:
            NotReady: the tenant is not set up.
        """
        from helpers.rehearsal.misconfigurations import misconfigure

        made = misconfigure(self._tenant.directory, which)
        return Drill(
            title=f"Case {made.case}" if isinstance(which, int) else made.name,
            status="something is wrong now",
            facts={"To put it right in the end": f"s.rehearsal.undo({which!r})"},
            undo=lambda: self.undo(which),
        )

    def undo(self, which: str | int | None = None) -> Card:
        """Take a mistake back, or all of them; what was mended meanwhile stays as it is.

        Args:
            which: a case number or a name; None for all.
        """
        from helpers.rehearsal.misconfigurations import configure

        taken = configure(self._tenant.directory, which)
        title = "Every case" if which is None else f"Case {which}"
        return Card(title=title, status="over" if taken else "was not on")

    @contextlib.contextmanager
    def fault(self, name: str, *, calls: Collection[int] = (), share: float = 1.0, seed: int = 0) -> Iterator[Injected]:
        """Let Graph, the network or the service fail for as long as the block lasts.

        Args:
            name: a name that `listing` shows.
            calls: the numbers of the calls that fail, counted from 1; empty for every call.
            share: which share of the calls fail, 0 to 1.
            seed: decides which ones, the same in every run.
        """
        with self._tenant.faults.inject(name, calls=calls, share=share, seed=seed) as injected:
            yield injected

    def delay(self, kind: str, looks: int = 2) -> Card:
        """Let new objects of a kind be unknown (404) for the first looks at each."""
        self._tenant.faults.delays.set(kind, looks)
        return Card(
            title=f"New objects of the kind {kind}", status=f"unknown for {looks} looks" if looks else "on time"
        )

    def switch(self, name: str, value: bool | float) -> Card:
        """Set a switch: what Microsoft's documents leave open, or what a trainer wants otherwise."""
        from helpers.rehearsal import switches

        switches.write(self._tenant.directory, name, value)
        meant = switches.SWITCHES[name]
        return Card(title=f"Switch {name}", status=str(value), facts={"Means": meant.means, "Why": meant.why})

    def forward(self, *, days: float = 0, hours: float = 0) -> Card:
        """Move the tenant's clock on."""
        self._tenant.directory.clock.forward(days * 86_400 + hours * 3_600)
        now = datetime.fromtimestamp(self._tenant.directory.clock.now(), UTC)
        return Card(title="The tenant's clock", status=now.strftime("%Y-%m-%d %H:%M UTC"))

    def snapshot(self, name: str) -> Card:
        """Keep the tenant as it is now, with the private key that belongs to it."""
        kept = self._snapshots.take(name)
        return Card(title=f"Snapshot {name}", status="taken", facts={"Kept in": str(kept)})

    def restore(self, name: str) -> Card:
        """Bring a snapshot back."""
        self._snapshots.restore(name)
        return Card(title=f"Snapshot {name}", status="restored")

    def reset(self) -> Card:
        """Make the tenant untouched again."""
        self._tenant.reset()
        return Card(title="The rehearsal tenant", status="untouched again", facts={"Next": "open a new session"})

    def calls(self, last: int = 20) -> Table:
        """Show the last calls to Graph and to the endpoint: method, path, status and time; never a body."""
        rows = [
            (each.number, each.moment, each.to, each.method, each.path, each.status or "no answer")
            for each in list(self._tenant.calls)[-last:]
        ]
        return Table(
            caption="The last calls", columns=("No.", "Time (UTC)", "To", "Method", "Path", "Status"), rows=rows
        )

    def listing(self) -> Table:
        """Show every misconfiguration, fault and switch. It gives the cases of notebook 90 away."""
        from helpers.rehearsal.faults import FAULTS
        from helpers.rehearsal.misconfigurations import MISCONFIGURATIONS
        from helpers.rehearsal.switches import SWITCHES

        rows = [(f"misconfigure({each.name!r})", each.mistake, each.symptom) for each in MISCONFIGURATIONS]
        rows += [(f"fault({each.name!r})", each.means, "for as long as the block lasts") for each in FAULTS.values()]
        rows += [
            (f"switch({each.name!r}, …)", each.means, f"{each.why} Default: {each.default}.")
            for each in SWITCHES.values()
        ]
        return Table(
            caption="What there is to break", columns=("Call", "What it does", "What shows, or why"), rows=rows
        )


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

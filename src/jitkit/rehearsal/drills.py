"""Breaks a rehearsal tenant on purpose and fixes it again: `s.rehearsal` in the notebooks."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn

from jitkit.display import Card, Table
from jitkit.errors import NotReady
from jitkit.explanations import callout_cause
from jitkit.rehearsal import switches
from jitkit.rehearsal.faults import FAULTS, Injected
from jitkit.rehearsal.misconfigurations import MISCONFIGURATIONS, misconfigure, undo, wrong_now
from jitkit.rehearsal.mystery import Game
from jitkit.rehearsal.sign_in import SignIn
from jitkit.rehearsal.snapshots import Snapshots
from jitkit.rehearsal.tenant import RehearsalTenant

__all__ = ["Drill", "Drills"]


@dataclass(frozen=True, kw_only=True)
class Drill(Card):
    """A misconfiguration that was made. In a `with` statement it is undone at the end of the block."""

    undo: Callable[[], object] = field(repr=False)

    def __enter__(self) -> Drill:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.undo()


class Drills:
    """Drills in the rehearsal tenant.

    Args:
        tenant: the rehearsal tenant.
        folder: where snapshots are kept.
        files: what belongs to the tenant on this machine: key files, journal, ledger and collected history.
        volunteers: lists invented users, name to password, who can sign in and migrate without a further step.
    """

    def __init__(
        self,
        tenant: RehearsalTenant,
        folder: Path,
        files: Collection[Path],
        volunteers: Callable[[], Mapping[str, str]],
    ) -> None:
        self._tenant, self._volunteers = tenant, volunteers
        self._last: tuple[str, str] | None = None
        self.snapshots = Snapshots(tenant, folder, tuple(files))
        self.player: Callable[[int], Awaitable[Card]] | None = None
        self.endpoint_stopper: Callable[[], Awaitable[Card]] = _without_session
        self.game: Game | None = None

    async def play(self, days: int = 60) -> Card:
        """Let the invented users sign in over some days, in the tenant's own time; it takes seconds.

        Args:
            days: how many days are to have passed since the first play; a second play adds the days that are missing.

        Raises:
            NotReady: the tenant is not set up.
            KitError: `days` is not a whole number from 1 to 3650.
        """
        if self.player is None:
            return await _without_session()
        return await self.player(days)

    async def production(self) -> Card:
        """Make the tenant one that other people use: their applications, listeners, accounts and endpoint."""
        await self._tenant.put_into_production()
        return Card(title="A tenant in production", status="made", facts={"To undo it": "restore a snapshot"})

    def misconfigure(self, which: str | int) -> Drill:
        """Make one of the ten most common mistakes; in a `with` statement, for as long as its block lasts.

        Args:
            which: a case number, which does not reveal the mistake, or a name that `listing` shows.

        Raises:
            NotReady: the tenant is not set up.
        """
        made = misconfigure(self._tenant.directory, which)
        changed = made.name in wrong_now(self._tenant.directory)
        return Drill(
            title=f"Case {made.case}" if isinstance(which, int) else made.name,
            status="something is wrong now" if changed else "nothing was changed: it is so already",
            facts={"To undo it": f"s.rehearsal.undo({which!r})"},
            undo=lambda: self.undo(which),
        )

    async def case(self, number: int) -> Card:
        """Make a mistake and sign a user in who has not migrated; show what the user and the sign-in log see.

        Args:
            number: 1 to 10; it does not reveal the mistake.

        Raises:
            NotReady: the tenant is not set up, or every user has migrated.
        """
        self.misconfigure(number)
        try:
            self._last = self._volunteer()
        except NotReady:
            self.undo(number)
            raise
        return _symptom(number, await self._tenant.sign_in(*self._last))

    async def retry(self) -> SignIn:
        """Let the same user try again, and show it step by step.

        Raises:
            NotReady: no case was tried before.
        """
        if self._last is None:
            raise NotReady("No user has tried yet.", next_step="Run a cell with `s.rehearsal.case(…)` first.")
        return await self._tenant.sign_in(*self._last)

    async def stop_endpoint(self) -> Card:
        """Stop the session's endpoint; `await s.endpoint.ensure()` starts it again."""
        return await self.endpoint_stopper()

    async def fix(self, step: Callable[[], Awaitable[Card]]) -> SignIn:
        """Fix a mistake with a step, then let the same user try again, as `retry` does.

        Args:
            step: the step, such as `s.policies.listener.ensure`.
        """
        await step()
        return await self.retry()

    async def each_case(self, check: Callable[[], Awaitable[Any]]) -> Table:
        """Make one mistake after the other, and list what a check names while it lasts.

        Args:
            check: the check, such as `s.check`; its result has `faults`, and each says `what` is wrong.
        """
        rows = []
        for each in MISCONFIGURATIONS:
            # Logs are throttled to five requests in ten seconds: here too nobody meets ten cases at once.
            self._tenant.directory.clock.forward(60)
            with self.misconfigure(each.case):
                faults = (await check()).faults
            rows.append((each.case, each.mistake, "; ".join(dict.fromkeys(one.what for one in faults)) or "nothing"))
        return Table(caption="What the check names", columns=("Case", "Mistake", "Not in order"), rows=rows)

    async def mystery(self, seed: int | str) -> Game:
        """Begin the hidden-fault game: plant one to three faults that are not shown, and list the names to choose from.

        Args:
            seed: decides what is planted, the same in every run; the seed of a game that is on goes on with it.

        Raises:
            NotReady: the tenant is not in order, so that what is found would not be what was planted.
            KitError: another game is on.
        """
        if self.game is None:
            await _without_session()
        await self.game.begin(seed)
        return self.game

    def undo(self, which: str | int | None = None) -> Card:
        """Undo a mistake, or all of them; what was fixed meanwhile stays as it is.

        Args:
            which: a case number or a name; None for all.
        """
        undone = undo(self._tenant.directory, which)
        title = "Every case" if which is None else f"Case {which}"
        if self.game:
            status = "undone" if undone else "was not switched on by you"
            note = "`undo` does not touch what it planted; `await game.repair(…)` does, for a name that is right"
            return Card(title=title, status=status, facts={"A game is on": note})
        return Card(title=title, status="undone" if undone else "was not on")

    def fault(
        self, name: str, *, calls: Collection[int] = (), share: float = 1.0, seed: int = 0
    ) -> AbstractContextManager[Injected]:
        """Let Graph, the network or the service fail for as long as a `with` block lasts.

        Args:
            name: a name that `listing` shows.
            calls: the numbers of the calls that fail, counted from 1; empty for every call.
            share: which share of the calls fail, 0 to 1.
            seed: decides which ones, the same in every run.
        """
        return self._tenant.faults.inject(name, calls=calls, share=share, seed=seed)

    def switch(self, name: str, value: switches.Value) -> Card:
        """Set a switch: what Microsoft's documents leave open, or what a trainer wants to be different.

        Args:
            name: a name that `listing` shows.
            value: True or False, a number or a text.
        """
        switches.write(self._tenant.directory, name, value)
        meant = switches.SWITCHES[name]
        return Card(title=f"Switch {name}", status=str(value), facts={"Means": meant.means, "Why": meant.why})

    def forward(self, *, days: float = 0, hours: float = 0) -> Card:
        """Move the tenant's clock on."""
        self._tenant.directory.clock.forward(days * 86_400 + hours * 3_600)
        return Card(title="The tenant's clock", status=_utc(self._tenant.directory.clock.now(), "%H:%M UTC"))

    def snapshot(self, name: str) -> Card:
        """Keep the tenant as it is now, with the private key that belongs to it."""
        kept = self.snapshots.take(name)
        return Card(title=f"Snapshot {name}", status="taken", facts={"Kept in": str(kept)})

    def restore(self, name: str) -> Card:
        """Bring a snapshot back."""
        self._end_game()
        self.snapshots.restore(name)
        return Card(
            title=f"Snapshot {name}",
            status="restored",
            facts={"Next": "`await s.endpoint.ensure()`: the endpoint may run at another address now, or not at all"},
        )

    def reset(self) -> Card:
        """Make the tenant untouched again."""
        self._end_game()
        self._tenant.reset()
        return Card(title="The rehearsal tenant", status="untouched again", facts={"Next": "open a new session"})

    def _end_game(self) -> None:
        if self.game is not None:
            self.game.put_store_back()

    def calls(self, last: int = 20) -> Table:
        """Show the last calls to Graph and to the endpoint: method, path, status and time; never a body."""
        rows = [
            (each.number, _utc(each.time, "%H:%M:%S"), each.to, each.method, each.path, each.status or "no answer")
            for each in list(self._tenant.calls)[-last:]
        ]
        return Table(
            caption="The last calls", columns=("No.", "Time (UTC)", "To", "Method", "Path", "Status"), rows=rows
        )

    def listing(self) -> Table:
        """Show every misconfiguration, fault and switch. It reveals the cases of notebook 90."""
        rows = [(f"misconfigure({each.name!r})", each.mistake, each.symptom) for each in MISCONFIGURATIONS]
        rows += [(f"fault({each.name!r})", each.means, "for as long as the block lasts") for each in FAULTS.values()]
        rows += [
            (f"switch({each.name!r}, …)", each.means, f"{each.why} Default: {each.default}.")
            for each in switches.SWITCHES.values()
        ]
        return Table(
            caption="What there is to break", columns=("Call", "What it does", "What shows, or why"), rows=rows
        )

    def volunteers(self, count: int) -> list[str]:
        """Return the names of some invented users who can sign in and have not migrated."""
        return [name for name, _ in islice(self._able(), count)]

    def _able(self) -> Iterator[tuple[str, str]]:
        for name, password in self._volunteers().items():
            user = self._tenant.directory.user_by_sign_in_name(name)
            if user and user.enabled and not user.failed and not _migrated(user.body):
                yield name, password

    def _volunteer(self) -> tuple[str, str]:
        for each in self._able():
            return each
        raise NotReady("Every user who could try has migrated.", next_step="Restore a snapshot, or reset the tenant.")


async def _without_session() -> NoReturn:
    raise NotReady("There is no session to play in.", next_step="Open one with `s = await kit.open()`.")


def _utc(moment: float, time_of_day: str) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime(f"%Y-%m-%d {time_of_day}")


def _migrated(body: Mapping[str, object]) -> bool:
    return any(name.startswith("extension_") and value is False for name, value in body.items())


def _symptom(number: int, done: SignIn) -> Card:
    """Show what the user sees and what an administrator finds in the log, not what the tenant knows."""
    ran = "empty: no extension was called"
    if done.callout_error is not None or done.http_status is not None:
        named = callout_cause(done.callout_error) if done.callout_error else "no error"
        status = f"HTTP status {done.http_status}" if done.http_status else "no HTTP status"
        ran = f"passwordSubmit: {named}; {status}; attempts: {done.attempts}"
    return Card(
        title=f"Case {number}: {done.username} signs in with the right password",
        status=done.outcome,
        facts={
            "The person sees": done.user_sees,
            "Sign-in log, error code": str(done.code),
            "Sign-in log, Authentication Events": ran,
            "Took": f"{done.duration_ms:,.0f} ms",
        },
    )

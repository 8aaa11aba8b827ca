"""Break things on purpose and mend them: `s.rehearsal` in the rehearsal tenant."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from helpers.no_drills import Drill
from jitkit.display import Card, Table
from jitkit.errors import NotReady
from jitkit.explanations import CALLOUT_ERRORS

if TYPE_CHECKING:
    from helpers.checks import Checked
    from jitkit.rehearsal.faults import Injected
    from jitkit.rehearsal.sign_in_result import SignIn
    from jitkit.rehearsal.tenant import RehearsalTenant

__all__ = ["Drills", "volunteers"]


class Drills:
    """Drills in the rehearsal tenant.

    Args:
        tenant: the stand-in tenant.
        folder: where snapshots are kept.
        files: what belongs to the tenant on this machine: key files, journal, ledger and collected history.
        volunteers: lists invented people, name to password, who can sign in and move without ado.
    """

    def __init__(
        self,
        tenant: RehearsalTenant,
        folder: Path,
        files: Collection[Path],
        volunteers: Callable[[], Mapping[str, str]],
    ) -> None:
        from jitkit.rehearsal.snapshots import Snapshots

        self._tenant, self._volunteers = tenant, volunteers
        self._last: tuple[str, str] | None = None
        self._snapshots = Snapshots(tenant, folder, tuple(files))

    def misconfigure(self, which: str | int) -> Drill:
        """Make one of the ten commonest mistakes; in a `with` statement, for as long as its block lasts.

        Args:
            which: a case number, which gives nothing away, or a name that `listing` shows.

        Raises:
            NotReady: the tenant is not set up.
        """
        from jitkit.rehearsal.misconfigurations import misconfigure, wrong_now

        made = misconfigure(self._tenant.directory, which)
        changed = made.name in wrong_now(self._tenant.directory)
        return Drill(
            title=f"Case {made.case}" if isinstance(which, int) else made.name,
            status="something is wrong now" if changed else "nothing was changed: it is so already",
            facts={"To put it right in the end": f"s.rehearsal.undo({which!r})"},
            undo=lambda: self.undo(which),
        )

    async def case(self, number: int) -> Card:
        """Make a mistake and let somebody sign in who is still to migrate; show what the person and the log say.

        Args:
            number: 1 to 10; it gives nothing away.

        Raises:
            NotReady: the tenant is not set up, or everybody has moved.
        """
        self.misconfigure(number)
        try:
            self._last = self._somebody()
        except NotReady:
            self.undo(number)
            raise
        return _symptom(number, await self._tenant.sign_in(*self._last))

    async def retry(self) -> SignIn:
        """Let the same person try again, and show it step by step.

        Raises:
            NotReady: nobody tried before.
        """
        if self._last is None:
            raise NotReady("Nobody has tried yet.", next_step="Run a cell with `s.rehearsal.case(…)` first.")
        return await self._tenant.sign_in(*self._last)

    async def each_case(self, check: Callable[[], Awaitable[Checked]]) -> Table:
        """Make one mistake after the other, and list what a check names while it lasts.

        Args:
            check: the check, such as `s.check`.
        """
        from jitkit.rehearsal.misconfigurations import MISCONFIGURATIONS

        rows = []
        for each in MISCONFIGURATIONS:
            with self.misconfigure(each.case):
                faults = (await check()).faults
            rows.append((each.case, each.mistake, "; ".join(dict.fromkeys(one.what for one in faults)) or "nothing"))
        return Table(caption="What the check names", columns=("Case", "Mistake", "Not in order"), rows=rows)

    def _somebody(self) -> tuple[str, str]:
        for name, password in self._volunteers().items():
            user = self._tenant.directory.user_by_sign_in_name(name)
            if user and user.enabled and not user.failed and not _moved(user.body):
                return name, password
        raise NotReady("Everybody who could try has moved.", next_step="Restore a snapshot, or start afresh.")

    def undo(self, which: str | int | None = None) -> Card:
        """Take a mistake back, or all of them; what was mended meanwhile stays as it is.

        Args:
            which: a case number or a name; None for all.
        """
        from jitkit.rehearsal.misconfigurations import configure

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
        from jitkit.rehearsal import switches

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
        from jitkit.rehearsal.faults import FAULTS
        from jitkit.rehearsal.misconfigurations import MISCONFIGURATIONS
        from jitkit.rehearsal.switches import SWITCHES

        rows = [(f"misconfigure({each.name!r})", each.mistake, each.symptom) for each in MISCONFIGURATIONS]
        rows += [(f"fault({each.name!r})", each.means, "for as long as the block lasts") for each in FAULTS.values()]
        rows += [
            (f"switch({each.name!r}, …)", each.means, f"{each.why} Default: {each.default}.")
            for each in SWITCHES.values()
        ]
        return Table(
            caption="What there is to break", columns=("Call", "What it does", "What shows, or why"), rows=rows
        )


def volunteers(export: Path, people: Mapping[str, str]) -> dict[str, str]:
    """Choose the invented people whose old account is in order and whose password External ID takes.

    Args:
        export: the legacy export.
        people: name to password.

    Returns:
        Name to password, in the order of the export.
    """
    from helpers.legacy_export import read_export
    from jitkit.rehearsal.password_policy import problem

    read = read_export(export)
    awkward = {each.username for each in read.problems}
    return {
        each.username: people[each.username]
        for each in read.users
        if each.status == "active" and not each.must_change and each.username not in awkward
        if each.username in people and not problem(people[each.username])
    }


def _moved(body: Mapping[str, object]) -> bool:
    return any(name.startswith("extension_") and value is False for name, value in body.items())


def _symptom(number: int, done: SignIn) -> Card:
    """What the person who signs in sees, and what an administrator finds in the log; not what the tenant knows."""
    ran = "empty: no extension was called"
    if done.callout_error is not None or done.http_status is not None:
        error = done.callout_error
        named = f"{error} {CALLOUT_ERRORS[error]}" if error else "no error"
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

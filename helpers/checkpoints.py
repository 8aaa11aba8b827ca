"""What each notebook needs and leaves, checked by asking the tenant again; and the removal of what the kit made."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from helpers.checks import THINGS, Thing, check, users_in_words
from helpers.graph import recording
from helpers.session import Steps
from jitkit.display import Card, Table
from jitkit.errors import KitError, NotReady, Taken

__all__ = ["CHECKPOINTS", "Checkpoint", "checkpoint", "checkpoints_of", "needs_of", "remove", "require"]

_WOULD_GO: Final = "would be removed"


@dataclass(frozen=True)
class Checkpoint:
    """One thing that is there once its notebook has run."""

    what: str
    notebook: str  # its two digits
    check: Callable[[Steps], Awaitable[str]]  # returns what it found; raises a KitError when that is not right


async def _show(thing: Thing, s: Steps) -> str:
    return thing.words(await thing.step(s).show())


async def _tenant(s: Steps) -> str:
    return s.tenant.domain


async def _endpoint(s: Steps) -> str:
    await s.endpoint.ensure()
    return (await s.endpoint.show()).status


async def _migrated(s: Steps) -> str:
    counts = await s.users.counts()
    if counts.migrated == 0:
        raise NotReady("No user has migrated yet.", next_step="Sign a user in with notebook 07-sign-in.")
    return f"{counts.migrated:,} migrated"


async def _figures(s: Steps) -> str:
    collected, counted = (await s.progress.collect()).counts["migrated"], (await s.users.counts()).migrated
    if collected != counted:
        raise NotReady(
            f"The figures say that {collected} have migrated, the tenant counts {counted}.",
            next_step="Run the cell again: new values can take some seconds to appear in counts.",
        )
    return f"{counted:,} migrated, in the figures and in the tenant"


async def _in_order(s: Steps) -> str:
    faults = (await check(s)).faults
    if faults:
        raise NotReady(
            "Not in order: " + "; ".join(f"{each.what} ({each.found})" for each in faults), next_step=faults[0].fix
        )
    return "everything that the check reads is in order"


async def _left(s: Steps) -> str:
    left = [str(what) for what, _, happens in (await remove(s, dry_run=True)).rows if happens == _WOULD_GO]
    if "listener" in left and "custom authentication extension" not in left:
        raise NotReady(
            "The listener points to an extension that is gone: sign-ins of flagged users fail.",
            next_step="Set really = True in notebook 99 and run it again, or run notebook 03.",
        )
    return "; ".join(left) or "nothing"


CHECKPOINTS: Final = (
    Checkpoint("a tenant that answers", "00", _tenant),
    *(
        Checkpoint(each.what, each.notebook, partial(_show, each))
        for each in sorted(THINGS, key=lambda thing: thing.notebook)
    ),
    Checkpoint("an endpoint that answers", "05", _endpoint),
    Checkpoint("users to migrate", "06", users_in_words),
    Checkpoint("a user who has migrated", "07", _migrated),
    Checkpoint("figures that equal the tenant's own count", "08", _figures),
    Checkpoint("a configuration without a fault", "90", _in_order),
    Checkpoint("what is left of the kit in the tenant", "99", _left),
)

# Notebook: the notebooks whose checkpoints it needs.
_NEEDS: Final = {
    "00": (),
    "01": ("00",),
    "02": ("00",),
    "03": ("00", "01", "02"),
    "04": ("00", "02"),
    "05": ("00", "02", "03", "04"),
    "06": ("00", "01"),
    "07": ("00", "01", "02", "03", "04", "05", "06"),
    "08": ("00", "01", "06"),
    "90": ("00", "01", "02", "03", "04", "05", "06"),
    "99": ("00",),
}


def needs_of(notebook: str) -> list[Checkpoint]:
    """Return what a notebook, named by its two digits, needs from the ones before it."""
    return [each for each in CHECKPOINTS if each.notebook in _NEEDS[notebook]]


def checkpoints_of(notebook: str) -> list[Checkpoint]:
    """Return what a notebook, named by its two digits, leaves."""
    return [each for each in CHECKPOINTS if each.notebook == notebook]


async def require(s: Steps, notebook: str) -> Table:
    """Check that what a notebook needs is there; raises NotReady with everything that is missing."""
    return await _all(s, needs_of(notebook), "What this notebook needs")


async def checkpoint(s: Steps, notebook: str) -> Table:
    """Check that a notebook left what it should; raises NotReady with everything that is missing."""
    return await _all(s, checkpoints_of(notebook), "Checkpoint: what is there now")


async def _all(s: Steps, checkpoints: list[Checkpoint], caption: str) -> Table:
    rows, missing = [], []
    for each in checkpoints:
        try:
            rows.append((each.what, "yes", await each.check(s)))
        except KitError as problem:
            missing.append((each, problem))
    if missing:
        raise NotReady(
            "Not there yet: " + "; ".join(f"{each.what} ({problem.happened})" for each, problem in missing),
            service=next((problem.service for _, problem in missing if problem.service), None),
            next_step=missing[0][1].next_step,
        )
    return Table(caption=caption, columns=("What", "There", "Found"), rows=rows)


async def remove(s: Steps, *, dry_run: bool) -> Table:
    """Remove the kit's objects from the tenant in dependency order, or list what would be removed.

    Users stay, and so does the `b2c-extensions-app`, which belongs to the tenant.
    """
    with recording() as sent:
        rows = [("users who have not migrated", await _waiting(s), "stay")]
        for thing in reversed(THINGS):
            step = thing.step(s)
            found, happened = await _found(s.attribute.to_remove if step is s.attribute else step.show)
            if not dry_run:
                # Asked even where nothing was found: a half-made thing reads as absent and has parts to remove.
                happened = (await step.remove()).status
            rows.append((thing.what, found, happened))
    return Table(
        caption="What would be removed" if dry_run else "What was removed",
        columns=("What", "Found", "What would happen" if dry_run else "What happened"),
        rows=rows,
        note="Users stay. A user who has not migrated by then needs a password reset, because their temporary password"
        " is random and was never stored. Removed app registrations can be restored for 30 days.",
        sent=tuple(sent),
    )


async def _found(show: Callable[[], Awaitable[Card]]) -> tuple[str, str]:
    try:
        card = await show()
    except NotReady:
        return "not there", "nothing to do"
    except Taken as theirs:
        return theirs.happened, "left alone: the kit did not make it"
    except KitError as problem:
        return problem.happened, "not known"
    ours = card.facts.get("Made by", "this kit") == "this kit"
    return card.title, _WOULD_GO if ours else "stays: the test client is taken out"


async def _waiting(s: Steps) -> str:
    try:
        return f"{(await s.users.counts()).to_migrate:,}"
    except NotReady:
        return "not counted: there is no flag"

"""Take back what the kit made, in the order in which nothing is left pointing at something gone."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Protocol

from helpers.graph import recording
from jitkit.display import Card, Table
from jitkit.errors import KitError, NotReady, Taken

if TYPE_CHECKING:
    from helpers.kit import Session

__all__ = ["WOULD_GO", "clean_up"]

_ABSENT = "not there"
WOULD_GO = "would be removed"


class _Thing(Protocol):
    async def show(self) -> Card:
        """Read it from the tenant."""

    async def remove(self) -> Card:
        """Remove what the kit made of it."""


async def clean_up(session: Session, *, dry_run: bool) -> Table:
    """Remove the kit's objects from the tenant, or say what would be removed.

    The listener goes first: from then on nobody's sign-in calls the endpoint. Users stay, and so does the
    `b2c-extensions-app`, which belongs to the tenant.

    Args:
        session: the open session.
        dry_run: only look.

    Returns:
        One row a thing: what it is, what was found, what happened.
    """
    things: tuple[tuple[str, _Thing], ...] = (
        ("listener", session.policies.listener),
        ("custom authentication extension", session.policies.extension),
        ("user flow", session.apps.user_flow),
        ("test client's consent", session.apps.client_consent),
        ("test client", session.apps.client),
        ("encryption key, here and in the tenant", session.key),
        ("consent to receive payloads", session.apps.extension_consent),
        ("extension's app registration", session.apps.extension),
        ("migration flag", session.attribute),
    )
    with recording() as sent:
        rows = [("users who have not migrated", await _waiting(session), "stay")]
        for what, thing in things:
            look = session.attribute.to_remove if thing is session.attribute else thing.show
            found, happened = await _found(look)
            if not dry_run:
                # Asked even where nothing was found: a half-made thing shows as absent and has parts to remove.
                happened = (await thing.remove()).status
            rows.append((what, found, happened))
    return Table(
        caption="What would be removed" if dry_run else "What was removed",
        columns=("What", "Found", "What would happen" if dry_run else "What happened"),
        rows=rows,
        note="Users stay. Whoever has not migrated by then needs a password reset: their temporary password is known to"
        " nobody. Removed app registrations can be restored for 30 days.",
        sent=tuple(sent),
    )


async def _found(look: Callable[[], Awaitable[Card]]) -> tuple[str, str]:
    try:
        card = await look()
    except NotReady:
        return _ABSENT, "nothing to do"
    except Taken as theirs:
        return theirs.happened, "left alone: the kit did not make it"
    except KitError as problem:
        return problem.happened, "not known"
    ours = card.facts.get("Made by", "this kit") == "this kit"
    return card.title, WOULD_GO if ours else "stays: the test client is taken out"


async def _waiting(session: Session) -> str:
    try:
        return f"{(await session.users.counts()).to_migrate:,}"
    except NotReady:
        return "not counted: there is no flag"

"""What each notebook promises to leave behind, checked by asking the tenant again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from helpers.clean_up import WOULD_GO
from jitkit.display import Table
from jitkit.errors import KitError, NotReady

if TYPE_CHECKING:
    from helpers.kit import Session

__all__ = ["Promise", "judge", "needs_of", "promises_of"]


@dataclass(frozen=True)
class Promise:
    """One thing that is there once its notebook has run.

    Args:
        what: the thing, in words.
        notebook: the two digits of the notebook that makes it.
        check: reads it and returns what it found, in words; raises a KitError when it is not as it should be.
    """

    what: str
    notebook: str
    check: Callable[[Session], Awaitable[str]]


async def _tenant(s: Session) -> str:
    return s.tenant.domain


async def _flag(s: Session) -> str:
    return (await s.attribute.show()).full_name


async def _extension_app(s: Session) -> str:
    return (await s.apps.extension.show()).identifier_uri


async def _payload_consent(s: Session) -> str:
    return ", ".join((await s.apps.extension_consent.show()).permissions)


async def _client(s: Session) -> str:
    return (await s.apps.client.show()).app_id


async def _client_consent(s: Session) -> str:
    return ", ".join((await s.apps.client_consent.show()).permissions)


async def _user_flow(s: Session) -> str:
    return (await s.apps.user_flow.show()).title


async def _extension(s: Session) -> str:
    return (await s.policies.extension.show()).target_url


async def _listener(s: Session) -> str:
    return (await s.policies.listener.show()).title


async def _key(s: Session) -> str:
    return f"thumbprint {(await s.key.show()).thumbprint}"


async def _endpoint(s: Session) -> str:
    await s.endpoint.ensure()
    return (await s.endpoint.show()).status


async def _users(s: Session) -> str:
    counts = await s.users.counts()
    if counts.to_migrate + counts.migrated == 0:
        raise NotReady("No user carries the migration flag.", next_step="Run notebook 06-users.")
    return f"{counts.to_migrate:,} to migrate, {counts.migrated:,} migrated"


async def _somebody_migrated(s: Session) -> str:
    counts = await s.users.counts()
    if counts.migrated == 0:
        raise NotReady("Nobody has migrated yet.", next_step="Sign somebody in with notebook 07-sign-in.")
    return f"{counts.migrated:,} migrated"


async def _figures(s: Session) -> str:
    collected, counted = (await s.progress.collect()).counts["migrated"], (await s.users.counts()).migrated
    if collected != counted:
        raise NotReady(
            f"The figures say that {collected} have migrated, the tenant counts {counted}.",
            next_step="Run the cell again: new values can take some seconds to appear in counts.",
        )
    return f"{counted:,} migrated, in the figures and in the tenant"


async def _in_order(s: Session) -> str:
    faults = (await s.check()).faults
    if faults:
        raise NotReady(
            "Not in order: " + "; ".join(f"{each.what} ({each.found})" for each in faults), next_step=faults[0].mend
        )
    return "everything that the check reads is in order"


async def _left(s: Session) -> str:
    rows = (await s.remove(dry_run=True)).rows
    left = [str(what) for what, _, happens in rows if happens == WOULD_GO]
    if "listener" in left and "custom authentication extension" not in left:
        raise NotReady(
            "The listener points to an extension that is gone: sign-ins of flagged users fail.",
            next_step="Set really = True in notebook 99 and run it again, or run notebook 03.",
        )
    return "; ".join(left) or "nothing"


PROMISES = (
    Promise("a tenant that answers", "00", _tenant),
    Promise("the migration flag", "01", _flag),
    Promise("the extension's app registration", "02", _extension_app),
    Promise("its consent to receive payloads", "02", _payload_consent),
    Promise("the test client", "02", _client),
    Promise("its consent to sign users in", "02", _client_consent),
    Promise("a user flow with e-mail and password", "02", _user_flow),
    Promise("the custom authentication extension", "03", _extension),
    Promise("the listener", "03", _listener),
    Promise("the encryption key", "04", _key),
    Promise("an endpoint that answers", "05", _endpoint),
    Promise("users to migrate", "06", _users),
    Promise("somebody who has migrated", "07", _somebody_migrated),
    Promise("figures that equal the tenant's own count", "08", _figures),
    Promise("a configuration without a fault", "90", _in_order),
    Promise("what is left of the kit in the tenant", "99", _left),
)

_NEEDS = {
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


def needs_of(notebook: str) -> list[Promise]:
    """List what a notebook needs from the ones before it.

    Args:
        notebook: its two digits.
    """
    return [promise for promise in PROMISES if promise.notebook in _NEEDS[notebook]]


def promises_of(notebook: str) -> list[Promise]:
    """List what a notebook leaves behind.

    Args:
        notebook: its two digits.
    """
    return [promise for promise in PROMISES if promise.notebook == notebook]


async def judge(session: Session, promises: list[Promise], caption: str) -> Table:
    """Check promises against the tenant.

    Args:
        session: the open session.
        promises: what to check.
        caption: what the table answers.

    Returns:
        One row a promise.

    Raises:
        NotReady: at least one is not kept; the message lists them all.
    """
    rows, missing = [], []
    for promise in promises:
        try:
            rows.append((promise.what, "yes", await promise.check(session)))
        except KitError as problem:
            missing.append((promise, problem))
    if missing:
        raise NotReady(
            "Not there yet: " + "; ".join(f"{promise.what} ({problem.happened})" for promise, problem in missing),
            service=next((problem.service for _, problem in missing if problem.service), None),
            next_step=missing[0][1].next_step,
        )
    return Table(caption=caption, columns=("What", "There", "Found"), rows=rows)

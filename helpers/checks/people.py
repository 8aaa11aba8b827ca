"""The users: is there somebody to migrate, is somebody forgotten, and must somebody change the password first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from helpers.checks.finding import Finding, fault, fine, read, unknown
from helpers.errors import KitError
from helpers.refusals import explained

if TYPE_CHECKING:
    from helpers.kit import Session
    from helpers.tenant.user_plan import Plan

_FORCED = (
    "Set it to false for each of them: PATCH /users/{id} with"
    ' {"passwordProfile": {"forceChangePasswordNextSignIn": false}}. Notebook 06 creates users so.'
)


async def look(s: Session) -> list[Finding]:
    """Check them.

    Args:
        s: the open session.
    """
    flag, problems = await read("users to migrate", s.attribute.show)
    if flag is None:
        return [unknown("users to migrate", "There is no flag to ask for.", "Make the flag first.")]
    counts, problems = await read("users to migrate", s.users.counts)
    found = list(problems)
    if counts:
        words = f"{counts.to_migrate:,} to migrate, {counts.migrated:,} migrated, {counts.unmarked:,} without the flag"
        there = counts.to_migrate + counts.migrated
        found.append(fine("users to migrate", words) if there else fault("users to migrate", words, "Run notebook 06."))
    found.append(await _forgotten(s))
    forced, problems = await read("users who must change their password", lambda: _forced(s, flag.full_name))
    found += problems
    if forced:
        words = f"{forced:,} flagged users carry forceChangePasswordNextSignIn: they stay flagged at their sign-in."
        found.append(fault("users who must change their password", words, _FORCED))
    elif forced == 0:
        found.append(fine("users who must change their password", "none of the flagged"))
    return found


async def _forgotten(s: Session) -> Finding:
    what = "people of the export without the flag"
    try:
        plan: Plan = await s.users.plan(s.world.export())
    except KitError as problem:
        return unknown(what, problem.happened, problem.next_step)
    if plan.mark:
        words = f"{len(plan.mark):,} are in the tenant without it: the endpoint is never asked about them."
        return fault(what, words, "Run `plan = await s.users.plan(s.world.export())`, read it, then apply it.")
    return fine(what, "none")


async def _forced(s: Session, flag: str) -> int:
    with explained("read who must change the password"):
        rows = s.world.graph.pages(f"/users?$select=id,passwordProfile,{flag}&$top=999")
        forced = [row async for row in rows if row.get(flag) is True and _must_change(row)]
    return len(forced)


def _must_change(row: dict[str, Any]) -> bool:
    return bool((row.get("passwordProfile") or {}).get("forceChangePasswordNextSignIn"))

"""The users: is there somebody to migrate, is somebody forgotten, and must somebody change the password first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from helpers.checks.finding import Finding, fault, fine, read, unknown
from helpers.graph import explained
from helpers.legacy_export import read_export
from helpers.tenant.users import index_users, make_plan
from jitkit.errors import KitError

if TYPE_CHECKING:
    from helpers.kit import Session

# A tenant may have hundreds of thousands: a mistake of an import shows in the first of them.
_MOST: Final = 5_000

_FORCED = (
    "Set it to false for each of them: PATCH /users/{id} with"
    ' {"passwordProfile": {"forceChangePasswordNextSignIn": false}}. An application needs the role User Administrator'
    " for that. Notebook 06 creates users so."
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
    found.append(await _forgotten(s, flag.full_name))
    looked, problems = await read("users who must change their password", lambda: _forced(s, flag.full_name))
    found += problems
    if looked:
        forced, of_whom = looked
        words = f"{forced:,} {of_whom} carry forceChangePasswordNextSignIn: they stay flagged at their sign-in."
        found.append(
            fault("users who must change their password", words, _FORCED)
            if forced
            else fine("users who must change their password", f"none {of_whom}")
        )
    return found


async def _forgotten(s: Session, flag: str) -> Finding:
    what = "people of the export without the flag"
    try:
        export = read_export(s.world.export())
        with explained("read who is without the flag"):
            rows, more = await _some(s, f"{flag} eq null", f"id,identities,mail,{flag}")
    except KitError as problem:
        return unknown(what, problem.happened, problem.next_step)
    plan = make_plan(export.users, (), index_users(rows, flag), flag=flag, issuer="")
    if plan.mark:
        count = f"{len(plan.mark):,}{' or more' if more else ''}"
        words = f"{count} are in the tenant without it: the endpoint is never asked about them."
        return fault(what, words, "Run `plan = await s.users.plan(s.world.export())`, read it, then apply it.")
    if more:
        words = f"none among {len(rows):,} users without it, and there are more of these"
        return unknown(what, words, "Run `await s.users.plan(s.world.export())`: it looks at everybody.")
    return fine(what, "none")


async def _forced(s: Session, flag: str) -> tuple[int, str]:
    with explained("read who must change the password"):
        rows, more = await _some(s, f"{flag} eq true", f"id,passwordProfile,{flag}")
    looked_at = f"of {len(rows):,} flagged users who were looked at" if more else "of the flagged"
    return sum(_must_change(row) for row in rows), looked_at


async def _some(s: Session, condition: str, fields: str) -> tuple[list[dict[str, Any]], bool]:
    """Read the first users for whom a condition holds; return them, and whether there are more."""
    rows: list[dict[str, Any]] = []
    async for row in s.world.graph.pages(f"/users?$filter={condition}&$select={fields}&$top=999"):
        if len(rows) == _MOST:
            return rows, True
        rows.append(row)
    return rows, False


def _must_change(row: dict[str, Any]) -> bool:
    return bool((row.get("passwordProfile") or {}).get("forceChangePasswordNextSignIn"))

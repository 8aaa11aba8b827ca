"""The users: plan from a legacy export, create in batches, count, find, and remove those who have not migrated."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from helpers.graph import Graph, explained
from helpers.legacy_export import LegacyUser, Problem, normalise, read_export
from helpers.tenant.attribute import MigrationFlag
from helpers.tenant.step import Step, all_pages, quoted, recording_errors
from helpers.tenant.user_writer import Journal, UserWriter
from jitkit.display import Card, Sent, Table, fold
from jitkit.errors import KitError, NotReady, PermissionMissing

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Applied", "Counts", "Person", "Plan", "Skipped", "TenantUser", "Users", "index_users", "make_plan"]

_FEDERATED = "An account with this e-mail address is there, but it signs in elsewhere, with no local password."
_MARKED = (
    "There without the flag: they get it. Their present password goes on working; check them first, because some may"
    " have signed up again."
)
_DISABLED = "Disabled in the legacy store; the account that is there already stays as it is."


@dataclass(frozen=True, kw_only=True)
class Counts(Card):
    """How far the tenant says the migration is."""

    to_migrate: int  # users whose flag is true
    migrated: int  # users whose flag is false
    unmarked: int  # users who have no flag


@dataclass(frozen=True, kw_only=True)
class Person(Card):
    """One user."""

    user_id: str  # the object id
    flag: bool | None  # true: to be migrated; false: migrated; None: not part of the migration
    enabled: bool  # whether they may sign in


@dataclass(frozen=True, kw_only=True)
class Applied(Card):
    """What `apply` did."""

    created: int  # how many were created
    marked: int  # how many got the flag
    there: int  # how many turned out to be there already
    left: int  # how many of the plan were left for a later run
    refused: tuple[tuple[str, str], ...] = field(repr=False)  # whom Graph refused, and in which words

    def _repr_html_(self) -> str:
        if not self.refused:
            return super()._repr_html_()
        caption = "Whom Graph refused; everybody else is done"
        table = Table(caption=caption, columns=("Sign-in name", "The service said"), rows=self.refused)
        return super()._repr_html_() + table._repr_html_()


@dataclass(frozen=True)
class TenantUser:
    """A user whom the tenant has already."""

    user_id: str  # the object id
    flag: bool | None  # the migration flag, or None when it was never set
    local: bool  # whether they can sign in with e-mail and password


@dataclass(frozen=True)
class Skipped:
    """A person whom a plan skips."""

    username: str  # the sign-in name as exported; it may be empty
    reason: str  # why, in words
    line: int | None = None  # the line of the export, or None when it is not known


@dataclass(frozen=True, kw_only=True)
class Plan(Table):
    """What `apply` would do. Nothing was written."""

    create: tuple[LegacyUser, ...] = field(repr=False)  # who would be created
    # Who is there without the flag and would get it: object id to sign-in name.
    mark: Mapping[str, str] = field(repr=False)
    marked: int  # how many have the flag set already
    migrated: int  # how many have migrated already; their flag stays false
    skipped: tuple[Skipped, ...] = field(repr=False)  # who is skipped, and why
    flag: str  # the full name of the migration flag
    issuer: str  # the tenant's initial domain, which issues the sign-in names

    def __repr__(self) -> str:
        return (
            f"<Plan: create {len(self.create):,}, mark {len(self.mark):,}, leave {self.marked + self.migrated:,},"
            f" skip {len(self.skipped):,}>"
        )

    def _repr_html_(self) -> str:
        marked = [(name, id) for id, name in self.mark.items()]
        skipped = [("" if each.line is None else each.line, each.username, each.reason) for each in self.skipped]
        return (
            super()._repr_html_()
            + _folded("Who would be marked", ("Sign-in name", "Object id"), marked)
            + _folded("Who is skipped", ("Line", "Sign-in name", "Why"), skipped)
        )


def _folded(caption: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    return fold(caption, Table(caption=caption, columns=columns, rows=rows)._repr_html_()) if rows else ""


class Users(Step):
    """Plan, create, count, find and remove users."""

    @property
    def _journal(self) -> Journal:
        return Journal(self._state / "users.jsonl")

    async def plan(self, export: Path | str | None = None, *, users: Iterable[LegacyUser] | None = None) -> Plan:
        """Compare a legacy export with the tenant and report what would happen. Nothing is written.

        Args:
            export: the CSV file.
            users: people who were read already, instead of a file.

        Returns:
            Who would be created, marked, left and skipped.

        Raises:
            BadTable: the file cannot be read as an export.
            NotReady: there is no migration flag.
        """
        problems: tuple[Problem, ...] = ()
        if export is not None:
            read = read_export(export)
            users, problems = read.users, read.problems
        with recording_errors("compare the export with the tenant") as sent:
            flag, issuer = await self._flag(), await self._issuer()
            plan = make_plan(users or (), problems, await self._known(flag), flag=flag, issuer=issuer)
            return replace(plan, sent=tuple(sent))

    async def dimensions(self, export: Path | str) -> pd.DataFrame:
        """Join what the legacy export says of people to their ids in the tenant. Names stay out. Nothing is written.

        Args:
            export: the CSV file.

        Returns:
            `user_id`, `country`, `app`, `hash_scheme`, `last_legacy_sign_in`: what figures may be grouped by.

        Raises:
            BadTable: the file cannot be read as an export.
            NotReady: there is no migration flag.
        """
        import pandas as pd

        people = read_export(export).users
        with recording_errors("compare the export with the tenant"):
            known = await self._known(await self._flag())
        columns = ("country", "app", "hash_scheme", "last_legacy_sign_in")
        rows = [
            (known[each.username].user_id, *(getattr(each, name) for name in columns))
            for each in people
            if each.username in known
        ]
        return pd.DataFrame(rows, columns=["user_id", *columns])

    async def apply(
        self, plan: Plan, *, progress: Callable[[int, int], object] | None = None, limit: int | None = None
    ) -> Applied:
        """Carry out a plan. Run it again after an interruption: no user is lost or created twice.

        Args:
            plan: what `plan` returned.
            progress: called with how many are done and how many there are in all.
            limit: write at most this many.

        Returns:
            How many were created, marked, found there, refused. Check the refused ones.

        Raises:
            PermissionMissing: the identity may not write users.
            GraphRefused: the tenant throttles for longer than the kit waits.
            NotReady: the tenant cannot hold so many users.
        """
        planned = len(plan.create) + len(plan.mark)
        room = planned if limit is None else limit
        create = plan.create[:room]
        mark = list(plan.mark.items())[: room - len(create)]
        writer = UserWriter(self._graph, self._journal, plan.flag, progress)
        with recording_errors("write the users") as sent:
            if create:
                await require_room(self._graph, len(create))
            await writer.write(create, mark, plan.issuer)
            return _applied(writer, planned, sent)

    async def counts(self) -> Counts:
        """Count who is to migrate and who has migrated, by asking the tenant.

        Raises:
            NotReady: there is no migration flag.
        """
        with recording_errors("count the users") as sent:
            flag = await self._flag()
            total, waiting, done = await self._counts(flag)
            unmarked = total - waiting - done
            return Counts(
                title="Users in the tenant",
                status=f"{total:,}",
                facts={
                    "To migrate (flag true)": f"{waiting:,}",
                    "Migrated (flag false)": f"{done:,}",
                    "Without the flag": f"{unmarked:,}",
                },
                sent=tuple(sent),
                to_migrate=waiting,
                migrated=done,
                unmarked=unmarked,
            )

    async def find(self, username: str) -> Card:
        """Find a user by the name they sign in with; in a real tenant the rehearsal's invented users are skipped.

        Args:
            username: the e-mail address.

        Raises:
            NotReady: no user signs in with that name.
        """
        if self._profile.skips(username):
            facts = {"Instead": "give the sign-in name of a user of your export"}
            return Card(title=username, status="skipped: this user is invented", facts=facts)
        with recording_errors(f"find {username}") as sent:
            flag = await self._flag()
            name, issuer = quoted(normalise(username)), quoted(await self._issuer())
            found = await all_pages(
                self._client.users,
                filter=f"identities/any(c:c/issuerAssignedId eq {name} and c/issuer eq {issuer})",
                # v1.0 shows the flag only to those who select it.
                select=["id", "displayName", "mail", "accountEnabled", "createdDateTime", flag],
            )
            if not found:
                raise NotReady(
                    f"No user in this tenant signs in as {username}.",
                    next_step="Check the spelling. Run notebook 06-users if the person is in the export; a user"
                    " created a moment ago may take some seconds to appear.",
                )
            return _person(found[0], flag, sent)

    async def remove(self, *, confirm: int | None = None) -> Card:
        """Delete the users that the kit created and who have not migrated; take the flag off those it marked.

        Users who have migrated stay: their own password is in the tenant.

        Args:
            confirm: how many that is. Without it, nothing is written and the card says the number.

        Returns:
            A card; status `would be removed`, `removed` or `missing`.

        Raises:
            KitError: the number is not the one that the tenant has now, or some users could not be removed.
        """
        with recording_errors("remove users") as sent:
            flag = await self._flag()
            done = self._journal.read()
            rows = await self._read("id", flag)
            flagged = [row["id"] for row in rows if row.get(flag) is True]
            delete = [each for each in flagged if done.get(each) == "created"]
            unmark = [each for each in flagged if done.get(each) == "marked"]
            count = len(delete) + len(unmark)
            facts = {
                "To delete": f"{len(delete):,} that the kit created and who have not migrated",
                "To unmark": f"{len(unmark):,} that were there before and got the flag from the kit",
                "To leave": f"{len(rows) - count:,}: migrated, or not the kit's",
            }
            if count == 0 or confirm is None:
                if count:
                    facts["To do it"] = f"await s.users.remove(confirm={count})"
                status = "would be removed" if count else "missing"
                return Card(title="Users", status=status, facts=facts, sent=tuple(sent))
            if confirm != count:
                raise KitError(
                    f"{count:,} users would be removed, not {confirm:,}.",
                    next_step="Run `await s.users.remove()` and read what it says before you confirm a number.",
                )
            before = len(sent)
            writer = UserWriter(self._graph, self._journal, flag)
            await writer.remove(delete, unmark)
            if writer.refused:
                raise KitError(
                    f"{len(writer.refused):,} users could not be removed; the others are.",
                    service=writer.refused[0][1],
                    next_step="Read what the service said, fix it, and run this cell again.",
                )
            if writer.stayed:
                facts["Left after all"] = f"{writer.stayed:,} who have migrated since they were counted"
            facts["Where they are now"] = "Deleted users are in the recycle bin for 30 days."
            return Card(title="Users", status="removed", facts=facts, sent=tuple(sent[: before + 1]))

    async def _flag(self) -> str:
        return (await self._other(MigrationFlag).show()).full_name

    async def _issuer(self) -> str:
        domains = await all_pages(self._client.domains)
        return next((each.id for each in domains if each.is_initial and each.id), "")

    async def _read(self, fields: str, flag: str) -> list[dict[str, Any]]:
        return [row async for row in self._graph.pages(f"/users?$select={fields},{flag}&$top=999")]

    async def _known(self, flag: str) -> dict[str, TenantUser]:
        return index_users(await self._read("id,identities,mail", flag), flag)

    async def _counts(self, flag: str) -> tuple[int, int, int]:
        """Return how many users there are, and whose flag is true, and whose is false."""
        try:
            found = [
                await self._count(query) for query in ("", f"?$filter={flag} eq true", f"?$filter={flag} eq false")
            ]
        except httpx.HTTPStatusError as refused:
            # Tenants in high-scale compatibility mode have no advanced queries.
            if refused.response.status_code != 400:
                raise
        else:
            # Filters on a yes/no attribute have been reported to find no user, without an error.
            if any(found[1:]) or not found[0] or not self._journal.read():
                return found[0], found[1], found[2]
        values = [row.get(flag) for row in await self._read("id", flag)]
        return len(values), values.count(True), values.count(False)

    async def _count(self, query: str) -> int:
        answer = await self._graph.send("GET", f"/users/$count{query}", headers={"ConsistencyLevel": "eventual"})
        return int(str(answer).lstrip("\ufeff"))


def index_users(rows: Iterable[Mapping[str, Any]], flag: str) -> dict[str, TenantUser]:
    """Index the tenant's users by sign-in name, and those who sign in elsewhere by mail address."""
    found: dict[str, TenantUser] = {}
    for row in rows:
        names = [each for each in row.get("identities") or [] if each.get("signInType") == "emailAddress"]
        for each in names:
            found[normalise(each.get("issuerAssignedId") or "")] = TenantUser(row["id"], row.get(flag), True)
        if not names and row.get("mail"):
            found.setdefault(normalise(row["mail"]), TenantUser(row["id"], row.get(flag), False))
    return found


def make_plan(
    people: Iterable[LegacyUser],
    problems: Iterable[Problem],
    tenant: Mapping[str, TenantUser],
    *,
    flag: str,
    issuer: str,
) -> Plan:
    """Sort everybody into create, mark, leave and skip."""
    skipped = [Skipped(each.username, each.cause, each.line) for each in problems if each.skipped]
    create: dict[str, LegacyUser] = {}
    mark: dict[str, str] = {}
    flags: Counter[bool] = Counter()
    for person in people:
        there = tenant.get(person.username)
        if there is None:
            create.setdefault(person.username, person)
        elif there.flag is not None:
            flags[there.flag] += 1
        elif not there.local or person.status == "disabled":
            skipped.append(Skipped(person.username, _DISABLED if there.local else _FEDERATED))
        else:
            mark[there.user_id] = person.username
    created = "Not in the tenant: created with a temporary password that nobody knows, and the flag."
    if disabled := sum(person.status == "disabled" for person in create.values()):
        created += f" {disabled:,} are disabled in the legacy store and are created disabled."
    rows = [
        ("create", f"{len(create):,}", created),
        ("mark", f"{len(mark):,}", _MARKED if mark else "There without the flag: nobody."),
        ("leave", f"{flags[True]:,}", "The flag is set already."),
        ("leave", f"{flags[False]:,}", "Migrated already: the flag stays false."),
    ]
    reasons = Counter(each.reason for each in skipped)
    return Plan(
        caption="What would happen",
        columns=("What", "People", "In words"),
        rows=rows + [("skip", f"{count:,}", reason) for reason, count in reasons.most_common()],
        note="Nothing was written. `await s.users.apply(plan)` does it.",
        create=tuple(create.values()),
        mark=mark,
        marked=flags[True],
        migrated=flags[False],
        skipped=tuple(skipped),
        flag=flag,
        issuer=issuer,
    )


def _applied(writer: UserWriter, planned: int, sent: list[Sent]) -> Applied:
    left = planned - writer.total
    facts = {"Created": f"{writer.created:,}", "Marked": f"{writer.marked:,}"}
    if writer.there:
        facts["There already"] = f"{writer.there:,}: they came between the plan and now; plan again to see them"
    if writer.refused:
        facts["Refused"] = f"{len(writer.refused):,}, listed below"
    if left:
        facts["Left for a later run"] = f"{left:,}"
    if len(sent) > 1:
        facts["Requests"] = f"{len(sent):,}, of which the first is shown"
    status = "refused in part" if writer.refused else "done" if not left else "done in part"
    return Applied(
        title="Users",
        status=status if planned else "nothing to do",
        facts=facts,
        sent=tuple(sent[:1]),
        created=writer.created,
        marked=writer.marked,
        there=writer.there,
        left=left,
        refused=tuple(writer.refused),
    )


def _person(found: Any, flag: str, sent: list[Sent]) -> Person:
    value: bool | None = found.additional_data.get(flag)
    made = found.created_date_time
    return Person(
        title=found.mail or found.display_name or found.id or "",
        status="not part of the migration" if value is None else "to migrate" if value else "migrated",
        facts={
            "Name": found.display_name or "",
            "Object id": found.id or "",
            "Flag": "not set" if value is None else str(value).lower(),
            "May sign in": "yes" if found.account_enabled else "no, the account is disabled",
            "Created": made.strftime("%Y-%m-%d %H:%M UTC") if made else "",
        },
        sent=tuple(sent),
        user_id=found.id or "",
        flag=value,
        enabled=bool(found.account_enabled),
    )


async def require_room(graph: Graph, people: int) -> None:
    """Raise NotReady where the tenant has no room for so many more people; it may also not show its limit."""
    try:
        size = await read_directory_size(graph)
    except PermissionMissing:
        return
    if size is not None and people > (left := max(size[1] - size[0], 0)):
        raise NotReady(
            f"{people:,} users are to be created, and the tenant has room for {left:,} more directory objects.",
            next_step="Nothing was written. Delete what is no longer needed, also for good under Deleted users; or ask"
            f" Microsoft support for a higher limit; or create a part: `await s.users.apply(plan, limit={left})`.",
        )


async def read_directory_size(graph: Graph) -> tuple[int, int] | None:
    """Return how many directory objects the tenant holds, and how many it may hold; None if it does not show that."""
    with explained("read how many objects the tenant may hold"):
        answer = await graph.send("GET", "/organization?$select=directorySizeQuota")
    quota = answer["value"][0].get("directorySizeQuota") or {}
    return (quota["used"], quota["total"]) if quota.get("total") else None

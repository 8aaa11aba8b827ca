"""The users: plan from a legacy export, create in batches, mark, compare, count, find, and remove."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from helpers.graph import Change, Graph, explained
from helpers.legacy_export import PROFILE, LegacyUser, Problem, read_export
from helpers.tenant.attribute import MigrationFlag
from helpers.tenant.step import Step, all_pages, recording_errors
from helpers.tenant.user_writer import Changed, IdMap, Journal, UserWriter, identity_filter
from jitkit.display import Card, Sent, Table, fold
from jitkit.errors import KitError, NotReady, PermissionMissing
from jitkit.sign_in_names import normalise

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "Applied",
    "Counts",
    "Person",
    "Plan",
    "Skipped",
    "TenantUser",
    "Users",
    "index_users",
    "make_plan",
]

_FEDERATED = "An account with this e-mail address is there, but it signs in elsewhere, with no local password."
_MARKED = (
    "They exist, without the flag: `apply` leaves them. Some may have signed up again. `await s.users.mark(plan)` gives"
    " them the flag, and then the old password works once more and replaces the present one."
)
_SWITCH = "External Identities > Sign-in identifiers > Username, with the role External Identity Provider Administrator"
_USER_NAMES = {
    True: "{} of these sign in with a user name, which the tenant's sign-in identifiers allow.",
    False: f"{{}} of these have a user name, and cannot sign in with it until it is switched on: {_SWITCH}.",
    None: f"{{}} of these have a user name. Whether the tenant allows it cannot be read: check {_SWITCH}.",
}
_CHANGED = (
    "The flag is set, and the export says something else of them now; {} are disabled there."
    " `await s.users.update(plan)` writes it."
)
_NAME = "Sign-in name"
_NUMBER = "the number of people concerned"
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
    there: int  # how many turned out to be there already
    left: int  # how many of the plan were left for a later run
    refused: tuple[tuple[str, str], ...] = field(repr=False)  # whom Graph refused, and in which words
    hide: bool = field(default=False, repr=False)  # whether names stay out of what is shown

    def _repr_html_(self) -> str:
        if not self.refused:
            return super()._repr_html_()
        columns = (_NAME, "The service said")
        caption = "Whom Graph refused; everybody else is done"
        return super()._repr_html_() + _people(caption, columns, self.refused, self.hide)


@dataclass(frozen=True)
class TenantUser:
    """A user whom the tenant has already."""

    user_id: str  # the object id
    flag: bool | None  # the migration flag, or None when it was never set
    local: bool  # whether they can sign in with a name and a password
    row: Mapping[str, Any] = field(default_factory=dict, repr=False)  # as Graph shows them


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
    # Who is there without the flag, and gets it from `mark` only: object id to sign-in name.
    mark: Mapping[str, str] = field(repr=False)
    change: Mapping[str, Changed] = field(repr=False)  # what `update` changes of whom: by object id
    marked: int  # how many have the flag set already
    migrated: int  # how many have migrated already; their flag stays false
    skipped: tuple[Skipped, ...] = field(repr=False)  # who is skipped, and why
    flag: str  # the full name of the migration flag
    issuer: str  # the tenant's initial domain, which issues the sign-in names
    people: tuple[LegacyUser, ...] = field(repr=False)  # who has the flag already, or is to be created with it
    ids: Mapping[str, str] = field(repr=False)  # old id to object id, of those who are there already
    hide: bool = field(default=False, repr=False)  # whether names stay out of what is shown

    def __repr__(self) -> str:
        return (
            f"<Plan: create {len(self.create):,}, mark {len(self.mark):,}, change {len(self.change):,},"
            f" leave {self.marked + self.migrated:,}, skip {len(self.skipped):,}>"
        )

    def _repr_html_(self) -> str:
        marked = [(name, id) for id, name in self.mark.items()]
        changed = [
            (name, ", ".join(each if self.hide else f"{each}: {value}" for each, value in values.items()), user_id)
            for user_id, (name, values) in self.change.items()
        ]
        skipped = [("" if each.line is None else each.line, each.username, each.reason) for each in self.skipped]
        return (
            super()._repr_html_()
            + _people("Who is there without the flag", (_NAME, "Object id"), marked, self.hide)
            + _people("Who differs from the export", (_NAME, "In the export", "Object id"), changed, self.hide)
            + _people("Who is skipped", ("Line", _NAME, "Why"), skipped, self.hide)
        )


def _people(caption: str, columns: Sequence[str], rows: Sequence[Sequence[object]], hide: bool) -> str:
    """Show people under a line that opens; every table with sign-in names is made here, or without them."""
    if hide:
        kept = [number for number, column in enumerate(columns) if column != _NAME]
        columns, rows = [columns[number] for number in kept], [[row[number] for number in kept] for row in rows]
    return fold(caption, Table(caption=caption, columns=columns, rows=rows)._repr_html_()) if rows else ""


class Users(Step):
    """Plan, create, count, find and remove users."""

    @property
    def _journal(self) -> Journal:
        return Journal(self._state / "users.jsonl")

    @property
    def _ids(self) -> IdMap:
        return IdMap(self._state / "user-ids.csv")

    def _writer(self, flag: str, issuer: str, progress: Callable[[int, int], object] | None = None) -> UserWriter:
        return UserWriter(self._graph, self._journal, flag, issuer, self._ids, progress)

    async def plan(
        self,
        export: Path | str | None = None,
        *,
        users: Iterable[LegacyUser] | None = None,
        carry: Sequence[str] = (),
    ) -> Plan:
        """Compare a legacy export with the tenant and report what would happen. Nothing is written.

        Args:
            export: the CSV file.
            users: people who were read already, instead of a file.
            carry: which columns of the export new users get as properties, such as `givenName`.

        Returns:
            Who would be created, marked, left and skipped.

        Raises:
            BadTable: the file cannot be read as an export.
            KitError: `carry` names something that is not in the list of properties, or not in the export.
            NotReady: there is no migration flag.
        """
        problems: tuple[Problem, ...] = ()
        if export is not None:
            read = read_export(export)
            users, problems = read.users, read.problems
        people = _carrying(users or (), carry)
        with recording_errors("compare the export with the tenant") as sent:
            flag, issuer = await self._flag(), await self._issuer()
            known = await self._known(flag, "displayName", "accountEnabled", *carry)
            plan = make_plan(people, problems, known, flag=flag, issuer=issuer, journal=self._journal.read())
            if names := sum(each.sign_in_type == "userName" for each in plan.create):
                words = _USER_NAMES[await self._user_names_allowed()].format(f"{names:,}")
                plan = replace(plan, rows=[plan.rows[0], ("create", f"{names:,}", words), *plan.rows[1:]])
            return replace(plan, sent=tuple(sent), hide=self._profile.hides_people)

    async def _user_names_allowed(self) -> bool | None:
        """Return whether people may sign in with a user name; None when that cannot be read."""
        try:
            # Source: Graph beta, signInIdentifierBase.
            found = await self._graph.send("GET", "/identity/signInIdentifiers/Username", version="beta")
        except httpx.HTTPStatusError:
            return None
        return bool(found.get("isEnabled"))

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
        """Create the users of a plan. Run it again after an interruption: no user is lost or created twice.

        Who is in the tenant already stays as they are: see `mark`.

        Args:
            plan: what `plan` returned.
            progress: called with how many are done and how many there are in all.
            limit: create at most this many.

        Returns:
            How many were created, found there, refused. Check the refused ones.

        Raises:
            PermissionMissing: the identity may not write users.
            GraphRefused: the tenant throttles for longer than the kit waits.
            NotReady: the tenant cannot hold so many users.
            WriteNotConfirmed: the person at the keyboard did not allow it.
        """
        create = plan.create[:limit]
        with recording_errors("write the users") as sent:
            writer = self._writer(plan.flag, plan.issuer, progress)
            await writer.settle()
            before = len(sent)
            if create:
                await require_room(self._graph, len(create))
                count = f"{len(create):,}"
                change = Change(f"Create {count} users", [("Migration flag", "", "true")], f"{count} people")
                async with self._graph.changing(change):
                    await writer.create(create)
            self._ids.add(plan.ids.items())
            facts = {"Created": f"{writer.created:,}"}
            if writer.there:
                facts["There already"] = f"{writer.there:,}: they came between the plan and now; plan again to see them"
            done = "done" if plan.create else "nothing to do"
            left = len(plan.create) - len(create)
            return _result(writer, done, facts, sent[before:], left, hide=self._profile.hides_people)

    async def mark(self, plan: Plan, *, confirm: int | None = None) -> Card:
        """Set the flag of users who are in the tenant already; their old password then replaces the present one.

        Args:
            plan: what `plan` returned; it lists them.
            confirm: how many they are. Without it, nothing is written and the card says the number.

        Returns:
            A card; status `would be marked`, `marked`, `refused in part` or `nothing to do`.

        Raises:
            KitError: the number is not the plan's.
            WriteNotConfirmed: the person at the keyboard did not allow it.
        """
        change = Change(
            "Set the migration flag of users who are in the tenant already",
            [("Migration flag", "", "true")],
            "the people whom the plan lists; a password that they chose in this tenant is replaced by the old one",
            asks=_NUMBER,
        )
        changes = {user_id: (name, {plan.flag: True}) for user_id, name in plan.mark.items()}
        return await self._change("marked", "mark(plan, ", change, changes, confirm)

    async def update(self, plan: Plan, *, confirm: int | None = None) -> Card:
        """Change users who have not migrated to what a newer export says; who is disabled or gone there, is disabled.

        Args:
            plan: what `plan` returned; it lists them.
            confirm: how many they are. Without it, nothing is written and the card says the number.

        Returns:
            A card; status `would be updated`, `updated`, `refused in part` or `nothing to do`.

        Raises:
            KitError: the number is not the plan's.
            WriteNotConfirmed: the person at the keyboard did not allow it.
        """
        values = Counter(name for _, each in plan.change.values() for name in each)
        change = Change(
            "Change users to what the export says",
            [(name, "", f"{number:,} values") for name, number in values.items()],
            "the people whom the plan lists; accountEnabled takes their sign-in away",
            asks=_NUMBER,
        )
        return await self._change("updated", "update(plan, ", change, plan.change, confirm)

    async def _change(
        self, done: str, call: str, change: Change, changes: Mapping[str, Changed], confirm: int | None
    ) -> Card:
        count = len(changes)
        if not _confirmed(count, confirm, done, f"{call.removesuffix(', ')})"):
            facts = {"To do it": f"await s.users.{call}confirm={count})"} if count else {}
            return Card(title="Users", status=f"would be {done}" if count else "nothing to do", facts=facts)
        with recording_errors("change the users") as sent:
            writer = self._writer(await self._flag(), await self._issuer())
            await writer.settle()
            before = len(sent)
            async with self._graph.changing(replace(change, answer=str(count))):
                await writer.change(changes, mark=done == "marked")
            facts = {done.capitalize(): f"{writer.changed:,}"}
            if writer.stayed:
                facts["Left after all"] = f"{writer.stayed:,} whose flag has changed since"
            return _result(writer, done, facts, sent[before:], hide=self._profile.hides_people)

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
            username: the e-mail address or user name.

        Raises:
            NotReady: no user signs in with that name.
        """
        if self._profile.skips(username):
            facts = {"Instead": "give the sign-in name of a user of your export"}
            return Card(title=username, status="skipped: this user is invented", facts=facts)
        who = "the user whom this cell names" if self._profile.hides_people else username
        with recording_errors(f"find {who}") as sent:
            flag = await self._flag()
            found = await all_pages(
                self._client.users,
                filter=identity_filter(normalise(username), await self._issuer()),
                # v1.0 shows the flag only to those who select it.
                select=["id", "displayName", "mail", "accountEnabled", "createdDateTime", "passwordProfile", flag],
            )
            if not found:
                raise NotReady(
                    f"No user in this tenant signs in as {who}.",
                    next_step="Check the spelling. Run notebook 06-users if the person is in the export; a user"
                    " created a moment ago may take some seconds to appear.",
                )
            return _person(found[0], flag, sent, hide=self._profile.hides_people)

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
            writer = self._writer(flag, await self._issuer())
            await writer.settle()
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
            if not _confirmed(count, confirm, "removed", "remove()"):
                if count:
                    facts["To do it"] = f"await s.users.remove(confirm={count})"
                status = "would be removed" if count else "missing"
                return Card(title="Users", status=status, facts=facts, sent=tuple(sent))
            before = len(sent)
            change = Change(
                "Delete the users that the kit created, and take the flag off those it marked",
                affected="users who have not migrated: they cannot sign in afterwards",
                answer=str(count),
                asks=_NUMBER,
            )
            async with self._graph.changing(change):
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

    async def unmark(self, *, confirm: int | None = None) -> Card:
        """Take the flag off everybody who has not migrated, whoever set it: their sign-ins lead to no call any more.

        No user and no password is removed, and who has migrated stays so. `mark` sets the flag again; who gets it again
        counts as there before the kit, so that `remove` does not delete them, nor `update` disable who is gone.

        Args:
            confirm: how many that is. Without it, nothing is written and the card says the number.

        Returns:
            A card; status `would be unmarked`, `unmarked`, `refused in part` or `nothing to do`.

        Raises:
            KitError: the number is not the one that the tenant has now.
            WriteNotConfirmed: the person at the keyboard did not allow it.
        """
        with recording_errors("read who carries the flag"):
            flag = await self._flag()
            flagged = [row["id"] for row in await self._read("id", flag) if row.get(flag) is True]
        change = Change(
            "Take the migration flag off users who have not migrated",
            [("Migration flag", "true", "")],
            "everybody who carries it: their old password does not sign them in any more, they need a new one",
            asks=_NUMBER,
        )
        changes: dict[str, Changed] = {each: (each, {flag: None}) for each in flagged}
        return await self._change("unmarked", "unmark(", change, changes, confirm)

    async def _flag(self) -> str:
        return (await self._other(MigrationFlag).show()).full_name

    async def _issuer(self) -> str:
        domains = await all_pages(self._client.domains)
        return next((each.id for each in domains if each.is_initial and each.id), "")

    async def _read(self, fields: str, flag: str) -> list[dict[str, Any]]:
        return [row async for row in self._graph.pages(f"/users?$select={fields},{flag}&$top=999")]

    async def _known(self, flag: str, *fields: str) -> dict[str, TenantUser]:
        return index_users(await self._read(",".join(("id,identities,mail", *fields)), flag), flag)

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
            if any(found[1:]) or not found[0]:
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
        kinds = ("emailAddress", "userName")
        names = [each for each in row.get("identities") or [] if each.get("signInType") in kinds]
        for each in names:
            found[normalise(each.get("issuerAssignedId") or "")] = TenantUser(row["id"], row.get(flag), True, row)
        if not names and row.get("mail"):
            found.setdefault(normalise(row["mail"]), TenantUser(row["id"], row.get(flag), False, row))
    return found


def make_plan(
    people: Iterable[LegacyUser],
    problems: Iterable[Problem],
    tenant: Mapping[str, TenantUser],
    *,
    flag: str,
    issuer: str,
    journal: Mapping[str, str] | None = None,
) -> Plan:
    """Sort everybody into create, mark, change, leave and skip; with the journal, look for who is gone as well."""
    problems = tuple(problems)
    skipped = [Skipped(each.username, each.cause, each.line) for each in problems if each.skipped]
    create: dict[str, LegacyUser] = {}
    mark: dict[str, str] = {}
    flags: Counter[bool] = Counter()
    ids: dict[str, str] = {}
    flagged: list[LegacyUser] = []
    change: dict[str, Changed] = {}
    exported = {normalise(each.username) for each in problems}
    for person in people:
        exported.add(person.username)
        there = tenant.get(person.username)
        if there is not None and there.flag is not None and person.old_id:
            ids[person.old_id] = there.user_id
        if there is None:
            create.setdefault(person.username, person)
        elif there.flag is not None:
            flags[there.flag] += 1
            flagged.append(person)
            if there.flag and (values := _differences(person, there.row)):
                change[there.user_id] = (person.username, values)
        elif not there.local or person.status == "disabled":
            skipped.append(Skipped(person.username, _DISABLED if there.local else _FEDERATED))
        else:
            mark[there.user_id] = person.username
    changed, disabled_now = len(change), sum("accountEnabled" in values for _, values in change.values())
    for name, there in tenant.items():
        created_by_kit = (journal or {}).get(there.user_id) == "created"
        if name not in exported and there.flag and created_by_kit and there.row.get("accountEnabled"):
            change[there.user_id] = (name, {"accountEnabled": False})
    created = "Not in the tenant: created with a temporary password that nobody knows, and the flag."
    if disabled := sum(person.status == "disabled" for person in create.values()):
        created += f" {disabled:,} are disabled in the legacy store and are created disabled."
    rows = [
        ("create", f"{len(create):,}", created),
        ("mark", f"{len(mark):,}", _MARKED if mark else "Nobody exists without the flag."),
        ("change", f"{changed:,}", _CHANGED.format(f"{disabled_now:,}")),
        ("change", f"{len(change) - changed:,}", "Gone from the export: `await s.users.update(plan)` disables them."),
        ("leave", f"{flags[True]:,}", "The flag is set already."),
        ("leave", f"{flags[False]:,}", "Migrated already: the flag stays false."),
    ]
    reasons = Counter(each.reason for each in skipped)
    return Plan(
        caption="What would happen",
        columns=("What", "People", "In words"),
        rows=rows + [("skip", f"{count:,}", reason) for reason, count in reasons.most_common()],
        note="Nothing was written. `await s.users.apply(plan)` creates the new users.",
        create=tuple(create.values()),
        mark=mark,
        change=change,
        marked=flags[True],
        migrated=flags[False],
        skipped=tuple(skipped),
        flag=flag,
        issuer=issuer,
        people=(*flagged, *create.values()),
        ids=ids,
    )


def _carrying(people: Iterable[LegacyUser], carry: Sequence[str]) -> list[LegacyUser]:
    """Keep of each profile what is to be carried along."""
    people = list(people)
    there = set().union(*(each.profile for each in people))
    for name in carry:
        if name not in PROFILE:
            raise KitError(f"{name} is not carried along.", next_step=f"Choose from: {', '.join(PROFILE)}.")
        if people and name not in there:
            raise KitError(
                f"The export has no value for {name}.", next_step=f"Call its column {name}, or leave it out of carry."
            )
    return [
        replace(each, profile={name: each.profile[name] for name in carry if each.profile.get(name)}) for each in people
    ]


def _differences(person: LegacyUser, row: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the export says otherwise than the tenant; who is disabled in the tenant alone stays disabled."""
    wanted: dict[str, Any] = dict(person.profile)
    if person.display_name:
        wanted["displayName"] = person.display_name
    values = {name: value for name, value in wanted.items() if row.get(name) != value}
    if person.status == "disabled" and row.get("accountEnabled"):
        values["accountEnabled"] = False
    return values


def _confirmed(count: int, confirm: int | None, done: str, call: str) -> bool:
    """Return whether to go on; raise KitError when another number is confirmed than there is."""
    if confirm not in (None, count):
        raise KitError(
            f"{count:,} users would be {done}, not {confirm:,}.",
            next_step=f"Run `await s.users.{call}` and read what it says before you confirm a number.",
        )
    return confirm is not None and count > 0


def _result(
    writer: UserWriter, done: str, facts: dict[str, str], sent: Sequence[Sent], left: int = 0, *, hide: bool
) -> Applied:
    if writer.refused:
        facts["Refused"] = f"{len(writer.refused):,}, listed below"
    if left:
        facts["Left for a later run"] = f"{left:,}"
    if len(sent) > 1:
        facts["Requests"] = f"{len(sent):,}, of which the first is shown"
    return Applied(
        title="Users",
        status="refused in part" if writer.refused else f"{done} in part" if left else done,
        facts=facts,
        sent=tuple(sent[:1]),
        created=writer.created,
        there=writer.there,
        left=left,
        refused=tuple(writer.refused),
        hide=hide,
    )


def _person(found: Any, flag: str, sent: list[Sent], *, hide: bool) -> Person:
    value: bool | None = found.additional_data.get(flag)
    made, profile = found.created_date_time, found.password_profile
    forced = profile.force_change_password_next_sign_in if profile else None
    return Person(
        title="User" if hide else found.mail or found.display_name or found.id or "",
        status="not part of the migration" if value is None else "to migrate" if value else "migrated",
        facts={
            **({} if hide else {"Name": found.display_name or ""}),
            "Object id": found.id or "",
            "Flag": "not set" if value is None else str(value).lower(),
            "May sign in": "yes" if found.account_enabled else "no, the account is disabled",
            "Must choose a new password": {None: "the tenant does not show it", True: "yes", False: "no"}[forced],
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

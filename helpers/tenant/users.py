"""The users: plan from a legacy export, create in batches, count, find, and take back those who have not migrated."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

from helpers.legacy_export import LegacyUser, Problem, normalise, read_export
from helpers.tenant.attribute import MigrationFlag
from helpers.tenant.step import Step, quoted, told
from helpers.tenant.user_cards import Applied, Counts, Person
from helpers.tenant.user_journal import Journal
from helpers.tenant.user_plan import Plan, here, make_plan
from helpers.tenant.user_writer import UserWriter, take_back
from jitkit.display import Card, Sent
from jitkit.errors import KitError, NotReady

if TYPE_CHECKING:
    import pandas as pd
    from msgraph.generated.models.user import User

__all__ = ["Users"]

_COUNTING = {"ConsistencyLevel": "eventual"}


class Users(Step):
    """Plan, create, count, find and remove users."""

    @property
    def _journal(self) -> Journal:
        return Journal(self._state / "users.jsonl")

    async def plan(self, export: Path | str | None = None, *, users: Iterable[LegacyUser] | None = None) -> Plan:
        """Compare a legacy export with the tenant and say what would happen. Nothing is written.

        Args:
            export: the CSV file.
            users: people who were read already, instead of a file.

        Returns:
            Who would be created, marked, left and set aside.

        Raises:
            BadTable: the file cannot be read as an export.
            NotReady: there is no migration flag.
        """
        problems: tuple[Problem, ...] = ()
        if export is not None:
            read = read_export(export)
            users, problems = read.users, read.problems
        with told("compare the export with the tenant") as sent:
            flag = (await MigrationFlag(*self._place).show()).full_name
            issuer = await self._issuer()
            rows = [row async for row in self._graph.pages(f"/users?$select=id,identities,mail,{flag}&$top=999")]
            return make_plan(users or (), problems, here(rows, flag), flag=flag, issuer=issuer, sent=sent)

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

        read = read_export(export)
        with told("compare the export with the tenant"):
            flag = (await MigrationFlag(*self._place).show()).full_name
            rows = [row async for row in self._graph.pages(f"/users?$select=id,identities,mail,{flag}&$top=999")]
        known = here(rows, flag)
        found = [(known[each.username].user_id, each) for each in read.users if each.username in known]
        columns = ("country", "app", "hash_scheme", "last_legacy_sign_in")
        return pd.DataFrame(
            [(id, *(getattr(each, name) for name in columns)) for id, each in found], columns=["user_id", *columns]
        )

    async def apply(
        self, plan: Plan, *, progress: Callable[[int, int], object] | None = None, limit: int | None = None
    ) -> Applied:
        """Do what a plan says. Run again after an interruption: nobody is lost and nobody is doubled.

        Args:
            plan: what `plan` returned.
            progress: called with how many are done and how many there are in all.
            limit: do at most this many.

        Returns:
            How many were created, marked, found there, refused. Look at the refused ones.

        Raises:
            PermissionMissing: the identity may not write users.
            GraphRefused: the tenant throttles for longer than the kit waits.
        """
        create, mark = plan.create[:limit], tuple(plan.mark)
        if limit is not None:
            mark = mark[: max(0, limit - len(create))]
        writer = UserWriter(self._graph, self._journal, plan, progress)
        with told("write the users") as sent:
            await writer.write(create, mark)
            return writer.card(len(plan.create) + len(plan.mark), sent)

    async def counts(self) -> Counts:
        """Count who is to migrate and who has migrated, by asking the tenant.

        Raises:
            NotReady: there is no migration flag.
        """
        with told("count the users") as sent:
            flag = (await MigrationFlag(*self._place).show()).full_name
            try:
                total = await self._count("")
                waiting, done = await self._count(f"{flag} eq true"), await self._count(f"{flag} eq false")
            except httpx.HTTPStatusError as refused:
                if refused.response.status_code != 400:
                    raise
                # Tenants in high-scale compatibility mode have no advanced queries.
                total, waiting, done = await self._count_by_reading(flag)
            if total and not waiting + done and self._journal.read():
                # Filters on a yes/no attribute have been reported to find nobody without an error.
                total, waiting, done = await self._count_by_reading(flag)
            facts = {
                "To migrate (flag true)": f"{waiting:,}",
                "Migrated (flag false)": f"{done:,}",
                "Without the flag": f"{total - waiting - done:,}",
            }
            return Counts(
                title="Users in the tenant",
                status=f"{total:,}",
                facts=facts,
                sent=tuple(sent),
                to_migrate=waiting,
                migrated=done,
                unmarked=total - waiting - done,
            )

    async def find(self, username: str) -> Person:
        """Find a user by the name they sign in with.

        Args:
            username: the e-mail address.

        Raises:
            NotReady: nobody signs in with that name.
        """
        from msgraph.generated.users.users_request_builder import UsersRequestBuilder as Builder

        with told(f"find {username}") as sent:
            flag = (await MigrationFlag(*self._place).show()).full_name
            name, issuer = quoted(normalise(username)), quoted(await self._issuer())
            query = Builder.UsersRequestBuilderGetQueryParameters(
                filter=f"identities/any(c:c/issuerAssignedId eq {name} and c/issuer eq {issuer})",
                # v1.0 shows the flag only to those who select it.
                select=["id", "displayName", "mail", "accountEnabled", "createdDateTime", flag],
            )
            page = await self._client.users.get(
                Builder.UsersRequestBuilderGetRequestConfiguration(query_parameters=query)
            )
            found = next(iter((page.value if page else None) or []), None)
            if found is None:
                raise NotReady(
                    f"Nobody in this tenant signs in as {username}.",
                    next_step="Check the spelling. Run notebook 06-users if the person is in the export; somebody"
                    " created a moment ago may take some seconds to appear.",
                )
            return _person(found, flag, sent)

    async def remove(self, *, confirm: int | None = None) -> Card:
        """Delete the users that the kit created and who have not migrated; take the flag off those it marked.

        Whoever has migrated stays: their own password is in the tenant.

        Args:
            confirm: how many that is. Without it, nothing is written and the card says the number.

        Returns:
            A card; status `would be removed`, `removed` or `missing`.

        Raises:
            KitError: the number is not the one that the tenant has now.
        """
        with told("remove users") as sent:
            flag = (await MigrationFlag(*self._place).show()).full_name
            done = self._journal.read()
            rows = [row async for row in self._graph.pages(f"/users?$select=id,{flag}&$top=999")]
            flagged = [row["id"] for row in rows if row.get(flag) is True]
            delete = [each for each in flagged if done.get(each) == "created"]
            unmark = [each for each in flagged if done.get(each) == "marked"]
            left = len(rows) - len(delete) - len(unmark)
            facts = {
                "To delete": f"{len(delete):,} that the kit created and who have not migrated",
                "To unmark": f"{len(unmark):,} that were there before and got the flag from the kit",
                "To leave": f"{left:,}: migrated, or not the kit's",
            }
            count = len(delete) + len(unmark)
            if count == 0:
                return Card(title="Users", status="missing", facts=facts, sent=tuple(sent))
            if confirm is None:
                facts["To do it"] = f"await s.users.remove(confirm={count})"
                return Card(title="Users", status="would be removed", facts=facts, sent=tuple(sent))
            if confirm != count:
                raise KitError(
                    f"{count:,} users would be removed, not {confirm:,}.",
                    next_step="Run `await s.users.remove()` and read what it says before you confirm a number.",
                )
            before = len(sent)
            stayed = await take_back(self._graph, self._journal, flag, delete=delete, unmark=unmark)
            if stayed:
                facts["Left after all"] = f"{stayed:,} who have moved since they were counted"
            facts["Where they are now"] = "Deleted users are in the recycle bin for 30 days."
            return Card(title="Users", status="removed", facts=facts, sent=tuple(sent[: before + 1]))

    async def _issuer(self) -> str:
        domains = await self._client.domains.get()
        initial = [each.id for each in (domains.value if domains else None) or [] if each.is_initial]
        return next((each for each in initial if each), "")

    async def _count(self, condition: str) -> int:
        query = f"?$filter={condition}" if condition else ""
        return int(str(await self._graph.send("GET", f"/users/$count{query}", headers=_COUNTING)).lstrip("\ufeff"))

    async def _count_by_reading(self, flag: str) -> tuple[int, int, int]:
        values = [row.get(flag) async for row in self._graph.pages(f"/users?$select=id,{flag}&$top=999")]
        return len(values), values.count(True), values.count(False)


def _person(found: User, flag: str, sent: list[Sent]) -> Person:
    value: bool | None = found.additional_data.get(flag)
    words = "not part of the migration" if value is None else "to migrate" if value else "migrated"
    made = found.created_date_time
    return Person(
        title=found.mail or found.display_name or found.id or "",
        status=words,
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

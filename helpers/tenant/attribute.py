"""The migration flag: a yes/no attribute of users that says who is still to be migrated."""

from __future__ import annotations

from dataclasses import dataclass

import httpx
from msgraph.generated.models.application import Application
from msgraph.generated.models.extension_property import ExtensionProperty

from helpers.tenant.step import ObjectStep, all_pages, quoted, taken
from jitkit import protocol
from jitkit.display import Card
from jitkit.errors import KitError, NotReady

__all__ = ["Flag", "MigrationFlag"]


@dataclass(frozen=True, kw_only=True)
class Flag(Card):
    """The migration flag as the tenant has it."""

    full_name: str  # the name to use in user objects and in the listener: `extension_{appId without hyphens}_{name}`
    name: str  # the short name
    property_id: str  # the id of the attribute's definition
    owner_object_id: str  # the object id of the application that owns it
    owner_app_id: str  # that application's client id


class MigrationFlag(ObjectStep[Application, ExtensionProperty, Flag]):
    """Create, read or remove the definition of the migration flag. The application that owns it stays."""

    _kind = "migration flag"
    _named = "attribute"
    _notebook = "01-extension-attribute"
    _marked = False  # a definition has neither tags nor a description

    async def people(self) -> str:
        """Say how many users are still to migrate, for a question about what affects them."""
        try:
            count = await self._count_true((await self.show()).full_name)
        except NotReady:
            return "no users: there is no migration flag"
        except (KitError, httpx.HTTPStatusError):
            return "users who have not migrated; their number cannot be read"
        return f"users who have not migrated: {count:,}"

    async def _count_true(self, full_name: str) -> int:
        counted = f"/users/$count?$filter={full_name} eq true"
        return int(await self._graph.send("GET", counted, headers={"ConsistencyLevel": "eventual"}))

    async def _find(self) -> tuple[Application, ExtensionProperty | None]:
        owner = await self._owner()
        wanted = f"extension_{(owner.app_id or '').replace('-', '')}_{self._name}"
        properties = self._client.applications.by_application_id(owner.id or "").extension_properties
        listed: list[ExtensionProperty] = await all_pages(properties)
        alike = [each for each in listed if (each.name or "").casefold() == wanted.casefold()]
        found = next((each for each in alike if each.name == wanted), None)
        if found is None and alike:
            raise taken(
                f"The attribute {self._name!r} is there in other capitals.",
                found=_described(alike[0]),
                next_step="Use that spelling as the attribute name in notebook 00, or remove the attribute:"
                " two names that differ only in capitals get mixed up.",
            )
        if found and (
            found.data_type != "Boolean" or "User" not in (found.target_objects or []) or found.is_multi_valued
        ):
            raise taken(
                f"The attribute {self._name!r} is there, but it is not a Boolean of users.",
                found=_described(found),
                next_step="Choose another attribute name in notebook 00, or remove this one if it is not used.",
            )
        return owner, found

    async def _owner(self) -> Application:
        # Source: "Custom user attributes" of external tenants. The application's full name ends in "Do not modify …".
        prefix = protocol.EXTENSIONS_APP_PREFIX
        found: list[Application] = await all_pages(
            self._client.applications,
            filter=f"startswith(displayName,{quoted(prefix)})",
            select=["id", "appId", "displayName"],
        )
        if not found:
            raise NotReady(
                f"No application called {prefix!r} is in this tenant. It owns every custom user attribute.",
                next_step="Check that this is an external tenant. Look under App registrations > Deleted applications"
                " and restore it if it was deleted. If the tenant is new, add any attribute once under"
                " External Identities > Custom user attributes. Then run this cell again.",
            )
        if len(found) > 1:
            raise taken(
                f"Several applications are called {prefix!r}, and the kit does not guess which one is the tenant's.",
                found=", ".join(f"{each.display_name} ({each.id})" for each in found),
                next_step="Rename the ones that were added; keep the one whose name says 'Do not modify'.",
            )
        return found[0]

    async def _create(self, around: Application) -> ExtensionProperty | None:
        definition = ExtensionProperty(name=self._name, data_type="Boolean", target_objects=["User"])
        return await self._client.applications.by_application_id(around.id or "").extension_properties.post(definition)

    async def _delete(self, around: Application, found: ExtensionProperty) -> dict[str, str]:
        properties = self._client.applications.by_application_id(around.id or "").extension_properties
        await properties.by_extension_property_id(found.id or "").delete()
        return {
            "Full name": found.name or "",
            "Values on users": "Hidden, not deleted: they still count towards the 100 extension values of each"
            " user. Clear them before the definition goes, or create the same name again to see them again.",
        }

    async def _require_removable(
        self, around: Application, found: ExtensionProperty, *, ours_gone: bool = False
    ) -> None:
        full_name = found.name or ""
        if not self._record.holds(self._what, found.id or ""):
            raise taken(
                f"Nothing on this machine says that the kit made the flag {self._name!r}, so it stays.",
                found=f"{full_name} (definition id {found.id})",
                next_step="Remove it on the machine that made it. Or, when nothing uses it, delete it under External"
                " Identities > Custom user attributes.",
            )
        listeners = await all_pages(self._client.identity.authentication_event_listeners)
        watching = [
            f"{each.display_name} ({each.id})"
            for each in listeners
            if getattr(each.handler, "migration_property_id", None) == full_name
            and not (ours_gone and each.id in self._record.read().values())
        ]
        if watching:
            raise taken(
                f"A listener still looks at the flag {self._name!r}.",
                found=", ".join(watching),
                next_step="Remove that listener first, if it is not in use.",
            )
        if waiting := await self._count_surely(full_name):
            raise taken(
                f"{waiting:,} users still carry the flag {self._name!r} with the value true: none of them could be"
                " migrated afterwards.",
                found=f"{full_name} (definition id {found.id})",
                next_step="Let them sign in, or take the flag off all of them: `await s.users.unmark()`. Then run this"
                " cell again.",
            )

    async def _count_surely(self, full_name: str) -> int:
        """Count the users who carry true, by reading them all if the tenant's filter finds none or is refused."""
        try:
            if counted := await self._count_true(full_name):
                return counted
        except httpx.HTTPStatusError as refused:
            if refused.response.status_code != 400:
                raise
        users = self._graph.pages(f"/users?$select=id,{full_name}&$top=999")
        return sum([row.get(full_name) is True async for row in users])

    def _new_values(self, around: Application) -> list[tuple[str, str, str]]:
        return [("Type", "", "Boolean, for User"), ("Owner", "", around.display_name or "")]

    def _card(self, around: Application, found: ExtensionProperty) -> Flag:
        return Flag(
            title=self._title,
            facts={
                "Full name": found.name or "",
                "Type": f"{found.data_type}, for {', '.join(found.target_objects or [])}",
                "Owner": f"{around.display_name} (object id {around.id})",
                "Definition id": found.id or "",
            },
            full_name=found.name or "",
            name=self._name,
            property_id=found.id or "",
            owner_object_id=around.id or "",
            owner_app_id=around.app_id or "",
        )


def _described(found: ExtensionProperty) -> str:
    return f"{found.name} ({found.data_type}, for {', '.join(found.target_objects or [])})"

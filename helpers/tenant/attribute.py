"""The migration flag: a yes/no attribute of users that says who is still to be migrated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from helpers.tenant.step import Step, everything, left_alone, missing, quoted, taken, told, until_shown
from jitkit import protocol
from jitkit.display import Card, Sent
from jitkit.errors import NotReady, Taken

if TYPE_CHECKING:
    from msgraph.generated.models.application import Application
    from msgraph.generated.models.extension_property import ExtensionProperty

__all__ = ["Flag", "MigrationFlag"]

NOTEBOOK = "01-extension-attribute"


@dataclass(frozen=True, kw_only=True)
class Flag(Card):
    """The migration flag as the tenant has it.

    Args:
        full_name: the name to use in user objects and in the listener: `extension_{appId without hyphens}_{name}`.
        name: the short name.
        property_id: the id of the attribute's definition.
        owner_object_id: the object id of the application that owns it.
        owner_app_id: that application's client id.
    """

    full_name: str
    name: str
    property_id: str
    owner_object_id: str
    owner_app_id: str


class MigrationFlag(Step):
    """Make, read or remove the migration flag."""

    async def ensure(self) -> Flag:
        """Create the flag, or find the one that is there.

        Returns:
            The flag; status `created` or `reused`.

        Raises:
            NotReady: the tenant has no application that owns custom user attributes.
            Taken: an attribute of that name has another type, or the name is there in other capitals.
        """
        from msgraph.generated.models.extension_property import ExtensionProperty

        name = self._profile.names.attribute
        with told(f"create the migration flag {name!r}") as sent:
            owner = await self._owner()
            found = await self._find(owner)
            status = "reused"
            if found is None:
                definition = ExtensionProperty(name=name, data_type="Boolean", target_objects=["User"])
                properties = self._client.applications.by_application_id(owner.id or "").extension_properties
                found = await properties.post(definition)
                await until_shown(self.show)
                status = "created"
            assert found is not None
            return self._card(status, owner, found, sent)

    async def show(self) -> Flag:
        """Read the flag from the tenant.

        Raises:
            NotReady: it is not there.
        """
        with told("read the migration flag") as sent:
            owner = await self._owner()
            found = await self._find(owner)
            if found is None:
                raise missing(f"The migration flag {self._profile.names.attribute!r}", NOTEBOOK)
            return self._card("read", owner, found, sent)

    async def to_remove(self) -> Flag:
        """Read the flag as `show` does, unless somebody else's listener looks at it: then it is not the kit's alone.

        Raises:
            NotReady: it is not there.
            Taken: it has to stay.
        """
        flag = await self.show()
        await self._require_unwatched(flag.full_name, but=self._profile.names.listener)
        return flag

    async def remove(self) -> Card:
        """Delete the flag's definition. The application that owns it stays.

        Returns:
            A card; status `removed`, `missing`, or `left alone` when the attribute is another one, or when a listener
            still looks at it.
        """
        title = f"Migration flag {self._profile.names.attribute}"
        with told("remove the migration flag") as sent:
            owner = await self._owner()
            try:
                found = await self._find(owner)
                if found is None:
                    return Card(title=title, status="missing", sent=tuple(sent))
                await self._require_unwatched(found.name or "")
            except Taken as theirs:
                return left_alone(title, theirs, sent)
            properties = self._client.applications.by_application_id(owner.id or "").extension_properties
            await properties.by_extension_property_id(found.id or "").delete()
            facts = {
                "Full name": found.name or "",
                "Values on users": "Hidden, not deleted: they still count towards the 100 extension values of each"
                " user. Clear them before the definition goes, or make the same name again to see them again.",
            }
            return Card(title=title, status="removed", facts=facts, sent=tuple(sent))

    async def _owner(self) -> Application:
        # Source: "Custom user attributes" of external tenants. The application's full name ends in "Do not modify …".
        from msgraph.generated.applications.applications_request_builder import ApplicationsRequestBuilder as Builder

        prefix = protocol.EXTENSIONS_APP_PREFIX
        query = Builder.ApplicationsRequestBuilderGetQueryParameters(
            filter=f"startswith(displayName,{quoted(prefix)})", select=["id", "appId", "displayName"]
        )
        found: list[Application] = await everything(
            self._client.applications, Builder.ApplicationsRequestBuilderGetRequestConfiguration(query_parameters=query)
        )
        if not found:
            raise NotReady(
                f"No application called {prefix!r} is in this tenant. It owns every custom user attribute.",
                next_step="Check that this is an external tenant. Look under App registrations > Deleted applications"
                " and restore it if somebody deleted it. If the tenant is new, add any attribute once under"
                " External Identities > Custom user attributes. Then run this cell again.",
            )
        if len(found) > 1:
            raise taken(
                f"Several applications are called {prefix!r}, and the kit does not guess which one is the tenant's.",
                found=", ".join(f"{each.display_name} ({each.id})" for each in found),
                next_step="Rename the ones that somebody added; keep the one whose name says 'Do not modify'.",
            )
        return found[0]

    async def _find(self, owner: Application) -> ExtensionProperty | None:
        wanted = self._full_name(owner)
        properties: list[ExtensionProperty] = await everything(
            self._client.applications.by_application_id(owner.id or "").extension_properties
        )
        for each in properties:
            if each.name == wanted:
                if each.data_type != "Boolean" or "User" not in (each.target_objects or []) or each.is_multi_valued:
                    raise taken(
                        f"The attribute {self._profile.names.attribute!r} is there, but it is not a Boolean of users.",
                        found=_described(each),
                        next_step="Choose another attribute name in notebook 00, or remove this one if it is not used.",
                    )
                return each
        for each in properties:
            if (each.name or "").casefold() == wanted.casefold():
                raise taken(
                    f"The attribute {self._profile.names.attribute!r} is there in other capitals.",
                    found=_described(each),
                    next_step="Use that spelling as the attribute name in notebook 00, or remove the attribute:"
                    " two names that differ only in capitals get mixed up.",
                )
        return None

    async def _require_unwatched(self, full_name: str, *, but: str | None = None) -> None:
        with told("read which listeners look at the flag"):
            listeners = await everything(self._client.identity.authentication_event_listeners)
        watching = [
            f"{each.display_name} ({each.id})"
            for each in listeners
            if getattr(each.handler, "migration_property_id", None) == full_name and each.display_name != but
        ]
        if watching:
            raise taken(
                f"A listener still looks at the flag {self._profile.names.attribute!r}.",
                found=", ".join(watching),
                next_step="Remove that listener first, if it is not in use.",
            )

    def _full_name(self, owner: Application) -> str:
        return f"extension_{(owner.app_id or '').replace('-', '')}_{self._profile.names.attribute}"

    def _card(self, status: str, owner: Application, found: ExtensionProperty, sent: list[Sent]) -> Flag:
        name = self._profile.names.attribute
        return Flag(
            title=f"Migration flag {name}",
            status=status,
            facts={
                "Full name": found.name or "",
                "Type": f"{found.data_type}, for {', '.join(found.target_objects or [])}",
                "Owner": f"{owner.display_name} (object id {owner.id})",
                "Definition id": found.id or "",
            },
            sent=tuple(sent),
            full_name=found.name or "",
            name=name,
            property_id=found.id or "",
            owner_object_id=owner.id or "",
            owner_app_id=owner.app_id or "",
        )


def _described(found: ExtensionProperty) -> str:
    return f"{found.name} ({found.data_type}, for {', '.join(found.target_objects or [])})"

"""The listener: for which application, and by which flag, a submitted password leads to a call of the extension."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from helpers.tenant.attribute import Flag, MigrationFlag
from helpers.tenant.password_extension import NOTEBOOK, Extension, PasswordExtension
from helpers.tenant.step import Step, everything, left_alone, missing, or_none, taken, told, until_shown
from helpers.tenant.test_client import TestClient
from jitkit.display import Card, Sent
from jitkit.errors import NotReady, Taken

if TYPE_CHECKING:
    from msgraph.generated.models.on_password_submit_listener import OnPasswordSubmitListener

__all__ = ["EventListener", "Listener"]

# The how-to's own value. The lowest number among the listeners of an application wins.
PRIORITY: Final = 500


@dataclass(frozen=True, kw_only=True)
class EventListener(Card):
    """The listener as the tenant has it.

    Args:
        listener_id: its id.
        migration_property: the full name of the flag that it looks at.
        extension_id: the extension that it calls.
        app_ids: the client ids of the applications it listens to.
        rivals: other password-submit listeners that cover an application of this one, each with its priority.
    """

    listener_id: str
    migration_property: str
    extension_id: str
    app_ids: tuple[str, ...]
    rivals: tuple[str, ...] = ()


class Listener(Step):
    """Make, read or remove the listener."""

    async def ensure(self) -> EventListener:
        """Create the listener, or find it and mend what differs. Other applications that it covers stay.

        Returns:
            The listener; status `created`, `reused` or `updated`.

        Raises:
            NotReady: the flag, the test client or the extension is not there.
            Taken: several listeners have the kit's name, or one that the kit did not make.
        """
        with told("set the listener up") as sent:
            flag = await MigrationFlag(*self._place).show()
            client = await TestClient(*self._place).show()
            extension = await PasswordExtension(*self._place).show()
            every = await self._listed()
            found = await self._find(every)
            listeners = self._client.identity.authentication_event_listeners
            if found is None:
                made: Any = await listeners.post(self._body(flag, extension, (client.app_id,)))
                await until_shown(self.show)
                # The answer to a POST leaves the extension out.
                return self._card("created", made, every, sent, extension_id=extension.extension_id)
            apps = tuple(dict.fromkeys([*_apps(found), client.app_id]))
            wanted = (flag.full_name, extension.extension_id, apps, False)
            if (*_handled(found), _apps(found), _covers_all(found)) == wanted:
                return self._card("reused", found, every, sent)
            mended = self._body(flag, extension, apps, priority=_priority(found))
            await listeners.by_authentication_event_listener_id(found.id or "").patch(mended)
            mended.id = found.id
            return self._card("updated", mended, every, sent)

    async def show(self) -> EventListener:
        """Read the listener from the tenant.

        Raises:
            NotReady: it is not there.
        """
        with told("read the listener") as sent:
            every = await self._listed()
            found = await self._find(every)
            if found is None:
                raise missing(f"The listener {self._profile.names.listener!r}", NOTEBOOK)
            return self._card("read", found, every, sent)

    async def remove(self) -> Card:
        """Delete the listener: from then on no sign-in calls the endpoint.

        Returns:
            A card; status `removed`, `missing`, or `left alone` when the kit did not make it.
        """
        title = f"Listener {self._profile.names.listener}"
        with told("remove the listener") as sent:
            try:
                found = await self._find(await self._listed())
            except Taken as theirs:
                return left_alone(title, theirs, sent)
            if found is None:
                return Card(title=title, status="missing", sent=tuple(sent))
            listeners = self._client.identity.authentication_event_listeners
            await listeners.by_authentication_event_listener_id(found.id or "").delete()
            facts = {"Id": found.id or "", "Covered": ", ".join(_apps(found))}
            return Card(title=title, status="removed", facts=facts, sent=tuple(sent))

    async def _listed(self) -> list[OnPasswordSubmitListener]:
        from msgraph.generated.models.on_password_submit_listener import OnPasswordSubmitListener

        # A filter by type is not documented, so the kinds are told apart here.
        listed = await everything(self._client.identity.authentication_event_listeners)
        return [each for each in listed if isinstance(each, OnPasswordSubmitListener)]

    async def _find(self, every: list[OnPasswordSubmitListener]) -> OnPasswordSubmitListener | None:
        named = [each for each in every if each.display_name == self._profile.names.listener]
        if len(named) > 1:
            raise taken(
                f"{len(named)} password-submit listeners are called {self._profile.names.listener!r}.",
                found=", ".join(f"{each.id} (priority {_priority(each)})" for each in named),
                next_step="Delete all but one with DELETE /identity/authenticationEventListeners/{id} in Graph"
                " Explorer, or choose another name in notebook 00.",
            )
        if not named:
            return None
        # A listener has neither tags nor a description. It is the kit's unless it calls somebody else's extension.
        calls = _handled(named[0])[1]
        if calls and calls != await self._own_extension() and await self._is_there(calls):
            raise taken(
                f"The listener {self._profile.names.listener!r} calls an extension that the kit did not make.",
                found=f"{named[0].id}, which calls {calls}",
                next_step="Choose another listener name in notebook 00, or delete that listener if it is not in use.",
            )
        return named[0]

    async def _own_extension(self) -> str | None:
        try:
            return (await PasswordExtension(*self._place).show()).extension_id
        except NotReady:
            return None

    async def _is_there(self, extension_id: str) -> bool:
        extensions = self._client.identity.custom_authentication_extensions
        return await or_none(extensions.by_custom_authentication_extension_id(extension_id).get()) is not None

    def _body(
        self, flag: Flag, extension: Extension, apps: tuple[str, ...], *, priority: int | None = PRIORITY
    ) -> OnPasswordSubmitListener:
        from msgraph.generated.models.authentication_condition_application import AuthenticationConditionApplication
        from msgraph.generated.models.authentication_conditions import AuthenticationConditions
        from msgraph.generated.models.authentication_conditions_applications import (
            AuthenticationConditionsApplications,
        )
        from msgraph.generated.models.on_password_migration_custom_extension_handler import (
            OnPasswordMigrationCustomExtensionHandler,
        )
        from msgraph.generated.models.on_password_submit_custom_extension import OnPasswordSubmitCustomExtension
        from msgraph.generated.models.on_password_submit_listener import OnPasswordSubmitListener

        return OnPasswordSubmitListener(
            display_name=self._profile.names.listener,
            conditions=AuthenticationConditions(
                applications=AuthenticationConditionsApplications(
                    include_applications=[AuthenticationConditionApplication(app_id=app) for app in apps],
                    additional_data={"includeAllApplications": False},
                )
            ),
            handler=OnPasswordMigrationCustomExtensionHandler(
                migration_property_id=flag.full_name,
                custom_extension=OnPasswordSubmitCustomExtension(id=extension.extension_id),
            ),
            # Neither this nor includeAllApplications is in the SDK's models (msgraph-sdk 1.65.0).
            additional_data={} if priority is None else {"priority": priority},
        )

    def _card(
        self,
        status: str,
        found: OnPasswordSubmitListener,
        every: list[OnPasswordSubmitListener],
        sent: list[Sent],
        *,
        extension_id: str = "",
    ) -> EventListener:
        flag, calls = _handled(found)
        rivals = tuple(
            f"{each.display_name or each.id} (priority {_priority(each)})"
            for each in every
            if each.id != found.id and (_covers_all(each) or set(_apps(each)) & set(_apps(found)))
        )
        facts = {
            "Id": found.id or "",
            "Listens to": ", ".join(_apps(found)) or ("every app" if _covers_all(found) else "no app"),
            "Looks at": str(flag),
            "Calls": str(calls or extension_id),
            "Priority": str(_priority(found)),
        }
        if rivals:
            facts["Notice"] = (
                f"The same application is covered by {', '.join(rivals)}. Only the listener with the lowest priority"
                " number is asked."
            )
        return EventListener(
            title=f"Listener {found.display_name}",
            status=status,
            facts=facts,
            sent=tuple(sent),
            listener_id=found.id or "",
            migration_property=str(flag or ""),
            extension_id=str(calls or extension_id),
            app_ids=_apps(found),
            rivals=rivals,
        )


def _handled(listener: OnPasswordSubmitListener) -> tuple[str | None, str | None]:
    handler: Any = listener.handler
    extension = getattr(handler, "custom_extension", None)
    return getattr(handler, "migration_property_id", None), extension.id if extension else None


def _apps(listener: OnPasswordSubmitListener) -> tuple[str, ...]:
    applications = listener.conditions.applications if listener.conditions else None
    return tuple(each.app_id or "" for each in (applications.include_applications if applications else None) or [])


def _covers_all(listener: OnPasswordSubmitListener) -> bool:
    applications = listener.conditions.applications if listener.conditions else None
    return bool(applications and applications.additional_data.get("includeAllApplications"))


def _priority(listener: OnPasswordSubmitListener) -> int | None:
    priority = listener.additional_data.get("priority")
    return priority if isinstance(priority, int) else None

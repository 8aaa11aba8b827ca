"""What the two app registrations share: found by name and tag, made, mended, removed, with their principals."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

from helpers.tenant.step import TAG, Step, everything, missing, or_none, patiently, quoted, taken, told, until_shown
from jitkit import protocol
from jitkit.display import Card, Sent

if TYPE_CHECKING:
    from msgraph.generated.models.application import Application
    from msgraph.generated.models.required_resource_access import RequiredResourceAccess
    from msgraph.generated.models.service_principal import ServicePrincipal

__all__ = ["AppStep", "Registration", "requested"]

NOTEBOOK = "02-app-registrations"
SINGLE_TENANT = "AzureADMyOrg"
IN_THE_BIN = (
    "In the recycle bin for 30 days, under App registrations > Deleted applications: restore it there, or delete it"
    " for good."
)


@dataclass(frozen=True, kw_only=True)
class Registration(Card):
    """An app registration and its service principal.

    Args:
        object_id: the application's object id.
        app_id: its client id.
        service_principal_id: the object id of its service principal.
        identifier_uri: the identifier URI that the kit uses, or an empty string.
    """

    object_id: str
    app_id: str
    service_principal_id: str
    identifier_uri: str = ""


class AppStep(Step, ABC):
    """Make, read or remove one app registration with its service principal."""

    @property
    @abstractmethod
    def _name(self) -> str:
        """The display name."""

    @abstractmethod
    def _drift(self, app: Application) -> dict[str, object]:
        """Name the properties that are not as they should be, with the values they should have."""

    async def ensure(self) -> Registration:
        """Create the registration and its service principal, or find them and mend what differs.

        Returns:
            The registration; status `created`, `reused` or `updated`.

        Raises:
            Taken: applications of that name are there that the kit did not make, or several that it did.
        """
        from msgraph.generated.models.application import Application

        with told(f"register {self._name!r}") as sent:
            app = await self._find()
            status = "reused"
            if app is None:
                new = Application(display_name=self._name, sign_in_audience=SINGLE_TENANT, tags=[TAG])
                app = await self._client.applications.post(_with(new, self._drift(new)))
                assert app is not None
                status = "created"
            item = self._client.applications.by_application_id(app.id or "")
            drift = self._drift(app)
            if drift:
                await patiently(lambda: item.patch(_with(Application(), drift)))
                _with(app, drift)
                status = "updated" if status == "reused" else status
            principal, made = await self._principal(app)
            if made:
                await until_shown(self.show)
                status = "updated" if status == "reused" else status
            return self._card(status, app, principal, sent)

    async def show(self) -> Registration:
        """Read the registration from the tenant.

        Raises:
            NotReady: the registration or its service principal is not there.
        """
        with told(f"read the registration {self._name!r}") as sent:
            app = await self._find()
            if app is None:
                raise missing(f"The app registration {self._name!r}", NOTEBOOK)
            principal = await or_none(self._client.service_principals_with_app_id(app.app_id or "").get())
            if principal is None:
                raise missing(f"The service principal of {self._name!r}", NOTEBOOK)
            return self._card("read", app, principal, sent)

    async def remove(self) -> Card:
        """Move the registration and its service principal to the tenant's recycle bin.

        Returns:
            A card; status `removed` or `missing`. Applications without the kit's tag are left alone.
        """
        title = f"App registration {self._name}"
        with told(f"remove the registration {self._name!r}") as sent:
            listed = await self._listed()
            ours = [app for app in listed if TAG in (app.tags or [])]
            others = ", ".join(app.id or "" for app in listed if app not in ours)
            facts = {"Left alone": f"{others}: the kit did not make it"} if others else {}
            for app in ours:
                principal = await or_none(self._client.service_principals_with_app_id(app.app_id or "").get())
                if principal is not None:
                    await self._client.service_principals.by_service_principal_id(principal.id or "").delete()
                await self._client.applications.by_application_id(app.id or "").delete()
                facts["Object id"] = app.id or ""
                facts["Where it is now"] = IN_THE_BIN
            return Card(title=title, status="removed" if ours else "missing", facts=facts, sent=tuple(sent))

    async def _listed(self) -> list[Application]:
        from msgraph.generated.applications.applications_request_builder import ApplicationsRequestBuilder as Builder

        query = Builder.ApplicationsRequestBuilderGetQueryParameters(filter=f"displayName eq {quoted(self._name)}")
        return await everything(
            self._client.applications, Builder.ApplicationsRequestBuilderGetRequestConfiguration(query_parameters=query)
        )

    async def _find(self) -> Application | None:
        listed = await self._listed()
        ours = [app for app in listed if TAG in (app.tags or [])]
        if len(ours) == 1:
            return ours[0]
        if not listed:
            return None
        found = ", ".join(f"{app.display_name} (object id {app.id})" for app in ours or listed)
        if ours:
            raise taken(
                f"{len(ours)} registrations called {self._name!r} carry the kit's tag {TAG}.",
                found=found,
                next_step="Delete all but the one that is in use under App registrations, and run this cell again.",
            )
        raise taken(
            f"The name {self._name!r} belongs to a registration that the kit did not make.",
            found=found,
            next_step=f"Choose another name in notebook 00. Or, to let the kit change and remove that registration, add"
            f" {TAG!r} to its tags (App registrations > Manifest).",
        )

    async def _principal(self, app: Application) -> tuple[ServicePrincipal, bool]:
        from msgraph.generated.models.service_principal import ServicePrincipal

        found = await or_none(self._client.service_principals_with_app_id(app.app_id or "").get())
        if found is not None:
            return found, False
        new = ServicePrincipal(app_id=app.app_id, tags=[TAG])
        made = await patiently(lambda: self._client.service_principals.post(new))
        assert made is not None
        return made, True

    def _card(self, status: str, app: Application, principal: ServicePrincipal, sent: list[Sent]) -> Registration:
        uri = self._identifier_uri(app)
        facts = {"Client id (appId)": app.app_id or "", "Object id": app.id or ""}
        facts["Service principal"] = (principal.id or "") + (
            "" if principal.account_enabled is not False else " (disabled: enable it under Enterprise applications)"
        )
        return Registration(
            title=f"App registration {self._name}",
            status=status,
            facts=facts | self._more_facts(app),
            sent=tuple(sent),
            object_id=app.id or "",
            app_id=app.app_id or "",
            service_principal_id=principal.id or "",
            identifier_uri=uri if uri in (app.identifier_uris or []) else "",
        )

    def _identifier_uri(self, app: Application) -> str:
        return ""

    @abstractmethod
    def _more_facts(self, app: Application) -> dict[str, str]:
        """What else the card tells."""


def _with(app: Application, values: dict[str, object]) -> Application:
    for name, value in values.items():
        setattr(app, name, value)
    return app


def requested(app: Application, permission: str, kind: str) -> list[RequiredResourceAccess] | None:
    """Add a Microsoft Graph permission to those an application asks for; None when it is there already."""
    from msgraph.generated.models.required_resource_access import RequiredResourceAccess
    from msgraph.generated.models.resource_access import ResourceAccess

    asked = {
        each.resource_app_id: [(str(one.id), one.type) for one in each.resource_access or []]
        for each in app.required_resource_access or []
    }
    of_graph = asked.setdefault(protocol.GRAPH_APP_ID, [])
    if (permission, kind) in of_graph:
        return None
    of_graph.append((permission, kind))
    return [
        RequiredResourceAccess(
            resource_app_id=resource,
            resource_access=[ResourceAccess(id=UUID(id), type=type) for id, type in permissions],
        )
        for resource, permissions in asked.items()
    ]

"""The two app registrations and their service principals: the endpoint's, and the test client's."""

from __future__ import annotations

import re
from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, NamedTuple
from uuid import UUID

from msgraph.generated.models.api_application import ApiApplication
from msgraph.generated.models.application import Application
from msgraph.generated.models.implicit_grant_settings import ImplicitGrantSettings
from msgraph.generated.models.required_resource_access import RequiredResourceAccess
from msgraph.generated.models.resource_access import ResourceAccess
from msgraph.generated.models.service_principal import ServicePrincipal
from msgraph.generated.models.web_application import WebApplication

from helpers.tenant import step
from helpers.tenant.attribute import MigrationFlag
from helpers.tenant.step import TAG, ObjectStep
from jitkit import protocol
from jitkit.display import Card
from jitkit.errors import NotReady

__all__ = ["AppStep", "ClientApp", "ExtensionApp", "Registration"]

# Enterprise applications lists the service principals that carry this tag.
LISTED = "WindowsAzureActiveDirectoryIntegratedApp"


@dataclass(frozen=True, kw_only=True)
class Registration(Card):
    """An app registration and its service principal."""

    object_id: str  # the application's object id
    app_id: str  # its client id
    service_principal_id: str  # the object id of its service principal
    identifier_uri: str = ""  # the identifier URI that the kit uses, or an empty string


class _App(NamedTuple):
    application: Application
    principal: ServicePrincipal | None


class _Change(NamedTuple):
    name: str  # the property of the registration
    now: str  # in words
    then: str
    value: object  # as the SDK takes it


class AppStep(ObjectStep[None, _App, Registration]):
    """Create, read or remove one app registration with its service principal. Its name and the kit's tag mark it."""

    _kind = "app registration"
    _notebook = "02-app-registrations"

    @abstractmethod
    def _changes(self, app: Application) -> list[_Change]:
        """Return what is not as it should be."""

    @abstractmethod
    def _more_facts(self, app: Application) -> dict[str, str]:
        """What else the card shows."""

    def _identifier_uri(self, app: Application) -> str:
        return ""

    async def _find(self) -> tuple[None, _App | None]:
        ours, others = await self._named_so()
        if len(ours) == 1:
            return None, await self._with_principal(ours[0])
        if not ours and not others:
            return None, None
        found = ", ".join(f"{app.display_name} (object id {app.id})" for app in ours or others)
        if ours:
            raise step.taken(
                f"{len(ours)} registrations called {self._name!r} carry the kit's tag {TAG}.",
                found=found,
                next_step="Delete all but the one that is in use under App registrations, and run this cell again.",
            )
        raise step.taken(
            f"The name {self._name!r} belongs to a registration that the kit did not make.",
            found=found,
            next_step=f"Choose another name in notebook 00. Or, to let the kit change and remove that registration, add"
            f" {TAG!r} to its tags (App registrations > Manifest).",
        )

    async def _named_so(self) -> tuple[list[Application], list[Application]]:
        """Return the registrations with the name: those that carry the kit's tag, and the others."""
        name = step.quoted(self._name)
        listed = await step.all_pages(self._client.applications, filter=f"displayName eq {name}")
        ours = [app for app in listed if TAG in (app.tags or [])]
        return ours, [app for app in listed if app not in ours]

    async def _with_principal(self, app: Application) -> _App:
        principal = self._client.service_principals_with_app_id(app.app_id or "")
        return _App(app, await step.none_if_absent(principal.get()))

    async def _create(self, around: None) -> _App:
        new = Application(display_name=self._name, sign_in_audience="AzureADMyOrg", tags=[TAG])
        app = await self._client.applications.post(_applied(self._changes(new), new))
        assert app is not None
        return await self._finish(_App(app, None), self._changes(app))

    async def _update(self, around: None, found: _App) -> _App | None:
        app, principal = found
        changes = self._changes(app)
        if principal is not None and not changes:
            return None
        values = [(each.name, each.now, each.then) for each in changes]
        if principal is None:
            values.append(("service principal", "", "created"))
        async with self._changing(f"Change {self._what}", values):
            return await self._finish(found, changes)

    async def _finish(self, found: _App, changes: list[_Change]) -> _App:
        app, principal = found
        if changes:
            item = self._client.applications.by_application_id(app.id or "")
            await step.retry_while_unknown(lambda: item.patch(_applied(changes, Application())))
            _applied(changes, app)
        if principal is None:
            new = ServicePrincipal(app_id=app.app_id, tags=[TAG, LISTED])
            principal = await step.retry_while_unknown(lambda: self._client.service_principals.post(new))
        return _App(app, principal)

    def _complete(self, around: None, found: _App | None) -> _App:
        found = super()._complete(around, found)
        if found.principal is None:
            raise step.missing(f"the service principal of {self._name!r}", self._notebook)
        return found

    async def _removable(self) -> list[tuple[None, _App]]:
        # All that carry the tag, complete or not; a tenant that lagged may have let a second one be created.
        ours, _ = await self._named_so()
        return [(None, await self._with_principal(app)) for app in ours] or await super()._removable()

    async def _remove(self) -> tuple[str, dict[str, str]]:
        ours, others = await self._named_so()
        left = ", ".join(app.id or "" for app in others)
        facts = {"Left alone": f"{left}: the kit did not make it"} if left else {}
        for app in ours:
            facts |= await self._remove_found(None, await self._with_principal(app))
        return "removed" if ours else "missing", facts

    async def _delete(self, around: None, found: _App) -> dict[str, str]:
        app, principal = found
        if principal is not None:
            await self._client.service_principals.by_service_principal_id(principal.id or "").delete()
        await self._client.applications.by_application_id(app.id or "").delete()
        return {
            "Object id": app.id or "",
            "Where it is now": "In the recycle bin for 30 days, under App registrations > Deleted applications: restore"
            " it there, or delete it for good.",
        }

    def _card(self, around: None, found: _App) -> Registration:
        app, principal = found
        principal_id, uri = (principal and principal.id) or "", self._identifier_uri(app)
        enabled = principal.account_enabled if principal else None
        disabled = " (disabled: enable it under Enterprise applications)" if enabled is False else ""
        facts = {
            "Client id (appId)": app.app_id or "",
            "Object id": app.id or "",
            "Service principal": f"{principal_id or 'none'}{disabled}",
        }
        return Registration(
            title=self._title,
            facts=facts | self._more_facts(app),
            object_id=app.id or "",
            app_id=app.app_id or "",
            service_principal_id=principal_id,
            identifier_uri=uri if uri in (app.identifier_uris or []) else "",
        )


class ExtensionApp(AppStep):
    """The endpoint's registration: Entra asks for tokens for it before it calls the endpoint."""

    _named = "extension_app"

    def _identifier_uri(self, app: Application) -> str:
        # Source: how-to 3.1.1: the host is the one of the target URL, else 1003014 or 1003015 at run time.
        return f"api://{self._profile.endpoint_host}/{app.app_id}"

    async def show_with_uri(self) -> Registration:
        """Read the registration as `show` does; raises NotReady also when no identifier URI of it fits the host."""
        app = await self.show()
        if not app.identifier_uri:
            raise NotReady(
                f"{app.title} has no identifier URI for {self._profile.endpoint_host};"
                f" it has {app.facts.get('Identifier URI') or 'none'}.",
                next_step="Run notebook 02-app-registrations again; it sets the URI that fits the host.",
            )
        return app

    async def drop_old_uris(self) -> Card:
        """Take the identifier URIs of earlier hosts off the registration, when no extension names them any more.

        Returns:
            A card; status `updated`, or `reused` when there is none.

        Raises:
            NotReady: an extension still names one of them: until it is moved, its calls would fail.
        """
        with step.recording_errors(f"drop old identifier URIs of {self._what}") as sent:
            _, found = await self._find()
            app = self._complete(None, found).application
            rest = app.identifier_uris or []
            # What the kit's rule made for other hosts.
            form = re.compile(rf"api://[^/]+\.[^/]+/{re.escape(app.app_id or '')}", re.IGNORECASE)
            old = [uri for uri in rest if form.fullmatch(uri) and uri != self._identifier_uri(app)]
            if old and self._identifier_uri(app) not in rest:
                raise step.missing(f"the identifier URI of {self._profile.endpoint_host}", self._notebook)
            for extension in await self._extensions():
                if (named := _resource(extension)) in old:
                    raise NotReady(
                        f"The extension {extension.display_name!r} still names {named}.",
                        next_step="Run notebook 03-policies first: it moves the extension to the new host.",
                    )
            if old:
                rest, values = [uri for uri in rest if uri not in old], [("Identifier URI", uri, "") for uri in old]
                people = await self._other(MigrationFlag).people()
                async with self._changing(f"Take identifier URIs off {self._what}", values, people, self._name):
                    item = self._client.applications.by_application_id(app.id or "")
                    await item.patch(Application(identifier_uris=rest))
            facts = {"Dropped": ", ".join(old) or "none", "Identifier URI": ", ".join(rest)}
            return Card(title=self._title, status="updated" if old else "reused", facts=facts, sent=tuple(sent))

    async def _extensions(self) -> list[Any]:
        return await step.all_pages(self._client.identity.custom_authentication_extensions)

    def _new_values(self, around: None) -> list[tuple[str, str, str]]:
        return [("Identifier URI", "", f"api://{self._profile.endpoint_host}/(its client id)")]

    async def _affected(self, around: None, found: _App) -> str:
        return await self._other(MigrationFlag).people()

    async def _require_removable(self, around: None, found: _App, *, ours_gone: bool = False) -> None:
        await self.require_unused(found.application.app_id or "")

    async def addresses(self, app_id: str) -> list[str]:
        """Return the addresses that Entra calls with tokens for this registration, whoever made the extensions."""
        using = [each for each in await self._extensions() if _resource(each).endswith(f"/{app_id}")]
        return [address for each in using if (address := step.dig(each, "endpoint_configuration.target_url"))]

    async def require_unused(self, app_id: str) -> None:
        """Raise Taken when an extension that `remove` leaves in the tenant needs this registration."""
        using = [each for each in await self._extensions() if app_id and _resource(each).endswith(f"/{app_id}")]
        if not using:
            return
        listeners = await step.all_pages(self._client.identity.authentication_event_listeners)
        called = {step.calls(each) for each in listeners if each.id not in self._record.read().values()}
        staying = [each for each in using if TAG not in (each.description or "") or each.id in called]
        if staying:
            raise step.taken(
                f"{self._title} is still needed.",
                found=", ".join(f"the extension {each.display_name!r} ({each.id}), which names it" for each in staying),
                next_step="Leave it, or remove that extension and the listener that calls it first.",
            )

    def _changes(self, app: Application) -> list[_Change]:
        changes = []
        uris, wanted = app.identifier_uris or [], self._identifier_uri(app)
        if app.app_id is not None and wanted not in uris:
            # The URI of an earlier host stays until the extension has moved: without it, its calls fail.
            now, then = ", ".join(uris), ", ".join([*uris, wanted])
            changes.append(_Change("identifier_uris", now, then, [*uris, wanted]))
        if step.dig(app, "api.requested_access_token_version") != 2:
            api = ApiApplication(requested_access_token_version=2)
            changes.append(_Change("api", "version 1 tokens", "version 2 tokens", api))
        return changes + _permission_change(app, protocol.RECEIVE_PAYLOAD_ROLE_ID, "Role")

    def _more_facts(self, app: Application) -> dict[str, str]:
        return {
            "Identifier URI": ", ".join(app.identifier_uris or []),
            "Access token version": str(step.dig(app, "api.requested_access_token_version") or 1),
            "Asks for": _asked_for(
                app, protocol.RECEIVE_PAYLOAD_ROLE_ID, f"{protocol.RECEIVE_PAYLOAD} (application permission)"
            ),
        }


class ClientApp(AppStep):
    """The test client: the application that users sign in to; it shows them their token at jwt.ms."""

    _named = "client_app"

    def _changes(self, app: Application) -> list[_Change]:
        uris, ours = step.dig(app, "web.redirect_uris") or [], protocol.TEST_CLIENT_REDIRECT
        changes = []
        if ours not in uris or not _issues_id_tokens(app):
            web = WebApplication(
                redirect_uris=list(dict.fromkeys([*uris, ours])),
                implicit_grant_settings=ImplicitGrantSettings(enable_id_token_issuance=True),
            )
            changes.append(_Change("web", ", ".join(uris), f"{ours} as well", web))
        return changes + _permission_change(app, protocol.USER_READ_SCOPE_ID, "Scope")

    def _more_facts(self, app: Application) -> dict[str, str]:
        return {
            "Redirect URI": ", ".join(step.dig(app, "web.redirect_uris") or []),
            "Issues id tokens": "yes" if _issues_id_tokens(app) else "no",
            "Asks for": _asked_for(app, protocol.USER_READ_SCOPE_ID, f"{protocol.USER_READ} (delegated permission)"),
        }


def _resource(extension: Any) -> str:
    return step.dig(extension, "authentication_configuration.resource_id") or ""


def _issues_id_tokens(app: Application) -> bool:
    return bool(step.dig(app, "web.implicit_grant_settings.enable_id_token_issuance"))


def _asked_for(app: Application, permission: str, words: str) -> str:
    """Return a permission in words if the application asks for it."""
    asked = [str(one.id) for each in app.required_resource_access or [] for one in each.resource_access or []]
    return words if permission in asked else "nothing that the kit needs"


def _applied(changes: list[_Change], app: Application) -> Application:
    for each in changes:
        setattr(app, each.name, each.value)
    return app


def _permission_change(app: Application, permission: str, kind: str) -> list[_Change]:
    """Add a permission of Microsoft Graph to those that an application asks for, unless it is among them."""
    asked = {
        each.resource_app_id: [(str(one.id), one.type) for one in each.resource_access or []]
        for each in app.required_resource_access or []
    }
    of_graph = asked.setdefault(protocol.GRAPH_APP_ID, [])
    if (permission, kind) in of_graph:
        return []
    of_graph.append((permission, kind))
    access = [
        RequiredResourceAccess(
            resource_app_id=resource,
            resource_access=[ResourceAccess(id=UUID(id), type=type) for id, type in permissions],
        )
        for resource, permissions in asked.items()
    ]
    return [_Change("required_resource_access", "", "one permission of Microsoft Graph more", access)]

"""The two admin consents: the endpoint's right to receive password events, and the test client's User.Read."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Generic, TypeVar
from uuid import UUID

from helpers.tenant.extension_app import ExtensionApp
from helpers.tenant.registrations import NOTEBOOK, Registration
from helpers.tenant.step import (
    Step,
    everything,
    left_alone,
    missing,
    patiently,
    quoted,
    told,
    unless_there,
    until_shown,
)
from helpers.tenant.test_client import TestClient
from jitkit import protocol
from jitkit.display import Card, Sent
from jitkit.errors import NotReady, Taken

if TYPE_CHECKING:
    from msgraph.generated.models.app_role_assignment import AppRoleAssignment
    from msgraph.generated.models.o_auth2_permission_grant import OAuth2PermissionGrant

__all__ = ["ClientConsent", "Consent", "PayloadConsent"]

G = TypeVar("G")


@dataclass(frozen=True, kw_only=True)
class Consent(Card):
    """A permission that an administrator granted to an application.

    Args:
        consent_id: the id of the grant.
        permissions: what it grants.
    """

    consent_id: str
    permissions: tuple[str, ...]


class _ConsentStep(Step, ABC, Generic[G]):
    """Grant, read or take back one permission of Microsoft Graph."""

    permission: ClassVar[str]

    async def ensure(self) -> Consent:
        """Grant the permission, or find the grant.

        Returns:
            The consent; status `created`, `reused`, or `updated` when a grant was extended.

        Raises:
            NotReady: the registration is not there, or the tenant does not show the grant yet.
        """
        with told(f"grant {self.permission}") as sent:
            app = await self._app().show()
            graph = await self._graph_principal()
            found, status = await self._find(app, graph), "reused"
            if found is None:
                # GET before POST, and a duplicate counts: a grant may be applied though its first answer was a 404.
                found = await unless_there(lambda: patiently(lambda: self._grant(app, graph)))
                await until_shown(self.show)
                status = "created" if found else "reused"
                found = found or await self._find(app, graph)
            if found is None:
                raise NotReady(
                    f"The tenant has the consent to {self.permission}, but does not show it yet.",
                    next_step="Wait a minute and run this cell again.",
                )
            if await self._mend(found):
                status = "updated"
            return self._card(status, app, found, sent)

    async def show(self) -> Consent:
        """Read the consent from the tenant.

        Raises:
            NotReady: it was not granted.
        """
        with told(f"read the consent to {self.permission}") as sent:
            app = await self._app().show()
            found = await self._find(app, await self._graph_principal())
            if found is None or self.permission not in self._granted(found):
                raise missing(f"Consent to {self.permission}", NOTEBOOK)
            return self._card("read", app, found, sent)

    async def remove(self) -> Card:
        """Take the permission back; whatever else the same grant holds stays.

        Returns:
            A card; status `removed`, `missing`, or `left alone` when the kit did not make the registration.
        """
        title = f"Consent to {self.permission}"
        with told(f"take the consent to {self.permission} back") as sent:
            try:
                app = await self._app().show()
            except NotReady:
                return Card(title=title, status="missing", sent=tuple(sent))
            except Taken as theirs:
                return left_alone(title, theirs, sent)
            graph = await self._graph_principal()
            found = await self._find(app, graph)
            if found is None or self.permission not in self._granted(found):
                return Card(title=title, status="missing", sent=tuple(sent))
            await self._withdraw(found, graph)
            facts = {"Taken from": f"{app.title} ({app.service_principal_id})"}
            return Card(title=title, status="removed", facts=facts, sent=tuple(sent))

    async def _graph_principal(self) -> str:
        found = await self._client.service_principals_with_app_id(protocol.GRAPH_APP_ID).get()
        return (found.id if found else None) or ""

    @abstractmethod
    def _app(self) -> ExtensionApp | TestClient:
        """The registration that the permission is for."""

    @abstractmethod
    async def _find(self, app: Registration, graph: str) -> G | None:
        """Look the grant up."""

    @abstractmethod
    async def _grant(self, app: Registration, graph: str) -> G | None:
        """Make the grant."""

    @abstractmethod
    async def _withdraw(self, found: G, graph: str) -> None:
        """Take the permission out of the grant."""

    @abstractmethod
    def _granted(self, found: G) -> tuple[str, ...]:
        """The permissions of the grant."""

    @abstractmethod
    def _card(self, status: str, app: Registration, found: G, sent: list[Sent]) -> Consent:
        """Show the grant."""

    async def _mend(self, found: G) -> bool:
        return False


class PayloadConsent(_ConsentStep["AppRoleAssignment"]):
    """The endpoint's registration may receive the events of custom extensions."""

    permission = protocol.RECEIVE_PAYLOAD

    def _app(self) -> ExtensionApp:
        return ExtensionApp(*self._place)

    async def _find(self, app: Registration, graph: str) -> AppRoleAssignment | None:
        principal = self._client.service_principals.by_service_principal_id(app.service_principal_id)
        for each in await everything(principal.app_role_assignments):
            if str(each.resource_id) == graph and str(each.app_role_id) == protocol.RECEIVE_PAYLOAD_ROLE_ID:
                found: AppRoleAssignment = each
                return found
        return None

    async def _grant(self, app: Registration, graph: str) -> AppRoleAssignment | None:
        from msgraph.generated.models.app_role_assignment import AppRoleAssignment

        # Below the resource: the direction that the reference recommends.
        return await self._client.service_principals.by_service_principal_id(graph).app_role_assigned_to.post(
            AppRoleAssignment(
                principal_id=UUID(app.service_principal_id),
                resource_id=UUID(graph),
                app_role_id=UUID(protocol.RECEIVE_PAYLOAD_ROLE_ID),
            )
        )

    async def _withdraw(self, found: AppRoleAssignment, graph: str) -> None:
        assigned = self._client.service_principals.by_service_principal_id(graph).app_role_assigned_to
        await assigned.by_app_role_assignment_id(found.id or "").delete()

    def _granted(self, found: AppRoleAssignment) -> tuple[str, ...]:
        return (self.permission,)

    def _card(self, status: str, app: Registration, found: AppRoleAssignment, sent: list[Sent]) -> Consent:
        return Consent(
            title=f"Consent to {self.permission}",
            status=status,
            facts={
                "Granted to": f"{self._profile.names.extension_app} ({app.service_principal_id})",
                "On": f"{found.resource_display_name or 'Microsoft Graph'} ({found.resource_id})",
                "Kind": "application permission (app role assignment)",
                "Grant": found.id or "",
            },
            sent=tuple(sent),
            consent_id=found.id or "",
            permissions=self._granted(found),
        )


class ClientConsent(_ConsentStep["OAuth2PermissionGrant"]):
    """The test client may read the signed-in user, so that nobody is asked while signing in."""

    permission = protocol.USER_READ

    def _app(self) -> TestClient:
        return TestClient(*self._place)

    async def _find(self, app: Registration, graph: str) -> OAuth2PermissionGrant | None:
        from msgraph.generated.oauth2_permission_grants.oauth2_permission_grants_request_builder import (
            Oauth2PermissionGrantsRequestBuilder as Builder,
        )

        query = Builder.Oauth2PermissionGrantsRequestBuilderGetQueryParameters(
            filter=f"clientId eq {quoted(app.service_principal_id)}"
        )
        configuration = Builder.Oauth2PermissionGrantsRequestBuilderGetRequestConfiguration(query_parameters=query)
        for each in await everything(self._client.oauth2_permission_grants, configuration):
            if each.resource_id == graph and each.consent_type == "AllPrincipals":
                found: OAuth2PermissionGrant = each
                return found
        return None

    async def _grant(self, app: Registration, graph: str) -> OAuth2PermissionGrant | None:
        from msgraph.generated.models.o_auth2_permission_grant import OAuth2PermissionGrant

        return await self._client.oauth2_permission_grants.post(
            OAuth2PermissionGrant(
                client_id=app.service_principal_id,
                consent_type="AllPrincipals",
                resource_id=graph,
                scope=self.permission,
            )
        )

    async def _mend(self, found: OAuth2PermissionGrant) -> bool:
        if self.permission in self._granted(found):
            return False
        await self._rescope(found, [*self._granted(found), self.permission])
        return True

    async def _withdraw(self, found: OAuth2PermissionGrant, graph: str) -> None:
        rest = [scope for scope in self._granted(found) if scope != self.permission]
        if rest:
            await self._rescope(found, rest)
        else:
            await self._client.oauth2_permission_grants.by_o_auth2_permission_grant_id(found.id or "").delete()

    async def _rescope(self, found: OAuth2PermissionGrant, scopes: list[str]) -> None:
        from msgraph.generated.models.o_auth2_permission_grant import OAuth2PermissionGrant

        found.scope = " ".join(scopes)
        # Graph replaces the scope as a whole: what is left out is revoked.
        item = self._client.oauth2_permission_grants.by_o_auth2_permission_grant_id(found.id or "")
        await item.patch(OAuth2PermissionGrant(scope=found.scope))

    def _granted(self, found: OAuth2PermissionGrant) -> tuple[str, ...]:
        return tuple((found.scope or "").split())

    def _card(self, status: str, app: Registration, found: OAuth2PermissionGrant, sent: list[Sent]) -> Consent:
        return Consent(
            title=f"Consent to {self.permission}",
            status=status,
            facts={
                "Granted to": f"{self._profile.names.client_app} ({app.service_principal_id})",
                "On": f"Microsoft Graph ({found.resource_id})",
                "Kind": "delegated permission, for all users",
                "Scopes": " ".join(self._granted(found)),
                "Grant": found.id or "",
            },
            sent=tuple(sent),
            consent_id=found.id or "",
            permissions=self._granted(found),
        )

"""The two admin consents: the endpoint's right to receive password events, and the test client's User.Read."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, TypeVar
from uuid import UUID

from msgraph.generated.models.app_role_assignment import AppRoleAssignment
from msgraph.generated.models.o_auth2_permission_grant import OAuth2PermissionGrant

from helpers.tenant.apps import AppStep, ClientApp, ExtensionApp, Registration
from helpers.tenant.attribute import MigrationFlag
from helpers.tenant.step import ObjectStep, all_pages, missing, none_if_exists, quoted, retry_while_unknown
from jitkit import protocol
from jitkit.display import Card

__all__ = ["ClientConsent", "Consent", "PayloadConsent"]

G = TypeVar("G", AppRoleAssignment, OAuth2PermissionGrant)


@dataclass(frozen=True, kw_only=True)
class Consent(Card):
    """A permission that an administrator granted to an application."""

    consent_id: str  # the id of the grant
    permissions: tuple[str, ...]  # what it grants


class _Ends(NamedTuple):
    """Who is granted a permission, and the object id of Microsoft Graph's service principal."""

    app: Registration
    graph: str


class _ConsentStep(ObjectStep[_Ends, G, Consent]):
    _kind = "consent to"
    _notebook = "02-app-registrations"
    _asks = "the name of the permission"
    _name: str  # the permission
    _granted_to: ClassVar[type[AppStep]]

    async def _find(self) -> tuple[_Ends, G | None]:
        app = await self._other(self._granted_to).show()
        graph = await self._client.service_principals_with_app_id(protocol.GRAPH_APP_ID).get()
        ends = _Ends(app, (graph.id if graph else None) or "")
        return ends, await self._granted(ends)

    @abstractmethod
    async def _granted(self, ends: _Ends) -> G | None:
        """Return the grant that holds, or should hold, the permission."""

    @abstractmethod
    async def _grant(self, ends: _Ends) -> G | None:
        """Grant the permission."""

    async def _create(self, around: _Ends) -> G | None:
        # A grant may be there although it was not listed, and may be applied although its first answer was a 404.
        return await none_if_exists(retry_while_unknown(lambda: self._grant(around)))

    async def _affected(self, around: _Ends, found: G) -> str:
        return around.app.title

    def _new_values(self, around: _Ends) -> list[tuple[str, str, str]]:
        return [("Granted to", "", around.app.title)]

    def _scopes(self, grant: G) -> list[str]:
        return [self._name]

    def _complete(self, around: _Ends, found: G | None) -> G:
        if found is None or self._name not in self._scopes(found):
            raise missing(f"consent to {self._name}", self._notebook)
        return found

    def _consent(self, ends: _Ends, grant: G, kind: dict[str, str], on: str) -> Consent:
        facts = {"Granted to": f"{ends.app.title} ({ends.app.service_principal_id})"}
        return Consent(
            title=self._title,
            facts=facts | {"On": f"{on} ({ends.graph})", **kind, "Grant": grant.id or ""},
            consent_id=grant.id or "",
            permissions=tuple(self._scopes(grant)),
        )


class PayloadConsent(_ConsentStep[AppRoleAssignment]):
    """Grant, read or revoke the right of the endpoint's registration to receive the events of custom extensions."""

    _name = protocol.RECEIVE_PAYLOAD
    _granted_to = ExtensionApp

    async def _granted(self, ends: _Ends) -> AppRoleAssignment | None:
        principal = self._client.service_principals.by_service_principal_id(ends.app.service_principal_id)
        wanted = (ends.graph, protocol.RECEIVE_PAYLOAD_ROLE_ID)
        grants = await all_pages(principal.app_role_assignments)
        return next((each for each in grants if (str(each.resource_id), str(each.app_role_id)) == wanted), None)

    async def _grant(self, ends: _Ends) -> AppRoleAssignment | None:
        # Below the resource: the direction that the reference recommends.
        return await self._client.service_principals.by_service_principal_id(ends.graph).app_role_assigned_to.post(
            AppRoleAssignment(
                principal_id=UUID(ends.app.service_principal_id),
                resource_id=UUID(ends.graph),
                app_role_id=UUID(protocol.RECEIVE_PAYLOAD_ROLE_ID),
            )
        )

    async def _affected(self, around: _Ends, found: AppRoleAssignment) -> str:
        return f"{around.app.title}; {await self._other(MigrationFlag).people()}"

    async def _require_removable(self, around: _Ends, found: AppRoleAssignment, *, ours_gone: bool = False) -> None:
        await self._other(ExtensionApp).require_unused(around.app.app_id)

    async def _delete(self, around: _Ends, found: AppRoleAssignment) -> dict[str, str]:
        assigned = self._client.service_principals.by_service_principal_id(around.graph).app_role_assigned_to
        await assigned.by_app_role_assignment_id(found.id or "").delete()
        return {"Taken from": f"{around.app.title} ({around.app.service_principal_id})"}

    def _card(self, around: _Ends, found: AppRoleAssignment) -> Consent:
        kind = {"Kind": "application permission (app role assignment)"}
        return self._consent(around, found, kind, found.resource_display_name or "Microsoft Graph")


class ClientConsent(_ConsentStep[OAuth2PermissionGrant]):
    """Grant, read or revoke the test client's right to read the signed-in user; users are then not asked for it."""

    _name = protocol.USER_READ
    _granted_to = ClientApp

    async def _granted(self, ends: _Ends) -> OAuth2PermissionGrant | None:
        of_client = f"clientId eq {quoted(ends.app.service_principal_id)}"
        grants = await all_pages(self._client.oauth2_permission_grants, filter=of_client)
        wanted = (ends.graph, "AllPrincipals")
        return next((each for each in grants if (each.resource_id, each.consent_type) == wanted), None)

    async def _grant(self, ends: _Ends) -> OAuth2PermissionGrant | None:
        return await self._client.oauth2_permission_grants.post(
            OAuth2PermissionGrant(
                client_id=ends.app.service_principal_id,
                consent_type="AllPrincipals",
                resource_id=ends.graph,
                scope=self._name,
            )
        )

    async def _update(self, around: _Ends, found: OAuth2PermissionGrant) -> OAuth2PermissionGrant | None:
        scopes = self._scopes(found)
        if self._name in scopes:
            return None
        wider = [*scopes, self._name]
        values = [("Scopes", " ".join(scopes), " ".join(wider))]
        async with self._changing(f"Change {self._what}", values, around.app.title):
            return await self._set_scopes(found, wider)

    async def _delete(self, around: _Ends, found: OAuth2PermissionGrant) -> dict[str, str]:
        # Whatever else the same grant holds stays.
        rest = [scope for scope in self._scopes(found) if scope != self._name]
        if rest:
            await self._set_scopes(found, rest)
        else:
            await self._client.oauth2_permission_grants.by_o_auth2_permission_grant_id(found.id or "").delete()
        return {"Taken from": f"{around.app.title} ({around.app.service_principal_id})"}

    async def _set_scopes(self, found: OAuth2PermissionGrant, scopes: list[str]) -> OAuth2PermissionGrant:
        found.scope = " ".join(scopes)
        # Graph replaces the scope as a whole: what is left out is revoked.
        item = self._client.oauth2_permission_grants.by_o_auth2_permission_grant_id(found.id or "")
        await item.patch(OAuth2PermissionGrant(scope=found.scope))
        return found

    def _scopes(self, grant: OAuth2PermissionGrant) -> list[str]:
        return (grant.scope or "").split()

    def _card(self, around: _Ends, found: OAuth2PermissionGrant) -> Consent:
        kind = {"Kind": "delegated permission, for all users", "Scopes": " ".join(self._scopes(found))}
        return self._consent(around, found, kind, "Microsoft Graph")

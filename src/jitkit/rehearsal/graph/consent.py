"""Admin consent: application permissions as app role assignments, delegated ones as OAuth2 permission grants.

Ids: a grant's is made of its parts, so that there is one for each triple (Graph v1.0, oAuth2PermissionGrant examples);
an assignment's first half is its principal and the rest is opaque (appRoleAssignment examples). Duplicates: [observed].
"""

from __future__ import annotations

import base64
import re
import secrets
import uuid
from dataclasses import replace
from typing import Final

from jitkit.protocol import GRAPH_APP_ID
from jitkit.rehearsal.directory import Body
from jitkit.rehearsal.graph import odata
from jitkit.rehearsal.graph.applications import SERVICE_PRINCIPALS
from jitkit.rehearsal.graph.resource import READ_DIRECTORY, Resource, defaults
from jitkit.rehearsal.graph.wire import Call, GraphRoute, refusal

_OWNERS: Final = ("/servicePrincipals/{id}", "/servicePrincipals(appId='{appId}')")
_DEFAULT_ROLE: Final = "00000000-0000-0000-0000-000000000000"


class Assignments(Resource):
    """App roles given to principals: the consent to application permissions. Seen from the resource and the client.

    Reading one assignment is on no page of the reference: [assumed].
    """

    kind, model = "appRoleAssignment", "AppRoleAssignment"
    paths = tuple(f"{owner}/{side}" for owner in _OWNERS for side in ("appRoleAssignedTo", "appRoleAssignments"))
    read = READ_DIRECTORY
    write = (
        "AppRoleAssignment.ReadWrite.All + Application.Read.All",
        "AppRoleAssignment.ReadWrite.All + Application.ReadWrite.All",
        "AppRoleAssignment.ReadWrite.All + Directory.Read.All",
    )
    operations = "list get create delete"
    placeholder, owner = "assignment", SERVICE_PRINCIPALS
    on_create = "Add app role assignment to service principal"
    on_delete = "Remove app role assignment from service principal"

    def context(self, call: Call) -> str:
        side = "appRoleAssignedTo" if _outward(call) else "appRoleAssignments"
        return f"servicePrincipals('{SERVICE_PRINCIPALS.find(call)['id']}')/{side}"

    def owned_by(self, call: Call) -> str:
        return f"json_extract(body, '$.{'resourceId' if _outward(call) else 'principalId'}')"

    def items(self, call: Call) -> odata.Collection:
        items = super().items(call)
        return items if _outward(call) else replace(items, context="appRoleAssignments")

    def new(self, call: Call, body: Body) -> Body:
        owner = SERVICE_PRINCIPALS.find(call)
        principal, kind = _principal(call, body.get("principalId"))
        resource = _required(call, "resourceId", body.get("resourceId"))
        if resource["appId"] == GRAPH_APP_ID:
            call.needs_role("Privileged Role Administrator")
        role = (body.get("appRoleId") or _DEFAULT_ROLE).lower()
        if owner["id"] != (resource if _outward(call) else principal)["id"]:
            raise refusal("assignment-owner")
        roles = {item["id"].lower() for item in resource["appRoles"] if item.get("isEnabled", True)}
        if role not in roles | ({_DEFAULT_ROLE} if not roles else set()):
            raise refusal("assignment-role")
        for item in call.directory.all(self.kind):
            if (item["principalId"], item["resourceId"], item["appRoleId"]) == (principal["id"], resource["id"], role):
                raise refusal("assignment-taken")
        return {
            "id": _encode(uuid.UUID(principal["id"]).bytes_le + secrets.token_bytes(16)),
            "deletedDateTime": None,
            "appRoleId": role,
            "createdDateTime": call.now,
            "principalDisplayName": principal["displayName"],
            "principalId": principal["id"],
            "principalType": kind,
            "resourceDisplayName": resource["displayName"],
            "resourceId": resource["id"],
        }

    def audited(self, call: Call, item: Body) -> tuple[str, str]:
        return item["resourceId"], item["resourceDisplayName"]


class Grants(Resource):
    """Delegated permissions granted to a client, for every user or for one."""

    kind, model = "oauth2PermissionGrant", "OAuth2PermissionGrant"
    paths = ("/oauth2PermissionGrants",)
    write = ("DelegatedPermissionGrant.ReadWrite.All", "Directory.ReadWrite.All")
    read = (*write, "Directory.Read.All")
    placeholder, owner = "grant", SERVICE_PRINCIPALS
    on_create, on_update = "Add delegated permission grant", "Update delegated permission grant"
    on_delete = "Remove delegated permission grant"

    def routes(self) -> list[GraphRoute]:
        of_client = (GraphRoute("GET", f"{at}{self.paths[0]}", self.list_all, self.read) for at in _OWNERS)
        return [*of_client, *super().routes()]

    def owned_by(self, call: Call) -> str:
        return "json_extract(body, '$.clientId')" if call.path.lower().startswith("/serviceprincipals") else ""

    def new(self, call: Call, body: Body) -> Body:
        client = _required(call, "clientId", body.get("clientId"))
        resource = _required(call, "resourceId", body.get("resourceId"))
        kind, user_id = body.get("consentType"), body.get("principalId")
        if kind not in {"AllPrincipals", "Principal"} or (kind == "Principal") != bool(user_id):
            raise refusal("grant-consent")
        if user_id and call.directory.user(user_id, made_by=call.replicated) is None:
            raise refusal("not-found", id=user_id)
        parts = [client["id"], resource["id"], *([user_id] if user_id else [])]
        id = _encode(b"".join(uuid.UUID(part).bytes_le for part in parts))
        if call.directory.get(self.kind, id):
            raise refusal("grant-taken")
        return {
            "id": id,
            "clientId": client["id"],
            "consentType": kind,
            "principalId": user_id,
            "resourceId": resource["id"],
            "scope": _known_scopes(resource, body.get("scope") or ""),
        }

    def changed(self, call: Call, before: Body, body: Body) -> Body:
        """Scopes that are left out are revoked."""
        if body.keys() - {"scope"}:
            raise refusal("grant-changes")
        resource = _required(call, "resourceId", before["resourceId"])
        return {**before, "scope": _known_scopes(resource, body.get("scope") or "")}

    def audited(self, call: Call, item: Body) -> tuple[str, str]:
        client = call.directory.get("servicePrincipal", item["clientId"]) or {}
        return item["clientId"], client.get("displayName") or ""


def _outward(call: Call) -> bool:
    """Whether an assignment is addressed on the resource's side."""
    return "/approleassignedto" in call.path.lower()


def _required(call: Call, name: str, id: str | None) -> Body:
    """Read a principal that a body names; one not replicated yet is refused under a code of its own [observed]."""
    if not id:
        raise refusal("grant-member", name=name)
    if found := call.read("servicePrincipal", id):
        return found
    raise refusal("not-replicated" if call.directory.get("servicePrincipal", id) else "not-found", id=id)


def _principal(call: Call, id: str | None) -> tuple[Body, str]:
    user = call.directory.user(id, made_by=call.replicated) if id else None
    if user:
        return {"id": user.id, "displayName": user.body.get("displayName")}, "User"
    return _required(call, "principalId", id), "ServicePrincipal"


def _known_scopes(resource: Body, scope: str) -> str:
    known = {item["value"] for item in resource["oauth2PermissionScopes"]}
    # The tenant has some of the hundreds of permissions of Microsoft Graph, and knows others by name.
    of_graph = resource["appId"] == GRAPH_APP_ID
    known |= set(defaults("oauth2PermissionGrant")["scopes"] if of_graph else ())
    for name in scope.split():
        if name not in known and of_graph and re.fullmatch(r"[A-Z][\w-]*(\.[\w-]+)+", name):
            raise refusal("not-simulated", what=f"the scope {name} of Microsoft Graph")
        if name not in known:
            raise refusal("grant-scope", name=name, resource=resource["displayName"])
    return scope


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")

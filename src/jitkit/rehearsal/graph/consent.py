"""Admin consent: application permissions as app role assignments, delegated ones as OAuth2 permission grants.

Ids: a grant's is made of its parts, so that there is one for each triple (Graph v1.0, oAuth2PermissionGrant examples);
an assignment's first half is its principal and the rest is opaque (appRoleAssignment examples). Duplicates: [observed].
"""

from __future__ import annotations

import base64
import secrets
import uuid

from jitkit.rehearsal import journal
from jitkit.rehearsal.directory import Body
from jitkit.rehearsal.graph import odata, schema
from jitkit.rehearsal.graph.service_principals import READ, find
from jitkit.rehearsal.graph.wire import Answer, Call, GraphError, GraphRoute, bad_request, new_id, not_found

_ASSIGN = (
    "AppRoleAssignment.ReadWrite.All + Application.Read.All",
    "AppRoleAssignment.ReadWrite.All + Application.ReadWrite.All",
    "AppRoleAssignment.ReadWrite.All + Directory.Read.All",
)
_GRANT = ("DelegatedPermissionGrant.ReadWrite.All", "Directory.ReadWrite.All")
_READ_GRANTS = (*_GRANT, "Directory.Read.All")
_DEFAULT_ROLE = "00000000-0000-0000-0000-000000000000"


def routes() -> list[GraphRoute]:
    """The operations on assignments and grants."""
    return [
        *(
            route
            for owner in ("/servicePrincipals/{id}", "/servicePrincipals(appId='{appId}')")
            for side in ("appRoleAssignedTo", "appRoleAssignments")
            for route in (
                GraphRoute(
                    "GET",
                    f"{owner}/{side}",
                    list_assignments,
                    READ,
                    "List appRoleAssignedTo and appRoleAssignments of a service principal",
                ),
                GraphRoute(
                    "POST", f"{owner}/{side}", assign, _ASSIGN, "Grant an appRoleAssignment for a service principal"
                ),
                GraphRoute(
                    "GET", f"{owner}/{side}/{{assignment}}", get_assignment, READ, "appRoleAssignment", "assumed"
                ),
                GraphRoute("DELETE", f"{owner}/{side}/{{assignment}}", unassign, _ASSIGN, "Delete appRoleAssignment"),
            )
        ),
        *(
            GraphRoute(
                "GET",
                f"{owner}/oauth2PermissionGrants",
                list_grants_of,
                _READ_GRANTS,
                "List oauth2PermissionGrants of a service principal",
            )
            for owner in ("/servicePrincipals/{id}", "/servicePrincipals(appId='{appId}')")
        ),
        GraphRoute("GET", "/oauth2PermissionGrants", list_grants, _READ_GRANTS, "List oauth2PermissionGrants"),
        GraphRoute("POST", "/oauth2PermissionGrants", grant, _GRANT, "Create oAuth2PermissionGrant"),
        GraphRoute("GET", "/oauth2PermissionGrants/{grant}", get_grant, _READ_GRANTS, "Get oAuth2PermissionGrant"),
        GraphRoute("PATCH", "/oauth2PermissionGrants/{grant}", update_grant, _GRANT, "Update oAuth2PermissionGrant"),
        GraphRoute("DELETE", "/oauth2PermissionGrants/{grant}", revoke, _GRANT, "Delete oAuth2PermissionGrant"),
    ]


def list_assignments(call: Call) -> Answer:
    """List what a principal was assigned, or who was assigned to it."""
    principal = find(call)
    member = "resourceId" if _outward(call) else "principalId"
    items = odata.Collection(
        f"servicePrincipals('{principal['id']}')/{_side(call)}" if _outward(call) else "appRoleAssignments",
        "AppRoleAssignment",
        f"kind = 'appRoleAssignment' AND deleted IS NULL AND json_extract(body, '$.{member}') = ?",
        (principal["id"],),
    )
    return odata.page(call, items, odata.body_of)


def assign(call: Call) -> Answer:
    """Give a principal an app role of a resource: the consent to an application permission."""
    body = {name: value for name, value in call.json().items() if not name.startswith("@odata")}
    schema.check("AppRoleAssignment", body, code="Request_BadRequest")
    owner = find(call)
    principal, kind = _principal(call, body.get("principalId"))
    resource = _required(call, "resourceId", body.get("resourceId"))
    role = (body.get("appRoleId") or _DEFAULT_ROLE).lower()
    if owner["id"] != (resource if _outward(call) else principal)["id"]:
        raise bad_request("The id in the request URL and the id in the body do not match.")
    roles = {item["id"].lower() for item in resource["appRoles"] if item.get("isEnabled", True)}
    if role not in roles | ({_DEFAULT_ROLE} if not roles else set()):
        raise bad_request("Permission being assigned was not found on application")
    for item in call.directory.all("appRoleAssignment"):
        if (item["principalId"], item["resourceId"], item["appRoleId"]) == (principal["id"], resource["id"], role):
            raise bad_request("Permission being assigned already exists on the object")
    made = call.directory.add(
        "appRoleAssignment",
        {
            "id": _encode(uuid.UUID(principal["id"]).bytes_le + secrets.token_bytes(16)),
            "deletedDateTime": None,
            "appRoleId": role,
            "createdDateTime": call.now,
            "principalDisplayName": principal["displayName"],
            "principalId": principal["id"],
            "principalType": kind,
            "resourceDisplayName": resource["displayName"],
            "resourceId": resource["id"],
        },
    )
    _audit(call, "Add app role assignment to service principal", made["resourceId"], made["resourceDisplayName"])
    return call.entity(201, f"servicePrincipals('{owner['id']}')/{_side(call)}", made)


def get_assignment(call: Call) -> Answer:
    """Read one assignment."""
    return call.entity(200, f"servicePrincipals('{find(call)['id']}')/{_side(call)}", _assignment(call))


def unassign(call: Call) -> Answer:
    """Take an app role away again."""
    found = _assignment(call)
    call.directory.discard("appRoleAssignment", found["id"], recycle=False)
    _audit(call, "Remove app role assignment from service principal", found["resourceId"], found["resourceDisplayName"])
    return Answer(204)


def list_grants(call: Call) -> Answer:
    """List the delegated permissions that were granted in the tenant."""
    return odata.page(call, _grants(), odata.body_of)


def list_grants_of(call: Call) -> Answer:
    """List the delegated permissions that were granted to one client."""
    items = odata.Collection(
        "oauth2PermissionGrants",
        "OAuth2PermissionGrant",
        "kind = 'oauth2PermissionGrant' AND deleted IS NULL AND json_extract(body, '$.clientId') = ?",
        (find(call)["id"],),
    )
    return odata.page(call, items, odata.body_of)


def grant(call: Call) -> Answer:
    """Grant delegated permissions to a client, for everybody or for one user."""
    body = {name: value for name, value in call.json().items() if not name.startswith("@odata")}
    schema.check("OAuth2PermissionGrant", body, code="Request_BadRequest")
    client = _required(call, "clientId", body.get("clientId"))
    resource = _required(call, "resourceId", body.get("resourceId"))
    kind, user_id = body.get("consentType"), body.get("principalId")
    if kind not in {"AllPrincipals", "Principal"} or (kind == "Principal") != bool(user_id):
        raise bad_request("consentType must be 'AllPrincipals', or 'Principal' together with a principalId.")
    if user_id and call.directory.user(user_id, made_by=call.settled) is None:
        raise not_found(user_id)
    parts = [client["id"], resource["id"], *([user_id] if user_id else [])]
    id = _encode(b"".join(uuid.UUID(part).bytes_le for part in parts))
    if call.directory.get("oauth2PermissionGrant", id):
        raise bad_request("Permission entry already exists.")
    made = call.directory.add(
        "oauth2PermissionGrant",
        {
            "id": id,
            "clientId": client["id"],
            "consentType": kind,
            "principalId": user_id,
            "resourceId": resource["id"],
            "scope": _known_scopes(resource, body.get("scope") or ""),
        },
    )
    _audit(call, "Add delegated permission grant", client["id"], client["displayName"])
    return call.entity(201, "oauth2PermissionGrants", made)


def get_grant(call: Call) -> Answer:
    """Read one grant."""
    return call.entity(200, "oauth2PermissionGrants", _grant(call))


def update_grant(call: Call) -> Answer:
    """Replace the granted scopes: what is left out is revoked."""
    found, body = _grant(call), call.json()
    schema.check("OAuth2PermissionGrant", body, code="Request_BadRequest")
    if any(name != "scope" and not name.startswith("@odata") for name in body):
        raise bad_request("Only the scope of a delegated permission grant can be changed.")
    resource = _required(call, "resourceId", found["resourceId"])
    call.directory.replace(
        "oauth2PermissionGrant", {**found, "scope": _known_scopes(resource, body.get("scope") or "")}
    )
    _audit(call, "Update delegated permission grant", found["clientId"], "")
    return Answer(204)


def revoke(call: Call) -> Answer:
    """Revoke a grant."""
    found = _grant(call)
    call.directory.discard("oauth2PermissionGrant", found["id"], recycle=False)
    _audit(call, "Remove delegated permission grant", found["clientId"], "")
    return Answer(204)


def _outward(call: Call) -> bool:
    return "/approleassignedto" in call.path.lower()


def _side(call: Call) -> str:
    return "appRoleAssignedTo" if _outward(call) else "appRoleAssignments"


def _grants() -> odata.Collection:
    return odata.of_kind("oauth2PermissionGrant", "oauth2PermissionGrants", "OAuth2PermissionGrant")


def _assignment(call: Call) -> Body:
    found = call.read("appRoleAssignment", call.ids["assignment"])
    if found is None or find(call)["id"] != found["resourceId" if _outward(call) else "principalId"]:
        raise not_found(call.ids["assignment"])
    return found


def _grant(call: Call) -> Body:
    found = call.read("oauth2PermissionGrant", call.ids["grant"])
    if found is None:
        raise not_found(call.ids["grant"])
    return found


def _required(call: Call, name: str, id: str | None) -> Body:
    if not id:
        raise bad_request(f"A value is required for property '{name}'.")
    found = call.read("servicePrincipal", id)
    if found is None:
        raise _unseen(call, id)
    return found


def _unseen(call: Call, id: str) -> GraphError:
    """A principal that another replica has not heard of yet is refused under a code of its own [observed]."""
    refusal = not_found(id)
    if call.directory.get("servicePrincipal", id):
        refusal.code = "Directory_ObjectNotFound"
    return refusal


def _principal(call: Call, id: str | None) -> tuple[Body, str]:
    user = call.directory.user(id, made_by=call.settled) if id else None
    if user:
        return {"id": user.id, "displayName": user.body.get("displayName")}, "User"
    return _required(call, "principalId", id), "ServicePrincipal"


def _known_scopes(resource: Body, scope: str) -> str:
    known = {item["value"] for item in resource["oauth2PermissionScopes"]}
    for name in scope.split():
        if name not in known:
            raise bad_request(f"The scope '{name}' does not exist on the resource '{resource['displayName']}'.")
    return scope


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _audit(call: Call, activity: str, id: str, name: str) -> None:
    journal.audit(call.directory, activity, target_id=id or new_id(), target_name=name)

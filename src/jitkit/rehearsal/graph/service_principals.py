"""Service principals, an application's presence in the tenant: Graph v1.0 `/servicePrincipals`."""

from __future__ import annotations

import copy

from jitkit.rehearsal import journal
from jitkit.rehearsal.directory import Body
from jitkit.rehearsal.graph import key_credentials, odata, quotas, schema
from jitkit.rehearsal.graph.wire import Answer, Call, GraphError, GraphRoute, bad_request, new_id, not_found

READ = ("Application.Read.All", "Application.ReadWrite.All", "Directory.Read.All", "Directory.ReadWrite.All")
_WRITE = ("Application.ReadWrite.All", "Directory.ReadWrite.All")
_SERVER_MADE = frozenset({"id", "deletedDateTime", "appDisplayName", "appOwnerOrganizationId", "servicePrincipalType"})


def routes() -> list[GraphRoute]:
    """The operations on service principals."""
    return [
        GraphRoute("GET", "/servicePrincipals", list_all, READ, "List servicePrincipals"),
        GraphRoute("GET", "/servicePrincipals/$count", count, READ, "List servicePrincipals"),
        GraphRoute("POST", "/servicePrincipals", create, _WRITE, "Create servicePrincipal"),
        *(
            route
            for path in ("/servicePrincipals/{id}", "/servicePrincipals(appId='{appId}')")
            for route in (
                GraphRoute("GET", path, get, READ, "Get servicePrincipal"),
                GraphRoute("PATCH", path, update, _WRITE, "Update servicePrincipal"),
                GraphRoute("DELETE", path, delete, _WRITE, "Delete servicePrincipal"),
            )
        ),
    ]


def mirrored(app: Body) -> Body:
    """The properties a principal takes over from its application, now and whenever that changes."""
    urls = [app["publicClient"], app["web"], app["spa"]]
    return {
        "appDisplayName": app["displayName"],
        "displayName": app["displayName"],
        "homepage": app["web"].get("homePageUrl"),
        "logoutUrl": app["web"].get("logoutUrl"),
        "replyUrls": [url for group in urls for url in group.get("redirectUris", [])],
        "servicePrincipalNames": [app["appId"], *app["identifierUris"]],
        "appRoles": copy.deepcopy(app["appRoles"]),
        "oauth2PermissionScopes": copy.deepcopy(app["api"]["oauth2PermissionScopes"]),
        "info": copy.deepcopy(app["info"]),
        "signInAudience": app["signInAudience"],
    }


def new_service_principal(app: Body, tenant_id: str) -> Body:
    """Make the principal of an application of this tenant.

    Args:
        app: the application.
        tenant_id: this tenant, which owns the application.
    """
    return {
        "id": new_id(),
        "deletedDateTime": None,
        "accountEnabled": True,
        "alternativeNames": [],
        "appId": app["appId"],
        "appOwnerOrganizationId": tenant_id,
        "appRoleAssignmentRequired": False,
        "description": None,
        "disabledByMicrosoftStatus": None,
        "endpoints": [],
        "publisherName": "Contoso Retail",
        "servicePrincipalType": "Application",
        "tags": [],
        "addIns": [],
        "notes": None,
        "keyCredentials": [],
        "passwordCredentials": [],
        "resourceSpecificApplicationPermissions": [],
        "tokenEncryptionKeyId": None,
        "verifiedPublisher": {"displayName": None, "verifiedPublisherId": None, "addedDateTime": None},
        **mirrored(app),
    }


def find(call: Call) -> Body:
    """Read the principal that the route names, by object id or appId. Raises GraphError 404."""
    if "appId" in call.ids:
        found, named = call.read_by_key("servicePrincipal", call.ids["appId"]), call.ids["appId"]
    else:
        found, named = call.read("servicePrincipal", call.ids["id"]), call.ids["id"]
    if found is None:
        raise not_found(named)
    return found


def list_all(call: Call) -> Answer:
    """List principals."""
    items = _collection()
    odata.check_select(call, items)
    return odata.page(call, items, lambda row: key_credentials.hidden(odata.body_of(row)))


def count(call: Call) -> Answer:
    """Count principals."""
    return odata.count(call, _collection())


def get(call: Call) -> Answer:
    """Read one principal."""
    names = odata.check_select(call, _collection())
    return odata.one(call, "servicePrincipals", find(call), names)


def create(call: Call) -> Answer:
    """Make the principal of a registered application; only its appId has to be sent."""
    return _create(call, _checked(call))


def _create(call: Call, body: Body) -> Answer:
    app = call.read_by_key("application", body.get("appId") or "")
    if app is None:
        raise bad_request(
            f"The appId '{body.get('appId') or ''}' of the service principal does not reference a valid application "
            "object."
        )
    if call.directory.by_key("servicePrincipal", app["appId"]):
        raise _taken(app["appId"])
    quotas.check_room(call.directory)
    principal = new_service_principal(app, call.tenant.tenant_id) | body
    call.directory.add("servicePrincipal", principal, key=app["appId"])
    journal.audit(
        call.directory, "Add service principal", target_id=principal["id"], target_name=principal["displayName"]
    )
    return call.entity(201, "servicePrincipals", principal)


def update(call: Call) -> Answer:
    """Change a principal; addressed by appId, it may be made on the way."""
    body = _checked(call)
    if (
        "appId" in call.ids
        and call.creates_missing
        and not call.directory.by_key("servicePrincipal", call.ids["appId"])
    ):
        return _create(call, {**body, "appId": call.ids["appId"]})
    before = find(call)
    if body.get("appId", before["appId"]) != before["appId"]:
        raise bad_request("Property 'appId' is read-only and cannot be set.")
    call.directory.replace("servicePrincipal", before | body)
    journal.audit(
        call.directory,
        "Update service principal",
        target_id=before["id"],
        target_name=before["displayName"],
        changed={name: (before.get(name), value) for name, value in body.items() if before.get(name) != value},
    )
    return Answer(204)


def delete(call: Call) -> Answer:
    """Move a principal to the recycle bin, and drop the consent it gave and was given."""
    principal = find(call)
    call.directory.discard("servicePrincipal", principal["id"], recycle=True)
    journal.audit(
        call.directory, "Remove service principal", target_id=principal["id"], target_name=principal["displayName"]
    )
    return Answer(204)


def _checked(call: Call) -> Body:
    body = {name: value for name, value in call.json().items() if not name.startswith("@odata")}
    schema.check("ServicePrincipal", body, code="Request_BadRequest")
    for name in _SERVER_MADE & body.keys():
        raise bad_request(f"Property '{name}' is read-only and cannot be set.")
    return body


def _collection() -> odata.Collection:
    return odata.of_kind("servicePrincipal", "servicePrincipals", "ServicePrincipal")


def _taken(app_id: str) -> GraphError:
    return GraphError(
        409,
        "Request_MultipleObjectsWithSameKeyValue",
        f"The service principal cannot be created, updated, or restored because the service principal name {app_id} "
        "is already in use.",
    )

"""Application registrations: Graph v1.0 `/applications`, and what the recycle bin does to them.

Shapes and rules: Graph v1.0, application resource and its pages.
"""

from __future__ import annotations

import copy

from jitkit.rehearsal import journal
from jitkit.rehearsal.directory import Body, Directory
from jitkit.rehearsal.graph import identifier_uris, key_credentials, odata, quotas, schema
from jitkit.rehearsal.graph.wire import Answer, Call, GraphRoute, bad_request, new_id, not_found, written

_READ = ("Application.Read.All", "Application.ReadWrite.All", "Directory.Read.All", "Directory.ReadWrite.All")
_WRITE = ("Application.ReadWrite.All", "Directory.ReadWrite.All")
_SERVER_MADE = frozenset({"id", "appId", "createdDateTime", "deletedDateTime", "publisherDomain"})

_AUDIENCES = {
    "AzureADMyOrg",
    "AzureADMultipleOrgs",
    "AzureADandPersonalMicrosoftAccount",
    "PersonalMicrosoftAccount",
}

_DEFAULTS: Body = {
    "deletedDateTime": None,
    "applicationTemplateId": None,
    "disabledByMicrosoftStatus": None,
    "description": None,
    "groupMembershipClaims": None,
    "identifierUris": [],
    "isDeviceOnlyAuthSupported": None,
    "isFallbackPublicClient": None,
    "nativeAuthenticationApisEnabled": None,
    "notes": None,
    "serviceManagementReference": None,
    "samlMetadataUrl": None,
    "signInAudience": "AzureADandPersonalMicrosoftAccount",
    "tags": [],
    "tokenEncryptionKeyId": None,
    "defaultRedirectUri": None,
    "certification": None,
    "optionalClaims": None,
    "addIns": [],
    "api": {
        "acceptMappedClaims": None,
        "knownClientApplications": [],
        "requestedAccessTokenVersion": None,
        "oauth2PermissionScopes": [],
        "preAuthorizedApplications": [],
    },
    "appRoles": [],
    "info": {
        "logoUrl": None,
        "marketingUrl": None,
        "privacyStatementUrl": None,
        "supportUrl": None,
        "termsOfServiceUrl": None,
    },
    "keyCredentials": [],
    "parentalControlSettings": {"countriesBlockedForMinors": [], "legalAgeGroupRule": "Allow"},
    "passwordCredentials": [],
    "publicClient": {"redirectUris": []},
    "requiredResourceAccess": [],
    "verifiedPublisher": {"displayName": None, "verifiedPublisherId": None, "addedDateTime": None},
    "web": {
        "homePageUrl": None,
        "logoutUrl": None,
        "redirectUris": [],
        "implicitGrantSettings": {"enableAccessTokenIssuance": False, "enableIdTokenIssuance": False},
    },
    "spa": {"redirectUris": []},
}


def routes() -> list[GraphRoute]:
    """The operations on application registrations."""
    return [
        GraphRoute("GET", "/applications", list_all, _READ, "List applications"),
        GraphRoute("GET", "/applications/$count", count, _READ, "List applications"),
        GraphRoute("POST", "/applications", create, _WRITE, "Create application"),
        *(
            route
            for path in (
                "/applications/{id}",
                "/applications(appId='{appId}')",
                "/applications(uniqueName='{uniqueName}')",
            )
            for route in (
                GraphRoute("GET", path, get, _READ, "Get application"),
                GraphRoute("PATCH", path, update, _WRITE, "Update application"),
                GraphRoute("DELETE", path, delete, _WRITE, "Delete application"),
            )
        ),
    ]


def new_application(body: Body, directory: Directory) -> Body:
    """Fill a new registration as the service does.

    Args:
        body: what the caller sent, already checked.
        directory: the tenant's directory.
    """
    made: Body = {"id": new_id(), "appId": new_id(), "createdDateTime": written(directory.clock.now())}
    made["publisherDomain"] = directory.meta("domain")
    app = _whole(merge({**made, **copy.deepcopy(_DEFAULTS)}, body))
    app["signInAudience"] = app["signInAudience"] or _DEFAULTS["signInAudience"]
    if app["signInAudience"].endswith("PersonalMicrosoftAccount") and not (body.get("api") or {}):
        app["api"]["requestedAccessTokenVersion"] = 2
    return app


def find(call: Call) -> Body:
    """Read the application that the route names, by object id or appId. Raises GraphError 404."""
    if "uniqueName" in call.ids:
        found, named = _by_unique_name(call), call.ids["uniqueName"]
    elif "appId" in call.ids:
        found, named = call.read_by_key("application", call.ids["appId"]), call.ids["appId"]
    else:
        found, named = call.read("application", call.ids["id"]), call.ids["id"]
    if found is None:
        raise not_found(named)
    return found


def list_all(call: Call) -> Answer:
    """List registrations; the public keys in `keyCredentials` are null."""
    items = _collection()
    odata.check_select(call, items)
    return odata.page(call, items, lambda row: key_credentials.hidden(odata.body_of(row)))


def count(call: Call) -> Answer:
    """Count registrations."""
    return odata.count(call, _collection())


def get(call: Call) -> Answer:
    """Read one registration; public keys come only with `$select=keyCredentials`."""
    names = odata.check_select(call, _collection())
    app = find(call)
    if "keyCredentials" not in names:
        app = key_credentials.hidden(app)
    return odata.one(call, "applications", app, names)


def create(call: Call) -> Answer:
    """Register an application. Its service principal is a separate object."""
    return _create(call, _checked(call))


def _create(call: Call, body: Body) -> Answer:
    if not body.get("displayName"):
        raise bad_request("A value is required for property 'displayName' of resource 'Application'.")
    name = body.get("uniqueName")
    if name and any(app.get("uniqueName") == name for app in call.directory.all("application")):
        raise bad_request("Another object with the same value for property uniqueName already exists.")
    quotas.check_room(call.directory)
    app = new_application(body, call.directory)
    identifier_uris.check(call, app, app["identifierUris"])
    app["keyCredentials"] = key_credentials.replaced(app["keyCredentials"], [])
    key_credentials.check_token_encryption(app)
    call.directory.add("application", app, key=app["appId"])
    journal.audit(call.directory, "Add application", target_id=app["id"], target_name=app["displayName"])
    return call.entity(201, "applications", key_credentials.hidden(app))


def update(call: Call) -> Answer:
    """Change a registration: collections are replaced as a whole, complex properties member by member."""
    body = _checked(call)
    if "uniqueName" in call.ids and call.creates_missing and _by_unique_name(call) is None:
        return _create(call, {**body, "uniqueName": call.ids["uniqueName"]})
    before = find(call)
    for name in ("displayName", "signInAudience"):
        if not body.get(name, True):
            raise bad_request(f"A value is required for property '{name}' of resource 'Application'.")
    if before.get("uniqueName") and body.get("uniqueName", before["uniqueName"]) != before["uniqueName"]:
        raise bad_request("Property 'uniqueName' cannot be changed once it is set.")
    after = _whole(merge(copy.deepcopy(before), body))
    if "identifierUris" in body:
        identifier_uris.check(call, after, after["identifierUris"], present=before["identifierUris"])
    if "keyCredentials" in body:
        after["keyCredentials"] = key_credentials.replaced(body["keyCredentials"], before["keyCredentials"])
    key_credentials.check_token_encryption(after)
    call.directory.replace("application", after)
    _refresh_principal(call, after)
    journal.audit(
        call.directory,
        "Update application",
        target_id=after["id"],
        target_name=after["displayName"],
        changed={
            name: (key_credentials.public(before.get(name)), key_credentials.public(after.get(name)))
            for name in body
            if before.get(name) != after.get(name)
        },
    )
    return Answer(204)


def delete(call: Call) -> Answer:
    """Move a registration and its service principal to the recycle bin."""
    app = find(call)
    call.directory.discard("application", app["id"], recycle=True)
    principal = call.directory.by_key("servicePrincipal", app["appId"])
    if principal:
        call.directory.discard("servicePrincipal", principal["id"], recycle=True)
    journal.audit(call.directory, "Delete application", target_id=app["id"], target_name=app["displayName"])
    return Answer(204)


def merge(target: Body, changes: Body) -> Body:
    """Apply a partial body in place: objects are merged, everything else, lists among it, is replaced."""
    for name, value in changes.items():
        if name.startswith("@odata"):
            continue
        if isinstance(value, dict) and isinstance(target.get(name), dict):
            merge(target[name], value)
        else:
            target[name] = value
    return target


def _whole(app: Body) -> Body:
    """Give a complex property that was set to null its parts back."""
    for name, value in _DEFAULTS.items():
        if isinstance(value, dict) and app.get(name) is None:
            app[name] = copy.deepcopy(value)
    return app


def _checked(call: Call) -> Body:
    body = call.json()
    schema.check("Application", body, code="Request_BadRequest")
    for name in _SERVER_MADE & body.keys():
        raise bad_request(f"Property '{name}' is read-only and cannot be set.")
    if body.get("signInAudience") is not None and body["signInAudience"] not in _AUDIENCES:
        raise bad_request("Invalid value specified for property 'signInAudience' of resource 'Application'.")
    return body


def _by_unique_name(call: Call) -> Body | None:
    name = call.ids["uniqueName"]
    return next((app for app in call.directory.all("application") if app.get("uniqueName") == name), None)


def _collection() -> odata.Collection:
    return odata.of_kind("application", "applications", "Application")


def _refresh_principal(call: Call, app: Body) -> None:
    """Keep what a service principal mirrors from its application."""
    principal = call.directory.by_key("servicePrincipal", app["appId"])
    if principal is None:
        return
    from jitkit.rehearsal.graph.service_principals import mirrored

    call.directory.replace("servicePrincipal", {**principal, **mirrored(app)})

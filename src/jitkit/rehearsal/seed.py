"""Fills a new directory as a new external tenant is, and puts a tenant into production as other people do.

Texts and ids are data, in `seed.json` and `production.json` next to this file.
Ids of permissions: Microsoft Graph permissions reference. The owner application of custom user attributes and its
built-in property: Graph v1.0, "List extensionProperties", example.
"""

from __future__ import annotations

import base64
import json
import secrets
import uuid
from collections.abc import Mapping
from importlib.resources import files
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
from cryptography.hazmat.primitives.serialization import Encoding

from jitkit.certificates import make_certificate
from jitkit.protocol import GRAPH_APP_ID, RECEIVE_PAYLOAD_ROLE_ID
from jitkit.rehearsal import identity
from jitkit.rehearsal.clock import timestamp
from jitkit.rehearsal.directory import Body, Directory, new_id
from jitkit.rehearsal.graph import applications

EXTENSIONS_APP_NAME = "b2c-extensions-app. Do not modify. Used by AADB2C for storing user data."
_BUILT_IN_PROPERTY = "cpiminternal_useAccountEnabledForPhone"
PRODUCTION: Final[Body] = json.loads((files("jitkit.rehearsal") / "production.json").read_text(encoding="utf-8"))


def seed(directory: Directory) -> None:
    """Fill an empty directory; a tenant id and a domain that it already has are kept."""
    with directory.transaction():
        if directory.meta("seeded"):
            return  # another process was faster
        if directory.meta("tenant_id") is None:
            subdomain = f"contosoretail{secrets.token_hex(3)}"
            directory.set_meta("tenant_id", str(uuid.uuid4()))
            directory.set_meta("subdomain", subdomain)
            directory.set_meta("domain", f"{subdomain}.onmicrosoft.com")
        identity.ensure_keys(directory)
        tenant_id, domain = directory.meta("tenant_id") or "", directory.meta("domain") or ""
        data: Body = json.loads((files("jitkit.rehearsal") / "seed.json").read_text(encoding="utf-8"))
        own = {"isDefault": True, "isInitial": True, "name": domain, "type": "Managed"}
        organization = {
            "id": tenant_id,
            "createdDateTime": f"{timestamp(directory.clock.now())[:19]}Z",
            "verifiedDomains": [{"capabilities": "Email, OfficeCommunicationsOnline", **own}],
            **data["organization"],
        }
        directory.add("domain", {"id": domain, **data["domain"]})
        directory.add("organization", organization)
        directory.add("servicePrincipal", _graph(data), key=GRAPH_APP_ID)
        _extensions_app(directory)
        # A replication delay does not hold back what came with the tenant.
        directory.rows("UPDATE objects SET created = created - 86400")
        directory.set_meta("seeded", "1")


def _extensions_app(directory: Directory) -> None:
    body = {"displayName": EXTENSIONS_APP_NAME, "signInAudience": "AzureADMyOrg"}
    app = applications.new_application(body, directory)
    directory.add("application", app, key=app["appId"])
    principal = applications.new_service_principal(app, directory.meta("tenant_id") or "")
    directory.add("servicePrincipal", principal, key=app["appId"])
    name = f"extension_{app['appId'].replace('-', '')}_{_BUILT_IN_PROPERTY}"
    extension = applications.new_extension(app, name, "Boolean", ["User"])
    directory.add("extensionProperty", extension, parent=app["id"])


def _graph(data: Body) -> Body:
    roles, scopes = [], []
    for name, ids in data["permissions"].items():
        if ids["role"]:
            texts = {"description": name, "displayName": name, "origin": "Application", "value": name}
            roles.append({"allowedMemberTypes": ["Application"], "id": ids["role"], "isEnabled": True, **texts})
        if ids["scope"]:
            texts = {
                f"{who}Consent{text}": name for who in ("admin", "user") for text in ("Description", "DisplayName")
            }
            kind = "Admin" if ids["role"] else "User"
            scopes.append({**texts, "id": ids["scope"], "isEnabled": True, "type": kind, "value": name})
    names = {"appId": GRAPH_APP_ID, "servicePrincipalNames": [GRAPH_APP_ID, "https://graph.microsoft.com"]}
    return {"id": new_id(), **data["graph"], **names, "appRoles": roles, "oauth2PermissionScopes": scopes}


# --- a tenant in production ----------------------------------------------------------------------------------------


async def put_into_production(
    graph: httpx.AsyncClient, domain: str, host: str, people: Mapping[str, bool | None]
) -> None:
    """Make, through Graph, what a tenant has that other people use; what is there by its name is not made again."""
    data = PRODUCTION
    app_ids = [await _registered(graph, name) for name in data["apps"]]
    conditions = {"conditions": {"applications": {"includeApplications": [{"appId": id} for id in app_ids]}}}
    await _ensure(graph, "/identity/authenticationEventsFlows", {**data["flow"], **conditions})
    # A flag that is made in the admin centre has a user flow attribute; its id is the flag's full name.
    flag = (await _ensure(graph, "/identity/userFlowAttributes", data["flag"]))["id"]
    extension = await _extension(graph, host)
    claims = await _ensure(graph, _EXTENSIONS, _called(data["claims"], f"api://claims.{domain}/{app_ids[0]}", None))
    for each in data["others"]:
        listener = {**each, **conditions, "handler": dict(each["handler"])}
        if "TokenIssuance" in each["@odata.type"]:
            listener["handler"]["customExtension"] = {"id": claims["id"]}
        await _ensure(graph, _LISTENERS, listener)
    await _listen(graph, {**data["listener"], **conditions}, flag, extension)
    for name, value in people.items():
        profile = {"password": data["password"], "forceChangePasswordNextSignIn": False}
        identity_of = {"signInType": "emailAddress", "issuer": domain, "issuerAssignedId": name}
        body = {"displayName": name.partition("@")[0].title(), "mail": name, "identities": [identity_of]}
        marked = {} if value is None else {flag: value}
        await _send(graph, "POST", "/users", {**body, "accountEnabled": True, "passwordProfile": profile, **marked})


_EXTENSIONS: Final = "/identity/customAuthenticationExtensions"
_LISTENERS: Final = "/identity/authenticationEventListeners"


async def _send(graph: httpx.AsyncClient, method: str, path: str, body: Any = None) -> Any:
    answer = await graph.request(method, path, json=body)
    answer.raise_for_status()
    return answer.json() if answer.content else None


async def _first(graph: httpx.AsyncClient, path: str, name: str, value: str) -> Any:
    """Return the first object whose property has a value, or None."""
    there = (await _send(graph, "GET", path))["value"]
    return next((each for each in there if each.get(name) == value), None)


async def _ensure(graph: httpx.AsyncClient, path: str, body: Body) -> Any:
    """Return the object of this display name, which is made where there is none."""
    return await _first(graph, path, "displayName", body["displayName"]) or await _send(graph, "POST", path, body)


async def _registered(graph: httpx.AsyncClient, name: str) -> str:
    """Register an application that people sign in to, with its service principal; return its appId."""
    web = {"redirectUris": [f"https://{name.lower()}.contoso.example/signed-in"]}
    app = await _ensure(graph, "/applications", {"displayName": name, "signInAudience": "AzureADMyOrg", "web": web})
    await _ensure(graph, "/servicePrincipals", {"displayName": name, "appId": app["appId"]})
    return str(app["appId"])


def _called(extension: Body, resource_id: str, url: str | None) -> Body:
    """Name in an extension what it calls."""
    token = {"@odata.type": "#microsoft.graph.azureAdTokenAuthentication", "resourceId": resource_id}
    target = {"@odata.type": "#microsoft.graph.httpRequestEndpoint", "targetUrl": url}
    return {**extension, "authenticationConfiguration": token, **({"endpointConfiguration": target} if url else {})}


async def _extension(graph: httpx.AsyncClient, host: str) -> str:
    """Move the password-submit extension to a production host, or make one there; return its id."""
    found = await _first(graph, _EXTENSIONS, "@odata.type", PRODUCTION["extension"]["@odata.type"])
    if found:
        app_id = found["authenticationConfiguration"]["resourceId"].rpartition("/")[2]
        path = urlsplit(found["endpointConfiguration"]["targetUrl"]).path
    else:
        app_id, path = await _protected(graph), "/api/check"
    app = await _send(graph, "GET", f"/applications(appId='{app_id}')")
    uri = f"api://{host}/{app_id}"
    uris = list(dict.fromkeys([*app["identifierUris"], uri]))
    await _send(graph, "PATCH", f"/applications/{app['id']}", {"identifierUris": uris})
    own = {"@odata.type": found["@odata.type"]} if found else PRODUCTION["extension"]
    body, at = _called(own, uri, f"https://{host}{path}"), f"{_EXTENSIONS}/{found['id']}" if found else _EXTENSIONS
    made = await _send(graph, "PATCH" if found else "POST", at, body)
    return str((found or made)["id"])


async def _protected(graph: httpx.AsyncClient) -> str:
    """Register the application of an endpoint, with its key and its consent; return its appId."""
    der = make_certificate("Contoso")[1].public_bytes(Encoding.DER)
    key = {"keyId": str(uuid.uuid4()), "type": "AsymmetricX509Cert", "usage": "Encrypt"}
    keys = {"keyCredentials": [{**key, "key": base64.b64encode(der).decode()}], "tokenEncryptionKeyId": key["keyId"]}
    own = {"displayName": PRODUCTION["extension"]["displayName"], "signInAudience": "AzureADMyOrg"}
    app = await _ensure(graph, "/applications", {**own, "api": {"requestedAccessTokenVersion": 2}, **keys})
    principal = await _ensure(graph, "/servicePrincipals", {**own, "appId": app["appId"]})
    microsoft = await _send(graph, "GET", f"/servicePrincipals(appId='{GRAPH_APP_ID}')")
    given = {"principalId": principal["id"], "resourceId": microsoft["id"], "appRoleId": RECEIVE_PAYLOAD_ROLE_ID}
    await _send(graph, "POST", f"/servicePrincipals/{microsoft['id']}/appRoleAssignedTo", given)
    return str(app["appId"])


async def _listen(graph: httpx.AsyncClient, body: Body, flag: str, extension_id: str) -> None:
    """Widen the password-submit listener to every application, or make one for the others' applications."""
    found = await _first(graph, _LISTENERS, "@odata.type", body["@odata.type"])
    if found:
        covered = {**found["conditions"]["applications"], "includeAllApplications": True}
        wider = {"@odata.type": found["@odata.type"], "conditions": {"applications": covered}}
        await _send(graph, "PATCH", f"{_LISTENERS}/{found['id']}", wider)
        return
    handler = {
        "@odata.type": "#microsoft.graph.onPasswordMigrationCustomExtensionHandler",
        "migrationPropertyId": flag,
        "customExtension": {"id": extension_id},
    }
    await _send(graph, "POST", _LISTENERS, {**body, "handler": handler})

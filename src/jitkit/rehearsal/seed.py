"""Fills a new directory as a new external tenant is; texts and ids are data, in `seed.json` next to this file.

Ids of permissions: Microsoft Graph permissions reference. The owner application of custom user attributes and its
built-in property: Graph v1.0, "List extensionProperties", example.
"""

from __future__ import annotations

import json
import secrets
import uuid
from importlib.resources import files

from jitkit.protocol import GRAPH_APP_ID
from jitkit.rehearsal import identity
from jitkit.rehearsal.clock import timestamp
from jitkit.rehearsal.directory import Body, Directory, new_id
from jitkit.rehearsal.graph import applications

EXTENSIONS_APP_NAME = "b2c-extensions-app. Do not modify. Used by AADB2C for storing user data."
_BUILT_IN_PROPERTY = "cpiminternal_useAccountEnabledForPhone"


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

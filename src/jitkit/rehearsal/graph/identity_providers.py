"""Where people may sign in from: Graph v1.0 `/identity/identityProviders`.

Shapes: Graph v1.0, builtInIdentityProvider and socialIdentityProvider. The secret of a social provider is not kept.
"""

from __future__ import annotations

from typing import Any

from jitkit.rehearsal.directory import Body, Directory
from jitkit.rehearsal.graph import schema
from jitkit.rehearsal.graph.wire import Answer, Call, GraphError, GraphRoute

_PATH = "/identity/identityProviders"
_READ = ("IdentityProvider.Read.All", "IdentityProvider.ReadWrite.All")
_WRITE = ("IdentityProvider.ReadWrite.All",)
_KIND = "identityProvider"
_BUILT_IN = {
    "EmailPassword-OAUTH": ("Email with password", "EmailPassword"),
    "EmailOtpSignup-OAUTH": ("Email One Time Passcode", "EmailOTP"),
    "AADSignup-OAUTH": ("Azure Active Directory Sign up", "AADSignup"),
}
_SOCIAL = ("Google", "Facebook")


def routes() -> list[GraphRoute]:
    """The operations on identity providers."""
    return [
        GraphRoute("GET", _PATH, list_all, _READ, "List identityProviders"),
        GraphRoute("POST", _PATH, create, _WRITE, "Create identityProvider"),
        GraphRoute("GET", f"{_PATH}/{{id}}", get, _READ, "Get identityProvider"),
        GraphRoute("DELETE", f"{_PATH}/{{id}}", delete, _WRITE, "Delete identityProvider"),
    ]


def find(directory: Directory, id: Any) -> Body | None:
    """Read a provider by its id, such as `EmailPassword-OAUTH`; None when the tenant has none of that id."""
    if id in _BUILT_IN:
        name, kind = _BUILT_IN[id]
        return {
            "@odata.type": "#microsoft.graph.builtInIdentityProvider",
            "id": id,
            "displayName": name,
            "identityProviderType": kind,
            "state": None,
        }
    return directory.get(_KIND, str(id))


def list_all(call: Call) -> Answer:
    """List the built-in providers and those that were added."""
    value = [*(find(call.directory, id) for id in _BUILT_IN), *call.directory.all(_KIND)]
    return Answer(200, {"@odata.context": call.context("identity/identityProviders"), "value": value})


def create(call: Call) -> Answer:
    """Add Google or Facebook."""
    body = call.json()
    schema.check("IdentityProviderBase", body, code="BadRequest")
    named = str(body.get("@odata.type") or "").lstrip("#")
    if not named:
        raise GraphError(400, "BadRequest", "The property '@odata.type' is required: identityProviderBase is abstract.")
    if named.lower() != "microsoft.graph.socialidentityprovider":
        raise GraphError(501, "NotImplemented", f"not simulated: a provider of type '{named}'")
    kind = body.get("identityProviderType")
    if kind not in _SOCIAL or not all(body.get(name) for name in ("displayName", "clientId", "clientSecret")):
        raise GraphError(
            400,
            "BadRequest",
            f"identityProviderType is one of {', '.join(_SOCIAL)}; displayName, clientId, clientSecret are required.",
        )
    if call.directory.get(_KIND, f"{kind}-OAUTH"):
        raise GraphError(400, "BadRequest", f"The identity provider '{kind}-OAUTH' exists already.")
    made = call.directory.add(
        _KIND,
        {
            "@odata.type": "#microsoft.graph.socialIdentityProvider",
            "id": f"{kind}-OAUTH",
            "displayName": body["displayName"],
            "identityProviderType": kind,
            "clientId": body["clientId"],
            "clientSecret": "******",
        },
    )
    return call.entity(201, "identity/identityProviders", made)


def get(call: Call) -> Answer:
    """Read one provider."""
    return call.entity(200, "identity/identityProviders", _find(call))


def delete(call: Call) -> Answer:
    """Remove a provider that was added."""
    found = _find(call)
    if found["id"] in _BUILT_IN:
        raise GraphError(400, "BadRequest", "A built-in identity provider cannot be deleted.")
    call.directory.discard(_KIND, found["id"], recycle=False)
    return Answer(204)


def _find(call: Call) -> Body:
    found = find(call.directory, call.ids["id"])
    if found is None:
        raise GraphError(404, "ResourceNotFound", f"Resource '{call.ids['id']}' does not exist.")
    return found

"""What user flows can collect: Graph v1.0 `/identity/userFlowAttributes`.

A custom attribute is a directory extension of the application that owns them; data types are lower case here.
"""

from __future__ import annotations

from jitkit.protocol import EXTENSIONS_APP_PREFIX
from jitkit.rehearsal.directory import Body
from jitkit.rehearsal.graph import extension_properties, schema
from jitkit.rehearsal.graph.wire import Answer, Call, GraphError, GraphRoute

_PATH = "/identity/userFlowAttributes"
_READ = ("IdentityUserFlow.Read.All", "IdentityUserFlow.ReadWrite.All", "EventListener.ReadWrite.All")
_WRITE = ("IdentityUserFlow.ReadWrite.All", "EventListener.ReadWrite.All")
_KIND = "userFlowAttribute"

_BUILT_IN = {
    "email": ("Email Address", "Email address of the user"),
    "displayName": ("Display Name", "Display Name of the User."),
    "givenName": ("Given Name", "The user's given name (also known as first name)."),
    "surname": ("Surname", "The user's surname (also known as family name or last name)."),
    "city": ("City", "The city in which the user is located."),
    "country": ("Country/Region", "The country/region in which the user is located."),
    "jobTitle": ("Job Title", "The user's job title."),
    "postalCode": ("Postal Code", "The postal code of the user's address."),
    "state": ("State/Province", "The state or province in user's address."),
    "streetAddress": ("Street Address", "The street address where the user is located."),
}
_DATA_TYPES = {"string": "String", "boolean": "Boolean", "int64": "LargeInteger", "dateTime": "DateTime"}


def routes() -> list[GraphRoute]:
    """The operations on user attributes."""
    return [
        GraphRoute("GET", _PATH, list_attributes, _READ, "List identityUserFlowAttributes"),
        GraphRoute("POST", _PATH, create_attribute, _WRITE, "Create identityUserFlowAttribute"),
    ]


def list_attributes(call: Call) -> Answer:
    """List the attributes a user flow can collect."""
    value = [attribute(call, id) for id in _BUILT_IN]
    for item in call.directory.all("extensionProperty"):
        if "cpiminternal_" not in item["name"]:
            value.append(attribute(call, item["name"]))
    return Answer(200, {"@odata.context": call.context("identity/userFlowAttributes"), "value": value})


def create_attribute(call: Call) -> Answer:
    """Make a custom user attribute, and the directory extension behind it."""
    body = call.json()
    schema.check("IdentityUserFlowAttribute", body, code="BadRequest")
    kind, name = body.get("dataType"), body.get("displayName") or ""
    if kind not in _DATA_TYPES:
        raise GraphError(400, "BadRequest", f"dataType must be one of {', '.join(_DATA_TYPES)}.")
    owner = next(
        app for app in call.directory.all("application") if app["displayName"].startswith(EXTENSIONS_APP_PREFIX)
    )
    made = extension_properties.add(
        call, owner, {"name": name.replace(" ", ""), "dataType": _DATA_TYPES[kind], "targetObjects": ["User"]}
    )
    words = {"displayName": name, "description": body.get("description")}
    call.directory.add(_KIND, words, key=made["name"])
    return Answer(
        201, attribute(call, made["name"]), headers={"Location": f"/identity/userFlowAttributes('{made['name']}')"}
    )


def attribute(call: Call, id: str) -> Body:
    """Describe an attribute.

    Args:
        call: the request that asks.
        id: a built-in name such as `email`, or the full name of a directory extension.

    Raises:
        GraphError: 400, when there is none.
    """
    if id in _BUILT_IN:
        name, description = _BUILT_IN[id]
        return _as_attribute(id, name, description, "builtIn", "string")
    for item in call.directory.all("extensionProperty"):
        if item["name"] == id:
            words = call.directory.by_key(_KIND, id) or {"displayName": id.split("_", 2)[2], "description": None}
            kind = next((small for small, large in _DATA_TYPES.items() if large == item["dataType"]), "string")
            return _as_attribute(id, words["displayName"], words["description"], "custom", kind)
    raise GraphError(400, "BadRequest", f"The user flow attribute '{id}' does not exist.")


def _as_attribute(id: str, name: str, description: str | None, origin: str, kind: str) -> Body:
    return {
        "id": id,
        "displayName": name,
        "description": description,
        "userFlowAttributeType": origin,
        "dataType": kind,
    }

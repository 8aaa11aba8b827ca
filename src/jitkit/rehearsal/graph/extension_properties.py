"""Directory extensions, which carry custom user attributes: `/applications/{id}/extensionProperties`.

Rules: Graph v1.0, extensionProperty resource and "Add custom data to resources by using extensions".
"""

from __future__ import annotations

import re

from jitkit.rehearsal import journal
from jitkit.rehearsal.directory import Body
from jitkit.rehearsal.graph import applications, odata, schema
from jitkit.rehearsal.graph.wire import Answer, Call, GraphRoute, bad_request, not_found

_READ = ("Application.Read.All", "Application.ReadWrite.All", "Directory.Read.All", "Directory.ReadWrite.All")
_WRITE = ("Application.ReadWrite.All", "Application.ReadWrite.OwnedBy")
_DATA_TYPES = {"Binary", "Boolean", "DateTime", "Integer", "LargeInteger", "String"}
_TARGETS = {"User", "Group", "AdministrativeUnit", "Application", "Device", "Organization"}
_LIMIT = 100


def routes() -> list[GraphRoute]:
    """The operations on directory extensions."""
    return [
        *(
            route
            for path in ("/applications/{id}/extensionProperties", "/applications(appId='{appId}')/extensionProperties")
            for route in (
                GraphRoute("GET", path, list_all, _READ, "List extensionProperties"),
                GraphRoute("POST", path, create, _WRITE, "Create extensionProperty"),
                GraphRoute("GET", f"{path}/{{property}}", get, _READ, "Get extensionProperty"),
                GraphRoute("DELETE", f"{path}/{{property}}", delete, _WRITE, "Delete extensionProperty"),
            )
        ),
        GraphRoute(
            "POST",
            "/directoryObjects/getAvailableExtensionProperties",
            available,
            _READ,
            "directoryObject: getAvailableExtensionProperties",
        ),
    ]


def registered(call: Call, target: str) -> dict[str, str]:
    """List the directory extensions an object type may carry.

    Args:
        call: the request that asks.
        target: `User`, `Application` …

    Returns:
        Full name to data type; those of a deleted application are hidden with it.
    """
    found = call.directory.rows(
        "SELECT json_extract(p.body, '$.name') AS name, json_extract(p.body, '$.dataType') AS type, p.body AS body"
        " FROM objects p JOIN objects a ON a.id = p.parent"
        " WHERE p.kind = 'extensionProperty' AND p.deleted IS NULL AND a.deleted IS NULL AND p.created <= ?",
        (call.settled,),
    )
    return {row["name"]: row["type"] for row in found if target in odata.body_of(row)["targetObjects"]}


def list_all(call: Call) -> Answer:
    """List an application's extensions; as live, `appDisplayName` is empty here."""
    app = applications.find(call)
    items = odata.of_kind("extensionProperty", _context(app), "ExtensionProperty", parent=app["id"])
    return odata.page(call, items, lambda row: {**odata.body_of(row), "appDisplayName": ""})


def get(call: Call) -> Answer:
    """Read one extension."""
    app = applications.find(call)
    return call.entity(200, _context(app), _find(call, app))


def create(call: Call) -> Answer:
    """Register an extension under its full name, `extension_{appId without hyphens}_{name}`."""
    app, body = applications.find(call), call.json()
    schema.check("ExtensionProperty", body, code="Request_BadRequest")
    return call.entity(201, _context(app), add(call, app, body))


def add(call: Call, app: Body, body: Body) -> Body:
    """Register an extension on an application.

    Args:
        call: the request that asks for it.
        app: the owner application.
        body: name, dataType, targetObjects, and isMultiValued if any.

    Raises:
        GraphError: 400, for a name, type or target that is missing, wrong or taken.
    """
    name, targets = body.get("name") or "", body.get("targetObjects") or []
    if not re.fullmatch(r"\w{1,80}", name, re.ASCII):
        raise bad_request("Extension property name is missing, or has characters other than letters, digits and '_'.")
    if body.get("dataType") not in _DATA_TYPES:
        raise bad_request(f"Invalid dataType. Supported data types: {', '.join(sorted(_DATA_TYPES))}.")
    if not targets or not set(targets) <= _TARGETS:
        raise bad_request(f"Invalid targetObjects. Supported: {', '.join(sorted(_TARGETS))}.")
    full = f"extension_{app['appId'].replace('-', '')}_{name}"
    present = call.directory.all("extensionProperty")
    if any(item["name"].lower() == full.lower() for item in present):
        raise bad_request("An extension property exists with the name " + full + ".")
    if len(present) >= _LIMIT:
        raise bad_request(f"The tenant has reached its limit of {_LIMIT} extension properties.")
    made = call.directory.add(
        "extensionProperty",
        {
            "deletedDateTime": None,
            "appDisplayName": app["displayName"],
            "name": full,
            "dataType": body["dataType"],
            "isMultiValued": bool(body.get("isMultiValued")),
            "isSyncedFromOnPremises": False,
            "targetObjects": targets,
        },
        parent=app["id"],
    )
    journal.audit(call.directory, "Update application", target_id=app["id"], target_name=app["displayName"])
    return made


def delete(call: Call) -> Answer:
    """Remove an extension. Values on users become undiscoverable; they are not deleted."""
    app = applications.find(call)
    found = _find(call, app)
    call.directory.discard("extensionProperty", found["id"], recycle=False)
    journal.audit(call.directory, "Update application", target_id=app["id"], target_name=app["displayName"])
    return Answer(204)


def available(call: Call) -> Answer:
    """List every extension registered in the tenant."""
    value = [
        {"@odata.type": "#microsoft.graph.extensionProperty", **item}
        for item in call.directory.all("extensionProperty")
    ]
    return Answer(200, {"@odata.context": call.context("Collection(extensionProperty)"), "value": value})


def _find(call: Call, app: Body) -> Body:
    found = call.read("extensionProperty", call.ids["property"])
    if found is None or found not in call.directory.all("extensionProperty", parent=app["id"]):
        raise not_found(call.ids["property"])
    return found


def _context(app: Body) -> str:
    return f"applications('{app['id']}')/extensionProperties"

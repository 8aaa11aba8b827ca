"""Authentication event listeners: Graph v1.0 `/identity/authenticationEventListeners`."""

from __future__ import annotations

import copy

from jitkit.rehearsal import journal
from jitkit.rehearsal.directory import Body
from jitkit.rehearsal.graph import odata, schema
from jitkit.rehearsal.graph.applications import merge
from jitkit.rehearsal.graph.conditions import complete
from jitkit.rehearsal.graph.wire import Answer, Call, GraphError, GraphRoute, new_id

_PATH = "/identity/authenticationEventListeners"
_CONTEXT = "identity/authenticationEventListeners"
_READ = ("EventListener.Read.All", "EventListener.ReadWrite.All")
_WRITE = ("EventListener.ReadWrite.All",)
_KIND = "authenticationEventListener"
_LIMIT = 249
_MIGRATION_HANDLER = "#microsoft.graph.onPasswordMigrationCustomExtensionHandler"


def routes() -> list[GraphRoute]:
    """The operations on event listeners."""
    return [
        GraphRoute("GET", _PATH, list_all, _READ, "List authenticationEventListeners"),
        GraphRoute("POST", _PATH, create, _WRITE, "Create authenticationEventListener"),
        GraphRoute("GET", f"{_PATH}/{{id}}", get, _READ, "Get authenticationEventListener"),
        GraphRoute("PATCH", f"{_PATH}/{{id}}", update, _WRITE, "Update authenticationEventListener"),
        GraphRoute("DELETE", f"{_PATH}/{{id}}", delete, _WRITE, "Delete authenticationEventListener"),
    ]


def list_all(call: Call) -> Answer:
    """List listeners; as observed live, each handler comes with its extension."""
    items = odata.of_kind(_KIND, _CONTEXT, "AuthenticationEventListener")
    return odata.page(call, items, lambda row: _with_extension(call, odata.body_of(row)))


def get(call: Call) -> Answer:
    """Read one listener."""
    return call.entity(200, _CONTEXT, _with_extension(call, _find(call)))


def create(call: Call) -> Answer:
    """Make a listener for an extension that exists."""
    body = _checked(call)
    if len(call.directory.all(_KIND)) >= _LIMIT:
        raise GraphError(400, "BadRequest", f"The tenant has reached its limit of {_LIMIT} event listener policies.")
    made: Body = {
        "@odata.type": body["@odata.type"],
        "id": new_id(),
        "displayName": None,
        # The reference does not say which priority an omitted one gets; its examples show 500.
        "priority": 500,
        "authenticationEventsFlowId": None,
    }
    complete(merge(made, body))
    made["handler"] = _handler(call, made.get("handler"))
    call.directory.add(_KIND, made)
    _audit(call, "Create authenticationEventListener", made)
    return call.entity(201, _CONTEXT, _as_created(made))


def update(call: Call) -> Answer:
    """Change a listener; its type has to be sent and cannot change, and lists are replaced as a whole."""
    before, body = _find(call), _checked(call)
    if body["@odata.type"].lower() != before["@odata.type"].lower():
        raise GraphError(400, "BadRequest", "The type of an authentication event listener cannot be changed.")
    after = complete(merge(copy.deepcopy(before), body))
    after["handler"] = _handler(call, after["handler"])
    call.directory.replace(_KIND, after)
    _audit(call, "Update authenticationEventListener", after)
    return Answer(204)


def delete(call: Call) -> Answer:
    """Delete a listener."""
    found = _find(call)
    call.directory.discard(_KIND, found["id"], recycle=False)
    _audit(call, "Delete authenticationEventListener", found)
    return Answer(204)


def _handler(call: Call, handler: Body | None) -> Body:
    """Check a handler against the extension it names, and store no more than that extension's id."""
    if not handler:
        raise GraphError(400, "BadRequest", "The property 'handler' is required.")
    named = handler.get("@odata.type", "")
    if not named:
        raise GraphError(400, "BadRequest", "The property 'handler' needs an '@odata.type'.")
    handler = {**handler, "@odata.type": f"#{named.lstrip('#')}"}
    if handler["@odata.type"].lower() == _MIGRATION_HANDLER.lower():
        if not handler.get("migrationPropertyId"):
            raise GraphError(400, "BadRequest", "The property 'migrationPropertyId' of the handler is required.")
        handler.setdefault("configuration", None)
    if "customExtension" not in handler:
        return handler
    id = (handler["customExtension"] or {}).get("id")
    if not id or call.read("customAuthenticationExtension", id) is None:
        raise GraphError(
            400, "BadRequest", f"The custom authentication extension '{id}' of the handler does not exist."
        )
    return {**handler, "customExtension": {"id": id}}


def _as_created(listener: Body) -> Body:
    """A migration handler's extension is a relationship, which the answer to a creation leaves out."""
    if listener["handler"]["@odata.type"].lower() != _MIGRATION_HANDLER.lower():
        return listener
    handler = {name: value for name, value in listener["handler"].items() if name != "customExtension"}
    return {**listener, "handler": handler}


def _with_extension(call: Call, listener: Body) -> Body:
    named = listener["handler"].get("customExtension")
    found = call.directory.get("customAuthenticationExtension", named["id"]) if named else None
    if found is None:
        return listener
    return {**listener, "handler": {**listener["handler"], "customExtension": found}}


def _checked(call: Call) -> Body:
    body = call.json()
    named = body.get("@odata.type")
    if not isinstance(named, str) or named.lstrip("#").lower() == "microsoft.graph.authenticationeventlistener":
        raise GraphError(
            400, "BadRequest", "The property '@odata.type' is required: authenticationEventListener is abstract."
        )
    body = {**body, "@odata.type": f"#{named.lstrip('#')}"}
    schema.check("AuthenticationEventListener", body, code="BadRequest")
    body.pop("id", None)
    return body


def _find(call: Call) -> Body:
    found = call.read(_KIND, call.ids["id"])
    if found is None:
        raise GraphError(404, "ResourceNotFound", f"Resource '{call.ids['id']}' of type '{_KIND}' does not exist.")
    return found


def _audit(call: Call, activity: str, listener: Body) -> None:
    journal.audit(call.directory, activity, target_id=listener["id"], target_name=listener["displayName"] or "")

"""User flows: Graph v1.0 `/identity/authenticationEventsFlows`.

Shapes: Graph v1.0, externalUsersSelfServiceSignUpEventsFlow and its pages. A creation answers without the identity
providers, attributes and applications it was sent; reading the flow returns them.
"""

from __future__ import annotations

import copy
from typing import Any

from jitkit.rehearsal import journal
from jitkit.rehearsal.directory import Body
from jitkit.rehearsal.graph import identity_providers, odata, schema
from jitkit.rehearsal.graph.applications import merge
from jitkit.rehearsal.graph.conditions import complete, included
from jitkit.rehearsal.graph.user_flow_attributes import attribute
from jitkit.rehearsal.graph.wire import Answer, Call, GraphError, GraphRoute, new_id

_PATH = "/identity/authenticationEventsFlows"
_CONTEXT = "identity/authenticationEventsFlows"
_APPLICATIONS = f"{_PATH}/{{id}}/conditions/applications/includeApplications"
_CAST = f"{_PATH}/{{id}}/microsoft.graph.externalUsersSelfServiceSignUpEventsFlow"
_READ = ("EventListener.Read.All", "EventListener.ReadWrite.All")
_WRITE = ("EventListener.ReadWrite.All",)
_KIND = "authenticationEventsFlow"
_TYPE = "#microsoft.graph.externalUsersSelfServiceSignUpEventsFlow"
_PREFIX = "#microsoft.graph."


def routes() -> list[GraphRoute]:
    """The operations on user flows and user attributes."""
    return [
        GraphRoute("GET", _PATH, list_all, _READ, "List authenticationEventsFlows"),
        GraphRoute("POST", _PATH, create, _WRITE, "Create authenticationEventsFlow"),
        GraphRoute("GET", f"{_PATH}/{{id}}", get, _READ, "Get authenticationEventsFlow"),
        GraphRoute("PATCH", f"{_PATH}/{{id}}", update, _WRITE, "Update authenticationEventsFlow"),
        GraphRoute("DELETE", f"{_PATH}/{{id}}", delete, _WRITE, "Delete authenticationEventsFlow"),
        *(
            route
            for path in (_APPLICATIONS, f"{_CAST}/conditions/applications/includeApplications")
            for route in (
                GraphRoute("GET", path, list_applications, _READ, "List includeApplications"),
                GraphRoute("POST", path, include, _WRITE, "Add includeApplication"),
                GraphRoute("DELETE", f"{path}/{{appId}}", exclude, _WRITE, "Remove includeApplication"),
            )
        ),
    ]


def list_all(call: Call) -> Answer:
    """List user flows, with what they contain."""
    return odata.page(call, odata.of_kind(_KIND, _CONTEXT, "AuthenticationEventsFlow"), odata.body_of)


def get(call: Call) -> Answer:
    """Read one user flow, with what it contains."""
    return odata.one(call, _CONTEXT, _find(call), odata.selected(call))


def create(call: Call) -> Answer:
    """Make a user flow."""
    body = _checked(call)
    if not body.get("displayName"):
        raise GraphError(400, "BadRequest", "The property 'displayName' is required.")
    if any(flow["displayName"] == body["displayName"] for flow in call.directory.all(_KIND)):
        raise GraphError(400, "BadRequest", f"A user flow named '{body['displayName']}' exists already.")
    made: Body = {
        "@odata.type": _TYPE,
        "id": new_id(),
        "displayName": None,
        "description": None,
        "priority": 500,
        "onAttributeCollectionStart": None,
        "onAttributeCollectionSubmit": None,
        "onUserCreateStart": None,
    }
    made = _completed(call, complete(merge(made, body)))
    call.directory.add(_KIND, made)
    _audit(call, "Create authenticationEventsFlow", made)
    return call.entity(201, _CONTEXT, _as_created(made))


def update(call: Call) -> Answer:
    """Change a user flow."""
    before, body = _find(call), _checked(call)
    after = _completed(call, complete(merge(copy.deepcopy(before), body)))
    call.directory.replace(_KIND, after)
    _audit(call, "Update authenticationEventsFlow", after)
    return Answer(204)


def delete(call: Call) -> Answer:
    """Delete a user flow."""
    found = _find(call)
    call.directory.discard(_KIND, found["id"], recycle=False)
    _audit(call, "Delete authenticationEventsFlow", found)
    return Answer(204)


def list_applications(call: Call) -> Answer:
    """List the apps that use a user flow."""
    found = _find(call)
    context = call.context(f"{_CONTEXT}('{found['id']}')/conditions/applications/includeApplications")
    return Answer(200, {"@odata.context": context, "value": included(found)})


def include(call: Call) -> Answer:
    """Attach an app to a user flow; an app is in one user flow only."""
    found, body = _find(call), call.json()
    schema.check("AuthenticationConditionApplication", body, code="BadRequest")
    app_id = body.get("appId") or ""
    _check_application(call, app_id, found["id"])
    if any(item["appId"] == app_id for item in included(found)):
        raise GraphError(400, "BadRequest", f"The application '{app_id}' is in this user flow already.")
    included(found).append({"appId": app_id})
    call.directory.replace(_KIND, found)
    _audit(call, "Update authenticationEventsFlow", found)
    context = call.context(f"{_CONTEXT}('{found['id']}')/conditions/applications/includeApplications/$entity")
    return Answer(201, {"@odata.context": context, "appId": app_id})


def exclude(call: Call) -> Answer:
    """Detach an app from a user flow."""
    found, app_id = _find(call), call.ids["appId"]
    kept = [item for item in included(found) if item["appId"] != app_id]
    if len(kept) == len(included(found)):
        raise _missing(app_id)
    found["conditions"]["applications"]["includeApplications"] = kept
    call.directory.replace(_KIND, found)
    _audit(call, "Update authenticationEventsFlow", found)
    return Answer(204)


def _completed(call: Call, flow: Body) -> Body:
    """Fill in what the service knows of the providers, attributes and inputs that a caller names by id."""
    for item in included(flow):
        _check_application(call, item.get("appId") or "", flow["id"])
    method = flow.get("onAuthenticationMethodLoadStart")
    if method:
        method["identityProviders"] = [_provider(call, item) for item in method.get("identityProviders") or []]
    collection = flow.get("onAttributeCollection")
    if collection:
        collection["attributes"] = [
            attribute(call, item.get("id") or "") for item in collection.get("attributes") or []
        ]
        page = collection.get("attributeCollectionPage") or {}
        views = [
            {"title": None, "description": None, **view, "inputs": [_input(item) for item in view.get("inputs") or []]}
            for view in page.get("views") or []
        ]
        collection["attributeCollectionPage"] = {"customStringsFileId": None, **page, "views": views}
    return flow


def _provider(call: Call, item: Body) -> Body:
    found = identity_providers.find(call.directory, item.get("id"))
    if found is None:
        raise GraphError(
            400, "BadRequest", f"The identity provider '{item.get('id')}' is not configured in the tenant."
        )
    return found


def _input(item: Body) -> Body:
    kind = item.get("inputType") or "text"
    return {"defaultValue": None, "options": [], **item, "inputType": kind[0].lower() + kind[1:]}


def _as_created(flow: Body) -> Body:
    flow = copy.deepcopy(flow)
    flow["conditions"]["applications"].pop("includeApplications", None)
    (flow.get("onAuthenticationMethodLoadStart") or {}).pop("identityProviders", None)
    if flow.get("onAttributeCollection"):
        flow["onAttributeCollection"].pop("attributes", None)
        flow["onAttributeCollection"]["accessPackages"] = []
    return flow


def _check_application(call: Call, app_id: str, flow_id: str) -> None:
    if call.read_by_key("servicePrincipal", app_id) is None:
        raise GraphError(400, "BadRequest", f"The application '{app_id}' has no service principal in the tenant.")
    for flow in call.directory.all(_KIND):
        if flow["id"] != flow_id and any(item["appId"] == app_id for item in included(flow)):
            raise GraphError(
                400,
                "BadRequest",
                f"The application '{app_id}' is associated with the user flow '{flow['displayName']}'.",
            )


def _checked(call: Call) -> Body:
    body = call.json()
    if str(body.get("@odata.type", "")).lstrip("#").lower() != _TYPE.lstrip("#").lower():
        raise GraphError(400, "BadRequest", f"The property '@odata.type' is required and must be '{_TYPE}'.")
    schema.check("AuthenticationEventsFlow", body, code="BadRequest")
    body = {**body, "@odata.type": _TYPE}
    body.pop("id", None)
    return body


def _find(call: Call) -> Body:
    found = call.read(_KIND, call.ids["id"])
    if found is None:
        raise _missing(call.ids["id"])
    return found


def _missing(id: Any) -> GraphError:
    return GraphError(404, "ResourceNotFound", f"Resource '{id}' does not exist.")


def _audit(call: Call, activity: str, flow: Body) -> None:
    journal.audit(call.directory, activity, target_id=flow["id"], target_name=flow["displayName"])

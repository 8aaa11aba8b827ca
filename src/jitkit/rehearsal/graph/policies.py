"""Everything under `/identity`: custom authentication extensions, event listeners, user flows and their parts.

Limits: Microsoft Learn, "Service limits" of external tenants. Validation codes: Graph v1.0,
"customAuthenticationExtension: validateAuthenticationConfiguration", which answers 200 whatever it finds. Shapes: Graph
v1.0, externalUsersSelfServiceSignUpEventsFlow, builtInIdentityProvider, socialIdentityProvider and their pages.
"""

from __future__ import annotations

import copy
import re
from typing import Any, Final
from urllib.parse import urlsplit

from jitkit.protocol import (
    EXTENSIONS_APP_PREFIX,
    GRAPH_APP_ID,
    MAXIMUM_RETRIES,
    RECEIVE_PAYLOAD_ROLE_ID,
    TIMEOUT_MS,
)
from jitkit.rehearsal.directory import Body, Directory
from jitkit.rehearsal.graph import schema
from jitkit.rehearsal.graph.applications import add_extension
from jitkit.rehearsal.graph.resource import Resource, defaults, merge
from jitkit.rehearsal.graph.wire import Answer, Call, GraphError, GraphRoute, invalid, new_id, not_simulated

_EVENTS_READ: Final = ("EventListener.Read.All", "EventListener.ReadWrite.All")
_EVENTS_WRITE: Final = ("EventListener.ReadWrite.All",)
_MIGRATION_HANDLER: Final = "#microsoft.graph.onPasswordMigrationCustomExtensionHandler"
_FLOW: Final = "#microsoft.graph.externalUsersSelfServiceSignUpEventsFlow"


def _activities(kind: str) -> tuple[str, str, str]:
    return f"Create {kind}", f"Update {kind}", f"Delete {kind}"


class _Policy(Resource):
    """A collection of an abstract type: bodies name the type they are of, and it cannot change."""

    code = "BadRequest"
    limit: tuple[int, str] | None = None  # how many the tenant may have, and what they are called

    def missing(self, id: str) -> GraphError:
        return GraphError(404, "ResourceNotFound", f"Resource '{id}' of type '{self.kind}' does not exist.")

    def checked(self, call: Call) -> Body:
        body, abstract = call.json(), f"microsoft.graph.{self.kind}"
        named = body.get("@odata.type")
        if not isinstance(named, str) or named.lstrip("#").lower() == abstract.lower():
            raise invalid(f"The property '@odata.type' is required: {self.kind} is abstract.")
        schema.check(self.model, body, code=self.code)
        return {**{name: value for name, value in body.items() if name != "id"}, "@odata.type": f"#{named.lstrip('#')}"}

    def new(self, call: Call, body: Body) -> Body:
        if self.limit and len(call.directory.all(self.kind)) >= self.limit[0]:
            raise invalid(f"The tenant has reached its limit of {self.limit[0]} {self.limit[1]}.")
        made = {"@odata.type": body["@odata.type"], "id": new_id(), **defaults(self.kind)}
        return self.completed(call, merge(made, body))

    def changed(self, call: Call, before: Body, body: Body) -> Body:
        if body["@odata.type"].lower() != before["@odata.type"].lower():
            raise invalid(f"The type of an object of type '{self.kind}' cannot be changed.")
        return self.completed(call, super().changed(call, before, body))

    def completed(self, call: Call, item: Body) -> Body:
        """Check an item as it would be stored, and fill in what the service adds. Raises GraphError 400."""
        return item


class CustomExtensions(_Policy):
    """Custom authentication extensions. A listener that still names a deleted one fails at run time."""

    kind, model = "customAuthenticationExtension", "CustomAuthenticationExtension"
    paths = ("/identity/customAuthenticationExtensions",)
    read = ("CustomAuthenticationExtension.Read.All", "CustomAuthenticationExtension.ReadWrite.All")
    write = ("CustomAuthenticationExtension.ReadWrite.All",)
    on_create, on_update, on_delete = _activities(kind)
    logs_changes = True
    limit = (100, "custom authentication extensions")

    def routes(self) -> list[GraphRoute]:
        validate = "/validateAuthenticationConfiguration"
        return [
            *super().routes(),
            GraphRoute("POST", f"{self.paths[0]}{validate}", self.validate_unsaved, self.read),
            GraphRoute("POST", f"{self.paths[0]}/{{id}}{validate}", self.validate_saved, self.read),
        ]

    def checked(self, call: Call) -> Body:
        body = super().checked(call)
        client = body.get("clientConfiguration") or {}
        timeout, retries = client.get("timeoutInMilliseconds"), client.get("maximumRetries")
        if timeout is not None and not 200 <= timeout <= TIMEOUT_MS:
            raise invalid(f"timeoutInMilliseconds must be between 200 and {TIMEOUT_MS}.")
        if retries is not None and not 0 <= retries <= MAXIMUM_RETRIES:
            raise invalid(f"maximumRetries must be between 0 and {MAXIMUM_RETRIES}.")
        target = (body.get("endpointConfiguration") or {}).get("targetUrl")
        if target is not None and not urlsplit(target).scheme:
            raise invalid("targetUrl must be an absolute URL.")
        return body

    def completed(self, call: Call, item: Body) -> Body:
        """That the parts agree is not checked here, only by the validation and at the callout."""
        for name in ("authenticationConfiguration", "endpointConfiguration"):
            if not item.get(name):
                raise invalid(f"The property '{name}' is required.")
        return item

    def validate_saved(self, call: Call) -> Answer:
        """Validate a stored extension."""
        return self._validate(call, self.find(call))

    def validate_unsaved(self, call: Call) -> Answer:
        """Validate a configuration that is not stored."""
        body = call.json()
        for name in body.keys() - {"endpointConfiguration", "authenticationConfiguration"}:
            raise invalid(f"The parameter '{name}' in the request payload is not a valid parameter.")
        typed = {"@odata.type": "#microsoft.graph.onPasswordSubmitCustomExtension", **body}
        schema.check(self.model, typed, code=self.code)
        return self._validate(call, body)

    def _validate(self, call: Call, body: Body) -> Answer:
        self.audit(call, "Validate customExtension authenticationConfiguration", {"id": "", **body})
        words = defaults("customAuthenticationExtensionValidation")
        found = {
            name: [{"code": code, "message": words[code]} for code in codes]
            for name, codes in _problems(call.directory, body).items()
        }
        context = call.context("microsoft.graph.authenticationConfigurationValidation")
        return Answer(200, {"@odata.context": context, **found})


def _problems(directory: Directory, body: Body) -> dict[str, list[str]]:
    """Compare an extension's address, its resource id and the app behind that; return codes of errors and warnings."""
    resource = (body.get("authenticationConfiguration") or {}).get("resourceId") or ""
    target = (body.get("endpointConfiguration") or {}).get("targetUrl") or ""
    parts = re.fullmatch(r"api://([^/]+)/([0-9a-fA-F-]{36})", resource)
    host = parts[1] if parts else urlsplit(resource).hostname or ""
    principal = directory.by_key("servicePrincipal", parts[2].lower()) if parts else None
    problems = {
        "IncorrectResourceIdFormat": not parts,
        "DomainNameDoesNotMatch": host.lower() != (urlsplit(target).hostname or "").lower(),
        "ServicePrincipalNotFound": principal is None,
    }
    consented = principal is not None and _may_receive(directory, principal["id"])
    return {
        "errors": [code for code, found in problems.items() if found],
        "warnings": [] if consented else ["PermissionNotGrantedToServicePrincipal"],
    }


def _may_receive(directory: Directory, principal_id: str) -> bool:
    graph = directory.by_key("servicePrincipal", GRAPH_APP_ID)
    wanted = (principal_id, graph and graph["id"], RECEIVE_PAYLOAD_ROLE_ID)
    given = directory.all("appRoleAssignment")
    return any((item["principalId"], item["resourceId"], item["appRoleId"]) == wanted for item in given)


# --- the apps that a listener or a user flow is for ----------------------------------------------------------------


def _complete_conditions(body: Body) -> Body:
    """Fill in, in place, what a caller left out of `conditions.applications` or set to null; return the body."""
    conditions = body.get("conditions") or {}
    applications = conditions.get("applications") or {}
    usual = {"includeAllApplications": False, "includeApplications": []}
    body["conditions"] = {**conditions, "applications": {**usual, **applications}}
    if not all(each.get("appId") for each in _included(body)):
        raise invalid("The property 'appId' of an included application is required.")
    return body


def _included(body: Body) -> list[Body]:
    """The apps of a complete body, as the list that is stored."""
    applications: list[Body] = body["conditions"]["applications"]["includeApplications"]
    return applications


class Listeners(_Policy):
    """Authentication event listeners. Lists are replaced as a whole by a PATCH."""

    kind, model = "authenticationEventListener", "AuthenticationEventListener"
    paths = ("/identity/authenticationEventListeners",)
    read, write = _EVENTS_READ, _EVENTS_WRITE
    on_create, on_update, on_delete = _activities(kind)
    limit = (249, "event listener policies")

    def shown(self, call: Call, item: Body) -> Body:
        """As observed live, each handler comes with its extension."""
        named = item["handler"].get("customExtension")
        found = call.directory.get("customAuthenticationExtension", named["id"]) if named else None
        return {**item, "handler": {**item["handler"], "customExtension": found}} if found else item

    def as_created(self, item: Body) -> Body:
        """A migration handler's extension is a relationship, which the answer to a creation leaves out."""
        if item["handler"]["@odata.type"].lower() != _MIGRATION_HANDLER.lower():
            return item
        return {**item, "handler": {n: value for n, value in item["handler"].items() if n != "customExtension"}}

    def completed(self, call: Call, item: Body) -> Body:
        """Check the handler against the extension it names, and store no more than that extension's id."""
        handler = _complete_conditions(item).get("handler")
        if not handler:
            raise invalid("The property 'handler' is required.")
        named = handler.get("@odata.type", "")
        if not named:
            raise invalid("The property 'handler' needs an '@odata.type'.")
        handler = {**handler, "@odata.type": f"#{named.lstrip('#')}"}
        if handler["@odata.type"].lower() == _MIGRATION_HANDLER.lower():
            if not handler.get("migrationPropertyId"):
                raise invalid("The property 'migrationPropertyId' of the handler is required.")
            handler.setdefault("configuration", None)
        if "customExtension" in handler:
            id = (handler["customExtension"] or {}).get("id")
            if not id or call.read("customAuthenticationExtension", id) is None:
                raise invalid(f"The custom authentication extension '{id}' of the handler does not exist.")
            handler["customExtension"] = {"id": id}
        return {**item, "handler": handler}


# --- user flows ----------------------------------------------------------------------------------------------------


class UserFlows(_Policy):
    """User flows. A creation answers without the providers, attributes and applications; reading returns them."""

    kind, model = "authenticationEventsFlow", "AuthenticationEventsFlow"
    paths = ("/identity/authenticationEventsFlows",)
    read, write = _EVENTS_READ, _EVENTS_WRITE
    on_create, on_update, on_delete = _activities(kind)

    def routes(self) -> list[GraphRoute]:
        made = super().routes()
        for cast in ("", f"/{_FLOW[1:]}"):
            path = f"{self.paths[0]}/{{id}}{cast}/conditions/applications/includeApplications"
            made += [
                GraphRoute("GET", path, self.list_applications, self.read),
                GraphRoute("POST", path, self.include, self.write),
                GraphRoute("DELETE", f"{path}/{{appId}}", self.exclude, self.write),
            ]
        return made

    def missing(self, id: str) -> GraphError:
        return GraphError(404, "ResourceNotFound", f"Resource '{id}' does not exist.")

    def checked(self, call: Call) -> Body:
        if str(call.json().get("@odata.type", "")).lstrip("#").lower() != _FLOW[1:].lower():
            raise invalid(f"The property '@odata.type' is required and must be '{_FLOW}'.")
        return {**super().checked(call), "@odata.type": _FLOW}

    def new(self, call: Call, body: Body) -> Body:
        if not body.get("displayName"):
            raise invalid("The property 'displayName' is required.")
        if any(flow["displayName"] == body["displayName"] for flow in call.directory.all(self.kind)):
            raise invalid(f"A user flow named '{body['displayName']}' exists already.")
        return super().new(call, body)

    def completed(self, call: Call, item: Body) -> Body:
        """Fill in what the service knows of the providers, attributes and inputs that a caller names by id."""
        for each in _included(_complete_conditions(item)):
            self._check_application(call, each.get("appId") or "", item["id"])
        if method := item.get("onAuthenticationMethodLoadStart"):
            method["identityProviders"] = [_provider(call, each) for each in method.get("identityProviders") or []]
        if collection := item.get("onAttributeCollection"):
            named = collection.get("attributes") or []
            collection["attributes"] = [_attribute(call, each.get("id") or "") for each in named]
            page = collection.get("attributeCollectionPage") or {}
            views = [
                {
                    "title": None,
                    "description": None,
                    **view,
                    "inputs": [_input(each) for each in view.get("inputs") or []],
                }
                for view in page.get("views") or []
            ]
            collection["attributeCollectionPage"] = {"customStringsFileId": None, **page, "views": views}
        return item

    def as_created(self, item: Body) -> Body:
        item = copy.deepcopy(item)
        item["conditions"]["applications"].pop("includeApplications", None)
        (item.get("onAuthenticationMethodLoadStart") or {}).pop("identityProviders", None)
        if item.get("onAttributeCollection"):
            item["onAttributeCollection"].pop("attributes", None)
            item["onAttributeCollection"]["accessPackages"] = []
        return item

    def list_applications(self, call: Call) -> Answer:
        """List the apps that use a user flow."""
        found = self.find(call)
        return Answer(200, {"@odata.context": call.context(self._apps_of(found)), "value": _included(found)})

    def include(self, call: Call) -> Answer:
        """Attach an app to a user flow; an app is in one user flow only."""
        found, body = self.find(call), call.json()
        schema.check("AuthenticationConditionApplication", body, code=self.code)
        app_id = body.get("appId") or ""
        self._check_application(call, app_id, found["id"])
        if any(item["appId"] == app_id for item in _included(found)):
            raise invalid(f"The application '{app_id}' is in this user flow already.")
        _included(found).append({"appId": app_id})
        call.directory.replace(self.kind, found)
        self.audit(call, self.on_update, found)
        return call.entity(201, self._apps_of(found), {"appId": app_id})

    def exclude(self, call: Call) -> Answer:
        """Detach an app from a user flow."""
        found, app_id = self.find(call), call.ids["appId"]
        kept = [item for item in _included(found) if item["appId"] != app_id]
        if len(kept) == len(_included(found)):
            raise self.missing(app_id)
        found["conditions"]["applications"]["includeApplications"] = kept
        call.directory.replace(self.kind, found)
        self.audit(call, self.on_update, found)
        return Answer(204)

    def _apps_of(self, flow: Body) -> str:
        return f"{self.paths[0][1:]}('{flow['id']}')/conditions/applications/includeApplications"

    def _check_application(self, call: Call, app_id: str, flow_id: str) -> None:
        if call.read_by_key("servicePrincipal", app_id) is None:
            raise invalid(f"The application '{app_id}' has no service principal in the tenant.")
        for flow in call.directory.all(self.kind):
            if flow["id"] != flow_id and any(item["appId"] == app_id for item in _included(flow)):
                raise invalid(f"The application '{app_id}' is associated with the user flow '{flow['displayName']}'.")


def _provider(call: Call, item: Body) -> Body:
    found = _find_provider(call.directory, item.get("id"))
    if found is None:
        raise invalid(f"The identity provider '{item.get('id')}' is not configured in the tenant.")
    return found


def _input(item: Body) -> Body:
    kind = item.get("inputType") or "text"
    return {"defaultValue": None, "options": [], **item, "inputType": kind[0].lower() + kind[1:]}


# --- user flow attributes: a custom one is a directory extension; data types are lower case here -------------------

_ATTRIBUTES: Final = "/identity/userFlowAttributes"
_DATA_TYPES: Final = {"string": "String", "boolean": "Boolean", "int64": "LargeInteger", "dateTime": "DateTime"}


def _list_attributes(call: Call) -> Answer:
    """List the attributes a user flow can collect."""
    own = [item["name"] for item in call.directory.all("extensionProperty") if "cpiminternal_" not in item["name"]]
    value = [_attribute(call, id) for id in (*defaults("userFlowAttribute"), *own)]
    return Answer(200, {"@odata.context": call.context("identity/userFlowAttributes"), "value": value})


def _create_attribute(call: Call) -> Answer:
    """Create a custom user attribute, and the directory extension behind it."""
    body = call.json()
    schema.check("IdentityUserFlowAttribute", body, code="BadRequest")
    kind, name = body.get("dataType"), body.get("displayName") or ""
    if kind not in _DATA_TYPES:
        raise invalid(f"dataType must be one of {', '.join(_DATA_TYPES)}.")
    apps = call.directory.all("application")
    owner = next(app for app in apps if app["displayName"].startswith(EXTENSIONS_APP_PREFIX))
    extension = {"name": name.replace(" ", ""), "dataType": _DATA_TYPES[kind], "targetObjects": ["User"]}
    id = add_extension(call, owner, extension)["name"]
    call.directory.add("userFlowAttribute", {"displayName": name, "description": body.get("description")}, key=id)
    return Answer(201, _attribute(call, id), headers={"Location": f"{_ATTRIBUTES}('{id}')"})


def _attribute(call: Call, id: str) -> Body:
    """Describe a built-in attribute such as `email`, or a directory extension by its full name."""
    if words := defaults("userFlowAttribute").get(id):
        return {"id": id, **words, "userFlowAttributeType": "builtIn", "dataType": "string"}
    for item in call.directory.all("extensionProperty"):
        if item["name"] == id:
            words = call.directory.by_key("userFlowAttribute", id) or {"displayName": id.split("_", 2)[2]}
            kind = next((small for small, large in _DATA_TYPES.items() if large == item["dataType"]), "string")
            shown = {"displayName": words["displayName"], "description": words.get("description")}
            return {"id": id, **shown, "userFlowAttributeType": "custom", "dataType": kind}
    raise invalid(f"The user flow attribute '{id}' does not exist.")


# --- identity providers ----------------------------------------------------------------------------------------------

_SOCIAL: Final = ("Google", "Facebook")


class IdentityProviders(_Policy):
    """The built-in providers and those that were added. The secret of a social provider is not kept."""

    kind, model = "identityProvider", "IdentityProviderBase"
    paths = ("/identity/identityProviders",)
    read = ("IdentityProvider.Read.All", "IdentityProvider.ReadWrite.All")
    write = ("IdentityProvider.ReadWrite.All",)
    operations = "list get create delete"

    def list_all(self, call: Call) -> Answer:
        value = [*defaults(self.kind).values(), *call.directory.all(self.kind)]
        return Answer(200, {"@odata.context": call.context(self.context(call)), "value": value})

    def lookup(self, call: Call) -> Body | None:
        return _find_provider(call.directory, call.ids["id"])

    def missing(self, id: str) -> GraphError:
        return GraphError(404, "ResourceNotFound", f"Resource '{id}' does not exist.")

    def checked(self, call: Call) -> Body:
        body = call.json()
        schema.check(self.model, body, code=self.code)
        named = str(body.get("@odata.type") or "").lstrip("#")
        if not named:
            raise invalid("The property '@odata.type' is required: identityProviderBase is abstract.")
        if named.lower() != "microsoft.graph.socialidentityprovider":
            raise not_simulated(f"a provider of type '{named}'")
        return body

    def new(self, call: Call, body: Body) -> Body:
        """Add Google or Facebook."""
        kind = body.get("identityProviderType")
        if kind not in _SOCIAL or not all(body.get(name) for name in ("displayName", "clientId", "clientSecret")):
            raise invalid(
                f"identityProviderType is one of {', '.join(_SOCIAL)}; displayName, clientId, clientSecret are "
                "required."
            )
        if call.directory.get(self.kind, f"{kind}-OAUTH"):
            raise invalid(f"The identity provider '{kind}-OAUTH' exists already.")
        return {
            "@odata.type": "#microsoft.graph.socialIdentityProvider",
            "id": f"{kind}-OAUTH",
            "displayName": body["displayName"],
            "identityProviderType": kind,
            "clientId": body["clientId"],
            "clientSecret": "******",
        }

    def delete(self, call: Call) -> Answer:
        if self.find(call)["id"] in defaults(self.kind):
            raise invalid("A built-in identity provider cannot be deleted.")
        return super().delete(call)


def _find_provider(directory: Directory, id: Any) -> Body | None:
    """Read a provider by its id, such as `EmailPassword-OAUTH`."""
    found: Body | None = defaults("identityProvider").get(str(id))
    return found or directory.get("identityProvider", str(id))


def routes() -> list[GraphRoute]:
    """List the operations under `/identity`."""
    read = ("IdentityUserFlow.Read.All", "IdentityUserFlow.ReadWrite.All", "EventListener.ReadWrite.All")
    return [
        *(route for each in (CustomExtensions, Listeners, UserFlows, IdentityProviders) for route in each().routes()),
        GraphRoute("GET", _ATTRIBUTES, _list_attributes, read),
        GraphRoute("POST", _ATTRIBUTES, _create_attribute, read[1:]),
    ]

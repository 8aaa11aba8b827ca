"""Everything under `/identity` and `/policies`: extensions, event listeners, user flows, ways to sign in.

Limits: Microsoft Learn, "Service limits" of external tenants. Validation codes: Graph v1.0,
"customAuthenticationExtension: validateAuthenticationConfiguration", which answers 200 whatever it finds. Shapes: Graph
v1.0, externalUsersSelfServiceSignUpEventsFlow, builtInIdentityProvider, socialIdentityProvider and their pages;
authenticationMethodsPolicy and emailAuthenticationMethodConfiguration; beta, signInIdentifierBase.
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
from jitkit.rehearsal.directory import Body, Directory, new_id
from jitkit.rehearsal.graph import schema
from jitkit.rehearsal.graph.applications import add_extension
from jitkit.rehearsal.graph.resource import Resource, configured, defaults, merge
from jitkit.rehearsal.graph.wire import Answer, Call, GraphRoute, refusal

_EVENTS_READ: Final = ("EventListener.Read.All", "EventListener.ReadWrite.All")
_EVENTS_WRITE: Final = ("EventListener.ReadWrite.All",)
_MIGRATION_HANDLER: Final = "#microsoft.graph.onPasswordMigrationCustomExtensionHandler"
_FLOW: Final = "#microsoft.graph.externalUsersSelfServiceSignUpEventsFlow"


class _Policy(Resource):
    """A collection of an abstract type: bodies name the type they are of, and it cannot change."""

    code, not_found = "BadRequest", "policy-not-found"
    parts: tuple[str, ...] = ()  # properties that every stored item has
    limit: tuple[int, str] | None = None  # how many the tenant may have, and what they are called

    def checked(self, call: Call) -> Body:
        named = call.json().get("@odata.type")
        if not isinstance(named, str) or named.lstrip("#").lower() == f"microsoft.graph.{self.kind}".lower():
            raise refusal("policy-typeless", kind=self.kind)
        _check_password_role(call, named)
        body = super().checked(call)
        body.pop("id", None)
        return {**body, "@odata.type": f"#{named.lstrip('#')}"}

    def new(self, call: Call, body: Body) -> Body:
        if self.limit and len(call.directory.all(self.kind)) >= self.limit[0]:
            raise refusal("policy-limit", most=self.limit[0], what=self.limit[1])
        made = {"@odata.type": body["@odata.type"], "id": new_id(), **defaults(self.kind)}
        return self.completed(call, merge(made, body))

    def changed(self, call: Call, before: Body, body: Body) -> Body:
        if body["@odata.type"].lower() != before["@odata.type"].lower():
            raise refusal("policy-type", kind=self.kind)
        return self.completed(call, super().changed(call, before, body))

    def delete(self, call: Call) -> Answer:
        _check_password_role(call, self.find(call)["@odata.type"])
        return super().delete(call)

    def completed(self, call: Call, item: Body) -> Body:
        """Check an item as it would be stored, and fill in what the service adds. Raises GraphError 400."""
        for name in self.parts:
            if not item.get(name):
                raise refusal("property-required", name=name)
        return item


def _check_password_role(call: Call, type: str) -> None:
    """Refuse a user who may change policies, but none of a password-submit type. Raises GraphError 403."""
    if "onpasswordsubmit" in type.lower():
        call.needs_role("Authentication Extensibility Password Administrator")


class CustomExtensions(_Policy):
    """Custom authentication extensions. A listener that still names a deleted one fails at run time.

    That the parts agree is not checked when they are stored, only by the validation and at the callout.
    """

    kind, model = "customAuthenticationExtension", "CustomAuthenticationExtension"
    paths = ("/identity/customAuthenticationExtensions",)
    read = ("CustomAuthenticationExtension.Read.All", "CustomAuthenticationExtension.ReadWrite.All")
    write = ("CustomAuthenticationExtension.ReadWrite.All",)
    on_create, on_update, on_delete = f"Create {kind}", f"Update {kind}", f"Delete {kind}"
    logs_changes = True
    parts = ("authenticationConfiguration", "endpointConfiguration")
    limit = (100, "custom authentication extensions")

    def routes(self) -> list[GraphRoute]:
        validate = "/validateAuthenticationConfiguration"
        return [
            *super().routes(),
            GraphRoute("POST", f"{self.paths[0]}{validate}", self.validate, self.read),
            GraphRoute("POST", f"{self.paths[0]}/{{id}}{validate}", self.validate, self.read),
        ]

    def checked(self, call: Call) -> Body:
        body = super().checked(call)
        client = body.get("clientConfiguration") or {}
        for name, least, most in (("timeoutInMilliseconds", 200, TIMEOUT_MS), ("maximumRetries", 0, MAXIMUM_RETRIES)):
            if client.get(name) is not None and not least <= client[name] <= most:
                raise refusal("extension-range", name=name, least=least, most=most)
        target = (body.get("endpointConfiguration") or {}).get("targetUrl")
        if target is not None and not urlsplit(target).scheme:
            raise refusal("extension-target")
        return body

    def validate(self, call: Call) -> Answer:
        """Validate a stored extension, or a configuration that is not stored."""
        body = self.find(call) if call.ids else call.json()
        if not call.ids:
            for name in body.keys() - {"endpointConfiguration", "authenticationConfiguration"}:
                raise refusal("validation-parameter", name=name)
            typed = {"@odata.type": "#microsoft.graph.onPasswordSubmitCustomExtension", **body}
            schema.check(self.model, typed, code=self.code)
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
    graph = directory.by_key("servicePrincipal", GRAPH_APP_ID)
    consent = principal and (principal["id"], graph and graph["id"], RECEIVE_PAYLOAD_ROLE_ID)
    given = directory.all("appRoleAssignment")
    problems = {
        "IncorrectResourceIdFormat": not parts,
        "DomainNameDoesNotMatch": host.lower() != (urlsplit(target).hostname or "").lower(),
        "ServicePrincipalNotFound": principal is None,
    }
    consented = any((item["principalId"], item["resourceId"], item["appRoleId"]) == consent for item in given)
    return {
        "errors": [code for code, found in problems.items() if found],
        "warnings": [] if consented else ["PermissionNotGrantedToServicePrincipal"],
    }


# --- the apps that a listener or a user flow is for ----------------------------------------------------------------


def _complete_conditions(body: Body) -> Body:
    """Fill in, in place, what a caller left out of `conditions.applications` or set to null; return the body."""
    conditions = body.get("conditions") or {}
    usual = {"includeAllApplications": False, "includeApplications": []}
    given = {name: value for name, value in (conditions.get("applications") or {}).items() if "@" not in name}
    body["conditions"] = {**conditions, "applications": {**usual, **given}}
    if not all(each.get("appId") for each in _included(body)):
        raise refusal("appless-condition")
    return body


def _included(body: Body) -> list[Body]:
    """The apps of a complete body, as the list that is stored."""
    applications: list[Body] = body["conditions"]["applications"]["includeApplications"]
    return applications


class _ForApplications(_Policy):
    """A policy that is for the apps which its conditions name."""

    cast: str  # the type that a path may name between the policy and its conditions

    def routes(self) -> list[GraphRoute]:
        made = super().routes()
        for at in (self.paths[0] + "/{id}", f"{self.paths[0]}/{{id}}/{self.cast}"):
            path = f"{at}/conditions/applications/includeApplications"
            made += [
                GraphRoute("GET", path, self.list_applications, self.read),
                GraphRoute("POST", path, self.include, self.write),
                GraphRoute("DELETE", f"{path}/{{appId}}", self.exclude, self.write),
            ]
        return made

    def shown(self, call: Call, item: Body) -> Body:
        """The list of apps comes with a context of its own."""
        context = call.context(self._apps_of(item, f"/{item['@odata.type'][1:]}"))
        apps = {"includeApplications@odata.context": context, **item["conditions"]["applications"]}
        return {**item, "conditions": {**item["conditions"], "applications": apps}}

    def list_applications(self, call: Call) -> Answer:
        """List the apps."""
        found = self.find(call)
        return call.collection(self._apps_of(found), _included(found))

    def include(self, call: Call) -> Answer:
        """Add an app."""
        found, body = self.find(call), call.json()
        schema.check("AuthenticationConditionApplication", body, code=self.code)
        app_id = body.get("appId") or ""
        self.check_application(call, app_id, found["id"])
        if any(item["appId"] == app_id for item in _included(found)):
            raise refusal("app-present", app_id=app_id)
        self._store_applications(call, found, [*_included(found), {"appId": app_id}])
        return call.entity(201, self._apps_of(found), {"appId": app_id})

    def exclude(self, call: Call) -> Answer:
        """Take an app out."""
        found, app_id = self.find(call), call.ids["appId"]
        kept = [item for item in _included(found) if item["appId"] != app_id]
        if len(kept) == len(_included(found)):
            raise refusal("part-not-found", id=app_id)
        self._store_applications(call, found, kept)
        return Answer(204)

    def _store_applications(self, call: Call, item: Body, included: list[Body]) -> None:
        _check_password_role(call, item["@odata.type"])
        item["conditions"]["applications"]["includeApplications"] = included
        call.directory.replace(self.kind, item)
        self.audit(call, self.on_update, item)

    def _apps_of(self, item: Body, cast: str = "") -> str:
        return f"{self.paths[0][1:]}('{item['id']}'){cast}/conditions/applications/includeApplications"

    def check_application(self, call: Call, app_id: str, item_id: str) -> None:
        """Refuse an app that cannot be added. Raises GraphError 400."""
        if not app_id:
            raise refusal("appless-condition")


class Listeners(_ForApplications):
    """Authentication event listeners. Lists are replaced as a whole by a PATCH."""

    kind, model = "authenticationEventListener", "AuthenticationEventListener"
    paths = ("/identity/authenticationEventListeners",)
    read, write = _EVENTS_READ, _EVENTS_WRITE
    on_create, on_update, on_delete = f"Create {kind}", f"Update {kind}", f"Delete {kind}"
    cast = "microsoft.graph.onPasswordSubmitListener"
    parts = ("handler",)
    limit = (249, "event listener policies")

    def shown(self, call: Call, item: Body) -> Body:
        """As observed live, each handler comes with its extension."""
        named = item["handler"].get("customExtension")
        found = call.directory.get("customAuthenticationExtension", named["id"]) if named else None
        handler = {**item["handler"], "customExtension": found} if found else item["handler"]
        return super().shown(call, {**item, "handler": handler})

    def as_created(self, item: Body) -> Body:
        """A migration handler's extension is a relationship, which the answer to a creation leaves out."""
        if item["handler"]["@odata.type"].lower() != _MIGRATION_HANDLER.lower():
            return item
        return {**item, "handler": {n: value for n, value in item["handler"].items() if n != "customExtension"}}

    def completed(self, call: Call, item: Body) -> Body:
        """Check the handler against the extension it names, and store no more than that extension's id."""
        handler = super().completed(call, _complete_conditions(item))["handler"]
        if not handler.get("@odata.type"):
            raise refusal("handler-type")
        handler = {**handler, "@odata.type": f"#{handler['@odata.type'].lstrip('#')}"}
        if handler["@odata.type"].lower() == _MIGRATION_HANDLER.lower():
            if not handler.get("migrationPropertyId"):
                raise refusal("handler-flag")
            handler.setdefault("configuration", None)
        if "customExtension" in handler:
            id = (handler["customExtension"] or {}).get("id")
            if not id or call.read("customAuthenticationExtension", id) is None:
                raise refusal("handler-extension", id=id)
            handler["customExtension"] = {"id": id}
        return {**item, "handler": handler}


# --- user flows ----------------------------------------------------------------------------------------------------


class UserFlows(_ForApplications):
    """User flows. A creation answers without the providers, attributes and applications; reading returns them."""

    kind, model = "authenticationEventsFlow", "AuthenticationEventsFlow"
    paths = ("/identity/authenticationEventsFlows",)
    read, write = _EVENTS_READ, _EVENTS_WRITE
    on_create, on_update, on_delete = f"Create {kind}", f"Update {kind}", f"Delete {kind}"
    not_found, cast = "part-not-found", _FLOW[1:]

    def checked(self, call: Call) -> Body:
        if str(call.json().get("@odata.type", "")).lstrip("#").lower() != _FLOW[1:].lower():
            raise refusal("flow-type", type=_FLOW)
        return {**super().checked(call), "@odata.type": _FLOW}

    def new(self, call: Call, body: Body) -> Body:
        if not body.get("displayName"):
            raise refusal("property-required", name="displayName")
        if any(flow["displayName"] == body["displayName"] for flow in call.directory.all(self.kind)):
            raise refusal("flow-name-taken", name=body["displayName"])
        return super().new(call, body)

    def completed(self, call: Call, item: Body) -> Body:
        """Fill in what the service knows of the providers, attributes and inputs that a caller names by id."""
        for each in _included(_complete_conditions(item)):
            self.check_application(call, each["appId"], item["id"])
        if method := item.get("onAuthenticationMethodLoadStart"):
            named = [each.get("id") for each in method.get("identityProviders") or []]
            found = {id: _provider(call.directory, id) for id in named}
            for id in (id for id in named if found[id] is None):
                raise refusal("provider-unknown", id=id)
            method["identityProviders"] = [found[id] for id in named]
        if collection := item.get("onAttributeCollection"):
            attributes = collection.get("attributes") or []
            collection["attributes"] = [_attribute(call, each.get("id") or "") for each in attributes]
            page = collection.get("attributeCollectionPage") or {}
            views = [_view(each) for each in page.get("views") or []]
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

    def check_application(self, call: Call, app_id: str, item_id: str) -> None:
        if call.read_by_key("servicePrincipal", app_id) is None:
            raise refusal("flow-app-unknown", app_id=app_id)
        for flow in call.directory.all(self.kind):
            if flow["id"] != item_id and any(item["appId"] == app_id for item in _included(flow)):
                raise refusal("flow-app-elsewhere", app_id=app_id, flow=flow["displayName"])


def _view(view: Body) -> Body:
    inputs = [{"defaultValue": None, "options": [], **each} for each in view.get("inputs") or []]
    for each in inputs:
        kind = each.get("inputType") or "text"
        each["inputType"] = kind[0].lower() + kind[1:]
    return {"title": None, "description": None, **view, "inputs": inputs}


# --- user flow attributes: a custom one is a directory extension; data types are lower case here -------------------

_DATA_TYPES: Final = {"string": "String", "boolean": "Boolean", "int64": "LargeInteger", "dateTime": "DateTime"}


class Attributes(Resource):
    """The attributes that a user flow can collect."""

    kind, model = "userFlowAttribute", "IdentityUserFlowAttribute"
    paths = ("/identity/userFlowAttributes",)
    read = ("IdentityUserFlow.Read.All", "IdentityUserFlow.ReadWrite.All", "EventListener.ReadWrite.All")
    write = read[1:]
    operations = "list create"
    code = "BadRequest"

    def list_all(self, call: Call) -> Answer:
        names = [item["name"] for item in call.directory.all("extensionProperty")]
        ids = [*defaults(self.kind), *(name for name in names if "cpiminternal_" not in name)]
        return call.collection(self.context(call), [_attribute(call, id) for id in ids])

    def create(self, call: Call) -> Answer:
        """Create a custom user attribute, and the directory extension behind it."""
        body = self.checked(call)
        kind, name = body.get("dataType"), body.get("displayName") or ""
        if kind not in _DATA_TYPES:
            raise refusal("attribute-type", types=", ".join(_DATA_TYPES))
        apps = call.directory.all("application")
        owner = next(app for app in apps if app["displayName"].startswith(EXTENSIONS_APP_PREFIX))
        extension = {"name": name.replace(" ", ""), "dataType": _DATA_TYPES[kind], "targetObjects": ["User"]}
        id = add_extension(call, owner, extension)["name"]
        call.directory.add(self.kind, {"displayName": name, "description": body.get("description")}, key=id)
        return Answer(201, _attribute(call, id), headers={"Location": f"{self.paths[0]}('{id}')"})


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
    raise refusal("attribute-unknown", id=id)


# --- identity providers ----------------------------------------------------------------------------------------------

_SOCIAL: Final = ("Google", "Facebook")


class IdentityProviders(Resource):
    """The built-in providers and those that were added. The secret of a social provider is not kept."""

    kind, model = "identityProvider", "IdentityProviderBase"
    paths = ("/identity/identityProviders",)
    read = ("IdentityProvider.Read.All", "IdentityProvider.ReadWrite.All")
    write = ("IdentityProvider.ReadWrite.All",)
    operations = "list get create delete"
    code, not_found = "BadRequest", "part-not-found"

    def list_all(self, call: Call) -> Answer:
        return call.collection(self.context(call), [*defaults(self.kind).values(), *call.directory.all(self.kind)])

    def lookup(self, call: Call) -> Body | None:
        return _provider(call.directory, call.ids["id"])

    def new(self, call: Call, body: Body) -> Body:
        """Add Google or Facebook."""
        named = str(call.json().get("@odata.type") or "").lstrip("#")
        if not named:
            raise refusal("policy-typeless", kind="identityProviderBase")
        if named.lower() != "microsoft.graph.socialidentityprovider":
            raise refusal("not-simulated", what=f"a provider of type '{named}'")
        kind = body.get("identityProviderType")
        if kind not in _SOCIAL or not all(body.get(name) for name in ("displayName", "clientId", "clientSecret")):
            raise refusal("provider-parts", types=", ".join(_SOCIAL))
        if call.directory.get(self.kind, f"{kind}-OAUTH"):
            raise refusal("provider-taken", id=f"{kind}-OAUTH")
        return {
            "@odata.type": "#microsoft.graph.socialIdentityProvider",
            "id": f"{kind}-OAUTH",
            **{name: body[name] for name in ("displayName", "identityProviderType", "clientId")},
            "clientSecret": "******",
        }

    def delete(self, call: Call) -> Answer:
        if self.find(call)["id"] in defaults(self.kind):
            raise refusal("provider-built-in")
        return super().delete(call)


def _provider(directory: Directory, id: Any) -> Body | None:
    """Read a provider by its id, such as `EmailPassword-OAUTH`."""
    found: Body | None = defaults("identityProvider").get(str(id))
    return found or directory.get("identityProvider", str(id))


# --- authentication methods and sign-in identifiers ----------------------------------------------------------------


class AuthenticationMethods(_Policy):
    """The methods' configurations, of which sign-ins heed `Email`: without it no one-time code can be sent."""

    kind, model = "authenticationMethodConfiguration", "AuthenticationMethodConfiguration"
    paths = ("/policies/authenticationMethodsPolicy/authenticationMethodConfigurations",)
    write = ("Policy.ReadWrite.AuthenticationMethod",)
    read = ("Policy.Read.All", "Policy.Read.AuthenticationMethod", *write)
    operations = "get update"
    not_found = "part-not-found"
    on_update = "Authentication Methods Policy Update"

    def context(self, call: Call) -> str:
        return "authenticationMethodConfigurations"

    def lookup(self, call: Call) -> Body | None:
        return configured(call.directory, self.kind).get(call.ids["id"].lower())

    def update(self, call: Call) -> Any:
        _keep_default(call.directory, self.kind, self.find(call)["id"])
        return super().update(call)


class MethodsPolicy(Resource):
    """The authentication methods policy, which holds the configurations."""

    read = AuthenticationMethods.read

    def routes(self) -> list[GraphRoute]:
        return [GraphRoute("GET", "/policies/authenticationMethodsPolicy", self.get, self.read)]

    def get(self, call: Call) -> Answer:
        configurations = list(configured(call.directory, AuthenticationMethods.kind).values())
        policy = {**defaults("authenticationMethodsPolicy"), AuthenticationMethods.kind + "s": configurations}
        policy["lastModifiedDateTime"] = call.directory.all("organization")[0]["createdDateTime"]
        return Answer(200, {"@odata.context": call.context("authenticationMethodsPolicy"), **policy})


class SignInIdentifiers(Resource):
    """Which names people can sign in with: beta only, and not in the SDK's models."""

    kind = "signInIdentifier"
    paths = ("/identity/signInIdentifiers",)
    write = ("SignInIdentifier.ReadWrite.All",)
    read = ("SignInIdentifier.Read.All", *write)
    operations = "get update"
    not_found = "part-not-found"

    def lookup(self, call: Call) -> Body | None:
        if call.version != "beta":
            raise refusal("segment", name="signInIdentifiers")
        return configured(call.directory, self.kind).get(call.ids["id"].lower())

    def get(self, call: Call) -> Answer:
        shown = {name: value for name, value in self.find(call).items() if name != "id"}
        return call.entity(200, "identity/signInIdentifiers", shown)

    def update(self, call: Call) -> Answer:
        """Switch an identifier on or off. Patterns of custom user names are not simulated."""
        if call.ids["id"].lower().startswith("customusername"):
            raise refusal("not-simulated", what=f"{call.method} {call.path}")
        found, body = self.find(call), call.json()
        for name in body.keys() - {"@odata.type", "name", "isEnabled"}:
            raise refusal("unknown-property", name=name, type="microsoft.graph.signInIdentifierBase")
        if body.get("name") != found["name"] or not isinstance(body.get("isEnabled"), bool):
            raise refusal("property-required", name="name" if body.get("name") != found["name"] else "isEnabled")
        _keep_default(call.directory, self.kind, found["name"])
        call.directory.replace(self.kind, {**found, "id": found["name"], "isEnabled": body["isEnabled"]})
        return self.get(call)


def _keep_default(directory: Directory, kind: str, id: str) -> None:
    """Store a default under its id, where none is stored, so that it can be changed."""
    if directory.get(kind, id) is None:
        directory.add(kind, {**defaults(kind)[id.lower()], "id": id})

"""Custom authentication extensions: Graph v1.0 `/identity/customAuthenticationExtensions`, and their validation.

Limits: Microsoft Learn, "Service limits" of external tenants. Validation codes: Graph v1.0,
"customAuthenticationExtension: validateAuthenticationConfiguration", which answers 200 whatever it finds.
"""

from __future__ import annotations

import copy
import re
from urllib.parse import urlsplit

from jitkit.protocol import GRAPH_APP_ID, MAXIMUM_RETRIES, RECEIVE_PAYLOAD, RECEIVE_PAYLOAD_ROLE_ID, TIMEOUT_MS
from jitkit.rehearsal import journal
from jitkit.rehearsal.directory import Body, Directory
from jitkit.rehearsal.graph import odata, schema
from jitkit.rehearsal.graph.applications import merge
from jitkit.rehearsal.graph.wire import Answer, Call, GraphError, GraphRoute, new_id

_PATH = "/identity/customAuthenticationExtensions"
_CONTEXT = "identity/customAuthenticationExtensions"
_READ = ("CustomAuthenticationExtension.Read.All", "CustomAuthenticationExtension.ReadWrite.All")
_WRITE = ("CustomAuthenticationExtension.ReadWrite.All",)
_KIND = "customAuthenticationExtension"
_LIMIT = 100
_SHOWN: Body = {
    "displayName": None,
    "description": None,
    "behaviorOnError": None,
    "authenticationConfiguration": None,
    "clientConfiguration": None,
    "endpointConfiguration": None,
}


def routes() -> list[GraphRoute]:
    """The operations on custom authentication extensions."""
    return [
        GraphRoute("GET", _PATH, list_all, _READ, "List customAuthenticationExtensions"),
        GraphRoute("POST", _PATH, create, _WRITE, "Create customAuthenticationExtension"),
        GraphRoute(
            "POST",
            f"{_PATH}/validateAuthenticationConfiguration",
            validate_unsaved,
            _READ,
            "customAuthenticationExtension: validateAuthenticationConfiguration",
        ),
        GraphRoute("GET", f"{_PATH}/{{id}}", get, _READ, "Get customAuthenticationExtension"),
        GraphRoute("PATCH", f"{_PATH}/{{id}}", update, _WRITE, "Update customAuthenticationExtension"),
        GraphRoute("DELETE", f"{_PATH}/{{id}}", delete, _WRITE, "Delete customAuthenticationExtension"),
        GraphRoute(
            "POST",
            f"{_PATH}/{{id}}/validateAuthenticationConfiguration",
            validate_saved,
            _READ,
            "customAuthenticationExtension: validateAuthenticationConfiguration",
        ),
    ]


def list_all(call: Call) -> Answer:
    """List extensions, each with its type."""
    return odata.page(call, odata.of_kind(_KIND, _CONTEXT, "CustomAuthenticationExtension"), odata.body_of)


def get(call: Call) -> Answer:
    """Read one extension."""
    return odata.one(call, _CONTEXT, _find(call), odata.selected(call))


def create(call: Call) -> Answer:
    """Make an extension. That its parts agree is not checked here, only by the validation and at the callout."""
    body = _checked(call)
    _require_parts(body)
    if len(call.directory.all(_KIND)) >= _LIMIT:
        raise GraphError(
            400, "BadRequest", f"The tenant has reached its limit of {_LIMIT} custom authentication extensions."
        )
    made: Body = {"@odata.type": body["@odata.type"], "id": new_id(), **copy.deepcopy(_SHOWN)}
    call.directory.add(_KIND, merge(made, body))
    journal.audit(
        call.directory,
        "Create customAuthenticationExtension",
        target_id=made["id"],
        target_name=made["displayName"] or "",
    )
    return call.entity(201, _CONTEXT, made)


def update(call: Call) -> Answer:
    """Change an extension; its type has to be sent and cannot change."""
    before, body = _find(call), _checked(call)
    if body["@odata.type"].lower() != before["@odata.type"].lower():
        raise GraphError(400, "BadRequest", "The type of a custom authentication extension cannot be changed.")
    after = merge(copy.deepcopy(before), body)
    _require_parts(after)
    call.directory.replace(_KIND, after)
    journal.audit(
        call.directory,
        "Update customAuthenticationExtension",
        target_id=after["id"],
        target_name=after["displayName"] or "",
        changed={name: (before.get(name), after[name]) for name in body if before.get(name) != after.get(name)},
    )
    return Answer(204)


def delete(call: Call) -> Answer:
    """Delete an extension. A listener that still names it fails at run time."""
    found = _find(call)
    call.directory.discard(_KIND, found["id"], recycle=False)
    journal.audit(
        call.directory,
        "Delete customAuthenticationExtension",
        target_id=found["id"],
        target_name=found["displayName"] or "",
    )
    return Answer(204)


def validate_saved(call: Call) -> Answer:
    """Judge a stored extension."""
    return _validate(call, _find(call))


def validate_unsaved(call: Call) -> Answer:
    """Judge a configuration that is not stored."""
    body = call.json()
    for name in body.keys() - {"endpointConfiguration", "authenticationConfiguration"}:
        raise GraphError(400, "BadRequest", f"The parameter '{name}' in the request payload is not a valid parameter.")
    typed = {"@odata.type": "#microsoft.graph.onPasswordSubmitCustomExtension", **body}
    schema.check("CustomAuthenticationExtension", typed, code="BadRequest")
    return _validate(call, body)


def _validate(call: Call, body: Body) -> Answer:
    errors, warnings = problems(call.directory, body)
    journal.audit(
        call.directory,
        "Validate customExtension authenticationConfiguration",
        target_id=body.get("id", ""),
        target_name=body.get("displayName") or "",
    )
    return Answer(
        200,
        {
            "@odata.context": call.context("microsoft.graph.authenticationConfigurationValidation"),
            "errors": [{"code": code, "message": message} for code, message in errors],
            "warnings": [{"code": code, "message": message} for code, message in warnings],
        },
    )


def problems(directory: Directory, body: Body) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Compare an extension's address, its resource id and the app behind that.

    Args:
        directory: the tenant's directory.
        body: endpointConfiguration and authenticationConfiguration.

    Returns:
        Errors and warnings, each a code and a message.
    """
    resource = (body.get("authenticationConfiguration") or {}).get("resourceId") or ""
    target = (body.get("endpointConfiguration") or {}).get("targetUrl") or ""
    parts = re.fullmatch(r"api://([^/]+)/([0-9a-fA-F-]{36})", resource)
    errors: list[tuple[str, str]] = []
    if not parts:
        errors.append(
            (
                "IncorrectResourceIdFormat",
                "ResourceId should be in the format of 'api://{fully qualified domain name}/{appid}'",
            )
        )
    host = parts[1] if parts else urlsplit(resource).hostname or ""
    if host.lower() != (urlsplit(target).hostname or "").lower():
        errors.append(
            (
                "DomainNameDoesNotMatch",
                "The fully qualified domain name in resourceId should match that of the targetUrl",
            )
        )
    principal = directory.by_key("servicePrincipal", parts[2].lower()) if parts else None
    if principal is None:
        errors.append(
            (
                "ServicePrincipalNotFound",
                "The appId of the resourceId should correspond to a real service principal in the tenant",
            )
        )
    if principal is not None and _consented(directory, principal["id"]):
        return errors, []
    return errors, [
        (
            "PermissionNotGrantedToServicePrincipal",
            f"The permission {RECEIVE_PAYLOAD} is not granted to the service principal of the resource app",
        )
    ]


def _consented(directory: Directory, principal_id: str) -> bool:
    graph = directory.by_key("servicePrincipal", GRAPH_APP_ID)
    return graph is not None and any(
        (item["principalId"], item["resourceId"], item["appRoleId"])
        == (principal_id, graph["id"], RECEIVE_PAYLOAD_ROLE_ID)
        for item in directory.all("appRoleAssignment")
    )


def _checked(call: Call) -> Body:
    body = call.json()
    named = body.get("@odata.type")
    if not isinstance(named, str):
        raise GraphError(
            400, "BadRequest", "The property '@odata.type' is required: customAuthenticationExtension is abstract."
        )
    body = {**body, "@odata.type": f"#{named.lstrip('#')}"}
    schema.check("CustomAuthenticationExtension", body, code="BadRequest")
    if schema.type_name(schema.model_class("CustomAuthenticationExtension")).lower() == named.lstrip("#").lower():
        raise GraphError(400, "BadRequest", "The type 'microsoft.graph.customAuthenticationExtension' is abstract.")
    body.pop("id", None)
    client = body.get("clientConfiguration") or {}
    timeout, retries = client.get("timeoutInMilliseconds"), client.get("maximumRetries")
    if timeout is not None and not 200 <= timeout <= TIMEOUT_MS:
        raise GraphError(400, "BadRequest", f"timeoutInMilliseconds must be between 200 and {TIMEOUT_MS}.")
    if retries is not None and not 0 <= retries <= MAXIMUM_RETRIES:
        raise GraphError(400, "BadRequest", f"maximumRetries must be between 0 and {MAXIMUM_RETRIES}.")
    target = (body.get("endpointConfiguration") or {}).get("targetUrl")
    if target is not None and not urlsplit(target).scheme:
        raise GraphError(400, "BadRequest", "targetUrl must be an absolute URL.")
    return body


def _require_parts(body: Body) -> None:
    for name in ("authenticationConfiguration", "endpointConfiguration"):
        if not body.get(name):
            raise GraphError(400, "BadRequest", f"The property '{name}' is required.")


def _find(call: Call) -> Body:
    found = call.read(_KIND, call.ids["id"])
    if found is None:
        raise GraphError(404, "ResourceNotFound", f"Resource '{call.ids['id']}' of type '{_KIND}' does not exist.")
    return found

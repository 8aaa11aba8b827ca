"""What the tests of Graph send and create, and how they read refusals."""

from __future__ import annotations

from typing import Any

import httpx

from jitkit.rehearsal.tenant import RehearsalTenant


def person(tenant: RehearsalTenant, email: str, **more: Any) -> dict[str, Any]:
    """The body that makes a local account."""
    return {
        "accountEnabled": True,
        "displayName": email.partition("@")[0].title(),
        "identities": [{"signInType": "emailAddress", "issuer": tenant.domain, "issuerAssignedId": email}],
        "passwordProfile": {"password": "Vq7-unguessable-Tz", "forceChangePasswordNextSignIn": False},
        "passwordPolicies": "DisablePasswordExpiration",
        **more,
    }


def message(answer: httpx.Response) -> str:
    """The sentence of an error answer, whose shape is checked on the way."""
    error = answer.json()["error"]
    assert set(error) == {"code", "message", "innerError"}
    assert set(error["innerError"]) == {"date", "request-id", "client-request-id"}
    assert error["innerError"]["request-id"] == answer.headers["request-id"]
    return f"{answer.status_code} {error['code']}: {error['message']}"


EXTENSION_TYPE = "#microsoft.graph.onPasswordSubmitCustomExtension"
LISTENER_TYPE = "#microsoft.graph.onPasswordSubmitListener"
HANDLER_TYPE = "#microsoft.graph.onPasswordMigrationCustomExtensionHandler"
CLIENT = "1a9bd4d5-71c7-4e26-93bb-6dc0e27eb4ab"
EXTENSIONS = "/identity/customAuthenticationExtensions"
LISTENERS = "/identity/authenticationEventListeners"
FLOWS = "/identity/authenticationEventsFlows"


def extension(**more: Any) -> dict[str, Any]:
    return {
        "@odata.type": EXTENSION_TYPE,
        "displayName": "JIT password check",
        "endpointConfiguration": {
            "@odata.type": "#microsoft.graph.httpRequestEndpoint",
            "targetUrl": "https://jit.example/api",
        },
        "authenticationConfiguration": {
            "@odata.type": "#microsoft.graph.azureAdTokenAuthentication",
            "resourceId": f"api://jit.example/{CLIENT}",
        },
        "clientConfiguration": {"timeoutInMilliseconds": 2000, "maximumRetries": 1},
        **more,
    }


def listener(extension_id: str, **handler: Any) -> dict[str, Any]:
    return {
        "@odata.type": LISTENER_TYPE,
        "displayName": "JIT migration",
        "priority": 400,
        "conditions": {"applications": {"includeAllApplications": False, "includeApplications": [{"appId": CLIENT}]}},
        "handler": {
            "@odata.type": HANDLER_TYPE,
            "migrationPropertyId": "extension_x_toBeMigrated",
            "customExtension": {"id": extension_id},
            **handler,
        },
    }


def flow(name: str = "Sign up and sign in") -> dict[str, Any]:
    start = "#microsoft.graph.onAuthenticationMethodLoadStartExternalUsersSelfServiceSignUp"
    return {
        "@odata.type": "#microsoft.graph.externalUsersSelfServiceSignUpEventsFlow",
        "displayName": name,
        "onAuthenticationMethodLoadStart": {
            "@odata.type": start,
            "identityProviders": [{"id": "EmailPassword-OAUTH"}],
        },
        "onInteractiveAuthFlowStart": {
            "@odata.type": "#microsoft.graph.onInteractiveAuthFlowStartExternalUsersSelfServiceSignUp",
            "isSignUpAllowed": True,
        },
        "onAttributeCollection": {
            "@odata.type": "#microsoft.graph.onAttributeCollectionExternalUsersSelfServiceSignUp",
            "attributes": [{"id": "email"}, {"id": "displayName"}],
            "attributeCollectionPage": {"views": [{"inputs": [{"attribute": "email", "inputType": "Text"}]}]},
        },
    }


async def created(graph: httpx.AsyncClient, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """Create an object; return it."""
    answer = await graph.post(path, json=body)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def new_principal(graph: httpx.AsyncClient, name: str) -> dict[str, Any]:
    """Create an application and its service principal; return the principal."""
    app = await created(graph, "/applications", {"displayName": name})
    return await created(graph, "/servicePrincipals", {"appId": app["appId"]})

"""A tenant served on loopback, set up and driven over HTTP alone, as another language would."""

from __future__ import annotations

import base64
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from rehearsal.served import administrator, serving
from rehearsal.support import GRAPH_APP_ID, LEGACY, NEW, RECEIVE_PAYLOAD, ScriptedEndpoint

HALF = rb'{"username": "a", "password": "\ud800"}'
PUBLIC = "https://jit.woodgrove.example"


@pytest.fixture
def served(seeded: Path, tmp_path: Path) -> Iterator[dict[str, Any]]:
    """What `jitkit rehearsal` prints."""
    with serving(seeded, tmp_path) as printed:
        yield printed


@pytest.fixture
def client(served: dict[str, Any]) -> Iterator[httpx.Client]:
    """An HTTP client with the administrator's token."""
    with administrator(served) as opened:
        yield opened


def test_a_name_of_others_that_leads_here_gets_no_answer(served: dict[str, Any]) -> None:
    for host, status in (
        ("evil.example", 400),
        ("evil.example:80", 400),
        (httpx.URL(served["graph"]).netloc.decode(), 401),
    ):
        assert httpx.get(f"{served['graph']}/v1.0/users", headers={"host": host}).status_code == status


def made(answer: httpx.Response) -> dict[str, Any]:
    assert answer.status_code in (200, 201, 204), answer.text
    body: dict[str, Any] = answer.json() if answer.content else {}
    return body


def set_up(client: httpx.Client, der: bytes) -> tuple[str, str]:
    """Do the tutorial over Graph; returns the test client's appId and the flag's full name."""
    owner = made(client.get("/v1.0/applications", params={"$filter": "startswith(displayName,'b2c-extensions-app')"}))[
        "value"
    ][0]
    flag = made(
        client.post(
            f"/v1.0/applications/{owner['id']}/extensionProperties",
            json={"name": "toBeMigrated", "dataType": "Boolean", "targetObjects": ["User"]},
        )
    )["name"]
    extension_app = made(client.post("/v1.0/applications", json={"displayName": "JIT password check"}))
    app_id, key_id = extension_app["appId"], str(uuid.uuid4())
    uri = f"api://jit.woodgrove.example/{app_id}"
    key = {
        "keyId": key_id,
        "type": "AsymmetricX509Cert",
        "usage": "Encrypt",
        "key": base64.b64encode(der).decode(),
        "displayName": "CN=JitMigration",
    }
    made(
        client.patch(
            f"/v1.0/applications/{extension_app['id']}",
            json={
                "identifierUris": [uri],
                "api": {"requestedAccessTokenVersion": 2},
                "keyCredentials": [key],
                "tokenEncryptionKeyId": key_id,
            },
        )
    )
    principal = made(client.post("/v1.0/servicePrincipals", json={"appId": app_id}))
    graph = made(client.get(f"/v1.0/servicePrincipals(appId='{GRAPH_APP_ID}')"))
    consent = {"principalId": principal["id"], "resourceId": graph["id"], "appRoleId": RECEIVE_PAYLOAD}
    made(client.post(f"/v1.0/servicePrincipals/{graph['id']}/appRoleAssignedTo", json=consent))
    web = {"redirectUris": ["https://jwt.ms"], "implicitGrantSettings": {"enableIdTokenIssuance": True}}
    client_app = made(client.post("/v1.0/applications", json={"displayName": "JIT test client", "web": web}))
    made(client.post("/v1.0/servicePrincipals", json={"appId": client_app["appId"]}))
    policies(client, client_app["appId"], uri, flag)
    return client_app["appId"], flag


def policies(client: httpx.Client, client_id: str, uri: str, flag: str) -> None:
    prefix = "#microsoft.graph."
    made(
        client.post(
            "/v1.0/identity/authenticationEventsFlows",
            json={
                "@odata.type": f"{prefix}externalUsersSelfServiceSignUpEventsFlow",
                "displayName": "Sign up and sign in",
                "onAuthenticationMethodLoadStart": {
                    "@odata.type": f"{prefix}onAuthenticationMethodLoadStartExternalUsersSelfServiceSignUp",
                    "identityProviders": [{"id": "EmailPassword-OAUTH"}],
                },
                "conditions": {"applications": {"includeApplications": [{"appId": client_id}]}},
            },
        )
    )
    extension = made(
        client.post(
            "/v1.0/identity/customAuthenticationExtensions",
            json={
                "@odata.type": f"{prefix}onPasswordSubmitCustomExtension",
                "displayName": "JIT password check on submit",
                "authenticationConfiguration": {
                    "@odata.type": f"{prefix}azureAdTokenAuthentication",
                    "resourceId": uri,
                },
                "endpointConfiguration": {
                    "@odata.type": f"{prefix}httpRequestEndpoint",
                    "targetUrl": f"{PUBLIC}/api/JitMigrationEndpoint",
                },
                "clientConfiguration": {"timeoutInMilliseconds": 2000, "maximumRetries": 1},
            },
        )
    )
    made(
        client.post(
            "/v1.0/identity/authenticationEventListeners",
            json={
                "@odata.type": f"{prefix}onPasswordSubmitListener",
                "priority": 500,
                "conditions": {"applications": {"includeApplications": [{"appId": client_id}]}},
                "handler": {
                    "@odata.type": f"{prefix}onPasswordMigrationCustomExtensionHandler",
                    "migrationPropertyId": flag,
                    "customExtension": {"id": extension["id"]},
                },
            },
        )
    )


def add_user(client: httpx.Client, flag: str) -> str:
    domain = made(client.get("/v1.0/domains"))["value"][0]["id"]
    body = {
        "accountEnabled": True,
        "displayName": "Ada",
        "mail": "ada@woodgrove.example",
        "identities": [{"signInType": "emailAddress", "issuer": domain, "issuerAssignedId": "ada@woodgrove.example"}],
        "passwordProfile": {"password": NEW, "forceChangePasswordNextSignIn": False},
        "passwordPolicies": "DisablePasswordExpiration",
        flag: True,
    }
    created: str = made(client.post("/v1.0/users", json=body))["id"]
    return created


def test_a_set_up_made_over_graph_migrates_a_user(
    served: dict[str, Any], client: httpx.Client, endpoint: ScriptedEndpoint, der: bytes
) -> None:
    assert served["ca"] is None
    client_id, flag = set_up(client, der)
    user_id = add_user(client, flag)
    person = {"username": "ada@woodgrove.example", "password": LEGACY}
    early = made(client.post("/rehearsal/sign-in", json=person))
    assert (early["outcome"], early["callout_error"]) == ("error", 1003027)
    made(client.put("/rehearsal/publications/jit.woodgrove.example", json={"url": endpoint.url}))
    done = made(client.post("/rehearsal/sign-in", json={**person, "client_app_id": client_id}))
    assert (done["outcome"], done["migrated"], done["path"]) == ("signed in", True, "callout")
    assert "id_token" not in done
    assert done["steps"][0]["actor"] == "Person"
    user = made(client.get(f"/v1.0/users/{user_id}", params={"$select": f"id,{flag}"}))
    assert user[flag] is False
    again = made(client.post("/rehearsal/sign-in", json=person))
    assert (again["outcome"], again["called_endpoint"]) == ("signed in", False)
    log = made(client.get("/beta/auditLogs/signIns", headers={"Prefer": "include-unknown-enum-members"}))["value"]
    assert [row["status"]["errorCode"] for row in log] == [0, 0, 1100001]
    reset = client.post("/rehearsal/reset")
    assert reset.status_code == 204
    assert made(client.get("/v1.0/users"))["value"] == []


def test_the_documents_it_names_are_there(served: dict[str, Any]) -> None:
    issuers = [httpx.get(url).json()["issuer"] for url in served["openid_configuration"]]
    tenant_id = served["tenant_id"]
    assert issuers == [
        f"https://{tenant_id}.ciamlogin.com/{tenant_id}/v2.0",
        f"https://login.microsoftonline.com/{tenant_id}/v2.0",
    ]


def test_driving_it_needs_the_administrators_token_and_a_sound_body(
    served: dict[str, Any], client: httpx.Client
) -> None:
    for path in ("sign-in", "reset"):
        assert httpx.post(f"{served['graph']}/rehearsal/{path}", json={}).status_code == 401
    assert httpx.put(f"{served['graph']}/rehearsal/publications/a.example", json={}).status_code == 401
    for body in (b"{", b"[]", b'{"username": "a"}', b'{"username": "a", "password": 1}', HALF):
        answer = client.post("/rehearsal/sign-in", content=body)
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "BadRequest")
    nothing_set_up = client.post("/rehearsal/sign-in", json={"username": "a", "password": LEGACY})
    assert (nothing_set_up.status_code, nothing_set_up.json()["error"]["code"]) == (409, "NotReady")
    assert LEGACY not in nothing_set_up.text
    outside = client.put("/rehearsal/publications/a.example", json={"url": "https://example.org"})
    assert outside.status_code == 400


async def test_in_process_there_is_nothing_to_drive(tenant: Any) -> None:
    async with httpx.AsyncClient(transport=tenant.transport()) as inside:
        answer = await inside.post("https://graph.microsoft.com/rehearsal/reset")
    assert answer.status_code == 501

"""Requests that are odd and plausible: the service refuses them, or the stand-in says that it does not know them."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

APP = {"displayName": "Odd"}


def refusal(answer: httpx.Response) -> tuple[int, str, str]:
    error = answer.json()["error"]
    return answer.status_code, error["code"], error["message"]


async def user_of(graph: httpx.AsyncClient, name: str = "Odd") -> str:
    domain = (await graph.get("/domains")).json()["value"][0]["id"]
    identity = {"signInType": "emailAddress", "issuer": domain, "issuerAssignedId": f"{name.lower()}@x.example"}
    body = {"displayName": name, "identities": [identity], "passwordProfile": {"password": "Juniper-Ladder-27"}}
    return str((await graph.post("/users", json=body)).json()["id"])


async def test_an_option_that_is_not_obeyed_is_not_passed_over(graph: httpx.AsyncClient) -> None:
    id = await user_of(graph)
    for path in ("/users", "/applications", "/auditLogs/directoryAudits"):
        assert refusal(await graph.get(path, params={"$skip": "1"}))[::2] == (
            400,
            "'$skip' is not supported by the service.",
        )
    for path in ("/users", f"/users/{id}", "/identity/authenticationEventListeners"):
        assert refusal(await graph.get(path, params={"$expand": "manager"}))[0] == 501
    assert (await graph.get("/users", params={"$format": "json", "$top": "1"})).status_code == 200


async def test_a_reference_in_a_body_is_not_passed_over(graph: httpx.AsyncClient) -> None:
    bound = {"owners@odata.bind": ["https://graph.microsoft.com/v1.0/users/x"]}
    assert refusal(await graph.post("/applications", json={**APP, **bound}))[::2] == (
        501,
        "not simulated: owners@odata.bind",
    )
    id = await user_of(graph)
    bound = {"manager@odata.bind": "https://graph.microsoft.com/v1.0/users/x"}
    assert (await graph.patch(f"/users/{id}", json=bound)).status_code == 501


@pytest.mark.parametrize("audience", ["Bogus", ""])
async def test_an_audience_is_one_of_four(graph: httpx.AsyncClient, audience: str) -> None:
    made = (await graph.post("/applications", json={**APP, "signInAudience": None})).json()
    assert made["signInAudience"] == "AzureADandPersonalMicrosoftAccount"
    for answer in (
        await graph.post("/applications", json={**APP, "signInAudience": audience}),
        await graph.patch(f"/applications/{made['id']}", json={"signInAudience": audience}),
        await graph.patch(f"/applications/{made['id']}", json={"signInAudience": None}),
    ):
        assert refusal(answer)[:2] == (400, "Request_BadRequest")


async def test_what_is_required_cannot_be_taken_away_again(graph: httpx.AsyncClient) -> None:
    app, id = (await graph.post("/applications", json=APP)).json(), await user_of(graph)
    for path in (f"/applications/{app['id']}", f"/users/{id}"):
        for name in (None, ""):
            assert "A value is required" in refusal(await graph.patch(path, json={"displayName": name}))[2]
    await graph.post("/servicePrincipals", json={"appId": app["appId"]})
    principal = f"/servicePrincipals(appId='{app['appId']}')"
    assert "read-only" in refusal(await graph.patch(principal, json={"appId": id}))[2]
    assert (await graph.patch(principal, json={"appId": app["appId"], "notes": "x"})).status_code == 204


async def test_an_extension_keeps_its_address_and_its_resource(graph: httpx.AsyncClient) -> None:
    kind = {"@odata.type": "#microsoft.graph.onPasswordSubmitCustomExtension"}
    parts = {
        "authenticationConfiguration": {
            "@odata.type": "#microsoft.graph.azureAdTokenAuthentication",
            "resourceId": "api://h.example/1",
        },
        "endpointConfiguration": {
            "@odata.type": "#microsoft.graph.httpRequestEndpoint",
            "targetUrl": "https://h.example/api",
        },
    }
    path = "/identity/customAuthenticationExtensions"
    made = (await graph.post(path, json={**kind, **parts})).json()
    for name in parts:
        assert "is required" in refusal(await graph.patch(f"{path}/{made['id']}", json={**kind, name: None}))[2]


async def test_a_listener_names_the_apps_that_it_listens_to(graph: httpx.AsyncClient) -> None:
    handler = {
        "@odata.type": "#microsoft.graph.onPasswordMigrationCustomExtensionHandler",
        "migrationPropertyId": "extension_1_toBeMigrated",
    }
    conditions = {"applications": {"includeApplications": [{}]}}
    body = {"@odata.type": "#microsoft.graph.onPasswordSubmitListener", "handler": handler, "conditions": conditions}
    answer = await graph.post("/identity/authenticationEventListeners", json=body)
    assert "'appId'" in refusal(answer)[2]


async def test_a_url_that_cannot_be_read_fails_alone_in_its_batch(graph: httpx.AsyncClient) -> None:
    requests: list[dict[str, Any]] = [
        {"id": "bad", "method": "GET", "url": "http://["},
        {"id": "bare", "method": "PATCH", "url": "/users/x", "body": {}},
        {"id": "good", "method": "GET", "url": "/domains"},
    ]
    answers = (await graph.post("/$batch", json={"requests": requests})).json()["responses"]
    by_id = {each["id"]: each for each in answers}
    assert {id: each["status"] for id, each in by_id.items()} == {"bad": 400, "bare": 400, "good": 200}
    assert "Write request id : bare " in by_id["bare"]["body"]["error"]["message"]


@pytest.mark.parametrize(
    ("condition", "words"),
    [
        ("createdDateTime ge '2026-01-01T00:00:00Z'", "'Edm.DateTimeOffset' and 'Edm.String'"),
        ("mail eq 5", "'Edm.String' and 'Edm.Int32'"),
        ("mail eq true", "'Edm.String' and 'Edm.Boolean'"),
    ],
)
async def test_a_value_of_another_type_is_refused_in_a_filter(
    graph: httpx.AsyncClient, condition: str, words: str
) -> None:
    assert words in refusal(await graph.get("/users", params={"$filter": condition}))[2]


async def test_users_are_members_in_a_filter_as_they_are_shown(graph: httpx.AsyncClient) -> None:
    id = await user_of(graph)
    found = await graph.get("/users", params={"$filter": "userType eq 'Member'", "$select": "id,userType"})
    assert {"id": id, "userType": "Member"} in found.json()["value"]
    assert (await graph.get("/users", params={"$filter": "userType eq 'Guest'"})).json()["value"] == []

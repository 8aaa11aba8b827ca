"""Service principals, app role assignments and delegated grants."""

from __future__ import annotations

import base64
import uuid
from typing import Any

import httpx
import pytest

from .bodies import message

GRAPH = "00000003-0000-0000-c000-000000000000"
RECEIVE_PAYLOAD = "214e810f-fda8-4fd7-a475-29461495eb00"


async def principal(graph: httpx.AsyncClient, name: str) -> dict[str, Any]:
    app = (await graph.post("/applications", json={"displayName": name})).json()
    made = await graph.post("/servicePrincipals", json={"appId": app["appId"]})
    assert made.status_code == 201, made.text
    found: dict[str, Any] = made.json()
    return found


async def test_consent_to_receive_payloads_through_the_sdk(sdk: Any, graph: httpx.AsyncClient) -> None:
    from msgraph.generated.models.app_role_assignment import AppRoleAssignment
    from msgraph.generated.models.o_data_errors.o_data_error import ODataError

    own = await principal(graph, "JIT password check")
    resource = await sdk.service_principals_with_app_id(GRAPH).get()
    assert "CustomAuthenticationExtension.Receive.Payload" in {role.value for role in resource.app_roles}
    assigned_to = sdk.service_principals.by_service_principal_id(resource.id).app_role_assigned_to
    body = AppRoleAssignment(
        principal_id=uuid.UUID(own["id"]), resource_id=uuid.UUID(resource.id), app_role_id=uuid.UUID(RECEIVE_PAYLOAD)
    )
    made = await assigned_to.post(body)
    assert (made.principal_display_name, made.principal_type) == ("JIT password check", "ServicePrincipal")

    with pytest.raises(ODataError) as again:
        await assigned_to.post(body)
    assert (again.value.response_status_code, again.value.error.code) == (400, "Request_BadRequest")
    assert again.value.error.message == "Permission being assigned already exists on the object"

    held = await sdk.service_principals.by_service_principal_id(own["id"]).app_role_assignments.get()
    assert [item.id for item in held.value] == [made.id]
    await assigned_to.by_app_role_assignment_id(made.id).delete()
    assert (await assigned_to.get()).value == []


async def test_an_app_role_that_the_resource_does_not_have_is_refused(graph: httpx.AsyncClient) -> None:
    own = await principal(graph, "JIT")
    resource = (await graph.get(f"/servicePrincipals(appId='{GRAPH}')")).json()["id"]
    wrong = "214e68ed-0000-0000-0000-000000000000"
    answer = await graph.post(
        f"/servicePrincipals/{own['id']}/appRoleAssignments",
        json={"principalId": own["id"], "resourceId": resource, "appRoleId": wrong},
    )
    assert message(answer) == "400 Request_BadRequest: Permission being assigned was not found on application"


async def test_a_delegated_grant_has_the_id_made_of_its_parts(graph: httpx.AsyncClient) -> None:
    client = await principal(graph, "jwt.ms")
    resource = (await graph.get(f"/servicePrincipals(appId='{GRAPH}')")).json()["id"]
    body = {"clientId": client["id"], "consentType": "AllPrincipals", "resourceId": resource, "scope": "User.Read"}
    made = (await graph.post("/oauth2PermissionGrants", json=body)).json()
    raw = uuid.UUID(client["id"]).bytes_le + uuid.UUID(resource).bytes_le
    assert made["id"] == base64.urlsafe_b64encode(raw).decode().rstrip("=")
    assert message(await graph.post("/oauth2PermissionGrants", json=body)).endswith("Permission entry already exists.")

    url = f"/oauth2PermissionGrants/{made['id']}"
    assert (await graph.patch(url, json={"scope": "User.Read openid"})).status_code == 204
    found = await graph.get("/oauth2PermissionGrants", params={"$filter": f"clientId eq '{client['id']}'"})
    assert [item["scope"] for item in found.json()["value"]] == ["User.Read openid"]
    assert (await graph.get(f"/servicePrincipals/{client['id']}/oauth2PermissionGrants")).json()["value"]
    assert (await graph.delete(url)).status_code == 204
    assert (await graph.get(url)).status_code == 404


async def test_a_scope_that_the_resource_does_not_have_is_refused(graph: httpx.AsyncClient) -> None:
    client = await principal(graph, "jwt.ms")
    resource = (await graph.get(f"/servicePrincipals(appId='{GRAPH}')")).json()["id"]
    body = {"clientId": client["id"], "consentType": "AllPrincipals", "resourceId": resource, "scope": "User.Raed"}
    assert "User.Raed" in message(await graph.post("/oauth2PermissionGrants", json=body))


async def test_one_principal_for_an_application(graph: httpx.AsyncClient) -> None:
    own = await principal(graph, "JIT")
    again = await graph.post("/servicePrincipals", json={"appId": own["appId"]})
    assert message(again).startswith("409 Request_MultipleObjectsWithSameKeyValue")
    unknown = await graph.post("/servicePrincipals", json={"appId": str(uuid.uuid4())})
    assert "does not reference a valid application object" in message(unknown)


async def test_a_principal_follows_its_application(graph: httpx.AsyncClient) -> None:
    app = (await graph.post("/applications", json={"displayName": "Old"})).json()
    made = (await graph.post("/servicePrincipals", json={"appId": app["appId"]})).json()
    uri = f"api://jit.example/{app['appId']}"
    await graph.patch(f"/applications/{app['id']}", json={"displayName": "New", "identifierUris": [uri]})
    now = (await graph.get(f"/servicePrincipals/{made['id']}")).json()
    assert (now["appDisplayName"], now["servicePrincipalNames"]) == ("New", [app["appId"], uri])


async def test_a_principal_can_be_disabled_and_deleted(graph: httpx.AsyncClient) -> None:
    own = await principal(graph, "JIT")
    assert (await graph.patch(f"/servicePrincipals/{own['id']}", json={"accountEnabled": False})).status_code == 204
    assert (await graph.get(f"/servicePrincipals/{own['id']}")).json()["accountEnabled"] is False
    assert (await graph.delete(f"/servicePrincipals/{own['id']}")).status_code == 204
    listed = (await graph.get("/directory/deletedItems/microsoft.graph.servicePrincipal")).json()["value"]
    assert [item["id"] for item in listed] == [own["id"]]

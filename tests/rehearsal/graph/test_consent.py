"""App role assignments and delegated grants."""

from __future__ import annotations

import base64
import uuid
from typing import Any

import httpx
import pytest

from jitkit.protocol import GRAPH_APP_ID, RECEIVE_PAYLOAD_ROLE_ID

from .bodies import created, message, new_principal


async def test_consent_to_receive_payloads_through_the_sdk(sdk: Any, graph: httpx.AsyncClient) -> None:
    from msgraph.generated.models.app_role_assignment import AppRoleAssignment
    from msgraph.generated.models.o_data_errors.o_data_error import ODataError

    own = await new_principal(graph, "JIT password check")
    resource = await sdk.service_principals_with_app_id(GRAPH_APP_ID).get()
    assert "CustomAuthenticationExtension.Receive.Payload" in {role.value for role in resource.app_roles}
    assigned_to = sdk.service_principals.by_service_principal_id(resource.id).app_role_assigned_to
    body = AppRoleAssignment(
        principal_id=uuid.UUID(own["id"]),
        resource_id=uuid.UUID(resource.id),
        app_role_id=uuid.UUID(RECEIVE_PAYLOAD_ROLE_ID),
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
    own = await new_principal(graph, "JIT")
    resource = (await graph.get(f"/servicePrincipals(appId='{GRAPH_APP_ID}')")).json()["id"]
    wrong = "214e68ed-0000-0000-0000-000000000000"
    answer = await graph.post(
        f"/servicePrincipals/{own['id']}/appRoleAssignments",
        json={"principalId": own["id"], "resourceId": resource, "appRoleId": wrong},
    )
    assert message(answer) == "400 Request_BadRequest: Permission being assigned was not found on application"


async def test_a_delegated_grant_has_the_id_made_of_its_parts(graph: httpx.AsyncClient) -> None:
    client = await new_principal(graph, "jwt.ms")
    resource = (await graph.get(f"/servicePrincipals(appId='{GRAPH_APP_ID}')")).json()["id"]
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
    client = await new_principal(graph, "jwt.ms")
    resource = (await graph.get(f"/servicePrincipals(appId='{GRAPH_APP_ID}')")).json()["id"]
    body = {"clientId": client["id"], "consentType": "AllPrincipals", "resourceId": resource, "scope": "User.Raed"}
    assert "User.Raed" in message(await graph.post("/oauth2PermissionGrants", json=body))
    own = {**body, "resourceId": client["id"], "scope": "User.Read"}
    assert message(await graph.post("/oauth2PermissionGrants", json=own)).startswith("400 Request_BadRequest")


async def test_scopes_of_microsoft_graph_that_the_kit_never_asks_for_are_granted(graph: httpx.AsyncClient) -> None:
    client = await new_principal(graph, "Mail reader")
    resource = (await graph.get(f"/servicePrincipals(appId='{GRAPH_APP_ID}')")).json()["id"]
    scope = "openid profile Mail.ReadWrite Files.ReadWrite.AppFolder Group.Read.All User.Read"
    body = {"clientId": client["id"], "consentType": "AllPrincipals", "resourceId": resource, "scope": scope}
    assert (await created(graph, "/oauth2PermissionGrants", body))["scope"] == scope


async def test_a_grant_is_read_from_either_side(graph: httpx.AsyncClient) -> None:
    app = (await graph.post("/applications", json={"displayName": "JIT"})).json()
    own = (await graph.post("/servicePrincipals", json={"appId": app["appId"]})).json()["id"]
    resource = (await graph.get(f"/servicePrincipals(appId='{GRAPH_APP_ID}')")).json()["id"]
    body = {"principalId": own, "resourceId": resource, "appRoleId": RECEIVE_PAYLOAD_ROLE_ID}
    made = (await graph.post(f"/servicePrincipals/{resource}/appRoleAssignedTo", json=body)).json()
    for side in (f"{resource}/appRoleAssignedTo", f"{own}/appRoleAssignments"):
        read = (await graph.get(f"/servicePrincipals/{side}/{made['id']}")).json()
        assert body.items() <= read.items()
    elsewhere = await graph.get(f"/servicePrincipals/{own}/appRoleAssignedTo/{made['id']}")
    assert elsewhere.status_code == 404

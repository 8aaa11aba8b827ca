"""User flows, the apps in them and the attributes they collect."""

from __future__ import annotations

from typing import Any

import httpx

from .bodies import message

FLOWS = "/identity/authenticationEventsFlows"


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


async def client(graph: httpx.AsyncClient) -> str:
    app = (await graph.post("/applications", json={"displayName": "jwt.ms"})).json()
    await graph.post("/servicePrincipals", json={"appId": app["appId"]})
    return str(app["appId"])


async def test_a_creation_leaves_out_what_reading_returns(graph: httpx.AsyncClient) -> None:
    made = await graph.post(FLOWS, json=flow())
    assert made.status_code == 201, made.text
    assert "identityProviders" not in made.json()["onAuthenticationMethodLoadStart"]
    assert "includeApplications" not in made.json()["conditions"]["applications"]
    read = (await graph.get(f"{FLOWS}/{made.json()['id']}")).json()
    provider = read["onAuthenticationMethodLoadStart"]["identityProviders"][0]
    assert (provider["@odata.type"], provider["displayName"]) == (
        "#microsoft.graph.builtInIdentityProvider",
        "Email with password",
    )
    assert read["onAttributeCollection"]["attributes"][0]["userFlowAttributeType"] == "builtIn"
    assert read["onAttributeCollection"]["attributeCollectionPage"]["views"][0]["inputs"][0]["inputType"] == "text"


async def test_an_app_is_in_one_flow_only_and_found_there(graph: httpx.AsyncClient) -> None:
    first = (await graph.post(FLOWS, json=flow("One"))).json()["id"]
    second = (await graph.post(FLOWS, json=flow("Two"))).json()["id"]
    app_id = await client(graph)
    body = {"@odata.type": "#microsoft.graph.authenticationConditionApplication", "appId": app_id}
    added = await graph.post(f"{FLOWS}/{first}/conditions/applications/includeApplications", json=body)
    assert (added.status_code, added.json()["appId"]) == (201, app_id)
    refused = await graph.post(f"{FLOWS}/{second}/conditions/applications/includeApplications", json=body)
    assert "'One'" in message(refused)

    cast = "microsoft.graph.externalUsersSelfServiceSignUpEventsFlow/conditions/applications/includeApplications"
    found = await graph.get(FLOWS, params={"$filter": f"{cast}/any(app:app/appId eq '{app_id}')"})
    assert [item["displayName"] for item in found.json()["value"]] == ["One"]

    removed = await graph.delete(f"{FLOWS}/{first}/conditions/applications/includeApplications/{app_id}")
    assert removed.status_code == 204
    assert (await graph.get(f"{FLOWS}/{first}/conditions/applications/includeApplications")).json()["value"] == []


async def test_an_app_without_a_service_principal_cannot_join(graph: httpx.AsyncClient) -> None:
    made = (await graph.post(FLOWS, json=flow())).json()["id"]
    app = (await graph.post("/applications", json={"displayName": "jwt.ms"})).json()
    answer = await graph.post(
        f"{FLOWS}/{made}/conditions/applications/includeApplications", json={"appId": app["appId"]}
    )
    assert "no service principal" in message(answer)


async def test_the_sdk_adds_an_app_and_reads_the_flow(sdk: Any, graph: httpx.AsyncClient) -> None:
    from msgraph.generated.models.authentication_condition_application import AuthenticationConditionApplication

    made = (await graph.post(FLOWS, json=flow())).json()["id"]
    app_id = await client(graph)
    item = sdk.identity.authentication_events_flows.by_authentication_events_flow_id(made)
    await item.conditions.applications.include_applications.post(AuthenticationConditionApplication(app_id=app_id))
    read = await item.get()
    assert [app.app_id for app in read.conditions.applications.include_applications] == [app_id]
    assert read.on_authentication_method_load_start.identity_providers[0].id == "EmailPassword-OAUTH"


async def test_flows_are_changed_and_deleted(graph: httpx.AsyncClient) -> None:
    url = f"{FLOWS}/{(await graph.post(FLOWS, json=flow())).json()['id']}"
    change = {"@odata.type": "#microsoft.graph.externalUsersSelfServiceSignUpEventsFlow", "description": "For shops"}
    assert (await graph.patch(url, json=change)).status_code == 204
    assert (await graph.get(url)).json()["description"] == "For shops"
    assert (await graph.delete(url)).status_code == 204
    assert (await graph.get(url)).status_code == 404


async def test_a_custom_attribute_is_a_directory_extension(graph: httpx.AsyncClient, tenant: Any) -> None:
    body = {"displayName": "Hobby", "description": "Your hobby", "dataType": "string"}
    made = await graph.post("/identity/userFlowAttributes", json=body)
    assert made.status_code == 201, made.text
    assert made.json()["id"].endswith("_Hobby")
    owner = tenant.directory.all("application")[0]["id"]
    listed = (await graph.get(f"/applications/{owner}/extensionProperties")).json()["value"]
    assert made.json()["id"] in {item["name"] for item in listed}
    attributes = (await graph.get("/identity/userFlowAttributes")).json()["value"]
    assert {"id": made.json()["id"], "userFlowAttributeType": "custom", **body} in attributes

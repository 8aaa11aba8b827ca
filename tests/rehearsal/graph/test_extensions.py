"""Custom authentication extensions and the listeners that use them."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from .bodies import message

EXTENSION_TYPE = "#microsoft.graph.onPasswordSubmitCustomExtension"
LISTENER_TYPE = "#microsoft.graph.onPasswordSubmitListener"
HANDLER_TYPE = "#microsoft.graph.onPasswordMigrationCustomExtensionHandler"
CLIENT = "1a9bd4d5-71c7-4e26-93bb-6dc0e27eb4ab"
EXTENSIONS = "/identity/customAuthenticationExtensions"
LISTENERS = "/identity/authenticationEventListeners"


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


@pytest.fixture
async def stored(graph: httpx.AsyncClient) -> str:
    made = await graph.post(EXTENSIONS, json=extension())
    assert made.status_code == 201, made.text
    return str(made.json()["id"])


async def test_the_sdk_makes_an_extension_and_a_listener(sdk: Any) -> None:
    from msgraph.generated.models.authentication_condition_application import AuthenticationConditionApplication
    from msgraph.generated.models.authentication_conditions import AuthenticationConditions
    from msgraph.generated.models.authentication_conditions_applications import AuthenticationConditionsApplications
    from msgraph.generated.models.azure_ad_token_authentication import AzureAdTokenAuthentication
    from msgraph.generated.models.custom_extension_client_configuration import CustomExtensionClientConfiguration
    from msgraph.generated.models.http_request_endpoint import HttpRequestEndpoint
    from msgraph.generated.models.on_password_migration_custom_extension_handler import (
        OnPasswordMigrationCustomExtensionHandler,
    )
    from msgraph.generated.models.on_password_submit_custom_extension import OnPasswordSubmitCustomExtension
    from msgraph.generated.models.on_password_submit_listener import OnPasswordSubmitListener

    made = await sdk.identity.custom_authentication_extensions.post(
        OnPasswordSubmitCustomExtension(
            display_name="JIT",
            endpoint_configuration=HttpRequestEndpoint(target_url="https://jit.example/api"),
            authentication_configuration=AzureAdTokenAuthentication(resource_id=f"api://jit.example/{CLIENT}"),
            client_configuration=CustomExtensionClientConfiguration(timeout_in_milliseconds=2000, maximum_retries=1),
        )
    )
    assert isinstance(made, OnPasswordSubmitCustomExtension)

    applications = AuthenticationConditionsApplications(
        include_applications=[AuthenticationConditionApplication(app_id=CLIENT)],
        additional_data={"includeAllApplications": False},
    )
    await sdk.identity.authentication_event_listeners.post(
        OnPasswordSubmitListener(
            display_name="JIT",
            conditions=AuthenticationConditions(applications=applications),
            handler=OnPasswordMigrationCustomExtensionHandler(
                migration_property_id="extension_x_toBeMigrated",
                custom_extension=OnPasswordSubmitCustomExtension(id=made.id),
            ),
            additional_data={"priority": 500},
        )
    )
    (found,) = (await sdk.identity.authentication_event_listeners.get()).value
    assert found.additional_data["priority"] == 500
    assert found.handler.migration_property_id == "extension_x_toBeMigrated"
    assert found.handler.custom_extension.endpoint_configuration.target_url == "https://jit.example/api"
    assert found.conditions.applications.include_applications[0].app_id == CLIENT


async def test_the_handler_property_of_the_first_tutorial_is_refused(graph: httpx.AsyncClient, stored: str) -> None:
    body = listener(stored)
    body["handler"]["migrationAttributeId"] = body["handler"].pop("migrationPropertyId")
    answer = await graph.post(LISTENERS, json=body)
    assert message(answer) == (
        "400 BadRequest: The property 'migrationAttributeId' does not exist on type "
        "'microsoft.graph.onPasswordMigrationCustomExtensionHandler'. "
        "Make sure to only use property names that are defined by the type."
    )


async def test_a_created_listener_answers_as_the_reference_prints_it(graph: httpx.AsyncClient, stored: str) -> None:
    made = await graph.post(LISTENERS, json=listener(stored))
    body = made.json()
    assert made.status_code == 201
    assert body["authenticationEventsFlowId"] is None
    assert body["handler"] == {
        "@odata.type": HANDLER_TYPE,
        "migrationPropertyId": "extension_x_toBeMigrated",
        "configuration": None,
    }
    read = (await graph.get(f"{LISTENERS}/{body['id']}")).json()
    assert read["handler"]["customExtension"]["id"] == stored


async def test_a_listener_is_changed_in_parts_and_its_lists_as_a_whole(graph: httpx.AsyncClient, stored: str) -> None:
    url = f"{LISTENERS}/{(await graph.post(LISTENERS, json=listener(stored))).json()['id']}"
    change = {
        "@odata.type": LISTENER_TYPE,
        "conditions": {"applications": {"includeApplications": [{"appId": "a"}, {"appId": "b"}]}},
    }
    assert (await graph.patch(url, json=change)).status_code == 204
    now = (await graph.get(url)).json()
    assert now["conditions"]["applications"] == {
        "includeAllApplications": False,
        "includeApplications": [{"appId": "a"}, {"appId": "b"}],
    }
    assert now["priority"] == 400
    assert "@odata.type" in message(await graph.patch(url, json={"priority": 1}))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"handler": {"@odata.type": HANDLER_TYPE, "customExtension": {"id": "nobody"}}}, "migrationPropertyId"),
        (
            {
                "handler": {
                    "@odata.type": HANDLER_TYPE,
                    "migrationPropertyId": "x",
                    "customExtension": {"id": "6fc5012e-7665-43d6-9708-4370863f4e6e"},
                }
            },
            "does not exist",
        ),
        ({"@odata.type": "#microsoft.graph.onPasswordSubmitLissener"}, "could not be resolved"),
        ({"priority": "500"}, "priority"),
        ({"conditions": {"applications": {"includeApplications": CLIENT}}}, "collection"),
    ],
)
async def test_a_wrong_listener_is_refused(graph: httpx.AsyncClient, change: dict[str, Any], said: str) -> None:
    answer = await graph.post(LISTENERS, json={**listener("nobody"), **change})
    assert answer.status_code == 400
    assert said in message(answer)


@pytest.mark.parametrize(
    "change",
    [
        {"clientConfiguration": {"timeoutInMilliseconds": 4000}},
        {"clientConfiguration": {"maximumRetries": 2}},
        {"clientConfiguration": {"timeoutInMilliseconds": "2000"}},
        {"disableStrongPassword": True},
        {"endpointConfiguration": None},
        {
            "authenticationConfiguration": {
                "@odata.type": "#microsoft.graph.azureAdTokenAuthentication",
                "resource": "x",
            }
        },
        {"@odata.type": "#microsoft.graph.customAuthenticationExtension"},
    ],
)
async def test_a_wrong_extension_is_refused(graph: httpx.AsyncClient, change: dict[str, Any]) -> None:
    assert message(await graph.post(EXTENSIONS, json=extension(**change))).startswith("400 BadRequest")


async def test_an_extension_is_read_changed_and_deleted(graph: httpx.AsyncClient, stored: str) -> None:
    url = f"{EXTENSIONS}/{stored}"
    change = {"@odata.type": EXTENSION_TYPE, "clientConfiguration": {"timeoutInMilliseconds": 1500}}
    assert (await graph.patch(url, json=change)).status_code == 204
    assert (await graph.get(url)).json()["clientConfiguration"] == {"timeoutInMilliseconds": 1500, "maximumRetries": 1}
    assert (await graph.delete(url)).status_code == 204
    assert (await graph.get(url)).status_code == 404


async def codes(answer: httpx.Response) -> tuple[set[str], set[str]]:
    assert answer.status_code == 200
    body = answer.json()
    return {item["code"] for item in body["errors"]}, {item["code"] for item in body["warnings"]}


async def test_validation_names_what_is_missing_step_by_step(graph: httpx.AsyncClient) -> None:
    def parts(resource: str) -> dict[str, Any]:
        whole = extension()
        whole["authenticationConfiguration"]["resourceId"] = resource
        return {name: whole[name] for name in ("endpointConfiguration", "authenticationConfiguration")}

    validate = f"{EXTENSIONS}/validateAuthenticationConfiguration"
    app = (await graph.post("/applications", json={"displayName": "JIT"})).json()
    good = f"api://jit.example/{app['appId']}"
    permission = {"PermissionNotGrantedToServicePrincipal"}

    errors, _ = await codes(await graph.post(validate, json=parts("api://other.example/check")))
    assert errors == {"IncorrectResourceIdFormat", "DomainNameDoesNotMatch", "ServicePrincipalNotFound"}
    assert await codes(await graph.post(validate, json=parts(good))) == ({"ServicePrincipalNotFound"}, permission)
    own = (await graph.post("/servicePrincipals", json={"appId": app["appId"]})).json()["id"]
    assert await codes(await graph.post(validate, json=parts(good))) == (set(), permission)

    resource = (await graph.get("/servicePrincipals(appId='00000003-0000-0000-c000-000000000000')")).json()["id"]
    role = {"principalId": own, "resourceId": resource, "appRoleId": "214e810f-fda8-4fd7-a475-29461495eb00"}
    assert (await graph.post(f"/servicePrincipals/{resource}/appRoleAssignedTo", json=role)).status_code == 201
    assert await codes(await graph.post(validate, json=parts(good))) == (set(), set())


async def test_a_stored_extension_is_validated_without_a_body(graph: httpx.AsyncClient, stored: str) -> None:
    errors, _ = await codes(await graph.post(f"{EXTENSIONS}/{stored}/validateAuthenticationConfiguration"))
    assert errors == {"ServicePrincipalNotFound"}


async def test_validation_does_not_register_keys(graph: httpx.AsyncClient) -> None:
    body = {"encryptionConfiguration": {"@odata.type": "#microsoft.graph.customExtensionEncryptionConfiguration"}}
    answer = await graph.post(f"{EXTENSIONS}/validateAuthenticationConfiguration", json=body)
    assert "encryptionConfiguration" in message(answer)


async def test_the_tenant_has_room_for_a_hundred_extensions(graph: httpx.AsyncClient, tenant: Any) -> None:
    for _ in range(100):
        tenant.directory.add("customAuthenticationExtension", extension())
    assert "limit of 100" in message(await graph.post(EXTENSIONS, json=extension()))

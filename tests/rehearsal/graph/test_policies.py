"""Custom authentication extensions, listeners, user flows, their attributes, and identity providers."""

from __future__ import annotations

import base64
import uuid
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from jitkit.rehearsal import identity
from jitkit.rehearsal.tenant import RehearsalTenant

from .bodies import (
    CLIENT,
    EXTENSION_TYPE,
    EXTENSIONS,
    FLOWS,
    HANDLER_TYPE,
    LISTENER_TYPE,
    LISTENERS,
    created,
    extension,
    flow,
    listener,
    message,
)

BETA = "https://graph.microsoft.com/beta"
PROVIDERS = "/identity/identityProviders"


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
    assert now["conditions"]["applications"].pop("includeApplications@odata.context")
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


@pytest.mark.parametrize("root", ["", BETA])
async def test_migration_attribute_id_is_no_property_of_the_handler(graph: httpx.AsyncClient, root: str) -> None:
    stored = (await graph.post(EXTENSIONS, json=extension())).json()["id"]
    body = listener(stored)
    body["handler"]["migrationAttributeId"] = body["handler"].pop("migrationPropertyId")
    said = message(await graph.post(f"{root}{LISTENERS}", json=body))
    assert said == (
        "400 BadRequest: The property 'migrationAttributeId' does not exist on type "
        "'microsoft.graph.onPasswordMigrationCustomExtensionHandler'. "
        "Make sure to only use property names that are defined by the type."
    )
    assert (await graph.get(LISTENERS)).json()["value"] == []


async def test_the_validation_takes_no_key_and_uploads_none(
    graph: httpx.AsyncClient, tenant: RehearsalTenant, private_key: rsa.RSAPrivateKey
) -> None:
    whole = extension()
    body: dict[str, Any] = {
        "endpointConfiguration": whole["endpointConfiguration"],
        "authenticationConfiguration": whole["authenticationConfiguration"],
        "customExtensionEncryptionConfiguration": {"encryptionKeys": [{"key": bare_public_key(private_key)}]},
    }
    path = f"{BETA}{EXTENSIONS}/validateAuthenticationConfiguration"
    said = message(await graph.post(path, json=body))
    assert said == (
        "400 BadRequest: The parameter 'customExtensionEncryptionConfiguration' in the request payload is not a valid "
        "parameter."
    )
    del body["customExtensionEncryptionConfiguration"]
    judged = await graph.post(path, json=body)
    assert judged.status_code == 200
    assert {error["code"] for error in judged.json()["errors"]} == {"ServicePrincipalNotFound"}
    assert all(app["keyCredentials"] == [] for app in tenant.directory.all("application"))


def bare_public_key(private_key: rsa.RSAPrivateKey) -> str:
    """A public key without a certificate around it, in base64, as the tutorial's script makes one."""
    spki = private_key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return base64.b64encode(spki).decode()


async def test_a_tenant_has_100_extensions(graph: httpx.AsyncClient, tenant: RehearsalTenant, stored: str) -> None:
    for _ in range(99):
        tenant.directory.add("customAuthenticationExtension", extension())
    assert "limit of 100 custom authentication extensions" in message(await graph.post(EXTENSIONS, json=extension()))
    listed = (await graph.get(EXTENSIONS)).json()["value"]
    assert [each["@odata.type"] for each in listed] == [EXTENSION_TYPE] * 100
    assert (await graph.delete(f"{EXTENSIONS}/{stored}")).status_code == 204
    assert (await graph.post(EXTENSIONS, json=extension())).status_code == 201


async def test_a_tenant_has_249_listeners(graph: httpx.AsyncClient, tenant: RehearsalTenant, stored: str) -> None:
    for _ in range(248):
        tenant.directory.add("authenticationEventListener", listener(stored))
    assert (await graph.post(LISTENERS, json=listener(stored))).status_code == 201
    assert "limit of 249 event listener policies" in message(await graph.post(LISTENERS, json=listener(stored)))


async def test_an_extension_keeps_its_address_and_its_resource(graph: httpx.AsyncClient, stored: str) -> None:
    for name in ("authenticationConfiguration", "endpointConfiguration"):
        change = {"@odata.type": EXTENSION_TYPE, name: None}
        assert "is required" in message(await graph.patch(f"{EXTENSIONS}/{stored}", json=change))


async def test_a_listener_names_the_apps_that_it_listens_to(graph: httpx.AsyncClient) -> None:
    handler = {
        "@odata.type": "#microsoft.graph.onPasswordMigrationCustomExtensionHandler",
        "migrationPropertyId": "extension_1_toBeMigrated",
    }
    conditions = {"applications": {"includeApplications": [{}]}}
    body = {"@odata.type": "#microsoft.graph.onPasswordSubmitListener", "handler": handler, "conditions": conditions}
    answer = await graph.post("/identity/authenticationEventListeners", json=body)
    assert "'appId'" in message(answer)


async def client_app(graph: httpx.AsyncClient) -> str:
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
    app_id = await client_app(graph)
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
    app_id = await client_app(graph)
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


@pytest.fixture
async def providers(graph: httpx.AsyncClient, tenant: RehearsalTenant) -> httpx.AsyncClient:
    """A client whose token may change identity providers, which the administrator's may not."""
    refused = await graph.get(PROVIDERS)
    assert refused.status_code == 403
    token = identity.issue_token(
        tenant.directory, audience=identity.GRAPH, client_app_id="app", roles=["IdentityProvider.ReadWrite.All"]
    )
    graph.headers["Authorization"] = f"Bearer {token}"
    return graph


async def test_a_social_provider_is_added_once_and_its_secret_is_not_kept(
    providers: httpx.AsyncClient, tenant: RehearsalTenant
) -> None:
    built_in = {item["id"] for item in (await providers.get(PROVIDERS)).json()["value"]}
    assert "EmailPassword-OAUTH" in built_in
    body = {
        "@odata.type": "microsoft.graph.socialIdentityProvider",
        "displayName": "Login with Google",
        "identityProviderType": "Google",
        "clientId": "56433757-cadd-4135-8431-2c9e3fd68ae8",
        "clientSecret": "Kanarienvogel",
    }
    made = await providers.post(PROVIDERS, json=body)
    assert (made.status_code, made.json()["id"]) == (201, "Google-OAUTH")
    assert "exists already" in message(await providers.post(PROVIDERS, json=body))
    found = await providers.get(f"{PROVIDERS}/Google-OAUTH")
    assert found.json()["clientId"] == body["clientId"]
    assert "Kanarienvogel" not in made.text + found.text
    files = [path for path in tenant.path.parent.iterdir() if path.name.startswith(tenant.path.name)]
    assert not any(b"Kanarienvogel" in path.read_bytes() for path in files)
    assert (await providers.delete(f"{PROVIDERS}/Google-OAUTH")).status_code == 204
    assert {item["id"] for item in (await providers.get(PROVIDERS)).json()["value"]} == built_in


async def test_a_provider_needs_its_parts_and_a_built_in_one_stays(providers: httpx.AsyncClient) -> None:
    body = {"@odata.type": "microsoft.graph.socialIdentityProvider", "identityProviderType": "Google"}
    assert "are required" in message(await providers.post(PROVIDERS, json=body))
    assert "built-in" in message(await providers.delete(f"{PROVIDERS}/EmailPassword-OAUTH"))
    assert message(await providers.get(f"{PROVIDERS}/Google-OAUTH")).startswith("404 ResourceNotFound")


METHODS = "/policies/authenticationMethodsPolicy"
EMAIL = f"{METHODS}/authenticationMethodConfigurations/email"
EMAIL_TYPE = "#microsoft.graph.emailAuthenticationMethodConfiguration"


async def test_email_otp_is_read_and_switched_in_the_authentication_methods_policy(graph: httpx.AsyncClient) -> None:
    found = (await graph.get(EMAIL)).json()
    assert found["@odata.context"].endswith("#authenticationMethodConfigurations/$entity")
    assert (found["@odata.type"], found["id"], found["state"]) == (EMAIL_TYPE, "Email", "enabled")
    for state in ("disabled", "enabled"):
        answer = await graph.patch(EMAIL, json={"@odata.type": EMAIL_TYPE, "state": state})
        assert answer.status_code == 204
        assert (await graph.get(EMAIL)).json() == {**found, "state": state}
        policy = (await graph.get(METHODS)).json()
        (shown,) = [each for each in policy["authenticationMethodConfigurations"] if each["id"] == "Email"]
        assert shown["state"] == state
        assert policy["@odata.context"].endswith("#authenticationMethodsPolicy")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"state": "enabled"}, "'@odata.type' is required"),
        ({"@odata.type": EMAIL_TYPE, "state": "on"}, "'state'"),
        ({"@odata.type": EMAIL_TYPE, "enabled": True}, "'enabled' does not exist"),
        ({"@odata.type": "#microsoft.graph.smsAuthenticationMethodConfiguration"}, "cannot be changed"),
    ],
)
async def test_a_wrong_change_of_a_method_is_refused(graph: httpx.AsyncClient, body: dict[str, Any], said: str) -> None:
    assert said in message(await graph.patch(EMAIL, json=body))
    assert (await graph.get(EMAIL)).json()["state"] == "enabled"


async def test_a_sign_in_identifier_is_switched_on_in_beta(graph: httpx.AsyncClient) -> None:
    path = "https://graph.microsoft.com/beta/identity/signInIdentifiers/"
    found = (await graph.get(f"{path}Username")).json()
    assert (found["name"], found["isEnabled"]) == ("Username", False)
    assert (await graph.get(f"{path}Email")).json()["isEnabled"] is True
    body = {"@odata.type": "#microsoft.graph.signInIdentifierBase", "name": "Username", "isEnabled": True}
    changed = await graph.patch(f"{path}Username", json=body)
    assert (changed.status_code, changed.json()["isEnabled"]) == (200, True)
    assert (await graph.get(f"{path}username")).json() == {**found, "isEnabled": True}
    assert "'isEnabled' is required" in message(await graph.patch(f"{path}UPN", json={"name": "UPN"}))
    assert (await graph.get(f"{path}CustomUsername1")).status_code == 404
    custom = {"name": "CustomUsername1", "isEnabled": True, "validationRegex": "^[a-z]{4}$"}
    assert (await graph.patch(f"{path}CustomUsername1", json=custom)).status_code == 501
    assert message(await graph.get("/identity/signInIdentifiers/Username")) == (
        "400 BadRequest: Resource not found for the segment 'signInIdentifiers'."
    )


async def test_an_app_is_added_to_a_listener_and_taken_out(graph: httpx.AsyncClient) -> None:
    extension_id = (await created(graph, EXTENSIONS, extension()))["id"]
    id = (await created(graph, LISTENERS, listener(extension_id)))["id"]
    path, other = f"{LISTENERS}/{id}/conditions/applications/includeApplications", str(uuid.uuid4())
    added = await created(graph, path, {"appId": other})
    assert added["@odata.context"].endswith(f"('{id}')/conditions/applications/includeApplications/$entity")
    assert "among those" in message(await graph.post(path, json={"appId": other}))
    assert "appId" in message(await graph.post(path, json={}))
    cast = path.replace(id, f"{id}/microsoft.graph.onPasswordSubmitListener")
    assert [each["appId"] for each in (await graph.get(cast)).json()["value"]] == [CLIENT, other]
    assert (await graph.delete(f"{path}/{CLIENT}")).status_code == 204
    assert (await graph.delete(f"{path}/{CLIENT}")).status_code == 404
    apps = (await graph.get(f"{LISTENERS}/{id}")).json()["conditions"]["applications"]
    assert apps["includeApplications"] == [{"appId": other}]
    assert apps["includeApplications@odata.context"].endswith(
        f"#{LISTENERS[1:]}('{id}')/microsoft.graph.onPasswordSubmitListener/conditions/applications/includeApplications"
    )


@pytest.mark.parametrize("path", [LISTENERS, FLOWS])
async def test_what_was_read_can_be_written_back(graph: httpx.AsyncClient, path: str) -> None:
    extension_id = (await created(graph, EXTENSIONS, extension()))["id"]
    made = await created(graph, path, listener(extension_id) if path == LISTENERS else flow())
    read = (await graph.get(f"{path}/{made['id']}")).json()
    written = {"@odata.type": read["@odata.type"], "conditions": read["conditions"]}
    assert (await graph.patch(f"{path}/{made['id']}", json=written)).status_code == 204
    assert (await graph.get(f"{path}/{made['id']}")).json() == read

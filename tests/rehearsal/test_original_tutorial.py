"""The steps of Microsoft's first tutorial that are wrong, done as printed: each fails as it fails at a real tenant.

[Microsoft Learn, "Migrating users … using Just-In-Time (JIT) Migration (Preview)", October 2025]
"""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import AsyncIterator

import httpx
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from starlette.responses import Response

from jitkit.rehearsal.sign_in import SignIn
from jitkit.rehearsal.tenant import RehearsalTenant

from .graph.bodies import message, person
from .support import GRAPH_APP_ID, LEGACY, RECEIVE_PAYLOAD, STORED, Received, ScriptedEndpoint, World, answer, as_json

EXTENSION = """{
    "@odata.type": "#microsoft.graph.onPasswordSubmitCustomExtension",
    "displayName": "OnPasswordSubmitCustomExtension",
    "description": "Validate password",
    "endpointConfiguration": {
        "@odata.type": "#microsoft.graph.httpRequestEndpoint",
        "targetUrl": "https://jit.woodgrove.example/api/JitMigrationEndpoint"
    },
    "authenticationConfiguration": {
        "@odata.type": "#microsoft.graph.azureAdTokenAuthentication",
        "resourceId": "api://jit.woodgrove.example/1a9bd4d5-71c7-4e26-93bb-6dc0e27eb4ab"
    } ,
    "clientConfiguration": {
       "timeoutInMilliseconds": 2000,
       "maximumRetries": 1
   },
}"""
EXTENSIONS, LISTENERS = "/identity/customAuthenticationExtensions", "/identity/authenticationEventListeners"


@pytest.fixture
async def beta(tenant: RehearsalTenant) -> AsyncIterator[httpx.AsyncClient]:
    """Graph's beta, which the tutorial uses, with the administrator's token."""
    token = (await tenant.credential().get_token("https://graph.microsoft.com/.default")).token
    async with httpx.AsyncClient(
        transport=tenant.transport(),
        base_url="https://graph.microsoft.com/beta",
        headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
    ) as client:
        yield client


def generic_error(done: SignIn, world: World, number: int) -> None:
    """What a person sees of any fault, and the number that the log alone has."""
    assert (done.outcome, done.code) == ("error", 1100001)
    assert done.user_sees.startswith("AADSTS1100001: ")
    assert str(number) not in done.user_sees
    assert world.last_callout()["errorCode"] == number


# --- requests that Graph refuses -----------------------------------------------------------------------------------


async def test_the_attribute_on_the_samples_own_application_is_not_found(beta: httpx.AsyncClient) -> None:
    made = await beta.post(
        "https://graph.microsoft.com/v1.0/applications/30a5435a-1871-485c-8c7b-65f69e287e7b/extensionProperties",
        json={"name": "toBeMigrated", "dataType": "Boolean", "targetObjects": ["User"]},
    )
    assert message(made).startswith("404 Request_ResourceNotFound")


async def test_the_extension_with_the_trailing_comma_is_not_json(beta: httpx.AsyncClient) -> None:
    assert message(await beta.post(EXTENSIONS, content=EXTENSION)).startswith("400 BadRequest: Unable to read JSON")
    without = EXTENSION.replace("},\n}", "}\n}")
    assert (await beta.post(EXTENSIONS, content=without)).status_code == 201
    quoted = without.replace('"Validate password"', "“Validate password”")
    assert message(await beta.post(EXTENSIONS, content=quoted)).startswith("400 BadRequest: Unable to read JSON")


async def test_the_listener_with_migration_attribute_id_is_refused(world: World, beta: httpx.AsyncClient) -> None:
    body = {
        "@odata.type": "#microsoft.graph.onPasswordSubmitListener",
        "conditions": {
            "applications": {"includeAllApplications": False, "includeApplications": [{"appId": world.client_id}]}
        },
        "priority": 500,
        "handler": {
            "@odata.type": "#microsoft.graph.onPasswordMigrationCustomExtensionHandler",
            "migrationAttributeId": world.flag,
            "customExtension": {"id": world.extension["id"]},
        },
    }
    assert "'migrationAttributeId' does not exist" in message(await beta.post(LISTENERS, json=body))
    body["handler"]["migrationPropertyId"] = body["handler"].pop("migrationAttributeId")  # type: ignore[index]
    assert (await beta.post(LISTENERS, json=body)).status_code == 201


@pytest.mark.parametrize("form", [serialization.Encoding.PEM, serialization.Encoding.DER])
async def test_the_public_key_of_a_bare_key_pair_is_no_certificate(
    world: World, beta: httpx.AsyncClient, private_key: rsa.RSAPrivateKey, form: serialization.Encoding
) -> None:
    public = private_key.public_key().public_bytes(form, serialization.PublicFormat.SubjectPublicKeyInfo)
    entry = {"keyId": str(uuid.uuid4()), "type": "AsymmetricX509Cert", "usage": "Encrypt"}
    body = {"keyCredentials": [{**entry, "key": base64.b64encode(public).decode()}]}
    refused = await beta.patch(f"/applications/{world.extension_app['id']}", json=body)
    assert "not a valid X.509 certificate" in message(refused)


async def test_marking_a_user_by_the_samples_attribute_is_refused(world: World, beta: httpx.AsyncClient) -> None:
    user = world.add_user(flag=None)
    body = {"extension_00001111aaaa2222bbbb3333cccc4444_toBeMigrated": True}
    refused = await beta.patch(f"https://graph.microsoft.com/v1.0/users/{user.id}", json=body)
    assert refused.status_code == 400
    assert world.flag_of(user) is None


# --- steps that seem to work, and show at the sign-in --------------------------------------------------------------


async def test_validating_the_configuration_registers_no_key(
    world: World, beta: httpx.AsyncClient, endpoint: ScriptedEndpoint
) -> None:
    world.change("application", world.extension_app, keyCredentials=[], tokenEncryptionKeyId=None)
    body = {
        "@odata.type": "#microsoft.graph.customExtensionEncryptionConfiguration",
        "encryptionType": "asymmetric",
        "certificate": "-----BEGIN PUBLIC KEY-----\nYOUR_PUBLIC_KEY_HERE\n-----END PUBLIC KEY-----",
    }
    await beta.post(f"{EXTENSIONS}/{world.extension['id']}/validateAuthenticationConfiguration", json=body)
    app = (await beta.get(f"/applications/{world.extension_app['id']}")).json()
    assert (app["keyCredentials"], app["tokenEncryptionKeyId"]) == ([], None)
    user = world.add_user()
    done = await world.sign_in(LEGACY)
    assert (done.outcome, endpoint.received, world.flag_of(user)) == ("error", [], True)


async def test_a_permission_that_was_added_and_not_consented_to_is_1003021(
    world: World, beta: httpx.AsyncClient, endpoint: ScriptedEndpoint
) -> None:
    added = [{"resourceAppId": GRAPH_APP_ID, "resourceAccess": [{"id": RECEIVE_PAYLOAD, "type": "Role"}]}]
    world.change("application", world.extension_app, requiredResourceAccess=added)
    world.directory.discard("appRoleAssignment", world.consent["id"], recycle=False)
    world.add_user()
    generic_error(await world.sign_in(LEGACY), world, 1003021)
    assert endpoint.received == []
    judged = await beta.post(f"{EXTENSIONS}/{world.extension['id']}/validateAuthenticationConfiguration")
    assert [each["code"] for each in judged.json()["warnings"]] == ["PermissionNotGrantedToServicePrincipal"]


async def test_an_app_made_over_graph_without_a_service_principal_is_1003016(
    world: World, endpoint: ScriptedEndpoint
) -> None:
    world.directory.discard("servicePrincipal", world.extension_principal["id"], recycle=False)
    world.add_user()
    generic_error(await world.sign_in(LEGACY), world, 1003016)
    assert endpoint.received == []


async def test_the_response_without_a_nonce_is_1003003(world: World, endpoint: ScriptedEndpoint) -> None:
    def as_printed(got: Received) -> Response:
        body = answer("MigratePassword", "")
        del body["data"]["nonce"]
        return as_json(body)

    endpoint.script = as_printed
    user = world.add_user()
    generic_error(await world.sign_in(LEGACY), world, 1003003)
    assert world.flag_of(user) is True


async def test_the_two_casings_of_an_action_are_both_accepted(world: World, endpoint: ScriptedEndpoint) -> None:
    def lower(got: Received) -> Response:
        text = json.dumps(answer("MigratePassword", got.claims["nonce"]))
        return Response(text.replace("passwordSubmit.", "passwordsubmit."), media_type="application/json")

    endpoint.script = lower
    world.add_user()
    assert (await world.sign_in(LEGACY)).migrated


@pytest.mark.parametrize(
    ("status", "text"),
    [(400, "User ID is required in the authentication context."), (400, "User password is required"), (500, "")],
)
async def test_an_http_error_for_an_outcome_is_1003002(
    world: World, endpoint: ScriptedEndpoint, status: int, text: str
) -> None:
    endpoint.script = lambda _: Response(text, status)
    user = world.add_user()
    generic_error(await world.sign_in(LEGACY), world, 1003002)
    assert (world.last_callout()["httpStatus"], world.flag_of(user)) == (status, True)


async def test_the_placeholder_that_always_says_retry_migrates_nobody(world: World, endpoint: ScriptedEndpoint) -> None:
    def template(got: Received) -> Response:
        words = {"title": "Authentication Pending", "message": "Please implement legacy authentication integration."}
        return as_json(answer("Retry", got.claims["nonce"], **words))

    endpoint.script = template
    user = world.add_user()
    done = await world.sign_in(LEGACY)
    assert (done.outcome, done.code, world.flag_of(user)) == ("wrong password", 50126, True)


async def test_a_lookup_by_id_or_principal_name_cannot_find_who_typed_an_address(
    world: World, endpoint: ScriptedEndpoint
) -> None:
    user = world.add_user()
    await world.sign_in(LEGACY)
    (got,) = endpoint.received
    known = got.envelope["data"]["authenticationContext"]["user"]
    assert (known["id"], known["userPrincipalName"]) == (user.id, f"{user.id}@{world.tenant.domain}")
    assert got.claims["username"] == "ada@woodgrove.example"


async def test_an_account_that_must_change_its_password_is_asked_again_and_again(world: World) -> None:
    user = world.add_user(force_change=True)
    for _ in range(2):
        done = await world.sign_in(LEGACY)
        assert (done.outcome, done.code, world.flag_of(user)) == ("new password needed", 50055, True)


async def test_marking_an_account_whose_password_can_be_guessed_lets_the_guess_in(
    world: World, endpoint: ScriptedEndpoint
) -> None:
    user = world.add_user()
    done = await world.sign_in(STORED)
    assert (done.outcome, done.path, endpoint.received) == ("signed in", "silent", [])
    assert world.flag_of(user) is False


async def test_a_new_user_without_a_password_is_refused(tenant: RehearsalTenant, beta: httpx.AsyncClient) -> None:
    body = person(tenant, "ada@woodgrove.example")
    del body["passwordProfile"]
    assert message(await beta.post("/users", json=body)).startswith("400 Request_BadRequest")


@pytest.mark.parametrize(("gone", "number"), [("the endpoint", 1003027), ("the extension", 1003011)])
async def test_what_is_left_when_nothing_cleans_up_breaks_the_sign_in(world: World, gone: str, number: int) -> None:
    if gone == "the endpoint":
        world.directory.publish("jit.woodgrove.example", None)
    else:
        world.directory.discard("customAuthenticationExtension", world.extension["id"], recycle=False)
    world.add_user()
    generic_error(await world.sign_in(LEGACY), world, number)
    world.directory.discard("authenticationEventListener", world.listener["id"], recycle=False)
    assert (await world.sign_in(LEGACY)).outcome == "wrong password"

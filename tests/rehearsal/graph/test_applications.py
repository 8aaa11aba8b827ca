"""Applications, service principals, certificates, identifier URIs and directory extensions."""

from __future__ import annotations

import base64
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from jitkit.rehearsal.tenant import RehearsalTenant

from .bodies import created, message, new_principal, person

ENDS = datetime.now(UTC).replace(microsecond=0) + timedelta(days=365)
CREATE = {"Prefer": "create-if-missing"}
APP = {"displayName": "Odd"}


@pytest.fixture(scope="module")
def certificate() -> bytes:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "JitMigration")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(ENDS - timedelta(days=366))
        .not_valid_after(ENDS)
        .sign(key, hashes.SHA256())
    )
    return made.public_bytes(serialization.Encoding.DER)


def entry(certificate: bytes, key_id: str, usage: str = "Encrypt") -> dict[str, Any]:
    return {
        "keyId": key_id,
        "type": "AsymmetricX509Cert",
        "usage": usage,
        "key": base64.b64encode(certificate).decode(),
        "displayName": "CN=JitMigration",
    }


async def make(graph: httpx.AsyncClient, **body: Any) -> dict[str, Any]:
    return await created(graph, "/applications", {"displayName": "JIT", "signInAudience": "AzureADMyOrg", **body})


async def test_the_sdk_makes_finds_and_changes_an_application(sdk: Any) -> None:
    from msgraph.generated.applications.applications_request_builder import ApplicationsRequestBuilder as Apps
    from msgraph.generated.models.api_application import ApiApplication
    from msgraph.generated.models.application import Application
    from msgraph.generated.models.required_resource_access import RequiredResourceAccess
    from msgraph.generated.models.resource_access import ResourceAccess

    role = ResourceAccess(id=uuid.UUID("214e810f-fda8-4fd7-a475-29461495eb00"), type="Role")
    made = await sdk.applications.post(
        Application(
            display_name="JIT password check",
            sign_in_audience="AzureADMyOrg",
            api=ApiApplication(requested_access_token_version=2),
            required_resource_access=[
                RequiredResourceAccess(resource_app_id="00000003-0000-0000-c000-000000000000", resource_access=[role])
            ],
        )
    )
    uri = f"api://jit.example/{made.app_id}"
    await sdk.applications.by_application_id(made.id).patch(Application(identifier_uris=[uri]))

    query = Apps.ApplicationsRequestBuilderGetQueryParameters(
        filter="displayName eq 'JIT password check'", select=["id", "identifierUris", "api"]
    )
    from kiota_abstractions.base_request_configuration import RequestConfiguration

    found = await sdk.applications.get(request_configuration=RequestConfiguration(query_parameters=query))
    assert [app.identifier_uris for app in found.value] == [[uri]]
    assert found.value[0].api.requested_access_token_version == 2
    assert found.value[0].display_name is None
    again = await sdk.applications_with_app_id(made.app_id).get()
    assert again.id == made.id
    assert again.required_resource_access[0].resource_access[0].id == role.id


async def test_an_application_brings_no_service_principal(graph: httpx.AsyncClient) -> None:
    app = await make(graph)
    answer = await graph.get(f"/servicePrincipals(appId='{app['appId']}')")
    assert message(answer).startswith("404 Request_ResourceNotFound")


async def test_identifier_uris_are_unique_and_do_not_end_with_a_slash(graph: httpx.AsyncClient) -> None:
    first, second = await make(graph), await make(graph)
    uri = f"api://jit.example/{first['appId']}"
    assert (await graph.patch(f"/applications/{first['id']}", json={"identifierUris": [uri]})).status_code == 204
    taken = await graph.patch(f"/applications/{second['id']}", json={"identifierUris": [uri.upper()]})
    assert "same value for property identifierUris already exists" in message(taken)
    slash = await graph.patch(f"/applications/{second['id']}", json={"identifierUris": ["api://jit.example/"]})
    assert message(slash).startswith("400 Request_BadRequest")


async def test_a_public_key_is_shown_only_when_one_application_is_asked_for_it(
    graph: httpx.AsyncClient, certificate: bytes
) -> None:
    app, key_id = await make(graph), str(uuid.uuid4())
    url = f"/applications/{app['id']}"
    sent = {"keyCredentials": [entry(certificate, key_id)], "tokenEncryptionKeyId": key_id}
    assert (await graph.patch(url, json=sent)).status_code == 204

    plain = (await graph.get(url)).json()
    assert plain["tokenEncryptionKeyId"] == key_id
    assert plain["keyCredentials"][0]["key"] is None
    assert plain["keyCredentials"][0]["endDateTime"] == ENDS.strftime("%Y-%m-%dT%H:%M:%SZ")
    listed = (await graph.get("/applications", params={"$select": "keyCredentials"})).json()["value"]
    assert all(item["key"] is None for each in listed for item in each["keyCredentials"])
    whole = (await graph.get(url, params={"$select": "keyCredentials"})).json()
    assert base64.b64decode(whole["keyCredentials"][0]["key"]) == certificate


async def test_a_patch_replaces_the_list_of_keys_and_keeps_those_named_without_their_bytes(
    graph: httpx.AsyncClient, certificate: bytes
) -> None:
    app, old, new = await make(graph), str(uuid.uuid4()), str(uuid.uuid4())
    url = f"/applications/{app['id']}"
    await graph.patch(url, json={"keyCredentials": [entry(certificate, old)]})
    present = (await graph.get(url)).json()["keyCredentials"]
    await graph.patch(url, json={"keyCredentials": [*present, entry(certificate, new)]})
    kept = (await graph.get(url, params={"$select": "keyCredentials"})).json()["keyCredentials"]
    assert [item["keyId"] for item in kept] == [old, new]
    assert all(base64.b64decode(item["key"]) == certificate for item in kept)

    await graph.patch(url, json={"keyCredentials": [entry(certificate, new)]})
    assert [item["keyId"] for item in (await graph.get(url)).json()["keyCredentials"]] == [new]


@pytest.mark.parametrize("usage", [None, "Verify"])
async def test_tokens_are_encrypted_only_for_a_key_made_for_it(
    graph: httpx.AsyncClient, certificate: bytes, usage: str | None
) -> None:
    app, key_id = await make(graph), str(uuid.uuid4())
    keys = [entry(certificate, key_id, usage)] if usage else []
    answer = await graph.patch(
        f"/applications/{app['id']}", json={"keyCredentials": keys, "tokenEncryptionKeyId": key_id}
    )
    assert "tokenEncryptionKeyId" in message(answer)
    assert (await graph.get(f"/applications/{app['id']}")).json()["keyCredentials"] == []


async def test_removing_the_key_that_tokens_are_encrypted_with_is_refused(
    graph: httpx.AsyncClient, certificate: bytes
) -> None:
    app, key_id = await make(graph), str(uuid.uuid4())
    url = f"/applications/{app['id']}"
    await graph.patch(url, json={"keyCredentials": [entry(certificate, key_id)], "tokenEncryptionKeyId": key_id})
    assert (await graph.patch(url, json={"keyCredentials": []})).status_code == 400
    assert (await graph.patch(url, json={"tokenEncryptionKeyId": None, "keyCredentials": []})).status_code == 204


async def test_a_bare_public_key_is_not_a_certificate(graph: httpx.AsyncClient) -> None:
    app = await make(graph)
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048).public_key()
    spki = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    answer = await graph.patch(f"/applications/{app['id']}", json={"keyCredentials": [entry(spki, str(uuid.uuid4()))]})
    assert "not a valid X.509 certificate" in message(answer)
    assert (await graph.get(f"/applications/{app['id']}")).json()["keyCredentials"] == []


async def test_dates_outside_the_certificate_are_refused(graph: httpx.AsyncClient, certificate: bytes) -> None:
    app = await make(graph)
    late = {**entry(certificate, str(uuid.uuid4())), "endDateTime": (ENDS + timedelta(days=2)).isoformat()}
    assert "validity" in message(await graph.patch(f"/applications/{app['id']}", json={"keyCredentials": [late]}))


async def test_a_deleted_application_can_be_restored_or_removed_for_good(graph: httpx.AsyncClient) -> None:
    app = await make(graph)
    await graph.post("/servicePrincipals", json={"appId": app["appId"]})
    assert (await graph.delete(f"/applications/{app['id']}")).status_code == 204
    assert (await graph.get(f"/applications/{app['id']}")).status_code == 404
    assert (await graph.get(f"/servicePrincipals(appId='{app['appId']}')")).status_code == 404
    bin_ = (await graph.get("/directory/deletedItems/microsoft.graph.application")).json()["value"]
    assert [item["id"] for item in bin_] == [app["id"]]
    assert bin_[0]["deletedDateTime"]

    assert (await graph.post(f"/directory/deletedItems/{app['id']}/restore")).status_code == 200
    assert (await graph.get(f"/applications/{app['id']}")).json()["appId"] == app["appId"]
    await graph.delete(f"/applications/{app['id']}")
    assert (await graph.delete(f"/directory/deletedItems/{app['id']}")).status_code == 204
    assert (await graph.get(f"/directory/deletedItems/{app['id']}")).status_code == 404


async def test_an_extension_property_carries_the_app_id_of_its_owner(sdk: Any, tenant: Any) -> None:
    from msgraph.generated.models.extension_property import ExtensionProperty

    owner = tenant.directory.all("application")[0]
    body = ExtensionProperty(name="toBeMigrated", data_type="Boolean", target_objects=["User"])
    properties = sdk.applications.by_application_id(owner["id"]).extension_properties
    made = await properties.post(body)
    assert made.name == f"extension_{owner['appId'].replace('-', '')}_toBeMigrated"
    listed = (await properties.get()).value
    assert [item.name.rsplit("_", 1)[1] for item in listed] == ["useAccountEnabledForPhone", "toBeMigrated"]
    assert {item.app_display_name for item in listed} == {""}

    from msgraph.generated.models.o_data_errors.o_data_error import ODataError

    with pytest.raises(ODataError) as refused:
        await properties.post(body)
    assert refused.value.response_status_code == 400
    await properties.by_extension_property_id(made.id).delete()
    assert len((await properties.get()).value) == 1


@pytest.mark.parametrize(
    "body",
    [
        {"name": "flag", "dataType": "boolean", "targetObjects": ["User"]},
        {"name": "flag", "dataType": "Boolean", "targetObjects": []},
        {"name": "a flag", "dataType": "Boolean", "targetObjects": ["User"]},
        {"name": "flag", "dataType": "Boolean", "targetObjects": ["user"]},
    ],
)
async def test_an_extension_property_with_wrong_parts_is_refused(
    graph: httpx.AsyncClient, tenant: Any, body: dict[str, Any]
) -> None:
    owner = tenant.directory.all("application")[0]["id"]
    assert message(await graph.post(f"/applications/{owner}/extensionProperties", json=body)).startswith("400 ")


async def test_an_application_is_made_or_changed_by_its_unique_name(graph: httpx.AsyncClient) -> None:
    path = "/applications(uniqueName='jit-login')"
    assert (await graph.patch(path, json={"displayName": "JIT"})).status_code == 404
    made = await graph.patch(path, json={"displayName": "JIT"}, headers=CREATE)
    assert (made.status_code, made.json()["uniqueName"]) == (201, "jit-login")
    assert (await graph.patch(path, json={"displayName": "New"}, headers=CREATE)).status_code == 204
    found = (await graph.get(path)).json()
    assert (found["id"], found["displayName"]) == (made.json()["id"], "New")
    assert "cannot be changed" in message(await graph.patch(path, json={"uniqueName": "other"}))
    taken = await graph.post("/applications", json={"displayName": "JIT", "uniqueName": "jit-login"})
    assert "same value for property uniqueName already exists" in message(taken)
    assert (await graph.delete(path)).status_code == 204


async def test_a_principal_is_made_or_changed_by_its_app_id(graph: httpx.AsyncClient) -> None:
    app = (await graph.post("/applications", json={"displayName": "JIT"})).json()
    path = f"/servicePrincipals(appId='{app['appId']}')"
    assert (await graph.patch(path, json={"notes": "x"})).status_code == 404
    made = await graph.patch(path, json={"notes": "x"}, headers=CREATE)
    assert (made.status_code, made.json()["appId"], made.json()["notes"]) == (201, app["appId"], "x")
    assert (await graph.patch(path, json={"notes": "y"}, headers=CREATE)).status_code == 204
    assert (await graph.get(path)).json()["notes"] == "y"
    unknown = await graph.patch(f"/servicePrincipals(appId='{uuid.uuid4()}')", json={}, headers=CREATE)
    assert "does not reference a valid application object" in message(unknown)


@pytest.mark.parametrize(
    ("form", "taken"),
    [
        ("api://{app}", True),
        ("api://jit.woodgrove.example/{app}", True),
        ("api://{tenant}/jit", True),
        ("https://{domain}/jit", True),
        ("https://api.{domain}", True),
        ("api://jit.woodgrove.example", False),
        ("https://woodgrove.example/jit", False),
        ("https://{domain}.example/jit", False),
    ],
)
async def test_an_identifier_uri_says_whose_it_is(
    graph: httpx.AsyncClient, tenant: RehearsalTenant, form: str, taken: bool
) -> None:
    body = {"displayName": "JIT", "signInAudience": "AzureADMyOrg"}
    app = (await graph.post("/applications", json=body)).json()
    path = f"/applications/{app['id']}"
    uri = form.format(app=app["appId"], tenant=tenant.tenant_id, domain=tenant.domain)
    answer = await graph.patch(path, json={"identifierUris": [uri]})
    assert answer.status_code == (204 if taken else 400)
    if not taken:
        assert f"Failed to add identifier URI {uri}" in message(answer)
        # An application that takes version 2 tokens need not care, and what is there may stay.
        sent = {"identifierUris": [uri], "api": {"requestedAccessTokenVersion": 2}}
        assert (await graph.patch(path, json=sent)).status_code == 204
        assert (await graph.patch(path, json={"api": {"requestedAccessTokenVersion": 1}})).status_code == 204
        own = f"api://{app['appId']}"
        assert (await graph.patch(path, json={"identifierUris": [uri, own]})).status_code == 204


async def test_an_application_for_saml_may_have_any_identifier_uri(graph: httpx.AsyncClient) -> None:
    app = (await graph.post("/applications", json={"displayName": "S", "signInAudience": "AzureADMyOrg"})).json()
    await graph.post("/servicePrincipals", json={"appId": app["appId"], "preferredSingleSignOnMode": "saml"})
    sent = {"identifierUris": ["https://signin.example/saml"]}
    assert (await graph.patch(f"/applications/{app['id']}", json=sent)).status_code == 204


@pytest.mark.parametrize("audience", ["Bogus", ""])
async def test_an_audience_is_one_of_four(graph: httpx.AsyncClient, audience: str) -> None:
    made = (await graph.post("/applications", json={**APP, "signInAudience": None})).json()
    assert made["signInAudience"] == "AzureADandPersonalMicrosoftAccount"
    for answer in (
        await graph.post("/applications", json={**APP, "signInAudience": audience}),
        await graph.patch(f"/applications/{made['id']}", json={"signInAudience": audience}),
        await graph.patch(f"/applications/{made['id']}", json={"signInAudience": None}),
    ):
        assert message(answer).startswith("400 Request_BadRequest")


async def test_what_is_required_cannot_be_taken_away_again(graph: httpx.AsyncClient, tenant: RehearsalTenant) -> None:
    app, id = (
        (await graph.post("/applications", json=APP)).json(),
        (await created(graph, "/users", person(tenant, "ada@x.example")))["id"],
    )
    for path in (f"/applications/{app['id']}", f"/users/{id}"):
        for name in (None, ""):
            assert "A value is required" in message(await graph.patch(path, json={"displayName": name}))
    await graph.post("/servicePrincipals", json={"appId": app["appId"]})
    principal = f"/servicePrincipals(appId='{app['appId']}')"
    assert "read-only" in message(await graph.patch(principal, json={"appId": id}))
    assert (await graph.patch(principal, json={"appId": app["appId"], "notes": "x"})).status_code == 204


async def test_one_principal_for_an_application(graph: httpx.AsyncClient) -> None:
    own = await new_principal(graph, "JIT")
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
    own = await new_principal(graph, "JIT")
    assert (await graph.patch(f"/servicePrincipals/{own['id']}", json={"accountEnabled": False})).status_code == 204
    assert (await graph.get(f"/servicePrincipals/{own['id']}")).json()["accountEnabled"] is False
    assert (await graph.delete(f"/servicePrincipals/{own['id']}")).status_code == 204
    listed = (await graph.get("/directory/deletedItems/microsoft.graph.servicePrincipal")).json()["value"]
    assert [item["id"] for item in listed] == [own["id"]]

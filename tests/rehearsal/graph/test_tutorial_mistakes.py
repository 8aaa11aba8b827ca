"""The first tutorial's steps that do not work, refused as they are by the service."""

from __future__ import annotations

import base64
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from jitkit.rehearsal.tenant import RehearsalTenant

from .bodies import message, person
from .test_extensions import extension, listener

BETA = "https://graph.microsoft.com/beta"
EXTENSIONS, LISTENERS = "/identity/customAuthenticationExtensions", "/identity/authenticationEventListeners"


def bare_public_key(private_key: rsa.RSAPrivateKey) -> str:
    """A public key without a certificate around it, in base64, as the tutorial's script makes one."""
    spki = private_key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return base64.b64encode(spki).decode()


@pytest.mark.parametrize("root", ["", BETA])
async def test_migration_attribute_id_is_no_property_of_the_handler(graph: httpx.AsyncClient, root: str) -> None:
    stored = (await graph.post(EXTENSIONS, json=extension())).json()["id"]
    body = listener(stored)
    body["handler"]["migrationAttributeId"] = body["handler"].pop("migrationPropertyId")
    said = message(await graph.post(f"{root}{LISTENERS}", json=body))
    assert said.startswith("400 BadRequest: The property 'migrationAttributeId' does not exist on type")
    assert "onPasswordMigrationCustomExtensionHandler" in said
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


async def test_a_bare_public_key_is_no_key_credential(
    graph: httpx.AsyncClient, tenant: RehearsalTenant, private_key: rsa.RSAPrivateKey
) -> None:
    app = (await graph.post("/applications", json={"displayName": "JIT"})).json()
    key = {"type": "AsymmetricX509Cert", "usage": "Encrypt", "key": bare_public_key(private_key)}
    answer = await graph.patch(f"/applications/{app['id']}", json={"keyCredentials": [key]})
    assert message(answer).startswith("400 Request_BadRequest: Key credential")
    assert tenant.directory.get("application", app["id"])["keyCredentials"] == []  # type: ignore[index]


async def test_is_migrated_is_no_property_of_a_user(graph: httpx.AsyncClient, tenant: RehearsalTenant) -> None:
    said = message(await graph.post("/users", json=person(tenant, "ada@x.example", isMigrated=False)))
    assert said.startswith("400 Request_BadRequest: The property 'isMigrated' does not exist")

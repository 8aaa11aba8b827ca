"""Keys, OpenID documents and tokens, as a client and as an endpoint meet them."""

from __future__ import annotations

import datetime
import ipaddress
import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from azure.core.exceptions import ClientAuthenticationError
from azure.identity.aio import ClientSecretCredential
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from jwcrypto import jwk, jws

from jitkit.errors import KitError, NotReady, SettingsError
from jitkit.rehearsal import identity
from jitkit.rehearsal.serve import DocumentServer, serve
from jitkit.rehearsal.tenant import RehearsalTenant

GRAPH = "https://graph.microsoft.com"
LOGIN = "login.microsoftonline.com"


async def documents(tenant: RehearsalTenant, host: str) -> tuple[dict[str, Any], set[str]]:
    """Fetch the configuration under a host and the key ids it leads to."""
    async with httpx.AsyncClient(transport=tenant.transport()) as client:
        found = await client.get(f"https://{host}/{tenant.tenant_id}/v2.0/.well-known/openid-configuration")
        keys = await client.get(found.json()["jwks_uri"])
    return found.json(), {key["kid"] for key in keys.json()["keys"]}


async def test_the_two_documents_have_overlapping_but_different_keys(tenant: RehearsalTenant) -> None:
    ciam, ciam_keys = await documents(tenant, f"{tenant.subdomain}.ciamlogin.com")
    login, login_keys = await documents(tenant, LOGIN)
    assert ciam["issuer"] == f"https://{tenant.tenant_id}.ciamlogin.com/{tenant.tenant_id}/v2.0"
    assert login["issuer"] == f"https://{LOGIN}/{tenant.tenant_id}/v2.0"
    assert ciam_keys & login_keys
    assert ciam_keys - login_keys
    assert login_keys - ciam_keys


async def test_the_subdomain_and_the_tenant_id_lead_to_the_same_document(tenant: RehearsalTenant) -> None:
    by_name, _ = await documents(tenant, f"{tenant.subdomain}.ciamlogin.com")
    by_id, _ = await documents(tenant, f"{tenant.tenant_id}.ciamlogin.com")
    assert by_name["issuer"] == by_id["issuer"]
    assert by_id["jwks_uri"].startswith(f"https://{tenant.tenant_id}.ciamlogin.com/")


async def test_published_keys_hold_no_private_part(tenant: RehearsalTenant) -> None:
    async with httpx.AsyncClient(transport=tenant.transport()) as client:
        keys = await client.get(f"https://{LOGIN}/{tenant.tenant_id}/discovery/v2.0/keys")
    for key in keys.json()["keys"]:
        assert set(key) == {"kty", "use", "kid", "n", "e"}


async def test_another_tenant_is_not_found(tenant: RehearsalTenant) -> None:
    async with httpx.AsyncClient(transport=tenant.transport()) as client:
        answer = await client.get(f"https://{LOGIN}/contoso.onmicrosoft.com/v2.0/.well-known/openid-configuration")
    assert (answer.status_code, answer.json()["error_codes"]) == (400, [90002])


def test_keys_stay_the_same_when_the_tenant_is_opened_again(seeded: Path, tenant: RehearsalTenant) -> None:
    token = identity.issue_token(tenant.directory, audience=GRAPH, client_app_id="a", roles=["User.Read.All"])
    tenant.close()
    again = RehearsalTenant.open(tenant.path)
    claims = identity.read_access_token(again.directory, token)
    again.close()
    assert claims
    assert claims["roles"] == ["User.Read.All"]


def test_a_delegated_token_has_scopes_and_no_roles(tenant: RehearsalTenant) -> None:
    token = identity.issue_token(tenant.directory, audience=GRAPH, client_app_id="a", scopes=["User.Read", "openid"])
    claims = identity.read_access_token(tenant.directory, token)
    assert claims
    assert claims["scp"] == "User.Read openid"
    assert "roles" not in claims


def spoilt_tokens(tenant: RehearsalTenant) -> Iterator[tuple[str, str]]:
    good = identity.issue_token(tenant.directory, audience=GRAPH, client_app_id="a")
    head, body, signature = good.split(".")
    claims = {"aud": GRAPH, "nbf": int(time.time()), "exp": int(time.time()) + 600}
    yield "expired", identity.issue_token(tenant.directory, audience=GRAPH, client_app_id="a", lifetime=-1)
    yield "other audience", identity.issue_token(tenant.directory, audience="api://other", client_app_id="a")
    yield "key of the other document", identity.sign(tenant.directory, claims, use="callout")
    yield "no signature", f"{head}.{body}."
    yield "changed", f"{head}.{body[:-4]}AAAA.{signature}"
    yield "not a token", "abc"
    foreign = jws.JWS(json.dumps(claims).encode())
    foreign.add_signature(jwk.JWK.generate(kty="RSA", size=2048), protected='{"alg":"RS256"}')
    yield "foreign key", foreign.serialize(compact=True)
    symmetric = jws.JWS(json.dumps(claims).encode())
    symmetric.add_signature(jwk.JWK.generate(kty="oct", size=256), protected='{"alg":"HS256"}')
    yield "symmetric", symmetric.serialize(compact=True)


def test_tokens_that_graph_must_not_accept(tenant: RehearsalTenant) -> None:
    assert identity.read_access_token(
        tenant.directory, identity.issue_token(tenant.directory, audience=GRAPH, client_app_id="a")
    )
    accepted = [
        name for name, token in spoilt_tokens(tenant) if identity.read_access_token(tenant.directory, token) is not None
    ]
    assert accepted == []


# --- the token endpoint --------------------------------------------------------------------------------------------


def form(tenant: RehearsalTenant, **changed: str | None) -> dict[str, str]:
    filled = {
        "grant_type": "client_credentials",
        "client_id": tenant.directory.meta("admin_client_id"),
        "client_secret": tenant.directory.meta("admin_client_secret"),
        "scope": f"{GRAPH}/.default",
        **changed,
    }
    return {name: value for name, value in filled.items() if value is not None}


async def ask(tenant: RehearsalTenant, fields: dict[str, str]) -> httpx.Response:
    async with httpx.AsyncClient(transport=tenant.transport()) as client:
        return await client.post(f"https://{LOGIN}/{tenant.tenant_id}/oauth2/v2.0/token", data=fields)


async def test_the_administrators_client_gets_a_token_that_graph_accepts(tenant: RehearsalTenant) -> None:
    answer = await ask(tenant, form(tenant))
    assert (answer.status_code, answer.json()["token_type"]) == (200, "Bearer")
    token = answer.json()["access_token"]
    async with httpx.AsyncClient(transport=tenant.transport()) as client:
        domains = await client.get(f"{GRAPH}/v1.0/domains", headers={"Authorization": f"Bearer {token}"})
    assert domains.json()["value"][0]["id"] == tenant.domain


@pytest.mark.parametrize(
    ("changed", "status", "error", "code"),
    [
        ({"client_secret": "wrong"}, 401, "invalid_client", 7000215),
        ({"client_id": "11111111-1111-1111-1111-111111111111"}, 400, "unauthorized_client", 700016),
        ({"scope": "https://other.example/.default"}, 400, "invalid_resource", 500011),
        ({"scope": None}, 400, "invalid_request", 900144),
        ({"grant_type": "password"}, 400, "unsupported_grant_type", 70003),
    ],
)
async def test_token_requests_that_are_refused(
    tenant: RehearsalTenant, changed: dict[str, str | None], status: int, error: str, code: int
) -> None:
    answer = await ask(tenant, form(tenant, **changed))
    body = answer.json()
    assert (answer.status_code, body["error"], body["error_codes"]) == (status, error, [code])
    assert body["error_description"].startswith(f"AADSTS{code}: ")
    assert {"timestamp", "trace_id", "correlation_id", "error_uri"} < set(body)
    assert "wrong" not in body["error_description"]


@pytest.fixture
def over_tls(tenant: RehearsalTenant, tmp_path: Path) -> Iterator[tuple[str, str]]:
    """The tenant's application behind real TLS: its address and the path of the certificate to trust."""
    key = rsa.generate_private_key(65537, 2048)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(now).not_valid_after(now + datetime.timedelta(days=1))
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost"), address]), critical=False)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    public, private = tmp_path / "ca.pem", tmp_path / "key.pem"
    public.write_bytes(builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    listening = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        tenant.app, log_level="error", lifespan="off", ssl_certfile=str(public), ssl_keyfile=str(private)
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    yield f"https://localhost:{listening.getsockname()[1]}", str(public)
    server.should_exit = True
    thread.join()


async def test_azure_identity_gets_a_token_with_the_client_secret(
    tenant: RehearsalTenant, over_tls: tuple[str, str]
) -> None:
    authority, ca = over_tls
    credential = ClientSecretCredential(
        tenant.tenant_id,
        form(tenant)["client_id"],
        form(tenant)["client_secret"],
        authority=authority,
        disable_instance_discovery=True,
        connection_verify=ca,
    )
    async with credential:
        token = await credential.get_token(f"{GRAPH}/.default")
    claims = identity.read_access_token(tenant.directory, token.token)
    assert claims
    assert claims["tid"] == tenant.tenant_id
    assert set(claims["roles"]) == set(identity.ADMINISTRATOR_PERMISSIONS)


async def test_azure_identity_reports_a_wrong_secret(tenant: RehearsalTenant, over_tls: tuple[str, str]) -> None:
    authority, ca = over_tls
    credential = ClientSecretCredential(
        tenant.tenant_id,
        form(tenant)["client_id"],
        "not-the-secret",
        authority=authority,
        disable_instance_discovery=True,
        connection_verify=ca,
    )
    async with credential:
        with pytest.raises(ClientAuthenticationError, match="AADSTS7000215"):
            await credential.get_token(f"{GRAPH}/.default")


# --- served on loopback --------------------------------------------------------------------------------------------


def test_the_document_server_leads_to_both_documents_and_stops(tenant: RehearsalTenant) -> None:
    server = DocumentServer(tenant)
    with pytest.raises(NotReady):
        _ = server.urls
    server.start()
    server.start()
    urls = server.urls
    issuers, kids = [], []
    for url in urls:
        document = httpx.get(url).json()
        assert document["jwks_uri"].startswith(url.split(f"/{tenant.tenant_id}")[0])
        issuers.append(document["issuer"])
        kids.append({key["kid"] for key in httpx.get(document["jwks_uri"]).json()["keys"]})
    assert issuers == [
        f"https://{tenant.tenant_id}.ciamlogin.com/{tenant.tenant_id}/v2.0",
        f"https://{LOGIN}/{tenant.tenant_id}/v2.0",
    ]
    assert kids[0] - kids[1]
    assert kids[1] - kids[0]
    assert httpx.get(urls[0].split("/v2.0")[0].rsplit("/", 1)[0] + "/v1.0/users").status_code == 404
    server.stop()
    server.stop()
    with pytest.raises(httpx.TransportError):
        httpx.get(urls[0])


def test_serving_beyond_this_machine_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"0\.0\.0\.0"):
        serve(tmp_path / "rehearsal.sqlite3", host="0.0.0.0")
    assert not (tmp_path / "rehearsal.sqlite3").exists()


def test_a_port_in_use_says_what_to_do(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(KitError, match=f"(?s)Port {port} .*another port"):
            serve(tmp_path / "rehearsal.sqlite3", port=port)
    assert not (tmp_path / "rehearsal.sqlite3").exists()

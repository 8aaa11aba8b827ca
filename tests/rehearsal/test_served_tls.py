"""A tenant served over HTTPS: the libraries that get tokens for Microsoft's services use and verify it unchanged."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msal
import pytest
from azure.core.exceptions import ClientAuthenticationError
from azure.identity import ClientSecretCredential
from azure.identity.aio import ClientSecretCredential as AsyncClientSecretCredential

from rehearsal.served import serving

SCOPE = "https://graph.microsoft.com/.default"


@pytest.fixture(scope="module")
def served(seeded: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """What `jitkit rehearsal --tls` prints."""
    with serving(seeded, tmp_path_factory.mktemp("served"), "--tls") as printed:
        yield printed


@pytest.fixture(autouse=True)
def no_other_authority(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever this machine trusts otherwise is out of play: for requests it would win over what is passed."""
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def trusted(served: dict[str, Any]) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=served["ca"])


def graph_status(served: dict[str, Any], trusted: ssl.SSLContext, token: str) -> int:
    url = f"{served['graph']}/v1.0/domains"
    return httpx.get(url, headers={"Authorization": f"Bearer {token}"}, verify=trusted).status_code


def secret(served: dict[str, Any], **options: Any) -> dict[str, Any]:
    """The arguments of a credential with a client secret, as its users give them."""
    return {
        "tenant_id": served["tenant_id"],
        "client_id": served["client_id"],
        "client_secret": served["client_secret"],
        "authority": served["authority"],
        "disable_instance_discovery": True,
        **options,
    }


def test_everything_it_names_is_https_at_localhost(served: dict[str, Any], trusted: ssl.SSLContext) -> None:
    assert served["authority"] == served["graph"]
    assert served["graph"].startswith("https://localhost:")
    for url in served["openid_configuration"]:
        document = httpx.get(url, verify=trusted).json()
        named = {name: value for name, value in document.items() if name.endswith(("_endpoint", "_uri"))}
        assert len(named) == 3
        assert all(value.startswith(f"{served['graph']}/") for value in named.values())
        assert httpx.get(document["jwks_uri"], verify=trusted).json()["keys"]
        assert document["issuer"].endswith(f"/{served['tenant_id']}/v2.0")
        assert "localhost" not in document["issuer"]


@pytest.mark.parametrize("address", ["localhost", "127.0.0.1", "[::1]"])
def test_this_machine_is_verified_by_each_of_its_names(
    served: dict[str, Any], trusted: ssl.SSLContext, address: str
) -> None:
    if address == "[::1]":
        try:
            socket.create_server(("::1", 0), family=socket.AF_INET6).close()
        except OSError:
            pytest.skip("this machine has no IPv6")
    port = httpx.URL(served["graph"]).port
    assert httpx.get(f"https://{address}:{port}/v1.0/domains", verify=trusted).status_code == 401


def test_without_its_authority_nothing_connects(served: dict[str, Any]) -> None:
    with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        httpx.get(served["graph"])
    with pytest.raises(ClientAuthenticationError, match="CERTIFICATE_VERIFY_FAILED"):
        ClientSecretCredential(**secret(served), retry_total=0).get_token(SCOPE)


def test_azure_identity_with_a_client_secret(served: dict[str, Any], trusted: ssl.SSLContext) -> None:
    with ClientSecretCredential(**secret(served, connection_verify=served["ca"])) as credential:
        assert graph_status(served, trusted, credential.get_token(SCOPE).token) == 200


def test_azure_identity_with_the_authority_named_in_the_environment(
    served: dict[str, Any], trusted: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", served["ca"])
    with ClientSecretCredential(**secret(served)) as credential:
        assert graph_status(served, trusted, credential.get_token(SCOPE, enable_cae=True).token) == 200


def test_msal_with_a_client_secret(served: dict[str, Any], trusted: ssl.SSLContext) -> None:
    options = {
        "authority": f"{served['authority']}/{served['tenant_id']}",
        "instance_discovery": False,
        "verify": served["ca"],
    }
    confidential = msal.ConfidentialClientApplication(
        served["client_id"], client_credential=served["client_secret"], **options
    )
    assert graph_status(served, trusted, confidential.acquire_token_for_client([SCOPE])["access_token"]) == 200


def sdk(served: dict[str, Any], credential: AsyncClientSecretCredential, http: httpx.AsyncClient) -> Any:
    """The Microsoft Graph SDK at another address than Microsoft's."""
    from kiota_authentication_azure.azure_identity_authentication_provider import AzureIdentityAuthenticationProvider
    from msgraph.graph_request_adapter import GraphRequestAdapter
    from msgraph.graph_service_client import GraphServiceClient

    provider = AzureIdentityAuthenticationProvider(credential, scopes=[SCOPE], allowed_hosts=["localhost"])
    adapter = GraphRequestAdapter(provider, client=http)
    adapter.base_url = f"{served['graph']}/v1.0"
    return GraphServiceClient(request_adapter=adapter)


async def test_the_graph_sdk_with_an_asynchronous_credential(served: dict[str, Any], trusted: ssl.SSLContext) -> None:
    credential = AsyncClientSecretCredential(**secret(served, connection_verify=served["ca"]))
    async with credential, httpx.AsyncClient(verify=trusted) as http, httpx.AsyncClient() as trusts_nothing_new:
        domains = await sdk(served, credential, http).domains.get()
        assert [each.is_initial for each in domains.value] == [True]
        with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            await sdk(served, credential, trusts_nothing_new).domains.get()


def test_an_interrupt_ends_it_quietly_while_a_client_keeps_a_connection(seeded: Path, tmp_path: Path) -> None:
    # The inner one ends first: it is interrupted, and must not have said a word.
    with contextlib.ExitStack() as clients, serving(seeded, tmp_path, "--tls") as printed:
        opened = clients.enter_context(
            socket.create_connection(("localhost", httpx.URL(printed["graph"]).port), timeout=60)
        )
        context = ssl.create_default_context(cafile=printed["ca"])
        kept = clients.enter_context(context.wrap_socket(opened, server_hostname="localhost"))
        kept.sendall(b"GET /v1.0/domains HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert kept.recv(4096).startswith(b"HTTP/1.1 401")

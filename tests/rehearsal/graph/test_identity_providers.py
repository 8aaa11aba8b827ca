"""Identity providers: those of every tenant, and those that are added."""

from __future__ import annotations

import httpx
import pytest

from jitkit.rehearsal import identity
from jitkit.rehearsal.tenant import RehearsalTenant

from .bodies import message

PATH = "/identity/identityProviders"


@pytest.fixture
async def providers(graph: httpx.AsyncClient, tenant: RehearsalTenant) -> httpx.AsyncClient:
    """A client whose token may change identity providers, which the administrator's may not."""
    refused = await graph.get(PATH)
    assert refused.status_code == 403
    token = identity.issue_token(
        tenant.directory, audience=identity.GRAPH, client_app_id="app", roles=["IdentityProvider.ReadWrite.All"]
    )
    graph.headers["Authorization"] = f"Bearer {token}"
    return graph


async def test_a_social_provider_is_added_once_and_its_secret_is_not_kept(
    providers: httpx.AsyncClient, tenant: RehearsalTenant
) -> None:
    built_in = {item["id"] for item in (await providers.get(PATH)).json()["value"]}
    assert "EmailPassword-OAUTH" in built_in
    body = {
        "@odata.type": "microsoft.graph.socialIdentityProvider",
        "displayName": "Login with Google",
        "identityProviderType": "Google",
        "clientId": "56433757-cadd-4135-8431-2c9e3fd68ae8",
        "clientSecret": "Kanarienvogel",
    }
    made = await providers.post(PATH, json=body)
    assert (made.status_code, made.json()["id"]) == (201, "Google-OAUTH")
    assert "exists already" in message(await providers.post(PATH, json=body))
    found = await providers.get(f"{PATH}/Google-OAUTH")
    assert found.json()["clientId"] == body["clientId"]
    assert "Kanarienvogel" not in made.text + found.text
    files = [path for path in tenant.path.parent.iterdir() if path.name.startswith(tenant.path.name)]
    assert not any(b"Kanarienvogel" in path.read_bytes() for path in files)
    assert (await providers.delete(f"{PATH}/Google-OAUTH")).status_code == 204
    assert {item["id"] for item in (await providers.get(PATH)).json()["value"]} == built_in


async def test_a_provider_needs_its_parts_and_a_built_in_one_stays(providers: httpx.AsyncClient) -> None:
    body = {"@odata.type": "microsoft.graph.socialIdentityProvider", "identityProviderType": "Google"}
    assert "are required" in message(await providers.post(PATH, json=body))
    assert "built-in" in message(await providers.delete(f"{PATH}/EmailPassword-OAUTH"))
    assert message(await providers.get(f"{PATH}/Google-OAUTH")).startswith("404 ResourceNotFound")

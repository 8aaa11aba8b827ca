"""The rehearsal tenant's Graph, through the real SDK and as plain HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from jitkit.rehearsal.tenant import RehearsalTenant


@pytest.fixture
async def graph(tenant: RehearsalTenant) -> AsyncIterator[httpx.AsyncClient]:
    """Plain HTTP with the administrator's token."""
    token = (await tenant.credential().get_token("https://graph.microsoft.com/.default")).token
    async with httpx.AsyncClient(
        transport=tenant.transport(),
        base_url="https://graph.microsoft.com/v1.0",
        headers={"Authorization": f"Bearer {token}"},
    ) as client:
        yield client


@pytest.fixture
def sdk(tenant: RehearsalTenant) -> Any:
    """The Microsoft Graph SDK, wired as for a real tenant but for the transport."""
    from kiota_authentication_azure.azure_identity_authentication_provider import AzureIdentityAuthenticationProvider
    from msgraph.graph_request_adapter import GraphRequestAdapter, options
    from msgraph.graph_service_client import GraphServiceClient
    from msgraph_core import GraphClientFactory

    http = GraphClientFactory.create_with_default_middleware(
        client=httpx.AsyncClient(transport=tenant.transport()), options=options
    )
    provider = AzureIdentityAuthenticationProvider(
        tenant.credential(),
        scopes=["https://graph.microsoft.com/.default"],
        allowed_hosts=["graph.microsoft.com"],
    )
    adapter = GraphRequestAdapter(provider, client=http)
    adapter.base_url = "https://graph.microsoft.com/v1.0"
    return GraphServiceClient(request_adapter=adapter)


@pytest.fixture
async def flag(graph: httpx.AsyncClient) -> str:
    """The full name of a migration flag, registered on the tenant's extensions application."""
    found = await graph.get("/applications", params={"$filter": "startswith(displayName,'b2c-extensions-app')"})
    owner = found.json()["value"][0]["id"]
    made = await graph.post(
        f"/applications/{owner}/extensionProperties",
        json={"name": "toBeMigrated", "dataType": "Boolean", "targetObjects": ["User"]},
    )
    assert made.status_code == 201
    return str(made.json()["name"])

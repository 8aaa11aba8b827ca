"""`pytest tests/live --live`: the contract checks, pointed at the real tenant that notebook 00 chose."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio

from helpers import live, settings
from helpers.graph import Change, RecordingTransport
from live.tagged import Tagged

ROOT = "https://graph.microsoft.com/v1.0"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--live", action="store_true", help="run the contract checks against your own tenant; asks first")


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Run in this process: the question before the first write needs the terminal."""
    if config.getoption("--live", default=False):
        config.option.numprocesses = 0
        config.option.dist = "no"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    why = None
    if not config.getoption("--live", default=False):
        why = "needs a tenant of your own: pytest tests/live --live"
    elif os.environ.get("CI"):
        why = "never runs in CI: it asks before it writes"
    for item in items:
        if why and item.get_closest_marker("real_tenant"):
            item.add_marker(pytest.mark.skip(reason=why))


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "real_tenant: runs against a real tenant, with --live only")


class Bearer(httpx.Auth):
    """Put a token of the credential on a request as it leaves."""

    def __init__(self, credential: Any, scopes: list[str]) -> None:
        self._credential, self._scopes = credential, scopes

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        request.headers["Authorization"] = f"Bearer {(await self._credential.get_token(*self._scopes)).token}"
        yield request


def client_of(
    credential: Any, scopes: list[str], transport: httpx.AsyncBaseTransport, before_write: Any
) -> httpx.AsyncClient:
    """A client of a tenant's Graph that asks before its first write."""

    async def once(_: Change) -> None:
        # Everything that a run changes it made itself, under its tag.
        await before_write(Change("Make objects with the tag of this run, change them, and remove them again"))

    return httpx.AsyncClient(
        transport=RecordingTransport(transport, once if before_write else None),
        base_url=ROOT,
        auth=Bearer(credential, scopes),
        timeout=100,
    )


async def external_domain(reading: httpx.AsyncClient) -> str:
    """The initial domain of an external tenant; no other kind is tried out."""
    answer = await reading.get("/organization?$select=tenantType,verifiedDomains")
    tenant = answer.raise_for_status().json()["value"][0]
    assert tenant.get("tenantType") == "CIAM", f"not an external tenant: {tenant.get('tenantType')}"
    return str(next(each["name"] for each in tenant["verifiedDomains"] if each["isInitial"]))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def real(request: pytest.FixtureRequest) -> AsyncIterator[Tagged]:
    """The tenant of the live profile. Everything this module makes is removed when it is done."""
    folder = settings.home()
    profile = settings.load(folder, "live")
    credential = live.LiveCredential(profile)
    capture = request.config.pluginmanager.getplugin("capturemanager")

    def ask(question: str) -> str:
        with capture.global_and_fixture_disabled():
            return input(f"\n{question}")

    async with client_of(credential, credential.scopes, live.transport(), None) as reading:
        domain = await external_domain(reading)
    confirmation = live.Confirmation(domain, ask)
    async with client_of(credential, credential.scopes, live.transport(), confirmation) as client:
        run = Tagged(client, notes=folder / "contract-tags.txt")
        try:
            yield run
        finally:
            left = await run.clean()
            await credential.close()
    assert left == [], f"left in the tenant, to be removed by hand: {left}"

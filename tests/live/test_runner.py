"""The live runner, tried on a rehearsal tenant as if it were a real one: what it asks, makes, removes, leaves alone."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from helpers import live
from jitkit.errors import WriteNotConfirmed
from jitkit.rehearsal import switches
from jitkit.rehearsal.tenant import RehearsalTenant
from live import checks
from live.conftest import client_of, external_domain
from live.tagged import Tagged

KEPT = "jitkit-contract, but another administrator's"


@pytest.fixture
def tenant(untouched: Path, tmp_path: Path) -> Iterator[RehearsalTenant]:
    """A tenant in which another administrator has objects too."""
    path = shutil.copy(untouched, tmp_path / "rehearsal.sqlite3")
    tenant = RehearsalTenant.open(path)
    yield tenant
    tenant.close()


@pytest.fixture
async def client(tenant: RehearsalTenant) -> AsyncIterator[httpx.AsyncClient]:
    confirmation = live.Confirmation(tenant.domain, lambda _: tenant.domain)
    async with client_of(tenant.credential(), ["x"], tenant.transport(), confirmation) as client:
        await client.post("/applications", json={"displayName": KEPT})
        yield client


def held(tenant: RehearsalTenant) -> dict[str, int]:
    """What is in the tenant, its recycle bin included."""
    objects = tenant.directory.rows("SELECT kind, count(*) AS n FROM objects GROUP BY kind")
    users = tenant.directory.rows("SELECT count(*) AS n FROM users")
    return {**{row["kind"]: row["n"] for row in objects}, "user": users[0]["n"]}


async def test_only_an_external_tenant_is_tried_out(client: httpx.AsyncClient, tenant: RehearsalTenant) -> None:
    """H3: before anything is made, in this runner too."""
    assert await external_domain(client) == tenant.domain
    switches.write(tenant.directory, "tenant_type", "AAD B2C")
    with pytest.raises(AssertionError, match="AAD B2C"):
        await external_domain(client)


async def test_every_check_holds_and_nothing_is_left(client: httpx.AsyncClient, tenant: RehearsalTenant) -> None:
    before, run = held(tenant), Tagged(client)
    for check in checks.CHECKS.values():
        await check(run)
    assert held(tenant) != before
    assert await run.clean() == []
    assert held(tenant) == before


@pytest.mark.parametrize("id", ["ael-get", "app-update-jit-encryption-key", "user-update"])
async def test_after_a_failure_nothing_is_left_either(
    client: httpx.AsyncClient, tenant: RehearsalTenant, monkeypatch: pytest.MonkeyPatch, id: str
) -> None:
    before, run = held(tenant), Tagged(client)
    await checks.grant(run)
    monkeypatch.setitem(checks.EXAMPLES, id, {**checks.EXAMPLES[id], "response": {"status": 418, "body": None}})
    monkeypatch.setattr(checks.examples, "differences", lambda *_: ["something else"])
    with pytest.raises(AssertionError):
        await checks.CHECKS[id](run)
    assert held(tenant) != before
    assert await run.clean() == []
    assert held(tenant) == before


async def test_what_came_into_being_without_an_answer_is_found_by_its_tag(
    client: httpx.AsyncClient, tenant: RehearsalTenant
) -> None:
    before, run = held(tenant), Tagged(client)
    await client.post("/applications", json={"displayName": f"{run.tag} lost"})
    assert await run.clean() == []
    assert held(tenant) == before


async def test_what_a_killed_run_left_is_found_by_the_next_one(
    client: httpx.AsyncClient, tenant: RehearsalTenant, tmp_path: Path
) -> None:
    """B6: the tag is another one for each run, so nothing led to what was left."""
    before, notes = held(tenant), tmp_path / "tags.txt"
    for _ in range(2):
        await checks.app(Tagged(client, notes=notes))
    assert held(tenant) != before
    assert await Tagged(client, notes=notes).clean() == []
    assert held(tenant) == before
    assert not notes.exists()


async def test_a_purge_that_is_forbidden_is_not_tried_again_and_says_what_it_takes(
    tenant: RehearsalTenant, tmp_path: Path
) -> None:
    """B6: it was tried 18 times for each user, five seconds apart."""
    tried: list[str] = []

    class NoPurge(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            if request.method == "DELETE" and "/deletedItems/" in request.url.path:
                tried.append(request.url.path)
                return httpx.Response(403, json={"error": {"code": "Authorization_RequestDenied"}}, request=request)
            return await inner.handle_async_request(request)

    inner, notes = tenant.transport(), tmp_path / "tags.txt"
    confirmation: Any = live.Confirmation(tenant.domain, lambda _: tenant.domain)
    async with client_of(tenant.credential(), ["x"], NoPurge(), confirmation) as client:
        run = Tagged(client, notes=notes)
        await checks.app(run)
        (problem,) = await run.clean()
    assert len(tried) == 1
    assert "User.DeleteRestore.All" in problem and "30 days" in problem
    assert notes.exists()


async def test_what_lost_its_tag_is_left_alone_and_reported(client: httpx.AsyncClient, tenant: RehearsalTenant) -> None:
    run = Tagged(client)
    made = await checks.app(run)
    await client.patch(f"/applications/{made['id']}", json={"displayName": "Taken over"})
    (problem,) = await run.clean()
    assert made["id"] in problem
    assert tenant.directory.get("application", made["id"]) is not None


async def test_a_slow_directory_is_waited_for(client: httpx.AsyncClient, tenant: RehearsalTenant) -> None:
    switches.write(tenant.directory, "replication_delay", 12.0)
    clock = tenant.directory.clock
    clock.hold(clock.now())
    before = held(tenant)

    async def sleep(seconds: float) -> None:
        clock.forward(seconds)

    run = Tagged(client, sleep=sleep)
    for check in (checks.listener, checks.assignment, checks.CHECKS["user-list-filter-identities"]):
        await check(run)
    clock.forward(12)
    assert await run.clean() == []
    assert held(tenant) == before


@pytest.mark.parametrize("typed", ["", "fabrikam.onmicrosoft.com"])
async def test_nothing_is_written_before_the_domain_is_typed(tenant: RehearsalTenant, typed: str) -> None:
    before = held(tenant)
    asked: list[str] = []

    def ask(question: str) -> str:
        asked.append(question)
        return typed

    confirmation: Any = live.Confirmation(tenant.domain, ask)
    async with client_of(tenant.credential(), ["x"], tenant.transport(), confirmation) as client:
        run = Tagged(client)
        await checks.CHECKS["domain-list"](run)
        assert asked == []
        with pytest.raises(WriteNotConfirmed):
            await checks.app(run)
        assert "domain" in asked[0]
        assert tenant.domain not in asked[0]
        assert await run.clean() == []
    assert held(tenant) == before


def test_the_checks_are_examples() -> None:
    assert checks.CHECKS.keys() <= checks.EXAMPLES.keys()
    assert len(checks.CHECKS) > 40

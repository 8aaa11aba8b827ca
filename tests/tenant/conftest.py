"""The tenant steps through the real SDK, against the rehearsal tenant."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from helpers.tenant import step
from jitkit.rehearsal.tenant import RehearsalTenant
from tenant.support import Between, Kit


@pytest.fixture(scope="session")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untouched tenant's file, made once: signing keys take their time."""
    path = tmp_path_factory.mktemp("untouched") / "tenant.sqlite3"
    RehearsalTenant.open(path).close()
    return path


@pytest.fixture(scope="session")
def registered(untouched: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a tenant in which notebooks 01 and 02 were run."""
    folder = tmp_path_factory.mktemp("registered")
    path = shutil.copy(untouched, folder / "tenant.sqlite3")

    async def register() -> None:
        tenant = RehearsalTenant.open(path)
        kit = Kit.at(tenant, tenant.transport(), folder / "state")
        for each in (kit.flag, kit.app, kit.consent, kit.client, kit.client_consent, kit.flow):
            await each.ensure()
        await kit.graph.close()
        tenant.close()

    asyncio.run(register())
    return path


@pytest.fixture(scope="session")
def seeded(untouched: Path) -> Path:
    """What a test's tenant starts from; a module may choose another."""
    return untouched


@pytest.fixture
def tenant(seeded: Path, tmp_path: Path) -> Iterator[RehearsalTenant]:
    """An untouched tenant of the test's own."""
    path = tmp_path / "tenant.sqlite3"
    shutil.copy(seeded, path)
    opened = RehearsalTenant.open(path)
    yield opened
    opened.close()


@pytest.fixture
def between(tenant: RehearsalTenant) -> Between:
    """What lies between the kit and the tenant: it counts, and can be told to interfere."""
    return Between(tenant.transport())


@pytest.fixture
async def kit(tenant: RehearsalTenant, between: Between, tmp_path: Path) -> AsyncIterator[Kit]:
    """Every step, in an untouched tenant."""
    made = Kit.at(tenant, between, tmp_path / "state")
    yield made
    await made.graph.close()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try again without waiting."""
    monkeypatch.setattr(step, "LAG_WAITS", (0.0, 0.0, 0.0))

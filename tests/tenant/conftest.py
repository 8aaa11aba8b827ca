"""The tenant steps through the real SDK, against the stand-in tenant."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from helpers.tenant import step
from jitkit.rehearsal.tenant import RehearsalTenant
from tenant.support import Between, Kit


@pytest.fixture(scope="session")
def seeded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untouched tenant's file, made once: signing keys take their time."""
    path = tmp_path_factory.mktemp("seeded") / "tenant.sqlite3"
    RehearsalTenant.open(path).close()
    return path


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

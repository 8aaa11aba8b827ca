from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from jitkit.rehearsal.tenant import RehearsalTenant
from rehearsal.support import ScriptedEndpoint, World, certificate


@pytest.fixture(scope="session")
def seeded(untouched: Path) -> Path:
    """What a test's tenant starts from."""
    return untouched


@pytest.fixture
def tenant(seeded: Path, tmp_path: Path) -> Iterator[RehearsalTenant]:
    """An untouched tenant of the test's own."""
    path = tmp_path / "rehearsal.sqlite3"
    shutil.copy(seeded, path)
    opened = RehearsalTenant.open(path)
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def private_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


@pytest.fixture(scope="session")
def der(private_key: rsa.RSAPrivateKey) -> bytes:
    return certificate(private_key)


@pytest.fixture(scope="session")
def running_endpoint(private_key: rsa.RSAPrivateKey) -> Iterator[ScriptedEndpoint]:
    running = ScriptedEndpoint(private_key)
    yield running
    running.stop()


@pytest.fixture
def endpoint(running_endpoint: ScriptedEndpoint) -> ScriptedEndpoint:
    """An endpoint that says MigratePassword to everything until it is told otherwise."""
    running_endpoint.reset()
    return running_endpoint


@pytest.fixture
def world(tenant: RehearsalTenant, endpoint: ScriptedEndpoint, der: bytes) -> World:
    """A tenant in which everything is set up and published, without users."""
    return World(tenant, der, endpoint.url)

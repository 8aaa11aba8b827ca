"""The tenant steps through the real SDK, against the rehearsal tenant."""

from __future__ import annotations

import asyncio
import itertools
import shutil
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from helpers.tenant import encryption_key, step
from helpers.tenant.encryption_key import make_pair, read_pair
from jitkit.files import write_private
from jitkit.rehearsal.tenant import RehearsalTenant
from tenant.support import Asked, Between, Kit


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
    """A tenant of the test's own: untouched, unless the module chose another."""
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
async def kit(tenant: RehearsalTenant, between: Between, seeded: Path, tmp_path: Path) -> AsyncIterator[Kit]:
    """Every step, in that tenant, on the machine that set it up."""
    if (state := seeded.with_name("state")).is_dir():
        shutil.copytree(state, tmp_path / "state")
    made = Kit.at(tenant, between, tmp_path / "state")
    yield made
    await made.graph.close()


@pytest.fixture
def asked() -> Asked:
    """Who is asked before a change."""
    return Asked()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try again without waiting."""
    monkeypatch.setattr(step, "LAG_WAITS", (0.0, 0.0, 0.0))


@pytest.fixture
def waits(tenant: RehearsalTenant, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Live by the tenant's clock, which moves while the kit waits, and keep how long it waited."""
    kept: list[float] = []
    clock, really, here = tenant.directory.clock, asyncio.sleep, threading.get_ident()
    clock.hold(clock.now() + 60)

    async def sleep(seconds: float) -> None:
        if threading.get_ident() != here:  # a server that another file's tests left running
            return await really(seconds)
        kept.append(seconds)
        clock.forward(seconds)
        await really(0)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    return kept


@pytest.fixture(scope="session")
def pairs() -> list[bytes]:
    """The key pairs that were made so far."""
    return []


@pytest.fixture
def ready_made_pairs(pairs: list[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    """Hand out the same few key pairs in each test: making one takes its time."""
    handed_out = itertools.count()

    def hand_out(path: Path) -> object:
        number = next(handed_out)
        if number == len(pairs):
            make_pair(path)
            pairs.append(path.read_bytes())
        write_private(path, pairs[number])
        return read_pair(path)

    monkeypatch.setattr(encryption_key, "make_pair", hand_out)

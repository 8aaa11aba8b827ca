"""The tenant's clock: what goes by it, and what keeps the machine's time."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from jitkit.rehearsal.clock import Clock
from jitkit.rehearsal.tenant import RehearsalTenant

WEEK = 7 * 86_400


@pytest.fixture(autouse=True)
def _the_machines_clock_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that it is of no account how long the machine takes between two looks at it."""
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now)


def test_a_moved_clock_goes_on_from_there_and_signs_with_the_machines_time() -> None:
    clock = Clock()
    clock.forward(WEEK)
    assert abs(clock.now() - time.time() - WEEK) < 1
    assert abs(clock.signing_time() - time.time()) < 1


def test_a_held_clock_stands_and_signs_with_its_own_time() -> None:
    clock = Clock()
    clock.hold(2_000_000_000.0)
    clock.forward(30)
    assert clock.now() == clock.signing_time() == 2_000_000_030.0


def test_a_released_clock_goes_on_from_where_it_stood_and_never_back() -> None:
    clock = Clock()
    clock.hold(time.time() + WEEK)
    clock.release()
    assert abs(clock.now() - time.time() - WEEK) < 1
    clock.hold(time.time())
    clock.release()
    assert abs(clock.now() - time.time() - WEEK) < 1


def test_a_clock_does_not_go_back() -> None:
    with pytest.raises(ValueError, match="does not go back"):
        Clock().forward(-1)


def test_a_moved_clock_is_moved_for_everybody_who_opens_the_tenant_and_reset_takes_it_back(tmp_path: Path) -> None:
    tenant = RehearsalTenant.open(tmp_path / "tenant.sqlite3")
    tenant.directory.clock.forward(WEEK)
    other = RehearsalTenant.open(tmp_path / "tenant.sqlite3")
    assert abs(other.directory.clock.now() - time.time() - WEEK) < 1
    tenant.reset()
    assert abs(tenant.directory.clock.now() - time.time()) < 1
    other.close()
    tenant.close()


async def test_the_administrators_token_ends_by_the_tenants_clock(tmp_path: Path) -> None:
    from jitkit.rehearsal import identity

    tenant = RehearsalTenant.open(tmp_path / "tenant.sqlite3")
    token = (await tenant.credential().get_token()).token
    assert identity.read_access_token(tenant.directory, token) is not None
    tenant.directory.clock.forward(3_700)
    assert identity.read_access_token(tenant.directory, token) is None
    tenant.close()


async def test_two_processes_go_by_one_clock_and_neither_sets_it_back(tmp_path: Path) -> None:
    tenant = RehearsalTenant.open(tmp_path / "tenant.sqlite3")
    other = RehearsalTenant.open(tmp_path / "tenant.sqlite3")
    other.directory.clock.forward(WEEK)
    tenant.directory.clock.forward(60)
    assert tenant.directory.clock.ahead == WEEK + 60
    other.state.refresh()
    assert other.directory.clock.ahead == WEEK + 60
    other.close()
    tenant.close()


async def test_the_administrator_gets_another_token_when_the_clock_went_back(tmp_path: Path) -> None:
    from jitkit.rehearsal import identity

    tenant = RehearsalTenant.open(tmp_path / "tenant.sqlite3")
    credential = tenant.credential()
    tenant.directory.clock.forward(WEEK)
    await credential.get_token()
    tenant.reset()
    assert identity.read_access_token(tenant.directory, (await credential.get_token()).token) is not None
    tenant.close()

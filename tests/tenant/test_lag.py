"""Setting up a tenant that shows nothing until ten seconds after it was made: each step waits, none makes it twice."""

from __future__ import annotations

import asyncio
import threading

import pytest

from helpers.tenant import step
from jitkit.errors import NotReady
from jitkit.rehearsal import switches
from jitkit.rehearsal.tenant import RehearsalTenant
from tenant.support import Kit


@pytest.fixture
def slow(tenant: RehearsalTenant, monkeypatch: pytest.MonkeyPatch) -> RehearsalTenant:
    """A tenant whose clock stands, and moves while somebody waits."""
    clock = tenant.directory.clock
    clock.hold(clock.now())
    switches.write(tenant.directory, "replication_delay", 10.0)

    waits, here = asyncio.sleep, threading.get_ident()

    async def sleep(seconds: float) -> None:
        if threading.get_ident() == here:
            clock.forward(seconds)
        else:  # a server that another file's tests left running
            await waits(seconds)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    return tenant


async def test_every_step_is_found_by_the_next_one_and_made_once(slow: RehearsalTenant, kit: Kit) -> None:
    steps = (kit.flag, kit.app, kit.consent, kit.client, kit.client_consent, kit.flow, kit.extension, kit.listener)
    for each in (*steps, kit.key):
        assert (await each.ensure()).status == "created"
        await each.show()
    for each in (*steps, kit.key):
        assert (await each.ensure()).status == "reused"
    assert len(slow.directory.all("application")) == 3  # the tenant's own, and two
    assert len(slow.directory.all("servicePrincipal", deleted=True)) == 0


async def test_what_is_never_shown_is_waited_for_no_longer_than_half_a_minute(slow: RehearsalTenant) -> None:
    begun = slow.directory.clock.now()

    async def never() -> None:
        raise NotReady("It is not there.", next_step="Make it.")

    await step.wait_until_visible(never)
    assert slow.directory.clock.now() - begun == sum(step.LAG_WAITS)

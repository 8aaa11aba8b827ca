"""`s.rehearsal`: drills in the rehearsal tenant, and the same calls in a real one, where nothing happens."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from sessions import Opening

from helpers.worlds import SKIPPED, NoDrills, Skipped
from jitkit.display import Card
from jitkit.errors import KitError, NotReady, PermissionMissing
from jitkit.rehearsal.drills import Drills

BEN = "ben@woodgrove.example"


async def test_a_fault_shows_the_services_error_and_is_over_with_its_block(home: Path, opening: Opening) -> None:
    s = await opening(home)
    with pytest.raises(PermissionMissing) as caught, s.rehearsal.fault("permission-missing"):
        await s.attribute.show()
    assert "Authorization_RequestDenied" in str(caught.value)
    assert (await s.attribute.show()).status == "read"


async def test_a_case_shows_the_symptom_and_nothing_of_the_cause(home: Path, opening: Opening) -> None:
    s = await opening(home)
    await s.endpoint.ensure()
    shown = await s.rehearsal.case(7)
    text = shown._repr_html_()
    assert shown.status == "wrong password"
    assert "50126" in text and "no extension was called" in text
    assert "listener" not in text.lower() and "app-not-included" not in text
    assert s.rehearsal.undo(7).status == "undone"
    assert s.rehearsal.undo(7).status == "was not on"
    again = await s.rehearsal.retry()
    assert again.migrated  # type: ignore[union-attr]


async def test_a_mistake_that_is_there_already_is_said_to_be(home: Path, opening: Opening) -> None:
    s = await opening(home)
    principal = (await s.apps.extension.show()).service_principal_id
    await s.world.graph.send("PATCH", f"/servicePrincipals/{principal}", body={"accountEnabled": False})
    assert "already" in s.rehearsal.misconfigure(3).status
    await s.world.graph.send("PATCH", f"/servicePrincipals/{principal}", body={"accountEnabled": True})
    assert s.rehearsal.misconfigure(3).status == "something is wrong now"


async def test_cases_are_tried_by_people_who_can_move(home: Path, opening: Opening) -> None:
    """Locked, disabled and weak accounts would have a symptom of their own."""
    s = await opening(home)
    await s.endpoint.ensure()
    moved = 0
    with pytest.raises(NotReady, match="has migrated"):
        for _ in range(12):
            await s.rehearsal.case(1)
            s.rehearsal.undo()
            assert (await s.rehearsal.retry()).migrated  # type: ignore[union-attr]
            moved += 1
    assert moved >= 3


async def test_nobody_can_try_again_before_somebody_tried(home: Path, opening: Opening) -> None:
    with pytest.raises(NotReady, match="No user has tried"):
        await (await opening(home)).rehearsal.retry()


async def test_a_snapshot_brings_back_the_key_that_the_certificate_belongs_to(home: Path, opening: Opening) -> None:
    s = await opening(home)
    before = (await s.key.show()).thumbprint
    s.rehearsal.snapshot("before")
    assert (await s.key.rotate(endpoint_has_key=True)).thumbprint != before
    s.rehearsal.restore("before")
    assert (await s.key.show()).thumbprint == before


async def test_switch_clock_and_calls_say_what_is_so_now(home: Path, opening: Opening) -> None:
    s = await opening(home)
    assert "Not documented" in s.rehearsal.switch("retry_counts_for_lockout", True).facts["Why"]
    before = s.rehearsal.forward().status
    assert s.rehearsal.forward(days=2, hours=1).status > before
    await s.attribute.show()
    assert "/applications" in s.rehearsal.calls()._repr_html_()
    listing = s.rehearsal.listing()._repr_html_()
    assert "consent-missing" in listing and "graph-throttled" in listing and "allow_loopback" in listing
    with pytest.raises(KitError):
        s.rehearsal.misconfigure("nonsense")


def test_a_real_tenant_is_offered_the_same_calls() -> None:
    def offered(kind: type) -> set[str]:
        return {name for name in dir(kind) if not name.startswith("_")}

    assert offered(NoDrills) == offered(Drills)


async def test_in_a_real_tenant_every_drill_says_that_it_is_skipped_and_runs_no_block() -> None:
    async def propose(step: object) -> Card:
        raise AssertionError("no drill runs a step")

    drills, ran = NoDrills(propose), []
    with pytest.raises(Skipped) as caught, drills.misconfigure("consent-missing"):
        ran.append("misconfigure")
    with pytest.raises(Skipped), drills.fault("network-down"):
        ran.append("fault")
    assert ran == []
    assert caught.value._render_traceback_() == [SKIPPED]
    shown = (
        drills.misconfigure(1),
        await drills.case(1),
        await drills.retry(),
        await drills.stop_endpoint(),
        drills.undo(),
        drills.switch("allow_loopback", True),
        drills.forward(days=1),
        drills.snapshot("one"),
        drills.restore("one"),
        drills.reset(),
        drills.calls(),
        drills.listing(),
    )
    assert all(SKIPPED in each._repr_html_() for each in shown)


async def test_figures_of_the_time_that_was_undone_are_gone_and_what_happens_then_is_seen(
    home: Path, opening: Opening
) -> None:
    s = await opening(home)
    await s.endpoint.ensure()
    s.rehearsal.snapshot("before")
    s.rehearsal.forward(days=8)
    assert (await s.sign_in(BEN)).migrated
    assert (await s.progress.collect()).counts["migrated"] == 1
    s.rehearsal.restore("before")
    assert (await s.progress.collect()).counts["migrated"] == 0
    assert (await s.sign_in("ada@woodgrove.example")).migrated
    figures = await s.progress.collect()
    assert (figures.counts["migrated"], figures.counts["by_path"]["callout"]) == (1, 1)


async def test_a_case_that_nobody_can_try_leaves_nothing_wrong(home: Path, opening: Opening) -> None:
    s = await opening(home)
    directory = s.world.rehearsal_tenant.directory  # type: ignore[attr-defined]
    directory.rows("UPDATE users SET enabled = 0")
    with pytest.raises(NotReady, match="has migrated"):
        await s.rehearsal.case(3)
    assert s.rehearsal.undo(3).status == "was not on"


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Record how long is waited for, in this machine's time."""
    asked: list[float] = []
    sleep = asyncio.sleep

    async def note(seconds: float, result: object = None) -> object:
        asked.append(seconds)
        return await sleep(seconds, result)

    monkeypatch.setattr(asyncio, "sleep", note)
    return asked


async def test_a_slow_endpoint_takes_the_tenants_time_and_nobody_elses(
    home: Path, opening: Opening, waits: list[float]
) -> None:
    s = await opening(home)
    await s.endpoint.ensure()
    waits.clear()
    with s.rehearsal.misconfigure("too-slow"):
        done = await s.sign_in(BEN)
        answer = await s.world.reach(s.profile.target_url)
    assert (done.callout_error, done.attempts) == (1003005, 2)
    assert done.duration_ms >= 4_000
    assert answer.elapsed.total_seconds() >= 2.5
    assert max(waits, default=0.0) < 1


async def test_the_cases_come_so_far_apart_that_the_check_of_each_may_read_the_log(
    home: Path, opening: Opening, waits: list[float]
) -> None:
    s = await opening(home)
    await s.endpoint.ensure()
    waits.clear()
    listed = await s.rehearsal.each_case(s.check)
    assert len(listed.rows) == 10
    assert 429 not in [row[-1] for row in s.rehearsal.calls(last=1_000).rows]
    assert max(waits, default=0.0) < 1

"""Days that are played in a tenant that is set up: each one once, without a hole, and none twice."""

from __future__ import annotations

import functools
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sessions import Opening

from jitkit.errors import KitError, NotReady
from jitkit.rehearsal.population import Habit, Plan
from jitkit.rehearsal.tenant import RehearsalTenant

DAYS = 14


def days_with_sign_ins(tenant: RehearsalTenant) -> Counter[str]:
    return Counter(row["createdDateTime"][:10] for row in tenant.sign_in_rows())


async def test_days_are_played_once_each_and_their_logs_are_kept(
    home: Path, opening: Opening, monkeypatch: pytest.MonkeyPatch
) -> None:
    daily = functools.partial(Plan, habits=(Habit("daily", 1.0, 1.0),), week=(1.0,) * 7)
    monkeypatch.setattr("helpers.play.Plan", daily)
    s = await opening(home)
    first = await s.rehearsal.play(days=DAYS - 4)
    assert first.status == "played"
    assert (await s.rehearsal.play(days=DAYS - 4)).status.startswith("reused")
    assert (await s.rehearsal.play(days=DAYS)).status == "played"
    tenant = s.world.rehearsal_tenant
    began = datetime.fromtimestamp(float(tenant.directory.meta("play_began") or 0), UTC)
    assert (began.hour, began.minute) == (0, 0)
    assert round((tenant.directory.clock.now() - began.timestamp()) / 86_400, 2) == DAYS
    played = days_with_sign_ins(tenant)
    expected = [f"{began + timedelta(days=day):%Y-%m-%d}" for day in range(DAYS)]
    assert [day for day in sorted(played) if day >= expected[0]] == expected, "every user comes every day"
    figures = await s.progress.collect()
    assert len(figures.tables.sign_ins) == sum(played.values()), "the tenant shows seven days; the history has them all"
    assert figures.counts["migrated"] == (await s.users.counts()).migrated > 0


async def test_an_unfinished_set_up_is_named(tmp_path: Path, opening: Opening) -> None:
    s = await opening(tmp_path)
    with pytest.raises(NotReady, match="notebook 02"):
        await s.rehearsal.play(days=1)


async def test_days_have_to_be_a_number_of_days(home: Path, opening: Opening) -> None:
    s = await opening(home)
    with pytest.raises(KitError, match="whole number"):
        await s.rehearsal.play(days=0)

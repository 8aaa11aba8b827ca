"""Figures of a whole rehearsal tenant, collected again and again while days go by."""

from __future__ import annotations

import asyncio
import itertools
import stat
import sys
from asyncio.subprocess import PIPE
from pathlib import Path

import pytest
from sessions import Opening

from jitkit.errors import NotReady
from jitkit.progress.collect import Archive
from jitkit.progress.figures import quality
from jitkit.progress.states import summary

DAYS = 86_400


async def test_a_tenant_is_collected_again_after_days_and_agrees_with_its_own_count(
    home: Path, opening: Opening
) -> None:
    s = await opening(home)
    await s.endpoint.ensure()
    directory = s.world.rehearsal_tenant.directory  # type: ignore[attr-defined]
    first = await s.progress.collect()
    assert summary(first.tables)["states"]["flagged"] == first.counts["in_scope"] > 5
    for name in itertools.islice(s.world.people, 2):
        assert (await s.sign_in(name)).migrated
    second = await s.progress.collect()
    assert summary(second.tables)["states"]["migrated_by_call"] == second.counts["migrated"] == 2
    assert quality(second.tables).empty

    directory.clock.forward(9 * DAYS)
    await s.sign_in([*s.world.people][3])
    third = await s.progress.collect()
    counts = await s.users.counts()
    assert (third.counts["migrated"], third.counts["remaining"]) == (counts.migrated, counts.to_migrate)
    assert len(third.tables.sign_ins) == len(second.tables.sign_ins) + 1
    assert third.tables.users["migrated_at"].min() == second.tables.users["migrated_at"].min()
    found = quality(third.tables).set_index("finding")["rows"]
    # Two whole days, cut where midnight falls.
    assert found["days of which the sign-in log was not collected"] in (2, 3)


async def test_two_collections_do_not_write_into_one_history_at_once(home: Path, opening: Opening) -> None:
    s = await opening(home)
    once = await s.progress.collect()
    folder = history(home)
    with Archive(folder).alone(), pytest.raises(NotReady, match="same history"):
        await s.progress.collect()
    # Another process, which dies with the lock in its hands.
    code = (
        "import sys, pathlib; from jitkit.progress.collect import Archive\n"
        "with Archive(pathlib.Path(sys.argv[1])).alone(): print('held', flush=True); input()"
    )
    other = await asyncio.create_subprocess_exec(sys.executable, "-c", code, str(folder), stdin=PIPE, stdout=PIPE)
    assert other.stdout is not None
    assert (await other.stdout.readline()).strip() == b"held"
    with pytest.raises(NotReady, match="same history"):
        await s.progress.collect()
    other.kill()
    await other.communicate()
    assert (await s.progress.collect()).counts == once.counts
    assert modes(folder) == {0o600}


def history(home: Path) -> Path:
    (state,) = home.rglob("state.json")
    return state.parent


def modes(folder: Path) -> set[int]:
    return {stat.S_IMODE(path.stat().st_mode) for path in folder.rglob("*") if path.is_file()}

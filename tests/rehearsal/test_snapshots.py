"""Snapshots: the tenant and the files that belong to it come back as they were."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from jitkit.errors import KitError
from jitkit.rehearsal.snapshots import Snapshots
from rehearsal.support import LEGACY, World


@pytest.fixture
def key(tmp_path: Path) -> Path:
    path = tmp_path / "own" / "key.pem"
    path.parent.mkdir()
    path.write_text("first")
    path.chmod(0o600)
    return path


def content(world: World) -> list[tuple[object, ...]]:
    tables = ("objects", "users", "log")
    return [tuple(row) for table in tables for row in world.directory.rows(f"SELECT * FROM {table}")]


async def test_a_tenant_comes_back_as_it_was(world: World, tmp_path: Path) -> None:
    user = world.add_user()
    snapshots = Snapshots(world.tenant, tmp_path / "snapshots")
    snapshots.take("before")
    before = content(world)
    assert (await world.sign_in(LEGACY)).migrated
    world.directory.clock.forward(86_400)
    snapshots.restore("before")
    assert content(world) == before
    assert world.flag_of(user) is True
    assert world.directory.clock.ahead == 0
    assert (await world.sign_in(LEGACY)).migrated


def test_what_belongs_to_a_tenant_comes_back_and_what_came_later_goes(world: World, key: Path, tmp_path: Path) -> None:
    later = key.with_name("later.pem")
    snapshots = Snapshots(world.tenant, tmp_path / "snapshots", [key, later])
    snapshots.take("before")
    key.write_text("second")
    later.write_text("later")
    snapshots.restore("before")
    assert key.read_text() == "first"
    assert not later.exists()


def test_a_snapshot_of_the_tenant_alone_leaves_the_files_alone(world: World, key: Path, tmp_path: Path) -> None:
    Snapshots(world.tenant, tmp_path / "snapshots").take("over-http")
    Snapshots(world.tenant, tmp_path / "snapshots", [key]).restore("over-http")
    assert key.read_text() == "first"


def test_a_file_that_something_has_open_stays_the_same_file(world: World, key: Path, tmp_path: Path) -> None:
    snapshots = Snapshots(world.tenant, tmp_path / "snapshots", [key])
    snapshots.take("before")
    with key.open("a") as ledger:
        ledger.write(" and more")
        ledger.flush()
        snapshots.restore("before")
        ledger.write(" and on")
    assert key.read_text() == "first and on"


def test_only_the_owner_can_open_a_snapshot(world: World, key: Path, tmp_path: Path) -> None:
    folder = Snapshots(world.tenant, tmp_path / "snapshots", [key]).take("mine")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    found = {each: stat.S_IMODE(each.stat().st_mode) for each in folder.rglob("*")}
    assert {mode for each, mode in found.items() if each.is_file()} == {0o600}
    assert {mode for each, mode in found.items() if each.is_dir()} == {0o700}
    assert any(each.name == "key.pem" for each in found)


def test_a_snapshot_of_the_same_name_is_replaced(world: World, tmp_path: Path) -> None:
    snapshots = Snapshots(world.tenant, tmp_path / "snapshots")
    snapshots.take("one")
    user = world.add_user()
    snapshots.take("one")
    world.directory.update_user(user.id, enabled=False)
    snapshots.restore("one")
    found = world.directory.user(user.id)
    assert found and found.enabled
    assert snapshots.names() == ["one"]


@pytest.mark.parametrize("name", ["", "../up", "Big", "a/b", ".hidden"])
def test_a_name_that_would_leave_the_folder_is_refused(world: World, tmp_path: Path, name: str) -> None:
    snapshots = Snapshots(world.tenant, tmp_path / "snapshots")
    for use in (snapshots.take, snapshots.restore):
        with pytest.raises(KitError, match="not a name"):
            use(name)


def test_a_snapshot_that_is_not_there_names_those_that_are(world: World, tmp_path: Path) -> None:
    snapshots = Snapshots(world.tenant, tmp_path / "snapshots")
    snapshots.take("there")
    with pytest.raises(KitError, match="no snapshot") as caught:
        snapshots.restore("gone")
    assert "there" in caught.value.next_step


def test_a_folder_that_belongs_to_a_tenant_comes_back_as_it_was(world: World, tmp_path: Path) -> None:
    history, later = tmp_path / "own" / "history", tmp_path / "own" / "later"
    (history / "flag").mkdir(parents=True)
    (history / "flag" / "day").write_text("first")
    snapshots = Snapshots(world.tenant, tmp_path / "snapshots", [history, later])
    snapshots.take("before")
    (history / "flag" / "day").write_text("second")
    (history / "flag" / "next").write_text("undone")
    later.mkdir()
    snapshots.restore("before")
    assert [each.name for each in (history / "flag").iterdir()] == ["day"]
    assert (history / "flag" / "day").read_text() == "first"
    assert not later.exists()

"""The bench: the endpoint of a session, through everything that people do to it."""

from __future__ import annotations

import os
import shutil
import socket
from dataclasses import replace
from pathlib import Path

import pytest
from sessions import Opening

from helpers import settings
from jitkit.errors import BadTable, EndpointDown, NotReady, SettingsError

ADA = "ada@woodgrove.example"


async def test_good_and_bad_callouts_get_their_answers(home: Path, opening: Opening) -> None:
    s = await opening(home)
    assert (await s.endpoint.ensure()).status == "started"
    assert (await s.endpoint.ensure()).status == "reused"
    assert (await s.endpoint.show()).status == "answers"
    answered = {
        "ada": (await s.endpoint.try_person(ADA)).status,
        "wrong": (await s.endpoint.try_person(ADA, password="Not-Hers-1")).status,
        "weak": (await s.endpoint.try_person("cleo@woodgrove.example")).status,
        "locked": (await s.endpoint.try_person("dan@woodgrove.example")).status,
    }
    assert answered == {"ada": "MigratePassword", "wrong": "Retry", "weak": "UpdatePassword", "locked": "Block"}
    refused = await s.endpoint.try_bad(ADA)
    assert {status for _, status, _ in refused.rows} <= {400, 401, 403}  # type: ignore[misc]
    assert len({cause for _, _, cause in refused.rows}) > 3  # type: ignore[misc]
    assert len(s.endpoint.ledger(last=100).rows) == 4 + len(refused.rows)


async def test_what_is_shown_of_a_callout_holds_no_secret(home: Path, opening: Opening) -> None:
    s = await opening(home)
    password = s.world.people[ADA]
    for shown in (await s.endpoint.context(ADA), await s.endpoint.envelope(ADA)):
        text = shown._repr_html_() + repr(shown)
        assert password not in text
        assert "eyJ" not in text
    assert "hidden" in (await s.endpoint.context(ADA))._repr_html_()


async def test_two_notebooks_take_turns(home: Path, opening: Opening) -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
    settings.save(home, replace(settings.load(home), endpoint_port=port))
    first, second = await opening(home), await opening(home)
    assert (await first.endpoint.ensure()).status == "started"
    assert (await second.endpoint.ensure()).status == "started"
    with pytest.raises(EndpointDown):
        await first.endpoint.show()
    assert (await first.sign_in(ADA)).migrated, "the tenant reaches whichever runs"


async def test_a_rotated_key_and_another_export_restart_it(home: Path, opening: Opening) -> None:
    s = await opening(home)
    await s.endpoint.ensure()
    await s.key.rotate()
    assert (await s.endpoint.ensure()).status == "restarted"
    assert (await s.endpoint.try_person(ADA)).status == "MigratePassword"
    export = s.world.export()
    export.write_text(export.read_text(encoding="utf-8").replace("locked", "active"), encoding="utf-8")
    assert (await s.endpoint.ensure()).status == "restarted"
    assert (await s.endpoint.try_person("dan@woodgrove.example")).status == "MigratePassword"
    assert len(list((home / "rehearsal").glob("legacy-*.sqlite3"))) == 1


async def test_an_older_export_is_another_export(home: Path, opening: Opening, tmp_path: Path) -> None:
    s = await opening(home)
    await s.endpoint.ensure()
    other = tmp_path / "other.csv"
    shutil.copy(s.world.export(), other)
    other.write_text(other.read_text(encoding="utf-8").replace("locked", "active"), encoding="utf-8")
    os.utime(other, (1_000_000_000, 1_000_000_000))
    shutil.copy(s.world.export().with_name("people.csv"), tmp_path / "people.csv")
    settings.save(home, replace(settings.load(home), export=str(other)))
    again = await opening(home)
    await again.endpoint.ensure()
    assert (await again.endpoint.try_person("dan@woodgrove.example")).status == "MigratePassword"


async def test_a_crashed_endpoint_is_told_and_started_again(home: Path, opening: Opening) -> None:
    s = await opening(home)
    with pytest.raises(EndpointDown, match="not running"):
        await s.endpoint.try_person(ADA)
    await s.endpoint.ensure()
    process = s.endpoint._process._process
    assert process is not None
    process.kill()
    process.wait()
    with pytest.raises(EndpointDown):
        await s.endpoint.show()
    assert (await s.endpoint.ensure()).status == "started"
    s.endpoint._process.url = "http://127.0.0.1:1/gone"
    with pytest.raises(EndpointDown, match="does not answer"):
        await s.endpoint.try_person(ADA)


async def test_a_ledger_with_half_a_line_can_be_looked_at(home: Path, opening: Opening) -> None:
    s = await opening(home)
    assert s.endpoint.ledger().rows == []
    s.endpoint.ledger_path.write_bytes(b'{"time": "now", "cause": "wrong"}\n\xff\xfe\n1\n{"time": "la')
    assert [row[2] for row in s.endpoint.ledger().rows] == ["wrong"]


async def test_another_tenants_ledger_is_not_counted(home: Path, opening: Opening) -> None:
    s = await opening(home)
    await s.endpoint.ensure()
    await s.endpoint.try_person(ADA)
    await s.close()
    (home / "rehearsal.sqlite3").unlink()
    fresh = await opening(home)
    assert fresh.endpoint.ledger().rows == []


async def test_a_path_that_no_database_address_can_hold_is_named(home: Path, opening: Opening) -> None:
    s = await opening(home.rename(home.with_name("why?")))  # noqa: ASYNC240
    with pytest.raises(SettingsError, match="question mark"):
        await s.endpoint.ensure()


async def test_what_is_missing_is_named(home: Path, opening: Opening) -> None:
    s = await opening(home)
    export = s.world.export()
    export.rename(export.with_suffix(".gone"))
    with pytest.raises(BadTable, match="cannot be read"):
        await s.endpoint.ensure()
    export.mkdir()
    with pytest.raises(BadTable):
        await s.endpoint.ensure()
    s.key.private_key_path.unlink()
    with pytest.raises(NotReady, match="private key"):
        await s.endpoint.ensure()

"""The endpoint as a child process, and `s.endpoint`: everything that notebooks do to it."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import psutil
import pytest
from sessions import Opening

from helpers import settings as profiles
from helpers.legacy_export import legacy_copy
from helpers.local_endpoint import RunningEndpoint, _handed_on
from helpers.tenant.encryption_key import make_pair
from helpers.worlds import SAMPLE_DATA
from jitkit.errors import BadTable, EndpointDown, NotReady, SettingsError

Settings = dict[str, str]


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Settings with which an endpoint starts."""
    folder = tmp_path_factory.mktemp("settings")
    make_pair(folder / "key.pem")
    people = "\n".join((SAMPLE_DATA / "legacy_users.csv").read_text(encoding="utf-8").splitlines()[:6])
    (folder / "few.csv").write_text(people, encoding="utf-8")
    return {
        "JIT_TENANT_ID": "11111111-1111-4111-8111-111111111111",
        "JIT_EXTENSION_APP_ID": "22222222-2222-4222-8222-222222222222",
        "JIT_IDENTIFIER_URI": "api://jit.shop.example/22222222-2222-4222-8222-222222222222",
        "JIT_OPENID_CONFIGURATION": "http://127.0.0.1:9/nowhere",
        "DecryptionPrivateKey": (folder / "key.pem").read_text(),
        "LegacyApiConnectionString": f"sqlite:///{legacy_copy(folder / 'few.csv', folder)}",
    }


Make = Callable[[], RunningEndpoint]


@pytest.fixture
async def make(tmp_path: Path) -> AsyncIterator[Make]:
    """Make endpoints of one tenant, as several notebooks do."""
    made: list[RunningEndpoint] = []

    def another() -> RunningEndpoint:
        made.append(RunningEndpoint(tmp_path / "Küche & mehr"))
        return made[-1]

    yield another
    for each in made:
        await each.stop()


async def answers(endpoint: RunningEndpoint) -> bool:
    answer, _ = await endpoint.request("GET")
    return answer.status_code == 200


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as held:
        return int(held.getsockname()[1])


SECRETS = ("AZURE_CLIENT_SECRET", "AWS_SECRET_ACCESS_KEY", "GITHUB_TOKEN", "PGPASSWORD", "KeyVaultUrl", "MY_PASSWORD")


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc, as Linux has it")
async def test_the_endpoint_gets_its_settings_and_no_other_secret(
    make: Make, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """H11: the process that faces the internet does not hold the secret that may write all applications and users."""
    for name in SECRETS:
        monkeypatch.setenv(name, "CANARY")
    monkeypatch.setenv("JIT_DEADLINE_MS", "1200")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    endpoint = make()
    await endpoint.start(settings, port=0)
    assert await answers(endpoint)
    note = json.loads((endpoint._note).read_text(encoding="utf-8"))
    environment = Path(f"/proc/{note['pid']}/environ").read_bytes().decode()  # noqa: ASYNC240
    assert "CANARY" not in environment
    names = {line.partition("=")[0] for line in environment.split("\0")}
    assert {"PATH", "JIT_DEADLINE_MS", "no_proxy", *settings} <= names
    assert not {*SECRETS, "JIT_KIT_HOME"} & names


@pytest.mark.parametrize("name", ["SystemRoot", "Path", "HTTPS_PROXY", "ssl_cert_file", "LC_ALL", "JIT_LEGACY_QUERY"])
def test_what_a_program_needs_is_handed_on(name: str) -> None:
    assert _handed_on({name: "x", "JIT_KIT_HOME": "x", "PATHOLOGY": "x"}) == {name: "x"}


async def test_it_starts_answers_and_stops(make: Make, settings: Settings) -> None:
    endpoint = make()
    url = await endpoint.start(settings, port=0)
    assert await answers(endpoint)
    assert await endpoint.start(settings, port=0) == url
    await endpoint.stop()
    assert not endpoint.url
    with pytest.raises(EndpointDown, match="not running"):
        await endpoint.request("GET")


async def test_other_settings_restart_it(make: Make, settings: Settings, tmp_path: Path) -> None:
    make_pair(tmp_path / "other.pem")
    endpoint = make()
    await endpoint.start(settings, port=0)
    first = endpoint._process
    await endpoint.start({**settings, "DecryptionPrivateKey": (tmp_path / "other.pem").read_text()}, port=0)
    assert first is not None and not first.running
    assert await answers(endpoint)


async def test_another_notebook_takes_the_same_port_over(make: Make, settings: Settings) -> None:
    port, first, second = free_port(), make(), make()
    await first.start(settings, port=port)
    await second.start(settings, port=port)
    assert not first.url
    assert await answers(second)
    await first.start(settings, port=port)
    assert not second.url
    assert await answers(first)


def test_a_note_about_another_program_stops_nobody(tmp_path: Path) -> None:
    note = tmp_path / "endpoint.json"
    bystander = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        for text in (json.dumps({"pid": bystander.pid, "born": 1.0}), '{"pid": "x', "[]", json.dumps({"pid": -1})):
            note.write_text(text)
            RunningEndpoint(tmp_path)._stop_another()
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


async def test_a_port_that_others_use_is_explained(make: Make, settings: Settings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
        with pytest.raises(EndpointDown) as caught:
            await make().start(settings, port=port)
    assert f"port {port}" in str(caught.value)
    assert "endpoint_port" in caught.value.next_step
    assert str(caught.value).count("Next: ") == str(caught.value).count("The service said: ") == 1


async def test_what_is_wrong_with_a_setting_is_passed_on(make: Make, settings: Settings) -> None:
    with pytest.raises(EndpointDown) as caught:
        await make().start({**settings, "DecryptionPrivateKey": "no key"}, port=0)
    assert "DecryptionPrivateKey" in str(caught.value)
    assert "endpoint.log" in caught.value.next_step


async def test_a_folder_that_cannot_be_written_is_named(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match="JIT_KIT_HOME"):
        await RunningEndpoint(tmp_path / "file").start(settings, port=0)


async def test_an_interrupted_start_leaves_no_process(make: Make, settings: Settings) -> None:
    endpoint, before = make(), set(psutil.Process().children())
    starting = asyncio.create_task(endpoint.start(settings, port=0))
    while not set(psutil.Process().children()) - before:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert not endpoint.url
    assert set(psutil.Process().children()) <= before


async def test_an_interrupted_cell_leaves_it_running(make: Make, settings: Settings) -> None:
    endpoint = make()
    await endpoint.start(settings, port=0)
    assert endpoint._process is not None
    # A kernel is interrupted as a group.
    assert os.getpgid(endpoint._process.process.pid) != os.getpgid(0)
    assert os.getsid(endpoint._process.process.pid) != os.getsid(0)


def test_it_ends_with_a_notebook_that_is_killed(settings: Settings, tmp_path: Path) -> None:
    code = (
        "import asyncio, json, sys\n"
        "from pathlib import Path\n"
        "from helpers.local_endpoint import RunningEndpoint\n"
        "async def main():\n"
        "    endpoint = RunningEndpoint(Path(sys.argv[1]))\n"
        "    await endpoint.start(json.loads(sys.stdin.readline()), port=0)\n"
        "    print(endpoint._process.process.pid, flush=True)\n"
        "    await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    notebook = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert notebook.stdin and notebook.stdout
    with notebook:
        notebook.stdin.write(json.dumps(settings) + "\n")
        notebook.stdin.flush()
        endpoint = psutil.Process(int(notebook.stdout.readline()))
        notebook.send_signal(signal.SIGKILL)
    until = time.monotonic() + 60
    while endpoint.is_running() and endpoint.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < until, "the endpoint outlived its notebook"
        time.sleep(0.05)


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
    port = free_port()
    profiles.save(home, profiles.load(home).model_copy(update={"endpoint_port": port}))
    first, second = await opening(home), await opening(home)
    assert (await first.endpoint.ensure()).status == "started"
    assert (await second.endpoint.ensure()).status == "started"
    with pytest.raises(EndpointDown):
        await first.endpoint.show()
    assert (await first.sign_in(ADA)).migrated, "the tenant reaches whichever runs"


async def test_a_rotated_key_and_another_export_restart_it(home: Path, opening: Opening) -> None:
    s = await opening(home)
    await s.endpoint.ensure()
    with pytest.raises(NotReady, match="does not have the new key"):
        await s.key.rotate()
    assert (await s.endpoint.try_person(ADA)).status == "MigratePassword"
    assert (await s.endpoint.ensure()).status == "restarted"
    assert (await s.endpoint.try_person(ADA)).status == "MigratePassword"
    assert (await s.key.rotate()).status == "updated"
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
    profiles.save(home, profiles.load(home).model_copy(update={"export": str(other)}))
    again = await opening(home)
    await again.endpoint.ensure()
    assert (await again.endpoint.try_person("dan@woodgrove.example")).status == "MigratePassword"


async def test_a_crashed_endpoint_is_told_and_started_again(home: Path, opening: Opening) -> None:
    s = await opening(home)
    with pytest.raises(EndpointDown, match="not running"):
        await s.endpoint.try_person(ADA)
    await s.endpoint.ensure()
    process = s.endpoint._running._process
    assert process is not None
    await process.kill()
    with pytest.raises(EndpointDown):
        await s.endpoint.show()
    assert (await s.endpoint.ensure()).status == "started"
    process = s.endpoint._running._process
    assert process is not None
    process.url = "http://127.0.0.1:1/gone"
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


async def test_a_changed_identifier_uri_is_named_with_the_notebook_that_sets_it(home: Path, opening: Opening) -> None:
    s = await opening(home)
    app = await s.apps.extension.show()
    other = app.identifier_uri.replace("://", "://old-")
    await s.graph.send("PATCH", f"/applications/{app.object_id}", body={"identifierUris": [other]})
    with pytest.raises(NotReady, match="no identifier URI for") as caught:
        await s.endpoint.ensure()
    assert other in caught.value.happened and "02-app-registrations" in caught.value.next_step
    await s.apps.extension.ensure()
    assert (await s.endpoint.ensure()).status == "started"


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


async def test_people_with_user_names_move_report_and_leave_like_the_others(home: Path, opening: Opening) -> None:
    """From the export through the endpoint's look-up by the typed name to the figures; the tenant has to allow it."""
    export = home.parent / "legacy_users.csv"
    for path in (export, home.parent / "people.csv"):
        header, ada, *rest = path.read_text(encoding="utf-8").splitlines()
        typed = [ada.replace("ada@woodgrove.example", name) for name in ("Ada_7", "ada-8")]
        path.write_text("\n".join((header, ada, *typed, *rest, "")), encoding="utf-8")
    s = await opening(home)
    plan = await s.users.plan(export)
    assert [(each.username, each.sign_in_type) for each in plan.create] == [
        ("ada_7", "userName"),
        ("ada-8", "userName"),
    ]
    assert any("cannot sign in with it until it is switched on" in words for _, _, words in plan.rows)
    assert (await s.users.apply(plan)).created == 2
    await s.endpoint.ensure()
    assert not (await s.sign_in("Ada_7")).migrated
    body = {"@odata.type": "#microsoft.graph.usernameSignInIdentifier", "name": "Username", "isEnabled": True}
    await s.world.graph.send("PATCH", "/identity/signInIdentifiers/Username", body=body, version="beta")
    assert (await s.sign_in("Ada_7")).migrated
    assert ((await s.users.find("ADA_7")).flag, (await s.users.find("ada-8")).flag) == (False, True)
    figures = await s.progress.collect(await s.users.dimensions(export))
    assert figures.counts["migrated"] == (await s.users.counts()).migrated == 1
    left = int((await s.users.remove()).facts["To delete"].split()[0])
    assert (await s.users.remove(confirm=left)).status == "removed"
    assert (await s.users.find("ada_7")).flag is False
    with pytest.raises(NotReady, match="ada-8"):
        await s.users.find("ada-8")

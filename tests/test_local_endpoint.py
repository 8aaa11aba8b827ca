"""The endpoint as a child process: it starts, it says why not, and it never outlives or escapes its notebook."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import psutil
import pytest

from helpers.legacy_export.copy import legacy_copy
from helpers.local_endpoint import LocalEndpoint
from helpers.tenant.encryption_key import make_pair
from helpers.worlds import SAMPLE_DATA
from jitkit.errors import EndpointDown, SettingsError

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


Make = Callable[[], LocalEndpoint]


@pytest.fixture
async def make(tmp_path: Path) -> AsyncIterator[Make]:
    """Make endpoints of one tenant, as several notebooks do."""
    made: list[LocalEndpoint] = []

    def another() -> LocalEndpoint:
        made.append(LocalEndpoint(tmp_path / "Küche & mehr"))
        return made[-1]

    yield another
    for each in made:
        await each.stop()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as held:
        return int(held.getsockname()[1])


async def test_it_starts_answers_and_stops(make: Make, settings: Settings) -> None:
    endpoint = make()
    url = await endpoint.start(settings, port=0)
    assert (await endpoint.health()).status_code == 200
    assert await endpoint.start(settings, port=0) == url
    await endpoint.stop()
    assert not endpoint.running
    with pytest.raises(EndpointDown, match="not running"):
        await endpoint.health()


async def test_other_settings_restart_it(make: Make, settings: Settings, tmp_path: Path) -> None:
    make_pair(tmp_path / "other.pem")
    endpoint = make()
    await endpoint.start(settings, port=0)
    first = endpoint._process
    await endpoint.start({**settings, "DecryptionPrivateKey": (tmp_path / "other.pem").read_text()}, port=0)
    assert first is not None and first.poll() is not None
    assert (await endpoint.health()).status_code == 200


async def test_another_notebook_takes_the_same_port_over(make: Make, settings: Settings) -> None:
    port, first, second = free_port(), make(), make()
    await first.start(settings, port=port)
    await second.start(settings, port=port)
    assert not first.running
    assert (await second.health()).status_code == 200
    await first.start(settings, port=port)
    assert not second.running
    assert (await first.health()).status_code == 200


def test_a_note_about_another_program_stops_nobody(tmp_path: Path) -> None:
    note = tmp_path / "endpoint.json"
    bystander = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        for text in (json.dumps({"pid": bystander.pid, "born": 1.0}), '{"pid": "x', "[]", json.dumps({"pid": -1})):
            note.write_text(text)
            LocalEndpoint(tmp_path)._stop_another()
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
        await LocalEndpoint(tmp_path / "file").start(settings, port=0)


async def test_an_interrupted_start_leaves_no_process(make: Make, settings: Settings) -> None:
    endpoint, before = make(), set(psutil.Process().children())
    starting = asyncio.create_task(endpoint.start(settings, port=0))
    while not set(psutil.Process().children()) - before:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert not endpoint.running
    assert set(psutil.Process().children()) <= before


async def test_an_interrupted_cell_leaves_it_running(make: Make, settings: Settings) -> None:
    endpoint = make()
    await endpoint.start(settings, port=0)
    assert endpoint._process is not None
    # A kernel is interrupted as a group.
    assert os.getpgid(endpoint._process.pid) != os.getpgid(0)
    assert os.getsid(endpoint._process.pid) != os.getsid(0)


def test_it_ends_with_a_notebook_that_is_killed(settings: Settings, tmp_path: Path) -> None:
    code = (
        "import asyncio, json, sys\n"
        "from pathlib import Path\n"
        "from helpers.local_endpoint import LocalEndpoint\n"
        "async def main():\n"
        "    endpoint = LocalEndpoint(Path(sys.argv[1]))\n"
        "    await endpoint.start(json.loads(sys.stdin.readline()), port=0)\n"
        "    print(endpoint._process.pid, flush=True)\n"
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
    until = time.monotonic() + 10
    while endpoint.is_running() and endpoint.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < until, "the endpoint outlived its notebook"
        time.sleep(0.05)

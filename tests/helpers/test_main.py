"""The command: what it says to whoever mistypes it, and how it ends."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest

from helpers import kit
from helpers.__main__ import main

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    "words", [["bogus"], ["--bogus"], ["rehearsal", "--port", "x"], ["rehearse", "--html"], ["report", "--target"]]
)
def test_mistyped_commands_show_how_it_is_used(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    assert "usage: jitkit" in capsys.readouterr().err


def test_the_command_alone_lists_what_it_can_do(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([])
    shown = capsys.readouterr().err
    assert ended.value.code == 2
    assert "usage: jitkit" in shown and "run every notebook" in shown and "required" not in shown


def test_help_names_every_command_of_the_read_me(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    for command in ("rehearse", "prepare", "lab", "endpoint", "report", "rehearsal"):
        assert f"`jitkit {command}" in (ROOT / "README.md").read_text(encoding="utf-8")
        assert command in shown


@pytest.mark.parametrize("port", ["99999", "-1"])
def test_a_number_that_is_no_port_is_explained(
    port: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("JIT_KIT_HOME", str(tmp_path))
    assert main(["rehearsal", "--port", port]) == 1
    assert "Next: " in capsys.readouterr().err


def test_a_port_in_use_is_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("JIT_KIT_HOME", str(tmp_path))
    with socket.create_server(("127.0.0.1", 0)) as held:
        assert main(["rehearsal", "--port", str(held.getsockname()[1])]) == 1
    assert "0 takes any free one" in capsys.readouterr().err


def test_an_endpoint_without_settings_names_the_first(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("JIT_TENANT_ID", raising=False)
    assert main(["endpoint", "--port", "0"]) == 1
    assert "JIT_TENANT_ID" in capsys.readouterr().err


def test_pages_that_cannot_be_written_are_told_before_anything_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("JIT_KIT_HOME", str(tmp_path / "home"))
    (tmp_path / "file").write_text("")
    assert main(["rehearse", "--html", str(tmp_path / "file")]) == 1
    assert "--html" in capsys.readouterr().err
    assert not (tmp_path / "home").exists()


def test_a_home_that_cannot_be_written_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("JIT_KIT_HOME", str(tmp_path / "file"))
    for command in ("rehearse", "rehearsal"):
        assert main([command]) == 1
        said = capsys.readouterr().err
        assert str(tmp_path / "file") in said and "Next: " in said and "Path(" not in said


def test_a_served_rehearsal_says_where_it_is_and_ends_with_ctrl_c(tmp_path: Path) -> None:
    run = subprocess.Popen(
        [sys.executable, "-m", "helpers", "rehearsal"],
        env={**os.environ, "JIT_KIT_HOME": str(tmp_path)},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert run.stdout
    said = json.loads(run.stdout.readline())
    assert said["graph"].startswith("http://127.0.0.1:")
    run.send_signal(signal.SIGINT)
    _, errors = run.communicate(timeout=120)
    assert run.returncode in (0, 130)
    assert "Traceback" not in errors


@pytest.fixture
def lab(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Run `jitkit lab` with some arguments; returns what JupyterLab is started with."""
    given: list[list[str]] = []
    monkeypatch.setattr("jupyterlab.labapp.LabApp.launch_instance", given.append)
    monkeypatch.delenv("CODESPACE_NAME", raising=False)
    monkeypatch.setitem(os.environ, "PYTHONSTARTUP", "")
    monkeypatch.delenv("PYTHONSTARTUP")

    def run(*further: str) -> list[str]:
        assert main(["lab", *further]) == 0
        assert Path(os.environ["PYTHONSTARTUP"]).is_file()
        return given.pop()

    return run


def test_lab_passes_arguments_on_to_jupyter(lab: Callable[..., list[str]]) -> None:
    assert lab("--port", "8899", "--ServerApp.ip=0.0.0.0")[-3:] == ["--port", "8899", "--ServerApp.ip=0.0.0.0"]
    assert lab("--no-browser", "--allow-root").count("--no-browser") == 1
    assert lab("--allow-root").count("--allow-root") == 1, "Jupyter refuses some arguments that it has twice"
    roots = [each for each in lab("--ServerApp.root_dir=/somewhere") if each.startswith("--ServerApp.root_dir")]
    assert roots == ["--ServerApp.root_dir=/somewhere"]


def test_other_commands_refuse_arguments_that_they_do_not_know(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["rehearse", "--no-browser"])
    assert "unrecognized arguments: --no-browser" in capsys.readouterr().err


@pytest.mark.parametrize(("user", "screen"), [(0, ""), (0, ":0"), (1000, ""), (1000, ":0")])
def test_lab_starts_as_root_and_without_a_screen_and_says_so(
    user: int,
    screen: str,
    lab: Callable[..., list[str]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: user)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("DISPLAY", screen)
    for name in ("WAYLAND_DISPLAY", "BROWSER"):
        monkeypatch.delenv(name, raising=False)
    options, said = lab(), capsys.readouterr().out
    assert ("--allow-root" in options) == ("You are root" in said) == (user == 0)
    assert ("--no-browser" in options) == ("open the address that JupyterLab prints" in said) == (not screen)


def test_lab_opens_the_notebooks_with_the_whole_kit_around_them(
    lab: Callable[..., list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JIT_KIT_HOME", str(tmp_path / "ada" / ".kit"))
    options = lab()
    assert f"--ServerApp.root_dir={ROOT}" in options
    assert "--LabApp.default_url=/lab/tree/notebooks/00-start-here.ipynb" in options
    own = tmp_path / "ada" / "notebooks" / "00-start-here.ipynb"
    own.parent.mkdir(parents=True)
    own.write_text("")
    assert f"--ServerApp.root_dir={tmp_path / 'ada'}" in lab(), "a person's own copy, next to their state folder"


@pytest.mark.parametrize(
    ("origin", "answers"),
    [
        ("https://ada-x1-8888.app.github.dev", True),
        ("https://ben-x1-8888.app.github.dev", False),
        ("https://ada-x1-8888.app.github.dev.example.com", False),
        ("https://ada-x1-8888-app.github.dev", False),
    ],
)
def test_lab_answers_the_browser_of_its_codespace_alone(
    origin: str, answers: bool, lab: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not [each for each in lab() if "allow_origin" in each]
    monkeypatch.setenv("CODESPACE_NAME", "ada-x1")
    (given,) = [each for each in lab() if "allow_origin" in each]
    # Jupyter takes what begins as the pattern does.
    assert bool(re.match(given.removeprefix("--ServerApp.allow_origin_pat="), origin)) == answers


def test_lab_never_shows_the_state_folder(
    lab: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "--ContentsManager.allow_hidden=False" in lab()
    monkeypatch.setenv("JIT_KIT_HOME", str(ROOT / "state-of-ada"))
    assert main(["lab"]) == 1
    said = capsys.readouterr().err
    assert str(ROOT / "state-of-ada") in said and "Next: Set JIT_KIT_HOME" in said


async def test_a_notebook_of_a_real_tenant_is_saved_without_outputs(
    lab: Callable[..., list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """H11: what a real tenant answered stays on the page; the file that git sees never holds it."""
    from jupyter_server.services.contents.largefilemanager import AsyncLargeFileManager
    from traitlets.config.loader import KVArgParseConfigLoader

    options = [each for each in lab() if each.startswith("--ContentsManager")]
    config = KVArgParseConfigLoader(argv=options).load_config()
    manager = AsyncLargeFileManager(root_dir=str(tmp_path), config=config)
    monkeypatch.setenv("JIT_KIT_HOME", str(tmp_path / "home"))

    async def saved() -> dict[str, Any]:
        notebook = nbformat.v4.new_notebook(metadata={"widgets": {"state": "ada@shop.example"}})
        output = nbformat.v4.new_output("stream", text="ada@shop.example")
        notebook.cells = [
            nbformat.v4.new_code_cell("1 + 1", outputs=[output], execution_count=3),
            nbformat.v4.new_markdown_cell("Text"),
        ]
        await manager.save({"type": "notebook", "format": "json", "content": notebook}, "00.ipynb")
        return dict(json.loads((tmp_path / "00.ipynb").read_text(encoding="utf-8")))

    assert "ada@shop.example" in str(await saved()), "the rehearsal's people are invented"
    kit.choose("live", tenant="contoso.onmicrosoft.com", endpoint_host="jit.contoso.com")
    kit.choose("rehearsal")
    after = await saved()
    assert "ada@shop.example" not in str(after)
    assert [cell["source"] for cell in after["cells"]] == [["1 + 1"], ["Text"]]
    assert after["cells"][0]["execution_count"] is None
    (tmp_path / "home" / "profile.json").write_text("torn")
    assert "ada@shop.example" not in str(await saved()), "what cannot be read is taken for a real tenant"

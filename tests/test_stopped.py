"""Ctrl-C, `kill` and a closed terminal in the middle of a whole rehearsal, and notebooks whose kernels give up."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import nbformat
import psutil
import pytest

from helpers import run_notebooks
from helpers.__main__ import _stop
from jitkit.errors import KitError

ROOT = Path(__file__).resolve().parents[1]
_LONGEST = 300  # seconds, on a machine that is busy with other work too


def notebook(folder: Path, source: str) -> Path:
    path = folder / "00-broken.ipynb"
    cells = [nbformat.v4.new_code_cell("1", id="good"), nbformat.v4.new_code_cell(source, id="the-bad-one")]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    return path


def rehearsing(home: Path) -> tuple[subprocess.Popen[str], list[psutil.Process]]:
    """Start a rehearsal; return it when a kernel has opened the tenant, with all processes below it."""
    run = subprocess.Popen(
        [sys.executable, "-m", "helpers", "rehearse"],
        env={**os.environ, "JIT_KIT_HOME": str(home), "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'src'}"},
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),  # nohup would leave it ignored
    )
    until = time.monotonic() + _LONGEST
    while not (home / "rehearse" / "rehearsal.sqlite3").exists():
        assert run.poll() is None and time.monotonic() < until, "no kernel opened the tenant"
        time.sleep(0.05)
    return run, psutil.Process(run.pid).children(recursive=True)


@pytest.mark.parametrize(
    ("send", "number"),
    [
        pytest.param(os.killpg, signal.SIGINT, id="Ctrl-C"),
        pytest.param(os.kill, signal.SIGTERM, id="kill"),
        # The terminal signals everything that it started, so also the process that forks kernels.
        pytest.param(os.killpg, signal.SIGHUP, id="closed terminal"),
    ],
)
def test_a_signal_ends_a_rehearsal_at_once_and_leaves_nobody_behind(
    tmp_path: Path, send: Callable[[int, int], None], number: int
) -> None:
    run, children = rehearsing(tmp_path / "home")
    send(run.pid, number)
    _, said = run.communicate(timeout=_LONGEST)
    assert run.returncode == 130, said
    assert "Stopped by you. What you set up by hand is untouched" in said
    assert said.rstrip().endswith("The next rehearsal starts at its first notebook, with a fresh tenant.")
    assert "Traceback" not in said
    assert children and psutil.wait_procs(children, timeout=_LONGEST)[1] == []


@pytest.mark.parametrize("before", [signal.default_int_handler, signal.SIG_IGN])
def test_kill_also_ends_a_rehearsal_that_a_script_started_without_ctrl_c(before: signal._HANDLER) -> None:
    kept = signal.signal(signal.SIGINT, before)
    try:
        with pytest.raises(KeyboardInterrupt):
            _stop(signal.SIGTERM, None)
    finally:
        signal.signal(signal.SIGINT, kept)


def test_not_even_a_killed_rehearsal_leaves_anybody_behind(tmp_path: Path) -> None:
    run, children = rehearsing(tmp_path / "home")
    run.kill()
    assert children and psutil.wait_procs(children, timeout=_LONGEST)[1] == []
    run.communicate(timeout=_LONGEST)


def test_ctrl_c_is_not_lost_where_a_cell_ends_at_that_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wait_for = asyncio.wait_for

    async def losing(task: asyncio.Task[object], seconds: float) -> object:
        monkeypatch.setattr(asyncio, "wait_for", wait_for)
        result = await wait_for(task, seconds)
        signal.raise_signal(signal.SIGINT)
        # As in Python 3.11, which returns a result that came together with the cancellation.
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(0)
        return result

    monkeypatch.setattr(asyncio, "wait_for", losing)
    path = notebook(tmp_path, f"open({str(tmp_path / 'went-on')!r}, 'w').close()")
    with pytest.raises(KeyboardInterrupt):
        run_notebooks.run(path, home=tmp_path / "home")
    assert not (tmp_path / "went-on").exists()


def test_a_kernel_that_dies_is_named(tmp_path: Path) -> None:
    path = notebook(tmp_path, "import os; os._exit(1)")
    with pytest.raises(KitError, match=r"00-broken\.ipynb, cell the-bad-one: it took its kernel down"):
        run_notebooks.run(path, home=tmp_path / "home")


def test_a_cell_that_hangs_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_notebooks, "_CELL_SECONDS", 1)
    path = notebook(tmp_path, "import time; time.sleep(60)")
    with pytest.raises(KitError, match=r"00-broken\.ipynb, cell the-bad-one: it is not done after 1 second"):
        run_notebooks.run(path, home=tmp_path / "home")


def test_a_page_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(KitError, match="cannot be written"):
        run_notebooks.write_html(nbformat.v4.new_notebook(), tmp_path / "file" / "page.html")


def test_a_kit_without_its_notebooks_says_how_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_notebooks, "NOTEBOOKS", tmp_path)
    with pytest.raises(KitError, match=r"pip install -e \."):
        run_notebooks.in_order()

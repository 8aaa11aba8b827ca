"""Notebook 08 as a dashboard: its figures and filters, and none of its source."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import nbformat
import pytest

from helpers.run_notebooks import NOTEBOOKS

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("voila") is None, reason='Voilà is not installed (pip install -e ".[dashboard]")'
    ),
]

SAMPLE = NOTEBOOKS.parent / "sample_data" / "migration"
STARTED, RENDERED = 120.0, 600.0  # seconds: far more than it takes, for a busy machine


TOKEN = "a-token-of-this-test"


@pytest.fixture(scope="module")
def page(answer: httpx.Response) -> str:
    return answer.text


@pytest.fixture(scope="module")
def answer(set_up_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Response]:
    """The page in a tenant that is set up; its figures come from the recorded migration."""
    folder = tmp_path_factory.mktemp("dashboard")
    shutil.copytree(set_up_home, folder / "home")
    notebook = nbformat.read(NOTEBOOKS / "08-migration-progress.ipynb", as_version=4)
    parameters = next(cell for cell in notebook.cells if cell.id == "parameters")
    assert 'tables_folder = ""' in parameters.source
    parameters.source = parameters.source.replace('tables_folder = ""', f'tables_folder = "{SAMPLE}"')
    nbformat.write(notebook, folder / "08.ipynb")
    shutil.copytree(NOTEBOOKS / "images", folder / "images")
    shutil.copy(NOTEBOOKS.parent / "voila.json", folder)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "voila", "08.ipynb", "--no-browser", f"--port={port}", "--strip_sources=True"]
    command.append(f"--token={TOKEN}")
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(command, cwd=folder, env=environment(folder), stdout=log, stderr=log)
    try:
        wait_for(port, server, folder / "log")
        for nobody in ({}, {"token": "wrong"}):
            refused = httpx.get(f"http://127.0.0.1:{port}/", params=nobody, timeout=RENDERED)
            assert refused.status_code in (302, 401, 403)
            assert "image/png" not in refused.text
        with httpx.Client(timeout=RENDERED, follow_redirects=True) as known:
            answer = known.get(f"http://127.0.0.1:{port}/", params={"token": TOKEN})
        assert answer.status_code == 200, (folder / "log").read_text()
        yield answer
    finally:
        server.terminate()
        server.wait(timeout=60)


def environment(folder: Path) -> dict[str, str]:
    return {
        **os.environ,
        "JIT_KIT_HOME": str(folder / "home"),
        "PYTHONPATH": f"{NOTEBOOKS.parent}:{NOTEBOOKS.parent / 'src'}",
    }


def wait_for(port: int, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + STARTED
    while time.monotonic() < deadline and server.poll() is None:
        with socket.socket() as probe:
            probe.settimeout(1)
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.2)
    pytest.fail(log.read_text())


def test_the_figures_are_there_and_say_what_they_show(page: str) -> None:
    # Outputs lie in the page as JSON, for its script to show.
    assert page.count("data:image/png;base64,") >= 8
    assert "Migrated users rise from 0 on 31 May 2026" in page
    assert "What stands out" in page and "Partner portal" in page


def test_a_browser_loads_nothing_from_outside(answer: httpx.Response) -> None:
    """Voilà's own template names fonts and scripts of other hosts; the page's policy keeps a browser from them."""
    policy = dict(part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'self'"
    allowed = {source for sources in policy.values() for source in sources.split()}
    assert {"'self'", "'unsafe-inline'", "'unsafe-eval'", "data:", "blob:"} >= {
        source for source in allowed if not source.startswith(("ws://localhost:", "ws://127.0.0.1:"))
    }


def test_the_filters_are_there(page: str) -> None:
    assert "jupyter.widget-view+json" in page


def test_the_source_is_not(page: str) -> None:
    for source in ("kit.open()", "s.progress.figures", "FiguresFilter(data)"):
        assert source not in re.sub(r"<[^>]+>", "", page)


def test_no_cell_failed(page: str) -> None:
    assert "Traceback" not in page and "There was an error when executing cell" not in page

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
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import nbformat
import pytest
from chromium import CHROMIUM, FLAGS, needs_chromium
from playwright.sync_api import expect, sync_playwright

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
def answer(address: str) -> httpx.Response:
    for nobody in ({}, {"token": "wrong"}):
        refused = httpx.get(address, params=nobody, timeout=RENDERED)
        assert refused.status_code in (302, 401, 403)
        assert "image/png" not in refused.text
    with httpx.Client(timeout=RENDERED, follow_redirects=True) as known:
        answer = known.get(address, params={"token": TOKEN})
    assert answer.status_code == 200
    return answer


@pytest.fixture(scope="module")
def address(set_up_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The dashboard of a tenant that is set up; its figures come from the recorded migration."""
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
        yield f"http://127.0.0.1:{port}/"
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


def test_the_policy_lets_a_browser_load_nothing_from_outside(answer: httpx.Response) -> None:
    """Voilà's own template names styles of another host."""
    policy = dict(part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'self'"
    allowed = {source for sources in policy.values() for source in sources.split()}
    assert {"'self'", "'unsafe-inline'", "'unsafe-eval'", "data:", "blob:"} >= {
        source for source in allowed if not source.startswith(("ws://localhost:", "ws://127.0.0.1:"))
    }


def test_the_source_and_the_lesson_are_not(page: str) -> None:
    for source in ("kit.open()", "s.progress.figures", "FiguresFilter(data)", "At the end you have", "tables_folder"):
        assert source not in re.sub(r"<[^>]+>", "", page)


def test_no_cell_failed(page: str) -> None:
    assert "Traceback" not in page and "There was an error when executing cell" not in page


@needs_chromium
@pytest.mark.parametrize("width", [390, 1280])
def test_a_browser_shows_figures_and_a_filter_and_loads_nothing_from_outside(
    address: str, serious: Callable[..., list[str]], width: int
) -> None:
    loaded: list[str] = []
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = chromium.new_page(viewport={"width": width, "height": 900})
        page.set_default_timeout(RENDERED * 1000)
        page.on("response", lambda response: loaded.append(urlsplit(response.url).hostname or ""))
        page.goto(f"{address}?token={TOKEN}")
        expect(page.locator("figure").last).to_be_visible(timeout=RENDERED * 1000)
        assert page.locator("h1").inner_text() == "8. Migration progress"
        assert page.get_by_role("heading").count() > 8 and page.locator("p > code").count() == 0
        assert page.locator("figure img[alt]").count() >= 8
        status = page.locator("[role=status]", has_text="people are moved.")
        everybody = status.inner_text()
        page.get_by_label("App", exact=True).focus()
        page.keyboard.press("ArrowDown")
        expect(status).not_to_have_text(everybody, timeout=RENDERED * 1000)
        assert serious(page) == []
        assert set(filter(None, loaded)) == {"127.0.0.1"}
        chromium.close()

"""The notebooks in a real browser: `jitkit lab`, a mouse, and what a screen reader reads."""

from __future__ import annotations

import asyncio
import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from helpers import kit, settings
from helpers.run_notebooks import NOTEBOOKS
from helpers.settings import Profile

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
EXPORT = Path(__file__).parents[2] / "sample_data" / "legacy_users.csv"
CAST = {f"{name}@woodgrove.example" for name in ("ada", "ben", "cleo", "dan", "eve", "fay", "gus", "jon")}
STARTED, RAN = 60.0, 90_000  # seconds, milliseconds: far more than it takes, for a busy machine
OUTPUTS = ".jp-OutputArea-output"

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed (apt-get install chromium)")


async def set_up(home: Path, export: Path) -> None:
    """Do what notebooks 00 to 06 do, with eight people."""
    settings.save(home, Profile(endpoint_port=0, export=str(export)))
    s = await kit.open(home)
    try:
        await s.attribute.ensure()
        for thing in (s.apps.extension, s.apps.extension_consent, s.apps.client, s.apps.client_consent):
            await thing.ensure()
        await s.apps.user_flow.ensure()
        await s.policies.extension.ensure()
        await s.policies.listener.ensure()
        await s.key.ensure()
        await s.users.apply(await s.users.plan(export))
    finally:
        await s.close()


def write_settings(folder: Path) -> None:
    """Let JupyterLab answer here, keep what it is given, and lay out every cell."""
    server = {"open_browser": False, "allow_root": True, "ip": "127.0.0.1", "port": 0}
    (folder / "jupyter_server_config.json").write_text(json.dumps({"ServerApp": server}))
    for plugin, choice in {
        "docmanager-extension/plugin": {"autosave": False},
        "notebook-extension/tracker": {"windowingMode": "none"},
    }.items():
        path = folder / "lab" / "user-settings" / "@jupyterlab" / f"{plugin}.jupyterlab-settings"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(choice))


def address_of(runtime: Path, process: subprocess.Popen[bytes], log: Path) -> dict[str, Any]:
    deadline = time.monotonic() + STARTED
    while time.monotonic() < deadline and process.poll() is None:
        for written in runtime.glob("jpserver-*.json"):
            found: dict[str, Any] = json.loads(written.read_text() or "{}")
            if found.get("port"):
                return found
        time.sleep(0.1)
    raise AssertionError(f"JupyterLab did not start:\n{log.read_text()}")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("lab")
    with EXPORT.open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    chosen = [rows[0], *(row for row in rows if row[rows[0].index("username")] in CAST)]
    assert len(chosen) == len(CAST) + 1
    with (folder / EXPORT.name).open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(chosen)
    shutil.copy(EXPORT.with_name("people.csv"), folder)
    shutil.copytree(NOTEBOOKS, folder / "notebooks")
    asyncio.run(set_up(folder / ".kit", folder / EXPORT.name))
    (folder / "config").mkdir()
    write_settings(folder / "config")
    env = os.environ | {"JIT_KIT_HOME": str(folder / ".kit")}
    env |= {f"JUPYTER_{name.upper()}_DIR": str(folder / name) for name in ("config", "data", "runtime")}
    env |= {"IPYTHONDIR": str(folder / "ipython")}
    log = folder / "lab.log"
    with log.open("wb") as out:
        command = [sys.executable, "-m", "helpers", "lab"]
        process = subprocess.Popen(command, env=env, stdout=out, stderr=out, start_new_session=True)
    try:
        yield address_of(folder / "runtime", process, log)
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)


@pytest.fixture(scope="module")
def browser(lab: dict[str, Any]) -> Iterator[Browser]:  # after `lab`: playwright keeps an event loop running
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield opened
        opened.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    opened = browser.new_page(viewport={"width": 1280, "height": 1000})
    yield opened
    opened.close()


def run_all(page: Page, lab: dict[str, Any], name: str) -> list[str]:
    """Open a notebook, choose Run > Run All Cells and wait for its checkpoint.

    Returns:
        The hosts that the page asked for anything.
    """
    hosts: list[str] = []
    page.on("request", lambda request: hosts.append(urlsplit(request.url).hostname or ""))
    page.goto(f"{lab['url']}lab/tree/notebooks/{name}.ipynb?reset&token={lab['token']}")
    expect(page.get_by_role("button", name="Python 3 (ipykernel) | Idle")).to_be_visible(timeout=RAN)
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    expect(page.locator(OUTPUTS).get_by_text("Checkpoint: what is there now")).to_be_visible(timeout=RAN)
    return hosts


def check_outputs(page: Page) -> None:
    """Nothing failed; every picture has words and every table says what it answers and heads its cells."""
    for kind in ("error", "stderr"):
        assert page.locator(f'[data-mime-type="application/vnd.jupyter.{kind}"]').all_inner_texts() == []
    notebook = page.locator(".jp-Notebook")
    for image in notebook.locator("img").all():
        assert len(image.get_attribute("alt") or "") > 20
        assert image.evaluate("image => image.complete && image.naturalWidth > 0"), image.get_attribute("alt")
    tables = page.locator(f"{OUTPUTS} table")
    assert tables.count() > 3
    for table in tables.all():
        assert table.locator("caption").text_content()
        assert table.locator("th[scope]").count() > 0
    too_wide = notebook.locator(f"{OUTPUTS} table").evaluate_all(
        "tables => tables.filter(t => t.offsetWidth > t.closest('.jp-OutputArea-output').clientWidth)"
        ".map(t => t.caption.textContent)"
    )
    assert too_wide == []


def test_a_user_signs_in_with_the_box(page: Page, lab: dict[str, Any]) -> None:
    hosts = run_all(page, lab, "07-sign-in")
    check_outputs(page)
    status = page.locator("[role=status]", has_text="press Sign in")
    expect(status).to_have_count(1)
    page.get_by_label("Sign-in name").fill("ben@woodgrove.example")
    expect(page.get_by_role("radio", name="the right one")).to_be_checked()
    page.get_by_role("button", name="Sign in", exact=True).click()
    expect(page.locator("[role=status]", has_text="ben@woodgrove.example: signed in")).to_be_visible(timeout=RAN)
    expect(page.get_by_role("table", name="Sign-in of ben@woodgrove.example: signed in, migrated")).to_be_visible()
    check_outputs(page)
    assert set(hosts) == {"127.0.0.1"}


@pytest.mark.slow
def test_the_figures_can_be_seen_and_read(page: Page, lab: dict[str, Any]) -> None:
    hosts = run_all(page, lab, "08-migration-progress")
    check_outputs(page)
    figures = page.locator(f"{OUTPUTS} figure")
    assert figures.count() == 10
    for figure in figures.all():
        assert len(figure.locator("figcaption").inner_text()) > 20
    assert set(hosts) == {"127.0.0.1"}
    page.locator(f"{OUTPUTS} a", has_text="report.html").click()
    report = page.frame_locator(".jp-HTMLViewer iframe")
    expect(report.get_by_role("heading", name="Password migration")).to_be_visible(timeout=RAN)

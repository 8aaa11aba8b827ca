"""The notebooks in a real browser: `jitkit lab`, a mouse, a keyboard alone, and what a screen reader reads."""

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
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from chromium import CHROMIUM, FLAGS, needs_chromium
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

from helpers import kit, settings
from helpers.run_notebooks import NOTEBOOKS
from helpers.settings import Profile

EXPORT = Path(__file__).parents[2] / "sample_data" / "legacy_users.csv"
CAST = {f"{name}@woodgrove.example" for name in ("ada", "ben", "cleo", "dan", "eve", "fay", "gus", "jon")}
Serious = Callable[..., list[str]]
STARTED, RAN = 300.0, 300_000  # seconds, milliseconds: far more than it takes, for a busy machine
OUTPUTS, PROSE = ".jp-OutputArea-output", ".jp-RenderedMarkdown"

pytestmark = needs_chromium


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
        command = [sys.executable, "-m", "helpers", "lab", "--expose-app-in-browser"]
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


def opened(browser: Browser) -> Page:
    page = browser.new_page(viewport={"width": 1280, "height": 1000})
    page.set_default_timeout(RAN)
    return page


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    page = opened(browser)
    yield page
    page.close()


def ran(browser: Browser, lab: dict[str, Any], name: str) -> Iterator[Page]:
    page = opened(browser)
    assert set(run_all(page, lab, name)) == {"127.0.0.1"}
    yield page
    page.close()


@pytest.fixture(scope="module")
def sign_in(browser: Browser, lab: dict[str, Any]) -> Iterator[Page]:
    """Notebook 07, run to its end."""
    yield from ran(browser, lab, "07-sign-in")


@pytest.fixture(scope="module")
def progress(browser: Browser, lab: dict[str, Any]) -> Iterator[Page]:
    """Notebook 08, run to its end."""
    yield from ran(browser, lab, "08-migration-progress")


def open_notebook(page: Page, lab: dict[str, Any], name: str) -> None:
    page.goto(f"{lab['url']}lab/tree/notebooks/{name}.ipynb?reset&token={lab['token']}")
    expect(page.get_by_role("button", name="Python 3 (ipykernel) | Idle")).to_be_visible(timeout=RAN)


def run_all(page: Page, lab: dict[str, Any], name: str) -> list[str]:
    """Open a notebook, choose Run > Run All Cells and wait for its checkpoint.

    Returns:
        The hosts that the page asked for anything.
    """
    hosts: list[str] = []
    page.on("request", lambda request: hosts.append(urlsplit(request.url).hostname or ""))
    open_notebook(page, lab, name)
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


def tab_to(page: Page, code: str, field: Locator) -> None:
    """Select the cell with this code by the arrow keys, then press Tab until the field in its output has the focus."""
    for _ in range(60):
        if code in page.locator(".jp-Cell.jp-mod-active").inner_text():
            break
        page.keyboard.press("ArrowUp")
    for _ in range(8):
        page.keyboard.press("Tab")
        if field.evaluate("field => field === document.activeElement"):
            return
    raise AssertionError(page.evaluate("document.activeElement.outerHTML"))


def change_theme(page: Page, name: str) -> None:
    page.evaluate("theme => window.jupyterapp.commands.execute('apputils:change-theme', {theme})", name)
    expect(page.locator(f'body[data-jp-theme-name="{name}"]')).to_be_attached(timeout=RAN)


def status_of(page: Page, words: str) -> Locator:
    return page.locator("[role=status]", has_text=words)


def test_a_cell_before_the_first_one_says_which_to_run(page: Page, lab: dict[str, Any]) -> None:
    open_notebook(page, lab, "01-extension-attribute")
    page.locator(".jp-CodeCell", has_text="await s.users.counts()").locator(".cm-content").click()
    page.keyboard.press("Shift+Enter")
    expect(page.locator(OUTPUTS)).to_contain_text("run the first code cells, down to", timeout=RAN)


def test_a_keyboard_alone_signs_people_in(sign_in: Page) -> None:
    expect(status_of(sign_in, "Then press Enter or Sign in.")).to_have_count(1)
    tab_to(sign_in, "box = SignInBox(s)", sign_in.get_by_label("Sign-in name"))
    sign_in.keyboard.type("GUS@Woodgrove.Example")
    sign_in.keyboard.press("Enter")
    expect(status_of(sign_in, "GUS@Woodgrove.Example: blocked")).to_be_visible(timeout=RAN)
    sign_in.keyboard.press("Control+A")
    sign_in.keyboard.type("nobody@woodgrove.example")
    sign_in.keyboard.press("Enter")
    expect(status_of(sign_in, "is not among the invented people: fill “Password” too.")).to_be_visible(timeout=RAN)
    sign_in.keyboard.press("Tab")
    sign_in.keyboard.type("Bad-Password-1")  # also letters that are JupyterLab's commands elsewhere
    sign_in.keyboard.press("Enter")
    expect(status_of(sign_in, "nobody@woodgrove.example: unknown user")).to_be_visible(timeout=RAN)
    expect(sign_in.get_by_label("Password", exact=True)).to_have_value("")


def test_a_user_signs_in_with_the_box(sign_in: Page) -> None:
    check_outputs(sign_in)
    sign_in.get_by_label("Sign-in name").fill("ben@woodgrove.example")
    sign_in.get_by_role("button", name="Sign in", exact=True).click()
    expect(status_of(sign_in, "ben@woodgrove.example: signed in")).to_be_visible(timeout=RAN)
    expect(sign_in.get_by_role("table", name="Sign-in of ben@woodgrove.example: signed in, migrated")).to_be_visible()
    check_outputs(sign_in)


@pytest.mark.parametrize("theme", ["JupyterLab Light", "JupyterLab Dark"])
def test_nothing_keeps_people_from_reading_a_lesson(sign_in: Page, serious: Serious, theme: str) -> None:
    change_theme(sign_in, theme)
    assert serious(sign_in, OUTPUTS, PROSE) == []


@pytest.mark.slow
def test_the_figures_can_be_seen_and_read(progress: Page) -> None:
    check_outputs(progress)
    figures = progress.locator(f"{OUTPUTS} figure")
    assert figures.count() == 10
    for figure in figures.all():
        assert len(figure.locator("figcaption").inner_text()) > 20


@pytest.mark.slow
def test_a_keyboard_alone_chooses_whose_figures_to_see(progress: Page) -> None:
    app = progress.get_by_label("App", exact=True)
    status = status_of(progress, "people are moved.")
    everybody = status.inner_text()
    tab_to(progress, "FiguresFilter(data)", app)
    for key in ("Space", "ArrowDown", "Enter"):  # closed, the list would leave the arrows to JupyterLab
        progress.keyboard.press(key)
    expect(status).not_to_have_text(everybody, timeout=RAN)
    for key in ("Space", "ArrowUp", "Enter"):
        progress.keyboard.press(key)
    expect(status).to_have_text(everybody, timeout=RAN)


@pytest.mark.slow
@pytest.mark.parametrize("theme", ["JupyterLab Light", "JupyterLab Dark"])
def test_nothing_keeps_people_from_reading_the_figures(progress: Page, serious: Serious, theme: str) -> None:
    change_theme(progress, theme)
    assert serious(progress, OUTPUTS, PROSE) == []


@pytest.mark.slow
def test_the_report_opens_from_its_link(progress: Page) -> None:
    progress.locator(f"{OUTPUTS} a", has_text="report.html").click()
    report = progress.frame_locator(".jp-HTMLViewer iframe")
    expect(report.get_by_role("heading", name="Password migration")).to_be_visible(timeout=RAN)

"""Notebooks as pages: they stand alone, and what is folded stays folded."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
from chromium import CHROMIUM, FLAGS, needs_chromium
from playwright.sync_api import sync_playwright

from helpers.run_notebooks import NOTEBOOKS, in_order, write_html, write_index


@pytest.mark.parametrize("path", in_order(), ids=lambda path: path.stem)
def test_a_page_stands_alone_and_hides_its_answers(path: Path, tmp_path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    page = tmp_path / "pages" / "page.html"
    write_html(notebook, page)
    html = page.read_text(encoding="utf-8")
    assert not re.search(r'src="(?!data:|")', html)
    folded = sum(cell.source.count("<details>") for cell in notebook.cells)
    assert len(re.findall(r"<details>\s*<summary>", html)) == folded
    assert not re.search(r"</summary>\s*</details>", html), "an answer lies open"
    assert "attachments" not in str(notebook), "the notebook itself is not changed"


@needs_chromium
def test_nothing_keeps_people_from_reading_a_page_on_a_phone(tmp_path: Path, serious: Callable[..., list[str]]) -> None:
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        shown = chromium.new_page(viewport={"width": 390, "height": 900})
        shown.set_default_timeout(300_000)  # far more than it takes, for a busy machine
        for path in in_order():
            write_html(nbformat.read(path, as_version=4), tmp_path / "page.html")
            shown.goto((tmp_path / "page.html").as_uri())
            assert serious(shown) == [], path.stem
            assert shown.evaluate("document.documentElement.scrollWidth") <= 390, path.stem
        chromium.close()


def test_links_between_pages_lead_to_pages(tmp_path: Path) -> None:
    folder, report = tmp_path / "pages", tmp_path / "report.html"
    report.write_text("<p>885 moved</p>", encoding="utf-8")
    for path in in_order():
        write_html(nbformat.read(path, as_version=4), folder / f"{path.stem}.html")
    index = write_index(folder, report)
    written = {path.name for path in folder.iterdir()}
    assert {f"{path.stem}.html" for path in (*in_order(), *NOTEBOOKS.glob("*.md"))} <= written
    for page in sorted(folder.glob("*.html")):
        links = re.findall(r'<a [^>]*href="([^"#]+)', page.read_text(encoding="utf-8"))
        assert [each for each in links if not each.startswith("https://") and each not in written] == [], page.name
        assert page == folder / "report.html" or links, page.name
    listed = re.findall(r'href="([^"#]+\.html)"', index.read_text(encoding="utf-8"))
    assert set(listed) == written - {index.name}
    assert "Start here</a>" in index.read_text(encoding="utf-8")
    assert "885 moved" in (folder / "report.html").read_text(encoding="utf-8")

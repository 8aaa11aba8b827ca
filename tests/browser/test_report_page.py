"""The report's page in a real browser: on a screen, in the dark, on a phone, and printed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from chromium import CHROMIUM, FLAGS, needs_chromium
from playwright.sync_api import Browser, Page, sync_playwright

from jitkit.progress.command import read
from jitkit.progress.report import Figures

SAMPLE = Path(__file__).parents[2] / "sample_data" / "migration"
# What of a page is drawn beyond the width of the screen, in a box that does not scroll by itself.
BEYOND = """() => [...document.querySelectorAll("main *")].filter(each => {
    const box = each.getBoundingClientRect();
    return box.width && box.right > document.documentElement.clientWidth + 1 && !each.closest("details:not([open])");
}).map(each => each.outerHTML.slice(0, 80))"""
OPEN_ALL = "document.querySelectorAll('details').forEach(each => { each.open = true; })"
WIDER = """() => [...document.querySelectorAll("table")].filter(each =>
    each.getBoundingClientRect().right > each.parentElement.getBoundingClientRect().right + 1
).map(each => each.caption.innerText)"""
SIZES = """() => [...document.querySelectorAll("svg text")].map(each => each.getBoundingClientRect().height)"""
COLOURS = """() => ["svg text", "body"].map(each => getComputedStyle(document.querySelector(each))).map(
    (style, place) => place ? style.backgroundColor : style.fill)"""

pytestmark = needs_chromium


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Figures(read(SAMPLE)).report(tmp_path_factory.mktemp("report"))


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


def opened(browser: Browser, report: Path, width: int, scheme: str = "light") -> tuple[Page, list[str]]:
    asked: list[str] = []
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)  # type: ignore[arg-type]
    page.on("request", lambda request: asked.append(request.url))
    page.goto(report.as_uri())
    return page, asked


@pytest.mark.parametrize("width", [390, 768, 1280])
def test_nothing_lies_beyond_the_screen_no_label_is_tiny_and_nothing_is_loaded(
    browser: Browser, report: Path, width: int
) -> None:
    page, asked = opened(browser, report, width)
    assert asked == [report.as_uri()]
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert page.evaluate(BEYOND) == []
    assert min(page.evaluate(SIZES)) > 9  # the height of a line of about 9 pixels
    page.close()


@pytest.mark.parametrize("width", [390, 768, 900, 1280])
def test_with_all_numbers_open_no_table_is_wider_than_its_place(browser: Browser, report: Path, width: int) -> None:
    page, _ = opened(browser, report, width)
    page.evaluate(OPEN_ALL)
    assert page.evaluate(WIDER) == []
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert page.evaluate(BEYOND) == []
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_keeps_people_from_reading_it(
    browser: Browser, report: Path, serious: Callable[..., list[str]], width: int, scheme: str
) -> None:
    page, _ = opened(browser, report, width, scheme)
    page.evaluate(OPEN_ALL)
    assert serious(page) == []
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pictures_are_written_in_the_ink_of_the_page(browser: Browser, report: Path, scheme: str) -> None:
    page, _ = opened(browser, report, 1280, scheme)
    ink, paper = (sum(map(int, re.findall(r"\d+", colour)[:3])) for colour in page.evaluate(COLOURS))
    assert (ink > 600 > 200 > paper) if scheme == "dark" else (ink < 200 < 600 < paper)
    page.close()


def test_it_prints_on_about_six_pages(browser: Browser, report: Path) -> None:
    page, _ = opened(browser, report, 1280)
    printed = page.pdf(format="A4", prefer_css_page_size=True)
    assert 4 <= len(re.findall(rb"/Type\s*/Page\b(?!s)", printed)) <= 7
    page.close()


def test_no_heading_ends_a_printed_page(browser: Browser, report: Path) -> None:
    page, _ = opened(browser, report, 1280)
    page.emulate_media(media="print")
    for part in page.query_selector_all("h2, caption, h2 + p"):
        assert part.evaluate("each => getComputedStyle(each).breakAfter") == "avoid"
    for part in page.query_selector_all("figure, table"):
        assert part.evaluate("each => getComputedStyle(each).breakInside") == "avoid"
    page.close()

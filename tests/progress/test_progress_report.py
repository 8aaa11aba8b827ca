"""The report is one page that needs nothing else, with its numbers beside it."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
from story import ledger, sign_ins, told, users

from jitkit.errors import BadTable
from jitkit.progress import states
from jitkit.progress.figures import strange_rows
from jitkit.progress.forecast import CALIBRATION
from jitkit.progress.report import Figures
from jitkit.progress.tables import Tables

CSVS = {
    f"{name}.csv"
    for name in (
        *("abuse", "campaigns", "cohorts", "coverage", "curve", "cut_over", "daily", "do_next", "failures"),
        *("forecast", "forecast_lines", "interruptions"),
        *("latency", "legacy_data", "outcomes", "quality", "reconciliation", "remaining", "states", "stragglers"),
    )
}


class Page(HTMLParser):
    """What a page holds, and whether its elements close."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)
        assert text.startswith("<!DOCTYPE html>")
        assert self.open == []
        self.text = " ".join(self.text.split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Figures(told()).report(tmp_path_factory.mktemp("report") / "new" / "folder").parent


def test_the_page_stands_alone_and_can_be_read_by_everybody(folder: Path) -> None:
    text = (folder / "report.html").read_text(encoding="utf-8")
    page = Page(text)
    assert page.all("html") == [{"lang": "en"}]
    assert [tag for tag, _ in page.tags if tag in ("h1", "h2")] == ["h1", *["h2"] * 9]
    assert len(page.all("svg")) == len(page.all("figcaption")) == 5 and not page.all("img")
    assert all(image["role"] == "img" and image["aria-label"] for image in page.all("svg"))
    assert len(page.all("caption")) == len(page.all("table")) > 5
    assert all(cell.get("scope") in ("col", "row") for cell in page.all("th"))
    assert not page.all("script") + page.all("link")
    assert not [value for _, attributes in page.tags for value in attributes.values() if value and "//" in value]
    assert "prefers-color-scheme: dark" in text
    assert "@media print" in text
    assert "3 of 6 people are moved (50.0 %)." in page.text
    assert "As of 2 Nov 2026 09:05 UTC" in page.text


def test_pictures_take_the_pages_colours_and_font_and_share_no_name(folder: Path) -> None:
    text = (folder / "report.html").read_text(encoding="utf-8")
    page = Page(text)
    pictures = re.findall("<svg.*?</svg>", text, re.DOTALL)
    assert all("currentColor" in picture and "<text" in picture for picture in pictures)
    assert not re.search("font-family|<style|<metadata|#000000|#0072b2|#ffffff", "".join(pictures), re.IGNORECASE)
    names = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(names) == len(set(names))
    referred = {*re.findall(r'href="(.*?)"|url\((.*?)\)', "".join(pictures))}
    assert {first or second for first, second in referred} <= {f"#{name}" for name in names}


def test_disagreements_are_grouped_by_their_cause(tmp_path: Path) -> None:
    """ann and bob are moved, and this ledger has another answer than yes about each."""
    answers = ledger().iloc[[0, 2]].assign(user_id=["ann", "bob"], action=["Block", "Retry"])
    figures = Figures(Tables(users=users(), sign_ins=sign_ins().assign(callout_error=0), ledger=answers))
    page = Page(figures.report(tmp_path).read_text(encoding="utf-8"))
    differ = pd.read_csv(tmp_path / "reconciliation.csv").query("not agree")
    assert 0 < differ["cause"].nunique() < len(differ)
    assert all(page.text.count(cause) == 1 for cause in differ["cause"])


def test_what_stands_out_and_every_question_come_before_the_first_figure(folder: Path) -> None:
    text = (folder / "report.html").read_text(encoding="utf-8")
    opening = text[: text.index("<svg")]
    assert re.findall("<dt>(.*?)</dt>", opening) == [
        "How many moved?",
        "How fast?",
        "Who is stuck, and why?",
        "Who never comes back?",
        "When may the old system be switched off?",
    ]
    assert opening.index("What stands out") > opening.rindex("<dt>")


def test_the_numbers_lie_next_to_it(folder: Path) -> None:
    found = json.loads((folder / "metrics.json").read_text())
    assert states.summary(told()).items() <= found.items()
    assert (found["forecast"], found["never_return"], found["backtest"]) == ([], None, None)
    assert found["cut_over"]["reason"].startswith("It is too early to tell")
    assert {entry.name for entry in folder.iterdir()} == {
        "metrics.json",
        "report.html",
        "report.xlsx",
        "history.csv",
        *CSVS,
    }
    assert len(pd.read_csv(folder / "stragglers.csv")) == 3
    assert pd.read_csv(folder / "curve.csv")["migrated"].tolist() == [0, 1, 2, 3, 3]


def test_a_report_of_an_earlier_moment(tmp_path: Path) -> None:
    Figures(told().until(pd.Timestamp("2026-11-02T09:02:30Z"))).report(tmp_path)
    found = json.loads((tmp_path / "metrics.json").read_text())
    assert (found["as_of"], found["migrated"], found["by_path"]["reset"]) == ("2026-11-02T09:02:30Z", 2, 0)


def test_nothing_to_tell_still_makes_a_page_without_empty_pictures_and_tables(tmp_path: Path) -> None:
    page = Page(Figures(Tables()).report(tmp_path).read_text(encoding="utf-8"))
    assert not page.all("svg") and "No user has been flagged yet" in page.text
    assert "Why people are left;" not in page.text


def test_titles_cells_and_problems_of_the_export_that_are_markup_stay_text(tmp_path: Path) -> None:
    problems = pd.DataFrame([("<b>damaged</b>", "created", 13)], columns=["cause", "result", "rows"])
    figures = Figures(Tables(users=users().assign(country="<script>x</script>"), sign_ins=told().sign_ins))
    text = figures.report(tmp_path, title="A & B", export_problems=problems).read_text(encoding="utf-8")
    assert "<script>" not in text
    page = Page(text)
    assert "<b>damaged</b>" in page.text
    assert page.all("b") == []
    assert "A & B" in page.text


def test_writing_again_replaces_the_files_and_a_file_in_the_way_is_refused(folder: Path) -> None:
    Figures(told()).report(folder)
    assert len(list(folder.iterdir())) == len(CSVS) + 4
    with pytest.raises(BadTable, match="cannot be written"):
        Figures(Tables()).report(folder / "report.html")


def strangers() -> Tables:
    ids = [f"p{number}@fabrikam.example" for number in range(6)]
    log = pd.concat([sign_ins().assign(time=f"2026-11-02T1{hour}:00Z") for hour in range(4)])
    return Tables(users=users().assign(user_id=ids), sign_ins=log)


def test_logs_with_other_ids_than_the_users_are_named_and_nothing_is_said_from_them() -> None:
    figures = Figures(strangers())
    (found,) = (each for each in figures.findings if each.kind == "strange ids")
    assert "None of the 28 rows" in found.words
    assert "nothing confirms it" in figures.answers["How many moved?"]
    assert figures.answers["Who is stuck, and why?"] == "3 people are left, and no log shows an attempt to sign in."
    assert strange_rows(told()) == strange_rows(Tables()) == 0


def test_without_logs_nothing_is_said_of_tries_outages_and_tokens(tmp_path: Path) -> None:
    tables = Tables(users=users())
    page = Page(Figures(tables).report(tmp_path).read_text(encoding="utf-8")).text
    assert "no log shows an attempt" in page and "never tried" not in page
    assert "sign-in log, which does not cover the whole time" in page and "no outage, no stall" not in page
    logged = Tables(users=users(), sign_ins=sign_ins())
    page = Page(Figures(logged).report(tmp_path).read_text(encoding="utf-8")).text
    assert "wrong password was typed" in page and "valid token" not in page
    bare = Tables(users=users(), sign_ins=sign_ins(), ledger=ledger().assign(cause=None))
    page = Page(Figures(bare).report(tmp_path).read_text(encoding="utf-8")).text
    assert "valid token" not in page and "Entra called a second time" in page
    unread = Tables(users=users(), ledger=ledger().query("attempt != 2"))
    page = Page(Figures(unread).report(tmp_path).read_text(encoding="utf-8")).text
    assert "valid token" not in page and "Entra called" not in page and "The calls never came near" in page


def test_the_answers_are_true_of_one_of_everybody_and_of_a_slow_pace() -> None:
    flagged, day = pd.Timestamp("2026-03-02T00:00Z"), pd.Timedelta(days=1)
    moved = [flagged + place * day for place in (0.5, 10.5, 11.5, 12.5)]
    all_moved = pd.DataFrame({"user_id": list("abcd"), "flagged_at": flagged, "migrated_at": moved})
    done = answers(all_moved, flagged + 16 * day)
    assert done["How fast?"] == "0.4 people a day, over the last 7 days. In the first 7 days it was 0.1 a day."
    assert done["Who never comes back?"] == "No user is left."
    assert done["When may the old system be switched off?"] == "Now: all users are moved."
    noon = all_moved.assign(flagged_at=flagged + 0.6 * day, migrated_at=[flagged + 1.1 * day, *moved[1:]])
    at_once = noon.assign(migrated_at=[flagged + 0.7 * day, *moved[1:]])
    evening = all_moved.assign(flagged_at=flagged + 9.9 * day, migrated_at=[*moved[1:], pd.NaT])
    for people, days, words in (
        (noon, 16, "In the first 7 days it was 0.1 a day."),
        (at_once, 16, "In the first 7 days it was 0 a day."),
        (evening, 12.5, "1 people a day, over the last 2 days."),
        (evening, 10.7, "The first whole day is not over yet."),
        (users().drop(columns="flagged_at"), None, "No table says when people were flagged."),
    ):
        assert answers(people, days and flagged + days * day)["How fast?"].endswith(words)
    alone = Figures(Tables(users=users().tail(1), sign_ins=sign_ins())).answers
    assert alone["How many moved?"] == "0 of 1 person is moved (0.0 %)."
    assert alone["Who is stuck, and why?"].startswith("1 person is left")


def answers(people: pd.DataFrame, as_of: pd.Timestamp | None) -> dict[str, str]:
    return Figures(Tables(users=people, as_of=as_of)).answers


def test_the_page_says_what_the_forecast_assumes_and_how_often_it_was_right(tmp_path: Path) -> None:
    flagged, day = pd.Timestamp("2026-03-02T00:00Z"), pd.Timedelta(days=1)
    moved = [flagged + (0.3 + place % 20) * day for place in range(200)] + [pd.NaT] * 200
    people = pd.DataFrame({"user_id": [f"u{n}" for n in range(400)], "flagged_at": flagged, "migrated_at": moved})
    figures = Figures(Tables(users=people, as_of=flagged + 21 * day))
    page = Page(figures.report(tmp_path).read_text(encoding="utf-8")).text
    assert "no new reminder, no outage, no users added" in page
    measured = (Path(__file__).parents[2] / "benchmarks" / "RESULTS.md").read_text(encoding="utf-8")
    held = CALIBRATION["survival"]["unseen"]
    row = r"\| kinds never used in building \| {} \| \d+ \| \d+ \| {} \|"
    for days, said in ((30, "times in 100 what came in 30 days"), (90, "times what came in 90")):
        share = round(100 * held[f"days_{days}"])
        assert f"{share} {said}" in page and re.search(row.format(days, share), measured)
    never = round(100 * held["never"])
    assert f"{never} times the share that never returns" in page
    assert f"{never} % of kinds never used in building" in measured
    assert f"about {round(10 * held['never'])} times in 10" in page

"""What other programs open: CSV files, the workbook with its dictionary, the mail, and the numbers of the page."""

from __future__ import annotations

import io
import json
from email import message_from_bytes
from email.policy import default
from pathlib import Path

import openpyxl
import pandas as pd
import pytest
from PIL import Image
from story import sign_ins, told, users

from jitkit.progress.mail import as_mail
from jitkit.progress.output_files import as_csv, as_workbook
from jitkit.progress.report import SCHEMA_VERSION, Figures
from jitkit.progress.tables import DICTIONARY, Tables

HOSTILE = ["=1+1", "@SUM(1)", "+1", "-1", "#N/A", "plain", "\x01\x02", "x" * 40_000]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Figures(told()).report(tmp_path_factory.mktemp("report")).parent


def test_a_spreadsheet_reads_the_csv_files_as_utf_8_with_times_that_it_knows(folder: Path) -> None:
    for path in folder.glob("*.csv"):
        assert path.read_bytes().startswith("\ufeff".encode()), path.name
    times = [pd.Timestamp("2026-11-02T09:05:30Z"), pd.NaT]
    text = as_csv(pd.DataFrame({"at": times, "who": ["Zoë", "=1"], "=1": [1, 2]}))
    assert text.decode() == "\ufeffat,who,'=1\n2026-11-02 09:05:30,Zoë,1\n,'=1,2\n"
    assert (folder / "latency.csv").read_text(encoding="utf-8-sig").splitlines()[-1] == '"> 2,000 ms",,2'


def test_the_workbook_has_a_sheet_a_table_with_real_dates_and_numbers(folder: Path) -> None:
    book = openpyxl.load_workbook(folder / "report.xlsx")
    names = {path.stem for path in folder.glob("*.csv")} - {"history"}
    assert {*book.sheetnames} == {"dictionary", *names}
    (head, *rows) = book["curve"].iter_rows(values_only=True)
    assert head[:2] == ("time", "migrated")
    assert (rows[1][0], rows[1][1]) == (pd.Timestamp("2026-11-02 09:01"), 1)
    days = book["daily"]["A"]
    assert days[1].value == pd.Timestamp("2026-11-02") and days[1].number_format == "yyyy-mm-dd"
    assert book["curve"].freeze_panes == "A2"


def test_every_column_of_the_workbook_is_explained(folder: Path) -> None:
    book = openpyxl.load_workbook(folder / "report.xlsx", read_only=True)
    known = {(sheet, column): words for sheet, column, words in book["dictionary"].iter_rows(2, values_only=True)}
    own = {*users().columns}
    for name in set(book.sheetnames) - {"dictionary"}:
        assert known[name, None]
        for column in next(book[name].iter_rows(values_only=True)):
            assert known[name, column] and (column in DICTIONARY["columns"] or column in own), (name, column)


def test_no_cell_of_the_workbook_acts_and_the_odd_ones_fit() -> None:
    frame = pd.DataFrame({"=1+1": HOSTILE, "number": [1.5, float("inf"), None, 2, 3, 4, 5, 6]})
    DICTIONARY["sheets"]["abuse"]
    book = openpyxl.load_workbook(io.BytesIO(as_workbook({"abuse": frame}, None)))
    cells = [cell for row in book["abuse"].iter_rows() for cell in row if cell.value is not None]
    assert not [cell for cell in cells if cell.data_type not in ("s", "n")]
    texts = [cell.value for cell in book["abuse"]["A"]]
    assert texts[:7] == ["=1+1", *HOSTILE[:6]] and texts[7] == "\ufffd\ufffd" and len(texts[8]) == 32_767
    assert [cell.value for cell in book["abuse"]["B"]][1:4] == [1.5, None, None]


def test_a_table_that_is_too_long_for_a_sheet_is_named_with_its_file() -> None:
    frame = pd.DataFrame({"user_id": [f"u{n}" for n in range(20_001)]})
    book = openpyxl.load_workbook(io.BytesIO(as_workbook({"stragglers": frame}, None)), read_only=True)
    assert book.sheetnames == ["dictionary"]
    assert "it has 20,001 rows: see stragglers.csv" in list(book["dictionary"].iter_rows(values_only=True))[2][2]


def test_the_metrics_hold_the_pages_figures_as_numbers(folder: Path) -> None:
    found = json.loads((folder / "metrics.json").read_text())
    assert found["schema_version"] == SCHEMA_VERSION == 1
    assert found["pace"] == {"all": None, "first_7_days": None, "last_7_days": None}
    assert found["abuse"]["wrong"] == 2 and found["abuse"]["strangers"] == 1
    assert {row["cohort"]: row["migrated"] for row in found["cohorts"]} == {"DE": 2, "FR": 1, "IT": 0}
    assert sum(row["count"] for row in found["answers"]) == 6 and found["calls"]["over_limit"] == 2
    assert found["agreement"] == {"agree": 6, "differ": 0}
    assert sum(row["users"] for row in found["remaining_by_reason"]) == found["remaining"] == 3
    for path in folder.glob("*.csv"):
        if path.stem in ("remaining", "cohorts"):
            shown = {"remaining": "remaining_by_reason"}.get(path.stem, path.stem)
            assert len(pd.read_csv(path)) == len(found[shown])


def test_the_pace_is_a_number(tmp_path: Path) -> None:
    start, day = pd.Timestamp("2026-03-02T00:00Z"), pd.Timedelta(days=1)
    moved = [start + (place + 0.5) * day for place in range(20)]
    people = pd.DataFrame({"user_id": map(str, range(20)), "flagged_at": start, "migrated_at": moved})
    Figures(Tables(users=people, as_of=start + 20.9 * day)).report(tmp_path)
    found = json.loads((tmp_path / "metrics.json").read_text())
    assert found["pace"] == {"all": 1.0, "first_7_days": 1.0, "last_7_days": 1.0}
    assert [row["moved"] for row in found["daily"]][:2] == [1, 1]


def test_the_mail_has_a_subject_a_plain_text_and_pictures_that_it_brings_along(tmp_path: Path) -> None:
    figures = Figures(told())
    mail = message_from_bytes(as_mail(figures, figures.write(tmp_path)), policy=default)
    assert mail["Subject"].startswith("Password migration: 3 of 6 moved (50 %) on 2 Nov 2026")
    assert mail["X-Unsent"] == "1" and mail["To"] is None
    plain, page = mail.get_body(("plain",)), mail.get_body(("html",))
    assert plain is not None and "3 of 6 people are moved (50.0 %)." in plain.get_content()
    assert page is not None
    words = page.get_content()
    pictures = {part["Content-ID"].strip("<>"): part for part in mail.walk() if part.get_content_type() == "image/png"}
    assert {*pictures} == {"curve", "course"}
    for name, part in pictures.items():
        assert f'src="cid:{name}"' in words and part.get_content_disposition() == "inline"
        assert Image.open(io.BytesIO(part.get_content())).format == "PNG"
    assert "data:" not in words and "http" not in words and "<script" not in words and "<svg" not in words


def test_a_mail_holds_no_ids_and_markup_in_it_stays_text(tmp_path: Path) -> None:
    lagging = pd.concat([users().assign(user_id=[f"{name}-{n}" for name in users()["user_id"]]) for n in range(60)])
    lagging["country"] = ["<b>X</b>" if pd.isna(at) else "DE" for at in lagging["migrated_at"]]
    figures = Figures(Tables(users=lagging, sign_ins=sign_ins(), as_of=pd.Timestamp("2026-11-20T00:00Z")))
    text = as_mail(figures, figures.write(tmp_path), "A & B").decode()
    mail = message_from_bytes(text.encode(), policy=default)
    body = mail.get_body(("html",))
    assert body is not None and "<b>" not in body.get_content() and "A &amp; B" in body.get_content()
    assert "&lt;b&gt;X&lt;/b&gt;" in body.get_content()
    assert "ann-1" not in text and "fay-2" not in text

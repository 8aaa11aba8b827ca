"""Tables from strangers: names that act in a spreadsheet, a terminal or a formula, columns of names, odd files."""

from __future__ import annotations

import csv
import json
import os
import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree
from zipfile import ZipFile

import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet

from jitkit.errors import BadTable
from jitkit.progress.command import read, report
from jitkit.progress.report import Figures
from jitkit.progress.table_files import gather, read_table
from jitkit.progress.tables import Tables

ESCAPE = "\x1b]0;owned\x07\x1b[31mred\u202e\ufffe"
FORMULAS = ["=HYPERLINK(1)", "+cmd|x", "-1+1", "@SUM(1)"]
DRAWN = {"svg", "g", "defs", "path", "use", "text", "clipPath", "rect", "pattern"}
HOSTILE = {"plain": "plain"} | {each: f"'{each}" for each in FORMULAS}


def users(**columns: list[str]) -> pd.DataFrame:
    rows = len(next(iter(columns.values())))
    return pd.DataFrame(
        {
            "user_id": [f"u{number:04}" for number in range(rows)],
            "flagged_at": "2026-06-01T00:00:00Z",
            "migrated_at": [f"2026-06-{2 + number % 20:02}T10:00:00Z" if number % 3 else "" for number in range(rows)],
            **columns,
        }
    )


def written(folder: Path, frame: pd.DataFrame, **more: str) -> tuple[Path, str]:
    frame.to_csv(folder / "users.csv", index=False)
    return folder / "out", report({"users": folder / "users.csv"}, folder / "out", **more)[0]


def test_formulas_of_a_spreadsheet_are_text(tmp_path: Path) -> None:
    out, _ = written(tmp_path, users(country=[*HOSTILE] * 30))
    for name in ("cohorts.csv", "stragglers.csv"):
        with (out / name).open(encoding="utf-8-sig", newline="") as file:
            found = {row.get("cohort") or row.get("country") for row in csv.DictReader(file)}
        assert found == set(HOSTILE.values()), name


def test_what_an_endpoint_wrote_is_no_formula_either(tmp_path: Path) -> None:
    line = {"time": "2026-06-03T10:00:00Z", "user_id": "u0001", "action": "=1+1", "cause": "@sum(1)", "duration_ms": 5}
    (tmp_path / "ledger.jsonl").write_text(json.dumps(line) + "\n")
    users(country=["DE"] * 30).to_csv(tmp_path / "users.csv", index=False)
    Figures(read(tmp_path)).report(tmp_path / "out")
    for path in (tmp_path / "out").glob("*.csv"):
        with path.open(encoding="utf-8-sig", newline="") as file:
            cells = [cell for row in csv.reader(file) for cell in row]
        assert not [cell for cell in cells if cell[:1] in ("=", "+", "@", "\t", "\r")], path.name


@pytest.mark.parametrize("name", ["$\\frac$", "$x$ and $y$", "a_{b}^$", "$$"])
def test_dollar_signs_in_a_name_are_no_formula(tmp_path: Path, name: str) -> None:
    frame = users(country=[name, "DE", "FR"] * 40)
    chart = Figures(read_tables(tmp_path, frame)).cohorts("country")
    assert chart.png.startswith(b"\x89PNG")
    assert name in chart.data["group"].tolist()


@pytest.mark.parametrize("name", ["</text><script>alert(1)</script>", '" onload="alert(1)', "url(http://a.example/x)"])
def test_markup_in_a_name_stays_text_in_a_picture(tmp_path: Path, name: str) -> None:
    figures = Figures(read_tables(tmp_path, users(country=[name, "DE", "FR"] * 40)))
    picture = ElementTree.fromstring(figures.cohorts("country").svg)
    assert any(name[:8] in (element.text or "") for element in picture.iter("text"))
    assert not [element for element in picture.iter() if element.tag not in DRAWN]
    page = figures.report(tmp_path / "out").read_text(encoding="utf-8")
    found: list[tuple[str, str | None]] = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attributes: found.extend([(tag, ""), *attributes])  # type: ignore[method-assign]
    parser.feed(page)
    assert "svg" in dict(found) and not {"script", "onload", "src"} & dict(found).keys()
    assert not re.search(r'="[^"]*url\(h', re.sub(r'aria-label="[^"]*"|<text.*?</text>', "", page))


def read_tables(folder: Path, frame: pd.DataFrame) -> Tables:
    frame.to_csv(folder / "users.csv", index=False)
    return read(folder)


def test_escapes_reach_neither_the_terminal_nor_a_picture_nor_the_page(
    tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    lagging = users(country=[ESCAPE if number % 2 else "DE" for number in range(200)])
    lagging.loc[lagging["country"] == ESCAPE, "migrated_at"] = ""
    out, said = written(tmp_path, lagging)
    warned = "".join(str(warning.message) for warning in recwarn)
    page = (out / "report.html").read_text(encoding="utf-8")
    for text in (said, warned, page, (out / "cohorts.csv").read_text(encoding="utf-8")):
        assert not set(text) & set("\x1b\x07\u202e\ufffe")
    assert "owned" in said


PEOPLE = [f"Ann Example {number}" for number in range(80)]


@pytest.mark.parametrize(
    ("column", "cells"),
    [
        ("username", [f"ann{number}@contoso.example" for number in range(80)]),
        ("contact", [f"ann{number}@contoso.example" for number in range(80)]),
        ("contact", [f"Ann <ann{number % 3}@contoso.example>" for number in range(80)]),
        ("contact", ["none"] * 79 + ["ann@contoso.example"]),
        ("display_name", PEOPLE),
        ("who", PEOPLE),
        ("mail", ["x"] * 80),
    ],
)
def test_columns_that_name_people_are_no_groups(tmp_path: Path, column: str, cells: list[str]) -> None:
    out, said = written(tmp_path, users(country=["DE", "FR"] * 40, **{column: cells}))
    with ZipFile(out / "report.xlsx") as book:
        shown = said + "".join(book.read(name).decode() for name in book.namelist())
    shown += "".join(path.read_text(encoding="utf-8") for path in out.iterdir() if path.suffix != ".xlsx")
    for cell in {*cells} - {"none", "x"}:
        assert cell not in shown
    assert column in (out / "quality.csv").read_text(encoding="utf-8")
    assert "DE" in (out / "cohorts.csv").read_text(encoding="utf-8")


def test_dates_numbers_and_shared_texts_stay_groups(tmp_path: Path) -> None:
    frame = users(
        last_legacy_sign_in=[f"2026-05-{1 + number % 28:02}" for number in range(80)],
        joined=[f"{1 + number % 28}.{1 + number // 28}.2026" for number in range(80)],
        visits=[str(number) for number in range(80)],
        plan=[f"plan {number % 12}" for number in range(80)],
    )
    assert Figures(read_tables(tmp_path, frame)).dimensions == ["last_legacy_sign_in", "joined", "visits", "plan"]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such permissions")
@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o027, 0o640)])
def test_files_follow_the_umask_and_lists_of_people_are_their_owners(tmp_path: Path, umask: int, mode: int) -> None:
    before = os.umask(umask)
    try:
        out, _ = written(tmp_path, users(country=["DE", "FR"] * 20))
    finally:
        os.umask(before)
    modes = {path.name: path.stat().st_mode & 0o777 for path in out.iterdir()}
    assert modes.pop("stragglers.csv") == modes.pop("report.xlsx") == 0o600
    assert set(modes.values()) == {mode}


@pytest.mark.parametrize("name", ["sign_ins.json", "sign_ins.jsonl"])
def test_json_that_is_nested_too_deeply_is_refused_in_a_sentence(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text('[{"time": ' + "[" * 100_000 + "]" * 100_000 + "}]\n")
    with pytest.raises(BadTable, match="is broken"):
        read_table(tmp_path / name, "sign_ins")


DEEP = ["[" * 100_000 + "]" * 100_000, '{"a":' * 100_000 + "1" + "}" * 100_000]


@pytest.mark.parametrize("deep", [*DEEP, *(f"[{each}]" for each in DEEP)], ids=["lists", "objects", "1", "2"])
@pytest.mark.parametrize(
    ("column", "row"),
    [
        ("AppliedEventListeners", {"TimeGenerated": "2026-06-03T10:00:00Z", "UserId": "u0001", "ResultType": "0"}),
        ("TargetResources", {"TimeGenerated": "2026-06-03T10:00:00Z", "ActivityDisplayName": "Update user"}),
        ("Message", {"TimeGenerated": "2026-06-03T10:00:00Z"}),
        ("Properties", {"TimeGenerated": "2026-06-03T10:00:00Z", "Message": "x"}),
        ("properties", {"time": "2026-06-03T10:00:00Z", "category": "SignInLogs"}),
    ],
    ids=["listeners", "targets", "message", "properties", "record"],
)
def test_a_nested_column_that_is_too_deep_is_not_read(
    tmp_path: Path, column: str, row: dict[str, str], deep: str
) -> None:
    pd.DataFrame([row | {column: deep}]).to_csv(tmp_path / "export.csv", index=False)
    try:
        found = gather({}, [tmp_path / "export.csv"])
    except BadTable:
        return
    assert [len(table) for tables in found.parts.values() for table in tables] in ([0], [1])


def test_a_small_file_with_absurdly_many_rows_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jitkit.progress.table_files._MOST_ROWS", 1000)
    many = pa.table({"user_id": pa.array(["a"] * 1001), "flagged_at": pa.nulls(1001, pa.string())})
    parquet.write_table(many, tmp_path / "users.parquet")
    with pytest.raises(BadTable, match="1,001 rows"):
        read_table(tmp_path / "users.parquet", "users")

"""Tables as people bring them: dates that mean nothing, columns that cannot be read, times as browsers write them.

`public/` holds small tables made for public reports of what other tools read wrongly: 24 people, of whom 20 moved and 4
met a time-out of the endpoint (1003005).
"""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from jitkit.errors import BadTable
from jitkit.progress.command import report
from jitkit.progress.table_files import read_table
from jitkit.progress.tables import Spelling, Tables, times

PUBLIC = Path(__file__).with_name("public")


def metrics(out: Path, **files: str) -> dict[str, object]:
    named = {"users": "users.csv", **files}
    report({kind: PUBLIC / name for kind, name in named.items()}, out)
    read: dict[str, object] = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
    return read


def test_the_sound_tables(tmp_path: Path) -> None:
    found = metrics(tmp_path, sign_ins="sign-ins.csv")
    assert (found["in_scope"], found["migrated"]) == (24, 20)
    assert sum(found["failures"].values()) == 4  # type: ignore[attr-defined]


@pytest.mark.parametrize("zero", ["1970", "1900"])
def test_a_zero_of_a_clock_is_no_migration(tmp_path: Path, zero: str) -> None:
    found = metrics(tmp_path, users=f"r-never-moved-as-{zero}.users.csv")
    assert (found["in_scope"], found["migrated"]) == (24, 20)
    assert "count as empty" in (tmp_path / "quality.csv").read_text(encoding="utf-8")


@pytest.mark.parametrize("zero", ["1970", "1601"])
def test_a_zero_of_a_clock_is_no_flag(tmp_path: Path, zero: str) -> None:
    found = metrics(tmp_path, users=f"r-flagged-at-{zero}.users.csv")
    assert (found["in_scope"], found["migrated"]) == (24, 20)


@pytest.mark.parametrize("year", ["1970", "2106", "0001"])
def test_one_sign_in_at_the_zero_or_the_end_of_a_clock_does_not_stop_the_report(tmp_path: Path, year: str) -> None:
    found = metrics(tmp_path, sign_ins=f"r-one-sign-in-{year}.sign-ins.csv")
    assert (found["in_scope"], found["migrated"]) == (24, 20)
    assert "days without" not in (tmp_path / "quality.csv").read_text(encoding="utf-8")


def test_a_time_that_cannot_be_is_refused_with_its_row_and_year() -> None:
    with pytest.raises(BadTable, match="migrated_at of users holds a time of the year 2206 in row 1"):
        read_table(PUBLIC / "r-one-migrated-at-2206.users.csv", "users")


@pytest.mark.parametrize("zero", ["1899-12-30T00:00:00Z", "1904-01-01", "9999-12-31T23:59:59Z", "0001-01-01T00:00:00"])
def test_other_systems_write_other_days_for_never(zero: str) -> None:
    users = pd.DataFrame({"user_id": ["a", "b"], "flagged_at": "2026-06-01", "migrated_at": [zero, "2026-06-02"]})
    tables = Tables(users=users)
    assert tables.users["migrated_at"].notna().tolist() == [False, True]
    assert [(each.rows, "users" in each.cause) for each in tables.remarks] == [(1, True)]
    assert len(tables.until(pd.Timestamp("2026-06-03")).remarks) == 1


@pytest.mark.parametrize("name", ["object-object", "column-missing"])
def test_listeners_that_cannot_be_read_are_not_taken_for_none(name: str) -> None:
    with pytest.raises(BadTable, match="does not show which sign-ins asked"):
        read_table(PUBLIC / f"r-listeners-{name}.sign-ins.csv", "sign_ins")


def test_json_in_json_is_read(tmp_path: Path) -> None:
    found = metrics(tmp_path, sign_ins="r-listeners-quoted-twice.sign-ins.csv")
    assert sum(found["failures"].values()) == 4  # type: ignore[attr-defined]
    sound, twice = (
        read_table(PUBLIC / name, "sign_ins") for name in ("sign-ins.csv", "r-listeners-quoted-twice.sign-ins.csv")
    )
    pd.testing.assert_frame_equal(sound, twice)


@pytest.mark.parametrize("name", ["no-fraction", "fraction-no-comma", "comma-no-fraction", "mixed"])
def test_clock_times_of_a_browser_are_read(name: str) -> None:
    sound, read = (read_table(PUBLIC / each, "sign_ins") for each in ("sign-ins.csv", f"r-time-us-{name}.sign-ins.csv"))
    pd.testing.assert_series_equal(sound["time"], read["time"].dt.floor("s"))


@pytest.mark.parametrize(
    ("texts", "first"),
    [
        (["31.10.2026 14:05", "1.11.2026 09:00:05"], "2026-10-31 14:05"),
        (["01.02.2026", ""], "2026-02-01"),
        (["10/31/2026", "11/01/2026"], "2026-10-31"),
        (["31/10/2026 14:05", "01/11/2026 14:05"], "2026-10-31 14:05"),
        (["10/11/2026, 2:05:33.5 PM", "10/12/2026 02:05 AM"], "2026-10-11 14:05:33.5"),
    ],
)
def test_spellings_that_cannot_be_misunderstood_are_read(texts: list[str], first: str) -> None:
    read = times(pd.Series(texts, dtype="str"))
    assert read.iloc[0] == pd.Timestamp(first, tz="UTC")
    assert read.isna().tolist() == [not text for text in texts]


@pytest.mark.parametrize(
    ("texts", "row"),
    [
        (["01/02/2026", "03/04/2026"], 1),
        (["31/10/2026", "10/31/2026"], 2),
        (["46327.5"], 1),
        (["2026-06-01", "", "soon"], 3),
        (["13.2.2026", "31.2.2026"], 2),
    ],
)
def test_a_time_that_cannot_be_read_is_refused_by_its_cell_alone(texts: list[str], row: int, tmp_path: Path) -> None:
    frame = pd.DataFrame({"user_id": [f"u{n}" for n, _ in enumerate(texts)], "migrated_at": texts})
    frame.to_csv(tmp_path / "users.csv", index=False)
    with pytest.raises(BadTable, match="The column migrated_at of users") as refused:
        read_table(tmp_path / "users.csv", "users")
    assert f"in row {row} of users.csv: “{texts[row - 1]}”" in str(refused.value)
    assert [text for text in texts if text and text in str(refused.value)] == [texts[row - 1]]


def test_a_value_that_an_error_shows_is_cut_and_cannot_act(tmp_path: Path) -> None:
    users = pd.DataFrame({"user_id": ["a"], "migrated_at": ["\x1b[31m" + "x" * 1_000]})
    users.to_csv(tmp_path / "users.csv", index=False)
    with pytest.raises(BadTable) as refused:
        read_table(tmp_path / "users.csv", "users")
    assert "\x1b" not in str(refused.value) and "x…”" in str(refused.value) and len(refused.value.happened) < 200


@pytest.mark.parametrize(
    ("texts", "spelling", "first"),
    [
        (["01/02/2026", "03/04/2026 14:05"], Spelling("day-first"), "2026-02-01"),
        (["01/02/2026", "03/04/2026 14:05"], Spelling("month-first"), "2026-01-02"),
        (["01/02/2026 02:00 PM", "03/04/2026 02:00 PM"], Spelling("day-first"), "2026-02-01 14:00"),
        # The rows themselves show the month: what a person says about others does not matter.
        (["10/11/2026", "10/31/2026"], Spelling("day-first"), "2026-10-11"),
        (["01.02.2026", "03.04.2026"], Spelling("month-first"), "2026-02-01"),
        (["46054.5", "2026-02-02"], Spelling("excel"), "2026-02-01 12:00"),
        (["2026-02-01 12:00", "2026-02-01T12:00Z"], Spelling(zone="Europe/Berlin"), "2026-02-01 11:00"),
        (["2026-07-01", "01.07.2026 00:00"], Spelling(zone="Europe/Berlin"), "2026-06-30 22:00"),
        (["2026-10-25 02:30", "2026-03-29 02:30"], Spelling(zone="Europe/Berlin"), "2026-10-25 00:30"),
        (["2026-02-01 12:00+02:00"], Spelling(zone="Europe/Berlin"), "2026-02-01 10:00"),
    ],
)
def test_what_no_look_can_decide_a_person_can_say(texts: list[str], spelling: Spelling, first: str) -> None:
    assert times(pd.Series(texts, dtype="str"), spelling).iloc[0] == pd.Timestamp(first, tz="UTC")


def test_traces_with_a_level_before_the_line_are_read() -> None:
    read = read_table(PUBLIC / "r-traces-with-a-level-before-the-line.ledger.csv", "ledger")
    assert len(read) > 0
    assert set(read["action"]) == {"MigratePassword", "Retry"}


def test_traces_of_which_none_is_a_line_are_said(tmp_path: Path) -> None:
    rows = {"TimeGenerated": ["2026-08-10T18:47:20Z"] * 2, "Message": ["Started", "INFO: {not json"]}
    pd.DataFrame(rows).to_csv(tmp_path / "ledger.csv", index=False)
    with pytest.raises(BadTable, match="None of the 2 traces"):
        read_table(tmp_path / "ledger.csv", "ledger")


def test_an_index_that_carries_a_name_is_a_column() -> None:
    read = read_table(PUBLIC / "r-parquet-user-id-as-index.users.parquet", "users")
    assert len(read) == 24
    assert int(read["migrated_at"].notna().sum()) == 20

"""Tables come in any order, doubled, in several time zones, or broken."""

from __future__ import annotations

import ast
from pathlib import Path
from string import Formatter

import pandas as pd
import pytest
from story import sign_ins, told, users

from jitkit.endpoint.ledger import Entry, Ledger
from jitkit.errors import BadTable
from jitkit.progress import tables
from jitkit.progress.cohorts import cohorts
from jitkit.progress.table_files import read_table
from jitkit.progress.tables import KINDS, Tables, tidy


def test_times_of_several_zones_become_utc_and_a_time_without_one_is_utc() -> None:
    times = ["2026-11-02T10:00:00+01:00", "2026-11-02T09:00:00.7215374Z", "2026-11-02 09:00:01"]
    frame = pd.DataFrame({"user_id": ["a", "b", "c"], "migrated_at": times})
    found = tidy(frame, "users")["migrated_at"]
    assert [str(time) for time in found] == [
        "2026-11-02 09:00:00+00:00",
        "2026-11-02 09:00:00.721537+00:00",
        "2026-11-02 09:00:01+00:00",
    ]


def test_one_user_is_one_row_the_one_that_knows_the_earliest_migration() -> None:
    rows = [("a", None), ("A", "2026-11-03"), ("a", "2026-11-02")]
    for order in (rows, rows[::-1]):
        found = tidy(pd.DataFrame(order, columns=["user_id", "migrated_at"]), "users")
        assert list(found["user_id"]) == ["a"]
        assert found["migrated_at"][0] == pd.Timestamp("2026-11-02", tz="UTC")


def test_a_log_that_is_sorted_piece_by_piece_keeps_each_row_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jitkit.progress.tables._PIECE", 5)
    second = pd.Series(range(40)) // 4
    frame = pd.DataFrame(
        {
            "time": pd.Timestamp("2026-11-02", tz="UTC") + pd.to_timedelta(second, unit="s"),
            "user_id": [f"u{9 - number % 4}" for number in range(40)],
            "result_code": range(40),
            "correlation_id": [f"c{number}" if number % 7 else None for number in range(40)],
        }
    )
    in_parts = pd.concat([frame[:15], frame[15:]], ignore_index=True)
    expected = frame.sort_values(["time", "user_id"])
    for given in (in_parts, in_parts.sample(frac=1, random_state=1)):  # near its order, and far from it
        found = tidy(given, "sign_ins")
        assert found["result_code"].tolist() == expected["result_code"].tolist()
        assert (
            found["correlation_id"].astype("object").fillna("").tolist()
            == expected["correlation_id"].fillna("").tolist()
        )


def test_dimensions_are_kept() -> None:
    assert list(tidy(users(), "users")["country"]) == ["DE", "DE", "FR", "FR", "FR", "IT"]


def test_a_dimension_of_lists_is_one_of_texts(tmp_path: Path) -> None:
    frame = users().assign(tags=[["a", "b"], ["a"], ["a"], None, [], ["a", "b"]])
    frame.to_parquet(tmp_path / "users.parquet")
    frame.to_json(tmp_path / "users.jsonl", orient="records", lines=True)
    for name in ("users.parquet", "users.jsonl"):
        counts = cohorts(Tables(users=read_table(tmp_path / name, "users")), "tags").set_index("cohort")["users"]
        assert counts.sum() == 6 and sorted(counts) == [1, 1, 2, 2]


def test_the_last_moment_is_the_tables_moment() -> None:
    assert told().as_of == pd.Timestamp("2026-11-02T09:05:30Z")
    assert Tables().as_of is None


def test_a_flag_that_is_yet_to_be_set_does_not_make_the_tables_tell_of_the_future() -> None:
    planned = users().assign(flagged_at=[*users()["flagged_at"][:5], "2062-06-01T00:00Z"])
    assert Tables(users=planned, sign_ins=sign_ins()).as_of == pd.Timestamp("2026-11-02T09:05:30Z")
    assert Tables(users=planned.tail(1)).as_of is None


def test_going_back_in_time_forgets_what_came_later() -> None:
    then = told().until(pd.Timestamp("2026-11-02T09:02:30"))
    assert list(then.users.loc[then.users["migrated_at"].notna(), "user_id"]) == ["ann", "bob"]
    assert then.users["path"].isna().sum() == 4
    assert (len(then.sign_ins), len(then.ledger)) == (2, 1)
    assert len(told().until(pd.Timestamp("2026-11-01")).users) == 0


@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".parquet"])
def test_every_table_survives_every_kind_of_file(tmp_path: Path, kind: str, ending: str) -> None:
    frame: pd.DataFrame = getattr(told(), kind)
    path = tmp_path / f"table{ending}"
    match ending:
        case ".csv":
            frame.to_csv(path, index=False)
        case ".jsonl":
            frame.to_json(path, orient="records", lines=True, date_format="iso", date_unit="us")
        case _:
            frame.to_parquet(path)
    pd.testing.assert_frame_equal(read_table(path, kind), frame, check_dtype=False)


@pytest.mark.parametrize("kind", ["users", "sign_ins", "ledger"])
@pytest.mark.parametrize("separator", [";", "\t"])
def test_a_table_that_a_spreadsheet_saved_is_read(tmp_path: Path, kind: str, separator: str) -> None:
    frame: pd.DataFrame = getattr(told(), kind)
    path = tmp_path / "table.csv"
    frame.to_csv(path, index=False, sep=separator, decimal=",", encoding="utf-8-sig", lineterminator="\r\n")
    pd.testing.assert_frame_equal(read_table(path, kind), frame, check_dtype=False)


def test_a_separator_at_the_end_of_each_row_does_not_shift_the_columns(tmp_path: Path) -> None:
    path = tmp_path / "users.csv"
    path.write_text("user_id,flagged_at,migrated_at\na,2026-06-01,2026-06-02,\nb,2026-06-01,,\n")
    assert list(read_table(path, "users")["user_id"]) == ["a", "b"]


@pytest.mark.parametrize("ending", [".csv", ".jsonl"])
def test_an_empty_file_is_an_empty_table(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"ledger{ending}"
    path.touch()
    assert read_table(path, "ledger").empty


def test_a_ledger_whose_writer_was_stopped_is_read_up_to_there(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    path.write_text('{"time": "2026-11-02T09:00:00Z", "action": "Retry", "cause": "wrong"}\n{"time": "2026-1')
    assert len(read_table(path, "ledger")) == 1


def test_a_long_ledger_whose_writer_was_stopped_is_read_up_to_there(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    rows = [f'{{"time": "2026-11-02T09:00:00Z", "action": "Retry", "cause": "c{row}"}}\n' for row in range(250_000)]
    path.write_text("".join(rows) + '{"time": "2026-1')
    assert len(read_table(path, "ledger")) == len(rows)


def test_a_line_that_a_crash_tore_costs_that_line_alone(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    whole = '{"time": "2026-11-02T09:00:00Z", "action": "Retry", "cause": "wrong"}\n'
    path.write_text(whole + '{"time": "2026-1')
    written = Ledger(str(path))
    written.write(Entry(time="2026-11-02T09:00:05Z", action=None, cause="no-token"))
    written.close()
    assert list(read_table(path, "ledger")["cause"]) == ["wrong", "no-token"]


@pytest.mark.parametrize(
    ("name", "text", "happened"),
    [
        ("users.csv", "user_id,country\na,DE\n", "no column migrated_at"),
        ("users.csv", "user_id,migrated_at\na,yesterday\n", "column migrated_at of users"),
        ("users.csv", "user_id,migrated_at\n,2026-11-02\n", "no user_id"),
        ("users.csv", "user_id,migrated_at,path\na,2026-11-02,magic\n", "holds magic"),
        ("users.csv", "user_id,migrated_at\na,2026-11-02,x\nb,,y\n", "more cells than its heading"),
        ("users.jsonl", '{"user_id": "a"}\nnonsense\n', "Line 2"),
        ("users.jsonl", '{"user_id": "a", "migrated_at": 1793000000}\n', "column migrated_at of users"),
        ("users.json", '[{"user_id": "a", "migrated_at": null},\n{"user', "broken"),
        ("users.parquet", "not parquet", "broken"),
        ("users.xlsx", "", "ends in .xlsx"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(tmp_path: Path, name: str, text: str, happened: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(BadTable, match=happened):
        read_table(tmp_path / name, "users")


def test_every_refusal_has_its_words_and_they_have_their_values() -> None:
    used = set()
    nodes = [
        node
        for path in Path(tables.__file__).parent.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    ]
    for call in nodes:
        if isinstance(call, ast.Call) and ast.unparse(call.func) == "refusal":
            name, given = call.args[0], {each.arg for each in call.keywords}
            for each in (name.body, name.orelse) if isinstance(name, ast.IfExp) else (name,):
                words = tables.TEXTS["refusals"][ast.literal_eval(each)]
                fields = {field for _, field, _, _ in Formatter().parse(words["happened"] + words["next"]) if field}
                assert None in given or {field.partition("[")[0] for field in fields} <= given, words
                used.add(ast.literal_eval(each))
    assert used == {*tables.TEXTS["refusals"]}


def test_missing_and_wrongly_encoded_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadTable, match="no file"):
        read_table(tmp_path / "users.csv", "users")
    (tmp_path / "users.csv").write_bytes("user_id,migrated_at,city\na,,Köln\n".encode("cp1252"))
    with pytest.raises(BadTable, match="not UTF-8"):
        read_table(tmp_path / "users.csv", "users")


def test_a_moment_without_a_zone_is_utc() -> None:
    users = pd.DataFrame({"user_id": ["u1"], "migrated_at": ["2026-01-02"], "flagged_at": ["2026-01-01"]})
    assert Tables(users, as_of=pd.Timestamp("2026-02-01")).as_of == pd.Timestamp("2026-02-01", tz="UTC")

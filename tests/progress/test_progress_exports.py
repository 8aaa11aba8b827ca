"""Files that people already have: exports of Log Analytics, and lines that are written in another way."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from jitkit.errors import BadTable
from jitkit.progress import table_files
from jitkit.progress.log_analytics import SHAPES
from jitkit.progress.table_files import gather, read_table


def listeners(**result: Any) -> list[dict[str, Any]]:
    return [{"eventType": "passwordSubmit", "executedListenerId": "l", "handlerResult": result}]


SIGN_INS = [
    {
        "TimeGenerated": "2026-11-02T09:00:00.7215374Z",
        "UserId": "Ann",
        "UserPrincipalName": "ann@example.com",
        "AppId": "app",
        "CorrelationId": "c1",
        "ResultType": "0",
        "AppliedEventListeners": listeners(errorCode=0, httpStatus=200, numberOfAttempts=2),
    },
    {
        "TimeGenerated": "2026-11-02T09:01:00Z",
        "UserId": "bob",
        "AppId": "app",
        "CorrelationId": "c2",
        "ResultType": "50126",
        "AppliedEventListeners": [],
    },
]


def written(path: Path, rows: list[dict[str, Any]], *, dynamic: bool) -> Path:
    """Write rows as Log Analytics does: dynamic columns as objects, or as the JSON text of them."""
    if not dynamic:
        rows = [
            {key: json.dumps(value) if isinstance(value, list | dict) else value for key, value in row.items()}
            for row in rows
        ]
    match path.suffix:
        case ".csv":
            pd.DataFrame(rows).to_csv(path, index=False)
        case ".parquet":
            pd.DataFrame(rows).to_parquet(path)
        case ".jsonl":
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        case _:
            path.write_text(json.dumps(rows, indent=1))
    return path


@pytest.mark.parametrize(
    ("ending", "dynamic"), [(".csv", False), (".jsonl", True), (".jsonl", False), (".json", True), (".parquet", False)]
)
def test_sign_ins_of_log_analytics_are_read_with_their_callouts(tmp_path: Path, ending: str, dynamic: bool) -> None:
    found = read_table(written(tmp_path / f"export{ending}", SIGN_INS, dynamic=dynamic), "sign_ins")
    assert list(found["user_id"]) == ["ann", "bob"]
    assert list(found["result_code"]) == [0, 50126]
    assert found["callout_error"].tolist() == [0, pd.NA]
    assert (found["callout_status"][0], found["attempts"][0]) == (200, 2)
    assert "ann@example.com" not in found.to_csv()


def test_a_column_that_the_first_row_lacks_is_read(tmp_path: Path) -> None:
    first = {name: value for name, value in SIGN_INS[1].items() if name != "AppliedEventListeners"}
    found = read_table(written(tmp_path / "export.jsonl", [first, SIGN_INS[0]], dynamic=True), "sign_ins")
    assert found["callout_error"].tolist() == [0, pd.NA]
    (directory,) = [shape for shape in SHAPES if shape.by == "directory"]
    user = {"id": "a", "userPrincipalName": "a@contoso.example"} | dict.fromkeys(directory.reads, "x")
    user |= {"createddatetime": "2026-11-02", "accountenabled": "true"}
    flag = f"extension_{32 * '0'}_tobemigrated"
    rows = [user, {"id": "b", flag: False}]
    table = gather({}, [written(tmp_path / "users.jsonl", rows, dynamic=True)]).table("directory")
    assert table[flag].tolist() == [pd.NA, False]


def test_another_casing_inside_the_dynamic_column_is_the_same(tmp_path: Path) -> None:
    shouted = [{"EventType": "PasswordSubmit", "HandlerResult": {"ErrorCode": 1003005, "HttpStatus": 0}}]
    rows = [SIGN_INS[0] | {"AppliedEventListeners": shouted}]
    assert list(read_table(written(tmp_path / "e.jsonl", rows, dynamic=True), "sign_ins")["callout_error"]) == [1003005]


def test_the_portals_headings_and_times_are_read_and_local_ones_refused(tmp_path: Path) -> None:
    path = tmp_path / "portal.csv"
    head, row = "UserId,CorrelationId,ResultType,AppliedEventListeners\n", '"11/2/2026, 9:05:01.123 PM",ann,c1,0,[]\n'
    path.write_text("TimeGenerated [UTC]," + head + row)
    assert str(read_table(path, "sign_ins")["time"][0]) == "2026-11-02 21:05:01.123000+00:00"
    path.write_text("TimeGenerated [Local Time]," + head + row)
    with pytest.raises(BadTable, match="local times"):
        read_table(path, "sign_ins")


def test_the_admin_centers_own_csv_is_refused_because_it_tells_of_no_callout(tmp_path: Path) -> None:
    path = tmp_path / "InteractiveSignIns.csv"
    head = "Date (UTC),Request ID,Correlation ID,User ID,Application ID ,Status,Sign-in error code\n"
    path.write_text(head + "2026-11-02T09:00:00Z,r1,c1,ann,app,Success,0\n")
    with pytest.raises(BadTable, match="which sign-ins asked the endpoint") as refused:
        read_table(path, "sign_ins")
    assert "notebook 08" in str(refused.value) and "AppliedEventListeners" in str(refused.value)


def test_requests_and_traces_of_the_endpoint_are_a_ledger(tmp_path: Path) -> None:
    requests = [
        {"TimeGenerated": "2026-11-02T09:00:00Z", "DurationMs": 120.5, "ResultCode": "200", "ItemCount": 1},
        {"TimeGenerated": "2026-11-02T09:00:01Z", "DurationMs": 9.5, "ResultCode": "500", "ItemCount": 1},
        {
            "TimeGenerated": "2026-11-02T09:00:02Z",
            "DurationMs": 30.0,
            "ResultCode": "200",
            "ItemCount": 1,
            "Properties": {"correlationId": "C1", "action": "Retry", "cause": "wrong"},
        },
    ]
    found = read_table(written(tmp_path / "requests.jsonl", requests, dynamic=True), "ledger")
    assert found["action"].fillna("").tolist() == ["Answered", "", "Retry"]
    assert found["cause"].fillna("").tolist() == ["", "status_500", "wrong"]
    assert found["duration_ms"].tolist() == [120.5, 9.5, 30.0]
    assert found["correlation_id"].dropna().tolist() == ["c1"]
    line = {"time": "2026-11-02T09:00:00Z", "action": "Block", "cause": "down", "duration_ms": 5.0}
    traces: list[dict[str, Any]] = [
        {"TimeGenerated": "2026-11-02T09:00:01Z", "Message": text} for text in (json.dumps(line), "started", "{torn")
    ]
    properties = {"CorrelationId": "C2", "action": "MigratePassword", "cause": "right", "attempt": "1"}
    traces.append({"TimeGenerated": "2026-11-02T09:00:03Z", "Message": "MigratePassword: right"})
    traces[-1]["Properties"] = properties
    found = read_table(written(tmp_path / "traces.jsonl", traces, dynamic=True), "ledger")
    assert found["cause"].tolist() == ["down", "right"]
    assert found["action"].tolist() == ["Block", "MigratePassword"]
    assert found["correlation_id"].dropna().tolist() == ["c2"]
    assert found["time"].dt.second.tolist() == [0, 3]


def test_a_sample_is_refused_because_its_counts_would_be_wrong(tmp_path: Path) -> None:
    rows = [{"TimeGenerated": "2026-11-02T09:00:00Z", "DurationMs": 1.0, "ResultCode": "200", "ItemCount": 5}]
    with pytest.raises(BadTable, match="1 rows stand for 5"):
        read_table(written(tmp_path / "requests.jsonl", rows, dynamic=True), "ledger")


LINE = {
    "time": "2026-11-02T09:00:00.7215374Z",
    "user_id": "Ann",
    "result_code": 0,
    "correlation_id": "C1",
    "more": {"x": 1},
}


def test_reading_in_types_and_as_texts_agree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [
        LINE,
        LINE | {"user_id": "", "time": "2026-11-02 10:00:00+01:00", "attempts": 2},
        LINE | {"time": "2026-11-03"},
    ]
    path = written(tmp_path / "log.jsonl", rows, dynamic=True)
    fast = read_table(path, "sign_ins")
    monkeypatch.setattr(table_files, "_as_texts", None)
    pd.testing.assert_frame_equal(read_table(path, "sign_ins"), fast)
    monkeypatch.undo()
    monkeypatch.setattr(table_files, "_in_types", lambda rows, kind: None)
    pd.testing.assert_frame_equal(read_table(path, "sign_ins"), fast)
    assert len(fast) == 3


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(LINE | {"result_code": "0"}) + "\n",
        json.dumps(LINE) + '\n{"time": "2026-1',
        json.dumps(LINE) + '\n{"time": "2026-1\n' + json.dumps(LINE | {"user_id": "b"}) + "\n",
        "\ufeff" + json.dumps(LINE) + "\n",
        "[" + json.dumps(LINE) + "]",
    ],
    ids=["numbers as text", "stopped", "torn", "byte order mark", "array"],
)
def test_what_is_written_in_another_way_is_still_read(tmp_path: Path, text: str) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text(text, encoding="utf-8")
    assert read_table(path, "sign_ins")["user_id"].isin(["ann", "b"]).all()
    assert len(read_table(path, "sign_ins")) == 1 + ('"b"' in text)


def test_a_column_that_is_missing_is_told_from_one_that_is_empty(tmp_path: Path) -> None:
    path = tmp_path / "users.jsonl"
    path.write_text('{"user_id": "a", "migrated_at": null}\n')
    assert read_table(path, "users")["migrated_at"].isna().all()
    path.write_text('{"user_id": "a", "moved": null}\n')
    with pytest.raises(BadTable, match="no column migrated_at"):
        read_table(path, "users")


def test_a_number_that_is_none_is_refused_in_lines_as_well(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text(json.dumps(LINE | {"result_code": "none"}) + "\n")
    with pytest.raises(BadTable, match="column result_code of sign_ins"):
        read_table(path, "sign_ins")

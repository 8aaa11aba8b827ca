"""Every shape in which people hold the tables is taken, with the same figures, or refused with its cell.

The story of `story.py` is written as each product writes it: Log Analytics, Microsoft Graph, diagnostic settings,
Application Insights, the admin center, a spreadsheet.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import openpyxl
import pandas as pd
import pytest
from story import ledger, sign_ins, told, users

from helpers.__main__ import main
from jitkit.errors import BadTable
from jitkit.progress import states
from jitkit.progress.command import read, report
from jitkit.progress.figures import coverage, quality
from jitkit.progress.report import Figures
from jitkit.progress.table_files import gather
from jitkit.progress.tables import Tables

Row = dict[str, Any]
FLAG = "extension_0123456789abcdef0123456789abcdef_toBeMigrated"
# The story's people, by the ids of a directory.
IDS = {name: f"{place:08x}-0000-4000-8000-00000000abcd" for place, name in enumerate([*users()["user_id"], "gus"], 1)}


def lines(path: Path, rows: list[Row]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def graph_sign_ins() -> list[Row]:
    rows = []
    for row in sign_ins().astype("object").to_dict("records"):
        result = {"errorCode": row["callout_error"], "httpStatus": row["callout_status"]}
        result["numberOfAttempts"] = row["attempts"]
        listener = {"eventType": "passwordSubmit", "executedListenerId": "l", "handlerResult": result}
        rows.append(
            {
                "id": f"id-{row['correlation_id']}",
                "createdDateTime": f"2026-11-02T{row['time'][11:-1]}.1230000Z",
                "userId": IDS[row["user_id"]],
                "userPrincipalName": f"{row['user_id']}@contoso.example",
                "appId": row["app_id"],
                "correlationId": row["correlation_id"].upper(),
                "isInteractive": True,
                "authenticationProtocol": "oAuth2",
                "status": {"errorCode": row["result_code"], "failureReason": None},
                "appliedEventListeners": [] if pd.isna(row["callout_error"]) else [listener],
            }
        )
    refresh = {"isInteractive": False, "appliedEventListeners": [], "correlationId": "c9", "id": "id-c9"}
    return [*rows, rows[-1] | refresh]  # of ann; nobody typed a password


def log_analytics() -> list[Row]:
    rows = []
    for row in graph_sign_ins()[:-1]:
        plain = {name[0].upper() + name[1:]: value for name, value in row.items() if name != "status"}
        rows.append(
            plain | {"TimeGenerated": row["createdDateTime"], "ResultType": str(int(row["status"]["errorCode"]))}
        )
    return rows


def as_text(rows: list[Row]) -> pd.DataFrame:
    """Write nested values as the JSON text of them, as CSV and Parquet exports do."""
    return pd.DataFrame(
        [{k: json.dumps(v) if isinstance(v, list | dict) else v for k, v in row.items()} for row in rows]
    )


def american(text: str) -> str:
    moment = datetime.fromisoformat(text[:23])
    return f"{moment.month}/{moment.day}/{moment.year}, {moment.strftime('%I:%M:%S').lstrip('0')}.123 AM"


def portal(path: Path) -> None:
    rows = [row | {"TimeGenerated [UTC]": american(row.pop("TimeGenerated"))} for row in log_analytics()]
    as_text(rows).drop(columns="CreatedDateTime").to_csv(path / "query_data.csv", index=False)


def record(row: Row, category: str, time: str, **more: Any) -> Row:
    return {"time": row[time], "resourceId": "/tenants/t", "category": category, "properties": row, **more}


def archive(path: Path) -> None:
    rows = [
        record(row, "SignInLogs", "createdDateTime", resultType=str(int(row["status"]["errorCode"])))
        for row in graph_sign_ins()
    ]
    rows += [{"time": "2026-11-02T09:00:00Z", "category": "RiskyUsers", "properties": {"id": "x"}}]
    for name, part in (("h=08", rows[:3]), ("h=09", rows[3:])):
        lines(path / "insights-logs-signinlogs" / "y=2026" / "m=11" / "d=02" / name / "m=00" / "PT1H.json", part)


def event_hub(path: Path) -> None:
    rows = [
        record(row, "SignInLogs", "createdDateTime", resultType=str(int(row["status"]["errorCode"])))
        for row in graph_sign_ins()
    ]
    rows += [record(row, "AuditLogs", "activityDateTime", operationName="x") for row in audits()]
    lines(path / "messages.json", [{"records": rows[:4]}, {"records": rows[4:]}])


def audits() -> list[Row]:
    rows = []

    def audit(user: str, time: str, old: Any = None, new: Any = None, activity: str = "Update user") -> None:
        change = {"displayName": FLAG, "oldValue": json.dumps([old]), "newValue": json.dumps([new])}
        target = {"id": IDS[user].upper(), "type": "User", "modifiedProperties": [] if new is None else [change]}
        rows.append(
            {
                "id": f"Directory_{len(rows)}",
                "activityDisplayName": activity,
                "activityDateTime": time,
                "targetResources": [target],
            }
        )

    for row in users().astype("object").to_dict("records"):
        audit(row["user_id"], row["flagged_at"], None, True, "Add user" if row["user_id"] == "fay" else "Update user")
        if not pd.isna(row["migrated_at"]):
            audit(row["user_id"], row["migrated_at"], True, False)
        if row["path"] == "reset":
            audit(row["user_id"], row["migrated_at"], activity="Reset password (by admin)")
    return rows


def downloaded_audits() -> pd.DataFrame:
    """Write audits as the admin center downloads them: targets and their changes in columns of their own."""
    rows = []
    for row in audits():
        flat = {"Date (UTC)": row["activityDateTime"], "CorrelationId": row["id"], "Service": "Core Directory"}
        flat |= {"Activity": row["activityDisplayName"], "Result": "success", "ActorType": "Application"}
        (target,) = row["targetResources"]
        for number in (1, 2, 3):
            flat[f"Target{number}ObjectId"] = target["id"] if number == 2 else ""
            for place, change in enumerate([{}, *target["modifiedProperties"], {}, {}], 1):
                name = f"Target{number}ModifiedProperty{place}"
                flat |= {f"{name}Name": change.get("displayName"), f"{name}NewValue": change.get("newValue")}
        rows.append(flat)
    return pd.DataFrame(rows)


def audit_logs() -> list[Row]:
    return [
        {name[0].upper() + name[1:]: value for name, value in row.items()} | {"TimeGenerated": row["activityDateTime"]}
        for row in audits()
    ]


def directory(*, flags: bool = True) -> list[Row]:
    flagged = {name: pd.isna(moved) for name, moved in zip(users()["user_id"], users()["migrated_at"], strict=True)}
    country = dict(zip(users()["user_id"], users()["country"], strict=True))
    return [
        {
            "id": IDS[name],
            "userPrincipalName": f"{name}@contoso.example",
            "displayName": name,
            "createdDateTime": "2026-11-02T09:00:00Z",
            "country": country.get(name),
        }
        | ({FLAG: flagged.get(name)} if flags else {})
        for name in IDS
    ]


def own_users(**columns: Any) -> pd.DataFrame:
    return users().assign(**{"user_id": users()["user_id"].map(IDS), **columns})


def own_ledger() -> list[Row]:
    rows = ledger().astype("object").where(ledger().notna(), None).to_dict("records")
    return [row | {"user_id": IDS.get(row["user_id"], row["user_id"])} for row in rows]


def traces(*, inside: bool) -> list[Row]:
    return [
        {"TimeGenerated": row["time"], "Message": json.dumps(row), "ItemCount": 1}
        if inside
        else {
            "TimeGenerated": row["time"],
            "Message": "x",
            "Properties": {k: v for k, v in row.items() if v is not None},
        }
        for row in own_ledger()
    ]


def requests() -> list[Row]:
    return [
        {
            "TimeGenerated": row["time"],
            "DurationMs": row["duration_ms"],
            "ResultCode": "200" if row["action"] else "401",
            "Properties": {k: v for k, v in row.items() if k not in ("time", "duration_ms") and v is not None},
        }
        for row in own_ledger()
    ]


def application_insights() -> pd.DataFrame:
    names = {"TimeGenerated": "timestamp", "DurationMs": "duration", "ResultCode": "resultCode"}
    return as_text(requests()).rename(columns={**names, "Properties": "customDimensions"})


def graph_pages(path: Path, rows: list[Row], what: str) -> None:
    half = len(rows) // 2
    for number, part in enumerate((rows[:half], rows[half:], [])):
        page = {"@odata.context": f"https://graph.microsoft.com/beta/$metadata#{what}", "value": part}
        if number < 2:
            page["@odata.nextLink"] = f"https://graph.microsoft.com/beta/{what}?$skiptoken={number}"
        (path / f"{what.replace('/', '-')}-{number}.json").write_text(json.dumps(page, indent=2))


def workbook(path: Path, frames: dict[str, pd.DataFrame]) -> None:
    book = openpyxl.Workbook()
    for name, frame in frames.items():
        sheet = book.create_sheet(name)
        for cells in [list(frame.columns), *frame.astype("object").where(frame.notna(), None).to_numpy().tolist()]:
            sheet.append(cells)
    book.save(path)


def dated(frame: pd.DataFrame) -> pd.DataFrame:
    """Hold times as a spreadsheet does: cells of which the workbook says that they are dates."""
    return frame.assign(
        **{
            name: [None if pd.isna(each) else datetime.fromisoformat(each[:19]) for each in frame[name]]
            for name in ("flagged_at", "migrated_at")
        }
    )


def packed(path: Path, content: bytes) -> None:
    path.write_bytes(gzip.compress(content))


SIGN_INS: dict[str, Callable[[Path], Any]] = {
    "portal CSV": portal,
    "Log Analytics CSV": lambda path: as_text(log_analytics()).to_csv(path / "a.csv", index=False),
    "Log Analytics array": lambda path: (path / "a.json").write_text(json.dumps(log_analytics(), indent=1)),
    "Log Analytics Parquet": lambda path: as_text(log_analytics()).to_parquet(path / "a.parquet"),
    "Log Analytics nested Parquet": lambda path: pd.DataFrame(log_analytics()).to_parquet(path / "a.parquet"),
    "Graph lines": lambda path: lines(path / "a.jsonl", graph_sign_ins()),
    "Graph array": lambda path: (path / "a.json").write_text(json.dumps(graph_sign_ins())),
    "Graph pages": lambda path: graph_pages(path, graph_sign_ins(), "auditLogs/signIns"),
    "pages in lines": lambda path: lines(
        path / "a.json", [{"value": graph_sign_ins()[:3]}, {"value": graph_sign_ins()[3:]}]
    ),
    "archive": archive,
    "event hub": event_hub,
    "odd name": lambda path: lines(path / "a [1] *.jsonl", graph_sign_ins()),
    "packed": lambda path: packed(path / "a.csv.gz", as_text(log_analytics()).to_csv(index=False).encode()),
    "workbook": lambda path: workbook(path / "a.xlsx", {"Sheet": as_text(log_analytics())}),
    "UTF-16": lambda path: as_text(log_analytics()).to_csv(path / "a.csv", index=False, encoding="utf-16"),
    "torn": lambda path: (path / "a.jsonl").write_text(
        "".join(json.dumps(row) + "\n" for row in graph_sign_ins()) + '{"createdDateTime": "2026-1'
    ),
    "UTF-16 without its mark": lambda path: (path / "a.json").write_bytes(
        json.dumps({"value": graph_sign_ins()}, indent=2).encode("utf-16-le")
    ),
    "PowerShell 5": lambda path: (path / "a.json").write_text(
        json.dumps([row | {"createdDateTime": ticks(row["createdDateTime"])} for row in graph_sign_ins()]),
        encoding="utf-16",
    ),
    "spaces around ids": lambda path: lines(
        path / "a.jsonl", [row | {"userId": f" {row['userId']} "} for row in graph_sign_ins()]
    ),
    "a row of the year after next": lambda path: lines(
        path / "a.jsonl",
        [
            *graph_sign_ins(),
            graph_sign_ins()[3] | {"id": "id-c8", "createdDateTime": f"{datetime.now(UTC).year + 2}-01-01"},
        ],
    ),
    "two halves": lambda path: [
        lines(path / "a.jsonl", graph_sign_ins()[:5]),
        as_text(log_analytics()[3:]).to_csv(path / "b.csv", index=False),
    ],
    "two products, one of which writes whole seconds": lambda path: [
        lines(
            path / "a.jsonl", [row | {"createdDateTime": f"{row['createdDateTime'][:19]}Z"} for row in graph_sign_ins()]
        ),
        as_text(log_analytics()).to_csv(path / "b.csv", index=False),
    ],
    # Its extension for Log Analytics writes each cell as Python does.
    "Azure CLI": lambda path: (path / "a.json").write_text(
        json.dumps(
            [
                {
                    name: json.dumps(cell) if isinstance(cell, list) and cell else str(cell or None)
                    for name, cell in row.items()
                }
                for row in log_analytics()
            ]
        )
    ),
}
USERS: dict[str, Callable[[Path], Any]] = {
    "own CSV": lambda path: own_users().to_csv(path / "u.csv", index=False),
    "semicolons": lambda path: own_users().to_csv(path / "u.csv", index=False, sep=";"),
    **{
        f"{word} for an empty cell": lambda path, word=word: own_users().to_csv(
            path / "u.csv", index=False, na_rep=word
        )
        for word in ("null", "None", "NaT", "N/A", "-", "\\N")
    },
    "UTF-16": lambda path: own_users().to_csv(path / "u.csv", index=False, sep="\t", encoding="utf-16"),
    "dots": lambda path: own_users(
        flagged_at="02.11.2026 09:00", migrated_at=users()["migrated_at"].str.slice(11, 19).radd("2.11.2026 ")
    ).to_csv(path / "u.csv", index=False),
    "workbook": lambda path: workbook(path / "u.xlsx", {"people": dated(own_users())}),
    "a title above": lambda path: (path / "u.csv").write_text(
        "Our users,,,,\n,,,,\n" + own_users().to_csv(index=False) + ",,,,\n"
    ),
    "a title above in a workbook": lambda path: workbook(path / "u.xlsx", {"people": titled(dated(own_users()))}),
    "months by their names": lambda path: own_users(
        flagged_at="Mon, 02 Nov 2026 09:00:00 GMT",
        migrated_at=users()["migrated_at"].str.slice(11, 19).radd("02-Nov-2026 "),
    ).to_csv(path / "u.csv", index=False),
    "milliseconds since 1970": lambda path: own_users(
        flagged_at=users()["flagged_at"].map(ticks).str.extract(r"(\d+)")[0],
        migrated_at=users()["migrated_at"].dropna().map(ticks).str.extract(r"(\d+)")[0],
    ).to_csv(path / "u.csv", index=False),
    "a word to a spreadsheet": lambda path: (path / "u.csv").write_text(
        "sep=;\n" + own_users().to_csv(index=False, sep=";")
    ),
    "a word of PowerShell": lambda path: (path / "u.csv").write_text(
        "#TYPE Selected.System.Object\n" + own_users().to_csv(index=False), encoding="utf-8-sig"
    ),
    "capital headings": lambda path: own_users().rename(columns=str.upper).to_csv(path / "u.csv", index=False),
    "spaces": lambda path: (path / "u.csv").write_text(own_users().to_csv(index=False).replace(",", " , ")),
    "bars": lambda path: own_users().to_csv(path / "u.csv", index=False, sep="|"),
    "days of MySQL": lambda path: own_users(migrated_at=users()["migrated_at"].fillna("0000-00-00 00:00:00")).to_csv(
        path / "u.csv", index=False
    ),
    "JSON of .NET": lambda path: (path / "u.json").write_text(
        own_users(
            flagged_at=ticks(users()["flagged_at"][0]),
            migrated_at=[
                ticks(each) if pd.notna(each) else "/Date(-62135596800000)/" for each in users()["migrated_at"]
            ],
        ).to_json(orient="records")
    ),
    "capitals": lambda path: own_users(user_id=own_users()["user_id"].str.upper()).to_parquet(path / "u.parquet"),
    "other zone": lambda path: own_users(
        migrated_at=users()["migrated_at"].str.replace("T09:", "T10:").str.replace("Z", "+01:00")
    ).to_csv(path / "u.csv", index=False),
    "AuditLogs": lambda path: as_text(audit_logs()).to_csv(path / "u.csv", index=False),
    "audits of the admin center": lambda path: downloaded_audits().to_csv(path / "u.csv", index=False),
    "audits of Graph": lambda path: graph_pages(path, audits(), "auditLogs/directoryAudits"),
    "audits and users": lambda path: [
        graph_pages(path, audits(), "auditLogs/directoryAudits"),
        graph_pages(path, directory(), "users"),
    ],
    "audits and the portal's users": lambda path: [
        as_text(audit_logs()).to_parquet(path / "u.parquet"),
        pd.DataFrame(directory(flags=False)).rename(columns={"id": "objectId"}).to_csv(path / "v.csv", index=False),
    ],
}


def ticks(text: str) -> str:
    return f"/Date({pd.Timestamp(text).value // 1_000_000})/"


def titled(frame: pd.DataFrame) -> pd.DataFrame:
    """Put a title above the names."""
    below = pd.DataFrame([[*frame.columns], *frame.astype("object").to_numpy().tolist()])
    return below.set_axis(["Our users", *[""] * (len(frame.columns) - 1)], axis="columns")


LEDGERS: dict[str, Callable[[Path], Any]] = {
    "own": lambda path: lines(path / "l.jsonl", own_ledger()),
    "messages": lambda path: as_text(traces(inside=True)).to_csv(path / "l.csv", index=False),
    "properties": lambda path: lines(path / "l.jsonl", traces(inside=False)),
    "requests": lambda path: as_text(requests()).to_csv(path / "l.csv", index=False),
    "traces, and requests of the same calls": lambda path: [
        lines(path / "l.jsonl", traces(inside=True)),
        lines(path / "m.jsonl", [row | {"Properties": {}} for row in requests()]),
    ],
    "requests of Application Insights": lambda path: application_insights().to_csv(path / "l.csv", index=False),
    "requests that a spreadsheet saved": lambda path: application_insights().to_csv(
        path / "l.csv", index=False, sep=";", decimal=","
    ),
    "own that a spreadsheet saved, with capital headings": lambda path: (
        pd.DataFrame(own_ledger())
        .astype({"attempt": "Int64"})
        .rename(columns=str.upper)
        .to_csv(path / "l.csv", index=False, sep=";", decimal=",")
    ),
}


def summary_of(tables: Tables) -> Row:
    found = states.summary(tables)
    found["latency_ms"] = {name: round(took) for name, took in found["latency_ms"].items()}
    return {name: found[name] for name in ("in_scope", "migrated", "by_path", "states", "failures", "latency_ms")}


@pytest.fixture(scope="module")
def known() -> Row:
    return summary_of(told())


@pytest.mark.parametrize("shape", SIGN_INS)
def test_a_sign_in_log_of_every_shape_gives_the_same_figures(shape: str, tmp_path: Path, known: Row) -> None:
    USERS["own CSV"](tmp_path)
    LEDGERS["own"](tmp_path)
    SIGN_INS[shape](tmp_path)
    assert summary_of(read(tmp_path)) == known


@pytest.mark.parametrize("shape", USERS)
def test_users_of_every_shape_give_the_same_figures(shape: str, tmp_path: Path, known: Row) -> None:
    SIGN_INS["Graph lines"](tmp_path)
    LEDGERS["own"](tmp_path)
    USERS[shape](tmp_path)
    assert summary_of(read(tmp_path)) == known


@pytest.mark.parametrize("shape", LEDGERS)
def test_a_ledger_of_every_shape_gives_the_same_figures(shape: str, tmp_path: Path, known: Row) -> None:
    SIGN_INS["Graph lines"](tmp_path)
    USERS["own CSV"](tmp_path)
    LEDGERS[shape](tmp_path)
    assert summary_of(read(tmp_path)) == known


def test_users_of_the_directory_bring_columns_to_group_by_and_no_names(tmp_path: Path) -> None:
    USERS["audits and the portal's users"](tmp_path)
    made = read(tmp_path).users
    assert made["country"].tolist() == ["DE", "DE", "FR", "FR", "FR", "IT"]
    assert "contoso" not in made.to_csv()


def test_a_list_of_users_alone_says_who_was_moved_and_that_nothing_says_when(tmp_path: Path) -> None:
    lines(tmp_path / "users.jsonl", directory())
    tables = read(tmp_path)
    assert (len(tables.users), int(tables.users["migrated_at"].notna().sum())) == (6, 3)
    assert {row["finding"]: row["rows"] for row in quality(tables).to_dict("records")} == {
        "people moved, and no file shows when: they count as moved at the last moment in the files": 3,
        "users migrated, and no log shows how": 3,
    }
    assert Figures(tables).answers["How fast?"] == "Not known: of 3 of the 3 people who moved, no table says when."
    graph_pages(tmp_path, graph_sign_ins(), "auditLogs/signIns")
    tables = read(tmp_path)
    # From sign-ins: ann and bob when they first came in, cem as well.
    assert tables.users["migrated_at"].dropna().dt.strftime("%H:%M:%S").tolist() == ["09:00:59", "09:01:59", "09:02:50"]
    assert not tables.undated


def later_audit(user: str, activity: str, *values: str, minute: int = 0, **more: Any) -> Row:
    changes = [{"displayName": FLAG, "oldValue": None, "newValue": value} for value in values]
    target = {"id": IDS[user], "type": "User", "modifiedProperties": changes}
    time = f"2026-11-02T18:{minute:02}:00Z"
    return {"id": time, "activityDisplayName": activity, "activityDateTime": time, "targetResources": [target], **more}


def test_users_who_were_deleted_or_lost_the_flag_before_they_moved_are_not_in_scope(tmp_path: Path) -> None:
    lines(
        tmp_path / "a.jsonl",
        [
            *audits(),
            later_audit("ann", "Update user", "[]"),  # moved, then tidied up
            later_audit("dora", "Update user", "[]"),
            later_audit("eli", "Delete user"),
            later_audit("fay", "Delete user"),
            later_audit("fay", "Restore user", minute=5),
        ],
    )
    tables = read(tmp_path)
    assert tables.users["migrated_at"].notna().set_axis(tables.users["user_id"]).to_dict() == {
        IDS["ann"]: True,
        IDS["bob"]: True,
        IDS["cem"]: True,
        IDS["fay"]: False,
    }
    assert {each.finding: each.rows for each in tables.remarks if "vanished" in each.finding} == {
        "users who were in scope and vanished from the tenant": 1
    }


@pytest.mark.parametrize("name", ["result", "Result"])
def test_a_change_that_failed_changed_nothing(tmp_path: Path, name: str) -> None:
    lines(tmp_path / "a.jsonl", [*audits(), later_audit("dora", "Update user", "[false]", **{name: "failure"})])
    assert int(read(tmp_path).users["migrated_at"].notna().sum()) == 3


def test_requests_without_properties_do_not_say_what_was_answered(tmp_path: Path) -> None:
    SIGN_INS["Graph lines"](tmp_path)
    USERS["own CSV"](tmp_path)
    lines(tmp_path / "l.jsonl", [{**row, "Properties": {}} for row in requests()])
    (unknown,) = coverage(read(tmp_path)).query("table == 'ledger'")["unknown"]
    assert "made of requests" in unknown and "it is not known what the endpoint answered" in unknown


def test_the_coverage_lists_what_each_file_was_taken_for(tmp_path: Path) -> None:
    archive(tmp_path)
    USERS["AuditLogs"](tmp_path)
    (tmp_path / "empty.csv").touch()
    tables = read(tmp_path)
    read_from = coverage(tables).set_index("table")["files"]
    assert read_from["sign_ins"] == "PT1H.json, PT1H.json (archive of the tenant's logs)"
    assert read_from["users"] == "u.csv (audit log)"
    unused = {each.cause for each in tables.remarks if "nothing is in this report" in each.finding}
    assert [("empty.csv" in cause) for cause in unused] == [True]


def many_hours(path: Path, odd: str = "") -> None:
    """Write an archive of a day, with one sign-in an hour. The eighth may have an odd time."""
    for hour in range(24):
        time = odd if odd and hour == 7 else f"2026-11-03T{hour:02}:00:00Z"
        row = graph_sign_ins()[0] | {
            "id": f"id {hour}",
            "correlationId": f"correlation {hour}",
            "createdDateTime": time,
        }
        lines(path / f"h={hour:02}" / "m=00" / "PT1H.json", [record(row, "SignInLogs", "createdDateTime")])


def test_an_archive_of_many_files_is_read_as_one(tmp_path: Path) -> None:
    USERS["own CSV"](tmp_path)
    many_hours(tmp_path)
    (tmp_path / "h=24").mkdir()
    (tmp_path / "h=24" / "PT1H.json").write_text('{"time": "2026-11-04T00:00:00Z", "category": "SignInLogs", "prop')
    tables = read(tmp_path)
    assert tables.sign_ins["time"].dt.hour.tolist() == [*range(24)]
    assert coverage(tables).set_index("table")["files"]["sign_ins"] == (
        "24 files such as PT1H.json (archive of the tenant's logs)"
    )


def test_of_an_archive_of_many_files_the_one_that_is_refused_is_named_with_its_folder(tmp_path: Path) -> None:
    USERS["own CSV"](tmp_path)
    many_hours(tmp_path, odd="2206-11-02T09:00:00Z")
    with pytest.raises(BadTable, match=r"2206 in row 1 of PT1H\.json") as caught:
        read(tmp_path)
    assert str(Path("h=07", "m=00")) in caught.value.next_step


LOCAL = "TimeGenerated [Local Time],UserId,ResultType,AppliedEventListeners\n2026-11-02 10:00,a,0,[]\n"
REFUSED: dict[str, tuple[str, str | list[Row], list[str]]] = {
    "unknown": ("a.csv", "who,when\na,b\n", ["a.csv", "who, when", "SigninLogs", "user_id, migrated_at"]),
    "local times": ("a.csv", LOCAL, ["a.csv", "TimeGenerated [Local Time]", "--zone"]),
    "no listeners": ("a.csv", "TimeGenerated,UserId,ResultType\n2026-11-02,a,0\n", ["a.csv", "AppliedEventListeners"]),
    "unreadable listeners": (
        "a.jsonl",
        [*log_analytics()[:2], log_analytics()[2] | {"AppliedEventListeners": "[object Object]"}],
        ["row 3 of a.jsonl", "AppliedEventListeners"],
    ),
    "listeners cut by depth": (
        "a.jsonl",
        [log_analytics()[0], log_analytics()[1] | {"AppliedEventListeners": ["@{eventType=passwordSubmit}"]}],
        ["row 2 of a.jsonl", "AppliedEventListeners"],
    ),
    "callouts cut by depth": (
        "a.jsonl",
        [
            graph_sign_ins()[0]
            | {"appliedEventListeners": [{"eventType": "passwordSubmit", "handlerResult": "@{errorCode=0}"}]}
        ],
        ["row 1 of a.jsonl", "AppliedEventListeners"],
    ),
    "changes cut by depth": (
        "a.jsonl",
        [audits()[0], audits()[1] | {"targetResources": [{"id": "a", "modifiedProperties": "System.Object[]"}]}],
        ["row 2 of a.jsonl", "TargetResources"],
    ),
    "unreadable records": (
        "PT1H.json",
        [
            {"time": "2026-11-02T09:00:00Z", "category": "RiskyUsers", "properties": {"id": "x"}},
            record(graph_sign_ins()[0], "SignInLogs", "createdDateTime") | {"properties": "torn {"},
        ],
        ["row 2 of PT1H.json", "properties"],
    ),
    "odd time in an archive": (
        "PT1H.json",
        [
            {"time": "2026-11-02T09:00:00Z", "category": "RiskyUsers", "properties": {"id": "x"}},
            record(graph_sign_ins()[0] | {"createdDateTime": "2206-11-02T09:00:00Z"}, "SignInLogs", "createdDateTime"),
        ],
        ["2206 in row 2 of PT1H.json"],
    ),
    "unreadable targets": (
        "a.jsonl",
        [audit_logs()[0] | {"TargetResources": "System.Object[]"}],
        ["row 1 of a.jsonl", "TargetResources"],
    ),
    "unreadable properties": (
        "a.jsonl",
        [*traces(inside=False)[:1], traces(inside=False)[1] | {"Properties": "@{action=Retry}"}],
        ["row 2 of a.jsonl", "properties"],
    ),
    "sample": ("a.jsonl", [requests()[0] | {"ItemCount": 5}], ["a.jsonl", "1 rows stand for 5"]),
    "admin center": ("a.csv", "Date (UTC),Request ID,User ID\n2026-11-02,r,a\n", ["a.csv", "admin center"]),
    "odd time in a log": (
        "a.jsonl",
        [log_analytics()[0], log_analytics()[1] | {"CreatedDateTime": "yesterday"}],
        ["column time of sign_ins", "row 2 of a.jsonl: “yesterday”"],
    ),
    "impossible year in a log": (
        "a.jsonl",
        [log_analytics()[0], log_analytics()[1] | {"CreatedDateTime": "2206-11-02T09:00:00Z"}],
        ["column time of sign_ins", "2206 in row 2 of a.jsonl"],
    ),
    "serial numbers": ("u.csv", "user_id,migrated_at\na,46327.5\n", ["row 1 of u.csv: “46327.5”", "--dates"]),
    "two meanings": ("u.csv", "user_id,migrated_at\na,\nb,1/2/2026\n", ["row 2 of u.csv: “1/2/2026”", "--dates"]),
    "odd flag": ("u.jsonl", [{"id": "a", FLAG: True}, {"id": "b", FLAG: "maybe"}], [FLAG.lower(), "row 2 of u.jsonl"]),
    "odd code": ("s.csv", "time,user_id,result_code\n2026-11-02,a,0\n2026-11-02,b,1.5\n", ["row 2 of s.csv: “1.5”"]),
    "a year alone": ("u.csv", "user_id,migrated_at\na,2026\n", ["row 1 of u.csv: “2026”"]),
    "a word for a time": ("u.csv", "user_id,migrated_at\na,\nb,now\n", ["row 2 of u.csv: “now”"]),
    "small letters of half a day": (
        "s.csv",
        'time,user_id,result_code\n"2/11/2026, 9:05:01 pm",a,0\n',
        ["row 1 of s.csv: “2/11/2026, 9:05:01 pm”", "--dates"],
    ),
    "a user without an id": ("u.csv", "user_id,migrated_at\na,\n,2026-11-02\n", ["no user_id in row 2 of u.csv"]),
    "the first page alone": (
        "page.json",
        json.dumps({"value": graph_sign_ins()[:2], "@odata.nextLink": "https://graph.microsoft.com/beta/next"}),
        ["page.json (signIns of Microsoft Graph)", "@odata.nextLink"],
    ),
    "no end": ("l.csv", "time,action,cause,duration_ms\n2026-11-02,Retry,wrong,inf\n", ["row 1 of l.csv: “inf”"]),
    "unknown ending": ("a.docx", "x", ["a.docx ends in .docx"]),
    "no gzip": ("a.csv.gz", "x", ["a.csv.gz is broken"]),
    "no workbook": ("a.xlsx", "x", ["a.xlsx is broken"]),
}


@pytest.mark.parametrize("shape", REFUSED)
def test_what_cannot_be_taken_is_refused_by_file_and_cell(
    shape: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name, content, words = REFUSED[shape]
    own_users().to_csv(tmp_path / "known.csv", index=False)
    if isinstance(content, str):
        (tmp_path / name).write_text(content)
    else:
        lines(tmp_path / name, content)
    assert main(["report", str(tmp_path), "--out", str(tmp_path / "out")]) == 1
    said = capsys.readouterr().err
    assert [word for word in words if word not in said] == [] and "Next: " in said and "Traceback" not in said


def test_a_folder_may_hold_links_and_what_is_no_table(tmp_path: Path, known: Row) -> None:
    folder, elsewhere = tmp_path / "exports [1] 'ä'", tmp_path / "elsewhere"
    for path in (folder, elsewhere):
        path.mkdir()
    SIGN_INS["Graph lines"](elsewhere)
    USERS["own CSV"](folder)
    LEDGERS["own"](folder)
    (folder / "linked").symlink_to(elsewhere)
    (folder / "around").symlink_to(tmp_path)
    for name in (
        "README.md",
        "ReadMe.txt",
        "chart.png",
        "weekly.eml",
        "Thumbs.db",
        "desktop.ini",
        "~$u.xlsx",
        ".DS_Store",
    ):
        (folder / name).write_bytes(b"x")
    tables = read(folder)
    assert summary_of(tables) == known
    (unused,) = (each for each in tables.remarks if "nothing is in this report" in each.finding)
    assert (unused.rows, "weekly.eml (no table)" in unused.cause) == (4, True)
    (folder / "moved.csv").symlink_to(tmp_path / "nowhere")
    with pytest.raises(BadTable, match=r"There is no file .*moved\.csv"):
        read(folder)


def test_rows_that_no_figure_counts_are_reported(tmp_path: Path, known: Row) -> None:
    USERS["own CSV"](tmp_path)
    SIGN_INS["a row of the year after next"](tmp_path)
    lines(tmp_path / "l.jsonl", [*own_ledger(), own_ledger()[0] | {"time": None}])
    tables = read(tmp_path)
    left_out = {each.finding.partition(":")[0]: each.rows for each in tables.remarks if "left out" in each.finding}
    assert left_out == {"rows of a log without a time": 1, "rows with a time that is still to come": 1}
    assert coverage(tables).set_index("table")["until"]["sign_ins"] == told().sign_ins["time"].max().replace(
        microsecond=123000
    )
    later = read(tmp_path, until=pd.Timestamp.now("UTC") + pd.Timedelta(days=1000))
    assert len(later.sign_ins) == len(tables.sign_ins) + 1


def test_a_columns_heading_says_its_zone(tmp_path: Path, known: Row) -> None:
    portal(tmp_path)
    USERS["own CSV"](tmp_path)
    LEDGERS["own"](tmp_path)
    assert summary_of(read(tmp_path, zone="Europe/Berlin")) == known


def test_columns_of_users_may_have_any_name(tmp_path: Path) -> None:
    names = ["state", "Country", "odd", "c0", "problem", "place", "do_next", "hash of user_id", "row", 'a"b', "user id"]
    own_users(**dict.fromkeys(names, "x")).to_csv(tmp_path / "u.csv", index=False)
    SIGN_INS["Graph lines"](tmp_path)
    assert main(["report", str(tmp_path), "--out", str(tmp_path / "out")]) == 0
    listed = pd.read_csv(tmp_path / "out" / "stragglers.csv")
    assert set(listed["state"]) == {"attempted", "never_seen"}
    for name in ("user_state", "user_do_next", *names[1:6]):
        assert set(listed[name]) == {"x"}


@pytest.mark.parametrize("part", ["xl/worksheets/sheet2.xml", "xl/workbook.xml", "xl/styles.xml"])
def test_a_workbook_that_is_torn_inside_is_refused(tmp_path: Path, part: str) -> None:
    workbook(tmp_path / "whole.xlsx", {"people": dated(own_users())})
    with ZipFile(tmp_path / "whole.xlsx") as whole, ZipFile(tmp_path / "u.xlsx", "w") as torn:
        for name in whole.namelist():
            torn.writestr(name, whole.read(name)[: 300 if name == part else None])
    (tmp_path / "whole.xlsx").unlink()
    with pytest.raises(BadTable, match=r"u\.xlsx is broken"):
        read(tmp_path)


@pytest.mark.parametrize("moment", ["9999-01-01", "0001-01-01"])
def test_a_report_of_a_moment_outside_of_every_migration_is_refused(tmp_path: Path, moment: str) -> None:
    USERS["own CSV"](tmp_path)
    with pytest.raises(BadTable, match=f"--as-of {moment} is outside"):
        report({}, tmp_path / "out", inputs=[tmp_path], as_of=moment)


def test_users_with_columns_of_a_log_are_users_in_every_kind_of_file(tmp_path: Path) -> None:
    frame = own_users(time="2026-11-02T09:00:00Z", result_code=0)
    frame.to_csv(tmp_path / "u.csv", index=False)
    frame.to_json(tmp_path / "u.jsonl", orient="records", lines=True)
    frame.to_parquet(tmp_path / "u.parquet")
    for path in tmp_path.iterdir():
        found = gather({}, [path])
        assert [(source.gives, len(found.table("users"))) for source in found.sources] == [(("users",), 6)], path.name


def test_the_zone_and_the_order_of_dates_can_be_told(tmp_path: Path, known: Row) -> None:
    SIGN_INS["Graph lines"](tmp_path)
    local = own_users(
        flagged_at="11/02/2026 10:00:00", migrated_at=users()["migrated_at"].str.slice(13, 19).radd("11/02/2026 10")
    )
    local.to_csv(tmp_path / "u.csv", index=False)
    LEDGERS["own"](tmp_path)
    with pytest.raises(BadTable, match=r"row 1 of u.csv: “11/02/2026 10:00:00”"):
        read(tmp_path)
    tables = read(tmp_path, dates="month-first", zone="Europe/Berlin")
    pd.testing.assert_series_equal(tables.users["migrated_at"], told().users["migrated_at"])
    with pytest.raises(BadTable, match="no time zone"):
        read(tmp_path, zone="Europe/Berlyn")
    with pytest.raises(BadTable, match="day-first, month-first, excel"):
        read(tmp_path, dates="american")


def test_serial_numbers_of_a_spreadsheet_are_read_where_a_person_says_so(tmp_path: Path) -> None:
    began = datetime.fromisoformat("1899-12-30")
    serial = [
        (datetime.fromisoformat(each[:19]) - began) / timedelta(days=1) if not pd.isna(each) else None
        for each in users()["migrated_at"]
    ]
    own_users(flagged_at=46328.375, migrated_at=serial).to_csv(tmp_path / "u.csv", index=False)
    pd.testing.assert_frame_equal(
        read(tmp_path, dates="excel").users[["flagged_at", "migrated_at"]], told().users[["flagged_at", "migrated_at"]]
    )


def test_of_two_flags_the_migrations_has_to_be_named(tmp_path: Path) -> None:
    other = FLAG.replace("toBeMigrated", "newsletter")
    lines(tmp_path / "u.jsonl", [row | {other: True} for row in directory()])
    with pytest.raises(BadTable, match="these flags"):
        read(tmp_path)
    assert int(read(tmp_path, flag=FLAG).users["migrated_at"].notna().sum()) == 3
    with pytest.raises(BadTable, match="not of extension_nothing"):
        read(tmp_path, flag="extension_nothing")


def test_exports_without_a_word_on_who_was_moved_are_no_report(tmp_path: Path) -> None:
    SIGN_INS["Graph lines"](tmp_path)
    with pytest.raises(BadTable, match="No file says who is in scope"):
        read(tmp_path)

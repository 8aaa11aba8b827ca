"""The KQL queries, run on exported logs of a simulated migration, say what the figures of the same logs say."""

from __future__ import annotations

import json
from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import duckdb
import duckdb_kql
import numpy as np
import pandas as pd
import pytest
from log_exports import export_logs

from jitkit.errors import KitError
from jitkit.explanations import callout_cause
from jitkit.progress import figures, states
from jitkit.progress.assemble import assemble
from jitkit.progress.collect import users_from_graph
from jitkit.progress.command import read
from jitkit.progress.log_analytics import audits_from_graph
from jitkit.progress.queries import QUERIES, queries, query
from jitkit.progress.table_files import read_table
from jitkit.progress.tables import Tables
from jitkit.protocol import MIGRATE
from jitkit.rehearsal.audit_log import audit
from jitkit.rehearsal.population import Habit, PasswordSpray, Plan, Trouble
from jitkit.rehearsal.tenant import RehearsalTenant

# Azure Monitor reference: the types of the columns that the queries read.
COLUMNS: Final = {
    "SigninLogs": {
        "TimeGenerated": "TIMESTAMP",
        "CreatedDateTime": "TIMESTAMP",
        "Id": "VARCHAR",
        "UserId": "VARCHAR",
        "CorrelationId": "VARCHAR",
        "ResultType": "VARCHAR",
        "AppliedEventListeners": "JSON",
    },
    "AuditLogs": {
        "TimeGenerated": "TIMESTAMP",
        "ActivityDateTime": "TIMESTAMP",
        "ActivityDisplayName": "VARCHAR",
        "OperationName": "VARCHAR",
        "TargetResources": "JSON",
    },
    "AppRequests": {"TimeGenerated": "TIMESTAMP", "Name": "VARCHAR", "DurationMs": "DOUBLE", "ItemCount": "INTEGER"},
    "AppTraces": {"TimeGenerated": "TIMESTAMP", "Message": "VARCHAR", "Properties": "JSON", "ItemCount": "INTEGER"},
}
DAYS = 14
START = datetime(2026, 6, 1, tzinfo=UTC)
PLAN = Plan(
    seed=3,
    start=START,
    days=DAYS,
    habits=(Habit("often", 0.5, 0.3), Habit("rarely", 0.3, 0.05), Habit("never", 0.2, 0.0)),
    typos=0.15,
    forgets=0.05,
    troubles=(
        Trouble("store away", day=1, hours=14),
        Trouble("endpoint away", day=3, hours=14),
        Trouble("store slow", day=5, hours=14),
        Trouble("store slow", day=12.5, hours=36),
    ),
    sprays=(PasswordSpray(day=4, hours=1, tries=60, known=0.6),),
)

Row = dict[str, Any]


@dataclass
class Recorded:
    """What a simulation left behind: the logs' files, their rows, the ledger, and the figures of all of it."""

    flag: str
    logs: dict[str, list[Row]]
    ledger: list[Row]
    tables: Tables


class Workspace:
    """A workspace that answers KQL queries about rows."""

    def __init__(self, logs: dict[str, list[Row]], flag: str, folder: Path) -> None:
        self.flag = flag
        self._database = duckdb_kql.connect()
        for name, columns in COLUMNS.items():
            path = folder / f"{name}.jsonl"
            path.write_text("".join(json.dumps(row) + "\n" for row in logs[name]), encoding="utf-8")
            types = ", ".join(f"{column}: '{type_}'" for column, type_ in columns.items())
            self._database.sql(
                f"CREATE TABLE {name} AS FROM read_json('{path}', format='newline_delimited', columns={{{types}}})"
            )

    def ask(self, name: str) -> list[Row]:
        answer: duckdb.DuckDBPyRelation = duckdb_kql.query(self._database, query(name, self.flag))
        return [dict(zip(answer.columns, row, strict=True)) for row in answer.fetchall()]


@pytest.fixture(scope="module")
def recorded(record: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    folder = tmp_path_factory.mktemp("recorded")
    apps = (record.App("Shop", 0.85), record.App("Partners", 0.15, covered=False))
    done = record.play_scenario(record.Scenario(PLAN, 160, apps, weak=0.2, damaged=0.1), folder)
    ledger = [json.loads(line) for line in done.ledger.read_text(encoding="utf-8").splitlines()]
    with closing(RehearsalTenant.open(done.tenant)) as tenant:
        tell_of_flags(tenant, done.flag, ledger)
        files, audits = export_logs(tenant, folder / "logs", ledger), tenant.audit_rows()
        found = tenant.directory.rows("SELECT id, body FROM users WHERE sign_in_name IS NOT NULL")
        people = [{"id": row["id"], done.flag: json.loads(row["body"])[done.flag]} for row in found]
    end = pd.Timestamp(START) + pd.Timedelta(days=DAYS + 1)  # later, the log would have ended too early to say all
    tables = assemble(
        users_from_graph(people, done.flag, end),
        seen_at=end,
        sign_ins=read_table(files["SigninLogs"], "sign_ins"),
        audits=audits_from_graph(audits, done.flag),
        ledger=pd.DataFrame(ledger),
    )
    logs = {name: [json.loads(line) for line in path.read_text().splitlines()] for name, path in files.items()}
    return Recorded(done.flag, logs, ledger, tables)


def tell_of_flags(tenant: RehearsalTenant, flag: str, ledger: list[Row]) -> None:
    """Write the audit rows of an import, and let an administrator do what no simulated person does."""
    directory = tenant.directory
    people = [row["id"] for row in directory.rows("SELECT id FROM users WHERE sign_in_name IS NOT NULL ORDER BY id")]
    called = [line["user_id"] for line in ledger if line["action"] == MIGRATE]
    touched = {row["targetResources"][0]["id"] for row in tenant.audit_rows()}
    waiting = [person for person in people if person not in touched]
    late, cleared, silent, again = waiting[:3], waiting[3:7], called[:4], called[-6:]
    set_, clear = {flag: (None, True)}, {flag: (True, False)}

    def change(who: list[str], changed: dict[str, tuple[bool | None, bool]], day: float) -> None:
        directory.clock.hold(START.timestamp() + day * 86_400)
        for person in who:
            audit(directory, "Update user", target_id=person, changed=changed)
            directory.set_user_value(person, flag, changed[flag][1])

    flags = {
        row["id"]: json.loads(row["body"])[flag]
        for row in directory.rows("SELECT id, body FROM users WHERE sign_in_name IS NOT NULL")
    }
    change([person for person in people if person not in late], set_, -1)
    for person, value in flags.items():
        directory.set_user_value(person, flag, value)
    change(cleared, clear, DAYS + 0.5)
    change(again, set_, DAYS + 0.6)
    change(late, set_, DAYS + 1)
    retell_callouts(tenant, silent)
    directory.clock.release()


def retell_callouts(tenant: RehearsalTenant, silent: list[str]) -> None:
    """Let the sign-in log tell of some callouts what it tells of no simulated one.

    No callout ran when the `silent` were moved: the tenant had their password already, and none was stored. And of
    every tenth answer Entra says that it came too late.
    """
    with tenant.directory.transaction():
        tenant.directory.many(
            "DELETE FROM log WHERE kind = 'directoryAudit' AND body LIKE '%password%' AND body LIKE ?",
            [(f"%{person}%",) for person in silent],
        )
        rows = tenant.directory.rows("SELECT rowid AS at, body FROM log WHERE kind = 'signIn' ORDER BY time, rowid")
        for number, row in enumerate(rows):
            body = json.loads(row["body"])
            if body["userId"] in silent:
                body["appliedEventListeners"] = []
            elif body["appliedEventListeners"] and number % 10 == 0:
                body["appliedEventListeners"][0]["handlerResult"] |= {"errorCode": 1003005, "httpStatus": 0}
            tenant.directory.many("UPDATE log SET body = ? WHERE rowid = ?", [(json.dumps(body), row["at"])])


@pytest.fixture
def workspace(recorded: Recorded, tmp_path: Path) -> Workspace:
    return Workspace(recorded.logs, recorded.flag, tmp_path)


def test_the_recorded_migration_has_every_story_that_the_queries_tell_apart(recorded: Recorded) -> None:
    counts = states.count_states(recorded.tables)["states"]
    assert [state for state, count in counts.items() if not count] == ["staged", "migrated_unknown", "not_covered"]
    causes = set(figures.failures(recorded.tables)["cause"])
    assert {"malformed", callout_cause(1003027), callout_cause(1003005)} <= causes, causes
    assert figures.retries(recorded.tables)["retried"] > 0


def test_the_curve_is_the_reports_by_day_and_path(recorded: Recorded, workspace: Workspace) -> None:
    moved = recorded.tables.users.dropna(subset="migrated_at")
    expected = Counter(zip(moved["migrated_at"].dt.date, moved["path"].fillna("unknown"), strict=True))
    paths = {"ByCall": "callout", "Silently": "silent", "ByReset": "reset", "Unknown": "unknown"}
    days = workspace.ask("curve")
    assert {
        (row["Day"].date(), path): row[name] for row in days for name, path in paths.items() if row[name]
    } == expected
    curve = figures.curve(recorded.tables).set_index("time")["migrated"]
    for row in days:
        assert sum(row[name] for name in paths) == row["Migrated"]
        # The report counts a day at its end.
        assert row["Total"] == curve.asof(pd.Timestamp(row["Day"], tz="UTC") + pd.Timedelta(days=1)), row


def failures(tables: Tables) -> dict[str, int]:
    found = figures.failures(tables)
    return dict(zip(found["cause"], map(int, found["count"]), strict=True))


def asked_failures(workspace: Workspace) -> dict[str, int]:
    rows = {row["Cause"]: int(row["Failures"]) for row in workspace.ask("failures")}
    return {callout_cause(int(cause)) if cause.isdigit() else cause: count for cause, count in rows.items()}


def test_failures_are_the_reports_by_cause_and_code(recorded: Recorded, workspace: Workspace) -> None:
    assert asked_failures(workspace) == failures(recorded.tables)


def test_trials_of_the_endpoint_are_no_failures(recorded: Recorded, workspace: Workspace, tmp_path: Path) -> None:
    """As of notebook 05 and the conformance suite: the log knows no such sign-in, and nobody in scope was meant."""
    blocked = recorded.ledger[len(recorded.ledger) // 2] | {"action": "Block", "cause": "disabled", "attempt": 1}
    person = str(recorded.tables.users["user_id"].iloc[0])
    whom = {"trial": "00000000-0000-4000-8000-00000000beef", "known": person, "nobody": None}
    tried = [blocked | {"correlation_id": name, "user_id": user} for name, user in whom.items()]
    tables = Tables(
        recorded.tables.users,
        recorded.tables.sign_ins,
        pd.DataFrame([*recorded.ledger, *tried]),
        as_of=recorded.tables.as_of,
    )
    traces = [{"TimeGenerated": line["time"], "Message": json.dumps(line), "ItemCount": 1} for line in tried]
    other = Workspace(recorded.logs | {"AppTraces": [*recorded.logs["AppTraces"], *traces]}, recorded.flag, tmp_path)
    before = asked_failures(workspace)
    assert asked_failures(other) == failures(tables) == before | {"disabled": before.get("disabled", 0) + 2}


def test_every_user_has_the_state_that_the_report_gives(recorded: Recorded, workspace: Workspace) -> None:
    expected = states.count_states(recorded.tables)["states"]
    assert {row["State"]: row["Users"] for row in workspace.ask("states")} == {
        state: count for state, count in expected.items() if count
    }


def test_the_users_are_the_reports_and_their_export_is_its_table(
    recorded: Recorded, workspace: Workspace, tmp_path: Path
) -> None:
    rows = pd.DataFrame(workspace.ask("users"))
    # As the portal exports it: the zone in the heading, and its own way to write a time.
    for name in ("flagged_at", "migrated_at"):
        times = pd.to_datetime(rows.pop(name))
        rows[f"{name} [UTC]"] = times.dt.strftime("%m/%d/%Y, %I:%M:%S.%f %p")
    rows.to_csv(tmp_path / "query_data.csv", index=False)
    found, known = read(tmp_path).users, recorded.tables.users
    pd.testing.assert_frame_equal(found[known.columns], known.assign(path=known["path"]), check_dtype=False)


def test_the_durations_are_the_reports(recorded: Recorded, workspace: Workspace, tmp_path: Path) -> None:
    took = recorded.tables.ledger["duration_ms"].to_numpy()
    (row,) = workspace.ask("latency")
    report = figures.latency(recorded.tables)
    assert (row["Calls"], row["OverLimit"]) == (report["calls"], report["over_limit"])
    for point, share in (("P50", 0.50), ("P95", 0.95), ("P99", 0.99)):
        assert row[point] == np.quantile(took, share, method="inverted_cdf")
    # Of a hundred calls and one, each of the three points falls on a call: nothing is to interpolate.
    some = recorded.logs | {"AppRequests": recorded.logs["AppRequests"][:101]}
    (row,) = Workspace(some, recorded.flag, tmp_path).ask("latency")
    report = figures.latency(Tables(ledger=pd.DataFrame(recorded.ledger[:101])))
    assert [row[name] for name in ("P50", "P95", "P99", "Calls", "OverLimit")] == [*report.values()]


def test_retries_and_near_limit_seconds_are_the_reports(recorded: Recorded, tmp_path: Path) -> None:
    busy = [{**recorded.ledger[0], "correlation_id": f"busy-{number}"} for number in range(46)]
    busier = [{**recorded.ledger[9], "correlation_id": f"busier-{number}"} for number in range(60)]
    tables = Tables(recorded.tables.users, recorded.tables.sign_ins, pd.DataFrame([*recorded.ledger, *busy, *busier]))
    requests = recorded.logs["AppRequests"]
    many = [*requests, *([requests[0]] * 46), *([requests[9]] * 60)]
    (row,) = Workspace(recorded.logs | {"AppRequests": many}, recorded.flag, tmp_path).ask("load")
    retries, seconds = figures.retries(tables), figures.busy_seconds(tables)
    assert (row["Called"], row["Retried"]) == (retries["calls"], retries["retried"])
    assert row["RetryShare"] == pytest.approx(retries["share"], abs=1e-6)
    assert (row["NearLimitSeconds"], row["OverLimitSeconds"]) == (len(seconds), seconds["over"].sum()) == (2, 1)


def test_other_casing_text_instead_of_objects_and_the_ledgers_own_lines_change_nothing(
    recorded: Recorded, workspace: Workspace, tmp_path: Path
) -> None:
    def shouted(value: Any) -> Any:
        match value:
            case dict():
                return {name[:1].upper() + name[1:]: shouted(each) for name, each in value.items()}
            case list():
                return [shouted(each) for each in value]
        return value

    logs = {
        "SigninLogs": [
            {**row, "AppliedEventListeners": json.dumps(shouted(row["AppliedEventListeners"]))}
            for row in recorded.logs["SigninLogs"]
        ],
        "AuditLogs": [
            {**row, "TargetResources": shouted(row["TargetResources"])} for row in recorded.logs["AuditLogs"]
        ],
        "AppRequests": recorded.logs["AppRequests"],
        "AppTraces": [
            {"TimeGenerated": line["time"], "Message": json.dumps(line), "Properties": {}, "ItemCount": 1}
            for line in recorded.ledger
        ],
    }
    other = Workspace(logs, recorded.flag, tmp_path)
    for name in QUERIES:
        assert other.ask(name) == workspace.ask(name), name


def test_telemetry_that_names_nobody_gives_the_same_answers(
    recorded: Recorded, workspace: Workspace, tmp_path: Path
) -> None:
    traces = [
        {**row, "Properties": {name: value for name, value in row["Properties"].items() if name != "user_id"}}
        for row in recorded.logs["AppTraces"]
    ]
    assert traces != recorded.logs["AppTraces"]
    other = Workspace(recorded.logs | {"AppTraces": traces}, recorded.flag, tmp_path)
    for name in QUERIES:
        assert other.ask(name) == workspace.ask(name), name


def test_a_sampled_row_counts_for_those_that_it_stands_for(recorded: Recorded, tmp_path: Path) -> None:
    rows = recorded.logs["AppRequests"]
    sample = [{**row, "ItemCount": 4} for row in rows[::4]]
    whole = [row for row in rows[::4] for _ in range(4)]
    answers = [
        Workspace(recorded.logs | {"AppRequests": logs}, recorded.flag, tmp_path).ask(name)
        for logs in (sample, whole)
        for name in ("latency", "load")
    ]
    assert answers[:2] == answers[2:]


def test_a_workspace_without_rows_is_answered(recorded: Recorded, tmp_path: Path) -> None:
    empty = Workspace({name: [] for name in COLUMNS}, recorded.flag, tmp_path)
    assert [empty.ask(name) for name in ("curve", "failures", "states")] == [[], [], []]
    assert empty.ask("latency")[0]["Calls"] == empty.ask("load")[0]["Called"] == 0


def test_each_query_is_shown_whole_behind_its_question(recorded: Recorded) -> None:
    shown = queries(recorded.flag)._repr_html_()
    assert shown.count("?</summary>") == len(QUERIES)
    assert "<summary>Where does each user stand?</summary>" in shown
    assert shown.count(recorded.flag) == 4, "the queries that read the audit log name the flag"
    assert "Attempts &gt; 1" in shown


def test_a_query_names_the_flag_and_asks_only_for_documented_columns(recorded: Recorded) -> None:
    for name, text in queries(recorded.flag).items():
        assert ("AuditLogs" in text) == (recorded.flag in text), name
        assert "_0000" not in text
    with pytest.raises(KitError, match="not the full name"):
        query("curve", "toBeMigrated")
    with pytest.raises(KitError, match="no query"):
        query("everything", recorded.flag)


def test_the_causes_that_bar_an_account_are_the_reports() -> None:
    listed = ", ".join(f'"{cause}"' for cause in states.CANNOT)
    assert f'Action == "Block" and Cause in ({listed})' in query("states", f"extension_{32 * '0'}_flag")

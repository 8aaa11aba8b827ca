"""Each alert rule fires on the rehearsed day of its fault and on no good day; Microsoft's parser takes each query."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import duckdb_kql
import pytest
from endpoint.test_telemetry import Insights, calls, insights
from progress.log_exports import export_logs

from jitkit import kql
from jitkit.hosting import monitoring
from jitkit.hosting.monitoring import ALERTS, Alert
from jitkit.progress.queries import QUERIES, queries
from jitkit.rehearsal.population import Habit, PasswordSpray, Plan, Trouble
from jitkit.rehearsal.tenant import RehearsalTenant

__all__ = ["insights"]

HERE: Final = Path(__file__).parent
INSTALL: Final = (
    *("install", "--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts"),
    *("--prefer-offline", "--fetch-retries=1"),
)
# Azure Monitor reference: the columns that the queries read. Type of KQL, and the same of DuckDB.
COLUMNS: Final = {
    "SigninLogs": {
        **dict.fromkeys(("TimeGenerated", "CreatedDateTime"), "datetime"),
        **dict.fromkeys(("Id", "UserId", "CorrelationId", "ResultType"), "string"),
        "AppliedEventListeners": "dynamic",
    },
    "AuditLogs": {
        **dict.fromkeys(("TimeGenerated", "ActivityDateTime"), "datetime"),
        **dict.fromkeys(("ActivityDisplayName", "OperationName"), "string"),
        "TargetResources": "dynamic",
    },
    "AppRequests": {"TimeGenerated": "datetime", "Name": "string", "DurationMs": "real", "ItemCount": "int"},
    "AppTraces": {"TimeGenerated": "datetime", "Message": "string", "Properties": "dynamic", "ItemCount": "int"},
    "AZKVAuditLogs": {
        "TimeGenerated": "datetime",
        "HttpStatusCode": "int",
        **dict.fromkeys(("OperationName", "ResultSignature", "CallerIpAddress"), "string"),
    },
}
TYPES: Final = {"datetime": "TIMESTAMP", "string": "VARCHAR", "dynamic": "JSON", "real": "DOUBLE", "int": "INTEGER"}
START: Final = datetime(2026, 6, 1, tzinfo=UTC)
# Days of the play, from midnight to midnight.
GOOD, STORE_AWAY, ENDPOINT_AWAY, STORE_SLOW, SPRAYED, AFTER = 2, 4, 6, 8, 10, 12
PLAN: Final = Plan(
    seed=11,
    start=START,
    days=AFTER,
    habits=(Habit("often", 0.9, 0.12), Habit("never", 0.1, 0.0)),
    typos=0.1,
    forgets=0.03,
    troubles=(
        Trouble("store away", day=STORE_AWAY + 0.25, hours=12),
        Trouble("endpoint away", day=ENDPOINT_AWAY + 0.25, hours=12),
        Trouble("store slow", day=STORE_SLOW + 0.25, hours=12),
    ),
    sprays=(PasswordSpray(day=SPRAYED + 0.25, hours=2, tries=150, known=0.4),),
)

Row = dict[str, Any]
Logs = dict[str, list[Row]]


class Workspace:
    """A workspace with logs that looks at a rule's window, as Azure Monitor does when it evaluates the rule."""

    def __init__(self, logs: Logs, flag: str, folder: Path) -> None:
        self._flag = flag
        self._database = duckdb_kql.connect()
        self._database.sql("SET threads = 1")
        for name, columns in COLUMNS.items():
            path = folder / f"{name}.jsonl"
            path.write_text("".join(json.dumps(row) + "\n" for row in logs.get(name, [])), encoding="utf-8")
            types = ", ".join(f"{column}: '{TYPES[type_]}'" for column, type_ in columns.items())
            read = f"read_json('{path}', format='newline_delimited', columns={{{types}}})"
            self._database.sql(f"CREATE TABLE All{name} AS FROM {read}")

    def rows(self, alert: Alert, at: datetime) -> list[Row]:
        """Answer the rule's query with what was logged in its window, which ends at a moment."""
        since = (at - length(alert.window)).replace(tzinfo=None)
        until = at.replace(tzinfo=None)
        for name in COLUMNS:
            self._database.sql(
                f"CREATE OR REPLACE TABLE {name} AS FROM All{name}"
                f" WHERE TimeGenerated > TIMESTAMP '{since}' AND TimeGenerated <= TIMESTAMP '{until}'"
            )
        return self._ask(alert.query)

    def answer(self, query: str) -> list[Row]:
        """Answer a query with everything that was logged."""
        for name in COLUMNS:
            self._database.sql(f"CREATE OR REPLACE TABLE {name} AS FROM All{name}")
        return self._ask(query)

    def _ask(self, query: str) -> list[Row]:
        self._database.execute(in_sql(query.replace(monitoring.kql.EXAMPLE_FLAG, self._flag)))
        columns = [column[0] for column in self._database.description or ()]
        return [dict(zip(columns, row, strict=True)) for row in self._database.fetchall()]


@cache
def in_sql(query: str) -> str:
    """Translate a query once: that takes longer than to answer it."""
    return duckdb_kql.to_sql(query, schema={name: list(columns) for name, columns in COLUMNS.items()})


def length(duration: str) -> timedelta:
    """Read a duration of the rules, such as PT15M or P1D."""
    number, unit = int("".join(filter(str.isdigit, duration))), duration[-1]
    return timedelta(**{{"M": "minutes", "H": "hours", "D": "days"}[unit]: number})


def day(number: float) -> datetime:
    return START + timedelta(days=number)


def fired(workspace: Workspace, alert: Alert, first: float, last: float) -> list[datetime]:
    """Evaluate a rule over days, twice an hour at most or in windows that follow each other."""
    step = max(length(alert.every), min(length(alert.window), timedelta(minutes=30)))
    moments = [day(first) + number * step for number in range(int((day(last) - day(first)) / step) + 1)]
    return [at for at in moments if workspace.rows(alert, at)]


def rule(name: str) -> Alert:
    (found,) = (alert for alert in ALERTS if alert.name == name)
    return found


@pytest.fixture(scope="module")
def played(record: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Logs]:
    """The flag's name, and the logs of a migration with troubles, through the tenant's sign-in and the endpoint."""
    folder = tmp_path_factory.mktemp("played")
    done = record.play_scenario(record.Scenario(PLAN, 900, (record.App("Shop", 1.0),), weak=0.05), folder)
    ledger = [json.loads(line) for line in done.ledger.read_text(encoding="utf-8").splitlines()]
    with closing(RehearsalTenant.open(done.tenant)) as tenant:
        files = export_logs(tenant, folder / "logs", ledger)
    logs: Logs = {name: [json.loads(line) for line in path.open()] for name, path in files.items()}
    for trace in logs["AppTraces"]:
        trace["Properties"]["certificate_days_left"] = "400"
        del trace["Properties"]["user_id"]  # as the endpoint's telemetry is by default
    logs["AZKVAuditLogs"] = [row for number in range(AFTER * 4) for row in start_of_the_endpoint(day(number / 4))]
    return done.flag, logs


def start_of_the_endpoint(at: datetime, status: int = 200) -> list[Row]:
    """What the vault logs when the endpoint starts: a request for a token, and the secret."""
    requests = (("Authentication", 401, "Unauthorized"), ("SecretGet", status, "OK" if status == 200 else "Forbidden"))
    return [
        {
            "TimeGenerated": (at + timedelta(seconds=number)).isoformat(),
            "OperationName": operation,
            "HttpStatusCode": code,
            "ResultSignature": signature,
            "CallerIpAddress": "10.0.1.4",
        }
        for number, (operation, code, signature) in enumerate(requests)
    ]


@pytest.fixture
def workspace(played: tuple[str, Logs], tmp_path: Path) -> Workspace:
    flag, logs = played
    return Workspace(logs, flag, tmp_path)


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)
def test_every_rule_is_quiet_on_a_good_day(alert: Alert, workspace: Workspace) -> None:
    assert fired(workspace, alert, GOOD, GOOD + 1) == []


def test_the_good_day_is_no_empty_one(workspace: Workspace) -> None:
    during = (day(GOOD).isoformat(), day(GOOD + 1).isoformat())
    between = f"TimeGenerated between (datetime({during[0]}) .. datetime({during[1]}))"
    for table in ("SigninLogs", "AuditLogs", "AppRequests", "AppTraces", "AZKVAuditLogs"):
        (row,) = workspace.answer(f"{table} | where {between} | count")
        assert row["Count"] >= 8, table


@pytest.mark.parametrize(
    ("name", "trouble"),
    [
        ("failed_sign_ins", STORE_AWAY),
        ("failed_sign_ins", ENDPOINT_AWAY),
        ("breaker_open", STORE_AWAY),
        ("timeouts", STORE_SLOW),
        ("guesses", SPRAYED),
    ],
)
def test_a_rule_fires_on_the_day_of_its_trouble_and_not_before_it(
    name: str, trouble: int, workspace: Workspace
) -> None:
    alert = rule(name)
    assert fired(workspace, alert, trouble, trouble + 0.25) == []
    assert fired(workspace, alert, trouble + 0.25, trouble + 0.8)


def planted(played: tuple[str, Logs], folder: Path, **tables: list[Row]) -> Workspace:
    """The same logs with other rows in some tables."""
    flag, logs = played
    return Workspace(logs | tables, flag, folder)


def test_a_refused_secret_fires(played: tuple[str, Logs], tmp_path: Path) -> None:
    at = day(GOOD + 0.4)
    refused = [*played[1]["AZKVAuditLogs"], *start_of_the_endpoint(at, 403)]
    found = fired(planted(played, tmp_path, AZKVAuditLogs=refused), rule("vault_access_failures"), GOOD, GOOD + 1)
    assert found and all(at < moment <= at + timedelta(minutes=15) for moment in found)


def test_a_burst_of_calls_fires(played: tuple[str, Logs], tmp_path: Path) -> None:
    at, requests = day(GOOD + 0.5) - timedelta(minutes=5), played[1]["AppRequests"]
    for count, expected in ((44, []), (46, [day(GOOD + 0.5)])):
        burst = [requests[0] | {"TimeGenerated": at.isoformat()} for _ in range(count)]
        workspace = planted(played, tmp_path, AppRequests=[*requests, *burst])
        assert fired(workspace, rule("near_rate_limit"), GOOD, GOOD + 1) == expected


def test_a_certificate_that_ends_fires_until_the_new_one_is_used(played: tuple[str, Logs], tmp_path: Path) -> None:
    traces = []
    for row in played[1]["AppTraces"]:
        passed = (datetime.fromisoformat(row["TimeGenerated"]) - day(GOOD)).total_seconds() / 86_400
        left = "29" if 0.5 <= passed < 1.25 else "30" if passed < 0.5 else "364"
        traces.append(row | {"Properties": row["Properties"] | {"certificate_days_left": left}})
    found = fired(planted(played, tmp_path, AppTraces=traces), rule("certificate_ends"), GOOD, GOOD + 2)
    assert found == [day(GOOD + 0.75), day(GOOD + 1), day(GOOD + 1.25)]


def test_flags_that_no_sign_in_clears_fire(played: tuple[str, Logs], tmp_path: Path) -> None:
    flag, logs = played
    unchanged = [row for row in logs["AuditLogs"] if flag not in json.dumps(row["TargetResources"])]
    assert len(unchanged) < len(logs["AuditLogs"])
    assert fired(planted(played, tmp_path, AuditLogs=unchanged), rule("flags_stay"), GOOD, GOOD + 1)


def test_a_day_without_a_move_fires(played: tuple[str, Logs], tmp_path: Path) -> None:
    kept = [
        row
        for row in played[1]["AuditLogs"]
        if not day(GOOD) <= datetime.fromisoformat(row["TimeGenerated"]) < day(GOOD + 1.1)
    ]
    found = fired(planted(played, tmp_path, AuditLogs=kept), rule("no_migrations"), GOOD, GOOD + 1)
    assert found == [day(GOOD + 1)]


def test_every_rule_has_a_day_that_makes_it_fire() -> None:
    source = Path(__file__).read_text(encoding="utf-8")
    assert [alert.name for alert in ALERTS if f'("{alert.name}"' not in source] == []


def test_the_workbook_answers_every_question_about_a_migration(workspace: Workspace) -> None:
    panels = [item["content"] for item in monitoring.workbook()["items"] if item["type"] == 3]
    assert len(panels) == 7
    for panel in panels:
        assert workspace.answer(panel["query"]), panel["title"]
    assert json.dumps(panels).count(monitoring.kql.EXAMPLE_FLAG) == 3, "of states, curve and failures"


async def test_the_queries_read_what_the_endpoint_sends(insights: Insights, tmp_path: Path) -> None:
    ledger = await calls(insights, "calls", tmp_path)
    traces = [
        {"TimeGenerated": each["time"], "ItemCount": 1, "Message": sent["message"], "Properties": sent["properties"]}
        for each in insights.items("MessageData")
        for sent in [each["data"]["baseData"]]
    ]
    requests = [
        {"TimeGenerated": each["time"], "ItemCount": 1, "Name": each["data"]["baseData"]["name"], "DurationMs": 20.0}
        for each in insights.items("RequestData")
    ]
    workspace = Workspace({"AppTraces": traces, "AppRequests": requests}, monitoring.kql.EXAMPLE_FLAG, tmp_path)
    lines = [json.loads(line) for line in ledger.read_text(encoding="utf-8").splitlines()]
    answered = [line for line in lines if line["action"]]
    (keys,) = workspace.answer(monitoring.query("keys"))
    assert (keys["Key"], keys["Calls"]) == (answered[0]["key"], len(answered))
    read = workspace.answer(kql.whole("// Needs: calls\nCalls | project CorrelationId, Action, Cause, Attempt"))
    assert [row for row in read if row["CorrelationId"] != answered[0]["correlation_id"]] == []
    assert {(row["Action"], row["Cause"]) for row in read} <= {(line["action"], line["cause"]) for line in answered}
    (days,) = workspace.answer(kql.whole("// Needs: calls\nLines | summarize Days = max(CertificateDays)"))
    assert str(days["Days"]) == traces[0]["Properties"]["certificate_days_left"]
    assert workspace.answer(monitoring.query("latency"))[0]["Calls"] == len(lines)


def test_the_keys_in_use_are_told_from_the_old_one(played: tuple[str, Logs], tmp_path: Path) -> None:
    traces = [row | {"Properties": row["Properties"] | {"key": "new"}} for row in played[1]["AppTraces"][-5:]]
    rows = planted(played, tmp_path, AppTraces=[*played[1]["AppTraces"][:-5], *traces]).answer(monitoring.query("keys"))
    assert [row["Key"] == "new" for row in rows] == [True, False]
    assert rows[0]["Calls"] == 5


@pytest.fixture(scope="module")
def parser() -> Callable[[dict[str, str]], dict[str, list[str]]]:
    """Microsoft's parser of KQL, which knows the tables."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if not node or not npm:
        pytest.skip("needs node and npm (Debian: nodejs npm)")
    folder = HERE / "kusto"
    try:
        done = subprocess.run([npm, *INSTALL], cwd=folder, capture_output=True, text=True, timeout=90, check=False)
    except subprocess.TimeoutExpired:
        pytest.skip("npm did not install the parser within 90 s")
    if done.returncode:
        pytest.skip(f"npm cannot install the parser: {done.stderr.splitlines()[:1]}")
    tables = {
        name: f"({', '.join(f'{column}: {type_}' for column, type_ in columns.items())})"
        for name, columns in COLUMNS.items()
    }

    def check(texts: dict[str, str]) -> dict[str, list[str]]:
        told = json.dumps({"tables": tables, "queries": texts})
        done = subprocess.run(
            [node, str(folder / "check.mjs")], input=told, capture_output=True, text=True, timeout=90, check=False
        )
        assert done.returncode == 0, done.stderr
        found: dict[str, list[str]] = json.loads(done.stdout)
        return found

    return check


def test_microsofts_parser_takes_every_query(parser: Callable[[dict[str, str]], dict[str, list[str]]]) -> None:
    texts = {alert.name: alert.query for alert in ALERTS}
    texts |= {name: monitoring.query(name) for name in (*QUERIES, "keys", "vault")}
    texts |= {f"{name} of the report": text for name, text in queries(f"extension_{32 * 'a'}_flag").items()}
    assert {name: found for name, found in parser(texts).items() if found} == {}


def test_microsofts_parser_refuses_what_a_workspace_would(
    parser: Callable[[dict[str, str]], dict[str, list[str]]],
) -> None:
    refused = {
        "column": "SigninLogs | where Result == 1",
        "table": "SignInLog | count",
        "type": "AppRequests | where DurationMs > 'long'",
        "syntax": "AppRequests | wher DurationMs > 1",
        "two types of one name": "union AppRequests, (AuditLogs | extend ItemCount = 1) | summarize sum(ItemCount)",
    }
    assert all(parser(refused).values())

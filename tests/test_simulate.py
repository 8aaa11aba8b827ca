"""Simulated migrations: each planted story is in the logs, and tenant, logs and ledger tell the same one."""

from __future__ import annotations

import csv
import itertools
import json
import shutil
from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from helpers.simulate import simulate
from helpers.tenant.encryption_key import make_pair
from jitkit.errors import KitError
from jitkit.protocol import MIGRATE
from jitkit.rehearsal.population.plan import App, Campaign, Habit, Plan, Stuffing, Trouble
from jitkit.rehearsal.tenant import RehearsalTenant

DAYS = 30
PLAN = Plan(
    seed=11,
    start=datetime(2026, 6, 1, tzinfo=UTC),
    days=DAYS,
    people=1200,
    habits=(Habit("weekly", 0.2, 1 / 7), Habit("monthly", 0.3, 1 / 30), Habit("never", 0.5, 0.0)),
    apps=(App("Woodgrove Shop", 0.8), App("Woodgrove Trade", 0.2, covered_from=20.0)),
    troubles=(
        Trouble("store away", day=2, hours=30),
        Trouble("certificate ended", day=6, hours=24),
        Trouble("consent revoked", day=8, hours=24),
        Trouble("listener removed", day=10, hours=24),
        Trouble("store slow", day=12, hours=24),
        Trouble("endpoint away", day=13.5, hours=12),
    ),
    campaigns=(Campaign(day=16, treated=0.3, answers=0.4, within_days=4),),
    stuffing=(Stuffing(day=4, hours=20, tries=400, addresses=3, known=0.5),),
)


@dataclass
class Recorded:
    """What a simulation left behind, read once."""

    flags: dict[str, bool]
    sign_ins: list[dict[str, Any]]
    audits: list[dict[str, Any]]
    ledger: list[dict[str, Any]]
    people: dict[str, dict[str, str]]
    ends: Counter[str]

    @classmethod
    def of(cls, plan: Plan, folder: Path, **more: Any) -> Recorded:
        done = simulate(plan, folder, **more)
        tenant = RehearsalTenant.open(done.tenant)
        try:
            users = tenant.directory.rows("SELECT id, body FROM users ORDER BY id")
            flags = {row["id"]: json.loads(row["body"])[done.flag] for row in users}
            sign_ins, audits = tenant.sign_in_rows()[::-1], tenant.audit_rows()[::-1]
        finally:
            tenant.close()
        ledger = [json.loads(line) for line in done.ledger.read_text(encoding="utf-8").splitlines()]
        with done.dimensions.open(encoding="utf-8", newline="") as file:
            people = {row["user_id"]: row for row in csv.DictReader(file)}
        return cls(flags, sign_ins, audits, ledger, people, done.ends)

    def during(self, kind: str) -> list[dict[str, Any]]:
        """The sign-ins of people, attackers aside, that began while something was wrong; Trade is covered late."""
        (trouble,) = (each for each in PLAN.troubles if each.kind == kind)
        shop = [row for row in self.sign_ins if row["appDisplayName"] == "Woodgrove Shop" and not is_attack(row)]
        return [row for row in shop if trouble.covers(day_of(row))]

    def migrated(self, *groups: str) -> float:
        """The share of a campaign's group whose flag is false."""
        among = [id for id, row in self.people.items() if row["campaign"] in groups]
        return sum(not self.flags[id] for id in among) / len(among)


def day_of(row: dict[str, Any]) -> float:
    return PLAN.day(datetime.fromisoformat(row["createdDateTime"]).timestamp())


def is_attack(row: dict[str, Any]) -> bool:
    return str(row["ipAddress"]).startswith("198.51.100.")


def callout(row: dict[str, Any]) -> dict[str, Any] | None:
    applied = row["appliedEventListeners"]
    return applied[0]["handlerResult"] if applied else None


def errors(rows: list[dict[str, Any]]) -> Counter[int]:
    return Counter(result["errorCode"] for row in rows if (result := callout(row)))


def flag_flips(recorded: Recorded) -> list[str]:
    """Whose flag the audit log says to have turned, in order."""
    rows = (row for row in recorded.audits if row["activityDisplayName"] == "Update user")
    return [row["targetResources"][0]["id"] for row in rows]


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an untouched tenant and a key pair."""
    folder = tmp_path_factory.mktemp("start")
    RehearsalTenant.open(folder / "rehearsal.sqlite3").close()
    make_pair(folder / "key.pem")
    return folder


@pytest.fixture(scope="module")
def recorded(start: Path, tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    folder = tmp_path_factory.mktemp("recorded")
    shutil.copytree(start, folder, dirs_exist_ok=True)
    days: list[int] = []
    done = Recorded.of(PLAN, folder, each_day=days.append)
    assert days == list(range(DAYS))
    return done


def test_users_logs_and_ledger_tell_the_same_story(recorded: Recorded) -> None:
    assert sum(recorded.ends.values()) == len(recorded.sign_ins) > 1500
    migrated = {id for id, flag in recorded.flags.items() if not flag}
    flips = flag_flips(recorded)
    assert set(flips) == migrated, "each flag that is false has its audit row"
    assert len(flips) == len(migrated), "nobody is migrated twice"
    assert set(recorded.flags) == set(recorded.people)
    came = {row["userId"] for row in recorded.sign_ins if row["status"]["errorCode"] == 0}
    assert migrated <= came


def test_every_call_that_arrived_has_its_ledger_line_and_no_other(recorded: Recorded) -> None:
    lines = Counter(line["correlation_id"] for line in recorded.ledger)
    arrived = {
        row["correlationId"]: result["numberOfAttempts"]
        for row in recorded.sign_ins
        if (result := callout(row)) and result["numberOfAttempts"] and result["errorCode"] != 1003027
    }
    assert lines == arrived
    ids = {row["correlationId"]: row["userId"] for row in recorded.sign_ins}
    assert all(ids[line["correlation_id"]] == line["user_id"] for line in recorded.ledger)


def test_the_endpoint_says_how_each_was_migrated(recorded: Recorded) -> None:
    told = Counter(line["action"] for line in recorded.ledger)
    changed = Counter(row["activityDisplayName"] for row in recorded.audits)
    assert told[MIGRATE] == changed["Change user password"] > 100
    assert min(changed["Reset password"], changed["Reset password (self-service)"]) > 0


def test_no_two_sign_ins_of_one_person_overlap(recorded: Recorded) -> None:
    times: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for row in recorded.sign_ins:
        if row["userId"] in recorded.people and not is_attack(row):
            begins = datetime.fromisoformat(row["createdDateTime"]).timestamp()
            result = callout(row)
            times[row["userId"]].append((begins, begins + 4.0 if result and result["numberOfAttempts"] else begins))
    overlaps = [one for ones in times.values() for one, two in itertools.pairwise(ones) if two[0] <= one[1]]
    assert not overlaps
    assert max(map(len, times.values())) > 5


def test_everything_happens_in_the_plans_days(recorded: Recorded) -> None:
    assert all(0 <= day_of(row) < DAYS for row in recorded.sign_ins)
    ledger = [PLAN.day(datetime.fromisoformat(line["time"]).timestamp()) for line in recorded.ledger]
    assert all(0 <= day < DAYS for day in ledger)


def test_answers_take_as_long_as_the_store_does(recorded: Recorded) -> None:
    took = sorted(line["duration_ms"] for line in recorded.ledger if line["action"] == MIGRATE)
    assert 100 < took[len(took) // 2] < 220
    assert took[-1] < 1500


def test_credential_stuffing_migrates_nobody(recorded: Recorded) -> None:
    attacks = [row for row in recorded.sign_ins if is_attack(row)]
    assert len(attacks) == 400
    assert all(row["status"]["errorCode"] in (50034, 50053, 50126) for row in attacks)
    assert len({row["ipAddress"] for row in attacks}) == 3
    unknown = sum(row["status"]["errorCode"] == 50034 for row in attacks)
    assert 130 < unknown < 270
    asked = {row["correlationId"] for row in attacks}
    assert {line["action"] for line in recorded.ledger if line["correlation_id"] in asked} == {"Retry"}


def test_an_outage_leaves_flags_true_and_people_come_back(recorded: Recorded) -> None:
    away = recorded.during("store away")
    asked = {row["correlationId"]: row["userId"] for row in away if callout(row)}
    causes = Counter(line["cause"] for line in recorded.ledger if line["correlation_id"] in asked)
    assert set(causes) == {"down", "breaker_open"}
    assert causes["breaker_open"] > 0
    flips = flag_flips(recorded)
    turned_away = set(asked.values())
    assert len(turned_away) > 20
    later = turned_away & set(flips)
    assert len(later) > len(turned_away) / 2


@pytest.mark.parametrize(
    ("kind", "error"), [("certificate ended", 1003027), ("endpoint away", 1003027), ("consent revoked", 1003021)]
)
def test_a_trouble_has_its_number_in_the_log(recorded: Recorded, kind: str, error: int) -> None:
    rows = recorded.during(kind)
    assert set(errors(rows)) == {error}
    assert {row["status"]["errorCode"] for row in rows if callout(row)} == {1100001}


def test_a_slow_store_runs_into_the_endpoints_deadline(recorded: Recorded) -> None:
    asked = {row["correlationId"] for row in recorded.during("store slow") if callout(row)}
    slow = [line for line in recorded.ledger if line["correlation_id"] in asked]
    assert {line["cause"] for line in slow} <= {"legacy_timeout", "breaker_open", "too_many_guesses"}
    timeouts = [line["duration_ms"] for line in slow if line["cause"] == "legacy_timeout"]
    assert timeouts
    assert all(1490 <= took <= 1510 for took in timeouts)


def test_without_a_listener_people_read_that_their_password_is_wrong(recorded: Recorded) -> None:
    rows = recorded.during("listener removed")
    assert not errors(rows)
    assert any(row["status"]["errorCode"] == 50126 and recorded.people[row["userId"]] for row in rows)


def test_an_app_that_is_covered_late_lags(recorded: Recorded) -> None:
    trade = [row for row in recorded.sign_ins if row["appDisplayName"] == "Woodgrove Trade"]
    assert not errors([row for row in trade if day_of(row) < 20])
    assert errors([row for row in trade if day_of(row) >= 20])[0] > 0
    wrong = Counter(row["status"]["errorCode"] for row in trade if day_of(row) < 20)
    assert wrong[50126] > wrong[0]


def test_the_campaign_brings_more_of_those_who_got_the_mail(recorded: Recorded) -> None:
    treated, control = recorded.migrated("reminded on day 16"), recorded.migrated("not reminded on day 16")
    assert treated - control > 0.1


def test_the_same_plan_makes_the_same_migration(start: Path, tmp_path: Path) -> None:
    plan = replace(PLAN, people=150, days=14)
    folders = [tmp_path / name for name in ("first", "second")]
    for folder in folders:
        shutil.copytree(start, folder)
    first, second = (Recorded.of(plan, folder) for folder in folders)
    assert first == second
    assert len(first.ledger) > 50
    shutil.copytree(start, tmp_path / "third")
    assert Recorded.of(replace(plan, seed=12), tmp_path / "third") != first


def test_two_processes_make_one_migration(start: Path, tmp_path: Path) -> None:
    shutil.copytree(start, tmp_path, dirs_exist_ok=True)
    plan = replace(PLAN, people=150, days=10, troubles=(), campaigns=(), apps=(App("Woodgrove Shop", 1.0),))
    recorded = Recorded.of(plan, tmp_path, processes=2)
    assert sum(recorded.ends.values()) == len(recorded.sign_ins)
    assert set(flag_flips(recorded)) == {id for id, flag in recorded.flags.items() if not flag}
    test_every_call_that_arrived_has_its_ledger_line_and_no_other(recorded)
    times = [line["time"] for line in recorded.ledger]
    assert times == sorted(times)
    assert sorted(path.name for path in tmp_path.iterdir() if not path.name.startswith("rehearsal")) == [
        "key.pem",
        "ledger.jsonl",
        "legacy.sqlite3",
        "people.csv",
    ]


def test_a_tenant_with_users_is_left_alone(start: Path, tmp_path: Path) -> None:
    shutil.copytree(start, tmp_path, dirs_exist_ok=True)
    plan = replace(PLAN, people=5, days=1)
    simulate(plan, tmp_path)
    with pytest.raises(KitError, match="has users already"):
        simulate(plan, tmp_path)

"""Played migrations: each planted story is in the logs, and tenant, logs and ledger agree."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from dataclasses import replace
from datetime import UTC, datetime
from types import ModuleType
from typing import Any

import pandas as pd
import pytest

from jitkit.errors import KitError
from jitkit.protocol import MIGRATE
from jitkit.rehearsal.population import Campaign, Habit, PasswordSpray, Plan, Trouble

DAYS = 24
START = datetime(2026, 6, 1, tzinfo=UTC)
PLAN = Plan(
    seed=11,
    days=DAYS,
    start=START,
    habits=(Habit("weekly", 0.3, 1 / 7), Habit("monthly", 0.3, 1 / 30), Habit("never", 0.4, 0.0)),
    troubles=(
        Trouble("store away", day=2, hours=30),
        Trouble("certificate ended", day=6, hours=24),
        Trouble("store slow", day=9, hours=24),
        Trouble("endpoint away", day=11.5, hours=12),
        Trouble("lull", day=20, hours=48),
    ),
    campaigns=(Campaign(day=14, answers=0.4, within_days=4),),
    sprays=(PasswordSpray(day=4, hours=20, tries=300, addresses=3, known=0.5),),
)
PEOPLE = 1000


@pytest.fixture(scope="module")
def scenario(record: ModuleType) -> Any:
    apps = (record.App("Shop", 0.8), record.App("Partners", 0.2, covered=False))
    return record.Scenario(PLAN, people=PEOPLE, apps=apps, damaged=0.0)


@pytest.fixture(scope="module")
def played(record: ModuleType, scenario: Any) -> Any:
    days: list[int] = []
    done = record.record(scenario, each_day=days.append)
    assert days == list(range(DAYS))
    return done


def day_of(row: dict[str, Any]) -> float:
    return (datetime.fromisoformat(row["createdDateTime"]).timestamp() - START.timestamp()) / 86_400


def is_spray(row: dict[str, Any]) -> bool:
    return str(row["ipAddress"]).startswith("198.51.100.")


def callout(row: dict[str, Any]) -> dict[str, Any] | None:
    applied = row["appliedEventListeners"]
    return applied[0]["handlerResult"] if applied else None


def during(played: Any, kind: str, app: str = "Shop") -> list[dict[str, Any]]:
    """The sign-ins of users, attackers aside, that began while something was wrong."""
    (trouble,) = (each for each in PLAN.troubles if each.kind == kind)
    rows = [row for row in played.log if row["appDisplayName"] == app and not is_spray(row)]
    return [row for row in rows if trouble.day <= day_of(row) < trouble.day + trouble.hours / 24]


def flag_flips(played: Any) -> list[str]:
    rows = (row for row in played.audits if row["activityDisplayName"] == "Update user")
    return [row["targetResources"][0]["id"] for row in rows]


def migrated(played: Any) -> set[str]:
    return set(played.users.loc[played.users["migrated_at"].notna(), "user_id"])


def test_users_logs_and_ledger_agree(played: Any) -> None:
    assert sum(played.ends.values()) == len(played.log) == len(played.sign_ins) > 1500
    flips = flag_flips(played)
    assert set(flips) == migrated(played), "each flag that is false has its audit row"
    assert len(flips) == len(set(flips)) > 100, "each user is migrated once"
    assert len(played.users) == PEOPLE
    assert migrated(played) <= {row["userId"] for row in played.log if row["status"]["errorCode"] == 0}


def test_every_call_that_arrived_has_its_ledger_line_and_no_other(played: Any) -> None:
    lines = Counter(played.ledger["correlation_id"])
    arrived = {
        row["correlationId"]: result["numberOfAttempts"]
        for row in played.log
        if (result := callout(row)) and result["numberOfAttempts"] and result["errorCode"] != 1003027
    }
    assert lines == arrived
    ids = {row["correlationId"]: row["userId"] for row in played.log}
    assert all(ids[line.correlation_id] == line.user_id for line in played.ledger.itertuples())


def test_the_endpoint_says_how_each_was_migrated(played: Any) -> None:
    changed = Counter(row["activityDisplayName"] for row in played.audits)
    assert (played.ledger["action"] == MIGRATE).sum() == changed["Change user password"] > 100
    assert min(changed["Reset password"], changed["Reset password (self-service)"]) > 0


def test_no_two_sign_ins_of_one_user_overlap(played: Any) -> None:
    times: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for row in played.log:
        if row["userId"] and not is_spray(row):
            begins = datetime.fromisoformat(row["createdDateTime"]).timestamp()
            result = callout(row)
            times[row["userId"]].append((begins, begins + 4.0 if result and result["numberOfAttempts"] else begins))
    assert not [one for ones in times.values() for one, two in itertools.pairwise(sorted(ones)) if two[0] <= one[1]]
    assert max(map(len, times.values())) > 5


def test_everything_happens_in_the_plans_days(played: Any) -> None:
    assert all(0 <= day_of(row) < DAYS for row in played.log)
    assert played.ledger["time"].between(pd.Timestamp(START), pd.Timestamp(START) + pd.Timedelta(days=DAYS)).all()


def test_answers_take_as_long_as_the_store_does(played: Any) -> None:
    took = sorted(played.ledger.loc[played.ledger["action"] == MIGRATE, "duration_ms"])
    assert 100 < took[len(took) // 2] < 220
    assert took[-1] < 1500


def test_a_password_spray_migrates_no_user(played: Any) -> None:
    attacks = [row for row in played.log if is_spray(row)]
    assert len(attacks) == 300
    assert all(row["status"]["errorCode"] in (50034, 50053, 50126) for row in attacks)
    assert len({row["ipAddress"] for row in attacks}) == 3
    assert 100 < sum(row["status"]["errorCode"] == 50034 for row in attacks) < 200
    asked = {row["correlationId"] for row in attacks}
    assert set(played.ledger.loc[played.ledger["correlation_id"].isin(asked), "action"]) == {"Retry"}


def test_an_outage_leaves_flags_true_and_users_come_back(played: Any) -> None:
    asked = {row["correlationId"]: row["userId"] for row in during(played, "store away") if callout(row)}
    causes = set(played.ledger.loc[played.ledger["correlation_id"].isin(asked), "cause"])
    assert causes == {"down", "breaker_open"}
    turned_away = set(asked.values())
    assert len(turned_away) > 15
    assert len(turned_away & migrated(played)) > len(turned_away) / 2


@pytest.mark.parametrize("kind", ["certificate ended", "endpoint away"])
def test_a_broken_connection_has_its_number_in_the_log(played: Any, kind: str) -> None:
    called = [row for row in during(played, kind) if callout(row)]
    assert {result["errorCode"] for row in called if (result := callout(row))} == {1003027}
    assert {row["status"]["errorCode"] for row in called} == {1100001}


def test_a_slow_store_runs_into_the_endpoints_deadline(played: Any) -> None:
    asked = {row["correlationId"] for row in during(played, "store slow") if callout(row)}
    slow = played.ledger[played.ledger["correlation_id"].isin(asked)]
    assert set(slow["cause"]) <= {"legacy_timeout", "breaker_open", "too_many_guesses"}
    timeouts = slow.loc[slow["cause"] == "legacy_timeout", "duration_ms"]
    assert len(timeouts) and timeouts.between(1490, 1510).all()


def test_an_app_that_no_listener_covers_lags(played: Any) -> None:
    partners = [row for row in played.log if row["appDisplayName"] == "Partners"]
    assert not [row for row in partners if callout(row)]
    codes = Counter(row["status"]["errorCode"] for row in partners)
    assert codes[50126] > codes[0]


def test_few_users_come_during_a_lull(played: Any) -> None:
    calm = sum(17 <= day_of(row) < 19 for row in played.log)
    assert len(during(played, "lull")) < calm / 3


def test_the_campaign_brings_more_of_the_users_whom_it_reached(played: Any) -> None:
    share = played.users["migrated_at"].notna().groupby(played.users["campaign"]).mean()
    assert share["reached 2026-06-15"] - share["control 2026-06-15"] > 0.05


def test_the_same_scenario_makes_the_same_migration(record: ModuleType, scenario: Any) -> None:
    small = replace(scenario, people=120, plan=replace(PLAN, days=6))
    first, second = record.record(small), record.record(small)
    for kind in ("users", "sign_ins", "ledger"):
        pd.testing.assert_frame_equal(getattr(first, kind), getattr(second, kind))
    assert len(first.ledger) > 20
    other = record.record(replace(small, plan=replace(small.plan, seed=12)))
    assert not other.sign_ins.equals(first.sign_ins)


@pytest.mark.parametrize(
    "wrong",
    [
        {"days": 0},
        {"days": 1.5},
        {"habits": (Habit("daily", 0.9, 1.0),)},
        {"week": (1.0,)},
        {"start": datetime(2026, 6, 1, 12, tzinfo=UTC)},
    ],
)
def test_a_plan_that_cannot_be_played_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(KitError, match="cannot be played"):
        replace(PLAN, **wrong)

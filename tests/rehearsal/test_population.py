"""The people of a plan: how many there are of each kind, and when they come, is what the plan says."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

from jitkit.errors import KitError
from jitkit.rehearsal import accounts
from jitkit.rehearsal.clock import Clock
from jitkit.rehearsal.population import crowd
from jitkit.rehearsal.population.loop import TenantLoop
from jitkit.rehearsal.population.people import People
from jitkit.rehearsal.population.plan import App, Campaign, Habit, Plan, Trouble
from jitkit.rehearsal.population.visits import Calendar, Visit

MONDAY = datetime(2026, 6, 1, tzinfo=UTC)
PLAN = Plan(seed=5, start=MONDAY, days=28, people=20_000)


def visits(plan: Plan, **part: int) -> list[Visit]:
    calendar = Calendar(People(plan), **part)
    return [visit for day in range(plan.days) for visit in calendar.of(day)]


def about(count: float, expected: float) -> bool:
    """Tell whether a count is within five standard deviations of what chance should make of it."""
    return abs(count - expected) <= 5 * expected**0.5


@pytest.fixture(scope="module")
def people() -> People:
    return People(PLAN)


@pytest.fixture(scope="module")
def month() -> list[Visit]:
    return visits(PLAN)


def test_shares_come_out_as_the_plan_says(people: People) -> None:
    for number, habit in enumerate(PLAN.habits):
        assert about(int((people.habit == number).sum()), habit.share * PLAN.people), habit.name
    for number, app in enumerate(PLAN.apps):
        assert about(int((people.app == number).sum()), app.share * PLAN.people), app.name
    assert about(int(people.weak.sum()), PLAN.weak * PLAN.people)
    schemes = Counter(row["hash_scheme"] for row in people.dimensions())
    assert about(schemes["md5"], PLAN.weak_hashes * PLAN.people)


def test_each_habit_comes_as_often_as_it_says(people: People, month: list[Visit]) -> None:
    came = Counter(int(people.habit[visit.who]) for visit in month)
    for number, habit in enumerate(PLAN.habits):
        assert about(came[number], habit.share * PLAN.people * habit.a_day * PLAN.days), habit.name
    assert came[len(PLAN.habits) - 1] == 0, "who never comes does not come"


def test_the_week_and_the_day_have_the_plans_rhythm(month: list[Visit]) -> None:
    moments = [datetime.fromtimestamp(visit.at, UTC) for visit in month]
    week, hours = Counter(each.weekday() for each in moments), Counter(each.hour for each in moments)
    for day, busy in enumerate(PLAN.week):
        assert about(week[day], len(month) * busy / sum(PLAN.week))
    for hour, busy in enumerate(PLAN.hours):
        assert about(hours[hour], len(month) * busy / sum(PLAN.hours))


def test_mistakes_come_out_as_the_plan_says(month: list[Visit]) -> None:
    for name, share in (("mistypes", PLAN.typos), ("forgot", PLAN.forgets), ("gives_up", PLAN.gives_up)):
        assert about(sum(getattr(visit, name) for visit in month), share * len(month)), name


def test_nobody_comes_twice_a_day_and_all_come_in_order(month: list[Visit]) -> None:
    assert [visit.at for visit in month] == sorted(visit.at for visit in month)
    assert len({(visit.who, int(PLAN.day(visit.at))) for visit in month}) == len(month)


def test_parts_of_the_people_come_when_they_would_come_together(month: list[Visit]) -> None:
    parts = [visit for part in range(3) for visit in visits(PLAN, part=part, parts=3)]
    assert sorted(parts, key=lambda visit: (visit.at, visit.who)) == sorted(
        month, key=lambda visit: (visit.at, visit.who)
    )


def test_a_seed_makes_the_same_people_and_another_one_makes_others(people: People, month: list[Visit]) -> None:
    assert visits(PLAN) == month
    assert [People(PLAN).password(who) for who in range(9)] == [people.password(who) for who in range(9)]
    other = replace(PLAN, seed=6)
    assert visits(other) != month
    assert {People(other).user_id(who) for who in range(9)}.isdisjoint(people.user_id(who) for who in range(9))


def test_a_lull_keeps_people_away_and_a_campaign_brings_those_who_got_the_mail() -> None:
    lull = Trouble("lull", day=7, hours=7 * 24)
    quiet = visits(replace(PLAN, troubles=(lull,)))
    weeks = Counter(int(PLAN.day(visit.at)) // 7 for visit in quiet)
    assert weeks[1] < 0.2 * weeks[0]
    assert weeks[2] > 0.8 * weeks[0]
    campaign = Campaign(day=14, treated=0.3, answers=0.5, within_days=5)
    never = replace(PLAN, habits=(Habit("never", 1.0, 0.0),), campaigns=(campaign,))
    came = visits(never)
    treated = set(People(never).treated(0).tolist())
    assert {visit.who for visit in came} <= treated
    assert about(len(came), 0.3 * 0.5 * PLAN.people)
    soon = [visit for visit in came if PLAN.day(visit.at) < 14 + 5]
    assert min(PLAN.day(visit.at) for visit in came) >= 14
    assert 0.9 < len(soon) / len(came) < 1


def test_whoever_is_asked_to_come_again_does(people: People) -> None:
    calendar = Calendar(People(replace(PLAN, habits=(Habit("never", 1.0, 0.0),))))
    calendar.come_again(7, 3)
    assert [[visit.who for visit in calendar.of(day)] for day in range(5)] == [[], [], [], [7], []]


def test_weak_people_have_passwords_that_the_tenant_refuses_and_nobody_has_an_attackers(people: People) -> None:
    for who in range(500):
        own = people.password(who)
        assert (accounts.password_problem(own) is not None) == bool(people.weak[who])
        assert accounts.password_problem(people.password(who, 1)) is None
        assert own != people.password(who, 1)
        assert own not in crowd._TRIED
    assert len({people.password(who) for who in np.flatnonzero(~people.weak)[:500].tolist()}) == 500


@pytest.mark.parametrize(
    "changes",
    [
        {"start": datetime(2026, 6, 1, 12, tzinfo=UTC)},
        {"start": datetime(2026, 6, 1)},  # noqa: DTZ001 - that is the point
        {"apps": (App("One", 0.5),)},
        {"habits": (Habit("daily", 0.9, 1.0),)},
        {"week": (1.0,)},
        {"campaigns": (Campaign(3, treated=0.6),)},
    ],
)
def test_a_plan_that_cannot_be_played_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(KitError, match="cannot be played"):
        replace(PLAN, **changes)  # type: ignore[arg-type]


def run(clock: Clock, coroutine: object) -> object:
    clock.hold(1_000_000.0)
    with asyncio.Runner(loop_factory=lambda: TenantLoop(clock)) as runner:
        return runner.run(coroutine)  # type: ignore[arg-type]


def test_nobody_waits_for_the_tenants_time() -> None:
    clock, told = Clock(), list[tuple[str, float]]()

    async def sleeper(name: str, seconds: float) -> None:
        await asyncio.sleep(seconds)
        told.append((name, round(clock.now() - 1_000_000.0, 3)))

    async def everybody() -> None:
        await asyncio.gather(sleeper("year", 31_536_000.0), sleeper("soon", 0.25), sleeper("hour", 3600.0))

    run(clock, everybody())
    assert told == [("soon", 0.25), ("hour", 3600.0), ("year", 31_536_000.0)]


def test_a_timeout_fires_in_the_tenants_time_and_threads_work_in_place() -> None:
    clock = Clock()

    async def late() -> float:
        assert await asyncio.to_thread(lambda: 7) == 7
        with pytest.raises(ZeroDivisionError):
            await asyncio.to_thread(lambda: 1 // 0)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(2):
                await asyncio.sleep(3)
        return clock.now()

    assert run(clock, late()) == pytest.approx(1_000_002.0)


def test_waiting_for_what_never_comes_is_an_error() -> None:
    async def forever() -> None:
        await asyncio.get_running_loop().create_future()

    with pytest.raises(RuntimeError, match="not in this process"):
        run(Clock(), forever())

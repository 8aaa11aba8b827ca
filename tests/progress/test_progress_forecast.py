"""A forecast says what follows from the counts, how sure that is, and when nothing follows yet."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from jitkit.progress.forecast import Forecast, _calibrated, forecast, interval
from jitkit.progress.tables import Tables

START = pd.Timestamp("2026-03-02T08:00Z")


def people(days: np.ndarray, *, flagged: float = 0, app: str = "shop") -> pd.DataFrame:
    """Users who move so many days after the start (infinite: never), flagged so many days after it."""
    moved = START + pd.to_timedelta(np.where(np.isfinite(days), days, np.nan), unit="D")
    names = [f"{app}-{flagged}-{number}" for number in range(len(days))]
    at = START + pd.Timedelta(days=flagged)
    return pd.DataFrame({"user_id": names, "flagged_at": at, "migrated_at": moved, "path": None, "app": app})


def exponential(size: int, rate: float, returning: float = 1.0) -> np.ndarray:
    """Days until people move, spread as evenly as an exponential allows; the others never do."""
    come = int(size * returning)
    share = (np.arange(come) + 0.5) / come
    return np.concatenate([-np.log1p(-share) / rate, np.full(size - come, np.inf)])


def after(days: float, *groups: pd.DataFrame) -> Tables:
    return Tables(users=pd.concat(groups, ignore_index=True), as_of=START + pd.Timedelta(days=days))


def quick(tables: Tables, **options: object) -> Forecast:
    return forecast(tables, with_backtest=False, **options)  # type: ignore[arg-type]


def test_an_exponential_course_goes_on_as_its_rate_says() -> None:
    made = quick(after(30, people(exponential(10_000, 0.05, returning=0.8))))
    for ahead in (10, 30, 60):
        truth = 8_000 * -np.expm1(-0.05 * (30 + ahead))
        day = made.days.iloc[ahead]
        assert day["migrated_low"] <= truth <= day["migrated_high"]
        assert abs(day["migrated"] - truth) < 400


def test_an_exponential_course_without_people_who_never_return_nears_the_end() -> None:
    made = quick(after(30, people(exponential(10_000, 0.05))))
    # Nothing tells the last few who are late from those who never come: the range stays a little short of the truth.
    assert abs(made.days["migrated"].iloc[60] - 10_000 * -np.expm1(-0.05 * 90)) < 400
    assert made.never_return is not None
    assert made.never_return["low"] < 0.03


def test_people_who_never_return_are_distinguished_from_people_who_are_late() -> None:
    made = quick(after(60, people(exponential(10_000, 0.1, returning=0.6))))
    assert made.never_return is not None
    assert made.never_return["low"] <= 0.4 <= made.never_return["high"]
    assert made.never_return["high"] - made.never_return["low"] < 0.1
    assert made.days["migrated_high"].iloc[-1] < 6_800


def test_everybody_migrated_stays_migrated() -> None:
    made = forecast(after(20, people(np.linspace(0.1, 15, 500))))
    assert made.days[["migrated_low", "migrated", "migrated_high"]].eq(500).all(axis=None)
    assert made.never_return == {"low": 0.0, "estimate": 0.0, "high": 0.0}
    assert not made.too_early


@pytest.mark.parametrize(
    ("tables", "reason"),
    [
        (Tables(), "no user is in scope"),
        (after(30, people(np.array([np.inf]))), "0 users have moved; it takes 30"),
        (after(30, people(np.full(1_000, np.inf))), "0 users have moved; it takes 30"),
        (after(3, people(exponential(1_000, 0.2))), "the first users were flagged 3 days ago"),
        (after(-1, people(np.full(50, np.inf))), "no user has been flagged yet"),
        (
            after(30, people(exponential(900, 0.1)).assign(flagged_at=None), people(exponential(100, 0.1), flagged=1)),
            "of 900 of 1,000 users no table says when they were flagged",
        ),
    ],
)
def test_it_says_when_it_is_too_early_and_why(tables: Tables, reason: str) -> None:
    made = forecast(tables)
    assert reason in made.too_early
    assert str(made).startswith("It is too early to tell: ")
    assert reason in made._repr_html_()
    nothing = dict.fromkeys(("forecast_coverage", "never_return", "backtest"))
    lines = {"do_nothing": [], "fix": [], "fix_and_remind": []}
    assert made.numbers() == nothing | {"forecast": [], "forecast_lines": lines, "forecast_told": {}}


def test_one_user_who_has_moved_is_the_whole_migration() -> None:
    made = forecast(after(30, people(np.array([2.0]))))
    assert (made.migrated, made.in_scope, made.too_early) == (1, 1, "")
    assert made.days["migrated"].tolist() == [1] * 181


def test_moves_of_a_single_day_still_make_a_forecast() -> None:
    moved = np.concatenate([np.full(60, 2.4), np.full(140, np.inf)])
    made = forecast(after(20, people(moved)))
    assert not made.too_early
    assert made.days["migrated_low"].iloc[-1] >= 60


def test_users_who_will_be_flagged_later_join_then() -> None:
    now, later = people(exponential(5_000, 0.1)), people(np.full(5_000, np.inf), flagged=40)
    made = quick(after(30, now, later))
    assert made.in_scope == 10_000
    assert made.days["migrated_high"].iloc[9] <= 5_000
    assert made.days["migrated"].iloc[9] < 4_950
    assert made.days["migrated_low"].iloc[40] > 8_500


def test_users_flagged_day_by_day_are_followed_from_their_own_day() -> None:
    waves = [people(day + exponential(500, 0.08, returning=0.8), flagged=day) for day in range(20)]
    made = quick(after(25, *waves))
    truth = sum(400 * -np.expm1(-0.08 * (25 + 30 - day)) for day in range(20))
    assert made.days["migrated_low"].iloc[30] <= truth <= made.days["migrated_high"].iloc[30]


def spread_out(seed: int) -> Tables:
    rng = np.random.default_rng(seed)
    size = int(rng.integers(300, 4_000))
    gap = rng.choice([1.0, 7.0, 30.0, 300.0, np.inf], size, p=rng.dirichlet(np.ones(5)))
    days = np.where(np.isfinite(gap), rng.exponential(1, size) * np.where(np.isfinite(gap), gap, 1), np.inf)
    flagged = rng.integers(0, 1 + 5 * seed)
    return after(flagged + 12.3 * (seed + 1), people(flagged + days, flagged=int(flagged)))


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2))])
def test_every_forecast_starts_today_rises_and_stays_in_scope(seed: int) -> None:
    tables = spread_out(seed)
    made = quick(tables)
    days = made.days[["migrated_low", "migrated", "migrated_high"]]
    assert len(days) == 181
    assert (days.iloc[0] == made.migrated).all()
    assert made.migrated == (tables.users["migrated_at"] <= tables.as_of).sum()
    assert (days.diff().dropna() >= 0).all(axis=None)
    assert (days["migrated_low"] <= days["migrated"]).all()
    assert (days["migrated"] <= days["migrated_high"]).all()
    assert (days["migrated_high"] <= made.in_scope).all()
    assert made.days["date"].iloc[0] == tables.as_of.normalize()
    assert made.days["date"].is_monotonic_increasing
    assert made.never_return is not None
    assert 0 <= made.never_return["low"] <= made.never_return["estimate"] <= made.never_return["high"] <= 1


def test_the_order_of_rows_rows_given_twice_and_later_moves_change_nothing() -> None:
    whole = people(exponential(800, 0.05))
    first = quick(after(20, whole), days=30)
    cut = whole.assign(migrated_at=whole["migrated_at"].where(whole["migrated_at"] <= first.as_of))
    twice = pd.concat([cut, cut]).sample(frac=1, random_state=3)
    second = quick(Tables(users=twice, as_of=first.as_of), days=30)
    pd.testing.assert_frame_equal(first.days, second.days)
    assert first.never_return == second.never_return


def test_a_known_reminder_is_not_taken_for_the_usual_pace() -> None:
    rng = np.random.default_rng(1)
    own = np.where(rng.random(6_000) < 0.7, rng.exponential(30, 6_000), np.inf)
    mail = np.where(rng.random(6_000) < 0.2, 15 + rng.exponential(0.8, 6_000), np.inf)
    truth = (np.minimum(own, mail) <= 50).sum()
    window = (START + pd.Timedelta(days=15), START + pd.Timedelta(days=18))
    made = quick(after(20, people(np.minimum(own, mail))), windows=[window])
    assert pd.Timestamp("2026-03-17T00:00Z") in made.odd_days
    assert made.days["migrated_low"].iloc[30] <= truth <= made.days["migrated_high"].iloc[30]


def test_reminders_on_nearly_every_day_are_what_is_usual() -> None:
    """A forecast by no day at all would go by what is supposed before any count."""
    tables = after(12, people(exponential(2_000, 0.1, returning=0.7)))
    mails = [START.floor("D") + pd.Timedelta(days=3 * number) for number in range(5)]
    often, never = quick(tables, mails=mails), quick(tables)
    assert often.odd_days == ()
    pd.testing.assert_frame_equal(often.days, never.days)
    assert len(quick(tables, mails=mails[:3]).odd_days) == 10


@pytest.mark.parametrize("hours", [6, 14])
def test_flags_set_hours_before_anybody_comes_do_not_move_the_forecast(hours: int) -> None:
    people_at_eight = people(exponential(2_000, 0.05, returning=0.8))
    earlier = people_at_eight.assign(flagged_at=START - pd.Timedelta(hours=hours))
    first, second = (quick(after(20, each), days=60).days for each in (people_at_eight, earlier))
    columns = ["migrated_low", "migrated", "migrated_high"]
    assert (first[columns] - second[columns]).abs().to_numpy().max() <= 20


def with_campaign(extra: float) -> pd.DataFrame:
    """4,000 users, of whom a mail on day 10, to half of those who wait, moves a share more."""
    rng = np.random.default_rng(4)
    own = np.where(rng.random(4_000) < 0.5, rng.exponential(30, 4_000), np.inf)
    waits, lot = own > 10, rng.random(4_000) < 0.5
    mail = np.where(waits & lot & (rng.random(4_000) < extra), 10 + rng.exponential(1, 4_000), np.inf)
    words = np.where(lot, "reached 2026-03-12", "control 2026-03-12")
    return people(np.minimum(own, mail)).assign(campaign=np.where(waits, words, None))


def test_a_told_reminder_moves_as_many_as_the_last_one_by_lot_did() -> None:
    tables = after(30, with_campaign(0.3))
    sent = START + pd.Timedelta(days=40)
    without, told = quick(tables), quick(tables, mails=[sent])
    assert told.told["effect"] == pytest.approx(0.3, abs=0.06)
    assert (without.days["migrated"] == told.days["migrated"])[:10].all()
    gained = (told.days["migrated"] - without.days["migrated"]).iloc[20]
    assert gained == pytest.approx(0.3 * (4_000 - without.days["migrated"].iloc[10]), rel=0.3)
    assert "Each reminder to come (2026-04-11) is taken to move" in told.note
    assert told.lines["line"].unique().tolist() == ["do_nothing", "fix", "fix_and_remind"]


def test_a_reminder_whose_like_was_never_measured_changes_no_estimate() -> None:
    tables = after(30, people(exponential(2_000, 0.05, returning=0.7)))
    deadline = START + pd.Timedelta(days=50)
    without, told = quick(tables), quick(tables, mails=[deadline], deadline=deadline)
    pd.testing.assert_frame_equal(without.days, told.days)
    assert "What the reminders to come (2026-04-21) bring is not in it" in told.note
    assert "What the deadline of 2026-04-21 brings is not in it" in told.note
    assert told.told["effect"] is None
    assert told.lines["line"].unique().tolist() == ["do_nothing", "fix"]


def test_people_held_back_come_in_the_line_in_which_they_are_let_in() -> None:
    free, held = people(exponential(2_000, 0.1)), people(np.full(1_000, np.inf), app="portal")
    tables = after(20, free, held)
    outside = tables.users["app"].eq("portal").to_numpy()
    made = quick(tables, outside=outside, held_back=outside)
    lines = made.lines.set_index(["line", "date"])["migrated"].unstack(0)
    assert lines["do_nothing"].iloc[-1] <= 2_000
    # Nobody of them was let in before: they come like the others when these began.
    assert lines["fix"].iloc[20] - lines["do_nothing"].iloc[20] == pytest.approx(865, abs=60)
    assert lines["fix"].iloc[0] == lines["do_nothing"].iloc[0] == made.migrated
    assert made.numbers()["forecast_lines"]["fix"][-1]["migrated"] == lines["fix"].iloc[-1]
    assert made.coming.max() <= 2_000 - made.migrated


def test_planned_users_that_are_not_in_scope_yet_join_the_forecast() -> None:
    now, later = people(exponential(1_000, 0.1)), people(np.full(1_000, np.inf), flagged=40)
    whole = after(30, now, later)
    parted = whole.until(whole.as_of)
    assert (len(parted.users), len(parted.planned)) == (1_000, 1_000)
    first, second = quick(whole), quick(parted)
    pd.testing.assert_frame_equal(first.days, second.days)
    assert second.told["planned"] == 1_000
    assert second.coming.max() <= 1_000 - second.migrated


def test_a_forecast_of_past_days_that_failed_is_told_and_widens_the_range() -> None:
    """Nobody knew that on the last days three times as many would come."""
    days = exponential(4_000, 0.02)
    rush = np.where(days > 21, 21 + (days - 21) / 3, days)
    steady, failed = (forecast(after(30, people(each)), days=30) for each in (days, rush))
    assert steady.backtest is not None and failed.backtest is not None
    assert steady.backtest["factor"] == pytest.approx(1, abs=0.2)
    assert failed.backtest["factor"] > 1.8
    assert "times as many came in the end as it expected, and for that the range above is wider" in failed.tried
    assert "times as many" not in steady.tried


def test_users_without_a_time_of_flagging_are_no_part_of_what_is_tried_on_the_past() -> None:
    flagged, others = people(exponential(400, 0.2)), people(np.full(300, 25.0), app="other").assign(flagged_at=pd.NaT)
    with_others, alone = forecast(after(30, flagged, others), days=30), forecast(after(30, flagged), days=30)
    assert with_others.backtest == alone.backtest


def test_the_range_is_wider_after_a_forecast_that_failed() -> None:
    grown = np.random.default_rng(1).normal(200, 10, (600, 1)) * (np.arange(91) > 0)
    good, failed = (interval(_calibrated(grown, 1_000, error, "silence"))[:, 30] for error in (0.0, 1.5))
    assert failed[0] < good[0] < good[2] < failed[2]
    assert good[1] == pytest.approx(failed[1], abs=1)


@pytest.fixture(scope="module")
def exponential_course() -> Forecast:
    return forecast(after(30, people(exponential(2_000, 0.05))))


def test_the_numbers_are_ready_for_json(exponential_course: Forecast) -> None:
    numbers = json.loads(json.dumps(exponential_course.numbers()))
    now = exponential_course.migrated
    today = {"date": "2026-04-01", "migrated_low": now, "migrated": now, "migrated_high": now}
    assert numbers["forecast"][0] == today
    assert set(numbers["never_return"]) == {"low", "estimate", "high"}
    assert numbers["backtest"]["days"] == 10
    assert 0 <= numbers["backtest"]["interval_coverage"] <= 1


def test_the_words_are_made_of_the_numbers(exponential_course: Forecast) -> None:
    made = exponential_course
    day = made.days.iloc[30]
    assert str(made) == (
        f"{made.migrated:,} of 2,000 users are migrated. On 1 May 2026 it will be about {day['migrated']:,}: "
        f"between {day['migrated_low']:,} and {day['migrated_high']:,}."
    )
    page = made._repr_html_()
    assert "8 times in 10" in page
    assert "Never return" in page
    assert "Tried on days that have passed" in page
    assert "made 10 days ago it is off by" in page

"""A forecast says what follows from the counts, how sure that is, and when nothing follows yet."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from jitkit.errors import BadTable
from jitkit.progress.forecast import Forecast, forecast
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
    assert made.numbers() == {"forecast": [], "never_return": None, "backtest": None}


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


def test_a_cohort_that_never_comes_is_not_carried_by_the_others() -> None:
    tables = after(40, people(exponential(3_000, 0.15)), people(np.full(3_000, np.inf), app="portal"))
    made = quick(tables, by="app")
    assert made.never_return is not None
    assert made.never_return["estimate"] > 0.4
    assert made.days["migrated_high"].iloc[-1] < 3_300


def test_an_unknown_dimension_is_refused() -> None:
    with pytest.raises(BadTable, match="no column city"):
        forecast(after(30, people(exponential(100, 0.1))), by="city")


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

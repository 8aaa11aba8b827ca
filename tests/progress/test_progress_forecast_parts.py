"""The parts of a forecast: the times, the days unlike the others, the two simple methods, the backtest."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from jitkit.progress.forecast import _compare, exponential, straight_line
from jitkit.progress.hazard import Hazard, _count, fit_hazard
from jitkit.progress.silence import Times, spells, times_of

MONDAY = pd.Timestamp("2026-03-02T00:00Z")
NOTHING = np.empty(0)
NO_VISITS = np.empty(0, dtype=np.int64), NOTHING


def daily(counts: list[int], waiting: int, *, now: float | None = None) -> Times:
    """One wave, flagged at midnight of a Monday, that moved so many users on each day."""
    moved = np.concatenate([np.repeat(np.arange(len(counts)) + 0.5, counts), np.full(waiting, np.nan)])
    return Times(MONDAY, len(counts) - 1e-6 if now is None else now, np.zeros(len(moved)), moved)


def fitted(times: Times) -> Hazard:
    return fit_hazard(spells(np.zeros(len(times.flagged)), times, NO_VISITS), NOTHING, times, set())


def test_users_are_counted_by_wave_and_day() -> None:
    rows = [
        ("a", "2026-03-02T10:00Z", "2026-03-02T12:00Z"),
        ("b", "2026-03-02T10:00Z", "2026-03-04T01:00Z"),
        ("c", "2026-03-02T10:00Z", None),
        ("d", "2026-03-03T06:00Z", "2026-03-03T05:59Z"),
        ("e", "2026-03-03T06:00Z", "2026-03-09T00:00Z"),
        ("f", "2026-03-08T00:00Z", None),
        ("g", None, "2026-03-02T10:00Z"),
        ("h", None, None),
    ]
    users = pd.DataFrame(rows, columns=["user_id", "flagged_at", "migrated_at"])
    users[["flagged_at", "migrated_at"]] = users[["flagged_at", "migrated_at"]].apply(pd.to_datetime, utc=True)
    times = times_of(users, pd.Timestamp("2026-03-05T12:00Z"))
    assert times is not None
    assert times.flagged.round(3).tolist() == [0.417, 0.417, 0.417, 1.25, 1.25, 6.0]
    assert np.floor(times.moved[~np.isnan(times.moved)]).tolist() == [0, 2, 1]
    assert np.isnan(times.moved).tolist() == [False, False, True, False, True, True]
    assert times.per_day.tolist() == [1, 1, 1, 0]
    assert (times.outside, times.outside_moved) == (2, 1)


def test_the_week_is_found() -> None:
    left, counts = 20_000, []
    for day in range(35):
        moved = round(left * 0.02 * (0.1 if day % 7 >= 5 else 1.36))
        counts.append(moved)
        left -= moved
    found = fitted(daily(counts, left))
    assert found.odd == ()
    assert found.usual == pytest.approx(counts, rel=0.25)
    ahead, _, _ = found.expected(np.ones(20_000, dtype=bool), 7)
    course = np.diff(np.median(ahead, axis=0))
    assert course[5:] == pytest.approx([0.1 / 1.36 * course[:5].mean()] * 2, rel=0.3)


def steady(days: int, **other: int) -> Times:
    counts = [round(200 * 0.98**day) for day in range(days)]
    for name, count in other.items():
        counts[int(name[1:])] = count
    return daily(counts, 20_000 - sum(counts))


def test_a_burst_is_seen_and_what_it_brought_beyond_the_usual_is_not_gone_on_from() -> None:
    found = fitted(steady(20, d12=900))
    assert found.odd == (12,)
    assert found.usual[12] == pytest.approx(160, rel=0.15)
    waiting = np.ones(20_000, dtype=bool)
    with_burst, without = (np.median(each.expected(waiting, 10)[0], axis=0) for each in (found, fitted(steady(20))))
    # The 740 who came for it wait no longer.
    assert with_burst[-1] == pytest.approx(without[-1], rel=0.1)


def test_the_chances_of_people_who_are_forecast_sum_to_the_moves_expected_of_them() -> None:
    times = daily([40] * 12, 800)
    silent = np.tile([0.0, 3, 20, 90, 400, np.nan, 1, 700, 33, 5], 128)  # one in ten has no record
    found = fit_hazard(spells(silent, times, (np.array([500, 900]), np.array([4.0, 9.5]))), NOTHING, times, set())
    waits = np.isnan(times.moved)
    moves, _, chances = found.expected(waits, 40, 30)
    assert len(chances) == waits.sum() == 800
    assert chances.sum() == pytest.approx(moves[:, 30].mean(), rel=1e-9)
    unknown = chances[np.isnan(silent[waits])]
    assert unknown.min() == unknown.max() and np.ptp(chances) > 0.05


def test_an_outage_stops_the_clock_even_if_it_lasts_until_now() -> None:
    found = fitted(steady(20, d17=0, d18=0, d19=0))
    assert found.odd == (17, 18, 19)
    assert found.usual[17:].min() > 100
    assert found.usual[:17] == pytest.approx([200 * 0.98**day for day in range(17)], rel=0.2)


def test_people_who_see_the_same_days_are_counted_together() -> None:
    """Thirty waves, each of which moves five users a day from its flag on and leaves a hundred."""
    flagged = np.repeat(np.arange(30.0), [5 * (40 - day) + 100 for day in range(30)])
    moved = np.concatenate(
        [np.append(np.repeat(np.arange(day, 40) + 0.5, 5), np.full(100, np.nan)) for day in range(30)]
    )
    times = Times(MONDAY, 40 - 1e-6, flagged, moved)
    day, silence, age, tried, moves, at_risk = _count(spells(np.zeros(len(moved)), times, NO_VISITS), times.now, 40)
    assert len(day) < 800  # of 1,200 waves and days, and some 6,000 users
    assert moves.sum() == np.isfinite(moved).sum()
    assert np.bincount(day.astype(int), moves).tolist() == times.per_day.tolist()
    waited = np.where(np.isnan(moved), 40, np.floor(moved) + 0.5) - flagged
    assert at_risk.sum() == pytest.approx(waited.sum(), rel=0.01)
    assert (silence == age).all() and not tried.any()


def test_the_straight_line_goes_on_at_the_pace_of_seven_days_until_all_are_moved() -> None:
    times = daily([50] * 3 + [10] * 7, 70)
    assert straight_line(times, 290, 9).round(2).tolist() == [220, 230, 240, 250, 260, 270, 280, 290, 290, 290]


def test_the_exponential_saturates_where_the_curve_does() -> None:
    ends = 1_000 * -np.expm1(-np.arange(1, 41) / 8)
    counts = np.diff(ends, prepend=0).round().astype(int).tolist()
    grown = exponential(daily(counts, 3_000), 4_000, 200)
    assert grown[0] == sum(counts)
    assert grown[-1] == pytest.approx(1_000, abs=15)


def test_a_forecast_is_judged_on_the_days_that_followed() -> None:
    courses = np.tile([[100.0], [110], [120]], (1, 4))
    judged = _compare(daily([10] * 10, 900), 1_000, courses, np.array([100.0, 110, 118, 140]), MONDAY)
    assert (judged["made_on"], judged["days"]) == ("2026-03-02", 3)
    assert judged["interval_coverage"] == pytest.approx(2 / 3, abs=0.0001)
    assert judged["error"] == pytest.approx((0 + 8 + 30) / 3, abs=0.01)
    assert judged["error_straight_line"] == pytest.approx((0 + 2 + 10) / 3, abs=0.01)

"""The parts of a forecast: the counts, the clock, the two simple methods, the backtest."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from jitkit.progress.forecast import _compare, exponential, straight_line
from jitkit.progress.survival import History, count_history, find_rhythm, observe

MONDAY = pd.Timestamp("2026-03-02T00:00Z")


def daily(counts: list[int], waiting: int, *, now: float | None = None) -> History:
    """One wave, flagged at midnight of a Monday, that moved so many users on each day."""
    return History(
        origin=MONDAY,
        now=len(counts) - 1e-6 if now is None else now,
        flagged=np.array([0.0]),
        moved=np.array([counts], dtype=float),
        waiting=np.array([float(waiting)]),
        outside=0,
        outside_moved=0,
    )


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
    history = count_history(users, pd.Timestamp("2026-03-05T12:00Z"))
    assert history is not None
    assert history.flagged.round(3).tolist() == [0.417, 1.25, 6.0]
    assert history.moved.tolist() == [[1, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 0]]
    assert history.waiting.tolist() == [1, 1, 1]
    assert (history.events, history.outside, history.outside_moved) == (3, 2, 1)


def test_the_week_is_found() -> None:
    left, counts = 20_000, []
    for day in range(35):
        moved = round(left * 0.02 * (0.1 if day % 7 >= 5 else 1.36))
        counts.append(moved)
        left -= moved
    rhythm = find_rhythm(daily(counts, left))
    assert rhythm.week.mean() == pytest.approx(1)
    assert rhythm.week[:5] == pytest.approx([1.36] * 5, rel=0.12)
    assert rhythm.week[5:] == pytest.approx([0.1] * 2, abs=0.08)
    assert rhythm.odd == ()
    assert rhythm.time(np.array([0, 7, 70.0])) == pytest.approx([0, 7, 70])


def steady(days: int, **other: int) -> History:
    counts = [round(200 * 0.98**day) for day in range(days)]
    for name, count in other.items():
        counts[int(name[1:])] = count
    return daily(counts, 20_000 - sum(counts))


def test_a_burst_is_seen_and_what_it_brought_beyond_the_usual_is_not_gone_on_from() -> None:
    history = steady(20, d12=900)
    rhythm = find_rhythm(history)
    assert rhythm.odd == (12,)
    assert rhythm.kept[12] == pytest.approx(160 / 900, rel=0.15)
    assert rhythm.past[12] == pytest.approx(1, rel=0.2)
    seen = observe(history, rhythm)
    assert seen.moved.sum() + seen.waiting.sum() == pytest.approx(20_000)
    assert seen.moved.sum() == pytest.approx(history.events - 740, abs=30)


def test_an_outage_stops_the_clock_even_if_it_lasts_until_now() -> None:
    rhythm = find_rhythm(steady(20, d17=0, d18=0, d19=0))
    assert rhythm.odd == (17, 18, 19)
    assert rhythm.past[17:].max() < 0.1
    assert rhythm.past[:17].min() > 0.8


def test_people_who_see_the_same_days_are_counted_together() -> None:
    flagged = np.arange(30) / 1.0
    moved = np.triu(np.full((30, 40), 5.0))
    history = History(MONDAY, 40 - 1e-6, flagged, moved, np.full(30, 100.0), 0, 0)
    seen = observe(history, find_rhythm(history))
    assert len(seen.begin) < 200
    assert seen.moved.sum() + seen.waiting.sum() == pytest.approx(moved.sum() + 3_000)
    assert (seen.end > seen.begin).all()


def test_the_straight_line_goes_on_at_the_pace_of_seven_days_until_all_are_moved() -> None:
    history = daily([50] * 3 + [10] * 7, 70)
    assert straight_line(history, 290, 9).round(2).tolist() == [220, 230, 240, 250, 260, 270, 280, 290, 290, 290]


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

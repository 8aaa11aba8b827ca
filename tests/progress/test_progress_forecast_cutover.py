"""The day on which the old system may be switched off, and what that costs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from jitkit.errors import BadTable
from jitkit.progress.cutover import cut_over
from jitkit.progress.forecast import Forecast


def course(*, slow: int = 0) -> Forecast:
    """1,000 users, 400 moved; ten courses rise by 10 to 19 a day for 40 days; `slow` of them stand still."""
    days = np.arange(41)
    paths = np.stack([np.minimum(400 + (10 + pace) * days, 950.0) for pace in range(10)])
    paths[:slow] = 400
    dates = pd.date_range("2026-04-01", periods=41, tz="UTC")
    return Forecast(
        as_of=pd.Timestamp("2026-04-01T12:00Z"),
        in_scope=1_000,
        migrated=400,
        days=pd.DataFrame({"date": dates, "migrated_low": 400, "migrated": 500, "migrated_high": 600}),
        never_return={"low": 0.04, "estimate": 0.05, "high": 0.06},
        paths=paths,
    )


def test_the_first_day_that_meets_the_target_with_certainty_is_named() -> None:
    plan = cut_over(course(), 0.3)
    # 300 must still move. The nine fastest do so at 11 a day or more: in 28 days.
    assert plan.date == pd.Timestamp("2026-04-29", tz="UTC")
    assert plan.reason == "From 29 Apr 2026 on, at most 300 users are left, with 90 % certainty."
    assert f"{plan.date:%Y-%m-%d}" in set(plan.dates["date"].dt.strftime("%Y-%m-%d"))


def test_each_candidate_tells_who_is_left_and_who_needs_a_new_password() -> None:
    plan = cut_over(course(), 0.3, tickets_per_reset=0.5)
    assert plan.dates["date"].dt.strftime("%d %b").tolist() == ["01 Apr", "15 Apr", "29 Apr"]
    row = plan.dates.set_index("date").loc["2026-04-15"].squeeze()
    left = 600 - 14 * (10 + np.arange(10))
    assert (row["left_low"], row["left"], row["left_high"]) == tuple(np.round(np.quantile(left, (0.1, 0.5, 0.9))))
    come = np.minimum(400 + 40 * (10 + np.arange(10)), 950) - (1_000 - left)
    assert row["resets"] == np.round(np.median(come))
    assert row["tickets"] == np.ceil(row["resets"] / 2)
    assert (row["chance"], row["risk"]) == (0, "high")


@pytest.mark.parametrize(
    ("target_share", "chance", "risk"), [(0.39, 0.5, "medium"), (0.38, 0.4, "high"), (0.45, 0.9, "low")]
)
def test_risk_follows_the_chance(target_share: float, chance: float, risk: str) -> None:
    day = cut_over(course(), target_share).dates.set_index("date").loc["2026-04-15"].squeeze()
    assert (day["chance"], day["risk"]) == (chance, risk)


def test_no_day_is_named_when_none_meets_the_target() -> None:
    never = cut_over(course(), 0.02)
    assert never.date is None
    assert "reset these accounts" in never.reason
    stuck = cut_over(course(slow=5), 0.3)
    assert stuck.date is None
    assert "Remind those who are left" in stuck.reason


def test_it_says_when_those_who_still_come_have_come_and_what_else_would_change() -> None:
    made = course()
    moved = {"do_nothing": 700, "fix": 800, "fix_and_remind": 850}
    lines = [(line, made.days["date"].iloc[-1], 500, number, 900) for line, number in moved.items()]
    lined = replace(
        made, lines=pd.DataFrame(lines, columns=["line", "date", "migrated_low", "migrated", "migrated_high"])
    )
    plan = cut_over(lined, 0.02)
    # The middle course brings 550 by its 38th day: 95 % of that, 522, have come on the 36th.
    assert plan.settled == pd.Timestamp("2026-05-08", tz="UTC")
    assert "Of those who still come until 11 May 2026, 95 % have come by 8 May 2026." in plan.reason
    assert "If what holds people back is fixed now, about 200 are left on 11 May 2026 instead of 300." in plan.reason
    assert "If those who wait are reminded too, about 150 are left on 11 May 2026 instead of 300." in plan.reason
    assert plan.left["fix"] == {"left_low": 100, "left": 200, "left_high": 500}
    assert plan.dates["come"].tolist() == pytest.approx(
        [0, 14 * 14.5 / 550, 28 * 14.5 / 550][: len(plan.dates)], abs=0.01
    )


def test_where_nobody_is_held_back_a_reminder_is_all_that_would_change() -> None:
    made = course()
    lines = [
        (line, made.days["date"].iloc[-1], 500, number, 900) for line, number in (("do_nothing", 700), ("fix", 700))
    ]
    lines.append(("fix_and_remind", made.days["date"].iloc[-1], 500, 750, 900))
    named = pd.DataFrame(lines, columns=["line", "date", "migrated_low", "migrated", "migrated_high"])
    reason = cut_over(replace(made, lines=named), 0.02).reason
    assert "If those who wait are reminded, about 250 are left" in reason and "holds people back" not in reason


def test_the_tickets_follow_from_the_new_passwords_that_are_shown() -> None:
    dates = cut_over(course(slow=3), 0.3).dates  # whose mean is far from its middle
    assert dates["tickets"].tolist() == np.ceil(dates["resets"] / 4).tolist()


def test_a_chance_that_is_nought_on_every_day_is_not_shown() -> None:
    assert "Risk" not in cut_over(course(), 0.02).shown()
    assert "Risk" in cut_over(course(), 0.3).shown()


def test_the_table_says_what_it_assumes() -> None:
    page = cut_over(course(), 0.3, tickets_per_reset=0.1)._repr_html_()
    assert "10 of 100 of them are taken to call the help desk" in page
    assert "At most 300 are left" in page or "at most 300 are left" in page


def test_it_is_too_early_when_the_forecast_says_so() -> None:
    plan = cut_over(Forecast(None, 10, 0, too_early="nobody has moved."))
    assert (plan.date, len(plan.dates)) == (None, 0)
    assert "too early to tell: nobody has moved." in plan._repr_html_()


def test_a_target_that_makes_no_sense_is_refused() -> None:
    with pytest.raises(BadTable, match=r"share of 5\.0"):
        cut_over(course(), 5.0)

"""The day on which the old system may be switched off, and what that costs."""

from __future__ import annotations

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


def test_the_first_day_with_nine_chances_in_ten_is_named() -> None:
    plan = cut_over(course(), target_count=300)
    # 300 must still move. The nine fastest do so at 11 a day or more: in 28 days.
    assert plan.date == pd.Timestamp("2026-04-29", tz="UTC")
    assert plan.reason == "From 29 Apr 2026 on, at most 300 users are left with 9 chances in 10."
    assert f"{plan.date:%Y-%m-%d}" in set(plan.dates["date"].dt.strftime("%Y-%m-%d"))


def test_each_candidate_tells_who_is_left_and_who_needs_a_new_password() -> None:
    plan = cut_over(course(), target_share=0.3, dates=[pd.Timestamp("2026-04-11")], tickets_per_reset=0.5)
    row = plan.dates.set_index("date").loc["2026-04-11"].squeeze()
    left = 600 - 10 * (10 + np.arange(10))
    assert (row["left_low"], row["left"], row["left_high"]) == tuple(np.round(np.quantile(left, (0.1, 0.5, 0.9))))
    come = np.minimum(400 + 40 * (10 + np.arange(10)), 950) - (1_000 - left)
    assert row["resets"] == np.round(np.median(come))
    assert row["tickets"] == np.ceil(come.mean() / 2)
    assert (row["chance"], row["risk"]) == (0, "high")


def test_risk_follows_the_chance() -> None:
    dates = pd.to_datetime(["2026-04-21", "2026-04-23", "2026-05-01"])
    plan = cut_over(course(), target_count=300, dates=dates)
    told = plan.dates.set_index(plan.dates["date"].dt.day)[["chance", "risk"]]
    assert told.loc[21].tolist() == [0.5, "medium"]
    assert told.loc[23].tolist() == [0.6, "medium"]
    assert told.loc[1].tolist() == [1.0, "low"]


def test_no_day_is_named_when_none_meets_the_target() -> None:
    never = cut_over(course(), target_count=20)
    assert never.date is None
    assert "reset these accounts" in never.reason
    stuck = cut_over(course(slow=5), target_count=300)
    assert stuck.date is None
    assert "Remind those who are left" in stuck.reason


def test_the_table_says_what_it_assumes() -> None:
    page = cut_over(course(), target_count=300, tickets_per_reset=0.1)._repr_html_()
    assert "10 of 100 of them are taken to call the help desk" in page
    assert "At most 300 are left" in page or "at most 300 are left" in page


def test_it_is_too_early_when_the_forecast_says_so() -> None:
    plan = cut_over(Forecast(None, 10, 0, too_early="nobody has moved."))
    assert (plan.date, len(plan.dates)) == (None, 0)
    assert "too early to tell: nobody has moved." in plan._repr_html_()


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"target_share": 0.1, "target_count": 5}, "two targets"),
        ({"target_share": 5.0}, "share of 5.0"),
        ({"target_count": -1}, "target of -1"),
        ({"dates": [pd.Timestamp("2027-01-01")]}, "does not reach 2027-01-01"),
    ],
)
def test_what_makes_no_sense_is_refused(wrong: dict[str, object], words: str) -> None:
    with pytest.raises(BadTable, match=words):
        cut_over(course(), **wrong)  # type: ignore[arg-type]

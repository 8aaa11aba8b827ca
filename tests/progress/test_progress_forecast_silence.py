"""The forecast by how long people have been silent: read from the old system's last sign-ins and from the new one's."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from jitkit.progress.forecast import forecast
from jitkit.progress.silence import Times, days_silent, spells
from jitkit.progress.tables import Tables

START = pd.Timestamp("2026-03-02T08:00Z")
NO_VISITS = np.empty(0, dtype=np.int64), np.empty(0)


def habits(size: int, seed: int, *, lost: float = 0.0) -> pd.DataFrame:
    """People who come by chance, daily to yearly or never again, with the day on which the old system saw them last."""
    rng = np.random.default_rng(seed)
    gap = rng.choice([1.5, 7.0, 30.0, 200.0], size)
    gone = rng.random(size) < 0.3
    last = rng.exponential(gap) + np.where(gone, rng.uniform(0, 1_000, size), 0)
    days = np.where(gone, np.inf, rng.exponential(gap))
    seen = (START - pd.to_timedelta(last, unit="D")).strftime("%Y-%m-%d").to_series(index=range(size))
    return pd.DataFrame(
        {
            "user_id": [f"u{number}" for number in range(size)],
            "flagged_at": START,
            "migrated_at": START + pd.to_timedelta(np.where(np.isfinite(days), days, np.nan), unit="D"),
            "path": None,
            "last_legacy_sign_in": seen.mask(rng.random(size) < lost, ""),
        }
    )


def in_words(users: pd.DataFrame) -> pd.DataFrame:
    ago = (START - pd.to_datetime(users["last_legacy_sign_in"], utc=True)) / pd.Timedelta(days=1)
    words = ["0-30 days before", "31-90 days before", "91-365 days before", "earlier"]
    return users.assign(last_legacy_sign_in=pd.cut(ago, [-9, 30, 90, 365, 9_999], labels=words).astype("str"))


def made(users: pd.DataFrame, cut: int = 12):  # type: ignore[no-untyped-def]
    as_of = START + pd.Timedelta(days=cut)
    return forecast(Tables(users=users, as_of=as_of), with_backtest=False)


@pytest.mark.parametrize("lost", [0.0, 0.15])
def test_days_of_counts_tell_what_comes_after_months_by_the_silence_of_those_who_wait(lost: float) -> None:
    users = habits(3_000, 7, lost=lost)
    by_silence, by_flag = made(users), made(users.drop(columns="last_legacy_sign_in"))
    assert (by_silence.kind, by_flag.kind) == ("silence", "survival")
    truth = (users["migrated_at"] <= START + pd.Timedelta(days=102)).sum()
    day = by_silence.days.iloc[90]
    assert day["migrated_low"] <= truth <= day["migrated_high"]
    assert abs(day["migrated"] - truth) < 150
    assert abs(day["migrated"] - truth) < abs(by_flag.days["migrated"].iloc[90] - truth)


@pytest.mark.parametrize("lost", [0.0, 0.15])
def test_personal_chances_sum_to_the_newcomers_who_are_expected_and_follow_the_silence(
    lost: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    users = habits(3_000, 7, lost=lost)
    planned = habits(200, 6).assign(migrated_at=pd.NaT, flagged_at=START + pd.Timedelta(days=20))
    planned["user_id"] = "p" + planned["user_id"]
    found = made(pd.concat([users, planned], ignore_index=True))
    waits = users.set_index("user_id").loc[found.chances.index]
    assert set(waits.index) == set(users.loc[~(users["migrated_at"] <= found.as_of), "user_id"])
    assert found.chances.between(0, 1).all()
    # The courses before they are widened differ from the sum by the chance in 300 draws; no planned user is in them.
    monkeypatch.setattr("jitkit.progress.forecast._calibrated", lambda grown, *_: grown)
    alone = made(users)
    assert alone.chances.sum() == pytest.approx(alone.paths[:, 30].mean() - alone.migrated, rel=0.02)
    came = waits["migrated_at"] <= found.as_of + pd.Timedelta(days=30)
    third = found.chances.rank(pct=True)
    assert came[third > 2 / 3].mean() > 4 * came[third < 1 / 3].mean()
    for some in (third > 2 / 3, third < 1 / 3):  # four standard errors of some 430 people
        assert found.chances[some].mean() == pytest.approx(came[some].mean(), abs=0.1)
    unknown = waits["last_legacy_sign_in"].eq("")
    assert found.chances[unknown].nunique() <= 1  # of them nothing differs


def test_without_last_sign_ins_the_chance_is_that_of_the_wave() -> None:
    users = habits(1_000, 7).drop(columns="last_legacy_sign_in")
    second = users.assign(user_id="s" + users["user_id"], flagged_at=START + pd.Timedelta(days=8))
    second["migrated_at"] += pd.Timedelta(days=8)
    chances = made(pd.concat([users, second], ignore_index=True)).chances
    of_second = chances.index.str.startswith("s")
    assert chances[of_second].nunique() == chances[~of_second].nunique() == 1
    assert chances[of_second].iloc[0] > chances[~of_second].iloc[0]


def test_words_for_the_last_sign_in_serve_as_well() -> None:
    users = habits(3_000, 8)
    by_words = made(in_words(users), cut=30)
    assert by_words.kind == "words"
    truth = (users["migrated_at"] <= START + pd.Timedelta(days=90)).sum()
    assert by_words.days["migrated_low"].iloc[60] <= truth <= by_words.days["migrated_high"].iloc[60]


def test_the_flags_hour_does_not_move_it() -> None:
    users = habits(1_500, 9)
    first, second = made(users), made(users.assign(flagged_at=START - pd.Timedelta(hours=6)))
    assert first.days["migrated"].sub(second.days["migrated"]).abs().max() <= 2


def test_people_come_on_the_day_of_the_month_on_which_the_old_system_saw_them() -> None:
    """Everybody comes once a month around the 25th; twelve days after the 2nd, nothing in the counts says so."""
    rng = np.random.default_rng(3)
    size = 2_000
    frequent = rng.random(size) < 0.3
    pay = np.where(frequent, rng.exponential(8, size), 23 + rng.normal(0, 1.5, size) + 30 * rng.integers(0, 3, size))
    last = np.where(frequent, rng.exponential(8, size), 5 + rng.normal(0, 1.5, size) + 28 * rng.integers(0, 6, size))
    users = habits(size, 3).assign(
        migrated_at=START + pd.to_timedelta(pay, unit="D"),
        last_legacy_sign_in=(START - pd.to_timedelta(last, unit="D")).strftime("%Y-%m-%d"),
    )
    course = made(users, cut=14).days["migrated"].diff()
    around, before = course.iloc[7:13].mean(), course.iloc[1:6].mean()
    assert around > 1.5 * before


def test_dates_and_words_are_read_as_days_of_silence() -> None:
    flagged = np.zeros(4)
    dates = pd.DataFrame({"last_legacy_sign_in": ["2026-03-01", "2026-02-20", "2025-03-02", ""]})
    found = days_silent(dates, flagged, START.floor("D"))
    assert found is not None
    silent, seen = found
    assert silent[:3].tolist() == [0, 9, 364]
    assert np.isnan(silent[3]) and seen[0] == -0.5
    words = pd.DataFrame({"last_legacy_sign_in": ["0-30 days before", "91-365 days before", "earlier", ""]})
    found = days_silent(words, flagged, START)
    assert found is not None
    assert found[0][:3].round().tolist() == [6, 183, 730]
    assert np.isnan(found[0][3]) and not len(found[1])
    assert days_silent(words.assign(last_legacy_sign_in=["", "", "", "earlier"]), flagged, START) is None
    assert days_silent(words.drop(columns="last_legacy_sign_in"), flagged, START) is None


@pytest.mark.parametrize(
    "written",
    [
        ["01.03.2026", "20.2.2026", "02.03.2025 23:59"],
        ["3/1/2026", "2/20/2026", "3/2/2025"],
        ["20260301", "20260220", "20250302"],
        ["01-Mar-2026", "20-FEB-2026", "March 2, 2025"],
    ],
)
def test_dates_are_read_in_every_spelling_that_shows_what_is_the_month(written: list[str]) -> None:
    users = pd.DataFrame({"last_legacy_sign_in": [*written, ""]})
    found = days_silent(users, np.zeros(4), START.floor("D"))
    assert found is not None
    assert np.floor(found[0][:3]).tolist() in ([0, 9, 364], [0, 9, 363])
    assert len(found[1]) == 4


def test_numbers_are_days_and_dates_of_an_unknown_order_are_no_ranges() -> None:
    days = pd.DataFrame({"last_legacy_sign_in": [1.0, 45.0, np.nan, 1200]})
    for users in (days, days.astype("Int64"), days.astype("str").fillna("never")):
        found = days_silent(users, np.zeros(4), START)
        assert found is not None
        assert found[0][[0, 1, 3]].tolist() == [1, 45, 1200]
        assert not len(found[1])
    mixed = pd.DataFrame({"last_legacy_sign_in": ["0-30 days", "> 30 days", "2026-02-20", "3/1/2026", "31-90 days"]})
    found = days_silent(mixed, np.zeros(5), START)
    assert found is not None
    assert found[0].round().tolist()[:2] == [6, 180] and np.isnan(found[0]).tolist()[2:] == [True, True, False]
    for each in ("3/1/2026", "46326.5"):
        assert days_silent(days.assign(last_legacy_sign_in=each), np.zeros(4), START) is None


def test_a_record_of_after_the_flag_does_not_tell_the_silence_at_the_flag() -> None:
    dates = pd.DataFrame({"last_legacy_sign_in": ["2026-03-01", "2026-02-20", "2026-03-20"]})
    found = days_silent(dates, np.zeros(3), START.floor("D"))
    assert found is not None
    assert np.isnan(found[0]).tolist() == [False, False, True]
    assert found[1][2] == 18.5
    assert days_silent(dates.assign(last_legacy_sign_in="2027-01-01"), np.zeros(3), START) is None


@pytest.mark.parametrize("lost", [0.0, 0.3])
def test_people_without_any_record_are_expected_like_those_with_one(lost: float) -> None:
    """Nobody of a planned wave has a record, and in the first wave none or three in ten are lost."""
    users, later = habits(2_000, 5, lost=lost), habits(500, 6).assign(migrated_at=pd.NaT, last_legacy_sign_in="")
    later = later.assign(user_id="p" + later["user_id"], flagged_at=START + pd.Timedelta(days=40))
    found = made(pd.concat([users, later]), cut=30)
    assert found.kind == "silence"
    course = found.days["migrated"]
    assert course.iloc[9] > found.migrated + 5
    # Within 50 days, more than half of the first wave came.
    assert course.iloc[60] - course.iloc[9] > 200


def test_who_waits_without_a_record_when_all_with_one_have_moved_is_not_expected() -> None:
    users = habits(200, 4).assign(migrated_at=START + pd.Timedelta(days=3))
    users.loc[0, ["migrated_at", "last_legacy_sign_in"]] = [pd.NaT, ""]
    found = made(users)
    assert found.kind == "silence"
    assert set(found.days["migrated"]) == {199}
    assert found.never_return is not None and found.never_return["estimate"] == 0.005


def test_a_sign_in_begins_a_new_silence_unless_it_belongs_to_the_move() -> None:
    """One waits and came twice, one moved on day 5 after a failure, one was flagged after a visit."""
    visits = np.array([0, 0, 1, 2]), np.array([2.0, 6.0, 4.99, 1.0])
    times = Times(START, 10.0, flagged=np.array([0.0, 0.0, 4.0]), moved=np.array([np.nan, 5.0, np.nan]))
    cut = spells(np.array([9.0, 1.0, 3.0]), times, visits)
    assert cut.row.tolist() == [0, 0, 0, 1, 2]
    assert cut.start.tolist() == [0, 2, 6, 0, 4]
    assert cut.end.tolist() == [2, 6, 10, 5, 10]
    assert cut.silent.tolist() == [9, 0, 0, 1, 3]
    assert cut.moved.tolist() == [False, False, False, True, False]
    assert cut.open.tolist() == [False, False, True, False, True]

"""What stands out is found on tables made by hand, and nothing is found on calm ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from jitkit.errors import BadTable
from jitkit.progress.cohorts import campaigns, course
from jitkit.progress.findings import Finding, findings, pace
from jitkit.progress.outages import interruptions
from jitkit.progress.report import Figures
from jitkit.progress.tables import Tables

START = pd.Timestamp("2026-03-02T00:00Z")
DAY = pd.Timedelta(days=1)


def migration(
    seed: int, *, people: int = 3000, days: int = 40, factor: Callable[[int], float] = lambda day: 1.0, **columns: Any
) -> Tables:
    """People who come at random, each with a sign-in that asked the endpoint; `factor` makes days busy or slow."""
    dice = np.random.default_rng(seed)
    left = np.arange(people)
    moved = np.full(people, np.nan)
    for day in range(days):
        comes = left[dice.random(len(left)) < 0.02 * factor(day)]
        moved[comes] = day + dice.random(len(comes))
        left = np.setdiff1d(left, comes)
    ids = [f"{number:05d}" for number in range(people)]
    at = START + pd.to_timedelta(moved, unit="D")
    users = pd.DataFrame({"user_id": ids, "flagged_at": START, "migrated_at": at, "path": None, **columns})
    users["path"] = users["path"].mask(at.notna(), "callout")
    came = users[users["migrated_at"].notna()]
    sign_ins = pd.DataFrame({"time": came["migrated_at"], "user_id": came["user_id"], "result_code": 0})
    sign_ins = sign_ins.assign(
        correlation_id="c" + sign_ins["user_id"], callout_error=0, callout_status=200, attempts=1
    )
    return Tables(users=users, sign_ins=sign_ins, as_of=START + days * DAY)


def failing(tables: Tables, since: pd.Timestamp, count: int, *, people: int = 8, code: int = 1003027) -> Tables:
    """Add sign-ins one after the other that broke with an error of the extension."""
    waiting = tables.users.loc[tables.users["migrated_at"].isna(), "user_id"].head(people).tolist()
    times = [since + number * pd.Timedelta(seconds=10) for number in range(count)]
    rows = pd.DataFrame({"time": times, "user_id": [waiting[n % people] for n in range(count)], "result_code": 1100001})
    rows = rows.assign(correlation_id=[f"x{n}" for n in range(count)], callout_error=code, callout_status=0, attempts=2)
    return Tables(users=tables.users, sign_ins=pd.concat([tables.sign_ins, rows]), as_of=tables.as_of)


def kinds(tables: Tables, **more: Any) -> list[str]:
    return [each.kind for each in findings(tables, **more)]


def one(tables: Tables, kind: str, **more: Any) -> Finding:
    (found,) = (each for each in findings(tables, **more) if each.kind == kind)
    return found


@pytest.mark.parametrize("seed", range(12))
def test_nothing_stands_out_on_calm_data(seed: int) -> None:
    dice = np.random.default_rng(100 + seed)
    countries = dice.choice(["DE", "FR", "GB", "NL"], 3000)
    assert findings(migration(seed, country=countries)) == []


@pytest.mark.parametrize("seed", range(3))
def test_a_weekly_rhythm_is_not_a_stall(seed: int) -> None:
    assert kinds(migration(seed, days=56, factor=lambda day: 0.5 if day % 7 > 4 else 1.2)) == []


def test_nothing_and_one_person_and_a_first_day_have_nothing_that_stands_out() -> None:
    assert findings(Tables()) == []
    assert findings(migration(1, people=1)) == []
    assert findings(migration(1, days=1)) == []
    assert pace(Tables()).empty and interruptions(Tables()).empty


@pytest.mark.parametrize("flagged", [0, 20])
def test_the_pace_counts_users_of_whom_no_table_says_when_they_were_flagged(flagged: int) -> None:
    users = migration(4).users
    users["flagged_at"] = pd.Series(START + flagged * DAY, users.index).mask(users["migrated_at"].notna())
    days = pace(Tables(users=users)).set_index("day")["moved"]
    counted = users["migrated_at"].dt.floor("D").value_counts().sort_index()
    assert days[days > 0].to_dict() == counted.to_dict()


def test_the_days_of_the_pace_sum_to_the_moves() -> None:
    tables = migration(3)
    table = pace(tables)
    assert table["moved"].sum() == tables.users["migrated_at"].notna().sum()
    assert table["day"].iloc[0] == START and len(table) == 41


def test_a_stall_is_told_with_its_days_and_what_is_usual() -> None:
    found = one(migration(4, factor=lambda day: 0.05 if 15 <= day < 22 else 1.0), "stall")
    assert (found.since, found.until) == (START + 15 * DAY, START + 22 * DAY)
    assert "From 17 Mar 2026 to 23 Mar 2026 (7 days)" in found.words
    assert "Few came" in found.words


def test_who_is_moved_and_comes_on_does_not_hide_that_the_others_stay_away() -> None:
    tables = migration(4, factor=lambda day: 0.05 if 15 <= day < 22 else 1.0)
    moved = tables.users.loc[tables.users["migrated_at"] < START + 8 * DAY, "user_id"].head(300)
    times = [START + (8 + day) * DAY for day in range(14) for _ in moved]
    again = pd.DataFrame({"time": times, "user_id": [*moved] * 14, "result_code": 0})
    tables = Tables(users=tables.users, sign_ins=pd.concat([tables.sign_ins, again]), as_of=tables.as_of)
    assert "Few came" in one(tables, "stall").words


def test_without_a_sign_in_log_a_stall_has_no_cause() -> None:
    found = one(Tables(users=migration(4, factor=lambda day: 0.05 if 15 <= day < 22 else 1.0).users), "stall")
    assert "No log shows whether people came" in found.words
    assert "outage" not in found.words and "sign-in log" in found.next_step


def test_two_slow_days_are_no_stall() -> None:
    assert "stall" not in kinds(migration(5, factor=lambda day: 0.05 if 15 <= day < 17 else 1.0))


def test_when_people_came_and_were_not_moved_the_listener_is_suspected() -> None:
    tables = migration(6, factor=lambda day: 0.05 if 15 <= day < 22 else 1.0)
    waiting = tables.users.loc[tables.users["migrated_at"].isna(), "user_id"].head(400)
    times = [START + 15 * DAY + number * pd.Timedelta(minutes=25) for number in range(400)]
    extra = pd.DataFrame({"time": times, "user_id": waiting, "result_code": 50126})
    tables = Tables(users=tables.users, sign_ins=pd.concat([tables.sign_ins, extra]), as_of=tables.as_of)
    found = one(tables, "stall")
    assert "were not moved" in found.words and "listener" in found.next_step


def test_a_rush_is_told_where_no_campaign_explains_it() -> None:
    busy = migration(7, factor=lambda day: 5.0 if 20 <= day < 23 else 1.0)
    assert one(busy, "rush").since == START + 20 * DAY
    dice = np.random.default_rng(7)
    group = dice.choice(["reached 2026-03-22", "control 2026-03-22"], 3000)
    told = Tables(users=busy.users.assign(campaign=group), sign_ins=busy.sign_ins, as_of=busy.as_of)
    assert "rush" not in kinds(told)


@pytest.mark.parametrize("seed", range(3))
def test_an_outage_is_told_with_its_hours_cause_and_people(seed: int) -> None:
    tables = failing(migration(seed), START + 10.5 * DAY, 30)
    found = one(tables, "interruption")
    assert found.since == START + 10.5 * DAY
    assert found.users == 8
    assert "30 sign-ins of 8 people failed; 0 of these people have moved since" in found.words
    assert "could not be reached" in found.words


def test_who_moved_after_an_outage_came_back() -> None:
    tables = migration(8)
    late = tables.users.index[tables.users["migrated_at"] > START + 20 * DAY][:5]
    ids = tables.users.loc[late, "user_id"].tolist()
    since = START + 19 * DAY
    rows = pd.DataFrame({"time": [since + n * pd.Timedelta(seconds=9) for n in range(5)], "user_id": ids})
    rows = rows.assign(result_code=1100001, callout_error=1003005, correlation_id=[f"y{n}" for n in range(5)])
    told = interruptions(Tables(users=tables.users, sign_ins=pd.concat([tables.sign_ins, rows]), as_of=tables.as_of))
    assert (told["failed"][0], told["users"][0], told["came_back"][0]) == (5, 5, 5)


def test_scattered_failures_and_one_persons_tries_are_no_outage() -> None:
    tables = migration(9)
    for day in range(5, 35, 3):
        tables = failing(tables, START + day * DAY, 3)
    assert interruptions(tables).empty
    assert interruptions(failing(migration(9), START + 10 * DAY, 9, people=1)).empty


def test_windows_less_than_an_hour_apart_are_one() -> None:
    tables = failing(migration(10), START + 10 * DAY, 20)
    waiting = tables.users.loc[tables.users["migrated_at"].isna(), "user_id"].iloc[-1]
    good = {"time": START + 10 * DAY + pd.Timedelta(seconds=95), "user_id": waiting, "result_code": 0}
    good |= {"correlation_id": "good", "callout_error": 0}
    rows = pd.concat([tables.sign_ins, pd.DataFrame([good])])
    found = interruptions(Tables(users=tables.users, sign_ins=rows, as_of=tables.as_of))
    assert found["failed"].tolist() == [20]


def test_the_endpoints_own_word_comes_before_the_error_that_entra_made_of_it() -> None:
    tables = failing(migration(11), START + 10 * DAY, 12, code=1003002)
    broken = tables.sign_ins[tables.sign_ins["callout_error"] == 1003002]
    ledger = broken[["time", "correlation_id", "user_id"]].assign(
        action="Block", cause="down", duration_ms=20.0, attempt=1
    )
    both = Tables(users=tables.users, sign_ins=tables.sign_ins, ledger=ledger, as_of=tables.as_of)
    assert interruptions(both)["cause"].tolist() == ["down"]
    alone = Tables(users=tables.users, ledger=ledger, as_of=tables.as_of)
    assert interruptions(alone)[["cause", "failed"]].values.tolist() == [["down", 12]]


def test_a_certificate_that_ran_out_is_named_where_its_end_is_known_and_suspected_at_a_days_end() -> None:
    tables = failing(migration(12), START + 10 * DAY + pd.Timedelta(hours=5), 20)
    quiet = tables.sign_ins[
        ~tables.sign_ins["time"].between(START + 10 * DAY, START + 10 * DAY + pd.Timedelta(hours=5))
    ]
    tables = Tables(users=tables.users, sign_ins=quiet, as_of=tables.as_of)
    over = "It is over. If it comes back: Check the endpoint's certificate first"
    assert one(tables, "interruption").next_step.startswith(over)
    recent = one(tables.until(START + 12 * DAY), "interruption").next_step
    assert recent.startswith("Check the endpoint's certificate first")
    told = one(tables, "interruption", certificate_ends=START + 10 * DAY)
    assert "The certificate ran out on 12 Mar 2026." in told.words
    midday = failing(migration(12), START + 10.5 * DAY, 20)
    assert "certificate first" not in one(midday, "interruption").next_step


@pytest.mark.parametrize(("left", "words"), [(10, "in 10 days"), (-3, "ended on"), (1, "in 1 day")])
def test_a_certificate_that_ends_soon_is_told(left: int, words: str) -> None:
    tables = migration(13)
    assert words in one(tables, "certificate", certificate_ends=START + (40 + left) * DAY).words
    assert "certificate" not in kinds(tables, certificate_ends=START + 140 * DAY)


def test_a_group_that_lags_is_told_with_its_reason() -> None:
    tables = migration(14)
    app = np.where(np.arange(3000) < 300, "Portal", "Shop")
    kept = tables.users.assign(app=app)
    late = kept["app"] == "Portal"
    kept.loc[late, ["migrated_at", "path"]] = [pd.NaT, None]
    tried = pd.DataFrame({"time": START + 3 * DAY, "user_id": kept.loc[late, "user_id"], "result_code": 50126})
    others = tables.sign_ins[~tables.sign_ins["user_id"].isin(kept.loc[late, "user_id"])]
    found = one(Tables(users=kept, sign_ins=pd.concat([others, tried]), as_of=tables.as_of), "lagging")
    assert "By app, “Portal”: 0 % of 300 people" in found.words
    assert "300 tried, and the endpoint was not asked" in found.words
    assert "listener" in found.next_step


def test_blocked_accounts_are_no_group_that_lags() -> None:
    tables = migration(14)
    users = tables.users.assign(status=np.where(np.arange(3000) < 300, "Disabled", "open"))
    users.loc[users["status"] == "Disabled", ["migrated_at", "path"]] = [pd.NaT, None]
    assert not [found for found in findings(Tables(users=users, as_of=tables.as_of)) if found.kind == "lagging"]
    found = one(Tables(users=users.rename(columns={"status": "office"}), as_of=tables.as_of), "lagging")
    assert "By office, “Disabled”" in found.words


def test_an_attack_is_told_with_its_hours() -> None:
    tables = migration(15)
    times = [START + 12 * DAY + number * pd.Timedelta(minutes=1) for number in range(300)]
    names = pd.DataFrame({"time": times, "user_id": None, "result_code": 50034})
    tables = Tables(users=tables.users, sign_ins=pd.concat([tables.sign_ins, names]), as_of=tables.as_of)
    found = one(tables, "guessing")
    assert "300 sign-ins used names that nobody has" in found.words
    assert found.since == START + 12 * DAY


def test_a_campaign_is_measured_from_the_users_column() -> None:
    tables = migration(16)
    group = np.where(np.arange(3000) % 2 == 0, "reached 2026-03-22", "control 2026-03-22")
    users = tables.users.assign(campaign=group)
    reached = (users["campaign"].str.startswith("reached") & users["migrated_at"].isna()).to_numpy()
    comes = np.flatnonzero(reached)[:400]
    users.loc[comes, "migrated_at"] = [START + (20.1 + 0.034 * place) * DAY for place in range(400)]
    (sent,) = campaigns(Tables(users=users, sign_ins=tables.sign_ins, as_of=tables.as_of))
    assert sent.effect is not None and sent.effect.low > 0
    assert sent.effect.low < 400 < sent.effect.high
    shown = course(Tables(users=users, as_of=tables.as_of), sent)
    assert shown["day"].tolist() == list(range(-14, 14))
    assert shown["reached"].iloc[-1] - shown["control"].iloc[-1] > 0.15
    assert campaigns(Tables(users=users, as_of=START + 10 * DAY)) == []


def test_a_campaign_without_control_says_so_and_a_cell_of_another_form_is_refused() -> None:
    tables = migration(17)
    (sent,) = campaigns(Tables(users=tables.users.assign(campaign="reached 2026-03-22"), as_of=tables.as_of))
    assert sent.effect is None and "control group" in sent.words
    with pytest.raises(BadTable, match="holds “yes”"):
        campaigns(Tables(users=tables.users.assign(campaign="yes"), as_of=tables.as_of))


def test_the_order_of_rows_and_doubled_rows_change_nothing() -> None:
    tables = failing(migration(18, factor=lambda day: 0.05 if 15 <= day < 22 else 1.0), START + 30.5 * DAY, 30)
    mixed = Tables(
        users=tables.users.sample(frac=1, random_state=1),
        sign_ins=pd.concat([tables.sign_ins, tables.sign_ins]).sample(frac=1, random_state=2),
        as_of=tables.as_of,
    )
    assert findings(mixed) == findings(tables)


def test_some_of_the_people_can_be_looked_at_alone() -> None:
    tables = migration(19, country=np.where(np.arange(3000) < 1000, "DE", "FR"))
    figures = Figures(tables)
    parts = [figures.only(country=name).counts for name in ("DE", "FR")]
    assert [each["in_scope"] for each in parts] == [1000, 2000]
    assert sum(each["migrated"] for each in parts) == figures.counts["migrated"]
    assert figures.only(country="").counts == figures.counts
    assert len(figures.only(country="DE").tables.sign_ins) == parts[0]["migrated"]
    with pytest.raises(BadTable, match="no column shoe_size"):
        figures.only(shoe_size="44")


def long_away() -> Tables:
    """All move but the quarter whose last sign-in was in 2020."""
    rows = 400
    old = [number % 4 == 0 for number in range(rows)]
    users = pd.DataFrame(
        {
            "user_id": [f"u{number:03}" for number in range(rows)],
            "flagged_at": "2026-06-01T00:00:00Z",
            "migrated_at": ["" if each else "2026-06-10T10:00:00Z" for each in old],
            "last_legacy_sign_in": [
                f"20{20 if each else 26}-0{1 + number % 5}-{1 + number % 27:02}" for number, each in enumerate(old)
            ],
        }
    )
    sign_ins = pd.DataFrame(
        {"time": "2026-06-20T10:00:00Z", "user_id": users["user_id"], "result_code": 0}
        | dict.fromkeys(("callout_error", "callout_status", "attempts"))
    )
    return Tables(users=users, sign_ins=sign_ins, as_of=pd.Timestamp("2026-06-21"))


def test_a_group_of_dates_that_lags_is_explained_by_its_own_people() -> None:
    found = one(long_away(), "lagging")
    assert "2020" in found.words
    assert "have tried" not in found.words


def test_groups_by_the_last_sign_in_come_after_all_else_that_stands_out() -> None:
    away = long_away()
    users = away.users.assign(app=["Wiki" if number % 8 == 0 else "Shop" for number in range(len(away.users))])
    late = pd.DataFrame(
        {"time": ["2026-06-20T10:00:00Z"] * 2, "action": "Retry", "cause": "wrong", "duration_ms": 5000.0}
    )
    found = findings(Tables(users=users, sign_ins=away.sign_ins, ledger=late, as_of=away.as_of))
    names = [each.name.split(" “")[0] for each in found]
    assert names == ["Lagging: app", "Slow endpoint", "Lagging: last legacy sign in"]


def test_a_filter_offers_bands_of_dates_in_their_order_and_selects_by_them() -> None:
    dates = [f"{2020 + number % 5}-{1 + number % 12:02}-{1 + number % 28:02}" for number in range(200)]
    numbers = [str(number % 7) for number in range(200)]
    figures = Figures(Tables(users=people(200).assign(last_legacy_sign_in=[*dates[:-1], ""], visits=numbers)))
    bands = figures.values("last_legacy_sign_in")
    assert len(bands) == 5 and bands == sorted(bands) and all(" to " in band for band in bands)
    assert sum(figures.only(last_legacy_sign_in=band).counts["in_scope"] for band in bands) == 199
    assert figures.only(last_legacy_sign_in=dates[0]).counts["in_scope"] == dates.count(dates[0])
    assert figures.values("visits") == ["0", "1", "2", "3", "4", "5", "6"]
    wave = figures.tables.users.assign(user_id="p" + figures.tables.users["user_id"])
    wave["flagged_at"] = pd.Timestamp("2026-09-01T00:00Z")
    with_wave = Tables(users=pd.concat([figures.tables.users, wave]), as_of=figures.tables.as_of).until(
        pd.Timestamp("2026-08-01T00:00Z")
    )
    parts = [Figures(with_wave).only(last_legacy_sign_in=band).tables.planned for band in bands]
    assert sum(map(len, parts)) == len(with_wave.planned) - 1 == 199
    assert figures.values("shoe_size") == []


def people(count: int) -> pd.DataFrame:
    return pd.DataFrame({"user_id": [f"u{n}" for n in range(count)], "flagged_at": "2026-06-01", "migrated_at": None})


@pytest.mark.parametrize("typed", [0.95, "0.95", 95, "95", "95 %", "95%", "0,95", " 95.0 % "])
def test_a_target_is_taken_as_people_type_it(typed: float | str) -> None:
    assert Figures(Tables(users=people(3))).aim(typed).target == 0.95


@pytest.mark.parametrize("typed", ["", "most", 0, -1, 101, "101 %", "nan", "0.95.1"])
def test_a_target_that_is_no_share_is_refused_with_what_to_type(typed: float | str) -> None:
    with pytest.raises(BadTable, match="makes no sense") as refused:
        Figures(Tables(users=people(3))).aim(typed)
    assert "95 %" in refused.value.next_step

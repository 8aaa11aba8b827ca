"""Cohorts, reconciliation, campaigns, load, health and abuse, counted by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from story import ledger, sign_ins, told, users

from jitkit.errors import BadTable
from jitkit.progress import figures, findings, outages, states
from jitkit.progress.charts import cohort_chart
from jitkit.progress.cohorts import Campaign, campaigns, cohorts
from jitkit.progress.figures import kaplan_meier, skew, wilson
from jitkit.progress.outages import interruptions
from jitkit.progress.tables import Remark, Tables

START = pd.Timestamp("2026-11-01T00:00Z")


def cells(tables: Tables) -> dict[tuple[str, str, str], tuple[int, bool]]:
    found = states.matrix(tables)
    keys = zip(found["flag"], found["log"], found["ledger"], strict=True)
    return dict(zip(keys, zip(found["users"], found["agree"], strict=True), strict=True))


def test_three_witnesses_are_laid_beside_each_other() -> None:
    assert cells(told()) == {
        ("false", "came in after a call", "MigratePassword"): (1, True),
        ("false", "came in without a call", "nothing"): (1, True),
        ("false", "came in after a call", "UpdatePassword"): (1, True),
        ("true", "turned away after a call", "Block"): (1, True),
        ("true", "the call broke", "Retry"): (1, True),
        ("true", "nothing", "nothing"): (1, True),
    }


@pytest.mark.parametrize(
    ("flag", "log", "line", "words"),
    [
        (None, {"callout_error": 0}, {}, "the flag is still set"),
        (None, {}, {"action": "MigratePassword"}, "Entra did not get the answer"),
        (None, {"callout_error": None}, None, "was not moved"),
        ("2026-11-02T09:01Z", None, None, "no sign-in is logged"),
        ("2026-11-02T09:01Z", {"callout_error": 0}, None, "its ledger was lost"),
        ("2026-11-02T09:01Z", {"callout_error": 1003005, "result_code": 1100001}, {}, "came too late"),
        (None, None, {"action": "Retry", "cause": "wrong"}, "no sign-in in the log"),
    ],
)
def test_each_disagreement_has_a_cause_and_a_remedy(
    flag: str | None, log: dict[str, object] | None, line: dict[str, object] | None, words: str
) -> None:
    broken = {"callout_error": 1003005, "result_code": 1100001} if line == {"action": "MigratePassword"} else {}
    other = sign_ins().head(1).assign(user_id="gus", callout_error=None, correlation_id="c8")
    log_rows = [other] if log is None else [other, sign_ins().head(1).assign(user_id="u", **(broken | log))]
    lines = [ledger().tail(1)] if line is None else [ledger().tail(1), ledger().head(1).assign(user_id="u", **line)]
    person = users().head(1).assign(user_id="u", migrated_at=flag, path=None)
    found = states.matrix(Tables(users=person, sign_ins=pd.concat(log_rows), ledger=pd.concat(lines)))
    assert words in found["cause"][0]
    assert len(found["remedy"][0]) > 20
    assert not found["agree"][0]


def test_calls_that_no_sign_in_made_are_trials_and_no_failed_sign_ins() -> None:
    """As notebook 05 makes them before its people are in the tenant: the directory never had such an id."""
    trial = {"time": "2026-11-02T09:03:30Z", "user_id": "nobody", "duration_ms": 5.0, "attempt": 1}
    refused = trial | {"correlation_id": "t1", "action": None, "cause": "nonce_reused"}
    blocked = trial | {"correlation_id": "t2", "action": "Block", "cause": "locked"}
    tried = Tables(users(), sign_ins(), pd.concat([ledger(), pd.DataFrame([refused, blocked])]))
    pd.testing.assert_frame_equal(figures.failures(tried), figures.failures(told()))
    assert figures.outcomes(tried)["count"].sum() == figures.outcomes(told())["count"].sum() + 2
    (row,) = states.matrix(tried).query("flag == 'not in scope'").to_dict("records")
    assert (row["users"], row["log"]) == (1, "no sign-in") and "tried the endpoint" in row["cause"]
    assert figures.quality(tried).set_index("finding")["rows"]["calls about nobody in scope that no sign-in made"] == 2
    # Of a time that the log does not cover, nobody knows; nor where a sign-in ran the call.
    early = pd.DataFrame([refused | {"time": "2026-11-01T09:00:00Z"}, blocked | {"correlation_id": "c7"}])
    assert not figures.trials(Tables(users(), sign_ins(), pd.concat([ledger(), early]))).any()


def test_ids_that_nobody_flagged_are_strangers_in_the_matrix() -> None:
    line = ledger().head(1).assign(user_id="gus", correlation_id="c9")
    found = states.matrix(Tables(users=users(), ledger=pd.concat([ledger(), line])))
    assert found.loc[found["flag"] == "not in scope", "users"].tolist() == [1]


def test_a_witness_that_was_never_collected_contradicts_nobody() -> None:
    assert states.matrix(Tables(users=users()))["agree"].all()
    assert states.matrix(Tables(users=users(), ledger=ledger()))["agree"].all()
    assert states.matrix(Tables(users=users(), sign_ins=sign_ins()))["agree"].all()


def people(count: int, moved: list[float], *, flagged: pd.Timestamp = START, **more: object) -> pd.DataFrame:
    """`count` users of whom the first are moved so many days after their flag."""
    at = [flagged + pd.Timedelta(days=day) for day in moved] + [pd.NaT] * (count - len(moved))
    ids = [f"{'-'.join(map(str, more.values()))}-{flagged:%d}-{number}" for number in range(count)]
    return pd.DataFrame({"user_id": ids, "flagged_at": flagged, "migrated_at": at}).assign(**more)


def test_a_share_has_an_interval() -> None:
    low, high = wilson(np.array([0, 5, 10]), np.array([10, 10, 10]), 1.959964)
    assert low == pytest.approx([0, 0.23659, 0.72247], abs=1e-4)
    assert high == pytest.approx([0.27753, 0.76341, 1], abs=1e-4)


def test_the_share_at_equal_exposure_is_that_of_the_textbook() -> None:
    # Two of four move on days 1 and 3; one is watched for two days only, one for four.
    days, moved = np.array([1.0, 2.0, 3.0, 4.0]), np.array([True, False, True, False])
    assert kaplan_meier(days, moved, 2.5, 1.96)[0] == pytest.approx(1 - 3 / 4)
    assert kaplan_meier(days, moved, 4.0, 1.96)[0] == pytest.approx(1 - 3 / 4 * 1 / 2)
    share, low, high = kaplan_meier(days, moved, 4.0, 1.96)
    assert 0 <= low < share < high <= 1
    assert kaplan_meier(days[:0], moved[:0], 1.0, 1.96)[0] == 0


def test_the_cohort_that_lags_comes_first_and_a_late_start_is_no_lag() -> None:
    early = people(100, [1.0] * 30 + [8.0] * 40, app="shop")
    late = people(100, [1.0] * 30, flagged=START + pd.Timedelta(days=8), app="forum")
    slow = people(100, [1.0] * 2, app="wiki")
    tables = Tables(users=pd.concat([early, late, slow]), as_of=START + pd.Timedelta(days=10))
    found = cohorts(tables, "app").set_index("cohort")
    assert next(iter(found.index)) == "wiki"
    assert found["users"].sum() == 300
    assert found["lagging"].to_dict() == {"wiki": True, "forum": False, "shop": False}
    assert found["share"].to_dict() == pytest.approx({"wiki": 0.02, "forum": 0.3, "shop": 0.7})
    assert found["fair_share"].to_dict() == pytest.approx({"wiki": 0.02, "forum": 0.3, "shop": 0.3})
    assert found["days"].unique().tolist() == [2.0]
    assert found["behind"]["wiki"] == 28


@pytest.mark.parametrize("since", [0.02, -3.0], ids=["an hour ago", "in three days"])
def test_a_group_that_was_just_flagged_hides_no_lag_of_another(since: float) -> None:
    now = START + pd.Timedelta(days=10)
    early, slow = people(100, [1.0] * 70, app="shop"), people(100, [1.0] * 2, app="wiki")
    new = people(100, [], flagged=now - pd.Timedelta(days=since), app="forum")
    tables = Tables(users=pd.concat([early, slow, new]), as_of=now)
    found = cohorts(tables, "app").set_index("cohort")
    assert found["lagging"].to_dict() == {"wiki": True, "shop": False, "forum": False}
    assert found["days"].unique().tolist() == [10.0]
    assert np.isnan(found["fair_share"]["forum"])
    chart = cohort_chart(tables, "app")
    assert dict(zip(chart.data["group"], chart.data["lags"], strict=True))["forum"] == "too young to compare"
    assert "By app, 1 of 3 groups lags: wiki" in chart.alt


def test_a_pilot_of_long_ago_makes_nobody_else_too_young_and_the_young_come_last() -> None:
    now = START + pd.Timedelta(days=200)
    since = now - pd.Timedelta(days=15)
    pilot, shop = people(25, [1.0] * 15, app="pilot"), people(500, [1.0] * 300, flagged=since, app="shop")
    slow = people(500, [1.0] * 50, flagged=since, app="wiki")
    new = [people(30, [], flagged=now - pd.Timedelta(hours=1), app=f"new {number:02}") for number in range(16)]
    found = cohorts(Tables(users=pd.concat([pilot, shop, slow, *new]), as_of=now), "app").set_index("cohort")
    assert found["days"].unique().tolist() == [15.0]
    assert found.index[:3].tolist() == ["wiki", "pilot", "shop"]
    assert found["lagging"].idxmax() == "wiki" and found["lagging"].sum() == 1
    assert found["fair_share"].isna().sum() == 16


def test_empty_cells_many_values_and_dates_still_make_few_cohorts() -> None:
    frame = people(500, [1.0] * 100, x="y")
    days = pd.Series(pd.date_range(START, periods=500))
    frame = frame.assign(city=[None, *[f"c{n}" for n in range(499)]], last=days.dt.strftime("%Y-%m-%d"), age=range(500))
    frame["spelled"] = days.dt.strftime("%d.%m.%Y")
    tables = Tables(users=frame, as_of=START + pd.Timedelta(days=10))
    for by in ("city", "last", "spelled", "age", "x"):
        found = cohorts(tables, by)
        assert found["users"].sum() == 500
        assert len(found) <= 42
    assert len(cohorts(tables, "last")) == len(cohorts(tables, "age")) == 5
    assert cohorts(tables, "spelled").equals(cohorts(tables, "last"))
    assert "(empty)" in set(cohorts(Tables(users=frame.head(20)), "city")["cohort"])


def test_cohorts_of_nobody_of_one_and_of_an_unknown_column() -> None:
    assert cohorts(Tables(users=users().head(0)), "country").empty
    assert len(cohorts(Tables(users=users().head(1)), "country")) == 1
    with pytest.raises(BadTable, match="no column planet") as refused:
        cohorts(told(), "planet")
    assert "country" in refused.value.next_step


def migration(boost: int) -> tuple[Tables, list[str], list[str]]:
    """200 reached and 200 held back; ten of each move a day, and of those reached some more after day 5."""
    reached = people(200, [day + 0.5 for day in range(5) for _ in range(6)], g="r")
    control = people(200, [day + 0.5 for day in range(10) for _ in range(6)], g="c")
    later = [START + pd.Timedelta(days=day + 0.5) for day in range(5, 10) for _ in range(6 + boost)]
    reached.loc[30 : 29 + len(later), "migrated_at"] = later
    tables = Tables(users=pd.concat([reached, control]).drop(columns="g"), as_of=START + pd.Timedelta(days=10))
    return tables, list(reached["user_id"]), list(control["user_id"])


def mailed(tables: Tables, reached: list[str], control: list[str], day: int = 5) -> Campaign:
    """Write into the users table who was reminded on a day and who was not, and measure it."""
    date = f"{START + pd.Timedelta(days=day):%Y-%m-%d}"
    cells = dict.fromkeys(reached, f"reached {date}") | dict.fromkeys(control, f"control {date}")
    (sent,) = campaigns(
        Tables(users=tables.users.assign(campaign=tables.users["user_id"].map(cells)), as_of=tables.as_of)
    )
    return sent


def test_a_campaign_that_worked_is_told_from_one_that_did_not() -> None:
    sent = mailed(*migration(boost=10))
    found = sent.effect
    assert found is not None and found.days == 5
    # Of 170 still waiting in each group, 80 and 30 moved since; Newcombe's interval of the difference.
    assert found.by_lot and list(found.cells["users"]) == [170, 170] and list(found.cells["migrated"]) == [80, 30]
    assert found.extra == pytest.approx(50)
    assert (found.low, found.high) == (pytest.approx(33.396, abs=0.001), pytest.approx(65.299, abs=0.001))
    assert "more people" in sent.words and "as groups drawn by lot are" in sent.words
    nothing = mailed(*migration(boost=0))
    assert nothing.effect is not None and nothing.effect.low < 0 < nothing.effect.high
    assert "cannot be told" in nothing.words


def test_a_campaign_without_control_or_with_too_few_has_no_known_effect() -> None:
    tables, reached, control = migration(boost=1)
    unflagged = Tables(users=tables.users.drop(columns="flagged_at"), as_of=tables.as_of)
    for sent, words in (
        (mailed(tables, reached, []), "Without a control group"),
        (mailed(tables, reached, control[:20]), "control is too small"),
        (mailed(tables, [], control), "reached is too small"),
        (mailed(tables, reached, control, day=8), "2 whole days"),
        (mailed(unflagged, reached, control), "no flagged_at"),
    ):
        assert sent.effect is None
        assert words in sent.words


def test_groups_that_differ_beforehand_are_compared_by_how_they_changed() -> None:
    tables, reached, control = migration(boost=10)
    apart = tables.users.assign(country=np.where(tables.users["user_id"].isin(reached), "DE", "FR"))
    sent = mailed(Tables(users=apart, as_of=tables.as_of), reached, control)
    found = sent.effect
    assert found is not None and not found.by_lot and "not drawn by lot (they differ by “country”)" in sent.words
    assert list(found.cells["migrated"]) == [30, 80, 30, 30]
    # Two hundred at risk for half of the first day and so on: hand-counted user days before the mail.
    assert found.cells["user_days"][0] == pytest.approx(sum(200 - 6 * day - 3 for day in range(5)))
    assert found.low > 0
    assert found.extra == pytest.approx(50, abs=8)
    early = mailed(Tables(users=apart, as_of=tables.as_of), reached, control, day=1)
    assert "1 whole days" in early.words


def found_in_a_hundred(effect: float) -> int:
    """Simulate 100 mails to half of 3,000 people, drawn by lot; count those that are found to have an effect."""
    dice, found, date = np.random.default_rng(20261129), 0, f"{START + pd.Timedelta(days=10):%Y-%m-%d}"
    ids = [f"u{number:04}" for number in range(3000)]
    for _ in range(100):
        # Most come by themselves, the seldom ones late; the mail brings a share of those still waiting within days.
        comes = dice.exponential(np.where(dice.random(3000) < 0.5, 25.0, 400.0))
        reached = dice.permutation(3000) < 1500
        answers = reached & (dice.random(3000) < effect) & (comes > 10)
        comes = np.where(answers, np.minimum(comes, 10 + dice.exponential(3.0, 3000)), comes)
        moved = START + pd.to_timedelta(np.where(comes < 30, comes, np.nan), unit="D")
        users = pd.DataFrame({"user_id": ids, "flagged_at": START, "migrated_at": moved})
        users["country"] = dice.choice(["DE", "FR"], 3000)
        users["campaign"] = np.where(reached, f"reached {date}", f"control {date}")
        (sent,) = campaigns(Tables(users=users, as_of=START + pd.Timedelta(days=30)))
        assert sent.effect is not None
        found += sent.effect.low > 0 or sent.effect.high < 0
    return found


def test_a_campaign_by_lot_is_found_if_it_worked_and_seldom_if_it_did_not() -> None:
    assert found_in_a_hundred(0.10) >= 95
    assert found_in_a_hundred(0.0) <= 7


def called(count: int, time: str, **more: object) -> pd.DataFrame:
    frame = pd.DataFrame(
        {"time": time, "user_id": [f"u{n}" for n in range(count)], "action": "Retry", "cause": "wrong"}
    )
    return frame.assign(correlation_id=[f"{time}{n}" for n in range(count)], **more)


def test_seconds_near_the_limit_are_found() -> None:
    lines = [
        called(51, "2026-11-02T09:00:00.2Z"),
        called(45, "2026-11-02T09:00:01.9Z"),
        called(44, "2026-11-02T09:00:03Z"),
    ]
    found = figures.busy_seconds(Tables(ledger=pd.concat(lines)))
    assert [f"{time:%H:%M:%S}" for time in found["time"]] == ["09:00:00", "09:00:01"]
    assert (list(found["calls"]), list(found["over"])) == ([51, 45], [True, False])
    log = pd.DataFrame({"time": "2026-11-02T09:00:00Z", "user_id": [f"u{n}" for n in range(30)], "result_code": 0})
    log = log.assign(callout_error=0, attempts=2)
    assert list(figures.busy_seconds(Tables(sign_ins=log))["calls"]) == [60]
    assert figures.busy_seconds(Tables()).empty


def test_retries_are_counted_once_a_sign_in() -> None:
    assert figures.retries(told()) == {"calls": 5, "retried": 2, "share": 0.4}
    assert figures.retries(Tables(ledger=ledger())) == {"calls": 5, "retried": 1, "share": 0.2}
    assert figures.retries(Tables()) == {"calls": 0, "retried": 0, "share": None}


def test_an_outage_that_never_reached_the_endpoint_counts_as_the_page_tells_it() -> None:
    times = [f"2026-11-02T{hour}:{minute:02}:00Z" for hour, minute in (("09", 1), ("09", 5), ("09", 14), ("09", 20))]
    down = pd.DataFrame({"time": times * 2, "user_id": range(8), "action": "Block", "cause": "down"})
    good = ledger().head(1).assign(time="2026-11-02T09:30Z", cause="right")
    alone = down.head(1).assign(time="2026-11-02T15:00:00Z")
    legacy = Tables(
        users=pd.DataFrame({"user_id": range(8), "migrated_at": None}), ledger=pd.concat([down, good, alone])
    )
    found = outages.health(legacy)
    assert (found["outages"], found["outages_at_least"]) == (None, 1)  # without a sign-in log there may be more
    people = [f"u{number}" for number in range(6)]
    log = pd.DataFrame({"user_id": people, "result_code": 1100001, "callout_error": 1003027})
    log["time"] = [f"2026-11-02T0{hour}:00Z" for hour in range(1, 7)]
    unreached = Tables(users=pd.DataFrame({"user_id": people, "migrated_at": None}), sign_ins=log, ledger=ledger())
    found = outages.health(unreached)
    assert (found["outages"], found["outage_minutes"]) == (1, 300.0)
    assert found["outages"] == len(interruptions(unreached))
    assert outages.health(Tables())["outages"] is None


def test_health_counts_the_days_of_the_certificate() -> None:
    tables = told()
    assert outages.health(tables)["certificate_days"] is None
    assert outages.health(tables, pd.Timestamp("2026-11-12T12:00Z"))["certificate_days"] == 10
    assert outages.health(tables, pd.Timestamp("2026-11-01"))["certificate_days"] == -2
    assert outages.health(tables)["over_limit_share"] == pytest.approx(2 / 7, abs=1e-6)
    assert outages.health(Tables())["retry_share"] is None


def test_guessing_replays_and_stolen_lists_show() -> None:
    many = called(12, "2026-11-02T09:10:00Z").assign(user_id="eli", correlation_id=[f"g{n}" for n in range(12)])
    other = [
        ledger().head(1).assign(user_id=None, cause=cause, action=None, correlation_id=f"x{cause}")
        for cause in ("nonce_replayed", "nonce_reused", "token_expired", "unknown_user")
    ]
    stopped = ledger().head(1).assign(user_id="eli", action="Block", cause="too_many_guesses", correlation_id="x9")
    tables = Tables(users=users(), sign_ins=sign_ins(), ledger=pd.concat([ledger(), many, *other, stopped]))
    assert findings.attacks(tables) == {
        "wrong": 14,
        "accounts": 1,
        "most": 14,
        "unknown": 1,
        "replays": 2,
        "strangers": 2,
    }
    found = findings.wrong_passwords(tables).set_index("tries")
    assert found["accounts"].to_dict() == {
        "1": 0,
        "2 to 4": 0,
        "5 to 9": 0,
        "10 to 19": 1,
        "20 to 49": 0,
        "50 or more": 0,
    }


def test_a_wrong_password_in_both_logs_is_one_try() -> None:
    tables = Tables(users=users(), sign_ins=sign_ins(), ledger=ledger().query("correlation_id == 'c6'"))
    assert findings.attacks(tables)["wrong"] == 1


def test_a_password_that_nobody_could_check_is_not_called_wrong() -> None:
    """Entra refuses everybody who waits in an app that the listener leaves out, whatever they type."""
    unasked = sign_ins().tail(1).assign(user_id="fay", result_code=50126)
    log = pd.concat(
        [
            sign_ins(),
            *(unasked.assign(time=f"2026-11-02T09:{minute}Z", correlation_id=f"n{minute}") for minute in range(10, 40)),
            unasked.assign(user_id="ann", time="2026-11-02T09:50Z", correlation_id="n50"),
        ]
    )
    tables = Tables(users=users(), sign_ins=log)
    assert (findings.attacks(tables)["wrong"], findings.attacks(tables)["most"]) == (2, 1)
    # A log that tells of no call at all hides whether the endpoint was asked.
    untold = Tables(users=users(), sign_ins=log.drop(columns="callout_error"))
    assert findings.attacks(untold)["most"] == 30


def test_what_the_legacy_store_got_wrong_is_listed_by_user() -> None:
    found = figures.legacy_data(told()).set_index("finding")
    assert found["users"].to_dict() == {
        "the legacy account is locked": 1,
        "the old password is too weak for Entra": 1,
    }
    assert found["share"].iloc[0] == 0.25
    external = Tables(users=users().assign(identity=["local"] * 5 + ["Federated"]))
    assert list(figures.legacy_data(external)["users"]) == [1]


def test_a_clock_that_is_off_is_measured_named_and_allowed_for() -> None:
    late = ledger().assign(time=pd.to_datetime(ledger()["time"], utc=True, format="ISO8601") + pd.Timedelta(hours=1))
    log = sign_ins().assign(callout_error=0)
    log.loc[len(log)] = log.iloc[5].to_dict() | {
        "time": "2026-11-02T09:20Z",
        "correlation_id": "c8",
        "result_code": 50053,
    }
    extra = late.head(1).assign(user_id="gus", correlation_id="c7", time="2026-11-02T10:05:31Z")
    tables = Tables(users=users(), sign_ins=log, ledger=pd.concat([late, extra]))
    assert skew(tables) == pytest.approx(pd.Timedelta(hours=1), abs=pd.Timedelta(seconds=5))
    assert "seconds between the endpoint's clock and Entra's" in set(figures.quality(tables)["finding"])
    assert skew(told()) == pd.Timedelta(0)


def remarks(tables: Tables) -> dict[str, int]:
    found = figures.quality(tables)
    return dict(zip(found["finding"], found["rows"], strict=True))


def many(count: int) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """So many people who are moved by a call, a minute after each other."""
    ids = [f"u{number}" for number in range(count)]
    times = START + pd.to_timedelta(range(count), unit="min")
    flagged = START - pd.Timedelta(days=1)
    people = pd.DataFrame({"user_id": ids, "flagged_at": flagged, "migrated_at": times, "path": "callout"})
    log = pd.DataFrame({"time": times, "user_id": ids, "result_code": 0, "callout_error": 0, "correlation_id": ids})
    lines = log[["time", "user_id", "correlation_id"]].assign(action="MigratePassword", cause="right")
    return people, log, lines


def test_one_endpoint_whose_clock_differs_from_the_others_is_named() -> None:
    people, log, lines = many(20)
    assert remarks(Tables(users=people, sign_ins=log, ledger=lines)) == {}
    later = lines["time"] + pd.Timedelta(minutes=10)
    two = lines.assign(time=lines["time"].where(np.arange(20) % 3 > 0, later))
    found = remarks(Tables(users=people, sign_ins=log, ledger=two))
    assert found == {"calls whose clock differs from that of most others by more than a minute": 7}


def test_local_times_without_a_zone_are_named_and_days_without_a_time_are_not() -> None:
    people, log, lines = many(20)
    local = people.assign(migrated_at=people["migrated_at"] + pd.Timedelta(hours=2))
    found = remarks(Tables(users=local, sign_ins=log, ledger=lines))
    assert found == {"minutes between the users' times and those of the sign-in log": 120}
    hours = log.assign(time=START + pd.to_timedelta(range(20), unit="h"))
    by_day = people.assign(migrated_at=START.normalize())
    assert "minutes" not in str(remarks(Tables(users=by_day, sign_ins=hours)))


def test_a_hole_in_the_log_is_named_and_a_quiet_log_has_none() -> None:
    days = [f"2026-11-{day:02}T09:{minute:02}Z" for day in (1, 2, 5) for minute in range(25)]
    log = pd.DataFrame({"time": days, "user_id": "u", "result_code": 0})
    assert figures.missing_days(Tables(sign_ins=log)) == ["2026-11-03", "2026-11-04"]
    assert "days without a single sign-in" in set(figures.quality(Tables(sign_ins=log))["finding"])
    assert figures.missing_days(Tables(sign_ins=log.iloc[::25])) == []
    assert figures.missing_days(Tables()) == []


def test_days_without_a_sign_in_are_missing_where_their_week_tells_of_many() -> None:
    times = [START + pd.Timedelta(days=day, hours=9, minutes=row) for day in range(42) for row in range(80)]
    busy = pd.DataFrame({"time": times, "user_id": "u", "result_code": 0})
    log = busy[busy["time"].dt.minute < 8]
    date = log["time"].dt.date.astype("str")
    one, three = ["2026-11-18"], ["2026-11-17", "2026-11-18", "2026-11-19"]
    assert figures.missing_days(Tables(sign_ins=log[~date.isin(one)])) == []
    assert figures.missing_days(Tables(sign_ins=log[~date.isin(three)])) == three
    office = busy[busy["time"].dt.day_of_week < 5]
    assert figures.missing_days(Tables(sign_ins=office)) == []
    closed = office["time"].dt.date.astype("str").isin(one)
    assert figures.missing_days(Tables(sign_ins=office[~closed])) == one
    attack = pd.DataFrame({"time": START.normalize() + pd.to_timedelta(range(1500), unit="s"), "result_code": 50034})
    saturday = attack.assign(user_id="x", time=attack["time"] + pd.Timedelta(days=(5 - START.day_of_week) % 7 + 14))
    assert figures.missing_days(Tables(sign_ins=pd.concat([office, saturday]))) == []
    thursday = START + pd.Timedelta(days=3)
    week = office[office["time"].between(thursday, thursday + pd.Timedelta(days=7))]
    assert figures.missing_days(Tables(sign_ins=week)) == []


def test_what_the_collector_noticed_stands_in_the_list() -> None:
    tables = Tables(
        users=users(), remarks=(Remark("users who vanished", 2, "deleted", "nothing"), Remark("x", 0, "", ""))
    )
    assert list(figures.quality(tables)["finding"]) == ["users who vanished"]
    assert tables.until(pd.Timestamp("2026-11-02T09:02:30")).remarks == tables.remarks

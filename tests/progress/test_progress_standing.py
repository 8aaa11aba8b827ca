"""Where everybody is: parts that sum to all, who is held back by us and who may come, and what to do next."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from story import told

from jitkit.progress.cohorts import cohorts
from jitkit.progress.findings import do_next, findings, is_over, standing, waiting
from jitkit.progress.forecast import forecast
from jitkit.progress.report import Figures
from jitkit.progress.tables import Tables

START, DAY = pd.Timestamp("2026-03-02T00:00Z"), pd.Timedelta(days=1)
DAYS, PEOPLE, DEALERS = 40, 2000, 400


def migration(*, fixed: bool = False) -> Tables:
    """The people of a shop and of a dealers' app that the listener leaves out; half of the dealers live in Poland.

    A third never comes. 200 of the shop's people live in Poland as well and come half as often. Of the dealers 300 have
    tried. If `fixed`, the dealers' rows are not there at all.
    """
    dice = np.random.default_rng(11)
    number = np.arange(PEOPLE + DEALERS)
    dealer, slow = number >= PEOPLE, number < 200
    comes = dice.exponential(np.where(slow, 40.0, 20.0)) + 1000.0 * (dice.random(len(number)) < 0.33) + 1000.0 * dealer
    users = pd.DataFrame({"user_id": [f"u{each:04}" for each in number], "flagged_at": START})
    users["migrated_at"] = START + pd.to_timedelta(np.where(comes < DAYS, comes, np.nan), unit="D")
    users["app"] = np.where(dealer, "Dealers", "Shop")
    users["country"] = np.where(slow | (dealer & (number % 2 == 0)), "PL", np.where(number % 3, "DE", "FR"))
    came = users.dropna(subset="migrated_at")
    log = pd.DataFrame({"time": came["migrated_at"], "user_id": came["user_id"], "result_code": 0, "callout_error": 0})
    # Of the shop, people in every country mistype; Entra refuses the dealers without a call.
    shop = users[users["migrated_at"].isna() & ~dealer].iloc[::4]
    tried = users[dealer].head(300)
    wrong = [pd.DataFrame({"user_id": each["user_id"], "result_code": 50126}) for each in (shop, tried)]
    times = [START + pd.to_timedelta(np.linspace(1, DAYS - 1, len(each)), unit="D") for each in wrong]
    log = pd.concat([log, wrong[0].assign(time=times[0], callout_error=0), wrong[1].assign(time=times[1])])
    line = pd.DataFrame({"time": times[0], "user_id": shop["user_id"], "action": "Retry", "cause": "wrong"})
    kept = users if not fixed else users[~dealer]
    return Tables(users=kept, sign_ins=log, ledger=line, as_of=START + DAYS * DAY)


@pytest.fixture(scope="module")
def figures() -> Figures:
    return Figures(migration())


def test_the_parts_sum_to_everybody(figures: Figures) -> None:
    for each in (figures, Figures(told()), Figures(Tables())):
        parts = each.everybody
        left = parts.get("waiting", 0) + sum(
            parts[name]["estimate"] for name in ("coming", "unlikely") if name in parts
        )
        known = sum(parts[name] for name in ("confirmed", "unconfirmed", "not_covered", "held_back", "blocked"))
        assert known + left == each.counts["in_scope"] == len(standing(each.tables))
        assert sum(parts["held_back_by"].values()) == parts["held_back"]
    coming, unlikely = figures.everybody["coming"], figures.everybody["unlikely"]
    assert coming["low"] <= coming["estimate"] <= coming["high"]
    assert coming["low"] + unlikely["high"] == coming["high"] + unlikely["low"]


def test_who_is_turned_away_by_us_is_not_counted_among_those_who_never_come(figures: Figures) -> None:
    assert figures.everybody["held_back"] == DEALERS
    alone = forecast(migration(fixed=True), with_backtest=False)
    assert alone.never_return is not None and figures.forecast.never_return is not None
    # The same people as if there were no dealers: about a third of the shop's.
    never, shop = (
        figures.forecast.never_return["estimate"] * (PEOPLE + DEALERS),
        alone.never_return["estimate"] * PEOPLE,
    )
    assert never == pytest.approx(shop, abs=2)
    everybody = forecast(figures.tables, with_backtest=False).never_return
    assert everybody is not None and everybody["estimate"] * (PEOPLE + DEALERS) > never + 150
    assert figures.answers["Who never comes back?"].endswith(
        "Not counted here: 400 people whom we hold back ourselves."
    )


def test_without_the_whole_log_it_is_open_who_is_held_back(figures: Figures, tmp_path: Path) -> None:
    alone = Figures(Tables(users=figures.tables.users, as_of=figures.tables.as_of))
    parts = alone.everybody
    assert (parts["confirmed"], parts["unconfirmed"], parts["not_covered"]) == (0, 0, alone.counts["migrated"])
    assert "only a sign-in log of the whole time would show" in alone.answers["Who never comes back?"]
    page = alone.report(tmp_path).read_text(encoding="utf-8")
    assert "Held back by us, at least" in page and "Moved, and a sign-in confirms it, at least" in page
    assert "There is no log to compare the flag with." in page
    assert "agree about" not in page and "contradicts itself" not in page
    assert "or send a reminder" in do_next(alone.tables)["action"].iloc[0]
    whole = html.unescape(figures.report(tmp_path / "whole").read_text(encoding="utf-8"))
    assert "The flag, the sign-in log and the endpoint's ledger agree about" in whole


def test_a_groups_reasons_are_compared_with_those_of_the_others(figures: Figures) -> None:
    """Half of the dealers live in Poland, whose other people are slow: the listener is not why Poland lags."""
    found = {each.words.split(":")[0]: each for each in figures.findings if each.kind == "lagging"}
    dealers, poland = found["By app, “Dealers”"], found["By country, “PL”"]
    assert "300 tried, and the endpoint was not asked" in dealers.words and "listener" in dealers.next_step
    assert "not asked" not in poland.words and poland.next_step == "Remind these people."
    assert next(iter(found)) == "By app, “Dealers”"  # more can be done than to remind


def test_what_to_do_next_says_how_many_people_each_of_several_causes_has(figures: Figures) -> None:
    """Waiting people of one action have causes of their own, which sum to its people."""
    for step in do_next(figures.tables).itertuples():
        causes = step.because.split("; ")
        counts = [int(each.split()[0].replace(",", "")) for each in causes if each[0].isdigit()]
        assert counts == sorted(counts, reverse=True)
        assert sum(counts) == step.people if len(causes) > 1 else not counts
    assert do_next(figures.tables)["because"].str.match(r"\d+ .+; \d+ .+").any()


def test_what_to_do_next_names_owner_people_and_the_list(figures: Figures, tmp_path: Path) -> None:
    steps = do_next(figures.tables)
    assert steps["people"].sum() == figures.counts["remaining"]
    first = steps.iloc[0]
    assert (first["people"], first["brings"], first["owner"]) == (DEALERS, DEALERS, "administrator of the tenant")
    assert "listener" in first["action"] and "not asked" in first["because"]
    reminder = steps[steps["owner"] == "sender of reminders"].iloc[0]
    assert pd.isna(reminder["brings"])  # no campaign has measured it
    brings = steps["brings"].dropna()
    assert list(brings) == sorted(brings, reverse=True)

    page = html.unescape(figures.report(tmp_path).read_text(encoding="utf-8"))
    bar, rests, step, answers, past = map(
        page.index,
        ('<div class="bar"', "The logs reach over", "Do next</h2>", "How many moved?", "What stands out</h2>"),
    )
    assert bar < rests < step < answers < past
    assert (
        "300 tried, and the endpoint was not asked; 100 more of a group in which almost nobody has moved: "
        "for most of those who tried, the endpoint was not asked" in page
    )
    pace = figures.answers["How fast?"].split(" people a day")[0]
    assert f"and {pace} a day in the last 7 days" in page  # the same number as in the answer
    for answer in figures.answers.values():
        assert page.count(answer.split(". ")[0]) == 1
    listed = pd.read_csv(tmp_path / "stragglers.csv")["do_next"].value_counts()
    assert listed.to_dict() == steps.set_index("action")["people"].to_dict()
    found = json.loads((tmp_path / "metrics.json").read_text())
    assert found["everybody"]["held_back"] == DEALERS and found["do_next"][0]["brings"] == DEALERS


def test_the_chance_to_come_is_given_to_those_of_whom_it_can_be_known(figures: Figures, tmp_path: Path) -> None:
    users = figures.tables.users
    staged = users.tail(1).assign(user_id="new", flagged_at=pd.NaT, migrated_at=pd.NaT)
    later = users.tail(1).assign(user_id="later", flagged_at=START + (DAYS + 5) * DAY, migrated_at=pd.NaT)
    shut = users[users["migrated_at"].isna() & (users["app"] == "Shop")]["user_id"].iloc[0]
    disabled = pd.DataFrame({"user_id": [shut], "time": START + 39 * DAY, "result_code": 50057})
    log = pd.concat([figures.tables.sign_ins, disabled])
    tables = Tables(pd.concat([users, staged, later]), log, figures.tables.ledger, as_of=figures.tables.as_of)
    found = Figures(tables)
    found.report(tmp_path)
    listed = pd.read_csv(tmp_path / "stragglers.csv", index_col="user_id")
    assert listed.columns[-1] == "chance_30_days"
    given, part = listed["chance_30_days"].dropna(), standing(tables)
    assert set(given.index) == set(part.index[part == "waiting"]) - {"new", "later"}
    assert {"held_back", "blocked"} <= set(part[listed.index[listed["chance_30_days"].isna()]])
    assert given.sum() == pytest.approx(found.forecast.chances.sum(), abs=len(given) * 0.0005)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "chance_30_days says how likely" in page and "by the time since the flag" in page
    early = Figures(told())
    early.report(tmp_path)
    assert pd.read_csv(tmp_path / "stragglers.csv")["chance_30_days"].isna().all()
    assert "chance_30_days" not in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_a_campaign_by_lot_says_what_the_next_reminder_brings(figures: Figures) -> None:
    users = figures.tables.users.copy()
    dice = np.random.default_rng(3)
    users["campaign"] = dice.choice(["reached 2026-03-22", "control 2026-03-22"], len(users))
    open_then = ~(users["migrated_at"] < START + 20 * DAY) & (users["app"] == "Shop")
    answers = open_then & users["campaign"].str.startswith("reached") & (dice.random(len(users)) < 0.3)
    users.loc[answers, "migrated_at"] = START + 22 * DAY
    tables = Tables(users=users, sign_ins=figures.tables.sign_ins, as_of=figures.tables.as_of)
    steps = do_next(tables)
    (reminder,) = steps[steps["owner"] == "sender of reminders"].itertuples()
    assert 0.1 * reminder.people < reminder.brings < 0.35 * reminder.people


def test_an_attempt_that_broke_on_our_side_holds_back_while_it_is_recent(figures: Figures) -> None:
    waits = figures.tables.users.query("app == 'Shop' and migrated_at.isna()")["user_id"].iloc[1:3].tolist()
    broken = pd.DataFrame({"user_id": waits, "time": [START + 5 * DAY, START + (DAYS - 1) * DAY]})
    broken = broken.assign(result_code=1100001, callout_error=1003005)
    tables = Tables(users=figures.tables.users, sign_ins=pd.concat([figures.tables.sign_ins, broken]))
    assert waiting(tables).loc[waits, "held"].tolist() == [False, True]
    steps = do_next(tables).set_index("because")
    over, now = (
        steps[steps.index.str.contains("sign-in broke|failed: ")].sort_values("owner", ascending=False).itertuples()
    )
    assert over[0] == "tried more than a week ago, and the sign-in broke"
    assert (over.people, over.owner, over.action) == (1, "sender of reminders", "Ask these people to try again.")
    assert (now.people, now.owner) == (1, "operator of the endpoint")
    listed = Figures(tables).frames["stragglers"].set_index("user_id").loc[waits]
    assert listed["do_next"].tolist() == [over.action, now.action]
    assert listed["last_cause"].str.startswith("failed: ").all()


def test_causes_of_one_outage_are_one_action(figures: Figures) -> None:
    waits = figures.tables.users.query("app == 'Shop' and migrated_at.isna()")["user_id"].iloc[1:4].tolist()
    asked = pd.DataFrame(
        {"user_id": waits, "time": START + (DAYS - 1) * DAY, "action": "Block", "correlation_id": waits}
    )
    asked = asked.assign(cause=["down", "breaker_open", "breaker_open"])
    steps = do_next(Tables(figures.tables.users, figures.tables.sign_ins, asked))
    (outage,) = steps[steps["owner"] == "owner of the old system"].itertuples()
    assert (outage.people, outage.because.count("; ")) == (3, 1)


def test_what_is_true_now_comes_before_what_is_over(figures: Figures) -> None:
    waits = figures.tables.users.query("app == 'Shop' and migrated_at.isna()")["user_id"].head(8).tolist()
    since = START + 10.5 * DAY
    down = pd.DataFrame({"time": since + pd.to_timedelta(range(0, 300, 10), unit="s"), "result_code": 1100001})
    down = down.assign(user_id=[waits[row % 8] for row in range(30)], callout_error=1003027)
    tables = Tables(figures.tables.users, pd.concat([figures.tables.sign_ins, down]), as_of=figures.tables.as_of)
    found = findings(tables)
    over = [is_over(each, tables.as_of) for each in found]
    assert over == sorted(over) and over[0] is False and over[-1]
    (outage,) = (each for each in found if each.kind == "interruption")
    assert outage.next_step.startswith("It is over.")
    then = Tables(tables.users, tables.sign_ins).until(since + DAY)
    (outage,) = (each for each in findings(then) if each.kind == "interruption")
    assert not is_over(outage, then.as_of) and not outage.next_step.startswith("It is over.")


def test_moves_that_no_table_dates_are_counted_and_give_no_pace_no_forecast_and_no_laggards() -> None:
    """A list of users says who is moved, and audits of the last days say when of a few alone."""
    users, read_at = migration().users, START + DAYS * DAY + pd.Timedelta(hours=10)
    users["migrated_at"] = users["migrated_at"].mask(users["migrated_at"] < read_at - 5 * DAY, read_at)
    figures = Figures(Tables(users=users, no_time=int((users["migrated_at"] == read_at).sum())))
    moved = users["migrated_at"].notna().sum()
    assert figures.counts["migrated"] == moved > 1000
    said = rf"of [\d,]+ of the {moved:,} people who moved, no table says when"
    for question in ("How fast?", "Who never comes back?", "When may the old system be switched off?"):
        assert re.search(said, figures.answers[question]), figures.answers[question]
    assert figures.pace().data.empty
    assert cohorts(figures.tables, "country")["fair_share"].isna().all()
    assert "half of them" not in figures.curve().title

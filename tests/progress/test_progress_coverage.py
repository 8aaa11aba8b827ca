"""A log that ends early, begins late, was cut, is empty or absent: nothing follows from its silence."""

from __future__ import annotations

import html
import json
from pathlib import Path

import pandas as pd
import pytest

from jitkit.progress.report import Figures
from jitkit.progress.states import stragglers, summary
from jitkit.progress.table_files import read_table
from jitkit.progress.tables import Tables

FLAGGED, AS_OF, DAY = pd.Timestamp("2026-03-01T00:00Z"), pd.Timestamp("2026-03-21T12:00Z"), pd.Timedelta(days=1)
# 20 people move, one a day; one of them by hand, without a sign-in. Five try in vain on the third day, 15 never try.
MOVED, TRIED, BY_HAND = 20, 5, 7
CLAIMS = ("have not tried", "never tried", "no sign-in since confirms", "no outage", "which confirms it", "All of them")


def users() -> pd.DataFrame:
    moved = [FLAGGED + day * DAY + DAY / 2 for day in range(1, MOVED + 1)]
    ids = [f"p{number:02}" for number in range(MOVED + 20)]
    return pd.DataFrame({"user_id": ids, "flagged_at": FLAGGED, "migrated_at": [*moved, *[pd.NaT] * 20]})


def log() -> pd.DataFrame:
    rows = [(FLAGGED + day * DAY + DAY / 2, f"p{day - 1:02}", 0) for day in range(1, MOVED + 1) if day != BY_HAND]
    rows += [(FLAGGED + 3 * DAY, f"p{MOVED + number}", 50126) for number in range(TRIED)]
    # People who are not in scope make every day usual.
    rows += [(FLAGGED + day * DAY + DAY * hour / 24, "other", 0) for day in range(21) for hour in range(0, 24, 2)]
    return pd.DataFrame(rows, columns=["time", "user_id", "result_code"])


def tables(**logs: pd.DataFrame) -> Tables:
    return Tables(users=users(), as_of=AS_OF, **logs)


def cut_to(rows: int) -> pd.DataFrame:
    more = pd.DataFrame({"time": pd.date_range(FLAGGED, AS_OF, rows - len(log())), "user_id": "other"})
    return pd.concat([log(), more.assign(result_code=0)])


PARTS = {
    "absent": (pd.DataFrame(), "There is no sign-in log", 0),
    "empty": (log().head(0), "The sign-in log has no row", 0),
    "ends": (log()[log()["time"] < FLAGGED + 11 * DAY], "The sign-in log ends on 11 Mar 2026, 10 days too early", 9),
    "begins": (log()[log()["time"] > FLAGGED + 11 * DAY], "The sign-in log begins on 12 Mar 2026, 11 days after", 10),
    "cut": (cut_to(10_000), "The sign-in log has exactly 10,000 rows", 19),
}


def test_a_whole_log_says_who_never_tried_and_whose_move_nothing_confirms() -> None:
    found = summary(tables(sign_ins=log()))
    assert found["states"]["never_seen"] == 15 and found["states"]["unconfirmed"] == 1
    assert (found["confirmed"], found["confirmed_at_least"]) == (19, 19)
    assert found["coverage"]["sign_ins"]["complete"] and found["coverage"]["sign_ins"]["unknown"] == ""
    assert not found["coverage"]["ledger"]["unknown"]  # no sign-in asked the endpoint
    assert summary(tables(sign_ins=cut_to(10_001)))["confirmed"] == 19


@pytest.mark.parametrize("part", PARTS)
def test_a_log_that_is_not_whole_is_named_first_and_no_figure_follows_from_its_silence(
    part: str, tmp_path: Path
) -> None:
    given, words, confirmed = PARTS[part]
    figures = Figures(tables(sign_ins=given))
    page = html.unescape(figures.report(tmp_path).read_text(encoding="utf-8"))
    assert page.index(words) < page.index("How many moved?") and words in figures.in_words()
    assert [claim for claim in CLAIMS if claim in page] == []

    found = json.loads((tmp_path / "metrics.json").read_text())
    by_state = found["states"]
    assert (found["confirmed"], found["confirmed_at_least"]) == (None, confirmed)
    assert (found["missing_days"], found["health"]["outages"]) == (None, None)
    assert words in found["coverage"]["sign_ins"]["unknown"] and not found["coverage"]["sign_ins"]["complete"]
    assert sum(by_state.values()) == 40 and by_state["never_seen"] == 0
    # Where the log reaches from the move on, what it does not show still counts.
    by_hand = by_state["unconfirmed"]
    assert by_hand + by_state["not_covered"] == MOVED - confirmed and by_hand == 0

    listed = pd.read_csv(tmp_path / "stragglers.csv")
    assert sorted(listed["user_id"]) == [f"p{number}" for number in range(MOVED, MOVED + 20)]
    assert not listed["last_cause"].str.contains("never tried").any()


def test_who_moved_while_a_late_log_was_kept_is_judged_by_it() -> None:
    by_hand = users().assign(migrated_at=users()["migrated_at"].where(users()["user_id"] != "p06", AS_OF - 3 * DAY))
    late = log()[log()["time"] > FLAGGED + 11 * DAY]
    found = summary(Tables(users=by_hand, sign_ins=late, as_of=AS_OF))["states"]
    assert (found["unconfirmed"], found["not_covered"]) == (1, 9)


def test_a_move_on_a_missing_day_is_not_called_unconfirmed() -> None:
    hole = log()[log()["time"].dt.day != 8]  # the day on which p06 was moved by hand, and had a usual number of rows
    more = pd.DataFrame({"time": pd.date_range(FLAGGED, AS_OF, 2_001), "user_id": "other", "result_code": 0})
    both = tables(sign_ins=pd.concat([hole, more[more["time"].dt.day != 8]]))
    assert summary(both)["missing_days"] == ["2026-03-08"]
    assert stragglers(both)["state"].value_counts().to_dict() == {"never_seen": 15, "attempted": TRIED}
    assert "1 day without any sign-in: 2026-03-08" in Figures(both).in_words()


def test_the_size_of_a_selection_is_not_taken_for_that_of_the_log() -> None:
    everybody = users().assign(app=["early" if number < 5 else "late" for number in range(40)])
    few = Figures(Tables(users=everybody, sign_ins=log(), as_of=AS_OF)).only(app="early")
    assert summary(few.tables)["confirmed"] == 5


def test_rows_are_counted_as_the_file_has_them(tmp_path: Path) -> None:
    lines = [f"2026-03-02T00:00:00Z,noise {row}" for row in range(9_999)]
    line = '2026-03-02T00:00:00Z,"{""time"": ""2026-03-02T00:00:00Z"", ""action"": ""Retry"", ""cause"": ""wrong""}"'
    (tmp_path / "traces.csv").write_text("\n".join(["TimeGenerated,Message", *lines, line]), encoding="utf-8")
    ledger = read_table(tmp_path / "traces.csv", "ledger")
    assert len(ledger) == 1
    found = summary(tables(sign_ins=log(), ledger=ledger))["coverage"]["ledger"]
    assert found["unknown"].startswith("The endpoint's ledger has exactly 10,000 rows")


def test_a_ledger_has_to_reach_as_far_as_the_log_shows_calls() -> None:
    called = log().assign(callout_error=0)
    line = pd.DataFrame({"time": [FLAGGED + 4 * DAY], "action": ["Retry"], "cause": ["wrong"]})
    found = summary(tables(sign_ins=called, ledger=line))["coverage"]["ledger"]
    assert "The endpoint's ledger ends on 5 Mar 2026, 17 days too early" in found["unknown"]
    assert "The endpoint's ledger begins on 5 Mar 2026" in found["unknown"]
    assert summary(tables(sign_ins=called))["coverage"]["ledger"]["unknown"].startswith("There is no endpoint's ledger")


def test_a_tenant_whose_clock_is_weeks_ahead_is_covered_as_any_other() -> None:
    later = pd.Timestamp.now("UTC").floor("D") - 5 * DAY - FLAGGED
    people, called = users(), log().assign(callout_error=0)
    called["time"] += later
    for name in ("flagged_at", "migrated_at"):
        people[name] += later
    lines = called[["time"]].assign(action="Retry", cause="wrong")
    found = summary(Tables(users=people, sign_ins=called, ledger=lines, as_of=AS_OF + later))
    assert {name: each["unknown"] for name, each in found["coverage"].items()} == {
        "users": "",
        "sign_ins": "",
        "ledger": "",
    }

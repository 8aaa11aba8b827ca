"""What changed since the last report: a row a report, the changes in words and numbers, and what needs action."""

from __future__ import annotations

import html
import json
from pathlib import Path

import pandas as pd
import pytest
from story import told

from helpers.__main__ import main
from jitkit.errors import BadTable
from jitkit.progress import history
from jitkit.progress.report import Figures
from jitkit.progress.tables import Tables

START, DAY = pd.Timestamp("2026-03-02T00:00Z"), pd.Timedelta(days=1)
DOWN = START + 20.5 * DAY


def migration() -> Tables:
    """400 people, ten a day from 3 March; 50 dealers whom nobody asks about; an outage of half an hour on 22 March."""
    comes = [START + (1 + place // 10) * DAY for place in range(350)] + [pd.NaT] * 50
    users = pd.DataFrame({"user_id": [f"u{n:03}" for n in range(400)], "flagged_at": START, "migrated_at": comes})
    users["app"] = ["Shop"] * 350 + ["Dealers"] * 50
    came = users.dropna(subset="migrated_at")
    log = pd.DataFrame({"time": came["migrated_at"], "user_id": came["user_id"], "result_code": 0, "callout_error": 0})
    turned_away = pd.DataFrame({"time": [START + (place / 2) * DAY for place in range(50)], "result_code": 50126})
    turned_away["user_id"] = users["user_id"].tail(50).to_numpy()
    broken = pd.DataFrame({"time": DOWN + pd.to_timedelta(range(0, 1800, 60), unit="s"), "result_code": 1100001})
    broken = broken.assign(user_id=[f"u{300 + row % 8}" for row in range(30)], callout_error=1003027)
    return Tables(users=users, sign_ins=pd.concat([log, turned_away, broken]), as_of=START + 30 * DAY)


def at(days: float) -> Figures:
    return Figures(migration().until(START + days * DAY))


def test_the_first_report_and_its_repetition_have_nothing_earlier_and_all_that_is_open_needs_action(
    tmp_path: Path,
) -> None:
    changes = at(15).write(tmp_path)
    assert changes.since is None and str(changes).startswith("This folder holds no report of an earlier moment")
    assert at(15).write(tmp_path) == changes
    assert "Lagging: app “Dealers”" in changes.trouble


def test_the_next_report_counts_what_moved_who_is_held_back_and_what_is_new(tmp_path: Path) -> None:
    at(15).report(tmp_path)
    changes = at(21).write(tmp_path)
    assert (changes.since, changes.counts["migrated"]) == (START + 15 * DAY, 60)
    assert changes.counts["in_scope"] == 0 and sum(changes.held_back_by.values()) == changes.counts["held_back"]
    assert changes.new == changes.trouble == ("Outage of 22 Mar 2026",)
    assert "60 more people are moved" in str(changes) and "New: Outage of 22 Mar 2026." in str(changes)


def test_what_is_over_is_gone_and_is_not_new_again(tmp_path: Path) -> None:
    at(21).report(tmp_path)
    later = at(29).write(tmp_path)
    assert "Outage of 22 Mar 2026" in later.gone and not later.new and not later.trouble
    assert "No longer: Outage of 22 Mar 2026" in str(later)
    assert at(30).write(tmp_path).gone == ()


def test_an_outage_between_two_reports_is_new_though_it_is_over(tmp_path: Path) -> None:
    at(15).report(tmp_path)
    changes = at(30).write(tmp_path)
    assert "Outage of 22 Mar 2026" in changes.new and "Outage of 22 Mar 2026" not in changes.trouble


def test_a_report_of_the_same_moment_replaces_its_row_and_compares_with_the_one_before(tmp_path: Path) -> None:
    for days in (21, 15, 21):
        at(days).report(tmp_path)
    rows = pd.read_csv(tmp_path / history.FILE)
    assert rows["as_of"].tolist() == ["2026-03-17T00:00:00Z", "2026-03-23T00:00:00Z"]
    assert rows["migrated"].tolist() == [150, 210]
    assert at(21).write(tmp_path).since == START + 15 * DAY
    assert at(15).write(tmp_path).since is None


def test_a_log_that_is_no_longer_complete_needs_action(tmp_path: Path) -> None:
    at(15).report(tmp_path)
    cut = migration()
    log = cut.sign_ins[cut.sign_ins["time"] < START + 14 * DAY]
    ends = Figures(Tables(users=cut.users, sign_ins=log, as_of=START + 19 * DAY)).write(tmp_path)
    assert "Incomplete: sign-in log" in ends.trouble


def test_the_page_and_the_metrics_say_what_changed(tmp_path: Path) -> None:
    at(15).report(tmp_path)
    page = html.unescape(at(21).report(tmp_path).read_text(encoding="utf-8"))
    bar, rests, changed, step = map(page.index, ('<div class="bar"', "Sign-ins: ", "60 more people", "Do next</h2>"))
    assert bar < rests < changed < step
    found = json.loads((tmp_path / "metrics.json").read_text())
    assert found["since_last"]["since"] == "2026-03-17T00:00:00Z"
    assert found["since_last"]["counts"]["migrated"] == 60 and found["since_last"]["new"] == ["Outage of 22 Mar 2026"]


@pytest.mark.parametrize("content", ["as_of;migrated\n", "", "as_of,migrated\nsoon,3\n", "\x00"])
def test_a_history_that_another_program_changed_is_refused_and_kept(tmp_path: Path, content: str) -> None:
    (tmp_path / history.FILE).write_text(content)
    with pytest.raises(BadTable, match="no history of reports") as refused:
        Figures(told()).report(tmp_path)
    assert "Move it away" in str(refused.value)
    assert [path.name for path in tmp_path.iterdir()] == [history.FILE]
    assert (tmp_path / history.FILE).read_text() == content


@pytest.mark.parametrize(
    "cell", [{"held_back_by": "[]"}, {"held_back_by": "3"}, {"findings": "3"}, {"findings": "[{}]"}]
)
def test_a_history_whose_lists_are_none_is_refused(tmp_path: Path, cell: dict[str, str]) -> None:
    row = history.row(told(), {"held_back_by": {}}, [])
    pd.DataFrame([row | cell]).to_csv(tmp_path / history.FILE, index=False)
    with pytest.raises(BadTable, match="no history of reports"):
        history.read(tmp_path)


def test_nothing_to_report_leaves_no_row(tmp_path: Path) -> None:
    Figures(Tables()).report(tmp_path)
    assert not (tmp_path / history.FILE).exists()


def test_the_command_ends_with_its_own_status_only_when_asked_and_only_for_new_trouble(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tables = migration()
    for kind in ("users", "sign_ins"):
        getattr(tables, kind).to_parquet(tmp_path / f"{kind}.parquet")
    command = ["report", str(tmp_path / "users.parquet"), str(tmp_path / "sign_ins.parquet"), "--out"]
    out = str(tmp_path / "out")
    assert main([*command, out, "--as-of", "2026-03-17"]) == 0
    assert main([*command, out, "--as-of", "2026-03-19", "--exit-code"]) == 0
    mail = tmp_path / "mails" / "week.eml"
    assert main([*command, out, "--as-of", "2026-03-23", "--exit-code", "--mail-out", str(mail)]) == 3
    assert b"Subject: Password migration: 210 of 400 moved (52 %) on 23 Mar 2026, 1 new to act on" in mail.read_bytes()
    said = capsys.readouterr()
    assert "Needs action: Outage of 22 Mar 2026." in said.err and "Report     " in said.out
    assert main([*command, str(tmp_path / "other"), "--as-of", "2026-03-19"]) == 0

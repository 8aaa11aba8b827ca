"""Charts say in words what they show, and draw it."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image
from story import told, users

from jitkit.progress import charts, figures
from jitkit.progress.charts import Chart
from jitkit.progress.forecast import Forecast
from jitkit.progress.report import Figures
from jitkit.progress.tables import Tables


def all_charts(figures: Figures) -> list[Chart]:
    return [figures.curve(), figures.outcomes(), figures.failures(), figures.latency(), figures.remaining()]


def test_the_words_are_made_of_the_numbers() -> None:
    curve, outcomes, failures, latency, remaining = all_charts(Figures(told()))
    assert curve.title == "3 of 6 users have moved, half of them by 2 Nov 2026 09:02 UTC"
    assert curve.note.endswith("those still waiting. As of 2 Nov 2026 09:05 UTC.")
    assert curve.alt == (
        "Migrated users rise from 0 on 2 Nov 2026 09:00 UTC to 3 of 6 (50.0 %) on 2 Nov 2026 09:05 UTC: "
        "1 by a call, 1 silently, 1 by a new password."
    )
    assert outcomes.alt.startswith("Answers of the endpoint to 6 calls: Retry 2")
    assert failures.alt == (
        "Causes of 2 failed sign-ins: no answer within 2,000 ms (1003005) 1, the legacy account is locked (locked) 1."
    )
    assert "99 % within 2,476 ms; 2 took longer than the 2,000 ms" in latency.alt
    assert latency.title == "99 % of the calls were answered within 2,476 ms; 2 took over 2,000 ms"
    assert remaining.title == "1 of 3 users: blocked: the legacy account is locked"


@pytest.mark.parametrize("tables", [told(), Tables(), Tables(users=users().head(1)), Tables(users=users().tail(1))])
def test_every_chart_is_a_picture_with_alt_text_caption_and_table(tables: Tables) -> None:
    for chart in all_charts(Figures(tables)):
        image = Image.open(io.BytesIO(chart.png))
        assert (image.format, image.width > 600) == ("PNG", True)
        page = chart._repr_html_()
        assert re.search(r'<figure.*<img src="data:image/png;base64,[^"]{99,}" alt="[^"]{10,}".*<figcaption>', page)
        folded = re.search("<summary>The numbers</summary>(<div [^>]*>)?<table", page)
        assert (folded is None) is chart.data.empty
        assert repr(chart) == f"{chart.title}\n{chart.alt}"


@pytest.mark.parametrize(
    ("span", "label"),
    [("90s", "Seconds since"), ("40min", "Minutes since"), ("30h", "Hours since"), ("60D", "Day (UTC)")],
)
def test_the_time_axis_fits_the_migration(span: str, label: str) -> None:
    start = pd.Timestamp("2026-11-02T09:00Z")
    moved = pd.date_range(start, start + pd.Timedelta(span), periods=50)
    frame = pd.DataFrame({"user_id": map(str, range(50)), "flagged_at": start, "migrated_at": moved})
    (ax,) = charts.curve_chart(Tables(users=frame.assign(path="callout"))).picture().axes
    assert ax.get_xlabel().startswith(label)
    assert ax.get_ylim()[0] == 0
    assert min(text.get_fontsize() for text in [*ax.get_xticklabels(), *ax.texts, ax.xaxis.label]) >= 10


def test_half_moved_on_the_day_on_which_the_middle_one_did() -> None:
    frame = users().assign(migrated_at=[f"2026-11-{n:02}T13:00Z" for n in range(3, 9)])
    title = charts.curve_chart(Tables(users=frame, as_of=pd.Timestamp("2026-11-20T00:00Z"))).title
    assert title == "6 of 6 users have moved, half of them by 5 Nov 2026"


def test_labels_at_the_ends_of_lines_do_not_cover_each_other() -> None:
    frame = users().assign(path=["callout", "silent", "reset", None, None, None])
    (ax,) = charts.curve_chart(Tables(users=frame)).picture().axes
    heights = sorted(text.xy[1] for text in ax.texts if text.get_text().startswith(" "))
    assert len(heights) == 5
    assert min(b - a for a, b in pairwise(heights)) > 0.4


def test_cells_are_escaped() -> None:
    line = told().ledger.tail(1).assign(action="Block", cause="<script>alert(1)</script>", correlation_id="c1")
    assert "<script>" not in Figures(Tables(ledger=line)).failures()._repr_html_()


def test_totals_stand_in_a_table() -> None:
    figures = Figures(told())
    assert repr(figures) == "<Figures: 3 of 6 users migrated, as of 2 Nov 2026 09:05 UTC>"
    assert dict(figures.totals().rows) == {
        "In scope": "6",
        "Migrated": "3 (50.0 %)",
        "… by a call": "1",
        "… silently": "1",
        "… by a new password": "1",
        "Not moved yet": "3",
        "… of them blocked": "1",
    }


def test_the_module_is_light_until_it_is_used() -> None:
    heavy = "{'pandas', 'matplotlib', 'matplotlib.pyplot'}"
    code = f"import sys, jitkit.progress; sys.exit(bool({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2]).returncode == 0


@pytest.mark.parametrize(
    ("days", "words"),
    [(1, "1 Nov 2026 is the first day."), (2, "On the one whole day it was 2."), (4, "On the last 3 whole days")],
)
def test_the_first_days_are_named_one_by_one(days: int, words: str) -> None:
    days_of = pd.date_range("2026-11-01", periods=days, tz="UTC")
    frame = pd.DataFrame({"user_id": map(str, range(2 * days)), "flagged_at": days_of[0]})
    frame["migrated_at"] = [day + pd.Timedelta(hours=1) for day in days_of for _ in range(2)]
    chart = charts.pace_chart(Tables(users=frame), [])
    (ax,) = chart.picture().axes
    assert words in chart.alt
    assert [text.get_text() for text in ax.get_xticklabels()] == [f"{day.day} Nov\n2026" for day in days_of]


AS_OF = pd.Timestamp("2026-03-30T00:00Z")


def thirty_days() -> Tables:
    """500 users, ten of whom move on each of thirty days."""
    moved = [AS_OF - pd.Timedelta(days=day) for day in range(30) for _ in range(10)] + [pd.NaT] * 200
    frame = pd.DataFrame({"user_id": map(str, range(500)), "flagged_at": AS_OF - pd.Timedelta(days=30)})
    return Tables(users=frame.assign(migrated_at=moved), as_of=AS_OF)


def ahead() -> Forecast:
    days = pd.DataFrame({"date": pd.date_range("2026-03-30", periods=61, tz="UTC")})
    days["migrated_low"] = 290 + days.index
    days["migrated"] = 290 + 2 * days.index
    days["migrated_high"] = 290 + 3 * days.index
    return Forecast(AS_OF, 500, 290, days=days, never_return={"low": 0.1, "estimate": 0.2, "high": 0.3})


def test_the_words_of_a_forecast_are_made_of_its_numbers() -> None:
    chart = charts.forecast_chart(ahead(), thirty_days())
    (ax,) = chart.picture().axes
    assert chart.title == "By 29 May 2026, about 410 of 500 users will have moved"
    assert "As of 30 Mar 2026 00:00 UTC." in chart.note
    assert chart.alt == (
        "290 of 500 users are migrated. On 29 Apr 2026 it will be about 350: between 320 and 380. "
        "By 29 May 2026 it will be about 410 (350 to 470). "
        "Each shaded range is made to hold the truth about 8 times in 10. "
        "About 20 % of all (10 % to 30 %) never return."
    )
    assert chart.data.iloc[1].tolist() == ["2026-04-06", 297, 304, 311, "do nothing"]
    assert ax.get_ylim()[0] == 0
    assert min(text.get_fontsize() for text in [*ax.get_xticklabels(), *ax.texts, ax.xaxis.label]) >= 10


def with_lines(fixed: int) -> Forecast:
    """What comes if nothing is done, with so many more a day if it is fixed, and 50 more with a reminder."""
    days = ahead().days
    more, ends = fixed * days.index, ["migrated_low", "migrated", "migrated_high"]
    fix = days.assign(**{end: days[end] + more for end in ends})
    parts = {"do_nothing": days, "fix": fix, "fix_and_remind": fix.assign(**{end: fix[end] + 50 for end in ends})}
    return replace(ahead(), lines=pd.concat([part.assign(line=line) for line, part in parts.items()]))


def test_the_forecast_has_a_line_for_each_thing_that_can_be_done() -> None:
    chart = charts.forecast_chart(with_lines(1), thirty_days())
    (ax,) = chart.picture().axes
    ends = [text.get_text() for text in ax.texts]
    assert ends == [" in scope 500", " do nothing 410", " fix 470", " fix and remind 520"]
    assert chart.title.endswith("will have moved; if we fix what holds people back, 470, and with a reminder, 520")
    assert "If we fix what holds people back, it will be about 470 (410 to 530)." in chart.alt
    assert "With a reminder as well it will be about 520 (460 to 580)." in chart.alt
    assert chart.data.groupby("if we")["likely"].max().to_dict() == {
        "do nothing": 402,
        "fix": 458,
        "fix and remind": 508,
    }


def test_where_nobody_is_held_back_there_is_nothing_to_fix() -> None:
    chart = charts.forecast_chart(with_lines(0), thirty_days())
    assert chart.title.endswith("users will have moved; with a reminder, 460") and "If we fix" not in chart.alt
    assert {*chart.data["if we"]} == {"do nothing", "remind"}
    assert [text.get_text() for text in chart.picture().axes[0].texts][-1] == " remind 460"


@pytest.mark.parametrize(
    ("made", "tables", "words"),
    [
        (Forecast(AS_OF, 500, 290, too_early="290 users have moved."), thirty_days(), "290 users have moved."),
        (Forecast(None, 0, 0, too_early="no user is in scope."), Tables(), "no user is in scope."),
    ],
)
def test_when_it_is_too_early_for_a_forecast_the_chart_says_so(made: Forecast, tables: Tables, words: str) -> None:
    chart = charts.forecast_chart(made, tables)
    assert chart.alt == f"It is too early to tell: {words}"
    assert Image.open(io.BytesIO(chart.png)).format == "PNG"


def two_waves(as_of: str) -> Tables:
    """100 users flagged on 1 March and 60 on 11 March; of each wave five move on every day."""
    waves = {pd.Timestamp("2026-03-01T08:00Z"): 100, pd.Timestamp("2026-03-11T08:00Z"): 60}
    rows = [(at, at + pd.Timedelta(days=1 + n // 5)) for at, size in waves.items() for n in range(size)]
    frame = pd.DataFrame(rows, columns=["flagged_at", "migrated_at"])
    return Tables(users=frame.assign(user_id=[*map(str, range(160))])).until(pd.Timestamp(as_of))


def test_the_line_of_those_in_scope_steps_with_waves_and_who_waits_is_written_below() -> None:
    tables = two_waves("2026-03-16T12:00Z")
    curve = figures.curve(tables)
    assert curve["in_scope"].drop_duplicates().tolist() == [100, 160]
    assert (curve["in_scope"] >= curve["migrated"]).all()
    (ax,) = charts.curve_chart(tables).picture().axes
    steps = next(line for line in ax.lines if max(line.get_ydata()) == 160)
    assert {*steps.get_ydata()} == {100, 160}
    waiting = [text.get_text() for text in ax.texts if text.get_color() == charts._INK["grey"]]
    assert "waiting" in waiting and len(waiting) > 3


@pytest.mark.parametrize(("as_of", "whole"), [("2026-03-16T12:00Z", False), ("2026-03-16T00:00Z", True)])
def test_waves_are_marked_and_a_day_that_is_not_over_is_hatched(as_of: str, whole: bool) -> None:
    chart = charts.pace_chart(two_waves(as_of), [])
    assert "Marked: A: wave of 11 Mar 2026, 60 users." in chart.note
    assert ("hatched" in chart.note) is not whole
    (ax,) = chart.picture().axes
    assert [bar.get_hatch() for bar in ax.patches if bar.get_hatch()] == ([] if whole else ["////"])


def test_the_axis_of_shares_ends_at_all_of_them() -> None:
    (ax,) = charts.cohort_chart(told(), "country").picture().axes
    assert ax.get_xlim() == (0, 100)


def test_the_time_that_entra_waits_is_drawn_at_its_place() -> None:
    (ax,) = charts.latency_chart(told()).picture().axes
    assert ax.get_xscale() == "log"
    assert 2000 in [line.get_xdata()[0] for line in ax.lines]
    assert ax.get_xlim()[1] > 2500


def test_the_numbers_of_the_latency_have_the_same_headings_with_and_without_calls() -> None:
    with_calls, without = (charts.latency_chart(tables).data for tables in (told(), Tables()))
    assert [*without] == [*with_calls] == ["answered in", "calls"]


@pytest.mark.parametrize(("span", "lines"), [("40min", 1), ("60D", 2)])
def test_who_waits_stands_between_the_marks_of_the_axis_and_its_name(span: str, lines: int) -> None:
    start = pd.Timestamp("2026-11-02T09:00Z")
    moved = pd.date_range(start, start + pd.Timedelta(span), periods=50)
    frame = pd.DataFrame({"user_id": map(str, range(50)), "flagged_at": start, "migrated_at": moved})
    picture = charts.curve_chart(Tables(users=frame)).picture()
    picture.draw_without_rendering()
    (ax,) = picture.axes
    (waiting,) = (text for text in ax.texts if text.get_text() == "waiting")
    mark, row, name = (text.get_window_extent() for text in (ax.get_xticklabels()[1], waiting, ax.xaxis.label))
    assert ax.get_xticklabels()[1].get_text().count("\n") == lines - 1
    assert mark.y0 >= row.y1 - 2 and row.y0 >= name.y1 - 1

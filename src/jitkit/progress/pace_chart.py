"""Draw how many moved on each day, with what stands out marked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import pandas as pd

from jitkit.progress.chart import COLOURS, Chart, axes, count_in_whole_numbers, dates_apart, finish
from jitkit.progress.charts import moment, nothing
from jitkit.progress.findings import Finding
from jitkit.progress.words import day

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["pace_chart"]

# Kind of a finding -> its colour; the letter at the top tells which it is.
_MARKED: Final = {
    "interruption": COLOURS["vermilion"],
    "stall": COLOURS["purple"],
    "rush": COLOURS["green"],
    "campaign": COLOURS["green"],
}
_DAY: Final = pd.Timedelta(days=1)
_FEW: Final = 5  # days, each of which can carry its own date


def pace_chart(
    pace: pd.DataFrame, findings: Sequence[Finding], as_of: pd.Timestamp | None, ax: Axes | None = None
) -> Chart:
    """Draw the moves of each day as bars.

    Args:
        pace: the table of `pace.pace`.
        findings: what stands out; those that lie at a time are marked with a letter.
        as_of: until when it tells.
        ax: where to draw; a new figure if left out.
    """
    from matplotlib.dates import date2num

    ax = axes(ax)
    title = f"Moved on each day · as of {moment(as_of)}"
    if pace.empty:
        return nothing(ax, title, "No user has been flagged yet.", pace)
    days = pace["day"].dt.tz_localize(None)
    ax.bar(days, pace["moved"], width=0.9, align="edge", color=COLOURS["blue"])
    top = max(float(pace["moved"].max()), 1.0) * 1.15
    told = []
    for letter, (begin, end, found) in zip("ABCDEFGHIJKLMNOPQRSTUVWXYZ", _spans(findings), strict=False):
        place = date2num([begin, end])  # type: ignore[no-untyped-call]
        ax.axvspan(*place, color=_MARKED[found.kind], alpha=0.25, linewidth=0)
        ax.annotate(letter, (begin + (end - begin) / 2, top), ha="center", va="top", fontweight="bold")
        told.append(f"{letter}: {found.label.lower()} of {day(found.since)}")
    ax.set_ylim(0, top)
    ax.set_xlabel("Day (UTC)" + (". " + ", ".join(told) if told else ""), wrap=True, horizontalalignment="left", x=0)
    if len(days) > _FEW:
        dates_apart(ax.xaxis)
    else:
        ax.set_xticks(days + _DAY / 2, [day(each) for each in days])
    ax.set_ylabel("Users")
    count_in_whole_numbers(ax.yaxis)
    return finish(ax, title, _words(pace, told), _by_week(pace))


def _spans(findings: Sequence[Finding]) -> list[tuple[pd.Timestamp, pd.Timestamp, Finding]]:
    """List the findings that lie at a time with the days that they touch; a campaign is marked where it went out."""
    spans = []
    for found in findings:
        if found.kind in _MARKED and found.since is not None:
            begin = found.since.tz_localize(None).normalize()
            until = None if found.kind == "campaign" else found.until
            spans.append((begin, begin + _DAY if until is None else until.tz_localize(None).ceil("D"), found))
    return sorted(spans, key=lambda span: span[0])


def _words(pace: pd.DataFrame, told: list[str]) -> str:
    most = pace.iloc[int(pace["moved"].to_numpy().argmax())]
    last = pace.iloc[:-1].tail(7)
    mean = f"{last['moved'].mean():,.1f}"
    since = {
        0: f"{day(most['day'])} is the first day.",
        1: f"On the one whole day it was {mean}.",
    }.get(len(last), f"On the last {len(last)} whole days it was {mean} a day.")
    words = f"Most people moved on {day(most['day'])}: {most['moved']:,}. {since}"
    return f"{words} Marked: {', '.join(told)}." if told else words


def _by_week(pace: pd.DataFrame) -> pd.DataFrame:
    week = (pace["day"] - pace["day"].iloc[0]) // (7 * _DAY)
    grouped = pace.groupby(week)
    return pd.DataFrame(
        {
            "week from": [f"{first:%Y-%m-%d}" for first in grouped["day"].first()],
            "moved": grouped["moved"].sum().to_numpy(),
        }
    )

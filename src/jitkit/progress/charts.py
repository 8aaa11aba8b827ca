"""Draws the figures. Each is a picture with the words that say what it shows, and the numbers behind it."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from textwrap import fill, shorten
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from jitkit.display import Table, figure, fold
from jitkit.progress import measures, states
from jitkit.progress.findings import Finding, pace
from jitkit.progress.forecast import Forecast
from jitkit.progress.groups import Campaign, cohorts, course
from jitkit.progress.measures import clock, day, span
from jitkit.progress.tables import Tables, records
from jitkit.protocol import TIMEOUT_MS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

__all__ = [
    "PATH_WORDS",
    "Chart",
    "Charts",
    "campaign_chart",
    "cohort_chart",
    "curve_chart",
    "failures_chart",
    "forecast_chart",
    "headings_of",
    "latency_chart",
    "moment",
    "outcomes_chart",
    "pace_chart",
    "remaining_chart",
    "rows_of",
]

# Okabe and Ito's colours, which people who see few colours can tell apart. They never carry a meaning alone.
_BLACK, _BLUE, _VERMILION, _GREEN, _PURPLE, _GREY = "#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#595959"

# Column of the curve -> its words, colour, line style and marker.
_LINES: Final = {
    "migrated": ("all", _BLACK, "-", "o"),
    "callout": ("by a call", _BLUE, "--", "s"),
    "silent": ("silently", _VERMILION, "-.", "^"),
    "reset": ("by a new password", _GREEN, ":", "D"),
    "unknown": ("unknown how", _PURPLE, (0, (5, 1, 1, 1, 1, 1)), "v"),
}
PATH_WORDS: Final = {name: words for name, (words, *_) in _LINES.items()}
# Kind of a finding -> its colour in the pace chart; the letter at the top names it.
_MARKED: Final = {"interruption": _VERMILION, "stall": _PURPLE, "rush": _GREEN, "campaign": _GREEN}
_UNITS: Final = (("Seconds", 1.0, 180.0), ("Minutes", 60.0, 180 * 60.0), ("Hours", 3600.0, 72 * 3600.0))
_DAY: Final = pd.Timedelta(days=1)
_DAYS: Final = "Day (UTC)"
_FONT: Final = 11
_SHORT: Final = 3.0  # days: a rehearsal lasts minutes, and clock times say more than dates then
_FEW: Final = 5  # days, each of which can carry its own date
_GROUPS: Final = 15  # in a picture of cohorts
_NAME: Final = 28  # characters of a group's name
_WIDEST: Final = 30  # characters of a bar's name on one line: longer ones would take half of the picture
_YOUNG: Final = "too young to compare"
_COHORT_HEADINGS: Final = {
    **{"cohort": "group", "users": "users", "migrated": "moved", "remaining": "left", "fair_share": "share moved, %"},
    **{"fair_low": "at least", "fair_high": "at most", "others": "all others", "lagging": "lags", "behind": "behind"},
}
_AT_END: Final[dict[str, Any]] = {"xycoords": ("axes fraction", "data"), "va": "center"}


@dataclass(frozen=True)
class Chart:
    """A picture, what it says in words, and the numbers behind it."""

    title: str  # what it shows, of how many, as of when
    alt: str  # what it says, in words and numbers
    png: bytes = field(repr=False)
    data: pd.DataFrame = field(repr=False)  # the numbers, as they stand in the table under it

    def __repr__(self) -> str:
        return f"{self.title}\n{self.alt}"

    def _repr_html_(self) -> str:
        # The words stand under the picture for everybody; a screen reader need not say them twice.
        shown = figure(self.source, f"{self.title}. The words under the picture say what it shows.", self.alt)
        if self.data.empty:
            return shown
        table = Table(caption=self.title, columns=headings_of(self.data), rows=rows_of(self.data))
        return shown + fold("The numbers", table._repr_html_())

    @property
    def source(self) -> str:
        """The picture as a data URL."""
        return "data:image/png;base64," + base64.b64encode(self.png).decode()


@dataclass(frozen=True)
class Charts:
    """Several charts below each other, or the sentence `otherwise` where there are none."""

    each: tuple[Chart, ...]
    otherwise: str

    def __repr__(self) -> str:
        return "\n".join(map(repr, self.each)) or self.otherwise

    def _repr_html_(self) -> str:
        return "".join(chart._repr_html_() for chart in self.each) or f"<p>{self.otherwise}</p>"


def moment(time: pd.Timestamp | None) -> str:
    """Write a time as people read it: `22 Nov 2026 16:20 UTC`."""
    return clock(time) if time is not None else "no time"


def headings_of(frame: pd.DataFrame) -> list[str]:
    """Write a table's columns as people read them: `Answered in` for `answered_in`."""
    names = [str(name).replace("_", " ") for name in frame.columns]
    return [name[:1].upper() + name[1:] for name in names]


def rows_of(frame: pd.DataFrame) -> list[list[str]]:
    """Write a table's cells as people read them: thousands apart, times to the second, nothing for what is missing."""
    return [[_cell(value) for value in row] for row in frame.itertuples(index=False)]


def _cell(value: object) -> str:
    if value is None or value is pd.NaT or value is pd.NA or value != value:
        return ""
    if isinstance(value, pd.Timestamp):
        return f"{value:%Y-%m-%d %H:%M:%S}"
    if isinstance(value, float):
        return f"{value:,.1f}"
    if isinstance(value, int) or hasattr(value, "dtype"):
        return f"{value:,}"
    return str(value)


def curve_chart(tables: Tables, ax: Axes | None = None) -> Chart:
    """Draw how the number of migrated users grew, in all and by path."""
    curve, in_scope = measures.curve(tables), len(tables.users)
    ax = _axes(ax)
    if curve.empty:
        return _nothing(ax, "Migrated users", "No user has been flagged yet.", curve)
    first, last = curve.iloc[0], curve.iloc[-1]
    paths = [name for name in _LINES if name != "migrated" and last[name]]
    share = f" ({100 * last['migrated'] / in_scope:.1f} %)" if in_scope else ""
    by_path = ", ".join(f"{last[name]:,} {PATH_WORDS[name]}" for name in paths)
    title = f"Migrated: {last['migrated']:,} of {in_scope:,} users · as of {moment(last['time'])}"
    alt = (
        f"Migrated users rise from {first['migrated']:,} on {moment(first['time'])} to {last['migrated']:,} of "
        f"{in_scope:,}{share} on {moment(last['time'])}{': ' if by_path else ''}{by_path}."
    )
    along, label = _time_axis(curve["time"])
    ends: list[tuple[float, str, str]] = []
    for name in ["migrated", *paths]:
        words, colour, style, marker = _LINES[name]
        _steps(ax, along, curve[name], color=colour, linestyle=style, marker=marker, linewidth=1.6 + 0.8 * (not ends))
        ends.append((float(last[name]), f" {words} {last[name]:,}", colour))
    _in_scope(ax, in_scope)
    above = {"textcoords": "offset points", "va": "bottom", "color": _GREY}
    ax.annotate(f"in scope {in_scope:,}", (0, in_scope), (4, 3), **_AT_END | above)
    _label_ends(ax, ends, max(in_scope, 1) * 0.077)
    ax.set_xlabel(label)
    if label == _DAYS:
        _space_dates(ax.xaxis)
    numbers = curve.assign(time=curve["time"].dt.tz_localize(None)).rename(columns={"time": "time (UTC)"} | PATH_WORDS)
    return _finish(ax, title, alt, numbers)


def forecast_chart(forecast: Forecast, tables: Tables, ax: Axes | None = None) -> Chart:
    """Draw the migrated users so far and the range in which they go on."""
    curve = measures.curve(tables)
    ax = _axes(ax)
    title = f"Migrated: {forecast.migrated:,} of {forecast.in_scope:,} users, and what comes"
    title += f" · as of {moment(forecast.as_of)}"
    if not curve.empty:
        _steps(ax, curve["time"], curve["migrated"], color=_BLACK, linewidth=2.4, marker="o")
    _in_scope(ax, forecast.in_scope)
    ax.set_xlabel(_DAYS)
    days = forecast.days
    if forecast.too_early:
        ax.annotate("too early to tell", (0.98, 0.5), xycoords="axes fraction", ha="right", color=_GREY)
        _space_dates(ax.xaxis)
        return _finish(ax, title, str(forecast), days)
    ax.fill_between(days["date"], days["migrated_low"], days["migrated_high"], color=_BLUE, alpha=0.25, linewidth=0)
    ax.plot(days["date"], days["migrated"], color=_BLUE, linestyle="--", linewidth=2)
    last, names = days.iloc[-1], {"migrated_low": "at least", "migrated": "about", "migrated_high": "at most"}
    for name in names:
        ax.plot(days["date"], days[name], color=_BLUE, linewidth=0.8)
    ends = [(float(last[name]), f" {words} {last[name]:,}", _BLUE) for name, words in reversed(names.items())]
    _label_ends(ax, ends, forecast.in_scope * 0.077)
    _space_dates(ax.xaxis)
    alt = (
        f"{forecast} By {day(last['date'])} it will be about {last['migrated']:,} ({last['migrated_low']:,} to "
        f"{last['migrated_high']:,}). The shaded range holds the truth about 8 times in 10."
    )
    if forecast.never_return is not None:
        low, middle, high = (f"{100 * forecast.never_return[name]:.0f}" for name in ("low", "estimate", "high"))
        alt += f" About {middle} % of all ({low} % to {high} %) never return."
    weekly = days.iloc[::7].assign(date=lambda weeks: weeks["date"].dt.strftime("%Y-%m-%d"))
    return _finish(ax, title, alt, weekly.rename(columns={"date": "day"} | names))


def pace_chart(tables: Tables, findings: Sequence[Finding], ax: Axes | None = None) -> Chart:
    """Draw how many users moved on each day; the findings that lie at a time are marked with a letter."""
    from matplotlib.dates import date2num

    daily = pace(tables)
    ax = _axes(ax)
    title = f"Moved on each day · as of {moment(tables.as_of)}"
    if daily.empty:
        return _nothing(ax, title, "No user has been flagged yet.", daily)
    days = daily["day"].dt.tz_localize(None)
    ax.bar(days, daily["moved"], width=0.9, align="edge", color=_BLUE)
    top = max(float(daily["moved"].max()), 1.0) * 1.15
    marks = []
    for letter, (begin, end, found) in zip("ABCDEFGHIJKLMNOPQRSTUVWXYZ", _spans(findings), strict=False):
        ax.axvspan(*date2num([begin, end]), color=_MARKED[found.kind], alpha=0.25, linewidth=0)  # type: ignore[no-untyped-call]
        ax.annotate(letter, (begin + (end - begin) / 2, top), ha="center", va="top", fontweight="bold")
        marks.append(f"{letter}: {found.label.lower()} of {day(found.since)}")
    ax.set_ylim(0, top)
    ax.set_xlabel(_DAYS + (". " + ", ".join(marks) if marks else ""), wrap=True, horizontalalignment="left", x=0)
    if len(days) > _FEW:
        _space_dates(ax.xaxis)
    else:
        ax.set_xticks(days + _DAY / 2, [day(each) for each in days])
    ax.set_ylabel("Users")
    _count_in_whole_numbers(ax.yaxis)
    weeks = daily.groupby((daily["day"] - daily["day"].iloc[0]) // (7 * _DAY)).agg(
        first=("day", "first"), moved=("moved", "sum")
    )
    weeks.insert(0, "week from", weeks.pop("first").dt.strftime("%Y-%m-%d"))
    return _finish(ax, title, _pace_words(daily, marks), weeks)


def _spans(findings: Sequence[Finding]) -> list[tuple[pd.Timestamp, pd.Timestamp, Finding]]:
    """List the findings that lie at a time with the days that they touch; a campaign is marked where it went out."""
    spans = []
    for found in findings:
        if found.kind in _MARKED and found.since is not None:
            begin = found.since.tz_localize(None).normalize()
            until = None if found.kind == "campaign" else found.until
            spans.append((begin, begin + _DAY if until is None else until.tz_localize(None).ceil("D"), found))
    return sorted(spans, key=lambda span: span[0])


def _pace_words(daily: pd.DataFrame, marks: list[str]) -> str:
    most = daily.iloc[int(daily["moved"].to_numpy().argmax())]
    last = daily.iloc[:-1].tail(7)
    mean = f"{last['moved'].mean():,.1f}"
    since = f"On the last {len(last)} whole days it was {mean} a day."
    if len(last) < 2:
        since = f"On the one whole day it was {mean}." if len(last) else f"{day(most['day'])} is the first day."
    words = f"Most people moved on {day(most['day'])}: {most['moved']:,}. {since}"
    return f"{words} Marked: {', '.join(marks)}." if marks else words


def outcomes_chart(tables: Tables, ax: Axes | None = None) -> Chart:
    """Draw what the endpoint answered."""
    outcomes = measures.outcomes(tables)
    calls = f"{outcomes['count'].sum():,} calls"
    title = f"The endpoint's answers: {calls} · as of {moment(tables.as_of)}"
    return _bars(outcomes, outcomes["action"], title, f"Answers of the endpoint to {calls}", "Calls", ax)


def failures_chart(tables: Tables, ax: Axes | None = None) -> Chart:
    """Draw what made sign-ins fail; the numbers under it say what fixes each cause."""
    failures = measures.failures(tables)
    words = [
        meaning if meaning == cause else f"{meaning} ({cause.partition(' ')[0]})"
        for cause, meaning in zip(failures["cause"], failures["meaning"], strict=True)
    ]
    count = f"{failures['count'].sum():,}"
    title = f"Failures by cause: {count} sign-ins · as of {moment(tables.as_of)}"
    return _bars(failures, words, title, f"Causes of {count} failed sign-ins", "Sign-ins", ax)


def remaining_chart(tables: Tables, ax: Axes | None = None) -> Chart:
    """Draw why users are not moved yet; the numbers under it say what to do about each reason."""
    remaining = states.remaining(tables)
    users = f"{remaining['users'].sum():,} users"
    title = f"Not moved yet: {users} · as of {moment(tables.as_of)}"
    return _bars(remaining, remaining["reason"], title, f"Reasons why {users} are not moved yet", "Users", ax)


def _bars(
    frame: pd.DataFrame, names: Sequence[str] | pd.Series, title: str, subject: str, axis: str, ax: Axes | None
) -> Chart:
    ax = _axes(ax, height=1.4 + 0.5 * max(len(frame), 2))
    if frame.empty:
        return _nothing(ax, title, f"{subject}: there are none.", frame)
    counts = frame["users" if "users" in frame else "count"]
    drawn = ax.barh(
        [fill(name, _WIDEST) for name in names][::-1], counts[::-1], color=_BLUE, edgecolor="black", linewidth=0.6
    )
    ax.bar_label(drawn, labels=[f"{count:,}" for count in counts[::-1]], padding=3)
    ax.set_xlim(0, float(counts.max()) * 1.12)
    ax.set_xlabel(axis)
    _count_in_whole_numbers(ax.xaxis)
    listed = ", ".join(f"{name} {count:,}" for name, count in zip(names, counts, strict=True))
    return _finish(ax, title, f"{subject}: {listed}.", frame)


def latency_chart(tables: Tables, ax: Axes | None = None) -> Chart:
    """Draw how long the endpoint took, against the time that Entra waits."""
    durations, latency = measures.durations(tables), measures.latency(tables)
    ax = _axes(ax)
    calls, late = latency["calls"], latency["over_limit"]
    title = f"Time to answer: {calls:,} calls, {late:,} over {TIMEOUT_MS:,} ms · as of {moment(tables.as_of)}"
    if not calls:
        return _nothing(ax, title, "The endpoint has not been called yet.", durations)
    alt = (
        f"Half of {calls:,} calls were answered within {latency['p50']:,.0f} ms, 95 % within {latency['p95']:,.0f} ms "
        f"and 99 % within {latency['p99']:,.0f} ms; {late:,} took longer than the {TIMEOUT_MS:,} ms that Entra waits."
    )
    bars = ax.bar(durations["step"], durations["count"], color=_BLUE, edgecolor="black", linewidth=0.6)
    bars[-1].set(color=_VERMILION, hatch="//", edgecolor="black")
    ax.bar_label(bars, labels=[f"{count:,}" if count else "" for count in durations["count"]], padding=2)
    ax.set_ylabel("Calls")
    ax.set_ylim(0, float(durations["count"].max()) * 1.12)
    _count_in_whole_numbers(ax.yaxis)
    ax.tick_params(axis="x", rotation=30)
    numbers = durations[["step", "count"]].rename(columns={"step": "answered in", "count": "calls"})
    return _finish(ax, title, alt, numbers)


def cohort_chart(tables: Tables, by: str, ax: Axes | None = None) -> Chart:
    """Draw each group's fair share with its interval; a group that lags has another marker and says so."""
    groups, name = cohorts(tables, by), by.replace("_", " ")
    shown, as_of = groups.head(_GROUPS), f"· as of {moment(tables.as_of)}"
    ax = _axes(ax, height=1.4 + 0.4 * max(len(shown), 2))
    numbers = _cohort_numbers(groups)
    if not np.isfinite(shown["fair_share"]).any():
        return _nothing(ax, f"Moved, by {name} {as_of}", "No table says when users were flagged.", numbers)
    time = span(pd.Timedelta(days=shown["days"].iloc[0]))
    heights = np.arange(len(shown))[::-1]
    share = 100 * shown[["fair_low", "fair_share", "fair_high"]].to_numpy(dtype=float)
    for lags, colour, marker in ((False, _BLUE, "o"), (True, _VERMILION, "D")):
        some = (shown["lagging"] == lags).to_numpy()
        low, middle, high = share[some].T
        errors = np.clip([middle - low, high - middle], 0, None)
        ax.errorbar(middle, heights[some], xerr=errors, fmt=marker, color=colour, capsize=4, markersize=7)
    for height, lags, (_, middle, high) in zip(heights, shown["lagging"], share, strict=True):
        young = bool(np.isnan(middle))
        words = _YOUNG if young else f"{middle:.0f} %" + (" lags" if lags else "")
        ax.annotate(words, (0.0 if young else high, height), (8, 0), textcoords="offset points", va="center")
    labels = [f"{shorten(row['cohort'], _NAME, placeholder=' …')} ({row['users']:,})" for row in records(shown)]
    ax.set_yticks(heights, labels)
    ax.set_ylim(-0.6, len(shown) - 0.4)
    ax.set_xlim(0, 112)
    ax.set_xticks(range(0, 101, 20))
    ax.set_xlabel("Share moved, %; the line is the range that chance leaves")
    return _finish(ax, f"Moved within {time} of the flag, by {name} {as_of}", _cohort_words(groups, name), numbers)


def _cohort_numbers(groups: pd.DataFrame) -> pd.DataFrame:
    """Write the table for people: shares in percent."""
    shares = ["fair_share", "fair_low", "fair_high", "others"]
    lags = groups["lagging"].map({True: "yes", False: "no"}).mask(groups["fair_share"].isna(), _YOUNG)
    shown = groups.assign(**{name: (100 * groups[name]).round(1) for name in shares}, lagging=lags)
    return shown[[*_COHORT_HEADINGS]].rename(columns=_COHORT_HEADINGS)


def _cohort_words(groups: pd.DataFrame, name: str) -> str:
    late = groups[groups["lagging"]]
    if late.empty:
        return f"By {name}, no group lags behind the others by more than chance explains."
    listed = "; ".join(
        f"{row['cohort']}, {100 * row['fair_share']:.0f} % against {100 * row['others']:.0f} % of the others, "
        f"{row['behind']:,} behind"
        for row in records(late.head(5))
    )
    return f"By {name}, {len(late):,} of {len(groups):,} groups lag: {listed}."


def campaign_chart(tables: Tables, campaign: Campaign, ax: Axes | None = None) -> Chart:
    """Draw what both groups did in the days around a reminder."""
    from matplotlib.ticker import PercentFormatter

    ax = _axes(ax, height=3.4)
    shares = course(tables, campaign)
    ends = shares["day"] + 1
    title = f"Campaign of {day(campaign.at)}: {len(campaign.reached):,} reached, {len(campaign.control):,} not"
    lines = (("reached", "reached", _GREEN, "-", "o"), ("control", "not reached", _GREY, "--", "s"))
    for name, words, colour, style, marker in lines:
        ax.plot(ends, shares[name], color=colour, linestyle=style, marker=marker, markersize=4, linewidth=2)
        last = shares[name].iloc[-1]
        ax.annotate(f" {words} {100 * last:.0f} %", (ends.iloc[-1], last), va="center", color=colour)
    ax.axvline(0, color=_BLACK, linestyle=":", linewidth=1.2)
    ax.set_ylim(0, max(float(shares[["reached", "control"]].max().max()) * 1.2, 0.01))
    ax.margins(x=0.02)
    ax.set_xlabel("Days since the campaign")
    ax.set_ylabel("Share moved")
    ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    numbers = (100 * shares[["reached", "control"]]).round(1).rename(columns=lambda name: f"{name}, % moved")
    numbers.insert(0, "end of day", ends)
    return _finish(ax, title, campaign.words, numbers)


def _axes(ax: Axes | None, *, height: float = 4.0) -> Axes:
    """Return the given axes, or new ones in a figure of their own."""
    if ax is not None:
        return ax
    from matplotlib.figure import Figure

    return Figure(figsize=(8, height), dpi=110, layout="constrained", facecolor="white").subplots()


def _finish(ax: Axes, title: str, alt: str, data: pd.DataFrame) -> Chart:
    """Add the title, remove the idle frame, and draw."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.tick_params(labelsize=_FONT)
    for text in (ax.xaxis.label, ax.yaxis.label, *ax.texts):
        text.set_fontsize(_FONT)
    picture: Figure = ax.get_figure(root=True)  # type: ignore[assignment]
    # Over the whole picture, so that long labels on the left do not push the title out of it.
    picture.suptitle(title, x=0.01, horizontalalignment="left", fontsize=_FONT + 1)
    drawn = io.BytesIO()
    picture.savefig(drawn, format="png", metadata={"Software": None})
    return Chart(title, alt, drawn.getvalue(), data)


def _nothing(ax: Axes, title: str, words: str, data: pd.DataFrame) -> Chart:
    """Write why there is nothing to draw."""
    ax.set_axis_off()
    ax.text(0.5, 0.5, words, ha="center", va="center", transform=ax.transAxes)
    return _finish(ax, title, words, data)


def _steps(ax: Axes, times: pd.Series, counts: pd.Series, **style: Any) -> None:
    ax.plot(times, counts, drawstyle="steps-post", markevery=max(1, len(counts) // 10), markersize=5, **style)


def _in_scope(ax: Axes, in_scope: int) -> None:
    """Draw the line of everybody, and count users up to it."""
    ax.axhline(in_scope, color=_GREY, linestyle=(0, (1, 3)), linewidth=1.2)
    ax.set_ylim(0, max(in_scope, 1) * 1.1)
    ax.set_ylabel("Users")
    _count_in_whole_numbers(ax.yaxis)


def _label_ends(ax: Axes, ends: Sequence[tuple[float, str, str]], gap: float) -> None:
    """Write (height, words, colour) at the right end of each line, moved up until none covers another."""
    heights = [height for height, *_ in ends]
    for below, above in pairwise(sorted(range(len(ends)), key=lambda number: heights[number])):
        heights[above] = max(heights[above], heights[below] + gap)
    for height, (_, words, colour) in zip(heights, ends, strict=True):
        ax.annotate(words, (1, height), **_AT_END, color=colour)


def _time_axis(times: pd.Series) -> tuple[pd.Series, str]:
    """Choose the unit of the time axis by how long the curve is: an hour of rehearsal, or months of a migration."""
    start = times.iloc[0]
    elapsed = (times - start).dt.total_seconds()
    for unit, size, limit in _UNITS:
        if elapsed.iloc[-1] <= limit:
            return elapsed / size, f"{unit} since {moment(start)}"
    return times.dt.tz_localize(None), _DAYS


def _count_in_whole_numbers(axis: Axis) -> None:
    """Mark an axis of counts at whole numbers only, and at so few that they stay apart."""
    from matplotlib.ticker import MaxNLocator, StrMethodFormatter

    axis.set_major_locator(MaxNLocator(nbins=5, integer=True))
    axis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))


def _space_dates(axis: Axis) -> None:
    """Mark an axis of times at so few that they stay apart, and write them as people do. Call it after drawing."""
    from matplotlib.dates import AutoDateLocator, num2date
    from matplotlib.ticker import FuncFormatter, LinearLocator

    first, last = axis.get_view_interval()
    short = last - first < _SHORT

    def words(number: float, _: int | None) -> str:
        date = num2date(number)  # type: ignore[no-untyped-call]
        return f"{date:%H:%M:%S}" if short else day(date)

    days = AutoDateLocator(minticks=3, maxticks=6)  # type: ignore[no-untyped-call]
    axis.set_major_locator(LinearLocator(3) if short else days)
    axis.set_major_formatter(FuncFormatter(words))

"""Draws the figures. Each is a picture with the words that say what it shows, and the numbers behind it.

A function here chooses the title, the words and the numbers of one chart, and draws its lines or bars on axes;
`Chart.picture` does what all charts have in common.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from textwrap import fill, shorten
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from jitkit.display import figure, fold
from jitkit.progress import figures, states
from jitkit.progress.cohorts import Campaign, cohorts, course
from jitkit.progress.figures import day, span
from jitkit.progress.findings import Finding, pace
from jitkit.progress.forecast import Forecast
from jitkit.progress.tables import Tables, records
from jitkit.progress.wording import moment, say, table_of
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
    "latency_chart",
    "outcomes_chart",
    "pace_chart",
    "remaining_chart",
]

# Okabe and Ito's colours, which people who see few colours can tell apart. They never carry a meaning alone.
_BLACK, _BLUE, _VERMILION, _GREEN, _PURPLE, _GREY = "#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#595959"

# Column of the curve -> its line.
_LINES: Final[dict[str, dict[str, Any]]] = {
    "migrated": {"label": "all", "color": _BLACK, "linestyle": "-", "marker": "o"},
    "callout": {"label": "by a call", "color": _BLUE, "linestyle": "--", "marker": "s"},
    "silent": {"label": "silently", "color": _VERMILION, "linestyle": "-.", "marker": "^"},
    "reset": {"label": "by a new password", "color": _GREEN, "linestyle": ":", "marker": "D"},
    "unknown": {"label": "unknown how", "color": _PURPLE, "linestyle": (0, (5, 1, 1, 1, 1, 1)), "marker": "v"},
}
_GROUP_LINES: Final[dict[str, dict[str, Any]]] = {
    "reached": {"label": "reached", "color": _GREEN, "linestyle": "-", "marker": "o"},
    "control": {"label": "not reached", "color": _GREY, "linestyle": "--", "marker": "s"},
}
PATH_WORDS: Final = {name: line["label"] for name, line in _LINES.items()}
_AHEAD: Final = {"migrated_low": "at least", "migrated": "about", "migrated_high": "at most"}
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
    data: pd.DataFrame = field(repr=False)  # the numbers, as they stand in the table under it
    draw: Callable[[Axes], object] | None = field(default=None, repr=False)  # None: only the words stand in the picture
    height: float = field(default=4.0, repr=False)  # inches

    def __repr__(self) -> str:
        return f"{self.title}\n{self.alt}"

    def _repr_html_(self) -> str:
        # The words stand under the picture for everybody; a screen reader need not say them twice.
        shown = figure(self.source, f"{self.title}. The words under the picture say what it shows.", self.alt)
        if self.data.empty:
            return shown
        return shown + fold("The numbers", table_of(self.title, self.data)._repr_html_())

    def picture(self) -> Figure:
        """Draw the chart with its title, without an idle frame."""
        from matplotlib.figure import Figure

        picture = Figure(figsize=(8, self.height), dpi=110, layout="constrained", facecolor="white")
        ax = picture.subplots()
        if self.draw is None:
            ax.set_axis_off()
            ax.text(0.5, 0.5, self.alt, ha="center", va="center", transform=ax.transAxes)
        else:
            self.draw(ax)
        ax.spines[["top", "right"]].set_visible(False)
        ax.tick_params(labelsize=_FONT)
        for text in (ax.xaxis.label, ax.yaxis.label, *ax.texts):
            text.set_fontsize(_FONT)
        # Over the whole picture, so that long labels on the left do not push the title out of it.
        picture.suptitle(self.title, x=0.01, horizontalalignment="left", fontsize=_FONT + 1)
        return picture

    @cached_property
    def png(self) -> bytes:
        """The picture as a file."""
        import matplotlib

        drawn = io.BytesIO()
        with matplotlib.rc_context({"text.parse_math": False}):  # a group's name may hold dollar signs
            self.picture().savefig(drawn, format="png", metadata={"Software": None})
        return drawn.getvalue()

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


def curve_chart(tables: Tables) -> Chart:
    """Draw how the number of migrated users grew, in all and by path."""
    curve, in_scope = figures.curve(tables), len(tables.users)
    if curve.empty:
        return Chart("Migrated users", "No user has been flagged yet.", curve)
    first, last = curve.iloc[0], curve.iloc[-1]
    paths = [name for name in _LINES if name != "migrated" and last[name]]

    def draw(ax: Axes) -> None:
        along, label = _time_axis(curve["time"])
        _draw_steps(ax, along, curve, ["migrated", *paths])
        _draw_in_scope(ax, in_scope)
        above = {"textcoords": "offset points", "va": "bottom", "color": _GREY}
        ax.annotate(f"in scope {in_scope:,}", (0, in_scope), (4, 3), **_AT_END | above)
        ends = [(last[name], PATH_WORDS[name], _LINES[name]["color"]) for name in ("migrated", *paths)]
        _label_ends(ax, ends, in_scope)
        ax.set_xlabel(label)
        if label == _DAYS:
            _space_dates(ax.xaxis)

    title = f"Migrated: {last['migrated']:,} of {in_scope:,} users · as of {moment(last['time'])}"
    by_path = [(PATH_WORDS[name], last[name]) for name in paths]
    alt = say("curve", first=first, last=last, in_scope=in_scope, paths=by_path)
    numbers = curve.assign(time=curve["time"].dt.tz_localize(None)).rename(columns={"time": "time (UTC)"} | PATH_WORDS)
    return Chart(title, alt, numbers, draw)


def forecast_chart(forecast: Forecast, tables: Tables) -> Chart:
    """Draw the migrated users so far and the range in which they go on."""
    curve, days = figures.curve(tables), forecast.days

    def draw(ax: Axes) -> None:
        if not curve.empty:
            _draw_steps(ax, curve["time"], curve, ["migrated"])
        _draw_in_scope(ax, forecast.in_scope)
        ax.set_xlabel(_DAYS)
        if forecast.too_early:
            ax.annotate("too early to tell", (0.98, 0.5), xycoords="axes fraction", ha="right", color=_GREY)
        else:
            low, middle, high = (days[name] for name in _AHEAD)
            ax.fill_between(days["date"], low, high, color=_BLUE, alpha=0.25, linewidth=0)
            ax.plot(days["date"], middle, color=_BLUE, linestyle="--", linewidth=2)
            for each in (low, middle, high):
                ax.plot(days["date"], each, color=_BLUE, linewidth=0.8)
            ends = [(days[name].iloc[-1], words, _BLUE) for name, words in reversed(_AHEAD.items())]
            _label_ends(ax, ends, forecast.in_scope)
        _space_dates(ax.xaxis)

    title = f"Migrated: {forecast.migrated:,} of {forecast.in_scope:,} users, and what comes"
    title += f" · as of {moment(forecast.as_of)}"
    if forecast.too_early:
        return Chart(title, str(forecast), days, draw)
    weekly = days.iloc[::7].assign(date=lambda weeks: weeks["date"].dt.strftime("%Y-%m-%d"))
    alt = say("forecast_chart", made=forecast, last=days.iloc[-1])
    return Chart(title, alt, weekly.rename(columns={"date": "day"} | _AHEAD), draw)


def pace_chart(tables: Tables, findings: Sequence[Finding]) -> Chart:
    """Draw how many users moved on each day; the findings that lie at a time are marked with a letter."""
    daily, title = pace(tables), f"Moved on each day · as of {moment(tables.as_of)}"
    if daily.empty:
        return Chart(title, "No user has been flagged yet.", daily)
    marked = [*zip("ABCDEFGHIJKLMNOPQRSTUVWXYZ", _spans(findings), strict=False)]
    marks = [f"{letter}: {found.label.lower()} of {day(found.since)}" for letter, (_, _, found) in marked]

    def draw(ax: Axes) -> None:
        from matplotlib.dates import date2num

        days, top = daily["day"].dt.tz_localize(None), max(float(daily["moved"].max()), 1.0) * 1.15
        ax.bar(days, daily["moved"], width=0.9, align="edge", color=_BLUE)
        for letter, (begin, end, found) in marked:
            ax.axvspan(*date2num([begin, end]), color=_MARKED[found.kind], alpha=0.25, linewidth=0)  # type: ignore[no-untyped-call]
            ax.annotate(letter, (begin + (end - begin) / 2, top), ha="center", va="top", fontweight="bold")
        ax.set(ylim=(0, top), ylabel="Users")
        ax.set_xlabel(_DAYS + (". " + ", ".join(marks) if marks else ""), wrap=True, horizontalalignment="left", x=0)
        if len(days) > _FEW:
            _space_dates(ax.xaxis)
        else:
            ax.set_xticks(days + _DAY / 2, [day(each) for each in days])
        _count_in_whole_numbers(ax.yaxis)

    weeks = daily.groupby((daily["day"] - daily["day"].iloc[0]) // (7 * _DAY)).agg(
        first=("day", "first"), moved=("moved", "sum")
    )
    weeks.insert(0, "week from", weeks.pop("first").dt.strftime("%Y-%m-%d"))
    most = daily.iloc[int(daily["moved"].to_numpy().argmax())]
    alt = say("pace", most=most, last=daily["moved"].iloc[:-1].tail(7), marks=marks)
    return Chart(title, alt, weeks, draw)


def _spans(findings: Sequence[Finding]) -> list[tuple[pd.Timestamp, pd.Timestamp, Finding]]:
    """List the findings that lie at a time with the days that they touch; a campaign is marked where it went out."""
    spans = []
    for found in findings:
        if found.kind in _MARKED and found.since is not None:
            begin = found.since.tz_localize(None).normalize()
            until = None if found.kind == "campaign" else found.until
            spans.append((begin, begin + _DAY if until is None else until.tz_localize(None).ceil("D"), found))
    return sorted(spans, key=lambda span: span[0])


def outcomes_chart(tables: Tables) -> Chart:
    """Draw what the endpoint answered."""
    outcomes = figures.outcomes(tables)
    calls = f"{outcomes['count'].sum():,} calls"
    title, subject = f"The endpoint's answers: {calls}", f"Answers of the endpoint to {calls}"
    return _bars(tables, outcomes, [*outcomes["action"]], title, subject, "Calls")


def failures_chart(tables: Tables) -> Chart:
    """Draw what made sign-ins fail; the numbers under it say what fixes each cause."""
    failures = figures.failures(tables)
    names = [
        meaning if meaning == cause else f"{meaning} ({cause.partition(' ')[0]})"
        for cause, meaning in zip(failures["cause"], failures["meaning"], strict=True)
    ]
    count = f"{failures['count'].sum():,}"
    seen = " that the logs show" if tables.blind else ""
    title, subject = f"Failures by cause: {count} sign-ins{seen}", f"Causes of {count} failed sign-ins{seen}"
    return _bars(tables, failures, names, title, subject, "Sign-ins")


def remaining_chart(tables: Tables) -> Chart:
    """Draw why users are not moved yet; the numbers under it say what to do about each reason."""
    remaining = states.remaining(tables)
    users = f"{remaining['users'].sum():,} users"
    title, subject = f"Not moved yet: {users}", f"Reasons why {users} are not moved yet"
    return _bars(tables, remaining, [*remaining["reason"]], title, subject, "Users")


def _bars(tables: Tables, frame: pd.DataFrame, names: list[str], title: str, subject: str, counted: str) -> Chart:
    counts = frame["users" if "users" in frame else "count"]

    def draw(ax: Axes) -> None:
        wrapped = [fill(name, _WIDEST) for name in reversed(names)]
        bars = ax.barh(wrapped, counts[::-1], color=_BLUE, edgecolor="black", linewidth=0.6)
        ax.bar_label(bars, labels=[f"{count:,}" for count in counts[::-1]], padding=3)
        ax.set(xlim=(0, float(counts.max()) * 1.12), xlabel=counted)
        _count_in_whole_numbers(ax.xaxis)

    title += f" · as of {moment(tables.as_of)}"
    height = 1.4 + 0.5 * max(len(frame), 2)
    if frame.empty:
        return Chart(title, f"{subject}: there are none.", frame, height=height)
    listed = ", ".join(f"{name} {count:,}" for name, count in zip(names, counts, strict=True))
    return Chart(title, f"{subject}: {listed}.", frame, draw, height)


def latency_chart(tables: Tables) -> Chart:
    """Draw how long the endpoint took, against the time that Entra waits."""
    durations, latency = figures.durations(tables), figures.latency(tables)
    calls, late = latency["calls"], latency["over_limit"]
    title = f"Time to answer: {calls:,} calls, {late:,} over {TIMEOUT_MS:,} ms · as of {moment(tables.as_of)}"
    if not calls:
        unknown = tables.blind or tables.asked.any()
        words = "No ledger shows a call." if unknown else "The endpoint has not been called yet."
        return Chart(title, words, durations)

    def draw(ax: Axes) -> None:
        counts = durations["count"]
        bars = ax.bar(durations["step"], counts, color=_BLUE, edgecolor="black", linewidth=0.6)
        bars[-1].set(color=_VERMILION, hatch="//", edgecolor="black")
        ax.bar_label(bars, labels=[f"{count:,}" if count else "" for count in counts], padding=2)
        ax.set(ylim=(0, float(counts.max()) * 1.12), ylabel="Calls")
        _count_in_whole_numbers(ax.yaxis)
        ax.tick_params(axis="x", rotation=30)

    numbers = durations[["step", "count"]].rename(columns={"step": "answered in", "count": "calls"})
    return Chart(title, say("latency", latency=latency, limit=TIMEOUT_MS), numbers, draw)


def cohort_chart(tables: Tables, by: str) -> Chart:
    """Draw each group's fair share with its interval; a group that lags has another marker and says so."""
    groups, name = cohorts(tables, by), by.replace("_", " ")
    shown, as_of = groups.head(_GROUPS), f"· as of {moment(tables.as_of)}"
    height = 1.4 + 0.4 * max(len(shown), 2)
    shares = ["fair_share", "fair_low", "fair_high", "others"]
    lags = groups["lagging"].map({True: "yes", False: "no"}).mask(groups["fair_share"].isna(), _YOUNG)
    numbers = groups.assign(**{each: (100 * groups[each]).round(1) for each in shares}, lagging=lags)
    numbers = numbers[[*_COHORT_HEADINGS]].rename(columns=_COHORT_HEADINGS)
    if not np.isfinite(shown["fair_share"]).any():
        return Chart(f"Moved, by {name} {as_of}", "No table says when users were flagged.", numbers, height=height)

    def draw(ax: Axes) -> None:
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
        ax.set(xlim=(0, 112), ylim=(-0.6, len(shown) - 0.4), xticks=range(0, 101, 20))
        ax.set_xlabel("Share moved, %; the line is the range that chance leaves")

    time = span(pd.Timedelta(days=shown["days"].iloc[0]))
    alt = say("cohorts", name=name, late=records(groups[groups["lagging"]]), groups=len(groups))
    return Chart(f"Moved within {time} of the flag, by {name} {as_of}", alt, numbers, draw, height)


def campaign_chart(tables: Tables, campaign: Campaign) -> Chart:
    """Draw what both groups did in the days around a reminder."""
    shares = course(tables, campaign)
    ends, both = shares["day"] + 1, shares[[*_GROUP_LINES]]

    def draw(ax: Axes) -> None:
        from matplotlib.ticker import PercentFormatter

        for name, line in _GROUP_LINES.items():
            ax.plot(ends, shares[name], markersize=4, linewidth=2, **line)
            last, words = shares[name].iloc[-1], f" {line['label']} {100 * shares[name].iloc[-1]:.0f} %"
            ax.annotate(words, (ends.iloc[-1], last), va="center", color=line["color"])
        ax.axvline(0, color=_BLACK, linestyle=":", linewidth=1.2)
        ax.set(ylim=(0, max(float(both.max().max()) * 1.2, 0.01)), ylabel="Share moved")
        ax.set_xlabel("Days since the campaign")
        ax.margins(x=0.02)
        ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))

    title = f"Campaign of {day(campaign.at)}: {len(campaign.reached):,} reached, {len(campaign.control):,} not"
    numbers = (100 * both).round(1).rename(columns=lambda name: f"{name}, % moved")
    numbers.insert(0, "end of day", ends)
    return Chart(title, campaign.words, numbers, draw, height=3.4)


def _draw_steps(ax: Axes, times: pd.Series, curve: pd.DataFrame, names: Sequence[str]) -> None:
    for name in names:
        width, every = (2.4 if name == "migrated" else 1.6), max(1, len(curve) // 10)
        style = _LINES[name] | {"linewidth": width, "markevery": every, "markersize": 5}
        ax.plot(times, curve[name], drawstyle="steps-post", **style)


def _draw_in_scope(ax: Axes, in_scope: int) -> None:
    """Draw the line of everybody, and count users up to it."""
    ax.axhline(in_scope, color=_GREY, linestyle=(0, (1, 3)), linewidth=1.2)
    ax.set(ylim=(0, max(in_scope, 1) * 1.1), ylabel="Users")
    _count_in_whole_numbers(ax.yaxis)


def _label_ends(ax: Axes, ends: Sequence[tuple[int, str, str]], in_scope: int) -> None:
    """Write (count, words, colour) at the right end of each line, moved up until none covers another."""
    heights, gap = [float(count) for count, *_ in ends], max(in_scope, 1) * 0.077
    for below, above in pairwise(sorted(range(len(ends)), key=lambda number: heights[number])):
        heights[above] = max(heights[above], heights[below] + gap)
    for height, (count, words, colour) in zip(heights, ends, strict=True):
        ax.annotate(f" {words} {count:,}", (1, height), **_AT_END, color=colour)


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

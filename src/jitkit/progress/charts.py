"""Draws the figures. Each is a picture with the words that say what it shows, and the numbers behind it.

A function here chooses the title, the words and the numbers of one chart, and draws its lines or bars on axes;
`Chart.picture` does what all charts have in common.
"""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from textwrap import fill
from typing import TYPE_CHECKING, Any, Final
from xml.etree import ElementTree

import numpy as np
import pandas as pd

from jitkit.display import figure, fold
from jitkit.progress import figures
from jitkit.progress.cohorts import Campaign, cohorts, course
from jitkit.progress.figures import day, quantile, span, wilson
from jitkit.progress.findings import Finding, pace
from jitkit.progress.forecast import Forecast
from jitkit.progress.tables import TEXTS, Tables, records
from jitkit.progress.wording import moment, say, table_of
from jitkit.protocol import TIMEOUT_MS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

# Okabe and Ito's colours, which people who see few colours can tell apart. They never carry a meaning alone.
_BLACK, _BLUE, _VERMILION, _GREEN, _PURPLE, _GREY = "#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#595959"

# What they are in a page, which has its own for light, for dark and for print.
_THEME: Final = {
    **{_BLACK: "currentColor", _BLUE: "var(--blue)", _VERMILION: "var(--vermilion)", _GREEN: "var(--green)"},
    **{_PURPLE: "var(--purple)", _GREY: "var(--soft)"},
}

# Column of the curve -> its line.
_LINES: Final[dict[str, dict[str, Any]]] = {
    "in_scope": {"label": "in scope", "color": _GREY, "linestyle": (0, (1, 3)), "marker": ""},
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
# What may be done -> its line.
_AHEAD: Final[dict[str, dict[str, Any]]] = {
    "do_nothing": {"label": "do nothing", "color": _BLUE, "linestyle": "--"},
    "fix": {"label": "fix", "color": _VERMILION, "linestyle": "-."},
    "fix_and_remind": {"label": "fix and remind", "color": _GREEN, "linestyle": ":"},
}
# Kind of a finding -> its colour in the pace chart; the letter at the top names it.
_MARKED: Final = {"interruption": _VERMILION, "stall": _PURPLE, "rush": _GREEN, "campaign": _GREEN}
_UNITS: Final = (("Seconds", 1.0, 180.0), ("Minutes", 60.0, 180 * 60.0), ("Hours", 3600.0, 72 * 3600.0))
_DAY: Final = pd.Timedelta(days=1)
_DAYS: Final = "Day (UTC)"
_REFERRED: Final = re.compile(r"[hmp][0-9a-f]{10}")  # ids in a drawn picture that something in it refers to
_FONT: Final = 11
_WIDE, _NARROW = 8.0, 5.0  # inches: in a notebook, and in a page, where two stand side by side or one fills a phone
_LINE: Final = {_WIDE: 80, _NARROW: 50}  # characters
_SHORT: Final = 3.0  # days: a rehearsal lasts minutes, and clock times say more than dates then
_FEW: Final = 5  # days, each of which can carry its own date
_GROUPS: Final = 15  # in a picture of cohorts
_NAME, _SHORT_NAME = 28, 20  # characters of a group's name, in a notebook and in a page
_WIDEST: Final = 30  # characters of a bar's name on one line: longer ones would take half of the picture
_YOUNG: Final = "too young to compare"
_TIMES: Final = (1, 5, 10, 50, 100, 500, TIMEOUT_MS, 10_000, 60_000)  # milliseconds
_NUMBERS: Final = 4  # that stand next to each other under a narrow picture
_AT_END: Final[dict[str, Any]] = {"xycoords": ("axes fraction", "data"), "va": "center"}


@dataclass(frozen=True)
class Chart:
    """A picture, what it says in words, and the numbers behind it."""

    title: str  # what it says, in a sentence
    note: str  # what is drawn, and as of when
    alt: str  # what it says, in words and numbers
    data: pd.DataFrame = field(repr=False)  # the numbers, as they stand in the table under it
    draw: Callable[[Axes], object] | None = field(default=None, repr=False)  # None: only the words stand in the picture
    height: float = field(default=4.0, repr=False)  # inches, in a notebook

    def __repr__(self) -> str:
        return f"{self.title}\n{self.alt}"

    def _repr_html_(self) -> str:
        # The words stand under the picture for everybody; a screen reader need not say them twice.
        source = "data:image/png;base64," + base64.b64encode(self.png).decode()
        shown = figure(source, f"{self.title}. The words under the picture say what it shows.", self.alt)
        if self.data.empty:
            return shown
        return shown + fold("The numbers", table_of(self.title, self.data)._repr_html_())

    def picture(self, width: float = _WIDE) -> Figure:
        """Draw the chart without an idle frame; a narrow one, for a page, without its words."""
        from matplotlib.figure import Figure

        height = self.height if width == _WIDE else 0.75 * self.height
        picture = Figure(figsize=(width, height), dpi=110, layout="constrained", facecolor="none")
        ax = picture.subplots()
        ax.set_facecolor("none")
        if self.draw is None:
            ax.set_axis_off()
            words = fill(self.alt, _LINE[width])
            ax.text(0.5, 0.5, words, ha="center", va="center", transform=ax.transAxes)
        else:
            self.draw(ax)
        ax.spines[["top", "right"]].set_visible(False)
        ax.tick_params(labelsize=_FONT)
        for text in (ax.xaxis.label, ax.yaxis.label, *ax.texts):
            text.set_fontsize(_FONT)
        if width == _WIDE:
            # Over and under the whole picture, so that long labels on the left do not push the words out of it.
            left: dict[str, Any] = {"x": 0.01, "horizontalalignment": "left"}
            picture.suptitle(fill(self.title, _LINE[width]), fontsize=_FONT + 2, **left)
            picture.supxlabel(fill(self.note, 105), fontsize=_FONT - 1, color=_GREY, **left)
        return picture

    @cached_property
    def png(self) -> bytes:
        """The picture as a file, with its words."""
        return self._drawn("png", _WIDE, facecolor="white", metadata={"Software": None})

    @cached_property
    def svg(self) -> str:
        """The picture as an element for a page, whose font, colours and alternative text it takes."""
        return _inline(self._drawn("svg", _NARROW), self.alt)

    def _drawn(self, form: str, width: float, **options: Any) -> bytes:
        import matplotlib

        drawn = io.BytesIO()
        # A group's name may hold dollar signs. In a page, text stays text, and no two pictures share a name.
        settings: Any = {"text.parse_math": False, "svg.fonttype": "none", "svg.hashsalt": self.title + self.note}
        with matplotlib.rc_context(settings):
            self.picture(width).savefig(drawn, format=form, **options)
        return drawn.getvalue()


def _inline(svg: bytes, alt: str) -> str:
    """Make an element of a page from a drawn picture: without rules, fonts, colours and names that reach beyond it."""
    root = ElementTree.fromstring(svg)  # noqa: S314
    for element in [*root.iter()]:
        for child in (*element.findall("{*}metadata"), *element.findall("{*}style")):
            element.remove(child)
        element.tag = element.tag.rpartition("}")[2]
        element.attrib = {
            name.rpartition("}")[2]: re.sub(r"font-family:[^;]*;? ?|#[0-9a-f]{6}", _in_theme, value)
            for name, value in element.items()
            if name != "id" or _REFERRED.fullmatch(value)
        }
    root.attrib = {"viewBox": root.attrib["viewBox"], "role": "img", "aria-label": alt}
    return ElementTree.tostring(root, encoding="unicode")


def _in_theme(found: re.Match[str]) -> str:
    return _THEME.get(found[0].upper(), found[0]) if found[0].startswith("#") else ""


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
    """Draw how the number of migrated users grew, in all and by path, and how many were in scope and still wait."""
    curve, as_of = figures.curve(tables), f"As of {moment(tables.as_of)}."
    if curve.empty:
        return Chart("No user has been flagged yet", "", "No user has been flagged yet.", curve)
    first, last = curve.iloc[0], curve.iloc[-1]
    paths = [name for name in _LINES if name not in ("migrated", "in_scope") and last[name]]

    def draw(ax: Axes) -> None:
        along, label = _time_axis(curve["time"])
        _draw_steps(ax, along, curve, ["in_scope", "migrated", *paths])
        _label_ends(ax, [(last[name], _LINES[name]) for name in ("in_scope", "migrated", *paths)])
        ax.set_xlabel(label)
        if label == _DAYS:
            _space_dates(ax.xaxis)
        _write_waiting(ax, along, curve["in_scope"] - curve["migrated"])

    half = curve.loc[curve["migrated"] >= last["migrated"] / 2, "time"].iloc[0]
    by = day(half) if half - first["time"] > _DAY else moment(half)
    note = f"Users moved since the first flag, in all and by path; below the axis, those still waiting. {as_of}"
    by_path = [(PATH_WORDS[name], last[name]) for name in paths]
    alt, title = say("curve", first=first, last=last, paths=by_path), say("curve_title", last=last, half=by)
    numbers = curve.assign(time=curve["time"].dt.tz_localize(None)).rename(columns={"time": "time (UTC)"} | PATH_WORDS)
    return Chart(title, note, alt, numbers, draw)


def forecast_chart(forecast: Forecast, tables: Tables) -> Chart:
    """Draw the migrated users so far, and the range in which they go on by what is done."""
    curve, note = figures.curve(tables), f"Users moved so far, and those to come. As of {moment(forecast.as_of)}."
    made = forecast.lines if len(forecast.lines) else forecast.days.assign(line="do_nothing")
    lines = {str(name): part for name, part in made.groupby("line", sort=False)}
    if "fix" in lines and not (lines["fix"]["migrated"].to_numpy() > lines["do_nothing"]["migrated"].to_numpy()).any():
        del lines["fix"]  # nobody is held back

    def draw(ax: Axes) -> None:
        if not curve.empty:
            _draw_steps(ax, curve["time"], curve, ["in_scope", "migrated"])
        ends = [(forecast.in_scope, _LINES["in_scope"])]
        for name, part in lines.items():
            style, ranged = _AHEAD[name], (part["date"], part["migrated_low"], part["migrated_high"])
            ax.fill_between(*ranged, color=style["color"], alpha=0.2, linewidth=0)
            ax.plot(part["date"], part["migrated"], linewidth=2, **style)
            ends.append((part["migrated"].iloc[-1], style))
        if not curve.empty and not forecast.too_early:
            on = [curve["time"].iloc[-1], forecast.days["date"].iloc[-1]]
            ax.plot(on, [forecast.in_scope] * 2, **_LINES["in_scope"])
        if forecast.too_early:
            ax.annotate("too early to tell", (0.98, 0.5), xycoords="axes fraction", ha="right", color=_GREY)
        ax.set(ylim=(0, max(forecast.in_scope, 1) * 1.1), ylabel="Users", xlabel=_DAYS)
        _label_ends(ax, ends)
        _space_dates(ax.xaxis, few=4)

    if forecast.too_early:
        title = f"{forecast.migrated:,} of {forecast.in_scope:,} users have moved; it is too early to say what comes"
        return Chart(title, note, str(forecast), forecast.days, None if curve.empty else draw)
    ends = {name: part.iloc[-1] for name, part in lines.items()}
    alt, title = (say(name, made=forecast, ends=ends) for name in ("forecast_chart", "forecast_title"))
    note += " The range holds the truth about 8 times in 10."
    weekly = pd.concat([part.iloc[::7] for part in lines.values()])
    weekly["line"] = weekly["line"].map(lambda name: _AHEAD[name]["label"])
    weekly["date"] = weekly["date"].dt.strftime("%Y-%m-%d")
    return Chart(title, note, alt, weekly.rename(columns=TEXTS["headings"]["forecast"]), draw)


def pace_chart(tables: Tables, findings: Sequence[Finding]) -> Chart:
    """Draw how many users moved on each day; waves, and findings that lie at a time, are marked with a letter."""
    daily = pace(tables)
    if daily.empty or tables.as_of is None:
        return Chart("No user has been flagged yet", "", "No user has been flagged yet.", daily)
    begun = tables.as_of > daily["day"].iloc[-1] or len(daily) == 1  # at midnight, the day of `as_of` is still to come
    daily = daily if begun else daily.iloc[:-1]
    marked = [*zip("ABCDEFGHIJKLMNOPQRSTUVWXYZ", _spans(tables, findings), strict=False)]
    marks = [f"{letter}: {words}" for letter, (_, _, words, _) in marked]

    def draw(ax: Axes) -> None:
        days, top = daily["day"].dt.tz_localize(None), max(float(daily["moved"].max()), 1.0) * 1.15
        bars = ax.bar(days, daily["moved"], width=0.9, align="edge", color=_BLUE)
        if begun:
            bars[-1].set(facecolor="none", edgecolor=_BLUE, hatch="////", linewidth=0.6)
        for letter, (begin, end, _, colour) in marked:
            ax.axvspan(begin, end, color=colour, alpha=0.25, linewidth=0)
            ax.annotate(letter, (begin + (end - begin) / 2, top), ha="center", va="top", fontweight="bold")
        ax.set(ylim=(0, top), ylabel="Users", xlabel=_DAYS)
        if len(days) > _FEW:
            _space_dates(ax.xaxis)
        else:
            ax.set_xticks(days + _DAY / 2, [_date(each) for each in days])
        _count_in_whole_numbers(ax.yaxis)

    weeks = daily.resample("7D", on="day")["moved"].sum().reset_index().rename(columns={"day": "week from"})
    weeks["week from"] = weeks["week from"].dt.strftime("%Y-%m-%d")
    most = daily.iloc[int(daily["moved"].to_numpy().argmax())]
    last = daily["moved"].iloc[: len(daily) - begun].tail(7)
    note = say("pace_note", as_of=tables.as_of, begun=begun, marks=marks)
    alt, title = say("pace", most=most, last=last, marks=marks), say("pace_title", most=most, last=last)
    return Chart(title, note, alt, weeks, draw)


def _spans(tables: Tables, findings: Sequence[Finding]) -> list[tuple[Any, Any, str, str]]:
    """List the waves after the first one, and the findings that lie at a time: begin, end, words and a colour."""
    spans = []
    for time, count in figures.waves(tables).iloc[1:].items():
        begin = pd.Timestamp(str(time)).tz_localize(None)
        spans.append((begin, begin + _DAY, f"wave of {day(begin)}, {count:,} users", _GREY))
    for found in findings:
        if found.kind in _MARKED and found.since is not None:
            begin = found.since.tz_localize(None).normalize()
            until = None if found.kind == "campaign" else found.until  # it is marked where it went out
            end = begin + _DAY if until is None else until.tz_localize(None).ceil("D")
            spans.append((begin, end, f"{found.label.lower()} of {day(found.since)}", _MARKED[found.kind]))
    return sorted(spans, key=lambda span: span[0])


def bar_chart(tables: Tables, frame: pd.DataFrame, names: list[str], subject: str, counted: str) -> Chart:
    """Draw the counts of a table as bars with these names; `subject` says what is counted, in units of `counted`."""
    counts = frame["users" if "users" in frame else "count"]

    def draw(ax: Axes) -> None:
        wrapped = [fill(name, _WIDEST) for name in reversed(names)]
        bars = ax.barh(wrapped, counts[::-1], color=_BLUE, edgecolor="black", linewidth=0.6)
        ax.bar_label(bars, labels=[f"{count:,}" for count in counts[::-1]], padding=3)
        ax.set(xlim=(0, float(counts.max()) * 1.12), xlabel=counted)
        _count_in_whole_numbers(ax.xaxis)

    height, note = 1.6 + 0.5 * max(len(frame), 2), f"{subject}. As of {moment(tables.as_of)}."
    if frame.empty:
        return Chart(f"{subject}: none", note, f"{subject}: there are none.", frame, height=height)
    listed = ", ".join(f"{name} {count:,}" for name, count in zip(names, counts, strict=True))
    title = f"{counts.iloc[0]:,} of {counts.sum():,} {counted.lower()}: {names[0]}"
    return Chart(title, note, f"{subject}: {listed}.", frame, draw, height)


def latency_chart(tables: Tables) -> Chart:
    """Draw how long the endpoint took, against the time that Entra waits."""
    durations, latency = figures.durations(tables), figures.latency(tables)
    calls, late = latency["calls"], latency["over_limit"]
    note = f"Share of {calls:,} calls answered within a time, on a scale of equal ratios. As of {moment(tables.as_of)}."
    if not calls:
        unknown = tables.blind or tables.asked.any()
        words = "No ledger shows a call." if unknown else "The endpoint has not been called yet."
        return Chart(words.rstrip("."), f"As of {moment(tables.as_of)}.", words, durations)

    def draw(ax: Axes) -> None:
        share = np.linspace(0, 1, 401)
        took = np.maximum(np.quantile(tables.ledger["duration_ms"].dropna(), share), 1.0)
        most = max(float(took.max()), TIMEOUT_MS) * 1.3
        ax.plot(took, share, color=_BLUE, linewidth=2, drawstyle="steps-pre")
        ax.axvspan(TIMEOUT_MS, most, color=_VERMILION, alpha=0.25, linewidth=0)
        ax.axvline(TIMEOUT_MS, color=_VERMILION, linewidth=1.5, linestyle="--")
        ends: dict[str, Any] = {"textcoords": "offset points", "ha": "right", "va": "bottom", "color": _VERMILION}
        ax.annotate(f"Entra waits {TIMEOUT_MS:,} ms", (TIMEOUT_MS, 0.03), (-4, 0), **ends)
        least = float(took[20]) / 2
        ax.set(xscale="log", xlim=(least, most), ylim=(0, 1.03), xlabel="Milliseconds", ylabel="Answered")
        ax.set_xticks([each for each in _TIMES if least <= each <= most])
        ax.minorticks_off()
        ax.xaxis.set_major_formatter("{x:,.0f}")
        ax.yaxis.set_major_formatter("{x:.0%}")

    numbers = durations[["step", "count"]].rename(columns={"step": "answered in", "count": "calls"})
    title = f"99 % of the calls were answered within {latency['p99']:,.0f} ms; {late:,} took over {TIMEOUT_MS:,} ms"
    return Chart(title, note, say("latency", latency=latency, limit=TIMEOUT_MS), numbers, draw)


def cohort_chart(tables: Tables, by: str) -> Chart:
    """Draw each group's fair share with its interval; a group that lags has another marker and says so."""
    groups, name = cohorts(tables, by), by.replace("_", " ")
    shown, as_of = groups.head(_GROUPS), f"s of {moment(tables.as_of)}."
    height = 1.4 + 0.4 * max(len(shown), 2)
    shares = ["fair_share", "fair_low", "fair_high", "others"]
    lags = groups["lagging"].map({True: "yes", False: "no"}).mask(groups["fair_share"].isna(), _YOUNG)
    numbers = groups.assign(**{each: (100 * groups[each]).round(1) for each in shares}, lagging=lags)
    headings = TEXTS["headings"]["cohorts"]
    numbers = numbers[[*headings]].rename(columns=headings)
    if not np.isfinite(shown["fair_share"]).any():
        words = "No table says when users were flagged."
        return Chart(f"By {name}, nothing can be compared", f"A{as_of}", words, numbers, height=height)

    def draw(ax: Axes) -> None:
        heights = np.arange(len(shown))[::-1]
        share = 100 * shown[["fair_low", "fair_share", "fair_high"]].to_numpy(dtype=float)
        for lags, colour, marker in ((False, _BLUE, "o"), (True, _VERMILION, "D")):
            some = (shown["lagging"] == lags).to_numpy()
            low, middle, high = share[some].T
            errors = np.clip([middle - low, high - middle], 0, None)
            ax.errorbar(middle, heights[some], xerr=errors, fmt=marker, color=colour, capsize=4, markersize=7)
        for height, lags, (_, middle, _) in zip(heights, shown["lagging"], share, strict=True):
            words = "too young" if np.isnan(middle) else f"{middle:.0f} %" + (" lags" if lags else "")
            ax.annotate(f" {words}", (1, height), **_AT_END)
        width = _NAME if ax.figure.get_figwidth() == _WIDE else _SHORT_NAME  # type: ignore[union-attr]
        labels = [f"{_shortened(row['cohort'], width)} ({row['users']:,})" for row in records(shown)]
        ax.set_yticks(heights, labels)
        ax.set(xlim=(0, 100), ylim=(-0.6, len(shown) - 0.4), xticks=range(0, 101, 20), xlabel="Share moved, %")

    time, late = span(pd.Timedelta(days=shown["days"].iloc[0])), records(groups[groups["lagging"]])
    title = f"By {name}, no group lags behind the others by more than chance explains"
    if late:
        title = say("cohorts_title", name=name, worst=late[0], group=_shortened(late[0]["cohort"], _NAME))
    alt = say("cohorts", name=name, late=late, groups=len(groups))
    note = f"Share moved within {time} of the flag; the line is the range that chance leaves. A{as_of}"
    return Chart(title, note, alt, numbers, draw, height)


def campaign_chart(tables: Tables, campaign: Campaign) -> Chart:
    """Draw what both groups did in the days around a reminder."""
    shares = course(tables, campaign)
    ends, both = shares["day"] + 1, shares[[*_GROUP_LINES]]

    def draw(ax: Axes) -> None:
        for name, line in _GROUP_LINES.items():
            users = np.array([len(getattr(campaign, name))])
            if users[0]:
                low, high = wilson(both[name].to_numpy() * users, users, quantile())
                ax.fill_between(ends, low, high, color=line["color"], alpha=0.25, linewidth=0)
            ax.plot(ends, both[name], markersize=4, linewidth=2, **line)
            last, words = both[name].iloc[-1], f"{line['label']} {100 * both[name].iloc[-1]:.0f} %"
            beside: dict[str, Any] = {"textcoords": "offset points", "va": "center", "color": line["color"]}
            ax.annotate(words, (ends.iloc[-1], last), (6, 0), **beside)
        ax.axvline(0, color=_BLACK, linestyle=":", linewidth=1.2)
        top = max(float(both.max().max()) * 1.2, 0.01)
        ax.set(ylim=(0, top), xlabel="Days since the campaign", ylabel="Share moved", xmargin=0.02)
        ax.yaxis.set_major_formatter("{x:.0%}")

    numbers = (100 * both).round(1).rename(columns=lambda name: f"{name}, % moved")
    numbers.insert(0, "end of day", ends)
    title, note = say("campaign_title", sent=campaign), say("campaign_note", sent=campaign)
    return Chart(title, note, campaign.words, numbers, draw, height=3.4)


def _draw_steps(ax: Axes, times: pd.Series, curve: pd.DataFrame, names: Sequence[str]) -> None:
    for name in names:
        width, every = (2.4 if name == "migrated" else 1.6), max(1, len(curve) // 10)
        style = _LINES[name] | {"linewidth": width, "markevery": every, "markersize": 5}
        ax.plot(times, curve[name], drawstyle="steps-post", **style)
    ax.set(ylim=(0, max(curve[names[0]].max(), 1) * 1.1), ylabel="Users")
    _count_in_whole_numbers(ax.yaxis)


def _label_ends(ax: Axes, ends: Sequence[tuple[int, dict[str, Any]]]) -> None:
    """Write each line's (count, style) at its right end, moved up until none covers another."""
    gap = ax.get_ylim()[1] * (0.07 if ax.figure.get_figwidth() == _WIDE else 0.09)  # type: ignore[union-attr]
    heights = [float(count) for count, _ in ends]
    for below, above in pairwise(sorted(range(len(ends)), key=lambda number: (heights[number], -number))):
        heights[above] = max(heights[above], heights[below] + gap)
    for height, (count, line) in zip(heights, ends, strict=True):
        ax.annotate(f" {line['label']} {count:,}", (1, height), **_AT_END, color=line["color"])


def _write_waiting(ax: Axes, along: pd.Series, waiting: pd.Series) -> None:
    """Write under the marks of a time axis how many users still waited then."""
    low, high = ax.get_xlim()
    ticks = [tick for tick in ax.get_xticks() if low <= tick <= high]
    narrow = ax.figure.get_figwidth() < _WIDE  # type: ignore[union-attr]
    ticks = ticks[::2] if narrow and len(ticks) > _NUMBERS else ticks
    dated = not pd.api.types.is_numeric_dtype(along)
    below = -_FONT * (3.2 if dated else 1.8)  # dates have two lines
    numbers = np.asarray(ax.convert_xunits(along.to_numpy()))  # type: ignore[no-untyped-call]
    rows = np.searchsorted(numbers, np.asarray(ticks), side="right") - 1
    under: dict[str, Any] = {"xycoords": ax.get_xaxis_transform(), "textcoords": "offset points", "color": _GREY}
    for tick, row in zip(ticks, rows, strict=True):
        ax.annotate(f"{waiting.iloc[max(row, 0)]:,}", (tick, 0), (0, below), ha="center", va="top", **under)
    ax.annotate("waiting", (low, 0), (-_FONT * 2, below), ha="right", va="top", **under)
    ax.set(xticks=ticks, xlim=(low, high))
    ax.xaxis.labelpad = _FONT * 1.8


def _time_axis(times: pd.Series) -> tuple[pd.Series, str]:
    """Choose the unit of the time axis by how long the curve is: an hour of rehearsal, or months of a migration."""
    start = times.iloc[0]
    elapsed = (times - start).dt.total_seconds()
    for unit, size, limit in _UNITS:
        if elapsed.iloc[-1] <= limit:
            return elapsed / size, f"{unit} since {moment(start)}"
    return times.dt.tz_localize(None), _DAYS


def _count_in_whole_numbers(axis: Axis) -> None:
    """Mark an axis of counts at whole, round numbers only, and at so few that they stay apart."""
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator(nbins=5, integer=True, steps=[1, 2, 5, 10]))
    axis.set_major_formatter("{x:,.0f}")


def _space_dates(axis: Axis, few: int = 5) -> None:
    """Mark an axis of times at so few that they stay apart, and write them as people do. Call it after drawing."""
    from matplotlib.dates import AutoDateLocator, num2date
    from matplotlib.ticker import LinearLocator

    first, last = axis.get_view_interval()
    short = last - first < _SHORT

    def words(number: float, _: float) -> str:
        date = num2date(number)  # type: ignore[no-untyped-call]
        return f"{date:%H:%M:%S}" if short else _date(date)

    most = 6 if axis.get_figure().get_figwidth() == _WIDE else few  # type: ignore[union-attr]
    days = AutoDateLocator(minticks=3, maxticks=most)  # type: ignore[no-untyped-call]
    axis.set_major_locator(LinearLocator(3) if short else days)
    axis.set_major_formatter(words)


def _date(time: Any) -> str:
    """Write a day on two short lines."""
    return f"{time.day} {time:%b}\n{time:%Y}"


def _shortened(name: str, width: int) -> str:
    return name if len(name) <= width else name[: width - 1].rstrip() + "…"

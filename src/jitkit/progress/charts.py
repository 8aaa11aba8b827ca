"""Draws the figures. Each is a picture with the words that say what it shows, and the numbers behind it.

A function here chooses the numbers of one chart and draws its lines or bars on axes; `Chart.picture` does what all
charts have in common. Their words are in `sentences.jinja`, their lines and colours in `charts.toml`.
"""

from __future__ import annotations

import base64
import io
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from textwrap import fill
from typing import Any, Final
from xml.etree import ElementTree

import numpy as np
import pandas as pd
from matplotlib import dates, rc_context, ticker
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure

from jitkit.display import figure, fold
from jitkit.progress import figures, states
from jitkit.progress.cohorts import COLUMN, Campaign, cohorts, course
from jitkit.progress.figures import quantile, wilson
from jitkit.progress.findings import Finding, pace
from jitkit.progress.forecast import Forecast
from jitkit.progress.tables import DAY, PATHS, TEXTS, Tables, records
from jitkit.progress.wording import day, moment, say, span, table_of
from jitkit.protocol import TIMEOUT_MS

_LOOKS: Final = tomllib.loads(Path(__file__).with_name("charts.toml").read_text(encoding="utf-8"))
_INK: Final[dict[str, str]] = _LOOKS["colours"]
_IN_PAGE: Final = {colour: _LOOKS["page"][name] for name, colour in _INK.items()}
_LINES: Final[dict[str, dict[str, Any]]] = {
    name: line | {"color": _INK[line["color"]]} for name, line in _LOOKS["lines"].items()
}
PATH_WORDS: Final = {path: _LINES[path]["label"] for path in (*PATHS, figures.UNKNOWN)}
# Table that is drawn as bars -> what makes it, the column of names, and what is counted.
_BARS: Final = {
    "failures": (figures.failures, "meaning", "Sign-ins"),
    "outcomes": (figures.outcomes, "action", "Calls"),
    "remaining": (states.remaining, "reason", "Users"),
}
_DAYS: Final = "Day (UTC)"
_WAVE: Final = 0.05  # of the users: a day on which at least so many were flagged is a wave
_REFERRED: Final = re.compile(r"[hmp][0-9a-f]{10}")  # ids in a drawn picture that something in it refers to
_OWN: Final = re.compile("|".join(["font-family:[^;]*;? ?", *_IN_PAGE]))  # what a page has a font and a colour for
_FONT: Final = 11
_WIDE, _NARROW = 8.0, 5.0  # inches: in a notebook, and in a page, where two stand side by side or one fills a phone

Draw = Callable[[Axes, bool], object]
"""Draws on axes of a picture that is wide, or not."""


@dataclass(frozen=True)
class Chart:
    """A picture, what it says in words, and the numbers behind it."""

    title: str  # what it says, in a sentence
    note: str  # what is drawn, and as of when
    alt: str  # what it says, in words and numbers
    data: pd.DataFrame = field(repr=False)  # the numbers, as they stand in the table under it
    draw: Draw | None = field(default=None, repr=False)  # None: only the words stand in the picture
    height: float = field(default=4.0, repr=False)  # inches, in a notebook

    def __repr__(self) -> str:
        return f"{self.title}\n{self.alt}"

    def _repr_html_(self) -> str:
        # The words stand under the picture for everybody; a screen reader need not say them twice.
        source = "data:image/png;base64," + base64.b64encode(self.png).decode()
        shown = figure(source, f"{self.title}. The words under the picture say what it shows.", self.alt)
        return shown + ("" if self.data.empty else fold("The numbers", table_of(self.title, self.data)._repr_html_()))

    def picture(self, wide: bool = True) -> Figure:
        """Draw the chart without an idle frame; a narrow one, for a page, without its words."""
        with rc_context(_LOOKS["style"]):
            picture = Figure(figsize=(_WIDE, self.height) if wide else (_NARROW, 0.75 * self.height))
            ax = picture.subplots()
            if self.draw is None:
                ax.set_axis_off()
                words = fill(self.alt, 80 if wide else 50)
                ax.text(0.5, 0.5, words, ha="center", va="center", transform=ax.transAxes)
            else:
                self.draw(ax, wide)
            ax.tick_params(labelsize=_FONT)
            if wide:
                # Over and under the whole picture, so that long labels on the left do not push the words out of it.
                left: dict[str, Any] = {"x": 0.01, "horizontalalignment": "left"}
                picture.suptitle(fill(self.title, 80), **left)
                picture.supxlabel(fill(self.note, 105), color=_INK["grey"], **left)
        return picture

    @cached_property
    def png(self) -> bytes:
        """The picture as a file, with its words."""
        return self._drawn("png", "Software", facecolor="white")

    @cached_property
    def svg(self) -> str:
        """The picture as an element for a page, whose font, colours and alternative text it takes."""
        root = ElementTree.fromstring(self._drawn("svg", "Creator", "Date", "Format", "Type"))  # noqa: S314
        for element in [*root.iter()]:
            for rules in element.findall("{*}style"):
                element.remove(rules)
            element.tag = element.tag.rpartition("}")[2]
            element.attrib = {
                name.rpartition("}")[2]: _OWN.sub(lambda found: _IN_PAGE.get(found[0], ""), value)
                for name, value in element.items()
                if name != "id" or _REFERRED.fullmatch(value)
            }
        root.attrib = {"viewBox": root.attrib["viewBox"], "role": "img", "aria-label": self.alt}
        return ElementTree.tostring(root, encoding="unicode")

    def _drawn(self, form: str, *unsaid: str, **options: Any) -> bytes:
        drawn = io.BytesIO()
        # In a page, no two pictures share a name.
        with rc_context(_LOOKS["style"] | {"svg.hashsalt": self.title + self.note}):
            self.picture(wide=form == "png").savefig(drawn, format=form, metadata=dict.fromkeys(unsaid), **options)
        return drawn.getvalue()


@dataclass(frozen=True)
class Charts:
    """Several charts below each other, or the sentence `otherwise` where there are none."""

    each: tuple[Chart, ...]
    otherwise: str = f"The users have no column {COLUMN} that says who was reminded."

    def __repr__(self) -> str:
        return "\n".join(map(repr, self.each)) or self.otherwise

    def _repr_html_(self) -> str:
        return "".join(chart._repr_html_() for chart in self.each) or f"<p>{self.otherwise}</p>"


def _chart(words: str, numbers: pd.DataFrame, draw: Draw | None, height: float = 4.0, **said: Any) -> Chart:
    """Make a chart whose title, note and alternative text are one of the sentences."""
    title, note, alt = (say(words, part=part, **said) for part in ("title", "note", "alt"))
    return Chart(title, note, alt, numbers, draw, height)


def curve_chart(tables: Tables) -> Chart:
    """Draw how the number of migrated users grew, in all and by path, and how many were in scope and still wait."""
    curve = figures.curve(tables)
    if curve.empty:
        return _chart("nobody_flagged", curve, None)
    first, last = curve.iloc[0], curve.iloc[-1]
    paths = [path for path in PATH_WORDS if last[path]]
    shown = ["in_scope", "migrated", *paths]

    def draw(ax: Axes, wide: bool) -> None:
        along, label = _time_axis(curve["time"])
        _draw_steps(ax, along, curve, shown)
        _label_ends(ax, wide, {name: last[name] for name in shown})
        ax.set_xlabel(label)
        if label == _DAYS:
            _space_dates(ax.xaxis, 6 if wide else 5)
        _write_waiting(ax, wide, along, curve["in_scope"] - curve["migrated"])

    half = tables.users["migrated_at"].clip(upper=last["time"]).quantile(0.5, interpolation="lower")
    by = "" if tables.undated else day(half) if half - first["time"] > DAY else moment(half)
    by_path = [(PATH_WORDS[path], last[path]) for path in paths]
    numbers = curve.rename(columns={"time": "time (UTC)"} | {name: line["label"] for name, line in _LINES.items()})
    return _chart("curve_chart", numbers, draw, first=first, last=last, paths=by_path, half=by, as_of=tables.as_of)


def forecast_chart(forecast: Forecast, tables: Tables) -> Chart:
    """Draw the migrated users so far, and the range in which they go on by what is done."""
    curve, made = figures.curve(tables), forecast.lines
    made = made if len(made) else forecast.days.assign(line="do_nothing")
    lines = {str(name): part for name, part in made.groupby("line", sort=False)}
    if "fix" in lines and not (lines["fix"]["migrated"].to_numpy() > lines["do_nothing"]["migrated"].to_numpy()).any():
        # Nobody is held back.
        lines = {name.removeprefix("fix_and_"): part for name, part in lines.items() if name != "fix"}
    ends = {name: part.iloc[-1] for name, part in lines.items()}

    def draw(ax: Axes, wide: bool) -> None:
        if not curve.empty:
            _draw_steps(ax, curve["time"], curve, ["in_scope", "migrated"])
        for name, part in lines.items():
            _draw_range(ax, name, part["date"], part["migrated"], part["migrated_low"], part["migrated_high"])
        if forecast.too_early:
            ax.annotate("too early to tell", (0.98, 0.5), xycoords="axes fraction", ha="right", color=_INK["grey"])
        elif not curve.empty:
            on = [curve["time"].iloc[-1], forecast.days["date"].iloc[-1]]
            ax.plot(on, [forecast.in_scope] * 2, **_LINES["in_scope"])
        ax.set(ylim=(0, max(forecast.in_scope, 1) * 1.1), ylabel="Users", xlabel=_DAYS)
        _label_ends(ax, wide, {"in_scope": forecast.in_scope} | {name: end["migrated"] for name, end in ends.items()})
        _space_dates(ax.xaxis, 6 if wide else 4)

    if forecast.too_early:
        return _chart("forecast_chart", forecast.days, None if curve.empty else draw, made=forecast, ends=ends)
    weekly = pd.concat([part.iloc[::7].assign(line=_LINES[name]["label"]) for name, part in lines.items()])
    numbers = _headed(weekly.assign(date=weekly["date"].dt.strftime("%Y-%m-%d")), "forecast")
    return _chart("forecast_chart", numbers, draw, made=forecast, ends=ends)


def pace_chart(tables: Tables, findings: Sequence[Finding]) -> Chart:
    """Draw how many users moved on each day; waves, and findings that lie at a time, are marked with a letter."""
    daily = pace(tables)
    if daily.empty or tables.as_of is None:
        return _chart("nobody_flagged", daily, None)
    begun = tables.as_of > daily["day"].iloc[-1] or len(daily) == 1  # at midnight, the day of `as_of` is still to come
    daily = daily if begun else daily.iloc[:-1]
    marked = [*zip("ABCDEFGHIJKLMNOPQRSTUVWXYZ", _spans(tables, findings), strict=False)]

    def draw(ax: Axes, wide: bool) -> None:
        days, top = daily["day"], max(float(daily["moved"].max()), 1.0) * 1.15
        bars = ax.bar(days, daily["moved"], width=0.9, align="edge", color=_INK["blue"])
        if begun:
            bars[-1].set(facecolor="none", edgecolor=_INK["blue"], hatch="////", linewidth=0.6)
        for letter, (begin, end, _, colour) in marked:
            ax.axvspan(begin, end, color=_INK[colour], alpha=0.25, linewidth=0)
            ax.annotate(letter, (begin + (end - begin) / 2, top), ha="center", va="top", fontweight="bold")
        ax.set(ylim=(0, top), ylabel="Users", xlabel=_DAYS)
        if len(days) > 5:
            _space_dates(ax.xaxis, 6 if wide else 5)
        else:
            ax.set_xticks(days + DAY / 2, [_date(each) for each in days])
        _count_in_whole_numbers(ax.yaxis)

    most, last = daily.iloc[int(daily["moved"].to_numpy().argmax())], daily["moved"].iloc[: len(daily) - begun].tail(7)
    marks = [f"{letter}: {what}" for letter, (_, _, what, _) in marked]
    weeks = daily.resample("7D", on="day")["moved"].sum().rename_axis("week from").reset_index()
    weeks["week from"] = weeks["week from"].dt.strftime("%Y-%m-%d")
    return _chart("pace_chart", weeks, draw, most=most, last=last, marks=marks, begun=begun, as_of=tables.as_of)


def _spans(tables: Tables, findings: Sequence[Finding]) -> list[tuple[Any, Any, str, str]]:
    """List the waves after the first one, and the findings that lie at a time: begin, end, words and a colour."""
    flagged = tables.users["flagged_at"].dt.floor("D").value_counts().sort_index()
    waves: Any = flagged[flagged >= _WAVE * len(tables.users)].iloc[1:].items()
    spans = [(begin, begin + DAY, f"wave of {day(begin)}, {count:,} users", "grey") for begin, count in waves]
    for found in findings:
        if found.kind in _LOOKS["marks"] and found.since is not None:
            begin = found.since.floor("D")
            # A campaign is marked where it went out.
            end = begin + DAY if found.until is None or found.kind == "campaign" else found.until.ceil("D")
            spans.append((begin, end, f"{found.label.lower()} of {day(begin)}", _LOOKS["marks"][found.kind]))
    return sorted(spans, key=lambda span: span[0])


def bar_chart(tables: Tables, what: str) -> Chart:
    """Draw a table as bars: `failures`, `outcomes` (what the endpoint answered) or `remaining` (why users are left)."""
    count, named, counted = _BARS[what]
    frame = count(tables)
    counts, names = frame["users" if "users" in frame else "count"], frame[named]
    if what == "failures":
        names = names.where(names == frame["cause"], names + " (" + frame["cause"].str.split(" ").str[0] + ")")

    def draw(ax: Axes, _: bool) -> None:
        edged: dict[str, Any] = {"edgecolor": "black", "linewidth": 0.6}
        # Longer lines would take half of the picture.
        bars = ax.barh([fill(name, 30) for name in names[::-1]], counts[::-1], color=_INK["blue"], **edged)
        ax.bar_label(bars, labels=[f"{count:,}" for count in counts[::-1]], padding=3)
        ax.set(xlim=(0, float(counts.max()) * 1.12), xlabel=counted)
        _count_in_whole_numbers(ax.xaxis)

    bars, height = [*zip(names, counts, strict=True)], 1.6 + 0.5 * max(len(frame), 2)
    drawn = draw if bars else None
    return _chart("bar_chart", frame, drawn, height, what=what, bars=bars, counted=counted, tables=tables)


def latency_chart(tables: Tables) -> Chart:
    """Draw how long the endpoint took, against the time that Entra waits."""
    numbers, latency = figures.durations(tables), figures.latency(tables)
    table = numbers[["step", "count"]].set_axis(["answered in", "calls"], axis=1)

    def draw(ax: Axes, _: bool) -> None:
        share, red = np.linspace(0, 1, 401), _INK["vermilion"]
        took = np.maximum(np.quantile(tables.ledger["duration_ms"].dropna(), share), 1.0)
        least, most = float(took[20]) / 2, max(float(took.max()), TIMEOUT_MS) * 1.3
        ax.plot(took, share, color=_INK["blue"], linewidth=2, drawstyle="steps-pre")
        ax.axvspan(TIMEOUT_MS, most, color=red, alpha=0.25, linewidth=0)
        ax.axvline(TIMEOUT_MS, color=red, linewidth=1.5, linestyle="--")
        left: dict[str, Any] = {"textcoords": "offset points", "ha": "right", "va": "bottom", "color": red}
        ax.annotate(f"Entra waits {TIMEOUT_MS:,} ms", (TIMEOUT_MS, 0.03), (-4, 0), **left)
        ax.set(xscale="log", xlim=(least, most), ylim=(0, 1.03), xlabel="Milliseconds", ylabel="Answered")
        times = (1, 5, 10, 50, 100, 500, TIMEOUT_MS, 10_000, 60_000)
        ax.set_xticks([each for each in times if least <= each <= most])
        ax.minorticks_off()
        ax.xaxis.set_major_formatter("{x:,.0f}")
        ax.yaxis.set_major_formatter("{x:.0%}")

    drawn = draw if latency["calls"] else None
    return _chart("latency_chart", table, drawn, latency=latency, limit=TIMEOUT_MS, tables=tables)


def cohort_chart(tables: Tables, by: str) -> Chart:
    """Draw each group's fair share with its interval; a group that lags has another marker and says so."""
    groups = cohorts(tables, by)
    shown, young = groups.head(15), groups["fair_share"].isna()
    late, compared = records(groups[groups["lagging"]]), not young[:15].all()

    def draw(ax: Axes, wide: bool) -> None:
        heights, names = range(len(shown))[::-1], []
        for height, row in zip(heights, records(shown), strict=True):
            low, middle, high = (100 * row[share] for share in ("fair_low", "fair_share", "fair_high"))
            errors = [[max(middle - low, 0)], [max(high - middle, 0)]]
            colour, marker = ("vermilion", "D") if row["lagging"] else ("blue", "o")
            ax.errorbar(middle, height, xerr=errors, fmt=marker, color=_INK[colour], capsize=4, markersize=7)
            _annotate_end(ax, height, "too young" if np.isnan(middle) else f"{middle:.0f} %" + " lags" * row["lagging"])
            names.append(f"{_shortened(row['cohort'], 28 if wide else 20)} ({row['users']:,})")
        ax.set_yticks(heights, names)
        ax.set(xlim=(0, 100), ylim=(-0.6, len(shown) - 0.4), xticks=range(0, 101, 20), xlabel="Share moved, %")

    time = span(pd.Timedelta(days=shown["days"].iloc[0])) if compared else ""
    worst = _shortened(late[0]["cohort"], 28) if late else ""
    lags = groups["lagging"].map({True: "yes", False: "no"}).mask(young, "too young to compare")
    numbers, shares = groups.assign(lagging=lags), ["fair_share", "fair_low", "fair_high", "others"]
    numbers[shares] = (100 * numbers[shares]).round(1)
    said: dict[str, Any] = {"name": by.replace("_", " "), "groups": len(groups), "time": time, "as_of": tables.as_of}
    height = 1.4 + 0.4 * max(len(shown), 2)
    drawn = draw if compared else None
    return _chart("cohort_chart", _headed(numbers, "cohorts"), drawn, height, late=late, worst=worst, **said)


def campaign_chart(tables: Tables, campaign: Campaign) -> Chart:
    """Draw what both groups did in the days around a reminder."""
    followed = course(tables, campaign)
    names = ["reached", "control"]
    shares = 100 * followed[names].set_axis(followed["day"] + 1)

    def draw(ax: Axes, wide: bool) -> None:
        for name in names:
            users = np.array([len(getattr(campaign, name))])
            if users[0]:
                low, high = wilson(shares[name].to_numpy() / 100 * users, users, quantile())
                _draw_range(ax, name, shares.index, shares[name], 100 * low, 100 * high)
        ax.axvline(0, color=_INK["black"], linestyle=":", linewidth=1.2)
        top = max(float(shares.max().max()) * 1.2, 1)
        ax.set(ylim=(0, top), xlabel="Days since the campaign", ylabel="Share moved")
        ax.yaxis.set_major_formatter("{x:.0f}%")
        _label_ends(ax, wide, {name: shares[name].iloc[-1] for name in names}, "{:.0f} %")

    numbers = shares.round(1).rename(columns="{}, % moved".format).rename_axis("end of day").reset_index()
    return _chart("campaign_chart", numbers, draw, 3.4, sent=campaign)


def _headed(numbers: pd.DataFrame, name: str) -> pd.DataFrame:
    """Choose the columns of a table under a picture, and write their headings as people read them."""
    headings = TEXTS["headings"][name]
    return numbers[[*headings]].rename(columns=headings)


def _draw_steps(ax: Axes, times: pd.Series, curve: pd.DataFrame, names: Sequence[str]) -> None:
    for name in names:
        style = _LINES[name] | {"linewidth": 2.4 if name == "migrated" else 1.6, "markersize": 5}
        ax.plot(times, curve[name], drawstyle="steps-post", markevery=max(1, len(curve) // 10), **style)
    ax.set(ylim=(0, max(curve[names[0]].max(), 1) * 1.1), ylabel="Users")
    _count_in_whole_numbers(ax.yaxis)


def _draw_range(ax: Axes, name: str, along: Any, middle: pd.Series, low: Any, high: Any) -> None:
    ax.fill_between(along, low, high, color=_LINES[name]["color"], alpha=0.2, linewidth=0)
    ax.plot(along, middle, linewidth=2, markersize=4, **_LINES[name])


def _label_ends(ax: Axes, wide: bool, ends: Mapping[str, float], written: str = "{:,}") -> None:
    """Write each line's name and last number at its right end, moved up until none covers another."""
    gap, heights = ax.get_ylim()[1] * (0.07 if wide else 0.09), {name: float(end) for name, end in ends.items()}
    order = [*heights][::-1]
    for below, above in pairwise(sorted(order, key=heights.__getitem__)):
        heights[above] = max(heights[above], heights[below] + gap)
    for name, height in heights.items():
        _annotate_end(ax, height, f"{_LINES[name]['label']} {written.format(ends[name])}", _LINES[name]["color"])


def _annotate_end(ax: Axes, height: float, words: str, colour: str = "black") -> None:
    ax.annotate(f" {words}", (1, height), xycoords=("axes fraction", "data"), va="center", color=colour)


def _write_waiting(ax: Axes, wide: bool, along: pd.Series, waiting: pd.Series) -> None:
    """Write under the marks of a time axis how many users still waited then."""
    (low, high), numeric = ax.get_xlim(), pd.api.types.is_numeric_dtype(along)
    ticks = [tick for tick in ax.get_xticks() if low <= tick <= high]
    ticks = ticks if wide or len(ticks) <= (5 if numeric else 4) else ticks[::2]  # so that numbers stay apart
    below = -_FONT * (1.8 if numeric else 3.2)  # dates have two lines
    numbers = np.asarray(ax.convert_xunits(along.to_numpy()))  # type: ignore[no-untyped-call]
    rows = np.searchsorted(numbers, np.asarray(ticks), side="right") - 1
    under: dict[str, Any] = {"xycoords": ax.get_xaxis_transform(), "textcoords": "offset points", "va": "top"}
    for tick, count in zip(ticks, waiting.iloc[rows.clip(0)], strict=True):
        ax.annotate(f"{count:,}", (tick, 0), (0, below), ha="center", color=_INK["grey"], **under)
    ax.annotate("waiting", (low, 0), (-_FONT * 2, below), ha="right", color=_INK["grey"], **under)
    ax.set(xticks=ticks, xlim=(low, high))
    ax.xaxis.labelpad = _FONT * 1.8


def _time_axis(times: pd.Series) -> tuple[pd.Series, str]:
    """Choose the unit of the time axis by how long the curve is: an hour of rehearsal, or months of a migration."""
    elapsed = (times - times.iloc[0]).dt.total_seconds()
    for unit, size, limit in (("Seconds", 1, 180), ("Minutes", 60, 180 * 60), ("Hours", 3600, 72 * 3600)):
        if elapsed.iloc[-1] <= limit:
            return elapsed / size, f"{unit} since {moment(times.iloc[0])}"
    return times, _DAYS


def _count_in_whole_numbers(axis: Axis) -> None:
    """Mark an axis of counts at whole, round numbers only, and at so few that they stay apart."""
    axis.set_major_locator(ticker.MaxNLocator(nbins=5, integer=True, steps=[1, 2, 5, 10]))
    axis.set_major_formatter("{x:,.0f}")


def _space_dates(axis: Axis, most: int) -> None:
    """Mark an axis of times at so few that they stay apart, and write them as people do. Call it after drawing."""
    first, last = axis.get_view_interval()
    if last - first < 3:  # days: a rehearsal lasts minutes, and clock times say more than dates then
        axis.set_major_locator(ticker.LinearLocator(3))
        axis.set_major_formatter(lambda number, _: f"{dates.num2date(number):%H:%M:%S}")  # type: ignore[no-untyped-call]
    else:
        axis.set_major_locator(dates.AutoDateLocator(minticks=3, maxticks=most))  # type: ignore[no-untyped-call]
        axis.set_major_formatter(lambda number, _: _date(dates.num2date(number)))  # type: ignore[no-untyped-call]


def _date(time: Any) -> str:
    """Write a day on two short lines."""
    return f"{time.day} {time:%b}\n{time:%Y}"


def _shortened(name: str, width: int) -> str:
    return name if len(name) <= width else name[: width - 1].rstrip() + "…"

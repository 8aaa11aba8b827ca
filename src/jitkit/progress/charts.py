"""Draw the figures. Every function takes a table of `metrics` and returns a picture with its words and numbers."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from textwrap import fill
from typing import TYPE_CHECKING, Any, Final

import pandas as pd

from jitkit.progress.chart import COLOURS, Chart, axes, count_in_whole_numbers, dates_apart, finish
from jitkit.progress.words import clock
from jitkit.protocol import TIMEOUT_MS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = [
    "apart",
    "curve_chart",
    "failures_chart",
    "latency_chart",
    "moment",
    "nothing",
    "outcomes_chart",
    "remaining_chart",
    "words_of",
]

# Column of the curve -> its words, colour, line style and marker.
_LINES: Final = {
    "migrated": ("all", COLOURS["black"], "-", "o"),
    "callout": ("by a call", COLOURS["blue"], "--", "s"),
    "silent": ("silently", COLOURS["vermilion"], "-.", "^"),
    "reset": ("by a new password", COLOURS["green"], ":", "D"),
    "unknown": ("unknown how", COLOURS["purple"], (0, (5, 1, 1, 1, 1, 1)), "v"),
}

_UNITS: Final = (("seconds", 1.0, 180.0), ("minutes", 60.0, 180 * 60.0), ("hours", 3600.0, 72 * 3600.0))


def moment(time: pd.Timestamp | None) -> str:
    """Write a time as a person reads it: `22 Nov 2026 16:20 UTC`."""
    return clock(time) if time is not None else "no time"


def words_of(path: str) -> str:
    """Say how somebody was moved: `by a call` for `callout`."""
    return _LINES[path][0]


def curve_chart(curve: pd.DataFrame, in_scope: int, ax: Axes | None = None) -> Chart:
    """Draw how the number of migrated users grew, in all and by path.

    Args:
        curve: the table of `metrics.curve`.
        in_scope: how many users there are to move.
        ax: where to draw; a new figure if left out.
    """
    ax = axes(ax)
    if curve.empty:
        return nothing(ax, "Migrated users", "No user has been flagged yet.", curve)
    first, last = curve.iloc[0], curve.iloc[-1]
    share = f" ({100 * last['migrated'] / in_scope:.1f} %)" if in_scope else ""
    title = f"Migrated: {last['migrated']:,} of {in_scope:,} users · as of {moment(last['time'])}"
    alt = (
        f"Migrated users rise from {first['migrated']:,} on {moment(first['time'])} to {last['migrated']:,} of "
        f"{in_scope:,}{share} on {moment(last['time'])}{_by_path(last)}."
    )
    along, label = _along(curve["time"])
    ends = []
    paths = [name for name in _LINES if name != "migrated" and last[name]]
    for name in ["migrated", *paths]:
        words, colour, style, marker = _LINES[name]
        ax.plot(
            along,
            curve[name],
            color=colour,
            linestyle=style,
            marker=marker,
            markevery=max(1, len(curve) // 10),
            markersize=5,
            linewidth=2.4 if name == "migrated" else 1.6,
            drawstyle="steps-post",
        )
        ends.append((float(last[name]), f" {words} {last[name]:,}", colour))
    ax.axhline(in_scope, color=COLOURS["grey"], linestyle=(0, (1, 3)), linewidth=1.2)
    top = max(in_scope, 1) * 1.1
    ax.set_ylim(0, top)
    ax.annotate(f"in scope {in_scope:,}", (0, in_scope), (4, 3), **_AT_LEFT, color=COLOURS["grey"])
    for height, (_, words, colour) in zip(apart([end for end, *_ in ends], top * 0.07), ends, strict=True):
        ax.annotate(words, (1, height), xycoords=("axes fraction", "data"), va="center", color=colour)
    ax.set_xlabel(label)
    if label == _DAYS:
        dates_apart(ax.xaxis)
    ax.set_ylabel("Users")
    count_in_whole_numbers(ax.yaxis)
    return finish(ax, title, alt, curve.assign(time=curve["time"].dt.tz_localize(None)).rename(columns=_HEADINGS))


def outcomes_chart(outcomes: pd.DataFrame, as_of: pd.Timestamp | None, ax: Axes | None = None) -> Chart:
    """Draw what the endpoint answered.

    Args:
        outcomes: the table of `metrics.outcomes`.
        as_of: until when it tells.
        ax: where to draw; a new figure if left out.
    """
    n = int(outcomes["count"].sum())
    title = f"The endpoint's answers: {n:,} calls · as of {moment(as_of)}"
    return _bars(
        outcomes, [*outcomes["action"]], "count", title, f"Answers of the endpoint to {n:,} calls", "Calls", ax
    )


def failures_chart(failures: pd.DataFrame, as_of: pd.Timestamp | None, ax: Axes | None = None) -> Chart:
    """Draw what made sign-ins fail; the numbers under it say what mends each cause.

    Args:
        failures: the table of `metrics.failures`.
        as_of: until when it tells.
        ax: where to draw; a new figure if left out.
    """
    n = int(failures["count"].sum())
    title = f"Failures by cause: {n:,} sign-ins · as of {moment(as_of)}"
    words = [
        meaning if meaning == cause else f"{meaning} ({cause.partition(' ')[0]})"
        for cause, meaning in zip(failures["cause"], failures["meaning"], strict=True)
    ]
    return _bars(failures, words, "count", title, f"Causes of {n:,} failed sign-ins", "Sign-ins", ax)


def remaining_chart(remaining: pd.DataFrame, as_of: pd.Timestamp | None, ax: Axes | None = None) -> Chart:
    """Draw why people are not moved yet; the numbers under it say what to do about each reason.

    Args:
        remaining: the table of `stuck.remaining`.
        as_of: until when it tells.
        ax: where to draw; a new figure if left out.
    """
    n = int(remaining["users"].sum())
    title = f"Not moved yet: {n:,} users · as of {moment(as_of)}"
    return _bars(
        remaining, [*remaining["reason"]], "users", title, f"Reasons why {n:,} users are not moved yet", "Users", ax
    )


def latency_chart(
    durations: pd.DataFrame, latency: dict[str, Any], as_of: pd.Timestamp | None, ax: Axes | None = None
) -> Chart:
    """Draw how long the endpoint took, against the time that Entra waits.

    Args:
        durations: the table of `metrics.durations`.
        latency: the figures of `metrics.latency`.
        as_of: until when it tells.
        ax: where to draw; a new figure if left out.
    """
    ax = axes(ax)
    calls, late = latency["calls"], latency["over_limit"]
    title = f"Time to answer: {calls:,} calls, {late:,} over {TIMEOUT_MS:,} ms · as of {moment(as_of)}"
    if not calls:
        return nothing(ax, title, "The endpoint has not been called yet.", durations)
    alt = (
        f"Half of {calls:,} calls were answered within {latency['p50']:,.0f} ms, 95 % within {latency['p95']:,.0f} ms "
        f"and 99 % within {latency['p99']:,.0f} ms; {late:,} took longer than the {TIMEOUT_MS:,} ms that Entra waits."
    )
    bars = ax.bar(durations["step"], durations["count"], color=COLOURS["blue"], edgecolor="black", linewidth=0.6)
    bars[-1].set(color=COLOURS["vermilion"], hatch="//", edgecolor="black")
    ax.bar_label(bars, labels=[f"{count:,}" if count else "" for count in durations["count"]], padding=2)
    ax.set_ylabel("Calls")
    ax.set_ylim(0, float(durations["count"].max()) * 1.12)
    count_in_whole_numbers(ax.yaxis)
    ax.tick_params(axis="x", rotation=30)
    return finish(
        ax, title, alt, durations[["step", "count"]].rename(columns={"step": "answered in", "count": "calls"})
    )


_DAYS: Final = "Day (UTC)"
_AT_LEFT: Final[dict[str, Any]] = {
    "xycoords": ("axes fraction", "data"),
    "textcoords": "offset points",
    "va": "bottom",
}
_WIDEST: Final = 30  # characters of a bar's name on one line: longer ones would take the picture's half
_HEADINGS: Final = {"time": "time (UTC)"} | {name: words for name, (words, *_) in _LINES.items()}


def _bars(
    frame: pd.DataFrame, names: Sequence[str], counts: str, title: str, subject: str, axis: str, ax: Axes | None
) -> Chart:
    ax = axes(ax, height=1.4 + 0.5 * max(len(frame), 2))
    if frame.empty:
        return nothing(ax, title, f"{subject}: there are none.", frame)
    listed = ", ".join(f"{name} {count:,}" for name, count in zip(names, frame[counts], strict=True))
    drawn = frame.iloc[::-1]
    labels = [fill(name, _WIDEST) for name in reversed(names)]
    bars = ax.barh(labels, drawn[counts], color=COLOURS["blue"], edgecolor="black", linewidth=0.6)
    ax.bar_label(bars, labels=[f"{count:,}" for count in drawn[counts]], padding=3)
    ax.set_xlim(0, float(frame[counts].max()) * 1.12)
    ax.set_xlabel(axis)
    count_in_whole_numbers(ax.xaxis)
    return finish(ax, title, f"{subject}: {listed}.", frame)


def nothing(ax: Axes, title: str, words: str, data: pd.DataFrame) -> Chart:
    """Say in words why there is nothing to draw."""
    ax.set_axis_off()
    ax.text(0.5, 0.5, words, ha="center", va="center", transform=ax.transAxes)
    return finish(ax, title, words, data)


def _along(times: pd.Series) -> tuple[pd.Series, str]:
    """Choose the unit of the time axis by how long the curve is: an hour of rehearsal, or months of a migration."""
    start = times.iloc[0]
    elapsed = (times - start).dt.total_seconds()
    for unit, size, limit in _UNITS:
        if elapsed.iloc[-1] <= limit:
            return elapsed / size, f"{unit.capitalize()} since {moment(start)}"
    return times.dt.tz_localize(None), _DAYS


def _by_path(last: pd.Series) -> str:
    parts = [f"{last[name]:,} {words}" for name, (words, *_) in _LINES.items() if name != "migrated" and last[name]]
    return f": {', '.join(parts)}" if parts else ""


def apart(heights: Sequence[float], gap: float) -> list[float]:
    """Move labels up until none covers another; their order stays."""
    placed = list(heights)
    order = sorted(range(len(placed)), key=lambda place: placed[place])
    for below, above in pairwise(order):
        placed[above] = max(placed[above], placed[below] + gap)
    return placed

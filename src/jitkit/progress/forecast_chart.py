"""Draw how the count of migrated users goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from jitkit.progress.chart import COLOURS, Chart, axes, count_in_whole_numbers, dates_apart, finish
from jitkit.progress.charts import apart, moment
from jitkit.progress.forecast import Forecast

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["forecast_chart"]


def forecast_chart(forecast: Forecast, curve: pd.DataFrame, ax: Axes | None = None) -> Chart:
    """Draw the migrated users so far and the range in which they go on.

    Args:
        forecast: the forecast.
        curve: the table of `metrics.curve`.
        ax: where to draw; a new figure if left out.
    """
    ax = axes(ax)
    in_scope = forecast.in_scope
    as_of = moment(forecast.as_of)
    title = f"Migrated: {forecast.migrated:,} of {in_scope:,} users, and what comes · as of {as_of}"
    if not curve.empty:
        ax.plot(
            curve["time"], curve["migrated"], color=COLOURS["black"], linewidth=2.4, drawstyle="steps-post", marker="o",
            markevery=max(1, len(curve) // 10), markersize=5,
        )  # fmt: skip
    ax.axhline(in_scope, color=COLOURS["grey"], linestyle=(0, (1, 3)), linewidth=1.2)
    ax.set_ylim(0, max(in_scope, 1) * 1.1)
    ax.set_ylabel("Users")
    ax.set_xlabel("Day (UTC)")
    count_in_whole_numbers(ax.yaxis)
    if forecast.too_early:
        dates_apart(ax.xaxis)
        ax.annotate("too early to tell", (0.98, 0.5), xycoords="axes fraction", ha="right", color=COLOURS["grey"])
        return finish(ax, title, str(forecast), forecast.days)
    days = forecast.days
    ax.fill_between(
        days["date"], days["migrated_low"], days["migrated_high"], color=COLOURS["blue"], alpha=0.25, linewidth=0
    )
    ax.plot(days["date"], days["migrated"], color=COLOURS["blue"], linestyle="--", linewidth=2)
    last = days.iloc[-1]
    names = {"migrated_high": "at most", "migrated": "about", "migrated_low": "at least"}
    heights = apart([float(last[name]) for name in names], in_scope * 0.077)
    for (name, words), height in zip(names.items(), heights, strict=True):
        ax.plot(days["date"], days[name], color=COLOURS["blue"], linewidth=0.8)
        label = f" {words} {last[name]:,}"
        ax.annotate(label, (1, height), xycoords=("axes fraction", "data"), va="center", color=COLOURS["blue"])
    dates_apart(ax.xaxis)
    return finish(ax, title, _words(forecast), _numbers(days))


def _words(forecast: Forecast) -> str:
    last = forecast.days.iloc[-1]
    words = (
        f"{forecast} By {last['date'].day} {last['date']:%b %Y} it will be about {last['migrated']:,} "
        f"({last['migrated_low']:,} to {last['migrated_high']:,}). "
        "The shaded range holds the truth about 8 times in 10."
    )
    if forecast.never_return is None:
        return words
    low, middle, high = (f"{100 * forecast.never_return[name]:.0f}" for name in ("low", "estimate", "high"))
    return f"{words} About {middle} % of all ({low} % to {high} %) never return."


def _numbers(days: pd.DataFrame) -> pd.DataFrame:
    """Every seventh day, as people read it."""
    shown = days.iloc[::7]
    return pd.DataFrame(
        {
            "day": [f"{date:%Y-%m-%d}" for date in shown["date"]],
            "at least": shown["migrated_low"].to_numpy(),
            "about": shown["migrated"].to_numpy(),
            "at most": shown["migrated_high"].to_numpy(),
        }
    )

"""Draw what a reminder did."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.ticker import PercentFormatter

from jitkit.progress.campaigns import Campaign, course
from jitkit.progress.chart import COLOURS, Chart, axes, finish
from jitkit.progress.tables import Tables
from jitkit.progress.words import day

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["campaign_chart"]


def campaign_chart(tables: Tables, campaign: Campaign, ax: Axes | None = None) -> Chart:
    """Draw both groups in the days around a campaign.

    Args:
        tables: what is known.
        campaign: which.
        ax: where to draw; a new figure if left out.
    """
    ax = axes(ax, height=3.4)
    table = course(tables, campaign)
    title = f"Campaign of {day(campaign.at)}: {len(campaign.reached):,} reached, {len(campaign.control):,} not"
    lines = (("reached", COLOURS["green"], "-", "o"), ("control", COLOURS["grey"], "--", "s"))
    for name, colour, style, marker in lines:
        ax.plot(table["day"] + 1, table[name], color=colour, linestyle=style, marker=marker, markersize=4, linewidth=2)
        words = f" {'reached' if name == 'reached' else 'not reached'} {100 * table[name].iloc[-1]:.0f} %"
        ax.annotate(words, (table["day"].iloc[-1] + 1, table[name].iloc[-1]), va="center", color=colour)
    ax.axvline(0, color=COLOURS["black"], linestyle=":", linewidth=1.2)
    ax.set_ylim(0, max(float(table[["reached", "control"]].max().max()) * 1.2, 0.01))
    ax.margins(x=0.02)
    ax.set_xlabel("Days since the campaign")
    ax.set_ylabel("Share moved")
    ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    numbers = (100 * table[["reached", "control"]]).round(1).rename(columns=lambda name: f"{name}, % moved")
    numbers.insert(0, "end of day", table["day"] + 1)
    return finish(ax, title, campaign.words, numbers)

"""Draw how far groups of users are, after the same time."""

from __future__ import annotations

from textwrap import shorten
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

from jitkit.progress.chart import COLOURS, Chart, axes, finish
from jitkit.progress.charts import moment, nothing
from jitkit.progress.tables import records
from jitkit.progress.words import span

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["cohort_chart", "numbers"]

_MOST: Final = 15
_NAME: Final = 28
_YOUNG: Final = "too young to compare"


def cohort_chart(cohorts: pd.DataFrame, by: str, as_of: pd.Timestamp | None, ax: Axes | None = None) -> Chart:
    """Draw each group's fair share with its interval; a group that lags has another marker and says so.

    Args:
        cohorts: the table of `cohorts.cohorts`.
        by: the column that it groups by.
        as_of: until when it tells.
        ax: where to draw; a new figure if left out.
    """
    shown = cohorts.head(_MOST)
    ax = axes(ax, height=1.4 + 0.4 * max(len(shown), 2))
    name = by.replace("_", " ")
    title = f"Moved, by {name} · as of {moment(as_of)}"
    if not len(shown) or not np.isfinite(shown["fair_share"]).any():
        return nothing(ax, title, "No table tells when users were flagged.", numbers(cohorts))
    time = span(pd.Timedelta(days=shown["days"].iloc[0]))
    title = f"Moved within {time} of the flag, by {name} · as of {moment(as_of)}"
    heights = np.arange(len(shown))[::-1]
    share = 100 * shown[["fair_low", "fair_share", "fair_high"]].to_numpy(dtype=float)
    for lags, colour, marker in ((False, COLOURS["blue"], "o"), (True, COLOURS["vermilion"], "D")):
        some = (shown["lagging"] == lags).to_numpy()
        low, middle, high = share[some].T
        ax.errorbar(
            middle, heights[some], xerr=np.clip([middle - low, high - middle], 0, None), fmt=marker, color=colour,
            capsize=4, markersize=7,
        )  # fmt: skip
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
    return finish(ax, title, _words(cohorts, name), numbers(cohorts))


def numbers(cohorts: pd.DataFrame) -> pd.DataFrame:
    """Write the table for people: shares in percent."""
    percent = {name: (100 * cohorts[name]).round(1) for name in ("fair_share", "fair_low", "fair_high", "others")}
    return pd.DataFrame(
        {
            "group": cohorts["cohort"],
            "users": cohorts["users"],
            "moved": cohorts["migrated"],
            "left": cohorts["remaining"],
            "share moved, %": percent["fair_share"],
            "at least": percent["fair_low"],
            "at most": percent["fair_high"],
            "all others": percent["others"],
            "lags": cohorts["lagging"].map({True: "yes", False: "no"}).mask(cohorts["fair_share"].isna(), _YOUNG),
            "behind": cohorts["behind"],
        }
    )


def _words(cohorts: pd.DataFrame, name: str) -> str:
    late = cohorts[cohorts["lagging"]]
    if late.empty:
        return f"By {name}, no group lags behind the others by more than chance explains."
    listed = "; ".join(
        f"{row['cohort']}, {100 * row['fair_share']:.0f} % against {100 * row['others']:.0f} % of the others, "
        f"{row['behind']:,} behind"
        for row in records(late.head(5))
    )
    return f"By {name}, {len(late):,} of {len(cohorts):,} groups lag: {listed}."

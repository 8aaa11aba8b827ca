"""A picture with its words and its numbers."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pandas as pd

from jitkit.display import Table, figure, fold

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

__all__ = [
    "COLOURS",
    "Chart",
    "Charts",
    "axes",
    "count_in_whole_numbers",
    "dates_apart",
    "finish",
    "headings_of",
    "rows_of",
]

# Okabe and Ito's colours, told apart by people who see few colours. They never carry a meaning alone.
COLOURS = {
    "black": "#000000",
    "blue": "#0072B2",
    "vermilion": "#D55E00",
    "green": "#009E73",
    "purple": "#CC79A7",
    "grey": "#595959",
}

_FONT = 11
_SHORT = 3.0  # days: a rehearsal lasts minutes, and clock times tell more than dates then


@dataclass(frozen=True)
class Chart:
    """A picture, what it says in words, and the numbers behind it.

    Args:
        title: what it shows, of how many, as of when.
        alt: what it says, in words and numbers.
        png: the picture.
        data: the numbers, as they stand in the table under it.
    """

    title: str
    alt: str
    png: bytes = field(repr=False)
    data: pd.DataFrame = field(repr=False)

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
    """Several charts below each other.

    Args:
        each: the charts.
        otherwise: what to say where there are none.
    """

    each: tuple[Chart, ...]
    otherwise: str

    def __repr__(self) -> str:
        return "\n".join(map(repr, self.each)) or self.otherwise

    def _repr_html_(self) -> str:
        return "".join(chart._repr_html_() for chart in self.each) or f"<p>{self.otherwise}</p>"


def axes(ax: Axes | None, *, height: float = 4.0) -> Axes:
    """Take the given axes, or make a figure of its own that no window and no state knows of."""
    if ax is not None:
        return ax
    from matplotlib.figure import Figure

    return Figure(figsize=(8, height), dpi=110, layout="constrained", facecolor="white").subplots()


def finish(ax: Axes, title: str, alt: str, data: pd.DataFrame) -> Chart:
    """Put the title on, take off what says nothing, and draw."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.tick_params(labelsize=_FONT)
    for label in (ax.xaxis.label, ax.yaxis.label):
        label.set_fontsize(_FONT)
    for text in ax.texts:
        text.set_fontsize(_FONT)
    picture: Figure = ax.get_figure(root=True)  # type: ignore[assignment]
    if len(picture.axes) == 1:
        # Over the whole picture, so that long labels on the left do not push the title out of it.
        picture.suptitle(title, x=0.01, horizontalalignment="left", fontsize=_FONT + 1)
    else:
        ax.set_title(title, loc="left", fontsize=_FONT + 1, wrap=True)
    drawn = io.BytesIO()
    picture.savefig(drawn, format="png", metadata={"Software": None})
    return Chart(title, alt, drawn.getvalue(), data)


def count_in_whole_numbers(axis: Axis) -> None:
    """Mark an axis of counts at whole numbers only, and at so few that they stay apart."""
    from matplotlib.ticker import MaxNLocator, StrMethodFormatter

    axis.set_major_locator(MaxNLocator(nbins=5, integer=True))
    axis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))


def dates_apart(axis: Axis) -> None:
    """Mark an axis of times at so few that they stay apart, and write them as people do. Call it after drawing."""
    from matplotlib.dates import AutoDateLocator, num2date
    from matplotlib.ticker import FuncFormatter, LinearLocator

    first, last = axis.get_view_interval()
    short = last - first < _SHORT

    def words(number: float, _: int | None) -> str:
        date = num2date(number)  # type: ignore[no-untyped-call]
        return f"{date:%H:%M:%S}" if short else f"{date.day} {date:%b %Y}"

    days = AutoDateLocator(minticks=3, maxticks=6)  # type: ignore[no-untyped-call]
    axis.set_major_locator(LinearLocator(3) if short else days)
    axis.set_major_formatter(FuncFormatter(words))


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

"""Writes figures in words: sentences and the page from templates, and the headings and cells of tables."""

from __future__ import annotations

from functools import cache
from typing import Any

import jinja2
import pandas as pd

from jitkit.display import Table
from jitkit.progress.tables import TEXTS
from jitkit.protocol import CALLS_PER_SECOND


def day(time: Any) -> str:
    """Write a day: `22 Nov 2026`."""
    return f"{time.day} {time:%b %Y}"


def moment(time: Any) -> str:
    """Write a moment: `22 Nov 2026 16:20 UTC`; a missing one is `no time`."""
    return "no time" if pd.isna(time) else f"{day(time)} {time:%H:%M} UTC"


def days(count: int) -> str:
    """Write a number of days: `1 day`, `12 days`."""
    return "1 day" if count == 1 else f"{count:,} days"


def span(length: Any) -> str:
    """Write a length of time in its largest fitting unit: `40 minutes`, `9 hours`, `3 days`."""
    minutes = length / pd.Timedelta(minutes=1)
    if minutes < 90:
        return "1 minute" if round(minutes) == 1 else f"{minutes:.0f} minutes"
    return f"{minutes / 60:.0f} hours" if minutes < 72 * 60 else days(round(minutes / 60 / 24))


def say(sentence: str, **figures: object) -> str:
    """Write one of the sentences of `sentences.jinja`, on one line."""
    macro = getattr(template("sentences.jinja").module, sentence)
    return " ".join(macro(**{name: figures[name] for name in macro.arguments}).split())


@cache
def template(name: str) -> jinja2.Template:
    """Load a template of this package; in a page, everything that it is given stays text."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("jitkit.progress", ""),
        autoescape=jinja2.select_autoescape(["html.jinja"]),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {"texts": TEXTS, "calls_per_second": CALLS_PER_SECOND}
    environment.filters |= {"day": day, "days": days, "span": span, "moment": moment, "pace": _pace}
    environment.filters |= {
        "headings": headings_of,
        "rows": rows_of,
        "scaled": _scaled,
        "count": "{:,}".format,
        "number": lambda value, digits=0: f"{value:,.{digits}f}",
        "percent": lambda share, digits=0: f"{100 * share:.{digits}f} %",
        "numeric": lambda frame: [*map(pd.api.types.is_numeric_dtype, frame.dtypes)],
        "spaced": lambda frame, column: frame.assign(**{column: frame[column].astype("str").str.replace("_", " ")}),
    }
    return environment.get_template(name)


def headings_of(frame: pd.DataFrame) -> list[str]:
    """Write a table's columns as people read them: `Answered in` for `answered_in`."""
    return [name[:1].upper() + name[1:] for name in frame.columns.astype("str").str.replace("_", " ")]


def rows_of(frame: pd.DataFrame) -> list[list[str]]:
    """Write a table's cells as people read them: thousands apart, times to the second, nothing for what is missing."""
    return [[_cell(value) for value in row] for row in frame.itertuples(index=False)]


def table_of(caption: str, frame: pd.DataFrame) -> Table:
    """Show a frame as people read it."""
    return Table(caption=caption, columns=headings_of(frame), rows=rows_of(frame))


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


def _scaled(frame: pd.DataFrame, column: str, factor: int, heading: str) -> pd.DataFrame:
    """Multiply a column for people to read, to one digit, under another heading: shares in percent."""
    return frame.assign(**{column: (factor * frame[column]).round(1)}).rename(columns={column: heading})


def _pace(moved: pd.Series) -> str:
    """Write the mean of some days so that a slow pace does not look like none."""
    mean = float(moved.mean())
    return f"{mean:,.0f}" if mean >= 10 or mean.is_integer() else f"{mean:.1f}"

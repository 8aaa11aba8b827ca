"""Times and lengths of time as people say them."""

from __future__ import annotations

from typing import Any

import pandas as pd

from jitkit.errors import BadTable

__all__ = ["clock", "day", "days", "span", "time_of"]


def day(time: Any) -> str:
    """Write a day: `22 Nov 2026`."""
    return f"{time.day} {time:%b %Y}"


def clock(time: Any) -> str:
    """Write a moment: `22 Nov 2026 16:20 UTC`."""
    return f"{day(time)} {time:%H:%M} UTC"


def days(count: int) -> str:
    """Write a number of days: `1 day`, `12 days`."""
    return "1 day" if count == 1 else f"{count:,} days"


def span(length: Any) -> str:
    """Write a length of time in its largest fitting unit: `40 minutes`, `9 hours`, `3 days`."""
    minutes = length / pd.Timedelta(minutes=1)
    if minutes < 90:
        return "1 minute" if round(minutes) == 1 else f"{minutes:.0f} minutes"
    return f"{minutes / 60:.0f} hours" if minutes < 72 * 60 else days(round(minutes / 60 / 24))


def time_of(text: str, name: str) -> pd.Timestamp:
    """Read a time that somebody typed.

    Args:
        text: ISO 8601; UTC if it names no zone.
        name: what it is, for the message.

    Raises:
        BadTable: it is no time.
    """
    try:
        time = pd.Timestamp(text)
    except ValueError:
        time = pd.NaT  # type: ignore[assignment]
    if pd.isna(time):
        raise BadTable(f"{name} {text} is no time.", next_step="Write it as 2026-09-29 or 2026-09-29T08:00Z.")
    return time.tz_localize("UTC") if time.tzinfo is None else time.tz_convert("UTC")

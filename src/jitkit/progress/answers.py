"""The five questions that everybody asks, each answered in a sentence or two made of numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pandas as pd

from jitkit.progress.cutover import CutOver
from jitkit.progress.forecast import Forecast
from jitkit.progress.metrics import totals
from jitkit.progress.pace import pace
from jitkit.progress.states import summary
from jitkit.progress.stuck import NEVER_TRIED, remaining
from jitkit.progress.tables import Tables
from jitkit.progress.words import day, days

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["QUESTIONS", "fast", "moved", "never", "stuck", "when"]

QUESTIONS: Final[Sequence[str]] = (
    "How many moved?",
    "How fast?",
    "Who is stuck, and why?",
    "Who never comes back?",
    "When may the old system be switched off?",
)

_WEEK: Final = 7


def moved(tables: Tables) -> str:
    """Say how many moved."""
    counts, confirmed = totals(tables), summary(tables)["confirmed"]
    if not counts["in_scope"]:
        return "Nobody is in scope."
    words = f"{counts['migrated']:,} of {_people(counts['in_scope'])} moved ({100 * counts['migrated_share']:.1f} %)."
    if len(tables.sign_ins) and counts["migrated"]:
        share = "All" if confirmed == counts["migrated"] else f"{confirmed:,}" if confirmed else "None"
        words += f" {share} of them signed in as they were moved or since"
        words += ", which confirms it." if confirmed else " as far as the log tells: nothing confirms it."
    return words


def fast(tables: Tables) -> str:
    """Say how fast it goes now, and how fast it went at first."""
    table = pace(tables)
    # The day of `as_of` is not over; that of the first flag is not whole, unless the flag was set at midnight.
    began = int(len(table) > 0 and tables.users["flagged_at"].min() > table["day"].iloc[0])
    whole = table.iloc[began:-1]
    if not len(whole):
        if len(table):
            return f"The first {'whole ' if len(table) > 1 else ''}day is not over yet."
        known = not tables.users["migrated_at"].notna().any()
        return "Nobody has been flagged yet." if known else "No table tells when people were flagged."
    last, first = whole.tail(_WEEK), whole.head(_WEEK)
    words = f"{_pace(last['moved'])} people a day, over the last {days(len(last))}."
    if len(whole) >= 2 * _WEEK:
        words += f" In the first {days(len(first))} it was {_pace(first['moved'])} a day."
    return words


def stuck(tables: Tables) -> str:
    """Say how many are left, how many of them tried, and what most of these met with."""
    left = remaining(tables)
    whole = int(left["users"].sum())
    if not whole:
        return "Nobody: everybody is moved." if len(tables.users) else "Nobody is in scope."
    tried = left[left["reason"] != NEVER_TRIED]
    count = int(tried["users"].sum())
    if not count or not tables.logged:
        return f"{_people(whole)} left, and no log tells of a try to sign in."
    words = (
        f"{_people(whole)} left. {whole - count:,} of them have not tried to sign in. {count:,} have; the largest "
        f"group of these, {tried['users'].iloc[0]:,}: {tried['reason'].iloc[0]}."
    )
    return words + _barred(tables)


def never(forecast: Forecast) -> str:
    """Say how many never come back, as far as that can be told from those who have not come yet."""
    if forecast.too_early:
        return f"It is too early to tell: {forecast.too_early}"
    if forecast.never_return is None or forecast.migrated == forecast.in_scope:
        return "Nobody is left."
    low, middle, high = (round(forecast.never_return[name] * forecast.in_scope) for name in ("low", "estimate", "high"))
    return (
        f"About {middle:,} people ({low:,} to {high:,}), {100 * forecast.never_return['estimate']:.0f} % of all, if "
        "nothing makes them. Nobody can see this yet; it is estimated from how the stream of those who come thins out, "
        "and who comes once a year looks the same. Such a range holds the truth about 6 times in 10."
    )


def when(forecast: Forecast, choice: CutOver) -> str:
    """Say on which day the target is met, or why on none."""
    words = choice.reason
    if forecast.too_early or not len(choice.dates) or forecast.migrated == forecast.in_scope:
        return words
    today = choice.dates.iloc[0]
    return (
        f"{words} Switched off today ({day(pd.Timestamp(today['date']))}), about {today['resets']:,} of those who are "
        f"left would come within {days(len(forecast.days) - 1)} and need a new password."
    )


def _barred(tables: Tables) -> str:
    """Say how many no sign-in moves before somebody acts; a lock is told apart, because it may end by itself."""
    told = summary(tables)
    barred, cannot = told["states"]["blocked"], told["cannot_migrate"]
    be = "is" if barred == 1 else "are"
    if not barred:
        return ""
    if barred == cannot:
        return f" {barred:,} {be} barred: no sign-in can move them."
    if not cannot:
        return f" {barred:,} {be} locked; a lock may end by itself."
    locked = barred - cannot
    return f" {barred:,} {be} barred until somebody acts, but for {locked:,} whose lock may end by itself."


def _people(count: int) -> str:
    return "1 person is" if count == 1 else f"{count:,} people are"


def _pace(moved: pd.Series) -> str:
    """Write a mean so that a slow pace does not look like none."""
    mean = float(moved.mean())
    return f"{mean:,.0f}" if mean >= 10 or mean.is_integer() else f"{mean:.1f}"

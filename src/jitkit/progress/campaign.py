"""What a reminder did: the people who got it beside people who did not, before and after."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd

from jitkit.errors import BadTable
from jitkit.progress.intervals import quantile
from jitkit.progress.tables import Tables, isin

__all__ = ["Effect", "campaign"]

_USERS: Final = 50
_EVENTS: Final = 10
_DAYS: Final = 3
_CONFIDENCE: Final = 0.95


@dataclass(frozen=True)
class Effect:
    """What a campaign did.

    Args:
        effect: how much the daily hazard of those reached rose above that of the others: migrations a user and day.
        low: the lower end of its 95 % interval.
        high: the upper end.
        extra: the migrations among those reached that would not have come in these days.
        extra_low: the lower end of their interval.
        extra_high: the upper end.
        days: how many days before and after were compared.
        cells: `group` (reached, control), `period` (before, after), `users`, `migrated`, `user_days`, `hazard`.
        words: the result in a sentence.
    """

    effect: float
    low: float
    high: float
    extra: float
    extra_low: float
    extra_high: float
    days: int
    cells: pd.DataFrame
    words: str


def campaign(
    tables: Tables, at: pd.Timestamp, reached: Iterable[str], control: Iterable[str], *, days: int = 14
) -> Effect:
    """Measure a campaign by difference in differences of the daily hazard.

    The hazard is the number of migrations for each day that a flagged user was not yet moved. What changed for
    everybody at the time of the campaign, weekdays and holidays included, is in both groups and falls out. The interval
    takes the wider of two spreads: that of the counts (Poisson) and that of the days.

    Args:
        tables: what is known.
        at: when the campaign began; UTC if it names no time zone.
        reached: ids of the users who got it.
        control: ids of users who did not, chosen by lot at best.
        days: how many days before and after to compare; fewer where the tables do not reach as far.

    Raises:
        BadTable: there is no control group, the groups share users, or there are too few users, migrations or days.
    """
    moment = at.tz_localize("UTC") if at.tzinfo is None else at.tz_convert("UTC")
    groups = _groups(tables, reached, control)
    span = _span(tables, moment, days)
    daily = {group: _daily(tables, rows, moment, span) for group, rows in groups.items()}
    cells = _cells(daily, span)
    _require_enough(groups, cells)
    rate = cells["hazard"].to_numpy()
    effect = float((rate[1] - rate[0]) - (rate[3] - rate[2]))
    spread = max(_by_counts(cells), _by_days(daily, span))
    half = quantile(_CONFIDENCE) * spread
    exposure = float(cells["user_days"][1])
    low, high = effect - half, effect + half
    words = _words(effect * exposure, low * exposure, high * exposure, span)
    return Effect(effect, low, high, effect * exposure, low * exposure, high * exposure, span, cells, words)


def _groups(tables: Tables, reached: Iterable[str], control: Iterable[str]) -> dict[str, np.ndarray]:
    ids = {
        name: pd.Series([*given], dtype="str").str.lower()
        for name, given in (("reached", reached), ("control", control))
    }
    if not len(ids["control"]):
        raise BadTable(
            "Without a control group nobody can tell what a campaign did from what would have happened anyway.",
            next_step="Name users who did not get it, chosen by lot before; for the next one, hold some back.",
        )
    rows = {name: isin(tables.users["user_id"], given) for name, given in ids.items()}
    both = int((rows["reached"] & rows["control"]).sum())
    if both:
        raise BadTable(f"{both:,} users are in both groups.", next_step="Take them out of one.")
    return rows


def _span(tables: Tables, moment: pd.Timestamp, days: int) -> int:
    flagged = tables.users["flagged_at"].min()
    if pd.isna(flagged) or tables.as_of is None:
        raise BadTable(
            "The users have no flagged_at.", next_step="Give the column: it says since when users could move."
        )
    whole = [(moment - flagged) // pd.Timedelta(days=1), (tables.as_of - moment) // pd.Timedelta(days=1), days]
    if min(whole) < _DAYS:
        raise BadTable(
            f"There are {max(min(whole), 0)} whole days to compare, before or after the campaign.",
            next_step=f"Wait until there are {_DAYS} on both sides.",
        )
    return int(min(whole))


def _daily(tables: Tables, rows: np.ndarray, moment: pd.Timestamp, span: int) -> pd.DataFrame:
    """Count migrations and the days at risk of a group, for each day around the campaign."""
    users = tables.users[rows]
    day = pd.Timedelta(days=1)
    start = ((users["flagged_at"] - moment) / day).to_numpy(dtype="float64")
    end = ((users["migrated_at"] - moment) / day).to_numpy(dtype="float64")
    left = np.where(np.isnan(end), np.inf, end)
    found = []
    for first in range(-span, span):
        at_risk = np.clip(np.minimum(left, first + 1) - np.maximum(start, first), 0, None)
        moved = (end >= first) & (end < first + 1) & (start <= end)
        found.append((first, int(moved.sum()), float(np.nansum(at_risk)), int((at_risk > 0).sum())))
    return pd.DataFrame(found, columns=["day", "migrated", "user_days", "users"])


def _cells(daily: dict[str, pd.DataFrame], span: int) -> pd.DataFrame:
    rows = []
    for group, table in daily.items():
        for period, part in (("before", table[:span]), ("after", table[span:])):
            moved, at_risk = int(part["migrated"].sum()), float(part["user_days"].sum())
            rows.append(
                (group, period, int(part["users"].max()), moved, at_risk, moved / at_risk if at_risk else np.nan)
            )
    return pd.DataFrame(rows, columns=["group", "period", "users", "migrated", "user_days", "hazard"])


def _require_enough(groups: dict[str, np.ndarray], cells: pd.DataFrame) -> None:
    for group in groups:
        own = cells[cells["group"] == group]
        users, moved = int(own["users"].min()), int(own["migrated"].sum())
        if users < _USERS or moved < _EVENTS:
            raise BadTable(
                f"The group {group} is too small: {users:,} users still to move, {moved:,} migrations.",
                next_step=f"An interval that says something takes {_USERS} users and {_EVENTS} migrations in each.",
            )


def _by_counts(cells: pd.DataFrame) -> float:
    # Half a migration more keeps a cell without any from looking certain.
    return float(np.sqrt(((cells["migrated"] + 0.5) / cells["user_days"] ** 2).sum()))


def _by_days(daily: dict[str, pd.DataFrame], span: int) -> float:
    rates = [table["migrated"] / table["user_days"].where(table["user_days"] > 0) for table in daily.values()]
    apart = (rates[0] - rates[1]).dropna()
    before, after = apart[apart.index < span], apart[apart.index >= span]
    return float(np.sqrt(before.var() / max(len(before), 1) + after.var() / max(len(after), 1)))


def _words(extra: float, low: float, high: float, span: int) -> str:
    if low > 0:
        said = f"moved about {extra:,.0f} more people than would have come anyway"
    elif high < 0:
        said = f"went with {-extra:,.0f} fewer migrations than the control group leads to expect"
    else:
        said = "cannot be told from no effect"
    return f"Within {span} days the campaign {said} (95 % interval {low:,.0f} to {high:,.0f})."

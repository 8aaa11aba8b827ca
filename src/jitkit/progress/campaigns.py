"""The campaigns that the users table tells of."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

import pandas as pd

from jitkit.errors import BadTable
from jitkit.progress.campaign import Effect, campaign
from jitkit.progress.tables import Tables, once

__all__ = ["COLUMN", "Campaign", "campaigns", "course"]

COLUMN: Final = "campaign"
"""The column of users that tells who was reminded: `reached 2026-07-21`, and `control 2026-07-21` for who was not."""

_CELL: Final = re.compile(r"(reached|control) (\d{4}-\d{2}-\d{2})")
_DAYS: Final = 14


@dataclass(frozen=True)
class Campaign:
    """A reminder and what it did.

    Args:
        at: the day on which it went out (UTC, its beginning).
        reached: ids of those who got it.
        control: ids of those who did not.
        effect: what it did, or None if that cannot be told.
        words: the effect in a sentence, or why there is none.
    """

    at: pd.Timestamp
    reached: pd.Series
    control: pd.Series
    effect: Effect | None
    words: str


@once
def campaigns(tables: Tables) -> list[Campaign]:
    """Measure each campaign that the column `campaign` of the users names; later ones than `as_of` are left out.

    Raises:
        BadTable: a cell of the column is neither empty nor of the form `reached 2026-07-21` or `control 2026-07-21`.
    """
    if COLUMN not in tables.users:
        return []
    cells = tables.users[COLUMN].astype("str")
    sent: dict[str, dict[str, str]] = {}
    for cell in sorted(cells.dropna().unique()):
        if not cell:
            continue
        found = _CELL.fullmatch(cell)
        if found is None:
            raise BadTable(
                f"The column {COLUMN} of users holds “{cell}”.",
                next_step="Write `reached 2026-07-21` for who was reminded then, `control 2026-07-21` for who was not.",
            )
        sent.setdefault(found[2], {})[found[1]] = cell
    moments = ((pd.Timestamp(date, tz="UTC"), groups) for date, groups in sorted(sent.items()))
    return [
        _measured(
            tables, at, *(tables.users.loc[cells == groups.get(name), "user_id"] for name in ("reached", "control"))
        )
        for at, groups in moments
        if tables.as_of is not None and at <= tables.as_of
    ]


def course(tables: Tables, sent: Campaign) -> pd.DataFrame:
    """Follow both groups through the days around a campaign.

    Returns:
        `day` (from the campaign, -14 to 14, as far as the tables reach), `reached`, `control`: the share of the group
        (0 to 1) that has moved by the end of that day.
    """
    users = tables.users.set_index("user_id")["migrated_at"]
    last = 0 if tables.as_of is None else min(_DAYS, (tables.as_of - sent.at) // pd.Timedelta(days=1))
    places = range(-_DAYS, last)
    rows: dict[str, list[float]] = {"day": list(places)}
    for name in ("reached", "control"):
        moved = (users[getattr(sent, name)] - sent.at) / pd.Timedelta(days=1)
        rows[name] = [float((moved < place + 1).mean()) for place in places]
    return pd.DataFrame(rows)


def _measured(tables: Tables, at: pd.Timestamp, reached: pd.Series, control: pd.Series) -> Campaign:
    try:
        effect = campaign(tables, at, reached, control, days=_DAYS)
    except BadTable as refused:
        return Campaign(at, reached, control, None, f"Its effect cannot be told: {refused.happened}")
    return Campaign(at, reached, control, effect, effect.words)

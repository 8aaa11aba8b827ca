"""Who is left, one row a user, for somebody who writes to them or mends their accounts."""

from __future__ import annotations

from typing import Final

import numpy as np
import pandas as pd

from jitkit.progress.metrics import calls
from jitkit.progress.states import MOVED, states
from jitkit.progress.stuck import reasons
from jitkit.progress.tables import KINDS, Tables, micros, once

__all__ = ["stragglers"]

# Columns that would say who somebody is. Whoever needs names joins them to the ids.
_NAMES: Final = (
    "username",
    "upn",
    "userprincipalname",
    "mail",
    "email",
    "display_name",
    "displayname",
    "name",
    "phone",
)


@once
def stragglers(tables: Tables) -> pd.DataFrame:
    """List the users who are not moved, and those whose migration nothing confirms.

    Returns:
        `user_id`, `state`, `last_attempt` (UTC; empty if there was none), `last_cause` (the reason of `stuck.reasons`;
        empty for the unconfirmed), `flagged_at` and the dimension columns, without names and addresses. The longest
        without an attempt come first, then by id.
    """
    users = tables.users
    state = states(tables).reset_index(drop=True)
    waiting = users["migrated_at"].isna().to_numpy()
    cause = np.full(len(users), None, dtype=object)
    cause[waiting] = reasons(tables).to_numpy()
    extra = [name for name in users.columns if name not in KINDS["users"] and name.lower() not in _NAMES]
    left = ~state.isin([each for each in MOVED if each != "unconfirmed"])
    frame = pd.DataFrame(
        {
            "user_id": users["user_id"],
            "state": state.astype("str"),
            "last_attempt": _last_attempt(tables),
            "last_cause": pd.Series(cause, dtype="str"),
            "flagged_at": users["flagged_at"],
            **{name: users[name] for name in extra},
        }
    )[left]
    return frame.sort_values(["last_attempt", "user_id"], na_position="first", ignore_index=True)


def _last_attempt(tables: Tables) -> pd.Series:
    """Find the last row about each user in either log."""
    never = np.iinfo("int64").min
    last = np.full(len(tables.users), never)
    called = calls(tables)
    for people, times in (
        (tables.people, tables.sign_ins["time"]),
        (tables.callers[called.index.to_numpy()], called["time"]),
    ):
        known = people >= 0
        np.maximum.at(last, people[known], micros(times)[known])
    # The smallest number is what pandas writes for no time.
    return pd.Series(pd.DatetimeIndex(last.view("M8[us]")).tz_localize("UTC"))

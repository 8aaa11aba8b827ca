"""Where each user stands: one state a user, made of the flag, the sign-in log and the endpoint's ledger."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pandas as pd

from jitkit.progress.stuck import BLOCKED, DISABLED, FLAG_LEFT, NEVER_TRIED, reasons
from jitkit.progress.tables import PATHS, Tables, micros, once

__all__ = ["CANNOT", "MOVED", "STATES", "last_success", "states", "summary", "table"]

MOVED: Final = ("migrated_by_call", "migrated_silently", "migrated_by_reset", "migrated_unknown", "unconfirmed")
"""States of users whose flag is false."""

STATES: Final = {
    "staged": "in the tenant, and not flagged yet",
    "flagged": "flagged, and no log reaches past that",
    "never_seen": "flagged, and never tried since",
    "attempted": "tried, and the tenant has not moved them",
    "blocked": "the account is barred until somebody acts",
    "stuck": "proved the password, and the flag is still set",
    "migrated_by_call": "moved by a call, and signed in",
    "migrated_silently": "moved by a stored password that matched, and signed in",
    "migrated_by_reset": "moved by a new password, and signed in",
    "migrated_unknown": "moved and signed in, and no log tells how",
    "unconfirmed": "the flag is false, and no sign-in since confirms it",
}
"""Every state, in the order in which a user may pass through them, and what it means."""

CANNOT: Final = ("ambiguous", "disabled", "locked", "malformed", "mfa")
"""Causes of a Block that lie in the account: waiting mends none of them. The others lie in the legacy system."""

_BY_PATH: Final = dict(zip(PATHS, MOVED, strict=False))
# Barred in the legacy system, as the export's column `status` says.
_BARRED: Final = ("blocked", "closed", "deleted", "disabled", "inactive", "suspended")
# A sign-in is logged when it begins, the flag a moment later.
_APART: Final = pd.Timedelta(minutes=5)


@once
def states(tables: Tables) -> pd.Series:
    """Give each user in scope exactly one state.

    The flag has the first word, the latest row about the user (`stuck.reasons`) the second. From the top, the first
    line that holds counts:

    | state | flag | and |
    |---|---|---|
    | migrated_by_call, …_silently, …_by_reset, …_unknown | false | a sign-in succeeded since, or 5 minutes before |
    | unconfirmed | false | no such sign-in: the log has a hole there, or the person was moved and has not come in |
    | staged | not set | other users have a flag, this one has none |
    | stuck | true | the latest call proved the password and did not break on its way back |
    | blocked | true | the latest call was blocked for a cause in `CANNOT`, or the account is disabled in the tenant |
    | attempted | true | any other row since the flag was set |
    | blocked | true | no row, and the column `status` of users says that the old account is barred |
    | never_seen | true | no row, and a log reaches past the moment at which the flag was set |
    | flagged | true | no row, and no log reaches that far |

    A user passes from staged to flagged when the flag is set; from there to attempted, blocked or stuck with each try,
    in any order; to unconfirmed or migrated when the flag becomes false; from unconfirmed to migrated with the next
    sign-in; and back to flagged, or what the rows since tell, if somebody sets the flag again.

    Returns:
        a category of `STATES`, with the user id as index, in the order of `tables.users`.
    """
    users = tables.users
    moved = users["migrated_at"].notna().to_numpy()
    result = np.full(len(users), "unconfirmed", dtype=object)
    confirmed = moved & _confirmed(tables)
    paths = users["path"].map(_BY_PATH).astype("object").fillna("migrated_unknown").to_numpy()
    result[confirmed] = paths[confirmed]
    result[~moved] = _waiting(tables, users[~moved])
    index = pd.Index(users["user_id"], name="user_id")
    return pd.Series(pd.Categorical(result, categories=[*STATES]), index=index, name="state")


def summary(tables: Tables) -> dict[str, Any]:
    """Count the users in each state.

    Returns:
        `states` (every state; the counts sum to the users in scope), `confirmed` (flag false and a later sign-in) and
        `cannot_migrate`: blocked, and not only locked. Whatever the date, they would count as remaining for ever.
    """
    counts = states(tables).value_counts()
    by_state = {state: int(counts.get(state, 0)) for state in STATES}
    confirmed = sum(by_state[state] for state in MOVED) - by_state["unconfirmed"]
    waiting = tables.users["migrated_at"].isna().to_numpy()
    barred = (states(tables)[waiting] == "blocked").to_numpy()
    locked = (reasons(tables) == f"{BLOCKED}locked").to_numpy()
    cannot = int((barred & ~locked).sum())
    return {"states": by_state, "confirmed": confirmed, "cannot_migrate": cannot}


def table(tables: Tables) -> pd.DataFrame:
    """Put the states into words.

    Returns:
        `state`, `users`, `share` (of the users in scope, 0 to 1) and `meaning`; every state, also the empty ones.
    """
    counts = summary(tables)["states"]
    whole = max(sum(counts.values()), 1)
    rows = [(state, count, count / whole, STATES[state]) for state, count in counts.items()]
    return pd.DataFrame(rows, columns=["state", "users", "share", "meaning"])


def last_success(tables: Tables) -> np.ndarray:
    """Find each user's last sign-in that succeeded.

    Returns:
        microseconds since the epoch, in the order of `tables.users`; the smallest number where there is none.
    """
    good = (tables.sign_ins["result_code"] == 0).fillna(False).to_numpy() & (tables.people >= 0)
    last = np.full(len(tables.users), np.iinfo("int64").min)
    # In the order of time: of several the last one stays.
    last[tables.people[good]] = micros(tables.sign_ins["time"])[good]
    return last


def _confirmed(tables: Tables) -> np.ndarray:
    since = micros(tables.users["migrated_at"] - _APART)
    confirmed: np.ndarray = last_success(tables) >= since
    return confirmed


def _waiting(tables: Tables, users: pd.DataFrame) -> np.ndarray:
    codes, words = pd.factorize(reasons(tables))
    state = np.array([_told(word) for word in words], dtype=object)[codes]
    unseen = (reasons(tables) == NEVER_TRIED).to_numpy()
    ends = [log["time"].iloc[-1] for log in (tables.sign_ins, tables.ledger) if len(log)]
    if ends:
        state[unseen & (users["flagged_at"] > max(ends)).to_numpy()] = "flagged"
    else:
        state[unseen] = "flagged"
    state[unseen & _barred(users)] = "blocked"
    if tables.users["flagged_at"].notna().any():
        state[users["flagged_at"].isna().to_numpy()] = "staged"
    return state


def _barred(users: pd.DataFrame) -> np.ndarray:
    if "status" not in users:
        return np.zeros(len(users), dtype=bool)
    return users["status"].astype("str").str.lower().isin(_BARRED).to_numpy()


def _told(reason: str) -> str:
    if reason in FLAG_LEFT:
        return "stuck"
    if reason == DISABLED or reason.removeprefix(BLOCKED) in CANNOT:
        return "blocked"
    return "never_seen" if reason == NEVER_TRIED else "attempted"

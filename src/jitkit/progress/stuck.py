"""Who is not moved yet, and why."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
import pandas as pd

from jitkit.explanations import callout_cause, fix, meaning
from jitkit.progress.clocks import call_times
from jitkit.progress.metrics import calls, counted
from jitkit.progress.tables import Tables, isin, micros, once
from jitkit.protocol import BLOCK, MIGRATE, RETRY, UPDATE

__all__ = [
    "BLOCKED",
    "BROKEN",
    "DISABLED",
    "FLAG_LEFT",
    "NEVER_TRIED",
    "UNTOLD",
    "advice",
    "in_words",
    "reasons",
    "remaining",
]

NEVER_TRIED: Final = "never tried to sign in"
UNTOLD: Final = "not moved, and no log tells of a try"
DISABLED: Final = "tried, and the account is disabled in the tenant"
FLAG_LEFT: Final = (
    "the endpoint said yes, and the flag is still set",
    "signed in after a call, and the flag is still set",
)
BLOCKED: Final = "blocked: "
BROKEN: Final = "failed: "
_LOCKED: Final = "tried, and the tenant had locked the account for a while"
_NOT_ASKED: Final = "tried, and the endpoint was not asked"
_CAME_IN: Final = "signed in without a call, and the flag is still set"
_UNTOLD: Final = "tried, and no ledger tells what the endpoint answered"
# Codes of the sign-in log that come before any call [Microsoft Learn, "Microsoft Entra authentication error codes"].
_STOPPED: Final = {0: _CAME_IN, 50053: _LOCKED, 50057: DISABLED}
_DECIDED: Final = {
    RETRY: "typed a password that the legacy system does not know",
    UPDATE: "was asked for a new password and has not chosen one",
    MIGRATE: FLAG_LEFT[0],
}
_CHANGE: Final = "Check that forceChangePasswordNextSignIn is false for these users."
_ADVICE: Final = {
    NEVER_TRIED: "Wait, or send a reminder.",
    UNTOLD: "Give the tenant's sign-in log as well, if it is missing.",
    _NOT_ASKED: "Check that the app is in the listener's list, and that the flag is set.",
    _CAME_IN: "Check that the app is in the listener's list; a sign-in without a password moves nobody.",
    _LOCKED: "Wait; if it happens often, look for somebody who guesses passwords.",
    DISABLED: "Enable the account if the person may come back; if not, clear the flag.",
    _UNTOLD: "Collect the endpoint's ledger as well.",
    _DECIDED[RETRY]: "Point people to “Forgot password”: a new password moves them as well.",
    _DECIDED[UPDATE]: "Check that password reset by e-mail code is on, then remind these people.",
    FLAG_LEFT[0]: _CHANGE,
    FLAG_LEFT[1]: _CHANGE,
}
# A flag is set a moment before the user's first sign-in, and not by the same clock.
_BEFORE: Final = pd.Timedelta(minutes=5)


def remaining(tables: Tables) -> pd.DataFrame:
    """Say why each user who is not moved yet is not: one reason a user, the latest.

    Returns:
        `reason`, `users`, `fix`; the most frequent first. `users` sums to what `totals` calls remaining.
    """
    told = reasons(tables)
    counts = (told if tables.logged else told.replace(NEVER_TRIED, UNTOLD)).value_counts()
    frame = pd.DataFrame(
        {"reason": map(in_words, counts.index), "fix": map(advice, counts.index), "users": counts.to_numpy()}
    )
    # Causes that mean the same are one reason.
    users = frame.groupby("reason")["users"].sum()
    fixes = frame.sort_values(["users", "fix"], ascending=[False, True]).drop_duplicates("reason").set_index("reason")
    result = counted(users, "reason").rename(columns={"count": "users"})
    return result.assign(fix=result["reason"].map(fixes["fix"]).astype("str"))


@once
def reasons(tables: Tables) -> pd.Series:
    """Give each remaining user the reason that the latest row about them tells.

    Rows from before the flag was set tell nothing of the migration.

    Returns:
        the reason, with the user id as index: a sentence, or `blocked`, `refused` or `failed`, a colon and the cause.
    """
    waiting = tables.users["migrated_at"].isna().to_numpy()
    result = np.full(len(waiting), NEVER_TRIED, dtype=object)
    logged, answered = _logged(tables, waiting), _answered(tables, waiting)
    # A sign-in that both tell of counts once: what the endpoint refused or blocked is told by the endpoint, what broke
    # on the way by Entra, and the rest by the endpoint.
    told = answered.loc[answered["final"], "correlation_id"].dropna()
    broken = logged.loc[logged["broken"] & ~isin(logged["correlation_id"], told), "correlation_id"].dropna()
    answered = answered[answered["final"] | ~isin(answered["correlation_id"], broken)]
    logged = logged[~isin(logged["correlation_id"], answered["correlation_id"])]
    latest = pd.concat([part[["row", "time", "reason"]] for part in (logged, answered)])
    latest = latest.sort_values(["time", "reason"], kind="stable").drop_duplicates("row", keep="last")
    result[latest["row"].to_numpy(dtype="int64")] = latest["reason"].to_numpy(dtype=object)
    ids = pd.Index(tables.users["user_id"][waiting], name="user_id")
    return pd.Series(result[waiting], index=ids, dtype="object")


def _logged(tables: Tables, waiting: np.ndarray) -> pd.DataFrame:
    which = _about(tables, waiting, tables.people, tables.sign_ins["time"])
    rows = tables.sign_ins[["time", "correlation_id", "result_code", "callout_error"]][which]
    codes, errors = rows["result_code"], rows["callout_error"]
    reason = _each(codes, lambda code: _STOPPED.get(code, _NOT_ASKED), _NOT_ASKED)
    untold = np.where((codes == 0).fillna(False), FLAG_LEFT[1], _UNTOLD)
    asked, broken = errors.notna().to_numpy(), (errors > 0).fillna(False).to_numpy()
    reason[asked] = untold[asked]
    reason[broken] = _each(errors[broken], lambda code: BROKEN + callout_cause(code), _UNTOLD)
    return rows.assign(row=tables.people[which], reason=reason, broken=broken)


def _answered(tables: Tables, waiting: np.ndarray) -> pd.DataFrame:
    called, times = calls(tables), call_times(tables)
    callers = tables.callers[called.index.to_numpy()]
    which = _about(tables, waiting, callers, times)
    rows = called.loc[which, ["correlation_id", "action", "cause"]].assign(time=times[which], row=callers[which])
    decided = rows["action"].isin(_DECIDED)
    kinds = rows["action"].map({BLOCK: BLOCKED}).astype("object").fillna("refused: ")
    cause = kinds + rows["cause"].fillna("no cause given").astype("object")
    return rows.assign(reason=cause.mask(decided, rows["action"].map(_DECIDED)), final=~decided)


def _about(tables: Tables, waiting: np.ndarray, people: np.ndarray, times: pd.Series) -> np.ndarray:
    """Mark the rows about users who wait, from the time on when their flag was set."""
    marked: np.ndarray = np.append(waiting, False)[people]
    since = micros(tables.users["flagged_at"] - _BEFORE)
    marked[marked] = micros(times)[marked] >= since[people[marked]]
    return marked


def _each(codes: pd.Series, words: Callable[[int], str], nothing: str) -> np.ndarray:
    """Put each code into words, each different one once."""
    numbers, found = pd.factorize(codes)
    said = np.array([*(words(int(code)) for code in found), nothing], dtype="O")
    return said[numbers]


def in_words(reason: str) -> str:
    """Put one of `reasons` into words that fit after a person: `blocked: the legacy account is locked`."""
    kind, colon, cause = reason.partition(": ")
    return f"{kind}: {meaning(cause)}" if colon else reason


def advice(reason: str) -> str:
    """Say what to do about one of `reasons`."""
    return _ADVICE.get(reason) or fix(reason.partition(": ")[2])

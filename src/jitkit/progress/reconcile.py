"""Three witnesses beside each other: the flag, the sign-in log and the endpoint's ledger."""

from __future__ import annotations

from typing import Final

import numpy as np
import pandas as pd

from jitkit.progress.metrics import calls
from jitkit.progress.tables import Tables, once
from jitkit.protocol import BLOCK, MIGRATE, RETRY, UPDATE

__all__ = ["FLAGS", "LEDGER", "LOG", "matrix", "testimonies"]

FLAGS: Final = ("false", "true", "not set", "not in scope")
LOG: Final = (
    "nothing",
    "came in after a call",
    "came in without a call",
    "the call broke",
    "turned away after a call",
    "turned away without a call",
)
LEDGER: Final = ("nothing", MIGRATE, UPDATE, BLOCK, RETRY, "refused", "another answer")

_FITS: Final = ("", "")
_HOLE: Final = "Collect the sign-in log at least every seven days; export what is missing if another store keeps it."
_LEDGERS: Final = "Collect the ledgers of all endpoints, also of those that were replaced."
_FLAG_STAYS: Final = (
    "the password was proved and the flag is still set: forceChangePasswordNextSignIn is on, or the write came late",
    "Set forceChangePasswordNextSignIn to false for these users, and look again in an hour.",
)


@once
def testimonies(tables: Tables) -> pd.DataFrame:
    """Give what each witness says about each user.

    Of several rows the strongest one counts: a success before a failure, and MigratePassword before UpdatePassword,
    Block, Retry and refusals.

    Returns:
        `flag`, `log`, `ledger` as categories, one row a user in the order of `tables.users`; then one row for all
        strangers of each kind with its `users`: ids that the logs name and that are not in scope.
    """
    users = tables.users
    flag = np.where(users["migrated_at"].notna(), 0, np.where(_flagged(users), 1, 2))
    log = _strongest(_log_codes(tables), tables.people, len(users))
    called = calls(tables)
    ledger = _strongest(_ledger_codes(called), tables.callers[called.index.to_numpy()], len(users))
    return pd.DataFrame(
        {
            "flag": pd.Categorical.from_codes(flag.astype("int8"), pd.Index(FLAGS)),
            "log": pd.Categorical.from_codes(log, pd.Index(LOG)),
            "ledger": pd.Categorical.from_codes(ledger, pd.Index(LEDGER)),
        }
    )


@once
def matrix(tables: Tables) -> pd.DataFrame:
    """Count the users for each combination of what the three witnesses say, with the likely cause of disagreements.

    A witness that was not collected at all contradicts nobody.

    Returns:
        `flag`, `log`, `ledger`, `users`, `agree`, `cause`, `remedy`; disagreements first, the largest first. The users
        of all rows whose flag is not `not in scope` sum to the users in scope.
    """
    found = testimonies(tables).groupby(["flag", "log", "ledger"], observed=True).size().rename("users").reset_index()
    found = found.astype({"flag": "str", "log": "str", "ledger": "str"})
    strangers = _strangers(tables)
    if strangers:
        others = {"flag": ["not in scope"], "log": ["a row"], "ledger": ["or a call"], "users": [strangers]}
        found = pd.concat([found, pd.DataFrame(others)], ignore_index=True)
    judged = [
        _judge(flag, log, ledger, bool(len(tables.sign_ins)), bool(len(tables.ledger)))
        for flag, log, ledger in zip(found["flag"], found["log"], found["ledger"], strict=True)
    ]
    words = pd.DataFrame(judged, columns=["cause", "remedy"], index=found.index).astype("str")
    result = found.assign(agree=words["cause"] == "", cause=words["cause"], remedy=words["remedy"])
    order = ["agree", "users", "flag", "log", "ledger"]
    return result.sort_values(order, ascending=[True, False, True, True, True], ignore_index=True)


def _judge(flag: str, log: str, ledger: str, has_log: bool, has_ledger: bool) -> tuple[str, str]:
    match flag:
        case "not in scope":
            return (
                "the logs name ids that carry no flag: users were deleted, or never flagged",
                "Collect the users again; then nothing has to be done about those who are gone.",
            )
        case "false":
            return _judge_moved(log, ledger, has_log, has_ledger)
        case "true":
            return _judge_waiting(log, ledger, has_log, has_ledger)
    if ledger != "nothing" or log.endswith("after a call") or log == "the call broke":
        return (
            "a call was made for a user without a flag: the flag was taken away since",
            "Set the flag again if this user is still to be moved.",
        )
    return _FITS


def _judge_moved(log: str, ledger: str, has_log: bool, has_ledger: bool) -> tuple[str, str]:
    proved = ledger in (MIGRATE, UPDATE)
    match log:
        case "came in after a call":
            if proved or not has_ledger or ledger == "another answer":
                return _FITS
            if ledger == "nothing":
                return "another endpoint answered, or its ledger was lost", _LEDGERS
            return "the user was moved although this ledger has no yes: another endpoint answered", _LEDGERS
        case "came in without a call":
            if ledger == MIGRATE and has_log:
                return "the sign-in with the call is missing from the log", _HOLE
            return _FITS
        case "nothing":
            if not has_log:
                return _FITS
            return "the flag is false and nobody saw a sign-in: the log has a hole, or the flag was cleared", _HOLE
        case "the call broke":
            return (
                "the answer came too late or damaged, and the flag is false all the same: moved by a reset, or by hand",
                "Wait for the next sign-in, which confirms it; look at the latency.",
            )
    return (
        "the flag is false and no sign-in succeeded: reset and not come back, cleared by hand, or a hole in the log",
        "Wait for the next sign-in, which confirms it; compare with the audit log.",
    )


def _judge_waiting(log: str, ledger: str, has_log: bool, has_ledger: bool) -> tuple[str, str]:
    match log, ledger:
        case "came in after a call", _:
            return _FLAG_STAYS
        case "the call broke", ("MigratePassword" | "UpdatePassword"):
            return (
                "the endpoint said yes, and Entra did not get the answer in time or could not use it",
                "Make the endpoint answer well within two seconds; the next sign-in repeats the question.",
            )
        case "came in without a call", _:
            return (
                "signed in and was not moved: the app is not in the listener's list, or the sign-in took no password",
                "Add the app to the listener (notebook 03); sign-ins by code, passkey or provider move nobody.",
            )
        case _, "MigratePassword":
            return (
                _FLAG_STAYS
                if has_log and log != "nothing"
                else ("the endpoint said yes, and the flag is still set", _HOLE)
            )
        case "turned away after a call", "nothing" if has_ledger:
            return "another endpoint answered, or its ledger was lost", _LEDGERS
        case "nothing", ("UpdatePassword" | "Block" | "Retry" | "refused") if has_log:
            return (
                "a call in the ledger and no sign-in in the log: a hole, a delay, or a caller that is not Entra",
                _HOLE,
            )
        case "turned away without a call", ("UpdatePassword" | "Block" | "Retry"):
            return "calls in the ledger whose sign-ins are missing from the log", _HOLE
    return _FITS


def _flagged(users: pd.DataFrame) -> np.ndarray:
    known = users["flagged_at"].notna().to_numpy()
    return known if known.any() else np.ones(len(users), dtype=bool)


def _log_codes(tables: Tables) -> np.ndarray:
    sign_ins = tables.sign_ins
    good = (sign_ins["result_code"] == 0).fillna(False).to_numpy()
    called = sign_ins["callout_error"].notna().to_numpy()
    broken = (sign_ins["callout_error"] > 0).fillna(False).to_numpy()
    return np.select([broken, good & called, good, called], [3, 1, 2, 4], default=5).astype("int8")


def _ledger_codes(called: pd.DataFrame) -> np.ndarray:
    action = called["action"]
    codes = action.map({name: place for place, name in enumerate(LEDGER)})
    return codes.fillna(len(LEDGER) - 1).where(action.notna(), LEDGER.index("refused")).to_numpy(dtype="int8")


def _strongest(codes: np.ndarray, people: np.ndarray, users: int) -> np.ndarray:
    """Keep the lowest code of each user that is not 0; 0 where there is none."""
    result = np.zeros(users, dtype="int8")
    for code in range(7, 0, -1):
        result[people[(codes == code) & (people >= 0)]] = code
    return result


def _strangers(tables: Tables) -> int:
    """Count the ids that ran a callout and are not in scope."""
    asked = tables.sign_ins["callout_error"].notna().to_numpy() & (tables.people < 0)
    ids = [tables.sign_ins["user_id"][asked], tables.ledger["user_id"][tables.callers < 0]]
    return int(pd.concat([each.astype("str") for each in ids]).dropna().nunique())

"""Signs of somebody who tries passwords that are not theirs."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pandas as pd

from jitkit.progress.metrics import calls
from jitkit.progress.tables import Tables, micros
from jitkit.protocol import RETRY

__all__ = ["UNKNOWN_NAME", "WRONG_PASSWORD", "attempts", "signs", "targets"]

WRONG_PASSWORD: Final = 50126  # wrong name or password [Microsoft Learn, "Microsoft Entra authentication error codes"]
UNKNOWN_NAME: Final = 50034  # the account does not exist [same]
_REPLAYED: Final = ("nonce_replayed", "nonce_reused")
_STEPS: Final = (1, 2, 5, 10, 20, 50)


def signs(tables: Tables) -> dict[str, Any]:
    """Gather what points to guessing, to stolen lists of passwords, and to calls that were recorded and sent again.

    Returns:
        `wrong` (tries with a wrong password), `accounts` (with at least one), `most` (tries at one account), `unknown`
        and `unknown_share` (tries with a name that nobody has; 0 to 1 of all tries that failed, None without any),
        `replays` (calls refused because they came before), `guess_limit` (calls that the endpoint stopped for too many
        guesses) and `strangers` (calls without a token of Entra).
    """
    found = _tries(tables)
    asked = tables.ledger["cause"]
    unknown = int((tables.sign_ins["result_code"] == UNKNOWN_NAME).sum())
    unknown += int((calls(tables)["cause"] == "unknown_user").sum())
    failed = unknown + int(found.sum())
    return {
        "wrong": int(found.sum()),
        "accounts": int((found > 0).sum()),
        "most": int(found.max()) if len(found) else 0,
        "unknown": unknown,
        "unknown_share": round(unknown / failed, 6) if failed else None,
        "replays": int(asked.isin(_REPLAYED).sum()),
        "guess_limit": int((asked == "too_many_guesses").sum()),
        "strangers": int((asked.eq("no_token") | asked.str.startswith("token_")).fillna(False).sum()),
    }


def attempts(tables: Tables) -> pd.DataFrame:
    """Sort accounts by how many wrong passwords were tried at them: many at few is guessing, few at many is a list.

    Returns:
        `tries` in words, `at_least`, `accounts`, `wrong` (tries in all); every step, also the empty ones.
    """
    counts = _tries(tables)
    counts = counts[counts > 0]
    ends = [*_STEPS[1:], np.inf]
    rows = []
    for low, high in zip(_STEPS, ends, strict=True):
        inside = counts[(counts >= low) & (counts < high)]
        last = high - 1
        words = f"{low} or more" if high == np.inf else f"{low}" if last == low else f"{low} to {last:.0f}"
        rows.append((words, low, len(inside), int(inside.sum())))
    return pd.DataFrame(rows, columns=["tries", "at_least", "accounts", "wrong"])


def targets(tables: Tables, most: int = 20) -> pd.DataFrame:
    """Name the accounts at which most wrong passwords were tried, by their ids.

    Returns:
        `user_id`, `wrong`; the most first, ten tries or more.
    """
    counts = pd.Series(_tries(tables), index=tables.users["user_id"], name="wrong")
    found = counts[counts >= 10].reset_index()
    return found.sort_values(["wrong", "user_id"], ascending=[False, True], ignore_index=True).head(most)


def _tries(tables: Tables) -> np.ndarray:
    """Count the wrong passwords at each user: from the log, and from the ledger where the log tells of fewer.

    Of somebody who waits, only the endpoint can tell. Where it was not asked, Entra refuses the right one too.
    """
    users = len(tables.users)
    called = calls(tables)
    retried = ((called["action"] == RETRY) & (called["cause"] == "wrong")).to_numpy()
    wrong = (tables.sign_ins["result_code"] == WRONG_PASSWORD).fillna(False).to_numpy()
    asked = tables.sign_ins["callout_error"].notna().to_numpy()
    if asked.any():
        wrong = wrong & (asked | _moved(tables))
    callers = tables.callers[called.index.to_numpy()]
    counts = [
        np.bincount(people[which & (people >= 0)], minlength=users)
        for people, which in ((callers, retried), (tables.people, wrong))
    ]
    return np.maximum(*counts)


def _moved(tables: Tables) -> np.ndarray:
    """Mark the sign-ins of people who had moved by then."""
    since = micros(tables.users["migrated_at"])
    never = np.iinfo("int64").max
    since = np.append(np.where(tables.users["migrated_at"].isna(), never, since), never)
    moved: np.ndarray = micros(tables.sign_ins["time"]) >= since[tables.people]
    return moved

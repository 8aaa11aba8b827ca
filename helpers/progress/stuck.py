"""Who is not moved yet, and why."""

from __future__ import annotations

from typing import Final

import pandas as pd

from helpers.progress.mends import callout_cause, meaning, mend
from helpers.progress.metrics import calls, counted
from helpers.progress.tables import Tables
from helpers.protocol import BLOCK, MIGRATE, RETRY, UPDATE

__all__ = ["blocked", "reasons", "remaining"]

_NEVER_TRIED: Final = "never tried to sign in"
_NOT_ASKED: Final = "tried, and the endpoint was not asked"
_UNTOLD: Final = "tried, and no ledger tells what the endpoint answered"
# Codes of the sign-in log that come before any call [Microsoft Learn, "Microsoft Entra authentication error codes"].
_STOPPED: Final = {
    50053: "tried, and the tenant had locked the account for a while",
    50057: "tried, and the account is disabled in the tenant",
}
_DECIDED: Final = {
    RETRY: "typed a password that the legacy system does not know",
    UPDATE: "was asked for a new password and has not chosen one",
    MIGRATE: "the endpoint said yes, and the flag is still set",
}
_ADVICE: Final = {
    _NEVER_TRIED: "Wait, or send a reminder.",
    _NOT_ASKED: "Check that the app is in the listener's list, and that the flag is set.",
    _STOPPED[50053]: "Wait; if it happens often, look for somebody who guesses passwords.",
    _STOPPED[50057]: "Enable the account if the person may come back; if not, clear the flag.",
    _UNTOLD: "Collect the endpoint's ledger as well.",
    _DECIDED[RETRY]: "Point people to “Forgot password”: a new password moves them as well.",
    _DECIDED[UPDATE]: "Check that password reset by e-mail code is on, then remind these people.",
    _DECIDED[MIGRATE]: "Check that forceChangePasswordNextSignIn is false for these users.",
}


def remaining(tables: Tables) -> pd.DataFrame:
    """Say why each user who is not moved yet is not: one reason a user, the latest.

    Returns:
        `reason`, `users`, `mend`; the most frequent first. `users` sums to what `totals` calls remaining.
    """
    found = reasons(tables)
    words = found.map(_in_words)
    frame = counted(words.value_counts(), "reason").rename(columns={"count": "users"})
    mends = dict(zip(words, found.map(_advice), strict=True))
    return frame.assign(mend=frame["reason"].map(mends).astype("str"))


def blocked(tables: Tables) -> int:
    """Count the users who are not moved and whose latest call the endpoint answered with Block."""
    return int(reasons(tables).str.startswith("blocked: ").sum())


def reasons(tables: Tables) -> pd.Series:
    """Give each remaining user the reason that the latest row about them tells.

    Returns:
        the reason, with the user id as index: a sentence, or `blocked`, `refused` or `failed`, a colon and the cause.
    """
    waiting = tables.users.loc[tables.users["migrated_at"].isna(), "user_id"]
    result = pd.Series(_NEVER_TRIED, index=pd.Index(waiting, name="user_id"), dtype="object")
    logged = _logged(tables.sign_ins[tables.sign_ins["user_id"].isin(waiting)])
    answered = _answered(calls(tables).query("user_id in @waiting"))
    # A sign-in that both tell of counts once: what the endpoint refused or blocked is told by the endpoint, what broke
    # on the way by Entra, and the rest by the endpoint.
    told = answered.loc[answered["final"], "correlation_id"].dropna()
    broken = logged.loc[logged["broken"] & ~logged["correlation_id"].isin(told), "correlation_id"].dropna()
    answered = answered[answered["final"] | ~answered["correlation_id"].isin(broken)]
    logged = logged[~logged["correlation_id"].isin(answered["correlation_id"].dropna())]
    columns = ["time", "user_id", "reason"]
    latest = pd.concat([logged[columns], answered[columns]]).sort_values(["time", "reason"], kind="stable")
    result.update(latest.drop_duplicates("user_id", keep="last").set_index("user_id")["reason"])
    return result


def _logged(sign_ins: pd.DataFrame) -> pd.DataFrame:
    asked = sign_ins["callout_error"].notna()
    codes = sign_ins["callout_error"].fillna(0)
    reason = codes.map(lambda code: f"failed: {callout_cause(int(code))}" if code else _UNTOLD).astype("object")
    reason = reason.where(asked, sign_ins["result_code"].map(_STOPPED).fillna(_NOT_ASKED))
    return sign_ins[["time", "user_id", "correlation_id"]].assign(reason=reason, broken=codes > 0)


def _answered(answered: pd.DataFrame) -> pd.DataFrame:
    cause = answered["cause"].fillna("no cause given")
    reason = answered["action"].map(_DECIDED).astype("object")
    reason = reason.where(reason.notna(), answered["action"].map({BLOCK: "blocked: "}).fillna("refused: ") + cause)
    final = ~answered["action"].isin(_DECIDED)
    return answered[["time", "user_id", "correlation_id"]].assign(reason=reason, final=final)


def _in_words(reason: str) -> str:
    kind, colon, cause = reason.partition(": ")
    return f"{kind}: {meaning(cause)}" if colon else reason


def _advice(reason: str) -> str:
    return _ADVICE.get(reason) or mend(reason.partition(": ")[2])

"""Where each user stands and why, from the flag, the sign-in log and the ledger, and where these three disagree."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
import pandas as pd

from jitkit.explanations import callout_cause, fix, meaning, sign_in_result
from jitkit.progress import figures
from jitkit.progress.outages import health
from jitkit.progress.tables import COLUMNS, KINDS, NEVER, PATHS, TEXTS, Tables, isin, micros, moments, once, records
from jitkit.protocol import BLOCK, MIGRATE, RETRY, UPDATE

BLOCKED: Final = "blocked: "
BROKEN: Final = "failed: "
_REASONS: Final[dict[str, str]] = {name: words for name, (words, _) in TEXTS["reasons"].items()}
_LOCKED, _DISABLED = sign_in_result(50053), sign_in_result(50057)
_ADVICE: Final[dict[str, str]] = dict([*TEXTS["reasons"].values(), _LOCKED, _DISABLED])
NEVER_TRIED: Final = _REASONS["never_tried"]
LEFT_OUT: Final = (_REASONS["not_asked"], _REASONS["came_in"])
"""Reasons of users whom Entra let in, or turned away, without asking the endpoint."""
HELD_BACK: Final = (*LEFT_OUT, _REASONS["group"], _REASONS["staged"], _REASONS[MIGRATE], _REASONS["flag_left"])
"""Reasons that lie in our own configuration."""
_OWNERS: Final[dict[str, str]] = {_REASONS.get(name, name): owner for name, owner in TEXTS["owners"].items()}
UNSEEN: Final = (NEVER_TRIED, _REASONS["unread"], _REASONS["untold"])
"""Reasons of users about whom no log has a row; only the first one says that they did not try."""
# Codes of the sign-in log that come before any call.
_STOPPED: Final = {0: _REASONS["came_in"], 50053: _LOCKED[0], 50057: _DISABLED[0]}

CONFIRMED: Final = ("migrated_by_call", "migrated_silently", "migrated_by_reset", "migrated_unknown")
MOVED: Final = (*CONFIRMED, "unconfirmed", "not_covered")
"""States of users whose flag is false."""

STATES: Final[dict[str, str]] = TEXTS["states"]
"""Every state, in the order in which a user may pass through them, and what it means."""

CANNOT: Final = ("ambiguous", "disabled", "locked", "malformed", "mfa")
"""Causes of a Block that lie in the account: waiting fixes none of them. The others lie in the legacy system."""

# A sign-in is logged when it begins, the flag a moment later, and not by the same clock.
_APART: Final = pd.Timedelta(minutes=5)


def summary(tables: Tables, certificate_ends: pd.Timestamp | None = None) -> dict[str, Any]:
    """Gather the figures that `metrics.json` holds for other programs."""
    causes, took = figures.failures(tables), figures.latency(tables)
    return {
        "as_of": figures.iso(tables.as_of),
        **figures.totals(tables),
        **count_states(tables),
        "failures": dict(zip(causes["cause"], map(int, causes["count"]), strict=True)),
        "latency_ms": {name: took[name] for name in ("p50", "p95", "p99")},
        "health": health(tables, certificate_ends),
        "missing_days": None if tables.blind else figures.missing_days(tables),
        "not_read": dict(tables.unread),
        "coverage": _coverage(tables),
    }


def _coverage(tables: Tables) -> dict[str, Any]:
    covered = figures.coverage(tables).drop(columns=[] if tables.sources else ["files"])
    ends = ("since", "until")
    return {each.pop("table"): each | {end: figures.iso(each[end]) for end in ends} for each in records(covered)}


def remaining(tables: Tables) -> pd.DataFrame:
    """Count `users` by `reason` why they are not moved, one a user, with its `fix`; the most frequent first."""
    frame = reasons(tables).value_counts().rename_axis("cause").rename("users").reset_index()
    frame = frame.assign(reason=frame["cause"].map(in_words), fix=frame["cause"].map(advice))
    # Causes that mean the same are one reason.
    by_reason = frame.sort_values(["users", "fix"], ascending=[False, True]).groupby("reason", as_index=False)
    result = by_reason.agg(users=("users", "sum"), fix=("fix", "first")).astype({"reason": "str", "fix": "str"})
    return result.sort_values(["users", "reason"], ascending=[False, True], ignore_index=True)


def in_words(reason: str) -> str:
    """Put one of `reasons` into words that fit after a person: `blocked: the legacy account is locked`."""
    kind, colon, cause = reason.partition(": ")
    return f"{kind}: {meaning(cause)}" if colon else reason


def advice(reason: str) -> str:
    """Say what to do about one of `reasons`."""
    return _ADVICE.get(reason) or fix(reason.partition(": ")[2])


def owner(reason: str) -> str:
    """Say who acts on one of `reasons`."""
    return _OWNERS.get(reason) or _OWNERS.get(reason.partition(": ")[0], "administrator of the tenant")


@once
def reasons(tables: Tables) -> pd.Series:
    """Give each remaining user, by id, the reason in the latest row about them since the flag was set.

    It is a sentence, or `blocked`, `refused` or `failed`, a colon and the cause.
    """
    waiting = tables.users["migrated_at"].isna().to_numpy()
    unseen = _REASONS["unread" if "sign_ins" in tables.unread else "untold"]
    result = np.where(figures.covered(tables, tables.users["flagged_at"]), NEVER_TRIED, unseen).astype(object)
    logged, answered = _logged(tables, waiting), _answered(tables, waiting)
    # A sign-in that both logs have counts once: the ledger says what the endpoint refused or blocked, the sign-in log
    # what broke on the way, and the ledger the rest.
    final = answered.loc[answered["final"], "correlation_id"].dropna()
    broken = logged.loc[logged["broken"] & ~isin(logged["correlation_id"], final), "correlation_id"].dropna()
    answered = answered[answered["final"] | ~isin(answered["correlation_id"], broken)]
    logged = logged[~isin(logged["correlation_id"], answered["correlation_id"])]
    latest = pd.concat([part[["row", "time", "reason"]] for part in (logged, answered)])
    latest = latest.sort_values(["time", "reason"], kind="stable").drop_duplicates("row", keep="last")
    result[latest["row"].to_numpy(dtype="int64")] = latest["reason"].to_numpy(dtype=object)
    return pd.Series(result[waiting], index=pd.Index(tables.users["user_id"][waiting]), dtype="object")


def _logged(tables: Tables, waiting: np.ndarray) -> pd.DataFrame:
    which = _about(tables, waiting, tables.people, tables.sign_ins["time"])
    rows = tables.sign_ins[["time", "correlation_id", "result_code", "callout_error"]][which]
    codes, errors, asked = rows["result_code"], rows["callout_error"], tables.asked[which]
    reason = _each(codes, lambda code: _STOPPED.get(code, _REASONS["not_asked"]), _REASONS["not_asked"])
    reason[asked] = np.where(tables.succeeded[which], _REASONS["flag_left"], _REASONS["no_ledger"])[asked]
    broken = (errors > 0).fillna(False).to_numpy()
    reason[broken] = _each(errors[broken], lambda code: BROKEN + callout_cause(code), "")
    return rows.assign(row=tables.people[which], reason=reason, broken=broken)


def _answered(tables: Tables, waiting: np.ndarray) -> pd.DataFrame:
    called = figures.calls(tables)
    times = called["time"] - figures.skew(tables)  # on Entra's clock
    which = _about(tables, waiting, called["row"].to_numpy(), times)
    rows = called.loc[which, ["correlation_id", "action", "cause", "row"]].assign(time=times[which])
    decided = rows["action"].isin((RETRY, UPDATE, MIGRATE))
    kinds = rows["action"].map({BLOCK: BLOCKED}).astype("object").fillna("refused: ")
    cause = kinds + rows["cause"].fillna("no cause given").astype("object")
    return rows.assign(reason=cause.mask(decided, rows["action"].map(_REASONS)), final=~decided)


def _about(tables: Tables, waiting: np.ndarray, people: np.ndarray, times: pd.Series) -> np.ndarray:
    """Mark the rows about users who wait, from the time on when their flag was set."""
    marked: np.ndarray = np.append(waiting, False)[people]
    since = micros(tables.users["flagged_at"] - _APART)
    marked[marked] = micros(times)[marked] >= since[people[marked]]
    return marked


def _each(codes: pd.Series, words: Callable[[int], str], nothing: str) -> np.ndarray:
    """Put each code into words, each different one once."""
    numbers, found = pd.factorize(codes)
    return np.array([*(words(int(code)) for code in found), nothing], dtype="O")[numbers]


@once
def states(tables: Tables) -> pd.Series:
    """Give each user in scope exactly one state.

    The flag counts first, the latest row about the user (`reasons`) second. From the top, the first line that holds
    counts:

    | state | flag | and |
    |---|---|---|
    | migrated_by_call, …_silently, …_by_reset, …_unknown | false | a sign-in succeeded since, or 5 minutes before |
    | unconfirmed | false | no such sign-in, and the sign-in log covers the time since |
    | not_covered | false | no such sign-in, and it does not |
    | staged | not set | other users have a flag, this one has none |
    | stuck | true | the latest call proved the password and did not break on its way back |
    | blocked | true | the latest call was blocked for a cause in `CANNOT`, or the account is disabled in the tenant |
    | attempted | true | any other row since the flag was set |
    | blocked | true | no row, and the column `status` of users says that the old account is blocked |
    | never_seen | true | no row, and the sign-in log covers the time since the flag was set |
    | flagged | true | no row, and it does not |
    """
    users = tables.users
    moved = users["migrated_at"].notna().to_numpy()
    since = users["migrated_at"] - _APART
    result = np.where(figures.covered(tables, since), "unconfirmed", "not_covered").astype(object)
    confirmed = moved & (figures.last_success(tables) >= micros(since))
    paths = users["path"].map(dict(zip(PATHS, MOVED, strict=False))).astype("object").fillna("migrated_unknown")
    result[confirmed] = paths.to_numpy()[confirmed]
    result[~moved] = _waiting(tables, users[~moved])
    return pd.Series(pd.Categorical(result, categories=[*STATES]), index=pd.Index(users["user_id"]), name="state")


def _waiting(tables: Tables, users: pd.DataFrame) -> np.ndarray:
    codes, words = pd.factorize(reasons(tables))
    state = np.array([_state_of(word) for word in words], dtype=object)[codes]
    unseen, end = reasons(tables).isin(UNSEEN).to_numpy(), tables.extents["sign_ins"].until
    after = users["flagged_at"] > end if end is not None else True
    state[unseen & (reasons(tables).ne(NEVER_TRIED).to_numpy() | after)] = "flagged"
    if "status" in users:
        locked_out = users["status"].astype("str").str.lower().isin(COLUMNS["straggler"]["blocked"])
        state[unseen & locked_out.to_numpy()] = "blocked"
    if tables.users["flagged_at"].notna().any():
        state[users["flagged_at"].isna().to_numpy()] = "staged"
    return state


def _state_of(reason: str) -> str:
    if reason in (_REASONS[MIGRATE], _REASONS["flag_left"]):
        return "stuck"
    if reason == _DISABLED[0] or reason.removeprefix(BLOCKED) in CANNOT:
        return "blocked"
    return "never_seen" if reason in UNSEEN else "attempted"


def count_states(tables: Tables) -> dict[str, Any]:
    """Count the users in each state, those `confirmed` by a sign-in after the flag became false, and `cannot_migrate`.

    The latter are blocked, and not only locked: whatever the date, they would count as remaining for ever. Where the
    sign-in log does not reach from the first flag to `as_of`, both are None, and `confirmed_at_least` counts the former
    as far as it shows them.
    """
    counts = states(tables).value_counts()
    by_state = {state: int(counts.get(state, 0)) for state in STATES}
    confirmed = sum(by_state[state] for state in CONFIRMED)
    waiting = tables.users["migrated_at"].isna().to_numpy()
    blocked = (states(tables)[waiting] == "blocked").to_numpy()
    locked = (reasons(tables) == f"{BLOCKED}locked").to_numpy()
    return {
        "states": by_state,
        "confirmed": None if tables.blind else confirmed,
        "confirmed_at_least": confirmed,
        "cannot_migrate": int((blocked & ~locked).sum()) if not tables.blind else None,
        "locked": int((blocked & locked).sum()),
    }


def state_table(tables: Tables) -> pd.DataFrame:
    """Put the states into words: `state`, `users`, `share` (0 to 1 of the users in scope), `meaning`; every state."""
    counts = count_states(tables)["states"]
    whole = max(sum(counts.values()), 1)
    rows = [(state, count, count / whole, STATES[state]) for state, count in counts.items()]
    return pd.DataFrame(rows, columns=["state", "users", "share", "meaning"])


@once
def stragglers(tables: Tables) -> pd.DataFrame:
    """List the users who are not moved, and those whose migration nothing confirms, without names and addresses.

    Where the sign-in log does not cover the time since a move, nobody is listed for want of a confirmation.

    `last_cause` is one of `reasons`, empty for the unconfirmed. The longest without an attempt come first, then by id.
    """
    users, called = tables.users, figures.calls(tables)
    state = states(tables).reset_index(drop=True)
    cause, last = np.full(len(users), None, dtype=object), np.full(len(users), NEVER)
    cause[users["migrated_at"].isna()] = reasons(tables).to_numpy()
    for people, times in ((tables.people, tables.sign_ins["time"]), (called["row"].to_numpy(), called["time"])):
        np.maximum.at(last, people[people >= 0], micros(times)[people >= 0])
    hidden = {*KINDS["users"], *COLUMNS["straggler"]["names"]}
    extra = [name for name in users.columns if name not in KINDS["users"] and name.lower() not in hidden]
    frame = pd.DataFrame(
        {
            "user_id": users["user_id"],
            "state": state.astype("str"),
            "last_attempt": moments(last),
            "last_cause": pd.Series(cause, dtype="str"),
            "flagged_at": users["flagged_at"],
            **{name: users[name] for name in extra},
        }
    )[~state.isin({*MOVED} - {"unconfirmed"})]
    return frame.sort_values(["last_attempt", "user_id"], na_position="first", ignore_index=True)


@once
def matrix(tables: Tables) -> pd.DataFrame:
    """Count the users for each combination of what `flag`, `log` and `ledger` say, with the cause of disagreements.

    Disagreements come first, the largest first. Without the flag `not in scope`, `users` sums to the users in scope.
    """
    said = {name: pd.Categorical.from_codes(codes, TEXTS["records"][name]) for name, codes in _said(tables).items()}
    found = pd.DataFrame(said).value_counts().rename("users").reset_index()
    found = found[found["users"] > 0].astype(dict.fromkeys(said, "str"))
    # Ids that ran a callout and are not in scope, and those that only trials of the endpoint name.
    outside, tried = tables.callers < 0, figures.trials(tables)
    asked = tables.sign_ins["user_id"][tables.asked & (tables.people < 0)].astype("str").dropna()
    called, trial = (tables.ledger["user_id"][mask].astype("str").dropna() for mask in (outside & ~tried, tried))
    strangers = {*asked.unique(), *called.unique()}
    counts = [("a row", "or a call", len(strangers)), ("no sign-in", "a call", len({*trial.unique()} - strangers))]
    others = pd.DataFrame([("not in scope", *each) for each in counts if each[-1]], columns=found.columns)
    found = pd.concat([found, others], ignore_index=True) if len(others) else found
    # Where a record does not reach, its silence contradicts nothing.
    for name, unknown in (("log", tables.blind), ("ledger", not figures.coverage(tables)["complete"].iloc[-1])):
        found[name] = found[name].replace({"nothing": "not collected"} if unknown else {})
    judged = [_judge(*row) for row in zip(found["flag"], found["log"], found["ledger"], strict=True)]
    words = pd.DataFrame(judged, columns=["cause", "remedy"], index=found.index).astype("str")
    words.insert(0, "agree", words["cause"] == "")
    order = ["agree", "users", "flag", "log", "ledger"]
    return found.join(words).sort_values(order, ascending=[True, False, True, True, True], ignore_index=True)


def _said(tables: Tables) -> dict[str, np.ndarray]:
    """Give each user the number in `records` of `texts.toml` of what the flag, the sign-in log and the ledger say."""
    users, asked, good, called = tables.users, tables.asked, tables.succeeded, figures.calls(tables)
    known, broken = users["flagged_at"].notna().to_numpy(), (tables.sign_ins["callout_error"] > 0).fillna(False)
    flag = np.where(users["migrated_at"].notna(), 0, np.where(known if known.any() else True, 1, 2))
    logged = np.select([broken.to_numpy(), good & asked, good, asked], [3, 1, 2, 4], default=5)
    numbers = {name: number for number, name in enumerate(TEXTS["records"]["ledger"])}
    answered = called["action"].fillna("refused").map(numbers).fillna(numbers["another answer"]).to_numpy(dtype="int8")
    result = {"flag": flag, "log": np.zeros(len(users), "int8"), "ledger": np.zeros(len(users), "int8")}
    for name, codes, people in (("log", logged, tables.people), ("ledger", answered, called["row"].to_numpy())):
        for code in range(len(numbers) - 1, 0, -1):  # the lowest one, which is the strongest, stays
            result[name][people[(codes == code) & (people >= 0)]] = code
    return result


def _judge(flag: str, log: str, ledger: str) -> tuple[str, str]:
    for each in TEXTS["disagreement"]:
        if each["flag"] == flag and log in each.get("log", [log]) and ledger in each.get("ledger", [ledger]):
            return each["cause"], each["remedy"]
    return "", ""

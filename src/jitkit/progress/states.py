"""Where each user stands and why, from the flag, the sign-in log and the ledger, and where these three disagree."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, Final, NamedTuple

import numpy as np
import pandas as pd

from jitkit.explanations import callout_cause, fix, meaning, sign_in_result
from jitkit.progress import figures
from jitkit.progress.outages import health
from jitkit.progress.tables import COLUMNS, KINDS, PATHS, TEXTS, Tables, micros, moments, once, records
from jitkit.protocol import BLOCK, MIGRATE, RETRY, UPDATE

BLOCKED: Final = "blocked: "
BROKEN: Final = "failed: "
CANNOT: Final = ("ambiguous", "disabled", "locked", "malformed", "mfa")
"""Causes of a Block that lie in the account: waiting fixes none of them. The others lie in the legacy system."""

REASONS: Final[dict[str, str]] = {name: rule["words"] for name, rule in TEXTS["reasons"].items() if "words" in rule}
"""Why a user is not moved, in words, by name."""

(_LOCKED, _WAIT), (_DISABLED, _ENABLE) = sign_in_result(50053), sign_in_result(50057)
_RULES: Final[dict[str, dict[str, Any]]] = {
    **{words: TEXTS["reasons"][name] for name, words in REASONS.items()},
    _LOCKED: {"next": _WAIT},
    _DISABLED: {"next": _ENABLE, "state": "blocked"},
}
# Codes of the sign-in log that come before any call.
_STOPPED: Final = {0: REASONS["came_in"], 50053: _LOCKED, 50057: _DISABLED}
NEVER_TRIED: Final = REASONS["never_tried"]
UNSEEN: Final = (NEVER_TRIED, REASONS["unread"], REASONS["untold"])
"""Reasons of users about whom no log has a row; only the first one says that they did not try."""
LEFT_OUT: Final = (REASONS["not_asked"], REASONS["came_in"])
"""Reasons of users whom Entra let in, or turned away, without asking the endpoint."""
HELD_BACK: Final = tuple(words for words, rule in _RULES.items() if rule.get("ours"))
"""Reasons that lie in our own configuration."""

STATES: Final[dict[str, str]] = TEXTS["states"]
"""Every state, in the order in which a user may pass through them, and what it means."""
CONFIRMED: Final = ("migrated_by_call", "migrated_silently", "migrated_by_reset", "migrated_unknown")
MOVED: Final = (*CONFIRMED, "unconfirmed", "not_covered")
"""States of users whose flag is false."""

# A sign-in is logged when it begins, the flag a moment later, and not by the same clock.
_APART: Final = pd.Timedelta(minutes=5)
_NO_MORE: Final = np.iinfo("int64").max  # a moment after all others


def summary(tables: Tables, certificate_ends: pd.Timestamp | None = None) -> dict[str, Any]:
    """Gather the figures that `metrics.json` holds for other programs."""
    causes, took = figures.failures(tables), figures.latency(tables)
    covered = records(figures.coverage(tables).drop(columns=[] if tables.sources else ["files"]))
    ends = ("since", "until")
    return {
        "as_of": figures.iso(tables.as_of),
        **figures.totals(tables),
        **count_states(tables),
        "failures": dict(zip(causes["cause"], map(int, causes["count"]), strict=True)),
        "latency_ms": {name: took[name] for name in ("p50", "p95", "p99")},
        "health": health(tables, certificate_ends),
        "missing_days": None if tables.blind else figures.missing_days(tables),
        "not_read": dict(tables.unread),
        "coverage": {each.pop("table"): each | {end: figures.iso(each[end]) for end in ends} for each in covered},
    }


@once
def remaining(tables: Tables) -> pd.DataFrame:
    """Count `users` by `reason` why they are not moved, one a user, with its `fix`; the most frequent first."""
    # Causes that mean the same are one reason.
    by_reason = counted(reasons(tables)).groupby("reason", as_index=False)
    result = by_reason.agg(users=("users", "sum"), fix=("fix", "first"))
    return result.sort_values(["users", "reason"], ascending=[False, True], ignore_index=True)


def counted(causes: pd.Series) -> pd.DataFrame:
    """Count the `users` of some `reasons`, the most first, each explained."""
    counts = causes.value_counts()
    frame = pd.DataFrame(map(explain, counts.index), columns=Explained._fields, dtype="str")
    return frame.assign(users=counts.to_numpy()).sort_values(["users", "fix"], ascending=[False, True])


class Explained(NamedTuple):
    """What one of `reasons` means: in words that fit after a person, what to do, who does it, and the user's state."""

    reason: str
    fix: str
    owner: str
    state: str


@cache
def explain(reason: str) -> Explained:
    """Explain one of `reasons`; its words are such as `blocked: the legacy account is locked`."""
    kind, colon, cause = reason.partition(": ")
    rule = _RULES.get(reason) or TEXTS["reasons"].get(kind, {})
    state = "blocked" if reason.removeprefix(BLOCKED) in CANNOT else rule.get("state", "attempted")
    words, owner = f"{kind}: {meaning(cause)}" if colon else reason, rule.get("owner", "administrator of the tenant")
    return Explained(words, rule.get("next") or fix(cause), owner, state)


@once
def reasons(tables: Tables) -> pd.Series:
    """Give each remaining user, by id, the reason in the latest row about them since the flag was set.

    It is a sentence, or `blocked`, `refused` or `failed`, a colon and the cause.
    """
    users, log, called = tables.users, tables.sign_ins, figures.calls(tables)
    waiting = users["migrated_at"].isna().to_numpy()
    unseen = np.array([REASONS["unread" if "sign_ins" in tables.unread else "untold"], NEVER_TRIED], dtype=object)
    result = unseen[figures.covered(tables, users["flagged_at"]).astype(int)]
    times = called["time"] - figures.skew(tables)  # on Entra's clock
    logged = _rows(tables, log["time"], tables.people, log[["result_code", "callout_error"]], _of_sign_in)
    answered = _rows(tables, times, called["row"].to_numpy(), called[["action", "cause"]], _of_call)
    numbers = np.append(tables.joined[0][logged["at"]], called["number"].to_numpy()[answered["at"]])
    rows = pd.concat([logged, answered]).assign(number=numbers)
    # A sign-in that both logs have counts once: as the ledger tells it where its greatest weight is odd.
    odd = rows.groupby("number")["weight"].transform("max") % 2
    rows = rows[(rows["number"] < 0) | (rows["weight"] % 2 == odd)]
    codes, words = pd.factorize(rows["reason"], sort=True)
    order = np.lexsort((codes, rows["time"]))
    result[rows["row"].to_numpy()[order]] = words.to_numpy(dtype=object)[codes[order]]  # of several the last one stays
    return pd.Series(result[waiting], index=pd.Index(users["user_id"][waiting]), dtype="object")


def _rows(
    tables: Tables, times: pd.Series, people: np.ndarray, said: pd.DataFrame, reason: Callable[..., tuple[str, int]]
) -> pd.DataFrame:
    """List the rows `at` which a log says why users wait, from the time on when their flag was set."""
    since = micros(tables.users["flagged_at"] - _APART)
    since[tables.users["migrated_at"].notna()] = _NO_MORE
    at = np.flatnonzero(micros(times) >= np.append(since, _NO_MORE)[people])
    said = said.iloc[at]
    known = said.drop_duplicates()
    words = pd.DataFrame([reason(*each) for each in known.itertuples(index=False)], known.index, ["reason", "weight"])
    found = said.merge(known.join(words), how="left")[["reason", "weight"]].astype({"weight": "int8"})
    return found.assign(at=at, row=people[at], time=micros(times)[at])


def _of_sign_in(code: Any, error: Any) -> tuple[str, int]:
    """Give the reason and the weight of a sign-in: 2 where the call broke, which the endpoint does not know."""
    if pd.isna(error):
        return _STOPPED.get(code, REASONS["not_asked"]), 0
    if error > 0:
        return BROKEN + callout_cause(error), 2
    return REASONS["flag_left" if pd.notna(code) and code == 0 else "no_ledger"], 0


def _of_call(action: Any, cause: Any) -> tuple[str, int]:
    """Give the reason and the weight of a call: 3 where the endpoint refused or blocked, which is final."""
    if action in (RETRY, UPDATE, MIGRATE):
        return REASONS[action], 1
    return (BLOCKED if action == BLOCK else "refused: ") + ("no cause given" if pd.isna(cause) else cause), 3


@once
def states(tables: Tables) -> pd.Series:
    """Give each user in scope exactly one state.

    The flag counts first, the latest row about the user (`reasons`) second: README.md lists what makes each state.
    """
    users, until = tables.users, tables.extents["sign_ins"].until
    moved, since, flagged = users["migrated_at"].notna(), users["migrated_at"] - _APART, users["flagged_at"]
    confirmed = figures.last_sign_in(tables, tables.succeeded) >= micros(since)
    result = np.array(["not_covered", "unconfirmed"], dtype=object)[figures.covered(tables, since).astype(int)]
    result[confirmed] = by_value(users["path"], lambda path: CONFIRMED[PATHS.index(path)], CONFIRMED[-1])[confirmed]
    result[~moved] = by_value(reasons(tables), lambda reason: explain(reason).state)
    unseen = ~moved & np.isin(result, ("never_seen", "flagged"))
    result[unseen & (flagged > (until or pd.NaT))] = "flagged"
    if "status" in users:
        locked_out = users["status"].astype("str").str.lower().isin(COLUMNS["straggler"]["blocked"])
        result[unseen & locked_out] = "blocked"
    result[~moved & flagged.isna() & bool(flagged.notna().any())] = "staged"
    return pd.Series(pd.Categorical(result, categories=[*STATES]), index=pd.Index(users["user_id"]), name="state")


def by_value(column: pd.Series, judge: Callable[[Any], Any], nothing: Any = None) -> np.ndarray:
    """Judge the values of a column, each different one once; a missing one is `nothing`."""
    codes, found = pd.factorize(column)
    return np.array([*map(judge, found), nothing], dtype=object)[codes]


@once
def count_states(tables: Tables) -> dict[str, Any]:
    """Count the users in each state, those `confirmed` by a sign-in after the flag became false, and `cannot_migrate`.

    The latter are blocked, and not only locked: whatever the date, they would count as remaining for ever. Where the
    sign-in log does not reach from the first flag to `as_of`, both are None, and `confirmed_at_least` counts the former
    as far as it shows them.
    """
    by_state = {state: int(count) for state, count in states(tables).value_counts(sort=False).items()}
    confirmed = sum(by_state[state] for state in CONFIRMED)
    blocked = states(tables).to_numpy()[tables.users["migrated_at"].isna()] == "blocked"
    locked = int((blocked & (reasons(tables) == f"{BLOCKED}locked").to_numpy()).sum())
    return {
        "states": by_state,
        "confirmed": None if tables.blind else confirmed,
        "confirmed_at_least": confirmed,
        "cannot_migrate": None if tables.blind else by_state["blocked"] - locked,
        "locked": locked,
    }


def state_table(tables: Tables) -> pd.DataFrame:
    """Put the states into words: `state`, `users`, `share` (0 to 1 of the users in scope), `meaning`; every state."""
    frame = pd.DataFrame(count_states(tables)["states"].items(), columns=["state", "users"])
    return frame.assign(share=frame["users"] / max(len(tables.users), 1), meaning=[*STATES.values()])


@once
def last_attempts(tables: Tables) -> np.ndarray:
    """Find when each user was last seen in the sign-in log or the ledger, as `micros` gives times."""
    called, last = figures.calls(tables), np.append(figures.last_sign_in(tables, slice(None)), 0)
    np.maximum.at(last, called["row"].to_numpy(), micros(called["time"]))
    return last[:-1]


@once
def stragglers(tables: Tables) -> pd.DataFrame:
    """List the users who are not moved, and those whose migration nothing confirms, without names and addresses.

    Where the sign-in log does not cover the time since a move, nobody is listed for want of a confirmation.

    `last_cause` is one of `reasons`, empty for the unconfirmed. The longest without an attempt come first, then by id.
    """
    users, state, cause = tables.users, states(tables), np.full(len(tables.users), None, dtype=object)
    cause[users["migrated_at"].isna()] = reasons(tables)
    hidden = {*KINDS["users"], *COLUMNS["straggler"]["names"]}
    extra = [name for name in users.columns if name not in KINDS["users"] and name.lower() not in hidden]
    some = ~state.isin({*MOVED} - {"unconfirmed"}).to_numpy()
    own = {name: f"user_{name}" for name in ("state", "last_attempt", "last_cause", "do_next", "chance_30_days")}
    listed = users.loc[some, ["user_id", "flagged_at", *extra]].rename(columns=own).reset_index(drop=True)
    listed.insert(1, "state", pd.Series(state.to_numpy()[some], dtype="str"))
    listed.insert(2, "last_attempt", moments(last_attempts(tables)[some]))
    listed.insert(3, "last_cause", pd.Series(cause[some], dtype="str"))
    return listed.sort_values("last_attempt", na_position="first", kind="stable", ignore_index=True)


@once
def matrix(tables: Tables) -> pd.DataFrame:
    """Count the users for each combination of what `flag`, `log` and `ledger` say, with the cause of disagreements.

    Disagreements come first, the largest first. Without the flag `not in scope`, `users` sums to the users in scope.
    """
    said = _said(tables)
    found = said.groupby([*said], observed=True).size().rename("users").reset_index()
    # Ids that ran a callout and are not in scope, and those that only trials of the endpoint name.
    outside, tried = tables.callers < 0, figures.trials(tables)
    rows = ((tables.sign_ins, tables.asked & (tables.people < 0)), (tables.ledger, outside & ~tried))
    called = {user for log, some in rows for user in log["user_id"][some].dropna().unique()}
    trial = {*tables.ledger["user_id"][tried].dropna().unique()} - called
    others = [("a row", "or a call", len(called)), ("no sign-in", "a call", len(trial))]
    rows_of_others = [("not in scope", *each) for each in others if each[-1]]
    found = pd.concat([found, pd.DataFrame(rows_of_others, columns=found.columns)], ignore_index=True)
    found = found.astype(dict.fromkeys(said, "str") | {"users": "int64"})
    # Where a record does not reach, its silence contradicts nothing.
    for name, unknown in (("log", tables.blind), ("ledger", not figures.coverage(tables)["complete"].iloc[-1])):
        found[name] = found[name].replace({"nothing": "not collected"} if unknown else {})
    causes = (next((each for each in TEXTS["disagreement"] if _fits(each, row)), None) for row in records(found))
    words = pd.DataFrame([each or {} for each in causes], columns=["cause", "remedy"]).astype("str").fillna("")
    words.insert(0, "agree", words["cause"] == "")
    order = ["agree", "users", "flag", "log", "ledger"]
    return found.join(words).sort_values(order, ascending=[True, False, True, True, True], ignore_index=True)


def _said(tables: Tables) -> pd.DataFrame:
    """Give each user what the flag, the sign-in log and the ledger say, in the words of `texts.toml`."""
    users, asked, called = tables.users, tables.asked, figures.calls(tables)
    known = users["flagged_at"].notna()
    flag = np.where(users["migrated_at"].notna(), 0, np.where(known if known.any() else True, 1, 2))
    came, away = np.where(asked, np.int8(1), np.int8(2)), np.where(asked, np.int8(4), np.int8(5))
    log = np.where(tables.succeeded, came, away)
    log[figures.broken(tables)] = 3
    words, answers = TEXTS["records"], TEXTS["records"]["ledger"]
    ledger = by_value(called["action"].fillna("refused"), lambda said: answers.index(said) if said in answers else -1)
    result = {"flag": flag}
    for name, codes, people in (("log", log, tables.people), ("ledger", ledger, called["row"])):
        seen = np.zeros((len(users) + 1, len(words[name])), dtype=bool)  # with a place for those who are not in scope
        seen[people, codes.astype("int8")] = True
        result[name] = seen[:-1].argmax(axis=1)  # the first one is the strongest
    return pd.DataFrame({name: pd.Categorical.from_codes(codes, words[name]) for name, codes in result.items()})


def _fits(disagreement: dict[str, Any], row: dict[str, Any]) -> bool:
    return all(row[name] in disagreement.get(name, [row[name]]) for name in TEXTS["records"])

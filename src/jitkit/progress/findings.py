"""What stands out in a migration, in sentences made from its numbers: outages, odd days, lagging groups, attacks.

Each finding has a threshold that chance does not pass on calm days; the thresholds stand next to their finding.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd

from jitkit.progress import silence, states
from jitkit.progress.cohorts import COLUMN, campaigns, cohorts, dimensions, grouped
from jitkit.progress.figures import busy_seconds, calls, day, days, latency, missing_days, moment, span, strange_rows
from jitkit.progress.outages import OUTAGE, interruptions, runs
from jitkit.progress.states import advice, in_words, reasons
from jitkit.progress.survival import DAY, count_history, find_rhythm
from jitkit.progress.tables import TEXTS, Tables, micros, moments, once, records
from jitkit.protocol import CALLS_PER_SECOND, RETRY, TIMEOUT_MS

_WEEK: Final = 7.0  # days, before which it is not known what is usual
_STALL_DAYS: Final = 3  # days in a row: one slow day is chance, or a holiday
_RUSH_DAYS: Final = 2
_STALL: Final = 0.5  # … on which at most this share of the usual number moved
_AFTER_MAIL: Final = pd.Timedelta(days=2)  # a rush that begins so soon after a campaign is the campaign's
_LAG: Final = 0.8  # a cohort is named when it reached at most this share of what the others did
_NOBODY: Final = 0.02  # a group of which at most this share moved, and most who tried were left out, cannot move
_GROUP, _LEFT = 20, 10  # … of at least so many users, so many of them left out
_NOW: Final = pd.Timedelta(days=7)  # what ended longer ago is history
_REMIND: Final = "Remind these people."
_LATE: Final = 0.01  # calls over the limit from which on the endpoint is called slow
_CERTIFICATE_DAYS: Final = 30
_UNREACHED: Final = "1003027"  # no connection: a server that is away, a name, or a certificate
_MOST: Final = 5  # findings of one kind

_WRONG_PASSWORD: Final = 50126  # [Microsoft Learn, "Microsoft Entra authentication error codes"]
_UNKNOWN_NAME: Final = 50034  # [same]
_TRIES: Final = {"1": 1, "2 to 4": 2, "5 to 9": 5, "10 to 19": 10, "20 to 49": 20, "50 or more": 50}
# People mistype their own name now and then; a list has names of elsewhere, hour after hour.
_HOUR_US: Final = 3600 * 1_000_000
_FEWEST: Final = 10
_SHARE: Final = 0.25
_APART: Final = 2  # hours


@dataclass(frozen=True)
class Finding:
    """Something that a reader should know: what it is with its numbers, what to do, when it was, how many users it hit.

    Kinds: interruption, stall, rush, campaign, lagging, guessing, certificate, slow, limit, missing days, strange ids.
    """

    kind: str
    words: str
    next_step: str = ""
    since: pd.Timestamp | None = None
    until: pd.Timestamp | None = None
    users: int = 0
    subject: str = ""  # the group, where it is about one

    @property
    def label(self) -> str:
        """The kind in words for a reader."""
        return str(TEXTS["labels"].get(self.kind, self.kind.capitalize()))

    @property
    def name(self) -> str:
        """What it is, without its numbers, which change."""
        if self.subject:
            return f"{self.label}: {self.subject}"
        return self.label if self.since is None else f"{self.label} of {day(self.since)}"


def findings(tables: Tables, certificate_ends: pd.Timestamp | None = None) -> list[Finding]:
    """List what stands out: first what is true now, then what is over."""
    found = [
        *_certificate(tables, certificate_ends),
        *_lagging(tables, [by for by in dimensions(tables) if by not in (COLUMN, silence.COLUMN)]),
        *_endpoint_and_logs(tables),
        *_interruptions(tables, certificate_ends),
        *_odd_days(tables),
        *_campaigns(tables),
        *_attacks(tables),
        # That people who were away for long come late is no news, and the forecast counts with it.
        *_lagging(tables, [by for by in dimensions(tables) if by == silence.COLUMN]),
    ]
    return sorted(found, key=lambda each: is_over(each, tables.as_of))


def is_over(found: Finding, as_of: pd.Timestamp | None) -> bool:
    """Whether a finding is history: what ended more than a week before `as_of`."""
    return found.until is not None and as_of is not None and found.until < as_of - _NOW


@once
def waiting(tables: Tables) -> pd.DataFrame:
    """Give the users who are not moved, by id, with the `cause`, and whether they are `held` back by us or `blocked`.

    Held back are those whom our own configuration leaves out, those whose attempt broke on our side within the last
    week, and all of a group of which nobody moves because it is left out; `column` is then what the group is made by.
    """
    unmoved = tables.users["migrated_at"].isna().to_numpy()
    users, cause = tables.users[unmoved], reasons(tables).reset_index(drop=True)
    if tables.users["flagged_at"].notna().any():
        cause = cause.mask(users["flagged_at"].isna().to_numpy(), states.HELD_BACK[3])
    last = states.stragglers(tables).set_index("user_id")["last_attempt"].reindex(users["user_id"])
    ours = cause.str.startswith(("failed: ", "refused: ")) | cause.isin([states.BLOCKED + each for each in OUTAGE])
    blocked = (states.states(tables)[unmoved] == "blocked").to_numpy()
    column, unseen = np.full(len(users), "", dtype=object), cause.isin(states.UNSEEN).to_numpy()
    out = cause.isin(states.LEFT_OUT).to_numpy()
    for by in dimensions(tables):
        if by == COLUMN:
            continue
        codes, names = pd.factorize(grouped(tables.users[by]))
        left = codes[unmoved]
        size, gone, tried, left_out = (
            np.bincount(some, minlength=len(names)) for some in (codes, codes[~unmoved], left[~unseen], left[out])
        )
        others = (gone.sum() - gone) / np.maximum(size.sum() - size, 1)
        closed = (size >= _GROUP) & (left_out >= np.maximum(_LEFT, tried / 2)) & (gone <= _NOBODY * size)
        column[(closed & (others > _NOBODY * 5))[left]] = by
    cause = cause.mask((column != "") & unseen, states.HELD_BACK[2])
    recent = False if tables.as_of is None else (last >= tables.as_of - _NOW).to_numpy()
    held = (cause.isin(states.HELD_BACK) | (ours & recent)) & ~blocked
    found = {"cause": cause, "held": held, "blocked": blocked, "column": column}
    return pd.DataFrame(found).set_index(pd.Index(users["user_id"]))


@once
def standing(tables: Tables) -> pd.Series:
    """Give each user a part of the whole: confirmed, unconfirmed, not_covered, held_back, blocked or waiting."""
    moved, left = tables.users["migrated_at"].notna().to_numpy(), waiting(tables)
    state = states.states(tables)
    result = np.where(state.isin(states.CONFIRMED), "confirmed", state.astype("object"))
    result[~moved] = np.select([left["blocked"], left["held"]], ["blocked", "held_back"], "waiting")
    return pd.Series(result, index=pd.Index(tables.users["user_id"]))


def do_next(tables: Tables) -> pd.DataFrame:
    """List what to do about those who are left: `action`, `owner`, why, `people`, and how many it `brings` at most.

    The one that brings most comes first. What a reminder brings is known where a campaign by lot measured it.
    """
    cause = waiting(tables)["cause"]
    frame = pd.DataFrame({"action": cause.map(advice), "owner": cause.map(states.owner), "why": cause.map(in_words)})
    by_step = frame.groupby(["action", "owner"])["why"]
    found = by_step.agg(because=_in_parts, people="size").reset_index()
    effects = [each.effect for each in campaigns(tables) if each.effect and each.effect.by_lot]
    share = float(-np.diff(effects[-1].cells["share"])[0]) if effects else np.nan
    reminded = found["action"].isin([advice(each) for each in states.UNSEEN])
    found["brings"] = found["people"].where(~reminded, (found["people"] * max(share, 0.0)).round()).astype("Int64")
    return found.sort_values(["brings", "people", "action"], ascending=[False, False, True], ignore_index=True)


def _in_parts(causes: pd.Series) -> str:
    """Name the causes of one action, the most frequent first, each with its people where there are several."""
    counts = causes.value_counts().sort_index().sort_values(ascending=False, kind="stable")
    return "; ".join(f"{count:,} {cause}" if len(counts) > 1 else str(cause) for cause, count in counts.items())


@once
def pace(tables: Tables) -> pd.DataFrame:
    """Count the moves of each day, and estimate what a day unlike the others would otherwise have brought.

    What is usual follows from how many could still move, how long ago they were flagged and the day of the week: a day
    is odd when chance and these explain its count too badly (`survival.find_rhythm`, which the forecast rests on).
    `usual` is NaN for a day like the others. The last day may not be over.
    """
    history = None if tables.as_of is None else count_history(tables.users, tables.as_of)
    if history is None:
        nothing = np.zeros(0)
        return pd.DataFrame({"day": pd.to_datetime([], utc=True), "moved": nothing.astype("int64"), "usual": nothing})
    moved = history.moved.sum(axis=0)
    usual = np.full(len(moved), np.nan)
    if history.now >= _WEEK:
        rhythm = find_rhythm(history)
        odd = np.array(rhythm.odd, dtype=int)
        share = rhythm.past[odd] / rhythm.week[(rhythm.first + odd) % 7] / rhythm.kept[odd]
        usual[odd] = np.maximum((moved[odd] + 0.5) / share - 0.5, 0)
    starts = history.origin + np.arange(len(moved)) * DAY
    return pd.DataFrame({"day": starts, "moved": moved.astype("int64"), "usual": usual})


def attacks(tables: Tables) -> dict[str, int]:
    """Count what points to guessing, to stolen lists of passwords, and to calls that were recorded and sent again.

    `wrong` are attempts with a wrong password, at so many `accounts` and at `most` so many at one; `unknown` those with
    a name that no user has; `replays` calls that came before; `strangers` calls without a token of Entra.
    """
    found, cause = _wrong_passwords(tables), tables.ledger["cause"]
    unknown = (tables.sign_ins["result_code"] == _UNKNOWN_NAME).sum() + (calls(tables)["cause"] == "unknown_user").sum()
    strangers = (cause.eq("no_token") | cause.str.startswith("token_")).fillna(False).sum()
    return {
        "wrong": int(found.sum()),
        "accounts": int((found > 0).sum()),
        "most": int(found.max(initial=0)),
        "unknown": int(unknown),
        "replays": int(cause.isin(("nonce_replayed", "nonce_reused")).sum()),
        "strangers": int(strangers),
    }


def wrong_passwords(tables: Tables) -> pd.DataFrame:
    """Count accounts by how many wrong passwords were tried at them: many at few is guessing, few at many is a list."""
    counts, least = _wrong_passwords(tables), [*_TRIES.values()]
    step = np.digitize(counts, least)  # 0 without any
    accounts, wrong = (np.bincount(step, each, len(least) + 1)[1:].astype("int64") for each in (None, counts))
    return pd.DataFrame({"tries": [*_TRIES], "at_least": least, "accounts": accounts, "wrong": wrong})


def _wrong_passwords(tables: Tables) -> np.ndarray:
    """Count the wrong passwords at each user: in the log or in the ledger, whichever has more.

    About a user who waits, only the endpoint knows. Where it was not asked, Entra refuses the right one too.
    """
    users, called, people = tables.users, calls(tables), tables.people
    callers = called.loc[(called["action"] == RETRY) & (called["cause"] == "wrong"), "row"].to_numpy()
    wrong = tables.sign_ins["result_code"].eq(_WRONG_PASSWORD).to_numpy(dtype=bool, na_value=False)
    if tables.asked.any():
        since = np.append(micros(users["migrated_at"].fillna(pd.Timestamp("2200-01-01", tz="UTC"))), 0)
        wrong &= tables.asked | (micros(tables.sign_ins["time"]) >= since[people])
    counts = [np.bincount(found[found >= 0], minlength=len(users)) for found in (callers, people[wrong])]
    return np.maximum(*counts)


def _words(name: str, **values: Any) -> tuple[str, str]:
    """Fill in a finding of `texts.toml`: its words, and what to do next."""
    text = TEXTS["findings"][name]
    return text["words"].format(**values), text["next"].format(**values)


def _interruptions(tables: Tables, certificate_ends: pd.Timestamp | None) -> Iterator[Finding]:
    found = interruptions(tables)
    largest = found.nlargest(_MOST, "failed").sort_index()
    for row in records(largest):
        since, until, before = row["since"], row["until"], row["good_before"]
        written = {"since": moment(since), "until": moment(until), "lasted": span(until - since)}
        words, step = _words("outage", **row | written)
        more = "", step
        if tables.as_of is not None and until < tables.as_of - _NOW:
            more = "", f"It is over. If it comes back: {step}"
        if certificate_ends is not None and abs(since - certificate_ends) <= DAY:
            more = _words("outage_by_certificate", ends=day(certificate_ends))
        elif row["cause"].startswith(_UNREACHED) and before < since.normalize():
            more = _words("outage_since_midnight", good_before=moment(before))
        yield Finding("interruption", words + more[0], more[1], since, until, row["users"])
    if len(found) > len(largest):
        rest = found.drop(largest.index)
        yield Finding("interruption", *_words("more_outages", windows=len(rest), failed=rest["failed"].sum()))


def _odd_days(tables: Tables) -> Iterator[Finding]:
    table, broken = pace(tables), interruptions(tables)
    explained = [bool(((broken["since"] < start + DAY) & (broken["until"] >= start)).any()) for start in table["day"]]
    slow = (table["moved"] <= _STALL * table["usual"]) & ~np.array(explained, dtype=bool)
    for first, last in runs(slow.to_numpy(), _STALL_DAYS):
        length = last + 1 - first
        words, _, since, until = _unusual(table[first : last + 1], f" ({days(length)})")
        before, during = _came(tables, since - length * DAY, since), _came(tables, since, until)
        log = tables.extents["sign_ins"]
        known = before and log.until is not None and log.until >= until - DAY and log.flaw != "cut"
        name = "stall_of_visits" if during <= _STALL * before else "stall_of_moves"
        why, step = _words(name if known else "stall_without_log", before=before, during=during)
        yield Finding("stall", words + why, step, since, until)
    sent = [each.at for each in campaigns(tables)]
    for first, last in runs((table["moved"] > table["usual"]).to_numpy(), _RUSH_DAYS):
        words, step, since, until = _unusual(table[first : last + 1])
        if not any(since - _AFTER_MAIL <= at < until for at in sent):
            yield Finding("rush", words, step, since, until)


def _unusual(part: pd.DataFrame, length: str = "") -> tuple[str, str, pd.Timestamp, pd.Timestamp]:
    first, last, moved, usual = part["day"].iloc[0], part["day"].iloc[-1], part["moved"].sum(), part["usual"].sum()
    words = _words("odd_days", first=day(first), last=day(last), length=length, moved=moved, usual=usual)
    return *words, first, last + DAY


def _came(tables: Tables, since: pd.Timestamp, until: pd.Timestamp) -> int:
    """Count the sign-ins of people who were not moved as the days began: the others come in a stall, too."""
    first, last = tables.sign_ins["time"].searchsorted(pd.Series([since, until])).tolist()
    waiting = np.append(~(tables.users["migrated_at"] < since).to_numpy(), False)
    return int(waiting[tables.people[first:last]].sum())


def _campaigns(tables: Tables) -> Iterator[Finding]:
    for each in campaigns(tables):
        words, step = _words("campaign", at=day(each.at), reached=len(each.reached), words=each.words)
        until = each.at + each.effect.days * DAY if each.effect else None
        yield Finding("campaign", words, step, each.at, until, len(each.reached))


def _lagging(tables: Tables, columns: list[str]) -> Iterator[Finding]:
    found: list[dict[str, Any]] = []
    for by in columns:
        table = cohorts(tables, by)
        found += records(table[table["lagging"] & (table["fair_share"] <= _LAG * table["others"])].assign(by=by))
    told = [(row, *_why(tables, row["by"], row["cohort"])) for row in sorted(found, key=lambda each: -each["behind"])]
    # Those about whom more can be done than to remind them come first.
    for row, why, step in sorted(told[:_MOST], key=lambda each: each[2] == _REMIND):
        shares = {"share": 100 * row["fair_share"], "others": 100 * row["others"]}
        words = _words("lagging", **row | shares | {"column": row["by"].replace("_", " "), "why": why, "step": step})
        subject = f"{row['by'].replace('_', ' ')} “{row['cohort']}”"
        yield Finding("lagging", *words, users=int(row["remaining"]), subject=subject)


def _why(tables: Tables, by: str, cohort: str) -> tuple[str, str]:
    """Say what hindered most of those who tried, or that few tried."""
    # People of another group that is left out say nothing about this one.
    left = waiting(tables)
    of_group = (grouped(tables.users[by])[tables.users["migrated_at"].isna()] == cohort).to_numpy()
    rest = left["column"].isin(["", by]).to_numpy()
    found, others = (reasons(tables)[some & rest] for some in (of_group, ~of_group))
    tried = found[~found.isin(states.UNSEEN)]
    if len(tried) < 0.1 * len(found) and found.isin(states.UNSEEN[1:]).any():
        return "Whether those who are left have tried is not known.", _REMIND
    if not len(tried) or len(tried) < 0.1 * len(found):
        share = 100 * len(tried) / max(len(found), 1)
        return f"{share:.0f} % of those who are left have tried.", _REMIND
    counts, elsewhere = tried.value_counts(), others[~others.isin(states.UNSEEN)].value_counts(normalize=True)
    more = counts - len(tried) * elsewhere.reindex(counts.index).fillna(0)
    reason = str(more.idxmax())
    if more[reason] < max(0.2 * len(tried), 3 * np.sqrt(counts[reason])):
        return f"The {len(tried):,} who tried and are left have the same reasons as the others.", _REMIND
    return f"Of {len(tried):,} who tried and are left, {counts[reason]:,} {in_words(reason)}.", advice(reason)


def _attacks(tables: Tables) -> Iterator[Finding]:
    """Find the hours in which many sign-ins used names that no user has: ten or more, and a quarter of all.

    Hours with at most one other between them are one burst.
    """
    codes, times = tables.sign_ins["result_code"], micros(tables.sign_ins["time"])
    unknown = (codes == _UNKNOWN_NAME).fillna(False).to_numpy(dtype=bool)
    wrong = (codes == _WRONG_PASSWORD).fillna(False).to_numpy(dtype=bool)
    of_row, hours = pd.factorize(times // _HOUR_US)  # in the order of time, as the log is
    names, whole = np.bincount(of_row[unknown], minlength=len(hours)), np.bincount(of_row, minlength=len(hours))
    marked = (names >= _FEWEST) & (names >= _SHARE * whole)
    burst = np.zeros(len(hours), dtype="int64")
    burst[marked] = np.cumsum(np.diff(hours[marked], prepend=-10) > _APART)
    sizes = np.bincount(burst, names).astype("int64") if len(hours) else np.zeros(1, dtype="int64")
    largest = 1 + np.argsort(-sizes[1:], kind="stable")[:_MOST]
    for number in sorted(largest.tolist()):
        inside = burst[of_row] == number
        since, until = moments(times[inside & unknown][[0, -1]])
        numbers = {"unknown": int(sizes[number]), "wrong": int((inside & wrong).sum())}
        words = _words("guessing", since=moment(since), until=moment(until), **numbers)
        yield Finding("guessing", *words, since, until)


def _certificate(tables: Tables, ends: pd.Timestamp | None) -> Iterator[Finding]:
    if ends is None or tables.as_of is None:
        return
    left = (ends - tables.as_of) // DAY
    if left < _CERTIFICATE_DAYS:
        when = f"ends on {day(ends)}, in {days(left)}" if left >= 0 else f"ended on {day(ends)}"
        yield Finding("certificate", *_words("certificate", ends=when))


def _endpoint_and_logs(tables: Tables) -> Iterator[Finding]:
    took, busy, missing, strange = latency(tables), busy_seconds(tables), missing_days(tables), strange_rows(tables)
    late, called = took["over_limit"], took["calls"]
    if late > _LATE * called:
        yield Finding("slow", *_words("slow", late=late, calls=called, timeout=TIMEOUT_MS))
    if len(busy):
        yield Finding("limit", *_words("limit", seconds=len(busy), limit=CALLS_PER_SECOND))
    if missing:
        yield Finding("missing days", *_words("missing_days", count=days(len(missing)), days=", ".join(missing[:7])))
    if strange:
        yield Finding("strange ids", *_words("strange_ids", rows=strange))

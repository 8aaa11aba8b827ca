"""Simulated migrations whose end is known, played person by person; no survival curve is in them.

Each person has a habit (comes daily, weekly, monthly, yearly or never again) and keeps it by chance or regularly. The
old system saw them by that habit too, and exported the day of their last sign-in at the first flag: one record in ten
is empty, one in twelve wrong. There is a weekly rhythm, people mistype, answer mails, and fail during outages; half of
the migrations set their flags on the evening before, and then nobody comes until the morning.

The six kinds in `UNSEEN` serve the judgement alone: an author who had not seen the model wrote them. Six earlier kinds
(yearly returners to seasonal business) had been kept apart in this way, were judged once, and then became part of the
building.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from jitkit.progress.hazard import Window

START = pd.Timestamp("2026-03-02T08:00Z")
DAY = pd.Timedelta(days=1)

_BEFORE, _PLAYED = 1_500, 175  # days played before the start, and after it: the latest cut, 90 days and some
_HABITS = np.array([1.2, 7.0, 30.0, 365.0, np.inf])  # mean days between two visits
_HOLDS = np.array([1.0, 1.0, 0.8, 0.5, 0.15])  # how much likelier a mail brings people of that habit
_OFFICE = np.array([1.15, 1.2, 1.15, 1.1, 1.0, 0.15, 0.1])
_SHOP = np.array([0.9, 0.9, 0.9, 0.95, 1.05, 1.2, 1.1])
_EMPTY, _WRONG = 0.1, 0.08  # shares of the records of last sign-ins

# What is special about each kind of migration:
#   weights       how common the daily, weekly, monthly and yearly habits are
#   never         between which shares the people lie who never return
#   week          how busy the days of the week are, Monday first
#   regular       how regularly people come: 1 is by chance
#   rates         instead of habits: rates drawn from a gamma distribution of a shape between these
#   two           a share between these of daily people, the others come every one to four months
#   mails         reminders before the cut, which the forecast knows of if `known`
#   later         reminders that nobody told, at any time
#   planned       a reminder by lot before the cut, and one after it that is planned and told
#   closed        the share of people who fail during an outage before the cut
#   waves         between which numbers of days the flags are set over
#   payday        people come around one day of the month
#   holidays      weeks in which few come, at any time
#   season        how much busier and quieter a business is over the year, as the amplitude of a logarithm
#   growth        between which shares the visits grow a day, for two months
#   launch        a new offer makes people come more often, and brings some back
#   deadline      a last day after the cut, known to the people, that more and more of them hurry to meet
#   support       from some day on, the service desk moves people one by one, whoever they are
#   terms         a school year: few come in the breaks of weeks between two terms, many in the first weeks of a term
#   organisations how many people an organisation has on average; they come together when it has something to do
#   sessions      the share of people who use an app that asks for the password 30, 60 or 90 days after the last time
#   fading        the share of customers whose visits become rare after they joined, until they stop
#   countries     how many countries follow each other, each with its own habits, week, holidays and share of never
#   voucher       shortly before the start, a voucher brought this share of all people; some of them come to use it
KINDS: dict[str, dict[str, Any]] = {
    "mixed habits": {},
    "office hours": {"weights": (4, 2, 1, 0.5), "week": _OFFICE / _OFFICE.mean()},
    "monthly shop": {"weights": (0.3, 1, 4, 2), "week": _SHOP / _SHOP.mean()},
    "many never return": {"weights": (2, 2, 2, 0.5), "never": (0.45, 0.6)},
    "gamma rates": {"rates": (0.25, 0.8)},
    "flagged in waves": {"waves": (8, 35)},
    "outage": {"closed": 1.0},
    "holidays": {"holidays": True},
    "mails, known": {"mails": True, "known": True},
    "mails, not known": {"mails": True, "later": True},
    "mail planned": {"planned": True},
    "deadline": {"deadline": True},
    "acceleration": {"growth": (0.005, 0.02)},
    "yearly returners": {"weights": (0.5, 1, 1.5, 5), "regular": 8.0},
    "two populations": {"two": (0.25, 0.6)},
    "payday": {"weights": (0.5, 1, 4, 1), "payday": True},
    "launch": {"launch": True},
    "support-driven": {"support": True},
    "seasonal business": {"weights": (0.5, 1.5, 4, 2), "season": (0.4, 0.9)},
    "school year": {"weights": (1, 3, 3, 1), "never": (0.1, 0.45), "terms": True},
    "organisations": {"never": (0, 0.3), "week": _OFFICE / _OFFICE.mean(), "organisations": (8, 40)},
    "long sessions": {"weights": (3, 3, 1.5, 0.5), "sessions": (0.5, 0.95)},
    "fading customers": {"weights": (1, 3, 3, 0.5), "never": (0, 0.1), "fading": (0.3, 0.8)},
    "country by country": {"countries": (3, 8), "holidays": True},
    "voucher before the start": {"weights": (0.5, 1.5, 3, 3), "week": _SHOP / _SHOP.mean(), "voucher": (0.2, 0.6)},
}
UNSEEN = (
    "school year",
    "organisations",
    "long sessions",
    "fading customers",
    "country by country",
    "voucher before the start",
)
"""Kinds that neither the model nor its calibration was made with."""


@dataclass(frozen=True)
class Migration:
    """One simulated migration: its whole truth, and what a forecast may know.

    Args:
        users: `user_id`, `flagged_at`, `migrated_at` (until the end of the play), `path`, `last_legacy_sign_in`, and
            `campaign` where a mail was sent by lot.
        windows: the first and last moment of each mail that the forecast knows of.
        mails: reminders that are planned.
        deadline: the last day that people were told, or None.
        never: the share of people who never come of their own.
    """

    users: pd.DataFrame
    windows: tuple[Window, ...]
    mails: tuple[pd.Timestamp, ...]
    deadline: pd.Timestamp | None
    never: float


def migration(kind: str, seed: int, cut: int) -> Migration:
    """Play one migration to its end; what the forecast is not told may come at any time."""
    rng, world = np.random.default_rng([zlib.crc32(kind.encode()), seed, cut]), KINDS[kind]
    size = int(rng.integers(1_000, 3_001))
    if "launch" in world:
        world = {"launch": int(rng.integers(3, cut + 45))}
    habit, gap, gone = _people(rng, world, size)
    flagged = np.zeros(size)
    if "waves" in world:
        flagged = np.floor(rng.uniform(0, rng.integers(*world["waves"]), size))
    regular = world.get("regular", rng.choice([1.0, 1.0, 3.0]))
    closed = (0, 0, 0.0)
    if "closed" in world:
        first = int(rng.integers(2, cut - 2))
        closed = (first, first + int(rng.integers(1, 5)), world["closed"])
    busy, left = _busy(rng, world, cut), np.zeros(size, dtype=bool)
    clock = np.append(0, np.cumsum(busy))
    if "organisations" in world:
        last, moved, left = _organisations(rng, world, clock, flagged)
    elif "sessions" in world:
        last, moved = _sessions(rng, world, clock, gap, flagged)
    elif "fading" in world:
        last, moved, left = _fading(rng, world, clock, gap, flagged)
    elif "countries" in world:
        last, moved, flagged, gone = _countries(rng, world, cut, gap, regular)
    else:
        last, moved = _visits(rng, busy, gap, flagged, regular, closed, "payday" in world)
    ends = np.floor(rng.uniform(0, 1_400, size))
    last[gone] -= ends[gone]
    moved[gone] = np.inf
    gone |= left
    if "voucher" in world:
        last, moved = _voucher(rng, world, gone, last, moved)
    moved, sent, windows, planned = _mails(rng, world, cut, habit, flagged, moved)
    moved, deadline = _events(rng, world, cut, habit, flagged, moved)
    wrong = rng.random(size) < _WRONG
    last[wrong] = -np.floor(rng.uniform(0, 700, wrong.sum()))
    last[(rng.random(size) < _EMPTY) | (last < -_BEFORE)] = np.nan
    users = pd.DataFrame(
        {
            "user_id": [f"u{number}" for number in range(size)],
            "flagged_at": START + pd.to_timedelta(flagged, unit="D") - pd.Timedelta(hours=rng.choice([0, 14])),
            "migrated_at": START + pd.to_timedelta(np.where(moved < _PLAYED, moved, np.nan), unit="D"),
            "path": None,
            "last_legacy_sign_in": (START + pd.to_timedelta(last, unit="D")).strftime("%Y-%m-%d"),
            **sent,
        }
    )
    return Migration(users, windows, planned, deadline, float(gone.mean()))


def _people(rng: np.random.Generator, world: dict[str, Any], size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw each person's habit, the mean days between two visits, and who never comes again."""
    gone = rng.uniform(*world.get("never", (0, 0.6)))
    mix = rng.dirichlet(world.get("weights", (1.5, 2.0, 2.0, 1.0)))
    habit = rng.choice(4, size, p=mix)
    gap = _HABITS[habit] * np.exp(rng.normal(0, rng.uniform(0.3, 0.8), size))
    if "rates" in world:
        shape = rng.uniform(*world["rates"])
        gap = 1 / np.maximum(rng.gamma(shape, 1 / shape, size) / rng.uniform(8, 30), 1e-4)
        habit = np.digitize(gap, [3, 15, 100])
        gone *= 0.5
    if "two" in world:
        daily = rng.random(size) < rng.uniform(*world["two"])
        slow = rng.uniform(30, 120)
        gap = np.where(daily, 1.5, slow) * np.exp(rng.normal(0, 0.4, size))
        habit = np.where(daily, 0, 2)
        gone *= 0.3
    never = rng.random(size) < gone
    return np.where(never, 4, habit), gap, never


def _busy(rng: np.random.Generator, world: dict[str, Any], cut: int) -> np.ndarray:
    """Draw how busy each day is, from long before the start to the end of the play; 1 is usual."""
    days = np.arange(-_BEFORE, _PLAYED)
    week = (np.ones(7), _OFFICE, _SHOP)[rng.choice([0, 1, 2])] * np.exp(rng.normal(0, 0.05, 7))
    week = world.get("week", week / week.mean())
    if "countries" in world:
        week = np.roll(week, -rng.choice([0, 0, 1]))  # in some countries the weekend begins on Friday
    busy = week[days % 7] * np.exp(rng.normal(0, rng.uniform(0.02, 0.2), len(days)))
    if "holidays" in world:
        for _ in range(2):
            first = rng.integers(-20, cut + 60)
            busy[(days >= first) & (days < first + rng.integers(7, 21))] *= rng.uniform(0.25, 0.6)
    if "season" in world:
        busy *= np.exp(rng.uniform(*world["season"]) * np.sin(2 * np.pi * (days / 365 + rng.random())))
    if "terms" in world:
        year = (days + rng.integers(365)) % 365
        for rest, weeks in ((130, rng.integers(3, 7)), (280, rng.integers(6, 13))):
            busy[(year >= rest) & (year < rest + 7 * weeks)] *= rng.uniform(0.05, 0.25)
            busy *= 1 + rng.uniform(0.5, 1.5) * np.exp(-((year - rest - 7 * weeks) % 365) / 10)
    if "growth" in world:
        busy *= np.exp(rng.uniform(*world["growth"]) * np.clip(days, 0, 60))
    if "launch" in world:
        first = world["launch"]
        busy *= 1 + rng.uniform(0.5, 2) * np.where(days >= first, np.exp(-np.maximum(days - first, 0) / 20), 0)
    return np.asarray(busy)


def _visits(
    rng: np.random.Generator,
    busy: np.ndarray,
    gap: np.ndarray,
    flagged: np.ndarray,
    regular: float,
    closed: tuple[int, int, float],
    payday: bool,
) -> tuple[np.ndarray, np.ndarray]:
    """Follow each person: days of the last visit before the start, and of the first that moves them (or infinite)."""
    size, days = len(gap), np.arange(-_BEFORE, _PLAYED + 1)
    clocks = [np.append(0, np.cumsum(busy))] * 2
    if payday:
        month = (days[:-1] - rng.integers(0, 30)) % 30
        around = busy * (0.35 + 6 * np.exp(-(((month - 15) / 1.8) ** 2) / 2))
        clocks[1] = np.append(0, np.cumsum(around * busy.sum() / around.sum()))
    last, moved = np.full(size, np.nan), np.full(size, np.inf)
    for clock, here in zip(clocks, (gap <= 15, gap > 15), strict=True):
        ends, start = clock[-1], np.interp(flagged, days, clock)
        # Nobody waits for the flag: it falls somewhere inside an interval between two visits.
        length = gap * rng.gamma(regular + 1, 1 / regular, size)
        inside = rng.random(size)
        before = np.interp(np.interp(0, days, clock) - length * inside, clock, days, left=-_BEFORE - 1)
        last[here] = before[here]
        at = start + length * (1 - inside)
        trying = np.flatnonzero(here & (at < ends))
        while len(trying):
            day = np.interp(at[trying], clock, days)
            # Most of those who mistype try again at once; the others come back another day.
            fails = rng.random(len(trying)) < 0.02
            first, until, share = closed
            fails |= (day >= first) & (day < until) & (rng.random(len(trying)) < share)
            moved[trying[~fails]] = day[~fails]
            trying = trying[fails]
            at[trying] += gap[trying] * rng.gamma(regular, 1 / regular, len(trying))
            trying = trying[at[trying] < ends]
    return last, moved


def _countries(
    rng: np.random.Generator, world: dict[str, Any], cut: int, gap: np.ndarray, regular: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Follow one country after the other: returns the last visits, the moves, the flags, and who never comes."""
    count, size = rng.integers(*world["countries"]), len(gap)
    country = rng.choice(count, size, p=rng.dirichlet(np.full(count, 2.0)))
    flagged = np.append(0.0, np.cumsum(rng.integers(4, 18, count - 1)))[country]
    gap = gap * np.exp(rng.normal(0, 0.5, count))[country]
    last, moved = np.full(size, np.nan), np.full(size, np.inf)
    for here in (country == number for number in range(count)):
        busy = _busy(rng, world, cut)
        last[here], moved[here] = _visits(rng, busy, gap[here], flagged[here], regular, (0, 0, 0.0), False)
    return last, moved, flagged, rng.random(size) < rng.uniform(0, 0.6, count)[country]


def _organisations(
    rng: np.random.Generator, world: dict[str, Any], clock: np.ndarray, flagged: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Follow organisations, some of which left: each has occasions, and some of its people come on each of them."""
    size, days = len(flagged), np.arange(-_BEFORE, _PLAYED + 1)
    count = int(size / rng.uniform(*world["organisations"]))
    member = rng.choice(count, size, p=rng.dirichlet(np.full(count, 0.4)))
    pace = np.clip(rng.uniform(7, 40) * np.exp(rng.normal(0, 0.8, count)), 3, 365)
    steps = rng.gamma(rng.uniform(1.5, 5), 1, (count, 700))
    steps[:, 0] *= rng.random(count)
    occasions = np.cumsum(pace[:, None] * steps / steps.mean(), axis=1)
    # All organisations in one sorted row, each in its own stretch: another's occasion is outside the play.
    stretches = np.arange(count) * (occasions.max() + clock[-1] + 1)
    row, stretch = np.append((occasions + stretches[:, None]).ravel(), np.inf), stretches[member]
    joins = 0.98 * np.clip(rng.beta(1.5, 1.5, size), 0.05, 1)
    ended = np.where(rng.random(count) < rng.uniform(0, 0.4), rng.uniform(0, 1_400, count), 0)[member]
    until, late = np.interp(-ended, days, clock), rng.exponential(1, size)
    before = np.searchsorted(row, stretch + until - late) - rng.geometric(joins)
    after = np.searchsorted(row, stretch + np.interp(flagged, days, clock) - late) + rng.geometric(joins) - 1
    last = np.where(before < 0, -1, row[before] - stretch + late)
    moved = row[np.minimum(after, len(row) - 1)] - stretch + late
    last = np.interp(last, clock, days, left=-_BEFORE - 1)
    return last, np.where(ended > 0, np.inf, np.interp(moved, clock, days, right=np.inf)), ended > 0


def _sessions(
    rng: np.random.Generator, world: dict[str, Any], clock: np.ndarray, gap: np.ndarray, flagged: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Follow users of an app and of a web page: the app asks for the password only when a session has ended."""
    size, days = len(gap), np.arange(-_BEFORE, _PLAYED + 1)
    length = np.where(rng.random(size) < rng.uniform(*world["sessions"]), rng.choice([30, 60, 90]), 0)
    lost = rng.uniform(200, 600)  # mean days until a new telephone or a sign-out ends a session
    release = rng.choice([-np.inf, rng.uniform(-80, -5)])  # some companies sign all people out with a new version
    cycle = length + gap
    day = np.maximum(-np.minimum(5 * cycle, 1_000) - cycle * rng.random(size), -_BEFORE)
    last = np.full(size, np.nan)
    while (day < flagged).any():
        here = np.flatnonzero(day < flagged)
        last[here] = np.where(day[here] < 0, day[here], last[here])
        ended = day[here] + np.minimum(length[here], rng.exponential(lost, len(here)))
        ended = np.where(day[here] < release, np.minimum(ended, release), ended)
        tries = rng.gamma(rng.geometric(0.98, len(here)))
        day[here] = np.interp(np.interp(ended, days, clock) + gap[here] * tries, clock, days, right=np.inf)
    return last, day


def _fading(
    rng: np.random.Generator, world: dict[str, Any], clock: np.ndarray, gap: np.ndarray, flagged: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Follow customers who joined at any time: the visits of most of them become fewer, until no other one comes."""
    size, days = len(gap), np.arange(-_BEFORE, _PLAYED + 1)
    joined = np.interp(-rng.uniform(0, _BEFORE, size), days, clock)
    fades = rng.random(size) < rng.uniform(*world["fading"])
    loses = np.where(fades, rng.uniform(60, 300) * np.exp(rng.normal(0, 0.5, size)), 1e6)
    # The rate of visits falls exponentially: its integral from a moment on is this share of loses / gap.
    start, flag = (np.exp((joined - np.interp(moment, days, clock)) / loses) for moment in (0, flagged))
    before = np.minimum(start + rng.exponential(1, size) * gap / loses, 1)
    after = flag - rng.gamma(rng.geometric(0.98, size)) * gap / loses
    stays = after > 0
    moved = joined - loses * np.log(np.where(stays, after, 1))
    moved = np.where(stays, np.interp(moved, clock, days, right=np.inf), np.inf)
    return np.interp(joined - loses * np.log(before), clock, days), moved, ~stays


def _voucher(
    rng: np.random.Generator, world: dict[str, Any], gone: np.ndarray, last: np.ndarray, moved: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Bring people to the old system shortly before the start, and some of them again to use their voucher."""
    size = len(gone)
    seen = rng.uniform(-45, -5) + rng.exponential(5, size)
    brought = (rng.random(size) < rng.uniform(*world["voucher"])) & (seen < 0)
    used = np.where(~gone & (rng.random(size) < rng.uniform(0.1, 0.4)), seen + rng.exponential(25, size), np.inf)
    last = np.where(brought, np.fmax(last, np.where(used < 0, used, seen)), last)
    return last, np.where(brought & (used >= 0), np.minimum(moved, used), moved)


def _mails(
    rng: np.random.Generator,
    world: dict[str, Any],
    cut: int,
    habit: np.ndarray,
    flagged: np.ndarray,
    moved: np.ndarray,
) -> tuple[np.ndarray, dict[str, list[str | None]], tuple[Window, ...], tuple[pd.Timestamp, ...]]:
    """Send mails: returns the moves, the column `campaign`, the known windows, and the mails that are planned."""
    size, holds = len(moved), rng.uniform(0.05, 0.25)
    mails = {}
    if "mails" in world:
        until = cut + 60 if "later" in world else cut - 1
        some = rng.integers(1, 2 + cut // 15) + (2 if "later" in world else 0)
        days = rng.choice(np.arange(3, until), some, replace=False)
        mails = {int(day): rng.uniform(0.05, 0.25) for day in days}
    if "planned" in world:
        mails = {int(rng.integers(2, cut - 4)): holds, cut + int(rng.integers(2, 41)): holds}
    lot = rng.random(size) < 0.5
    sent: dict[str, list[str | None]] = {}
    for number, (day, share) in enumerate(mails.items()):
        asked = (flagged <= day) & (moved > day) & (rng.random(size) < share * _HOLDS[habit])
        if "planned" in world and not number:
            date = f"{START + day * DAY:%Y-%m-%d}"
            waits = (flagged <= day) & (moved > day)
            words = np.where(waits, np.where(lot, f"reached {date}", f"control {date}"), "")
            sent["campaign"] = [word or None for word in words.tolist()]
            asked &= lot
        moved = np.minimum(moved, np.where(asked, day + rng.exponential(1.2, size), np.inf))
    known = sorted(mails) if "known" in world else []
    windows = tuple((START + day * DAY, START + (day + 3) * DAY) for day in known)
    planned = tuple(START + day * DAY for day in mails if "planned" in world and day > cut)
    return moved, sent, windows, planned


def _events(
    rng: np.random.Generator,
    world: dict[str, Any],
    cut: int,
    habit: np.ndarray,
    flagged: np.ndarray,
    moved: np.ndarray,
) -> tuple[np.ndarray, pd.Timestamp | None]:
    """Bring people for reasons of a day: a launch, a deadline, the service desk."""
    days, deadline = np.arange(_PLAYED + 1.0), None
    hazard = np.zeros(_PLAYED)
    holds = np.ones(len(moved))
    if "launch" in world:
        first = world["launch"]
        hazard += np.where(days[:-1] >= first, np.exp(-np.maximum(days[:-1] - first, 0) / 10) / 10, 0)
        hazard *= rng.uniform(0.03, 0.15)
    if "deadline" in world:
        last = cut + int(rng.integers(20, 71))
        deadline = START + last * DAY
        hazard += np.where(days[:-1] < last, np.exp(-np.maximum(last - days[:-1], 0) / 10) / 10, 0)
        hazard *= rng.uniform(0.1, 0.4)
        holds = _HOLDS[habit]
    if "support" in world:
        first = rng.integers(3, cut + 20)
        hazard += np.where((days[:-1] >= first) & (days[:-1] % 7 < 5), rng.uniform(0.003, 0.01), 0)
    if not hazard.any():
        return moved, None
    total = np.append(0, np.cumsum(hazard))
    needed = rng.exponential(1, len(moved)) / holds + np.interp(flagged, days, total)
    return np.minimum(moved, np.interp(needed, total, days, right=np.inf)), deadline

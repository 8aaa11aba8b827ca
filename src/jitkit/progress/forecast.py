"""Forecasts how many users are migrated on each coming day, how many never, and how sure that is.

The coming days are played by what people did so far, by how long they have been silent or, where no table says that,
how long they have been flagged (`hazard`). `calibration.toml` widens the range to what it takes on kinds of migrations
that the model was not made with, and the more, the further it was off on days that have passed.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.optimize import least_squares

from jitkit.display import Table
from jitkit.progress.cohorts import campaigns
from jitkit.progress.hazard import DRAWS, NOISE, Window, days_of, fit_hazard
from jitkit.progress.outages import interruptions
from jitkit.progress.silence import COLUMN, Floats, Times, days_silent, days_since, spells, times_of
from jitkit.progress.tables import DAY, Tables, give_back, micros, once, records
from jitkit.progress.wording import day, say, span

CALIBRATION: Final = tomllib.loads((files("jitkit.progress") / "calibration.toml").read_text(encoding="utf-8"))
"""How far the range is widened, and how often it held; `benchmarks/calibration.py` writes it."""

HORIZONS: Final = (30, 90)  # days ahead that it was calibrated for
SPREADS: Final = (0.3, 0.5, 0.05)
"""Of any forecast's logarithm, for each unit by which one of past days was off, and of the share who never come."""

LINES: Final = ("do_nothing", "fix", "fix_and_remind")
"""What may be done: nothing, let in who is held back, and remind who waits too."""

_HORIZON: Final = 180  # days
_EVENTS: Final = 30  # moves that a forecast needs
_DAYS: Final = 7.0  # … and days since the first flag
_SHOWN: Final = (7, 30, 90, 180)
_RECENT: Final = 7  # days that the straight line goes through
_AFTER_MAIL: Final = pd.Timedelta(days=3)  # how long a reminder makes days unlike the others
_ANSWER: Final = 2.0  # mean days until a reminder is answered
_ENDS: Final = ("migrated_low", "migrated", "migrated_high")
_DAY_US: Final = 86_400_000_000
_LONG: Final = pd.Timedelta(hours=2)  # outages that a day's count shows


@dataclass(frozen=True, eq=False)
class Forecast:
    """What the coming days bring, or why it is too early to say.

    Args:
        as_of: the moment it is made for.
        in_scope: number of users to move.
        migrated: number of users moved so far.
        too_early: why there is no forecast yet, or an empty string.
        days: `date` (UTC), `migrated_low`, `migrated`, `migrated_high` (80 % interval): today and each of the coming
            days. Empty when it is too early.
        never_return: `low`, `estimate`, `high` share of the users in scope who never return, or None.
        backtest: how it would have done on the latest days, as in `metrics.json`: `made_on`, `days`,
            `interval_coverage` (share of these days on which the truth lay in the interval), and the mean `error` in
            users, next to those of a straight line and of an exponential; in the end `factor` times as many came as
            expected, which widens the range to come. None if there are too few days.
        odd_days: days unlike the others, such as after a reminder or in an outage; they are left out.
        paths: migrated users on each of the days (columns) in each of many equally plausible courses (rows).
        coming: how many of those who wait now come within the days, in each of the courses.
        chances: of those who wait and whom nothing holds back, by id, the probability (0 to 1) to come within 30 days
            (or within the days, if these are fewer) without another reminder. They sum to the newcomers expected
            before the range is widened.
        lines: the same as `days` with `line`, for each of `LINES` that is known: what a reminder brings is known once
            a campaign by lot has measured it.
        told: the events that it was told: `mails` and those of them `ahead`, `deadline`, `planned` users, and the
            `effect` of a mail (share of those who wait) that it goes by, or None.
        kind: what it goes by: `silence`, the days since the last sign-in to the old system; `words`, ranges of these;
            or `survival`, the days since the flag.
    """

    as_of: pd.Timestamp | None
    in_scope: int
    migrated: int
    too_early: str = ""
    days: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=["date", *_ENDS]), repr=False)
    never_return: dict[str, float] | None = None
    backtest: dict[str, Any] | None = None
    odd_days: tuple[pd.Timestamp, ...] = field(default=(), repr=False)
    paths: Floats = field(default_factory=lambda: np.empty((0, 0)), repr=False)
    coming: Floats = field(default_factory=lambda: np.empty(0), repr=False)
    chances: pd.Series = field(default_factory=lambda: pd.Series(dtype=float), repr=False)
    lines: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=["date", *_ENDS, "line"]), repr=False)
    told: dict[str, Any] = field(default_factory=dict, repr=False)
    kind: str = ""

    def __str__(self) -> str:
        return say("forecast", made=self, row=None if self.too_early else self.days.iloc[min(30, len(self.days) - 1)])

    def _repr_html_(self) -> str:
        caption = f"When will it end? {self.in_scope:,} users" + (f", as of {day(self.as_of)}" if self.as_of else "")
        rows = [("Forecast", f"too early to tell: {self.too_early}")]
        if not self.too_early:
            rows = [("Today", f"{self.migrated:,}")]
            for ahead, row in self.days[self.days.index.isin(_SHOWN)].iterrows():
                rows.append((f"In {ahead} days, {day(row['date'])}", say("forecast_row", row=row)))
        if self.never_return is not None:
            rows.append(("Never return", say("never_return", share=self.never_return)))
        if self.backtest is not None:
            rows.append(("Tried on days that have passed", self.tried))
        note = "" if self.too_early else self.note
        return Table(caption=caption, columns=("What", "Users migrated"), rows=rows, note=note)._repr_html_()

    def numbers(self) -> dict[str, Any]:
        """Return the parts of `metrics.json`, ready for JSON."""
        rows = self.lines.assign(date=[f"{date:%Y-%m-%d}" for date in self.lines["date"]]).set_index("line")
        lines = {line: records(rows[rows.index == line]) for line in LINES}
        return {
            "forecast": lines["do_nothing"],
            "forecast_lines": lines,
            "forecast_told": self.told,
            "forecast_coverage": None if self.too_early else self.coverage,
            "never_return": self.never_return,
            "backtest": self.backtest,
        }

    @property
    def coverage(self) -> dict[str, float]:
        """How often such a range held the truth, on kinds of migrations that it was not made with (0 to 1)."""
        return dict(CALIBRATION[self.kind]["unseen"])

    @property
    def tried(self) -> str:
        """How it would have done on days that have passed, in words."""
        return say("backtest", past=self.backtest) if self.backtest else ""

    @property
    def note(self) -> str:
        """What it assumes, how far it can be trusted, and which days it leaves out."""
        return say("forecast_note", made=self)


def forecast(
    tables: Tables,
    *,
    windows: Iterable[Window] = (),
    mails: Iterable[pd.Timestamp] = (),
    deadline: pd.Timestamp | None = None,
    days: int = _HORIZON,
    with_backtest: bool = True,
    outside: npt.NDArray[np.bool_] | None = None,
    held_back: npt.NDArray[np.bool_] | None = None,
) -> Forecast:
    """Forecast the number of migrated users for each of the coming `days`, or say why it is too early.

    Users flagged after `tables.as_of` are planned and join then, and so do those of `tables.planned`.

    Args:
        tables: users, with the campaigns of their column, and sign-ins, which show outages and who tried.
        windows: the first and last moments of other reminders and outages that are known.
        mails: days of reminders to all who wait. Those to come have the effect that the last campaign by lot had; if
            there was none, they are not in the estimate.
        deadline: the last day that people were told. What it brings is not known before: it is not in the estimate.
        days: how far to go.
        with_backtest: try it on days that have passed; the range is widened by that.
        outside: marks users who cannot move now: they count, and do not come.
        held_back: marks those of them who could come if we fixed what holds them back; the other lines have them.
    """
    read = ["flagged_at", "migrated_at", *tables.users.columns.intersection([COLUMN])]
    users = tables.users[read]
    users = pd.concat([users, tables.planned[read]], ignore_index=True) if len(tables.planned) else users
    as_of, in_scope, later = tables.as_of, len(users), np.zeros(len(tables.planned), dtype=bool)
    here = np.ones(in_scope, dtype=bool) if outside is None or outside.all() else ~np.append(outside, later)
    times = None if as_of is None else times_of(users[here], as_of)
    now = 0 if as_of is None else int((users["migrated_at"] <= as_of).sum())
    reason = say("when_unknown", undated=tables.undated, moved=now) or _too_early(times, in_scope)
    if times is None or as_of is None or reason:
        return Forecast(as_of, in_scope, now, too_early=reason)

    mails, effect = sorted(mails), _effect(tables)
    held = ~here & (np.append(held_back, later) if held_back is not None else False)
    people = users.assign(row=np.arange(in_scope), held=held)
    people, windows = pd.concat([people[here], people[held]]), [*windows, *_known_windows(tables, mails, deadline)]
    error, backtest = _try_on_the_past(tables, people, windows, as_of, times) if with_backtest else (0.0, None)
    give_back()
    played = _play(tables, people, windows, as_of, days)
    sizes = played.sizes.tolist()
    present, planned, fixed = (
        _calibrated(part, size, error, played.kind) for part, size in zip(played.parts, sizes, strict=True)
    )
    ahead = [(mail - as_of) / DAY for mail in mails if mail > as_of]
    lines = {
        "do_nothing": now + _reminded(present + planned, sum(sizes[:2]), ahead, effect),
        "fix": now + _reminded(present + planned + fixed, sum(sizes), ahead, effect),
    }
    if effect is not None:
        lines["fix_and_remind"] = now + _reminded(present + planned + fixed, sum(sizes), [1.0, *ahead], effect)
    dates = as_of.normalize() + pd.to_timedelta(np.arange(days + 1), unit="D")
    frames = {
        line: pd.DataFrame({"date": dates} | dict(zip(_ENDS, interval(paths), strict=True)))
        for line, paths in lines.items()
    }
    shares = (_never(played.never, sum(sizes[:2]), played.kind) / in_scope).round(4).tolist()
    return Forecast(
        as_of=as_of,
        in_scope=in_scope,
        migrated=now,
        days=frames["do_nothing"],
        never_return=dict(zip(("low", "estimate", "high"), shares, strict=True)),
        backtest=backtest,
        odd_days=played.odd,
        paths=lines["do_nothing"],
        coming=_reminded(present, sizes[0], ahead, effect)[:, -1],
        chances=played.chances.set_axis(tables.users["user_id"].iloc[played.chances.index]),
        lines=pd.concat([frame.assign(line=line) for line, frame in frames.items()], ignore_index=True),
        told={
            "mails": [f"{mail:%Y-%m-%d}" for mail in mails],
            "ahead": [f"{mail:%Y-%m-%d}" for mail in mails if mail > as_of],
            "deadline": None if deadline is None else f"{deadline:%Y-%m-%d}",
            "planned": sizes[1],
            "effect": None if effect is None else round(effect[0], 4),
        },
        kind=played.kind,
    )


def interval(courses: np.ndarray) -> np.ndarray:
    """Return the lower end, median and upper end (rows) of the 80 % interval of each column, as whole users."""
    return np.asarray(np.round(np.quantile(courses, (0.1, 0.5, 0.9), axis=0)).astype(int))


def _too_early(times: Times | None, in_scope: int) -> str:
    if not in_scope:
        return "no user is in scope."
    if times is None:
        return "no user has been flagged yet, or no table says when."
    events = int(times.per_day.sum())
    if events == len(times.moved) and not times.outside:
        return ""
    if times.outside > in_scope / 2:
        return f"of {times.outside:,} of {in_scope:,} users no table says when they were flagged."
    elapsed = times.now - times.flagged.min()
    if elapsed < _DAYS:
        ago = span(pd.Timedelta(days=elapsed))
        return f"the first users were flagged {ago} ago; it takes {_DAYS:.0f} days to see a week."
    if events < _EVENTS:
        return f"{events:,} users have moved; it takes {_EVENTS} to see a course."
    return ""


class _Played(NamedTuple):
    """Courses of further moves."""

    parts: list[Floats]  # of those flagged, planned and held back
    sizes: npt.NDArray[np.int64]  # how many of each part wait
    never: Floats  # how many of the flagged and planned never come
    odd: tuple[pd.Timestamp, ...]
    kind: str  # of the forecast
    chances: pd.Series  # of those of the flagged who wait, to come soon, by row


def _known_windows(tables: Tables, mails: list[pd.Timestamp], deadline: pd.Timestamp | None) -> list[Window]:
    """Return the days of reminders, the week before a deadline, and the outages that the logs show."""
    sent = [*mails, *(each.at for each in campaigns(tables))]
    long = interruptions(tables).loc[lambda broken: broken["until"] - broken["since"] >= _LONG]
    last = [] if deadline is None else [(deadline - 7 * DAY, deadline)]
    return [*((at, at + _AFTER_MAIL) for at in sent), *zip(long["since"], long["until"], strict=True), *last]


@once
def _visits(tables: Tables) -> pd.DataFrame:
    """List when users came to the new system up to the day of their move: `row` and `time`, the last of each day."""
    columns = tables.sign_ins["time"], tables.users["migrated_at"]
    day, moved = ((micros(each) // _DAY_US).astype("int32") for each in columns)
    until = np.append(np.where(columns[1].isna(), day.max(initial=0), moved), np.int32(-1))  # strangers have none
    known = np.flatnonzero(day <= until[tables.people])
    row = tables.people[known]
    last = ~pd.Series(day[known].astype("int64") * len(tables.users) + row).duplicated(keep="last").to_numpy()
    return pd.DataFrame({"row": row[last], "time": tables.sign_ins["time"].array[known[last]]})


def _effect(tables: Tables) -> tuple[float, float] | None:
    """Return what the last reminder by lot brought, as a share of those who waited, and its standard error."""
    for sent in reversed(campaigns(tables)):
        if sent.effect is not None and sent.effect.by_lot:
            extra, low, high = (end / int(sent.effect.cells["users"].iloc[0]) for end in sent.effect[:3])
            return extra, (high - low) / (2 * 1.96)
    return None


def _reminded(grown: Floats, total: int, ahead: list[float], effect: tuple[float, float] | None) -> Floats:
    """Let reminders so many days ahead bring their share of those who still wait then."""
    if effect is None or not ahead:
        return grown
    share = np.random.default_rng(0).normal(*effect, (len(grown), 1)).clip(0, 1)
    left = total - grown
    for mail in ahead:
        left = left * (1 - share * -np.expm1(-np.maximum(np.arange(grown.shape[1]) - mail, 0) / _ANSWER))
    return np.asarray(total - left)


def _play(tables: Tables, users: pd.DataFrame, windows: list[Window], as_of: pd.Timestamp, days: int) -> _Played:
    """Play the coming days of users who may come or are `held` back."""
    begin = users["flagged_at"].mask(users["held"], as_of + pd.Timedelta(seconds=1))  # nobody was let in before
    users = users.assign(flagged_at=begin)[begin.notna()]
    waits = ~(users["migrated_at"] <= as_of).to_numpy()
    part = np.where(users["held"], 2, users["flagged_at"] > as_of)
    times = times_of(users, as_of)
    assert times is not None  # otherwise it is too early
    known = days_silent(users, times.flagged, times.origin)
    silent, seen = known or (np.zeros(len(users)), np.empty(0))
    visits = _visits(tables)
    row = pd.Index(users["row"]).get_indexer(visits["row"])
    row, at = row[row >= 0], days_since(times.origin, visits["time"])[row >= 0]
    if len(seen):
        later = np.flatnonzero((seen > times.flagged + 1) & (seen <= times.now))
        row, at = np.append(row, later), np.append(at, seen[later])
        # Those who are held back wait from now on, but the records show when they came last.
        last = np.where(seen <= times.now, seen, -np.inf)
        np.maximum.at(last, row, np.where(at <= times.now, at, -np.inf))
        silent = np.where((part == 2) & np.isfinite(last), times.now - last, silent)
    fitted = fit_hazard(spells(silent, times, (row, at)), seen, times, days_of(windows, times))
    rng, parts, never, soon = np.random.default_rng(0), [], np.zeros(DRAWS), np.full(len(users), np.nan)
    busy = np.exp(rng.normal(-(NOISE**2) / 2, NOISE, (DRAWS, days)))
    for number in range(3):
        rows = waits & (part == number)
        if not rows.any():
            parts.append(np.zeros((DRAWS, days + 1)))
            continue
        expected, gone, soon[rows] = fitted.expected(rows, days, min(days, HORIZONS[0]))
        parts.append(_course(expected, int(rows.sum()), busy, rng))
        never += gone if number < 2 else 0
    odd = tuple(times.origin + number * DAY for number in fitted.odd)
    kind = "survival" if known is None else "silence" if len(seen) else "words"
    chances = pd.Series(soon, users["row"])[part == 0].dropna()
    return _Played(parts, np.bincount(part[waits], minlength=3), never, odd, kind, chances)


def _course(expected: Floats, total: int, factor: Floats, rng: np.random.Generator) -> Floats:
    """Draw how many of `total` users come on each day, from the numbers expected and how busy the days will be."""
    chance = np.clip(np.diff(expected, axis=1) / np.maximum(total - expected[:, :-1], 1e-9), 0, 1)
    chance = 1 - (1 - chance) ** factor
    left, grown = np.full(len(expected), total), np.zeros(expected.shape)
    for ahead in range(chance.shape[1]):
        left = left - rng.binomial(left, chance[:, ahead])
        grown[:, ahead + 1] = total - left
    return grown


def _calibrated(grown: Floats, total: int, error: float, kind: str) -> Floats:
    """Widen the courses around their middle, to either side by what kinds of migrations apart took.

    Distances are those of the logarithm of the summed hazard: nobody comes twice, and more may come than was thought.
    """
    if not total:
        return grown
    hazard = log_hazard(grown, total)
    low, middle, high = np.quantile(hazard, (0.1, 0.5, 0.9), axis=0)
    ahead = np.log(np.clip(np.arange(grown.shape[1]), *HORIZONS))
    times = np.stack([np.interp(ahead, np.log(HORIZONS), CALIBRATION[kind][side]) for side in ("above", "below")])
    spread, extra = np.stack([high - middle, middle - low]), SPREADS[0] ** 2 + (SPREADS[1] * error) ** 2
    above, below = np.minimum(times * np.sqrt(spread**2 + extra) / np.maximum(spread, 1e-6), 20)
    hazard = middle + (hazard - middle) * np.where(hazard > middle, above, below)
    moves = (total + 1) * -np.expm1(-np.exp(hazard)) - 0.5
    moves[:, 0] = 0
    return np.asarray(np.maximum.accumulate(moves.clip(0, total), axis=1))


def _never(draws: Floats, waiting: int, kind: str) -> Floats:
    """Return the range of those who never come, widened to either side by what kinds of migrations apart took."""
    low, middle, high = np.quantile(draws, (0.1, 0.5, 0.9)) / max(waiting, 1)
    above, below = CALIBRATION[kind]["never"] * np.hypot([high - middle, middle - low], SPREADS[2])
    return np.asarray(waiting * np.clip([middle - below, middle, middle + above], 0, 1))


def log_hazard(moved: Floats, total: int) -> Floats:
    """Return the logarithm of the hazard that adds up to so many moves of `total` users."""
    return np.asarray(np.log(-np.log1p(-(np.asarray(moved) + 0.5) / (total + 1))))


def _try_on_the_past(
    tables: Tables, users: pd.DataFrame, windows: list[Window], as_of: pd.Timestamp, times: Times
) -> tuple[float, dict[str, Any] | None]:
    """Forecast the latest third of the days, at most 30, from those before them.

    Returns the error of the logarithm of the summed hazard (above 0 where more came than expected), and all in numbers.
    """
    held = min(30, round(times.now - times.flagged.min()) // 3)
    then = as_of - held * DAY
    users = users[~users["held"] & users["flagged_at"].notna()]  # others are not forecast
    past = times_of(users, then)
    if past is None or held < 1 or _too_early(past, len(users)) or not np.isnan(past.moved).any():
        return 0.0, None
    played = _play(tables, users, windows, then, held)
    total, courses = int(played.sizes.sum()), played.parts[0] + played.parts[1]
    truth = np.array([float((users["migrated_at"] <= then + day * DAY).sum()) for day in range(held + 1)])
    error = float(log_hazard(truth[-1] - truth[0], total) - np.median(log_hazard(courses[:, -1], total)))
    judged = _compare(past, len(users), truth[0] + _calibrated(courses, total, 0.0, played.kind), truth, then)
    return error, judged | {"factor": round(float(np.exp(error)), 4)}


def _compare(past: Times, in_scope: int, courses: Floats, truth: Floats, made_on: pd.Timestamp) -> dict[str, Any]:
    """Compare courses played from the past, and the two simple methods, with what happened."""
    days = len(truth) - 1
    low, middle, high = interval(courses)
    inside = round(float(((low <= truth) & (truth <= high))[1:].mean()), 4)
    methods = {"error_straight_line": straight_line, "error_exponential": exponential}
    counts = {"error": middle} | {name: method(past, in_scope, days) for name, method in methods.items()}
    errors = {name: round(float(np.abs(each - truth)[1:].mean()), 2) for name, each in counts.items()}
    return {"made_on": f"{made_on:%Y-%m-%d}", "days": days, "interval_coverage": inside, **errors}


def straight_line(times: Times, in_scope: int, days: int) -> Floats:
    """Extend the pace of the last seven days: migrated users after 0, 1 … `days` days, at most `in_scope`."""
    moments, counts = _curve(times)
    start = max(times.now - _RECENT, moments[0])
    pace = (counts[-1] - np.interp(start, moments, counts)) / max(times.now - start, 1e-9)
    return np.asarray(np.minimum(counts[-1] + pace * np.arange(days + 1), in_scope))


def exponential(times: Times, in_scope: int, days: int) -> Floats:
    """Follow the saturating exponential nearest to the curve so far, from today's count on."""
    moments, counts = _curve(times)
    elapsed, highest = moments - moments[0], max(in_scope, 1) * 1.0

    def saturating(time: Floats, ceiling: float, scale: float) -> Floats:
        return np.asarray(ceiling * -np.expm1(-time / scale))

    bounds = ([0.0, 0.1], [highest, 3650.0])
    best = least_squares(lambda each: saturating(elapsed, *each) - counts, (0.7 * highest, 20.0), bounds=bounds).x
    grown = saturating(elapsed[-1] + np.arange(days + 1), *best)
    return np.asarray(np.minimum(counts[-1] + grown - grown[0], in_scope))


def _curve(times: Times) -> tuple[Floats, Floats]:
    """Return the moments of the first flag and of the end of each day, and the migrated users then."""
    counts = times.outside_moved + np.cumsum(times.per_day)
    ends = np.minimum(np.arange(1, len(counts) + 1), times.now)
    return np.append(times.flagged.min(), ends), np.append(times.outside_moved, counts)

"""What happens to a migration: who the people are, how often they come, and what goes wrong meanwhile.

Nothing here is a fact about the service. The shares are invented, and every one of them is a parameter.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, time
from typing import Final, Literal

from jitkit.errors import KitError

__all__ = ["App", "Campaign", "Habit", "Kind", "Plan", "Stuffing", "Trouble"]

DAY: Final = 86_400.0
HOUR: Final = 3_600.0

Kind = Literal[
    "store away", "store slow", "endpoint away", "certificate ended", "listener removed", "consent revoked", "lull"
]


@dataclass(frozen=True)
class Habit:
    """How often some of the people come.

    Args:
        name: what they are called.
        share: of all people.
        a_day: the chance that one of them comes on an average day.
    """

    name: str
    share: float
    a_day: float


@dataclass(frozen=True)
class App:
    """An app that people sign in to.

    Args:
        name: its display name.
        share: of the people, who use this app and no other.
        covered_from: the day from which the listener includes it. Before that its people are told that their password
            is wrong, and the endpoint is not asked.
    """

    name: str
    share: float
    covered_from: float = 0.0


@dataclass(frozen=True)
class Trouble:
    """Something that is wrong for a while.

    `store away`: the legacy store does not answer for anybody. `store slow`: it answers later than the endpoint waits.
    `endpoint away`: nothing accepts connections. `certificate ended`: the endpoint's TLS certificate has run out.
    `listener removed`: no app is in the listener's conditions. `consent revoked`: the extension's permission is gone.
    `lull`: nothing is broken, and few people come.

    Args:
        kind: what is wrong.
        day: when it begins, in days from the start.
        hours: how long it lasts.
    """

    kind: Kind
    day: float
    hours: float

    def covers(self, day: float) -> bool:
        """Tell whether it is wrong at a moment, in days from the start."""
        return self.day <= day < self.day + self.hours / 24


@dataclass(frozen=True)
class Campaign:
    """A reminder mail to some of the people; as many others, the control group, get none.

    Args:
        day: when it is sent, in days from the start.
        treated: the share of all people who get it. The control group is as large.
        answers: the share of the treated who come because of it.
        within_days: nearly all of those come within so many days, most of them in the first ones.
    """

    day: float
    treated: float
    answers: float = 0.2
    within_days: float = 7.0


@dataclass(frozen=True)
class Stuffing:
    """Programs that try a few passwords on many names, from a few addresses. None of the passwords is anybody's.

    Args:
        day: when it begins, in days from the start.
        hours: how long it lasts.
        tries: how many sign-ins it makes.
        addresses: from how many IP addresses.
        known: the share of the tried names that exist in the tenant.
    """

    day: float
    hours: float
    tries: int
    addresses: int = 4
    known: float = 0.3


# Few type a password every day: sessions last for weeks.
_HABITS: Final = (
    Habit("daily", 0.01, 0.7),
    Habit("weekly", 0.09, 1 / 7),
    Habit("monthly", 0.35, 1 / 30),
    Habit("yearly", 0.30, 1 / 365),
    Habit("never", 0.25, 0.0),
)
_WEEK: Final = (1.15, 1.10, 1.05, 1.05, 1.00, 0.85, 0.80)
_HOURS: Final = (2, 1, 1, 1, 1, 2, 5, 12, 22, 28, 29, 30, 33, 29, 26, 25, 26, 29, 33, 38, 40, 32, 18, 7)


@dataclass(frozen=True)
class Plan:
    """Describe a simulated migration. The same plan at the same tenant always makes the same one.

    Args:
        seed: the seed of everything that is left to chance.
        start: midnight UTC of the first day.
        days: how many days pass.
        people: how many people there are.
        habits: how often they come; the shares sum to one.
        apps: what they sign in to; the shares sum to one.
        week: how busy the days are, Monday first, on average 1.
        hours: how busy the hours of a day are (UTC), in any unit.
        typos: the share of visits that begin with a mistyped password, corrected at once.
        forgets: the share of visits on which somebody does not know the password and resets it.
        weak: the share of people whose legacy password the tenant does not take.
        gives_up: the share of visits on which somebody who is asked for a new password leaves.
        weak_hashes: the share of people whose legacy hash is unsalted MD5.
        damaged: the share of people whose legacy hash nothing can read.
        troubles: what goes wrong.
        campaigns: the reminders.
        stuffing: the attacks.
    """

    seed: int
    start: datetime
    days: int
    people: int
    habits: tuple[Habit, ...] = _HABITS
    apps: tuple[App, ...] = (App("Woodgrove Shop", 0.8), App("Woodgrove Trade", 0.2))
    week: tuple[float, ...] = _WEEK
    hours: tuple[float, ...] = _HOURS
    typos: float = 0.06
    forgets: float = 0.02
    weak: float = 0.09
    gives_up: float = 0.3
    weak_hashes: float = 0.15
    damaged: float = 0.005
    troubles: tuple[Trouble, ...] = ()
    campaigns: tuple[Campaign, ...] = ()
    stuffing: tuple[Stuffing, ...] = ()

    def __post_init__(self) -> None:
        if self.start.utcoffset() is None or self.start.time() != time():
            raise _unfit("`start` is a midnight with a time zone")
        for name, parts in (("habits", self.habits), ("apps", self.apps)):
            if abs(sum(part.share for part in parts) - 1) > 1e-9:
                raise _unfit(f"the shares of `{name}` sum to one")
        if len(self.week) != 7 or len(self.hours) != 24:
            raise _unfit("`week` has 7 numbers and `hours` has 24")
        if sum(campaign.treated for campaign in self.campaigns) * 2 > 1:
            raise _unfit("treated and control groups are at most all people")

    def moment(self, day: float) -> float:
        """Return a time in days from the start as seconds since the epoch."""
        return self.start.timestamp() + day * DAY

    def day(self, moment: float) -> float:
        """Return seconds since the epoch as days from the start."""
        return (moment - self.start.timestamp()) / DAY

    def weekday(self, day: int) -> int:
        """Return the weekday of the day with this number; Monday is 0."""
        return (self.start.astimezone(UTC).weekday() + day) % 7

    def wrong(self, *kinds: Kind, at: float) -> bool:
        """Tell whether one of these troubles is there at a time in days from the start."""
        return any(trouble.kind in kinds and trouble.covers(at) for trouble in self.troubles)

    def changes(self) -> list[float]:
        """List when the tenant's set-up changes, in days from the start: troubles begin and end, apps are covered."""
        edges: Iterable[tuple[float, float]] = ((each.day, each.day + each.hours / 24) for each in self.troubles)
        moments = {edge for pair in edges for edge in pair} | {app.covered_from for app in self.apps}
        return sorted(moment for moment in moments if 0 < moment < self.days)


def _unfit(rule: str) -> KitError:
    return KitError(f"This plan cannot be played: {rule}.", next_step="Change the plan.")

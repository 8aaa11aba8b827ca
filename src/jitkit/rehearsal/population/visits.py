"""When people come: one day at a time, so that memory does not grow with the days."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from jitkit.rehearsal.population.people import People
from jitkit.rehearsal.population.plan import HOUR, Plan

__all__ = ["Calendar", "Visit"]

_LULL: Final = 0.1


@dataclass(frozen=True, slots=True)
class Visit:
    """Somebody comes.

    Args:
        at: when, in seconds since the epoch.
        who: the person.
        mistypes: whether they mistype the password first.
        forgot: whether they do not know it.
        gives_up: whether they leave when they are asked for a new one.
    """

    at: float
    who: int
    mistypes: bool
    forgot: bool
    gives_up: bool


class Calendar:
    """Know who comes on which day.

    Args:
        people: the people.
        part: which part of them comes, from 0.
        parts: in how many parts they were divided.
    """

    def __init__(self, people: People, part: int = 0, parts: int = 1) -> None:
        self._people, self._plan = people, people.plan
        self._a_day = np.array([habit.a_day for habit in self._plan.habits])[people.habit]
        self._hours = np.array(self._plan.hours, dtype=float) / sum(self._plan.hours)
        self._answering = [_answers(self._plan, people, number) for number in range(len(self._plan.campaigns))]
        self._mine = np.arange(self._plan.people) % parts == part
        self._again: dict[int, list[int]] = {}

    def come_again(self, who: int, day: int) -> None:
        """Let somebody come on another day, whatever their habit.

        Args:
            who: the person.
            day: the day's number.
        """
        self._again.setdefault(day, []).append(who)

    def of(self, day: int) -> Iterator[Visit]:
        """List a day's visits in the order of time. Nobody comes twice on one day.

        Args:
            day: its number, from 0. Days are asked for in order.
        """
        dice = np.random.default_rng([self._plan.seed, 2, day])
        chance = self._a_day * self._plan.week[self._plan.weekday(day)] / (sum(self._plan.week) / 7)
        comes = dice.random(len(chance)) < chance * (_LULL if self._plan.wrong("lull", at=day + 0.5) else 1.0)
        for when, who in self._answering:
            comes[who[(when >= day) & (when < day + 1)]] = True
        comes[self._again.pop(day, [])] = True
        # Everybody's dice are thrown, so that a part's visits do not depend on the number of parts.
        hours = dice.choice(24, len(comes), p=self._hours)
        at = self._plan.moment(day) + hours * HOUR + np.round(dice.random(len(comes)) * HOUR, 3)
        plan = self._plan
        rolls = dice.random((3, len(comes))) < np.array([[plan.typos], [plan.forgets], [plan.gives_up]])
        who = np.flatnonzero(comes & self._mine)
        for each in who[np.argsort(at[who], kind="stable")].tolist():
            yield Visit(float(at[each]), each, *rolls[:, each].tolist())


def _answers(
    plan: Plan, people: People, number: int
) -> tuple[np.ndarray[Any, np.dtype[np.float64]], np.ndarray[Any, np.dtype[np.intp]]]:
    """Draw who answers a campaign, and when: the wait is exponential, and 95 % of it is within the campaign's days."""
    campaign, dice = plan.campaigns[number], np.random.default_rng([plan.seed, 3, number])
    treated = people.treated(number)
    answering = treated[dice.random(len(treated)) < campaign.answers]
    return campaign.day + dice.exponential(campaign.within_days / 3, len(answering)), answering

"""The people of a plan at the tenant's door: each visit is what somebody does until they are in, or leave."""

from __future__ import annotations

import asyncio
from collections import Counter
from random import Random
from typing import TYPE_CHECKING, Final

from jitkit.rehearsal.population.people import People
from jitkit.rehearsal.population.plan import HOUR, Stuffing
from jitkit.rehearsal.population.setup import Setup
from jitkit.rehearsal.population.visits import Calendar, Visit

if TYPE_CHECKING:
    from jitkit.rehearsal.sign_in import SignIn
    from jitkit.rehearsal.tenant import RehearsalTenant

__all__ = ["Crowd"]

# Passwords that attackers try and nobody here has.
_TRIED: Final = ("123456", "Password1!", "Summer2026!")
# What people do when they were turned away although they typed the right password.
_REFUSED: Final = ("blocked", "error", "locked out", "wrong password")
_TRY_AGAIN: Final = 0.7
_RESET: Final = 0.2
_COME_BACK: Final = 0.6
_BACK_WITHIN: Final = 4


class Crowd:
    """Let the people of a plan sign in, day after day, in a `TenantLoop`.

    Args:
        tenant: the tenant.
        setup: what was made in it for the plan.
        people: the people.
        part: which part of them comes, from 0.
        parts: in how many parts they were divided; each lives in a process of its own.
    """

    def __init__(self, tenant: RehearsalTenant, setup: Setup, people: People, part: int = 0, parts: int = 1) -> None:
        self._tenant, self._setup, self._people, self._plan = tenant, setup, people, people.plan
        self._part, self._parts = part, parts
        self._calendar = Calendar(people, part, parts)
        self._dice = Random(f"{people.plan.seed} crowd {part}")  # noqa: S311 - nothing secret: it has to repeat itself
        self._inside: set[int] = set()
        self.ends: Counter[str] = Counter()

    async def day(self, day: int) -> None:
        """Live through one day; what the directory keeps of it is written together.

        Args:
            day: its number, from 0.
        """
        self._setup.follow(self._tenant.directory, self._plan, day)
        with self._tenant.directory.transaction():
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._changes(day))
                for stuffing in self._plan.stuffing:
                    tasks.create_task(self._attack(stuffing, day))
                for visit in self._calendar.of(day):
                    await _until(visit.at)
                    if visit.who not in self._inside:
                        tasks.create_task(self._visit(visit, day))
            await _until(self._plan.moment(day + 1))

    async def _changes(self, day: int) -> None:
        for moment in self._plan.changes():
            if day < moment < day + 1:
                await _until(self._plan.moment(moment))
                self._setup.follow(self._tenant.directory, self._plan, moment)

    async def _visit(self, visit: Visit, day: int) -> None:
        self._inside.add(visit.who)
        try:
            if not await self._get_in(visit) and self._dice.random() < _COME_BACK:
                self._calendar.come_again(visit.who, day + self._dice.randint(1, _BACK_WITHIN))
        finally:
            self._inside.discard(visit.who)

    async def _get_in(self, visit: Visit) -> bool:
        """Do what people do to get in; returns whether nothing is left to try."""
        who, dice = visit.who, self._dice
        if visit.mistypes or visit.forgot:
            await self._type(visit, self._people.password(who)[:-1])
            await asyncio.sleep(dice.uniform(4, 15))
        if visit.forgot:
            await self._reset(who)
        refused = await self._type(visit, self._people.password(who))
        if refused and dice.random() < _TRY_AGAIN:
            await asyncio.sleep(dice.uniform(10, 40))
            refused = await self._type(visit, self._people.password(who))
        if refused == "wrong password" and dice.random() < _RESET:
            await asyncio.sleep(dice.uniform(10, 40))
            await self._reset(who)
            refused = await self._type(visit, self._people.password(who))
        return not refused

    async def _type(self, visit: Visit, password: str) -> str:
        """Type a password; returns why it did not help, or nothing where there is nothing left to try."""
        who, people = visit.who, self._people
        new = None if visit.gives_up else people.password(who, int(people.chosen[who]) + 1)
        done = await self._sign_in(people.name(who), password, int(people.app[who]), new, _address(who))
        if done.path == "reset":
            people.chosen[who] += 1
        return done.outcome if done.outcome in _REFUSED else ""

    async def _reset(self, who: int) -> None:
        """Choose a new password, with a code from the mailbox."""
        await asyncio.sleep(self._dice.uniform(30, 120))
        new = self._people.password(who, int(self._people.chosen[who]) + 1)
        done = await self._tenant.reset_password(self._people.name(who), new, ip=_address(who))
        self._people.chosen[who] += done.outcome == "password reset"

    async def _attack(self, stuffing: Stuffing, day: int) -> None:
        """Try passwords at an even pace, for as much of an attack as falls on this day."""
        apart = stuffing.hours * HOUR / stuffing.tries
        begins = self._plan.moment(stuffing.day)
        for number in range(self._part, stuffing.tries, self._parts):
            at = begins + number * apart
            if self._plan.moment(day) <= at < self._plan.moment(day + 1):
                await _until(at)
                known = self._dice.random() < stuffing.known
                who = self._dice.randrange(self._plan.people)
                name = self._people.name(who) if known else f"user{self._dice.randrange(10**6)}@mail.example"
                address = f"198.51.100.{1 + self._dice.randrange(stuffing.addresses)}"
                await self._sign_in(name, self._dice.choice(_TRIED), 0, None, address)

    async def _sign_in(self, name: str, password: str, app: int, new: str | None, address: str) -> SignIn:
        app_id = self._setup.app_ids[app]
        done = await self._tenant.sign_in(name, password, client_app_id=app_id, new_password=new, ip=address)
        self.ends[done.outcome] += 1
        return done


def _address(who: int) -> str:
    """Return the address somebody always comes from, of the range that is set apart for examples [RFC 3849]."""
    return f"2001:db8:{who >> 16:x}:{who & 0xFFFF:x}::1"


async def _until(moment: float) -> None:
    """Sleep until a moment of the tenant's time; a moment that has passed is now."""
    await asyncio.sleep(max(0.0, moment - asyncio.get_running_loop().time()))

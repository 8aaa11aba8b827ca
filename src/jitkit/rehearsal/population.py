"""Invented users who sign in over days, in the tenant's own time, through the real sign-in and a real endpoint.

Nothing here is a fact about the service. The shares are invented, and most of them are parameters.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import selectors
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from random import Random
from typing import Any, Final, Literal

import httpx
import numpy as np

from jitkit.errors import KitError
from jitkit.rehearsal.accounts import decoy, hash_password, is_invented, matches
from jitkit.rehearsal.clock import Clock, timestamp
from jitkit.rehearsal.directory import User, seeded
from jitkit.rehearsal.tenant import RehearsalTenant

__all__ = ["Campaign", "Habit", "MakeEndpoint", "PasswordSpray", "Person", "Plan", "Trouble", "add_accounts", "play"]

DAY: Final = 86_400.0
HOUR: Final = 3_600.0

TroubleKind = Literal["store away", "store slow", "endpoint away", "certificate ended", "lull"]

# How long the legacy store takes, in seconds: log-normal, 0.15 at the median and 0.5 at the 99th percentile. While it
# is slow, it takes longer than the endpoint waits.
_STORE_SECONDS: Final = (-1.9, 0.5)
_SLOW_STORE_SECONDS: Final = 3.0
_LULL: Final = 0.1

# Passwords that attackers try and no invented user has.
_SPRAYED: Final = ("123456", "Password1!", "Summer2026!")
# What users do when they were turned away although they typed the right password.
_TURNED_AWAY: Final = ("blocked", "error", "locked out", "wrong password")
_TRIES_AGAIN: Final = 0.7
_RESETS: Final = 0.2
_COMES_BACK: Final = 0.6
_COMES_BACK_WITHIN_DAYS: Final = 4
# Users reset a forgotten password this often at most; a later play then still knows which one they chose last.
_RESETS_AT_MOST: Final = 9


# Makes the endpoint, an ASGI application, from a client that reaches the tenant's OpenID documents, the tenant's time
# in seconds since the epoch, and how long the legacy store takes for the next user: None when it is away.
MakeEndpoint = Callable[[httpx.AsyncClient, Callable[[], float], Callable[[], float | None]], Any]


@dataclass(frozen=True)
class Habit:
    """How often a share of the users comes: the chance of each on an average day."""

    name: str
    share: float
    a_day: float


@dataclass(frozen=True)
class Trouble:
    """Something that is wrong for a while.

    `store away`: the legacy store answers no request. `store slow`: it answers later than the endpoint waits.
    `endpoint away`: nothing accepts connections. `certificate ended`: the endpoint's TLS certificate has expired.
    `lull`: nothing is broken, and few users come. `day` counts from the start.
    """

    kind: TroubleKind
    day: float
    hours: float


@dataclass(frozen=True)
class Campaign:
    """A reminder by mail: a share of its receivers comes because of it, 95 % of those within some days."""

    day: float
    answers: float
    within_days: float


@dataclass(frozen=True)
class PasswordSpray:
    """An attack that tries a few passwords on many names, a share of them known, from a few IP addresses."""

    day: float
    hours: float
    tries: int
    addresses: int = 4
    known: float = 0.3


@dataclass(frozen=True)
class Person:
    """One invented user.

    Args:
        username: what they type as name.
        password: what they typed at the old system, and type here first.
        client_app_id: the app they sign in to.
        days_absent: days since the old system saw them last; None when unknown. It says how often they come.
        campaign: which of the plan's campaigns reaches them, or None.
    """

    username: str
    password: str = field(repr=False)
    client_app_id: str
    days_absent: float | None = None
    campaign: int | None = None


# Few users type a password every day: sessions last for weeks.
_HABITS: Final = (
    Habit("daily", 0.01, 0.7),
    Habit("weekly", 0.09, 1 / 7),
    Habit("monthly", 0.35, 1 / 30),
    Habit("yearly", 0.30, 1 / 365),
    Habit("never", 0.25, 0.0),
)
_NEVER_ABSENT_DAYS: Final = 900.0
_WEEK: Final = (1.15, 1.10, 1.05, 1.05, 1.00, 0.85, 0.80)
_HOURS: Final = (2, 1, 1, 1, 1, 2, 5, 12, 22, 28, 29, 30, 33, 29, 26, 25, 26, 29, 33, 38, 40, 32, 18, 7)


@dataclass(frozen=True)
class Plan:
    """What happens in a play. The same plan, users and tenant always make the same migration.

    Args:
        seed: the seed of everything that is left to chance.
        days: how many days pass.
        start: the first day's midnight UTC; None for the tenant's next one, or one that has just passed.
        habits: how often users come; the shares sum to one.
        week: how busy the days are, Monday first, on average 1.
        hours: how busy the hours of a day are (UTC), in any unit.
        typos: the share of visits that begin with a mistyped password, corrected at once.
        forgets: the share of visits on which the user has forgotten the password and resets it.
        gives_up: the share of visits on which a user who is asked for a new password leaves.
        troubles: what goes wrong.
        campaigns: the reminders.
        sprays: the attacks.
    """

    seed: int
    days: int
    start: datetime | None = None
    habits: tuple[Habit, ...] = _HABITS
    week: tuple[float, ...] = _WEEK
    hours: tuple[float, ...] = _HOURS
    typos: float = 0.06
    forgets: float = 0.02
    gives_up: float = 0.3
    troubles: tuple[Trouble, ...] = ()
    campaigns: tuple[Campaign, ...] = ()
    sprays: tuple[PasswordSpray, ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.days, int) or not 1 <= self.days <= 3650:
            raise _unfit("`days` is a whole number from 1 to 3650")
        if abs(sum(habit.share for habit in self.habits) - 1) > 1e-9:
            raise _unfit("the shares of `habits` sum to one")
        if len(self.week) != 7 or len(self.hours) != 24:
            raise _unfit("`week` has 7 numbers and `hours` has 24")
        if self.start is not None and (self.start.utcoffset() is None or self.start.timestamp() % DAY):
            raise _unfit("`start` is a midnight in UTC")


def play(
    tenant: Path,
    people: Sequence[Person],
    plan: Plan,
    make_endpoint: MakeEndpoint,
    *,
    each_day: Callable[[int], object] | None = None,
) -> Counter[str]:
    """Let users sign in for some days at a tenant that is set up, as fast as this machine can.

    Every sign-in goes the way of any other: directory, flag, encrypted callout with a bearer token, the endpoint's
    application, the legacy store, its answer, directory and logs. Three things differ. Time is the tenant's: nothing
    waits for it. The callout crosses no socket. And the passwords of these users, who do not exist, are hashed at next
    to no cost.

    It runs an event loop of its own, so a notebook calls it in a thread. When it is done, the tenant's clock is that
    many days ahead.

    Args:
        tenant: the rehearsal tenant's file.
        people: the users; a name that the tenant does not know ends as an unknown user.
        plan: what happens.
        make_endpoint: makes the endpoint.
        each_day: called with the number of each day that has passed.

    Returns:
        How many sign-ins ended in which way.

    Raises:
        KitError: the tenant's file cannot be used.
    """
    opened = RehearsalTenant.open(tenant)
    clock = opened.directory.clock
    begins = clock.now() if plan.start is None else plan.start.timestamp() - 1
    clock.hold(begins)
    try:
        # The loop's tasks see what is seeded before it is made.
        with (
            seeded(f"{plan.seed} ids {begins // DAY:.0f}"),
            asyncio.Runner(loop_factory=lambda: _TenantLoop(clock)) as runner,
        ):
            crowd = _Crowd(opened, people, plan, -(-(begins - HOUR) // DAY))
            runner.run(_days(opened, crowd, make_endpoint, each_day))
            return crowd.ends
    finally:
        clock.release()
        opened.close()


def add_accounts(tenant: RehearsalTenant, people: Sequence[Person], flag: str, *, seed: int) -> None:
    """Create the users' accounts at once, as a bulk creation through Graph leaves them, without its requests.

    Args:
        tenant: the tenant; the accounts are created at its clock's time.
        people: the users.
        flag: the migration flag's full name; it is true for all of them.
        seed: their object ids follow from it.
    """
    made, domain = tenant.directory.clock.now(), tenant.domain

    def accounts() -> Iterator[User]:
        for number, person in enumerate(people):
            id = str(uuid.UUID(_word(seed, "id", person.username), version=4))
            upn = f"{id}@{domain}"
            identities = [
                {"signInType": "emailAddress", "issuer": domain, "issuerAssignedId": person.username},
                {"signInType": "userPrincipalName", "issuer": domain, "issuerAssignedId": upn},
            ]
            body = {
                "displayName": f"Person {number}",
                "mail": person.username,
                "creationType": "LocalAccount",
                "passwordPolicies": "DisablePasswordExpiration",
                flag: True,
                "identities": identities,
                "createdDateTime": timestamp(made),
                "lastPasswordChangeDateTime": timestamp(made),
            }
            yield User(
                id=id,
                upn=upn,
                sign_in_name=person.username,
                password_hash=hash_password(f"Aa1-{_word(seed, 'stored', person.username)}", invented=True),
                force_change=False,
                enabled=True,
                failed=0,
                locked_until=0,
                body=body,
                created=made,
            )

    tenant.directory.add_users(accounts())


@dataclass(frozen=True, slots=True)
class _Visit:
    at: float
    who: int
    mistypes: bool
    forgot: bool
    gives_up: bool


class _Calendar:
    """Decides who comes on which day, one day at a time, so that memory does not grow with the days."""

    def __init__(self, people: Sequence[Person], plan: Plan, first_day: float) -> None:
        self._plan, self._first_day = plan, int(first_day)
        rates = np.array([habit.a_day for habit in plan.habits])
        self._a_day = rates[_habits(people, plan)]
        self._hours = np.array(plan.hours, dtype=float) / sum(plan.hours)
        self._answers: dict[int, list[int]] = {}
        dice = np.random.default_rng([plan.seed, 3])
        for who, person in enumerate(people):
            if person.campaign is not None:
                campaign = plan.campaigns[person.campaign]
                answers, wait = dice.random(), dice.exponential(campaign.within_days / 3)
                if answers < campaign.answers:
                    self.come_again(who, int(campaign.day + wait))

    def come_again(self, who: int, day: int) -> None:
        """Let a user come on a day, whatever their habit."""
        self._answers.setdefault(day, []).append(who)

    def of(self, day: int) -> Iterator[_Visit]:
        """List a day's visits in the order of time; each user comes once at most."""
        plan, absolute = self._plan, self._first_day + day
        dice = np.random.default_rng([plan.seed, 2, absolute])
        # 1 January 1970 was a Thursday.
        busy = plan.week[(absolute + 3) % 7] * 7 / sum(plan.week) * (_LULL if _wrong(plan, "lull", day + 0.5) else 1)
        comes = dice.random(len(self._a_day)) < self._a_day * busy
        comes[self._answers.pop(day, [])] = True
        hours = dice.choice(24, len(comes), p=self._hours)
        at = absolute * DAY + hours * HOUR + np.round(dice.random(len(comes)) * HOUR, 3)
        rolls = dice.random((3, len(comes))) < np.array([[plan.typos], [plan.forgets], [plan.gives_up]])
        who = np.flatnonzero(comes)
        for each in who[np.argsort(at[who], kind="stable")].tolist():
            yield _Visit(float(at[each]), each, *rolls[:, each].tolist())


class _Crowd:
    """Lets the users of a plan sign in, day after day, in a `_TenantLoop`."""

    def __init__(self, tenant: RehearsalTenant, people: Sequence[Person], plan: Plan, first_day: float) -> None:
        self.tenant, self.plan, self.first_day = tenant, plan, first_day
        self.ends: Counter[str] = Counter()
        self._people = people
        self._calendar = _Calendar(people, plan, first_day)
        self._dice = Random(f"{plan.seed} crowd {first_day:.0f}")  # noqa: S311 - nothing secret: it has to repeat itself
        self._inside: set[int] = set()
        # How many passwords of their own choice each has had.
        with tenant.directory.transaction():
            self._chosen = [self._chosen_before(person) for person in people]

    def _chosen_before(self, person: Person) -> int:
        """Find how many passwords a user chose in earlier plays, and make their stored hash a quick one."""
        directory = self.tenant.directory
        user = directory.user_by_sign_in_name(person.username)
        if user is None or not user.password_hash:
            return 0
        if any(name.startswith("extension_") and value is True for name, value in user.body.items()):
            # The password of an account that waits for its migration is random, and no user knows it.
            if not is_invented(user.password_hash):
                directory.update_user(user.id, password_hash=decoy("invented"))
            return 0
        if not is_invented(user.password_hash):
            return 0
        numbers = range(1, _RESETS_AT_MOST + 1)
        return next((each for each in numbers if matches(self._password(person, each), user.password_hash)), 0)

    async def day(self, day: int) -> None:
        """Play one day; what the directory keeps of it is written together."""
        with self.tenant.directory.transaction():
            async with asyncio.TaskGroup() as tasks:
                for number, spray in enumerate(self.plan.sprays):
                    tasks.create_task(self._spray(spray, number, day))
                for visit in self._calendar.of(day):
                    await _until(visit.at)
                    if visit.who not in self._inside:
                        tasks.create_task(self._visit(visit, day))
            await _until((self.first_day + day + 1) * DAY)

    async def _visit(self, visit: _Visit, day: int) -> None:
        self._inside.add(visit.who)
        try:
            if not await self._get_in(visit) and self._dice.random() < _COMES_BACK:
                self._calendar.come_again(visit.who, day + self._dice.randint(1, _COMES_BACK_WITHIN_DAYS))
        finally:
            self._inside.discard(visit.who)

    async def _get_in(self, visit: _Visit) -> bool:
        """Do what users do to get in; returns whether nothing is left to try."""
        who, dice = visit.who, self._dice
        if visit.mistypes or visit.forgot:
            await self._type(visit, self._current(who)[:-1])
            await asyncio.sleep(dice.uniform(4, 15))
        if visit.forgot:
            await self._reset(who)
        refused = await self._type(visit, self._current(who))
        if refused and dice.random() < _TRIES_AGAIN:
            await asyncio.sleep(dice.uniform(10, 40))
            refused = await self._type(visit, self._current(who))
        if refused == "wrong password" and dice.random() < _RESETS:
            await asyncio.sleep(dice.uniform(10, 40))
            await self._reset(who)
            refused = await self._type(visit, self._current(who))
        return not refused

    async def _type(self, visit: _Visit, password: str) -> str:
        """Type a password; returns why it did not help, or nothing where there is nothing left to try."""
        person = self._people[visit.who]
        new = None if visit.gives_up else self._password(person, self._chosen[visit.who] + 1)
        outcome, path = await self._sign_in(person, password, new, _address(visit.who))
        self._chosen[visit.who] += path == "reset"
        return outcome if outcome in _TURNED_AWAY else ""

    async def _reset(self, who: int) -> None:
        """Choose a new password, with a code from the mailbox."""
        if self._chosen[who] == _RESETS_AT_MOST:
            return
        await asyncio.sleep(self._dice.uniform(30, 120))
        person = self._people[who]
        new = self._password(person, self._chosen[who] + 1)
        done = await self.tenant.reset_password(person.username, new, ip=_address(who))
        self._chosen[who] += done.outcome == "password reset"

    async def _spray(self, spray: PasswordSpray, number: int, day: int) -> None:
        """Try passwords at an even pace, for as much of an attack as falls on this day."""
        dice = Random(f"{self.plan.seed} spray {number} {day}")  # noqa: S311 - nothing secret: it has to repeat itself
        apart = spray.hours / 24 / spray.tries
        for attempt in range(spray.tries):
            at = spray.day + attempt * apart
            if day <= at < day + 1:
                await _until((self.first_day + at) * DAY)
                someone = dice.choice(self._people)
                name = someone.username if dice.random() < spray.known else f"user{dice.randrange(10**6)}@mail.example"
                target = Person(name, dice.choice(_SPRAYED), self._people[0].client_app_id)
                address = f"198.51.100.{1 + dice.randrange(spray.addresses)}"
                await self._sign_in(target, target.password, None, address)

    async def _sign_in(self, person: Person, password: str, new: str | None, address: str) -> tuple[str, str | None]:
        done = await self.tenant.sign_in(
            person.username,
            password,
            client_app_id=person.client_app_id,
            new_password=new,
            ip=address,
        )
        self.ends[done.outcome] += 1
        return done.outcome, done.path

    def _current(self, who: int) -> str:
        return self._password(self._people[who], self._chosen[who])

    def _password(self, person: Person, chosen: int) -> str:
        """Return a user's password: the old one, or the one with this number that they chose."""
        if chosen == 0:
            return person.password
        return f"Aa1-{_word(self.plan.seed, 'password', person.username, str(chosen))[:12]}"


async def _days(
    tenant: RehearsalTenant, crowd: _Crowd, make_endpoint: MakeEndpoint, each_day: Callable[[int], object] | None
) -> None:
    plan, loop = crowd.plan, asyncio.get_running_loop()
    dice = Random(f"{plan.seed} legacy store {crowd.first_day:.0f}")  # noqa: S311 - nothing secret: it has to repeat itself

    def day_now() -> float:
        return loop.time() / DAY - crowd.first_day

    def store_seconds() -> float | None:
        if _wrong(plan, "store away", day_now()):
            return None
        return _SLOW_STORE_SECONDS if _wrong(plan, "store slow", day_now()) else dice.lognormvariate(*_STORE_SECONDS)

    async with contextlib.AsyncExitStack() as stack:
        http = await stack.enter_async_context(httpx.AsyncClient(transport=_Wire(tenant.app, lambda _: False)))
        app = make_endpoint(http, loop.time, store_seconds)
        await stack.enter_async_context(app.router.lifespan_context(app))
        tenant.caller.transport = _Wire(app, lambda kind: _wrong(plan, kind, day_now()))
        await _until(crowd.first_day * DAY)
        for day in range(plan.days):
            await crowd.day(day)
            if each_day is not None:
                each_day(day)


class _Wire(httpx.AsyncBaseTransport):
    """Carries calls to an application as a network does: it goes on when the caller has hung up."""

    def __init__(self, endpoint: Any, is_wrong: Callable[[TroubleKind], bool]) -> None:
        self._endpoint, self._is_wrong = endpoint, is_wrong
        self._answering: set[asyncio.Task[Any]] = set()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if self._is_wrong("endpoint away"):
            raise httpx.ConnectError("Connection refused", request=request)
        if self._is_wrong("certificate ended"):
            raise httpx.ConnectError("certificate verify failed: certificate has expired", request=request)
        answering = asyncio.create_task(self._answer(request))
        self._answering.add(answering)
        answering.add_done_callback(self._answering.discard)
        return await asyncio.shield(answering)

    async def _answer(self, request: httpx.Request) -> httpx.Response:
        """Call the application as a server does; httpx's own ASGI transport imports trio at each call."""
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": request.method,
            "scheme": request.url.scheme,
            "path": request.url.path,
            "raw_path": request.url.raw_path,
            "query_string": request.url.query,
            "root_path": "",
            "headers": [(name.lower(), value) for name, value in request.headers.raw],
        }
        content, sent = await request.aread(), list[Any]()

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": content, "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        await self._endpoint(scope, receive, send)
        body = b"".join(message.get("body", b"") for message in sent[1:])
        return httpx.Response(sent[0]["status"], headers=sent[0]["headers"], content=body)


class _TenantLoop(asyncio.SelectorEventLoop):
    """Runs sign-ins, timeouts and pauses in the order of the tenant's time, as fast as this machine can.

    When nothing is left to do at a moment, the clock moves to the next one at which something is. Work for threads is
    done at once, in place, so that no answer comes late because a thread did, and two runs are the same. No socket can
    be used in it: whatever is waited for has to be in this process.
    """

    def __init__(self, clock: Clock) -> None:
        self._tenant_clock = clock
        super().__init__(_SkippingSelector(clock))
        self._clock_resolution = 1e-6

    def time(self) -> float:
        """Return the tenant's time, in seconds since the epoch."""
        return self._tenant_clock.now()

    def run_in_executor(  # type: ignore[override]
        self, executor: Executor | None, func: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        """Call the function now and return its result as a future that is done."""
        future = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:  # noqa: BLE001 - it goes to the caller who awaits the future, as from a thread
            future.set_exception(error)
        return future


class _SkippingSelector(selectors.SelectSelector):
    """Moves the clock on instead of waiting."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise RuntimeError("Every task waits for something that is not in this process.")
        if timeout > 0:
            self._clock.forward(timeout)
        return []


def _habits(people: Sequence[Person], plan: Plan) -> np.ndarray[Any, np.dtype[np.intp]]:
    """Draw each user's habit; the longer the old system has not seen them, the rarer they come."""
    absent_days = np.array([np.nan if each.days_absent is None else each.days_absent for each in people], dtype=float)
    a_day = np.array([habit.a_day or 1 / _NEVER_ABSENT_DAYS for habit in plan.habits])
    likelihood = a_day * np.exp(-np.outer(np.maximum(absent_days, 0), a_day))
    weights = np.array([habit.share for habit in plan.habits]) * np.where(np.isnan(likelihood), 1.0, likelihood)
    edges = np.cumsum(weights / weights.sum(axis=1, keepdims=True), axis=1)
    rolls = np.random.default_rng([plan.seed, 1]).random(len(people))
    found: np.ndarray[Any, np.dtype[np.intp]] = np.minimum((edges < rolls[:, None]).sum(axis=1), len(plan.habits) - 1)
    return found


def _wrong(plan: Plan, kind: TroubleKind, day: float) -> bool:
    return any(each.kind == kind and each.day <= day < each.day + each.hours / 24 for each in plan.troubles)


def _word(seed: int, purpose: str, *parts: str) -> str:
    """Return 32 hexadecimal digits that follow from the seed."""
    return hashlib.blake2b(" ".join((str(seed), purpose, *parts)).encode(), digest_size=16).hexdigest()


def _address(who: int) -> str:
    """Return the address a user always comes from, of the range that is set apart for examples [RFC 3849]."""
    return f"2001:db8:{who >> 16:x}:{who & 0xFFFF:x}::1"


async def _until(moment: float) -> None:
    """Sleep until a moment of the tenant's time; a moment that has passed is now."""
    await asyncio.sleep(max(0.0, moment - asyncio.get_running_loop().time()))


def _unfit(rule: str) -> KitError:
    return KitError(f"This plan cannot be played: {rule}.", next_step="Change the plan.")

"""A wave of customers: the sample's invented people sign in at the rehearsal tenant, as people do."""

from __future__ import annotations

import asyncio
import random
import secrets
import string
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from jitkit.protocol import CALLS_PER_SECOND

if TYPE_CHECKING:
    from jitkit.rehearsal.sign_in import SignIn
    from jitkit.rehearsal.tenant import RehearsalTenant

__all__ = ["roll"]

_AT_ONCE = 8
# The service calls extensions at most 50 times a second for a whole tenant; a wave has to stay below.
_A_SECOND = 0.9 * CALLS_PER_SECOND
_STAYS_AWAY = 0.3
_MISTYPES = 0.06
_COMES_TWICE = 0.15
_CHOOSES_NEW = 0.5


async def roll(
    tenant: RehearsalTenant,
    people: Mapping[str, str],
    client_app_id: str,
    *,
    seed: int,
    each: Callable[[], object] | None = None,
) -> Counter[str]:
    """Let people sign in: most come once, some twice, some mistype, some stay away.

    Args:
        tenant: the rehearsal tenant.
        people: what each types: name to password.
        client_app_id: the application they sign in to.
        seed: makes the same people do the same things.
        each: called after each person.

    Returns:
        How many sign-ins ended in which way.
    """
    dice = random.Random(seed)  # noqa: S311
    habits = {name: [dice.random() for _ in range(4)] for name in people}
    order = list(people)
    dice.shuffle(order)
    ends: Counter[str] = Counter()
    places = asyncio.Semaphore(_AT_ONCE)
    pace = _Pace(_A_SECOND)

    async def come(name: str) -> None:
        async with places:
            away, mistypes, twice, new = habits[name]
            if away < _STAYS_AWAY:
                return
            typed = [people[name]]
            if mistypes < _MISTYPES:
                typed.insert(0, people[name] + "x")
            if twice < _COMES_TWICE:
                typed.append(people[name])
            for password in typed:
                await pace.step()
                chosen = _new_password() if new < _CHOOSES_NEW else None
                result: SignIn = await tenant.sign_in(name, password, client_app_id=client_app_id, new_password=chosen)
                ends[result.outcome] += 1

    async def counted(name: str) -> None:
        await come(name)
        if each is not None:
            each()

    await asyncio.gather(*(counted(name) for name in order))
    return ends


class _Pace:
    """Let steps through at an even pace.

    Args:
        a_second: how many.
    """

    def __init__(self, a_second: float) -> None:
        self._apart = 1 / a_second
        self._next = 0.0

    async def step(self) -> None:
        """Wait for the next step's turn."""
        now = time.monotonic()
        turn = max(now, self._next)
        self._next = turn + self._apart
        await asyncio.sleep(turn - now)


def _new_password() -> str:
    letters = "".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(16))
    return f"{letters}aA1!"

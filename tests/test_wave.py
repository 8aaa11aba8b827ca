"""The wave: the same people do the same things, below the service's limit of calls a second."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from helpers import wave
from jitkit.protocol import CALLS_PER_SECOND

PEOPLE = {f"person{number}@shop.example": f"Password-{number}" for number in range(120)}


@dataclass
class Doors:
    """Stands where the tenant would: it lets everybody in and counts."""

    came: Counter[str] = field(default_factory=Counter)
    times: list[float] = field(default_factory=list)
    inside: int = 0
    most: int = 0

    async def sign_in(self, name: str, password: str, **_: Any) -> Any:
        self.times.append(time.monotonic())
        self.inside += 1
        self.most = max(self.most, self.inside)
        await asyncio.sleep(0.001)
        self.inside -= 1
        self.came[f"{name} {password == PEOPLE[name]}"] += 1
        return SimpleNamespace(outcome="signed in" if password == PEOPLE[name] else "wrong password")


async def test_a_seed_makes_the_same_wave() -> None:
    first, second, told = Doors(), Doors(), []
    ends = await wave.roll(first, PEOPLE, "app", seed=1, each=lambda: told.append(1))  # type: ignore[arg-type]
    assert await wave.roll(second, PEOPLE, "app", seed=1) == ends  # type: ignore[arg-type]
    assert first.came == second.came
    assert len(told) == len(PEOPLE), "whoever stays away is counted as done too"
    assert 0 < ends["wrong password"] < ends["signed in"]
    visitors = {key.split()[0] for key in first.came}
    assert len(PEOPLE) / 2 < len(visitors) < len(PEOPLE)
    assert first.most <= 8
    rate = (len(first.times) - 1) / (first.times[-1] - first.times[0])
    assert rate <= CALLS_PER_SECOND


async def test_an_interrupted_wave_stops() -> None:
    doors = Doors()
    rolling = asyncio.create_task(wave.roll(doors, PEOPLE, "app", seed=1))  # type: ignore[arg-type]
    await asyncio.sleep(0.2)
    rolling.cancel()
    await asyncio.gather(rolling, return_exceptions=True)
    assert rolling.cancelled()
    came = sum(doors.came.values())
    await asyncio.sleep(0.1)
    assert sum(doors.came.values()) == came < len(PEOPLE)

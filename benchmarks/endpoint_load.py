"""Fifty sign-ins a second for a minute: how long they take, and how many instances they need.

Verifying a bcrypt hash of cost 12 is a quarter of a second of one core, whatever runs it, so a store that hashes on the
endpoint's own machine decides how many there must be. Measured are one instance's share of the fifty on one core, and
all fifty on one core with a store elsewhere that takes as long; both are what `jitkit.hosting.capacity` calculates.
Calls come at random (a Poisson process), and a call's time runs from the moment at which it was due.
"""

from __future__ import annotations

import asyncio
import math
import random
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import bcrypt
from endpoint_calls import Caller, ConstantStore, call

from jitkit.endpoint.app import create_app
from jitkit.endpoint.settings import Settings
from jitkit.endpoint.stores import Verdict
from jitkit.hosting.capacity import calls_of_an_instance

RATE, SECONDS = 50, 60
PASSWORD = "Abcdefg1"


class RemoteStore(ConstantStore):
    """Take as long as a verification does, without this machine's processor."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    async def verify(self, username: str, password: str) -> Verdict:
        await asyncio.sleep(self._seconds)
        return Verdict.RIGHT


def cost_of_hashing(stored: bytes) -> tuple[float, float]:
    """Seconds of processor time that one verification takes, at best, and the share of a core that was to be had."""
    times, started, began = [], time.perf_counter(), time.process_time()
    for _ in range(5):
        before = time.process_time()
        bcrypt.checkpw(PASSWORD.encode(), stored)
        times.append(time.process_time() - before)
    return min(times), (time.process_time() - began) / (time.perf_counter() - started)


def make_store(path: Path, stored: bytes, people: int) -> None:
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("CREATE TABLE legacy_users (username, password_hash, status, must_change)")
        rows = [(f"person-{number}@contoso.example", stored.decode()) for number in range(people)]
        database.executemany("INSERT INTO legacy_users VALUES (?, ?, 'active', 0)", rows)
        database.execute("CREATE INDEX legacy_users_key ON legacy_users (lower(trim(username)))")


async def minute(caller: Caller, rate: float, **options: Any) -> list[float]:
    """Let calls come for a minute, and return how long each took, sorted."""
    chance, due, moments = random.Random(7), 0.0, list[float]()
    while (due := due + chance.expovariate(rate)) < SECONDS:
        moments.append(due)
    bodies = [caller.body(f"person-{number}@contoso.example", PASSWORD) for number in range(len(moments))]
    headers, took = caller.headers(), list[float]()
    settings = Settings.from_environment(caller.settings(**options["settings"]))
    async with caller.http() as http:
        app = create_app(settings, http=http, store=options.get("store"))
        async with app.router.lifespan_context(app):
            await call(app, headers, caller.body("person-0@contoso.example", PASSWORD))
            started = time.perf_counter()

            async def at(moment: float, body: bytes) -> None:
                await asyncio.sleep(started + moment - time.perf_counter())
                await call(app, headers, body, b"actions")
                took.append(time.perf_counter() - started - moment)

            await asyncio.gather(*(at(moment, body) for moment, body in zip(moments, bodies, strict=True)))
    return sorted(took)


def in_words(took: list[float], ledger: Path) -> str:
    blocked = ledger.read_text(encoding="utf-8").count('"Block"')
    p50, p99 = (took[math.floor(len(took) * share)] * 1000 for share in (0.5, 0.99))
    return f"{len(took)} calls, p50 {p50:.0f} ms, p99 {p99:.0f} ms, not answered in time: {blocked}"


def report(folder: Path) -> None:
    caller, stored = Caller(), bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(12))
    cost, had = cost_of_hashing(stored)
    instances = math.ceil(RATE / calls_of_an_instance(cost * 1000, hashes_here=True))
    share = RATE / instances
    make_store(folder / "legacy.db", stored, math.ceil(share * SECONDS * 2))
    print(f"one bcrypt verification of cost 12       {cost * 1000:7.0f} ms of one core")
    print(f"of the core, other processes left        {had:7.0%}   (the next lines hold from 90 % on)")
    print(f"one-core instances for {RATE} a second      {instances:7d}   (each half busy)")
    ledger = folder / "local.jsonl"
    local = {"LegacyApiConnectionString": f"sqlite:///{folder / 'legacy.db'}", "JIT_LEDGER": str(ledger)}
    took = asyncio.run(minute(caller, share, settings=local))
    print(f"one instance's {share:.1f} a second, a minute:   {in_words(took, ledger)}")
    ledger = folder / "remote.jsonl"
    took = asyncio.run(minute(caller, RATE, settings={"JIT_LEDGER": str(ledger)}, store=RemoteStore(cost)))
    expected = calls_of_an_instance(cost * 1000, hashes_here=False)
    print(f"one instance with a store elsewhere      {expected:7.0f} a second, by the calculation")
    print(f"{RATE} a second, store elsewhere, a minute: {in_words(took, ledger)}")

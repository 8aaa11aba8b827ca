"""The rehearsal tenant's speed: its part of a Graph call beside the SDK's, sign-ins a second, and a hundred days.

All of it is in this process and without sockets. Times are processor time of all threads, except where they are said to
be wall time; RSA-2048 decryptions a second stand beside the sign-ins, because a callout cannot do without one.

Name parts to run those alone: graph, signins, population. The last takes minutes, and a gigabyte on the disk.
"""

from __future__ import annotations

import asyncio
import logging
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import psutil
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from msgraph.generated.models.object_identity import ObjectIdentity
from msgraph.generated.models.password_profile import PasswordProfile
from msgraph.generated.models.user import User

from helpers.graph import Graph
from jitkit.rehearsal.population import Habit, Plan
from jitkit.rehearsal.tenant import RehearsalTenant

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "sample_data"))
import record

START = datetime(2026, 6, 1, tzinfo=UTC)
CALLS = 40
PEOPLE, DAYS = 1_000, 7
CROWD, LONG = 100_000, 100


class Timed(httpx.AsyncBaseTransport):
    """Add up what the tenant itself takes."""

    def __init__(self, inner: httpx.AsyncBaseTransport) -> None:
        self._inner = inner
        self.seconds = 0.0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        started = time.process_time()
        try:
            response = await self._inner.handle_async_request(request)
            await response.aread()
            return response
        finally:
            self.seconds += time.process_time() - started


async def halves(timed: Timed, ask: Callable[[], Awaitable[Any]]) -> tuple[float, float]:
    """Return milliseconds of the tenant and of the SDK in one call, medians of many."""
    tenant, sdk = [], []
    for number in range(CALLS + 5):
        before, started = timed.seconds, time.process_time()
        await ask()
        whole, inside = time.process_time() - started, timed.seconds - before
        if number >= 5:
            tenant.append(inside * 1000)
            sdk.append((whole - inside) * 1000)
    return statistics.median(tenant), statistics.median(sdk)


async def graph_calls(tenant: RehearsalTenant) -> dict[str, tuple[float, float]]:
    timed = Timed(tenant.transport())
    graph = Graph(tenant.credential(), timed)
    client, numbers = graph.client, iter(range(10**6))

    def new_user() -> User:
        name = f"person{next(numbers)}@woodgrove.example"
        identity = ObjectIdentity(sign_in_type="emailAddress", issuer=tenant.domain, issuer_assigned_id=name)
        profile = PasswordProfile(password="Vq7-unguessable-Tz", force_change_password_next_sign_in=False)
        return User(display_name="Ada", identities=[identity], account_enabled=True, password_profile=profile)

    made = await client.users.post(new_user())
    assert made is not None
    assert made.id is not None
    one = client.users.by_user_id(made.id)
    try:
        return {
            "create a user": await halves(timed, lambda: client.users.post(new_user())),
            "read a user": await halves(timed, one.get),
            "list a page of 100": await halves(timed, client.users.get),
            "change a user": await halves(timed, lambda: one.patch(User(city="Delft"))),
            "list domains": await halves(timed, client.domains.get),
        }
    finally:
        await graph.close()


def report_graph(folder: Path) -> None:
    with closing(RehearsalTenant.open(folder / "rehearsal.sqlite3")) as tenant:
        for name, (inside, sdk) in asyncio.run(graph_calls(tenant)).items():
            ratio = inside / sdk
            print(f"{name:20} tenant {inside:6.2f} ms   SDK {sdk:6.2f} ms   ratio {ratio:5.2f}   (aim: under 1)")


def decryptions_a_second() -> float:
    key = rsa.generate_private_key(65537, 2048)
    oaep = padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), None)
    ciphertext = key.public_key().encrypt(os.urandom(32), oaep)
    started = time.process_time()
    for _ in range(500):
        key.decrypt(ciphertext, oaep)
    return 500 / (time.process_time() - started)


def report_sign_ins(_: Path) -> None:
    """Nobody comes on Monday; then everybody does every day, without mistakes. On Tuesday all are migrated."""
    plan = Plan(
        seed=1,
        start=START,
        days=DAYS,
        habits=(Habit("daily", 1.0, 1.0),),
        week=(0.0, 7 / 6, 7 / 6, 7 / 6, 7 / 6, 7 / 6, 7 / 6),
        typos=0.0,
        forgets=0.0,
    )
    scenario = record.Scenario(plan, PEOPLE, (record.App("Woodgrove Shop", 1.0),), weak=0.0, damaged=0.0)
    moments: list[float] = []
    done = record.record(scenario, each_day=lambda _: moments.append(time.process_time()))
    assert done.ends == {"signed in": PEOPLE * (DAYS - 1)}
    first, rest = moments[1] - moments[0], moments[-1] - moments[1]
    bare = decryptions_a_second()
    called, plain = PEOPLE / first, PEOPLE * (DAYS - 2) / rest
    print(f"bare RSA-2048 decryptions    {bare:7.0f} /s")
    print(f"sign-ins with a callout      {called:7.0f} /s   each costs {bare / called:5.2f} decryptions")
    print(f"sign-ins without             {plain:7.0f} /s   each costs {bare / plain:5.2f} decryptions")


def resident() -> float:
    """Megabytes that this process and those it started hold now."""
    me = psutil.Process()
    return sum(each.memory_info().rss for each in (me, *me.children(recursive=True))) / 1e6


def report_population(_: Path) -> None:
    plan, levels, times = Plan(seed=1, start=START, days=LONG), list[float](), list[float]()

    def note(day: int) -> None:
        times.append(time.monotonic())
        if day % 20 == 19:
            levels.append(resident())

    for habit in plan.habits:
        print(f"{habit.name:8} {habit.share:4.0%} of the people, {habit.a_day:.3f} visits a day each")
    apps = (record.App("Woodgrove Shop", 0.8), record.App("Woodgrove Trade", 0.2))
    done = record.record(record.Scenario(plan, CROWD, apps), each_day=note)
    wall, total = (times[-1] - times[0]) * LONG / (LONG - 1), sum(done.ends.values())
    print(f"{CROWD:,} people, {LONG} days: {total:,} sign-ins, {len(done.ledger):,} calls of the endpoint")
    print(f"wall {wall:.0f} s (aim: under 300), {total / wall:.0f} sign-ins a second")
    print(f"memory at each 20 days: {', '.join(f'{level:.0f}' for level in levels)} MB")


PARTS = {"graph": report_graph, "signins": report_sign_ins, "population": report_population}


def main() -> None:
    logging.disable(logging.WARNING)
    for name in sys.argv[1:] or PARTS:
        with tempfile.TemporaryDirectory() as folder:
            PARTS[name](Path(folder))


if __name__ == "__main__":
    main()

"""The endpoint's speed: its rate beside two others, its memory, a minute at the service's limit, and its cold start.

Rates are of one core and per second of processor time of all threads, of the endpoint in this process, called through
ASGI without a socket: bearer token, JWE, envelope, legacy verdict, answer and ledger line are real; the legacy store
answers at once. Eight callers each wait for their answer, as at a server. The loads alternate and the best round of
each counts, because other processes can make a round slower and never faster.

The whole takes about nine minutes; name parts to run those alone: rate, memory, load, start.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import endpoint_load
import endpoint_start
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from endpoint_calls import Caller, ConstantStore, call
from endpoint_sample import sample_app

from jitkit.endpoint.app import Clock, create_app
from jitkit.endpoint.settings import Settings

ROUNDS, PER_ROUND, CALLERS = 12, 304, 8
REQUESTS, STEP = 200_000, 20_000
A_SECOND = 50  # what the service allows a tenant


def bare(key: rsa.RSAPrivateKey) -> Callable[[], None]:
    oaep = padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), None)
    ciphertext = key.public_key().encrypt(os.urandom(32), oaep)

    def work() -> None:
        for _ in range(PER_ROUND):
            key.decrypt(ciphertext, oaep)

    return work


async def all_of(app: Any, headers: dict[str, str], bodies: list[bytes]) -> None:
    async def some(mine: list[bytes]) -> None:
        for body in mine:
            await call(app, headers, body)

    await asyncio.gather(*(some(bodies[start::CALLERS]) for start in range(CALLERS)))


async def rates(ledger: str) -> tuple[float, float, float]:
    caller = Caller()
    decrypt, headers = bare(caller.key), caller.headers()
    best = [0.0, 0.0, 0.0]
    sample = sample_app(caller.private_pem)
    async with caller.http() as http:
        settings = Settings.from_environment(caller.settings(JIT_LEDGER=ledger))
        app = create_app(settings, http=http, store=ConstantStore())
        async with app.router.lifespan_context(app):
            await call(app, headers, caller.body())
            for _ in range(ROUNDS):
                bodies = [caller.body() for _ in range(PER_ROUND)]
                moments = [time.process_time()]
                decrypt()
                moments.append(time.process_time())
                await all_of(app, headers, bodies)
                moments.append(time.process_time())
                await all_of(sample, headers, bodies[:CALLERS])
                moments.append(time.process_time())
                counts = (PER_ROUND, PER_ROUND, CALLERS)
                for place, count in enumerate(counts):
                    best[place] = max(best[place], count / (moments[place + 1] - moments[place]))
    return best[0], best[1], best[2]


def report_rates(folder: Path) -> None:
    rsa_rate, ours, sample = asyncio.run(rates(str(folder / "rate.jsonl")))
    print(f"bare RSA-2048 OAEP decryptions           {rsa_rate:7.0f} /s")
    print(f"endpoint                                 {ours:7.0f} /s")
    print(f"the original sample's logic in Python    {sample:7.0f} /s")
    print(f"endpoint beside bare RSA                 {ours / rsa_rate:7.2f}   (aim: 0.50 or more)")
    print(f"endpoint beside the sample               {ours / sample:7.1f}")


def resident() -> float:
    """Megabytes of memory that this process holds now."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


async def memory(ledger: str) -> list[float]:
    """Measure after each step of requests that come as fast as the service lets a tenant sign in.

    The endpoint lives by a clock of the benchmark's: what it remembers, it remembers for minutes, and a machine that
    sends faster than the service would fill those minutes with more than they can hold.
    """
    moment = time.time()

    def clock() -> float:
        return moment

    caller, levels = Caller(clock=clock), list[float]()
    async with caller.http() as http:
        settings = Settings.from_environment(caller.settings(JIT_LEDGER=ledger))
        app = create_app(settings, http=http, store=ConstantStore(), clock=Clock(clock, clock))
        async with app.router.lifespan_context(app):
            for number in range(0, REQUESTS, CALLERS * 25):
                if number % STEP == 0:
                    levels.append(resident())
                bodies = [caller.body(f"person-{number + one}@contoso.example") for one in range(CALLERS * 25)]
                await all_of(app, caller.headers(), bodies)
                moment += len(bodies) / A_SECOND
            levels.append(resident())
    return levels


def report_memory(folder: Path) -> None:
    levels = asyncio.run(memory(str(folder / "memory.jsonl")))
    steps = ", ".join(f"{level:.0f}" for level in levels)
    print(f"memory at each {STEP:,} of {REQUESTS:,} requests, {A_SECOND} a second: {steps} MB")


PARTS = {
    "rate": report_rates,
    "memory": report_memory,
    "load": endpoint_load.report,
    "start": endpoint_start.report,
}


def main() -> None:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    with tempfile.TemporaryDirectory() as directory:
        for name in sys.argv[1:] or PARTS:
            PARTS[name](Path(directory))


if __name__ == "__main__":
    main()

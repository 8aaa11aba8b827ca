"""S: what an endpoint remembers, counts and reports. Further endpoints are started for these, as in `start`."""

from __future__ import annotations

import asyncio
import contextlib
import json
import tempfile
import time
from pathlib import Path
from typing import Any, Final

from jitkit import protocol
from jitkit.conformance.case import Failed, Skipped, TooSlow, case
from jitkit.conformance.cases.start import another, fill
from jitkit.conformance.judge import asked, decides, refuses
from jitkit.conformance.launcher import Started
from jitkit.conformance.world import World

_SAFEST: Final = "safest: the documents are silent"
_AHEAD: Final = 600
_PATIENCE: Final = 12.0
# bcrypt of cost 13, of no password: half a second of work, and too much on any machine for a deadline of 200 ms.
_SLOW_HASH: Final = "$2b$13$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"


async def _reports(started: Started, word: str) -> bool:
    """Tell whether a word turns up in what an endpoint writes, within a while."""
    until = time.monotonic() + _PATIENCE
    while time.monotonic() < until:
        written = (path.read_text(errors="replace") for path in (started.log, started.ledger) if path.exists())
        if any(word in text.lower() for text in written):
            return True
        await asyncio.sleep(0.1)
    return False


async def _lines(started: Started, count: int) -> list[dict[str, Any]]:
    """Read the ledger once it has so many lines, or after a second."""
    until = time.monotonic() + 1.0
    while True:
        text = started.ledger.read_text() if started.ledger.exists() else ""
        lines = [json.loads(line) for line in text.splitlines()]
        if len(lines) >= count or time.monotonic() > until:
            return lines
        await asyncio.sleep(0.05)


@case("C17", "started again it knows no nonce any more, and refuses what has expired all the same", source=_SAFEST)
async def restarted(w: World) -> None:
    person, now = w.account(), int(time.time())
    claims = w.claims(person)
    async with another(w) as started:
        await decides(w, w.call(person, claims=claims), protocol.MIGRATE, url=started.url)
    expired = claims | {"iat": now - 1800, "nbf": now - 1800, "exp": now - 1200}
    async with another(w) as started:
        await refuses(w, w.call(person, claims=expired), 400, url=started.url)


@case("O17", "a hash that takes longer than a call may is reported at the start", source=_SAFEST)
async def slow_hash(w: World) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "legacy.db"
        fill(path, {"slow": _SLOW_HASH})
        async with another(w, LegacyApiConnectionString=f"sqlite:///{path}", JIT_DEADLINE_MS="200") as started:
            if not await _reports(started, "hash"):
                raise TooSlow(f"{_PATIENCE:.0f} s after the start nothing is said about it")


@case("F18", "a clock that is ten minutes off is noticed and named; until then nobody is let in", source="RFC 7519")
async def clock_off(w: World) -> None:
    w.issuer.ahead = _AHEAD
    try:
        async with another(w) as started:
            await refuses(w, w.call(), 401, url=started.url)
            if not await _reports(started, "clock"):
                raise Failed("neither its log nor its ledger names the clock")
    finally:
        w.issuer.ahead = 0


@case("P4", "the ledger counts each call once, and tells a second attempt from a first", source=_SAFEST)
async def counted(w: World) -> None:
    first, other, stranger = w.call(), w.call(), w.call(token=None)
    async with another(w) as started:
        for call in (first, first, other):
            await decides(w, call, protocol.MIGRATE, url=started.url)
        await refuses(w, stranger, 401, url=started.url)
        lines = await _lines(started, 4)
    if len(lines) != 4:
        raise Failed(f"four calls, and {len(lines)} lines in the ledger")
    attempts = [line.get("attempt") for line in lines[:3]]
    if attempts != [1, 2, 1]:
        raise Failed(f"a call, its repetition and another one were counted as attempts {attempts}")


@case("P5", "a ledger that is deleted opens nothing again", source=_SAFEST)
async def ledger_deleted(w: World) -> None:
    legacy_heard, person, call = 0, w.account(), w.call()

    async def guess(number: int, url: str) -> None:
        typed = w.claims(person, f"Canary-guess-{number}-A1!")
        await decides(w, w.call(person, claims=typed), protocol.RETRY, protocol.BLOCK, url=url)

    async with another(w) as started:
        await decides(w, call, protocol.MIGRATE, url=started.url)
        for number in range(10):
            await guess(number, started.url)
        legacy_heard = len(person.asked)
        await _lines(started, 11)
        try:
            with contextlib.suppress(FileNotFoundError):
                started.ledger.unlink()
        except OSError:
            raise Skipped("this system does not let a file be deleted that is open") from None
        await decides(w, call, protocol.MIGRATE, url=started.url)
        asked(call, 1)
        other = w.claims(call.account, "Canary-another-1!", nonce=call.nonce)
        await refuses(w, w.call(call.account, claims=other), 400, url=started.url)
        await refuses(w, w.call(token=None), 401, url=started.url)
        if w.feature("limiter"):
            await guess(10, started.url)
            if len(person.asked) > legacy_heard:
                raise Failed("the guesses from before are forgotten: the legacy store heard another one")

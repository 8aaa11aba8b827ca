"""F, more of it: as many sign-ins as the service lets through, and more at once than the legacy store takes."""

from __future__ import annotations

import asyncio
from typing import Final

from jitkit import protocol
from jitkit.conformance.case import Failed, TooSlow, case
from jitkit.conformance.judge import action_of, in_time
from jitkit.conformance.world import LIMIT, Reply, World

_LIMITS: Final = "service limits: 50 calls a second, 2,000 ms"
_SAFEST: Final = "safest: the documents are silent"
_PARALLEL: Final = 200
_ALLOWED: Final = 20


@case("F12", "at 50 calls a second every call is answered right, and 99 of 100 in time", source=_LIMITS)
async def steady(w: World) -> None:
    legacy = w.scripted()
    await w.settle()
    token, replies = w.issuer.bearer(), []
    people = [w.account() for _ in range(20)]
    loop = asyncio.get_running_loop()
    started, total = loop.time(), protocol.CALLS_PER_SECOND * w.config.load_seconds
    for number in range(total):
        await asyncio.sleep(max(0.0, started + number / protocol.CALLS_PER_SECOND - loop.time()))
        replies.append(asyncio.create_task(w.send(w.call(people[number % 20], token=token))))
    answers: list[Reply] = await asyncio.gather(*replies)
    wrong = [reply for reply in answers if action_of(reply) != protocol.MIGRATE]
    if wrong:
        late = all(action_of(reply) == protocol.BLOCK for reply in wrong)
        raise (TooSlow if late else Failed)(
            f"{len(wrong)} of {total} calls got {action_of(wrong[0]) or f'status {wrong[0].status}'}"
        )
    seconds = sorted(reply.seconds for reply in answers)
    if (slow := seconds[int(len(seconds) * 0.99)]) > LIMIT:
        raise TooSlow(
            f"1 of 100 calls took {slow:.1f} s or more; the store answered at once, {legacy.most_running} together"
        )


@case(
    "F13",
    "200 calls at once on a store that takes 20: nobody waits too long, nobody reads 'wrong password'",
    source=_SAFEST,
)
async def burst(w: World) -> None:
    legacy = w.scripted()
    await w.settle()
    # What this machine needs for as many calls on a store that answers at once is not the endpoint's fault.
    own = max(reply.seconds for reply in await _at_once(w, 0))
    await w.settle()
    legacy.allowed = _ALLOWED
    try:
        answers = await _at_once(w, 0.2)
    finally:
        legacy.allowed = 1000
    for reply in answers:
        action = action_of(reply)
        if action == protocol.RETRY or (action not in (protocol.MIGRATE, protocol.BLOCK) and reply.status != 503):
            raise Failed(f"under load: {action or f'status {reply.status}'}")
    in_time(max(answers, key=lambda reply: reply.seconds), LIMIT + own)
    await w.settle()


async def _at_once(w: World, delay: float) -> list[Reply]:
    token = w.issuer.bearer()
    calls = [w.call(w.account(delay=delay), token=token) for _ in range(_PARALLEL)]
    return await asyncio.gather(*(w.send(call) for call in calls))


@case("F21", "after the burst, an ordinary sign-in passes at once", source=_SAFEST)
async def afterwards(w: World) -> None:
    await w.settle()
    reply = await w.send(w.call())
    in_time(reply, 1.0)
    if action_of(reply) != protocol.MIGRATE:
        raise Failed(f"got {action_of(reply) or f'status {reply.status}'}")

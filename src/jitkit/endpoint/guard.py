"""Time, load and repetition: every call is answered in time, and asked of the legacy store once.

Entra waits 2,000 ms at most and tries once more with the same nonce [limits]. So a call goes on when Entra hangs up, at
most until its own deadline: the second attempt then finds its answer, and the customer has one try less at the legacy
store instead of two. Nothing else is kept of a call.

Nonces are remembered in this process alone. After a restart, or at another instance, a context could be used again
until it expires, and no longer; only somebody with a token of Entra's could send it.
"""

from __future__ import annotations

import asyncio
import hmac
import secrets
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final
from uuid import UUID

from jitkit import protocol
from jitkit.endpoint.answer import Answer, failure
from jitkit.endpoint.breaker import Breaker
from jitkit.endpoint.limiter import Attempts, Limiter
from jitkit.endpoint.log import unexpected
from jitkit.endpoint.pace import Pace
from jitkit.endpoint.password_context import PasswordContext
from jitkit.endpoint.refused import Refused
from jitkit.endpoint.stores import Verdict
from jitkit.endpoint.tally import Tally

__all__ = ["Guard", "Limits"]

# Seconds that an answer is kept for; Entra's second attempt comes within 2 s of the first.
_WINDOW: Final = 60.0
# Nonces are remembered until their context expires. At 50 calls a second and 15 minutes no more than 45,000 are alive.
_REMEMBERED: Final = 50_000
_ANSWERS: Final = 10_000
# Waiting calls for each one that runs: at 50 calls a second [limits] and a deadline of 1.5 s no more than 75 can be on
# their way, so a longer queue would only hold calls that are answered too late.
_WAITING: Final = 4
# Seconds before the deadline from which the store is not asked any more, and a refusal is not held back any longer.
_MARGIN: Final = 0.05


@dataclass(frozen=True)
class Limits:
    """Hold what the operator may choose.

    Args:
        concurrency: legacy calls at once; four times as many may wait for their turn.
        guesses: wrong passwords per account before it is left alone.
        guesses_seconds: how long a wrong password counts.
    """

    concurrency: int = 20
    guesses: int = 4
    guesses_seconds: float = 900.0


@dataclass
class _Held:
    """One nonce: what was asked with it (as a keyed digest), and the answer as a task while it may be asked for."""

    asked: bytes
    answer: asyncio.Task[Answer]
    kept_until: float
    attempts: int = 1


class Guard:
    """Ask once per nonce, at most so many at once, not beyond the deadline, and neither a store that is away nor one
    that is about to lock the account.

    Args:
        ask: asks the legacy store about a password context and a directory account. It is cancelled when time is up.
        answer_to: turns a verdict into an answer.
        limits: what the operator chose.
        tally: where alarms are counted.
        clock: seconds that only go forward, for what is remembered; waiting goes by the event loop's own.
    """

    def __init__(
        self,
        ask: Callable[[PasswordContext, str], Awaitable[Verdict]],
        answer_to: Callable[[Verdict, str], Answer],
        limits: Limits,
        tally: Tally,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ask = ask
        self._clock = clock
        self._answer_to = answer_to
        self._most = limits.concurrency * (1 + _WAITING)
        self._slots = asyncio.Semaphore(limits.concurrency)
        self._on_their_way = 0
        self._breaker = Breaker()
        self._limiter = Limiter(limits.guesses, limits.guesses_seconds)
        self._pace = Pace()
        self._tally = tally
        self._held: OrderedDict[bytes, _Held] = OrderedDict()
        self._spent: OrderedDict[bytes, float] = OrderedDict()
        self._key = secrets.token_bytes(32)

    async def answer(self, context: PasswordContext, due: float, user_id: str = "") -> tuple[Answer, int]:
        """Return the answer to a password context, and which attempt this was.

        Args:
            context: its nonce names the call; a repeated one gets the first one's answer, and waits for it.
            due: when the answer must be there, in the event loop's time.
            user_id: the directory account that the callout is about.

        Raises:
            Refused: the nonce came before with another username, password or account, or longer ago than an attempt
                can be.
        """
        now = self._clock()
        self._forget(now)
        asked = self._digest(context, user_id)
        name = UUID(context.nonce).bytes
        held = self._held.get(name)
        if held is None:
            if name in self._spent:
                raise Refused(400, "nonce_replayed")
            held = _Held(asked, asyncio.create_task(self._decide(context, user_id, due)), now + _WINDOW)
            self._held[name] = held
            self._spent[name] = now + context.seconds_left
        elif not hmac.compare_digest(held.asked, asked):
            raise Refused(400, "nonce_reused")
        else:
            held.attempts += 1
        attempt = held.attempts
        return await _waited_for(held.answer, due), attempt

    async def _decide(self, context: PasswordContext, user_id: str, due: float) -> Answer:
        loop = asyncio.get_running_loop()
        started, now = loop.time(), self._clock()
        if self._breaker.refuses(now):
            return failure("breaker_open")
        if self._on_their_way >= self._most:
            return failure("busy")
        attempts = self._limiter.account(context.username, now)
        if not self._limiter.enter(attempts):
            self._tally.count("too_many_guesses")
            if not self._limiter.guessed_out(attempts):
                return failure("too_many_guesses")
            answer = Answer(protocol.RETRY, "too_many_guesses")
        else:
            self._on_their_way += 1
            try:
                answer = await self._in_turn(context, user_id, attempts, due)
            finally:
                self._on_their_way -= 1
        if answer.action == protocol.RETRY:
            await asyncio.sleep(min(started + self._pace.target, due - _MARGIN) - loop.time())
        return answer

    async def _in_turn(self, context: PasswordContext, user_id: str, attempts: Attempts, due: float) -> Answer:
        """Wait for a slot, then ask; what the store said goes to the breaker, the limiter and the pace."""
        loop = asyncio.get_running_loop()
        verdict: Verdict | None = None
        silent = False
        if not await self._slot(due):
            self._limiter.leave(attempts, self._clock())
            return failure("busy")
        started = loop.time()
        try:
            if due - started < _MARGIN:
                return failure("busy")
            if not self._breaker.enter(self._clock()):
                return failure("breaker_open")
            async with asyncio.timeout_at(due):
                verdict = await self._watched(context, user_id)
        except TimeoutError:
            silent = True
            return failure("legacy_timeout")
        except Exception as error:  # noqa: BLE001 - a customer's sign-in must end in an answer, whatever went wrong
            unexpected(error)
            return failure("unexpected")
        finally:
            self._slots.release()
            wrong = verdict in (Verdict.WRONG, Verdict.UNKNOWN_USER)
            silent = silent or verdict is Verdict.OTHER_USER
            right = verdict in (Verdict.RIGHT, Verdict.RIGHT_MUST_CHANGE, Verdict.MFA)
            self._limiter.leave(attempts, self._clock(), wrong=wrong, right=right, silent=silent)
            if wrong:
                self._pace.note(loop.time() - started)
        return self._answer_to(verdict, context.password)

    async def _slot(self, due: float) -> bool:
        if not self._slots.locked():
            return await self._slots.acquire()
        try:
            async with asyncio.timeout_at(due):
                return await self._slots.acquire()
        except TimeoutError:
            return False

    async def _watched(self, context: PasswordContext, user_id: str) -> Verdict:
        """Ask the legacy store, and tell the breaker how that went."""
        answered = False
        try:
            verdict = await self._ask(context, user_id)
            answered = verdict not in (Verdict.DOWN, Verdict.THROTTLED)
            if verdict is Verdict.MALFORMED:  # one row, or one answer, that cannot be read
                self._breaker.left()
            elif answered:
                self._breaker.succeeded()
            return verdict
        finally:
            if not answered and self._breaker.failed(self._clock()):
                self._tally.count("breaker_open")

    def _digest(self, context: PasswordContext, user_id: str) -> bytes:
        digest = blake2b(key=self._key)
        for part in (context.username.encode(), context.password.encode(), user_id.encode("utf-8", "replace")):
            digest.update(len(part).to_bytes(4))
            digest.update(part)
        return digest.digest()

    def _forget(self, now: float) -> None:
        """Drop answers after the window and nonces after their expiry, oldest first; the oldest when too many."""
        while self._held:
            if next(iter(self._held.values())).kept_until > now and len(self._held) < _ANSWERS:
                break
            self._held.popitem(last=False)
        while self._spent:
            if next(iter(self._spent.values())) > now and len(self._spent) < _REMEMBERED:
                return
            self._spent.popitem(last=False)


async def _waited_for(answer: asyncio.Task[Answer], due: float) -> Answer:
    """Wait for an answer, and not much longer than it is due: a store may not let go when it is cancelled.

    The task goes on in any case. When Entra hangs up, its second attempt still finds this answer.
    """
    done, _ = await asyncio.wait((answer,), timeout=due + _MARGIN - asyncio.get_running_loop().time())
    return answer.result() if done else failure("legacy_timeout")

"""Time, load and repetition: every call is answered in time, and asked of the legacy store once.

Entra waits 2,000 ms at most and tries once more with the same nonce [limits].
"""

from __future__ import annotations

import asyncio
import hmac
import secrets
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

from helpers.endpoint.answer import Answer, failure
from helpers.endpoint.password_context import PasswordContext
from helpers.endpoint.refused import Refused

__all__ = ["Guard"]

# How many legacy calls run, and how many may wait for their turn: at 50 calls a second [limits] and a deadline of
# 1.5 s no more than 75 can be on their way.
_RUNNING: Final = 20
_ON_THEIR_WAY: Final = 200

# Seconds that a nonce is remembered; Entra's second attempt comes within 2 s of the first.
_WINDOW: Final = 60.0
_REMEMBERED: Final = 10_000


@dataclass
class _Held:
    """One nonce: what was asked with it (as a keyed digest), and the answer as a task."""

    asked: bytes
    answer: asyncio.Task[Answer]
    until: float
    attempts: int = 1


class Guard:
    """Ask once per nonce, at most so many at once, and never beyond the deadline."""

    def __init__(self) -> None:
        self._slots = asyncio.Semaphore(_RUNNING)
        self._on_their_way = 0
        self._held: OrderedDict[str, _Held] = OrderedDict()
        self._key = secrets.token_bytes(32)

    async def answer(
        self, context: PasswordContext, ask: Callable[[], Awaitable[Answer]], due: float
    ) -> tuple[Answer, int]:
        """Return the answer to a password context, and which attempt this was.

        Args:
            context: its nonce names the call; a repeated one gets the first one's answer, and waits for it.
            ask: asks the legacy store. It is cancelled when time is up.
            due: when the answer must be there, in the event loop's time.

        Raises:
            Refused: the nonce came before with another username or password.
        """
        now = asyncio.get_running_loop().time()
        self._forget(now)
        asked = self._digest(context)
        name = context.nonce.lower()
        held = self._held.get(name)
        if held is None:
            held = _Held(asked, asyncio.create_task(self._ask(ask, due)), now + _WINDOW)
            self._held[name] = held
            # Shielded: when Entra hangs up, its second attempt still finds this answer.
            return await asyncio.shield(held.answer), 1
        if not hmac.compare_digest(held.asked, asked):
            raise Refused(400, "nonce_reused")
        held.attempts += 1
        return await asyncio.shield(held.answer), held.attempts

    async def _ask(self, ask: Callable[[], Awaitable[Answer]], due: float) -> Answer:
        if self._on_their_way >= _ON_THEIR_WAY:
            return failure("busy")
        self._on_their_way += 1
        try:
            async with asyncio.timeout_at(due), self._slots:
                return await ask()
        except TimeoutError:
            return failure("legacy_timeout")
        finally:
            self._on_their_way -= 1

    def _digest(self, context: PasswordContext) -> bytes:
        username, password = context.username.encode(), context.password.encode()
        return blake2b(len(username).to_bytes(4) + username + password, key=self._key).digest()

    def _forget(self, now: float) -> None:
        """Drop nonces whose time is over, oldest first, and the oldest when there are too many."""
        while self._held:
            held = next(iter(self._held.values()))
            if held.until > now and len(self._held) < _REMEMBERED:
                return
            self._held.popitem(last=False)

"""Protects the legacy store and the time limit: every call is answered in time, and asked of the store once.

Entra waits 2,000 ms at most and tries once more with the same nonce [limits]. So a call goes on when Entra hangs up, at
most until its own deadline: the second attempt then finds its answer, and the store counts one try of the user's
instead of two.

Nonces are remembered in this process alone. After a restart, or at another instance, a context could be used again
until it expires, and no longer; only a caller with a token of Entra's could send it.
"""

from __future__ import annotations

import asyncio
import hmac
import secrets
import time
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Final
from uuid import UUID

from jitkit import protocol
from jitkit.endpoint.crypto import PasswordContext
from jitkit.endpoint.decision import Answer, Refused, failure
from jitkit.endpoint.ledger import Counters, log_unexpected
from jitkit.endpoint.settings import Limits
from jitkit.endpoint.stores.base import Verdict, lookup_key

# Seconds that an answer is kept for; Entra's second attempt comes within 2 s of the first.
_WINDOW: Final = 60.0
# Nonces are remembered until their context expires. At 50 calls a second and 15 minutes no more than 45,000 are alive.
_NONCES: Final = 50_000
_ANSWERS: Final = 10_000
# Waiting calls for each one that runs: at 50 calls a second [limits] and a deadline of 1.5 s no more than 75 can be on
# their way, so a longer queue would only hold calls that are answered too late.
_WAITING: Final = 4
# Seconds before the deadline from which the store is not asked any more, and a refusal is not held back any longer.
_MARGIN: Final = 0.05
_FAILURES, _FIRST_REST, _LONGEST_REST = 5, 5.0, 60.0
_ACCOUNTS: Final = 50_000
_REFUSALS, _SHARE = 200, 0.95
_FAILED: Final = (Verdict.DOWN, Verdict.THROTTLED)
# After these the store may have counted a try, and nobody knows whether the password was right.
_NO_ANSWER: Final = (*_FAILED, Verdict.OTHER_USER)


class Breaker:
    """Stop asking after failures of five accounts in a row, let one probe through after a rest, close when it succeeds.

    Each probe that fails doubles the rest, from 5 seconds to a minute. What one account fails with again says nothing
    new: its own name or password may be what the store cannot bear.
    """

    def __init__(self) -> None:
        self._failed: set[bytes] = set()
        self._rest = 0.0
        self._until = 0.0
        self._probing = False

    def refuses(self, now: float) -> bool:
        """Return whether a call would be refused; nothing changes."""
        return self._rest > 0 and (self._probing or now < self._until)

    def enter(self, now: float) -> bool:
        """Return whether the store may be asked; after True, call `succeeded`, `failed` or `left` once."""
        if not (refused := self.refuses(now)):
            self._probing = self._rest > 0
        return not refused

    def succeeded(self) -> None:
        """Note that the store answered: the breaker closes."""
        self._failed.clear()
        self._rest, self._probing = 0.0, False

    def failed(self, account: bytes, now: float) -> bool:
        """Note a failure at an account, and return whether this one opened the breaker."""
        is_new, probed = account not in self._failed, self._probing
        self._probing = False
        if is_new and len(self._failed) < _ACCOUNTS:
            self._failed.add(account)
        opens = self._rest == 0 and len(self._failed) >= _FAILURES
        if opens or (probed and is_new):
            self._rest = _FIRST_REST if opens else min(self._rest * 2, _LONGEST_REST)
            self._until = now + self._rest
        return opens

    def left(self) -> None:
        """Note an answer that says nothing about the store's health: the next caller may probe."""
        self._probing = False


@dataclass
class Attempts:
    """The history of one name, or of one directory account: when tries failed, or got no answer, and how many run."""

    name: bytes
    failed: list[float] = field(default_factory=list)
    unanswered: list[float] = field(default_factory=list)
    running: int = 0

    @property
    def count(self) -> int:
        """How many tries count now; those that run do."""
        return len(self.failed) + len(self.unanswered) + self.running


class Limiter:
    """Allow so many wrong passwords per account in so many seconds, so that the legacy store does not lock the account.

    A try that got no answer counts as well, because the store may have counted it. One account may have several names,
    and one name is written in several ways, so tries are counted for the directory account and for the name, and the
    higher number decides. Each process counts by itself. Both are kept as a keyed hash.
    """

    def __init__(self, tries: int, seconds: float) -> None:
        self._tries, self._seconds = tries, seconds
        self._accounts: OrderedDict[bytes, Attempts] = OrderedDict()
        self._salt = secrets.token_bytes(32)

    def account(self, username: str, user_id: str, now: float) -> tuple[Attempts, ...]:
        """Find the histories of a name and, where it is known, of a directory account: what still counts of them."""
        names = [f"name {lookup_key(username)}", f"id {user_id.lower()}" if user_id else ""]
        return tuple(self._history(name, now) for name in names if name)

    def _history(self, text: str, now: float) -> Attempts:
        name = blake2b(text.encode("utf-8", "replace"), key=self._salt, digest_size=16).digest()
        attempts = self._accounts.setdefault(name, Attempts(name))
        self._accounts.move_to_end(name)
        if len(self._accounts) > 2 * _ACCOUNTS:
            self._accounts.popitem(last=False)
        oldest = now - self._seconds
        for moments in (attempts.failed, attempts.unanswered):
            moments[:] = [moment for moment in moments if moment > oldest]
        return attempts

    def enter(self, histories: Sequence[Attempts]) -> bool:
        """Return whether a password may be tried; after True, call `leave` once."""
        if max(each.count for each in histories) >= self._tries:
            return False
        for each in histories:
            each.running += 1
        return True

    def leave(
        self,
        histories: Sequence[Attempts],
        now: float,
        *,
        wrong: bool = False,
        right: bool = False,
        silent: bool = False,
    ) -> None:
        """Note how a try ended: the password was wrong or right, or the store was asked and said nothing about it."""
        for each in histories:
            each.running -= 1
            if right:
                each.failed, each.unanswered = [], []
            elif wrong:
                each.failed.append(now)
            elif silent:
                each.unanswered.append(now)
            if not each.count and self._accounts.get(each.name) is each:
                del self._accounts[each.name]


class RefusalDelay:
    """Pad refused passwords to equal duration, so that timing does not reveal whether a user exists.

    The duration is what 95 of 100 refusals took or less, unknown names and wrong passwords together.
    """

    def __init__(self) -> None:
        self._noted: deque[float] = deque(maxlen=_REFUSALS)
        self.seconds = 0.0

    def note(self, seconds: float) -> None:
        """Remember how long the store took to refuse a password."""
        self._noted.append(seconds)
        self.seconds = sorted(self._noted)[int(len(self._noted) * _SHARE)]


@dataclass
class _Held:
    """One nonce: what was asked with it (as a keyed digest), and the answer as a task while it may be asked for."""

    asked: bytes
    answer: asyncio.Task[Answer]
    kept_until: float
    attempts: int = 1


class Guard:
    """Ask the store once per nonce, with bounded concurrency, in time, and not while it is down or about to lock.

    `ask` is cancelled when time is up. What is remembered goes by `clock`, waiting by the event loop's time.
    """

    def __init__(
        self,
        ask: Callable[[PasswordContext, str], Awaitable[Verdict]],
        answer_to: Callable[[Verdict, str], Answer],
        limits: Limits,
        counters: Counters,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ask, self._answer_to = ask, answer_to
        self._clock, self._counters = clock, counters
        self._most = limits.concurrency * (1 + _WAITING)
        self._slots = asyncio.Semaphore(limits.concurrency)
        self._on_their_way = 0
        self._breaker = Breaker()
        self._guesses = limits.guesses
        self._limiter = Limiter(limits.guesses, limits.guesses_seconds)
        self._delay = RefusalDelay()
        self._held: OrderedDict[bytes, _Held] = OrderedDict()
        self._spent: OrderedDict[bytes, float] = OrderedDict()
        self._key = secrets.token_bytes(32)

    async def answer(self, context: PasswordContext, due: float, user_id: str = "") -> tuple[Answer, int]:
        """Return the answer to a password context, which is due in the event loop's time, and which attempt this was.

        A repeated nonce gets the first one's answer, and waits for it; it is refused with another username, password
        or account, and when it comes later than an attempt can.
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
        # Not much longer than it is due: a store may ignore its cancellation, and the task goes on in any case.
        done, _ = await asyncio.wait((held.answer,), timeout=due + _MARGIN - asyncio.get_running_loop().time())
        return held.answer.result() if done else failure("legacy_timeout"), attempt

    async def _decide(self, context: PasswordContext, user_id: str, due: float) -> Answer:
        loop = asyncio.get_running_loop()
        started, now = loop.time(), self._clock()
        if self._breaker.refuses(now):
            return failure("breaker_open")
        if self._on_their_way >= self._most:
            return failure("busy")
        attempts = self._limiter.account(context.username, user_id, now)
        if not self._limiter.enter(attempts):
            self._counters.count("too_many_guesses")
            if all(len(each.failed) < self._guesses for each in attempts):  # unanswered calls used the limit up
                return failure("too_many_guesses")
            answer = Answer(protocol.RETRY, "too_many_guesses")
        else:
            self._on_their_way += 1
            try:
                answer = await self._in_turn(context, user_id, attempts, due)
            finally:
                self._on_their_way -= 1
        if answer.action == protocol.RETRY:
            await asyncio.sleep(min(started + self._delay.seconds, due - _MARGIN) - loop.time())
        return answer

    async def _in_turn(
        self, context: PasswordContext, user_id: str, attempts: Sequence[Attempts], due: float
    ) -> Answer:
        """Wait for a slot, then ask; note what the store said in breaker, limiter and delay."""
        loop = asyncio.get_running_loop()
        verdict: Verdict | None = None
        silent = False
        try:
            async with asyncio.timeout_at(due if self._slots.locked() else None):
                await self._slots.acquire()
        except TimeoutError:
            self._limiter.leave(attempts, self._clock())
            return failure("busy")
        started = loop.time()
        try:
            if due - started < _MARGIN:
                return failure("busy")
            if not self._breaker.enter(self._clock()):
                return failure("breaker_open")
            async with asyncio.timeout_at(due):
                verdict = await self._watched(context, user_id, attempts[-1].name)
        except TimeoutError:
            silent = True
            return failure("legacy_timeout")
        except Exception as error:  # noqa: BLE001 - a sign-in must end in an answer, whatever went wrong
            log_unexpected(error)
            return failure("unexpected")
        finally:
            self._slots.release()
            wrong = verdict in (Verdict.WRONG, Verdict.UNKNOWN_USER, Verdict.NO_PASSWORD)
            silent = silent or verdict in _NO_ANSWER
            right = verdict in (Verdict.RIGHT, Verdict.RIGHT_MUST_CHANGE, Verdict.MFA)
            self._limiter.leave(attempts, self._clock(), wrong=wrong, right=right, silent=silent)
            if wrong:
                self._delay.note(loop.time() - started)
        return self._answer_to(verdict, context.password)

    async def _watched(self, context: PasswordContext, user_id: str, account: bytes) -> Verdict:
        """Ask the legacy store, and note in the breaker how that went."""
        answered = False
        try:
            verdict = await self._ask(context, user_id)
            answered = verdict not in _FAILED
            if verdict is Verdict.MALFORMED:  # one row, or one answer, that cannot be read
                self._breaker.left()
            elif answered:
                self._breaker.succeeded()
            return verdict
        finally:
            if not answered and self._breaker.failed(account, self._clock()):
                self._counters.count("breaker_open")

    def _digest(self, context: PasswordContext, user_id: str) -> bytes:
        digest = blake2b(key=self._key)
        for part in (context.username.encode(), context.password.encode(), user_id.encode("utf-8", "replace")):
            digest.update(len(part).to_bytes(4))
            digest.update(part)
        return digest.digest()

    def _forget(self, now: float) -> None:
        """Drop answers after the window and nonces after their expiry, oldest first; the oldest when too many."""
        while self._held and (len(self._held) >= _ANSWERS or next(iter(self._held.values())).kept_until <= now):
            self._held.popitem(last=False)
        while self._spent and (len(self._spent) >= _NONCES or next(iter(self._spent.values())) <= now):
            self._spent.popitem(last=False)

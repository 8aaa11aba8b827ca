"""A limit on wrong passwords per account, so that guesses stop here before the legacy store locks the account."""

from __future__ import annotations

import secrets
from collections import OrderedDict
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Final

from jitkit.endpoint.stores import lookup_key

__all__ = ["Attempts", "Limiter"]

_ACCOUNTS: Final = 50_000


@dataclass
class Attempts:
    """What one account has behind it: when tries failed, how many run now, and which tries got no answer."""

    name: bytes
    failed: list[float] = field(default_factory=list)
    unanswered: list[float] = field(default_factory=list)
    running: int = 0


class Limiter:
    """Allow so many wrong passwords per account in so many seconds.

    Accounts are remembered by a keyed hash of their lookup key; the key lives as long as the process. The memory is
    bounded: beyond 50,000 accounts the one that tried longest ago is forgotten. Each instance of the endpoint counts by
    itself, so with several of them the legacy store sees up to that many times the limit.

    A try that got no answer in time counts as well, because the store may have counted it.

    Args:
        tries: wrong passwords before the account is left alone.
        seconds: how long a wrong password counts.
    """

    def __init__(self, tries: int, seconds: float) -> None:
        self._tries = tries
        self._seconds = seconds
        self._accounts: OrderedDict[bytes, Attempts] = OrderedDict()
        self._salt = secrets.token_bytes(32)

    def account(self, username: str, now: float) -> Attempts:
        """Find what an account has behind it, without what no longer counts."""
        name = blake2b(lookup_key(username).encode(), key=self._salt, digest_size=16).digest()
        attempts = self._accounts.get(name)
        if attempts is None:
            attempts = self._accounts[name] = Attempts(name)
            if len(self._accounts) > _ACCOUNTS:
                self._accounts.popitem(last=False)
            return attempts
        self._accounts.move_to_end(name)
        oldest = now - self._seconds
        attempts.failed = [moment for moment in attempts.failed if moment > oldest]
        attempts.unanswered = [moment for moment in attempts.unanswered if moment > oldest]
        return attempts

    def guessed_out(self, attempts: Attempts) -> bool:
        """Tell whether wrong passwords alone used the limit up; otherwise the store's silence has a part in it."""
        return len(attempts.failed) >= self._tries

    def enter(self, attempts: Attempts) -> bool:
        """Ask to try a password; tries that run count, so that many at once cannot pass together.

        Returns:
            True to try. Whoever gets it calls `leave`, once.
        """
        if len(attempts.failed) + len(attempts.unanswered) + attempts.running >= self._tries:
            return False
        attempts.running += 1
        return True

    def leave(
        self, attempts: Attempts, now: float, *, wrong: bool = False, right: bool = False, silent: bool = False
    ) -> None:
        """Note how a try ended: a right password clears the account, a fault of the store changes nothing.

        Args:
            attempts: what `account` returned.
            now: the time.
            wrong: the store said that the password is wrong, or that there is no such account.
            right: the store said that it is right.
            silent: the store was asked and gave no answer in time.
        """
        attempts.running -= 1
        if right:
            attempts.failed.clear()
            attempts.unanswered.clear()
        elif wrong:
            attempts.failed.append(now)
        elif silent:
            attempts.unanswered.append(now)
        idle = not (attempts.running or attempts.failed or attempts.unanswered)
        if idle and self._accounts.get(attempts.name) is attempts:
            del self._accounts[attempts.name]

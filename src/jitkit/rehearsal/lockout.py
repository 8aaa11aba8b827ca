"""Smart lockout: after ten wrong passwords an account is closed for a minute, and for longer each further time.

[Microsoft Learn, "Prevent attacks using smart lockout", 2026-06] The same wrong password typed again does not count:
the last three are remembered, here as keyed digests in memory, for as long as this process runs. That familiar and
unfamiliar places have counters of their own is not imitated.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections import OrderedDict, deque
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from jitkit.rehearsal.directory import Directory
    from jitkit.rehearsal.setup import Setup
    from jitkit.rehearsal.users import User

__all__ = ["Lockout"]

_REMEMBERED: Final = 3
_USERS_AT_MOST: Final = 20_000
_LONGEST: Final = 86_400.0


class Lockout:
    """Count wrong passwords.

    Args:
        directory: the tenant's directory; it keeps the counts.
        setup: the tenant's switches.
    """

    def __init__(self, directory: Directory, setup: Setup) -> None:
        self._directory, self._setup = directory, setup
        self._key = secrets.token_bytes(32)
        self._wrong: OrderedDict[str, deque[bytes]] = OrderedDict()

    def is_locked(self, user: User) -> bool:
        """Tell whether an account is closed for now."""
        return user.locked_until > self._directory.clock.now()

    def count(self, user: User, password: str) -> None:
        """Count a wrong password, unless it is one of the last three, and close the account when it is one too many.

        Args:
            user: who was meant.
            password: what was typed; no more than a keyed digest of it is kept, in memory.
        """
        if self._seen(user.id, password):
            return
        with self._directory.transaction():
            now = self._directory.user(user.id) or user
            failed = now.failed + 1
            self._directory.update_user(user.id, failed=failed, locked_until=self._until(failed))

    def forgive(self, user: User) -> None:
        """Start counting anew: the person signed in."""
        self._wrong.pop(user.id, None)
        if user.failed:
            self._directory.update_user(user.id, failed=0, locked_until=0)

    def _until(self, failed: int) -> float:
        beyond = failed - int(self._setup.switch("lockout_threshold"))
        if beyond < 0:
            return 0.0
        seconds = self._setup.switch("lockout_seconds") * self._setup.switch("lockout_growth") ** min(beyond, 40)
        return self._directory.clock.now() + min(seconds, _LONGEST)

    def _seen(self, user_id: str, password: str) -> bool:
        digest = hmac.digest(self._key, f"{user_id}:{password}".encode("utf-8", "surrogatepass"), hashlib.sha256)
        last = self._wrong.pop(user_id, None) or deque(maxlen=_REMEMBERED)
        self._wrong[user_id] = last
        if len(self._wrong) > _USERS_AT_MOST:
            self._wrong.popitem(last=False)
        if digest in last:
            return True
        last.append(digest)
        return False

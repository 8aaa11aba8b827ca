"""How many requests the sign-in service takes in a second, from one address and for the whole tenant.

A sign-in costs four requests, a password reset four and a sign-up six; a one-time passcode by e-mail costs two more.
[Microsoft Learn, "Service limits" of External ID]
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from jitkit.rehearsal.clock import Clock
    from jitkit.rehearsal.setup import Setup

__all__ = ["RESET", "SIGN_IN", "SIGN_UP", "Load"]

SIGN_IN: Final = 4
RESET: Final = 4 + 2
SIGN_UP: Final = 6 + 2


class Load:
    """Count requests within the last second of the tenant's time.

    Args:
        clock: the tenant's clock.
        setup: the tenant's switches.
    """

    def __init__(self, clock: Clock, setup: Setup) -> None:
        self._clock, self._setup = clock, setup
        self._recent: deque[tuple[float, str, int]] = deque()

    def admit(self, ip: str, cost: int) -> bool:
        """Count a journey, unless the tenant or the address has used up its second.

        Args:
            ip: where it comes from.
            cost: how many requests it takes.
        """
        for_tenant, for_ip = self._setup.switch("requests_per_second"), self._setup.switch("requests_per_ip")
        if not (for_tenant or for_ip):
            return True
        now = self._clock.now()
        while self._recent and self._recent[0][0] <= now - 1:
            self._recent.popleft()
        used = sum(each for _, _, each in self._recent)
        used_by_ip = sum(each for _, address, each in self._recent if address == ip)
        if (for_tenant and used + cost > for_tenant) or (for_ip and used_by_ip + cost > for_ip):
            return False
        self._recent.append((now, ip, cost))
        return True

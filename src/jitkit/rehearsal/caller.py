"""What the signing-in side of a tenant keeps while a process runs: connections, bearer tokens, turns, rates."""

from __future__ import annotations

import asyncio
import collections
import secrets
import uuid
import weakref
from dataclasses import dataclass, field
from typing import Any, Final

import httpx

from jitkit.protocol import CALLER_APP_ID, TIMEOUT_MS
from jitkit.rehearsal import identity
from jitkit.rehearsal.calls import CallLog
from jitkit.rehearsal.directory import Directory
from jitkit.rehearsal.faults import Faults
from jitkit.rehearsal.lockout import Lockout
from jitkit.rehearsal.password_context import seal
from jitkit.rehearsal.prerequisites import Target
from jitkit.rehearsal.setup import Setup

_TOKEN_LIFETIME: Final = 3600
_RENEW_BEFORE: Final = 300


@dataclass
class _PerLoop:
    client: httpx.AsyncClient | None = None
    turns: weakref.WeakValueDictionary[str, asyncio.Lock] = field(default_factory=weakref.WeakValueDictionary)


class Caller:
    """Call endpoints on behalf of one tenant.

    Args:
        directory: the tenant's directory.
        faults: what is switched on and may keep a call from arriving.
        calls: where calls are noted.

    `transport` may be set before the first call: requests then go to an endpoint in this process, without a socket.
    """

    def __init__(self, directory: Directory, faults: Faults, calls: CallLog) -> None:
        self.faults, self.calls = faults, calls
        self._directory = directory
        self.clock = directory.clock
        self.transport: httpx.AsyncBaseTransport | None = None
        self.tenant_id = directory.meta("tenant_id") or ""
        self.setup = Setup(directory)
        self.lockout = Lockout(directory, self.setup)
        self.usual_hash = ""
        self._bearers: dict[tuple[object, ...], tuple[float, str]] = {}
        self._recent: collections.deque[float] = collections.deque()
        self._loops: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _PerLoop] = weakref.WeakKeyDictionary()

    def client(self) -> httpx.AsyncClient:
        """Return the HTTP client of the running event loop.

        It keeps no idle connection, so there is nothing to close, and an endpoint may stop and start between two calls.
        """
        here = self._per_loop()
        if here.client is None:
            limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
            seconds, transport = TIMEOUT_MS / 1000, self.transport
            here.client = httpx.AsyncClient(limits=limits, trust_env=False, timeout=seconds, transport=transport)
        return here.client

    def turn(self, user_id: str) -> asyncio.Lock:
        """Return the lock that lets the sign-ins of one user go one after the other."""
        return self._per_loop().turns.setdefault(user_id, asyncio.Lock())

    def admit(self) -> bool:
        """Count one call, unless the tenant already made as many within a second as the service allows.

        [Microsoft Learn, "Service limits" of External ID]; the switch `callouts_per_second` changes the number.
        """
        limit = self.setup.switch("callouts_per_second")
        now = self.clock.now()
        while self._recent and self._recent[0] <= now - 1:
            self._recent.popleft()
        if len(self._recent) >= limit:
            return False
        self._recent.append(now)
        return True

    def bearer(self, target: Target) -> str:
        """Return the token that proves to the endpoint who calls; one token serves until it is about to expire.

        It is encrypted for the extension's app, as every token for an app with a `tokenEncryptionKeyId` is.

        Args:
            target: the extension to call.
        """
        wanted = (
            target.app_id,
            target.resource_id,
            target.token_version,
            target.caller_id,
            target.recipient.thumbprint,
        )
        renew_at, token = self._bearers.get(wanted, (0.0, ""))
        now = self.clock.signing_time()
        if now >= renew_at:
            token = self._issue(target)
            self._bearers = {wanted: (now + _TOKEN_LIFETIME - _RENEW_BEFORE, token)}
        return token

    def _issue(self, target: Target) -> str:
        tenant_id = self.tenant_id
        principal_id = target.caller_id or str(uuid.uuid5(uuid.UUID(tenant_id), CALLER_APP_ID))
        now, uti = int(self.clock.signing_time()), secrets.token_urlsafe(16)
        claims: dict[str, Any] = {
            "iat": now,
            "nbf": now,
            "exp": now + _TOKEN_LIFETIME,
            "oid": principal_id,
            "sub": principal_id,
            "tid": tenant_id,
            "uti": uti,
        }
        if target.token_version == 2:  # [observed]
            issuer = identity.ciam_issuer(self._directory)
            claims |= {"aud": target.app_id, "iss": issuer, "azp": CALLER_APP_ID, "azpacr": "2", "ver": "2.0"}
        else:  # [Microsoft Learn, "Access token claims reference"]
            issuer = f"https://sts.windows.net/{tenant_id}/"
            claims |= {"aud": target.resource_id, "iss": issuer, "appid": CALLER_APP_ID, "appidacr": "2", "ver": "1.0"}
        signed = identity.sign(self._directory, claims, use="callout")
        return seal(target.recipient, signed.encode(), {"xms_hd_uti": uti, "xms_hd_iat": now})

    def _per_loop(self) -> _PerLoop:
        loop = asyncio.get_running_loop()
        found = self._loops.get(loop)
        if found is None:
            found = self._loops[loop] = _PerLoop()
        return found

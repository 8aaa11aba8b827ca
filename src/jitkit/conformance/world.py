"""What a case works with: the issuer, the legacy store, and calls to the endpoint under test."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from dataclasses import dataclass, field
from typing import Any, Final

import httpx

from jitkit import protocol
from jitkit.conformance.case import Failed, Skipped, TooSlow
from jitkit.conformance.config import Config
from jitkit.conformance.issuer import Issuer
from jitkit.conformance.launcher import Launcher
from jitkit.conformance.legacy import Account, Legacy
from jitkit.conformance.tokens import encrypt, unsigned

__all__ = ["USER", "Call", "Reply", "Untrusted", "World"]

LIMIT: Final = protocol.TIMEOUT_MS / 1000
# The directory account that every callout is about.
USER: Final = "0c8f2f8e-5d0a-4a0e-8a7b-9d3a5a0f1e11"
# Longer than that is no answer at all: the case says so.
_PATIENCE: Final = 8.0


class Untrusted(Failed):
    """There is no TLS with the endpoint, and waiting will not mend that."""


@dataclass(frozen=True)
class Reply:
    """What the endpoint answered, and after how many seconds."""

    status: int
    headers: httpx.Headers = field(repr=False)
    body: bytes = field(repr=False)
    seconds: float

    def json(self) -> Any:
        """Read the body; None when it is not JSON."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None


@dataclass
class Call:
    """One request, good unless a case spoils it.

    Args:
        account: whose password it holds.
        nonce: the nonce inside the password context.
        body: the envelope; bytes are sent as they are.
        token: the bearer token; None sends none.
        headers: further headers.
        method: the HTTP method.
    """

    account: Account
    nonce: str = field(repr=False)
    body: Any = field(repr=False)
    token: str | None = field(repr=False)
    headers: dict[str, str] = field(default_factory=dict, repr=False)
    method: str = "POST"


class World:
    """Hold one run.

    Args:
        config: about the endpoint under test.
        url: where it listens.
        issuer: the suite's issuer, serving.
        legacy: the suite's legacy store, serving; None when the endpoint asks its own.
        launcher: starts further endpoints with other settings; None when the suite did not start this one.
    """

    def __init__(
        self,
        config: Config,
        url: str,
        issuer: Issuer,
        legacy: Legacy | None,
        launcher: Launcher | None = None,
    ) -> None:
        self.config = config
        self.url = url
        self.issuer = issuer
        self.legacy = legacy
        self.launcher = launcher
        self.http = httpx.AsyncClient(
            trust_env=False, timeout=_PATIENCE, limits=httpx.Limits(max_connections=400, max_keepalive_connections=50)
        )
        self.well = True
        self.patience = 65.0
        self.passwords: set[str] = set()
        self.usernames: set[str] = set()
        self.nonces: set[str] = set()
        self.tokens: set[str] = set()

    def feature(self, name: str) -> bool:
        """Tell whether the endpoint has a feature."""
        return bool(self.config.features[name])

    def scripted(self) -> Legacy:
        """Return the suite's legacy store.

        Raises:
            Skipped: the endpoint asks its own.
        """
        if self.legacy is None:
            raise Skipped("the endpoint asks its own legacy store, which the suite cannot make misbehave")
        return self.legacy

    def account(self, kind: str = "right", **changes: Any) -> Account:
        """Return somebody new in the suite's store, or the configured account of this kind in the endpoint's own.

        Raises:
            Skipped: the endpoint asks its own store, and the configuration names no such account.
        """
        if self.legacy is None:
            if kind not in self.config.accounts or changes:
                raise Skipped(f"the configuration names no account of the kind {kind!r}")
            account = Account(*self.config.accounts[kind])
        else:
            name = uuid.uuid4().hex[:10]
            fresh: dict[str, Any] = {"username": f"case-{name}@conformance.example", "password": f"Canary-{name}!Pa55"}
            says: dict[str, dict[str, Any]] = {
                "weak": {"password": f"weak{name[:5]}"},
                "wrong": {},
                "unknown": {"password": None},
                "must_change": {"says": "right_must_change"},
            }
            account = Account(**{**fresh, **says.get(kind, {"says": kind}), **changes})
            self.legacy.add(account)
        self.usernames.add(account.username)
        return account

    def typed(self, account: Account, kind: str = "right") -> str:
        """Return what the person types."""
        if self.legacy is None:
            return account.password or ""
        return f"Canary-near-miss-{uuid.uuid4().hex[:8]}!A1" if kind in ("wrong", "unknown") else account.password or ""

    def claims(self, account: Account, password: Any = ..., **changes: Any) -> dict[str, Any]:
        """Return the claims of a good password context; a change to None leaves one out."""
        now = int(time.time())
        typed = (account.password or self.typed(account, "unknown")) if password is ... else password
        claims = {
            protocol.CLAIM_PASSWORD: typed,
            protocol.CLAIM_USERNAME: account.username,
            protocol.CLAIM_NONCE: str(uuid.uuid4()),
            "aud": self.config.app_id,
            "iss": self.config.identifier_uri,
            "iat": now,
            "nbf": now,
            "exp": now + 600,
        } | {name.replace("_", "-"): value for name, value in changes.items()}
        return {name: value for name, value in claims.items() if value is not None}

    def call(
        self,
        account: Account | None = None,
        *,
        claims: dict[str, Any] | None = None,
        context: Any = ...,
        token: Any = ...,
        headers: dict[str, str] | None = None,
        **data: Any,
    ) -> Call:
        """Compose a good call, with parts replaced.

        Args:
            account: whose; somebody new with the right password by default.
            claims: the claims inside the context.
            context: what stands in place of the encrypted context.
            token: the bearer token, or None for none.
            headers: further headers.
            data: members of the envelope's `data` to replace.
        """
        person = account or self.account()
        inside = self.claims(person) if claims is None else claims
        nonce, password = inside.get(protocol.CLAIM_NONCE), inside.get(protocol.CLAIM_PASSWORD)
        if isinstance(password, str) and len(password) > 7:
            self.passwords.add(password)
        if isinstance(nonce, str) and nonce:
            self.nonces.add(nonce)
        if context is ...:
            context = encrypt(unsigned(inside), self.config.key)
        bearer = self.issuer.bearer() if token is ... else token
        self.tokens |= {secret for secret in (context, bearer) if isinstance(secret, str) and len(secret) > 80}
        return Call(person, str(nonce), self.envelope(context, **data), bearer, headers or {})

    def envelope(self, context: Any, **data: Any) -> dict[str, Any]:
        """Compose the body in the captured shape; `data` replaces members of `data`, with `odata_type` for the type."""
        client = "7d2bb0f5-17c1-4a6a-a6b7-0b4f3c9e2a22"
        if "odata_type" in data:
            data["@odata.type"] = data.pop("odata_type")
        principal = {"id": client, "appId": client, "appDisplayName": "Shop", "displayName": "Shop"}
        inside = {
            "@odata.type": protocol.CALLOUT_DATA_TYPE,
            "tenantId": self.config.tenant_id,
            "authenticationEventListenerId": self.config.listener_id or "9a1c3f52-0d8e-4a56-b7c1-2f6f5d0c3b33",
            "customAuthenticationExtensionId": self.config.extension_id or "3e5b7d94-6f21-4c0b-9a8d-8f1e0d2c4b44",
            "encryptedPasswordContext": context,
            "authenticationContext": {
                "correlationId": str(uuid.uuid4()),
                "client": {"ip": "192.0.2.7", "locale": "en-us", "market": "en-us"},
                "protocol": "OAUTH2.0",
                "clientServicePrincipal": principal,
                "resourceServicePrincipal": None,
                "user": {"id": USER, "userPrincipalName": f"{USER}@contoso.onmicrosoft.com", "userType": "Member"},
            },
            "userSignUpInfo": None,
            "otpContext": None,
        } | data
        source = f"/tenants/{self.config.tenant_id}/applications/{client}"
        return {"type": protocol.EVENT_TYPE, "source": source, "data": inside}

    async def send(self, call: Call, *, url: str = "") -> Reply:
        """Send a call.

        Raises:
            Failed: there was no answer.
        """
        headers = {"content-type": "application/json"} | call.headers
        if call.token is not None:
            headers = {"authorization": f"Bearer {call.token}"} | headers
        content = call.body if isinstance(call.body, bytes) or call.body is None else json.dumps(call.body).encode()
        started = time.perf_counter()
        try:
            answer = await self.http.request(call.method, url or self.url, content=content, headers=headers)
        except httpx.TimeoutException:
            raise TooSlow(f"no answer within {_PATIENCE:.0f} s") from None
        except httpx.TransportError as error:
            if "[SSL" in str(error):
                unknown = "CERTIFICATE_VERIFY_FAILED" in str(error)
                raise Untrusted("its certificate cannot be verified" if unknown else "TLS failed") from None
            raise Failed(f"no answer: the connection ended ({type(error).__name__})") from None
        return Reply(answer.status_code, answer.headers, answer.content, time.perf_counter() - started)

    async def settle(self) -> None:
        """Wait until a good call passes again: after faults, an endpoint's breaker may still be open.

        Raises:
            Failed: it does not pass within that time.
        """
        until = time.monotonic() + (self.patience if self.well else 0)
        while True:
            reply = await self.send(self.call())
            self.well = b"migratepassword" in reply.body.lower()
            if self.well:
                return
            if time.monotonic() > until:
                raise Failed("a good call does not pass, although the legacy store is well")
            await asyncio.sleep(0.5)

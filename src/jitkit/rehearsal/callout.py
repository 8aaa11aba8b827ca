"""Composes the password-submit callout and sends it to the endpoint, as Entra does.

[Microsoft Learn, "Just-in-time password migration" and "Troubleshoot custom authentication extensions"]
"""

from __future__ import annotations

import asyncio
import collections
import json
import math
import secrets
import uuid
import weakref
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final
from urllib.parse import urlsplit

import httpx

from jitkit import protocol
from jitkit.errors import NotReady
from jitkit.explanations import CALLOUT_ERRORS
from jitkit.rehearsal import identity
from jitkit.rehearsal.callout_messages import Action, Unusable, judge, password_context, read, seal
from jitkit.rehearsal.clock import timestamp
from jitkit.rehearsal.directory import Body, Directory, User, new_id
from jitkit.rehearsal.state import State
from jitkit.rehearsal.tenant_setup import (
    LOOPBACK,
    ClientApp,
    Refused,
    Target,
    callout_target,
    client_app,
    coverage,
    only_app_id,
)

_TOKEN_LIFETIME: Final = 3600
_RENEW_BEFORE: Final = 300
# Which failures are tried a second time is not published; these are the transient ones.
_TRANSIENT: Final = frozenset({429, 500, 502, 503, 504})
_USER_PROPERTIES: Final = ("companyName", "displayName", "givenName", "mail", "preferredLanguage", "surname")
_DEFAULT_TIMEOUT_MS: Final = 1000  # [Microsoft Graph v1.0: customExtensionClientConfiguration]


@dataclass(frozen=True)
class Callout:
    """One request to an endpoint, exactly as a sign-in sends it."""

    target_url: str  # the public address that the extension names
    base_url: str | None  # the loopback address that its host leads to; None when nothing is published there
    headers: dict[str, str] = field(repr=False)  # they hold the bearer token
    body: Body = field(repr=False)
    context: str = field(repr=False)  # the encrypted password context in the body
    nonce: str = field(repr=False)  # what the answer has to repeat
    timeout: float  # seconds to wait for each attempt
    retries: int  # further attempts after a transient failure


@dataclass(frozen=True)
class Verdict:
    """The outcome of a callout."""

    started: float
    attempts: int
    action: Action | None = None
    error: int | None = None
    http_status: int | None = 200
    detail: str = ""


def gateway_name(host: str) -> str:
    """Name the fact that says what stands in front of a public host, as JSON with up to two members.

    `guarded`: a gateway wants a token that it can read, and answers 401. It cannot read an encrypted one [observed: the
    built-in authentication of a web app, once tokenEncryptionKeyId is set]. `seconds`: how much longer a request takes.
    """
    return f"gateway:{host.lower()}"


class Caller:
    """Calls endpoints for one tenant.

    `transport` may be set before the first call: requests then go to an endpoint in this process, without a socket.
    """

    def __init__(self, state: State) -> None:
        self._state = state
        self._directory, self._clock = state.directory, state.clock
        self.transport: httpx.AsyncBaseTransport | None = None
        self._tenant_id = state.directory.meta("tenant_id") or ""
        self._bearers: dict[tuple[object, ...], tuple[float, str]] = {}
        self._recent: collections.deque[float] = collections.deque()
        self._clients: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, httpx.AsyncClient] = (
            weakref.WeakKeyDictionary()
        )

    # --- what is sent ----------------------------------------------------------------------------------------------

    def compose(
        self, username: str, password: str, *, client_app_id: str | None = None, nonce: str | None = None
    ) -> Callout:
        """Build the request that a sign-in would send, without sending it."""
        self._state.refresh()
        app_id = (client_app_id or only_app_id(self._directory)).lower()
        try:
            client = client_app(self._state, app_id)
        except Refused as refused:
            raise NotReady(refused.reason, next_step="Complete the test client first (notebook 02).") from None
        listener, _ = coverage(self._state, app_id)
        if not listener:
            raise NotReady(f"No listener includes {client.name}.", next_step="Create the listener first (notebook 03).")
        user = self._directory.user_by_sign_in_name(username.strip()) or _invented(self._directory, username)
        return self.build(client, listener, user, username, password, nonce=nonce)

    def build(
        self,
        client: ClientApp,
        listener: Body,
        user: User,
        username: str,
        password: str,
        *,
        nonce: str | None = None,
        correlation_id: str | None = None,
        ip: str = "127.0.0.1",
    ) -> Callout:
        """Build the request for a password that was submitted for a user, in an app that a listener covers."""
        nonce = nonce or new_id()
        target = callout_target(self._state, listener)
        context = password_context(
            target.recipient,
            username=username,
            password=password,
            nonce=nonce,
            audience=target.app_id,
            issuer=target.resource_id,
            now=self._clock.signing_time(),
        )
        sent = {
            "authenticationEventListenerId": listener["id"],
            "customAuthenticationExtensionId": target.extension_id,
            "encryptedPasswordContext": context,
        }
        return Callout(
            target_url=target.url,
            base_url=self._reachable(target.url),
            headers={
                "Host": urlsplit(target.url).netloc,
                "Authorization": f"Bearer {self._bearer(target)}",
                "Content-Type": "application/json",
            },
            body=_envelope(self._tenant_id, client, user, sent, correlation_id or new_id(), ip),
            context=context,
            nonce=nonce,
            timeout=_seconds_allowed(target.client_configuration),
            retries=min(int(target.client_configuration.get("maximumRetries") or 0), protocol.MAXIMUM_RETRIES),
        )

    def _bearer(self, target: Target) -> str:
        """Return the token that shows the endpoint who calls; one token is used until it is about to expire."""
        thumbprint = target.recipient.thumbprint
        wanted = (target.app_id, target.resource_id, target.token_version, target.caller_id, thumbprint)
        renew_at, token = self._bearers.get(wanted, (0.0, ""))
        now = self._clock.signing_time()
        if now >= renew_at:
            token = self._issue(target, int(now))
            self._bearers = {wanted: (now + _TOKEN_LIFETIME - _RENEW_BEFORE, token)}
        return token

    def _issue(self, target: Target, now: int) -> str:
        """Sign a token and encrypt it, as every token for an app with a `tokenEncryptionKeyId` is."""
        app_id, tenant_id = protocol.CALLER_APP_ID, self._tenant_id
        principal_id = target.caller_id or str(uuid.uuid5(uuid.UUID(tenant_id), app_id))
        uti = secrets.token_urlsafe(16)
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
            claims |= {"aud": target.app_id, "iss": issuer, "azp": app_id, "azpacr": "2", "ver": "2.0"}
        else:  # [Microsoft Learn, "Access token claims reference"]
            issuer = f"https://sts.windows.net/{tenant_id}/"
            claims |= {"aud": target.resource_id, "iss": issuer, "appid": app_id, "appidacr": "2", "ver": "1.0"}
        signed = identity.sign(self._directory, claims, use="callout")
        return seal(target.recipient, signed.encode(), {"xms_hd_uti": uti, "xms_hd_iat": now})

    # --- how it is sent --------------------------------------------------------------------------------------------

    async def call(self, callout: Callout) -> Verdict:
        """Send a callout as a sign-in does: within the time allowed, and the same request again if that may help."""
        started, attempts = self._clock.now(), 0
        while True:
            attempts += 1
            try:
                action = await self._attempt(callout)
            except Unusable as problem:
                transient = problem.error in (1003005, 1003027) or problem.http_status in _TRANSIENT
                if transient and attempts <= callout.retries:
                    continue
                sent = attempts - (problem.error == 1003004)
                return Verdict(started, sent, None, problem.error, problem.http_status, problem.detail)
            return Verdict(started, attempts, action)

    async def reach(self, url: str, method: str) -> httpx.Response:
        """Send a request without a body to a public address, over the route that a callout takes."""
        self._state.refresh()
        request = self._request(method, url, self._reachable(url), {"Host": urlsplit(url).netloc})
        began = self._clock.stopwatch()
        try:
            response = await self._send(request)
        except Unusable as fault:
            raise httpx.ConnectError(fault.detail) from None
        try:
            await response.aread()
        finally:
            await response.aclose()
        response.elapsed = timedelta(seconds=self._clock.stopwatch() - began)
        return response

    def admit(self) -> bool:
        """Count one call, unless the tenant already made as many within a second as the service allows.

        [Microsoft Learn, "Service limits" of External ID]
        """
        now = self._clock.now()
        while self._recent and self._recent[0] <= now - 1:
            self._recent.popleft()
        if len(self._recent) >= protocol.CALLS_PER_SECOND:
            return False
        self._recent.append(now)
        return True

    async def _attempt(self, callout: Callout) -> Action:
        if not self.admit():
            raise Unusable(1003004, "The tenant makes too many callouts at once.")
        try:
            async with asyncio.timeout(callout.timeout):
                content = json.dumps(callout.body).encode()
                request = self._request("POST", callout.target_url, callout.base_url, callout.headers, content)
                response = await self._send(request, allowed=callout.timeout)
                try:
                    return judge(response, await read(response), callout.nonce)
                finally:
                    await response.aclose()
        except (TimeoutError, httpx.TimeoutException):
            raise Unusable(1003005, f"There was no answer within {callout.timeout * 1000:.0f} ms.") from None
        except (httpx.TransportError, httpx.InvalidURL) as problem:
            detail = str(problem) or f"The connection broke ({type(problem).__name__})."
            raise Unusable(1003027, detail) from None

    def _request(
        self, method: str, url: str, base_url: str | None, headers: Mapping[str, str], content: bytes | None = None
    ) -> httpx.Request:
        parts = urlsplit(url)
        if base_url is None:
            raise httpx.ConnectError(f"The host {parts.hostname} leads nowhere.")
        path = parts.path + (f"?{parts.query}" if parts.query else "")
        return self._client().build_request(method, base_url + path, headers=dict(headers), content=content)

    async def _send(self, request: httpx.Request, *, allowed: float = math.inf) -> httpx.Response:
        """Send a request past the faults and the gateway of its host; the answer is not read yet."""
        for fault in self._state.faults.met("endpoint"):
            raise Unusable(fault.error, f"The service reports {CALLOUT_ERRORS[fault.error]}.")
        status: int | None = None
        try:
            host = request.headers["Host"].partition(":")[0]
            gateway = self._state.once(
                "gateway", host, lambda: json.loads(self._directory.meta(gateway_name(host)) or "{}")
            )
            await self._clock.take(gateway.get("seconds", 0.0), allowed=allowed)
            if gateway.get("guarded"):
                response = httpx.Response(401, headers={"WWW-Authenticate": "Bearer"}, request=request)
            else:
                response = await self._client().send(request, stream=True)
            status = response.status_code
            return response
        finally:
            self._state.note_call("endpoint", request.method, request.url.path, status)

    def _reachable(self, url: str) -> str | None:
        """Return the loopback address behind a public one, or None. Nothing else is ever called."""
        parts = urlsplit(url)
        if parts.hostname in LOOPBACK:
            return f"{parts.scheme}://{parts.netloc}"
        published = self._state.once("publications", "", self._directory.publications)
        base_url = published.get(parts.hostname or "")
        return base_url if base_url and urlsplit(base_url).hostname in LOOPBACK else None

    def _client(self) -> httpx.AsyncClient:
        """Return the HTTP client of the running event loop.

        It keeps no idle connection, so there is nothing to close, and an endpoint may stop and start between two calls.
        """
        loop = asyncio.get_running_loop()
        client = self._clients.get(loop)
        if client is None:
            limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
            seconds, transport = protocol.TIMEOUT_MS / 1000, self.transport
            client = httpx.AsyncClient(limits=limits, trust_env=False, timeout=seconds, transport=transport)
            self._clients[loop] = client
        return client


def _invented(directory: Directory, username: str) -> User:
    id, now = new_id(), directory.clock.now()
    body = {"mail": username, "displayName": username, "createdDateTime": timestamp(now)}
    upn = f"{id}@{directory.meta('domain')}"
    return User(id=id, upn=upn, sign_in_name=username, password_hash="", body=body, created=now)


def _envelope(tenant_id: str, client: ClientApp, user: User, sent: Body, correlation_id: str, ip: str) -> Body:
    given = {name: user.body[name] for name in _USER_PROPERTIES if user.body.get(name)}
    return {
        "type": protocol.EVENT_TYPE,
        "source": f"/tenants/{tenant_id}/applications/{client.app_id}",
        "data": {
            "@odata.type": protocol.CALLOUT_DATA_TYPE,
            "tenantId": tenant_id,
            **sent,
            "authenticationContext": {
                "correlationId": correlation_id,
                "client": {"ip": ip, "locale": "en-us", "market": "en-us"},
                "protocol": "OAUTH2.0",
                "clientServicePrincipal": {
                    "id": client.principal_id,
                    "appId": client.app_id,
                    "appDisplayName": client.name,
                    "displayName": client.name,
                },
                "resourceServicePrincipal": None,
                "user": {
                    **given,
                    "createdDateTime": user.body.get("createdDateTime"),
                    "id": user.id,
                    "userPrincipalName": user.upn,
                    "userType": user.body.get("userType") or "Member",
                },
            },
            "userSignUpInfo": None,
            "otpContext": None,
        },
    }


def _seconds_allowed(client_configuration: Body) -> float:
    milliseconds = client_configuration.get("timeoutInMilliseconds")
    return min(_DEFAULT_TIMEOUT_MS if milliseconds is None else int(milliseconds), protocol.TIMEOUT_MS) / 1000

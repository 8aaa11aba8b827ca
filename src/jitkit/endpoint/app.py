"""Serves the endpoint as an ASGI application: one route, GET for health and POST for the callout.

A decision is always status 200 [how-to]. A request that gets no decision gets a status, and no hint of the cause: that
is in the ledger.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Final

import httpx
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from jitkit.endpoint.caller import Callers, SigningKeys
from jitkit.endpoint.crypto import Envelope, PasswordContext, in_thread, open_context, read_envelope, thumbprint_in
from jitkit.endpoint.decision import Answer, Refused, answer_to, body_of, failure
from jitkit.endpoint.guard import Guard
from jitkit.endpoint.keys import HeldKeys
from jitkit.endpoint.ledger import Counters, Entry, Ledger, MigratedUsers, log_unexpected
from jitkit.endpoint.settings import GUID, Settings
from jitkit.endpoint.stores import LegacyStore, Maps, Prepares, Verdict, open_store
from jitkit.endpoint.telemetry import Telemetry
from jitkit.protocol import MIGRATE

_log = logging.getLogger(__name__)

ROUTE: Final = "/api/JitMigrationEndpoint"
# In a request's scope: that Entra's token was found good, for the server around the application.
ADMITTED: Final = "jitkit.admitted"

_LARGEST_BODY: Final = 64 * 1024
_AT_ONCE: Final = 500  # requests in progress; one more is refused
_NO_STORE: Final = {"cache-control": "no-store"}
_START_SECONDS, _EXPIRES_SOON_DAYS, _CLOCK_OFF_SECONDS = 5.0, 30, 60
# Refusals that need attention: a key that was forgotten, an attack, a clock.
_ALARMS: Final = (
    *("clock_skew", "decrypt_failed", "extension", "listener", "nonce_replayed", "nonce_reused", "plain_http"),
    *("plaintext_context", "tenant", "unknown_key"),
)


@dataclass(frozen=True)
class Clock:
    """The time that the endpoint judges by and writes down; deadlines and delays go by the event loop's time.

    No setting reaches it, because a clock from outside would let expired tokens in.
    """

    now: Callable[[], float] = time.time  # seconds since the epoch: tokens, contexts, certificates, ledger
    monotonic: Callable[[], float] = time.perf_counter  # seconds that only go forward: nonces, limiter, breaker, keys


@dataclass
class _Call:
    """What is known about one call so far."""

    due: float
    entry: Entry
    nonce: str | None = field(default=None, repr=False)
    admitted: bool = False

    def note_ids(self, envelope: Envelope) -> None:
        """Note ids for the ledger: what does not look like an id could be a name, and is dropped."""
        for name in ("correlation_id", "user_id", "app_id"):
            value = getattr(envelope, name)
            setattr(self.entry, name, value if value and GUID.fullmatch(value) else None)
        self.entry.key = thumbprint_in(envelope.password_context)

    def answer(self, answer: Answer) -> Response:
        """Respond with a decision, or with status 500 where it is not known which nonce to repeat."""
        self.entry.cause = answer.cause
        if self.nonce is None:
            return self.response(500, b"{}")
        self.entry.action = answer.action
        return self.response(200, body_of(answer, self.nonce))

    def response(self, status: int, body: bytes) -> Response:
        headers = dict(_NO_STORE)
        if self.entry.correlation_id:
            headers["x-correlation-id"] = self.entry.correlation_id
        if status == 401:
            headers["www-authenticate"] = "Bearer"
        return Response(body, status, headers, "application/json")


def create_app(
    settings: Settings,
    *,
    http: httpx.AsyncClient | None = None,
    store: LegacyStore | None = None,
    clock: Clock = Clock(),
) -> Starlette:
    """Make the endpoint: it fetches the signing keys when it starts, and closes what it opened when it stops.

    Args:
        settings: what `Settings.from_environment` read.
        http: the client that fetches metadata documents, and nothing else; the default goes to the network.
        store: the legacy store; the default is the one that the settings name.
        clock: the time to go by; the machine's by default.

    Raises:
        SettingsError: the legacy store, the ledger or the telemetry cannot be opened.
    """
    endpoint = _Endpoint(settings, http, store or _open(settings), clock)
    app = Starlette(
        routes=[Route(ROUTE, endpoint.handle, methods=["GET", "POST"])],
        lifespan=endpoint.lifespan,
        exception_handlers=dict.fromkeys((404, 405), _nothing_here),
    )
    app.router.redirect_slashes = False  # a redirect would lead to whatever host the request names
    return app


def _open(settings: Settings) -> LegacyStore:
    return open_store(settings.legacy_url, settings.legacy_query, settings.legacy_pepper)


def _telemetry(settings: Settings) -> Telemetry | None:
    if settings.telemetry == "off":
        return None
    names_users = settings.telemetry == "users"
    return Telemetry(
        settings.telemetry_connection, ROUTE, names_users=names_users, sends_requests=settings.sends_requests
    )


async def _nothing_here(_: Request, error: Exception) -> Response:
    status, headers = getattr(error, "status_code", 404), getattr(error, "headers", None) or {}
    return Response(b"{}", status, {**headers, **_NO_STORE}, "application/json")


class _Endpoint:
    def __init__(self, settings: Settings, http: httpx.AsyncClient | None, store: LegacyStore, clock: Clock) -> None:
        self._settings = settings
        self._now, self._monotonic = clock.now, clock.monotonic
        client = httpx.AsyncClient() if http is None else http
        self._own_client = client if http is None else None
        self._store, self._maps = store, store if isinstance(store, Maps) else None
        self._ledger = Ledger(settings.ledger, clock.monotonic)
        self._telemetry = _telemetry(settings)
        self._migrated = MigratedUsers(settings.ledger)
        self._counters = Counters(clock.monotonic)
        decide = partial(answer_to, accept_weak=settings.accept_weak, migrate_mfa=settings.migrate_mfa)
        self._guard = Guard(self._ask, decide, settings.limits, self._counters, clock.monotonic)
        urls = settings.openid_configuration
        self._in_progress = 0
        self._signing_keys = SigningKeys(urls, client, clock.now, clock.monotonic)
        self._keys = HeldKeys(settings.keys, settings.read_keys, clock.monotonic)
        self._callers = Callers(settings, self._signing_keys, self._keys, clock.now)

    @asynccontextmanager
    async def lifespan(self, _: Starlette) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            stack.callback(self._counters.close)
            stack.callback(self._ledger.close)
            if self._telemetry:
                stack.push_async_callback(self._telemetry.close)
            stack.push_async_callback(self._store.close)
            if self._own_client:
                stack.push_async_callback(self._own_client.aclose)
            await self._signing_keys.load(_START_SECONDS)
            days = self._settings.keys[0].days_left(self._moment())
            if days is not None and days < _EXPIRES_SOON_DAYS:
                _log.warning("the decryption certificate ends in %d days", days)
            if isinstance(self._store, Prepares):
                preparing = asyncio.create_task(self._store.prepare(self._settings.deadline))
                stack.callback(preparing.cancel)
            yield

    async def handle(self, request: Request) -> Response:
        return await (self._callout(request) if request.method == "POST" else self._health(request))

    async def _health(self, request: Request) -> Response:
        """Report that the process serves, and what an operator has to fix in time. Nothing of it helps a stranger."""
        health: dict[str, object] = {"status": "ok"}
        thumbprint = request.query_params.get("x5t")
        keys = await self._keys.with_key(thumbprint)
        health["keys_end"] = [key.not_after and key.not_after.date().isoformat() for key in keys]
        if (days := (self._keys.in_use or keys[0]).days_left(self._moment())) is not None:
            health["certificate_days_left"] = days
        if abs(off := self._signing_keys.clock_off or 0.0) > _CLOCK_OFF_SECONDS:
            health["clock_seconds_ahead"] = round(off)
        if thumbprint:  # asked before Entra is switched to a new key
            health["has_key"] = self._keys.get(thumbprint) is not None
        return JSONResponse(health, headers=_NO_STORE)

    def _moment(self) -> datetime:
        return datetime.fromtimestamp(self._now(), UTC)

    async def _callout(self, request: Request) -> Response:
        started = self._monotonic()
        due = asyncio.get_running_loop().time() + self._settings.deadline
        now = self._moment().isoformat(timespec="milliseconds")
        call = _Call(due, Entry(time=now, legacy=self._store.kind))
        self._in_progress += 1
        try:
            if self._in_progress > _AT_ONCE:
                raise Refused(503, "crowded")
            response = await self._decide(request, call)
        except Refused as refusal:
            call.entry.cause = refusal.cause
            if refusal.cause in _ALARMS:
                self._counters.count(refusal.cause)
            response = call.response(refusal.status, b"{}")
        except Exception as error:  # noqa: BLE001 - a sign-in must end in an answer, whatever went wrong
            log_unexpected(error)
            response = call.answer(failure("unexpected"))
        finally:
            self._in_progress -= 1
        call.entry.duration_ms = round((self._monotonic() - started) * 1000, 1)
        if call.admitted or self._ledger.may_write_of_strangers():
            self._ledger.write(call.entry)
            if self._telemetry:
                key = self._keys.in_use or self._settings.keys[0]
                self._telemetry.write(call.entry, response.status_code, key.days_left(self._moment()))
        else:
            self._counters.count("ledger_lines_of_strangers_left_out")
        return response

    async def _decide(self, request: Request, call: _Call) -> Response:
        try:
            async with asyncio.timeout_at(call.due):
                if self._settings.behind_tls and not _came_by_tls(request):
                    raise Refused(403, "plain_http")
                await self._callers.admit(request.headers.getlist("authorization"))
                call.admitted = request.scope[ADMITTED] = True
                if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
                    raise Refused(415, "content_type")
                envelope = read_envelope(await _body(request))
                call.note_ids(envelope)
                self._check_ids(envelope)
                context = await self._open(envelope.password_context, call.entry.key)
        except TimeoutError:
            raise Refused(503, "request_timeout") from None
        call.nonce = context.nonce
        self._check_certificate_and_issuer(context)
        answer, attempt = await self._guard.answer(context, call.due, envelope.user_id)
        call.entry.attempt = attempt
        response = call.answer(answer)
        if attempt == 1 and answer.action == MIGRATE and self._migrated.add(call.entry.user_id):
            call.entry.cause = "flag_stuck"
            self._counters.count("flag_stuck")
        elif attempt == 1 and answer.cause == Verdict.OTHER_USER:
            self._counters.count(answer.cause)
        return response

    async def _open(self, token: str, thumbprint: str | None) -> PasswordContext:
        settings = self._settings
        keys = await self._keys.with_key(thumbprint)
        audiences = (settings.extension_app_id, settings.identifier_uri)
        opened = partial(open_context, audiences=audiences, now=self._now(), flat=settings.flat_context)
        context = await in_thread(lambda: opened(token, keys))
        self._keys.in_use = self._keys.get(thumbprint) or keys[0]
        return context

    async def _ask(self, context: PasswordContext, user_id: str) -> Verdict:
        if self._maps is not None:
            return await self._maps.verify_for(user_id, context.username, context.password)
        return await self._store.verify(context.username, context.password)

    def _check_ids(self, envelope: Envelope) -> None:
        """Refuse other tenants, and other extensions and listeners where the settings name ours."""
        settings = self._settings
        if envelope.tenant_id.lower() != settings.tenant_id:
            raise Refused(403, "tenant")
        if settings.extension_ids and (envelope.extension_id or "").lower() not in settings.extension_ids:
            raise Refused(403, "extension")
        if settings.listener_ids and (envelope.listener_id or "").lower() not in settings.listener_ids:
            raise Refused(403, "listener")

    def _check_certificate_and_issuer(self, context: PasswordContext) -> None:
        """Count calls after the certificate's end, and contexts of another issuer, as is observed, not documented."""
        ends = self._keys.in_use.not_after if self._keys.in_use else None
        if ends is not None and ends.timestamp() < self._now():
            self._counters.count("certificate_ended")
        if (context.issuer or "").lower() != self._settings.identifier_uri.lower():
            if self._settings.require_issuer:
                raise Refused(400, "context_issuer")
            self._counters.count("context_issuer")


def _came_by_tls(request: Request) -> bool:
    """Return whether the front end says that the request came to it by TLS, all the way."""
    forwarded = ",".join(request.headers.getlist("x-forwarded-proto")).split(",")
    return all(value.strip().lower() == "https" for value in forwarded)


async def _body(request: Request) -> bytes:
    """Read the body, and stop as soon as it is too large."""
    length = request.headers.get("content-length", "")
    # A header may hold digits that are none in ASCII, or more of them than int() takes.
    if length.isascii() and length.isdigit() and (len(length) > 9 or int(length) > _LARGEST_BODY):
        raise Refused(413, "too_large")
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > _LARGEST_BODY:
                raise Refused(413, "too_large")
    except ClientDisconnect:
        raise Refused(400, "disconnected") from None
    return bytes(body)

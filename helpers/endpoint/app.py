"""The endpoint as an ASGI application: one route, a health check and the callout.

A decision is always status 200 [how-to]. A request that gets no decision gets a status, and no hint of the cause: that
is in the ledger.
"""

from __future__ import annotations

import asyncio
import logging
import time
import traceback
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import httpx
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from helpers.endpoint.answer import Answer, answer_to, body_of, failure
from helpers.endpoint.caller import Callers
from helpers.endpoint.config import GUID, Settings
from helpers.endpoint.envelope import Envelope, read_envelope
from helpers.endpoint.guard import Guard
from helpers.endpoint.jose import thumbprint_in
from helpers.endpoint.ledger import Entry, Ledger
from helpers.endpoint.legacy import LegacyStore, open_store
from helpers.endpoint.password_context import PasswordContext, open_context
from helpers.endpoint.refused import Refused
from helpers.endpoint.signing_keys import SigningKeys
from helpers.endpoint.workers import Workers, usable_cores

__all__ = ["ROUTE", "create_app"]

_log = logging.getLogger(__name__)

ROUTE: Final = "/api/JitMigrationEndpoint"

_LARGEST_BODY: Final = 64 * 1024
_START_TIMEOUT: Final = 5.0
_EXPIRES_SOON: Final = 30
_CORRELATION_HEADER: Final = "x-correlation-id"


@dataclass
class _Call:
    """What is known about one call so far."""

    due: float
    entry: Entry
    nonce: str | None = None

    def response(self, status: int, body: bytes) -> Response:
        headers = {_CORRELATION_HEADER: self.entry.correlation_id} if self.entry.correlation_id else {}
        if status == 401:
            headers["www-authenticate"] = "Bearer"
        return Response(body, status, headers, "application/json")


def create_app(
    settings: Settings, *, http: httpx.AsyncClient | None = None, store: LegacyStore | None = None
) -> Starlette:
    """Make the endpoint.

    Args:
        settings: what `Settings.from_environment` read.
        http: the client that fetches metadata documents, and nothing else; the default goes to the network.
        store: the legacy store; the default is the one that the settings name.

    Returns:
        An ASGI application that fetches the signing keys when it starts, and lets go of everything when it stops.

    Raises:
        SettingsError: the legacy store or the ledger cannot be opened.
    """
    endpoint = _Endpoint(settings, http, store or open_store(settings.legacy_url, settings.legacy_query))
    return Starlette(
        routes=[Route(ROUTE, endpoint.handle, methods=["GET", "POST"])],
        lifespan=endpoint.lifespan,
    )


class _Endpoint:
    def __init__(self, settings: Settings, http: httpx.AsyncClient | None, store: LegacyStore) -> None:
        self._settings = settings
        client = httpx.AsyncClient() if http is None else http
        self._own_client = client if http is None else None
        self._store = store
        self._ledger = Ledger(settings.ledger)
        self._guard = Guard()
        self._workers = Workers(usable_cores())
        self._signing_keys = SigningKeys(settings.openid_configuration, client)
        self._callers = Callers(settings, self._signing_keys, self._workers)

    @asynccontextmanager
    async def lifespan(self, _: Starlette) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            stack.callback(self._ledger.close)
            stack.callback(self._workers.close)
            stack.push_async_callback(self._store.close)
            if self._own_client:
                stack.push_async_callback(self._own_client.aclose)
            await self._signing_keys.load(_START_TIMEOUT)
            days = self._settings.keys[0].days_left(datetime.now(UTC))
            if days is not None and days < _EXPIRES_SOON:
                _log.warning("the decryption certificate ends in %d days", days)
            yield

    async def handle(self, request: Request) -> Response:
        return await (self._callout(request) if request.method == "POST" else self._health())

    async def _health(self) -> Response:
        days = self._settings.keys[0].days_left(datetime.now(UTC))
        return JSONResponse({"status": "ok"} | ({} if days is None else {"certificate_days_left": days}))

    async def _callout(self, request: Request) -> Response:
        started = time.perf_counter()
        due = asyncio.get_running_loop().time() + self._settings.deadline
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        call = _Call(due, Entry(time=now, legacy=self._store.kind))
        try:
            response = await self._decide(request, call)
        except Refused as refusal:
            call.entry.cause = refusal.cause
            response = call.response(refusal.status, b"{}")
        except Exception as error:  # noqa: BLE001 - a customer's sign-in must end in an answer, whatever went wrong
            response = self._unexpected(error, call)
        call.entry.duration_ms = round((time.perf_counter() - started) * 1000, 1)
        self._ledger.write(call.entry)
        return response

    async def _decide(self, request: Request, call: _Call) -> Response:
        try:
            async with asyncio.timeout_at(call.due):
                await self._callers.admit(request.headers.getlist("authorization"))
                if _media_type(request) != "application/json":
                    raise Refused(415, "content_type")
                envelope = read_envelope(await _body(request))
                self._note(envelope, call.entry)
                if envelope.data.tenant_id.lower() != self._settings.tenant_id:
                    raise Refused(403, "tenant")
                context = await self._open(envelope.data.encrypted_password_context)
        except TimeoutError:
            raise Refused(503, "request_timeout") from None
        call.nonce = context.nonce
        answer, call.entry.attempt = await self._guard.answer(context, lambda: self._ask(context), call.due)
        call.entry.action, call.entry.cause = answer.action, answer.cause
        return call.response(200, body_of(answer, context.nonce))

    async def _open(self, token: str) -> PasswordContext:
        audiences = (self._settings.extension_app_id, self._settings.identifier_uri)
        return await self._workers.run(
            lambda: open_context(token, self._settings.keys, audiences=audiences, now=time.time())
        )

    async def _ask(self, context: PasswordContext) -> Answer:
        return answer_to(await self._store.verify(context.username, context.password), context.password)

    @staticmethod
    def _note(envelope: Envelope, entry: Entry) -> None:
        """Keep ids for the ledger: what does not look like an id could be a name, and is dropped."""
        context = envelope.data.authentication_context
        application = context.client_service_principal
        entry.correlation_id = _id(context.correlation_id)
        entry.user_id = _id(context.user.id)
        entry.app_id = _id(application.app_id if application else None)
        entry.key = thumbprint_in(envelope.data.encrypted_password_context)

    @staticmethod
    def _unexpected(error: Exception, call: _Call) -> Response:
        """Answer kindly where that is possible. The text of the error stays out of the log: it may hold a secret."""
        place = traceback.extract_tb(error.__traceback__)[-1]
        _log.error("unexpected %s at %s:%s", type(error).__name__, Path(place.filename).name, place.lineno)
        call.entry.cause = "unexpected"
        if call.nonce is None:
            return call.response(500, b"{}")
        answer = failure("unexpected")
        call.entry.action = answer.action
        return call.response(200, body_of(answer, call.nonce))


def _id(value: str | None) -> str | None:
    return value if value and GUID.fullmatch(value) else None


def _media_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def _body(request: Request) -> bytes:
    """Read the body, and stop as soon as it is too large."""
    length = request.headers.get("content-length", "")
    if length.isdigit() and int(length) > _LARGEST_BODY:
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

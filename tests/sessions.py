"""How tests get sessions."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx

from helpers.kit import Session

# The collections of Graph in which a set-up makes its objects.
KINDS = (
    "applications",
    "servicePrincipals",
    "oauth2PermissionGrants",
    "identity/customAuthenticationExtensions",
    "identity/authenticationEventListeners",
    "identity/authenticationEventsFlows",
)

Opening = Callable[[Path], Awaitable[Session]]


class Answering(httpx.AsyncBaseTransport):
    """A tenant some of whose answers a test gives, by a pattern of the method and the path: an error, or a change.

    Put it between a session and its tenant with `answering`; take an entry out again, and the tenant answers itself.
    """

    def __init__(self, inner: httpx.AsyncBaseTransport) -> None:
        self._inner = inner
        self.refused: dict[str, tuple[int, str, str]] = {}  # status, code and message of the error
        self.changed: dict[str, Callable[[Any], Any]] = {}  # makes the body that is answered of the tenant's own
        self.calls: list[str] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        call = f"{request.method} {httpx.URL(request.url).raw_path.decode()}"
        self.calls.append(call)
        for pattern, (status, code, message) in self.refused.items():
            if re.search(pattern, call):
                await request.aread()
                return httpx.Response(status, json={"error": {"code": code, "message": message}}, request=request)
        answer = await self._inner.handle_async_request(request)
        for pattern, change in self.changed.items():
            if re.search(pattern, call):
                body = change(json.loads(await answer.aread()))
                return httpx.Response(answer.status_code, json=body, request=request)
        return answer

    async def aclose(self) -> None:
        await self._inner.aclose()


def answering(session: Session) -> Answering:
    """Put a transport between a session and its tenant that answers what a test says."""
    outer = session.world.graph._transport
    outer._inner = between = Answering(outer._inner)
    return between


DENIED = (403, "Authorization_RequestDenied", "Insufficient privileges to complete the operation.")
NO_LICENCE = (
    403,
    "Authentication_RequestFromNonPremiumTenantOrB2CTenant",
    "Neither tenant is B2C or tenant doesn't have premium license",
)

"""What the routes of the control plane share: the administrator's token, and bodies that are what they should be."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from jitkit.errors import KitError
from jitkit.rehearsal import identity

if TYPE_CHECKING:
    from jitkit.rehearsal.tenant import RehearsalTenant

__all__ = ["Bad", "body", "guarded", "texts"]

Handle = Callable[[Request, "RehearsalTenant"], Awaitable[Response]]


class Bad(Exception):
    """A request is not what it should be; the message says how."""


def guarded(handle: Handle) -> Callable[[Request], Awaitable[Response]]:
    """Let a request in that carries the administrator's token, and put refusals into words."""

    async def let_in(request: Request) -> Response:
        tenant: RehearsalTenant = request.app.state.tenant
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        claims = identity.read_access_token(tenant.directory, token) if scheme.lower() == "bearer" else None
        if claims is None or claims.get("appid") != tenant.directory.meta("admin_client_id"):
            return _refuse(401, "InvalidAuthenticationToken", "The administrator's token is missing or not valid.")
        try:
            return await handle(request, tenant)
        except Bad as problem:
            return _refuse(400, "BadRequest", str(problem))
        except KitError as problem:
            return _refuse(409, type(problem).__name__, f"{problem.happened} {problem.next_step}")

    return let_in


async def body(request: Request) -> dict[str, Any]:
    """Read the JSON object of a request; an empty body is an empty one.

    Raises:
        Bad: it is not a JSON object.
    """
    raw = await request.body()
    try:
        given: Any = json.loads(raw or b"{}")
    except ValueError:
        raise Bad("The body is not JSON.") from None
    if not isinstance(given, dict):
        raise Bad("The body is not a JSON object.")
    return given


async def texts(request: Request, *, required: tuple[str, ...], optional: tuple[str, ...]) -> dict[str, str | None]:
    """Read a JSON object of texts.

    Args:
        request: the request.
        required: the members it must have.
        optional: the members it may have; null and absent are the same.

    Raises:
        Bad: a member is missing or not a text.
    """
    given = await body(request)
    for name in required:
        if not isinstance(given.get(name), str):
            raise Bad(f"The body needs {name}, a text.")
    for name in optional:
        if not isinstance(given.get(name), str | None):
            raise Bad(f"{name} is a text.")
    for name in (*required, *optional):
        if any("\ud800" <= character <= "\udfff" for character in given.get(name) or ""):
            raise Bad(f"{name} holds half a character.")
    return {name: given.get(name) for name in (*required, *optional)}


def _refuse(status: int, code: str, message: str) -> JSONResponse:
    return JSONResponse({"error": {"code": code, "message": message}}, status_code=status)

"""Drive a served stand-in tenant from outside, in any language: sign people in, publish hosts, start afresh.

A real tenant has no such routes. They exist on a served tenant only and ask for the administrator's token.
"""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from helpers.errors import KitError
from helpers.rehearsal import identity, switches
from helpers.rehearsal.prerequisites import LOOPBACK

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from helpers.rehearsal.tenant import RehearsalTenant


def routes() -> list[Route]:
    """List the routes.

    - `POST /rehearsal/sign-in` with `username`, `password` and, if wanted, `client_app_id` and `new_password`: signs
      somebody in and answers with what came of it, the steps included.
    - `PUT /rehearsal/publications/{host}` with `url`: lets `https://{host}` lead to this loopback address.
    - `POST /rehearsal/reset`: makes the tenant untouched again.
    """
    return [
        Route("/rehearsal/sign-in", _guarded(_sign_in), methods=["POST"]),
        Route("/rehearsal/publications/{host}", _guarded(_publish), methods=["PUT"]),
        Route("/rehearsal/reset", _guarded(_reset), methods=["POST"]),
    ]


class _Bad(Exception):
    pass


def _guarded(handle: Callable[[Request, RehearsalTenant], Awaitable[Response]]) -> Callable[..., Awaitable[Response]]:
    async def guarded(request: Request) -> Response:
        tenant: RehearsalTenant = request.app.state.tenant
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        claims = identity.read_access_token(tenant.directory, token) if scheme.lower() == "bearer" else None
        if claims is None or claims.get("appid") != tenant.directory.meta("admin_client_id"):
            return _refuse(401, "InvalidAuthenticationToken", "The administrator's token is missing or not valid.")
        try:
            return await handle(request, tenant)
        except _Bad as problem:
            return _refuse(400, "BadRequest", str(problem))
        except KitError as problem:
            return _refuse(409, type(problem).__name__, f"{problem.happened} {problem.next_step}")

    return guarded


async def _sign_in(request: Request, tenant: RehearsalTenant) -> Response:
    given = await _texts(request, required=("username", "password"), optional=("client_app_id", "new_password"))
    done = await tenant.sign_in(
        given["username"] or "",
        given["password"] or "",
        client_app_id=given["client_app_id"],
        new_password=given["new_password"],
    )
    answer = {name: value for name, value in dataclasses.asdict(done).items() if name != "id_token"}
    return JSONResponse(answer)


async def _publish(request: Request, tenant: RehearsalTenant) -> Response:
    given = await _texts(request, required=("url",), optional=())
    parts = urlsplit(given["url"] or "")
    if parts.scheme not in ("http", "https") or parts.hostname not in LOOPBACK:
        raise _Bad("The url is an http or https address of this machine, such as http://127.0.0.1:7071.")
    tenant.publish(request.path_params["host"], f"{parts.scheme}://{parts.netloc}")
    return Response(status_code=204)


async def _reset(request: Request, tenant: RehearsalTenant) -> Response:
    tenant.reset()
    switches.write(tenant.directory, "allow_loopback", True)
    return Response(status_code=204)


async def _texts(request: Request, *, required: tuple[str, ...], optional: tuple[str, ...]) -> dict[str, str | None]:
    try:
        body: Any = json.loads(await request.body())
    except ValueError:
        raise _Bad("The body is not JSON.") from None
    if not isinstance(body, dict):
        raise _Bad("The body is not a JSON object.")
    for name in required:
        if not isinstance(body.get(name), str):
            raise _Bad(f"The body needs {name}, a text.")
    for name in optional:
        if not isinstance(body.get(name), str | None):
            raise _Bad(f"{name} is a text.")
    for name in (*required, *optional):
        if any("\ud800" <= character <= "\udfff" for character in body.get(name) or ""):
            raise _Bad(f"{name} holds half a character.")
    return {name: body.get(name) for name in (*required, *optional)}


def _refuse(status: int, code: str, message: str) -> JSONResponse:
    return JSONResponse({"error": {"code": code, "message": message}}, status_code=status)

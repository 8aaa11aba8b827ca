"""Drive a served stand-in tenant from outside, in any language: sign people in, publish hosts, start afresh.

A real tenant has no such routes. They exist on a served tenant only and ask for the administrator's token.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from jitkit.rehearsal import switches
from jitkit.rehearsal.control_guard import Bad, guarded, texts
from jitkit.rehearsal.prerequisites import LOOPBACK

if TYPE_CHECKING:
    from jitkit.rehearsal.tenant import RehearsalTenant


def routes() -> list[Route]:
    """List the routes.

    - `POST /rehearsal/sign-in` with `username`, `password` and, if wanted, `client_app_id` and `new_password`: signs
      somebody in and answers with what came of it, the steps included.
    - `PUT /rehearsal/publications/{host}` with `url`: lets `https://{host}` lead to this loopback address.
    - `POST /rehearsal/reset`: makes the tenant untouched again.
    """
    return [
        Route("/rehearsal/sign-in", guarded(_sign_in), methods=["POST"]),
        Route("/rehearsal/publications/{host}", guarded(_publish), methods=["PUT"]),
        Route("/rehearsal/reset", guarded(_reset), methods=["POST"]),
    ]


async def _sign_in(request: Request, tenant: RehearsalTenant) -> Response:
    given = await texts(request, required=("username", "password"), optional=("client_app_id", "new_password"))
    done = await tenant.sign_in(
        given["username"] or "",
        given["password"] or "",
        client_app_id=given["client_app_id"],
        new_password=given["new_password"],
    )
    answer = {name: value for name, value in dataclasses.asdict(done).items() if name != "id_token"}
    return JSONResponse(answer)


async def _publish(request: Request, tenant: RehearsalTenant) -> Response:
    given = await texts(request, required=("url",), optional=())
    parts = urlsplit(given["url"] or "")
    if parts.scheme not in ("http", "https") or parts.hostname not in LOOPBACK:
        raise Bad("The url is an http or https address of this machine, such as http://127.0.0.1:7071.")
    tenant.publish(request.path_params["host"], f"{parts.scheme}://{parts.netloc}")
    return Response(status_code=204)


async def _reset(request: Request, tenant: RehearsalTenant) -> Response:
    tenant.reset()
    switches.write(tenant.directory, "allow_loopback", True)
    return Response(status_code=204)

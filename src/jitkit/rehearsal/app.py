"""The stand-in tenant as one ASGI application: Graph under `/v1.0` and `/beta`, sign-in documents beside it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from jitkit.rehearsal import identity, replication, token_endpoint
from jitkit.rehearsal.graph.router import Router
from jitkit.rehearsal.graph.wire import Answer, GraphError, new_id

if TYPE_CHECKING:
    from jitkit.rehearsal.tenant import RehearsalTenant

_METHODS = ["GET", "POST", "PATCH", "PUT", "DELETE"]


def make_app(tenant: RehearsalTenant) -> Starlette:
    """Build the application of a tenant; handlers find the tenant at `app.state.tenant`."""
    router = Router(tenant.directory, tenant.faults.intercept, tenant.observe)

    async def graph(request: Request) -> Response:
        version = request.scope["path"].split("/")[1]
        headers = {name.lower(): value for name, value in request.headers.items()}
        raw = await request.body()
        try:
            body = json.loads(raw) if raw else None
        except ValueError:
            return _response(router.unreadable(headers))
        request.app.state.tenant.directory.clock.follow()
        replication.settle(request.app.state.tenant.directory)
        answer = await router.respond(
            method=request.method,
            base=f"{request.url.scheme}://{request.url.netloc}",
            version=version,
            path="/" + request.path_params["path"],
            query=dict(parse_qsl(request.url.query, keep_blank_values=True)),
            headers=headers,
            body=body,
        )
        return _response(answer)

    app = Starlette(
        routes=[
            *identity.routes(),
            *token_endpoint.routes(),
            Route("/v1.0/{path:path}", graph, methods=_METHODS),
            Route("/beta/{path:path}", graph, methods=_METHODS),
            Route("/{path:path}", _not_simulated, methods=_METHODS),
        ]
    )
    app.state.tenant = tenant
    return app


async def _not_simulated(request: Request) -> Response:
    error = GraphError(501, "NotImplemented", f"not simulated: {request.method} {request.url.path}")
    return _response(error.answer({"request-id": new_id()}))


def _response(answer: Answer) -> Response:
    headers = dict(answer.headers)
    if answer.text is not None:
        return Response(answer.text, answer.status, headers, "text/plain")
    if answer.body is None:
        return Response(None, answer.status, headers)
    kind = "application/json;odata.metadata=minimal;odata.streaming=true;IEEE754Compatible=false;charset=utf-8"
    return Response(json.dumps(answer.body, ensure_ascii=False).encode(), answer.status, headers, kind)

"""Where tokens are fetched: by the administrator's client, with its secret.

[RFC 6749, 4.4; codes: Microsoft Learn, "AADSTS error codes"]
"""

from __future__ import annotations

import secrets
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from jitkit.protocol import GRAPH_APP_ID
from jitkit.rehearsal import identity
from jitkit.rehearsal.directory import Directory

__all__ = ["routes"]


def routes() -> list[Route]:
    """List the routes: the token address of both hosts."""
    addresses = (f"{prefix}/{{tenant}}/oauth2/v2.0/token" for prefix in ("", f"/{identity.LOGIN_HOST}"))
    return [Route(address, _token, methods=["POST"]) for address in addresses]


async def _token(request: Request) -> JSONResponse:
    """Issue a token to the administrator's client."""
    directory: Directory = request.app.state.tenant.directory
    if refusal := identity.unknown_tenant(request, directory):
        return refusal
    form = dict(parse_qsl((await request.body()).decode("utf-8", "replace")))
    for name in ("grant_type", "client_id", "client_secret", "scope"):
        if not form.get(name):
            return identity.missing(name)
    if form["grant_type"] != "client_credentials":
        return identity.refuse(400, "unsupported_grant_type", 70003, "The app requested an unsupported grant type.")
    if form["client_id"] != directory.meta("admin_client_id"):
        return identity.refuse(400, "unauthorized_client", 700016, "The application was not found in the directory.")
    if not secrets.compare_digest(form["client_secret"], directory.meta("admin_client_secret") or ""):
        return identity.refuse(401, "invalid_client", 7000215, "Invalid client secret provided.")
    if form["scope"] not in (f"{identity.GRAPH}/.default", f"{identity.GRAPH}//.default", f"{GRAPH_APP_ID}/.default"):
        return identity.refuse(400, "invalid_resource", 500011, "The resource principal was not found in the tenant.")
    token = identity.issue_token(
        directory,
        audience=identity.GRAPH,
        client_app_id=form["client_id"],
        roles=identity.ADMINISTRATOR_PERMISSIONS,
        lifetime=3600,
    )
    body = {"token_type": "Bearer", "expires_in": 3600, "ext_expires_in": 3600, "access_token": token}
    return JSONResponse(body, headers={"Cache-Control": "no-store, no-cache"})

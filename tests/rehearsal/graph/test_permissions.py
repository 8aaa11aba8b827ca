"""Who may call what: for every route, without its permissions and with each set of them that suffices."""

from __future__ import annotations

import re
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable

import httpx
import pytest

from jitkit.rehearsal import identity
from jitkit.rehearsal.graph.router import all_routes
from jitkit.rehearsal.graph.wire import GraphRoute
from jitkit.rehearsal.tenant import RehearsalTenant

from .bodies import message

DENIED = "403 Authorization_RequestDenied: Insufficient privileges to complete the operation."
EVERYTHING = {one for route in all_routes() for way in route.permissions for one in way.split(" + ")}

Ask = Callable[..., Awaitable[httpx.Response]]


@pytest.fixture
async def ask(tenant: RehearsalTenant) -> AsyncIterator[Ask]:
    """Send a route's request with a token that holds these permissions and no others."""
    async with httpx.AsyncClient(transport=tenant.transport(), base_url="https://graph.microsoft.com/beta") as client:

        async def send(route: GraphRoute, *held: str, delegated: bool = False) -> httpx.Response:
            how = {"scopes": held, "subject": str(uuid.uuid4())} if delegated else {"roles": held}
            token = identity.issue_token(
                tenant.directory,
                audience=identity.GRAPH,
                client_app_id=str(uuid.uuid4()),
                **how,  # type: ignore[arg-type]
            )
            path = re.sub(r"\{\w+\}", lambda _: str(uuid.uuid4()), route.path)
            body = None if route.method in ("GET", "DELETE") else {}
            return await client.request(route.method, path, json=body, headers={"Authorization": f"Bearer {token}"})

        yield send


@pytest.mark.parametrize("route", all_routes(), ids=lambda route: f"{route.method} {route.path}")
async def test_a_route_asks_for_its_permissions(ask: Ask, route: GraphRoute) -> None:
    mine = {one for way in route.permissions for one in way.split(" + ")}
    assert message(await ask(route)) == DENIED
    assert message(await ask(route, *(EVERYTHING - mine))) == DENIED
    for way in route.permissions:
        halves = way.split(" + ")
        for delegated in (False, True):
            answer = await ask(route, *halves, delegated=delegated)
            assert answer.status_code in (200, 204, 400, 404), answer.text
        for half in halves if len(halves) > 1 else ():
            assert message(await ask(route, half)) == DENIED

"""One process of a simulation: a tenant, an endpoint and a legacy store that live through the days of a plan."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from random import Random
from typing import Any, Final

import httpx
from starlette.applications import Starlette

from jitkit.endpoint.app import Clock, create_app
from jitkit.endpoint.settings import Settings
from jitkit.endpoint.stores import LegacyStore, Verdict, open_store
from jitkit.rehearsal.directory import seeded
from jitkit.rehearsal.population.crowd import Crowd
from jitkit.rehearsal.population.loop import TenantLoop
from jitkit.rehearsal.population.people import People
from jitkit.rehearsal.population.plan import Plan
from jitkit.rehearsal.population.setup import Setup
from jitkit.rehearsal.tenant import RehearsalTenant

__all__ = ["live"]

# How long the legacy store takes, in seconds: log-normal, 0.15 at the median and 0.5 at the 99th percentile. And how
# long while it is slow: more than the endpoint waits.
_USUAL: Final = (-1.9, 0.5)
_SLOW: Final = 3.0


def live(
    plan: Plan,
    setup: Setup,
    environment: dict[str, str],
    tenant: Path,
    *,
    part: int,
    parts: int,
    each_day: Callable[[int], object] | None = None,
) -> Counter[str]:
    """Live through a plan with a part of its people.

    Args:
        plan: what happens.
        setup: what was made for it in the tenant.
        environment: the endpoint's settings.
        tenant: the tenant's file.
        part: which part of the people comes, from 0.
        parts: in how many they are divided.
        each_day: called with the number of each day that has passed.

    Returns:
        How many sign-ins ended in which way.
    """
    stand_in = RehearsalTenant.open(tenant)
    clock = stand_in.directory.clock
    clock.hold(plan.moment(0) - 1)
    # What the endpoint has to say is in its ledger; its warnings are about the troubles of the plan.
    log = logging.getLogger("jitkit.endpoint")
    level = log.level
    log.setLevel(logging.CRITICAL)
    try:
        # The loop's tasks see what is seeded before it is made.
        with (
            seeded(f"{plan.seed} ids {part}"),
            asyncio.Runner(loop_factory=lambda: TenantLoop(clock)) as runner,
        ):
            crowd = Crowd(stand_in, setup, People(plan), part, parts)
            runner.run(_days(plan, stand_in, crowd, environment, each_day))
            return crowd.ends
    finally:
        log.setLevel(level)
        clock.release()
        stand_in.close()


async def _days(
    plan: Plan,
    tenant: RehearsalTenant,
    crowd: Crowd,
    environment: dict[str, str],
    each_day: Callable[[int], object] | None,
) -> None:
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(httpx.AsyncClient(transport=httpx.ASGITransport(tenant.app)))
        settings = Settings.from_environment(environment)
        now = asyncio.get_running_loop().time
        store = _Store(open_store(settings.legacy_url), plan, now)
        app = create_app(settings, http=http, store=store, clock=Clock(now, now))
        await stack.enter_async_context(app.router.lifespan_context(app))
        tenant.caller.transport = _Wire(app, plan, now)
        for day in range(plan.days):
            await crowd.day(day)
            if each_day is not None:
                each_day(day)


class _Store:
    """The legacy store, with the time it takes and the plan's troubles."""

    def __init__(self, store: LegacyStore, plan: Plan, now: Callable[[], float]) -> None:
        self.kind = store.kind
        self._store, self._plan, self._now = store, plan, now
        self._dice = Random(f"{plan.seed} legacy store")  # noqa: S311 - nothing secret: it has to repeat itself

    async def verify(self, username: str, password: str) -> Verdict:
        day = self._plan.day(self._now())
        slow = self._plan.wrong("store slow", at=day)
        await asyncio.sleep(_SLOW if slow else self._dice.lognormvariate(*_USUAL))
        if self._plan.wrong("store away", at=day):
            return Verdict.DOWN
        return await self._store.verify(username, password)

    async def close(self) -> None:
        await self._store.close()


class _Wire(httpx.AsyncBaseTransport):
    """Carry callouts to the endpoint as a network does: it goes on with one when the caller has hung up."""

    def __init__(self, endpoint: Starlette, plan: Plan, now: Callable[[], float]) -> None:
        self._endpoint, self._plan, self._now = endpoint, plan, now
        self._left: set[asyncio.Task[Any]] = set()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        day = self._plan.day(self._now())
        if self._plan.wrong("endpoint away", at=day):
            raise httpx.ConnectError("Connection refused", request=request)
        if self._plan.wrong("certificate ended", at=day):
            raise httpx.ConnectError("certificate verify failed: certificate has expired", request=request)
        answering = asyncio.create_task(self._answer(request))
        self._left.add(answering)
        answering.add_done_callback(self._left.discard)
        return await asyncio.shield(answering)

    async def _answer(self, request: httpx.Request) -> httpx.Response:
        """Call the application as a server does. httpx's own transport does too, and looks for trio at each call."""
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": request.method,
            "scheme": request.url.scheme,
            "path": request.url.path,
            "raw_path": request.url.raw_path,
            "query_string": request.url.query,
            "root_path": "",
            "headers": [(name.lower(), value) for name, value in request.headers.raw],
        }
        content, sent = await request.aread(), list[Any]()

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": content, "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        await self._endpoint(scope, receive, send)
        body = b"".join(message.get("body", b"") for message in sent[1:])
        return httpx.Response(sent[0]["status"], headers=sent[0]["headers"], content=body)

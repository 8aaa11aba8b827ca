"""Play a plan: simulated people sign in at a rehearsal tenant that calls a real endpoint in this process."""

from __future__ import annotations

import asyncio
import csv
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Final

import httpx
from starlette.applications import Starlette

from helpers.endpoint.app import create_app
from helpers.endpoint.clock import Clock
from helpers.endpoint.config import Settings
from helpers.endpoint.legacy import LegacyStore, Verdict, open_store
from helpers.errors import KitError
from helpers.legacy_export.table import write_table
from helpers.rehearsal.ids import seeded
from helpers.rehearsal.population.crowd import Crowd
from helpers.rehearsal.population.loop import TenantLoop
from helpers.rehearsal.population.people import People
from helpers.rehearsal.population.plan import Plan
from helpers.rehearsal.population.setup import Setup
from helpers.rehearsal.tenant import RehearsalTenant
from helpers.tenant.key_pair import make_pair

__all__ = ["Simulation", "simulate"]

# How long the legacy store takes, in seconds: log-normal, 0.15 at the median and 0.5 at the 99th percentile. And how
# long while it is slow: more than the endpoint waits.
_USUAL: Final = (-1.9, 0.5)
_SLOW: Final = 3.0


@dataclass(frozen=True)
class Simulation:
    """What a simulation left behind.

    Args:
        tenant: the rehearsal tenant's file, with its users and its logs.
        ledger: the endpoint's ledger.
        dimensions: a CSV file: of each user, what figures may be grouped by.
        flag: the flag's full name.
        ends: how many sign-ins ended in which way.
    """

    tenant: Path
    ledger: Path
    dimensions: Path
    flag: str
    ends: Counter[str]


def simulate(plan: Plan, folder: Path, *, each_day: Callable[[int], object] | None = None) -> Simulation:
    """Play a plan from its first day to its last.

    Every sign-in goes the way of any other: directory, flag, encrypted callout with a bearer token, the endpoint's
    application, a legacy store in SQLite, its answer, directory and logs. Four things differ. Time is the tenant's:
    nobody waits for it. The callout crosses no socket. The accounts are put into the directory at once, without a
    Graph request and an audit row for each. And their passwords, which nobody real has, are hashed at next to no cost.

    Args:
        plan: what happens.
        folder: where everything is kept; a tenant that is there already must be untouched.
        each_day: called with the number of each day that has passed.

    Raises:
        KitError: the folder cannot be written, or its tenant has users already.
    """
    tenant = RehearsalTenant.open(folder / "rehearsal.sqlite3")
    clock = tenant.directory.clock
    try:
        if tenant.directory.rows("SELECT 1 FROM users LIMIT 1"):
            raise KitError(f"The tenant in {folder} has users already.", next_step="Give another folder.")
        clock.hold(plan.moment(0) - 1)
        with asyncio.Runner(loop_factory=lambda: TenantLoop(clock)) as runner, seeded(f"{plan.seed} ids"):
            return runner.run(_play(plan, tenant, folder, each_day))
    finally:
        clock.release()
        tenant.close()


async def _play(
    plan: Plan, tenant: RehearsalTenant, folder: Path, each_day: Callable[[int], object] | None
) -> Simulation:
    people, directory = People(plan), tenant.directory
    setup = Setup.make(tenant, plan, make_pair(folder / "key.pem").der)
    directory.add_users(people.users(tenant.domain, setup.flag))
    write_table(folder / "legacy.sqlite3", people.legacy_rows())
    crowd = Crowd(tenant, setup, people)
    result = Simulation(
        folder / "rehearsal.sqlite3", folder / "ledger.jsonl", folder / "people.csv", setup.flag, crowd.ends
    )
    _write_dimensions(result.dimensions, people)
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(httpx.AsyncClient(transport=httpx.ASGITransport(tenant.app)))
        settings = Settings.from_environment(_environment(tenant, setup, folder))
        steady = asyncio.get_running_loop().time
        store = _Store(open_store(settings.legacy_url), plan, steady)
        app = create_app(settings, http=http, store=store, clock=Clock(steady, steady))
        await stack.enter_async_context(app.router.lifespan_context(app))
        tenant.caller.transport = _Wire(app, plan, steady)
        for day in range(plan.days):
            await crowd.day(day)
            if each_day is not None:
                each_day(day)
    return result


def _environment(tenant: RehearsalTenant, setup: Setup, folder: Path) -> dict[str, str]:
    app = setup.extension_app
    return {
        "JIT_TENANT_ID": tenant.tenant_id,
        "JIT_EXTENSION_APP_ID": app["appId"],
        "JIT_IDENTIFIER_URI": app["identifierUris"][0],
        "DecryptionPrivateKey": (folder / "key.pem").read_text(encoding="utf-8"),
        "LegacyApiConnectionString": f"sqlite:///{folder / 'legacy.sqlite3'}",
        "JIT_LEDGER": str(folder / "ledger.jsonl"),
    }


def _write_dimensions(path: Path, people: People) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = people.dimensions()
        first = next(rows)
        writer = csv.DictWriter(file, list(first))
        writer.writeheader()
        writer.writerow(first)
        writer.writerows(rows)


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

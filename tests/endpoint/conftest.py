"""A running endpoint in this process, with Entra's side beside it."""

from __future__ import annotations

import asyncio
import functools
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from jitkit.endpoint.app import Clock, create_app

from . import entra
from .entra import AskedStore, Documents


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose time jumps to the next timer when nothing else is left to do."""

    def __init__(self) -> None:
        super().__init__()
        self._virtual = 0.0

    def time(self) -> float:
        return self._virtual

    def _run_once(self) -> None:
        if not self._ready and self._scheduled:  # type: ignore[attr-defined]
            self._virtual = max(self._virtual, self._scheduled[0].when())  # type: ignore[attr-defined]
        super()._run_once()  # type: ignore[misc]


def in_virtual_time(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run a test that waits for timers alone, so that its times are exact on a busy machine too."""

    @functools.wraps(test)
    def run(**fixtures: Any) -> None:
        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            runner.run(test(**fixtures))

    return run


@dataclass
class Endpoint:
    """The endpoint, what it asks, and what it wrote."""

    http: httpx.AsyncClient
    store: AskedStore
    documents: Documents
    ledger: Path

    async def post(self, body: object = None, *, token: str | None = "", **request: Any) -> httpx.Response:
        """Call as Entra does; `token` None sends none, empty sends a good one."""
        headers = {} if token is None else {"authorization": f"Bearer {token or entra.bearer()}"}
        headers |= {"content-type": "application/json"} | request.pop("headers", {})
        content = request.pop("content", None)
        if content is None:
            content = json.dumps(entra.envelope(entra.context()) if body is None else body)
        return await self.http.post(entra.ROUTE, content=content, headers=headers, **request)

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.ledger.read_text().splitlines()]


Opener = Callable[..., Any]


@pytest.fixture
async def open_endpoint(tmp_path: Path) -> AsyncIterator[Opener]:
    async with AsyncExitStack() as stack:

        async def opener(
            store: Any = None, documents: Documents | None = None, clock: Clock | None = None, **changes: str
        ) -> Endpoint:
            store, documents = store or AskedStore(), documents or Documents()
            ledger = tmp_path / "ledger.jsonl"
            client = await stack.enter_async_context(documents.client())
            app = create_app(
                entra.settings(JIT_LEDGER=str(ledger), **changes), http=client, store=store, clock=clock or Clock()
            )
            await stack.enter_async_context(app.router.lifespan_context(app))
            http = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://endpoint")
            return Endpoint(await stack.enter_async_context(http), store, documents, ledger)

        yield opener


@pytest.fixture
async def endpoint(open_endpoint: Opener) -> Endpoint:
    opened: Endpoint = await open_endpoint()
    return opened

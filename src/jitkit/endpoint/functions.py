"""Runs the endpoint inside an Azure Functions worker, which has no start-up of its own to rely on.

`azure.functions` starts an ASGI application inside the first request, once for each request that arrives meanwhile, and
not again after a failure. Here it starts when the worker imports the function, on an event loop of its own, so that
signing keys and store are ready before the host sends the first callout.
"""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
import threading
from concurrent.futures import Future
from dataclasses import replace
from typing import Any, Final

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from jitkit.endpoint.app import create_app
from jitkit.endpoint.ledger import log_unexpected
from jitkit.endpoint.settings import Settings
from jitkit.errors import KitError

__all__ = ["InFunctions"]

_log = logging.getLogger(__name__)

# The import waits so long at most: the host gives an instance 30 s to start. It goes on starting after that.
_IMPORT_SECONDS: Final = 20.0
_FIRST_PAUSE, _LONGEST_PAUSE = 2.0, 60.0  # seconds between attempts to start
_STOP_SECONDS: Final = 5.0
# These log each request with its URL.
_TALKATIVE: Final = ("httpx", "azure")


class InFunctions:
    """An ASGI application that starts the endpoint by itself, once, and again for as long as it cannot start.

    Until it has started, requests get status 503, and the log says why. Give it to `azure.functions.AsgiMiddleware`.
    It leaves the logging of the process as the worker set it up.
    """

    def __init__(self, *, pause: float = _FIRST_PAUSE) -> None:
        """Start, and wait until the first attempt has succeeded or failed.

        Args:
            pause: seconds before the second attempt; it doubles up to a minute.
        """
        for name in _TALKATIVE:
            logging.getLogger(name).setLevel(logging.WARNING)
        self._app: ASGIApp | None = None
        self._attempted, self._stopping = threading.Event(), asyncio.Event()
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True, name="endpoint").start()
        self._serving = self._run(self._serve(pause))
        atexit.register(self.close)
        self._attempted.wait(_IMPORT_SECONDS)

    @property
    def ready(self) -> bool:
        """Whether it has started."""
        return self._app is not None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; `receive` and `send` are called in another thread."""
        if self._app is None:
            await Response(b"{}", 503, {"cache-control": "no-store"}, "application/json")(scope, receive, send)
        else:
            await asyncio.wrap_future(self._run(self._app(scope, receive, send)))

    def close(self) -> None:
        """Stop the endpoint and close what it opened."""
        atexit.unregister(self.close)
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._serving.result(_STOP_SECONDS)
        self._loop.call_soon_threadsafe(self._loop.stop)

    async def _serve(self, pause: float) -> None:
        while not self._stopping.is_set():
            try:
                # Reading a key vault takes seconds in which the loop has requests to refuse.
                settings = await asyncio.to_thread(Settings.from_environment, os.environ)
                endpoint = create_app(replace(settings, sends_requests=False))  # the host reports each one
                async with endpoint.router.lifespan_context(endpoint):
                    self._app = endpoint
                    self._attempted.set()
                    await self._stopping.wait()
                    self._app = None
                    return
            except KitError as problem:
                _log.error("the endpoint cannot start: %s", problem)
            except Exception as error:  # noqa: BLE001 - whatever it was, it may have passed at the next attempt
                log_unexpected(error)
            self._attempted.set()
            await self._wait(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)

    async def _wait(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            return

    def _run(self, work: Any) -> Future[None]:
        return asyncio.run_coroutine_threadsafe(work, self._loop)

"""A real HTTP server on loopback that answers as it is told, and remembers what it was asked."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

Answer = Callable[[Request], Awaitable[Response]]


@dataclass
class Asked:
    """One request, as it arrived."""

    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Stub:
    """What the server answers, and what it was asked."""

    port: int
    asked: list[Asked] = field(default_factory=list)
    answer: Answer | None = None
    cancelled: int = 0

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    def say(self, status: int, body: Any = None, **headers: str) -> None:
        """Answer every request so: JSON, unless the body is bytes."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        sent = {"content-type": "application/json"} | {key.replace("_", "-"): value for key, value in headers.items()}

        async def answer(_: Request) -> Response:
            return Response(content, status, sent)

        self.answer = answer

    def drip(self) -> None:
        """Begin a good answer, and send a blank a tenth of a second for ever."""

        async def blanks() -> AsyncIterator[bytes]:
            try:
                while True:
                    yield b" "
                    await asyncio.sleep(0.1)
            finally:
                self.cancelled += 1

        async def answer(_: Request) -> Response:
            return StreamingResponse(blanks(), 200, media_type="application/json")

        self.answer = answer

    def sleep(self, seconds: float) -> None:
        """Take so long, and then refuse."""

        async def answer(request: Request) -> Response:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    while (await request.receive())["type"] != "http.disconnect":
                        pass
                    self.cancelled += 1
            return Response(b"{}", 500)

        self.answer = answer

    async def hung_up(self, calls: int) -> None:
        """Wait until so many callers have hung up on a slow answer."""
        async with asyncio.timeout(20):
            while self.cancelled != calls:  # noqa: ASYNC110 - a test's wait, not a signal
                await asyncio.sleep(0.01)

    async def was_asked(self, calls: int) -> None:
        """Wait until so many calls have arrived."""
        async with asyncio.timeout(20):
            while len(self.asked) != calls:  # noqa: ASYNC110 - a test's wait, not a signal
                await asyncio.sleep(0.01)

    async def handle(self, request: Request) -> Response:
        path = request.scope["raw_path"].decode() + (f"?{request.url.query}" if request.url.query else "")
        self.asked.append(Asked(path, dict(request.headers), await request.body()))
        assert self.answer is not None
        return await self.answer(request)


@contextlib.asynccontextmanager
async def serving(**options: Any) -> AsyncIterator[Stub]:
    """Serve on a free port until the block ends."""
    # With the protocol named, asyncio sends small answers at once; otherwise they wait 40 ms for an acknowledgement.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    stub = Stub(listener.getsockname()[1])
    app = Starlette(routes=[Route("/{path:path}", stub.handle, methods=["GET", "POST", "PUT"])])
    server = uvicorn.Server(
        uvicorn.Config(app, log_level="error", lifespan="off", timeout_graceful_shutdown=1, **options)
    )
    task = asyncio.create_task(server.serve(sockets=[listener]))
    while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
        await asyncio.sleep(0.005)
    yield stub
    server.should_exit = True
    await task

"""A minimal HTTP/1.1 server that can misbehave: hang, send slowly, disconnect, return garbage."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from jitkit.conformance.config import port_of
from jitkit.errors import EndpointDown


@dataclass
class Exchange:
    """One request, and the connection that it came on."""

    method: str
    path: str
    body: bytes = field(repr=False)
    _reader: asyncio.StreamReader = field(repr=False)
    _writer: asyncio.StreamWriter = field(repr=False)

    async def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        """Answer and close."""
        fields = {"content-type": "application/json", "content-length": str(len(body)), "connection": "close"}
        fields |= {name.replace("_", "-"): value for name, value in headers.items()}
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        phrase = HTTPStatus(status).phrase
        await self.raw(f"HTTP/1.1 {status} {phrase}\r\n{head}\r\n".encode() + body)

    async def json(self, value: object) -> None:
        """Answer 200 with JSON."""
        await self.answer(200, json.dumps(value).encode())

    async def raw(self, data: bytes) -> None:
        """Write bytes as they are, unless the other side has hung up."""
        if self._writer.is_closing():
            raise ConnectionResetError
        self._writer.write(data)
        await self._writer.drain()

    async def gone(self, seconds: float) -> bool:
        """Wait until the other side hangs up, or the time is over."""
        try:
            return await asyncio.wait_for(self._reader.read(1), seconds) == b""
        except TimeoutError:
            return False
        except ConnectionError:
            return True


class Server:
    """Serves HTTP with a coroutine; when it returns, the connection is closed.

    Without a URL under which others reach it, it takes a free port of this machine.
    """

    def __init__(self, handle: Callable[[Exchange], Awaitable[None]], host: str = "127.0.0.1", url: str = "") -> None:
        self._handle = handle
        self._host = host
        self._url = url
        self._port = port_of(url)
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[Any]] = set()

    @property
    def url(self) -> str:
        """Where others reach it."""
        return self._url or f"http://127.0.0.1:{self._port}"

    async def start(self) -> None:
        """Listen; after a stop, on the same port again."""
        try:
            self._server = await asyncio.start_server(self._serve, self._host, self._port, backlog=512)
        except OSError as error:
            raise EndpointDown(
                f"The suite cannot listen on {self._host}, port {self._port}.",
                service=error.strerror,
                next_step="Stop the program that uses that port, or change the URL in the suite's configuration.",
            ) from None
        self._port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Refuse connections from now on, and drop those that are open."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        try:
            await self._handle(await _read(reader, writer))
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError):
            pass  # the endpoint under test hung up or sent something else: no answer is possible
        finally:
            writer.close()


async def _read(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Exchange:
    lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    method, path, _ = lines[0].split(" ")
    headers = {
        name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:] if line)
    }
    if headers.get("expect", "").lower() == "100-continue":
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    if headers.get("transfer-encoding", "").lower() == "chunked":
        body = await _chunks(reader)
    else:
        body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Exchange(method, path, body, reader, writer)


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    body = b""
    while size := int((await reader.readline()).split(b";")[0], 16):
        body += await reader.readexactly(size)
        await reader.readline()
    await reader.readline()
    return body

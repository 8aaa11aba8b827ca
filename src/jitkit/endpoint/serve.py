"""Serves the endpoint from environment settings, until it is asked to stop."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import threading
from collections.abc import Iterator
from typing import Any, Final

import uvicorn

from jitkit.endpoint.app import ROUTE, create_app
from jitkit.endpoint.ledger import configure_log
from jitkit.endpoint.settings import Settings
from jitkit.errors import EndpointDown

# Connections beyond these are answered 503 at once; a body has 64 KiB at most, so all of them together stay small.
_CONNECTIONS: Final = 500
# Seconds in which a request must have come whole, headers and all; a connection is dropped after once or twice that.
_SILENT_SECONDS: Final = 10
_TICKS_A_SECOND: Final = 10


def serve(*, host: str, port: int) -> None:
    """Serve until SIGTERM or SIGINT; a request that is being answered gets its answer. Port 0 takes a free one.

    With `JIT_STOP_WITH_STDIN=1` the end of standard input stops it too, so that it does not outlive the process that
    started it. One JSON line on standard output says where it listens, once it accepts requests. The log goes to
    standard error, one JSON object a line.

    Raises:
        SettingsError: a setting is missing or cannot be used.
        EndpointDown: the address cannot be listened on.
    """
    settings = Settings.from_environment(os.environ)
    configure_log()
    app = create_app(settings)
    listener = _listen(host, port)
    config = uvicorn.Config(
        app,
        access_log=False,
        log_config=None,
        ssl_certfile=settings.tls_certificate,
        ssl_keyfile=settings.tls_key,
        limit_concurrency=_CONNECTIONS,
        lifespan="on",
        ws="none",
        server_header=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=5,
    )
    server = _Server(config)
    if os.environ.get("JIT_STOP_WITH_STDIN") == "1":
        threading.Thread(target=_stop_with_stdin, args=(server,), daemon=True, name="stdin").start()
    server.run(sockets=[listener])


class _Server(uvicorn.Server):
    """Print where it listens, drop slow clients, and end quietly: uvicorn would raise the signal again at the end."""

    _silent: frozenset[Any] = frozenset()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        host, port = (sockets or [])[0].getsockname()[:2]
        scheme, name = "https" if self.config.is_ssl else "http", f"[{host}]" if ":" in host else host
        print(json.dumps({"url": f"{scheme}://{name}:{port}{ROUTE}"}), flush=True)  # noqa: T201 - the command's result

    async def on_tick(self, counter: int) -> bool:
        if counter % (_SILENT_SECONDS * _TICKS_A_SECOND) == 0:
            self._drop_silent_connections()
        return await super().on_tick(counter)

    def _drop_silent_connections(self) -> None:
        """Close connections that owe a whole request since the last check; uvicorn ends those between requests."""
        silent = frozenset(filter(_owes_a_request, self.server_state.connections))
        for connection in silent & self._silent:
            connection.transport.close()
        self._silent = silent

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _owes_a_request(connection: Any) -> bool:
    answered = connection.cycle is None or connection.cycle.response_complete
    return answered and connection.timeout_keep_alive_task is None


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol named, asyncio sends without waiting for the client to acknowledge: 40 ms a call.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if os.name == "posix":  # elsewhere this option would let two servers share a port
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(128)
    except (OSError, OverflowError) as error:
        listener.close()
        raise EndpointDown(
            f"The endpoint cannot listen on {host}, port {port}.",
            service=error.strerror if isinstance(error, OSError) else "the port is not a number from 0 to 65535",
            next_step="Stop whatever uses that port, or choose another one; port 0 takes a free one.",
        ) from None
    return listener


def _stop_with_stdin(server: uvicorn.Server) -> None:
    # Past Python's own buffer: its lock, held by a waiting thread, would make the interpreter abort as it ends.
    while os.read(0, 1024):
        pass
    server.should_exit = True

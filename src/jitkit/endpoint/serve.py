"""Serves the endpoint from environment settings, until it is asked to stop."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import logging
import os
import signal
import socket
import threading
from collections.abc import Iterator
from typing import Any, Final

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from jitkit.endpoint.app import ADMITTED, ROUTE, create_app
from jitkit.endpoint.ledger import configure_log
from jitkit.endpoint.settings import Settings
from jitkit.endpoint.stores.base import is_loopback
from jitkit.errors import EndpointDown

_log = logging.getLogger(__name__)

# Open connections: beyond these, one of a stranger makes room for a new one. A body has 64 KiB at most.
_CONNECTIONS, _DESCRIPTORS = 500, 4096
# Seconds in which a request must have come whole, headers and all; a connection is dropped after once or twice that.
_SILENT_SECONDS, _TICKS_A_SECOND = 3, 10
# Seconds for which a silent connection stays open between requests: after a call of Entra's, and after anything else.
_KNOWN_IDLE, _STRANGER_IDLE = 75, 3
_HANDSHAKE_SECONDS, _GOODBYE_SECONDS = 3.0, 1.0  # of TLS
_MALFORMED: Final = (
    b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\ncontent-length: 2\r\n"
    b"cache-control: no-store\r\nconnection: close\r\n\r\n{}"
)


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
        http=_Connection,
        proxy_headers=False,
        lifespan="on",
        ws="none",
        server_header=False,
        timeout_keep_alive=_STRANGER_IDLE,
        timeout_graceful_shutdown=5,
    )
    if not (is_loopback(host) or settings.tls_certificate or settings.behind_tls):
        _log.warning("passwords and tokens arrive in the clear at %s: set JIT_TLS_CERTIFICATE or JIT_BEHIND_TLS", host)
    _set_limits()
    server = _Server(config)
    if os.environ.get("JIT_STOP_WITH_STDIN") == "1":
        threading.Thread(target=_stop_with_stdin, args=(server,), daemon=True, name="stdin").start()
    with asyncio.Runner(loop_factory=functools.partial(_loop, tls=config.is_ssl)) as runner:
        runner.run(server.serve(sockets=[listener]))


def _loop(*, tls: bool) -> asyncio.AbstractEventLoop:
    """Make an event loop that gives up on a TLS handshake, and on a client's goodbye, long before asyncio does."""
    loop = asyncio.new_event_loop()
    if tls:
        limits = {"ssl_handshake_timeout": _HANDSHAKE_SECONDS, "ssl_shutdown_timeout": _GOODBYE_SECONDS}
        loop.create_server = functools.partial(loop.create_server, **limits)  # type: ignore[method-assign]
    return loop


def _set_limits() -> None:
    """Write no core file, which would hold keys and passwords; open more than the usual 1,024 files.

    Connections that are silent before TLS would use those up.
    """
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        most = _DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _DESCRIPTORS)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))


class _Connection(H11Protocol):
    """One connection: kept for long after a call of Entra's alone, and closed to make room when there are too many."""

    idle_since = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.idle_since = self.loop.time()
        if len(self.connections) > _CONNECTIONS:
            # Those of strangers first, and of these the one that has been idle longest.
            waiting = [each for each in self.connections if isinstance(each, _Connection) and each.is_idle()]
            oldest = min(waiting, key=lambda each: (each.timeout_keep_alive == _KNOWN_IDLE, each.idle_since))
            oldest.transport.close()

    def is_idle(self) -> bool:
        """Return whether no request is being answered; before the first one it is idle too."""
        return self.cycle is None or bool(self.cycle.response_complete)

    def on_response_complete(self) -> None:
        self.idle_since = self.loop.time()
        if self.scope.get(ADMITTED):
            self.timeout_keep_alive = _KNOWN_IDLE
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        self.transport.write(_MALFORMED)
        self.transport.close()


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

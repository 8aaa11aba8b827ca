"""Serve a stand-in tenant on loopback: the whole of it for other clients, or its OpenID documents for an endpoint."""

from __future__ import annotations

import contextlib
import json
import socket
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import uvicorn
from starlette.applications import Starlette
from starlette.routing import Mount

from jitkit.errors import KitError, NotReady, SettingsError
from jitkit.rehearsal import control, identity, switches
from jitkit.rehearsal.prerequisites import LOOPBACK
from jitkit.rehearsal.tenant import RehearsalTenant
from jitkit.rehearsal.tls import Authority

if TYPE_CHECKING:
    from starlette.types import ASGIApp


def serve(path: Path, *, host: str = "127.0.0.1", port: int = 0, tls: bool = False) -> None:
    """Serve a stand-in tenant until it is interrupted.

    Prints one line of JSON once it accepts requests: `graph` (append `/v1.0` or `/beta`), `authority` (append the
    tenant id), `tenant_id`, `client_id` and `client_secret` of the administrator, `ca` (the PEM file to trust; null for
    plain HTTP), and `openid_configuration`, the two documents. Extensions of this tenant may name a loopback address as
    target.

    Args:
        path: the tenant's file; a new tenant is made when it is absent.
        host: a loopback address.
        port: the port; 0 takes any free one.
        tls: serve HTTPS at `localhost`, with an authority kept beside the tenant's file. Libraries that get tokens for
            Microsoft's services accept nothing else.

    Raises:
        SettingsError: the host is not this machine, or the authority cannot be kept.
        KitError: the port is in use.
    """
    if host not in LOOPBACK:
        raise SettingsError(
            f"The stand-in tenant does not listen on {host}.", next_step=f"Use one of {', '.join(LOOPBACK)}."
        )
    listening = [_listen(host, port)]
    tenant = RehearsalTenant.open(path)
    switches.write(tenant.directory, "allow_loopback", True)
    app = Starlette(routes=[*control.routes(), Mount("/", tenant.app)])
    app.state.tenant = tenant
    authority = Authority.open(path.parent) if tls else None
    if authority:
        listening += _other_family(listening[0])
        _announce(tenant, f"https://localhost:{listening[0].getsockname()[1]}", authority.path)
    else:
        _announce(tenant, _base(listening[0]), None)
    try:
        with contextlib.suppress(KeyboardInterrupt):
            _server(app, authority).run(sockets=listening)
    finally:
        tenant.close()


def _announce(tenant: RehearsalTenant, base: str, ca: Path | None) -> None:
    line = {
        "graph": base,
        "authority": base,
        "tenant_id": tenant.tenant_id,
        "client_id": tenant.directory.meta("admin_client_id"),
        "client_secret": tenant.directory.meta("admin_client_secret"),
        "ca": str(ca) if ca else None,
        "openid_configuration": _documents(base, tenant.tenant_id),
    }
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


class DocumentServer:
    """Serve a tenant's OpenID documents on a free loopback port, in a thread, for an endpoint that checks tokens.

    Args:
        tenant: the stand-in tenant.
    """

    def __init__(self, tenant: RehearsalTenant) -> None:
        self._tenant = tenant
        self._running: tuple[uvicorn.Server, threading.Thread, socket.socket] | None = None

    @property
    def urls(self) -> tuple[str, ...]:
        """The addresses of the two documents: the ciamlogin.com one, then the login.microsoftonline.com one.

        Raises:
            NotReady: the server was not started.
        """
        if self._running is None:
            raise NotReady("The document server is not running.", next_step="Start it first.")
        return tuple(_documents(_base(self._running[2]), self._tenant.tenant_id))

    def start(self) -> None:
        """Start serving; does nothing when it already serves."""
        if self._running is not None:
            return
        app = Starlette(routes=identity.routes())
        app.state.tenant = self._tenant
        listening = _listen("127.0.0.1", 0)
        server = _server(app)
        thread = threading.Thread(
            target=server.run, kwargs={"sockets": [listening]}, name="openid-documents", daemon=True
        )
        thread.start()
        self._running = (server, thread, listening)

    def stop(self) -> None:
        """Stop serving."""
        if self._running is None:
            return
        server, thread, listening = self._running
        self._running = None
        server.should_exit = True
        thread.join()
        listening.close()


def _server(app: ASGIApp, authority: Authority | None = None) -> uvicorn.Server:
    return uvicorn.Server(
        uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            lifespan="off",
            timeout_graceful_shutdown=2,
            ssl_context_factory=(lambda *_: authority.context()) if authority else None,
        )
    )


def _listen(host: str, port: int) -> socket.socket:
    """Open the port at once, so that requests wait for the server rather than fail."""
    try:
        listening = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
        # Accepted connections inherit it; without it a call over a kept connection waits 40 ms for an acknowledgement.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listening
    except (OSError, OverflowError) as problem:
        raise KitError(
            f"Port {port} on {host} cannot be opened.",
            service=problem.strerror if isinstance(problem, OSError) else "a port is a number from 0 to 65535",
            next_step="Stop what is using it, or choose another port; 0 takes any free one.",
        ) from problem


def _other_family(listening: socket.socket) -> list[socket.socket]:
    """Listen where `localhost` also leads, on the same port: some clients try ::1 first, others 127.0.0.1."""
    host, port = listening.getsockname()[:2]
    try:
        return [_listen("127.0.0.1" if ":" in host else "::1", port)]
    except KitError:
        return []  # no IPv6 here, or the port is taken there: clients go on to the other address


def _base(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _documents(base: str, tenant_id: str) -> list[str]:
    path = f"/{tenant_id}/v2.0/.well-known/openid-configuration"
    return [f"{base}{path}", f"{base}/{identity.LOGIN_HOST}{path}"]

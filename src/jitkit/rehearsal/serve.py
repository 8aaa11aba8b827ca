"""Serves a rehearsal tenant on loopback: the whole of it for other clients, or its OpenID documents for an endpoint.

A served tenant has three routes that a real one does not have. They ask for the administrator's token:

- `POST /rehearsal/sign-in` with `username`, `password` and, if wanted, `client_app_id` and `new_password`: signs a user
  in and answers with the outcome, the steps included.
- `PUT /rehearsal/publications/{host}` with `url`: lets `https://{host}` lead to this loopback address.
- `POST /rehearsal/reset`: makes the tenant untouched again.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import json
import socket
import ssl
import sys
import threading
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import trustme
import uvicorn
from starlette.applications import Starlette
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route

from jitkit.errors import KitError, NotReady, SettingsError
from jitkit.files import write_private
from jitkit.rehearsal import identity, switches
from jitkit.rehearsal.tenant import RehearsalTenant
from jitkit.rehearsal.tenant_setup import LOOPBACK

if TYPE_CHECKING:
    from starlette.types import ASGIApp

_AUTHORITY: Final = "rehearsal-ca.pem"
_CERTIFICATE_LASTS: Final = timedelta(days=30)


def serve(path: Path, *, host: str = "127.0.0.1", port: int = 0, tls: bool = False, production: bool = False) -> None:
    """Serve a rehearsal tenant until it is interrupted.

    Prints one line of JSON once it accepts requests: `graph` (append `/v1.0` or `/beta`), `authority` (append the
    tenant id), `tenant_id`, `client_id` and `client_secret` of the administrator, `ca` (the PEM file to trust; null for
    plain HTTP), and `openid_configuration`, the two documents. Extensions of this tenant may name a loopback address as
    target.

    Args:
        path: the tenant's file; a new tenant is made when it is absent.
        host: a loopback address.
        port: the port; 0 takes any free one.
        tls: serve HTTPS at `localhost`. Libraries that get tokens for Microsoft's services accept nothing else. The
            authority is new at each start; its certificate is written next to the tenant's file, its key nowhere.
        production: make the tenant one that other people use.

    Raises:
        SettingsError: the host is not this machine, or the certificate cannot be written.
        KitError: the port is in use.
    """
    if host not in LOOPBACK:
        raise SettingsError(
            f"The rehearsal tenant does not listen on {host}.", next_step=f"Use one of {', '.join(LOOPBACK)}."
        )
    listening = [_listen(host, port)]
    tenant = RehearsalTenant.open(path)
    switches.write(tenant.directory, "allow_loopback", True)
    if production:
        asyncio.run(tenant.put_into_production())
    app = Starlette(routes=[*_control_routes(tenant), Mount("/", tenant.app)])
    app.state.directory = tenant.directory
    context, base, ca = None, _base(listening[0]), None
    if tls:
        ca = path.parent / _AUTHORITY
        context = _tls(ca)
        listening += _other_family(listening[0])
        base = f"https://localhost:{listening[0].getsockname()[1]}"
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
    try:
        with contextlib.suppress(KeyboardInterrupt), asyncio.Runner(loop_factory=_tls_loop if tls else None) as runner:
            runner.run(_server(app, context).serve(sockets=listening))
    finally:
        tenant.close()


class DocumentServer:
    """Serves a tenant's OpenID documents on a free loopback port, in a thread, for an endpoint that checks tokens.

    Args:
        tenant: the rehearsal tenant.
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
        app = Starlette(routes=identity.document_routes())
        app.state.directory = self._tenant.directory
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


# --- the routes that drive a served tenant -------------------------------------------------------------------------


class _Bad(Exception):
    """A request is not what it should be; the message says how."""


def _control_routes(tenant: RehearsalTenant) -> list[Route]:
    async def sign_in(request: Request) -> Response:
        given = await _texts(request, "username", "password", "client_app_id?", "new_password?")
        done = await tenant.sign_in(given.pop("username") or "", given.pop("password") or "", **given)
        return JSONResponse(dataclasses.asdict(done))

    async def publish(request: Request) -> Response:
        parts = urlsplit((await _texts(request, "url"))["url"] or "")
        if parts.scheme not in ("http", "https") or parts.hostname not in LOOPBACK:
            raise _Bad("The url is an http or https address of this machine, such as http://127.0.0.1:7071.")
        tenant.publish(request.path_params["host"], f"{parts.scheme}://{parts.netloc}")
        return Response(status_code=204)

    async def reset(request: Request) -> Response:
        tenant.reset()
        switches.write(tenant.directory, "allow_loopback", True)
        return Response(status_code=204)

    def guarded(handle: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            scheme, _, token = request.headers.get("authorization", "").partition(" ")
            claims = identity.read_access_token(tenant.directory, token) if scheme.lower() == "bearer" else None
            if claims is None or claims.get("appid") != tenant.directory.meta("admin_client_id"):
                return _refuse(401, "InvalidAuthenticationToken", "The administrator's token is missing or not valid.")
            try:
                return await handle(request)
            except _Bad as problem:
                return _refuse(400, "BadRequest", str(problem))
            except KitError as problem:
                return _refuse(409, type(problem).__name__, f"{problem.happened} {problem.next_step}")

        return answer

    return [
        Route("/rehearsal/sign-in", guarded(sign_in), methods=["POST"]),
        Route("/rehearsal/publications/{host}", guarded(publish), methods=["PUT"]),
        Route("/rehearsal/reset", guarded(reset), methods=["POST"]),
    ]


async def _texts(request: Request, *names: str) -> dict[str, Any]:
    """Read a JSON object of texts; a member whose name ends with `?` here may be null or absent."""
    try:
        given: Any = json.loads(await request.body() or b"{}")
    except ValueError:
        raise _Bad("The body is not JSON.") from None
    if not isinstance(given, dict):
        raise _Bad("The body is not a JSON object.")
    found = {}
    for name in names:
        name, optional = name.removesuffix("?"), name.endswith("?")
        found[name] = value = given.get(name)
        if not isinstance(value, str) and not (optional and value is None):
            raise _Bad(f"{name} is a text." if optional else f"The body needs {name}, a text.")
        if any("\ud800" <= character <= "\udfff" for character in value or ""):
            raise _Bad(f"{name} holds half a character.")
    return found


def _refuse(status: int, code: str, message: str) -> JSONResponse:
    return JSONResponse({"error": {"code": code, "message": message}}, status_code=status)


# --- sockets and TLS -----------------------------------------------------------------------------------------------


def _server(app: ASGIApp, context: ssl.SSLContext | None = None) -> uvicorn.Server:
    # A page elsewhere whose name is made to lead here is not answered.
    own = TrustedHostMiddleware(app, allowed_hosts=["localhost", "127.0.0.1", "[::1]"], www_redirect=False)
    tls = (lambda *_: context) if context else None
    config = uvicorn.Config(
        own, log_level="warning", access_log=False, lifespan="off", timeout_graceful_shutdown=2, ssl_context_factory=tls
    )
    return uvicorn.Server(config)


def _tls_loop() -> asyncio.AbstractEventLoop:
    """Make an event loop that waits a second for a client's goodbye in TLS, not 30: an idle one sends none."""
    loop = asyncio.new_event_loop()
    loop.create_server = functools.partial(loop.create_server, ssl_shutdown_timeout=1)  # type: ignore[method-assign]
    return loop


def _tls(authority: Path) -> ssl.SSLContext:
    """Make an authority and a server's TLS context for this machine's names; write the certificate to trust."""
    made = trustme.CA(organization_name="JIT migration rehearsal, this machine only", path_length=0)
    write_private(authority, made.cert_pem.bytes())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    names = ("localhost", "127.0.0.1", "::1")
    made.issue_cert(*names, not_after=datetime.now(UTC) + _CERTIFICATE_LASTS).configure_cert(context)
    return context


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

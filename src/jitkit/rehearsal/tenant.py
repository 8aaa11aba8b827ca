"""A rehearsal tenant that lives in one file: an external tenant to set up, sign in to and break on purpose.

The seam to everything else is HTTP: `transport()` answers the URLs of Graph and of the sign-in service in this process,
without a socket, and refuses every other host.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import sqlite3
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from jitkit.errors import KitError
from jitkit.rehearsal import identity
from jitkit.rehearsal.callout import Caller, Callout
from jitkit.rehearsal.directory import Directory, User, new_id
from jitkit.rehearsal.faults import At
from jitkit.rehearsal.graph.dispatch import Router
from jitkit.rehearsal.graph.groups import assign_roles
from jitkit.rehearsal.graph.wire import Answer, GraphError, refusal, written
from jitkit.rehearsal.seed import PRODUCTION, put_into_production, seed
from jitkit.rehearsal.sign_in import PasswordReset, SignIn, SignIns
from jitkit.rehearsal.state import State

if TYPE_CHECKING:
    from azure.core.credentials import AccessToken

_GRAPH_HOST: Final = "graph.microsoft.com"
_METHODS: Final = ["GET", "POST", "PATCH", "PUT", "DELETE"]
_JSON: Final = "application/json;odata.metadata=minimal;odata.streaming=true;IEEE754Compatible=false;charset=utf-8"


class RehearsalTenant:
    """A tenant to rehearse with. Use `RehearsalTenant.open`.

    Args:
        path: the file that holds it.
        permissions: what the administrator's token allows.
    """

    def __init__(self, path: Path, permissions: Collection[str]) -> None:
        self.path: Final = path
        self.directory: Final = Directory(path)
        self._permissions = tuple(permissions)
        self._seed()
        self.state: Final = State(self.directory)
        self.faults: Final = self.state.faults  # switched on for as long as this tenant is open
        self.calls: Final = self.state.calls  # the last calls to Graph and to endpoints
        self.caller: Final = Caller(self.state)
        self.sign_ins: Final = SignIns(self.state, self.caller)
        self._router = Router(self.directory, functools.partial(self._meet_faults, "graph"), self._note_call)

    @classmethod
    def open(cls, path: Path, *, permissions: Collection[str] | None = None) -> RehearsalTenant:
        """Open the tenant kept in a file; where there is none, a new one is made, as untouched as a real one.

        Args:
            path: the file.
            permissions: Graph permissions of the administrator's token; None means all that the set-up needs.

        Raises:
            KitError: the file cannot be used as a rehearsal tenant.
        """
        try:
            return cls(path, identity.ADMINISTRATOR_PERMISSIONS if permissions is None else permissions)
        except (sqlite3.DatabaseError, OSError) as error:
            raise _unusable(path, error) from None

    @property
    def tenant_id(self) -> str:
        """The tenant's id, a GUID."""
        return self.directory.meta("tenant_id") or ""

    @property
    def domain(self) -> str:
        """The initial and default domain, `<subdomain>.onmicrosoft.com`."""
        return self.directory.meta("domain") or ""

    @property
    def subdomain(self) -> str:
        """The first label of the tenant's ciamlogin.com host."""
        return self.directory.meta("subdomain") or ""

    @functools.cached_property
    def app(self) -> Starlette:
        """The ASGI application: Graph under `/v1.0` and `/beta`, tokens and OpenID documents next to it."""
        app = Starlette(
            routes=[
                *identity.document_routes(),
                *identity.token_routes(),
                Route("/v1.0/{path:path}", self._graph, methods=_METHODS),
                Route("/beta/{path:path}", self._graph, methods=_METHODS),
                Route("/{path:path}", _not_simulated, methods=_METHODS),
            ]
        )
        app.state.directory = self.directory
        return app

    def credential(
        self,
        *,
        roles: Collection[str] | None = None,
        permissions: Collection[str] | None = None,
        account: str = "administrator",
    ) -> Credential:
        """Make a credential, as azure-identity's asynchronous ones.

        Args:
            roles: directory roles of the administrator whom the tokens speak for; they have these and no others, and a
                user account is made for them where there is none. None means an application, which needs no roles.
            permissions: Graph permissions of the token; None means those that the tenant was opened with.
            account: the first part of the administrator's user principal name.

        Raises:
            KitError: the tenant does not know one of the roles.
        """
        allowed = self._permissions if permissions is None else tuple(permissions)
        if roles is None:
            return Credential(self.directory, allowed)
        with self.directory.transaction():
            user = self.directory.user(f"{account}@{self.domain}") or self._add_administrator(account)
            assign_roles(self.directory, user.id, roles)
        return Credential(self.directory, allowed, user.id)

    def transport(self) -> httpx.AsyncBaseTransport:
        """Make an httpx transport that hands requests for Graph and for sign-in to this tenant, and no other."""
        return _InProcess(self)

    async def sign_in(
        self,
        username: str,
        password: str,
        *,
        client_app_id: str | None = None,
        new_password: str | None = None,
        ip: str = "127.0.0.1",
    ) -> SignIn:
        """Sign a user in, as the browser journey of a user flow does.

        Args:
            username: what the user types as e-mail address or user name.
            password: what the user types as password.
            client_app_id: the app they sign in to; None means the only one that is set up for it.
            new_password: what they choose when a new password is needed; None when they give up there.
            ip: the address they come from.

        Returns:
            The outcome. The tenant's sign-in log has a row for it.

        Raises:
            NotReady: no app was named, and there is none or more than one.
        """
        return await self.sign_ins.sign_in(
            username, password, client_app_id=client_app_id, new_password=new_password, ip=ip
        )

    async def reset_password(self, username: str, new_password: str, *, ip: str = "127.0.0.1") -> PasswordReset:
        """Let a user replace a forgotten password, with a one-time code sent to their e-mail address.

        Args:
            username: the e-mail address they sign in with.
            new_password: what they choose.
            ip: the address they come from.
        """
        return await self.sign_ins.reset_password(username, new_password, ip=ip)

    async def compose_callout(
        self, username: str, password: str, *, client_app_id: str | None = None, nonce: str | None = None
    ) -> Callout:
        """Compose what a sign-in would send to the endpoint, without sending it.

        Args:
            username: the user it is about; an unknown name is used for an invented user.
            password: the password to encrypt into it.
            client_app_id: the app they sign in to; None means the only one that is set up for it.
            nonce: the nonce to use; None for a fresh one.

        Raises:
            NotReady: the app or a listener for it does not exist.
            CalloutImpossible: something the callout needs is missing.
        """
        return self.caller.compose(username, password, client_app_id=client_app_id, nonce=nonce)

    async def reach(self, url: str, method: str = "GET") -> httpx.Response:
        """Send a request without a body to a public address, over the route that a callout takes.

        Args:
            url: the address.
            method: GET, or POST as a stranger would.

        Raises:
            httpx.TransportError: nothing answers there.
        """
        return await self.caller.reach(url, method)

    def publish(self, host: str, base_url: str) -> None:
        """Let `https://{host}` lead to a loopback address, as a tunnel or hosting would.

        Args:
            host: the public host name.
            base_url: where it leads, such as `http://127.0.0.1:7071`.
        """
        self.directory.publish(host, base_url)

    async def put_into_production(
        self, *, host: str = PRODUCTION["host"], people: Mapping[str, bool | None] = PRODUCTION["people"]
    ) -> None:
        """Make the tenant one that other people use: with their applications, listeners and accounts.

        The password-submit extension is at a production host and its listener covers more than a test client; they and
        the flag are made where there are none, the flag as the admin centre does.

        Args:
            host: where the extension points.
            people: who signed up, by e-mail address, and the value of their flag; None for none. Their password is in
                `production.json`. Who is there already is left alone.
        """
        new = {name: value for name, value in people.items() if self.directory.user_by_sign_in_name(name) is None}
        token = (await Credential(self.directory, identity.ADMINISTRATOR_PERMISSIONS).get_token()).token
        headers, base = {"Authorization": f"Bearer {token}"}, f"https://{_GRAPH_HOST}/v1.0"
        async with httpx.AsyncClient(transport=self.transport(), base_url=base, headers=headers) as graph:
            await put_into_production(graph, self.domain, host, new)

    def sign_in_rows(self) -> list[dict[str, Any]]:
        """List the sign-in log, newest first, in the shape of Graph's beta `signIn`."""
        return self.directory.log("signIn")

    def audit_rows(self) -> list[dict[str, Any]]:
        """List the audit log, newest first, in the shape of Graph's `directoryAudit`."""
        return self.directory.log("directoryAudit")

    def reset(self) -> None:
        """Make the tenant untouched again. Its id, its domain and its keys stay."""
        self.directory.clear()
        self.faults.clear()
        self.calls.clear()
        self._seed()

    def close(self) -> None:
        """Close the file."""
        self.directory.close()

    def _add_administrator(self, account: str) -> User:
        id, now, upn = new_id(), self.directory.clock.now(), f"{account}@{self.domain}"
        own = {"signInType": "userPrincipalName", "issuer": self.domain, "issuerAssignedId": upn}
        body = {"displayName": account.capitalize(), "createdDateTime": written(now), "identities": [own]}
        made = User(id=id, upn=upn, sign_in_name=None, password_hash="", body=body, created=now)
        self.directory.add_user(made)
        return made

    def _seed(self) -> None:
        if self.directory.meta("seeded") is None:
            seed(self.directory)

    # --- Graph -----------------------------------------------------------------------------------------------------

    async def _graph(self, request: Request) -> Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        raw = await request.body()
        try:
            body = json.loads(raw) if raw else None
        except ValueError:
            return _response(self._router.unreadable(headers))
        self.directory.clock.follow()
        self.directory.apply_late_values()
        respond = functools.partial(
            self._router.respond,
            method=request.method,
            base=f"{request.url.scheme}://{request.url.netloc}",
            version=request.scope["path"].split("/")[1],
            path="/" + request.path_params["path"],
            query=dict(parse_qsl(request.url.query, keep_blank_values=True)),
            headers=headers,
            body=body,
        )
        return _response(await self._meet_faults("gateway", respond))

    async def _meet_faults(self, at: At, carry_out: Callable[[], Awaitable[Answer]]) -> Answer:
        """Carry a request out and return its answer, or the refusal of a fault that is switched on.

        Some faults refuse a request that was carried out.
        """
        for fault in self.faults.met(at):
            await asyncio.sleep(fault.seconds)
            if fault.done:
                with contextlib.suppress(GraphError):
                    await carry_out()
            if fault.status:
                answer = GraphError(fault.status, fault.code, fault.message).answer({})
                return replace(answer, headers={"Retry-After": str(fault.retry_after)} if fault.retry_after else {})
        return await carry_out()

    def _note_call(self, method: str, path: str, answer: Answer) -> None:
        self.state.note_call("graph", method, path, answer.status)


class Credential:
    """Access tokens for Graph, issued by the tenant to an application or for a user: as azure-identity has them."""

    def __init__(self, directory: Directory, permissions: tuple[str, ...], user_id: str | None = None) -> None:
        self._directory, self._permissions, self._user_id = directory, permissions, user_id
        self._token: AccessToken | None = None

    async def get_token(self, *scopes: str, **_: Any) -> AccessToken:
        """Return a token that is valid for at least five minutes; whatever the scopes, it is one for Graph."""
        from azure.core.credentials import AccessToken

        now = int(self._directory.clock.now())
        # A reset or a snapshot may have set the clock back: a token of the time that was undone is not valid yet.
        if self._token is None or not now + 300 <= self._token.expires_on <= now + identity.TOKEN_LIFETIME:
            text = identity.issue_token(
                self._directory,
                audience=identity.GRAPH,
                client_app_id=self._directory.meta("admin_client_id") or "",
                subject=self._user_id,
                roles=() if self._user_id else self._permissions,
                scopes=self._permissions if self._user_id else (),
            )
            self._token = AccessToken(text, now + identity.TOKEN_LIFETIME)
        return self._token

    async def close(self) -> None:
        """Forget the token."""
        self._token = None

    async def __aenter__(self) -> Credential:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


class _InProcess(httpx.AsyncBaseTransport):
    """Hands requests to the tenant's application; refuses hosts that are not the tenant's."""

    def __init__(self, tenant: RehearsalTenant) -> None:
        self._tenant = tenant
        self._asgi = httpx.ASGITransport(app=tenant.app)
        hosts = (f"{name}.ciamlogin.com" for name in (tenant.subdomain, tenant.tenant_id))
        self._hosts = {_GRAPH_HOST, identity.LOGIN_HOST, *hosts}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.host not in self._hosts:
            raise httpx.ConnectError(
                f"The rehearsal tenant does not serve {request.url.host}: nothing was sent.", request=request
            )
        faults = {fault.name for fault in self._tenant.faults.met("network")}
        if "network-down" in faults:
            raise httpx.ConnectError("The connection could not be made.", request=request)
        if "connection-dropped" in faults:
            raise httpx.RemoteProtocolError("<ConnectionTerminated error_code:0>", request=request)
        try:
            answer = await self._asgi.handle_async_request(request)
        except sqlite3.DatabaseError as error:
            raise _unusable(self._tenant.path, error) from None
        if "answer-lost" in faults:
            raise httpx.ReadError("The connection broke before the answer arrived.", request=request)
        return answer


async def _not_simulated(request: Request) -> Response:
    return _response(refusal("not-simulated", what=f"{request.method} {request.url.path}").answer({}))


def _response(answer: Answer) -> Response:
    headers = dict(answer.headers)
    if answer.text is not None:
        return Response(answer.text, answer.status, headers, "text/plain")
    if answer.body is None:
        return Response(None, answer.status, headers)
    return Response(json.dumps(answer.body, ensure_ascii=False).encode(), answer.status, headers, _JSON)


def _unusable(path: Path, error: Exception) -> KitError:
    if "locked" in str(error):
        return KitError(
            f"The rehearsal tenant {path} is in use by another program that does not release it.",
            service=str(error),
            next_step="Restart the kernels of other notebooks that use it, then run this again.",
        )
    # What cannot be read is quoted: in a broken file that may be a key.
    words = str(error).partition(" with text")[0]
    return KitError(
        f"The rehearsal tenant cannot be opened from {path}: {words}.",
        next_step="Check that you may write to this folder. If the file is an old or broken rehearsal tenant, "
        "delete it and its -wal and -shm companions; the next run makes a new one.",
    )

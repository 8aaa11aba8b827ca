"""A stand-in external tenant that lives in one file.

The seam to everything else is HTTP: `transport()` answers the URLs of Graph and of the sign-in service in this process,
without a socket, and refuses every other host.
"""

from __future__ import annotations

import functools
import sqlite3
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import httpx

from jitkit.errors import KitError
from jitkit.rehearsal import identity, publications
from jitkit.rehearsal.calls import CallLog
from jitkit.rehearsal.credential import Credential
from jitkit.rehearsal.directory import Directory

if TYPE_CHECKING:
    from starlette.applications import Starlette

    from jitkit.rehearsal.caller import Caller
    from jitkit.rehearsal.callout import Callout
    from jitkit.rehearsal.faults import Faults
    from jitkit.rehearsal.graph.wire import Answer
    from jitkit.rehearsal.self_service import Journey
    from jitkit.rehearsal.sign_in_result import SignIn

_GRAPH_HOST = "graph.microsoft.com"


class RehearsalTenant:
    """A tenant to rehearse with. Use `RehearsalTenant.open`.

    Args:
        path: the file that holds it.
        permissions: what the administrator's token allows.
    """

    def __init__(self, path: Path, permissions: Collection[str]) -> None:
        self.path = path
        self.directory = Directory(path)
        self._permissions = tuple(permissions)
        self.calls: Final = CallLog()

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
            tenant = cls(path, identity.ADMINISTRATOR_PERMISSIONS if permissions is None else permissions)
            tenant._seed()
        except (sqlite3.DatabaseError, OSError) as error:
            raise _unusable(path, error) from None
        return tenant

    @property
    def tenant_id(self) -> str:
        """The tenant's id, a GUID."""
        return self._fact("tenant_id")

    @property
    def domain(self) -> str:
        """The initial and default domain, `<subdomain>.onmicrosoft.com`."""
        return self._fact("domain")

    @property
    def subdomain(self) -> str:
        """The first label of the tenant's ciamlogin.com host."""
        return self._fact("subdomain")

    @functools.cached_property
    def app(self) -> Starlette:
        """The ASGI application: Graph, tokens and OpenID documents."""
        from jitkit.rehearsal.app import make_app

        return make_app(self)

    @functools.cached_property
    def caller(self) -> Caller:
        """What calls the endpoint at a sign-in."""
        from jitkit.rehearsal.caller import Caller

        return Caller(self.directory, self.faults, self.calls)

    @functools.cached_property
    def faults(self) -> Faults:
        """The faults that are switched on for as long as this tenant is open."""
        from jitkit.rehearsal.faults import Faults

        return Faults()

    def credential(self) -> Credential:
        """Make a credential of the tenant's administrator, as azure-identity's asynchronous ones."""
        return Credential(self.directory, self._permissions)

    def transport(self) -> httpx.AsyncBaseTransport:
        """Make an httpx transport that hands requests for Graph and for sign-in to this tenant, and no other."""
        hosts = {_GRAPH_HOST, identity.LOGIN_HOST, f"{self.subdomain}.ciamlogin.com", f"{self.tenant_id}.ciamlogin.com"}
        return _InProcess(self, frozenset(hosts))

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
            username: what the person types as e-mail address or user name.
            password: what the person types as password.
            client_app_id: the app they sign in to; None means the only one that is set up for it.
            new_password: what they type if the journey asks for a new password.
            ip: the address they come from.
        """
        from jitkit.rehearsal import sign_in

        return await sign_in.sign_in(
            self, username, password, client_app_id=client_app_id, new_password=new_password, ip=ip
        )

    async def reset_password(self, username: str, new_password: str, *, reads_mail: bool = True) -> Journey:
        """Let a person choose a forgotten password anew, with a one-time passcode sent to their e-mail address.

        Args:
            username: the e-mail address they sign in with.
            new_password: what they choose.
            reads_mail: whether they can read the passcode.
        """
        from jitkit.rehearsal import self_service

        return await self_service.reset_password(self, username, new_password, reads_mail=reads_mail)

    async def compose_callout(self, username: str, password: str, *, client_app_id: str | None = None) -> Callout:
        """Compose what a sign-in would send to the endpoint, without sending it.

        Args:
            username: the user it is about.
            password: the password to encrypt into it.
            client_app_id: the app they sign in to; None means the only one that is set up for it.
        """
        from jitkit.rehearsal import callout

        return await callout.compose(self, username, password, client_app_id=client_app_id)

    async def reach(self, url: str) -> httpx.Response:
        """Send a GET to a public address, on the way that a callout takes.

        Args:
            url: the address.

        Raises:
            httpx.TransportError: nothing answers there.
        """
        from jitkit.rehearsal.delivery import reach

        return await reach(self.caller, url)

    def observe(self, method: str, path: str, answer: Answer) -> None:
        """Note an answer of Graph in `calls`, and what it made."""
        self.faults.delays.note(method, path, answer)
        self.calls.add(self.directory.clock.now(), "graph", method, path, answer.status)

    def publish(self, host: str, base_url: str) -> None:
        """Let `https://{host}` reach a loopback address: the stand-in for a tunnel or for hosting.

        Args:
            host: the public host name.
            base_url: where it leads, such as `http://127.0.0.1:7071`.
        """
        publications.publish(self.directory, host, base_url)

    def unpublish(self, host: str) -> None:
        """Let a public host lead nowhere again."""
        publications.unpublish(self.directory, host)

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

    def _seed(self) -> None:
        if self.directory.meta("seeded") is None:
            from jitkit.rehearsal.seed import seed

            seed(self.directory)

    def _fact(self, name: str) -> str:
        return self.directory.meta(name) or ""


class _InProcess(httpx.AsyncBaseTransport):
    """Hand requests to an ASGI application; refuse hosts it does not stand in for."""

    def __init__(self, tenant: RehearsalTenant, hosts: frozenset[str]) -> None:
        self._tenant = tenant
        self._asgi = httpx.ASGITransport(app=tenant.app)
        self._hosts = hosts

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.host not in self._hosts:
            raise httpx.ConnectError(
                f"The rehearsal tenant does not stand in for {request.url.host}: nothing was sent.", request=request
            )
        lost = self._tenant.faults.network(request)
        try:
            answer = await self._asgi.handle_async_request(request)
        except sqlite3.DatabaseError as error:
            raise _unusable(self._tenant.path, error) from None
        if lost:
            raise httpx.ReadError("The connection broke before the answer arrived.", request=request)
        return answer


def _unusable(path: Path, error: Exception) -> KitError:
    if "locked" in str(error):
        return KitError(
            f"The rehearsal tenant {path} is in use by something that does not let go of it.",
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

"""A legacy store in a directory: LDAP, and Active Directory by LDAP.

    ldaps://ACCOUNT:PASSWORD@HOST:PORT/BASE?filter=…&ca=…
    ldaps://HOST:PORT/?bind=…&ca=…

ACCOUNT is the name of a service account as the directory takes it in a bind, BASE the entry to search under. What has
a meaning in a URL (`@ : / ? # % &` and a blank) is percent-encoded. The parameters:

- `filter`: the search, with `{username}` for the escaped name; the default is `DEFAULT_FILTER`.
- `bind`: instead of an account and a search, the name to bind to, with `{username}`: `CONTOSO\\{username}`,
  `{username}` where users type their user principal name, or `uid={username},ou=people,dc=contoso,dc=example`.
- `ca`: a file with the certificates of the authorities to trust (PEM); the default is the system's.

`ldap:`, without TLS, is accepted for this machine alone.

With a service account, the name is searched for first and the entry found is bound to; two entries for one name are
ambiguous. A referral is never followed, and an empty password, which directories take for an anonymous bind, is wrong
without asking.

Sources: RFC 4511 for the result codes; draft-behera-ldap-password-policy for the control; the sub-codes of Active
Directory are Windows error numbers in hexadecimal. Each was tried against OpenLDAP or Samba's Active Directory, except
525 and 532, which only a real one gives.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import secrets
import socket
import ssl
import threading
import time
import warnings
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn
from urllib.parse import parse_qsl, unquote, urlsplit

from jitkit.endpoint.stores.base import Verdict, can_be_sent, is_loopback, typed_name
from jitkit.errors import SettingsError

with warnings.catch_warnings():
    # ldap3 2.9 uses names of pyasn1 that are to go.
    warnings.simplefilter("ignore", DeprecationWarning)
    import ldap3
    from ldap3.core.exceptions import LDAPInvalidFilterError
    from ldap3.operation.search import parse_filter
    from ldap3.utils.conv import escape_filter_chars
    from ldap3.utils.dn import escape_rdn
    from pyasn1.codec.ber import decoder
    from pyasn1.type import namedtype, tag, univ

_log = logging.getLogger(__name__)

DEFAULT_FILTER: Final = "(&(objectClass=person)(|(mail={username})(userPrincipalName={username})(uid={username})))"
POLICY_CONTROL: Final = "1.3.6.1.4.1.42.2.27.8.5.1"

_PORTS: Final = {"ldaps": 636, "ldap": 389}
_PARAMETERS: Final = {"filter", "bind", "ca"}
_NAME: Final = "{username}"

_CONNECTIONS: Final = 20
_IDLE_SECONDS: Final = 60  # load balancers forget a silent connection after a few minutes, without a word
_BUDGET: Final = 1.5
_SPARE: Final = 0.1  # so that the store gives up before its caller does
_STEP_SECONDS: Final = 2  # ldap3 takes whole seconds; a call is cut off before

# What has a meaning in `DOMAIN\name`, in a DN or in a list of names, and does not belong in one name.
_NOT_IN_A_NAME: Final = re.compile(r'[\\,;=<>"]')

_SUCCESS, _TOO_MANY, _CONSTRAINT, _NO_OBJECT, _INVALID_CREDENTIALS, _BUSY, _UNWILLING = 0, 4, 19, 32, 49, 51, 53
_EXPIRED, _LOCKED, _CHANGE_AFTER_RESET = 0, 1, 2

# Only 775 comes for a wrong password too, and 525 and 52e for nothing else; the rest prove the password.
_ACTIVE_DIRECTORY: Final = {
    "525": Verdict.UNKNOWN_USER,
    "52e": Verdict.WRONG,
    "52f": Verdict.DISABLED,  # account restriction
    "530": Verdict.DISABLED,  # outside of logon hours
    "531": Verdict.DISABLED,  # not from this workstation
    "532": Verdict.RIGHT_MUST_CHANGE,  # password expired
    "533": Verdict.DISABLED,
    "701": Verdict.DISABLED,  # account expired
    "773": Verdict.RIGHT_MUST_CHANGE,  # must change at next logon
    "775": Verdict.LOCKED,
}
_SUB_CODE: Final = re.compile(r"AcceptSecurityContext error, data ([0-9a-f]+)", re.IGNORECASE)


@dataclass(frozen=True)
class Plan:
    """What the URL says.

    Args:
        host: the directory's name or address.
        port: its port.
        context: how TLS verifies it, or None on this machine.
        base: the entry under which names are searched for.
        user: the service account's name, or empty.
        password: its password.
        filter: the search, with `{username}`; empty when `bind` is used.
        bind: the name to bind to, with `{username}`; empty when the name is searched for.
    """

    host: str
    port: int
    context: ssl.SSLContext | None
    base: str
    user: str
    password: bytes = field(repr=False)
    filter: str
    bind: str


def read_url(url: str) -> Plan:
    """Read the directory's URL (see the module's text).

    Raises:
        SettingsError: the URL cannot be used. The message holds no part of it.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port or _PORTS[parts.scheme]
        parameters = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
    except (ValueError, KeyError):
        _refuse("cannot be read as the URL of a directory")
    if not host or parts.fragment:
        _refuse("names no host, or holds a # that is not written as %23")
    if not parameters.keys() <= _PARAMETERS:
        _refuse("has a parameter that is none of filter, bind and ca")
    if parts.scheme == "ldap" and not is_loopback(host):
        _refuse("would send passwords in clear: without TLS, ldap: is for this machine alone")
    user, base = unquote(parts.username or ""), unquote(parts.path.removeprefix("/"))
    password, template = unquote(parts.password or ""), parameters.get("bind", "")
    search = "" if template else parameters.get("filter", DEFAULT_FILTER)
    if template and (user or "filter" in parameters):
        _refuse("has bind next to an account or a filter: use one or the other")
    if not template and not (user and password and base):
        _refuse("lacks a service account, its password or the base to search under, and has no bind")
    if _NAME not in (template or search):
        _refuse("has a filter or bind without {username}")
    context = None if parts.scheme == "ldap" else _trusting(parameters.get("ca"))
    return Plan(host, port, context, base, user, password.encode(), search, template)


def _trusting(ca: str | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca)
    except (OSError, ssl.SSLError):
        _refuse("names a file for ca that is not there or holds no certificate")


def _refuse(what: str) -> NoReturn:
    raise SettingsError(
        f"LegacyApiConnectionString {what}.",
        next_step="Write ldaps://ACCOUNT:PASSWORD@HOST/BASE, or ldaps://HOST/?bind=TEMPLATE with {username} in it.",
    ) from None


def _is_filter(text: str) -> bool:
    try:
        parse_filter(text, None, False, True, None, False)
    except (LDAPInvalidFilterError, IndexError, ValueError):
        return False
    return True


def _context(number: int, kind: Any) -> Any:
    return kind.subtype(implicitTag=tag.Tag(tag.tagClassContext, tag.tagFormatSimple, number))


class _Warning(univ.Choice):  # type: ignore[misc]
    componentType = namedtype.NamedTypes(
        namedtype.NamedType("timeBeforeExpiration", _context(0, univ.Integer())),
        namedtype.NamedType("graceAuthNsRemaining", _context(1, univ.Integer())),
    )


class _PolicyResponse(univ.Sequence):  # type: ignore[misc]
    componentType = namedtype.NamedTypes(
        namedtype.OptionalNamedType(
            "warning",
            _Warning().subtype(explicitTag=tag.Tag(tag.tagClassContext, tag.tagFormatConstructed, 0)),
        ),
        namedtype.OptionalNamedType("error", _context(1, univ.Enumerated())),
    )


def judge(result: Mapping[str, Any]) -> Verdict:
    """Turn the result of a bind with a name and a password into a verdict.

    Args:
        result: ldap3's `Connection.result`: `result` (code), `message` (diagnostic text), `controls`.

    Raises:
        Exception: the control cannot be decoded.
    """
    code, text = result["result"], str(result.get("message") or "")
    error, grace = _policy((result.get("controls") or {}).get(POLICY_CONTROL, {}).get("value"))
    if code == _SUCCESS:
        return Verdict.RIGHT_MUST_CHANGE if error == _CHANGE_AFTER_RESET or grace else Verdict.RIGHT
    if code == _INVALID_CREDENTIALS:
        return _judge_refusal(text, error)
    if code == _NO_OBJECT:
        return Verdict.UNKNOWN_USER
    if code == _BUSY:
        return Verdict.THROTTLED
    # 389 Directory Server's own words for a locked and an inactivated account.
    if code == _CONSTRAINT and "retry limit" in text.lower():
        return Verdict.LOCKED
    if code == _UNWILLING and "inactivated" in text.lower():
        return Verdict.DISABLED
    # A referral, TLS wanted, a name that is no DN …: nothing was said about the password.
    _log.error("the directory answered a bind with result code %d", code)
    return Verdict.DOWN


def _judge_refusal(text: str, error: int | None) -> Verdict:
    """Find what "invalid credentials" means."""
    if found := _SUB_CODE.search(text):
        verdict = _ACTIVE_DIRECTORY.get(found[1].lower())
        if verdict is None:
            _log.error("the directory refused a bind with sub-code %s", found[1])
        return verdict or Verdict.DOWN
    if error == _EXPIRED:  # only after the right password
        return Verdict.RIGHT_MUST_CHANGE
    return Verdict.LOCKED if error == _LOCKED else Verdict.WRONG


def _policy(value: bytes | None) -> tuple[int | None, bool]:
    """Decode the password-policy response: its error, and whether an expired password has logins left."""
    if not value:
        return None, False
    response, _ = decoder.decode(value, asn1Spec=_PolicyResponse())
    error, warning = response["error"], response["warning"]
    grace = warning.isValue and warning.getName() == "graceAuthNsRemaining"
    return int(error) if error.isValue else None, bool(grace)


class _Tls(ldap3.Tls):  # type: ignore[misc]
    """TLS by one shared context, which verifies chain and host name; ldap3's own verifies nothing by default."""

    def __init__(self, plan: Plan) -> None:
        super().__init__(validate=ssl.CERT_REQUIRED)
        self._plan = plan

    def wrap_socket(self, connection: Any, do_handshake: bool = False) -> None:
        assert self._plan.context is not None
        connection.socket = self._plan.context.wrap_socket(
            connection.socket, server_hostname=self._plan.host, do_handshake_on_connect=do_handshake
        )


class _Cutter:
    """Holds the connection that one verification waits on, so that the event loop can end that wait.

    ldap3 blocks its thread, and its own timeouts count from the last byte: a directory that sends one byte at a time
    would hold the thread for ever.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._connection: Any = None
        self.is_cut = False

    def hold(self, connection: Any) -> None:
        """Name the connection in use, or None; raise ConnectionAbortedError when time is already up."""
        with self._lock:
            self._connection = connection
            if self.is_cut and connection is not None:
                raise ConnectionAbortedError

    def cut(self) -> None:
        """End whatever the thread waits for."""
        with self._lock:
            self.is_cut = True
            wire = getattr(self._connection, "socket", None)
            if wire is not None:
                # Not SSLSocket's own shutdown: it takes TLS off first, and a write at that moment would be in clear.
                with contextlib.suppress(OSError):
                    socket.socket.shutdown(wire, socket.SHUT_RDWR)


class _NotAsked(Exception):
    """The directory refuses the service account or its search: nothing was said about the user's password."""


class LdapStore:
    """Verify passwords by binding to a directory (see the module's text).

    Raises:
        SettingsError: the URL cannot be used, or the packages are not installed.
    """

    kind = "ldap"

    def __init__(self, url: str) -> None:
        self._plan: Plan = read_url(url)
        if self._plan.filter and not _is_filter(self._plan.filter.replace(_NAME, "ann")):
            raise SettingsError(
                "The filter in LegacyApiConnectionString cannot be read.",
                next_step="Write it as RFC 4515 says, in brackets, with & as %26: filter=(%26(mail={username})(a=b)).",
            )
        self._threads = ThreadPoolExecutor(_CONNECTIONS, thread_name_prefix="legacy-ldap")
        self._idle: list[tuple[float, Any]] = []
        self._lock = threading.Lock()
        self._seconds = _BUDGET - _SPARE

    async def prepare(self, budget: float) -> None:
        """Bind the service account once, and warn in the log when that fails."""
        self._seconds = budget - _SPARE
        if not self._plan.filter:
            return
        cutter = _Cutter()
        try:
            async with asyncio.timeout(self._seconds):
                await asyncio.get_running_loop().run_in_executor(self._threads, self._find, cutter, _no_ones_name())
        except Exception as error:  # noqa: BLE001 - whatever it is, the endpoint starts, and says so
            _log.warning("the directory cannot be searched yet: %s", type(error).__name__)
        finally:
            cutter.cut()

    async def verify(self, username: str, password: str) -> Verdict:
        """Judge a password; an unknown name costs a bind too."""
        name = typed_name(username)
        if not can_be_sent(name, password) or "\0" in password:
            return Verdict.WRONG
        if not name.isprintable():
            return Verdict.UNKNOWN_USER
        cutter = _Cutter()
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._seconds):
                return await loop.run_in_executor(self._threads, self._judge, cutter, name, password.encode())
        except TimeoutError:
            _log.error("the directory did not answer in time")
            return Verdict.DOWN
        finally:
            cutter.cut()

    async def close(self) -> None:
        """Close the connections, and let running threads end by themselves."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        while (connection := self._take()) is not None:
            _unbind(connection)

    def _judge(self, cutter: _Cutter, name: str, secret: bytes) -> Verdict:
        try:
            found = self._find(cutter, name) if self._plan.filter else self._from_template(name)
            if len(found) > 1:
                return Verdict.AMBIGUOUS
            if not found:
                # As long as a wrong password takes, without sending this one anywhere.
                template = self._plan.bind or f"cn={_NAME},{self._plan.base}"
                self._bind_once(cutter, template.replace(_NAME, _no_ones_name()), secrets.token_hex(16).encode())
                return Verdict.UNKNOWN_USER
            return self._bind_once(cutter, found[0], secret)
        except Exception as error:  # noqa: BLE001 - sockets, TLS and decoders fail in many forms, and ldap3 adds its own
            if not cutter.is_cut:
                _log.error("the directory did not answer: %s", type(error).__name__)
            return Verdict.DOWN

    def _bind_once(self, cutter: _Cutter, user: str, secret: bytes) -> Verdict:
        connection = self._connect(cutter, user, secret)
        try:
            return _bind(connection)
        finally:
            cutter.hold(None)
            _unbind(connection)

    def _from_template(self, name: str) -> list[str]:
        if _NOT_IN_A_NAME.search(name):
            return []
        template = self._plan.bind
        return [template.replace(_NAME, str(escape_rdn(name)) if "=" in template else name)]

    def _find(self, cutter: _Cutter, name: str) -> list[str]:
        """Search for a name.

        The directory may have closed a connection that was kept: then on a new one, which shows whether the directory
        can be reached.
        """
        text = self._plan.filter.replace(_NAME, str(escape_filter_chars(name)))
        while (connection := self._take()) is not None:
            try:
                return self._search(cutter, connection, text)
            except Exception:
                if cutter.is_cut:
                    raise
        connection = self._connect(cutter, self._plan.user, self._plan.password)
        verdict = _bind(connection)
        if verdict not in (Verdict.RIGHT, Verdict.RIGHT_MUST_CHANGE):
            _unbind(connection)
            _log.error("the directory refuses the service account: %s", verdict)
            raise _NotAsked
        return self._search(cutter, connection, text)

    def _search(self, cutter: _Cutter, connection: Any, text: str) -> list[str]:
        """Find the names of the entries that a filter fits, two at most, and keep the connection while it is good."""
        try:
            cutter.hold(connection)
            connection.search(self._plan.base, text, ldap3.SUBTREE, attributes=[ldap3.NO_ATTRIBUTES], size_limit=2)
            # Next to entries the response holds references to other servers, which are not followed.
            found = [str(item["dn"]) for item in connection.response or () if item["type"] == "searchResEntry"]
            code = connection.result["result"]
            if code != _SUCCESS and not (code == _TOO_MANY and len(found) > 1):
                _log.error("the directory answered the search with result code %d", code)
                raise _NotAsked
            cutter.hold(None)
        except BaseException:
            _unbind(connection)
            raise
        with self._lock:
            self._idle.append((time.monotonic(), connection))
        return found

    def _take(self) -> Any:
        """Take the connection used last; those that were idle for long are closed."""
        while True:
            with self._lock:
                if not self._idle:
                    return None
                used, connection = self._idle.pop()
            if time.monotonic() - used < _IDLE_SECONDS:
                return connection
            _unbind(connection)

    def _connect(self, cutter: _Cutter, user: str, password: bytes) -> Any:
        """Open a connection for one identity, not bound yet.

        The password is bytes: ldap3 would pass text through SASLprep, which changes some passwords. A server object is
        not shared: connections in other threads would overwrite its state.
        """
        plan = self._plan
        server = ldap3.Server(
            plan.host,
            plan.port,
            use_ssl=plan.context is not None,
            tls=_Tls(plan) if plan.context else None,
            get_info=ldap3.NONE,
            connect_timeout=_STEP_SECONDS,
        )
        connection = ldap3.Connection(
            server,
            user=user,
            password=password,
            authentication=ldap3.SIMPLE,
            auto_referrals=False,
            auto_escape=False,
            check_names=False,
            raise_exceptions=False,
            receive_timeout=_STEP_SECONDS,
        )
        cutter.hold(connection)
        try:
            connection.open(read_server_info=False)
            # Else the bind waits 40 ms for the acknowledgement of the handshake's last message.
            connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            cutter.hold(connection)
        except BaseException:
            _unbind(connection)
            raise
        return connection


def _bind(connection: Any) -> Verdict:
    """Bind with the connection's identity, and ask what the password policy says about it."""
    connection.bind(read_server_info=False, controls=[(POLICY_CONTROL, False, None)])
    return judge(connection.result)


def _unbind(connection: Any) -> None:
    """Close a connection, whatever state it is in."""
    with contextlib.suppress(Exception):
        connection.unbind()


def _no_ones_name() -> str:
    """Make a name that no entry has."""
    return f"nobody-{secrets.token_hex(8)}"

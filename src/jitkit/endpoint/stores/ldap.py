"""A legacy store in a directory: LDAP, and Active Directory by LDAP (README.md has the URL's parameters).

Sources: RFC 4511 for the result codes; draft-behera-ldap-password-policy for the control.
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
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, TypeVar
from urllib.parse import parse_qsl, unquote, urlsplit

from jitkit.endpoint.stores.base import Verdict, can_be_sent, is_loopback, read_answers, refuse_url, typed_name

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

_Result = TypeVar("_Result")

DEFAULT_FILTER: Final = "(&(objectClass=person)(|(mail={username})(userPrincipalName={username})(uid={username})))"
POLICY_CONTROL: Final = "1.3.6.1.4.1.42.2.27.8.5.1"

_FORM: Final = "Write ldaps://ACCOUNT:PASSWORD@HOST/BASE, or ldaps://HOST/?bind=TEMPLATE with {username} in it."
_PORTS: Final = {"ldaps": 636, "ldap": 389}
_PARAMETERS: Final = {"filter", "bind", "ca"}
_NAME: Final = "{username}"
_CONNECTIONS: Final = 20
_IDLE_SECONDS: Final = 60  # load balancers forget a silent connection after a few minutes, without a word
_SPARE: Final = 0.1  # so that the store gives up before its caller does
_STEP_SECONDS: Final = 2  # ldap3 takes whole seconds; a call is cut off before
_CONNECTION: Final = {
    **{"auto_referrals": False, "auto_escape": False, "check_names": False, "raise_exceptions": False},
    "receive_timeout": _STEP_SECONDS,
}

# What has a meaning in `DOMAIN\name`, in a DN or in a list of names, and does not belong in one name.
_NOT_IN_A_NAME: Final = re.compile(r'[\\,;=<>"]')
_SUCCESS, _TOO_MANY, _CONSTRAINT, _NO_OBJECT, _INVALID_CREDENTIALS, _BUSY, _UNWILLING = 0, 4, 19, 32, 49, 51, 53
_EXPIRED, _LOCKED, _CHANGE_AFTER_RESET = 0, 1, 2
_ACTIVE_DIRECTORY: Final = {code: Verdict(word) for code, word in read_answers("active_directory").items()}
_OF_ONE_PERSON: Final = {words: Verdict(word) for words, word in read_answers("directory").items()}
_SUB_CODE: Final = re.compile(r"AcceptSecurityContext error, data ([0-9a-f]+)", re.IGNORECASE)


@dataclass(frozen=True)
class Plan:
    """What the URL says: `filter` with a service account, or `bind`; the other one is empty."""

    host: str
    port: int
    context: ssl.SSLContext | None  # how TLS verifies the directory; None on this machine
    base: str
    user: str
    password: bytes = field(repr=False)
    filter: str
    bind: str


def read_url(url: str) -> Plan:
    """Read the directory's URL, or raise SettingsError, whose text holds no part of it."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port or _PORTS[parts.scheme]
        parameters = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
    except (ValueError, KeyError):
        refuse_url("cannot be read as the URL of a directory", _FORM)
    if not host or parts.fragment:
        refuse_url("names no host, or holds a # that is not written as %23", _FORM)
    if not parameters.keys() <= _PARAMETERS:
        refuse_url("has a parameter that is none of filter, bind and ca", _FORM)
    if parts.scheme == "ldap" and not is_loopback(host):
        refuse_url("would send passwords in clear: without TLS, ldap: is for this machine alone", _FORM)
    user, base = unquote(parts.username or ""), unquote(parts.path.removeprefix("/"))
    password, template = unquote(parts.password or ""), parameters.get("bind", "")
    search = "" if template else parameters.get("filter", DEFAULT_FILTER)
    if template and (user or "filter" in parameters):
        refuse_url("has bind next to an account or a filter: use one or the other", _FORM)
    if not template and not (user and password and base):
        refuse_url("lacks a service account, its password or the base to search under, and has no bind", _FORM)
    if _NAME not in (template or search):
        refuse_url("has a filter or bind without {username}", _FORM)
    try:
        if search:
            parse_filter(search.replace(_NAME, "ann"), None, False, True, None, False)
    except (LDAPInvalidFilterError, IndexError, ValueError):
        refuse_url("has a filter that is not as RFC 4515 says, in brackets, with & as %26", _FORM)
    try:
        context = None if parts.scheme == "ldap" else ssl.create_default_context(cafile=parameters.get("ca"))
    except OSError:  # ssl.SSLError is one
        refuse_url("names a file for ca that is not there or holds no certificate", _FORM)
    return Plan(host, port, context, base, user, password.encode(), search, template)


def _context(number: int, kind: Any) -> Any:
    return kind.subtype(implicitTag=tag.Tag(tag.tagClassContext, tag.tagFormatSimple, number))


_WARNING: Final = univ.Choice(
    componentType=namedtype.NamedTypes(
        namedtype.NamedType("timeBeforeExpiration", _context(0, univ.Integer())),
        namedtype.NamedType("graceAuthNsRemaining", _context(1, univ.Integer())),
    )
).subtype(explicitTag=tag.Tag(tag.tagClassContext, tag.tagFormatConstructed, 0))
_POLICY: Final = univ.Sequence(
    componentType=namedtype.NamedTypes(
        namedtype.OptionalNamedType("warning", _WARNING),
        namedtype.OptionalNamedType("error", _context(1, univ.Enumerated())),
    )
)


def judge(result: Mapping[str, Any]) -> Verdict:
    """Turn ldap3's result of a bind with a name and a password into a verdict; raise where it cannot be decoded."""
    code, text = result["result"], str(result.get("message") or "")
    error, grace = -1, False
    if control := (result.get("controls") or {}).get(POLICY_CONTROL, {}).get("value"):
        policy, _ = decoder.decode(control, asn1Spec=_POLICY)
        error = int(policy["error"]) if policy["error"].isValue else error
        # Logins that an expired password has left.
        grace = policy["warning"].isValue and policy["warning"].getName() == "graceAuthNsRemaining"
    if code == _SUCCESS:
        return Verdict.RIGHT_MUST_CHANGE if error == _CHANGE_AFTER_RESET or grace else Verdict.RIGHT
    if code == _INVALID_CREDENTIALS and (found := _SUB_CODE.search(text)):
        if found[1].lower() not in _ACTIVE_DIRECTORY:
            _log.error("the directory refused a bind with sub-code %s, which is not known", found[1])
        return _ACTIVE_DIRECTORY.get(found[1].lower(), Verdict.MALFORMED)
    if code == _INVALID_CREDENTIALS:  # "expired" comes only after the right password
        return {_EXPIRED: Verdict.RIGHT_MUST_CHANGE, _LOCKED: Verdict.LOCKED}.get(error, Verdict.WRONG)
    if code in (_NO_OBJECT, _BUSY):
        return Verdict.UNKNOWN_USER if code == _NO_OBJECT else Verdict.THROTTLED
    if code in (_CONSTRAINT, _UNWILLING):  # the directory did answer, and may speak of this one person alone
        known = next((verdict for words, verdict in _OF_ONE_PERSON.items() if words in text.lower()), None)
        if known is None:
            _log.error("the directory refused a bind with result code %d, in words that are not known", code)
        return known or Verdict.MALFORMED
    # A referral, TLS wanted, a name that is no DN …: nothing was said about the password.
    _log.error("the directory answered a bind with result code %d", code)
    return Verdict.DOWN


class _Tls(ldap3.Tls):  # type: ignore[misc]
    """TLS by one shared context, which verifies chain and host name; ldap3's own verifies nothing by default."""

    def __init__(self, context: ssl.SSLContext, host: str) -> None:
        super().__init__(validate=ssl.CERT_REQUIRED)
        self._wrap = partial(context.wrap_socket, server_hostname=host)

    def wrap_socket(self, connection: Any, do_handshake: bool = False) -> None:
        connection.socket = self._wrap(connection.socket, do_handshake_on_connect=do_handshake)


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


class LdapStore:
    """Verify passwords by binding to a directory."""

    kind = "ldap"

    def __init__(self, url: str) -> None:
        self._plan: Plan = read_url(url)
        self._threads = ThreadPoolExecutor(_CONNECTIONS, thread_name_prefix="legacy-ldap")
        self._idle: list[tuple[float, Any]] = []
        self._lock = threading.Lock()
        self._seconds = 1.5 - _SPARE

    async def prepare(self, budget: float) -> None:
        """Bind the service account once, and warn in the log when that fails."""
        self._seconds = budget - _SPARE
        if not self._plan.filter:
            return
        try:
            await self._in_time(self._find, _no_ones_name())
        except Exception as error:  # noqa: BLE001 - whatever it is, the endpoint starts, and says so
            _log.warning("the directory cannot be searched yet: %s", type(error).__name__)

    async def verify(self, username: str, password: str) -> Verdict:
        """Judge a password; an unknown name costs a bind too."""
        name = typed_name(username)
        if not can_be_sent(name, password) or "\0" in password:
            return Verdict.WRONG
        if not name.isprintable():
            return Verdict.UNKNOWN_USER
        try:
            return await self._in_time(self._judge, name, password.encode())
        except TimeoutError:
            _log.error("the directory did not answer in time")
            return Verdict.DOWN

    async def _in_time(self, work: Callable[..., _Result], *arguments: Any) -> _Result:
        """Run blocking work in a thread; end its wait for the directory when time is up or the call is cancelled."""
        cutter = _Cutter()
        try:
            async with asyncio.timeout(self._seconds):
                return await asyncio.get_running_loop().run_in_executor(self._threads, work, cutter, *arguments)
        finally:
            cutter.cut()

    async def close(self) -> None:
        """Close the connections, and let running threads end by themselves."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        while (connection := self._take()) is not None:
            _unbind(connection)

    def _judge(self, cutter: _Cutter, name: str, secret: bytes) -> Verdict:
        try:
            if self._plan.filter:
                found = self._find(cutter, name)
            else:
                escaped = str(escape_rdn(name)) if "=" in self._plan.bind else name
                found = [] if _NOT_IN_A_NAME.search(name) else [self._plan.bind.replace(_NAME, escaped)]
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

    def _find(self, cutter: _Cutter, name: str) -> list[str]:
        """Search for a name, on a kept connection, or on a new one where the directory has closed those."""
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
            raise PermissionError
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
                raise PermissionError
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
        """Open a connection for one identity, not bound yet."""
        # The password is bytes: ldap3 would pass text through SASLprep, which changes some passwords. A server object
        # is not shared: connections in other threads would overwrite its state.
        plan = self._plan
        tls = {"use_ssl": True, "tls": _Tls(plan.context, plan.host)} if plan.context else {}
        server = ldap3.Server(plan.host, plan.port, get_info=ldap3.NONE, connect_timeout=_STEP_SECONDS, **tls)
        connection = ldap3.Connection(server, user, password, authentication=ldap3.SIMPLE, **_CONNECTION)
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

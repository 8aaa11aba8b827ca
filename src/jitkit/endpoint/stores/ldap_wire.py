"""LDAP connections: opened with the server's certificate verified, cut when time is up."""

from __future__ import annotations

import contextlib
import logging
import socket
import ssl
import threading
import warnings
from typing import Any, Final

with warnings.catch_warnings():
    # ldap3 2.9 uses names of pyasn1 that are to go.
    warnings.simplefilter("ignore", DeprecationWarning)
    import ldap3
    from ldap3.core.exceptions import LDAPInvalidFilterError
    from ldap3.operation.search import parse_filter
    from ldap3.utils.conv import escape_filter_chars
    from ldap3.utils.dn import escape_rdn

from jitkit.endpoint.stores import Verdict
from jitkit.endpoint.stores.ldap_answers import POLICY_CONTROL, judge

__all__ = [
    "Directory",
    "Line",
    "SearchRefused",
    "bind",
    "escape_filter",
    "escape_name",
    "filter_is_good",
    "hang_up",
    "open_connection",
    "search",
]

_log = logging.getLogger(__name__)

_SECONDS: Final = 2  # for each step; ldap3 takes whole seconds, and the line is cut before
_TOO_MANY: Final = 4


class SearchRefused(Exception):
    """The directory did not search: the base is not there, or the service account may not."""


class Directory:
    """Where the directory is, and whose certificate it must show.

    Args:
        host: name or address.
        port: the port.
        context: how TLS verifies the server, or None for a connection in clear.
    """

    def __init__(self, host: str, port: int, context: ssl.SSLContext | None) -> None:
        self.host, self.port, self.context = host, port, context


class Line:
    """The connection that one verification uses now, so that it can be cut from another thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._connection: Any = None
        self.is_cut = False

    def hold(self, connection: Any) -> None:
        """Name the connection in use.

        Raises:
            ConnectionAbortedError: the line has been cut.
        """
        with self._lock:
            self._connection = connection
            if self.is_cut:
                raise ConnectionAbortedError

    def release(self) -> None:
        """Say that no connection is in use, so that none is cut."""
        with self._lock:
            self._connection = None

    def cut(self) -> None:
        """End whatever the thread waits for."""
        with self._lock:
            self.is_cut = True
            wire = getattr(self._connection, "socket", None)
            if wire is not None:
                # Not SSLSocket's own shutdown: it takes TLS off first, and a write at that moment would be in clear.
                with contextlib.suppress(OSError):
                    socket.socket.shutdown(wire, socket.SHUT_RDWR)


class _Tls(ldap3.Tls):  # type: ignore[misc]
    """TLS by one shared context, which verifies chain and host name; ldap3's own verifies nothing by default."""

    def __init__(self, directory: Directory) -> None:
        super().__init__(validate=ssl.CERT_REQUIRED)
        self._directory = directory

    def wrap_socket(self, connection: Any, do_handshake: bool = False) -> None:
        context = self._directory.context
        assert context is not None
        connection.socket = context.wrap_socket(
            connection.socket, server_hostname=self._directory.host, do_handshake_on_connect=do_handshake
        )


def open_connection(directory: Directory, line: Line, user: str, password: bytes) -> Any:
    """Open a connection for one identity, not bound yet.

    The password is bytes: ldap3 would pass text through SASLprep, which changes some passwords. A server object is
    not shared: connections in other threads would overwrite its state.

    Raises:
        Exception: the directory cannot be reached, or shows a certificate that is not its own.
    """
    server = ldap3.Server(
        directory.host,
        directory.port,
        use_ssl=directory.context is not None,
        tls=_Tls(directory) if directory.context else None,
        get_info=ldap3.NONE,
        connect_timeout=_SECONDS,
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
        receive_timeout=_SECONDS,
    )
    line.hold(connection)
    try:
        connection.open(read_server_info=False)
        # Else the bind waits 40 ms for the acknowledgement of the handshake's last message.
        connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        line.hold(connection)
    except BaseException:
        hang_up(connection)
        raise
    return connection


def bind(connection: Any) -> Verdict:
    """Bind with the connection's identity, asking for the password policy's word on it."""
    connection.bind(read_server_info=False, controls=[(POLICY_CONTROL, False, None)])
    return judge(connection.result)


def search(connection: Any, base: str, text: str) -> list[str]:
    """Find the distinguished names of the entries that a filter fits: at most two, for two are as bad as more.

    Raises:
        SearchRefused: the directory did not search, or not to the end.
    """
    connection.search(base, text, ldap3.SUBTREE, attributes=[ldap3.NO_ATTRIBUTES], size_limit=2)
    # Beside entries the response holds references to other servers, which nobody follows.
    found = [str(item["dn"]) for item in connection.response or () if item["type"] == "searchResEntry"]
    code = connection.result["result"]
    if code == 0 or (code == _TOO_MANY and len(found) > 1):
        return found
    _log.error("the directory answered the search with result code %d", code)
    raise SearchRefused


def hang_up(connection: Any) -> None:
    """Close a connection, whatever state it is in."""
    with contextlib.suppress(Exception):
        connection.unbind()


def escape_filter(value: str) -> str:
    """Escape what has a meaning in a filter [RFC 4515]."""
    return str(escape_filter_chars(value))


def escape_name(value: str) -> str:
    """Escape what has a meaning in a distinguished name [RFC 4514]."""
    return str(escape_rdn(value))


def filter_is_good(text: str) -> bool:
    """Tell whether a filter can be read."""
    try:
        parse_filter(text, None, False, True, None, False)
    except (LDAPInvalidFilterError, IndexError, ValueError):
        return False
    return True

"""A legacy store in a directory: LDAP, and Active Directory by LDAP."""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final

from jitkit.endpoint.stores import Verdict, can_be_sent, typed_name
from jitkit.endpoint.stores.ldap_url import Plan, read_url
from jitkit.errors import SettingsError

if TYPE_CHECKING:
    from jitkit.endpoint.stores.ldap_wire import Line

__all__ = ["LdapStore"]

_log = logging.getLogger(__name__)

_CONNECTIONS: Final = 20
_IDLE_SECONDS: Final = 60  # load balancers forget a silent connection after a few minutes, and tell nobody
_BUDGET: Final = 1.5
_SPARE: Final = 0.1  # so that the store gives up before its caller does

# What has a meaning in `DOMAIN\name`, in a DN or in a list of names, and no place in one name.
_NOT_IN_A_NAME: Final = re.compile(r'[\\,;=<>"]')


class _Refused(Exception):
    """The directory refuses the service account: nothing was said about the customer's password."""


class LdapStore:
    """Verify passwords by binding to a directory.

    With a service account in the URL, the name is searched for first and the entry found is bound to; two entries for
    one name are ambiguous. With `bind`, the name is put into that template and bound to at once.

    A referral is never followed, and an empty password, which directories take for "nobody in particular", is wrong
    without asking.

    Args:
        url: see `jitkit.endpoint.stores.ldap_url.read_url`.

    Raises:
        SettingsError: the URL cannot be used, or the packages are not installed.
    """

    kind = "ldap"

    def __init__(self, url: str) -> None:
        try:
            from jitkit.endpoint.stores import ldap_wire
        except ImportError:
            raise SettingsError(
                "LegacyApiConnectionString names a directory, and the package for it is not installed.",
                next_step='Run: pip install -e ".[ldap]"',
            ) from None
        self._wire = ldap_wire
        self._plan: Plan = read_url(url)
        self._directory = ldap_wire.Directory(self._plan.host, self._plan.port, self._plan.context)
        if self._plan.filter and not ldap_wire.filter_is_good(self._plan.filter.replace("{username}", "ann")):
            raise SettingsError(
                "The filter in LegacyApiConnectionString cannot be read.",
                next_step="Write it as RFC 4515 says, in brackets, with & as %26: filter=(%26(mail={username})(a=b)).",
            )
        self._threads = ThreadPoolExecutor(_CONNECTIONS, thread_name_prefix="legacy-ldap")
        self._idle: list[tuple[float, Any]] = []
        self._lock = threading.Lock()
        self._seconds = _BUDGET - _SPARE

    async def prepare(self, budget: float) -> None:
        """Bind the service account once, and say in the log when that will not do."""
        self._seconds = budget - _SPARE
        if not self._plan.filter:
            return
        line = self._wire.Line()
        try:
            async with asyncio.timeout(self._seconds):
                await asyncio.get_running_loop().run_in_executor(self._threads, self._find, line, _nobody())
        except Exception as error:  # noqa: BLE001 - whatever it is, the endpoint starts, and says so
            _log.warning("the directory cannot be searched yet: %s", type(error).__name__)
        finally:
            line.cut()

    async def verify(self, username: str, password: str) -> Verdict:
        """Judge a password; a name that is not there costs a bind too."""
        name = typed_name(username)
        if not can_be_sent(name, password) or "\0" in password:
            return Verdict.WRONG
        if not name.isprintable():
            return Verdict.UNKNOWN_USER
        line = self._wire.Line()
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._seconds):
                return await loop.run_in_executor(self._threads, self._judge, line, name, password.encode())
        except TimeoutError:
            _log.error("the directory did not answer in time")
            return Verdict.DOWN
        finally:
            line.cut()

    async def close(self) -> None:
        """Close the connections, and let running threads end by themselves."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        while (connection := self._take()) is not None:
            self._wire.hang_up(connection)

    def _judge(self, line: Line, name: str, secret: bytes) -> Verdict:
        try:
            found = self._find(line, name) if self._plan.filter else self._from_template(name)
            if len(found) > 1:
                return Verdict.AMBIGUOUS
            if not found:
                # As long as a wrong password takes, without sending this one anywhere.
                template = self._plan.bind or f"cn={{username}},{self._plan.base}"
                self._bind(line, template.replace("{username}", _nobody()), secrets.token_hex(16).encode())
                return Verdict.UNKNOWN_USER
            return self._bind(line, found[0], secret)
        except Exception as error:  # noqa: BLE001 - sockets, TLS and decoders fail in many ways, and ldap3 adds its own
            if not line.is_cut:
                _log.error("the directory did not answer: %s", type(error).__name__)
            return Verdict.DOWN

    def _bind(self, line: Line, user: str, secret: bytes) -> Verdict:
        connection = self._wire.open_connection(self._directory, line, user, secret)
        try:
            return self._wire.bind(connection)
        finally:
            line.release()
            self._wire.hang_up(connection)

    def _from_template(self, name: str) -> list[str]:
        if _NOT_IN_A_NAME.search(name):
            return []
        template = self._plan.bind
        return [template.replace("{username}", self._wire.escape_name(name) if "=" in template else name)]

    def _find(self, line: Line, name: str) -> list[str]:
        """Search for a name.

        A connection that was kept may have been closed by the directory: then on a new one, which shows whether the
        directory is there.
        """
        text = self._plan.filter.replace("{username}", self._wire.escape_filter(name))
        while (connection := self._take()) is not None:
            try:
                return self._search(line, connection, text)
            except Exception:
                if line.is_cut:
                    raise
        connection = self._wire.open_connection(self._directory, line, self._plan.user, self._plan.password)
        verdict = self._wire.bind(connection)
        if verdict not in (Verdict.RIGHT, Verdict.RIGHT_MUST_CHANGE):
            self._wire.hang_up(connection)
            _log.error("the directory refuses the service account: %s", verdict)
            raise _Refused
        return self._search(line, connection, text)

    def _search(self, line: Line, connection: Any, text: str) -> list[str]:
        """Search, and keep the connection for the next time when it is still good."""
        try:
            line.hold(connection)
            found = self._wire.search(connection, self._plan.base, text)
            line.release()
        except BaseException:
            self._wire.hang_up(connection)
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
            self._wire.hang_up(connection)


def _nobody() -> str:
    """Make a name that no entry has."""
    return f"nobody-{secrets.token_hex(8)}"

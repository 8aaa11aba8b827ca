"""The directory as a URL: where it is, who may search it, and how a name becomes an entry."""

from __future__ import annotations

import ipaddress
import ssl
from dataclasses import dataclass, field
from typing import Final, NoReturn
from urllib.parse import parse_qsl, unquote, urlsplit

from jitkit.errors import SettingsError

__all__ = ["DEFAULT_FILTER", "Plan", "read_url"]

DEFAULT_FILTER: Final = "(&(objectClass=person)(|(mail={username})(userPrincipalName={username})(uid={username})))"

_PORTS: Final = {"ldaps": 636, "ldap": 389}
_PARAMETERS: Final = {"filter", "bind", "ca"}
_NAME: Final = "{username}"


@dataclass(frozen=True)
class Plan:
    """Hold what the URL says.

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
    """Read `ldaps://ACCOUNT:PASSWORD@HOST:PORT/BASE?filter=…&ca=…` or `ldaps://HOST:PORT/?bind=…&ca=…`.

    ACCOUNT is the name of a service account as the directory takes it in a bind, BASE the entry to search under.
    What has a meaning in a URL (`@ : / ? # % &` and a blank) is percent-encoded. The parameters:

    - `filter`: the search, with `{username}` for the escaped name; the default is `DEFAULT_FILTER`.
    - `bind`: instead of an account and a search, the name to bind to, with `{username}`:
      `CONTOSO\\{username}`, `{username}` where people type their user principal name, or
      `uid={username},ou=people,dc=contoso,dc=example`.
    - `ca`: a file with the certificates of the authorities to trust (PEM); the default is the system's.

    `ldap:`, without TLS, is accepted for this machine alone.

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
    if parts.scheme == "ldap" and not _is_loopback(host):
        _refuse("would send passwords in clear: without TLS, ldap: is for this machine alone")
    user, base = unquote(parts.username or ""), unquote(parts.path.removeprefix("/"))
    password, template = unquote(parts.password or ""), parameters.get("bind", "")
    search = "" if template else parameters.get("filter", DEFAULT_FILTER)
    if template and (user or "filter" in parameters):
        _refuse("has bind beside an account or a filter: use one way or the other")
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


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _refuse(what: str) -> NoReturn:
    raise SettingsError(
        f"LegacyApiConnectionString {what}.",
        next_step="Write ldaps://ACCOUNT:PASSWORD@HOST/BASE, or ldaps://HOST/?bind=TEMPLATE with {username} in it.",
    ) from None

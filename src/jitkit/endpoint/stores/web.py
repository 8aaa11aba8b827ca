"""One URL that passwords are posted to: never further, never in the clear, and never for long."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlsplit, urlunsplit

import httpx

from jitkit.endpoint.config import is_safe_url
from jitkit.endpoint.stores import Verdict
from jitkit.errors import SettingsError

__all__ = ["Address", "Reply", "Web", "read_address"]

_log = logging.getLogger(__name__)

# The guard cancels a call at its deadline, 1.9 s at most; beyond that nobody waits for the answer.
_SECONDS: Final = 1.9
_CONNECT_SECONDS: Final = 1.0
_CONNECTIONS: Final = 20
_IDLE_SECONDS: Final = 20.0
_LARGEST_REPLY: Final = 64 * 1024

# The statuses whose body may say something about a password.
_TELLING: Final = (200, 400, 401, 403, 429)


@dataclass(frozen=True)
class Address:
    """Hold a store's URL, taken apart.

    Args:
        url: scheme, host and path.
        query: its parameters.
        user: the user name in it, or None.
        secret: the password in it, or None.
    """

    url: str
    query: Mapping[str, str]
    user: str | None
    secret: str | None = field(repr=False)


@dataclass(frozen=True)
class Reply:
    """Hold what a store answered: a status out of 200, 400, 401, 403 and 429, and a JSON object.

    Args:
        status: the HTTP status.
        body: the object; empty when a 429 came with something else. It may hold tokens.
    """

    status: int
    body: Mapping[str, Any] = field(repr=False)


def read_address(url: str, *, scheme: str, example: str) -> Address:
    """Take a store's URL apart.

    Args:
        url: `https://USER:SECRET@HOST/PATH?QUERY`, after `scheme`; http to this machine alone. User name and secret
            are percent-encoded.
        scheme: what stands before the `https`.
        example: how the URL should be written, for the message.

    Raises:
        SettingsError: the URL cannot be used. The message never repeats it.
    """
    refused = SettingsError(
        "LegacyApiConnectionString is not an https: URL, nor an http: URL of this machine.",
        next_step=f"Write it as {example}.",
    )
    try:
        parts = urlsplit(url.removeprefix(scheme))
        pairs = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
        host, port = parts.hostname or "", parts.port
        name = f"[{host}]" if ":" in host else host
        bare = urlunsplit((parts.scheme, name if port is None else f"{name}:{port}", parts.path or "/", "", ""))
        httpx.URL(bare)
        host.encode("idna")  # as the resolver does, whose refusal would come with every call
    except (ValueError, httpx.InvalidURL):
        raise refused from None
    query = dict(pairs)
    if not is_safe_url(bare) or not host.isprintable() or " " in host or parts.fragment or len(query) != len(pairs):
        raise refused
    user = unquote(parts.username) if parts.username else None
    secret = unquote(parts.password) if parts.password else None
    return Address(bare, query, user, secret)


class Web:
    """Post to one URL and read a bounded JSON object back.

    Redirects are never followed: a password goes where the setting says, and nowhere else. Cookies are never kept:
    they would carry one customer's session into the next one's call. Proxies and certificates are taken from the
    environment (`HTTPS_PROXY`, `NO_PROXY`, `SSL_CERT_FILE`), because that is how the outside is reached from many
    networks, and TLS runs through the proxy unopened; calls to this machine never go through a proxy.

    Args:
        url: where to post.
        headers: what every request carries. They may hold a secret.

    Raises:
        SettingsError: the proxy or the certificates that the environment names cannot be used.
    """

    def __init__(self, url: str, headers: Mapping[str, str] | None = None) -> None:
        self._url = url
        self._client = _client(urlsplit(url).netloc, headers or {})

    async def post(self, content: str, media_type: str) -> Reply | Verdict:
        """Post once; nothing is tried again, because the store may have counted the attempt.

        Returns:
            The reply, or `DOWN` when there was none that may say something about a password.
        """
        try:
            async with (
                asyncio.timeout(_SECONDS),
                self._client.stream(
                    "POST", self._url, content=content.encode(), headers={"content-type": media_type}
                ) as response,
            ):
                return await _read(response)
        except (httpx.HTTPError, TimeoutError) as error:
            _log.error("the legacy store did not answer: %s", type(error).__name__)
            return Verdict.DOWN

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()


def _client(netloc: str, headers: Mapping[str, str]) -> httpx.AsyncClient:
    # Where http would be safe is this machine, and a proxy would read what it is handed.
    direct = {f"all://{netloc}": None} if is_safe_url(f"http://{netloc}/") else None
    try:
        return httpx.AsyncClient(
            headers={"accept": "application/json", "accept-encoding": "identity", **headers},
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
            follow_redirects=False,
            timeout=httpx.Timeout(_SECONDS, connect=_CONNECT_SECONDS),
            limits=httpx.Limits(
                max_connections=_CONNECTIONS,
                max_keepalive_connections=_CONNECTIONS,
                keepalive_expiry=_IDLE_SECONDS,
            ),
            mounts=direct,
        )
    except (ImportError, OSError, ValueError, httpx.InvalidURL):
        raise SettingsError(
            "The proxy or the certificates that the environment names cannot be used.",
            next_step="Check HTTPS_PROXY (http: or https:), SSL_CERT_FILE and SSL_CERT_DIR.",
        ) from None


async def _read(response: httpx.Response) -> Reply | Verdict:
    status = response.status_code
    if status not in _TELLING:
        if response.is_redirect:
            _log.error("the legacy store redirects (%d): correct the URL, a password is never sent on", status)
        else:
            _log.error("the legacy store answered with status %d", status)
        return Verdict.DOWN
    body = await _object(response)
    if body is None and status != 429:
        _log.error("the legacy store answered %d with something else than a small JSON object", status)
        return Verdict.DOWN
    return Reply(status, body or {})


async def _object(response: httpx.Response) -> Mapping[str, Any] | None:
    """Read a JSON object, and stop as soon as it is too large. Encodings are not asked for, and not unpacked."""
    if response.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        return None
    text = bytearray()
    async for chunk in response.aiter_raw():
        text += chunk
        if len(text) > _LARGEST_REPLY:
            return None
    try:
        body = json.loads(bytes(text))
    except (ValueError, RecursionError):
        return None
    return body if isinstance(body, dict) else None

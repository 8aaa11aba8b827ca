"""A legacy store behind a JSON API of your own, and the one HTTP client for all stores that are asked over HTTP.

The contract of the JSON API, whole:

    POST PATH HTTP/1.1
    content-type: application/json

    {"username": "ann@contoso.example", "password": "…"}

    HTTP/1.1 200 OK
    content-type: application/json

    {"result": "right", "username": "ann@contoso.example"}

`username` comes as it was typed, in NFC and without blanks around it, and is compared by the API's own rules. `result`
is one of

| `result` | meaning |
|---|---|
| `right` | this is the password |
| `right_must_change` | it is, and it has expired or must be changed |
| `mfa` | it is, and a sign-in would ask for a second factor as well |
| `wrong` | it is not |
| `unknown_user` | no user has this name |
| `locked` | there were too many attempts |
| `disabled` | the account may not be used |
| `no_password` | it has none, as with social sign-in |
| `ambiguous` | more than one account has this name |

With the three that prove a password, `username` must be in the answer and name the same account: an answer about
another user migrates no one. An API that knows which directory account the user became may add `entra_user_id`, its
object id: where that is not the callout's, the user is not migrated, and an alarm is counted.

Status 429 asks to try later. Everything else means that the API is out of order: another status (201 and 204 are no
yes; 401 and 403 say that the API does not know the endpoint), a redirect, another content type, more than 64 KiB, or an
answer later than the deadline.
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlsplit, urlunsplit

import httpx

from jitkit.endpoint.stores.base import Verdict, can_be_sent, is_other, is_safe_url, lookup_key, typed_name
from jitkit.errors import SettingsError

_log = logging.getLogger(__name__)

# The guard cancels a call at its deadline, 1.9 s at most; after that the answer is of no use.
_SECONDS: Final = 1.9
_CONNECT_SECONDS: Final = 1.0
_CONNECTIONS: Final = 20
_IDLE_SECONDS: Final = 20.0
_LARGEST_REPLY: Final = 64 * 1024

# The statuses whose body may say something about a password.
_WITH_A_BODY: Final = (200, 400, 401, 403, 429)

_EXAMPLE: Final = "https://:KEY@HOST/PATH or https://USER:PASSWORD@HOST/PATH"
_PROOFS: Final = (Verdict.RIGHT, Verdict.RIGHT_MUST_CHANGE, Verdict.MFA)
_OTHER_RESULTS: Final = (
    *(Verdict.WRONG, Verdict.UNKNOWN_USER, Verdict.LOCKED, Verdict.DISABLED, Verdict.NO_PASSWORD, Verdict.AMBIGUOUS),
)


@dataclass(frozen=True)
class Address:
    """A store's URL in its parts: scheme, host and path; parameters; user name and password, unquoted, or None."""

    url: str
    query: Mapping[str, str]
    user: str | None
    secret: str | None = field(repr=False)


@dataclass(frozen=True)
class Reply:
    """What a store answered: a status out of 200, 400, 401, 403 and 429, and a JSON object.

    The object is empty when a 429 came with something else. It may hold tokens.
    """

    status: int
    body: Mapping[str, Any] = field(repr=False)


def read_address(url: str, *, scheme: str, example: str) -> Address:
    """Split a store's URL into its parts.

    Args:
        url: `https://USER:SECRET@HOST/PATH?QUERY`, after `scheme`; http to this machine alone. User name and secret
            are percent-encoded.
        scheme: what precedes the `https`.
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


class PostClient:
    """Post to one URL and read a bounded JSON object back.

    Redirects are never followed: a password goes where the setting says, and nowhere else. Cookies are never kept:
    they would carry one user's session into the next one's call. Proxies and certificates are taken from the
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
        # Where http would be safe is this machine, and a proxy would read what it is handed.
        netloc = urlsplit(url).netloc
        direct = {f"all://{netloc}": None} if is_safe_url(f"http://{netloc}/") else None
        limits = httpx.Limits(
            max_connections=_CONNECTIONS, max_keepalive_connections=_CONNECTIONS, keepalive_expiry=_IDLE_SECONDS
        )
        try:
            self._client = httpx.AsyncClient(
                headers={"accept": "application/json", "accept-encoding": "identity", **(headers or {})},
                cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
                follow_redirects=False,
                timeout=httpx.Timeout(_SECONDS, connect=_CONNECT_SECONDS),
                limits=limits,
                mounts=direct,
            )
        except (ImportError, OSError, ValueError, httpx.InvalidURL):
            raise SettingsError(
                "The proxy or the certificates that the environment names cannot be used.",
                next_step="Check HTTPS_PROXY (http: or https:), SSL_CERT_FILE and SSL_CERT_DIR.",
            ) from None

    async def post(self, content: str, media_type: str) -> Reply | Verdict:
        """Post once; nothing is tried again, because the store may have counted the attempt.

        Returns:
            The reply, or `DOWN` when there was none that may say something about a password.
        """
        headers = {"content-type": media_type}
        try:
            async with (
                asyncio.timeout(_SECONDS),
                self._client.stream("POST", self._url, content=content.encode(), headers=headers) as response,
            ):
                return await _read(response)
        except (httpx.HTTPError, TimeoutError) as error:
            _log.error("the legacy store did not answer: %s", type(error).__name__)
            return Verdict.DOWN

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()


async def _read(response: httpx.Response) -> Reply | Verdict:
    status = response.status_code
    if status not in _WITH_A_BODY:
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


class JsonApiStore:
    """Ask a JSON API (see the module's text) whether a password is right.

    Args:
        url: `https://:KEY@HOST/PATH` sends the key as a bearer token, `https://USER:PASSWORD@HOST/PATH` sends Basic
            credentials, both percent-encoded. There is no query: URLs end up in logs.

    Raises:
        SettingsError: the URL cannot be used.
    """

    kind = "rest"

    def __init__(self, url: str) -> None:
        address = read_address(url, scheme="", example=_EXAMPLE)
        if address.query or not _are_credentials(address.user, address.secret):
            raise SettingsError(
                "LegacyApiConnectionString has a query, or credentials that cannot be sent.",
                next_step=f"Write it as {_EXAMPLE}.",
            )
        self._client = PostClient(address.url, _credentials(address.user, address.secret))

    async def verify(self, username: str, password: str) -> Verdict:
        """Judge a password."""
        return await self.verify_for("", username, password)

    async def verify_for(self, user_id: str, username: str, password: str) -> Verdict:
        """Judge a password; `OTHER_USER` where `entra_user_id` names another directory account than the callout."""
        if not can_be_sent(username, password):
            return Verdict.WRONG
        name = typed_name(username)
        reply = await self._client.post(json.dumps({"username": name, "password": password}), "application/json")
        if isinstance(reply, Verdict):
            return reply
        verdict = _judge(reply, lookup_key(name))
        known = None if verdict in (Verdict.UNKNOWN_USER, Verdict.MALFORMED) else reply.body.get("entra_user_id")
        return Verdict.OTHER_USER if user_id and is_other(known, user_id) else verdict

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()


def _are_credentials(user: str | None, secret: str | None) -> bool:
    """Return whether they can be sent: no name has a colon [RFC 7617 2], and a bearer token is one ASCII word."""
    if user:
        return bool(secret) and ":" not in user
    return not secret or bool(re.fullmatch(r"[!-~]+", secret))


def _credentials(user: str | None, secret: str | None) -> Mapping[str, str]:
    if not secret:
        return {}
    if not user:
        return {"authorization": f"Bearer {secret}"}
    return {"authorization": "Basic " + base64.b64encode(f"{user}:{secret}".encode()).decode()}


def _judge(reply: Reply, key: str) -> Verdict:
    if reply.status == 429:
        return Verdict.THROTTLED
    if reply.status != 200:
        _log.error("the legacy API refused the endpoint itself with status %d: check its key", reply.status)
        return Verdict.DOWN
    result, name = reply.body.get("result"), reply.body.get("username")
    verdict = next((word for word in (*_PROOFS, *_OTHER_RESULTS) if result == word), None)
    if verdict is None:
        _log.error("the legacy API answered without one of the results that the contract has")
        return Verdict.MALFORMED
    if name is None and verdict not in _PROOFS:
        return verdict
    if not isinstance(name, str) or lookup_key(name) != key:
        _log.error("the legacy API answered about another user than was asked for")
        return Verdict.MALFORMED
    return verdict

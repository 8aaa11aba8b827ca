"""A legacy store behind a JSON API of your own (README.md has its contract), and what both HTTP stores share."""

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

from jitkit.endpoint.stores.base import Verdict, can_be_sent, is_other, is_safe_url, lookup_key, refuse_url, typed_name
from jitkit.errors import SettingsError

_log = logging.getLogger(__name__)

# The guard cancels a call at its deadline, 1.9 s at most; after that the answer is of no use.
_SECONDS, _CONNECT_SECONDS, _IDLE_SECONDS = 1.9, 1.0, 20.0
_CONNECTIONS, _LARGEST_REPLY = 20, 64 * 1024
# The statuses whose body may say something about a password.
_WITH_A_BODY: Final = (200, 400, 401, 403, 429)
_EXAMPLE: Final = "https://:KEY@HOST/PATH or https://USER:PASSWORD@HOST/PATH"
_PROOFS: Final = (Verdict.RIGHT, Verdict.RIGHT_MUST_CHANGE, Verdict.MFA)
_NOT_RESULTS: Final = (Verdict.OTHER_USER, Verdict.THROTTLED, Verdict.DOWN, Verdict.MALFORMED)


@dataclass(frozen=True)
class Address:
    """A store's URL in its parts: scheme, host and path; parameters; user name and password, or None."""

    url: str
    query: Mapping[str, str]
    user: str | None
    secret: str | None = field(repr=False)


@dataclass(frozen=True)
class Reply:
    """What a store answered: a status, and a JSON object, which may hold tokens and is empty after many a 429."""

    status: int
    body: Mapping[str, Any] = field(repr=False)


def read_address(url: str, *, scheme: str, example: str) -> Address:
    """Split `https://USER:SECRET@HOST/PATH?QUERY`, after `scheme`, into its parts; http to this machine alone."""
    refused = "is not an https: URL, nor an http: URL of this machine", f"Write it as {example}."
    try:
        parts = urlsplit(url.removeprefix(scheme))
        pairs = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
        host, port = parts.hostname or "", parts.port
        name = f"[{host}]" if ":" in host else host
        bare = urlunsplit((parts.scheme, name if port is None else f"{name}:{port}", parts.path or "/", "", ""))
        httpx.URL(bare)
        host.encode("idna")  # as the resolver does, whose refusal would come with every call
    except (ValueError, httpx.InvalidURL):
        refuse_url(*refused)
    query = dict(pairs)
    if not is_safe_url(bare) or not host.isprintable() or " " in host or parts.fragment or len(query) != len(pairs):
        refuse_url(*refused)
    user = unquote(parts.username) if parts.username else None
    secret = unquote(parts.password) if parts.password else None
    return Address(bare, query, user, secret)


class HttpStore:
    """A store that is asked by posting to one URL, and reads a bounded JSON object back.

    Redirects are never followed: a password goes where the setting says, and nowhere else. Cookies are never kept:
    they would carry one user's session into the next one's call.
    """

    def __init__(self, url: str, headers: Mapping[str, str]) -> None:
        self._url = url
        # Where http would be safe is this machine, and a proxy would read what it is handed.
        netloc = urlsplit(url).netloc
        direct = {f"all://{netloc}": None} if is_safe_url(f"http://{netloc}/") else None
        limits = httpx.Limits(max_connections=_CONNECTIONS, keepalive_expiry=_IDLE_SECONDS)
        try:
            self._client = httpx.AsyncClient(
                headers={"accept": "application/json", "accept-encoding": "identity", **headers},
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

    async def _post(self, content: str, media_type: str) -> Reply | Verdict:
        """Post once: the store counts attempts. `DOWN` when no reply came that may say something about a password."""
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
    body = await _json_object(response) if status in _WITH_A_BODY else None
    if body is not None or status == 429:
        return Reply(status, body or {})
    if response.is_redirect:
        _log.error("the legacy store redirects (%d): correct the URL, a password is never sent on", status)
    elif status in _WITH_A_BODY:
        _log.error("the legacy store answered %d with something else than a small JSON object", status)
    else:
        _log.error("the legacy store answered with status %d", status)
    return Verdict.DOWN


async def _json_object(response: httpx.Response) -> Mapping[str, Any] | None:
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


class JsonApiStore(HttpStore):
    """Ask a JSON API whether a password is right."""

    kind = "rest"

    def __init__(self, url: str) -> None:
        address = read_address(url, scheme="", example=_EXAMPLE)
        credentials = _credentials(address.user, address.secret)
        if address.query or credentials is None:
            refuse_url("has a query, or credentials that cannot be sent", f"Write it as {_EXAMPLE}.")
        super().__init__(address.url, credentials)

    async def verify(self, username: str, password: str) -> Verdict:
        """Judge a password."""
        return await self.verify_for("", username, password)

    async def verify_for(self, user_id: str, username: str, password: str) -> Verdict:
        """Judge a password; `OTHER_USER` where `entra_user_id` names another directory account than the callout."""
        if not can_be_sent(username, password):
            return Verdict.WRONG
        name = typed_name(username)
        reply = await self._post(json.dumps({"username": name, "password": password}), "application/json")
        if isinstance(reply, Verdict):
            return reply
        verdict = _judge(reply, lookup_key(name))
        known = None if verdict in (Verdict.UNKNOWN_USER, Verdict.MALFORMED) else reply.body.get("entra_user_id")
        return Verdict.OTHER_USER if user_id and is_other(known, user_id) else verdict


def _credentials(user: str | None, secret: str | None) -> Mapping[str, str] | None:
    """Write the header; None when it cannot be sent: no name has a colon [RFC 7617 2], a token is one ASCII word."""
    if user:
        basic = base64.b64encode(f"{user}:{secret}".encode()).decode()
        return {"authorization": f"Basic {basic}"} if secret and ":" not in user else None
    if not secret:
        return {}
    return {"authorization": f"Bearer {secret}"} if re.fullmatch(r"[!-~]+", secret) else None


def _judge(reply: Reply, key: str) -> Verdict:
    if reply.status == 429:
        return Verdict.THROTTLED
    if reply.status != 200:
        _log.error("the legacy API refused the endpoint itself with status %d: check its key", reply.status)
        return Verdict.DOWN
    result, name = reply.body.get("result"), reply.body.get("username")
    verdict = next((word for word in Verdict if result == word and word not in _NOT_RESULTS), None)
    if verdict is None:
        _log.error("the legacy API answered without one of the results that the contract has")
        return Verdict.MALFORMED
    if name is None and verdict not in _PROOFS:
        return verdict
    if not isinstance(name, str) or lookup_key(name) != key:
        _log.error("the legacy API answered about another user than was asked for")
        return Verdict.MALFORMED
    return verdict

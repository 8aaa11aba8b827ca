"""Fetches the keys that Entra signs its tokens with, from several metadata documents.

An external tenant's callout is signed with keys that only the ciamlogin.com document publishes [observed], other
tokens with those of login.microsoftonline.com; a document that cannot be read keeps the keys it gave before.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, Final

import httpx
from jwcrypto.common import JWException
from jwcrypto.jwk import JWK

from jitkit.endpoint.stores.base import is_safe_url

_log = logging.getLogger(__name__)

# Seconds. An unknown key id may come from anybody, so it causes at most one fetch in this time.
_BETWEEN_FETCHES: Final = 30.0
_STALE_AFTER: Final = 24 * 3600.0
_TIMEOUT: Final = 1.0
_SMALLEST_KEY: Final = 2048
# Half of what a token's times may be off by.
_CLOCK_OFF: Final = 150.0


@dataclass(frozen=True)
class _Document:
    issuer: str
    keys: dict[str, JWK]


class SigningKeys:
    """Find a signing key by its id, fetching the documents again at a bounded rate when the id is not known.

    Args:
        urls: OpenID Connect metadata URLs.
        http: the client that fetches them; it is used for nothing else.
        now: seconds since the epoch.
        monotonic: seconds that only go forward.

    `clock_off` says by how many seconds this machine's clock is ahead of the documents' server, once that is known.
    """

    def __init__(
        self,
        urls: Sequence[str],
        http: httpx.AsyncClient,
        *,
        now: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._urls = tuple(urls)
        self._http = http
        self._now, self._monotonic = now, monotonic
        self._documents: dict[str, _Document] = {}
        self._fetched_at = float("-inf")
        self.clock_off: float | None = None
        self._fetching = asyncio.Lock()
        self._background: asyncio.Task[None] | None = None

    @property
    def loaded(self) -> bool:
        """Whether any document was read yet."""
        return bool(self._documents)

    @property
    def issuers(self) -> frozenset[str]:
        """The documents' `issuer` values; a `{tenantid}` in them is the reader's to fill in."""
        return frozenset(document.issuer for document in self._documents.values())

    async def load(self, seconds: float = _TIMEOUT) -> None:
        """Fetch every document, giving each request so many seconds."""
        async with self._fetching:
            await self._load(seconds)

    async def find(self, kid: str) -> list[JWK]:
        """Return the keys with this id, fetching the documents again when there is none."""
        found = self._known(kid)
        if not found:
            async with self._fetching:
                if not self._known(kid) and self._monotonic() - self._fetched_at > _BETWEEN_FETCHES:
                    await self._load(_TIMEOUT)
            return self._known(kid)
        stale = self._monotonic() - self._fetched_at > _STALE_AFTER
        if stale and (self._background is None or self._background.done()):
            self._background = asyncio.create_task(self.load())
        return found

    def _known(self, kid: str) -> list[JWK]:
        return [document.keys[kid] for document in self._documents.values() if kid in document.keys]

    async def _load(self, seconds: float) -> None:
        self._fetched_at = self._monotonic()
        results = await asyncio.gather(*(self._fetch(url, seconds) for url in self._urls))
        self._documents |= {url: result for url, result in zip(self._urls, results, strict=True) if result}

    async def _fetch(self, url: str, seconds: float) -> _Document | None:
        try:
            metadata = await self._get(url, seconds)
            issuer, keys_url = metadata["issuer"], metadata["jwks_uri"]
            if not isinstance(issuer, str) or not isinstance(keys_url, str) or not is_safe_url(keys_url):
                raise ValueError("issuer or jwks_uri cannot be used")
            keys = _usable((await self._get(keys_url, seconds))["keys"])
        except (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError, TypeError) as error:
            _log.warning("signing keys could not be read from %s: %s", url, type(error).__name__)
            return None
        return _Document(issuer, keys)

    def _compare_clocks(self, date: str | None) -> None:
        try:
            theirs = parsedate_to_datetime(date or "").timestamp()
        except (TypeError, ValueError, OverflowError):
            return
        self.clock_off = self._now() - theirs
        if abs(self.clock_off) > _CLOCK_OFF:
            _log.warning("the clock of this machine is %.0f s ahead of the issuer's", self.clock_off)

    async def _get(self, url: str, seconds: float) -> dict[str, Any]:
        response = await self._http.get(url, timeout=seconds, follow_redirects=False)
        response.raise_for_status()
        self._compare_clocks(response.headers.get("date"))
        value = response.json()
        if not isinstance(value, dict):
            raise ValueError("not a JSON object")
        return value


def _usable(entries: Any) -> dict[str, JWK]:
    """Keep the RSA signature keys of a key set, public halves alone, by their id."""
    keys: dict[str, JWK] = {}
    for entry in entries:
        if not isinstance(entry, dict) or entry.get("kty") != "RSA" or entry.get("use", "sig") != "sig":
            continue
        try:
            key = JWK(kty="RSA", n=entry["n"], e=entry["e"])
            strong = key.get_op_key("verify").key_size >= _SMALLEST_KEY
        except (JWException, ValueError, TypeError, KeyError, AttributeError):
            continue
        if strong and isinstance(entry.get("kid"), str):
            keys[entry["kid"]] = key
    return keys

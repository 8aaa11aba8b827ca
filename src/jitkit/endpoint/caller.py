"""Checks who is calling: the bearer token of the callout, and the keys that Entra signs it with.

An external tenant's callout is signed with keys that only the ciamlogin.com document publishes [observed], other
tokens with those of login.microsoftonline.com; a document that cannot be read keeps the keys it gave before.
Sources: [overview] for the calling application; [observed] for the token of an external tenant, which is encrypted
as soon as the extension's app registration has a token encryption key; RFC 8725 for the care.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Any, Final, NamedTuple

import httpx
from jwcrypto.common import JWException
from jwcrypto.jwk import JWK
from jwcrypto.jws import JWS

from jitkit import protocol
from jitkit.endpoint.crypto import (
    SKEW,
    audience_is,
    decrypt,
    in_thread,
    json_object,
    numeric_date,
    segments,
    thumbprint_in,
)
from jitkit.endpoint.decision import Refused
from jitkit.endpoint.keys import HeldKeys
from jitkit.endpoint.settings import Settings
from jitkit.endpoint.stores.base import is_safe_url

_log = logging.getLogger(__name__)

# Seconds. An unknown key id may come from anybody, so it causes at most one fetch in this time.
_BETWEEN_FETCHES: Final = 30.0
_STALE_AFTER, _TIMEOUT = 3600.0, 1.0
_SMALLEST_KEY: Final = 2048
# Half of what a token's times may be off by.
_CLOCK_OFF: Final = 150.0
_UNKNOWN, _NOT_ENTRA = 401, 403
_LARGEST, _REMEMBERED = 16 * 1024, 1024
# Unknown tokens that may be checked at once. Beyond these they are refused, so that known callers wait for few.
_CHECKED_TOGETHER: Final = 64

# Issuers of one tenant's tokens, next to those that its metadata documents name [overview, observed].
_ISSUERS: Final = (
    "https://{tenantid}.ciamlogin.com/{tenantid}/v2.0",
    "https://login.microsoftonline.com/{tenantid}/v2.0",
    "https://sts.windows.net/{tenantid}/",
)


class _Document(NamedTuple):
    issuer: str
    keys: dict[str, JWK]


class _Admitted(NamedTuple):
    """A token that passed: when it ends, and the key that signed it."""

    until: float
    key: JWK


@dataclass
class SigningKeys:
    """Find a signing key by its id, fetching the metadata documents again at a bounded rate when it is not known.

    `clock_off` says by how many seconds this machine's clock is ahead of the documents' server, once that is known.
    """

    urls: Sequence[str]
    http: httpx.AsyncClient
    now: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic
    clock_off: float | None = None
    _documents: dict[str, _Document] = field(default_factory=dict)
    _fetched_at: float = float("-inf")
    _fetching: asyncio.Lock = field(default_factory=asyncio.Lock)
    _background: asyncio.Task[None] | None = None

    @property
    def issuers(self) -> frozenset[str]:
        """The `issuer` values of the documents read so far, some with `{tenantid}` in place of the tenant's id."""
        return frozenset(document.issuer for document in self._documents.values())

    async def load(self, seconds: float = _TIMEOUT) -> None:
        """Fetch every document, giving each request so many seconds."""
        async with self._fetching:
            await self._load(seconds)

    async def find(self, kid: str) -> list[JWK]:
        """Return the keys with this id, fetching the documents again when there is none."""
        if found := self.known(kid):
            return found
        async with self._fetching:
            if not self.known(kid) and self.monotonic() - self._fetched_at > _BETWEEN_FETCHES:
                await self._load(_TIMEOUT)
        return self.known(kid)

    def known(self, kid: str) -> list[JWK]:
        """Return the keys with this id as of the last fetch; when that is an hour ago, fetch in the background."""
        stale = self.monotonic() - self._fetched_at > _STALE_AFTER
        if stale and self._documents and (self._background is None or self._background.done()):
            self._background = asyncio.create_task(self.load())
        return [document.keys[kid] for document in self._documents.values() if kid in document.keys]

    async def _load(self, seconds: float) -> None:
        self._fetched_at = self.monotonic()
        results = await asyncio.gather(*(self._fetch(url, seconds) for url in self.urls))
        self._documents |= {url: result for url, result in zip(self.urls, results, strict=True) if result}

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
        self.clock_off = self.now() - theirs
        if abs(self.clock_off) > _CLOCK_OFF:
            _log.warning("the clock of this machine is %.0f s ahead of the issuer's", self.clock_off)

    async def _get(self, url: str, seconds: float) -> dict[str, Any]:
        response = await self.http.get(url, timeout=seconds, follow_redirects=False)
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
            key = JWK(kty="RSA", n=entry["n"], e=entry["e"], kid=entry["kid"])
            strong = key.get_op_key("verify").key_size >= _SMALLEST_KEY
        except (JWException, ValueError, TypeError, KeyError, AttributeError):
            continue
        if strong and isinstance(entry["kid"], str):
            keys[entry["kid"]] = key
    return keys


@dataclass
class Callers:
    """Admit Microsoft Entra's authentication extensions service, for our tenant and our app alone."""

    settings: Settings
    keys: SigningKeys
    decryption: HeldKeys
    now: Callable[[], float] = time.time
    _checking: int = 0
    _admitted: OrderedDict[bytes, _Admitted] = field(default_factory=OrderedDict)

    async def admit(self, authorization: list[str]) -> None:
        """Return when the Authorization header's values show that the caller is Entra.

        A token that passed is remembered by its SHA-256 until it expires or the documents are fetched again, which may
        drop the key that signed it; so its cost is paid once an hour. Others are refused: 401 when invalid, 403 for
        another caller, 503 when no signing key could be fetched yet.
        """
        scheme, _, token = authorization[0].partition(" ") if len(authorization) == 1 else ("", "", "")
        if scheme.lower() != "bearer" or not token or len(token) > _LARGEST:
            raise Refused(_UNKNOWN, "no_token")
        digest = hashlib.sha256(token.encode()).digest()
        now = self.now()
        known = self._admitted.get(digest)
        if known and now < known.until and any(key is known.key for key in self.keys.known(known.key["kid"])):
            return
        self._admitted.pop(digest, None)
        if self._checking >= _CHECKED_TOGETHER:
            raise Refused(503, "crowded")
        self._checking += 1
        try:
            if token.count(".") == 4:
                keys = await self.decryption.with_key(thumbprint_in(token))
                opened = partial(decrypt, token, keys, status=_UNKNOWN, limit=_LARGEST)
                token = (await in_thread(opened)).decode("ascii", "replace")
            claims, key = await self._verified(token)
        finally:
            self._checking -= 1
        self._admitted[digest] = _Admitted(self._check(claims, now), key)
        while len(self._admitted) > _REMEMBERED:
            self._admitted.popitem(last=False)

    async def _verified(self, token: str) -> tuple[dict[str, Any], JWK]:
        """Check form, algorithm and signature; return the claims and the key that signed them."""
        parts = segments(token, 3)
        header = json_object(parts[0]) if parts else None
        if parts is None or header is None or "crit" in header:
            raise Refused(_UNKNOWN, "token_form")
        if header.get("alg") != "RS256":
            raise Refused(_UNKNOWN, "token_algorithm")
        kid = header.get("kid")
        candidates = await self.keys.find(kid) if isinstance(kid, str) else []
        if not self.keys.issuers:
            raise Refused(503, "no_signing_keys")
        if not candidates:
            raise Refused(_UNKNOWN, "token_key")
        signer = next((key for key in candidates if _signed_by(token, key)), None)
        if signer is None:
            raise Refused(_UNKNOWN, "token_signature")
        claims = json_object(parts[1])
        if claims is None:
            raise Refused(_UNKNOWN, "token_form")
        return claims, signer

    def _check(self, claims: dict[str, Any], now: float) -> float:
        """Check the claims; return when the token expires."""
        expires, not_before = numeric_date(claims.get("exp")), numeric_date(claims.get("nbf", now))
        if expires is None or not_before is None:
            raise Refused(_UNKNOWN, "token_form")
        if not_before > now + SKEW:  # Entra signed it, so it is this machine's clock that is behind
            raise Refused(_UNKNOWN, "clock_skew")
        if expires < now - SKEW:
            raise Refused(_UNKNOWN, "clock_skew" if abs(self.keys.clock_off or 0.0) > SKEW else "token_expired")
        tenant = self.settings.tenant_id
        issuers = [form.replace("{tenantid}", tenant) for form in (*_ISSUERS, *self.keys.issuers)]
        if claims.get("iss") not in issuers:
            raise Refused(_UNKNOWN, "token_issuer")
        if str(claims.get("tid")).lower() != tenant:
            raise Refused(_UNKNOWN, "token_tenant")
        if not audience_is(claims.get("aud"), (self.settings.extension_app_id, self.settings.identifier_uri)):
            raise Refused(_UNKNOWN, "token_audience")
        # `azp` in version 2 tokens, `appid` in version 1; `scp` would mean that a user signed in to get it.
        named = [claims[name] for name in ("azp", "appid") if name in claims]
        if not named or any(name != protocol.CALLER_APP_ID for name in named) or "scp" in claims:
            raise Refused(_NOT_ENTRA, "token_caller")
        return expires


def _signed_by(token: str, key: object) -> bool:
    jws = JWS()
    jws.allowed_algs = ["RS256"]
    try:
        jws.deserialize(token, key)
    except JWException:
        return False
    return True

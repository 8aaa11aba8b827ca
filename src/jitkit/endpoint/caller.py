"""Checks who is calling: the bearer token of the callout.

Sources: [overview] for the calling application; [observed] for the token of an external tenant, which is encrypted
as soon as the extension's app registration has a token encryption key; RFC 8725 for the care.
"""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final

from jwcrypto.common import JWException
from jwcrypto.jws import JWS

from jitkit import protocol
from jitkit.endpoint.crypto import SKEW, Workers, audience_is, decrypt, json_object, numeric_date, segments
from jitkit.endpoint.decision import Refused
from jitkit.endpoint.settings import Settings
from jitkit.endpoint.signing_keys import SigningKeys

_UNKNOWN: Final = 401
_NOT_ENTRA: Final = 403
_LARGEST: Final = 16 * 1024
_REMEMBERED: Final = 1024
# Unknown tokens that may be checked at once. Beyond these they are refused, so that known callers wait for few.
_CHECKED_TOGETHER: Final = 64

# Issuers of one tenant's tokens, next to those that its metadata documents name [overview, observed].
_ISSUERS: Final = (
    "https://{tenantid}.ciamlogin.com/{tenantid}/v2.0",
    "https://login.microsoftonline.com/{tenantid}/v2.0",
    "https://sts.windows.net/{tenantid}/",
)


class Callers:
    """Admit Microsoft Entra's authentication extensions service, for our tenant and our app alone."""

    def __init__(
        self, settings: Settings, keys: SigningKeys, workers: Workers, now: Callable[[], float] = time.time
    ) -> None:
        self._settings = settings
        self._keys = keys
        self._workers = workers
        self._now = now
        self._checking = 0
        self._admitted: OrderedDict[bytes, float] = OrderedDict()

    async def admit(self, authorization: list[str]) -> None:
        """Return when the caller is Entra.

        A token that passed is remembered by its SHA-256 until it expires, so that its cost is paid once.

        Args:
            authorization: the values of the Authorization header.

        Raises:
            Refused: 401 for an invalid token, 403 for a valid token of another caller, 503 when no signing key could
                be fetched yet.
        """
        token = _bearer(authorization)
        digest = hashlib.sha256(token.encode()).digest()
        now = self._now()
        if now < self._admitted.get(digest, 0.0):
            return
        self._admitted.pop(digest, None)
        if self._checking >= _CHECKED_TOGETHER:
            raise Refused(503, "crowded")
        self._checking += 1
        try:
            if token.count(".") == 4:
                token = await self._decrypted(token)
            claims = await self._verified(token)
        finally:
            self._checking -= 1
        self._admitted[digest] = self._check(claims, now)
        while len(self._admitted) > _REMEMBERED:
            self._admitted.popitem(last=False)

    async def _decrypted(self, token: str) -> str:
        plaintext = await self._workers.run(
            lambda: decrypt(token, self._settings.keys, status=_UNKNOWN, limit=_LARGEST)
        )
        return plaintext.decode("ascii", "replace")

    async def _verified(self, token: str) -> dict[str, Any]:
        """Check form, algorithm and signature; return the claims."""
        parts = segments(token, 3)
        header = json_object(parts[0]) if parts else None
        if parts is None or header is None or "crit" in header:
            raise Refused(_UNKNOWN, "token_form")
        if header.get("alg") != "RS256":
            raise Refused(_UNKNOWN, "token_algorithm")
        kid = header.get("kid")
        candidates = await self._keys.find(kid) if isinstance(kid, str) else []
        if not self._keys.loaded:
            raise Refused(503, "no_signing_keys")
        if not candidates:
            raise Refused(_UNKNOWN, "token_key")
        if not any(_signed_by(token, key) for key in candidates):
            raise Refused(_UNKNOWN, "token_signature")
        claims = json_object(parts[1])
        if claims is None:
            raise Refused(_UNKNOWN, "token_form")
        return claims

    def _check(self, claims: dict[str, Any], now: float) -> float:
        """Check the claims; return when the token expires."""
        expires, not_before = numeric_date(claims.get("exp")), numeric_date(claims.get("nbf", now))
        if expires is None or not_before is None:
            raise Refused(_UNKNOWN, "token_form")
        if not_before > now + SKEW:  # Entra signed it, so it is this machine's clock that is behind
            raise Refused(_UNKNOWN, "clock_skew")
        if expires < now - SKEW:
            raise Refused(_UNKNOWN, "clock_skew" if abs(self._keys.clock_off or 0.0) > SKEW else "token_expired")
        tenant = self._settings.tenant_id
        issuers = [form.replace("{tenantid}", tenant) for form in (*_ISSUERS, *self._keys.issuers)]
        if claims.get("iss") not in issuers:
            raise Refused(_UNKNOWN, "token_issuer")
        if str(claims.get("tid")).lower() != tenant:
            raise Refused(_UNKNOWN, "token_tenant")
        if not audience_is(claims.get("aud"), (self._settings.extension_app_id, self._settings.identifier_uri)):
            raise Refused(_UNKNOWN, "token_audience")
        # `azp` in version 2 tokens, `appid` in version 1; `scp` would mean that a user signed in to get it.
        named = [claims[name] for name in ("azp", "appid") if name in claims]
        if not named or any(name != protocol.CALLER_APP_ID for name in named) or "scp" in claims:
            raise Refused(_NOT_ENTRA, "token_caller")
        return expires


def _bearer(authorization: list[str]) -> str:
    scheme, _, token = authorization[0].partition(" ") if len(authorization) == 1 else ("", "", "")
    if scheme.lower() != "bearer" or not token or len(token) > _LARGEST:
        raise Refused(_UNKNOWN, "no_token")
    return token


def _signed_by(token: str, key: object) -> bool:
    jws = JWS()
    jws.allowed_algs = ["RS256"]
    try:
        jws.deserialize(token, key)
    except JWException:
        return False
    return True

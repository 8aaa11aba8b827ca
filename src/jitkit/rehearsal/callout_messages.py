"""The two messages of a callout: what Entra sends, encrypted for the extension's app, and what the endpoint answers.

The password context has the shape [observed] in live tenants: RSA-OAEP, A128CBC-HS256, DEFLATE, `x5t` naming the
certificate, and inside a JWT that is not signed (`alg` none). [RFC 7516, RFC 7519 6.1; Microsoft Learn, "Just-in-time
password migration" for both schemas, "Troubleshoot custom authentication extensions" for the numbers]
"""

from __future__ import annotations

import base64
import copy
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import httpx
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from jwcrypto import jwe, jwk

from jitkit import protocol

# --- what Entra sends ----------------------------------------------------------------------------------------------

_CONTEXT_LIFETIME: Final = 600  # seconds [observed]

# Each new JWE copies its registry of headers deeply, which takes as long as encrypting; a flat copy of one does not.
_EMPTY: Final = jwe.JWE()


@dataclass(frozen=True)
class Recipient:
    """The public key that an application registered for encryption, and its certificate's thumbprint (`x5t`)."""

    thumbprint: str
    key: jwk.JWK


def recipient(application: Mapping[str, Any]) -> Recipient | None:
    """Return the key that an application's tokens are encrypted with."""
    chosen = str(application.get("tokenEncryptionKeyId") or "").lower()
    for credential in application.get("keyCredentials") or ():
        if chosen and str(credential.get("keyId")).lower() == chosen and credential.get("key"):
            return _read_certificate(credential["key"])
    return None


def seal(recipient: Recipient, plaintext: bytes, header: Mapping[str, Any] | None = None) -> str:
    """Encrypt for one recipient."""
    algorithms = {"alg": protocol.JWE_ALG, "enc": protocol.JWE_ENC, "x5t": recipient.thumbprint, "zip": "DEF"}
    sealed = copy.copy(_EMPTY)
    sealed.plaintext, sealed.objects = plaintext, {"protected": json.dumps({**algorithms, **(header or {})})}
    sealed.add_recipient(recipient.key)
    return str(sealed.serialize(compact=True))


def password_context(
    recipient: Recipient, *, username: str, password: str, nonce: str, audience: str, issuer: str, now: float
) -> str:
    """Encrypt what a user typed."""
    moment = int(now)
    claims = {
        protocol.CLAIM_PASSWORD: password,
        protocol.CLAIM_USERNAME: username,
        protocol.CLAIM_NONCE: nonce,
        "aud": audience,
        "iss": issuer,
        "iat": moment,
        "nbf": moment,
        "exp": moment + _CONTEXT_LIFETIME,
    }
    unsigned = ".".join(_base64url(json.dumps(part).encode()) for part in ({"alg": "none", "typ": "JWT"}, claims))
    return seal(recipient, f"{unsigned}.".encode())


@lru_cache(maxsize=16)
def _read_certificate(der_base64: str) -> Recipient | None:
    der = base64.b64decode(der_base64)
    key = x509.load_der_x509_certificate(der).public_key()
    if not isinstance(key, RSAPublicKey):
        return None
    thumbprint = hashlib.sha1(der, usedforsecurity=False).digest()  # RFC 7515 4.1.7 names SHA-1
    return Recipient(_base64url(thumbprint), jwk.JWK.from_pyca(key))


def _base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


# --- what the endpoint answers -------------------------------------------------------------------------------------

RESPONSE_LIMIT: Final = 64 * 1024
"""The largest answer, in bytes: the service has a limit and does not publish it."""

NEVER_FOR_PASSWORDS: Final = {
    1003007: "This answer has no claims: they belong to the event that issues tokens.",
    1003008: "This answer has no apiSchemaVersion: it belongs to API connectors and to token claims.",
    1003025: "This answer has no claims that could be too large.",
    1003026: "This answer has no claims that could be without a name.",
}
"""Numbers of the documents' table that no answer to a submitted password can lead to, and why (inferred)."""

# Their case does not matter: documents print them in two, and both work [observed].
_ACTIONS: Final = {
    f"{protocol.ACTION_PREFIX}{each}".lower(): each
    for each in (protocol.MIGRATE, protocol.UPDATE, protocol.RETRY, protocol.BLOCK)
}


class Unusable(Exception):
    """An attempt led to no action."""

    def __init__(self, error: int, detail: str, http_status: int | None = None) -> None:
        super().__init__(detail)
        self.error, self.detail, self.http_status = error, detail, http_status


@dataclass(frozen=True)
class Action:
    """What the endpoint decided: MigratePassword, UpdatePassword, Retry or Block, with its words for a page."""

    name: str
    title: str | None = None
    message: str | None = None


async def read(response: httpx.Response) -> bytes:
    """Read a streamed answer, up to the limit. Raises `Unusable` when it is too large or its encoding is broken."""
    content = b""
    try:
        async for chunk in response.aiter_bytes():
            content += chunk
            if len(content) > RESPONSE_LIMIT:
                raise Unusable(1003024, f"The answer is larger than {RESPONSE_LIMIT} bytes.", response.status_code)
    except httpx.DecodingError:
        raise Unusable(1003003, "The answer's content encoding is broken.", response.status_code) from None
    return content


def judge(response: httpx.Response, content: bytes, nonce: str) -> Action:
    """Return the action in an answer."""
    status = response.status_code
    if status != 200:
        raise Unusable(1003002, f"The endpoint answered with HTTP status {status}.", status)
    if content.strip() in (b"", b"null"):
        raise Unusable(1003009, "The endpoint's answer is empty.", status)
    kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise Unusable(1003006, f"The answer's content type is {kind or 'missing'}, not application/json.", status)
    try:
        answer = json.loads(content)
    except (ValueError, RecursionError):
        raise Unusable(1003003, "The answer is not JSON.", status) from None
    data = answer.get("data") if isinstance(answer, dict) else None
    if not isinstance(data, dict) or _type(data) != protocol.RESPONSE_DATA_TYPE.lower():
        raise Unusable(1003003, f"The answer has no data of the type {protocol.RESPONSE_DATA_TYPE}.", status)
    actions = data.get("actions") or []
    if not isinstance(actions, list) or len(actions) != 1 or not isinstance(actions[0], dict):
        raise Unusable(1003010, "The answer does not hold exactly one action.", status)
    name = _ACTIONS.get(_type(actions[0]))
    if name is None:
        raise Unusable(1003012, "The answer's action is of an unknown type.", status)
    if data.get("nonce") != nonce:
        raise Unusable(1003003, "The answer does not repeat the nonce of the password context.", status)
    title, message = actions[0].get("title"), actions[0].get("message")
    if not isinstance(title, str | None) or not isinstance(message, str | None):
        raise Unusable(1003003, "The action's title or message is not text.", status)
    return Action(name, title, message)


def _type(body: Mapping[str, Any]) -> str:
    return str(body.get("@odata.type", "")).lstrip("#").lower()

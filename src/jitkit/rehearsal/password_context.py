"""Encrypt for the extension's certificate: the password context, and anything else Entra sends to that app.

The shape is the one [observed] in live tenants: RSA-OAEP, A128CBC-HS256, DEFLATE, `x5t` naming the certificate, and
inside a JWT that is not signed (`alg` none). [RFC 7516, RFC 7519 6.1]
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

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from jwcrypto import jwe, jwk

from jitkit.protocol import CLAIM_NONCE, CLAIM_PASSWORD, CLAIM_USERNAME, JWE_ALG, JWE_ENC

LIFETIME: Final = 600  # seconds [observed]

# Each new JWE copies its registry of headers deeply, which takes as long as encrypting; a flat copy of one does not.
_EMPTY: Final = jwe.JWE()


@dataclass(frozen=True)
class Recipient:
    """The public key that an application registered for encryption, and its certificate's thumbprint (`x5t`)."""

    thumbprint: str
    key: jwk.JWK


def recipient(application: Mapping[str, Any]) -> Recipient | None:
    """Find the key that an application wants its tokens encrypted with.

    Args:
        application: the application, with the DER of its certificates in `keyCredentials`.

    Returns:
        The key that `tokenEncryptionKeyId` names; None when there is no such key or it is not RSA.
    """
    chosen = str(application.get("tokenEncryptionKeyId") or "").lower()
    for credential in application.get("keyCredentials") or ():
        if chosen and str(credential.get("keyId")).lower() == chosen and credential.get("key"):
            return _read_certificate(credential["key"])
    return None


def seal(recipient: Recipient, plaintext: bytes, header: Mapping[str, Any] | None = None) -> str:
    """Encrypt for one recipient.

    Args:
        recipient: whose key to use.
        plaintext: what to encrypt.
        header: further members of the protected header.

    Returns:
        A compact JWE.
    """
    protected = {"alg": JWE_ALG, "enc": JWE_ENC, "x5t": recipient.thumbprint, "zip": "DEF", **(header or {})}
    sealed = copy.copy(_EMPTY)
    sealed.plaintext, sealed.objects = plaintext, {"protected": json.dumps(protected)}
    sealed.add_recipient(recipient.key)
    return str(sealed.serialize(compact=True))


def password_context(
    recipient: Recipient, *, username: str, password: str, nonce: str, audience: str, issuer: str, now: float
) -> str:
    """Encrypt what a person typed.

    Args:
        recipient: the extension's encryption key.
        username: the sign-in name as typed.
        password: the password as typed.
        nonce: what the endpoint has to send back.
        audience: the extension's appId.
        issuer: the extension's resource id.
        now: seconds since the epoch.

    Returns:
        A compact JWE.
    """
    moment = int(now)
    claims = {
        CLAIM_PASSWORD: password,
        CLAIM_USERNAME: username,
        CLAIM_NONCE: nonce,
        "aud": audience,
        "iss": issuer,
        "iat": moment,
        "nbf": moment,
        "exp": moment + LIFETIME,
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

"""Makes what Entra sends, for the conformance suite and tests: tokens with any defect, password contexts, envelopes.

Neither the endpoint nor the rehearsal tenant may import this: both would then agree with its mistakes.
Sources: RFC 7515 to 7519; [how-to] and [overview] as in `jitkit.protocol`; [observed] captured in live tenants.
"""

from __future__ import annotations

import base64
import hmac
import json
import os
import time
import uuid
import zlib
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, cast

from cryptography import x509
from cryptography.hazmat.primitives import hashes, padding
from cryptography.hazmat.primitives.asymmetric import padding as rsa_padding
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from jitkit import certificates, protocol

_SIGNATURES = {
    "RS256": (rsa_padding.PKCS1v15(), hashes.SHA256()),
    "RS512": (rsa_padding.PKCS1v15(), hashes.SHA512()),
    "PS256": (rsa_padding.PSS(rsa_padding.MGF1(hashes.SHA256()), 32), hashes.SHA256()),
}
_BASE64URL = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
# The directory account and the client application that every callout is about.
USER = "0c8f2f8e-5d0a-4a0e-8a7b-9d3a5a0f1e11"
CLIENT = "7d2bb0f5-17c1-4a6a-a6b7-0b4f3c9e2a22"


def b64(data: bytes) -> str:
    """Write base64url without padding [RFC 7515 section 2]."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class RawJson(str):
    """JSON that is written already, such as an object with a member given twice."""


def b64json(value: object) -> str:
    """Write a JSON value as a base64url segment."""
    return b64((value if isinstance(value, RawJson) else json.dumps(value)).encode())


@dataclass(frozen=True)
class SigningKey:
    """A signing key, and the id that it is published under."""

    kid: str
    private: rsa.RSAPrivateKey = field(repr=False)

    @classmethod
    def make(cls, kid: str) -> SigningKey:
        """Make a new RSA-2048 key."""
        return cls(kid, rsa.generate_private_key(65537, 2048))

    def public_jwk(self) -> dict[str, str]:
        """Return the public half as key documents show it [RFC 7517]."""
        numbers = self.private.public_key().public_numbers()
        n, e = (b64(number.to_bytes((number.bit_length() + 7) // 8)) for number in (numbers.n, numbers.e))
        return {"kty": "RSA", "use": "sig", "kid": self.kid, "n": n, "e": e}


@dataclass(frozen=True)
class EncryptionKey:
    """A certificate that passwords are encrypted for, and its private key when it was made here."""

    certificate: x509.Certificate
    private: rsa.RSAPrivateKey | None = field(default=None, repr=False)

    @classmethod
    def make(cls, name: str, *, days: float = 365) -> EncryptionKey:
        """Make an RSA-2048 key and a certificate that ends in so many days; a negative number has ended."""
        private, certificate = certificates.make_certificate(name, days=days, since=timedelta(days=400))
        return cls(certificate, private)

    @property
    def x5t(self) -> str:
        """The certificate's name in a JWE header."""
        return certificates.x5t(self.certificate)

    def pem(self, certificate: x509.Certificate | None = None) -> str:
        """Write the private key, followed by a certificate (its own by default), as PEM."""
        if self.private is None:
            raise TypeError("only the certificate of this key is known")
        private = self.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
        return private + (certificate or self.certificate).public_bytes(Encoding.PEM).decode()


def signed(claims: object, key: SigningKey, **header: Any) -> str:
    """Sign claims; named header members replace the usual ones, and None leaves one out."""
    head = {"alg": "RS256", "typ": "JWT", "kid": key.kid} | header
    text = f"{b64json({name: value for name, value in head.items() if value is not None})}.{b64json(claims)}"
    scheme, digest = _SIGNATURES[str(head["alg"])]
    return f"{text}.{b64(key.private.sign(text.encode(), scheme, digest))}"


def hs256(claims: object, key: SigningKey) -> str:
    """Sign with HMAC and the public key as the secret: the attack of RFC 8725 section 2.1."""
    secret = key.private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    text = f"{b64json({'alg': 'HS256', 'typ': 'JWT', 'kid': key.kid})}.{b64json(claims)}"
    return f"{text}.{b64(hmac.digest(secret, text.encode(), 'sha256'))}"


def unsigned(claims: object, signature: str = "", **header: Any) -> str:
    """Write a token with algorithm none, and a text in place of its signature."""
    return f"{b64json({'alg': 'none', 'typ': 'JWT'} | header)}.{b64json(claims)}.{signature}"


def tampered(token: str, part: int) -> str:
    """Change one bit in one part of a compact token, and keep its form."""
    parts = token.split(".")
    text, middle = parts[part], len(parts[part]) // 2
    parts[part] = text[:middle] + _BASE64URL[_BASE64URL.index(text[middle]) ^ 1] + text[middle + 1 :]
    return ".".join(parts)


def encrypted(plaintext: bytes | str, key: EncryptionKey, *, drop: tuple[str, ...] = (), **header: Any) -> str:
    """Encrypt as Entra does, to a compact JWE; header members are replaced, added, or left out by `drop`."""
    head = {"alg": protocol.JWE_ALG, "enc": protocol.JWE_ENC, "x5t": key.x5t, "zip": "DEF"} | header
    head = {name: value for name, value in head.items() if name not in drop}
    data = plaintext.encode() if isinstance(plaintext, str) else plaintext
    if head.get("zip") == "DEF":
        deflate = zlib.compressobj(9, zlib.DEFLATED, -15)  # without zlib's own header [RFC 7516 section 4.1.3]
        data = deflate.compress(data) + deflate.flush()
    aad = b64json(head)
    content_key = os.urandom(64 if head["enc"] == "A256CBC-HS512" else 32)
    sealed = _seal(str(head["enc"]), content_key, data, aad.encode())
    digest: hashes.HashAlgorithm = hashes.SHA256() if head["alg"] == "RSA-OAEP-256" else hashes.SHA1()  # noqa: S303
    wrap: rsa_padding.AsymmetricPadding = rsa_padding.OAEP(rsa_padding.MGF1(digest), digest, None)
    public = cast(rsa.RSAPublicKey, key.certificate.public_key())
    wrapped = public.encrypt(content_key, rsa_padding.PKCS1v15() if head["alg"] == "RSA1_5" else wrap)
    return ".".join((aad, *map(b64, (wrapped, *sealed))))


def _seal(enc: str, key: bytes, data: bytes, aad: bytes) -> tuple[bytes, bytes, bytes]:
    if enc == "A256GCM":
        iv = os.urandom(12)
        sealed = AESGCM(key).encrypt(iv, data, aad)
        return iv, sealed[:-16], sealed[-16:]
    half, iv = len(key) // 2, os.urandom(16)
    padder = padding.PKCS7(128).padder()
    encryptor = Cipher(algorithms.AES(key[half:]), modes.CBC(iv)).encryptor()
    ciphertext = encryptor.update(padder.update(data) + padder.finalize()) + encryptor.finalize()
    mac = hmac.digest(key[:half], aad + iv + ciphertext + (len(aad) * 8).to_bytes(8), f"sha{half * 16}")
    return iv, ciphertext, mac[:half]


@dataclass(frozen=True)
class Entra:
    """What Entra says for one tenant and one custom extension. A claim that is changed to None is left out."""

    tenant_id: str
    app_id: str
    identifier_uri: str
    listener_id: str = "9a1c3f52-0d8e-4a56-b7c1-2f6f5d0c3b33"
    extension_id: str = "3e5b7d94-6f21-4c0b-9a8d-8f1e0d2c4b44"

    def issuer(self, host: str = "ciam") -> str:
        """Return the issuer of the tenant's tokens under ciamlogin.com, or under login.microsoftonline.com."""
        name = f"{self.tenant_id}.ciamlogin.com" if host == "ciam" else "login.microsoftonline.com"
        return f"https://{name}/{self.tenant_id}/v2.0"

    def token_claims(self, *, ahead: int = 0, **changes: Any) -> dict[str, Any]:
        """Compose the claims of the callout's bearer token; the issuer's clock is some seconds ahead."""
        now, principal = int(time.time()) + ahead, "5aaa1e04-6b3a-4d0f-9c52-7ce2b14bbf01"
        claims = {"aud": self.app_id, "iss": self.issuer(), "azp": protocol.CALLER_APP_ID, "ver": "2.0"}
        claims |= {"tid": self.tenant_id, "oid": principal, "sub": principal}
        return _stated(claims | {"iat": now, "nbf": now, "exp": now + 3600} | changes)

    def context_claims(self, username: Any, password: Any, /, **changes: Any) -> dict[str, Any]:
        """Compose the claims inside a password context."""
        now, nonce = int(time.time()), str(uuid.uuid4())
        claims = {protocol.CLAIM_PASSWORD: password, protocol.CLAIM_USERNAME: username, protocol.CLAIM_NONCE: nonce}
        claims |= {"aud": self.app_id, "iss": self.identifier_uri, "iat": now, "nbf": now, "exp": now + 600}
        return _stated(claims | changes)

    def envelope(self, context: object, user: str = USER, **data: Any) -> dict[str, Any]:
        """Compose the callout's body around a directory account's encrypted context [observed].

        `data` replaces members of its `data`.
        """
        app = {"id": CLIENT, "appId": CLIENT, "appDisplayName": "Shop", "displayName": "Shop"}
        inside = {
            "@odata.type": protocol.CALLOUT_DATA_TYPE,
            "tenantId": self.tenant_id,
            "authenticationEventListenerId": self.listener_id,
            "customAuthenticationExtensionId": self.extension_id,
            "encryptedPasswordContext": context,
            "authenticationContext": {
                "correlationId": str(uuid.uuid4()),
                "client": {"ip": "192.0.2.7", "locale": "en-us", "market": "en-us"},
                "protocol": "OAUTH2.0",
                "clientServicePrincipal": app,
                "resourceServicePrincipal": None,
                "user": {"id": user, "userPrincipalName": f"{user}@contoso.onmicrosoft.com", "userType": "Member"},
            },
            "userSignUpInfo": None,
            "otpContext": None,
        }
        source = f"/tenants/{self.tenant_id}/applications/{CLIENT}"
        return {"type": protocol.EVENT_TYPE, "source": source, "data": inside | data}


def _stated(claims: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in claims.items() if value is not None}

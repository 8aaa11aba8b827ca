"""Entra's side of the callout for these tests: tokens, password contexts and envelopes made with cryptography alone."""

from __future__ import annotations

import base64
import functools
import hashlib
import hmac as hmac_module
import ipaddress
import json
import os
import time
import uuid
import zlib
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
from cryptography import x509
from cryptography.hazmat.primitives import hashes, padding
from cryptography.hazmat.primitives.asymmetric import padding as rsa_padding
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from jitkit.endpoint.settings import Settings
from jitkit.endpoint.stores import Verdict

TENANT = "11111111-1111-4111-8111-111111111111"
APP = "22222222-2222-4222-8222-222222222222"
URI = f"api://login.contoso.example/{APP}"
ENTRA = "99045fe1-7639-4a75-9d4a-577b6ca3810f"
CORRELATION = "33333333-3333-4333-8333-333333333333"
USER = "44444444-4444-4444-8444-444444444444"
CLIENT = "55555555-5555-4555-8555-555555555555"
CIAM = f"https://{TENANT}.ciamlogin.com/{TENANT}/v2.0"
LOGIN = f"https://login.microsoftonline.com/{TENANT}/v2.0"
METADATA = (f"{CIAM}/.well-known/openid-configuration", f"{LOGIN}/.well-known/openid-configuration")
ROUTE = "/api/JitMigrationEndpoint"
CANARY = "Canary-Pa55word!-7f3a"


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def b64json(value: object) -> str:
    return b64(json.dumps(value).encode())


@functools.cache
def rsa_key(name: str) -> rsa.RSAPrivateKey:
    """Make a key once a process; tests name the keys that they need."""
    return rsa.generate_private_key(65537, 2048)


def private_pem(name: str) -> str:
    return rsa_key(name).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


@functools.cache
def certificate(name: str, days: int = 365) -> x509.Certificate:
    key, now = rsa_key(name), datetime.now(UTC)
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(now - timedelta(days=400))
    return builder.not_valid_after(now + timedelta(days=days)).sign(key, hashes.SHA256())


def loopback_certificate(name: str) -> str:
    """Make a certificate for TLS on 127.0.0.1, as PEM; it is its own authority."""
    key, now = rsa_key(name), datetime.now(UTC)
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(now - timedelta(1)).not_valid_after(now + timedelta(1))
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    builder = builder.add_extension(names, critical=False)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()


def pair_pem(name: str) -> str:
    return private_pem(name) + certificate(name).public_bytes(Encoding.PEM).decode()


def x5t(name: str) -> str:
    return b64(hashlib.sha1(certificate(name).public_bytes(Encoding.DER)).digest())


def jws(claims: object, key: str = "signing", header: dict[str, Any] | None = None) -> str:
    head = {"alg": "RS256", "typ": "JWT", "kid": key} | (header or {})
    text = f"{b64json(head)}.{b64json(claims)}"
    return f"{text}.{b64(rsa_key(key).sign(text.encode(), rsa_padding.PKCS1v15(), hashes.SHA256()))}"


def unsigned(claims: object, header: dict[str, Any] | None = None, signature: str = "") -> str:
    return f"{b64json(header or {'alg': 'none', 'typ': 'JWT'})}.{b64json(claims)}.{signature}"


def jwe(plaintext: bytes | str, key: str = "encryption", *, drop: tuple[str, ...] = (), **header: Any) -> str:
    """Encrypt as Entra does; named header members replace the usual ones, `drop` leaves some out."""
    usual = {"alg": "RSA-OAEP", "enc": "A128CBC-HS256", "x5t": x5t(key), "zip": "DEF"}
    head = {name: value for name, value in (usual | header).items() if name not in drop}
    data = plaintext.encode() if isinstance(plaintext, str) else plaintext
    if head.get("zip") == "DEF":
        deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
        data = deflate.compress(data) + deflate.flush()
    aad = b64json(head)
    content_key = os.urandom(64 if head["enc"] == "A256CBC-HS512" else 32)
    iv, ciphertext, tag = _seal(head["enc"], content_key, data, aad.encode())
    digest = hashes.SHA256() if head["alg"] == "RSA-OAEP-256" else hashes.SHA1()
    pad: rsa_padding.AsymmetricPadding = rsa_padding.OAEP(rsa_padding.MGF1(digest), digest, None)
    if head["alg"] == "RSA1_5":
        pad = rsa_padding.PKCS1v15()
    wrapped = rsa_key(key).public_key().encrypt(content_key, pad)
    return ".".join((aad, b64(wrapped), b64(iv), b64(ciphertext), b64(tag)))


def _seal(enc: str, key: bytes, data: bytes, aad: bytes) -> tuple[bytes, bytes, bytes]:
    if enc == "A256GCM":
        iv = os.urandom(12)
        sealed = AESGCM(key).encrypt(iv, data, aad)
        return iv, sealed[:-16], sealed[-16:]
    half, iv = len(key) // 2, os.urandom(16)
    padder = padding.PKCS7(128).padder()
    encryptor = Cipher(algorithms.AES(key[half:]), modes.CBC(iv)).encryptor()
    ciphertext = encryptor.update(padder.update(data) + padder.finalize()) + encryptor.finalize()
    mac = hmac_module.new(key[:half], digestmod="sha512" if half == 32 else "sha256")
    mac.update(aad + iv + ciphertext + (len(aad) * 8).to_bytes(8))
    return iv, ciphertext, mac.digest()[:half]


def token_claims(**changes: Any) -> dict[str, Any]:
    """Claims of a good bearer token; a change to None leaves the claim out."""
    now = int(time.time())
    claims = {"aud": APP, "iss": CIAM, "azp": ENTRA, "tid": TENANT, "ver": "2.0"}
    claims |= {"oid": CLIENT, "sub": CLIENT, "iat": now, "nbf": now, "exp": now + 3600} | changes
    return {name: value for name, value in claims.items() if value is not None}


def bearer(key: str = "signing", **changes: Any) -> str:
    return jws(token_claims(**changes), key)


def encrypted_bearer(token: str | None = None, key: str = "encryption") -> str:
    return jwe(token or bearer(), key, xms_hd_uti="a-b", xms_hd_iat=int(time.time()))


def context_claims(password: Any = CANARY, username: Any = "ann@contoso.example", **changes: Any) -> dict[str, Any]:
    now = int(time.time())
    claims = {"user-password": password, "username": username, "nonce": str(uuid.uuid4()), "aud": APP, "iss": URI}
    claims |= {"iat": now, "nbf": now, "exp": now + 600} | changes
    return {name: value for name, value in claims.items() if value is not None}


def context(
    password: Any = CANARY, username: Any = "ann@contoso.example", *, key: str = "encryption", **changes: Any
) -> str:
    return jwe(unsigned(context_claims(password, username, **changes)), key)


def envelope(encrypted: object, **changes: Any) -> dict[str, Any]:
    """The captured shape of the callout's body; `changes` go into `data`."""
    user = {"id": USER, "userPrincipalName": f"{USER}@contoso.onmicrosoft.com", "mail": "ann@contoso.example"}
    data = {
        "@odata.type": "microsoft.graph.onPasswordSubmitCalloutData",
        "tenantId": TENANT,
        "authenticationEventListenerId": "66666666-6666-4666-8666-666666666666",
        "customAuthenticationExtensionId": "77777777-7777-4777-8777-777777777777",
        "encryptedPasswordContext": encrypted,
        "authenticationContext": {
            "correlationId": CORRELATION,
            "client": {"ip": "192.0.2.1", "locale": "en-us", "market": "en-us"},
            "protocol": "OAUTH2.0",
            "clientServicePrincipal": {"id": CLIENT, "appId": CLIENT, "appDisplayName": "Shop", "displayName": "Shop"},
            "resourceServicePrincipal": None,
            "user": user,
        },
        "userSignUpInfo": None,
        "otpContext": None,
    } | changes
    source = f"/tenants/{TENANT}/applications/{CLIENT}"
    return {"type": "microsoft.graph.authenticationEvent.passwordSubmit", "source": source, "data": data}


@dataclass
class Documents:
    """Two metadata documents with different keys; either may be taken away."""

    keys: dict[str, list[str]] = field(default_factory=lambda: {CIAM: ["signing"], LOGIN: ["other-signing"]})
    away: set[str] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)

    def client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(transport=httpx.MockTransport(self.answer))

    def answer(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(str(request.url))
        issuer = next((name for name in self.keys if str(request.url).startswith(name)), None)
        if issuer is None or issuer in self.away:
            raise httpx.ConnectError("away")
        if request.url.path.endswith("/openid-configuration"):
            return httpx.Response(200, json={"issuer": issuer, "jwks_uri": f"{issuer}/keys"})
        return httpx.Response(200, json={"keys": [public_jwk(name) for name in self.keys[issuer]]})


def public_jwk(name: str) -> dict[str, str]:
    numbers = rsa_key(name).public_key().public_numbers()
    n, e = (b64(number.to_bytes((number.bit_length() + 7) // 8)) for number in (numbers.n, numbers.e))
    return {"kty": "RSA", "use": "sig", "kid": name, "n": n, "e": e}


@dataclass
class AskedStore:
    """A legacy store that answers as told, and remembers what it was asked."""

    verdict: Verdict = Verdict.RIGHT
    delay: float = 0.0
    asked: list[tuple[str, str]] = field(default_factory=list)
    cancelled: int = 0
    running: int = 0
    most_running: int = 0
    kind: str = "asked"

    async def verify(self, username: str, password: str) -> Verdict:
        import asyncio

        self.asked.append((username, password))
        self.running += 1
        self.most_running = max(self.running, self.most_running)
        try:
            await asyncio.sleep(self.delay)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.running -= 1
        return self.verdict

    async def close(self) -> None:
        pass


def environment(**changes: str) -> dict[str, str]:
    usual = {
        "JIT_TENANT_ID": TENANT,
        "JIT_EXTENSION_APP_ID": APP,
        "JIT_IDENTIFIER_URI": URI,
        "DecryptionPrivateKey": pair_pem("encryption"),
        "LegacyApiConnectionString": "sqlite:///legacy.db",
    }
    return {name: value for name, value in (usual | changes).items() if value}


@functools.cache
def _settings(**changes: str) -> Settings:
    return Settings.from_environment(environment(**changes))


def settings(*, JIT_LEDGER: str = "-", **changes: str) -> Settings:
    """Read settings; the same ones are read once, because reading checks the keys, which takes a while."""
    return replace(_settings(**changes), ledger=JIT_LEDGER)

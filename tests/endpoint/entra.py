"""Entra's side of the callout with keys by name, and the store and documents that the endpoint asks."""

from __future__ import annotations

import asyncio
import functools
from dataclasses import dataclass, field, replace
from typing import Any

import httpx
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from jitkit import entra_tokens
from jitkit.endpoint.settings import Settings
from jitkit.endpoint.stores import Verdict
from jitkit.entra_tokens import CLIENT, USER, EncryptionKey, SigningKey, b64, b64json
from jitkit.protocol import CALLER_APP_ID

__all__ = ["CALLER_APP_ID", "CLIENT", "USER", "b64", "b64json"]

TENANT = "11111111-1111-4111-8111-111111111111"
APP = "22222222-2222-4222-8222-222222222222"
URI = f"api://login.contoso.example/{APP}"
CORRELATION = "33333333-3333-4333-8333-333333333333"
ROUTE = "/api/JitMigrationEndpoint"
CANARY = "Canary-Pa55word!-7f3a"

SERVICE = entra_tokens.Entra(TENANT, APP, URI)
CIAM, LOGIN = SERVICE.issuer(), SERVICE.issuer("login")
METADATA = (f"{CIAM}/.well-known/openid-configuration", f"{LOGIN}/.well-known/openid-configuration")


@functools.cache
def encryption_key(name: str) -> EncryptionKey:
    """Make a key once a process; tests name the keys that they need."""
    return EncryptionKey.make(name)


@functools.cache
def signing_key(name: str) -> SigningKey:
    """Make a key once a process; its name is its id."""
    return SigningKey.make(name)


def rsa_key(name: str) -> rsa.RSAPrivateKey:
    private = encryption_key(name).private
    assert private is not None
    return private


def certificate(name: str) -> x509.Certificate:
    return encryption_key(name).certificate


def private_pem(name: str) -> str:
    return rsa_key(name).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def pair_pem(name: str) -> str:
    return encryption_key(name).pem()


def x5t(name: str) -> str:
    return encryption_key(name).x5t


def public_jwk(name: str) -> dict[str, str]:
    return signing_key(name).public_jwk()


def jws(claims: object, key: str = "signing", header: dict[str, Any] | None = None) -> str:
    """Sign with RS256, whatever the header says."""
    text = f"{b64json({'alg': 'RS256', 'typ': 'JWT', 'kid': key} | (header or {}))}.{b64json(claims)}"
    signature = signing_key(key).private.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256())
    return f"{text}.{b64(signature)}"


def unsigned(claims: object, header: dict[str, Any] | None = None, signature: str = "") -> str:
    return entra_tokens.unsigned(claims, signature, **(header or {}))


def jwe(plaintext: bytes | str, key: str = "encryption", *, drop: tuple[str, ...] = (), **header: Any) -> str:
    return entra_tokens.encrypted(plaintext, encryption_key(key), drop=drop, **header)


def token_claims(**changes: Any) -> dict[str, Any]:
    return SERVICE.token_claims(**changes)


def bearer(key: str = "signing", **changes: Any) -> str:
    return jws(token_claims(**changes), key)


def encrypted_bearer(token: str | None = None, key: str = "encryption") -> str:
    return jwe(token or bearer(), key, xms_hd_uti="a-b")


def context_claims(password: Any = CANARY, username: Any = "ann@contoso.example", **changes: Any) -> dict[str, Any]:
    return SERVICE.context_claims(username, password, **changes)


def context(
    password: Any = CANARY, username: Any = "ann@contoso.example", *, key: str = "encryption", **changes: Any
) -> str:
    return jwe(unsigned(context_claims(password, username, **changes)), key)


def envelope(encrypted: object, **changes: Any) -> dict[str, Any]:
    body = SERVICE.envelope(encrypted)
    body["data"]["authenticationContext"]["correlationId"] = CORRELATION
    body["data"] |= changes
    return body


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


@dataclass
class AskedStore:
    """A legacy store that answers as set, and remembers what it was asked."""

    verdict: Verdict = Verdict.RIGHT
    delay: float = 0.0
    asked: list[tuple[str, str]] = field(default_factory=list)
    cancelled: int = 0
    running: int = 0
    most_running: int = 0
    kind: str = "asked"

    async def verify(self, username: str, password: str) -> Verdict:
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

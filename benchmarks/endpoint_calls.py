"""What the endpoint's benchmarks share: a tenant that signs, encrypts and calls as Entra does."""

from __future__ import annotations

import base64
import hashlib
import json
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from jwcrypto.jwe import JWE
from jwcrypto.jwk import JWK
from jwcrypto.jws import JWS

from jitkit import protocol
from jitkit.endpoint.app import ROUTE
from jitkit.endpoint.stores import Verdict

TENANT, APP = str(uuid.uuid4()), str(uuid.uuid4())
ISSUER = f"https://{TENANT}.ciamlogin.com/{TENANT}/v2.0"


class ConstantStore:
    """Answer at once: what is measured is the endpoint."""

    kind = "constant"

    async def verify(self, username: str, password: str) -> Verdict:
        return Verdict.RIGHT

    async def close(self) -> None:
        pass


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


@dataclass
class Caller:
    """Entra's side, with its keys and its clock."""

    clock: Callable[[], float] = time.time
    key: rsa.RSAPrivateKey = field(default_factory=lambda: rsa.generate_private_key(65537, 2048))
    signing: JWK = field(default_factory=lambda: JWK.generate(kty="RSA", size=2048, kid="k"))

    def __post_init__(self) -> None:
        name, now = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "benchmark")]), datetime.now(UTC)
        builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(self.key.public_key())
        builder = builder.serial_number(1).not_valid_before(now).not_valid_after(now + timedelta(90))
        certificate = builder.sign(self.key, hashes.SHA256())
        digest = hashlib.sha1(certificate.public_bytes(Encoding.DER), usedforsecurity=False).digest()
        self.thumbprint = base64url(digest)
        self.public = JWK.from_pyca(self.key.public_key())
        self.private_pem = self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
        self.pair_pem = self.private_pem + certificate.public_bytes(Encoding.PEM).decode()

    def settings(self, **changes: str) -> dict[str, str]:
        return {
            "JIT_TENANT_ID": TENANT,
            "JIT_EXTENSION_APP_ID": APP,
            "JIT_IDENTIFIER_URI": f"api://contoso.example/{APP}",
            "JIT_OPENID_CONFIGURATION": f"{ISSUER}/.well-known/openid-configuration",
            "DecryptionPrivateKey": self.pair_pem,
            "LegacyApiConnectionString": "constant://",
        } | changes

    def documents(self, address: str = ISSUER) -> dict[str, Any]:
        """One document that is both the metadata and the key set."""
        return {"issuer": ISSUER, "jwks_uri": f"{address}/keys", "keys": [self.signing.export_public(as_dict=True)]}

    def http(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(transport=httpx.MockTransport(lambda _: httpx.Response(200, json=self.documents())))

    def headers(self) -> dict[str, str]:
        now = int(self.clock())
        claims = {
            "aud": APP,
            "iss": ISSUER,
            "tid": TENANT,
            "azp": protocol.CALLER_APP_ID,
            "nbf": now,
            "exp": now + 3600,
        }
        jws = JWS(json.dumps(claims))
        jws.add_signature(self.signing, None, json.dumps({"alg": "RS256", "kid": "k"}), None)
        return {"content-type": "application/json", "authorization": f"Bearer {jws.serialize(compact=True)}"}

    def body(self, username: str = "ann@contoso.example", password: str = "Abcdefg1") -> bytes:
        now, user = int(self.clock()), str(uuid.uuid4())
        claims: dict[str, Any] = {"user-password": password, "username": username, "nonce": str(uuid.uuid4())}
        claims |= {"aud": APP, "iss": f"api://contoso.example/{APP}", "iat": now, "nbf": now, "exp": now + 600}
        inner = ".".join((base64url(b'{"alg":"none"}'), base64url(json.dumps(claims).encode()), ""))
        header = {"alg": protocol.JWE_ALG, "enc": protocol.JWE_ENC, "x5t": self.thumbprint, "zip": "DEF"}
        context = JWE(inner, json.dumps(header), recipient=self.public).serialize(compact=True)
        data = {
            "@odata.type": protocol.CALLOUT_DATA_TYPE,
            "tenantId": TENANT,
            "encryptedPasswordContext": context,
            "authenticationContext": {
                "correlationId": str(uuid.uuid4()),
                "client": {"ip": "192.0.2.1", "locale": "en-us", "market": "en-us"},
                "protocol": "OAUTH2.0",
                "clientServicePrincipal": {"id": user, "appId": APP, "appDisplayName": "Shop", "displayName": "Shop"},
                "user": {"id": user, "userPrincipalName": f"{user}@contoso.onmicrosoft.com", "userType": "Member"},
            },
        }
        return json.dumps({"type": protocol.EVENT_TYPE, "source": f"/tenants/{TENANT}", "data": data}).encode()


async def call(app: Any, headers: dict[str, str], content: bytes, action: bytes = b"MigratePassword") -> None:
    """Send one request through ASGI as a server does, and insist on an action."""
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "scheme": "http"}
    scope |= {"path": ROUTE, "raw_path": ROUTE.encode(), "query_string": b"", "root_path": "", "headers": raw}
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": content, "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await app(scope, receive, send)
    assert sent[0]["status"] == 200
    assert action in sent[1]["body"], sent[1]["body"]

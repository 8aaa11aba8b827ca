"""What the endpoint's benchmarks share: a tenant that signs, encrypts and calls as Entra does."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from jitkit.endpoint.app import ROUTE
from jitkit.endpoint.stores import Verdict
from jitkit.entra_tokens import EncryptionKey, Entra, SigningKey, encrypted, signed, unsigned

TENANT, APP = str(uuid.uuid4()), str(uuid.uuid4())
ENTRA = Entra(TENANT, APP, f"api://contoso.example/{APP}")
ISSUER = ENTRA.issuer()


class ConstantStore:
    """Answer at once: what is measured is the endpoint."""

    kind = "constant"

    async def verify(self, username: str, password: str) -> Verdict:
        return Verdict.RIGHT

    async def close(self) -> None:
        pass


@dataclass
class Caller:
    """Entra's side, with its keys and its clock."""

    clock: Callable[[], float] = time.time
    encryption: EncryptionKey = field(default_factory=lambda: EncryptionKey.make("benchmark", days=90))
    signing: SigningKey = field(default_factory=lambda: SigningKey.make("k"))

    def __post_init__(self) -> None:
        assert self.encryption.private is not None
        self.key = self.encryption.private
        self.private_pem = self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()

    def settings(self, **changes: str) -> dict[str, str]:
        return {
            "JIT_TENANT_ID": TENANT,
            "JIT_EXTENSION_APP_ID": APP,
            "JIT_IDENTIFIER_URI": ENTRA.identifier_uri,
            "JIT_OPENID_CONFIGURATION": f"{ISSUER}/.well-known/openid-configuration",
            "DecryptionPrivateKey": self.encryption.pem(),
            "LegacyApiConnectionString": "constant://",
        } | changes

    def documents(self, address: str = ISSUER) -> dict[str, Any]:
        """One document that is both the metadata and the key set."""
        return {"issuer": ISSUER, "jwks_uri": f"{address}/keys", "keys": [self.signing.public_jwk()]}

    def http(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(transport=httpx.MockTransport(lambda _: httpx.Response(200, json=self.documents())))

    def headers(self) -> dict[str, str]:
        token = signed(ENTRA.token_claims(**self._times(3600)), self.signing)
        return {"content-type": "application/json", "authorization": f"Bearer {token}"}

    def body(self, username: str = "ann@contoso.example", password: str = "Abcdefg1") -> bytes:
        claims = ENTRA.context_claims(username, password, **self._times(600))
        body = ENTRA.envelope(encrypted(unsigned(claims), self.encryption))
        body["data"]["authenticationContext"]["user"]["id"] = str(uuid.uuid4())
        return json.dumps(body).encode()

    def _times(self, life: int) -> dict[str, int]:
        now = int(self.clock())
        return {"iat": now, "nbf": now, "exp": now + life}


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

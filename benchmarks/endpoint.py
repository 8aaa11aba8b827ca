"""Requests per second of the endpoint on one core, beside bare RSA-2048 OAEP decryption on the same core.

The endpoint runs in this process and is called through ASGI, without a socket: bearer token, JWE, envelope, legacy
verdict, answer and ledger line are real; the legacy store answers at once. Eight callers each wait for their answer, as
at a server. Rates are per second of processor time of all threads; the two loads alternate and the best round of each
counts, because other processes can make a round slower and never faster.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import os
import tempfile
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from jwcrypto.jwe import JWE
from jwcrypto.jwk import JWK
from jwcrypto.jws import JWS

from helpers import protocol
from helpers.endpoint.app import ROUTE, create_app
from helpers.endpoint.config import Settings
from helpers.endpoint.legacy import Verdict

TENANT, APP, USER = (str(uuid.uuid4()) for _ in range(3))
ISSUER = f"https://{TENANT}.ciamlogin.com/{TENANT}/v2.0"
ROUNDS, PER_ROUND, CALLERS = 15, 304, 8


class ConstantStore:
    """Answer at once: what is measured is the endpoint."""

    kind = "constant"

    async def verify(self, username: str, password: str) -> Verdict:
        return Verdict.RIGHT

    async def close(self) -> None:
        pass


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def self_signed(key: rsa.RSAPrivateKey) -> x509.Certificate:
    name, now = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "benchmark")]), datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    return (
        builder.serial_number(1).not_valid_before(now).not_valid_after(now + timedelta(90)).sign(key, hashes.SHA256())
    )


def bearer(signing: JWK) -> str:
    now = int(time.time())
    claims = {"aud": APP, "iss": ISSUER, "tid": TENANT, "azp": protocol.CALLER_APP_ID, "nbf": now, "exp": now + 3600}
    jws = JWS(json.dumps(claims))
    jws.add_signature(signing, None, json.dumps({"alg": "RS256", "kid": "k"}), None)
    return str(jws.serialize(compact=True))


def body(key: JWK, thumbprint: str) -> bytes:
    now = int(time.time())
    claims: dict[str, Any] = {
        "user-password": "Abcdefg1",
        "username": "ann@contoso.example",
        "nonce": str(uuid.uuid4()),
    }
    claims |= {"aud": APP, "iss": f"api://contoso.example/{APP}", "iat": now, "nbf": now, "exp": now + 600}
    inner = ".".join((base64url(b'{"alg":"none"}'), base64url(json.dumps(claims).encode()), ""))
    header = {"alg": protocol.JWE_ALG, "enc": protocol.JWE_ENC, "x5t": thumbprint, "zip": "DEF"}
    context = JWE(inner, json.dumps(header), recipient=key).serialize(compact=True)
    data = {
        "@odata.type": protocol.CALLOUT_DATA_TYPE,
        "tenantId": TENANT,
        "encryptedPasswordContext": context,
        "authenticationContext": {
            "correlationId": str(uuid.uuid4()),
            "client": {"ip": "192.0.2.1", "locale": "en-us", "market": "en-us"},
            "protocol": "OAUTH2.0",
            "clientServicePrincipal": {"id": USER, "appId": APP, "appDisplayName": "Shop", "displayName": "Shop"},
            "user": {"id": USER, "userPrincipalName": f"{USER}@contoso.onmicrosoft.com", "userType": "Member"},
        },
    }
    return json.dumps({"type": protocol.EVENT_TYPE, "source": f"/tenants/{TENANT}", "data": data}).encode()


async def call(app: Any, headers: list[tuple[bytes, bytes]], content: bytes) -> None:
    """Send one request as a server does, and insist on a migration."""
    scope = {"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "scheme": "http"}
    scope |= {"path": ROUTE, "raw_path": ROUTE.encode(), "query_string": b"", "root_path": "", "headers": headers}
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": content, "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await app(scope, receive, send)
    assert sent[0]["status"] == 200
    assert b"MigratePassword" in sent[1]["body"]


async def caller(app: Any, headers: list[tuple[bytes, bytes]], bodies: list[bytes]) -> None:
    for content in bodies:
        await call(app, headers, content)


def rate(work: Callable[[], None]) -> float:
    started = time.process_time()
    work()
    return PER_ROUND / (time.process_time() - started)


def bare(key: rsa.RSAPrivateKey) -> Callable[[], None]:
    oaep = padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), None)
    ciphertext = key.public_key().encrypt(os.urandom(32), oaep)

    def work() -> None:
        for _ in range(PER_ROUND):
            key.decrypt(ciphertext, oaep)

    return work


async def measure(ledger: str) -> tuple[list[float], list[float]]:
    key, signing = rsa.generate_private_key(65537, 2048), JWK.generate(kty="RSA", size=2048, kid="k")
    certificate = self_signed(key)
    thumbprint = base64url(hashlib.sha1(certificate.public_bytes(Encoding.DER), usedforsecurity=False).digest())
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) + certificate.public_bytes(
        Encoding.PEM
    )
    settings = Settings.from_environment(
        {
            "JIT_TENANT_ID": TENANT,
            "JIT_EXTENSION_APP_ID": APP,
            "JIT_IDENTIFIER_URI": f"api://contoso.example/{APP}",
            "JIT_OPENID_CONFIGURATION": f"{ISSUER}/.well-known/openid-configuration",
            "DecryptionPrivateKey": private.decode(),
            "LegacyApiConnectionString": "constant://",
            "JIT_LEDGER": ledger,
        }
    )
    documents = {"issuer": ISSUER, "jwks_uri": f"{ISSUER}/keys", "keys": [signing.export_public(as_dict=True)]}
    transport = httpx.MockTransport(lambda _: httpx.Response(200, json=documents))
    headers = [(b"content-type", b"application/json"), (b"authorization", f"Bearer {bearer(signing)}".encode())]
    encrypting, decrypt = JWK.from_pyca(key.public_key()), bare(key)
    rates: tuple[list[float], list[float]] = ([], [])
    async with httpx.AsyncClient(transport=transport) as http:
        app = create_app(settings, http=http, store=ConstantStore())
        async with app.router.lifespan_context(app):
            await call(app, headers, body(encrypting, thumbprint))
            for _ in range(ROUNDS):
                rates[0].append(rate(decrypt))
                bodies = [body(encrypting, thumbprint) for _ in range(PER_ROUND)]
                started = time.process_time()
                await asyncio.gather(*(caller(app, headers, bodies[start::CALLERS]) for start in range(CALLERS)))
                rates[1].append(PER_ROUND / (time.process_time() - started))
    return rates


def main() -> None:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    with tempfile.TemporaryDirectory() as directory:
        rsa_rates, endpoint_rates = asyncio.run(measure(str(Path(directory) / "ledger.jsonl")))
    rsa_rate, endpoint_rate = max(rsa_rates), max(endpoint_rates)
    print(f"bare RSA-2048 OAEP decryptions   {rsa_rate:7.0f} /s")
    print(f"endpoint, in-process ASGI        {endpoint_rate:7.0f} /s")
    print(f"ratio                            {endpoint_rate / rsa_rate:7.2f}   (aim: 0.50 or more)")


if __name__ == "__main__":
    main()

"""A and B: who is calling, by a bearer token, bare or encrypted."""

from __future__ import annotations

import asyncio
import base64
import time
from unittest.mock import patch

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from jitkit.conformance.endpoint import Endpoint, TooSlow
from jitkit.conformance.issuer import Issuer
from jitkit.entra_tokens import EncryptionKey, SigningKey, signed, tampered
from jitkit.protocol import MIGRATE


async def test_a6_embedded_key(endpoint: Endpoint, issuer: Issuer) -> None:
    claims, stranger, attacker = issuer.claims(), issuer.stranger, f"{issuer.server.url}/attacker"
    embedded = signed(claims, stranger, jwk=stranger.public_jwk())
    pointed = signed(claims, stranger, jku=f"{attacker}/keys", x5u=f"{attacker}/certificate")
    own = EncryptionKey.make("stranger")
    der = base64.b64encode(own.certificate.public_bytes(Encoding.DER)).decode()
    assert own.private is not None
    certified = [signed(claims, SigningKey(kid, own.private), x5c=[der]) for kid in ("stranger", issuer.ciam.kid)]
    for token in (embedded, pointed, *certified):
        await endpoint.refuses(endpoint.call(token=token), 401)
    fetched = any(path.startswith("/attacker") for path in issuer.fetched)
    assert not fetched, "the endpoint fetched a key from where the token told it to"


async def test_a17_documents_away(endpoint: Endpoint, issuer: Issuer) -> None:
    with patch.object(issuer, "away", True):
        await endpoint.decides(endpoint.call(), MIGRATE)


async def test_a20_unknown_keys(endpoint: Endpoint, issuer: Issuer) -> None:
    before, started = len(issuer.fetched), time.monotonic()
    for number in range(20):
        token = signed(issuer.claims(), issuer.stranger, kid=f"nobody-{number}")
        await endpoint.refuses(endpoint.call(token=token), 401)
    fetched, seconds = len(issuer.fetched) - before, time.monotonic() - started
    if fetched > 8:
        problem = TooSlow if seconds > 2 else AssertionError  # one look a second is a bound too
        raise problem(f"20 tokens with made-up key ids caused {fetched} fetches in {seconds:.1f} s")


async def test_a22_certificate_alone(endpoint: Endpoint) -> None:
    call = endpoint.call(token=None)
    call.headers["authorization"] = f"Bearer {call.body['data']['encryptedPasswordContext']}"
    await endpoint.refuses(call, 401)


async def test_a26_remembered_past_its_end(endpoint: Endpoint, issuer: Issuer) -> None:
    for tolerance in (300, 120, 60, 0):
        ends, old = int(time.time()) - tolerance, int(time.time()) - 7200
        too_old = await endpoint.send(endpoint.call(token=issuer.bearer(iat=old, nbf=old, exp=ends - 2)))
        last = endpoint.call(token=issuer.bearer(iat=old, nbf=old, exp=ends + 3))
        if too_old.action or (await endpoint.send(last)).status == 401:
            continue
        await asyncio.sleep(max(0.0, ends + tolerance + 4.5 - time.time()))
        await endpoint.refuses(endpoint.call(token=last.token), 401)
        return
    pytest.skip("its tolerance is none of 0, 60, 120 and 300 seconds")


async def test_b5_remembered_token(endpoint: Endpoint, issuer: Issuer) -> None:
    for good, part in ((issuer.bearer(), 2), (issuer.encrypted(issuer.bearer()), 3)):
        for _ in range(20):
            await endpoint.decides(endpoint.call(token=good), MIGRATE)
        await endpoint.refuses(endpoint.call(token=tampered(good, part)), 401)


async def test_b6_inflating_token(endpoint: Endpoint, issuer: Issuer) -> None:
    bomb = issuer.bearer(padding="0" * (6 * 1024 * 1024))
    await endpoint.refuses(endpoint.call(token=issuer.encrypted(bomb)), 401, 431, 400)

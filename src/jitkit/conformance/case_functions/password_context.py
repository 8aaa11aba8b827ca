"""J and C: the encrypted password context, the claims inside it, and what comes twice."""

from __future__ import annotations

import asyncio
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import pytest

from jitkit.conformance.case_functions import table
from jitkit.conformance.endpoint import Endpoint, Reply, TooSlow, decided, shows_nothing
from jitkit.conformance.legacy_store import LegacyStore
from jitkit.entra_tokens import EncryptionKey, b64, b64json, encrypted, tampered, unsigned
from jitkit.protocol import MIGRATE, RETRY

_SECOND_ATTEMPT = 2.5  # seconds after the first: Entra repeats a call that was not answered within two
_PARTS = ("header", "encrypted key", "IV", "ciphertext", "tag")


def _context(endpoint: Endpoint) -> str:
    return str(endpoint.call().body["data"]["encryptedPasswordContext"])


def _accepted_or_refused(reply: Reply) -> None:
    good = reply.status == 400 or reply.action == MIGRATE
    assert good, f"neither accepted nor refused, status {reply.status}"


@pytest.mark.parametrize("member", ["alg=RSA-OAEP-256", "enc=A256GCM", "enc=A256CBC-HS512"])
async def test_j3_stronger(endpoint: Endpoint, member: str) -> None:
    _accepted_or_refused(await endpoint.send(endpoint.call(jwe=dict([member.split("=")]))))


async def test_j10_inflating(endpoint: Endpoint) -> None:
    await endpoint.refuses(endpoint.call(claims={"padding": "0" * (20 * 1024 * 1024)}), 400, 413)


async def test_j11_one_bit(endpoint: Endpoint) -> None:
    replies: dict[str, list[Reply]] = {name: [] for name in _PARTS}
    for _ in range(7):
        for part, name in enumerate(_PARTS):
            call = endpoint.call(context=tampered(_context(endpoint), part))
            reply = await endpoint.send(call)
            assert reply.status == 400, f"a changed {name}: expected status 400, got {reply.status}"
            shows_nothing(reply, call)
            replies[name].append(reply)
    bodies = {reply.body for group in replies.values() for reply in group}
    assert len(bodies) == 1, f"the body tells which part was changed: {len(bodies)} different ones"
    # A changed header may be noticed before any key is used, and costs an attacker nothing to know.
    times = [statistics.median(reply.seconds for reply in replies[name]) for name in _PARTS[1:]]
    slowest, fastest = max(times), min(times)
    if slowest - fastest > max(0.02, fastest):
        raise TooSlow(f"the time tells which part was changed: {fastest * 1000:.0f} to {slowest * 1000:.0f} ms")


async def test_j12_pointed_keys(endpoint: Endpoint) -> None:
    issuer, attacker = endpoint.issuer, f"{endpoint.issuer.server.url}/attacker"
    before = len(issuer.fetched)
    header = {"jku": f"{attacker}/keys", "x5u": f"{attacker}/certificate"}
    _accepted_or_refused(await endpoint.send(endpoint.call(jwe=header)))
    fetched = any(path.startswith("/attacker") for path in issuer.fetched[before:])
    assert not fetched, "the endpoint fetched what the password context pointed at"


@table(
    "inside",
    {
        "none with a signature": lambda claims, _: unsigned(claims, "AAAA"),
        "HS256": lambda claims, _: unsigned(claims, b64(b"0" * 32), alg="HS256"),
        "claims as a list": lambda claims, _: unsigned([claims]),
        "two parts": lambda claims, _: unsigned(claims).rpartition(".")[0],
        "a text": lambda *_: "hello",
        "nothing": lambda *_: "",
        "another JWE": lambda claims, key: encrypted(unsigned(claims), key),
        "not UTF-8": lambda *_: f"{b64json({'alg': 'none'})}.{b64(bytes([0xFF, 0xFE]))}.",
    },
)
async def test_c2_other_tokens(endpoint: Endpoint, inside: Callable[[Any, EncryptionKey], str]) -> None:
    call = endpoint.call(inside=lambda claims: inside(claims, endpoint.config.certificate))
    await endpoint.refuses(call, 400)


async def test_c3_flat(endpoint: Endpoint) -> None:
    call = endpoint.call(inside=json.dumps)
    if endpoint.config.features.flat_context:
        await endpoint.decides(call, MIGRATE)
    else:
        await endpoint.refuses(call, 400)


async def test_c12_normalised_names(endpoint: Endpoint, legacy: LegacyStore) -> None:
    for change in (str.upper, " {} ".format):
        person = endpoint.account()
        await endpoint.decides(endpoint.call(person, claims={"username": change(person.username)}), MIGRATE)
    tagged = endpoint.account(username=f"case+tag-{time.time_ns()}@conformance.example")
    await endpoint.decides(endpoint.call(tagged), MIGRATE)


async def test_c14_second_attempt(endpoint: Endpoint, legacy: LegacyStore) -> None:
    for kind, action in (("right", MIGRATE), ("wrong", RETRY)):
        call = endpoint.call(kind)
        for pause in (0, 0, _SECOND_ATTEMPT):
            await asyncio.sleep(pause)
            await endpoint.decides(call, action)
        call.asked(1)
    both = endpoint.call(endpoint.account(delay=0.3))
    for reply in await asyncio.gather(endpoint.send(both), endpoint.send(both)):
        decided(reply, both, MIGRATE)
    both.asked(1)


async def test_c15_reused_nonce(endpoint: Endpoint) -> None:
    first = endpoint.call()
    await endpoint.decides(first, MIGRATE)
    same = {"nonce": first.nonce}
    await endpoint.refuses(endpoint.call(first.account, typed="Another-Canary-Pa55!", claims=same), 400)
    await endpoint.refuses(endpoint.call(claims=same), 400)


async def test_c16_after_its_end(endpoint: Endpoint) -> None:
    first = endpoint.call()
    await endpoint.decides(first, MIGRATE)
    now = int(time.time())
    old = {"nonce": first.nonce, "iat": now - 7200, "nbf": now - 7200, "exp": now - 900}
    await endpoint.refuses(endpoint.call(first.account, claims=old), 400)


async def test_c18_exact_password(endpoint: Endpoint, legacy: LegacyStore) -> None:
    passwords = (" Blanks around 1! ", "Zwölf-Gänse-1!", "Päss\u0301word-1!", "日本語-Pass-1!", 'Q"uo\\te-\t1!')
    for number, password in enumerate(passwords, 1):
        person = endpoint.account(password=password)
        name = f"password {number} of 5 (blanks, umlauts, accents, kanji, quotes)"
        reply = await endpoint.send(endpoint.call(person))
        assert reply.action, f"{name} was not decided"
        assert person.asked == [password], f"{name} reached it changed"


async def test_c19_odd_passwords(endpoint: Endpoint) -> None:
    odd = {
        "a null character": "Null\x00-Canary-1!",
        "4,000 letters": "Aa1!" * 1000,
        "half a character": "\ud800-Canary-1!",
    }
    for name, password in odd.items():
        call = endpoint.call(typed=password)
        endpoint.passwords.discard(password)
        reply = await endpoint.send(call)
        answered = reply.status == 400 or reply.action
        assert answered, f"{name}: neither decided nor refused, status {reply.status}"

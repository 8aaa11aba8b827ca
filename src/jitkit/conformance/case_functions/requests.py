"""T and E: the request, before its content is read, and the JSON around the password context."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from jitkit.conformance.case_functions import table
from jitkit.conformance.endpoint import Call, Endpoint, in_time, with_message
from jitkit.conformance.legacy_store import LegacyStore
from jitkit.entra_tokens import RawJson, signed, unsigned
from jitkit.protocol import BLOCK, EVENT_TYPE, MIGRATE

_LARGE = 1024 * 1024
_OTHER = "f3b1c9d2-7a64-4b0e-8d15-6c2e9f0a1b77"


async def test_t1_health(endpoint: Endpoint) -> None:
    reply = await endpoint.send(Call(endpoint.account(), "", None, None, method="GET"))
    assert reply.status == 200, f"GET without a token: status {reply.status}"
    text = reply.body.decode("utf-8", "replace").lower()
    words = [word for word in ("password", "private", "connectionstring", "sqlite", "postgres", "ldap") if word in text]
    too_much = words or endpoint.config.tenant_id in text or len(text) > 2000
    assert not too_much, f"the health answer tells too much: {', '.join(words) or 'the tenant, or a long text'}"


async def test_t5_large_body(endpoint: Endpoint) -> None:
    await endpoint.refuses(endpoint.call(padding="x" * _LARGE), 413)


async def test_t6_large_body_without_length(endpoint: Endpoint) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(64):
            yield b" " * (_LARGE // 32)

    headers = {"content-type": "application/json", "authorization": f"Bearer {endpoint.issuer.bearer()}"}
    try:
        reply = await endpoint.http.post(endpoint.url, content=chunks(), headers=headers)
    except (httpx.WriteError, httpx.ReadError, httpx.RemoteProtocolError):
        return  # it closed the connection while the body was still being sent: that is a refusal too
    except httpx.TimeoutException:
        raise AssertionError("no answer to a large body without a length") from None
    assert reply.status_code == 413, f"expected status 413, got {reply.status_code}"


async def test_t7_half_a_body(endpoint: Endpoint) -> None:
    parts = urlsplit(endpoint.url)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    tls = parts.scheme == "https"
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port or (443 if tls else 80), ssl=tls or None)
    head = f"POST {target} HTTP/1.1\r\nhost: {parts.netloc}\r\nauthorization: Bearer {endpoint.issuer.bearer()}\r\n"
    writer.write(f"{head}content-type: application/json\r\ncontent-length: 1000\r\n\r\n{{".encode())
    try:
        answer = await asyncio.wait_for(reader.read(4096), 5)
    except TimeoutError:
        raise AssertionError("still waiting for the rest of the body after 5 s") from None
    finally:
        writer.close()
    assert not answer.startswith(b"HTTP/1.1 200"), "half a body was answered with 200"


async def test_t8_hanging_up(endpoint: Endpoint, legacy: LegacyStore) -> None:
    call = endpoint.call(endpoint.account(delay=0.6))
    first = asyncio.create_task(endpoint.send(call))
    await asyncio.sleep(0.3)
    first.cancel()
    with contextlib.suppress(asyncio.CancelledError, AssertionError):
        await first
    reply = await endpoint.send(call)
    in_time(reply)
    assert reply.action == MIGRATE, f"the second attempt got {reply}"
    asked = len(call.account.asked)
    assert asked <= 2, f"two attempts, and the legacy store was asked {asked} times"
    await endpoint.decides(endpoint.call(), MIGRATE)


async def test_e2_minimal(endpoint: Endpoint) -> None:
    call = endpoint.call()
    data, kept = call.body["data"], ["@odata.type", "tenantId", "encryptedPasswordContext"]
    if endpoint.config.extension_id or endpoint.config.listener_id:
        kept += ["authenticationEventListenerId", "customAuthenticationExtensionId"]
    context = data["authenticationContext"]
    least = {"correlationId": context["correlationId"], "user": {"id": context["user"]["id"]}}
    call.body["data"] = {name: data[name] for name in kept} | {"authenticationContext": least}
    await endpoint.decides(call, MIGRATE)


async def test_e7_other_extension(endpoint: Endpoint) -> None:
    if not (endpoint.config.extension_id or endpoint.config.listener_id):
        pytest.skip("the configuration names neither extension_id nor listener_id: nothing is pinned")
    if endpoint.config.extension_id:
        await endpoint.refuses(endpoint.call(customAuthenticationExtensionId=_OTHER), 403)
    if endpoint.config.listener_id:
        await endpoint.refuses(endpoint.call(authenticationEventListenerId=_OTHER), 403)


async def test_e10_plain_text(endpoint: Endpoint) -> None:
    call = endpoint.call()
    del call.body["data"]["encryptedPasswordContext"]
    stated = {"user-password": call.account.password, "username": call.account.username, "nonce": call.nonce}
    call.body["data"]["passwordContext"] = stated
    await endpoint.refuses(call, 400)


@table(
    "write",
    {
        "half an object": lambda good: good[:-20],
        "a list": lambda good: b"[" + good + b"]",
        "a text": lambda _: b'"hello"',
        "null": lambda _: b"null",
        "not UTF-8": lambda _: b'{"type": "\xff\xfe"}',
        "30,000 brackets": lambda _: b"[" * 30_000,
        "a list as data": lambda _: json.dumps({"type": EVENT_TYPE, "data": []}).encode(),
    },
)
async def test_e11_no_json(endpoint: Endpoint, write: Callable[[bytes], bytes]) -> None:
    call = endpoint.call()
    call.body = write(json.dumps(call.body).encode())
    await endpoint.refuses(call, 400)


async def test_e12_typed_name(endpoint: Endpoint, legacy: LegacyStore) -> None:
    call, before = endpoint.call(), len(legacy.unknown)
    await endpoint.decides(call, MIGRATE)
    as_typed = call.account.asked and len(legacy.unknown) == before
    assert as_typed, "the legacy store was asked about another name than the one that was typed"


async def test_e13_other_directory_account(endpoint: Endpoint, legacy: LegacyStore) -> None:
    known = endpoint.account()
    known.user_id = known.directory_id.upper()
    await endpoint.decides(endpoint.call(known), MIGRATE)
    with_message(await endpoint.decides(endpoint.call(endpoint.account(user_id=_OTHER)), BLOCK))


async def test_e15_doubled_members(endpoint: Endpoint) -> None:
    def twice(value: Any, name: str) -> str:
        """Write an object with one member a second time, in front, with another value."""
        return f'{{"{name}": "another", ' + json.dumps(value)[1:]

    def doubled(claims: dict[str, Any], name: str) -> str:
        return unsigned(RawJson(twice(claims, name)))

    for name in ("type", "data"):
        call = endpoint.call()
        call.body = twice(call.body, name)
        await endpoint.refuses(call, 400, 403)
    for name in ("tenantId", "encryptedPasswordContext"):
        call = endpoint.call()
        call.body = json.dumps(call.body).replace(f'"{name}":', f'"{name}": "another", "{name}":')
        await endpoint.refuses(call, 400, 403)
    for name in ("nonce", "username", "exp"):
        written = endpoint.call(inside=partial(doubled, name=name))
        await endpoint.refuses(written, 400)
    for name in ("azp", "tid"):
        token = signed(RawJson(twice(endpoint.issuer.claims(), name)), endpoint.issuer.ciam)
        await endpoint.refuses(endpoint.call(token=token), 401, 403)


async def test_r10_one_body(endpoint: Endpoint) -> None:
    issuer = endpoint.issuer
    calls = [
        endpoint.call(token=None),
        endpoint.call(token=issuer.stranger.kid),
        endpoint.call(token=issuer.bearer(iat=1, nbf=1, exp=2)),
        endpoint.call(token=issuer.bearer(aud=_OTHER)),
        endpoint.call(token=issuer.bearer(azp=_OTHER)),
        endpoint.call(tenantId=_OTHER),
        endpoint.call(context="x.x.x.x.x"),
        endpoint.call(claims={"aud": _OTHER}),
        endpoint.call(claims={"nonce": "x"}),
    ]
    replies = [await endpoint.send(call) for call in calls]
    assert not [reply for reply in replies if reply.action or reply.status < 400], "not every one of them was refused"
    bodies = {reply.body for reply in replies}
    assert len(bodies) == 1, f"{len(bodies)} different bodies"

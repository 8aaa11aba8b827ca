"""T: what happens before the content of a request is read."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import httpx
import pytest

from jitkit.conformance.cases import SAFEST, case
from jitkit.conformance.endpoint import Call, Endpoint, in_time
from jitkit.conformance.legacy_store import LegacyStore
from jitkit.protocol import MIGRATE

_LARGE = 1024 * 1024


@pytest.mark.area("Transport")
class TestTransport:
    @case("T1", "a monitor's GET is answered, and tells nothing about secrets or what stands behind", "original sample")
    async def test_health(self, endpoint: Endpoint) -> None:
        reply = await endpoint.send(Call(endpoint.account(), "", None, None, method="GET"))
        assert reply.status == 200, f"GET without a token: status {reply.status}"
        text = reply.body.decode("utf-8", "replace").lower()
        words = [
            word for word in ("password", "private", "connectionstring", "sqlite", "postgres", "ldap") if word in text
        ]
        too_much = words or endpoint.config.tenant_id in text or len(text) > 2000
        assert not too_much, f"the health answer tells too much: {', '.join(words) or 'the tenant, or a long text'}"

    @case("T2", "PUT and DELETE are not the callout", SAFEST)
    async def test_other_methods(self, endpoint: Endpoint) -> None:
        for method in ("PUT", "DELETE"):
            call = endpoint.call()
            call.method = method
            await endpoint.refuses(call, 405)

    @case("T3", "an empty body is refused, not decided", "Microsoft's how-to sample: 400")
    async def test_empty_body(self, endpoint: Endpoint) -> None:
        call = endpoint.call()
        call.body = b""
        await endpoint.refuses(call, 400)

    @case("T4", "XML and form bodies are refused", SAFEST)
    async def test_other_content_types(self, endpoint: Endpoint) -> None:
        for kind in ("text/xml", "application/x-www-form-urlencoded"):
            await endpoint.refuses(endpoint.call(headers={"content-type": kind}), 415, 400)

    @case("T5", "a body of a megabyte is refused before it is parsed", SAFEST)
    async def test_large_body(self, endpoint: Endpoint) -> None:
        await endpoint.refuses(endpoint.call(padding="x" * _LARGE), 413)

    @case("T6", "a large body that does not say its length is refused as well", SAFEST)
    async def test_large_body_without_length(self, endpoint: Endpoint) -> None:
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

    @case("T7", "a body that stops half-way does not hold the endpoint for long", SAFEST, required=False)
    async def test_half_a_body(self, endpoint: Endpoint) -> None:
        parts = urlsplit(endpoint.url)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        tls = parts.scheme == "https"
        reader, writer = await asyncio.open_connection(
            parts.hostname, parts.port or (443 if tls else 80), ssl=tls or None
        )
        head = f"POST {target} HTTP/1.1\r\nhost: {parts.netloc}\r\nauthorization: Bearer {endpoint.issuer.bearer()}\r\n"
        writer.write(f"{head}content-type: application/json\r\ncontent-length: 1000\r\n\r\n{{".encode())
        try:
            answer = await asyncio.wait_for(reader.read(4096), 5)
        except TimeoutError:
            raise AssertionError("still waiting for the rest of the body after 5 s") from None
        finally:
            writer.close()
        assert not answer.startswith(b"HTTP/1.1 200"), "half a body was answered with 200"

    @case(
        "T8", "a caller that hangs up harms nobody, and its second attempt gets an answer", "service limits: one retry"
    )
    async def test_hanging_up(self, endpoint: Endpoint, legacy: LegacyStore) -> None:
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

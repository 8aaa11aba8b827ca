"""T: what happens before anybody looks at the content."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import httpx

from jitkit import protocol
from jitkit.conformance.case import Failed, case
from jitkit.conformance.judge import action_of, decides, in_time, refuses
from jitkit.conformance.world import Call, World

_SAFEST = "safest: the documents are silent"
_LARGE = 1024 * 1024


@case(
    "T1", "a monitor's GET is answered, and tells nothing about secrets or what stands behind", source="original sample"
)
async def health(w: World) -> None:
    reply = await w.send(Call(w.account(), "", None, None, method="GET"))
    if reply.status != 200:
        raise Failed(f"GET without a token: status {reply.status}")
    text = reply.body.decode("utf-8", "replace").lower()
    told = [word for word in ("password", "private", "connectionstring", "sqlite", "postgres", "ldap") if word in text]
    if told or w.config.tenant_id in text or len(text) > 2000:
        raise Failed(f"the health answer tells too much: {', '.join(told) or 'the tenant, or a long text'}")


@case("T2", "PUT and DELETE are not the callout", source=_SAFEST)
async def other_methods(w: World) -> None:
    for method in ("PUT", "DELETE"):
        call = w.call()
        call.method = method
        await refuses(w, call, 405)


@case("T3", "an empty body is refused, not decided", source="Microsoft's how-to sample: 400")
async def empty(w: World) -> None:
    call = w.call()
    call.body = b""
    await refuses(w, call, 400)


@case("T4", "XML and form bodies are refused", source=_SAFEST)
async def other_types(w: World) -> None:
    for kind in ("text/xml", "application/x-www-form-urlencoded"):
        await refuses(w, w.call(headers={"content-type": kind}), 415, 400)


@case("T5", "a body of a megabyte is refused before it is parsed", source=_SAFEST)
async def large(w: World) -> None:
    call = w.call(padding="x" * _LARGE)
    await refuses(w, call, 413)


@case("T6", "a large body that does not say its length is refused as well", source=_SAFEST)
async def large_without_length(w: World) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(64):
            yield b" " * (_LARGE // 32)

    headers = {"content-type": "application/json", "authorization": f"Bearer {w.issuer.bearer()}"}
    try:
        reply = await w.http.post(w.url, content=chunks(), headers=headers)
    except (httpx.WriteError, httpx.ReadError, httpx.RemoteProtocolError):
        return  # closed on us while we were still sending: that is a refusal too
    except httpx.TimeoutException:
        raise Failed("no answer to a large body without a length") from None
    if reply.status_code != 413:
        raise Failed(f"expected status 413, got {reply.status_code}")


@case("T7", "a body that stops half-way does not hold the endpoint for long", source=_SAFEST, required=False)
async def half_a_body(w: World) -> None:
    parts = urlsplit(w.url)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    tls = parts.scheme == "https"
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port or (443 if tls else 80), ssl=tls or None)
    head = f"POST {target} HTTP/1.1\r\nhost: {parts.netloc}\r\nauthorization: Bearer {w.issuer.bearer()}\r\n"
    writer.write(f"{head}content-type: application/json\r\ncontent-length: 1000\r\n\r\n{{".encode())
    try:
        answer = await asyncio.wait_for(reader.read(4096), 5)
    except TimeoutError:
        raise Failed("still waiting for the rest of the body after 5 s") from None
    finally:
        writer.close()
    if answer.startswith(b"HTTP/1.1 200"):
        raise Failed("half a body was answered with 200")


@case(
    "T8",
    "a caller that hangs up harms nobody, and its second attempt gets an answer",
    source="service limits: one retry",
)
async def hangs_up(w: World) -> None:
    w.scripted()
    call = w.call(w.account(delay=0.6))
    first = asyncio.create_task(w.send(call))
    await asyncio.sleep(0.3)
    first.cancel()
    with contextlib.suppress(asyncio.CancelledError, Failed):
        await first
    reply = await w.send(call)
    in_time(reply)
    if action_of(reply) != protocol.MIGRATE:
        raise Failed(f"the second attempt got {action_of(reply) or f'status {reply.status}'}")
    if len(call.account.asked) > 2:
        raise Failed(f"two attempts, and the legacy store was asked {len(call.account.asked)} times")
    await decides(w, w.call(), protocol.MIGRATE)

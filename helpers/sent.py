"""What went over the wire: the requests behind a result, with secrets left out, and the gate before the first write."""

from __future__ import annotations

import contextlib
import contextvars
import json
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import httpx

from jitkit.display import Sent

__all__ = ["RecordingTransport", "recording"]

_HIDDEN = "••••••"
_recorder: contextvars.ContextVar[list[Sent] | None] = contextvars.ContextVar("recorder", default=None)


@contextlib.contextmanager
def recording() -> Iterator[list[Sent]]:
    """Collect the requests that are sent inside the block, for showing.

    Yields:
        The list that fills up. Passwords are replaced before they get here; tokens never come near it.
    """
    collected: list[Sent] = []
    token = _recorder.set(collected)
    try:
        yield collected
    finally:
        _recorder.reset(token)
        outer = _recorder.get()
        if outer is not None:
            outer.extend(collected)


class RecordingTransport(httpx.AsyncBaseTransport):
    """Hand requests on, keep what was sent for `recording`, and ask before the first write.

    Args:
        inner: carries the requests.
        before_write: awaited before every request that is not a read, or None.
    """

    def __init__(self, inner: httpx.AsyncBaseTransport, before_write: Callable[[], Awaitable[None]] | None) -> None:
        self._inner = inner
        self._before_write = before_write

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        body = await request.aread()
        if self._before_write is not None and not _reads(request, body):
            await self._before_write()
        collected = _recorder.get()
        position = len(collected) if collected is not None else 0
        sent = Sent(request.method, str(request.url), _shown(body))
        if collected is not None:
            collected.append(sent)
        answer = await self._inner.handle_async_request(request)
        if collected is not None:
            collected[position] = Sent(sent.method, sent.url, sent.body, answer.status_code)
        return answer

    async def aclose(self) -> None:
        await self._inner.aclose()


def _reads(request: httpx.Request, body: bytes) -> bool:
    if request.method in ("GET", "HEAD"):
        return True
    if request.url.path.endswith("/$batch"):
        return all(each.get("method") == "GET" for each in json.loads(body)["requests"])
    return request.url.path.endswith("/validateAuthenticationConfiguration")


def _shown(body: bytes) -> str | None:
    if not body:
        return None
    content = json.loads(body)
    requests = content.get("requests") if isinstance(content, dict) else None
    if requests and len(requests) > 2:
        content = {"requests": [requests[0], f"… and {len(requests) - 1} more like it"]}
    return json.dumps(_redacted(content), indent=2, ensure_ascii=False)


def _redacted(value: Any, name: str = "") -> Any:
    if isinstance(value, dict):
        return {key: _redacted(inner, key) for key, inner in value.items()}
    if isinstance(value, list):
        return [_redacted(inner) for inner in value]
    if name in ("password", "secretText") and value is not None:
        return _HIDDEN
    if name == "key" and isinstance(value, str) and len(value) > 60:
        return f"{value[:24]}… (the certificate's public half, {len(value)} characters)"
    return value

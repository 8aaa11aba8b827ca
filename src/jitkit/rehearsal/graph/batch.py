"""Several requests in one: Graph v1.0 `$batch`.

Rules: Graph documentation, "Combine multiple HTTP requests using JSON batching".
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from jitkit.protocol import BATCH_SIZE
from jitkit.rehearsal.directory import Body
from jitkit.rehearsal.graph.wire import Answer, GraphError

Send = Callable[[str, str, Mapping[str, str], Mapping[str, str], Any], Awaitable[Answer]]


async def respond(body: Any, send: Send) -> Answer:
    """Answer a batch.

    Args:
        body: the batch.
        send: answers one inner request: method, path, query, headers, body.

    Returns:
        200 with every inner answer, last request first: the service promises no order, so a caller that trusts one
        fails here.

    Raises:
        GraphError: 400, when the batch itself is malformed.
    """
    requests = _checked(body)
    running: dict[str, asyncio.Task[Body]] = {}
    for request in requests:
        before = [running[id] for id in request.get("dependsOn") or []]
        running[request["id"]] = asyncio.create_task(_one(request, before, send))
    answers = await asyncio.gather(*running.values())
    return Answer(200, {"responses": list(reversed(answers))})


async def _one(request: Body, before: list[asyncio.Task[Body]], send: Send) -> Body:
    for earlier in before:
        if (await earlier)["status"] >= 400:
            failed = GraphError(424, "FailedDependency", "The request failed because another request failed.")
            return {"id": request["id"], "status": 424, "headers": {}, "body": failed.answer({}).body}
    try:
        url = urlsplit(request["url"])
    except ValueError:
        return _refused(request["id"], f"Invalid URL: {request['url']}")
    path = "/" + unquote(url.path).lstrip("/")
    query = dict(parse_qsl(url.query, keep_blank_values=True))
    headers = {name.lower(): str(value) for name, value in (request.get("headers") or {}).items()}
    if request.get("body") is not None and "application/json" not in headers.get("content-type", ""):
        words = f"Write request id : {request['id']} does not contain Content-Type header or body."
        return _refused(request["id"], words)
    answer = await send(request["method"].upper(), path, query, headers, request.get("body"))
    inner: Body = {"id": request["id"], "status": answer.status, "headers": dict(answer.headers)}
    if answer.text is not None:
        return {**inner, "body": int(answer.text)}
    if answer.body is not None:
        return {**inner, "headers": {**inner["headers"], "Content-Type": "application/json"}, "body": answer.body}
    return inner


def _refused(id: str, words: str) -> Body:
    return {"id": id, "status": 400, "headers": {}, "body": GraphError(400, "BadRequest", words).answer({}).body}


def _checked(body: Any) -> list[Body]:
    requests = body.get("requests") if isinstance(body, dict) else None
    if not isinstance(requests, list) or not requests:
        raise GraphError(400, "BadRequest", "Invalid batch payload format.")
    if len(requests) > BATCH_SIZE:
        raise GraphError(400, "BadRequest", f"Number of batch request steps exceeds the maximum value of {BATCH_SIZE}.")
    seen: set[str] = set()
    for request in requests:
        if not isinstance(request, dict) or not all(
            isinstance(request.get(name), str) and request[name] for name in ("id", "method", "url")
        ):
            raise GraphError(
                400, "BadRequest", "Invalid batch payload format: id, method and url are required strings."
            )
        if request["id"] in seen:
            raise GraphError(400, "BadRequest", "Batch request contains duplicate ids.")
        before, headers = request.get("dependsOn") or [], request.get("headers") or {}
        if not isinstance(headers, dict) or not isinstance(before, list):
            raise GraphError(400, "BadRequest", "Invalid batch payload format: headers is an object, dependsOn a list.")
        # A dependency on a later request could only wait for ever.
        if not all(isinstance(id, str) and id in seen for id in before):
            raise GraphError(400, "BadRequest", "dependsOn must name the id of an earlier request of the batch.")
        seen.add(request["id"])
    return requests

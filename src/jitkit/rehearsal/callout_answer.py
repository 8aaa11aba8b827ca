"""Judge what an endpoint answered: one action that Entra may follow, or the number of what is wrong with it.

[Microsoft Learn, "Just-in-time password migration" for the schema, "Troubleshoot custom authentication extensions" for
the numbers]
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import httpx

from jitkit import protocol

RESPONSE_LIMIT: Final = 64 * 1024
"""The largest answer unless a switch says otherwise: the service has a limit and does not publish it."""

NEVER_FOR_PASSWORDS: Final = {
    1003007: "This answer has no claims: they belong to the event that issues tokens.",
    1003008: "This answer has no apiSchemaVersion: it belongs to API connectors and to token claims.",
    1003025: "This answer has no claims that could be too large.",
    1003026: "This answer has no claims that could be without a name.",
}
"""Numbers of the documents' table that no answer to a submitted password can lead to, and why (inferred)."""

_ACTIONS: Final = {each.lower(): each for each in (protocol.MIGRATE, protocol.UPDATE, protocol.RETRY, protocol.BLOCK)}


class Unusable(Exception):
    """No action came of an attempt.

    Args:
        error: a 1003xxx number.
        detail: what is wrong, as a sentence; nothing of the answer's content is in it.
        http_status: the status of the answer; None when there was none.
    """

    def __init__(self, error: int, detail: str, http_status: int | None = None) -> None:
        super().__init__(detail)
        self.error, self.detail, self.http_status = error, detail, http_status


@dataclass(frozen=True)
class Action:
    """What the endpoint decided: MigratePassword, UpdatePassword, Retry or Block, with its words for a page."""

    name: str
    title: str | None = None
    message: str | None = None


@dataclass(frozen=True)
class Verdict:
    """What came of a callout.

    Args:
        started: when the first attempt began, in seconds since the epoch.
        attempts: how many requests were sent.
        action: what the endpoint decided; None when something went wrong.
        error: the 1003xxx number when something did.
        http_status: the status of the last answer; None when there was none.
        detail: a sentence about what went wrong.
    """

    started: float
    attempts: int
    action: Action | None = None
    error: int | None = None
    http_status: int | None = 200
    detail: str = ""


async def read(response: httpx.Response, limit: int = RESPONSE_LIMIT) -> bytes:
    """Read a streamed answer, up to a limit.

    Args:
        response: the answer, its body not yet read.
        limit: bytes, after decompression.

    Raises:
        Unusable: it is too large or its encoding is broken.
    """
    content = b""
    try:
        async for chunk in response.aiter_bytes():
            content += chunk
            if len(content) > limit:
                raise Unusable(1003024, f"The answer is larger than {limit} bytes.", response.status_code)
    except httpx.DecodingError:
        raise Unusable(1003003, "The answer's content encoding is broken.", response.status_code) from None
    return content


def judge(response: httpx.Response, content: bytes, nonce: str, wrong_nonce: int = 1003003) -> Action:
    """Find the action in an answer.

    Args:
        response: status and headers.
        content: the body.
        nonce: what the answer has to repeat.
        wrong_nonce: the number when it does not: that it has to is documented, how the service reports it is not.

    Raises:
        Unusable: the answer breaks a rule.
    """
    status = response.status_code
    if status != 200:
        raise Unusable(1003002, f"The endpoint answered with HTTP status {status}.", status)
    if content.strip() in (b"", b"null"):
        raise Unusable(1003009, "The endpoint's answer is empty.", status)
    kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise Unusable(1003006, f"The answer's content type is {kind or 'missing'}, not application/json.", status)
    try:
        answer = json.loads(content)
    except (ValueError, RecursionError):
        raise Unusable(1003003, "The answer is not JSON.", status) from None
    data = answer.get("data") if isinstance(answer, dict) else None
    if not isinstance(data, dict) or _type(data) != protocol.RESPONSE_DATA_TYPE.lower():
        raise Unusable(1003003, f"The answer has no data of the type {protocol.RESPONSE_DATA_TYPE}.", status)
    actions = data.get("actions") or []
    if not isinstance(actions, list) or len(actions) != 1 or not isinstance(actions[0], dict):
        raise Unusable(1003010, "The answer does not hold exactly one action.", status)
    name = _action_name(actions[0])
    if name not in _ACTIONS:
        raise Unusable(1003012, "The answer's action is of an unknown type.", status)
    if data.get("nonce") != nonce:
        raise Unusable(wrong_nonce, "The answer does not repeat the nonce of the password context.", status)
    title, message = actions[0].get("title"), actions[0].get("message")
    if not isinstance(title, str | None) or not isinstance(message, str | None):
        raise Unusable(1003003, "The action's title or message is not text.", status)
    return Action(_ACTIONS[name], title, message)


def _type(body: Mapping[str, Any]) -> str:
    return str(body.get("@odata.type", "")).lstrip("#").lower()


def _action_name(action: Mapping[str, Any]) -> str:
    """Read an action's type. Its case does not matter: documents print it in two, and both work [observed]."""
    kind, prefix = _type(action), protocol.ACTION_PREFIX.lower()
    return kind.removeprefix(prefix) if kind.startswith(prefix) else ""

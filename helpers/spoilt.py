"""Callouts that nobody should answer: a good one, spoilt in one way at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jitkit.rehearsal.callout import Callout

__all__ = ["Attempt", "spoilt"]


@dataclass(frozen=True)
class Attempt:
    """A callout to send: what is wrong with it, its headers and its body."""

    what: str
    headers: dict[str, str] = field(repr=False)
    body: dict[str, Any] | str = field(repr=False)


def spoilt(callout: Callout) -> list[Attempt]:
    """List the spoilt ones.

    Args:
        callout: a good one.
    """
    headers, body, data = callout.headers, callout.body, callout.body["data"]

    def context(change: Callable[[list[str]], list[str]]) -> dict[str, Any]:
        broken = ".".join(change(callout.context.split(".")))
        return {**body, "data": {**data, "encryptedPasswordContext": broken}}

    without = {name: value for name, value in headers.items() if name.lower() != "authorization"}
    bearer = headers["Authorization"]
    return [
        Attempt("no bearer token", without, body),
        Attempt("a bearer token with one character changed", {**headers, "Authorization": _flip(bearer)}, body),
        Attempt("the event of another kind", headers, {**body, "type": body["type"] + "Start"}),
        Attempt("a password context with a changed tag", headers, context(lambda parts: [*parts[:4], _flip(parts[4])])),
        Attempt("a password context of four parts", headers, context(lambda parts: parts[:4])),
        Attempt("no password context", headers, {**body, "data": {**data, "encryptedPasswordContext": None}}),
        Attempt("a body that is no JSON", headers, "user-password=…"),
    ]


def _flip(text: str) -> str:
    position = len(text) - 6
    return text[:position] + ("A" if text[position] != "A" else "B") + text[position + 1 :]

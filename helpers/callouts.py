"""Callouts to look at: an encrypted password context decoded part by part, and callouts with one fault each."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from jitkit import protocol
from jitkit.display import Table
from jitkit.errors import KitError, NotReady

if TYPE_CHECKING:
    from jitkit.rehearsal.callout import Callout

__all__ = ["BrokenCallout", "broken_callouts", "decode_context"]

_MASKED: Final = {protocol.CLAIM_PASSWORD, protocol.CLAIM_NONCE}
_MEANING: Final = {
    "alg": "how the content key is encrypted for you: RSA with OAEP padding",
    "enc": "how the content is encrypted: AES-128-CBC with an HMAC",
    "x5t": "which certificate: the base64url SHA-1 of it",
    "zip": "the content was compressed before it was encrypted",
    protocol.CLAIM_PASSWORD: "what the person typed",
    protocol.CLAIM_USERNAME: "the name the person typed; find the legacy user by this one",
    protocol.CLAIM_NONCE: "goes back in your answer, character for character",
    "aud": "the extension's app registration",
    "iss": "its identifier URI",
    "iat": "made",
    "nbf": "valid from",
    "exp": "valid until",
}


def decode_context(context: str, private_key: Path) -> Table:
    """Decrypt a password context, a compact JWE, with a private key and list its parts; its secrets are masked."""
    from jwcrypto import jwe, jwk
    from jwcrypto.common import JWException

    if not private_key.is_file():
        raise NotReady(f"There is no private key at {private_key}.", next_step="Run notebook 04-key-pair first.")
    parts = context.split(".")
    token = jwe.JWE()
    try:
        header = _json(parts[0])
        token.deserialize(context, jwk.JWK.from_pem(private_key.read_bytes()))
        inside = token.payload.decode()
        flat = inside.startswith("{")
        inner, claims = ({}, json.loads(inside)) if flat else map(_json, inside.split(".")[:2])
    except (JWException, ValueError):
        raise KitError(
            "This password context cannot be opened with the key on this machine.",
            next_step="Compare the x5t in its header with the thumbprint in notebook 04: it was made for another key.",
        ) from None
    lengths = " . ".join(str(len(part)) for part in parts)
    unsigned = {("alg", "none"): "not signed", ("typ", "JWT"): "a JSON web token"}
    layer_3 = "3 · inner token's header (after decryption)"
    rows = [("1 · JWE header (not encrypted)", name, value, _MEANING.get(name, "")) for name, value in header.items()]
    rows.append(("2 · JWE parts", "five, joined by dots", lengths, "characters in each"))
    rows += [(layer_3, name, value, unsigned.get((name, str(value)), "")) for name, value in inner.items()]
    rows += [("4 · claims", name, _shown(name, value), _MEANING.get(name, "")) for name, value in claims.items()]
    return Table(
        caption="An encrypted password context, layer by layer",
        columns=("Layer", "Member", "Value", "Meaning"),
        rows=rows,
        note="The inner token is not signed, and your public key is public: this proves nothing about who sent it."
        " The bearer token does.",
    )


def _json(part: str) -> dict[str, Any]:
    content = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    if not isinstance(content, dict):
        raise ValueError("not a JSON object")
    return content


def _shown(name: str, value: Any) -> str:
    if name in _MASKED:
        return "•••••• (hidden)"
    if name in ("iat", "nbf", "exp") and isinstance(value, int | float):
        return f"{value} ({datetime.fromtimestamp(value, UTC):%H:%M:%S} UTC)"
    return str(value)


@dataclass(frozen=True)
class BrokenCallout:
    """A callout that the endpoint has to refuse: what is wrong with it, its headers and its body."""

    what: str
    headers: Mapping[str, str] = field(repr=False)
    body: Mapping[str, Any] | str = field(repr=False)


def broken_callouts(callout: Callout) -> list[BrokenCallout]:
    """Return copies of a good callout, each with one fault."""
    headers, body, data = callout.headers, callout.body, callout.body["data"]

    def context(change: Callable[[list[str]], list[str]]) -> dict[str, Any]:
        broken = ".".join(change(callout.context.split(".")))
        return {**body, "data": {**data, "encryptedPasswordContext": broken}}

    without = {name: value for name, value in headers.items() if name.lower() != "authorization"}
    changed = {**headers, "Authorization": _flip(headers["Authorization"])}
    return [
        BrokenCallout("no bearer token", without, body),
        BrokenCallout("a bearer token with one character changed", changed, body),
        BrokenCallout("the event of another kind", headers, {**body, "type": body["type"] + "Start"}),
        BrokenCallout(
            "a password context with a changed tag", headers, context(lambda parts: [*parts[:4], _flip(parts[4])])
        ),
        BrokenCallout("a password context of four parts", headers, context(lambda parts: parts[:4])),
        BrokenCallout("no password context", headers, {**body, "data": {**data, "encryptedPasswordContext": None}}),
        BrokenCallout("a body that is not JSON", headers, "user-password=…"),
    ]


def _flip(text: str) -> str:
    position = len(text) - 6
    return text[:position] + ("A" if text[position] != "A" else "B") + text[position + 1 :]

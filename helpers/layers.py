"""Open an encrypted password context layer by layer, for looking at; what is secret stays masked."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jitkit import protocol
from jitkit.display import Table
from jitkit.errors import KitError, NotReady

__all__ = ["peel"]

_MASKED = {protocol.CLAIM_PASSWORD, protocol.CLAIM_NONCE}
_MEANING = {
    "alg": "how the content key is encrypted for you: RSA with OAEP padding",
    "enc": "how the content is encrypted: AES-128-CBC with an HMAC",
    "x5t": "which certificate: the base64url SHA-1 of it",
    "zip": "the content was compressed before it was encrypted",
    protocol.CLAIM_PASSWORD: "what the person typed",
    protocol.CLAIM_USERNAME: "the name the person typed; look the legacy user up by this one",
    protocol.CLAIM_NONCE: "goes back in your answer, character for character",
    "aud": "the extension's app registration",
    "iss": "its identifier URI",
    "iat": "made",
    "nbf": "valid from",
    "exp": "valid until",
}


def peel(context: str, private_key: Path) -> Table:
    """Open a password context with the private key on this machine and name its layers.

    Args:
        context: `encryptedPasswordContext`, a compact JWE of five parts.
        private_key: the PEM file that notebook 04 made.

    Returns:
        A table of layer, member, value and meaning. The password and the nonce are masked in it.

    Raises:
        NotReady: there is no private key.
        KitError: the context cannot be opened with it.
    """
    from jwcrypto import jwe, jwk
    from jwcrypto.common import JWException

    if not private_key.is_file():
        raise NotReady(f"There is no private key at {private_key}.", next_step="Run notebook 04-key-pair first.")
    parts = context.split(".")
    token = jwe.JWE()
    try:
        header = _json(parts[0])
        token.deserialize(context, jwk.JWK.from_pem(private_key.read_bytes()))
        nested = token.payload.decode()
        inner = (
            [_json(part) for part in nested.split(".")[:2]] if not nested.startswith("{") else [{}, json.loads(nested)]
        )
    except (JWException, ValueError):
        raise KitError(
            "This password context cannot be opened with the key on this machine.",
            next_step="Compare the x5t in its header with the thumbprint in notebook 04: it was made for another key.",
        ) from None
    rows = [
        ("1 · JWE header (anybody can read it)", name, value, _MEANING.get(name, "")) for name, value in header.items()
    ]
    rows.append(
        ("2 · JWE parts", "five, joined by dots", " . ".join(str(len(part)) for part in parts), "characters in each")
    )
    rows += [
        ("3 · inner token's header (after decryption)", name, value, _unsigned(name, value))
        for name, value in inner[0].items()
    ]
    rows += [("4 · claims", name, _shown(name, value), _MEANING.get(name, "")) for name, value in inner[1].items()]
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


def _unsigned(name: str, value: object) -> str:
    return {"alg": "not signed" if value == "none" else "", "typ": "a JSON web token"}.get(name, "")


def _shown(name: str, value: Any) -> str:
    if name in _MASKED:
        return "•••••• (hidden)"
    if name in ("iat", "nbf", "exp") and isinstance(value, int | float):
        return f"{value} ({datetime.fromtimestamp(value, UTC):%H:%M:%S} UTC)"
    return str(value)

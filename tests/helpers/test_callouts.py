"""A password context is decoded part by part, and what is secret in it stays hidden."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from jwcrypto import jwe, jwk

from helpers.local_endpoint import decode_context
from helpers.tenant.encryption_key import make_pair
from jitkit.errors import KitError, NotReady

CLAIMS = {
    "user-password": "CANARY-PASSWORD",
    "nonce": "CANARY-NONCE",
    "username": "ada@shop.example",
    "exp": 1793000000,
}


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("key") / "key.pem"
    make_pair(path)
    return path


def encrypted(key: Path, inside: str) -> str:
    header = {"alg": "RSA-OAEP-256", "enc": "A128CBC-HS256", "cty": "JWT", "x5t": "thumb"}
    token = jwe.JWE(inside.encode(), protected=json.dumps(header))
    token.add_recipient(jwk.JWK.from_pem(key.read_bytes()))
    return str(token.serialize(compact=True))


def nested(claims: object) -> str:
    parts = ({"alg": "none", "typ": "JWT"}, claims)
    return ".".join(base64.urlsafe_b64encode(json.dumps(each).encode()).decode().rstrip("=") for each in parts) + "."


@pytest.mark.parametrize("inside", [nested(CLAIMS), json.dumps(CLAIMS)], ids=["nested", "flat"])
def test_every_layer_is_shown_and_what_is_secret_is_not(key: Path, inside: str) -> None:
    context = encrypted(key, inside)
    shown = decode_context(context, key)
    text = shown._repr_html_() + repr(shown)
    assert "RSA-OAEP-256" in text and "ada@shop.example" in text and "UTC" in text
    assert "CANARY" not in text
    assert context.split(".")[1] not in text and "PRIVATE" not in text


@pytest.mark.parametrize("invalid", ["", "a.b", "a.b.c.d.e", "not a context", "é.é.é.é.é"])
def test_what_cannot_be_opened_is_named(key: Path, invalid: str) -> None:
    with pytest.raises(KitError, match="cannot be opened"):
        decode_context(invalid, key)


@pytest.mark.parametrize(
    "inside", ["", "text", "[]", nested([1]), "{", "a.b.c", "[1].[2].", '{"user-password": "CANARY"']
)
def test_invalid_content_is_named_and_not_quoted(key: Path, inside: str) -> None:
    with pytest.raises(KitError, match="cannot be opened") as caught:
        decode_context(encrypted(key, inside), key)
    assert "CANARY" not in str(caught.value)


def test_another_key_and_no_key_are_told_apart(key: Path, tmp_path: Path) -> None:
    make_pair(tmp_path / "other.pem")
    with pytest.raises(KitError, match="cannot be opened") as caught:
        decode_context(encrypted(key, nested(CLAIMS)), tmp_path / "other.pem")
    assert "another key" in caught.value.next_step
    with pytest.raises(NotReady, match="no private key"):
        decode_context(encrypted(key, nested(CLAIMS)), tmp_path / "none.pem")

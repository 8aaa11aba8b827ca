"""Sends the calls that `cases.toml` describes, and checks that each one is refused or decided as it says there."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from functools import cache
from string import Template
from typing import Any, Final

import pytest

from jitkit.conformance.catalogue import CASES, Case
from jitkit.conformance.config import Config
from jitkit.conformance.endpoint import Call, Endpoint, with_message
from jitkit.entra_tokens import EncryptionKey, b64json, hs256, signed, tampered, unsigned
from jitkit.protocol import CALLER_APP_ID, EVENT_TYPE

_OTHER: Final = "8e0f3c1a-2b7d-4e5f-9a6c-1d2e3f4a5b6c"
_TIME: Final = re.compile(r"\$now([+-]\d+)")
_another_key = cache(EncryptionKey.make)


def _rows() -> Iterator[Any]:
    for case in CASES.values():
        calls = case.calls or ({"a good call": {}} if case.decided else {})
        for name, change in calls.items():
            yield pytest.param(case, change, id=f"{case.id} {name}")


@pytest.mark.parametrize(("case", "change"), list(_rows()))
async def test_calls(endpoint: Endpoint, case: Case, change: Mapping[str, Any]) -> None:
    expected = change if "refused" in change or "decided" in change else vars(case)
    call = _compose(endpoint, change)
    if expected.get("refused"):
        await endpoint.refuses(call, *expected["refused"])
    else:
        reply = await endpoint.decides(call, *expected["decided"])
        if case.message:
            with_message(reply)


def _compose(endpoint: Endpoint, change: Mapping[str, Any]) -> Call:
    config = endpoint.config
    known = {
        "other": _OTHER,
        "tenant_id": config.tenant_id,
        "app_id": config.app_id,
        "identifier_uri": config.identifier_uri,
        "ciam_issuer": endpoint.issuer.entra.issuer(),
        "login_issuer": endpoint.issuer.entra.issuer("login"),
        "caller": CALLER_APP_ID,
        "event": EVENT_TYPE,
        "bearer": f"Bearer {endpoint.issuer.bearer()}",
        "kid": endpoint.issuer.ciam.kid,
        "x5t": config.certificate.x5t,
        "characters_256": "Aa1!" * 64,
        "later": str(int(time.time()) + 600),
    }
    parts = _filled(change, known)
    account = parts.get("account", "right")
    arguments = {name: parts[name] for name in ("typed", "claims", "headers", "jwe") if name in parts}
    if "key" in arguments.get("jwe", ()):
        arguments["jwe"]["key"] = _encryption_key(config, arguments["jwe"]["key"])
    if "token" in parts:
        arguments["token"] = _token(endpoint, parts["token"])
    call = endpoint.call(endpoint.account(**account) if isinstance(account, dict) else account, **arguments)
    if "context" in parts or "context_header" in parts:
        good = call.body["data"]["encryptedPasswordContext"].split(".")
        good[0] = b64json(parts["context_header"]) if "context_header" in parts else good[0]
        call.body["data"]["encryptedPasswordContext"] = parts.get("context", "{0}.{1}.{2}.{3}.{4}").format(*good)
    call.body = _changed(call.body, parts.get("body", {}))
    call.method = parts.get("method", "POST")
    return call


def _filled(value: Any, known: Mapping[str, str]) -> Any:
    """Return a value with what its placeholders stand for; None for what is left out."""
    if isinstance(value, dict):
        return {_filled(name, known): _filled(each, known) for name, each in value.items()}
    if isinstance(value, list):
        return [_filled(each, known) for each in value]
    if not isinstance(value, str):
        return value
    if seconds := _TIME.fullmatch(value):
        return int(time.time()) + int(seconds[1])
    return None if value == "$missing" else Template(value).safe_substitute(known)


def _changed(value: Any, change: Any) -> Any:
    """Return JSON with changed members; None leaves one out."""
    if not (isinstance(value, dict) and isinstance(change, dict)):
        return None if change == "$null" else change
    changed = {name: _changed(value.get(name), each) for name, each in change.items() if each is not None}
    return {name: each for name, each in value.items() if name not in change} | changed


def _encryption_key(config: Config, name: str) -> EncryptionKey | None:
    return {"current": config.certificate, "previous": config.previous_certificate}.get(name) or _another_key(name)


def _token(endpoint: Endpoint, form: Any) -> str | None:
    """Make a bearer token; false stands for none, and a text for itself."""
    if not isinstance(form, dict):
        return form or None
    issuer, header, claims = endpoint.issuer, form.get("header", {}), form.get("claims", {})
    key = getattr(issuer, form.get("key", "ciam"))
    if isinstance(claims, dict):
        claims = issuer.first_version(**claims) if form.get("version") == 1 else issuer.claims(**claims)
    match form.get("form"):
        case "unsigned":
            token = unsigned(claims, **header)
        case "HS256 with the public key":
            token = hs256(claims, key)
        case _:
            token = signed(claims, key, **header)
    if "changed_part" in form:
        token = tampered(token, form["changed_part"])
    if "encrypted_for" in form:
        token = issuer.encrypted(token, _encryption_key(endpoint.config, form["encrypted_for"]))
    return token

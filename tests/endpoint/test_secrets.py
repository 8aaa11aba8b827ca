"""A password that must be found nowhere: every path is walked, and everything that the endpoint says is searched."""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import traceback
import urllib.parse
from typing import Any

import pytest

from jitkit.endpoint.crypto import open_context
from jitkit.endpoint.stores import Verdict

from . import entra
from .conftest import Endpoint, Opener
from .entra import CANARY, AskedStore

USERNAME = "canary-name@contoso.example"
NONCE = "abababab-abab-4bab-8bab-abababababab"


def traces() -> list[str]:
    """The canary in the forms in which secrets leak."""
    raw = CANARY.encode()
    forms = [CANARY, CANARY[::-1], raw.hex(), base64.b64encode(raw).decode().rstrip("="), urllib.parse.quote(CANARY)]
    digests = [hashlib.new(name, raw).hexdigest() for name in ("md5", "sha1", "sha256")]
    return [*forms, *digests, USERNAME, repr(CANARY)[1:-1]]


class FaultyStore(AskedStore):
    async def verify(self, username: str, password: str) -> Verdict:
        raise ValueError(f"could not bind {username} with {password}")


async def test_no_path_lets_the_password_out(
    open_endpoint: Opener, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    said: list[str] = []
    for store in [*(AskedStore(verdict) for verdict in Verdict), FaultyStore(), AskedStore(delay=30)]:
        endpoint: Endpoint = await open_endpoint(store, JIT_DEADLINE_MS="500")
        claims = entra.context_claims(CANARY, USERNAME)
        flat = entra.jwe(json.dumps(claims))
        good = entra.envelope(flat)
        token = entra.bearer()
        plain = entra.envelope(None, passwordContext={"user-password": CANARY, "username": USERNAME})
        requests: list[dict[str, Any]] = [
            {"body": good},
            {"body": good},
            {"body": entra.envelope(entra.context("other", nonce=claims["nonce"]))},
            {"body": good, "token": None},
            {"body": good, "token": entra.bearer(azp=CANARY)},
            {"body": plain},
            {"body": entra.envelope(entra.context(CANARY, USERNAME, exp=1))},
            {"body": entra.envelope(entra.context(CANARY, USERNAME, nonce=CANARY))},
            {"content": f'{{"password": "{CANARY}"'},
            {"content": CANARY, "headers": {"content-type": CANARY}},
        ]
        for request in requests:
            response = await endpoint.post(**({"token": token} | request))
            said += [response.text, str(response.headers)]
        said.append(endpoint.ledger.read_text())
        line = said[-1]
        assert claims["nonce"] not in line
        assert flat[:40] not in line
        assert token[:40] not in line
    said += [record.getMessage() + str(record.exc_info) for record in caplog.records if "jitkit" in record.name]
    said += list(capfd.readouterr())
    assert len(said) > 100
    for form in traces():
        assert not [text for text in said if form in text], form


def test_no_exception_carries_the_password() -> None:
    settings = entra.settings()
    for changes in ({"exp": 1}, {"aud": "x"}, {"nonce": "x"}, {"nonce": None}, {"username": None}):
        token = entra.context(**({"password": CANARY, "username": USERNAME} | changes))
        try:
            open_context(token, settings.keys, audiences=(entra.APP,), now=1e10 if "exp" in changes else 0)
        except Exception as error:  # noqa: BLE001 - whatever it is, its text is what is judged
            text = "".join(traceback.format_exception(error)) + repr(error.args)
        assert not [form for form in traces() if form in text]

"""Checks before the first case that an endpoint answers at its URL, and decides a good call."""

from __future__ import annotations

import asyncio
import time
from typing import Final
from urllib.parse import urlsplit

from jitkit.conformance.endpoint import Call, Endpoint, Reply, Untrusted
from jitkit.conformance.results import Case
from jitkit.errors import EndpointDown, SettingsError

__all__ = ["GOOD_CALL", "check_address", "decides_a_good_call"]

GOOD_CALL: Final = Case(
    "G1",
    "Before the rest",
    "a good call is decided; until it is, a refusal proves nothing",
    "Microsoft's how-to",
)
_BETWEEN: Final = 0.5
# An endpoint that was started before the suite answers these until it looks for signing keys again.
_NO_KEYS_YET: Final = (401, 503)
_LOOK_AT: Final = {
    400: "is its private key the one of the certificate in the configuration?",
    401: "are its OpenID documents and its app id those above?",
    403: "are its tenant, extension and listener ids those of the configuration?",
    404: "is the path in the URL right?",
    405: "is the path in the URL right?",
    415: "does it take application/json?",
    503: "can it reach the OpenID documents above?",
}


def check_address(url: str) -> None:
    """Check that a URL can be called.

    Raises:
        SettingsError: it cannot.
    """
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good:
        raise SettingsError(
            "The URL cannot be called.",
            next_step="Give the whole URL, such as http://localhost:7071/api/JitMigrationEndpoint.",
        )


async def decides_a_good_call(endpoint: Endpoint) -> None:
    """Assert that a good call is decided, and say where to look when it is not.

    Raises:
        EndpointDown: nothing answers at the URL, or its certificate cannot be trusted.
    """
    reply, call = await _first_answer(endpoint)
    redirected = 300 <= reply.status < 400
    assert not redirected, f"it redirects with status {reply.status}, to HTTPS perhaps: let it answer plain HTTP here"
    look_at = _LOOK_AT.get(reply.status, "what does its log say?")
    assert reply.status == 200, f"expected status 200, got {reply.status}: {look_at}"
    assert endpoint.legacy is None or call.account.asked, (
        "decided, and the suite's legacy store was not asked about the name in it: does the endpoint POST JSON "
        "with username and password to the address above?"
    )


async def _first_answer(endpoint: Endpoint) -> tuple[Reply, Call]:
    """Send good calls until the answer is not that of an endpoint without signing keys."""
    until, where = time.monotonic() + endpoint.patience, endpoint.url.partition("?")[0]  # a query may hold a key
    while True:
        call = endpoint.call()
        try:
            reply = await endpoint.send(call)
        except Untrusted as problem:
            raise EndpointDown(
                f"The suite cannot talk TLS with {where}.",
                service=str(problem),
                next_step="Let it listen on plain HTTP on this machine, or show a certificate of a public authority.",
            ) from None
        except AssertionError as problem:
            if time.monotonic() > until:
                raise EndpointDown(
                    f"Nothing answers at {where}.",
                    service=str(problem),
                    next_step="Start your endpoint with the settings that the suite printed, then run this again.",
                ) from None
        else:
            if reply.status not in _NO_KEYS_YET or time.monotonic() > until:
                return reply, call
        await asyncio.sleep(_BETWEEN)

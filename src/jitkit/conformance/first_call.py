"""Whether there is anything to judge: an endpoint that answers at its URL, and decides a good call."""

from __future__ import annotations

import asyncio
import time
from typing import Final
from urllib.parse import urlsplit

from jitkit.conformance.case import Failed, case
from jitkit.conformance.world import Call, Reply, Untrusted, World
from jitkit.errors import EndpointDown, SettingsError

__all__ = ["check_address", "good_call"]

_BETWEEN: Final = 0.5
# An endpoint that was started before the suite answers these until it looks for signing keys again.
_LATER: Final = (401, 503)
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
            "What stands in place of the URL is none that can be called.",
            next_step="Give the whole URL, such as http://localhost:7071/api/JitMigrationEndpoint.",
        )


@case("G1", "a good call is decided; until it is, a refusal proves nothing", source="Microsoft's how-to")
async def good_call(w: World) -> None:
    reply, call = await _answered(w)
    if 300 <= reply.status < 400:
        raise Failed(f"it redirects with status {reply.status}, to HTTPS perhaps: let it answer plain HTTP here")
    if reply.status != 200:
        look_at = _LOOK_AT.get(reply.status, "what does its log say?")
        raise Failed(f"expected status 200, got {reply.status}: {look_at}")
    if w.legacy is not None and not call.account.asked:
        raise Failed(
            "decided, and the suite's legacy store was not asked about the name in it: does the endpoint POST JSON "
            "with username and password to the address above?"
        )


async def _answered(w: World) -> tuple[Reply, Call]:
    """Send good calls until one is answered otherwise than by an endpoint that has no signing keys yet.

    Raises:
        EndpointDown: nothing answers there, or nobody can trust it.
    """
    until, where = time.monotonic() + w.patience, w.url.partition("?")[0]  # a query may hold a key
    while True:
        call = w.call()
        try:
            reply = await w.send(call)
        except Untrusted as problem:
            raise EndpointDown(
                f"The suite cannot talk TLS with {where}.",
                service=str(problem),
                next_step="Let it listen on plain HTTP on this machine, or show a certificate of a public authority.",
            ) from None
        except Failed as problem:
            if time.monotonic() > until:
                raise EndpointDown(
                    f"Nothing answers at {where}.",
                    service=str(problem),
                    next_step="Start your endpoint with the settings that the suite printed, then run this again.",
                ) from None
        else:
            if reply.status not in _LATER or time.monotonic() > until:
                return reply, call
        await asyncio.sleep(_BETWEEN)

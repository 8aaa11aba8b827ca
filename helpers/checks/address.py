"""The endpoint at its public address: does it answer, is something in front of it, and is it quick enough."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import httpx

from helpers.checks.finding import Finding, fault, fine, read, unknown
from jitkit import protocol

if TYPE_CHECKING:
    from helpers.kit import Session

_WHAT: Final = "the endpoint at its public address"
# More than half of what Entra waits leaves too little for the legacy store.
_TOO_SLOW: Final = protocol.TIMEOUT_MS / 2
_GATEWAY: Final = (
    "Take the built-in authentication or the gateway's token check off this path. Entra's token is encrypted for the"
    " endpoint's own key, so nothing in front of the endpoint can read it; the endpoint checks it itself."
)
_ASKS: Final = (301, 302, 303, 307, 308, 401, 403)


async def look(s: Session) -> list[Finding]:
    """Send a plain GET there, as a monitor would; a second one when the first was slow, for a cold start is no fault.

    Args:
        s: the open session.
    """
    extension, _ = await read("custom authentication extension", s.policies.extension.show)
    if extension is None:
        return [unknown(_WHAT, "No extension says where it is.", "Make the extension first.")]
    try:
        status, took = await _ask(s, extension.target_url)
        if took > _TOO_SLOW:
            status, took = await _ask(s, extension.target_url)
    except (httpx.TransportError, httpx.InvalidURL) as problem:
        words = f"{extension.target_url} does not answer: {problem or type(problem).__name__}."
        mend = "Start the endpoint, on this machine with `await s.endpoint.ensure()`; check its name and certificate."
        return [fault(_WHAT, words, mend)]
    words = f"answers {status} to a GET after {took:,.0f} ms"
    if status in _ASKS:
        return [fault(_WHAT, f"{words}: something in front of it wants a token or a sign-in.", _GATEWAY)]
    if took > _TOO_SLOW:
        mend = "Keep it warm, close to the tenant, and its way to the legacy store short; notebook 08 shows its times."
        return [fault(_WHAT, f"{words}, twice; Entra waits {protocol.TIMEOUT_MS:,} ms for all of it.", mend)]
    if status >= 500:
        return [fault(_WHAT, words, "Read the endpoint's log.")]
    return [fine(_WHAT, words)]


async def _ask(s: Session, url: str) -> tuple[int, float]:
    started = time.perf_counter()
    answer = await s.world.reach(url)
    return answer.status_code, (time.perf_counter() - started) * 1000

"""Bring a request to an endpoint: the host's way, the faults that are switched on, and a note of the call."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import httpx

from jitkit.rehearsal.callout_answer import Unusable
from jitkit.rehearsal.prerequisites import LOOPBACK

if TYPE_CHECKING:
    from jitkit.rehearsal.caller import Caller

__all__ = ["at", "deliver", "nowhere", "reach", "reachable"]


async def deliver(caller: Caller, request: httpx.Request) -> httpx.Response:
    """Send a request to an endpoint.

    Args:
        caller: the tenant's calling side.
        request: the request; its Host header names the public host.

    Returns:
        The answer, not read yet.

    Raises:
        Unusable: a fault of the service is switched on.
        httpx.TransportError: nothing answers.
    """
    caller.faults.before_endpoint()
    status: int | None = None
    try:
        way = caller.setup.way(request.headers["Host"].partition(":")[0])
        await asyncio.sleep(way.seconds)
        if way.guarded:
            response = httpx.Response(401, headers={"WWW-Authenticate": "Bearer"}, request=request)
        else:
            response = await caller.client().send(request, stream=True)
        status = response.status_code
        return response
    finally:
        caller.calls.add(caller.clock.now(), "endpoint", request.method, request.url.path, status)


async def reach(caller: Caller, url: str) -> httpx.Response:
    """Send a GET to a public address, on the way that a callout takes.

    Args:
        caller: the tenant's calling side.
        url: the address.

    Raises:
        httpx.TransportError: nothing answers there.
    """
    caller.setup.refresh()
    base_url = reachable(caller, url)
    if base_url is None:
        raise nowhere(url)
    headers = {"Host": urlsplit(url).netloc}
    try:
        response = await deliver(caller, caller.client().build_request("GET", at(base_url, url), headers=headers))
    except Unusable as fault:
        raise httpx.ConnectError(fault.detail) from None
    try:
        await response.aread()
    finally:
        await response.aclose()
    return response


def reachable(caller: Caller, url: str) -> str | None:
    """Find the loopback address behind a public one; None when it leads nowhere. Nothing else is ever called."""
    parts = urlsplit(url)
    if parts.hostname in LOOPBACK:
        return f"{parts.scheme}://{parts.netloc}"
    base_url = caller.setup.published(parts.hostname or "")
    return base_url if base_url and urlsplit(base_url).hostname in LOOPBACK else None


def at(base_url: str, url: str) -> str:
    """Put the path and query of a public address behind a loopback one."""
    parts = urlsplit(url)
    return base_url + parts.path + (f"?{parts.query}" if parts.query else "")


def nowhere(url: str) -> httpx.ConnectError:
    """Say that nothing is published at a public address."""
    return httpx.ConnectError(f"The host {urlsplit(url).hostname} leads nowhere.")

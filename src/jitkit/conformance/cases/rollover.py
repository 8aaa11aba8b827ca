"""K: Entra changes its signing keys without asking."""

from __future__ import annotations

import asyncio
import time

from jitkit import protocol
from jitkit.conformance.case import Failed, case
from jitkit.conformance.judge import action_of, decides
from jitkit.conformance.world import World


@case(
    "K1",
    "a signing key that is published while the endpoint runs is known about a minute later",
    source="OpenID Connect Core section 10.1.1",
)
async def new_key(w: World) -> None:
    w.issuer.published.append(w.issuer.rolled)
    until = time.monotonic() + w.patience
    while True:
        reply = await w.send(w.call(token=w.issuer.bearer(key=w.issuer.rolled)))
        if action_of(reply) == protocol.MIGRATE:
            break
        if time.monotonic() > until:
            raise Failed(f"{w.patience:.0f} s after the key was published: status {reply.status}")
        await asyncio.sleep(1)
    await decides(w, w.call(token=w.issuer.bearer()), protocol.MIGRATE)

"""S: how an endpoint starts, and when it must not. The suite starts further endpoints with other settings for these."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

from jitkit import protocol
from jitkit.conformance.case import Failed, Skipped, case
from jitkit.conformance.hashes import hashes_of
from jitkit.conformance.judge import action_of, decides, in_time, refuses
from jitkit.conformance.keys import EncryptionKey
from jitkit.conformance.launcher import Launcher, Started
from jitkit.conformance.tokens import encrypt, unsigned
from jitkit.conformance.world import World

_SAFEST: Final = "safest: the documents are silent"
_HOWTO: Final = "Microsoft's how-to"
_LIMITS: Final = "service limits: 2,000 ms"


def _launcher(w: World) -> Launcher:
    if w.launcher is None:
        raise Skipped("the suite did not start this endpoint, so it cannot start one with other settings")
    return w.launcher


@contextlib.asynccontextmanager
async def another(w: World, **changes: str) -> AsyncIterator[Started]:
    """Start one more endpoint with other settings, and stop it.

    Raises:
        Skipped: the suite did not start the endpoint under test.
    """
    started = await _launcher(w).start(**changes)
    try:
        yield started
    finally:
        await started.stop()


@case("T9", "a production profile over plain HTTP does not start", source=_HOWTO)
async def plain_http(w: World) -> None:
    await _launcher(w).refusal(JIT_PROFILE="production")


@case("A18", "without any signing key nobody is let in: 503, not 200", source=_SAFEST)
async def no_documents(w: World) -> None:
    w.issuer.away = True
    try:
        async with another(w) as started:
            await refuses(w, w.call(), 503, 401, url=started.url)
    finally:
        w.issuer.away = False


@case("A19", "the first call after the start waits for no key document", source=_LIMITS)
async def first_call(w: World) -> None:
    async with another(w) as started:
        before = len(w.issuer.fetched)
        await decides(w, w.call(), protocol.MIGRATE, url=started.url)
        if len(w.issuer.fetched) > before:
            raise Failed("the key documents were fetched while the first call waited")


@case("F15", "the first call after the start is answered in time", source=_LIMITS)
async def cold_start(w: World) -> None:
    async with another(w) as started:
        in_time(await decides(w, w.call(), protocol.MIGRATE, url=started.url))


@case("A21", "a switch that leaves checks out keeps the endpoint from starting", source=_SAFEST)
async def bypass(w: World) -> None:
    for name in ("JIT_BYPASS_TOKEN_VALIDATION", "AuthenticationEvents__BypassTokenValidation"):
        try:
            await _launcher(w).refusal(**{name: "1"})
        except Failed as problem:
            raise Failed(f"with {name}: {problem}") from None


@case("J20", "without a usable private key the endpoint does not start, and says why without showing it", source=_HOWTO)
async def no_key(w: World) -> None:
    one, other = EncryptionKey.make("one"), EncryptionKey.make("other")
    values = {
        "missing": "",
        "a certificate of another key": one.pem(other.certificate),
        "an unresolved Key Vault reference": "@Microsoft.KeyVault(SecretUri=https://vault.example/secrets/key)",
        "half a key": one.pem()[:400],
    }
    launcher = _launcher(w)
    for name, value in values.items():
        try:
            said = await launcher.refusal(DecryptionPrivateKey=value)
        except Failed as problem:
            raise Failed(f"{name}: {problem}") from None
        if len(value) > 200 and any(line in said for line in value.splitlines()[1:-1] if len(line) > 20):
            raise Failed(f"{name}: the message shows a part of the key")


@case(
    "J21",
    "an expired certificate still opens what was encrypted for it: Entra does not look at the date",
    source=_SAFEST,
)
async def expired_certificate(w: World) -> None:
    key = EncryptionKey.make("expired", days=-1)
    async with another(w, DecryptionPrivateKey=key.pem()) as started:
        person = w.account()
        claims = w.claims(person)
        call = w.call(person, claims=claims, context=encrypt(unsigned(claims), key))
        await decides(w, call, protocol.MIGRATE, url=started.url)


@case("O15", "hashes of many kinds: right is right, a near miss is wrong, a damaged one is neither", source=_SAFEST)
async def hashes(w: World) -> None:
    launcher, password = _launcher(w), "Canary-of-hashes-1!"
    rows = hashes_of(password)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "legacy.db"
        fill(path, rows)
        started = await launcher.start(LegacyApiConnectionString=f"sqlite:///{path}")
        try:
            for name in rows:
                person = w.account(username=f"{name}@conformance.example", password=password)
                near = w.call(person, claims=w.claims(person, password[:-1] + "?"))
                damaged = name.startswith("damaged")
                for call, action in ((w.call(person), protocol.MIGRATE), (near, protocol.RETRY)):
                    try:
                        await decides(w, call, protocol.BLOCK if damaged else action, url=started.url)
                    except Failed as problem:
                        raise Failed(f"{name}: {problem}") from None
        finally:
            await started.stop()


@case("F17", "killed in the middle of a call, it leaves no half-written line", source=_SAFEST)
async def killed(w: World) -> None:
    started = await _launcher(w).start()
    await decides(w, w.call(), protocol.MIGRATE, url=started.url)
    waiting = asyncio.create_task(w.send(w.call(w.account(fault="hang")), url=started.url))
    await asyncio.sleep(0.3)
    await started.kill()
    with contextlib.suppress(Failed):
        await waiting
    for line in started.ledger.read_text().splitlines() if started.ledger.exists() else ():
        try:
            json.loads(line)
        except ValueError:
            raise Failed("the ledger holds a line that is cut off") from None


@case("F20", "asked to stop, it answers the calls that it has, and ends", source=_SAFEST)
async def graceful(w: World) -> None:
    started = await _launcher(w).start()
    call = w.call(w.account(delay=0.7))
    waiting = asyncio.create_task(w.send(call, url=started.url))
    await asyncio.sleep(0.3)
    code = await started.stop()
    try:
        reply = await waiting
    except Failed:
        raise Failed("the call that it had was dropped") from None
    if action_of(reply) != protocol.MIGRATE:
        raise Failed(f"the call that it had got {action_of(reply) or f'status {reply.status}'}")
    if code != 0:
        raise Failed(f"it ended with exit code {code}")


def fill(path: Path, rows: dict[str, str]) -> None:
    """Make a SQLite legacy store with one active account for each name and stored hash."""
    with contextlib.closing(sqlite3.connect(path)) as database, database:
        database.execute("CREATE TABLE legacy_users (username, password_hash, status, must_change)")
        entries = [(f"{name}@conformance.example", stored) for name, stored in rows.items()]
        database.executemany("INSERT INTO legacy_users VALUES (?, ?, 'active', 0)", entries)

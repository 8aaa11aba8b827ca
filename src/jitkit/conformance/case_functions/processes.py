"""How an endpoint starts, ends, remembers, reports and follows new keys; the suite starts more for most of these."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from jitkit.conformance.case_functions import table
from jitkit.conformance.endpoint import Endpoint, TooSlow, becomes_true, in_time
from jitkit.conformance.issuer import Issuer
from jitkit.conformance.launcher import Launcher, Started
from jitkit.entra_tokens import EncryptionKey
from jitkit.protocol import BLOCK, MIGRATE, RETRY

_AHEAD = 600
_PATIENCE = 12.0
# bcrypt of cost 13, of no password: half a second of work, and too much on any machine for a deadline of 200 ms.
_SLOW_HASH = "$2b$13$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"
# Hashes of this password as other systems store them; the values of damaged ones are not hashes.
_HASHED_PASSWORD = "Canary-of-hashes-1!"  # noqa: S105
_HASHES = Path(__file__).parents[1] / "stored_hashes.json"


@asynccontextmanager
async def _database(rows: Mapping[str, str]) -> AsyncIterator[str]:
    """Make a SQLite legacy store with one active account for each name and stored hash; yields its URL."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "legacy.db"
        with contextlib.closing(sqlite3.connect(path)) as database, database:
            database.execute("CREATE TABLE legacy_users (username, password_hash, status, must_change)")
            entries = [(f"{name}@conformance.example", stored) for name, stored in rows.items()]
            database.executemany("INSERT INTO legacy_users VALUES (?, ?, 'active', 0)", entries)
        yield f"sqlite:///{path}"


async def _lines(started: Started, count: int) -> list[dict[str, Any]]:
    """Read the ledger once it has so many lines, or after a second."""

    def lines() -> list[dict[str, Any]]:
        text = started.ledger.read_text() if started.ledger.exists() else ""
        return [json.loads(line) for line in text.splitlines()]

    await becomes_true(lambda: len(lines()) >= count, 1.0)
    return lines()


async def test_t9_plain_http(launcher: Launcher) -> None:
    await launcher.refusal(JIT_PROFILE="production")


async def test_a18_no_documents(endpoint: Endpoint, issuer: Issuer, launcher: Launcher) -> None:
    with patch.object(issuer, "away", True):
        async with launcher.running() as started:
            await endpoint.at(started.url).refuses(endpoint.call(), 503, 401)


async def test_a19_first_call(endpoint: Endpoint, issuer: Issuer, launcher: Launcher) -> None:
    async with launcher.running() as started:
        before = len(issuer.fetched)
        await endpoint.at(started.url).decides(endpoint.call(), MIGRATE)
        assert len(issuer.fetched) == before, "the key documents were fetched while the first call waited"


async def test_f15_cold_start(endpoint: Endpoint, launcher: Launcher) -> None:
    async with launcher.running() as started:
        in_time(await endpoint.at(started.url).decides(endpoint.call(), MIGRATE))


@pytest.mark.parametrize("name", ["JIT_BYPASS_TOKEN_VALIDATION", "AuthenticationEvents__BypassTokenValidation"])
async def test_a21_bypass(launcher: Launcher, name: str) -> None:
    await launcher.refusal(**{name: "1"})


@table(
    "change",
    {
        "missing": lambda _: "",
        "a certificate of another key": lambda key: key.pem(EncryptionKey.make("other").certificate),
        "an unresolved Key Vault reference": lambda _: (
            "@Microsoft.KeyVault(SecretUri=https://vault.example/secrets/key)"
        ),
        "half a key": lambda key: key.pem()[:400],
    },
)
async def test_j20_no_key(launcher: Launcher, change: Any) -> None:
    value = change(EncryptionKey.make("one"))
    said = await launcher.refusal(DecryptionPrivateKey=value)
    lines = [line for line in value.splitlines()[1:-1] if len(line) > 20]
    assert not any(line in said for line in lines), "the message shows a part of the key"


async def test_j21_expired_certificate(endpoint: Endpoint, launcher: Launcher) -> None:
    key = EncryptionKey.make("expired", days=-1)
    async with launcher.running(DecryptionPrivateKey=key.pem()) as started:
        await endpoint.at(started.url).decides(endpoint.call(jwe={"key": key}), MIGRATE)


async def test_o15_hashes(endpoint: Endpoint, launcher: Launcher) -> None:
    rows = json.loads(_HASHES.read_text(encoding="utf-8"))
    async with _database(rows) as store, launcher.running(LegacyApiConnectionString=store) as started:
        for name in rows:
            person = endpoint.account(username=f"{name}@conformance.example", password=_HASHED_PASSWORD)
            near_miss = endpoint.call(person, typed=_HASHED_PASSWORD[:-1] + "?")
            special = (BLOCK,) if name.startswith("damaged") else (RETRY, BLOCK) if name == "no-password" else ()
            for call, action in ((endpoint.call(person), MIGRATE), (near_miss, RETRY)):
                try:
                    await endpoint.at(started.url).decides(call, *(special or (action,)))
                except AssertionError as problem:
                    raise type(problem)(f"{name}: {problem}") from None


async def test_f17_killed(endpoint: Endpoint, launcher: Launcher) -> None:
    started = await launcher.start()
    other = endpoint.at(started.url)
    await other.decides(other.call(), MIGRATE)
    waiting = asyncio.create_task(other.send(other.call(other.account(fault="hang"))))
    await asyncio.sleep(0.3)
    await started.kill()
    with contextlib.suppress(AssertionError):
        await waiting
    for line in started.ledger.read_text().splitlines() if started.ledger.exists() else ():
        try:
            json.loads(line)
        except ValueError:
            raise AssertionError("the ledger holds a line that is cut off") from None


async def test_f20_graceful_end(endpoint: Endpoint, launcher: Launcher) -> None:
    started = await launcher.start()
    call = endpoint.call(endpoint.account(delay=0.7))
    waiting = asyncio.create_task(endpoint.at(started.url).send(call))
    await asyncio.sleep(0.3)
    code = await started.stop()
    try:
        reply = await waiting
    except AssertionError:
        raise AssertionError("the call that it had was dropped") from None
    assert reply.action == MIGRATE, f"the call that it had got {reply}"
    assert code == 0, f"it ended with exit code {code}"


async def test_c17_restarted(endpoint: Endpoint, launcher: Launcher) -> None:
    first, now = endpoint.call(), int(time.time())
    async with launcher.running() as started:
        await endpoint.at(started.url).decides(first, MIGRATE)
    old = {"nonce": first.nonce, "iat": now - 1800, "nbf": now - 1800, "exp": now - 1200}
    async with launcher.running() as started:
        await endpoint.at(started.url).refuses(endpoint.call(first.account, claims=old), 400)


async def test_o17_slow_hash(launcher: Launcher) -> None:
    async with (
        _database({"slow": _SLOW_HASH}) as store,
        launcher.running(LegacyApiConnectionString=store, JIT_DEADLINE_MS="200") as started,
    ):
        if not await started.reports("hash", _PATIENCE):
            raise TooSlow(f"{_PATIENCE:.0f} s after the start nothing is said about it")


async def test_f18_wrong_clock(endpoint: Endpoint, issuer: Issuer, launcher: Launcher) -> None:
    with patch.object(issuer, "ahead", _AHEAD):
        async with launcher.running() as started:
            await endpoint.at(started.url).refuses(endpoint.call(), 401)
            named = await started.reports("clock", _PATIENCE)
            assert named, "neither its log nor its ledger names the clock"


async def test_p4_counting(endpoint: Endpoint, launcher: Launcher) -> None:
    first, other = endpoint.call(), endpoint.call()
    async with launcher.running() as started:
        for call in (first, first, other):
            await endpoint.at(started.url).decides(call, MIGRATE)
        await endpoint.at(started.url).refuses(endpoint.call(token=None), 401)
        lines = await _lines(started, 4)
    assert len(lines) == 4, f"four calls, and {len(lines)} lines in the ledger"
    attempts = [line.get("attempt") for line in lines[:3]]
    assert attempts == [1, 2, 1], f"a call, its repetition and another one were counted as attempts {attempts}"


async def test_p5_deleted_ledger(endpoint: Endpoint, launcher: Launcher) -> None:
    async with launcher.running() as started:
        other = endpoint.at(started.url)
        person, call = other.account(), other.call()

        async def guess(number: int) -> None:
            await other.decides(other.call(person, typed=f"Canary-guess-{number}-A1!"), RETRY, BLOCK)

        await other.decides(call, MIGRATE)
        for number in range(10):
            await guess(number)
        heard = len(person.asked)
        await _lines(started, 11)
        try:
            started.ledger.unlink(missing_ok=True)
        except OSError:
            pytest.skip("this system does not let a file be deleted that is open")
        await other.decides(call, MIGRATE)
        call.asked(1)
        reused = other.call(call.account, typed="Canary-another-1!", claims={"nonce": call.nonce})
        await other.refuses(reused, 400)
        await other.refuses(other.call(token=None), 401)
        if endpoint.config.features.limiter:
            await guess(10)
            forgotten = len(person.asked) > heard
            assert not forgotten, "the guesses from before are forgotten: the legacy store heard another one"


async def test_k1_new_key(endpoint: Endpoint, issuer: Issuer) -> None:
    issuer.published.append(issuer.next_key)
    until = time.monotonic() + endpoint.patience
    while True:
        reply = await endpoint.send(endpoint.call(token=issuer.bearer(issuer.next_key)))
        if reply.action == MIGRATE:
            break
        late = f"{endpoint.patience:.0f} s after the key was published: status {reply.status}"
        assert time.monotonic() < until, late
        await asyncio.sleep(1)
    await endpoint.decides(endpoint.call(), MIGRATE)

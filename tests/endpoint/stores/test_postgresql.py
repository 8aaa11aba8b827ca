"""The SQL store on a real PostgreSQL server: rows, rights, and a server that hangs."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator

import bcrypt
import pytest
from sqlalchemy.engine import make_url

from jitkit.endpoint.stores import LegacyStore, Prepares, Verdict, open_store
from jitkit.endpoint.stores.sql import SqlStore, _verified_tls
from jitkit.errors import SettingsError

from . import cluster
from .cluster import Cluster
from .test_sql import SSHA

pytestmark = pytest.mark.skipif(
    cluster.MISSING, reason="PostgreSQL is not installed, or there is no user postgres to run it (Debian: postgresql)"
)

BCRYPT = bcrypt.hashpw(b"s3cret", bcrypt.gensalt(8)).decode()
ROWS = [
    (" Ann@Contoso.example ", SSHA, "active", False),
    ("ÉLISE@contoso.example", BCRYPT, "active", False),
    ("must@contoso.example", SSHA, "active", True),
    ("locked@contoso.example", SSHA, "locked", None),
    ("none@contoso.example", None, "active", False),
    ("twin@contoso.example", SSHA, "active", False),
    ("Twin@contoso.example", SSHA, "active", False),
    ("o'brien%@contoso.example", SSHA, "active", False),
]


@pytest.fixture(scope="module")
def server() -> Iterator[Cluster]:
    with cluster.running() as running:
        running.run("CREATE TABLE legacy_users (username text, password_hash text, status text, must_change boolean)")
        running.run("INSERT INTO legacy_users VALUES (%s, %s, %s, %s)", *ROWS)
        yield running


@pytest.fixture
async def store(server: Cluster) -> AsyncIterator[LegacyStore]:
    opened = open_store(server.url())
    yield opened
    await opened.close()


async def ask(url: str, query: str | None = None, username: str = "ann@contoso.example") -> Verdict:
    opened = open_store(url, query)
    try:
        return await opened.verify(username, "s3cret")
    finally:
        await opened.close()


@pytest.mark.parametrize(
    ("username", "password", "verdict"),
    [
        ("ann@contoso.example", "s3cret", Verdict.RIGHT),
        ("ANN@contoso.example ", "s3cret", Verdict.RIGHT),
        ("ann@contoso.example", "s3creT", Verdict.WRONG),
        ("élise@contoso.example", "s3cret", Verdict.RIGHT),
        ("must@contoso.example", "s3cret", Verdict.RIGHT_MUST_CHANGE),
        ("locked@contoso.example", "s3cret", Verdict.LOCKED),
        ("none@contoso.example", "s3cret", Verdict.NO_PASSWORD),
        ("twin@contoso.example", "s3cret", Verdict.AMBIGUOUS),
        ("o'brien%@contoso.example", "s3cret", Verdict.RIGHT),
        ("%", "s3cret", Verdict.UNKNOWN_USER),
        ("' OR ''='", "s3cret", Verdict.UNKNOWN_USER),
        ("ann\0@contoso.example", "s3cret", Verdict.WRONG),
        ("\ud800", "s3cret", Verdict.WRONG),
    ],
)
async def test_verdicts(store: LegacyStore, username: str, password: str, verdict: Verdict) -> None:
    assert await store.verify(username, password) is verdict
    assert store.kind == "postgresql"


async def test_many_at_once(store: LegacyStore) -> None:
    asked = [("ann@contoso.example", "s3cret"), ("ann@contoso.example", "no"), ("bob@contoso.example", "no")] * 20
    verdicts = await asyncio.gather(*(store.verify(*pair) for pair in asked))
    assert verdicts == [Verdict.RIGHT, Verdict.WRONG, Verdict.UNKNOWN_USER] * 20


async def test_a_statement_of_your_own_over_bytes(server: Cluster) -> None:
    own = (
        "SELECT username, convert_to(password_hash, 'UTF8') AS password_hash, status, 'f' AS must_change"
        " FROM legacy_users WHERE lower(trim(username)) = :username"
    )
    assert await ask(server.url(), own) is Verdict.RIGHT


async def test_keycloaks_own_table(server: Cluster) -> None:
    server.run("CREATE TABLE credential (secret_data text, credential_data text)")
    value = "L+EQCnzcJkTB2l4LR5y1sHAbwBIrcO9mgcbUj2m2cXZeXYy/QaFhQoj96pJhJEGJeBc/znZYck7Bp0p7UH4rYg=="
    secret = f'{{"value":"{value}","salt":"MDEyMzQ1Njc4OWFiY2RlZg==","additionalParameters":{{}}}}'
    data = '{"hashIterations":27500,"algorithm":"pbkdf2-sha256","additionalParameters":{}}'
    server.run("INSERT INTO credential VALUES (%s, %s)", (secret, data))
    own = (
        "SELECT :username AS username, 'active' AS status, false AS must_change,"
        " json_build_object('secretData', secret_data, 'credentialData', credential_data)::text AS password_hash"
        " FROM credential"
    )
    assert await ask(server.url(), own.replace(":username", "CAST(:username AS text)")) is Verdict.RIGHT


async def test_reads_and_never_writes(server: Cluster) -> None:
    delete = (
        "DELETE FROM legacy_users WHERE lower(trim(username)) = :username"
        " RETURNING username, password_hash, status, must_change"
    )
    assert await ask(server.url(), delete) is Verdict.DOWN
    assert await ask(server.url()) is Verdict.RIGHT


async def test_a_mistake_in_the_settings_is_nobodys_wrong_password(
    server: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    for url in (server.url(password="n0t it"), server.url().replace("/postgres", "/nothing")):
        assert await ask(url) is Verdict.DOWN
    assert await ask(server.url(), "SELECT nothing FROM legacy_users WHERE username = :username") is Verdict.DOWN
    for secret in ("n0t it", cluster.PASSWORD, "s3cret", "ann@contoso"):
        assert secret not in caplog.text


async def test_tls_on_a_network(server: Cluster) -> None:
    over_tls = (
        f"SELECT CAST(:username AS text) AS username, '{SSHA}' AS password_hash, 'active' AS status, 0 AS must_change"
        " FROM pg_stat_ssl WHERE pid = pg_backend_pid() AND ssl"
    )
    assert await ask(server.url(host="127.0.0.2"), over_tls) is Verdict.DOWN  # nobody vouches for this server
    verified = f"?sslmode=verify-full&sslrootcert={server.here / 'ca.pem'}"
    assert await ask(server.url(more=verified), over_tls) is Verdict.RIGHT
    assert await ask(server.url(host="127.0.0.2", more=verified), over_tls) is Verdict.DOWN


@pytest.mark.parametrize(
    "url",
    [
        "db.example/d?sslmode=disable",
        "db.example/d?sslmode=prefer",
        "db.example/d?sslmode=require",
        "db.example/d?sslmode=verify-ca",
        "/d?host=db.example&sslmode=require",
        "localhost/d?host=db.example&sslmode=require",
        "localhost/d?hostaddr=192.0.2.7&sslmode=allow",
        "/d?host=localhost,db.example&sslmode=prefer",
        "/d?host=localhost&host=db.example&sslmode=prefer",
        "/d?service=legacy&sslmode=require",
    ],
)
def test_a_database_on_another_machine_is_verified_or_refused(url: str) -> None:
    with pytest.raises(SettingsError, match="without verifying it") as refused:
        SqlStore(f"postgresql+psycopg://u:s3cret@{url}")
    assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "modes"),
    [
        ("localhost/d", None),
        ("/d?host=/var/run/postgresql", None),
        ("localhost:5433/d?sslmode=disable", None),
        ("db.example/d", "verify-full"),
        ("/d?host=db.example", "verify-full"),
        ("localhost/d?hostaddr=192.0.2.7", "verify-full"),
        ("/d?host=localhost&host=db.example", "verify-full"),
        ("/d?host=db.example&sslmode=verify-full", "verify-full"),
    ],
)
def test_what_libpq_is_told_about_tls(url: str, modes: str | None) -> None:
    assert _verified_tls(make_url(f"postgresql+psycopg://u:s3cret@{url}")).get("sslmode") == modes


def test_a_host_of_the_environment_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    nowhere = make_url("postgresql+psycopg:///d")
    assert _verified_tls(nowhere) == {}
    monkeypatch.setenv("PGHOST", "db.example")
    assert _verified_tls(nowhere)["sslmode"] == "verify-full"


async def test_on_a_network_nothing_goes_in_clear() -> None:
    received = []

    def refuse_tls() -> None:
        connection, _ = listener.accept()
        with connection:
            received.append(connection.recv(100))
            connection.sendall(b"N")
            received.append(connection.recv(100))

    with socket.create_server(("127.0.0.2", 0)) as listener:
        thread = threading.Thread(target=refuse_tls)
        thread.start()
        assert await ask(f"postgresql+psycopg://u:s3cret@127.0.0.2:{listener.getsockname()[1]}/d") is Verdict.DOWN
        thread.join()
    assert received == [bytes.fromhex("0000000804d2162f"), b""]


async def test_a_slow_statement_is_cancelled_at_the_server(server: Cluster) -> None:
    slow = "SELECT username, password_hash, status, must_change, pg_sleep(60) FROM legacy_users WHERE :username != ''"
    started = time.monotonic()
    assert await ask(server.url(), slow) is Verdict.DOWN
    assert time.monotonic() - started < 20
    running = (
        "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%%pg_sleep(60)%%' AND state = 'active'"
        " AND pid <> pg_backend_pid()"
    )
    async with asyncio.timeout(20):
        while server.run(running) != [(0,)]:  # noqa: ASYNC110 - a test's wait, not a signal
            await asyncio.sleep(0.05)


async def test_a_frozen_server_is_down_in_time_and_leaves_no_thread(server: Cluster) -> None:
    frozen = open_store(server.url())
    assert await frozen.verify("ann@contoso.example", "s3cret") is Verdict.RIGHT
    with server.frozen():
        started = time.monotonic()
        verdicts = await asyncio.gather(*(frozen.verify("ann@contoso.example", "s3cret") for _ in range(5)))
        assert time.monotonic() - started < 20
        assert verdicts == [Verdict.DOWN] * 5
        await _threads_rest(frozen)
    assert await frozen.verify("ann@contoso.example", "s3cret") is Verdict.RIGHT
    await frozen.close()


async def test_a_server_that_says_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        silent = open_store(f"postgresql+psycopg://u:s3cret@127.0.0.1:{listener.getsockname()[1]}/d")
        started = time.monotonic()
        assert await silent.verify("ann", "s3cret") is Verdict.DOWN
        assert time.monotonic() - started < 20
        await _threads_rest(silent)
        await silent.close()


async def test_a_server_that_comes_back(server: Cluster, store: LegacyStore) -> None:
    assert await store.verify("ann@contoso.example", "s3cret") is Verdict.RIGHT
    server.stop()
    assert await store.verify("ann@contoso.example", "s3cret") is Verdict.DOWN
    server.start()
    assert await store.verify("ann@contoso.example", "s3cret") is Verdict.RIGHT


async def test_what_hashes_cost_is_told_at_the_start(store: LegacyStore, caplog: pytest.LogCaptureFixture) -> None:
    assert isinstance(store, Prepares)
    await store.prepare(0.02)
    assert "verifying a $2b$08 hash takes" in caplog.text
    assert "{SSHA}" not in caplog.text
    assert BCRYPT[8:] not in caplog.text


async def _threads_rest(store: LegacyStore) -> None:
    """Wait until no thread of the store waits for the database any more: each takes a piece of other work."""
    readers = vars(store)["_readers"]
    together = threading.Barrier(20, timeout=60)
    await asyncio.gather(*(asyncio.wrap_future(readers.submit(together.wait)) for _ in range(20)))

"""The SQL store, on real SQLite files."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import bcrypt
import pytest

from jitkit.endpoint.stores import LegacyStore, Maps, Prepares, Verdict, open_store
from jitkit.endpoint.stores.base import lookup_key
from jitkit.endpoint.stores.sql import DEFAULT_QUERY
from jitkit.errors import SettingsError

from .. import entra

SSHA = "{SSHA}yBnyDfXLhzykPbtYzAGC9pwxT8oxMjM0NTY3OA=="
BCRYPT = bcrypt.hashpw(b"s3cret", bcrypt.gensalt(4)).decode()

ROWS: list[tuple[Any, ...]] = [
    (" Ann@Contoso.example ", SSHA, "active", 0),
    ("must@contoso.example", SSHA, " Active", "true"),
    ("locked@contoso.example", SSHA, "locked", 0),
    ("disabled@contoso.example", SSHA, "DISABLED", 0),
    ("none@contoso.example", None, "active", 0),
    ("bytes@contoso.example", SSHA.encode(), "active", "f"),
    ("broken@contoso.example", "$2x$broken", "active", 0),
    ("status@contoso.example", SSHA, "on holiday", 0),
    ("flag@contoso.example", SSHA, "active", "perhaps"),
    ("number@contoso.example", 12345, "active", 0),
    ("twin@contoso.example", SSHA, "active", 0),
    ("Twin@contoso.example", BCRYPT, "active", 0),
    ("plus+tag@contoso.example", SSHA, "active", None),
    ("o'brien@contoso.example", SSHA, "active", "0"),
]

Opener = Callable[..., LegacyStore]


@pytest.fixture
async def opener(tmp_path: Path) -> AsyncIterator[Opener]:
    path = tmp_path / "legacy #1?.db"
    with contextlib.closing(sqlite3.connect(path)) as database, database:
        database.execute("CREATE TABLE legacy_users (username, password_hash, status, must_change)")
        database.executemany("INSERT INTO legacy_users VALUES (?, ?, ?, ?)", ROWS)
    stores = []

    def opens(query: str | None = None) -> LegacyStore:
        stores.append(open_store(f"sqlite:///{str(path).replace('?', '%3F')}", query))
        return stores[-1]

    yield opens
    for store in stores:
        await store.close()


@pytest.mark.parametrize(
    ("username", "password", "verdict"),
    [
        ("ann@contoso.example", "s3cret", Verdict.RIGHT),
        ("\tANN@contoso.example\n", "s3cret", Verdict.RIGHT),
        ("ann@contoso.example", "s3cret ", Verdict.WRONG),
        ("ann", "s3cret", Verdict.UNKNOWN_USER),
        ("must@contoso.example", "s3cret", Verdict.RIGHT_MUST_CHANGE),
        ("must@contoso.example", "wrong", Verdict.WRONG),
        ("locked@contoso.example", "s3cret", Verdict.LOCKED),
        ("locked@contoso.example", "wrong", Verdict.WRONG),
        ("disabled@contoso.example", "s3cret", Verdict.DISABLED),
        ("disabled@contoso.example", "wrong", Verdict.WRONG),
        ("none@contoso.example", "s3cret", Verdict.NO_PASSWORD),
        ("bytes@contoso.example", "s3cret", Verdict.RIGHT),
        ("broken@contoso.example", "s3cret", Verdict.MALFORMED),
        ("status@contoso.example", "s3cret", Verdict.MALFORMED),
        ("flag@contoso.example", "s3cret", Verdict.MALFORMED),
        ("number@contoso.example", "12345", Verdict.MALFORMED),
        ("twin@contoso.example", "s3cret", Verdict.AMBIGUOUS),
        ("plus+tag@contoso.example", "s3cret", Verdict.RIGHT),
        ("plus@contoso.example", "s3cret", Verdict.UNKNOWN_USER),
        ("o'brien@contoso.example", "s3cret", Verdict.RIGHT),
        ("' OR 1=1 --", "s3cret", Verdict.UNKNOWN_USER),
        ("%", "s3cret", Verdict.UNKNOWN_USER),
    ],
)
async def test_verdicts(opener: Opener, username: str, password: str, verdict: Verdict) -> None:
    assert await opener().verify(username, password) is verdict


def test_one_normalisation_of_names() -> None:
    assert lookup_key("  Ja\u0308GER+a.b@Contoso.example\r\n") == "j\u00e4ger+a.b@contoso.example"
    assert lookup_key("straße") != lookup_key("strasse")


async def test_a_pepper_of_the_settings_is_appended(tmp_path: Path) -> None:
    stored = bcrypt.hashpw(b"s3cret" + b" of the app ", bcrypt.gensalt(4)).decode()
    with contextlib.closing(sqlite3.connect(tmp_path / "pepper.db")) as database, database:
        database.execute("CREATE TABLE legacy_users (username, password_hash, status, must_change)")
        database.execute("INSERT INTO legacy_users VALUES ('ann@contoso.example', ?, 'active', 0)", [stored])
    url = f"sqlite:///{tmp_path}/pepper.db"
    settings = entra.settings(LegacyApiConnectionString=url, JIT_LEGACY_PEPPER=" of the app ")
    assert "of the app" not in repr(settings)
    for pepper, verdict in ((settings.legacy_pepper, Verdict.RIGHT), ("", Verdict.WRONG)):
        store = open_store(url, None, pepper)
        assert await store.verify("ann@contoso.example", "s3cret") is verdict
        await store.close()


async def test_a_statement_of_your_own(opener: Opener) -> None:
    columns = "username, password_hash, 'active' AS status, 0 AS must_change"
    own = f"SELECT {columns} FROM legacy_users WHERE username = :username"
    assert await opener(own).verify("plus+tag@contoso.example", "s3cret") is Verdict.RIGHT


@pytest.mark.parametrize(
    ("known", "verdict"),
    [
        ("'0C8F2F8E-5D0A-4A0E-8A7B-9D3A5A0F1E11 '", Verdict.RIGHT),
        ("NULL", Verdict.RIGHT),
        ("''", Verdict.RIGHT),
        ("'9a1c3f52-0d8e-4a56-b7c1-2f6f5d0c3b33'", Verdict.OTHER_USER),
        ("7", Verdict.OTHER_USER),
    ],
)
async def test_a_mapping_to_another_directory_account_migrates_nobody(
    opener: Opener, known: str, verdict: Verdict
) -> None:
    own = DEFAULT_QUERY.replace("must_change", f"must_change, {known} AS entra_user_id")
    store = opener(own)
    assert isinstance(store, Maps)
    assert await store.verify_for("0c8f2f8e-5d0a-4a0e-8a7b-9d3a5a0f1e11", "ann@contoso.example", "s3cret") is verdict
    assert await store.verify("ann@contoso.example", "s3cret") is Verdict.RIGHT


async def test_a_row_of_somebody_else_is_not_trusted(opener: Opener) -> None:
    wide = "SELECT username, password_hash, status, must_change FROM legacy_users WHERE :username != '' LIMIT 1"
    assert await opener(wide).verify("bob@contoso.example", "s3cret") is Verdict.MALFORMED


@pytest.mark.parametrize(
    ("query", "verdict"),
    [
        ("SELECT username, password_hash FROM legacy_users WHERE username = :username", Verdict.MALFORMED),
        ("SELECT username FROM no_such_table WHERE username = :username", Verdict.DOWN),
    ],
)
async def test_a_statement_that_does_not_fit_is_no_wrong_password(opener: Opener, query: str, verdict: Verdict) -> None:
    assert await opener(query).verify("plus+tag@contoso.example", "s3cret") is verdict


@pytest.mark.parametrize(("query", "said"), [("SELECT x FROM nowhere WHERE y = :username", 1), (DEFAULT_QUERY, 0)])
async def test_a_statement_that_cannot_be_run_is_told_before_the_first_customer_comes(
    opener: Opener, query: str, said: int, caplog: pytest.LogCaptureFixture
) -> None:
    store = opener(query)
    assert isinstance(store, Prepares)
    await store.prepare(1.5)
    assert caplog.text.count("check LegacyApiConnectionString and JIT_LEGACY_QUERY") == said


@pytest.mark.parametrize("query", ["SELECT 1", "SELECT :username, :password"])
def test_a_statement_with_other_parameters_is_refused(opener: Opener, query: str) -> None:
    with pytest.raises(SettingsError, match=":username"):
        opener(query)


async def test_reads_and_never_writes(opener: Opener) -> None:
    delete = (
        "DELETE FROM legacy_users WHERE username = :username RETURNING username, password_hash, status, must_change"
    )
    assert await opener(delete).verify("plus+tag@contoso.example", "s3cret") is Verdict.DOWN
    assert await opener().verify("plus+tag@contoso.example", "s3cret") is Verdict.RIGHT


@pytest.mark.parametrize(
    "url",
    [
        "sqlite:///no/such/file.db",
        "sqlite://",
        "mysql://u:s3cret@h/d",
        "nonsense",
        "postgresql+psycopg://u:s3cret@h:x/d",
    ],
)
def test_a_url_that_cannot_be_used_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(SettingsError) as raised:
        open_store(url)
    assert "s3cret" not in str(raised.value)


async def test_a_locked_database_is_down_and_not_wrong(opener: Opener, tmp_path: Path) -> None:
    store = opener()
    with contextlib.closing(sqlite3.connect(tmp_path / "legacy #1?.db", isolation_level=None)) as writer:
        writer.execute("BEGIN EXCLUSIVE")
        assert await store.verify("ann@contoso.example", "s3cret") is Verdict.DOWN


async def test_unknown_names_cost_what_known_ones_do_as_often_and_nobody_can_compute_which(opener: Opener) -> None:
    stores: list[Any] = [opener(), opener()]
    for store in stores:
        store._dummies = {"quick": "quick", "slow": "slow"}
        store._seen.update(quick=98, slow=2)
    names = [f"person-{number}" for number in range(4000)]
    slow = [{name for name in names if store._dummy_for(name) == "slow"} for store in stores]
    for of_one in slow:
        assert 0.01 < len(of_one) / len(names) < 0.06
    assert [stores[0]._dummy_for(name) == "slow" for name in names] == [name in slow[0] for name in names]
    assert slow[0] != slow[1]


async def test_an_unknown_user_costs_what_a_known_one_costs(tmp_path: Path) -> None:
    path = tmp_path / "legacy.db"
    with contextlib.closing(sqlite3.connect(path)) as database, database:
        database.execute("CREATE TABLE legacy_users (username, password_hash, status, must_change)")
        stored = bcrypt.hashpw(b"s3cret", bcrypt.gensalt(11)).decode()
        database.execute("INSERT INTO legacy_users VALUES ('ann', ?, 'active', 0)", [stored])
    store = open_store(f"sqlite:///{path}")

    async def cost(username: str) -> float:
        started = time.process_time()
        await store.verify(username, "wrong")
        return time.process_time() - started

    known = min([await cost("ann") for _ in range(3)])
    unknown = min([await cost("bob") for _ in range(3)])
    await store.close()
    assert 0.7 < unknown / known < 1.4


async def test_hashing_leaves_the_event_loop_free(tmp_path: Path) -> None:
    path = tmp_path / "legacy.db"
    with contextlib.closing(sqlite3.connect(path)) as database, database:
        database.execute("CREATE TABLE legacy_users (username, password_hash, status, must_change)")
        stored = bcrypt.hashpw(b"s3cret", bcrypt.gensalt(12)).decode()
        database.execute("INSERT INTO legacy_users VALUES ('ann', ?, 'active', 0)", [stored])
    store = open_store(f"sqlite:///{path}")
    task = asyncio.create_task(store.verify("ann", "s3cret"))
    turns = 0
    while not task.done():
        await asyncio.sleep(0.005)
        turns += 1
    assert await task is Verdict.RIGHT
    assert turns > 5
    await store.close()

"""The directory store, on a real OpenLDAP server with password policies, over TLS."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from jitkit.endpoint.stores import Verdict
from jitkit.endpoint.stores.ldap import LdapStore

from . import slapd
from .slapd import BASE, PASSWORD, Slapd

pytestmark = pytest.mark.skipif(
    slapd.BINARY is None or not slapd.SCHEMAS.is_dir(), reason="slapd is not installed (Debian package slapd)"
)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slapd]:
    with slapd.running(tmp_path_factory.mktemp("slapd")) as server:
        yield server


async def ask(url: str, username: str, password: str = PASSWORD) -> Verdict:
    store = LdapStore(url)
    try:
        return await store.verify(username, password)
    finally:
        await store.close()


@pytest.mark.parametrize(
    ("username", "password", "verdict"),
    [
        ("ann@contoso.example", PASSWORD, Verdict.RIGHT),
        (" ANN@Contoso.example\r\n", PASSWORD, Verdict.RIGHT),
        ("ann", PASSWORD, Verdict.RIGHT),
        ("bob@contoso.example", PASSWORD + " ", Verdict.WRONG),
        ("bob@contoso.example", PASSWORD.replace("ª", "a"), Verdict.WRONG),
        ("célia", PASSWORD, Verdict.RIGHT),
        ("plus+tag@contoso.example", PASSWORD, Verdict.RIGHT),
        ("o'brien (jr)*", PASSWORD, Verdict.RIGHT),
        ("nobody@contoso.example", PASSWORD, Verdict.UNKNOWN_USER),
        ("*", PASSWORD, Verdict.UNKNOWN_USER),
        ("ann*", PASSWORD, Verdict.UNKNOWN_USER),
        ("ann)(uid=*", PASSWORD, Verdict.UNKNOWN_USER),
        ("ann\\2a", PASSWORD, Verdict.UNKNOWN_USER),
        ("ann\0", PASSWORD, Verdict.UNKNOWN_USER),
        ("twin@contoso.example", PASSWORD, Verdict.AMBIGUOUS),
        ("three@contoso.example", PASSWORD, Verdict.AMBIGUOUS),
        ("locked@contoso.example", PASSWORD, Verdict.LOCKED),
        ("locked@contoso.example", "wrong", Verdict.LOCKED),
        ("expired@contoso.example", PASSWORD, Verdict.RIGHT_MUST_CHANGE),
        ("expired@contoso.example", "wrong", Verdict.WRONG),
        ("reset@contoso.example", PASSWORD, Verdict.RIGHT_MUST_CHANGE),
        ("reset@contoso.example", "wrong", Verdict.WRONG),
        ("grace@contoso.example", PASSWORD, Verdict.RIGHT_MUST_CHANGE),
        # This server takes an empty password for "nobody in particular" and says yes.
        ("ann@contoso.example", "", Verdict.WRONG),
        ("ann@contoso.example", "\0", Verdict.WRONG),
        ("ann@contoso.example", "\ud800", Verdict.WRONG),
    ],
)
async def test_verdicts(directory: Slapd, username: str, password: str, verdict: Verdict) -> None:
    assert await ask(directory.url(), username, password) is verdict


async def test_guesses_lock_the_account_as_the_directory_decides(directory: Slapd) -> None:
    store = LdapStore(directory.url())
    verdicts = [await store.verify("guessed", "wrong") for _ in range(3)]
    verdicts.append(await store.verify("guessed", PASSWORD))
    await store.close()
    assert verdicts == [Verdict.WRONG] * 3 + [Verdict.LOCKED]


async def test_many_at_once_get_their_own_answers(directory: Slapd) -> None:
    store = LdapStore(directory.url())
    asked = [("ann", PASSWORD), ("nobody", PASSWORD), ("célia", PASSWORD), ("twin@contoso.example", "x")] * 15
    verdicts = await asyncio.gather(*(store.verify(*pair) for pair in asked))
    await store.close()
    assert verdicts == [Verdict.RIGHT, Verdict.UNKNOWN_USER, Verdict.RIGHT, Verdict.AMBIGUOUS] * 15


@pytest.mark.parametrize(
    ("template", "username", "verdict"),
    [
        (f"cn={{username}},{BASE}", "ann", Verdict.RIGHT),
        (f"cn={{username}},{BASE}", "plus+tag", Verdict.RIGHT),
        (f"cn={{username}},{BASE}", "nobody", Verdict.WRONG),
        (f"cn={{username}},{BASE}", f"ann,{BASE}", Verdict.UNKNOWN_USER),
        ("{username}", f"cn=ann,{BASE}", Verdict.UNKNOWN_USER),
        ("{username}", "ann", Verdict.DOWN),
    ],
)
async def test_binding_at_once(directory: Slapd, template: str, username: str, verdict: Verdict) -> None:
    assert await ask(directory.url(user="", base="", more=f"&bind={quote(template)}"), username) is verdict


@pytest.mark.parametrize(
    "changes",
    [
        {"password": "not the reader's"},
        {"user": f"cn=nobody,{BASE}"},
        {"base": "dc=elsewhere"},
        {"user": f"cn=ann,{BASE}", "password": PASSWORD},
    ],
    ids=["account's password", "account", "base", "account that may not search"],
)
async def test_a_mistake_in_the_settings_is_nobodys_wrong_password(directory: Slapd, changes: dict[str, str]) -> None:
    assert await ask(directory.url(**changes), "ann") is Verdict.DOWN
    assert await ask(directory.url(**changes), "ann", "wrong") is Verdict.DOWN


async def test_a_filter_of_your_own(directory: Slapd) -> None:
    only = quote("(&(uid={username})(mail=ann@contoso.example))", safe="")
    assert await ask(directory.url(more=f"&filter={only}"), "ann") is Verdict.RIGHT
    assert await ask(directory.url(more=f"&filter={only}"), "bob") is Verdict.UNKNOWN_USER


async def test_the_certificate_is_verified(directory: Slapd, tmp_path: Path) -> None:
    other = tmp_path / "other.pem"
    (tmp_path / "x").mkdir()
    slapd.write_certificates(tmp_path / "x")
    (tmp_path / "x" / "ca.pem").rename(other)
    foreign = directory.url().replace(quote(str(directory.ca)), quote(str(other)))
    system = directory.url().partition("?")[0]
    elsewhere = directory.url().replace("127.0.0.1", "localhost")
    for url in (foreign, system, elsewhere):
        assert await ask(url, "ann") is Verdict.DOWN


async def test_without_tls_on_this_machine(directory: Slapd) -> None:
    url = directory.url().replace("ldaps:", "ldap:").replace(str(directory.tls), str(directory.plain)).partition("?")[0]
    assert await ask(url, "ann") is Verdict.RIGHT


async def test_a_kept_connection_that_the_directory_closed(tmp_path: Path) -> None:
    with slapd.running(tmp_path) as first:
        store = LdapStore(first.url())
        assert await store.verify("ann", PASSWORD) is Verdict.RIGHT
        first.process.kill()
        first.process.wait()
        assert await store.verify("ann", PASSWORD) is Verdict.DOWN
        again = slapd.start(tmp_path, first.plain, first.tls)
        try:
            assert await store.verify("ann", PASSWORD) is Verdict.RIGHT
        finally:
            again.kill()
            again.wait()
    await store.close()


async def test_starting_warns_of_an_account_that_is_refused(directory: Slapd, caplog: pytest.LogCaptureFixture) -> None:
    good, bad = LdapStore(directory.url()), LdapStore(directory.url(password="s3cret-typo"))
    await good.prepare(1.5)
    assert not caplog.records
    await bad.prepare(1.5)
    assert "refuses the service account" in caplog.text
    assert "s3cret-typo" not in caplog.text
    await good.close()
    await bad.close()


async def test_no_thread_is_left(directory: Slapd) -> None:
    store = LdapStore(directory.url())
    await store.verify("ann", PASSWORD)
    await store.close()
    for thread in threading.enumerate():
        if thread.name.startswith("legacy-ldap"):
            thread.join(20)
            assert not thread.is_alive()

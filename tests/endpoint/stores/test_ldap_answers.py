"""What directories answer: Active Directory's sub-codes, password policies, and every way of not answering."""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
import threading
import time
from urllib.parse import quote

import pytest

from jitkit.endpoint.stores import Verdict, open_store
from jitkit.endpoint.stores.ldap import DEFAULT_FILTER, POLICY_CONTROL, LdapStore, judge, read_url
from jitkit.errors import SettingsError

from .responder import Responder, bind_result, entry, message, reference, result, tlv

BIND, SEARCH = 0x60, 0x63
SUB_CODE = "80090308: LdapErr: DSID-0C0903A9, comment: AcceptSecurityContext error, data {}, v1db1"


def at_once(port: int) -> LdapStore:
    return LdapStore(f"ldap://127.0.0.1:{port}/?bind={quote('{username}')}")


def by_search(port: int) -> LdapStore:
    return LdapStore(f"ldap://reader:s3rvice@127.0.0.1:{port}/dc=x")


async def answered(code: int, text: str = "", *more: bytes) -> tuple[Verdict, Responder]:
    """What the store makes of one answer to a bind."""
    script = lambda _, __, number, ___, ____: message(number, bind_result(code, text, *more))  # noqa: E731
    with Responder(script) as directory:
        store = at_once(directory.port)
        verdict = await store.verify("ann@contoso.example", "s3cret")
        await store.close()
        return verdict, directory


@pytest.mark.parametrize(
    ("sub_code", "verdict"),
    [
        ("525", Verdict.UNKNOWN_USER),
        ("52e", Verdict.WRONG),
        ("52E", Verdict.WRONG),
        ("52f", Verdict.DISABLED),
        ("530", Verdict.DISABLED),
        ("531", Verdict.DISABLED),
        ("532", Verdict.RIGHT_MUST_CHANGE),
        ("533", Verdict.DISABLED),
        ("701", Verdict.DISABLED),
        ("773", Verdict.RIGHT_MUST_CHANGE),
        ("775", Verdict.LOCKED),
        ("568", Verdict.MALFORMED),
        ("7ff", Verdict.MALFORMED),
    ],
)
async def test_active_directory(sub_code: str, verdict: Verdict) -> None:
    assert (await answered(49, SUB_CODE.format(sub_code)))[0] is verdict


@pytest.mark.parametrize(
    ("code", "text", "verdict"),
    [
        (0, "", Verdict.RIGHT),
        (49, "", Verdict.WRONG),
        (49, "invalid data 775", Verdict.WRONG),
        (32, "", Verdict.UNKNOWN_USER),
        (51, "", Verdict.THROTTLED),
        (19, "Exceed password retry limit. Please try later.", Verdict.LOCKED),
        (53, "Account inactivated. Contact system administrator.", Verdict.DISABLED),
        (53, "NDS error: log account expired (-220)", Verdict.DISABLED),
        (53, "NDS error: bad login time (-218)", Verdict.DISABLED),
        (53, "NDS error: login lockout (-197)", Verdict.LOCKED),
        (53, "NDS error: expired password (-222)", Verdict.DISABLED),
        (
            53,
            "Password Policy Error :9001: GSL_ACCOUNTLOCKED_EXCP : Your account is locked. Contact your administrator.",
            Verdict.LOCKED,
        ),
        (53, "Password Policy Error :9000: GSL_PWDEXPIRED_EXCP : Your Password has expired.", Verdict.DISABLED),
        (53, "Error, Account is locked", Verdict.LOCKED),
        (19, "Account locked due to too many password failures", Verdict.LOCKED),
        # Nothing is known of these words, and they may speak of one person alone.
        (19, "", Verdict.MALFORMED),
        (53, "", Verdict.MALFORMED),
        (53, "unauthenticated bind (DN with no password) disallowed", Verdict.MALFORMED),
        (1, "", Verdict.DOWN),
        (3, "", Verdict.DOWN),
        (8, "", Verdict.DOWN),
        (13, "TLS required", Verdict.DOWN),
        (34, "invalid DN", Verdict.DOWN),
        (52, "", Verdict.DOWN),
        (80, "", Verdict.DOWN),
        (118, "", Verdict.DOWN),
    ],
)
async def test_result_codes(code: int, text: str, verdict: Verdict) -> None:
    assert (await answered(code, text))[0] is verdict


@pytest.mark.parametrize(
    ("code", "value", "verdict"),
    [
        (0, "3000", Verdict.RIGHT),
        (49, "3000", Verdict.WRONG),
        (49, "3003810100", Verdict.RIGHT_MUST_CHANGE),
        (49, "3003810101", Verdict.LOCKED),
        (0, "3003810102", Verdict.RIGHT_MUST_CHANGE),
        (0, "3005a003810102", Verdict.RIGHT_MUST_CHANGE),
        (0, "3005a003810100", Verdict.RIGHT_MUST_CHANGE),
        (0, "3007a00580030186a0", Verdict.RIGHT),
    ],
)
def test_the_password_policy(code: int, value: str, verdict: Verdict) -> None:
    controls = {POLICY_CONTROL: {"value": bytes.fromhex(value)}}
    assert judge({"result": code, "message": "", "controls": controls}) is verdict


@pytest.mark.parametrize("sub_code", ["568", "569", "7ff"])
async def test_an_unknown_sub_code_of_active_directory_says_nothing_about_the_directory(
    sub_code: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert (await answered(49, SUB_CODE.format(sub_code)))[0] is Verdict.MALFORMED
    assert f"sub-code {sub_code}" in caplog.text


async def test_a_policy_that_cannot_be_read_proves_nothing() -> None:
    control = tlv(0x30, tlv(0x04, POLICY_CONTROL.encode()), tlv(0x04, b"\x30\x7f"))
    script = lambda _, __, number, ___, ____: tlv(  # noqa: E731
        0x30, tlv(0x02, number.to_bytes(4)), bind_result(0), tlv(0xA0, control)
    )
    with Responder(script) as directory:
        store = at_once(directory.port)
        assert await store.verify("ann", "s3cret") is Verdict.DOWN
        await store.close()


async def test_a_referral_is_never_followed() -> None:
    with Responder(lambda *_: None) as other:
        verdict, directory = await answered(10, "", tlv(0xA3, tlv(0x04, f"ldap://127.0.0.1:{other.port}/".encode())))
        assert verdict is Verdict.DOWN
        assert b"s3cret" in directory.received
        assert other.connections == 0


async def test_a_reference_beside_the_entry_is_no_second_entry() -> None:
    def script(_: object, __: object, number: int, tag: int, data: bytes) -> bytes:
        if tag == BIND:
            return message(number, bind_result(0 if b"reader" in data or b"cn=ann" in data else 49))
        found = message(number, entry("cn=ann")) if b"contoso" in data else b""
        elsewhere = message(number, reference("ldap://127.0.0.1:9/CN=Configuration"))
        return found + elsewhere + message(number, result(0x65, 0))

    with Responder(script) as directory:
        store = by_search(directory.port)
        assert await store.verify("ann@contoso", "s3cret") is Verdict.RIGHT
        assert await store.verify("ann@other", "s3cret") is Verdict.UNKNOWN_USER
        # Nobody's bind takes as long as somebody's, and does not carry what was typed.
        assert directory.received.count(b"s3cret") == 1
        assert b"cn=nobody-" in directory.received
        assert directory.connections == 3
        await store.close()


async def test_a_connection_that_was_silent_for_long_is_not_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def script(_: object, __: object, number: int, tag: int, ___: bytes) -> bytes:
        done = message(number, result(0x65, 0))
        return message(number, bind_result(0)) if tag == BIND else message(number, entry("cn=ann")) + done

    with Responder(script) as directory:
        store = by_search(directory.port)
        for _ in range(2):
            assert await store.verify("ann", "s3cret") is Verdict.RIGHT
        assert directory.connections == 3
        monkeypatch.setattr("jitkit.endpoint.stores.ldap._IDLE_SECONDS", 0)
        assert await store.verify("ann", "s3cret") is Verdict.RIGHT
        assert directory.connections == 5
        await store.close()


async def test_an_empty_password_is_never_sent() -> None:
    with Responder(lambda _, __, number, *___: message(number, bind_result(0))) as directory:
        store = at_once(directory.port)
        assert await store.verify("ann", "") is Verdict.WRONG
        assert await store.verify("", "s3cret") is Verdict.WRONG
        assert directory.connections == 0
        await store.close()


def _drip(directory: Responder, connection: socket.socket, number: int, *_: object) -> None:
    for byte in message(number, bind_result(0, "x" * 60)):
        if directory.ended.wait(0.3):
            return
        connection.sendall(bytes([byte]))


SILENT = {
    "silence": lambda *_: None,
    "a drip": _drip,
    "another message's number": lambda _, __, number, *___: message(number + 1, bind_result(0)),
    "no LDAP": lambda *_: b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "half an answer, then the end": lambda _, connection, number, *__: (
        connection.sendall(message(number, bind_result(0))[:5]),
        connection.shutdown(socket.SHUT_RDWR),
    )[1],
}


@pytest.mark.parametrize("script", SILENT.values(), ids=SILENT)
async def test_no_answer_is_down_in_time_and_leaves_no_thread(script: object) -> None:
    with Responder(script) as directory:  # type: ignore[arg-type]
        for store in (at_once(directory.port), by_search(directory.port)):
            started = time.monotonic()
            assert await store.verify("ann", "s3cret") is Verdict.DOWN
            assert time.monotonic() - started < 20
            await store.close()
        assert _threads_end()


async def test_a_cancelled_call_ends_its_thread() -> None:
    with Responder(SILENT["a drip"]) as directory:  # type: ignore[arg-type]
        store = at_once(directory.port)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await store.verify("ann", "s3cret")
        await store.close()
        assert _threads_end()


async def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    store = at_once(port)
    assert await store.verify("ann", "s3cret") is Verdict.DOWN
    await store.close()


async def test_nothing_secret_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    for answer in ((49, SUB_CODE.format("568")), (80, "ann@contoso.example s3cret")):
        await answered(*answer)
    with Responder(lambda *_: b"\x30\x03nonsense") as directory:
        store = by_search(directory.port)
        await store.verify("ann@contoso.example", "s3cret")
        await store.prepare(1.0)
        await store.close()
    assert "sub-code 568" in caplog.text
    for secret in ("s3cret", "s3rvice", "ann@contoso"):
        assert secret not in caplog.text
    assert "s3rvice" not in repr(vars(store)["_plan"])


def _threads_end() -> bool:
    """Tell whether the store's threads end by themselves; interpreters wait for them."""
    until = time.monotonic() + 20
    for thread in threading.enumerate():
        if thread.name.startswith("legacy-ldap"):
            thread.join(max(0.0, until - time.monotonic()))
    return not any(thread.name.startswith("legacy-ldap") for thread in threading.enumerate())


@pytest.mark.parametrize(
    ("package", "url", "extra"),
    [
        ("ldap3", "ldaps://host/?bind={username}", "[ldap]"),
        ("psycopg", "postgresql+psycopg://u:s3cret@h/d", "[postgres]"),
    ],
)
def test_a_package_that_is_not_installed_is_named(
    monkeypatch: pytest.MonkeyPatch, package: str, url: str, extra: str
) -> None:
    monkeypatch.delitem(sys.modules, "jitkit.endpoint.stores.ldap")
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(SettingsError) as raised:
        open_store(url)
    assert extra in raised.value.next_step


@pytest.mark.parametrize(
    "url",
    [
        "ldap://cn=reader:s3cret@directory.contoso.example/dc=x",
        "ldaps:///dc=x",
        "ldaps://host/dc=x",
        "ldaps://cn=reader@host/dc=x",
        "ldaps://cn=reader:s3cret@host/",
        "ldaps://cn=reader:s3cret@host:port/dc=x",
        "ldaps://cn=reader:s3c#ret@host/dc=x",
        "ldaps://cn=reader:s3cret@host/dc=x?filter=(mail=ann)",
        "ldaps://cn=reader:s3cret@host/dc=x?filter=((mail={username})",
        "ldaps://cn=reader:s3cret@host/dc=x?password=s3cret",
        "ldaps://cn=reader:s3cret@host/dc=x?bind={username}",
        "ldaps://host/?bind=ann",
        "ldaps://host/?bind={username}&filter=(a=b)",
        "ldaps://host/?bind={username}&ca=/no/such/file.pem",
        "ldaps://host/?bind",
    ],
)
def test_a_url_that_cannot_be_used_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(SettingsError) as raised:
        open_store(url)
    for secret in ("s3c", "reader"):
        assert secret not in str(raised.value)
    assert "LegacyApiConnectionString" in str(raised.value)


def test_a_url_is_read_with_its_encoded_parts() -> None:
    plan = read_url("ldaps://CONTOSO%5Creader:p%40ss%3A%2F%23%25@dc1.contoso.example/OU=Staff%20%26%20more,DC=x")
    assert (plan.host, plan.port, plan.user) == ("dc1.contoso.example", 636, "CONTOSO\\reader")
    assert plan.password == b"p@ss:/#%"
    assert plan.base == "OU=Staff & more,DC=x"
    assert plan.filter == DEFAULT_FILTER
    assert plan.context is not None and plan.context.check_hostname
    assert "p@ss" not in repr(plan)
    assert read_url("ldap://[::1]/?bind={username}@contoso.example").bind == "{username}@contoso.example"

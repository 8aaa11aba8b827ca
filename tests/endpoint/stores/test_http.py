"""What may go wrong between the endpoint and a store that is asked by HTTP: it is DOWN, in time, and tells nothing."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import datetime
import gzip
import json
import logging
import socket
import time
import urllib.parse
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from starlette.requests import Request
from starlette.responses import Response

from jitkit.endpoint.stores import Verdict, open_store
from jitkit.errors import SettingsError

from ..entra import CANARY
from .conftest import Opens
from .stub import Stub, serving

ANN = "ann@contoso.example"
SECRET = "k3y-of-the-endpoint"
GOOD = {"result": "right", "username": ANN, "access_token": "at-1", "token_type": "Bearer"}

URLS = [
    pytest.param(lambda host: f"http://:{SECRET}@{host}/check", id="rest"),
    pytest.param(lambda host: f"oauth2+http://:{SECRET}@{host}/token?client_id=c1&profile=auth0", id="oauth2"),
]
Url = Callable[[str], str]

over_both = pytest.mark.parametrize("url", URLS)


@over_both
async def test_a_good_answer(url: Url, stub: Stub, opens: Opens) -> None:
    stub.say(200, GOOD)
    assert await opens(url(stub.host)).verify(ANN, CANARY) is Verdict.RIGHT


@over_both
async def test_another_status_is_down_whatever_the_body_says(url: Url, stub: Stub, opens: Opens) -> None:
    store = opens(url(stub.host))
    statuses = [201, 202, 204, 206, 404, 405, 409, 415, 500, 502, 503, 504]
    for status in statuses:
        stub.say(status, b"" if status == 204 else GOOD | {"error": "invalid_grant"})
        assert await store.verify(ANN, CANARY) is Verdict.DOWN, status
    assert len(stub.asked) == len(statuses)


@over_both
async def test_a_redirect_gets_no_password(url: Url, stub: Stub, opens: Opens) -> None:
    store = opens(url(stub.host))
    async with serving() as elsewhere:
        elsewhere.say(200, GOOD)
        for status in (301, 302, 303, 307, 308):
            for target in (f"http://{elsewhere.host}/check", "/again"):
                stub.say(status, GOOD, location=target)
                assert await store.verify(ANN, CANARY) is Verdict.DOWN, (status, target)
        assert not elsewhere.asked
    assert [asked.path for asked in stub.asked] == [stub.asked[0].path] * 10


UNREADABLE = {
    "empty": b"",
    "html": b"<html><body>Welcome</body></html>",
    "cut": b"{",
    "list": b"[]",
    "string": b'"right"',
    "number": b"7",
    "null": b"null",
    "bytes": b"\xff\xfe{}",
    "deep": b"[" * 60_000,
    "digits": b"9" * 60_000,
    "huge": json.dumps(GOOD | {"padding": "x" * 70_000}).encode(),
}


@over_both
async def test_what_cannot_be_read_is_down(url: Url, stub: Stub, opens: Opens) -> None:
    store = opens(url(stub.host))
    for status in (200, 400, 401):
        for kind, body in UNREADABLE.items():
            stub.say(status, body)
            assert await store.verify(ANN, CANARY) is Verdict.DOWN, (status, kind)


@over_both
async def test_another_content_type_is_down(url: Url, stub: Stub, opens: Opens) -> None:
    store = opens(url(stub.host))
    for media_type in ("text/html", "text/json", "", "application/jsonp"):
        stub.say(200, GOOD, content_type=media_type)
        assert await store.verify(ANN, CANARY) is Verdict.DOWN, media_type
    stub.say(200, GOOD, content_type="Application/JSON; charset=utf-8")
    assert await store.verify(ANN, CANARY) is Verdict.RIGHT


@over_both
async def test_a_packed_body_is_not_unpacked(url: Url, stub: Stub, opens: Opens) -> None:
    stub.say(200, gzip.compress(json.dumps(GOOD).encode()), content_encoding="gzip")
    assert await opens(url(stub.host)).verify(ANN, CANARY) is Verdict.DOWN
    assert stub.asked[0].headers["accept-encoding"] == "identity"


@over_both
async def test_a_flood_is_left_at_once(url: Url, opens: Opens) -> None:
    sent = 0

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            while sent < 2**30:
                writer.write(b" " * 65536)
                await writer.drain()
                sent += 65536
        writer.close()

    async with await asyncio.start_server(flood, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        assert await opens(url(f"127.0.0.1:{port}")).verify(ANN, CANARY) is Verdict.DOWN
    assert sent < 2**24


@over_both
async def test_a_drip_ends_in_time(url: Url, stub: Stub, opens: Opens) -> None:
    stub.drip()
    started = time.monotonic()
    assert await opens(url(stub.host)).verify(ANN, CANARY) is Verdict.DOWN
    assert time.monotonic() - started < 20


@over_both
async def test_a_cancelled_call_hangs_up_and_leaves_the_store_whole(url: Url, stub: Stub, opens: Opens) -> None:
    store = opens(url(stub.host))
    stub.sleep(30)
    for asked in (20, 40):  # as many connections as the store opens
        calls = [asyncio.create_task(store.verify(ANN, CANARY)) for _ in range(25)]
        await stub.was_asked(asked)
        for call in calls:
            call.cancel()
        assert all(
            isinstance(ended, asyncio.CancelledError) for ended in await asyncio.gather(*calls, return_exceptions=True)
        )
    await stub.hung_up(40)
    assert len(stub.asked) == 40
    stub.say(200, GOOD)
    assert await asyncio.gather(*(store.verify(ANN, CANARY) for _ in range(25))) == [Verdict.RIGHT] * 25


@over_both
async def test_nobody_listens(url: Url, opens: Opens) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    assert await opens(url(f"127.0.0.1:{port}")).verify(ANN, CANARY) is Verdict.DOWN


@over_both
async def test_a_name_that_does_not_resolve(url: Url, opens: Opens) -> None:
    where = url("legacy.invalid").replace("http:", "https:")
    assert await opens(where).verify(ANN, CANARY) is Verdict.DOWN


@over_both
@pytest.mark.parametrize(
    "said",
    [b"", b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n{"],
)
async def test_a_connection_that_breaks(url: Url, said: bytes, opens: Opens) -> None:
    async def broken(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(said)
        writer.close()

    async with await asyncio.start_server(broken, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        assert await opens(url(f"127.0.0.1:{port}")).verify(ANN, CANARY) is Verdict.DOWN


def certificate(folder: Path) -> tuple[str, str]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return str(folder / "cert.pem"), str(folder / "key.pem")


@over_both
async def test_a_certificate_counts(url: Url, opens: Opens, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cert, key = certificate(tmp_path)
    async with serving(ssl_certfile=cert, ssl_keyfile=key) as stub:
        stub.say(200, GOOD)
        where = url(f"localhost:{stub.port}").replace("http:", "https:")
        assert await opens(where).verify(ANN, CANARY) is Verdict.DOWN
        assert not stub.asked
        monkeypatch.setenv("SSL_CERT_FILE", cert)
        assert await opens(where).verify(ANN, CANARY) is Verdict.RIGHT
        other = where.replace("localhost", "127.0.0.1")
        assert await opens(other).verify(ANN, CANARY) is Verdict.DOWN


@over_both
async def test_cookies_are_not_carried_from_one_customer_to_the_next(url: Url, stub: Stub, opens: Opens) -> None:
    store = opens(url(stub.host))
    stub.say(200, GOOD, set_cookie="session=of-ann; Path=/")
    for _ in range(2):
        assert await store.verify(ANN, CANARY) is Verdict.RIGHT
    assert not [asked for asked in stub.asked if "cookie" in asked.headers]


@over_both
async def test_the_connection_is_kept(url: Url, stub: Stub, opens: Opens) -> None:
    ports: set[object] = set()

    async def answer(request: Request) -> Response:
        ports.add(request.client)
        return Response(json.dumps(GOOD), 200, media_type="application/json")

    stub.answer = answer
    store = opens(url(stub.host))
    for _ in range(3):
        assert await store.verify(ANN, CANARY) is Verdict.RIGHT
    assert len(ports) == 1


@over_both
async def test_a_proxy_is_used_for_the_outside_and_never_for_this_machine(
    url: Url, stub: Stub, opens: Opens, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bytes] = []

    async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        writer.close()

    async with await asyncio.start_server(proxy, "127.0.0.1", 0) as server:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        stub.say(200, GOOD)
        assert await opens(url(stub.host)).verify(ANN, CANARY) is Verdict.RIGHT
        assert not asked
        outside = url("legacy.example").replace("http:", "https:")
        assert await opens(outside).verify(ANN, CANARY) is Verdict.DOWN
    assert [line.split(b"\r\n")[0] for line in asked] == [b"CONNECT legacy.example:443 HTTP/1.1"]
    assert CANARY.encode() not in asked[0]


@over_both
async def test_what_nobody_can_have_is_not_sent(url: Url, stub: Stub, opens: Opens) -> None:
    store = opens(url(stub.host))
    stub.say(200, GOOD)
    for username, password in [(ANN, ""), ("", CANARY), (ANN, "\ud800x"), ("\ud800", CANARY)]:
        assert await store.verify(username, password) is Verdict.WRONG
    assert not stub.asked


@over_both
async def test_the_log_tells_no_secret(url: Url, stub: Stub, opens: Opens, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    store = opens(url(stub.host))
    token = "token-that-nobody-keeps"
    telling = {"access_token": token, "error": CANARY, "error_description": f"{CANARY} for {ANN}", "username": CANARY}
    for status, body in [(200, GOOD), (200, telling), (400, telling), (401, telling), (429, telling), (500, telling)]:
        stub.say(status, body | {"result": CANARY})
        await store.verify(ANN, CANARY)
    stub.say(302, b"", location=f"/{CANARY}")
    await store.verify(ANN, CANARY)
    raw = CANARY.encode()
    forms = [CANARY, urllib.parse.quote(CANARY), base64.b64encode(raw).decode().rstrip("="), ANN, SECRET, token]
    own = "\n".join(f"{record.getMessage()} {record.args}" for record in caplog.records if "jitkit" in record.name)
    assert own
    assert not [form for form in forms if form in own]
    sent = "\n".join(f"{record.getMessage()}" for record in caplog.records if "receive" not in record.getMessage())
    assert not [form for form in (forms[0], forms[1], ANN, SECRET) if form in sent]
    assert SECRET not in repr(store)


@pytest.mark.parametrize(
    "url",
    [
        "http://:s3cret@legacy.example/check",
        "http://legacy.example",
        "https://",
        "https://:s3cret@legacy.example:port/",
        "https://:s3cret@[::1/check",
        "https://:s3cret@legacy.example/check?code=s3cret",
        "https://:s3cret@legacy.example/check#s3cret",
        "https://s3cret@legacy.example/check",
        "https://:s3cret@legacy..example/check",
        "https://:s3cret@lega cy.example/check",
        "https://:s3cret@\u2603..example/check",
        "https://ann%3As3cret:p@legacy.example/check",
        "https://:s3cr%C3%A9t-s3cret@legacy.example/check",
        "https://:s3cret%0d%0aset-cookie@legacy.example/check",
        "oauth2+http://:s3cret@legacy.example/token?client_id=c&profile=okta",
        "oauth2+https://:s3cret@legacy.example/token?client_id=c",
        "oauth2+https://:s3cret@legacy.example/token?client_id=c&profile=s3cret",
        "oauth2+https://:s3cret@legacy.example/token?profile=okta",
        "oauth2+https://:s3cret@legacy.example/token?client_id=&profile=okta",
        "oauth2+https://:s3cret@legacy.example/token?client_id=c&profile=okta&client_secret=s3cret",
        "oauth2+https://:s3cret@legacy.example/token?client_id=c&client_id=d&profile=okta",
        "oauth2+https://:s3cret@legacy.example/token?client_id=c&profile=okta&realm=r",
        "oauth2+https://:s3cret@legacy.example/token?client_id=c&profile=okta&password_first=s3cret",
        "oauth2+https://c:s3cret@legacy.example/token?client_id=c&profile=okta",
        "oauth2+https://:s3cret@t.b2clogin.com/t/p/oauth2/v2.0/token?client_id=c",
        "oauth2+https://:s3cret@legacy.example/token?client_id",
        "cognito://:s3cret@eu-west-1/eu-west-1_Abc",
        "cognito://:s3cret@eu-west-1/us-east-1_Abc?client_id=c",
        "cognito://:s3cret@eu-west-1/?client_id=c",
        "cognito://:s3cret@eu-west-1/eu-west-1_Abc?client_id=c&more=s3cret",
        "cognito://c:s3cret@eu-west-1/eu-west-1_Abc?client_id=c",
        "cognito://:s3cret@evil.example/evil.example_Abc?client_id=c",
        "cognito://:s3cret@[eu/eu_Abc?client_id=c",
        "s3cret",
    ],
)
def test_a_url_that_cannot_be_used_is_refused_without_its_secret(url: str) -> None:
    with pytest.raises(SettingsError) as raised:
        open_store(url)
    assert "s3cret" not in str(raised.value)


@over_both
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HTTPS_PROXY", "gopher://:s3cret@proxy.example:1"),
        ("HTTPS_PROXY", "socks5://:s3cret@proxy.example:1"),
        ("SSL_CERT_FILE", "/no/such/file"),
    ],
)
def test_an_environment_that_cannot_be_used_is_named(
    url: Url, name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match="HTTPS_PROXY") as raised:
        open_store(url("127.0.0.1:9"))
    assert "s3cret" not in str(raised.value)

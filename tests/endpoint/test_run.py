"""How the endpoint starts, refuses to start, is reached and stops: production, TLS, logs and what strangers cost."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import io
import json
import logging
import os
import re
import socket
import ssl
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from jitkit.endpoint.caller import SigningKeys
from jitkit.endpoint.ledger import Counters, Entry, Ledger, RateLimit, configure_log
from jitkit.endpoint.serve import _listen
from jitkit.entra_tokens import EncryptionKey, encrypted
from jitkit.errors import SettingsError

from . import entra
from .conftest import Endpoint, Opener
from .entra import AskedStore, Documents
from .test_callout import decision
from .test_serve import ROOT, Start, environment, metadata_url, start

__all__ = ["environment", "metadata_url", "start"]

OTHER = "88888888-8888-4888-8888-888888888888"


@pytest.fixture
def tls(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "tls.pem").write_text(entra.pair_pem("tls"))
    return {"JIT_TLS_CERTIFICATE": str(tmp_path / "tls.pem"), "JIT_TLS_KEY": str(tmp_path / "tls.pem")}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"JIT_PROFILE": "production"}, "in the clear"),
        ({"JIT_PROFILE": "prod"}, "JIT_PROFILE"),
        ({"JIT_PROFILE": "production", "JIT_BEHIND_TLS": "0"}, "in the clear"),
        (
            {"JIT_PROFILE": "production", "JIT_BEHIND_TLS": "1", "JIT_OPENID_CONFIGURATION": "http://localhost/x"},
            "on this machine",
        ),
        (
            {"JIT_PROFILE": "production", "JIT_BEHIND_TLS": "1", "JIT_OPENID_CONFIGURATION": "https://127.0.0.1/x"},
            "on this machine",
        ),
        ({"JIT_BEHIND_TLS": "perhaps"}, "JIT_BEHIND_TLS"),
        ({"JIT_TLS_KEY": "/nowhere/key.pem"}, "Only one"),
        ({"JIT_TLS_CERTIFICATE": "/nowhere/a.pem", "JIT_TLS_KEY": "/nowhere/key.pem"}, "cannot be served"),
        ({"JIT_BYPASS_TOKEN_VALIDATION": "1"}, "JIT_BYPASS_TOKEN_VALIDATION"),
        ({"JIT_TEST_MODE": "true"}, "JIT_TEST_MODE"),
        ({"AuthenticationEvents__BypassTokenValidation": "true"}, "BypassTokenValidation"),
        ({"JIT_EXTENSION_IDS": "mine"}, "JIT_EXTENSION_IDS"),
        ({"JIT_CONTEXT_ISSUER": "ignore"}, "JIT_CONTEXT_ISSUER"),
        ({"JIT_MFA": "wrong"}, "JIT_MFA"),
        ({"JIT_GUESSES": "0"}, "JIT_GUESSES"),
        ({"JIT_GUESSES": "-1"}, "JIT_GUESSES"),
        ({"JIT_CONCURRENCY": "1000"}, "JIT_CONCURRENCY"),
        ({"JIT_BANNED_PASSWORDS": "/nowhere/terms.txt"}, "JIT_BANNED_PASSWORDS is not one"),
        ({"JIT_DEADLINE": "900"}, "JIT_DEADLINE is not one"),
    ],
)
def test_refuses_to_start(changes: dict[str, str], said: str) -> None:
    with pytest.raises(SettingsError) as raised:
        entra.settings(**changes)
    assert said in str(raised.value)
    assert raised.value.__suppress_context__ or raised.value.__context__ is None


def test_a_switched_off_bypass_and_a_front_end_are_no_hindrance() -> None:
    settings = entra.settings(JIT_PROFILE="production", JIT_BEHIND_TLS="1", JIT_BYPASS="0")
    assert settings.behind_tls
    assert settings.openid_configuration == entra.METADATA


def test_a_mismatched_tls_pair_is_refused(tmp_path: Path) -> None:
    (tmp_path / "certificate.pem").write_text(entra.pair_pem("tls"))
    (tmp_path / "key.pem").write_text(entra.private_pem("previous"))
    paths = {"JIT_TLS_CERTIFICATE": str(tmp_path / "certificate.pem"), "JIT_TLS_KEY": str(tmp_path / "key.pem")}
    with pytest.raises(SettingsError, match="cannot be served"):
        entra.settings(**paths)


def test_the_optional_settings_are_read() -> None:
    settings = entra.settings(
        JIT_ACCEPT_WEAK="yes",
        JIT_MFA="block",
        JIT_CONTEXT_ISSUER="require",
        JIT_FLAT_CONTEXT="no",
        JIT_EXTENSION_IDS=f"{OTHER.upper()}, {entra.USER}",
        JIT_GUESSES="7",
        JIT_GUESSES_MINUTES="2",
        JIT_CONCURRENCY="3",
    )
    assert (settings.accept_weak, settings.migrate_mfa) == (True, False)
    assert (settings.require_issuer, settings.flat_context) == (True, False)
    assert settings.extension_ids == {OTHER, entra.USER}
    assert (settings.limits.guesses, settings.limits.guesses_seconds, settings.limits.concurrency) == (7, 120, 3)


@pytest.mark.parametrize("changes", [{"JIT_PROFILE": "production"}, {"DecryptionPrivateKey": ""}])
def test_the_command_refuses_in_words_and_with_exit_code_1(
    environment: dict[str, str], changes: dict[str, str]
) -> None:
    command = [sys.executable, "-m", "helpers", "endpoint", "--port", "0"]
    done = subprocess.run(command, env=environment | changes, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (1, "")
    assert "Next: " in done.stderr
    assert "Traceback" not in done.stderr


def test_serves_https_itself(start: Start, tls: dict[str, str]) -> None:
    _, url = start(**tls)
    assert url.startswith("https://")
    trust = ssl.create_default_context(cadata=entra.pair_pem("tls").partition("-----END PRIVATE KEY-----\n")[2])
    trust.check_hostname = False
    assert httpx.get(url, verify=trust).json()["status"] == "ok"


@pytest.mark.parametrize(("forwarded", "status"), [(None, 403), ("http", 403), ("https, http", 403), ("HTTPS", 200)])
async def test_behind_a_front_end_a_plain_request_is_refused(
    open_endpoint: Opener, forwarded: str | None, status: int
) -> None:
    endpoint = await open_endpoint(JIT_PROFILE="production", JIT_BEHIND_TLS="1")
    headers = {"x-forwarded-proto": forwarded} if forwarded else {}
    assert (await endpoint.post(headers=headers)).status_code == status
    assert (await endpoint.http.get(entra.ROUTE)).status_code == 200
    assert len(endpoint.store.asked) == (status == 200)


async def test_pinned_extensions_and_listeners_alone_may_call(open_endpoint: Opener) -> None:
    good = entra.envelope(entra.context())
    extension, listener = (
        good["data"][f"{name}Id"] for name in ("customAuthenticationExtension", "authenticationEventListener")
    )
    endpoint = await open_endpoint(JIT_EXTENSION_IDS=extension, JIT_LISTENER_IDS=f"{OTHER},{listener.upper()}")
    decision(await endpoint.post(good))
    for changes in ({"customAuthenticationExtensionId": OTHER}, {"authenticationEventListenerId": None}):
        assert (await endpoint.post(entra.envelope(entra.context(), **changes))).status_code == 403
    assert [line["cause"] for line in endpoint.lines()] == ["right", "extension", "listener"]


@pytest.mark.parametrize(("policy", "status"), [("warn", 200), ("require", 400)])
@pytest.mark.parametrize("named", ["api://elsewhere.example/x", None])
async def test_another_issuer_inside_is_counted_or_refused(
    open_endpoint: Opener, caplog: pytest.LogCaptureFixture, policy: str, status: int, named: str | None
) -> None:
    endpoint = await open_endpoint(JIT_CONTEXT_ISSUER=policy)
    assert (await endpoint.post(entra.envelope(entra.context(iss=named)))).status_code == status
    assert len(endpoint.store.asked) == (status == 200)
    assert ("context_issuer" in caplog.text) is (status == 200)


async def test_a_store_that_prepares_does_so_beside_the_first_requests(open_endpoint: Opener) -> None:
    class Preparing(AskedStore):
        budget = 0.0

        async def prepare(self, budget: float) -> None:
            self.budget = budget
            await asyncio.sleep(30)

    store = Preparing()
    endpoint = await open_endpoint(store, JIT_DEADLINE_MS="1000")
    decision(await endpoint.post())
    assert store.budget == 1.0


@pytest.mark.parametrize(("days", "said"), [(20, "ends in 1"), (-3, "certificate_ended: 1")])
async def test_a_certificate_near_and_after_its_end_still_opens_and_is_reported(
    open_endpoint: Opener, caplog: pytest.LogCaptureFixture, days: int, said: str
) -> None:
    key = EncryptionKey.make("ending", days=days)
    endpoint = await open_endpoint(DecryptionPrivateKey=key.pem())
    token = encrypted(entra.unsigned(entra.context_claims()), key)
    decision(await endpoint.post(entra.envelope(token)))
    assert said in caplog.text
    assert (await endpoint.http.get(entra.ROUTE)).json()["certificate_days_left"] == days - 1


async def test_flat_json_inside_is_answered_alike_until_it_is_switched_off(open_endpoint: Opener) -> None:
    body = entra.envelope(entra.jwe(json.dumps(entra.context_claims())))
    assert (await (await open_endpoint(JIT_FLAT_CONTEXT="0")).post(body)).status_code == 400
    decision(await (await open_endpoint()).post(body))


def test_a_ledger_that_is_a_link_is_refused_and_its_target_untouched(tmp_path: Path) -> None:
    target, link = tmp_path / "target", tmp_path / "ledger.jsonl"
    target.write_text("theirs")
    target.chmod(0o644)
    link.symlink_to(target)
    with pytest.raises(SettingsError, match="it is a link"):
        Ledger(str(link))
    assert target.read_text() == "theirs"
    assert target.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("kind", ["pipe", "folder", "/dev/null", "/dev/full"])
def test_a_ledger_that_is_no_file_is_refused(tmp_path: Path, kind: str) -> None:
    path = Path(kind) if kind.startswith("/") else tmp_path / "ledger.jsonl"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    before = path.stat().st_mode
    with pytest.raises(SettingsError, match="cannot be written"):
        Ledger(str(path))
    assert path.stat().st_mode == before


def test_half_a_line_swallows_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk is full for one line, of which a part gets written, and for one of which nothing does."""
    path = tmp_path / "ledger.jsonl"
    path.write_text('{"time": "of a crash')
    ledger, write = Ledger(str(path)), os.write
    ledger.write(Entry("1"))
    monkeypatch.setattr(os, "write", lambda descriptor, line: write(descriptor, line[:10]))
    ledger.write(Entry("2"))

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    ledger.write(Entry("3"))
    monkeypatch.setattr(os, "write", write)
    ledger.write(Entry("4"))
    ledger.write(Entry("5"))
    ledger.close()
    read = []
    for line in path.read_text().splitlines():
        with contextlib.suppress(ValueError):
            read.append(json.loads(line)["time"])
    assert read == ["1", "4", "5"]


async def test_strangers_cannot_fill_the_ledger(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(250):
        assert (await endpoint.post(content=b"{}", token=None)).status_code == 401
    strangers = len(endpoint.lines())
    assert 200 <= strangers <= 240
    decision(await endpoint.post())
    assert len(endpoint.lines()) == strangers + 1


def test_lines_about_strangers_come_back_slowly(tmp_path: Path) -> None:
    now = [0.0]
    ledger = Ledger(str(tmp_path / "ledger.jsonl"), lambda: now[0])
    assert sum(ledger.may_write_of_strangers() for _ in range(1000)) == 200
    now[0] = 10.5
    assert sum(ledger.may_write_of_strangers() for _ in range(1000)) == 10
    ledger.close()


async def test_a_clock_that_is_off_is_reported_and_refused_with_its_own_cause(
    open_endpoint: Opener, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Dated(Documents):
        def answer(self, request: httpx.Request) -> httpx.Response:
            answer = super().answer(request)
            answer.headers["date"] = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() - 600))
            return answer

    endpoint = await open_endpoint(documents=Dated())
    assert (await endpoint.http.get(entra.ROUTE)).json()["clock_seconds_ahead"] in (599, 600, 601)
    now = int(time.time())
    for token in (entra.bearer(exp=now - 400), entra.bearer(nbf=now + 600)):
        assert (await endpoint.post(token=token)).status_code == 401
    assert [line["cause"] for line in endpoint.lines()] == ["clock_skew"] * 2
    # A Date header has whole seconds, so the same second more or less as above.
    assert re.search(r"the clock of this machine is (599|600|601) s ahead", caplog.text)
    assert "clock_skew: 1" in caplog.text


@pytest.mark.parametrize("date", ["", "yesterday", "Mon, 99 Foo 2026 00:00:00 GMT", "x" * 10_000])
async def test_a_date_that_is_none_says_nothing(date: str) -> None:
    def answer(_: httpx.Request) -> httpx.Response:
        return httpx.Response(
            200, json={"issuer": entra.CIAM, "jwks_uri": entra.CIAM, "keys": []}, headers={"date": date}
        )

    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as client:
        keys = SigningKeys([entra.CIAM], client)
        await keys.load()
    assert keys.clock_off is None


def test_a_counters_says_the_first_at_once_and_the_rest_by_number(caplog: pytest.LogCaptureFixture) -> None:
    now = [0.0]
    counters = Counters(lambda: now[0])
    for now[0] in (0.0, 1.0, 2.0, 61.0, 62.0):
        counters.count("unknown_key")
    counters.close()
    counters.close()
    said = [record.getMessage() for record in caplog.records]
    assert said == [
        "unknown_key: 1 since the last line, 1 since the start",
        "unknown_key: 3 since the last line, 4 since the start",
        "unknown_key: 1 since the last line, 5 since the start",
    ]


@pytest.fixture
def log() -> Any:
    """Send the root logger to a text for one test."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    stream = io.StringIO()
    configure_log(stream)
    yield stream
    logging.captureWarnings(False)
    root.handlers, root.level = before, level


def test_log_lines_are_safe_to_ship(log: io.StringIO) -> None:
    try:
        raise ValueError(f"could not bind with {entra.CANARY}")
    except ValueError:
        logging.getLogger("some.library").exception("failed\nTraceback: %s\x1b[0m", entra.CANARY)
    logging.getLogger("some.library").info("chatter")
    (line,) = log.getvalue().splitlines()
    record = json.loads(line)
    assert entra.CANARY not in line
    assert (record["message"], record["level"], record["logger"]) == ("failed", "ERROR", "some.library")
    assert record["error"].startswith("ValueError at test_run.py:")
    assert record["time"].endswith("+00:00")


def test_one_message_cannot_fill_the_log() -> None:
    now = [0.0]
    sparse = RateLimit(lambda: now[0])

    def passed(message: str) -> int:
        record = logging.LogRecord("uvicorn.error", logging.WARNING, "x", 1, message, None, None)
        return sum(sparse.filter(record) for _ in range(100))

    assert [passed("Invalid HTTP request received."), passed("another")] == [20, 20]
    now[0] = 60.0
    assert passed("Invalid HTTP request received.") == 20
    assert sum(passed(f"message {number}") for number in range(2000)) < 10_000


def test_the_process_log_is_json_lines_whatever_arrives(start: Start) -> None:
    process, url = start()
    host, port = url.split("/")[2].split(":")
    with socket.create_connection((host, int(port)), timeout=60) as raw:
        raw.sendall(b"\x16\x03\x01\x02\x00" + entra.CANARY.encode() + b"\r\n\r\n")
        raw.recv(1000)
    assert httpx.get(url).status_code == 200
    process.terminate()
    _, text = process.communicate(timeout=60)
    assert [json.loads(line)["level"] for line in text.splitlines()] == ["WARNING"]
    assert entra.CANARY not in text


def test_small_answers_are_sent_at_once() -> None:
    """asyncio switches Nagle's algorithm off for sockets that name TCP as their protocol, and for no others."""
    with _listen("127.0.0.1", 0) as listener:
        assert listener.proto == socket.IPPROTO_TCP


def test_a_request_that_is_being_answered_gets_its_answer_before_the_end(start: Start) -> None:
    """Half the body arrives, the process is asked to stop, and the other half still gets a decision."""
    process, url = start()
    host, port = url.split("/")[2].split(":")
    body = json.dumps(entra.envelope(entra.context("s3cret"))).encode()
    head = f"POST {entra.ROUTE} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
    head += f"Content-Length: {len(body)}\r\nAuthorization: Bearer {entra.bearer()}\r\n\r\n"
    with socket.create_connection((host, int(port)), timeout=60) as raw:
        raw.sendall(head.encode() + body[:100])
        time.sleep(0.3)
        process.terminate()
        time.sleep(0.3)
        raw.sendall(body[100:])
        answer = b""
        while chunk := raw.recv(65536):
            answer += chunk
    assert answer.startswith(b"HTTP/1.1 200")
    assert b"UpdatePassword" in answer
    assert process.wait(timeout=60) == 0


async def test_a_crowd_of_strangers_does_not_keep_a_known_caller_waiting(endpoint: Endpoint) -> None:
    token = entra.bearer()
    decision(await endpoint.post(token=token))
    strange = [entra.encrypted_bearer(entra.bearer(azp=entra.CLIENT)) for _ in range(100)]
    crowd = asyncio.gather(*(endpoint.post(content=b"{}", token=other) for other in strange))
    decision(await endpoint.post(token=token))
    assert {response.status_code for response in await crowd} == {403, 503}

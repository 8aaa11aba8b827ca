"""The endpoint as its own process, called over loopback, with the legacy store in SQLite."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sqlite3
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from jitkit.endpoint.serve import serve
from jitkit.errors import EndpointDown

from . import entra

ROOT = Path(__file__).parents[2]
SERVE = "{before}; from jitkit.endpoint.serve import serve; serve(host='127.0.0.1', port={port})"


@pytest.fixture
def metadata_url() -> Iterator[str]:
    """Serve one metadata document and its key set on loopback."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            keys = {"keys": [entra.public_jwk("signing")]}
            metadata = {"issuer": entra.CIAM, "jwks_uri": f"{address}/keys"}
            body = json.dumps(keys if self.path == "/keys" else metadata).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    address = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    yield f"{address}/metadata"
    server.shutdown()
    server.server_close()


@pytest.fixture
def environment(tmp_path: Path, metadata_url: str) -> dict[str, str]:
    with contextlib.closing(sqlite3.connect(tmp_path / "legacy.db")) as database, database:
        database.execute("CREATE TABLE legacy_users (username, password_hash, status, must_change)")
        hashed = "{SSHA}yBnyDfXLhzykPbtYzAGC9pwxT8oxMjM0NTY3OA=="
        database.execute("INSERT INTO legacy_users VALUES (' Ann@Contoso.example', ?, 'active', 0)", [hashed])
    ours = entra.environment(
        LegacyApiConnectionString=f"sqlite:///{tmp_path}/legacy.db",
        JIT_OPENID_CONFIGURATION=metadata_url,
        JIT_LEDGER=str(tmp_path / "ledger.jsonl"),
        PYTHONPATH=os.pathsep.join((str(ROOT), str(ROOT / "src"))),
    )
    return {"PATH": os.environ["PATH"]} | ours


Start = Callable[..., tuple[subprocess.Popen[str], str]]


@pytest.fixture
def start(environment: dict[str, str]) -> Iterator[Start]:
    with contextlib.ExitStack() as stack:

        def starter(port: int = 0, before: str = "pass", **changes: str) -> tuple[subprocess.Popen[str], str]:
            process = subprocess.Popen(
                [sys.executable, "-c", SERVE.format(port=port, before=before)],
                env=environment | changes,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            stack.enter_context(process)
            stack.callback(process.kill)
            assert process.stdout is not None
            return process, json.loads(process.stdout.readline())["url"]

        yield starter


def call(url: str, password: str) -> dict[str, Any]:
    response = httpx.post(
        url,
        json=entra.envelope(entra.context(password, "ann@contoso.EXAMPLE ")),
        headers={"authorization": f"Bearer {entra.encrypted_bearer()}"},
    )
    assert response.status_code == 200
    data: dict[str, Any] = response.json()["data"]
    return data


def test_serves_over_loopback_until_it_is_asked_to_stop(start: Start, tmp_path: Path) -> None:
    process, url = start()
    assert httpx.get(url).json()["status"] == "ok"
    actions = [call(url, password)["actions"][0]["@odata.type"] for password in ("s3cret", entra.CANARY)]
    assert actions == ["microsoft.graph.passwordSubmit.UpdatePassword", "microsoft.graph.passwordSubmit.Retry"]
    process.send_signal(signal.SIGTERM)
    output, log = process.communicate(timeout=60)
    assert (process.returncode, output, log) == (0, "", "")
    lines = [json.loads(line) for line in (tmp_path / "ledger.jsonl").read_text().splitlines()]
    assert [line["cause"] for line in lines] == ["weak", "wrong"]
    assert entra.CANARY not in (tmp_path / "ledger.jsonl").read_text()


def test_stops_with_standard_input_when_told_so(start: Start) -> None:
    process, url = start(JIT_STOP_WITH_STDIN="1")
    assert httpx.get(url).status_code == 200
    assert process.stdin is not None
    process.stdin.close()
    assert process.wait(timeout=60) == 0


def test_ends_quietly_while_it_still_listens_to_standard_input(start: Start) -> None:
    process, url = start(JIT_STOP_WITH_STDIN="1")
    assert httpx.get(url).status_code == 200
    process.send_signal(signal.SIGTERM)
    assert process.stderr is not None
    assert (process.wait(timeout=60), process.stderr.read()) == (0, "")


def test_outlives_standard_input_when_not_told_so(start: Start) -> None:
    process, url = start()
    assert process.stdin is not None
    process.stdin.close()
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=0.5)
    assert httpx.get(url).status_code == 200


def test_connections_that_never_finish_a_request_are_dropped_and_idle_ones_are_kept(start: Start) -> None:
    process, url = start(before="import jitkit.endpoint.serve as s; s._SILENT_SECONDS = 1")
    with contextlib.ExitStack() as stack, httpx.Client() as known:
        assert known.get(url).status_code == 200
        kept = list(known._transport._pool.connections)  # type: ignore[attr-defined]
        address = ("127.0.0.1", httpx.URL(url).port)
        nothing, half, dripping = (stack.enter_context(socket.create_connection(address, 60)) for _ in range(3))
        half.sendall(b"POST / HTTP/1.1\r\nhost: x\r\nx-slow: ")
        dripping.sendall(b"POST /x HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n{")
        assert dripping.recv(4096).startswith(b"HTTP/1.1 404")
        dripping.sendall(b"}")
        for connection in (nothing, half, dripping):
            while part := connection.recv(4096):
                assert part == b"{}"
        assert known.get(url).status_code == 200
        assert known._transport._pool.connections == kept  # type: ignore[attr-defined]
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 0


QUICK = (
    "import jitkit.endpoint.serve as s;"
    " s._CONNECTIONS, s._SILENT_SECONDS, s._STRANGER_IDLE, s._HANDSHAKE_SECONDS = 20, 1, 1, 1.0"
)


def test_idle_connections_of_strangers_shut_nobody_out(start: Start) -> None:
    """H1: requests in progress are counted, not connections; and a stranger's idle ones make room."""
    _, url = start(before=QUICK)
    address = ("127.0.0.1", httpx.URL(url).port)
    with contextlib.ExitStack() as stack:
        crowd = [stack.enter_context(socket.create_connection(address, 60)) for _ in range(60)]
        for connection in crowd:
            with contextlib.suppress(OSError):  # it may have made room already
                connection.sendall(f"GET {entra.ROUTE} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
        assert call(url, "s3cret")["actions"]
        for connection in crowd:
            with contextlib.suppress(ConnectionResetError):
                while connection.recv(4096):  # closed by the endpoint, or this would wait for ever
                    pass


def test_a_connection_on_which_entra_called_outlives_those_of_strangers(start: Start) -> None:
    _, url = start(before=QUICK)
    address = ("127.0.0.1", httpx.URL(url).port)
    with contextlib.ExitStack() as stack, httpx.Client() as entras:
        headers = {"authorization": f"Bearer {entra.encrypted_bearer()}"}
        body = entra.envelope(entra.context("s3cret", "ann@contoso.example"))
        assert entras.post(url, json=body, headers=headers).status_code == 200
        kept = list(entras._transport._pool.connections)  # type: ignore[attr-defined]
        crowd = [stack.enter_context(socket.create_connection(address, 60)) for _ in range(60)]
        for connection in crowd:
            with contextlib.suppress(ConnectionResetError):
                while connection.recv(4096):
                    pass
        assert entras.get(url).status_code == 200
        assert entras._transport._pool.connections == kept  # type: ignore[attr-defined]


@pytest.mark.skipif(not Path("/proc/self/limits").exists(), reason="needs /proc")
def test_no_core_file_holds_what_is_in_memory(start: Start) -> None:
    process, _ = start()
    limits = Path(f"/proc/{process.pid}/limits").read_text()
    (core,) = [line.split()[4:6] for line in limits.splitlines() if line.startswith("Max core file size")]
    assert core == ["0", "0"]


def test_silence_before_a_tls_handshake_is_ended(start: Start, tmp_path: Path) -> None:
    pair = tmp_path / "tls.pem"
    pair.write_text(entra.pair_pem("tls"))
    _, url = start(before=QUICK, JIT_TLS_CERTIFICATE=str(pair), JIT_TLS_KEY=str(pair))
    address = ("127.0.0.1", httpx.URL(url).port)
    with contextlib.ExitStack() as stack:
        silent = [stack.enter_context(socket.create_connection(address, 60)) for _ in range(20)]
        assert [connection.recv(1) for connection in silent] == [b""] * 20
    assert httpx.get(url, verify=False).status_code == 200


def test_it_ends_without_an_error_while_a_client_keeps_a_tls_connection(start: Start, tmp_path: Path) -> None:
    pair = tmp_path / "tls.pem"
    pair.write_text(entra.pair_pem("tls"))
    process, url = start(JIT_TLS_CERTIFICATE=str(pair), JIT_TLS_KEY=str(pair))
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    address = ("127.0.0.1", httpx.URL(url).port)
    with socket.create_connection(address, 60) as opened, context.wrap_socket(opened) as kept:
        kept.sendall(f"GET {entra.ROUTE} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
        assert kept.recv(4096).startswith(b"HTTP/1.1 200")
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=60)  # nobody reads the connection, so no goodbye is sent
    assert process.returncode == 0
    assert "exceeded" not in log


def test_every_refusal_has_the_same_body_and_is_not_stored(start: Start) -> None:
    _, url = start()
    host, port = "127.0.0.1", httpx.URL(url).port
    answers = [
        httpx.post(url),
        httpx.post(url, headers={"authorization": "Bearer x"}),
        httpx.post(f"{url}/", headers={"host": "evil.example"}),
        httpx.get(f"{url}/", headers={"host": "evil.example"}),
        httpx.put(url),
        httpx.get(f"http://{host}:{port}/"),
    ]
    with socket.create_connection((host, port), 10) as connection:
        connection.sendall(b"no http\r\n\r\n")
        raw = b"".join(iter(lambda: connection.recv(4096), b""))
    assert [answer.status_code for answer in answers] == [401, 401, 404, 404, 405, 404]
    assert {answer.content for answer in answers} == {b"{}"}
    assert {answer.headers["cache-control"] for answer in (*answers, httpx.get(url))} == {"no-store"}
    assert not any("location" in answer.headers for answer in answers)
    assert raw.startswith(b"HTTP/1.1 400 ")
    assert raw.endswith(b"\r\n\r\n{}")
    assert b"no-store" in raw


@pytest.mark.parametrize(("host", "warns"), [("0.0.0.0", True), ("127.0.0.1", False)])
def test_serving_a_network_in_the_clear_is_warned_about(
    environment: dict[str, str], tmp_path: Path, host: str, warns: bool
) -> None:
    code = SERVE.format(port=0, before="pass").replace("127.0.0.1", host)
    piped: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen([sys.executable, "-c", code], env=environment, text=True, **piped) as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["url"]
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=60)
    assert ("in the clear" in log) is warns


def test_a_ledger_that_nobody_reads_stops_no_sign_in(start: Start) -> None:
    """M9: standard output is a pipe, and its reader has stopped."""
    _, url = start(JIT_LEDGER="-")
    headers = {"authorization": "Bearer " + "x" * 100}
    with httpx.Client(timeout=60) as client:
        for _ in range(300):
            assert client.post(url, headers=headers).status_code == 401
        good = {"authorization": f"Bearer {entra.encrypted_bearer()}"}
        for number in range(120):
            body = entra.envelope(entra.context("s3cret", f"nobody-{number}@contoso.example"))
            body["data"]["authenticationContext"]["user"]["id"] = f"{number:08d}-0000-4000-8000-000000000000"
            assert client.post(url, json=body, headers=good).status_code == 200


def test_a_port_in_use_is_an_error_that_says_what_to_do(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(EndpointDown, match="another one"):
        serve(host="127.0.0.1", port=taken.getsockname()[1])

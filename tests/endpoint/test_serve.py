"""The endpoint as its own process, called over loopback, with the legacy store in SQLite."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sqlite3
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
        PYTHONPATH=str(ROOT),
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
    output, log = process.communicate(timeout=10)
    assert (process.returncode, output, log) == (0, "", "")
    lines = [json.loads(line) for line in (tmp_path / "ledger.jsonl").read_text().splitlines()]
    assert [line["cause"] for line in lines] == ["weak", "wrong"]
    assert entra.CANARY not in (tmp_path / "ledger.jsonl").read_text()


def test_stops_with_standard_input_when_told_so(start: Start) -> None:
    process, url = start(JIT_STOP_WITH_STDIN="1")
    assert httpx.get(url).status_code == 200
    assert process.stdin is not None
    process.stdin.close()
    assert process.wait(timeout=10) == 0


def test_ends_quietly_while_it_still_listens_to_standard_input(start: Start) -> None:
    process, url = start(JIT_STOP_WITH_STDIN="1")
    assert httpx.get(url).status_code == 200
    process.send_signal(signal.SIGTERM)
    assert process.stderr is not None
    assert (process.wait(timeout=10), process.stderr.read()) == (0, "")


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
        nothing, half, dripping = (stack.enter_context(socket.create_connection(address, 10)) for _ in range(3))
        half.sendall(b"POST / HTTP/1.1\r\nhost: x\r\nx-slow: ")
        dripping.sendall(b"POST /x HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n{")
        assert dripping.recv(4096).startswith(b"HTTP/1.1 404")
        dripping.sendall(b"}")
        for connection in (nothing, half, dripping):
            while part := connection.recv(4096):
                assert part == b"Not Found"
        assert known.get(url).status_code == 200
        assert known._transport._pool.connections == kept  # type: ignore[attr-defined]
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=10) == 0


def test_a_port_in_use_is_an_error_that_says_what_to_do(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(EndpointDown, match="another one"):
        serve(host="127.0.0.1", port=taken.getsockname()[1])

"""What Application Insights gets: enough for the queries, and nobody's name."""

from __future__ import annotations

import gzip
import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from jitkit.endpoint.app import create_app
from jitkit.endpoint.stores.base import Verdict
from jitkit.endpoint.telemetry import _OFF
from jitkit.errors import SettingsError

from . import entra
from .entra import CANARY, AskedStore, Documents

USER = "00aa00aa-bb11-cc22-dd33-44ee44ee44ee"


@dataclass
class Insights:
    """Application Insights on loopback: it keeps what arrives."""

    connection: str = ""
    bodies: list[str] = field(default_factory=list)
    status: int = 200

    def items(self, kind: str) -> list[dict[str, Any]]:
        found = [json.loads(line) for body in self.bodies for line in body.splitlines() if line.strip()]
        flat = [each for item in found for each in (item if isinstance(item, list) else [item])]
        return [each for each in flat if each["data"]["baseType"] == kind]


@pytest.fixture
def insights(monkeypatch: pytest.MonkeyPatch) -> Iterator[Insights]:
    kept = Insights()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            kept.bodies.append((gzip.decompress(body) if body[:2] == b"\x1f\x8b" else body).decode())
            answer = b'{"itemsReceived": 1, "itemsAccepted": 1, "errors": []}'
            self.send_response(kept.status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}/"
    kept.connection = f"InstrumentationKey=11111111-1111-1111-1111-111111111111;IngestionEndpoint={address}"
    for name in _OFF:
        monkeypatch.delenv(name, raising=False)
    yield kept
    server.shutdown()
    server.server_close()


async def calls(insights: Insights, telemetry: str, tmp_path: Path, **changes: str) -> Path:
    """Let two people sign in, one of them with a wrong password, and somebody without a token call."""
    ledger = tmp_path / "ledger.jsonl"
    more = {"JIT_TELEMETRY": telemetry, "APPLICATIONINSIGHTS_CONNECTION_STRING": insights.connection, **changes}
    for verdict in (Verdict.RIGHT, Verdict.WRONG):
        documents, store = Documents(), AskedStore(verdict)
        async with documents.client() as client:
            app = create_app(entra.settings(JIT_LEDGER=str(ledger), **more), http=client, store=store)
            async with (
                app.router.lifespan_context(app),
                httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://endpoint") as http,
            ):
                headers = {"authorization": f"Bearer {entra.bearer()}", "content-type": "application/json"}
                body = json.dumps(entra.envelope(entra.context()))
                assert (await http.post(entra.ROUTE, content=body, headers=headers)).status_code == 200
                assert (await http.post(entra.ROUTE, content=body)).status_code == 401
    return ledger


async def test_the_ledgers_lines_arrive_without_anybodys_name(insights: Insights, tmp_path: Path) -> None:
    ledger = await calls(insights, "calls", tmp_path)
    traces = [each["data"]["baseData"] for each in insights.items("MessageData")]
    lines = [json.loads(line) for line in ledger.read_text().splitlines()]
    assert [each["message"] for each in traces] == [
        *("MigratePassword: right", "refused: no_token"),
        *("Retry: wrong", "refused: no_token"),
    ]
    for line, each in zip(lines, traces, strict=True):
        sent = each["properties"]
        told = {name: str(value) for name, value in line.items() if value is not None and name != "user_id"}
        assert told.items() <= sent.items()
        assert "user_id" not in sent
    assert all(re.fullmatch(r"\d+", each["properties"]["certificate_days_left"]) for each in traces)
    everything = "".join(insights.bodies)
    (user,) = {line["user_id"] for line in lines if line["user_id"]}
    for secret in (user, CANARY, "ann@contoso.example", "eyJ"):
        assert secret not in everything
    # Nothing that a library measured or a client's address: only what this module wrote.
    kinds = {each["data"]["baseType"] for body in insights.bodies for each in _items(body)}
    assert kinds == {"MessageData", "RequestData"}
    assert all("ai.location.ip" not in each.get("tags", {}) for body in insights.bodies for each in _items(body))


def _items(body: str) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in body.splitlines() if line.strip()]
    return [each for item in found for each in (item if isinstance(item, list) else [item])]


async def test_each_call_is_a_request_that_the_queries_find(insights: Insights, tmp_path: Path) -> None:
    await calls(insights, "calls", tmp_path)
    requests = [each["data"]["baseData"] for each in insights.items("RequestData")]
    assert [(each["responseCode"], each["success"]) for each in requests] == [("200", True), ("401", False)] * 2
    assert all("JitMigrationEndpoint" in each["name"] for each in requests)
    assert all(re.match(r"0\.00:00:0\d\.\d+", each["duration"]) for each in requests)
    operations = [
        [each["tags"]["ai.operation.id"] for each in insights.items(kind)] for kind in ("RequestData", "MessageData")
    ]
    assert operations[0] == operations[1]
    assert len(set(operations[0])) == 4


async def test_the_users_id_is_sent_when_it_is_asked_for(insights: Insights, tmp_path: Path) -> None:
    ledger = await calls(insights, "users", tmp_path)
    users = {json.loads(line)["user_id"] for line in ledger.read_text().splitlines()} - {None}
    sent = [each["data"]["baseData"]["properties"].get("user_id") for each in insights.items("MessageData")]
    assert sent == [*users, None] * 2


async def test_the_exporter_says_nothing_of_itself_and_fetches_nothing(insights: Insights, tmp_path: Path) -> None:
    before = set(threading.enumerate())
    await calls(insights, "calls", tmp_path)
    left = [each.name for each in set(threading.enumerate()) - before if "process_request" not in each.name]
    assert [name for name in left if not name.startswith("asyncio_")] == []


async def test_sign_ins_go_on_when_telemetry_is_refused(insights: Insights, tmp_path: Path) -> None:
    insights.status = 403
    ledger = await calls(insights, "calls", tmp_path)
    assert len(ledger.read_text().splitlines()) == 4


def test_telemetry_takes_the_place_of_standard_output() -> None:
    more = {"APPLICATIONINSIGHTS_CONNECTION_STRING": "InstrumentationKey=1"}
    with_ = entra.environment(JIT_TELEMETRY="calls", **more)
    without = entra.environment()
    for each in (with_, without):
        each.pop("JIT_LEDGER", None)
    read = entra.Settings.from_environment
    assert (read(with_).ledger, read(without).ledger) == ("", "-")
    assert read(with_ | {"JIT_LEDGER": "-"}).ledger == "-"
    assert "InstrumentationKey" not in repr(read(with_))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"JIT_TELEMETRY": "all"}, "JIT_TELEMETRY is not off or calls or users"),
        ({"JIT_TELEMETRY": "calls"}, "APPLICATIONINSIGHTS_CONNECTION_STRING is missing"),
    ],
)
def test_a_setting_that_cannot_be_followed_is_refused(changes: dict[str, str], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        entra.settings(**changes)


def test_what_is_no_connection_string_is_refused_without_repeating_it() -> None:
    settings = entra.settings(JIT_TELEMETRY="calls", APPLICATIONINSIGHTS_CONNECTION_STRING="my secret")
    with pytest.raises(SettingsError, match="is not a connection string") as refused:
        create_app(settings, store=AskedStore())
    assert "my secret" not in str(refused.value)


def test_nothing_of_opentelemetry_is_imported_without_the_setting() -> None:
    code = (
        "import sys, jitkit.endpoint.serve; print([name for name in sys.modules if name.startswith('opentelemetry')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

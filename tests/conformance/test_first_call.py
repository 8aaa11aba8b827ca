"""What a user reads who runs the suite for the first time, against an endpoint that is not ready for it."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from helpers.__main__ import main
from jitkit.conformance.check import at_url, decides_a_good_call
from jitkit.conformance.config import Accounts
from jitkit.conformance.endpoint import Endpoint
from jitkit.conformance.plugin import Opened, run_cases
from jitkit.conformance.results import Outcome
from jitkit.conformance.server import Server
from jitkit.entra_tokens import EncryptionKey
from jitkit.errors import EndpointDown

from .conftest import bare, short_config

OK = b'{"data": {"actions": []}}'


@asynccontextmanager
async def answering(status: int, body: bytes = b"") -> AsyncIterator[str]:
    server = Server(lambda exchange: exchange.answer(status, body))
    await server.start()
    yield f"{server.url}/x"
    await server.stop()


@pytest.mark.parametrize(
    ("status", "told"),
    [
        (500, "got 500: what does its log say"),
        (404, "is the path in the URL right"),
        (307, "redirects with status 307"),
        (400, "is its private key the one"),
        (403, "are its tenant, extension and listener ids"),
    ],
)
def test_an_endpoint_that_decides_nothing_fails_and_is_told_where_to_look(status: int, told: str) -> None:
    outcomes: list[Outcome] = []

    @asynccontextmanager
    async def opening() -> AsyncIterator[Opened]:
        async with answering(status) as url, at_url(short_config(), url, outcomes.append) as opened:
            yield opened

    run_cases(opening(), ["A1"], outcomes.append)
    assert [(outcome.case.id, outcome.result) for outcome in outcomes] == [("G1", "fail"), ("A1", "fail")]
    assert told in outcomes[0].reason


async def test_one_that_refuses_everybody_is_not_praised_for_it() -> None:
    async with answering(401) as url, bare(short_config(), url) as (endpoint, _):
        endpoint.patience = 0
        with pytest.raises(AssertionError, match="OpenID documents and its app id"):
            await decides_a_good_call(endpoint)


async def test_one_that_decides_without_asking_the_store_is_told_how_to_ask() -> None:
    async with answering(200, OK) as url, bare(short_config(), url) as (endpoint, _):
        with pytest.raises(AssertionError, match="POST JSON with username and password"):
            await decides_a_good_call(endpoint)
        accounts = Accounts.model_validate({"right": {"username": "ann", "password": "x"}})
        own = short_config().model_copy(update={"accounts": accounts})
        await decides_a_good_call(Endpoint(own, url, endpoint.issuer, None))


async def test_a_certificate_that_nobody_knows_is_named_at_once(tmp_path: Path) -> None:
    (tmp_path / "tls.pem").write_text(EncryptionKey.make("nobody's").pem())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "tls.pem")
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    with pytest.raises(EndpointDown, match="TLS") as told:
        async with at_url(short_config(), f"https://127.0.0.1:{port}/x?code=a-function-key", lambda _: None):
            pass
    server.close()
    assert told.value.service == "its certificate cannot be verified"
    assert "plain HTTP" in str(told.value) and "a-function-key" not in str(told.value)


@pytest.mark.parametrize(
    "url", ["", "localhost:7071/api", "http://[x", "http://h:99999/x", "http://h:abc/x", "ftp://h/"]
)
def test_what_is_no_url_is_refused_before_anything_else(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", url, "--config", "nowhere.toml"]) == 1
    assert "Give the whole URL" in capsys.readouterr().err

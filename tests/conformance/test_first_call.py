"""What somebody reads who runs the suite for the first time, against an endpoint that is not ready for it."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from helpers.__main__ import main
from jitkit.conformance.case import Failed
from jitkit.conformance.first_call import good_call
from jitkit.conformance.keys import EncryptionKey
from jitkit.conformance.loopback import Exchange, LoopbackServer
from jitkit.conformance.run import check_url, stand_ins
from jitkit.conformance.world import World
from jitkit.errors import EndpointDown

from .conftest import short_config

OK = b'{"data": {"actions": []}}'


def answering(status: int, body: bytes = b"") -> Callable[[Exchange], Awaitable[None]]:
    return lambda exchange: exchange.answer(status, body)


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
async def test_an_endpoint_that_decides_nothing_fails_and_is_told_where_to_look(status: int, told: str) -> None:
    endpoint = LoopbackServer(answering(status))
    await endpoint.start()
    heard = []
    try:
        outcomes = await check_url(short_config(), f"http://127.0.0.1:{endpoint.port}/x", ["A1"], heard.append)
    finally:
        await endpoint.stop()
    assert heard == outcomes
    assert [(outcome.case.id, outcome.result) for outcome in outcomes] == [("G1", "fail"), ("A1", "fail")]
    assert told in outcomes[0].reason


async def test_one_that_refuses_everybody_is_not_praised_for_it() -> None:
    endpoint = LoopbackServer(answering(401))
    await endpoint.start()
    async with stand_ins(short_config()) as (issuer, legacy):
        world = World(short_config(), f"http://127.0.0.1:{endpoint.port}/x", issuer, legacy)
        world.patience = 0
        with pytest.raises(Failed, match="OpenID documents and its app id"):
            await good_call.run(world)
    await endpoint.stop()


async def test_one_that_decides_without_asking_the_store_is_told_how_to_ask() -> None:
    endpoint = LoopbackServer(answering(200, OK))
    await endpoint.start()
    async with stand_ins(short_config()) as (issuer, legacy):
        world = World(short_config(), f"http://127.0.0.1:{endpoint.port}/x", issuer, legacy)
        with pytest.raises(Failed, match="POST JSON with username and password"):
            await good_call.run(world)
        own = World(replace(short_config(), legacy_url=None, accounts={"right": ("ann", "x")}), world.url, issuer, None)
        await good_call.run(own)
    await endpoint.stop()


async def test_a_certificate_that_nobody_knows_is_named_at_once(tmp_path: Path) -> None:
    (tmp_path / "tls.pem").write_text(EncryptionKey.make("nobody's").pem())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "tls.pem")
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    with pytest.raises(EndpointDown, match="TLS") as told:
        await check_url(short_config(), f"https://127.0.0.1:{port}/x?code=a-function-key", ["A1"], print)
    server.close()
    assert told.value.service == "its certificate cannot be verified"
    assert "plain HTTP" in str(told.value) and "a-function-key" not in str(told.value)


@pytest.mark.parametrize(
    "url", ["", "localhost:7071/api", "http://[x", "http://h:99999/x", "http://h:abc/x", "ftp://h/"]
)
def test_what_is_no_url_is_refused_before_anything_else(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", url, "--config", "nowhere.toml"]) == 1
    assert "Give the whole URL" in capsys.readouterr().err

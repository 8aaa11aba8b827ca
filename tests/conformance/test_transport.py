"""Where the suite opens a connection by hand, it opens it to where the URL points."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from jitkit.conformance.cases import transport
from jitkit.conformance.issuer import Issuer
from jitkit.conformance.legacy import Legacy
from jitkit.conformance.world import World

from .conftest import short_config


@pytest.mark.parametrize(
    ("url", "port"), [("https://h.example/x", 443), ("http://h.example/x", 80), ("https://h.example:8443/x", 8443)]
)
async def test_half_a_body_goes_to_the_port_of_the_url(url: str, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []

    async def open_connection(host: str, port: int, **_: Any) -> Any:
        opened.append((host, port))
        raise ConnectionRefusedError

    monkeypatch.setattr(asyncio, "open_connection", open_connection)
    config = short_config()
    with pytest.raises(ConnectionRefusedError):
        await transport.half_a_body.run(World(config, url, Issuer(config, config.key), Legacy(config)))
    assert opened == [("h.example", port)]

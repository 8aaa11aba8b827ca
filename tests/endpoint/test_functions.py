"""The endpoint inside an Azure Functions worker: it starts once, before the first request; again after a failure."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

import jitkit.endpoint.functions as functions
from jitkit.endpoint.app import ROUTE
from jitkit.endpoint.caller import SigningKeys
from jitkit.endpoint.functions import InFunctions

from .test_serve import environment, metadata_url

__all__ = ["environment", "metadata_url"]


@pytest.fixture
def settings(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """The endpoint's settings, as the host sets them for the worker's process."""
    ours = {name: value for name, value in environment.items() if name not in ("PATH", "PYTHONPATH")}
    for name, value in ours.items():
        monkeypatch.setenv(name, value)
    levels = {name: logging.getLogger(name).level for name in functions._TALKATIVE}
    yield ours
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """Every time at which the signing keys are fetched at a start."""
    seen: list[float] = []
    load = SigningKeys.load

    async def counted(self: SigningKeys, seconds: float = 1.0) -> None:
        seen.append(seconds)
        await load(self, seconds)

    monkeypatch.setattr(SigningKeys, "load", counted)
    yield seen


async def get(app: Any) -> httpx.Response:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x") as client:
        return await client.get(ROUTE)


async def until_ready(app: InFunctions) -> None:
    while not app.ready:  # noqa: ASYNC110 - it becomes ready in a thread of its own
        await asyncio.sleep(0.01)


async def test_signing_keys_and_store_are_there_before_the_first_request(
    settings: dict[str, str], loads: list[float]
) -> None:
    app = InFunctions()
    try:
        assert app.ready and len(loads) == 1
        assert (await get(app)).json()["status"] == "ok"
    finally:
        app.close()


async def test_many_first_requests_at_once_start_it_once(settings: dict[str, str], loads: list[float]) -> None:
    app = InFunctions()
    try:
        answers = await asyncio.gather(*(get(app) for _ in range(20)))
        assert [answer.status_code for answer in answers] == [200] * 20
        assert len(loads) == 1
    finally:
        app.close()


async def test_it_starts_again_by_itself_after_a_failure(
    settings: dict[str, str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A role or a network rule that comes minutes after the app is no reason to stay down."""
    monkeypatch.setenv("LegacyApiConnectionString", "@Microsoft.KeyVault(SecretUri=https://x/secrets/y)")
    app = InFunctions(pause=0.01)
    try:
        answer = await get(app)
        assert not app.ready
        assert (answer.status_code, answer.content, answer.headers["cache-control"]) == (503, b"{}", "no-store")
        assert "LegacyApiConnectionString still holds a Key Vault reference" in caplog.text
        monkeypatch.setenv("LegacyApiConnectionString", settings["LegacyApiConnectionString"])
        await until_ready(app)
        assert (await get(app)).status_code == 200
    finally:
        app.close()


async def test_what_nobody_expected_is_tried_again_too_and_its_text_stays_out_of_the_log(
    settings: dict[str, str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    make, failures = functions.create_app, [RuntimeError("hunter2")]

    def create(*given: Any) -> Any:
        if failures:
            raise failures.pop()
        return make(*given)

    monkeypatch.setattr(functions, "create_app", create)
    app = InFunctions(pause=0.01)
    try:
        await until_ready(app)
        assert "unexpected RuntimeError" in caplog.text and "hunter2" not in caplog.text
    finally:
        app.close()


def test_the_workers_logging_stays_as_it_was(settings: dict[str, str]) -> None:
    before = list(logging.getLogger().handlers)
    app = InFunctions()
    app.close()
    assert logging.getLogger().handlers == before
    assert not logging.getLogger("httpx").isEnabledFor(logging.INFO), "it logs every URL"


async def test_after_its_end_requests_are_refused(settings: dict[str, str]) -> None:
    app = InFunctions()
    assert (await get(app)).status_code == 200
    app.close()
    assert (await get(app)).status_code == 503

"""Single cases against an endpoint that is not there: what they search, and where they connect to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from jitkit.conformance import plugin
from jitkit.conformance.endpoint import TooSlow
from jitkit.conformance.plugin import Opened, run_cases

from .conftest import bare, short_config

PASSWORD = "Canary-in-a-log-1!"


def search(case: str, *logs: Path, tokens: set[str] = frozenset()) -> str:  # type: ignore[assignment]
    """The result and reason of a search in logs."""

    @asynccontextmanager
    async def opening() -> AsyncIterator[Opened]:
        async with bare(short_config(*logs)) as (endpoint, _):
            endpoint.passwords.add(PASSWORD)
            endpoint.tokens |= tokens
            yield endpoint, None

    (outcome,) = run_cases(opening(), [case])
    return f"{outcome.result}: {outcome.reason}"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-le", "utf-16-be"])
def test_a_password_is_found_in_whatever_a_shell_wrote(tmp_path: Path, encoding: str) -> None:
    log = tmp_path / "app.log"
    log.write_bytes(f"Executed: {PASSWORD}\r\n".encode(encoding))
    assert search("P1", log).startswith("fail: 1 of 1 passwords")


def test_a_log_that_is_not_there_was_not_searched(tmp_path: Path) -> None:
    log, absent = tmp_path / "app.log", tmp_path / "errors.log"
    log.write_text("nothing")
    assert search("P1", log) == "pass: "
    assert "errors.log could not be searched" in search("P1", log, absent)
    assert search("P1", absent) == "skipped: the logs that the configuration names are not there"
    assert search("P1") == "skipped: the configuration names no logs to search"
    log.write_text(PASSWORD)
    assert search("P1", log, absent).startswith("fail")


def test_a_token_is_found_by_its_signature_and_not_by_two_characters_of_it(tmp_path: Path) -> None:
    log = tmp_path / "app.log"
    log.write_text("key dGhlIGtleQAAc2\n")
    tokens = {f"{'h' * 60}.{'c' * 60}.AA", f"{'h' * 60}.{'c' * 60}.{'s' * 43}"}
    assert search("P6", log, tokens=tokens) == "pass: "
    for written in ("s" * 43, f"{'h' * 60}.{'c' * 60}.AA"):
        log.write_text(f"Authorization failed: {written}")
        assert search("P6", log, tokens=tokens).startswith("fail: 1 of 2 tokens")


@pytest.mark.parametrize(
    ("url", "port"), [("https://h.example/x", 443), ("http://h.example/x", 80), ("https://h.example:8443/x", 8443)]
)
def test_half_a_body_goes_to_the_port_of_the_url(url: str, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []

    async def open_connection(host: str, port: int, **_: Any) -> Any:
        opened.append((host, port))
        raise ConnectionRefusedError

    monkeypatch.setattr(asyncio, "open_connection", open_connection)
    (outcome,) = run_cases(bare(short_config(), url), ["T7"])
    assert (opened, outcome.result) == ([("h.example", port)], "fail")


@pytest.mark.parametrize(
    ("late", "shares", "verdict"),
    [
        (0, [], "passed"),
        (1, [1.0], "passed"),
        (2, [0.3, 1.0], "passed"),
        (3, [1.0, 1.0], "late"),
        (3, [0.3, 1.0, 1.0], "late"),
        (3, [1.0, 0.3, 0.3], "too busy to judge time: the suite got 30%"),
    ],
)
async def test_one_late_answer_is_no_verdict(
    late: int, shares: list[float], verdict: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks, attempts = iter(shares), iter(range(late))
    monkeypatch.setattr(plugin, "_DRAIN", 0)
    monkeypatch.setattr(plugin, "_share_of_two_processors", lambda: next(looks))

    async def case() -> None:
        if next(attempts, None) is not None:
            raise TooSlow("late")

    try:
        await plugin._judged(case)
        said = "passed"
    except (TooSlow, pytest.skip.Exception) as problem:
        said = str(problem)
    assert verdict in said
    assert next(looks, None) is None, "it looked at the machine as often as expected"

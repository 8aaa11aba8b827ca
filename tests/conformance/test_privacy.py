"""The search of an endpoint's logs: in whatever form they are written, and not half of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from jitkit.conformance.case import Failed, Skipped
from jitkit.conformance.cases import privacy
from jitkit.conformance.issuer import Issuer
from jitkit.conformance.legacy import Legacy
from jitkit.conformance.world import World

from .conftest import short_config

PASSWORD = "Canary-in-a-log-1!"


def world(*logs: Path) -> World:
    config = replace(short_config(), logs=logs)
    made = World(config, "http://127.0.0.1:9/", Issuer(config, config.key), Legacy(config))
    made.passwords.add(PASSWORD)
    return made


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-le", "utf-16-be"])
async def test_a_password_is_found_in_whatever_a_shell_wrote(tmp_path: Path, encoding: str) -> None:
    log = tmp_path / "app.log"
    log.write_bytes(f"Executed: {PASSWORD}\r\n".encode(encoding))
    with pytest.raises(Failed, match="1 of 1 passwords"):
        await privacy.passwords.run(world(log))


async def test_a_log_that_is_not_there_was_not_searched(tmp_path: Path) -> None:
    (tmp_path / "app.log").write_text("nothing")
    await privacy.passwords.run(world(tmp_path / "app.log"))
    with pytest.raises(Skipped, match=r"errors\.log could not be searched"):
        await privacy.passwords.run(world(tmp_path / "app.log", tmp_path / "errors.log"))
    (tmp_path / "app.log").write_text(PASSWORD)
    with pytest.raises(Failed):
        await privacy.passwords.run(world(tmp_path / "app.log", tmp_path / "errors.log"))


async def test_a_token_is_found_by_its_signature_and_not_by_two_characters_of_it(tmp_path: Path) -> None:
    log = tmp_path / "app.log"
    log.write_text("key dGhlIGtleQAAc2\n")
    searched = world(log)
    searched.tokens |= {f"{'h' * 60}.{'c' * 60}.AA", f"{'h' * 60}.{'c' * 60}.{'s' * 43}"}
    await privacy.tokens.run(searched)
    for written in ("s" * 43, f"{'h' * 60}.{'c' * 60}.AA"):
        log.write_text(f"Authorization failed: {written}")
        with pytest.raises(Failed, match="1 of 2 tokens"):
            await privacy.tokens.run(searched)

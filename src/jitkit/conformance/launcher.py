"""Start endpoints as child processes, with settings for the suite, and keep what they say."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from jitkit.conformance.case import Failed
from jitkit.conformance.config import Config
from jitkit.conformance.issuer import Issuer
from jitkit.conformance.legacy import Legacy
from jitkit.errors import EndpointDown

__all__ = ["OWN", "Launcher", "Started", "settings_for"]

OWN: Final = (sys.executable, "-m", "helpers", "endpoint", "--host", "127.0.0.1", "--port", "0")

_ROOT: Final = Path(__file__).resolve().parents[3]
_START_SECONDS: Final = 30.0
_OURS: Final = (
    "JIT_",
    "DECRYPTIONPRIVATEKEY",
    "LEGACYAPI",
    "KEYVAULTURL",
    "CIAMJIT",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
)


def settings_for(config: Config, issuer: Issuer, legacy: Legacy | None) -> dict[str, str]:
    """Return the settings of an endpoint under test, private keys aside."""
    settings = {
        "JIT_TENANT_ID": config.tenant_id,
        "JIT_EXTENSION_APP_ID": config.app_id,
        "JIT_IDENTIFIER_URI": config.identifier_uri,
        "JIT_OPENID_CONFIGURATION": ",".join(issuer.documents),
    }
    return settings | ({"LegacyApiConnectionString": legacy.url} if legacy else {})


@dataclass
class Started:
    """One running endpoint.

    Args:
        url: where it listens.
        process: the child.
        ledger: its ledger.
        log: what it writes to standard error.
    """

    url: str
    process: asyncio.subprocess.Process = field(repr=False)
    ledger: Path
    log: Path

    async def stop(self) -> int:
        """Ask it to end, insist after six seconds, and return its exit code."""
        with contextlib.suppress(ProcessLookupError):
            self.process.terminate()
        try:
            return await asyncio.wait_for(self.process.wait(), 6)
        except TimeoutError:
            await self.kill()
            return -9

    async def kill(self) -> None:
        """End it without a word."""
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        await self.process.wait()


class Launcher:
    """Start the same command with the suite's settings, as often as the cases want.

    Args:
        settings: the environment settings that every endpoint gets.
        folder: where their ledgers and words go; owner-only.
        command: the command; it prints one JSON line with its `url`.
    """

    def __init__(self, settings: Mapping[str, str], folder: Path, command: Sequence[str] = OWN) -> None:
        self._settings = dict(settings)
        self._folder = folder
        self._command = tuple(command)
        self._numbers = itertools.count(1)
        self._started: list[Started] = []

    async def start(self, **changes: str) -> Started:
        """Start one more endpoint, and wait until it listens.

        Args:
            changes: settings that replace the usual ones; an empty one is left out.

        Raises:
            EndpointDown: it did not start.
        """
        process, out, err, ledger = await self._spawn(changes)
        until = time.monotonic() + _START_SECONDS
        while time.monotonic() < until and process.returncode is None:
            line = out.read_text().partition("\n")
            if line[1]:
                started = Started(json.loads(line[0])["url"], process, ledger, err)
                self._started.append(started)
                return started
            await asyncio.sleep(0.02)
        await Started("", process, ledger, err).kill()
        raise EndpointDown(
            "The endpoint did not start.",
            service="\n".join(err.read_text().strip().splitlines()[-6:]) or "nothing",
            next_step="Mend what it says, then run the same command.",
        )

    async def refusal(self, **changes: str) -> str:
        """Start an endpoint that must refuse to start; return what it said.

        Raises:
            Failed: it started, or ended without a word.
        """
        process, out, err, _ = await self._spawn(changes)
        until = time.monotonic() + _START_SECONDS
        while time.monotonic() < until and process.returncode is None:
            if out.read_text():
                break
            await asyncio.sleep(0.02)
        if process.returncode is None:
            await Started("", process, out, err).kill()
            raise Failed("it started")
        if process.returncode == 0:
            raise Failed("it ended with exit code 0")
        if not (said := err.read_text()).strip():
            raise Failed("it ended without saying why")
        return said

    async def close(self) -> None:
        """Stop what still runs."""
        for started in self._started:
            if started.process.returncode is None:
                await started.stop()

    async def _spawn(self, changes: Mapping[str, str]) -> tuple[asyncio.subprocess.Process, Path, Path, Path]:
        number = next(self._numbers)
        out, err, ledger = (self._folder / f"{name}-{number}" for name in ("output", "errors", "ledger"))
        outside = {name: value for name, value in os.environ.items() if not name.upper().startswith(_OURS)}
        settings = self._settings | {"JIT_LEDGER": str(ledger), "JIT_STOP_WITH_STDIN": "1", **changes}
        with _own_file(out) as to_out, _own_file(err) as to_err:
            process = await asyncio.create_subprocess_exec(
                *self._command,
                env=outside | {name: value for name, value in settings.items() if value},
                cwd=_ROOT,
                stdin=asyncio.subprocess.PIPE,
                stdout=to_out,
                stderr=to_err,
            )
        return process, out, err, ledger


@contextlib.contextmanager
def _own_file(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)

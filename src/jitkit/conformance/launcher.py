"""Starts endpoints as child processes with settings for the suite, and reads what they write."""

from __future__ import annotations

import asyncio
import itertools
import os
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from jitkit.conformance.config import Config
from jitkit.conformance.issuer import Issuer
from jitkit.conformance.legacy_store import LegacyStore
from jitkit.endpoint_process import EndpointProcess, own_command
from jitkit.errors import EndpointDown

# Settings and proxies of the surrounding shell that would change the endpoint under test.
_ENDPOINT: Final = ("JIT_", "DECRYPTIONPRIVATEKEY", "LEGACYAPI", "KEYVAULTURL", "CIAMJIT")
_PROXIES: Final = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")


def settings_for(config: Config, issuer: Issuer, legacy: LegacyStore | None) -> dict[str, str]:
    """Return the settings of an endpoint under test, without its private keys."""
    settings = {
        "JIT_TENANT_ID": config.tenant_id,
        "JIT_EXTENSION_APP_ID": config.app_id,
        "JIT_IDENTIFIER_URI": config.identifier_uri,
        "JIT_OPENID_CONFIGURATION": ",".join(issuer.documents),
    }
    return settings | ({"LegacyApiConnectionString": legacy.url} if legacy else {})


def own_settings(config: Config) -> dict[str, str]:
    """Return what the kit's endpoint needs besides: private keys, and all its checks."""
    settings = {
        "DecryptionPrivateKey": config.certificate.pem(),
        "JIT_CONTEXT_ISSUER": "require",
        "JIT_FLAT_CONTEXT": "0",
        "JIT_EXTENSION_IDS": config.extension_id,
        "JIT_LISTENER_IDS": config.listener_id,
    }
    previous = config.previous_certificate
    return settings | ({"DecryptionPrivateKeyPrevious": previous.pem()} if previous else {})


@dataclass
class Started:
    """A running endpoint, and the files that it writes."""

    process: EndpointProcess = field(repr=False)
    ledger: Path

    @property
    def url(self) -> str:
        """Where it listens."""
        return self.process.url

    @property
    def log(self) -> Path:
        """What it writes to standard error."""
        return self.process.log

    async def reports(self, word: str, seconds: float) -> bool:
        """Wait until a word turns up in its log or ledger; returns whether it did."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            written = (path.read_text(errors="replace") for path in (self.log, self.ledger) if path.exists())
            if any(word in text.lower() for text in written):
                return True
            await asyncio.sleep(0.1)
        return False


class Launcher:
    """Starts the same command with the suite's settings, as often as the cases need.

    The command prints one JSON line with its `url`. Ledgers and logs go to an owner-only folder.
    """

    def __init__(self, settings: Mapping[str, str], folder: Path, command: Sequence[str] = own_command()) -> None:
        self._settings = dict(settings)
        self._folder = folder
        self._command = tuple(command)
        self._numbers = itertools.count(1)
        self._started: list[EndpointProcess] = []

    async def start(self, **changes: str) -> Started:
        """Start one more endpoint with changed settings (an empty one is left out), and wait until it listens."""
        started = self._spawn(changes)
        if await started.process.wait_until_listening():
            return started
        await started.process.kill()
        raise EndpointDown(
            "The endpoint did not start.",
            service=started.process.last_words() or "nothing",
            next_step="Fix what it says, then run the same command.",
        )

    @asynccontextmanager
    async def running(self, **changes: str) -> AsyncIterator[Started]:
        """Start one more endpoint, and stop it at the end."""
        started = await self.start(**changes)
        try:
            yield started
        finally:
            await started.process.stop()

    async def refusal(self, **changes: str) -> str:
        """Start an endpoint that must refuse to start; return what it said."""
        process = self._spawn(changes).process
        listens = await process.wait_until_listening()
        if process.running or listens:
            await process.kill()
            raise AssertionError("it started")
        assert process.process.returncode != 0, "it ended with exit code 0"
        said = process.log.read_text()
        assert said.strip(), "it ended without saying why"
        return said

    async def close(self) -> None:
        """Stop the endpoints that still run."""
        for process in self._started:
            await process.stop()

    def _spawn(self, changes: Mapping[str, str]) -> Started:
        number = next(self._numbers)
        ledger = self._folder / f"ledger-{number}"
        outside = {
            name: value for name, value in os.environ.items() if not name.upper().startswith(_ENDPOINT + _PROXIES)
        }
        settings = self._settings | {"JIT_LEDGER": str(ledger), **changes}
        environment = outside | {name: value for name, value in settings.items() if value}
        process = EndpointProcess(self._command, environment, self._folder / f"errors-{number}")
        self._started.append(process)
        return Started(process, ledger)

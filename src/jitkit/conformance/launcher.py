"""Starts endpoints as child processes with settings for the suite, and reads what they write."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from jitkit.conformance.config import Config
from jitkit.conformance.endpoint import becomes_true
from jitkit.conformance.issuer import Issuer
from jitkit.conformance.legacy_store import LegacyStore
from jitkit.endpoint_process import EndpointProcess
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
    return settings | ({"LegacyApiConnectionString": legacy.server.url} if legacy else {})


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


class Started(EndpointProcess):
    """A running endpoint, and the ledger that it writes."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], log: Path, ledger: Path) -> None:
        super().__init__(command, environment, log)
        self.ledger = ledger

    async def reports(self, word: str, seconds: float) -> bool:
        """Wait until a word turns up in its log or ledger; returns whether it did."""
        files = (self.log, self.ledger)
        return await becomes_true(
            lambda: any(word in path.read_text(errors="replace").lower() for path in files if path.exists()), seconds
        )


class Launcher:
    """Starts the same command with the suite's settings, as often as the cases need.

    The command prints one JSON line with its `url`. Ledgers and logs go to an owner-only folder.
    """

    def __init__(self, settings: Mapping[str, str], folder: Path, command: Sequence[str]) -> None:
        outside = (name for name in os.environ if not name.upper().startswith(_ENDPOINT + _PROXIES))
        self._environment = {name: os.environ[name] for name in outside} | dict(settings)
        self._folder = folder
        self._command = command
        self._started: list[Started] = []

    async def start(self, **changes: str) -> Started:
        """Start one more endpoint with changed settings (an empty one is left out), and wait until it listens."""
        started = self._spawn(changes)
        if await started.wait_until_listening():
            return started
        await started.kill()
        raise EndpointDown(
            "The endpoint did not start.",
            service=started.last_words() or "nothing",
            next_step="Fix what it says, then run the same command.",
        )

    @asynccontextmanager
    async def running(self, **changes: str) -> AsyncIterator[Started]:
        """Start one more endpoint, and stop it at the end."""
        started = await self.start(**changes)
        try:
            yield started
        finally:
            await started.stop()

    async def refusal(self, **changes: str) -> str:
        """Start an endpoint that must refuse to start; return what it said."""
        started = self._spawn(changes)
        listens = await started.wait_until_listening()
        if started.running or listens:
            await started.kill()
            raise AssertionError("it started")
        assert started.process.returncode != 0, "it ended with exit code 0"
        said = started.log.read_text()
        assert said.strip(), "it ended without saying why"
        return said

    async def close(self) -> None:
        """Stop the endpoints that still run."""
        for started in self._started:
            await started.stop()

    def _spawn(self, changes: Mapping[str, str]) -> Started:
        number = len(self._started) + 1
        ledger = self._folder / f"ledger-{number}"
        settings = self._environment | {"JIT_LEDGER": str(ledger), **changes}
        environment = {name: value for name, value in settings.items() if value}
        started = Started(self._command, environment, self._folder / f"errors-{number}", ledger)
        self._started.append(started)
        return started

"""The endpoint on your bench: run it here, look at a callout, throw good and bad ones at it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from helpers.layers import peel
from helpers.local_endpoint import LocalEndpoint
from helpers.settings import Profile
from helpers.spoilt import spoilt
from jitkit.display import Card, Table
from jitkit.errors import EndpointDown, NotReady, SettingsError

if TYPE_CHECKING:
    from helpers.tenant.apps import ExtensionApp
    from helpers.tenant.encryption_key import EncryptionKey
    from helpers.worlds import World

__all__ = ["Bench"]

_ONLY_ENTRA = "skipped in live mode: only Entra can sign a callout of a real tenant; notebook 07 makes it do so"

_LEDGER = ("time", "action", "cause", "legacy", "duration_ms", "attempt", "correlation_id")


class Bench:
    """Run the endpoint on this machine and try it out.

    Args:
        world: composes callouts and leads the public host name here.
        profile: names the host and the port.
        folder: where the tenant's legacy copy, ledger and log are.
        app: the extension's app registration, which the endpoint's settings are read from.
        key: the encryption key.
        tenant_id: the tenant's id; each tenant has a ledger of its own.
    """

    def __init__(
        self, world: World, profile: Profile, folder: Path, app: ExtensionApp, key: EncryptionKey, tenant_id: str
    ) -> None:
        self._world = world
        self._profile = profile
        self._folder = folder
        self._app = app
        self._key = key
        self._tenant_id = tenant_id
        self._process = LocalEndpoint(folder)

    @property
    def ledger_path(self) -> Path:
        """The endpoint's ledger."""
        return self._folder / f"ledger-{self._tenant_id}.jsonl"

    async def ensure(self) -> Card:
        """Start the endpoint here, or keep the one that runs, and lead the public host name to it.

        It is restarted when its key, store or registration is no longer current; another notebook's makes way for it.

        Returns:
            Where it listens, how Entra reaches it, which store it asks.

        Raises:
            NotReady: the app registration, the key or the legacy export is missing.
            EndpointDown: it does not start.
        """
        before = self._process.url if self._process.running else None
        store, settings = await self._settings()
        url = await self._process.start(settings, port=self._profile.endpoint_port)
        reached = self._world.publish(self._profile.endpoint_host, url.split("/api/")[0])
        return Card(
            title="Local endpoint",
            status="started" if before is None else "reused" if before == url else "restarted",
            facts={
                "Listens at": url,
                "Entra calls": self._profile.target_url,
                "How Entra gets here": reached,
                "Legacy store": store,
                "Ledger": str(self.ledger_path),
            },
        )

    async def show(self) -> Card:
        """Ask the endpoint how it is, with the GET that a monitor sends."""
        answer = await self._process.health()
        return Card(
            title="Endpoint health",
            status="answers" if answer.status_code == 200 else f"answers {answer.status_code}",
            facts={"GET": self._process.url or "", "Body": answer.text},
        )

    async def stop(self) -> Card:
        """Stop the endpoint; Entra's next call finds nobody."""
        was_running = self._process.running
        await self._process.stop()
        return Card(title="Local endpoint", status="stopped" if was_running else "was not running")

    async def context(self, username: str) -> Card | Table:
        """Open the encrypted password context of one callout, layer by layer.

        Args:
            username: one of the invented people.
        """
        callout = await self._world.compose(username, None)
        if callout is None:
            return Card(title="Password context", status=_ONLY_ENTRA)
        return peel(callout.context, self._key.private_key_path)

    async def envelope(self, username: str) -> Card | Table:
        """Show the JSON around the password context, as Entra would send it."""
        callout = await self._world.compose(username, None)
        if callout is None:
            return Card(title="Callout", status=_ONLY_ENTRA)
        body = {
            **callout.body,
            "data": {**callout.body["data"], "encryptedPasswordContext": "(five parts, opened in the next step)"},
        }
        return Card(
            title="Callout",
            status="composed, not sent",
            facts={
                "POST": callout.target_url,
                "Authorization": "Bearer … (a token that only the tenant can sign; never shown)",
                "Body": json.dumps(body, indent=2),
            },
        )

    async def try_person(self, username: str, *, password: str | None = None) -> Card:
        """Send the endpoint the callout of one invented person and show its answer.

        Args:
            username: what the person types as name.
            password: what the person types as password; without it, the right one.

        Raises:
            EndpointDown: the endpoint does not run here.
        """
        callout = await self._world.compose(username, password)
        if callout is None:
            return Card(title=f"{username} signs in", status=_ONLY_ENTRA)
        answer, milliseconds = await self._post(callout.headers, callout.body)
        data = answer.json()["data"] if answer.status_code == 200 else {}
        action = data["actions"][0] if data else {}
        facts = {
            "HTTP status": str(answer.status_code),
            "Action": action.get("@odata.type", "none"),
            "Title and message": " · ".join(action[name] for name in ("title", "message") if action.get(name))
            or "none",
            "Nonce": "the one that was sent" if data.get("nonce") == callout.nonce else "another one, or none",
            "Took": f"{milliseconds:.0f} ms of the 2,000 that Entra waits",
        }
        return Card(title=f"{username} signs in", status=str(facts["Action"]).rsplit(".", 1)[-1], facts=facts)

    async def try_bad(self, username: str) -> Card | Table:
        """Send the endpoint callouts that nobody should answer and show how it refuses each.

        Args:
            username: one of the invented people, whose callout is spoilt.
        """
        callout = await self._world.compose(username, None)
        if callout is None:
            return Card(title="Bad callouts", status=_ONLY_ENTRA)
        rows = []
        for attempt in spoilt(callout):
            answer, _ = await self._post(attempt.headers, attempt.body)
            rows.append((attempt.what, answer.status_code, self._last_cause()))
        return Table(
            caption="Callouts that nobody should answer",
            columns=("What is wrong", "HTTP status", "Cause in the ledger"),
            rows=rows,
            note="The caller learns the status alone; the cause is for you.",
        )

    def ledger(self, last: int = 10) -> Table:
        """Show the last lines of the endpoint's ledger.

        Args:
            last: how many.
        """
        lines = self.ledger_lines()[-last:]
        return Table(
            caption="The endpoint's ledger, last lines",
            columns=("Time (UTC)", "Action", "Cause", "Store", "Took (ms)", "Attempt", "Correlation id"),
            rows=[tuple(_shown(line, name) for name in _LEDGER) for line in lines],
            note="No name, password, nonce or token is ever in it.",
        )

    async def settings(self) -> dict[str, str]:
        """Return the environment settings of the endpoint on this machine; they hold the private key.

        Raises:
            NotReady: the app registration, the key or the legacy export is missing.
        """
        return (await self._settings())[1]

    async def _settings(self) -> tuple[str, dict[str, str]]:
        app = await self._app.show()
        key, previous = self._key.private_key_path, self._key.previous_key_path
        if not key.is_file():
            raise NotReady("There is no private key on this machine.", next_step="Run notebook 04-key-pair first.")
        words, store = await asyncio.to_thread(self._store)
        settings = {
            "JIT_TENANT_ID": self._tenant_id,
            "JIT_EXTENSION_APP_ID": app.app_id,
            "JIT_IDENTIFIER_URI": app.identifier_uri,
            "JIT_OPENID_CONFIGURATION": self._world.documents(),
            "DecryptionPrivateKey": key.read_text(encoding="utf-8"),
            "DecryptionPrivateKeyPrevious": previous.read_text(encoding="utf-8") if previous.is_file() else "",
            "LegacyApiConnectionString": store,
            "JIT_LEDGER": str(self.ledger_path),
        }
        return words, {name: value for name, value in settings.items() if value}

    def _store(self) -> tuple[str, str]:
        own = os.environ.get("LegacyApiConnectionString")
        if own:
            return "the one that the environment names (LegacyApiConnectionString)", own
        from helpers.legacy_export.copy import legacy_copy

        if "?" in str(self._folder):
            raise SettingsError(
                f"{self._folder} has a question mark, which a database's address cannot hold.",
                next_step="Set JIT_KIT_HOME to a folder without one.",
            )
        export = self._world.export()
        return f"SQLite, made from {export.name}", f"sqlite:///{legacy_copy(export, self._folder)}"

    async def _post(self, headers: dict[str, str], body: dict[str, Any] | str) -> tuple[httpx.Response, float]:
        if not (self._process.running and self._process.url):
            raise EndpointDown("The endpoint is not running here.", next_step="Run `await s.endpoint.ensure()` first.")
        content = body if isinstance(body, str) else json.dumps(body)
        async with httpx.AsyncClient(trust_env=False, timeout=10) as client:
            started = time.perf_counter()
            try:
                answer = await client.post(self._process.url, content=content, headers=headers)
            except httpx.TransportError as problem:
                raise EndpointDown(
                    "The endpoint does not answer.",
                    service=type(problem).__name__,
                    next_step="Run `await s.endpoint.stop()` and `await s.endpoint.ensure()`, then this cell again.",
                ) from None
            return answer, (time.perf_counter() - started) * 1000

    def ledger_lines(self) -> list[dict[str, Any]]:
        """Read the ledger's lines, oldest first; none when the endpoint never ran on this machine."""
        try:
            text = self.ledger_path.read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return []
        lines = []
        for line in text.splitlines():
            with contextlib.suppress(ValueError):  # torn, or being written just now
                lines.append(json.loads(line))
        return [line for line in lines if isinstance(line, dict)]

    def _last_cause(self) -> str:
        lines = self.ledger_lines()
        return str(lines[-1].get("cause") or "") if lines else ""


def _shown(line: dict[str, Any], name: str) -> str:
    value = line.get(name)
    text = "" if value is None else str(value)
    return text[:19].replace("T", "\N{NO-BREAK SPACE}") if name == "time" else text

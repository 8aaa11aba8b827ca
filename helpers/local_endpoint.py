"""`s.endpoint`: runs the endpoint on this machine, shows a callout, and sends it good and broken ones."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
import os
import re
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import httpx
import psutil

from helpers.legacy_export import legacy_copy
from helpers.settings import Profile
from helpers.tenant.apps import ExtensionApp
from helpers.tenant.encryption_key import EncryptionKey
from helpers.worlds import World
from jitkit import protocol
from jitkit.display import Card, Table
from jitkit.endpoint_process import EndpointProcess, own_command
from jitkit.errors import EndpointDown, KitError, NotReady, SettingsError
from jitkit.files import write_private

if TYPE_CHECKING:
    from jitkit.rehearsal.callout import Callout

__all__ = ["LocalEndpoint", "RunningEndpoint", "decode_context"]

_ONLY_ENTRA: Final = "skipped in live mode: only Entra can sign a callout of a real tenant; notebook 07 makes it do so"
_STORE: Final = "LegacyApiConnectionString"
_LEDGER: Final = ("time", "action", "cause", "legacy", "duration_ms", "attempt", "key", "correlation_id")
_START_SECONDS: Final = 120  # it starts in two on a calm machine; many may start at once on a shared one
_STOP_SECONDS: Final = 5
# What of this environment the endpoint gets: where programs, files, authorities and the proxy are, how to write text,
# and its own settings. It faces the internet, so it gets no other secret, such as AZURE_CLIENT_SECRET.
_HANDED_ON: Final = re.compile(
    r"PATH|HOME|USER|USERNAME|LOGNAME|USERPROFILE|APPDATA|LOCALAPPDATA|PROGRAMDATA|SYSTEMROOT|SYSTEMDRIVE|WINDIR|COMSPEC"
    r"|PATHEXT|TEMP|TMP|TMPDIR|LANG|LANGUAGE|LC_\w+|TZ|(DY)?LD_LIBRARY_PATH|VIRTUAL_ENV|CONDA_PREFIX|PYTHON\w+"
    r"|SSL_CERT_(FILE|DIR)|(REQUESTS|CURL|AWS)_CA_BUNDLE|PG(SSL\w+|PASSFILE)|(HTTPS?|ALL|NO)_PROXY|JIT_(?!KIT_)\w+",
    re.IGNORECASE,
)


class LocalEndpoint:
    """Runs the endpoint on this machine and tries it out; the tenant's legacy copy, ledger and log are in `folder`."""

    def __init__(
        self, world: World, profile: Profile, folder: Path, app: ExtensionApp, key: EncryptionKey, tenant_id: str
    ) -> None:
        self._world, self._profile, self._folder = world, profile, folder
        self._app, self._key, self._tenant_id = app, key, tenant_id
        self._running = RunningEndpoint(folder)
        self.ledger_path = folder / f"ledger-{tenant_id}.jsonl"

    async def ensure(self) -> Card:
        """Start the endpoint here, or keep the one that runs, and make the public host name lead to it.

        It is restarted when its key, store or registration is no longer current; one that another notebook started for
        this tenant is stopped first.

        Raises:
            NotReady: the app registration, its identifier URI, the key or the legacy export is missing.
            EndpointDown: it does not start.
        """
        before, host = self._running.url, self._profile.endpoint_host
        url = await self._running.start(await self.settings(), port=self._profile.endpoint_port)
        base = url.split("/api/")[0]
        kept = "reused" if self._world.published(host) in (base, None) else "reconnected"
        reached = self._world.publish(host, base)
        return Card(
            title="Local endpoint",
            status="started" if not before else kept if before == url else "restarted",
            facts={
                "Listens at": url,
                "Entra calls": self._profile.target_url,
                "How Entra gets here": reached,
                "Legacy store": f"the one that the environment names ({_STORE})"
                if os.environ.get(_STORE)
                else f"SQLite, made from {self._world.export().name}",
                "Ledger": str(self.ledger_path),
            },
        )

    async def show(self) -> Card:
        """Send the endpoint the GET that a monitor sends, and show its answer."""
        self._world.look("the endpoint's health")
        answer, _ = await self._running.request("GET")
        return Card(
            title="Endpoint health",
            status="answers" if answer.status_code == 200 else f"answers {answer.status_code}",
            facts={"GET": self._running.url, "Body": answer.text},
        )

    async def reach(self) -> Card:
        """Send a GET to the address of notebook 00, and show what answers there, or that nothing does."""
        self._world.look("the public address")
        url = self._profile.target_url
        try:
            status = f"answers {(await self._world.reach(url)).status_code}"
            note = "the endpoint itself answers 200; 401, 403 and redirects come from something in front of it"
        except (httpx.TransportError, httpx.InvalidURL) as problem:
            status = "does not answer"
            note = f"{type(problem).__name__}: start the endpoint and its tunnel or host; check name and certificate"
        which = "the one of notebook 00; `s.policies.extension.show()` shows the one that Entra calls"
        return Card(title="Public address", status=status, facts={"GET": url, "Which one": which, "Meaning": note})

    async def stop(self) -> Card:
        """Stop the endpoint; Entra's next call gets no answer."""
        was_running = bool(self._running.url)
        await self._running.stop()
        return Card(title="Local endpoint", status="stopped" if was_running else "was not running")

    async def context(self, username: str) -> Card | Table:
        """Decrypt the password context of one invented person's callout and show its parts."""
        callout = await self._world.compose(username, None)
        if callout is None:
            return Card(title="Password context", status=_ONLY_ENTRA)
        return decode_context(callout.context, self._key.private_key_path)

    async def envelope(self, username: str) -> Card | Table:
        """Show the JSON around the password context, as Entra would send it."""
        callout = await self._world.compose(username, None)
        if callout is None:
            return Card(title="Callout", status=_ONLY_ENTRA)
        shown = {"encryptedPasswordContext": "(five parts, opened in the next step)"}
        return Card(
            title="Callout",
            status="composed, not sent",
            facts={
                "POST": callout.target_url,
                "Authorization": "Bearer … (a token that only the tenant can sign; never shown)",
                "Body": json.dumps({**callout.body, "data": {**callout.body["data"], **shown}}, indent=2),
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
        answer, milliseconds = await self._running.request("POST", callout.headers, callout.body)
        data = answer.json()["data"] if answer.status_code == 200 else {}
        action = data["actions"][0] if data else {}
        message = " · ".join(action[name] for name in ("title", "message") if action.get(name))
        facts = {
            "HTTP status": str(answer.status_code),
            "Action": action.get("@odata.type", "none"),
            "Title and message": message or "none",
            "Nonce": "the one that was sent" if data.get("nonce") == callout.nonce else "another one, or none",
            "Took": f"{milliseconds:.0f} ms of the {protocol.TIMEOUT_MS:,} that Entra waits",
        }
        return Card(title=f"{username} signs in", status=str(facts["Action"]).rsplit(".", 1)[-1], facts=facts)

    async def try_bad(self, username: str) -> Card | Table:
        """Send the endpoint broken copies of one invented person's callout and show how it refuses each."""
        callout = await self._world.compose(username, None)
        if callout is None:
            return Card(title="Bad callouts", status=_ONLY_ENTRA)
        rows = []
        for what, headers, body in _broken(callout):
            answer, _ = await self._running.request("POST", headers, body)
            lines = self.ledger_lines()
            rows.append((what, answer.status_code, str(lines[-1].get("cause") or "") if lines else ""))
        return Table(
            caption="Callouts that the endpoint has to refuse",
            columns=("What is wrong", "HTTP status", "Cause in the ledger"),
            rows=rows,
            note="The caller learns the status alone; the cause is for you.",
        )

    def ledger(self, last: int = 10) -> Table:
        """Show the last lines of the endpoint's ledger."""
        self._world.look("the ledger")
        return Table(
            caption="The endpoint's ledger, last lines",
            columns=("Time (UTC)", "Action", "Cause", "Store", "Took (ms)", "Attempt", "Key", "Correlation id"),
            rows=[tuple(_ledger_cell(line, name) for name in _LEDGER) for line in self.ledger_lines()[-last:]],
            note="Key is the start of the thumbprint. No name, password, nonce or token is ever in it.",
        )

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

    async def settings(self, *, keys: bool = True) -> dict[str, str]:
        """Return the endpoint's environment settings, with or without the private keys; raises as `ensure` does."""
        app = await self._app.show_with_uri()
        key, previous = self._key.private_key_path, self._key.previous_key_path
        if keys and not key.is_file():
            raise NotReady("There is no private key on this machine.", next_step="Run notebook 04-key-pair first.")
        settings = {
            "JIT_TENANT_ID": self._tenant_id,
            "JIT_EXTENSION_APP_ID": app.app_id,
            "JIT_IDENTIFIER_URI": app.identifier_uri,
            "JIT_OPENID_CONFIGURATION": self._world.documents(),
            "DecryptionPrivateKey": key.read_text(encoding="utf-8") if keys else "",
            "DecryptionPrivateKeyPrevious": previous.read_text(encoding="utf-8") if keys and previous.is_file() else "",
            _STORE: await asyncio.to_thread(self._store),
            "JIT_LEDGER": str(self.ledger_path),
        }
        return {name: value for name, value in settings.items() if value}

    def _store(self) -> str:
        if own := os.environ.get(_STORE):
            return own
        if "?" in str(self._folder):
            raise SettingsError(
                f"{self._folder} has a question mark, which a database's address cannot hold.",
                next_step="Set JIT_KIT_HOME to a folder without one.",
            )
        return f"sqlite:///{legacy_copy(self._world.export(), self._folder)}"


def _ledger_cell(line: dict[str, Any], name: str) -> str:
    value = line.get(name)
    text = "" if value is None else str(value)
    shown = {"time": text[:19].replace("T", " "), "key": text[:8]}
    return shown.get(name, text)


_MEANING: Final = {
    "alg": "how the content key is encrypted for you: RSA with OAEP padding",
    "enc": "how the content is encrypted: AES-128-CBC with an HMAC",
    "x5t": "which certificate: the base64url SHA-1 of it",
    "zip": "the content was compressed before it was encrypted",
    protocol.CLAIM_PASSWORD: "what the person typed",
    protocol.CLAIM_USERNAME: "the name the person typed; find the legacy user by this one",
    protocol.CLAIM_NONCE: "goes back in your answer, character for character",
    "aud": "the extension's app registration",
    "iss": "its identifier URI",
    "iat": "made",
    "nbf": "valid from",
    "exp": "valid until",
}


def decode_context(context: str, private_key: Path) -> Table:
    """Decrypt a password context, a compact JWE, with a private key and list its parts; its secrets are masked."""
    from jwcrypto import jwe, jwk
    from jwcrypto.common import JWException

    if not private_key.is_file():
        raise NotReady(f"There is no private key at {private_key}.", next_step="Run notebook 04-key-pair first.")
    parts = context.split(".")
    token = jwe.JWE()
    try:
        header = _json(parts[0])
        token.deserialize(context, jwk.JWK.from_pem(private_key.read_bytes()))
        inside = token.payload.decode()
        flat = inside.startswith("{")
        inner, claims = ({}, json.loads(inside)) if flat else map(_json, inside.split(".")[:2])
    except (JWException, ValueError):
        raise KitError(
            "This password context cannot be opened with the key on this machine.",
            next_step="Compare the x5t in its header with the thumbprint in notebook 04: it was made for another key.",
        ) from None
    lengths = " . ".join(str(len(part)) for part in parts)
    unsigned = {("alg", "none"): "not signed", ("typ", "JWT"): "a JSON web token"}
    layer_3 = "3 · inner token's header (after decryption)"
    rows = [("1 · JWE header (not encrypted)", name, value, _MEANING.get(name, "")) for name, value in header.items()]
    rows.append(("2 · JWE parts", "five, joined by dots", lengths, "characters in each"))
    rows += [(layer_3, name, value, unsigned.get((name, str(value)), "")) for name, value in inner.items()]
    rows += [("4 · claims", name, _claim(name, value), _MEANING.get(name, "")) for name, value in claims.items()]
    return Table(
        caption="An encrypted password context, layer by layer",
        columns=("Layer", "Member", "Value", "Meaning"),
        rows=rows,
        note="The inner token is not signed, and your public key is public: this proves nothing about who sent it."
        " The bearer token does.",
    )


def _json(part: str) -> dict[str, Any]:
    content = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    if not isinstance(content, dict):
        raise ValueError("not a JSON object")
    return content


def _claim(name: str, value: Any) -> str:
    if name in (protocol.CLAIM_PASSWORD, protocol.CLAIM_NONCE):
        return "•••••• (hidden)"
    if name in ("iat", "nbf", "exp") and isinstance(value, int | float):
        return f"{value} ({datetime.fromtimestamp(value, UTC):%H:%M:%S} UTC)"
    return str(value)


def _broken(callout: Callout) -> list[tuple[str, Mapping[str, str], Mapping[str, Any] | str]]:
    """Return copies of a good callout, each with one fault: what is wrong, its headers and its body."""
    headers, body, five = callout.headers, callout.body, callout.context.split(".")

    def with_context(context: str | None) -> dict[str, Any]:
        return {**body, "data": {**body["data"], "encryptedPasswordContext": context}}

    without = {name: value for name, value in headers.items() if name.lower() != "authorization"}
    changed = {**headers, "Authorization": _flip(headers["Authorization"])}
    return [
        ("no bearer token", without, body),
        ("a bearer token with one character changed", changed, body),
        ("another type of event", headers, {**body, "type": body["type"] + "Start"}),
        ("a password context with a changed tag", headers, with_context(".".join([*five[:4], _flip(five[4])]))),
        ("a password context of four parts", headers, with_context(".".join(five[:4]))),
        ("no password context", headers, with_context(None)),
        ("a body that is not JSON", headers, "user-password=…"),
    ]


def _flip(text: str) -> str:
    position = len(text) - 6
    return text[:position] + ("A" if text[position] != "A" else "B") + text[position + 1 :]


def _handed_on(environment: Mapping[str, str]) -> dict[str, str]:
    """Return what the endpoint's process gets of an environment, next to its settings."""
    return {name: value for name, value in environment.items() if _HANDED_ON.fullmatch(name)}


class RunningEndpoint:
    """The one endpoint process of a tenant here; other notebooks find it by `endpoint.json` in its folder."""

    def __init__(self, folder: Path) -> None:
        self._log = folder / "endpoint.log"
        self._note = folder / "endpoint.json"
        self._process: EndpointProcess | None = None
        self._settings = ""

    @property
    def url(self) -> str:
        """Its URL on this machine; empty when it does not run."""
        return self._process.url if self._process and self._process.running else ""

    async def start(self, settings: Mapping[str, str], *, port: int) -> str:
        """Start the endpoint and return its URL once it accepts requests; one that runs with these settings is kept."""
        asked = hashlib.sha256(json.dumps([sorted(settings.items()), port]).encode()).hexdigest()
        if self.url and asked == self._settings:
            return self.url
        await self.stop()
        await asyncio.to_thread(self._stop_another)
        self._process = process = EndpointProcess(own_command(port), {**_handed_on(os.environ), **settings}, self._log)
        try:
            with contextlib.suppress(psutil.NoSuchProcess):
                born = psutil.Process(process.process.pid).create_time()
                write_private(self._note, json.dumps({"pid": process.process.pid, "born": born}).encode())
            listening = await process.wait_until_listening(_START_SECONDS)
        except BaseException:
            # An interrupted start must not leave a process that holds the port and that no notebook knows.
            await self.stop()
            raise
        if not listening:
            await self.stop()
            raise self._down(process.last_words())
        self._settings = asked
        return process.url

    async def request(
        self, method: str, headers: Mapping[str, str] | None = None, body: Mapping[str, Any] | str = ""
    ) -> tuple[httpx.Response, float]:
        """Send one request; returns the answer, and how many milliseconds it took. Raises EndpointDown."""
        if not self.url:
            raise EndpointDown("The endpoint is not running here.", next_step="Run `await s.endpoint.ensure()` first.")
        content = (body if isinstance(body, str) else json.dumps(body)) or None
        async with httpx.AsyncClient(trust_env=False, timeout=10) as client:
            started = time.perf_counter()
            try:
                answer = await client.request(method, self.url, content=content, headers=headers)
            except httpx.TransportError as problem:
                raise EndpointDown(
                    "The endpoint does not answer.",
                    service=type(problem).__name__,
                    next_step="Run `await s.endpoint.stop()` and `await s.endpoint.ensure()`, then this cell again.",
                ) from None
            return answer, (time.perf_counter() - started) * 1000

    async def stop(self) -> None:
        """Stop the process; it may finish what it is doing within five seconds."""
        process, self._process = self._process, None
        if process is not None:
            await process.stop(_STOP_SECONDS)

    def _stop_another(self) -> None:
        """Stop the endpoint that an earlier session or another notebook left running for this tenant."""
        try:
            kept = json.loads(self._note.read_text(encoding="utf-8"))
            other = psutil.Process(kept["pid"])
            if other.create_time() != kept["born"]:
                return  # the number belongs to some other program by now
            other.terminate()
            other.wait(_STOP_SECONDS)
        except psutil.TimeoutExpired:
            other.kill()
        except (OSError, ValueError, KeyError, TypeError, psutil.Error):
            return  # no note, or the process ended

    def _down(self, said: str) -> EndpointDown:
        """Report what the process said last; its advice becomes the next step."""
        words, found, advice = said.rpartition("Next: ")
        if not found:
            words, advice = advice, "Fix the problem it reports."
        words = words.strip().replace("\nThe service said: ", " ")
        advice = (advice.splitlines() or [""])[0]
        if "cannot listen" in words:
            advice += " The port is `endpoint_port` of kit.choose in notebook 00."
        return EndpointDown(
            "The endpoint did not start.",
            service=words or "nothing",
            next_step=f"{advice} Then run this cell again; the whole log is {self._log}.",
        )

"""Keys from Azure Key Vault: the real SDK and the App Service identity's protocol against a small vault on loopback."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import NoEncryption, pkcs12

from jitkit import entra_tokens
from jitkit.endpoint.settings import Settings
from jitkit.errors import SettingsError

from . import entra
from .conftest import Endpoint, Opener
from .test_clock import Held, times

pytest.importorskip("azure.keyvault.secrets", reason="the extra azure is not installed")

NAME = "CiamJit"


def pfx(name: str) -> str:
    data = pkcs12.serialize_key_and_certificates(
        None, entra.rsa_key(name), entra.certificate(name), None, NoEncryption()
    )
    return base64.b64encode(data).decode()


@dataclass
class Vault:
    """One certificate's secret with its versions, oldest first, as the vault's REST API shows them."""

    versions: list[dict[str, Any]] = field(default_factory=list)
    may_list: bool = True
    away: bool = False
    url: str = ""
    asked: list[str] = field(default_factory=list)

    def add(self, value: str, *, enabled: bool = True) -> None:
        number = len(self.versions)
        attributes = {"enabled": enabled, "created": 1_790_000_000 + number, "updated": 1_790_000_000 + number}
        self.versions.append({"version": f"{number:032x}", "value": value, "attributes": attributes})

    def answer(self, path: str, authorization: str | None) -> tuple[int, dict[str, str], dict[str, Any]]:
        self.asked.append(path)
        if authorization != "Bearer a-token-of-the-identity":
            # The SDK wants the resource to be a parent domain of the vault's host.
            parent = self.url.replace("127.", "", 1)
            challenge = f'Bearer authorization="https://login.example/{entra.TENANT}", resource="{parent}"'
            return 401, {"WWW-Authenticate": challenge}, {}
        if self.away:
            return 403, {}, {"error": {"code": "Forbidden", "message": f"no {entra.CANARY}"}}
        parts = urlsplit(path).path.strip("/").split("/")
        if parts[2:] == ["versions"]:
            return (
                (200, {}, {"value": [self._shown(each) for each in self.versions]}) if self.may_list else (403, {}, {})
            )
        wanted = parts[2] if len(parts) > 2 and parts[2] else self.versions[-1]["version"]
        found = next(each for each in self.versions if each["version"] == wanted)
        return 200, {}, self._shown(found) | {"value": found["value"]}

    def _shown(self, each: dict[str, Any]) -> dict[str, Any]:
        address = f"{self.url}/secrets/{NAME}/{each['version']}"
        return {"id": address, "contentType": "application/x-pkcs12", "attributes": each["attributes"]}


def serve(answer: Any, tls: ssl.SSLContext | None = None) -> tuple[ThreadingHTTPServer, str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, headers, body = answer(self.path, self.headers)
            content = json.dumps(body).encode()
            self.send_response(status)
            for name, value in (headers | {"content-type": "application/json"}).items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if tls:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    return server, f"http{'s' if tls else ''}://127.0.0.1:{server.server_port}"


def identity(_: str, headers: Any) -> tuple[int, dict[str, str], dict[str, Any]]:
    """Answer as App Service's token service does [Microsoft Learn, "Use managed identities for App Service"]."""
    assert headers["X-IDENTITY-HEADER"] == "only-this-app-knows"
    return 200, {}, {"access_token": "a-token-of-the-identity", "expires_on": str(int(time.time()) + 3600)}


@pytest.fixture
def vault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Vault]:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    entra._settings.cache_clear()  # an earlier test's vault may have had the same port
    stand_in = Vault()
    server, stand_in.url = serve(lambda path, headers: stand_in.answer(path, headers["authorization"]), context)
    tokens, tokens_url = serve(identity)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "ca.pem"))
    monkeypatch.setenv("IDENTITY_ENDPOINT", f"{tokens_url}/msi/token")
    monkeypatch.setenv("IDENTITY_HEADER", "only-this-app-knows")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    yield stand_in
    for each in (server, tokens):
        each.shutdown()
        each.server_close()


def settings(vault: Vault) -> Settings:
    ours = entra.environment(
        KeyVaultUrl=vault.url, CiamJitMigrationEncryptionCertName=NAME, DecryptionPrivateKey="", JIT_LEDGER="-"
    )
    return Settings.from_environment(ours)


def test_the_certificate_is_read_with_the_managed_identity(vault: Vault) -> None:
    vault.add(pfx("encryption"))
    (key,) = settings(vault).keys
    assert key.thumbprint == entra.x5t("encryption")


def test_all_enabled_versions_serve_the_newest_first(vault: Vault) -> None:
    for name, enabled in (("older", True), ("previous", True), ("retired", False), ("encryption", True)):
        vault.add(pfx(name), enabled=enabled)
    held = [key.thumbprint for key in settings(vault).keys]
    assert held == [entra.x5t(name) for name in ("encryption", "previous", "older")]


def test_a_newest_version_that_is_disabled_leaves_the_ones_before(vault: Vault) -> None:
    vault.add(pfx("previous"))
    vault.add(pfx("retired"), enabled=False)
    assert [key.thumbprint for key in settings(vault).keys] == [entra.x5t("previous")]


def test_an_older_version_that_cannot_be_read_is_left_out(vault: Vault, caplog: pytest.LogCaptureFixture) -> None:
    vault.add(f"not a key {entra.CANARY}")
    vault.add(pfx("encryption"))
    assert [key.thumbprint for key in settings(vault).keys] == [entra.x5t("encryption")]
    assert "left out" in caplog.text and entra.CANARY not in caplog.text


def test_a_previous_key_from_a_setting_serves_beside_the_vaults(vault: Vault) -> None:
    vault.add(pfx("previous"))
    vault.add(pfx("encryption"))
    ours = entra.environment(
        KeyVaultUrl=vault.url,
        CiamJitMigrationEncryptionCertName=NAME,
        DecryptionPrivateKey="",
        DecryptionPrivateKeyPrevious=entra.pair_pem("older"),
    )
    held = [key.thumbprint for key in Settings.from_environment(ours).keys]
    assert held == [entra.x5t(name) for name in ("encryption", "previous", "older")]


def test_a_pem_secret_is_read_as_well(vault: Vault) -> None:
    vault.add(entra.pair_pem("encryption"))
    assert settings(vault).keys[0].thumbprint == entra.x5t("encryption")


def test_without_the_right_to_list_versions_the_current_key_serves(
    vault: Vault, caplog: pytest.LogCaptureFixture
) -> None:
    vault.may_list = False
    vault.add(pfx("previous"))
    vault.add(pfx("encryption"))
    assert [key.thumbprint for key in settings(vault).keys] == [entra.x5t("encryption")]
    assert "could not be listed" in caplog.text


def test_a_vault_that_refuses_stops_the_start_in_words(vault: Vault) -> None:
    vault.add(pfx("encryption"))
    vault.away = True
    with pytest.raises(SettingsError, match="could not be read") as raised:
        settings(vault)
    assert entra.CANARY not in str(raised.value)


def test_a_certificate_that_is_not_exportable_has_no_private_key(vault: Vault) -> None:
    vault.add(entra.pair_pem("encryption").partition("-----END PRIVATE KEY-----\n")[2])
    with pytest.raises(SettingsError, match="no RSA private key"):
        settings(vault)


def ours(vault: Vault) -> dict[str, str]:
    return {"KeyVaultUrl": vault.url, "CiamJitMigrationEncryptionCertName": NAME, "DecryptionPrivateKey": ""}


async def called(endpoint: Endpoint, held: Held, key: str) -> int:
    """Call as Entra does once it encrypts with this key, the bearer token as well as the password."""
    body = entra.envelope(entra.context(key=key, **times(held)))
    body["data"]["authenticationContext"]["user"]["id"] = str(uuid.uuid4())
    token = entra.encrypted_bearer(entra.bearer(**times(held)), key)
    return (await endpoint.post(body, token=token)).status_code


async def test_two_renewals_in_the_vault_and_a_switch_to_either_need_no_restart(
    vault: Vault, open_endpoint: Opener
) -> None:
    vault.add(pfx("encryption"))
    held = Held()
    endpoint = await open_endpoint(clock=held.clock(), **ours(vault))
    vault.add(pfx("renewed"))
    vault.add(pfx("again"))
    assert await called(endpoint, held, "encryption") == 200
    held.seconds += 31
    assert [await called(endpoint, held, key) for key in ("again", "renewed", "encryption")] == [200, 200, 200]


async def test_unknown_keys_cause_one_look_into_the_vault_in_half_a_minute(vault: Vault, open_endpoint: Opener) -> None:
    vault.add(pfx("encryption"))
    held = Held()
    endpoint = await open_endpoint(clock=held.clock(), **ours(vault))
    held.seconds += 31
    before = len(vault.asked)
    assert [await called(endpoint, held, "elsewhere") for _ in range(50)] == [401] * 50
    looked = [path for path in vault.asked[before:] if "/versions" in path]
    assert len(looked) <= 2  # the SDK may be challenged for its token first
    vault.add(pfx("elsewhere"))
    held.seconds += 31
    assert await called(endpoint, held, "elsewhere") == 200


async def test_a_vault_that_is_away_leaves_the_keys_that_were_read(
    vault: Vault, open_endpoint: Opener, caplog: pytest.LogCaptureFixture
) -> None:
    vault.add(pfx("encryption"))
    held = Held()
    endpoint = await open_endpoint(clock=held.clock(), **ours(vault))
    vault.away = True
    held.seconds += 31
    assert await called(endpoint, held, "renewed") == 401
    assert await called(endpoint, held, "encryption") == 200
    assert "the ones read before serve" in caplog.text and entra.CANARY not in caplog.text


async def test_a_version_that_was_disabled_is_dropped_within_the_hour(vault: Vault, open_endpoint: Opener) -> None:
    vault.add(pfx("previous"))
    vault.add(pfx("encryption"))
    held = Held()
    endpoint = await open_endpoint(clock=held.clock(), **ours(vault))
    vault.versions[0]["attributes"]["enabled"] = False
    held.seconds += 3601
    assert await called(endpoint, held, "previous") == 200  # meanwhile it is read again
    (reading,) = [task for task in asyncio.all_tasks() if "HeldKeys" in str(task.get_coro())]
    await reading
    assert await called(endpoint, held, "previous") == 401


async def test_the_health_route_tells_how_many_keys_there_are_and_when_they_end(
    vault: Vault, open_endpoint: Opener
) -> None:
    vault.add(pfx("encryption"))
    held = Held()
    endpoint = await open_endpoint(clock=held.clock(), **ours(vault))
    ends = [entra.certificate(name).not_valid_after_utc.date().isoformat() for name in ("renewed", "encryption")]
    assert (await endpoint.http.get(entra.ROUTE)).json()["keys_end"] == ends[1:]
    vault.add(pfx("renewed"))
    held.seconds += 31
    health = (await endpoint.http.get(entra.ROUTE, params={"x5t": entra.x5t("renewed")})).json()
    assert health["has_key"] is True and health["keys_end"] == ends
    assert set(health) == {"status", "keys_end", "certificate_days_left", "has_key"}


async def test_the_days_left_are_those_of_the_key_that_entra_uses(open_endpoint: Opener) -> None:
    """A forgotten switch: the new certificate is there, and Entra goes on with the one that ends soon."""
    old = entra_tokens.EncryptionKey.make("ends-soon", days=40)
    pair = {"DecryptionPrivateKey": entra.pair_pem("encryption"), "DecryptionPrivateKeyPrevious": old.pem()}
    endpoint = await open_endpoint(**pair)
    assert (await endpoint.http.get(entra.ROUTE)).json()["certificate_days_left"] == 364
    sealed = entra_tokens.encrypted(entra.unsigned(entra.context_claims()), old)
    assert (await endpoint.post(entra.envelope(sealed))).status_code == 200
    assert (await endpoint.http.get(entra.ROUTE)).json()["certificate_days_left"] == 39

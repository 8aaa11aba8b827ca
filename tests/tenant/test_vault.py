"""The key in a vault: the real SDK against the rehearsal vault, and a rotation while people sign in."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from azure.core.credentials import AccessToken
from azure.core.pipeline.transport import RequestsTransport
from azure.keyvault.certificates import CertificateClient
from azure.keyvault.secrets import SecretClient

from helpers.settings import Profile
from helpers.tenant.vault import Vault, VaultDoor, VaultKey
from jitkit.certificates import x5t
from jitkit.endpoint.app import ROUTE, Clock, create_app
from jitkit.endpoint.settings import Settings
from jitkit.endpoint.stores import Verdict
from jitkit.errors import NotReady, SettingsError
from jitkit.hosting.rehearsal_vault import ADMINISTRATOR, ENDPOINT, OFFICER, SECRETS_USER, RehearsalVault, VaultServer
from tenant.support import Kit, writes

NAMES = {"vault": "kv-jit-tests"}
PROFILE = Profile(hosting=NAMES)


@pytest.fixture(scope="session")
def seeded(registered: Path) -> Path:
    return registered


@pytest.fixture
def server(tmp_path: Path) -> Iterator[VaultServer]:
    opened = VaultServer(RehearsalVault(tmp_path / "vault.json"), tmp_path / "vault-ca.pem")
    yield opened
    opened.stop()


def clients(server: VaultServer, kind: type[Any]) -> Any:
    class Administrator:
        def get_token(self, *_: str, **__: Any) -> AccessToken:
            return AccessToken(server.token, 4_000_000_000)

    transport = RequestsTransport(connection_verify=str(server.authority), use_env_settings=False)
    return kind(server.vault.url, Administrator(), transport=transport, retry_total=0)


@pytest.fixture
def vault(kit: Kit, server: VaultServer) -> Vault:
    door = VaultDoor(server.vault.url, clients(server, CertificateClient), server.environment())
    return Vault(kit.graph, PROFILE, kit.folder, lambda: door)


@pytest.fixture
def granted(server: VaultServer, vault: Vault) -> Vault:
    server.vault.assign(ADMINISTRATOR, OFFICER)
    server.vault.assign(ENDPOINT, SECRETS_USER)
    return vault


@pytest.fixture
def key(kit: Kit, granted: Vault) -> VaultKey:
    return VaultKey(kit.graph, PROFILE, kit.folder, granted)


async def registered_keys(kit: Kit) -> dict[str, Any]:
    app = await kit.app.show()
    return dict(await kit.send("GET", f"/applications/{app.object_id}?$select=keyCredentials,tokenEncryptionKeyId"))


async def test_a_vault_that_nobody_chose_is_asked_for(kit: Kit, vault: Vault) -> None:
    with pytest.raises(SettingsError, match="No vault is chosen"):
        await Vault(kit.graph, Profile(), kit.folder, lambda: vault.door).show()


async def test_without_the_role_the_vault_refuses_and_the_message_names_it(vault: Vault) -> None:
    with pytest.raises(NotReady, match="kv-jit-tests does not let you") as refused:
        await vault.ensure()
    assert refused.value.service == "403 ForbiddenByRbac"
    assert OFFICER in refused.value.next_step


async def test_behind_its_firewall_the_vault_lets_the_app_in_alone(server: VaultServer, granted: Vault) -> None:
    await granted.ensure()
    server.vault.let_in(ENDPOINT)
    with pytest.raises(NotReady) as refused:
        await granted.show()
    assert refused.value.service == "403 ForbiddenByFirewall"
    status, body = server.vault.answer(ENDPOINT, "GET", f"/secrets/{PROFILE.hosting.certificate}", {})
    assert status == 200 and body["value"]
    server.vault.let_in()
    assert len((await granted.show()).rows) == 1


async def test_who_makes_the_certificate_cannot_read_its_private_half(server: VaultServer, granted: Vault) -> None:
    from azure.core.exceptions import HttpResponseError

    await granted.ensure()
    with pytest.raises(HttpResponseError) as refused:
        clients(server, SecretClient).get_secret(PROFILE.hosting.certificate)
    assert refused.value.status_code == 403
    private = json.loads(server.vault.path.read_text())["certificates"][PROFILE.hosting.certificate]["versions"]
    assert server.vault.path.stat().st_mode & 0o077 == 0
    assert private[0]["secret"] not in repr(await granted.show()) + (await granted.show())._repr_html_()


async def test_the_policy_reminds_and_does_not_renew_and_makes_a_new_key_each_time(granted: Vault) -> None:
    shown = await granted.ensure()
    assert "a reminder by e-mail 30 days before its end" in shown.note and "renews by itself" not in shown.note
    client = granted.door.certificates
    policy = client.get_certificate_policy(PROFILE.hosting.certificate)
    assert (policy.reuse_key, policy.exportable, policy.key_size, policy.issuer_name) == (False, True, 2048, "Self")
    assert (policy.subject, policy.content_type) == ("CN=JitMigration", "application/x-pkcs12")
    await granted.new_version()
    first, second = await granted.versions()
    assert first.certificate.public_key() != second.certificate.public_key()


async def test_a_policy_that_renews_by_itself_is_pointed_out(granted: Vault) -> None:
    from azure.keyvault.certificates import CertificatePolicy, LifetimeAction

    await granted.ensure()
    renews = CertificatePolicy("Self", subject="CN=x", lifetime_actions=[LifetimeAction("AutoRenew", 80)])
    granted.door.certificates.update_certificate_policy(PROFILE.hosting.certificate, renews)
    assert "renews by itself" in (await granted.show()).note


async def test_a_deleted_certificate_keeps_its_name_until_it_is_recovered(granted: Vault) -> None:
    await granted.ensure()
    before = [each.id for each in await granted.versions()]
    client = granted.door.certificates
    client.begin_delete_certificate(PROFILE.hosting.certificate, _polling_interval=0.01).result()
    with pytest.raises(NotReady) as refused:
        await granted.ensure()
    assert refused.value.service == "409 ObjectIsDeletedButRecoverable"
    client.begin_recover_deleted_certificate(PROFILE.hosting.certificate, _polling_interval=0.01).result()
    assert [each.id for each in await granted.versions()] == before


async def test_the_vault_makes_the_key_and_the_tenant_gets_its_public_half(kit: Kit, key: VaultKey) -> None:
    made = await key.ensure()
    app = await registered_keys(kit)
    assert made.status == "created" and made.path is None
    assert made.facts["Private half"].startswith("vault kv-jit-tests, version ")
    assert [each["usage"] for each in app["keyCredentials"]] == ["Encrypt"]
    assert app["tokenEncryptionKeyId"] == made.key_id
    assert not list(kit.folder.rglob("jit-key*")), "no private half on this machine"
    again = await key.ensure()
    assert (again.status, writes(again)) == ("reused", [])


@pytest.mark.usefixtures("ready_made_pairs")
async def test_a_key_of_this_machine_becomes_the_first_version(kit: Kit, key: VaultKey, granted: Vault) -> None:
    """What the tenant encrypts with now can be opened at the new place before anything is switched."""
    local = await kit.key.ensure()
    await granted.ensure()
    newest, first = await granted.versions()
    assert x5t(first.certificate) == local.x5t != x5t(newest.certificate)
    assert "Waits for the endpoint" in (await key.show()).facts
    moved = await key.rotate()
    assert (moved.status, moved.x5t) == ("updated", x5t(newest.certificate))
    dropped = await key.drop_previous()
    assert dropped.status == "removed" and [each.enabled for each in await granted.versions()] == [True, False]
    assert [each["keyId"] for each in (await registered_keys(kit))["keyCredentials"]] == [moved.key_id]


async def test_a_key_that_is_nowhere_in_the_vault_is_not_replaced_silently(kit: Kit, key: VaultKey) -> None:
    await key.ensure()
    name = PROFILE.hosting.certificate
    key._vault.door.certificates.update_certificate_properties(name, (await key._vault.versions())[0].id, enabled=False)
    with pytest.raises(NotReady, match="not in the vault"):
        await key.show()


async def test_removing_the_key_disables_its_versions_and_deletes_nothing_in_the_vault(
    kit: Kit, key: VaultKey, granted: Vault
) -> None:
    await key.ensure()
    another_session = VaultKey(kit.graph, PROFILE, kit.folder, granted)
    assert (await another_session.remove()).status == "removed"
    assert (await registered_keys(kit))["keyCredentials"] == []
    assert [each.enabled for each in await granted.versions()] == [False]


# --- while people sign in -------------------------------------------------------------------------------------------


class AlwaysRight:
    kind = "asked"

    async def verify(self, username: str, password: str) -> Verdict:
        return Verdict.RIGHT

    async def close(self) -> None:
        pass


@dataclass
class SignIns:
    """The endpoint with the vault's keys, and the callouts that the tenant sends it."""

    kit: Kit
    http: httpx.AsyncClient
    ledger: Path
    later: float = 0.0  # how far the endpoint's own clock for its pauses is ahead
    ended: Counter[str] = field(default_factory=Counter)

    async def compose(self) -> Any:
        return await self.kit.tenant.compose_callout("ann@contoso.example", "Right-Pa55word!")

    async def send(self, callout: Any) -> None:
        answer = await self.http.post(ROUTE, headers=callout.headers, json=callout.body)
        data = answer.json().get("data", {})
        right = data.get("nonce") == callout.nonce
        action = data["actions"][0]["@odata.type"].rsplit(".", 1)[-1] if right else f"status {answer.status_code}"
        self.ended[action] += 1

    async def some(self, count: int, *, workers: int = 8) -> None:
        left = iter(range(count))

        async def worker() -> None:
            for _ in left:
                await self.send(await self.compose())

        await asyncio.gather(*(worker() for _ in range(workers)))

    async def health(self, **query: str) -> dict[str, Any]:
        return dict((await self.http.get(ROUTE, params=query)).json())

    async def reach(self, url: str) -> httpx.Response:
        return await self.http.get(httpx.URL(url).raw_path.decode())


@pytest.fixture
async def sign_ins(
    kit: Kit, key: VaultKey, server: VaultServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[SignIns]:
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    await key.ensure()
    for each in (kit.extension, kit.listener):
        await each.ensure()
    identity = {"signInType": "emailAddress", "issuer": kit.tenant.domain, "issuerAssignedId": "ann@contoso.example"}
    person = {"displayName": "Ann", "identities": [identity], "accountEnabled": True, "mail": "ann@contoso.example"}
    password = {"passwordProfile": {"password": "An-0ther-Pa55word!", "forceChangePasswordNextSignIn": False}}
    await kit.send("POST", "/users", person | password | {(await kit.flag.show()).full_name: True})
    app, ledger = await kit.app.show(), tmp_path / "ledger.jsonl"
    environment = {
        "JIT_TENANT_ID": kit.tenant.tenant_id,
        "JIT_EXTENSION_APP_ID": app.app_id,
        "JIT_IDENTIFIER_URI": app.identifier_uri,
        "LegacyApiConnectionString": "sqlite:///never-opened.db",
        "JIT_LEDGER": str(ledger),
        "KeyVaultUrl": server.vault.url,
        "CiamJitMigrationEncryptionCertName": PROFILE.hosting.certificate,
    }
    documents = httpx.AsyncClient(transport=kit.tenant.transport())
    http = httpx.AsyncClient(base_url="http://endpoint")
    made = SignIns(kit, http, ledger)
    loop = asyncio.get_running_loop()
    clock = Clock(kit.tenant.directory.clock.now, lambda: loop.time() + made.later)
    # A busy machine is no failed sign-in: what is tried here is keys, not time.
    settings = replace(Settings.from_environment(environment), deadline=300.0)
    app_ = create_app(settings, http=documents, store=AlwaysRight(), clock=clock)
    made.http = httpx.AsyncClient(transport=httpx.ASGITransport(app_), base_url="http://endpoint")
    key.reach = made.reach
    async with documents, http, made.http, app_.router.lifespan_context(app_):
        yield made


def keys_in(ledger: Path) -> Counter[str]:
    return Counter(json.loads(line)["key"] for line in ledger.read_text().splitlines())


async def test_a_rotation_while_2_000_people_sign_in_fails_none(sign_ins: SignIns, key: VaultKey) -> None:
    before = await key.show()
    load = asyncio.create_task(sign_ins.some(1_200))
    await sign_ins.some(100)
    # The endpoint read the vault a moment ago, so it does not look again yet, and nothing is switched.
    with pytest.raises(NotReady, match="does not have the new key"):
        await key.rotate()
    assert (await key.show()).key_id == before.key_id
    sign_ins.later += 31
    under_way = [await sign_ins.compose() for _ in range(50)]
    rotated = await key.rotate()
    assert rotated.x5t != before.x5t
    for callout in under_way:  # encrypted with the key before, sent after the switch
        await sign_ins.send(callout)
    await sign_ins.some(650)
    await load
    assert (await key.drop_previous()).status == "removed"
    sign_ins.later += 3_601  # the endpoint drops the version that was disabled
    await sign_ins.some(50)
    assert len((await sign_ins.health())["keys_end"]) == 1
    assert sign_ins.ended == {"MigratePassword": 2_050}
    used = keys_in(sign_ins.ledger)
    assert used[before.x5t] >= 150 and used[rotated.x5t] >= 700 and used.total() == 2_050


async def test_the_wrong_order_fails_until_the_endpoint_looks_again_and_needs_no_restart(
    sign_ins: SignIns, key: VaultKey
) -> None:
    """Who switches before the endpoint has the key: sign-ins fail for as long as its pause lasts, half a minute."""
    await sign_ins.some(5)
    await key.rotate(endpoint_has_key=True)  # vouched for, wrongly
    await sign_ins.some(5)
    assert sign_ins.ended == {"MigratePassword": 5, "status 401": 5}
    sign_ins.later += 31
    await sign_ins.some(5)
    assert sign_ins.ended == {"MigratePassword": 10, "status 401": 5}


async def test_a_forgotten_switch_hurts_nobody_until_the_version_is_retired(
    sign_ins: SignIns, key: VaultKey, granted: Vault
) -> None:
    """Two renewals in the vault, and the tenant goes on with the first version: it is seen, and sign-ins go on."""
    await sign_ins.some(5)
    for _ in range(2):
        await granted.new_version()
    sign_ins.later += 3_601
    await sign_ins.some(20)
    assert sign_ins.ended == {"MigratePassword": 25}
    shown = await key.show()
    assert "Waits for the endpoint" in shown.facts
    first = (await granted.versions())[-1]
    assert shown.x5t == x5t(first.certificate)
    assert first.id[:8] in shown.facts["Private half"]
    with pytest.raises(NotReady, match="still encrypts with the previous key"):
        await key.drop_previous()
    switched = await key.rotate()
    assert switched.x5t == x5t((await granted.versions())[0].certificate)
    assert await key.drop_previous()
    assert [each.enabled for each in await granted.versions()] == [True, False, False]
    await sign_ins.some(5)
    assert sign_ins.ended == {"MigratePassword": 30}

"""`jitkit doctor` and `s.check("go-live")`: each planted fault is found by its own row, and a good set-up passes."""

from __future__ import annotations

import copy
import json
import os
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sessions import Opening

from helpers import settings as profiles
from helpers.__main__ import main
from helpers.kit import Session
from jitkit.errors import SettingsError
from jitkit.hosting.doctor import (
    CANNOT_TELL,
    FAIL,
    PASS,
    Evidence,
    Finding,
    TenantKey,
    examine,
    read_azure,
    read_settings,
)

from . import good_host

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
OURS, OTHER = "A" * 40, "B" * 40
NAMES = {
    "JIT_TENANT_ID": "11111111-1111-4111-8111-111111111111",
    "JIT_EXTENSION_APP_ID": "22222222-2222-4222-8222-222222222222",
    "JIT_IDENTIFIER_URI": "api://jit.woodgrove.com/22222222-2222-4222-8222-222222222222",
    "JIT_EXTENSION_IDS": "33333333-3333-4333-8333-333333333333",
    "JIT_LISTENER_IDS": "44444444-4444-4444-8444-444444444444",
}
KEY = TenantKey(OURS, NOW - timedelta(days=20), NOW + timedelta(days=345), in_use=True)
# Nothing outside Azure's diagnostic settings shows this, and the vault holds the store's address.
NEVER_KNOWN = {"that the sign-in log is kept for longer than 7 days", "the legacy store"}


def good() -> Evidence:
    return Evidence(
        address="https://jit.woodgrove.com/api/JitMigrationEndpoint",
        wait_ms=2000,
        retries=1,
        keys=[KEY],
        names=NAMES,
        other_applications=["Woodgrove shop"],
        health={"status": "ok", "certificate_days_left": 345, "has_key": True},
        to_strangers=401,
        settings=good_host.settings(NAMES),
        azure=good_host.documents(OURS),
        azure_names={"group": good_host.GROUP, "app": good_host.APP, "vault": good_host.VAULT},
        lock_after=10,
        now=NOW,
    )


def by_verdict(findings: list[Finding], verdict: str) -> list[Finding]:
    return [each for each in findings if each.verdict == verdict]


def test_a_good_set_up_passes() -> None:
    findings = examine(good())
    assert by_verdict(findings, FAIL) == []
    assert {each.what for each in by_verdict(findings, CANNOT_TELL)} == NEVER_KNOWN
    assert len(by_verdict(findings, PASS)) > 40


def changed(name: str, value: str | None) -> Callable[[Evidence], Evidence]:
    """Change one setting, or take it out."""

    def change(evidence: Evidence) -> Evidence:
        settings = {**(evidence.settings or {}), name: value or ""}
        if value is None:
            del settings[name]
        return replace(evidence, settings=settings)

    return change


def edited(document: str, path: str, value: Any) -> Callable[[Evidence], Evidence]:
    """Change one member of what the Azure CLI shows; numbers in the path are positions of a list."""

    def change(evidence: Evidence) -> Evidence:
        azure = copy.deepcopy(dict(evidence.azure))
        *steps, last = [int(each) if each.isdigit() else each for each in path.split("/")]
        holder: Any = azure[document]
        for step in steps:
            holder = holder[step]
        holder[last] = value
        return replace(evidence, azure=azure)

    return change


def whole(document: str, value: Any) -> Callable[[Evidence], Evidence]:
    return lambda evidence: replace(evidence, azure={**evidence.azure, document: value})


def facts(**values: Any) -> Callable[[Evidence], Evidence]:
    return lambda evidence: replace(evidence, **values)


SCALE = "properties/functionAppConfig/scaleAndConcurrency"
NEWER = TenantKey(OTHER, NOW - timedelta(days=1), NOW + timedelta(days=364), in_use=False)
VERSIONS = [
    {"attributes": {"enabled": True, "created": "2026-11-01T08:00:00+00:00"}, "x509ThumbprintHex": OURS},
    {"attributes": {"enabled": True, "created": "2026-11-28T08:00:00+00:00"}, "x509ThumbprintHex": OTHER},
]
# What is wrong, how it got there, the row that finds it, and a word of what it says.
FAULTS: list[tuple[str, Callable[[Evidence], Evidence], str, str]] = [
    (
        "a tunnel",
        facts(address="https://x.ngrok-free.app/api/JitMigrationEndpoint"),
        "the address that Entra",
        "tunnel",
    ),
    ("a number for a name", facts(address="https://20.1.2.3/api/JitMigrationEndpoint"), "the address", "20.1.2.3"),
    ("plain http", facts(address="http://jit.woodgrove.com/api/x"), "the address that Entra calls", "http://"),
    ("no second try", facts(retries=0), "how long Entra waits", "0 more"),
    ("a short wait", facts(wait_ms=500), "how long Entra waits", "500 ms"),
    ("no key", facts(keys=[replace(KEY, in_use=False)]), "a key that Entra encrypts", "none"),
    ("a key that ends", facts(keys=[replace(KEY, ends=NOW + timedelta(days=9))]), "how long that key", "9 days"),
    ("a forgotten switch", facts(keys=[KEY, NEWER]), "that the newest key is the one in use", OTHER),
    ("an endpoint without it", facts(health={"status": "ok", "has_key": False}), "has the key in use", "not there"),
    (
        "a clock",
        facts(health={"status": "ok", "has_key": True, "clock_seconds_ahead": 90}),
        "says about itself",
        "90 s",
    ),
    (
        "old certificate",
        facts(health={"status": "ok", "has_key": True, "certificate_days_left": 3}),
        "itself",
        "3 days",
    ),
    ("an open endpoint", facts(to_strangers=200), "that a caller without a token is refused", "status 200"),
    ("development", changed("JIT_PROFILE", None), "JIT_PROFILE", "development"),
    ("no TLS", changed("JIT_BEHIND_TLS", "0"), "where TLS ends", "nothing says"),
    ("another tenant", changed("JIT_TENANT_ID", OTHER[:8]), "whom the endpoint serves", "JIT_TENANT_ID"),
    ("no identifier URI", changed("JIT_IDENTIFIER_URI", None), "whom the endpoint serves", "missing"),
    ("another extension", changed("JIT_EXTENSION_IDS", NAMES["JIT_TENANT_ID"]), "JIT_EXTENSION_IDS", "refused"),
    ("a foreign issuer", changed("JIT_OPENID_CONFIGURATION", "https://x.example/o"), "JIT_OPENID", "x.example"),
    ("a bypass", changed("JIT_SKIP_TOKEN_CHECK", "1"), "switches that skip a check", "JIT_SKIP_TOKEN_CHECK"),
    (
        "a key in the settings",
        changed("DecryptionPrivateKey", "-----BEGIN hunter2"),
        "where the private key",
        "in clear",
    ),
    ("no key setting", changed("KeyVaultUrl", None), "where the private key is", "no setting names a key"),
    (
        "a version in a reference",
        changed("LegacyApiConnectionString", f"@Microsoft.KeyVault(SecretUri=https://x/secrets/y/{'0' * 32})"),
        "references to a secret without a version",
        "LegacyApiConnectionString",
    ),
    ("the sample's store", changed("LegacyApiConnectionString", "sqlite:///x.db"), "the legacy store", "sqlite"),
    (
        "a password in clear",
        changed("LegacyApiConnectionString", "postgresql+psycopg://jit:hunter2@db/legacy"),
        "the legacy store's password",
        "in clear",
    ),
    ("a key in a query", changed("LegacyApiConnectionString", "https://x/check?apikey=hunter2"), "store's", "in clear"),
    ("a ledger in a file", changed("JIT_LEDGER", "/home/ledger.jsonl"), "where the ledger goes", "/home/ledger"),
    ("any credential", changed("AZURE_TOKEN_CREDENTIALS", None), "how the endpoint signs in", "any way"),
    ("too many guesses", changed("JIT_GUESSES", "5"), "guesses in all instances", "10; the store locks after 10"),
    ("no telemetry", changed("APPLICATIONINSIGHTS_CONNECTION_STRING", None), "Application Insights", "not connected"),
    ("telemetry twice", changed("PYTHON_ENABLE_OPENTELEMETRY", "true"), "one way of telemetry", "PYTHON_ENABLE"),
    ("lines twice", changed("JIT_TELEMETRY", "calls"), "one way of telemetry", "JIT_TELEMETRY, JIT_LEDGER=-"),
    ("a setting of another plan", changed("WEBSITE_RUN_FROM_PACKAGE", "1"), "does not take", "WEBSITE_RUN_FROM"),
    ("an empty storage setting", changed("AzureWebJobsStorage", ""), "how the host reaches its storage", "string"),
    ("no identity", edited("site", "identity/type", "None"), "the app's managed identity", "None"),
    ("plain HTTP at the host", edited("site", "properties/httpsOnly", False), "HTTPS only", "off"),
    ("concurrency of 1", edited("site", f"{SCALE}/triggers", None), "one instance takes at once", "not set: 1"),
    ("one instance ready", edited("site", f"{SCALE}/alwaysReady/0/instanceCount", 1), "always ready", "1"),
    ("recreate", edited("site", "properties/functionAppConfig/siteUpdateStrategy", None), "one instance after", "Recr"),
    ("small instances", edited("site", f"{SCALE}/instanceMemoryMB", 512), "memory of an instance", "512"),
    (
        "a connection string for deployments",
        edited(
            "site",
            "properties/functionAppConfig/deployment/storage/authentication/type",
            "StorageAccountConnectionString",
        ),
        "how the code is deployed",
        "ConnectionString",
    ),
    ("no network", edited("site", "properties/virtualNetworkSubnetId", None), "the app's own network", "none"),
    ("no public access", edited("site", "properties/publicNetworkAccess", "Disabled"), "reaches the app", "off"),
    (
        "a list of addresses",
        edited("site", "properties/siteConfig/ipSecurityRestrictions/0/ipAddress", "10.0.0.0/8"),
        "that Entra reaches the app",
        "addresses",
    ),
    ("built-in authentication", edited("auth", "properties/platform/enabled", True), "built-in", "on"),
    (
        "an unresolved reference",
        edited("references", "value/0/properties/status", "AccessToKeyVaultDenied"),
        "Key Vault references",
        "AccessToKeyVaultDenied",
    ),
    ("shared keys", edited("storage", "allowSharedKeyAccess", None), "storage without shared keys", "allowed"),
    ("no alert rules", whole("alerts", []), "alert rules", "none"),
    ("alerts that reach nobody", edited("alerts", "0/actions/actionGroups", []), "alert rules", "reach nobody"),
    ("a rule that is off", edited("alerts", "0/enabled", False), "alert rules", "switched off: jit-failed_sign_ins"),
    ("no workbook", whole("workbooks", []), "a workbook with the progress", "0"),
    ("access policies", edited("vault", "properties/enableRbacAuthorization", False), "roles", "policies"),
    ("no purge protection", edited("vault", "properties/enablePurgeProtection", None), "purged", "not protected"),
    ("an open vault", edited("vault", "properties/publicNetworkAccess", "Enabled"), "the vault's firewall", "open"),
    ("no private endpoint", edited("vault", "properties/privateEndpointConnections", None), "private endpoint", "none"),
    (
        "not exportable",
        edited("certificate", "policy/keyProperties/exportable", False),
        "certificate's policy",
        "not e",
    ),
    (
        "automatic renewal",
        edited("certificate", "policy/lifetimeActions/0/action/actionType", "AutoRenew"),
        "renewal of the certificate",
        "AutoRenew",
    ),
    ("nobody is told", whole("contacts", []), "who is told before the certificate ends", "0"),
    ("a renewal nobody switched to", whole("versions", VERSIONS), "vault and tenant", "the vault's newest is BBBB"),
    ("a key that left the vault", edited("versions", "0/attributes/enabled", False), "vault and tenant", "no enabled"),
    ("no role", whole("roles", []), "what the identity may do in the vault", "nothing"),
    (
        "too wide a role",
        edited("roles", "0/roleDefinitionName", "Key Vault Administrator"),
        "what the identity may do in the vault",
        "Administrator",
    ),
    ("no log of the vault", edited("vault_log", "0/logs/0/enabled", False), "the vault's log", "not kept"),
]


@pytest.mark.parametrize(("plant", "row", "word"), [pytest.param(*each[1:], id=each[0]) for each in FAULTS])
def test_each_planted_fault_is_found_by_its_own_row_and_no_other(
    plant: Callable[[Evidence], Evidence], row: str, word: str
) -> None:
    failed = by_verdict(examine(plant(good())), FAIL)
    assert [each.what for each in failed if row not in each.what] == []
    assert [word in each.found for each in failed] == [True]
    assert failed[0].fix and "{" not in failed[0].fix.replace("'[{", "").replace('": {', "")


def test_no_secret_of_the_settings_is_ever_shown() -> None:
    planted = good()
    for name, value in {
        "DecryptionPrivateKey": "-----BEGIN PRIVATE KEY-----hunter2",
        "LegacyApiConnectionString": "postgresql+psycopg://jit:hunter2@db/legacy",
        "JIT_LEGACY_PEPPER": "hunter2",
    }.items():
        planted = changed(name, value)(planted)
    assert "hunter2" not in str(examine(planted)) + repr(planted)


def test_what_was_not_read_cannot_be_told_and_says_how_to_read_it() -> None:
    """Without the host nothing passes that only the host shows."""
    findings = examine(replace(good(), settings=None, azure={}, health=None, to_strangers=None, lock_after=None))
    assert by_verdict(findings, FAIL) == []
    unknown = {each.what: each.found for each in by_verdict(findings, CANNOT_TELL)}
    assert "az keyvault show -n kv-jit" in unknown["the vault's firewall"]
    assert "az resource show -g rg-jit -n func-jit" in unknown["HTTPS only"]
    assert "appsettings list -g rg-jit -n func-jit" in unknown["JIT_PROFILE"]
    assert [each.found for each in findings if re.search(r"\{\w+\}", each.found + each.fix)] == []
    assert len(by_verdict(findings, PASS)) < 8


def test_an_app_on_another_plan_is_not_judged_by_what_this_plan_has() -> None:
    findings = examine(edited("site", "properties/functionAppConfig", None)(good()))
    assert by_verdict(findings, FAIL) == []
    assert any("another plan" in each.found for each in by_verdict(findings, CANNOT_TELL))


def test_a_rule_that_is_missing_may_have_another_name() -> None:
    rules = good_host.documents(OURS)["alerts"][1:]
    [found] = [each for each in examine(whole("alerts", rules)(good())) if each.what == "alert rules"]
    assert found.verdict == CANNOT_TELL and "No rule is named failed_sign_ins" in found.found


def test_thumbprints_are_read_in_both_forms_that_the_azure_cli_prints() -> None:
    version = {"attributes": {"enabled": True, "created": "2026-11-01"}, "x509Thumbprint": KEY.x5t}
    assert by_verdict(examine(whole("versions", [version])(good())), FAIL) == []


# --- reading through the Azure CLI and from files -------------------------------------------------------------------

AZ = """#!{python}
import json, pathlib, sys
answers = json.loads(pathlib.Path({answers!r}).read_text())
words = " ".join(sys.argv[1:])
with open({log!r}, "a") as log:
    log.write(words + "\\n")
for command, answer in answers.items():
    if words == command + " -o json":
        print(json.dumps(answer))
        sys.exit(0)
sys.stderr.write("ERROR: (AuthorizationFailed) hunter2")
sys.exit(1)
"""


@pytest.fixture
def az(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, Any], dict[str, str]], Path]:
    """Put an Azure CLI on the path that prints these documents; returns the log of the commands that it was given."""

    def make(documents: dict[str, Any], settings: dict[str, str]) -> Path:
        listed = [{"name": name, "value": value, "slotSetting": False} for name, value in settings.items()]
        commands = {
            "site": "resource show -g rg-jit -n func-jit --resource-type Microsoft.Web/sites --api-version 2025-05-01",
            "settings": "functionapp config appsettings list -g rg-jit -n func-jit",
            "auth": f"rest --method get --url {good_host.SITE_ID}/config/authsettingsV2?api-version=2025-05-01",
            "references": f"rest --method get --url {good_host.SITE_ID}"
            "/config/configreferences/appsettings?api-version=2025-05-01",
            "storage": "storage account show -n stjit",
            "alerts": "monitor scheduled-query list -g rg-jit",
            "workbooks": "resource list -g rg-jit --resource-type Microsoft.Insights/workbooks",
            "vault": "keyvault show -n kv-jit",
            "certificate": f"keyvault certificate show --vault-name kv-jit -n {good_host.CERTIFICATE}",
            "versions": f"keyvault certificate list-versions --vault-name kv-jit -n {good_host.CERTIFICATE}",
            "contacts": "keyvault certificate contact list --vault-name kv-jit",
            "roles": f"role assignment list --scope {good_host.VAULT_ID} --assignee {good_host.PRINCIPAL}"
            " --include-inherited",
            "vault_log": f"monitor diagnostic-settings list --resource {good_host.VAULT_ID}",
        }
        answers = {commands[name]: document for name, document in {**documents, "settings": listed}.items()}
        folder, log = tmp_path / "bin", tmp_path / "az.log"
        folder.mkdir()
        (tmp_path / "answers.json").write_text(json.dumps(answers))
        program = AZ.format(python=sys.executable, answers=str(tmp_path / "answers.json"), log=str(log))
        (folder / "az").write_text(program)
        (folder / "az").chmod(0o755)
        monkeypatch.setenv("PATH", str(folder) + os.pathsep + os.environ["PATH"])
        return log

    return make


def test_the_host_is_read_through_the_azure_cli_and_nothing_is_written(
    az: Callable[[dict[str, Any], dict[str, str]], Path],
) -> None:
    log = az(good_host.documents(OURS), good_host.settings(NAMES))
    documents, names = read_azure(good_host.GROUP, good_host.APP)
    findings = examine(replace(good(), settings=documents["settings"], azure=documents, azure_names=names))
    assert by_verdict(findings, FAIL) == []
    assert {each.what for each in by_verdict(findings, CANNOT_TELL)} == NEVER_KNOWN
    for command in log.read_text().splitlines():
        assert {"show", "list", "list-versions", "get"} & set(command.split()), f"{command} may write"


def test_a_command_that_is_refused_leaves_its_checks_open(
    az: Callable[[dict[str, Any], dict[str, str]], Path],
) -> None:
    shown = {name: each for name, each in good_host.documents(OURS).items() if name not in ("roles", "certificate")}
    az(shown, good_host.settings(NAMES))
    documents, names = read_azure(good_host.GROUP, good_host.APP)
    findings = examine(replace(good(), settings=documents["settings"], azure=documents, azure_names=names))
    unknown = {each.what for each in by_verdict(findings, CANNOT_TELL)} - NEVER_KNOWN
    assert unknown == {
        "what the identity may do in the vault",
        "the certificate's policy",
        "renewal of the certificate",
    }
    assert by_verdict(findings, FAIL) == []


def test_an_app_that_is_not_shown_is_said_so(az: Callable[[dict[str, Any], dict[str, str]], Path]) -> None:
    az({}, {})
    with pytest.raises(SettingsError, match="does not show") as raised:
        read_azure(good_host.GROUP, good_host.APP)
    assert "az login" in raised.value.next_step


def test_without_the_azure_cli_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SettingsError, match="not installed"):
        read_azure("rg", "app")


@pytest.mark.parametrize(
    "text",
    [
        '[{"name": "JIT_PROFILE", "value": "production"}, {"name": "JIT_LEDGER", "value": null}]',
        '{"JIT_PROFILE": "production", "JIT_LEDGER": ""}',
        "# of the container\nJIT_PROFILE=production\n\nJIT_LEDGER=\n",
    ],
)
def test_settings_are_read_from_files_of_three_kinds(text: str, tmp_path: Path) -> None:
    (tmp_path / "settings").write_text(text)
    assert read_settings(tmp_path / "settings") == {"JIT_PROFILE": "production", "JIT_LEDGER": ""}


@pytest.mark.parametrize("text", ["JIT_LEGACY_PEPPER hunter2", '[{"value": "hunter2"}]', '{"a": ', "[1]"])
def test_a_file_that_is_none_is_refused_without_its_text(text: str, tmp_path: Path) -> None:
    (tmp_path / "settings").write_text(text)
    with pytest.raises(SettingsError) as raised:
        read_settings(tmp_path / "settings")
    assert "hunter2" not in str(raised.value)


# --- in a tenant ----------------------------------------------------------------------------------------------------


async def names_of(s: Session) -> dict[str, str]:
    return {
        "JIT_TENANT_ID": s.tenant.id,
        "JIT_EXTENSION_APP_ID": (await s.apps.extension.show()).app_id,
        "JIT_IDENTIFIER_URI": (await s.apps.extension.show()).identifier_uri,
        "JIT_EXTENSION_IDS": (await s.policies.extension.show()).extension_id,
        "JIT_LISTENER_IDS": (await s.policies.listener.show()).listener_id,
    }


async def hosted(opening: Opening, home: Path) -> tuple[Session, dict[str, str]]:
    """A session whose key is in the rehearsal vault, with an endpoint that reads it there, and good settings."""
    profiles.save(home, profiles.load(home).model_copy(update={"hosting": profiles.Hosting(vault=good_host.VAULT)}))
    s = await opening(home)
    s.world.provision("grant")
    await s.vault.ensure()
    names = await names_of(s)
    served = {
        **names,
        **s.vault.door.environment,
        "KeyVaultUrl": s.vault.door.url,
        "CiamJitMigrationEncryptionCertName": good_host.CERTIFICATE,
        "JIT_OPENID_CONFIGURATION": s.world.documents(),
        "LegacyApiConnectionString": (await s.endpoint.settings())["LegacyApiConnectionString"],
        "JIT_LEDGER": str(s.endpoint.ledger_path),
    }
    url = await s.endpoint._running.start(served, port=0)
    s.world.publish(s.profile.endpoint_host, url.split("/api/")[0])
    await s.key.rotate()
    return s, good_host.settings(names)


async def test_a_tenant_in_order_passes_and_nothing_is_written(home: Path, opening: Opening) -> None:
    s, settings = await hosted(opening, home)
    checked = await s.check("go-live", settings=settings)
    assert checked.faults == ()
    rows = {row[0]: row[1] for row in checked.rows}
    for what in (
        *("that the endpoint has the key in use", "whom the endpoint serves", "that the newest key is the one in use"),
        "that a caller without a token is refused",
        *("that vault and tenant hold the same certificate", "where else that key's private half is"),
    ):
        assert rows[what] == PASS
    assert rows["what only Azure shows"] == CANNOT_TELL and "the vault's firewall" not in rows
    assert [each for each in checked.sent if each.method != "GET" and "/validate" not in each.url] == []


async def test_the_rehearsal_says_in_one_row_what_only_azure_shows(home: Path, opening: Opening) -> None:
    s, _ = await hosted(opening, home)
    checked = await s.check("go-live")
    [found] = [row for row in checked.rows if row[0] == "what only Azure shows"]
    without = [
        each for each in examine(replace(good(), settings=None, azure={})) if each.unread not in ("", "versions")
    ]
    assert re.match(rf"{len(without)} settings of the app", str(found[2]))
    assert 'resource_group="rg-jit-migration", app="func-jit-migration"' in str(found[3])
    unknown = {row[0] for row in checked.rows if row[1] == CANNOT_TELL}
    assert unknown <= {found[0], "the applications whose users migrate"} | NEVER_KNOWN


async def test_a_forgotten_switch_is_found_while_sign_ins_still_work(home: Path, opening: Opening) -> None:
    s, settings = await hosted(opening, home)
    await s.vault.new_version()
    checked = await s.check("go-live", settings=settings)
    assert [each.what for each in checked.faults] == [
        "encryption key",
        "that vault and tenant hold the same certificate",
    ]
    assert (await s.sign_in("ben@woodgrove.example")).migrated


async def test_a_vault_that_refuses_leaves_its_check_open(home: Path, opening: Opening) -> None:
    s, settings = await hosted(opening, home)
    s.world.provision("restrict")
    rows = {row[0]: row[1] for row in (await s.check("go-live", settings=settings)).rows}
    assert rows["that vault and tenant hold the same certificate"] == CANNOT_TELL


async def test_the_endpoint_on_this_machine_is_not_ready_for_going_live(home: Path, opening: Opening) -> None:
    s = await opening(home)
    await s.endpoint.ensure()
    checked = await s.check("go-live", settings=await s.endpoint.settings())
    assert {each.what for each in checked.faults} == {
        *("JIT_PROFILE", "where TLS ends", "where the private key is", "the legacy store", "where the ledger goes"),
        *("JIT_OPENID_CONFIGURATION", "Application Insights", "where else that key's private half is"),
    }
    assert "PRIVATE KEY" not in str(checked.rows)


async def test_faults_of_the_configuration_are_faults_here_too(home: Path, opening: Opening) -> None:
    s, settings = await hosted(opening, home)
    with s.rehearsal.misconfigure("consent-missing"):
        checked = await s.check("go-live", settings=settings)
    assert [(each.what, each.verdict) for each in checked.faults] == [
        ("consent to receive payloads", FAIL),
        ("the tenant's validation of it", FAIL),
    ]


async def test_an_endpoint_that_lacks_the_key_in_use_is_found(home: Path, opening: Opening) -> None:
    s = await opening(home)
    await s.endpoint.ensure()
    settings = good_host.settings(await names_of(s))
    s.key.private_key_path.rename(home / "away.pem")
    try:
        await s.key.ensure(replace=True, endpoint_has_key=True)
        checked = await s.check("go-live", settings=settings)
    finally:
        (home / "away.pem").unlink(missing_ok=True)
    assert "that the endpoint has the key in use" in [each.what for each in checked.faults]


def test_the_command_ends_with_1_on_a_fault_and_prints_its_fix(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("JIT_KIT_HOME", str(home))
    (home / "endpoint.env").write_text("JIT_PROFILE=development\nDecryptionPrivateKey=hunter2\n")
    assert main(["doctor", "--settings", str(home / "endpoint.env")]) == 1
    said = capsys.readouterr().out
    assert "FAIL         JIT_PROFILE: development\n             Next: Set JIT_PROFILE=production" in said
    assert "CANNOT TELL" in said and "hunter2" not in said

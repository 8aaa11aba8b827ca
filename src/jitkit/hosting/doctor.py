"""Checks a set-up before it goes live: reads the host through the Azure CLI, and judges what it and the tenant show.

Nothing is written, and nothing is taken from what the kit remembers. Texts and commands are data: `doctor.toml`.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import json
import re
import shutil
import subprocess
import tomllib
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from jitkit import protocol
from jitkit.errors import SettingsError
from jitkit.hosting.package import SECRETS

__all__ = ["CANNOT_TELL", "FAIL", "PASS", "Evidence", "Finding", "TenantKey", "examine", "read_azure", "read_settings"]

PASS: Final = "pass"  # noqa: S105
FAIL: Final = "fail"
CANNOT_TELL: Final = "cannot tell"

_TABLES: Final = tomllib.loads((files(__package__) / "doctor.toml").read_text(encoding="utf-8"))
_COMMANDS: Final[dict[str, str]] = _TABLES["read"]
_TEXTS: Final[dict[str, dict[str, str]]] = _TABLES["checks"]

_ENDS_SOON: Final = timedelta(days=30)
_LEAST_AT_ONCE, _LEAST_READY, _LEAST_MEMORY = 20, 2, 2048
_COMMAND_SECONDS: Final = 120
_TUNNELS: Final = re.compile(
    r"(.*\.)?(ngrok(-free)?\.(app|io|dev)|devtunnels\.ms|trycloudflare\.com|loca\.lt|lhr\.life|serveo\.net|localhost)"
)
_MICROSOFT: Final = re.compile(r"login\.microsoftonline\.com|[0-9a-z-]+\.ciamlogin\.com")
_BYPASS: Final = re.compile(r".*(BYPASS|SKIP|ANONYMOUS|INSECURE|TEST_?MODE).*", re.IGNORECASE)
_REFERENCE: Final = "@Microsoft.KeyVault("
_PINNED: Final = re.compile(r"SecretVersion=|/secrets/[^/)]+/[0-9a-f]{32}", re.IGNORECASE)
_OFF: Final = ("", "0", "false", "no", "off")
# A Flex Consumption plan has its own place for each of these.
_NOT_ON_FLEX: Final = re.compile(
    r"FUNCTIONS_WORKER_RUNTIME|FUNCTIONS_EXTENSION_VERSION|SCM_DO_BUILD_DURING_DEPLOYMENT|ENABLE_ORYX_BUILD"
    r"|WEBSITE_RUN_FROM_PACKAGE|WEBSITE_CONTENT\w*|WEBSITE_TIME_ZONE|TZ"
)
_NEEDED_ROLE: Final = "Key Vault Secrets User"
_WIDER_ROLES: Final = re.compile(r"Owner|Contributor|.*Administrator|Key Vault .*Officer")


@dataclass(frozen=True)
class Finding:
    """One thing that was checked."""

    what: str
    verdict: str  # PASS, FAIL or CANNOT_TELL
    found: str
    fix: str = ""  # empty when it passed
    unread: str = ""  # what would show it and was not read: a name of [read] in doctor.toml


@dataclass(frozen=True)
class TenantKey:
    """A certificate on the extension's app registration that passwords can be encrypted with."""

    thumbprint: str  # SHA-1 of the certificate, hexadecimal
    starts: datetime
    ends: datetime
    in_use: bool

    @property
    def x5t(self) -> str:
        """The thumbprint as the `x5t` header writes it."""
        return base64.urlsafe_b64encode(bytes.fromhex(self.thumbprint)).decode().rstrip("=")


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What was read: of the tenant always; of the endpoint and its host as far as they can be read."""

    address: str  # the address that Entra calls
    wait_ms: int | None  # what the extension waits, None for the service's own choice
    retries: int | None
    keys: Sequence[TenantKey]
    names: Mapping[str, str]  # the endpoint's settings as this tenant wants them: JIT_TENANT_ID and others
    other_applications: Sequence[str]  # that the listener covers, beside the test client
    health: Mapping[str, Any] | None = None  # what the endpoint's GET answered, with the key in use as `x5t`
    to_strangers: int | None = None  # the status that a POST without a token got
    settings: Mapping[str, str] | None = field(default=None, repr=False)  # the endpoint's environment; it may be secret
    azure: Mapping[str, Any] = field(default_factory=dict, repr=False)  # what each command of doctor.toml answered
    azure_names: Mapping[str, str] = field(default_factory=dict)  # group, app, vault and others, for the fixes
    keys_here: Sequence[str] = ()  # thumbprints of the certificates whose private keys are files on this machine
    lock_after: int | None = None  # wrong passwords at which the legacy store locks an account
    now: datetime = field(default_factory=lambda: datetime.now(UTC))


class _Unknown(Exception):
    """Something is not shown: the words, and the name of the document of Azure that would show it, if it is one."""


_Verdict = tuple[bool, str]


def examine(evidence: Evidence) -> list[Finding]:
    """Judge everything that was read. A check whose evidence is missing says how to get it."""
    return [_judge(look, evidence) for look in _CHECKS]


def _judge(look: Callable[[Evidence], _Verdict], evidence: Evidence) -> Finding:
    texts = _TEXTS[look.__name__.removeprefix("_")]
    what = texts["what"]
    advice = _filled(texts["fix"], evidence)
    try:
        good, found = look(evidence)
    except _Unknown as unknown:
        return Finding(what, CANNOT_TELL, unknown.args[0], advice, *unknown.args[1:])
    return Finding(what, PASS, found) if good else Finding(what, FAIL, found, advice)


def _filled(text: str, evidence: Evidence) -> str:
    """Put the Azure names into a text; those that are not known show as dots."""
    return text.format_map(defaultdict(lambda: "…", evidence.azure_names))


# --- reading ---------------------------------------------------------------------------------------------------------


def read_settings(path: Path) -> dict[str, str]:
    """Read an endpoint's settings from a file: JSON as the Azure CLI prints it, or lines of NAME=VALUE.

    Raises:
        SettingsError: the file cannot be read as that; no value of it is repeated.
    """
    try:
        text = path.read_text(encoding="utf-8")
        if text.lstrip().startswith(("[", "{")):
            return _by_name(json.loads(text))
        lines = [line.strip() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
        return dict(line.split("=", 1) for line in lines)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as problem:
        raise SettingsError(
            f"{path} cannot be read as settings.",
            service=problem.strerror if isinstance(problem, OSError) else None,
            next_step=f"Give lines of NAME=VALUE, or what this prints: {_COMMANDS['settings']}",
        ) from None


def _by_name(listed: Any) -> dict[str, str]:
    rows = listed.items() if isinstance(listed, dict) else ((row["name"], row["value"]) for row in listed)
    return {str(name): "" if value is None else str(value) for name, value in rows}


def read_azure(group: str, app: str, vault: str = "", certificate: str = "") -> tuple[dict[str, Any], dict[str, str]]:
    """Read a function app and its vault through the Azure CLI that is signed in on this machine. Nothing is written.

    Args:
        group: the resource group.
        app: the function app.
        vault: the key vault; by default the one that the app's settings name.
        certificate: the vault's certificate; likewise.

    Returns:
        What each command answered, without those that failed; and the names for the fixes.

    Raises:
        SettingsError: the Azure CLI is not installed, or does not show the app.
    """
    command = shutil.which("az")
    if command is None:
        raise SettingsError(
            "The Azure CLI is not installed here, so the host cannot be read.",
            next_step="Install it and run `az login`, or leave the resource group and the app out: then only the"
            " tenant and the address are checked.",
        )
    names, read = {"group": group, "app": app}, dict[str, Any]()

    def ask(*documents: str) -> None:
        for document in documents:
            words = _COMMANDS[document].split()
            if all(word[1:].partition("}")[0] in names for word in words if word.startswith("{")):
                answer = _run([command, *(word.format_map(names) for word in words[1:]), "-o", "json"])
                if answer is not None:
                    read[document] = answer

    ask("site", "settings")
    if "site" not in read:
        raise SettingsError(
            f"The Azure CLI does not show the function app {app} in {group}.",
            next_step=f"Run `az login` with an account that may read it, then: {_COMMANDS['site'].format_map(names)}",
        )
    settings = _by_name(read.pop("settings", []))
    names |= {"site_id": read["site"]["id"], "identity": str(_at(read["site"], "identity", "principalId") or "")}
    names["vault"] = vault or (urlsplit(settings.get("KeyVaultUrl", "")).hostname or "").partition(".")[0]
    names["certificate"] = certificate or settings.get("CiamJitMigrationEncryptionCertName", "")
    names["storage"] = settings.get("AzureWebJobsStorage__accountName", "")
    names = {name: value for name, value in names.items() if value}
    ask("auth", "references", "storage", "alerts", "workbooks", "vault", "certificate", "versions", "contacts")
    if vault_id := _at(read.get("vault"), "id"):
        names["vault_id"] = vault_id
    ask("roles", "vault_log")
    return {**read, "settings": settings} if settings else read, names


def _run(words: Sequence[str]) -> Any:
    """Run one read-only command; returns what it printed, or None when it failed."""
    try:
        done = subprocess.run(words, capture_output=True, timeout=_COMMAND_SECONDS, check=True)  # noqa: S603
        return json.loads(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError):
        return None


# --- the checks ------------------------------------------------------------------------------------------------------


def _public_host(e: Evidence) -> _Verdict:
    parts = urlsplit(e.address)
    host = parts.hostname or ""
    try:
        ipaddress.ip_address(host)
        return False, f"{host} is a number, not a name"
    except ValueError:
        if _TUNNELS.fullmatch(host):
            return False, f"{host} is a tunnel to a workstation"
    return parts.scheme == "https", f"{parts.scheme}://{host}"


def _wait(e: Evidence) -> _Verdict:
    if e.wait_ms is None:
        raise _Unknown("The extension leaves it to the service.")
    long_enough = e.wait_ms >= protocol.TIMEOUT_MS and (e.retries or 0) >= 1
    return long_enough, f"{e.wait_ms:,} ms, then {e.retries or 0} more tries"


def _in_use(e: Evidence) -> TenantKey | None:
    return next((key for key in e.keys if key.in_use), None)


def _needed(e: Evidence) -> TenantKey:
    if (key := _in_use(e)) is None:
        raise _Unknown("No key is in use.")
    return key


def _key_in_use(e: Evidence) -> _Verdict:
    key = _in_use(e)
    return key is not None, key.thumbprint if key else "none: passwords would arrive in clear, or not at all"


def _key_ends(e: Evidence) -> _Verdict:
    ends = _needed(e).ends
    return ends - e.now > _ENDS_SOON, f"until {ends.date().isoformat()}: {(ends - e.now).days} days"


def _key_switched(e: Evidence) -> _Verdict:
    key, newest = _needed(e), max(e.keys, key=lambda each: each.starts)
    if newest.starts > key.starts:
        return False, f"{newest.thumbprint} of {newest.starts.date().isoformat()} is newer than {key.thumbprint}"
    return True, f"{key.thumbprint}, of {len(e.keys)} on the registration"


def _key_at_endpoint(e: Evidence) -> _Verdict:
    key, health = _needed(e), _shown(e.health, "The endpoint does not say how it is.")
    if "has_key" not in health:
        raise _Unknown("The endpoint does not say which keys it has.")
    return health["has_key"] is True, f"{key.thumbprint}: {'there' if health['has_key'] is True else 'not there'}"


def _key_elsewhere(e: Evidence) -> _Verdict:
    here = _needed(e).thumbprint in e.keys_here
    return not here, "also a file on this machine" if here else "no file on this machine"


def _health(e: Evidence) -> _Verdict:
    health = _shown(e.health, "The endpoint does not say how it is.")
    days, ahead = health.get("certificate_days_left"), health.get("clock_seconds_ahead")
    words = [f"certificate: {days} days left"] if days is not None else []
    words += [f"clock: {ahead} s ahead"] if ahead else []
    good = health.get("status") == "ok" and not ahead and (days is None or days > _ENDS_SOON.days)
    return good, "; ".join(words) or f"status {health.get('status')}"


def _strangers(e: Evidence) -> _Verdict:
    if e.to_strangers is None:
        raise _Unknown("The endpoint does not answer.")
    return e.to_strangers in (401, 403), f"status {e.to_strangers} without a token"


def _applications(e: Evidence) -> _Verdict:
    if not e.other_applications:
        raise _Unknown("The listener covers the kit's test client alone.")
    return True, ", ".join(e.other_applications)


def _sign_in_log(e: Evidence) -> _Verdict:
    raise _Unknown("An external tenant keeps it for 7 days by itself.")


def _settings(e: Evidence) -> Mapping[str, str]:
    if e.settings is None:
        raise _Unknown(f"The endpoint's settings were not read: {_filled(_COMMANDS['settings'], e)}", "settings")
    return e.settings


def _is_on(settings: Mapping[str, str], name: str) -> bool:
    return settings.get(name, "").strip().lower() not in _OFF


def _production(e: Evidence) -> _Verdict:
    profile = _settings(e).get("JIT_PROFILE") or "development"
    return profile.lower() == "production", profile


def _tls(e: Evidence) -> _Verdict:
    settings = _settings(e)
    if _is_on(settings, "JIT_BEHIND_TLS"):
        return True, "at the host's front end"
    own = bool(settings.get("JIT_TLS_CERTIFICATE"))
    return own, "at the endpoint" if own else "nothing says where"


def _names(e: Evidence) -> _Verdict:
    settings = _settings(e)
    wanted = {name: e.names[name] for name in ("JIT_TENANT_ID", "JIT_EXTENSION_APP_ID", "JIT_IDENTIFIER_URI")}
    wrong = [
        f"{name} is {settings.get(name) or 'missing'}, not {value}"
        for name, value in wanted.items()
        if settings.get(name, "").lower() != value.lower()
    ]
    return not wrong, "; ".join(wrong) or "tenant, registration and identifier URI are this tenant's"


def _only_ours(e: Evidence) -> _Verdict:
    settings, wrong = _settings(e), []
    for name in ("JIT_EXTENSION_IDS", "JIT_LISTENER_IDS"):
        listed = [each.strip().lower() for each in settings.get(name, "").split(",") if each.strip()]
        if listed and e.names[name].lower() not in listed:
            wrong.append(f"{name} leaves out {e.names[name]}: its calls are refused")
    return not wrong, "; ".join(wrong) or "they let the tenant's own in"


def _issuers(e: Evidence) -> _Verdict:
    urls = [each.strip() for each in _settings(e).get("JIT_OPENID_CONFIGURATION", "").split(",") if each.strip()]
    foreign = [url for url in urls if not (url.startswith("https:") and _MICROSOFT.fullmatch(_host(url)))]
    return not foreign, ", ".join(map(_host, foreign or urls)) or "the tenant's own documents"


def _host(url: str) -> str:
    return (urlsplit(url).hostname or "").lower()


def _bypass(e: Evidence) -> _Verdict:
    found = sorted(name for name in _settings(e) if _BYPASS.fullmatch(name) and _is_on(_settings(e), name))
    return not found, ", ".join(found) or "none"


def _in_clear(value: str) -> bool:
    return bool(value.strip()) and not value.strip().startswith(_REFERENCE)


def _private_key(e: Evidence) -> _Verdict:
    settings = _settings(e)
    names = [name for name in SECRETS if name != "LegacyApiConnectionString" and _in_clear(settings.get(name, ""))]
    if names:
        return False, f"in clear in {', '.join(names)}"
    vault = settings.get("KeyVaultUrl") or settings.get("DecryptionPrivateKey")
    return bool(vault), "in Azure Key Vault" if vault else "no setting names a key"


def _pinned_version(e: Evidence) -> _Verdict:
    settings = _settings(e)
    pinned = sorted(name for name, text in settings.items() if text.startswith(_REFERENCE) and _PINNED.search(text))
    return not pinned, ", ".join(pinned) or "none names one"


def _store(e: Evidence) -> _Verdict:
    url = _settings(e).get("LegacyApiConnectionString", "")
    if url.startswith(_REFERENCE):
        raise _Unknown("The vault holds it. The endpoint does not start without it.")
    kind = url.partition(":")[0].partition("+")[0]
    return kind not in ("", "sqlite"), kind or "none"


def _store_secret(e: Evidence) -> _Verdict:
    url = _settings(e).get("LegacyApiConnectionString", "")
    if not _in_clear(url):
        return bool(url), "a reference to the vault" if url else "no setting names a store"
    try:
        parts = urlsplit(url)
        secret = parts.password or any(re.search("pass|secret|key|token", name, re.I) for name in parse_qs(parts.query))
    except ValueError:
        secret = True
    return not secret, "in clear in LegacyApiConnectionString" if secret else "the address holds none"


def _ledger(e: Evidence) -> _Verdict:
    ledger = _settings(e).get("JIT_LEDGER") or ("Application Insights" if _sends_lines(e) else "-")
    places = {"-": "standard output", "Application Insights": "Application Insights"}
    return ledger in places, places.get(ledger, f"the file {ledger}")


def _sends_lines(e: Evidence) -> bool:
    return (_settings(e).get("JIT_TELEMETRY") or "off") != "off"


def _identity_only(e: Evidence) -> _Verdict:
    settings = _settings(e)
    value = settings.get("AZURE_TOKEN_CREDENTIALS") or "any way that works"
    return value == "ManagedIdentityCredential" or not settings.get("KeyVaultUrl"), value


def _guesses(e: Evidence) -> _Verdict:
    guesses = _settings(e).get("JIT_GUESSES") or "4"
    try:
        instances = max(_always_ready_count(e), 1)
    except _Unknown:
        instances = 1
    words = f"{guesses} in each process, with {instances} always running"
    if e.lock_after is None or not guesses.isdigit():
        raise _Unknown(f"{words}; it is not known after how many the legacy store locks an account.")
    total = int(guesses) * instances
    return total < e.lock_after, f"{words}: {total}; the store locks after {e.lock_after}"


def _telemetry(e: Evidence) -> _Verdict:
    there = bool(_settings(e).get("APPLICATIONINSIGHTS_CONNECTION_STRING"))
    return there, "connected" if there else "not connected"


def _telemetry_once(e: Evidence) -> _Verdict:
    ways = ("PYTHON_APPLICATIONINSIGHTS_ENABLE_TELEMETRY", "PYTHON_ENABLE_OPENTELEMETRY")
    on = [name for name in ways if _is_on(_settings(e), name)]
    if _sends_lines(e):
        on += ["JIT_TELEMETRY", *(["JIT_LEDGER=-"] if _settings(e).get("JIT_LEDGER") == "-" else [])]
    return len(on) < 2, ", ".join(on) or "the host's own"


def _refused_settings(e: Evidence) -> _Verdict:
    _flex(e)
    found = sorted(name for name in _settings(e) if _NOT_ON_FLEX.fullmatch(name))
    return not found, ", ".join(found) or "none"


def _storage_settings(e: Evidence) -> _Verdict:
    settings = _settings(e)
    _document(e, "site")
    if "AzureWebJobsStorage" in settings:
        return False, "AzureWebJobsStorage is a connection string"
    named = next((name for name in settings if name.startswith("AzureWebJobsStorage__")), "")
    return bool(named), "with the identity" if named else "no setting names it"


def _document(e: Evidence, name: str) -> Any:
    if name not in e.azure:
        raise _Unknown(f"It was not read: {_filled(_COMMANDS[name], e)}", name)
    return e.azure[name]


def _shown(value: Any, missing: str) -> Any:
    if value is None:
        raise _Unknown(missing)
    return value


def _at(document: Any, *path: str) -> Any:
    """Return a member of a document, None where it is not there."""
    for name in path:
        document = document.get(name) if isinstance(document, dict) else None
    return document


def _site(e: Evidence, *path: str) -> Any:
    return _at(_document(e, "site"), "properties", *path)


def _flex(e: Evidence) -> Any:
    """Return what only an app on a Flex Consumption plan has."""
    return _shown(_site(e, "functionAppConfig"), "The app shows no functionAppConfig: it is on another plan.")


def _identity(e: Evidence) -> _Verdict:
    kind = _at(_document(e, "site"), "identity", "type") or "None"
    return kind != "None", kind


def _https_only(e: Evidence) -> _Verdict:
    return _site(e, "httpsOnly") is True, "on" if _site(e, "httpsOnly") is True else "off"


def _concurrency(e: Evidence) -> _Verdict:
    number = _at(_flex(e), "scaleAndConcurrency", "triggers", "http", "perInstanceConcurrency")
    return (number or 1) >= _LEAST_AT_ONCE, str(number or "not set: 1")


def _always_ready_count(e: Evidence) -> int:
    groups = _at(_flex(e), "scaleAndConcurrency", "alwaysReady") or []
    return sum(int(each["instanceCount"]) for each in groups if each.get("name") == "http")


def _always_ready(e: Evidence) -> _Verdict:
    count = _always_ready_count(e)
    return count >= _LEAST_READY, str(count)


def _rolling(e: Evidence) -> _Verdict:
    kind = _at(_flex(e), "siteUpdateStrategy", "type") or "Recreate"
    return kind == "RollingUpdate", kind


def _memory(e: Evidence) -> _Verdict:
    megabytes = _shown(_at(_flex(e), "scaleAndConcurrency", "instanceMemoryMB"), "The app does not show it.")
    return megabytes >= _LEAST_MEMORY, f"{megabytes} MB"


def _deploy_identity(e: Evidence) -> _Verdict:
    kind = _shown(_at(_flex(e), "deployment", "storage", "authentication", "type"), "The app does not show it.")
    return kind.endswith("Identity"), kind


def _outbound_network(e: Evidence) -> _Verdict:
    subnet = _site(e, "virtualNetworkSubnetId")
    return bool(subnet), str(subnet).rpartition("/")[2] if subnet else "none"


def _front_door(e: Evidence) -> _Verdict:
    if (_site(e, "publicNetworkAccess") or "Enabled") == "Disabled":
        return False, "public access is off"
    if _site(e, "privateEndpointConnections"):
        return False, "a private endpoint stands in front of it"
    rules = _site(e, "siteConfig", "ipSecurityRestrictions") or []
    default = _site(e, "siteConfig", "ipSecurityRestrictionsDefaultAction")
    limited = default == "Deny" or any(
        each.get("action") == "Allow" and each.get("ipAddress") not in (None, "Any", "0.0.0.0/0") for each in rules
    )
    return not limited, "a list of addresses limits who reaches it" if limited else "public"


def _built_in_auth(e: Evidence) -> _Verdict:
    on = _at(_document(e, "auth"), "properties", "platform", "enabled") is True
    return not on, "on" if on else "off"


def _references(e: Evidence) -> _Verdict:
    states = {each.get("name"): _at(each, "properties", "status") for each in _document(e, "references")["value"]}
    bad = [f"{name}: {status}" for name, status in states.items() if status != "Resolved"]
    return not bad, "; ".join(bad) or f"{len(states)} resolved"


def _storage_keys(e: Evidence) -> _Verdict:
    # The Azure CLI shows None where nothing was ever set, and then they are allowed.
    off = _at(_document(e, "storage"), "allowSharedKeyAccess") is False
    return off, "off" if off else "allowed"


def _vault(e: Evidence, *path: str) -> Any:
    return _at(_document(e, "vault"), "properties", *path)


def _vault_rbac(e: Evidence) -> _Verdict:
    return _vault(e, "enableRbacAuthorization") is True, (
        "roles" if _vault(e, "enableRbacAuthorization") is True else "access policies"
    )


def _vault_purge(e: Evidence) -> _Verdict:
    on = _vault(e, "enablePurgeProtection") is True and _vault(e, "enableSoftDelete") is not False
    return on, "protected" if on else "not protected"


def _vault_firewall(e: Evidence) -> _Verdict:
    closed = _vault(e, "publicNetworkAccess") == "Disabled" or _vault(e, "networkAcls", "defaultAction") == "Deny"
    return closed, "closed to other networks" if closed else "open to every network"


def _vault_private(e: Evidence) -> _Verdict:
    states = [
        _at(each, "privateLinkServiceConnectionState", "status")
        or _at(each, "properties", "privateLinkServiceConnectionState", "status")
        for each in _vault(e, "privateEndpointConnections") or []
    ]
    return "Approved" in states, f"{len(states)}: {', '.join(map(str, states))}" if states else "none"


def _certificate(e: Evidence) -> _Verdict:
    policy = _at(_document(e, "certificate"), "policy")
    key = _at(policy, "keyProperties") or {}
    wrong = [
        words
        for words, good in {
            "not RSA of at least 2048 bits": key.get("keyType") == "RSA" and (key.get("keySize") or 0) >= 2048,
            "not exportable: the endpoint cannot read the private key": key.get("exportable") is True,
            "the key is used again in the next version": key.get("reuseKey") is False,
            "not PKCS #12": _at(policy, "secretProperties", "contentType") == "application/x-pkcs12",
        }.items()
        if not good
    ]
    return not wrong, "; ".join(wrong) or f"RSA {key.get('keySize')}, exportable, a new key in each version"


def _no_auto_renew(e: Evidence) -> _Verdict:
    actions = _at(_document(e, "certificate"), "policy", "lifetimeActions") or []
    kinds = [str(_at(each, "action", "actionType")) for each in actions]
    return kinds == ["EmailContacts"], ", ".join(kinds) or "no action before it ends"


def _contacts(e: Evidence) -> _Verdict:
    document = _document(e, "contacts")
    listed = document if isinstance(document, list) else _at(document, "contactList") or _at(document, "contacts") or []
    return bool(listed), f"{len(listed)} contacts"


def _vault_and_tenant(e: Evidence) -> _Verdict:
    key, versions = _needed(e), _document(e, "versions")
    enabled = [each for each in versions if _at(each, "attributes", "enabled") is not False]
    newest = max(enabled, key=lambda each: str(_at(each, "attributes", "created")), default=None)
    if newest is None:
        return False, "the vault has no enabled version"
    prints = [_hexadecimal(each) for each in enabled]
    if key.thumbprint not in prints:
        return False, f"no enabled version of the vault is {key.thumbprint}, which Entra encrypts with"
    if _hexadecimal(newest) != key.thumbprint:
        return False, f"the vault's newest is {_hexadecimal(newest)}; Entra encrypts with {key.thumbprint}"
    return True, key.thumbprint


def _hexadecimal(version: Mapping[str, Any]) -> str:
    """Return a version's thumbprint in hexadecimal: the Azure CLI shows it so, or as base64."""
    noted = str(version.get("x509ThumbprintHex") or version.get("x509Thumbprint") or "")
    if re.fullmatch("[0-9A-Fa-f]{40}", noted):
        return noted.upper()
    try:
        return base64.urlsafe_b64decode(noted + "=" * (-len(noted) % 4)).hex().upper()
    except (binascii.Error, ValueError):
        return noted


def _role(e: Evidence) -> _Verdict:
    roles = sorted({str(each.get("roleDefinitionName")) for each in _document(e, "roles")})
    wider = [each for each in roles if _WIDER_ROLES.fullmatch(each)]
    return _NEEDED_ROLE in roles and not wider, ", ".join(roles) or "nothing"


def _vault_log(e: Evidence) -> _Verdict:
    document = _document(e, "vault_log")
    rows = document if isinstance(document, list) else _at(document, "value") or []
    wanted = ("AuditEvent", "audit", "allLogs")
    kept = any(
        log.get("enabled") and (log.get("category") in wanted or log.get("categoryGroup") in wanted)
        for row in rows
        for log in row.get("logs") or _at(row, "properties", "logs") or []
    )
    return kept, "kept" if kept else "not kept"


def _alerts(e: Evidence) -> _Verdict:
    rules = {str(each.get("name")): each for each in _document(e, "alerts")}
    silent = [name for name, each in rules.items() if not _at(each, "actions", "actionGroups")]
    off = [name for name, each in rules.items() if each.get("enabled") is False]
    if silent or off or not rules:
        reasons = {"reach nobody": silent, "switched off": off}
        return False, "; ".join(f"{why}: {', '.join(names)}" for why, names in reasons.items() if names) or "none"
    wanted = tomllib.loads((files(__package__) / "alerts.toml").read_text(encoding="utf-8"))["alerts"]
    missing = [each for each in wanted if not any(name.endswith(each) for name in rules)]
    if missing:
        raise _Unknown(f"No rule is named {', '.join(missing)}; one of another name may do its work.")
    return True, f"{len(rules)} that reach somebody"


def _dashboard(e: Evidence) -> _Verdict:
    count = len(_document(e, "workbooks"))
    return count > 0, f"{count} workbooks"


_CHECKS: Final = (
    *(_public_host, _wait, _key_in_use, _key_ends, _key_switched, _key_at_endpoint, _key_elsewhere, _health),
    *(_strangers, _applications, _sign_in_log, _production, _tls, _names, _only_ours, _issuers, _bypass),
    *(_private_key, _pinned_version, _store, _store_secret, _ledger, _identity_only, _guesses, _telemetry),
    *(_telemetry_once, _refused_settings, _storage_settings, _identity, _https_only, _concurrency, _always_ready),
    *(_rolling, _memory, _deploy_identity, _outbound_network, _front_door, _built_in_auth, _references),
    *(_storage_keys, _vault_rbac, _vault_purge, _vault_firewall, _vault_private, _certificate, _no_auto_renew),
    *(_contacts, _vault_and_tenant, _role, _vault_log, _alerts, _dashboard),
)

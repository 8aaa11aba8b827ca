"""The endpoint's settings: environment variables in, one validated value out."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

from helpers.endpoint.keys import DecryptionKey, parse_key, read_vault
from helpers.errors import SettingsError

__all__ = ["GUID", "Settings", "is_safe_url"]

GUID: Final = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")

# Entra waits 2,000 ms at most [limits]; below 100 ms no legacy store can answer.
_SHORTEST_MS, _DEFAULT_MS, _LONGEST_MS = 100, 1500, 1900


@dataclass(frozen=True)
class Settings:
    """Hold everything that the endpoint needs to know before it serves.

    Args:
        tenant_id: the external tenant (GUID).
        extension_app_id: the application id of the extension's app registration (GUID).
        identifier_uri: its identifier URI.
        openid_configuration: the metadata URLs whose signing keys are united.
        keys: the decryption keys, current first, then the previous one while keys are being changed.
        legacy_url: the legacy store as a URL. It may hold a password.
        legacy_query: for SQL stores, the statement to use instead of the default one.
        deadline: seconds from a request's arrival to its answer.
        ledger: the ledger's path, or `-` for standard output.
    """

    tenant_id: str
    extension_app_id: str
    identifier_uri: str
    openid_configuration: tuple[str, ...]
    keys: tuple[DecryptionKey, ...]
    legacy_url: str = field(repr=False)
    legacy_query: str | None = None
    deadline: float = _DEFAULT_MS / 1000
    ledger: str = "-"

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Settings:
        """Read and check the settings.

        Args:
            environment: usually `os.environ`.

        Raises:
            SettingsError: a setting is missing or cannot be used; the message names it and never repeats a secret.
        """
        tenant_id = _guid(environment, "JIT_TENANT_ID")
        return cls(
            tenant_id=tenant_id,
            extension_app_id=_guid(environment, "JIT_EXTENSION_APP_ID"),
            identifier_uri=_required(environment, "JIT_IDENTIFIER_URI"),
            openid_configuration=_metadata(environment, tenant_id),
            keys=_keys(environment),
            legacy_url=_required(environment, "LegacyApiConnectionString"),
            legacy_query=environment.get("JIT_LEGACY_QUERY", "").strip() or None,
            deadline=_deadline(environment),
            ledger=environment.get("JIT_LEDGER", "").strip() or "-",
        )


def is_safe_url(url: str) -> bool:
    """Tell whether a URL is https, or http to this machine."""
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        return False
    if not host or parts.username or parts.password:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(host))


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _required(environment: Mapping[str, str], name: str) -> str:
    value = environment.get(name, "").strip()
    if not value:
        raise SettingsError(f"The setting {name} is missing.", next_step=f"Set the environment variable {name}.")
    if value.startswith("@Microsoft.KeyVault("):
        raise SettingsError(
            f"{name} still holds a Key Vault reference that was not resolved.",
            next_step="Give the app's managed identity the role Key Vault Secrets User on that vault, then restart.",
        )
    return value


def _guid(environment: Mapping[str, str], name: str) -> str:
    value = _required(environment, name)
    if not GUID.fullmatch(value):
        raise SettingsError(
            f"The setting {name} is not a GUID.", next_step=f"Set {name} to the id that the app's overview shows."
        )
    return value.lower()


def _metadata(environment: Mapping[str, str], tenant_id: str) -> tuple[str, ...]:
    text = environment.get("JIT_OPENID_CONFIGURATION", "")
    urls = tuple(url.strip() for url in text.split(",") if url.strip())
    for url in urls:
        if not is_safe_url(url):
            raise SettingsError(
                "JIT_OPENID_CONFIGURATION holds a URL that is neither https nor http to this machine.",
                next_step="Use https: URLs; http: is accepted for 127.0.0.1, ::1 and localhost alone.",
            )
    # The signing keys of an external tenant's callout are published under ciamlogin.com.
    return urls or tuple(
        f"https://{host}/{tenant_id}/v2.0/.well-known/openid-configuration"
        for host in (f"{tenant_id}.ciamlogin.com", "login.microsoftonline.com")
    )


def _keys(environment: Mapping[str, str]) -> tuple[DecryptionKey, ...]:
    vault = environment.get("KeyVaultUrl", "").strip()
    if vault:
        if not vault.startswith("https://"):
            raise SettingsError(
                "KeyVaultUrl is not an https: URL.", next_step="Set it to https://NAME.vault.azure.net."
            )
        current = read_vault(vault, _required(environment, "CiamJitMigrationEncryptionCertName"))
    else:
        current = parse_key(_required(environment, "DecryptionPrivateKey"), "DecryptionPrivateKey")
    previous = environment.get("DecryptionPrivateKeyPrevious", "").strip()
    if not previous:
        return (current,)
    return (current, parse_key(previous, "DecryptionPrivateKeyPrevious"))


def _deadline(environment: Mapping[str, str]) -> float:
    text = environment.get("JIT_DEADLINE_MS", "").strip() or str(_DEFAULT_MS)
    if not re.fullmatch(r"[0-9]{1,5}", text) or not _SHORTEST_MS <= int(text) <= _LONGEST_MS:
        raise SettingsError(
            f"JIT_DEADLINE_MS is not a whole number from {_SHORTEST_MS} to {_LONGEST_MS}.",
            next_step=f"Leave it out for {_DEFAULT_MS}: Entra waits 2,000 milliseconds at most.",
        )
    return int(text) / 1000

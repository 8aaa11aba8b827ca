"""The decryption keys in Azure Key Vault, read once with the managed identity."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from jitkit.endpoint.keys import DecryptionKey, parse_key
from jitkit.errors import SettingsError

if TYPE_CHECKING:
    from azure.keyvault.secrets import SecretClient

__all__ = ["read_vault"]

_log = logging.getLogger(__name__)

_SECONDS: Final = 5


def read_vault(vault_url: str, certificate_name: str) -> tuple[DecryptionKey, ...]:
    """Read a certificate with its private key from Azure Key Vault, and the version before it.

    A Key Vault certificate's private half is the secret of the same name: base64 PKCS#12 or PEM (Microsoft Learn,
    "About Azure Key Vault certificates"). The enabled version before the newest one serves while keys are being
    changed; disable it in the vault, and restart, to retire it.

    Args:
        vault_url: the vault, `https://NAME.vault.azure.net`.
        certificate_name: the certificate's name in the vault.

    Raises:
        SettingsError: a package is missing, the vault does not answer, or the secret is not a usable key.
    """
    try:
        from azure.core.exceptions import AzureError
        from azure.identity import DefaultAzureCredential
        from azure.keyvault.secrets import SecretClient
    except ImportError:
        raise SettingsError(
            "KeyVaultUrl is set, and the packages that read Azure Key Vault are not installed.",
            next_step='Run: pip install -e ".[azure]"',
        ) from None
    quiet = {"retry_total": 2, "connection_timeout": _SECONDS, "read_timeout": _SECONDS}
    try:
        with DefaultAzureCredential() as credential, SecretClient(vault_url, credential, **quiet) as client:
            current = client.get_secret(certificate_name)
            previous = _previous(client, certificate_name, str(current.properties.version), AzureError)
    except AzureError as error:
        raise SettingsError(
            f"The certificate {certificate_name} could not be read from Key Vault.",
            service=type(error).__name__,
            next_step="Check KeyVaultUrl and the certificate's name, and that the identity may read secrets there.",
        ) from None
    name = f"The Key Vault certificate {certificate_name}"
    values = [current.value or ""] if previous is None else [current.value or "", previous]
    return tuple(parse_key(value, name) for value in values)


def _previous(client: SecretClient, name: str, current: str, away: type[Exception]) -> str | None:
    """Read the newest enabled version beside the current one. Without the right to list versions there is none."""
    try:
        versions: list[Any] = [
            version
            for version in client.list_properties_of_secret_versions(name)
            if version.enabled and version.version != current
        ]
        if not versions:
            return None
        newest = max(versions, key=lambda version: version.created_on or datetime.min.replace(tzinfo=UTC))
        return client.get_secret(name, newest.version).value
    except away as error:
        _log.warning("the previous version of the certificate could not be read: %s", type(error).__name__)
        return None

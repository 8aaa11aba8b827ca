"""The private keys that open what Entra encrypted, read from settings or from Azure Key Vault."""

from __future__ import annotations

import base64
import logging
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.serialization import load_pem_private_key, pkcs12
from jwcrypto.jwk import JWK

from jitkit.errors import SettingsError

if TYPE_CHECKING:
    from azure.keyvault.secrets import SecretClient

_log = logging.getLogger(__name__)

_SMALLEST_KEY: Final = 2048
_UNRESOLVED: Final = "@Microsoft.KeyVault("
_VAULT_SECONDS: Final = 5
# What JSON writers and one-line settings make of a line end, of `/` and of `+`. A backslash may be doubled on the way.
_LINE_END: Final = re.compile(r"(?:\\+[rn]|[\r\n])+")
_CHARACTER: Final = re.compile(r"\\+(?:u([0-9A-Fa-f]{4})|/)")
_AROUND: Final = " \t\r\n\"'\\"


@dataclass(frozen=True)
class DecryptionKey:
    """One private key, and what its certificate says about it, where there is one."""

    jwk: JWK = field(repr=False)
    thumbprint: str | None  # base64url SHA-1 of the certificate, as the `x5t` header names it
    not_after: datetime | None  # when the certificate ends (UTC)

    def days_left(self, now: datetime) -> int | None:
        """Count the whole days until the certificate ends; negative when it has ended, None when it is not known."""
        return None if self.not_after is None else (self.not_after - now).days


def refuse_unresolved(value: str, name: str) -> None:
    """Raise SettingsError where a setting still holds a Key Vault reference."""
    if value.startswith(_UNRESOLVED):
        raise SettingsError(
            f"{name} still holds a Key Vault reference that was not resolved.",
            next_step="Give the app's managed identity the role Key Vault Secrets User on that vault, then restart.",
        )


def parse_key(value: str, name: str) -> DecryptionKey:
    """Read a PEM private key, with its certificate or without it, or a base64 PKCS#12 without a password.

    It may be escaped and in quotes, as JSON and one-line settings hold it. Errors name the setting alone.
    """
    text = _LINE_END.sub("\n", value.strip(_AROUND))
    text = _CHARACTER.sub(lambda found: chr(int(found[1], 16)) if found[1] else "/", text)
    refuse_unresolved(text, name)
    private, certificate = _read(text)
    if not isinstance(private, rsa.RSAPrivateKey) or private.key_size < _SMALLEST_KEY:
        raise SettingsError(
            f"{name} holds no RSA private key of at least {_SMALLEST_KEY} bits that can be read.",
            next_step="Set it to a PEM private key (keep its line ends) or a base64 PKCS#12, without a password.",
        )
    jwk = JWK.from_pyca(private)
    jwk.get_op_key("unwrapKey")  # checks the key once, for tens of milliseconds: not within the first request
    if certificate is None:
        return DecryptionKey(jwk, None, None)
    if certificate.public_key() != private.public_key():
        raise SettingsError(
            f"The certificate in {name} belongs to another private key.",
            next_step="Export the certificate and its own private key again, and set both together.",
        )
    digest = base64.urlsafe_b64encode(certificate.fingerprint(SHA1())).decode().rstrip("=")  # noqa: S303 - RFC 7515
    return DecryptionKey(jwk, digest, certificate.not_valid_after_utc)


def _read(text: str) -> tuple[object | None, x509.Certificate | None]:
    """Read key and certificate, None where unreadable, so that no parser's text about a key reaches a message."""
    try:
        if "-----BEGIN" in text:  # openssl writes "Bag Attributes" before it
            pem = text.encode()
            key = load_pem_private_key(pem, None)
            found = x509.load_pem_x509_certificates(pem) if b"BEGIN CERTIFICATE" in pem else []
            # Of a chain, the one of this key; with none of it, any shows that they don't belong together.
            own = [one for one in found if one.public_key() == key.public_key()]
            return key, next(iter(own or found), None)
        packed = base64.b64decode("".join(text.split()), validate=True)  # base64 tools break lines
        private, certificate, _ = pkcs12.load_key_and_certificates(packed, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return None, None
    return private, certificate


def read_vault(vault_url: str, certificate_name: str) -> tuple[DecryptionKey, ...]:
    """Read a certificate with its private key from Azure Key Vault, and the enabled version before it.

    A Key Vault certificate's private half is the secret of the same name: base64 PKCS#12 or PEM (Microsoft Learn,
    "About Azure Key Vault certificates"). Disable the version before in the vault, and restart, to retire it.
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
    quick = {"retry_total": 2, "connection_timeout": _VAULT_SECONDS, "read_timeout": _VAULT_SECONDS}
    try:
        with DefaultAzureCredential() as credential, SecretClient(vault_url, credential, **quick) as client:
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


def _previous(client: SecretClient, name: str, current: str, refusal: type[Exception]) -> str | None:
    """Read the newest enabled version before the current one; None also without the right to list versions."""
    try:
        found = [each for each in client.list_properties_of_secret_versions(name) if each.enabled]
        others = [each for each in found if each.version != current]
        newest = max(others, key=lambda each: each.created_on or datetime.min.replace(tzinfo=UTC), default=None)
        return client.get_secret(name, newest.version).value if newest else None
    except refusal as error:
        _log.warning("the previous version of the certificate could not be read: %s", type(error).__name__)
        return None

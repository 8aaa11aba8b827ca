"""The private keys that open what Entra encrypted, read from settings or from Azure Key Vault."""

from __future__ import annotations

import asyncio
import base64
import logging
import re
import time
from collections.abc import Callable
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
# Seconds. A thumbprint may come from anybody, so an unknown one causes at most one read in this time.
_BETWEEN_READS, _STALE_AFTER = 30.0, 3600.0
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


@dataclass
class VaultKeys:
    """Reads a certificate with its private key from Azure Key Vault, in all its enabled versions.

    A Key Vault certificate's private half is the secret of the same name: base64 PKCS#12 or PEM (Microsoft Learn,
    "About Azure Key Vault certificates"). Disable a version in the vault to retire it.
    """

    url: str
    certificate: str
    others: tuple[DecryptionKey, ...] = ()  # keys from elsewhere, which come last
    _versions: dict[str, DecryptionKey] = field(default_factory=dict, repr=False)  # a version never changes

    def read(self) -> tuple[DecryptionKey, ...]:
        """Return the keys, that of the newest version first; raises SettingsError when the newest cannot be read."""
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
            with DefaultAzureCredential() as credential, SecretClient(self.url, credential, **quick) as client:
                newest, *older = self._enabled(client, AzureError)
                keys = [self._version(client, newest)]
                for version in older:
                    try:
                        keys.append(self._version(client, version))
                    except (AzureError, SettingsError) as error:
                        _log.warning("an older version of the certificate is left out: %s", type(error).__name__)
        except (AzureError, ValueError) as error:  # a ValueError for a vault whose address is not one
            raise SettingsError(
                f"The certificate {self.certificate} could not be read from Key Vault.",
                service=type(error).__name__,
                next_step="Check KeyVaultUrl and the certificate's name, and that the identity may read secrets there.",
            ) from None
        return (*keys, *self.others)

    def _enabled(self, client: SecretClient, refusal: type[Exception]) -> list[str]:
        """List the enabled versions, newest first; an empty text, which means the newest, without the right to list."""
        try:
            found = [each for each in client.list_properties_of_secret_versions(self.certificate) if each.enabled]
        except refusal as error:
            _log.warning("the versions of the certificate could not be listed: %s", type(error).__name__)
            return [""]
        found.sort(key=lambda each: each.created_on or datetime.min.replace(tzinfo=UTC), reverse=True)
        return [str(each.version) for each in found] or [""]

    def _version(self, client: SecretClient, version: str) -> DecryptionKey:
        if version not in self._versions:
            secret = client.get_secret(self.certificate, version or None)
            version = str(secret.properties.version)
            name = f"The Key Vault certificate {self.certificate}"
            self._versions[version] = parse_key(secret.value or "", name)
        return self._versions[version]


@dataclass
class HeldKeys:
    """Holds the decryption keys, and reads them again, at a bounded rate, when one is asked for that is not there."""

    keys: tuple[DecryptionKey, ...]
    read: Callable[[], tuple[DecryptionKey, ...]] | None  # None where keys come from settings, which stay as they are
    monotonic: Callable[[], float] = time.monotonic
    in_use: DecryptionKey | None = None  # the one that opened the last password context
    _read_at: float = field(init=False)
    _reading: asyncio.Task[None] | None = None

    def __post_init__(self) -> None:
        self._read_at = self.monotonic()

    def get(self, thumbprint: str | None) -> DecryptionKey | None:
        """Return the key of this thumbprint, or None."""
        return next((key for key in self.keys if thumbprint is not None and key.thumbprint == thumbprint), None)

    async def with_key(self, thumbprint: str | None) -> tuple[DecryptionKey, ...]:
        """Return all keys, read again if none has this thumbprint; every hour they are read again in the background."""
        if self.read is None:
            return self.keys
        missing = thumbprint is not None and self.get(thumbprint) is None
        due = self.monotonic() - self._read_at > (_BETWEEN_READS if missing else _STALE_AFTER)
        if due and (self._reading is None or self._reading.done()):
            self._reading = asyncio.create_task(self._read(self.read))
        if missing and self._reading is not None:
            await asyncio.shield(self._reading)  # a request that gives up does not end it for the others
        return self.keys

    async def _read(self, read: Callable[[], tuple[DecryptionKey, ...]]) -> None:
        self._read_at = self.monotonic()
        try:
            self.keys = await asyncio.to_thread(read)
        except SettingsError as error:
            _log.warning("the keys could not be read again, so the ones read before serve: %s", error.service)

"""The private keys that open what Entra encrypted, and where they come from."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass, field
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key, pkcs12
from jwcrypto.jwk import JWK

from jitkit.errors import SettingsError

__all__ = ["DecryptionKey", "parse_key"]

_SMALLEST_KEY = 2048
_UNRESOLVED = "@Microsoft.KeyVault("


@dataclass(frozen=True)
class DecryptionKey:
    """Hold one private key, and what its certificate says about it.

    Args:
        jwk: the private key as jwcrypto wants it.
        thumbprint: base64url SHA-1 of the certificate, as the `x5t` header names it; None without a certificate.
        not_after: when the certificate ends (UTC); None without a certificate.
    """

    jwk: JWK = field(repr=False)
    thumbprint: str | None
    not_after: datetime | None

    def days_left(self, now: datetime) -> int | None:
        """Count the whole days until the certificate ends; negative when it has ended, None when it is not known."""
        return None if self.not_after is None else (self.not_after - now).days


def parse_key(value: str, name: str) -> DecryptionKey:
    """Read a private key from a setting.

    Args:
        value: a PEM private key, with its certificate or without it, or a base64 PKCS#12 without a password.
            Line ends may be written as backslash-n, as one-line settings hold them.
        name: the setting's name, for the message.

    Returns:
        The key, with its certificate's thumbprint where there is a certificate.

    Raises:
        SettingsError: the value is an unresolved Key Vault reference, does not parse, holds no RSA key of at
            least 2048 bits, or holds a certificate of another key.
    """
    text = value.strip()
    if text.startswith(_UNRESOLVED):
        raise SettingsError(
            f"{name} still holds a Key Vault reference that was not resolved.",
            next_step="Give the app's managed identity the role Key Vault Secrets User on that vault, then restart.",
        )
    private, certificate = _read(text)
    if not isinstance(private, rsa.RSAPrivateKey) or private.key_size < _SMALLEST_KEY:
        raise SettingsError(
            f"{name} holds no RSA private key of at least {_SMALLEST_KEY} bits that can be read.",
            next_step="Set it to a PEM private key without a password, or to a base64 PKCS#12 without a password.",
        )
    jwk = JWK.from_pyca(private)
    jwk.get_op_key("unwrapKey")  # checks the key once, for tens of milliseconds: not within the first request
    if certificate is None:
        return DecryptionKey(jwk, None, None)
    if _public_bytes(certificate.public_key()) != _public_bytes(private.public_key()):
        raise SettingsError(
            f"The certificate in {name} belongs to another private key.",
            next_step="Export the certificate and its own private key again, and set both together.",
        )
    digest = hashlib.sha1(certificate.public_bytes(Encoding.DER), usedforsecurity=False).digest()
    thumbprint = base64.urlsafe_b64encode(digest).decode().rstrip("=")
    return DecryptionKey(jwk, thumbprint, certificate.not_valid_after_utc)


def _read(text: str) -> tuple[object | None, x509.Certificate | None]:
    """Read what is there; what cannot be read is None, so that no parser's text about a key reaches a message."""
    try:
        text = text.replace("\\n", "\n")
        if "-----BEGIN" in text:  # openssl writes "Bag Attributes" before it
            pem = text.encode()
            key = load_pem_private_key(pem, None)
            found = x509.load_pem_x509_certificates(pem) if b"BEGIN CERTIFICATE" in pem else []
            # Of a chain, the one of this key; with none of it, any shows that they don't belong together.
            own = [one for one in found if _public_bytes(one.public_key()) == _public_bytes(key.public_key())]
            return key, next(iter(own or found), None)
        packed = base64.b64decode("".join(text.split()), validate=True)  # base64 tools break lines
        private, certificate, _ = pkcs12.load_key_and_certificates(packed, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return None, None
    return private, certificate


def _public_bytes(key: object) -> bytes | None:
    if not isinstance(key, rsa.RSAPublicKey):
        return None
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

"""Keys that the suite makes for itself: signing keys of its issuer, and encryption certificates."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from jitkit.errors import SettingsError

__all__ = ["EncryptionKey", "SigningKey", "b64", "b64json", "read_certificate"]


def b64(data: bytes) -> str:
    """Write base64url without padding [RFC 7515 section 2]."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def b64json(value: object) -> str:
    """Write a JSON value as a base64url segment."""
    return b64(json.dumps(value).encode())


@dataclass(frozen=True)
class SigningKey:
    """Hold one key of the issuer, and the id that it publishes it under."""

    kid: str
    private: rsa.RSAPrivateKey = field(repr=False)

    @classmethod
    def make(cls, kid: str) -> SigningKey:
        """Make a new RSA-2048 key."""
        return cls(kid, rsa.generate_private_key(65537, 2048))

    def public_jwk(self) -> dict[str, str]:
        """Return the public half as key documents show it [RFC 7517]."""
        numbers = self.private.public_key().public_numbers()
        n, e = (b64(number.to_bytes((number.bit_length() + 7) // 8)) for number in (numbers.n, numbers.e))
        return {"kty": "RSA", "use": "sig", "kid": self.kid, "n": n, "e": e}


@dataclass(frozen=True)
class EncryptionKey:
    """Hold what passwords are encrypted for.

    Args:
        certificate: the certificate; its SHA-1 is the `x5t` of what is encrypted for it.
        private: the private half, when the suite made it.
    """

    certificate: x509.Certificate
    private: rsa.RSAPrivateKey | None = field(default=None, repr=False)

    @classmethod
    def make(cls, name: str, *, days: int = 365) -> EncryptionKey:
        """Make an RSA-2048 key and a self-signed certificate that ends in so many days."""
        private, now = rsa.generate_private_key(65537, 2048), datetime.now(UTC)
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(private.public_key())
        builder = builder.serial_number(x509.random_serial_number()).not_valid_before(now - timedelta(days=400))
        return cls(builder.not_valid_after(now + timedelta(days=days)).sign(private, hashes.SHA256()), private)

    @property
    def public(self) -> rsa.RSAPublicKey:
        """The public half."""
        key = self.certificate.public_key()
        if not isinstance(key, rsa.RSAPublicKey):
            raise TypeError("an encryption certificate has an RSA key")
        return key

    @property
    def x5t(self) -> str:
        """The certificate's name in a JWE header [RFC 7515 section 4.1.7]."""
        return b64(hashlib.sha1(self.certificate.public_bytes(Encoding.DER), usedforsecurity=False).digest())

    def pem(self, certificate: x509.Certificate | None = None) -> str:
        """Write the private key and a certificate (its own by default) as PEM."""
        if self.private is None:
            raise TypeError("the suite has the certificate of this key alone")
        private = self.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
        return private + (certificate or self.certificate).public_bytes(Encoding.PEM).decode()


def read_certificate(pem: bytes, name: str) -> EncryptionKey:
    """Read a PEM certificate; a private key beside it is not looked at.

    Raises:
        SettingsError: there is none, or its key is not RSA.
    """
    try:
        certificate = x509.load_pem_x509_certificates(pem)[0]
    except ValueError:
        certificate = None
    if certificate is None or not isinstance(certificate.public_key(), rsa.RSAPublicKey):
        raise SettingsError(
            f"{name} holds no PEM certificate of an RSA key.",
            next_step="Give the certificate that Entra encrypts passwords for; its private key is not needed.",
        )
    return EncryptionKey(certificate)

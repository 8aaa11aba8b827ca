"""Self-signed certificates for password encryption, and their thumbprints."""

from __future__ import annotations

import base64
import hashlib
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

__all__ = ["make_certificate", "thumbprint", "x5t"]

_CLOCKS_DIFFER = timedelta(minutes=5)


def make_certificate(
    name: str, *, days: float = 365, since: timedelta = _CLOCKS_DIFFER
) -> tuple[rsa.RSAPrivateKey, x509.Certificate]:
    """Make an RSA-2048 key and a self-signed certificate for it.

    Args:
        name: the common name. The how-to, 2.1.3, uses JitMigration.
        days: days from now until it ends.
        since: how long ago it began to be valid.

    Returns:
        The private key and the certificate.
    """
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC).replace(microsecond=0)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(private.public_key())
    builder = builder.serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(now - since).not_valid_after(now + timedelta(days=days))
    return private, builder.sign(private, SHA256())


def thumbprint(certificate: x509.Certificate | bytes) -> str:
    """Compute the SHA-1 of a certificate (or its DER), 40 hexadecimal digits in capitals."""
    der = certificate if isinstance(certificate, bytes) else certificate.public_bytes(Encoding.DER)
    return hashlib.sha1(der, usedforsecurity=False).hexdigest().upper()


def x5t(certificate: x509.Certificate | bytes) -> str:
    """Return the same SHA-1 as the `x5t` header writes it: base64url without padding [RFC 7515, 4.1.7]."""
    return base64.urlsafe_b64encode(bytes.fromhex(thumbprint(certificate))).decode().rstrip("=")

"""HTTPS for a served tenant: an authority of its own, and a certificate for this machine that it signs at every start.

The authority can speak for loopback names alone (RFC 5280, 4.2.1.10), so that whoever lets a browser or a whole machine
trust it gives nothing away. It is kept, with its key, in two owner-only files beside the tenant's.
"""

from __future__ import annotations

import datetime
import ipaddress
import ssl
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from jitkit.files import write_private

__all__ = ["Authority"]

_NAMES: Final = (
    x509.DNSName("localhost"),
    x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
    x509.IPAddress(ipaddress.ip_address("::1")),
)
_PERMITTED: Final = (
    x509.DNSName("localhost"),
    x509.IPAddress(ipaddress.ip_network("127.0.0.0/8")),
    x509.IPAddress(ipaddress.ip_network("::1/128")),
)
_AUTHORITY_LASTS: Final = datetime.timedelta(days=365)
_CERTIFICATE_LASTS: Final = datetime.timedelta(days=30)
# Clocks of clients may be a little behind.
_BEFORE: Final = datetime.timedelta(minutes=10)


@dataclass(frozen=True)
class Authority:
    """A certification authority for loopback names. Use `Authority.open`.

    Args:
        path: the PEM file that clients are told to trust.
        certificate: what is in it.
        key: its private key.
    """

    path: Path
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    def __repr__(self) -> str:
        return f"Authority({str(self.path)!r})"

    @classmethod
    def open(cls, folder: Path) -> Authority:
        """Read the authority kept in a folder; one that is missing, broken or about to end is made anew.

        Args:
            folder: where `rehearsal-ca.pem` and `rehearsal-ca-key.pem` are.

        Raises:
            SettingsError: the folder cannot be written.
        """
        path, key_path = folder / "rehearsal-ca.pem", folder / "rehearsal-ca-key.pem"
        try:
            key = serialization.load_pem_private_key(key_path.read_bytes(), None)
            certificate = x509.load_pem_x509_certificate(path.read_bytes())
            if isinstance(key, ec.EllipticCurvePrivateKey) and _usable(certificate, key):
                return cls(path, certificate, key)
        except (OSError, ValueError):
            pass
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = _authority(key)
        write_private(key_path, _pem(key))
        write_private(path, certificate.public_bytes(serialization.Encoding.PEM))
        return cls(path, certificate, key)

    def context(self) -> ssl.SSLContext:
        """Make a server's TLS context for localhost, 127.0.0.1 and ::1, with a new key and certificate.

        The key passes through a file that only its owner can read, and that is gone when this returns: OpenSSL's Python
        binding takes no other form.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._sign(key).public_bytes(serialization.Encoding.PEM)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "server.pem"
            write_private(file, _pem(key) + certificate)
            context.load_cert_chain(file)
        return context

    def _sign(self, key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
        builder = _builder(name, self.certificate.subject, key.public_key(), _CERTIFICATE_LASTS)
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())
        return (
            builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(x509.SubjectAlternativeName(_NAMES), critical=False)
            .add_extension(issuer, critical=False)
            .sign(self.key, hashes.SHA256())
        )


def _authority(key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "JIT migration rehearsal, this machine only")])
    return (
        _builder(name, name, key.public_key(), _AUTHORITY_LASTS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(certificates=True), critical=True)
        .add_extension(x509.NameConstraints(_PERMITTED, None), critical=True)
        .sign(key, hashes.SHA256())
    )


def _builder(
    subject: x509.Name, issuer: x509.Name, public_key: ec.EllipticCurvePublicKey, lasts: datetime.timedelta
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BEFORE)
        .not_valid_after(now + lasts)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    )


def _usage(*, certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=certificates,
        crl_sign=certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _usable(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> bool:
    """Tell whether the two belong together and last as long as the certificates that they would sign."""
    lasts = certificate.not_valid_after_utc - datetime.datetime.now(datetime.UTC)
    return certificate.public_key() == key.public_key() and lasts > _CERTIFICATE_LASTS


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )

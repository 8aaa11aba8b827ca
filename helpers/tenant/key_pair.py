"""The key pair on this machine: one owner-only PEM file with the private key and its certificate."""

from __future__ import annotations

import base64
import hashlib
import os
import stat
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

from jitkit.errors import SettingsError
from jitkit.files import write_private

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

__all__ = ["PublicHalf", "make_pair", "mend_permissions", "read_pair", "thumbprint_of"]

# Source: how-to 2.1.3: self-signed, CN=JitMigration, RSA 2048 or 4096.
SUBJECT: Final = "JitMigration"
KEY_BITS: Final = 2048
VALID_DAYS: Final = 365
_CLOCKS_DIFFER = timedelta(minutes=5)


@dataclass(frozen=True)
class PublicHalf:
    """The certificate of a key pair: what may be shown and uploaded.

    Args:
        der: the certificate, DER.
        starts: when it becomes valid, UTC.
        ends: when it runs out, UTC.
    """

    der: bytes
    starts: datetime
    ends: datetime

    @property
    def thumbprint(self) -> str:
        """SHA-1 of the certificate, 40 hexadecimal digits."""
        return thumbprint_of(self.der)

    @property
    def x5t(self) -> str:
        """The same SHA-1 as the `x5t` header of a token names it: base64url without padding."""
        return base64.urlsafe_b64encode(bytes.fromhex(self.thumbprint)).decode().rstrip("=")

    @property
    def days_left(self) -> int:
        """Whole days until the certificate runs out; negative when it has."""
        return (self.ends - datetime.now(UTC)).days


def thumbprint_of(der: bytes) -> str:
    """Compute a certificate's thumbprint: SHA-1, 40 hexadecimal digits in capitals."""
    return hashlib.sha1(der, usedforsecurity=False).hexdigest().upper()


def make_pair(path: Path) -> PublicHalf:
    """Make an RSA key with a self-signed certificate and write both to one owner-only file, whole or not at all.

    Args:
        path: the file; what it held is replaced.

    Returns:
        The certificate.

    Raises:
        SettingsError: the file cannot be written.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import rsa
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    private = rsa.generate_private_key(public_exponent=65537, key_size=KEY_BITS)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, SUBJECT)])
    now = datetime.now(UTC).replace(microsecond=0)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCKS_DIFFER)
        .not_valid_after(now + timedelta(days=VALID_DAYS))
        .sign(private, SHA256())
    )
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    write_private(path, pem + certificate.public_bytes(Encoding.PEM))
    return _public(certificate)


def read_pair(path: Path) -> PublicHalf | None:
    """Read the certificate of a key file and check that the private key in it belongs to it.

    Args:
        path: the file.

    Returns:
        The certificate, or None when there is no file.

    Raises:
        SettingsError: the file cannot be read, or its halves do not belong together.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        content = path.read_bytes()
        private = load_pem_private_key(content, password=None)
        certificate = x509.load_pem_x509_certificate(content)
        if private.public_key() != certificate.public_key():
            raise ValueError("the certificate belongs to another private key")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as problem:
        # The parser's words may quote the file; only its kind of complaint goes on.
        words = problem.strerror if isinstance(problem, OSError) else "no private key with its certificate"
        raise SettingsError(
            f"The key file {path} cannot be used: {words}.",
            next_step="Put a good copy back, or move the file away and run `await s.key.ensure(replace=True)`, which"
            " makes a new key and switches the tenant to it.",
        ) from None
    return _public(certificate)


def mend_permissions(path: Path) -> str:
    """Take a key file away from everybody but its owner.

    Args:
        path: the file.

    Returns:
        The permissions in words.
    """
    if os.name == "nt":
        return "those of your user folder"
    mode = stat.S_IMODE(path.stat().st_mode)
    if not mode & 0o077:
        return "readable by you alone"
    path.chmod(0o600)
    return f"readable by you alone (they were {mode:03o}: others on this machine could read it, so rotate the key)"


def _public(certificate: Certificate) -> PublicHalf:
    from cryptography.hazmat.primitives.serialization import Encoding

    return PublicHalf(
        certificate.public_bytes(Encoding.DER), certificate.not_valid_before_utc, certificate.not_valid_after_utc
    )

"""A certificate of a key that nobody keeps: what somebody uploads who took the wrong file."""

from __future__ import annotations

import base64
import datetime

from jitkit.rehearsal.directory import Body


def other_certificate() -> Body:
    """Make the members of a key credential that a certificate decides."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(65537, 2048)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "JitMigration")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=365))
        .sign(key, hashes.SHA256())
    )
    thumbprint = made.fingerprint(hashes.SHA1()).hex().upper()  # noqa: S303
    return {
        "key": base64.b64encode(made.public_bytes(serialization.Encoding.DER)).decode(),
        "customKeyIdentifier": base64.b64encode(thumbprint.encode()).decode(),
    }

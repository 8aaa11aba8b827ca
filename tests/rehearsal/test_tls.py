"""The authority of a served tenant: kept, owner-only, and worth nothing for any other name than this machine's."""

from __future__ import annotations

import datetime
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from jitkit.errors import SettingsError
from jitkit.rehearsal import tls
from jitkit.rehearsal.tls import Authority


def handshake(server: ssl.SSLContext, authority: Path, name: str) -> None:
    """Let a client that trusts the authority meet a server, in memory. Raises what the client raises."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    trusted = ssl.create_default_context(cafile=str(authority))
    # What Python demands from 3.13 on.
    trusted.verify_flags |= ssl.VERIFY_X509_STRICT
    client = trusted.wrap_bio(to_client, to_server, server_hostname=name)
    serving = server.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(4):
        for side in (client, serving):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    assert client.version() == "TLSv1.3"


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "::1"])
def test_a_certificate_is_good_for_this_machine(tmp_path: Path, name: str) -> None:
    authority = Authority.open(tmp_path)
    handshake(authority.context(), authority.path, name)


def test_a_certificate_is_good_for_no_other_name(tmp_path: Path) -> None:
    authority = Authority.open(tmp_path)
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        handshake(authority.context(), authority.path, "graph.microsoft.com")


def test_the_authority_cannot_speak_for_another_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = Authority.open(tmp_path)
    monkeypatch.setattr(tls, "_NAMES", (x509.DNSName("graph.microsoft.com"),))
    with pytest.raises(ssl.SSLCertVerificationError, match="permitted subtree violation"):
        handshake(authority.context(), authority.path, "graph.microsoft.com")


def test_the_authority_is_kept_and_each_start_has_a_certificate_of_its_own(tmp_path: Path) -> None:
    first, second = Authority.open(tmp_path), Authority.open(tmp_path)
    assert first.certificate == second.certificate
    handshake(second.context(), first.path, "localhost")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["rehearsal-ca-key.pem", "rehearsal-ca.pem"]
    assert all(path.stat().st_mode & 0o077 == 0 for path in tmp_path.iterdir())


@pytest.mark.parametrize("fault", ["no key", "no certificate", "broken", "another's key", "about to end"])
def test_an_authority_that_cannot_be_used_is_made_anew(
    tmp_path: Path, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if fault == "about to end":
        monkeypatch.setattr(tls, "_AUTHORITY_LASTS", datetime.timedelta(days=20))
    before = Authority.open(tmp_path)
    monkeypatch.undo()
    key = tmp_path / "rehearsal-ca-key.pem"
    if fault == "no key":
        key.unlink()
    elif fault == "no certificate":
        before.path.unlink()
    elif fault == "broken":
        key.write_bytes(b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
    elif fault == "another's key":
        other = ec.generate_private_key(ec.SECP256R1())
        form, none = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        key.write_bytes(other.private_bytes(serialization.Encoding.PEM, form, none))
    after = Authority.open(tmp_path)
    assert after.certificate.fingerprint(hashes.SHA256()) != before.certificate.fingerprint(hashes.SHA256())
    handshake(after.context(), after.path, "localhost")


def test_a_folder_that_cannot_be_written_is_explained(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError):
        Authority.open(tmp_path / "file")


def test_its_key_is_in_no_repr(tmp_path: Path) -> None:
    assert repr(Authority.open(tmp_path)) == f"Authority({str(tmp_path / 'rehearsal-ca.pem')!r})"

"""Settings from the environment: what is taken, and what is refused without repeating a secret."""

from __future__ import annotations

import base64
import json
import sys
import textwrap
from collections.abc import Mapping

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    pkcs12,
)

from jitkit.endpoint.settings import Settings, is_safe_url
from jitkit.errors import SettingsError

from . import entra


def pfx(name: str, password: bytes | None = None) -> str:
    seal = BestAvailableEncryption(password) if password else NoEncryption()
    data = pkcs12.serialize_key_and_certificates(None, entra.rsa_key(name), entra.certificate(name), None, seal)
    return base64.b64encode(data).decode()


def pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey, password: bytes | None = None) -> str:
    seal = BestAvailableEncryption(password) if password else NoEncryption()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, seal).decode()


def certificate_pem(name: str) -> str:
    return entra.certificate(name).public_bytes(Encoding.PEM).decode()


# A private key of the algorithm 1.2.3, which no library knows.
UNHEARD_OF = (
    "-----BEGIN PRIVATE KEY-----\n"
    + base64.b64encode(bytes.fromhex("300b020100300406022a030400")).decode()
    + "\n-----END PRIVATE KEY-----"
)

KEYS = {
    "key, certificate": (entra.pair_pem("encryption"), entra.x5t("encryption")),
    "certificate, key": (certificate_pem("encryption") + entra.private_pem("encryption"), entra.x5t("encryption")),
    "PKCS#12": (pfx("encryption"), entra.x5t("encryption")),
    "key alone": (entra.private_pem("encryption"), None),
    "on one line": (entra.private_pem("encryption").replace("\n", "\\n"), None),
    "PKCS#12 in lines": (textwrap.fill(pfx("encryption"), 76), entra.x5t("encryption")),
    "as openssl pkcs12 writes it": (
        f"Bag Attributes\n    localKeyID: 01\n{entra.private_pem('encryption')}"
        f"Bag Attributes\n    friendlyName: jit\n{certificate_pem('encryption')}",
        entra.x5t("encryption"),
    ),
    "a chain, the authority first": (
        entra.private_pem("encryption") + certificate_pem("previous") + certificate_pem("encryption"),
        entra.x5t("encryption"),
    ),
    "blanks around": (f"  {entra.private_pem('encryption')}\n\n", None),
}


@pytest.mark.parametrize(("value", "thumbprint"), KEYS.values(), ids=KEYS)
def test_a_key_is_read_in_every_form(value: str, thumbprint: str | None) -> None:
    (key,) = entra.settings(DecryptionPrivateKey=value).keys
    assert key.thumbprint == thumbprint


# What a tool makes of a line end -> how the key is written then.
LINE_ENDS = {
    "Windows": "\r\n",
    "an old Mac": "\r",
    "backslash-n": "\\n",
    "backslash-r-backslash-n": "\\r\\n",
    "backslash-r": "\\r",
    "doubled backslash-n": "\\\\n",
    "doubled backslash-r-backslash-n": "\\\\r\\\\n",
    "escaped three times": "\\\\\\\\r\\\\\\\\n",
    "backslash-r before a line end": "\\r\n",
}
QUOTES = {
    "bare": lambda text: text,
    "double quotes": lambda text: f'"{text}"',
    "single quotes": lambda text: f"'{text}'",
    "quotes in quotes": lambda text: f'"\\"{text}\\""',
}


@pytest.mark.parametrize("quote", QUOTES)
@pytest.mark.parametrize("line_end", LINE_ENDS)
def test_a_key_is_read_however_its_line_ends_were_escaped(line_end: str, quote: str) -> None:
    for whole, thumbprint in ((entra.pair_pem("encryption"), entra.x5t("encryption")), KEYS["PKCS#12 in lines"]):
        value = QUOTES[quote](whole.replace("\n", LINE_ENDS[line_end]))
        (key,) = entra.settings(DecryptionPrivateKey=value).keys
        assert key.thumbprint == thumbprint


@pytest.mark.parametrize("times", [1, 2, 3])
def test_a_key_is_read_from_what_json_writers_make_of_it(times: int) -> None:
    value = entra.pair_pem("encryption")
    for _ in range(times):
        value = json.dumps(value)
    # PHP escapes the slash, .NET the plus sign.
    for text in (value, value.replace("/", r"\/"), value.replace("+", r"\u002B"), value.replace("+", r"\\u002b")):
        (key,) = entra.settings(DecryptionPrivateKey=text).keys
        assert key.thumbprint == entra.x5t("encryption")


def test_a_reference_in_quotes_that_was_not_resolved_is_refused_by_name() -> None:
    with pytest.raises(SettingsError, match="not resolved"):
        entra.settings(DecryptionPrivateKey='"@Microsoft.KeyVault(SecretUri=x)"')


def test_defaults() -> None:
    settings = entra.settings(DecryptionPrivateKeyPrevious=entra.pair_pem("previous"))
    assert settings.openid_configuration == entra.METADATA
    assert (settings.deadline, settings.ledger, settings.legacy_query) == (1.5, "-", None)
    assert [key.thumbprint for key in settings.keys] == [entra.x5t("encryption"), entra.x5t("previous")]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"JIT_TENANT_ID": ""}, "JIT_TENANT_ID"),
        ({"JIT_TENANT_ID": "contoso"}, "JIT_TENANT_ID"),
        ({"JIT_EXTENSION_APP_ID": " "}, "JIT_EXTENSION_APP_ID"),
        ({"JIT_IDENTIFIER_URI": ""}, "JIT_IDENTIFIER_URI"),
        ({"LegacyApiConnectionString": ""}, "LegacyApiConnectionString"),
        ({"LegacyApiConnectionString": "@Microsoft.KeyVault(SecretUri=x)"}, "LegacyApiConnectionString"),
        ({"DecryptionPrivateKey": ""}, "DecryptionPrivateKey"),
        ({"DecryptionPrivateKey": "@Microsoft.KeyVault(SecretUri=x)"}, "not resolved"),
        ({"DecryptionPrivateKeyPrevious": "@Microsoft.KeyVault(SecretUri=x)"}, "DecryptionPrivateKeyPrevious"),
        ({"DecryptionPrivateKey": "s3cret"}, "DecryptionPrivateKey"),
        ({"DecryptionPrivateKey": base64.b64encode(b"s3cret").decode()}, "DecryptionPrivateKey"),
        ({"DecryptionPrivateKey": "-----BEGIN PRIVATE KEY-----\ns3cret"}, "line ends"),
        ({"DecryptionPrivateKey": certificate_pem("encryption")}, "DecryptionPrivateKey"),
        ({"DecryptionPrivateKey": UNHEARD_OF}, "RSA"),
        ({"DecryptionPrivateKey": pfx("encryption", b"s3cret")}, "without a password"),
        ({"DecryptionPrivateKey": pem(entra.rsa_key("encryption"), b"s3cret")}, "without a password"),
        ({"DecryptionPrivateKey": pem(rsa.generate_private_key(65537, 1024))}, "2048"),
        ({"DecryptionPrivateKey": pem(ec.generate_private_key(ec.SECP256R1()))}, "RSA"),
        (
            {"DecryptionPrivateKey": entra.private_pem("encryption") + certificate_pem("previous")},
            "another private key",
        ),
        ({"JIT_OPENID_CONFIGURATION": "http://login.example/x"}, "https"),
        ({"JIT_OPENID_CONFIGURATION": "https://a.example/x, ftp://127.0.0.1/x"}, "https"),
        ({"JIT_DEADLINE_MS": "0"}, "JIT_DEADLINE_MS"),
        ({"JIT_DEADLINE_MS": "2000"}, "JIT_DEADLINE_MS"),
        ({"JIT_DEADLINE_MS": "1e3"}, "JIT_DEADLINE_MS"),
        ({"KeyVaultUrl": "http://v.vault.azure.net"}, "KeyVaultUrl"),
        ({"KeyVaultUrl": "https://v.vault.azure.net"}, "CiamJitMigrationEncryptionCertName"),
    ],
)
def test_refused(changes: Mapping[str, str], said: str) -> None:
    with pytest.raises(SettingsError) as raised:
        entra.settings(**changes)
    assert said in str(raised.value)
    assert "s3cret" not in str(raised.value)
    assert raised.value.__suppress_context__ or raised.value.__context__ is None


def test_a_vault_without_its_packages_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "azure.keyvault.secrets", None)
    with pytest.raises(SettingsError, match=r"\[azure\]"):
        entra.settings(KeyVaultUrl="https://v.vault.azure.net", CiamJitMigrationEncryptionCertName="Jit")


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/x", "http://[::1]/x", "http://localhost/x", "https://a.example/x"])
def test_safe_urls(url: str) -> None:
    assert is_safe_url(url)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1.example/x",
        "http://localhost.example",
        "https://u:p@a.example",
        "https://",
        "file:///x",
        "http://[",
    ],
)
def test_unsafe_urls(url: str) -> None:
    assert not is_safe_url(url)


def test_no_secret_in_the_repr() -> None:
    settings = Settings.from_environment(
        entra.environment(LegacyApiConnectionString="postgresql+psycopg://u:s3cret@h/d")
    )
    private = settings.keys[0].jwk.export(private_key=True, as_dict=True)["d"]
    assert "s3cret" not in repr(settings)
    assert private not in repr(settings)

"""The suite's configuration file: what the suite must know about the endpoint under test."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Annotated, Final
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    ValidationInfo,
    model_validator,
)
from pydantic_core import ErrorDetails

from jitkit.entra_tokens import EncryptionKey
from jitkit.errors import SettingsError

_GUID: Final = r"^([0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})?$"
# What a member must be, where pydantic finds that it is not.
_WANTED: Final = {
    "logs": "a list of paths",
    "load_seconds": "a whole number from 1 to 600",
    "features": "a table of true and false",
    "accounts": "a table of accounts",
}


def _certificate(value: object, info: ValidationInfo) -> object:
    """Read a PEM certificate, from a path relative to the configuration; a private key next to it is not read."""
    if not isinstance(value, str):
        return value
    path = Path(info.context or ".") / value
    try:
        certificate = x509.load_pem_x509_certificates(path.read_bytes())[0]
    except OSError as error:
        raise SettingsError(
            f"The certificate {path} cannot be read.",
            service=error.strerror,
            next_step="Correct its path in the configuration; it is relative to the configuration file.",
        ) from None
    except ValueError:
        certificate = None
    if certificate is None or not isinstance(certificate.public_key(), rsa.RSAPublicKey):
        raise SettingsError(
            f"{path} holds no PEM certificate of an RSA key.",
            next_step="Give the certificate that Entra encrypts passwords for; its private key is not needed.",
        )
    return EncryptionKey(certificate)


def _server_url(url: str) -> str:
    """Check a URL under which the endpoint reaches one of the suite's servers: the suite listens on its port."""
    if url and not (is_url(url, "http") and port_of(url)):
        raise ValueError("{} is not an http: URL with a port, such as http://127.0.0.1:7081.")
    return url


def _issuer_url(url: str) -> str:
    if urlsplit(url).path.strip("/") or urlsplit(url).query:
        raise ValueError("{} holds more than a host and a port: the suite adds the paths of its documents.")
    return url.rstrip("/")


def _in_folder(paths: list[Path], info: ValidationInfo) -> list[Path]:
    return [Path(info.context or ".") / path for path in paths]


Text = Annotated[str, Field(min_length=1)]
Guid = Annotated[str, StringConstraints(pattern=_GUID, to_lower=True)]
Certificate = Annotated[EncryptionKey, BeforeValidator(_certificate)]
ServerUrl = Annotated[str, AfterValidator(_server_url)]


class _Table(BaseModel):
    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, arbitrary_types_allowed=True, hide_input_in_errors=True
    )


class Features(_Table):
    """What the endpoint has, and what it lets in on purpose."""

    breaker: bool = True
    limiter: bool = True
    replay: bool = True
    context_issuer: bool = True
    weak_passwords: bool = False
    flat_context: bool = False
    user_mapping: bool = False


class Login(_Table):
    """A name and a password of the endpoint's own legacy store."""

    username: Text
    password: Text = Field(repr=False)


class Accounts(_Table):
    """Accounts of the endpoint's own legacy store, one of each kind that the cases ask for."""

    right: Login
    weak: Login | None = None
    wrong: Login | None = None
    unknown: Login | None = None
    locked: Login | None = None
    disabled: Login | None = None
    must_change: Login | None = None
    mfa: Login | None = None
    no_password: Login | None = None


class Config(_Table):
    """Describes the endpoint under test, and what the suite may ask of it; every member is one of the file's.

    Without `issuer_url` or `legacy_url`, the suite's servers take free ports on this machine. With `accounts`, the
    endpoint uses its own legacy store.
    """

    tenant_id: Annotated[Guid, Field(min_length=1)]
    app_id: Annotated[Guid, Field(min_length=1)]
    identifier_uri: Text
    certificate: Certificate
    previous_certificate: Certificate | None = None
    extension_id: Guid = ""
    listener_id: Guid = ""
    listen: str = "127.0.0.1"
    issuer_url: Annotated[ServerUrl, AfterValidator(_issuer_url)] = ""
    legacy_url: ServerUrl = ""
    logs: Annotated[list[Annotated[Path, Field(strict=False)]], AfterValidator(_in_folder)] = Field(default=[])
    load_seconds: int = Field(default=10, ge=1, le=600)
    features: Features = Features()
    accounts: Accounts | None = None

    @model_validator(mode="after")
    def _differences(self) -> Config:
        if self.previous_certificate and self.previous_certificate.x5t == self.certificate.x5t:
            raise ValueError("previous_certificate is the same as certificate: leave it out, or name the one before.")
        if self.issuer_url and self.legacy_url and port_of(self.issuer_url) == port_of(self.legacy_url):
            raise ValueError("issuer_url and legacy_url have the same port: the suite serves them on one each.")
        return self

    @classmethod
    def read(cls, path: Path) -> Config:
        """Read TOML, or JSON when the name ends in `.json`; paths in it are relative to it."""
        try:
            text = path.read_text(encoding="utf-8-sig")
            values = json.loads(text) if path.suffix.lower() == ".json" else tomllib.loads(text)
        except OSError as error:
            raise _unusable(path, f"It cannot be read: {error.strerror}.") from None
        except (ValueError, RecursionError) as error:
            raise _unusable(path, f"It does not parse: {error}.") from None
        if not isinstance(values, dict):
            raise _unusable(path, "It is not a table of settings.")
        try:
            return cls.model_validate(values, context=path.parent)
        except ValidationError as problem:
            # A misspelt name also leaves the right one missing: the misspelling is what helps.
            first = min(problem.errors(include_url=False), key=lambda error: error["type"] != "extra_forbidden")
            raise _unusable(path, _in_words(first)) from None


def is_url(url: str, *schemes: str) -> bool:
    """Return whether a URL has one of these schemes, a host, and a port that can be called."""
    try:
        parts = urlsplit(url)
        return parts.scheme in schemes and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def port_of(url: str) -> int:
    """Return the port of a URL, or 0 for a free one."""
    return (urlsplit(url).port or 0) if url else 0


def _in_words(error: ErrorDetails) -> str:
    """Say one of pydantic's errors in a sentence; no value is repeated, because accounts hold passwords."""
    match error["type"], [str(part) for part in error["loc"]]:
        case "value_error", place:
            return str(error["ctx"]["error"]).format(*place)
        case _, ["accounts", "right"] if error["type"] == "missing":
            return "accounts names nobody as right, and every case needs an account that may sign in."
        case "extra_forbidden", ["accounts", kind]:
            return f"accounts holds {kind}; its kinds are {', '.join(sorted(Accounts.model_fields))}."
        case _, ["accounts", kind, *_]:
            return f"{kind} under accounts needs a username and a password, both as text."
        case "extra_forbidden", [name]:
            return f"It holds {name}, which the suite does not know."
        case "extra_forbidden", [table, name, *_]:
            return f"{table} holds {name}, which the suite does not know."
        case _, ["features", name]:
            return f"{name} under features is neither true nor false."
        case "string_pattern_mismatch", [name]:
            return f"{name} is not a GUID."
        case (("missing" | "string_too_short"), [name]):
            return f"{name} is missing."
        case _, [name, *_]:
            return f"{name} is not {_WANTED.get(name, 'a text')}."
    return "It is not a table of settings."


def _unusable(path: Path, what: str) -> SettingsError:
    return SettingsError(
        f"The suite's configuration {path} cannot be used. {what}",
        next_step="Compare it with the one that `jitkit check --write-config FILE` writes.",
    )

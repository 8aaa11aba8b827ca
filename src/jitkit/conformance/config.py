"""What the suite must know about the endpoint under test: a TOML or JSON file in, one value out."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from jitkit.conformance.keys import EncryptionKey, read_certificate
from jitkit.errors import SettingsError

__all__ = ["FEATURES", "KINDS", "MEMBERS", "Config"]

_GUID: Final = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")

# Feature -> whether an endpoint has it unless its configuration says otherwise.
FEATURES: Final = {
    "breaker": True,
    "limiter": True,
    "replay": True,
    "context_issuer": True,
    "weak_passwords": False,
    "flat_context": False,
    "user_mapping": False,
}

# Member -> its type, and what that is called in a message.
_TYPES: Final[dict[str, tuple[type, str]]] = {
    **dict.fromkeys(
        ("tenant_id", "app_id", "identifier_uri", "certificate", "previous_certificate", "extension_id", "listener_id"),
        (str, "a text"),
    ),
    **dict.fromkeys(("listen", "issuer_url", "legacy_url"), (str, "a text")),
    "logs": (list, "a list of paths"),
    "load_seconds": (int, "a whole number"),
    "features": (dict, "a table of true and false"),
    "accounts": (dict, "a table of accounts"),
}
MEMBERS: Final = frozenset(_TYPES)
NEEDED: Final = ("tenant_id", "app_id", "identifier_uri", "certificate")

# Kinds of account that the cases ask for.
KINDS: Final = frozenset(
    {"right", "weak", "wrong", "unknown", "locked", "disabled", "must_change", "mfa", "no_password"}
)


@dataclass(frozen=True)
class Config:
    """Say who the endpoint serves, and what the suite may ask of it.

    Args:
        tenant_id: the external tenant (GUID).
        app_id: the application id of the extension's app registration (GUID).
        identifier_uri: its identifier URI.
        key: the certificate that passwords are encrypted for.
        previous: the one before, while the endpoint still opens what was encrypted for it; None without a change.
        extension_id: the custom extension's id, when the endpoint takes no other (GUID).
        listener_id: the listener's id, when the endpoint takes no other (GUID).
        listen: the address that the suite's own servers listen on.
        issuer_url: where the endpoint reaches the suite's issuer; empty for a free port on this machine.
        legacy_url: where it reaches the suite's legacy store; empty for a free port, None when it asks its own store.
        logs: what the endpoint writes: files and folders that are searched for secrets.
        load_seconds: how long the load case lasts.
        features: what the endpoint has (see `FEATURES`).
        accounts: for an endpoint with its own store, kind of account to (username, password).
    """

    tenant_id: str
    app_id: str
    identifier_uri: str
    key: EncryptionKey
    previous: EncryptionKey | None = None
    extension_id: str = ""
    listener_id: str = ""
    listen: str = "127.0.0.1"
    issuer_url: str = ""
    legacy_url: str | None = ""
    logs: tuple[Path, ...] = ()
    load_seconds: int = 10
    features: Mapping[str, bool] = field(default_factory=lambda: dict(FEATURES))
    accounts: Mapping[str, tuple[str, str]] = field(default_factory=dict, repr=False)

    @staticmethod
    def port_of(url: str | None) -> int:
        """Return the port of a URL, or 0 for a free one."""
        return (urlsplit(url).port or 0) if url else 0

    @classmethod
    def read(cls, path: Path) -> Config:
        """Read a configuration file; paths in it are relative to it.

        Args:
            path: TOML, or JSON when the name ends in `.json`.

        Raises:
            SettingsError: the file is not there, does not parse, lacks a member, or holds one that does not exist or
                cannot be used.
        """
        values = _checked(path, _parsed(path))
        folder = path.parent
        taken = ("listen", "legacy_url", "load_seconds")
        own_store = "accounts" in values
        key, previous = _certificate(folder / values["certificate"]), values.get("previous_certificate")
        before = _certificate(folder / previous) if previous else None
        if before is not None and before.x5t == key.x5t:
            raise _bad(path, "previous_certificate is the same as certificate: leave it out, or name the one before.")
        return cls(
            tenant_id=values["tenant_id"].lower(),
            app_id=values["app_id"].lower(),
            identifier_uri=values["identifier_uri"],
            key=key,
            previous=before,
            extension_id=values.get("extension_id", "").lower(),
            listener_id=values.get("listener_id", "").lower(),
            issuer_url=values.get("issuer_url", "").rstrip("/"),
            logs=tuple(folder / name for name in values.get("logs", ())),
            features=FEATURES | values.get("features", {}),
            accounts=_accounts(path, values["accounts"]) if own_store else {},
            **{name: values[name] for name in taken if name in values} | ({"legacy_url": None} if own_store else {}),
        )


def _checked(path: Path, values: dict[str, Any]) -> dict[str, Any]:
    """Check members and types, before anything is made of them."""
    if unknown := sorted(set(values) - MEMBERS):
        raise _bad(path, f"It holds {', '.join(unknown)}, which the suite does not know.")
    for name in NEEDED:
        if values.get(name) in (None, ""):
            raise _bad(path, f"{name} is missing.")
    for name, value in values.items():
        kind, called = _TYPES[name]
        if type(value) is not kind:
            raise _bad(path, f"{name} is not {called}.")
    features = values.get("features", {})
    if unknown := sorted(set(features) - set(FEATURES)):
        raise _bad(path, f"features holds {', '.join(unknown)}, which the suite does not know.")
    for name, value in features.items():
        if not isinstance(value, bool):
            raise _bad(path, f"{name} under features is neither true nor false.")
    if not all(isinstance(name, str) for name in values.get("logs", ())):
        raise _bad(path, "logs is not a list of paths.")
    if not 1 <= values.get("load_seconds", 1) <= 600:
        raise _bad(path, "load_seconds is not a whole number from 1 to 600.")
    for name in ("tenant_id", "app_id", "extension_id", "listener_id"):
        if values.get(name) and not _GUID.fullmatch(values[name]):
            raise _bad(path, f"{name} is not a GUID.")
    ports = [_port(path, name, values[name]) for name in ("issuer_url", "legacy_url") if values.get(name)]
    if len(set(ports)) < len(ports):
        raise _bad(path, "issuer_url and legacy_url have the same port: the suite serves them on one each.")
    return values


def _port(path: Path, name: str, url: str) -> int:
    """Read the port that the suite listens on, which a URL of its servers must name."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host or not port or parts.scheme != "http":
        raise _bad(path, f"{name} is not an http: URL with a port, such as http://127.0.0.1:7081.")
    if name == "issuer_url" and (parts.path.strip("/") or parts.query):
        raise _bad(path, "issuer_url holds more than a host and a port: the suite adds the paths of its documents.")
    return port


def _parsed(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8-sig")
        values = json.loads(text) if path.suffix.lower() == ".json" else tomllib.loads(text)
    except OSError as error:
        raise _bad(path, f"It cannot be read: {error.strerror}.") from None
    except (ValueError, RecursionError) as error:
        raise _bad(path, f"It does not parse: {error}.") from None
    if not isinstance(values, dict):
        raise _bad(path, "It is not a table of settings.")
    return values


def _certificate(path: Path) -> EncryptionKey:
    try:
        return read_certificate(path.read_bytes(), str(path))
    except OSError as error:
        raise SettingsError(
            f"The certificate {path} cannot be read.",
            service=error.strerror,
            next_step="Correct its path in the configuration; it is relative to the configuration file.",
        ) from None


def _accounts(path: Path, values: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    if unknown := sorted(set(values) - KINDS):
        raise _bad(path, f"accounts holds {', '.join(unknown)}; its kinds are {', '.join(sorted(KINDS))}.")
    if "right" not in values:
        raise _bad(path, "accounts names nobody as right, and no case can do without somebody who may sign in.")
    accounts: dict[str, tuple[str, str]] = {}
    for kind, entry in values.items():
        match entry:
            case {"username": str(username), "password": str(password)} if username and password:
                accounts[kind] = (username, password)
            case _:
                raise _bad(path, f"{kind} under accounts needs a username and a password, both as text.")
    return accounts


def _bad(path: Path, what: str) -> SettingsError:
    return SettingsError(
        f"The suite's configuration {path} cannot be used. {what}",
        next_step="Compare it with the one that `jitkit check --write-config FILE` writes.",
    )

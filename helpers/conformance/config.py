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

from helpers.conformance.keys import EncryptionKey, read_certificate
from helpers.errors import SettingsError

__all__ = ["FEATURES", "MEMBERS", "Config"]

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

MEMBERS: Final = frozenset(
    {"tenant_id", "app_id", "identifier_uri", "certificate", "previous_certificate", "extension_id", "listener_id"}
    | {"listen", "issuer_url", "legacy_url", "logs", "load_seconds", "features", "accounts"}
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
            SettingsError: the file is not there, does not parse, lacks a member or holds one that does not exist.
        """
        values = _parsed(path)
        unknown = sorted(set(values) - MEMBERS) + sorted(set(values.get("features", {})) - set(FEATURES))
        if unknown:
            raise _bad(path, f"It holds {', '.join(unknown)}, which the suite does not know.")
        for name in ("tenant_id", "app_id", "identifier_uri", "certificate"):
            if not isinstance(values.get(name), str):
                raise _bad(path, f"{name} is missing.")
        for name in ("tenant_id", "app_id"):
            if not _GUID.fullmatch(values[name]):
                raise _bad(path, f"{name} is not a GUID.")
        folder, previous = path.parent, values.get("previous_certificate")
        taken = ("extension_id", "listener_id", "listen", "issuer_url", "legacy_url", "load_seconds")
        own_store = "accounts" in values
        return cls(
            tenant_id=values["tenant_id"].lower(),
            app_id=values["app_id"].lower(),
            identifier_uri=values["identifier_uri"],
            key=_certificate(folder / values["certificate"]),
            previous=_certificate(folder / previous) if previous else None,
            logs=tuple(folder / name for name in values.get("logs", ())),
            features=FEATURES | values.get("features", {}),
            accounts=_accounts(path, values.get("accounts", {})),
            **{name: values[name] for name in taken if name in values} | ({"legacy_url": None} if own_store else {}),
        )


def _parsed(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
        values = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except OSError as error:
        raise _bad(path, f"It cannot be read: {error.strerror}.") from None
    except ValueError as error:
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
    try:
        return {kind: (str(entry["username"]), str(entry["password"])) for kind, entry in values.items()}
    except (KeyError, TypeError):
        raise _bad(path, "Every entry under accounts needs a username and a password.") from None


def _bad(path: Path, what: str) -> SettingsError:
    return SettingsError(
        f"The suite's configuration {path} cannot be used. {what}",
        next_step="Compare it with the one that `jitkit check --write-config FILE` writes.",
    )

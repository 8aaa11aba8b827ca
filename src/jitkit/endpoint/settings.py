"""The endpoint's settings: environment variables in, one validated value out.

Needed: `JIT_TENANT_ID`, `JIT_EXTENSION_APP_ID`, `JIT_IDENTIFIER_URI`, `LegacyApiConnectionString`, and the key as
`DecryptionPrivateKey` (with `DecryptionPrivateKeyPrevious` while keys are changed) or as `KeyVaultUrl` with
`CiamJitMigrationEncryptionCertName`.

Optional, with the default:

- `JIT_OPENID_CONFIGURATION`: metadata URLs; the tenant's own two documents.
- `JIT_LEGACY_QUERY`: a SQL store's statement. `JIT_LEDGER`: a path; `-`, standard output.
- `JIT_DEADLINE_MS`: 1500.
- `JIT_PROFILE`: `production` or `development`; development. Production wants `JIT_TLS_CERTIFICATE` with `JIT_TLS_KEY`
  (paths of PEM files), or `JIT_BEHIND_TLS=1` where a front end ends TLS and sets `X-Forwarded-Proto`.
- `JIT_EXTENSION_IDS`, `JIT_LISTENER_IDS`: the only ones that may call; any of the tenant.
- `JIT_CONTEXT_ISSUER`: `require` that a password context's issuer is the identifier URI, or `warn`; warn.
- `JIT_FLAT_CONTEXT`: accept JSON in place of the inner token; on.
- `JIT_ACCEPT_WEAK`: the tenant takes weak legacy passwords; off.
- `JIT_MFA`: `migrate` or `block` accounts that want a second factor; migrate.
- `JIT_CONCURRENCY`: legacy calls at once; 20. `JIT_GUESSES` wrong passwords per account in `JIT_GUESSES_MINUTES`; 4
  in 15, below the five at which the strictest common stores lock an account.
- `JIT_STOP_WITH_STDIN`: `1` ends the process with its standard input; off.

Any other name that begins with `JIT_` is refused, because it may be a misspelt one of these.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

from jitkit.endpoint.keys import DecryptionKey, parse_key, read_vault, refuse_unresolved
from jitkit.endpoint.stores.base import is_loopback, is_safe_url
from jitkit.errors import SettingsError

GUID: Final = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")

# Entra waits 2,000 ms at most [limits]; below 100 ms no legacy store can answer.
_SHORTEST_MS, _DEFAULT_MS, _LONGEST_MS = 100, 1500, 1900

_ON: Final = ("1", "true", "yes", "on")
_OFF: Final = ("0", "false", "no", "off")
_KNOWN: Final = (
    *("JIT_TENANT_ID", "JIT_EXTENSION_APP_ID", "JIT_IDENTIFIER_URI", "JIT_OPENID_CONFIGURATION", "JIT_LEGACY_QUERY"),
    *("JIT_LEDGER", "JIT_DEADLINE_MS", "JIT_PROFILE", "JIT_TLS_CERTIFICATE", "JIT_TLS_KEY", "JIT_BEHIND_TLS"),
    *("JIT_EXTENSION_IDS", "JIT_LISTENER_IDS", "JIT_CONTEXT_ISSUER", "JIT_FLAT_CONTEXT", "JIT_ACCEPT_WEAK", "JIT_MFA"),
    *("JIT_CONCURRENCY", "JIT_GUESSES", "JIT_GUESSES_MINUTES", "JIT_STOP_WITH_STDIN"),
)
_OF_THE_KIT: Final = "JIT_KIT_"
# How other endpoints name the switches that let anybody in. The prefix is that of Microsoft's .NET library.
_BYPASS: Final = re.compile(
    r"(?:JIT_|AuthenticationEvents__).*(?:BYPASS|SKIP|ANONYMOUS|INSECURE|TEST_?MODE).*", re.IGNORECASE
)


@dataclass(frozen=True)
class Limits:
    """What protects the legacy store.

    Args:
        concurrency: legacy calls at once; four times as many may wait for their turn.
        guesses: wrong passwords per account before the store is not asked about it any more.
        guesses_seconds: how long a wrong password counts.
    """

    concurrency: int = 20
    guesses: int = 4
    guesses_seconds: float = 900.0


@dataclass(frozen=True)
class Transport:
    """How requests arrive. Production never takes a password in the clear.

    Args:
        production: real users sign in.
        certificate: the path of a PEM certificate chain, when TLS ends here.
        key: the path of its PEM private key.
        behind_tls: a front end ends TLS (App Service, Container Apps, Functions, a reverse proxy), sets
            `X-Forwarded-Proto` itself, and is the only one that can reach this process.
    """

    production: bool = False
    certificate: str | None = None
    key: str | None = None
    behind_tls: bool = False

    def in_clear(self, forwarded: list[str]) -> bool:
        """Return whether a request came without TLS to where TLS should end, by its `X-Forwarded-Proto` headers."""
        if not self.behind_tls or self.certificate:
            return False
        return not forwarded or any(value.strip().lower() != "https" for value in ",".join(forwarded).split(","))


@dataclass(frozen=True)
class Settings:
    """Everything that the endpoint needs to know before it serves.

    Args:
        tenant_id: the external tenant (GUID).
        extension_app_id: the application id of the extension's app registration (GUID).
        identifier_uri: its identifier URI.
        openid_configuration: the metadata URLs whose signing keys are united.
        keys: the decryption keys, current first, then the previous one while keys are being changed.
        legacy_url: the legacy store as a URL. It may hold a password.
        legacy_query: for SQL stores, the statement to use instead of the default one.
        deadline: seconds from a request's arrival to its answer.
        ledger: the ledger's path, or `-` for standard output.
        extension_ids: the custom extensions that may call; empty for any of the tenant.
        listener_ids: the listeners that may call; empty for any of the tenant.
        require_issuer: refuse password contexts of another issuer than the identifier URI, instead of counting them.
        flat_context: accept a password context that is JSON instead of a token, as early samples sent it.
        accept_weak: the tenant takes weak legacy passwords.
        migrate_mfa: migrate accounts that want a second factor; otherwise they are blocked with a text.
        limits: what protects the legacy store.
        transport: how requests arrive.
    """

    tenant_id: str
    extension_app_id: str
    identifier_uri: str
    openid_configuration: tuple[str, ...]
    keys: tuple[DecryptionKey, ...]
    legacy_url: str = field(repr=False)
    legacy_query: str | None = None
    deadline: float = _DEFAULT_MS / 1000
    ledger: str = "-"
    extension_ids: frozenset[str] = frozenset()
    listener_ids: frozenset[str] = frozenset()
    require_issuer: bool = False
    flat_context: bool = True
    accept_weak: bool = False
    migrate_mfa: bool = True
    limits: Limits = field(default_factory=Limits)
    transport: Transport = field(default_factory=Transport)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Settings:
        """Read and check the settings.

        Args:
            environment: usually `os.environ`.

        Raises:
            SettingsError: a setting is missing or cannot be used; the message names it and never repeats a secret.
        """
        _refuse_bypasses_and_unknown(environment)
        tenant_id = _guid(environment, "JIT_TENANT_ID")
        transport = _transport(environment)
        return cls(
            tenant_id=tenant_id,
            extension_app_id=_guid(environment, "JIT_EXTENSION_APP_ID"),
            identifier_uri=_required(environment, "JIT_IDENTIFIER_URI"),
            openid_configuration=_metadata(environment, tenant_id, production=transport.production),
            keys=_keys(environment),
            legacy_url=_required(environment, "LegacyApiConnectionString"),
            legacy_query=_optional(environment, "JIT_LEGACY_QUERY"),
            deadline=_number(environment, "JIT_DEADLINE_MS", _SHORTEST_MS, _DEFAULT_MS, _LONGEST_MS) / 1000,
            ledger=_optional(environment, "JIT_LEDGER") or "-",
            extension_ids=_guids(environment, "JIT_EXTENSION_IDS"),
            listener_ids=_guids(environment, "JIT_LISTENER_IDS"),
            require_issuer=_choice(environment, "JIT_CONTEXT_ISSUER", ("warn", "require")) == "require",
            flat_context=_switch(environment, "JIT_FLAT_CONTEXT", default=True),
            accept_weak=_switch(environment, "JIT_ACCEPT_WEAK"),
            migrate_mfa=_choice(environment, "JIT_MFA", ("migrate", "block")) == "migrate",
            limits=Limits(
                _number(environment, "JIT_CONCURRENCY", 1, 20, 200),
                _number(environment, "JIT_GUESSES", 1, 4, 100),
                _number(environment, "JIT_GUESSES_MINUTES", 1, 15, 1440) * 60.0,
            ),
            transport=transport,
        )


def _refuse_bypasses_and_unknown(environment: Mapping[str, str]) -> None:
    """Refuse a request for a test bypass, which this endpoint does not have, and names that no setting has."""
    for name in sorted(environment):
        if _BYPASS.fullmatch(name):
            if environment[name].strip().lower() not in _OFF:
                raise SettingsError(
                    f"The setting {name} asks to skip checks, and this endpoint never does.",
                    next_step=f"Remove {name}, and test with tokens of a rehearsal tenant instead.",
                )
        elif name.startswith("JIT_") and name not in _KNOWN and not name.startswith(_OF_THE_KIT):
            raise SettingsError(
                f"The setting {name} is not one of the endpoint's.",
                next_step=f"Correct its spelling, or remove it. The settings are {', '.join(_KNOWN)}.",
            )


def _optional(environment: Mapping[str, str], name: str) -> str | None:
    return environment.get(name, "").strip() or None


def _required(environment: Mapping[str, str], name: str) -> str:
    value = _optional(environment, name)
    if not value:
        raise SettingsError(f"The setting {name} is missing.", next_step=f"Set the environment variable {name}.")
    refuse_unresolved(value, name)
    return value


def _guid(environment: Mapping[str, str], name: str) -> str:
    value = _required(environment, name)
    if not GUID.fullmatch(value):
        raise SettingsError(
            f"The setting {name} is not a GUID.", next_step=f"Set {name} to the id that the app's overview shows."
        )
    return value.lower()


def _listed(environment: Mapping[str, str], name: str) -> list[str]:
    return [value.strip() for value in environment.get(name, "").split(",") if value.strip()]


def _guids(environment: Mapping[str, str], name: str) -> frozenset[str]:
    values = _listed(environment, name)
    if not all(GUID.fullmatch(value) for value in values):
        raise SettingsError(
            f"The setting {name} holds something that is not a GUID.",
            next_step="Set it to ids with commas between them, or leave it out.",
        )
    return frozenset(value.lower() for value in values)


def _switch(environment: Mapping[str, str], name: str, *, default: bool = False) -> bool:
    value = (_optional(environment, name) or ("1" if default else "0")).lower()
    if value not in (*_ON, *_OFF):
        raise SettingsError(f"The setting {name} is neither on nor off.", next_step="Set it to 1 or 0.")
    return value in _ON


def _choice(environment: Mapping[str, str], name: str, words: Sequence[str]) -> str:
    """Read one of a few words; the first one by default."""
    value = (_optional(environment, name) or words[0]).lower()
    if value not in words:
        raise SettingsError(f"The setting {name} is not known.", next_step=f"Set it to {' or '.join(words)}.")
    return value


def _number(environment: Mapping[str, str], name: str, least: int, default: int, most: int) -> int:
    text = _optional(environment, name) or str(default)
    if not re.fullmatch(r"[0-9]{1,6}", text) or not least <= int(text) <= most:
        raise SettingsError(
            f"{name} is not a whole number from {least} to {most}.", next_step=f"Leave it out for {default}."
        )
    return int(text)


def _transport(environment: Mapping[str, str]) -> Transport:
    transport = Transport(
        _choice(environment, "JIT_PROFILE", ("development", "production")) == "production",
        _optional(environment, "JIT_TLS_CERTIFICATE"),
        _optional(environment, "JIT_TLS_KEY"),
        _switch(environment, "JIT_BEHIND_TLS"),
    )
    if (transport.certificate is None) != (transport.key is None):
        raise SettingsError(
            "Only one of JIT_TLS_CERTIFICATE and JIT_TLS_KEY is set.", next_step="Set both, or neither."
        )
    if transport.certificate and transport.key:
        _check_certificate(transport.certificate, transport.key)
    elif transport.production and not transport.behind_tls:
        raise SettingsError(
            "JIT_PROFILE is production, and nothing says where TLS ends: passwords would arrive in the clear.",
            next_step="Set JIT_TLS_CERTIFICATE and JIT_TLS_KEY, or JIT_BEHIND_TLS=1 where a front end ends TLS.",
        )
    return transport


def _check_certificate(certificate: str, key: str) -> None:
    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(certificate, key, password="")
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None)  # ssl.SSLError is an OSError
        raise SettingsError(
            "JIT_TLS_CERTIFICATE and JIT_TLS_KEY cannot be served with.",
            service=reason,
            next_step="Give the paths of a PEM certificate chain and its own PEM private key without a password.",
        ) from None


def _metadata(environment: Mapping[str, str], tenant_id: str, *, production: bool) -> tuple[str, ...]:
    urls = _listed(environment, "JIT_OPENID_CONFIGURATION")
    for url in urls:
        if not is_safe_url(url):
            raise SettingsError(
                "JIT_OPENID_CONFIGURATION holds a URL that is neither https nor http to this machine.",
                next_step="Use https: URLs; http: is accepted for 127.0.0.1, ::1 and localhost alone.",
            )
        if production and (not url.startswith("https:") or is_loopback(urlsplit(url).hostname or "")):
            raise SettingsError(
                "JIT_OPENID_CONFIGURATION names an issuer on this machine, and JIT_PROFILE is production.",
                next_step="Leave JIT_OPENID_CONFIGURATION out: the tenant's own documents are the default.",
            )
    # The signing keys of an external tenant's callout are published under ciamlogin.com.
    hosts = (f"{tenant_id}.ciamlogin.com", "login.microsoftonline.com")
    return tuple(urls) or tuple(f"https://{host}/{tenant_id}/v2.0/.well-known/openid-configuration" for host in hosts)


def _keys(environment: Mapping[str, str]) -> tuple[DecryptionKey, ...]:
    vault = _optional(environment, "KeyVaultUrl")
    if vault is None:
        keys: tuple[DecryptionKey, ...] = (
            parse_key(_required(environment, "DecryptionPrivateKey"), "DecryptionPrivateKey"),
        )
    elif vault.startswith("https://"):
        keys = read_vault(vault, _required(environment, "CiamJitMigrationEncryptionCertName"))
    else:
        raise SettingsError("KeyVaultUrl is not an https: URL.", next_step="Set it to https://NAME.vault.azure.net.")
    previous = _optional(environment, "DecryptionPrivateKeyPrevious")
    return keys if previous is None else (keys[0], parse_key(previous, "DecryptionPrivateKeyPrevious"))

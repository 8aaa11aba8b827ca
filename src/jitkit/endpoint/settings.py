"""The endpoint's settings: environment variables in, one validated value out.

Needed: `JIT_TENANT_ID`, `JIT_EXTENSION_APP_ID`, `JIT_IDENTIFIER_URI`, `LegacyApiConnectionString`, and the key as
`DecryptionPrivateKey` (with `DecryptionPrivateKeyPrevious` while keys are changed) or as `KeyVaultUrl` with
`CiamJitMigrationEncryptionCertName`, whose enabled versions are read again without a restart.

Optional, with the default:

- `JIT_OPENID_CONFIGURATION`: metadata URLs; the tenant's own two documents.
- `JIT_LEGACY_QUERY`: a SQL store's statement. `JIT_LEGACY_PEPPER`: what the legacy system appended to every password
  before it hashed it, as Devise does; a secret.
- `JIT_LEDGER`: a path; `-`, standard output, which is the default without telemetry.
- `JIT_TELEMETRY`: `calls` sends ledger lines to Application Insights without the user's id, `users` with it; off. It
  needs `APPLICATIONINSIGHTS_CONNECTION_STRING`; with `Authorization=AAD` in
  `APPLICATIONINSIGHTS_AUTHENTICATION_STRING` the managed identity sends them.
- `JIT_DEADLINE_MS`: 1500.
- `JIT_PROFILE`: `production` or `development`; development. Production wants `JIT_TLS_CERTIFICATE` with `JIT_TLS_KEY`
  (paths of PEM files), or `JIT_BEHIND_TLS=1` where a front end ends TLS and sets `X-Forwarded-Proto`.
- `JIT_EXTENSION_IDS`, `JIT_LISTENER_IDS`: the only ones that may call; any of the tenant.
- `JIT_CONTEXT_ISSUER`: `require` that a password context's issuer is the identifier URI, or `warn`; warn.
- `JIT_FLAT_CONTEXT`: accept JSON in place of the inner token; on.
- `JIT_ACCEPT_WEAK`: the tenant takes weak legacy passwords; off.
- `JIT_MFA`: `migrate` or `block` accounts that want a second factor; migrate.
- `JIT_CONCURRENCY`: legacy calls at once; 20. `JIT_GUESSES` wrong passwords per account in `JIT_GUESSES_MINUTES`; 4
  in 15, below the five at which the strictest common stores lock an account. Each process counts for itself: divide
  the store's limit by your instances.
- `JIT_STOP_WITH_STDIN`: `1` ends the process with its standard input; off.

Any other name that begins with `JIT_` is refused, because it may be a misspelt one of these.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

from jitkit.endpoint.keys import DecryptionKey, VaultKeys, parse_key, refuse_unresolved
from jitkit.endpoint.stores.base import is_loopback, is_safe_url
from jitkit.errors import SettingsError

GUID: Final = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")

# Entra waits 2,000 ms at most [limits]; below 100 ms no legacy store can answer.
_SHORTEST_MS, _DEFAULT_MS, _LONGEST_MS = 100, 1500, 1900
_ON, _OFF = ("1", "true", "yes", "on"), ("0", "false", "no", "off")
_KNOWN: Final = (
    *("JIT_TENANT_ID", "JIT_EXTENSION_APP_ID", "JIT_IDENTIFIER_URI", "JIT_OPENID_CONFIGURATION", "JIT_LEGACY_QUERY"),
    *("JIT_LEDGER", "JIT_DEADLINE_MS", "JIT_PROFILE", "JIT_TLS_CERTIFICATE", "JIT_TLS_KEY", "JIT_BEHIND_TLS"),
    *("JIT_EXTENSION_IDS", "JIT_LISTENER_IDS", "JIT_CONTEXT_ISSUER", "JIT_FLAT_CONTEXT", "JIT_ACCEPT_WEAK", "JIT_MFA"),
    *("JIT_LEGACY_PEPPER", "JIT_CONCURRENCY", "JIT_GUESSES", "JIT_GUESSES_MINUTES", "JIT_STOP_WITH_STDIN"),
    "JIT_TELEMETRY",
)
_OF_THE_KIT: Final = "JIT_KIT_"
_CONNECTION: Final = "APPLICATIONINSIGHTS_CONNECTION_STRING"
# How other endpoints name the switches that let anybody in. The prefix is that of Microsoft's .NET library.
_BYPASS: Final = re.compile(
    r"(?:JIT_|AuthenticationEvents__).*(?:BYPASS|SKIP|ANONYMOUS|INSECURE|TEST_?MODE).*", re.IGNORECASE
)


@dataclass(frozen=True)
class Limits:
    """What protects the legacy store."""

    concurrency: int = 20  # calls at once; four times as many may wait for their turn
    guesses: int = 4  # wrong passwords per account before the store is not asked about it any more
    guesses_seconds: float = 900.0  # how long a wrong password counts


@dataclass(frozen=True)
class Settings:
    """Everything that the endpoint needs to know before it serves."""

    tenant_id: str
    extension_app_id: str
    identifier_uri: str
    openid_configuration: tuple[str, ...]  # metadata URLs, whose signing keys are united
    keys: tuple[DecryptionKey, ...]  # newest first, then the ones before while keys are being changed
    legacy_url: str = field(repr=False)  # it may hold a password
    read_keys: Callable[[], tuple[DecryptionKey, ...]] | None = field(default=None, repr=False)  # from the vault, again
    legacy_query: str | None = None
    legacy_pepper: str = field(default="", repr=False)  # appended to every password before a stored hash is compared
    deadline: float = _DEFAULT_MS / 1000  # seconds from a request's arrival to its answer
    ledger: str = "-"  # empty for none
    telemetry: str = "off"  # or `calls`, or `users`
    telemetry_connection: str = field(default="", repr=False)
    sends_requests: bool = True  # to telemetry; a host may report them itself
    extension_ids: frozenset[str] = frozenset()  # empty for any of the tenant
    listener_ids: frozenset[str] = frozenset()  # likewise
    require_issuer: bool = False  # refuse contexts of another issuer than the identifier URI, instead of counting them
    flat_context: bool = True  # accept a password context that is JSON, as early samples sent it
    accept_weak: bool = False
    migrate_mfa: bool = True
    limits: Limits = field(default_factory=Limits)
    tls_certificate: str | None = None
    tls_key: str | None = None
    behind_tls: bool = False  # a front end ends TLS, and is the only one that can reach this process

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Settings:
        """Read and check the settings, usually in `os.environ`.

        Raises:
            SettingsError: a setting is missing or cannot be used; the message names it and never repeats a secret.
        """
        _refuse_bypasses_and_unknown(environment)
        tenant_id = _guid(environment, "JIT_TENANT_ID")
        production = _choice(environment, "JIT_PROFILE", "development|production") == "production"
        certificate, key, behind_tls = _tls(environment, production=production)
        telemetry = _choice(environment, "JIT_TELEMETRY", "off|calls|users")
        keys, read_keys = _keys(environment)
        return cls(
            tenant_id=tenant_id,
            extension_app_id=_guid(environment, "JIT_EXTENSION_APP_ID"),
            identifier_uri=_required(environment, "JIT_IDENTIFIER_URI"),
            openid_configuration=_metadata(environment, tenant_id, production=production),
            keys=keys,
            read_keys=read_keys,
            legacy_url=_required(environment, "LegacyApiConnectionString"),
            legacy_query=_optional(environment, "JIT_LEGACY_QUERY"),
            legacy_pepper=_pepper(environment),
            deadline=_number(environment, "JIT_DEADLINE_MS", _SHORTEST_MS, _DEFAULT_MS, _LONGEST_MS) / 1000,
            ledger=_optional(environment, "JIT_LEDGER") or ("-" if telemetry == "off" else ""),
            telemetry=telemetry,
            telemetry_connection=_required(environment, _CONNECTION) if telemetry != "off" else "",
            extension_ids=_guids(environment, "JIT_EXTENSION_IDS"),
            listener_ids=_guids(environment, "JIT_LISTENER_IDS"),
            require_issuer=_choice(environment, "JIT_CONTEXT_ISSUER", "warn|require") == "require",
            flat_context=_switch(environment, "JIT_FLAT_CONTEXT", "1"),
            accept_weak=_switch(environment, "JIT_ACCEPT_WEAK"),
            migrate_mfa=_choice(environment, "JIT_MFA", "migrate|block") == "migrate",
            limits=Limits(
                _number(environment, "JIT_CONCURRENCY", 1, 20, 200),
                _number(environment, "JIT_GUESSES", 1, 4, 100),
                _number(environment, "JIT_GUESSES_MINUTES", 1, 15, 1440) * 60.0,
            ),
            tls_certificate=certificate,
            tls_key=key,
            behind_tls=behind_tls,
        )


def _refuse_bypasses_and_unknown(environment: Mapping[str, str]) -> None:
    for name in sorted(environment):
        bypass = _BYPASS.fullmatch(name)
        if bypass and environment[name].strip().lower() not in _OFF:
            wanted = f"Remove {name}, and test with tokens of a rehearsal tenant instead."
            raise SettingsError(f"The setting {name} asks to skip checks, which is never done here.", next_step=wanted)
        if not bypass and name.startswith("JIT_") and name not in _KNOWN and not name.startswith(_OF_THE_KIT):
            wanted = f"Correct its spelling, or remove it. The settings are {', '.join(_KNOWN)}."
            raise SettingsError(f"The setting {name} is not one of the endpoint's.", next_step=wanted)


def _optional(environment: Mapping[str, str], name: str) -> str | None:
    return environment.get(name, "").strip() or None


def _required(environment: Mapping[str, str], name: str) -> str:
    value = _optional(environment, name)
    if value is None:
        raise SettingsError(f"The setting {name} is missing.", next_step=f"Set the environment variable {name}.")
    refuse_unresolved(value, name)
    return value


def _pepper(environment: Mapping[str, str]) -> str:
    value = environment.get("JIT_LEGACY_PEPPER", "")  # blanks at its ends are part of it
    refuse_unresolved(value, "JIT_LEGACY_PEPPER")
    return value


def _listed(environment: Mapping[str, str], name: str) -> tuple[str, ...]:
    return tuple(value.strip() for value in environment.get(name, "").split(",") if value.strip())


def _matching(environment: Mapping[str, str], name: str, pattern: str, default: str, expected: str) -> str:
    """Read a setting that has to match a pattern, whatever its capitals; return it in lower case."""
    value = (_optional(environment, name) or default).lower()
    if not re.fullmatch(pattern, value):
        raise SettingsError(f"The setting {name} is not {expected}.", next_step=f"Set {name} to {expected}.")
    return value


def _guid(environment: Mapping[str, str], name: str) -> str:
    return _matching(environment, name, GUID.pattern, _required(environment, name), "the GUID of the app's overview")


def _guids(environment: Mapping[str, str], name: str) -> frozenset[str]:
    _matching(environment, name, rf"(?:{GUID.pattern}[\s,]+)*(?:{GUID.pattern})?", "", "GUIDs with commas between them")
    return frozenset(value.lower() for value in _listed(environment, name))


def _switch(environment: Mapping[str, str], name: str, default: str = "0") -> bool:
    return _matching(environment, name, "|".join((*_ON, *_OFF)), default, "1 or 0") in _ON


def _choice(environment: Mapping[str, str], name: str, words: str) -> str:
    return _matching(environment, name, words, words.partition("|")[0], words.replace("|", " or "))


def _number(environment: Mapping[str, str], name: str, least: int, default: int, most: int) -> int:
    number = int(_matching(environment, name, r"[0-9]{1,6}", str(default), f"a number from {least} to {most}"))
    if not least <= number <= most:
        raise SettingsError(f"{name} is not a number from {least} to {most}.", next_step=f"Leave it out for {default}.")
    return number


def _tls(environment: Mapping[str, str], *, production: bool) -> tuple[str | None, str | None, bool]:
    """Read where TLS ends: at a certificate and key of ours, or at a front end. Production takes nothing in clear."""
    certificate, key = _optional(environment, "JIT_TLS_CERTIFICATE"), _optional(environment, "JIT_TLS_KEY")
    behind_tls = _switch(environment, "JIT_BEHIND_TLS")
    if (certificate is None) != (key is None):
        raise SettingsError("Only one of JIT_TLS_CERTIFICATE and JIT_TLS_KEY is set.", next_step="Set both, or none.")
    if certificate is None and production and not behind_tls:
        raise SettingsError(
            "JIT_PROFILE is production, and nothing says where TLS ends: passwords would arrive in the clear.",
            next_step="Set JIT_TLS_CERTIFICATE and JIT_TLS_KEY, or JIT_BEHIND_TLS=1 where a front end ends TLS.",
        )
    try:
        if certificate is not None:
            ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(certificate, key, password="")
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise SettingsError(
            "JIT_TLS_CERTIFICATE and JIT_TLS_KEY cannot be served with.",
            service=getattr(error, "reason", None) or getattr(error, "strerror", None),
            next_step="Give the paths of a PEM certificate chain and its own PEM private key without a password.",
        ) from None
    return certificate, key, behind_tls and certificate is None


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
    return urls or tuple(f"https://{host}/{tenant_id}/v2.0/.well-known/openid-configuration" for host in hosts)


def _keys(
    environment: Mapping[str, str],
) -> tuple[tuple[DecryptionKey, ...], Callable[[], tuple[DecryptionKey, ...]] | None]:
    """Return the keys, and what reads them again where they are in a vault."""
    before = _optional(environment, "DecryptionPrivateKeyPrevious")
    previous = () if before is None else (parse_key(before, "DecryptionPrivateKeyPrevious"),)
    url = _optional(environment, "KeyVaultUrl")
    if url is None:
        return (parse_key(_required(environment, "DecryptionPrivateKey"), "DecryptionPrivateKey"), *previous), None
    if not url.startswith("https://"):
        raise SettingsError("KeyVaultUrl is not an https: URL.", next_step="Set it to https://NAME.vault.azure.net.")
    vault = VaultKeys(url, _required(environment, "CiamJitMigrationEncryptionCertName"), previous)
    return vault.read(), vault.read

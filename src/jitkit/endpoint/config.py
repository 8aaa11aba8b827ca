"""The endpoint's settings: environment variables in, one validated value out.

Needed: `JIT_TENANT_ID`, `JIT_EXTENSION_APP_ID`, `JIT_IDENTIFIER_URI`, `LegacyApiConnectionString`, and the key as
`DecryptionPrivateKey` (with `DecryptionPrivateKeyPrevious` while keys are changed) or as `KeyVaultUrl` with
`CiamJitMigrationEncryptionCertName`.

What may be chosen, with its default:

- `JIT_OPENID_CONFIGURATION`: metadata URLs; the tenant's own two documents.
- `JIT_LEGACY_QUERY`: a SQL store's statement. `JIT_LEDGER`: a path; `-`, standard output.
- `JIT_DEADLINE_MS`: 1500.
- `JIT_PROFILE`: `production` or `development`; development. Production wants `JIT_TLS_CERTIFICATE` with `JIT_TLS_KEY`
  (paths of PEM files), or `JIT_BEHIND_TLS=1` where a front end ends TLS and sets `X-Forwarded-Proto`.
- `JIT_EXTENSION_IDS`, `JIT_LISTENER_IDS`: the only ones that may call; any of the tenant.
- `JIT_CONTEXT_ISSUER`: `require` that a password context's issuer is the identifier URI, or `warn`; warn.
- `JIT_FLAT_CONTEXT`: accept JSON in place of the inner token; on.
- `JIT_ACCEPT_WEAK`: the tenant takes weak legacy passwords; off. `JIT_BANNED_PASSWORDS`: a file of its banned terms.
- `JIT_MFA`: `migrate` or `block` accounts that want a second factor; migrate.
- `JIT_CONCURRENCY`: legacy calls at once; 20. `JIT_GUESSES` wrong passwords per account in `JIT_GUESSES_MINUTES`; 4
  in 15, below the five at which the strictest common stores lock an account.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from jitkit.endpoint.environment import GUID, choice, guid, guids, number, refuse_bypasses, required, switch
from jitkit.endpoint.guard import Limits
from jitkit.endpoint.keys import DecryptionKey, parse_key
from jitkit.endpoint.password_policy import PasswordPolicy, read_terms
from jitkit.endpoint.transport import Transport
from jitkit.errors import SettingsError

__all__ = ["GUID", "Settings", "is_safe_url"]

# Entra waits 2,000 ms at most [limits]; below 100 ms no legacy store can answer.
_SHORTEST_MS, _DEFAULT_MS, _LONGEST_MS = 100, 1500, 1900


@dataclass(frozen=True)
class Settings:
    """Hold everything that the endpoint needs to know before it serves.

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
        migrate_mfa: migrate accounts that want a second factor; otherwise they are blocked with a text.
        policy: which passwords Entra takes as they are.
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
    migrate_mfa: bool = True
    policy: PasswordPolicy = field(default_factory=PasswordPolicy)
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
        refuse_bypasses(environment)
        tenant_id = guid(environment, "JIT_TENANT_ID")
        transport = Transport.from_environment(environment)
        return cls(
            tenant_id=tenant_id,
            extension_app_id=guid(environment, "JIT_EXTENSION_APP_ID"),
            identifier_uri=required(environment, "JIT_IDENTIFIER_URI"),
            openid_configuration=_metadata(environment, tenant_id, production=transport.production),
            keys=_keys(environment),
            legacy_url=required(environment, "LegacyApiConnectionString"),
            legacy_query=environment.get("JIT_LEGACY_QUERY", "").strip() or None,
            deadline=number(environment, "JIT_DEADLINE_MS", least=_SHORTEST_MS, usual=_DEFAULT_MS, most=_LONGEST_MS)
            / 1000,
            ledger=environment.get("JIT_LEDGER", "").strip() or "-",
            extension_ids=guids(environment, "JIT_EXTENSION_IDS"),
            listener_ids=guids(environment, "JIT_LISTENER_IDS"),
            require_issuer=choice(environment, "JIT_CONTEXT_ISSUER", ("warn", "require")) == "require",
            flat_context=switch(environment, "JIT_FLAT_CONTEXT", usual=True),
            migrate_mfa=choice(environment, "JIT_MFA", ("migrate", "block")) == "migrate",
            policy=PasswordPolicy(switch(environment, "JIT_ACCEPT_WEAK"), _banned(environment)),
            limits=Limits(
                number(environment, "JIT_CONCURRENCY", least=1, usual=20, most=200),
                number(environment, "JIT_GUESSES", least=1, usual=4, most=100),
                number(environment, "JIT_GUESSES_MINUTES", least=1, usual=15, most=1440) * 60.0,
            ),
            transport=transport,
        )


def is_safe_url(url: str) -> bool:
    """Tell whether a URL is https, or http to this machine."""
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        return False
    if not host or parts.username or parts.password:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(host))


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _metadata(environment: Mapping[str, str], tenant_id: str, *, production: bool) -> tuple[str, ...]:
    text = environment.get("JIT_OPENID_CONFIGURATION", "")
    urls = tuple(url.strip() for url in text.split(",") if url.strip())
    for url in urls:
        if not is_safe_url(url):
            raise SettingsError(
                "JIT_OPENID_CONFIGURATION holds a URL that is neither https nor http to this machine.",
                next_step="Use https: URLs; http: is accepted for 127.0.0.1, ::1 and localhost alone.",
            )
        if production and (not url.startswith("https:") or _is_loopback(urlsplit(url).hostname or "")):
            raise SettingsError(
                "JIT_OPENID_CONFIGURATION names an issuer on this machine, and JIT_PROFILE is production.",
                next_step="Leave JIT_OPENID_CONFIGURATION out: the tenant's own documents are the default.",
            )
    # The signing keys of an external tenant's callout are published under ciamlogin.com.
    return urls or tuple(
        f"https://{host}/{tenant_id}/v2.0/.well-known/openid-configuration"
        for host in (f"{tenant_id}.ciamlogin.com", "login.microsoftonline.com")
    )


def _keys(environment: Mapping[str, str]) -> tuple[DecryptionKey, ...]:
    vault = environment.get("KeyVaultUrl", "").strip()
    if vault:
        if not vault.startswith("https://"):
            raise SettingsError(
                "KeyVaultUrl is not an https: URL.", next_step="Set it to https://NAME.vault.azure.net."
            )
        from jitkit.endpoint.vault import read_vault

        keys = read_vault(vault, required(environment, "CiamJitMigrationEncryptionCertName"))
    else:
        keys = (parse_key(required(environment, "DecryptionPrivateKey"), "DecryptionPrivateKey"),)
    previous = environment.get("DecryptionPrivateKeyPrevious", "").strip()
    if not previous:
        return keys
    return (keys[0], parse_key(previous, "DecryptionPrivateKeyPrevious"))


def _banned(environment: Mapping[str, str]) -> frozenset[str]:
    path = environment.get("JIT_BANNED_PASSWORDS", "").strip()
    if not path:
        return frozenset()
    try:
        return read_terms(Path(path).read_text(encoding="utf-8-sig").splitlines())
    except (OSError, ValueError) as error:
        raise SettingsError(
            "The file that JIT_BANNED_PASSWORDS names cannot be used.",
            service=error.strerror if isinstance(error, OSError) else None,
            next_step="Give the path of a UTF-8 text file with one term of 4 to 16 characters a line.",
        ) from None

"""Legacy identity stores: systems that users come from, each answering whether a password is right."""

from __future__ import annotations

from urllib.parse import urlsplit

from jitkit.endpoint.stores.base import LegacyStore, Maps, Prepares, Verdict
from jitkit.errors import SettingsError

__all__ = ["LegacyStore", "Maps", "Prepares", "Verdict", "open_store"]


def open_store(url: str, query: str | None = None) -> LegacyStore:
    """Open the legacy store that a URL names.

    Args:
        url: `sqlite:///PATH`, `postgresql+psycopg://USER:PASSWORD@HOST/DATABASE`, `ldaps://ACCOUNT:PASSWORD@HOST/BASE`,
            `https://:KEY@HOST/PATH` for a JSON API, `oauth2+https://:SECRET@HOST/PATH?client_id=ID`, or
            `cognito://:SECRET@REGION/POOL?client_id=ID`. The module of each kind documents its parameters.
        query: for SQL stores, the statement to use instead of the default one.

    Raises:
        SettingsError: the URL or the statement cannot be used, or a package is missing.
    """
    try:
        scheme = urlsplit(url).scheme
    except ValueError:
        scheme = ""
    match scheme:
        case "sqlite" | "postgresql+psycopg":
            from jitkit.endpoint.stores.sql import SqlStore

            return SqlStore(url, query)
        case "https" | "http":
            from jitkit.endpoint.stores.http import JsonApiStore

            return JsonApiStore(url)
        case "oauth2+https" | "oauth2+http":
            from jitkit.endpoint.stores.oauth import OAuthStore

            return OAuthStore(url)
        case "ldaps" | "ldap":
            try:
                from jitkit.endpoint.stores.ldap import LdapStore
            except ImportError:
                raise SettingsError(
                    "LegacyApiConnectionString names a directory, and the package for it is not installed.",
                    next_step='Run: pip install -e ".[ldap]"',
                ) from None

            return LdapStore(url)
        case "cognito":
            from jitkit.endpoint.stores.cognito import CognitoStore

            return CognitoStore(url)
    raise SettingsError(
        "LegacyApiConnectionString names a kind of store that the endpoint does not know.",
        next_step="Begin it with sqlite:, postgresql+psycopg:, ldaps:, https:, oauth2+https: or cognito:.",
    )

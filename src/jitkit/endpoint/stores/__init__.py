"""Legacy identity stores: systems that users come from, each answering whether a password is right."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

from jitkit.endpoint.stores.base import LegacyStore, Maps, Prepares, Verdict, refuse_url

__all__ = ["LegacyStore", "Maps", "Prepares", "Verdict", "open_store"]

_EXTRAS: Final = {"postgresql+psycopg": "postgres", "ldaps": "ldap", "ldap": "ldap", "cognito": "cognito"}


def open_store(url: str, query: str | None = None, pepper: str = "") -> LegacyStore:
    """Open the legacy store that a URL names (README.md lists them).

    For SQL stores, `query` replaces the statement, and `pepper` is appended to every password.

    Raises:
        SettingsError: the URL or the statement cannot be used, or a package is missing.
    """
    try:
        scheme = urlsplit(url).scheme
    except ValueError:
        scheme = ""
    try:
        match scheme:
            case "sqlite" | "postgresql+psycopg":
                from jitkit.endpoint.stores.sql import SqlStore

                return SqlStore(url, query, pepper)
            case "https" | "http":
                from jitkit.endpoint.stores.http import JsonApiStore

                return JsonApiStore(url)
            case "oauth2+https" | "oauth2+http":
                from jitkit.endpoint.stores.oauth import OAuthStore

                return OAuthStore(url)
            case "ldaps" | "ldap":
                from jitkit.endpoint.stores.ldap import LdapStore

                return LdapStore(url)
            case "cognito":
                from jitkit.endpoint.stores.cognito import CognitoStore

                return CognitoStore(url)
    except ImportError:
        if scheme not in _EXTRAS:
            raise
        refuse_url("needs a package that is not installed", f'Run: pip install -e ".[{_EXTRAS[scheme]}]"')
    known = "Begin it with sqlite:, postgresql+psycopg:, ldaps:, https:, oauth2+https: or cognito:."
    refuse_url("names a kind of store that the endpoint does not know", known)

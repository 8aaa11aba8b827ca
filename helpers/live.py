"""Signing in to a real tenant, and the questions before its changes."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from getpass import getpass
from pathlib import Path
from typing import Any, Final
from urllib.request import getproxies, proxy_bypass

import httpx

from helpers.graph import HOST, Change
from helpers.settings import Profile
from jitkit import protocol
from jitkit.errors import KitError, SettingsError, WriteNotConfirmed

__all__ = ["Confirmation", "LiveCredential", "transport"]

# Microsoft Graph Command Line Tools: a public client made for administrators; it asks for consent to each scope.
_PUBLIC_CLIENT: Final = "14d82eec-204b-4c2f-b7e8-296a70dab67e"

# azure-identity reports a network that is down as a sign-in that failed.
_NETWORK: Final = ("Failed to resolve", "Max retries exceeded", "Connection", "timed out", "Network is unreachable")


class LiveCredential:
    """Gets tokens for a real tenant with the kind of credential that the profile names."""

    def __init__(self, profile: Profile) -> None:
        self._profile = profile
        self._inner: Any = None
        # Several batches may find the token expired at once; the administrator is asked once.
        self._lock = asyncio.Lock()

    @property
    def scopes(self) -> list[str]:
        """The scopes to ask for: each permission for a person, the consented set for an application."""
        if self._profile.credential in ("browser", "device-code"):
            return [f"https://graph.microsoft.com/{name}" for name in protocol.DELEGATED_PERMISSIONS]
        return ["https://graph.microsoft.com/.default"]

    async def get_token(self, *scopes: str, **options: Any) -> Any:
        """Return an access token; the first call may open a browser or show a device code."""
        from azure.core.exceptions import AzureError, ClientAuthenticationError

        async with self._lock:
            if self._inner is None:
                self._inner = self._make()
            try:
                return await asyncio.to_thread(self._inner.get_token, *scopes, **options)
            except AzureError as error:
                refused = isinstance(error, ClientAuthenticationError)
                raise _failed(self._profile, str(error.message), refused) from None

    async def close(self) -> None:
        """Close the credential's connections."""
        if self._inner is not None:
            await asyncio.to_thread(self._inner.close)

    def _make(self) -> Any:
        import azure.identity as identity

        tenant, kind, own = self._profile.tenant, self._profile.credential, self._profile.client_id
        if kind == "browser":
            return identity.InteractiveBrowserCredential(tenant_id=tenant, client_id=own or _PUBLIC_CLIENT)
        if kind == "device-code":
            return identity.DeviceCodeCredential(tenant_id=tenant, client_id=own or _PUBLIC_CLIENT)
        if kind == "azure-cli":
            return identity.AzureCliCredential(tenant_id=tenant)
        if not own:
            raise SettingsError(
                f"The credential {kind} needs the application it signs in as.",
                next_step="Give client_id=… to kit.choose in notebook 00: the appId of your own operator application.",
            )
        if kind == "client-secret":
            asked = "Client secret (not shown, kept in memory only): "
            return identity.ClientSecretCredential(tenant, own, os.environ.get("AZURE_CLIENT_SECRET") or getpass(asked))
        certificate = Path(self._profile.certificate).expanduser()
        if not certificate.is_file():
            raise SettingsError(
                "The credential client-certificate needs a PEM file with the certificate and its private key.",
                next_step="Give certificate='path/to/file.pem' to kit.choose in notebook 00.",
            )
        return identity.CertificateCredential(tenant, own, str(certificate))


class Confirmation:
    """Shows every change, and asks before it: once a session for ordinary creations, each time for what can hurt.

    An ordinary creation takes the tenant's domain, which the question does not name: whoever types it knows the tenant.
    """

    def __init__(self, domain: str, ask: Callable[[str], str] = input, show: Callable[[Change], object] | None = None):
        self._domain = domain
        self._ask = ask
        self._show = show or _display
        self._given = False
        self._lock = asyncio.Lock()

    async def __call__(self, change: Change) -> None:
        """Return once the change may be made; raise WriteNotConfirmed when something else, or nothing, was typed."""
        async with self._lock:
            self._show(change)
            if change.answer:
                self._require(change.answer, f"Type {change.asks} to allow it: ")
            elif not self._given:
                self._require(self._domain, "This changes a real tenant. Type the tenant's domain to allow it: ")
                self._given = True

    def _require(self, wanted: str, question: str) -> None:
        try:
            typed = self._ask(question)
        except (EOFError, RuntimeError, NotImplementedError) as problem:
            raise _unconfirmed("nothing can be typed here") from problem
        if typed.strip().lower() != wanted.lower():
            raise _unconfirmed("what was typed is not what was asked for")


def _unconfirmed(why: str) -> WriteNotConfirmed:
    return WriteNotConfirmed(
        f"Nothing was changed: {why}.",
        next_step="Read what would change, run the cell again in an interactive notebook, and type what it asks for.",
    )


def _display(change: Change) -> None:
    from IPython.core.interactiveshell import InteractiveShell
    from IPython.display import display

    if InteractiveShell.initialized():
        display(change)  # type: ignore[no-untyped-call]
    else:
        print(change)  # noqa: T201 - a question without its subject could not be answered


def transport() -> httpx.AsyncBaseTransport:
    """Make the transport to the real Microsoft Graph, through the proxy that the environment names for it."""
    # A client that is given a transport does not read HTTPS_PROXY and NO_PROXY itself.
    proxies = {} if proxy_bypass(HOST) else getproxies()
    proxy = proxies.get("https") or proxies.get("all")
    try:
        return httpx.AsyncHTTPTransport(
            http2=True, retries=2, proxy=proxy if not proxy or "://" in proxy else f"http://{proxy}"
        )
    except (ImportError, OSError, ValueError, httpx.InvalidURL):
        # The address may hold a password.
        raise SettingsError(
            "The proxy or the certificates that the environment names cannot be used.",
            next_step="Check HTTPS_PROXY (http: or https:), SSL_CERT_FILE and SSL_CERT_DIR, then run this cell again.",
        ) from None


def _failed(profile: Profile, message: str, refused: bool) -> KitError:
    """Explain why there is no token: the sign-in service refused, or could not be reached."""
    line = message.splitlines()[0][:300] if message else "no reason given"
    if "AADSTS90002" in message or "AADSTS900023" in message:
        return SettingsError(
            f"There is no tenant called {profile.tenant!r}.",
            service=line,
            next_step="Correct the tenant in notebook 00: its domain (contoso.onmicrosoft.com) or its id.",
        )
    if not refused or any(word in message for word in _NETWORK):
        return KitError(
            f"The sign-in service of {profile.tenant} cannot be reached.",
            service=line,
            next_step="Check the network and any proxy settings, then open the session again; nothing was changed.",
        )
    return KitError(
        f"Signing in to {profile.tenant} with {profile.credential} failed.",
        service=line,
        next_step="Check the credential in notebook 00, then open the session again. Azure CLI tokens may lack the"
        " scopes that extensions and listeners need: prefer the browser, a device code or your own application.",
    )

"""Signing in to a real tenant, and the questions before its changes."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import re
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
from jitkit.explanations import connection_failure

__all__ = ["Confirmation", "LiveCredential", "transport"]

# Microsoft Graph Command Line Tools: a public client made for administrators; it asks for consent to each scope.
_PUBLIC_CLIENT: Final = "14d82eec-204b-4c2f-b7e8-296a70dab67e"
# azure-identity reports a network that is down as a sign-in that failed.
_NETWORK: Final = ("Failed to resolve", "Max retries exceeded", "Connection", "timed out", "Network is unreachable")
# The one of the worldwide cloud, whatever AZURE_AUTHORITY_HOST says: Graph's address is that cloud's, too.
_AUTHORITY: Final = "login.microsoftonline.com"


class LiveCredential:
    """Gets tokens for a real tenant with the kind of credential that the profile names."""

    def __init__(self, profile: Profile) -> None:
        self._profile = profile
        self._inner: Any = None
        # Several batches may find the token expired at once; the administrator is asked once.
        self._lock = asyncio.Lock()
        self._granted: set[str] = set()

    @property
    def scopes(self) -> list[str]:
        """The scopes to ask for before a write: each permission for a person, the consented set for an application."""
        return self._each(protocol.DELEGATED_PERMISSIONS)

    @property
    def read_scopes(self) -> list[str]:
        """The scopes to ask for before a read: a person is asked to consent to reading alone."""
        return self._each(protocol.READ_PERMISSIONS)

    @property
    def lacking(self) -> tuple[str, ...]:
        """The permissions of notebook 00 that are not in the newest token; none where it does not say."""
        wanted = protocol.READ_PERMISSIONS if self._asks_for_each else protocol.DELEGATED_PERMISSIONS
        # An Azure CLI token acts as the person in the whole directory, which includes reading it.
        held = self._granted | ({"Directory.Read.All"} if "Directory.AccessAsUser.All" in self._granted else set())
        return tuple(name for name in wanted if name not in held) if held else ()

    @property
    def _asks_for_each(self) -> bool:
        return self._profile.credential in ("browser", "device-code")

    def _each(self, permissions: tuple[str, ...]) -> list[str]:
        return [f"https://{HOST}/{name}" for name in (permissions if self._asks_for_each else (".default",))]

    async def get_token(self, *scopes: str, **options: Any) -> Any:
        """Return an access token; the first call may open a browser or show a device code."""
        from azure.core.exceptions import AzureError, ClientAuthenticationError

        async with self._lock:
            if self._inner is None:
                self._inner = self._make()
            try:
                token = await asyncio.to_thread(self._inner.get_token, *scopes, **options)
            except AzureError as error:
                refused = isinstance(error, ClientAuthenticationError)
                raise _failed(self._profile, str(error.message), refused) from None
            self._granted = _permissions(token.token)
            return token

    async def close(self) -> None:
        """Close the credential's connections."""
        if self._inner is not None:
            await asyncio.to_thread(self._inner.close)

    def _make(self) -> Any:
        import azure.identity as identity

        tenant, kind, own = self._profile.tenant, self._profile.credential, self._profile.client_id
        if kind == "azure-cli":
            return identity.AzureCliCredential(tenant_id=tenant)
        if self._asks_for_each:
            by_hand = identity.InteractiveBrowserCredential if kind == "browser" else identity.DeviceCodeCredential
            return by_hand(tenant_id=tenant, client_id=own or _PUBLIC_CLIENT, authority=_AUTHORITY)
        if not own:
            raise SettingsError(
                f"The credential {kind} needs the application it signs in as.",
                next_step="Give client_id=… to kit.choose in notebook 00: the appId of your own operator application.",
            )
        if kind == "client-secret":
            asked = "Client secret (not shown, kept in memory only): "
            secret = os.environ.get("AZURE_CLIENT_SECRET") or getpass(asked)
            return identity.ClientSecretCredential(tenant, own, secret, authority=_AUTHORITY)
        certificate = str(Path(self._profile.certificate).expanduser())
        try:
            return identity.CertificateCredential(tenant, own, certificate, authority=_AUTHORITY)
        except (OSError, TypeError, ValueError):
            raise SettingsError(
                "The credential client-certificate needs a PEM file with the certificate and its private key.",
                next_step="Give certificate='path/to/file.pem' to kit.choose in notebook 00; a key with a password"
                " cannot be used.",
            ) from None


def _permissions(token: str) -> set[str]:
    """Read the Graph permissions out of an access token; empty when it is not a readable one."""
    with contextlib.suppress(ValueError, IndexError, AttributeError):
        part = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
        return {*str(claims.get("scp") or "").split(), *(claims.get("roles") or ())}
    return set()


class Confirmation:
    """Shows every change, and asks before it: once a session for ordinary creations, each time for what can hurt.

    An ordinary creation takes the tenant's initial domain. No question shows what has to be typed, so the answer proves
    that the tenant, the number or the name was read or known.
    """

    def __init__(
        self, domain: str, ask: Callable[[str], str] | None = None, show: Callable[[Change], object] | None = None
    ) -> None:
        self._domain = domain
        self._ask = ask or input  # looked up now: a notebook has an `input` of its own
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
                self._require(
                    self._domain,
                    "This changes a real tenant. Type its initial domain (it ends in onmicrosoft.com) to allow this and"
                    " further creations in this session: ",
                )
                self._given = True

    def _require(self, wanted: str, question: str) -> None:
        try:
            typed = self._ask(question)
        except (EOFError, RuntimeError, NotImplementedError) as problem:
            raise _unconfirmed("nothing can be typed here") from problem
        typed, wanted = typed.strip().lower(), wanted.strip().lower()
        if wanted.isdigit():
            typed = re.sub(r"(?<=\d)[ ,.\u00a0\u202f'](?=\d{3})", "", typed)  # numbers are shown as 1,234
        if typed != wanted or not wanted:
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
    except ImportError as problem:
        raise SettingsError(
            "A package that the connection to Microsoft Graph needs is not installed.",
            service=str(problem),
            next_step="Run `pip install -e . -c constraints.txt` in the kit's folder, or install what it names, then"
            " restart the kernel.",
        ) from None
    except (OSError, ValueError, httpx.InvalidURL):
        # The address may hold a password.
        raise SettingsError(
            "The proxy or the certificates that the environment names cannot be used.",
            next_step="Check HTTPS_PROXY (http: or https:), SSL_CERT_FILE and SSL_CERT_DIR, then run this cell again.",
        ) from None


def _failed(profile: Profile, message: str, refused: bool) -> KitError:
    """Explain why there is no token: the sign-in service refused, or could not be reached."""
    line = message.splitlines()[0][:300] if message else "no reason given"
    tenant, kind = profile.tenant, str(profile.credential)
    if re.search(r"AADSTS90002\b|AADSTS900023|AADSTS900439", message):
        return SettingsError(
            f"There is no tenant called {tenant!r} in the worldwide Microsoft cloud; the kit works in no other cloud.",
            service=line,
            next_step="Correct the tenant in notebook 00: its domain (contoso.onmicrosoft.com) or its id.",
        )
    if known := connection_failure(message, kind, tenant):
        return KitError(known[0], service=line, next_step=known[1])
    if not refused or any(word in message for word in _NETWORK):
        return KitError(
            f"The sign-in service of {tenant} cannot be reached.",
            service=line,
            next_step="Check the network and any proxy settings, then open the session again; nothing was changed.",
        )
    advice = "Read what the service said, check the credential in notebook 00, and open the session again."
    lacks = " Azure CLI tokens lack the scopes that extensions and listeners need; the other credentials ask for them."
    return KitError(
        f"Signing in to {tenant} with {kind} failed.",
        service=line,
        next_step=advice + (lacks if kind == "azure-cli" else ""),
    )

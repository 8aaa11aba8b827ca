"""What has to be in place before Entra calls an endpoint, checked in the tenant; each gap has its number in the log.

[Microsoft Learn, "Troubleshoot custom authentication extensions"]
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from jitkit.errors import KitError
from jitkit.explanations import CALLOUT_ERRORS
from jitkit.protocol import CALLER_APP_ID, GRAPH_APP_ID, RECEIVE_PAYLOAD_ROLE_ID, TIMEOUT_MS
from jitkit.rehearsal import switches
from jitkit.rehearsal.directory import Body, Directory
from jitkit.rehearsal.password_context import Recipient, recipient

LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")
_DEFAULT_TIMEOUT_MS: Final = 1000  # [Microsoft Graph v1.0: customExtensionClientConfiguration]
_RESOURCE_ID: Final = re.compile(
    r"api://(?P<host>[^/:]+)(:\d+)?/(?P<app_id>[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})", re.IGNORECASE
)
_NAME: Final = re.compile(r"(?=.{4,253}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z0-9-]{2,63}", re.IGNORECASE)
# The service says that it blocks some hosts, not which; these are its own.
_BLOCKED: Final = ("microsoftonline.com", "graph.microsoft.com", "ciamlogin.com", "b2clogin.com")


class CalloutImpossible(KitError):
    """Entra would not call the endpoint: something it needs is missing.

    Args:
        code: the 1003xxx number in the sign-in log.
        happened: what is missing.
        next_step: how to put it right.
    """

    def __init__(self, code: int, happened: str, next_step: str) -> None:
        super().__init__(happened, service=f"{code} {CALLOUT_ERRORS[code]}", next_step=next_step)
        self.code = code


@dataclass(frozen=True)
class Target:
    """Whom to call, for whom the token is, and how long to wait."""

    extension_id: str
    url: str
    resource_id: str
    app_id: str
    token_version: int
    recipient: Recipient
    caller_id: str | None
    timeout: float
    retries: int


def prepare(directory: Directory, listener: Mapping[str, Any]) -> Target:
    """Check everything a callout needs.

    Args:
        directory: the tenant's directory.
        listener: the listener that covers the app.

    Returns:
        The target of the call.

    Raises:
        CalloutImpossible: something is missing or wrong.
    """
    handler = listener.get("handler") or {}
    extension = directory.get("customAuthenticationExtension", str((handler.get("customExtension") or {}).get("id")))
    if extension is None:
        raise CalloutImpossible(
            1003011,
            "The listener points to a custom authentication extension that does not exist.",
            "Create the extension and point the listener to it (notebook 03).",
        )
    url = _target_url(directory, extension)
    resource_id, app_id = _resource(extension, url)
    application, principal = _resource_app(directory, resource_id, app_id)
    caller_id = _caller(directory)
    _consent(directory, principal)
    key = recipient(application)
    if key is None:
        # What the service does without a key is not documented; it cannot encrypt, so nothing can be sent.
        raise CalloutImpossible(
            int(switches.read(directory, "missing_key_error")),
            "There is no key to encrypt with: the extension's app has no RSA certificate under tokenEncryptionKeyId.",
            "Upload the public certificate and set tokenEncryptionKeyId (notebook 04).",
        )
    timeout, retries = _patience(extension, handler)
    version = (application.get("api") or {}).get("requestedAccessTokenVersion")
    return Target(extension["id"], url, resource_id, app_id, 2 if version == 2 else 1, key, caller_id, timeout, retries)


def _target_url(directory: Directory, extension: Body) -> str:
    url = str((extension.get("endpointConfiguration") or {}).get("targetUrl") or "")
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        parts, host = urlsplit(""), ""
    loopback = host in LOOPBACK
    allowed = switches.is_on(directory, "allow_loopback") and parts.scheme in ("http", "https")
    if not (allowed if loopback else parts.scheme == "https" and _NAME.fullmatch(host)):
        raise CalloutImpossible(
            1003020,
            f"The target URL {url!r} is not a public https address.",
            "Give the extension the endpoint's https address.",
        )
    if any(host == each or host.endswith(f".{each}") for each in _BLOCKED):
        raise CalloutImpossible(1003023, f"The service does not call {host}.", "Use a host of your own.")
    return url


def _resource(extension: Body, url: str) -> tuple[str, str]:
    resource_id = str((extension.get("authenticationConfiguration") or {}).get("resourceId") or "")
    named = _RESOURCE_ID.fullmatch(resource_id)
    if named is None:
        raise CalloutImpossible(
            1003014,
            f"The resource id {resource_id!r} does not read api://{{host}}/{{appId}}.",
            "Give the extension the identifier URI of its app registration.",
        )
    if named["host"].lower() != urlsplit(url).hostname:
        raise CalloutImpossible(
            1003015,
            f"The resource id names the host {named['host']}, the target URL {urlsplit(url).hostname}.",
            "Make the identifier URI, the resource id and the target URL name the same host.",
        )
    return resource_id, named["app_id"].lower()


def _resource_app(directory: Directory, resource_id: str, app_id: str) -> tuple[Body, Body]:
    application = directory.by_key("application", app_id)
    principal = directory.by_key("servicePrincipal", app_id)
    uris = [str(uri).lower() for uri in (application or {}).get("identifierUris") or ()]
    if application is None or principal is None or resource_id.lower() not in uris:
        raise CalloutImpossible(
            1003016,
            f"No app with a service principal in this tenant has the identifier URI {resource_id}.",
            "Create the extension's app registration, its identifier URI and its service principal (notebook 02).",
        )
    if principal.get("accountEnabled") is False:
        raise CalloutImpossible(
            1003019, "The service principal of the extension's app is disabled.", "Enable that service principal."
        )
    return application, principal


def _caller(directory: Directory) -> str | None:
    """Find the principal of the app that calls. A tenant may never have seen it: the service brings its own."""
    principal = directory.by_key("servicePrincipal", CALLER_APP_ID)
    if principal is not None and principal.get("accountEnabled") is False:
        raise CalloutImpossible(
            1003018,
            "The service principal Azure Active Directory Authentication Extensions is disabled.",
            f"Enable the service principal of the app {CALLER_APP_ID}.",
        )
    deleted = directory.all("servicePrincipal", deleted=True) if principal is None else ()
    if any(each.get("appId") == CALLER_APP_ID for each in deleted):
        raise CalloutImpossible(
            1003017,
            "The service principal Azure Active Directory Authentication Extensions was deleted.",
            f"Restore the service principal of the app {CALLER_APP_ID}.",
        )
    return principal["id"] if principal else None


def _consent(directory: Directory, principal: Body) -> None:
    graph = directory.by_key("servicePrincipal", GRAPH_APP_ID)
    if graph is None or graph.get("accountEnabled") is False:
        raise CalloutImpossible(
            1003022,
            "The service principal of Microsoft Graph is missing or disabled.",
            "Restore or enable the service principal Microsoft Graph.",
        )
    wanted = (principal["id"], graph["id"], RECEIVE_PAYLOAD_ROLE_ID)
    granted = directory.all("appRoleAssignment")
    if not any((each.get("principalId"), each.get("resourceId"), each.get("appRoleId")) == wanted for each in granted):
        raise CalloutImpossible(
            1003021,
            "The extension's app was not granted CustomAuthenticationExtension.Receive.Payload.",
            "Grant admin consent for that permission (notebook 02).",
        )


def _patience(extension: Body, handler: Mapping[str, Any]) -> tuple[float, int]:
    chosen = dict(extension.get("clientConfiguration") or {})
    override = (handler.get("configuration") or {}).get("clientConfiguration") or {}
    chosen |= {name: value for name, value in override.items() if value is not None}
    timeout = chosen.get("timeoutInMilliseconds")
    milliseconds = min(_DEFAULT_TIMEOUT_MS if timeout is None else int(timeout), TIMEOUT_MS)
    return milliseconds / 1000, min(int(chosen.get("maximumRetries") or 0), 1)

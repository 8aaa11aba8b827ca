"""Finds what a sign-in needs in the directory: the app, the listener that covers it, and all that a callout needs.

Each gap has its number in the sign-in log. [Microsoft Learn, "Troubleshoot custom authentication extensions"]
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

from jitkit.errors import KitError, NotReady
from jitkit.explanations import callout_cause, fix
from jitkit.protocol import CALLER_APP_ID, GRAPH_APP_ID, RECEIVE_PAYLOAD_ROLE_ID, TIMEOUT_MS
from jitkit.rehearsal import switches
from jitkit.rehearsal.callout_messages import Recipient, recipient
from jitkit.rehearsal.directory import Body, Directory
from jitkit.rehearsal.state import State

T = TypeVar("T")

LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")

_LISTENER: Final = "#microsoft.graph.onpasswordsubmitlistener"
_DEFAULT_PRIORITY: Final = 500  # the value in the reference's examples; the service's own default is not documented
_EMAIL_WITH_PASSWORD: Final = "EmailPassword-OAUTH"  # noqa: S105
_DEFAULT_TIMEOUT_MS: Final = 1000  # [Microsoft Graph v1.0: customExtensionClientConfiguration]
_RESOURCE_ID: Final = re.compile(
    r"api://(?P<host>[^/:]+)(:\d+)?/(?P<app_id>[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})", re.IGNORECASE
)
_NAME: Final = re.compile(r"(?=.{4,253}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z0-9-]{2,63}", re.IGNORECASE)
# The service says that it blocks some hosts, not which; these are its own.
_BLOCKED: Final = ("microsoftonline.com", "graph.microsoft.com", "ciamlogin.com", "b2clogin.com")


# --- the app -------------------------------------------------------------------------------------------------------


class Refused(Exception):
    """The app cannot be signed in to."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


@dataclass(frozen=True)
class ClientApp:
    """An app that users sign in to."""

    application: Body
    principal: Body

    @property
    def app_id(self) -> str:
        """Its appId."""
        return str(self.application["appId"])

    @property
    def name(self) -> str:
        """Its display name, or its appId."""
        return str(self.application.get("displayName") or self.app_id)

    @property
    def issues_id_tokens(self) -> bool:
        """Whether it may receive an ID token from the sign-in page [Microsoft Graph: implicitGrantSettings]."""
        web = self.application.get("web") or {}
        return bool((web.get("implicitGrantSettings") or {}).get("enableIdTokenIssuance"))


def only_app_id(directory: Directory) -> str:
    """Return the app that a sign-in means when it names none."""
    for kind in ("authenticationEventListener", "authenticationEventsFlow"):
        found = sorted({app_id for body in directory.all(kind) for app_id in _included(body)})
        if len(found) == 1:
            return found[0]
        if found:
            names = (f"{(directory.by_key('application', each) or {}).get('displayName')} ({each})" for each in found)
            raise NotReady(
                f"Users can sign in to {len(found)} apps: {', '.join(names)}.",
                next_step="Say which one, with client_app_id='…'.",
            )
    raise NotReady(
        "There is no app to sign in to.",
        next_step="Register the test client and attach it to a user flow first (notebook 02).",
    )


def client_app(state: State, app_id: str) -> ClientApp:
    """Look an app up and check that users can sign in to it with e-mail address and password."""
    return _once(state, "client", app_id, lambda: _client_app(state.directory, app_id))


def _client_app(directory: Directory, app_id: str) -> ClientApp:
    application = directory.by_key("application", app_id.lower())
    principal = directory.by_key("servicePrincipal", app_id.lower())
    if application is None or principal is None:
        missing = "application registration" if application is None else "service principal"
        raise Refused(700016, f"The app {app_id} has no {missing} in this tenant.")
    if principal.get("accountEnabled") is False:
        raise Refused(7000112, f"The service principal of the app {app_id} is disabled.")
    flow = next((each for each in directory.all("authenticationEventsFlow") if _covers(each, app_id)), None)
    if flow is None:
        raise Refused(500208, f"No user flow includes the app {app_id}.")
    methods = (flow.get("onAuthenticationMethodLoadStart") or {}).get("identityProviders") or ()
    if not any(each.get("id") == _EMAIL_WITH_PASSWORD for each in methods):
        raise Refused(500208, f"The user flow {flow.get('displayName')} does not offer e-mail with password.")
    return ClientApp(application, principal)


# --- the listener --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Coverage:
    """The listener that is executed for an app."""

    listener: Body | None
    tied: tuple[str, ...] = ()

    @property
    def flag(self) -> str:
        """The full name of the migration flag that the listener names; empty without a listener."""
        return str(((self.listener or {}).get("handler") or {}).get("migrationPropertyId") or "")


def coverage(state: State, app_id: str) -> Coverage:
    """Choose the password-submit listener that covers an app: the lowest priority number wins.

    Which of several with the same number wins is not documented: here the oldest.
    [Microsoft Graph v1.0: authenticationEventListener]
    """
    return state.once("coverage", app_id, lambda: _coverage(state.directory, app_id))


def _coverage(directory: Directory, app_id: str) -> Coverage:
    covering = [each for each in listeners(directory) if _covers(each, app_id)]
    chosen = min(covering, key=_priority, default=None)
    if chosen is None:
        return Coverage(None)
    tied = (each["id"] for each in covering if each is not chosen and _priority(each) == _priority(chosen))
    return Coverage(chosen, tuple(tied))


def listeners(directory: Directory) -> list[Body]:
    """List the password-submit listeners in the order they were made."""
    everyone = directory.all("authenticationEventListener")
    return [each for each in everyone if str(each.get("@odata.type")).lower() == _LISTENER]


def is_attribute(state: State, name: str) -> bool:
    """Return whether a directory extension is registered under this full name."""
    return name in state.once(
        "attributes", "", lambda: {each.get("name") for each in state.directory.all("extensionProperty")}
    )


def _priority(listener: Mapping[str, Any]) -> int:
    given = listener.get("priority")
    return _DEFAULT_PRIORITY if given is None else int(given)


def _covers(body: Mapping[str, Any], app_id: str) -> bool:
    return bool(_applications(body).get("includeAllApplications")) or app_id.lower() in _included(body)


def _included(body: Mapping[str, Any]) -> Iterator[str]:
    for each in _applications(body).get("includeApplications") or ():
        yield str(each["appId"]).lower()


def _applications(body: Mapping[str, Any]) -> Mapping[str, Any]:
    return (body.get("conditions") or {}).get("applications") or {}


# --- the callout ---------------------------------------------------------------------------------------------------


class CalloutImpossible(KitError):
    """Entra would not call the endpoint: something it needs is missing."""

    def __init__(self, code: int, happened: str, next_step: str | None = None) -> None:
        cause = callout_cause(code)
        super().__init__(happened, service=cause, next_step=next_step or fix(cause))
        self.code = code


@dataclass(frozen=True)
class Target:
    """Which endpoint to call, for which app the token is, and how long to wait."""

    extension_id: str
    url: str
    resource_id: str
    app_id: str
    token_version: int
    recipient: Recipient
    caller_id: str | None
    timeout: float
    retries: int


def callout_target(state: State, listener: Mapping[str, Any]) -> Target:
    """Check everything a callout needs."""
    return _once(state, "target", listener["id"], lambda: _target(state.directory, listener))


def _target(directory: Directory, listener: Mapping[str, Any]) -> Target:
    handler = listener.get("handler") or {}
    extension = directory.get("customAuthenticationExtension", str((handler.get("customExtension") or {}).get("id")))
    if extension is None:
        raise CalloutImpossible(
            1003011, "The listener points to a custom authentication extension that does not exist."
        )
    url = _target_url(directory, extension)
    resource_id, app_id = _resource(extension, url)
    application, principal = _resource_app(directory, resource_id, app_id)
    caller_id = _caller_principal(directory)
    _check_consent(directory, principal)
    key = recipient(application)
    if key is None:
        # What the service does without a key is not documented; it cannot encrypt, so nothing can be sent.
        raise CalloutImpossible(
            1003000,
            "There is no key to encrypt with: the extension's app has no RSA certificate under tokenEncryptionKeyId.",
            "Upload the public certificate and set tokenEncryptionKeyId (notebook 04).",
        )
    timeout, retries = _timeout_and_retries(extension, handler)
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
        raise CalloutImpossible(1003020, f"The target URL {url!r} is not a public https address.")
    if any(host == each or host.endswith(f".{each}") for each in _BLOCKED):
        raise CalloutImpossible(1003023, f"The service does not call {host}.")
    return url


def _resource(extension: Body, url: str) -> tuple[str, str]:
    resource_id = str((extension.get("authenticationConfiguration") or {}).get("resourceId") or "")
    named = _RESOURCE_ID.fullmatch(resource_id)
    if named is None:
        raise CalloutImpossible(1003014, f"The resource id {resource_id!r} does not read api://{{host}}/{{appId}}.")
    if named["host"].lower() != urlsplit(url).hostname:
        raise CalloutImpossible(
            1003015, f"The resource id names the host {named['host']}, the target URL {urlsplit(url).hostname}."
        )
    return resource_id, named["app_id"].lower()


def _resource_app(directory: Directory, resource_id: str, app_id: str) -> tuple[Body, Body]:
    application = directory.by_key("application", app_id)
    principal = directory.by_key("servicePrincipal", app_id)
    uris = [str(uri).lower() for uri in (application or {}).get("identifierUris") or ()]
    if application is None or principal is None or resource_id.lower() not in uris:
        raise CalloutImpossible(
            1003016, f"No app with a service principal in this tenant has the identifier URI {resource_id}."
        )
    if principal.get("accountEnabled") is False:
        raise CalloutImpossible(1003019, "The service principal of the extension's app is disabled.")
    return application, principal


def _caller_principal(directory: Directory) -> str | None:
    """Return the principal of the app that calls. A new tenant may not have it: the service brings its own."""
    principal = directory.by_key("servicePrincipal", CALLER_APP_ID)
    if principal is not None and principal.get("accountEnabled") is False:
        raise CalloutImpossible(
            1003018, "The service principal Azure Active Directory Authentication Extensions is disabled."
        )
    deleted = directory.all("servicePrincipal", deleted=True) if principal is None else ()
    if any(each.get("appId") == CALLER_APP_ID for each in deleted):
        raise CalloutImpossible(
            1003017, "The service principal Azure Active Directory Authentication Extensions was deleted."
        )
    return principal["id"] if principal else None


def _check_consent(directory: Directory, principal: Body) -> None:
    graph = directory.by_key("servicePrincipal", GRAPH_APP_ID)
    if graph is None or graph.get("accountEnabled") is False:
        raise CalloutImpossible(1003022, "The service principal of Microsoft Graph is missing or disabled.")
    wanted = (principal["id"], graph["id"], RECEIVE_PAYLOAD_ROLE_ID)
    granted = directory.all("appRoleAssignment")
    if not any((each.get("principalId"), each.get("resourceId"), each.get("appRoleId")) == wanted for each in granted):
        raise CalloutImpossible(
            1003021, "The extension's app was not granted CustomAuthenticationExtension.Receive.Payload."
        )


def _timeout_and_retries(extension: Body, handler: Mapping[str, Any]) -> tuple[float, int]:
    chosen = dict(extension.get("clientConfiguration") or {})
    override = (handler.get("configuration") or {}).get("clientConfiguration") or {}
    chosen |= {name: value for name, value in override.items() if value is not None}
    timeout = chosen.get("timeoutInMilliseconds")
    milliseconds = min(_DEFAULT_TIMEOUT_MS if timeout is None else int(timeout), TIMEOUT_MS)
    return milliseconds / 1000, min(int(chosen.get("maximumRetries") or 0), 1)


def _once(state: State, kind: str, name: str, find: Callable[[], T]) -> T:
    """Search as `State.once` does, and remember a refusal as well."""

    def found_or_refused() -> T | Refused | CalloutImpossible:
        try:
            return find()
        except (Refused, CalloutImpossible) as refusal:
            return refusal

    found = state.once(kind, name, found_or_refused)
    if isinstance(found, Refused | CalloutImpossible):
        raise found.with_traceback(None)
    return found

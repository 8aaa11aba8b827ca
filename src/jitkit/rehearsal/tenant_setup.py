"""Finds what a sign-in needs in the directory: the app, the listener that covers it, and all that a callout needs.

Each gap has its number in the sign-in log. [Microsoft Learn, "Troubleshoot custom authentication extensions"]
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Final
from urllib.parse import urlsplit

from jitkit.errors import KitError, NotReady
from jitkit.explanations import callout_cause, fix
from jitkit.protocol import CALLER_APP_ID, GRAPH_APP_ID, RECEIVE_PAYLOAD_ROLE_ID
from jitkit.rehearsal import switches
from jitkit.rehearsal.callout_messages import Recipient, recipient
from jitkit.rehearsal.directory import Body, Directory, User, member
from jitkit.rehearsal.graph.resource import configured
from jitkit.rehearsal.state import State

LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")

_LISTENER: Final = "#microsoft.graph.onpasswordsubmitlistener"
_DEFAULT_PRIORITY: Final = 500  # the value in the reference's examples; the service's own default is not documented
_EMAIL_WITH_PASSWORD: Final = "EmailPassword-OAUTH"  # noqa: S105
_RESOURCE_ID: Final = re.compile(
    r"api://(?P<host>[^/:]+)(:\d+)?/(?P<app_id>[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})", re.IGNORECASE
)
_NAME: Final = re.compile(r"(?=.{4,253}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z0-9-]{2,63}", re.IGNORECASE)
_GAPS: Final = tomllib.loads((files("jitkit.rehearsal") / "outcomes.toml").read_text(encoding="utf-8"))["gap"]
# The service says that it blocks some hosts, not which; these are its own.
_BLOCKED: Final = ("microsoftonline.com", "graph.microsoft.com", "ciamlogin.com", "b2clogin.com")


# --- the app -------------------------------------------------------------------------------------------------------


class Refused(Exception):
    """The app cannot be signed in to."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code, self.reason = code, reason


@dataclass(frozen=True)
class ClientApp:
    """An app that users sign in to."""

    app_id: str
    name: str = ""
    principal_id: str = ""
    # Whether it may receive an ID token from the sign-in page [Microsoft Graph: implicitGrantSettings].
    issues_id_tokens: bool = False


def only_app_id(directory: Directory) -> str:
    """Return the app that a sign-in means when it names none."""
    for covering in (listeners(directory), directory.all("authenticationEventsFlow")):
        found = sorted({app_id for body in covering for app_id in _included(body)})
        if len(found) == 1:
            return found[0]
        if found:
            names = (f"{member(directory.by_key('application', each), 'displayName')} ({each})" for each in found)
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
    return state.once("client", app_id, lambda: _client_app(state.directory, app_id))


def _client_app(directory: Directory, app_id: str) -> ClientApp:
    application, principal = directory.by_key("application", app_id), directory.by_key("servicePrincipal", app_id)
    if application is None or principal is None:
        missing = "application registration" if application is None else "service principal"
        raise Refused(700016, f"The app {app_id} has no {missing} in this tenant.")
    if principal.get("accountEnabled") is False:
        raise Refused(7000112, f"The service principal of the app {app_id} is disabled.")
    flow = next((each for each in directory.all("authenticationEventsFlow") if _covers(each, app_id)), None)
    if flow is None:
        raise Refused(500208, f"No user flow includes the app {app_id}.")
    methods = member(flow, "onAuthenticationMethodLoadStart", "identityProviders") or ()
    if not any(each.get("id") == _EMAIL_WITH_PASSWORD for each in methods):
        raise Refused(500208, f"The user flow {flow.get('displayName')} does not offer e-mail with password.")
    issues = member(application, "web", "implicitGrantSettings", "enableIdTokenIssuance")
    return ClientApp(app_id, str(application.get("displayName") or app_id), principal["id"], bool(issues))


# --- names and one-time codes --------------------------------------------------------------------------------------

_IDENTIFIERS: Final = {"emailAddress": "email", "userName": "username", "userPrincipalName": "upn"}


def accepts_name(state: State, user: User, name: str) -> bool:
    """Return whether the tenant's sign-in identifiers let a user sign in by this one of their names.

    [Microsoft Learn, "Sign in with an alias or username"; Graph beta: signInIdentifierBase]
    """
    on = state.once("identifiers", "", lambda: configured(state.directory, "signInIdentifier"))
    owned = [each for each in user.body.get("identities") or () if each["issuerAssignedId"].lower() == name.lower()]
    needed = [_IDENTIFIERS[each["signInType"]] for each in owned if each["signInType"] in _IDENTIFIERS]
    return not needed or any(on[each]["isEnabled"] for each in needed)


def no_code(state: State, user: User) -> str | None:
    """Return why no one-time code can be sent to a user, or None: it goes to the e-mail address they sign in with.

    [Microsoft Learn, "Enable self-service password reset" for external tenants: Email OTP has to be on]
    """
    methods = state.once("methods", "", lambda: configured(state.directory, "authenticationMethodConfiguration"))
    if methods["email"]["state"] != "enabled":
        return "Email OTP is off in the tenant's authentication methods policy."
    kinds = {each.get("signInType") for each in user.body.get("identities") or ()}
    reachable = "emailAddress" in kinds or "@" in (user.sign_in_name or "")
    return None if reachable else "The user does not sign in with an e-mail address."


# --- the listener --------------------------------------------------------------------------------------------------


def coverage(state: State, app_id: str) -> tuple[Body, bool]:
    """Choose the password-submit listener that covers an app, if one does: the lowest priority number wins.

    Which of several with the same number wins is not documented: here the oldest; the second value says that there are
    several. [Microsoft Graph v1.0: authenticationEventListener]
    """
    return state.once("coverage", app_id, lambda: _coverage(state.directory, app_id))


def _coverage(directory: Directory, app_id: str) -> tuple[Body, bool]:
    covering = sorted((each for each in listeners(directory) if _covers(each, app_id)), key=_priority)
    return covering[0] if covering else {}, len(covering) > 1 and _priority(covering[0]) == _priority(covering[1])


def listeners(directory: Directory) -> list[Body]:
    """List the password-submit listeners in the order they were made."""
    found = directory.all("authenticationEventListener")
    return [each for each in found if str(each.get("@odata.type")).lower() == _LISTENER]


def is_attribute(state: State, name: str) -> bool:
    """Return whether a directory extension is registered under this full name; deleting its owner hides it."""

    def registered() -> set[str]:
        owners = [each["id"] for each in state.directory.all("application")]
        return {each["name"] for id in owners for each in state.directory.all("extensionProperty", parent=id)}

    return name in state.once("attributes", "", registered)


def _priority(listener: Mapping[str, Any]) -> int:
    given = listener.get("priority")
    return _DEFAULT_PRIORITY if given is None else int(given)


def _covers(body: Body, app_id: str) -> bool:
    return bool(member(body, "conditions", "applications", "includeAllApplications")) or app_id in _included(body)


def _included(body: Body) -> Iterator[str]:
    for each in member(body, "conditions", "applications", "includeApplications") or ():
        yield str(each["appId"]).lower()


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
    caller_id: str | None  # the principal of the app that calls; a new tenant may not have it
    client_configuration: Body  # the extension's, with what the listener overrides: time allowed and retries


def callout_target(state: State, listener: Body) -> Target:
    """Check everything a callout needs; the first gap is the one that the log names."""
    return state.once("target", listener["id"], lambda: _target(state.directory, listener))


def _target(directory: Directory, listener: Body) -> Target:
    extension_id = str(member(listener, "handler", "customExtension", "id"))
    extension = directory.get("customAuthenticationExtension", extension_id)
    url = str(member(extension, "endpointConfiguration", "targetUrl") or "")
    scheme, host = _scheme_and_host(url)
    loopback = host in LOOPBACK and scheme in ("http", "https") and switches.is_on(directory, "allow_loopback")
    resource_id = str(member(extension, "authenticationConfiguration", "resourceId") or "")
    named = _RESOURCE_ID.fullmatch(resource_id)
    named_host, app_id = (named["host"].lower(), named["app_id"].lower()) if named else ("", "")
    application = directory.by_key("application", app_id) or {}
    has_uri = resource_id.lower() in (str(uri).lower() for uri in application.get("identifierUris") or ())
    principal, caller, graph = (
        directory.by_key("servicePrincipal", each) or {} for each in (app_id, CALLER_APP_ID, GRAPH_APP_ID)
    )
    caller_deleted = any(each.get("appId") == CALLER_APP_ID for each in directory.all("servicePrincipal", deleted=True))
    wanted = {"principalId": principal.get("id"), "resourceId": graph.get("id"), "appRoleId": RECEIVE_PAYLOAD_ROLE_ID}
    consented = any(wanted.items() <= each.items() for each in directory.all("appRoleAssignment"))
    gaps = {
        1003011: extension is None,
        1003020: not (loopback or (scheme == "https" and _NAME.fullmatch(host))),
        1003023: f".{host}".endswith(tuple(f".{each}" for each in _BLOCKED)),
        1003014: named is None,
        1003015: named_host != host,
        1003016: not (principal and has_uri),
        1003019: _is_disabled(principal),
        1003018: _is_disabled(caller),
        1003017: not caller and caller_deleted,
        1003022: not graph or _is_disabled(graph),
        1003021: not consented,
    }
    if number := next((number for number, there in gaps.items() if there), None):
        happened = _GAPS[str(number)].format(url=url, host=host, resource_id=resource_id, named_host=named_host)
        raise CalloutImpossible(number, happened)
    key = recipient(application)
    if key is None:
        # What the service does without a key is not documented; it cannot encrypt, so nothing can be sent.
        next_step = "Upload the public certificate and set tokenEncryptionKeyId (notebook 04)."
        raise CalloutImpossible(1003000, _GAPS["1003000"], next_step)
    version = 2 if member(application, "api", "requestedAccessTokenVersion") == 2 else 1
    override = member(listener, "handler", "configuration", "clientConfiguration") or {}
    configuration = {
        **(member(extension, "clientConfiguration") or {}),
        **{name: value for name, value in override.items() if value is not None},
    }
    return Target(extension_id, url, resource_id, app_id, version, key, caller.get("id"), configuration)


def _scheme_and_host(url: str) -> tuple[str, str]:
    try:
        parts = urlsplit(url)
    except ValueError:
        return "", ""
    return parts.scheme, parts.hostname or ""


def _is_disabled(principal: Body) -> bool:
    return principal.get("accountEnabled") is False

"""The app a person signs in to: which one it is, whether it takes part, and which listener covers it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from jitkit.errors import NotReady
from jitkit.rehearsal import switches
from jitkit.rehearsal.directory import Body, Directory

_LISTENER: Final = "#microsoft.graph.onpasswordsubmitlistener"
_DEFAULT_PRIORITY: Final = 500  # the value in the reference's examples; the service's own default is not documented
_EMAIL_WITH_PASSWORD: Final = "EmailPassword-OAUTH"  # noqa: S105


class Refused(Exception):
    """The app cannot be signed in to.

    Args:
        code: the AADSTS number.
        reason: what is missing, as a sentence.
    """

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


@dataclass(frozen=True)
class ClientApp:
    """An app that people sign in to."""

    application: Body
    principal: Body

    @property
    def app_id(self) -> str:
        """Its appId."""
        return str(self.application["appId"])

    @property
    def name(self) -> str:
        """What it is called, or its appId."""
        return str(self.application.get("displayName") or self.app_id)

    @property
    def issues_id_tokens(self) -> bool:
        """Whether it may receive an ID token from the sign-in page [Microsoft Graph: implicitGrantSettings]."""
        web = self.application.get("web") or {}
        return bool((web.get("implicitGrantSettings") or {}).get("enableIdTokenIssuance"))


def only_app_id(directory: Directory) -> str:
    """Find the app that a sign-in means when it names none.

    Raises:
        NotReady: there is none, or more than one.
    """
    for kind in ("authenticationEventListener", "authenticationEventsFlow"):
        found = sorted({app_id for body in directory.all(kind) for app_id in _included(body)})
        if len(found) == 1:
            return found[0]
        if found:
            names = (f"{(directory.by_key('application', each) or {}).get('displayName')} ({each})" for each in found)
            raise NotReady(
                f"People can sign in to {len(found)} apps: {', '.join(names)}.",
                next_step="Say which one, with client_app_id='…'.",
            )
    raise NotReady(
        "There is no app to sign in to.",
        next_step="Register the test client and attach it to a user flow first (notebook 02).",
    )


def client_app(directory: Directory, app_id: str) -> ClientApp:
    """Look an app up and check that people can sign in to it with e-mail address and password.

    Raises:
        Refused: it does not exist, has no usable service principal, or no user flow offers that.
    """
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


@dataclass(frozen=True)
class Coverage:
    """The listener that answers for an app, and others that might have instead.

    Args:
        listener: the one with the lowest priority number; None when no listener includes the app.
        tied: the ids of further ones with the same number.
    """

    listener: Body | None
    tied: tuple[str, ...] = ()


def coverage(directory: Directory, app_id: str) -> Coverage:
    """Choose the password-submit listener that covers an app: the lowest priority number wins.

    Which of several with the same number wins is not documented: here the oldest, or the newest when the switch
    `newest_listener_wins_ties` is on. [Microsoft Graph v1.0: authenticationEventListener]
    """
    covering = [each for each in listeners(directory) if _covers(each, app_id)]
    if switches.is_on(directory, "newest_listener_wins_ties"):
        covering.reverse()
    chosen = min(covering, key=_priority, default=None)
    if chosen is None:
        return Coverage(None)
    tied = (each["id"] for each in covering if each is not chosen and _priority(each) == _priority(chosen))
    return Coverage(chosen, tuple(tied))


def listeners(directory: Directory) -> list[Body]:
    """List the password-submit listeners in the order they were made."""
    return [
        each
        for each in directory.all("authenticationEventListener")
        if str(each.get("@odata.type")).lower() == _LISTENER
    ]


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

"""The ten commonest real mistakes, each made in the tenant as an administrator would make it, and taken back exactly.

Nothing but the symptom gives one away: objects carry no label, errors are the service's own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from jitkit.errors import KitError, NotReady
from jitkit.protocol import RECEIVE_PAYLOAD_ROLE_ID
from jitkit.rehearsal import edits
from jitkit.rehearsal.client_app import listeners
from jitkit.rehearsal.directory import Body, Directory
from jitkit.rehearsal.edits import Edit
from jitkit.rehearsal.journal import audit
from jitkit.rehearsal.other_key import other_certificate

__all__ = ["MISCONFIGURATIONS", "Misconfiguration", "configure", "misconfigure", "wrong_now"]

# Longer than Entra waits for one attempt.
_SLOW: Final = 2.5


@dataclass(frozen=True)
class _Chain:
    """What one password submit leads through."""

    listener: Body
    extension: Body
    application: Body
    principal: Body

    @property
    def host(self) -> str:
        """The endpoint's public host."""
        return urlsplit(str(self.extension["endpointConfiguration"]["targetUrl"])).hostname or ""

    @property
    def flag(self) -> str:
        """The flag that the listener looks at."""
        return str(self.listener["handler"]["migrationPropertyId"])


@dataclass(frozen=True)
class Misconfiguration:
    """One mistake.

    Args:
        case: its number, for those who want to find out.
        name: its name, for those who teach.
        mistake: what somebody did, in a sentence.
        symptom: what shows, in the words of the person who signs in and of the sign-in log.
        edits: the changes that it consists of.
    """

    case: int
    name: str
    mistake: str
    symptom: str
    edits: Callable[[Directory], Iterable[Edit]]


def misconfigure(directory: Directory, which: str | int) -> Misconfiguration:
    """Make a mistake in a tenant that is set up. Made again, it is made anew: somebody may have mended it by hand.

    What is so already is not changed: then the mistake is not among `wrong_now`.

    Args:
        directory: the tenant's directory.
        which: a name or a case number.

    Returns:
        The mistake.

    Raises:
        KitError: there is no such mistake.
        NotReady: what it would break is not there.
    """
    mistake = _named(which)
    edits.take_back(directory, mistake.name)
    made = tuple(mistake.edits(directory))
    _write_down(directory, edits.apply(directory, mistake.name, made))
    return mistake


def configure(directory: Directory, which: str | int | None = None) -> list[str]:
    """Take a mistake back, or all of them. What was mended meanwhile stays as it is.

    Args:
        directory: the tenant's directory.
        which: a name or a case number; None for all.

    Returns:
        The names of what was taken back.
    """
    names = reversed(edits.pending(directory)) if which is None else [_named(which).name]
    return [name for name in names if edits.take_back(directory, name)]


def wrong_now(directory: Directory) -> list[str]:
    """List the names of the mistakes that were made and not taken back."""
    return edits.pending(directory)


def _named(which: str | int) -> Misconfiguration:
    for each in MISCONFIGURATIONS:
        if which in (each.case, each.name):
            return each
    names = ", ".join(each.name for each in MISCONFIGURATIONS)
    raise KitError(
        f"There is no misconfiguration {which}.", next_step=f"Choose 1 to {len(MISCONFIGURATIONS)}, or one of {names}."
    )


def _chain(directory: Directory) -> _Chain:
    listener = next(iter(listeners(directory)), None)
    handler = (listener or {}).get("handler") or {}
    extension = directory.get("customAuthenticationExtension", str((handler.get("customExtension") or {}).get("id")))
    app_id = str(((extension or {}).get("authenticationConfiguration") or {}).get("resourceId") or "").rpartition("/")[
        2
    ]
    application = directory.by_key("application", app_id.lower())
    principal = directory.by_key("servicePrincipal", app_id.lower())
    if listener is None or extension is None or application is None or principal is None:
        raise NotReady(
            "The tenant is not set up, so there is nothing to misconfigure.",
            next_step="Run notebooks 01 to 04 first.",
        )
    return _Chain(listener, extension, application, principal)


def _write_down(directory: Directory, made: Iterable[Edit]) -> None:
    """Leave the trace in the audit log that an administrator's change leaves."""
    activities = {
        "application": "Update application",
        "appRoleAssignment": "Remove app role assignment from service principal",
        "authenticationEventListener": "Update authenticationEventListener",
        "customAuthenticationExtension": "Update customAuthenticationExtension",
        "servicePrincipal": "Update service principal",
    }
    for edit in made:
        if edit.kind in activities:
            audit(directory, activities[edit.kind], target_id=edit.ids[0])


def _members(kind: str, body: Body, **after: Any) -> Edit:
    return Edit("object", kind, (body["id"],), {name: body.get(name) for name in after}, after)


def _guarded(directory: Directory) -> Iterator[Edit]:
    yield Edit("way", "", (_chain(directory).host,), {"guarded": False}, {"guarded": True})


def _slow(directory: Directory) -> Iterator[Edit]:
    yield Edit("way", "", (_chain(directory).host,), {"seconds": 0.0}, {"seconds": _SLOW})


def _other_key(directory: Directory) -> Iterator[Edit]:
    for app in directory.all("application"):
        used = app.get("tokenEncryptionKeyId")
        if used:
            keys = [
                {**each, **other_certificate()} if each["keyId"] == used else each for each in app["keyCredentials"]
            ]
            yield _members("application", app, keyCredentials=keys)


def _excluded(directory: Directory) -> Iterator[Edit]:
    listener = _chain(directory).listener
    applications = {**listener["conditions"]["applications"], "includeApplications": []}
    after = {**listener["conditions"], "applications": applications}
    yield _members("authenticationEventListener", listener, conditions=after)


def _misspelt(directory: Directory) -> Iterator[Edit]:
    chain = _chain(directory)
    handler = {**chain.listener["handler"], "migrationPropertyId": chain.flag[:-2] + chain.flag[-1]}
    yield _members("authenticationEventListener", chain.listener, handler=handler)


def _unflagged(directory: Directory) -> Iterator[Edit]:
    flag = _chain(directory).flag
    yield Edit(flag, "user", _to_migrate(directory, flag), True, None)


def _forced(directory: Directory) -> Iterator[Edit]:
    users = _to_migrate(directory, _chain(directory).flag)
    yield Edit("forceChangePasswordNextSignIn", "user", users, False, True)


def _moved(directory: Directory) -> Iterator[Edit]:
    chain = _chain(directory)
    endpoint: dict[str, Any] = chain.extension["endpointConfiguration"]
    url = str(endpoint["targetUrl"]).replace(chain.host, f"new-{chain.host}", 1)
    after = {**endpoint, "targetUrl": url}
    yield _members("customAuthenticationExtension", chain.extension, endpointConfiguration=after)


def _unconsented(directory: Directory) -> Iterator[Edit]:
    principal = _chain(directory).principal["id"]
    for each in directory.all("appRoleAssignment"):
        if (each["principalId"], each["appRoleId"]) == (principal, RECEIVE_PAYLOAD_ROLE_ID):
            yield Edit("object", "appRoleAssignment", (each["id"],), each, None)


def _disabled(directory: Directory) -> Iterator[Edit]:
    yield _members("servicePrincipal", _chain(directory).principal, accountEnabled=False)


def _to_migrate(directory: Directory, flag: str) -> tuple[str, ...]:
    sql = "SELECT id FROM users WHERE deleted IS NULL AND json_extract(body, ?) = 1"
    return tuple(row["id"] for row in directory.rows(sql, (f'$."{flag}"',)))


MISCONFIGURATIONS: Final = (
    Misconfiguration(
        1,
        "consent-missing",
        "Receive.Payload was added to the registration, and admin consent was never granted, or was taken back.",
        "A general error; the log says 1003021, and no request went out.",
        _unconsented,
    ),
    Misconfiguration(
        2,
        "host-moved",
        "The endpoint's address was changed, the identifier URI and the resource id were not.",
        "A general error; the log says 1003015, and no request went out.",
        _moved,
    ),
    Misconfiguration(
        3,
        "principal-disabled",
        "The service principal of the extension's app was disabled.",
        "A general error; the log says 1003019, and no request went out.",
        _disabled,
    ),
    Misconfiguration(
        4,
        "gateway-in-front",
        "The built-in authentication of the hosting service was switched on in front of the endpoint.",
        "A general error; the log says 1003002 with status 401, and the endpoint has no line for it.",
        _guarded,
    ),
    Misconfiguration(
        5,
        "key-mismatch",
        "A certificate was uploaded whose private key the endpoint does not have.",
        "A general error; the log says 1003002 with status 401, and the endpoint's ledger names the key.",
        _other_key,
    ),
    Misconfiguration(
        6,
        "too-slow",
        "The endpoint, or what it asks, takes longer than two seconds.",
        "A general error after four seconds; the log says 1003005 after two attempts.",
        _slow,
    ),
    Misconfiguration(
        7,
        "app-not-included",
        "The app that people sign in to is not among those that the listener includes.",
        "Wrong password, though it is right; the log names no extension.",
        _excluded,
    ),
    Misconfiguration(
        8,
        "flag-misspelt",
        "The listener names a flag that does not exist.",
        "Wrong password, though it is right; the log names no extension.",
        _misspelt,
    ),
    Misconfiguration(
        9,
        "flag-not-set",
        "The users were created without the flag.",
        "Wrong password, though it is right; the log names no extension.",
        _unflagged,
    ),
    Misconfiguration(
        10,
        "change-forced",
        "The users were created with forceChangePasswordNextSignIn true.",
        "The endpoint says MigratePassword, and the person is asked for a new password; the flag stays true.",
        _forced,
    ),
)

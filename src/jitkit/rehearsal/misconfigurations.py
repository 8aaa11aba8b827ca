"""The ten most common set-up mistakes, each made in the tenant as an administrator would make it, and undone exactly.

Misconfigured objects are not marked and errors are the service's own: readers diagnose from the symptoms. A mistake
consists of a function that makes it and one that undoes it; what was there before is kept in the tenant's file. What
was changed again in the meantime stays as it is.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.serialization import Encoding

from jitkit.certificates import make_certificate, thumbprint
from jitkit.errors import KitError, NotReady
from jitkit.protocol import RECEIVE_PAYLOAD_ROLE_ID
from jitkit.rehearsal.callout import gateway_name
from jitkit.rehearsal.directory import Body, Directory
from jitkit.rehearsal.log_rows import audit
from jitkit.rehearsal.prerequisites import listeners

__all__ = ["MISCONFIGURATIONS", "Misconfiguration", "misconfigure", "undo", "wrong_now"]

_KEPT: Final = "misconfigurations"
_SLOW_SECONDS: Final = 2.5  # longer than Entra waits for one attempt
_ACTIVITIES: Final = {
    "application": "Update application",
    "authenticationEventListener": "Update authenticationEventListener",
    "customAuthenticationExtension": "Update customAuthenticationExtension",
    "servicePrincipal": "Update service principal",
}


@dataclass(frozen=True)
class Misconfiguration:
    """One mistake.

    Args:
        case: its number, for those who want to find it out.
        name: its name, for those who teach.
        mistake: what was done, in a sentence.
        symptom: what shows, in the words of the user who signs in and of the sign-in log.
        make: makes it, and returns what undoing it needs; nothing when it was so already.
        undo: undoes it, given what `make` returned.
    """

    case: int
    name: str
    mistake: str
    symptom: str
    make: Callable[[Directory], Any]
    undo: Callable[[Directory, Any], None]


def misconfigure(directory: Directory, which: str | int) -> Misconfiguration:
    """Make a mistake in a tenant that is set up; one that was made before is undone and made again.

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
    undo(directory, mistake.name)
    with directory.transaction():
        if kept := mistake.make(directory):
            _keep(directory, {**_kept(directory), mistake.name: kept})
    return mistake


def undo(directory: Directory, which: str | int | None = None) -> list[str]:
    """Undo a mistake, or all of them.

    Args:
        directory: the tenant's directory.
        which: a name or a case number; None for all.

    Returns:
        The names of what was undone.
    """
    names = list(reversed(_kept(directory))) if which is None else [_named(which).name]
    undone = []
    for name in names:
        with directory.transaction():
            all_kept = _kept(directory)
            if kept := all_kept.pop(name, None):
                _named(name).undo(directory, kept)
                _keep(directory, all_kept)
                undone.append(name)
    return undone


def wrong_now(directory: Directory) -> list[str]:
    """List the names of the mistakes that were made and not undone."""
    return list(_kept(directory))


def _named(which: str | int) -> Misconfiguration:
    for each in MISCONFIGURATIONS:
        if which in (each.case, each.name):
            return each
    names = ", ".join(each.name for each in MISCONFIGURATIONS)
    raise KitError(
        f"There is no misconfiguration {which}.", next_step=f"Choose 1 to {len(MISCONFIGURATIONS)}, or one of {names}."
    )


def _kept(directory: Directory) -> dict[str, Any]:
    kept: dict[str, Any] = json.loads(directory.meta(_KEPT) or "{}")
    return kept


def _keep(directory: Directory, kept: dict[str, Any]) -> None:
    directory.set_meta(_KEPT, json.dumps(kept))


@dataclass(frozen=True)
class _SetUp:
    """The objects that one password submit leads through."""

    listener: Body
    extension: Body
    application: Body
    principal: Body

    @classmethod
    def read(cls, directory: Directory) -> _SetUp:
        listener = next(iter(listeners(directory)), None)
        extension_id = (((listener or {}).get("handler") or {}).get("customExtension") or {}).get("id")
        extension = directory.get("customAuthenticationExtension", str(extension_id))
        resource_id = ((extension or {}).get("authenticationConfiguration") or {}).get("resourceId") or ""
        app_id = str(resource_id).rpartition("/")[2].lower()
        application = directory.by_key("application", app_id)
        principal = directory.by_key("servicePrincipal", app_id)
        if listener is None or extension is None or application is None or principal is None:
            raise NotReady(
                "The tenant is not set up, so there is nothing to misconfigure.",
                next_step="Run notebooks 01 to 04 first.",
            )
        return cls(listener, extension, application, principal)

    @property
    def host(self) -> str:
        return urlsplit(str(self.extension["endpointConfiguration"]["targetUrl"])).hostname or ""

    @property
    def flag(self) -> str:
        return str(self.listener["handler"]["migrationPropertyId"])


# --- members of objects --------------------------------------------------------------------------------------------


def _change(directory: Directory, kind: str, body: Body, member: str, after: Any) -> list[Any]:
    """Change one member of an object; return what `_change_back` needs, or nothing when it was so already."""
    before = body.get(member)
    if before == after:
        return []
    directory.replace(kind, {**body, member: after})
    audit(directory, _ACTIVITIES[kind], target_id=body["id"])
    return [kind, body["id"], member, before, after]


def _change_back(directory: Directory, kept: Any) -> None:
    kind, id, member, before, after = kept
    body = directory.get(kind, id)
    if body is not None and body.get(member) == after:
        directory.replace(kind, {**body, member: before})


def _move_host(directory: Directory) -> list[Any]:
    set_up = _SetUp.read(directory)
    endpoint = set_up.extension["endpointConfiguration"]
    url = str(endpoint["targetUrl"]).replace(set_up.host, f"new-{set_up.host}", 1)
    after = {**endpoint, "targetUrl": url}
    return _change(directory, "customAuthenticationExtension", set_up.extension, "endpointConfiguration", after)


def _disable_principal(directory: Directory) -> list[Any]:
    return _change(directory, "servicePrincipal", _SetUp.read(directory).principal, "accountEnabled", False)


def _upload_other_key(directory: Directory) -> list[Any]:
    app = _SetUp.read(directory).application
    certificate = make_certificate("JitMigration")[1]
    other = {
        "key": base64.b64encode(certificate.public_bytes(Encoding.DER)).decode(),
        "customKeyIdentifier": base64.b64encode(thumbprint(certificate).encode()).decode(),
    }
    used, keys = app.get("tokenEncryptionKeyId"), app.get("keyCredentials") or []
    after = [{**each, **other} if each["keyId"] == used else each for each in keys]
    return _change(directory, "application", app, "keyCredentials", after)


def _exclude_app(directory: Directory) -> list[Any]:
    listener = _SetUp.read(directory).listener
    applications = {**listener["conditions"]["applications"], "includeApplications": []}
    after = {**listener["conditions"], "applications": applications}
    return _change(directory, "authenticationEventListener", listener, "conditions", after)


def _misspell_flag(directory: Directory) -> list[Any]:
    set_up = _SetUp.read(directory)
    after = {**set_up.listener["handler"], "migrationPropertyId": set_up.flag[:-2] + set_up.flag[-1]}
    return _change(directory, "authenticationEventListener", set_up.listener, "handler", after)


# --- consent -------------------------------------------------------------------------------------------------------


def _revoke_consent(directory: Directory) -> list[Body]:
    wanted = (_SetUp.read(directory).principal["id"], RECEIVE_PAYLOAD_ROLE_ID)
    granted = directory.all("appRoleAssignment")
    revoked = [each for each in granted if (each["principalId"], each["appRoleId"]) == wanted]
    for each in revoked:
        directory.discard("appRoleAssignment", each["id"], recycle=False)
        audit(directory, "Remove app role assignment from service principal", target_id=each["id"])
    return revoked


def _grant_consent(directory: Directory, revoked: Iterable[Body]) -> None:
    for each in revoked:
        grant = ("principalId", "resourceId", "appRoleId")
        there = directory.all("appRoleAssignment")
        if not any(all(other.get(name) == each.get(name) for name in grant) for other in there):
            directory.add("appRoleAssignment", each)


# --- what stands in front of the endpoint --------------------------------------------------------------------------


def _gateway(member: str, value: bool | float) -> Callable[[Directory], list[str]]:
    def put_in_front(directory: Directory) -> list[str]:
        name = gateway_name(_SetUp.read(directory).host)
        there = json.loads(directory.meta(name) or "{}")
        directory.set_meta(name, json.dumps({**there, member: value}))
        return [] if member in there else [name, member]

    return put_in_front


def _remove_gateway(directory: Directory, kept: Any) -> None:
    name, member = kept
    there = json.loads(directory.meta(name) or "{}")
    there.pop(member, None)
    directory.set_meta(name, json.dumps(there))


# --- users ---------------------------------------------------------------------------------------------------------


def _clear_flags(directory: Directory) -> list[Any]:
    flag = _SetUp.read(directory).flag
    users = _to_migrate(directory, flag)
    for id in users:
        directory.set_user_value(id, flag, None)
    return [flag, users] if users else []


def _set_flags(directory: Directory, kept: Any) -> None:
    flag, users = kept
    for id in users:
        user = directory.user(id)
        if user and user.body.get(flag) is None:
            directory.set_user_value(id, flag, True)


def _force_change(directory: Directory) -> list[str]:
    users = [directory.user(id) for id in _to_migrate(directory, _SetUp.read(directory).flag)]
    forced = [user.id for user in users if user and not user.force_change]
    for id in forced:
        directory.update_user(id, force_change=True)
    return forced


def _allow_no_change(directory: Directory, forced: Iterable[str]) -> None:
    for id in forced:
        directory.update_user(id, force_change=False)


def _to_migrate(directory: Directory, flag: str) -> list[str]:
    sql = "SELECT id FROM users WHERE deleted IS NULL AND json_extract(body, ?) = 1"
    return [row["id"] for row in directory.rows(sql, (f'$."{flag}"',))]


MISCONFIGURATIONS: Final = (
    Misconfiguration(
        1,
        "consent-missing",
        "Receive.Payload was added to the registration, and admin consent was never granted, or was revoked.",
        "A general error; the log says 1003021, and no request was sent.",
        _revoke_consent,
        _grant_consent,
    ),
    Misconfiguration(
        2,
        "host-moved",
        "The endpoint's address was changed, the identifier URI and the resource id were not.",
        "A general error; the log says 1003015, and no request was sent.",
        _move_host,
        _change_back,
    ),
    Misconfiguration(
        3,
        "principal-disabled",
        "The service principal of the extension's app was disabled.",
        "A general error; the log says 1003019, and no request was sent.",
        _disable_principal,
        _change_back,
    ),
    Misconfiguration(
        4,
        "gateway-in-front",
        "The built-in authentication of the hosting service was switched on in front of the endpoint.",
        "A general error; the log says 1003002 with status 401, and the endpoint has no line for it.",
        _gateway("guarded", True),
        _remove_gateway,
    ),
    Misconfiguration(
        5,
        "key-mismatch",
        "A certificate was uploaded whose private key the endpoint does not have.",
        "A general error; the log says 1003002 with status 401, and the endpoint's ledger names the key.",
        _upload_other_key,
        _change_back,
    ),
    Misconfiguration(
        6,
        "too-slow",
        "The endpoint, or the legacy store behind it, takes longer than two seconds.",
        "A general error after four seconds; the log says 1003005 after two attempts.",
        _gateway("seconds", _SLOW_SECONDS),
        _remove_gateway,
    ),
    Misconfiguration(
        7,
        "app-not-included",
        "The app that users sign in to is not among those that the listener includes.",
        "Wrong password, though it is right; the log names no extension.",
        _exclude_app,
        _change_back,
    ),
    Misconfiguration(
        8,
        "flag-misspelt",
        "The listener names a flag that does not exist.",
        "Wrong password, though it is right; the log names no extension.",
        _misspell_flag,
        _change_back,
    ),
    Misconfiguration(
        9,
        "flag-not-set",
        "The users were created without the flag.",
        "Wrong password, though it is right; the log names no extension.",
        _clear_flags,
        _set_flags,
    ),
    Misconfiguration(
        10,
        "change-forced",
        "The users were created with forceChangePasswordNextSignIn true.",
        "The endpoint says MigratePassword, and the user has to choose a new password; the flag stays true.",
        _force_change,
        _allow_no_change,
    ),
)

"""The ten most common set-up mistakes, each made in the tenant as an administrator would make it, and undone exactly.

Misconfigured objects are not marked and errors are the service's own: readers diagnose from the symptoms. A mistake
consists of a function that makes it and one that undoes it; what was there before is kept in the tenant's file. What
was changed again in the meantime stays as it is.
"""

from __future__ import annotations

import base64
import json
import tomllib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.resources import files
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
    """One mistake."""

    case: int
    name: str
    mistake: str
    symptom: str
    make: Callable[[Directory], Any]
    undo: Callable[[Directory, Any], None]


def misconfigure(directory: Directory, which: str | int) -> Misconfiguration:
    """Make a mistake in a tenant that is set up; one that was made before is undone and made again.

    What is so already is not changed: then the mistake is not among `wrong_now`.
    """
    mistake = _named(which)
    undo(directory, mistake.name)
    with directory.transaction():
        if kept := mistake.make(directory):
            _keep(directory, {**_kept(directory), mistake.name: kept})
    return mistake


def undo(directory: Directory, which: str | int | None = None) -> list[str]:
    """Undo a mistake, or all of them."""
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


_MAKE_AND_UNDO: Final[dict[str, tuple[Callable[[Directory], Any], Callable[[Directory, Any], None]]]] = {
    "consent-missing": (_revoke_consent, _grant_consent),
    "host-moved": (_move_host, _change_back),
    "principal-disabled": (_disable_principal, _change_back),
    "gateway-in-front": (_gateway("guarded", True), _remove_gateway),
    "key-mismatch": (_upload_other_key, _change_back),
    "too-slow": (_gateway("seconds", _SLOW_SECONDS), _remove_gateway),
    "app-not-included": (_exclude_app, _change_back),
    "flag-misspelt": (_misspell_flag, _change_back),
    "flag-not-set": (_clear_flags, _set_flags),
    "change-forced": (_force_change, _allow_no_change),
}
_TABLE: Final = tomllib.loads((files("jitkit.rehearsal") / "drills.toml").read_text(encoding="utf-8"))
MISCONFIGURATIONS: Final = tuple(
    Misconfiguration(case, each["name"], each["mistake"], each["symptom"], *_MAKE_AND_UNDO[each["name"]])
    for case, each in enumerate(_TABLE["misconfiguration"], 1)
)

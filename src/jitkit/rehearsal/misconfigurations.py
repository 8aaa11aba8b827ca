"""The ten most common set-up mistakes, each made in the tenant as an administrator would make it, and undone exactly.

Misconfigured objects are not marked and errors are the service's own: readers diagnose from the symptoms. A mistake is
a function that lists what to change: members of objects, of users or of what stands in front of the endpoint. What was
there before is kept in the tenant's file, and written back by one function. What was changed again in the meantime
stays as it is.
"""

from __future__ import annotations

import base64
import json
import tomllib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Final
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.serialization import Encoding

from jitkit.certificates import make_certificate, thumbprint
from jitkit.errors import KitError, NotReady
from jitkit.protocol import RECEIVE_PAYLOAD_ROLE_ID
from jitkit.rehearsal.audit_log import audit
from jitkit.rehearsal.callout import gateway_name
from jitkit.rehearsal.directory import Body, Directory, member
from jitkit.rehearsal.graph.wire import written
from jitkit.rehearsal.tenant_setup import listeners

_KEPT: Final = "misconfigurations"
_SLOW_SECONDS: Final = 2.5  # longer than Entra waits for one attempt
WHOLE: Final = ""
_ACTIVITIES: Final = {
    "application": "Update application",
    "appRoleAssignment": "Remove app role assignment from service principal",
    "authenticationEventListener": "Update authenticationEventListener",
    "customAuthenticationExtension": "Update customAuthenticationExtension",
    "servicePrincipal": "Update service principal",
}

Change = tuple[str, str, str, Any]
"""What to change: a kind (of objects, `user` or `gateway`), an id, a member or the whole, and the value it gets."""
Made = tuple[str, str, str, Any, Any]
"""What was changed: the same, with the value before and the value after. A whole object names its `parent`, if any."""


@dataclass(frozen=True)
class Misconfiguration:
    """One mistake."""

    case: int
    name: str
    mistake: str
    symptom: str
    changes: Callable[[SetUp], Iterator[Change]]


def misconfigure(directory: Directory, which: str | int) -> Misconfiguration:
    """Make a mistake in a tenant that is set up; one that was made before is undone and made again.

    What is so already is not changed: then the mistake is not among `wrong_now`.
    """
    mistake = _named(which)
    undo(directory, mistake.name)
    with directory.transaction():
        if made := make(directory, which):
            _keep(directory, {**_kept(directory), mistake.name: made})
    return mistake


def make(directory: Directory, which: str | int) -> list[Made]:
    """Make a mistake and return what was changed, which nothing else notes."""
    made = []
    with directory.transaction():
        for kind, id, name, after in list(_named(which).changes(SetUp(directory))):
            before = _read(directory, kind, id, name)
            if before != after:
                _write(directory, kind, id, name, after)
                made.append((kind, id, name, before, after))
                if kind in _ACTIVITIES:
                    audit(directory, _ACTIVITIES[kind], target_id=id)
    return made


def take_back(directory: Directory, made: Iterable[Made]) -> None:
    """Write back what was there before; what was changed again in the meantime stays as it is."""
    with directory.transaction():
        for kind, id, name, before, after in made:
            if _read(directory, kind, id, name) == after:
                _write(directory, kind, id, name, before)


def undo(directory: Directory, which: str | int | None = None) -> list[str]:
    """Undo a mistake, or all of them."""
    names = list(reversed(_kept(directory))) if which is None else [_named(which).name]
    undone = []
    for name in names:
        with directory.transaction():
            kept = _kept(directory)
            if made := kept.pop(name, None):
                take_back(directory, made)
                _keep(directory, kept)
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


# --- one member of one thing ---------------------------------------------------------------------------------------


def _read(directory: Directory, kind: str, id: str, name: str) -> Any:
    if kind == "user":
        user = directory.user(id)
        return user and (user.force_change if name == "force_change" else user.body.get(name))
    body = json.loads(directory.meta(id) or "{}") if kind == "gateway" else directory.get(kind, id)
    return body if name == WHOLE else member(body, name)


def _write(directory: Directory, kind: str, id: str, name: str, value: Any) -> None:
    if kind == "gateway":
        there = {**json.loads(directory.meta(id) or "{}"), name: value}
        directory.set_meta(id, json.dumps({name: value for name, value in there.items() if value is not None}))
    elif kind == "user" and name == "force_change":
        directory.update_user(id, force_change=value)
    elif kind == "user":
        directory.set_user_value(id, name, value)
    elif name != WHOLE:
        directory.replace(kind, {**(directory.get(kind, id) or {}), name: value})
    elif value is None:
        directory.discard(kind, id, recycle=False)
    elif not any(_identity(each) == _identity(value) for each in directory.all(kind)):
        body = {member: kept for member, kept in value.items() if member != "parent"}
        directory.add(kind, body, parent=value.get("parent"))


def _identity(thing: Body) -> tuple[Any, ...]:
    """Tell what may be there once: a consent, or the definition of an attribute."""
    return tuple(thing.get(name) for name in ("principalId", "resourceId", "appRoleId", "name"))


# --- the ten -------------------------------------------------------------------------------------------------------


class SetUp:
    """The objects that one password submit leads through."""

    def __init__(self, directory: Directory) -> None:
        listener = next(iter(listeners(directory)), None)
        extension_id = str(member(listener, "handler", "customExtension", "id"))
        extension = directory.get("customAuthenticationExtension", extension_id)
        app_id = str(member(extension, "authenticationConfiguration", "resourceId")).rpartition("/")[2].lower()
        application = directory.by_key("application", app_id)
        principal = directory.by_key("servicePrincipal", app_id)
        if listener is None or extension is None or application is None or principal is None:
            raise NotReady(
                "The tenant is not set up, so there is nothing to misconfigure.",
                next_step="Run notebooks 01 to 04 first.",
            )
        self.directory, self.listener, self.extension = directory, listener, extension
        self.application, self.principal = application, principal
        self.endpoint: Body = extension["endpointConfiguration"]
        self.host = urlsplit(str(self.endpoint["targetUrl"])).hostname or ""
        self.flag = str(listener["handler"]["migrationPropertyId"])

    def ids(self) -> dict[str, str]:
        """Return the ids that paths and bodies of Graph name."""
        client = self.listener["conditions"]["applications"]["includeApplications"][0]["appId"]
        objects = {"application": self.application, "extension": self.extension, "listener": self.listener}
        objects["client_principal"] = self.directory.by_key("servicePrincipal", client) or {}
        flows = self.directory.all("authenticationEventsFlow")
        objects["flow"] = next(each for each in flows if client in json.dumps(each["conditions"]))
        apps, definitions = self.directory.all("application"), self.directory.all("extensionProperty")
        objects["definition"] = next(each for each in definitions if each["name"] == self.flag)
        objects["owner"] = next(each for each in apps if each["appId"].replace("-", "") in self.flag)
        more = {"app_id": self.application["appId"], "client": client, "flag": self.flag, "host": self.host}
        return {name: each["id"] for name, each in objects.items()} | more

    def to_migrate(self) -> list[str]:
        """List the ids of the users whose flag is true."""
        sql = "SELECT id FROM users WHERE deleted IS NULL AND json_extract(body, ?) = 1"
        return [row["id"] for row in self.directory.rows(sql, (f'$."{self.flag}"',))]


def _consent_missing(there: SetUp) -> Iterator[Change]:
    for each in there.directory.all("appRoleAssignment"):
        if (each["principalId"], each["appRoleId"]) == (there.principal["id"], RECEIVE_PAYLOAD_ROLE_ID):
            yield "appRoleAssignment", each["id"], WHOLE, None


def _host_moved(there: SetUp) -> Iterator[Change]:
    url = str(there.endpoint["targetUrl"]).replace(there.host, f"new-{there.host}", 1)
    moved = {**there.endpoint, "targetUrl": url}
    yield "customAuthenticationExtension", there.extension["id"], "endpointConfiguration", moved


def _principal_disabled(there: SetUp) -> Iterator[Change]:
    yield "servicePrincipal", there.principal["id"], "accountEnabled", False


def _gateway_in_front(there: SetUp) -> Iterator[Change]:
    yield "gateway", gateway_name(there.host), "guarded", True


def _key_mismatch(there: SetUp) -> Iterator[Change]:
    certificate = make_certificate("JitMigration")[1]
    other = {
        "key": base64.b64encode(certificate.public_bytes(Encoding.DER)).decode(),
        "customKeyIdentifier": base64.b64encode(thumbprint(certificate).encode()).decode(),
        "startDateTime": written(certificate.not_valid_before_utc.timestamp()),
        "endDateTime": written(certificate.not_valid_after_utc.timestamp()),
    }
    used, keys = there.application.get("tokenEncryptionKeyId"), there.application.get("keyCredentials") or []
    replaced = [{**each, **other} if each["keyId"] == used else each for each in keys]
    yield "application", there.application["id"], "keyCredentials", replaced


def _too_slow(there: SetUp) -> Iterator[Change]:
    yield "gateway", gateway_name(there.host), "seconds", _SLOW_SECONDS


def _app_not_included(there: SetUp) -> Iterator[Change]:
    conditions = there.listener["conditions"]
    applications = {**conditions["applications"], "includeApplications": []}
    narrowed = {**conditions, "applications": applications}
    yield "authenticationEventListener", there.listener["id"], "conditions", narrowed


def _flag_misspelt(there: SetUp) -> Iterator[Change]:
    handler = {**there.listener["handler"], "migrationPropertyId": there.flag[:-2] + there.flag[-1]}
    yield "authenticationEventListener", there.listener["id"], "handler", handler


def _flag_not_set(there: SetUp) -> Iterator[Change]:
    yield from (("user", id, there.flag, None) for id in there.to_migrate())


def _change_forced(there: SetUp) -> Iterator[Change]:
    yield from (("user", id, "force_change", True) for id in there.to_migrate())


_CHANGES: Final = (
    *(_consent_missing, _host_moved, _principal_disabled, _gateway_in_front, _key_mismatch),
    *(_too_slow, _app_not_included, _flag_misspelt, _flag_not_set, _change_forced),
)
_TABLE: Final = tomllib.loads((files("jitkit.rehearsal") / "drills.toml").read_text(encoding="utf-8"))
MISCONFIGURATIONS: Final = tuple(
    Misconfiguration(case, **words, changes=changes)
    for case, (words, changes) in enumerate(zip(_TABLE["misconfiguration"], _CHANGES, strict=True), 1)
)

"""Users: Graph v1.0 `/users` and `/me`, and what makes a user acceptable.

Which properties an answer holds, `$select` rules for directory extensions and filters: Graph v1.0, user resource, "List
users" and "Add custom data to resources by using extensions". Identities and passwords: Graph v1.0, "Create user"
(example for local accounts) and objectIdentity; Microsoft Learn, "Password policies". Texts of refusals: [observed],
except where a comment says otherwise.
"""

from __future__ import annotations

import asyncio
import functools
import re
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from jitkit.rehearsal import accounts, log_rows
from jitkit.rehearsal.directory import Body, Directory, User, user_of
from jitkit.rehearsal.graph import odata, schema
from jitkit.rehearsal.graph.applications import registered
from jitkit.rehearsal.graph.resource import Resource, check_room, check_values, defaults
from jitkit.rehearsal.graph.wire import Answer, Call, GraphError, GraphRoute, bad_request, invalid, new_id, unsupported

_READ: Final = ("User.Read.All", "User.ReadWrite.All", "Directory.Read.All", "Directory.ReadWrite.All")
_WRITE: Final = ("User.ReadWrite.All", "Directory.ReadWrite.All")
_IDENTITIES: Final = "User.ManageIdentities.All"

_READ_ONLY: Final = {"id", "createdDateTime", "deletedDateTime", "lastPasswordChangeDateTime", "proxyAddresses"}
_COLUMNS: Final = {
    "id": "id",
    "userPrincipalName": "upn",
    "accountEnabled": "enabled",
    "userType": "coalesce(json_extract(body, '$.userType'), 'Member')",
}
# Not in a user's JSON: these have columns of their own.
_KEPT_APART: Final = {"accountEnabled", "passwordProfile", "identities", "userPrincipalName"}
# The user resource names no filter for these.
_OPAQUE: Final = frozenset({"lastPasswordChangeDateTime", "passwordProfile"})
# For local accounts the service ignores the issuer's value (Graph v1.0, objectIdentity resource).
_LOOSE: Final = {"identities/issuer": "json_extract({}, '$.signInType') IN ('emailAddress', 'userName')"}
_LONGEST: Final = 256
_LOCAL_TYPES: Final = ("emailAddress", "userName")


class Users(Resource):
    """Users; they have a table of their own, and null removes a value."""

    kind, model = "user", "User"
    paths = ("/users",)
    read, write = _READ, _WRITE
    operations = "list count get create delete"
    checks_select = True

    def routes(self) -> list[GraphRoute]:
        return [
            *super().routes(),
            GraphRoute("PATCH", "/users/{id}", self.update, (*_WRITE, _IDENTITIES)),
            GraphRoute("GET", "/me", self.me, ("User.Read", *_READ)),
        ]

    def items(self, call: Call) -> odata.Collection:
        return odata.Collection(
            "users",
            "User",
            "deleted IS NULL",
            table="users",
            columns=_COLUMNS,
            extensions=registered(call, "User"),
            loose=_LOOSE,
            opaque=_OPAQUE,
        )

    def from_row(self, row: sqlite3.Row) -> User:
        return user_of(row)

    def list_all(self, call: Call) -> Answer:
        text = call.query.get("$filter", "")
        if "identities/any" in text and not re.search(r"/issuer\s", text):
            raise unsupported("Filtering on identities needs both issuer and issuerAssignedId.")
        return super().list_all(call)

    def shown(self, call: Call, item: Any) -> Body:
        return shown(item, call)

    def me(self, call: Call) -> Answer:
        """Read the user that the token speaks for."""
        if call.caller.user_id is None:
            raise invalid("/me request is only valid with delegated authentication flow.")
        return self.get(replace(call, ids={"id": call.caller.user_id}))

    def lookup(self, call: Call) -> Any:
        """Users are named by object id or user principal name."""
        return call.directory.user(call.ids["id"], made_by=call.replicated)

    async def create(self, call: Call) -> Answer:
        """The password is hashed in a thread, so that a batch does not hold up other requests."""
        new = _read(call, new=True)
        hashed = await asyncio.to_thread(accounts.hash_password, new.password) if new.password else ""
        id, identities = new_id(), new.identities or []
        upn = new.upn or f"{id}@{call.domain}"
        body = {name: value for name, value in new.body.items() if value is not None}
        body["identities"] = [*identities, _upn_identity(call, upn)]
        body["createdDateTime"] = call.now
        body["lastPasswordChangeDateTime"] = call.now if hashed else None
        user = User(
            id=id,
            upn=upn,
            sign_in_name=next(iter(_names(identities)), None),
            password_hash=hashed,
            force_change=bool(new.force_change),
            enabled=bool(new.enabled),
            failed=0,
            locked_until=0,
            body=body,
            created=call.directory.clock.now(),
        )
        with call.directory.transaction():
            check_room(call.directory)
            check_values(body)
            _check_free(call.directory, upn, identities)
            call.directory.add_user(user)
            log_rows.audit(call.directory, "Add user", target_id=id, target_name=upn)
        return call.entity(201, "users", shown(user))

    async def update(self, call: Call) -> Answer:
        changes = _read(call, new=False)
        if changes.identities is not None and _IDENTITIES not in call.caller.permissions:
            raise GraphError(403, "Authorization_RequestDenied", "Insufficient privileges to complete the operation.")
        hashed = await asyncio.to_thread(accounts.hash_password, changes.password) if changes.password else None
        with call.directory.transaction():
            user: User = self.find(call)
            _apply(call, user, changes, hashed)
            _audit_changes(call, user, changes, password=hashed is not None)
        return Answer(204)

    def delete(self, call: Call) -> Answer:
        """Move a user to the recycle bin, which frees the names they signed in by."""
        user: User = self.find(call)
        gone = f"{user.id.replace('-', '')}{user.upn}"
        call.directory.set_sign_in_names(user.id, [])
        call.directory.update_user(user.id, deleted=call.directory.clock.now(), upn=gone)
        log_rows.audit(call.directory, "Delete user", target_id=user.id, target_name=user.upn)
        return Answer(204)


def shown(user: User, call: Call | None = None) -> Body:
    """A user as Graph shows them: v1.0 eleven properties by default, beta and `$select` every one.

    A directory extension without a value is absent.
    """
    whole: Body = {
        **_empty()["shown"],
        **_empty()["selectable"],
        **user.body,
        "id": user.id,
        "userPrincipalName": user.upn,
        "accountEnabled": user.enabled,
        "passwordProfile": {
            "password": None,
            "forceChangePasswordNextSignIn": user.force_change,
            "forceChangePasswordNextSignInWithMfa": False,
        },
    }
    if call and (call.selected or call.version == "beta"):
        return whole
    return {name: whole[name] for name in _empty()["shown"]}


@functools.cache
def _empty() -> Body:
    return defaults("user")


def restored(call: Call, row: sqlite3.Row) -> User:
    """Bring a user back from the recycle bin with the names they had, unless another user has them now."""
    user = user_of(row)
    upn = user.upn.removeprefix(user.id.replace("-", ""))
    _check_free(call.directory, upn, _own_identities(user), own_id=user.id)
    call.directory.update_user(user.id, deleted=None, upn=upn)
    call.directory.set_sign_in_names(user.id, _names(_own_identities(user)))
    user.upn, user.deleted = upn, None
    return user


# --- what a body means -----------------------------------------------------------------------------------------------


@dataclass
class _Changes:
    """A checked body, sorted; None means not sent, except in `body`, where it means removed."""

    body: Body
    identities: list[Body] | None
    upn: str | None
    enabled: bool | None
    force_change: bool | None
    password: str | None = field(repr=False)


def _read(call: Call, *, new: bool) -> _Changes:
    """Check the body of a creation or of a change."""
    body = call.json()
    _check(body, registered(call, "User"))
    # A display name is required, and cannot be cleared (Graph v1.0, user resource).
    if not body.get("displayName", not new):
        raise bad_request("A value is required for property 'displayName' of resource 'User'.")
    identities = _identities(body.get("identities") or [], call.domain) if new or "identities" in body else None
    upn = body.get("userPrincipalName")
    if upn is not None:
        _check_upn(upn, call.domain)
        if new and not body.get("mailNickname"):
            raise bad_request("A value is required for property 'mailNickname' of resource 'User'.")
    elif new and not identities:
        raise bad_request("A value is required for property 'userPrincipalName' of resource 'User'.")
    profile, enabled = body.get("passwordProfile") or {}, body.get("accountEnabled")
    password, force_change = profile.get("password"), profile.get("forceChangePasswordNextSignIn")
    if new and not password:
        if upn or any(item["signInType"] != "federated" for item in identities or []):
            raise bad_request("A password must be specified to create a new user.")
    elif password is not None:
        _check_password(password, body.get("passwordPolicies"))
    if force_change is None and (new or password):
        # The service's default for a new password is to have it changed (Graph v1.0, passwordProfile resource).
        force_change = True
    rest = {name: value for name, value in body.items() if name not in _KEPT_APART and "@odata." not in name}
    return _Changes(rest, identities, upn, True if new and enabled is None else enabled, force_change, password)


def _apply(call: Call, user: User, changes: _Changes, hashed: str | None) -> None:
    body = {name: value for name, value in {**user.body, **changes.body}.items() if value is not None}
    check_values(body)
    columns: Body = {}
    if changes.enabled is not None:
        columns["enabled"] = changes.enabled
    if changes.force_change is not None:
        columns["force_change"] = changes.force_change
    if hashed:
        body["lastPasswordChangeDateTime"] = call.now
        columns |= {"password_hash": hashed, "failed": 0, "locked_until": 0}
    upn = changes.upn or user.upn
    if changes.identities is not None or changes.upn:
        local = changes.identities if changes.identities is not None else _own_identities(user)
        _check_free(call.directory, upn, local, own_id=user.id)
        body["identities"] = [*local, _upn_identity(call, upn)]
        names = _names(local)
        call.directory.set_sign_in_names(user.id, names)
        columns |= {"upn": upn, "sign_in_name": next(iter(names), None)}
    call.directory.update_user(user.id, body=body, **columns)


def _audit_changes(call: Call, user: User, changes: _Changes, *, password: bool) -> None:
    changed = {n: (user.body.get(n), v) for n, v in changes.body.items() if user.body.get(n) != v}
    if changes.enabled is not None and changes.enabled != user.enabled:
        changed["accountEnabled"] = (user.enabled, changes.enabled)
    if changed or not password:
        log_rows.audit(call.directory, "Update user", target_id=user.id, target_name=user.upn, changed=changed)
    if password:
        log_rows.audit(call.directory, "Reset password", target_id=user.id, target_name=user.upn)


def _own_identities(user: User) -> list[Body]:
    return [item for item in user.body.get("identities", []) if item["signInType"] != "userPrincipalName"]


def _upn_identity(call: Call, upn: str) -> Body:
    return {"signInType": "userPrincipalName", "issuer": call.domain, "issuerAssignedId": upn}


def _names(identities: list[Body]) -> list[str]:
    return [item["issuerAssignedId"].lower() for item in identities if item["signInType"] != "federated"]


# --- rules -----------------------------------------------------------------------------------------------------------


def _check_free(directory: Directory, upn: str, identities: list[Body], *, own_id: str | None = None) -> None:
    """Refuse names that another user than `own_id` has."""
    if directory.rows("SELECT 1 FROM users WHERE upn = ? AND id IS NOT ?", (upn, own_id)):
        raise bad_request("Another object with the same value for property userPrincipalName already exists.")
    for name in _names(identities):
        if directory.rows("SELECT 1 FROM sign_in_names WHERE name = ? AND user_id IS NOT ?", (name, own_id)):
            raise bad_request("Another object with the same value for property identities already exists.")


def _check(body: Body, extensions: Mapping[str, str]) -> None:
    unknown = sorted(name for name in body if name.startswith("extension_") and name not in extensions)
    if unknown:
        raise bad_request(f"The following extension properties are not available: {', '.join(unknown)}.")
    schema.check("User", body, code="Request_BadRequest", extensions=extensions)
    for name in extensions.keys() & body.keys():
        if isinstance(body[name], str) and len(body[name]) > _LONGEST:
            # The limit is documented [Graph, "Add custom data to resources by using extensions"]; the words are not.
            raise bad_request(f"Invalid value specified for property '{name}' of resource 'User'.")
    for name in sorted(_READ_ONLY & body.keys()):
        raise bad_request(f"Property '{name}' is read-only and cannot be set.")


def _identities(items: list[Any], domain: str) -> list[Body]:
    kept: list[Body] = []
    for item in items:
        kind, issuer, name = (item.get(key) or "" for key in ("signInType", "issuer", "issuerAssignedId"))
        if kind == "userPrincipalName":
            continue
        if not (kind and issuer and name):
            raise _invalid("identities: signInType, issuer and issuerAssignedId are required")
        if kind in _LOCAL_TYPES and issuer.lower() != domain.lower():
            raise _invalid(f"identities: the issuer of a local account must be a verified domain, not '{issuer}'")
        if kind == "emailAddress" and not re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s]+", name):
            raise _invalid(f"identities: '{name}' is not an e-mail address")
        if kind == "userName" and not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name):
            raise _invalid(f"identities: '{name}' is not a user name of at most 64 letters, digits, '-' and '_'")
        kept.append({"signInType": kind, "issuer": issuer, "issuerAssignedId": name})
    if len({(item["issuer"].lower(), item["issuerAssignedId"].lower()) for item in kept}) != len(kept):
        raise _invalid("identities: the same identity is listed twice")
    return kept


def _invalid(detail: str) -> GraphError:
    # The first sentence is the service's; what follows the colon is added here to say which value.
    return bad_request(f"One or more properties contains invalid values: {detail}.")


def _check_upn(upn: str, domain: str) -> None:
    name, _, host = upn.partition("@")
    if not name or not host:
        raise bad_request("Property userPrincipalName is invalid.")
    if host.lower() != domain.lower():
        raise bad_request(
            "The domain portion of the userPrincipalName property is invalid. You must use one of the verified domain "
            "names in your organization."
        )


def _check_password(password: str, policies: str | None) -> None:
    weak_allowed = "DisableStrongPassword" in (policies or "")
    if accounts.password_problem(password, complexity=not weak_allowed):
        raise bad_request(
            "The specified password does not comply with password complexity requirements. Please provide a different "
            "password."
        )

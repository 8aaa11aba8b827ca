"""Users: Graph v1.0 `/users`.

Which properties an answer holds, `$select` rules for directory extensions and filters: Graph v1.0, user resource, "List
users" and "Add custom data to resources by using extensions".
"""

from __future__ import annotations

import asyncio
import re
import sqlite3
from dataclasses import replace

from jitkit.rehearsal import journal, passwords
from jitkit.rehearsal.directory import Body
from jitkit.rehearsal.graph import odata, quotas, user_rules
from jitkit.rehearsal.graph.extension_properties import registered
from jitkit.rehearsal.graph.filters import unsupported
from jitkit.rehearsal.graph.wire import Answer, Call, GraphError, GraphRoute, new_id, not_found, written
from jitkit.rehearsal.users import User, user_of

READ = ("User.Read.All", "User.ReadWrite.All", "Directory.Read.All", "Directory.ReadWrite.All")
_WRITE = ("User.ReadWrite.All", "Directory.ReadWrite.All")
_IDENTITIES = "User.ManageIdentities.All"

# What v1.0 shows when nothing is selected.
DEFAULT = (
    "businessPhones",
    "displayName",
    "givenName",
    "jobTitle",
    "mail",
    "mobilePhone",
    "officeLocation",
    "preferredLanguage",
    "surname",
    "userPrincipalName",
    "id",
)
_COLUMNS = {
    "id": "id",
    "userPrincipalName": "upn",
    "accountEnabled": "enabled",
    "userType": f"coalesce(json_extract(body, '$.userType'), '{user_rules.EMPTY['userType']}')",
}
# For local accounts the service ignores the issuer's value (Graph v1.0, objectIdentity resource).
# The user resource names no filter for these.
_OPAQUE = frozenset({"lastPasswordChangeDateTime", "passwordProfile"})
_LOOSE = {"identities/issuer": "json_extract({}, '$.signInType') IN ('emailAddress', 'userName')"}


def routes() -> list[GraphRoute]:
    """The operations on users."""
    return [
        GraphRoute("GET", "/users", list_all, READ, "List users"),
        GraphRoute("GET", "/users/$count", count, READ, "List users"),
        GraphRoute("POST", "/users", create, _WRITE, "Create user"),
        GraphRoute("GET", "/me", me, ("User.Read", *READ), "Get user"),
        GraphRoute("GET", "/users/{id}", get, READ, "Get user"),
        GraphRoute("PATCH", "/users/{id}", update, (*_WRITE, _IDENTITIES), "Update user"),
        GraphRoute("DELETE", "/users/{id}", delete, _WRITE, "Delete user"),
    ]


def list_all(call: Call) -> Answer:
    """List users, one page."""
    _check_identity_filter(call)
    names = selected(call)
    return odata.page(call, _collection(call), lambda row: shown(user_of(row), call.version, names))


def count(call: Call) -> Answer:
    """Count users."""
    return odata.count(call, _collection(call))


def get(call: Call) -> Answer:
    """Read one user by object id or user principal name."""
    names = selected(call)
    return odata.one(call, "users", shown(_find(call), call.version, names), names)


def me(call: Call) -> Answer:
    """Read the user that the token speaks for."""
    if call.caller.user_id is None:
        raise GraphError(400, "BadRequest", "/me request is only valid with delegated authentication flow.")
    return get(replace(call, ids={"id": call.caller.user_id}))


def selected(call: Call) -> list[str]:
    """The property names of `$select`. Raises GraphError for one that users do not have."""
    return odata.check_select(call, _collection(call))


async def create(call: Call) -> Answer:
    """Make a user. The password is hashed in a thread, so that a batch does not hold up everybody else."""
    new = user_rules.new_user(call.json(), registered(call, "User"), call.tenant.domain)
    hashed = await asyncio.to_thread(passwords.hash_password, new.password) if new.password else ""
    id, moment = new_id(), call.directory.clock.now()
    upn = new.upn or f"{id}@{call.tenant.domain}"
    upn_identity = {"signInType": "userPrincipalName", "issuer": call.tenant.domain, "issuerAssignedId": upn}
    stamp = written(moment)
    user = User(
        id=id,
        upn=upn,
        sign_in_name=next(iter(_names(new.identities)), None),
        password_hash=hashed,
        force_change=new.force_change,
        enabled=new.enabled,
        failed=0,
        locked_until=0,
        body={
            **new.body,
            "identities": [*new.identities, upn_identity],
            "createdDateTime": stamp,
            "lastPasswordChangeDateTime": stamp if hashed else None,
        },
        created=moment,
    )
    with call.directory.transaction():
        quotas.check_room(call.directory)
        quotas.check_values(new.body)
        user_rules.check_free(call.directory, upn, new.identities)
        call.directory.add_user(user)
        journal.audit(call.directory, "Add user", target_id=id, target_name=upn)
    return call.entity(201, "users", shown(user, "v1.0", []))


async def update(call: Call) -> Answer:
    """Change a user; null removes a value."""
    changes = user_rules.changes(call.json(), registered(call, "User"), call.tenant.domain)
    if changes.identities is not None and _IDENTITIES not in call.caller.permissions:
        raise GraphError(403, "Authorization_RequestDenied", "Insufficient privileges to complete the operation.")
    hashed = await asyncio.to_thread(passwords.hash_password, changes.password) if changes.password else None
    with call.directory.transaction():
        user = _find(call)
        _apply(call, user, changes, hashed)
    return Answer(204)


def delete(call: Call) -> Answer:
    """Move a user to the recycle bin, which frees the names they signed in by."""
    user = _find(call)
    call.directory.set_sign_in_names(user.id, [])
    call.directory.update_user(user.id, deleted=call.directory.clock.now(), upn=f"{user.id.replace('-', '')}{user.upn}")
    journal.audit(call.directory, "Delete user", target_id=user.id, target_name=user.upn)
    return Answer(204)


def shown(user: User, version: str, names: list[str]) -> Body:
    """A user as Graph shows them.

    Args:
        user: the user.
        version: `beta` shows every property by default, `v1.0` eleven of them.
        names: the property names of `$select`.

    Returns:
        The properties that may be shown; a directory extension without a value is absent.
    """
    whole: Body = {
        **user_rules.EMPTY,
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
    if names or version == "beta":
        return whole
    return {name: whole[name] for name in DEFAULT}


def _apply(call: Call, user: User, changes: user_rules.Changes, hashed: str | None) -> None:
    body = {name: value for name, value in {**user.body, **changes.body}.items() if value is not None}
    quotas.check_values(body)
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
        user_rules.check_free(call.directory, upn, local, own_id=user.id)
        body["identities"] = [
            *local,
            {"signInType": "userPrincipalName", "issuer": call.tenant.domain, "issuerAssignedId": upn},
        ]
        names = _names(local)
        call.directory.set_sign_in_names(user.id, names)
        columns |= {"upn": upn, "sign_in_name": next(iter(names), None)}
    call.directory.update_user(user.id, body=body, **columns)
    _audit_changes(call, user, changes, hashed is not None)


def _audit_changes(call: Call, user: User, changes: user_rules.Changes, password: bool) -> None:
    changed = {n: (user.body.get(n), v) for n, v in changes.body.items() if user.body.get(n) != v}
    if changes.enabled is not None and changes.enabled != user.enabled:
        changed["accountEnabled"] = (user.enabled, changes.enabled)
    if changed or not password:
        journal.audit(call.directory, "Update user", target_id=user.id, target_name=user.upn, changed=changed)
    if password:
        journal.audit(call.directory, "Reset password", target_id=user.id, target_name=user.upn)


def _own_identities(user: User) -> list[Body]:
    return [item for item in user.body.get("identities", []) if item["signInType"] != "userPrincipalName"]


def _names(identities: list[Body]) -> list[str]:
    return [item["issuerAssignedId"].lower() for item in identities if item["signInType"] != "federated"]


def _collection(call: Call) -> odata.Collection:
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


def _check_identity_filter(call: Call) -> None:
    text = call.query.get("$filter", "")
    if "identities/any" in text and not re.search(r"/issuer\s", text):
        raise unsupported("Filtering on identities needs both issuer and issuerAssignedId.")


def _find(call: Call) -> User:
    found = call.directory.user(call.ids["id"], made_by=call.settled)
    if found is None:
        raise not_found(call.ids["id"])
    return found


def restored(call: Call, row: sqlite3.Row) -> User:
    """Bring a user back from the recycle bin with the names they had, unless somebody else has them now."""
    user = user_of(row)
    upn = user.upn.removeprefix(user.id.replace("-", ""))
    user_rules.check_free(call.directory, upn, _own_identities(user), own_id=user.id)
    call.directory.update_user(user.id, deleted=None, upn=upn)
    call.directory.set_sign_in_names(user.id, _names(_own_identities(user)))
    user.upn, user.deleted = upn, None
    return user

"""Users: Graph v1.0 `/users` and `/me`, and what makes a user acceptable.

Which properties an answer holds, `$select` rules for directory extensions and filters: Graph v1.0, user resource, "List
users" and "Add custom data to resources by using extensions". Identities and passwords: Graph v1.0, "Create user"
(example for local accounts) and objectIdentity; Microsoft Learn, "Password policies". Texts of refusals: [observed],
except where a comment says otherwise.
"""

from __future__ import annotations

import asyncio
import re
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from jitkit.rehearsal import accounts, audit_log
from jitkit.rehearsal.directory import Body, Directory, User, new_id, user_of
from jitkit.rehearsal.graph.applications import registered
from jitkit.rehearsal.graph.resource import Resource, check_room, check_values, defaults
from jitkit.rehearsal.graph.wire import Answer, Call, GraphRoute, refusal

_READ: Final = ("User.Read.All", "User.ReadWrite.All", "Directory.Read.All", "Directory.ReadWrite.All")
_WRITE: Final = ("User.ReadWrite.All", "Directory.ReadWrite.All")
_IDENTITIES: Final = "User.ManageIdentities.All"

# Not in a user's JSON as they were sent: these have columns of their own, and identities get one more.
_KEPT_APART: Final = {"accountEnabled", "passwordProfile", "identities", "userPrincipalName"}
_LONGEST: Final = 256
# "A valid email address" is all that the objectIdentity resource asks for: here a dot-atom and a host name, with the
# letters of any language [RFC 5321, 6531].
_ATOM: Final = r"[\w!#$%&'*+/=?^`{|}~-]+"
_LABEL: Final = r"[^\W_](?:[\w-]{0,61}[^\W_])?"
_EMAIL: Final = re.compile(rf"{_ATOM}(?:\.{_ATOM})*@(?=.{{4,253}}$){_LABEL}(?:\.{_LABEL})+")
_EMPTY: Final = defaults("user")


class Users(Resource):
    """Users; they have a table of their own, and null removes a value."""

    kind, model = "user", "User"
    paths = ("/users",)
    read, write = _READ, _WRITE
    operations = "list count get create delete"
    read_only = frozenset({"id", "createdDateTime", "deletedDateTime", "lastPasswordChangeDateTime", "proxyAddresses"})
    table, checks_select = "users", True
    columns: Mapping[str, str] = {
        "id": "id",
        "userPrincipalName": "upn",
        "accountEnabled": "enabled",
        "userType": "coalesce(json_extract(body, '$.userType'), 'Member')",
    }
    # For local accounts the service ignores the issuer's value (Graph v1.0, objectIdentity resource).
    loose: Mapping[str, str] = {"identities/issuer": "json_extract({}, '$.signInType') IN ('emailAddress', 'userName')"}
    # Kept by other services, or worked out by the service itself.
    unknown = frozenset(_EMPTY["unknown"])
    # The user resource names no filter for these.
    opaque = frozenset({"lastPasswordChangeDateTime", "passwordProfile", "proxyAddresses"})

    def routes(self) -> list[GraphRoute]:
        return [
            *super().routes(),
            GraphRoute("PATCH", "/users/{id}", self.update, (*_WRITE, _IDENTITIES)),
            GraphRoute("GET", "/me", self.get, ("User.Read", *_READ)),
        ]

    def extensions(self, call: Call) -> Mapping[str, str]:
        return registered(call, "User")

    def from_row(self, row: sqlite3.Row) -> User:
        return user_of(row)

    def list_all(self, call: Call) -> Answer:
        text = call.query.get("$filter", "")
        if "identities/any" in text and not re.search(r"/issuer\s", text):
            raise refusal("filter-identities")
        return super().list_all(call)

    def shown(self, call: Call, item: Any) -> Body:
        return shown(item, whole=bool(call.selected) or call.version == "beta")

    def lookup(self, call: Call) -> Any:
        """Users are named by object id or user principal name; `/me` is the one that the token speaks for."""
        id = call.ids.get("id") or call.caller.user_id
        if id is None:
            raise refusal("me-without-user")
        return call.directory.user(id, made_by=call.replicated)

    def find(self, call: Call) -> Any:
        if found := self.lookup(call):
            return found
        raise refusal(self.not_found, id=call.ids.get("id") or call.caller.user_id)

    async def create(self, call: Call) -> Answer:
        """The password is hashed in a thread, so that a batch does not hold up other requests."""
        sent = self._sent(call, new=True)
        hashed = await asyncio.to_thread(accounts.hash_password, sent.password) if sent.password else ""
        id = new_id()
        blank = User(
            id=id,
            upn=f"{id}@{call.domain}",
            sign_in_name=None,
            password_hash="",
            force_change=True,
            enabled=True,
            failed=0,
            locked_until=0,
            body={"createdDateTime": call.now},
            created=call.directory.clock.now(),
        )
        with call.directory.transaction():
            check_room(call.directory)
            user = _changed(call, blank, sent, hashed)
            user.body.setdefault("lastPasswordChangeDateTime", None)
            call.directory.add_user(user)
            audit_log.audit(call.directory, "Add user", target_id=id, target_name=user.upn)
        return call.entity(201, "users", shown(user))

    async def update(self, call: Call) -> Answer:
        sent = self._sent(call, new=False)
        if sent.identities is not None and _IDENTITIES not in call.caller.permissions:
            raise refusal("denied")
        hashed = await asyncio.to_thread(accounts.hash_password, sent.password) if sent.password else ""
        with call.directory.transaction():
            user: User = self.find(call)
            after = _changed(call, user, sent, hashed)
            if after.sign_in_names != user.sign_in_names:
                call.directory.set_sign_in_names(user.id, after.sign_in_names)
            call.directory.update_user(user.id, **{name: getattr(after, name) for name in _STORED})
            changed = {n: (user.body.get(n), v) for n, v in sent.body.items() if user.body.get(n) != v}
            if after.enabled != user.enabled:
                changed["accountEnabled"] = (user.enabled, after.enabled)
            if changed or not hashed:
                audit_log.audit(call.directory, "Update user", target_id=user.id, target_name=user.upn, changed=changed)
            if hashed:
                audit_log.audit(call.directory, "Reset password", target_id=user.id, target_name=user.upn)
        return Answer(204)

    def delete(self, call: Call) -> Answer:
        """Move a user to the recycle bin, which frees the names they signed in by."""
        user: User = self.find(call)
        gone = f"{user.id.replace('-', '')}{user.upn}"
        call.directory.set_sign_in_names(user.id, [])
        call.directory.update_user(user.id, deleted=call.directory.clock.now(), upn=gone)
        audit_log.audit(call.directory, "Delete user", target_id=user.id, target_name=user.upn)
        return Answer(204)

    def checked(self, call: Call) -> Body:
        body, extensions = call.json(), self.extensions(call)
        unknown = sorted(name for name in body if name.startswith("extension_") and name not in extensions)
        if unknown:
            raise refusal("extensions-unavailable", names=", ".join(unknown))
        body = super().checked(call)
        # The limit is documented [Graph, "Add custom data to resources by using extensions"]; the words are not.
        for name in extensions.keys() & body.keys():
            if isinstance(body[name], str) and len(body[name]) > _LONGEST:
                raise refusal("value", name=name, model=self.model)
        return body

    def _sent(self, call: Call, *, new: bool) -> _Sent:
        """Check the body of a creation or of a change, and sort what it says."""
        body = self.checked(call)
        # A display name is required, and cannot be cleared (Graph v1.0, user resource).
        if not body.get("displayName", not new):
            raise refusal("value-required", name="displayName", model=self.model)
        identities = _identities(body.get("identities") or [], call.domain) if new or "identities" in body else None
        upn = body.get("userPrincipalName")
        if upn is not None:
            name, _, host = upn.partition("@")
            if not name or not host:
                raise refusal("upn")
            if host.lower() != call.domain.lower():
                raise refusal("upn-domain")
        missing = "mailNickname" if upn and not body.get("mailNickname") else ""
        missing = missing if upn or identities else "userPrincipalName"
        if new and missing:
            raise refusal("value-required", name=missing, model=self.model)
        profile, enabled = body.get("passwordProfile") or {}, body.get("accountEnabled")
        password, force_change = profile.get("password"), profile.get("forceChangePasswordNextSignIn")
        if new and not password:
            if upn or any(item["signInType"] != "federated" for item in identities or []):
                raise refusal("password-missing")
        elif password is not None:
            complexity = "DisableStrongPassword" not in (body.get("passwordPolicies") or "")
            if accounts.password_problem(password, complexity=complexity):
                raise refusal("password-weak")
        if force_change is None and password:
            # The service's default for a new password is to have it changed (Graph v1.0, passwordProfile resource).
            force_change = True
        columns = {"upn": upn, "enabled": enabled, "force_change": force_change}
        rest = {name: value for name, value in body.items() if name not in _KEPT_APART}
        return _Sent(rest, {n: value for n, value in columns.items() if value is not None}, identities, password)


USERS: Final = Users()


@dataclass
class _Sent:
    """A checked body, sorted: JSON in which None removes a value, columns, and identities if any were sent."""

    body: Body
    columns: Body
    identities: list[Body] | None
    password: str | None = field(repr=False)


# The columns that a change may concern.
_STORED: Final = ("upn", "sign_in_name", "password_hash", "force_change", "enabled", "failed", "locked_until", "body")


def _changed(call: Call, user: User, sent: _Sent, hashed: str) -> User:
    """Apply what was sent to a user, together with the hash of a new password. Raises GraphError."""
    body = {name: value for name, value in {**user.body, **sent.body}.items() if value is not None}
    check_values(body)
    columns = dict(sent.columns)
    if hashed:
        body["lastPasswordChangeDateTime"] = call.now
        columns |= {"password_hash": hashed, "failed": 0, "locked_until": 0}
    if sent.identities is not None or "upn" in columns:
        present = [item for item in user.body.get("identities", []) if item["signInType"] != "userPrincipalName"]
        local = present if sent.identities is None else sent.identities
        upn = {"issuer": call.domain, "issuerAssignedId": columns.get("upn", user.upn)}
        body["identities"] = [*local, {"signInType": "userPrincipalName", **upn}]
        names = (item["issuerAssignedId"].lower() for item in local if item["signInType"] != "federated")
        columns["sign_in_name"] = next(names, None)
    after = replace(user, body=body, **columns)
    _check_free(call.directory, after)
    return after


def _check_free(directory: Directory, user: User) -> None:
    """Refuse names that another user has."""
    if directory.rows("SELECT 1 FROM users WHERE upn = ? AND id <> ?", (user.upn, user.id)):
        raise refusal("taken", name="userPrincipalName")
    for name in user.sign_in_names:
        if directory.rows("SELECT 1 FROM sign_in_names WHERE name = ? AND user_id <> ?", (name, user.id)):
            raise refusal("taken", name="identities")


def _identities(items: list[Any], domain: str) -> list[Body]:
    kept: list[Body] = []
    for item in items:
        kind, issuer, name = (item.get(key) or "" for key in ("signInType", "issuer", "issuerAssignedId"))
        if kind == "userPrincipalName":
            continue
        if not (kind and issuer and name):
            raise refusal("identity-parts")
        if kind in ("emailAddress", "userName") and issuer.lower() != domain.lower():
            raise refusal("identity-issuer", issuer=issuer)
        if kind == "emailAddress" and not (_EMAIL.fullmatch(name) and len(name.partition("@")[0]) <= 64):
            raise refusal("identity-email", name=name)
        if kind == "userName" and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", name):
            raise refusal("identity-user-name", name=name)
        kept.append({"signInType": kind, "issuer": issuer, "issuerAssignedId": name})
    if len({(item["issuer"].lower(), item["issuerAssignedId"].lower()) for item in kept}) != len(kept):
        raise refusal("identity-twice")
    return kept


def shown(user: User, *, whole: bool = False) -> Body:
    """A user as Graph shows them: v1.0 eleven properties by default, beta and `$select` every one.

    A directory extension without a value is absent.
    """
    every: Body = {
        **_EMPTY["shown"],
        **_EMPTY["selectable"],
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
    return every if whole else {name: every[name] for name in _EMPTY["shown"]}


def restored(call: Call, row: sqlite3.Row) -> User:
    """Bring a user back from the recycle bin with the names they had, unless another user has them now."""
    user = user_of(row)
    user.upn = user.upn.removeprefix(user.id.replace("-", ""))
    _check_free(call.directory, user)
    call.directory.update_user(user.id, deleted=None, upn=user.upn)
    call.directory.set_sign_in_names(user.id, user.sign_in_names)
    return user

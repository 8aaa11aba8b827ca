"""Groups and directory roles, the tenant's domains and organization, and the recycle bin.

Applications, service principals, groups and users stay in the bin for thirty days, by the tenant's clock. Shapes and
options: Graph v1.0, "List deletedItems", "Get deletedItem", "Restore deleted item"; "List a user's direct memberships".
Which roles there are, and what each is needed for: `roles.toml` next to this file.
"""

from __future__ import annotations

import json
import sqlite3
import tomllib
from collections.abc import Collection
from pathlib import Path
from typing import Any, Final

from jitkit.errors import KitError
from jitkit.rehearsal import audit_log, switches
from jitkit.rehearsal.directory import Body, Directory, new_id, user_of
from jitkit.rehearsal.graph import applications, odata, users
from jitkit.rehearsal.graph.resource import Resource, directory_size
from jitkit.rehearsal.graph.wire import Answer, Call, GraphRoute, refusal, written

_ROLES: Final = tomllib.loads(Path(__file__).with_name("roles.toml").read_text("utf-8"))


class Groups(Resource):
    """Groups, as far as the tenant has any: a rehearsal makes none."""

    kind, model = "group", "Group"
    paths = ("/groups",)
    read = ("Group.Read.All", "Group.ReadWrite.All", "Directory.Read.All", "Directory.ReadWrite.All")
    write = ("Group.ReadWrite.All",)
    operations = "list count get delete"
    checks_select = recycled = True
    on_delete = "Delete group"
    opaque = frozenset({"createdDateTime"})  # the one property that the documentation shows as refused in a filter


# --- directory roles -------------------------------------------------------------------------------------------------


class Memberships(Resource):
    """What a user is a member of: directory roles, for the tenant's groups have no members."""

    kind, model = "directoryRole", "DirectoryRole"
    read = ("User.Read", "User.Read.All", "User.ReadWrite.All", "Directory.Read.All", "Directory.ReadWrite.All")

    def routes(self) -> list[GraphRoute]:
        whole = [f"{of}/{name}" for of in ("/me", "/users/{id}") for name in ("memberOf", "transitiveMemberOf")]
        paths = [f"{path}{cast}" for path in whole for cast in ("", "/microsoft.graph.directoryRole")]
        return [GraphRoute("GET", path, self.list_all, self.read) for path in paths]

    def items(self, call: Call) -> odata.Collection:
        """The roles of the user in the path; a cast also names the type of the items, which are not listed with it."""
        cast = call.path.lower().endswith(".directoryrole")
        return odata.Collection(
            "directoryRoles" if cast else "directoryObjects",
            self.model,
            "kind = ? AND deleted IS NULL AND EXISTS (SELECT 1 FROM json_each(body, '$.members') WHERE value = ?)",
            (self.kind, users.USERS.find(call).id),
        )

    def shown(self, call: Call, item: Body) -> Body:
        typed = (
            {} if call.path.lower().endswith(".directoryrole") else {"@odata.type": "#microsoft.graph.directoryRole"}
        )
        return typed | {name: value for name, value in item.items() if name != "members"}


def assign_roles(directory: Directory, user_id: str, names: Collection[str]) -> None:
    """Give a user these directory roles and no others. Raises KitError for a role that the tenant does not know."""
    for name in sorted(set(names) - _ROLES["template"].keys()):
        known = ", ".join(_ROLES["template"])
        raise KitError(f"There is no directory role {name}.", next_step=f"Choose from {known}.")
    present = {role["displayName"]: role for role in directory.all("directoryRole")}
    for name, template in _ROLES["template"].items():
        role = present.get(name)
        if role is None and name in names:
            words = {"deletedDateTime": None, "description": name, "displayName": name, "roleTemplateId": template}
            role = directory.add("directoryRole", {"id": new_id(), **words, "members": []})
        if role is not None:
            others = [each for each in role["members"] if each != user_id]
            directory.replace("directoryRole", {**role, "members": [*others, *([user_id] if name in names else [])]})


def roles_of(directory: Directory, user_id: str) -> frozenset[str]:
    """Return the names of a user's directory roles."""
    return frozenset(role["displayName"] for role in directory.all("directoryRole") if user_id in role["members"])


def check_allowed(call: Call, permissions: Collection[str]) -> None:
    """Refuse a caller whose token has none of these permissions, and a user without a directory role for the path."""
    path = call.path.lower()
    needed: Body = next((each for each in _ROLES["needed"] if path.startswith(each["path"].lower())), {})
    denied, roleless = ("log-denied", "log-role") if path.startswith("/auditlogs") else ("denied", "denied")
    if not any(set(one.split(" + ")) <= call.caller.permissions for one in permissions):
        raise refusal(denied, names=", ".join(permissions))
    names = needed.get("read" if call.method == "GET" else "write")
    if names is not None:
        call.needs_role(*names, refused=roleless)


# --- the tenant itself -----------------------------------------------------------------------------------------------


class Domains(Resource):
    """The tenant's domains, addressed by name."""

    kind, model = "domain", "Domain"
    paths = ("/domains",)
    read = ("Domain.Read.All", "Domain.ReadWrite.All", "Directory.Read.All", "Directory.ReadWrite.All")
    operations = "list get"

    def lookup(self, call: Call) -> Body | None:
        found = (item for item in call.directory.all(self.kind) if item["id"].lower() == call.ids["id"].lower())
        return next(found, None)


class Organizations(Resource):
    """The one organization: the tenant itself."""

    kind, model = "organization", "Organization"
    paths = ("/organization",)
    read = ("Organization.Read.All", "Directory.Read.All", "Directory.ReadWrite.All", "Application.Read.All")
    operations = "list get"

    def shown(self, call: Call, item: Body) -> Body:
        used, total = directory_size(call.directory)
        kind = switches.read(call.directory, "tenant_type") or None
        return {**item, "tenantType": kind, "directorySizeQuota": {"used": used, "total": total}}


# --- the recycle bin -------------------------------------------------------------------------------------------------

_KINDS: Final = ("application", "servicePrincipal", "group", "user")
# The short form is what the SDK sends [observed].
_CASTS: Final = ("microsoft.graph.", "graph.")
_KEPT: Final = 30 * 86_400
_COLUMNS: Final = {"id": "id", "deletedDateTime": "strftime('%Y-%m-%dT%H:%M:%SZ', deleted, 'unixepoch')"}


class DeletedItems(Resource):
    """What was deleted less than thirty days ago; items are rows of the tables."""

    kind, model = "deletedItem", "DirectoryObject"
    paths = ("/directory/deletedItems",)
    read = (
        "Application.Read.All",
        "Application.ReadWrite.All",
        "Directory.Read.All",
        "User.Read.All",
        "User.ReadWrite.All",
    )
    write = ("Application.ReadWrite.All", "User.DeleteRestore.All", "User.ReadWrite.All", "Directory.ReadWrite.All")
    operations = "get delete"
    checks_select = True

    def routes(self) -> list[GraphRoute]:
        """The type in the URL of a list is mandatory."""
        types = [f"{cast}{kind}" for cast in _CASTS for kind in _KINDS]
        return [
            *super().routes(),
            *(GraphRoute("GET", f"{self.paths[0]}/{type}", self.list_all, self.read) for type in types),
            GraphRoute("POST", f"{self.paths[0]}/{{id}}/restore", self.restore, self.write),
        ]

    def items(self, call: Call) -> odata.Collection:
        name = call.path.rsplit(".", 1)[1].lower()
        kind = next(kind for kind in _KINDS if kind.lower() == name)
        where = "created <= ? AND deleted > ?"
        return odata.Collection(
            f"{kind}s",
            kind[0].upper() + kind[1:],
            where if kind == "user" else f"{where} AND kind = '{kind}'",
            (call.replicated, call.directory.clock.now() - _KEPT),
            table=_table(kind),
            columns=_COLUMNS,
            order=("deleted", False),
        )

    def from_row(self, row: sqlite3.Row) -> sqlite3.Row:
        return row

    def shown(self, call: Call, item: Any) -> Body:
        return {**_body(item), "deletedDateTime": written(item["deleted"])}

    def get(self, call: Call) -> Answer:
        return call.entity(200, "directoryObjects", self.shown(call, self.find(call)))

    def lookup(self, call: Call) -> sqlite3.Row | None:
        id = call.ids["id"]
        since = call.directory.clock.now() - _KEPT
        for table in ("objects", "users"):
            if found := call.directory.rows(f"SELECT * FROM {table} WHERE id = ? AND deleted > ?", (id, since)):  # noqa: S608
                return found[0]
        return None

    def restore(self, call: Call) -> Answer:
        """Bring a deleted object back. A restored application does not bring its service principal with it."""
        row = self.find(call)
        kind = _kind(row)
        if kind == "user":
            user = users.restored(call, row)
            body, name = users.shown(user), user.upn
        else:
            body = _body(row)
            name = body["displayName"]
            if row["key"] and call.directory.by_key(kind, row["key"]):
                raise refusal("taken", name="appId")
            if kind == "application":
                applications.check_uris_free(call, row["id"], body["identifierUris"])
            call.directory.restore(kind, row["id"])
        audit_log.audit(call.directory, f"Restore {_words(kind)}", target_id=row["id"], target_name=name)
        return call.entity(200, "directoryObjects", body)

    def delete(self, call: Call) -> Answer:
        """Remove a deleted object for good."""
        row = self.find(call)
        call.directory.rows(f"DELETE FROM {_table(_kind(row))} WHERE id = ?", (row["id"],))  # noqa: S608
        audit_log.audit(call.directory, f"Hard Delete {_words(_kind(row))}", target_id=row["id"])
        return Answer(204)


def _table(kind: str) -> str:
    return "users" if kind == "user" else "objects"


def _kind(row: sqlite3.Row) -> str:
    return row["kind"] if "kind" in row.keys() else "user"  # noqa: SIM118 - a row's own items are its values


def _body(row: sqlite3.Row) -> Body:
    body: Body = users.shown(user_of(row)) if _kind(row) == "user" else json.loads(row["body"])
    return applications.hidden(body) if "keyCredentials" in body else body


def _words(kind: str) -> str:
    return "service principal" if kind == "servicePrincipal" else kind

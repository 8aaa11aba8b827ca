"""Groups, the tenant's domains and organization, and the recycle bin.

Applications, service principals, groups and users stay in the bin for thirty days, by the tenant's clock. Shapes and
options: Graph v1.0, "List deletedItems", "Get deletedItem", "Restore deleted item".
"""

from __future__ import annotations

import json
import sqlite3
from dataclasses import replace
from typing import Any, Final

from jitkit.rehearsal import log_rows
from jitkit.rehearsal.directory import Body, user_of
from jitkit.rehearsal.graph import applications, odata, users
from jitkit.rehearsal.graph.resource import Resource, directory_size
from jitkit.rehearsal.graph.wire import Answer, Call, GraphRoute, bad_request, not_found, not_simulated, written


class Groups(Resource):
    """Groups, as far as the tenant has any: a rehearsal makes none."""

    kind, model = "group", "Group"
    paths = ("/groups",)
    read = ("Group.Read.All", "Group.ReadWrite.All", "Directory.Read.All", "Directory.ReadWrite.All")
    write = ("Group.ReadWrite.All",)
    operations = "list count get delete"
    checks_select = recycled = True
    on_delete = "Delete group"

    def items(self, call: Call) -> odata.Collection:
        """`createdDateTime` is the one property that the documentation shows as refused in a filter."""
        return replace(super().items(call), opaque=frozenset({"createdDateTime"}))


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
        return {**item, "directorySizeQuota": {"used": used, "total": total}}


# --- the recycle bin -------------------------------------------------------------------------------------------------

_BIN: Final = "/directory/deletedItems"
_READ: Final = (
    "Application.Read.All",
    "Application.ReadWrite.All",
    "Directory.Read.All",
    "User.Read.All",
    "User.ReadWrite.All",
)
_WRITE: Final = ("Application.ReadWrite.All", "User.DeleteRestore.All", "User.ReadWrite.All", "Directory.ReadWrite.All")
_KINDS: Final = {
    "application": "applications",
    "servicePrincipal": "servicePrincipals",
    "group": "groups",
    "user": "users",
}
# The short form is what the SDK sends [observed].
_CASTS: Final = ("microsoft.graph.", "graph.")
_KEPT: Final = 30 * 86_400
_COLUMNS: Final = {"id": "id", "deletedDateTime": "strftime('%Y-%m-%dT%H:%M:%SZ', deleted, 'unixepoch')"}


def routes() -> list[GraphRoute]:
    """List the operations on groups, domains, the organization and deleted objects."""
    return [
        *(route for each in (Groups, Domains, Organizations) for route in each().routes()),
        *(GraphRoute("GET", f"{_BIN}/{cast}{kind}", _list, _READ) for cast in _CASTS for kind in _KINDS),
        GraphRoute("GET", f"{_BIN}/{{id}}", _get, _READ),
        GraphRoute("POST", f"{_BIN}/{{id}}/restore", _restore, _WRITE),
        GraphRoute("DELETE", f"{_BIN}/{{id}}", _delete, _WRITE),
    ]


def _list(call: Call) -> Answer:
    """List the deleted objects of one type; the type in the URL is mandatory."""
    name = call.path.rsplit(".", 1)[1].lower()
    kind = next(kind for kind in _KINDS if kind.lower() == name)
    where, parameters = "deleted > ?", (call.directory.clock.now() - _KEPT,)
    items = odata.Collection(
        _KINDS[kind],
        kind[0].upper() + kind[1:],
        where if kind == "user" else f"kind = '{kind}' AND {where}",
        parameters,
        table="users" if kind == "user" else "objects",
        columns=_COLUMNS,
        order=("deleted", False),
    )
    odata.check_select(call, items)
    return odata.page(call, items, lambda row: _shown(kind, row, deleted=True))


def _get(call: Call) -> Answer:
    """Read one deleted object."""
    return call.entity(200, "directoryObjects", _shown(*_find(call), deleted=True))


def _restore(call: Call) -> Answer:
    """Bring a deleted object back. A restored application does not bring its service principal with it."""
    kind, row = _find(call)
    if kind == "user":
        user = users.restored(call, row)
        body, name = users.shown(user), user.upn
    else:
        body = _shown(kind, row)
        name = body["displayName"]
        if row["key"] and call.directory.by_key(kind, row["key"]):
            raise bad_request("Another object with the same value for property appId already exists.")
        if kind == "application":
            applications.check_uris_free(call, row["id"], body["identifierUris"])
        call.directory.restore(kind, row["id"])
    log_rows.audit(call.directory, f"Restore {_words(kind)}", target_id=row["id"], target_name=name)
    return call.entity(200, "directoryObjects", body)


def _delete(call: Call) -> Answer:
    """Remove a deleted object for good."""
    kind, row = _find(call)
    if kind == "user":
        call.directory.rows("DELETE FROM users WHERE id = ?", (row["id"],))
    else:
        call.directory.discard(kind, row["id"], recycle=False)
    log_rows.audit(call.directory, f"Hard Delete {_words(kind)}", target_id=row["id"])
    return Answer(204)


def _find(call: Call) -> tuple[str, Any]:
    id = call.ids["id"]
    if id.startswith(_CASTS):
        raise not_simulated(f"{call.method} {call.path}")
    for table in ("objects", "users"):
        found = call.directory.rows(
            f"SELECT * FROM {table} WHERE id = ? AND deleted > ?",  # noqa: S608
            (id, call.directory.clock.now() - _KEPT),
        )
        if found:
            return ("user" if table == "users" else found[0]["kind"]), found[0]
    raise not_found(id)


def _shown(kind: str, row: sqlite3.Row, *, deleted: bool = False) -> Body:
    body: Body = users.shown(user_of(row)) if kind == "user" else json.loads(row["body"])
    body = applications.hidden(body) if "keyCredentials" in body else body
    return {**body, "deletedDateTime": written(row["deleted"])} if deleted else body


def _words(kind: str) -> str:
    return "service principal" if kind == "servicePrincipal" else kind

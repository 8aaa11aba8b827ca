"""The recycle bin: Graph v1.0 `/directory/deletedItems`.

Applications, service principals, groups and users stay there for thirty days, by the tenant's clock.
Shapes and options: Graph v1.0, "List deletedItems", "Get deletedItem", "Restore deleted item".
"""

from __future__ import annotations

import json
from typing import Any

from jitkit.rehearsal import journal
from jitkit.rehearsal.directory import Body
from jitkit.rehearsal.graph import identifier_uris, key_credentials, odata, users
from jitkit.rehearsal.graph.wire import Answer, Call, Grade, GraphError, GraphRoute, bad_request, not_found, written
from jitkit.rehearsal.users import user_of

_PATH = "/directory/deletedItems"
_READ = (
    "Application.Read.All",
    "Application.ReadWrite.All",
    "Directory.Read.All",
    "User.Read.All",
    "User.ReadWrite.All",
)
_WRITE = ("Application.ReadWrite.All", "User.DeleteRestore.All", "User.ReadWrite.All", "Directory.ReadWrite.All")
_KINDS = {"application": "applications", "servicePrincipal": "servicePrincipals", "group": "groups"}
_CASTS: tuple[tuple[str, Grade], ...] = (("microsoft.graph.", "documented"), ("graph.", "observed"))
_KEPT = 30 * 86_400
_COLUMNS = {"id": "id", "deletedDateTime": "strftime('%Y-%m-%dT%H:%M:%SZ', deleted, 'unixepoch')"}


def routes() -> list[GraphRoute]:
    """The operations on deleted objects."""
    return [
        *(
            GraphRoute(
                "GET", f"{_PATH}/{prefix}{name}", list_all, _READ, "List deleted items (directory objects)", grade
            )
            # The short form is what the SDK sends.
            for prefix, grade in _CASTS
            for name in (*_KINDS, "user")
        ),
        GraphRoute("GET", f"{_PATH}/{{id}}", get, _READ, "Get deleted item (directory object)"),
        GraphRoute("POST", f"{_PATH}/{{id}}/restore", restore, _WRITE, "Restore deleted item (directory object)"),
        GraphRoute("DELETE", f"{_PATH}/{{id}}", delete, _WRITE, "Permanently delete an item (directory object)"),
    ]


def list_all(call: Call) -> Answer:
    """List the deleted objects of one type; the type in the URL is mandatory."""
    name = call.path.rsplit(".", 1)[1].lower()
    kind = next(kind for kind in (*_KINDS, "user") if kind.lower() == name)
    model = kind[0].upper() + kind[1:]
    where, oldest = "deleted > ?", call.directory.clock.now() - _KEPT
    if kind == "user":
        items = odata.Collection(
            "users", model, where, (oldest,), table="users", columns=_COLUMNS, order=("deleted", False)
        )
    else:
        items = odata.Collection(
            _KINDS[kind], model, f"kind = ? AND {where}", (kind, oldest), columns=_COLUMNS, order=("deleted", False)
        )
    odata.check_select(call, items)
    return odata.page(call, items, lambda row: _deleted(_shown(kind, row), row))


def get(call: Call) -> Answer:
    """Read one deleted object."""
    kind, row = _find(call)
    return call.entity(200, "directoryObjects", _deleted(_shown(kind, row), row))


def restore(call: Call) -> Answer:
    """Bring a deleted object back. A restored application does not bring its service principal with it."""
    kind, row = _find(call)
    if kind == "user":
        user = users.restored(call, row)
        body: Body = users.shown(user, "v1.0", [])
        journal.audit(call.directory, "Restore user", target_id=user.id, target_name=user.upn)
    else:
        body = _shown(kind, row)
        if row["key"] and call.directory.by_key(kind, row["key"]):
            raise bad_request("Another object with the same value for property appId already exists.")
        if kind == "application":
            identifier_uris.check_free(call, row["id"], body["identifierUris"])
        call.directory.restore(kind, row["id"])
        journal.audit(call.directory, f"Restore {_words(kind)}", target_id=row["id"], target_name=body["displayName"])
    return call.entity(200, "directoryObjects", body)


def delete(call: Call) -> Answer:
    """Remove a deleted object for good."""
    kind, row = _find(call)
    if kind == "user":
        call.directory.rows("DELETE FROM users WHERE id = ?", (row["id"],))
    else:
        call.directory.discard(kind, row["id"], recycle=False)
    journal.audit(call.directory, f"Hard Delete {_words(kind)}", target_id=row["id"])
    return Answer(204)


def _find(call: Call) -> tuple[str, Any]:
    id = call.ids["id"]
    if id.startswith(("microsoft.graph.", "graph.")):
        raise GraphError(501, "NotImplemented", f"not simulated: {call.method} {call.path}")
    for table in ("objects", "users"):
        found = call.directory.rows(
            f"SELECT * FROM {table} WHERE id = ? AND deleted > ?",  # noqa: S608
            (id, call.directory.clock.now() - _KEPT),
        )
        if found:
            return ("user" if table == "users" else found[0]["kind"]), found[0]
    raise not_found(id)


def _shown(kind: str, row: Any) -> Body:
    if kind == "user":
        return users.shown(user_of(row), "v1.0", [])
    body: Body = json.loads(row["body"])
    return key_credentials.hidden(body) if "keyCredentials" in body else body


def _deleted(body: Body, row: Any) -> Body:
    return {**body, "deletedDateTime": written(row["deleted"])}


def _words(kind: str) -> str:
    return "service principal" if kind == "servicePrincipal" else kind

"""The recycle bin: Graph v1.0 `/directory/deletedItems`.

Applications, service principals and users stay there for thirty days on a real tenant; here, until they are removed.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from helpers.rehearsal import journal
from helpers.rehearsal.directory import Body, user_of
from helpers.rehearsal.graph import key_credentials, users
from helpers.rehearsal.graph.wire import Answer, Call, GraphError, GraphRoute, bad_request, not_found

_PATH = "/directory/deletedItems"
_READ = (
    "Application.Read.All",
    "Application.ReadWrite.All",
    "Directory.Read.All",
    "User.Read.All",
    "User.ReadWrite.All",
)
_WRITE = ("Application.ReadWrite.All", "User.DeleteRestore.All", "User.ReadWrite.All", "Directory.ReadWrite.All")
_KINDS = {"application": "applications", "servicePrincipal": "servicePrincipals"}


def routes() -> list[GraphRoute]:
    """The operations on deleted objects."""
    return [
        *(
            GraphRoute("GET", f"{_PATH}/{prefix}{name}", list_all, _READ, "List deleted items (directory objects)")
            for prefix in ("microsoft.graph.", "graph.")
            for name in (*_KINDS, "user")
        ),
        GraphRoute("GET", f"{_PATH}/{{id}}", get, _READ, "Get deleted item (directory object)"),
        GraphRoute("POST", f"{_PATH}/{{id}}/restore", restore, _WRITE, "Restore deleted item (directory object)"),
        GraphRoute("DELETE", f"{_PATH}/{{id}}", delete, _WRITE, "Permanently delete an item (directory object)"),
    ]


def list_all(call: Call) -> Answer:
    """List the deleted objects of one type; the type in the URL is mandatory."""
    name = call.path.rsplit(".", 1)[1].lower()
    if name == "user":
        rows = call.directory.rows("SELECT * FROM users WHERE deleted IS NOT NULL ORDER BY deleted")
        return _page(call, "users", [_deleted(_shown("user", row), row) for row in rows])
    kind = next(kind for kind in _KINDS if kind.lower() == name)
    rows = call.directory.rows("SELECT * FROM objects WHERE kind = ? AND deleted IS NOT NULL ORDER BY deleted", (kind,))
    return _page(call, _KINDS[kind], [_deleted(_shown(kind, row), row) for row in rows])


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
        body = json.loads(row["body"])
        if call.directory.by_key(kind, row["key"]):
            raise bad_request("Another object with the same value for property appId already exists.")
        call.directory.restore(kind, row["id"])
        journal.audit(call.directory, f"Restore {_words(kind)}", target_id=row["id"], target_name=body["displayName"])
        body = key_credentials.hidden(body)
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
    found = call.directory.rows("SELECT * FROM objects WHERE id = ? AND deleted IS NOT NULL", (id,))
    if found:
        return found[0]["kind"], found[0]
    found = call.directory.rows("SELECT * FROM users WHERE id = ? AND deleted IS NOT NULL", (id,))
    if found:
        return "user", found[0]
    raise not_found(id)


def _shown(kind: str, row: Any) -> Body:
    return users.shown(user_of(row), "v1.0", []) if kind == "user" else key_credentials.hidden(json.loads(row["body"]))


def _deleted(body: Body, row: Any) -> Body:
    return {**body, "deletedDateTime": datetime.fromtimestamp(row["deleted"], UTC).strftime("%Y-%m-%dT%H:%M:%SZ")}


def _page(call: Call, context: str, value: list[Body]) -> Answer:
    return Answer(200, {"@odata.context": call.context(context), "value": value})


def _words(kind: str) -> str:
    return "service principal" if kind == "servicePrincipal" else kind

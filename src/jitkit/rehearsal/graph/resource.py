"""One implementation of a Graph collection: list, count, read, create, change and delete objects of the directory.

A collection is a subclass: it declares names, permissions and limits, and overrides the hooks where the service does
something of its own. Figures of the quotas: Microsoft Learn, "Service limits" of external tenants; Graph documentation,
"Add custom data to resources by using extensions". The refusal of an object that no longer fits: [observed]. That of an
extension value: [assumed], after the one of other collections that are full.
"""

from __future__ import annotations

import copy
import json
import sqlite3
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from jitkit.rehearsal import audit_log, switches
from jitkit.rehearsal.directory import Body, Directory
from jitkit.rehearsal.graph import odata, schema
from jitkit.rehearsal.graph.wire import Answer, Call, GraphRoute, refusal

READ_DIRECTORY: Final = (
    "Application.Read.All",
    "Application.ReadWrite.All",
    "Directory.Read.All",
    "Directory.ReadWrite.All",
)
_EXTENSION_VALUES: Final = 100
_DEFAULTS: Final[Mapping[str, Body]] = json.loads(Path(__file__).with_name("defaults.json").read_text("utf-8"))


class Resource:
    """A collection of objects: the attributes declare it, and the hooks can be overridden."""

    kind: str  # the directory's kind, such as `application`
    paths: tuple[str, ...]  # where the collection is found after the version
    model: str  # the SDK model of the items
    read: tuple[str, ...]  # permissions that allow reading; any one is enough
    write: tuple[str, ...] = ()  # permissions that allow changes
    operations: str = "list get create update delete"  # and `count`
    placeholder: str = "id"  # the name of the item's id in its route
    keys: tuple[str, ...] = ()  # properties that address an item too, as in `/applications(appId='…')`
    key: str | None = None  # the property that the directory keeps as a second unique name
    created_by: str = ""  # the one of the keys under which a PATCH can create an item
    owner: Resource | None = None  # the collection that the path begins with
    required: tuple[str, ...] = ()  # properties that a PATCH cannot clear
    read_only: frozenset[str] = frozenset()  # properties that a caller cannot set
    table: str = "objects"  # where the items are kept
    columns: Mapping[str, str] = odata.ID_COLUMN  # this and the next two: as `odata.Collection` says
    loose: Mapping[str, str] = {}
    opaque: frozenset[str] = frozenset()
    unknown: frozenset[str] = frozenset()
    checks_select: bool = False  # refuses a `$select` of unknown properties; not where subtypes have more
    recycled: bool = False  # a deleted item goes to the recycle bin
    on_create: str = ""  # the activities as the audit log words them; without words, nothing is logged
    on_update: str = ""
    on_delete: str = ""
    logs_changes: bool = False  # the audit row of an update lists the old and new values
    code: str = "Request_BadRequest"  # of a refused body
    not_found: str = "not-found"  # the refusal for an id that names no item

    # --- routes ----------------------------------------------------------------------------------------------------

    def routes(self) -> list[GraphRoute]:
        """List the operations of the collection."""
        made = []
        for path in self.paths:
            ones = [f"{path}/{{{self.placeholder}}}", *(f"{path}({key}='{{{key}}}')" for key in self.keys)]
            routes = {
                "list": [GraphRoute("GET", path, self.list_all, self.read)],
                "count": [GraphRoute("GET", f"{path}/$count", self.count, self.read)],
                "create": [GraphRoute("POST", path, self.create, self.write)],
                "get": [GraphRoute("GET", one, self.get, self.read) for one in ones],
                "update": [GraphRoute("PATCH", one, self.update, self.write) for one in ones],
                "delete": [GraphRoute("DELETE", one, self.delete, self.write) for one in ones],
            }
            made += [route for operation in self.operations.split() for route in routes[operation]]
        return made

    # --- operations ------------------------------------------------------------------------------------------------

    def list_all(self, call: Call) -> Answer:
        items = self.items(call)
        if self.checks_select:
            odata.check_select(call, items)
        return odata.page(call, items, lambda row: self.listed(call, self.from_row(row)))

    def count(self, call: Call) -> Answer:
        return odata.count(call, self.items(call))

    def get(self, call: Call) -> Answer:
        if self.checks_select:
            odata.check_select(call, self.items(call))
        return odata.one(call, self.context(call), self.items(call), self.shown(call, self.find(call)))

    def create(self, call: Call) -> Any:
        return self.add(call, self.checked(call))

    def update(self, call: Call) -> Any:
        """Change an item, or create it when the caller may and addressed it by a key of its own."""
        body = self.checked(call)
        may_create = "create-if-missing" in call.headers.get("prefer", "").lower()
        key = call.ids.get(self.created_by) if may_create else None
        if key and not any(item.get(self.created_by) == key for item in call.directory.all(self.kind)):
            return self.add(call, {**body, self.created_by: key})
        before = self.find(call)
        for name in self.required:
            if not body.get(name, True):
                raise refusal("value-required", name=name, model=self.model)
        after = self.changed(call, before, body)
        call.directory.replace(self.kind, after)
        changes = {
            name: (_without_keys(before.get(name)), _without_keys(after.get(name)))
            for name in body
            if before.get(name) != after.get(name)
        }
        self.audit(call, self.on_update, after, changes if self.logs_changes else None)
        return Answer(204)

    def delete(self, call: Call) -> Answer:
        """Delete an item, into the recycle bin or for good."""
        found = self.find(call)
        call.directory.discard(self.kind, found["id"], recycle=self.recycled)
        self.audit(call, self.on_delete, found)
        return Answer(204)

    # --- hooks -----------------------------------------------------------------------------------------------------

    def context(self, call: Call) -> str:
        """The collection in `@odata.context`."""
        return self.paths[0].lstrip("/")

    def owned_by(self, call: Call) -> str:
        """The SQL for the id of an item's owner; empty where the route names none."""
        return "parent"

    def items(self, call: Call) -> odata.Collection:
        """What a list holds: every object of the kind that is not in the recycle bin and can be seen already."""
        where = "deleted IS NULL AND created <= ?"
        parameters: list[Any] = [call.replicated]
        if self.table == "objects":
            where, parameters = f"{where} AND kind = ?", [*parameters, self.kind]
        if self.owner and (owner_id := self.owned_by(call)):
            where, parameters = f"{where} AND {owner_id} = ?", [*parameters, self.owner.find(call)["id"]]
        return odata.Collection(
            self.context(call),
            self.model,
            where,
            tuple(parameters),
            table=self.table,
            columns=self.columns,
            extensions=self.extensions(call),
            loose=self.loose,
            opaque=self.opaque,
            unknown=self.unknown,
        )

    def from_row(self, row: sqlite3.Row) -> Any:
        """Read an item from a row of its table."""
        return json.loads(row["body"])

    def shown(self, call: Call, item: Body) -> Body:
        """An item as reading it shows it."""
        return item

    def listed(self, call: Call, item: Any) -> Body:
        """An item as a list shows it."""
        return self.shown(call, item)

    def as_created(self, item: Body) -> Body:
        """An item as the answer to its creation shows it."""
        return item

    def lookup(self, call: Call) -> Any:
        """Read the item that the route names; None when there is none, or it is too new to be seen."""
        items, name = self.items(call), self._named(call)
        column = {self.placeholder: "id", self.key: "key"}.get(name, f"json_extract(body, '$.{name}')")
        found = call.directory.rows(
            f"SELECT * FROM {items.table} WHERE {items.where} AND {column} = ?",  # noqa: S608
            (*items.parameters, call.ids[name]),
        )
        return self.from_row(found[0]) if found else None

    def find(self, call: Call) -> Any:
        """Read the item that the route names. Raises GraphError 404."""
        found = self.lookup(call)
        if found is None:
            raise refusal(self.not_found, id=call.ids[self._named(call)], kind=self.kind)
        return found

    def _named(self, call: Call) -> str:
        return next(name for name in (self.placeholder, *self.keys) if name in call.ids)

    def extensions(self, call: Call) -> Mapping[str, str]:
        """The directory extensions that an item may carry: full name to data type."""
        return {}

    def checked(self, call: Call) -> Body:
        """Read the body of a POST or PATCH. Raises GraphError when it does not fit the type."""
        schema.check(self.model, call.json(), code=self.code, extensions=self.extensions(call))
        body = {name: value for name, value in call.json().items() if "@odata." not in name}
        for name in sorted(self.read_only & body.keys()):
            raise refusal("read-only", name=name)
        return body

    def add(self, call: Call, body: Body) -> Answer:
        """Create an item from a checked body."""
        made = self.new(call, body)
        made = call.directory.add(self.kind, made, key=made[self.key] if self.key else None)
        self.audit(call, self.on_create, made)
        return call.entity(201, self.context(call), self.as_created(made))

    def new(self, call: Call, body: Body) -> Body:
        """Fill a new item as the service does. Raises GraphError when it is refused."""
        raise NotImplementedError

    def changed(self, call: Call, before: Body, body: Body) -> Body:
        """Apply a checked body. Raises GraphError when it is refused."""
        return merge(copy.deepcopy(before), body)

    def audited(self, call: Call, item: Body) -> tuple[str, str]:
        """The id and the name of the object that an audit row about an item names."""
        return item["id"], item.get("displayName") or ""

    def audit(
        self, call: Call, activity: str, item: Body, changed: Mapping[str, tuple[Any, Any]] | None = None
    ) -> None:
        """Append to the audit log what was done to an item."""
        if activity:
            id, name = self.audited(call, item)
            audit_log.audit(call.directory, activity, target_id=id, target_name=name, changed=changed)


def merge(target: Body, changes: Body) -> Body:
    """Apply a partial body in place: objects are merged, everything else, lists among it, is replaced."""
    for name, value in changes.items():
        if "@odata." in name:
            continue
        if isinstance(value, dict) and isinstance(target.get(name), dict):
            merge(target[name], value)
        else:
            target[name] = value
    return target


def defaults(kind: str) -> Body:
    """The properties that the service gives a new object of a kind, as a copy of the caller's own."""
    return copy.deepcopy(_DEFAULTS[kind])


def configured(directory: Directory, kind: str) -> dict[str, Body]:
    """Return what a tenant has of a kind that it is born with, by its small id; without a change, the defaults."""
    kept = {item["id"].lower(): item for item in directory.all(kind)}
    return {**defaults(kind), **kept}


def _without_keys(value: Any) -> Any:
    """A property's value for the audit log, without the bytes of certificates."""
    if not isinstance(value, list):
        return value
    return [{k: v for k, v in item.items() if k != "key"} if isinstance(item, dict) else item for item in value]


# --- quotas ------------------------------------------------------------------------------------------------------


def directory_size(directory: Directory) -> tuple[int, int]:
    """Return how many objects the tenant has, those in the recycle bin among them, and how many it may have."""
    found = directory.rows(
        "SELECT (SELECT count(*) FROM users) + (SELECT count(*) FROM objects WHERE kind IN "
        "('application', 'group', 'servicePrincipal')) AS n"
    )
    return int(found[0]["n"]), int(switches.read(directory, "directory_quota"))


def check_room(directory: Directory) -> None:
    """Refuse one more object in a tenant that is full. Raises GraphError 403."""
    used, total = directory_size(directory)
    if used >= total:
        raise refusal("quota")


def check_values(names: Iterable[str]) -> None:
    """Refuse more extension values than an object holds; those of deleted extensions count. Raises GraphError 403."""
    count = sum(name.startswith("extension_") for name in names)
    if count > _EXTENSION_VALUES:
        raise refusal("quota-values", count=count, most=_EXTENSION_VALUES)

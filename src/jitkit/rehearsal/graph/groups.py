"""Groups, as far as the tenant has any: Graph v1.0 `/groups`. A rehearsal makes none, so the list is empty."""

from __future__ import annotations

from dataclasses import replace

from jitkit.rehearsal import journal
from jitkit.rehearsal.graph import odata
from jitkit.rehearsal.graph.wire import Answer, Call, GraphRoute, not_found

_READ = ("Group.Read.All", "Group.ReadWrite.All", "Directory.Read.All", "Directory.ReadWrite.All")
_WRITE = ("Group.ReadWrite.All",)


def routes() -> list[GraphRoute]:
    """The operations on groups."""
    return [
        GraphRoute("GET", "/groups", list_all, _READ, "List groups"),
        GraphRoute("GET", "/groups/$count", count, _READ, "List groups"),
        GraphRoute("GET", "/groups/{id}", get, _READ, "Get group"),
        GraphRoute("DELETE", "/groups/{id}", delete, _WRITE, "Delete group"),
    ]


def list_all(call: Call) -> Answer:
    """List groups."""
    odata.check_select(call, _collection())
    return odata.page(call, _collection(), odata.body_of)


def count(call: Call) -> Answer:
    """Count groups."""
    return odata.count(call, _collection())


def get(call: Call) -> Answer:
    """Read one group."""
    names = odata.check_select(call, _collection())
    found = call.read("group", call.ids["id"])
    if found is None:
        raise not_found(call.ids["id"])
    return odata.one(call, "groups", found, names)


def delete(call: Call) -> Answer:
    """Move a group to the recycle bin."""
    found = call.read("group", call.ids["id"])
    if found is None:
        raise not_found(call.ids["id"])
    call.directory.discard("group", found["id"], recycle=True)
    journal.audit(call.directory, "Delete group", target_id=found["id"], target_name=found.get("displayName") or "")
    return Answer(204)


def _collection() -> odata.Collection:
    # The one property that the documentation shows as refused in a filter.
    return replace(odata.of_kind("group", "groups", "Group"), opaque=frozenset({"createdDateTime"}))

"""The query options of a Graph collection: `$filter`, `$select`, `$search`, `$orderby`, `$top`, `$count` and paging.

Page sizes, header rules and messages: Graph, "Advanced query capabilities on Microsoft Entra ID objects" and the list
pages of the v1.0 reference.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from jitkit.rehearsal.directory import Body
from jitkit.rehearsal.graph.filters import Scope, Where, compile_filter, unsupported
from jitkit.rehearsal.graph.wire import Answer, Call, GraphError

_ADVANCED = (
    "Operator '{}' is not supported because the required parameters might be missing. Try adding $count=true query "
    "parameter and ConsistencyLevel:eventual header. Refer to https://aka.ms/graph-docs/advanced-queries for more "
    "information"
)
_OBJECT_COLUMNS = {"id": "id"}
_OPTIONS = {"$select", "$filter", "$search", "$orderby", "$top", "$count", "$skiptoken", "$deltatoken", "$format"}


@dataclass(frozen=True)
class Collection:
    """What a caller may list.

    Args:
        context: its name in `@odata.context`.
        model: the SDK model of its items.
        where: the SQL condition that holds for each of them.
        parameters: the values of that condition.
        table: the table they are in; every table has `body`.
        columns: properties that are columns of the table.
        extensions: directory extensions the items may carry: full name to data type.
        loose: see `filters.Scope`.
        opaque: see `filters.Scope`.
        top: page size when none is asked for, and at most.
        order: the SQL expression that orders the items when no `$orderby` is given, and whether it goes down.
    """

    context: str
    model: str
    where: str
    parameters: tuple[Any, ...] = ()
    table: str = "objects"
    columns: Mapping[str, str] = field(default_factory=lambda: _OBJECT_COLUMNS)
    extensions: Mapping[str, str] = field(default_factory=dict)
    loose: Mapping[str, str] = field(default_factory=dict)
    opaque: frozenset[str] = frozenset()
    top: tuple[int, int] = (100, 999)
    order: tuple[str, bool] = ("''", False)

    @property
    def scope(self) -> Scope:
        """What a filter over it may speak of."""
        return Scope(self.model, self.columns, self.extensions, self.loose, self.opaque)


View = Callable[[sqlite3.Row], Body]


def of_kind(kind: str, context: str, model: str, *, parent: str | None = None) -> Collection:
    """The objects of one kind that are not in the recycle bin.

    Args:
        kind: the directory's kind, such as `application`.
        context: the collection's name in `@odata.context`.
        model: the SDK model of its items.
        parent: only those inside this object.
    """
    where, parameters = "kind = ? AND deleted IS NULL", (kind,)
    if parent is None:
        return Collection(context, model, where, parameters)
    return Collection(context, model, f"{where} AND parent = ?", (*parameters, parent))


def page(call: Call, items: Collection, view: View) -> Answer:
    """Answer a list request with one page.

    Args:
        call: the request with its query options.
        items: what to list.
        view: a row of the table, to the object as Graph shows it before `$select`.

    Returns:
        `value`, `@odata.context`, and where they apply `@odata.count` and `@odata.nextLink`.
    """
    where = _settled(call, items, _where(call, items))
    top = _top(call, items)
    order, descending = _order(call, items)
    after, after_parameters = _after(call, order, descending)
    direction = "DESC" if descending else "ASC"
    found = call.directory.rows(
        f"SELECT rowid AS _at, {order} AS _key, * FROM {items.table} WHERE ({items.where}) AND ({where.sql}){after}"  # noqa: S608
        f" ORDER BY _key {direction}, rowid {direction} LIMIT ?",
        (*items.parameters, *where.parameters, *after_parameters, top + 1),
    )
    names = selected(call)
    context = items.context + (f"({','.join(names)})" if names else "")
    body: Body = {"@odata.context": call.context(context)}
    if call.advanced:
        body["@odata.count"] = _count(call, items, where)
    if len(found) > top:
        body["@odata.nextLink"] = _next_link(call, found[top - 1])
    body["value"] = [select(view(row), names) for row in found[:top]]
    return Answer(200, body)


def one(call: Call, context: str, body: Body, names: list[str]) -> Answer:
    """Answer with one object, narrowed to `$select`.

    Args:
        call: the request.
        context: the collection it belongs to, for `@odata.context`.
        body: the whole object.
        names: the property names of `$select`.
    """
    return call.entity(200, context + (f"({','.join(names)})" if names else ""), select(body, names))


def body_of(row: sqlite3.Row) -> Body:
    """Read the JSON of a row of any table."""
    body: Body = json.loads(row["body"])
    return body


def count(call: Call, items: Collection) -> Answer:
    """Answer `/$count` with a bare number; the header `ConsistencyLevel: eventual` is required."""
    if not call.eventual:
        raise GraphError(400, "Request_BadRequest", "$count is not currently supported.")
    return Answer(200, text=str(_count(call, items, _settled(call, items, _where(call, items, counting=True)))))


def check_options(query: Mapping[str, str]) -> None:
    """Refuse what no list here obeys: an option that is passed over in silence looks as if it had been heeded.

    Args:
        query: the query options.
    """
    if "$skip" in query:  # [observed]
        raise GraphError(400, "Request_BadRequest", "'$skip' is not supported by the service.")
    for name in sorted(query):
        if name.startswith("$") and name not in _OPTIONS:
            raise GraphError(501, "NotImplemented", f"not simulated: the query option {name}")


def selected(call: Call) -> list[str]:
    """The property names of `$select`; empty when there is none."""
    return [name.strip() for name in call.query.get("$select", "").split(",") if name.strip()]


def select(body: Body, names: list[str]) -> Body:
    """Keep the named properties; annotations and, as live, nothing that was not asked for."""
    if not names or "*" in names:
        return body
    wanted = {name.lower() for name in names}
    return {name: value for name, value in body.items() if name.startswith("@") or name.lower() in wanted}


def check_select(call: Call, items: Collection) -> list[str]:
    """Return the names of `$select`. Raises GraphError for one that the type does not have."""
    from jitkit.rehearsal.graph import schema

    names = selected(call)
    for name in names:
        known = name in items.columns or name == "*" or name.startswith("extension_")
        if not known and schema.property_type(items.model, name) is None:
            raise GraphError(
                400,
                "BadRequest",
                f"Parsing OData Select and Expand failed: Could not find a property named '{name}' on type "
                f"'{schema.type_name(schema.model_class(items.model))}'.",
            )
    return names


def _settled(call: Call, items: Collection, where: Where) -> Where:
    """Leave out what is too new to be seen; a log has nothing that is made and then read back."""
    if items.table == "log":
        return where
    return Where(f"({where.sql}) AND created <= ?", [*where.parameters, call.settled])


def _where(call: Call, items: Collection, *, counting: bool = False) -> Where:
    found = Where("1", [])
    if text := call.query.get("$filter"):
        found = compile_filter(text, items.scope)
        advanced = call.advanced or (counting and call.eventual)
        if found.advanced == "NotEqualsMatch" and not advanced:
            raise unsupported("Filter operator 'NotEqualsMatch' is not supported.")
        if found.advanced and not advanced:
            raise unsupported(_ADVANCED.format(found.advanced))
    if text := call.query.get("$search"):
        if not call.eventual:
            raise unsupported(
                "Request with $search query parameter only works through MSGraph with a special request header: "
                "'ConsistencyLevel: eventual'"
            )
        search = _search(text, items)
        return Where(f"({found.sql}) AND ({search.sql})", [*found.parameters, *search.parameters])
    return found


def _search(text: str, items: Collection) -> Where:
    """`"displayName:wa" OR "displayName:ad"`: each clause matches the beginning of a word."""
    parts = re.split(r"\s+(AND|OR)\s+", text.strip())
    sql, parameters = "", []
    for part in parts:
        if part in {"AND", "OR"}:
            sql += f" {part} "
            continue
        clause = re.fullmatch(r'"(\w+):(.+)"', part)
        if not clause:
            raise GraphError(400, "BadRequest", f"Syntax error: {text} is not a valid $search.")
        expression = _expression(items, clause[1])
        sql += f"has_word(coalesce({expression}, ''), ?)"
        parameters.append(clause[2])
    return Where(sql, parameters)


def _count(call: Call, items: Collection, where: Where) -> int:
    found = call.directory.rows(
        f"SELECT count(*) AS n FROM {items.table} WHERE ({items.where}) AND ({where.sql})",  # noqa: S608
        (*items.parameters, *where.parameters),
    )
    return int(found[0]["n"])


def _top(call: Call, items: Collection) -> int:
    default, most = items.top
    text = call.query.get("$top")
    if text is None:
        return default
    if not text.isdigit() or not 1 <= int(text) <= most:
        raise unsupported(f"Invalid page size specified: '{text}'. Must be between 1 and {most} inclusive.")
    return int(text)


def _order(call: Call, items: Collection) -> tuple[str, bool]:
    text = call.query.get("$orderby", "").strip()
    if not text:
        return items.order
    name, _, direction = text.partition(" ")
    if not re.fullmatch(r"\w+", name) or direction.strip().lower() not in {"", "asc", "desc"}:
        raise unsupported(f"Unsupported sort property '{text}'.")
    if call.query.get("$filter") and not call.eventual:
        raise unsupported("Sorting not supported for current query.")
    expression = _expression(items, name)
    return f"lower(coalesce({expression}, ''))", direction.strip().lower() == "desc"


def _expression(items: Collection, name: str) -> str:
    """The SQL for a property that `$orderby` or `$search` names."""
    if name in items.columns:
        return items.columns[name]
    from jitkit.rehearsal.graph import schema

    if schema.property_type(items.model, name) is None:
        raise unsupported(f"Unsupported property '{name}'.")
    return f"""json_extract(body, '$."{name}"')"""


def _after(call: Call, order: str, descending: bool) -> tuple[str, tuple[Any, ...]]:
    token = call.query.get("$skiptoken")
    if not token:
        return "", ()
    try:
        key, at = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    except (ValueError, binascii.Error, TypeError) as error:
        raise GraphError(400, "Directory_ExpiredPageToken", "The specified page token value has expired.") from error
    return f" AND ({order}, rowid) {'<' if descending else '>'} (?, ?)", (key, at)


def _next_link(call: Call, last: sqlite3.Row) -> str:
    token = base64.urlsafe_b64encode(json.dumps([last["_key"], last["_at"]]).encode()).decode().rstrip("=")
    query = {**call.query, "$skiptoken": token}
    return f"{call.base}/{call.version}{call.path}?{urlencode(query, safe='$,()/:')}"

"""The query options of a Graph collection: `$filter`, `$select`, `$search`, `$orderby`, `$top`, `$count` and paging.

A `$filter` becomes SQL over the directory's JSON. Page sizes, header rules, messages, and which operators need advanced
query capabilities: Graph, "Advanced query capabilities on Microsoft Entra ID objects" and the list pages of the v1.0
reference. Grammar: OData 4.01 URL conventions, the part that Microsoft Graph documents for directory objects.
"""

from __future__ import annotations

import base64
import json
import re
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlencode

from jitkit.rehearsal.directory import Body
from jitkit.rehearsal.graph import schema
from jitkit.rehearsal.graph.wire import Answer, Call, GraphError, refusal

_OPTIONS: Final = {"$select", "$filter", "$search", "$orderby", "$top", "$count", "$skiptoken", "$format"}
_TOKEN: Final = re.compile(
    r"\s*(?:(?P<string>'(?:[^']|'')*')"
    r"|(?P<guid>[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})"
    r"|(?P<date>\d{4}-\d\d-\d\d(?:T[0-9:.]+(?:Z|[+-]\d\d:\d\d))?)"
    r"|(?P<number>-?\d+)"
    r"|(?P<name>[A-Za-z_$][\w.]*)"
    r"|(?P<sign>[()/:,]))"
)
ID_COLUMN: Final = {"id": "id"}
_COMPARE: Final = {"eq": "=", "ne": "<>", "gt": ">", "ge": ">=", "lt": "<", "le": "<="}


@dataclass(frozen=True)
class Collection:
    """What a caller may list."""

    context: str  # its name in `@odata.context`
    model: str  # the SDK model of its items
    where: str  # the SQL condition that holds for each of them
    parameters: tuple[Any, ...]  # the values of that condition
    table: str = "objects"  # the table they are in; every table has `body`
    columns: Mapping[str, str] = field(default_factory=lambda: ID_COLUMN)  # properties that are not in its JSON
    extensions: Mapping[str, str] = field(default_factory=dict)  # that items may carry: full name to data type
    # `collection/member` names whose value matches whatever is asked, with the SQL condition under which.
    loose: Mapping[str, str] = field(default_factory=dict)
    opaque: frozenset[str] = frozenset()  # properties that can be read and not filtered
    unknown: frozenset[str] = frozenset()  # properties of which this tenant cannot say anything
    usual: Body = field(default_factory=dict)  # values that items have without storing them
    top: tuple[int, int] = (100, 999)  # page size when none is asked for, and at most
    order: tuple[str, bool] = ("''", False)  # the SQL that orders the items without `$orderby`, and whether downwards


@dataclass
class Where:
    """An SQL condition, its values, and the operator that needs advanced query capabilities, if any."""

    sql: str
    parameters: list[Any]
    advanced: str | None = None


def page(call: Call, items: Collection, view: Callable[[sqlite3.Row], Body]) -> Answer:
    """Answer a list request with one page; `view` makes a row of the table the object as Graph shows it."""
    names = [property_named(items, name) for name in call.selected]
    where = _where(call, items)
    top = _top(call, items)
    order, descending = _order(call, items)
    after, after_parameters = _after(call, order, descending)
    direction = "DESC" if descending else "ASC"
    found = call.directory.rows(
        f"SELECT rowid AS _at, {order} AS _key, * FROM {items.table} WHERE ({items.where}) AND ({where.sql}){after}"  # noqa: S608
        f" ORDER BY _key {direction}, rowid {direction} LIMIT ?",
        (*items.parameters, *where.parameters, *after_parameters, top + 1),
    )
    body: Body = {"@odata.context": call.context(items.context + _narrowed(names))}
    if call.advanced:
        body["@odata.count"] = _count(call, items, where)
    if len(found) > top:
        body["@odata.nextLink"] = _next_link(call, found[top - 1])
    body["value"] = [_select(view(row), names, items) for row in found[:top]]
    return Answer(200, body)


def one(call: Call, context: str, items: Collection, body: Body) -> Answer:
    """Answer with one object of a collection, narrowed to `$select`."""
    names = [property_named(items, name) for name in call.selected]
    return call.entity(200, context + _narrowed(names), _select(body, names, items))


def count(call: Call, items: Collection) -> Answer:
    """Answer `/$count` with a bare number; the header `ConsistencyLevel: eventual` is required."""
    if not call.eventual:
        raise refusal("count-unsupported")
    return Answer(200, text=str(_count(call, items, _where(call, items, counting=True))))


def check_options(query: Mapping[str, str]) -> None:
    """Refuse unknown query options instead of ignoring them."""
    if "$skip" in query:  # [observed]
        raise refusal("skip-unsupported")
    for name in sorted(query):
        if name.startswith("$") and name not in _OPTIONS:
            raise refusal("not-simulated", what=f"the query option {name}")


def check_select(call: Call, items: Collection) -> None:
    """Refuse a `$select` that names a property the type does not have."""
    for name in (property_named(items, name) for name in call.selected):
        known = name in items.columns or name == "*" or name.startswith("extension_")
        if not known and schema.property_type(items.model, name) is None:
            raise refusal("select-property", name=name, type=schema.type_name(schema.model_class(items.model)))


def property_named(items: Collection, text: str) -> str:
    """Find the property that a query names, in any case; refuse one that this tenant cannot answer for."""
    own = (*items.columns, *items.extensions, *items.usual, *items.unknown)
    name = {**schema.property_names(items.model), **{each.lower(): each for each in own}}.get(text.lower(), text)
    if name in items.unknown or schema.is_link(items.model, name):
        raise refusal("not-simulated", what=f"the property {name} in a query")
    return name


def _narrowed(names: list[str]) -> str:
    """What `$select` adds to `@odata.context`."""
    return f"({','.join(names)})" if names else ""


def _select(body: Body, names: list[str], items: Collection) -> Body:
    """Keep the named properties and the annotations; a declared property without a value is null, or empty."""
    if not names or "*" in names:
        return body
    kept = {name: value for name, value in body.items() if name.startswith("@") or name in names}
    types = {name: schema.property_type(items.model, name) for name in names if name not in kept}
    return {**kept, **{name: [] if type == "Collection" else None for name, type in types.items() if type}}


def _where(call: Call, items: Collection, *, counting: bool = False) -> Where:
    """The condition of `$filter` and `$search`."""
    found = Where("1", [])
    if text := call.query.get("$filter"):
        found = _Filter(text, items).compile()
        advanced = call.advanced or (counting and call.eventual)
        if found.advanced == "NotEqualsMatch" and not advanced:
            raise refusal("filter-ne")
        if found.advanced and not advanced:
            raise refusal("advanced-query", operator=found.advanced)
    if text := call.query.get("$search"):
        if not call.eventual:
            raise refusal("search-header")
        search = _search(text, items)
        found = Where(f"({found.sql}) AND ({search.sql})", [*found.parameters, *search.parameters])
    return found


def _search(text: str, items: Collection) -> Where:
    """Compile `"displayName:wa" OR "displayName:ad"`: each clause matches the beginning of a word."""
    sql, parameters = "", []
    for part in re.split(r"\s+(AND|OR)\s+", text.strip()):
        if part in {"AND", "OR"}:
            sql += f" {part} "
            continue
        clause = re.fullmatch(r'"(\w+):(.+)"', part)
        if not clause:
            raise refusal("search-syntax", text=text)
        sql += f"has_word(coalesce({_expression(items, clause[1])}, ''), ?)"
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
        raise refusal("page-size", text=text, most=most)
    return int(text)


def _order(call: Call, items: Collection) -> tuple[str, bool]:
    text = call.query.get("$orderby", "").strip()
    if not text:
        return items.order
    name, _, direction = text.partition(" ")
    name = property_named(items, name)
    if not re.fullmatch(r"\w+", name) or direction.strip().lower() not in {"", "asc", "desc"}:
        raise refusal("sort-property", text=text)
    if call.query.get("$filter") and not call.eventual:
        raise refusal("sort-with-filter")
    return f"lower(coalesce({_expression(items, name)}, ''))", direction.strip().lower() == "desc"


def _expression(items: Collection, name: str) -> str:
    """The SQL for a property that `$orderby` or `$search` names."""
    name = property_named(items, name)
    if name in items.columns:
        return items.columns[name]
    if schema.property_type(items.model, name) is None:
        raise refusal("property-unsupported", name=name)
    return _member(_source(items, name), [name])


def _source(items: Collection, name: str) -> str:
    """The SQL for the JSON that holds a property: the stored one, or that laid over the usual values."""
    if name not in items.usual:
        return "body"
    usual = json.dumps(items.usual).replace("'", "''")
    return f"json_patch('{usual}', body)"


def _member(source: str, names: list[str]) -> str:
    """The SQL for a member of a JSON value, or for the value itself when no names follow."""
    return f"""json_extract({source}, '$."{'"."'.join(names)}"')""" if names else source


def _after(call: Call, order: str, descending: bool) -> tuple[str, tuple[Any, ...]]:
    token = call.query.get("$skiptoken")
    if not token:
        return "", ()
    try:
        key, at = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    except (ValueError, TypeError) as error:
        raise refusal("page-token") from error
    return f" AND ({order}, rowid) {'<' if descending else '>'} (?, ?)", (key, at)


def _next_link(call: Call, last: sqlite3.Row) -> str:
    token = base64.urlsafe_b64encode(json.dumps([last["_key"], last["_at"]]).encode()).decode().rstrip("=")
    query = {**call.query, "$skiptoken": token}
    return f"{call.base}/{call.version}{call.path}?{urlencode(query, safe='$,()/:')}"


# --- $filter -----------------------------------------------------------------------------------------------------


class _Moment(str):
    """A date literal, in UTC."""

    __slots__ = ()


# Declared type -> the literals it can be compared with; then the type of each literal, where a bool is an int as well
# and a moment a text.
_FITTING: Final = {"Boolean": bool, "DateTimeOffset": _Moment, "DateTime": _Moment, "String": str}
_LITERALS: Final = ((bool, "Boolean"), (int, "Int32"), (_Moment, "DateTimeOffset"), (str, "String"))


class _Filter:
    """Compiles one `$filter` by recursive descent."""

    def __init__(self, text: str, items: Collection) -> None:
        self._text, self._items = text, items
        self._tokens = self._tokenise(text.rstrip())
        self._at = 0
        self._parameters: list[Any] = []
        self._advanced: str | None = None
        self._variables: dict[str, tuple[str, str]] = {}
        self._source = ""

    def compile(self) -> Where:
        sql = self._or()
        if self._at < len(self._tokens):
            raise self._invalid()
        return Where(sql, self._parameters, self._advanced)

    def _tokenise(self, text: str) -> list[tuple[str, str]]:
        tokens, at = [], 0
        while at < len(text):
            found = _TOKEN.match(text, at)
            if not found:
                raise self._invalid()
            tokens.append((str(found.lastgroup), found[found.lastgroup or 0]))
            at = found.end()
        return tokens

    def _invalid(self) -> GraphError:
        return refusal("filter-syntax", text=self._text)

    def _peek(self, offset: int = 0) -> tuple[str, str]:
        at = self._at + offset
        return self._tokens[at] if at < len(self._tokens) else ("end", "")

    def _take(self, *expected: str) -> str:
        kind, text = self._peek()
        if kind == "end" or (expected and text not in expected and kind not in expected):
            raise self._invalid()
        self._at += 1
        return text

    def _skip(self, text: str) -> bool:
        """Step over a text when it comes next."""
        found = self._peek()[1] == text
        self._at += found
        return found

    def _or(self) -> str:
        return self._joined("or", lambda: self._joined("and", self._unary))

    def _joined(self, word: str, term: Callable[[], str]) -> str:
        terms = [term()]
        while self._skip(word):
            terms.append(term())
        return terms[0] if len(terms) == 1 else f"({f' {word.upper()} '.join(terms)})"

    def _unary(self) -> str:
        if self._skip("not"):
            self._advanced = self._advanced or "not"
            return f"NOT coalesce({self._unary()}, 0)"
        if self._skip("("):
            inner = self._or()
            self._take(")")
            return f"({inner})"
        is_call = self._peek()[0] == "name" and self._peek(1)[1] == "("
        return self._function() if is_call else self._comparison()

    def _function(self) -> str:
        name = self._take("name")
        if name.lower() == "isof":
            return self._is_of()
        if name.lower() not in {"startswith", "endswith"}:
            raise refusal("filter-function", name=name)
        self._take("(")
        expression, _ = self._path()
        self._take(",")
        value = self._literal()
        self._take(")")
        if not isinstance(value, str):
            raise self._invalid()
        if name.lower() == "endswith":
            self._advanced = self._advanced or "endsWith"
        escaped = re.sub(r"([\\%_])", r"\\\1", value)
        self._parameters.append(f"{escaped}%" if name.lower() == "startswith" else f"%{escaped}")
        return f"{expression} LIKE ? ESCAPE '\\'"

    def _is_of(self) -> str:
        self._take("(")
        named = self._literal()
        self._take(")")
        if not isinstance(named, str):
            raise self._invalid()
        kind = schema.derived_type(self._items.model, named)
        if kind is None:
            return "1"
        self._parameters.append(kind)
        return """coalesce(json_extract(body, '$."@odata.type"'), '') = ? COLLATE NOCASE"""

    def _comparison(self) -> str:
        expression, name = self._path()
        if expression.startswith("EXISTS"):
            return expression
        operator = self._take("name")
        if operator == "in":
            return self._in(expression)
        if operator not in _COMPARE:
            raise self._invalid()
        value = self._literal()
        self._check_types(name, value, operator)
        if operator == "ne":
            self._advanced = self._advanced or "NotEqualsMatch"
        if value is None and operator not in ("eq", "ne"):
            raise self._invalid()
        if value is None:
            return f"{expression} IS {'NOT ' if operator == 'ne' else ''}NULL"
        if isinstance(value, _Moment):
            # As text, 10:00:00.5Z would come before 10:00:00Z.
            expression, placeholder = f"julianday({expression})", "julianday(?)"
        else:
            placeholder = "? COLLATE NOCASE"
        self._parameters.append(value)
        if operator == "ne":
            return f"({expression} IS NULL OR {expression} <> {placeholder})"
        compared = f"{expression} {_COMPARE[operator]} {placeholder}"
        loose = self._items.loose.get(name)
        return f"({loose.format(self._source)} OR {compared})" if loose else compared

    def _in(self, expression: str) -> str:
        self._take("(")
        values = [self._literal()]
        while self._skip(","):
            values.append(self._literal())
        self._take(")")
        self._parameters.extend(values)
        return f"{expression} COLLATE NOCASE IN ({', '.join('?' * len(values))})"

    def _literal(self) -> Any:
        kind, text = self._peek()
        self._at += 1
        if kind == "string":
            return text[1:-1].replace("''", "'")
        if kind == "guid":
            return text
        if kind == "number":
            return int(text)
        if kind == "date":
            try:
                read = datetime.fromisoformat(text)
            except ValueError:
                raise self._invalid() from None
            read = read.astimezone(UTC) if read.tzinfo else read.replace(tzinfo=UTC)
            return _Moment(read.isoformat(timespec="milliseconds").replace("+00:00", "Z"))
        if kind == "name" and text in {"true", "false", "null"}:
            return {"true": True, "false": False, "null": None}[text]
        raise self._invalid()

    def _path(self) -> tuple[str, str]:
        """Read a property path; return its SQL and its name."""
        names = [self._take("name")]
        while self._skip("/"):
            if self._peek()[1] == "any" and self._peek(1)[1] == "(":
                return self._any(_without_casts(names)), ""
            names.append(self._take("name"))
        names = _without_casts(names)
        if not names:
            raise self._invalid()
        if names[-1] == "$count":
            self._advanced = self._advanced or "$count"
            return f"json_array_length(coalesce({self._property(names[:-1])}, '[]'))", ""
        if names[0] in self._variables:
            self._source, collection = self._variables[names[0]]
            return _member(self._source, names[1:]), "/".join([collection, *names[1:]])
        return self._property(names), "/".join(names)

    def _property(self, names: list[str]) -> str:
        items = self._items
        names[0] = property_named(items, names[0])
        if names[0] not in items.usual and names[0] not in items.columns and names[0] not in items.extensions:
            if names[0].startswith("extension_"):
                raise refusal("filter-extension", name=names[0])
            # A type cast leads to a property of a derived type, which the base model does not list.
            if "microsoft.graph." not in self._text and schema.property_type(items.model, names[0]) is None:
                raise refusal("filter-property", name=names[0])
        if names[0] in items.opaque:
            raise refusal("filter-opaque", name=names[0], model=items.model)
        if len(names) == 1 and names[0] in items.columns:
            return items.columns[names[0]]
        return _member(_source(items, names[0]), names)

    def _any(self, names: list[str]) -> str:
        self._take("any")
        self._take("(")
        variable = self._take("name")
        self._take(":")
        alias = f"e{len(self._variables)}"
        self._property(names)
        self._variables[variable] = (f"{alias}.value", "/".join(names))
        inner = self._or()
        self._take(")")
        path = '"."'.join(names)
        source = _source(self._items, names[0])
        return f"""EXISTS (SELECT 1 FROM json_each({source}, '$."{path}"') {alias} WHERE {inner})"""  # noqa: S608

    def _check_types(self, name: str, value: Any, operator: str) -> None:
        """Refuse a literal of another type than the property's; a type that is not known takes everything."""
        if value is None or "/" in name or not name:
            return
        declared = self._items.extensions.get(name) or schema.property_type(self._items.model, name)
        fitting = _FITTING.get(declared or "")
        if fitting and not isinstance(value, fitting):
            kind = next(kind for base, kind in _LITERALS if isinstance(value, base))
            raise refusal("filter-types", declared=declared, given=kind, operator=operator)


def _without_casts(names: list[str]) -> list[str]:
    return [name for name in names if not name.startswith("microsoft.graph.")]

"""Turn an OData `$filter` into SQL over the directory's JSON.

Grammar: OData 4.01 URL conventions, the part that Microsoft Graph documents for directory objects. Which operators need
advanced query capabilities: Graph, "Advanced query capabilities on Microsoft Entra ID objects".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from jitkit.rehearsal.graph.filter_literals import Moment, moment, require_type
from jitkit.rehearsal.graph.wire import GraphError

_TOKEN = re.compile(
    r"\s*(?:(?P<string>'(?:[^']|'')*')"
    r"|(?P<guid>[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})"
    r"|(?P<date>\d{4}-\d\d-\d\d(?:T[0-9:.]+(?:Z|[+-]\d\d:\d\d))?)"
    r"|(?P<number>-?\d+)"
    r"|(?P<name>[A-Za-z_$][\w.]*)"
    r"|(?P<sign>[()/:,]))"
)
_COMPARE = {"eq": "=", "ne": "<>", "gt": ">", "ge": ">=", "lt": "<", "le": "<="}


@dataclass(frozen=True)
class Scope:
    """What a `$filter` may speak of.

    Args:
        model: the SDK model whose properties are known.
        columns: properties that are columns of the table rather than members of its JSON.
        extensions: directory extensions: full name to data type.
        loose: `collection/member` names whose value matches whatever is asked, with the SQL condition under which.
        opaque: properties that can be read and not filtered.
    """

    model: str
    columns: Mapping[str, str]
    extensions: Mapping[str, str] = field(default_factory=dict)
    loose: Mapping[str, str] = field(default_factory=dict)
    opaque: frozenset[str] = frozenset()


@dataclass
class Where:
    """The SQL condition, its values, and whether it needs advanced query capabilities."""

    sql: str
    parameters: list[Any]
    advanced: str | None = None


def unsupported(message: str) -> GraphError:
    """The refusal of a query option."""
    return GraphError(400, "Request_UnsupportedQuery", message)


def compile_filter(text: str, scope: Scope) -> Where:
    """Compile a `$filter`.

    Args:
        text: its value, decoded.
        scope: what it may speak of.

    Raises:
        GraphError: 400, when it cannot be read or asks for what the service does not support.
    """
    return _Compiler(text, scope).compile()


class _Compiler:
    def __init__(self, text: str, scope: Scope) -> None:
        self._text, self._scope = text, scope
        self._tokens = self._tokenise(text)
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
        text = text.rstrip()
        while at < len(text):
            found = _TOKEN.match(text, at)
            if not found:
                raise self._invalid()
            tokens.append((str(found.lastgroup), found[found.lastgroup or 0]))
            at = found.end()
        return tokens

    def _invalid(self) -> GraphError:
        return GraphError(400, "BadRequest", f"Invalid filter clause: syntax error in '{self._text}'.")

    def _peek(self, offset: int = 0) -> tuple[str, str]:
        at = self._at + offset
        return self._tokens[at] if at < len(self._tokens) else ("end", "")

    def _take(self, *expected: str) -> str:
        kind, text = self._peek()
        if kind == "end" or (expected and text not in expected and kind not in expected):
            raise self._invalid()
        self._at += 1
        return text

    def _or(self) -> str:
        terms = [self._and()]
        while self._peek() == ("name", "or"):
            self._at += 1
            terms.append(self._and())
        return terms[0] if len(terms) == 1 else f"({' OR '.join(terms)})"

    def _and(self) -> str:
        terms = [self._unary()]
        while self._peek() == ("name", "and"):
            self._at += 1
            terms.append(self._unary())
        return terms[0] if len(terms) == 1 else f"({' AND '.join(terms)})"

    def _unary(self) -> str:
        kind, text = self._peek()
        if (kind, text) == ("name", "not"):
            self._at += 1
            self._advanced = self._advanced or "not"
            return f"NOT coalesce({self._unary()}, 0)"
        if text == "(" and kind == "sign":
            self._at += 1
            inner = self._or()
            self._take(")")
            return f"({inner})"
        if kind == "name" and self._peek(1)[1] == "(":
            return self._function()
        return self._comparison()

    def _function(self) -> str:
        name = self._take("name")
        if name.lower() not in {"startswith", "endswith"}:
            raise unsupported(f"Unsupported or invalid query filter clause specified: '{name}' is not supported.")
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
        if isinstance(value, Moment):
            # As text, 10:00:00.5Z would come before 10:00:00Z.
            expression, placeholder = f"julianday({expression})", "julianday(?)"
        else:
            placeholder = "? COLLATE NOCASE"
        self._parameters.append(value)
        if operator == "ne":
            return f"({expression} IS NULL OR {expression} <> {placeholder})"
        compared = f"{expression} {_COMPARE[operator]} {placeholder}"
        loose = self._scope.loose.get(name)
        return f"({loose.format(self._source)} OR {compared})" if loose else compared

    def _in(self, expression: str) -> str:
        self._take("(")
        values = [self._literal()]
        while self._peek()[1] == ",":
            self._at += 1
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
                return moment(text)
            except ValueError:
                raise self._invalid() from None
        if kind == "name" and text in {"true", "false", "null"}:
            return {"true": True, "false": False, "null": None}[text]
        raise self._invalid()

    def _path(self) -> tuple[str, str]:
        names = [self._take("name")]
        while self._peek()[1] == "/":
            self._at += 1
            if self._peek()[1] == "any" and self._peek(1)[1] == "(":
                return self._any(names), ""
            names.append(self._take("name"))
        names = [name for name in names if not name.startswith("microsoft.graph.")]
        if names and names[0] in self._variables:
            self._source, collection = self._variables[names[0]]
            return _member(self._source, names[1:]), "/".join([collection, *names[1:]])
        return self._property(names), names[0] if len(names) == 1 else "/".join(names)

    def _property(self, names: list[str]) -> str:
        known = names[0] in self._scope.columns or names[0] in self._scope.extensions
        if not known and names[0].startswith("extension_"):
            raise unsupported(f"Property '{names[0]}' does not exist as a declared property or extension property.")
        if not known and not self._declared(names[0]):
            raise GraphError(400, "BadRequest", f"Invalid filter clause: Could not find a property named '{names[0]}'.")
        if names[0] in self._scope.opaque:
            raise unsupported(
                f"Unsupported or invalid query filter clause specified for property '{names[0]}' of resource "
                f"'{self._scope.model}'."
            )
        if len(names) == 1 and names[0] in self._scope.columns:
            return self._scope.columns[names[0]]
        return f"""json_extract(body, '$."{'"."'.join(names)}"')"""

    def _declared(self, name: str) -> bool:
        from jitkit.rehearsal.graph import schema

        # A type cast leads to a property of a derived type, which the base model does not list.
        return "microsoft.graph." in self._text or schema.property_type(self._scope.model, name) is not None

    def _any(self, names: list[str]) -> str:
        names = [name for name in names if not name.startswith("microsoft.graph.")]
        self._take("any")
        self._take("(")
        variable = self._take("name")
        self._take(":")
        alias = f"e{len(self._variables)}"
        self._variables[variable] = (f"{alias}.value", "/".join(names))
        self._property(names)
        inner = self._or()
        self._take(")")
        path = '"."'.join(names)
        return f"""EXISTS (SELECT 1 FROM json_each(body, '$."{path}"') {alias} WHERE {inner})"""  # noqa: S608

    def _check_types(self, name: str, value: Any, operator: str) -> None:
        if value is None or "/" in name or not name:
            return
        from jitkit.rehearsal.graph import schema

        declared = self._scope.extensions.get(name) or schema.property_type(self._scope.model, name)
        require_type(value, declared, operator)


def _member(source: str, names: list[str]) -> str:
    """Address a member of a lambda's variable, or the variable itself when it stands for a plain value."""
    return f"""json_extract({source}, '$."{'"."'.join(names)}"')""" if names else source

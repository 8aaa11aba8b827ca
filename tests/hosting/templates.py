"""What a template would deploy: its expressions worked out, from ARM's JSON and from Bicep by the same evaluator.

As much of both languages as the kit's template uses. It knows nothing of Azure: what only a deployment knows, such as
an identity's id, stays as a text that says where it comes from.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

_WORDS: Final = re.compile(r"\s+|//[^\n]*|(?P<text>'(?:\\.|''|[^'\\])*')|(?P<number>\d+)|(?P<name>\w+)|(?P<mark>\S)")
_HOLE: Final = re.compile(r"\$\{([^}]*)\}")
_SUBNET: Final = re.compile(r"(Microsoft\.Network/virtualNetworks)/([\w-]+)\.properties\.subnets\.(\d+)\.id")
_CLOUD: Final = {"suffixes": {"storage": "core.windows.net"}}
_MEMBERS: Final = ("type", "apiVersion", "location", "kind", "sku", "identity", "properties")


class Later(str):
    """A value that only the deployment knows."""


@dataclass
class Deployment:
    """Parameters with their rules, resources by id, and outputs."""

    parameters: dict[str, dict[str, Any]]
    resources: dict[str, dict[str, Any]] = field(default_factory=dict)
    outputs: dict[str, Any] = field(default_factory=dict)


@dataclass
class _Symbol:
    """A resource as Bicep's expressions name it."""

    id: str
    name: str


def resource_id(type_: str, *names: str) -> str:
    """Name a resource of the template's resource group."""
    return "/".join((type_, *names))


def _get(value: Any, key: Any) -> Any:
    match value:
        case _Symbol():
            return value.id if key == "id" else Later(f"{value.id}.{key}")
        case Later():
            return Later(f"{value}.{key}")
        case _:
            return value[key]


def _format(text: str, *values: Any) -> str:
    return re.sub(r"\{(\d)\}", lambda hole: str(values[int(hole[1])]), text)


_FUNCTIONS: Final[dict[str, Callable[..., Any]]] = {
    "concat": lambda *parts: "".join(parts),
    "empty": lambda value: not value,
    "environment": lambda: _CLOUD,
    "format": _format,
    "guid": lambda *parts: f"guid of {' and '.join(parts)}",
    "if": lambda condition, yes, no: yes if condition else no,
    "length": len,
    "replace": lambda text, old, new: text.replace(old, new),
    "resourceGroup": lambda: {"id": "group", "location": "westeurope"},
    "resourceId": resource_id,
    "reference": lambda id_, _, full="": Later(id_ if full else f"{id_}.properties"),
    "string": lambda value: json.dumps(value, ensure_ascii=False),
    "subscription": lambda: {"tenantId": "11111111-1111-1111-1111-111111111111"},
    "subscriptionResourceId": lambda *parts: f"/subscription/{resource_id(*parts)}",
    "take": lambda text, count: text[:count],
    "uniqueString": lambda _: "abcdefghijklm",
}


class _Reader:
    """Reads expressions, and statements of Bicep, into tuples."""

    def __init__(self, text: str) -> None:
        found = _WORDS.finditer(text)
        self._words = [(each.lastgroup, each[0]) for each in found if each.lastgroup]
        self._at = 0

    def peek(self) -> str:
        return self._words[self._at][1] if self._at < len(self._words) else ""

    def next(self, expected: str = "") -> str:
        word = self.peek()
        assert word and (not expected or word == expected), f"{word!r} where {expected or 'more'!r} is needed"
        self._at += 1
        return word

    def skip(self, word: str) -> bool:
        if found := self.peek() == word:
            self._at += 1
        return found

    def expression(self) -> Any:
        value = self._simple()
        if self.skip("?"):
            yes = self.expression()
            self.next(":")
            return "call", "if", [value, yes, self.expression()]
        return value

    def _simple(self) -> Any:
        kind, word = self._words[self._at]
        self._at += 1
        value: Any
        match kind, word:
            case "text", _:
                value = _text(word)
            case "number", _:
                value = "is", int(word)
            case "mark", "{":
                value = self._object()
            case "mark", "[":
                value = self._list()
            case "name", _ if self.skip("("):
                value = "call", word, self._arguments(")")
            case "name", ("true" | "false"):
                value = "is", word == "true"
            case "name", _:
                value = "name", word
            case _:
                raise AssertionError(word)
        while self.peek() in (".", "["):
            if self.next() == ".":
                value = "get", value, ("is", self.next())
            else:
                value = "get", value, self.expression()
                self.next("]")
        return value

    def _arguments(self, end: str) -> list[Any]:
        found = []
        while not self.skip(end):
            found.append(self.expression())
            self.skip(",")
        return found

    def _object(self) -> Any:
        members = {}
        while not self.skip("}"):
            name = self.next().strip("'")
            self.next(":")
            members[name] = self.expression()
            self.skip(",")
        return "object", members

    def _list(self) -> Any:
        if not self.skip("for"):
            return "list", self._arguments("]")
        each = self.next()
        self.next("in")
        source = self.expression()
        self.next(":")
        body = self.expression()
        self.next("]")
        return "for", each, source, body


def _text(word: str) -> Any:
    """Read a quoted text of either language: Bicep fills holes, and JSON doubles a quote."""
    text = word[1:-1].replace("''", "'").replace("\\'", "'")
    if "${" not in text:
        return "is", text
    parts = [
        ("is", part) if number % 2 == 0 else _Reader(part).expression() for number, part in enumerate(_HOLE.split(text))
    ]
    return "join", parts


def _value(tree: Any, names: Mapping[str, Any], functions: Mapping[str, Callable[..., Any]]) -> Any:
    def of(part: Any) -> Any:
        return _value(part, names, functions)

    match tree:
        case "is", value:
            return value
        case "name", name:
            value = names[name]
            return value() if callable(value) else value
        case "join", parts:
            return "".join(str(of(part)) for part in parts)
        case "get", value, key:
            return _get(of(value), of(key))
        case "call", name, arguments:
            return functions[name](*map(of, arguments))
        case "object", members:
            return {name: of(member) for name, member in members.items()}
        case "list", items:
            return [of(item) for item in items]
        case "for", each, source, body:
            return [_value(body, {**names, each: item}, functions) for item in of(source)]
    raise AssertionError(tree)


# ---------------------------------------------------------------------------------------------------------------- JSON


def from_json(path: Path, given: Mapping[str, Any]) -> Deployment:
    """Work out an ARM template in JSON with values for its parameters."""
    template = json.loads(path.read_text(encoding="utf-8"))
    parameters = template["parameters"]
    done = Deployment({name: _rules(rules) for name, rules in parameters.items()})
    index: list[int] = []

    def parameter(name: str) -> Any:
        return given[name] if name in given else resolved(parameters[name]["defaultValue"])

    functions = _FUNCTIONS | {
        "parameters": parameter,
        "variables": lambda name: resolved(template["variables"][name]),
        "copyIndex": lambda *_: index[-1],
    }

    def resolved(value: Any) -> Any:
        match value:
            case str() if value.startswith("[") and value.endswith("]"):
                return _value(_Reader(value[1:-1]).expression(), {}, functions)
            case list():
                return [resolved(each) for each in value]
            case dict():
                lists = {each["name"]: repeated(each, each["input"]) for each in value.get("copy", [])}
                return {name: resolved(each) for name, each in value.items() if name != "copy"} | lists
        return value

    def repeated(copy: dict[str, Any], what: Any) -> list[Any]:
        found = []
        for number in range(resolved(copy["count"])):
            index.append(number)
            found.append(resolved(what))
            index.pop()
        return found

    for resource in template["resources"]:
        copy = resource.get("copy")
        bare = {name: value for name, value in resource.items() if name != "copy"}
        for each in repeated(copy, bare) if copy else [resolved(bare)]:
            id_ = resource_id(each["type"], *each["name"].split("/"))
            if each["type"] in ("Microsoft.Authorization/roleAssignments", "Microsoft.Insights/diagnosticSettings"):
                id_ = f"{each['scope']}/{id_}"
            assert id_ not in done.resources, id_
            done.resources[id_] = each
    done.outputs = {name: resolved(each["value"]) for name, each in template["outputs"].items()}
    return done


def _rules(rules: dict[str, Any]) -> dict[str, Any]:
    found = {name: value for name, value in rules.items() if name != "metadata"}
    default = found.get("defaultValue")
    if isinstance(default, str) and default.startswith("["):
        found["defaultValue"] = _value(_Reader(default[1:-1]).expression(), {}, _FUNCTIONS)
    return found | {"description": rules["metadata"]["description"]}


# --------------------------------------------------------------------------------------------------------------- Bicep


def from_bicep(path: Path, given: Mapping[str, Any]) -> Deployment:
    """Work out a template in Bicep with values for its parameters."""
    reader = _Reader(path.read_text(encoding="utf-8"))
    done = Deployment({})
    names: dict[str, Any] = {}
    read_json = {"loadJsonContent": lambda name: json.loads((path.parent / name).read_text(encoding="utf-8"))}
    functions = _FUNCTIONS | read_json
    outputs: dict[str, Any] = {}

    def of(tree: Any, more: Mapping[str, Any] | None = None) -> Any:
        return _value(tree, {**names, **(more or {})}, functions)

    while reader.peek():
        rules: dict[str, Any] = {}
        while reader.skip("@"):
            word = reader.next()
            reader.next("(")
            rules[{"allowed": "allowedValues"}.get(word, word)] = of(reader.expression())
            reader.next(")")
        word, name = reader.next(), reader.next()
        match word:
            case "param":
                rules["type"] = reader.next()
                if reader.skip("="):
                    rules["defaultValue"] = of(reader.expression())
                done.parameters[name] = rules
                names[name] = given[name] if name in given else rules.get("defaultValue")
            case "var":
                reader.next("=")
                names[name] = of(reader.expression())
            case "output":
                reader.next()
                reader.next("=")
                outputs[name] = reader.expression()
            case "resource":
                kind, _, version = reader.next()[1:-1].partition("@")
                reader.next("=")
                names[name] = _declare(done, kind, version, reader.expression(), of)
            case _:
                raise AssertionError(word)
    done.resources = {id_: _with_subnets(each, done.resources) for id_, each in done.resources.items()}
    done.outputs = {name: of(tree) for name, tree in outputs.items()}
    return done


def _declare(done: Deployment, type_: str, version: str, tree: Any, of: Callable[..., Any]) -> Any:
    match tree:
        case "for", each, source, body:
            for item in of(source):
                _add(done, type_, version, of(body, {each: item}))
            return None
    return _add(done, type_, version, of(("object", {k: v for k, v in tree[1].items() if k != "dependsOn"})))


def _add(done: Deployment, type_: str, version: str, body: dict[str, Any]) -> _Symbol:
    parent, scope = body.pop("parent", None), body.pop("scope", None)
    name = f"{parent.name}/{body['name']}" if parent else body["name"]
    id_ = resource_id(type_, *name.split("/"))
    resource = body | {"type": type_, "apiVersion": version, "name": name}
    if scope:
        resource["scope"] = scope.id
        id_ = f"{scope.id}/{id_}"
    assert id_ not in done.resources, id_
    done.resources[id_] = resource
    return _Symbol(id_, name)


def _with_subnets(value: Any, resources: Mapping[str, dict[str, Any]]) -> Any:
    """Name a subnet, which Bicep takes from its network's properties, by its own id."""
    match value:
        case dict():
            return {name: _with_subnets(each, resources) for name, each in value.items()}
        case list():
            return [_with_subnets(each, resources) for each in value]
        case str() if found := _SUBNET.fullmatch(value):
            type_, network, number = found.groups()
            subnet = resources[f"{type_}/{network}"]["properties"]["subnets"][int(number)]
            return resource_id(f"{type_}/subnets", network, subnet["name"])
    return value

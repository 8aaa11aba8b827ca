"""Checks request bodies as strictly as the service does, with the SDK's own generated models.

The models say which properties a type has and what each holds. Other properties are refused, except the few that the
reference documents and the models lack.
"""

from __future__ import annotations

import base64
import importlib
import re
import uuid
from collections.abc import Callable, Mapping
from datetime import date, datetime
from functools import lru_cache
from typing import Any, Final

from jitkit.rehearsal.graph.wire import GraphError, refusal

# In the reference and in its examples, absent from the v1.0 models of msgraph-sdk (Graph v1.0:
# authenticationEventListener, authenticationConditionsApplications, authenticationEventsFlow).
_DOCUMENTED: Final[Mapping[str, Mapping[str, str]]] = {
    "AuthenticationEventListener": {"priority": "get_int_value"},
    "AuthenticationConditionsApplications": {"includeAllApplications": "get_bool_value"},
    "AuthenticationEventsFlow": {"priority": "get_int_value"},
}

# Directory extensions: the data types of `extensionProperty` (Graph v1.0), by JSON type.
_EXTENSION_TYPES: Final[Mapping[str, type]] = {
    "Binary": str,
    "Boolean": bool,
    "DateTime": str,
    "Integer": int,
    "LargeInteger": int,
    "String": str,
}

# How a model reads a plain value from a parse node -> its Edm type, its JSON types, and what can parse it further.
_PLAIN: Final[Mapping[str, tuple[str, tuple[type, ...], Callable[[str], Any] | None]]] = {
    "get_str_value": ("String", (str,), None),
    "get_enum_value": ("String", (str,), None),
    "get_bool_value": ("Boolean", (bool,), None),
    "get_int_value": ("Int32", (int,), None),
    "get_float_value": ("Double", (int, float), None),
    "get_uuid_value": ("Guid", (str,), uuid.UUID),
    "get_datetime_value": ("DateTimeOffset", (str,), datetime.fromisoformat),
    "get_date_value": ("Date", (str,), date.fromisoformat),
    "get_time_value": ("TimeOfDay", (str,), None),
    "get_timedelta_value": ("Duration", (str,), None),
    "get_bytes_value": ("Binary", (str,), lambda text: base64.b64decode(text, validate=True)),
}


def check(model: str, body: Any, *, code: str, extensions: Mapping[str, str] | None = None) -> None:
    """Refuse an unknown property, an unknown type or a value of the wrong type with GraphError 400.

    `model` is the SDK model's class name, such as `Application`, `code` the error code this part of Graph uses, and
    `extensions` names the directory extensions that the object may carry, with their data types.
    """
    try:
        _check_object(body, "", model_class(model), extensions or {})
    except GraphError as error:
        error.code = code if error.status == 400 else error.code
        raise


def model_class(name: str) -> Any:
    """Import an SDK model by its class name. The import is slow (the SDK's), so it happens at the first use."""
    module = re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()
    return getattr(importlib.import_module(f"msgraph.generated.models.{module}"), name)


def property_type(model: str, name: str) -> str | None:
    """Return the type of a property: `Boolean`, `String`, `Collection`, `Complex` …; None for no such property."""
    getter, _ = _properties(model_class(model)).get(name, ("", None))
    if "collection" in getter:
        return "Collection"
    return _PLAIN[getter][0] if getter in _PLAIN else "Complex" if getter else None


@lru_cache(maxsize=64)
def property_names(model: str) -> Mapping[str, str]:
    """List the properties of a model by their small letters: a query may write a name in any case."""
    return {name.lower(): name for name in _properties(model_class(model))}


def is_link(model: str, name: str) -> bool:
    """Return whether a property leads to other objects of the directory, such as `owners`."""
    getter, argument = _properties(model_class(model)).get(name, ("", None))
    return "object_value" in getter and issubclass(argument, model_class("Entity"))


def derived_type(model: str, named: str) -> str | None:
    """Return the type that a query names, as its objects write it; None for the model's own type."""
    base = model_class(model)
    found = _derived(base, named)
    if type_name(found).lower() != named.lower():
        raise refusal("type-unknown", name=named)
    return None if found is base else f"#{type_name(found)}"


def type_name(model: type) -> str:
    """Return the type's name in Graph: `microsoft.graph.user` for `User`."""
    return f"microsoft.graph.{model.__name__[0].lower()}{model.__name__[1:]}"


class _Node:
    """Takes the place of a parse node and notes which of its methods reads a property, with which argument."""

    def __getattr__(self, getter: str) -> Callable[..., None]:
        return lambda argument=None: self.__dict__.update(read_by=(getter, argument))


@lru_cache(maxsize=512)
def _properties(model: Any) -> Mapping[str, tuple[str, Any]]:
    """List a model's JSON properties, each with the method of a parse node that reads it and its argument."""
    found = {n: (getter, None) for base in model.__mro__ for n, getter in _DOCUMENTED.get(base.__name__, {}).items()}
    for name, reader in model().get_field_deserializers().items():
        node = _Node()
        reader(node)
        found[name] = node.__dict__["read_by"]
    return found


@lru_cache(maxsize=512)
def _derived(factory: Any, named: str | None) -> Any:
    """Find the model of an object from its `@odata.type`; Graph's own examples write it with and without the `#`."""
    from kiota_serialization_json.json_parse_node import JsonParseNode

    typed = {} if named is None else {"@odata.type": f"#{named.lstrip('#')}"}
    return type(factory.create_from_discriminator_value(JsonParseNode(typed)))


def _check_object(value: Any, path: str, factory: Any, extensions: Mapping[str, str]) -> None:
    if not isinstance(value, Mapping):
        raise refusal("value-object", path=path)
    if not isinstance(value.get("@odata.type", ""), str):
        raise refusal("type-unreadable")
    named = value.get("@odata.type")
    model = _derived(factory, named)
    if named is not None and named.lstrip("#").lower() != type_name(model).lower():
        raise refusal("type-unknown", name=named.lstrip("#"))
    properties = _properties(model)
    for name, inner in value.items():
        if name.endswith("@odata.bind"):
            raise refusal("not-simulated", what=name)
        if "@odata." in name:
            continue
        inner_path = f"{path}.{name}" if path else name
        if name in properties:
            _check_value(inner, inner_path, *properties[name])
        elif name in extensions:
            _check_plain(inner, inner_path, extensions[name], (_EXTENSION_TYPES[extensions[name]],))
        else:
            raise refusal("unknown-property", name=name, type=type_name(model))


def _check_value(value: Any, path: str, getter: str, argument: Any) -> None:
    """Check a value that a model reads with a method of a parse node; the argument is a model, an enum or a type."""
    if "collection" in getter:
        _check_items(value, path, getter, argument)
    elif getter in _PLAIN:
        _check_plain(value, path, *_PLAIN[getter])
        if getter == "get_enum_value" and value is not None:
            known = {str(member.value).lower() for member in argument}
            if not {part.strip().lower() for part in value.split(",")} <= known:
                raise refusal("value-enum", path=path)
    elif value is not None:
        _check_object(value, path, argument, {})


def _check_items(value: Any, path: str, getter: str, argument: Any) -> None:
    items = [value] if isinstance(value, str) and getter == "get_collection_of_enum_values" else value
    if not isinstance(items, list):
        raise refusal("value-collection", path=path)
    if None in items:
        raise refusal("value-null-item", path=path)
    for item in items:
        if getter == "get_collection_of_primitive_values":
            expected = argument if argument in (bool, int, float) else str
            _check_plain(item, path, argument.__name__ if argument else "String", (expected,))
        else:
            _check_value(item, path, getter.replace("collection_of_", "").removesuffix("s"), argument)


def _check_plain(
    value: Any, path: str, kind: str, types: tuple[type, ...], parse: Callable[[str], Any] | None = None
) -> None:
    fits = value is None or (isinstance(value, types) and not (isinstance(value, bool) and bool not in types))
    try:
        if fits and parse and value is not None:
            parse(value)
    except ValueError:
        fits = False
    if not fits:
        raise refusal("value-type", path=path, type=kind)

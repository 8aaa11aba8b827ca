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

from jitkit.rehearsal.graph.wire import GraphError, not_simulated

# In the reference and in its examples, absent from the v1.0 models of msgraph-sdk (Graph v1.0:
# authenticationEventListener, authenticationConditionsApplications, authenticationEventsFlow).
_DOCUMENTED: Final[Mapping[str, Mapping[str, str]]] = {
    "AuthenticationEventListener": {"priority": "Int32"},
    "AuthenticationConditionsApplications": {"includeAllApplications": "Boolean"},
    "AuthenticationEventsFlow": {"priority": "Int32"},
}

# Directory extensions: the data types of `extensionProperty` (Graph v1.0), by JSON type.
_EXTENSION_TYPES: Final[Mapping[str, type]] = {
    "Binary": str,
    "Boolean": bool,
    "DateTime": str,
    "Int32": int,
    "Integer": int,
    "LargeInteger": int,
    "String": str,
}

# How a model reads a plain value from a parse node -> its Edm type, its JSON types, and what can parse it further.
_GETTERS: Final[Mapping[str, tuple[str, tuple[type, ...], Callable[[str], Any] | None]]] = {
    "get_str_value": ("String", (str,), None),
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


def check(model: str, body: Mapping[str, Any], *, code: str, extensions: Mapping[str, str] | None = None) -> None:
    """Refuse an unknown property, an unknown type or a value of the wrong type with GraphError 400.

    `model` is the SDK model's class name, such as `Application`, `code` the error code this part of Graph uses, and
    `extensions` names the directory extensions that the object may carry, with their data types.
    """
    _Node(body, "", code, extensions or {}).get_object_value(model_class(model))


def model_class(name: str) -> Any:
    """Import an SDK model by its class name. The import is slow (the SDK's), so it happens at the first use."""
    module = re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()
    return getattr(importlib.import_module(f"msgraph.generated.models.{module}"), name)


def property_type(model: str, name: str) -> str | None:
    """Return the type of a property: `Boolean`, `String`, `Collection`, `Complex` …; None for no such property."""
    reader = _fields_of(model_class(model)).get(name)
    if reader is None:
        return None
    probe = _Probe()
    reader(probe)
    return probe.found


def type_name(model: type) -> str:
    """Return the type's name in Graph: `microsoft.graph.user` for `User`."""
    return f"microsoft.graph.{model.__name__[0].lower()}{model.__name__[1:]}"


@lru_cache(maxsize=512)
def _fields_of(model: Any) -> Mapping[str, Callable[[Any], None]]:
    """List a model's JSON properties, each with the function that reads it from a parse node."""
    fields: Mapping[str, Callable[[Any], None]] = model().get_field_deserializers()
    return fields


class _Probe:
    """Takes the place of a parse node and notes which kind of value is asked for."""

    found = "Complex"

    def __getattr__(self, getter: str) -> Callable[..., None]:
        if getter in _GETTERS:
            self.found = _GETTERS[getter][0]
        elif getter == "get_enum_value":
            self.found = "String"
        elif "collection" in getter:
            self.found = "Collection"
        return lambda *_: None


class _Node:
    """A parse node that checks and keeps nothing, so that no secret outlives the request."""

    def __init__(self, value: Any, path: str, code: str, extensions: Mapping[str, str]) -> None:
        self._value, self._path, self._code, self._extensions = value, path, code, extensions

    def __getattr__(self, getter: str) -> Callable[[], None]:
        if getter not in _GETTERS:
            raise AttributeError(getter)
        return lambda: self._expect(*_GETTERS[getter])

    def _refuse(self, message: str) -> GraphError:
        return GraphError(400, self._code, message)

    def _expect(self, kind: str, types: tuple[type, ...], parse: Callable[[str], Any] | None = None) -> None:
        value = self._value
        if value is None:
            return
        fits = isinstance(value, types) and not (isinstance(value, bool) and bool not in types)
        try:
            if fits and parse:
                parse(value)
        except ValueError:
            fits = False
        if not fits:
            raise self._refuse(
                f"Invalid value specified for property '{self._path}': the expected type is 'Edm.{kind}'."
            )

    def get_enum_value(self, enum: Any) -> None:
        self._expect("String", (str,))
        known = {str(member.value).lower() for member in enum}
        if self._value is not None and not {part.strip().lower() for part in self._value.split(",")} <= known:
            raise self._refuse(f"Invalid value specified for property '{self._path}'.")

    def _items(self) -> list[_Node]:
        if not isinstance(self._value, list):
            raise self._refuse(f"Invalid value specified for property '{self._path}': a collection is expected.")
        if None in self._value:
            raise self._refuse(f"Invalid value specified for property '{self._path}': an item is null.")
        return [_Node(item, self._path, self._code, {}) for item in self._value]

    def get_collection_of_object_values(self, factory: Any) -> None:
        for item in self._items():
            item.get_object_value(factory)

    def get_collection_of_enum_values(self, enum: Any) -> None:
        for item in [self] if isinstance(self._value, str) else self._items():
            item.get_enum_value(enum)

    def get_collection_of_primitive_values(self, kind: type | None) -> None:
        expected = kind if kind in (bool, int, float) else str
        for item in self._items():
            item._expect(kind.__name__ if kind else "String", (expected,))

    def get_object_value(self, factory: Any) -> None:
        if self._value is None and self._path:
            return
        if not isinstance(self._value, Mapping):
            raise self._refuse(f"Invalid value specified for property '{self._path}': an object is expected.")
        named = self._value.get("@odata.type")
        if not isinstance(self._value.get("@odata.type", ""), str):
            raise self._refuse("The value of '@odata.type' must be a string.")
        model = _derived(factory, named)
        if named is not None and named.lstrip("#").lower() != type_name(model).lower():
            raise self._refuse(
                f"A type named '{named.lstrip('#')}' could not be resolved by the model. "
                "When a model is available, each type name must resolve to a valid type."
            )
        documented = {name: kind for base in model.__mro__ for name, kind in _DOCUMENTED.get(base.__name__, {}).items()}
        for name, value in self._value.items():
            if name.endswith("@odata.bind"):
                raise not_simulated(name)
            if "@odata." in name:
                continue
            child = _Node(value, f"{self._path}.{name}" if self._path else name, self._code, {})
            if reader := _fields_of(model).get(name):
                reader(child)
            elif kind := (documented.get(name) or self._extensions.get(name)):
                child._expect(kind, (_EXTENSION_TYPES[kind],))
            else:
                raise self._refuse(
                    f"The property '{name}' does not exist on type '{type_name(model)}'. "
                    "Make sure to only use property names that are defined by the type."
                )


@lru_cache(maxsize=512)
def _derived(factory: Any, named: Any) -> Any:
    """Find the model of an object from its `@odata.type`; Graph's own examples write it with and without the `#`."""
    return type(factory.create_from_discriminator_value(_Discriminator(named)))


class _Discriminator:
    """The only child a model's factory looks at."""

    def __init__(self, named: Any) -> None:
        self._named = named

    def get_child_node(self, _: str) -> _Discriminator:
        return self

    def get_str_value(self) -> str | None:
        return f"#{self._named.lstrip('#')}" if isinstance(self._named, str) else None

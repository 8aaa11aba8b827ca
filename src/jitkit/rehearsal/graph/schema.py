"""Read a request body as strictly as the service does, by the SDK's own generated models.

The models say which properties a type has and what each holds. What they do not know is refused, except the few
properties that the reference documents and the models lack.
"""

from __future__ import annotations

import base64
import binascii
import importlib
import re
import uuid
from collections.abc import Callable, Mapping
from datetime import date, datetime
from functools import lru_cache
from typing import Any

from jitkit.rehearsal.graph.wire import GraphError

Fields = Mapping[str, Callable[[Any], None]]

# In the reference and in its examples, absent from the v1.0 models of msgraph-sdk (Graph v1.0:
# authenticationEventListener, authenticationConditionsApplications, authenticationEventsFlow).
_DOCUMENTED: Mapping[str, Mapping[str, str]] = {
    "AuthenticationEventListener": {"priority": "Int32"},
    "AuthenticationConditionsApplications": {"includeAllApplications": "Boolean"},
    "AuthenticationEventsFlow": {"priority": "Int32"},
}

# Directory extensions: the data types of `extensionProperty` (Graph v1.0), by JSON type.
_EXTENSION_TYPES: Mapping[str, tuple[type, ...]] = {
    "Binary": (str,),
    "Boolean": (bool,),
    "DateTime": (str,),
    "Int32": (int,),
    "Integer": (int,),
    "LargeInteger": (int,),
    "String": (str,),
}


def check(model: str, body: Mapping[str, Any], *, code: str, extensions: Mapping[str, str] | None = None) -> None:
    """Refuse a body that the service would not accept as this type.

    Args:
        model: the SDK model's class name, such as `Application`.
        body: the JSON object.
        code: the error code this part of Graph uses.
        extensions: directory extensions the object may carry: full name to data type.

    Raises:
        GraphError: 400, for an unknown property, an unknown type or a value of the wrong type.
    """
    _Node(body, "", code, extensions or {}).get_object_value(model_class(model))


def model_class(name: str) -> Any:
    """Import an SDK model by its class name. The import is slow (the SDK's), so it happens at the first use."""
    module = re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()
    return getattr(importlib.import_module(f"msgraph.generated.models.{module}"), name)


@lru_cache(maxsize=512)
def fields_of(model: Any) -> Fields:
    """List a model's JSON properties, each with the function that reads it from a node."""
    fields: Fields = model().get_field_deserializers()
    return fields


def property_type(model: str, name: str) -> str | None:
    """Tell what a property of a type holds.

    Args:
        model: the SDK model's class name.
        name: the property.

    Returns:
        `Boolean`, `String`, `Int32`, `Guid`, `DateTimeOffset`, `Collection`, `Complex` …, or None for no such property.
    """
    reader = fields_of(model_class(model)).get(name)
    if reader is None:
        return None
    probe = _Probe()
    reader(probe)
    return probe.found


def type_name(model: type) -> str:
    """The type's name in Graph: `microsoft.graph.user` for `User`."""
    return f"microsoft.graph.{model.__name__[0].lower()}{model.__name__[1:]}"


class _Probe:
    """Stand where a parse node would and note which kind of value is asked for."""

    found = "Complex"

    def __getattr__(self, getter: str) -> Callable[..., None]:
        self.found = _TYPES.get(getter, "Collection" if "collection" in getter else "Complex")
        return lambda *_: None


_TYPES = {
    "get_str_value": "String",
    "get_bool_value": "Boolean",
    "get_int_value": "Int32",
    "get_float_value": "Double",
    "get_uuid_value": "Guid",
    "get_datetime_value": "DateTimeOffset",
    "get_date_value": "Date",
    "get_enum_value": "String",
    "get_bytes_value": "Binary",
}


class _Node:
    """A parse node that checks and keeps nothing, so that no secret outlives the request."""

    def __init__(self, value: Any, path: str, code: str, extensions: Mapping[str, str]) -> None:
        self._value, self._path, self._code, self._extensions = value, path, code, extensions

    def _refuse(self, message: str) -> GraphError:
        return GraphError(400, self._code, message)

    def _child(self, value: Any, path: str) -> _Node:
        return _Node(value, path, self._code, {})

    def _expect(self, kind: str, *types: type) -> None:
        value = self._value
        if value is None or (isinstance(value, types) and not (isinstance(value, bool) and bool not in types)):
            return
        raise self._refuse(f"Invalid value specified for property '{self._path}': the expected type is 'Edm.{kind}'.")

    def _parse(self, kind: str, parse: Callable[[str], Any]) -> None:
        self._expect(kind, str)
        try:
            if self._value is not None:
                parse(self._value)
        except (ValueError, binascii.Error):
            self._value = object()
            self._expect(kind)

    def get_str_value(self) -> None:
        self._expect("String", str)

    def get_bool_value(self) -> None:
        self._expect("Boolean", bool)

    def get_int_value(self) -> None:
        self._expect("Int32", int)

    def get_float_value(self) -> None:
        self._expect("Double", int, float)

    def get_uuid_value(self) -> None:
        self._parse("Guid", uuid.UUID)

    def get_datetime_value(self) -> None:
        self._parse("DateTimeOffset", datetime.fromisoformat)

    def get_date_value(self) -> None:
        self._parse("Date", date.fromisoformat)

    def get_time_value(self) -> None:
        self._expect("TimeOfDay", str)

    def get_timedelta_value(self) -> None:
        self._expect("Duration", str)

    def get_bytes_value(self) -> None:
        self._parse("Binary", lambda text: base64.b64decode(text, validate=True))

    def get_enum_value(self, enum: Any) -> None:
        self._expect("String", str)
        known = {str(member.value).lower() for member in enum}
        if self._value is not None and not {part.strip().lower() for part in self._value.split(",")} <= known:
            raise self._refuse(f"Invalid value specified for property '{self._path}'.")

    def _items(self) -> list[_Node]:
        if not isinstance(self._value, list):
            raise self._refuse(f"Invalid value specified for property '{self._path}': a collection is expected.")
        if None in self._value:
            raise self._refuse(f"Invalid value specified for property '{self._path}': an item is null.")
        return [self._child(item, self._path) for item in self._value]

    def get_collection_of_object_values(self, factory: Any) -> None:
        for item in self._items():
            item.get_object_value(factory)

    def get_collection_of_enum_values(self, enum: Any) -> None:
        for item in [self] if isinstance(self._value, str) else self._items():
            item.get_enum_value(enum)

    def get_collection_of_primitive_values(self, kind: type | None) -> None:
        expected = kind if kind in (bool, int, float) else str
        for item in self._items():
            item._expect(kind.__name__ if kind else "String", expected)

    def get_object_value(self, factory: Any) -> None:
        if self._value is None and self._path:
            return
        if not isinstance(self._value, Mapping):
            raise self._refuse(f"Invalid value specified for property '{self._path}': an object is expected.")
        if not isinstance(self._value.get("@odata.type", ""), str):
            raise self._refuse("The value of '@odata.type' must be a string.")
        model = _derived(factory, self._value.get("@odata.type"))
        self._check_type_name(model)
        fields = fields_of(model)
        documented = {name: kind for base in model.__mro__ for name, kind in _DOCUMENTED.get(base.__name__, {}).items()}
        for name, value in self._value.items():
            if name.endswith("@odata.bind"):
                raise GraphError(501, "NotImplemented", f"not simulated: {name}")
            if "@odata." in name:
                continue
            child = self._child(value, f"{self._path}.{name}" if self._path else name)
            if reader := fields.get(name):
                reader(child)
            elif kind := (documented.get(name) or self._extensions.get(name)):
                child._expect(kind, *_EXTENSION_TYPES[kind])
            else:
                raise self._refuse(
                    f"The property '{name}' does not exist on type '{type_name(model)}'. "
                    "Make sure to only use property names that are defined by the type."
                )

    def _check_type_name(self, model: type) -> None:
        named = self._value.get("@odata.type")
        if named is None:
            return
        if named.lstrip("#").lower() != type_name(model).lower():
            raise self._refuse(
                f"A type named '{named.lstrip('#')}' could not be resolved by the model. "
                "When a model is available, each type name must resolve to a valid type."
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

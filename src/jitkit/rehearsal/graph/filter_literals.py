"""The literals of an OData `$filter`, and what they may be compared with."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from jitkit.rehearsal.graph.wire import GraphError

__all__ = ["Moment", "moment", "require_type"]


class Moment(str):
    """A date literal, in UTC."""

    __slots__ = ()


_FITTING: Final = {"Boolean": bool, "DateTimeOffset": Moment, "DateTime": Moment, "String": str}
# The first that fits: a bool is an int, and a moment is a text.
_LITERALS: Final = ((bool, "Boolean"), (int, "Int32"), (Moment, "DateTimeOffset"), (str, "String"))


def moment(text: str) -> Moment:
    """Read a date literal; UTC if it names no zone."""
    read = datetime.fromisoformat(text)
    read = read.astimezone(UTC) if read.tzinfo else read.replace(tzinfo=UTC)
    return Moment(read.isoformat(timespec="milliseconds").replace("+00:00", "Z"))


def require_type(value: Any, declared: str | None, operator: str) -> None:
    """Refuse a literal of another type than the property's.

    Args:
        value: the literal.
        declared: the property's type, without `Edm.`; one that is not known takes everything.
        operator: the comparison, as it is written in the filter.

    Raises:
        GraphError: 400, as Graph words it.
    """
    fitting = _FITTING.get(declared or "")
    if fitting and not isinstance(value, fitting):
        kind = next(kind for base, kind in _LITERALS if isinstance(value, base))
        raise GraphError(
            400,
            "BadRequest",
            "Invalid filter clause: A binary operator with incompatible types was detected. Found operand types "
            f"'Edm.{declared}' and 'Edm.{kind}' for operator kind '{operator}'.",
        )

"""The cases, one module a subject: pytest functions marked with an id, what they ask, and where that is written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import pytest

BCP: Final = "RFC 8725"
HOWTO: Final = "Microsoft's how-to"
LIMITS: Final = "service limits: 2,000 ms"
OBSERVED: Final = "observed in live tenants"
OVERVIEW: Final = "Custom authentication extensions overview"
SAFEST: Final = "safest: the documents are silent"


def case(id: str, why: str, source: str, *, required: bool = True) -> pytest.MarkDecorator:
    """Mark a test function, or a row of its table, as a case; what is not required is a choice of policy."""
    return pytest.mark.case(id=id, why=why, source=source, required=required)


def table(names: str, rows: Mapping[str, Any]) -> pytest.MarkDecorator:
    """Run a case once for each named row; a failure names the row."""
    return pytest.mark.parametrize(names, list(rows.values()), ids=list(rows))

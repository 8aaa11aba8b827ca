"""The code behind `cases.toml`: a function sends most calls, and each other case has a function named after its id."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest


def table(names: str, rows: Mapping[str, Any]) -> pytest.MarkDecorator:
    """Run a case once for each named row; a failure names the row."""
    return pytest.mark.parametrize(names, list(rows.values()), ids=list(rows))

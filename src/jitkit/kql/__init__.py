"""Queries in KQL for Log Analytics, made of shared parts that are files next to this one.

A part defines tables, such as `SignIns`; a query names the parts that it needs in a line `// Needs: …`.
"""

from __future__ import annotations

import re
from importlib.resources import files
from typing import Final

__all__ = ["EXAMPLE_FLAG", "read", "whole"]

EXAMPLE_FLAG: Final = "extension_00000000000000000000000000000000_toBeMigrated"
"""The migration flag's full name as it stands in the parts; a reader's own takes its place."""

_NEEDS: Final = re.compile(r"^// Needs: (.+)\n", re.MULTILINE)


def read(name: str) -> str:
    """Read the query or the part of this name, without the parts that it needs."""
    return (files("jitkit.kql") / f"{name}.kql").read_text(encoding="utf-8")


def whole(query: str) -> str:
    """Write the parts that a query needs before it, each once, and those before them that they need."""
    parts: dict[str, str] = {}
    _gather(query, parts)
    return "\n".join((*parts.values(), _NEEDS.sub("", query)))


def _gather(query: str, parts: dict[str, str]) -> None:
    needs = _NEEDS.search(query)
    for name in needs[1].split(", ") if needs else ():
        if name not in parts:
            text = read(name)
            _gather(text, parts)
            parts[name] = _NEEDS.sub("", text)

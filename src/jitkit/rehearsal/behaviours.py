"""What is told of the rehearsal tenant's fidelity: the lines of `behaviours.txt`, and the routes and tests in the code.

The tests and the examples of the Graph reference are read from the checkout that this file is part of.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from starlette.routing import Route

from jitkit.rehearsal import control
from jitkit.rehearsal.app import make_app
from jitkit.rehearsal.graph.dispatch import all_routes
from jitkit.rehearsal.graph.wire import GraphRoute
from jitkit.rehearsal.identity import LOGIN_HOST

if TYPE_CHECKING:
    from jitkit.rehearsal.tenant import RehearsalTenant

__all__ = [
    "GRAPH",
    "NOT_IMITATED",
    "OTHER",
    "ROOT",
    "SOURCES",
    "TABLE",
    "Line",
    "Operation",
    "lines",
    "operations",
    "other_routes",
    "pairs",
    "tests",
]

ROOT: Final = Path(__file__).resolve().parents[3]
TABLE: Final = Path(__file__).with_name("behaviours.txt")

# The sections of the table that hold no behaviours.
SOURCES: Final = "Sources"
GRAPH: Final = "Graph routes"
OTHER: Final = "Other routes"
NOT_IMITATED: Final = "Not imitated"

_GRAPH_TESTS: Final = ROOT / "tests" / "rehearsal" / "graph"


@dataclass(frozen=True)
class Line:
    """One behaviour, or one route beside Graph's.

    Args:
        place: where it stands, for messages.
        section: the heading above it.
        what: the behaviour in words, or `METHOD path`.
        grade: documented, observed, assumed or rehearsal.
        source: a page of the Graph reference after `Graph: `, or one of the section Sources.
        switch: the switch that changes it, or `none: ` and why there is none, or nothing.
        test: the test that holds it, under tests/.
    """

    place: str
    section: str
    what: str
    grade: str
    source: str
    switch: str
    test: str


@dataclass(frozen=True)
class Operation:
    """One operation of Graph, with every address that leads to it.

    Args:
        route: its first route.
        paths: its addresses.
        examples: the examples of the reference that are replayed through it.
    """

    route: GraphRoute
    paths: tuple[str, ...]
    examples: tuple[str, ...]

    @property
    def name(self) -> str:
        """The method and the first address."""
        return f"{self.route.method} {self.paths[0]}"


@lru_cache
def _sections() -> Mapping[str, Sequence[tuple[int, tuple[str, ...]]]]:
    """Read behaviours.txt: for each section its lines, each with its number and its cells."""
    sections: dict[str, list[tuple[int, tuple[str, ...]]]] = {}
    section: list[tuple[int, tuple[str, ...]]] = []
    for number, line in enumerate(TABLE.read_text(encoding="utf-8").splitlines(), 1):
        if line.startswith("["):
            section = sections.setdefault(line.strip("[]"), [])
        elif line.strip() and not line.startswith("#"):
            section.append((number, tuple(cell.strip() for cell in line.split("|"))))
    return sections


def lines() -> list[Line]:
    """List the behaviours and the routes beside Graph's. A line's missing cells are empty."""
    return [
        Line(f"{TABLE.name}:{number}", section, *(*cells, "", "", "", "", "")[:5])
        for section, rows in _sections().items()
        if section not in (SOURCES, GRAPH, NOT_IMITATED)
        for number, cells in rows
    ]


def pairs(section: str) -> dict[str, str]:
    """Read a section whose lines are a name and something about it."""
    return {cells[0]: " | ".join(cells[1:]) for _, cells in _sections().get(section, ())}


@lru_cache
def operations() -> list[Operation]:
    """List the operations of Graph: routes with one handler are one operation."""
    grouped: dict[tuple[str, Any], list[GraphRoute]] = {}
    for route in all_routes():
        grouped.setdefault((route.method, route.handler), []).append(route)
    shown: dict[GraphRoute, list[str]] = {}
    for id, method, path in _examples():
        reached = [route for route in all_routes() if route.method == method and _leads(route.path, path)]
        if reached:
            # Literal segments win over placeholders.
            shown.setdefault(min(reached, key=lambda route: route.path.count("{")), []).append(id)
    return [
        Operation(
            routes[0],
            tuple(route.path for route in routes),
            tuple(id for route in routes for id in shown.get(route, ())),
        )
        for routes in grouped.values()
    ]


def _leads(pattern: str, path: str) -> bool:
    ours, theirs = pattern.lower().split("/"), path.lower().split("/")
    return len(ours) == len(theirs) and all("{" in a or a == b for a, b in zip(ours, theirs, strict=True))


def _examples() -> list[tuple[str, str, str]]:
    """List the replayed examples of the Graph reference: id, method, and path after the version."""
    skipped = _named_in(_GRAPH_TESTS / "test_contract.py", "NOT_")
    found = []
    for file in sorted((_GRAPH_TESTS / "contract").glob("*.json")):
        for example in json.loads(file.read_text(encoding="utf-8")):
            path = re.sub(r"^/(v1\.0|beta)", "", example["request"]["path"].partition("?")[0])
            path = re.sub(r"\('([^']*)'\)", r"/\1", path)
            if example["id"] not in skipped:
                found.append((example["id"], example["request"]["method"], path))
    return found


def _named_in(file: Path, prefix: str) -> set[str]:
    """List the texts that a module's constants with this prefix hold."""
    return {
        text
        for node in ast.parse(file.read_text(encoding="utf-8")).body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
        if node.targets[0].id.startswith(prefix)
        for text in ast.literal_eval(node.value)
    }


def other_routes() -> set[str]:
    """Name every route beside Graph's, as `METHOD path`; the copies under the other host's name are left out."""
    # The application is asked for its routes alone, which needs no tenant.
    served = make_app(cast("RehearsalTenant", None)).routes
    names = {"POST /$batch"}
    for route in (*served, *control.routes()):
        if isinstance(route, Route) and "{path:path}" not in route.path and LOGIN_HOST not in route.path:
            names |= {f"{method} {route.path}" for method in route.methods or () if method != "HEAD"}
    return names


@lru_cache(maxsize=256)
def tests(file: Path) -> frozenset[str]:
    """List the names of a file's tests, those in classes as `Class::test`."""
    names: set[str] = set()
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef):
            names |= {f"{node.name}::{name}" for name in _functions(node.body)}
        names |= _functions([node])
    return frozenset(names)


def _functions(nodes: Sequence[ast.stmt]) -> set[str]:
    named = {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    return {name for name in named if name.startswith("test_")}

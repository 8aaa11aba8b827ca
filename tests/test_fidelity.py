"""FIDELITY.md names tests that exist, switches that exist, and every route of Graph that is served."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from jitkit.rehearsal.graph.dispatch import all_routes
from jitkit.rehearsal.switches import SWITCHES

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "FIDELITY.md").read_text(encoding="utf-8")


def test_the_tests_it_names_exist() -> None:
    named = re.findall(r"`([\w/]+\.py)::(test_\w+)`", PAGE)
    assert len(named) > 80
    missing = []
    for file, name in named:
        path = ROOT / "tests" / "rehearsal" / file
        tree = ast.parse(path.read_text(encoding="utf-8")) if path.exists() else ast.parse("")
        if name not in {each.name for each in tree.body if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)}:
            missing.append(f"{file}::{name}")
    assert missing == []


def test_it_names_every_switch_and_no_other() -> None:
    known = "\n".join(re.findall(r"^\|[^|]*\|([^|]*)\|", PAGE, re.MULTILINE))
    assert set(re.findall(r"`([a-z0-9_]+)`", known)) == set(SWITCHES)


def test_it_lists_every_route_of_graph_and_no_other() -> None:
    listed = re.findall(r"`((?:[A-Z]+ )+)(/[^`]*)`", PAGE)
    served = {(route.method, _plain(route.path)) for route in all_routes()}
    assert {(method, path) for methods, path in listed for method in methods.split()} == served


def _plain(path: str) -> str:
    """Write a route as the page does, which explains the other spellings in a sentence."""
    path = re.sub(r"\((?:appId|uniqueName)='\{\w+\}'\)", "/{id}", path)
    path = path.removesuffix("/microsoft.graph.directoryRole")
    path = re.sub(r"/microsoft\.graph\.(?:externalUsersSelfServiceSignUpEventsFlow|onPasswordSubmitListener)", "", path)
    return path.replace("deletedItems/graph.", "deletedItems/microsoft.graph.")

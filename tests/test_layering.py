"""Which package may import which, no circle of modules, and how large each package may grow."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TREES = {"helpers": ROOT / "helpers", "jitkit": ROOT / "src" / "jitkit"}
ENGINES = ("endpoint", "rehearsal", "conformance", "progress", "hosting")

# Package: (files, lines), at most. `jitkit` stands for its own modules, without the engines. Lower a number when its
# package gets smaller; a change that needs a higher one says in its commit what users get for it.
BUDGETS = {
    "helpers": (29, 9_252),
    "jitkit": (11, 1_030),
    "jitkit.endpoint": (21, 4_415),
    "jitkit.rehearsal": (33, 8_100),
    "jitkit.conformance": (20, 2_801),
    "jitkit.progress": (23, 5_902),
    "jitkit.hosting": (6, 1_410),
}
MOST_FILES = 143

# The endpoint is deployed alone; the rehearsal tenant and the suite are its independent witnesses.
OF_THE_ENDPOINT = {"jitkit.protocol", "jitkit.errors"}
NOT_OF_THE_REHEARSAL = {"jitkit.entra_tokens"}

# Inside helpers, each group may import itself and the ones before it.
HELPERS = (
    {"settings"},
    {"graph"},
    {"live"},
    {"legacy_export", "play"},
    {"tenant"},
    {"worlds"},
    {"local_endpoint", "migration_progress"},
    {"host"},
    {"session"},
    {"checks"},
    {"kit"},
    {"imported_early"},
    {"widgets", "run_notebooks"},
    {"__main__", "kernel_start"},
)


def _modules() -> dict[str, Path]:
    found = {}
    for name, tree in TREES.items():
        for path in tree.rglob("*.py"):
            parts = path.relative_to(tree).with_suffix("").parts
            found[".".join((name, *(part for part in parts if part != "__init__")))] = path
    return found


MODULES = _modules()


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: relative import"
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield whole if whole in MODULES else node.module


IMPORTS = {name: {each for each in _imports(path) if each in MODULES} for name, path in MODULES.items()}


def _package(module: str) -> str:
    head, _, rest = module.partition(".")
    engine = rest.partition(".")[0]
    return f"{head}.{engine}" if head == "jitkit" and engine in ENGINES else head


def _group(module: str) -> int:
    part = module.split(".")[1] if "." in module else ""
    return next((number for number, group in enumerate(HELPERS) if part in group), -1)


def test_imports_go_one_way() -> None:
    wrong = []
    for module, imported in IMPORTS.items():
        for each in imported:
            here, there = _package(module), _package(each)
            if here == there:
                allowed = here != "helpers" or _group(each) <= _group(module)
            elif here == "helpers":
                allowed = True
            elif here == "jitkit.endpoint":
                allowed = each in OF_THE_ENDPOINT
            elif here == "jitkit.rehearsal":
                allowed = there == "jitkit" and each not in NOT_OF_THE_REHEARSAL
            else:
                allowed = there == "jitkit" and here != "jitkit"
            if not allowed:
                wrong.append(f"{module} imports {each}")
    assert wrong == []


def test_every_helper_has_its_place() -> None:
    assert [module for module in MODULES if module.startswith("helpers.") and _group(module) < 0] == []


def test_no_circle_of_modules() -> None:
    left = {module: set(imported) - {module} for module, imported in IMPORTS.items()}
    while leaves := {module for module, imported in left.items() if not imported}:
        left = {module: imported - leaves for module, imported in left.items() if module not in leaves}
    assert left == {}, "these modules import each other, or something that does"


@pytest.mark.parametrize("package", BUDGETS)
def test_packages_stay_within_their_budgets(package: str) -> None:
    files = [path for module, path in MODULES.items() if _package(module) == package]
    lines = sum(len(path.read_text(encoding="utf-8").splitlines()) for path in files)
    most_files, most_lines = BUDGETS[package]
    assert len(files) <= most_files
    assert lines <= most_lines


def test_the_product_has_few_files() -> None:
    assert len(MODULES) <= MOST_FILES

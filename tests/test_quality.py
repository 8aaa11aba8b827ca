"""The project's own form: lint, format, types, and what must never be committed."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).resolve().parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def _run(*command: str) -> None:
    done = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_lint() -> None:
    _run("ruff", "check", ".")


def test_format() -> None:
    _run("ruff", "format", "--check", ".")


def test_types() -> None:
    _run("mypy")


def test_types_are_checked_in_every_area_of_the_graph_sdk_that_the_kit_calls() -> None:
    source = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "helpers").rglob("*.py"))
    called = set(re.findall(r"self\._client\.(\w+)", source)) | set(re.findall(r"msgraph\.generated\.(\w+)", source))
    rules = [each for each in PYPROJECT["tool"]["mypy"]["overrides"] if each.get("follow_imports") == "normal"]
    followed = {module.split(".")[2] for each in rules for module in each["module"]}
    assert called | {"base_graph_service_client"} == followed


def _tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in listed.stdout.splitlines()]


@pytest.mark.parametrize(
    ("what", "pattern"),
    [
        ("a private key", r"-----BEGIN [A-Z ]*PRIVATE KEY-----\s+[A-Za-z0-9+/=]{40}"),
        ("the address of a package registry", r"https?://[\w.-]*(?:pypi\.org|pythonhosted\.org|npmjs\.(?:org|com))"),
    ],
)
def test_nothing_committed_that_must_not_be(what: str, pattern: str) -> None:
    found = []
    for path in _tracked():
        try:
            text = path.read_text(encoding="utf-8")
        except (UnicodeDecodeError, FileNotFoundError):
            continue
        if re.search(pattern, text):
            found.append(str(path.relative_to(ROOT)))
    assert found == [], what


def test_state_is_ignored_by_git() -> None:
    assert not [path for path in _tracked() if ".kit" in path.relative_to(ROOT).parts]
    ignored = subprocess.run(["git", "check-ignore", "-q", ".kit/profile.json"], cwd=ROOT, check=False)
    assert ignored.returncode in (0, 128)


def test_the_constraints_pin_every_dependency() -> None:
    project = PYPROJECT["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["test"]]
    pinned = {
        line.split("==")[0].lower().replace("_", "-") for line in (ROOT / "constraints.txt").open() if "==" in line
    }
    assert {re.split(r"[<>=\[]", name)[0].lower() for name in wanted} <= pinned


def test_the_constraints_suit_the_oldest_python() -> None:
    oldest = PYPROJECT["project"]["requires-python"].removeprefix(">=") + ".0"
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    names = [line.split("==")[0] for line in lines if "==" in line]
    installed = [each.metadata for each in map(_distribution, names) if each]
    assert len(installed) > 100
    asks = {each["Name"]: each["Requires-Python"] or "" for each in installed}
    assert {name: asked for name, asked in asks.items() if not SpecifierSet(asked).contains(oldest)} == {}


def _distribution(name: str) -> Distribution | None:
    try:
        return distribution(name)
    except PackageNotFoundError:
        return None

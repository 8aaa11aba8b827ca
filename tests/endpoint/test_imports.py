"""What starting the endpoint costs: nothing of the notebooks' world is imported, and nothing of it is needed."""

from __future__ import annotations

import importlib.metadata
import json
import re
import subprocess
import sys
from pathlib import Path

import httpx

from . import entra
from .test_serve import call, environment, metadata_url

__all__ = ["environment", "metadata_url"]

ROOT = Path(__file__).parents[2]
HEAVY = (
    "msgraph",
    "pandas",
    "pydantic",
    "jupyter_core",
    "IPython",
    "matplotlib",
    "azure",
    "sqlalchemy",
    "passlib",
    "ipywidgets",
)

ALONE = """
import sys

foreign = set({foreign!r})

class OnlyItsOwn:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] in foreign:
            raise ModuleNotFoundError(f"{{name}} is not one of the endpoint's own dependencies", name=name)

sys.meta_path.insert(0, OnlyItsOwn)
from jitkit.endpoint.serve import serve
serve(host="127.0.0.1", port=0)
"""


def test_the_application_imports_nothing_heavy() -> None:
    code = f"import sys, jitkit.endpoint.serve; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_serves_with_its_own_dependencies_alone(environment: dict[str, str]) -> None:
    foreign = modules_of_others(own_dependencies())
    assert {"msgraph", "pandas", "IPython", "azure", "hypothesis"} <= set(foreign)
    code = ALONE.format(foreign=foreign)
    command = [sys.executable, "-c", code]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line, process.stderr and process.stderr.read()
            url = json.loads(line)["url"]
            assert httpx.get(url).json()["status"] == "ok"
            assert call(url, "s3cret")["actions"][0]["@odata.type"].endswith("UpdatePassword")
            assert call(url, entra.CANARY)["actions"][0]["@odata.type"].endswith("Retry")
        finally:
            process.kill()


def own_dependencies() -> set[str]:
    """Read the endpoint's list, and follow what each package on it requires."""
    lines = (ROOT / "src" / "jitkit" / "endpoint" / "requirements.txt").read_text(encoding="utf-8").splitlines()
    found: set[str] = set()
    waiting = [line for line in lines if not line.startswith("#")]
    assert not {"msgraph-sdk", "pandas", "jupyterlab", "azure-identity"} & set(waiting)
    while waiting:
        name = waiting.pop().lower().replace("_", "-")
        if name in found:
            continue
        try:
            needs = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:  # of another system or Python, as its marker says
            continue
        found.add(name)
        waiting += [re.split(r"[^A-Za-z0-9._-]", need)[0] for need in needs if "extra ==" not in need]
    return found


def modules_of_others(ours: set[str]) -> list[str]:
    """List the top-level modules of every installed package that the endpoint does not need."""
    owners = importlib.metadata.packages_distributions()
    return [
        module
        for module, names in owners.items()
        if module not in ("helpers", "jitkit") and not {name.lower().replace("_", "-") for name in names} & ours
    ]

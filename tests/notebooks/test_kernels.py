"""The kernels that notebooks run in: forked on Linux, started anew elsewhere, and the same to a notebook."""

from __future__ import annotations

import ast
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest

from helpers import run_notebooks
from helpers.run_notebooks import NOTEBOOKS, run

SOURCE = """
import os, random, sys
import numpy
{
    "models": "msgraph.generated.models.application" in sys.modules,
    "names": sorted(set(globals()) & {"gc", "graph", "helpers", "jitkit", "pandas"}),
    "home": os.environ["JIT_KIT_HOME"],
    "folder": os.getcwd(),
    "is_main": __name__,
    "group_of_its_own": os.getpgid(0) == os.getpid(),
    "random": (random.random(), numpy.random.random(), os.getpid()),
}
"""


def shown(folder: Path) -> dict[str, Any]:
    path = folder / "00-asks.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(SOURCE, id="asks")]), path)
    (output,) = run(path, home=folder / "home").cells[0].outputs
    found: dict[str, Any] = ast.literal_eval(output["data"]["text/plain"])
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="it forks on Linux only")
@pytest.mark.parametrize("forks", [True, False])
def test_a_kernel_is_ready_and_shows_nothing_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forks: bool
) -> None:
    monkeypatch.setattr(run_notebooks, "_FORKS", forks)
    first, second = shown(tmp_path), shown(tmp_path)
    for one in (first, second):
        different = one.pop("random")
        assert one == {
            "models": True,
            "names": [],
            "home": str(tmp_path / "home"),
            "folder": str(NOTEBOOKS),
            "is_main": "__main__",
            "group_of_its_own": True,
        }
        one["random"] = different
    assert all(a != b for a, b in zip(first["random"], second["random"], strict=True))

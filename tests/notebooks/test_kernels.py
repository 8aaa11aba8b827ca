"""The kernels that notebooks run in: forked on Linux, started anew elsewhere, and the same to a notebook."""

from __future__ import annotations

import ast
import os
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest
from jupyter_client.manager import start_new_kernel

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


def test_a_cell_in_a_kernel_without_a_session_says_which_cells_to_run() -> None:
    """`jitkit lab` lets its kernels run this file when they start."""
    start = {"PYTHONSTARTUP": str(Path(run_notebooks.__file__).with_name("kernel_start.py"))}
    manager, client = start_new_kernel(env=os.environ | start)

    def error(source: str) -> str:
        shown: list[Any] = []
        client.execute_interactive(source, output_hook=shown.append, timeout=60)
        [problem] = [each["content"] for each in shown if each["msg_type"] == "error"]
        return "\n".join(problem["traceback"])

    try:
        for source in ("await s.users.counts()", "plan"):
            said = error(source)
            assert "run the first code cells, down to `s = await kit.open()`" in said
            assert "Traceback" not in said
        assert "Next:" not in error("def one():\n    from helpers import missing\none()")
        assert "Next:" not in error("s = 1\nplan")
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


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


def test_a_path_is_shown_as_text_and_as_a_link_where_jupyterlab_can_open_it(tmp_path: Path) -> None:
    sources = ["from helpers import kit\ns = await kit.open()\ns.export()", "s.folder", "s.outputs", "[s.folder]"]
    path = tmp_path / "00-shows.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(each) for each in sources]), path)
    home = tmp_path / "ada" / ".kit"
    export, folder, outputs, listed = (cell.outputs[0]["data"] for cell in run(path, home=home).cells)
    assert export["text/plain"] == str(NOTEBOOKS.parent / "sample_data" / "legacy_users.csv")
    assert 'href="../sample_data/legacy_users.csv"' in export["text/html"]
    assert folder == {"text/plain": str(home), "text/html": f"<code>{home}</code>"}, "Jupyter serves nothing hidden"
    assert outputs["text/plain"] == str(tmp_path / "ada" / "report" / "rehearsal")
    assert listed["text/plain"] == f"[{home}]"

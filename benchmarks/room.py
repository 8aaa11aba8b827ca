"""Try a room before the day: many people run the notebooks at once on this machine, each in a folder of their own.

    python benchmarks/room.py --people 20

Each person has a folder with a copy of the notebooks, the sample data and a state folder `.kit`; the installed kit is
one for all. Kernels are started anew, one for each notebook, as JupyterLab starts them.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import psutil
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient

from helpers import run_notebooks
from helpers.worlds import SAMPLE_DATA

ROOT = run_notebooks.NOTEBOOKS.parent
START_SECONDS = 300
CELL_SECONDS = 3_600  # a busy machine is slow, and that is what is measured
SAMPLE_SECONDS = 5
LISTENS = re.compile(r"http://127\.0\.0\.1:(\d+)/")
NOT_OURS = {".git", "__pycache__", ".mypy_cache", ".pytest_cache", ".ruff_cache", ".kit"}


class KernelOnFiles(AsyncKernelManager):
    """Reaches its kernel through socket files, as the JupyterLabs of the workshop's page do.

    Jupyter chooses TCP ports some seconds before the kernel takes them. Where many start at once, another program has
    one of them by then, and the kernel does not start: seen three times in 360 starts on two cores.
    """

    def __init__(self, **options: Any) -> None:
        self.folder = tempfile.TemporaryDirectory(prefix="kernel-")
        super().__init__(transport="ipc", connection_file=f"{self.folder.name}/kernel.json", **options)


def one_person(home: Path, until: str) -> None:
    """Run the notebooks up to one of them, and print which took how long and where the endpoint listened."""
    run_notebooks._FORKS, run_notebooks._CELL_SECONDS = False, CELL_SECONDS
    run_notebooks.NotebookClient = partial(
        NotebookClient, kernel_manager_class=KernelOnFiles, startup_timeout=START_SECONDS
    )  # type: ignore[misc]
    paths = [path for path in run_notebooks.in_order() if path.stem[:2] <= until]
    taken: dict[str, float] = {}
    ports: set[str] = set()
    began = time.monotonic()

    def ran(path: Path, notebook: Any) -> None:
        taken[path.stem[:2]] = round(time.monotonic() - began - sum(taken.values()), 1)
        ports.update(LISTENS.findall(json.dumps(notebook.cells)))

    run_notebooks.run_all(paths, home=home, each=ran)
    print(json.dumps({"taken": taken, "ports": sorted(ports)}))


def make_folder(folder: Path) -> Path:
    """Give a person the notebooks and the sample data, and return the state folder."""
    shutil.copytree(run_notebooks.NOTEBOOKS, folder / "notebooks", ignore=shutil.ignore_patterns(".ipynb_checkpoints"))
    (folder / SAMPLE_DATA.name).mkdir()
    for path in SAMPLE_DATA.glob("*.*"):
        shutil.copy(path, folder / SAMPLE_DATA.name)
    return folder / ".kit"


def try_room(into: Path, people: int, until: str) -> dict[str, Any]:
    """Let everyone run the notebooks at once, and return what that took."""
    started, before = time.time(), psutil.virtual_memory().available
    running = []
    for number in range(1, people + 1):
        home = make_folder(into / f"p{number:02}")
        command = [sys.executable, __file__, "--person", str(home), "--until", until]
        environment = os.environ | {"JIT_KIT_HOME": str(home)}
        running.append(subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE))
    least, load = before, 0.0
    while any(each.poll() is None for each in running):
        time.sleep(SAMPLE_SECONDS)
        least = min(least, psutil.virtual_memory().available)
        load = max(load, os.getloadavg()[0])
    ended = [(each.returncode, *(text.decode() for text in each.communicate())) for each in running]
    done = [json.loads(said) for code, said, _ in ended if code == 0]
    written = [path for path in _files(ROOT) if path.stat().st_mtime > started]
    return {
        "people": people,
        "went through": len(done),
        "notebooks": f"up to {until}",
        "took, s": round(time.time() - started),
        "slowest notebook, s": {number: max(each["taken"][number] for each in done) for number in done[0]["taken"]}
        if done
        else {},
        "less memory free on this machine, GB": round((before - least) / 1e9, 1),
        "cores here": os.cpu_count(),
        "highest load": round(load, 1),
        "ports of their endpoints": len({port for each in done for port in each["ports"]}),
        "written in the shared install": [str(path.relative_to(ROOT)) for path in written],
        "errors": [[line for line in errors.splitlines() if "Error" in line] for code, _, errors in ended if code],
    }


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and not NOT_OURS & set(path.relative_to(folder).parts)]


def main() -> int:
    """Print the figures as one JSON object; exit 1 when someone did not get through."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--people", type=int, default=20, metavar="N")
    parser.add_argument("--until", default="07", metavar="NUMBER", help="the last notebook: 07")
    parser.add_argument("--person", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.person:
        one_person(chosen.person, chosen.until)
        return 0
    with tempfile.TemporaryDirectory(prefix="room-") as folder:
        figures = try_room(Path(folder), chosen.people, chosen.until)
    print(json.dumps(figures, indent=2))
    return 0 if figures["went through"] == chosen.people else 1


if __name__ == "__main__":
    sys.exit(main())

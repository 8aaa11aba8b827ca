"""Run the notebooks in order, each in a fresh kernel, and write them as pages that open offline."""

from __future__ import annotations

import asyncio
import base64
import copy
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jitkit.errors import KitError

__all__ = ["NOTEBOOKS", "in_order", "run", "write_html"]

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"
_CELL_SECONDS = 300
_PICTURE = re.compile(r"\]\((images/[^)\s]+\.svg)\)")


def in_order() -> list[Path]:
    """List the notebooks in the order they are read.

    Raises:
        KitError: they are not there.
    """
    found = sorted(NOTEBOOKS.glob("[0-9][0-9]-*.ipynb"))
    if not found:
        raise KitError(
            f"There are no notebooks in {NOTEBOOKS}.",
            next_step="Install the kit from its own folder, as README.md says: pip install -e . -c constraints.txt",
        )
    return found


def run(path: Path, *, home: Path, each_cell: Callable[[], None] | None = None) -> Any:
    """Run one notebook in a fresh kernel.

    Args:
        path: the notebook.
        home: the kit's state folder for it.
        each_cell: called after every cell.

    Returns:
        The executed notebook, an nbformat node.

    Raises:
        KitError: a cell failed; the message names the notebook, the cell and the error.
    """
    import nbformat
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook,
        timeout=_CELL_SECONDS,
        resources={"metadata": {"path": str(NOTEBOOKS)}},
        store_widget_state=False,
        extra_arguments=["--IPKernelApp.log_level=50"],
    )
    reached = ["none yet"]
    client.on_cell_start = lambda cell, cell_index: reached.append(str(cell.id))
    if each_cell is not None:
        client.on_cell_complete = lambda cell, cell_index: each_cell()
    try:
        with _environment(JIT_KIT_HOME=str(home)), asyncio.Runner(loop_factory=_Loop) as runner:
            runner.run(_executed(client))
    except CellExecutionError as error:
        raise KitError(
            f"{path.name}, cell {reached[-1]}: {error.ename}: {error.evalue}",
            next_step=f"Open {path.name} with `jitkit lab`, run it to that cell, and mend what it says.",
        ) from None
    except (CellTimeoutError, DeadKernelError) as error:
        what = "is not done" if isinstance(error, CellTimeoutError) else "took its kernel down"
        raise KitError(
            f"{path.name}, cell {reached[-1]}: it {what} after {_CELL_SECONDS} seconds or less.",
            next_step="Look whether this machine is out of memory or busy with something else, then run this again.",
        ) from None
    return notebook


async def _executed(client: Any) -> None:
    from nbclient.exceptions import DeadKernelError

    try:
        await client.async_execute()
    except DeadKernelError:
        # nbclient takes Ctrl-C, which cancels this task, for a kernel that died.
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise asyncio.CancelledError from None
        raise


class _Loop(asyncio.SelectorEventLoop):
    """Leave Ctrl-C with Python: nbclient's own handler ends the kernel and goes on waiting for it."""

    def add_signal_handler(self, *_: Any) -> None:  # type: ignore[override]
        raise RuntimeError("signals stay where they are")


def write_html(notebook: Any, path: Path) -> None:
    """Write an executed notebook as one HTML page that needs no network.

    Args:
        notebook: an nbformat node.
        path: the page.

    Raises:
        KitError: it cannot be written.
    """
    from nbconvert import HTMLExporter

    exporter = HTMLExporter(mathjax_url="", require_js_url="", jquery_url="", mermaid_js_url="", widget_renderer_url="")
    body, _ = exporter.from_notebook_node(
        _with_pictures(notebook), resources={"metadata": {"path": str(NOTEBOOKS), "name": path.stem}}
    )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(body, encoding="utf-8")
    except OSError as problem:
        raise KitError(
            f"{path} cannot be written.",
            service=str(problem),
            next_step="Give a folder that you may write to, on a disk with room.",
        ) from problem


def _with_pictures(notebook: Any) -> Any:
    # nbconvert's own embed_images closes every <details> at its first blank line, so that answers lie open.
    held = copy.deepcopy(notebook)
    for cell in held.cells:
        if cell.cell_type == "markdown":
            for name in set(_PICTURE.findall(cell.source)):
                picture = base64.b64encode((NOTEBOOKS / name).read_bytes()).decode()
                cell.setdefault("attachments", {})[name] = {"image/svg+xml": picture}
                cell.source = cell.source.replace(f"]({name})", f"](attachment:{name})")
    return held


@contextmanager
def _environment(**values: str) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value

"""Run the notebooks in order, each in a fresh kernel, and write them as pages that open offline."""

from __future__ import annotations

import base64
import copy
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from helpers.errors import KitError

__all__ = ["NOTEBOOKS", "in_order", "run", "write_html"]

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"
_CELL_SECONDS = 300
_PICTURE = re.compile(r"\]\((images/[^)\s]+\.svg)\)")


def in_order() -> list[Path]:
    """List the notebooks in the order they are read."""
    return sorted(NOTEBOOKS.glob("[0-9][0-9]-*.ipynb"))


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
    from nbclient.exceptions import CellExecutionError

    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook,
        timeout=_CELL_SECONDS,
        resources={"metadata": {"path": str(NOTEBOOKS)}},
        store_widget_state=False,
        extra_arguments=["--IPKernelApp.log_level=40"],
    )
    if each_cell is not None:
        client.on_cell_complete = lambda cell, cell_index: each_cell()
    try:
        with _environment(JIT_KIT_HOME=str(home)):
            client.execute()
    except CellExecutionError as error:
        cell = _failed(notebook)
        raise KitError(
            f"{path.name}, cell {cell}: {error.ename}: {error.evalue}",
            next_step=f"Open {path.name} with `jitkit lab`, run it to that cell, and mend what it says.",
        ) from None
    return notebook


def write_html(notebook: Any, path: Path) -> None:
    """Write an executed notebook as one HTML page that needs no network.

    Args:
        notebook: an nbformat node.
        path: the page.
    """
    from nbconvert import HTMLExporter

    exporter = HTMLExporter(mathjax_url="", require_js_url="", jquery_url="", mermaid_js_url="", widget_renderer_url="")
    body, _ = exporter.from_notebook_node(
        _with_pictures(notebook), resources={"metadata": {"path": str(NOTEBOOKS), "name": path.stem}}
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(body, encoding="utf-8")


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


def _failed(notebook: Any) -> str:
    for cell in notebook.cells:
        failed = any(output.get("output_type") == "error" for output in cell.get("outputs", []))
        if failed and "raises-exception" not in cell.metadata.get("tags", []):
            return str(cell.id)
    return "unknown"


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

"""Runs the notebooks in order, each in a fresh kernel, and writes them as pages; `jitkit rehearse` also reports."""

from __future__ import annotations

import asyncio
import base64
import copy
import multiprocessing
import os
import re
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from threading import Thread
from typing import Any, Final

import nbformat
from jupyter_client.provisioning.local_provisioner import LocalProvisioner
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from tqdm import tqdm

from helpers import settings
from jitkit.errors import KitError

__all__ = [
    "NOTEBOOKS",
    "Result",
    "in_order",
    "play",
    "prepare",
    "rehearse",
    "run",
    "run_all",
    "write_html",
    "write_index",
]

DAYS: Final = 90
NOTEBOOKS: Final = Path(__file__).resolve().parents[1] / "notebooks"
_CELL_SECONDS = 300
# Forking a process that has imported all this is fast; only Linux forks so safely.
_FORKS: Final = sys.platform == "linux"
_IMPORTED: Final = [
    "ipykernel.kernelapp",
    "helpers.imported_early",
    "helpers.widgets",
    "jitkit.progress.report",
    __name__,
]
_PICTURE = re.compile(r"\]\((images/[^)\s]+\.svg)\)")
_LINK = re.compile(r"(?<!!)\[([^\]]+)\]\((?!https:)([^)\s#]+)(#[^)\s]*)?\)")


def in_order() -> list[Path]:
    """Return the notebooks in the order they are read; raises KitError when there are none."""
    found = sorted(NOTEBOOKS.glob("[0-9][0-9]-*.ipynb"))
    if not found:
        raise KitError(
            f"There are no notebooks in {NOTEBOOKS}.",
            next_step="Install the kit from its own folder, as README.md says: pip install -e . -c constraints.txt",
        )
    return found


def run(path: Path, *, home: Path) -> Any:
    """Run one notebook in a fresh kernel; `home` is the kit's state folder for it.

    Returns:
        The executed notebook, an nbformat node.

    Raises:
        KitError: a cell failed; the message names the notebook, the cell and the error.
    """
    executed: list[Any] = []
    run_all([path], home=home, each=lambda _, notebook: executed.append(notebook))
    return executed[0]


def run_all(paths: Sequence[Path], *, home: Path, each: Callable[[Path, Any], object]) -> None:
    """Run notebooks as `run` does, one after the other; each kernel starts while the notebook before it runs.

    `each` is called with the path of each notebook that was run, and the executed notebook.
    """
    with asyncio.Runner(loop_factory=_Loop) as runner:
        runner.run(_run_all([_Run(path, home) for path in paths], each))


async def _run_all(runs: Sequence[_Run], each: Callable[[Path, Any], object]) -> None:
    starting = asyncio.ensure_future(runs[0].start())
    try:
        for number, one in enumerate(runs):
            await starting
            if number + 1 < len(runs):
                starting = asyncio.ensure_future(runs[number + 1].start())
            await one.execute()
            each(one.path, one.client.nb)
    finally:
        await asyncio.gather(starting, return_exceptions=True)
        for one in runs:
            await one.stop()


class _Run:
    """One notebook and its kernel."""

    def __init__(self, path: Path, home: Path) -> None:
        self.path, self._home = path, home
        self._reached = "none yet"
        self.client: Any = NotebookClient(
            nbformat.read(path, as_version=4),
            timeout=_CELL_SECONDS,
            resources={"metadata": {"path": str(NOTEBOOKS)}},
            store_widget_state=False,
            extra_arguments=[
                "--IPKernelApp.log_level=50",
                "--IPKernelApp.exec_lines=__import__('helpers.imported_early')",
            ],
        )
        self.client.on_cell_start = self._reach

    def _reach(self, cell: Any, cell_index: int) -> None:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            # Where a cell ends just as Ctrl-C comes, Python 3.11 (asyncio.wait_for in nbclient) loses that.
            raise asyncio.CancelledError
        self._reached = str(cell.id)

    async def start(self) -> None:
        self.client.km = manager = self.client.create_kernel_manager()
        if _FORKS:
            manager.provisioner = _ForkedKernel(kernel_spec=manager.kernel_spec, parent=manager)
        await self.client.async_start_new_kernel(env={**os.environ, "JIT_KIT_HOME": str(self._home)})

    async def execute(self) -> None:
        try:
            await self.client.async_execute()
        except CellExecutionError as error:
            raise KitError(
                f"{self.path.name}, cell {self._reached}: {error.ename}: {error.evalue}",
                next_step=f"Open {self.path.name} with `jitkit lab`, run it to that cell, and fix what it says.",
            ) from None
        except (CellTimeoutError, DeadKernelError) as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                # nbclient takes Ctrl-C, which cancels this task, for a kernel that died, and goes on to watch it.
                for other in asyncio.all_tasks():
                    if getattr(other.get_coro(), "__name__", "") == "_async_poll_kernel_alive":
                        other.cancel()
                raise asyncio.CancelledError from None
            what = "is not done" if isinstance(error, CellTimeoutError) else "took its kernel down"
            raise KitError(
                f"{self.path.name}, cell {self._reached}: it {what} after {_CELL_SECONDS} seconds or less.",
                next_step="Check whether this machine is out of memory or busy with other work, then run this again.",
            ) from None

    async def stop(self) -> None:
        """End a kernel that was started and not used."""
        if self.client.km is not None and self.client.km.has_kernel:
            await self.client.km.shutdown_kernel(now=True)


class _Loop(asyncio.SelectorEventLoop):
    """Leaves Ctrl-C to Python: nbclient's own handler ends the kernel and continues to wait for it."""

    def add_signal_handler(self, *_: Any) -> None:  # type: ignore[override]
        raise RuntimeError("signals stay with Python")


class _ForkedKernel(LocalProvisioner):
    """Provides a kernel as jupyter_client's own provisioner does, from the command that would start it anew."""

    async def launch_kernel(self, cmd: list[str], **options: Any) -> Any:
        """Fork the kernel; the first one waits for the imports."""
        server = multiprocessing.get_context("forkserver")
        server.set_forkserver_preload(_IMPORTED)
        # After `python -m ipykernel_launcher`.
        arguments = (cmd[3:], str(options["cwd"]), dict(options["env"]))
        process = server.Process(target=_run_kernel, args=arguments, daemon=True)
        await asyncio.to_thread(process.start)
        self.process, self.cwd = _Child(process), options["cwd"]  # type: ignore[assignment]
        return self.connection_info


class _Child:
    """A forked process with the methods of `subprocess.Popen` that a provisioner calls."""

    stdin = stdout = stderr = None

    def __init__(self, process: Any) -> None:
        self._process, self.pid = process, process.pid

    def poll(self) -> int | None:
        code: int | None = self._process.exitcode
        return code

    def wait(self) -> int | None:
        self._process.join()
        return self.poll()

    def send_signal(self, number: int) -> None:
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:  # it does not lead a group of its own yet, or it ended
            if self.poll() is None:
                os.kill(self.pid, number)


def _run_kernel(arguments: Sequence[str], folder: str, environment: Mapping[str, str]) -> None:
    import numpy as np
    from ipykernel.kernelapp import IPKernelApp

    # Forked processes would share this state; Python's own generator starts anew by itself.
    np.random.seed()
    os.setsid()
    os.chdir(folder)
    os.environ.clear()
    # The kernel ends with the process that forks, and with the one that runs the notebooks, however that ends.
    os.environ.update({**environment, "JPY_PARENT_PID": str(os.getppid())})
    Thread(target=_end_with_parent, daemon=True).start()
    IPKernelApp.launch_instance(list(arguments))


def _end_with_parent() -> None:
    runner = multiprocessing.parent_process()
    if runner is not None:
        runner.join()
        os._exit(1)


# What nbconvert's own style lacks: contrast, links that are seen without colour, lines that fit a phone.
_READABLE: Final = """
:root { --jp-cell-prompt-not-active-opacity: 1; --jp-mirror-editor-comment-color: #336666;
  --jp-mirror-editor-number-color: #006600; --jp-mirror-editor-operator-color: #7a00cc; }
.jp-RenderedHTMLCommon a:any-link { text-decoration: underline; }
.jp-RenderedHTMLCommon :is(pre, code) { white-space: pre-wrap; }
.jp-RenderedHTMLCommon :is(th, td, pre, code) { overflow-wrap: anywhere; }
"""


def write_html(notebook: Any, path: Path) -> None:
    """Write an executed notebook as one HTML page that needs no network; raises KitError when it cannot be written.

    Its links to notebooks and pages next to it lead to their pages in the same folder.
    """
    from nbconvert import HTMLExporter

    exporter = HTMLExporter(mathjax_url="", require_js_url="", jquery_url="", mermaid_js_url="", widget_renderer_url="")
    body, _ = exporter.from_notebook_node(
        _for_a_page(notebook), resources={"metadata": {"path": str(NOTEBOOKS), "name": path.stem}}
    )
    _write(path, body.replace("</head>", f"<style>{_READABLE}</style></head>", 1))


def _write(path: Path, page: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(page, encoding="utf-8")
    except OSError as problem:
        raise KitError(
            f"{path} cannot be written.",
            service=str(problem),
            next_step="Give a folder that you may write to, on a disk with room.",
        ) from problem


def _for_a_page(notebook: Any) -> Any:
    # nbconvert's own embed_images closes every <details> at its first blank line, so that answers are visible.
    held = copy.deepcopy(notebook)
    for cell in held.cells:
        if cell.cell_type == "markdown":
            cell.source = _LINK.sub(_to_page, cell.source)
            for name in set(_PICTURE.findall(cell.source)):
                picture = base64.b64encode((NOTEBOOKS / name).read_bytes()).decode()
                cell.setdefault("attachments", {})[name] = {"image/svg+xml": picture}
                cell.source = cell.source.replace(f"]({name})", f"](attachment:{name})")
    return held


def _to_page(link: re.Match[str]) -> str:
    words, target, place = link.groups(default="")
    path = Path(target)
    if path.suffix == ".html" or (path.suffix in (".ipynb", ".md") and path.name == target):
        return f"[{words}]({path.with_suffix('.html')}{place})"
    return words  # a file of the kit's folder: pages are read elsewhere too


def write_index(folder: Path, report: Path) -> Path:
    """Write what goes with the pages of all notebooks: the texts next to them, a copy of the report, and an index.

    Raises:
        KitError: a page cannot be written.
    """
    rows = []
    for path in (*in_order(), *sorted(NOTEBOOKS.glob("*.md"))):
        if path.suffix == ".md":
            text = path.read_text(encoding="utf-8")
            write_html(_as_notebook(text), folder / f"{path.stem}.html")
        else:
            text = nbformat.read(path, as_version=4).cells[0].source
        rows.append(f"- [{text.splitlines()[0].lstrip('# ')}]({path.stem}.html)")
    rows.append("- [The report of this rehearsal](report.html)")
    index = folder / "index.html"
    write_html(_as_notebook("\n".join(("# A rehearsal, notebook by notebook", "", *rows))), index)
    _write(folder / "report.html", report.read_text(encoding="utf-8"))
    return index


def _as_notebook(text: str) -> Any:
    return nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(text)])


# What of notebook 08 people need who work through it, and people who look at its figures do not.
_OF_THE_LESSON: Final = (
    *("parameters-step", "needs-check", "idea", "play-step", "play", "collect-step", "own-count"),
    *("report-step", "report", "checkpoint"),
)
_HEADINGS: Final = re.compile(r"^#+ .+$", re.MULTILINE)


def figures_alone(notebook: Any, resources: Any) -> tuple[Any, Any]:
    """Leave a notebook's figures with their headings; Voilà calls this before it runs one (voila.json)."""
    kept: list[Any] = []
    for cell in reversed(notebook.cells):
        if cell.id in _OF_THE_LESSON:
            continue
        if cell.id == "filter-in-code":
            cell.source += ";"  # later cells need its names; the filter itself shows more than its output
        if cell.cell_type == "markdown":
            cell.source = "\n\n".join(_HEADINGS.findall(cell.source))
            # A heading without a figure under it is one of the lesson, too.
            if not cell.source or not kept or kept[-1].cell_type == "markdown":
                continue
        kept.append(cell)
    notebook.cells = kept[::-1]
    return notebook, resources


@dataclass(frozen=True)
class Result:
    """How far a rehearsal got."""

    migrated: int  # users whose flag is false in the tenant
    remaining: int  # users whose flag is true
    blocked: int  # of those, users who cannot move until an administrator acts
    report: Path
    home: Path  # where the rehearsal's tenant, ledger and report are kept


def rehearse(*, html: Path | None = None) -> None:
    """Play the whole migration and print how far it got; it fails as `play` does, which takes the same folder.

    It has a state folder of its own inside the kit's, so that it never touches what you set up by hand.
    """
    started = time.monotonic()
    result = play(settings.home() / "rehearse", html=html)
    minutes, seconds = divmod(round(time.monotonic() - started), 60)
    pages = f"\nPages      {html.resolve() / 'index.html'}" if html else ""
    tqdm.write(
        f"""
Days       {DAYS:>6,} of sign-ins by invented users, on the rehearsal tenant's clock
Migrated   {result.migrated:>6,} users: their flag is false in the rehearsal tenant
Remaining  {result.remaining:>6,} users
Blocked    {result.blocked:>6,} of the remaining: they cannot move until an administrator acts
Took       {minutes} min {seconds} s

Report     {result.report}{pages}
Tenant     {result.home}
Look at it JIT_KIT_HOME={result.home} jitkit rehearsal    serves that tenant
Next       jitkit lab    and do it by hand, with an untouched tenant"""
    )


def prepare(notebook: str) -> None:
    """Make a rehearsal tenant in the kit's state folder that is ready for a notebook, by running those before it.

    Args:
        notebook: its two digits.

    Raises:
        KitError: there is no such notebook, a tenant is there already, or a cell failed.
    """
    home, paths = settings.home(), in_order()
    before = [path for path in paths if path.stem[:2] < notebook]
    if notebook not in (numbers := [path.stem[:2] for path in paths]) or not before:
        raise KitError(f"Nothing leads to a notebook {notebook}.", next_step=f"Choose one of {', '.join(numbers[1:])}.")
    if (home / "rehearsal.sqlite3").exists() or settings.has_real_tenant(home):
        raise KitError(
            f"There is a tenant in {home} already. Nothing was changed.",
            next_step="Shut all kernels down and delete that folder; if it holds a real tenant's key, set JIT_KIT_HOME"
            " to a new folder instead.",
        )
    _run_with_bar(before, home)
    tqdm.write(f"\nReady for notebook {notebook}: {home}\nNext       jitkit lab    and open {paths[len(before)].name}")


def play(home: Path, *, html: Path | None = None, export: Path | None = None) -> Result:
    """Run every notebook in a fresh kernel against a fresh tenant, then the rest of 90 days, then the report.

    Args:
        home: the state folder; an earlier rehearsal in it is replaced.
        html: a folder for the executed notebooks as pages, or None.
        export: a legacy export with its `people.csv` next to it, instead of the sample data.

    Raises:
        KitError: a cell failed, or the report and the tenant disagree.
    """
    paths = in_order()
    if html is not None:
        _require_folder(html)
    _fresh(home, export)
    # The days after the notebooks need the same imports here; meanwhile there is only to wait for kernels.
    Thread(target=_import_what_follows, daemon=True).start()
    _run_with_bar(paths, home, html)
    result = asyncio.run(_play_and_report(home))
    if html is not None:
        write_index(html, result.report)
    return result


def _run_with_bar(paths: Sequence[Path], home: Path, html: Path | None = None) -> None:
    with tqdm(total=len(paths), desc="Notebooks", unit="notebook", ncols=88) as bar:

        def ran(path: Path, executed: Any) -> None:
            bar.update()
            if html is not None:
                write_html(executed, html / f"{path.stem}.html")

        run_all(paths, home=home, each=ran)


def _import_what_follows() -> None:
    for name in ("helpers.imported_early", "jitkit.progress.report", "matplotlib.figure"):
        import_module(name)


async def _play_and_report(home: Path) -> Result:
    import pandas as pd

    from helpers import kit
    from helpers.legacy_export import read_export

    session = await kit.open(home)
    try:
        await session.rehearsal.play(days=DAYS)
        figures = await session.progress.collect(await session.users.dimensions(session.export()))
        counts = await session.users.counts()
        totals = figures.counts
        if (totals["migrated"], totals["remaining"]) != (counts.migrated, counts.to_migrate):
            raise KitError(
                f"The report counts {totals['migrated']} migrated and {totals['remaining']} remaining users; the tenant"
                f" {counts.migrated} and {counts.to_migrate}.",
                next_step=f"Keep {home} as it is and report this: the figures have to agree.",
            )
        problems = Counter((each.cause, each.result) for each in read_export(session.export()).problems)
        rows = [(cause, result, count) for (cause, result), count in problems.most_common()]
        judged = pd.DataFrame(rows, columns=["cause", "result", "rows"])
        report = figures.report(home / "report", export_problems=judged)
        return Result(counts.migrated, counts.to_migrate, figures.blocked, report, home)
    finally:
        await session.close()


def _require_folder(html: Path) -> None:
    try:
        html.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=html):
            pass
    except OSError as problem:
        raise KitError(
            f"Pages cannot be written to {html}.",
            service=str(problem),
            next_step="Give --html a folder that you may write to.",
        ) from problem


def _fresh(home: Path, export: Path | None) -> None:
    try:
        if home.exists():
            shutil.rmtree(str(home))  # of a Path, newer Pythons show the object in an error
    except OSError as problem:
        raise KitError(
            f"The earlier rehearsal in {home} cannot be removed.",
            service=str(problem),
            next_step="Close notebooks and servers that use it and see that you may write there, then run this again.",
        ) from problem
    settings.save(home, settings.Profile(export=str(export or "")))

"""Notebook 08 from files alone: a fresh state folder, no tenant that was set up, every cell from first to last."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nbformat
import pytest

from helpers.run_notebooks import NOTEBOOKS, run

PATH = NOTEBOOKS / "08-migration-progress.ipynb"
ASKS_A_TENANT = ("needs-check", "play", "own-count", "checkpoint")
FLAG = "extension_0123456789abcdef0123456789abcdef_toBeMigrated"
DAYS, PEOPLE = 20, 60


@pytest.fixture(autouse=True)
def kernels_find_the_kit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", f"{NOTEBOOKS.parent}:{NOTEBOOKS.parent / 'src'}")


def executed(folder: Path, files: str | list[str]) -> dict[str, Any]:
    notebook = nbformat.read(PATH, as_version=4)
    (parameters,) = (cell for cell in notebook.cells if cell.id == "parameters")
    assert 'tables_folder = ""' in parameters.source
    parameters.source = parameters.source.replace('tables_folder = ""', f"tables_folder = {files!r}")
    nbformat.write(notebook, folder / PATH.name)
    return {cell.id: cell for cell in run(folder / PATH.name, home=folder / "home").cells if cell.cell_type == "code"}


def shown(cell: Any) -> str:
    data = [output.get("data", {}) for output in cell.outputs]
    return "".join(str(each.get(form, "")) for each in data for form in ("text/plain", "text/html"))


def foreign_exports(folder: Path) -> list[str]:
    """Write what people have of a small migration: Graph's sign-ins in pages, and audits of Log Analytics."""
    ids = [f"{number:08x}-1111-4111-8111-000000000000" for number in range(PEOPLE)]
    audits, log = [], []
    for number, user in enumerate(ids):
        moved = f"2026-06-{2 + number % DAYS:02}T10:{number:02}:00Z"
        events = [("2026-06-01T08:00:00Z", "[true]"), (moved, "[false]")][: 1 if number % 3 == 0 else 2]
        for time, value in events:
            change = {"displayName": FLAG, "oldValue": None, "newValue": value}
            target = {"id": user, "modifiedProperties": [change]}
            audits.append({"TimeGenerated": time, "OperationName": "Update user", "TargetResources": [target]})
        result = {"errorCode": 0, "httpStatus": 200, "numberOfAttempts": 1}
        row = {"id": user, "createdDateTime": moved, "userId": user, "appId": "a", "correlationId": user}
        row |= {"status": {"errorCode": 0 if len(events) == 2 else 50126}}
        log.append(row | {"appliedEventListeners": [{"eventType": "passwordSubmit", "handlerResult": result}]})
    (folder / "audits.jsonl").write_text("".join(json.dumps(row) + "\n" for row in audits))
    (folder / "sign-ins.json").write_text(json.dumps({"value": log}, indent=1))
    return [str(folder / "audits.jsonl"), str(folder / "sign-ins.json")]


@pytest.mark.parametrize("which", ["sample", "foreign exports"])
def test_every_cell_runs_without_a_tenant(which: str, tmp_path: Path) -> None:
    files = "../sample_data/migration" if which == "sample" else foreign_exports(tmp_path)
    cells = executed(tmp_path, files)
    for name in ASKS_A_TENANT:
        assert "Skipped: it asks a tenant, and the tables come from files." in shown(cells[name]), name
    totals = shown(cells["totals"])
    for count in ("10,000", "4,774") if which == "sample" else (f"{PEOPLE}", f"{2 * PEOPLE // 3}"):
        assert f">{count}" in totals
    assert "report.html" in shown(cells["report"])

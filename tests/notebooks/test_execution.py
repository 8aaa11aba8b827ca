"""Execute the notebooks as a reader does: in order, a second time, and each with no more than it says it needs."""

from __future__ import annotations

import html
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from nbformat import NotebookNode

from helpers import settings
from helpers.graph import Graph
from helpers.notebook_runs import NOTEBOOKS, in_order, run
from helpers.promises import needs_of
from jitkit.rehearsal.tenant import RehearsalTenant

# A second worker would repeat the runs below: they cost minutes, the assertions nothing.
pytestmark = pytest.mark.xdist_group("notebooks")

PATHS = in_order()
ORDER = [path.stem[:2] for path in PATHS]
MADE = {
    "01": ("ensure-flag",),
    "02": ("ensure-extension", "ensure-consent", "ensure-client", "ensure-client-consent", "ensure-flow"),
    "03": ("ensure-extension", "ensure-listener"),
    "04": ("ensure-key",),
}
KINDS = (
    "applications",
    "servicePrincipals",
    "oauth2PermissionGrants",
    "identity/customAuthenticationExtensions",
    "identity/authenticationEventListeners",
    "identity/authenticationEventsFlows",
)

each_notebook = pytest.mark.parametrize("number", ORDER)
each_made = pytest.mark.parametrize(("number", "cell_id"), [(n, cell) for n, cells in MADE.items() for cell in cells])


@dataclass
class Runs:
    """What the runs left.

    Args:
        first: number to executed notebook, in order in a fresh home.
        second: the same in the same home, once more.
        homes: number to a copy of the home as it was after that notebook's first run.
        inventories: what the tenant held after each of the two runs.
    """

    first: dict[str, NotebookNode] = field(default_factory=dict)
    second: dict[str, NotebookNode] = field(default_factory=dict)
    homes: dict[str, Path] = field(default_factory=dict)
    inventories: list[dict[str, int]] = field(default_factory=list)


@pytest.fixture(scope="module")
def kernels_find_the_kit() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(NOTEBOOKS.parent))
        yield


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, kernels_find_the_kit: None) -> Runs:
    folder, done = tmp_path_factory.mktemp("notebooks"), Runs()
    home = folder / "home"
    settings.save(home, settings.Profile(endpoint_port=0))
    for path, number in zip(PATHS, ORDER, strict=True):
        done.first[number] = run(path, home=home)
        done.homes[number] = Path(shutil.copytree(home, folder / f"after-{number}"))
    done.inventories.append(inventory(home, folder / "counted-first"))
    for path, number in zip(PATHS, ORDER, strict=True):
        done.second[number] = run(path, home=home)
    done.inventories.append(inventory(home, folder / "counted-second"))
    return done


def inventory(home: Path, copy: Path) -> dict[str, int]:
    """Count what is in the tenant, over Graph, in a copy so that counting changes nothing."""
    import asyncio

    async def count() -> dict[str, int]:
        tenant = RehearsalTenant.open(copy / "rehearsal.sqlite3")
        graph = Graph(tenant.credential(), tenant.transport())
        try:
            found = {kind: len([each async for each in graph.pages(f"/{kind}")]) for kind in KINDS}
            apps = [each async for each in graph.pages("/applications?$select=id,displayName")]
            for each in apps:
                properties = [one async for one in graph.pages(f"/applications/{each['id']}/extensionProperties")]
                found[f"attributes of {each['displayName']}"] = len(properties)
                keys = await graph.send("GET", f"/applications/{each['id']}?$select=keyCredentials")
                found[f"keys of {each['displayName']}"] = len(keys["keyCredentials"])
            answer = await graph.send("GET", "/users/$count", headers={"ConsistencyLevel": "eventual"})
            return {**found, "users": int(answer)}
        finally:
            await graph.close()
            tenant.close()

    shutil.copytree(home, copy)
    return asyncio.run(count())


def outputs(notebook: NotebookNode, cell_id: str) -> str:
    """What a cell shows, as text."""
    cell = next(each for each in notebook.cells if each.id == cell_id)
    parts: list[Any] = []
    for output in cell.outputs:
        data = output.get("data", {})
        parts.append(data.get("text/html") or data.get("text/plain") or output.get("text", ""))
    return html.unescape(re.sub(r"<[^>]+>", " ", " ".join(parts)))


def status(notebook: NotebookNode, cell_id: str) -> str:
    """The word in the caption of a card."""
    cell = next(each for each in notebook.cells if each.id == cell_id)
    shown = " ".join(output.get("data", {}).get("text/html", "") for output in cell.outputs)
    found = re.search(r"<caption[^>]*>.*?<strong>(.*?)</strong>", shown)
    assert found, f"{cell_id} shows no card"
    return found.group(1)


def test_every_notebook_has_run_from_its_first_to_its_last_cell(runs: Runs) -> None:
    for done in (runs.first, runs.second):
        assert list(done) == ORDER
        for notebook in done.values():
            code = [cell for cell in notebook.cells if cell.cell_type == "code"]
            assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))


@each_notebook
def test_errors_appear_where_they_are_taught_and_nowhere_else(runs: Runs, number: str) -> None:
    for notebook in (runs.first[number], runs.second[number]):
        for cell in notebook.cells:
            errors = [output for output in cell.get("outputs", []) if output.output_type == "error"]
            taught = "raises-exception" in cell.metadata.get("tags", [])
            assert bool(errors) == taught, cell.id
            for error in errors:
                assert any("Next: " in line for line in error.traceback), (cell.id, "the error says what to do next")
                assert len(error.traceback) <= 12, (cell.id, "the error is shown without its way through the code")


@each_notebook
def test_no_cell_writes_to_the_error_stream(runs: Runs, number: str) -> None:
    for cell in runs.first[number].cells:
        written = [output.text for output in cell.get("outputs", []) if output.get("name") == "stderr"]
        assert written == [], cell.id


@each_made
def test_a_first_run_makes_things(runs: Runs, number: str, cell_id: str) -> None:
    assert status(runs.first[number], cell_id) == "created"
    assert "POST" in outputs(runs.first[number], cell_id) or "PATCH" in outputs(runs.first[number], cell_id)


@each_made
def test_a_second_run_finds_them_and_writes_nothing(runs: Runs, number: str, cell_id: str) -> None:
    assert status(runs.second[number], cell_id) == "reused"
    sent = re.findall(r"\b(POST|PATCH|PUT|DELETE) https://\S+", outputs(runs.second[number], cell_id))
    assert sent == []


def test_a_second_run_leaves_nothing_more_in_the_tenant(runs: Runs) -> None:
    before, after = runs.inventories
    assert before["users"] > 1900 and before["identity/authenticationEventListeners"] == 1
    assert after == before


@each_notebook
def test_every_checkpoint_says_yes(runs: Runs, number: str) -> None:
    shown = outputs(runs.first[number], "checkpoint")
    assert re.search(r"\byes\b", shown), shown


@each_notebook
def test_each_notebook_opens_cold_with_what_it_says_it_needs(runs: Runs, number: str, tmp_path: Path) -> None:
    """In order, each already ran in a fresh kernel; here the ones that could lean on more are run with less."""
    needed = max((promise.notebook for promise in needs_of(number)), default="")
    position = ORDER.index(number)
    if needed == (ORDER[position - 1] if position else ""):
        assert "checkpoint" in [cell.id for cell in runs.first[number].cells]
        return
    home = Path(shutil.copytree(runs.homes[needed], tmp_path / "home"))
    alone = run(PATHS[position], home=home)
    assert re.search(r"\byes\b", outputs(alone, "checkpoint"))


def test_what_the_notebooks_teach_is_what_they_show(runs: Runs) -> None:
    assert "Request_UnsupportedQuery" in errors_of(runs.first["01"], "misspelt")
    assert "DomainNameDoesNotMatch" in outputs(runs.first["03"], "other-host")
    assert "nothing wrong" in outputs(runs.first["03"], "check-extension")
    assert "is not a host name" in errors_of(runs.first["00"], "bad-host")
    assert status(runs.first["00"], "still-the-same") == "unchanged"
    assert status(runs.first["02"], "consent-again") == "reused"
    assert "too_many_guesses" in outputs(runs.first["05"], "guesses")
    assert "BEGIN" not in outputs(runs.first["04"], "ensure-key") + outputs(runs.first["04"], "key-file")


# A drill in each lesson: its cell -> the kind of error, and the service's own word for it where a service was asked.
DRILLS = {
    ("01", "misspelt"): ("GraphRefused", "400 Request_UnsupportedQuery"),
    ("02", "drill"): ("PermissionMissing", "403 Authorization_RequestDenied"),
    ("03", "drill"): ("CalloutImpossible", "1003015 CustomExtensionDomainNameDoesNotMatch"),
    ("04", "drill"): ("NotReady", "The service said: key "),
    ("05", "drill"): ("EndpointDown", "The endpoint is not running"),
    ("06", "drill"): ("BadTable", "README.md"),
    ("06", "throttled"): ("GraphRefused", "429 TooManyRequests"),
}
CALLOUT_ERRORS_SEEN = {1: 1003021, 2: 1003015, 3: 1003019, 4: 1003002, 5: 1003002, 6: 1003005}


@pytest.mark.parametrize(("number", "cell_id"), DRILLS, ids="-".join)
def test_each_drill_raises_the_error_that_it_teaches(runs: Runs, number: str, cell_id: str) -> None:
    kind, words = DRILLS[number, cell_id]
    for done in (runs.first[number], runs.second[number]):
        told = errors_of(done, cell_id)
        assert told.startswith(f"{kind}: ") and words in told, told


def test_the_outage_of_the_sign_in_lesson_shows_its_code_and_passes(runs: Runs) -> None:
    assert "1003027 CustomExtensionConnectionError" in outputs(runs.first["07"], "outage-jon")
    assert "signed in, migrated" in outputs(runs.first["07"], "outage-over")


@pytest.mark.parametrize("number", ["02", "03", "04", "06"])
def test_a_drill_is_over_with_its_cell(runs: Runs, number: str) -> None:
    over = "throttled-over" if number == "06" else "drill-over"
    assert status(runs.second[number], over) in ("read", "1,988")


@pytest.mark.parametrize("case", range(1, 11))
def test_each_case_is_met_by_its_symptom_and_mended(runs: Runs, case: int) -> None:
    for done in (runs.first["90"], runs.second["90"]):
        shown = outputs(done, f"case-{case}")
        if case in CALLOUT_ERRORS_SEEN:
            assert str(CALLOUT_ERRORS_SEEN[case]) in shown and "AADSTS1100001" in shown
        elif case < 10:
            assert "50126" in shown and "no extension was called" in shown
        else:
            assert "Choose a new password" in shown and "no error; HTTP status 200" in shown
        assert "signed in, migrated" in outputs(done, f"mend-{case}")


def test_the_check_names_every_case_and_nothing_before_and_after(runs: Runs) -> None:
    for done in (runs.first["90"], runs.second["90"]):
        assert "no faults" in outputs(done, "begin")
        each = next(cell for cell in done.cells if cell.id == "each-case").outputs[0]["data"]["text/html"]
        assert each.count("<tr>") == 11
        assert ">nothing<" not in each
        assert "is in order" in outputs(done, "checkpoint")


def errors_of(notebook: NotebookNode, cell_id: str) -> str:
    """What an error says."""
    cell = next(each for each in notebook.cells if each.id == cell_id)
    return "\n".join(line for output in cell.outputs for line in output.get("traceback", []))

"""`jitkit rehearse`: every notebook in order as a reader runs it, then the report; and no password is left anywhere."""

from __future__ import annotations

import asyncio
import base64
import csv
import hashlib
import html
import io
import json
import re
import shutil
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from nbformat import NotebookNode
from sessions import KINDS

from helpers import run_notebooks, settings
from helpers.checks import needs_of
from helpers.graph import Graph
from helpers.legacy_export import read_export
from helpers.run_notebooks import NOTEBOOKS, Result, in_order, play, run, write_html
from helpers.worlds import SAMPLE_DATA
from jitkit.errors import KitError
from jitkit.rehearsal.tenant import RehearsalTenant
from jitkit.sign_in_names import normalise

CANARY = "Kanarie-Vogel&7319"
FEW = 200
PATHS = in_order()
ORDER = [path.stem[:2] for path in PATHS]
MADE = {
    "01": ("ensure-flag",),
    "02": ("ensure-extension", "ensure-consent", "ensure-client", "ensure-client-consent", "ensure-flow"),
    "03": ("ensure-extension", "ensure-listener"),
    "04": ("ensure-key",),
}

each_notebook = pytest.mark.parametrize("number", ORDER)
each_made = pytest.mark.parametrize(("number", "cell_id"), [(n, cell) for n, cells in MADE.items() for cell in cells])


@dataclass
class Runs:
    """What the runs left.

    Args:
        export: the legacy export.
        users: how many users it has.
        home: the state folder.
        first: number to executed notebook, in order in a fresh home.
        second: the same in the same home, once more; of few users those that make something, else all.
        homes: number to a copy of the home as it was after that notebook's first run.
        inventories: what the tenant held before and after the second run.
        played: a copy of the home as it was before the second run.
        result: what `jitkit rehearse` reported after the first.
        pages: the folder with the executed notebooks as pages.
        printed: what was written to the terminal.
    """

    export: Path
    users: int
    home: Path
    pages: Path
    first: dict[str, NotebookNode] = field(default_factory=dict)
    second: dict[str, NotebookNode] = field(default_factory=dict)
    homes: dict[str, Path] = field(default_factory=dict)
    inventories: list[dict[str, int]] = field(default_factory=list)
    played: Path = Path()
    result: Result | None = None
    printed: str = ""

    def of(self, number: str) -> list[NotebookNode]:
        """One notebook as both runs left it."""
        return [done[number] for done in (self.first, self.second) if number in done]


def sample(folder: Path, people: int) -> Path:
    """Cut the sample data, and give its first person the canary as password."""
    folder.mkdir()
    salt = b"12345678"
    ssha = "{SSHA}" + base64.b64encode(hashlib.sha1(CANARY.encode() + salt).digest() + salt).decode()
    with (SAMPLE_DATA / "legacy_users.csv").open(encoding="utf-8", newline="") as file:
        users = list(csv.DictReader(file))[:people]
    known = {normalise(user["username"]) for user in users}
    with (SAMPLE_DATA / "people.csv").open(encoding="utf-8", newline="") as file:
        rows = [person for person in csv.DictReader(file) if normalise(person["username"]) in known]
    assert users[0]["username"] == rows[0]["username"] == "ada@woodgrove.example"
    users[0]["password_hash"], rows[0]["password"] = ssha, CANARY
    for name, table in (("legacy_users.csv", users), ("people.csv", rows)):
        with (folder / name).open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=list(table[0]))
            writer.writeheader()
            writer.writerows(table)
    return folder / "legacy_users.csv"


@pytest.fixture(scope="module")
def kernels_find_the_kit() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", f"{NOTEBOOKS.parent}:{NOTEBOOKS.parent / 'src'}")
        yield


@pytest.fixture(
    scope="module",
    params=[pytest.param(FEW, id="few"), pytest.param(2000, marks=pytest.mark.slow, id="all")],
)
def runs(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, kernels_find_the_kit: None) -> Runs:
    folder = tmp_path_factory.mktemp("notebooks")
    export = sample(folder / "sample", request.param)
    done = Runs(export, len(read_export(export).users), folder / "home", folder / "html")

    def write_and_keep(notebook: NotebookNode, page: Path) -> None:
        number = page.stem[:2]
        if number in ORDER:
            done.first[number] = notebook
            done.homes[number] = Path(shutil.copytree(done.home, folder / f"after-{number}"))
        write_html(notebook, page)

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        terminal = io.StringIO()
        patch.setattr("sys.stderr", terminal)
        patch.setattr("sys.stdout", terminal)
        patch.setattr(run_notebooks, "write_html", write_and_keep)
        done.result = play(done.home, html=done.pages, export=export)
        done.printed = terminal.getvalue()
    done.played = folder / "counted-first"
    done.inventories.append(inventory(done.home, done.played))
    for path, number in zip(PATHS, ORDER, strict=True):
        if request.param != FEW or number in MADE:
            done.second[number] = run(path, home=done.home)
    done.inventories.append(inventory(done.home, folder / "counted-second"))
    return done


def inventory(home: Path, copy: Path) -> dict[str, int]:
    """Count what is in the tenant, over Graph, in a copy so that counting changes nothing."""

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
    assert list(runs.first) == ORDER
    for number in ORDER:
        for notebook in runs.of(number):
            code = [cell for cell in notebook.cells if cell.cell_type == "code"]
            assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))


@each_notebook
def test_errors_appear_where_they_are_taught_and_nowhere_else(runs: Runs, number: str) -> None:
    for notebook in runs.of(number):
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


@each_notebook
def test_no_output_shows_a_path_object(runs: Runs, number: str) -> None:
    shown = [str(cell.get("outputs", "")) for cell in runs.first[number].cells]
    assert [cell for cell in shown if re.search(r"\b(?:Posix|Windows)Path\(", cell)] == []


def test_going_live_is_rehearsed_and_taken_back(runs: Runs) -> None:
    going = runs.first["09"]
    assert "ForbiddenByRbac" in errors_of(going, "refused") and "ForbiddenByFirewall" in errors_of(going, "locked-out")
    assert "yes" in outputs(going, "health") and "signed in, migrated" in outputs(going, "second-person")
    assert "was not switched to it" in outputs(going, "doctor"), "the forgotten switch is found"
    assert settings.load(runs.homes["09"]).hosting.vault == ""
    (vault,) = runs.homes["09"].rglob("vault.json")
    assert json.loads(vault.read_text(encoding="utf-8"))["certificates"] == {}


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
    assert before["users"] > runs.users - 1 and before["identity/authenticationEventListeners"] == 1
    assert after == before


@each_notebook
def test_every_checkpoint_says_yes(runs: Runs, number: str) -> None:
    shown = outputs(runs.first[number], "checkpoint")
    assert re.search(r"\byes\b", shown), shown


@pytest.mark.slow
@pytest.mark.parametrize("runs", [FEW], indirect=True)
@each_notebook
def test_each_notebook_opens_cold_with_what_it_says_it_needs(runs: Runs, number: str, tmp_path: Path) -> None:
    """In order, each already ran in a fresh kernel; here the ones that could lean on more are run with less."""
    needed = max((each.notebook for each in needs_of(number)), default="")
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
    assert "endpoint_host is" in errors_of(runs.first["00"], "bad-host")
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
    for done in runs.of(number):
        shown = errors_of(done, cell_id)
        assert shown.startswith(f"{kind}: ") and words in shown, shown


def test_the_outage_of_the_sign_in_lesson_shows_its_code_and_passes(runs: Runs) -> None:
    assert "1003027 CustomExtensionConnectionError" in outputs(runs.first["07"], "outage-jon")
    assert "signed in, migrated" in outputs(runs.first["07"], "outage-over")


@pytest.mark.parametrize("number", ["02", "03", "04", "06"])
def test_a_drill_is_over_with_its_cell(runs: Runs, number: str) -> None:
    over = "throttled-over" if number == "06" else "drill-over"
    for done in runs.of(number):
        assert status(done, over) in ("read", f"{runs.users:,}")


@pytest.mark.parametrize("case", range(1, 11))
def test_each_case_is_met_by_its_symptom_and_fixed(runs: Runs, case: int) -> None:
    for done in runs.of("90"):
        shown = outputs(done, f"case-{case}")
        if case in CALLOUT_ERRORS_SEEN:
            assert str(CALLOUT_ERRORS_SEEN[case]) in shown and "AADSTS1100001" in shown
        elif case < 10:
            assert "50126" in shown and "no extension was called" in shown
        else:
            assert "Choose a new password" in shown and "no error; HTTP status 200" in shown
        assert "signed in, migrated" in outputs(done, f"fix-{case}")


def test_the_check_names_every_case_and_nothing_before_and_after(runs: Runs) -> None:
    for done in runs.of("90"):
        assert "no faults" in outputs(done, "begin")
        each = next(cell for cell in done.cells if cell.id == "each-case").outputs[0]["data"]["text/html"]
        assert each.count("<tr>") == 11
        assert ">nothing<" not in each
        assert "is in order" in outputs(done, "checkpoint")


def errors_of(notebook: NotebookNode, cell_id: str) -> str:
    """What an error says."""
    cell = next(each for each in notebook.cells if each.id == cell_id)
    return "\n".join(line for output in cell.outputs for line in output.get("traceback", []))


def test_the_figures_are_those_of_the_tenant(runs: Runs) -> None:
    database = sqlite3.connect(runs.played / "rehearsal.sqlite3")
    values = [body for (body,) in database.execute("SELECT body FROM users WHERE deleted IS NULL")]
    database.close()
    flags = [re.search(r'"extension_[0-9a-f]{32}_toBeMigrated": ?(true|false)', body) for body in values]
    found = [flag.group(1) for flag in flags if flag]
    # In 90 days the regulars come; who was absent from the old system for long mostly stays away.
    assert runs.result.migrated == found.count("false") > runs.users / 3
    assert runs.result.remaining == found.count("true") > 0
    assert 0 < runs.result.blocked <= runs.result.remaining


def test_the_report_stands_alone(runs: Runs) -> None:
    page = runs.result.report.read_text(encoding="utf-8")
    assert f"{runs.result.migrated}" in page
    assert 'lang="en"' in page
    figures = re.findall(r"<svg ([^>]*)>", page)
    assert len(figures) > 2 and "<img" not in page
    assert all(re.search(r'role="img" aria-label="[^"]{20,}"', each) for each in figures)
    assert not re.search(r'(src|href)="(https?:)?//', page)


def test_every_notebook_became_a_page_that_opens_offline(runs: Runs) -> None:
    pages = sorted(path.stem for path in runs.pages.glob("*.html"))
    texts = [path.stem for path in NOTEBOOKS.glob("*.md")]
    assert pages == sorted([*(path.stem for path in PATHS), *texts, "index", "report"])
    for page in runs.pages.glob("*.html"):
        text = page.read_text(encoding="utf-8")
        loads = re.findall(r'<(?:script|link|img)[^>]+(?:src|href)="((?:https?:)?//[^"]+)"', text)
        assert loads == [], page.name


def test_the_canary_is_found_nowhere(runs: Runs) -> None:
    raw = CANARY.encode()
    forms = {
        "clear": raw,
        "reversed": raw[::-1],
        "base64": base64.b64encode(raw).rstrip(b"="),
        "base64url": base64.urlsafe_b64encode(raw).rstrip(b"="),
        "hex": raw.hex().encode(),
        "url": quote(CANARY, safe="").encode(),
        "html": CANARY.replace("&", "&amp;").encode(),
        "json": CANARY.replace("&", "\\u0026").encode(),
        "utf-16": CANARY.encode("utf-16-le"),
        "sha-256": hashlib.sha256(raw).hexdigest().encode(),
    }
    files = [path for folder in (runs.home, runs.pages) for path in folder.rglob("*") if path.is_file()]
    assert len(files) > 10
    found = [
        f"{form} in {path.name}" for path in files for form, needle in forms.items() if needle in path.read_bytes()
    ]
    found += [f"{form} on screen" for form, needle in forms.items() if needle in runs.printed.encode()]
    assert found == []


def test_state_is_for_its_owner_alone(runs: Runs) -> None:
    assert runs.home.stat().st_mode & 0o077 == 0
    # What is to be handed on, and holds no secret: the report, and the package, whose modes go to the host with it.
    handed_on = {"report", "functions"}
    for path in runs.home.rglob("*"):
        if path.is_file() and not handed_on & set(path.parts):
            assert path.stat().st_mode & 0o077 == 0, path.name


def test_a_failing_cell_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import nbformat

    cell = nbformat.v4.new_code_cell("1 / 0", id="the-bad-one")
    path = tmp_path / "00-broken.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), path)
    monkeypatch.setattr(run_notebooks, "NOTEBOOKS", tmp_path)
    with pytest.raises(KitError, match=r"00-broken\.ipynb, cell the-bad-one: ZeroDivisionError"):
        play(tmp_path / "home")

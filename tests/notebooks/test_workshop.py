"""The trainer's page: the agendas add up, the solutions run, and the room is set up as it says."""

from __future__ import annotations

import ast
import asyncio
import importlib.util
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest
from sessions import Opening

from helpers import settings
from helpers.__main__ import main
from helpers.run_notebooks import NOTEBOOKS, in_order, run_all
from jitkit.rehearsal import mystery
from jitkit.rehearsal.mystery import FAULTS, planted

PAGE = (NOTEBOOKS / "workshop.md").read_text(encoding="utf-8")
ROOM = NOTEBOOKS.parent / "benchmarks" / "room.py"
CODE = re.compile(r"```python\n(.*?)```", re.DOTALL)


def section(title: str) -> str:
    """The text under a heading, up to the next one of its level."""
    level = title.split()[0]
    found = re.search(rf"^{re.escape(title)}[^\n]*\n(.*?)(?=^{level} |^{level[1:] or level} |\Z)", PAGE, re.M | re.S)
    assert found, title
    return found[1]


def test_the_minutes_of_each_agenda_add_up() -> None:
    agendas = re.findall(r"^### (?:.*: )?(\d+) minutes", PAGE, re.MULTILINE)
    assert agendas == ["90", "210", "450"]
    for heading in re.findall(r"^### .*?\d+ minutes.*$", PAGE, re.MULTILINE):
        rows = re.findall(r"^\| (\d+) \|", section(heading), re.MULTILINE)
        assert sum(map(int, rows)) == int(re.findall(r"(\d+) minutes", heading)[0]), heading


def test_a_day_has_every_notebook_and_every_exercise() -> None:
    day = section("### A day")
    assert [path.name for path in in_order() if f"({path.name})" not in day] == []
    assert exercises_of(day) == [int(number) for number in re.findall(r"^### Exercise (\d+)", PAGE, re.MULTILINE)]


def exercises_of(row: str) -> list[int]:
    """The numbers of the exercises that a row of an agenda names."""
    return [int(number) for found in re.findall(r"exercises? ([\d and]+)", row) for number in re.findall(r"\d+", found)]


# What the last line of each solution shows, in the order of the day's agenda.
SHOWN: dict[int, Callable[[str], object]] = {
    1: lambda said: (
        ast.literal_eval(said) == {"iris": "MigratePassword", "gus": "Block", "eve": "UpdatePassword", "kim": "Retry"}
    ),
    2: lambda said: int(re.sub(",", "", re.findall(r"[\d,]+", said)[0])) > 1_000,
    3: lambda said: "migrated=True" in said and "iris@" in said,
    4: lambda said: said == "['MigratePassword']",
    5: lambda said: said == "(False, True, 'silent')",
    6: lambda said: (figures := ast.literal_eval(said)) and figures[1]["reset"] and figures[2] >= figures[1]["callout"],
    7: lambda said: said == "'signed in'",
}


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[int, list[str]], list[str]]:
    """Run the day's notebooks in its order, each with its exercises at the end, as people run them.

    Returns the state folder, what each cell of an exercise shows, and the exercises in their order.
    """
    folder = tmp_path_factory.mktemp("day")
    shown: dict[int, list[str]] = {}
    paths = []
    for row in re.findall(r"^\| \d+ \|.*$", section("### A day"), re.MULTILINE):
        for name in re.findall(r"\((\d\d-[\w-]+\.ipynb)\)", row):
            notebook = nbformat.read(NOTEBOOKS / name, as_version=4)
            for number in exercises_of(row):
                for place, code in enumerate(CODE.findall(section(f"### Exercise {number}"))):
                    notebook.cells.append(nbformat.v4.new_code_cell(code, id=f"exercise-{number}-{place}"))
            nbformat.write(notebook, folder / name)
            paths.append(folder / name)

    def ran(_: Path, executed: Any) -> None:
        for cell in executed.cells:
            if cell.id.startswith("exercise-"):
                texts = [each.get("text") or each["data"]["text/plain"] for each in cell.outputs]
                shown.setdefault(int(cell.id.split("-")[1]), []).append("".join(texts[-1:]))

    last = max(number for number, path in enumerate(paths) if "exercise-" in path.read_text(encoding="utf-8"))
    run_all(paths[: last + 1], home=folder / "home", each=ran)
    return folder / "home", shown, [path.name for path in paths]


def test_each_solution_runs_in_the_order_of_the_day_and_shows_what_it_says(
    day: tuple[Path, dict[int, list[str]], list[str]],
) -> None:
    _, shown, _ = day
    assert list(shown) == list(SHOWN), "their numbers follow the day"
    assert [number for number, right in SHOWN.items() if not right(shown[number][-1])] == [], shown
    assert "does not have the new key" in shown[7][0]
    assert "not among" not in shown[3][0] and "wrong password" in shown[3][0]


async def test_the_tenant_is_in_order_for_the_game_after_the_day(
    day: tuple[Path, dict[int, list[str]], list[str]], opening: Opening
) -> None:
    s = await opening(day[0])
    await (await s.rehearsal.mystery(1)).give_up()
    assert s.rehearsal.volunteers(1), "somebody is left to sign in"


async def run(code: str, names: dict[str, Any]) -> Any:
    """Run lines as a notebook's cell, and return what the last one shows."""
    tree = ast.parse(code)
    last = tree.body[-1]
    if isinstance(last, ast.Expr):
        tree.body[-1] = ast.Assign([ast.Name("shown", ast.Store())], last.value)
    cell = compile(ast.fix_missing_locations(tree), "cell", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    waiting = eval(cell, names)
    if waiting is not None:
        await waiting
    return names["shown"]


async def test_the_game_is_played_as_the_page_shows(home: Path, opening: Opening) -> None:
    names: dict[str, Any] = {"s": await opening(home)}
    (code,) = CODE.findall(section("## The game"))
    assert "planted(" not in PAGE, "players read this page too"
    game = await run(code, names)
    score = await game.solve(*(each.name for each in planted(7)))
    assert f"2 of {len(planted(7))} found" in score.title


def test_the_numbers_to_give_out_plant_as_many_faults_as_the_page_says() -> None:
    rows = re.findall(r"^\| ([123]) \| ([\d, ]+) \|$", section("## The game"), re.MULTILINE)
    assert [row[0] for row in rows] == ["1", "2", "3"]
    for count, seeds in rows:
        assert {len(planted(int(seed))) for seed in seeds.split(",")} == {int(count)}
    assert f"There are {len(FAULTS)}" in PAGE


def test_the_answer_is_printed_for_the_trainer() -> None:
    read_me = (Path(mystery.__file__).parent / "README.md").read_text(encoding="utf-8")
    (command,) = re.findall(r'python -c "(.*mystery.*)"$', read_me, re.MULTILINE)
    done = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=True)
    assert ast.literal_eval(done.stdout) == [each.name for each in planted(7)]


async def test_one_command_prepares_a_tenant_that_can_be_copied_for_each_person(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], opening: Opening
) -> None:
    for text in (PAGE, (NOTEBOOKS.parent / "README.md").read_text(encoding="utf-8")):
        assert "`jitkit prepare 07`" in text
    home = tmp_path / "room.fresh" / ".kit"
    monkeypatch.setenv("JIT_KIT_HOME", str(home))
    assert await asyncio.to_thread(main, ["prepare", "02"]) == 0
    made = await opening(Path(shutil.copytree(home, tmp_path / "p01" / ".kit")))
    await made.require("02")
    assert (await made.attribute.show()).status == "read"
    capsys.readouterr()
    assert main(["prepare", "02"]) == 1
    assert "There is a tenant in" in capsys.readouterr().err
    for number in ("7", "00"):
        assert main(["prepare", number]) == 1
        assert "Choose one of 01, 02" in capsys.readouterr().err
    monkeypatch.setenv("JIT_KIT_HOME", str(tmp_path / "live"))
    live = settings.Profile(mode="live", tenant="contoso.onmicrosoft.com", endpoint_host="jit.contoso.com")
    settings.save(tmp_path / "live", live)
    assert main(["prepare", "02"]) == 1
    assert "a real tenant's key" in capsys.readouterr().err


def test_people_share_an_install_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", f"{NOTEBOOKS.parent}:{NOTEBOOKS.parent / 'src'}")
    spec = importlib.util.spec_from_file_location("room", ROOM)
    assert spec and spec.loader
    room = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(room)
    monkeypatch.setattr(room, "SAMPLE_SECONDS", 0.2)
    figures = room.try_room(tmp_path / "room", 2, "01")
    assert (figures["went through"], figures["errors"]) == (2, []), json.dumps(figures)
    for person in ("p01", "p02"):
        folder = tmp_path / "room" / person
        assert (folder / "notebooks" / "00-start-here.ipynb").is_file()
        assert (folder / "sample_data" / "legacy_users.csv").is_file()
        assert (folder / ".kit" / "rehearsal.sqlite3").is_file()
    assert json.loads((tmp_path / "room" / "p01" / ".kit" / "profile.json").read_text())["mode"] == "rehearsal"

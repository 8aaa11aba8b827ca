"""The trainer's page: the agendas add up, the solutions run, and the room is set up as it says."""

from __future__ import annotations

import ast
import importlib.util
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sessions import Opening

from helpers.run_notebooks import NOTEBOOKS, in_order
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
    promised = {
        int(number) for found in re.findall(r"exercises? ([\d and]+)", day) for number in re.findall(r"\d+", found)
    }
    assert promised == {int(number) for number in re.findall(r"^### Exercise (\d+)", PAGE, re.MULTILINE)}


# What the last line of each solution shows, with the sample's first ten people.
SHOWN: dict[int, Callable[[Any], bool]] = {
    1: lambda counts: (counts.to_migrate, counts.unmarked) == (10, 0),
    2: lambda done: done.migrated,
    3: lambda answers: answers == {"iris": "MigratePassword", "gus": "Block", "eve": "UpdatePassword", "kim": "Retry"},
    4: lambda actions: actions == ["MigratePassword"],
    5: lambda kim: kim == (False, True, "silent"),
    6: lambda counts: counts[0] == sum(counts[1].values()) and counts[1]["callout"] and counts[1]["reset"],
    7: lambda outcome: outcome == "signed in",
}


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


async def test_each_solution_runs_and_shows_what_it_says(
    home: Path, opening: Opening, capsys: pytest.CaptureFixture[str]
) -> None:
    names: dict[str, Any] = {"s": await opening(home)}
    for number, right in SHOWN.items():
        shown = None
        for code in CODE.findall(section(f"### Exercise {number}")):
            shown = await run(code, names)
        assert right(shown), (number, shown)
    assert "does not have the new key" in capsys.readouterr().out
    await (await names["s"].rehearsal.mystery(1)).give_up()  # the tenant is in order after them


async def test_the_game_is_played_as_the_page_shows(home: Path, opening: Opening) -> None:
    names: dict[str, Any] = {"s": await opening(home)}
    (code,) = CODE.findall(section("## The game"))
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
    (command,) = re.findall(r'python -c "(.*)"$', PAGE, re.MULTILINE)
    done = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=True)
    assert ast.literal_eval(done.stdout) == [each.name for each in planted(7)]


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

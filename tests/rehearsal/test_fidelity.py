"""The statement of fidelity is what the code makes, and nothing in it is without a test."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from jitkit.rehearsal import behaviours, fidelity
from jitkit.rehearsal.graph.dispatch import all_routes
from jitkit.rehearsal.switches import SWITCHES

MAKE = "make it again with: python -m jitkit.rehearsal.fidelity"
SOUND = "A behaviour | documented | live | | rehearsal/test_fidelity.py::test_nothing_is_missing"


def test_nothing_is_missing() -> None:
    found = fidelity.problems()
    assert not found, "behaviours.txt beside src/jitkit/rehearsal/fidelity.py:\n" + "\n".join(found)


def test_the_committed_page_is_what_the_code_makes() -> None:
    if fidelity.problems():
        pytest.skip("something is missing, as the other test says")
    # Not compared by assert, which would print both.
    same = fidelity.PAGE.read_text(encoding="utf-8") == fidelity.page()
    assert same, f"{fidelity.PAGE.name} is another one; {MAKE}"


def test_every_route_and_every_switch_is_on_the_page() -> None:
    page = fidelity.page()
    assert [route.path for route in all_routes() if f"`{route.path}`" not in page] == []
    assert [name for name in SWITCHES if f"| `{name}` |" not in page] == []


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A table of the test's own, in place of the real one."""
    path = tmp_path / "behaviours.txt"
    path.write_bytes(behaviours.TABLE.read_bytes())
    monkeypatch.setattr(behaviours, "TABLE", path)
    behaviours._sections.cache_clear()
    yield path
    behaviours._sections.cache_clear()


def told(table: Path, line: str, section: str = "Users") -> list[str]:
    """What is new among the problems when a line is added."""
    before = [without_place(problem) for problem in fidelity.problems()]
    text = table.read_text(encoding="utf-8")
    table.write_text(text.replace(f"[{section}]\n", f"[{section}]\n{line}\n"), encoding="utf-8")
    behaviours._sections.cache_clear()
    return [each for each in map(without_place, fidelity.problems()) if each not in before]


def without_place(problem: str) -> str:
    """A problem without the number of its line, which another line moves."""
    return re.sub(r"^behaviours\.txt:\d+: ", "", problem)


def test_a_sound_line_is_accepted(table: Path) -> None:
    assert told(table, SOUND) == []


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (SOUND.replace("documented", "known"), "'known' is not one of"),
        (SOUND.replace("live", "hearsay"), "'hearsay' is not in [Sources]"),
        (SOUND.replace("nothing_is", "nothing_was"), "the nearest is test_nothing_is_missing"),
        (SOUND.replace("test_fidelity.py", "test_nobody.py"), "there is no file tests/rehearsal/test_nobody.py"),
        (SOUND.replace("documented", "assumed"), "names no switch and says not why"),
        (SOUND.replace("documented | live | |", "assumed | live | none: |"), "there is no switch none:"),
        (SOUND.replace("| |", "| allow_loopbak |"), "the nearest is allow_loopback"),
        ("Half a line | documented | live", "there is no file tests/"),
    ],
)
def test_a_line_that_is_wrong_says_why(table: Path, line: str, says: str) -> None:
    found = told(table, line)
    assert any(says in each for each in found), found


@pytest.mark.parametrize(
    ("start", "says"),
    [
        ("1003027: ", "no line tells of 1003027"),
        ("GET /organization/{id} ", "[Graph routes] has no line"),
        ("POST /rehearsal/reset ", "[Other routes] has no line for: POST /rehearsal/reset |"),
        ("Retry does not count ", "no line names the switch retry_counts_for_lockout"),
    ],
)
def test_a_line_that_is_missing_is_named(table: Path, start: str, says: str) -> None:
    lines = table.read_text(encoding="utf-8").splitlines(keepends=True)
    table.write_text("".join(line for line in lines if not line.startswith(start)), encoding="utf-8")
    behaviours._sections.cache_clear()
    assert any(problem.startswith(says) for problem in fidelity.problems())


def test_a_route_that_is_gone_is_named(table: Path) -> None:
    assert told(table, SOUND.replace("A behaviour", "GET /rehearsal/gone"), "Other routes") != []
    assert any("[Other routes] names a route that is not served" in problem for problem in fidelity.problems())

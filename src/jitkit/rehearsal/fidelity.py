"""The statement of fidelity: what the rehearsal tenant does, how that is known, and which test holds it.

Routes and switches are read from the code, behaviours from `behaviours.txt` beside this file. To make the page again:
`python -m jitkit.rehearsal.fidelity`.
"""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from jitkit.protocol import CALLOUT_ERRORS
from jitkit.rehearsal.behaviours import (
    GRAPH,
    NOT_IMITATED,
    OTHER,
    ROOT,
    SOURCES,
    Line,
    lines,
    operations,
    other_routes,
    pairs,
    tests,
)
from jitkit.rehearsal.switches import SWITCHES

__all__ = ["PAGE", "page", "problems"]

PAGE: Final = ROOT / "FIDELITY.md"
_GRADES: Final = ("documented", "observed", "assumed", "rehearsal")
_NONE: Final = "none: "
# Each replayed example of the reference is a test there that has its name.
_EXAMPLES: Final = "tests/rehearsal/graph/test_contract.py"


# --- what is wrong with it -------------------------------------------------------------------------------------------


def problems() -> list[str]:
    """Find what the table lacks: each is one line that says where, and what to write."""
    told = lines()
    return [
        *(problem for line in told for problem in _wrong(line)),
        *_unnamed_switches(told),
        *_unheld_operations(),
        *_unnamed_routes(told),
        *_unnamed_numbers(told),
    ]


def _wrong(line: Line) -> Iterator[str]:
    if line.grade not in _GRADES:
        yield f"{line.place}: {line.grade!r} is not one of {', '.join(_GRADES)} ({line.what})"
    known = line.source.startswith("Graph: ") or line.source in pairs(SOURCES)
    if not known and not (line.grade == "rehearsal" and not line.source):
        yield f"{line.place}: the source {line.source!r} is not in [{SOURCES}]"
    if line.switch and not line.switch.startswith(_NONE) and line.switch not in SWITCHES:
        yield f"{line.place}: there is no switch {line.switch}{_nearest(line.switch, SWITCHES)}"
    if line.grade == "assumed" and not line.switch.removeprefix(_NONE):
        yield f"{line.place}: assumed, but it names no switch and says not why there is none ({line.what})"
    yield from _no_such_test(line.place, line.test)


def _no_such_test(place: str, test: str) -> Iterator[str]:
    name, _, function = test.partition("::")
    file, function = ROOT / "tests" / name, function.partition("[")[0]
    if not file.is_file():
        yield f"{place}: there is no file tests/{name}"
    elif function not in tests(file):
        yield f"{place}: tests/{name} has no {function or 'test named here'}{_nearest(function, tests(file))}"


def _nearest(name: str, names: Iterable[str]) -> str:
    found = difflib.get_close_matches(name, names, 1)
    return f"; the nearest is {found[0]}" if found else ""


def _unnamed_switches(told: Sequence[Line]) -> Iterator[str]:
    named = {line.switch for line in told}
    for switch in SWITCHES.values():
        if switch.name not in named:
            yield f"no line names the switch {switch.name}: {switch.means} {switch.why}"


def _unheld_operations() -> Iterator[str]:
    held, known = pairs(GRAPH), {operation.name: operation for operation in operations()}
    for name, operation in known.items():
        if not operation.examples and name not in held:
            yield f"[{GRAPH}] has no line, and the reference no replayed example, for: {name} |"
    for name, test in held.items():
        if name not in known:
            yield f"[{GRAPH}] names a route that is not the first address of an operation: {name}"
        yield from _no_such_test(f"[{GRAPH}] {name}", test)


def _unnamed_routes(told: Sequence[Line]) -> Iterator[str]:
    named, served = {line.what for line in told if line.section == OTHER}, other_routes()
    yield from (f"[{OTHER}] has no line for: {name} |" for name in sorted(served - named))
    yield from (f"[{OTHER}] names a route that is not served: {name}" for name in sorted(named - served))


def _unnamed_numbers(told: Sequence[Line]) -> Iterator[str]:
    said = " ".join([*(line.what for line in told), *pairs(NOT_IMITATED)])
    for number, name in CALLOUT_ERRORS.items():
        if str(number) not in said:
            yield f"no line tells of {number} {name}; what is not imitated goes into [{NOT_IMITATED}]"


def page() -> str:
    """Write the statement as Markdown."""
    told = lines()
    heads = ("What it does", "Known", "Source", "Switch", "Held by")
    parts = [_opening(told)]
    for section in dict.fromkeys(line.section for line in told if line.section != OTHER):
        parts.append(_table(section, heads, (_row(line, line.what) for line in told if line.section == section)))
    parts.append(
        _table("Microsoft Graph, route by route", ("Route", "Known", "Page of the reference", "Held by"), _graph())
    )
    others = (_row(line, f"`{line.what}`") for line in told if line.section == OTHER)
    parts.append(_table(OTHER, ("Route", *heads[1:]), others))
    parts.append(_table("Switches", ("Switch", "As it comes", "What it does", "What is known"), _switches()))
    parts.append(_table(NOT_IMITATED, ("What", "Why"), pairs(NOT_IMITATED).items()))
    parts.append(_table(SOURCES, ("Short", "In full"), pairs(SOURCES).items()))
    return "\n".join(parts)


def _opening(told: Sequence[Line]) -> str:
    grades = [line.grade for line in told] + [operation.route.grade for operation in operations()]
    count = {grade: grades.count(grade) for grade in _GRADES}
    return f"""# Statement of fidelity

How far the rehearsal tenant can be trusted to do what a real one does. **Not verified live**: the kit was built from
Microsoft's documentation and from what people with a real tenant published.

| Known | Means | Lines |
|---|---|---|
| documented | a page of Microsoft's says so | {count["documented"]} |
| observed | seen at a real tenant by others, and published | {count["observed"]} |
| assumed | no page says so: a switch turns it the other way, or the line says why there is none | {count["assumed"]} |
| rehearsal | the service has nothing like it | {count["rehearsal"]} |

This page is made from the code by `python -m jitkit.rehearsal.fidelity`. A test fails when it is not what the code
makes, when a line names a test that does not exist, and when a route or a switch is in no line.
"""


def _row(line: Line, what: str) -> tuple[str, ...]:
    why_none = line.switch.startswith(_NONE)
    switch = line.switch.removeprefix(_NONE) if why_none or not line.switch else f"`{line.switch}`"
    return what, line.grade, line.source, switch, f"`tests/{line.test}`"


def _graph() -> Iterator[tuple[str, ...]]:
    held = pairs(GRAPH)
    for operation in operations():
        tests_of = [f"`tests/{held[operation.name]}`"] if operation.name in held else []
        if operation.examples:
            tests_of.append(f"`{_EXAMPLES}`: {', '.join(operation.examples)}")
        route = f"{operation.route.method} {'<br>'.join(f'`{path}`' for path in operation.paths)}"
        yield route, operation.route.grade, operation.route.source, "<br>".join(tests_of)


def _switches() -> Iterator[tuple[str, ...]]:
    for each in SWITCHES.values():
        default = f"{each.default:,g}" if not isinstance(each.default, bool) else "on" if each.default else "off"
        yield f"`{each.name}`", default, each.means, each.why


def _table(title: str, heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    body = "".join(f"| {' | '.join(row)} |\n" for row in rows)
    return f"## {title}\n\n| {' | '.join(heads)} |\n|{'---|' * len(heads)}\n{body}"


def main() -> int:
    """Write FIDELITY.md, or say what the table lacks.

    Returns:
        The exit code: 1 when something is lacking.
    """
    found = problems()
    if found:
        sys.stderr.write("\n".join(found) + "\n")
        return 1
    PAGE.write_text(page(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

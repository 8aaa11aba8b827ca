"""What came out of the cases: a table for people, JSON for machines, JUnit for CI."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from xml.etree import ElementTree

from jitkit.conformance.catalogue import Case
from jitkit.errors import SettingsError

PASS: Final = "pass"  # noqa: S105
FAIL: Final = "fail"
SKIPPED: Final = "skipped"


@dataclass(frozen=True)
class Outcome:
    """The result of one case: pass, fail or skipped; the reason, empty for a pass; and how many seconds it took."""

    case: Case
    result: str
    reason: str
    seconds: float


def line(outcome: Outcome) -> str:
    """Write one case as one line, and the reason under it."""
    case = outcome.case
    word = outcome.result if outcome.result != FAIL else ("FAIL" if case.required else "differs")
    first = f"  {case.id:<4} {word:<8} {case.why}"
    return f"{first}\n{'':16}{outcome.reason} [{case.source}]" if outcome.reason else first


def summary(outcomes: Sequence[Outcome]) -> str:
    """Count the results; differences of policy are counted apart from failures."""
    results = Counter(outcome.result for outcome in outcomes)
    policy = results[FAIL] - len(failed(outcomes))
    parts = [f"{results[PASS]} passed", f"{len(failed(outcomes))} failed"]
    if policy:
        parts.append(f"{policy} differ from what the suite advises (a choice of policy)")
    if results[SKIPPED]:
        parts.append(f"{results[SKIPPED]} skipped, each with its reason above")
    return f"{'; '.join(parts)}. {sum(outcome.seconds for outcome in outcomes):.0f} s."


def failed(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Return the required cases that failed."""
    return [outcome for outcome in outcomes if outcome.result == FAIL and outcome.case.required]


def write_json(outcomes: Sequence[Outcome], path: Path, url: str) -> None:
    """Write every outcome as JSON."""
    rows = [
        {name: getattr(each.case, name) for name in ("id", "area", "why", "source", "required")}
        | {"result": each.result, "reason": each.reason, "seconds": round(each.seconds, 3)}
        for each in outcomes
    ]
    _write(path, json.dumps({"url": url, "passed": not failed(outcomes), "cases": rows}, indent=2) + "\n")


def write_junit(outcomes: Sequence[Outcome], path: Path) -> None:
    """Write every outcome as JUnit XML; a difference of policy is a skipped test there, with its reason.

    pytest's own writer is not used: it would write one test for each row of a case's table.
    """
    suite = ElementTree.Element("testsuite", name="jitkit check", tests=str(len(outcomes)))
    suite.set("failures", str(len(failed(outcomes))))
    suite.set("skipped", str(sum(outcome.result != PASS for outcome in outcomes) - len(failed(outcomes))))
    for outcome in outcomes:
        name = f"{outcome.case.id} {outcome.case.why}"
        test = ElementTree.SubElement(suite, "testcase", classname=outcome.case.area, name=name)
        test.set("time", f"{outcome.seconds:.3f}")
        if outcome.result != PASS:
            tag = "failure" if outcome.result == FAIL and outcome.case.required else "skipped"
            ElementTree.SubElement(test, tag, message=f"{outcome.reason} [{outcome.case.source}]")
    _write(path, ElementTree.tostring(suite, encoding="unicode", xml_declaration=True) + "\n")


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise SettingsError(
            f"{path} cannot be written.", service=error.strerror, next_step="Name a file in an existing folder."
        ) from None

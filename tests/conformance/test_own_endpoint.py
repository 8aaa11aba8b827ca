"""The kit's own endpoint passes its own suite, start-up and load included."""

from __future__ import annotations

from jitkit.conformance.case import Outcome
from jitkit.conformance.own import check_own
from jitkit.conformance.report import line

from .conftest import too_busy


async def test_the_kits_endpoint_passes_every_case() -> None:
    told: list[Outcome] = []
    outcomes = await check_own((), told.append)
    assert [line(outcome) for outcome in outcomes if outcome.result != "pass" and not too_busy(outcome)] == []
    assert told == outcomes

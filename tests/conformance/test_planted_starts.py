"""The planted endpoint as a process: it passes every case, and its faults at the start are found."""

from __future__ import annotations

import sys
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import pytest

from jitkit.conformance.case import Outcome
from jitkit.conformance.issuer import Issuer
from jitkit.conformance.launcher import Launcher, settings_for
from jitkit.conformance.legacy import Legacy
from jitkit.conformance.own import own_settings
from jitkit.conformance.run import check_started

from .conftest import short_config, too_busy
from .faults_at_start import STARTS


async def _check(fault: str, only: Collection[str], folder: Path) -> list[Outcome]:
    config = replace(short_config(), logs=(folder,))

    def launcher(issuer: Issuer, legacy: Legacy | None) -> Launcher:
        settings = settings_for(config, issuer, legacy) | own_settings(config) | {"PLANTED": fault}
        return Launcher(settings, folder, [sys.executable, "-m", "tests.conformance.planted"])

    return await check_started(config, launcher, only, lambda _: None)


async def test_without_a_fault_every_case_passes(tmp_path: Path) -> None:
    outcomes = await _check("", (), tmp_path)
    assert [
        (outcome.case.id, outcome.reason) for outcome in outcomes if outcome.result != "pass" and not too_busy(outcome)
    ] == []


@pytest.mark.parametrize(("fault", "meant"), STARTS.items(), ids=lambda value: str(value).replace(" ", "-"))
async def test_a_fault_at_the_start_is_found(fault: str, meant: str, tmp_path: Path) -> None:
    outcomes = await _check(fault, meant.split(), tmp_path)
    assert [(outcome.case.id, outcome.result) for outcome in outcomes] == [(case, "fail") for case in meant.split()]

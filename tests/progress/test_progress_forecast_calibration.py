"""The range holds the truth about as often as it says, on a few migrations simulated person by person."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def calibration(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.delitem(sys.modules, "calibration", raising=False)
    return importlib.import_module("calibration")


def test_the_range_is_neither_nonsense_nor_too_wide_to_be_of_use(calibration: ModuleType) -> None:
    kinds = ["mixed habits", "office hours", "monthly shop", "many never return", "mails, known", "flagged in waves"]
    played = [
        row for seed, kind in enumerate(kinds) for row in calibration.judge(kind, 77 + seed, (10, 20, 40)[seed % 3])
    ]
    rows = pd.DataFrame(played)
    assert not rows["early"].any()
    # 12 judgements at 80 %: fewer than 6 hits would come of chance once in 250 times.
    assert rows["inside"].sum() >= 6
    assert rows["width"].median() < 0.25
    assert rows["error"].median() < rows["line"].median()
    assert rows["error"].median() < rows["exponential"].median()


def test_a_simulated_migration_is_the_same_each_time_and_holds_its_mails_before_the_cut(
    calibration: ModuleType,
) -> None:
    first, second = (calibration.migration("mails, known", 5, 20) for _ in range(2))
    pd.testing.assert_frame_equal(first.users, second.users)
    assert first.windows
    assert max(start for start, _ in first.windows) < calibration.START + pd.Timedelta(days=20)
    moved = first.users["migrated_at"]
    assert (moved.dropna() >= first.users.loc[moved.notna(), "flagged_at"]).all()

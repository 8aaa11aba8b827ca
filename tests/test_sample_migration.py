"""The recorded migration is what its script records and its README says."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pandas as pd
import pyarrow.parquet as pq
import pytest

SAMPLES = Path(__file__).parents[1] / "sample_data"
FOLDER = SAMPLES / "migration"
KINDS = ("users", "sign_ins", "ledger")


@pytest.mark.parametrize("kind", KINDS)
def test_the_files_were_recorded_from_the_scenario_that_stands_in_the_script(record: ModuleType, kind: str) -> None:
    assert pq.read_schema(FOLDER / f"{kind}.parquet").metadata[b"scenario"].decode() == repr(record.SCENARIO)


def test_the_first_days_recorded_anew_are_the_committed_ones(record: ModuleType) -> None:
    days = 2
    plan = record.SCENARIO.plan
    again = record.record(replace(record.SCENARIO, plan=replace(plan, days=days)))
    end = pd.Timestamp(plan.start) + pd.Timedelta(days=days)
    for kind in ("sign_ins", "ledger"):
        known = pd.read_parquet(FOLDER / f"{kind}.parquet")
        known = known[known["time"] < end].reset_index(drop=True)
        assert len(known) > 300
        found = getattr(again, kind)
        pd.testing.assert_frame_equal(found.astype(str), known.astype(str)[list(found.columns)], check_dtype=False)
    known = pd.read_parquet(FOLDER / "users.parquet")
    later = known["migrated_at"] >= end
    known[["migrated_at", "path"]] = known[["migrated_at", "path"]].mask(later)
    pd.testing.assert_frame_equal(again.users.astype(str), known.astype(str), check_dtype=False)


def test_there_are_ids_and_neither_names_nor_passwords() -> None:
    for kind in KINDS:
        raw = (FOLDER / f"{kind}.parquet").read_bytes()
        assert b"woodgrove.example" not in raw and b"sunflower" not in raw and b"Person" not in raw
        texts = pd.read_parquet(FOLDER / f"{kind}.parquet").select_dtypes(exclude=["number", "datetimetz"])
        assert not any(column.astype(str).str.contains("@").any() for _, column in texts.items())


def test_the_files_are_small() -> None:
    assert sum(path.stat().st_size for path in SAMPLES.rglob("*") if path.is_file()) < 5_000_000


def test_the_readme_counts_and_columns_are_true() -> None:
    readme = (SAMPLES / "README.md").read_text(encoding="utf-8")
    for kind in KINDS:
        frame = pd.read_parquet(FOLDER / f"{kind}.parquet")
        assert re.search(rf"\| `{kind}.parquet` \| [^|]+ \| {len(frame):,} \|", readme), len(frame)
        told = readme[readme.index(f"| Column of `{kind}` |") :].split("\n\n")[0]
        assert re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (`.*?) \|", told, re.MULTILINE))) == list(frame.columns)

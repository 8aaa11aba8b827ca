"""Record the migration in `migration/`: some months of invented people at the rehearsal tenant.

    python sample_data/record.py

plays the plan below through the tenant's own sign-in and the kit's own endpoint, and rewrites the three tables beside
this file. It takes some ten minutes. The plan, its seed and this script always make the same rows; `README.md` tells
what is in them, and which stories were planted.
"""

from __future__ import annotations

import argparse
import contextlib
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from helpers.simulate import Simulation, simulate
from jitkit.progress.assemble import assemble
from jitkit.progress.collect import users_from_graph
from jitkit.progress.log_analytics import audits_from_graph, sign_ins_from_graph
from jitkit.progress.table_files import read_table
from jitkit.rehearsal.population.plan import App, Campaign, Plan, Stuffing, Trouble
from jitkit.rehearsal.tenant import RehearsalTenant

FOLDER: Final = Path(__file__).parent / "migration"
_NEVER: Final = 10_000.0

PLAN: Final = Plan(
    seed=20260601,
    start=datetime(2026, 6, 1, tzinfo=UTC),
    days=120,
    people=10_000,
    apps=(
        App("Webshop", 0.5),
        App("Mobile app", 0.3),
        App("Loyalty club", 0.08),
        App("Partner portal", 0.12, covered_from=_NEVER),
    ),
    troubles=(
        Trouble("store away", day=11 + 8 / 24, hours=9),
        Trouble("lull", day=24, hours=9 * 24),
        Trouble("certificate ended", day=75, hours=57),
    ),
    campaigns=(Campaign(day=50, treated=0.25, answers=0.2, within_days=6),),
    stuffing=(Stuffing(day=96.5, hours=30, tries=1500, addresses=3),),
)

# How long before the first day the old system saw somebody last. Dates would say more about people than is needed.
_BANDS: Final = {30: "0-30 days before", 90: "31-90 days before", 365: "91-365 days before", 10_000: "earlier"}
# The habit is what a real migration does not know; the key differs with each recording, and the group is put in words.
_COLUMNS: Final = ("app", "country", "hash_scheme", "last_legacy_sign_in", "campaign")


@dataclass(frozen=True)
class Recording:
    """The three tables of a migration."""

    users: pd.DataFrame
    sign_ins: pd.DataFrame
    ledger: pd.DataFrame


def record(plan: Plan, *, progress: bool = False) -> Recording:
    """Play a plan and read what it left: as a collector would, from users, logs and ledger.

    Args:
        plan: what happens.
        progress: whether to show a bar.
    """
    with tempfile.TemporaryDirectory() as folder, tqdm(total=plan.days, unit="day", disable=not progress) as bar:
        return _read(plan, simulate(plan, Path(folder), each_day=lambda _: bar.update()))


def write(recording: Recording, plan: Plan, folder: Path) -> None:
    """Write the tables as Parquet, with the plan beside the data.

    Args:
        recording: the tables.
        plan: what they were recorded from.
        folder: where to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for kind in ("users", "sign_ins", "ledger"):
        table = pa.Table.from_pandas(getattr(recording, kind), preserve_index=False)
        table = table.replace_schema_metadata({**(table.schema.metadata or {}), "plan": repr(plan)})
        pq.write_table(table, folder / f"{kind}.parquet", compression="zstd", compression_level=19)


def _read(plan: Plan, done: Simulation) -> Recording:
    tenant = RehearsalTenant.open(done.tenant)
    with contextlib.closing(tenant):
        rows = tenant.directory.rows(
            "SELECT json_extract(body, ?) AS flag, id, created FROM users", (f"$.{done.flag}",)
        )
        sign_ins = sign_ins_from_graph(tenant.sign_in_rows())
        audits = audits_from_graph(tenant.audit_rows(), done.flag)
    end = pd.Timestamp(plan.moment(plan.days), unit="s", tz="UTC").as_unit("us")
    users = [
        {
            "id": row["id"],
            "createdDateTime": pd.Timestamp(row["created"], unit="s", tz="UTC").isoformat(),
            done.flag: bool(row["flag"]),
        }
        for row in rows
    ]
    tables = assemble(
        users_from_graph(users, done.flag, end),
        seen_at=end,
        sign_ins=sign_ins,
        audits=audits,
        ledger=read_table(done.ledger, "ledger"),
        dimensions=_dimensions(plan, done.dimensions),
    )
    return Recording(tables.users, tables.sign_ins, tables.ledger.drop(columns="key"))


def _dimensions(plan: Plan, file: Path) -> pd.DataFrame:
    people = pd.read_csv(file, dtype=str, keep_default_na=False)
    absent = (pd.Timestamp(plan.start) - pd.to_datetime(people["last_legacy_sign_in"], utc=True)).dt.days
    people["last_legacy_sign_in"] = pd.cut(absent, [-1, *_BANDS], labels=[*_BANDS.values()]).astype("str")
    groups = {"": None}
    for campaign in plan.campaigns:
        sent = f"{datetime.fromtimestamp(plan.moment(campaign.day), UTC):%Y-%m-%d}"
        groups |= {
            f"reminded on day {campaign.day:g}": f"reached {sent}",
            f"not reminded on day {campaign.day:g}": f"control {sent}",
        }
    people["campaign"] = people["campaign"].map(groups)
    return people[["user_id", *_COLUMNS]]


def main() -> None:
    """Record the plan."""
    parser = argparse.ArgumentParser(description="Record the sample migration.")
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder for the three tables")
    write(record(PLAN, progress=True), PLAN, parser.parse_args().out)


if __name__ == "__main__":
    main()

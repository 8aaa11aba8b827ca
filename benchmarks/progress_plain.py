"""What an analyst would write in ten minutes: the daily curve and the counts of failures, and nothing else."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pandas as pd

folder, engine = Path(sys.argv[1]), sys.argv[2]
# Only pandas' own parser reads a file in parts, which saves memory.
parts = {"chunksize": 500_000} if engine == "ujson" else {}


def read(name: str) -> list[pd.DataFrame]:
    found = pd.read_json(folder / f"{name}.jsonl", lines=True, engine=engine, **parts)
    return list(found) if parts else [found]


users = pd.concat(read("users"))
days = pd.to_datetime(users["migrated_at"]).dropna().dt.date.value_counts().sort_index()

ledger = pd.concat(read("ledger")).sort_values("time").drop_duplicates("correlation_id", keep="last")
own = ledger[ledger["action"].isna() | (ledger["action"] == "Block")]
failures = own["cause"].value_counts()

answered = set(own["correlation_id"])
for part in pd.read_json(folder / "sign_ins.jsonl", lines=True, engine=engine, **parts) if parts else read("sign_ins"):
    broken = part[part["callout_error"].fillna(0) != 0]
    broken = broken[~broken["correlation_id"].isin(answered)]
    failures = failures.add(broken["callout_error"].astype(int).astype(str).value_counts(), fill_value=0)

(folder / "plain.json").write_text(
    json.dumps(
        {"curve": {str(day): int(count) for day, count in days.items()}, "failures": failures.astype(int).to_dict()}
    )
)

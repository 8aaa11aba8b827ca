"""The daily curve and the counts of failures by DuckDB, and nothing else: what the same files cost at the least."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import duckdb

folder, ending = Path(sys.argv[1]), sys.argv[2]
duckdb.execute("SET enable_progress_bar = false")
read = duckdb.read_parquet if ending == "parquet" else duckdb.read_json
users, sign_ins, ledger = (read(str(folder / f"{name}.{ending}")) for name in ("users", "sign_ins", "ledger"))

curve = duckdb.sql("SELECT CAST(migrated_at AS DATE), count(*) FROM users WHERE migrated_at IS NOT NULL GROUP BY 1")
own = duckdb.sql(
    "SELECT * FROM (SELECT correlation_id, arg_max(action, time) AS action, arg_max(cause, time) AS cause FROM "
    "(SELECT correlation_id, coalesce(action, '') AS action, cause, time FROM ledger) GROUP BY correlation_id) "
    "WHERE action IN ('', 'Block')"
)
failures = duckdb.sql(
    "SELECT cause, count(*) FROM own GROUP BY 1 UNION ALL "
    "SELECT CAST(callout_error AS VARCHAR), count(*) FROM sign_ins WHERE callout_error <> 0 "
    "AND correlation_id NOT IN (SELECT correlation_id FROM own) GROUP BY 1"
)
found = {"curve": {str(day): count for day, count in curve.fetchall()}, "failures": dict(failures.fetchall())}
(folder / "plain.json").write_text(json.dumps(found))

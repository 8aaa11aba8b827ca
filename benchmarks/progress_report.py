"""The whole report of a folder's files, as `jitkit report` writes it."""

from __future__ import annotations

import sys
from pathlib import Path

from jitkit.progress.report import Figures
from jitkit.progress.table_files import read_table
from jitkit.progress.tables import Tables

folder = Path(sys.argv[1])
tables = Tables(**{kind: read_table(folder / f"{kind}.jsonl", kind) for kind in ("users", "sign_ins", "ledger")})
Figures(tables).report(folder / "report")

"""The whole report of a folder's files, as `jitkit report` writes it."""

from __future__ import annotations

import sys
from pathlib import Path

from jitkit.progress.command import report

folder, ending = Path(sys.argv[1]), sys.argv[2]
files = [folder / f"{kind}.{ending}" for kind in ("users", "sign_ins", "ledger")]
report({}, folder / "report", inputs=files)

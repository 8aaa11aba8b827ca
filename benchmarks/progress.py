"""From files to the finished report, against a DuckDB script that computes two figures of the same files.

    python benchmarks/progress.py                  10,000, 100,000 and 1,000,000 users, ten sign-ins each
    python benchmarks/progress.py 100000 300000    other sizes
    python benchmarks/progress.py --keep DIR       leave the files there, and use those that are there already

Each measurement is a process of its own, one after the other; what it took comes from the operating system. The files
are made first and not counted. Memory is the highest resident set. Print a table for RESULTS.md.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from progress_files import write_files

SIZES = (10_000, 100_000, 1_000_000)
ENDINGS = {"JSON lines": "jsonl", "Parquet": "parquet"}
HERE = Path(__file__).parent


@dataclass(frozen=True)
class Took:
    """What a process took: wall and processor seconds, highest memory in GB."""

    wall: float
    processor: float
    memory: float

    def __str__(self) -> str:
        return f"{self.wall:.1f} s, CPU {self.processor:.1f} s, {self.memory:.2f} GB"


def measured(command: list[str]) -> Took:
    """Run a process to its end."""
    begun = os.times().elapsed
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    wall = os.times().elapsed - begun
    if status:
        raise SystemExit(f"{command[1]} failed")
    return Took(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024**2)


def main() -> None:
    """Measure at each size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sizes", nargs="*", type=int, default=SIZES)
    parser.add_argument("--keep", type=Path, help="the folder for the files")
    given = parser.parse_args()
    print("| Users, sign-ins, calls | Files | Whole report | Two figures by DuckDB | Ratio |")
    print("|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as temporary:
        for users in given.sizes:
            folder = (given.keep or Path(temporary)) / str(users)
            known = folder / "rows.json"
            if not known.exists():
                known.write_text(json.dumps(write_files(folder, users)))
            counts = json.loads(known.read_text())
            rows = ", ".join(f"{count:,}" for count in counts.values())
            for words, ending in ENDINGS.items():
                size = sum((folder / f"{name}.{ending}").stat().st_size for name in counts) / 1e9
                whole, plain = (
                    measured([sys.executable, str(HERE / script), str(folder), ending])
                    for script in ("progress_report.py", "progress_duckdb.py")
                )
                ratio = f"**{whole.wall / plain.wall:.1f}**, CPU {whole.processor / plain.processor:.1f}"
                cells = (rows, f"{words}, {size:.2f} GB", whole, plain, ratio)
                print(f"| {' | '.join(map(str, cells))} |", flush=True)
                agree(folder)


def agree(folder: Path) -> None:
    """Refuse to compare two programs that say different things."""
    plain = json.loads((folder / "plain.json").read_text())
    whole = json.loads((folder / "report" / "metrics.json").read_text())
    failures = {cause.split()[0]: count for cause, count in whole["failures"].items()}
    if sum(plain["curve"].values()) != whole["migrated"] or plain["failures"] != failures:
        raise SystemExit(f"the two disagree: {plain['failures']} and {failures}")


if __name__ == "__main__":
    main()

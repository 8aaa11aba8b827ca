"""Time the whole rehearsal, from an empty folder to the report, as a person waits for it."""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path

import psutil

from helpers.run_notebooks import play


def processor_seconds() -> float:
    """Add up what this process and all below it have used; on a busy machine it says more than the clock."""
    family = [psutil.Process(), *psutil.Process().children(recursive=True)]
    return sum(sum(each.cpu_times()[:4]) for each in family)


def main() -> None:
    """Print the figures as one JSON object."""
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        result = play(Path(folder) / "home")
        taken = time.perf_counter() - started
    figures = {"whole rehearsal, s": round(taken, 1), "processor time, s": round(processor_seconds(), 1)}
    print(json.dumps({**figures, "migrated": result.migrated}, indent=2))


if __name__ == "__main__":
    main()

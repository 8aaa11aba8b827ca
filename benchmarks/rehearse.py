"""Time the whole rehearsal, from an empty folder to the report, as a person waits for it."""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path

from helpers.run_notebooks import play


def main() -> None:
    """Print the figures as one JSON object."""
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        result = play(Path(folder) / "home")
        taken = time.perf_counter() - started
    print(json.dumps({"whole rehearsal, s": round(taken, 1), "migrated": result.migrated}, indent=2))


if __name__ == "__main__":
    main()

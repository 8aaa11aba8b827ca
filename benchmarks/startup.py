"""Measure what people wait for first: importing the kit, and opening a session in a new kernel.

Prints medians of fresh processes and the ratio of `from helpers import kit` to `import pandas`.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile

_RUNS = 7
_TIMED = "import time; t = time.perf_counter(); {code}; print(time.perf_counter() - t)"
_OPEN = """
import asyncio
from helpers import kit

async def go():
    s = await kit.open()
    s._repr_html_()
    await s.close()

"""


def seconds(code: str, home: str) -> float:
    """Run code in fresh processes and return the median of what it took, in seconds."""
    environment = {**os.environ, "JIT_KIT_HOME": home}
    taken = [
        float(
            subprocess.run(
                [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
            ).stdout
        )
        for _ in range(_RUNS)
    ]
    return statistics.median(taken)


def main() -> None:
    """Print the figures as one JSON object."""
    with tempfile.TemporaryDirectory() as home:
        kit = seconds(_TIMED.format(code="import helpers; from helpers import kit"), home)
        pandas = seconds(_TIMED.format(code="import pandas"), home)
        session = seconds(
            f"import time; t = time.perf_counter(){_OPEN}asyncio.run(go()); print(time.perf_counter() - t)", home
        )
    print(
        json.dumps(
            {
                "import helpers, s": round(kit, 3),
                "import pandas, s": round(pandas, 3),
                "ratio": round(kit / pandas, 3),
                "open a session in a new process, s": round(session, 3),
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()

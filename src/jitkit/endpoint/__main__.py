"""`python -m jitkit.endpoint --host H --port P`: serves the endpoint, as `jitkit endpoint` does."""

from __future__ import annotations

import argparse
import sys

from jitkit.endpoint.serve import serve
from jitkit.errors import KitError


def main() -> int:
    """Serve until stopped; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="jitkit.endpoint", description="Serve the endpoint from environment settings."
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=7071)
    chosen = parser.parse_args()
    try:
        serve(host=chosen.host, port=chosen.port)
    except KitError as problem:
        sys.stderr.write(f"\n{problem}\n")
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())

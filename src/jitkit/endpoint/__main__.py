"""`python -m jitkit.endpoint --host H --port P`: serves the endpoint, as `jitkit endpoint` does."""

from __future__ import annotations

import argparse
import sys

from jitkit.endpoint.serve import serve
from jitkit.errors import KitError

if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        prog="jitkit.endpoint", description="Serve the endpoint from environment settings."
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=7071)
    chosen = parser.parse_args()
    try:
        serve(host=chosen.host, port=chosen.port)
    except KitError as problem:
        sys.exit(f"\n{problem}")

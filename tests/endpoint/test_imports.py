"""What starting the endpoint costs: nothing of the notebooks' world is imported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HEAVY = ("msgraph", "pandas", "jupyter_core", "IPython", "matplotlib", "azure", "sqlalchemy", "passlib", "ipywidgets")


def test_the_application_imports_nothing_heavy() -> None:
    code = f"import sys, helpers.endpoint.serve; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"

"""How tests get libraries of JavaScript."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

INSTALL = "install --no-package-lock --no-audit --no-fund --ignore-scripts --prefer-offline --fetch-retries=1"


def install(folder: Path) -> None:
    """Install what the folder's package.json names; skips the test where npm is missing, or cannot."""
    npm = shutil.which("npm")
    if not npm:
        pytest.skip("needs npm (Debian: npm)")
    try:
        done = subprocess.run(
            [npm, *INSTALL.split()], cwd=folder, capture_output=True, text=True, timeout=90, check=False
        )
    except subprocess.TimeoutExpired:
        pytest.skip("npm did not install the libraries within 90 s")
    if done.returncode:
        why = next((line for line in done.stderr.splitlines() if "code" in line), "no reason given")
        pytest.skip(f"npm cannot install the libraries: {why}")

"""A tenant served by a process of its own, for tests that reach it as other programs do."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).parents[2]


@contextlib.contextmanager
def serving(seeded: Path, home: Path, *options: str) -> Iterator[dict[str, Any]]:
    """Run `jitkit rehearsal` on a copy of a tenant's file; it is interrupted afterwards and has to end well.

    Args:
        seeded: the file.
        home: the folder that the copy goes to.
        options: further words of the command.

    Yields:
        What it printed.
    """
    (home / "rehearsal.sqlite3").write_bytes(seeded.read_bytes())
    process = subprocess.Popen(
        [sys.executable, "-m", "helpers", "rehearsal", *options],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'src'}", "JIT_KIT_HOME": str(home)},
    )
    assert process.stdout
    try:
        line = process.stdout.readline()
        assert line, process.communicate(timeout=60)
        yield json.loads(line)
    finally:
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=60)
    assert (process.returncode, output, errors) == (0, "", ""), (process.returncode, errors)


@contextlib.contextmanager
def administrator(served: dict[str, Any], **options: Any) -> Iterator[httpx.Client]:
    """An HTTP client with the administrator's token.

    Args:
        served: what the process printed.
        options: for httpx.
    """
    form = {
        "grant_type": "client_credentials",
        "client_id": served["client_id"],
        "client_secret": served["client_secret"],
        "scope": "https://graph.microsoft.com/.default",
    }
    with httpx.Client(base_url=served["graph"], timeout=60, **options) as opened:
        token = opened.post(f"{served['authority']}/{served['tenant_id']}/oauth2/v2.0/token", data=form).json()
        opened.headers["Authorization"] = f"Bearer {token['access_token']}"
        yield opened

"""Another language's client: Microsoft's JavaScript libraries set the served tenant up, and the endpoint answers."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import bcrypt
import npm
import pytest
from rehearsal.served import ROOT, serving

HERE = Path(__file__).parent
USERNAME, PASSWORD = "ada@woodgrove.example", "Legacy#Password-2"


@pytest.fixture(scope="module")
def node() -> str:
    """Node.js with the libraries that package.json names, installed beside it."""
    found = shutil.which("node")
    if not found:
        pytest.skip("needs node (Debian: nodejs)")
    version = subprocess.run([found, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    if int(version.lstrip("v").split(".")[0]) < 20:
        pytest.skip(f"needs node 20 or newer, not {version}")
    npm.install(HERE)
    return found


@pytest.fixture
def legacy(tmp_path: Path) -> str:
    """A legacy store with one person in it."""
    path = tmp_path / "legacy.sqlite3"
    hashed = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(10)).decode()
    with sqlite3.connect(path) as store:
        store.execute("CREATE TABLE legacy_users (username, password_hash, status, must_change)")
        store.execute("INSERT INTO legacy_users VALUES (?, ?, 'active', 0)", (USERNAME, hashed))
    store.close()
    return f"sqlite:///{path}"


def run(node: str, told: dict[str, Any]) -> dict[str, Any]:
    """Run the script and return the JSON line that it ends with."""
    done = subprocess.run(
        [node, str(HERE / "migrate.mjs")],
        input=json.dumps(told),
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
        cwd=ROOT,
        env={
            **os.environ,
            "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'src'}",
            "NODE_EXTRA_CA_CERTS": told["served"]["ca"],
        },
    )
    assert done.returncode == 0, done.stderr
    assert PASSWORD not in done.stdout + done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def test_microsofts_javascript_client_sets_the_tenant_up_and_the_endpoint_migrates_a_user(
    node: str, legacy: str, untouched: Path, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    with serving(untouched, home, "--tls") as served:
        told = {"served": served, "python": sys.executable, "legacy": legacy}
        result = run(node, {**told, "username": USERNAME, "password": PASSWORD})
    assert (result["validation"]["errors"], result["validation"]["warnings"]) == ([], [])
    assert result["wrong"] == {
        "outcome": "wrong password",
        "migrated": False,
        "path": None,
        "called_endpoint": True,
        "callout_error": None,
    }
    assert result["before"] is True
    assert result["first"] == {**result["wrong"], "outcome": "signed in", "migrated": True, "path": "callout"}
    assert result["after"] is False
    assert result["second"] == {**result["wrong"], "outcome": "signed in", "called_endpoint": False}
    made = [(event, outcome["errorCode"], outcome["httpStatus"]) for event, outcome in result["callouts"]]
    assert made == [("passwordSubmit", 0, 200)] * 2

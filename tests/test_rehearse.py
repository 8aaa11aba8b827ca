"""The whole migration in one go: true figures, pages that open offline, and a password that is found nowhere."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import re
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import pytest

from helpers import notebook_runs
from helpers.legacy_export import normalise
from helpers.rehearse import Result, play
from helpers.worlds import SAMPLE_DATA
from jitkit.errors import KitError

CANARY = "Kanarie-Vogel&7319"
PEOPLE = 160


@dataclass(frozen=True)
class Played:
    result: Result
    html: Path
    printed: str


def _sample(folder: Path) -> Path:
    """Cut the sample data, and give its first person the canary as password."""
    folder.mkdir()
    salt = b"12345678"
    ssha = "{SSHA}" + base64.b64encode(hashlib.sha1(CANARY.encode() + salt).digest() + salt).decode()
    with (SAMPLE_DATA / "legacy_users.csv").open(encoding="utf-8", newline="") as file:
        users = list(csv.DictReader(file))[:PEOPLE]
    known = {normalise(user["username"]) for user in users}
    with (SAMPLE_DATA / "people.csv").open(encoding="utf-8", newline="") as file:
        people = [person for person in csv.DictReader(file) if normalise(person["username"]) in known]
    assert users[0]["username"] == people[0]["username"] == "ada@woodgrove.example"
    users[0]["password_hash"], people[0]["password"] = ssha, CANARY
    for name, rows in (("legacy_users.csv", users), ("people.csv", people)):
        with (folder / name).open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    return folder / "legacy_users.csv"


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Played]:
    folder = tmp_path_factory.mktemp("rehearsal")
    export = _sample(folder / "sample")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        capture = io.StringIO()
        patch.setattr("sys.stderr", capture)
        patch.setattr("sys.stdout", capture)
        result = play(folder / "home", html=folder / "html", export=export)
    yield Played(result, folder / "html", capture.getvalue())


def test_the_figures_are_those_of_the_tenant(played: Played) -> None:
    database = sqlite3.connect(played.result.home / "rehearsal.sqlite3")
    values = [body for (body,) in database.execute("SELECT body FROM users WHERE deleted IS NULL")]
    database.close()
    flags = [re.search(r'"extension_[0-9a-f]{32}_toBeMigrated": ?(true|false)', body) for body in values]
    found = [flag.group(1) for flag in flags if flag]
    assert played.result.migrated == found.count("false") > PEOPLE / 2
    assert played.result.remaining == found.count("true") > 0
    assert 0 < played.result.blocked <= played.result.remaining


def test_the_report_stands_alone(played: Played) -> None:
    page = played.result.report.read_text(encoding="utf-8")
    assert f"{played.result.migrated}" in page
    assert 'lang="en"' in page
    assert page.count("<img") == page.count("alt=") > 2
    assert not re.search(r'(src|href)="(https?:)?//', page)


def test_every_notebook_became_a_page_that_opens_offline(played: Played) -> None:
    pages = sorted(path.stem for path in played.html.glob("*.html"))
    assert pages == [path.stem for path in notebook_runs.in_order()]
    for page in played.html.glob("*.html"):
        text = page.read_text(encoding="utf-8")
        loads = re.findall(r'<(?:script|link|img)[^>]+(?:src|href)="((?:https?:)?//[^"]+)"', text)
        assert loads == [], page.name


def test_the_canary_is_found_nowhere(played: Played) -> None:
    raw = CANARY.encode()
    forms = {
        "clear": raw,
        "reversed": raw[::-1],
        "base64": base64.b64encode(raw).rstrip(b"="),
        "base64url": base64.urlsafe_b64encode(raw).rstrip(b"="),
        "hex": raw.hex().encode(),
        "url": quote(CANARY, safe="").encode(),
        "html": CANARY.replace("&", "&amp;").encode(),
        "json": CANARY.replace("&", "\\u0026").encode(),
        "utf-16": CANARY.encode("utf-16-le"),
        "sha-256": hashlib.sha256(raw).hexdigest().encode(),
    }
    files = [path for folder in (played.result.home, played.html) for path in folder.rglob("*") if path.is_file()]
    assert len(files) > 10
    found = [
        f"{form} in {path.name}" for path in files for form, needle in forms.items() if needle in path.read_bytes()
    ]
    found += [f"{form} on screen" for form, needle in forms.items() if needle in played.printed.encode()]
    assert found == []


def test_state_is_for_its_owner_alone(played: Played) -> None:
    assert played.result.home.stat().st_mode & 0o077 == 0
    for path in played.result.home.rglob("*"):
        if path.is_file() and "report" not in path.parts:
            assert path.stat().st_mode & 0o077 == 0, path.name


def test_a_failing_cell_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import nbformat

    cell = nbformat.v4.new_code_cell("1 / 0", id="the-bad-one")
    path = tmp_path / "00-broken.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), path)
    monkeypatch.setattr(notebook_runs, "NOTEBOOKS", tmp_path)
    with pytest.raises(KitError, match=r"00-broken\.ipynb, cell the-bad-one: ZeroDivisionError"):
        play(tmp_path / "home")

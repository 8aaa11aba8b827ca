"""The invented export is what its README says, and every password in it is the right one."""

from __future__ import annotations

import base64
import csv
import hashlib
import re
import subprocess
import sys
import unicodedata
from collections import Counter
from pathlib import Path

import pytest
from passlib.hash import argon2, bcrypt, ldap_salted_sha1, pbkdf2_sha256

FOLDER = Path(__file__).parents[1] / "sample_data"
RESERVED = re.compile(r"@(example\.(com|org|net)|[a-z]+\.example)$")


def read(name: str) -> list[dict[str, str]]:
    with (FOLDER / name).open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


@pytest.fixture(scope="module")
def export() -> list[dict[str, str]]:
    return read("legacy_users.csv")


@pytest.fixture(scope="module")
def people() -> dict[str, str]:
    return {key(row["username"]): row["password"] for row in read("people.csv")}


def key(username: str) -> str:
    return unicodedata.normalize("NFC", username).strip(" \t").lower()


def right(password: str, hashed: str) -> bool:
    """Verify with libraries that had no part in making the hash; a damaged hash verifies nothing."""
    try:
        return verified(password, hashed.strip())
    except ValueError:
        return False


def verified(password: str, hashed: str) -> bool:
    if hashed.startswith("AQAAAA"):
        raw = base64.b64decode(hashed)
        prf, rounds, size = (int.from_bytes(raw[at : at + 4], "big") for at in (1, 5, 9))
        assert (raw[0], prf) == (1, 1)
        digest = hashlib.pbkdf2_hmac("sha256", password.encode(), raw[13 : 13 + size], rounds)
        return digest == raw[13 + size :]
    for scheme in (bcrypt, argon2, pbkdf2_sha256, ldap_salted_sha1):
        if scheme.identify(hashed):
            return bool(scheme.verify(password, hashed))
    return False


def test_the_script_makes_the_committed_files_again(tmp_path: Path) -> None:
    subprocess.run([sys.executable, str(FOLDER / "make.py"), "--out", str(tmp_path)], check=True)
    for name in ("legacy_users.csv", "people.csv"):
        assert (tmp_path / name).read_bytes() == (FOLDER / name).read_bytes()


def test_everybody_types_the_password_that_the_store_holds(
    export: list[dict[str, str]], people: dict[str, str]
) -> None:
    seen = Counter(key(row["username"]) for row in export)
    wrong = [row for row in export if not right(people[key(row["username"])], row["password_hash"])]
    twins = [row for row in wrong if seen[key(row["username"])] > 1]
    unusable = [row for row in wrong if seen[key(row["username"])] == 1]
    assert len(twins) == 6
    assert len(unusable) == 13 + 6 + 4


def test_nobody_can_exist(export: list[dict[str, str]], people: dict[str, str]) -> None:
    assert set(people) == {key(row["username"]) for row in export}
    assert all(RESERVED.search(username) for username in people)


def test_the_readme_counts_are_true(export: list[dict[str, str]], people: dict[str, str]) -> None:
    def weak(password: str) -> bool:
        kinds = sum(bool(re.search(kind, password)) for kind in ("[a-z]", "[A-Z]", "[0-9]", "[^A-Za-z0-9]"))
        return password.isascii() and (len(password) < 8 or kinds < 3)

    schemes = Counter(row["hash_scheme"] for row in export)
    counted = {
        "locked": sum(row["status"] == "locked" for row in export),
        "disabled": sum(row["status"] == "disabled" for row in export),
        "must change": sum(row["must_change"] == "1" for row in export),
        "weak password": sum(map(weak, people.values())),
        "password that is not ASCII": sum(not password.isascii() for password in people.values()),
        "empty hash": sum(not row["password_hash"] for row in export),
        "`NULL` as text": sum(row["password_hash"] == "NULL" for row in export),
        "blanks behind the hash": sum(row["password_hash"].endswith(" ") for row in export),
        "the same person twice": sum(n == 2 for n in Counter(key(row["username"]) for row in export).values()),
        "capitals and blanks in the address": sum(row["username"] != key(row["username"]) for row in export),
        "plus tag in the address": sum("+" in row["username"] for row in export),
        "apostrophe in the address": sum("'" in row["username"] for row in export),
        "display name that is not ASCII": sum(not row["display_name"].isascii() for row in export),
        "no last sign-in": sum(not row["last_legacy_sign_in"] for row in export),
        **{f"`{scheme}`": count for scheme, count in schemes.items() if scheme},
        "empty": schemes[""],
        "`legacy_users.csv`": len(export),
        "`people.csv`": len(people),
    }
    readme = (FOLDER / "README.md").read_text(encoding="utf-8")
    for case, count in counted.items():
        line = next(line for line in readme.splitlines() if line.startswith(f"| {case} |"))
        assert re.search(rf"\| {count:,}( |$)", line), line

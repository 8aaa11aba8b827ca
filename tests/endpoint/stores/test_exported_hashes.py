"""Hashes as exports hold them: the endpoint and the reader of exports read the same ones, and refuse the same ones.

`exported_hashes.csv` holds hashes of one password each, made for public reports of what other tools could not read.
"""

from __future__ import annotations

import csv
import hashlib
import hmac
from base64 import b64encode
from pathlib import Path

import bcrypt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.legacy_export import read_export
from jitkit.endpoint.stores import Verdict
from jitkit.endpoint.stores.hashes import check, cost_label, problem

from .test_hashes import BCRYPT, VECTORS
from .test_hashes_hostile import BROKEN, COSTLY, STARTS

with Path(__file__).with_name("exported_hashes.csv").open(encoding="utf-8", newline="") as _file:
    ROWS = {row["id"]: row for row in csv.DictReader(_file)}
PASSWORD, SALT = "Tulip-47-Harbour", b"0123456789abcdef"
# Their rounds were another number in every release of the library that wrote them.
REFUSED = ("h-werkzeug-pbkdf2-no-rounds",)


def digest(name: str, secret: bytes) -> bytes:
    return hashlib.new(name, secret, usedforsecurity=False).digest()


def pbkdf2(name: str, salt: bytes = SALT) -> bytes:
    return hashlib.pbkdf2_hmac(name, PASSWORD.encode(), salt, 1000)


def shortened(keyed: bool) -> str:
    """passlib's bcrypt-sha256, whose second version keys the digest with the salt."""
    salt = bcrypt.gensalt(4).decode()
    made = hmac.digest(salt[7:].encode(), PASSWORD.encode(), "sha256") if keyed else digest("sha256", PASSWORD.encode())
    stored = bcrypt.hashpw(b64encode(made), salt.encode()).decode()
    head = "v=2,t=2b,r=4" if keyed else "2b,4"
    return f"$bcrypt-sha256${head}${stored[7:29]}${stored[29:]}"


def b64(data: bytes) -> str:
    return b64encode(data).decode()


UTF16 = PASSWORD.encode("utf-16-le")
NEIGHBOURS = {
    "bcrypt-sha256, version 1": shortened(keyed=False),
    "bcrypt-sha256, version 2": shortened(keyed=True),
    "PBKDF2 of SHA-1 as a PHC string": f"$pbkdf2-sha1$i=1000${b64(SALT)}${b64(pbkdf2('sha1'))}",
    "Mosquitto with a salt as it is written": f"PBKDF2$sha256$1000$salt+text${b64(pbkdf2('sha256', b'salt+text'))}",
    "389 Directory Server, SHA-512": "{PBKDF2_SHA512}"
    + b64((1000).to_bytes(4) + bytes(64) + hashlib.pbkdf2_hmac("sha512", PASSWORD.encode(), bytes(64), 1000, 256)),
    "Dovecot's PBKDF2": "{PBKDF2}$1$0123456789abcdef$1000$" + pbkdf2("sha1").hex(),
    "Dovecot, SHA-256 in hexadecimal": "{SHA256.HEX}" + digest("sha256", PASSWORD.encode()).hex(),
    "Dovecot, salted, in base64": "{SSHA512.B64}" + b64(digest("sha512", PASSWORD.encode() + SALT) + SALT),
    "Dovecot, MD5 in hexadecimal": "{PLAIN-MD5}" + digest("md5", PASSWORD.encode()).hex(),
    "salted SHA-384": "{SSHA384}" + b64(digest("sha384", PASSWORD.encode() + SALT) + SALT),
    "SHA-224": "{SHA224}" + b64(digest("sha224", PASSWORD.encode())),
    "Werkzeug, keyed SHA-256": "sha256$salt$" + hmac.digest(b"salt", PASSWORD.encode(), "sha256").hex(),
    "Django, salted SHA-1": "sha1$salt$" + digest("sha1", b"salt" + PASSWORD.encode()).hex(),
    "Magento 1, MD5": digest("md5", b"ab" + PASSWORD.encode()).hex() + ":ab",
    "Magento 2, MD5": digest("md5", b"ab" + PASSWORD.encode()).hex() + ":ab:0",
    "Membership, SHA-256": b64(digest("sha256", SALT + UTF16)) + "|1|" + b64(SALT),
    "Membership, keyed": b64(hmac.digest(SALT * 4, UTF16, "sha256")) + "|1|" + b64(SALT),
    "Nextcloud, second form": "2|"
    + "$argon2i$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$wWKIMhR9lyDFvRz9YTZweHKfbftvj+qf+YFY4NeBbtA",
    "an LDIF's bcrypt": b64(b"{CRYPT}" + bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4))),
}


@pytest.mark.parametrize("name", [name for name in ROWS if name not in REFUSED])
def test_published_forms_are_read(name: str) -> None:
    stored, password = ROWS[name]["password_hash"], ROWS[name]["password"]
    assert problem(stored) == ""
    assert check(stored, password) is Verdict.RIGHT
    assert check(stored, password.swapcase()) is Verdict.WRONG


@pytest.mark.parametrize("name", NEIGHBOURS)
def test_their_neighbours_are_read(name: str) -> None:
    stored = NEIGHBOURS[name]
    password = "password" if "argon2i$" in stored else PASSWORD
    assert problem(stored) == ""
    assert check(stored, password) is Verdict.RIGHT
    assert check(stored, password + "x") is Verdict.WRONG


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_read_is_refused_by_both(name: str) -> None:
    assert "not read" in problem(ROWS[name]["password_hash"])
    assert check(ROWS[name]["password_hash"], ROWS[name]["password"]) is Verdict.MALFORMED


@pytest.mark.parametrize("stored", [*[stored for stored, _ in VECTORS], *BROKEN, *COSTLY])
def test_both_sides_agree(stored: str) -> None:
    assert bool(problem(stored)) is (check(stored, "x") is Verdict.MALFORMED)


@given(
    st.sampled_from([*STARTS, "1|$2b$04$", "PBKDF2$sha256$1$", "{SHA-256}", "e1NTSEF9", "$bcrypt-sha256$2b,4$"]),
    st.text(max_size=90),
)
@settings(max_examples=150, deadline=None)
def test_both_sides_agree_about_any_text(start: str, rest: str) -> None:
    if check(start + rest, "x") in (Verdict.WRONG, Verdict.RIGHT, Verdict.MALFORMED):
        assert bool(problem(start + rest)) is (check(start + rest, "x") is Verdict.MALFORMED)


def test_the_reader_of_exports_says_it_of_the_row(tmp_path: Path) -> None:
    path = tmp_path / "export.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["username", "password_hash"])
        writer.writerows([f"{name}@contoso.example", row["password_hash"]] for name, row in ROWS.items())
    problems = read_export(path).problems
    assert [each.username for each in problems] == [f"{name}@contoso.example" for name in REFUSED]


def test_a_pepper_is_appended_to_every_password() -> None:
    stored = bcrypt.hashpw(b"s3cret" + b"of-the-app", bcrypt.gensalt(4)).decode()
    assert check(stored, "s3cret", "of-the-app") is Verdict.RIGHT
    assert check(stored, "s3cret") is Verdict.WRONG
    assert check(stored, "", "of-the-app") is Verdict.WRONG


def test_symfony_digests_long_passwords_and_others_cut_them() -> None:
    long = "x" * 90
    of_symfony = bcrypt.hashpw(b64encode(digest("sha512", long.encode()))[:72], bcrypt.gensalt(4)).decode()
    cut = bcrypt.hashpw(long.encode()[:72], bcrypt.gensalt(4)).decode()
    for stored in (of_symfony, cut):
        assert check(stored, long) is Verdict.RIGHT
        assert check(stored, "y" + long[1:]) is Verdict.WRONG
    assert check(of_symfony, long + "x") is Verdict.WRONG


def test_labels_hold_neither_salt_nor_digest() -> None:
    for stored in [row["password_hash"] for row in ROWS.values()] + list(NEIGHBOURS.values()):
        label = cost_label(stored)
        for part in (
            "MDEyMz",
            "abcdefgh",
            "saltsalt",
            "TldwF",
            "k9DZ",
            "AAAn",
            "bAYRZ",
            "f0bb1d",
            "15ccf9",
            "8KSIN",
            "0123",
        ):
            assert part not in label, stored
    assert cost_label(NEIGHBOURS["an LDIF's bcrypt"]) == "$2b$04"
    assert cost_label(f"1|{BCRYPT}") == "$2a$05"

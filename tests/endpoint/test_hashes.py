"""Stored hashes: vectors of the systems that made them, near misses, and everything that is wrong with exports."""

from __future__ import annotations

import time

import argon2
import bcrypt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.endpoint.legacy import Verdict
from helpers.endpoint.legacy.hashes import check, cost_label

BCRYPT = "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"
SSHA = "{SSHA}yBnyDfXLhzykPbtYzAGC9pwxT8oxMjM0NTY3OA=="

VECTORS: list[tuple[str, str]] = [
    (BCRYPT, "U*U"),
    ("$2y$04$CCCCCCCCCCCCCCCCCCCCCu3KXVDsESjQgYpu2eQ6h3zIVFdwM2Aa2", "Hello world!"),
    ("$2b$04$CCCCCCCCCCCCCCCCCCCCCu3KXVDsESjQgYpu2eQ6h3zIVFdwM2Aa2", "Hello world!"),
    ("$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc", "password"),
    ("$argon2i$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$wWKIMhR9lyDFvRz9YTZweHKfbftvj+qf+YFY4NeBbtA", "password"),
    ("$pbkdf2-sha256$1000$MDEyMzQ1Njc4OWFiY2RlZg$Pz0s4HPO.TyHnyTxIR8Lx.fEZojc3Lc26DQkf4ZOWCk", "s3cret"),
    ("pbkdf2_sha256$1000$abcdefghijklmnopqrstuv$q+SlAk8PS4ZnJxYnZfUX7zLjmUl2wdtUOf7V/ADD/a0=", "s3cret"),
    ("AAABAgMEBQYHCAkKCwwNDg+ukCEMDf0yyQ29NYubggHIVY0sdEUfdyeM+E1LtH1uJg==", "my password"),
    ("AQAAAAEAACcQAAAAEAABAgMEBQYHCAkKCwwNDg+yWU7rLgUwPZb1Itsmra7cbxw2EFpwpVFIEtP+JIuUEw==", "my password"),
    ("AQAAAAIAAYagAAAAEAABAgMEBQYHCAkKCwwNDg/Q8A0WMKbtHQJQ2DHCdoEeeFBrgNlldq6vH4qX/CGqGQ==", "my password"),
    (SSHA, "s3cret"),
    ("{SSHA256}6g7bHlvHRky1SZgrxHnTma7cPbd1C9S403SWqv1RBuMxMjM0NTY3OA==", "s3cret"),
    (
        "{SSHA512}zSIU2Mrue9u9RDYoUcEiTUV/fdlxYQQy2yQM5BvQgV7eIrkZt4k6UBqSzs+EmdLuFGbpC5uavxv/kkZvaTP3GTEyMzQ1Njc4",
        "s3cret",
    ),
    ("{SMD5}icZxgwiYdMY9GhUrdP0++jEyMzQ1Njc4", "s3cret"),
    ("{CRYPT}$2y$04$CCCCCCCCCCCCCCCCCCCCCu3KXVDsESjQgYpu2eQ6h3zIVFdwM2Aa2", "Hello world!"),
    (
        "$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1",
        "Hello world!",
    ),
    ("$5$saltstring$5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc5", "Hello world!"),
    ("$P$9IQRaTwmfeRo7ud9Fh4E2PdI0S3r.L0", "test12345"),
    ("$P$B12345678d3nQ6AnqDYMoSfctkWeUS1", "s3cret"),
    ("$1$abcdefgh$7.vq19w/w3Vm.hk1FOA7Q/", "s3cret"),
    ("$apr1$abcdefgh$M2T3erDstkD7SsE2QQnfH0", "s3cret"),
]


@pytest.mark.parametrize(("stored", "password"), VECTORS, ids=[stored[:14] for stored, _ in VECTORS])
def test_vectors(stored: str, password: str) -> None:
    assert check(stored, password) is Verdict.RIGHT
    assert check(f" {stored}\r\n", password) is Verdict.RIGHT
    assert check(stored + "\0", password) is Verdict.RIGHT
    assert check(stored, password + " ") is Verdict.WRONG
    assert check(stored, password.swapcase()) is Verdict.WRONG
    assert check(stored, password + "\0") is Verdict.WRONG
    assert check(stored, "") is Verdict.WRONG


def test_tags_in_either_case() -> None:
    assert check(SSHA.replace("SSHA", "ssha"), "s3cret") is Verdict.RIGHT
    assert check("{crypt}$1$abcdefgh$7.vq19w/w3Vm.hk1FOA7Q/", "s3cret") is Verdict.RIGHT


def test_django_wraps_other_formats() -> None:
    import hashlib

    assert check(f"bcrypt${BCRYPT}", "U*U") is Verdict.RIGHT
    inner = bcrypt.hashpw(hashlib.sha256(b"s3cret").hexdigest().encode(), bcrypt.gensalt(4)).decode()
    assert check(f"bcrypt_sha256${inner}", "s3cret") is Verdict.RIGHT
    assert check(f"bcrypt_sha256${inner}", "s3creT") is Verdict.WRONG
    made = argon2.PasswordHasher(time_cost=1, memory_cost=1024).hash("s3cret")
    assert check("argon2" + made, "s3cret") is Verdict.RIGHT


def test_bcrypt_reads_72_bytes_as_the_systems_that_wrote_it() -> None:
    stored = bcrypt.hashpw(b"a" * 72, bcrypt.gensalt(4)).decode()
    assert check(stored, "a" * 80) is Verdict.RIGHT
    assert check(stored, "a" * 71) is Verdict.WRONG
    cut = bcrypt.hashpw(("é" * 40).encode()[:72], bcrypt.gensalt(4)).decode()
    assert check(cut, "é" * 40) is Verdict.RIGHT


@pytest.mark.parametrize("stored", [None, "", "  ", "*", "!", "!!", "*LK*", "x", "!" + "a" * 40, "{SASL}ann@corp"])
def test_markers_mean_that_there_is_no_password(stored: str | None) -> None:
    assert check(stored, "x") is Verdict.DISABLED


@pytest.mark.parametrize(
    "stored",
    [
        "$2x$" + BCRYPT[4:],
        BCRYPT[:-1],
        BCRYPT + "A",
        BCRYPT[:28] + "A" + BCRYPT[29:],
        "$P$",
        "$P$B12345678",
        "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1a!!",
        "$argon2id$v=19$m=65536",
        "$pbkdf2-sha256$x$MDEy$Pz0s",
        "pbkdf2_sha256$many$abc$q+SlAk8=",
        "pbkdf2_sha256",
        "{SSHA}not base64",
        "{SSHA}",
        "{NEW}abc",
        "{CRYPT}abJnggxhB/yWI",
        "$6$",
        "$9$unknown",
        "5f4dcc3b5aa765d61d8327deb882cf99",
        "AQAAAAEAACcQAAAAAAABAgMEBQYHCAkKCwwNDg+yWU7rLgUwPZb1Itsmra7cbxw2EFpwpVFIEtP+JIuUEw==",
        "AQAAAAcAACcQAAAAEAABAgMEBQYHCAkKCwwNDg+yWU7rLgUwPZb1Itsmra7cbxw2EFpwpVFIEtP+JIuUEw==",
        "AgAAAAEAACcQAAAAEAABAgMEBQYHCAkKCwwNDg+yWU7rLgUwPZb1Itsmra7cbxw2EFpwpVFIEtP+JIuUEw==",
        "plain text",
        "é",
    ],
)
def test_what_is_broken_is_not_called_wrong(stored: str) -> None:
    assert check(stored, "s3cret") is Verdict.MALFORMED


@pytest.mark.parametrize(
    "stored",
    [
        "$2b$31" + BCRYPT[6:],
        "$2b$17" + BCRYPT[6:],
        "$argon2id$v=19$m=4194304,t=1,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
        "$argon2id$v=19$m=1048576,t=20,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
        "$argon2id$v=19$m=1024,t=999,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
        "$pbkdf2-sha256$999999999$MDEyMzQ1Njc4OWFiY2RlZg$Pz0s4HPO.TyHnyTxIR8Lx.fEZojc3Lc26DQkf4ZOWCk",
        "pbkdf2_sha256$999999999$abcdefgh$q+SlAk8PS4ZnJxYnZfUX7zLjmUl2wdtUOf7V/ADD/a0=",
        "{PBKDF2-SHA256}999999999$MDEyMzQ1Njc4OWFiY2RlZg$Pz0s4HPO.TyHnyTxIR8Lx.fEZojc3Lc26DQkf4ZOWCk",
        "$6$rounds=999999999$saltstring$" + "a" * 86,
        "{CRYPT}$6$rounds=999999999$saltstring$" + "a" * 86,
        "$P$z12345678d3nQ6AnqDYMoSfctkWeUS1",
        "AQAAAAEA////AAAAEAABAgMEBQYHCAkKCwwNDg+yWU7rLgUwPZb1Itsmra7cbxw2EFpwpVFIEtP+JIuUEw==",
    ],
)
def test_what_would_take_all_day_is_refused_at_once(stored: str) -> None:
    started = time.process_time()
    assert check(stored, "s3cret") is Verdict.MALFORMED
    assert time.process_time() - started < 0.1


STARTS = ["", "$2b$04$", "$argon2id$v=19$m=64,t=1,p=1$", "$pbkdf2-sha256$10$", "$6$", "$P$5", "{SSHA}", "{CRYPT}"]
STARTS += ["AQAAAAEA", "pbkdf2_sha256$10$", "bcrypt$", "argon2$"]


@given(st.sampled_from(STARTS), st.text(max_size=90), st.text(max_size=20))
@settings(max_examples=300, deadline=None)
def test_no_stored_text_is_right_by_chance_or_ends_in_an_exception(start: str, rest: str, password: str) -> None:
    assert check(start + rest, password) in (Verdict.WRONG, Verdict.MALFORMED, Verdict.DISABLED)


def test_hashes_of_equal_cost_share_a_label() -> None:
    labels = {stored: cost_label(stored) for stored, _ in VECTORS}
    assert labels[BCRYPT] == "$2a$05"
    assert labels[SSHA] == "{SSHA}"
    assert labels["$P$9IQRaTwmfeRo7ud9Fh4E2PdI0S3r.L0"] == "$P$9"
    assert cost_label(VECTORS[3][0]) == "$argon2id$v=19$m=65536,t=2,p=1"
    assert cost_label(VECTORS[8][0]) != cost_label(VECTORS[9][0])

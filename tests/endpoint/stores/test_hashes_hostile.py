"""What is wrong with stored hashes in exports: markers, damage, hostile costs, and text that is no hash."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jitkit.endpoint.stores import Verdict
from jitkit.endpoint.stores.hashes import check, cost_label

from .test_hashes import BCRYPT, KEYCLOAK_ARGON2, KEYCLOAK_SHA256, SSHA


@pytest.mark.parametrize("stored", [None, "", "  ", "*", "!", "*NP*", "!" + "aZ9" * 13, "NULL", "\\N"])
def test_markers_mean_that_there_is_no_password(stored: str | None) -> None:
    assert check(stored, "x") is Verdict.NO_PASSWORD


@pytest.mark.parametrize("stored", ["!!", "*LK*", "x", "!$6$salt$hash", "!" + BCRYPT, "{SASL}ann@corp"])
def test_markers_mean_that_the_password_is_locked_or_elsewhere(stored: str) -> None:
    assert check(stored, "x") is Verdict.DISABLED


BROKEN = [
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
    "$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHQ$AAAAAA",
    "$scrypt$ln=14,r=8,p=1$MDEyMzQ1Njc4OWFiY2RlZg$qmDKqPmb",
    "$scrypt$ln=14,r=8",
    "$y$j9T$abcdefgh$WtA2I5exIyQv5b7uDMgPs3N8zOQY6ZtcplRdKJSUiBC",
    "$S$CFURCPa.k6FAEbJPgejaW4nijv7rYgGc4dUJtChQtV4KLJTPTC/",
    "$wp$2y$10$abcdefghij",
    "$wp$" + BCRYPT[1:],
    "{MD5}5f4dcc3b5aa765d61d8327deb882cf9",
    "{SSHA256}W6ph5Mm5Pz8GgiULbPgzG37mj9g=",
    "{PLAIN}",
    "{PBKDF2-MD5}1000$MDEy$Pz0s",
    "scrypt:32768:8$abc$00",
    "scrypt:32767:8:1$abcdefghijklmnop$" + "5d" * 64,
    "pbkdf2:md5:1000$abc$" + "5d" * 16,
    "md5$abcdef$5f4dcc3b",
    "$firescrypt$ln=14,r=8,p=1$sPtDhWcd1MfdAw==",
    "{}",
    '{"secretData": "[]", "credentialData": "{}"}',
    KEYCLOAK_SHA256.replace("pbkdf2-sha256", "argon3"),
    KEYCLOAK_SHA256[:-1],
]


@pytest.mark.parametrize("stored", BROKEN)
def test_what_is_broken_is_not_called_wrong(stored: str) -> None:
    assert check(stored, "s3cret") is Verdict.MALFORMED


COSTLY = [
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
    "$scrypt$ln=31,r=8,p=1$MDEyMzQ1Njc4OWFiY2RlZg$qmDKqPmblHBa7mzhr6QqhXNlhsWC0zhaHnYqFzkfoMc",
    "$scrypt$ln=14,r=8,p=999$MDEyMzQ1Njc4OWFiY2RlZg$qmDKqPmblHBa7mzhr6QqhXNlhsWC0zhaHnYqFzkfoMc",
    "scrypt:1073741824:8:1$abcdefghijklmnop$" + "5d" * 64,
    "scrypt$1073741824$abcdefghijklmnop$8$1$q+SlAk8PS4ZnJxYnZfUX7zLjmUl2wdtUOf7V/ADD/a0=",
    "pbkdf2:sha256:999999999$abcdefghijklmnop$" + "5d" * 32,
    "$firescrypt$ln=28,r=8,p=1$sPtDhWcd1MfdAw==$xbSou7FOl6mChCyzpCPIQ7tku7ns$Bw==$YE0dO4bwD4JnJafh6lZZfkp1",
    "$S$zFURCPa.k6FAEbJPgejaW4nijv7rYgGc4dUJtChQtV4KLJTPTC/u",
    "$wp$2y$31" + BCRYPT[6:],
    KEYCLOAK_SHA256.replace("27500", "999999999"),
    KEYCLOAK_ARGON2.replace("7168", "41943040"),
]


@pytest.mark.parametrize("stored", COSTLY)
def test_what_would_take_all_day_is_refused_at_once(stored: str) -> None:
    started = time.process_time()
    assert check(stored, "s3cret") is Verdict.MALFORMED
    assert time.process_time() - started < 1  # any of them would take minutes


STARTS = ["", "$2b$04$", "$argon2id$v=19$m=64,t=1,p=1$", "$pbkdf2-sha256$10$", "$6$", "$P$5", "{SSHA}", "{CRYPT}"]
STARTS += ["AQAAAAEA", "pbkdf2_sha256$10$", "bcrypt$", "argon2$", "$scrypt$ln=4,r=1,p=1$", "scrypt:16:1:1$", "$S$5"]
STARTS += ["$wp$2y$04$", "{MD5}", "{SHA512}", "md5$", "$firescrypt$ln=4,r=1,p=1$", '{"secretData":', "{PBKDF2}1$"]


@given(st.sampled_from(STARTS), st.text(max_size=90), st.text(max_size=20))
@settings(max_examples=100, deadline=None)
def test_no_stored_text_is_right_by_chance_or_ends_in_an_exception(start: str, rest: str, password: str) -> None:
    assert check(start + rest, password) in (Verdict.WRONG, Verdict.MALFORMED, Verdict.DISABLED, Verdict.NO_PASSWORD)
    assert isinstance(cost_label(start + rest), str)


def test_what_no_system_takes_for_a_password_is_wrong() -> None:
    assert check(BCRYPT, "\ud800") is Verdict.WRONG
    assert check(SSHA, "a" * 5000) is Verdict.WRONG

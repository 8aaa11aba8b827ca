"""Stored hashes: vectors of the systems that made them, and near misses."""

from __future__ import annotations

import base64
import hashlib
import json

import argon2
import bcrypt
import passlib.hash
import pytest

from jitkit.endpoint.stores import Verdict
from jitkit.endpoint.stores.hashes import check, cost_label

BCRYPT = "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"
SSHA = "{SSHA}yBnyDfXLhzykPbtYzAGC9pwxT8oxMjM0NTY3OA=="


def pbkdf2(name: str) -> str:
    """A digest of `s3cret` as passlib writes it: base64 with `.` for `+`, and no padding."""
    made = hashlib.pbkdf2_hmac(name, b"s3cret", b"0123456789abcdef", 1000)
    return base64.b64encode(made).decode().rstrip("=").replace("+", ".")


def keycloak(value: str, rounds: int, algorithm: str, **more: str) -> str:
    """A credential as a realm export holds it: JSON inside JSON."""
    secret = {"value": value, "salt": "MDEyMzQ1Njc4OWFiY2RlZg==", "additionalParameters": {}}
    parameters = {name: [text] for name, text in more.items()}
    data = {"hashIterations": rounds, "algorithm": algorithm, "additionalParameters": parameters}
    return json.dumps({"type": "password", "secretData": json.dumps(secret), "credentialData": json.dumps(data)})


KEYCLOAK_SHA512 = keycloak(
    "3V61U4BPtf8lvlEscLtcdLS4JfaGNabfitP1Cfh+XoOUOGQGVXkzdhZ1AKIub2jebOPdM0BMHLbFmrnpgiRHnA==", 210_000, "pbkdf2-sha512"
)
KEYCLOAK_SHA256 = keycloak(
    "L+EQCnzcJkTB2l4LR5y1sHAbwBIrcO9mgcbUj2m2cXZeXYy/QaFhQoj96pJhJEGJeBc/znZYck7Bp0p7UH4rYg==", 27_500, "pbkdf2-sha256"
)
KEYCLOAK_ARGON2 = keycloak(
    "5HnDrUsrBYr7fjEUJtALcthF3v/nXPGslua1YSfXVuU=",
    5,
    "argon2",
    version="1.3",
    type="id",
    hashLength="32",
    memory="7168",
    parallelism="1",
)

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
    (
        "$argon2id$v=19$m=65536,t=3,p=4$MDEyMzQ1Njc4OWFiY2RlZg$a7FoYtlzPIwfy3y3ORktIs3turwdlVrwKYvt43RfjQ4",
        "s3cret",
    ),
    ("$scrypt$ln=14,r=8,p=1$MDEyMzQ1Njc4OWFiY2RlZg$qmDKqPmblHBa7mzhr6QqhXNlhsWC0zhaHnYqFzkfoMc", "s3cret"),
    (
        "scrypt:32768:8:1$abcdefghijklmnop$5debf8b24b949f4cbc4bce4321afcb7d0c8238795474fd862b0af3f5f015b6d3"
        "f21fb0d9ccf4a105d85493822c81ddbff72e14a0cf3e65c1285091a5c33936fc",
        "s3cret",
    ),
    (
        "$firescrypt$ln=14,r=8,p=1$sPtDhWcd1MfdAw==$xbSou7FOl6mChCyzpCPIQ7tku7nsQMTFtyOZSXXd7tjBa4NtimOx7v42Gv2SfzPQu"
        "1oxM2/k4SsbOu73wlKe1A==$Bw==$YE0dO4bwD4JnJafh6lZZfkp1MtKzuKAXQcDCJNJNyeCHairWHKENOkbh3dzwaCdizzOspwr/"
        "FITUVlnOAwPKyw==",
        "8x4WjoDbSxJZdR",
    ),
    (
        "$fbscrypt$v=1,n=14,r=8,p=1,ss=Bw==,sk=YE0dO4bwD4JnJafh6lZZfkp1MtKzuKAXQcDCJNJNyeCHairWHKENOkbh3dzwaCdizzOspwr/"
        "FITUVlnOAwPKyw==$sPtDhWcd1MfdAw==$xbSou7FOl6mChCyzpCPIQ7tku7nsQMTFtyOZSXXd7tjBa4NtimOx7v42Gv2SfzPQu"
        "1oxM2/k4SsbOu73wlKe1A==",
        "8x4WjoDbSxJZdR",
    ),
    ("$S$CwkjgAKeSx2imSiN3SyBEg8e0sgE2QOx4a/VIfCHN0BZUNAWCr1X", "virtualabc"),
    ("$S$CFURCPa.k6FAEbJPgejaW4nijv7rYgGc4dUJtChQtV4KLJTPTC/u", "password"),
    ("$S$DabcdefghNdu7h29pJQ2deN4SOVKzxxwTLmcHtXQcCHVxFbKNZbb", "s3cret"),
    ("U$S$DabcdefghKxNZCiZRmiJY86Fv3cpwnNc54Xj6k7UA3KK59baxgY5", "s3cret"),
    ("$wp$2y$12$iWN5xRwDE7i9R5jVJvCyqOxS1CNnwUggQaF8O2W9Bg8TuXQz.ngrS", "grimoire-test-123"),
    ("$wp$2y$10$abcdefghijklmnopqrstuuLN58RiW.ARWl0tOhMYFSrbQZWP1ngWi", "s3cret"),
    ("{MD5}5f4dcc3b5aa765d61d8327deb882cf99", "password"),
    ("{md5}X03MO1qnZdYdgyfeuILPmQ==", "password"),
    ("{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=", "password"),
    ("{SHA1}5BAA61E4C9B93F3F0682250B6CF8331B7EE68FD8", "password"),
    ("{SHA256}5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8", "password"),
    ("{PLAIN}pässword {1}", "pässword {1}"),
    ("{noop}s3cret", "s3cret"),
    ("{bcrypt}" + BCRYPT, "U*U"),
    (
        "{argon2@SpringSecurity_v5_8}$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
        "password",
    ),
    ("{PBKDF2-SHA256}1000$MDEyMzQ1Njc4OWFiY2RlZg$Pz0s4HPO.TyHnyTxIR8Lx.fEZojc3Lc26DQkf4ZOWCk", "s3cret"),
    ("{PBKDF2}1000$MDEyMzQ1Njc4OWFiY2RlZg$" + pbkdf2("sha1"), "s3cret"),
    ("{PBKDF2-SHA512}1000$MDEyMzQ1Njc4OWFiY2RlZg$" + pbkdf2("sha512"), "s3cret"),
    ("$pbkdf2$1000$MDEyMzQ1Njc4OWFiY2RlZg$" + pbkdf2("sha1"), "s3cret"),
    ("$pbkdf2-sha512$1000$MDEyMzQ1Njc4OWFiY2RlZg$" + pbkdf2("sha512"), "s3cret"),
    (
        "{PKCS5S2}"
        + passlib.hash.atlassian_pbkdf2_sha1.using(salt=b"0123456789abcdef").hash("s3cret").partition("}")[2],
        "s3cret",
    ),
    (passlib.hash.django_pbkdf2_sha1.using(rounds=1000, salt="abcdefgh").hash("s3cret"), "s3cret"),
    (passlib.hash.django_salted_md5.using(salt="abcdefgh").hash("s3cret"), "s3cret"),
    (passlib.hash.django_salted_sha1.using(salt="abcdefgh").hash("s3cret"), "s3cret"),
    (KEYCLOAK_SHA512, "s3cret"),
    (KEYCLOAK_SHA256, "s3cret"),
    (KEYCLOAK_ARGON2, "s3cret"),
]

# WordPress trims what is typed.
TRIMMED = ("$P$", "$wp$")


@pytest.mark.parametrize(("stored", "password"), VECTORS, ids=[stored[:14] for stored, _ in VECTORS])
def test_vectors(stored: str, password: str) -> None:
    assert check(f" {stored}\r\n", password) is Verdict.RIGHT
    assert check(stored, password + " ") is (Verdict.RIGHT if stored.startswith(TRIMMED) else Verdict.WRONG)
    assert check(stored, password.swapcase()) is Verdict.WRONG
    assert check(stored, password + "\0") is Verdict.WRONG
    assert check(stored, "") is Verdict.WRONG


def test_tags_in_either_case() -> None:
    assert check(SSHA.replace("SSHA", "ssha"), "s3cret") is Verdict.RIGHT
    assert check("{crypt}$1$abcdefgh$7.vq19w/w3Vm.hk1FOA7Q/", "s3cret") is Verdict.RIGHT


def test_django_wraps_other_formats() -> None:
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


def test_hashes_of_equal_cost_share_a_label() -> None:
    labels = {stored: cost_label(stored) for stored, _ in VECTORS}
    assert labels[BCRYPT] == "$2a$05"
    assert labels[SSHA] == "{SSHA}"
    assert labels["$P$9IQRaTwmfeRo7ud9Fh4E2PdI0S3r.L0"] == "$P$9"
    assert cost_label(VECTORS[3][0]) == "$argon2id$v=19$m=65536,t=2,p=1"
    assert cost_label(VECTORS[8][0]) != cost_label(VECTORS[9][0])


def test_a_label_holds_neither_salt_nor_key() -> None:
    for stored, _ in VECTORS:
        for salt in ("MDEyMz", "abcdefgh", "12345678", "saltstring", "AgMEBQ", "sPtDh", "YE0dO4", "CCCC", "digest"):
            assert salt not in cost_label(stored), stored
    assert cost_label(VECTORS[7][0]) == "AA"
    assert cost_label("bcrypt_sha256$$2b$12$" + "a" * 53) == "bcrypt_sha256$$2b$12"
    assert cost_label("{CRYPT}" + BCRYPT) == cost_label(BCRYPT)
    assert cost_label("scrypt$16384$abcdefgh$8$5$q+SlAk8=") == "scrypt$16384"
    assert cost_label(KEYCLOAK_SHA512) == "keycloak pbkdf2-sha512 210000"
    assert cost_label(KEYCLOAK_ARGON2) == "keycloak argon2 7168 5"
    assert cost_label("{PBKDF2-SHA256}1000$MDEy$Pz0s") != cost_label("{PBKDF2-SHA256}2000$MDEy$Pz0s")


def test_django_scrypt_takes_its_salt_as_text() -> None:
    made = hashlib.scrypt(b"s3cret", salt=b"abcdefgh", n=1024, r=8, p=5, dklen=64)
    stored = f"scrypt$1024$abcdefgh$8$5${base64.b64encode(made).decode()}"
    assert check(stored, "s3cret") is Verdict.RIGHT
    assert check(stored, "s3creT") is Verdict.WRONG


def test_argon2_before_it_wrote_its_version() -> None:
    made = argon2.low_level.hash_secret_raw(b"s3cret", b"somesalt", 1, 64, 1, 32, argon2.Type.I, 16)
    digest = base64.b64encode(made).decode().rstrip("=")
    assert check(f"$argon2i$m=64,t=1,p=1$c29tZXNhbHQ${digest}", "s3cret") is Verdict.RIGHT
    assert check(f"$argon2i$m=64,t=1,p=1$c29tZXNhbHQ${digest}", "s3creT") is Verdict.WRONG

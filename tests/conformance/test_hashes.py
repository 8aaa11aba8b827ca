"""The stored hashes that the suite brings are what other systems write."""

from __future__ import annotations

from passlib.hash import (
    argon2,
    bcrypt,
    django_pbkdf2_sha256,
    ldap_md5,
    ldap_salted_sha1,
    ldap_sha1,
    pbkdf2_sha256,
    phpass,
)

from jitkit.conformance.hashes import hashes_of

PASSWORD = "Canary-of-hashes-1!"


def test_every_kind_that_exports_hold_is_there_and_libraries_read_it() -> None:
    rows = hashes_of(PASSWORD)
    readers = {
        "bcrypt": bcrypt,
        "bcrypt-php": bcrypt,
        "argon2id": argon2,
        "phpass": phpass,
        "md5": ldap_md5,
        "sha": ldap_sha1,
        "ssha": ldap_salted_sha1,
        "pbkdf2": pbkdf2_sha256,
        "django": django_pbkdf2_sha256,
    }
    for name, reader in readers.items():
        assert reader.verify(PASSWORD, rows[name]), name
        assert not reader.verify(PASSWORD[:-1] + "?", rows[name]), name
    assert {"plain", "scrypt", "drupal", "aspnet-2", "aspnet-3"} <= set(rows)
    assert sum(name.startswith("damaged") for name in rows) >= 5

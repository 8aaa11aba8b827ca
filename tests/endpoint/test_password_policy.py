"""Which legacy passwords Entra takes as they are."""

from __future__ import annotations

import pytest

from jitkit.endpoint.answer import answer_to
from jitkit.endpoint.password_policy import PasswordPolicy, read_terms
from jitkit.endpoint.stores import Verdict


@pytest.mark.parametrize(
    ("password", "taken"),
    [
        ("Abcdefg1", True),
        ("Abcdefgh", False),
        ("Abcdef1", False),
        ("A1" + "b" * 254, True),
        ("A1" + "b" * 255, False),
        ("abcdefg 1", True),
        ("Abcdefg1ü", False),
        ("Abcdefg1\t", False),
        ("Abcdefg1\n", False),
        ("Password1", False),
        ("P@$$w0rd!1", False),
        ("Welcome2026", True),
        ("Summer!1", False),
        ("Password-Winter-1", True),
        ("Copper-Lantern-42", True),
    ],
)
def test_the_rules_and_the_terms_that_everybody_bans(password: str, taken: bool) -> None:
    assert PasswordPolicy().takes(password) is taken


@pytest.mark.parametrize(
    ("password", "taken"),
    [
        ("C0ntos0!", False),
        ("Contoso1", False),
        ("ContosoBlank12", False),
        ("ContoS0Bl@nkf9!", True),
        ("Contosi!", True),
    ],
)
def test_a_tenants_own_terms_are_scored_as_documented(password: str, taken: bool) -> None:
    """The examples of Microsoft's page: [contoso] + [blank] + [1] + [2] is four points, with [f9!] it is five."""
    assert PasswordPolicy(banned=frozenset({"Contoso", "blank"})).takes(password) is taken


@pytest.mark.parametrize(("password", "taken"), [("abcdefgh", True), ("Password", True), ("abcdefg", False)])
def test_a_tenant_that_accepts_weak_passwords_still_wants_eight_characters(password: str, taken: bool) -> None:
    policy = PasswordPolicy(accept_weak=True)
    assert policy.takes(password) is taken
    action = answer_to(Verdict.RIGHT, password, policy).action
    assert action == ("MigratePassword" if taken else "UpdatePassword")


def test_a_weak_password_that_must_change_is_updated_all_the_same() -> None:
    assert answer_to(Verdict.RIGHT_MUST_CHANGE, "abcdefgh", PasswordPolicy(True)).action == "UpdatePassword"


@pytest.mark.parametrize(("term", "readable"), [("abc", False), ("abcd", True), ("a" * 16, True), ("a" * 17, False)])
def test_terms_have_the_length_that_entra_takes(term: str, readable: bool) -> None:
    if readable:
        assert read_terms(["", f" {term} "]) == {term}
    else:
        with pytest.raises(ValueError, match="4"):
            read_terms([term])


def test_a_second_factor_is_blocked_with_a_text_where_that_was_chosen() -> None:
    blocked = answer_to(Verdict.MFA, "Abcdefg1", PasswordPolicy(), migrate_mfa=False)
    assert (blocked.action, blocked.cause) == ("Block", "mfa")
    assert blocked.title
    assert blocked.message
    assert answer_to(Verdict.MFA, "Abcdefg1", PasswordPolicy()).action == "MigratePassword"

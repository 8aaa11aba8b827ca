"""Which legacy passwords Entra takes as they are, and what a second factor leads to."""

from __future__ import annotations

import pytest

from jitkit.endpoint.decision import answer_to, meets_policy
from jitkit.endpoint.stores import Verdict


@pytest.mark.parametrize(
    ("password", "meets"),
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
        ("Copper-Lantern-42", True),
    ],
)
def test_length_characters_and_three_of_four_classes(password: str, meets: bool) -> None:
    assert meets_policy(password) is meets
    assert answer_to(Verdict.RIGHT, password).action == ("MigratePassword" if meets else "UpdatePassword")


@pytest.mark.parametrize(("password", "meets"), [("abcdefgh", True), ("Password", True), ("abcdefg", False)])
def test_a_tenant_that_accepts_weak_passwords_still_wants_eight_characters(password: str, meets: bool) -> None:
    assert meets_policy(password, accept_weak=True) is meets
    action = answer_to(Verdict.RIGHT, password, accept_weak=True).action
    assert action == ("MigratePassword" if meets else "UpdatePassword")


def test_a_weak_password_that_must_change_is_updated_all_the_same() -> None:
    assert answer_to(Verdict.RIGHT_MUST_CHANGE, "abcdefgh", accept_weak=True).action == "UpdatePassword"


def test_a_second_factor_is_blocked_with_a_text_where_that_was_chosen() -> None:
    blocked = answer_to(Verdict.MFA, "Abcdefg1", migrate_mfa=False)
    assert (blocked.action, blocked.cause) == ("Block", "mfa")
    assert blocked.title
    assert blocked.message
    assert answer_to(Verdict.MFA, "Abcdefg1").action == "MigratePassword"

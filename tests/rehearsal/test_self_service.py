"""Self-service password reset."""

from __future__ import annotations

import pytest

from rehearsal.support import LEGACY, NEW, STORED, ScriptedEndpoint, World

ADA = "ada@woodgrove.example"


async def test_a_reset_before_the_migration_keeps_the_flag_and_the_next_sign_in_migrates_silently(
    world: World, endpoint: ScriptedEndpoint
) -> None:
    user = world.add_user()
    done = await world.tenant.reset_password(" Ada@Woodgrove.example ", NEW)
    assert (done.outcome, done.user_id) == ("password reset", user.id)
    assert world.flag_of(user) is True
    later = await world.sign_in(NEW)
    assert (later.outcome, later.path) == ("signed in", "silent")
    assert not endpoint.received
    assert (await world.sign_in(LEGACY)).outcome == "wrong password"


async def test_the_legacy_password_still_migrates_between_a_reset_and_the_next_sign_in(world: World) -> None:
    world.add_user()
    await world.tenant.reset_password(ADA, NEW)
    assert (await world.sign_in(LEGACY)).path == "callout"
    assert (await world.sign_in(NEW)).outcome == "wrong password"


async def test_the_audit_log_names_the_person_who_reset_it(world: World) -> None:
    user = world.add_user()
    await world.tenant.reset_password(ADA, NEW)
    (row,) = world.tenant.audit_rows()
    assert row["initiatedBy"]["user"]["id"] == user.id
    assert row["loggedByService"] == "Self-service Password Management"
    found = world.directory.user(user.id)
    assert found
    assert found.body["lastPasswordChangeDateTime"].endswith("Z")


@pytest.mark.parametrize("weak", ["short#1", "onlyletters", "Password12!"])
async def test_a_password_that_breaks_the_policy_is_refused(world: World, weak: str) -> None:
    world.add_user()
    done = await world.tenant.reset_password(ADA, weak)
    assert done.outcome == "password refused"
    assert weak not in done.user_sees
    assert (await world.sign_in(STORED)).outcome == "signed in"


async def test_who_has_no_address_is_disabled_or_unknown_resets_nothing(world: World) -> None:
    world.add_user()
    world.add_user("ben@woodgrove.example", enabled=False)
    world.add_user("cleo-1963")
    assert (await world.tenant.reset_password("ben@woodgrove.example", NEW)).outcome == "account disabled"
    assert (await world.tenant.reset_password("cleo-1963", NEW)).outcome == "not offered"
    assert (await world.tenant.reset_password("nobody@woodgrove.example", NEW)).outcome == "unknown user"
    assert world.tenant.audit_rows() == []


def email_code(world: World, state: str) -> None:
    body = {"@odata.type": "#microsoft.graph.emailAuthenticationMethodConfiguration", "id": "Email", "state": state}
    world.directory.add("authenticationMethodConfiguration", body)


async def test_without_email_otp_update_password_is_a_dead_end(world: World, endpoint: ScriptedEndpoint) -> None:
    """A person with a weak password cannot go on, whatever they would choose."""
    user = world.add_user()
    email_code(world, "disabled")
    endpoint.script = "UpdatePassword"
    done = await world.sign_in(LEGACY, new_password=NEW)
    assert (done.outcome, done.code, done.migrated) == ("new password needed", 50125, False)
    assert done.user_sees == "Choose a new password to go on. No code can be sent to you."
    assert any(step.detail.startswith("Email OTP is off") for step in done.steps)
    assert world.flag_of(user) is True
    endpoint.script = "MigratePassword"
    assert (await world.sign_in(LEGACY)).outcome == "signed in"


async def test_without_email_otp_no_reset_is_offered(world: World) -> None:
    user = world.add_user()
    email_code(world, "disabled")
    assert (await world.tenant.reset_password(ADA, NEW)).outcome == "not offered"
    body = world.directory.get("authenticationMethodConfiguration", "Email")
    assert body
    world.change("authenticationMethodConfiguration", body, state="enabled")
    assert (await world.tenant.reset_password(ADA, NEW)).user_id == user.id

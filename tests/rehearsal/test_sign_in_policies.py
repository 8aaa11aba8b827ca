"""What stands around the password: banned terms, Conditional Access, federation, late flags, ties."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from jitkit.errors import KitError
from jitkit.rehearsal import switches
from jitkit.rehearsal.banned_passwords import BannedPasswords, choose_terms
from rehearsal.support import LEGACY, NEW, STORED, ScriptedEndpoint, World

DAY = 86_400


# --- banned passwords: the examples of the page ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("own", "password", "banned"),
    [
        (["contoso", "blank"], "C0ntos0Blank12", True),
        (["contoso", "blank"], "ContoS0Bl@nkf9!", False),
        (["blank"], "Bl@nK", True),
        (["abcdef"], "abcdeg", True),
        (["abcdef"], "abcdefg", True),
        (["abcdef"], "abcde", True),
        ([], "Password123", True),
        ([], "Copper-Lantern-42", False),
    ],
)
def test_the_pages_examples_score_as_the_page_says(own: list[str], password: str, banned: bool) -> None:
    assert BannedPasswords(own).bans(password) is banned


def test_a_name_of_four_letters_anywhere_is_too_much_and_a_shorter_one_is_not() -> None:
    assert BannedPasswords().bans("p0LL23fbQx", ["Poll"])
    assert not BannedPasswords().bans("Ada23fbQx!", ["Ada"])


async def test_a_banned_legacy_password_turns_into_a_reset(world: World) -> None:
    user = world.add_user()
    done = await world.sign_in("Password12!")
    assert (done.outcome, done.code) == ("new password needed", 50125)
    assert world.flag_of(user) is True
    switches.write(world.directory, "banned_passwords", False)
    assert (await world.sign_in("Password12!")).path == "callout"


async def test_the_tenants_own_terms_count_for_a_new_password_too(world: World, endpoint: ScriptedEndpoint) -> None:
    world.add_user()
    endpoint.script = "UpdatePassword"
    choose_terms(world.directory, ["woodgrove"])
    assert (await world.sign_in(LEGACY, new_password="W00dgrove-1!")).outcome == "new password needed"
    assert (await world.sign_in(LEGACY, new_password=NEW)).outcome == "signed in"


@pytest.mark.parametrize("terms", [["abc"], ["x" * 17], [f"term{number:04}" for number in range(1001)]])
def test_a_list_that_the_service_does_not_take_is_refused(world: World, terms: list[str]) -> None:
    with pytest.raises(KitError):
        choose_terms(world.directory, terms)


# --- after the password ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("switch", "outcome", "code"),
    [
        ("conditional_access_blocks", "blocked by policy", 53003),
        ("second_factor_missing", "second factor needed", 50076),
    ],
)
async def test_a_sign_in_can_fail_after_the_password_was_migrated(
    world: World, endpoint: ScriptedEndpoint, switch: str, outcome: str, code: int
) -> None:
    user = world.add_user()
    switches.write(world.directory, switch, True)
    done = await world.sign_in(LEGACY)
    assert (done.outcome, done.code, done.migrated, done.path) == (outcome, code, True, "callout")
    assert done.id_token is None
    assert world.flag_of(user) is False
    assert (world.last_row()["status"]["errorCode"], world.last_callout()["errorCode"]) == (code, 0)
    wrong = await world.sign_in("Wrong#Password-9")
    assert wrong.code == 50126
    again = await world.sign_in(LEGACY)
    assert (again.code, again.migrated) == (code, False)


async def test_the_address_reaches_the_endpoint(world: World, endpoint: ScriptedEndpoint) -> None:
    world.add_user()
    await world.sign_in(LEGACY, ip="192.0.2.7")
    assert endpoint.received[0].envelope["data"]["authenticationContext"]["client"]["ip"] == "192.0.2.7"


# --- who has no password ---------------------------------------------------------------------------------------------


async def test_a_federated_person_never_reaches_the_endpoint(world: World, endpoint: ScriptedEndpoint) -> None:
    user = world.add_user()
    federated = [{"signInType": "federated", "issuer": "google.com", "issuerAssignedId": "123"}]
    world.directory.update_user(
        user.id, password_hash="", sign_in_name=None, body={**user.body, "identities": federated}
    )
    world.directory.set_sign_in_names(user.id, [])
    assert (await world.sign_in(LEGACY)).outcome == "unknown user"
    by_upn = await world.sign_in(LEGACY, user.upn)
    assert (by_upn.outcome, by_upn.code) == ("no password", 50056)
    assert not endpoint.received


# --- flags that arrive late, answers that change ---------------------------------------------------------------------


async def test_with_a_lag_the_flag_reads_true_for_a_while_and_the_old_password_is_asked_about_again(
    world: World, endpoint: ScriptedEndpoint
) -> None:
    user = world.add_user()
    switches.write(world.directory, "flag_lag", 30)
    world.directory.clock.hold(1_800_000_000)
    assert (await world.sign_in(LEGACY)).path == "callout"
    assert world.flag_of(user) is True
    endpoint.script = "Retry"
    assert (await world.sign_in("Wrong#Password-9")).called_endpoint
    world.directory.clock.forward(31)
    assert not (await world.sign_in("Wrong#Password-8")).called_endpoint
    assert world.flag_of(user) is False


async def test_graph_shows_a_late_flag_once_it_has_arrived(world: World) -> None:
    user = world.add_user()
    switches.write(world.directory, "flag_lag", 30)
    token = (await world.tenant.credential().get_token("https://graph.microsoft.com/.default")).token
    address = f"https://graph.microsoft.com/v1.0/users/{user.id}?$select={world.flag}"
    seen = []
    async with httpx.AsyncClient(
        transport=world.tenant.transport(), headers={"Authorization": f"Bearer {token}"}
    ) as graph:
        await world.sign_in(LEGACY)
        seen.append((await graph.get(address)).json()[world.flag])
        world.directory.clock.forward(31)
        seen.append((await graph.get(address)).json()[world.flag])
    assert seen == [True, False]


async def test_a_legacy_password_that_changes_after_the_migration_is_refused(
    world: World, endpoint: ScriptedEndpoint
) -> None:
    world.add_user()
    assert (await world.sign_in(LEGACY)).path == "callout"
    changed = await world.sign_in("Changed#Legacy-4")
    assert (changed.outcome, changed.called_endpoint) == ("wrong password", False)
    assert (await world.sign_in(LEGACY)).outcome == "signed in"


async def test_a_tie_of_priorities_is_told_and_the_switch_turns_it(world: World, endpoint: ScriptedEndpoint) -> None:
    world.add_user()
    endpoint.script = "Retry"
    newer = world.add_listener(500)
    done = await world.sign_in(LEGACY)
    assert any("same priority" in step.what for step in done.steps)
    switches.write(world.directory, "newest_listener_wins_ties", True)
    await world.sign_in("Wrong#Password-9")
    called = [each.envelope["data"]["authenticationEventListenerId"] for each in endpoint.received]
    assert called == [world.listener["id"], newer["id"]]


async def test_a_listener_for_all_applications_covers_the_app(world: World, endpoint: ScriptedEndpoint) -> None:
    world.add_user()
    conditions = {"applications": {"includeAllApplications": True}}
    world.change("authenticationEventListener", world.listener, conditions=conditions)
    assert (await world.sign_in(LEGACY, client_app_id=world.client_id)).path == "callout"


async def test_a_change_of_the_set_up_counts_from_the_next_sign_in(world: World, endpoint: ScriptedEndpoint) -> None:
    world.add_user()
    endpoint.script = "Retry"
    assert (await world.sign_in(LEGACY)).called_endpoint
    world.directory.discard("appRoleAssignment", world.consent["id"], recycle=False)
    assert (await world.sign_in("Wrong#Password-9")).callout_error == 1003021
    world.directory.add("appRoleAssignment", world.consent)
    assert (await world.sign_in("Wrong#Password-8")).called_endpoint


async def test_a_change_by_another_process_counts_too(world: World, endpoint: ScriptedEndpoint) -> None:
    from jitkit.rehearsal.directory import Directory

    world.add_user()
    endpoint.script = "Retry"
    assert (await world.sign_in(LEGACY)).called_endpoint
    other = Directory(world.tenant.path)
    other.discard("authenticationEventListener", world.listener["id"], recycle=False)
    other.close()
    done = await world.sign_in("Wrong#Password-9", client_app_id=world.client_id)
    assert (done.outcome, done.called_endpoint) == ("wrong password", False)


@pytest.mark.parametrize("switch", ["block_page_error", "update_password_clears_flag", "silent_migration_is_audited"])
async def test_what_is_assumed_can_be_turned(world: World, endpoint: ScriptedEndpoint, switch: str) -> None:
    user = world.add_user()
    if switch == "block_page_error":
        switches.write(world.directory, switch, 1100000)
        endpoint.script = "Block"
        assert (await world.sign_in(LEGACY)).code == 1100000
    elif switch == "update_password_clears_flag":
        switches.write(world.directory, switch, False)
        endpoint.script = "UpdatePassword"
        assert (await world.sign_in(LEGACY, new_password=NEW)).outcome == "signed in"
        assert world.flag_of(user) is True
        assert (await world.sign_in(NEW)).path == "silent"
    else:
        switches.write(world.directory, switch, False)
        assert (await world.sign_in(STORED)).path == "silent"
        assert world.flag_of(user) is False
        assert world.tenant.audit_rows() == []


async def test_without_one_time_passcodes_or_an_address_nobody_can_choose_a_new_password(
    world: World, endpoint: ScriptedEndpoint
) -> None:
    world.add_user()
    world.add_user("ben-1963")
    endpoint.script = "UpdatePassword"
    stranded = await world.sign_in(LEGACY, "ben-1963", new_password=NEW)
    assert (stranded.outcome, stranded.migrated) == ("new password needed", False)
    switches.write(world.directory, "email_one_time_passcode", False)
    assert (await world.sign_in(LEGACY, new_password=NEW)).outcome == "new password needed"
    switches.write(world.directory, "email_one_time_passcode", True)
    assert (await world.sign_in(LEGACY, new_password=NEW)).outcome == "signed in"


async def test_the_listeners_own_time_limit_overrides_the_extensions(world: World, endpoint: ScriptedEndpoint) -> None:
    from jitkit.rehearsal.callout import compose

    configuration: dict[str, Any] = {"clientConfiguration": {"timeoutInMilliseconds": 700}}
    handler = {**world.listener["handler"], "configuration": configuration}
    world.change("authenticationEventListener", world.listener, handler=handler)
    composed = await compose(world.tenant, "ada@woodgrove.example", LEGACY)
    assert (composed.timeout, composed.retries) == (0.7, 1)


async def test_invented_passwords_stay_cheap_when_they_are_migrated(world: World, endpoint: ScriptedEndpoint) -> None:
    from jitkit.rehearsal import passwords

    user = world.add_user()
    cheap = passwords.hash_password(STORED, invented=True)
    world.directory.update_user(user.id, password_hash=cheap)
    assert (await world.sign_in(LEGACY)).path == "callout"
    found = world.directory.user(user.id)
    assert found
    assert passwords.is_invented(found.password_hash)
    assert (await world.sign_in(LEGACY)).outcome == "signed in"
    assert not passwords.matches(STORED, passwords.decoy(found.password_hash))

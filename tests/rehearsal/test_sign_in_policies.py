"""What stands around the password: banned terms, Conditional Access, federation, late flags, ties."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from jitkit.rehearsal import switches
from jitkit.rehearsal.accounts import decoy, hash_password, is_invented, matches, problem_with
from rehearsal.support import LEGACY, NEW, STORED, ScriptedEndpoint, World

DAY = 86_400


# --- banned passwords: the examples of the page ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("password", "banned"),
    [
        ("C0ntos0Dr@g0n1", True),
        ("C0ntos0-f9!", False),
        ("Password123", True),
        ("Copper-Lantern-42", False),
        ("p0LL23fbQx", True),
        ("Ada23fbQx!", False),
        ("C0ntoso Ret@il-Ab1", True),
    ],
)
def test_banned_terms_count_one_point_and_names_of_four_letters_are_not_allowed(
    world: World, password: str, banned: bool
) -> None:
    user = world.add_user()
    user.body |= {"givenName": "Ada", "surname": "Poll"}
    assert bool(problem_with(world.tenant.state, user, password)) is banned


async def test_a_banned_legacy_password_turns_into_a_reset(world: World) -> None:
    user = world.add_user()
    done = await world.sign_in("Password12!")
    assert (done.outcome, done.code) == ("new password needed", 50125)
    assert world.flag_of(user) is True


# --- after the password ----------------------------------------------------------------------------------------------


async def test_a_sign_in_can_fail_after_the_password_was_migrated(world: World, endpoint: ScriptedEndpoint) -> None:
    user, outcome, code = world.add_user(), "blocked by policy", 53003
    switches.write(world.directory, "conditional_access_blocks", True)
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
    switches.write(world.directory, "replication_delay", 30)
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
    switches.write(world.directory, "replication_delay", 30)
    token = (await world.tenant.credential().get_token("https://graph.microsoft.com/.default")).token
    address = f"https://graph.microsoft.com/v1.0/users/{user.id}?$select={world.flag}"
    seen = []
    async with httpx.AsyncClient(
        transport=world.tenant.transport(), headers={"Authorization": f"Bearer {token}"}
    ) as graph:
        world.directory.clock.forward(60)  # the user itself has arrived
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


async def test_a_tie_of_priorities_is_reported_and_the_oldest_listener_is_called(
    world: World, endpoint: ScriptedEndpoint
) -> None:
    world.add_user()
    endpoint.script = "Retry"
    world.add_listener(500)
    done = await world.sign_in(LEGACY)
    assert any("same priority" in step.what for step in done.steps)
    called = [each.envelope["data"]["authenticationEventListenerId"] for each in endpoint.received]
    assert called == [world.listener["id"]]


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


async def test_without_an_address_for_a_code_no_new_password_can_be_chosen(
    world: World, endpoint: ScriptedEndpoint
) -> None:
    world.add_user()
    world.add_user("ben-1963")
    endpoint.script = "UpdatePassword"
    stranded = await world.sign_in(LEGACY, "ben-1963", new_password=NEW)
    assert (stranded.outcome, stranded.migrated) == ("new password needed", False)
    assert (await world.sign_in(LEGACY, new_password=NEW)).outcome == "signed in"


async def test_the_listeners_own_time_limit_overrides_the_extensions(world: World, endpoint: ScriptedEndpoint) -> None:
    configuration: dict[str, Any] = {"clientConfiguration": {"timeoutInMilliseconds": 700}}
    handler = {**world.listener["handler"], "configuration": configuration}
    world.change("authenticationEventListener", world.listener, handler=handler)
    composed = await world.tenant.compose_callout("ada@woodgrove.example", LEGACY)
    assert (composed.timeout, composed.retries) == (0.7, 1)


async def test_invented_passwords_stay_cheap_when_they_are_migrated(world: World, endpoint: ScriptedEndpoint) -> None:
    user = world.add_user()
    cheap = hash_password(STORED, invented=True)
    world.directory.update_user(user.id, password_hash=cheap)
    assert (await world.sign_in(LEGACY)).path == "callout"
    found = world.directory.user(user.id)
    assert found
    assert is_invented(found.password_hash)
    assert (await world.sign_in(LEGACY)).outcome == "signed in"
    assert not matches(STORED, decoy(found.password_hash))

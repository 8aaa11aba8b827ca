"""The decision table of a sign-in, row by row, against a real endpoint."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

import pytest

from jitkit.errors import NotReady
from jitkit.rehearsal import switches
from jitkit.rehearsal.directory import User
from rehearsal.support import LEGACY, NEW, STORED, Received, ScriptedEndpoint, World, answer, as_json


async def test_stored_password_matches_and_flag_true_marks_migrated_without_a_call(
    world: World, endpoint: ScriptedEndpoint
) -> None:
    user = world.add_user(flag=True)
    done = await world.sign_in(STORED)
    assert (done.outcome, done.code, done.migrated, done.path) == ("signed in", 0, True, "silent")
    assert world.flag_of(user) is False
    assert not endpoint.received
    assert not done.called_endpoint
    assert world.last_row()["appliedEventListeners"] == []


@pytest.mark.parametrize("flag", [False, None])
async def test_stored_password_matches_and_flag_not_true_signs_in(
    world: World, endpoint: ScriptedEndpoint, flag: bool | None
) -> None:
    user = world.add_user(flag=flag)
    done = await world.sign_in(STORED)
    assert (done.outcome, done.migrated, done.path) == ("signed in", False, None)
    assert world.flag_of(user) is flag
    assert not endpoint.received


async def test_mismatch_and_flag_true_calls_and_migrates_once(world: World, endpoint: ScriptedEndpoint) -> None:
    user = world.add_user()
    first = await world.sign_in(LEGACY)
    assert (first.outcome, first.migrated, first.path, first.attempts) == ("signed in", True, "callout", 1)
    assert (first.called_endpoint, first.http_status, first.callout_error) == (True, 200, None)
    assert world.flag_of(user) is False
    second = await world.sign_in(LEGACY)
    assert (second.outcome, second.migrated, second.called_endpoint) == ("signed in", False, False)
    assert len(endpoint.received) == 1
    assert (await world.sign_in(STORED)).outcome == "wrong password"


@pytest.mark.parametrize("flag", [False, None])
async def test_mismatch_and_flag_not_true_is_a_wrong_password_without_a_call(
    world: World, endpoint: ScriptedEndpoint, flag: bool | None
) -> None:
    world.add_user(flag=flag)
    done = await world.sign_in(LEGACY)
    assert (done.outcome, done.code) == ("wrong password", 50126)
    assert not endpoint.received
    assert any(world.flag in step.detail for step in done.steps)


async def test_mismatch_and_flag_true_but_no_listener_includes_the_app_is_a_wrong_password_and_says_why(
    world: World, endpoint: ScriptedEndpoint
) -> None:
    user = world.add_user()
    world.change("authenticationEventListener", world.listener, conditions={"applications": {}})
    done = await world.sign_in(LEGACY, client_app_id=world.client_id)
    assert (done.outcome, done.code, done.called_endpoint) == ("wrong password", 50126, False)
    assert not endpoint.received
    assert world.flag_of(user) is True
    assert any("No listener includes the app" in step.detail for step in done.steps)


async def test_a_listener_that_names_an_unknown_attribute_never_calls_and_says_why(
    world: World, endpoint: ScriptedEndpoint
) -> None:
    world.add_user()
    handler = {**world.listener["handler"], "migrationPropertyId": "extension_0_tobemigrated"}
    world.change("authenticationEventListener", world.listener, handler=handler)
    done = await world.sign_in(LEGACY)
    assert (done.outcome, done.called_endpoint) == ("wrong password", False)
    assert not endpoint.received
    assert any("is not an attribute of this tenant" in step.detail for step in done.steps)


async def test_unknown_user_reads_the_same_as_a_wrong_password_and_is_not_called(
    world: World, endpoint: ScriptedEndpoint
) -> None:
    world.add_user(flag=False)
    wrong = await world.sign_in(LEGACY)
    unknown = await world.sign_in(LEGACY, "nobody@woodgrove.example")
    assert (unknown.outcome, unknown.code, unknown.user_id) == ("unknown user", 50034, None)
    assert unknown.user_sees == wrong.user_sees
    assert not endpoint.received
    assert "nobody" not in json.dumps(world.last_row())


async def test_the_name_is_found_in_any_case_with_blanks_around_and_reaches_the_endpoint_as_typed(
    world: World, endpoint: ScriptedEndpoint
) -> None:
    world.add_user()
    done = await world.sign_in(LEGACY, " Ada@Woodgrove.example ")
    assert done.outcome == "signed in"
    assert endpoint.received[0].claims["username"] == " Ada@Woodgrove.example "


async def test_a_user_signs_in_by_user_principal_name_but_not_by_object_id(world: World) -> None:
    user = world.add_user()
    assert (await world.sign_in(STORED, user.upn)).outcome == "signed in"
    assert (await world.sign_in(STORED, user.id)).outcome == "unknown user"


async def test_disabled_account_is_refused_without_a_call(world: World, endpoint: ScriptedEndpoint) -> None:
    world.add_user(enabled=False)
    for password in (STORED, LEGACY):
        done = await world.sign_in(password)
        assert (done.outcome, done.code) == ("account disabled", 50057)
    assert not endpoint.received


async def test_retry_is_a_wrong_password_and_does_not_lock(world: World, endpoint: ScriptedEndpoint) -> None:
    user = world.add_user()
    endpoint.script = "Retry"
    for number in range(11):
        done = await world.sign_in(f"Wrong#Password-{number}")
        assert (done.outcome, done.code, done.called_endpoint) == ("wrong password", 50126, True)
    assert world.flag_of(user) is True


async def test_retry_counts_towards_the_lock_when_the_tenant_says_so(world: World, endpoint: ScriptedEndpoint) -> None:
    world.add_user()
    switches.write(world.directory, "retry_counts_for_lockout", True)
    endpoint.script = "Retry"
    for number in range(10):
        await world.sign_in(f"Wrong#Password-{number}")
    assert (await world.sign_in(LEGACY)).code == 50053
    assert len(endpoint.received) == 10


async def test_block_shows_the_endpoints_words_and_keeps_the_flag(world: World, endpoint: ScriptedEndpoint) -> None:
    user = world.add_user()
    endpoint.script = lambda got: as_json(answer("Block", got.claims["nonce"], title="Locked", message="Call 123."))
    done = await world.sign_in(LEGACY)
    assert (done.outcome, done.title, done.message, done.user_sees) == (
        "blocked",
        "Locked",
        "Call 123.",
        "Locked: Call 123.",
    )
    assert world.flag_of(user) is True
    assert (world.last_row()["status"]["errorCode"], world.last_callout()["errorCode"]) == (1100001, 0)


async def test_block_without_words_has_defaults(world: World, endpoint: ScriptedEndpoint) -> None:
    world.add_user()
    endpoint.script = "Block"
    done = await world.sign_in(LEGACY)
    assert done.title
    assert done.message


async def test_update_password_waits_for_a_new_one_then_stores_it_and_clears_the_flag(
    world: World, endpoint: ScriptedEndpoint
) -> None:
    user = world.add_user()
    endpoint.script = "UpdatePassword"
    waiting = await world.sign_in(LEGACY)
    assert (waiting.outcome, waiting.code, waiting.migrated) == ("new password needed", 50125, False)
    assert world.flag_of(user) is True
    done = await world.sign_in(LEGACY, new_password=NEW)
    assert (done.outcome, done.migrated, done.path) == ("signed in", True, "reset")
    assert world.flag_of(user) is False
    assert (await world.sign_in(LEGACY)).outcome == "wrong password"
    assert (await world.sign_in(NEW)).outcome == "signed in"
    assert len(endpoint.received) == 2


@pytest.mark.parametrize("weak", ["short#1", "onlyletters", "Ünïcode#Password1", "a1#" * 86])
async def test_a_new_password_that_breaks_the_policy_is_refused(
    world: World, endpoint: ScriptedEndpoint, weak: str
) -> None:
    user = world.add_user()
    endpoint.script = "UpdatePassword"
    done = await world.sign_in(LEGACY, new_password=weak)
    assert (done.outcome, done.migrated) == ("new password needed", False)
    assert weak not in done.user_sees
    assert world.flag_of(user) is True


async def test_migrate_password_with_a_weak_one_turns_into_a_reset(world: World) -> None:
    user = world.add_user()
    waiting = await world.sign_in("lowercase")
    assert (waiting.outcome, waiting.migrated) == ("new password needed", False)
    assert world.flag_of(user) is True
    done = await world.sign_in("lowercase", new_password=NEW)
    assert (done.outcome, done.path) == ("signed in", "reset")
    assert world.flag_of(user) is False


async def test_migrate_password_accepts_a_plain_one_when_strong_passwords_are_off_but_never_a_short_one(
    world: World,
) -> None:
    world.add_user()
    switches.write(world.directory, "disable_strong_password", True)
    assert (await world.sign_in("seven77")).outcome == "new password needed"
    assert (await world.sign_in("lowercase")).path == "callout"


async def test_migrate_password_for_an_account_that_must_change_shows_the_change_page_and_keeps_the_flag(
    world: World, endpoint: ScriptedEndpoint
) -> None:
    user = world.add_user(force_change=True)
    waiting = await world.sign_in(LEGACY)
    assert (waiting.outcome, waiting.code, waiting.migrated) == ("new password needed", 50055, False)
    same = await world.sign_in(LEGACY, new_password=LEGACY)
    assert same.outcome == "new password needed"
    done = await world.sign_in(LEGACY, new_password=NEW)
    assert (done.outcome, done.migrated, done.path) == ("signed in", False, None)
    assert world.flag_of(user) is True
    later = await world.sign_in(NEW)
    assert (later.migrated, later.path) == (True, "silent")
    assert len(endpoint.received) == 3


async def test_an_admins_temporary_password_has_to_be_changed_at_the_first_sign_in(world: World) -> None:
    world.add_user(flag=False, force_change=True)
    assert (await world.sign_in(STORED)).code == 50055
    assert (await world.sign_in(STORED, new_password=NEW)).outcome == "signed in"
    assert (await world.sign_in(NEW)).outcome == "signed in"


async def test_parallel_sign_ins_of_one_user_migrate_once_and_the_others_match(
    world: World, endpoint: ScriptedEndpoint
) -> None:
    world.add_user()
    done = await asyncio.gather(*(world.sign_in(LEGACY) for _ in range(5)))
    assert [each.outcome for each in done] == ["signed in"] * 5
    assert sum(each.migrated for each in done) == 1
    assert len(endpoint.received) == 1


async def test_a_migration_that_another_process_finished_first_is_not_overwritten(
    world: World, endpoint: ScriptedEndpoint
) -> None:
    user = world.add_user()

    def elsewhere(got: Received) -> object:
        from jitkit.rehearsal.accounts import hash_password

        world.directory.update_user(user.id, password_hash=hash_password(NEW))
        world.directory.set_user_value(user.id, world.flag, False)
        return as_json(answer("MigratePassword", got.claims["nonce"]))

    endpoint.script = elsewhere  # type: ignore[assignment]
    assert (await world.sign_in(LEGACY)).outcome == "wrong password"
    assert (await world.sign_in(NEW)).outcome == "signed in"


async def test_the_lowest_priority_number_wins_and_a_missing_one_counts_as_500(
    world: World, endpoint: ScriptedEndpoint
) -> None:
    world.add_user()
    endpoint.script = "Retry"
    later = world.add_listener(None)
    await world.sign_in(LEGACY)
    world.change("authenticationEventListener", world.listener, priority=501)
    await world.sign_in(LEGACY)
    first = world.add_listener(499)
    await world.sign_in(LEGACY)
    called = [each.envelope["data"]["authenticationEventListenerId"] for each in endpoint.received]
    assert called == [world.listener["id"], later["id"], first["id"]]


async def test_an_app_that_is_not_registered_is_refused(world: World) -> None:
    world.add_user()
    done = await world.sign_in(STORED, client_app_id="11111111-1111-1111-1111-111111111111")
    assert (done.outcome, done.code) == ("error", 700016)
    assert world.last_row()["status"]["errorCode"] == 700016


async def test_an_app_without_a_service_principal_is_refused(world: World) -> None:
    world.add_user()
    world.directory.discard("servicePrincipal", world.client_principal["id"], recycle=True)
    assert (await world.sign_in(STORED)).code == 700016


async def test_an_app_whose_service_principal_is_disabled_is_refused(world: World) -> None:
    world.add_user()
    world.change("servicePrincipal", world.client_principal, accountEnabled=False)
    assert (await world.sign_in(STORED)).code == 7000112


async def test_an_app_in_no_user_flow_is_refused(world: World) -> None:
    world.add_user()
    world.directory.discard("authenticationEventsFlow", world.user_flow["id"], recycle=False)
    done = await world.sign_in(STORED)
    assert (done.outcome, done.code) == ("error", 500208)
    assert "No user flow" in done.user_sees


async def test_a_user_flow_without_email_and_password_is_refused(world: World) -> None:
    world.add_user()
    methods = {"identityProviders": [{"id": "EmailOtpSignup-OAUTH"}]}
    world.change("authenticationEventsFlow", world.user_flow, onAuthenticationMethodLoadStart=methods)
    assert (await world.sign_in(STORED)).code == 500208


async def test_no_app_named_and_none_set_up_says_what_to_do(world: World) -> None:
    for kind, body in (("authenticationEventListener", world.listener), ("authenticationEventsFlow", world.user_flow)):
        world.directory.discard(kind, body["id"], recycle=False)
    with pytest.raises(NotReady, match="no app to sign in to"):
        await world.sign_in(STORED)


async def test_no_app_named_and_several_set_up_lists_them(world: World) -> None:
    other = "22222222-2222-2222-2222-222222222222"
    included = [{"appId": world.client_id}, {"appId": other}]
    conditions = {"applications": {"includeApplications": included}}
    world.change("authenticationEventListener", world.listener, conditions=conditions)
    with pytest.raises(NotReady) as caught:
        await world.sign_in(STORED)
    assert world.client_id in str(caught.value)
    assert other in str(caught.value)


async def test_an_id_token_is_issued_for_the_app_and_stays_out_of_the_repr(world: World) -> None:
    user = world.add_user()
    done = await world.sign_in(LEGACY)
    assert done.id_token
    claims = json.loads(base64.urlsafe_b64decode(done.id_token.split(".")[1] + "=="))
    assert (claims["aud"], claims["oid"], claims["tid"]) == (world.client_id, user.id, world.tenant.tenant_id)
    assert claims["iss"] == f"https://{world.tenant.tenant_id}.ciamlogin.com/{world.tenant.tenant_id}/v2.0"
    assert done.id_token not in repr(done)
    world.change("application", world.client_app, web={"implicitGrantSettings": {"enableIdTokenIssuance": False}})
    assert (await world.sign_in(LEGACY)).id_token is None


async def test_the_steps_tell_the_sequence_in_order(world: World) -> None:
    world.add_user()
    done = await world.sign_in(LEGACY)
    assert [step.actor for step in done.steps] == [
        "Person",
        "Directory",
        "Directory",
        "Entra",
        "Your endpoint",
        "Directory",
        "Entra",
        "Person",
    ]
    assert [step.at_ms for step in done.steps] == sorted(step.at_ms for step in done.steps)
    shown = done._repr_html_()
    assert "<caption" in shown
    assert "signed in, migrated" in shown
    assert "The person sees" in shown


async def test_html_in_what_was_typed_is_shown_as_text(world: World) -> None:
    done = await world.sign_in(LEGACY, "<script>alert(1)</script>@woodgrove.example")
    assert "<script>" not in done._repr_html_()


async def test_a_canary_password_is_kept_nowhere(world: World, endpoint: ScriptedEndpoint) -> None:
    canary, chosen, weak, reset = "Canary#Word-77", "Canary#Chosen-88", "canarylowercase", "Canary#Reset-99"
    world.add_user()
    world.add_user("ben@woodgrove.example")
    seen: list[Any] = [
        await world.sign_in(weak, "ben@woodgrove.example", new_password=chosen),
        await world.sign_in(canary),
        await world.sign_in(canary),
        await world.sign_in(chosen),
        await world.sign_in(canary, "nobody@woodgrove.example"),
    ]
    endpoint.script = lambda got: as_json({}, 500)
    world.add_user("cleo@woodgrove.example")
    seen.append(await world.sign_in(canary, "cleo@woodgrove.example"))
    assert [each.outcome for each in seen].count("signed in") == 3
    kept = "".join(each._repr_html_() for each in seen)
    seen.append(await world.tenant.reset_password("cleo@woodgrove.example", weak))
    seen.append(await world.tenant.reset_password("cleo@woodgrove.example", reset))
    kept += repr(seen) + repr(vars(world.tenant.caller)) + repr(vars(world.tenant.sign_ins.lockout))
    kept += json.dumps([world.tenant.sign_in_rows(), world.tenant.audit_rows()])
    files = list(world.tenant.path.parent.glob("rehearsal.sqlite3*"))
    assert any(file.name.endswith("-wal") for file in files)
    stored = b"".join(file.read_bytes() for file in files)
    for secret in (canary, chosen, weak, reset):
        assert secret not in kept
        assert secret.encode() not in stored
        assert base64.b64encode(secret.encode()) not in stored
    assert world.last_row()["correlationId"].encode() in stored


async def test_a_deleted_flag_definition_migrates_nobody(world: World, endpoint: ScriptedEndpoint) -> None:
    """H8: the values stay on the users, but the listener looks at a property that is gone."""
    user = world.add_user()
    (definition,) = [each for each in world.directory.all("extensionProperty") if each["name"] == world.flag]
    world.directory.discard("extensionProperty", definition["id"], recycle=False)
    wrong = await world.sign_in(LEGACY)
    assert (wrong.outcome, wrong.called_endpoint) == ("wrong password", False)
    matched = await world.sign_in(STORED)
    assert (matched.outcome, matched.migrated) == ("signed in", False)
    assert world.flag_of(user) is True
    assert not endpoint.received


async def test_a_flag_whose_owner_was_deleted_migrates_nobody(world: World) -> None:
    world.add_user()
    owner = world.directory.all("application")[0]
    assert owner["displayName"].startswith("b2c-extensions-app")
    world.directory.discard("application", owner["id"], recycle=True)
    assert (await world.sign_in(LEGACY)).outcome == "wrong password"
    world.directory.restore("application", owner["id"])
    assert (await world.sign_in(LEGACY)).path == "callout"


def by_user_name(world: World) -> User:
    """A person with an e-mail address and a user name."""
    user = world.add_user()
    names = {"emailAddress": "ada@woodgrove.example", "userName": "ada_l"}
    issued = [
        {"signInType": kind, "issuer": world.tenant.domain, "issuerAssignedId": name} for kind, name in names.items()
    ]
    world.directory.set_sign_in_names(user.id, names.values())
    world.directory.update_user(user.id, body={**user.body, "identities": issued})
    return user


async def test_a_user_name_signs_in_only_where_the_tenant_takes_user_names(
    world: World, endpoint: ScriptedEndpoint
) -> None:
    user = by_user_name(world)
    refused = await world.sign_in(LEGACY, "ada_l")
    assert (refused.outcome, refused.code, refused.user_id) == ("unknown user", 50034, None)
    assert any("sign-in identifiers" in step.detail for step in refused.steps)
    assert not endpoint.received
    on = {"@odata.type": "#microsoft.graph.usernameSignInIdentifier", "name": "Username", "isEnabled": True}
    world.directory.add("signInIdentifier", {"id": "Username", **on})
    done = await world.sign_in(LEGACY, "ADA_L")
    assert (done.outcome, done.path, done.user_id) == ("signed in", "callout", user.id)
    assert endpoint.received[0].claims["username"] == "ADA_L"


async def test_an_e_mail_address_signs_in_whatever_user_names_do(world: World) -> None:
    by_user_name(world)
    assert (await world.sign_in(LEGACY)).outcome == "signed in"

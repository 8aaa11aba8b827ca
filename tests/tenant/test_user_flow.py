from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from helpers.tenant.step import MADE_BY
from helpers.tenant.user_flow import EmailCodes
from jitkit.errors import NotReady, Taken, WriteNotConfirmed
from tenant.support import Asked, Between, Kit, narrow, writes

FLOWS = "/identity/authenticationEventsFlows"


def a_flow(name: str, *, provider: str = "EmailPassword-OAUTH", description: str = "") -> dict[str, Any]:
    start = "#microsoft.graph.onInteractiveAuthFlowStartExternalUsersSelfServiceSignUp"
    methods = "#microsoft.graph.onAuthenticationMethodLoadStartExternalUsersSelfServiceSignUp"
    return {
        "@odata.type": "#microsoft.graph.externalUsersSelfServiceSignUpEventsFlow",
        "displayName": name,
        "description": description,
        "onInteractiveAuthFlowStart": {"@odata.type": start, "isSignUpAllowed": True},
        "onAuthenticationMethodLoadStart": {"@odata.type": methods, "identityProviders": [{"id": provider}]},
    }


async def put_in(kit: Kit, flow: dict[str, Any], app_id: str) -> None:
    await kit.send("POST", f"{FLOWS}/{flow['id']}/conditions/applications/includeApplications", {"appId": app_id})


async def test_a_flow_is_made_with_the_client_in_it_and_found_the_second_time(kit: Kit) -> None:
    client = await kit.client.ensure()
    made = await kit.flow.ensure()
    assert (made.status, made.app_ids, made.facts["Made by"]) == ("created", (client.app_id,), "this kit")
    assert made.facts["Sign-in with"] == "EmailPassword-OAUTH"
    again = await kit.flow.ensure()
    assert (again.status, writes(again), again.flow_id) == ("reused", [], made.flow_id)
    assert (await kit.flow.show()).flow_id == made.flow_id


async def test_the_client_comes_first(kit: Kit) -> None:
    with pytest.raises(NotReady, match="JIT test client"):
        await kit.flow.ensure()


async def test_somebody_elses_flow_with_the_client_in_it_is_kept(kit: Kit) -> None:
    client = await kit.client.ensure()
    theirs = await kit.send("POST", FLOWS, a_flow("Shop"))
    await put_in(kit, theirs, client.app_id)
    found = await kit.flow.ensure()
    assert (found.status, found.flow_id, writes(found)) == ("reused", theirs["id"], [])
    assert len((await kit.send("GET", FLOWS))["value"]) == 1

    kept = await kit.flow.remove()
    assert (kept.status, "did not make" in kept.facts["Why it stays"]) == ("kept", True)
    with pytest.raises(NotReady):
        await kit.flow.show()
    assert len((await kit.send("GET", FLOWS))["value"]) == 1


async def test_a_flow_without_passwords_is_pointed_out(kit: Kit) -> None:
    client = await kit.client.ensure()
    theirs = await kit.send("POST", FLOWS, a_flow("Codes", provider="EmailOtpSignup-OAUTH"))
    await put_in(kit, theirs, client.app_id)
    with pytest.raises(Taken, match="does not offer e-mail with password") as refused:
        await kit.flow.ensure()
    assert "EmailOtpSignup-OAUTH" in str(refused.value)
    assert "or take the test client out of it there, and run" in refused.value.next_step


async def test_a_flow_without_passwords_that_has_the_kit_s_name_is_out_of_the_way_once_renamed(kit: Kit) -> None:
    await kit.client.ensure()
    made = await kit.send("POST", FLOWS, a_flow("JIT sign-in", provider="EmailOtpSignup-OAUTH"))
    with pytest.raises(Taken, match="does not offer e-mail with password") as refused:
        await kit.flow.ensure()
    assert "or rename it there, and run" in refused.value.next_step
    kind = "#microsoft.graph.externalUsersSelfServiceSignUpEventsFlow"
    await kit.send("PATCH", f"{FLOWS}/{made['id']}", {"@odata.type": kind, "displayName": "Codes"})
    assert (await kit.flow.ensure()).status == "created"


async def test_a_flow_that_was_made_without_its_client_is_finished(kit: Kit) -> None:
    client = await kit.client.ensure()
    made = await kit.send("POST", FLOWS, a_flow("JIT sign-in", description=MADE_BY))
    with pytest.raises(NotReady):
        await kit.flow.show()
    finished = await kit.flow.ensure()
    assert (finished.status, finished.flow_id, finished.app_ids) == ("updated", made["id"], (client.app_id,))


async def test_a_flow_that_others_use_stays(kit: Kit) -> None:
    await kit.client.ensure()
    made = await kit.flow.ensure()
    other = await kit.send("POST", "/applications", {"displayName": "Shop"})
    await kit.send("POST", "/servicePrincipals", {"appId": other["appId"]})
    await put_in(kit, {"id": made.flow_id}, other["appId"])
    assert (await kit.flow.to_remove()).stays
    kept = await kit.flow.remove()
    assert kept.status == "kept"
    assert kept.facts["Why it stays"] == "Other applications are in it: Shop."


async def test_a_flow_of_others_with_the_kits_name_is_said_to_stay_as_it_is(kit: Kit) -> None:
    await kit.client.ensure()
    await kit.send("POST", FLOWS, a_flow("JIT sign-in"))
    kept = await kit.flow.remove()
    assert (kept.status, kept.facts["Why it stays"], writes(kept)) == ("kept", "The kit did not make it.", [])


async def test_the_kits_flow_is_removed_even_when_its_client_has_gone(kit: Kit) -> None:
    await kit.client.ensure()
    await kit.flow.ensure()
    await kit.send("DELETE", f"{FLOWS}/{(await kit.flow.show()).flow_id}")
    assert (await kit.flow.remove()).status == "missing"

    await kit.send("POST", FLOWS, a_flow("JIT sign-in", description=MADE_BY))
    await kit.client.remove()
    assert not (await kit.flow.to_remove()).stays
    assert (await kit.flow.remove()).status == "removed"
    assert (await kit.send("GET", FLOWS))["value"] == []


METHOD = "/policies/authenticationMethodsPolicy/authenticationMethodConfigurations/email"


async def test_codes_by_email_are_switched_on_only_where_they_are_off_and_asked_about(
    kit: Kit, between: Between, asked: Asked
) -> None:
    """Whoever must choose a new password needs such a code; for whom they are on stays as it is."""
    live = Kit.at(kit.tenant, between, kit.folder, before_write=asked)
    codes = EmailCodes(live.graph, live.profile, live.folder)
    assert ((await codes.ensure()).status, asked.taken()) == ("reused", [])

    kind = {"@odata.type": "#microsoft.graph.emailAuthenticationMethodConfiguration"}
    await kit.send("PATCH", METHOD, {**kind, "state": "disabled"})
    before = await kit.send("GET", METHOD)
    assert (await codes.show()).status == "off"
    asked.refuse = True
    with pytest.raises(WriteNotConfirmed):
        await codes.ensure()
    [change] = asked.taken()
    assert change.values == [("State", "disabled", "enabled")]
    assert change.answer and change.answer not in change.asks
    assert await kit.send("GET", METHOD) == before

    asked.refuse = False
    assert (await codes.ensure()).status == "updated"
    assert await kit.send("GET", METHOD) == {**before, "state": "enabled"}
    await live.graph.close()


@pytest.mark.parametrize("may_read", [False, True])
async def test_an_account_that_may_not_see_or_change_the_policy_is_not_stopped(
    kit: Kit, tmp_path: Path, may_read: bool
) -> None:
    """A later cell does not fail for what the account may not do; the card says who may."""
    kind = {"@odata.type": "#microsoft.graph.emailAuthenticationMethodConfiguration"}
    await kit.send("PATCH", METHOD, {**kind, "state": "disabled"})
    weak = narrow(kit, ["Application.Read.All", *(["Policy.Read.All"] if may_read else [])], tmp_path)
    seen = await EmailCodes(weak.graph, weak.profile, weak.folder).ensure()
    assert seen.status == "not known"
    assert "Authentication Policy Administrator" in seen.facts["By hand"]
    assert seen.facts["State"].startswith("off") is may_read

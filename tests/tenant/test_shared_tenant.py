"""A tenant that other people use: what is asked before a change, and what is left as others made it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from helpers.graph import Change
from helpers.tenant.apps import LISTED
from helpers.tenant.step import Record, true_or_false
from jitkit.errors import KitError, NotReady, SettingsError, Taken, WriteNotConfirmed
from tenant.support import Asked, Between, Kit, made_by_hand, set_flag, writes

EXTENSIONS = "/identity/customAuthenticationExtensions"
LISTENERS = "/identity/authenticationEventListeners"
FLOWS = "/identity/authenticationEventsFlows"
LISTENER = {"@odata.type": "#microsoft.graph.onPasswordSubmitListener"}
PRODUCTION = "login.contoso.example"

pytestmark = pytest.mark.usefixtures("ready_made_pairs")


@pytest.fixture(scope="session")
def seeded(registered: Path) -> Path:
    return registered


@pytest.fixture
async def ready(kit: Kit, between: Between, asked: Asked) -> AsyncIterator[Kit]:
    """The kit in a tenant with extension and listener; from here on, changes are shown before they are made."""
    await kit.extension.ensure()
    await kit.listener.ensure()
    live = Kit.at(kit.tenant, between, kit.folder, before_write=asked)
    yield live
    await live.graph.close()


async def an_app(kit: Kit, name: str) -> str:
    """Register an application with its service principal, as another team does; returns its client id."""
    app = await kit.send("POST", "/applications", {"displayName": name})
    await kit.send("POST", "/servicePrincipals", {"appId": app["appId"]})
    return str(app["appId"])


async def widen(kit: Kit, *app_ids: str, every: bool = False) -> None:
    """Put further applications on the kit's listener, as one does on going live."""
    listener = await kit.listener.show()
    apps = [{"appId": each} for each in (*listener.app_ids, *app_ids)]
    conditions = {"applications": {"includeAllApplications": every, "includeApplications": apps}}
    await kit.send("PATCH", f"{LISTENERS}/{listener.listener_id}", {**LISTENER, "conditions": conditions})


async def conditions(kit: Kit) -> dict[str, Any]:
    listener = (await kit.listener.show()).listener_id
    return dict((await kit.send("GET", f"{LISTENERS}/{listener}"))["conditions"]["applications"])


def own_questions(changes: list[Change]) -> list[Change]:
    return [each for each in changes if each.answer]


async def test_an_extension_that_was_moved_is_moved_back_only_after_its_question(ready: Kit, asked: Asked) -> None:
    """H1: production calls another host; the old and the new address, the applications and the people are shown."""
    elsewhere = ready.on(PRODUCTION)
    await elsewhere.app.ensure()
    moved = await elsewhere.extension.ensure()
    await widen(ready, await an_app(ready, "Shop"))
    await set_flag(ready, await made_by_hand(ready, "ada@shop.example"), True)
    asked.taken()

    asked.refuse = True
    with pytest.raises(WriteNotConfirmed):
        await ready.extension.ensure()
    [change] = asked.taken()
    assert ("Entra calls", moved.target_url, ready.profile.target_url) in change.values
    assert "Token is for" in {label for label, _, _ in change.values}
    assert "Shop" in change.affected and "who have not migrated: 1" in change.affected
    assert change.answer == "JIT password check on submit"
    assert change.answer not in change.asks
    assert (await ready.extension.show()).target_url == moved.target_url

    asked.refuse = False
    assert (await ready.extension.ensure()).target_url == ready.profile.target_url


@pytest.mark.parametrize("every", [False, True])
async def test_a_listener_that_others_widened_is_reused_and_the_card_says_so(
    ready: Kit, asked: Asked, every: bool
) -> None:
    """H1: neither further applications nor `includeAllApplications` are taken back."""
    await widen(ready, await an_app(ready, "Shop"), every=every)
    before = await conditions(ready)
    asked.taken()
    seen = await ready.listener.ensure()
    assert (seen.status, writes(seen), asked.taken()) == ("reused", [], [])
    assert await conditions(ready) == before
    assert before["includeAllApplications"] is every
    assert seen.others == (("every application",) if every else ()) + ("Shop",)
    assert "Shop" in seen.facts["Beside the test client"]


async def test_an_application_is_added_only_after_its_question_and_none_is_lost(ready: Kit, asked: Asked) -> None:
    shop, portal, wiki = [await an_app(ready, name) for name in ("Shop", "Portal", "Wiki")]
    await widen(ready, shop)
    await set_flag(ready, await made_by_hand(ready, "ada@shop.example"), True)
    before = await conditions(ready)
    asked.taken()

    asked.refuse = True
    with pytest.raises(WriteNotConfirmed):
        await ready.listener.add(portal)
    [change] = asked.taken()
    assert change.answer == "JIT migration listener" and change.answer not in change.asks
    assert change.affected.startswith("Portal; ") and "who have not migrated: 1" in change.affected
    [(_, now, then)] = change.values
    assert "Shop" in now and "Portal" not in now and "Shop" in then and "Portal" in then
    assert await conditions(ready) == before

    async def answered(change: Change) -> None:
        if change.answer:  # another team adds its own while the question is open
            await widen(ready, wiki)

    asked.refuse = False
    meanwhile = Kit.at(ready.tenant, ready.tenant.transport(), ready.folder, before_write=answered)
    added = await meanwhile.listener.add(f" {portal.upper()}")
    await meanwhile.graph.close()
    client = (await ready.client.show()).app_id
    assert (added.status, set(added.others)) == ("updated", {"Shop", "Portal", "Wiki"})
    assert added.app_ids == (await ready.listener.show()).app_ids == (client, shop, wiki, portal)
    again = await ready.listener.add(portal)
    assert (again.status, writes(again)) == ("reused", [])
    assert (await ready.listener.ensure()).status == "reused"


async def test_an_application_of_a_listener_for_every_application_is_not_added(ready: Kit) -> None:
    await widen(ready, every=True)
    before = await conditions(ready)
    added = await ready.listener.add(await an_app(ready, "Shop"))
    assert (added.status, added.others, await conditions(ready)) == ("reused", ("every application",), before)


@pytest.mark.parametrize("unknown", ["", "Shop", "00000000-0000-4000-8000-000000000000"])
async def test_an_application_that_is_not_there_is_not_added(ready: Kit, unknown: str) -> None:
    before = await conditions(ready)
    with pytest.raises(NotReady, match="client id"):
        await ready.listener.add(unknown)
    assert await conditions(ready) == before


async def test_a_listener_that_looks_at_another_flag_is_changed_only_after_its_question(
    ready: Kit, asked: Asked
) -> None:
    """H1: which people and applications that concerns is shown; coverage stays."""
    await widen(ready, await an_app(ready, "Shop"), every=True)
    made = await ready.listener.show()
    handler = {
        "@odata.type": "#microsoft.graph.onPasswordMigrationCustomExtensionHandler",
        "migrationPropertyId": made.migration_property + "2",
        "customExtension": {"id": made.extension_id},
    }
    await ready.send("PATCH", f"{LISTENERS}/{made.listener_id}", {**LISTENER, "handler": handler})
    asked.taken()
    assert (await ready.listener.ensure()).status == "updated"
    [change] = asked.taken()
    assert change.values == [("Looks at", made.migration_property + "2", made.migration_property)]
    assert change.answer == "JIT migration listener"
    assert change.affected.startswith("every application")
    assert (await conditions(ready))["includeAllApplications"] is True


async def test_every_creation_is_ordinary_and_every_deletion_has_a_question_of_its_own(
    kit: Kit, between: Between, asked: Asked
) -> None:
    """H2: each change names its object; deletions want its name, which the question does not print."""
    live = Kit.at(kit.tenant, between, kit.folder, before_write=asked)
    removing = (live.flow, live.client_consent, live.client, live.consent, live.app, live.flag)
    for each in removing:
        assert (await each.remove()).status == "removed"
        [deletion] = asked.taken()
        assert deletion.what.startswith("Delete the ")
        assert deletion.answer and deletion.answer in deletion.what
        assert deletion.answer not in deletion.asks
    for each in (*reversed(removing), live.extension, live.listener):
        assert (await each.ensure()).status == "created"
        [creation] = asked.taken()
        assert (creation.what.startswith("Create the "), creation.answer) == (True, "")
    asked.refuse = True
    for each in (live.listener, *removing[:-1]):
        before = len(between.seen)
        with pytest.raises(WriteNotConfirmed):
            await each.remove()
        assert {request.method for request in between.seen[before:]} == {"GET"}
    await live.graph.close()


async def test_a_new_host_costs_no_sign_in(ready: Kit, asked: Asked) -> None:
    """H6: the new identifier URI is added, the extension moves, and only then the old URI can be dropped."""
    before = await ready.extension.show()
    moved = ready.on(PRODUCTION)
    app = await moved.app.ensure()

    async def uris() -> list[str]:
        return list((await ready.send("GET", f"/applications/{app.object_id}"))["identifierUris"])

    assert await uris() == [before.resource_id, app.identifier_uri]
    assert (await ready.extension.check()).errors == ()
    with pytest.raises(NotReady, match="still names") as refused:
        await moved.app.drop_old_uris()
    assert "03-policies" in refused.value.next_step
    assert (await moved.extension.ensure()).resource_id == app.identifier_uri

    asked.taken()
    dropped = await moved.app.drop_old_uris()
    [change] = asked.taken()
    assert (dropped.status, change.answer) == ("updated", "JIT password check")
    assert change.values == [("Identifier URI", before.resource_id, "")]
    assert await uris() == [app.identifier_uri]
    again = await moved.app.drop_old_uris()
    assert (again.status, writes(again)) == ("reused", [])


async def test_identifier_uris_of_others_are_not_dropped(ready: Kit) -> None:
    """H6: only URIs of the kit's own form, a host and the client id, are those of an earlier host."""
    app = await ready.app.show()
    theirs = f"api://{app.app_id}"
    await ready.send("PATCH", f"/applications/{app.object_id}", {"identifierUris": [app.identifier_uri, theirs]})
    assert (await ready.app.drop_old_uris()).status == "reused"
    with pytest.raises(NotReady, match="identifier URI"):
        await ready.on(PRODUCTION).app.drop_old_uris()
    assert (await ready.send("GET", f"/applications/{app.object_id}"))["identifierUris"] == [app.identifier_uri, theirs]


async def a_flag_of_others(kit: Kit) -> str:
    owner = (await kit.send("GET", "/applications?$filter=startswith(displayName,'b2c-extensions-app')"))["value"][0]
    body = {"name": "theirFlag", "dataType": "Boolean", "targetObjects": ["User"]}
    return str((await kit.send("POST", f"/applications/{owner['id']}/extensionProperties", body))["id"])


async def test_a_flag_that_others_made_is_used_and_stays(kit: Kit) -> None:
    """H8: nothing on this machine says that the kit made it."""
    theirs = await a_flag_of_others(kit)
    other = kit.named(attribute="theirFlag")
    used = await other.flag.ensure()
    assert (used.status, used.property_id) == ("reused", theirs)
    left = await other.flag.remove()
    assert (left.status, "Nothing on this machine says" in left.facts["Why"]) == ("left alone", True)
    assert (await other.flag.show()).property_id == theirs


async def test_the_flag_stays_while_somebody_carries_true(ready: Kit) -> None:
    """H8: the number is said; once nobody carries true, the flag can go."""
    await ready.listener.remove()
    people = [await made_by_hand(ready, f"{number}@shop.example") for number in range(3)]
    for each in people:
        await set_flag(ready, each, True)
    left = await ready.flag.remove()
    assert (left.status, left.facts["Why"].split(" users")[0]) == ("left alone", "3")
    with pytest.raises(Taken, match="3 users"):
        await ready.flag.to_remove()
    for each in people:
        await set_flag(ready, each, False)
    assert (await ready.flag.remove()).status == "removed"


async def test_a_filter_that_finds_nobody_does_not_free_the_flag(ready: Kit, between: Between) -> None:
    """H8: such filters have been reported to find nobody without an error, so the users are read."""
    await ready.listener.remove()
    await set_flag(ready, await made_by_hand(ready, "ada@shop.example"), True)

    async def none_found(request: httpx.Request, _: Callable[[], Awaitable[httpx.Response]]) -> httpx.Response | None:
        counting = request.url.path.endswith("/users/$count")
        return httpx.Response(200, text="0", headers={"Content-Type": "text/plain"}) if counting else None

    between.interfere = none_found
    assert (await ready.flag.remove()).status == "left alone"


class Ended(BaseException):
    """What a kernel that is ended is to the code."""


async def test_a_flag_whose_creation_was_interrupted_is_the_kits(kit: Kit, between: Between) -> None:
    """H8: the note is made before the request, so an answer that never arrived does not lose it."""
    await kit.flag.remove()

    async def lose_the_answer(
        request: httpx.Request, forward: Callable[[], Awaitable[httpx.Response]]
    ) -> httpx.Response | None:
        if request.method == "POST":
            await forward()
            raise Ended
        return None

    between.interfere = lose_the_answer
    with pytest.raises(Ended):
        await kit.flag.ensure()
    between.interfere = None
    assert (await kit.flag.ensure()).status == "reused"
    assert (await kit.flag.remove()).status == "removed"


async def test_a_flag_whose_answer_was_lost_is_found_and_the_kits(
    kit: Kit, between: Between, waits: list[float]
) -> None:
    """H8: the same where the run goes on, and looks the flag up before it makes it again."""
    await kit.flag.remove()

    async def lose_the_answer(
        request: httpx.Request, forward: Callable[[], Awaitable[httpx.Response]]
    ) -> httpx.Response | None:
        if request.method == "POST":
            await forward()
            raise httpx.ReadError("reset", request=request)
        return None

    between.interfere = lose_the_answer
    assert (await kit.flag.ensure()).status == "created"
    between.interfere = None
    assert (await kit.flag.remove()).status == "removed"


@pytest.mark.parametrize("sent", [True, False])
async def test_a_creation_that_was_refused_or_not_sent_makes_nothing_of_others_the_kits(
    kit: Kit, between: Between, sent: bool
) -> None:
    """H8: what is made under that name afterwards was made by others."""

    async def refuse(request: httpx.Request, _: Callable[[], Awaitable[httpx.Response]]) -> httpx.Response | None:
        if request.method != "POST":
            return None
        if not sent:
            raise httpx.ConnectError("no route", request=request)
        error = {"error": {"code": "Authorization_RequestDenied", "message": "Insufficient privileges."}}
        return httpx.Response(403, json=error, request=request)

    other = kit.named(attribute="theirFlag")
    between.interfere = refuse
    with pytest.raises(KitError):
        await other.flag.ensure()
    between.interfere = None
    await a_flag_of_others(kit)
    assert (await other.flag.ensure()).status == "reused"
    assert (await other.flag.remove()).status == "left alone"


async def test_a_creation_that_lacked_something_makes_nothing_of_others_the_kits(kit: Kit) -> None:
    """H8: a listener needs the extension, so it was not made; others make one under that name afterwards."""
    with pytest.raises(NotReady, match="extension"):
        await kit.listener.ensure()
    extension = await kit.extension.ensure()
    handler = {
        "@odata.type": "#microsoft.graph.onPasswordMigrationCustomExtensionHandler",
        "migrationPropertyId": (await kit.flag.show()).full_name,
        "customExtension": {
            "@odata.type": "#microsoft.graph.onPasswordSubmitCustomExtension",
            "id": extension.extension_id,
        },
    }
    apps = {"includeApplications": [{"appId": (await kit.client.show()).app_id}]}
    theirs = {"displayName": "JIT migration listener", "conditions": {"applications": apps}, "handler": handler}
    await kit.send("POST", LISTENERS, {**LISTENER, **theirs})
    assert (await kit.listener.ensure()).status == "reused"
    assert (await kit.listener.remove()).status == "left alone"


def test_the_note_of_what_was_made_is_the_owners_alone_and_a_broken_one_is_explained(tmp_path: Path) -> None:
    path = tmp_path / "state" / "made.json"
    record = Record(path)
    record.note("the listener 'A'")
    assert not record.holds("the listener 'B'", "1")
    assert record.holds("the listener 'A'", "2")
    assert not record.holds("the listener 'A'", "3"), "one creation makes one object"
    assert record.read() == {"the listener 'A'": "2"}
    assert path.stat().st_mode & 0o077 == 0
    path.write_text("{", encoding="utf-8")
    with pytest.raises(SettingsError, match="cannot be read"):
        record.read()


async def test_removing_the_listener_wants_the_applications_that_lose_the_migration_named(
    ready: Kit, asked: Asked
) -> None:
    """H9: names, not ids; the question says them too."""
    for name in ("Shop", "Portal"):
        await widen(ready, await an_app(ready, name))
    asked.taken()
    for named in ((), ("Shop",)):
        with pytest.raises(KitError, match="Portal") as refused:
            await ready.listener.remove(applications=named)
        assert "applications=['Shop', 'Portal']" in refused.value.next_step
    assert asked.taken() == []
    removed = await ready.listener.remove(applications=["Portal", "Shop"])
    [change] = asked.taken()
    assert (removed.status, "Shop, Portal" in change.affected) == ("removed", True)


async def test_a_listener_for_every_application_is_not_removed_unless_that_is_named(ready: Kit) -> None:
    """H9: `includeAllApplications` names nobody and concerns all."""
    await widen(ready, every=True)
    with pytest.raises(KitError, match="every application"):
        await ready.listener.remove()
    assert (await ready.listener.remove(applications=["every application"])).status == "removed"


async def test_a_listener_that_others_made_for_the_kits_extension_stays_with_all_that_it_needs(ready: Kit) -> None:
    """H8, H9: its extension, registration, consent and key stay too, or its sign-ins would fail; a dry run says so."""
    await ready.key.ensure()
    made = await ready.listener.show()
    body = await ready.send("GET", f"{LISTENERS}/{made.listener_id}")
    theirs = {name: body[name] for name in ("@odata.type", "conditions", "handler")}
    await ready.send("POST", LISTENERS, {**theirs, "displayName": "Shop sign-in", "priority": 100})
    assert (await ready.listener.remove()).status == "removed"
    for each in (ready.extension, ready.consent, ready.key, ready.app, ready.flag):
        with pytest.raises(Taken):
            await each.to_remove()
        assert (await each.remove()).status == "left alone"
        assert (await each.show()).status == "read"


async def test_a_user_flow_of_the_kit_does_not_offer_sign_up(kit: Kit) -> None:
    """H13: it is not needed to migrate, and would open a tenant by invitation."""
    flow = await kit.send("GET", f"{FLOWS}/{(await kit.flow.show()).flow_id}")
    assert flow["onInteractiveAuthFlowStart"]["isSignUpAllowed"] is False


async def test_sign_up_that_others_switched_on_stays_on(kit: Kit) -> None:
    """H13: a flow that is there is left as it is."""
    path = f"{FLOWS}/{(await kit.flow.show()).flow_id}"
    kind = "#microsoft.graph.onInteractiveAuthFlowStartExternalUsersSelfServiceSignUp"
    change = {"onInteractiveAuthFlowStart": {"@odata.type": kind, "isSignUpAllowed": True}}
    flow = {"@odata.type": "#microsoft.graph.externalUsersSelfServiceSignUpEventsFlow"}
    await kit.send("PATCH", path, {**flow, **change})
    assert (await kit.flow.ensure()).status == "reused"
    assert (await kit.send("GET", path))["onInteractiveAuthFlowStart"]["isSignUpAllowed"] is True


async def test_service_principals_are_in_the_list_of_enterprise_applications(kit: Kit) -> None:
    """M13: that list shows those with Microsoft's own tag."""
    for each in (kit.app, kit.client):
        principal = (await each.show()).service_principal_id
        assert LISTED in (await kit.send("GET", f"/servicePrincipals/{principal}"))["tags"]


@pytest.mark.parametrize("value", ["no", "yes", "True", 0, 1, None])
def test_only_true_and_false_are_yes_and_no(value: object) -> None:
    with pytest.raises(SettingsError, match="neither True nor False"):
        true_or_false("dry_run", value)
    assert (true_or_false("dry_run", True), true_or_false("dry_run", False)) == (True, False)

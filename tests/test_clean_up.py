"""What notebook 99 says before it removes anything has to be what it would do."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from helpers import kit, settings
from helpers.kit import Session
from helpers.settings import Profile

NAMES = settings.Names()


@pytest_asyncio.fixture
async def session(tmp_path: Path) -> AsyncIterator[Session]:
    settings.save(tmp_path, Profile(endpoint_port=0))
    opened = await kit.open(tmp_path)
    try:
        yield opened
    finally:
        await opened.close()


async def would_happen(session: Session) -> dict[str, str]:
    return {str(what): str(happens) for what, _, happens in (await session.remove(dry_run=True)).rows}


async def left(session: Session) -> str:
    [(_, _, found)] = (await session.checkpoint("99")).rows
    return str(found)


async def test_an_untouched_tenant_has_nothing_to_remove(session: Session) -> None:
    said = await would_happen(session)
    assert said.pop("users who have not migrated") == "stay"
    assert set(said.values()) == {"nothing to do"}
    assert await left(session) == "nothing"


async def test_what_the_kit_made_would_go_and_the_checkpoint_names_it(session: Session) -> None:
    await session.attribute.ensure()
    await session.apps.extension.ensure()
    said = await would_happen(session)
    gone = {what for what, happens in said.items() if happens == "would be removed"}
    assert gone == {"extension's app registration", "migration flag"}
    assert await left(session) == "extension's app registration; migration flag"
    await session.remove(dry_run=False)
    assert await left(session) == "nothing"


async def test_what_somebody_else_made_under_the_name_is_left_alone_and_said_to_be(session: Session) -> None:
    for name in (NAMES.extension_app, NAMES.client_app):
        theirs = {"displayName": name, "signInAudience": "AzureADMyOrg"}
        await session.world.graph.send("POST", "/applications", body=theirs)
    before = await would_happen(session)
    assert before["extension's app registration"] == before["test client"] == "left alone: the kit did not make it"
    await session.attribute.ensure()
    await session.remove(dry_run=False)
    assert await would_happen(session) == before


async def test_a_flag_that_somebody_elses_listener_looks_at_stays(session: Session) -> None:
    flag, client = await session.attribute.ensure(), await session.apps.client.ensure()
    handler = {
        "@odata.type": "#microsoft.graph.onPasswordMigrationCustomExtensionHandler",
        "migrationPropertyId": flag.full_name,
    }
    theirs = {
        "@odata.type": "#microsoft.graph.onPasswordSubmitListener",
        "displayName": "Another team's",
        "conditions": {"applications": {"includeApplications": [{"appId": client.app_id}]}},
        "handler": handler,
    }
    path = "/identity/authenticationEventListeners"
    listener = (await session.world.graph.send("POST", path, body=theirs))["id"]
    assert (await would_happen(session))["migration flag"].startswith("left alone")
    happened = {str(what): str(happens) for what, _, happens in (await session.remove(dry_run=False)).rows}
    assert happened["migration flag"] == "left alone"
    assert (await session.attribute.show()).full_name == flag.full_name

    await session.world.graph.send("DELETE", f"{path}/{listener}")
    assert (await session.attribute.remove()).status == "removed"


async def test_several_user_flows_of_the_kits_name_do_not_stop_the_rest(session: Session) -> None:
    await session.attribute.ensure()
    path = "/identity/authenticationEventsFlows"
    kind = "#microsoft.graph.externalUsersSelfServiceSignUpEventsFlow"
    for name in (NAMES.user_flow, "Renamed below"):
        made = await session.world.graph.send("POST", path, body={"@odata.type": kind, "displayName": name})
    renamed = {"@odata.type": kind, "displayName": NAMES.user_flow}
    await session.world.graph.send("PATCH", f"{path}/{made['id']}", body=renamed)
    happened = {str(what): str(happens) for what, _, happens in (await session.remove(dry_run=False)).rows}
    assert (happened["user flow"], happened["migration flag"]) == ("left alone", "removed")

"""What a notebook needs and leaves, in a tenant that lacks one thing after another; and what notebook 99 removes."""

from __future__ import annotations

import ast
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from sessions import DENIED, Opening, answering

from helpers import kit, settings
from helpers.checks import CHECKPOINTS, checkpoints_of, needs_of
from helpers.kit import Session
from helpers.settings import Profile
from jitkit.errors import KitError, NotReady, SettingsError

ADA = "ada@woodgrove.example"
Undo = Callable[[Session], Awaitable[Any]]

# What is taken away -> the checkpoint that then fails.
GONE: dict[str, tuple[Undo, str]] = {
    "listener": (lambda s: s.policies.listener.remove(), "listener"),
    "user flow": (lambda s: s.apps.user_flow.remove(), "user flow"),
    "client's consent": (lambda s: s.apps.client_consent.remove(), "test client's consent"),
    "payload consent": (lambda s: s.apps.extension_consent.remove(), "consent to receive payloads"),
    "key": (lambda s: s.key.remove(), "encryption key"),
}


def test_every_notebook_needs_only_what_earlier_ones_promise() -> None:
    for number in sorted({each.notebook for each in CHECKPOINTS}):
        assert all(need.notebook < number for need in needs_of(number))
        assert all(each.notebook == number for each in checkpoints_of(number))
        assert checkpoints_of(number)


async def test_an_untouched_tenant_names_everything_that_is_missing(tmp_path: Path, opening: Opening) -> None:
    settings.save(tmp_path / "home", settings.Profile(endpoint_port=0))
    s = await opening(tmp_path / "home")
    assert len((await s.require("01")).rows) == 1
    with pytest.raises(NotReady) as caught:
        await s.require("07")
    for each in needs_of("07")[1:]:
        assert each.what in caught.value.happened
    assert "Run notebook 01 first, then 02, 03, 04 and 06, each from its first cell" in caught.value.next_step


async def test_sign_in_before_users_says_which_notebook(home: Path, opening: Opening) -> None:
    s = await opening(home)
    listed = await s.users.remove()
    assert listed.status == "would be removed"
    await s.users.remove(confirm=int(listed.facts["To delete"].split()[0]))
    with pytest.raises(NotReady, match="users to migrate") as caught:
        await s.require("07")
    assert "06-users" in caught.value.next_step


async def test_a_tenant_that_is_set_up_keeps_every_promise_but_the_last_ones(home: Path, opening: Opening) -> None:
    s = await opening(home)
    assert {row[1] for row in (await s.require("07")).rows} == {"yes"}
    with pytest.raises(NotReady, match="No user has migrated"):
        await s.checkpoint("07")
    assert (await s.sign_in(ADA)).migrated
    for number in ("07", "08", "99"):
        assert {row[1] for row in (await s.checkpoint(number)).rows} == {"yes"}


@pytest.mark.parametrize("name", GONE)
async def test_what_was_taken_away_is_named_and_not_stepped_over(name: str, home: Path, opening: Opening) -> None:
    undo, words = GONE[name]
    s = await opening(home)
    await s.endpoint.ensure()
    await undo(s)
    with pytest.raises(NotReady, match=words) as caught:
        await s.require("07")
    assert "Run notebook 0" in caught.value.next_step
    # This sign-in asks for no more than an id token, which needs no consent to User.Read.
    moved = name == "client's consent"
    assert (await s.sign_in(ADA)).migrated is moved
    assert (await s.users.counts()).migrated == moved


FLOWS = "authenticationEventsFlows"


async def test_what_the_account_may_not_read_is_said_and_the_notebook_goes_on(home: Path, opening: Opening) -> None:
    """B2: an account without a role for user flows was told that the flow is missing, and to ask for what it has."""
    s = await opening(home)
    answering(s).refused[f"GET .*{FLOWS}"] = DENIED
    for number in ("03", "07"):
        rows = {str(what): (there, str(found)) for what, there, found in (await s.require(number)).rows}
        there, found = rows.pop("user flow")
        assert there == "not readable"
        assert "External ID User Flow Administrator or External Identity Provider Administrator" in found
        assert {there for there, _ in rows.values()} == {"yes"}
    shown = await s.checkpoint("02")
    assert "may be there all the same" in shown.note


async def test_what_is_missing_is_named_next_to_what_cannot_be_read(home: Path, opening: Opening) -> None:
    s = await opening(home)
    await s.policies.listener.remove()
    answering(s).refused[f"GET .*{FLOWS}"] = DENIED
    with pytest.raises(NotReady, match="listener") as caught:
        await s.require("07")
    assert "user flow" not in caught.value.happened


async def test_a_session_that_ended_stops_a_notebook(home: Path, opening: Opening) -> None:
    s = await opening(home)
    answering(s).refused["GET"] = (
        401,
        "InvalidAuthenticationToken",
        "Lifetime validation failed, the token is expired.",
    )
    with pytest.raises(NotReady) as caught:
        await s.require("03")
    assert "Sign in again" in caught.value.next_step


async def test_the_checkpoint_of_the_endpoint_asks_its_public_address(
    home: Path, opening: Opening, monkeypatch: pytest.MonkeyPatch
) -> None:
    """M3: it asked loopback only, and passed although the public address led nowhere."""
    s = await opening(home)
    [(_, there, found)] = (await s.checkpoint("05")).rows
    assert there == "yes" and s.profile.target_url in str(found)
    with s.rehearsal.misconfigure("gateway-in-front"), pytest.raises(NotReady, match="wants a token or a sign-in"):
        await s.checkpoint("05")

    async def nowhere(url: str) -> httpx.Response:
        raise httpx.ConnectError("Name or service not known")

    monkeypatch.setattr(s.world, "reach", nowhere)
    with pytest.raises(NotReady, match="does not answer") as caught:
        await s.require("07")
    assert "tunnel" in caught.value.next_step


async def test_e_mail_and_password_is_said_of_a_flow_whose_providers_were_read(home: Path, opening: Opening) -> None:
    """B2: `yes` was said of any flow that holds the client."""
    s = await opening(home)
    [found] = [found for what, _, found in (await s.checkpoint("02")).rows if what == "user flow"]
    assert str(found).endswith("e-mail and password")

    def codes_only(body: Any) -> Any:
        for flow in body.get("value", [body]):
            flow["onAuthenticationMethodLoadStart"]["identityProviders"] = [
                {"@odata.type": "#microsoft.graph.builtInIdentityProvider", "id": "EmailOtpSignup-OAUTH"}
            ]
        return body

    between = answering(s)
    between.changed[f"GET .*{FLOWS}"] = codes_only
    for look in (s.require("07"), s.checkpoint("02")):
        with pytest.raises(NotReady, match="does not offer e-mail with password"):
            await look
    [fault] = [each for each in (await s.check()).faults if each.what == "user flow"]
    assert "EmailOtpSignup-OAUTH" in fault.found and "Email with password" in fault.fix

    # A list that leaves the providers out says nothing about them: the flow itself is read.
    between.changed = {rf"GET .*{FLOWS}(\?|$)": without_providers}
    assert (await s.apps.user_flow.show()).facts["Sign-in with"] == "EmailPassword-OAUTH"


def without_providers(body: Any) -> Any:
    for flow in body["value"]:
        del flow["onAuthenticationMethodLoadStart"]
    return body


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
    assert before["extension's app registration"] == before["test client"] == "left alone"
    found = {str(what): str(words) for what, words, _ in (await session.remove(dry_run=True)).rows}
    assert "that the kit did not make" in found["test client"]
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


async def test_a_user_flow_that_others_use_is_said_to_stay_and_stays(session: Session) -> None:
    await session.apps.client.ensure()
    flow, send = await session.apps.user_flow.ensure(), session.world.graph.send
    app = await send("POST", "/applications", body={"displayName": "Shop"})
    await send("POST", "/servicePrincipals", body={"appId": app["appId"]})
    path = f"/identity/authenticationEventsFlows/{flow.flow_id}/conditions/applications/includeApplications"
    kind = "#microsoft.graph.authenticationConditionApplication"
    await send("POST", path, body={"@odata.type": kind, "appId": app["appId"]})
    assert (await would_happen(session))["user flow"] == "stays: the test client is taken out"
    happened = {str(what): str(happens) for what, _, happens in (await session.remove(dry_run=False)).rows}
    assert happened["user flow"] == "kept"


async def an_app_on_the_listener(session: Session, name: str) -> None:
    """Another team's application is put on the kit's listener."""
    send, listener = session.world.graph.send, await session.policies.listener.show()
    app = await send("POST", "/applications", body={"displayName": name})
    await send("POST", "/servicePrincipals", body={"appId": app["appId"]})
    apps = [{"appId": each} for each in (*listener.app_ids, app["appId"])]
    kind = "#microsoft.graph.onPasswordSubmitListener"
    body = {"@odata.type": kind, "conditions": {"applications": {"includeApplications": apps}}}
    await send("PATCH", f"/identity/authenticationEventListeners/{listener.listener_id}", body=body)


async def test_the_dry_run_names_who_loses_the_migration_and_the_removal_waits_for_it(
    home: Path, opening: Opening
) -> None:
    """H9: nothing at all is removed until each application is named in the call."""
    s = await opening(home)
    await an_app_on_the_listener(s, "Shop")
    rows = {str(what): (str(found), str(happens)) for what, found, happens in (await s.remove()).rows}
    assert "Shop would lose the migration" in rows["listener"][0]
    assert rows["listener"][1] == "stays, unless the call names Shop"
    before = await would_happen(s)
    with pytest.raises(KitError, match="Shop"):
        await s.remove(dry_run=False)
    assert await would_happen(s) == before

    removed = {
        str(what): str(happens) for what, _, happens in (await s.remove(dry_run=False, applications=["Shop"])).rows
    }
    assert removed["listener"] == removed["custom authentication extension"] == "removed"
    assert removed["migration flag"] == "left alone"


async def test_the_flag_stays_in_the_list_until_nobody_carries_it(home: Path, opening: Opening) -> None:
    """H8: users who have not migrated keep their flag, and so its definition."""
    s = await opening(home)
    await s.remove(dry_run=False)
    assert await left(s) == "migration flag (left alone)"
    listed = await s.users.remove()
    await s.users.remove(confirm=int(listed.facts["To delete"].split()[0]))
    await s.remove(dry_run=False)
    assert await left(s) == "nothing"


@pytest.mark.parametrize("value", ["no", "yes", 0, None])
async def test_only_false_removes(session: Session, value: object) -> None:
    """What reads as yes or no in other languages removes nothing."""
    await session.attribute.ensure()
    with pytest.raises(SettingsError, match="neither True nor False"):
        await session.remove(dry_run=value)  # type: ignore[arg-type]
    assert (await session.attribute.show()).status == "read"


async def test_the_table_mentions_the_consent_that_stays(session: Session) -> None:
    """H13: what was consented to for Microsoft Graph Command Line Tools outlives the kit."""
    assert "Microsoft Graph Command Line Tools" in (await session.remove(dry_run=True)).note


@pytest.mark.parametrize("really", ["no", "yes", 1, None, False, True])
async def test_notebook_99_removes_for_true_alone(session: Session, really: object) -> None:
    """`really = "no"` is one more dry run."""
    notebook = json.loads((Path(__file__).parents[2] / "notebooks" / "99-clean-up.ipynb").read_text(encoding="utf-8"))
    [source] = ["".join(cell["source"]) for cell in notebook["cells"] if cell["id"] == "remove"]
    await session.attribute.ensure()
    code = compile(source, "the cell", "eval", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    await eval(code, {"s": session, "really": really})
    assert await left(session) == ("nothing" if really is True else "migration flag")

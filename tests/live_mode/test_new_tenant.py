"""Run All on every notebook in live mode, in a tenant that nobody has used; then once more."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from jitkit.rehearsal.tenant import RehearsalTenant

from .support import (
    HOST,
    PATHS,
    PRODUCTION,
    TO_THEIR_END,
    Asked,
    Live,
    Person,
    Ran,
    Runs,
    Write,
    choose,
    contents,
    differences,
    export,
    live_production,
    run_every_notebook,
    skipped,
    unasked,
)

each_notebook = pytest.mark.parametrize("number", TO_THEIR_END)

# What each notebook may write: the last steps of the paths. All others write nothing.
WRITES = {
    "01": {"extensionProperties"},
    "02": {"applications", "servicePrincipals", "appRoleAssignedTo", "oauth2PermissionGrants"}
    | {"authenticationEventsFlows", "includeApplications"},
    "03": {"customAuthenticationExtensions", "authenticationEventListeners"},
    "04": {"applications"},
    "06": {"$batch"},
}
TAUGHT = {("00", "bad-host"), ("01", "misspelt"), ("06", "drill")}


@dataclass
class Moved:
    """Notebook 90 after somebody moved the extension to production and let the listener cover every application."""

    before: dict[str, Any]
    after: dict[str, Any]
    writes: list[Any]
    questions: int
    ran: list[Ran]
    refused: list[Asked]  # the questions of notebook 03 to a person who did not allow the move back
    after_refusal: dict[str, Any]


@dataclass
class Done:
    """The first run of every notebook, and what came after it."""

    runs: Runs
    asked_first: int
    asked_second: int
    second: list[Write]
    moved: Moved


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Done]:
    folder = tmp_path_factory.mktemp("new")
    tenant = RehearsalTenant.open(folder / "tenant.sqlite3")
    choose(folder / "home", tenant, export(folder))
    with pytest.MonkeyPatch.context() as patch:
        yield asyncio.run(_run(Live(tenant, folder / "home", Person(tenant.domain), patch)))
    tenant.close()


@pytest.fixture
def runs(done: Done) -> Runs:
    return done.runs


async def _run(live: Live) -> Done:
    runs = await run_every_notebook(live)
    asked, before = len(live.person.asked), len(live.writes)
    for number in WRITES:
        await live.run(number)
    second = live.writes[before:]
    return Done(runs, asked, len(live.person.asked), second, await _move(live))


async def _move(live: Live) -> Moved:
    await live_production(live.tenant)
    before, writes, asked = await contents(live.tenant), len(live.writes), len(live.person.asked)
    live.ran.clear()
    with pytest.raises(AssertionError, match=r"90/checkpoint.*notebook 00"):
        await live.run("90")
    after, ran, written = await contents(live.tenant), list(live.ran), live.writes[writes:]
    questions = len(live.person.asked) - asked
    live.person.refuses = True
    with pytest.raises(AssertionError, match=r"03/ensure-extension: WriteNotConfirmed"):
        await live.run("03")
    refused = live.person.asked[asked + questions :]
    return Moved(before, after, written, questions, ran, refused, await contents(live.tenant))


@each_notebook
def test_run_all_ends_without_an_error(runs: Runs, number: str) -> None:
    """B1: notebooks 06, 07 and 90 stopped at names of invented users and at a host that does not answer."""
    assert number not in runs.problems


def test_going_live_stops_at_invented_names_before_anything_is_changed(runs: Runs) -> None:
    assert "09/names" in runs.stopped["09"] and "SettingsError" in runs.stopped["09"]
    assert runs.written["09"] == []


@each_notebook
def test_a_drill_is_skipped_and_only_what_reads_fails_on_purpose(runs: Runs, number: str) -> None:
    for each in runs.ran[number]:
        if each.error is not None:
            assert each.tagged
            assert skipped(each) or (number, each.id) in TAUGHT, each


def test_no_write_is_unasked(runs: Runs) -> None:
    assert unasked(runs.live.writes) == []
    assert runs.live.person.asked != []


@each_notebook
def test_a_notebook_changes_only_what_it_is_for(runs: Runs, number: str) -> None:
    kinds = {
        next(part for part in reversed(each.path.split("/")) if "-" not in part and part != "$ref")
        for each in runs.written[number]
    }
    assert kinds == WRITES.get(number, set())
    assert [each.status for each in runs.written[number] if each.status >= 400] == []


def test_what_was_made_stays_as_it_is_in_later_notebooks(runs: Runs) -> None:
    for number in ("07", "08", "90", "99"):
        assert differences(runs.held["06"], runs.held[number]) == {}
        assert runs.held[number].keys() == runs.held["06"].keys()


def test_a_second_run_writes_nothing_and_asks_nothing(done: Done) -> None:
    assert done.second == []
    assert done.asked_second == done.asked_first


def test_a_fix_changes_nothing_in_a_tenant_that_went_live(done: Done) -> None:
    """H1: Run All of notebook 90 moved the extension back and narrowed the listener."""
    assert any(PRODUCTION in str(value) for value in done.moved.before.values())
    assert differences(done.moved.before, done.moved.after) == {}
    assert done.moved.writes == [] and done.moved.questions == 0


def test_a_fix_shows_what_it_would_change_from_which_value_to_which(done: Done) -> None:
    """H1: in live mode the fix of notebook 90 says what it would do."""
    shown = {each.id: each.text for each in done.moved.ran}
    assert "Nothing was changed" in shown["fix-2"]
    assert PRODUCTION in shown["fix-2"] and HOST in shown["fix-2"]
    assert "reused" in shown["fix-1"]
    assert "reused" in shown["fix-7"], "a listener that covers more is left alone"


def test_a_move_back_is_asked_about_and_a_refusal_keeps_the_tenant_as_it_is(done: Done) -> None:
    """H1, H2: notebook 03 shows old and new address, and asks a question of its own."""
    [question] = done.moved.refused
    assert question.change.answer != ""
    assert PRODUCTION in str(question.change) and HOST in str(question.change)
    assert differences(done.moved.before, done.moved.after_refusal) == {}


def test_a_running_endpoint_is_not_stopped(runs: Runs) -> None:
    """H12: notebooks 05 and 07 stopped it, which is an outage for flagged users."""
    assert "skipped" in runs.cell("05", "drill-stop").text
    assert "answers" in runs.cell("05", "drill").text
    assert "skipped" in runs.cell("07", "outage").text
    assert [number for number in PATHS if "endpoint.stop(" in PATHS[number].read_text(encoding="utf-8")] == []


def test_invented_users_are_named_as_such(runs: Runs) -> None:
    """B1: `users.find` and `sign_in` of a user of the sample data."""
    assert "skipped: this user is invented" in runs.cell("07", "first-read-back").text
    page = runs.cell("07", "first-sign-in").text
    assert "is invented" in page and "ciamlogin.com" in page


def test_nobody_has_migrated_is_not_an_error_while_a_page_is_to_be_opened_by_hand(runs: Runs) -> None:
    """B1: the checkpoint of notebook 07 needs a user who has migrated."""
    assert "not yet" in runs.cell("07", "checkpoint").text


def test_sample_data_never_reaches_a_real_tenant(runs: Runs) -> None:
    assert "woodgrove" not in str(runs.held["99"])
    assert "contoso.example" in str(runs.held["99"])


async def test_a_host_that_does_not_answer_is_explained(runs: Runs, patch: pytest.MonkeyPatch) -> None:
    """B1: cell look-4 of notebook 90 raised a bare ConnectError, in the very case that it looks for."""
    from helpers import kit

    live = Live(runs.live.tenant, runs.live.home, runs.live.person, patch)
    live.lead_here()
    s = await kit.open()
    try:
        shown = (await s.endpoint.reach())._repr_html_()
    finally:
        await s.close()
    assert "does not answer" in shown and "tunnel" in shown

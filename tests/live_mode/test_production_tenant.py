"""Run All on every notebook in live mode, in a tenant that other people use."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from jitkit.rehearsal.tenant import RehearsalTenant

from .support import (
    TO_THEIR_END,
    Live,
    Person,
    Runs,
    choose,
    contents,
    differences,
    export,
    run_every_notebook,
    unasked,
)

each_notebook = pytest.mark.parametrize("number", TO_THEIR_END)

# Four have signed up by themselves; three of them are in the export as well: one has migrated, one has the flag.
SIGNED_UP = {
    "ada@contoso.example": None,
    "ben@contoso.example": False,
    "cleo@contoso.example": True,
    "nora@contoso.example": None,
}
LIVE_HOST = "login.contoso.example"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    folder = tmp_path_factory.mktemp("production")
    tenant = RehearsalTenant.open(folder / "tenant.sqlite3")
    choose(folder / "home", tenant, export(folder))
    with pytest.MonkeyPatch.context() as patch:
        yield asyncio.run(_run(Live(tenant, folder / "home", Person(tenant.domain), patch)))
    tenant.close()


async def _run(live: Live) -> Runs:
    await live.tenant.put_into_production(people=SIGNED_UP)
    return await run_every_notebook(live)


@each_notebook
def test_run_all_ends_without_an_error(runs: Runs, number: str) -> None:
    assert number not in runs.problems


@each_notebook
def test_nothing_of_others_is_changed_or_removed(runs: Runs, number: str) -> None:
    assert differences(runs.before, runs.held[number]) == {}


def test_nobody_is_marked_who_signed_up(runs: Runs) -> None:
    """H4: `apply` gave the flag to a user with a password of her own, which the old one then replaced."""
    [ada] = [each for each in runs.held["99"].values() if "ada@contoso.example" in str(each)]
    assert not any(name.endswith("toBeMigrated") for name in ada)


def test_others_had_something_to_lose(runs: Runs) -> None:
    for words in ("'Shop'", "'Portal'", "Password check of Contoso", "toBeMigrated", "nora@contoso.example"):
        assert words in str(runs.before), words


def test_no_write_is_unasked_and_none_needs_a_question_of_its_own(runs: Runs) -> None:
    assert unasked(runs.live.writes) == []
    assert runs.live.person.asked != [] and runs.live.person.special == []


def test_no_name_of_a_user_is_shown(runs: Runs) -> None:
    """H11: outputs name no real person."""
    shown = [(number, each.id) for number, ran in runs.ran.items() for each in ran if "@contoso.example" in each.text]
    assert shown == []
    changes = "".join(str(each.change) for each in runs.live.person.asked)
    assert "@contoso.example" not in changes and "Lindqvist" not in changes


@pytest.mark.slow
async def test_a_tenant_that_went_live_stays_as_it_is(
    tmp_path_factory: pytest.TempPathFactory, patch: pytest.MonkeyPatch
) -> None:
    """H1: the kit set it up, its extension went to production and its listener covers every application."""
    folder = tmp_path_factory.mktemp("went-live")
    tenant = RehearsalTenant.open(folder / "tenant.sqlite3")
    choose(folder / "home", tenant, export(folder))
    live = Live(tenant, folder / "home", Person(tenant.domain), patch)
    for number in ("00", "01", "02", "03", "04", "06"):
        await live.run(number)
    await tenant.put_into_production(host=LIVE_HOST, people={"nora@contoso.example": None})
    choose(folder / "home", tenant, export(folder), endpoint_host=LIVE_HOST)
    await live.run("03")  # the move's last step: the identifier URI of the old host goes, after its question
    live.writes.clear()
    live.person.asked.clear()
    before = await contents(tenant)
    runs = await run_every_notebook(live)
    assert runs.problems == {}
    assert live.writes == [] and live.person.asked == []
    after = await contents(tenant)
    assert differences(before, after) == {} and before.keys() == after.keys()
    tenant.close()

"""Run All on every notebook in live mode, by an account with too few roles, in a tenant that a colleague set up."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from jitkit import protocol
from jitkit.rehearsal.tenant import RehearsalTenant

from .support import TO_THEIR_END, Live, Person, Runs, choose, differences, export, run_every_notebook

each_notebook = pytest.mark.parametrize("number", TO_THEIR_END)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    folder = tmp_path_factory.mktemp("few-roles")
    tenant = RehearsalTenant.open(folder / "tenant.sqlite3")
    choose(folder / "home", tenant, export(folder))
    with pytest.MonkeyPatch.context() as patch:
        yield asyncio.run(_run(Live(tenant, folder / "home", Person(tenant.domain), patch)))
    tenant.close()


async def _run(live: Live) -> Runs:
    for number in ("00", "01", "02", "03", "04", "06"):
        await live.run(number)
    live.writes.clear()
    live.person.asked.clear()
    # The roles of notebook 00 alone: they read neither user flows nor the sign-in log.
    live.roles = protocol.ROLES
    return await run_every_notebook(live)


@each_notebook
def test_run_all_ends_without_an_error(runs: Runs, number: str) -> None:
    """B2, B3: notebooks 03 to 05, 07, 08 and 90 stopped at the user flow and at the sign-in log."""
    assert number not in runs.problems


@each_notebook
def test_nothing_is_changed_and_nothing_is_asked(runs: Runs, number: str) -> None:
    assert runs.written[number] == []
    assert differences(runs.before, runs.held[number]) == {}
    assert runs.live.person.asked == []


def test_what_the_account_may_not_read_is_said_with_the_role_that_may(runs: Runs) -> None:
    """B2: the roles of notebook 00 do not read user flows."""
    for number, cell in (("02", "ensure-flow"), ("03", "needs-check"), ("90", "begin")):
        assert "External ID User Flow Administrator" in runs.cell(number, cell).text, (number, cell)
    assert "not known" in runs.cell("02", "ensure-flow").text


def test_figures_without_the_sign_in_log_say_so(runs: Runs) -> None:
    """B3: notebook 08 stopped wholly when the sign-in log was refused."""
    shown = "".join(each.text for each in runs.ran["08"])
    assert "Reports Reader" in shown
    assert all(runs.cell("08", each).value is not None for each in ("totals", "stands-out", "remaining", "report"))

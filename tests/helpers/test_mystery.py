"""The hidden-fault game: every fault shows, nothing gives it away, the score is right, the tenant is whole again."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from sessions import Opening

from helpers.kit import Session
from helpers.worlds import NoDrills
from jitkit.display import Card
from jitkit.errors import KitError, NotReady
from jitkit.rehearsal import mystery
from jitkit.rehearsal.mystery import FAULTS, Fault, planted

BEN, CLEO = "ben@woodgrove.example", "cleo@woodgrove.example"
APP, KEY = "extension's app registration", "encryption key"
ADDRESS = "the endpoint at its public address"

# Fault -> how a sign-in with the right password ends: its code, the error in the log, the status of the answer; and the
# row of the check that names the fault, or None where only the ledger does.
SHOWS: dict[str, tuple[int, int | None, int | None, str | None]] = {
    "client-disabled": (7000112, None, None, "service principal of the test client"),
    "flow-without-password": (500208, None, None, "user flow"),
    "client-out-of-flow": (500208, None, None, "user flow"),
    "app-not-included": (50126, None, None, "listener: which apps"),
    "flag-misspelt": (50126, None, None, "listener: which flag"),
    "rival-listener": (50126, None, None, "listener: rivals"),
    "flag-deleted": (50126, None, None, "migration flag"),
    "flag-not-set": (50126, None, None, "people of the export without the flag"),
    "change-forced": (50055, None, 200, "users who must change their password"),
    "consent-missing": (1100001, 1003021, None, "consent to receive payloads"),
    "uri-changed": (1100001, 1003016, None, APP),
    "host-moved": (1100001, 1003015, None, "custom authentication extension"),
    "wrong-path": (1100001, 1003002, 404, "custom authentication extension"),
    "principal-disabled": (1100001, 1003019, None, "service principal of the extension's app"),
    "token-version": (0, None, 200, APP),
    "key-mismatch": (1100001, 1003002, 401, KEY),
    "key-unset": (1100001, 1003000, None, KEY),
    "gateway-in-front": (1100001, 1003002, 401, ADDRESS),
    "too-slow": (1100001, 1003005, None, ADDRESS),
    "tunnel-closed": (1100001, 1003027, None, ADDRESS),
    "store-down": (1100001, None, 200, None),
    "codes-off": (0, None, 200, "a way out for weak passwords: Email OTP"),
}
SEEDS = range(8)

# What notebook 90 says to run against a fault, as the step of that notebook.
FIXES: dict[str, Callable[[Session], Any]] = {
    "client-out-of-flow": lambda s: s.apps.user_flow,
    "app-not-included": lambda s: s.policies.listener,
    "flag-misspelt": lambda s: s.policies.listener,
    "flag-deleted": lambda s: s.attribute,
    "consent-missing": lambda s: s.apps.extension_consent,
    "uri-changed": lambda s: s.apps.extension,
    "host-moved": lambda s: s.policies.extension,
    "wrong-path": lambda s: s.policies.extension,
    "token-version": lambda s: s.apps.extension,
    "key-unset": lambda s: s.key,
    "tunnel-closed": lambda s: s.endpoint,
    "codes-off": lambda s: s.apps.email_codes,
}


def rows_of(checked: Any) -> set[str]:
    return {each.what for each in checked.faults}


async def playing(opening: Opening, home: Path) -> Session:
    """A session whose logs may be read as often as a test likes."""
    s = await opening(home)
    s.rehearsal.switch("graph_throttling", False)
    return s


def plant_only(patch: pytest.MonkeyPatch, *names: str) -> None:
    patch.setattr(mystery, "planted", lambda _: tuple(FAULTS[each] for each in names))


def test_the_catalogue_is_this_one() -> None:
    assert set(FAULTS) == set(SHOWS)
    assert all(each.means and each.symptom for each in FAULTS.values())


async def test_each_fault_alone_shows_at_a_sign_in_or_in_the_check_and_is_taken_back(
    home: Path, opening: Opening, monkeypatch: pytest.MonkeyPatch
) -> None:
    s = await playing(opening, home)
    for name, (code, error, status, row) in SHOWS.items():
        plant_only(monkeypatch, name)
        game = await s.rehearsal.mystery(1)
        checked = await s.check()
        assert row is None or row in rows_of(checked), (name, checked.faults)
        done = await s.sign_in(BEN)
        assert (done.code, done.callout_error, done.http_status) == (code, error, status), name
        if name == "store-down":
            assert checked.faults == ()
            assert s.endpoint.ledger_lines()[-1]["cause"] == "down"
        if name == "codes-off":
            assert "No code can be sent" in (await s.sign_in(CLEO)).user_sees
        assert (await game.repair(name)).status == "was there, and is undone", name
        assert row is None or row not in rows_of(await s.check()), name
        assert (await s.sign_in(BEN)).code == 0, name
        assert (await game.solve()).title == "Mystery 1: 1 of 1 found"  # the next begins if all is in order
    assert (await s.check()).faults == ()
    assert (await s.sign_in(BEN)).migrated


def test_no_two_faults_of_a_game_hide_each_other() -> None:
    games = [planted(seed) for seed in range(300)]
    assert {len(each) for each in games} == {1, 2, 3}
    assert {fault.name for each in games for fault in each} == set(FAULTS)
    for faults in games:
        areas = [each.area for each in faults]
        assert len(set(areas)) == len(areas)
        assert "host-moved" not in {each.name for each in faults} or "endpoint" not in areas


def test_a_seed_means_the_same_everywhere() -> None:
    assert [[each.name for each in planted(seed)] for seed in (1, 2, 3)] == [
        ["change-forced"],
        ["rival-listener", "codes-off"],
        ["principal-disabled", "client-out-of-flow", "change-forced"],
    ]


async def test_every_game_can_be_solved_with_the_check_and_the_ledger(
    home: Path, opening: Opening, monkeypatch: pytest.MonkeyPatch
) -> None:
    s = await playing(opening, home)
    games = [[each.name for each in planted(seed)] for seed in SEEDS]
    for names in [*games, ["flag-deleted", "client-out-of-flow", "store-down"]]:
        plant_only(monkeypatch, *names)
        game = await s.rehearsal.mystery(1)
        seen = rows_of(await s.check())
        assert {SHOWS[each][3] for each in names} - {None} <= seen, (names, seen)
        score = await game.solve(*names)
        assert score.title == f"Mystery 1: {len(names)} of {len(names)} found"
        assert (score.facts["Missed"], score.facts["Wrong"]) == ("none", "none")
    assert (await s.check()).faults == ()


async def test_the_step_that_the_symptoms_lead_to_fixes_a_fault(
    home: Path, opening: Opening, monkeypatch: pytest.MonkeyPatch
) -> None:
    s = await playing(opening, home)
    for name, step in FIXES.items():
        plant_only(monkeypatch, name)
        game = await s.rehearsal.mystery(1)
        assert (await s.check()).faults, name
        await step(s).ensure()
        assert (await s.check()).faults == (), name
        assert (await s.sign_in(BEN)).migrated, name
        await game.give_up()


async def test_points_are_what_was_found_less_what_it_cost(
    home: Path, opening: Opening, monkeypatch: pytest.MonkeyPatch
) -> None:
    s = await playing(opening, home)
    moment = [1_000.0]
    monkeypatch.setattr(mystery, "time", SimpleNamespace(time=lambda: moment[0]))
    plant_only(monkeypatch, "consent-missing", "client-disabled")
    game = await s.rehearsal.mystery(5)
    for _ in range(2):
        s.endpoint.ledger()
    await s.endpoint.show()
    await s.users.find(BEN)
    await s.sign_in(BEN)
    assert "4 looks for 4 points" in game._repr_html_()
    assert "the app that people sign in to" not in game.hint().status
    assert "the app that people sign in to" in game.hint().status
    moment[0] += 3 * 60 + 59
    score = await game.solve(" Consent-Missing ", "store-down")
    assert score.title == "Mystery 5: 1 of 2 found"
    assert score.facts["Found"].startswith("consent-missing: ")
    assert score.facts["Missed"].startswith("client-disabled: The service principal of the test client was disabled.")
    assert score.facts["Wrong"] == "store-down"
    assert score.facts["It took"] == "3 minutes, 4 looks for 4 points, 2 hints"
    looks = f"the ledger 2, the endpoint's health 1, find {BEN} 1"
    assert score.facts["Looks"] == looks, "a card is one look, however much it reads"
    assert score.status == f"{50 - 20 - 2 * 10 - 3 - 4} points of 100"
    assert (await s.check()).faults == ()


async def test_who_checks_everything_at_once_never_beats_who_diagnoses(
    home: Path, opening: Opening, monkeypatch: pytest.MonkeyPatch
) -> None:
    s = await playing(opening, home)
    monkeypatch.setattr(mystery, "time", SimpleNamespace(time=lambda: 1_000.0))
    plant_only(monkeypatch, "flag-misspelt", "key-mismatch", "codes-off")
    points = []
    for looks in ([s.check], [s.policies.listener.show, s.apps.email_codes.show, s.endpoint.reach] * 6):
        game = await s.rehearsal.mystery(1)
        await s.sign_in(BEN)
        for look in looks:
            await look()
        points.append(int((await game.solve("flag-misspelt", "key-mismatch", "codes-off")).status.split()[0]))
    assert points == [60, 82]


async def test_a_wrong_name_repairs_nothing_and_costs_and_no_name_ends_nothing(
    home: Path, opening: Opening, monkeypatch: pytest.MonkeyPatch
) -> None:
    s = await opening(home)
    plant_only(monkeypatch, "gateway-in-front", "flag-deleted")
    game = await s.rehearsal.mystery(1)
    with pytest.raises(KitError, match="No name was given; the game goes on") as caught:
        await game.solve()
    assert "give_up" in caught.value.next_step
    undone = s.rehearsal.undo(4)
    assert (undone.status, "game.repair" in undone.facts["A game is on"]) == ("was not switched on by you", True)
    with pytest.raises(KitError, match="No fault is called tunnel"):
        await game.repair("tunnel")
    for _ in range(2):
        assert (await game.repair("too-slow")).status == "is not what is wrong here"
    await s.attribute.ensure()
    assert (await s.sign_in(BEN)).http_status == 401
    await game.repair("Gateway in front")
    await game.repair("flag-deleted")
    assert (await s.sign_in(BEN)).migrated, "what the players made themselves stays"
    score = await game.solve("flag-deleted")
    assert score.title == "Mystery 1: 2 of 2 found"
    assert (score.facts["Wrong"], score.status) == ("too-slow", "79 points of 100")


async def test_a_game_that_is_over_still_shows_its_result(home: Path, opening: Opening) -> None:
    game = await (await opening(home)).rehearsal.mystery(14)
    assert "something is wrong now" in game._repr_html_()
    score = await game.give_up()
    assert game._repr_html_() == score._repr_html_()
    assert repr(game) == "<Mystery 14: 0 of 1 found>"


async def test_a_person_shows_that_a_new_password_must_be_chosen(
    home: Path, opening: Opening, monkeypatch: pytest.MonkeyPatch
) -> None:
    s = await opening(home)
    plant_only(monkeypatch, "change-forced")
    before = (await s.users.find(BEN)).facts
    game = await s.rehearsal.mystery(1)
    now = (await s.users.find(BEN)).facts
    assert (before["Must choose a new password"], now["Must choose a new password"]) == ("no", "yes")
    await game.give_up()


async def test_an_endpoint_whose_public_name_led_nowhere_is_reconnected(
    home: Path, opening: Opening, monkeypatch: pytest.MonkeyPatch
) -> None:
    s = await opening(home)
    plant_only(monkeypatch, "tunnel-closed")
    game = await s.rehearsal.mystery(1)
    assert [(await s.endpoint.ensure()).status for _ in range(2)] == ["reconnected", "reused"]
    await game.give_up()


async def test_the_check_costs_more_than_a_look_at_one_thing(
    home: Path, opening: Opening, monkeypatch: pytest.MonkeyPatch
) -> None:
    s = await playing(opening, home)
    plant_only(monkeypatch, "token-version")
    points = []
    for look in (s.apps.extension.show, s.check):
        game = await s.rehearsal.mystery(1)
        await look()
        points.append(int((await game.solve("token-version")).status.split()[0]))
    assert points[0] == 99
    assert points[1] == 60


async def test_hints_name_the_area_first_and_then_where_it_shows_and_then_repeat(
    home: Path, opening: Opening, monkeypatch: pytest.MonkeyPatch
) -> None:
    s = await opening(home)
    plant_only(monkeypatch, "store-down")
    game = await s.rehearsal.mystery(1)
    hints = [game.hint() for _ in range(3)]
    assert "the legacy store behind it" in hints[0].status
    assert "`down`" in hints[1].status and hints[2] == hints[1]
    score = await game.give_up()
    assert (score.status, score.title) == ("0 points of 100", "Mystery 1: 0 of 1 found")
    assert score.facts["Missed"].startswith("store-down: ")
    assert (await s.sign_in(BEN)).migrated


async def test_nothing_that_is_read_by_accident_gives_the_faults_away(
    home: Path, opening: Opening, monkeypatch: pytest.MonkeyPatch
) -> None:
    s = await opening(home)
    plant_only(monkeypatch, "principal-disabled", "client-disabled", "store-down")
    calls = len(s.rehearsal.calls(last=1_000).rows)
    game = await s.rehearsal.mystery(1)
    assert all(name in game._repr_html_() for name in FAULTS)
    assert repr(game) == "<Mystery 1: something is wrong now>"
    assert not [row for row in s.rehearsal.calls(last=1_000).rows[calls:] if row[3] == "PATCH"]
    assert s.rehearsal.undo().status == "was not switched on by you"
    kept = s.world.rehearsal_tenant.directory.rows("SELECT name, value FROM meta")  # type: ignore[attr-defined]
    assert not [row["value"] for row in kept if "disabled" in row["value"] or "store-down" in row["value"]]
    assert (await s.check()).faults


async def test_a_game_outlives_its_kernel(home: Path, opening: Opening) -> None:
    first = await opening(home)
    await first.rehearsal.mystery(2)
    await first.attribute.show()
    await first.close()
    s = await opening(home)
    with pytest.raises(KitError, match="Mystery 2 is not solved yet"):
        await s.rehearsal.mystery(3)
    game = await s.rehearsal.mystery(2)
    score = await game.solve(*(each.name for each in planted(2)))
    assert " 1 look for 1 point, " in score.facts["It took"] and score.facts["Missed"] == "none"
    with pytest.raises(NotReady, match="No mystery is on"):
        game.hint()


async def test_what_the_players_changed_is_gone_after_the_game(
    home: Path, opening: Opening, monkeypatch: pytest.MonkeyPatch
) -> None:
    s = await opening(home)
    before = (await s.key.show()).thumbprint
    plant_only(monkeypatch, "key-mismatch", "flag-deleted")
    game = await s.rehearsal.mystery(1)
    assert (await s.key.ensure(replace=True, endpoint_has_key=True)).thumbprint != before
    await s.attribute.ensure()
    await s.endpoint.stop()
    await game.give_up()
    assert (await s.key.show()).thumbprint == before
    assert (await s.check()).faults == ()
    assert (await s.sign_in(BEN)).migrated


async def test_a_wrong_spelling_does_not_end_the_game(home: Path, opening: Opening) -> None:
    game = await (await opening(home)).rehearsal.mystery(1)
    with pytest.raises(KitError, match="the game goes on") as caught:
        await game.solve("consent-mising")
    assert "consent-missing" in caught.value.next_step
    assert "none" not in (await game.give_up()).facts["Missed"]


async def test_a_fault_that_cannot_be_planted_leaves_the_tenant_whole(
    home: Path, opening: Opening, monkeypatch: pytest.MonkeyPatch
) -> None:
    s = await opening(home)
    no_such = Fault("no-such", "client", "", send=(("DELETE", "/applications/none", ""),))
    monkeypatch.setattr(mystery, "planted", lambda _: (FAULTS["store-down"], FAULTS["codes-off"], no_such))
    with pytest.raises(httpx.HTTPStatusError):
        await s.rehearsal.mystery(1)
    assert (await s.check()).faults == ()
    assert (await s.sign_in(BEN)).migrated


async def test_a_game_begins_in_a_tenant_that_is_in_order_and_with_its_own_store(
    home: Path, opening: Opening, monkeypatch: pytest.MonkeyPatch
) -> None:
    s = await opening(home)
    with s.rehearsal.misconfigure("flag-misspelt"), pytest.raises(NotReady, match="not in order before the game"):
        await s.rehearsal.mystery(1)
    own = home.parents[1] / "own.sqlite3"
    shutil.copy(s.endpoint._store().removeprefix("sqlite:///"), own)
    monkeypatch.setitem(os.environ, "LegacyApiConnectionString", f"sqlite:///{own}")
    with pytest.raises(NotReady, match="a legacy store of your own"):
        await s.rehearsal.mystery(1)
    assert (await s.check()).faults == ()


async def test_an_endpoint_that_does_not_start_again_costs_no_score(
    home: Path, opening: Opening, monkeypatch: pytest.MonkeyPatch
) -> None:
    s = await opening(home)
    plant_only(monkeypatch, "codes-off")
    game = await s.rehearsal.mystery(1)

    async def fails(*_: object, **__: object) -> str:
        raise KitError("It does not start.", next_step="Free the port.")

    monkeypatch.setattr("helpers.local_endpoint.RunningEndpoint.start", fails)
    score = await game.solve("codes-off")
    assert "codes-off" in score.facts["Found"]
    assert "Free the port." in score.facts["The tenant"]


async def test_a_snapshot_that_is_restored_ends_the_game_whole(
    home: Path, opening: Opening, monkeypatch: pytest.MonkeyPatch
) -> None:
    s = await opening(home)
    s.rehearsal.snapshot("before")
    plant_only(monkeypatch, "store-down")
    game = await s.rehearsal.mystery(1)
    s.rehearsal.restore("before")
    assert repr(game) == "<No mystery>"
    await s.endpoint.ensure()
    assert (await s.sign_in(BEN)).migrated


async def test_a_real_tenant_is_not_played_with() -> None:
    async def propose(step: object) -> Card:
        raise AssertionError("no drill runs a step")

    with pytest.raises(KitError, match="this is a real one"):
        await NoDrills(propose).mystery(7)

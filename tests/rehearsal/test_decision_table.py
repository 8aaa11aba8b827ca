"""The decision table of a submitted password, one test a row: what is stored, what the flag says, who covers the app.

Rows: Microsoft Learn, "Just-in-time password migration", how the process works. Account states before the password are
not in that table; which comes first is the switch `account_state_after_password`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from rehearsal.support import LEGACY, STORED, ScriptedEndpoint, World

ABSENT = object()
WRONG_TEXT = "Your e-mail address or password is not right."
FLAGS = {"true": True, "false": False, "null": None, "absent": ABSENT}


@dataclass(frozen=True)
class Row:
    """What goes in, and what must come out."""

    typed: str
    flag: str
    covered: bool
    outcome: str
    code: int
    path: str | None = None
    called: bool = False

    @property
    def name(self) -> str:
        equal = "equal" if self.typed == STORED else "not-equal"
        return f"password-{equal}-flag-{self.flag}-listener-{'covers' if self.covered else 'does-not-cover'}"


ROWS = [
    Row(STORED, "true", True, "signed in", 0, path="silent"),
    Row(STORED, "false", True, "signed in", 0),
    Row(STORED, "null", True, "signed in", 0),
    Row(STORED, "absent", True, "signed in", 0),
    Row(STORED, "true", False, "signed in", 0),
    Row(STORED, "false", False, "signed in", 0),
    Row(STORED, "null", False, "signed in", 0),
    Row(STORED, "absent", False, "signed in", 0),
    Row(LEGACY, "true", True, "signed in", 0, path="callout", called=True),
    Row(LEGACY, "false", True, "wrong password", 50126),
    Row(LEGACY, "null", True, "wrong password", 50126),
    Row(LEGACY, "absent", True, "wrong password", 50126),
    Row(LEGACY, "true", False, "wrong password", 50126),
    Row(LEGACY, "false", False, "wrong password", 50126),
    Row(LEGACY, "null", False, "wrong password", 50126),
    Row(LEGACY, "absent", False, "wrong password", 50126),
]


def prepared(world: World, row: Row, **columns: Any) -> Any:
    """Add the row's user and take the listener away where it does not cover."""
    flag = FLAGS[row.flag]
    user = world.add_user(flag=None if flag is ABSENT else bool(flag), **columns)
    if flag is None:
        world.directory.update_user(user.id, body={**user.body, world.flag: None})
    if not row.covered:
        world.change("authenticationEventListener", world.listener, conditions={"applications": {}})
    return user


def flag_of(world: World, user: Any) -> Any:
    found = world.directory.user(user.id)
    assert found
    return found.body.get(world.flag, ABSENT)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
async def test_enabled_account(world: World, endpoint: ScriptedEndpoint, row: Row) -> None:
    user = prepared(world, row)
    done = await world.sign_in(row.typed, client_app_id=world.client_id)
    assert (done.outcome, done.code, done.path, done.migrated) == (row.outcome, row.code, row.path, bool(row.path))
    assert (done.called_endpoint, len(endpoint.received)) == (row.called, int(row.called))
    assert flag_of(world, user) is (False if row.path else FLAGS[row.flag])
    status, ran = world.last_row()["status"], world.last_row()["appliedEventListeners"]
    assert (status["errorCode"], len(ran)) == (row.code, int(row.called))
    assert done.user_sees == ("JIT test client, signed in." if row.code == 0 else WRONG_TEXT)
    assert bool(done.id_token) is (row.code == 0)


STATES = {
    "disabled": ({"enabled": False}, "account disabled", 50057),
    "locked": ({}, "locked out", 50053),
}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
@pytest.mark.parametrize("state", STATES)
async def test_refused_account_is_not_called_whatever_the_row(
    world: World, endpoint: ScriptedEndpoint, row: Row, state: str
) -> None:
    columns, outcome, code = STATES[state]
    user = prepared(world, row, **columns)
    if state == "locked":
        world.directory.update_user(user.id, failed=10, locked_until=world.directory.clock.now() + 60)
    done = await world.sign_in(row.typed, client_app_id=world.client_id)
    assert (done.outcome, done.code, done.migrated) == (outcome, code, False)
    assert not endpoint.received
    assert flag_of(world, user) is FLAGS[row.flag]
    assert (world.last_row()["status"]["errorCode"], world.last_row()["appliedEventListeners"]) == (code, [])
    assert done.user_sees != WRONG_TEXT


@pytest.mark.parametrize("action", ["MigratePassword", "UpdatePassword", "Retry", "Block"])
@pytest.mark.parametrize("must_change", [False, True], ids=["account-is-free", "account-must-change"])
async def test_what_each_answer_does(world: World, endpoint: ScriptedEndpoint, action: str, must_change: bool) -> None:
    user = world.add_user(force_change=must_change)
    endpoint.script = action
    done = await world.sign_in(LEGACY)
    expected = {
        ("MigratePassword", False): ("signed in", 0, False),
        ("MigratePassword", True): ("new password needed", 50055, True),
        ("UpdatePassword", False): ("new password needed", 50125, True),
        ("UpdatePassword", True): ("new password needed", 50125, True),
        ("Retry", False): ("wrong password", 50126, True),
        ("Retry", True): ("wrong password", 50126, True),
        ("Block", False): ("blocked", 1100001, True),
        ("Block", True): ("blocked", 1100001, True),
    }
    assert (done.outcome, done.code, flag_of(world, user)) == expected[action, must_change]
    assert (world.last_callout()["errorCode"], world.last_callout()["httpStatus"]) == (0, 200)

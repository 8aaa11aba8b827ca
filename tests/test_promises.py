"""What a notebook needs and leaves, asked of a tenant that lacks one thing after another."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from sessions import Opening

from helpers import settings
from helpers.kit import Session
from helpers.promises import PROMISES, needs_of, promises_of
from jitkit.errors import NotReady

ADA = "ada@woodgrove.example"
Undo = Callable[[Session], Awaitable[Any]]

# What is taken away -> the words of the promise that is then not kept.
GONE: dict[str, tuple[Undo, str]] = {
    "listener": (lambda s: s.policies.listener.remove(), "the listener"),
    "user flow": (lambda s: s.apps.user_flow.remove(), "a user flow with e-mail and password"),
    "client's consent": (lambda s: s.apps.client_consent.remove(), "its consent to sign users in"),
    "payload consent": (lambda s: s.apps.extension_consent.remove(), "its consent to receive payloads"),
    "key": (lambda s: s.key.remove(), "the encryption key"),
}


def test_every_notebook_needs_only_what_earlier_ones_promise() -> None:
    for number in sorted({promise.notebook for promise in PROMISES}):
        assert all(need.notebook < number for need in needs_of(number))
        assert all(promise.notebook == number for promise in promises_of(number))
        assert promises_of(number)


async def test_an_untouched_tenant_names_everything_that_is_missing(tmp_path: Path, opening: Opening) -> None:
    settings.save(tmp_path / "home", settings.Profile(endpoint_port=0))
    s = await opening(tmp_path / "home")
    assert len((await s.require("01")).rows) == 1
    with pytest.raises(NotReady) as caught:
        await s.require("07")
    for promise in needs_of("07")[1:]:
        assert promise.what in caught.value.happened
    assert "01" in caught.value.next_step


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
    with pytest.raises(NotReady, match="Nobody has migrated"):
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

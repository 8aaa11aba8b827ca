"""The notebooks' widgets, pressed for real against the rehearsal tenant."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import pytest_asyncio

from helpers import kit, settings
from helpers.kit import Session
from helpers.settings import Profile
from helpers.widgets import FiguresFilter, ProgressBar, SignInBox
from helpers.worlds import LiveWorld
from jitkit.progress.report import Figures
from jitkit.progress.tables import Tables

CANARY = "Canary-Finch-9041"


@pytest_asyncio.fixture
async def session(tmp_path: Path) -> AsyncIterator[Session]:
    settings.save(tmp_path, Profile(endpoint_port=0))
    opened = await kit.open(tmp_path)
    try:
        yield opened
    finally:
        await opened.close()


@pytest_asyncio.fixture
async def ready(session: Session) -> Session:
    """A tenant where Ada has an account with the canary as its password, and an app to sign in to."""
    await session.apps.client.ensure()
    await session.apps.client_consent.ensure()
    await session.apps.user_flow.ensure()
    name = {"signInType": "emailAddress", "issuer": session.tenant.domain, "issuerAssignedId": "ada@woodgrove.example"}
    ada = {
        "accountEnabled": True,
        "creationType": "LocalAccount",
        "displayName": "Ada",
        "identities": [name],
        "passwordPolicies": "DisablePasswordExpiration",
        "passwordProfile": {"password": CANARY, "forceChangePasswordNextSignIn": False},
    }
    await session.world.graph.send("POST", "/users", body=ada)
    return session


def log_of(session: Session) -> list[Any]:
    return session.world.rehearsal_tenant.sign_in_rows()  # type: ignore[attr-defined]


async def press(box: SignInBox, how: Callable[[], object] | None = None) -> None:
    done = asyncio.Event()
    box.button.observe(lambda change: None if change["new"] else done.set(), "disabled")
    (how or box.button.click)()
    if how or box.button.disabled:
        await asyncio.wait_for(done.wait(), 30)


def type_in(box: SignInBox, name: str, password: str = "") -> None:
    box.name.value = name
    box.password.value = password


async def test_choosing_alone_signs_nobody_in(ready: Session) -> None:
    box = SignInBox(ready)
    type_in(box, "ada@woodgrove.example", CANARY)
    await asyncio.sleep(0.05)
    assert box.value is None
    assert log_of(ready) == []


async def test_a_press_does_what_the_call_does(ready: Session) -> None:
    box = SignInBox(ready)
    type_in(box, "ada@woodgrove.example", CANARY)
    await press(box)
    called = await ready.sign_in("ada@woodgrove.example", password=CANARY)
    assert (box.value.outcome, box.value.code) == (called.outcome, called.code) == ("signed in", 0)
    assert len(log_of(ready)) == 2
    assert "ada@woodgrove.example: signed in" in box.status.value
    assert 'role="status"' in box.status.value
    assert "<table" in box.result.value


async def test_the_right_one_is_what_the_invented_person_types(ready: Session) -> None:
    box = SignInBox(ready)
    type_in(box, "ada@woodgrove.example")
    await press(box)
    assert box.value.outcome == "wrong password"
    assert ready.world.people["ada@woodgrove.example"] != CANARY


async def test_a_typed_password_is_forgotten_at_once_and_shown_nowhere(ready: Session) -> None:
    box = SignInBox(ready)
    type_in(box, "ada@woodgrove.example", CANARY)
    box.new_password.value = CANARY + "-new"
    await press(box)
    assert box.password.value == box.new_password.value == ""
    shown = [box.status.value, box.result.value, repr(box.value), repr(box), json.dumps(box._repr_mimebundle_())]
    assert not [text for text in shown if CANARY in text]


async def test_a_name_that_breaks_html_is_shown_as_text(ready: Session) -> None:
    box = SignInBox(ready)
    type_in(box, "<b>ada</b>@woodgrove.example", "Any-Password-1")
    await press(box)
    assert "<b>" not in box.status.value + box.result.value
    assert "&lt;b&gt;ada" in box.status.value


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("", "Type a sign-in name, or choose one from the list"),
        ("nobody@woodgrove.example", "nobody@woodgrove.example is not among the invented people: fill “Password” too."),
    ],
)
async def test_it_names_the_field_that_is_lacking(ready: Session, name: str, said: str) -> None:
    box = SignInBox(ready)
    type_in(box, name)
    await press(box)
    assert said in box.status.value
    assert box.value is None and log_of(ready) == []


@pytest.mark.parametrize("typed_before", [True, False])
async def test_enter_in_a_field_does_what_the_button_does_with_what_was_typed(
    ready: Session, typed_before: bool
) -> None:
    box = SignInBox(ready)
    type_in(box, "ada@woodgrove.example", CANARY if typed_before else "")

    def enter() -> None:
        message = {"method": "custom", "content": {"event": "submit"}}
        box.password._handle_msg({"content": {"data": message}, "buffers": []})
        if not typed_before:  # a browser sends the value behind the message of Enter
            asyncio.get_running_loop().call_later(0.05, setattr, box.password, "value", CANARY)

    await press(box, enter)
    assert box.value.outcome == "signed in"
    assert box.password.value == ""
    assert len(log_of(ready)) == 1


async def test_a_second_press_waits_for_the_first(ready: Session) -> None:
    box = SignInBox(ready)
    type_in(box, "ada@woodgrove.example", CANARY)
    box.button.click()
    await press(box)
    assert box.value.outcome == "signed in"
    assert len(log_of(ready)) == 1


async def test_a_name_may_be_typed_in_any_case(ready: Session) -> None:
    box = SignInBox(ready)
    type_in(box, "ADA@Woodgrove.Example")
    await press(box)
    assert box.value.outcome == "wrong password"  # the right one of the invented Ada is not this tenant's
    assert len(log_of(ready)) == 1


async def test_what_is_missing_is_said_and_the_button_works_again(session: Session) -> None:
    box = SignInBox(session)
    type_in(box, "ada@woodgrove.example")
    await press(box)
    assert box.value is None
    assert "Next:" in box.status.value
    assert not box.button.disabled


async def test_a_second_try_that_fails_leaves_no_result_of_the_first(ready: Session) -> None:
    box = SignInBox(ready)
    type_in(box, "ada@woodgrove.example", CANARY)
    await press(box)
    type_in(box, "nobody-in-the-sample@woodgrove.example")
    await press(box)
    assert box.value is None
    assert box.result.value == ""


async def test_a_real_tenant_gets_no_password_field(session: Session, tmp_path: Path) -> None:
    live = LiveWorld(Profile(mode="live", tenant="contoso.onmicrosoft.com"))
    try:
        rehearsed, real = SignInBox(session), SignInBox(replace(session, world=live))
    finally:
        await live.close()
    assert rehearsed.password in rehearsed.view.children
    assert not {real.password, real.new_password} & set(real.view.children)


def test_a_bar_counts_and_speaks_ten_times_at_most() -> None:
    bar = ProgressBar("Users created")
    spoken: list[str] = []
    bar.status.observe(lambda change: spoken.append(change["new"]), "value")
    for done in range(0, 2001, 20):
        bar(done, 2000)
    assert bar.value == bar.bar.value == bar.bar.max == 2000
    assert len(spoken) <= 11
    assert "Users created: 2,000 of 2,000" in spoken[-1]
    assert 'role="status"' in spoken[-1]


@pytest.mark.parametrize(("done", "total"), [(0, 0), (1, 1)])
def test_a_bar_takes_the_smallest_totals(done: int, total: int) -> None:
    bar = ProgressBar("Users created")
    bar(done, total)
    assert f"{done} of {total}" in bar.status.value


def figures() -> Figures:
    rows = [("a", "DE", "2026-03-02T10:00Z"), ("b", "DE", None), ("c", "FR", None), ("d", "", None)]
    users = pd.DataFrame(rows, columns=["user_id", "country", "migrated_at"])
    return Figures(Tables(users=users.assign(flagged_at="2026-03-01T00:00Z", app="Shop")))


def test_a_filter_shows_everybody_until_something_is_chosen() -> None:
    box = FiguresFilter(figures())
    assert box.value.counts["in_scope"] == 4
    assert "1 of 4 people are moved." in box.status.value
    box.choices["country"].value = "DE"
    assert box.value.counts == figures().only(country="DE").counts
    assert "1 of 2 people are moved." in box.status.value
    assert "<img" in box.shown.value
    box.choices["app"].value = "Shop"
    assert box.value.counts["in_scope"] == 2
    box.choices["country"].value = ""
    assert box.value.counts["in_scope"] == 4


def test_a_filter_offers_what_is_there_under_full_labels_and_says_its_status() -> None:
    box = FiguresFilter(figures())
    assert [value for _, value in box.choices["country"].options] == ["", "DE", "FR"]
    assert all(each.style.description_width == "initial" for each in box.choices.values())
    assert 'role="status"' in box.status.value
    assert FiguresFilter(Figures(Tables())).choices == {}

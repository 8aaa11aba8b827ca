"""The ten mistakes: each has its symptom and no other sign, and each is taken back exactly."""

from __future__ import annotations

import json
from typing import Any

import pytest

from jitkit.errors import KitError, NotReady
from jitkit.rehearsal.misconfigurations import MISCONFIGURATIONS, misconfigure, undo, wrong_now
from jitkit.rehearsal.tenant import RehearsalTenant
from rehearsal.support import LEGACY, World

# Mistake -> how the sign-in ends, the error in the log, and whether a request went out.
SYMPTOMS: dict[str, tuple[str, int | None, bool]] = {
    "consent-missing": ("error", 1003021, False),
    "host-moved": ("error", 1003015, False),
    "principal-disabled": ("error", 1003019, False),
    "gateway-in-front": ("error", 1003002, True),
    "key-mismatch": ("error", 1003002, True),
    "too-slow": ("error", 1003005, True),
    "app-not-included": ("wrong password", None, False),
    "flag-misspelt": ("wrong password", None, False),
    "flag-not-set": ("wrong password", None, False),
    "change-forced": ("new password needed", None, True),
}
each_mistake = pytest.mark.parametrize("name", SYMPTOMS)


def everything(world: World) -> dict[str, Any]:
    """All that an administrator can see, but for the log."""
    objects = world.directory.rows("SELECT id, kind, key, parent, body FROM objects ORDER BY id")
    users = world.directory.rows("SELECT * FROM users ORDER BY id")
    ways = world.directory.rows("SELECT name, value FROM meta WHERE name LIKE 'gateway:%' AND value <> '{}'")
    return {
        "objects": [(*tuple(row)[:4], json.loads(row["body"])) for row in objects],
        "users": [{**dict(row), "body": json.loads(row["body"])} for row in users],
        "ways": [tuple(row) for row in ways],
    }


def test_there_are_ten_and_each_has_its_symptom() -> None:
    assert [each.name for each in MISCONFIGURATIONS] == list(SYMPTOMS)
    assert [each.case for each in MISCONFIGURATIONS] == list(range(1, 11))


@each_mistake
async def test_a_mistake_has_its_symptom_and_is_over_when_it_is_taken_back(world: World, name: str) -> None:
    user = world.add_user()
    before = everything(world)
    misconfigure(world.directory, name)
    assert wrong_now(world.directory) == [name]
    assert name not in json.dumps(everything(world), default=str)
    outcome, error, called = SYMPTOMS[name]
    done = await world.sign_in(LEGACY)
    assert (done.outcome, done.callout_error, done.called_endpoint) == (outcome, error, called)
    assert world.flag_of(user) is not False
    world.directory.update_user(user.id, failed=0)
    assert undo(world.directory, name) == [name]
    assert everything(world) == before
    assert (await world.sign_in(LEGACY)).migrated


@each_mistake
async def test_what_somebody_mended_by_hand_stays_as_they_left_it(world: World, name: str) -> None:
    world.add_user()
    good = everything(world)
    misconfigure(world.directory, name)
    undo(world.directory, name)
    misconfigure(world.directory, name)
    # Somebody renames what can be renamed: that is not the mistake's to take back.
    world.change("authenticationEventListener", world.directory.all("authenticationEventListener")[0], displayName="X")
    undo(world.directory)
    listener = world.directory.all("authenticationEventListener")[0]
    assert listener["displayName"] == "X"
    world.directory.replace("authenticationEventListener", {k: v for k, v in listener.items() if k != "displayName"})
    assert everything(world) == good


async def test_a_consent_that_was_granted_anew_is_not_granted_twice(world: World) -> None:
    world.add_user()
    misconfigure(world.directory, 1)
    assert world.directory.all("appRoleAssignment") == []
    world.directory.add("appRoleAssignment", {k: v for k, v in world.consent.items() if k != "id"})
    undo(world.directory, 1)
    assert len(world.directory.all("appRoleAssignment")) == 1


async def test_a_mistake_that_was_mended_can_be_made_again(world: World) -> None:
    misconfigure(world.directory, "flag-misspelt")
    world.directory.replace("authenticationEventListener", world.listener)
    misconfigure(world.directory, "flag-misspelt")
    listener = world.directory.all("authenticationEventListener")[0]
    assert listener["handler"]["migrationPropertyId"] != world.flag
    undo(world.directory)
    assert world.directory.all("authenticationEventListener") == [world.listener]


async def test_two_on_one_object_are_taken_back_in_any_order(world: World) -> None:
    for order in (("app-not-included", "flag-misspelt"), ("flag-misspelt", "app-not-included")):
        misconfigure(world.directory, "app-not-included")
        misconfigure(world.directory, "flag-misspelt")
        for name in order:
            undo(world.directory, name)
        assert world.directory.all("authenticationEventListener") == [world.listener]


def test_the_audit_log_has_the_change_as_it_has_an_administrators(world: World) -> None:
    misconfigure(world.directory, "principal-disabled")
    newest = world.tenant.audit_rows()[0]
    assert newest["activityDisplayName"] == "Update service principal"
    assert newest["targetResources"][0]["id"] == world.extension_principal["id"]


def test_what_is_so_already_is_not_changed_and_not_taken_back(world: World) -> None:
    nobody = {"applications": {"includeAllApplications": False, "includeApplications": []}}
    world.directory.replace("authenticationEventListener", {**world.listener, "conditions": nobody})
    before, written = everything(world), len(world.tenant.audit_rows())
    for name in ("app-not-included", "flag-not-set"):
        misconfigure(world.directory, name)
        assert (wrong_now(world.directory), undo(world.directory, name)) == ([], [])
    assert (everything(world), len(world.tenant.audit_rows())) == (before, written)


@pytest.mark.parametrize("which", [0, 11, "nonsense"])
def test_an_unknown_one_is_refused(world: World, which: int | str) -> None:
    with pytest.raises(KitError, match="no misconfiguration"):
        misconfigure(world.directory, which)


def test_an_untouched_tenant_has_nothing_to_break(tenant: RehearsalTenant) -> None:
    with pytest.raises(NotReady, match="not set up"):
        misconfigure(tenant.directory, "flag-misspelt")

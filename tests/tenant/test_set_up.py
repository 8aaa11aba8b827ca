"""Every step in order: created, reused, shown, removed; without a permission, in a slow tenant, interrupted."""

from __future__ import annotations

import asyncio
import shutil
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from sessions import KINDS

from helpers.tenant import step
from jitkit.errors import NotReady, PermissionMissing
from jitkit.rehearsal import switches
from jitkit.rehearsal.identity import ADMINISTRATOR_PERMISSIONS
from jitkit.rehearsal.tenant import RehearsalTenant
from tenant.support import PEOPLE, Between, Forward, Kit, everybody, journal_of, narrow, writes

pytestmark = pytest.mark.usefixtures("ready_made_pairs")

FEW = PEOPLE[:21]

# Step: the attribute of its card that names the object, the notebook that creates it, the permission it needs.
STEPS = {
    "flag": ("property_id", "01-extension-attribute", "Application.ReadWrite.All"),
    "app": ("object_id", "02-app-registrations", "Application.ReadWrite.All"),
    "consent": ("consent_id", "02-app-registrations", "AppRoleAssignment.ReadWrite.All"),
    "client": ("object_id", "02-app-registrations", "Application.ReadWrite.All"),
    "client_consent": ("consent_id", "02-app-registrations", "DelegatedPermissionGrant.ReadWrite.All"),
    "flow": ("flow_id", "02-app-registrations", "EventListener.ReadWrite.All"),
    "extension": ("extension_id", "03-policies", "CustomAuthenticationExtension.ReadWrite.All"),
    "listener": ("listener_id", "03-policies", "EventListener.ReadWrite.All"),
    "key": ("key_id", "04-key-pair", "Application.ReadWrite.All"),
}


async def import_users(kit: Kit) -> None:
    await kit.users.apply(await kit.users.plan(users=FEW))


async def set_up(kit: Kit) -> None:
    """What the notebooks 01 to 06 do."""
    for name in STEPS:
        await getattr(kit, name).ensure()
    await import_users(kit)


async def test_every_step_creates_reuses_shows_and_removes_its_object(kit: Kit) -> None:
    made = {}
    for name, (object_id, _, _) in STEPS.items():
        each = getattr(kit, name)
        made[name] = await each.ensure()
        again, shown = await each.ensure(), await each.show()
        assert (made[name].status, again.status, shown.status) == ("created", "reused", "read"), name
        assert writes(again) == [], name
        assert getattr(made[name], object_id) == getattr(again, object_id) == getattr(shown, object_id) != "", name
        assert made[name].facts == shown.facts, name
        assert all(card.sent for card in (made[name], again, shown)), name
    for name, (_, notebook, _) in reversed(STEPS.items()):
        each = getattr(kit, name)
        assert (await each.remove()).status == "removed", name
        assert (await each.remove()).status == "missing", name
        with pytest.raises(NotReady, match=notebook if name != "key" else "04-key-pair"):
            await each.show()


async def test_each_step_without_its_permission_says_whom_to_ask(kit: Kit, tmp_path: Path, impatient: None) -> None:
    reading = {"Application.Read.All", "User.Read.All", "Directory.Read.All", "EventListener.Read.All"}
    reading |= {"CustomAuthenticationExtension.Read.All"}
    calls: dict[str, tuple[Callable[[Kit], Awaitable[Any]], str]] = {
        name: (lambda kit, name=name: getattr(kit, name).ensure(), permission)  # type: ignore[misc]
        for name, (_, _, permission) in STEPS.items()
    }
    calls["users"] = (import_users, "User.ReadWrite.All")
    for name, (call, permission) in calls.items():
        assert permission in ADMINISTRATOR_PERMISSIONS
        others = {each for each in ADMINISTRATOR_PERMISSIONS if each not in (permission, "Directory.ReadWrite.All")}
        with pytest.raises(PermissionMissing) as caught:
            await call(narrow(kit, others | reading, tmp_path))
        assert permission in caught.value.next_step and "the directory role" in caught.value.next_step, name
        assert "403" in (caught.value.service or ""), name
        await call(kit)


async def test_an_interrupted_step_says_that_it_can_be_run_again() -> None:
    async def waiting() -> None:
        with step.recording_errors("write the users"):
            await asyncio.sleep(60)

    running = asyncio.create_task(waiting())
    await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError) as caught:
        await running
    assert running.cancelled()
    shown = "\n".join(caught.value._render_traceback_())  # type: ignore[attr-defined]
    assert "write the users" in shown and "Next: run this cell again" in shown


# A tenant that shows nothing until ten seconds after it was created: each step waits, none creates anything twice.


@pytest.fixture
def slow(tenant: RehearsalTenant, monkeypatch: pytest.MonkeyPatch) -> RehearsalTenant:
    """A tenant whose clock stands, and moves while the kit waits."""
    clock = tenant.directory.clock
    clock.hold(clock.now())
    switches.write(tenant.directory, "replication_delay", 10.0)

    waits, here = asyncio.sleep, threading.get_ident()

    async def sleep(seconds: float) -> None:
        if threading.get_ident() == here:
            clock.forward(seconds)
        else:  # a server that another file's tests left running
            await waits(seconds)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    return tenant


async def test_in_a_tenant_that_lags_every_step_is_found_by_the_next_one(slow: RehearsalTenant, kit: Kit) -> None:
    for name in STEPS:
        assert (await getattr(kit, name).ensure()).status == "created"
        await getattr(kit, name).show()
    for name in STEPS:
        assert (await getattr(kit, name).ensure()).status == "reused"
    assert len(slow.directory.all("application")) == 3  # the tenant's own, and two
    assert len(slow.directory.all("servicePrincipal", deleted=True)) == 0


async def test_an_object_that_is_never_shown_is_waited_for_half_a_minute(slow: RehearsalTenant) -> None:
    begun = slow.directory.clock.now()

    async def never() -> None:
        raise NotReady("It is not there.", next_step="Make it.")

    await step.wait_until_visible(never)
    assert slow.directory.clock.now() - begun == sum(step.LAG_WAITS)


# The whole set-up, interrupted at every write: run again, it is finished, with nothing lost and nothing doubled.

# Writes of one set-up; the first test holds this to what really happens.
WRITES = 15
# A principal, a grant, the listener, the key, the users; CI interrupts at every write.
BY_DEFAULT = [(3, True), (5, False), (12, True), (13, False), (15, True)]


class Broken(BaseException):
    """What Ctrl-C or a dying kernel is to the code: nothing may catch it and go on."""


def test_a_change_shows_what_differs_and_a_zero_is_not_nothing() -> None:
    now, then = {"Retries": 0, "Waits (ms)": None, "Calls": "a"}, {"Retries": 1, "Waits (ms)": 2000, "Calls": "a"}
    assert step.differing(now, then) == [("Retries", "0", "1"), ("Waits (ms)", "", "2000")]


def is_write(request: httpx.Request) -> bool:
    return request.method != "GET" and not request.url.path.endswith("/validateAuthenticationConfiguration")


@dataclass
class Breaker:
    """Break off at one write, before the tenant sees it or before its answer comes back."""

    at: int
    answered: bool
    seen: int = 0

    async def __call__(self, request: httpx.Request, forward: Forward) -> httpx.Response | None:
        if not is_write(request):
            return None
        self.seen += 1
        if self.seen != self.at:
            return None
        if self.answered:
            await forward()
        raise Broken


async def inventory(kit: Kit) -> dict[str, Any]:
    """Everything the kit makes, by name and number, without ids."""
    found: dict[str, Any] = {}
    for kind in KINDS:
        rows = [row async for row in kit.graph.pages(f"/{kind}")]
        found[kind] = sorted(str(row.get("displayName") or row.get("scope", "").strip()) for row in rows)
    for app in [row async for row in kit.graph.pages("/applications?$select=id,appId,displayName,keyCredentials")]:
        name, properties = app["displayName"], await kit.send("GET", f"/applications/{app['id']}/extensionProperties")
        found[f"{name}: keys"] = len(app["keyCredentials"])
        found[f"{name}: attributes"] = len(properties["value"])
    for principal in [row async for row in kit.graph.pages("/servicePrincipals?$select=id,displayName")]:
        roles = await kit.send("GET", f"/servicePrincipals/{principal['id']}/appRoleAssignments")
        found[f"{principal['displayName']}: roles"] = len(roles["value"])
    flows = [row async for row in kit.graph.pages("/identity/authenticationEventsFlows")]
    found["flow's clients"] = [
        len((await kit.send("GET", f"/identity/authenticationEventsFlows/{flow['id']}/{where}"))["value"])
        for flow in flows
        for where in ("conditions/applications/includeApplications",)
    ]
    found["users"] = sorted(str(row["mail"]) for row in await everybody(kit))
    return found


@pytest.fixture(scope="module")
def whole() -> dict[str, Any]:
    """What an undisturbed set-up leaves; filled by the first test that needs it."""
    return {}


async def undisturbed(whole: dict[str, Any], seeded: Path, folder: Path) -> dict[str, Any]:
    if not whole:
        folder.mkdir(parents=True)  # noqa: ASYNC240
        shutil.copy(seeded, folder / "tenant.sqlite3")
        tenant = RehearsalTenant.open(folder / "tenant.sqlite3")
        between = Between(tenant.transport())
        kit = Kit.at(tenant, between, folder / "state")
        await set_up(kit)
        whole["writes"] = sum(map(is_write, between.seen))
        whole["inventory"] = await inventory(kit)
        await kit.graph.close()
        tenant.close()
    return whole


@pytest.mark.usefixtures("impatient")
async def test_every_write_is_broken_off_once(whole: dict[str, Any], seeded: Path, tmp_path: Path) -> None:
    done = await undisturbed(whole, seeded, tmp_path / "whole")
    assert done["writes"] == WRITES
    assert len(done["inventory"]["users"]) == len(FEW)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    ("at", "answered"),
    [
        pytest.param(
            at,
            answered,
            id=f"{'after' if answered else 'before'}-{at}",
            marks=() if (at, answered) in BY_DEFAULT else pytest.mark.slow,
        )
        for at in range(1, WRITES + 1)
        for answered in (False, True)
    ],
)
async def test_a_set_up_that_broke_off_is_finished_by_running_it_again(
    at: int, answered: bool, kit: Kit, between: Between, whole: dict[str, Any], seeded: Path, tmp_path: Path
) -> None:
    between.interfere = Breaker(at, answered)
    with pytest.raises((Broken, asyncio.CancelledError)):
        await set_up(kit)
    between.interfere = None

    await set_up(kit)
    expected = (await undisturbed(whole, seeded, tmp_path / "whole"))["inventory"]
    assert await inventory(kit) == expected

    if answered:
        between.seen.clear()
        await set_up(kit)
        assert list(filter(is_write, between.seen)) == [], "a further run changes nothing"
    assert set(journal_of(kit).read()) == {each["id"] for each in await everybody(kit)}


@pytest.mark.parametrize(
    "at", [pytest.param(at, marks=() if at in (1, 3, 12, 15) else pytest.mark.slow) for at in range(1, WRITES + 1)]
)
@pytest.mark.parametrize("carried_out", [True, False])
async def test_a_write_whose_answer_is_lost_doubles_nothing(
    at: int,
    carried_out: bool,
    kit: Kit,
    between: Between,
    waits: list[float],
    whole: dict[str, Any],
    seeded: Path,
    tmp_path: Path,
) -> None:
    """Graph answers one write with 504; whether it was carried out is found out before it is made again."""
    seen = 0

    async def lose(request: httpx.Request, forward: Forward) -> httpx.Response | None:
        nonlocal seen
        seen += is_write(request)
        if seen != at or not is_write(request):
            return None
        if carried_out:
            await forward()
        return httpx.Response(504, json={"error": {"code": "UnknownError", "message": ""}}, request=request)

    between.interfere = lose
    await set_up(kit)
    expected = (await undisturbed(whole, seeded, tmp_path / "whole"))["inventory"]
    assert await inventory(kit) == expected
    assert set(journal_of(kit).read()) == {each["id"] for each in await everybody(kit)}

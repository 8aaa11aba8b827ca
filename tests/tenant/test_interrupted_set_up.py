"""The whole set-up, broken off at every write: run again, it is finished, with nothing lost and nothing doubled."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from helpers.tenant import encryption_key, step
from helpers.tenant.encryption_key import make_pair
from jitkit.rehearsal.tenant import RehearsalTenant
from tenant.support import PEOPLE, Between, Forward, Kit, everybody, journal_of

# Writes of one set-up; the first test holds this to what really happens.
WRITES = 16
FEW = PEOPLE[:45]
KINDS = (
    "applications",
    "servicePrincipals",
    "oauth2PermissionGrants",
    "identity/customAuthenticationExtensions",
    "identity/authenticationEventListeners",
    "identity/authenticationEventsFlows",
)


class Broken(BaseException):
    """What Ctrl-C or a dying kernel is to the code: nothing may catch it and go on."""


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


async def set_up(kit: Kit) -> None:
    """What the notebooks 01 to 06 do."""
    steps: tuple[Callable[[], Awaitable[Any]], ...] = (
        kit.flag.ensure,
        kit.app.ensure,
        kit.consent.ensure,
        kit.client.ensure,
        kit.client_consent.ensure,
        kit.flow.ensure,
        kit.extension.ensure,
        kit.listener.ensure,
        kit.key.ensure,
    )
    for each in steps:
        await each()
    await kit.users.apply(await kit.users.plan(users=FEW))


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
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One key pair for all runs: making one takes its time."""
    path = tmp_path_factory.mktemp("pair") / "key.pem"
    make_pair(path)
    return path


@pytest.fixture(autouse=True)
def no_new_pairs(pair: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from helpers.tenant.encryption_key import read_pair

    def copy(path: Path) -> Any:
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(pair, path)
        return read_pair(path)

    monkeypatch.setattr(encryption_key, "make_pair", copy)
    monkeypatch.setattr(step, "LAG_WAITS", (0.0, 0.0))


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


async def test_every_write_is_broken_off_once(whole: dict[str, Any], seeded: Path, tmp_path: Path) -> None:
    done = await undisturbed(whole, seeded, tmp_path / "whole")
    assert done["writes"] == WRITES
    assert len(done["inventory"]["users"]) == len(FEW)


@pytest.mark.parametrize("answered", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("at", range(1, WRITES + 1))
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
    assert set(journal_of(kit).read()) <= {each["id"] for each in await everybody(kit)}

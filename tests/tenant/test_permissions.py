"""Each step with one permission too few: the refusal says whom to ask, and nothing is half done for it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from helpers.tenant.step import recording_errors
from jitkit.errors import PermissionMissing
from jitkit.rehearsal.identity import ADMINISTRATOR_PERMISSIONS
from tenant.support import PEOPLE, Kit, narrow

Step = Callable[[Kit], Awaitable[Any]]


async def _apply(kit: Kit) -> None:
    await kit.users.apply(await kit.users.plan(users=PEOPLE[:3]))


STEPS: dict[str, tuple[Step, str]] = {
    "flag": (lambda kit: kit.flag.ensure(), "Application.ReadWrite.All"),
    "app": (lambda kit: kit.app.ensure(), "Application.ReadWrite.All"),
    "consent": (lambda kit: kit.consent.ensure(), "AppRoleAssignment.ReadWrite.All"),
    "client": (lambda kit: kit.client.ensure(), "Application.ReadWrite.All"),
    "client_consent": (lambda kit: kit.client_consent.ensure(), "DelegatedPermissionGrant.ReadWrite.All"),
    "flow": (lambda kit: kit.flow.ensure(), "EventListener.ReadWrite.All"),
    "extension": (lambda kit: kit.extension.ensure(), "CustomAuthenticationExtension.ReadWrite.All"),
    "listener": (lambda kit: kit.listener.ensure(), "EventListener.ReadWrite.All"),
    "key": (lambda kit: kit.key.ensure(), "Application.ReadWrite.All"),
    "users": (_apply, "User.ReadWrite.All"),
}


@pytest.mark.parametrize("name", STEPS)
async def test_a_step_without_its_permission_says_whom_to_ask(
    name: str, kit: Kit, tmp_path: Path, impatient: None
) -> None:
    order = list(STEPS)
    for before in order[: order.index(name)]:
        await STEPS[before][0](kit)
    step, permission = STEPS[name]
    others = {each for each in ADMINISTRATOR_PERMISSIONS if each not in (permission, "Directory.ReadWrite.All")}
    assert permission in ADMINISTRATOR_PERMISSIONS
    reading = {"Application.Read.All", "User.Read.All", "Directory.Read.All", "EventListener.Read.All"}
    reading |= {"CustomAuthenticationExtension.Read.All"}
    with pytest.raises(PermissionMissing) as caught:
        await step(narrow(kit, others | reading, tmp_path))
    assert "Authentication Extensibility Password Administrator" in caught.value.next_step
    assert "403" in (caught.value.service or "")
    await step(kit)


async def test_an_interrupted_step_says_that_it_can_be_run_again() -> None:
    import asyncio

    async def waiting() -> None:
        with recording_errors("write the users"):
            await asyncio.sleep(60)

    running = asyncio.create_task(waiting())
    await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError) as caught:
        await running
    assert running.cancelled()
    shown = "\n".join(caught.value._render_traceback_())  # type: ignore[attr-defined]
    assert "write the users" in shown and "Next: run this cell again" in shown

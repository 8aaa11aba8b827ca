from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx
import pytest

from jitkit import protocol
from jitkit.errors import NotReady, PermissionMissing
from tenant.support import Between, Kit, narrow, writes

Forward = Callable[[], Awaitable[httpx.Response]]


async def granted(kit: Kit) -> list[str]:
    app = await kit.app.show()
    listed = await kit.send("GET", f"/servicePrincipals/{app.service_principal_id}/appRoleAssignments")
    return [each["appRoleId"] for each in listed["value"]]


async def test_the_payload_permission_is_granted_once(kit: Kit) -> None:
    await kit.app.ensure()
    made = await kit.consent.ensure()
    assert (made.status, await granted(kit)) == ("created", [protocol.RECEIVE_PAYLOAD_ROLE_ID])
    again = await kit.consent.ensure()
    assert (again.status, writes(again), again.consent_id) == ("reused", [], made.consent_id)
    assert (await kit.consent.show()).consent_id == made.consent_id


async def test_a_grant_that_another_replica_hides_counts(kit: Kit, between: Between) -> None:
    await kit.app.ensure()
    await kit.consent.ensure()
    hidden = 0

    async def hide_once(request: httpx.Request, _: Forward) -> httpx.Response | None:
        nonlocal hidden
        if request.url.path.endswith("/appRoleAssignments") and not hidden:
            hidden += 1
            return httpx.Response(200, json={"value": []}, request=request)
        return None

    between.interfere = hide_once
    assert (hidden, (await kit.consent.ensure()).status, hidden) == (0, "reused", 1)
    assert len(await granted(kit)) == 1


@pytest.mark.usefixtures("impatient")
async def test_a_grant_that_was_applied_though_its_answer_was_404_counts(kit: Kit, between: Between) -> None:
    await kit.app.ensure()
    posts = 0

    async def deny_the_first(request: httpx.Request, forward: Forward) -> httpx.Response | None:
        nonlocal posts
        if request.method == "POST" and request.url.path.endswith("/appRoleAssignedTo"):
            posts += 1
            if posts == 1:
                await forward()
                error = {"error": {"code": "Directory_ObjectNotFound", "message": "Unable to read the object."}}
                return httpx.Response(404, json=error, request=request)
        return None

    between.interfere = deny_the_first
    consent = await kit.consent.ensure()
    assert posts == 2
    assert consent.consent_id
    assert len(await granted(kit)) == 1


async def test_the_payload_permission_is_taken_back(kit: Kit) -> None:
    assert (await kit.consent.remove()).status == "missing"
    await kit.app.ensure()
    await kit.consent.ensure()
    assert (await kit.consent.remove()).status == "removed"
    assert await granted(kit) == []
    assert (await kit.consent.remove()).status == "missing"
    with pytest.raises(NotReady, match="02-app-registrations"):
        await kit.consent.show()


async def test_the_registrations_come_first(kit: Kit) -> None:
    with pytest.raises(NotReady, match="JIT password check"):
        await kit.consent.ensure()
    with pytest.raises(NotReady, match="JIT test client"):
        await kit.client_consent.ensure()


async def test_the_clients_permission_is_granted_once(kit: Kit) -> None:
    await kit.client.ensure()
    made = await kit.client_consent.ensure()
    assert (made.status, made.permissions) == ("created", ("User.Read",))
    again = await kit.client_consent.ensure()
    assert (again.status, writes(again)) == ("reused", [])


async def test_a_grant_is_extended_and_shortened_without_losing_the_rest(kit: Kit) -> None:
    client = await kit.client.ensure()
    graph = await kit.send("GET", f"/servicePrincipals(appId='{protocol.GRAPH_APP_ID}')")
    grant = {"clientId": client.service_principal_id, "resourceId": graph["id"], "scope": "openid email"}
    await kit.send("POST", "/oauth2PermissionGrants", {**grant, "consentType": "AllPrincipals"})

    extended = await kit.client_consent.ensure()
    assert (extended.status, extended.permissions) == ("updated", ("openid", "email", "User.Read"))
    assert (await kit.client_consent.show()).permissions == extended.permissions

    assert (await kit.client_consent.remove()).status == "removed"
    left = (await kit.send("GET", "/oauth2PermissionGrants"))["value"]
    assert [each["scope"] for each in left] == ["openid email"]
    assert (await kit.client_consent.remove()).status == "missing"


async def test_a_grant_of_one_user_is_not_taken_for_everybodys(kit: Kit) -> None:
    client = await kit.client.ensure()
    graph = await kit.send("GET", f"/servicePrincipals(appId='{protocol.GRAPH_APP_ID}')")
    user = await kit.send(
        "POST",
        "/users",
        {
            "displayName": "Ada",
            "accountEnabled": True,
            "mailNickname": "ada",
            "userPrincipalName": f"ada@{kit.tenant.domain}",
            "passwordProfile": {"password": "Juniper-Ladder-27"},
        },
    )
    grant = {"clientId": client.service_principal_id, "resourceId": graph["id"], "scope": "User.Read"}
    await kit.send("POST", "/oauth2PermissionGrants", {**grant, "consentType": "Principal", "principalId": user["id"]})
    assert (await kit.client_consent.ensure()).status == "created"


async def test_an_identity_that_may_not_consent_is_told_so(kit: Kit, tmp_path: Path) -> None:
    await kit.app.ensure()
    weak = narrow(kit, ["Application.ReadWrite.All"], tmp_path)
    with pytest.raises(PermissionMissing, match="Privileged Role Administrator"):
        await weak.consent.ensure()

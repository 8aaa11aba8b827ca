from __future__ import annotations

from collections.abc import Awaitable, Callable

import httpx
import pytest

from helpers.tenant.step import MADE_BY
from jitkit.errors import KitError, NotReady, Taken
from tenant.support import Between, Kit

EXTENSIONS = "/identity/customAuthenticationExtensions"
TYPE = "#microsoft.graph.onPasswordSubmitCustomExtension"


async def test_the_extension_is_whole_and_found_the_second_time(kit: Kit) -> None:
    await kit.ready_for_policies()
    app, made = await kit.app.show(), await kit.extension.ensure()
    stored = await kit.send("GET", f"{EXTENSIONS}/{made.extension_id}")
    assert (made.status, made.warnings) == ("created", ())
    assert stored["@odata.type"] == TYPE
    assert stored["endpointConfiguration"]["targetUrl"] == kit.profile.target_url == made.target_url
    assert stored["authenticationConfiguration"]["resourceId"] == app.identifier_uri == made.resource_id
    assert stored["clientConfiguration"]["timeoutInMilliseconds"] == 2000
    assert stored["clientConfiguration"]["maximumRetries"] == 1
    assert stored["behaviorOnError"] is None

    again = await kit.extension.ensure()
    assert (again.status, again.extension_id) == ("reused", made.extension_id)
    assert all(each.method == "GET" for each in again.sent)
    assert (await kit.extension.show()).extension_id == made.extension_id


@pytest.mark.parametrize(
    "change",
    [
        {"clientConfiguration": {"timeoutInMilliseconds": 1000, "maximumRetries": 0}},
        {
            "endpointConfiguration": {
                "@odata.type": "#microsoft.graph.httpRequestEndpoint",
                "targetUrl": "https://jit-endpoint.woodgrove.example/old",
            }
        },
    ],
)
async def test_tampering_is_mended(kit: Kit, change: dict[str, object]) -> None:
    await kit.ready_for_policies()
    made = await kit.extension.ensure()
    await kit.send("PATCH", f"{EXTENSIONS}/{made.extension_id}", {"@odata.type": TYPE, **change})
    mended = await kit.extension.ensure()
    assert (mended.status, mended.extension_id) == ("updated", made.extension_id)
    assert (await kit.extension.ensure()).status == "reused"


async def test_a_new_host_is_followed_once_the_registration_has_it(kit: Kit) -> None:
    await kit.ready_for_policies()
    made = await kit.extension.ensure()
    moved = kit.on("login-check.woodgrove.example")
    with pytest.raises(NotReady, match=r"login-check\.woodgrove\.example"):
        await moved.extension.ensure()
    await moved.app.ensure()
    assert (await moved.extension.ensure()).status == "updated"
    after = await moved.extension.show()
    assert after.extension_id == made.extension_id
    assert after.target_url == "https://login-check.woodgrove.example/api/JitMigrationEndpoint"
    assert after.resource_id.startswith("api://login-check.woodgrove.example/")


async def test_a_consent_that_is_missing_is_a_warning_with_its_mend(kit: Kit) -> None:
    await kit.flag.ensure()
    await kit.app.ensure()
    made = await kit.extension.ensure()
    assert made.warnings == ("PermissionNotGrantedToServicePrincipal",)
    assert "notebook 02" in made.facts["Validation warns"]
    findings = await kit.extension.check()
    assert (findings.errors, findings.warnings) == ((), made.warnings)
    assert "1003021" in str(findings.rows[0][3])
    await kit.consent.ensure()
    assert (await kit.extension.check()).rows == []


async def test_what_the_tenant_finds_wrong_is_not_written(kit: Kit, between: Between) -> None:
    await kit.ready_for_policies()

    async def find_fault(request: httpx.Request, _: Callable[[], Awaitable[httpx.Response]]) -> httpx.Response | None:
        if request.url.path.endswith("/validateAuthenticationConfiguration"):
            error = {"code": "DomainNameDoesNotMatch", "message": "The domains differ."}
            return httpx.Response(200, json={"errors": [error], "warnings": []}, request=request)
        return None

    between.interfere = find_fault
    with pytest.raises(NotReady, match="DomainNameDoesNotMatch: The domains differ") as refused:
        await kit.extension.ensure()
    assert "notebook 00" in refused.value.next_step
    assert (await kit.send("GET", EXTENSIONS))["value"] == []


async def test_the_check_finds_what_went_missing_later(kit: Kit) -> None:
    await kit.ready_for_policies()
    await kit.extension.ensure()
    await kit.send("DELETE", f"/servicePrincipals/{(await kit.app.show()).service_principal_id}")
    findings = await kit.extension.check()
    assert "ServicePrincipalNotFound" in findings.errors
    assert "notebook 02" in str(findings.rows[0][3])


async def test_a_strangers_extension_is_neither_used_nor_removed(kit: Kit) -> None:
    await kit.ready_for_policies()
    made = await kit.extension.ensure()
    path = f"{EXTENSIONS}/{made.extension_id}"
    await kit.send("PATCH", path, {"@odata.type": TYPE, "description": "Made by hand"})
    with pytest.raises(Taken, match="did not make"):
        await kit.extension.ensure()
    assert (await kit.extension.remove()).status == "left alone"
    await kit.send("PATCH", path, {"@odata.type": TYPE, "description": MADE_BY})
    assert (await kit.extension.ensure()).status == "reused"


async def test_removal_waits_for_the_listener(kit: Kit) -> None:
    await kit.ready_for_policies()
    await kit.extension.ensure()
    await kit.listener.ensure()
    with pytest.raises(KitError, match="1003011"):
        await kit.extension.remove()
    await kit.listener.remove()
    assert (await kit.extension.remove()).status == "removed"
    assert (await kit.extension.remove()).status == "missing"
    with pytest.raises(NotReady, match="03-policies"):
        await kit.extension.show()

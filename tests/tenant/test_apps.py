from __future__ import annotations

from collections.abc import Awaitable, Callable

import httpx
import pytest

from helpers.tenant.step import TAG
from jitkit import protocol
from jitkit.errors import NotReady, Taken
from tenant.support import Between, Kit, writes

HOST = "jit-endpoint.woodgrove.example"


async def test_the_endpoints_registration_is_whole_and_found_the_second_time(kit: Kit) -> None:
    made = await kit.app.ensure()
    stored = await kit.send("GET", f"/applications/{made.object_id}")
    assert made.status == "created"
    assert stored["identifierUris"] == [f"api://{HOST}/{made.app_id}"] == [made.identifier_uri]
    assert stored["signInAudience"] == "AzureADMyOrg"
    assert stored["api"]["requestedAccessTokenVersion"] == 2
    assert stored["requiredResourceAccess"] == [
        {
            "resourceAppId": protocol.GRAPH_APP_ID,
            "resourceAccess": [{"id": protocol.RECEIVE_PAYLOAD_ROLE_ID, "type": "Role"}],
        }
    ]
    principal = await kit.send("GET", f"/servicePrincipals/{made.service_principal_id}")
    assert principal["appId"] == made.app_id

    again = await kit.app.ensure()
    assert (again.status, writes(again), again.object_id) == ("reused", [], made.object_id)
    assert (await kit.app.show()).identifier_uri == made.identifier_uri


async def test_the_test_client_is_whole_and_found_the_second_time(kit: Kit) -> None:
    made = await kit.client.ensure()
    stored = await kit.send("GET", f"/applications/{made.object_id}")
    assert stored["web"]["redirectUris"] == ["https://jwt.ms"]
    assert stored["web"]["implicitGrantSettings"]["enableIdTokenIssuance"] is True
    assert stored["requiredResourceAccess"][0]["resourceAccess"] == [
        {"id": protocol.USER_READ_SCOPE_ID, "type": "Scope"}
    ]
    again = await kit.client.ensure()
    assert (again.status, writes(again)) == ("reused", [])


async def test_another_host_adds_its_identifier_uri_and_keeps_all_others(kit: Kit) -> None:
    made = await kit.app.ensure()
    extra = f"api://{made.app_id}/extra"
    await kit.send("PATCH", f"/applications/{made.object_id}", {"identifierUris": [made.identifier_uri, extra]})
    moved = kit.on("login-check.woodgrove.example")
    assert (await moved.app.show()).identifier_uri == ""

    fixed = await moved.app.ensure()
    assert fixed.status == "updated"
    stored = await kit.send("GET", f"/applications/{made.object_id}")
    new = f"api://login-check.woodgrove.example/{made.app_id}"
    assert stored["identifierUris"] == [made.identifier_uri, extra, new]
    assert (await moved.app.ensure()).status == "reused"


async def test_changes_are_fixed_and_other_permissions_stay(kit: Kit) -> None:
    made = await kit.app.ensure()
    other = {
        "resourceAppId": protocol.GRAPH_APP_ID,
        "resourceAccess": [{"id": protocol.USER_READ_SCOPE_ID, "type": "Scope"}],
    }
    change = {"api": {"requestedAccessTokenVersion": None}, "requiredResourceAccess": [other]}
    await kit.send("PATCH", f"/applications/{made.object_id}", change)

    assert (await kit.app.ensure()).status == "updated"
    stored = await kit.send("GET", f"/applications/{made.object_id}")
    assert stored["api"]["requestedAccessTokenVersion"] == 2
    asked = {each["id"] for each in stored["requiredResourceAccess"][0]["resourceAccess"]}
    assert asked == {protocol.USER_READ_SCOPE_ID, protocol.RECEIVE_PAYLOAD_ROLE_ID}


async def test_the_clients_own_redirects_stay(kit: Kit) -> None:
    made = await kit.client.ensure()
    await kit.send("PATCH", f"/applications/{made.object_id}", {"web": {"redirectUris": ["https://shop.example/cb"]}})
    assert (await kit.client.ensure()).status == "updated"
    stored = await kit.send("GET", f"/applications/{made.object_id}")
    assert stored["web"]["redirectUris"] == ["https://shop.example/cb", "https://jwt.ms"]
    assert stored["web"]["implicitGrantSettings"]["enableIdTokenIssuance"] is True


async def test_the_card_shows_what_is_set_and_not_what_should_be(kit: Kit) -> None:
    app, client = await kit.app.ensure(), await kit.client.ensure()
    assert "application permission" in app.facts["Asks for"]
    assert ("delegated permission" in client.facts["Asks for"], client.facts["Issues id tokens"]) == (True, "yes")
    web = {"redirectUris": ["https://jwt.ms"], "implicitGrantSettings": {"enableIdTokenIssuance": False}}
    await kit.send("PATCH", f"/applications/{client.object_id}", {"web": web, "requiredResourceAccess": []})
    await kit.send("PATCH", f"/applications/{app.object_id}", {"requiredResourceAccess": []})
    changed = await kit.client.show()
    assert (changed.facts["Asks for"], changed.facts["Issues id tokens"]) == ("nothing that the kit needs", "no")
    assert (await kit.app.show()).facts["Asks for"] == "nothing that the kit needs"


async def test_a_registration_that_was_half_made_is_finished(kit: Kit) -> None:
    made = await kit.app.ensure()
    await kit.send("DELETE", f"/servicePrincipals/{made.service_principal_id}")
    await kit.send("PATCH", f"/applications/{made.object_id}", {"identifierUris": []})
    with pytest.raises(NotReady, match="02-app-registrations"):
        await kit.app.show()
    finished = await kit.app.ensure()
    assert (finished.status, finished.object_id) == ("updated", made.object_id)
    assert finished.identifier_uri == made.identifier_uri
    assert finished.service_principal_id != made.service_principal_id


async def test_a_strangers_registration_is_neither_used_nor_removed(kit: Kit) -> None:
    stranger = await kit.send("POST", "/applications", {"displayName": "JIT password check"})
    with pytest.raises(Taken, match="did not make") as refused:
        await kit.app.ensure()
    assert stranger["id"] in str(refused.value)
    removed = await kit.app.remove()
    assert removed.status == "missing"
    assert stranger["id"] in removed.facts["Left alone"]
    assert (await kit.send("GET", f"/applications/{stranger['id']}"))["displayName"] == "JIT password check"


async def test_the_tagged_one_of_two_is_used_and_two_tagged_ones_are_not_guessed_between(kit: Kit) -> None:
    made = await kit.app.ensure()
    second = await kit.send("POST", "/applications", {"displayName": "JIT password check"})
    assert (await kit.app.ensure()).object_id == made.object_id
    await kit.send("PATCH", f"/applications/{second['id']}", {"tags": [TAG]})
    with pytest.raises(Taken) as refused:
        await kit.app.ensure()
    assert made.object_id in str(refused.value)
    assert second["id"] in str(refused.value)


async def test_a_dry_run_finds_the_registrations_that_a_removal_deletes(kit: Kit) -> None:
    """Both one without its service principal and a second one, which a tenant that lagged may have let be made."""
    made = await kit.app.ensure()
    await kit.send("DELETE", f"/servicePrincipals/{made.service_principal_id}")
    assert (await kit.app.to_remove()).object_id == made.object_id
    await kit.send("POST", "/applications", {"displayName": "JIT password check", "tags": [TAG]})
    assert (await kit.app.to_remove()).title == made.title
    assert (await kit.app.remove()).status == "removed"
    left = (await kit.send("GET", "/applications"))["value"]
    assert "JIT password check" not in {each["displayName"] for each in left}


async def test_a_name_with_an_apostrophe_works(kit: Kit) -> None:
    named = kit.named(extension_app="Woodgrove's check")
    assert (await named.app.ensure()).status == "created"
    assert (await named.app.ensure()).status == "reused"


@pytest.mark.usefixtures("impatient")
async def test_a_tenant_that_lags_behind_is_waited_for(kit: Kit, between: Between) -> None:
    refused = 0

    async def lag(request: httpx.Request, _: Callable[[], Awaitable[httpx.Response]]) -> httpx.Response | None:
        nonlocal refused
        if request.method == "PATCH" and refused < 2:
            refused += 1
            error = {"error": {"code": "Request_ResourceNotFound", "message": "Resource does not exist."}}
            return httpx.Response(404, json=error, request=request)
        return None

    between.interfere = lag
    made = await kit.app.ensure()
    assert (refused, made.status) == (2, "created")
    assert (await kit.app.show()).identifier_uri == made.identifier_uri


async def test_removal_goes_to_the_recycle_bin_and_spares_everything_else(kit: Kit) -> None:
    app, client = await kit.app.ensure(), await kit.client.ensure()
    removed = await kit.app.remove()
    assert removed.status == "removed"
    assert "30 days" in removed.facts["Where it is now"]
    listed = (await kit.send("GET", "/applications"))["value"]
    names = {each["displayName"].split(".")[0] for each in listed}
    assert names == {"b2c-extensions-app", "JIT test client"}
    binned = (await kit.send("GET", "/directory/deletedItems/microsoft.graph.application"))["value"]
    assert [each["id"] for each in binned] == [app.object_id]
    assert (await kit.client.show()).object_id == client.object_id
    assert (await kit.app.remove()).status == "missing"
    assert (await kit.app.ensure()).status == "created"

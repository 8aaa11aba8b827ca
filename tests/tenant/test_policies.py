from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from helpers.tenant.step import MADE_BY
from jitkit.errors import KitError, NotReady, Taken
from tenant.support import Between, Kit, writes

EXTENSIONS = "/identity/customAuthenticationExtensions"
EXTENSION = "#microsoft.graph.onPasswordSubmitCustomExtension"
LISTENERS = "/identity/authenticationEventListeners"
LISTENER = "#microsoft.graph.onPasswordSubmitListener"
OTHER_APP = "63856651-13d9-4784-9abf-20758d509e19"


@pytest.fixture(scope="session")
def seeded(registered: Path) -> Path:
    return registered


async def test_the_extension_is_whole_and_found_the_second_time(kit: Kit) -> None:
    app, made = await kit.app.show(), await kit.extension.ensure()
    stored = await kit.send("GET", f"{EXTENSIONS}/{made.extension_id}")
    assert (made.status, made.warnings) == ("created", ())
    assert stored["@odata.type"] == EXTENSION
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
async def test_changes_to_the_extension_are_fixed(kit: Kit, change: dict[str, object]) -> None:
    made = await kit.extension.ensure()
    await kit.send("PATCH", f"{EXTENSIONS}/{made.extension_id}", {"@odata.type": EXTENSION, **change})
    fixed = await kit.extension.ensure()
    assert (fixed.status, fixed.extension_id) == ("updated", made.extension_id)
    assert (await kit.extension.ensure()).status == "reused"


async def test_a_new_host_is_followed_once_the_registration_has_it(kit: Kit) -> None:
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


async def test_a_missing_consent_is_a_warning_with_its_fix(kit: Kit) -> None:
    await kit.consent.remove()
    made = await kit.extension.ensure()
    assert made.warnings == ("PermissionNotGrantedToServicePrincipal",)
    assert "notebook 02" in made.facts["Validation warns"]
    findings = await kit.extension.check()
    assert (findings.errors, findings.warnings) == ((), made.warnings)
    assert "1003021" in str(findings.rows[0][3])
    await kit.consent.ensure()
    assert (await kit.extension.check()).rows == []


async def test_what_the_tenant_finds_wrong_is_not_written(kit: Kit, between: Between) -> None:
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
    await kit.extension.ensure()
    await kit.send("DELETE", f"/servicePrincipals/{(await kit.app.show()).service_principal_id}")
    findings = await kit.extension.check()
    assert "ServicePrincipalNotFound" in findings.errors
    assert "notebook 02" in str(findings.rows[0][3])


async def test_a_strangers_extension_is_neither_used_nor_removed(kit: Kit) -> None:
    made = await kit.extension.ensure()
    path = f"{EXTENSIONS}/{made.extension_id}"
    await kit.send("PATCH", path, {"@odata.type": EXTENSION, "description": "Made by hand"})
    with pytest.raises(Taken, match="did not make"):
        await kit.extension.ensure()
    assert (await kit.extension.remove()).status == "left alone"
    await kit.send("PATCH", path, {"@odata.type": EXTENSION, "description": MADE_BY})
    assert (await kit.extension.ensure()).status == "reused"


async def test_removal_waits_for_the_listener(kit: Kit) -> None:
    await kit.extension.ensure()
    await kit.listener.ensure()
    with pytest.raises(KitError, match="1003011"):
        await kit.extension.remove()
    await kit.listener.remove()
    assert (await kit.extension.remove()).status == "removed"
    assert (await kit.extension.remove()).status == "missing"
    with pytest.raises(NotReady, match="03-policies"):
        await kit.extension.show()


@pytest.fixture
async def ready(kit: Kit) -> Kit:
    await kit.extension.ensure()
    return kit


async def stored(kit: Kit, listener_id: str) -> dict[str, Any]:
    return dict(await kit.send("GET", f"{LISTENERS}/{listener_id}"))


async def another(kit: Kit, *, priority: int, applications: dict[str, Any]) -> dict[str, Any]:
    body = {
        "@odata.type": LISTENER,
        "displayName": "Not the kit's",
        "priority": priority,
        "conditions": {"applications": applications},
        "handler": {
            "@odata.type": "#microsoft.graph.onPasswordMigrationCustomExtensionHandler",
            "migrationPropertyId": (await kit.flag.show()).full_name,
            "customExtension": {"id": (await kit.extension.show()).extension_id},
        },
    }
    return dict(await kit.send("POST", LISTENERS, body))


async def test_the_listener_is_whole_and_found_the_second_time(ready: Kit) -> None:
    made = await ready.listener.ensure()
    flag, client = await ready.flag.show(), await ready.client.show()
    body = await stored(ready, made.listener_id)
    assert (made.status, made.rivals) == ("created", ())
    assert body["handler"]["migrationPropertyId"] == flag.full_name == made.migration_property
    assert body["handler"]["customExtension"]["id"] == (await ready.extension.show()).extension_id == made.extension_id
    assert body["priority"] == 500
    applications = body["conditions"]["applications"]
    assert applications["includeAllApplications"] is False
    assert [each["appId"] for each in applications["includeApplications"]] == [client.app_id]
    assert "migrationAttributeId" not in "".join(each.body or "" for each in made.sent)

    again = await ready.listener.ensure()
    assert (again.status, writes(again), again.listener_id) == ("reused", [], made.listener_id)
    assert (await ready.listener.show()).app_ids == (client.app_id,)


async def test_changes_to_the_listener_are_fixed_and_what_was_widened_and_the_priority_stay(ready: Kit) -> None:
    made = await ready.listener.ensure()
    change = {
        "@odata.type": LISTENER,
        "priority": 100,
        "conditions": {"applications": {"includeAllApplications": True, "includeApplications": [{"appId": OTHER_APP}]}},
        "handler": {
            "@odata.type": "#microsoft.graph.onPasswordMigrationCustomExtensionHandler",
            "migrationPropertyId": "extension_00000000000000000000000000000000_toBeMigrated",
            "customExtension": {"id": made.extension_id},
        },
    }
    await ready.send("PATCH", f"{LISTENERS}/{made.listener_id}", change)
    fixed = await ready.listener.ensure()
    assert fixed.status == "updated"
    body = await stored(ready, made.listener_id)
    assert body["handler"]["migrationPropertyId"] == made.migration_property
    applications = body["conditions"]["applications"]
    assert applications["includeAllApplications"] is True
    assert {each["appId"] for each in applications["includeApplications"]} == {OTHER_APP}
    assert body["priority"] == 100
    assert (await ready.listener.ensure()).status == "reused"


async def test_an_extension_that_was_created_again_is_followed(ready: Kit) -> None:
    made = await ready.listener.ensure()
    await ready.send("DELETE", f"/identity/customAuthenticationExtensions/{made.extension_id}")
    await ready.extension.ensure()
    fixed = await ready.listener.ensure()
    assert (fixed.status, fixed.listener_id) == ("updated", made.listener_id)
    assert (
        (await ready.listener.show()).extension_id == (await ready.extension.show()).extension_id != made.extension_id
    )


@pytest.mark.parametrize(("every", "words"), [(False, "no app"), (True, "every app")])
async def test_a_listener_that_names_no_app_says_whom_it_listens_to(ready: Kit, every: bool, words: str) -> None:
    made = await ready.listener.ensure()
    applications = {"includeAllApplications": every, "includeApplications": []}
    change = {"@odata.type": LISTENER, "conditions": {"applications": applications}}
    await ready.send("PATCH", f"{LISTENERS}/{made.listener_id}", body=change)
    assert (await ready.listener.show()).facts["Listens to"] == words


async def test_rivals_are_named_with_their_priority(ready: Kit) -> None:
    client = await ready.client.show()
    made = await ready.listener.ensure()
    one_app = {"includeAllApplications": False, "includeApplications": [{"appId": client.app_id}]}
    elsewhere = {"includeAllApplications": False, "includeApplications": [{"appId": OTHER_APP}]}
    rival = await another(ready, priority=100, applications=one_app)
    await another(ready, priority=1, applications=elsewhere)
    seen = await ready.listener.ensure()
    assert (seen.status, seen.rivals) == ("reused", ("Not the kit's (priority 100)",))
    assert "lowest priority" in seen.facts["Notice"]
    await ready.send("DELETE", f"{LISTENERS}/{rival['id']}")
    assert (await ready.listener.show()).rivals == ()
    assert made.rivals == ()


async def test_what_comes_first_is_named(kit: Kit) -> None:
    await kit.client.remove()
    await kit.flag.remove()
    for ensure, notebook in (
        (kit.flag.ensure, "01-extension-attribute"),
        (kit.client.ensure, "02-app-registrations"),
    ):
        with pytest.raises(NotReady, match=notebook):
            await kit.listener.ensure()
        await ensure()
    with pytest.raises(NotReady, match="03-policies"):
        await kit.listener.ensure()


async def test_two_listeners_of_the_kits_name_are_not_guessed_between(ready: Kit) -> None:
    made = await ready.listener.ensure()
    second = await another(ready, priority=100, applications={"includeApplications": [{"appId": OTHER_APP}]})
    change = {"@odata.type": LISTENER, "displayName": "JIT migration listener"}
    await ready.send("PATCH", f"{LISTENERS}/{second['id']}", change)
    with pytest.raises(Taken) as refused:
        await ready.listener.ensure()
    assert made.listener_id in str(refused.value)
    assert f"{second['id']} (priority 100)" in str(refused.value)


async def test_a_strangers_listener_of_the_same_name_is_neither_used_nor_removed(ready: Kit) -> None:
    theirs = {
        "@odata.type": "#microsoft.graph.onPasswordSubmitCustomExtension",
        "displayName": "By hand",
        "endpointConfiguration": {
            "@odata.type": "#microsoft.graph.httpRequestEndpoint",
            "targetUrl": "https://by-hand.example/check",
        },
        "authenticationConfiguration": {
            "@odata.type": "#microsoft.graph.azureAdTokenAuthentication",
            "resourceId": f"api://by-hand.example/{OTHER_APP}",
        },
    }
    extension = await ready.send("POST", "/identity/customAuthenticationExtensions", theirs)
    listener = await another(ready, priority=100, applications={"includeApplications": [{"appId": OTHER_APP}]})
    handler = {
        "@odata.type": "#microsoft.graph.onPasswordMigrationCustomExtensionHandler",
        "migrationPropertyId": (await ready.flag.show()).full_name,
        "customExtension": {"id": extension["id"]},
    }
    change = {"@odata.type": LISTENER, "displayName": "JIT migration listener", "handler": handler}
    await ready.send("PATCH", f"{LISTENERS}/{listener['id']}", change)
    before = await stored(ready, listener["id"])
    with pytest.raises(Taken, match="did not make"):
        await ready.listener.ensure()
    assert (await ready.listener.remove()).status == "left alone"
    assert await stored(ready, listener["id"]) == before


async def test_removal_spares_other_listeners_and_needs_no_client(ready: Kit) -> None:
    await ready.listener.ensure()
    other = await another(ready, priority=100, applications={"includeApplications": [{"appId": OTHER_APP}]})
    await ready.client.remove()
    assert (await ready.listener.show()).status == "read"
    assert (await ready.listener.remove()).status == "removed"
    assert [each["id"] for each in (await ready.send("GET", LISTENERS))["value"]] == [other["id"]]
    assert (await ready.listener.remove()).status == "missing"
    with pytest.raises(NotReady, match="03-policies"):
        await ready.listener.show()

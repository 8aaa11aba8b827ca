"""A tenant that other people use."""

from __future__ import annotations

from typing import Any

from jitkit.rehearsal.directory import member
from jitkit.rehearsal.seed import PRODUCTION
from jitkit.rehearsal.tenant import RehearsalTenant
from rehearsal.support import LEGACY, ScriptedEndpoint, World

HOST = "login.contoso.example"
LISTENER = "#microsoft.graph.onPasswordSubmitListener"


def of(tenant: RehearsalTenant, kind: str, type: str = "") -> list[dict[str, Any]]:
    return [each for each in tenant.directory.all(kind) if type in each.get("@odata.type", "")]


def names(items: list[dict[str, Any]]) -> list[str]:
    return [each["displayName"] for each in items]


async def test_a_new_tenant_gets_what_others_would_have_made(tenant: RehearsalTenant) -> None:
    await tenant.put_into_production()
    assert names(of(tenant, "application"))[1:] == ["Shop", "Portal", "Password check of Contoso"]
    (flow,) = of(tenant, "authenticationEventsFlow")
    (listener,) = of(tenant, "authenticationEventListener", LISTENER)
    apps = {each["appId"] for each in of(tenant, "application")[1:3]}
    for covering in (flow, listener):
        included = member(covering, "conditions", "applications", "includeApplications")
        assert {each["appId"] for each in included} == apps
    (extension,) = of(tenant, "customAuthenticationExtension", "PasswordSubmit")
    assert extension["endpointConfiguration"]["targetUrl"] == f"https://{HOST}/api/check"
    assert len(of(tenant, "authenticationEventListener")) == 3
    (flag,) = [each["name"] for each in of(tenant, "extensionProperty") if each["name"].endswith("_toBeMigrated")]
    assert listener["handler"]["migrationPropertyId"] == flag
    assert tenant.directory.by_key("userFlowAttribute", flag)
    found = {name: tenant.directory.user_by_sign_in_name(name) for name in PRODUCTION["people"]}
    assert {name: user and user.body.get(flag) for name, user in found.items()} == PRODUCTION["people"]


async def test_a_tenant_that_is_set_up_is_moved_to_production(world: World, endpoint: ScriptedEndpoint) -> None:
    """H1: the extension points to another host and the listener covers every application."""
    world.add_user()
    uri = world.extension_app["identifierUris"][0]
    await world.tenant.put_into_production(people={})
    (extension,) = of(world.tenant, "customAuthenticationExtension", "PasswordSubmit")
    assert extension["endpointConfiguration"]["targetUrl"] == f"https://{HOST}/api/JitMigrationEndpoint"
    app = world.directory.get("application", world.extension_app["id"])
    assert app
    assert app["identifierUris"] == [uri, uri.replace("jit.woodgrove.example", HOST)]
    (listener,) = of(world.tenant, "authenticationEventListener", LISTENER)
    assert member(listener, "conditions", "applications", "includeAllApplications") is True
    assert {each["appId"] for each in listener["conditions"]["applications"]["includeApplications"]} == {
        world.client_id
    }
    assert (await world.sign_in(LEGACY)).callout_error == 1003027
    world.tenant.publish(HOST, endpoint.url)
    assert (await world.sign_in(LEGACY)).path == "callout"


async def test_people_who_signed_up_sign_in_with_their_own_password(tenant: RehearsalTenant) -> None:
    await tenant.put_into_production(people={"ada@woodgrove.example": None})
    shop = of(tenant, "application")[1]["appId"]
    done = await tenant.sign_in("ada@woodgrove.example", PRODUCTION["password"], client_app_id=shop)
    assert (done.outcome, done.migrated) == ("signed in", False)


async def test_nothing_is_made_twice_and_nobody_is_overwritten(tenant: RehearsalTenant) -> None:
    await tenant.put_into_production()
    before = {
        kind: len(of(tenant, kind)) for kind in ("application", "servicePrincipal", "authenticationEventListener")
    }
    nora = tenant.directory.user_by_sign_in_name("nora@contoso.example")
    await tenant.put_into_production()
    assert {kind: len(of(tenant, kind)) for kind in before} == before
    assert tenant.directory.user_by_sign_in_name("nora@contoso.example") == nora

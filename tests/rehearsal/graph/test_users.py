"""Users: who is accepted, what is shown, how they are changed and deleted, and how many values they hold."""

from __future__ import annotations

import sqlite3
from typing import Any

import httpx
import pytest

from jitkit.rehearsal.tenant import RehearsalTenant

from .bodies import created, message, person


async def make(graph: httpx.AsyncClient, tenant: RehearsalTenant, email: str, **more: Any) -> dict[str, Any]:
    return await created(graph, "/users", person(tenant, email, **more))


async def test_the_sdk_makes_a_local_account_with_the_flag(sdk: Any, tenant: RehearsalTenant, flag: str) -> None:
    from kiota_abstractions.base_request_configuration import RequestConfiguration
    from msgraph.generated.models.object_identity import ObjectIdentity
    from msgraph.generated.models.password_profile import PasswordProfile
    from msgraph.generated.models.user import User
    from msgraph.generated.users.item.user_item_request_builder import UserItemRequestBuilder

    made = await sdk.users.post(
        User(
            account_enabled=True,
            creation_type="LocalAccount",
            display_name="Ada Álvarez",
            mail="ada@woodgrove.example",
            identities=[
                ObjectIdentity(
                    sign_in_type="emailAddress", issuer=tenant.domain, issuer_assigned_id="Ada@woodgrove.example"
                )
            ],
            password_profile=PasswordProfile(password="Vq7-unguessable-Tz", force_change_password_next_sign_in=False),
            password_policies="DisablePasswordExpiration",
            additional_data={flag: True},
        )
    )
    assert made.user_principal_name == f"{made.id}@{tenant.domain}"
    assert made.identities is None
    assert flag not in made.additional_data

    query = UserItemRequestBuilder.UserItemRequestBuilderGetQueryParameters(
        select=["displayName", "identities", "creationType", "createdDateTime", "accountEnabled", flag]
    )
    found = await sdk.users.by_user_id(made.id).get(request_configuration=RequestConfiguration(query_parameters=query))
    assert found.additional_data[flag] is True
    assert (found.display_name, found.creation_type, found.account_enabled) == ("Ada Álvarez", "LocalAccount", True)
    assert [item.sign_in_type for item in found.identities] == ["emailAddress", "userPrincipalName"]
    assert found.created_date_time is not None
    stored = tenant.directory.user_by_sign_in_name("ADA@WOODGROVE.EXAMPLE")
    assert stored is not None
    assert stored.id == made.id
    assert stored.force_change is False


async def test_a_password_is_kept_as_a_hash_and_answered_never(
    graph: httpx.AsyncClient, tenant: RehearsalTenant
) -> None:
    canary = "Kanarienvogel-Vq7-Tz"
    made = await graph.post(
        "/users", json=person(tenant, "ada@woodgrove.example", passwordProfile={"password": canary})
    )
    id = made.json()["id"]
    shown = await graph.get(f"/users/{id}", params={"$select": "passwordProfile"})
    assert shown.json()["passwordProfile"]["password"] is None
    changed = await graph.patch(f"/users/{id}", json={"passwordProfile": {"password": f"{canary}-2"}})
    assert changed.status_code == 204
    assert canary not in made.text + shown.text + str(tenant.audit_rows())
    files = [path for path in tenant.path.parent.iterdir() if path.name.startswith(tenant.path.name)]
    assert len(files) > 1
    assert not any(canary.encode() in path.read_bytes() for path in files)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"passwordProfile": {"password": "short"}}, "password complexity"),
        ({"passwordProfile": {"password": "alllowercaseletters"}}, "password complexity"),
        ({"passwordProfile": {"forceChangePasswordNextSignIn": False}}, "A password must be specified"),
        ({"passwordProfile": None}, "A password must be specified"),
        ({"displayName": None}, "displayName"),
        ({"identities": []}, "userPrincipalName"),
        ({"accountEnabled": "true"}, "accountEnabled"),
        ({"extension_0123_toBeMigrated": True}, "extension properties are not available: extension_0123_toBeMigrated"),
        ({"isMigrated": False}, "isMigrated"),
        ({"id": "87d349ed-44d7-43e1-9a83-5f2406dee5bd"}, "read-only"),
    ],
)
async def test_an_unacceptable_user_is_refused(
    graph: httpx.AsyncClient, tenant: RehearsalTenant, change: dict[str, Any], said: str
) -> None:
    answer = await graph.post("/users", json=person(tenant, "ada@woodgrove.example", **change))
    assert message(answer).startswith("400 Request_BadRequest")
    assert said in message(answer)
    assert tenant.directory.rows("SELECT 1 FROM users") == []


@pytest.mark.parametrize(
    "identity",
    [
        {"signInType": "emailAddress", "issuer": "woodgrove.example", "issuerAssignedId": "ada@woodgrove.example"},
        {"signInType": "emailAddress", "issuer": "{domain}", "issuerAssignedId": "ada"},
        {"signInType": "userName", "issuer": "{domain}", "issuerAssignedId": "ada lovelace"},
        {"signInType": "emailAddress", "issuer": "{domain}"},
    ],
)
async def test_an_unacceptable_identity_is_refused(
    graph: httpx.AsyncClient, tenant: RehearsalTenant, identity: dict[str, str]
) -> None:
    body = person(tenant, "ada@woodgrove.example")
    body["identities"] = [{**identity, "issuer": identity["issuer"].replace("{domain}", tenant.domain)}]
    assert "One or more properties contains invalid values" in message(await graph.post("/users", json=body))


async def test_a_weaker_password_is_accepted_where_the_policy_of_the_user_allows_it(
    graph: httpx.AsyncClient, tenant: RehearsalTenant
) -> None:
    weak = {"passwordProfile": {"password": "alllowercase"}, "passwordPolicies": "DisableStrongPassword"}
    await make(graph, tenant, "ada@woodgrove.example", **weak)


async def test_a_sign_in_name_belongs_to_one_user(graph: httpx.AsyncClient, tenant: RehearsalTenant) -> None:
    both = [
        {"signInType": "emailAddress", "issuer": tenant.domain, "issuerAssignedId": "ada@woodgrove.example"},
        {"signInType": "userName", "issuer": tenant.domain, "issuerAssignedId": "ada"},
    ]
    first = await make(graph, tenant, "ada@woodgrove.example", identities=both)
    for name in ("ada", "ADA@woodgrove.example"):
        found = tenant.directory.user_by_sign_in_name(name)
        assert found is not None
        assert found.id == first["id"]
    again = await graph.post("/users", json=person(tenant, "Ada@Woodgrove.example"))
    assert message(again).endswith("Another object with the same value for property identities already exists.")

    other = await make(graph, tenant, "ben@woodgrove.example")
    taken = await graph.patch(f"/users/{other['id']}", json={"identities": both})
    assert "already exists" in message(taken)
    mine = await graph.patch(f"/users/{first['id']}", json={"identities": both[:1]})
    assert mine.status_code == 204
    assert tenant.directory.user_by_sign_in_name("ada") is None


async def test_a_flag_is_changed_and_removed(graph: httpx.AsyncClient, tenant: RehearsalTenant, flag: str) -> None:
    made = await make(graph, tenant, "ada@woodgrove.example", **{flag: True})
    url = f"/users/{made['userPrincipalName']}"
    for sent, kept in ((False, False), (None, "absent"), (True, True)):
        assert (await graph.patch(url, json={flag: sent})).status_code == 204
        assert (await graph.get(url, params={"$select": flag})).json().get(flag, "absent") == kept
    row = tenant.audit_rows()[0]
    assert row["activityDisplayName"] == "Update user"
    (changed,) = row["targetResources"][0]["modifiedProperties"]
    assert (changed["displayName"], changed["oldValue"], changed["newValue"]) == (flag, None, "[true]")
    assert "expected type" in message(await graph.patch(url, json={flag: "false"}))


async def test_a_deleted_user_frees_the_name_and_can_come_back(
    graph: httpx.AsyncClient, tenant: RehearsalTenant
) -> None:
    first = await make(graph, tenant, "ada@woodgrove.example")
    assert (await graph.delete(f"/users/{first['id']}")).status_code == 204
    assert (await graph.get(f"/users/{first['id']}")).status_code == 404
    assert tenant.directory.user_by_sign_in_name("ada@woodgrove.example") is None
    second = await make(graph, tenant, "ada@woodgrove.example")
    refused = await graph.post(f"/directory/deletedItems/{first['id']}/restore")
    assert "already exists" in message(refused)

    await graph.delete(f"/users/{second['id']}")
    listed = (await graph.get("/directory/deletedItems/microsoft.graph.user")).json()["value"]
    assert {item["id"] for item in listed} == {first["id"], second["id"]}
    assert (await graph.post(f"/directory/deletedItems/{first['id']}/restore")).status_code == 200
    back = tenant.directory.user_by_sign_in_name("ada@woodgrove.example")
    assert back is not None
    assert (back.id, back.upn) == (first["id"], first["userPrincipalName"])
    assert (await graph.delete(f"/directory/deletedItems/{second['id']}")).status_code == 204


async def test_a_work_account_signs_in_by_its_principal_name(graph: httpx.AsyncClient, tenant: RehearsalTenant) -> None:
    body = {
        "accountEnabled": False,
        "displayName": "Admin",
        "mailNickname": "admin",
        "userPrincipalName": f"admin@{tenant.domain}",
        "passwordProfile": {"password": "Vq7-unguessable-Tz"},
    }
    made = await graph.post("/users", json=body)
    assert made.status_code == 201, made.text
    read = (
        await graph.get(f"/users/ADMIN@{tenant.domain}", params={"$select": "accountEnabled,passwordProfile"})
    ).json()
    assert read["accountEnabled"] is False
    assert read["passwordProfile"]["forceChangePasswordNextSignIn"] is True
    elsewhere = await graph.post("/users", json={**body, "userPrincipalName": "admin@woodgrove.example"})
    assert "verified domain names" in message(elsewhere)


async def test_a_failed_write_leaves_nothing_behind(
    graph: httpx.AsyncClient, tenant: RehearsalTenant, flag: str
) -> None:
    await make(graph, tenant, "ada@woodgrove.example")
    before = len(tenant.audit_rows())
    await graph.post("/users", json=person(tenant, "ada@woodgrove.example"))
    assert len(tenant.audit_rows()) == before
    with sqlite3.connect(tenant.path) as other:
        assert other.execute("SELECT count(*) FROM users").fetchone() == (1,)


async def test_a_user_has_100_extension_values_and_those_of_deleted_extensions_count(
    graph: httpx.AsyncClient, tenant: RehearsalTenant
) -> None:
    owner = (await graph.get("/applications")).json()["value"][0]["id"]
    path = f"/applications/{owner}/extensionProperties"
    names = []
    for number in range(99):  # the tenant comes with one
        body = {"name": f"a{number}", "dataType": "String", "targetObjects": ["User"]}
        names.append((await graph.post(path, json=body)).json())
    more = {"name": "more", "dataType": "String", "targetObjects": ["User"]}
    assert "limit of 100 extension properties" in message(await graph.post(path, json=more))

    built_in = (await graph.get(path)).json()["value"][0]["name"]
    user = person(tenant, "ada@x.example", **{each["name"]: "x" for each in names}, **{built_in: True})
    made = await graph.post("/users", json=user)
    assert made.status_code == 201, made.text
    await graph.delete(f"{path}/{names[0]['id']}")
    another = (await graph.post(path, json=more)).json()["name"]
    url = f"/users/{made.json()['id']}"
    assert message(await graph.patch(url, json={another: "x"})).startswith("403 Directory_QuotaExceeded")
    assert (await graph.patch(url, json={names[1]["name"]: None, another: "x"})).status_code == 204
    # Made again under its name, an extension has its values back.
    await graph.delete(f"{path}/{names[2]['id']}")
    again = {"name": "a0", "dataType": "String", "targetObjects": ["User"]}
    assert (await graph.post(path, json=again)).json()["name"] == names[0]["name"]
    assert (await graph.get(f"{url}?$select={names[0]['name']}")).json()[names[0]["name"]] == "x"


@pytest.mark.parametrize(("length", "status"), [(256, 204), (257, 400)])
async def test_an_extension_value_has_256_characters(
    graph: httpx.AsyncClient, tenant: RehearsalTenant, length: int, status: int
) -> None:
    owner = (await graph.get("/applications")).json()["value"][0]["id"]
    body = {"name": "note", "dataType": "String", "targetObjects": ["User"]}
    name = (await graph.post(f"/applications/{owner}/extensionProperties", json=body)).json()["name"]
    made = (await graph.post("/users", json=person(tenant, "ada@x.example"))).json()["id"]
    assert (await graph.patch(f"/users/{made}", json={name: "x" * length})).status_code == status


@pytest.mark.parametrize(
    "name",
    [
        "ann@contoso.example\u200b",
        "\ufeffann@contoso.example",
        "ann@con\u00adtoso.example",
        "\u200dann@contoso.example",
        "ann@contoso.example\x00",
        "ann@contoso.example;",
        '"ann"@contoso.example',
        "ann..b@contoso.example",
        ".ann@contoso.example",
        "ann@contoso..example",
        "ann @contoso.example",
        " ann@contoso.example",
        "mailto:ann@contoso.example",
        "<ann@contoso.example>",
        "ann@contoso",
        "ann@-contoso.example",
        f"{'a' * 65}@contoso.example",
        "",
    ],
)
async def test_an_address_that_cannot_be_is_no_sign_in_name(
    graph: httpx.AsyncClient, tenant: RehearsalTenant, name: str
) -> None:
    refused = message(await graph.post("/users", json=person(tenant, name, displayName="Ann")))
    assert refused.startswith("400 Request_BadRequest: One or more properties contains invalid values: identities")
    assert (await graph.get("/users")).json()["value"] == []


@pytest.mark.parametrize(
    "name", ["o'brien+shop@contoso.example", "a.b-c_d@shop.contoso.example", "1@2.example", "zoë@kafé.example"]
)
async def test_an_unusual_address_that_can_be_is_a_sign_in_name(
    graph: httpx.AsyncClient, tenant: RehearsalTenant, name: str
) -> None:
    assert (await graph.post("/users", json=person(tenant, name))).status_code == 201


@pytest.mark.parametrize(
    ("name", "status"),
    [("ada_l-1", 201), ("1ada", 201), ("_ada", 400), ("ada l", 400), ("ada.l", 400), ("adé", 400), ("a" * 65, 400)],
)
async def test_a_user_name_begins_with_a_letter_or_digit(
    graph: httpx.AsyncClient, tenant: RehearsalTenant, name: str, status: int
) -> None:
    body = person(tenant, "ada@x.example")
    body["identities"][0] |= {"signInType": "userName", "issuerAssignedId": name}
    assert (await graph.post("/users", json=body)).status_code == status

"""Users: who is accepted, what is shown, how they are found, counted, changed and deleted."""

from __future__ import annotations

import sqlite3
from typing import Any

import httpx
import pytest

from jitkit.rehearsal.tenant import RehearsalTenant

from .bodies import message, person

EVENTUAL = {"ConsistencyLevel": "eventual"}


async def make(graph: httpx.AsyncClient, tenant: RehearsalTenant, email: str, **more: Any) -> dict[str, Any]:
    made = await graph.post("/users", json=person(tenant, email, **more))
    assert made.status_code == 201, made.text
    found: dict[str, Any] = made.json()
    return found


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


async def test_a_flag_is_true_false_or_never_set(graph: httpx.AsyncClient, tenant: RehearsalTenant, flag: str) -> None:
    for email, value in (("a@x.example", True), ("b@x.example", True), ("c@x.example", False)):
        await make(graph, tenant, email, **{flag: value})
    await make(graph, tenant, "d@x.example")

    async def names(filter: str, **more: str) -> list[str]:
        answer = await graph.get("/users", params={"$filter": filter, **more}, headers=EVENTUAL if more else {})
        assert answer.status_code == 200, answer.text
        return [item["displayName"] for item in answer.json()["value"]]

    advanced = {"$count": "true"}
    assert await names(f"{flag} eq true") == ["A", "B"]
    assert await names(f"{flag} eq false") == ["C"]
    assert await names(f"{flag} eq null") == ["D"]
    assert await names(f"{flag} ne true", **advanced) == ["C", "D"]
    assert await names(f"not({flag} eq true)", **advanced) == ["C", "D"]
    assert await names(f"{flag} ne null", **advanced) == ["A", "B", "C"]
    assert await names(f"{flag} eq true and startswith(displayName,'b')") == ["B"]
    assert await names(f"({flag} eq false or {flag} eq null) and accountEnabled eq true") == ["C", "D"]

    shown = (await graph.get("/users", params={"$select": f"id,{flag}"})).json()["value"]
    assert [item.get(flag, "absent") for item in shown] == [True, True, False, "absent"]
    plain = (await graph.get("/users")).json()["value"]
    assert all(flag not in item for item in plain)
    beta = (await graph.get("https://graph.microsoft.com/beta/users")).json()["value"]
    assert [item.get(flag, "absent") for item in beta] == [True, True, False, "absent"]


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


@pytest.mark.parametrize(
    ("query", "headers", "said"),
    [
        ({"$filter": "{flag} ne true"}, {}, "Filter operator 'NotEqualsMatch' is not supported."),
        ({"$filter": "{flag} ne true"}, EVENTUAL, "Filter operator 'NotEqualsMatch' is not supported."),
        ({"$filter": "not({flag} eq true)"}, {}, "Operator 'not' is not supported because the required parameters"),
        ({"$filter": "endsWith(mail,'x.example')"}, {}, "Operator 'endsWith' is not supported"),
        ({"$filter": "extension_0123_gone eq true"}, {}, "does not exist as a declared property or extension property"),
        ({"$filter": "contains(displayName,'a')"}, {}, "'contains' is not supported"),
        ({"$filter": "{flag} eq 'true'"}, {}, "incompatible types"),
        ({"$filter": "{flag} eq"}, {}, "syntax error"),
        ({"$filter": "createdDateTime ge 2026-99-01"}, {}, "syntax error"),
        ({"$filter": "displayName gt null"}, {}, "syntax error"),
        ({"$orderby": "isMigrated"}, {}, "isMigrated"),
        ({"$filter": "isMigrated eq true"}, {}, "isMigrated"),
        ({"$filter": "identities/any(c:c/issuerAssignedId eq 'a@x.example')"}, {}, "issuer"),
        ({"$search": '"displayName:a"'}, {}, "ConsistencyLevel"),
        ({"$filter": "startswith(displayName,'a')", "$orderby": "displayName"}, {}, "Sorting not supported"),
        ({"$top": "1000"}, {}, "Must be between 1 and 999"),
        ({"$select": "isMigrated"}, {}, "isMigrated"),
        ({"$skiptoken": "nonsense"}, {}, "page token"),
    ],
)
async def test_a_query_the_service_does_not_support_is_refused(
    graph: httpx.AsyncClient, flag: str, query: dict[str, str], headers: dict[str, str], said: str
) -> None:
    params = {name: value.replace("{flag}", flag) for name, value in query.items()}
    answer = await graph.get("/users", params=params, headers=headers)
    assert answer.status_code == 400, answer.text
    assert said in message(answer)


async def test_counting_needs_the_header(graph: httpx.AsyncClient, tenant: RehearsalTenant, flag: str) -> None:
    await make(graph, tenant, "a@x.example", **{flag: True})
    await make(graph, tenant, "b@x.example")
    counted = await graph.get("/users/$count", params={"$filter": f"{flag} eq true"}, headers=EVENTUAL)
    assert (counted.text, counted.headers["content-type"].partition(";")[0]) == ("1", "text/plain")
    refused = message(await graph.get("/users/$count"))
    assert refused == "400 Request_BadRequest: $count is not currently supported."
    with_count = await graph.get("/users", params={"$count": "true", "$top": "1"}, headers=EVENTUAL)
    assert with_count.json()["@odata.count"] == 2
    assert "@odata.count" not in (await graph.get("/users", params={"$count": "true"})).json()


async def test_pages_lose_nobody_while_the_list_changes(
    graph: httpx.AsyncClient, tenant: RehearsalTenant, flag: str
) -> None:
    for number in range(7):
        await make(graph, tenant, f"u{number}@x.example", **{flag: True})
    url: str | None = f"/users?$filter={flag} eq true&$top=3&$select=id"
    seen: list[str] = []
    while url:
        page = (await graph.get(url)).json()
        for item in page["value"]:
            await graph.patch(f"/users/{item['id']}", json={flag: False})
        seen += [item["id"] for item in page["value"]]
        url = page.get("@odata.nextLink")
    assert len(set(seen)) == 7
    assert (await graph.get("/users", params={"$filter": f"{flag} eq true"})).json()["value"] == []


async def test_the_sdk_follows_pages(sdk: Any, graph: httpx.AsyncClient, tenant: RehearsalTenant) -> None:
    from kiota_abstractions.base_request_configuration import RequestConfiguration
    from msgraph.generated.users.users_request_builder import UsersRequestBuilder

    for number in range(5):
        await make(graph, tenant, f"u{number}@x.example")
    query = UsersRequestBuilder.UsersRequestBuilderGetQueryParameters(
        top=2, filter="accountEnabled eq true", orderby=["displayName desc"], count=True
    )
    configuration: Any = RequestConfiguration(query_parameters=query)
    configuration.headers.add("ConsistencyLevel", "eventual")
    page = await sdk.users.get(request_configuration=configuration)
    names = [user.display_name for user in page.value]
    while page.odata_next_link:
        following: Any = RequestConfiguration()
        following.headers.add("ConsistencyLevel", "eventual")
        page = await sdk.users.with_url(page.odata_next_link).get(request_configuration=following)
        names += [user.display_name for user in page.value]
    assert names == ["U4", "U3", "U2", "U1", "U0"]


async def test_users_are_found_by_identity_name_and_word(graph: httpx.AsyncClient, tenant: RehearsalTenant) -> None:
    await make(graph, tenant, "o'neil@x.example", displayName="Mary-Ann O'Neil")
    await make(graph, tenant, "b_c@x.example", displayName="B%C", mail="b_c@x.example")

    async def names(**query: str) -> list[str]:
        answer = await graph.get(
            "/users", params={f"${name}": value for name, value in query.items()}, headers=EVENTUAL
        )
        assert answer.status_code == 200, answer.text
        return [item["displayName"] for item in answer.json()["value"]]

    identity = "identities/any(c:c/issuerAssignedId eq 'O''Neil@x.example' and c/issuer eq 'any.example')"
    assert await names(filter=identity) == ["Mary-Ann O'Neil"]
    assert await names(filter="startswith(displayName,'B%')") == ["B%C"]
    assert await names(filter="startswith(displayName,'_')") == []
    assert await names(filter="mail in ('B_C@x.example', 'nobody@x.example')") == ["B%C"]
    assert await names(filter="displayName eq 'mary-ann o''neil'") == ["Mary-Ann O'Neil"]
    assert await names(search='"displayName:ann"') == ["Mary-Ann O'Neil"]
    assert await names(search='"displayName:zz" OR "mail:b_c"') == ["B%C"]
    assert await names(filter="createdDateTime ge 2020-01-01T00:00:00Z", count="true") == ["Mary-Ann O'Neil", "B%C"]
    assert await names(filter="createdDateTime ge 2999-01-01", count="true") == []


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

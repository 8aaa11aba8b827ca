"""Query options: what `$filter`, `$search`, `$orderby`, `$count` and paging find, and which are refused."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from jitkit.rehearsal.tenant import RehearsalTenant
from rehearsal.support import World

from .bodies import EXTENSIONS, created, extension, message, person

EVENTUAL = {"ConsistencyLevel": "eventual"}


async def make(graph: httpx.AsyncClient, tenant: RehearsalTenant, email: str, **more: Any) -> dict[str, Any]:
    return await created(graph, "/users", person(tenant, email, **more))


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


async def test_pages_lose_no_user_while_the_list_changes(
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


async def test_an_option_that_is_not_obeyed_is_not_passed_over(
    graph: httpx.AsyncClient, tenant: RehearsalTenant
) -> None:
    id = (await make(graph, tenant, "ada@x.example"))["id"]
    for path in ("/users", "/applications", "/auditLogs/directoryAudits"):
        said = message(await graph.get(path, params={"$skip": "1"}))
        assert said == "400 Request_BadRequest: '$skip' is not supported by the service."
    for path in ("/users", f"/users/{id}", "/identity/authenticationEventListeners"):
        assert (await graph.get(path, params={"$expand": "manager"})).status_code == 501
    assert (await graph.get("/users", params={"$format": "json", "$top": "1"})).status_code == 200


@pytest.mark.parametrize(
    ("condition", "words"),
    [
        ("createdDateTime ge '2026-01-01T00:00:00Z'", "'Edm.DateTimeOffset' and 'Edm.String'"),
        ("mail eq 5", "'Edm.String' and 'Edm.Int32'"),
        ("mail eq true", "'Edm.String' and 'Edm.Boolean'"),
    ],
)
async def test_a_value_of_another_type_is_refused_in_a_filter(
    graph: httpx.AsyncClient, condition: str, words: str
) -> None:
    assert words in message(await graph.get("/users", params={"$filter": condition}))


async def test_users_are_members_in_a_filter_as_they_are_shown(
    graph: httpx.AsyncClient, tenant: RehearsalTenant
) -> None:
    id = (await make(graph, tenant, "ada@x.example"))["id"]
    found = await graph.get("/users", params={"$filter": "userType eq 'Member'", "$select": "id,userType"})
    assert {"id": id, "userType": "Member"} in found.json()["value"]
    assert (await graph.get("/users", params={"$filter": "userType eq 'Guest'"})).json()["value"] == []


async def test_principals_are_counted(graph: httpx.AsyncClient) -> None:
    eventual = {"ConsistencyLevel": "eventual"}
    listed = (await graph.get("/servicePrincipals")).json()["value"]
    counted = await graph.get("/servicePrincipals/$count", headers=eventual)
    assert int(counted.text) == len(listed) > 0


async def test_a_query_writes_property_names_in_any_case(graph: httpx.AsyncClient, tenant: RehearsalTenant) -> None:
    for name in ("bea", "ada"):
        await graph.post("/users", json=person(tenant, f"{name}@x.example"))
    headers = {"ConsistencyLevel": "eventual"}
    query = "$select=DISPLAYNAME,Id&$orderby=displayname desc&$filter=accountenabled eq true&$count=true"
    found = (await graph.get(f"/users?{query}", headers=headers)).json()
    assert found["@odata.context"].endswith("#users(displayName,id)")
    assert [each["displayName"] for each in found["value"]] == ["Bea", "Ada"]
    assert set(found["value"][0]) == {"displayName", "id"}
    one = (await graph.get(f"/users/{found['value'][0]['id']}?$select=MAIL")).json()
    assert one["@odata.context"].endswith("#users(mail)/$entity")
    assert "mail" in one
    searched = await graph.get('/users?$search="displayname:ad"', headers=headers)
    assert [each["displayName"] for each in searched.json()["value"]] == ["Ada"]
    app = await graph.get("/applications?$select=keycredentials,APPID")
    assert set(app.json()["value"][0]) == {"keyCredentials", "appId"}


async def test_a_selected_property_without_a_value_is_null_or_empty(
    graph: httpx.AsyncClient, tenant: RehearsalTenant, flag: str
) -> None:
    id = (await graph.post("/users", json=person(tenant, "ada@x.example"))).json()["id"]
    found = (await graph.get(f"/users/{id}?$select=city,otherMails,assignedLicenses,{flag}")).json()
    del found["@odata.context"]
    assert found == {"city": None, "otherMails": [], "assignedLicenses": []}


@pytest.mark.parametrize(
    "query",
    [
        "/users?$filter=signInActivity/lastSignInDateTime ge 2026-01-01T00:00:00Z",
        "/users?$select=id,signinactivity",
        "/users?$filter=manager/id eq 'x'",
        "/users?$orderby=interests",
        "/applications?$filter=owners/$count eq 0&$count=true",
        "/servicePrincipals?$select=appRoleAssignedTo",
        "/auditLogs/signIns?$filter=originalRequestId eq 'x'",
        "/identity/authenticationEventListeners/microsoft.graph.onPasswordSubmitListener",
        "/users/microsoft.graph.user",
        "/identity/userFlowAttributes?$top=1",
    ],
)
async def test_what_the_tenant_cannot_know_is_not_simulated(graph: httpx.AsyncClient, query: str) -> None:
    answer = await graph.get(query, headers={"ConsistencyLevel": "eventual"})
    assert message(answer).startswith("501 NotImplemented: not simulated")


async def test_a_collection_is_counted_in_a_filter(graph: httpx.AsyncClient, tenant: RehearsalTenant) -> None:
    app = (await graph.post("/applications", json={"displayName": "A", "tags": ["one", "two"]})).json()
    headers = {"ConsistencyLevel": "eventual"}
    for filtered, names in (("tags/$count gt 1", ["A"]), ("assignedLicenses/$count eq 0", [])):
        kind = "/applications" if names else "/users"
        assert (await graph.get(f"{kind}?$filter={filtered}")).status_code == 400
        found = (await graph.get(f"{kind}?$filter={filtered}&$count=true", headers=headers)).json()
        assert [each["displayName"] for each in found["value"]] == names
    await graph.post("/users", json=person(tenant, "ada@x.example"))
    licensed = await graph.get("/users?$filter=assignedLicenses/$count eq 0&$count=true", headers=headers)
    assert [each["displayName"] for each in licensed.json()["value"]] == ["Ada"]
    assert app["tags"] == ["one", "two"]


@pytest.mark.parametrize("word", ["isof", "isOf"])
async def test_a_filter_asks_for_a_derived_type(graph: httpx.AsyncClient, word: str) -> None:
    types = ("onPasswordSubmitCustomExtension", "onTokenIssuanceStartCustomExtension")
    for name in types:
        body = extension(displayName=name) | {"@odata.type": f"#microsoft.graph.{name}"}
        await graph.post(EXTENSIONS, json=body)

    async def names(type: str, more: str = "") -> list[str]:
        found = await graph.get(f"{EXTENSIONS}?$filter={word}('microsoft.graph.{type}'){more}")
        return [each["displayName"] for each in found.json()["value"]]

    for name in types:
        assert await names(name) == [name]
    assert await names("customAuthenticationExtension") == list(types)
    assert await names(types[0], " and displayName eq 'other'") == []
    refused = await graph.get(f"{EXTENSIONS}?$filter={word}('microsoft.graph.onPasswordSubmit')")
    assert "could not be resolved" in message(refused)


async def test_what_every_row_of_the_log_says_can_be_filtered(graph: httpx.AsyncClient, world: World) -> None:
    world.add_user()
    await world.sign_in("wrong")
    log = "https://graph.microsoft.com/beta/auditLogs/signIns"
    for filtered, rows in (
        ("isInteractive eq true", 1),
        ("isInteractive eq false", 0),
        ("signInEventTypes/any(t: t eq 'interactiveUser')", 1),
        ("signInEventTypes/any(t: t eq 'nonInteractiveUser')", 0),
    ):
        assert len((await graph.get(f"{log}?$filter={filtered}")).json()["value"]) == rows

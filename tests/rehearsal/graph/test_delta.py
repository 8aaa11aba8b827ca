"""Delta queries: a first round, changes only after it, who is gone, what is tracked, and tokens that end."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from jitkit.rehearsal import switches
from jitkit.rehearsal.graph import user_delta
from jitkit.rehearsal.tenant import RehearsalTenant

from .bodies import message, person


async def make(graph: httpx.AsyncClient, tenant: RehearsalTenant, email: str, **more: Any) -> str:
    made = await graph.post("/users", json=person(tenant, email, **more))
    assert made.status_code == 201, made.text
    return str(made.json()["id"])


async def read(graph: httpx.AsyncClient, link: str, **headers: str) -> tuple[list[dict[str, Any]], str]:
    """Read one round to its end; return its items and the link for the next round."""
    items: list[dict[str, Any]] = []
    while True:
        answer = await graph.get(link, headers=headers)
        assert answer.status_code == 200, answer.text
        page = answer.json()
        items += page["value"]
        if "@odata.deltaLink" in page:
            return items, page["@odata.deltaLink"]
        link = page["@odata.nextLink"]


async def test_a_round_holds_what_changed_since_the_one_before(
    graph: httpx.AsyncClient, tenant: RehearsalTenant, flag: str
) -> None:
    ada = await make(graph, tenant, "ada@x.example", **{flag: True})
    ben = await make(graph, tenant, "ben@x.example", **{flag: True})
    items, link = await read(graph, f"/users/delta?$select=displayName,jobTitle,{flag}")
    assert items == [
        {"displayName": "Ada", flag: True, "id": ada},
        {"displayName": "Ben", flag: True, "id": ben},
    ]
    assert (await read(graph, link))[0] == []

    tenant.directory.set_user_value(ada, flag, False)
    await graph.patch(f"/users/{ben}", json={"city": "Delft"})
    eve = await make(graph, tenant, "eve@x.example")
    items, link = await read(graph, link)
    assert items == [{"displayName": "Ada", flag: False, "id": ada}, {"displayName": "Eve", "id": eve}]

    await graph.patch(f"/users/{ada}", json={flag: None})
    items, _ = await read(graph, link)
    assert items == [{"displayName": "Ada", flag: None, "id": ada}]


async def test_return_minimal_holds_the_changed_properties_alone(
    graph: httpx.AsyncClient, tenant: RehearsalTenant
) -> None:
    ada = await make(graph, tenant, "ada@x.example", givenName="Ada")
    _, link = await read(graph, "/users/delta")
    await graph.patch(f"/users/{ada}", json={"jobTitle": "Countess", "givenName": None})
    items, _ = await read(graph, link, Prefer="return=minimal")
    assert items == [{"jobTitle": "Countess", "givenName": None, "id": ada}]
    whole, _ = await read(graph, link)
    assert whole[0]["displayName"] == "Ada"


async def test_who_is_gone_is_told_as_removed(graph: httpx.AsyncClient, tenant: RehearsalTenant) -> None:
    before = await make(graph, tenant, "old@x.example")
    await graph.delete(f"/users/{before}")
    ada, ben = await make(graph, tenant, "ada@x.example"), await make(graph, tenant, "ben@x.example")
    items, link = await read(graph, "/users/delta?$select=displayName")
    assert [item["id"] for item in items] == [ada, ben]

    for id in (ada, ben):
        await graph.delete(f"/users/{id}")
    await graph.delete(f"/directory/deletedItems/{ben}")
    items, link = await read(graph, link)
    assert items == [
        {"id": ada, "@removed": {"reason": "changed"}},
        {"id": ben, "@removed": {"reason": "deleted"}},
    ]
    await graph.post(f"/directory/deletedItems/{ada}/restore")
    assert (await read(graph, link))[0] == [{"displayName": "Ada", "id": ada}]


async def test_a_sign_in_that_fails_is_no_change(graph: httpx.AsyncClient, tenant: RehearsalTenant) -> None:
    ada = await make(graph, tenant, "ada@x.example")
    _, link = await read(graph, "/users/delta")
    tenant.directory.update_user(ada, failed=3, locked_until=5.0)
    assert (await read(graph, link))[0] == []
    tenant.directory.update_user(ada, enabled=False)
    assert (await read(graph, link))[0] == []
    _, link = await read(graph, "/users/delta?$select=accountEnabled")
    tenant.directory.update_user(ada, enabled=True)
    assert (await read(graph, link))[0] == [{"accountEnabled": True, "id": ada}]


async def test_a_change_while_pages_are_read_comes_in_the_next_round(
    graph: httpx.AsyncClient, tenant: RehearsalTenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(user_delta, "_PAGE", 2)
    ids = [await make(graph, tenant, f"u{number}@x.example") for number in range(5)]
    first = (await graph.get("/users/delta?$select=displayName")).json()
    await graph.patch(f"/users/{ids[4]}", json={"displayName": "Late"})
    newcomer = await make(graph, tenant, "new@x.example")
    rest, link = await read(graph, first["@odata.nextLink"])
    assert [item["id"] for item in first["value"] + rest] == ids
    items, _ = await read(graph, link)
    assert [item["id"] for item in items] == [ids[4], newcomer]


async def test_latest_starts_from_now_and_a_filter_follows_few(
    graph: httpx.AsyncClient, tenant: RehearsalTenant
) -> None:
    ada, ben = await make(graph, tenant, "ada@x.example"), await make(graph, tenant, "ben@x.example")
    items, link = await read(graph, "/users/delta?$deltatoken=latest&$select=displayName")
    assert items == []
    only, few = await read(graph, f"/users/delta?$select=displayName&$filter=id eq '{ben}'")
    assert [item["id"] for item in only] == [ben]
    for id in (ada, ben):
        await graph.patch(f"/users/{id}", json={"displayName": "New"})
    assert {item["id"] for item in (await read(graph, link))[0]} == {ada, ben}
    assert [item["id"] for item in (await read(graph, few))[0]] == [ben]


async def test_a_token_lives_seven_days_of_the_tenant(graph: httpx.AsyncClient, tenant: RehearsalTenant) -> None:
    await make(graph, tenant, "ada@x.example")
    _, link = await read(graph, "/users/delta?$select=displayName")
    tenant.directory.clock.forward(6.9 * 86_400)
    token = (await tenant.credential().get_token()).token
    fresh = {"Authorization": f"Bearer {token}"}
    items, link = await read(graph, link, **fresh)
    assert items == []
    tenant.directory.clock.forward(7.1 * 86_400)
    fresh = {"Authorization": f"Bearer {(await tenant.credential().get_token()).token}"}
    gone = await graph.get(link, headers=fresh)
    assert message(gone).startswith("410 syncStateNotFound")
    items, _ = await read(graph, gone.headers["Location"], **fresh)
    assert [set(item) for item in items] == [{"displayName", "id"}]


async def test_a_reset_ends_every_token(graph: httpx.AsyncClient, tenant: RehearsalTenant) -> None:
    await make(graph, tenant, "ada@x.example")
    _, link = await read(graph, "/users/delta")
    tenant.reset()
    assert message(await graph.get(link)).startswith("410 syncStateNotFound")


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ({"$top": "5"}, "'$top' is not supported"),
        ({"$orderby": "displayName"}, "'$orderby' is not supported"),
        ({"$expand": "manager"}, "'$expand' is not supported"),
        ({"$search": '"displayName:a"'}, "'$search' is not supported"),
        ({"$filter": "displayName eq 'Ada'"}, "id eq"),
        ({"$filter": " or ".join(["id eq 'x'"] * 51)}, "At most 50"),
        ({"$select": "isMigrated"}, "isMigrated"),
        ({"$deltatoken": "nonsense"}, "Badly formed token."),
        ({"$skiptoken": "W10"}, "Badly formed token."),
    ],
)
async def test_what_delta_does_not_take_is_refused(graph: httpx.AsyncClient, query: dict[str, str], said: str) -> None:
    answer = await graph.get("/users/delta", params=query)
    assert message(answer).startswith("400 ")
    assert said in message(answer)


async def test_a_tenant_may_have_no_delta_queries(graph: httpx.AsyncClient, tenant: RehearsalTenant) -> None:
    switches.write(tenant.directory, "delta_queries", False)
    assert message(await graph.get("/users/delta")).startswith("400 Request_UnsupportedQuery")


async def test_the_sdk_reads_changes(sdk: Any, graph: httpx.AsyncClient, tenant: RehearsalTenant) -> None:
    ada = await make(graph, tenant, "ada@x.example")
    page = await sdk.users.delta.get()
    assert [user.id for user in page.value] == [ada]
    following = await sdk.users.delta.with_url(page.odata_delta_link).get()
    assert following.value == []
    assert (await graph.get("/applications/delta")).status_code == 501

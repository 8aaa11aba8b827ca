"""Batches: limits, dependencies, order, and inner answers."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from jitkit.rehearsal.tenant import RehearsalTenant

from .bodies import message, person

JSON = {"Content-Type": "application/json"}


async def send(graph: httpx.AsyncClient, *requests: dict[str, Any]) -> dict[str, dict[str, Any]]:
    answer = await graph.post("/$batch", json={"requests": list(requests)})
    assert answer.status_code == 200, answer.text
    return {item["id"]: item for item in answer.json()["responses"]}


async def test_a_batch_makes_users_and_answers_each_on_its_own(
    graph: httpx.AsyncClient, tenant: RehearsalTenant
) -> None:
    requests = [
        {"id": str(number), "method": "POST", "url": "/users", "headers": JSON, "body": person(tenant, email)}
        for number, email in enumerate(["a@x.example", "b@x.example", "A@x.example"])
    ]
    answer = await graph.post("/$batch", json={"requests": requests})
    inner = answer.json()["responses"]
    assert [item["id"] for item in inner] != ["0", "1", "2"]
    by_id = {item["id"]: item for item in inner}
    assert by_id["1"]["status"] == 201
    assert by_id["1"]["body"]["displayName"] == "B"
    assert sorted([by_id["0"]["status"], by_id["2"]["status"]]) == [201, 400]
    assert len({item["headers"]["request-id"] for item in inner}) == 3


async def test_mixed_requests_with_and_without_a_leading_slash(graph: httpx.AsyncClient) -> None:
    answers = await send(
        graph,
        {"id": "1", "method": "GET", "url": "/me/memberOf"},
        {
            "id": "2",
            "method": "GET",
            "url": "users?$select=id&$filter=city eq null&$count=true",
            "headers": {"ConsistencyLevel": "eventual"},
        },
        {"id": "3", "method": "GET", "url": "/users/$count", "headers": {"ConsistencyLevel": "eventual"}},
        {"id": "4", "method": "GET", "url": "/users/$count"},
        {"id": "5", "method": "POST", "url": "/users", "body": {"displayName": "A"}},
    )
    assert {id: item["status"] for id, item in answers.items()} == {"1": 501, "2": 200, "3": 200, "4": 400, "5": 400}
    assert answers["2"]["body"]["@odata.count"] == 0
    assert answers["3"]["body"] == 0
    assert "Content-Type" in answers["5"]["body"]["error"]["message"]


async def test_what_depends_on_a_failure_fails_too(graph: httpx.AsyncClient, tenant: RehearsalTenant) -> None:
    user = {"method": "POST", "url": "/users", "headers": JSON}
    answers = await send(
        graph,
        {"id": "good", **user, "body": person(tenant, "a@x.example")},
        {"id": "bad", "method": "GET", "url": "/users/nobody", "dependsOn": ["good"]},
        {"id": "late", **user, "body": person(tenant, "b@x.example"), "dependsOn": ["bad"]},
        {"id": "later", **user, "body": person(tenant, "c@x.example"), "dependsOn": ["late"]},
        {"id": "again", **user, "body": person(tenant, "a@x.example"), "dependsOn": ["good"]},
    )
    assert {id: item["status"] for id, item in answers.items()} == {
        "good": 201,
        "bad": 404,
        "late": 424,
        "later": 424,
        "again": 400,
    }


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"requests": [{"id": str(n), "method": "GET", "url": "/users"} for n in range(21)]}, "maximum value of 20"),
        ({"requests": [{"id": "1", "method": "GET", "url": "/users"}] * 2}, "duplicate ids"),
        ({"requests": [{"id": 1, "method": "GET", "url": "/users"}]}, "required strings"),
        ({"requests": []}, "Invalid batch payload format"),
        ({"requests": [{"id": "1", "method": "GET", "url": "/users", "dependsOn": ["2"]}]}, "earlier request"),
        ([], "Invalid batch payload format"),
    ],
)
async def test_a_malformed_batch_is_refused_as_a_whole(graph: httpx.AsyncClient, body: Any, said: str) -> None:
    answer = await graph.post("/$batch", json=body)
    assert answer.status_code == 400
    assert said in message(answer)

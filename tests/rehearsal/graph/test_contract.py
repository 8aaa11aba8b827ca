"""The examples of the Graph reference, replayed: each is a test named after it."""

from __future__ import annotations

import base64
import math
from typing import Any

import httpx
import pytest

from jitkit.rehearsal import identity
from jitkit.rehearsal.graph import dispatch
from jitkit.rehearsal.tenant import RehearsalTenant
from rehearsal.support import LEGACY, World

from . import examples
from .bodies import message
from .examples import EXAMPLES

ROOT = "https://graph.microsoft.com"

# What cannot be sent as it is printed, and why; each has a test of its own below, named after it.
OWN_TEST = {
    "batch-five-mixed": "asks for plans, and is sent by a user",
    "beta-signin-applied-listener-shape": "prints types, not values",
    "error-object": "prints a shape, not an exchange",
    "jit-callout-migrate-password": "goes to the endpoint, not to Graph",
    "jit-create-user-with-flag": "is incomplete as printed",
    "signin-get": "prints a collection where one row is asked for",
    "throttled-429-retry-after-10": "needs a limit that is used up",
    "user-get-me": "needs the token of a user",
    "user-get-schema-extension": "is about another mechanism than directory extensions",
    "user-list-search-or": "prints a malformed option",
}


def test_no_example_is_left_out() -> None:
    assert len(EXAMPLES) == 97
    assert [id for id in OWN_TEST if f"test_{id.replace('-', '_')}" not in globals()] == []


@pytest.mark.parametrize("id", sorted(EXAMPLES.keys() - OWN_TEST.keys()))
async def test_an_example_of_the_reference(
    graph: httpx.AsyncClient, tenant: RehearsalTenant, der: bytes, id: str
) -> None:
    example = EXAMPLES[id]
    url, body = examples.prepare(tenant, example, base64.b64encode(der).decode())
    wanted = {"consistencylevel", "prefer"}
    headers = {name: value for name, value in example["request"]["headers"].items() if name.lower() in wanted}
    answer = await graph.request(example["request"]["method"], url, json=body, headers=headers)
    printed = example["response"]
    assert answer.status_code == printed["status"], answer.text
    if printed["body"] is None:
        return
    found = examples.differences(printed["body"], answer.json())
    if example["request"]["method"] == "POST" and printed["status"] == 201:
        found += examples.echoed(body, answer.json())
    assert examples.without_slips(id, found) == []


async def test_batch_five_mixed(graph: httpx.AsyncClient, tenant: RehearsalTenant) -> None:
    """The plans and the stored passwords are not simulated and say so; all the rest is as printed."""
    example = EXAMPLES["batch-five-mixed"]
    examples.World(tenant).users("161ab652-cdbc-490d-82a4-0ada1f0db247")
    token = (await tenant.credential(roles=["User Administrator"]).get_token()).token
    beta = f"{ROOT}/beta/$batch"
    answer = await graph.post(beta, json=example["request"]["body"], headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == 200
    printed = {item["id"]: item for item in example["response"]["body"]["responses"]}
    found = {item["id"]: item for item in answer.json()["responses"]}
    assert {id: item["status"] for id, item in found.items()} == {"1": 200, "2": 501, "3": 403, "4": 501, "5": 200}
    printed["1"]["body"].pop("@odata.nextLink")  # the page's example goes on
    assert examples.differences(printed["1"]["body"], found["1"]["body"]) == []
    assert found["1"]["body"]["value"][0]["roleTemplateId"] == printed["1"]["body"]["value"][0]["roleTemplateId"]
    assert examples.differences(printed["3"]["body"], found["3"]["body"]) == []
    assert found["3"]["body"]["error"]["code"] == "Authorization_RequestDenied"
    assert examples.differences(printed["5"]["body"], found["5"]["body"]) == []
    assert found["5"]["headers"]["x-ms-resource-unit"] == printed["5"]["headers"]["x-ms-resource-unit"]


async def test_beta_signin_applied_listener_shape(graph: httpx.AsyncClient, world: World) -> None:
    world.add_user()
    assert (await world.sign_in(LEGACY)).outcome == "signed in"
    newer = {"Prefer": "include-unknown-enum-members"}
    url = f"{ROOT}/beta/auditLogs/signIns/{world.last_row()['id']}"
    (executed,) = (await graph.get(url, headers=newer)).json()["appliedEventListeners"]
    (shape,) = EXAMPLES["beta-signin-applied-listener-shape"]["response"]["body"]["appliedEventListeners"]
    assert _types(executed) == _types(shape, printed=True)
    assert executed["eventType"] == "passwordSubmit"
    (hidden,) = (await graph.get(url)).json()["appliedEventListeners"]
    assert hidden["eventType"] == "unknownFutureValue"
    listed = (await graph.get(f"{ROOT}/beta/auditLogs/signIns", headers=newer)).json()["value"]
    assert listed[0]["appliedEventListeners"] == [executed]


def _types(shown: dict[str, Any], *, printed: bool = False) -> dict[str, Any]:
    """Replace every value with the name of its type, as the page does."""
    kept: dict[str, Any] = {}
    for name, value in shown.items():
        if isinstance(value, dict):
            kept[name] = _types(value, printed=printed)
        elif name == "@odata.type":
            kept[name] = value
        else:
            kept[name] = (
                value.partition(" ")[0] if printed else {"str": "String", "int": "Integer"}[type(value).__name__]
            )
    return kept


async def test_error_object(graph: httpx.AsyncClient) -> None:
    """Any refusal has the members that the page shows."""
    printed = EXAMPLES["error-object"]["response"]["body"]
    for path in ("/users/nobody", "/users?$filter=nothing", "/devices", "/identity/authenticationEventListeners/x"):
        refused = await graph.get(path)
        assert refused.status_code >= 400
        assert refused.headers["content-type"].startswith("application/json")
        assert examples.differences(printed, refused.json()) == []


async def test_jit_callout_migrate_password(world: World) -> None:
    """The example's request is what a sign-in sends; its answer is what the endpoint of the other tests gives."""
    example = EXAMPLES["jit-callout-migrate-password"]
    user = world.add_user()
    printed = example["request"]["body"]
    for name in ("companyName", "givenName", "preferredLanguage", "surname"):
        world.directory.set_user_value(user.id, name, printed["data"]["authenticationContext"]["user"][name])
    envelope = (await world.tenant.compose_callout("ada@woodgrove.example", LEGACY)).body
    # No user of an external tenant is synchronised from Active Directory.
    found = examples.differences(printed, envelope)
    assert [line for line in found if "/onPremises" not in line] == []
    assert envelope["type"] == printed["type"]
    assert envelope["data"]["@odata.type"] == printed["data"]["@odata.type"]
    assert len(envelope["data"]["encryptedPasswordContext"].split(".")) == 5


async def test_jit_create_user_with_flag(graph: httpx.AsyncClient, tenant: RehearsalTenant, flag: str) -> None:
    """The page leaves out what the reference requires; with that added, the rest of it is taken as printed."""
    body = dict(EXAMPLES["jit-create-user-with-flag"]["request"]["body"])
    body[flag] = body.pop("{extension-property-id}")
    body["passwordProfile"] = {**body["passwordProfile"], "password": "xWwvJ]6NMw+bWH-d"}
    assert "displayName" in message(await graph.post("/users", json=body))
    local = {"signInType": "emailAddress", "issuer": tenant.domain, "issuerAssignedId": "ada@x.example"}
    made = await graph.post("/users", json={**body, "displayName": "Ada", "identities": [local]})
    assert made.status_code == 201
    found = await graph.get(f"/users/{made.json()['id']}", params={"$select": f"creationType,{flag}"})
    assert (found.json()["creationType"], found.json()[flag]) == ("LocalAccount", True)


async def test_signin_get(graph: httpx.AsyncClient, tenant: RehearsalTenant) -> None:
    example = EXAMPLES["signin-get"]
    (printed,) = example["response"]["body"]["value"]
    examples.prepare(tenant, example, "")
    answer = await graph.get(f"{ROOT}{example['request']['path']}")
    assert answer.status_code == 200
    assert examples.differences(printed, answer.json()) == []
    assert answer.json()["@odata.context"].endswith("#auditLogs/signIns/$entity")


async def test_throttled_429_retry_after_10(graph: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "_SIZES", ((math.inf, 20),))
    answers = [await graph.get("/users") for _ in range(30)]
    printed = EXAMPLES["throttled-429-retry-after-10"]["response"]
    refused = answers[-1]
    assert refused.status_code == printed["status"]
    assert int(refused.headers["Retry-After"]) > 0
    error, shown = refused.json()["error"], printed["body"]["error"]
    assert (error["code"], error["message"]) == (shown["code"], shown["message"])
    assert set(shown["innerError"]) <= set(error["innerError"])
    same = ("code", "message", "status")
    assert [error["innerError"][name] for name in same] == [shown["innerError"][name] for name in same]


async def test_user_get_me(graph: httpx.AsyncClient, tenant: RehearsalTenant) -> None:
    id = EXAMPLES["user-get-me"]["response"]["body"]["id"]
    examples.World(tenant).users(id)
    token = identity.issue_token(
        tenant.directory, audience=identity.GRAPH, client_app_id="app", scopes=["User.Read"], subject=id
    )
    answer = await graph.get("/me", headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == 200
    assert examples.differences(EXAMPLES["user-get-me"]["response"]["body"], answer.json()) == []
    assert answer.json()["id"] == id
    assert message(await graph.get("/me")) == (
        "400 BadRequest: /me request is only valid with delegated authentication flow."
    )


async def test_user_get_schema_extension(graph: httpx.AsyncClient, tenant: RehearsalTenant) -> None:
    """The tenant has no schema extensions, so that a name of one is a property that does not exist."""
    examples.World(tenant).users("4562bcc8-c436-4f95-b7c0-4f8ce89dca5e")
    answer = await graph.get(f"{ROOT}{EXAMPLES['user-get-schema-extension']['request']['path']}")
    assert message(answer).startswith(
        "400 BadRequest: Parsing OData Select and Expand failed: Could not find a property"
    )


async def test_user_list_search_or(graph: httpx.AsyncClient, tenant: RehearsalTenant) -> None:
    example = EXAMPLES["user-list-search-or"]
    repaired = example["request"]["path"].replace("$orderbydisplayName", "$orderby=displayName")
    world = examples.World(tenant)
    for name in ("Oscar Ward", "contosoAdmin1", "Adele Vance", "Kim Akers"):
        world.users(name.replace(" ", "-"), name, mail=f"{name[0]}@x.example")
    answer = await graph.get(f"{ROOT}{repaired}", headers=example["request"]["headers"])
    assert answer.status_code == 200
    assert examples.differences(example["response"]["body"], answer.json()) == []
    assert [item["displayName"] for item in answer.json()["value"]] == ["Adele Vance", "contosoAdmin1", "Oscar Ward"]
    assert answer.json()["@odata.count"] == 3

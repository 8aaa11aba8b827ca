"""Request bodies: odd ones are accepted or refused, and none breaks the tenant."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from jitkit.rehearsal.tenant import RehearsalTenant

from .bodies import created, extension, flow, listener, message, person

ODDITIES: list[Any] = [None, True, 0, 10**30, 1.5, "", "x", "\x00", [], [None], [{}], {}, [["a"]], {"@odata.type": 5}]
APPLICATION = {
    "displayName": "JIT",
    "api": {"requestedAccessTokenVersion": 2, "oauth2PermissionScopes": []},
    "web": {"redirectUris": ["https://jwt.ms"], "implicitGrantSettings": {"enableIdTokenIssuance": True}},
    "spa": {"redirectUris": []},
    "requiredResourceAccess": [{"resourceAppId": "x", "resourceAccess": []}],
    "keyCredentials": [{"type": "AsymmetricX509Cert", "usage": "Encrypt", "key": "AAAA"}],
    "tokenEncryptionKeyId": None,
}
APP = {"displayName": "Odd"}


def paths_in(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place inside a JSON value."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, inner in items:
        yield from paths_in(inner, (*path, name))


def broken(body: Any, chance: random.Random) -> Any:
    """A copy with an oddity in one place, or with that place taken out."""
    path = chance.choice(list(paths_in(body)))
    oddity = copy.deepcopy(chance.choice(ODDITIES))
    if not path:
        return oddity
    body = inner = copy.deepcopy(body)
    for name in path[:-1]:
        inner = inner[name]
    if chance.random() < 0.2:
        del inner[path[-1]]
    else:
        inner[path[-1]] = oddity
    return body


@pytest.mark.parametrize("seed", range(6))
async def test_a_broken_body_is_accepted_or_refused(
    graph: httpx.AsyncClient, tenant: RehearsalTenant, seed: int
) -> None:
    async def made(path: str, body: dict[str, Any]) -> str:
        answer = await graph.post(path, json=body)
        assert answer.status_code == 201, answer.text
        return f"{path}/{answer.json()['id']}"

    extensions, listeners = "/identity/customAuthenticationExtensions", "/identity/authenticationEventListeners"
    stored = await made(extensions, extension())
    listening = listener(stored.rpartition("/")[2])
    user, flowing = person(tenant, "ada@woodgrove.example"), flow()
    application = await made("/applications", {"displayName": "JIT"})
    owner = tenant.directory.all("application")[0]["id"]
    batch = {"requests": [{"id": "1", "method": "GET", "url": "/users", "headers": {"a": "b"}, "dependsOn": []}]}
    flag = {"name": "flag", "dataType": "Boolean", "targetObjects": ["User"]}
    targets = [
        ("PATCH", application, APPLICATION),
        ("POST", f"/applications/{owner}/extensionProperties", flag),
        ("PATCH", stored, extension()),
        ("PATCH", await made(listeners, listening), listening),
        ("PATCH", await made("/identity/authenticationEventsFlows", flowing), flowing),
        ("PATCH", await made("/users", user), user),
        ("POST", "/users", user),
        ("POST", "/$batch", batch),
    ]
    chance = random.Random(seed)
    for _ in range(60):
        method, path, body = chance.choice(targets)
        answer = await graph.request(method, path, json=broken(body, chance))
        assert answer.status_code in {200, 201, 204, 400, 409}, answer.text
    for _, path, _ in targets:
        if path != "/$batch":
            assert (await graph.get(path)).status_code == 200


async def test_a_reference_in_a_body_is_not_passed_over(graph: httpx.AsyncClient, tenant: RehearsalTenant) -> None:
    bound = {"owners@odata.bind": ["https://graph.microsoft.com/v1.0/users/x"]}
    said = message(await graph.post("/applications", json={"displayName": "JIT", **bound}))
    assert said == "501 NotImplemented: not simulated: owners@odata.bind"
    id = (await created(graph, "/users", person(tenant, "ada@x.example")))["id"]
    bound = {"manager@odata.bind": "https://graph.microsoft.com/v1.0/users/x"}
    assert (await graph.patch(f"/users/{id}", json=bound)).status_code == 501

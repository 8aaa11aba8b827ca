"""Every number of the documents' table of callout failures, from its own cause: one test a number, named after it.

Further causes of the same numbers are in test_callout.py.
"""

from __future__ import annotations

import base64
import json
import socket
from collections.abc import Callable
from typing import Any

import pytest
from starlette.responses import Response

from jitkit.explanations import CALLOUT_ERRORS
from jitkit.rehearsal.callout_messages import NEVER_FOR_PASSWORDS, RESPONSE_LIMIT
from rehearsal.support import (
    CALLER,
    GRAPH_APP_ID,
    HOST,
    LEGACY,
    Received,
    ScriptedEndpoint,
    World,
    answer,
    as_json,
)

Cause = Callable[[World, ScriptedEndpoint], None]


def disabled(world: World, app_id: str) -> None:
    found = world.directory.by_key("servicePrincipal", app_id) or world.principal(app_id, "made for this test")
    world.change("servicePrincipal", found, accountEnabled=False)


def deleted(world: World, app_id: str) -> None:
    found = world.directory.by_key("servicePrincipal", app_id) or world.principal(app_id, "made for this test")
    world.directory.discard("servicePrincipal", found["id"], recycle=True)


def target(url: str) -> Cause:
    def spoil(world: World, _: ScriptedEndpoint) -> None:
        world.change("customAuthenticationExtension", world.extension, endpointConfiguration={"targetUrl": url})

    return spoil


def resource(uri: str) -> Cause:
    def spoil(world: World, _: ScriptedEndpoint) -> None:
        named = {"resourceId": uri.format(app=world.extension_app["appId"])}
        world.change("customAuthenticationExtension", world.extension, authenticationConfiguration=named)

    return spoil


def answers(make: Callable[[Received], Response]) -> Cause:
    def spoil(_: World, endpoint: ScriptedEndpoint) -> None:
        endpoint.script = make

    return spoil


def changed(**members: Any) -> Cause:
    def make(got: Received) -> Response:
        body = answer("MigratePassword", got.claims["nonce"])
        body["data"] |= members
        return as_json(body)

    return answers(make)


def faulty(name: str) -> Cause:
    def spoil(world: World, _: ScriptedEndpoint) -> None:
        world.fault = world.tenant.faults.inject(name)  # type: ignore[attr-defined]
        world.fault.__enter__()  # type: ignore[attr-defined]

    return spoil


def nobody_listens(world: World, _: ScriptedEndpoint) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    world.tenant.publish(HOST, f"http://127.0.0.1:{port}")


def never_answers(world: World, endpoint: ScriptedEndpoint) -> None:
    listening = socket.create_server(("127.0.0.1", 0))
    world.kept_open = listening  # type: ignore[attr-defined]
    world.tenant.publish(HOST, f"http://127.0.0.1:{listening.getsockname()[1]}")
    world.patience(timeoutInMilliseconds=200, maximumRetries=0)


UNKNOWN = [{"@odata.type": "microsoft.graph.passwordSubmit.Allow"}]
CAUSES: dict[int, Cause] = {
    1003000: lambda world, _: world.change("application", world.extension_app, tokenEncryptionKeyId=None),
    1003001: faulty("service-error"),
    1003002: answers(lambda got: as_json({}, 401)),
    1003003: answers(lambda got: Response("{broken", media_type="application/json")),
    1003004: faulty("service-throttled"),
    1003005: never_answers,
    1003006: answers(lambda got: Response(json.dumps(answer("Retry", got.claims["nonce"])), media_type="text/html")),
    1003009: answers(lambda got: Response("", media_type="application/json")),
    1003010: changed(actions=[]),
    1003011: lambda w, _: w.directory.discard("customAuthenticationExtension", w.extension["id"], recycle=False),
    1003012: changed(actions=UNKNOWN),
    1003014: resource("api://{app}"),
    1003015: resource("api://other.example/{app}"),
    1003016: lambda world, _: deleted(world, world.extension_app["appId"]),
    1003017: lambda world, _: deleted(world, CALLER),
    1003018: lambda world, _: disabled(world, CALLER),
    1003019: lambda world, _: disabled(world, world.extension_app["appId"]),
    1003020: target(f"http://{HOST}/api"),
    1003021: lambda world, _: world.directory.discard("appRoleAssignment", world.consent["id"], recycle=False),
    1003022: lambda world, _: deleted(world, GRAPH_APP_ID),
    1003023: target("https://graph.microsoft.com/v1.0/me"),
    1003024: answers(lambda got: as_json("x" * (RESPONSE_LIMIT + 1))),
    1003027: nobody_listens,
}
# What would lead to these numbers in the events that they belong to.
CLAIMS: dict[int, dict[str, Any]] = {
    1003007: {"claims": None},
    1003008: {"apiSchemaVersion": "0.0.1"},
    1003025: {"claims": {"a": "x" * 4000}},
    1003026: {"claims": {"": "x"}},
}


def test_every_number_of_the_table_has_a_cause_or_a_reason_why_not() -> None:
    assert CAUSES.keys() | NEVER_FOR_PASSWORDS.keys() == CALLOUT_ERRORS.keys()
    assert not CAUSES.keys() & NEVER_FOR_PASSWORDS.keys()


@pytest.mark.parametrize("number", CAUSES, ids=lambda number: f"{number}-{CALLOUT_ERRORS[number]}")
async def test_cause(world: World, endpoint: ScriptedEndpoint, number: int) -> None:
    user = world.add_user()
    CAUSES[number](world, endpoint)
    done = await world.sign_in(LEGACY)
    assert (done.outcome, done.code, done.callout_error) == ("error", 1100001, number), done.steps
    assert "AADSTS1100001" in done.user_sees
    assert done.correlation_id in done.user_sees
    assert str(number) not in done.user_sees
    assert world.last_row()["status"]["errorCode"] == 1100001
    result = world.last_callout()
    assert (result["errorCode"], result["httpStatus"]) == (number, done.http_status or 0)
    assert result["numberOfAttempts"] == done.attempts
    assert done.attempts >= len(endpoint.received)
    assert any(str(number) in step.detail for step in done.steps)
    assert world.flag_of(user) is True
    assert base64.b64encode(LEGACY.encode()).decode() not in json.dumps(world.last_row())


@pytest.mark.parametrize("number", CLAIMS, ids=lambda number: f"{number}-{CALLOUT_ERRORS[number]}")
async def test_not_reachable_by_a_submitted_password(world: World, endpoint: ScriptedEndpoint, number: int) -> None:
    world.add_user()
    changed(**CLAIMS[number])(world, endpoint)
    done = await world.sign_in(LEGACY)
    assert (done.outcome, done.callout_error, done.path) == ("signed in", None, "callout")
    assert NEVER_FOR_PASSWORDS[number].endswith(".")


@pytest.mark.parametrize(("fault", "number"), [("handler-error", 1003000), ("service-error", 1003001)])
async def test_a_failure_of_the_service_itself_sends_nothing_until_it_is_over(
    world: World, endpoint: ScriptedEndpoint, fault: str, number: int
) -> None:
    world.add_user()
    with world.tenant.faults.inject(fault):
        assert (await world.sign_in(LEGACY)).callout_error == number
    assert not endpoint.received
    assert (await world.sign_in(LEGACY)).path == "callout"


@pytest.mark.parametrize(
    "host", ["login.microsoftonline.com", "graph.microsoft.com", "contoso.ciamlogin.com", "contoso.b2clogin.com"]
)
async def test_1003023_for_each_host_of_the_service_itself(world: World, endpoint: ScriptedEndpoint, host: str) -> None:
    world.add_user()
    target(f"https://{host}/api")(world, endpoint)
    assert (await world.sign_in(LEGACY)).callout_error == 1003023

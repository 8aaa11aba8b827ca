"""Graph through one transport: the real SDK, batches, pages, refusals, and what is shown of it all."""

from __future__ import annotations

import json
import re
import shutil
import tomllib
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from importlib.resources import files
from pathlib import Path
from typing import Any

import httpx
import pytest
from kiota_abstractions.api_error import APIError
from msgraph.generated.models.application import Application

from helpers.graph import PATIENCE, BatchItem, Graph, explained, outcome_unknown, recording, retry_after
from jitkit import protocol
from jitkit.errors import GraphRefused, KitError, PermissionMissing, Taken
from jitkit.explanations import refused
from jitkit.rehearsal.tenant import RehearsalTenant

Answer = Callable[[httpx.Request], httpx.Response]


class Scripted(httpx.AsyncBaseTransport):
    """A Graph that answers what a test says, and keeps what it was asked."""

    def __init__(self, *answers: Answer) -> None:
        self._answers = list(answers)
        self.seen: list[httpx.Request] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await request.aread()
        self.seen.append(request)
        return (self._answers.pop(0) if len(self._answers) > 1 else self._answers[0])(request)


class Token:
    """A credential whose token is easy to find."""

    async def get_token(self, *scopes: str, **options: Any) -> Any:
        from azure.core.credentials import AccessToken

        return AccessToken("CANARY-TOKEN", 2**31)

    async def close(self) -> None: ...


def says(status: int, body: Any = None, **headers: str) -> Answer:
    return lambda request: httpx.Response(status, json=body, headers=headers, request=request)


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Try again at once, and keep how long the wait would have been."""
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    monkeypatch.setattr("helpers.graph.asyncio.sleep", sleep)
    return waits


@pytest.fixture
async def tenant(set_up_home: Path, tmp_path: Path) -> AsyncIterator[RehearsalTenant]:
    shutil.copy(set_up_home / "rehearsal.sqlite3", tmp_path / "tenant.sqlite3")
    opened = RehearsalTenant.open(tmp_path / "tenant.sqlite3")
    yield opened
    opened.close()


@pytest.fixture
async def graph(tenant: RehearsalTenant) -> AsyncIterator[Graph]:
    made = Graph(tenant.credential(), tenant.transport())
    yield made
    await made.close()


async def test_the_sdk_and_plain_requests_meet_the_same_tenant(graph: Graph) -> None:
    made = await graph.client.applications.post(Application(display_name="By the SDK"))
    assert made is not None
    assert (await graph.send("GET", f"/applications/{made.id}"))["displayName"] == "By the SDK"
    assert await graph.send("DELETE", f"/applications/{made.id}") is None


async def test_pages_are_walked_to_the_last(graph: Graph) -> None:
    rows = [row["id"] async for row in graph.pages("/users?$select=id&$top=3")]
    assert len(rows) == len(set(rows)) == 10
    assert await graph.send("GET", "/users/$count", headers={"ConsistencyLevel": "eventual"}) in (10, "10")


async def test_a_batch_answers_in_the_order_asked(graph: Graph) -> None:
    good, bad = BatchItem("GET", "/organization"), BatchItem("GET", "/users/nobody@nowhere.example")
    first, second, third = await graph.batch([bad, good, bad])
    assert (first.status, second.status, third.status) == (404, 200, 404)
    assert first.code == "Request_ResourceNotFound" and first.message
    for size in (0, 21):
        with pytest.raises(ValueError, match="1 to 20"):
            await graph.batch([good] * size)


async def test_throttled_requests_are_sent_again(no_waiting: list[float]) -> None:
    busy = says(429, {"error": {"code": "TooManyRequests", "message": "slow"}}, **{"Retry-After": "0"})
    network = Scripted(busy, busy, says(200, {"value": []}))
    assert await Graph(Token(), network).send("GET", "/users") == {"value": []}
    assert len(network.seen) == 3
    stubborn = Scripted(busy)
    with pytest.raises(GraphRefused, match="Wait a few minutes"), explained("count the users"):
        await Graph(Token(), stubborn).send("GET", "/users")


@pytest.mark.parametrize(
    ("status", "body", "kind", "cause", "advice"),
    [
        (401, {"error": {"code": "Unauthenticated", "message": "old"}}, PermissionMissing, "", "Sign in again"),
        (403, {"error": {"code": "Denied", "message": "no"}}, PermissionMissing, "directory role", "Directory Readers"),
        (409, {"error": {"code": "x", "message": "conflict"}}, Taken, "", "another name"),
        (400, {"error": {"code": "x", "message": "a property already exists"}}, Taken, "", "another name"),
        (400, {"error": {"code": "BadRequest", "message": "bad"}}, GraphRefused, "", "Read what the service said"),
        (429, {"error": {"code": "x", "message": "slow"}}, GraphRefused, "limits how many", "Wait a few minutes"),
        (502, None, GraphRefused, "", "Read what the service said"),
        (503, {"error": {"code": "x", "message": "down"}}, GraphRefused, "busy", "Wait a few minutes"),
        (504, {"error": {"code": "x", "message": "late"}}, GraphRefused, "in time", "Wait a few minutes"),
        (400, ["no object"], GraphRefused, "", "Read what the service said"),
    ],
)  # fmt: skip
async def test_refusals_are_put_into_words_alike(
    status: int, body: Any, kind: type[KitError], cause: str, advice: str, no_waiting: list[float]
) -> None:
    network = Scripted(says(status, body, **{"request-id": "the-request"}))
    graph = Graph(Token(), network)
    with pytest.raises(kind) as caught, explained("try it"):
        await graph.send("GET", "/users")
    assert caught.value.happened.startswith("Could not try it: " if cause else "Could not try it.")
    assert cause in caught.value.happened
    assert advice in caught.value.next_step
    assert str(status) in str(caught.value) and "the-request" in str(caught.value)
    if body is not None and isinstance(body, dict):
        with pytest.raises(kind) as by_sdk, explained("try it"):
            await graph.client.users.get()
        assert str(by_sdk.value.next_step) == caught.value.next_step
        assert by_sdk.value.happened == caught.value.happened


# Call, code and message of a 403 -> what the explanation names, and what it must not advise.
DENIED = {
    "licence": (
        ("GET", "/auditLogs/signIns", "beta"),
        "Authentication_RequestFromNonPremiumTenantOrB2CTenant",
        "Neither tenant is B2C or tenant doesn't have premium license",
        ("no licence", "P1 or P2"),
        ("User Administrator", "Reports Reader"),
    ),
    "role for logs": (
        ("GET", "/auditLogs/signIns", "beta"),
        "Authentication_RequestFromUnsupportedUserRole",
        "User is not in the allowed roles",
        ("no role", "Reports Reader, Security Reader"),
        ("User Administrator", "licence"),
    ),
    "permission for logs": (
        ("GET", "/auditLogs/directoryAudits", "v1.0"),
        "Authentication_MSGraphPermissionMissing",
        "The principal does not have required Microsoft Graph permission(s): AuditLog.Read.All to call this API.",
        ("no permission or consent", "AuditLog.Read.All", "Azure CLI"),
        ("Reports Reader",),
    ),
    "scopes of a token": (
        ("GET", "/policies/authenticationMethodsPolicy", "v1.0"),
        "AccessDenied",
        "You cannot perform the requested operation, required scopes are missing in the token.",
        ("no permission or consent", "Policy.Read.All", "Azure CLI"),
        ("Authentication Policy Administrator",),
    ),
    "full tenant": (
        ("POST", "/users", "v1.0"),
        "Directory_QuotaExceeded",
        "The directory object quota limit for the Tenant has been exceeded.",
        ("as many directory objects", "s.check()"),
        ("User Administrator", "consent"),
    ),
    "full object": (
        ("POST", "/applications/1/extensionProperties", "v1.0"),
        "Directory_QuotaExceeded",
        "Unable to perform operation as '101' would exceed the maximum quota count '100' for extension properties.",
        ("as many values", "no longer used"),
        ("Application Administrator",),
    ),
    "Conditional Access": (
        ("GET", "/users", "v1.0"),
        "AccessDenied",
        "Access has been blocked by Conditional Access policies.",
        ("Conditional Access blocks", "which policy"),
        ("User Administrator",),
    ),
    "reading user flows": (
        ("GET", "/identity/authenticationEventsFlows", "v1.0"),
        "Authorization_RequestDenied",
        "Insufficient privileges to complete the operation.",
        ("External ID User Flow Administrator or External Identity Provider Administrator", "EventListener"),
        ("User Administrator,", "Application Administrator"),
    ),
    "a listener": (
        ("GET", "/identity/authenticationEventListeners", "v1.0"),
        "Authorization_RequestDenied",
        "Insufficient privileges to complete the operation.",
        ("Authentication Extensibility Password Administrator",),
        ("Reports Reader", "User Flow"),
    ),
    "consent for Graph": (
        ("POST", "/servicePrincipals/1/appRoleAssignedTo", "v1.0"),
        "Authorization_RequestDenied",
        "Insufficient privileges to complete the operation.",
        ("Privileged Role Administrator", "AppRoleAssignment.ReadWrite.All"),
        ("Application Administrator",),
    ),
    "deleting for good": (
        ("DELETE", "/directory/deletedItems/1", "v1.0"),
        "Authorization_RequestDenied",
        "Insufficient privileges to complete the operation.",
        ("User.DeleteRestore.All",),
        ("Application Administrator",),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", DENIED)
async def test_each_refusal_is_explained_by_its_own_cause(name: str) -> None:
    """M1: one piece of advice for every 403 sent people after roles that they had."""
    (method, path, version), code, message, named, not_named = DENIED[name]
    body = {"error": {"code": code, "message": message}}
    graph = Graph(Token(), Scripted(says(403, body)))
    with pytest.raises(GraphRefused) as caught, explained("try it"):
        await graph.send(method, path, version=version)
    text = f"{caught.value.happened} {caught.value.next_step}"
    assert [each for each in named if each not in text] == []
    assert [each for each in not_named if each in text] == []
    assert (code, caught.value.status) == (caught.value.code, 403)
    # Whether it may be read at all is another question than whether there is room left.
    assert isinstance(caught.value, PermissionMissing) is (code != "Directory_QuotaExceeded")


async def test_a_refusal_through_the_sdk_names_the_role_of_the_call_that_was_refused() -> None:
    denied = says(403, {"error": {"code": "Authorization_RequestDenied", "message": "no"}})
    graph = Graph(Token(), Scripted(says(200, {"value": []}), denied))
    with pytest.raises(PermissionMissing, match="External Identity Provider Administrator"), explained("try it"):
        await graph.client.users.get()
        await graph.client.identity.authentication_events_flows.get()


@pytest.mark.parametrize(
    "message",
    [
        "Continuous access evaluation resulted in challenge with result: InteractionRequired and code: "
        "LocationConditionEvaluationSatisfied",
        "Access was denied by Conditional Access",
    ],
)
async def test_a_session_that_conditional_access_ended_is_explained(message: str) -> None:
    body = {"error": {"code": "InvalidAuthenticationToken", "message": message}}
    with pytest.raises(PermissionMissing, match="Conditional Access") as caught, explained("try it"):
        await Graph(Token(), Scripted(says(401, body))).send("GET", "/users")
    assert "a network and a device" in caught.value.next_step


async def test_inspected_tls_is_explained_by_the_certificates_that_are_missing() -> None:
    def inspected(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("[SSL: CERTIFICATE_VERIFY_FAILED] self-signed certificate in chain", request=request)

    with pytest.raises(KitError, match="cannot be reached") as caught, explained("count the users"):
        await Graph(Token(), Scripted(inspected)).send("GET", "/users")
    assert "SSL_CERT_FILE" in caught.value.next_step and "REQUESTS_CA_BUNDLE" in caught.value.next_step


def test_every_entry_of_the_refusals_can_be_reached_and_filled_in() -> None:
    for each in DENIED.values():
        (method, path, _), code, message, *_ = each
        cause, advice = refused(403, code, message, f"{method} {path}")
        assert cause and advice and "{" not in advice
    for role in protocol.ROLES:
        assert role in refused(403, "Authorization_RequestDenied", "", "")[1]


@pytest.mark.parametrize(
    "call",
    [
        "GET /auditLogs/signIns",
        "GET /auditLogs/directoryAudits",
        "GET /identity/authenticationEventsFlows",
        "POST /identity/authenticationEventsFlows",
        "GET /identity/userFlowAttributes",
        "POST /identity/userFlowAttributes",
        "POST /identity/authenticationEventListeners",
        "PATCH /identity/customAuthenticationExtensions/1",
        "GET /policies/authenticationMethodsPolicy/authenticationMethodConfigurations/email",
        "PATCH /policies/authenticationMethodsPolicy/authenticationMethodConfigurations/email",
        "POST /oauth2PermissionGrants",
        "POST /applications",
        "POST /users",
    ],
)
def test_the_roles_that_a_refusal_names_open_the_door_in_the_rehearsal_tenant_too(call: str) -> None:
    """M1: the tables were written apart from each other, after the same pages of the reference."""
    method, path = call.split(" ")
    roles = tomllib.loads((files("jitkit.rehearsal.graph") / "roles.toml").read_text(encoding="utf-8"))
    entry = next(each for each in roles["needed"] if path.startswith(each["path"]))
    advice = refused(403, "Authorization_RequestDenied", "", call)[1].partition("The application")[0]
    named = {role for role in roles["template"] if re.search(rf"(roles?|,|or) {role}(,| or|\.)", advice)}
    assert named
    assert named <= set(entry["read" if method == "GET" else "write"])


async def test_the_sdk_is_as_patient_as_plain_requests(no_waiting: list[float]) -> None:
    for ask in (lambda graph: graph.send("GET", "/users"), lambda graph: graph.client.users.get()):
        network = Scripted(*[says(503)] * 5, says(200, {"value": []}))
        assert await ask(Graph(Token(), network)) is not None
        assert len(network.seen) == 6


async def test_no_network_is_told_as_such() -> None:
    def down(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("Name or service not known", request=request)

    graph = Graph(Token(), Scripted(down))
    with pytest.raises(KitError, match="cannot be reached") as caught, explained("count the users"):
        await graph.send("GET", "/users")
    assert "network" in caught.value.next_step
    with pytest.raises(KitError, match="cannot be reached"), explained("count the users"):
        await graph.client.users.get()


async def test_what_is_shown_holds_no_password_key_or_token(graph: Graph) -> None:
    body = {"passwordProfile": {"password": "CANARY-PASSWORD"}, "keyCredentials": [{"key": "Q0FOQVJZ" * 20}]}
    network = Scripted(says(200, {"secretText": "CANARY-SECRET"}))
    with recording() as sent:
        await Graph(Token(), network).send("POST", "/users", body=body)
    (shown,) = sent
    assert json.loads(network.seen[0].content) == body
    assert network.seen[0].headers["Authorization"] == "Bearer CANARY-TOKEN"
    assert "CANARY" not in str(shown) + repr(shown) and "Q0FOQVJZ" * 5 not in str(shown)
    assert (shown.method, shown.status) == ("POST", 200)


async def test_an_unexpected_error_shows_no_token_in_any_frame() -> None:
    def rubbish(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, headers={"Content-Type": "application/json"}, content=b"<html>", request=request)

    with pytest.raises(ValueError) as caught:
        await Graph(Token(), Scripted(rubbish)).send("GET", "/users")
    trace, seen = caught.tb, ""
    while trace is not None:
        seen += repr(trace.tb_frame.f_locals)
        trace = trace.tb_next  # type: ignore[assignment]
    assert "https://graph.microsoft.com" in seen
    assert "CANARY-TOKEN" not in seen


@pytest.mark.parametrize("status", [429, 503, 504])
async def test_what_fails_in_passing_inside_a_batch_is_sent_again(status: int) -> None:
    failed = {"id": "1", "status": status, "headers": {"Retry-After": "0"}, "body": {"error": {"code": "x"}}}
    first = says(200, {"responses": [{"id": "0", "status": 200, "body": {}}, failed]})
    network = Scripted(first, says(200, {"responses": [{"id": "1", "status": 200, "body": {}}]}))
    answers = await Graph(Token(), network).batch([BatchItem("GET", "/organization")] * 2)
    assert [each.status for each in answers] == [200, 200]
    assert len(network.seen) == 2


BUSY = {"error": {"code": "TooManyRequests", "message": "slow"}}
IN_AN_HOUR = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7.0), ("2.128", 2.128), ("30,120", 120.0), ("120, 30", 120.0), ("0", 0.0), ("-5", 0.0), (" 3 ", 3.0),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0), pytest.param(IN_AN_HOUR, 600.0, id="in an hour"),
        ("999999", 600.0), ("inf", 600.0),
        ("", None), ("soon", None), ("1;2", None), (None, None),
    ],
)  # fmt: skip
def test_each_form_of_retry_after_is_read(header: str | None, seconds: float | None) -> None:
    """B4: whole, decimal, two numbers, an HTTP date; no wait is longer than ten minutes."""
    assert retry_after({} if header is None else {"retry-after": header}) == seconds


async def test_a_date_to_wait_for_is_waited_for(no_waiting: list[float]) -> None:
    """B4: an HTTP date of Retry-After."""
    moment = format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True)
    network = Scripted(says(503, BUSY, **{"Retry-After": moment}), says(200, {"value": []}))
    await Graph(Token(), network).send("GET", "/users")
    assert 60 < no_waiting[0] <= 90


@pytest.mark.parametrize("headers", [{}, {"Retry-After": "rubbish"}, {"Retry-After": "10"}])
@pytest.mark.parametrize("ask", ["send", "sdk", "batch"])
async def test_a_service_that_stays_busy_is_waited_for_longer_than_its_write_window(
    ask: str, headers: dict[str, str], no_waiting: list[float]
) -> None:
    """B4: the writes of an application are counted over 150 seconds."""
    busy = {"id": "0", "status": 429, "headers": headers, "body": BUSY}
    network = Scripted(says(200, {"responses": [busy]}) if ask == "batch" else says(429, BUSY, **headers))
    graph = Graph(Token(), network)
    if ask == "batch":
        (answer,) = await graph.batch([BatchItem("POST", "/users", {})])
        assert answer.status == 429 and answer.pressed
    else:
        with pytest.raises(GraphRefused), explained("try it"):
            await (graph.send("GET", "/users") if ask == "send" else graph.client.users.get())
    assert 150 < sum(no_waiting) < 2 * PATIENCE


@pytest.mark.parametrize("status", [500, 502])
async def test_a_read_that_fails_at_the_service_is_sent_again_a_few_times(status: int, no_waiting: list[float]) -> None:
    """B4: 500 and 502 are repeated for GET."""
    network = Scripted(says(status), says(status), says(200, {"value": []}))
    assert await Graph(Token(), network).send("GET", "/users") == {"value": []}
    stubborn = Scripted(says(status))
    with pytest.raises(httpx.HTTPStatusError):
        await Graph(Token(), stubborn).send("GET", "/users")
    assert len(stubborn.seen) == 5


def breaks(error: httpx.TransportError) -> Answer:
    def answer(request: httpx.Request) -> httpx.Response:
        raise error

    return answer


BREAKS = [
    httpx.RemoteProtocolError("<ConnectionTerminated error_code:0>"),
    httpx.RemoteProtocolError("Server disconnected without sending a response."),
    httpx.ReadError("[Errno 104] Connection reset by peer"),
    httpx.WriteError("[Errno 32] Broken pipe"),
    httpx.ReadTimeout(""),
]


@pytest.mark.parametrize("error", BREAKS, ids=repr)
async def test_a_dropped_connection_ends_nothing_that_can_be_repeated(
    error: httpx.TransportError, no_waiting: list[float]
) -> None:
    """Case 9 of the public ones: the service ends connections now and then."""
    for method in ("GET", "PATCH", "DELETE"):
        network = Scripted(breaks(error), breaks(error), says(200, {"value": []}))
        assert await Graph(Token(), network).send(method, "/users/1") == {"value": []}
    network = Scripted(breaks(error), says(200, {"value": []}))
    assert await Graph(Token(), network).client.users.get() is not None
    for_ever = Scripted(breaks(error))
    with pytest.raises(KitError, match="cannot be reached"), explained("count the users"):
        await Graph(Token(), for_ever).send("GET", "/users")
    assert len(for_ever.seen) == 5


@pytest.mark.parametrize("lost", [says(500), says(502), says(503), says(504), *map(breaks, BREAKS)])
@pytest.mark.parametrize("ask", ["send", "sdk", "batch"])
async def test_what_may_have_been_made_is_not_made_again(lost: Answer, ask: str, no_waiting: list[float]) -> None:
    """H10: a POST whose outcome is unknown goes back to its caller, who can look the object up."""
    network = Scripted(lost, says(201, {"id": "1"}))
    graph = Graph(Token(), network)
    if ask == "batch":
        (answer,) = await graph.batch([BatchItem("POST", "/users", {})])
        assert answer.outcome_unknown
    else:
        with pytest.raises((httpx.HTTPError, APIError)) as caught:
            if ask == "send":
                await graph.send("POST", "/applications", body={})
            else:
                await graph.client.applications.post(Application(display_name="Once"))
        assert outcome_unknown(caught.value)
    assert len(network.seen) == 1


async def test_a_post_that_was_refused_for_the_moment_is_made_again(no_waiting: list[float]) -> None:
    network = Scripted(says(429, BUSY, **{"Retry-After": "1"}), says(201, {"id": "1"}))
    assert await Graph(Token(), network).send("POST", "/applications", body={}) == {"id": "1"}
    assert not outcome_unknown(httpx.ConnectError("no route"))


async def test_an_object_that_is_gone_after_a_lost_answer_was_deleted(no_waiting: list[float]) -> None:
    gone = says(404, {"error": {"code": "Request_ResourceNotFound", "message": "gone"}})
    assert await Graph(Token(), Scripted(says(504), gone)).send("DELETE", "/users/1") is None
    with pytest.raises(httpx.HTTPStatusError):
        await Graph(Token(), Scripted(gone)).send("DELETE", "/users/1")


async def test_of_a_batch_whose_answer_is_lost_only_what_creates_stays_open(no_waiting: list[float]) -> None:
    rest = [{"id": "1", "status": 204}, {"id": "2", "status": 404, "body": {}}]
    network = Scripted(breaks(BREAKS[0]), says(200, {"responses": rest}))
    items = [BatchItem("POST", "/users", {}), BatchItem("PATCH", "/users/1", {}), BatchItem("DELETE", "/users/2")]
    answers = await Graph(Token(), network).batch(items)
    assert [each.status for each in answers] == [504, 204, 404]
    assert [each["method"] for each in json.loads(network.seen[1].content)["requests"]] == ["PATCH", "DELETE"]

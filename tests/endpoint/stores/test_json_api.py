"""The JSON API's contract, row by row, against a real server."""

from __future__ import annotations

import base64
import json

import pytest

from jitkit.endpoint.stores import Verdict

from .. import entra
from ..conftest import Opener
from .conftest import Opens
from .stub import Stub

ANN = "ann@contoso.example"


async def test_what_is_asked(stub: Stub, opens: Opens) -> None:
    stub.say(200, {"result": "wrong"})
    assert await opens(f"http://{stub.host}/v1/check%20it").verify(
        " A\u0308nn@Contoso.example\r\n", ' "s3cr\u00e9t" '
    ) is (Verdict.WRONG)
    (asked,) = stub.asked
    assert asked.path == "/v1/check%20it"
    assert asked.headers["content-type"] == asked.headers["accept"] == "application/json"
    assert "authorization" not in asked.headers
    assert json.loads(asked.body) == {"username": "\u00c4nn@Contoso.example", "password": ' "s3cr\u00e9t" '}


@pytest.mark.parametrize(
    ("credentials", "header"),
    [
        (":k%2Fey+1@", "Bearer k/ey+1"),
        ("ann%40x:p%3As%C3%A9@", "Basic " + base64.b64encode("ann@x:p:s\u00e9".encode()).decode()),
    ],
)
async def test_the_endpoint_says_who_it_is(credentials: str, header: str, stub: Stub, opens: Opens) -> None:
    stub.say(200, {"result": "right", "username": ANN})
    assert await opens(f"http://{credentials}{stub.host}/").verify(ANN, "s3cret") is Verdict.RIGHT
    assert stub.asked[0].headers["authorization"] == header


RESULTS: list[tuple[object, Verdict]] = [
    ({"result": "right", "username": ANN}, Verdict.RIGHT),
    ({"result": "right", "username": " ANN@contoso.example "}, Verdict.RIGHT),
    ({"result": "right_must_change", "username": ANN, "more": 1}, Verdict.RIGHT_MUST_CHANGE),
    ({"result": "mfa", "username": ANN}, Verdict.MFA),
    ({"result": "wrong"}, Verdict.WRONG),
    ({"result": "wrong", "username": ANN}, Verdict.WRONG),
    ({"result": "unknown_user"}, Verdict.UNKNOWN_USER),
    ({"result": "locked"}, Verdict.LOCKED),
    ({"result": "disabled"}, Verdict.DISABLED),
    ({"result": "no_password"}, Verdict.NO_PASSWORD),
    ({"result": "ambiguous"}, Verdict.AMBIGUOUS),
    ({"result": "right"}, Verdict.MALFORMED),
    ({"result": "mfa"}, Verdict.MALFORMED),
    ({"result": "right_must_change", "username": None}, Verdict.MALFORMED),
    ({"result": "right", "username": "bob@contoso.example"}, Verdict.MALFORMED),
    ({"result": "right", "username": [ANN]}, Verdict.MALFORMED),
    ({"result": "wrong", "username": "bob@contoso.example"}, Verdict.MALFORMED),
    ({"result": "RIGHT", "username": ANN}, Verdict.MALFORMED),
    ({"result": True, "username": ANN}, Verdict.MALFORMED),
    ({"result": ["right"], "username": ANN}, Verdict.MALFORMED),
    ({"result": "down"}, Verdict.MALFORMED),
    ({"result": "throttled"}, Verdict.MALFORMED),
    ({"username": ANN}, Verdict.MALFORMED),
    ({}, Verdict.MALFORMED),
    ({"valid": True}, Verdict.MALFORMED),
    ({"error": "wrong"}, Verdict.MALFORMED),
]


async def test_what_an_answer_means(stub: Stub, opens: Opens) -> None:
    store = opens(f"http://{stub.host}/")
    for body, verdict in RESULTS:
        stub.say(200, body)
        assert await store.verify(ANN, "s3cret") is verdict, body


@pytest.mark.parametrize("result", ["right", "wrong", "locked"])
async def test_an_answer_about_another_directory_account_migrates_nobody_and_is_an_alarm(
    result: str, stub: Stub, opens: Opens, open_endpoint: Opener, caplog: pytest.LogCaptureFixture
) -> None:
    endpoint = await open_endpoint(opens(f"http://{stub.host}/"))
    for known in (entra.USER.upper(), None, "", entra.CLIENT):
        stub.say(200, {"result": result, "username": ANN, "entra_user_id": known})
        answer = await endpoint.post()
    assert answer.json()["data"]["actions"][0]["@odata.type"] == "microsoft.graph.passwordSubmit.Block"
    causes = [line["cause"] for line in endpoint.lines()]
    assert causes[0] == result
    assert causes[3] == "other_user"
    assert "other_user" not in causes[:3]
    assert "other_user: 1" in caplog.text


@pytest.mark.parametrize(
    ("status", "verdict"),
    [(429, Verdict.THROTTLED), (400, Verdict.DOWN), (401, Verdict.DOWN), (403, Verdict.DOWN), (503, Verdict.DOWN)],
)
async def test_only_200_judges_a_password(status: int, verdict: Verdict, stub: Stub, opens: Opens) -> None:
    store = opens(f"http://{stub.host}/")
    for body in ({"result": "right", "username": ANN}, {"result": "wrong"}):
        stub.say(status, body, retry_after="30")
        assert await store.verify(ANN, "s3cret") is verdict
    stub.say(status, b"slow down", content_type="text/plain")
    assert await store.verify(ANN, "s3cret") is verdict


async def test_the_whole_way_from_the_callout_to_the_store(stub: Stub, opens: Opens, open_endpoint: Opener) -> None:
    endpoint = await open_endpoint(opens(f"http://{stub.host}/"), JIT_DEADLINE_MS="500")
    said = []
    for body in ({"result": "right", "username": ANN}, {"result": "wrong"}, b"<html>"):
        stub.say(200, body)
        said.append((await endpoint.post()).json()["data"]["actions"][0]["@odata.type"].rpartition(".")[2])
    stub.sleep(30)
    said.append((await endpoint.post()).json()["data"]["actions"][0]["@odata.type"].rpartition(".")[2])
    assert said == ["MigratePassword", "Retry", "Block", "Block"]
    assert [line["legacy"] for line in endpoint.lines()] == ["rest"] * 4
    await stub.hung_up(1)

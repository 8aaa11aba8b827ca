"""The Cognito store: its wiring against moto's server, its verdicts against the real service's answers by hand."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import logging
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from jitkit.endpoint.stores import LegacyStore, Verdict, open_store
from jitkit.errors import SettingsError

from ..entra import CANARY
from .conftest import Opens
from .stub import Stub

boto3 = pytest.importorskip("boto3", reason="the extra cognito is not installed")
moto_server = pytest.importorskip("moto.server", reason="moto's server is not installed")

V = Verdict
ANN = "ann@contoso.example"
ENDPOINT = "AWS_ENDPOINT_URL_COGNITO_IDENTITY_PROVIDER"
POOL = "cognito://eu-west-1/eu-west-1_Abc123?client_id=c1"


@dataclass
class Cognito:
    """moto, a user pool in it and two app clients."""

    url: str
    admin: Any
    pool: str
    client: str
    with_secret: str
    secret: str

    def user(self, name: str, password: str = "S3cret!pass", permanent: bool = True) -> None:
        self.admin.admin_create_user(UserPoolId=self.pool, Username=name, MessageAction="SUPPRESS")
        self.admin.admin_set_user_password(UserPoolId=self.pool, Username=name, Password=password, Permanent=permanent)


@pytest.fixture(scope="module")
def cognito() -> Iterator[Cognito]:
    server = moto_server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    admin = boto3.client(
        "cognito-idp",
        region_name="eu-west-1",
        endpoint_url=url,
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )
    pool = admin.create_user_pool(PoolName="legacy")["UserPool"]["Id"]

    def client(**options: Any) -> dict[str, str]:
        made: dict[str, str] = admin.create_user_pool_client(
            UserPoolId=pool, ClientName="jit", ExplicitAuthFlows=["ALLOW_USER_PASSWORD_AUTH"], **options
        )["UserPoolClient"]
        return made

    plain, secret = client(), client(GenerateSecret=True)
    yield Cognito(url, admin, pool, plain["ClientId"], secret["ClientId"], secret["ClientSecret"])
    server.stop()


@pytest.fixture
def pool(cognito: Cognito, opens: Opens, monkeypatch: pytest.MonkeyPatch) -> LegacyStore:
    monkeypatch.setenv(ENDPOINT, cognito.url)
    return opens(f"cognito://eu-west-1/{cognito.pool}?client_id={cognito.client}")


async def test_users_of_a_pool(cognito: Cognito, pool: LegacyStore) -> None:
    assert pool.kind == "cognito"
    cognito.user(ANN)
    cognito.user("new@contoso.example", permanent=False)
    cognito.user("off@contoso.example")
    cognito.admin.admin_disable_user(UserPoolId=cognito.pool, Username="off@contoso.example")
    assert await pool.verify(f" {ANN}\n", "S3cret!pass") is V.RIGHT
    assert await pool.verify(ANN, "wrong") is V.WRONG
    assert await pool.verify("bob@contoso.example", "S3cret!pass") is V.UNKNOWN_USER
    assert await pool.verify("new@contoso.example", "S3cret!pass") is V.RIGHT_MUST_CHANGE
    assert await pool.verify("new@contoso.example", "wrong") is V.WRONG
    assert await pool.verify("off@contoso.example", "S3cret!pass") is V.DISABLED


async def test_a_second_factor(cognito: Cognito, pool: LegacyStore) -> None:
    cognito.user("totp@contoso.example")
    login = {"USERNAME": "totp@contoso.example", "PASSWORD": "S3cret!pass"}
    signed_in = cognito.admin.initiate_auth(
        AuthFlow="USER_PASSWORD_AUTH", ClientId=cognito.client, AuthParameters=login
    )["AuthenticationResult"]
    cognito.admin.associate_software_token(AccessToken=signed_in["AccessToken"])
    cognito.admin.verify_software_token(AccessToken=signed_in["AccessToken"], UserCode="123456")
    cognito.admin.admin_set_user_mfa_preference(
        UserPoolId=cognito.pool,
        Username="totp@contoso.example",
        SoftwareTokenMfaSettings={"Enabled": True, "PreferredMfa": True},
    )
    assert await pool.verify("totp@contoso.example", "S3cret!pass") is V.MFA
    assert await pool.verify("totp@contoso.example", "wrong") is V.WRONG


async def test_a_user_who_never_confirmed(cognito: Cognito, pool: LegacyStore) -> None:
    cognito.admin.sign_up(ClientId=cognito.client, Username="half@contoso.example", Password="S3cret!pass")
    assert await pool.verify("half@contoso.example", "S3cret!pass") is V.DISABLED
    assert await pool.verify("half@contoso.example", "wrong") is V.WRONG


async def test_a_client_that_does_not_exist_is_no_wrong_password(
    cognito: Cognito, opens: Opens, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ENDPOINT, cognito.url)
    store = opens(f"cognito://eu-west-1/{cognito.pool}?client_id=nobody")
    assert await store.verify(ANN, "S3cret!pass") is V.DOWN


async def test_a_client_with_a_secret(cognito: Cognito, opens: Opens, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENDPOINT, cognito.url)
    store = opens(f"cognito://:{cognito.secret}@eu-west-1/{cognito.pool}?client_id={cognito.with_secret}")
    cognito.user("secret@contoso.example")
    assert await store.verify("secret@contoso.example", "S3cret!pass") is V.RIGHT


@pytest.fixture
def service(stub: Stub, monkeypatch: pytest.MonkeyPatch) -> Stub:
    """A server that the store takes for Cognito."""
    monkeypatch.setenv(ENDPOINT, f"http://{stub.host}")
    return stub


async def test_what_is_asked(service: Stub, opens: Opens, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unsigned, in the service's own words, with the client's proof over the name as it is sent."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDNOBODY")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "nobody")
    service.say(200, {"AuthenticationResult": {"AccessToken": "t"}})
    store = opens("cognito://:s%2Fe@eu-west-1/eu-west-1_Abc123?client_id=c1")
    assert await store.verify(" Ann@Contoso.example ", " p\u00e4ss ") is V.RIGHT
    (asked,) = service.asked
    assert asked.headers["x-amz-target"] == "AWSCognitoIdentityProviderService.InitiateAuth"
    assert "authorization" not in asked.headers
    proof = hmac.new(b"s/e", b"Ann@Contoso.examplec1", hashlib.sha256).digest()
    assert json.loads(asked.body) == {
        "AuthFlow": "USER_PASSWORD_AUTH",
        "ClientId": "c1",
        "AuthParameters": {
            "USERNAME": "Ann@Contoso.example",
            "PASSWORD": " p\u00e4ss ",
            "SECRET_HASH": base64.b64encode(proof).decode(),
        },
    }


def refused(kind: str, message: str = "") -> dict[str, str]:
    return {"__type": kind, "message": message}


NOT = "NotAuthorizedException"
ROWS: list[tuple[int, Any, Verdict]] = [
    (200, {"AuthenticationResult": {"AccessToken": "t", "ExpiresIn": 3600}, "ChallengeParameters": {}}, V.RIGHT),
    (200, {"AuthenticationResult": {}}, V.MALFORMED),
    (200, {"AuthenticationResult": {"IdToken": "t"}}, V.MALFORMED),
    (200, {}, V.MALFORMED),
    (200, {"ChallengeName": "NEW_PASSWORD_REQUIRED", "Session": "s"}, V.RIGHT_MUST_CHANGE),
    *(
        (200, {"ChallengeName": name, "Session": "s"}, V.MFA)
        for name in ("SMS_MFA", "SOFTWARE_TOKEN_MFA", "EMAIL_OTP", "SELECT_MFA_TYPE", "MFA_SETUP")
    ),
    *(
        (200, {"ChallengeName": name, "Session": "s"}, V.MALFORMED)
        for name in ("CUSTOM_CHALLENGE", "DEVICE_SRP_AUTH", "PASSWORD_VERIFIER", "SELECT_CHALLENGE", "NEW_ONE")
    ),
    (400, refused(NOT, "Incorrect username or password."), V.WRONG),
    (400, refused(NOT, "User is disabled."), V.DISABLED),
    (400, refused(NOT, "Password attempts exceeded"), V.LOCKED),
    (400, refused(NOT, "Temporary password has expired and must be reset by an administrator."), V.DISABLED),
    (400, refused(NOT, "User account has expired, it must be reset by an administrator."), V.DISABLED),
    (400, refused(NOT, "Unable to verify secret hash for client c1"), V.DOWN),
    (400, refused(NOT, "Client c1 is configured with secret but SECRET_HASH was not received"), V.DOWN),
    (400, refused(NOT, "Words that are new"), V.WRONG),
    (400, refused("UserNotFoundException", "User does not exist."), V.UNKNOWN_USER),
    (400, refused("UserNotConfirmedException", "User is not confirmed."), V.DISABLED),
    (400, refused("PasswordResetRequiredException", "Password reset required for the user"), V.DISABLED),
    (400, refused("TooManyRequestsException", "Rate exceeded"), V.THROTTLED),
    (400, refused("LimitExceededException", "Too many requests"), V.THROTTLED),
    (429, refused("SomethingElse"), V.THROTTLED),
    (400, refused("InvalidParameterException", "USER_PASSWORD_AUTH flow not enabled for this client"), V.DOWN),
    (400, refused("ResourceNotFoundException", "User pool client c1 does not exist."), V.DOWN),
    (403, refused("ForbiddenException", "Request not allowed due to WAF block."), V.DOWN),
    (400, refused("InvalidUserPoolConfigurationException"), V.DOWN),
    (400, refused("UnexpectedLambdaException"), V.DOWN),
    (400, refused("InvalidLambdaResponseException"), V.DOWN),
    (400, refused("UserLambdaValidationException", "PreAuthentication failed"), V.DISABLED),
    (500, refused("InternalErrorException"), V.DOWN),
    (502, b"<html>Bad gateway</html>", V.DOWN),
    (503, {}, V.DOWN),
    (404, {}, V.DOWN),
    (400, refused("SomethingNew"), V.MALFORMED),
    (400, b"<html>", V.MALFORMED),
    (200, b"<html>Welcome</html>", V.MALFORMED),
    (200, b"[]", V.DOWN),
    (400, b"[]", V.DOWN),
    (200, {"AuthenticationResult": [1]}, V.DOWN),
]


async def test_every_row_and_nothing_twice(service: Stub, opens: Opens) -> None:
    store = opens(POOL)
    for status, body, verdict in ROWS:
        service.say(status, body, content_type="application/x-amz-json-1.1")
        service.asked.clear()
        assert await store.verify(ANN, "s3cret") is verdict, (status, body)
        assert len(service.asked) == 1, (status, body)


async def test_a_redirect_gets_no_password(service: Stub, opens: Opens) -> None:
    for status in (301, 302, 307, 308):
        service.say(status, {}, location=f"http://{service.host}/elsewhere")
        service.asked.clear()
        assert await opens(POOL).verify(ANN, "s3cret") is V.DOWN
        assert len(service.asked) == 1


async def test_what_nobody_can_have_is_not_sent(service: Stub, opens: Opens) -> None:
    store = opens(POOL)
    for username, password, verdict in [
        (ANN, "", V.WRONG),
        (ANN, "\ud800", V.WRONG),
        ("ann contoso", "s3cret", V.UNKNOWN_USER),
        ("ann\u00a0contoso", "s3cret", V.UNKNOWN_USER),
        ("ann\u0000", "s3cret", V.UNKNOWN_USER),
        ("   ", "s3cret", V.UNKNOWN_USER),
        ("a" * 129, "s3cret", V.UNKNOWN_USER),
    ]:
        assert await store.verify(username, password) is verdict
    assert not service.asked


async def test_a_slow_service_is_down_in_time(service: Stub, opens: Opens) -> None:
    service.sleep(30)
    started = time.monotonic()
    assert await opens(POOL).verify(ANN, "s3cret") is V.DOWN
    assert time.monotonic() - started < 20
    assert len(service.asked) == 1


async def test_nobody_listens(opens: Opens, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENDPOINT, "http://127.0.0.1:9")
    assert await opens(POOL).verify(ANN, "s3cret") is V.DOWN


async def test_a_cancelled_call_lets_go_at_once(service: Stub, opens: Opens) -> None:
    service.sleep(30)
    store = opens(POOL)
    started = time.monotonic()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await store.verify(ANN, "s3cret")
    assert time.monotonic() - started < 20
    service.say(400, refused(NOT, "Incorrect username or password."))
    assert await store.verify(ANN, "s3cret") is V.WRONG


async def test_the_log_tells_no_secret(service: Stub, opens: Opens, caplog: pytest.LogCaptureFixture) -> None:
    """Every logger's lines: botocore would write whole requests."""
    logging.getLogger("botocore").setLevel(logging.NOTSET)
    caplog.set_level(logging.DEBUG)
    store = opens("cognito://:s3cr3t-of-client@eu-west-1/eu-west-1_Abc123?client_id=c1")
    for status, body in [
        (200, {"AuthenticationResult": {"AccessToken": "tok3n"}}),
        (400, refused(NOT, f"Unable to verify secret hash for {ANN} {CANARY}")),
        (400, refused(NOT, f"New words {CANARY}")),
        (400, refused("UserNotFoundException", CANARY)),
        (500, refused(CANARY, CANARY)),
        (302, {}),
    ]:
        service.say(status, body)
        await store.verify(ANN, CANARY)
    said = "\n".join(f"{record.getMessage()} {record.args} {record.exc_text}" for record in caplog.records)
    assert "its secret" in said
    for secret in (CANARY, ANN, "s3cr3t-of-client", "tok3n"):
        assert secret not in said


@pytest.mark.parametrize("url", ["http://cognito.example", "ftp://127.0.0.1", "http://user:pw@127.0.0.1"])
def test_an_address_in_the_clear_is_refused(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENDPOINT, url)
    with pytest.raises(SettingsError, match="AWS_ENDPOINT_URL"):
        open_store(POOL)


@pytest.mark.parametrize(("name", "value"), [("AWS_PROFILE", "nobody"), (ENDPOINT, "nonsense")])
def test_aws_settings_that_cannot_be_used(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match="AWS_"):
        open_store(POOL)


async def test_a_proxy_never_reads_what_stays_on_this_machine(
    service: Stub, opens: Opens, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    service.say(200, {"AuthenticationResult": {"AccessToken": "t"}})
    assert await opens(POOL).verify(ANN, "s3cret") is V.RIGHT


def test_a_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "jitkit.endpoint.stores.cognito", raising=False)
    monkeypatch.setitem(sys.modules, "boto3", None)
    with pytest.raises(SettingsError, match=r"\[cognito\]"):
        open_store(POOL)


def test_opening_asks_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """No search for AWS credentials: on other clouds their metadata service takes seconds not to answer."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    called: list[object] = []

    def connect(self: object, address: object) -> None:
        called.append(address)
        raise OSError("nobody")

    monkeypatch.setattr("socket.socket.connect", connect)
    store = open_store(POOL)
    assert not called
    asyncio.run(store.close())

"""What four products answer to a password grant: every documented row, from a real server."""

from __future__ import annotations

import base64
import logging
from typing import Any
from urllib.parse import parse_qs, parse_qsl

import pytest

from jitkit.endpoint.stores import Verdict

from .conftest import Opens
from .stub import Stub

V = Verdict
ANN = "ann@contoso.example"
TAIL = "\r\nCorrelation ID: 0f7c\r\nTimestamp: 2026-11-22 10:00:00Z\r\n"


def b2c(code: int, error: str = "access_denied") -> dict[str, Any]:
    return {"error": error, "error_description": f"AADB2C{code}: Some words.{TAIL}"}


def sts(code: int, error: str = "invalid_grant") -> dict[str, Any]:
    return {"error": error, "error_description": f"AADSTS{code}: Some words.\r\nTrace ID: 1", "error_codes": [code]}


def says(error: str, description: str | None = None, **more: Any) -> dict[str, Any]:
    return {"error": error} | ({} if description is None else {"error_description": description}) | more


Row = tuple[str, int, Any, Verdict]

COMMON = ("invalid_client", "unauthorized_client", "unsupported_grant_type", "invalid_scope", "invalid_request")

ROWS: list[Row] = [
    ("azure-b2c", 400, b2c(90225), V.WRONG),
    ("azure-b2c", 400, b2c(90225, "invalid_grant"), V.WRONG),
    *(("azure-b2c", 400, b2c(code), V.LOCKED) for code in (90111, 90114)),
    *(("azure-b2c", 400, b2c(code), V.WRONG) for code in (90052, 90054)),
    ("azure-b2c", 400, b2c(90053), V.UNKNOWN_USER),
    *(("azure-b2c", 400, b2c(code, "server_error"), V.DOWN) for code in (90035, 90037, 90048, 90085)),
    *(
        ("azure-b2c", 400, b2c(code, "invalid_grant"), V.DOWN)
        for code in (90057, 90058, 90084, 90224, 90018, 90092, 90117, 90205)
    ),
    ("azure-b2c", 429, {}, V.THROTTLED),
    ("azure-b2c", 429, b2c(90225), V.THROTTLED),
    ("azure-b2c", 400, b2c(99999), V.MALFORMED),
    ("azure-b2c", 400, b2c(99999, "invalid_grant"), V.MALFORMED),
    ("azure-b2c", 400, says("invalid_grant", "no code here"), V.WRONG),
    ("azure-b2c", 400, says("access_denied"), V.MALFORMED),
    ("azure-b2c", 400, says("invalid_grant", "AADB2C: An exception has occurred. Correlation ID: 7"), V.DOWN),
    ("azure-b2c", 400, says("access_denied", "An Exception has occured in the policy"), V.DOWN),
    ("azure-b2c", 400, b2c(90225, "invalid_grant"), V.WRONG),
    *(("azure-b2c", 400, sts(code), V.WRONG) for code in (50126, 50064)),
    ("azure-b2c", 400, sts(50034), V.UNKNOWN_USER),
    ("azure-b2c", 400, sts(50053), V.LOCKED),
    *(("azure-b2c", 400, sts(code), V.RIGHT_MUST_CHANGE) for code in (50055, 50144, 50125, 50135, 50137, 50142)),
    *(("azure-b2c", 400, sts(code), V.DISABLED) for code in (50056, 50057, 53003, 50105, 50131, 50020)),
    *(("azure-b2c", 400, sts(code), V.MFA) for code in (50072, 50074, 50076, 50079, 50158)),
    ("azure-b2c", 400, says("interaction_required", "words"), V.MFA),
    *(("azure-b2c", 401, sts(code), V.DOWN) for code in (50059, 50128, 90002, 700016, 7000215, 7000218, 65001, 50194)),
    ("azure-b2c", 400, sts(50196), V.THROTTLED),
    *(("azure-b2c", 400, sts(code), V.DOWN) for code in (50033, 50087, 50000, 90033)),
    ("auth0", 403, says("invalid_grant", "Wrong email or password."), V.WRONG),
    ("auth0", 403, says("invalid_user_password", "Wrong email or password"), V.WRONG),
    *(
        ("auth0", status, says(error, "Multifactor authentication required", mfa_token="t"), V.MFA)
        for status in (401, 403)
        for error in ("mfa_required", "a0.mfa_required", "mfa_registration_required", "unsupported_challenge_type")
    ),
    ("auth0", 401, says("unauthorized", "user is blocked"), V.DISABLED),
    ("auth0", 403, says("unauthorized", "a rule said no"), V.DISABLED),
    ("auth0", 403, says("blocked_user", "Blocked user"), V.DISABLED),
    ("auth0", 403, says("access_denied", "an action said no"), V.DISABLED),
    ("auth0", 403, says("access_denied", "Service not found: https://api.contoso.example"), V.DOWN),
    ("auth0", 403, says("access_denied", "Service not enabled within domain: https://api.contoso.example"), V.DOWN),
    ("auth0", 403, says("access_denied", "Client is not authorized to access https://api.contoso.example"), V.DOWN),
    ("auth0", 403, says("access_denied", "Client has not been granted scopes: read"), V.DOWN),
    (
        "auth0",
        429,
        says("too_many_attempts", "Your account has been blocked after multiple consecutive login attempts. We've"),
        V.LOCKED,
    ),
    ("auth0", 429, says("too_many_attempts", "We have detected suspicious login behavior"), V.THROTTLED),
    ("auth0", 429, says("too_many_requests", "Global limit has been reached"), V.THROTTLED),
    ("auth0", 401, says("password_leaked", "This login has been blocked because your password"), V.DISABLED),
    ("auth0", 401, says("requires_verification", "Suspicious request requires verification"), V.THROTTLED),
    ("auth0", 401, says("requires_validation"), V.THROTTLED),
    ("auth0", 403, says("invalid_grant", "Something new"), V.WRONG),
    ("okta", 400, says("invalid_grant", "The credentials provided were invalid."), V.WRONG),
    ("okta", 400, says("invalid_grant", "Password has expired."), V.RIGHT_MUST_CHANGE),
    ("okta", 403, says("access_denied", "The user's password is expired."), V.RIGHT_MUST_CHANGE),
    ("okta", 400, says("invalid_grant", "Resource owner password credentials cannot be used with MFA enabled."), V.MFA),
    (
        "okta",
        400,
        says("invalid_grant", "Resource owner password credentials authentication denied by sign on policy."),
        V.DISABLED,
    ),
    ("okta", 400, says("invalid_grant", "The user does not configure a password."), V.DISABLED),
    ("okta", 403, says("mfa_required"), V.MFA),
    ("okta", 403, says("access_denied", "User with lite classification status is not allowed"), V.DISABLED),
    ("okta", 400, says("access_denied", "User is not assigned to the client application."), V.DISABLED),
    (
        "okta",
        401,
        says("access_denied", "Policy evaluation failed for this request, please check the policy configurations."),
        V.DOWN,
    ),
    (
        "okta",
        400,
        says("access_denied", "Policy evaluation succeeded, but all the requested scopes were rejected."),
        V.DOWN,
    ),
    (
        "okta",
        403,
        says("access_denied", "The request is made from outside the client's permitted network zones."),
        V.DOWN,
    ),
    ("okta", 400, says("consent_required"), V.DOWN),
    ("okta", 429, says("invalid_grant", "API call exceeded rate limit due to too many requests."), V.THROTTLED),
    ("okta", 429, {"errorCode": "E0000047", "errorSummary": "API call exceeded rate limit"}, V.THROTTLED),
    ("okta", 401, {"errorCode": "E0000011", "errorSummary": "Invalid token provided"}, V.MALFORMED),
    *(("keycloak", status, says("invalid_grant", "Invalid user credentials"), V.WRONG) for status in (400, 401)),
    ("keycloak", 400, says("invalid_grant", "Account disabled"), V.DISABLED),
    ("keycloak", 400, says("invalid_grant", "Account is not fully set up"), V.RIGHT_MUST_CHANGE),
    ("keycloak", 400, says("invalid_grant", "Account temporarily disabled"), V.LOCKED),
    ("keycloak", 401, says("invalid_request", "Missing parameter: username"), V.DOWN),
    ("keycloak", 401, says("invalid_request", "Invalid user credentials"), V.MALFORMED),
    ("keycloak", 400, says("unauthorized_client", "Client not allowed for direct access grants"), V.DOWN),
    ("keycloak", 400, says("invalid_client", "Client requires user consent"), V.DOWN),
    ("keycloak", 429, {}, V.THROTTLED),
    *(
        (profile, 401, says(error, "words"), V.DOWN)
        for profile in ("azure-b2c", "auth0", "okta", "keycloak")
        for error in (*COMMON, "server_error", "temporarily_unavailable")
    ),
    *(
        (profile, status, body, V.MALFORMED)
        for profile in ("azure-b2c", "auth0", "okta", "keycloak")
        for status in (400, 401, 403)
        for body in (
            says("something_new", "words"),
            {},
            {"error": None},
            {"error": ["invalid_grant"]},
            {"message": "x"},
        )
    ),
    *(
        (profile, 200, body, V.MALFORMED)
        for profile in ("azure-b2c", "auth0", "okta", "keycloak")
        for body in (
            {},
            {"access_token": ""},
            {"access_token": None},
            {"access_token": True},
            {"access_token": ["t"]},
            {"id_token": "t", "token_type": "Bearer"},
            {"access_token": "t", "error": "mfa_required"},
            {"status": "LOCKED_OUT"},
            {"error": "invalid_grant"},
        )
    ),
    *(
        (profile, 200, {"access_token": "t", "expires_in": expires, "token_type": "Bearer"}, V.RIGHT)
        for profile in ("azure-b2c", "auth0", "okta", "keycloak")
        for expires in (3600, "3600")
    ),
]


@pytest.mark.parametrize("profile", ["azure-b2c", "auth0", "okta", "keycloak"])
async def test_every_row(profile: str, stub: Stub, opens: Opens) -> None:
    store = opens(f"oauth2+http://{stub.host}/token?client_id=c1&password_first=1&profile={profile}")
    assert store.kind == profile
    rows = [row for row in ROWS if row[0] == profile]
    assert len(rows) > 25
    for _, status, body, verdict in rows:
        stub.say(status, body)
        assert await store.verify(ANN, "s3cret") is verdict, (status, body)


PROVED = ("mfa_required", "mfa_registration_required", "unsupported_challenge_type", "Account is not fully set up")


@pytest.mark.parametrize("profile", ["azure-b2c", "auth0", "okta", "keycloak"])
async def test_what_proves_no_password_lets_nobody_in(
    profile: str, stub: Stub, opens: Opens, caplog: pytest.LogCaptureFixture
) -> None:
    """Without `password_first`, "expired" and "second factor" count only where the order is documented."""
    caplog.set_level(logging.WARNING)
    store = opens(f"oauth2+http://{stub.host}/token?client_id=c1&profile={profile}")
    for _, status, body, verdict in ROWS:
        if _ != profile or verdict not in (V.MFA, V.RIGHT_MUST_CHANGE):
            continue
        stub.say(status, body)
        proved = profile in ("auth0", "keycloak")
        caplog.clear()
        assert await store.verify(ANN, "s3cret") is (verdict if proved else V.DISABLED), body
        assert ("password_first" in caplog.text) is not proved


async def test_a_code_that_somebody_typed_counts_for_nothing(stub: Stub, opens: Opens) -> None:
    store = opens(f"oauth2+http://{stub.host}/token?client_id=c1&profile=azure-b2c&password_first=1")
    typed = "AADSTS50055@contoso.example"
    for text, verdict in [
        (f"AADSTS50034: The user account {typed} does not exist.", V.UNKNOWN_USER),
        (f"AADSTS99999: The user account {typed} does not exist.", V.MALFORMED),
        (f"The user account {typed} does not exist.", V.WRONG),
    ]:
        stub.say(400, says("invalid_grant", text))
        assert await store.verify(typed, "s3cret") is verdict


async def test_our_own_mistake_is_told_to_the_operator(
    stub: Stub, opens: Opens, caplog: pytest.LogCaptureFixture
) -> None:
    for profile, body, word in [
        ("auth0", says("invalid_client", "Client authentication failed"), "invalid_client"),
        ("azure-b2c", sts(7000215, "invalid_client"), "AADSTS7000215"),
        ("okta", says("access_denied", "User is not assigned to the client application."), "access_denied"),
        ("auth0", says("access_denied", "Service not found: https://api.contoso.example"), "service not found"),
        ("azure-b2c", says("invalid_grant", "AADB2C: An exception has occurred."), "an exception"),
    ]:
        caplog.clear()
        stub.say(401, body)
        await opens(f"oauth2+http://{stub.host}/token?client_id=c1&profile={profile}").verify(ANN, "s3cret")
        assert [record.levelname for record in caplog.records if "registration" in record.message] == ["ERROR"]
        assert word in caplog.text


async def asked(stub: Stub, opens: Opens, url: str) -> tuple[str, dict[str, str], dict[str, str]]:
    stub.say(200, {"access_token": "t"})
    assert await opens(url).verify(" Ann+x@Contoso.example ", " p\u00e4ss&=+% ") is V.RIGHT
    request = stub.asked[-1]
    assert request.headers["content-type"] == "application/x-www-form-urlencoded"
    form = parse_qsl(request.body.decode(), keep_blank_values=True, strict_parsing=True)
    assert len(dict(form)) == len(form)
    fields = dict(form)
    assert (fields.pop("username"), fields.pop("password")) == ("Ann+x@Contoso.example", " p\u00e4ss&=+% ")
    return request.path, request.headers, fields


async def test_what_azure_b2c_is_asked(stub: Stub, opens: Opens) -> None:
    base = f"oauth2+http://{stub.host}/t.onmicrosoft.com/oauth2/v2.0/token?profile=azure-b2c&client_id=c1"
    path, headers, form = await asked(stub, opens, f"{base}&p=B2C_1_ropc")
    assert path == "/t.onmicrosoft.com/oauth2/v2.0/token?p=B2C_1_ropc"
    assert "authorization" not in headers
    assert form == {
        "grant_type": "password",
        "client_id": "c1",
        "scope": "openid c1",
        "response_type": "token id_token",
    }
    path, _, form = await asked(stub, opens, f"{base}&scope=openid%20https%3A%2F%2Ft%2Fapi%2Fread")
    assert path == "/t.onmicrosoft.com/oauth2/v2.0/token"
    assert form["scope"] == "openid https://t/api/read"


async def test_what_auth0_is_asked(stub: Stub, opens: Opens) -> None:
    base = f"oauth2+http://:s3c%2Fret@{stub.host}/oauth/token?profile=auth0&client_id=c1"
    path, _, form = await asked(stub, opens, base)
    assert path == "/oauth/token"
    assert form == {"grant_type": "password", "client_id": "c1", "client_secret": "s3c/ret", "scope": "openid"}
    _, _, form = await asked(stub, opens, f"{base}&realm=Old%20users&audience=urn%3Aapi")
    assert form["grant_type"] == "http://auth0.com/oauth/grant-type/password-realm"
    assert (form["realm"], form["audience"]) == ("Old users", "urn:api")


async def test_what_okta_is_asked(stub: Stub, opens: Opens) -> None:
    where = f"{stub.host}/oauth2/v1/token?profile=okta&client_id=c%3A1"
    _, headers, form = await asked(stub, opens, f"oauth2+http://:s3c%20ret@{where}")
    assert headers["authorization"] == "Basic " + base64.b64encode(b"c%3A1:s3c+ret").decode()
    assert form == {"grant_type": "password", "scope": "openid"}
    _, headers, form = await asked(stub, opens, f"oauth2+http://{where}")
    assert "authorization" not in headers
    assert form["client_id"] == "c:1"


async def test_what_keycloak_is_asked_and_known_by(stub: Stub, opens: Opens) -> None:
    url = f"oauth2+http://:s@{stub.host}/realms/r/protocol/openid-connect/token?client_id=c1"
    path, _, form = await asked(stub, opens, url)
    assert path == "/realms/r/protocol/openid-connect/token"
    assert form == {"grant_type": "password", "client_id": "c1", "client_secret": "s", "scope": "openid"}
    assert opens(url).kind == "keycloak"


@pytest.mark.parametrize(
    ("host", "kind"),
    [
        ("contoso.b2clogin.com/contoso.onmicrosoft.com/B2C_1_ropc/oauth2/v2.0/token", "azure-b2c"),
        ("contoso.eu.auth0.com/oauth/token", "auth0"),
        ("contoso.okta.com/oauth2/v1/token", "okta"),
        ("contoso.oktapreview.com/oauth2/default/v1/token", "okta"),
    ],
)
def test_known_by_the_host(host: str, kind: str, opens: Opens) -> None:
    assert opens(f"oauth2+https://{host}?client_id=c1").kind == kind


async def test_no_token_is_asked_for_that_outlives_the_question(stub: Stub, opens: Opens) -> None:
    stub.say(200, {"access_token": "t"})
    for profile in ("azure-b2c", "auth0", "okta", "keycloak"):
        store = opens(f"oauth2+http://{stub.host}/token?client_id=c1&profile={profile}")
        await store.verify(ANN, "s3cret")
        assert "offline_access" not in parse_qs(stub.asked[-1].body.decode())["scope"][0].split()

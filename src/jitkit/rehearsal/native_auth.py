"""Sign-in through the native authentication API: an app's own screens, three requests, and no page of the service.

[Microsoft Learn, "Native authentication API reference": sign in with email and password; "Just-in-time password
migration": the same event is raised, and a legacy password that is right and too weak is an error here]

Not documented, so chosen here: the number beside `nativeauthapi_disabled`, and that a blocked or failed callout is an
`invalid_grant`. Second factors by one-time passcode are not imitated: what needs one is answered `redirect`. No refresh
tokens are issued.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from jitkit.protocol import GRAPH_APP_ID
from jitkit.rehearsal import client_app as clients
from jitkit.rehearsal import identity
from jitkit.rehearsal.sign_in import sign_in

if TYPE_CHECKING:
    from jitkit.rehearsal.client_app import ClientApp
    from jitkit.rehearsal.sign_in_result import SignIn
    from jitkit.rehearsal.tenant import RehearsalTenant

__all__ = ["routes", "token"]

_AUDIENCE: Final = "native-authentication"
_OPENID: Final = frozenset({"openid", "profile", "email", "offline_access"})
_LIFETIME: Final = 3600
_WORDS: Final = {
    50034: "The user account does not exist in the directory.",
    50053: "The account is locked because the user tried to sign in too many times.",
    50055: "The password is expired.",
    50056: "The account has no password.",
    50057: "The user account is disabled.",
    50126: "Error validating credentials due to invalid username or password.",
    53003: "Access has been blocked by Conditional Access policies.",
    90055: "There are too many incoming requests.",
    1100001: "A non-retryable error has occurred.",
}
_REDIRECT: Final = {"challenge_type": "redirect"}


class _Refusal(Exception):
    """An error answer.

    Args:
        error: the word in `error`.
        code: the number after AADSTS.
        text: the sentence after it.
        suberror: the word in `suberror`.
        status: the HTTP status.
        correlation_id: the sign-in that it is about.
    """

    def __init__(
        self,
        error: str,
        code: int,
        text: str,
        *,
        suberror: str | None = None,
        status: int = 400,
        correlation_id: str | None = None,
    ) -> None:
        super().__init__(text)
        self.error, self.code, self.text = error, code, text
        self.suberror, self.status, self.correlation_id = suberror, status, correlation_id


def routes() -> list[Route]:
    """List the routes. The third step, `/token`, is `token_endpoint`'s, which hands a continued one to `token`."""
    return [
        Route("/{tenant}/oauth2/v2.0/initiate", _initiate, methods=["POST"]),
        Route("/{tenant}/oauth2/v2.0/challenge", _challenge, methods=["POST"]),
    ]


async def token(tenant: RehearsalTenant, form: Mapping[str, str]) -> JSONResponse:
    """Judge the password and answer with tokens.

    Args:
        tenant: the stand-in tenant.
        form: the request's parameters.
    """
    try:
        return await _tokens(tenant, form)
    except _Refusal as refusal:
        return _refused(tenant, refusal)


async def _initiate(request: Request) -> JSONResponse:
    tenant, form = await _request(request)
    try:
        _known_tenant(request, tenant)
        client = _client(tenant, form)
        _check_challenge_types(form, required=True)
        name = _given(form, "username")
        user = tenant.directory.user_by_sign_in_name(name.strip())
        if user is None:
            raise _Refusal("user_not_found", 50034, _WORDS[50034])
        if "password" not in form["challenge_type"].split() or not user.password_hash:
            return JSONResponse(_REDIRECT)
        return JSONResponse({"continuation_token": _continuation(tenant, client, name, step="challenge")})
    except _Refusal as refusal:
        return _refused(tenant, refusal)


async def _challenge(request: Request) -> JSONResponse:
    tenant, form = await _request(request)
    try:
        _known_tenant(request, tenant)
        client = _client(tenant, form)
        name = _continued(tenant, client, form, step="challenge")
        _check_challenge_types(form, required=False)
        if "password" not in form.get("challenge_type", "password").split():
            return JSONResponse(_REDIRECT)
        continuation = _continuation(tenant, client, name, step="token")
        return JSONResponse({"challenge_type": "password", "continuation_token": continuation})
    except _Refusal as refusal:
        return _refused(tenant, refusal)


async def _tokens(tenant: RehearsalTenant, form: Mapping[str, str]) -> JSONResponse:
    client = _client(tenant, form)
    name = _continued(tenant, client, form, step="token")
    scopes = _scopes(tenant, client, _given(form, "scope"))
    done = await sign_in(tenant, name, _given(form, "password"), client_app_id=client.app_id, native=True)
    if done.outcome == "second factor needed":
        return JSONResponse({**_REDIRECT, "redirect_reason": "Client is missing mfa_required capability"})
    if done.outcome != "signed in":
        words = _WORDS.get(done.code, "The user has to choose a new password.")
        status = 429 if done.code == 90055 else 400
        raise _Refusal("invalid_grant", done.code, words, status=status, correlation_id=done.correlation_id)
    return JSONResponse(_issued(tenant, client, done, scopes), headers={"Cache-Control": "no-store, no-cache"})


def _issued(tenant: RehearsalTenant, client: ClientApp, done: SignIn, scopes: list[str]) -> dict[str, Any]:
    from jitkit.rehearsal.id_token import id_token

    directory = tenant.directory
    granted = [scope for scope in scopes if scope != "offline_access"]
    access = identity.issue_token(
        directory,
        audience=identity.GRAPH,
        client_app_id=client.app_id,
        scopes=granted,
        subject=done.user_id,
        lifetime=_LIFETIME,
    )
    body = {"token_type": "Bearer", "scope": " ".join(granted), "expires_in": _LIFETIME, "access_token": access}
    user = directory.user(done.user_id or "")
    if "openid" in scopes and user:
        body["id_token"] = id_token(directory, user, client.app_id, now=directory.clock.now())
    return body


def _scopes(tenant: RehearsalTenant, client: ClientApp, text: str) -> list[str]:
    """Check what is asked for: words of OpenID Connect, and what an administrator consented to for everybody."""
    directory = tenant.directory
    graph = directory.by_key("servicePrincipal", GRAPH_APP_ID) or {}
    consented = {
        scope.lower()
        for grant in directory.all("oauth2PermissionGrant")
        if grant.get("clientId") == client.principal["id"] and grant.get("resourceId") == graph.get("id")
        for scope in str(grant.get("scope") or "").split()
    }
    asked = [scope.removeprefix(f"{identity.GRAPH}/") for scope in text.split()]
    for scope in asked:
        if scope not in _OPENID and scope.lower() not in consented:
            raise _Refusal(
                "invalid_scope", 70011, f"The provided value for the input parameter 'scope' is not valid: {scope}."
            )
    return asked


async def _request(request: Request) -> tuple[RehearsalTenant, dict[str, str]]:
    tenant: RehearsalTenant = request.app.state.tenant
    return tenant, dict(parse_qsl((await request.body()).decode("utf-8", "replace"), keep_blank_values=True))


def _known_tenant(request: Request, tenant: RehearsalTenant) -> None:
    asked = request.path_params["tenant"].lower()
    if asked not in (tenant.tenant_id, tenant.domain):
        raise _Refusal("invalid_tenant", 90002, f"Tenant '{asked}' not found.")


def _given(form: Mapping[str, str], name: str) -> str:
    if not form.get(name):
        raise _Refusal("invalid_request", 900144, f"The request body must contain the following parameter: '{name}'.")
    return form[name]


def _client(tenant: RehearsalTenant, form: Mapping[str, str]) -> ClientApp:
    app_id = _given(form, "client_id").lower()
    tenant.caller.setup.refresh()
    try:
        client = tenant.caller.setup.client(app_id)
    except clients.Refused as refused:
        raise _Refusal("unauthorized_client", refused.code, refused.reason) from None
    if not client.is_native:
        text = "The app is not a public client that is enabled for native authentication."
        raise _Refusal("invalid_client", 7000218, text, suberror="nativeauthapi_disabled")
    return client


def _check_challenge_types(form: Mapping[str, str], *, required: bool) -> None:
    types = (_given(form, "challenge_type") if required else form.get("challenge_type", "redirect")).split()
    if any(each not in ("oob", "password", "redirect") for each in types):
        raise _Refusal("invalid_request", 901007, "The challenge_type list parameter holds an unknown type.")
    if "redirect" not in types:
        text = "The challenge_type list parameter does not include the 'redirect' type."
        raise _Refusal("unsupported_challenge_type", 901007, text)


def _continuation(tenant: RehearsalTenant, client: ClientApp, name: str, *, step: str) -> str:
    expires = tenant.directory.clock.now() + tenant.caller.setup.switch("continuation_seconds")
    claims = {"aud": _AUDIENCE, "app": client.app_id, "name": name, "step": step, "exp": expires}
    return identity.sign(tenant.directory, claims, use="graph")


def _continued(tenant: RehearsalTenant, client: ClientApp, form: Mapping[str, str], *, step: str) -> str:
    claims = identity.read_signed(tenant.directory, _given(form, "continuation_token"), use="graph") or {}
    if (claims.get("aud"), claims.get("app"), claims.get("step")) != (_AUDIENCE, client.app_id, step):
        raise _Refusal("invalid_grant", 901007, "The continuation_token provided is not valid for this endpoint.")
    if claims["exp"] <= tenant.directory.clock.now():
        raise _Refusal("expired_token", 901007, "The continuation_token provided is expired.")
    return str(claims["name"])


def _refused(tenant: RehearsalTenant, refusal: _Refusal) -> JSONResponse:
    trace, correlation = str(uuid.uuid4()), refusal.correlation_id or str(uuid.uuid4())
    moment = time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(tenant.directory.clock.now()))
    text = f"AADSTS{refusal.code}: {refusal.text}"
    body: dict[str, Any] = {
        "error": refusal.error,
        "error_description": f"{text}\r\nTrace ID: {trace}\r\nCorrelation ID: {correlation}\r\nTimestamp: {moment}",
        "error_codes": [refusal.code],
        "timestamp": moment,
        "trace_id": trace,
        "correlation_id": correlation,
    }
    if refusal.suberror:
        body["suberror"] = refusal.suberror
    return JSONResponse(body, status_code=refusal.status)

"""The tenant's keys, the tokens signed with them, and the OpenID documents and token endpoint that serve them.

The tenant is known under two hosts, and their documents hold overlapping but different keys, as for a real external
tenant: the bearer token of a callout is signed with a key that only the ciamlogin.com document lists.
[observed; OpenID Connect Discovery 1.0; RFC 7515; Microsoft Learn, "Access tokens in the Microsoft identity platform"]

In process, the host chooses the document. On loopback, the path does: `/{tenant}/v2.0/…` is the ciamlogin.com document
and `/login.microsoftonline.com/{tenant}/v2.0/…` the other. The addresses inside a document lead back to where it was
requested; `issuer` always reads as it does for a real tenant.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, Literal
from urllib.parse import parse_qsl

from jwcrypto import jwk, jws
from jwcrypto.common import JWException
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from jitkit.protocol import DELEGATED_PERMISSIONS, GRAPH_APP_ID
from jitkit.rehearsal.directory import Directory, User

Use = Literal["callout", "shared", "graph"]

LOGIN_HOST: Final = "login.microsoftonline.com"
GRAPH: Final = "https://graph.microsoft.com"

# What the administrator's token may do unless it is narrowed [Microsoft Graph permissions reference].
ADMINISTRATOR_PERMISSIONS: Final = (
    *DELEGATED_PERMISSIONS,
    "Domain.Read.All",
    "SignInIdentifier.ReadWrite.All",
    "User.ManageIdentities.All",
)

_CIAM_KEYS: Final[tuple[Use, ...]] = ("callout", "shared")
_LOGIN_KEYS: Final[tuple[Use, ...]] = ("shared", "graph")
TOKEN_LIFETIME: Final = 3600


def ensure_keys(directory: Directory) -> None:
    """Make the tenant's signing keys and its administrator client once; its `tenant_id` is already set."""
    if directory.meta("signing_keys"):
        return
    keys = {use: json.loads(jwk.JWK.generate(kty="RSA", size=2048).export()) for use in ("callout", "shared", "graph")}
    with directory.transaction():
        directory.set_meta("signing_keys", json.dumps(keys))
        directory.set_meta("admin_client_id", str(uuid.uuid4()))
        directory.set_meta("admin_client_secret", secrets.token_urlsafe(30))


def sign(directory: Directory, claims: Mapping[str, Any], *, use: Use) -> str:
    """Sign claims as an RS256 JWT."""
    key = _keys(directory)[use]
    token = jws.JWS(json.dumps(claims).encode())
    token.add_signature(key, protected=json.dumps({"alg": "RS256", "typ": "JWT", "kid": key.thumbprint()}))
    return str(token.serialize(compact=True))


def issue_token(
    directory: Directory,
    *,
    audience: str,
    client_app_id: str,
    roles: Sequence[str] = (),
    scopes: Sequence[str] = (),
    subject: str | None = None,
    lifetime: float = TOKEN_LIFETIME,
) -> str:
    """Issue an access token."""
    tenant_id, now = _tenant_id(directory), int(directory.clock.now())
    subject = subject or str(uuid.uuid5(uuid.UUID(tenant_id), client_app_id))
    claims = {
        "aud": audience,
        "iss": f"https://sts.windows.net/{tenant_id}/",
        "iat": now,
        "nbf": now,
        "exp": now + int(lifetime),
        "appid": client_app_id,
        "oid": subject,
        "sub": subject,
        "tid": tenant_id,
        "uti": secrets.token_urlsafe(16),
        "ver": "1.0",
    }
    granted = {"scp": " ".join(scopes)} if scopes else {"roles": list(roles), "idtyp": "app"}
    return sign(directory, claims | granted, use="graph")


def read_access_token(directory: Directory, token: str) -> Mapping[str, Any] | None:
    """Return the claims of a token that was sent to Graph."""
    signed = jws.JWS()
    signed.allowed_algs = ["RS256"]
    try:
        signed.deserialize(token, _keys(directory)["graph"])
        claims: dict[str, Any] = json.loads(signed.payload)
    except (JWException, ValueError):
        return None
    if claims.get("aud") not in (GRAPH, f"{GRAPH}/", GRAPH_APP_ID):
        return None
    return claims if claims["nbf"] - 300 <= directory.clock.now() < claims["exp"] else None


def id_token(directory: Directory, user: User, app_id: str, *, now: float) -> str:
    """Issue the ID token that an app receives when a user has signed in.

    [Microsoft Learn, "ID token claims reference"]
    """
    moment, pair = int(now), f"{user.id}{app_id}".encode()
    claims = {
        "aud": app_id,
        "iss": ciam_issuer(directory),
        "iat": moment,
        "nbf": moment,
        "exp": moment + TOKEN_LIFETIME,
        "name": user.body.get("displayName") or "unknown",
        "preferred_username": user.sign_in_name or user.upn,
        "nonce": secrets.token_urlsafe(16),
        "oid": user.id,
        "sub": base64.urlsafe_b64encode(hashlib.sha256(pair).digest()).rstrip(b"=").decode(),
        "tid": _tenant_id(directory),
        "uti": secrets.token_urlsafe(16),
        "ver": "2.0",
    }
    return sign(directory, claims, use="shared")


def ciam_issuer(directory: Directory) -> str:
    """Return the issuer of an external tenant's own tokens [observed]."""
    tenant_id = _tenant_id(directory)
    return f"https://{tenant_id}.ciamlogin.com/{tenant_id}/v2.0"


def document_routes() -> list[Route]:
    """List the routes of the OpenID configuration and keys, for both hosts; `app.state.directory` serves them."""
    return _at_both_hosts("/v2.0/.well-known/openid-configuration", _configuration, "GET") + _at_both_hosts(
        "/discovery/v2.0/keys", _key_set, "GET"
    )


def token_routes() -> list[Route]:
    """List the routes of the token endpoint: it serves the administrator's client, which sends its secret.

    [RFC 6749, 4.4; codes: Microsoft Learn, "AADSTS error codes"]
    """
    return _at_both_hosts("/oauth2/v2.0/token", _token, "POST")


def _at_both_hosts(
    path: str, respond: Callable[[Request, Directory], Awaitable[JSONResponse]], method: str
) -> list[Route]:
    async def endpoint(request: Request) -> JSONResponse:
        directory: Directory = request.app.state.directory
        asked = request.path_params["tenant"].lower()
        if asked not in (_tenant_id(directory), directory.meta("domain")):
            return _refuse(400, "invalid_tenant", 90002, f"Tenant '{asked}' not found.")
        return await respond(request, directory)

    return [Route(f"{prefix}/{{tenant}}{path}", endpoint, methods=[method]) for prefix in ("", f"/{LOGIN_HOST}")]


async def _configuration(request: Request, directory: Directory) -> JSONResponse:
    tenant_id = _tenant_id(directory)
    prefix = f"/{LOGIN_HOST}" if request.url.path.startswith(f"/{LOGIN_HOST}/") else ""
    base = f"{request.url.scheme}://{request.url.netloc}{prefix}/{tenant_id}"
    return JSONResponse(
        {
            "issuer": f"https://{LOGIN_HOST}/{tenant_id}/v2.0" if _at_login(request) else ciam_issuer(directory),
            "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
            "token_endpoint": f"{base}/oauth2/v2.0/token",
            "jwks_uri": f"{base}/discovery/v2.0/keys",
            "token_endpoint_auth_methods_supported": ["client_secret_post"],
            "response_types_supported": ["code", "id_token", "code id_token", "id_token token"],
            "subject_types_supported": ["pairwise"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "scopes_supported": ["openid", "profile", "email", "offline_access"],
        }
    )


async def _key_set(request: Request, directory: Directory) -> JSONResponse:
    keys = [_keys(directory)[use] for use in (_LOGIN_KEYS if _at_login(request) else _CIAM_KEYS)]
    shown = [{"use": "sig", "kid": key.thumbprint(), **key.export_public(as_dict=True)} for key in keys]
    return JSONResponse({"keys": shown})


async def _token(request: Request, directory: Directory) -> JSONResponse:
    form = dict(parse_qsl((await request.body()).decode("utf-8", "replace")))
    for name in ("grant_type", "client_id", "client_secret", "scope"):
        if not form.get(name):
            return _refuse(400, "invalid_request", 900144, f"The request body must contain the parameter '{name}'.")
    if form["grant_type"] != "client_credentials":
        return _refuse(400, "unsupported_grant_type", 70003, "The app requested an unsupported grant type.")
    if form["client_id"] != directory.meta("admin_client_id"):
        return _refuse(400, "unauthorized_client", 700016, "The application was not found in the directory.")
    if not secrets.compare_digest(form["client_secret"], directory.meta("admin_client_secret") or ""):
        return _refuse(401, "invalid_client", 7000215, "Invalid client secret provided.")
    if form["scope"] not in (f"{GRAPH}/.default", f"{GRAPH}//.default", f"{GRAPH_APP_ID}/.default"):
        return _refuse(400, "invalid_resource", 500011, "The resource principal was not found in the tenant.")
    token = issue_token(directory, audience=GRAPH, client_app_id=form["client_id"], roles=ADMINISTRATOR_PERMISSIONS)
    body = {
        "token_type": "Bearer",
        "expires_in": TOKEN_LIFETIME,
        "ext_expires_in": TOKEN_LIFETIME,
        "access_token": token,
    }
    return JSONResponse(body, headers={"Cache-Control": "no-store, no-cache"})


def _refuse(status: int, error: str, code: int, text: str) -> JSONResponse:
    """Refuse a request as the sign-in service does: a word of RFC 6749, the number after AADSTS, the sentence."""
    trace, correlation = str(uuid.uuid4()), str(uuid.uuid4())
    moment = time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime())
    return JSONResponse(
        {
            "error": error,
            "error_description": f"AADSTS{code}: {text} Trace ID: {trace} Correlation ID: {correlation} "
            f"Timestamp: {moment}",
            "error_codes": [code],
            "timestamp": moment,
            "trace_id": trace,
            "correlation_id": correlation,
            "error_uri": f"https://{LOGIN_HOST}/error?code={code}",
        },
        status_code=status,
    )


def _at_login(request: Request) -> bool:
    return request.url.hostname == LOGIN_HOST or request.url.path.startswith(f"/{LOGIN_HOST}/")


def _tenant_id(directory: Directory) -> str:
    return directory.meta("tenant_id") or ""


def _keys(directory: Directory) -> Mapping[str, jwk.JWK]:
    return _parsed(directory.meta("signing_keys") or "{}")


@lru_cache(maxsize=8)
def _parsed(stored: str) -> Mapping[str, jwk.JWK]:
    return {use: jwk.JWK(**key) for use, key in json.loads(stored).items()}

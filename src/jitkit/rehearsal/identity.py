"""The tenant's keys, the tokens signed with them, and the OpenID documents that publish them.

The tenant is known under two hosts, and their documents hold overlapping but different keys, as for a real external
tenant: the bearer token of a callout is signed with a key that only the ciamlogin.com document lists.
[observed; OpenID Connect Discovery 1.0; RFC 7515; Microsoft Learn, "Access tokens in the Microsoft identity platform"]

Asked in process, the host chooses the document. Asked on loopback, the path does: `/{tenant}/v2.0/…` is the
ciamlogin.com document and `/login.microsoftonline.com/{tenant}/v2.0/…` the other. The addresses inside a document lead
back to where it was asked for; `issuer` always reads as it does for a real tenant.
"""

from __future__ import annotations

import json
import secrets
import time
import uuid
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, Literal

from jwcrypto import jwk, jws
from jwcrypto.common import JWException
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from jitkit.protocol import GRAPH_APP_ID
from jitkit.rehearsal.directory import Directory

Use = Literal["callout", "shared", "graph"]

LOGIN_HOST: Final = "login.microsoftonline.com"
GRAPH: Final = "https://graph.microsoft.com"

# What the administrator's token may do unless it is narrowed [Microsoft Graph permissions reference].
ADMINISTRATOR_PERMISSIONS: Final = (
    "Application.ReadWrite.All",
    "AppRoleAssignment.ReadWrite.All",
    "AuditLog.Read.All",
    "CustomAuthenticationExtension.ReadWrite.All",
    "DelegatedPermissionGrant.ReadWrite.All",
    "Directory.Read.All",
    "Domain.Read.All",
    "EventListener.ReadWrite.All",
    "User.ManageIdentities.All",
    "User.ReadWrite.All",
)

_CIAM_KEYS: Final[tuple[Use, ...]] = ("callout", "shared")
_LOGIN_KEYS: Final[tuple[Use, ...]] = ("shared", "graph")


def ensure_keys(directory: Directory) -> None:
    """Make the tenant's signing keys and its administrator client once.

    Args:
        directory: the tenant's directory; its `tenant_id` is already set.
    """
    if directory.meta("signing_keys"):
        return
    keys = {use: json.loads(jwk.JWK.generate(kty="RSA", size=2048).export()) for use in ("callout", "shared", "graph")}
    with directory.transaction():
        directory.set_meta("signing_keys", json.dumps(keys))
        directory.set_meta("admin_client_id", str(uuid.uuid4()))
        directory.set_meta("admin_client_secret", secrets.token_urlsafe(30))


def sign(directory: Directory, claims: Mapping[str, Any], *, use: Use) -> str:
    """Sign claims as an RS256 JWT.

    Args:
        directory: the tenant's directory.
        claims: the payload.
        use: which key; it decides in which of the two documents a reader finds the key.

    Returns:
        The compact JWS, with `kid` in its header.
    """
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
    lifetime: float = 3600,
) -> str:
    """Issue an access token.

    Args:
        directory: the tenant's directory.
        audience: the resource, such as `https://graph.microsoft.com`.
        client_app_id: the app it is issued to.
        roles: application permissions.
        scopes: delegated permissions.
        subject: the object id of whom it speaks for; None for the client itself.
        lifetime: seconds until it expires.

    Returns:
        An RS256 JWT in the v1.0 shape that Graph's own tokens have.
    """
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
    """Read a token that was sent to Graph.

    Args:
        directory: the tenant's directory.
        token: the compact JWS.

    Returns:
        Its claims, or None when this tenant did not sign it, it is out of its time, or it is meant for somebody else.
    """
    claims = read_signed(directory, token, use="graph")
    if claims is None or claims.get("aud") not in (GRAPH, f"{GRAPH}/", GRAPH_APP_ID):
        return None
    in_time = claims["nbf"] - 300 <= directory.clock.now() < claims["exp"]
    return claims if in_time else None


def read_signed(directory: Directory, token: str, *, use: Use) -> dict[str, Any] | None:
    """Read what this tenant signed.

    Args:
        directory: the tenant's directory.
        token: the compact JWS.
        use: with which key.

    Returns:
        Its claims, whatever they say, or None when this tenant did not sign it so.
    """
    signed = jws.JWS()
    signed.allowed_algs = ["RS256"]
    try:
        signed.deserialize(token, _keys(directory)[use])
        claims: dict[str, Any] = json.loads(signed.payload)
    except (JWException, ValueError):
        return None
    return claims


def ciam_issuer(directory: Directory) -> str:
    """Name the issuer of an external tenant's own tokens [observed]."""
    tenant_id = _tenant_id(directory)
    return f"https://{tenant_id}.ciamlogin.com/{tenant_id}/v2.0"


def routes() -> list[Route]:
    """List the routes: OpenID configuration and keys, for both hosts."""
    return [
        Route(f"{prefix}/{{tenant}}{path}", endpoint, methods=["GET"])
        for prefix in ("", f"/{LOGIN_HOST}")
        for path, endpoint in (
            ("/v2.0/.well-known/openid-configuration", _configuration),
            ("/discovery/v2.0/keys", _key_set),
        )
    ]


async def _configuration(request: Request) -> JSONResponse:
    directory = _directory(request)
    if refusal := unknown_tenant(request, directory):
        return refusal
    tenant_id = _tenant_id(directory)
    at_login = _at_login(request)
    prefix = f"/{LOGIN_HOST}" if request.url.path.startswith(f"/{LOGIN_HOST}/") else ""
    base = f"{request.url.scheme}://{request.url.netloc}{prefix}/{tenant_id}"
    return JSONResponse(
        {
            "issuer": f"https://{LOGIN_HOST}/{tenant_id}/v2.0" if at_login else ciam_issuer(directory),
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


async def _key_set(request: Request) -> JSONResponse:
    directory = _directory(request)
    if refusal := unknown_tenant(request, directory):
        return refusal
    keys = _keys(directory)
    return JSONResponse(
        {
            "keys": [
                {"use": "sig", "kid": keys[use].thumbprint(), **keys[use].export_public(as_dict=True)}
                for use in (_LOGIN_KEYS if _at_login(request) else _CIAM_KEYS)
            ]
        }
    )


def unknown_tenant(request: Request, directory: Directory) -> JSONResponse | None:
    """Refuse a request whose path names another tenant; None when it is this one."""
    asked = request.path_params["tenant"].lower()
    if asked in (_tenant_id(directory), directory.meta("domain")):
        return None
    return refuse(400, "invalid_tenant", 90002, f"Tenant '{asked}' not found.")


def missing(name: str) -> JSONResponse:
    """Refuse a request that lacks a parameter."""
    return refuse(400, "invalid_request", 900144, f"The request body must contain the parameter '{name}'.")


def refuse(status: int, error: str, code: int, text: str) -> JSONResponse:
    """Refuse a request the way the sign-in service does.

    Args:
        status: the HTTP status.
        error: the word of RFC 6749.
        code: the number after AADSTS.
        text: the sentence after it.
    """
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


def _directory(request: Request) -> Directory:
    directory: Directory = request.app.state.tenant.directory
    return directory


def _tenant_id(directory: Directory) -> str:
    return directory.meta("tenant_id") or ""


def _keys(directory: Directory) -> Mapping[str, jwk.JWK]:
    return _parsed(directory.meta("signing_keys") or "{}")


@lru_cache(maxsize=8)
def _parsed(stored: str) -> Mapping[str, jwk.JWK]:
    return {use: jwk.JWK(**key) for use, key in json.loads(stored).items()}

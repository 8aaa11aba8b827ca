"""Tokens for a person at another device: the code they type, the page they type it on, and the tokens that follow.

[RFC 8628; Microsoft Learn, "OAuth 2.0 device authorization grant"; codes: "AADSTS error codes"]

Whoever types the code acts as the tenant's administrator: a rehearsal has one person, and asks for no password. The
page is on the tenant's own address, where Microsoft's is https://microsoft.com/devicelogin. Consent is not asked for:
the app is granted every permission it names, as far as the administrator has it.
"""

from __future__ import annotations

import base64
import json
import secrets
import uuid
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse
from starlette.routing import Route

from jitkit.rehearsal import identity
from jitkit.rehearsal.directory import Body, Directory

__all__ = ["GRANTS", "redeem", "routes"]

_DEVICE: Final = "urn:ietf:params:oauth:grant-type:device_code"
_REFRESH: Final = "refresh_token"
GRANTS: Final = (_DEVICE, _REFRESH)

# In every tenant: Microsoft Graph Command Line Tools, and the one that azure-identity takes unless told otherwise.
_WELL_KNOWN: Final = ("14d82eec-204b-4c2f-b7e8-296a70dab67e", "04b07795-8ddb-461a-bbee-02f9e1bf7b46")
_CODE_LASTS: Final = 900
_REFRESH_LASTS: Final = 90 * 24 * 3600
_TOKEN_LASTS: Final = 3600
_INTERVAL: Final = 5
_LETTERS: Final = "BCDFGHJKLMNPQRSTVWXZ23456789"
_ABOUT_THE_PERSON: Final = ("openid", "profile", "email", "offline_access")
_KIND: Final = "oauthGrant"

_PAGE: Final = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Rehearsal tenant: sign in on a device</title>
<main><h1>Rehearsal tenant</h1><p role="status">{said}</p>
<form method="post"><label>Code <input name="code" autocomplete="off" required autofocus></label>
<button>Sign in as the administrator</button></form></main></html>
"""
_ASKS: Final = "Type the code that the program shows. It then acts as this tenant's administrator."
_UNKNOWN: Final = "That code is not known, or no longer. Let the program show a new one."
_DONE: Final = "You are signed in. You may close this page."


def routes() -> list[Route]:
    """List the routes: where a program asks for a code, and the page on which a person types it."""
    return [
        Route(f"{prefix}/{{tenant}}/oauth2/v2.0/{path}", endpoint, methods=methods)
        for prefix in ("", f"/{identity.LOGIN_HOST}")
        for path, endpoint, methods in (("devicecode", _start, ["POST"]), ("deviceauth", _page, ["GET", "POST"]))
    ]


async def _start(request: Request) -> JSONResponse:
    directory: Directory = request.app.state.tenant.directory
    if refusal := identity.unknown_tenant(request, directory):
        return refusal
    form = await _form(request)
    for name in ("client_id", "scope"):
        if not form.get(name):
            return identity.missing(name)
    if refusal := _not_public(directory, form["client_id"].lower()):
        return refusal
    scopes = _granted(form["scope"])
    if scopes is None:
        return _invalid_scope()
    code = "".join(secrets.choice(_LETTERS) for _ in range(9))
    device_code = secrets.token_urlsafe(48)
    _forget_ended(directory)
    grant = {"client_id": form["client_id"].lower(), "scopes": scopes, "user_code": code, "approved": False}
    _keep(directory, grant, device_code, _CODE_LASTS)
    page = str(request.url.replace(path=request.url.path.replace("/devicecode", "/deviceauth"), query=""))
    body = {"user_code": code, "device_code": device_code, "verification_uri": page, "expires_in": _CODE_LASTS}
    message = f"To sign in, use a web browser to open the page {page} and enter the code {code} to authenticate."
    return JSONResponse({**body, "interval": _INTERVAL, "message": message})


async def _page(request: Request) -> HTMLResponse:
    if request.method == "GET":
        return HTMLResponse(_PAGE.format(said=_ASKS))
    directory: Directory = request.app.state.tenant.directory
    typed = (await _form(request)).get("code", "").strip().upper()
    now = directory.clock.now()
    for grant in directory.all(_KIND):
        if grant.get("user_code") == typed and grant["expires"] > now:
            directory.replace(_KIND, {**grant, "approved": True})
            return HTMLResponse(_PAGE.format(said=_DONE))
    return HTMLResponse(_PAGE.format(said=_UNKNOWN), status_code=400)


def redeem(directory: Directory, form: Mapping[str, str]) -> JSONResponse:
    """Answer a token request that brings a device code or a refresh token.

    Args:
        directory: the tenant's directory.
        form: what was posted; `grant_type` is one of `GRANTS`.
    """
    for_device = form["grant_type"] == _DEVICE
    for name in ("client_id", "device_code" if for_device else "refresh_token"):
        if not form.get(name):
            return identity.missing(name)
    presented = form["device_code" if for_device else "refresh_token"]
    grant = directory.by_key(_KIND, presented)
    if grant is None or grant["client_id"] != form["client_id"].lower() or ("user_code" in grant) != for_device:
        if for_device:
            return identity.refuse(400, "bad_verification_code", 70018, "Invalid verification code.")
        return identity.refuse(400, "invalid_grant", 9002313, "Invalid request. Request is malformed or invalid.")
    if grant["expires"] <= directory.clock.now():
        if for_device:
            return identity.refuse(400, "expired_token", 70019, "The verification code expired.")
        return identity.refuse(400, "invalid_grant", 700082, "The refresh token has expired due to inactivity.")
    if for_device and not grant["approved"]:
        return identity.refuse(400, "authorization_pending", 70016, "OAuth 2.0 device flow: authorization is pending.")
    scopes = _granted(form["scope"]) if form.get("scope") and not for_device else grant["scopes"]
    if scopes is None:
        return _invalid_scope()
    if for_device:
        directory.discard(_KIND, grant["id"], recycle=False)
    return _tokens(directory, grant["client_id"], scopes)


def _tokens(directory: Directory, client_id: str, scopes: list[str]) -> JSONResponse:
    tenant_id = directory.meta("tenant_id") or ""
    administrator = str(uuid.uuid5(uuid.UUID(tenant_id), "administrator"))
    access = identity.issue_token(
        directory,
        audience=identity.GRAPH,
        client_app_id=client_id,
        scopes=scopes,
        subject=administrator,
        lifetime=_TOKEN_LASTS,
    )
    refresh = secrets.token_urlsafe(48)
    _keep(directory, {"client_id": client_id, "scopes": scopes}, refresh, _REFRESH_LASTS)
    about = json.dumps({"uid": administrator, "utid": tenant_id}).encode()
    body = {
        "token_type": "Bearer",
        "scope": " ".join(f"{identity.GRAPH}/{scope}" for scope in scopes),
        "expires_in": _TOKEN_LASTS,
        "ext_expires_in": _TOKEN_LASTS,
        "access_token": access,
        "refresh_token": refresh,
        "id_token": _id_token(directory, client_id, administrator),
        "client_info": base64.urlsafe_b64encode(about).decode().rstrip("="),
    }
    return JSONResponse(body, headers={"Cache-Control": "no-store, no-cache"})


def _id_token(directory: Directory, client_id: str, administrator: str) -> str:
    now = int(directory.clock.now())
    claims = {
        "aud": client_id,
        "iss": identity.ciam_issuer(directory),
        "iat": now,
        "nbf": now,
        "exp": now + _TOKEN_LASTS,
        "name": "Administrator",
        "oid": administrator,
        "preferred_username": f"administrator@{directory.meta('domain')}",
        "sub": administrator,
        "tid": directory.meta("tenant_id"),
        "ver": "2.0",
    }
    return identity.sign(directory, claims, use="shared")


def _not_public(directory: Directory, client_id: str) -> JSONResponse | None:
    """Refuse an app that the tenant does not know, or that has to show a secret."""
    if client_id in (*_WELL_KNOWN, directory.meta("admin_client_id")):
        return None
    app = directory.by_key("application", client_id)
    if app is None:
        return identity.refuse(400, "unauthorized_client", 700016, "The application was not found in the directory.")
    if not app.get("isFallbackPublicClient"):
        text = "The request body must contain the following parameter: 'client_assertion' or 'client_secret'."
        return identity.refuse(401, "invalid_client", 7000218, text)
    return None


def _granted(asked: str) -> list[str] | None:
    """Name the permissions behind what was asked for; None when something in it is not one of Graph's."""
    names = [name.removeprefix(f"{identity.GRAPH}/").lstrip("/") for name in asked.split()]
    wanted = [name for name in names if name not in _ABOUT_THE_PERSON]
    if ".default" in wanted or not wanted:
        return list(identity.ADMINISTRATOR_PERMISSIONS)
    known = {name.lower(): name for name in identity.ADMINISTRATOR_PERMISSIONS}
    if not {name.lower() for name in wanted} <= known.keys():
        return None
    return [known[name.lower()] for name in wanted]


def _invalid_scope() -> JSONResponse:
    return identity.refuse(
        400, "invalid_scope", 70011, "The provided value for the input parameter 'scope' is not valid."
    )


def _keep(directory: Directory, grant: Body, key: str, lasts: float) -> None:
    directory.add(_KIND, {**grant, "expires": directory.clock.now() + lasts}, key=key)


def _forget_ended(directory: Directory) -> None:
    now = directory.clock.now()
    for grant in directory.all(_KIND):
        if grant["expires"] <= now:
            directory.discard(_KIND, grant["id"], recycle=False)


async def _form(request: Request) -> dict[str, Any]:
    return dict(parse_qsl((await request.body()).decode("utf-8", "replace")))

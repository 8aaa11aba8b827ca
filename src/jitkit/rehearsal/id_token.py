"""The token an app receives when somebody has signed in [Microsoft Learn, "ID token claims reference"]."""

from __future__ import annotations

import base64
import hashlib
import secrets

from jitkit.rehearsal import identity
from jitkit.rehearsal.directory import Directory
from jitkit.rehearsal.users import User


def id_token(directory: Directory, user: User, app_id: str, *, now: float, nonce: str = "") -> str:
    """Issue an ID token for a user.

    Args:
        directory: the tenant's directory.
        user: who signed in.
        app_id: the app they signed in to.
        now: when, in seconds since the epoch.
        nonce: what the app sent to tell its sign-ins apart; empty for an invented one.

    Returns:
        An RS256 JWT.
    """
    moment, pair = int(now), f"{user.id}{app_id}".encode()
    claims = {
        "aud": app_id,
        "iss": identity.ciam_issuer(directory),
        "iat": moment,
        "nbf": moment,
        "exp": moment + 3600,
        "name": user.body.get("displayName") or "unknown",
        "preferred_username": user.sign_in_name or user.upn,
        "nonce": nonce or secrets.token_urlsafe(16),
        "oid": user.id,
        "sub": base64.urlsafe_b64encode(hashlib.sha256(pair).digest()).rstrip(b"=").decode(),
        "tid": directory.meta("tenant_id"),
        "uti": secrets.token_urlsafe(16),
        "ver": "2.0",
    }
    return identity.sign(directory, claims, use="shared")

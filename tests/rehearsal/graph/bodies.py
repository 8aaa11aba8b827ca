"""What the tests of the stand-in tenant send, and how they read refusals."""

from __future__ import annotations

from typing import Any

import httpx

from jitkit.rehearsal.tenant import RehearsalTenant


def person(tenant: RehearsalTenant, email: str, **more: Any) -> dict[str, Any]:
    """The body that makes a local account."""
    return {
        "accountEnabled": True,
        "displayName": email.partition("@")[0].title(),
        "identities": [{"signInType": "emailAddress", "issuer": tenant.domain, "issuerAssignedId": email}],
        "passwordProfile": {"password": "Vq7-unguessable-Tz", "forceChangePasswordNextSignIn": False},
        "passwordPolicies": "DisablePasswordExpiration",
        **more,
    }


def message(answer: httpx.Response) -> str:
    """The sentence of an error answer, whose shape is checked on the way."""
    error = answer.json()["error"]
    assert set(error) == {"code", "message", "innerError"}
    assert set(error["innerError"]) == {"date", "request-id", "client-request-id"}
    assert error["innerError"]["request-id"] == answer.headers["request-id"]
    return f"{answer.status_code} {error['code']}: {error['message']}"

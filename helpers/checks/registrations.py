"""The flag, the two registrations with their principals and consents, and the encryption key."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import httpx

from helpers.checks.finding import Finding, fault, fine, read
from helpers.graph import explained
from jitkit import protocol

if TYPE_CHECKING:
    from helpers.kit import Session
    from helpers.tenant.apps import Registration
    from helpers.tenant.encryption_key import Key

_ENABLE: Final = "Enable it: Enterprise applications > its name > Properties > Enabled for users to sign in."
_ENDS_SOON: Final = 30


async def look(s: Session) -> list[Finding]:
    """Check them.

    Args:
        s: the open session.
    """
    found: list[Finding] = []
    flag, problems = await read("migration flag", s.attribute.show)
    found += problems or [fine("migration flag", flag.full_name if flag else "")]
    app, problems = await read("extension's app registration", s.apps.extension.show)
    found += problems or (_registration(app) if app else [])
    consent, problems = await read("consent to receive payloads", s.apps.extension_consent.show)
    found += problems or [fine("consent to receive payloads", ", ".join(consent.permissions) if consent else "")]
    key, problems = await read("encryption key", s.key.show)
    found += problems or (_key(key) if key else [])
    client, problems = await read("test client", s.apps.client.show)
    found += problems or [fine("test client", client.app_id if client else "")]
    granted, problems = await read("test client's consent", s.apps.client_consent.show)
    found += problems or [fine("test client's consent", ", ".join(granted.permissions) if granted else "")]
    flow, problems = await read("user flow of the test client", s.apps.user_flow.show)
    found += problems or [fine("user flow of the test client", flow.name if flow else "")]
    for what, app_id in _principals(app, client).items():
        enabled, problems = await read(what, lambda app_id=app_id: _enabled(s, app_id))  # type: ignore[misc]
        found += problems
        if enabled is False:
            found.append(fault(what, "It is disabled: Entra gets no token for it.", _ENABLE))
        elif enabled:
            found.append(fine(what, "enabled"))
    return found


def _principals(app: Registration | None, client: Registration | None) -> dict[str, str]:
    named = {
        "service principal of the extension's app": app.app_id if app else "",
        "service principal of the test client": client.app_id if client else "",
        "service principal of Azure AD Authentication Extensions": protocol.CALLER_APP_ID,
        "service principal of Microsoft Graph": protocol.GRAPH_APP_ID,
    }
    return {what: app_id for what, app_id in named.items() if app_id}


async def _enabled(s: Session, app_id: str) -> bool | None:
    """Read whether a principal is enabled; None when the tenant has none, as before the first callout."""
    with explained("read a service principal"):
        try:
            found = await s.world.graph.send("GET", f"/servicePrincipals(appId='{app_id}')?$select=id,accountEnabled")
        except httpx.HTTPStatusError as error:
            if error.response.status_code == 404:
                return None
            raise
    return found["accountEnabled"] is not False


def _registration(app: Registration) -> list[Finding]:
    what = "extension's app registration"
    if not app.identifier_uri:
        uris = app.facts.get("Identifier URI") or "none"
        return [
            fault(what, f"No identifier URI fits the endpoint's host; there are: {uris}.", "Run notebook 02 again.")
        ]
    if app.facts.get("Access token version") != "2":
        words = "It asks for version 1 tokens, which many endpoints in external tenants refuse."
        return [fault(what, words, "Run notebook 02 again: it sets requestedAccessTokenVersion to 2.")]
    return [fine(what, app.identifier_uri)]


def _key(key: Key) -> list[Finding]:
    words = f"thumbprint {key.thumbprint}; {key.days_left} days left"
    if key.days_left < _ENDS_SOON:
        return [fault("encryption key", words, "Run `await s.key.rotate()` and give the endpoint both keys.")]
    return [fine("encryption key", f"{words}; the private half is on this machine")]

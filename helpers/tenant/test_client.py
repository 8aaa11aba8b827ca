"""The application that people sign in to while you try the migration out; it shows them the token at jwt.ms."""

from __future__ import annotations

from typing import TYPE_CHECKING

from helpers.tenant.registrations import AppStep, requested
from jitkit import protocol

if TYPE_CHECKING:
    from msgraph.generated.models.application import Application

__all__ = ["TestClient"]


class TestClient(AppStep):
    """Make, read or remove the test client."""

    __test__ = False  # pytest collects classes whose names begin with Test

    @property
    def _name(self) -> str:
        return self._profile.names.client_app

    def _drift(self, app: Application) -> dict[str, object]:
        from msgraph.generated.models.implicit_grant_settings import ImplicitGrantSettings
        from msgraph.generated.models.web_application import WebApplication

        drift: dict[str, object] = {}
        uris = (app.web.redirect_uris if app.web else None) or []
        implicit = app.web.implicit_grant_settings if app.web else None
        issues = bool(implicit and implicit.enable_id_token_issuance)
        if protocol.TEST_CLIENT_REDIRECT not in uris or not issues:
            drift["web"] = WebApplication(
                redirect_uris=list(dict.fromkeys([*uris, protocol.TEST_CLIENT_REDIRECT])),
                implicit_grant_settings=ImplicitGrantSettings(enable_id_token_issuance=True),
            )
        access = requested(app, protocol.USER_READ_SCOPE_ID, "Scope")
        if access is not None:
            drift["required_resource_access"] = access
        return drift

    def _more_facts(self, app: Application) -> dict[str, str]:
        return {
            "Redirect URI": ", ".join((app.web.redirect_uris if app.web else None) or []),
            "Issues id tokens": "yes",
            "Asks for": f"{protocol.USER_READ} (delegated permission)",
        }

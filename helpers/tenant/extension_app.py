"""The app registration that stands for the endpoint: Entra asks for tokens in its name before it calls."""

from __future__ import annotations

from typing import TYPE_CHECKING

from helpers.tenant.registrations import AppStep, requested
from jitkit import protocol

if TYPE_CHECKING:
    from msgraph.generated.models.application import Application

__all__ = ["ExtensionApp"]


class ExtensionApp(AppStep):
    """Make, read or remove the endpoint's registration."""

    @property
    def _name(self) -> str:
        return self._profile.names.extension_app

    def _identifier_uri(self, app: Application) -> str:
        # Source: how-to 3.1.1: the host is the one of the target URL, else 1003014 or 1003015 at run time.
        return f"api://{self._profile.endpoint_host}/{app.app_id}"

    def _drift(self, app: Application) -> dict[str, object]:
        from msgraph.generated.models.api_application import ApiApplication

        drift: dict[str, object] = {}
        if app.app_id is not None:
            wanted, uris = self._identifier_uri(app), app.identifier_uris or []
            foreign = [uri for uri in uris if not (uri.startswith("api://") and uri.endswith(f"/{app.app_id}"))]
            if uris != [*foreign, wanted]:
                drift["identifier_uris"] = [*foreign, wanted]
        if app.api is None or app.api.requested_access_token_version != 2:
            drift["api"] = ApiApplication(requested_access_token_version=2)
        access = requested(app, protocol.RECEIVE_PAYLOAD_ROLE_ID, "Role")
        if access is not None:
            drift["required_resource_access"] = access
        return drift

    def _more_facts(self, app: Application) -> dict[str, str]:
        version = app.api.requested_access_token_version if app.api else None
        return {
            "Identifier URI": ", ".join(app.identifier_uris or []),
            "Access token version": str(version or 1),
            "Asks for": f"{protocol.RECEIVE_PAYLOAD} (application permission)",
        }

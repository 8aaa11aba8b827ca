"""The administrator's credential: what azure-identity has for a real tenant."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jitkit.rehearsal import identity
from jitkit.rehearsal.directory import Directory

if TYPE_CHECKING:
    from azure.core.credentials import AccessToken

__all__ = ["Credential"]

_TOKEN_LIFETIME = 3600


class Credential:
    """The administrator's access tokens for Graph, issued by the tenant itself."""

    def __init__(self, directory: Directory, permissions: tuple[str, ...]) -> None:
        self._directory, self._permissions = directory, permissions
        self._token: AccessToken | None = None

    async def get_token(self, *scopes: str, **_: Any) -> AccessToken:
        """Return a token that is good for five minutes at least.

        Args:
            scopes: what azure-identity is asked for; the token is always one for Graph.
        """
        from azure.core.credentials import AccessToken

        now = int(self._directory.clock.now())
        # A reset or a snapshot may have set the clock back: a token of the time that was undone is not valid yet.
        if self._token is None or not now + 300 <= self._token.expires_on <= now + _TOKEN_LIFETIME:
            expires = now + _TOKEN_LIFETIME
            text = identity.issue_token(
                self._directory,
                audience=identity.GRAPH,
                client_app_id=self._directory.meta("admin_client_id") or "",
                roles=self._permissions,
                lifetime=_TOKEN_LIFETIME,
            )
            self._token = AccessToken(text, expires)
        return self._token

    async def close(self) -> None:
        """Forget the token."""
        self._token = None

    async def __aenter__(self) -> Credential:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

"""A legacy store that answers the OAuth password grant: Azure AD B2C, Auth0, Okta, Keycloak.

    oauth2+https://:SECRET@HOST/PATH?client_id=ID&profile=NAME&…

The URL is the product's token endpoint. The client's secret, if it has one, is the password in the URL,
percent-encoded; there is no second place for it. The parameters are the endpoint's own:

| parameter | meaning |
|---|---|
| `client_id` | the application that may use the password grant; always needed |
| `profile` | `azure-b2c`, `auth0`, `okta` or `keycloak`; needed where host and path don't tell |
| `scope` | default `openid`, and for Azure AD B2C the client id beside it; tokens are thrown away |
| `p` | Azure AD B2C: the policy, where it is not in the path |
| `realm` | Auth0: the database connection to ask; without it the tenant needs a default directory |
| `audience` | Auth0: the API to ask a token for |
| `password_first` | `1`: you have seen that the store looks at the password before it says what is below |

What a product does not say, this store cannot know. Azure AD B2C and Auth0 answer alike for a wrong password and an
unknown name, Okta and Keycloak also for a locked account, Keycloak also for a missing one-time code.

"Expired", "must be changed" and "wants a second factor" count as a right password where documents or source code show
that the password was found right before. They don't for Okta and for `AADSTS` codes, and taking them so could let
anybody in who knows a name. Sign in with a wrong password as such a user: when the store says "wrong", add
`password_first=1`. Until then these customers are sent to support.
"""

from __future__ import annotations

import base64
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final
from urllib.parse import quote_plus, urlencode, urlsplit

from jitkit.endpoint.stores import Verdict, can_be_sent, typed_name
from jitkit.endpoint.stores.oauth_answers import AUTH0, KEYCLOAK, OKTA, Row, find_microsoft, find_row
from jitkit.endpoint.stores.web import Address, Reply, Web, read_address
from jitkit.errors import SettingsError

__all__ = ["OAuthStore"]

_log = logging.getLogger(__name__)

_EXAMPLE: Final = "oauth2+https://:SECRET@HOST/PATH?client_id=ID&profile=NAME"
_REALM_GRANT: Final = "http://auth0.com/oauth/grant-type/password-realm"
_UNPROVED: Final = (Verdict.MFA, Verdict.RIGHT_MUST_CHANGE)


@dataclass(frozen=True)
class _Profile:
    """One product: where it lives, what it takes beyond the rest, and how its answers are read."""

    hosts: tuple[str, ...]
    find: Callable[[int, Mapping[str, Any]], Row | None]
    parameters: tuple[str, ...] = ()
    basic: bool = False


_PROFILES: Final = {
    "azure-b2c": _Profile((".b2clogin.com",), find_microsoft, ("p",)),
    "auth0": _Profile((".auth0.com",), partial(find_row, AUTH0), ("realm", "audience")),
    "okta": _Profile((".okta.com", ".oktapreview.com", ".okta-emea.com"), partial(find_row, OKTA), basic=True),
    "keycloak": _Profile((), partial(find_row, KEYCLOAK)),
}
_PARAMETERS: Final = ("client_id", "profile", "scope", "password_first")
_KEYCLOAK_PATH: Final = "/protocol/openid-connect/token"


class OAuthStore:
    """Ask a token endpoint for a token, and throw it away (see the module's text).

    Args:
        url: `oauth2+https://:SECRET@HOST/PATH?client_id=ID&profile=NAME`.

    Raises:
        SettingsError: the URL cannot be used.
    """

    def __init__(self, url: str) -> None:
        address = read_address(url, scheme="oauth2+", example=_EXAMPLE)
        self.kind = _name(address)
        self._profile = _PROFILES[self.kind]
        _check(address, self.kind)
        self._form = _form(address, self.kind)
        self._password_first = address.query.get("password_first") == "1"
        policy = f"?{urlencode({'p': address.query['p']})}" if "p" in address.query else ""
        self._web = Web(address.url + policy, _basic(address) if self._profile.basic else {})

    async def verify(self, username: str, password: str) -> Verdict:
        """Judge a password."""
        if not can_be_sent(username, password):
            return Verdict.WRONG
        form = self._form | {"username": typed_name(username), "password": password}
        reply = await self._web.post(urlencode(form), "application/x-www-form-urlencoded")
        return reply if isinstance(reply, Verdict) else self._judge(reply)

    async def close(self) -> None:
        """Close the connections."""
        await self._web.close()

    def _judge(self, reply: Reply) -> Verdict:
        if reply.status == 200:
            token = reply.body.get("access_token")
            if isinstance(token, str) and token and "error" not in reply.body:
                return Verdict.RIGHT
            _log.error("%s answered 200 without an access token: check the scope", self.kind)
            return Verdict.MALFORMED
        row = self._profile.find(reply.status, reply.body)
        if row is None:
            return self._unknown(reply)
        called = row.name or row.error or str(reply.status)
        if row.ours:
            _log.error("%s refuses the endpoint's own registration (%s): check the application", self.kind, called)
        if row.verdict is Verdict.MALFORMED:
            _log.error("%s gave an answer that says nothing about the password (%s)", self.kind, called)
        if row.verdict in _UNPROVED and not row.proved and not self._password_first:
            _log.warning("%s wants more than a password (%s): see password_first", self.kind, called)
            return Verdict.DISABLED
        return row.verdict

    def _unknown(self, reply: Reply) -> Verdict:
        """Take an unknown text of the password grant's own error for "wrong", and nothing else."""
        if reply.body.get("error") == "invalid_grant":
            _log.warning("%s refused a password in words that are not known", self.kind)
            return Verdict.WRONG
        _log.error("%s gave an answer that is not known, with status %d", self.kind, reply.status)
        return Verdict.MALFORMED


def _name(address: Address) -> str:
    """Choose the profile by its parameter, or else by what the product's URLs look like."""
    chosen = address.query.get("profile")
    if chosen in _PROFILES:
        return chosen
    parts = urlsplit(address.url)
    if chosen is None:
        for name, profile in _PROFILES.items():
            if profile.hosts and (parts.hostname or "").endswith(profile.hosts):
                return name
        if parts.path.endswith(_KEYCLOAK_PATH):
            return "keycloak"
    raise SettingsError(
        "LegacyApiConnectionString does not tell which product answers the password grant.",
        next_step=f"Add the parameter profile with one of {', '.join(_PROFILES)}.",
    )


def _check(address: Address, name: str) -> None:
    known = (*_PARAMETERS, *_PROFILES[name].parameters)
    if not address.query.get("client_id") or not set(address.query) <= set(known):
        raise SettingsError(
            "LegacyApiConnectionString lacks the parameter client_id, or has one that is not known.",
            next_step=f"Write it as {_EXAMPLE}. For {name} the parameters are {', '.join(known)}.",
        )
    if address.query.get("password_first", "1") not in ("0", "1"):
        raise SettingsError("The parameter password_first is neither 1 nor 0.", next_step="Leave it out for 0.")
    if address.user or (name == "azure-b2c" and address.secret):
        raise SettingsError(
            "LegacyApiConnectionString has a user name, or a secret for Azure AD B2C, whose password grant takes none.",
            next_step="Put the client's id into the parameter client_id, and remove what stands before the @.",
        )


def _form(address: Address, name: str) -> dict[str, str]:
    """Write what every request has in common. Basic credentials stand in a header instead."""
    query, profile = address.query, _PROFILES[name]
    client_id = query["client_id"]
    form = {
        "grant_type": _REALM_GRANT if "realm" in query else "password",
        "scope": query.get("scope") or (f"openid {client_id}" if name == "azure-b2c" else "openid"),
    }
    form |= {key: query[key] for key in ("realm", "audience") if key in query}
    if name == "azure-b2c":
        form["response_type"] = "token id_token"
    if address.secret and profile.basic:
        return form
    return form | {"client_id": client_id} | ({"client_secret": address.secret} if address.secret else {})


def _basic(address: Address) -> dict[str, str]:
    """Write the client's credentials as a header [RFC 6749 2.3.1]."""
    if not address.secret:
        return {}
    pair = f"{quote_plus(address.query['client_id'])}:{quote_plus(address.secret)}"
    return {"authorization": "Basic " + base64.b64encode(pair.encode()).decode()}

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
`password_first=1`. Until then these users are sent to support.

What each product's answers mean is in `oauth_answers.toml`.
"""

from __future__ import annotations

import base64
import logging
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote_plus, urlencode, urlsplit

from jitkit.endpoint.stores.base import Verdict, can_be_sent, typed_name
from jitkit.endpoint.stores.http import Address, PostClient, Reply, read_address
from jitkit.errors import SettingsError

_log = logging.getLogger(__name__)

_EXAMPLE: Final = "oauth2+https://:SECRET@HOST/PATH?client_id=ID&profile=NAME"
_REALM_GRANT: Final = "http://auth0.com/oauth/grant-type/password-realm"
_KEYCLOAK_PATH: Final = "/protocol/openid-connect/token"
_CODE: Final = re.compile(r"(?:AADSTS|AADB2C)[0-9]{4,8}")
_UNPROVED: Final = (Verdict.MFA, Verdict.RIGHT_MUST_CHANGE)


@dataclass(frozen=True)
class _Profile:
    """One product: where it is hosted, and what it takes beyond the other products."""

    hosts: tuple[str, ...] = ()
    parameters: tuple[str, ...] = ()
    basic: bool = False


_PROFILES: Final = {
    "azure-b2c": _Profile((".b2clogin.com",), ("p",)),
    "auth0": _Profile((".auth0.com",), ("realm", "audience")),
    "okta": _Profile((".okta.com", ".oktapreview.com", ".okta-emea.com"), basic=True),
    "keycloak": _Profile(),
}
_PARAMETERS: Final = ("client_id", "profile", "scope", "password_first")


@dataclass(frozen=True)
class Row:
    """What one answer means: a row of `oauth_answers.toml`; `name` is what a log line calls it."""

    verdict: Verdict
    error: str = ""
    says: str = ""
    status: int = 0
    proved: bool = False
    ours: bool = False
    name: str = ""


class Answers:
    """Read one product's rows, and find the one that an answer fits."""

    def __init__(self, product: str) -> None:
        tables = tomllib.loads(Path(__file__).with_name("oauth_answers.toml").read_text(encoding="utf-8"))
        rows = [*tables.get(product, []), *tables["misconfigured"]]
        self._rows = [Row(**row | {"verdict": Verdict(row["verdict"])}) for row in rows]
        self._is_microsoft = product == "azure-b2c"
        self._codes = {
            f"{family}{number}": Row(Verdict.DOWN if word == "ours" else Verdict(word), ours=word == "ours")
            for family, words in tables["microsoft"].items()
            for word, numbers in words.items()
            for number in numbers
        }

    def find(self, status: int, body: Mapping[str, Any]) -> Row | None:
        """Find what an answer means; None when no row knows it, which is never a right password."""
        if self._is_microsoft:
            return self._find_microsoft(status, body)
        return self._find_row(status, body)

    def _find_row(self, status: int, body: Mapping[str, Any]) -> Row | None:
        error, description = _text(body, "error"), _text(body, "error_description").lower()
        for row in self._rows:
            if row.status in (0, status) and row.error in ("", error) and row.says in description:
                return row
        return None

    def _find_microsoft(self, status: int, body: Mapping[str, Any]) -> Row | None:
        """Find what an answer of Azure AD B2C means: its code decides, and where it has none its `error`."""
        if status == 429:
            return Row(Verdict.THROTTLED)
        # Only at the start of the text: later it may repeat the name that was typed, and with it a code in that name.
        found = _CODE.match(_text(body, "error_description"))
        code = found[0] if found else ""
        if code in self._codes:
            return replace(self._codes[code], name=code)
        if _text(body, "error") == "interaction_required":
            return Row(Verdict.MFA, "interaction_required")
        row = self._find_row(status, body)
        # An unknown code is none of the known forms of "wrong".
        return Row(Verdict.MALFORMED, name=code) if row is None and code else row


def _text(body: Mapping[str, Any], name: str) -> str:
    value = body.get(name)
    return value if isinstance(value, str) else ""


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
        _check(address, self.kind)
        self._answers = Answers(self.kind)
        self._form = _form(address, self.kind)
        self._password_first = address.query.get("password_first") == "1"
        policy = f"?{urlencode({'p': address.query['p']})}" if "p" in address.query else ""
        self._client = PostClient(address.url + policy, _basic(address) if _PROFILES[self.kind].basic else {})

    async def verify(self, username: str, password: str) -> Verdict:
        """Judge a password."""
        if not can_be_sent(username, password):
            return Verdict.WRONG
        form = self._form | {"username": typed_name(username), "password": password}
        reply = await self._client.post(urlencode(form), "application/x-www-form-urlencoded")
        return reply if isinstance(reply, Verdict) else self._judge(reply)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    def _judge(self, reply: Reply) -> Verdict:
        if reply.status == 200:
            token = reply.body.get("access_token")
            if isinstance(token, str) and token and "error" not in reply.body:
                return Verdict.RIGHT
            _log.error("%s answered 200 without an access token: check the scope", self.kind)
            return Verdict.MALFORMED
        row = self._answers.find(reply.status, reply.body)
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
    """Choose the profile by its parameter, or else by the form of the product's URLs."""
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
        "LegacyApiConnectionString does not say which product answers the password grant.",
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
            next_step="Put the client's id into the parameter client_id, and remove what precedes the @.",
        )


def _form(address: Address, name: str) -> dict[str, str]:
    """Write what every request has in common. Basic credentials go into a header instead."""
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

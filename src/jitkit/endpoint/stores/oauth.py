"""A legacy store that answers the OAuth password grant: README.md has the URL, `answers.toml` what answers mean."""

from __future__ import annotations

import base64
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final
from urllib.parse import quote_plus, urlencode, urlsplit

from jitkit.endpoint.stores.base import Verdict, can_be_sent, read_answers, refuse_url, typed_name
from jitkit.endpoint.stores.http import Address, HttpStore, Reply, read_address

_log = logging.getLogger(__name__)

_EXAMPLE: Final = "oauth2+https://:SECRET@HOST/PATH?client_id=ID&profile=NAME"
_REALM_GRANT: Final = "http://auth0.com/oauth/grant-type/password-realm"
_KEYCLOAK_PATH: Final = "/protocol/openid-connect/token"
_CODE: Final = re.compile(r"(?:AADSTS|AADB2C)[0-9]{4,8}")
# What Azure AD B2C says, without a code, when one of its policies breaks.
_EXCEPTION: Final = re.compile(r"\AAADB2C:|exception has occur", re.IGNORECASE)
_UNPROVED: Final = (Verdict.MFA, Verdict.RIGHT_MUST_CHANGE)


# Where each product is hosted, and the parameters that it takes next to those of all.
_HOSTS: Final = {
    "azure-b2c": (".b2clogin.com",),
    "auth0": (".auth0.com",),
    "okta": (".okta.com", ".oktapreview.com", ".okta-emea.com"),
    "keycloak": (),
}
_PARAMETERS: Final = {"azure-b2c": ("p",), "auth0": ("realm", "audience")}
_PARAMETERS_OF_ALL: Final = ("client_id", "profile", "scope", "password_first")
_BASIC: Final = ("okta",)  # takes the client's credentials as a header


@dataclass(frozen=True)
class Row:
    """What one answer means: a row of `answers.toml`; `name` is what a log line calls it."""

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
        self._is_microsoft = product == "azure-b2c"
        rows = [*([] if self._is_microsoft else read_answers(product)), *read_answers("misconfigured")]
        self._rows = [Row(**row | {"verdict": Verdict(row["verdict"])}) for row in rows]
        self._codes = {
            f"{family}{number}": Row(Verdict.DOWN if word == "ours" else Verdict(word), ours=word == "ours")
            for family, words in read_answers("microsoft").items()
            for word, numbers in words.items()
            for number in numbers
        }

    def find(self, status: int, body: Mapping[str, Any]) -> Row | None:
        """Find what an answer means; None when no row knows it, which is never a right password."""
        return (self._find_microsoft if self._is_microsoft else self._find_row)(status, body)

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
        if not code and _EXCEPTION.search(_text(body, "error_description")):
            return Row(Verdict.DOWN, ours=True, name="an exception in a policy")
        if _text(body, "error") == "interaction_required":
            return Row(Verdict.MFA, "interaction_required")
        row = self._find_row(status, body)
        # An unknown code is none of the known forms of "wrong".
        return Row(Verdict.MALFORMED, name=code) if row is None and code else row


def _text(body: Mapping[str, Any], name: str) -> str:
    value = body.get(name)
    return value if isinstance(value, str) else ""


class OAuthStore(HttpStore):
    """Ask a token endpoint for a token, and discard it."""

    def __init__(self, url: str) -> None:
        address = read_address(url, scheme="oauth2+", example=_EXAMPLE)
        self.kind = _name(address)
        _check(address, self.kind)
        self._answers = Answers(self.kind)
        self._form = _form(address, self.kind)
        self._password_first = address.query.get("password_first") == "1"
        policy = f"?{urlencode({'p': address.query['p']})}" if "p" in address.query else ""
        headers = {}
        if self.kind in _BASIC and address.secret:  # [RFC 6749 2.3.1]
            pair = f"{quote_plus(address.query['client_id'])}:{quote_plus(address.secret)}"
            headers["authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()
        super().__init__(address.url + policy, headers)

    async def verify(self, username: str, password: str) -> Verdict:
        """Judge a password."""
        if not can_be_sent(username, password):
            return Verdict.WRONG
        form = self._form | {"username": typed_name(username), "password": password}
        reply = await self._post(urlencode(form), "application/x-www-form-urlencoded")
        return reply if isinstance(reply, Verdict) else self._judge(reply)

    def _judge(self, reply: Reply) -> Verdict:
        if reply.status == 200:
            token = reply.body.get("access_token")
            if isinstance(token, str) and token and "error" not in reply.body:
                return Verdict.RIGHT
            _log.error("%s answered 200 without an access token: check the scope", self.kind)
            return Verdict.MALFORMED
        row = self._answers.find(reply.status, reply.body)
        if row is None and reply.body.get("error") == "invalid_grant":  # "wrong", and nothing else
            _log.warning("%s refused a password in words that are not known", self.kind)
            return Verdict.WRONG
        if row is None:
            _log.error("%s gave an answer that is not known, with status %d", self.kind, reply.status)
            return Verdict.MALFORMED
        called = ": ".join(filter(None, (row.name or row.error, row.says))) or str(reply.status)
        if row.ours:
            _log.error("%s refuses the endpoint's own registration (%s): check the application", self.kind, called)
        if row.verdict is Verdict.MALFORMED:
            _log.error("%s gave an answer that says nothing about the password (%s)", self.kind, called)
        if row.verdict in _UNPROVED and not row.proved and not self._password_first:
            _log.warning("%s wants more than a password (%s): see password_first", self.kind, called)
            return Verdict.DISABLED
        return row.verdict


def _name(address: Address) -> str:
    """Choose the profile by its parameter, or else by the form of the product's URLs."""
    chosen = address.query.get("profile")
    if chosen in _HOSTS:
        return chosen
    parts = urlsplit(address.url)
    if chosen is None:
        for name, hosts in _HOSTS.items():
            if hosts and (parts.hostname or "").endswith(hosts):
                return name
        if parts.path.endswith(_KEYCLOAK_PATH):
            return "keycloak"
    wanted = f"Add the parameter profile with one of {', '.join(_HOSTS)}."
    refuse_url("does not say which product answers the password grant", wanted)


def _check(address: Address, name: str) -> None:
    known = (*_PARAMETERS_OF_ALL, *_PARAMETERS.get(name, ()))
    if not address.query.get("client_id") or not set(address.query) <= set(known):
        wanted = f"Write it as {_EXAMPLE}. For {name} the parameters are {', '.join(known)}."
        refuse_url("lacks the parameter client_id, or has one that is not known", wanted)
    if address.query.get("password_first", "1") not in ("0", "1"):
        refuse_url("has a parameter password_first that is neither 1 nor 0", "Leave it out for 0.")
    if address.user or (name == "azure-b2c" and address.secret):
        wanted = "Put the client's id into the parameter client_id, and remove what precedes the @."
        refuse_url("has a user name, or a secret for Azure AD B2C, whose password grant takes none", wanted)


def _form(address: Address, name: str) -> dict[str, str]:
    """Write what every request has in common. Basic credentials go into a header instead."""
    query, client_id = address.query, address.query["client_id"]
    form = {
        "grant_type": _REALM_GRANT if "realm" in query else "password",
        "scope": query.get("scope") or (f"openid {client_id}" if name == "azure-b2c" else "openid"),
    }
    form |= {key: query[key] for key in ("realm", "audience") if key in query}
    if name == "azure-b2c":
        form["response_type"] = "token id_token"
    if address.secret and name in _BASIC:
        return form
    return form | {"client_id": client_id} | ({"client_secret": address.secret} if address.secret else {})

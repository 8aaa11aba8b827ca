"""A legacy store behind a JSON API of your own.

The contract, whole:

    POST PATH HTTP/1.1
    content-type: application/json

    {"username": "ann@contoso.example", "password": "…"}

    HTTP/1.1 200 OK
    content-type: application/json

    {"result": "right", "username": "ann@contoso.example"}

`username` comes as it was typed, in NFC and without blanks around it, and is compared by the API's own rules. `result`
is one of

| `result` | meaning |
|---|---|
| `right` | this is the password |
| `right_must_change` | it is, and it has expired or must be changed |
| `mfa` | it is, and a sign-in would ask for a second factor as well |
| `wrong` | it is not |
| `unknown_user` | nobody has this name |
| `locked` | there were too many attempts |
| `disabled` | the account may not be used |
| `no_password` | it has none, as with social sign-in |
| `ambiguous` | more than one account has this name |

With the three that prove a password, `username` must be in the answer and name the same account: an answer about
somebody else migrates nobody. An API that knows which directory account the person became may say so in
`entra_user_id`, its object id: where that is not the callout's, nobody is migrated, and an alarm is counted.

Status 429 asks for patience. Everything else means that the API is out of order: another status (201 and 204 are no
yes; 401 and 403 say that the API does not know the endpoint), a redirect, another content type, more than 64 KiB, or an
answer later than the deadline.
"""

from __future__ import annotations

import base64
import json
import logging
import re
from collections.abc import Mapping
from typing import Any, Final

from jitkit.endpoint.stores import Verdict, can_be_sent, is_other, lookup_key, typed_name
from jitkit.endpoint.stores.web import Reply, Web, read_address
from jitkit.errors import SettingsError

__all__ = ["RestStore"]

_log = logging.getLogger(__name__)

_EXAMPLE: Final = "https://:KEY@HOST/PATH or https://USER:PASSWORD@HOST/PATH"

_PROOFS: Final = (Verdict.RIGHT, Verdict.RIGHT_MUST_CHANGE, Verdict.MFA)
_RESULTS: Final = (
    *_PROOFS,
    Verdict.WRONG,
    Verdict.UNKNOWN_USER,
    Verdict.LOCKED,
    Verdict.DISABLED,
    Verdict.NO_PASSWORD,
    Verdict.AMBIGUOUS,
)


class RestStore:
    """Ask a JSON API (see the module's text) whether a password is right.

    Args:
        url: `https://:KEY@HOST/PATH` sends the key as a bearer token, `https://USER:PASSWORD@HOST/PATH` sends Basic
            credentials, both percent-encoded. There is no query: URLs end up in logs.

    Raises:
        SettingsError: the URL cannot be used.
    """

    kind = "rest"

    def __init__(self, url: str) -> None:
        address = read_address(url, scheme="", example=_EXAMPLE)
        if address.query or not _are_credentials(address.user, address.secret):
            raise SettingsError(
                "LegacyApiConnectionString has a query, or credentials that cannot be sent.",
                next_step=f"Write it as {_EXAMPLE}.",
            )
        self._web = Web(address.url, _credentials(address.user, address.secret))

    async def verify(self, username: str, password: str) -> Verdict:
        """Judge a password."""
        return await self.verify_for("", username, password)

    async def verify_for(self, user_id: str, username: str, password: str) -> Verdict:
        """Judge a password; nobody's where `entra_user_id` names another directory account than the callout."""
        if not can_be_sent(username, password):
            return Verdict.WRONG
        name = typed_name(username)
        reply = await self._web.post(json.dumps({"username": name, "password": password}), "application/json")
        if isinstance(reply, Verdict):
            return reply
        verdict = _judge(reply, lookup_key(name))
        known = None if verdict in (Verdict.UNKNOWN_USER, Verdict.MALFORMED) else reply.body.get("entra_user_id")
        return Verdict.OTHER_USER if user_id and is_other(known, user_id) else verdict

    async def close(self) -> None:
        """Close the connections."""
        await self._web.close()


def _are_credentials(user: str | None, secret: str | None) -> bool:
    """Tell whether they can be sent: no name has a colon [RFC 7617 2], and a bearer token is one ASCII word."""
    if user:
        return bool(secret) and ":" not in user
    return not secret or bool(re.fullmatch(r"[!-~]+", secret))


def _credentials(user: str | None, secret: str | None) -> Mapping[str, str]:
    if not secret:
        return {}
    if not user:
        return {"authorization": f"Bearer {secret}"}
    return {"authorization": "Basic " + base64.b64encode(f"{user}:{secret}".encode()).decode()}


def _judge(reply: Reply, key: str) -> Verdict:
    if reply.status == 429:
        return Verdict.THROTTLED
    if reply.status != 200:
        _log.error("the legacy API refused the endpoint itself with status %d: check its key", reply.status)
        return Verdict.DOWN
    return _result(reply.body, key)


def _result(body: Mapping[str, Any], key: str) -> Verdict:
    verdict = next((word for word in _RESULTS if body.get("result") == word), None)
    if verdict is None:
        _log.error("the legacy API answered without one of the results that the contract has")
        return Verdict.MALFORMED
    name = body.get("username")
    if name is None and verdict not in _PROOFS:
        return verdict
    if not isinstance(name, str) or lookup_key(name) != key:
        _log.error("the legacy API answered about somebody else than was asked for")
        return Verdict.MALFORMED
    return verdict

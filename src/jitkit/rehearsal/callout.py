"""Compose the password-submit callout and send it.

[Microsoft Learn, "Just-in-time password migration" and "Troubleshoot custom authentication extensions"]
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import httpx

from jitkit import protocol
from jitkit.errors import NotReady
from jitkit.explanations import CALLOUT_ERRORS
from jitkit.rehearsal import client_app as clients
from jitkit.rehearsal.callout_answer import Action, Unusable, Verdict, judge, read
from jitkit.rehearsal.client_app import ClientApp
from jitkit.rehearsal.delivery import at, deliver, nowhere, reachable
from jitkit.rehearsal.directory import Body, Directory
from jitkit.rehearsal.ids import new_id
from jitkit.rehearsal.journal import timestamp
from jitkit.rehearsal.password_context import password_context
from jitkit.rehearsal.users import User

if TYPE_CHECKING:
    from jitkit.rehearsal.caller import Caller
    from jitkit.rehearsal.tenant import RehearsalTenant

# Which failures are worth a second attempt is not published either; these are the transient ones.
_TRANSIENT: Final = frozenset({429, 500, 502, 503, 504})
_USER_PROPERTIES: Final = ("companyName", "displayName", "givenName", "mail", "preferredLanguage", "surname")


@dataclass(frozen=True)
class Submission:
    """A password that somebody submitted for a user, in an app that a listener covers."""

    client: ClientApp
    listener: Body
    user: User
    username: str
    password: str = field(repr=False)
    nonce: str = field(default_factory=new_id, repr=False)
    correlation_id: str = field(default_factory=new_id)
    ip: str = "127.0.0.1"


@dataclass(frozen=True)
class Callout:
    """One request to an endpoint, exactly as a sign-in sends it.

    Args:
        target_url: the public address that the extension names.
        base_url: the loopback address that its host leads to; None when nothing is published there.
        headers: the request headers; they hold the bearer token.
        body: the JSON body.
        context: the encrypted password context in the body.
        nonce: what the answer has to repeat.
        correlation_id: the sign-in's correlation id.
        timeout: seconds to wait for each attempt.
        retries: further attempts after one that failed in passing.
    """

    target_url: str
    base_url: str | None
    headers: dict[str, str] = field(repr=False)
    body: Body = field(repr=False)
    context: str = field(repr=False)
    nonce: str = field(repr=False)
    correlation_id: str
    timeout: float
    retries: int


async def compose(
    tenant: RehearsalTenant, username: str, password: str, *, client_app_id: str | None = None, nonce: str | None = None
) -> Callout:
    """Build the request that a sign-in would send, without sending it.

    Args:
        tenant: the stand-in tenant.
        username: a sign-in name; one that no user of the tenant has yet stands for an invented person.
        password: what the person would type.
        client_app_id: the app to sign in to; None for the only one there is.
        nonce: a nonce to use; None for a fresh one.

    Raises:
        NotReady: the app or a listener for it does not exist.
        CalloutImpossible: something the callout needs is missing.
    """
    directory, setup = tenant.directory, tenant.caller.setup
    setup.refresh()
    app_id = (client_app_id or clients.only_app_id(directory)).lower()
    try:
        client = setup.client(app_id)
    except clients.Refused as refused:
        raise NotReady(refused.reason, next_step="Complete the test client first (notebook 02).") from None
    user = directory.user_by_sign_in_name(username.strip()) or _invented(directory, username)
    listener = setup.coverage(app_id).listener
    if listener is None:
        raise NotReady(f"No listener includes {client.name}.", next_step="Create the listener first (notebook 03).")
    submission = Submission(client, listener, user, username, password, nonce=nonce or new_id())
    return build(tenant.caller, submission)


def build(caller: Caller, submission: Submission) -> Callout:
    """Build the request for one submitted password.

    Args:
        caller: the tenant's calling side.
        submission: who submitted what, where.

    Raises:
        CalloutImpossible: something the callout needs is missing.
    """
    target = caller.setup.target(submission.listener)
    context = password_context(
        target.recipient,
        username=submission.username,
        password=submission.password,
        nonce=submission.nonce,
        audience=target.app_id,
        issuer=target.resource_id,
        now=caller.clock.signing_time(),
    )
    return Callout(
        target_url=target.url,
        base_url=reachable(caller, target.url),
        headers={
            "Host": urlsplit(target.url).netloc,
            "Authorization": f"Bearer {caller.bearer(target)}",
            "Content-Type": "application/json",
        },
        body=_envelope(caller.tenant_id, submission, target.extension_id, context),
        context=context,
        nonce=submission.nonce,
        correlation_id=submission.correlation_id,
        timeout=target.timeout,
        retries=target.retries,
    )


async def call(caller: Caller, callout: Callout) -> Verdict:
    """Send a callout as a sign-in does: within the time allowed, a second time if that may help, always the same.

    Args:
        caller: the tenant's calling side.
        callout: the request.

    Returns:
        The endpoint's action, or the error for the sign-in log.
    """
    started, attempts = caller.clock.now(), 0
    if (fault := int(caller.setup.switch("callout_fault"))) in CALLOUT_ERRORS:
        return Verdict(started, 0, None, fault, None, "The service itself failed: the switch callout_fault is set.")
    while True:
        attempts += 1
        try:
            action = await _attempt(caller, callout)
        except Unusable as problem:
            transient = problem.error in (1003005, 1003027) or problem.http_status in _TRANSIENT
            if transient and attempts <= callout.retries:
                continue
            sent = attempts - (problem.error == 1003004)
            return Verdict(started, sent, None, problem.error, problem.http_status, problem.detail)
        return Verdict(started, attempts, action)


async def _attempt(caller: Caller, callout: Callout) -> Action:
    if not caller.admit():
        raise Unusable(1003004, "The tenant makes too many callouts at once.")
    client = caller.client()
    try:
        async with asyncio.timeout(callout.timeout):
            response = await deliver(caller, _request(client, callout))
            try:
                content = await read(response, int(caller.setup.switch("response_limit_bytes")))
                return judge(response, content, callout.nonce, int(caller.setup.switch("wrong_nonce_error")))
            finally:
                await response.aclose()
    except (TimeoutError, httpx.TimeoutException):
        raise Unusable(1003005, f"There was no answer within {callout.timeout * 1000:.0f} ms.") from None
    except (httpx.TransportError, httpx.InvalidURL) as problem:
        detail = str(problem) or f"The connection broke ({type(problem).__name__})."
        raise Unusable(1003027, detail) from None


def _request(client: httpx.AsyncClient, callout: Callout) -> httpx.Request:
    if callout.base_url is None:
        raise nowhere(callout.target_url)
    url = at(callout.base_url, callout.target_url)
    return client.build_request("POST", url, headers=dict(callout.headers), content=json.dumps(callout.body).encode())


def _invented(directory: Directory, username: str) -> User:
    id = new_id()
    return User(
        id=id,
        upn=f"{id}@{directory.meta('domain')}",
        sign_in_name=username,
        password_hash="",
        force_change=False,
        enabled=True,
        failed=0,
        locked_until=0,
        body={"mail": username, "displayName": username, "createdDateTime": timestamp(directory.clock.now())},
        created=directory.clock.now(),
    )


def _envelope(tenant_id: str, submission: Submission, extension_id: str, context: str) -> Body:
    return {
        "type": protocol.EVENT_TYPE,
        "source": f"/tenants/{tenant_id}/applications/{submission.client.app_id}",
        "data": {
            "@odata.type": protocol.CALLOUT_DATA_TYPE,
            "tenantId": tenant_id,
            "authenticationEventListenerId": submission.listener["id"],
            "customAuthenticationExtensionId": extension_id,
            "encryptedPasswordContext": context,
            "authenticationContext": _authentication_context(submission),
            "userSignUpInfo": None,
            "otpContext": None,
        },
    }


def _authentication_context(submission: Submission) -> Body:
    client, user = submission.client, submission.user
    given = {name: user.body[name] for name in _USER_PROPERTIES if user.body.get(name)}
    return {
        "correlationId": submission.correlation_id,
        "client": {"ip": submission.ip, "locale": "en-us", "market": "en-us"},
        "protocol": "OAUTH2.0",
        "clientServicePrincipal": {
            "id": client.principal["id"],
            "appId": client.app_id,
            "appDisplayName": client.name,
            "displayName": client.name,
        },
        "resourceServicePrincipal": None,
        "user": {
            **given,
            "createdDateTime": user.body.get("createdDateTime"),
            "id": user.id,
            "userPrincipalName": user.upn,
            "userType": user.body.get("userType") or "Member",
        },
    }

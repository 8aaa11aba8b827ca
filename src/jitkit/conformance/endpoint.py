"""The endpoint under test: composes calls to it, sends them, and asserts what its answers must be."""

from __future__ import annotations

import asyncio
import copy
import json
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import httpx
import pytest

from jitkit import protocol
from jitkit.conformance.config import Config
from jitkit.conformance.issuer import Issuer
from jitkit.conformance.legacy_store import Account, LegacyStore
from jitkit.entra_tokens import encrypted, unsigned

LIMIT: Final = protocol.TIMEOUT_MS / 1000
_NO_ANSWER: Final = 8.0  # seconds after which a case stops waiting
_DEADLINE: Final = 1.0  # an endpoint that blocks after this long may have run into its own time limit
_ACTIONS: Final = {
    (protocol.ACTION_PREFIX + name).lower(): name
    for name in (protocol.MIGRATE, protocol.UPDATE, protocol.RETRY, protocol.BLOCK)
}
_STACKS: Final = ("traceback", "exception", "stack trace", ' at "', "\n   at ", ".java:", '.py"', "node_modules")


class TooSlow(AssertionError):
    """The endpoint took too long, as far as a machine that may be busy with other work can measure."""


class Untrusted(AssertionError):
    """There is no TLS connection to the endpoint, and waiting does not change that."""


@dataclass(frozen=True)
class Reply:
    """What the endpoint answered, and after how many seconds."""

    status: int
    headers: httpx.Headers = field(repr=False)
    body: bytes = field(repr=False)
    seconds: float

    @property
    def data(self) -> Any:
        """The `data` of the answer; None when there is none."""
        try:
            return json.loads(self.body)["data"]
        except (ValueError, KeyError, TypeError):
            return None

    @property
    def action(self) -> str:
        """The name of the action in its documented spelling; empty without a single known action."""
        try:
            (action,) = self.data["actions"]
            return _ACTIONS.get(str(action["@odata.type"]).lower().removeprefix("#"), "")
        except (TypeError, KeyError, ValueError):
            return ""

    @property
    def texts(self) -> dict[str, Any]:
        """Title and message of the action, as far as they are there."""
        action = self.data["actions"][0]
        return {name: action[name] for name in ("title", "message") if action.get(name) is not None}

    def __str__(self) -> str:
        return self.action or f"status {self.status}"


@dataclass
class Call:
    """One request about an account's password; bytes and text are sent as they are, and token None sends no token."""

    account: Account
    nonce: str = field(repr=False)
    body: Any = field(repr=False)
    token: str | None = field(repr=False)
    headers: dict[str, str | list[str]] = field(default_factory=dict, repr=False)  # a list is sent as so many headers
    method: str = "POST"

    def asked(self, times: int) -> None:
        """Assert how often the legacy store was asked about the account."""
        heard = len(self.account.asked)
        assert heard == times, f"the legacy store was asked {heard} times, not {times}"


class Endpoint:
    """An endpoint at its URL, with the suite's issuer and its legacy store (None when the endpoint has its own)."""

    def __init__(self, config: Config, url: str, issuer: Issuer, legacy: LegacyStore | None) -> None:
        self.config = config
        self.url = url
        self.issuer = issuer
        self.legacy = legacy
        self.http = httpx.AsyncClient(
            trust_env=False, timeout=_NO_ANSWER, limits=httpx.Limits(max_connections=400, max_keepalive_connections=50)
        )
        self.well = True  # whether the latest good call passed
        self.patience = 65.0  # seconds that an endpoint may take to recover
        self.passwords: set[str] = set()
        self.usernames: set[str] = set()
        self.nonces: set[str] = set()
        self.tokens: set[str] = set()

    def at(self, url: str) -> Endpoint:
        """Return the endpoint at another URL, with the same issuer and legacy store."""
        other = copy.copy(self)
        other.url = url
        return other

    def account(self, kind: str = "right", **changes: Any) -> Account:
        """Return a new account in the suite's store, or the configured one of this kind in the endpoint's own.

        The case is skipped where the endpoint has its own store, and the configuration names no such account.
        """
        if self.config.accounts is not None:
            login = None if changes else getattr(self.config.accounts, kind)
            if login is None:
                pytest.skip(f"the configuration names no account of the kind {kind!r}")
            account = Account(login.username, login.password)
        else:
            name = uuid.uuid4().hex[:10]
            near_miss = f"Canary-near-miss-{name[:8]}!A1"
            of_kind: dict[str, dict[str, Any]] = {
                "weak": {"password": f"weak{name[:5]}"},
                "wrong": {"typed": near_miss},
                "unknown": {"password": None, "typed": near_miss},
                "must_change": {"says": "right_must_change"},
            }
            usual = {"username": f"case-{name}@conformance.example", "password": f"Canary-{name}!Pa55"}
            account = Account(**usual | of_kind.get(kind, {"says": kind}) | changes)
            if self.legacy is not None:
                self.legacy.add(account)
        self.usernames.add(account.username)
        return account

    def call(
        self,
        account: Account | str = "right",
        *,
        typed: Any = ...,
        claims: Mapping[str, Any] | None = None,
        inside: Callable[[dict[str, Any]], str] = unsigned,
        jwe: Mapping[str, Any] | None = None,
        context: Any = ...,
        token: Any = ...,
        headers: dict[str, str | list[str]] | None = None,
        **data: Any,
    ) -> Call:
        """Compose a good call, with parts replaced.

        Args:
            account: whose password is sent, or the kind of a new account.
            typed: the password that the user types.
            claims: claims inside the password context to replace; None leaves one out.
            inside: writes the claims as the token inside the password context.
            jwe: what to encrypt otherwise; see `jitkit.entra_tokens.encrypted`.
            context: what is sent in place of the encrypted password context.
            token: the bearer token, or None for none.
            headers: further headers.
            data: members of the envelope's `data` to replace.
        """
        person = self.account(account) if isinstance(account, str) else account
        password = (person.typed or person.password or "") if typed is ... else typed
        entra = self.issuer.entra
        stated = entra.context_claims(person.username, password, **(claims or {}))
        nonce = stated.get(protocol.CLAIM_NONCE)
        if isinstance(password, str) and len(password) > 7:
            self.passwords.add(password)
        if isinstance(nonce, str) and nonce:
            self.nonces.add(nonce)
        if context is ...:
            context = encrypted(inside(stated), **{"key": self.config.certificate, **(jwe or {})})
        bearer = self.issuer.bearer() if token is ... else token
        self.tokens |= {secret for secret in (context, bearer) if isinstance(secret, str) and len(secret) > 80}
        return Call(person, str(nonce), entra.envelope(context, person.directory_id, **data), bearer, headers or {})

    async def send(self, call: Call) -> Reply:
        """Send a call; without an answer it fails."""
        usual = {} if call.token is None else {"authorization": f"Bearer {call.token}"}
        headers = {**usual, "content-type": "application/json", **call.headers}
        several = {name: [value] if isinstance(value, str) else value for name, value in headers.items()}
        lines = [(name, value) for name, values in several.items() for value in values]
        as_it_is = call.body is None or isinstance(call.body, bytes | str)
        content = call.body if as_it_is else json.dumps(call.body)
        started = time.perf_counter()
        try:
            answer = await self.http.request(call.method, self.url, content=content, headers=lines)
        except httpx.TimeoutException:
            raise TooSlow(f"no answer within {_NO_ANSWER:.0f} s") from None
        except httpx.TransportError as error:
            if "[SSL" in str(error):
                unknown = "CERTIFICATE_VERIFY_FAILED" in str(error)
                raise Untrusted("its certificate cannot be verified" if unknown else "TLS failed") from None
            raise AssertionError(f"no answer: the connection ended ({type(error).__name__})") from None
        return Reply(answer.status_code, answer.headers, answer.content, time.perf_counter() - started)

    async def decides(self, call: Call, *actions: str) -> Reply:
        """Send a call that must be decided, with one of these actions."""
        return decided(await self.send(call), call, *actions)

    async def refuses(self, call: Call, *statuses: int) -> Reply:
        """Send a call that must be refused: with one of these statuses, no hint, and the legacy store not asked."""
        before = self._asked(call)
        reply = await self.send(call)
        wanted = " or ".join(map(str, statuses))
        assert not reply.action, f"expected status {wanted}, got a decision: {reply.action}"
        assert reply.status in statuses, f"expected status {wanted}, got {reply.status}"
        assert self._asked(call) == before, f"refused with {reply.status}, but the legacy store was asked first"
        shows_nothing(reply, call)
        return reply

    def _asked(self, call: Call) -> int:
        """Count how often the legacy store was asked about an account, or about a name that it does not have."""
        return len(call.account.asked) + (len(self.legacy.unknown) if self.legacy else 0)

    async def unavailable(self, call: Call) -> Reply:
        """Send a call that cannot be decided now: Block with the nonce, or 503; in time, and never a verdict."""
        reply = await self.send(call)
        in_time(reply)
        if reply.status == 503 and not reply.action:
            return reply
        assert reply.action != protocol.RETRY, "Retry: the user reads 'wrong password', and nothing was found wrong"
        let_in = reply.action in (protocol.MIGRATE, protocol.UPDATE)
        assert not let_in, f"{reply.action}: a password was let through that was not verified"
        return decided(reply, call, protocol.BLOCK)

    async def recovers(self) -> None:
        """Wait until a good call passes again: after faults, an endpoint's breaker may still be open."""
        until = time.monotonic() + (self.patience if self.well else 0)
        while True:
            reply = await self.send(self.call())
            self.well = b"migratepassword" in reply.body.lower()
            if self.well:
                return
            assert time.monotonic() < until, "a good call does not pass, although the legacy store is well"
            await asyncio.sleep(0.5)


def decided(reply: Reply, call: Call, *actions: str) -> Reply:
    """Assert that a reply decides a call, with one of these actions and the call's nonce."""
    wanted = " or ".join(actions)
    assert reply.status == 200, f"expected {wanted}, got status {reply.status}"
    if reply.action not in actions:
        # A block that took long may be an outage answer: the endpoint did not get its time on a busy machine.
        late = reply.action == protocol.BLOCK and reply.seconds > _DEADLINE
        problem = TooSlow if late else AssertionError
        raise problem(f"expected {wanted}, got {reply.action or 'no action that Entra knows'}")
    assert reply.data.get("nonce") == call.nonce, f"{reply.action} without the nonce that was sent"
    return reply


async def becomes_true(condition: Callable[[], bool], seconds: float) -> bool:
    """Wait for a condition; returns whether it became true in time."""
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            return False
        await asyncio.sleep(0.05)
    return True


def with_message(reply: Reply) -> None:
    """Assert that the user reads something about what to do."""
    assert reply.texts.get("message"), f"{reply.action} without a message: the user reads nothing about what to do"


def shows_nothing(reply: Reply, call: Call) -> None:
    """Assert that an answer's body and headers hold nothing secret and no stack."""
    text = reply.body.decode("utf-8", "replace") + str(reply.headers)
    secrets = {"the password": call.account.password, "the username": call.account.username, "the nonce": call.nonce}
    for name, value in secrets.items():
        assert not (value and len(value) > 5 and value in text), f"the answer repeats {name}"
    assert not any(sign in text.lower() for sign in _STACKS), "the answer shows a stack trace"


def in_time(reply: Reply, limit: float = LIMIT) -> None:
    """Assert that Entra would still have been waiting for a reply."""
    if reply.seconds > limit:
        raise TooSlow(f"answered after {reply.seconds:.1f} s, and {limit:.1f} s is the limit here")

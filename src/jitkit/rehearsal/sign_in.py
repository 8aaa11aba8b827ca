"""Signs users in as the tenant's sign-in page does: the stored password first, then the flag, then the endpoint.

[Microsoft Learn, "Just-in-time password migration": how the process works, and its questions and answers]

How a sign-in can end is data, in `outcomes.toml` next to this file. Where the documents leave something open, a switch
decides (`switches`), or this was assumed: a disabled account is refused before the endpoint is called; a new password
chosen after UpdatePassword marks the user as migrated; Block is 1100001 in the log, a reset 50125 and a forced change
50055.
"""

from __future__ import annotations

import asyncio
import functools
import tomllib
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any, Final, Literal

from jitkit import protocol
from jitkit.display import Table
from jitkit.explanations import CALLOUT_ERRORS
from jitkit.rehearsal import accounts
from jitkit.rehearsal.audit_log import by_user
from jitkit.rehearsal.callout import Caller, Verdict
from jitkit.rehearsal.callout_messages import Action
from jitkit.rehearsal.clock import timestamp
from jitkit.rehearsal.directory import Body, User, member, new_id
from jitkit.rehearsal.identity import id_token
from jitkit.rehearsal.state import State
from jitkit.rehearsal.tenant_setup import (
    CalloutImpossible,
    ClientApp,
    Refused,
    accepts_name,
    client_app,
    coverage,
    is_attribute,
    no_code,
    only_app_id,
)

Actor = Literal["Person", "Entra", "Your endpoint", "Directory"]
Path = Literal["callout", "silent", "reset"]

_TABLES: Final = tomllib.loads((files("jitkit.rehearsal") / "outcomes.toml").read_text(encoding="utf-8"))
_RESET: Final = 50125
_CHANGE: Final = 50055
_BLOCK_TITLE: Final = "You cannot sign in"
_BLOCK_MESSAGE: Final = "Contact the people who run this service."
_UNKNOWN_USER: Final = "00000000-0000-0000-0000-000000000000"


@dataclass(frozen=True)
class Step:
    """One thing that happened: when (milliseconds after the start), who did it, what, and why."""

    at_ms: float
    actor: Actor
    what: str
    detail: str = ""


@dataclass(frozen=True, kw_only=True)
class SignIn:
    """The outcome of a sign-in and its steps, without a secret."""

    username: str  # as typed
    outcome: str  # in words: the outcomes of `outcomes.toml`
    code: int  # the AADSTS number in the sign-in log; 0 when the user is signed in
    user_sees: str  # what the user reads on the page
    title: str | None = None  # of the block page, when the endpoint blocks
    message: str | None = None  # of the block page, when the endpoint blocks
    migrated: bool = False  # whether this sign-in turned the migration flag to false
    # How it did: the endpoint said MigratePassword (callout), the stored password already matched (silent), or the user
    # chose a new password (reset).
    path: Path | None = None
    called_endpoint: bool = False  # whether a request reached out to the endpoint
    attempts: int = 0  # how many requests were sent to it
    callout_error: int | None = None  # the 1003xxx number in the sign-in log
    http_status: int | None = None  # of the endpoint's last answer
    correlation_id: str  # names this sign-in in the tenant's log and in the endpoint's ledger
    user_id: str | None = None  # the user's object id, or None for an unknown user
    app_id: str  # the app that was signed in to
    ip: str = "127.0.0.1"  # the address it came from
    duration_ms: float
    steps: tuple[Step, ...] = field(repr=False)  # what happened, in order

    @property
    def id_token(self) -> str | None:
        """The token the app would receive, when the app accepts id tokens. It is signed when it is read."""
        issue: Callable[[], str] | None = self.__dict__.get("_issue")
        return issue() if issue else None

    def _repr_html_(self) -> str:
        return Table(
            caption=f"Sign-in of {self.username}: {self.outcome}" + (", migrated" if self.migrated else ""),
            columns=("After", "Who", "What", "Detail"),
            rows=[(f"{step.at_ms:.0f} ms", step.actor, step.what, step.detail) for step in self.steps],
            note=f"The person sees: {self.user_sees}",
        )._repr_html_()


@dataclass(frozen=True)
class PasswordReset:
    """The outcome of a self-service password reset: in words, and what the user reads at the end."""

    username: str
    outcome: str
    user_sees: str
    user_id: str | None


class SignIns:
    """Signs users in to one opened tenant."""

    def __init__(self, state: State, caller: Caller) -> None:
        self.state, self.caller = state, caller
        self.lockout = accounts.Lockout(state)
        self.usual_hash = ""
        self._turns: weakref.WeakValueDictionary[tuple[int, str], asyncio.Lock] = weakref.WeakValueDictionary()

    async def sign_in(
        self, username: str, password: str, *, client_app_id: str | None, new_password: str | None, ip: str
    ) -> SignIn:
        """Sign a user in; the tenant's sign-in log gets a row. `RehearsalTenant.sign_in` explains the arguments."""
        app_id = (client_app_id or only_app_id(self.state.directory)).lower()
        return await _Attempt(self, username, password, new_password, app_id, ip).run()

    async def reset_password(self, username: str, new_password: str, *, ip: str) -> PasswordReset:
        """Let a user replace a forgotten password, with a one-time code sent to their e-mail address.

        The migration flag stays as it is; the next sign-in then matches the stored password, and that marks the user as
        migrated. [Microsoft Learn, "Enable self-service password reset" for external tenants; "Prevent attacks using
        smart lockout" for what a reset does to a lock]
        """
        self.state.refresh()
        user, problem = self.state.directory.user_by_sign_in_name(username.strip()), None
        if user is None:
            outcome = "unknown user"
        elif not user.enabled:
            outcome = "account disabled"
        elif no_code(self.state, user) or not user.password_hash:
            outcome = "not offered"
        elif problem := accounts.problem_with(self.state, user, new_password):
            outcome = "password refused"
        else:
            outcome = "password reset"
            stored = await hashed_like(new_password, self.usual_hash)
            async with self.turn(user.id):
                self.store(user, stored, "Reset password (self-service)", ip)
        sees = _TABLES["reset"][outcome].format(problem=problem)
        return PasswordReset(username, outcome, sees, user.id if user else None)

    def store(self, user: User, stored: str, activity: str, ip: str, flag: str = "") -> None:
        """Store a password that a user chose; where a flag is named, mark the user as migrated."""
        with self.state.directory.transaction():
            now = self.state.directory.user(user.id) or user
            accounts.store_password(self.state, now, stored, activity=activity, flag=flag, by=by_user(now, ip))

    def turn(self, user_id: str) -> asyncio.Lock:
        """Return the lock that lets the sign-ins of one user run one after the other, in each event loop."""
        return self._turns.setdefault((id(asyncio.get_running_loop()), user_id), asyncio.Lock())


async def hashed_like(password: str, other: str) -> str:
    """Hash a password as another hash was made, in a thread unless that is a quick one."""
    if accounts.is_invented(other):
        return accounts.hash_password(password, invented=True)
    return await asyncio.to_thread(accounts.hash_password, password)


class _Attempt:
    """One sign-in in progress: what is known so far, and the steps that lead to its end."""

    def __init__(
        self, service: SignIns, username: str, password: str, new_password: str | None, app_id: str, ip: str
    ) -> None:
        self.service, self.state, self.directory = service, service.state, service.state.directory
        self.username, self.client, self.ip = username, ClientApp(app_id), ip
        self.password, self.new_password = password, new_password
        self.correlation_id = new_id()
        self.started, self.began = self.state.clock.now(), self.state.clock.stopwatch()
        self.steps: list[Step] = []
        self.user: User | None = None
        self.listener: Body = {}
        self.flag = ""
        self.verdict: Verdict | None = None
        self.path: Path | None = None

    async def run(self) -> SignIn:
        """Sign the user in and write the row of the sign-in log."""
        self.state.refresh()
        done = await self._sign_in()
        self.directory.append_log("signIn", self._row(done), time=self.started)
        return done

    # --- from the name to the stored password ----------------------------------------------------------------------

    async def _sign_in(self) -> SignIn:
        self.step("Person", "types a name and a password", f"App {self.client.app_id}.")
        try:
            self.client = client_app(self.state, self.client.app_id)
        except Refused as refused:
            return self.end("app-refused", code=refused.code, reason=refused.reason)
        self.directory.apply_late_values()
        name = self.username.strip()
        user = self.directory.user_by_sign_in_name(name)
        if user is None and "@" in name:  # an object id has none, and no user signs in by it
            user = self.directory.user(name)
        if user is None:
            # As much work as for a known user, so that the time taken does not reveal who exists.
            await self._matches(accounts.decoy(self.service.usual_hash))
            return self.end("unknown-user")
        if not accepts_name(self.state, user, name):
            await self._matches(accounts.decoy(self.service.usual_hash))
            return self.end("name-not-accepted")
        turn = self.service.turn(user.id)
        waited = turn.locked()
        async with turn:
            return await self._known((self.directory.user(user.id) or user) if waited else user)

    async def _known(self, user: User) -> SignIn:
        self.user = user
        self.service.usual_hash = user.password_hash
        if not user.enabled:
            return self.end("account-disabled")
        if self.service.lockout.is_locked(user):
            return self.end("locked-out")
        if not user.password_hash:
            return self.end("no-password")
        self.listener, tied = coverage(self.state, self.client.app_id)
        self.flag = str(member(self.listener, "handler", "migrationPropertyId") or "")
        if await self._matches(user.password_hash):
            return await self._matched(user)
        self.step("Directory", "compares: not the stored password")
        if not self._flagged(user):
            self.step("Entra", "does not call your endpoint", self._why_not())
            return self._wrong(user, count=True)
        self.step("Directory", f"says that {self.flag} is true", f"Listener {self.listener.get('displayName') or ''}")
        if tied:
            self.step("Entra", "has several listeners of the same priority", "Which one it takes is not documented.")
        return await self._call(user)

    async def _matched(self, user: User) -> SignIn:
        self.step("Directory", "compares: the stored password matches", "Your endpoint is not called.")
        flagged = self._flagged(user)
        if user.force_change:
            self.step("Entra", "requires a new password", "The account must change it at the next sign-in.")
            return await self._choose(user, _CHANGE, clear_flag=flagged)
        if flagged:
            with self.directory.transaction():
                accounts.mark_migrated(self.state, user, self.flag)
            self.path = "silent"
            self.step("Entra", "marks the user as migrated", self._marked())
        return self._admitted(user)

    async def _matches(self, stored: str) -> bool:
        if accounts.is_invented(stored):
            return accounts.matches(self.password, stored)
        return await asyncio.to_thread(accounts.matches, self.password, stored)

    def _flagged(self, user: User) -> bool:
        """Return whether the migration flag is true: null, no value and one whose definition was deleted are not."""
        return is_attribute(self.state, self.flag) and user.body.get(self.flag) is True

    def _why_not(self) -> str:
        if not self.listener:
            return f"No listener includes the app {self.client.app_id}, whatever the user's flag is."
        if not is_attribute(self.state, self.flag):
            return f"The listener's flag {self.flag} is not an attribute of this tenant."
        return f"{self.flag} is not true for this user."

    # --- the endpoint ----------------------------------------------------------------------------------------------

    async def _call(self, user: User) -> SignIn:
        caller = self.service.caller
        try:
            callout = caller.build(
                self.client,
                self.listener,
                user,
                self.username,
                self.password,
                correlation_id=self.correlation_id,
                ip=self.ip,
            )
        except CalloutImpossible as missing:
            self.verdict = Verdict(self.state.clock.now(), 0, error=missing.code, http_status=None)
            self.step("Entra", "cannot call your endpoint", f"{missing.service}. {missing.happened}")
            return self.end("callout-failed")
        self.step("Entra", "encrypts the password and calls your endpoint", callout.target_url)
        self.verdict = verdict = await caller.call(callout)
        attempts = "" if verdict.attempts < 2 else f" after {verdict.attempts} attempts"
        if verdict.action is None:
            name = f"{verdict.error} {CALLOUT_ERRORS[verdict.error or 0]}"
            self.step("Entra", f"has no usable answer{attempts}", f"{name}. {verdict.detail}")
            return self.end("callout-failed")
        self.step("Your endpoint", f"answers {verdict.action.name}{attempts}")
        return await self._follow(user, verdict.action)

    async def _follow(self, user: User, action: Action) -> SignIn:
        if action.name == protocol.RETRY:
            return self._wrong(user, count=bool(self.state.switch("retry_counts_for_lockout")))
        if action.name == protocol.BLOCK:
            return self.end("blocked", title=action.title or _BLOCK_TITLE, message=action.message or _BLOCK_MESSAGE)
        if action.name == protocol.MIGRATE:
            return await self._migrate(user)
        self.step("Entra", "requires a new password", "After a one-time code sent to the e-mail address.")
        return await self._reset(user)

    async def _migrate(self, user: User) -> SignIn:
        # The service has a setting that accepts legacy passwords without enough character classes; where it is kept is
        # not documented. Here it is the switch `disable_strong_password`.
        complexity = not self.state.switch("disable_strong_password")
        if problem := accounts.problem_with(self.state, user, self.password, complexity=complexity):
            self.step("Entra", "does not store the password and requires a new one", problem)
            return await self._reset(user)
        if user.force_change:
            self.step("Entra", "requires a new password", f"The account must change it. {self.flag} stays true.")
            return await self._choose(user, _CHANGE, clear_flag=False)
        stored = await hashed_like(self.password, user.password_hash)
        with self.directory.transaction():
            now = self.directory.user(user.id)
            still_flagged = now is not None and self._flagged(now)
            if now is not None and still_flagged:
                accounts.store_password(self.state, now, stored, activity="Change user password", flag=self.flag)
        if not still_flagged:
            self.step("Directory", "says that another sign-in came first", "Entra compares again.")
            if now is not None:
                return await self._known(now)
            self.user = None
            return self.end("unknown-user")
        self.path = "callout"
        self.step("Directory", "stores the password and marks the user as migrated", self._marked())
        return self._admitted(user)

    # --- a new password --------------------------------------------------------------------------------------------

    async def _reset(self, user: User) -> SignIn:
        if reason := no_code(self.state, user):
            return self.end("no-code", reason=reason)
        return await self._choose(user, _RESET, clear_flag=True)

    async def _choose(self, user: User, code: int, *, clear_flag: bool) -> SignIn:
        if self.new_password is None:
            return self.end("new-password-needed", code=code)
        problem = accounts.problem_with(self.state, user, self.new_password)
        if code == _CHANGE and self.new_password == self.password:
            problem = "The new password is the old one."
        if problem:
            return self.end("new-password-refused", code=code, problem=problem)
        stored = await hashed_like(self.new_password, user.password_hash)
        activity = "Reset password" if code == _RESET else "Change user password"
        self.service.store(user, stored, activity, self.ip, self.flag if clear_flag else "")
        self.path = "reset" if clear_flag else None
        self.step("Directory", "stores the new password", self._marked() if clear_flag else "")
        return self._admitted(user)

    def _marked(self) -> str:
        delay = self.state.switch("replication_delay")
        return f"{self.flag} will read false in {delay:.0f} s." if delay else f"{self.flag} is now false."

    # --- how it ends -----------------------------------------------------------------------------------------------

    def _wrong(self, user: User, *, count: bool) -> SignIn:
        if count:
            self.service.lockout.count(user, self.password)
        return self.end("wrong-password")

    def _admitted(self, user: User) -> SignIn:
        """End after the password was right, unless a policy blocks the user."""
        self.service.lockout.forgive(user)
        if self.state.switch("conditional_access_blocks"):
            return self.end("blocked-by-policy")
        client, now = self.client, self.state.clock.now()
        token = f"The app {client.name} receives a token." if client.issues_id_tokens else ""
        done = self.end("signed-in", app=client.name, token=token)
        if client.issues_id_tokens:
            done.__dict__["_issue"] = functools.partial(id_token, self.directory, user, client.app_id, now=now)
        return done

    def step(self, actor: Actor, what: str, detail: str = "") -> None:
        """Note that something happened now."""
        self.steps.append(Step(self._elapsed(), actor, what, detail))

    def end(self, name: str, **words: Any) -> SignIn:
        """Build the result from what is known and an ending of `outcomes.toml`; the words go into its texts."""
        ending, words = _TABLES["end"][name], {"correlation_id": self.correlation_id, **words}
        if "step" in ending:
            what, detail = ending["step"]
            self.step("Entra", what, detail.format(**words))
        user_sees = ending["sees"].format(**words)
        self.step("Person", f"sees: {user_sees}")
        verdict = self.verdict or Verdict(self.started, 0, http_status=None)
        return SignIn(
            username=self.username,
            outcome=ending["outcome"],
            code=words.get("code", ending.get("code")),
            user_sees=user_sees,
            title=words.get("title"),
            message=words.get("message"),
            migrated=self.path is not None,
            path=self.path,
            called_endpoint=verdict.attempts > 0,
            attempts=verdict.attempts,
            callout_error=verdict.error,
            http_status=verdict.http_status,
            correlation_id=self.correlation_id,
            user_id=self.user.id if self.user else None,
            app_id=self.client.app_id,
            ip=self.ip,
            duration_ms=self._elapsed(),
            steps=tuple(self.steps),
        )

    def _row(self, done: SignIn) -> Body:
        """Build the row of the sign-in log, without what is the same in every row: Graph adds that when it is read.

        [Microsoft Graph: signIn (v1.0 and beta), appliedAuthenticationEventListener and customExtensionCalloutResult]
        """
        user, code = self.user, str(done.code)
        row: Body = {
            "id": new_id(),
            "createdDateTime": timestamp(self.started),
            "userDisplayName": (user.body.get("displayName") if user else None) or "",
            "userPrincipalName": user.upn if user else "",
            "userId": done.user_id or _UNKNOWN_USER,
            "appId": done.app_id,
            "appDisplayName": self.client.name,
            "ipAddress": done.ip,
            "correlationId": done.correlation_id,
            "signInIdentifier": (user.sign_in_name if user else None) or "",
            "processingTimeInMilliseconds": int(done.duration_ms),
            "status": {
                "errorCode": done.code,
                "failureReason": _TABLES["reason"].get(code),
                "additionalDetails": _TABLES["additional"].get(code),
            },
            "appliedEventListeners": [self._executed(self.verdict)] if self.verdict else [],
        }
        return row if done.outcome != "blocked by policy" else {**row, "conditionalAccessStatus": "failure"}

    def _executed(self, verdict: Verdict) -> Body:
        """Build the part of the row that says which listener was executed, and what its callout led to."""
        return {
            "@odata.type": "#microsoft.graph.appliedAuthenticationEventListener",
            "eventType": "passwordSubmit",
            "executedListenerId": self.listener["id"],
            "handlerResult": {
                "@odata.type": "#microsoft.graph.customExtensionCalloutResult",
                "calloutDateTime": timestamp(verdict.started),
                "customExtensionId": str(member(self.listener, "handler", "customExtension", "id") or ""),
                "errorCode": verdict.error or 0,
                "httpStatus": verdict.http_status or 0,
                "numberOfAttempts": verdict.attempts,
            },
        }

    def _elapsed(self) -> float:
        return (self.state.clock.stopwatch() - self.began) * 1000

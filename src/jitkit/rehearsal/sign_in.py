"""Signs users in as the tenant's sign-in page does: the stored password first, then the flag, then the endpoint.

[Microsoft Learn, "Just-in-time password migration": how the process works, and its questions and answers]

Where the documents leave something open, a switch decides (`switches`), or this was assumed: a disabled account is
refused before the endpoint is called; a new password chosen after UpdatePassword marks the user as migrated; Block is
1100001 in the log, a reset 50125 and a forced change 50055.
"""

from __future__ import annotations

import asyncio
import functools
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from jitkit import protocol
from jitkit.display import Table
from jitkit.explanations import CALLOUT_ERRORS
from jitkit.rehearsal import accounts, log_rows
from jitkit.rehearsal.callout import Caller, Submission, Verdict
from jitkit.rehearsal.callout_messages import Action
from jitkit.rehearsal.directory import User, new_id
from jitkit.rehearsal.identity import id_token
from jitkit.rehearsal.prerequisites import (
    CalloutImpossible,
    ClientApp,
    Coverage,
    Refused,
    client_app,
    coverage,
    is_attribute,
    only_app_id,
)
from jitkit.rehearsal.state import State

Outcome = Literal[
    "signed in",
    "wrong password",
    "unknown user",
    "account disabled",
    "locked out",
    "blocked",
    "new password needed",
    "no password",
    "blocked by policy",
    "error",
]
Actor = Literal["Person", "Entra", "Your endpoint", "Directory"]
Path = Literal["callout", "silent", "reset"]

_RESET: Final = 50125
_CHANGE: Final = 50055
_SEES_WRONG: Final = "Your e-mail address or password is not right."
_SEES_POLICY: Final = "You cannot access this right now. Your sign-in was successful but does not meet the criteria."
_SEES_LOCKED: Final = (
    "Your account is temporarily locked to prevent unauthorized use. Try again later, and if you still have trouble, "
    "contact your admin."
)
_SEES_DISABLED: Final = "Your account is disabled."
_SEES_NO_PASSWORD: Final = "This account has no password. Sign in the way you signed up."  # noqa: S105
_SEES_CHOOSE: Final = "Choose a new password to go on."
_SEES_NO_MAIL: Final = "Choose a new password to go on. No code can be sent to you."
_BLOCK_TITLE: Final = "You cannot sign in"
_BLOCK_MESSAGE: Final = "Contact the people who run this service."


@dataclass(frozen=True)
class Step:
    """One thing that happened: when (milliseconds after the start), who did it, what, and why."""

    at_ms: float
    actor: Actor
    what: str
    detail: str = ""


@dataclass(frozen=True, kw_only=True)
class SignIn:
    """The outcome of a sign-in and its steps, without a secret.

    Args:
        username: the sign-in name as typed.
        outcome: the result in words.
        code: the AADSTS number in the sign-in log; 0 when the user is signed in.
        user_sees: what the user reads on the page.
        title: the title of the block page, when the endpoint blocks.
        message: the message of the block page, when the endpoint blocks.
        migrated: whether this sign-in turned the migration flag to false.
        path: how it did: callout (the endpoint said MigratePassword), silent (the stored password already matched) or
            reset (the user chose a new password).
        called_endpoint: whether a request reached out to the endpoint.
        attempts: how many requests were sent to it.
        callout_error: the 1003xxx number in the sign-in log, or None.
        http_status: the status of the endpoint's last answer, or None.
        correlation_id: names this sign-in in the tenant's log and in the endpoint's ledger.
        user_id: the user's object id, or None for an unknown user.
        app_id: the app that was signed in to.
        ip: the address it came from.
        duration_ms: how long it took.
        steps: what happened, in order.
    """

    username: str
    outcome: Outcome
    code: int
    user_sees: str
    title: str | None = None
    message: str | None = None
    migrated: bool = False
    path: Path | None = None
    called_endpoint: bool = False
    attempts: int = 0
    callout_error: int | None = None
    http_status: int | None = None
    correlation_id: str
    user_id: str | None = None
    app_id: str
    ip: str = "127.0.0.1"
    duration_ms: float
    steps: tuple[Step, ...] = field(repr=False)

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


@dataclass(frozen=True, kw_only=True)
class PasswordReset:
    """The outcome of a self-service password reset: in words, and what the user reads at the end."""

    username: str
    outcome: Literal["password reset", "unknown user", "account disabled", "not offered", "password refused"]
    user_sees: str
    user_id: str | None = None


class SignIns:
    """Signs users in to one opened tenant."""

    def __init__(self, state: State, caller: Caller) -> None:
        self.state, self.caller = state, caller
        self.lockout = accounts.Lockout(state)
        self.usual_hash = ""
        self._turns: weakref.WeakKeyDictionary[
            asyncio.AbstractEventLoop, weakref.WeakValueDictionary[str, asyncio.Lock]
        ] = weakref.WeakKeyDictionary()

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
        state, directory = self.state, self.state.directory
        state.refresh()
        user = directory.user_by_sign_in_name(username.strip())
        if user is None:
            sees = "We couldn't find an account with this email address."
            return PasswordReset(username=username, outcome="unknown user", user_sees=sees)

        def ended(outcome: Any, sees: str) -> PasswordReset:
            return PasswordReset(username=username, outcome=outcome, user_sees=sees, user_id=user.id)

        if not user.enabled:
            return ended("account disabled", _SEES_DISABLED)
        if not (accounts.can_read_mail(user) and user.password_hash):
            return ended("not offered", "You cannot reset your own password here.")
        if problem := accounts.problem_with(state, user, new_password):
            return ended("password refused", problem)
        stored = await hashed_like(new_password, self.usual_hash)
        async with self.turn(user.id):
            with directory.transaction():
                now = directory.user(user.id) or user
                activity, by = "Reset password (self-service)", log_rows.by_user(now, ip)
                accounts.store_password(state, now, stored, activity=activity, by=by)
        return ended("password reset", "Your password is reset. Sign in with it.")

    def turn(self, user_id: str) -> asyncio.Lock:
        """Return the lock that lets the sign-ins of one user run one after the other."""
        turns = self._turns.setdefault(asyncio.get_running_loop(), weakref.WeakValueDictionary())
        return turns.setdefault(user_id, asyncio.Lock())


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
        self.username, self.app_id, self.ip = username, app_id, ip
        self.password, self.new_password = password, new_password
        self.correlation_id = new_id()
        self.started, self.began = self.state.clock.now(), self.state.clock.stopwatch()
        self.steps: list[Step] = []
        self.client: ClientApp | None = None
        self.user: User | None = None
        self.coverage = Coverage(None)
        self.verdict: Verdict | None = None

    async def run(self) -> SignIn:
        """Sign the user in and write the row of the sign-in log."""
        self.state.refresh()
        done = await self._sign_in()
        listener, verdict, result = self.coverage.listener, self.verdict, None
        if listener and verdict:
            result = log_rows.listener_result(
                listener,
                started=verdict.started,
                attempts=verdict.attempts,
                error=verdict.error,
                http_status=verdict.http_status,
            )
        row = log_rows.sign_in_row(
            started=self.started,
            duration_ms=done.duration_ms,
            user=self.user,
            app_id=self.app_id,
            app_name=self.client.name if self.client else "",
            ip=self.ip,
            correlation_id=self.correlation_id,
            code=done.code,
            listener=result,
        )
        self.directory.append_log("signIn", row, time=self.started)
        return done

    # --- from the name to the stored password ----------------------------------------------------------------------

    async def _sign_in(self) -> SignIn:
        self.step("Person", "types a name and a password", f"App {self.app_id}.")
        try:
            self.client = client_app(self.state, self.app_id)
        except Refused as refused:
            self.step("Entra", "refuses the app", refused.reason)
            return self.end("error", refused.code, f"AADSTS{refused.code}: {refused.reason}")
        self.state.apply_late_values()
        user = self._find()
        if user is None:
            # As much work as for a known user, so that the time taken does not reveal who exists.
            await self._matches(accounts.decoy(self.service.usual_hash))
            return self._unknown()
        turn = self.service.turn(user.id)
        waited = turn.locked()
        async with turn:
            return await self._known((self.directory.user(user.id) or user) if waited else user)

    def _find(self) -> User | None:
        name = self.username.strip()
        if found := self.directory.user_by_sign_in_name(name):
            return found
        found = self.directory.user(name.lower())
        return found if found and found.upn.lower() == name.lower() else None

    async def _known(self, user: User) -> SignIn:
        self.user = user
        self.service.usual_hash = user.password_hash
        if not user.enabled:
            self.step("Entra", "refuses: the account is disabled", "Your endpoint is not called.")
            return self.end("account disabled", 50057, _SEES_DISABLED)
        if self.service.lockout.is_locked(user):
            self.step("Entra", "refuses: smart lockout", "Too many wrong passwords. Your endpoint is not called.")
            return self.end("locked out", 50053, _SEES_LOCKED)
        if not user.password_hash:
            self.step("Entra", "refuses: the account has no password", "Federated users never reach your endpoint.")
            return self.end("no password", 50056, _SEES_NO_PASSWORD)
        self.coverage = coverage(self.state, self.app_id)
        if await self._matches(user.password_hash):
            return await self._matched(user)
        self.step("Directory", "compares: not the stored password")
        if not self._flagged(user):
            self.step("Entra", "does not call your endpoint", self._why_not())
            return self._wrong(user, count=True)
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
            self.step("Entra", "marks the user as migrated", self._marked())
        return self._admitted(user, migrated=flagged, path="silent" if flagged else None)

    async def _matches(self, stored: str) -> bool:
        if accounts.is_invented(stored):
            return accounts.matches(self.password, stored)
        return await asyncio.to_thread(accounts.matches, self.password, stored)

    @property
    def flag(self) -> str:
        """The full name of the flag that the listener names; empty without a listener."""
        return self.coverage.flag

    def _flagged(self, user: User) -> bool:
        """Return whether the migration flag is true: null and no value are not."""
        return bool(self.flag) and user.body.get(self.flag) is True

    def _why_not(self) -> str:
        if self.coverage.listener is None:
            return f"No listener includes the app {self.app_id}, whatever the user's flag is."
        if not is_attribute(self.state, self.flag):
            return f"The listener's flag {self.flag} is not an attribute of this tenant."
        return f"{self.flag} is not true for this user."

    # --- the endpoint ----------------------------------------------------------------------------------------------

    async def _call(self, user: User) -> SignIn:
        client, listener = self.client, self.coverage.listener
        if client is None or listener is None:
            raise AssertionError("only a covered app leads here")
        self.step("Directory", f"says that {self.flag} is true", f"Listener {listener.get('displayName') or ''}")
        if self.coverage.tied:
            self.step("Entra", "has several listeners of the same priority", "Which one it takes is not documented.")
        submission = Submission(
            client, listener, user, self.username, self.password, correlation_id=self.correlation_id, ip=self.ip
        )
        try:
            callout = self.service.caller.build(submission)
        except CalloutImpossible as missing:
            self.verdict = Verdict(self.state.clock.now(), 0, None, missing.code, None, missing.happened)
            self.step("Entra", "cannot call your endpoint", f"{missing.service}. {missing.happened}")
            return self._failed()
        self.step("Entra", "encrypts the password and calls your endpoint", callout.target_url)
        self.verdict = verdict = await self.service.caller.call(callout)
        attempts = "" if verdict.attempts < 2 else f" after {verdict.attempts} attempts"
        if verdict.action is None:
            name = f"{verdict.error} {CALLOUT_ERRORS[verdict.error or 0]}"
            self.step("Entra", f"has no usable answer{attempts}", f"{name}. {verdict.detail}")
            return self._failed()
        self.step("Your endpoint", f"answers {verdict.action.name}{attempts}")
        return await self._follow(user, verdict.action)

    async def _follow(self, user: User, action: Action) -> SignIn:
        if action.name == protocol.RETRY:
            return self._wrong(user, count=bool(self.state.switch("retry_counts_for_lockout")))
        if action.name == protocol.BLOCK:
            title, message = action.title or _BLOCK_TITLE, action.message or _BLOCK_MESSAGE
            self.step("Entra", "shows a block page")
            return self.end("blocked", 1100001, f"{title}: {message}", title=title, message=message)
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
            return await self._known(now) if now else self._unknown()
        self.step("Directory", "stores the password and marks the user as migrated", self._marked())
        return self._admitted(user, migrated=True, path="callout")

    # --- a new password --------------------------------------------------------------------------------------------

    async def _reset(self, user: User) -> SignIn:
        if not accounts.can_read_mail(user):
            self.step("Entra", "has no address for a one-time code")
            return self.end("new password needed", _RESET, _SEES_NO_MAIL)
        return await self._choose(user, _RESET, clear_flag=True)

    async def _choose(self, user: User, code: int, *, clear_flag: bool) -> SignIn:
        if self.new_password is None:
            return self.end("new password needed", code, _SEES_CHOOSE)
        problem = accounts.problem_with(self.state, user, self.new_password)
        if code == _CHANGE and self.new_password == self.password:
            problem = "The new password is the old one."
        if problem:
            self.step("Entra", "does not accept the new password", problem)
            return self.end("new password needed", code, problem)
        stored = await hashed_like(self.new_password, user.password_hash)
        activity, flag = "Reset password" if code == _RESET else "Change user password", self.flag if clear_flag else ""
        with self.directory.transaction():
            now = self.directory.user(user.id) or user
            by = log_rows.by_user(now, self.ip)
            accounts.store_password(self.state, now, stored, activity=activity, flag=flag, by=by)
        self.step("Directory", "stores the new password", self._marked() if clear_flag else "")
        return self._admitted(user, migrated=clear_flag, path="reset" if clear_flag else None)

    def _marked(self) -> str:
        delay = self.state.switch("replication_delay")
        return f"{self.flag} will read false in {delay:.0f} s." if delay else f"{self.flag} is now false."

    # --- how it ends -----------------------------------------------------------------------------------------------

    def _wrong(self, user: User, *, count: bool) -> SignIn:
        if count:
            self.service.lockout.count(user, self.password)
        return self.end("wrong password", 50126, _SEES_WRONG)

    def _unknown(self) -> SignIn:
        """End for a name that no user has: the page reads the same as for a wrong password."""
        self.user = None
        self.step("Entra", "finds no such user", "Your endpoint is not called: an account has to exist first.")
        return self.end("unknown user", 50034, _SEES_WRONG)

    def _failed(self) -> SignIn:
        """End with the one code that the user sees whatever went wrong with a callout."""
        sees = f"AADSTS1100001: Something went wrong. Correlation ID: {self.correlation_id}"
        return self.end("error", 1100001, sees)

    def _admitted(self, user: User, *, migrated: bool, path: Path | None) -> SignIn:
        """End after the password was right, unless a policy blocks the user."""
        self.service.lockout.forgive(user)
        if self.state.switch("conditional_access_blocks"):
            self.step("Entra", "refuses by Conditional Access", "After the password was checked.")
            return self.end("blocked by policy", 53003, _SEES_POLICY, migrated=migrated, path=path)
        client, now = self.client, self.state.clock.now()
        name = client.name if client else self.app_id
        issues = bool(client and client.issues_id_tokens)
        self.step("Entra", "signs the user in", f"The app {name} receives a token." if issues else "")
        done = self.end("signed in", 0, f"{name}, signed in.", migrated=migrated, path=path)
        if client and issues:
            done.__dict__["_issue"] = functools.partial(id_token, self.directory, user, client.app_id, now=now)
        return done

    def step(self, actor: Actor, what: str, detail: str = "") -> None:
        """Note that something happened now."""
        self.steps.append(Step(self._elapsed(), actor, what, detail))

    def end(self, outcome: Outcome, code: int, user_sees: str, **facts: Any) -> SignIn:
        """Build the result from what is known."""
        verdict = self.verdict
        self.step("Person", f"sees: {user_sees}")
        return SignIn(
            username=self.username,
            outcome=outcome,
            code=code,
            user_sees=user_sees,
            called_endpoint=bool(verdict and verdict.attempts),
            attempts=verdict.attempts if verdict else 0,
            callout_error=verdict.error if verdict else None,
            http_status=verdict.http_status if verdict else None,
            correlation_id=self.correlation_id,
            user_id=self.user.id if self.user else None,
            app_id=self.app_id,
            ip=self.ip,
            duration_ms=self._elapsed(),
            steps=tuple(self.steps),
            **facts,
        )

    def _elapsed(self) -> float:
        return (self.state.clock.stopwatch() - self.began) * 1000

"""What Entra does with a name and a password: the stored password first, then the flag, then the endpoint.

[Microsoft Learn, "Just-in-time password migration": how the process works, and its questions and answers]

Not documented, so chosen here: a disabled or locked account is refused before anything else; a Retry does not count
towards the lock unless the switch `retry_counts_for_lockout` is on; the numbers in the log for a reset (50125), a
forced change (50055) and a block page (1100001, with no callout error).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from helpers import protocol
from helpers.rehearsal import client_app as clients
from helpers.rehearsal import password_policy, sign_in_log, switches
from helpers.rehearsal.callout import Submission, build, call
from helpers.rehearsal.callout_answer import Action, Verdict
from helpers.rehearsal.directory import Body, User
from helpers.rehearsal.id_token import id_token
from helpers.rehearsal.journal import audit
from helpers.rehearsal.passwords import hash_password, matches
from helpers.rehearsal.prerequisites import CalloutImpossible
from helpers.rehearsal.sign_in_result import Course, Outcome, Path, SignIn

if TYPE_CHECKING:
    from helpers.rehearsal.tenant import RehearsalTenant

__all__ = ["SignIn", "sign_in"]

# Smart lockout's default [Microsoft Learn, "Protect user accounts from attacks with smart lockout"].
_WRONG_ALLOWED: Final = 10
_LOCKED_SECONDS: Final = 60

_NO_PASSWORD: Final = f"scrypt${'00' * 16}${'00' * 32}"
_SEES_WRONG: Final = "Your e-mail address or password is not right."
_SEES_LOCKED: Final = "Your account is locked for a while, because of too many attempts. Try again later."
_SEES_DISABLED: Final = "Your account is disabled."
_SEES_CHOOSE: Final = "Choose a new password to go on."
_BLOCK_TITLE: Final = "You cannot sign in"
_BLOCK_MESSAGE: Final = "Contact the people who run this service."


async def sign_in(
    tenant: RehearsalTenant,
    username: str,
    password: str,
    *,
    client_app_id: str | None = None,
    new_password: str | None = None,
) -> SignIn:
    """Sign a person in with name and password, as the sign-in page of the tenant does.

    Args:
        tenant: the stand-in tenant.
        username: what the person types as their e-mail address or user name.
        password: what they type as their password.
        client_app_id: the app they sign in to; None for the only one there is.
        new_password: what they choose when they are asked for a new password; None when they give up there.

    Returns:
        What came of it. The tenant's sign-in log has a row for it.

    Raises:
        NotReady: no app was named, and there is none or more than one.
    """
    app_id = (client_app_id or clients.only_app_id(tenant.directory)).lower()
    return await _Attempt(tenant, Course(username, app_id, tenant.directory.clock.now()), password, new_password).run()


class _Attempt:
    def __init__(self, tenant: RehearsalTenant, course: Course, password: str, new_password: str | None) -> None:
        self._tenant, self._directory, self._course = tenant, tenant.directory, course
        self._password, self._new_password = password, new_password
        self._client: clients.ClientApp | None = None
        self._user: User | None = None
        self._listener: Body | None = None
        self._verdict: Verdict | None = None

    async def run(self) -> SignIn:
        done = await self._sign_in()
        sign_in_log.record(
            self._directory,
            done,
            started=self._course.started,
            user=self._user,
            client=self._client,
            listener=self._listener,
            verdict=self._verdict,
        )
        return done

    async def _sign_in(self) -> SignIn:
        course = self._course
        course.step("Person", "types a name and a password", f"App {course.app_id}.")
        try:
            self._client = clients.client_app(self._directory, course.app_id)
        except clients.Refused as refused:
            course.step("Entra", "refuses the app", refused.reason)
            return self._end("error", refused.code, f"AADSTS{refused.code}: {refused.reason}")
        user = self._find()
        if user is None:
            return await self._unknown()
        async with self._tenant.caller.turn(user.id):
            return await self._known(self._directory.user(user.id) or user)

    def _find(self) -> User | None:
        name = self._course.username.strip()
        if found := self._directory.user_by_sign_in_name(name):
            return found
        found = self._directory.user(name.lower())
        return found if found and found.upn.lower() == name.lower() else None

    async def _unknown(self) -> SignIn:
        self._user = None
        # As much work as for a known user, so that the time taken does not tell who exists.
        await asyncio.to_thread(matches, self._password, _NO_PASSWORD)
        self._course.step("Entra", "finds no such user", "Your endpoint is not asked: an account has to exist first.")
        return self._end("unknown user", 50034, _SEES_WRONG)

    async def _known(self, user: User) -> SignIn:
        self._user, course = user, self._course
        if not user.enabled:
            course.step("Entra", "refuses: the account is disabled", "Your endpoint is not asked.")
            return self._end("account disabled", 50057, _SEES_DISABLED)
        if user.locked_until > self._directory.clock.now():
            course.step("Entra", "refuses: smart lockout", "Too many wrong passwords. Your endpoint is not asked.")
            return self._end("locked out", 50053, _SEES_LOCKED)
        self._listener = clients.listener_for(self._directory, course.app_id)
        if await asyncio.to_thread(matches, self._password, user.password_hash):
            return await self._matched(user)
        course.step("Directory", "compares: not the stored password")
        if not self._flagged(user):
            course.step("Entra", "does not ask your endpoint", self._why_not(user))
            return self._wrong(user, count=True)
        return await self._ask(user)

    async def _matched(self, user: User) -> SignIn:
        self._course.step("Directory", "compares: the stored password matches", "Your endpoint is not asked.")
        flagged = self._flagged(user)
        if user.force_change:
            self._course.step("Entra", "asks for a new password", "The account must change it at the next sign-in.")
            return await self._choose(user, 50055, clear_flag=flagged)
        if flagged:
            with self._directory.transaction():
                self._clear_flag(user)
            self._course.step("Entra", "marks the user as migrated", f"{self._flag} is now false.")
        return self._signed_in(user, migrated=flagged, path="silent" if flagged else None)

    async def _ask(self, user: User) -> SignIn:
        course, client, listener = self._course, self._client, self._listener
        if client is None or listener is None:
            raise AssertionError("only a covered app leads here")
        course.step("Directory", f"says that {self._flag} is true", f"Listener {listener.get('displayName') or ''}")
        submission = Submission(
            client, listener, user, course.username, self._password, correlation_id=course.correlation_id
        )
        try:
            callout = build(self._tenant.caller, self._directory, submission)
        except CalloutImpossible as missing:
            self._verdict = Verdict(self._directory.clock.now(), 0, None, missing.code, None, missing.happened)
            course.step("Entra", "cannot call your endpoint", f"{missing.service}. {missing.happened}")
            return self._failed()
        course.step("Entra", "encrypts the password and calls your endpoint", callout.target_url)
        self._verdict = verdict = await call(self._tenant.caller, callout)
        attempts = "" if verdict.attempts < 2 else f" after {verdict.attempts} attempts"
        if verdict.action is None:
            name = f"{verdict.error} {protocol.CALLOUT_ERRORS[verdict.error or 0]}"
            course.step("Entra", f"has no usable answer{attempts}", f"{name}. {verdict.detail}")
            return self._failed()
        course.step("Your endpoint", f"answers {verdict.action.name}{attempts}")
        return await self._follow(user, verdict.action)

    async def _follow(self, user: User, action: Action) -> SignIn:
        if action.name == protocol.MIGRATE:
            return await self._migrate(user)
        if action.name == protocol.UPDATE:
            self._course.step("Entra", "asks for a new password", "After a one-time code sent to the e-mail address.")
            return await self._choose(user, 50125, clear_flag=True)
        if action.name == protocol.RETRY:
            return self._wrong(user, count=switches.is_on(self._directory, "retry_counts_for_lockout"))
        title, message = action.title or _BLOCK_TITLE, action.message or _BLOCK_MESSAGE
        self._course.step("Entra", "shows a block page")
        return self._end("blocked", 1100001, f"{title}: {message}", title=title, message=message)

    async def _migrate(self, user: User) -> SignIn:
        # The service has a setting that accepts legacy passwords which are only too plain; where it is kept is not
        # documented. Here it is the switch `disable_strong_password`.
        plain_allowed = switches.is_on(self._directory, "disable_strong_password")
        if problem := password_policy.problem(self._password, complexity=not plain_allowed):
            self._course.step("Entra", "does not store the password and asks for a new one", problem)
            return await self._choose(user, 50125, clear_flag=True)
        if user.force_change:
            self._course.step(
                "Entra", "asks for a new password", f"The account must change it. {self._flag} stays true."
            )
            return await self._choose(user, 50055, clear_flag=False)
        stored = await asyncio.to_thread(hash_password, self._password)
        with self._directory.transaction():
            now = self._directory.user(user.id)
            still_flagged = now is not None and self._flagged(now)
            if still_flagged:
                self._store(user, stored, "Change user password", clear_flag=True)
        if not still_flagged:
            self._course.step("Directory", "says that another sign-in came first", "Entra compares again.")
            return await (self._known(now) if now else self._unknown())
        self._course.step(
            "Directory", "stores the password and marks the user as migrated", f"{self._flag} is now false."
        )
        return self._signed_in(user, migrated=True, path="callout")

    async def _choose(self, user: User, code: int, *, clear_flag: bool) -> SignIn:
        if self._new_password is None:
            return self._end("new password needed", code, _SEES_CHOOSE)
        problem = password_policy.problem(self._new_password)
        if code == 50055 and self._new_password == self._password:
            problem = "The new password is the old one."
        if problem:
            self._course.step("Entra", "does not accept the new password", problem)
            return self._end("new password needed", code, problem)
        stored = await asyncio.to_thread(hash_password, self._new_password)
        activity = "Reset password" if code == 50125 else "Change user password"
        with self._directory.transaction():
            self._store(user, stored, activity, clear_flag=clear_flag)
        marked = f"{self._flag} is now false." if clear_flag else ""
        self._course.step("Directory", "stores the new password", marked)
        return self._signed_in(user, migrated=clear_flag, path="reset" if clear_flag else None)

    def _store(self, user: User, stored: str, activity: str, *, clear_flag: bool) -> None:
        self._directory.update_user(user.id, password_hash=stored, force_change=False, failed=0, locked_until=0)
        audit(self._directory, activity, target_id=user.id, target_name=user.upn)
        if clear_flag:
            self._clear_flag(user)

    def _clear_flag(self, user: User) -> None:
        self._directory.set_user_value(user.id, self._flag, False)
        changed = {self._flag: (True, False)}
        audit(self._directory, "Update user", target_id=user.id, target_name=user.upn, changed=changed)

    def _wrong(self, user: User, *, count: bool) -> SignIn:
        if count:
            with self._directory.transaction():
                now = self._directory.user(user.id) or user
                locked = self._directory.clock.now() + _LOCKED_SECONDS if now.failed + 1 >= _WRONG_ALLOWED else 0
                self._directory.update_user(user.id, failed=now.failed + 1, locked_until=locked)
        return self._end("wrong password", 50126, _SEES_WRONG)

    def _failed(self) -> SignIn:
        sees = f"AADSTS1100001: Something went wrong. Correlation ID: {self._course.correlation_id}"
        return self._end("error", 1100001, sees)

    def _signed_in(self, user: User, *, migrated: bool, path: Path | None) -> SignIn:
        if user.failed:
            self._directory.update_user(user.id, failed=0, locked_until=0)
        client = self._client
        name = client.name if client else self._course.app_id
        token = id_token(self._directory, user, client.app_id) if client and client.issues_id_tokens else None
        self._course.step("Entra", "signs the person in", f"The app {name} receives a token." if token else "")
        return self._end("signed in", 0, f"{name}, signed in.", migrated=migrated, path=path, id_token=token)

    def _end(self, outcome: Outcome, code: int, user_sees: str, **facts: Any) -> SignIn:
        verdict = self._verdict
        return self._course.end(
            outcome,
            code,
            user_sees,
            user_id=self._user.id if self._user else None,
            called_endpoint=bool(verdict and verdict.attempts),
            attempts=verdict.attempts if verdict else 0,
            callout_error=verdict.error if verdict else None,
            http_status=verdict.http_status if verdict else None,
            **facts,
        )

    @property
    def _flag(self) -> str:
        return str(((self._listener or {}).get("handler") or {}).get("migrationPropertyId") or "")

    def _flagged(self, user: User) -> bool:
        return bool(self._flag) and user.body.get(self._flag) is True

    def _why_not(self, user: User) -> str:
        if self._listener is None:
            return f"No listener includes the app {self._course.app_id}, whatever the user's flag says."
        if not any(each.get("name") == self._flag for each in self._directory.all("extensionProperty")):
            return f"The listener's flag {self._flag} is not an attribute of this tenant."
        return f"{self._flag} is not true for this user."

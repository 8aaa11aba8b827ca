"""What Entra does with a name and a password: the stored password first, then the flag, then the endpoint.

[Microsoft Learn, "Just-in-time password migration": how the process works, and its questions and answers]

What the documents leave open is a switch (`switches`): whether a disabled account is refused before the endpoint is
asked, whether Retry counts towards the lock, what a new password does to the flag. Chosen here without one: the numbers
in the log for a reset (50125) and a forced change (50055).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from jitkit import protocol
from jitkit.explanations import CALLOUT_ERRORS
from jitkit.rehearsal import accounts, passwords, sign_in_rows
from jitkit.rehearsal import client_app as clients
from jitkit.rehearsal.attempt import Attempt
from jitkit.rehearsal.callout import Submission, build, call
from jitkit.rehearsal.callout_answer import Action, Verdict
from jitkit.rehearsal.prerequisites import CalloutImpossible
from jitkit.rehearsal.sign_in_result import Course, SignIn
from jitkit.rehearsal.users import User

if TYPE_CHECKING:
    from jitkit.rehearsal.tenant import RehearsalTenant

__all__ = ["SignIn", "sign_in"]

_RESET: Final = 50125
_CHANGE: Final = 50055
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


async def sign_in(
    tenant: RehearsalTenant,
    username: str,
    password: str,
    *,
    client_app_id: str | None = None,
    new_password: str | None = None,
    ip: str = "127.0.0.1",
) -> SignIn:
    """Sign a person in with name and password, as the sign-in page of the tenant does.

    Args:
        tenant: the stand-in tenant.
        username: what the person types as their e-mail address or user name.
        password: what they type as their password.
        client_app_id: the app they sign in to; None for the only one there is.
        new_password: what they choose when they are asked for a new password; None when they give up there.
        ip: the address they come from.

    Returns:
        What came of it. The tenant's sign-in log has a row for it.

    Raises:
        NotReady: no app was named, and there is none or more than one.
    """
    directory = tenant.directory
    app_id = (client_app_id or clients.only_app_id(directory)).lower()
    course = Course(username, app_id, directory.clock, ip=ip)
    return await _Journey(tenant, course, password, new_password).run()


class _Journey(Attempt):
    async def run(self) -> SignIn:
        self.setup.refresh()
        done = await self._sign_in()
        listener = self.coverage.listener if self.coverage else None
        row = sign_in_rows.made(done, self.course.started, self.user, self.client, listener, self.verdict)
        self.directory.append_log("signIn", row, time=self.course.started)
        return done

    async def _sign_in(self) -> SignIn:
        course = self.course
        course.step("Person", "types a name and a password", f"App {course.app_id}.")
        try:
            self.client = self.setup.client(course.app_id)
        except clients.Refused as refused:
            course.step("Entra", "refuses the app", refused.reason)
            return self.end("error", refused.code, f"AADSTS{refused.code}: {refused.reason}")
        self.setup.settle_late_flags()
        user = self._find()
        if user is None:
            # As much work as for a known user, so that the time taken does not tell who exists.
            await self.compare(passwords.decoy(self.caller.usual_hash))
            return self.unknown()
        turn = self.caller.turn(user.id)
        waited = turn.locked()
        async with turn:
            return await self._known((self.directory.user(user.id) or user) if waited else user)

    def _find(self) -> User | None:
        name = self.course.username.strip()
        if found := self.directory.user_by_sign_in_name(name):
            return found
        found = self.directory.user(name.lower())
        return found if found and found.upn.lower() == name.lower() else None

    async def _known(self, user: User) -> SignIn:
        self.user, course = user, self.course
        self.caller.usual_hash = user.password_hash
        late = bool(self.setup.switch("account_state_after_password"))
        if not user.enabled and not late:
            return self._disabled()
        if self.caller.lockout.is_locked(user):
            course.step("Entra", "refuses: smart lockout", "Too many wrong passwords. Your endpoint is not asked.")
            return self.end("locked out", 50053, _SEES_LOCKED)
        if not user.password_hash:
            course.step("Entra", "refuses: the account has no password", "Federated people never reach your endpoint.")
            return self.end("no password", 50056, _SEES_NO_PASSWORD)
        self.coverage = self.setup.coverage(course.app_id)
        if await self.compare(user.password_hash):
            return self._disabled() if not user.enabled else await self._matched(user)
        course.step("Directory", "compares: not the stored password")
        if not self.flagged(user):
            course.step("Entra", "does not ask your endpoint", self._why_not())
            return self.wrong(user, count=True)
        return await self._ask(user)

    def _disabled(self) -> SignIn:
        asked = "" if self.verdict else "Your endpoint is not asked."
        self.course.step("Entra", "refuses: the account is disabled", asked)
        return self.end("account disabled", 50057, _SEES_DISABLED)

    async def _matched(self, user: User) -> SignIn:
        course = self.course
        course.step("Directory", "compares: the stored password matches", "Your endpoint is not asked.")
        flagged = self.flagged(user)
        if user.force_change:
            course.step("Entra", "asks for a new password", "The account must change it at the next sign-in.")
            return await self._choose(user, _CHANGE, clear_flag=flagged)
        if flagged:
            audited = bool(self.setup.switch("silent_migration_is_audited"))
            with self.directory.transaction():
                accounts.mark_migrated(self.directory, self.setup, user, self.flag, audited=audited)
            course.step("Entra", "marks the user as migrated", f"{self.flag} is now false.")
        return self.admitted(user, migrated=flagged, path="silent" if flagged else None)

    async def _ask(self, user: User) -> SignIn:
        course, client, coverage = self.course, self.client, self.coverage
        if client is None or coverage is None or coverage.listener is None:
            raise AssertionError("only a covered app leads here")
        listener = coverage.listener
        course.step("Directory", f"says that {self.flag} is true", f"Listener {listener.get('displayName') or ''}")
        if coverage.tied:
            course.step("Entra", "has several listeners of the same priority", "Which one it takes is not documented.")
        submission = Submission(
            client, listener, user, course.username, self.password, correlation_id=course.correlation_id, ip=course.ip
        )
        try:
            callout = build(self.caller, submission)
        except CalloutImpossible as missing:
            self.verdict = Verdict(self.directory.clock.now(), 0, None, missing.code, None, missing.happened)
            course.step("Entra", "cannot call your endpoint", f"{missing.service}. {missing.happened}")
            return self.failed()
        course.step("Entra", "encrypts the password and calls your endpoint", callout.target_url)
        self.verdict = verdict = await call(self.caller, callout)
        attempts = "" if verdict.attempts < 2 else f" after {verdict.attempts} attempts"
        if verdict.action is None:
            name = f"{verdict.error} {CALLOUT_ERRORS[verdict.error or 0]}"
            course.step("Entra", f"has no usable answer{attempts}", f"{name}. {verdict.detail}")
            return self.failed()
        course.step("Your endpoint", f"answers {verdict.action.name}{attempts}")
        return await self._follow(user, verdict.action)

    async def _follow(self, user: User, action: Action) -> SignIn:
        if action.name == protocol.RETRY:
            return self.wrong(user, count=bool(self.setup.switch("retry_counts_for_lockout")))
        if action.name == protocol.BLOCK:
            title, message = action.title or _BLOCK_TITLE, action.message or _BLOCK_MESSAGE
            self.course.step("Entra", "shows a block page")
            code = int(self.setup.switch("block_page_error"))
            return self.end("blocked", code, f"{title}: {message}", title=title, message=message)
        if not user.enabled:
            return self._disabled()
        if action.name == protocol.MIGRATE:
            return await self._migrate(user)
        self.course.step("Entra", "asks for a new password", "After a one-time code sent to the e-mail address.")
        return await self._reset(user)

    async def _migrate(self, user: User) -> SignIn:
        # The service has a setting that accepts legacy passwords which are only too plain; where it is kept is not
        # documented. Here it is the switch `disable_strong_password`.
        plain_allowed = bool(self.setup.switch("disable_strong_password"))
        if problem := accounts.problem_with(self.setup, user, self.password, complexity=not plain_allowed):
            self.course.step("Entra", "does not store the password and asks for a new one", problem)
            return await self._reset(user)
        if user.force_change:
            self.course.step("Entra", "asks for a new password", f"The account must change it. {self.flag} stays true.")
            return await self._choose(user, _CHANGE, clear_flag=False)
        stored = await self.hashed(self.password, user)
        with self.directory.transaction():
            now = self.directory.user(user.id)
            still_flagged = now is not None and self.flagged(now)
            if now is not None and still_flagged:
                self.store(now, stored, "Change user password", clear_flag=True, by_person=False)
        if not still_flagged:
            self.course.step("Directory", "says that another sign-in came first", "Entra compares again.")
            return await self._known(now) if now else self.unknown()
        self.course.step("Directory", "stores the password and marks the user as migrated", self._marked())
        return self.admitted(user, migrated=True, path="callout")

    async def _reset(self, user: User) -> SignIn:
        if not (self.setup.switch("email_one_time_passcode") and accounts.can_read_mail(user)):
            self.course.step("Entra", "has no address for a one-time code", "Or e-mail one-time passcodes are off.")
            return self.end("new password needed", _RESET, _SEES_NO_MAIL)
        return await self._choose(user, _RESET, clear_flag=bool(self.setup.switch("update_password_clears_flag")))

    async def _choose(self, user: User, code: int, *, clear_flag: bool) -> SignIn:
        if self.new_password is None:
            return self.end("new password needed", code, _SEES_CHOOSE)
        problem = accounts.problem_with(self.setup, user, self.new_password)
        if code == _CHANGE and self.new_password == self.password:
            problem = "The new password is the old one."
        if problem:
            self.course.step("Entra", "does not accept the new password", problem)
            return self.end("new password needed", code, problem)
        stored = await self.hashed(self.new_password, user)
        activity = "Reset password" if code == _RESET else "Change user password"
        with self.directory.transaction():
            now = self.directory.user(user.id) or user
            self.store(now, stored, activity, clear_flag=clear_flag, by_person=True)
        self.course.step("Directory", "stores the new password", self._marked() if clear_flag else "")
        return self.admitted(user, migrated=clear_flag, path="reset" if clear_flag else None)

    def _marked(self) -> str:
        lag = self.setup.switch("flag_lag")
        return f"{self.flag} will read false in {lag:.0f} s." if lag else f"{self.flag} is now false."

    def _why_not(self) -> str:
        if self.coverage is None or self.coverage.listener is None:
            return f"No listener includes the app {self.course.app_id}, whatever the user's flag says."
        if not self.setup.is_attribute(self.flag):
            return f"The listener's flag {self.flag} is not an attribute of this tenant."
        return f"{self.flag} is not true for this user."

"""What the steps of a sign-in share: what is known so far, and the ways in which it can end."""

from __future__ import annotations

import asyncio
import functools
from typing import TYPE_CHECKING, Any, Final

from jitkit.rehearsal import accounts, passwords
from jitkit.rehearsal.id_token import id_token
from jitkit.rehearsal.journal import in_person

if TYPE_CHECKING:
    from jitkit.rehearsal.callout_answer import Verdict
    from jitkit.rehearsal.client_app import ClientApp, Coverage
    from jitkit.rehearsal.sign_in_result import Course, Outcome, Path, SignIn
    from jitkit.rehearsal.tenant import RehearsalTenant
    from jitkit.rehearsal.users import User

_SEES_WRONG: Final = "Your e-mail address or password is not right."
_SEES_POLICY: Final = "You cannot access this right now. Your sign-in was successful but does not meet the criteria."
_SEES_FACTOR: Final = "More information is needed: a second factor."


class Attempt:
    """One sign-in in progress.

    Args:
        tenant: the stand-in tenant.
        course: its course.
        password: what the person typed.
        new_password: what they choose when they are asked for a new one; None when they give up there.
    """

    def __init__(self, tenant: RehearsalTenant, course: Course, password: str, new_password: str | None) -> None:
        self.tenant, self.directory, self.course = tenant, tenant.directory, course
        self.caller, self.setup = tenant.caller, tenant.caller.setup
        self.password, self.new_password = password, new_password
        self.client: ClientApp | None = None
        self.user: User | None = None
        self.coverage: Coverage | None = None
        self.verdict: Verdict | None = None

    @property
    def flag(self) -> str:
        """The full name of the flag that the listener names; empty without a listener."""
        listener = self.coverage.listener if self.coverage else None
        return str(((listener or {}).get("handler") or {}).get("migrationPropertyId") or "")

    def flagged(self, user: User) -> bool:
        """Tell whether the migration flag is true: null and no value are not."""
        return bool(self.flag) and user.body.get(self.flag) is True

    async def compare(self, stored: str) -> bool:
        """Compare what was typed with a stored hash, beside everybody else's work unless the hash is a quick one."""
        if passwords.is_invented(stored):
            return passwords.matches(self.password, stored)
        return await asyncio.to_thread(passwords.matches, self.password, stored)

    async def hashed(self, password: str, user: User) -> str:
        """Hash a new password as the one it replaces is."""
        if passwords.is_invented(user.password_hash):
            return passwords.hash_password(password, invented=True)
        return await asyncio.to_thread(passwords.hash_password, password)

    def store(self, user: User, stored: str, activity: str, *, clear_flag: bool, by_person: bool) -> None:
        """Store a new password; call this inside a transaction with the user just read."""
        by = {"by": in_person(user, self.course.ip)} if by_person else {}
        flag = self.flag if clear_flag else ""
        accounts.store_password(self.directory, self.setup, user, stored, activity=activity, flag=flag, **by)

    def wrong(self, user: User, *, count: bool) -> SignIn:
        """End with a wrong password, and count it."""
        if count:
            self.caller.lockout.count(user, self.password)
        return self.end("wrong password", 50126, _SEES_WRONG)

    def unknown(self) -> SignIn:
        """End for a name that nobody has: the person reads the same as for a wrong password."""
        self.user = None
        self.course.step("Entra", "finds no such user", "Your endpoint is not asked: an account has to exist first.")
        return self.end("unknown user", 50034, _SEES_WRONG)

    def failed(self) -> SignIn:
        """End with the one code that the person sees whatever went wrong with a callout."""
        sees = f"AADSTS1100001: Something went wrong. Correlation ID: {self.course.correlation_id}"
        return self.end("error", 1100001, sees)

    def admitted(self, user: User, *, migrated: bool, path: Path | None) -> SignIn:
        """End after the password was judged right, unless a policy stops the person there."""
        self.caller.lockout.forgive(user)
        facts: dict[str, Any] = {"migrated": migrated, "path": path}
        if self.setup.switch("conditional_access_blocks"):
            self.course.step("Entra", "refuses by Conditional Access", "After the password was judged.")
            return self.end("blocked by policy", 53003, _SEES_POLICY, **facts)
        if self.setup.switch("second_factor_missing"):
            self.course.step("Entra", "asks for a second factor", "After the password was judged.")
            return self.end("second factor needed", 50076, _SEES_FACTOR, **facts)
        return self._signed_in(user, facts)

    def _signed_in(self, user: User, facts: dict[str, Any]) -> SignIn:
        client = self.client
        name = client.name if client else self.course.app_id
        issue = None
        if client and client.issues_id_tokens:
            issue = functools.partial(id_token, self.directory, user, client.app_id, now=self.directory.clock.now())
        self.course.step("Entra", "signs the person in", f"The app {name} receives a token." if issue else "")
        return self.end("signed in", 0, f"{name}, signed in.", issue=issue, **facts)

    def end(self, outcome: Outcome, code: int, user_sees: str, **facts: Any) -> SignIn:
        """Close the course with what is known."""
        verdict = self.verdict
        return self.course.end(
            outcome,
            code,
            user_sees,
            user_id=self.user.id if self.user else None,
            called_endpoint=bool(verdict and verdict.attempts),
            attempts=verdict.attempts if verdict else 0,
            callout_error=verdict.error if verdict else None,
            http_status=verdict.http_status if verdict else None,
            **facts,
        )

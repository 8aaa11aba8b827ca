"""Reset a forgotten password without signing in.

[Microsoft Learn, "Enable self-service password reset" for external tenants; "Prevent attacks using smart lockout" for
what a reset does to a lock] A one-time passcode proves that the person reads the mail of the address they sign in with;
here a word says whether they do.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from jitkit.rehearsal import accounts, passwords
from jitkit.rehearsal import client_app as clients
from jitkit.rehearsal.journal import in_person
from jitkit.rehearsal.users import User

if TYPE_CHECKING:
    from jitkit.rehearsal.tenant import RehearsalTenant

__all__ = ["Journey", "reset_password"]

Outcome = Literal[
    "password reset",
    "unknown user",
    "account disabled",
    "not offered",
    "mail not read",
    "password refused",
]
_SEES_CODE: Final = "Enter the code that was sent to your e-mail address."


@dataclass(frozen=True, kw_only=True)
class Journey:
    """What a journey came to.

    Args:
        username: the sign-in name as typed.
        outcome: the result in words.
        user_sees: what the person reads at the end.
        user_id: the account's object id; None when there is none.
        migrated: whether the migration flag turned false.
    """

    username: str
    outcome: Outcome
    user_sees: str
    user_id: str | None = None
    migrated: bool = False


async def reset_password(
    tenant: RehearsalTenant, username: str, new_password: str, *, reads_mail: bool = True, ip: str = "127.0.0.1"
) -> Journey:
    """Choose a new password for an account whose password is forgotten.

    The migration flag stays as it is unless the switch `reset_clears_flag` is on; the next sign-in then matches the
    stored password, and that marks the person as migrated.

    Args:
        tenant: the stand-in tenant.
        username: the e-mail address that the person signs in with.
        new_password: what they choose.
        reads_mail: whether they can read the one-time passcode.
        ip: the address they come from.
    """
    setup, directory = tenant.caller.setup, tenant.directory
    setup.refresh()
    user = directory.user_by_sign_in_name(username.strip())
    if user is None:
        sees = "We couldn't find an account with this email address."
        return Journey(username=username, outcome="unknown user", user_sees=sees)
    if refused := _refused(tenant, user, new_password, reads_mail):
        outcome, sees = refused
        return Journey(username=username, outcome=outcome, user_sees=sees, user_id=user.id)
    stored = await _hashed(tenant, new_password)
    async with tenant.caller.turn(user.id):
        with directory.transaction():
            now = directory.user(user.id) or user
            flags = _true_flags(tenant, now) if setup.switch("reset_clears_flag") else []
            accounts.store_password(
                directory, setup, now, stored, activity="Reset password (self-service)", by=in_person(now, ip)
            )
            for flag in flags:
                accounts.mark_migrated(directory, setup, now, flag)
    return Journey(
        username=username,
        outcome="password reset",
        user_sees="Your password is reset. Sign in with it.",
        user_id=user.id,
        migrated=bool(flags),
    )


def _refused(tenant: RehearsalTenant, user: User, new_password: str, reads_mail: bool) -> tuple[Outcome, str] | None:
    setup = tenant.caller.setup
    if not user.enabled:
        return "account disabled", "Your account is disabled."
    if not (setup.switch("email_one_time_passcode") and accounts.can_read_mail(user) and user.password_hash):
        return "not offered", "You cannot reset your own password here."
    if not reads_mail:
        return "mail not read", _SEES_CODE
    problem = accounts.problem_with(setup, user, new_password)
    return ("password refused", problem) if problem else None


def _true_flags(tenant: RehearsalTenant, user: User) -> list[str]:
    handlers = (each.get("handler") or {} for each in clients.listeners(tenant.directory))
    names = {str(each.get("migrationPropertyId") or "") for each in handlers}
    return sorted(name for name in names if name and user.body.get(name) is True)


async def _hashed(tenant: RehearsalTenant, password: str) -> str:
    invented = passwords.is_invented(tenant.caller.usual_hash)
    return await asyncio.to_thread(passwords.hash_password, password, invented=invented)

"""What a journey writes into an account: a new password, and the flag that says the person is migrated."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jitkit.rehearsal import password_policy, replication
from jitkit.rehearsal.journal import NOBODY, audit, timestamp

if TYPE_CHECKING:
    from jitkit.rehearsal.directory import Body, Directory
    from jitkit.rehearsal.setup import Setup
    from jitkit.rehearsal.users import User

__all__ = ["can_read_mail", "mark_migrated", "problem_with", "store_password"]


def store_password(
    directory: Directory, setup: Setup, user: User, stored: str, *, activity: str, flag: str = "", by: Body = NOBODY
) -> None:
    """Store a new password, open the account again and, where a flag is named, mark the person as migrated.

    Args:
        directory: the tenant's directory; call this inside a transaction.
        setup: the tenant's switches.
        user: the account, just read.
        stored: the hash of the new password.
        activity: what the audit log calls it.
        flag: the full name of the migration flag that becomes false; empty leaves flags alone.
        by: who did it, as the audit log shows it.
    """
    now = directory.clock.now()
    body = {**user.body, "lastPasswordChangeDateTime": f"{timestamp(now)[:19]}Z"}
    directory.update_user(user.id, password_hash=stored, force_change=False, failed=0, locked_until=0, body=body)
    audit(directory, activity, target_id=user.id, target_name=user.upn, by=by)
    if flag:
        mark_migrated(directory, setup, user, flag)


def mark_migrated(directory: Directory, setup: Setup, user: User, flag: str, *, audited: bool = True) -> None:
    """Set the migration flag of an account to false.

    Args:
        directory: the tenant's directory; call this inside a transaction.
        setup: the tenant's switches; `flag_lag` makes the change arrive later.
        user: the account.
        flag: the flag's full name.
        audited: whether the audit log tells of it.
    """
    if lag := setup.switch("flag_lag"):
        replication.later(directory, user.id, flag, due=directory.clock.now() + lag)
    else:
        directory.set_user_value(user.id, flag, False)
    if audited:
        changed = {flag: (True, False)}
        audit(directory, "Update user", target_id=user.id, target_name=user.upn, changed=changed, by=NOBODY)


def problem_with(setup: Setup, user: User, password: str, *, complexity: bool = True) -> str | None:
    """Tell why a password may not be stored for somebody; None when it may.

    Args:
        setup: the tenant's switches and lists.
        user: whose password.
        password: the clear text.
        complexity: whether the character classes count.
    """
    own = (str(user.body.get(name) or "") for name in ("givenName", "surname"))
    return password_policy.problem(password, complexity=complexity, banned=setup.banned(), names=(*own, *setup.names()))


def can_read_mail(user: User) -> bool:
    """Tell whether a one-time passcode has an address to go to: the e-mail address that the person signs in with."""
    kinds = {each.get("signInType") for each in user.body.get("identities") or ()}
    return "emailAddress" in kinds or "@" in (user.sign_in_name or "")

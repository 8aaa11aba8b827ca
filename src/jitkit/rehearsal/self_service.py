"""What people do without signing in: choose a forgotten password anew, and sign up.

[Microsoft Learn, "Enable self-service password reset" for external tenants; "Prevent attacks using smart lockout" for
what a reset does to a lock] A one-time passcode proves that the person reads the mail of the address they sign in with;
here a word says whether they do.
"""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from jitkit.rehearsal import accounts, load, passwords
from jitkit.rehearsal import client_app as clients
from jitkit.rehearsal.journal import audit, in_person, timestamp
from jitkit.rehearsal.sign_up_log import record_stages
from jitkit.rehearsal.users import User

if TYPE_CHECKING:
    from jitkit.rehearsal.tenant import RehearsalTenant

__all__ = ["Journey", "reset_password", "sign_up"]

Outcome = Literal[
    "password reset",
    "signed up",
    "unknown user",
    "already has an account",
    "account disabled",
    "not offered",
    "mail not read",
    "password refused",
    "too many requests",
]
_SEES_BUSY: Final = "AADSTS90055: There are too many requests. Try again later."
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
    if not tenant.caller.load.admit(ip, load.RESET):
        return Journey(username=username, outcome="too many requests", user_sees=_SEES_BUSY)
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


async def sign_up(
    tenant: RehearsalTenant,
    username: str,
    password: str,
    *,
    display_name: str | None = None,
    reads_mail: bool = True,
    client_app_id: str | None = None,
    ip: str = "127.0.0.1",
) -> Journey:
    """Make an account of one's own, as the user flow of an app offers it.

    Args:
        tenant: the stand-in tenant.
        username: the person's e-mail address.
        password: what they choose.
        display_name: what they call themselves.
        reads_mail: whether they can read the one-time passcode.
        client_app_id: the app they come from; None for the only one there is.
        ip: the address they come from.

    Raises:
        NotReady: no app was named, and there is none or more than one.
    """
    setup, directory = tenant.caller.setup, tenant.directory
    setup.refresh()
    app_id, name = (client_app_id or clients.only_app_id(directory)).lower(), username.strip()

    def ended(outcome: Outcome, sees: str) -> Journey:
        return Journey(username=username, outcome=outcome, user_sees=sees)

    if not tenant.caller.load.admit(ip, load.SIGN_UP):
        return ended("too many requests", _SEES_BUSY)
    try:
        client = setup.client(app_id)
    except clients.Refused as refused:
        return ended("not offered", f"AADSTS{refused.code}: {refused.reason}")
    if not clients.offers_sign_up(directory, app_id):
        return ended("not offered", "This app takes no new accounts.")
    if directory.sign_in_name_taken(name) or _federated(tenant, name):
        return ended("already has an account", "An account with this email address already exists. Sign in instead.")
    if not reads_mail:
        return ended("mail not read", _SEES_CODE)
    user = _newcomer(tenant, name, display_name)
    if problem := accounts.problem_with(setup, user, password):
        return ended("password refused", problem)
    user.password_hash = await _hashed(tenant, password)
    with directory.transaction():
        directory.add_user(user)
        audit(directory, "Add user", target_id=user.id, target_name=user.upn, by=in_person(user, ip))
        record_stages(directory, client, user)
    return Journey(username=username, outcome="signed up", user_sees=f"{client.name}, signed in.", user_id=user.id)


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


def _federated(tenant: RehearsalTenant, name: str) -> bool:
    """Tell whether somebody who signs in elsewhere has this address."""
    found = tenant.directory.rows(
        "SELECT 1 FROM users, json_each(body, '$.identities') each WHERE deleted IS NULL"
        " AND json_extract(each.value, '$.signInType') = 'federated'"
        " AND lower(json_extract(body, '$.mail')) = ? LIMIT 1",
        (name.lower(),),
    )
    return bool(found)


def _newcomer(tenant: RehearsalTenant, name: str, display_name: str | None) -> User:
    id, now = str(uuid.uuid4()), tenant.directory.clock.now()
    upn, stamp = f"{id}@{tenant.domain}", f"{timestamp(now)[:19]}Z"
    identities = [
        {"signInType": "emailAddress", "issuer": tenant.domain, "issuerAssignedId": name},
        {"signInType": "userPrincipalName", "issuer": tenant.domain, "issuerAssignedId": upn},
    ]
    body = {"displayName": display_name or "unknown", "mail": name, "identities": identities}
    return User(
        id=id,
        upn=upn,
        sign_in_name=name.lower(),
        password_hash="",
        force_change=False,
        enabled=True,
        failed=0,
        locked_until=0,
        body={**body, "createdDateTime": stamp, "lastPasswordChangeDateTime": stamp},
        created=now,
    )

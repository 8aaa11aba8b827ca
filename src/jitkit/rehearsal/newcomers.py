"""Invented people for a tenant, the same for the same seed: flagged, with a stored password that nobody knows."""

from __future__ import annotations

import random
import secrets
import string
import uuid
from dataclasses import dataclass, field
from typing import Final

from jitkit.errors import KitError, NotReady
from jitkit.rehearsal.client_app import listeners
from jitkit.rehearsal.directory import Directory
from jitkit.rehearsal.journal import timestamp
from jitkit.rehearsal.passwords import hash_password
from jitkit.rehearsal.users import User

__all__ = ["MOST", "Newcomer", "settle"]

MOST: Final = 10_000
_DOMAIN: Final = "seeded.example"


@dataclass(frozen=True)
class Newcomer:
    """One invented person: what they type as name and, for a legacy store to know, as password."""

    username: str
    password: str = field(repr=False)


def settle(directory: Directory, count: int, *, seed: int = 1) -> list[Newcomer]:
    """Let invented people into the tenant, each with the flag that the listener looks at.

    Args:
        directory: the tenant's directory.
        count: how many, 1 to 10,000.
        seed: decides who they are; people of a seed who are there already stay as they are.

    Returns:
        All of them. The passwords are strong and are what the old system would know; the tenant does not.

    Raises:
        NotReady: there is no listener to say which flag counts.
        KitError: the number is not one to seed.
    """
    if not 1 <= count <= MOST:
        raise KitError(f"{count} people cannot be seeded.", next_step=f"Choose 1 to {MOST:,}.")
    listener = next(iter(listeners(directory)), None)
    if listener is None:
        raise NotReady("No listener says which flag counts.", next_step="Create the listener first (notebook 03).")
    flag = str(listener["handler"]["migrationPropertyId"])
    dice = random.Random(seed)  # noqa: S311
    people = [Newcomer(f"person{n:05}.{seed}@{_DOMAIN}", _password(dice)) for n in range(1, count + 1)]
    unknown = hash_password(secrets.token_urlsafe(24))
    with directory.transaction():
        for person in people:
            if not directory.sign_in_name_taken(person.username):
                directory.add_user(_user(directory, person.username, flag, unknown))
    return people


def _user(directory: Directory, name: str, flag: str, password_hash: str) -> User:
    id, now, domain = str(uuid.uuid4()), directory.clock.now(), directory.meta("domain") or ""
    identity = {"signInType": "emailAddress", "issuer": domain, "issuerAssignedId": name}
    body = {
        "displayName": name.partition("@")[0],
        "mail": name,
        "creationType": "LocalAccount",
        "userType": "Member",
        "identities": [identity],
        "createdDateTime": timestamp(now),
        flag: True,
    }
    return User(
        id=id,
        upn=f"{id}@{domain}",
        sign_in_name=name,
        password_hash=password_hash,
        force_change=False,
        enabled=True,
        failed=0,
        locked_until=0,
        body=body,
        created=now,
    )


def _password(dice: random.Random) -> str:
    return "".join(dice.choice(string.ascii_letters + string.digits) for _ in range(12)) + "aA1!"

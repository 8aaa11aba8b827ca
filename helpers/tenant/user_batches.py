"""Write many users: batches of 20, a few at a time, as fast as the tenant lets us, without losing count."""

from __future__ import annotations

import asyncio
import itertools
import secrets
import string
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from typing import Any, Final, TypeVar

from helpers.graph import BatchAnswer, refusal
from helpers.legacy_export import LegacyUser
from jitkit import protocol

__all__ = ["Pace", "chunks", "creation", "is_duplicate", "require_allowed", "run", "temporary_password"]

_MOST_AT_ONCE: Final = 4
_LENGTH: Final = 32
# Source: "Self-service password reset policies": the characters that a password may hold.
_SYMBOLS: Final = "@#$%^&*-_!+=[]{}|:',.?/`~();<>"
_CLASSES: Final = (string.ascii_lowercase, string.ascii_uppercase, string.digits, _SYMBOLS)

T = TypeVar("T")
R = TypeVar("R")


class Pace:
    """How many batches may be under way: one more after each that went well, half after one that was throttled.

    The first goes alone: what is refused to it, by the tenant or by the person asked to confirm, is refused once. The
    documented limit of an application in a tenant is 3,000 writes in 150 seconds; public tools report more. So the
    tenant's own answers set the pace.
    """

    def __init__(self) -> None:
        self.at_once = 1

    def learn(self, pressed: bool) -> None:
        """Take note of how one batch went.

        Args:
            pressed: whether the tenant throttled it or said that a limit is near.
        """
        self.at_once = max(1, self.at_once // 2) if pressed else min(_MOST_AT_ONCE, self.at_once + 1)


async def run(
    batches: Iterable[T],
    send: Callable[[T], Awaitable[R]],
    *,
    pace: Pace,
    sent: Callable[[R], None],
) -> None:
    """Send batches a few at a time.

    When it is interrupted, or when one fails, what is under way is waited for: the tenant has it already, and it has to
    be written down.

    Args:
        batches: what to send.
        send: sends one and writes down what came of it.
        pace: how many at a time.
        sent: called with what `send` returned.
    """
    waiting = iter(batches)
    under_way: set[asyncio.Future[R]] = set()
    try:
        while True:
            free = pace.at_once - len(under_way)
            under_way |= {asyncio.ensure_future(send(each)) for each in itertools.islice(waiting, max(0, free))}
            if not under_way:
                return
            done, _ = await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
            for each in done:
                under_way.discard(each)
                sent(each.result())
    finally:
        if under_way:
            await asyncio.gather(*under_way, return_exceptions=True)


def chunks(items: Iterable[T], size: int = protocol.BATCH_SIZE) -> Iterator[list[T]]:
    """Cut a sequence into lists of at most `size`."""
    iterator = iter(items)
    while chunk := list(itertools.islice(iterator, size)):
        yield chunk


def temporary_password() -> str:
    """Make a password that nobody can guess and nobody will ever type: 32 characters of all four classes."""
    letters = [secrets.choice(each) for each in _CLASSES]
    letters += [secrets.choice("".join(_CLASSES)) for _ in range(_LENGTH - len(letters))]
    secrets.SystemRandom().shuffle(letters)
    return "".join(letters)


def creation(person: LegacyUser, *, flag: str, issuer: str) -> dict[str, Any]:
    """Write the body that creates one person, with the flag set.

    Source: Graph v1.0, "Create user", example of a customer account; how-to, stage 1. With
    `forceChangePasswordNextSignIn` true, a migrated person would be sent to a change-password page and stay flagged.

    Args:
        person: the row of the export. Whoever is disabled there is created disabled.
        flag: the flag's full name.
        issuer: the tenant's initial domain.
    """
    return {
        "accountEnabled": person.status != "disabled",
        "creationType": "LocalAccount",
        "displayName": person.display_name or person.username.partition("@")[0],
        "mail": person.username,
        "identities": [{"signInType": "emailAddress", "issuer": issuer, "issuerAssignedId": person.username}],
        "passwordProfile": {"password": temporary_password(), "forceChangePasswordNextSignIn": False},
        "passwordPolicies": "DisablePasswordExpiration",
        flag: True,
    }


def is_duplicate(answer: BatchAnswer) -> bool:
    """Tell whether Graph refused a creation because somebody has that sign-in name."""
    return answer.status in (400, 409) and "already exists" in answer.message


def require_allowed(answers: Sequence[BatchAnswer], doing: str) -> None:
    """Stop at what would refuse everybody else too: no permission, or a tenant that stays throttled.

    Args:
        answers: the answers of one batch.
        doing: what was tried, to follow "could not".

    Raises:
        PermissionMissing: 401 or 403.
        GraphRefused: 429, 503 or 504 after several tries.
    """
    for answer in answers:
        if answer.status in (401, 403, 429, 503, 504):
            raise refusal(doing, answer.status, answer.code, answer.message)
